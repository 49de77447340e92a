//! What is answered about the group that somebody asks about. Pure.

use serde::Serialize;
use serde_json::{Value, json};

use crate::evaluate::{Evaluated, Evaluation, Newest};
use crate::facts::{Question, Refresh, Status};
use crate::image::Standing;
use crate::signals::Verdict;

pub(crate) fn detail(evaluation: &Evaluation<'_>) -> Value {
    match (evaluation.groups.first(), evaluation.asked) {
        (Some(group), Some(Question::Explain)) => of_group(group),
        (Some(group), Some(Question::Verdict { refresh })) => verdict(group, refresh.as_deref()),
        _ => Value::Null,
    }
}

/// A refresh in one word, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Word {
    /// It goes on, or hasn't begun.
    Running,
    /// It came through, and what it brought is what runs.
    Good,
    /// It goes on, and fails: it is stopped, or a person has to.
    Failing,
    /// This guardrail or a person stopped it.
    Stopped,
    /// It failed, couldn't be rolled back, or came through with another image than it brought.
    EndedBadly,
    /// AWS shows no such refresh of the group or didn't answer, or where its image tag points can't
    /// be told.
    Unknown,
}

fn verdict(group: &Evaluated<'_>, id: Option<&str>) -> Value {
    let newest = group.refresh.as_ref();
    let newest = newest.filter(|newest| id.is_none_or(|id| newest.refresh.id == id));
    let mut earlier = group.case.earlier.iter();
    let earlier = earlier.find(|refresh| Some(refresh.id.as_str()) == id);
    let (word, because) = match (newest, earlier) {
        (Some(newest), _) => of_newest(group, newest),
        (None, Some(refresh)) => (of_status(&refresh.status), refresh.reasons()),
        (None, None) => {
            let unread = group.case.not_read().filter(|_| group.refresh.is_none());
            let none = || "AWS shows no such refresh of the group".to_owned();
            (Word::Unknown, vec![unread.unwrap_or_else(none)])
        }
    };
    let refresh = newest.map(|newest| newest.refresh).or(earlier);
    json!({
        "verdict": word,
        "because": because,
        "group": group.case.group.name,
        "refresh": refresh.map(|refresh| &refresh.id),
        "status": refresh.map(|refresh| refresh.status.to_string()),
        "percentage-complete": refresh.map(|refresh| refresh.percentage),
        "evidence": newest.map(|_| evidence(group)),
    })
}

fn of_newest(group: &Evaluated<'_>, newest: &Newest<'_>) -> (Word, Vec<String>) {
    let refresh = newest.refresh;
    let mut because = refresh.reasons();
    because.extend(newest.claim.map(|claim| claim.because.clone()));
    let stopped = newest.claim.is_some_and(|claim| claim.step.is_done());
    if let Some(why) = group.case.not_read() {
        because.push(why);
        return (Word::Unknown, because);
    }
    let through = refresh.status == Status::Successful;
    if let Some(why) = newest.lost_sight().filter(|_| through) {
        because.push(why.to_owned());
        return (Word::Unknown, because);
    }
    let word = match (&group.judgement.verdict, &newest.image) {
        _ if stopped && !refresh.status.is_ended() => Word::Stopped,
        (Verdict::Failing(why), _) => {
            because.extend(why.clone());
            Word::Failing
        }
        (_, Standing::Moved(moved)) if through => {
            because.push(format!(
                "{} was put back to the known good image",
                moved.name
            ));
            Word::EndedBadly
        }
        (Verdict::Troubled(why), _) => {
            because.extend(why.clone());
            of_status(&refresh.status)
        }
        _ => of_status(&refresh.status),
    };
    (word, because)
}

fn of_status(status: &Status) -> Word {
    match status {
        Status::Pending | Status::InProgress | Status::Baking | Status::Other(_) => Word::Running,
        Status::Successful => Word::Good,
        Status::Failed | Status::RollbackFailed => Word::EndedBadly,
        Status::Cancelling
        | Status::Cancelled
        | Status::RollbackInProgress
        | Status::RollbackSuccessful => Word::Stopped,
    }
}

fn evidence(group: &Evaluated<'_>) -> Value {
    let judgement = &group.judgement;
    json!({
        "launches": judgement.launches,
        "health": judgement.health,
        "alarms": judgement.alarms,
        "stall": judgement.stall,
        "again": judgement.again,
    })
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
        "evidence": evidence(evaluated),
        "decision": newest.as_ref().map(|newest| decision(evaluated, newest)),
        "settings": settings,
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
        Standing::Good => json!({"standing": "it is the known good image"}),
        Standing::Moved(moved) => json!({
            "standing": "was put back", "name": moved.name, "from": moved.from,
        }),
        Standing::Repair(plan) => json!({
            "standing": "would be put back",
            "repository": plan.repository, "tag": plan.tag,
            "from": plan.bad, "to": plan.good, "kept-as": plan.keep_as,
        }),
        Standing::Refused(why) => json!({"standing": "would not be put back", "because": why}),
        Standing::Unread(why) => json!({"standing": "unknown", "because": why}),
    }
}
