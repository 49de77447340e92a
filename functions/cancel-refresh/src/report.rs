//! Sums up a run: numbers, and the conditions that people are told of. Pure.
//!
//! A refresh that fails is told in stages: failing, stopped, ended. The last that is true takes the
//! place of the one before. While it isn't known whether a refresh comes through, what was told of
//! the group stands.

use guardrails::condition::{Condition, Coverage, Kind, Status as Standing};
use guardrails::guardrail::{Assessment, Settled};
use guardrails::metrics::Metric;
use guardrails::report::Outcome;
use guardrails::tags;

use crate::conditions::{
    ENDED, FAILED, FAILING, FAILING_ELSEWHERE, FAILING_FORWARD, IMAGE, MISMATCH, MOVED, SETTINGS,
    STOPPED, TROUBLED, WAITING,
};
use crate::decide::{Action, Effect, Stopped};
use crate::evaluate::{ByHand, Evaluated, Evaluation, Newest};
use crate::explain;
use crate::facts::Status;
use crate::image;
use crate::memory::How;
use crate::prose;
use crate::signals::Verdict;

/// Metrics that count what a run did.
pub(crate) const COUNTERS: &[&str] = &["RefreshesStopped", "Mismatches", "ImagesRestored"];
/// What every group is judged by; [`FAILING`] stands for all stages of a refresh.
const JUDGED: [&Kind; 7] = [
    &FAILING, &TROUBLED, &WAITING, &IMAGE, &MOVED, &MISMATCH, &SETTINGS,
];

/// Sums up.
pub(crate) fn report(
    evaluation: &Evaluation<'_>,
    settled: &[Settled<'_, Action, Effect>],
) -> Assessment {
    let mut conditions = Vec::new();
    for group in &evaluation.groups {
        let view = View {
            group,
            done: Done::of(&group.case.group.name, settled),
        };
        // Events come in bursts (four instances die together, and each starts a run). So a run that
        // an event started tells what it did itself; all else is left to the sweep.
        let by_event = !evaluation.complete && evaluation.asked.is_none();
        if group.excluded.is_none() && (!by_event || view.done.did_something()) {
            conditions.extend(view.conditions());
        }
    }
    let groups = evaluation.groups.iter();
    Assessment {
        considered: evaluation.groups.len() as u64,
        metrics: metrics(evaluation, settled, &conditions),
        coverage: if evaluation.complete {
            Coverage::All {
                kinds: JUDGED.to_vec(),
                present: groups.map(Evaluated::resource).collect(),
            }
        } else {
            Coverage::Named
        },
        conditions,
        detail: explain::detail(evaluation),
    }
}

fn metrics(
    evaluation: &Evaluation<'_>,
    settled: &[Settled<'_, Action, Effect>],
    conditions: &[Condition],
) -> Vec<Metric> {
    let groups = |such: &dyn Fn(&Evaluated<'_>) -> bool| {
        let groups = evaluation.groups.iter();
        let judged = groups.filter(|one| one.excluded.is_none());
        judged.filter(|one| such(one)).count()
    };
    let effects = |such: &dyn Fn(&Effect) -> bool| {
        let effects = settled.iter().filter_map(|one| one.effect);
        effects.filter(|effect| such(effect)).count()
    };
    let stopped = |such: fn(&Stopped) -> bool| {
        effects(&|effect| matches!(effect, Effect::Stopped(stopped) if such(stopped)))
    };
    let not_restored = |one: &&Condition| one.kind == &IMAGE && one.status == Standing::Firing;
    [
        (
            "RefreshesWatched",
            groups(&|one| {
                let newest = one.refresh.as_ref();
                newest.is_some_and(|newest| !newest.refresh.status.is_ended())
            }),
        ),
        (
            "RefreshesFailing",
            groups(&|one| one.judgement.is_failing()),
        ),
        (
            "RefreshesTroubled",
            groups(&|one| matches!(one.judgement.verdict, Verdict::Troubled(_))),
        ),
        ("RefreshesStopped", stopped(|stopped| stopped.how.is_some())),
        ("Mismatches", stopped(|stopped| stopped.mismatch.is_some())),
        (
            "ImagesRestored",
            effects(&|effect| matches!(image_of(effect), Some(image::Outcome::Restored { .. }))),
        ),
        (
            "ImagesNotRestored",
            conditions.iter().filter(not_restored).count(),
        ),
    ]
    .map(|(name, value)| Metric {
        name,
        value: value as u64,
    })
    .to_vec()
}

fn image_of(effect: &Effect) -> Option<&image::Outcome> {
    match effect {
        Effect::Stopped(stopped) => stopped.image.as_ref(),
        Effect::Image(outcome) => Some(outcome),
    }
}

/// What came of the actions on one group.
#[derive(Debug, Default, Clone, Copy)]
struct Done<'a> {
    stop: Option<&'a Settled<'a, Action, Effect>>,
    restore: Option<&'a Settled<'a, Action, Effect>>,
}

impl<'a> Done<'a> {
    fn of(group: &str, settled: &'a [Settled<'a, Action, Effect>]) -> Self {
        let mut done = Self::default();
        for one in settled.iter().filter(|one| one.action.group() == group) {
            match one.action {
                Action::Stop(_) => done.stop = Some(one),
                Action::Restore(_) => done.restore = Some(one),
                Action::Remember(_) => {}
            }
        }
        done
    }

    /// Whether this run itself changed something, tried to, or would have in mode enforce.
    fn did_something(&self) -> bool {
        let both = [self.stop, self.restore];
        both.into_iter()
            .flatten()
            .any(|one| !matches!(one.outcome, Outcome::Skipped | Outcome::Left))
    }

    fn effect_of_stop(&self) -> Option<&'a Stopped> {
        match self.stop?.effect? {
            Effect::Stopped(stopped) => Some(stopped),
            Effect::Image(_) => None,
        }
    }

    /// How this run stopped the refresh, if it did.
    fn stopped(&self) -> Option<(How, &'a Stopped)> {
        let stopped = self.effect_of_stop()?;
        Some((stopped.how?, stopped))
    }

    /// What came of the image tag.
    fn image(&self) -> Option<&'a image::Outcome> {
        let effects = [self.restore, self.stop].into_iter().flatten();
        effects.filter_map(|one| one.effect).find_map(image_of)
    }
}

