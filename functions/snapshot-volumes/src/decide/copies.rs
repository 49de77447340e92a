//! What is copied to other Regions now, what waits, and which copies go.

use guardrails::guardrail::Decision;
use guardrails::resource::{Arn, Resource};
use guardrails::tags;
use jiff::Timestamp;

use crate::action::{Action, CopyTo, Member};
use crate::decide::deletions::deletions;
use crate::decide::sets::{copied, instance_tags, what};
use crate::evaluate::{CopyNeed, Evaluation, Line, There};
use crate::facts::{Facts, Snapshot};
use crate::ownership::copies::{self as ownership, Source};
use crate::slots;

/// Copy one.
const COPY: &str = "copy-snapshot";
/// So many copies AWS makes at once in a Region (EBS-18).
const AT_ONCE: usize = 20;

pub(super) fn decide(evaluation: &Evaluation<'_>) -> Vec<Decision<Action>> {
    let mut decisions = Vec::new();
    for there in &evaluation.elsewhere {
        let region = there.region;
        match there.read {
            Err(error) => decisions.push(Decision::cannot_judge(
                Resource::Account,
                format!("copies in {region}"),
                error.clone(),
            )),
            Ok(read) => {
                decisions.extend(read.forbidden.iter().map(|(plan, error)| {
                    let reason = format!("plan {plan}, copies in {region}");
                    Decision::cannot_judge(Resource::Account, reason, error.clone())
                }));
                decisions.extend(creations(evaluation.facts, there));
                if evaluation.facts.complete {
                    decisions.extend(deletions(&there.deletions, Some(region)));
                }
            }
        }
    }
    decisions
}

/// A copy that is due.
struct Due<'l, 'a> {
    line: &'l Line<'a>,
    source: &'a Snapshot,
    attempt: u32,
    /// How many newer ones of its volume are due too.
    rank: usize,
}

impl Due<'_, '_> {
    /// In which order they are made: of each volume the newest first, and first of the volumes that
    /// have waited longest. So no volume keeps another from being copied.
    fn order(&self) -> (usize, Option<Timestamp>, &str, &str) {
        let made = self.line.copies.iter().rev();
        let newest = made.filter(|copy| !copy.is_error()).map(|copy| copy.slot);
        let newest = newest.max();
        (self.rank, newest, self.line.volume, &self.line.plan.name)
    }
}

fn creations(facts: &Facts, there: &There<'_>) -> Vec<Decision<Action>> {
    let mut due = Vec::new();
    let mut later: Vec<(&Snapshot, Timestamp, Option<&str>)> = Vec::new();
    for line in &there.lines {
        let mut rank = 0;
        for (source, need) in &line.lacking {
            match *need {
                CopyNeed::Later(again, refused) => later.push((source, again, refused)),
                CopyNeed::Due(attempt) => {
                    due.push(Due {
                        line,
                        source,
                        attempt,
                        rank,
                    });
                    rank += 1;
                }
            }
        }
    }
    due.sort_by(|one, other| one.order().cmp(&other.order()));
    let under_way = there.under_way();
    let room = AT_ONCE.saturating_sub(under_way).min(due.len());
    let waiting = due.split_off(room);
    let mut decisions: Vec<_> = due
        .iter()
        .map(|due| creation(facts, there.region, due))
        .collect();
    if !waiting.is_empty() {
        let waiting = waiting.len();
        decisions.push(leave(format!(
            "{}: {waiting} snapshots wait for their copies, because AWS makes {AT_ONCE} at once and {under_way} are under way; the next sweep goes on",
            there.region
        )));
    }
    if let Some((source, again, refused)) = later.iter().min_by_key(|(_, again, _)| *again) {
        let said = refused.map_or_else(String::new, |said| format!(" ({said})"));
        decisions.push(leave(format!(
            "{}: {} copies wait for their next try, {} of {} not before {}{said}",
            there.region,
            later.len(),
            source.id,
            source.volume,
            again.strftime("%Y-%m-%d %H:%M UTC")
        )));
    }
    decisions
}

fn leave(reason: String) -> Decision<Action> {
    Decision::leave(Resource::Account, COPY, reason)
}

fn creation(facts: &Facts, region: &str, due: &Due<'_, '_>) -> Decision<Action> {
    let Due {
        line,
        source,
        attempt,
        ..
    } = due;
    let plan = line.plan;
    let slot = plan.timezone.at(source.slot);
    let why = match attempt {
        1 => "the slot has no copy there yet",
        _ => "the copy before failed",
    };
    let reason = format!(
        "plan {}, slot {}, of {}, to {region}: {why}{}",
        plan.name,
        slots::tag(&slot),
        line.volume,
        full(line)
    );
    let volume = facts.volumes.get(line.volume);
    let members = [Member {
        volume: line.volume.to_owned(),
        device: volume.and_then(|v| v.device()).map(str::to_owned),
    }];
    let instance = volume.and_then(|volume| volume.attachments.first());
    let instance = instance.map(|attachment| attachment.instance.as_str());
    let from = Source {
        region: &facts.region,
        volume: line.volume,
        snapshot: &source.id,
    };
    let what = what(&members, instance, facts);
    let [member] = members;
    let mut all = ownership::own_tags(from, &plan.name, &slot, *attempt, member);
    all.extend(instance.into_iter().flat_map(|id| instance_tags(id, facts)));
    let room = tags::TAGS_MAX - all.len();
    all.extend(volume.into_iter().flat_map(copied).take(room).cloned());
    Decision::act(
        Resource::Snapshot(source.id.clone()),
        COPY,
        reason,
        Action::Copy(CopyTo {
            region: region.to_owned(),
            plan: plan.name.clone(),
            slot: source.slot,
            attempt: *attempt,
            volume: line.volume.to_owned(),
            source: source.id.clone(),
            key: line.copying.key.clone(),
            description: ownership::description(from, &plan.name, &slot, *attempt, &what),
            tags: all,
        }),
    )
}

/// That the policy names another key than that of the newest copy, as far as that can be told
/// before: an alias may be any key.
fn full(line: &Line<'_>) -> String {
    let newest = line.newest.and_then(|newest| newest.copy.as_ref());
    match (&line.copying.key, newest) {
        (Some(key), Some(newest))
            if Arn::read(key).is_some_and(|arn| arn.resource.starts_with("key/"))
                && !newest.key.is_empty()
                && *key != newest.key =>
        {
            format!(
                "; its key is another than before, so AWS copies the whole volume, up to {} GiB",
                newest.gib
            )
        }
        _ => String::new(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
