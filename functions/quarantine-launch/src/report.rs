//! Sums up a run: numbers, and what stands against the policy. Pure, and reads nothing but the
//! evaluation and what came of the actions.

mod detail;
mod texts;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use guardrails::condition::{Condition, Coverage, Kind};
use guardrails::guardrail::{Assessment, Settled};
use guardrails::metrics::Metric;
use guardrails::report::Outcome;
use guardrails::resource::Resource;
use serde_json::{Value, json};

use crate::approval::Verdict;
use crate::ask::Ask;
use crate::conditions::{
    BRAKE, BROAD, DRIFT, EVIDENCE_FAILED, ISOLATION_OPENED, KINDS, LOOP, PARTLY_ISOLATED,
    QUARANTINED, UNAPPROVED, UNDECIDED, UNRECORDED,
};
use crate::decide::{Action, Effect, Occasion, Quarantine, Quarantined};
use crate::evaluate::{Change, Evaluation, Held, Judged, Judgement, Phase, Stance, Standing};
use crate::facts::{Instance, Known};
use crate::launcher::Who;
use crate::launches::{Source, source};
use crate::record::Loop;

/// Most instances that are named in one sentence.
const NAMED: usize = 20;

/// What is told of an instance in quarantine, and isn't known while another run is at it.
static OF_QUARANTINE: [&Kind; 4] = [&QUARANTINED, &PARTLY_ISOLATED, &DRIFT, &EVIDENCE_FAILED];

/// Sums up.
pub(crate) fn report(
    evaluation: &Evaluation<'_>,
    settled: &[Settled<'_, Action, Effect>],
) -> Assessment {
    let mut sums = Sums {
        evaluation,
        came: Came::of(settled),
        counts: Counts::default(),
        conditions: Vec::new(),
    };
    for judged in evaluation.judged.values() {
        if !matches!(judged.stance, Stance::Terminal) {
            sums.instance(judged);
        }
    }
    sums.opened();
    sums.brake();
    sums.loops();
    sums.breadth();
    Assessment {
        considered: sums.counts.considered,
        metrics: sums.counts.metrics().to_vec(),
        conditions: sums.conditions,
        coverage: coverage(evaluation),
        detail: detail(evaluation),
    }
}

/// A sweep has judged everything of every kind: loops only where it could read the groups, and they
/// and the brake, which count launches, only where no read failed that a verdict needed.
fn coverage(evaluation: &Evaluation<'_>) -> Coverage {
    let facts = evaluation.facts;
    if !facts.complete || facts.ask != Ask::Reconcile {
        return Coverage::Named;
    }
    let mut verdicts = evaluation.judged.values().map(|judged| &judged.verdict);
    let unread =
        verdicts.any(|one| matches!(one, Verdict::Undecided(unclear) if unclear.error.is_some()));
    let judged = |kind: &&&'static Kind| match **kind {
        kind if kind == &LOOP => facts.groups_unread.is_none() && !unread,
        kind if kind == &BRAKE => !unread,
        _ => true,
    };
    let living = evaluation.judged.values();
    let living = living.filter(|judged| !matches!(judged.stance, Stance::Terminal));
    let present: HashSet<Resource> = living
        .map(|judged| judged.instance.resource())
        .chain(facts.groups.keys().map(Resource::group))
        .chain([facts.policy()])
        .collect();
    Coverage::All {
        kinds: KINDS.iter().filter(judged).copied().collect(),
        present,
    }
}

/// What came of the actions.
#[derive(Default)]
struct Came<'a> {
    quarantines: BTreeMap<&'a str, CameOf<'a>>,
    named: BTreeMap<&'a str, &'a Who>,
    /// Releases, and whether each is done.
    released: BTreeMap<&'a str, bool>,
    /// Loops: broken; broken by another run at the same moment, which tells; left as they were.
    broken: BTreeSet<&'a str>,
    elsewhere: BTreeSet<&'a str>,
    restored: BTreeSet<&'a str>,
    /// Isolation groups that were to be emptied.
    mended: BTreeMap<&'a str, (Outcome, Option<&'a str>)>,
    /// What another run's isolations left no place for.
    braked: BTreeSet<&'a str>,
}

