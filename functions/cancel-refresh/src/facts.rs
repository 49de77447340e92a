//! What was seen: plain data.

use std::collections::{BTreeMap, BTreeSet};

use guardrails::aws::{ApiError, ErrorKind};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use strum::{Display, EnumString};

use crate::memory::Remembered;

/// What was read, or why it couldn't be.
pub(crate) type Read<T> = Result<T, ApiError>;

/// All that was read in one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Whether every group was looked at.
    pub complete: bool,
    /// Whether a person asks about the one group.
    pub asked: bool,
    pub cases: BTreeMap<String, Case>,
}

/// A group with its newest instance refresh and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    pub group: Group,
    pub looked: Timestamp,
    pub remembered: Remembered,
    /// Its newest refresh; none: AWS shows none, or it couldn't be read (`unread`).
    pub refresh: Option<Refresh>,
    /// The group's scaling activities since the refresh's start.
    pub activities: Vec<Activity>,
    /// The alarms that the group's tags name, by name; absent: there is no such alarm. None: not
    /// read.
    pub alarms: Option<BTreeMap<String, Alarm>>,
    /// Health of the group's targets by instance id; none: not asked for.
    pub targets: Option<BTreeMap<String, TargetHealth>>,
    /// What EC2 says of new instances that were terminated, by id.
    pub ended: BTreeMap<String, Ended>,
    /// The status of the `CloudFormation` stack that made the group; none: not asked for, or none.
    pub stack: Option<Read<String>>,
    /// The image that the group's tags name; none: not opted in, or not asked for.
    pub image: Option<Read<Image>>,
    /// What couldn't be read.
    pub unread: Vec<ApiError>,
}

impl Case {
    pub fn of(group: Group, looked: Timestamp) -> Self {
        Self {
            group,
            looked,
            remembered: Remembered::default(),
            refresh: None,
            activities: Vec::new(),
            alarms: None,
            targets: None,
            ended: BTreeMap::new(),
            stack: None,
            image: None,
            unread: Vec::new(),
        }
    }

    /// Whether AWS refused to answer something only because too many calls came.
    pub fn is_throttled(&self) -> bool {
        let mut unread = self.unread.iter();
        unread.any(|error| error.kind == ErrorKind::Throttled)
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Group {
    pub name: String,
    pub desired: u32,
    /// What it launches from now; none: a launch configuration, or an instance.
    pub source: Option<Source>,
    pub suspended: BTreeSet<String>,
    /// Who alone may change it (ASG-9).
    pub operator: Option<String>,
    pub tags: BTreeMap<String, String>,
    pub members: Vec<Member>,
    /// ARNs of the target groups attached.
    pub target_groups: Vec<String>,
    /// Whether it replaces what its load balancer calls unhealthy.
    pub elb_health: bool,
    /// How long the health checks of a new instance are ignored.
    pub grace: SignedDuration,
    pub warmup: Option<SignedDuration>,
}

impl Group {
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags.get(key).map(String::as_str)
    }
}

/// A launch template's version with what the group overrides.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Source {
    /// The template's id, where AWS tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The template's name, where AWS tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A number, `$Latest` or `$Default`.
    pub version: String,
    /// The overrides of a mixed instances policy, written out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<String>,
}

impl Source {
    pub fn number(&self) -> Option<u64> {
        self.version.parse().ok()
    }

