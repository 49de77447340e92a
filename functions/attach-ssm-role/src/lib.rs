//! Makes every instance a managed node of Systems Manager, or tells exactly why it isn't.
//!
//! An instance without an instance profile gets the stack's; somebody's own profile is never
//! replaced. Then the node has to come Online, which may take half an hour (SSM-1). One that
//! doesn't is diagnosed: state, identity, agent and network, each finding with its certainty, the
//! resource that it is about and the fix.

pub mod act;
pub mod assess;
pub mod decide;
pub mod diagnosis;
pub mod facts;
pub mod observe;
pub mod policy;

use std::future::Future;

use guardrails::aws::ApiError;
use guardrails::guardrail::{Acted, Assessment, Decision, Guardrail, Settled};
use guardrails::trigger::{Event, Request, Scope, Trigger, TriggerError};
use guardrails::wiring::{Environment, WiringError};
use jiff::Timestamp;

use crate::decide::Action;
use crate::facts::Facts;
use crate::policy::Policy;

/// The guardrail's name.
pub const NAME: &str = "attach-ssm-role";

/// The guardrail.
#[derive(Debug)]
pub struct AttachSsmRole {
    clients: Clients,
    profile: String,
}

/// The clients of the services that it works with.
#[derive(Debug, Clone)]
pub struct Clients {
    /// EC2.
    pub ec2: aws_sdk_ec2::Client,
    /// Systems Manager.
    pub ssm: aws_sdk_ssm::Client,
    /// IAM.
    pub iam: aws_sdk_iam::Client,
    /// EC2 Auto Scaling.
    pub autoscaling: aws_sdk_autoscaling::Client,
}

impl Guardrail for AttachSsmRole {
    const NAME: &'static str = NAME;
    type Policy = Policy;
    type Facts = Facts;
    type Action = Action;

    fn new(
        config: &guardrails::aws::SdkConfig,
        environment: &Environment,
    ) -> Result<Self, WiringError> {
        let profile = environment.required(
            "INSTANCE_PROFILE_ARN",
            "the ARN of the instance profile to attach",
        )?;
        let clients = Clients {
            ec2: aws_sdk_ec2::Client::new(config),
            ssm: aws_sdk_ssm::Client::new(config),
            iam: aws_sdk_iam::Client::new(config),
            autoscaling: aws_sdk_autoscaling::Client::new(config),
        };
        Ok(Self { clients, profile })
    }

    fn request(trigger: &Trigger) -> Result<Request, TriggerError> {
        match trigger {
            Trigger::Sweep => Ok(Request::sweep()),
            Trigger::Event(event) => Ok(Request::of(Scope::One(instance_of(event)?))),
            Trigger::Command(command) if command.name == "diagnose" => {
                let instance = command.only_argument("instance-id")?;
                if !instance.starts_with("i-") {
                    return Err(TriggerError::Argument {
                        command: command.name.clone(),
                        problem: format!(
                            "`{instance}` is no instance id; it looks like i-0123456789abcdef0"
                        ),
                    });
                }
                Ok(Request::asking(Scope::One(instance.to_owned())))
            }
            Trigger::Command(command) => Err(TriggerError::Command {
                name: command.name.clone(),
                known: "diagnose (with `instance-id`)",
            }),
        }
    }

    fn observe(
        &self,
        policy: &Policy,
        request: &Request,
        now: Timestamp,
    ) -> impl Future<Output = Result<Facts, ApiError>> + Send {
        observe::observe(&self.clients, &self.profile, policy, request, now)
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

    fn act(&self, action: &Action, _run: &str) -> impl Future<Output = Acted> + Send {
        act::act(&self.clients, action)
    }

    fn remember(
        &self,
        resource: &str,
        key: &str,
        value: Option<&str>,
    ) -> impl Future<Output = Result<(), ApiError>> + Send {
        guardrails::autoscaling::remember(&self.clients.autoscaling, resource, key, value)
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

/// The instance that has come to run (SSM-9). Its state is read anew all the same.
fn instance_of(event: &Event) -> Result<String, TriggerError> {
    match event.instance_in(&["running"]) {
        Some(instance) => instance.map(str::to_owned),
        None => Err(TriggerError::event(event, "wrong source or detail type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn request(payload: Value) -> Result<Request, TriggerError> {
        AttachSsmRole::request(&guardrails::trigger::parse(payload).unwrap())
    }

    fn event(detail_type: &str, detail: &Value) -> Value {
        json!({
            "version": "0", "id": "1", "source": "aws.ec2", "account": "1", "region": "r",
            "time": "2026-11-21T03:00:00Z", "resources": [], "detail-type": detail_type,
            "detail": detail
        })
    }

    const STATE_CHANGE: &str = "EC2 Instance State-change Notification";

    #[test]
    fn a_running_event_points_at_its_instance() {
        let detail = json!({"instance-id": "i-1", "state": "running"});
        let request = request(event(STATE_CHANGE, &detail)).unwrap();
        assert_eq!(request.scope, Scope::One("i-1".to_owned()));
        assert!(!request.read_only);
    }

    #[test]
    fn diagnose_changes_nothing() {
        let request =
            request(json!({"trigger": "command", "command": "diagnose", "instance-id": "i-1"}));
        assert!(request.unwrap().read_only);
    }

    #[test]
    fn other_events_and_commands_are_refused() {
        let command = |extra: Value| json!({"trigger": "command", "command": "diagnose", "instance-id": extra});
        for payload in [
            event(
                STATE_CHANGE,
                &json!({"instance-id": "i-1", "state": "pending"}),
            ),
            event(
                STATE_CHANGE,
                &json!({"instance-id": "vol-1", "state": "running"}),
            ),
            event(STATE_CHANGE, &json!({"state": "running"})),
            event(
                "EBS Snapshot Notification",
                &json!({"instance-id": "i-1", "state": "running"}),
            ),
            json!({"trigger": "command", "command": "attach", "instance-id": "i-1"}),
            json!({"trigger": "command", "command": "diagnose"}),
            command(json!("")),
            command(json!("web-1")),
            command(json!(1)),
        ] {
            assert!(request(payload.clone()).is_err(), "{payload}");
        }
    }

    #[test]
    fn a_missing_profile_is_an_error_that_names_the_variable() {
        let config = guardrails::aws::SdkConfig::builder().build();
        let error = AttachSsmRole::new(&config, &Environment::default()).unwrap_err();
        assert!(
            error.to_string().contains("INSTANCE_PROFILE_ARN"),
            "{error}"
        );
    }
}
