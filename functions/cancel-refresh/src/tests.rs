pub(crate) mod fixtures;

use super::*;
use guardrails::trigger::Order;
use serde_json::{Value, json};

fn request(payload: Value) -> Result<Request<Option<Question>>, TriggerError> {
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
        assert_eq!(request.scope, Scope::one(Resource::group("web")));
        assert_eq!(request.order, Order::Own);
    }
    for detail_type in [
        "EC2 Instance Launch Unsuccessful",
        "EC2 Instance Terminate Successful",
    ] {
        // The instance's id is sometimes empty (ASG-6).
        let detail = json!({"AutoScalingGroupName": "a/b c", "EC2InstanceId": ""});
        let request = request(event("aws.autoscaling", detail_type, &detail)).unwrap();
        assert_eq!(request.scope, Scope::one(Resource::group("a/b c")));
    }
    let alarm = json!({"alarmName": "errors", "state": {"value": "ALARM"}});
    let request = request(event(
        "aws.cloudwatch",
        "CloudWatch Alarm State Change",
        &alarm,
    ));
    assert_eq!(
        request.unwrap().scope,
        Scope::one(Resource::Alarm("errors".to_owned()))
    );
}

#[test]
fn explain_changes_nothing() {
    let request =
        request(json!({"trigger": "command", "command": "explain", "group": "web"})).unwrap();
    assert_eq!(request.order, Order::Question);
    assert_eq!(request.scope, Scope::one(Resource::group("web")));
}

#[test]
fn a_verdict_is_asked_of_a_refresh_or_of_the_newest() {
    let asked = |command: Value| request(command).unwrap().ask.unwrap();
    let newest = json!({"trigger": "command", "command": "verdict", "group": "web"});
    assert_eq!(asked(newest), Question::Verdict { refresh: None });
    let one = json!({"trigger": "command", "command": "verdict", "group": "web", "refresh": "r-1"});
    let refresh = Some("r-1".to_owned());
    assert_eq!(asked(one), Question::Verdict { refresh });
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
        json!({"trigger": "command", "command": "verdict"}),
        json!({"trigger": "command", "command": "verdict", "group": "web", "refresh": ""}),
        json!({"trigger": "command", "command": "verdict", "group": "web", "id": "r-1"}),
        json!({"trigger": "command", "command": "explain", "group": 1}),
        json!({"trigger": "command", "command": "explain", "group": "web", "mode": "enforce"}),
    ] {
        assert!(request(payload.clone()).is_err(), "{payload}");
    }
}