/// What came of a quarantine.
#[derive(Clone, Copy)]
struct CameOf<'a> {
    order: &'a Quarantine,
    outcome: Outcome,
    note: Option<&'a str>,
    effect: Option<&'a Quarantined>,
}

impl<'a> Came<'a> {
    fn of(settled: &'a [Settled<'a, Action, Effect>]) -> Self {
        let mut came = Self::default();
        for one in settled {
            let is_done = one.outcome == Outcome::Done;
            let finished = matches!(one.effect, Some(Effect::Released { finished: true }));
            if let (Some(id), Some(Effect::Braked)) = (one.action.instance(), one.effect) {
                came.braked.insert(id);
            }
            match (one.action, one.effect) {
                (Action::Quarantine(order), effect) => {
                    let of = CameOf {
                        order,
                        outcome: one.outcome,
                        note: one.note,
                        effect: match effect {
                            Some(Effect::Quarantined(effect)) => Some(&**effect),
                            _ => None,
                        },
                    };
                    came.quarantines.insert(&order.instance.id, of);
                }
                (Action::NameLauncher(name), Some(Effect::Named(who))) => {
                    came.named.insert(&name.instance, who);
                }
                (action @ (Action::Release(_) | Action::ReleaseByLabels(_)), _) => {
                    let released = action.instance().map(|id| (id, finished));
                    came.released.extend(released);
                }
                (Action::BreakLoop(looping), _) if is_done => {
                    came.broken.insert(&looping.group.name);
                }
                (Action::BreakLoop(looping), _) if one.outcome == Outcome::Skipped => {
                    came.elsewhere.insert(&looping.group.name);
                }
                (Action::MendIsolation { group, .. }, _) => {
                    came.mended.insert(&group.id, (one.outcome, one.note));
                }
                (Action::RestoreGroup { group, .. }, _) if is_done => {
                    came.restored.insert(group);
                }
                _ => {}
            }
        }
        came
    }
}

#[derive(Default)]
struct Counts {
    considered: u64,
    approved: u64,
    unapproved: u64,
    undecided: u64,
    quarantined: u64,
    partly: u64,
    drifted: u64,
    loops: u64,
}

impl Counts {
    fn metrics(&self) -> [Metric; 8] {
        [
            ("LaunchesConsidered", self.considered),
            ("LaunchesApproved", self.approved),
            ("LaunchesUnapproved", self.unapproved),
            ("LaunchesUndecided", self.undecided),
            ("InstancesQuarantined", self.quarantined),
            ("InstancesPartlyIsolated", self.partly),
            ("InstancesDrifted", self.drifted),
            ("LoopsBroken", self.loops),
        ]
        .map(|(name, value)| Metric { name, value })
    }
}

struct Sums<'a> {
    evaluation: &'a Evaluation<'a>,
    came: Came<'a>,
    counts: Counts,
    conditions: Vec<Condition>,
}

