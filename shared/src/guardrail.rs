//! The one shape that every guardrail has.
//!
//! ```text
//! trigger ──> observe ──> evaluate ──> decide ──> act ──> report
//! event,      AWS reads   pure: each   pure       AWS     pure: conditions
//! sweep or    into facts  resource                writes  and numbers
//! command                 judged once
//! ```

use std::future::{Future, ready};

use aws_config::SdkConfig;
use jiff::Timestamp;
use serde_json::Value;

use crate::aws::ApiError;
use crate::condition::{Condition, Coverage, Kind};
use crate::configuration::{ConfigurationError, Environment};
use crate::metrics::Metric;
use crate::policy::Section;
use crate::report::Outcome;
use crate::resource::Resource;
use crate::state::State;
use crate::trigger::{Request, Trigger, TriggerError};

/// A reconciler: compares what is with what the policy wants and closes the difference.
///
/// The runner ([`crate::runner`]) calls the methods in their order here and owns all else.
pub trait Guardrail: Sized + Send + Sync + 'static {
    /// Its name: the policy's section, the metrics' dimension, its partition of the state table, the
    /// `ec2-guardrails:guardrail` tag.
    const NAME: &'static str;
    /// All kinds of condition that it reports.
    const KINDS: &'static [&'static Kind];
    /// Those of its metrics that count what a run did, and not how things stand: they are true of
    /// a run that looked at one resource too, so they are measured there as well.
    const COUNTERS: &'static [&'static str] = &[];
    /// Its section of the policy document.
    type Policy: Section;
    /// What a trigger asks for beyond where to look: an event's details as a hint, never the state
    /// (SAM-3); a command's arguments.
    type Ask: Default + Send + Sync;
    /// What `observe` found: plain data.
    type Facts: Send + Sync;
    /// What the facts come to under the policy: each resource judged once.
    type Evaluation<'a>: Send + Sync;
    /// What `act` can carry out.
    type Action: Send + Sync;
    /// What an action brought about, for the report.
    type Effect: Send + Sync;

    /// Makes the guardrail's clients, and reads the variables that only this guardrail needs.
    fn new(
        config: &SdkConfig,
        environment: &Environment,
        state: &State,
    ) -> Result<Self, ConfigurationError>;

    /// Where a trigger says to look. The sweep always means [`Request::sweep`].
    fn request(trigger: &Trigger) -> Result<Request<Self::Ask>, TriggerError>;

    /// Reads AWS, and the guardrail's own memory, into facts: what `request` asks for.
    fn observe(
        &self,
        policy: &Self::Policy,
        request: &Request<Self::Ask>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Self::Facts, ApiError>> + Send;

    /// Judges each resource once. Pure: no I/O, no clock, no client.
    fn evaluate<'a>(
        facts: &'a Self::Facts,
        policy: &'a Self::Policy,
        now: Timestamp,
    ) -> Self::Evaluation<'a>;

    /// What is to be done. Pure, and reads nothing but the evaluation.
    fn decide(evaluation: &Self::Evaluation<'_>) -> Vec<Decision<Self::Action>>;

    /// Looks again at what the coming `actions` rest on, in as few calls as can be: for each
    /// action `None` when it is still called for, else why it isn't.
    ///
    /// The runner sends no action whose look is older than [`crate::runner::LOOK_VALID`].
    fn revalidate(
        &self,
        actions: &[&Self::Action],
    ) -> impl Future<Output = Result<Vec<Option<String>>, ApiError>> + Send {
        ready(Ok(actions.iter().map(|_| None).collect()))
    }

    /// Carries out one action. `run` names this invocation, for what wants an id of its own.
    fn act(
        &self,
        action: &Self::Action,
        run: &str,
    ) -> impl Future<Output = Acted<Self::Effect>> + Send;

    /// Writes down what was seen, after all was carried out and in every mode: the guardrail's own
    /// memory, and nothing else. Not called for a question.
    fn remember<'a, 'b: 'a>(
        &'a self,
        _evaluation: &'a Self::Evaluation<'b>,
    ) -> impl Future<Output = Result<(), ApiError>> + Send {
        ready(Ok(()))
    }

    /// Sums up, after all was carried out: numbers and conditions. Pure, as `decide` is.
    fn report(
        evaluation: &Self::Evaluation<'_>,
        settled: &[Settled<'_, Self::Action, Self::Effect>],
    ) -> Assessment;
}

