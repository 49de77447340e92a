//! What an invocation may be asked: an AWS event, the sweep, or a person's command.
//!
//! An event only says where to look; nothing in it is trusted as the state (SAM-3: at least once,
//! out of order).

use aws_lambda_events::event::eventbridge::EventBridgeEvent;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::resource::Resource;
use crate::text::{choice, clip, name, quoted};

/// Most characters of an argument: more than any name or reason needs that a command takes.
const LONGEST_ARGUMENT: usize = 512;

/// What started this invocation.
#[derive(Debug, Clone, PartialEq)]
pub enum Trigger {
    /// Look at everything.
    Sweep,
    /// Something happened, as EventBridge delivers it.
    Event(Event),
    /// A person asks through `aws lambda invoke`.
    Command(Command),
}

/// An event of an AWS service.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `aws.ec2` and the like.
    pub source: String,
    /// The detail type that rules match on.
    pub detail_type: String,
    /// The service's own part.
    pub detail: Value,
}

impl Event {
    /// A text field of the detail.
    #[must_use]
    pub fn detail_str(&self, key: &str) -> Option<&str> {
        self.detail.get(key).and_then(Value::as_str)
    }

    /// The instance that has come into one of `states`; none where the event is no state change of
    /// an instance. Its state is read anew all the same.
    #[must_use]
    pub fn instance_in(&self, states: &[&str]) -> Option<Result<&str, TriggerError>> {
        if (self.source.as_str(), self.detail_type.as_str())
            != ("aws.ec2", "EC2 Instance State-change Notification")
        {
            return None;
        }
        let state = self.detail_str("state").unwrap_or_default();
        if !states.contains(&state) {
            let problem = format!("its `state` is not {}", states.join(" or "));
            return Some(Err(TriggerError::event(self, &problem)));
        }
        let instance = self
            .detail_str("instance-id")
            .filter(|id| names_one(id, "i-"));
        Some(
            instance
                .ok_or_else(|| TriggerError::event(self, "it names no instance as `instance-id`")),
        )
    }
}

/// A command with its arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// What to do.
    pub name: String,
    /// The other keys of the payload.
    pub arguments: Map<String, Value>,
}

impl Command {
    /// An argument that must be there, as text. No further argument is accepted, so that a
    /// misspelt one doesn't pass unseen.
    pub fn only_argument(&self, key: &str) -> Result<&str, TriggerError> {
        self.takes(&[key])?;
        self.argument(key)
    }

    /// The same for the id of a resource.
    pub fn only_id(&self, key: &str, prefix: &str) -> Result<&str, TriggerError> {
        self.takes(&[key])?;
        self.id(key, prefix)
    }

    /// Refuses arguments other than `keys`.
    pub fn takes(&self, keys: &[&str]) -> Result<(), TriggerError> {
        let mut given = self.arguments.keys();
        let Some(other) = given.find(|have| !keys.contains(&have.as_str())) else {
            return Ok(());
        };
        let takes = match keys {
            [] => "none".to_owned(),
            keys => choice(keys),
        };
        Err(self.wrong(format!(
            "unknown argument `{}`; it takes {takes}",
            name(other)
        )))
    }

    /// An argument that must be there, as text.
    pub fn argument(&self, key: &str) -> Result<&str, TriggerError> {
        let problem = match self.arguments.get(key) {
            None => "is missing",
            Some(Value::String(text)) if text.trim().is_empty() => "is empty",
            Some(Value::String(text)) if text.len() > LONGEST_ARGUMENT => "is too long",
            Some(Value::String(text)) => return Ok(text),
            Some(_) => "is not a text",
        };
        Err(self.wrong(format!("argument `{key}` {problem}")))
    }

    /// An argument that must be there, as the id of one resource: `prefix` and 8 or 17 hexadecimal
    /// digits. AWS takes `*` and `?` in a filter for any characters, so what isn't an id could
    /// mean many.
    pub fn id(&self, key: &str, prefix: &str) -> Result<&str, TriggerError> {
        let id = self.argument(key)?;
        let digits = id.strip_prefix(prefix).unwrap_or_default();
        let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if matches!(digits.len(), 8 | 17) && digits.bytes().all(hexadecimal) {
            return Ok(id);
        }
        Err(self.wrong(format!(
            "argument `{key}`: {} is no id; it looks like {prefix}0123456789abcdef0",
            quoted(id)
        )))
    }

