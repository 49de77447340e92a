//! What was found: plain data, no AWS types.

pub(crate) mod drills;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use guardrails::aws::ApiError;
use guardrails::ec2;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::facts::drills::Drills;

/// A tag.
pub(crate) type Tag = (String, String);

/// What is asked beyond where to look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ask {
    /// The table of proofs: from the one that follows this key on.
    pub proofs: Option<String>,
}

/// What `observe` found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Whether these are all volumes and snapshots of the account and Region, or one volume's
    /// neighbourhood. Only with all of them anything is deleted or counted.
    pub complete: bool,
    /// The volumes, by id.
    pub volumes: BTreeMap<String, Volume>,
    /// The snapshots that are ours (see [`crate::ownership`]).
    pub snapshots: Vec<Snapshot>,
    /// Those that are ours no longer.
    pub disowned: Vec<Disowned>,
    /// The instances that matter, by id: those of volumes that lack a snapshot, and all where a
    /// plan leaves out boot volumes.
    pub instances: HashMap<String, Instance>,
    /// Volumes that snapshots name and that a second look by id hasn't found either.
    pub gone: BTreeSet<String>,
    /// Volumes that a person asked for and that aren't there.
    pub not_found: Vec<String>,
    /// Snapshots that AWS refused to delete, by id: only with all facts.
    pub refused: BTreeMap<String, Refusal>,
    /// The stack's own Region.
    pub region: String,
    /// Our copies in other Regions, by Region: why not where they couldn't be read, or mayn't.
    pub elsewhere: BTreeMap<String, Result<Elsewhere, ApiError>>,
    /// What is known of drills.
    pub drills: Drills,
}

/// What is ours in another Region.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Elsewhere {
    /// The copies that are ours.
    pub copies: Vec<Snapshot>,
    /// Those that are ours no longer.
    pub disowned: Vec<Disowned>,
    /// The tries at a copy that have been begun lately, by [`try_name`].
    pub tries: BTreeMap<String, Try>,
    /// Plans of which nothing may be copied there, and why: the stack's parameters don't name what
    /// they ask for.
    pub forbidden: BTreeMap<String, ApiError>,
}

/// That a copy has been asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// What AWS answered, where it refused.
    pub refused: Option<String>,
    /// Not asked for again before.
    pub again: Timestamp,
}

/// What a try at a copy is called.
pub(crate) fn try_name(region: &str, source: &str, attempt: u32) -> String {
    format!("{region}/{source}/{attempt}")
}

/// That AWS has refused to delete a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why, in a few words: `locked`.
    pub why: String,
    /// Whether people have to know of it: it isn't a lock or a use that somebody means.
    pub unmeant: bool,
    /// Not tried again before.
    pub again: Timestamp,
}

/// An EBS volume.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    /// `vol-…`
    pub id: String,
    /// When it was created.
    pub created: Timestamp,
    /// AWS's word for its state, such as `in-use`.
    pub state: String,
    /// Its size in GiB.
    pub gib: i32,
    /// Its Availability Zone.
    pub zone: Option<String>,
    /// Where it lies, if that isn't a zone of the Region: its snapshot would leave that place.
    pub outside: Option<String>,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Where it is attached; several with Multi-Attach.
    pub attachments: Vec<Attachment>,
}

impl Volume {
    /// A tag's value.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<&str> {
        ec2::tag(&self.tags, key)
    }

    /// The device that it is on, where it is attached to one instance.
    #[must_use]
    pub fn device(&self) -> Option<&str> {
        match self.attachments.as_slice() {
            [only] => Some(&only.device),
            _ => None,
        }
    }

    /// Whether its state lets it be snapshotted.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        matches!(self.state.as_str(), "available" | "in-use")
    }

    /// Whether it isn't ready yet: nothing can be said of it.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.state == "creating"
    }

    /// Why it gets no snapshot, whatever a plan asks for.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        if !self.is_usable() {
            let state = &self.state;
            return Some(format!(
                "the volume is in state `{state}`, so no snapshot of it can be made"
            ));
        }
        let outside = self.outside.as_ref()?;
        Some(format!(
            "the volume lies {outside}, and its snapshot would leave that place for the Region, so none is made"
        ))
    }

    /// Its id, and its name where it has one, for people.
    #[must_use]
    pub fn label(&self) -> String {
        ec2::label(&self.id, &self.tags)
    }
}

/// A volume's attachment to an instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Attachment {
    /// `i-…`
    pub instance: String,
    /// `/dev/xvda`
    pub device: String,
    /// Fully attached, not on its way in or out.
    pub settled: bool,
}

/// An instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// `i-…`
    pub id: String,
    /// Its `Name` tag.
    pub name: Option<String>,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// The device of its root volume.
    pub root_device: Option<String>,
    /// The AMI that it was launched from.
    pub image: Option<String>,
    /// The AMI's name, where the AMI still is.
    pub image_name: Option<String>,
}

/// A snapshot's state (EBS-4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Under way: `pending` or `recovering`.
    Pending,
    /// The only state that protects anybody.
    Completed,
    /// Failed, with AWS's reason.
    Error(String),
}

impl State {
    /// For people.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Pending => "pending".to_owned(),
            Self::Completed => "completed".to_owned(),
            Self::Error(reason) => format!("error: {reason}"),
        }
    }
}

/// A snapshot that is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// `snap-…`
    pub id: String,
    /// The volume that it is of.
    pub volume: String,
    /// The plan that it belongs to. Shared: thousands carry the same name.
    pub plan: Arc<str>,
    /// The slot that it fills.
    pub slot: Timestamp,
    /// Which try at the slot, from 1.
    pub attempt: u32,
    /// Its state.
    pub state: State,
    /// When it was started.
    pub started: Timestamp,
    /// In the archive tier, from which a restore takes up to three days.
    pub archived: bool,
    /// Somebody holds it, by the tag that the policy names.
    pub held: bool,
    /// Of a copy: what only a copy has.
    pub copy: Option<Box<Copied>>,
}

/// What only a copy has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The snapshot that it was made from: `snap-…`
    pub source: String,
    /// ARN of the KMS key that it is encrypted with.
    pub key: String,
    /// The volume's size.
    pub gib: i32,
}

/// A snapshot whose description says that it is ours, while something else says that it isn't.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disowned {
    /// `snap-…`
    pub id: String,
    /// The volume that it is of.
    pub volume: String,
    /// What says so.
    pub why: String,
}

impl Snapshot {
    /// Newer means a later slot, or a later try at the same.
    #[must_use]
    pub fn order(&self) -> (Timestamp, u32, Timestamp, &str) {
        (self.slot, self.attempt, self.started, &self.id)
    }

    /// Whether it is completed.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.state == State::Completed
    }

    /// Whether a volume can be made from it now.
    #[must_use]
    pub fn protects(&self) -> bool {
        self.is_completed() && !self.archived
    }

    /// Whether it failed.
    #[must_use]
    pub fn is_error(&self) -> bool {
        matches!(self.state, State::Error(_))
    }
}
