//! What the drills have shown.

use std::collections::{BTreeMap, HashSet};

use guardrails::condition::{Condition, Kind};
use guardrails::guardrail::Settled;
use guardrails::resource::Resource;
use serde_json::{Value, json};

use crate::action::{Action, Effect};
use crate::conditions::{DRILL_LEFT_BEHIND, PROOF_FAILED, PROOF_STALE};
use crate::evaluate::Evaluation;
use crate::evaluate::drills::{Going, Next, Proven, Round, Tried, proven, way};
use crate::facts::drills::{Record, UnderWay, read_key};
use crate::report::stand::Stand;

/// Most proofs that one answer lists: Lambda answers hold 6 MB.
const LISTED_MAX: usize = 5_000;

/// What is remembered by record, with what this run has written down.
pub(super) struct Records<'a>(BTreeMap<&'a str, &'a Record>);

impl<'a> Records<'a> {
    pub(super) fn of(evaluation: &Evaluation<'a>, settled: &[Settled<'a, Action, Effect>]) -> Self {
        let facts = evaluation.facts;
        let before = facts.drills.records.iter();
        let mut records: BTreeMap<&str, &Record> = before
            .map(|(key, stored)| (key.as_str(), &stored.value))
            .collect();
        for one in settled {
            if let (Action::Drill(drilling), Some(Effect::Drilled(record))) =
                (one.action, one.effect)
            {
                records.insert(&drilling.key, record);
            }
        }
        Self(records)
    }

    fn get(&self, key: &str) -> Option<&'a Record> {
        self.0.get(key).copied()
    }
}

