//! Sums up a run: numbers, and what stands against the policy. Pure.

mod explain;

use std::collections::{HashMap, HashSet};

use guardrails::condition::{Condition, Coverage, Kind, Status};
use guardrails::guardrail::{Assessment, Settled};
use guardrails::metrics::Metric;
use guardrails::report::Outcome;
use guardrails::resource::Resource;
use serde_json::Value;

use crate::action::{Action, Create, Effect};
use crate::conditions::{DELETION_LIMIT, DISOWNED, FAILED, KINDS, STALE};
use crate::evaluate::{Evaluation, Freshness, Judged, Selected, Standing};
use crate::slots;

/// Sums up.
pub(crate) fn report(
    evaluation: &Evaluation<'_>,
    settled: &[Settled<'_, Action, Effect>],
) -> Assessment {
    let complete = evaluation.facts.complete;
    let creations = Creations::of(settled);
    let mut conditions = Vec::new();
    for judged in &evaluation.volumes {
        let stale = stale(judged, &creations);
        let failed = failed(judged);
        conditions.extend(stale.on(judged, &STALE, complete));
        conditions.extend(failed.on(judged, &FAILED, complete));
    }
    conditions.extend(disowned(evaluation));
    conditions.extend(over_limit(evaluation));
    Assessment {
        considered: evaluation.volumes.len() as u64,
        metrics: metrics(evaluation, &conditions),
        coverage: if complete {
            Coverage::All {
                kinds: KINDS.to_vec(),
                present: present(evaluation, settled),
            }
        } else {
            Coverage::Named
        },
        conditions,
        detail: if complete {
            Value::Null
        } else {
            explain::explain(evaluation)
        },
    }
}

// ---- conditions of volumes ---------------------------------------------------------------------

/// What came of this run's creations, by volume and plan.
struct Creations<'a>(HashMap<(&'a str, &'a str), Creation<'a>>);

#[derive(Clone, Copy)]
struct Creation<'a> {
    outcome: Outcome,
    note: Option<&'a str>,
    /// Whether a snapshot of this volume was started.
    started: bool,
}

impl<'a> Creations<'a> {
    fn of(settled: &[Settled<'a, Action, Effect>]) -> Self {
        let mut creations = HashMap::new();
        for one in settled {
            let Action::Create(Create { plan, members, .. }) = one.action else {
                continue;
            };
            for member in members {
                let started = match one.effect {
                    Some(Effect::Started(volumes)) => volumes.contains(&member.volume),
                    _ => false,
                };
                let creation = Creation {
                    outcome: one.outcome,
                    note: one.note,
                    started,
                };
                creations.insert((member.volume.as_str(), plan.as_str()), creation);
            }
        }
        Self(creations)
    }
}

impl Creation<'_> {
    /// Why there is no snapshot yet.
    fn why(&self) -> Option<String> {
        match self.outcome {
            Outcome::Failed | Outcome::Skipped => self.note.map(str::to_owned),
            Outcome::Left => {
                Some("this run had no time left for it; the next one goes on".to_owned())
            }
            Outcome::WouldDo => {
                Some("one would be made, but this run changes nothing (`mode` isn't enforce, or it was a question)".to_owned())
            }
            Outcome::Done => Some("AWS left it out of the set".to_owned()),
        }
    }
}

/// How things stand with a volume, however many of its plans say something.
#[derive(Default)]
struct Stand {
    /// Fingerprint and text of each plan against which it stands.
    firing: Vec<(String, String)>,
    /// Why it can't be told of a plan.
    unknown: Vec<String>,
}

impl Stand {
    /// As a condition. Where all is looked at, what isn't named doesn't stand.
    fn on(self, judged: &Judged<'_>, kind: &'static Kind, complete: bool) -> Option<Condition> {
        let resource = Resource::volume(&judged.volume.id);
        let condition = if !self.firing.is_empty() {
            let (fingerprints, texts): (Vec<_>, Vec<_>) = self.firing.into_iter().unzip();
            Condition::firing(resource, kind, fingerprints.join("; "), texts.join("; "))
        } else if !self.unknown.is_empty() {
            Condition::unknown(resource, kind, self.unknown.join("; "))
        } else if complete {
            return None;
        } else {
            Condition::resolved(resource, kind)
        };
        Some(condition.called(judged.volume.label()))
    }

    /// With why it can't be told of some plans.
    fn of(judged: &Judged<'_>) -> Self {
        let mut stand = Self::default();
        for standing in &judged.standings {
            let plan = &standing.plan.name;
            if standing.selected != Selected::No && !judged.volume.usable {
                stand.unknown.push(format!(
                    "plan {plan}: the volume is neither `available` nor `in-use`"
                ));
            } else if standing.selected == Selected::Unknown {
                stand.unknown.push(format!(
                    "plan {plan} leaves out root volumes, and whether this is one can't be told, because its instance wasn't found"
                ));
            }
        }
        stand
    }
}

fn stale(judged: &Judged<'_>, creations: &Creations<'_>) -> Stand {
    let mut stand = Stand::of(judged);
    for standing in judged.selected() {
        let name = &standing.plan.name;
        let creation = creations.0.get(&(judged.volume.id.as_str(), name.as_str()));
        match standing.freshness {
            Freshness::Fresh => {}
            Freshness::UnderWay(snapshot) => stand.unknown.push(format!(
                "plan {name}: overdue, but {} is under way",
                snapshot.id
            )),
            Freshness::Overdue if creation.is_some_and(|creation| creation.started) => {
                let text = format!("plan {name}: overdue, but this run has started a snapshot");
                stand.unknown.push(text);
            }
            Freshness::Overdue => {
                // It changes when the volume was fresh in between.
                let fingerprint = match standing.newest {
                    Some(newest) => format!("{name} since {}", newest.slot),
                    None => format!("{name} never"),
                };
                let why = creation.and_then(Creation::why);
                let text = stale_text(standing, why);
                stand.firing.push((fingerprint, text));
            }
        }
    }
    stand
}

