//! What a trigger asks for.

use guardrails::resource::Resource;
use guardrails::trigger::{Command, Event, Order, Request, Scope, Trigger, TriggerError};
use serde_json::Value;

use crate::launcher::Launcher;

/// What is asked for beyond where to look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Ask {
    /// The difference between what is and what the policy wants.
    #[default]
    Reconcile,
    /// The same for a launch whose record names the launcher.
    Launched(Launcher),
    /// What would be decided about an instance.
    CheckInstance(String),
    /// What would be decided about an AMI.
    CheckImage(String),
    /// What is in quarantine, and since when.
    List,
    /// How many launches of the last week were approved, and by which rules.
    Launches,
    /// A person's order to quarantine an instance.
    Quarantine {
        /// The instance.
        instance: String,
        /// The person's reason.
        reason: String,
    },
    /// A person's order to release an instance.
    Release {
        /// The instance.
        instance: String,
        /// Whether to go by its labels where nothing was recorded.
        from_labels: bool,
    },
    /// A person's order to resume what was suspended of a group.
    ReleaseGroup(String),
    /// A person's word that what the brake holds back, so many instances at most, is to be isolated.
    Confirm(usize),
}

impl Ask {
    /// Whether no person asks or orders anything.
    pub fn is_reconcile(&self) -> bool {
        matches!(self, Self::Reconcile | Self::Launched(_))
    }

    /// Whether a person asks or orders what a sweep would do.
    pub fn is_about_launches(&self) -> bool {
        matches!(self, Self::CheckInstance(_) | Self::Confirm(_))
    }

    /// Who launched, where the event says it.
    pub fn launcher(&self) -> Option<&Launcher> {
        match self {
            Self::Launched(launcher) => Some(launcher),
            _ => None,
        }
    }
}

/// Where a trigger says to look.
pub(crate) fn request(trigger: &Trigger) -> Result<Request<Ask>, TriggerError> {
    match trigger {
        Trigger::Sweep => Ok(Request::sweep()),
        Trigger::Event(event) => of_event(event),
        Trigger::Command(command) => of_command(command),
    }
}

fn of_event(event: &Event) -> Result<Request<Ask>, TriggerError> {
    if let Some(instance) = event.instance_in(&["pending", "running"]) {
        return Ok(Request::of(Scope::one(Resource::instance(instance?))));
    }
    if (event.source.as_str(), event.detail_type.as_str())
        != ("aws.ec2", "AWS API Call via CloudTrail")
    {
        return Err(TriggerError::event(event, "wrong source or detail type"));
    }
    if event.detail_str("eventName") != Some("RunInstances") {
        return Err(TriggerError::event(event, "its call is not RunInstances"));
    }
    // A failed call launched nothing (AMI-1): nothing to look at, and nothing wrong.
    let code = event.detail.get("errorCode");
    if code.is_some_and(|code| !code.is_null()) {
        return Ok(Request::of(Scope::Only(Vec::new())));
    }
    // CloudTrail leaves out what is larger than 100 KB (AMI-10): then it may be any instance.
    if is_omitted(&event.detail) {
        return Ok(Request::sweep());
    }
    let ids = launched(&event.detail)
        .ok_or_else(|| TriggerError::event(event, "it names no instances"))?;
    Ok(Request {
        ask: Launcher::of(&event.detail).map_or(Ask::Reconcile, Ask::Launched),
        ..Request::of(Scope::Only(ids))
    })
}

/// Whether the answer was too large for the record, which says so in its place.
fn is_omitted(record: &Value) -> bool {
    let answer = record.get("responseElements");
    answer.is_some_and(|answer| answer["omitted"] == true)
}

/// The instances in a `RunInstances` record: all items of the answer. In a filter `*` and `?` stand
/// for others.
fn launched(record: &Value) -> Option<Vec<Resource>> {
    let items = record
        .pointer("/responseElements/instancesSet/items")?
        .as_array()?;
    let is_id = |id: &&str| id.starts_with("i-") && !id.contains(['*', '?']);
    let ids: Vec<Resource> = items
        .iter()
        .filter_map(|item| item.get("instanceId")?.as_str())
        .filter(is_id)
        .map(Resource::instance)
        .collect();
    (!ids.is_empty()).then_some(ids)
}

fn of_command(command: &Command) -> Result<Request<Ask>, TriggerError> {
    let has = |key: &str| command.arguments.contains_key(key);
    let order = |resource, ask| Request {
        order: Order::Person,
        ask,
        ..Request::of(Scope::one(resource))
    };
    let question = |resource, ask| Request {
        ask,
        ..Request::asking(Scope::one(resource))
    };
    match command.name.as_str() {
        "release" if has("group") => {
            let group = command.only_argument("group")?.to_owned();
            Ok(order(Resource::group(&group), Ask::ReleaseGroup(group)))
        }
        "release" => {
            command.takes(&["instance-id", "group", "from-labels"])?;
            let instance = command.id("instance-id", "i-")?.to_owned();
            let from_labels = command.switch("from-labels")?;
            let ask = Ask::Release {
                instance: instance.clone(),
                from_labels,
            };
            Ok(order(Resource::Instance(instance), ask))
        }
        "quarantine" => {
            command.takes(&["instance-id", "reason"])?;
            let instance = command.id("instance-id", "i-")?.to_owned();
            let reason = command.argument("reason")?.to_owned();
            let ask = Ask::Quarantine {
                instance: instance.clone(),
                reason,
            };
            Ok(order(Resource::Instance(instance), ask))
        }
        "confirm" => {
            command.takes(&["instances"])?;
            let instances = match command.arguments.get("instances") {
                Some(Value::Number(number)) => number.as_u64(),
                Some(Value::String(text)) => text.trim().parse().ok(),
                _ => None,
            };
            let instances = instances.and_then(|number| usize::try_from(number).ok());
            let instances = instances.ok_or_else(|| TriggerError::Argument {
                command: command.name.clone(),
                problem:
                    "argument `instances` must be a number: how many the notice says are held back"
                        .to_owned(),
            })?;
            Ok(Request {
                order: Order::Person,
                ask: Ask::Confirm(instances),
                ..Request::sweep()
            })
        }
        "list" | "launches" => {
            command.takes(&[])?;
            let ask = match command.name.as_str() {
                "list" => Ask::List,
                _ => Ask::Launches,
            };
            Ok(Request {
                ask,
                ..Request::asking(Scope::Only(Vec::new()))
            })
        }
        "check" if has("image-id") => {
            let image = command.only_id("image-id", "ami-")?.to_owned();
            Ok(question(
                Resource::Image(image.clone()),
                Ask::CheckImage(image),
            ))
        }
        "check" => {
            command.takes(&["instance-id", "image-id"])?;
            let instance = command.id("instance-id", "i-")?.to_owned();
            Ok(question(
                Resource::instance(&instance),
                Ask::CheckInstance(instance),
            ))
        }
        _ => Err(TriggerError::Command {
            name: command.name.clone(),
            known: "release (with `instance-id`, or with `group`), quarantine (with `instance-id` and `reason`), confirm (with `instances`), check (with `instance-id` or `image-id`), list, launches",
        }),
    }
}

#[cfg(test)]
mod tests;
