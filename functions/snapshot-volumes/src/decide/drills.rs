//! What of the drills is done now.

use guardrails::guardrail::Decision;
use guardrails::resource::Resource;
use jiff::Zoned;

use crate::action::{Action, Drilling, Step};
use crate::evaluate::Evaluation;
use crate::evaluate::drills::{Going, Next, Round, Tried};
use crate::facts::drills::Outcome;
use crate::policy::Way;
use crate::slots;

/// Try whether something can be restored.
const DRILL: &str = "drill";
/// Most volumes that a reason names.
const NAMED: usize = 5;

pub(super) fn decide(evaluation: &Evaluation<'_>) -> Vec<Decision<Action>> {
    let mut decisions = Vec::new();
    if let Some(error) = &evaluation.facts.drills.forbidden {
        let reason = "the policy has drills".to_owned();
        decisions.push(Decision::cannot_judge(
            Resource::Account,
            reason,
            error.clone(),
        ));
    }
    // First what was begun: it costs until it is gone.
    decisions.extend(evaluation.going.iter().filter_map(going));
    if evaluation.facts.complete {
        for round in &evaluation.rounds {
            decisions.extend(left_out(round));
            if let Some(slot) = &round.slot {
                let turn = round.turn.iter().map(|at| &round.lines[*at]);
                decisions.extend(turn.map(|line| turn_of(round, slot, line)));
            }
        }
    }
    decisions
}

fn going(going: &Going<'_>) -> Option<Decision<Action>> {
    let record = &going.remembered.value;
    let restore = record.restore();
    let made = restore.and_then(|restore| restore.volume.as_deref());
    let made = made.unwrap_or("a volume");
    let (why, step) = match &going.next {
        Next::Wait => return None,
        Next::Left(why) => {
            let reason = format!("drill {}: {made} stays: {why}", going.drill);
            return Some(Decision::leave(
                Resource::volume(going.volume),
                DRILL,
                reason,
            ));
        }
        Next::Unknown(error) => {
            let reason = format!("drill {}: {made} in {}", going.drill, going.region);
            let resource = Resource::volume(going.volume);
            return Some(Decision::cannot_judge(resource, reason, (*error).clone()));
        }
        Next::Read(snapshot) => (
            "the run that read blocks was ended; they are read again".to_owned(),
            Step::Read {
                snapshot: (*snapshot).to_owned(),
                slot: record.taken.unwrap_or_default(),
            },
        ),
        Next::Ask => (
            "whether a volume was made isn't known; AWS is asked again by the same token"
                .to_owned(),
            Step::Ask {
                of: going.volume.to_owned(),
            },
        ),
        Next::Note(made) => (
            format!("{} is being made", made.id),
            Step::Note((*made).clone()),
        ),
        Next::Check(made) => (
            format!("{} is ready; it is looked at and deleted", made.id),
            Step::Check((*made).clone()),
        ),
        Next::Close(made, outcome) => {
            let why = match outcome {
                Outcome::Proven => format!("{} has served; it is deleted", made.id),
                Outcome::Failed(why) | Outcome::Untried(why) => format!("{why}; it is deleted"),
            };
            (why, Step::Close((*made).clone(), outcome.clone()))
        }
        Next::Settle(ended) => (
            "what came of it is written down".to_owned(),
            Step::Settle(ended.clone()),
        ),
    };
    let drilling = Drilling {
        key: going.remembered.name.clone(),
        region: going.region.to_owned(),
        remembered: Some(going.remembered.clone()),
        step,
    };
    Some(act(
        going.volume,
        format!("drill {}: {why}", going.drill),
        drilling,
    ))
}

fn act(volume: &str, reason: String, drilling: Drilling) -> Decision<Action> {
    Decision::act(
        Resource::volume(volume),
        DRILL,
        reason,
        Action::Drill(Box::new(drilling)),
    )
}

fn turn_of(round: &Round<'_>, slot: &Zoned, line: &Tried<'_>) -> Decision<Action> {
    let drill = round.drill;
    let snapshot = line.snapshot.id.clone();
    let at = slot.timestamp();
    let (what, step) = match drill.kind {
        Way::Blocks => ("blocks are read of", Step::Read { snapshot, slot: at }),
        Way::Volume => (
            "a volume is made from",
            Step::Make {
                snapshot,
                slot: at,
                not_in: line.zone.map(str::to_owned),
                of: line.volume.to_owned(),
            },
        ),
    };
    let reason = format!(
        "drill {}, slot {}: {what} {} in {} ({} GiB)",
        drill.name,
        slots::tag(slot),
        line.snapshot.id,
        round.region,
        line.gib
    );
    let drilling = Drilling {
        key: line.key.clone(),
        region: round.region.to_owned(),
        remembered: line.remembered.cloned(),
        step,
    };
    act(line.volume, reason, drilling)
}

/// That nothing, or not everything, is tried.
fn left_out(round: &Round<'_>) -> Option<Decision<Action>> {
    let drill = round.drill;
    let large: Vec<&str> = round
        .lines
        .iter()
        .filter(|line| line.too_large)
        .map(|line| line.volume)
        .collect();
    let reason = if round.lines.is_empty() && round.unread.is_none() {
        format!(
            "drill {}: no volume of its plans has a completed snapshot in {}",
            drill.name, round.region
        )
    } else if large.is_empty() {
        return None;
    } else {
        let more = large.len().saturating_sub(NAMED);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!(
            "drill {}: {} volumes are larger than `max-size` ({} GiB) and never tried: {}{more}",
            drill.name,
            large.len(),
            drill.max_size.unwrap_or_default(),
            large[..large.len().min(NAMED)].join(", ")
        )
    };
    Some(Decision::leave(Resource::Account, DRILL, reason))
}

#[cfg(test)]
pub(crate) mod tests;