/// All conditions about them.
pub(super) fn conditions(evaluation: &Evaluation<'_>, records: &Records<'_>) -> Vec<Condition> {
    let mut conditions = Vec::new();
    let mut stands: BTreeMap<(&str, &'static Kind), Stand> = BTreeMap::new();
    for round in &evaluation.rounds {
        for line in &round.lines {
            let record = records.get(&line.key);
            let found = stands.entry((line.volume, &PROOF_FAILED)).or_default();
            failed(round, line, record, found);
            let found = stands.entry((line.volume, &PROOF_STALE)).or_default();
            stale(evaluation, round, line, record, found);
        }
    }
    let facts = evaluation.facts;
    let is_read = |region: &str| {
        let mut elsewhere = evaluation.elsewhere.iter();
        region == facts.region
            || elsewhere.any(|there| there.region == region && there.read.is_ok())
    };
    // What is found here says nothing of a copy where nobody looked, as with an event.
    let resolves = !facts.complete && evaluation.rounds.iter().all(|round| is_read(round.region));
    for ((volume, kind), stand) in stands {
        conditions.extend(stand.condition(facts, volume, kind, resolves));
    }
    let going = evaluation.going.iter();
    conditions.extend(going.filter_map(|going| left(evaluation, records, going)));
    conditions
}

/// Whether a volume that was made is left behind.
fn left(
    evaluation: &Evaluation<'_>,
    records: &Records<'_>,
    going: &Going<'_>,
) -> Option<Condition> {
    // What this run has settled is no longer there.
    let restore = records.get(&going.remembered.name)?.restore()?;
    let volume = restore.volume.as_deref().unwrap_or(going.volume);
    let resource = Resource::volume(volume);
    let text = |why: &str| format!("drill {}, {}: {why}", going.drill, going.region);
    let why = restore.refused.clone();
    let condition = match (why.or_else(|| going.left(evaluation.now)), &going.next) {
        (Some(why), _) => Condition::firing(resource, &DRILL_LEFT_BEHIND, "left", text(&why)),
        (None, Next::Unknown(error)) => {
            Condition::unknown(resource, &DRILL_LEFT_BEHIND, text(&error.to_string()))
        }
        _ => return None,
    };
    Some(condition.called(format!("{volume} (made from a backup of {})", going.volume)))
}

/// Whether a kind can be judged everywhere.
pub(super) fn is_known(evaluation: &Evaluation<'_>, kind: &'static Kind) -> bool {
    let needs_all = [&PROOF_FAILED, &PROOF_STALE].contains(&kind);
    !needs_all || evaluation.rounds.iter().all(|round| round.unread.is_none())
}

/// The volumes that drills try, and those that they made.
pub(super) fn present(evaluation: &Evaluation<'_>) -> HashSet<Resource> {
    let lines = evaluation.rounds.iter().flat_map(|round| &round.lines);
    let going = evaluation.going.iter();
    let made = going.filter_map(|going| going.remembered.value.restore()?.volume.as_deref());
    let volumes = lines.map(|line| line.volume).chain(made);
    let sources = evaluation.going.iter().map(|going| going.volume);
    volumes.chain(sources).map(Resource::volume).collect()
}

fn name(round: &Round<'_>) -> String {
    format!("drill {}, {}", round.drill.name, round.region)
}

fn failed(round: &Round<'_>, line: &Tried<'_>, record: Option<&Record>, stand: &mut Stand) {
    let name = name(round);
    if line.unsure {
        stand.unsure(&name);
    } else if let Some(failure) = record.and_then(|record| record.failed.as_ref()) {
        let text = format!(
            "{name}: {} by {} at {}: {}",
            failure.snapshot,
            way(failure.way),
            failure.at,
            failure.why
        );
        stand
            .firing
            .push((format!("{name}: {}", failure.snapshot), text));
    } else if let Some(error) = round.unread {
        stand.unknown.push(format!("{name}: {error}"));
    }
}

fn stale(
    evaluation: &Evaluation<'_>,
    round: &Round<'_>,
    line: &Tried<'_>,
    record: Option<&Record>,
    stand: &mut Stand,
) {
    let name = name(round);
    match proven(round.drill, line, record, evaluation.now) {
        _ if line.unsure => stand.unsure(&name),
        Proven::Fresh => {}
        Proven::Stale(fingerprint, why) => {
            stand
                .firing
                .push((format!("{name} {fingerprint}"), format!("{name}: {why}")));
        }
    }
}

/// What is known of a volume, by drill.
pub(super) fn explain(
    evaluation: &Evaluation<'_>,
    records: &Records<'_>,
    volume: &str,
) -> Vec<Value> {
    let rows = rows(evaluation, records).into_iter();
    rows.filter(|(key, _)| read_key(key).is_some_and(|(_, _, of)| of == volume))
        .map(|(_, row)| row)
        .collect()
}

/// All proofs as a table: from the one that follows the key `after` on.
pub(super) fn proofs(evaluation: &Evaluation<'_>, records: &Records<'_>, after: &str) -> Value {
    let mut rows: Vec<(String, Value)> = rows(evaluation, records)
        .into_iter()
        .filter(|(key, _)| key.as_str() > after)
        .collect();
    let more = rows.len().saturating_sub(LISTED_MAX);
    rows.truncate(LISTED_MAX);
    let next = rows.last().filter(|_| more > 0).map(|(key, _)| key.clone());
    let rows: Vec<Value> = rows.into_iter().map(|(_, row)| row).collect();
    json!({ "proofs": rows, "not-listed": more, "go-on-after": next })
}

/// Each volume under each drill: those that are tried, and those of which something is remembered.
fn rows(evaluation: &Evaluation<'_>, records: &Records<'_>) -> BTreeMap<String, Value> {
    let mut rows = BTreeMap::new();
    for (key, record) in &records.0 {
        if let Some((drill, region, volume)) = read_key(key) {
            let row = row(evaluation, drill, region, volume, Some(record));
            rows.insert((*key).to_owned(), row);
        }
    }
    for round in &evaluation.rounds {
        for line in &round.lines {
            let record = records.get(&line.key);
            let of = (round.drill.name.as_str(), round.region, line.volume);
            let mut row = row(evaluation, of.0, of.1, of.2, record);
            let stale = match proven(round.drill, line, record, evaluation.now) {
                _ if line.too_large => json!("left out: larger than max-size"),
                _ if line.unsure => json!("can't be told: its instance wasn't found"),
                Proven::Fresh => json!(false),
                Proven::Stale(_, why) => json!(why),
            };
            row["stale"] = stale;
            rows.insert(line.key.clone(), row);
        }
    }
    rows
}

fn row(
    evaluation: &Evaluation<'_>,
    drill: &str,
    region: &str,
    volume: &str,
    record: Option<&Record>,
) -> Value {
    let known = evaluation.facts.volumes.get(volume);
    let proof = record.and_then(|record| record.proof.as_ref());
    let took = proof.and_then(|proof| proof.took);
    let failed = record.and_then(|record| record.failed.as_ref());
    let untried = record.and_then(|record| record.untried.as_ref());
    let under_way = record.and_then(|record| record.under_way.as_ref());
    json!({
        "drill": drill,
        "region": region,
        "volume": volume,
        "called": known.map(crate::facts::Volume::label),
        "proven": proof.map(|proof| json!({
            "at": proof.at,
            "by": way(proof.way),
            "snapshot": proof.snapshot,
            "found": proof.found,
            "restore-took-seconds": took.map(|(least, most)| json!({"at-least": least, "at-most": most})),
        })),
        "failed": failed.map(|failed| json!({
            "at": failed.at, "by": way(failed.way), "snapshot": failed.snapshot, "why": failed.why,
        })),
        "not-tried": untried.map(|untried| json!({"since": untried.since, "why": untried.why})),
        "under-way": under_way.map(|under_way| match under_way {
            UnderWay::Blocks { begun, .. } => json!({"since": begun}),
            UnderWay::Volume(restore) => json!({"since": restore.begun, "volume": restore.volume}),
        }),
    })
}

#[cfg(test)]
mod tests;
