//! How the copies in other Regions stand.

use std::collections::{BTreeMap, HashSet};

use guardrails::condition::{Condition, Kind};
use guardrails::resource::Resource;
use serde_json::{Value, json};

use crate::conditions::{
    COPY_FAILED, COPY_FULL, COPY_STALE, DELETION_LIMIT, DISOWNED, PLANLESS, UNDELETABLE,
};
use crate::evaluate::{CopyNeed, Evaluation, Freshness, Line, There};
use crate::facts::Snapshot;
use crate::report::stand::Stand;
use crate::slots;

/// All conditions of volumes about them.
pub(super) fn conditions(evaluation: &Evaluation<'_>) -> Vec<Condition> {
    let facts = evaluation.facts;
    let mut conditions = Vec::new();
    for (kind, stands) in [
        (&COPY_STALE, by_volume(evaluation, stale)),
        (&COPY_FAILED, by_volume(evaluation, failed)),
        (&COPY_FULL, by_volume(evaluation, full)),
    ] {
        for (volume, stand) in stands {
            conditions.extend(stand.condition(facts, volume, kind, !facts.complete));
        }
    }
    conditions
}

/// Whether a kind can be judged everywhere: what is said of snapshots, of the account and of volumes
/// that may be gone, so that only copies tell of them, takes all Regions.
pub(super) fn is_known(evaluation: &Evaluation<'_>, kind: &'static Kind) -> bool {
    let needs_all = [
        &COPY_FAILED,
        &COPY_FULL,
        &DISOWNED,
        &PLANLESS,
        &UNDELETABLE,
        &DELETION_LIMIT,
    ]
    .contains(&kind);
    !needs_all || evaluation.elsewhere.iter().all(|there| there.read.is_ok())
}

/// The volumes and copies that there are.
pub(super) fn present(evaluation: &Evaluation<'_>) -> HashSet<Resource> {
    let mut present = HashSet::new();
    for there in &evaluation.elsewhere {
        let volumes = there.lines.iter().map(|line| line.volume);
        present.extend(volumes.map(Resource::volume));
        if let Ok(read) = there.read {
            let copies = read.copies.iter().map(|copy| &copy.id);
            let all = copies.chain(read.disowned.iter().map(|copy| &copy.id));
            present.extend(all.map(|id| Resource::Snapshot(id.clone())));
        }
    }
    present
}

/// How many copies there are, where that could be read.
pub(super) fn owned(evaluation: &Evaluation<'_>) -> u64 {
    let read = evaluation.elsewhere.iter().flat_map(|there| there.read);
    read.map(|read| read.copies.len() as u64).sum()
}

/// The plans that aren't copied any more to where they have copies.
pub(super) fn planless<'e>(
    evaluation: &'e Evaluation<'_>,
) -> impl Iterator<Item = (String, &'e Vec<&'e Snapshot>)> {
    evaluation.elsewhere.iter().flat_map(|there| {
        let plans = there.planless.iter();
        plans.map(|(plan, copies)| (format!("{plan} in {}", there.region), copies))
    })
}

fn by_volume<'e>(
    evaluation: &'e Evaluation<'_>,
    judge: fn(&There<'_>, &Line<'_>, &mut Stand),
) -> BTreeMap<&'e str, Stand> {
    let mut stands: BTreeMap<&str, Stand> = BTreeMap::new();
    for there in &evaluation.elsewhere {
        for line in &there.lines {
            let stand = stands.entry(line.volume).or_default();
            match there.read {
                Ok(_) => judge(there, line, stand),
                Err(error) => stand.unknown.push(format!(
                    "{}: its copies can't be looked at ({error})",
                    name(line)
                )),
            }
        }
    }
    stands
}

/// `plan daily, us-east-1`
fn name(line: &Line<'_>) -> String {
    format!("plan {}, {}", line.plan.name, line.copying.region)
}

fn slot(line: &Line<'_>, copy: &Snapshot) -> String {
    let zone = &line.plan.timezone;
    slots::label(&zone.at(copy.slot), zone)
}