/// A stage of a refresh: its kind, its word in the fingerprint, and why.
type Stage = (&'static Kind, &'static str, String);

/// One group as it is told.
struct View<'a> {
    group: &'a Evaluated<'a>,
    done: Done<'a>,
}

impl View<'_> {
    fn conditions(&self) -> Vec<Condition> {
        let mut found: Vec<Condition> = self.settings().into_iter().collect();
        if let Some(why) = self.group.case.not_read() {
            let kinds = JUDGED.into_iter().filter(|kind| *kind != &SETTINGS);
            found.extend(kinds.map(|kind| self.unknown(kind, &why)));
        } else if let Some(newest) = &self.group.refresh {
            found.extend(self.image(newest));
            found.extend(self.moved(newest));
            found.extend(self.mismatch(newest));
            // What has come through resolves all that isn't named.
            if newest.refresh.status != Status::Successful {
                found.push(self.refresh(newest));
                found.push(self.trouble(newest));
                found.push(self.waiting(newest));
            }
        }
        found
    }

    fn firing(&self, kind: &'static Kind, fingerprint: String, why: String) -> Condition {
        Condition::firing(self.group.resource(), kind, fingerprint, why)
    }

    fn unknown(&self, kind: &'static Kind, why: &str) -> Condition {
        Condition::unknown(self.group.resource(), kind, why)
    }

    fn refresh(&self, newest: &Newest<'_>) -> Condition {
        match self.stage(newest) {
            Ok((kind, stage, why)) => {
                self.firing(kind, format!("{} {stage}", newest.refresh.id), why)
            }
            Err(why) => self.unknown(&FAILING, &why),
        }
    }

    fn trouble(&self, newest: &Newest<'_>) -> Condition {
        match &self.group.judgement.verdict {
            Verdict::Troubled(because) => self.firing(
                &TROUBLED,
                newest.refresh.id.clone(),
                prose::troubled(self.group, newest, because),
            ),
            _ => self.unknown(&TROUBLED, &not_through(newest)),
        }
    }

    fn waiting(&self, newest: &Newest<'_>) -> Condition {
        match self.group.judgement.waits() {
            Some(stall) => {
                let why = prose::waits(newest, stall);
                self.firing(&WAITING, newest.refresh.id.clone(), why)
            }
            None => self.unknown(&WAITING, &not_through(newest)),
        }
    }

    /// How far the story of a refresh has come that has not come through, or why that isn't known.
    fn stage(&self, newest: &Newest<'_>) -> Result<Stage, String> {
        if let Some((how, stopped)) = self.done.stopped() {
            let text = prose::was_stopped(self.group, newest, how, stopped);
            return Ok((&STOPPED, "stopped", text));
        }
        let status = &newest.refresh.status;
        let claim = newest.claim;
        if let Some(claim) = claim.filter(|claim| newest.claimed && !claim.step.is_done()) {
            return Err(format!("a run is at it since {:.0}, and tells", claim.at));
        }
        if status.is_ended_badly() {
            return self.ended(newest);
        }
        // The run that stopped it tells the same, and the first to do so sends the notice.
        if let Some(claim) = claim.filter(|claim| claim.step.is_done() || !status.is_running()) {
            return Ok((&STOPPED, "stopped", prose::stopped_before(newest, claim)));
        }
        match &self.group.judgement.verdict {
            Verdict::Failing(because) => {
                let why = self.not_stopped(newest)?;
                let text = prose::failing(self.group, newest, because, &why);
                Ok((failing_kind(newest), "failing", text))
            }
            _ => Err(not_through(newest)),
        }
    }

    fn ended(&self, newest: &Newest<'_>) -> Result<Stage, String> {
        match newest.claim {
            Some(claim) => {
                let text = prose::ended_stopped(self.group, newest, claim);
                Ok((&ENDED, "ended", text))
            }
            None if newest.just_failed() => {
                Ok((&FAILED, "ended", prose::ended(self.group, newest)))
            }
            None => Err(not_through(newest)),
        }
    }

    /// Why a failing refresh wasn't stopped; an error where another look tells.
    fn not_stopped(&self, newest: &Newest<'_>) -> Result<String, String> {
        let Some(stop) = self.done.stop else {
            let why = newest.gate.closed().or_else(|| newest.already.clone());
            let why = why.unwrap_or_else(|| "the reason stands in the log".to_owned());
            return Ok(format!("It was not stopped: {why}"));
        };
        let note = stop.note.unwrap_or("the reason stands in the log");
        match (stop.outcome, stop.action) {
            // Another run does it, or it came to its end.
            (Outcome::Skipped | Outcome::Left, _) => Err(note.to_owned()),
            (Outcome::WouldDo, Action::Stop(stop)) => {
                Ok(prose::would_be_stopped(newest, stop.image.as_ref()))
            }
            _ => Ok(format!("It could not be stopped: {note}")),
        }
    }

    fn image(&self, newest: &Newest<'_>) -> Option<Condition> {
        let id = &newest.refresh.id;
        if let Some(image::Outcome::Restored { .. }) = self.done.image() {
            return Some(Condition::resolved(self.group.resource(), &IMAGE));
        }
        if let Some(why) = self.not_restored(newest) {
            return Some(self.firing(&IMAGE, format!("{id} not-restored"), why));
        }
        // Where it is as it should be, or nobody asks for it any more, that resolves it.
        let asked_for = self.group.settings.image.is_some();
        if !asked_for || newest.refresh.status == Status::Successful {
            return None;
        }
        match &newest.image {
            image::Standing::Good | image::Standing::Moved(_) => None,
            image::Standing::Unread(why) => Some(self.unknown(&IMAGE, why)),
            _ => Some(self.unknown(&IMAGE, &not_through(newest))),
        }
    }

    /// Stands until another refresh is begun, whatever comes of this one.
    fn moved(&self, newest: &Newest<'_>) -> Option<Condition> {
        let id = &newest.refresh.id;
        let tags = self.group.settings.image.as_ref();
        let why = match (self.done.image(), &newest.image, tags) {
            (Some(image::Outcome::Restored { digest, kept_as }), _, Some(tags)) => {
                prose::moved_now(newest, tags, digest, kept_as)
            }
            (_, image::Standing::Moved(moved), _) => prose::moved(newest, moved),
            _ => return newest.lost_sight().map(|why| self.unknown(&MOVED, why)),
        };
        Some(self.firing(&MOVED, format!("{id} moved"), why))
    }

    /// Why the image tag wasn't put back though it should have been.
    fn not_restored(&self, newest: &Newest<'_>) -> Option<String> {
        match self.done.image() {
            Some(image::Outcome::Refused(why)) => return Some(why.clone()),
            Some(image::Outcome::Failed(error)) => {
                return Some(format!("{error}. The next sweep tries again"));
            }
            Some(image::Outcome::Restored { .. }) => return None,
            None => {}
        }
        if let Some(restore) = self.done.restore {
            match (restore.outcome, restore.action) {
                (Outcome::Failed, _) => {
                    let note = restore.note.unwrap_or("the reason stands in the log");
                    return Some(format!("{note}. The next sweep tries again"));
                }
                (Outcome::WouldDo, Action::Restore(restore)) => {
                    return Some(prose::would_be_restored(&restore.plan));
                }
                _ => {}
            }
        }
        let stopped = self.done.stopped().is_some();
        let failed = newest.just_failed() && newest.gate.closed().is_none();
        match &newest.image {
            image::Standing::Refused(why) if stopped || failed => Some(why.clone()),
            // It was stopped without it: told at once.
            image::Standing::Unread(why) if stopped => Some(why.clone()),
            _ => None,
        }
    }

    /// Stands until another refresh is begun.
    fn mismatch(&self, newest: &Newest<'_>) -> Option<Condition> {
        let hit = self.done.effect_of_stop();
        let hit = hit.and_then(|stopped| stopped.mismatch.as_deref());
        let (meant, hit) = match (hit, newest.mismatch) {
            (Some(hit), _) => (newest.refresh.id.as_str(), hit),
            (None, Some(one)) => (one.meant.as_str(), one.hit.as_str()),
            (None, None) => return None,
        };
        let why = format!("refresh {meant} was to be stopped, and AWS says that {hit} was");
        Some(self.firing(&MISMATCH, format!("{meant} {hit}"), why))
    }

    fn settings(&self) -> Option<Condition> {
        let problems = &self.group.settings.problems;
        let keys = problems.iter().map(|one| one.tag.as_str());
        let keys: Vec<&str> = keys
            .map(|tag| tag.strip_prefix(tags::PREFIX).unwrap_or(tag))
            .collect();
        let why: Vec<String> = problems
            .iter()
            .map(|one| format!("tag {}: {}", one.tag, one.problem))
            .collect();
        (!keys.is_empty()).then(|| self.firing(&SETTINGS, keys.join(" "), why.join("; ")))
    }
}

/// By what a person can do about it: no command is offered that can't work.
fn failing_kind(newest: &Newest<'_>) -> &'static Kind {
    match newest.by_hand {
        ByHand::CancelOrRollBack => &FAILING,
        ByHand::Cancel => &FAILING_FORWARD,
        ByHand::Nothing => &FAILING_ELSEWHERE,
    }
}

/// Why it isn't known whether a refresh comes through.
fn not_through(newest: &Newest<'_>) -> String {
    let refresh = newest.refresh;
    format!(
        "refresh {} is {}, and none has come through since",
        refresh.id, refresh.status
    )
}

#[cfg(test)]
mod tests;