impl Sums<'_> {
    fn fires(
        &mut self,
        instance: &Instance,
        kind: &'static Kind,
        fingerprint: impl Into<String>,
        why: impl Into<String>,
    ) {
        let condition = Condition::firing(instance.resource(), kind, fingerprint, why);
        self.conditions.push(condition.called(instance.label()));
    }

    fn unknown(&mut self, instance: &Instance, kinds: &[&'static Kind], why: &str) {
        for kind in kinds {
            let condition = Condition::unknown(instance.resource(), kind, why);
            self.conditions.push(condition.called(instance.label()));
        }
    }

    fn of_policy(&mut self, condition: Condition) {
        let label = format!("policy {}", self.evaluation.facts.policy_parameter);
        self.conditions.push(condition.called(label));
    }

    fn of_group(&mut self, name: &str, condition: Condition) {
        self.conditions.push(condition.called(texts::group(name)));
    }

    fn instance(&mut self, judged: &Judged<'_>) {
        let instance = judged.instance;
        let id = instance.id.as_str();
        self.counts.considered += 1;
        self.counts.approved += u64::from(judged.verdict.is_approved());
        self.counts.unapproved += u64::from(judged.verdict.is_unapproved());
        self.counts.undecided += u64::from(matches!(judged.verdict, Verdict::Undecided(_)));
        if let Some(finished) = self.came.released.get(id).copied() {
            return self.released(judged, finished);
        }
        let came = self.came.quarantines.get(id).copied();
        if let Some(effect) = came.and_then(|came| came.effect) {
            let order = came.map(|came| came.order);
            return self.in_quarantine(judged, order.zip(Some(effect)));
        }
        if judged.held().is_some() {
            return self.in_quarantine(judged, None);
        }
        // An order says nothing about the rest of what stands on the instance.
        let ask = &self.evaluation.facts.ask;
        if ask.is_reconcile() || matches!(ask, Ask::CheckInstance(_)) {
            self.at_large(judged, came);
        }
    }

    /// An instance that isn't in quarantine.
    fn at_large(&mut self, judged: &Judged<'_>, came: Option<CameOf<'_>>) {
        let instance = judged.instance;
        if let Some(said) = &judged.unrecorded {
            let why = format!(
                "its labels say that it is in quarantine ({said}), but nothing was recorded: they were copied or planted, or the state table was lost"
            );
            self.fires(instance, &UNRECORDED, said, why);
        }
        match &judged.stance {
            Stance::Undecided => {
                let why = judged.verdict.reason();
                self.unknown(instance, &[&UNAPPROVED, &PARTLY_ISOLATED], &why);
                self.fires(instance, &UNDECIDED, "can't be judged", why);
            }
            Stance::Managed(operator) => {
                self.counts.partly += 1;
                let why = format!(
                    "launched from {}; {}; {operator} manages it, so it isn't isolated",
                    self.evaluation.image_label(instance),
                    judged.verdict.reason()
                );
                let fingerprint = format!("managed by {operator}");
                self.fires(instance, &PARTLY_ISOLATED, fingerprint, why);
            }
            Stance::ToIsolate | Stance::Braked => self.unapproved(judged, came),
            _ => {}
        }
    }

    /// One that is to be isolated, and wasn't by this run.
    fn unapproved(&mut self, judged: &Judged<'_>, came: Option<CameOf<'_>>) {
        let instance = judged.instance;
        let braked = matches!(judged.stance, Stance::Braked);
        let end = match came.map(|came| (came.outcome, came.note)) {
            _ if braked || self.came.braked.contains(instance.id.as_str()) => {
                "It is not isolated, because the brake holds".to_owned()
            }
            Some((Outcome::Done | Outcome::Skipped, note)) => {
                let why = note.unwrap_or("another run is at it").to_owned();
                return self.unknown(instance, &[&UNAPPROVED, &QUARANTINED], &why);
            }
            Some((Outcome::Left, _)) => {
                let why = "there was no time left to isolate it; the next sweep does";
                return self.unknown(instance, &[&UNAPPROVED, &QUARANTINED], why);
            }
            Some((Outcome::Failed, note)) => format!(
                "It could not be isolated: {}",
                note.unwrap_or("no reason known")
            ),
            Some((Outcome::WouldDo, _)) | None => format!(
                "In mode enforce it would be isolated{}",
                texts::steps(&self.evaluation.policy.steps)
            ),
        };
        let why = format!(
            "{}. Why: {}. {end}.",
            texts::launched(judged, self.evaluation),
            judged.verdict.reason()
        );
        let image = instance.image.clone().unwrap_or_default();
        self.fires(instance, &UNAPPROVED, image, why);
    }

    fn released(&mut self, judged: &Judged<'_>, finished: bool) {
        if !finished {
            self.counts.quarantined += u64::from(judged.held().is_some());
            let why = "its release isn't finished";
            return self.unknown(judged.instance, &OF_QUARANTINE, why);
        }
        for kind in [&QUARANTINED, &PARTLY_ISOLATED, &DRIFT] {
            let condition = Condition::resolved(judged.instance.resource(), kind);
            self.conditions
                .push(condition.called(judged.instance.label()));
        }
    }

    /// An instance that is in quarantine, or is now.
    fn in_quarantine(&mut self, judged: &Judged<'_>, now: Option<(&Quarantine, &Quarantined)>) {
        let instance = judged.instance;
        self.counts.quarantined += 1;
        let held = judged.held();
        // Somebody else is at it right now, and tells.
        if now.is_none() && held.is_some_and(|held| held.phase.is_under_way()) {
            let why = "another run is at it, or has to finish it";
            return self.unknown(instance, &OF_QUARANTINE, why);
        }
        let launcher = now
            .and_then(|(_, effect)| effect.launcher.as_ref())
            .or_else(|| self.came.named.get(instance.id.as_str()).copied())
            .or_else(|| held?.record.launcher.as_ref());
        let image = instance.image.clone().unwrap_or_default();
        let fingerprint = match launcher {
            Some(who) => format!("{image} launched by {}", who.principal),
            None => image,
        };
        let why = texts::quarantined(judged, now, launcher, self.evaluation);
        self.fires(instance, &QUARANTINED, fingerprint, why);
        self.refused(instance, held, now.map(|(_, effect)| effect));
        self.evidence(instance);
        let again = now.is_some_and(|(order, _)| order.occasion == Occasion::Drift);
        self.drift(instance, held, again, now.is_some());
    }

    /// What was asked for is looked at again before it is called done.
    fn evidence(&mut self, instance: &Instance) {
        let facts = self.evaluation.facts;
        match &facts.failed_evidence {
            None if facts.complete => {
                let why = "its evidence couldn't be looked at";
                self.unknown(instance, &[&EVIDENCE_FAILED], why);
            }
            None => {}
            Some(failed) => {
                if let Some(failed) = failed.get(&instance.id) {
                    let what = failed.join("; ");
                    let why = format!("its evidence failed, so its state isn't kept: {what}");
                    self.fires(instance, &EVIDENCE_FAILED, what, why);
                }
            }
        }
    }

    fn refused(&mut self, instance: &Instance, held: Option<&Held<'_>>, now: Option<&Quarantined>) {
        // What is neither attached any more nor beyond what can be told isn't reached. An answer without
        // any interface tells nothing.
        let stands = |one: &&String| {
            instance.interfaces.is_empty()
                || !instance.beyond.is_empty()
                || instance.interfaces.iter().any(|had| had.id == **one)
        };
        let refused: Vec<&str> = match (now, held) {
            (Some(now), _) => now.refused.iter().map(String::as_str).collect(),
            (None, Some(held)) => {
                let refused = held.record.refused.iter().filter(stands);
                refused.map(String::as_str).collect()
            }
            (None, None) => Vec::new(),
        };
        if refused.is_empty() {
            return;
        }
        self.counts.partly += 1;
        let named = refused.iter().map(|one| match instance.beyond.get(*one) {
            Some(why) => format!("{one} ({why})"),
            None => (*one).to_owned(),
        });
        let named = named.collect::<Vec<_>>().join(" and ");
        let why = format!("{named} can't be isolated, so it may still be reached there");
        self.fires(instance, &PARTLY_ISOLATED, refused.join(" "), why);
    }

    fn drift(&mut self, instance: &Instance, held: Option<&Held<'_>>, again: bool, ran: bool) {
        let Some(held) = held else { return };
        let first = held.record.drift.map(|at| format!(" (first at {at:.0})"));
        let first = first.unwrap_or_default();
        let (fingerprint, why) = match held.phase {
            Phase::Unread => {
                return self.unknown(instance, &[&DRIFT], "the isolation groups couldn't be read");
            }
            Phase::DriftedAgain => (
                "changed again",
                "its security groups were changed again after it had been isolated again; they stay as they are, so it is NOT isolated",
            ),
            _ if again || held.record.drift.is_some() => (
                "isolated again",
                "its security groups were changed by hand, and it was isolated again",
            ),
            Phase::Drifted => (
                "changed",
                "its security groups were changed by hand, so it is NOT isolated",
            ),
            Phase::Grown if !ran => (
                "grown",
                "a network interface came to it, which is NOT isolated yet",
            ),
            _ => return,
        };
        self.counts.drifted += 1;
        self.fires(instance, &DRIFT, fingerprint, format!("{why}{first}"));
    }

    /// Whom the policy lets in is no news.
    fn opened(&mut self) {
        let evaluation = self.evaluation;
        if evaluation.facts.complete && evaluation.facts.isolation.is_none() {
            let judged = evaluation.judged.values();
            for held in judged.filter(|one| one.held().is_some()) {
                let why = "the isolation groups couldn't be read";
                self.unknown(held.instance, &[&ISOLATION_OPENED], why);
            }
        }
        let opened = evaluation.opened.iter();
        for opened in opened.filter(|one| one.change == Change::Opened) {
            let end = match self.came.mended.get(opened.group.id.as_str()) {
                Some((Outcome::Done, _)) => "they were taken away".to_owned(),
                Some((Outcome::Failed, Some(note))) => {
                    format!("they could not be taken away: {note}")
                }
                Some((Outcome::WouldDo, _)) => {
                    "in mode enforce they would be taken away".to_owned()
                }
                _ => "the next sweep takes them away".to_owned(),
            };
            let why = format!(
                "somebody added rules to {}, so it could be reached; {end}",
                opened.group.id
            );
            for instance in &opened.instances {
                self.fires(instance, &ISOLATION_OPENED, &opened.group.id, why.clone());
            }
        }
    }

    /// Told at once, and again when twice as many are held back.
    fn brake(&mut self) {
        let (evaluation, facts) = (self.evaluation, self.evaluation.facts);
        let brake = evaluation.brake;
        let is_held = brake.holds && facts.ask.is_reconcile();
        if !is_held && self.came.braked.is_empty() {
            return;
        }
        // Who looks at a few sees how many are held back in all only where these alone are too many.
        if !facts.complete && brake.wanted <= brake.limit {
            let why = "how many are held back in all the next sweep tells";
            return self.of_policy(Condition::unknown(facts.policy(), &BRAKE, why));
        }
        let held = evaluation.judged.values();
        let held = held.filter(|one| {
            let id = one.instance.id.as_str();
            matches!(one.stance, Stance::Braked) || self.came.braked.contains(id)
        });
        let held: Vec<&str> = held.map(|one| one.instance.id.as_str()).collect();
        let mut named = held[..held.len().min(NAMED)].join(", ");
        if held.len() > NAMED {
            named.push_str(" …");
        }
        let why = format!(
            "{} unapproved launches are held back ({named}) and no group is suspended: {}",
            held.len(),
            evaluation.why_braked()
        );
        let fingerprint = format!("holds 2^{}", held.len().checked_ilog2().unwrap_or(0));
        self.of_policy(Condition::firing(facts.policy(), &BRAKE, fingerprint, why));
    }

    fn loops(&mut self) {
        let evaluation = self.evaluation;
        let facts = evaluation.facts;
        for judgement in &evaluation.loops {
            self.looping(judgement);
        }
        for (group, known) in &evaluation.suspended {
            self.stands_suspended(&group.name, known);
        }
        for name in self.came.restored.clone() {
            self.of_group(name, Condition::resolved(Resource::group(name), &LOOP));
        }
        // A loop that comes from no group was told of its newest launch. What was told of those
        // before it stands as long as they are in quarantine.
        for judgement in &evaluation.loops {
            if matches!(judgement.looping.source, Source::Group(_)) || !facts.complete {
                continue;
            }
            for judged in evaluation.judged.values() {
                let id = Some(&judged.instance.id);
                let same =
                    source(judged.instance, facts).as_ref() == Some(&judgement.looping.source);
                let held = judged.held().is_some();
                if same && held && id != judgement.looping.newest.as_ref() {
                    let why = "it is told of the newest of its launches";
                    self.unknown(judged.instance, &[&LOOP], why);
                }
            }
        }
    }

    fn looping(&mut self, judgement: &Judgement<'_>) {
        let looping = &judgement.looping;
        let ids: Vec<&str> = looping.launches.iter().map(|(_, id)| id.as_str()).collect();
        let what = format!(
            "launched {} unapproved instances within {} ({})",
            ids.len(),
            self.evaluation.policy.relaunch.within,
            ids.join(", ")
        );
        let Source::Group(name) = &looping.source else {
            // Each further launch is told: nobody but a person can stop it.
            let newest = looping.newest.as_ref();
            let newest = newest.and_then(|id| self.evaluation.judged.get(id.as_str()));
            if let Some(newest) = newest {
                let why = format!(
                    "{} {what}; each further one is isolated, but nothing here can stop it",
                    looping.source
                );
                self.fires(newest.instance, &LOOP, looping.source.to_string(), why);
            }
            return;
        };
        let resource = Resource::group(name);
        if self.came.elsewhere.contains(name.as_str()) {
            let why = "another run broke it at the same moment";
            return self.of_group(name, Condition::unknown(resource, &LOOP, why));
        }
        let suspended = matches!(judgement.standing, Standing::Suspended);
        let is_broken = suspended || self.came.broken.contains(name.as_str());
        let braked = matches!(judgement.standing, Standing::Braked);
        let (fingerprint, end) = if braked {
            (
                "goes on",
                "it goes on launching, because the brake holds and it isn't suspended",
            )
        } else if is_broken {
            self.counts.loops += 1;
            (
                "broken",
                "its processes Launch and ReplaceUnhealthy are suspended, so it launches nothing more",
            )
        } else {
            ("goes on", "it goes on launching")
        };
        let why = format!("{what}; {end}");
        self.of_group(name, Condition::firing(resource, &LOOP, fingerprint, why));
    }

    /// A loop that was broken, and not released yet.
    fn stands_suspended(&mut self, name: &str, known: &Loop) {
        if self.came.restored.contains(name) {
            return;
        }
        self.counts.loops += 1;
        let ours: Vec<&str> = known.suspended.iter().map(String::as_str).collect();
        let why = format!(
            "its processes {} were suspended to break a loop of unapproved launches, and are suspended still",
            if ours.is_empty() {
                "Launch and ReplaceUnhealthy".to_owned()
            } else {
                ours.join(" and ")
            }
        );
        let broken = Condition::firing(Resource::group(name), &LOOP, "broken", why);
        self.of_group(name, broken);
    }

    /// What is too broad about the policy: told once, and again when it changes.
    fn breadth(&mut self) {
        let facts = self.evaluation.facts;
        if !facts.complete || self.evaluation.broad.is_empty() {
            return;
        }
        let why = self.evaluation.broad.join(". ");
        self.of_policy(Condition::firing(facts.policy(), &BROAD, why.clone(), why));
    }
}

