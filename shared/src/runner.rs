//! From trigger to report: what every guardrail's run has in common.
//!
//! Actions run in batches. Before each batch the guardrail looks again at what its actions rest on,
//! and no action is sent whose look is older than [`LOOK_VALID`]; what has become too old, or was
//! throttled, goes back into the queue for the next batch. So a run that takes minutes acts on
//! what was seen seconds ago, and two runs at the same time hardly ever meet: where they do, AWS's
//! own 15 seconds between snapshots of a volume (EBS-5) keep them apart.

mod backlog;

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_config::SdkConfig;
use futures::StreamExt as _;
use futures::stream;
use jiff::Timestamp;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn, tracing};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use crate::aws::{self, ApiError, ErrorKind};
use crate::configuration::{Configuration, ConfigurationError, Environment};
use crate::guardrail::{ActResult, Assessment, Decision, Guardrail, Settled, Step};
use crate::metrics::{self, Metric};
use crate::notify::{Notifier, OPERATOR, Origin, Place};
use crate::policy::{self, Effective, Loader, Mode, PolicyError, Remark, Section as _};
use crate::report::{Counts, Entry, Outcome, Report};
use crate::resource::Resource;
use crate::state::State;
use crate::trigger::{self, Order, Request, Scope, Trigger, TriggerError};

pub use backlog::BEHIND;

/// How old what an action rests on may be when it is sent. With a read that lags by less than
/// five seconds, two runs can't both make a snapshot: see EBS-5.
pub const LOOK_VALID: Duration = Duration::from_secs(10);
/// A look younger than this isn't repeated before a batch.
const LOOK_FRESH: Duration = Duration::from_secs(3);
/// Actions per batch: what goes through within [`LOOK_VALID`] at AWS's rates.
const BATCH: usize = 6 * CONCURRENCY;
/// Actions at once.
const CONCURRENCY: usize = 8;
/// No action starts in the last part of the time that Lambda gives, so that those under way and
/// the report still fit.
const MARGIN: Duration = Duration::from_secs(30);
/// Pauses after throttled batches: doubled each time, from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));

/// What an invocation ends in when it couldn't do all that it should. Lambda retries it, counts it
/// and hands it to the dead-letter queue in the end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Asked for something that the function doesn't do.
    #[error(transparent)]
    Trigger(#[from] TriggerError),
    /// Not deployed rightly.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// No policy to follow.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Couldn't look.
    #[error("nothing was done, because not everything could be looked at: {0}")]
    Observe(ApiError),
    /// Looking took all the time there was.
    #[error(
        "nothing was done: reading AWS took longer than the {0} s that the function has for it; AWS may be throttling the account, or the function's Timeout is too short"
    )]
    Slow(u64),
    /// Did what it could.
    #[error("{0}")]
    Failed(String),
}

impl RunError {
    fn name(&self) -> &'static str {
        match self {
            Self::Trigger(_) => "UnknownTrigger",
            Self::Configuration(_) => "MissingConfiguration",
            Self::Policy(error) if error.is_mistake() => "InvalidPolicy",
            Self::Policy(_) => "PolicyUnreadable",
            Self::Observe(_) => "ObserveFailed",
            Self::Slow(_) => "ObserveTimedOut",
            Self::Failed(_) => "ActionsFailed",
        }
    }
}

impl From<RunError> for Diagnostic {
    fn from(error: RunError) -> Self {
        Self {
            error_type: error.name().to_owned(),
            error_message: error.to_string(),
        }
    }
}

/// Runs a guardrail as a Lambda function: all of a `main`.
pub async fn serve<G: Guardrail>() -> Result<(), lambda_runtime::Error> {
    tracing::init_default_subscriber();
    let runner = &Runner::<G>::new(&aws::config().await, &Environment::of_process())
        .inspect_err(|error| tracing::error!("{error}"))?;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        let (payload, context) = event.into_parts();
        let invocation = Invocation::of(&context);
        let is_sweep = trigger::is_sweep(&payload);
        // Boxed: all that a guardrail does would make the future of `main` large.
        Box::pin(runner.run(payload, &invocation))
            .await
            .inspect_err(|error| {
                tracing::error!(error_type = error.name(), "{error}");
                if matches!(error, RunError::Policy(error) if error.is_mistake()) {
                    let figures = runner.figures;
                    count_invalid_policy(
                        &mut io::stdout(),
                        figures,
                        G::NAME,
                        invocation.now,
                        is_sweep,
                    );
                }
            })
    }))
    .await
}

