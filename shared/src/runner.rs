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
use crate::policy::{self, Effective, Loader, Mode, PolicyError, Section as _};
use crate::report::{Counts, Entry, Outcome, Report};
use crate::resource::{Arn, Resource};
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
enum RunError {
    #[error(transparent)]
    Trigger(#[from] TriggerError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("nothing was done, because not everything could be looked at: {0}")]
    Observe(ApiError),
    #[error(
        "nothing was done: reading AWS took longer than the {0} s that the function has for it; AWS may be throttling the account, or the function's Timeout is too short"
    )]
    Slow(u64),
    #[error("{0}")]
    Failed(String),
}

impl RunError {
    fn name(&self) -> &'static str {
        match self {
            Self::Trigger(_) => "UnknownTrigger",
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
                    let (figures, now) = (runner.figures, invocation.now);
                    count_invalid_policy(&mut io::stdout(), figures, G::NAME, now, is_sweep);
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
    let invalid = Metric {
        name: "PolicyInvalid",
        value: 1,
    };
    let sweep = Metric {
        name: "Considered",
        value: 0,
    };
    let counts = [invalid, sweep];
    let counts = if is_sweep { &counts[..] } else { &counts[..1] };
    metrics::emit(output, figures, guardrail, now.into(), counts);
}

/// What Lambda says about an invocation.
#[derive(Debug, Clone)]
struct Invocation {
    /// The request's id.
    id: String,
    /// When the run starts.
    now: Timestamp,
    /// When Lambda ends it.
    deadline: Instant,
    place: Place,
    /// Whether it came through [`OPERATOR`].
    by_operator: bool,
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

/// Whether a function's ARN (`…:function:NAME:ALIAS`) names the alias for commands.
fn is_operators(arn: &str) -> bool {
    Arn::read(arn).is_some_and(|arn| arn.resource.split(':').nth(2) == Some(OPERATOR))
}

/// A guardrail with all that it needs to run.
#[derive(Debug)]
struct Runner<G> {
    guardrail: G,
    policy: Loader,
    notifier: Notifier,
    state: State,
    figures: metrics::Form,
}

impl<G: Guardrail> Runner<G> {
    fn new(config: &SdkConfig, environment: &Environment) -> Result<Self, ConfigurationError> {
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

    /// What is asked for. Commands are people's: no rule may give one.
    fn request(payload: Value, invocation: &Invocation) -> Result<Request<G::Ask>, TriggerError> {
        match trigger::parse(payload)? {
            Trigger::Sweep => Ok(Request::sweep()),
            Trigger::Command(command) if !invocation.by_operator => {
                Err(TriggerError::NotByOperator {
                    command: command.name,
                    function: invocation.place.function.clone(),
                    alias: OPERATOR,
                })
            }
            other => G::request(&other),
        }
    }

    /// One invocation.
    async fn run(&self, payload: Value, invocation: &Invocation) -> Result<Report, RunError> {
        let request = Self::request(payload, invocation)?;
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
        for entry in &entries {
            log(entry);
        }
        // What fails of the guardrail's own.
        let mut failures = Vec::new();
        if request.order != Order::Question
            && let Err(error) = self.guardrail.remember(&evaluation).await
        {
            let reason = "what was seen is to be written down".to_owned();
            failures.push(failed("remember", reason, &error));
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
            let left = Counts::of(&entries).left;
            match backlog::after(&self.state, left, invocation.now).await {
                Ok(condition) => assessment.conditions.push(condition),
                Err(error) => {
                    let reason = "whether sweeps keep up is to be written down".to_owned();
                    failures.push(failed("remember", reason, &error));
                }
            }
        }
        let not_notified = if mode >= Mode::Notify {
            self.notify(&assessment, is_sweep, by_person, invocation, &mut failures)
                .await
        } else {
            None
        };
        for entry in &failures {
            log(entry);
        }
        entries.extend(failures);
        let report = Report {
            guardrail: G::NAME,
            mode,
            by_person,
            policy: origin,
            warnings: policy::warnings(&policy, G::NAME),
            not_notified,
            ..Report::default()
        };
        self.finish(report, is_sweep, invocation.now, assessment, entries)
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
                let look = Instant::now();
                match timeout_at(last_start, self.still_needed(entries, &batch)).await {
                    Ok(Ok(needed)) => {
                        looked = look;
                        needed
                    }
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
                Some(why) => entries[item.0].settle(Outcome::Skipped, Some(why)),
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
                ActResult::Done(note) => entry.settle(Outcome::Done, note),
                ActResult::Skipped(why) => entry.settle(Outcome::Skipped, Some(why)),
                ActResult::Failed(error) => entry.fail(&error),
            }
            effects.extend(acted.effect.map(|effect| (item.0, effect)));
        }
        Again {
            actions: again,
            throttled: throttled.load(Ordering::Relaxed),
        }
    }