/// What `check` answers.
fn detail(evaluation: &Evaluation<'_>) -> Value {
    match &evaluation.facts.ask {
        Ask::List => return detail::list(evaluation),
        Ask::Launches => return detail::launches(evaluation),
        _ => {}
    }
    let Some(checked) = &evaluation.checked else {
        return Value::Null;
    };
    let instance = match &evaluation.facts.ask {
        Ask::CheckInstance(id) => Some(id),
        _ => None,
    };
    let record = instance.and_then(|id| evaluation.facts.records.get(id));
    let image = checked.image.map(|image| {
        json!({
            "id": image.id,
            "name": image.name,
            "owner": image.owner_alias.as_ref().or(image.owner.as_ref()),
            "created": image.created,
            "deprecated": image.deprecated,
            "known": match image.known {
                Known::Described => "described",
                Known::Metadata => "by the instance's image metadata only",
                Known::Ancestry => "by what descends from it only",
                Known::Unknown => "no",
            },
        })
    });
    json!({
        "instance": instance,
        "image": image,
        "verdict": checked.word,
        "reason": checked.reason,
        "rules": checked.rules,
        "quarantine": record,
        "responders": evaluation.policy.responders,
        "instances": detail::running(evaluation),
    })
}

#[cfg(test)]
mod tests;
