//! What was seen: plain data.

use std::collections::{BTreeMap, BTreeSet};

use guardrails::aws::{ApiError, ErrorKind};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use strum::{Display, EnumString};

use crate::memory::{Memory, Remembered};
use crate::source::{Source, Template};

/// What was read, or why it couldn't be.
pub(crate) type Read<T> = Result<T, ApiError>;

/// All that was read in one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Whether every group was looked at.
    pub complete: bool,
    /// What a person asks about the one group.
    pub asked: Option<Question>,
    pub cases: BTreeMap<String, Case>,
}

/// What a person, or a pipeline, asks of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// All that is known.
    Explain,
    /// One word for scripts, of this refresh or of the newest.
    Verdict { refresh: Option<String> },
}

/// A group with its newest instance refresh and what is known of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Case {
    pub group: Group,
    pub looked: Timestamp,
    pub remembered: Remembered,
    /// Its newest refresh; none: AWS shows none, or it couldn't be read (`unread`).
    pub refresh: Option<Refresh>,
    /// Those before it, newest first, as far as AWS gave them in the same answer.
    pub earlier: Vec<Refresh>,
    /// The group's scaling activities since the refresh's start, and some time before that, which
    /// tells what failed already.
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
            ..Self::default()
        }
    }

    /// What is remembered of its newest refresh.
    pub(crate) fn memory(&self) -> Option<&Memory> {
        let refresh = self.refresh.as_ref()?;
        let memory = self.remembered.memory.as_ref();
        memory.filter(|memory| memory.refresh == refresh.id)
    }

    /// What keeps it from being known in full, if anything.
    pub(crate) fn not_read(&self) -> Option<String> {
        let error = self.unread.first()?;
        Some(format!("not all of it could be read: {error}"))
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

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Member {
    pub id: String,
    pub template: Option<Template>,
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
    /// Whether it replaces root volumes and launches nothing.
    pub in_place: bool,
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
    /// Whether it goes where `other` goes, as far as numbered versions tell: what `$Latest` means,
    /// and a template as it stands, changes.
    pub fn goes_where(&self, other: &Source) -> bool {
        let wanted = self.wanted.as_ref();
        wanted.is_some_and(|wanted| wanted.is_numbered() && wanted.same(other))
    }

    /// What AWS says of its end.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let reasons = [&self.reason, &self.rollback_reason];
        reasons.into_iter().flatten().cloned().collect()
    }

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
    /// The Availability Zone, where its details name one.
    pub zone: Option<String>,
    pub start: Timestamp,
    pub end: Option<Timestamp>,
}

impl Activity {
    /// When it was over, or began. AWS writes the end in whole seconds, so that it may lie before
    /// the start.
    pub fn moment(&self) -> Timestamp {
        self.end.unwrap_or(self.start).max(self.start)
    }
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
    pub template: Option<Template>,
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
