//! What a trigger asks for.

use guardrails::resource::Resource;
use guardrails::trigger::{Command, Event, Request, Scope, Trigger, TriggerError};

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
        Trigger::Event(event) => Ok(Request::of(Scope::one(instance_of(event)?))),
        Trigger::Command(command) if command.name == "diagnose" => Ok(Request {
            ask: Ask::Diagnose,
            ..Request::asking(Scope::one(asked(command)?))
        }),
        Trigger::Command(command) => Err(TriggerError::Command {
            name: command.name.clone(),
            known: "diagnose (with `instance-id`)",
        }),
    }
}

/// The instance that has come to run (SSM-9). Its state is read anew all the same.
fn instance_of(event: &Event) -> Result<Resource, TriggerError> {
    match event.instance_in(&["running"]) {
        Some(instance) => instance.map(Resource::instance),
        None => Err(TriggerError::event(event, "wrong source or detail type")),
    }
}

fn asked(command: &Command) -> Result<Resource, TriggerError> {
    let instance = command.only_argument("instance-id")?;
    let digits = instance.strip_prefix("i-").unwrap_or_default();
    if digits.is_empty() || digits.len() > 17 || !digits.bytes().all(|one| one.is_ascii_hexdigit())
    {
        let quoted = guardrails::tags::clip_to(instance, 40);
        return Err(TriggerError::Argument {
            command: command.name.clone(),
            problem: format!("`{quoted}` is no instance id; it looks like i-0123456789abcdef0"),
        });
    }
    Ok(Resource::instance(instance))
}

#[cfg(test)]
mod tests {
    use super::*;
    use guardrails::trigger::Order;
    use serde_json::{Value, json};

    fn requested(payload: Value) -> Result<Request<Ask>, TriggerError> {
        request(&guardrails::trigger::parse(payload).unwrap())
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
        let request = requested(event(STATE_CHANGE, &detail)).unwrap();
        assert_eq!(request.scope, Scope::one(Resource::instance("i-1")));
        assert_eq!((request.order, request.ask), (Order::Own, Ask::Manage));
    }

    #[test]
    fn diagnose_changes_nothing() {
        let request =
            requested(json!({"trigger": "command", "command": "diagnose", "instance-id": "i-1"}))
                .unwrap();
        assert_eq!(
            (request.order, request.ask),
            (Order::Question, Ask::Diagnose)
        );
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
            command(json!("i-")),
            command(json!("i-*")),
            command(json!("i-web")),
            command(json!("i-0123456789abcdef01")),
            command(json!(1)),
        ] {
            assert!(requested(payload.clone()).is_err(), "{payload}");
        }
        let long = requested(command(json!("i-".repeat(1_000_000)))).unwrap_err();
        assert!(long.to_string().len() < 200, "clipped");
    }
}
