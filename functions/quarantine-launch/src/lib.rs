//! Isolates instances that are launched from AMIs that the policy doesn't approve, keeps their
//! state, breaks the loop that launches them, and puts everything back when a person releases them.
//!
//! All that a quarantine changes is written down on the instance before it is changed. Every step
//! may be repeated, and a run that ends between any two of them is finished by the next.

pub mod act;
pub mod approval;
pub mod assess;
pub mod breadth;
pub mod decide;
pub mod facts;
pub mod launcher;
pub mod launches;
pub mod observe;
pub mod policy;
pub mod record;

use std::future::Future;

use guardrails::aws::ApiError;
use guardrails::guardrail::{Acted, Assessment, Decision, Guardrail, Settled};
use guardrails::trigger::{Command, Event, Request, Scope, Trigger, TriggerError};
use guardrails::wiring::{Environment, Wiring, WiringError};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::decide::Action;
use crate::facts::{Asked, Facts};
use crate::launcher::Launcher;
use crate::policy::Policy;

/// The guardrail's name.
pub const NAME: &str = "quarantine-launch";
/// The name of the security group that isolates, one in each VPC.
pub const ISOLATION_GROUP: &str = "ec2-guardrails-quarantine";

/// The guardrail.
#[derive(Debug)]
pub struct QuarantineLaunch {
    clients: Clients,
    parameter: String,
}

/// The clients of the services that it works with.
#[derive(Debug, Clone)]
pub struct Clients {
    /// EC2.
    pub ec2: aws_sdk_ec2::Client,
    /// EC2 Auto Scaling.
    pub autoscaling: aws_sdk_autoscaling::Client,
    /// CloudTrail.
    pub cloudtrail: aws_sdk_cloudtrail::Client,
    /// IAM.
    pub iam: aws_sdk_iam::Client,
    /// Systems Manager.
    pub ssm: aws_sdk_ssm::Client,
}

impl Guardrail for QuarantineLaunch {
    const NAME: &'static str = NAME;
    type Policy = Policy;
    type Facts = Facts;
    type Action = Action;

    fn new(
        config: &guardrails::aws::SdkConfig,
        environment: &Environment,
    ) -> Result<Self, WiringError> {
        let clients = Clients {
            ec2: aws_sdk_ec2::Client::new(config),
            autoscaling: aws_sdk_autoscaling::Client::new(config),
            cloudtrail: aws_sdk_cloudtrail::Client::new(config),
            iam: aws_sdk_iam::Client::new(config),
            ssm: aws_sdk_ssm::Client::new(config),
        };
        let parameter = Wiring::of(environment)?.policy_parameter;
        Ok(Self {
            clients,
            parameter: parameter_name(&parameter).to_owned(),
        })
    }

    fn request(trigger: &Trigger) -> Result<Request, TriggerError> {
        match trigger {
            Trigger::Sweep => Ok(Request::sweep()),
            Trigger::Event(event) => of_event(event),
            Trigger::Command(command) => of_command(command),
        }
    }

    fn observe(
        &self,
        policy: &Policy,
        request: &Request,
        _now: Timestamp,
    ) -> impl Future<Output = Result<Facts, ApiError>> + Send {
        observe::observe(&self.clients, &self.parameter, policy, request)
    }

    fn decide(facts: &Facts, policy: &Policy, now: Timestamp) -> Vec<Decision<Action>> {
        decide::decide(facts, policy, now)
    }

    fn look_again(
        &self,
        actions: &[&Action],
    ) -> impl Future<Output = Result<Vec<Option<String>>, ApiError>> + Send {
        observe::look_again(&self.clients.ec2, actions)
    }

    fn act(&self, action: &Action, run: &str) -> impl Future<Output = Acted> + Send {
        act::act(&self.clients, action, run)
    }

    fn remember(
        &self,
        resource: &str,
        key: &str,
        value: Option<&str>,
    ) -> impl Future<Output = Result<(), ApiError>> + Send {
        act::remember(&self.clients, resource, key, value)
    }