    /// A switch; off where it isn't given.
    pub fn switch(&self, key: &str) -> Result<bool, TriggerError> {
        match self.arguments.get(key) {
            None => Ok(false),
            Some(Value::Bool(on)) => Ok(*on),
            Some(_) => Err(self.wrong(format!("argument `{key}` must be true or false"))),
        }
    }

    fn wrong(&self, problem: String) -> TriggerError {
        TriggerError::Argument {
            command: self.name.clone(),
            problem,
        }
    }
}

/// Where a guardrail is to look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scope {
    /// At everything in the account and Region.
    #[default]
    All,
    /// At these resources and what belongs to each, as if it were the only one.
    Only(Vec<Resource>),
}

impl Scope {
    /// One resource.
    #[must_use]
    pub fn one(resource: Resource) -> Self {
        Self::Only(vec![resource])
    }

    /// The resources that are named; none when everything is meant.
    #[must_use]
    pub fn named(&self) -> &[Resource] {
        match self {
            Self::All => &[],
            Self::Only(named) => named,
        }
    }
}

/// What a trigger means to a guardrail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request<A> {
    /// Where to look.
    pub scope: Scope,
    /// Who wants it.
    pub order: Order,
    /// What was asked or told beyond where to look.
    pub ask: A,
}

/// Who wants something done, and so what the mode says about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// The guardrail itself: the mode is its gate.
    #[default]
    Own,
    /// A person asks what would be done: nothing is changed whatever the mode.
    Question,
    /// A person orders it: it is carried out whatever the mode.
    Person,
}

impl<A: Default> Request<A> {
    /// Looks at everything, and acts.
    #[must_use]
    pub fn sweep() -> Self {
        Self::of(Scope::All)
    }

    /// Looks at `scope`, and acts.
    #[must_use]
    pub fn of(scope: Scope) -> Self {
        Self {
            scope,
            ..Self::default()
        }
    }

    /// Looks at `scope`, and only answers.
    #[must_use]
    pub fn asking(scope: Scope) -> Self {
        Self {
            order: Order::Question,
            ..Self::of(scope)
        }
    }
}

/// An invocation that asks for nothing that the function does. Nothing has been done.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TriggerError {
    /// None of the three shapes.
    #[error(
        "not a trigger: {problem}. Send an AWS event as EventBridge delivers it, {{\"trigger\": \"sweep\"}}, or {{\"trigger\": \"command\", \"command\": \"…\"}}"
    )]
    Shape {
        /// What is wrong with it.
        problem: String,
    },
    /// An event that this guardrail doesn't look at.
    #[error(
        "event `{}` of {} is not one that this guardrail looks at: {problem}; check the rule that sent it",
        name(detail_type),
        name(event_source)
    )]
    Event {
        /// The event's source.
        event_source: String,
        /// The event's detail type.
        detail_type: String,
        /// Why it can't be used.
        problem: String,
    },
    /// A command that this guardrail doesn't know.
    #[error("unknown command `{}`; this guardrail knows: {known}", clip(name, 100))]
    Command {
        /// What was asked.
        name: String,
        /// What could have been.
        known: &'static str,
    },
    /// A command that came in by another way than people's.
    #[error(
        "command `{}` came to the function itself: commands are taken through its alias `{alias}` only, which no rule may invoke; give it with --function-name {function} --qualifier {alias}",
        clip(command, 100)
    )]
    NotByOperator {
        /// The command.
        command: String,
        /// The function's name.
        function: String,
        /// The alias.
        alias: &'static str,
    },
    /// A command with wrong arguments.
    #[error("command `{}`: {problem}", name(command))]
    Argument {
        /// The command.
        command: String,
        /// What is wrong.
        problem: String,
    },
}

impl TriggerError {
    /// An event that can't be used, and why.
    #[must_use]
    pub fn event(event: &Event, problem: &str) -> Self {
        Self::Event {
            event_source: event.source.clone(),
            detail_type: event.detail_type.clone(),
            problem: problem.to_owned(),
        }
    }
}

/// Whether `payload` is the sweep.
pub(crate) fn is_sweep(payload: &Value) -> bool {
    payload["trigger"] == "sweep"
}

fn shape(problem: impl Into<String>) -> TriggerError {
    TriggerError::Shape {
        problem: problem.into(),
    }
}

