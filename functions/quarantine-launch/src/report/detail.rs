//! What the commands `list`, `launches` and `check` answer.

use std::collections::BTreeMap;

use guardrails::policy::Age;
use serde_json::{Value, json};

use crate::ask::Ask;
use crate::evaluate::{Evaluation, word};
use crate::facts::{Instance, Isolation};

/// What `launches` looks back over.
const WEEK: Age = Age::from_hours(7 * 24);
/// Most instances that are named of each kind of launch.
const NAMED: usize = 20;

/// What is in quarantine, and since when; and the groups that may not launch.
pub(super) fn list(evaluation: &Evaluation<'_>) -> Value {
    let facts = evaluation.facts;
    let quarantine = facts.records.iter().map(|(id, record)| {
        let instance = facts.instances.get(id);
        let isolated = instance.zip(facts.isolation.as_ref());
        let is_isolated = |one: &Instance, groups: &BTreeMap<String, Isolation>| {
            let mut behind = one.interfaces.iter().filter_map(|one| groups.get(&one.vpc));
            one.is_isolated(groups) && behind.all(|group| evaluation.admission.isolates(group))
        };
        json!({
            "instance": id,
            "name": instance.and_then(|one| one.tag("Name")),
            "state": instance.map_or_else(|| "gone".to_owned(), |one| format!("{:?}", one.state).to_lowercase()),
            "since": record.since,
            "stage": record.stage,
            "isolated": isolated.map(|(one, groups)| is_isolated(one, groups)),
            "responders": instance.and_then(|one| evaluation.admission.whom(&one.vpc)),
            "image": record.image,
            "reason": record.reason,
            "launched-by": record.launcher.as_ref().map(|who| &who.text),
            "group": record.group(),
        })
    });
    let held = facts.loops.iter().filter(|(_, known)| known.is_held());
    let groups = held.map(
        |(name, known)| json!({"group": name, "suspended": known.suspended, "since": known.broken}),
    );
    json!({
        "quarantine": quarantine.collect::<Vec<_>>(),
        "groups": groups.collect::<Vec<_>>(),
    })
}

/// The launches of the last week as they were seen: how many each rule approved, and how many none.
pub(super) fn launches(evaluation: &Evaluation<'_>) -> Value {
    let since = WEEK.before(evaluation.now);
    let week = evaluation.facts.seen.iter();
    let week = week.filter(|(_, seen)| seen.launched > since);
    let mut approved: BTreeMap<&str, usize> = BTreeMap::new();
    let mut refused: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (id, seen) in week {
        if let Some(rule) = &seen.rule {
            *approved.entry(rule).or_default() += 1;
        } else if let Some(why) = &seen.refused {
            refused.entry((why, &seen.image)).or_default().push(id);
        }
    }
    let would = refused.iter().map(|((why, image), ids)| {
        json!({
            "why": why,
            "image": image,
            "launches": ids.len(),
            "instances": ids.iter().take(NAMED).collect::<Vec<_>>(),
        })
    });
    json!({
        "since": since,
        "approved": approved,
        "not-approved": would.collect::<Vec<_>>(),
    })
}

/// Who runs the AMI that is asked about.
pub(super) fn running(evaluation: &Evaluation<'_>) -> Value {
    if !matches!(evaluation.facts.ask, Ask::CheckImage(_)) {
        return Value::Null;
    }
    let judged = evaluation.judged.values().map(|judged| {
        json!({
            "instance": judged.instance.id,
            "name": judged.instance.tag("Name"),
            "launched": judged.instance.launched,
            "group": judged.instance.group(),
            "verdict": word(&judged.verdict),
            "in-quarantine-since": judged.held().map(|held| held.record.since),
        })
    });
    judged.collect()
}
