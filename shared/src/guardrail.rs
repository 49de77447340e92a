//! The one shape that every guardrail has.
//!
//! ```text
//! trigger ──> observe ──> decide ──> act ──> report
//! event,      AWS reads   pure       AWS     log, metrics,
//! sweep or    into Facts  function   writes  notice, findings
//! command
//! ```

use std::future::{Future, ready};

use aws_config::SdkConfig;
use jiff::Timestamp;
use serde_json::Value;

use crate::aws::{ApiError, ErrorKind};
use crate::finding::{Finding, Told};
use crate::metrics::Metric;
use crate::policy::Section;
use crate::report::Outcome;
use crate::trigger::{Request, Trigger, TriggerError};
use crate::wiring::{Environment, WiringError};

/// A reconciler: compares what is with what the policy wants and closes the difference.
///
/// The runner ([`crate::runner`]) calls the methods in their order here and owns all else.
pub trait Guardrail: Sized + Send + Sync + 'static {
    /// Its name: the policy's section, the metrics' dimension, the `ec2-guardrails:guardrail` tag.
    const NAME: &'static str;
    /// Those of its metrics that count what a run did, and not how things stand: they are true of
    /// a run that looked at one resource too, so they are measured there as well.
    const COUNTERS: &'static [&'static str] = &[];
    /// Its section of the policy document.
    type Policy: Section;
    /// What `observe` found.
    type Facts: Send + Sync;
    /// What `act` can carry out.
    type Action: Send + Sync;

    /// Makes the guardrail's clients, and reads the variables that only this guardrail needs.
    fn new(config: &SdkConfig, environment: &Environment) -> Result<Self, WiringError>;

    /// Where a trigger says to look. The sweep always means [`Request::sweep`].
    fn request(trigger: &Trigger) -> Result<Request, TriggerError>;

    /// Reads AWS into facts: what `request` asks for.
    fn observe(
        &self,
        policy: &Self::Policy,
        request: &Request,
        now: Timestamp,
    ) -> impl Future<Output = Result<Self::Facts, ApiError>> + Send;

    /// Compares facts and policy. Pure: no I/O, no clock, no client.
    fn decide(
        facts: &Self::Facts,
        policy: &Self::Policy,
        now: Timestamp,
    ) -> Vec<Decision<Self::Action>>;

    /// Looks again at what the coming `actions` rest on, in as few calls as can be: for each
    /// action `None` when it is still called for, else why it isn't.
    ///
    /// The runner sends no action whose look is older than [`crate::runner::LOOK_VALID`].
    fn look_again(
        &self,
        actions: &[&Self::Action],
    ) -> impl Future<Output = Result<Vec<Option<String>>, ApiError>> + Send {
        ready(Ok(actions.iter().map(|_| None).collect()))
    }

    /// Carries out one action. `run` names this invocation, for what wants an id of its own.
    fn act(&self, action: &Self::Action, run: &str) -> impl Future<Output = Acted> + Send;

    /// Remembers on `resource` what was told of it, with the tag `key`: `value`, or nothing any
    /// more. The runner asks for resources that EC2's own tags can't be put on; see
    /// [`crate::notify::is_ec2`].
    fn remember(
        &self,
        resource: &str,
        key: &str,
        value: Option<&str>,
    ) -> impl Future<Output = Result<(), ApiError>> + Send {
        let _ = (key, value);
        ready(Err(ApiError {
            operation: "ec2:CreateTags",
            code: "NotTaggable".to_owned(),
            message: format!("{resource} is no EC2 resource, so it can't remember what was told"),
            kind: ErrorKind::Refused,
        }))
    }

    /// Sums up, after all was carried out: numbers and findings. Pure, as `decide` is.
    fn assess(
        facts: &Self::Facts,
        policy: &Self::Policy,
        now: Timestamp,
        settled: &[Settled<'_, Self::Action>],
    ) -> Assessment;
}

/// A difference between what is and what the policy wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<A> {
    /// What it is about: a resource's id.
    pub resource: String,
    /// What is to be done, e.g. `create-snapshot`.
    pub action: &'static str,
    /// Why.
    pub reason: String,
    /// The action, or none where it was decided to leave the thing alone and say so.
    pub step: Option<A>,
}

/// What came of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acted {
    /// Carried out; what was made.
    Done(Option<String>),
    /// No longer needed or not possible, and nobody's fault; why.
    Skipped(String),
    /// AWS said no, or we don't know. [`crate::aws::ErrorKind::Throttled`] makes the runner try it
    /// again after another look.
    Failed(ApiError),
}

/// An action and what came of it.
#[derive(Debug)]
pub struct Settled<'a, A> {
    /// The action.
    pub action: &'a A,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it was skipped or failed.
    pub note: Option<&'a str>,
}

/// A guardrail's summing up.
#[derive(Debug, Default)]
pub struct Assessment {
    /// How many resources were looked at.
    pub considered: u64,
    /// The guardrail's own numbers.
    pub metrics: Vec<Metric>,
    /// What stands against the policy.
    pub findings: Vec<Finding>,
    /// What the tags say was told before, for the resources that were looked at.
    pub told: Vec<Told>,
    /// More about the one resource that was asked for; null for a sweep.
    pub detail: Value,
}
