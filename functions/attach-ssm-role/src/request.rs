//! What a trigger asks for.

use guardrails::resource::Resource;
use guardrails::trigger::{Request, Scope, Trigger, TriggerError};

/// What is wanted of the instances that a trigger names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ask {
    /// That they become managed nodes.
    #[default]
    Manage,
    /// The full diagnosis of one.
    Diagnose,
}

/// Where `trigger` says to look.
pub(crate) fn request(trigger: &Trigger) -> Result<Request<Ask>, TriggerError> {
    match trigger {
        Trigger::Sweep => Ok(Request::sweep()),
        // The instance that has come to run (SSM-9). Its state is read anew all the same.
        Trigger::Event(event) => match event.instance_in(&["running"]) {
            Some(instance) => Ok(Request::of(Scope::one(Resource::instance(instance?)))),
            None => Err(TriggerError::event(event, "wrong source or detail type")),
        },
        Trigger::Command(command) if command.name == "diagnose" => {
            let instance = command.only_id("instance-id", "i-")?;
            Ok(Request {
                ask: Ask::Diagnose,
                ..Request::asking(Scope::one(Resource::instance(instance)))
            })
        }
        Trigger::Command(command) => Err(TriggerError::Command {
            name: command.name.clone(),
            known: "diagnose (with `instance-id`)",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guardrails::trigger::Order;
    use serde_json::{Value, json};

    fn requested(payload: Value) -> Result<Request<Ask>, TriggerError> {
        request(&guardrails::trigger::parse(payload).unwrap())
    }

    fn event(detail_type: &str, instance: &str, state: &str) -> Value {
        json!({
            "version": "0", "id": "1", "source": "aws.ec2", "account": "1", "region": "r",
            "time": "2026-11-21T03:00:00Z", "resources": [], "detail-type": detail_type,
            "detail": {"instance-id": instance, "state": state}
        })
    }

    fn command(name: &str, instance: impl Into<Value>) -> Value {
        let instance: Value = instance.into();
        json!({"trigger": "command", "command": name, "instance-id": instance})
    }

    const STATE_CHANGE: &str = "EC2 Instance State-change Notification";
    const ID: &str = "i-0123456789abcdef0";

    #[test]
    fn a_running_event_points_at_its_instance_and_a_command_only_asks() {
        let request = requested(event(STATE_CHANGE, "i-1", "running")).unwrap();
        assert_eq!(request.scope, Scope::one(Resource::instance("i-1")));
        assert_eq!((request.order, request.ask), (Order::Own, Ask::Manage));
        let request = requested(command("diagnose", ID)).unwrap();
        assert_eq!(request.scope, Scope::one(Resource::instance(ID)));
        let asks = (Order::Question, Ask::Diagnose);
        assert_eq!((request.order, request.ask), asks);
    }

    #[test]
    fn other_events_and_commands_are_refused() {
        for payload in [
            event(STATE_CHANGE, "i-1", "pending"),
            event(STATE_CHANGE, "vol-1", "running"),
            event("EBS Snapshot Notification", "i-1", "running"),
            command("attach", ID),
            json!({"trigger": "command", "command": "diagnose"}),
            command("diagnose", "i-*"),
            command("diagnose", "i-web"),
            command("diagnose", 1),
        ] {
            assert!(requested(payload.clone()).is_err(), "{payload}");
        }
        let long = requested(command("diagnose", "i-".repeat(1_000_000))).unwrap_err();
        assert!(long.to_string().len() < 200, "clipped");
    }
}