/// Counts a run that found a mistake in the policy, for the alarm on it: until it is corrected,
/// nothing is done at all. A sweep came all the same, so the alarm on missing ones stays silent:
/// one cause is told once.
fn count_invalid_policy(
    output: &mut impl io::Write,
    figures: metrics::Form,
    guardrail: &str,
    now: Timestamp,
    is_sweep: bool,
) {
    let mut counts = vec![Metric {
        name: "PolicyInvalid",
        value: 1,
    }];
    if is_sweep {
        counts.push(Metric {
            name: "Considered",
            value: 0,
        });
    }
    if let Err(error) = metrics::emit(output, figures, guardrail, now.into(), &counts) {
        tracing::error!("metrics could not be written: {error}");
    }
}

/// What Lambda says about an invocation.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The request's id.
    pub id: String,
    /// When the run starts.
    pub now: Timestamp,
    /// When Lambda ends it.
    pub deadline: Instant,
    /// Where it runs.
    pub place: Place,
    /// Whether it came through [`OPERATOR`].
    pub by_operator: bool,
}

impl Invocation {
    fn of(context: &lambda_runtime::Context) -> Self {
        let now = Timestamp::now();
        let left = i64::try_from(context.deadline)
            .unwrap_or(i64::MAX)
            .saturating_sub(now.as_millisecond());
        Self {
            id: context.request_id.clone(),
            now,
            deadline: Instant::now() + Duration::from_millis(u64::try_from(left).unwrap_or(0)),
            place: Place {
                log_group: context.env_config.log_group.clone(),
                ..Place::of_function(&context.invoked_function_arn)
            },
            by_operator: is_operators(&context.invoked_function_arn),
        }
    }

    /// Until when actions may start: a tenth of the time before the end, [`MARGIN`] at most.
    fn last_start(&self) -> Instant {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.deadline - MARGIN.min(left / 10)
    }
}

/// Whether `arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME:ALIAS` names the alias for commands.
fn is_operators(arn: &str) -> bool {
    arn.split(':').nth(7) == Some(OPERATOR)
}

/// A guardrail with all that it needs to run.
#[derive(Debug)]
pub struct Runner<G> {
    guardrail: G,
    policy: Loader,
    notifier: Notifier,
    state: State,
    figures: metrics::Form,
}

impl<G: Guardrail> Runner<G> {
    /// Makes the clients.
    pub fn new(config: &SdkConfig, environment: &Environment) -> Result<Self, ConfigurationError> {
        let configuration = Configuration::of(environment)?;
        let state = State::new(config, configuration.state_table, G::NAME);
        Ok(Self {
            guardrail: G::new(config, environment, &state)?,
            policy: Loader::new(
                aws_sdk_ssm::Client::new(config),
                configuration.policy_parameter,
                state.clone(),
            ),
            notifier: Notifier::new(config, configuration.topic_arn, state.clone()),
            state,
            figures: configuration.figures,
        })
    }