/// Tells the three shapes apart.
pub fn parse(payload: Value) -> Result<Trigger, TriggerError> {
    let Value::Object(mut fields) = payload else {
        return Err(shape("the payload is not a JSON object"));
    };
    let Some(trigger) = fields.remove("trigger") else {
        if !fields.contains_key("detail-type") || !fields.contains_key("source") {
            let problem = "it has neither `trigger` nor `source` and `detail-type`";
            return Err(shape(problem));
        }
        let event = EventBridgeEvent::<Value>::deserialize(Value::Object(fields));
        let event = event.map_err(|error| {
            let why = clip(&error.to_string(), 300);
            shape(format!("the event can't be read: {why}"))
        })?;
        return Ok(Trigger::Event(Event {
            source: event.source,
            detail_type: event.detail_type,
            detail: event.detail,
        }));
    };
    match trigger.as_str() {
        Some("sweep") => match fields.keys().next() {
            None => Ok(Trigger::Sweep),
            Some(key) => Err(shape(format!("a sweep takes no `{}`", name(key)))),
        },
        Some("command") => match fields.remove("command") {
            Some(Value::String(name)) => Ok(Trigger::Command(Command {
                name,
                arguments: fields,
            })),
            Some(_) => Err(shape("`command` is not a text")),
            None => Err(shape("`command` is missing")),
        },
        Some(other) => Err(shape(format!("unknown trigger {}", quoted(other)))),
        None => Err(shape("`trigger` is not a text")),
    }
}

