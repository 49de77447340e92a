//! What `act` can carry out, and what that brings about.

use jiff::Timestamp;

use crate::facts::drills::{Ended, Made, Outcome, Record, Remembered};
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
    /// A drill's next step with one volume.
    Drill(Box<Drilling>),
}

/// A drill's next step with one volume.
#[derive(Debug, Clone, PartialEq)]
pub struct Drilling {
    /// What its record is called: see [`crate::facts::drills::key`].
    pub key: String,
    /// The Region.
    pub region: String,
    /// The record that it rests on, where there is one.
    pub remembered: Option<Remembered>,
    /// The step.
    pub step: Step,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Read blocks of a snapshot, for the first time in a slot or again.
    Read {
        /// `snap-…`
        snapshot: String,
        /// The slot.
        slot: Timestamp,
    },
    /// Write down that a volume is to be made, and ask for it.
    Make {
        /// `snap-…`
        snapshot: String,
        /// The slot.
        slot: Timestamp,
        /// The zone that it shall not be in, if there is another.
        not_in: Option<String>,
        /// The volume that the snapshot is of.
        of: String,
    },
    /// Ask for the volume that was written down: once more, by the same token.
    Ask {
        /// The volume that the snapshot is of.
        of: String,
    },
    /// Write down what was seen.
    Note(Made),
    /// Look at the status of a volume that is ready.
    Check(Made),
    /// Write down what came of it, and delete the volume.
    Close(Made, Outcome),
    /// Write down what came of it.
    Settle(Ended),
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
    /// What a drill has written down.
    Drilled(Box<Record>),
}