    /// One invocation.
    pub async fn run(&self, payload: Value, invocation: &Invocation) -> Result<Report, RunError> {
        let request = match trigger::parse(payload)? {
            Trigger::Sweep => Request::sweep(),
            Trigger::Command(command) if !invocation.by_operator => {
                return Err(RunError::Trigger(TriggerError::NotByOperator {
                    command: command.name,
                    function: invocation.place.function.clone(),
                    alias: OPERATOR,
                }));
            }
            other => G::request(&other)?,
        };
        let Effective { policy, origin } = self.policy.load::<G::Policy>(G::NAME).await?;
        let mode = match request.order {
            Order::Question => Mode::Observe,
            Order::Person => Mode::Enforce,
            Order::Own => policy.mode(),
        };
        let by_person = request.order == Order::Person;
        if by_person {
            tracing::info!("a person ordered this run; the mode doesn't hold it back");
        }
        let last_start = invocation.last_start();

        let started = Instant::now();
        let facts = timeout_at(
            last_start,
            self.guardrail.observe(&policy, &request, invocation.now),
        )
        .await
        .map_err(|_elapsed| RunError::Slow(started.elapsed().as_secs()))?
        .map_err(RunError::Observe)?;

        let evaluation = G::evaluate(&facts, &policy, invocation.now);
        let (mut entries, actions) = split(G::decide(&evaluation));
        let effects = if mode == Mode::Enforce {
            // What was read first is as old as the whole reading.
            self.act(&mut entries, &actions, started, last_start, &invocation.id)
                .await
        } else {
            for (index, _) in &actions {
                entries[*index].outcome = Outcome::WouldDo;
            }
            HashMap::new()
        };
        if request.order != Order::Question
            && let Err(error) = self.guardrail.remember(&evaluation).await
        {
            let reason = "what was seen is to be written down".to_owned();
            entries.push(failed("remember", reason, &error));
        }
        for entry in &entries {
            log(entry);
        }

        let settled: Vec<_> = actions
            .iter()
            .map(|(index, action)| Settled {
                action,
                outcome: entries[*index].outcome,
                note: entries[*index].note.as_deref(),
                effect: effects.get(index),
            })
            .collect();
        let mut assessment = G::report(&evaluation, &settled);
        let is_sweep = request.scope == Scope::All;
        if is_sweep && request.order == Order::Own {
            let left = entries
                .iter()
                .filter(|entry| entry.outcome == Outcome::Left);
            match backlog::after(&self.state, left.count(), invocation.now).await {
                Ok(condition) => assessment.conditions.push(condition),
                Err(error) => {
                    let reason = "whether sweeps keep up is to be written down".to_owned();
                    entries.push(failed("remember", reason, &error));
                }
            }
        }
        let mut not_notified = None;
        if mode >= Mode::Notify {
            let origin = Origin {
                guardrail: G::NAME,
                place: &invocation.place,
                request: &invocation.id,
                now: invocation.now,
                by_person,
            };
            let notified = self.notify(&assessment, is_sweep, &origin).await;
            entries.extend(notified.0);
            not_notified = notified.1;
        }
        let warnings = policy::warnings(&policy, G::NAME);
        let run = Run {
            mode,
            origin,
            warnings,
            scope: &request.scope,
            invocation,
            by_person,
            figures: self.figures,
        };
        finish::<G>(&run, assessment, entries, not_notified)
    }

    /// Carries out `actions` in batches until all are settled or `last_start` has come: what they
    /// brought about, by their entry.
    async fn act(
        &self,
        entries: &mut [Entry],
        actions: &[(usize, G::Action)],
        mut looked: Instant,
        last_start: Instant,
        run: &str,
    ) -> HashMap<usize, G::Effect> {
        let mut effects = HashMap::new();
        let mut queue: VecDeque<&(usize, G::Action)> = actions.iter().collect();
        let mut pause = PAUSE.0;
        while !queue.is_empty() && Instant::now() < last_start {
            let batch: Vec<_> = queue.drain(..queue.len().min(BATCH)).collect();
            let mut throttled = false;
            let batch = if looked.elapsed() < LOOK_FRESH {
                batch
            } else {
                looked = Instant::now();
                match timeout_at(last_start, self.still_needed(entries, &batch)).await {
                    Ok(Ok(needed)) => needed,
                    // It must not take the report its time.
                    Err(_elapsed) => break,
                    Ok(Err(error)) if error.kind == ErrorKind::Throttled => {
                        throttled = true;
                        queue.extend(batch);
                        Vec::new()
                    }
                    Ok(Err(error)) => {
                        for (index, _) in batch {
                            entries[*index].fail(&error);
                        }
                        Vec::new()
                    }
                }
            };
            let again = self
                .batch(
                    entries,
                    &mut effects,
                    batch,
                    (looked + LOOK_VALID).min(last_start),
                    run,
                )
                .await;
            throttled |= again.throttled;
            queue.extend(again.actions);
            if throttled {
                sleep(pause.min(last_start.saturating_duration_since(Instant::now()))).await;
                pause = (pause * 2).min(PAUSE.1);
            } else {
                pause = PAUSE.0;
            }
        }
        effects
    }

