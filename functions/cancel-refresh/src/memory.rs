//! What is remembered of a group's newest instance refresh, in the state table.

use guardrails::policy::Age;
use guardrails::state::{Expect, Stored, Topic};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use strum::Display;

use crate::source::Source;

/// By the group's name.
pub(crate) const REFRESHES: Topic<Memory> = Topic::new("refresh");
/// AWS shows a refresh for six weeks.
pub(crate) const KEPT: Age = Age::from_hours(60 * 24);
/// How long a run that is about to stop a refresh has it to itself. One that takes longer finds,
/// before it sends anything, that another has claimed the refresh.
pub(crate) const CLAIM_VALID: SignedDuration = SignedDuration::from_mins(3);

/// What is remembered of a refresh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Memory {
    pub refresh: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Seen>,
    /// Who stops it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Claim>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mismatch: Option<Mismatch>,
    /// Since when it was seen Pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_since: Option<Timestamp>,
    /// The last refresh of the group that was stopped, this one or an earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_stop: Option<LastStop>,
}

/// What was stopped: a controller may start it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LastStop {
    pub refresh: String,
    /// What it went to.
    pub source: Source,
    /// The image that it brought, where the group has an image tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    pub at: Timestamp,
}

/// The image that a refresh began with (ASG-10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// What the image tag pointed to when the refresh was seen first.
    pub digest: String,
    pub repair: Repair,
}

/// How far the repair of an image tag has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repair {
    /// Not called for so far, or not done yet.
    Seen,
    /// A run is about to put the known good image back, or was ended after it had.
    Restoring,
    /// The tag points to the known good image again.
    Restored,
    /// It couldn't be done.
    NotRestored,
}

/// The run that stops a refresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// What it is about to do, or has done.
    pub step: Step,
    pub at: Timestamp,
    pub run: String,
    /// What stood against the refresh: the run may end before it tells.
    pub because: String,
}

/// How far stopping a refresh has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    Cancel,
    Rollback,
    Cancelled,
    RolledBack,
}

/// How a refresh is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Display)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    #[strum(to_string = "cancelled")]
    Cancel,
    #[strum(to_string = "rolled back")]
    Rollback,
}

/// A refresh that was hit in another's place (ASG-2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatch {
    pub meant: String,
    /// The one that AWS says was stopped.
    pub hit: String,
}

/// What is remembered of a group, as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Remembered {
    /// What; it may be of an earlier refresh.
    pub memory: Option<Memory>,
    pub expect: Expect,
}

impl Default for Remembered {
    fn default() -> Self {
        Self::from(None)
    }
}

impl From<Option<Stored<Memory>>> for Remembered {
    fn from(stored: Option<Stored<Memory>>) -> Self {
        Self {
            expect: Expect::read(stored.as_ref()),
            memory: stored.map(|stored| stored.value),
        }
    }
}

impl Memory {
    /// What is remembered of `refresh`, where `stored` is what is remembered of the group.
    pub(crate) fn of(refresh: &str, stored: Option<&Self>) -> Self {
        match stored {
            Some(memory) if memory.refresh == refresh => memory.clone(),
            other => Self {
                refresh: refresh.to_owned(),
                // The refresh that was hit in another's place is the group's newest.
                mismatch: other
                    .and_then(|memory| memory.mismatch_at(refresh))
                    .cloned(),
                last_stop: other.and_then(|memory| memory.last_stop.clone()),
                ..Self::default()
            },
        }
    }

    /// The mismatch that a group's newest refresh took part in.
    pub(crate) fn mismatch_at(&self, newest: &str) -> Option<&Mismatch> {
        let of_it = |one: &&Mismatch| one.hit == newest || one.meant == newest;
        self.mismatch.as_ref().filter(of_it)
    }
}

impl Claim {
    /// Until when the refresh is its run's.
    pub(crate) fn until(&self) -> Timestamp {
        self.at.checked_add(CLAIM_VALID).unwrap_or(Timestamp::MAX)
    }
}

impl Step {
    /// Whether the refresh is stopped, as far as AWS said.
    pub(crate) fn is_done(self) -> bool {
        matches!(self, Self::Cancelled | Self::RolledBack)
    }

    /// What it is about, or was.
    pub(crate) fn how(self) -> How {
        match self {
            Self::Cancel | Self::Cancelled => How::Cancel,
            Self::Rollback | Self::RolledBack => How::Rollback,
        }
    }
}

impl How {
    /// What stands in the claim while it is about to be done.
    pub(crate) fn claim(self) -> Step {
        match self {
            Self::Cancel => Step::Cancel,
            Self::Rollback => Step::Rollback,
        }
    }

    /// What stands there once it is done.
    pub(crate) fn done(self) -> Step {
        match self {
            Self::Cancel => Step::Cancelled,
            Self::Rollback => Step::RolledBack,
        }
    }
}
