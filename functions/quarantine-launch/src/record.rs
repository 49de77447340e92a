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

use crate::image::Image;
use crate::launcher::Who;
use crate::rule::Rule;

/// Of an instance: its quarantine. Kept until its release is done, or it is gone.
pub(crate) const QUARANTINE: Topic<Record> = Topic::new("quarantine");
/// Of an instance: the AMI for which a person released it.
pub(crate) const RELEASED: Topic<Released> = Topic::new("released");
/// Of an instance: its launch as it was seen first.
pub(crate) const LAUNCH: Topic<Seen> = Topic::new("launch");
/// Of a parameter whose history can't be read: what it was seen to name.
pub(crate) const PARAMETER: Topic<Watched> = Topic::new("parameter");
/// Of an isolation group: what this guardrail has had it let in.
pub(crate) const ADMITTED: Topic<BTreeSet<Rule>> = Topic::new("admitted");
/// What was isolated of late, under [`LATELY`].
pub(crate) const BRAKE: Topic<Brake> = Topic::new("brake");
/// The one name under [`BRAKE`].
pub(crate) const LATELY: &str = "lately";
/// Of an Auto Scaling group: its unapproved launches, and how they were stopped.
pub(crate) const LOOP: Topic<Loop> = Topic::new("loop");

/// How long approvals, releases and launches are remembered: longer than anybody sets
/// `launched-within`.
pub(crate) const KEPT: Age = Age::from_hours(400 * 24);
/// Most launches of a group that are remembered, the latest.
const LAUNCHES_MAX: usize = 100;
/// Most values of a parameter that are remembered, the latest.
const VALUES_MAX: usize = 100;

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
    /// Whether the run that took it up last has ended, and every call of it was answered.
    #[serde(default)]
    pub ended: bool,
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
    /// Whether it was to be terminated when it shuts itself down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown_terminates: Option<bool>,
    /// The instance profile that the quarantine takes away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// How it was taken out of its group's service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Whether it was in its group's warm pool, out of which AWS takes nothing: it is taken out of
    /// service when it comes into it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pooled: bool,
    /// When the quarantine stopped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Timestamp>,
    /// Interfaces that AWS refused to change.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub refused: BTreeSet<String>,
    /// When its one repeated isolation was, after somebody had changed its groups by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Timestamp>,
    /// Until when a change may still arrive that a run sent which doesn't hold the record any more:
    /// a release isn't done before.
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

/// What the description of evidence begins with, which nobody can change unlike its tags.
pub(crate) fn evidence_of(instance: &str) -> String {
    format!("Evidence: {instance} in quarantine since ")
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

/// A launch as it was seen soon after it: what was said of it, and all that may change later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Seen {
    /// The rule that approved it, as it was written then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why it wasn't approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// `ami-…`
    pub image: String,
    /// When the instance was launched.
    pub launched: Timestamp,
    /// The AMI as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Image>,
    /// The tags that the instance had, its Auto Scaling group among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<(String, String)>,
    /// ARN of its instance profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// What a parameter was seen to name, the latest last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched(pub Vec<Value>);

/// A value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Value {
    /// The AMIs.
    pub images: Vec<String>,
    /// The parameter's version.
    pub version: i64,
    /// Since when.
    pub since: Timestamp,
}

impl Watched {
    /// Adds what the parameter names now. Whether that is new.
    pub fn add(&mut self, value: Value) -> bool {
        if self.0.last() == Some(&value) {
            return false;
        }
        self.0.push(value);
        let surplus = self.0.len().saturating_sub(VALUES_MAX);
        self.0.drain(..surplus);
        true
    }

    /// What it named before, each until when, and from when on all of that is known: as far back as
    /// no version was missed. A label may move to any version, so there none may be missing.
    pub fn before(&self) -> (Vec<(String, Timestamp)>, Option<Timestamp>) {
        let mut before = Vec::new();
        let mut known_from = self.0.last().map(|last| last.since);
        let mut is_whole = true;
        for pair in self.0.windows(2).rev() {
            let [earlier, later] = pair else { continue };
            let named = earlier.images.iter();
            before.extend(named.map(|image| (image.clone(), later.since)));
            is_whole &= earlier.version + 1 == later.version;
            if is_whole {
                known_from = Some(earlier.since);
            }
        }
        (before, known_from)
    }
}

/// What was isolated of late: instances, and groups that were suspended, each when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brake(pub BTreeMap<String, Timestamp>);

impl Brake {
    /// How many since `from`.
    pub fn since(&self, from: Timestamp) -> usize {
        self.0.values().filter(|at| **at > from).count()
    }

    /// Takes a place for `what` among at most `limit` since `from`. Whether there is one.
    pub fn take(&mut self, what: &str, limit: usize, from: Timestamp, at: Timestamp) -> bool {
        self.0.retain(|_, at| *at > from);
        if !self.0.contains_key(what) {
            if self.0.len() >= limit {
                return false;
            }
            self.0.insert(what.to_owned(), at);
        }
        true
    }
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
    use crate::fixtures::{at, now, record};
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

    /// As an earlier version of this guardrail wrote it.
    #[test]
    fn an_approval_without_evidence_is_understood() {
        let old = r#"{"rule": "owner self", "image": "ami-1", "launched": "2026-11-21T11:59:00Z"}"#;
        let seen: Seen = serde_json::from_str(old).unwrap();
        assert_eq!((seen.rule.as_deref(), seen.was), (Some("owner self"), None));
    }

    #[test]
    fn what_a_parameter_named_is_known_as_far_back_as_no_version_was_missed() {
        let value = |version: i64, image: &str, time: &str| Value {
            images: vec![image.to_owned()],
            version,
            since: at(time),
        };
        let mut watched = Watched::default();
        assert_eq!(watched.before(), (vec![], None));
        for value in [
            value(3, "ami-3", "08:00"),
            value(5, "ami-5", "09:00"),
            value(6, "ami-6", "10:00"),
            value(7, "ami-7", "11:00"),
        ] {
            assert!(watched.add(value.clone()));
            assert!(!watched.add(value), "seen twice");
        }
        let (before, known_from) = watched.before();
        let until = |image: &str, time: &str| (image.to_owned(), at(time));
        let expected = [
            until("ami-6", "11:00"),
            until("ami-5", "10:00"),
            until("ami-3", "09:00"),
        ];
        assert_eq!(before, expected);
        assert_eq!(known_from, Some(at("09:00")), "version 4 was missed");
    }

    #[test]
    fn a_place_is_taken_once_and_comes_free_with_time() {
        let mut brake = Brake::default();
        let from = at("11:00");
        assert!(brake.take("i-1", 2, from, at("12:00")));
        assert!(brake.take("i-1", 2, from, at("12:01")), "its own");
        assert!(brake.take("i-2", 2, from, at("12:02")));
        assert!(!brake.take("i-3", 2, from, at("12:03")));
        assert_eq!(brake.since(from), 2);
        assert!(brake.take("i-3", 2, at("12:01"), at("13:01")));
        assert_eq!(brake.0.len(), 2, "what is past is dropped");
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