    /// Asks the guardrail to look again; settles what is no longer called for.
    async fn still_needed<'a>(
        &self,
        entries: &mut [Entry],
        batch: &[&'a (usize, G::Action)],
    ) -> Result<Vec<&'a (usize, G::Action)>, ApiError> {
        let actions: Vec<&G::Action> = batch.iter().map(|(_, action)| action).collect();
        let verdicts = self.guardrail.revalidate(&actions).await?;
        let mut needed = Vec::with_capacity(batch.len());
        for (item, verdict) in batch.iter().zip(verdicts) {
            match verdict {
                None => needed.push(*item),
                Some(why) => {
                    let entry = &mut entries[item.0];
                    entry.outcome = Outcome::Skipped;
                    entry.note = Some(why);
                }
            }
        }
        Ok(needed)
    }

    /// Carries out one batch; what is returned must be looked at again.
    async fn batch<'a>(
        &self,
        entries: &mut [Entry],
        effects: &mut HashMap<usize, G::Effect>,
        batch: Vec<&'a (usize, G::Action)>,
        valid_until: Instant,
        run: &str,
    ) -> Again<'a, G::Action> {
        let throttled = &AtomicBool::new(false);
        let settled: Vec<_> = stream::iter(batch)
            .map(|item| async move {
                if throttled.load(Ordering::Relaxed) || Instant::now() >= valid_until {
                    return (item, None);
                }
                let acted = self.guardrail.act(&item.1, run).await;
                if let ActResult::Failed(error) = &acted.result
                    && error.kind == ErrorKind::Throttled
                {
                    throttled.store(true, Ordering::Relaxed);
                    return (item, None);
                }
                (item, Some(acted))
            })
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        let mut again = Vec::new();
        for (item, acted) in settled {
            let Some(acted) = acted else {
                again.push(item);
                continue;
            };
            let entry = &mut entries[item.0];
            match acted.result {
                ActResult::Done(note) => {
                    entry.outcome = Outcome::Done;
                    entry.note = note;
                }
                ActResult::Skipped(why) => {
                    entry.outcome = Outcome::Skipped;
                    entry.note = Some(why);
                }
                ActResult::Failed(error) => entry.fail(&error),
            }
            effects.extend(acted.effect.map(|effect| (item.0, effect)));
        }
        Again {
            actions: again,
            throttled: throttled.load(Ordering::Relaxed),
        }
    }

    /// Notifies of what has changed. What went wrong becomes a failed entry; what was held back is
    /// said.
    async fn notify(
        &self,
        assessment: &Assessment,
        is_sweep: bool,
        origin: &Origin<'_>,
    ) -> (Option<Entry>, Option<String>) {
        let notified = self
            .notifier
            .notify(origin, G::KINDS, assessment, is_sweep)
            .await;
        if let Some(why) = &notified.held_back {
            tracing::warn!("not notified: {why}");
        }
        let failed = notified.errors.first().map(|error| {
            let changed = notified.changed;
            let reason = format!("{changed} conditions are new, changed or resolved");
            let mut entry = failed("notify", reason, error);
            if let (Some(note), more @ 1..) = (&mut entry.note, notified.errors.len() - 1) {
                let _ = write!(note, "; and {more} more like it");
            }
            log(&entry);
            entry
        });
        (failed, notified.held_back)
    }
}

/// Something of the guardrail's own that failed.
fn failed(action: &'static str, reason: String, error: &ApiError) -> Entry {
    let mut entry = Entry {
        resource: Resource::Account,
        action,
        reason,
        outcome: Outcome::Failed,
        note: None,
        error_code: None,
    };
    entry.fail(error);
    entry
}

/// What of a batch must be looked at again.
struct Again<'a, A> {
    actions: Vec<&'a (usize, A)>,
    throttled: bool,
}

/// Decisions as entries of the report, and the actions among them with their entry's index.
/// What is never reached stays [`Outcome::Left`].
fn split<A>(decisions: Vec<Decision<A>>) -> (Vec<Entry>, Vec<(usize, A)>) {
    let mut entries = Vec::with_capacity(decisions.len());
    let mut actions = Vec::new();
    for (index, decision) in decisions.into_iter().enumerate() {
        let mut entry = Entry {
            resource: decision.resource,
            action: decision.action,
            reason: decision.reason,
            outcome: Outcome::Left,
            note: None,
            error_code: None,
        };
        match decision.step {
            Step::Act(action) => actions.push((index, action)),
            Step::Leave => entry.outcome = Outcome::Skipped,
            Step::CannotJudge(error) => entry.fail(&error),
        }
        entries.push(entry);
    }
    (entries, actions)
}

/// One JSON line per decision. What is left is only counted: it may be very many.
fn log(entry: &Entry) {
    let Entry {
        resource,
        action,
        reason,
        outcome,
        note,
        error_code,
    } = entry;
    let note = note.as_deref();
    match outcome {
        Outcome::Left => {}
        Outcome::Failed => tracing::error!(
            %resource,
            action,
            reason,
            error_code = error_code.as_deref(),
            note,
            "failed"
        ),
        Outcome::Done => tracing::info!(%resource, action, reason, note, "done"),
        Outcome::WouldDo => tracing::info!(%resource, action, reason, note, "would do"),
        Outcome::Skipped => tracing::info!(%resource, action, reason, note, "skipped"),
    }
}

