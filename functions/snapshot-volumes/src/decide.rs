//! What is to be done, and why: creations first, then deletions. Pure.

pub(crate) mod copies;
mod deletions;
pub(crate) mod drills;
mod sets;

use std::collections::HashSet;

use guardrails::aws::{ApiError, ErrorKind};
use guardrails::guardrail::Decision;
use guardrails::resource::Resource;
use jiff::{SignedDuration, Zoned};

use crate::action::{Action, Create, Target};
use crate::decide::deletions::{DELETE, deletions};
use crate::decide::sets::{Attached, Due, Group, grouped};
use crate::evaluate::{Evaluation, Need, Planned};
use crate::facts::Snapshot;
use crate::policy::Selected;
use crate::slots;

/// AWS refuses a second snapshot of a volume within so many seconds (EBS-5).
const BETWEEN: SignedDuration = SignedDuration::from_secs(15);

/// Make a snapshot or a set of them.
const CREATE: &str = "create-snapshot";

/// Decides.
pub(crate) fn decide(evaluation: &Evaluation<'_>) -> Vec<Decision<Action>> {
    if evaluation.facts.drills.asked.is_some() {
        return Vec::new();
    }
    let mut decisions: Vec<_> = evaluation
        .facts
        .not_found
        .iter()
        .map(|id| not_found(id))
        .collect();
    decisions.extend(creations(evaluation));
    decisions.extend(obstacles(evaluation));
    if evaluation.facts.complete {
        decisions.extend(plans_without_volume(evaluation));
        decisions.extend(piling_up(evaluation));
        decisions.extend(deletions(&evaluation.deletions, None));
    }
    decisions.extend(copies::decide(evaluation));
    decisions.extend(drills::decide(evaluation));
    decisions
}

/// A person has asked for a volume that isn't there.
fn not_found(id: &str) -> Decision<Action> {
    Decision::cannot_judge(
        Resource::volume(id),
        "you asked for it".to_owned(),
        ApiError {
            operation: "ec2:DescribeVolumes",
            code: "InvalidVolume.NotFound".to_owned(),
            message: format!("there is no volume {id} in this account and Region; check the id"),
            kind: ErrorKind::Refused,
        },
    )
}

fn plans_without_volume<'e>(
    evaluation: &'e Evaluation<'_>,
) -> impl Iterator<Item = Decision<Action>> + 'e {
    let selects_any = |at: usize| {
        let mut volumes = evaluation.volumes.iter();
        volumes.any(|judged| judged.standings[at].selected != Selected::No)
    };
    let plans = evaluation.plans.iter().enumerate();
    plans
        .filter(move |(at, _)| !selects_any(*at))
        .map(|(_, Planned { plan, .. })| {
            let why = "selects no volume; check its tag, or that volumes carry it";
            let reason = format!("plan {} {why}", plan.name);
            Decision::leave(Resource::Account, "select", reason)
        })
}

/// Volumes that a plan selects and that can't or mustn't be snapshotted.
fn obstacles<'e>(evaluation: &'e Evaluation<'_>) -> impl Iterator<Item = Decision<Action>> + 'e {
    evaluation.volumes.iter().filter_map(|judged| {
        let selected: Vec<&str> = judged.selected().map(|s| s.plan.name.as_str()).collect();
        let obstacle = judged.volume.obstacle().filter(|_| !selected.is_empty())?;
        Some(Decision::leave(
            Resource::volume(&judged.volume.id),
            CREATE,
            format!("plan {}: {obstacle}", selected.join(", ")),
        ))
    })
}

fn piling_up(evaluation: &Evaluation<'_>) -> Option<Decision<Action>> {
    let orphans = &evaluation.piling_up;
    let volumes: HashSet<&str> = orphans.iter().map(|s| s.volume.as_str()).collect();
    (!orphans.is_empty()).then(|| {
        Decision::leave(
            Resource::Account,
            DELETE,
            format!(
                "{} snapshots of {} volumes that are gone are kept for ever: a plan selects every volume, and the policy has no `orphans-after`",
                orphans.len(),
                volumes.len()
            ),
        )
    })
}

