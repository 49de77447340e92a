//! Stops an Auto Scaling instance refresh that fails within a few instances, and a good one never.
//!
//! AWS itself needs about an hour to call a refresh failed (ASG-4). This guardrail judges it by
//! what happens: launches that fail, new instances that die of their health checks, alarms
//! ([`signals`]). A failing refresh is rolled back or cancelled, after the container image that it
//! brought was replaced by the known good one where the group's tags ask for that ([`image`]).

pub mod act;
pub mod activities;
pub mod assess;
pub mod decide;
pub mod facts;
pub mod image;
pub mod observe;
pub mod policy;
pub mod signals;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Mutex;

use guardrails::aws::{ApiError, ErrorKind};
use guardrails::guardrail::{Acted, Assessment, Decision, Guardrail, Settled};
use guardrails::notify::AUTO_SCALING_GROUP;
use guardrails::trigger::{Event, Request, Scope, Trigger, TriggerError};
use guardrails::wiring::{Environment, WiringError};
use jiff::Timestamp;
use lambda_runtime::tracing;

use crate::decide::Action;
use crate::facts::Facts;
use crate::policy::Policy;

/// The guardrail's name.
pub const NAME: &str = "cancel-refresh";

/// What an alarm is called in a request's scope, before its name.
pub(crate) const ALARM: &str = "alarm/";

/// The guardrail.
#[derive(Debug)]
pub struct CancelRefresh {
    clients: Clients,
    untagged: Untagged,
}

/// What was told of groups that AWS lets nobody tag, by resource and key: those of a service that
/// operates them (ASG-9). Kept while the function runs, so that a sweep doesn't tell it again.
#[derive(Debug, Default)]
struct Untagged(Mutex<BTreeMap<(String, String), String>>);

impl Untagged {
    fn set(&self, resource: &str, key: &str, value: Option<&str>) {
        let Ok(mut kept) = self.0.lock() else {
            return;
        };
        let at = (resource.to_owned(), key.to_owned());
        match value {
            Some(value) => kept.insert(at, value.to_owned()),
            None => kept.remove(&at),
        };
    }

