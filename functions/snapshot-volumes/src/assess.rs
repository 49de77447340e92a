//! Sums up a run: numbers, and what stands against the policy. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use guardrails::finding::{Command, Finding, Kind, On, Run, Told, Urgency};
use guardrails::guardrail::{Assessment, Settled};
use guardrails::metrics::Metric;
use guardrails::report::Outcome;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::decide::{self, Action, Create};
use crate::facts::{Facts, Index, Snapshot, State, Volume};
use crate::policy::{Plan, Policy};
use crate::slots;

const EXPLAIN: Command = Command {
    to: "to see its plans, slots and snapshots",
    on: On::Volume,
    run: Run::Invoke("explain"),
};

/// A volume whose newest completed snapshot is older than schedule and grace allow.
pub static STALE: Kind = Kind {
    name: "stale",
    one: "volume without a fresh snapshot",
    many: "volumes without a fresh snapshot",
    cured: "has a fresh snapshot again, or no plan asks for one any more",
    next: "Each sweep goes on trying. Where a reason stands beside the volume, remove it. Where none does, see whether sweeps run at all (the alarm whose name ends in snapshot-volumes-not-running). A volume that needs no snapshots: take it out of the plan by its tag.",
    urgency: Urgency::Now,
    commands: &[EXPLAIN],
};

/// A volume whose latest snapshot ended in `error`.
pub static FAILED: Kind = Kind {
    name: "failed",
    one: "failed snapshot",
    many: "failed snapshots",
    cured: "has a completed snapshot again, or no plan asks for one any more",
    next: "The snapshot is made again by itself, in growing intervals. A reason that names a KMS key doesn't pass by itself: enable the key, let the account use it, or take the volume out of the plan by its tag. A failed snapshot protects nobody; it is removed once a later one is completed.",
    urgency: Urgency::Soon,
    commands: &[EXPLAIN],
};

/// Too much would be deleted at once.
pub static BRAKE: Kind = Kind {
    name: "brake",
    one: "mass deletion held back by the brake",
    many: "mass deletions held back by the brake",
    cured: "no longer stands for deletions that the brake holds back",
    next: "Nothing was deleted. Set `mode: observe` in the policy and run a sweep (the stack's output SweepNowCommand): its answer lists what would go. Check `keep` and `orphans-after`. If the deletions are meant, set `brake: {percent: 100}` until they are done.",
    urgency: Urgency::Soon,
    commands: &[],
};

/// What stands for one plan of one volume.
struct Standing<'a> {
    plan: &'a Plan,
    volume: &'a Volume,
    /// From old to new.
    snapshots: &'a [&'a Snapshot],
    /// What came of this run's creation.
    creation: Option<(Outcome, Option<&'a str>)>,
}

impl Standing<'_> {
    fn newest_completed(&self) -> Option<&Snapshot> {
        self.snapshots
            .iter()
            .rev()
            .find(|s| s.is_completed())
            .copied()
    }

    /// The failed snapshot that nothing completed has followed, and AWS's reason.
    fn failed(&self) -> Option<(&Snapshot, &str)> {
        let later = self
            .snapshots
            .iter()
            .rev()
            .take_while(|s| !s.is_completed());
        later
            .into_iter()
            .find_map(|snapshot| match &snapshot.state {
                State::Error(reason) => Some((*snapshot, reason.as_str())),
                _ => None,
            })
    }

    /// Whether a completed snapshot is missing for longer than schedule and grace allow. Not while
    /// one is under way, or was started in this run: then wait for how it ends. Once told it
    /// stands until one is completed.
    fn is_stale(&self, now: Timestamp) -> bool {
        let due = match self.newest_completed() {
            Some(newest) => self
                .plan
                .schedule
                .slot_after(&self.plan.timezone, newest.slot)
                .map_or(Timestamp::MAX, |slot| slot.timestamp()),
            None => self.volume.created,
        };
        let under_way = self
            .snapshots
            .iter()
            .any(|s| s.state == State::Pending && self.plan.grace.after(s.started) >= now);
        let started = matches!(self.creation, Some((Outcome::Done, _)));
        let told = self.volume.tag(&STALE.tag()).is_some();
        self.plan.grace.after(due) < now && (told || !(under_way || started))
    }

    /// Since when, for the tag: it changes when the volume was fresh in between.
    fn stale_state(&self) -> String {
        match self.newest_completed() {
            Some(newest) => format!("{} since {}", self.plan.name, newest.slot),
            None => format!("{} never", self.plan.name),
        }
    }

    fn stale_text(&self) -> String {
        let name = &self.plan.name;
        let mut text = match self.newest_completed() {
            Some(newest) => format!(
                "plan {name} ({} {}): the newest completed snapshot is {} of slot {}",
                self.plan.schedule.as_str(),
                self.plan.timezone.name(),
                newest.id,
                slots::label(&self.plan.timezone.at(newest.slot), &self.plan.timezone)
            ),
            None => format!("plan {name}: there is no completed snapshot at all"),
        };
        let why = match self.creation {
            Some((Outcome::Failed | Outcome::Skipped, note)) => note.map(str::to_owned),
            Some((Outcome::Left, _)) => {
                Some("this run had no time left for it; the next one goes on".to_owned())
            }
            _ => self
                .failed()
                .map(|(snapshot, reason)| format!("{} failed: {reason}", snapshot.id)),
        };
        if let Some(why) = why {
            text.push_str("; ");
            text.push_str(&why);
        }
        text
    }

    /// AWS's reason: told again when it becomes another.
    fn failed_state(&self) -> String {
        let reason = self.failed().map_or("", |(_, reason)| reason);
        format!("{}: {reason}", self.plan.name)
    }

    fn failed_text(&self) -> String {
        self.failed()
            .map_or_else(String::new, |(snapshot, reason)| {
                format!(
                    "plan {}: {} of slot {} failed: {reason}",
                    self.plan.name,
                    snapshot.id,
                    slots::label(&self.plan.timezone.at(snapshot.slot), &self.plan.timezone)
                )
            })
    }
}

