//! What the guardrail remembers, in its partition of the state table.
//!
//! What a release puts back is taken from here, and it was written from what AWS said before
//! anything was changed. What stands is never overwritten: a second run would write down the
//! isolation as what was before.

use std::collections::{BTreeMap, BTreeSet};

use guardrails::policy::Age;
use guardrails::state::Topic;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::launcher::Who;

/// Of an instance: its quarantine. Kept until its release is done, or it is gone.
pub(crate) const QUARANTINE: Topic<Record> = Topic::new("quarantine");
/// Of an instance: the AMI for which a person released it.
pub(crate) const RELEASED: Topic<Released> = Topic::new("released");
/// Of an instance: the rule that approved its launch.
pub(crate) const LAUNCH: Topic<Approval> = Topic::new("launch");
/// Of an Auto Scaling group: its unapproved launches, and how they were stopped.
pub(crate) const LOOP: Topic<Loop> = Topic::new("loop");

/// How long approvals, releases and launches are remembered: longer than anybody sets
/// `launched-within`.
pub(crate) const KEPT: Age = Age::from_hours(400 * 24);
/// Most launches of a group that are remembered, the latest.
const LAUNCHES_MAX: usize = 100;

/// How far a quarantine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Begun; steps may be missing.
    Started,
    /// All that can be done is done, and it isn't all.
    Partial,
    /// Done.
    Complete,
    /// A person's release is under way.
    Releasing,
}

impl Stage {
    /// The word in the label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Partial => "partial",
            Self::Complete => "complete",
            Self::Releasing => "releasing",
        }
    }
}

/// A quarantine: how far it is, and what stood before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// How far it is.
    pub stage: Stage,
    /// When it began: the same for every run that carries it on.
    pub since: Timestamp,
    /// The run that took it up last …
    pub run: String,
    /// … and when.
    pub at: Timestamp,
    /// The rule that refused the AMI, or the person's reason.
    pub reason: String,
    /// Whether a person ordered it.
    pub by_hand: bool,
    /// The AMI's id and name.
    pub image: String,
    /// When the instance was launched.
    pub launched: Timestamp,
    /// Who launched it, once that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launcher: Option<Who>,
    /// The Auto Scaling group that launched it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The security groups that each network interface had.
    pub interfaces: BTreeMap<String, Vec<String>>,
    /// Whether each device's volume was to be deleted with the instance.
    pub disks: BTreeMap<String, bool>,
    /// Whether termination protection was on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
    /// The instance profile that the quarantine takes away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// How it was taken out of its group's service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// When the quarantine stopped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Timestamp>,
    /// Interfaces that AWS refused to change.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub refused: BTreeSet<String>,
    /// When its one repeated isolation was, after somebody had changed its groups by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Timestamp>,
    /// Until when a change that a run had sent before the release may still arrive: the release
    /// isn't done before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settles: Option<Timestamp>,
}

impl Record {
    /// The group whose service it left, or that launched it.
    pub fn group(&self) -> Option<&str> {
        let left = self.service.as_ref().map(Service::group);
        left.or(self.group.as_deref())
    }
}

/// How an instance was taken out of its group's service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// In standby of this group.
    Standby(String),
    /// Detached from this group.
    Detached(String),
}

impl Service {
    /// The group.
    pub fn group(&self) -> &str {
        match self {
            Self::Standby(group) | Self::Detached(group) => group,
        }
    }
}

/// For which AMI a person released an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Released {
    /// `ami-…`
    pub image: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// That a launch was approved when it was looked at first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Approval {
    /// The rule, as it was written then.
    pub rule: String,
    /// `ami-…`
    pub image: String,
    /// When the instance was launched.
    pub launched: Timestamp,
}

/// An Auto Scaling group's launches of unapproved AMIs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Loop {
    /// The latest, by instance: terminated ones vanish from EC2.
    pub launches: BTreeMap<String, Timestamp>,
    /// The processes that were suspended to stop it; not those that were suspended before.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub suspended: BTreeSet<String>,
    /// The run that took that up, and when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<(String, Timestamp)>,
    /// When that was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<Timestamp>,
    /// The group's desired capacity before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired: Option<i32>,
    /// When a person had the processes resumed: launches before don't count again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored: Option<Timestamp>,
}

impl Loop {
    /// Whether this guardrail has suspended something of the group, or was about to.
    pub fn is_held(&self) -> bool {
        !self.suspended.is_empty() || self.broken.is_some()
    }

    /// Remembers a launch.
    pub fn add(&mut self, instance: &str, launched: Timestamp) {
        self.launches.insert(instance.to_owned(), launched);
        while self.launches.len() > LAUNCHES_MAX {
            let oldest = self.launches.iter().min_by_key(|(_, at)| **at);
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else {
                break;
            };
            self.launches.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{now, record};
    use jiff::SignedDuration;

    #[test]
    fn a_record_is_json_that_an_operator_can_read() {
        let record = Record {
            profile: Some("arn:aws:iam::1:instance-profile/app".to_owned()),
            service: Some(Service::Standby("web blue".to_owned())),
            ..record("12:00")
        };
        let json = serde_json::to_value(&record).unwrap();
        assert_eq!(json["stage"], "complete");
        assert_eq!(json["interfaces"]["eni-1"][0], "sg-web");
        assert_eq!(json["service"]["standby"], "web blue");
        assert_eq!(serde_json::from_value::<Record>(json).unwrap(), record);
    }

    #[test]
    fn the_latest_launches_are_remembered() {
        let mut group = Loop::default();
        for n in 0..LAUNCHES_MAX + 5 {
            let at = now() + SignedDuration::from_secs(i64::try_from(n).unwrap());
            group.add(&format!("i-{n}"), at);
        }
        assert_eq!(group.launches.len(), LAUNCHES_MAX);
        assert!(!group.launches.contains_key("i-4") && group.launches.contains_key("i-5"));
    }
}