/// What a run writes as metrics. A look at one resource says nothing about the account: of its
/// numbers only those hold that count what was done, and they are written where there is something.
fn measured<G: Guardrail>(scope: &Scope, outcomes: Counts, assessment: &Assessment) -> Vec<Metric> {
    if *scope == Scope::All {
        let considered = Metric {
            name: "Considered",
            value: assessment.considered,
        };
        let mut measured = vec![considered];
        measured.extend(outcomes.metrics());
        measured.extend(&assessment.metrics);
        return measured;
    }
    let counts = |metric: &Metric| {
        ["Done", "Failed"].contains(&metric.name) || G::COUNTERS.contains(&metric.name)
    };
    outcomes
        .metrics()
        .into_iter()
        .chain(assessment.metrics.iter().copied())
        .filter(|metric| counts(metric) && metric.value > 0)
        .collect()
}

/// What a run was, for its report.
struct Run<'a> {
    mode: Mode,
    origin: String,
    warnings: Vec<Remark>,
    scope: &'a Scope,
    invocation: &'a Invocation,
    by_person: bool,
    figures: metrics::Form,
}

/// Sums up: metrics, report, and the error that Lambda is told when something failed.
fn finish<G: Guardrail>(
    run: &Run<'_>,
    assessment: Assessment,
    entries: Vec<Entry>,
    not_notified: Option<String>,
) -> Result<Report, RunError> {
    let outcomes = Counts::of(&entries);
    if *run.scope == Scope::All {
        for warning in &run.warnings {
            tracing::warn!(path = warning.path, policy = run.origin, "{}", warning.text);
        }
    }
    let measured = measured::<G>(run.scope, outcomes, &assessment);
    if !measured.is_empty()
        && let Err(error) = metrics::emit(
            &mut io::stdout(),
            run.figures,
            G::NAME,
            run.invocation.now.into(),
            &measured,
        )
    {
        tracing::error!("metrics could not be written: {error}");
    }
    let failure = (outcomes.failed > 0).then(|| summary(&entries, outcomes));
    let mut report = Report {
        guardrail: G::NAME,
        mode: run.mode,
        by_person: run.by_person,
        policy: run.origin.clone(),
        warnings: run.warnings.clone(),
        considered: assessment.considered,
        outcomes,
        metrics: assessment
            .metrics
            .iter()
            .map(|metric| (metric.name.to_owned(), metric.value.into()))
            .collect(),
        conditions: Vec::new(),
        conditions_not_listed: 0,
        not_notified,
        decisions: Vec::new(),
        decisions_not_listed: 0,
        detail: assessment.detail,
    };
    report.list(entries, assessment.conditions);
    tracing::info!(
        mode = ?run.mode,
        considered = report.considered,
        done = outcomes.done,
        would_do = outcomes.would_do,
        skipped = outcomes.skipped,
        failed = outcomes.failed,
        left = outcomes.left,
        policy = report.policy,
        "run finished"
    );
    match failure {
        Some(summary) => Err(RunError::Failed(summary)),
        None => Ok(report),
    }
}

/// `2 of 14 failed (12 done): vol-1 create-snapshot: ec2:CreateSnapshot failed with …; …`.
fn summary(entries: &[Entry], outcomes: Counts) -> String {
    const NAMED: usize = 5;
    let mut text = format!(
        "{} of {} failed ({} done, {} left for the next sweep):",
        outcomes.failed,
        entries.len(),
        outcomes.done,
        outcomes.left
    );
    let failed = entries
        .iter()
        .filter(|entry| entry.outcome == Outcome::Failed);
    for (n, entry) in failed.take(NAMED).enumerate() {
        let _ = write!(
            text,
            "{} {} {}: {}",
            if n == 0 { "" } else { ";" },
            entry.resource,
            entry.action,
            entry.note.as_deref().unwrap_or("no reason known")
        );
    }
    if outcomes.failed > NAMED as u64 {
        let _ = write!(
            text,
            "; and {} more, see the log",
            outcomes.failed - NAMED as u64
        );
    }
    text
}

#[cfg(test)]
mod tests;