    /// Adds what is kept to the groups' tags.
    fn complete(&self, facts: &mut Facts) {
        let Ok(kept) = self.0.lock() else {
            return;
        };
        for ((resource, key), value) in kept.iter() {
            let group = resource.strip_prefix(AUTO_SCALING_GROUP);
            if let Some(case) = group.and_then(|group| facts.cases.get_mut(group)) {
                let tags = &mut case.group.tags;
                tags.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
    }
}

/// The clients of the services that it works with.
#[derive(Debug, Clone)]
pub struct Clients {
    /// EC2 Auto Scaling.
    pub autoscaling: aws_sdk_autoscaling::Client,
    /// EC2.
    pub ec2: aws_sdk_ec2::Client,
    /// Elastic Load Balancing.
    pub elb: aws_sdk_elasticloadbalancingv2::Client,
    /// CloudWatch.
    pub cloudwatch: aws_sdk_cloudwatch::Client,
    /// `CloudFormation`.
    pub cloudformation: aws_sdk_cloudformation::Client,
    /// ECR.
    pub ecr: aws_sdk_ecr::Client,
}

impl Guardrail for CancelRefresh {
    const NAME: &'static str = NAME;
    const COUNTERS: &'static [&'static str] = assess::COUNTERS;
    type Policy = Policy;
    type Facts = Facts;
    type Action = Action;

    fn new(
        config: &guardrails::aws::SdkConfig,
        _environment: &Environment,
    ) -> Result<Self, WiringError> {
        let clients = Clients {
            autoscaling: aws_sdk_autoscaling::Client::new(config),
            ec2: aws_sdk_ec2::Client::new(config),
            elb: aws_sdk_elasticloadbalancingv2::Client::new(config),
            cloudwatch: aws_sdk_cloudwatch::Client::new(config),
            cloudformation: aws_sdk_cloudformation::Client::new(config),
            ecr: aws_sdk_ecr::Client::new(config),
        };
        Ok(Self {
            clients,
            untagged: Untagged::default(),
        })
    }

    fn request(trigger: &Trigger) -> Result<Request, TriggerError> {
        match trigger {
            Trigger::Sweep => Ok(Request::sweep()),
            Trigger::Event(event) => Ok(Request::of(Scope::One(subject_of(event)?))),
            Trigger::Command(command) if command.name == "explain" => {
                let group = command.only_argument("group")?;
                Ok(Request::asking(Scope::One(format!(
                    "{AUTO_SCALING_GROUP}{group}"
                ))))
            }
            Trigger::Command(command) => Err(TriggerError::Command {
                name: command.name.clone(),
                known: "explain (with `group`)",
            }),
        }
    }

    async fn observe(
        &self,
        policy: &Policy,
        request: &Request,
        now: Timestamp,
    ) -> Result<Facts, ApiError> {
        let mut facts = observe::observe(&self.clients, policy, request, now).await?;
        self.untagged.complete(&mut facts);
        Ok(facts)
    }

    fn decide(facts: &Facts, policy: &Policy, now: Timestamp) -> Vec<Decision<Action>> {
        decide::decide(facts, policy, now)
    }

    // `act` looks again itself, after its claim and just before it sends: see there.

    fn act(&self, action: &Action, run: &str) -> impl Future<Output = Acted> + Send {
        act::act(&self.clients, action, run)
    }

    async fn remember(
        &self,
        resource: &str,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), ApiError> {
        let written =
            guardrails::autoscaling::remember(&self.clients.autoscaling, resource, key, value)
                .await;
        match written {
            Ok(()) => self.untagged.set(resource, key, None),
            Err(error) if error.kind == ErrorKind::Refused => {
                tracing::warn!(
                    resource,
                    key,
                    "what was told can't be written down: {error}"
                );
                self.untagged.set(resource, key, value);
            }
            Err(error) => return Err(error),
        }
        Ok(())
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

/// The group, or the alarm, that an event is about (ASG-6). All else is read anew.
fn subject_of(event: &Event) -> Result<String, TriggerError> {
    let name = |key: &'static str| {
        event
            .detail_str(key)
            .filter(|name| !name.is_empty())
            .ok_or_else(|| TriggerError::event(event, &format!("it has no `{key}`")))
    };
    match (event.source.as_str(), event.detail_type.as_str()) {
        (
            "aws.autoscaling",
            "EC2 Instance Launch Unsuccessful" | "EC2 Instance Terminate Successful",
        ) => Ok(format!(
            "{AUTO_SCALING_GROUP}{}",
            name("AutoScalingGroupName")?
        )),
        ("aws.autoscaling", refresh)
            if refresh.starts_with("EC2 Auto Scaling Instance Refresh ") =>
        {
            Ok(format!(
                "{AUTO_SCALING_GROUP}{}",
                name("AutoScalingGroupName")?
            ))
        }
        ("aws.cloudwatch", "CloudWatch Alarm State Change") => {
            let state = event.detail.pointer("/state/value");
            if state.and_then(serde_json::Value::as_str) != Some("ALARM") {
                return Err(TriggerError::event(event, "its state is not ALARM"));
            }
            Ok(format!("{ALARM}{}", name("alarmName")?))
        }
        _ => Err(TriggerError::event(event, "wrong source or detail type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn request(payload: Value) -> Result<Request, TriggerError> {
        CancelRefresh::request(&guardrails::trigger::parse(payload).unwrap())
    }

    fn event(source: &str, detail_type: &str, detail: &Value) -> Value {
        json!({
            "version": "0", "id": "1", "source": source, "account": "1", "region": "r",
            "time": "2026-11-21T03:00:00Z", "resources": [], "detail-type": detail_type,
            "detail": detail
        })
    }

    #[test]
    fn each_event_points_at_its_group_or_alarm() {
        let group = json!({"AutoScalingGroupName": "web", "InstanceRefreshId": "r-1"});
        for ending in [
            "Started",
            "Checkpoint Reached",
            "Started Baking",
            "Succeeded",
            "Failed",
            "Cancelled",
            "Rollback Started",
            "Rollback Succeeded",
            "Rollback Failed",
        ] {
            let detail_type = format!("EC2 Auto Scaling Instance Refresh {ending}");
            let request = request(event("aws.autoscaling", &detail_type, &group)).unwrap();
            assert_eq!(
                request.scope,
                Scope::One("auto-scaling-group/web".to_owned())
            );
            assert!(!request.read_only);
        }
        for detail_type in [
            "EC2 Instance Launch Unsuccessful",
            "EC2 Instance Terminate Successful",
        ] {
            // The instance's id is sometimes empty (ASG-6).
            let detail = json!({"AutoScalingGroupName": "a/b c", "EC2InstanceId": ""});
            let request = request(event("aws.autoscaling", detail_type, &detail)).unwrap();
            assert_eq!(
                request.scope,
                Scope::One("auto-scaling-group/a/b c".to_owned())
            );
        }
        let alarm = json!({"alarmName": "errors", "state": {"value": "ALARM"}});
        let request = request(event(
            "aws.cloudwatch",
            "CloudWatch Alarm State Change",
            &alarm,
        ));
        assert_eq!(
            request.unwrap().scope,
            Scope::One("alarm/errors".to_owned())
        );
    }

    #[test]
    fn explain_changes_nothing() {
        let request =
            request(json!({"trigger": "command", "command": "explain", "group": "web"})).unwrap();
        assert!(request.read_only);
        assert_eq!(
            request.scope,
            Scope::One("auto-scaling-group/web".to_owned())
        );
    }

    #[test]
    fn other_events_and_commands_are_refused() {
        let group = json!({"AutoScalingGroupName": "web"});
        let ok = json!({"alarmName": "errors", "state": {"value": "OK"}});
        for payload in [
            event("aws.autoscaling", "EC2 Instance Launch Successful", &group),
            event("aws.ec2", "EC2 Instance Launch Unsuccessful", &group),
            event(
                "aws.autoscaling",
                "EC2 Instance Launch Unsuccessful",
                &json!({"AutoScalingGroupName": ""}),
            ),
            event(
                "aws.autoscaling",
                "EC2 Auto Scaling Instance Refresh Failed",
                &json!({}),
            ),
            event("aws.cloudwatch", "CloudWatch Alarm State Change", &ok),
            event(
                "aws.cloudwatch",
                "CloudWatch Alarm State Change",
                &json!({"state": {"value": "ALARM"}}),
            ),
            json!({"trigger": "command", "command": "cancel", "group": "web"}),
            json!({"trigger": "command", "command": "explain"}),
            json!({"trigger": "command", "command": "explain", "group": 1}),
            json!({"trigger": "command", "command": "explain", "group": "web", "mode": "enforce"}),
        ] {
            assert!(request(payload.clone()).is_err(), "{payload}");
        }
    }
}
