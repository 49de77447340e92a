use super::*;
use serde_json::json;

fn request(payload: Value) -> Result<Request<Ask>, TriggerError> {
    super::request(&guardrails::trigger::parse(payload).unwrap())
}

fn one(id: &str) -> Scope {
    Scope::one(Resource::instance(id))
}

fn event(detail_type: &str, detail: &Value) -> Value {
    json!({
        "version": "0", "id": "1", "source": "aws.ec2", "account": "1", "region": "r",
        "time": "2026-11-21T03:00:00Z", "resources": [], "detail-type": detail_type,
        "detail": detail
    })
}

fn command(fields: &Value) -> Value {
    let mut payload = json!({"trigger": "command"});
    for (key, value) in fields.as_object().unwrap() {
        payload[key] = value.clone();
    }
    payload
}

const STATE_CHANGE: &str = "EC2 Instance State-change Notification";
const INSTANCE: &str = "i-0123456789abcdef0";
const IMAGE: &str = "ami-01234567";
const CALL: &str = "AWS API Call via CloudTrail";

fn run_instances() -> Value {
    json!({
        "eventSource": "ec2.amazonaws.com", "eventName": "RunInstances",
        "eventTime": "2026-11-21T03:00:00Z", "sourceIPAddress": "203.0.113.7",
        "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::1:user/admin-02"},
        "requestParameters": {"instancesSet": {"items": [{"minCount": 2, "maxCount": 2}]}},
        "responseElements": {"instancesSet": {"items": [
            {"instanceId": "i-1", "imageId": "ami-1"}, {"instanceId": "i-2", "imageId": "ami-1"}
        ]}}
    })
}

#[test]
fn a_call_points_at_all_its_instances_and_names_the_launcher() {
    let request = request(event(CALL, &run_instances())).unwrap();
    let both = ["i-1", "i-2"].map(Resource::instance);
    assert_eq!(request.scope.named(), both);
    assert_eq!(request.order, Order::Own);
    assert!(request.ask.is_reconcile());
    let launcher = request.ask.launcher().unwrap();
    assert_eq!(launcher.principal, "arn:aws:iam::1:user/admin-02");
}

#[test]
fn a_failed_call_launched_nothing() {
    let mut failed = run_instances();
    failed["errorCode"] = json!("Client.InstanceLimitExceeded");
    failed["responseElements"] = Value::Null;
    let request = request(event(CALL, &failed)).unwrap();
    assert!(request.scope.named().is_empty());
    assert_ne!(request.scope, Scope::All);
}

/// CloudTrail leaves out an answer of more than 100 KB: a launch of some hundred instances.
#[test]
fn a_launch_too_large_for_its_record_points_at_all() {
    let mut large = run_instances();
    large["responseElements"] = json!({
        "omitted": true, "originalSize": 107_512,
        "reason": "responseElements too large"
    });
    let request = request(event(CALL, &large)).unwrap();
    assert_eq!((request.scope, request.order), (Scope::All, Order::Own));
    assert!(request.ask.is_reconcile());
    // An answer that names no instance is a mistake still.
    let mut none = run_instances();
    none["responseElements"] = json!({"omitted": false});
    assert!(super::request(&guardrails::trigger::parse(event(CALL, &none)).unwrap()).is_err());
}

#[test]
fn the_views_are_questions_that_look_at_no_instance_of_their_own() {
    for (name, ask) in [("list", Ask::List), ("launches", Ask::Launches)] {
        let asked = request(command(&json!({"command": name}))).unwrap();
        assert_eq!((asked.ask, asked.order), (ask, Order::Question));
        assert_ne!(asked.scope, Scope::All, "it would write metrics");
        let more = command(&json!({"command": name, "instance-id": INSTANCE}));
        assert!(request(more).is_err());
    }
}

