//! Sums up a run: numbers, and what stands against the policy. Pure.

mod copies;
mod drills;
mod explain;
mod stand;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use guardrails::condition::{Condition, Coverage, Kind, Status};
use guardrails::guardrail::{Assessment, Settled};
use guardrails::metrics::Metric;
use guardrails::report::Outcome;
use guardrails::resource::Resource;
use serde_json::Value;

use crate::action::{Action, Create, Effect};
use crate::conditions::{
    COPY_STALE, DELETION_LIMIT, DISOWNED, FAILED, KINDS, PLANLESS, PROOF_STALE, STALE, UNDELETABLE,
};
use crate::evaluate::{Deletions, Evaluation, Freshness, Judged, Standing};
use crate::report::drills::Records;
use crate::report::stand::{Stand, newest};
use crate::slots;

/// Sums up.
pub(crate) fn report(
    evaluation: &Evaluation<'_>,
    settled: &[Settled<'_, Action, Effect>],
) -> Assessment {
    let records = Records::of(evaluation, settled);
    if let Some(after) = &evaluation.facts.drills.asked {
        return Assessment {
            considered: evaluation.volumes.len() as u64,
            conditions: drills::conditions(evaluation, &records),
            detail: drills::proofs(evaluation, &records, after),
            ..Assessment::default()
        };
    }
    let facts = evaluation.facts;
    let complete = facts.complete;
    let creations = Creations::of(settled);
    let mut conditions = Vec::new();
    for judged in &evaluation.volumes {
        for (kind, stand) in [
            (&STALE, stale(judged, &creations)),
            (&FAILED, failed(judged)),
        ] {
            // Where all is looked at, what isn't named doesn't stand.
            conditions.extend(stand.condition(facts, &judged.volume.id, kind, !complete));
        }
    }
    conditions.extend(copies::conditions(evaluation));
    conditions.extend(drills::conditions(evaluation, &records));
    conditions.extend(disowned(evaluation));
    conditions.extend(over_limit(evaluation));
    conditions.extend(undeletable(evaluation, settled));
    conditions.extend(planless(evaluation));
    Assessment {
        considered: evaluation.volumes.len() as u64,
        metrics: metrics(evaluation, &conditions),
        coverage: if complete {
            Coverage::All {
                kinds: KINDS
                    .iter()
                    .copied()
                    .filter(|kind| copies::is_known(evaluation, kind))
                    .filter(|kind| drills::is_known(evaluation, kind))
                    .collect(),
                present: present(evaluation, settled),
            }
        } else {
            Coverage::Named
        },
        conditions,
        detail: if complete {
            Value::Null
        } else {
            explain::explain(evaluation, &records)
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
            Outcome::Done => Some(format!(
                "AWS left it out of the set ({})",
                self.note.unwrap_or_default()
            )),
        }
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
                let obstacle = judged.volume.obstacle();
                let why = obstacle.or_else(|| creation.and_then(Creation::why));
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
        Some(_) => format!(
            "plan {name} ({} {}): {}",
            plan.schedule.as_str(),
            plan.timezone.name(),
            newest(standing)
        ),
        None => format!("plan {name}: {}", newest(standing)),
    };
    if let Some(archived) = standing.archived {
        let id = &archived.id;
        let _ = write!(
            text,
            "; {id} is archived: to restore it takes up to 72 hours, so it doesn't count"
        );
    }
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
    let here = evaluation.facts.disowned.iter();
    let here = here.map(|snapshot| (snapshot, String::new()));
    let there = evaluation.elsewhere.iter().flat_map(|there| {
        let disowned = there.read.into_iter().flat_map(|read| &read.disowned);
        disowned.map(move |copy| (copy, format!(", in {}", there.region)))
    });
    here.chain(there).map(|(snapshot, place)| {
        let resource = Resource::Snapshot(snapshot.id.clone());
        // Once: whoever changes its tags again changes nothing in what it is.
        Condition::firing(resource, &DISOWNED, "disowned", &snapshot.why)
            .called(format!("{} (of {}{place})", snapshot.id, snapshot.volume))
    })
}

fn over_limit(evaluation: &Evaluation<'_>) -> Option<Condition> {
    let mut fingerprints = Vec::new();
    let mut texts = Vec::new();
    for (region, deletions) in everywhere(evaluation) {
        let Some(over) = &deletions.over_limit else {
            continue;
        };
        // Not the numbers: they change from sweep to sweep while the cause stays.
        fingerprints.push(region.map_or("over".to_owned(), |region| format!("over in {region}")));
        texts.push(format!(
            "{} of {} {} would be deleted, {} the oldest of them; the deletion limit stops what is more than {} and more than {} percent",
            over.unkept,
            over.owned,
            region.map_or("snapshots".to_owned(), |region| format!("copies in {region}")),
            over.oldest.id,
            over.limit.count,
            over.limit.percent
        ));
    }
    (!texts.is_empty()).then(|| {
        Condition::firing(
            Resource::Account,
            &DELETION_LIMIT,
            fingerprints.join("; "),
            texts.join("; "),
        )
    })
}

/// What is to go, here and in each other Region.
fn everywhere<'e, 'a>(
    evaluation: &'e Evaluation<'a>,
) -> impl Iterator<Item = (Option<&'a str>, &'e Deletions<'a>)> {
    let elsewhere = evaluation.elsewhere.iter();
    let elsewhere = elsewhere.map(|there| (Some(there.region), &there.deletions));
    std::iter::once((None, &evaluation.deletions)).chain(elsewhere)
}

/// What AWS doesn't let us delete: as a run that tried was told, or is remembered.
fn undeletable(
    evaluation: &Evaluation<'_>,
    settled: &[Settled<'_, Action, Effect>],
) -> Vec<Condition> {
    let mut refused: BTreeMap<&str, &str> = BTreeMap::new();
    let all = everywhere(evaluation).flat_map(|(_, deletions)| {
        let all = deletions.refused.iter().chain(&deletions.unkept);
        all.chain(&deletions.failed)
    });
    for deletion in all {
        if let Some(refusal) = deletion.refusal.filter(|refusal| refusal.unmeant) {
            refused.insert(&deletion.snapshot.id, &refusal.why);
        }
    }
    for one in settled {
        match (one.action, one.effect) {
            (Action::Delete(delete), Some(Effect::Refused(why))) => {
                refused.insert(&delete.snapshot, why);
            }
            (Action::Delete(delete), Some(_)) => {
                refused.remove(delete.snapshot.as_str());
            }
            _ => {}
        }
    }
    let refused = refused.into_iter();
    refused
        .map(|(id, why)| {
            let resource = Resource::Snapshot(id.to_owned());
            Condition::firing(resource, &UNDELETABLE, "refused", why)
        })
        .collect()
}

fn planless(evaluation: &Evaluation<'_>) -> Option<Condition> {
    let here = evaluation.planless.iter();
    let here = here.map(|(plan, snapshots)| ((*plan).to_owned(), snapshots));
    let plans: Vec<_> = here.chain(copies::planless(evaluation)).collect();
    let each = plans.iter().map(|(plan, snapshots)| {
        let volumes: HashSet<&str> = snapshots.iter().map(|s| s.volume.as_str()).collect();
        let newest = snapshots.iter().map(|s| s.slot).max().unwrap_or_default();
        format!(
            "plan {plan}: {} snapshots of {} volumes, the newest of slot {newest}",
            snapshots.len(),
            volumes.len()
        )
    });
    let why = each.collect::<Vec<_>>().join("; ");
    // Without one Region there are fewer plans, and with it again more: that would be told each time.
    let is_known = copies::is_known(evaluation, &PLANLESS);
    let names: Vec<&str> = plans.iter().map(|(plan, _)| plan.as_str()).collect();
    // Not the numbers: somebody who deletes one needs no notice.
    (!plans.is_empty() && is_known)
        .then(|| Condition::firing(Resource::Account, &PLANLESS, names.join(", "), why))
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
    let elsewhere = copies::present(evaluation).into_iter();
    let elsewhere = elsewhere.filter(|resource| !deleted.contains(resource.name()));
    volumes
        .chain(snapshots.map(|id| Resource::Snapshot(id.clone())))
        .chain(elsewhere)
        .chain(drills::present(evaluation))
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
    let volumes = evaluation.volumes.iter();
    let (selected, others): (Vec<_>, Vec<_>) =
        volumes.partition(|judged| judged.selected().next().is_some());
    let unselected = others.iter().filter(|judged| judged.volume.is_usable());
    let newest = selected.iter().filter_map(|judged| {
        let newest = judged.selected().filter_map(|standing| standing.newest);
        newest.map(|snapshot| snapshot.started).max()
    });
    let oldest = newest
        .min()
        .map_or(0, |at| evaluation.now.duration_since(at).as_secs());
    let facts = evaluation.facts;
    let copies = [
        ("CopiesOwned", copies::owned(evaluation)),
        ("CopiesStale", firing(&COPY_STALE)),
    ];
    let elsewhere = copies
        .into_iter()
        .filter(|_| !evaluation.elsewhere.is_empty());
    let unproven = [("VolumesUnproven", firing(&PROOF_STALE))];
    let unproven = unproven
        .into_iter()
        .filter(|_| !evaluation.rounds.is_empty());
    let orphaned = facts
        .snapshots
        .iter()
        .filter(|s| !facts.volumes.contains_key(&s.volume));
    [
        ("VolumesSelected", selected.len() as u64),
        ("VolumesUnselected", unselected.count() as u64),
        ("VolumesStale", firing(&STALE)),
        ("VolumesFailing", firing(&FAILED)),
        (
            "OldestSnapshotAgeSeconds",
            u64::try_from(oldest).unwrap_or(0),
        ),
        ("SnapshotsOwned", facts.snapshots.len() as u64),
        ("SnapshotsOrphaned", orphaned.count() as u64),
    ]
    .into_iter()
    // Nobody pays for numbers of what isn't there.
    .chain(elsewhere)
    .chain(unproven)
    .map(|(name, value)| Metric { name, value })
    .collect()
}

#[cfg(test)]
mod tests;