/// Whether `id` can name no more than one resource, whatever call it goes into.
fn names_one(id: &str, prefix: &str) -> bool {
    id.strip_prefix(prefix).is_some_and(|rest| {
        (1..=32).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tells_the_three_shapes_apart() {
        assert_eq!(parse(json!({"trigger": "sweep"})).unwrap(), Trigger::Sweep);
        let Trigger::Command(command) =
            parse(json!({"trigger": "command", "command": "explain", "volume-id": "vol-1"}))
                .unwrap()
        else {
            panic!("a command");
        };
        assert_eq!(command.only_argument("volume-id").unwrap(), "vol-1");
        let event = parse(json!({
            "version": "0", "id": "1", "source": "aws.ec2", "account": "1", "region": "r",
            "time": "2026-11-21T03:00:00Z", "resources": [],
            "detail-type": "EBS Snapshot Notification", "detail": {"event": "createSnapshot"}
        }))
        .unwrap();
        let Trigger::Event(event) = event else {
            panic!("an event");
        };
        assert_eq!(event.detail_str("event"), Some("createSnapshot"));
    }

    #[test]
    fn anything_else_is_an_error_that_says_what_is_accepted() {
        for payload in [
            json!(null),
            json!([]),
            json!({}),
            json!({"trigger": "now"}),
            json!({"trigger": 1}),
            json!({"trigger": "sweep", "volume-id": "vol-1"}),
            json!({"trigger": "command"}),
            json!({"detail-type": "x"}),
            json!({"Records": []}),
        ] {
            let error = parse(payload.clone()).unwrap_err().to_string();
            assert!(
                error.contains(r#"{"trigger": "sweep"}"#),
                "{payload}: {error}"
            );
        }
    }

    #[test]
    fn a_misspelt_argument_is_refused() {
        for (takes, told) in [(&["volume-id"][..], "`volume-id`"), (&[], "none")] {
            let error = command(&json!({"volume": "vol-1"}))
                .takes(takes)
                .unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("command `explain`: unknown argument `volume`; it takes {told}")
            );
        }
    }

    fn command(arguments: &Value) -> Command {
        let Value::Object(arguments) = arguments.clone() else {
            panic!("arguments");
        };
        Command {
            name: "explain".to_owned(),
            arguments,
        }
    }

    /// `vol-*` in a filter means every volume.
    #[test]
    fn an_id_names_one_resource() {
        for id in ["vol-0123456789abcdef0", "vol-01234567"] {
            assert_eq!(
                command(&json!({"volume-id": id})).only_id("volume-id", "vol-"),
                Ok(id)
            );
        }
        for (value, expected) in [
            (
                json!("vol-*"),
                "argument `volume-id`: \"vol-*\" is no id; it looks like vol-0123456789abcdef0",
            ),
            (json!("vol-0123456?"), "is no id"),
            (json!("vol-0123456789ABCDEF0"), "is no id"),
            (json!("vol-0123456789abcdef01"), "is no id"),
            (json!("i-0123456789abcdef0"), "is no id"),
            (json!("vol-"), "is no id"),
            (json!("0123456789abcdef0"), "is no id"),
            (json!(" vol-01234567"), "is no id"),
            (json!(""), "argument `volume-id` is empty"),
            (json!(" "), "argument `volume-id` is empty"),
            (json!(7), "argument `volume-id` is not a text"),
            (json!(null), "argument `volume-id` is not a text"),
            (
                json!(["vol-01234567"]),
                "argument `volume-id` is not a text",
            ),
        ] {
            let error = command(&json!({"volume-id": value}))
                .id("volume-id", "vol-")
                .unwrap_err();
            let text = error.to_string();
            assert!(
                text.starts_with("command `explain`: ") && text.contains(expected),
                "{value}: {text}"
            );
        }
        let error = command(&json!({})).id("volume-id", "vol-").unwrap_err();
        assert_eq!(
            error.to_string(),
            "command `explain`: argument `volume-id` is missing"
        );
        let two = command(&json!({"volume-id": "vol-01234567", "volume": "x"}));
        assert!(two.only_id("volume-id", "vol-").is_err());
    }

    #[test]
    fn a_switch_is_on_off_or_wrong() {
        for (value, expected) in [
            (json!(true), Some(true)),
            (json!(false), Some(false)),
            (json!("true"), None),
            (json!(1), None),
        ] {
            assert_eq!(
                command(&json!({"force": value})).switch("force").ok(),
                expected,
                "{value}"
            );
        }
        assert_eq!(command(&json!({})).switch("force"), Ok(false));
    }

    #[test]
    fn an_events_instance_is_one() {
        let event = |id: &str| Event {
            source: "aws.ec2".to_owned(),
            detail_type: "EC2 Instance State-change Notification".to_owned(),
            detail: json!({"state": "running", "instance-id": id}),
        };
        assert_eq!(
            event("i-0123456789abcdef0").instance_in(&["running"]),
            Some(Ok("i-0123456789abcdef0"))
        );
        for id in ["i-*", "i-", "i-0?", "", "vol-1"] {
            assert!(
                matches!(event(id).instance_in(&["running"]), Some(Err(_))),
                "{id}"
            );
        }
    }

    /// Whatever is sent: the answer is limited to 6 MB by Lambda, and somebody has to read it.
    #[test]
    fn a_refusal_does_not_echo_what_it_refuses() {
        let long = "x".repeat(4_000_000);
        let known = "explain";
        let event = |detail: Value| Event {
            source: long.clone(),
            detail_type: long.clone(),
            detail,
        };
        let mut refusals = vec![
            TriggerError::event(&event(json!({})), "wrong source or detail type"),
            TriggerError::Command {
                name: long.clone(),
                known,
            },
            command(&json!({long.clone(): 1}))
                .takes(&["volume-id"])
                .unwrap_err(),
            command(&json!({"volume-id": long.clone()}))
                .id("volume-id", "vol-")
                .unwrap_err(),
            command(&json!({"volume-id": long.clone()}))
                .argument("volume-id")
                .unwrap_err(),
            command(&json!({"volume-id": [long.clone()]}))
                .argument("volume-id")
                .unwrap_err(),
        ];
        for payload in [
            json!(long.clone()),
            json!([long.clone()]),
            json!({"trigger": long.clone()}),
            json!({"trigger": {long.clone(): long.clone()}}),
            json!({"trigger": "sweep", long.clone(): 1}),
            json!({"trigger": "command", "command": [long.clone()]}),
            json!({"detail-type": {long.clone(): 1}, "source": "aws.ec2"}),
            json!({"detail-type": "x", "source": "aws.ec2", "time": long.clone(), "detail": {}}),
        ] {
            refusals.push(parse(payload).unwrap_err());
        }
        let mut named = command(&json!({"volume-id": 1}));
        named.name.clone_from(&long);
        refusals.push(named.argument("volume-id").unwrap_err());
        for refusal in refusals {
            let text = refusal.to_string();
            assert!(text.len() < 2_000, "{} bytes: {}", text.len(), &text[..300]);
        }
    }
}