#[test]
fn what_the_brake_holds_is_confirmed_by_number() {
    let confirm = |instances: Value| {
        request(command(
            &json!({"command": "confirm", "instances": instances}),
        ))
    };
    assert_eq!(confirm(json!("37")).unwrap().ask, Ask::Confirm(37));
    let confirmed = confirm(json!(37)).unwrap();
    assert_eq!(confirmed.ask, Ask::Confirm(37));
    assert_eq!(
        (confirmed.scope, confirmed.order),
        (Scope::All, Order::Person)
    );
    for wrong in [json!("all"), json!(-1), json!(3.5), json!(""), Value::Null] {
        assert!(confirm(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn a_state_change_points_at_its_instance() {
    for state in ["pending", "running"] {
        let detail = json!({"instance-id": "i-1", "state": state});
        let request = request(event(STATE_CHANGE, &detail)).unwrap();
        assert_eq!((request.scope, request.ask), (one("i-1"), Ask::Reconcile));
    }
}

#[test]
fn orders_act_in_every_mode_and_questions_in_none() {
    let release = |from_labels| Ask::Release {
        instance: INSTANCE.to_owned(),
        from_labels,
    };
    let quarantine = Ask::Quarantine {
        instance: INSTANCE.to_owned(),
        reason: "odd".to_owned(),
    };
    for (fields, ask, scope, order) in [
        (
            json!({"command": "release", "instance-id": INSTANCE}),
            release(false),
            one(INSTANCE),
            Order::Person,
        ),
        (
            json!({"command": "release", "instance-id": INSTANCE, "from-labels": true}),
            release(true),
            one(INSTANCE),
            Order::Person,
        ),
        (
            json!({"command": "release", "group": "web"}),
            Ask::ReleaseGroup("web".to_owned()),
            Scope::one(Resource::group("web")),
            Order::Person,
        ),
        (
            json!({"command": "quarantine", "instance-id": INSTANCE, "reason": "odd"}),
            quarantine,
            one(INSTANCE),
            Order::Person,
        ),
        (
            json!({"command": "check", "instance-id": INSTANCE}),
            Ask::CheckInstance(INSTANCE.to_owned()),
            one(INSTANCE),
            Order::Question,
        ),
        (
            json!({"command": "check", "image-id": IMAGE}),
            Ask::CheckImage(IMAGE.to_owned()),
            Scope::one(Resource::Image(IMAGE.to_owned())),
            Order::Question,
        ),
    ] {
        let request = request(command(&fields)).unwrap();
        assert_eq!(
            (request.ask, request.scope, request.order),
            (ask, scope, order)
        );
    }
}

#[test]
fn other_events_and_commands_are_refused() {
    let mut other_call = run_instances();
    other_call["eventName"] = json!("StartInstances");
    let mut nothing = run_instances();
    nothing["responseElements"] = json!({"instancesSet": {"items": []}});
    let mut all = run_instances();
    all["responseElements"] = json!({"instancesSet": {"items": [{"instanceId": "i-*"}]}});
    for payload in [
        event(
            STATE_CHANGE,
            &json!({"instance-id": "i-1", "state": "stopped"}),
        ),
        event(
            STATE_CHANGE,
            &json!({"instance-id": "vol-1", "state": "running"}),
        ),
        event(CALL, &other_call),
        event(CALL, &nothing),
        event(CALL, &all),
        event("Another", &run_instances()),
        command(&json!({"command": "free", "instance-id": INSTANCE})),
        command(&json!({"command": "release"})),
        command(&json!({"command": "release", "instance-id": "web-1"})),
        command(&json!({"command": "release", "instance-id": "i-1*"})),
        command(&json!({"command": "release", "instance-id": "i-0123456789abcdef01"})),
        command(&json!({"command": "release", "instance-id": INSTANCE, "from-labels": "yes"})),
        command(&json!({"command": "release", "group": "web", "from-labels": true})),
        command(&json!({"command": "release", "instance-id": INSTANCE, "group": "web"})),
        command(&json!({"command": "release", "instance-id": INSTANCE, "now": "yes"})),
        command(&json!({"command": "quarantine", "instance-id": INSTANCE})),
        command(&json!({"command": "quarantine", "instance-id": INSTANCE, "reason": ""})),
        command(&json!({"command": "check"})),
        command(&json!({"command": "check", "image-id": INSTANCE})),
        command(&json!({"command": "check", "image-id": IMAGE, "instance-id": INSTANCE})),
    ] {
        assert!(request(payload.clone()).is_err(), "{payload}");
    }
}