/// What was decided about a resource, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<A> {
    /// What it is about.
    pub resource: Resource,
    /// What is to be done, e.g. `create-snapshot`.
    pub action: &'static str,
    /// Why.
    pub reason: String,
    /// What follows.
    pub step: Step<A>,
}

/// What follows from a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<A> {
    /// This is carried out, if the mode allows it.
    Act(A),
    /// Nothing, and it is said.
    Leave,
    /// What it would rest on couldn't be read: nothing is done, and whatever the mode the run isn't
    /// a success.
    CannotJudge(ApiError),
}

impl<A> Decision<A> {
    fn of(resource: Resource, action: &'static str, reason: String, step: Step<A>) -> Self {
        Self {
            resource,
            action,
            reason,
            step,
        }
    }

    /// To carry out `action`.
    #[must_use]
    pub fn act(resource: Resource, name: &'static str, reason: String, action: A) -> Self {
        Self::of(resource, name, reason, Step::Act(action))
    }

    /// To leave it as it is, and say so: `name` is `leave-alone`, `report`, `watch` or the like.
    #[must_use]
    pub fn leave(resource: Resource, name: &'static str, reason: String) -> Self {
        Self::of(resource, name, reason, Step::Leave)
    }

    /// That it can't be judged.
    #[must_use]
    pub fn cannot_judge(resource: Resource, reason: String, error: ApiError) -> Self {
        Self::of(resource, "cannot-judge", reason, Step::CannotJudge(error))
    }
}

/// What came of an action, and what it brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acted<E> {
    /// What came of it.
    pub result: ActResult,
    /// What it brought about: also where it failed half-way.
    pub effect: Option<E>,
}

/// What came of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActResult {
    /// Carried out; what was made.
    Done(Option<String>),
    /// No longer needed or not possible, and nobody's fault; why.
    Skipped(String),
    /// AWS said no, or we don't know. [`crate::aws::ErrorKind::Throttled`] makes the runner try it
    /// again after another look.
    Failed(ApiError),
}

impl<E> Acted<E> {
    fn of(result: ActResult) -> Self {
        Self {
            result,
            effect: None,
        }
    }

    /// Carried out; what was made, in words.
    #[must_use]
    pub fn done(note: Option<String>) -> Self {
        Self::of(ActResult::Done(note))
    }

    /// No longer needed, or not possible; why.
    pub fn skipped(why: impl Into<String>) -> Self {
        Self::of(ActResult::Skipped(why.into()))
    }

    /// Went wrong.
    #[must_use]
    pub fn failed(error: ApiError) -> Self {
        Self::of(ActResult::Failed(error))
    }

    /// With what it brought about.
    #[must_use]
    pub fn with(mut self, effect: E) -> Self {
        self.effect = Some(effect);
        self
    }
}

/// An action and what came of it.
#[derive(Debug)]
pub struct Settled<'a, A, E> {
    /// The action.
    pub action: &'a A,
    /// What came of it: [`Outcome::WouldDo`] where the mode kept it from being carried out.
    pub outcome: Outcome,
    /// Why it was skipped or failed.
    pub note: Option<&'a str>,
    /// What it brought about.
    pub effect: Option<&'a E>,
}

/// A guardrail's summing up.
#[derive(Debug, Default)]
pub struct Assessment {
    /// How many resources were looked at.
    pub considered: u64,
    /// The guardrail's own numbers.
    pub metrics: Vec<Metric>,
    /// What stands, what surely doesn't any more, and what can't be told.
    pub conditions: Vec<Condition>,
    /// What that says about conditions that aren't named.
    pub coverage: Coverage,
    /// More about the one resource that was asked for; null for a sweep.
    pub detail: Value,
}