/// Sums up.
#[must_use]
pub fn assess(
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
    settled: &[Settled<'_, Action>],
) -> Assessment {
    let index = Index::of(&facts.snapshots);
    let creations = creations(settled);
    let mut findings = Vec::new();
    let mut selected = 0;
    let mut stale_volumes = 0;
    let mut oldest = None;
    for volume in facts.volumes.values().filter(|v| v.usable) {
        let standings: Vec<Standing<'_>> = policy
            .plans
            .0
            .iter()
            .filter(|plan| plan.selects(volume, facts))
            .map(|plan| Standing {
                plan,
                volume,
                snapshots: index.get(&volume.id, &plan.name),
                creation: creations
                    .get(&(volume.id.as_str(), plan.name.as_str()))
                    .copied(),
            })
            .collect();
        if standings.is_empty() {
            continue;
        }
        selected += 1;
        let stale: Vec<&Standing<'_>> = standings.iter().filter(|s| s.is_stale(now)).collect();
        stale_volumes += u64::from(!stale.is_empty());
        findings.extend(finding(
            &STALE,
            volume,
            stale.iter().map(|s| (s.stale_state(), s.stale_text())),
        ));
        let failed: Vec<&Standing<'_>> =
            standings.iter().filter(|s| s.failed().is_some()).collect();
        findings.extend(finding(
            &FAILED,
            volume,
            failed.iter().map(|s| (s.failed_state(), s.failed_text())),
        ));
        let newest = standings
            .iter()
            .filter_map(|s| s.newest_completed())
            .map(|s| s.started)
            .max();
        oldest = oldest.into_iter().chain(newest).min();
    }
    if facts.complete {
        findings.extend(brake_finding(facts, policy, now));
    }
    let usable = facts.volumes.values().filter(|v| v.usable).count() as u64;
    let age = oldest.map_or(0, |oldest: Timestamp| now.duration_since(oldest).as_secs());
    let failing = findings.iter().filter(|f| f.kind == &FAILED).count() as u64;
    let metrics = [
        ("VolumesSelected", selected),
        ("VolumesUnselected", usable - selected),
        ("VolumesStale", stale_volumes),
        ("VolumesFailing", failing),
        ("OldestSnapshotAgeSeconds", u64::try_from(age).unwrap_or(0)),
        ("SnapshotsOwned", facts.snapshots.len() as u64),
        ("SnapshotsOrphaned", orphans(facts)),
    ];
    Assessment {
        considered: facts.volumes.len() as u64,
        metrics: metrics.map(|(name, value)| Metric { name, value }).to_vec(),
        findings,
        told: told(facts, settled),
        detail: if facts.complete {
            Value::Null
        } else {
            explain(facts, policy, &index, now)
        },
    }
}

/// What came of each volume's creation, by volume and plan.
fn creations<'a>(
    settled: &[Settled<'a, Action>],
) -> HashMap<(&'a str, &'a str), (Outcome, Option<&'a str>)> {
    let mut by_volume = HashMap::new();
    for one in settled {
        let Action::Create(Create { plan, members, .. }) = one.action else {
            continue;
        };
        for member in members {
            by_volume.insert(
                (member.volume.as_str(), plan.as_str()),
                (one.outcome, one.note),
            );
        }
    }
    by_volume
}

/// One finding for a volume, however many of its plans have it: each gives its state and text.
fn finding(
    kind: &'static Kind,
    volume: &Volume,
    plans: impl Iterator<Item = (String, String)>,
) -> Option<Finding> {
    let (states, texts): (Vec<_>, Vec<_>) = plans.unzip();
    (!states.is_empty()).then(|| Finding {
        resource: volume.id.clone(),
        kind,
        state: states.join("; "),
        text: format!("{}: {}", volume.label(), texts.join("; ")),
    })
}

fn brake_finding(facts: &Facts, policy: &Policy, now: Timestamp) -> Option<Finding> {
    let held = decide::held_back(facts, policy, now)?;
    Some(Finding {
        resource: held.oldest.to_owned(),
        kind: &BRAKE,
        // Not the numbers: they change from sweep to sweep while the cause stays.
        state: "holds".to_owned(),
        text: format!(
            "{}: {} of {} snapshots would be deleted, this one the oldest of them; the brake stops what is more than {} and more than {} percent",
            held.oldest, held.doomed, held.owned, policy.brake.count, policy.brake.percent
        ),
    })
}

/// How many snapshots are of volumes that no longer exist.
fn orphans(facts: &Facts) -> u64 {
    facts
        .snapshots
        .iter()
        .filter(|s| !facts.volumes.contains_key(&s.volume))
        .count() as u64
}

/// What the tags say was told.
fn told(facts: &Facts, settled: &[Settled<'_, Action>]) -> Vec<Told> {
    let deleted: HashSet<&str> = settled
        .iter()
        .filter(|one| one.outcome == Outcome::Done)
        .filter_map(|one| match one.action {
            Action::Delete(delete) => Some(delete.snapshot.as_str()),
            Action::Create(_) => None,
        })
        .collect();
    let mut told = Vec::new();
    for volume in facts.volumes.values() {
        for kind in [&STALE, &FAILED] {
            if let Some(state) = volume.tag(&kind.tag()) {
                told.push(Told {
                    resource: volume.id.clone(),
                    kind,
                    state: state.to_owned(),
                    gone: false,
                });
            }
        }
    }
    if facts.complete {
        told.extend(facts.snapshots.iter().filter_map(|snapshot| {
            Some(Told {
                resource: snapshot.id.clone(),
                kind: &BRAKE,
                state: snapshot.told_brake.clone()?,
                gone: deleted.contains(snapshot.id.as_str()),
            })
        }));
    }
    told
}

/// All that is known of the volumes that were asked for.
fn explain(facts: &Facts, policy: &Policy, index: &Index<'_>, now: Timestamp) -> Value {
    let plans_of = |volume: &Volume| -> BTreeMap<String, Value> {
        let names: BTreeSet<&str> = policy.plans.0.iter().map(|p| p.name.as_str()).collect();
        names
            .into_iter()
            .filter_map(|name| policy.plan(name))
            .map(|plan| {
                let slot = plan.slot_at(now);
                let next = plan.schedule.slot_after(&plan.timezone, now);
                let snapshots: Vec<Value> = index
                    .get(&volume.id, &plan.name)
                    .iter()
                    .map(|s| {
                        let state = match &s.state {
                            State::Pending => "pending".to_owned(),
                            State::Completed => "completed".to_owned(),
                            State::Error(reason) => format!("error: {reason}"),
                        };
                        json!({
                            "snapshot": s.id,
                            "slot": slots::tag(&plan.timezone.at(s.slot)),
                            "attempt": s.attempt,
                            "state": state,
                        })
                    })
                    .collect();
                let value = json!({
                    "selects-it": plan.selects(volume, facts),
                    "slot": slot.as_ref().map(slots::tag),
                    "next-slot": next.as_ref().map(slots::tag),
                    "snapshots": snapshots,
                });
                (plan.name.clone(), value)
            })
            .collect()
    };
    let volumes: BTreeMap<&str, Value> = facts
        .volumes
        .values()
        .map(|volume| (volume.id.as_str(), json!({ "plans": plans_of(volume) })))
        .collect();
    json!({ "volumes": volumes })
}

#[cfg(test)]
mod tests;
