//! What is known of drills: what they have shown, what is under way, and what AWS shows of it.

use std::collections::BTreeMap;

use guardrails::aws::ApiError;
use guardrails::state::Expect;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Our clock and that of EC2 are kept by AWS within milliseconds; times are read to the second.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(5);

/// How a restore is tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Blocks of the snapshot are read and their checksums compared; nothing is made.
    #[default]
    Blocks,
    /// A volume is made from it, looked at, and deleted again.
    Volume,
}

/// All about drills.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Drills {
    /// Why none may be done: the stack doesn't let them.
    pub forbidden: Option<ApiError>,
    /// Since when each is known, by name; and by [`key`] since when a proof of a volume is asked for.
    pub since: BTreeMap<String, Timestamp>,
    /// What is remembered, by [`key`].
    pub records: BTreeMap<String, Remembered>,
    /// The volumes that were made and may still be there, by Region.
    pub made: BTreeMap<String, Result<Vec<Made>, ApiError>>,
    /// A person asks for the table of proofs: from the one that follows this key on.
    pub asked: Option<String>,
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Remembered {
    /// See [`key`].
    pub name: String,
    /// It.
    pub value: Record,
    /// The write that it is from.
    pub expect: Expect,
}

/// What a record is called.
pub(crate) fn key(drill: &str, region: &str, volume: &str) -> String {
    format!("{drill}/{region}/{volume}")
}

/// The drill, the Region and the volume of a record.
pub(crate) fn read_key(key: &str) -> Option<(&str, &str, &str)> {
    let (drill, rest) = key.split_once('/')?;
    let (region, volume) = rest.split_once('/')?;
    Some((drill, region, volume))
}

/// What is remembered of a volume under a drill, in one Region.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The latest slot in which it was its turn.
    pub taken: Option<Timestamp>,
    /// The latest proof.
    pub proof: Option<Proof>,
    /// What was found wrong since.
    pub failed: Option<Failure>,
    /// That it couldn't be tried, since it last could.
    pub untried: Option<Untried>,
    /// What goes on.
    pub under_way: Option<UnderWay>,
}

/// That a restore works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// How it was tried.
    pub way: Way,
    /// When.
    pub at: Timestamp,
    /// From which snapshot.
    pub snapshot: String,
    /// What was found, in words.
    pub found: String,
    /// How long the restore took in seconds: at least, and at most.
    pub took: Option<(i64, i64)>,
}

/// That it doesn't.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// How it was tried.
    pub way: Way,
    /// When.
    pub at: Timestamp,
    /// From which snapshot.
    pub snapshot: String,
    /// What is wrong.
    pub why: String,
}

/// That it couldn't be tried: nobody knows whether it works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Untried {
    /// Since when.
    pub since: Timestamp,
    /// Why, the last time.
    pub why: String,
    /// Not tried again before.
    pub again: Timestamp,
}

/// A try that has been begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnderWay {
    /// Blocks are being read.
    Blocks {
        /// Of which snapshot.
        snapshot: String,
        /// Since when.
        begun: Timestamp,
        /// How often that was begun.
        tries: u32,
    },
    /// A volume was asked for.
    Volume(Restore),
}

/// A volume that is made, looked at and deleted again: written down before it is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// The client token, and the value of the volume's tag. Nobody else can know it before.
    pub token: String,
    /// The snapshot.
    pub snapshot: String,
    /// The zone.
    pub zone: String,
    /// When it was written down.
    pub begun: Timestamp,
    /// `vol-…`, once AWS has said.
    pub volume: Option<String>,
    /// When AWS began to make it: its own time.
    pub created: Option<Timestamp>,
    /// When it was last seen under way.
    pub creating: Option<Timestamp>,
    /// When it was first seen ready.
    pub ready: Option<Timestamp>,
    /// What came of it. From then on it is to be deleted.
    pub outcome: Option<Outcome>,
    /// Why AWS refuses to delete it.
    pub refused: Option<String>,
}

/// What came of a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It works.
    Proven,
    /// It doesn't, and why.
    Failed(String),
    /// That can't be told, and why.
    Untried(String),
}

/// A volume as AWS describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// `vol-…`
    pub id: String,
    /// The value of the drill's tag.
    pub token: Option<String>,
    /// The snapshot that it is from.
    pub snapshot: String,
    /// When it was created.
    pub created: Timestamp,
    /// AWS's word for its state.
    pub state: String,
    /// What it is attached to.
    pub attached: Option<String>,
}

impl Restore {
    /// Whether a volume is the one that was asked for: as AWS says, in all that can be compared. The
    /// tag alone proves nothing, since others may write it.
    pub(crate) fn is_its(&self, made: &Made) -> Result<(), String> {
        let differs = |what: &str| Err(format!("{} {what}", made.id));
        if self.volume.as_ref().is_some_and(|id| *id != made.id) {
            return differs("isn't the volume that was made");
        }
        if made.token.as_deref() != Some(self.token.as_str()) {
            return differs("has lost the drill's tag");
        }
        if made.snapshot != self.snapshot {
            return differs(&format!("isn't made from {}", self.snapshot));
        }
        if made.created + CLOCK_SKEW < self.begun {
            return differs("was there before it was asked for");
        }
        Ok(())
    }

    /// Whether the volume may be deleted: it is the one, and nobody uses it.
    pub(crate) fn may_delete(&self, made: &Made) -> Result<(), String> {
        self.is_its(made)?;
        if let Some(instance) = &made.attached {
            return Err(format!("{} is attached to {instance}", made.id));
        }
        match made.state.as_str() {
            "available" | "creating" | "error" => Ok(()),
            other => Err(format!("{} is in state `{other}`", made.id)),
        }
    }

    /// How long AWS took, as far as looks tell: at least, and at most.
    pub(crate) fn took(&self) -> Option<(i64, i64)> {
        let (created, ready) = (self.created?, self.ready?);
        let since = |at: Timestamp| at.duration_since(created).as_secs().max(0);
        Some((self.creating.map_or(0, since), since(ready)))
    }
}

impl Record {
    /// When it was last its turn, whatever came of it.
    pub(crate) fn last_turn(&self) -> Option<Timestamp> {
        self.taken.max(self.proof.as_ref().map(|proof| proof.at))
    }

    /// The restore under way.
    pub(crate) fn restore(&self) -> Option<&Restore> {
        match &self.under_way {
            Some(UnderWay::Volume(restore)) => Some(restore),
            _ => None,
        }
    }

    /// With what came of a try.
    #[must_use]
    pub(crate) fn settled(mut self, way: Way, snapshot: &str, ended: Ended, at: Timestamp) -> Self {
        let snapshot = snapshot.to_owned();
        self.under_way = None;
        match ended {
            Ended::Proven(found, took) => {
                self.proof = Some(Proof {
                    way,
                    at,
                    snapshot,
                    found,
                    took,
                });
                (self.failed, self.untried) = (None, None);
            }
            Ended::Failed(why) => {
                self.failed = Some(Failure {
                    way,
                    at,
                    snapshot,
                    why,
                });
                self.untried = None;
            }
            Ended::Untried(why, pause) => {
                let since = self.untried.map_or(at, |before| before.since);
                self.untried = Some(Untried {
                    since,
                    why,
                    again: at + pause,
                });
            }
        }
        self
    }
}

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It works: what was found, and how long it took at least and at most.
    Proven(String, Option<(i64, i64)>),
    /// It doesn't, and why.
    Failed(String),
    /// It couldn't be tried, why, and how long to wait.
    Untried(String, SignedDuration),
}
