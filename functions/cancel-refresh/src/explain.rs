//! All that is known of the group that a person asks about. Pure.

use serde_json::{Value, json};

use crate::evaluate::{Evaluated, Evaluation, Newest};
use crate::facts::Refresh;
use crate::image::Standing;

pub(crate) fn detail(evaluation: &Evaluation<'_>) -> Value {
    match evaluation.groups.first() {
        Some(group) if evaluation.asked => of_group(group),
        _ => Value::Null,
    }
}

fn of_group(evaluated: &Evaluated<'_>) -> Value {
    let Evaluated {
        case,
        settings,
        judgement,
        refresh: newest,
        ..
    } = evaluated;
    json!({
        "group": case.group.name,
        "launches-from": case.group.source,
        "desired-capacity": case.group.desired,
        "suspended-processes": case.group.suspended,
        "operator": case.group.operator,
        "refresh": newest.as_ref().map(|newest| refresh(newest.refresh)),
        "remembered": case.remembered.memory,
        "verdict": judgement.verdict,
        "evidence": {
            "launches": judgement.launches,
            "health": judgement.health,
            "alarms": judgement.alarms,
            "stall": judgement.stall,
        },
        "decision": newest.as_ref().map(|newest| decision(evaluated, newest)),
        "settings": {
            "on-failure": settings.on_failure,
            "launch-failures": settings.launch_failures,
            "permanent-launch-failures": settings.permanent_launch_failures,
            "unhealthy-terminations": settings.unhealthy_terminations,
            "stalled-for": settings.stalled_for.to_string(),
            "alarms": settings.alarms,
            "image": settings.image,
            "problems": settings.problems,
        },
        "image": newest.as_ref().map(|newest| image(&newest.image)),
    })
}

fn refresh(refresh: &Refresh) -> Value {
    json!({
        "id": refresh.id,
        "status": refresh.status.to_string(),
        "status-reason": refresh.reason,
        "start": refresh.start,
        "end": refresh.end,
        "percentage-complete": refresh.percentage,
        "instances-to-update": refresh.remaining,
        "wanted": refresh.wanted,
        "preferences": refresh.preferences,
        "rollback-reason": refresh.rollback_reason,
    })
}

fn decision(group: &Evaluated<'_>, newest: &Newest<'_>) -> Value {
    let only_told = group.excluded.clone().or_else(|| newest.gate.closed());
    json!({
        "if-failing": newest.how,
        "not-as-asked-because": newest.fallback,
        "only-told-because": only_told.or_else(|| newest.already.clone()),
    })
}

fn image(standing: &Standing) -> Value {
    match standing {
        Standing::NotAsked => json!({"standing": "not watched"}),
        Standing::Done => json!({"standing": "it is the known good image"}),
        Standing::Repair(plan) => json!({
            "standing": "would be put back",
            "repository": plan.repository, "tag": plan.tag,
            "from": plan.bad, "to": plan.good, "kept-as": plan.keep_as,
        }),
        Standing::Refused(why) => json!({"standing": "would not be put back", "because": why}),
    }
}