    /// Notifies of what has changed: why people weren't, where that is nobody's failure.
    async fn notify(
        &self,
        assessment: &Assessment,
        is_sweep: bool,
        by_person: bool,
        invocation: &Invocation,
        failures: &mut Vec<Entry>,
    ) -> Option<String> {
        let origin = Origin {
            guardrail: G::NAME,
            place: &invocation.place,
            request: &invocation.id,
            now: invocation.now,
            by_person,
        };
        let notified = self
            .notifier
            .notify(&origin, G::KINDS, assessment, is_sweep)
            .await;
        if let Some(why) = &notified.held_back {
            tracing::warn!("not notified: {why}");
        }
        if let Some(error) = notified.errors.first() {
            let changed = notified.changed;
            let reason = format!("{changed} conditions are new, changed or resolved");
            let mut entry = failed("notify", reason, error);
            if let (Some(note), more @ 1..) = (&mut entry.note, notified.errors.len() - 1) {
                let _ = write!(note, "; and {more} more like it");
            }
            failures.push(entry);
        }
        notified.held_back
    }

    /// Sums up: metrics, report, and the error that Lambda is told when something failed.
    fn finish(
        &self,
        mut report: Report,
        is_sweep: bool,
        now: Timestamp,
        assessment: Assessment,
        entries: Vec<Entry>,
    ) -> Result<Report, RunError> {
        let outcomes = Counts::of(&entries);
        if is_sweep {
            for warning in &report.warnings {
                tracing::warn!(
                    path = warning.path,
                    policy = report.policy,
                    "{}",
                    warning.text
                );
            }
        }
        let measured = measured::<G>(is_sweep, outcomes, &assessment);
        if !measured.is_empty() {
            let output = &mut io::stdout();
            metrics::emit(output, self.figures, G::NAME, now.into(), &measured);
        }
        let failure = (outcomes.failed > 0).then(|| summary(&entries, outcomes));
        report.considered = assessment.considered;
        report.outcomes = outcomes;
        report.metrics = assessment
            .metrics
            .iter()
            .map(|metric| (metric.name.to_owned(), metric.value.into()))
            .collect();
        report.detail = assessment.detail;
        report.list(entries, assessment.conditions);
        tracing::info!(
            mode = ?report.mode,
            considered = report.considered,
            done = outcomes.done,
            would_do = outcomes.would_do,
            skipped = outcomes.skipped,
            failed = outcomes.failed,
            left = outcomes.left,
            policy = report.policy,
            "run finished"
        );
        failure.map_or(Ok(report), |summary| Err(RunError::Failed(summary)))
    }
}

/// Something of the guardrail's own that failed.
fn failed(action: &'static str, reason: String, error: &ApiError) -> Entry {
    let mut entry = Entry::of(Resource::Account, action, reason);
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
        let mut entry = Entry::of(decision.resource, decision.action, decision.reason);
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
fn measured<G: Guardrail>(
    is_sweep: bool,
    outcomes: Counts,
    assessment: &Assessment,
) -> Vec<Metric> {
    if is_sweep {
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

/// `2 of 14 failed (12 done): vol-1 create-snapshot: ec2:CreateSnapshot failed with …; …`.
fn summary(entries: &[Entry], outcomes: Counts) -> String {
    const NAMED: usize = 5;
    let failed = entries
        .iter()
        .filter(|entry| entry.outcome == Outcome::Failed)
        .take(NAMED)
        .map(|entry| {
            let note = entry.note.as_deref().unwrap_or("no reason known");
            format!("{} {}: {note}", entry.resource, entry.action)
        });
    let named = failed.collect::<Vec<_>>().join("; ");
    let more = match outcomes.failed.saturating_sub(NAMED as u64) {
        0 => String::new(),
        more => format!("; and {more} more, see the log"),
    };
    format!(
        "{} of {} failed ({} done, {} left for the next sweep): {named}{more}",
        outcomes.failed,
        entries.len(),
        outcomes.done,
        outcomes.left
    )
}

#[cfg(test)]
mod tests;
