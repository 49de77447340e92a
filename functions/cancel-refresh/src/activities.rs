//! What a scaling activity did. Pure.

use crate::facts::Activity;
use crate::words::{self, Fault, Why};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Did<'a> {
    Launch {
        /// Unknown until there is one, and where there never was.
        instance: Option<&'a str>,
        /// Whether it was taken out of the group's warm pool, made before.
        from_pool: bool,
        came: Came<'a>,
    },
    /// An instance made for the warm pool: it serves nobody so far.
    IntoPool {
        instance: Option<&'a str>,
    },
    Terminate {
        instance: &'a str,
        why: Why,
    },
    Other,
}

impl Did<'_> {
    pub(crate) fn is_failed_launch(&self) -> bool {
        match self {
            Self::Launch { came, .. } => matches!(came, Came::Failed { .. }),
            _ => false,
        }
    }
}

/// What came of a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Came<'a> {
    UnderWay,
    InService,
    Failed { fault: Fault, message: &'a str },
}

pub(crate) fn read(activity: &Activity) -> Did<'_> {
    let description = activity.description.as_str();
    let instance = instance_in(description);
    if description.starts_with("Launching a new EC2 instance into warm pool") {
        Did::IntoPool { instance }
    } else if description.starts_with("Launching a new EC2 instance") {
        came(activity, instance).map_or(Did::Other, |came| Did::Launch {
            instance,
            from_pool: description.contains("from warm pool"),
            came,
        })
    } else if description.starts_with("Terminating EC2 instance")
        && !description.contains("warm pool")
        && let Some(instance) = instance
    {
        Did::Terminate {
            instance,
            why: words::why(&activity.cause),
        }
    } else {
        Did::Other
    }
}

/// What came of a launch; none: it was broken off from outside.
fn came<'a>(activity: &'a Activity, instance: Option<&str>) -> Option<Came<'a>> {
    let message = message_of(activity);
    let fault = words::fault(message);
    match activity.status.as_str() {
        "Successful" => instance.map(|_| Came::InService),
        "Failed" => Some(Came::Failed { fault, message }),
        // Also what a scale-in or the end of a refresh breaks off. Only what names the instance's
        // own failure counts (ASG-5).
        "Cancelled" => (words::is_failed_instance(message) || fault == Fault::Permanent)
            .then_some(Came::Failed { fault, message }),
        _ => Some(Came::UnderWay),
    }
}

/// Whether it goes on, and not for want of somebody's answer to a lifecycle hook.
pub(crate) fn is_under_way(activity: &Activity) -> bool {
    let ended = ["Successful", "Failed", "Cancelled", "MidLifecycleAction"];
    !ended.contains(&activity.status.as_str())
}

/// The instance that a description names.
fn instance_in(description: &str) -> Option<&str> {
    let from = description.find("i-")?;
    let id = &description[from..];
    let end = id
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .unwrap_or(id.len());
    // `i-` and the 8 or 17 hexadecimal digits of an id; not the end of some other word.
    let id = &id[..end];
    let digits = &id[2..];
    let is_id = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let word = from == 0 || description[..from].ends_with([' ', ':']);
    (is_id && word).then_some(id)
}

/// AWS's words: the status message, else what the description says after `Status Reason:`.
fn message_of(activity: &Activity) -> &str {
    let message = activity.message.as_deref().unwrap_or_default().trim();
    if !message.is_empty() {
        return message;
    }
    activity
        .description
        .split_once("Status Reason:")
        .map_or("", |(_, reason)| reason.trim())
}

#[cfg(test)]
mod tests;
