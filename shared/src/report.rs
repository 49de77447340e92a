//! What an invocation answers.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::aws::ApiError;
use crate::condition::{Condition, Status};
use crate::metrics::Metric;
use crate::policy::{Mode, Remark};
use crate::resource::Resource;

/// Most decisions that an answer lists, failed ones first. Lambda answers hold 6 MB; the log has
/// every decision.
pub const LISTED_MAX: usize = 1_000;

/// What came of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// AWS said no, or may have said yes without our hearing it; or what the decision rests on
    /// couldn't be read.
    Failed,
    /// Carried out.
    Done,
    /// Would have been carried out, were the mode `enforce`.
    WouldDo,
    /// Decided against, or no longer needed.
    Skipped,
    /// No time left: the next sweep's.
    Left,
}

/// One decision and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// What it is about.
    pub resource: Resource,
    /// What was to be done, e.g. `create-snapshot`.
    pub action: &'static str,
    /// Why.
    pub reason: String,
    /// What came of it.
    pub outcome: Outcome,
    /// What was made, or why it was skipped after all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// AWS's error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
}

impl Entry {
    /// Sets the outcome from an error.
    pub fn fail(&mut self, error: &ApiError) {
        self.outcome = Outcome::Failed;
        self.error_code = Some(error.code.clone());
        self.note = Some(error.to_string());
    }
}

/// How many decisions came out how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    /// See [`Outcome::Done`].
    pub done: u64,
    /// See [`Outcome::WouldDo`].
    pub would_do: u64,
    /// See [`Outcome::Skipped`].
    pub skipped: u64,
    /// See [`Outcome::Failed`].
    pub failed: u64,
    /// See [`Outcome::Left`].
    pub left: u64,
}

impl Counts {
    /// Counts `entries`.
    #[must_use]
    pub fn of(entries: &[Entry]) -> Self {
        let mut counts = Self::default();
        for entry in entries {
            match entry.outcome {
                Outcome::Failed => counts.failed += 1,
                Outcome::Done => counts.done += 1,
                Outcome::WouldDo => counts.would_do += 1,
                Outcome::Skipped => counts.skipped += 1,
                Outcome::Left => counts.left += 1,
            }
        }
        counts
    }

    /// As metrics.
    #[must_use]
    pub fn metrics(self) -> [Metric; 5] {
        [
            ("Done", self.done),
            ("WouldDo", self.would_do),
            ("Skipped", self.skipped),
            ("Failed", self.failed),
            ("Left", self.left),
        ]
        .map(|(name, value)| Metric { name, value })
    }
}

/// The answer of an invocation.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// Which guardrail.
    pub guardrail: &'static str,
    /// The mode it ran in: `observe` too when it was asked to change nothing.
    pub mode: Mode,
    /// Whether a person ordered it: then the mode doesn't hold it back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub by_person: bool,
    /// Which policy it followed.
    pub policy: String,
    /// What the policy says and hardly means.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Remark>,
    /// How many resources it looked at.
    pub considered: u64,
    /// How many decisions came out how.
    pub outcomes: Counts,
    /// The guardrail's own numbers.
    pub metrics: Map<String, Value>,
    /// What stands against the policy now, and what can't be told.
    pub conditions: Vec<Condition>,
    /// How many more there were, those that can't be told last.
    #[serde(skip_serializing_if = "is_zero")]
    pub conditions_not_listed: usize,
    /// Why people weren't notified of what is new, where they weren't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_notified: Option<String>,
    /// The decisions, failed ones first; at most [`LISTED_MAX`].
    pub decisions: Vec<Entry>,
    /// How many more there were: the log has them.
    #[serde(skip_serializing_if = "is_zero")]
    pub decisions_not_listed: usize,
    /// More about the one resource that was asked for.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Report {
    /// Cuts the lists to what an answer holds: of the decisions failed ones first, of the conditions
    /// those that stand.
    pub fn list(&mut self, mut entries: Vec<Entry>, mut conditions: Vec<Condition>) {
        conditions.retain(|condition| condition.status != Status::Resolved);
        conditions.sort_by_key(|condition| condition.status != Status::Firing);
        self.conditions_not_listed = conditions.len().saturating_sub(LISTED_MAX);
        conditions.truncate(LISTED_MAX);
        self.conditions = conditions;

        entries.sort_by_key(|entry| entry.outcome);
        self.decisions_not_listed = entries.len().saturating_sub(LISTED_MAX);
        entries.truncate(LISTED_MAX);
        self.decisions = entries;
    }
}
