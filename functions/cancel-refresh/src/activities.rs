//! What a scaling activity says: a launch or a termination, and whose fault it is. Pure.
//!
//! The texts have no contract (ASG-5). The tables below hold those that AWS documents
//! ("Troubleshoot Amazon EC2 Auto Scaling": launch failures, AMI issues, health checks; and "Why
//! did Amazon EC2 Auto Scaling terminate an instance?") or that stand in public reports. What no
//! table knows counts as an ordinary failed launch, and never as an unhealthy instance.

use serde::Serialize;

use crate::facts::Activity;

/// Whose fault a failed launch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// It fails every time until somebody changes something: a missing security group or key, a
    /// bad AMI or device mapping, an unsupported type.
    Permanent,
    /// AWS had nothing to give: capacity, Spot, quotas, addresses (ASG-8). Not the release's.
    Capacity,
    /// Somebody or something outside of the release ended it.
    Outside,
    Other,
}

/// Why a member was terminated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Why {
    /// It failed a health check.
    Unhealthy,
    /// It was found stopped or terminated: whether by itself, only EC2 tells.
    FoundGone,
    /// Spot, scale-in, a person, the refresh itself, or anything else.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Did<'a> {
    Launched {
        instance: &'a str,
    },
    Launching {
        instance: Option<&'a str>,
    },
    LaunchFailed {
        /// The instance, where there was one.
        instance: Option<&'a str>,
        fault: Fault,
        message: &'a str,
    },
    Terminated {
        instance: &'a str,
        why: Why,
    },
    Other,
}

pub(crate) fn read(activity: &Activity) -> Did<'_> {
    let description = activity.description.as_str();
    let instance = instance_in(description);
    if description.starts_with("Launching a new EC2 instance") {
        let message = message_of(activity);
        match (activity.status.as_str(), instance) {
            ("Successful", Some(instance)) => Did::Launched { instance },
            ("Failed", _) => Did::LaunchFailed {
                instance,
                fault: fault(message),
                message,
            },
            // Also what a scale-in or the end of a refresh breaks off. Only what names the
            // instance's own failure counts (ASG-5).
            ("Cancelled", _) if is_failed_instance(message) => Did::LaunchFailed {
                instance,
                fault: fault(message),
                message,
            },
            ("Cancelled" | "Successful", _) => Did::Other,
            _ => Did::Launching { instance },
        }
    } else if description.starts_with("Terminating EC2 instance") {
        match instance {
            Some(instance) => Did::Terminated {
                instance,
                why: why(&activity.cause),
            },
            None => Did::Other,
        }
    } else {
        Did::Other
    }
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

/// What says of a cancelled launch that the instance itself failed: its hook was abandoned or ran
/// out of time, or it died before it was in service.
fn is_failed_instance(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "failed to complete user's lifecycle action",
        "was abandoned",
        "abandon result",
        "became unhealthy while waiting for instance to be in inservice",
    ]
    .iter()
    .any(|text| message.contains(text))
}

/// Not the release's fault, in lower case. Looked for first: "your requested instance type is not
/// supported … capacity" must not count.
const CAPACITY: &[&str] = &[
    "insufficientinstancecapacity",
    "insufficienthostcapacity",
    "insufficientreservedinstancecapacity",
    "insufficientcapacity",
    "do not have sufficient",
    "does not have sufficient compatible and available capacity",
    "insufficient capacity",
    "no spot capacity available",
    "unfulfillablecapacity",
    "unable to fulfill capacity",
    "could not launch spot instances",
    "could not launch on-demand instances. insufficient",
    "spot request price",
    "spot market price",
    "spotmaxpricetoolow",
    "spotinterruption",
    "server.spotinstance",
    "maxspotinstancecountexceeded",
    "max spot instance count exceeded",
    "vcpulimitexceeded",
    "instancelimitexceeded",
    "requested more vcpu capacity than your current vcpu limit",
    "your quota allows for",
    "instance(s) are already running",
    "instances than your current instance limit",
    "insufficientfreeaddressesinsubnet",
    "not enough free addresses in subnet",
    "insufficientvolumecapacity",
    "volumelimitexceeded",
    "requestlimitexceeded",
    "request limit exceeded",
    "rate exceeded",
    "server.insufficientinstancecapacity",
    "server.internalerror",
    "availability zone is currently constrained",
    "availability zone is no longer supported",
];

