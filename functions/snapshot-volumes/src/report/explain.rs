//! All that is known of the volumes that were asked for.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::evaluate::{Evaluation, Freshness, Judged, Planned, Standing};
use crate::facts::Snapshot;
use crate::policy::Selected;
use crate::report::drills::Records;
use crate::report::{copies, drills};
use crate::slots;

pub(super) fn explain(evaluation: &Evaluation<'_>, records: &Records<'_>) -> Value {
    let volumes: BTreeMap<&str, Value> = evaluation
        .volumes
        .iter()
        .map(|judged| {
            let mut value = volume(evaluation, judged);
            let drills = drills::explain(evaluation, records, &judged.volume.id);
            if !drills.is_empty() {
                value["drills"] = drills.into();
            }
            (judged.volume.id.as_str(), value)
        })
        .collect();
    json!({ "volumes": volumes })
}

fn volume(evaluation: &Evaluation<'_>, judged: &Judged<'_>) -> Value {
    let plans: BTreeMap<&str, Value> = evaluation
        .plans
        .iter()
        .zip(&judged.standings)
        .map(|(planned, standing)| {
            let mut value = plan(evaluation, planned, standing);
            if !planned.plan.copies.is_empty() {
                value["copies"] =
                    copies::explain(evaluation, &judged.volume.id, &planned.plan.name);
            }
            (planned.plan.name.as_str(), value)
        })
        .collect();
    let disowned: BTreeMap<&str, &str> = evaluation
        .facts
        .disowned
        .iter()
        .filter(|snapshot| snapshot.volume == judged.volume.id)
        .map(|snapshot| (snapshot.id.as_str(), snapshot.why.as_str()))
        .collect();
    let mut planless: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for snapshot in &judged.planless {
        planless
            .entry(&snapshot.plan)
            .or_default()
            .push(&snapshot.id);
    }
    json!({
        "state": judged.volume.state,
        "obstacle": judged.volume.obstacle(),
        "plans": plans,
        "plans-that-are-gone": planless,
        "disowned": disowned,
    })
}

fn plan(evaluation: &Evaluation<'_>, planned: &Planned<'_>, standing: &Standing<'_>) -> Value {
    let Planned { plan, slot } = planned;
    let next = plan.schedule.slot_after(&plan.timezone, evaluation.now);
    let selects = match standing.selected {
        Selected::Yes => Some(true),
        Selected::No => Some(false),
        Selected::Unknown => None,
    };
    let snapshots: Vec<Value> = standing
        .snapshots
        .iter()
        .map(|s| snapshot(planned, s))
        .collect();
    json!({
        "selects-it": selects,
        "slot": slot.as_ref().map(slots::tag),
        "next-slot": next.as_ref().map(slots::tag),
        "overdue": standing.freshness != Freshness::Fresh,
        "snapshots": snapshots,
    })
}

fn snapshot(planned: &Planned<'_>, snapshot: &Snapshot) -> Value {
    json!({
        "snapshot": snapshot.id,
        "slot": slots::tag(&planned.plan.timezone.at(snapshot.slot)),
        "attempt": snapshot.attempt,
        "state": snapshot.state.label(),
        "archived": snapshot.archived,
        "held": snapshot.held,
    })
}