fn stale(there: &There<'_>, line: &Line<'_>, stand: &mut Stand) {
    let name = name(line);
    if line.unsure {
        stand.unsure(&name);
        return;
    }
    match line.freshness {
        None | Some(Freshness::Fresh) => {}
        Some(Freshness::UnderWay(copy)) => {
            let text = format!("{name}: overdue, but {} is under way", copy.id);
            stand.unknown.push(text);
        }
        Some(Freshness::Overdue) => {
            let (fingerprint, newest) = match line.newest {
                Some(newest) => (
                    format!("{name} since {}", newest.slot),
                    format!(
                        "the newest completed copy is {} of slot {}",
                        newest.id,
                        slot(line, newest)
                    ),
                ),
                None => (
                    format!("{name} never"),
                    "there is no completed copy at all".to_owned(),
                ),
            };
            let why = why(there, line);
            stand
                .firing
                .push((fingerprint, format!("{name}: {newest}; {why}")));
        }
    }
}

/// Why there is no newer copy.
fn why(there: &There<'_>, line: &Line<'_>) -> String {
    let forbidden = there
        .read
        .ok()
        .and_then(|read| read.forbidden.get(&line.plan.name));
    if let Some(error) = forbidden {
        return error.to_string();
    }
    if let Some((copy, reason)) = line.failed {
        return format!("{} failed: {reason}", copy.id);
    }
    match line.lacking.first() {
        None => "no newer snapshot is completed that could be copied".to_owned(),
        Some((source, CopyNeed::Later(_, Some(said)))) => {
            format!("AWS refused to copy {}: {said}", source.id)
        }
        Some((source, CopyNeed::Later(..))) => format!("{} was asked for lately", source.id),
        Some((source, CopyNeed::Due(_))) => {
            format!("{} is copied as soon as it is its turn", source.id)
        }
    }
}

fn failed(_: &There<'_>, line: &Line<'_>, stand: &mut Stand) {
    if let Some((copy, reason)) = line.failed {
        let name = name(line);
        let text = format!(
            "{name}: copy {} of slot {} failed: {reason}",
            copy.id,
            slot(line, copy)
        );
        stand.firing.push((format!("{name}: {reason}"), text));
    }
}

fn full(_: &There<'_>, line: &Line<'_>, stand: &mut Stand) {
    let Some((last, before)) = line.rekeyed else {
        return;
    };
    let (Some(new), Some(old)) = (&last.copy, &before.copy) else {
        return;
    };
    let name = name(line);
    let text = format!(
        "{name}: copy {} is encrypted with {}, and the one before, {}, with {}; so AWS has copied the whole volume, up to {} GiB",
        last.id, new.key, before.id, old.key, new.gib
    );
    stand
        .firing
        .push((format!("{name}: {} after {}", new.key, old.key), text));
}

/// All that is known of a volume's copies under a plan, by Region.
pub(super) fn explain(evaluation: &Evaluation<'_>, volume: &str, plan: &str) -> Value {
    let mut regions = BTreeMap::new();
    for there in &evaluation.elsewhere {
        let mut lines = there.lines.iter();
        let Some(line) = lines.find(|line| line.volume == volume && line.plan.name == plan) else {
            continue;
        };
        let value = match there.read {
            Err(error) => json!({ "unknown": error.to_string() }),
            Ok(_) => of_line(line),
        };
        regions.insert(there.region, value);
    }
    json!(regions)
}

fn of_line(line: &Line<'_>) -> Value {
    let copies: Vec<Value> = line
        .copies
        .iter()
        .map(|copy| {
            let copied = copy.copy.as_deref();
            json!({
                "snapshot": copy.id,
                "of": copied.map(|copied| &copied.source),
                "slot": slots::tag(&line.plan.timezone.at(copy.slot)),
                "attempt": copy.attempt,
                "state": copy.state.label(),
                "key": copied.map(|copied| &copied.key),
                "held": copy.held,
            })
        })
        .collect();
    let lacking: BTreeMap<&str, String> = line
        .lacking
        .iter()
        .map(|(source, need)| {
            let waits = match need {
                CopyNeed::Due(attempt) => format!("due, attempt {attempt}"),
                CopyNeed::Later(again, None) => format!("tried again after {again}"),
                CopyNeed::Later(again, Some(said)) => {
                    format!("refused ({said}); tried again after {again}")
                }
            };
            (source.id.as_str(), waits)
        })
        .collect();
    let overdue = line
        .freshness
        .is_some_and(|fresh| fresh != Freshness::Fresh);
    json!({
        "overdue": (!line.unsure).then_some(overdue),
        "copies": copies,
        "lacking": lacking,
    })
}

#[cfg(test)]
mod tests;