/// Ended from outside, in lower case.
const OUTSIDE: &[&str] = &["client.userinitiatedshutdown", "user initiated shutdown"];

/// Fails every time, in lower case: all words of an entry must occur.
const PERMANENT: &[&[&str]] = &[
    &["security group", "does not exist"],
    &["invalidgroup.notfound"],
    &["key pair", "does not exist"],
    &["invalidkeypair.notfound"],
    &["ami id", "does not exist"],
    &["image id", "does not exist"],
    &["invalidamiid"],
    &["image", "is not available"],
    &["image", "is no longer available"],
    &["image", "has been deregistered"],
    &["ami", "is disabled"],
    &["not authorized for images"],
    &["launch template", "does not exist"],
    &["launch template version", "is not valid"],
    &["invalidlaunchtemplate"],
    &["invalid device name"],
    &["block device mapping"],
    &["invalidblockdevicemapping"],
    &["parameter virtualname is invalid"],
    &["snapshot", "does not exist"],
    &["invalidsnapshot.notfound"],
    &["smaller than snapshot"],
    &["requested configuration is currently not supported"],
    &["requested instance type", "is not supported"],
    &["instance type", "architecture", "match"],
    &["architecture", "does not match"],
    &["invalid value", "for instancetype"],
    &["not supported for instance type"],
    &["non-windows instances with a virtualization type"],
    &["placement groups may not be used with instances of type"],
];

/// Whose fault a failed launch is, by AWS's words.
pub(crate) fn fault(message: &str) -> Fault {
    let message = message.to_ascii_lowercase();
    if CAPACITY.iter().any(|text| message.contains(text)) {
        Fault::Capacity
    } else if OUTSIDE.iter().any(|text| message.contains(text)) {
        Fault::Outside
    } else if PERMANENT
        .iter()
        .any(|texts| texts.iter().all(|text| message.contains(text)))
    {
        Fault::Permanent
    } else {
        Fault::Other
    }
}

/// What `… was taken out of service in response to` goes on with.
const IN_RESPONSE: &str = "taken out of service in response to ";

/// Why a member was terminated, by the cause's sentence that says so. The sentences before it tell
/// of what led there (`a user request update of AutoScalingGroup constraints …`).
pub(crate) fn why(cause: &str) -> Why {
    let cause = cause.to_ascii_lowercase();
    let Some(from) = cause.find(IN_RESPONSE) else {
        return Why::Other;
    };
    let rest = &cause[from + IN_RESPONSE.len()..];
    let sentence = rest.split(".  at ").next().unwrap_or(rest);
    let sentence = sentence.split(". at ").next().unwrap_or(sentence);
    if sentence.contains("indicating it has been terminated or stopped") {
        Why::FoundGone
    } else if sentence.contains("spot") || sentence.contains("rebalance") {
        Why::Other
    } else if [
        "health check",
        "health-check",
        "status check",
        "status-check",
    ]
    .iter()
    .any(|text| sentence.contains(text))
    {
        Why::Unhealthy
    } else {
        Why::Other
    }
}

/// Whether an instance that was found stopped or terminated failed by itself, by the code of its
/// state's reason. `Client.UserInitiatedShutdown` is a person, or the group itself.
pub(crate) fn failed_by_itself(reason: Option<&str>) -> bool {
    matches!(
        reason,
        Some(
            "Client.InstanceInitiatedShutdown"
                | "Client.InternalError"
                | "Client.InvalidSnapshot.NotFound"
        )
    )
}

#[cfg(test)]
mod tests;