    /// Whether instances launched from `self` are as those launched from `other`. Where one is
    /// known by its id alone and the other by its name alone, the version decides.
    pub fn same(&self, other: &Self) -> bool {
        let template = match (&self.id, &other.id, &self.name, &other.name) {
            (Some(a), Some(b), _, _) | (_, _, Some(a), Some(b)) => a == b,
            _ => true,
        };
        template && self.version == other.version && self.overrides == other.overrides
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.name.as_ref().or(self.id.as_ref());
        let name = name.map_or("launch template", String::as_str);
        write!(f, "{name} version {}", self.version)
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Member {
    pub id: String,
    pub version: Option<String>,
    /// `InService`, `Pending:Wait` …
    pub lifecycle: String,
    pub healthy: bool,
    pub protected: bool,
}

/// An instance refresh's status (ASG-1), in AWS's word.
#[derive(Debug, Clone, PartialEq, Eq, Display, EnumString)]
pub enum Status {
    Pending,
    /// Replacing instances.
    InProgress,
    /// All replaced, watching.
    Baking,
    Cancelling,
    RollbackInProgress,
    Successful,
    /// Ended: AWS gave up.
    Failed,
    /// Ended: somebody cancelled it.
    Cancelled,
    /// Ended: all is as it was before.
    RollbackSuccessful,
    /// Ended: it couldn't be rolled back.
    RollbackFailed,
    /// One that this version doesn't know: left alone.
    #[strum(default)]
    Other(String),
}

impl Status {
    /// Whether it can be judged, cancelled and rolled back.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::InProgress | Self::Baking)
    }

    /// Whether nothing changes any more.
    pub fn is_ended(&self) -> bool {
        matches!(
            self,
            Self::Successful
                | Self::Failed
                | Self::Cancelled
                | Self::RollbackSuccessful
                | Self::RollbackFailed
        )
    }

    /// Whether it ended without what it was started for.
    pub fn is_ended_badly(&self) -> bool {
        self.is_ended() && *self != Self::Successful
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Refresh {
    pub id: String,
    pub status: Status,
    pub reason: Option<String>,
    /// When it began; a pending one may not have begun.
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
    /// How much AWS counts as done. Only healthy, warmed instances count (ASG-4).
    pub percentage: u32,
    pub remaining: Option<u32>,
    /// What it changes the group to; none: the group's own template as it stands.
    pub wanted: Option<Source>,
    pub preferences: Preferences,
    /// Why it was rolled back, where it was.
    pub rollback_reason: Option<String>,
}

/// The preferences of a refresh that matter here.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Preferences {
    /// How long a new instance warms up, where the refresh says so itself.
    pub warmup: Option<SignedDuration>,
    /// At which percentages it stops for a while.
    pub checkpoints: Vec<u32>,
    pub checkpoint_delay: SignedDuration,
    /// Whether it waits for somebody to remove the scale-in protection of instances.
    pub waits_for_protected: bool,
    /// Whether it waits for somebody to take instances out of standby.
    pub waits_for_standby: bool,
    /// Whether AWS rolls it back by itself when it fails.
    pub auto_rollback: bool,
}

impl Refresh {
    /// How long a new instance warms up: what the refresh says, else the group, else the grace
    /// period, as AWS does it.
    pub fn warmup(&self, group: &Group) -> SignedDuration {
        self.preferences
            .warmup
            .or(group.warmup)
            .unwrap_or(group.grace)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    pub id: String,
    /// What it did: `Launching a new EC2 instance: i-…`.
    pub description: String,
    /// Why: sentences without a contract (ASG-5).
    pub cause: String,
    /// `Successful`, `Failed`, `Cancelled`, `InProgress` …
    pub status: String,
    pub message: Option<String>,
    pub start: Timestamp,
    pub end: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Alarm {
    pub alarming: bool,
    pub since: Option<Timestamp>,
    pub reason: Option<String>,
}

/// What target groups say of an instance, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetHealth {
    /// `unhealthy` in one of them.
    Unhealthy,
    /// `initial`, `draining`, `unused`, `unavailable`: says nothing.
    Unknown,
    /// `healthy` in all of them.
    Healthy,
}

/// What EC2 says of an instance that is no member any more.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ended {
    /// The code of its state's reason: `Client.UserInitiatedShutdown` …
    pub reason: Option<String>,
    pub version: Option<String>,
}

/// What an image tag points to. The digests are of manifests.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Image {
    /// The digest under the tag that the instances pull.
    pub current: Option<String>,
    /// The digest under the tag of the known good image.
    pub stable: Option<String>,
}