// ---- what a slot lacks -------------------------------------------------------------------------

fn creations(evaluation: &Evaluation<'_>) -> Vec<Decision<Action>> {
    let mut decisions = Vec::new();
    let attached = Attached::of(evaluation.facts);
    // Volumes that AWS refuses a snapshot of now, because one was just started (EBS-5).
    let mut busy: HashSet<&str> = evaluation
        .facts
        .snapshots
        .iter()
        .filter(|snapshot| snapshot.started + BETWEEN > evaluation.now)
        .map(|snapshot| snapshot.volume.as_str())
        .collect();
    let plans = evaluation.plans.iter().enumerate();
    let mut plans: Vec<_> = plans
        .filter_map(|(at, Planned { plan, slot })| Some((at, *plan, slot.as_ref()?)))
        .collect();
    // The oldest slot comes first: else a plan that is due at each sweep would keep one of rarer slots
    // from its volumes for ever.
    plans.sort_by_key(|(_, _, slot)| slot.timestamp());
    for (at, plan, slot) in plans {
        let due = due(evaluation, at, slot, &mut decisions);
        for group in grouped(plan, slot, due, evaluation.facts) {
            if group
                .due
                .iter()
                .any(|d| busy.contains(d.volume.id.as_str()))
            {
                decisions.push(Decision::leave(
                    group.resource(),
                    CREATE,
                    format!(
                        "plan {}: a snapshot of the volume is being started now, and AWS takes the next one after 15 seconds; the next sweep makes it",
                        plan.name
                    ),
                ));
                continue;
            }
            busy.extend(group.due.iter().map(|d| d.volume.id.as_str()));
            let creates = group.creations(evaluation.facts, &attached).into_iter();
            decisions.extend(creates.map(|create| creation(&group, slot, create)));
        }
    }
    decisions
}

/// The volumes whose try is due under the plan `at`; `decisions` says of the others why it isn't.
fn due<'a>(
    evaluation: &Evaluation<'a>,
    at: usize,
    slot: &Zoned,
    decisions: &mut Vec<Decision<Action>>,
) -> Vec<Due<'a>> {
    let mut due = Vec::new();
    for judged in &evaluation.volumes {
        let (volume, standing) = (judged.volume, &judged.standings[at]);
        match standing.need {
            Need::None => {}
            Need::Due(attempt, why) => {
                let earlier = |(failed, _): (&Snapshot, _)| failed.slot < slot.timestamp();
                due.push(Due {
                    volume,
                    attempt,
                    why,
                    suspect: standing.failed.is_some_and(earlier),
                });
            }
            Need::Later(next) => decisions.push(Decision::leave(
                Resource::volume(&volume.id),
                CREATE,
                format!(
                    "plan {}: the latest try at slot {} failed; the next one is not before {}",
                    standing.plan.name,
                    slots::tag(slot),
                    next.strftime("%Y-%m-%d %H:%M UTC")
                ),
            )),
        }
    }
    due
}

fn creation(group: &Group<'_, '_>, slot: &Zoned, create: Create) -> Decision<Action> {
    let is_member = |volume: &str| create.members.iter().any(|m| m.volume == volume);
    let why = group
        .due
        .iter()
        .find(|d| is_member(&d.volume.id))
        .map_or("", |d| d.why);
    let volumes: Vec<&str> = create.members.iter().map(|m| m.volume.as_str()).collect();
    let (resource, of) = match &create.target {
        Target::Set { instance, .. } => (
            Resource::instance(instance),
            format!(" ({})", volumes.join(", ")),
        ),
        Target::Volume => (Resource::volume(volumes.concat()), String::new()),
    };
    let reason = format!("plan {}, slot {}: {why}{of}", create.plan, slots::tag(slot));
    Decision::act(resource, CREATE, reason, Action::Create(create))
}

#[cfg(test)]
pub(crate) mod tests;