fn stale_text(standing: &Standing<'_>, why: Option<String>) -> String {
    let plan = standing.plan;
    let name = &plan.name;
    let mut text = match standing.newest {
        Some(newest) => format!(
            "plan {name} ({} {}): the newest completed snapshot is {} of slot {}",
            plan.schedule.as_str(),
            plan.timezone.name(),
            newest.id,
            slots::label(&plan.timezone.at(newest.slot), &plan.timezone)
        ),
        None => format!("plan {name}: there is no completed snapshot at all"),
    };
    let why = why.or_else(|| {
        let (snapshot, reason) = standing.failed?;
        Some(format!("{} failed: {reason}", snapshot.id))
    });
    if let Some(why) = why {
        text.push_str("; ");
        text.push_str(&why);
    }
    text
}

fn failed(judged: &Judged<'_>) -> Stand {
    let mut stand = Stand::of(judged);
    for standing in judged.selected() {
        let Some((snapshot, reason)) = standing.failed else {
            continue;
        };
        let plan = standing.plan;
        let text = format!(
            "plan {}: {} of slot {} failed: {reason}",
            plan.name,
            snapshot.id,
            slots::label(&plan.timezone.at(snapshot.slot), &plan.timezone)
        );
        // Told again when AWS's reason becomes another.
        stand
            .firing
            .push((format!("{}: {reason}", plan.name), text));
    }
    stand
}

// ---- conditions of snapshots and of the account ------------------------------------------------

fn disowned(evaluation: &Evaluation<'_>) -> impl Iterator<Item = Condition> {
    evaluation.facts.disowned.iter().map(|snapshot| {
        let resource = Resource::Snapshot(snapshot.id.clone());
        // Once: whoever changes its tags again changes nothing in what it is.
        Condition::firing(resource, &DISOWNED, "disowned", &snapshot.why)
            .called(format!("{} (of {})", snapshot.id, snapshot.volume))
    })
}

fn over_limit(evaluation: &Evaluation<'_>) -> Option<Condition> {
    let over = evaluation.deletions.over_limit.as_ref()?;
    let why = format!(
        "{} of {} snapshots would be deleted, {} the oldest of them; the deletion limit stops what is more than {} and more than {} percent",
        over.unkept, over.owned, over.oldest.id, over.limit.count, over.limit.percent
    );
    // Not the numbers: they change from sweep to sweep while the cause stays.
    Some(Condition::firing(
        Resource::Account,
        &DELETION_LIMIT,
        "over",
        why,
    ))
}

/// All volumes, usable or not, and all snapshots but those that this run has deleted.
fn present(
    evaluation: &Evaluation<'_>,
    settled: &[Settled<'_, Action, Effect>],
) -> HashSet<Resource> {
    let deleted: HashSet<&str> = settled
        .iter()
        .filter_map(|one| match (one.action, one.effect) {
            (Action::Delete(delete), Some(Effect::Deleted)) => Some(delete.snapshot.as_str()),
            _ => None,
        })
        .collect();
    let facts = evaluation.facts;
    let snapshots = facts.snapshots.iter().map(|s| &s.id);
    let snapshots = snapshots.chain(facts.disowned.iter().map(|s| &s.id));
    let snapshots = snapshots.filter(|id| !deleted.contains(id.as_str()));
    let volumes = facts.volumes.keys().map(Resource::volume);
    volumes
        .chain(snapshots.map(|id| Resource::Snapshot(id.clone())))
        .chain([Resource::Account])
        .collect()
}

// ---- numbers -----------------------------------------------------------------------------------

fn metrics(evaluation: &Evaluation<'_>, conditions: &[Condition]) -> Vec<Metric> {
    let firing = |kind: &'static Kind| {
        let firing = conditions
            .iter()
            .filter(|c| c.kind == kind && c.status == Status::Firing);
        firing.count() as u64
    };
    let usable = evaluation
        .volumes
        .iter()
        .filter(|judged| judged.volume.usable);
    let usable = usable.count() as u64;
    let selected = evaluation
        .volumes
        .iter()
        .filter(|judged| judged.selected().next().is_some());
    let newest = selected.clone().filter_map(|judged| {
        let newest = judged.selected().filter_map(|standing| standing.newest);
        newest.map(|snapshot| snapshot.started).max()
    });
    let oldest = newest
        .min()
        .map_or(0, |at| evaluation.now.duration_since(at).as_secs());
    let selected = selected.count() as u64;
    let facts = evaluation.facts;
    let orphaned = facts
        .snapshots
        .iter()
        .filter(|s| !facts.volumes.contains_key(&s.volume));
    [
        ("VolumesSelected", selected),
        ("VolumesUnselected", usable - selected),
        ("VolumesStale", firing(&STALE)),
        ("VolumesFailing", firing(&FAILED)),
        (
            "OldestSnapshotAgeSeconds",
            u64::try_from(oldest).unwrap_or(0),
        ),
        ("SnapshotsOwned", facts.snapshots.len() as u64),
        ("SnapshotsOrphaned", orphaned.count() as u64),
    ]
    .map(|(name, value)| Metric { name, value })
    .to_vec()
}

#[cfg(test)]
mod tests;
