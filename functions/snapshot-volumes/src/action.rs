//! What `act` can carry out, and what that brings about.

use jiff::Timestamp;

use crate::facts::{Snapshot, Tag};

/// What `act` carries out.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make what a slot lacks.
    Create(Create),
    /// Copy one of ours to another Region.
    Copy(CopyTo),
    /// Delete one snapshot of ours.
    Delete(Delete),
}

/// A copy to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyTo {
    /// The Region that it goes to.
    pub region: String,
    /// The plan.
    pub plan: String,
    /// The slot.
    pub slot: Timestamp,
    /// Which try at it.
    pub attempt: u32,
    /// The volume that the source is of.
    pub volume: String,
    /// The snapshot that is copied.
    pub source: String,
    /// The KMS key over there; none: the Region's default.
    pub key: Option<String>,
    /// The tags, all of them given at creation.
    pub tags: Vec<Tag>,
    /// By which we know it again.
    pub description: String,
}

impl CopyTo {
    /// A copy among `made` that makes this one needless.
    pub(crate) fn overtaken_by<'a>(&self, made: &'a [Snapshot]) -> Option<&'a Snapshot> {
        made.iter().find(|copy| {
            *copy.plan == *self.plan
                && copy.volume == self.volume
                && copy.slot == self.slot
                && (!copy.is_error() || copy.attempt >= self.attempt)
        })
    }
}

/// A snapshot or a crash-consistent set to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Create {
    /// The plan.
    pub plan: String,
    /// The slot.
    pub slot: Timestamp,
    /// Which try at the slot.
    pub attempt: u32,
    /// By which call.
    pub target: Target,
    /// The volumes meant.
    pub members: Vec<Member>,
    /// The tags, all of them given at creation: a crash leaves no untagged snapshot (EBS-12).
    pub tags: Vec<Tag>,
    /// By which we know it again (see [`crate::ownership`]), and what a person reads.
    pub description: String,
}

/// A volume to be snapshotted.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// `vol-…`
    pub volume: String,
    /// `/dev/xvda`, where it is attached.
    pub device: Option<String>,
}

/// How a snapshot is made.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// `CreateSnapshot` of the one member.
    Volume,
    /// `CreateSnapshots` of an instance without the volumes that aren't meant.
    Set {
        /// `i-…`
        instance: String,
        /// Leave out the root volume, which can't be named below (EBS-2).
        exclude_boot: bool,
        /// The data volumes to leave out.
        exclude: Vec<String>,
        /// The members one by one, for the case that AWS refuses the set.
        singly: Vec<Create>,
    },
}

impl Create {
    /// A snapshot among `made` that makes this one needless: somebody else filled the slot, or
    /// tried and failed.
    pub(crate) fn overtaken_by<'a>(&self, made: &'a [Snapshot]) -> Option<&'a Snapshot> {
        made.iter().find(|snapshot| {
            *snapshot.plan == *self.plan
                && self.members.iter().any(|m| m.volume == snapshot.volume)
                && snapshot.slot >= self.slot
                && (!snapshot.is_error() || snapshot.attempt >= self.attempt)
        })
    }
}

/// A snapshot to be deleted.
#[derive(Debug, Clone, PartialEq)]
pub struct Delete {
    /// The Region that it lies in; none: the stack's own.
    pub region: Option<String>,
    /// `snap-…`
    pub snapshot: String,
    /// The completed snapshot that goes on protecting the volume; none for a volume that is gone.
    pub keeper: Option<String>,
    /// Whether AWS has refused it before, and people were told.
    pub known_refused: bool,
}

/// What an action brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Snapshots of these volumes were started.
    Started(Vec<String>),
    /// A copy was started.
    Copied,
    /// The snapshot is no longer there.
    Deleted,
    /// AWS refuses to delete it, for a reason that people have to know; which.
    Refused(String),
}
