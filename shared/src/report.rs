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
const LISTED_MAX: usize = 1_000;

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
pub(crate) struct Entry {
    pub(crate) resource: Resource,
    /// What was to be done, e.g. `create-snapshot`.
    pub(crate) action: &'static str,
    /// Why.
    pub(crate) reason: String,
    pub(crate) outcome: Outcome,
    /// What was made, or why it was skipped or failed after all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
    /// AWS's error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error_code: Option<String>,
}

impl Entry {
    /// What was decided, and isn't reached yet.
    pub(crate) fn of(resource: Resource, action: &'static str, reason: String) -> Self {
        Self {
            resource,
            action,
            reason,
            outcome: Outcome::Left,
            note: None,
            error_code: None,
        }
    }

    pub(crate) fn settle(&mut self, outcome: Outcome, note: Option<String>) {
        self.outcome = outcome;
        self.note = note;
    }

    pub(crate) fn fail(&mut self, error: &ApiError) {
        self.settle(Outcome::Failed, Some(error.to_string()));
        self.error_code = Some(error.code.clone());
    }
}

/// How many decisions came out how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Counts {
    pub(crate) done: u64,
    pub(crate) would_do: u64,
    pub(crate) skipped: u64,
    pub(crate) failed: u64,
    pub(crate) left: u64,
}

impl Counts {
    pub(crate) fn of(entries: &[Entry]) -> Self {
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

    pub(crate) fn metrics(self) -> [Metric; 5] {
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
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Report {
    pub(crate) guardrail: &'static str,
    /// The mode it ran in: `observe` too when it was asked to change nothing.
    pub(crate) mode: Mode,
    /// Whether a person ordered it: then the mode doesn't hold it back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) by_person: bool,
    /// Which policy it followed.
    pub(crate) policy: String,
    /// What the policy says and hardly means.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<Remark>,
    /// How many resources it looked at.
    pub(crate) considered: u64,
    pub(crate) outcomes: Counts,
    /// The guardrail's own numbers.
    pub(crate) metrics: Map<String, Value>,
    /// What stands against the policy now, and what can't be told.
    pub(crate) conditions: Vec<Condition>,
    /// How many more there were, those that can't be told last.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) conditions_not_listed: usize,
    /// Why people weren't notified of what is new, where they weren't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_notified: Option<String>,
    /// The decisions, failed ones first; at most [`LISTED_MAX`].
    pub(crate) decisions: Vec<Entry>,
    /// How many more there were: the log has them.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) decisions_not_listed: usize,
    /// More about the one resource that was asked for.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(crate) detail: Value,
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
    pub(crate) fn list(&mut self, mut entries: Vec<Entry>, mut conditions: Vec<Condition>) {
        conditions.retain(|condition| condition.status != Status::Resolved);
        conditions.sort_by_key(|condition| condition.status != Status::Firing);
        self.conditions_not_listed = cut(&mut conditions);
        self.conditions = conditions;

        entries.sort_by_key(|entry| entry.outcome);
        self.decisions_not_listed = cut(&mut entries);
        self.decisions = entries;
    }
}

/// Cuts a list to [`LISTED_MAX`]: how many more there were.
fn cut<T>(list: &mut Vec<T>) -> usize {
    let more = list.len().saturating_sub(LISTED_MAX);
    list.truncate(LISTED_MAX);
    more
}