    fn assess(
        facts: &Facts,
        policy: &Policy,
        now: Timestamp,
        settled: &[Settled<'_, Action>],
    ) -> Assessment {
        assess::assess(facts, policy, now, settled)
    }
}

/// The name of a parameter that is given by name or by ARN.
fn parameter_name(given: &str) -> &str {
    let Some((_, name)) = given.split_once(":parameter") else {
        return given;
    };
    // `…:parameter/a/b` is `/a/b`, `…:parameter/a` is `a`.
    match name.strip_prefix('/') {
        Some(simple) if !simple.contains('/') => simple,
        _ => name,
    }
}

/// Where an event says to look.
fn of_event(event: &Event) -> Result<Request, TriggerError> {
    if let Some(instance) = event.instance_in(&["pending", "running"]) {
        return Ok(Request::of(Scope::One(instance?.to_owned())));
    }
    match (event.source.as_str(), event.detail_type.as_str()) {
        ("aws.ec2", "AWS API Call via CloudTrail") => {
            if event.detail_str("eventName") != Some("RunInstances") {
                return Err(TriggerError::event(event, "its call is not RunInstances"));
            }
            // A failed call launched nothing (AMI-1): nothing to look at, and nothing wrong.
            let ids = if event
                .detail
                .get("errorCode")
                .is_some_and(|code| !code.is_null())
            {
                Vec::new()
            } else {
                launched(&event.detail)
                    .ok_or_else(|| TriggerError::event(event, "it names no instances"))?
            };
            Ok(Request {
                hint: json!({"record": event.detail}),
                ..Request::of(Scope::Some(ids))
            })
        }
        _ => Err(TriggerError::event(event, "wrong source or detail type")),
    }
}

/// The instances in a `RunInstances` record: all items of the answer.
fn launched(record: &Value) -> Option<Vec<String>> {
    let items = record
        .pointer("/responseElements/instancesSet/items")?
        .as_array()?;
    let ids: Vec<String> = items
        .iter()
        .filter_map(|item| item.get("instanceId")?.as_str())
        .filter(|id| id.starts_with("i-"))
        .map(str::to_owned)
        .collect();
    (!ids.is_empty()).then_some(ids)
}

/// An argument that must be an id.
fn id<'a>(command: &'a Command, key: &str, prefix: &str) -> Result<&'a str, TriggerError> {
    let id = command.argument(key)?;
    if id.starts_with(prefix) {
        return Ok(id);
    }
    Err(TriggerError::Argument {
        command: command.name.clone(),
        problem: format!("`{id}` is no `{key}`; it looks like {prefix}0123456789abcdef0"),
    })
}

fn of_command(command: &Command) -> Result<Request, TriggerError> {
    let has = |key: &str| command.arguments.contains_key(key);
    let hint = |key: &str, value: &str| json!({"command": command.name, key: value});
    match command.name.as_str() {
        "release" if has("group") => {
            let group = command.only_argument("group")?;
            Ok(Request {
                by_hand: true,
                hint: hint("group", group),
                ..Request::of(Scope::One(group.to_owned()))
            })
        }
        "release" => {
            command.takes(&["instance-id", "group"])?;
            let instance = id(command, "instance-id", "i-")?;
            Ok(Request {
                by_hand: true,
                hint: hint("instance-id", instance),
                ..Request::of(Scope::One(instance.to_owned()))
            })
        }
        "quarantine" => {
            command.takes(&["instance-id", "reason"])?;
            let instance = id(command, "instance-id", "i-")?;
            let reason = command.argument("reason")?;
            Ok(Request {
                by_hand: true,
                hint: json!({"command": "quarantine", "instance-id": instance, "reason": reason}),
                ..Request::of(Scope::One(instance.to_owned()))
            })
        }
        "check" if has("image-id") => {
            command.takes(&["image-id"])?;
            let image = id(command, "image-id", "ami-")?;
            Ok(Request {
                hint: hint("image-id", image),
                ..Request::asking(Scope::One(image.to_owned()))
            })
        }
        "check" => {
            command.takes(&["instance-id", "image-id"])?;
            let instance = id(command, "instance-id", "i-")?;
            Ok(Request {
                hint: hint("instance-id", instance),
                ..Request::asking(Scope::One(instance.to_owned()))
            })
        }
        _ => Err(TriggerError::Command {
            name: command.name.clone(),
            known: "release (with `instance-id` or `group`), quarantine (with `instance-id` and `reason`), check (with `instance-id` or `image-id`)",
        }),
    }
}

/// What a request's hint holds.
#[derive(Debug, Default)]
pub(crate) struct Hint {
    /// What was asked.
    pub(crate) asked: Asked,
    /// Who launched, from the event.
    pub(crate) launcher: Option<Launcher>,
}

impl Hint {
    pub(crate) fn of(request: &Request) -> Self {
        let text = |key: &str| {
            request
                .hint
                .get(key)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let asked = match (
            text("command").as_deref(),
            text("instance-id"),
            text("image-id"),
            text("group"),
        ) {
            (Some("release"), Some(instance), ..) => Asked::Release(instance),
            (Some("release"), _, _, Some(group)) => Asked::ReleaseGroup(group),
            (Some("quarantine"), Some(instance), ..) => Asked::Quarantine {
                instance,
                reason: text("reason").unwrap_or_default(),
            },
            (Some("check"), Some(instance), ..) => Asked::CheckInstance(instance),
            (Some("check"), _, Some(image), _) => Asked::CheckImage(image),
            _ => Asked::Reconcile,
        };
        Self {
            asked,
            launcher: request.hint.get("record").and_then(Launcher::of),
        }
    }
}

#[cfg(test)]
mod tests;
