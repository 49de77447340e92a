//! Sums up a run: numbers, and what stands against the policy. Pure.

use std::collections::{HashMap, HashSet};

use guardrails::condition::{Condition, Coverage, Kind, Status};
use guardrails::guardrail::{Assessment, Settled};
use guardrails::metrics::Metric;
use guardrails::report::Outcome;
use guardrails::resource::{Resource, name_of};
use serde_json::{Value, json};

use crate::conditions::{KINDS, NO_PROFILE_IN_TEMPLATE, UNMANAGED, UNUSABLE, WITHOUT_PROFILE};
use crate::decide::{Action, Effect};
use crate::evaluate::{Evaluation, Judged, Judgement, undecided};
use crate::standing::Standing;

/// Sums up.
pub(crate) fn report(
    evaluation: &Evaluation<'_>,
    settled: &[Settled<'_, Action, Effect>],
) -> Assessment {
    let groups = evaluation.groups.iter().flatten();
    let mut conditions = of_instances(evaluation, settled);
    conditions.extend(groups.map(|judged| {
        let (group, judgement) = (Resource::group(judged.name), &judged.without_profile);
        condition(group, &NO_PROFILE_IN_TEMPLATE, judgement.clone())
    }));
    let mut coverage = Coverage::Named;
    if evaluation.complete {
        // What isn't named doesn't stand.
        conditions.retain(|condition| condition.status != Status::Resolved);
        coverage = covered(evaluation);
    }
    let mut metrics = numbers(&evaluation.instances).to_vec();
    metrics.extend(slowest(settled));
    Assessment {
        considered: evaluation.instances.len() as u64,
        metrics,
        conditions,
        coverage,
        detail: detail(evaluation),
    }
}

/// A sweep judges all instances; groups only if they could be read.
fn covered(evaluation: &Evaluation<'_>) -> Coverage {
    let instances = evaluation.instances.iter();
    let mut present: HashSet<Resource> = instances
        .map(|judged| Resource::instance(&judged.instance.id))
        .collect();
    let groups = evaluation.groups.iter().flatten();
    present.extend(groups.map(|judged| Resource::group(judged.name)));
    let is_judged = |kind: &Kind| evaluation.groups.is_some() || *kind != NO_PROFILE_IN_TEMPLATE;
    Coverage::All {
        kinds: KINDS.into_iter().filter(|kind| is_judged(kind)).collect(),
        present,
    }
}

fn condition(resource: Resource, kind: &'static Kind, judgement: Judgement) -> Condition {
    match judgement {
        Judgement::Stands { fingerprint, why } => {
            Condition::firing(resource, kind, fingerprint, why)
        }
        Judgement::Not => Condition::resolved(resource, kind),
        Judgement::Unknown(why) => Condition::unknown(resource, kind, why),
    }
}

fn of_instances(
    evaluation: &Evaluation<'_>,
    settled: &[Settled<'_, Action, Effect>],
) -> Vec<Condition> {
    let attached: HashMap<&str, Outcome> = settled
        .iter()
        .filter_map(|one| match one.action {
            Action::Attach { instance, .. } => Some((instance.as_str(), one.outcome)),
            _ => None,
        })
        .collect();
    let groups = evaluation.groups.iter().flatten();
    let groups: HashMap<&str, &Judgement> = groups
        .map(|judged| (judged.name, &judged.without_profile))
        .collect();
    // Only a sweep reads groups.
    let unread = Judgement::Unknown("what its group launches from wasn't read".to_owned());
    let of_one = |judged: &Judged<'_>| {
        let instance = judged.instance;
        let outcome = attached.get(instance.id.as_str()).copied();
        let of_group = instance.group().map_or(&Judgement::Not, |name| {
            groups.get(name).copied().unwrap_or(&unread)
        });
        let without = without_profile(judged, outcome, of_group, evaluation.profile);
        [
            (&UNMANAGED, judged.unmanaged.clone()),
            (&UNUSABLE, judged.unusable.clone()),
            (&WITHOUT_PROFILE, without),
        ]
        .map(|(kind, judgement)| {
            let resource = Resource::instance(&instance.id);
            condition(resource, kind, judgement).called(instance.label())
        })
    };
    evaluation.instances.iter().flat_map(of_one).collect()
}

/// Whether an instance lacks a profile and only the mode keeps it from getting one. Of a member the
/// group's own condition tells it, once for all: `of_group`.
fn without_profile(
    judged: &Judged<'_>,
    attached: Option<Outcome>,
    of_group: &Judgement,
    profile: &str,
) -> Judgement {
    use Standing::{Lacking, NotYet, Quarantined, Terminal, Unknown};
    match (&judged.standing, attached) {
        (Lacking, Some(Outcome::Done)) => return Judgement::Not,
        (Lacking, Some(Outcome::WouldDo)) => {}
        (Lacking, _) => {
            return Judgement::Unknown("its profile couldn't be attached in this run".to_owned());
        }
        (standing @ (Unknown | NotYet(_) | Quarantined | Terminal), _) => {
            return Judgement::Unknown(undecided(standing));
        }
        _ => return Judgement::Not,
    }
    match of_group {
        Judgement::Not => Judgement::Stands {
            fingerprint: "has none".to_owned(),
            why: format!(
                "it has no instance profile; with mode: enforce it would be given {}",
                name_of(profile)
            ),
        },
        Judgement::Stands { .. } => Judgement::Not,
        Judgement::Unknown(why) => Judgement::Unknown(why.clone()),
    }
}

/// How many instances stand where.
fn numbers(instances: &[Judged<'_>]) -> [Metric; 5] {
    let [
        mut managed,
        mut waiting,
        mut unmanaged,
        mut lacking,
        mut left_alone,
    ] = [0; 5];
    for judged in instances {
        match &judged.standing {
            Standing::Online => managed += 1,
            Standing::Waiting(_) | Standing::NotYet(_) => waiting += 1,
            Standing::Late(_) => unmanaged += 1,
            Standing::Lacking | Standing::Unknown => lacking += 1,
            Standing::Quarantined | Standing::Excluded(_) | Standing::Operated(_) => {
                left_alone += 1;
            }
            Standing::Stopped | Standing::Terminal => {}
        }
    }
    [
        ("InstancesManaged", managed),
        ("InstancesWaiting", waiting),
        ("InstancesUnmanaged", unmanaged),
        ("InstancesWithoutProfile", lacking),
        ("InstancesLeftAlone", left_alone),
    ]
    .map(|(name, value)| Metric { name, value })
}

/// The longest time from start to Online among the nodes seen Online first in this run.
fn slowest(settled: &[Settled<'_, Action, Effect>]) -> Option<Metric> {
    let seconds = settled.iter().filter_map(|one| match one.effect? {
        Effect::Online { after } => Some(*after),
    });
    Some(Metric {
        name: "SecondsToOnline",
        value: seconds.max()?,
    })
}

/// The full diagnosis of the instance that was asked for.
fn detail(evaluation: &Evaluation<'_>) -> Value {
    let asked = evaluation.instances.first().filter(|_| evaluation.diagnose);
    let Some((judged, diagnosis)) = asked.and_then(|one| Some((one, one.diagnosis.as_ref()?)))
    else {
        return Value::Null;
    };
    let standing = match &judged.standing {
        Standing::Terminal => "terminating",
        Standing::Quarantined => "quarantined",
        Standing::Excluded(_) => "excluded",
        Standing::Operated(_) => "operated by a service",
        Standing::Online => "online",
        Standing::Lacking | Standing::Unknown | Standing::NotYet(_) => "without profile",
        Standing::Stopped => "not running",
        Standing::Waiting(_) => "waiting",
        Standing::Late(_) => "late",
    };
    json!({
        "instance": judged.instance.id,
        "standing": standing,
        "profile": judged.instance.profile,
        "attached": judged.memory.map(|memory| memory.value.attached),
        "ping-status": judged.node.map(|node| node.ping.clone()),
        "last-ping": judged.node.and_then(|node| node.last_ping),
        "session-possible": judged.connected,
        "agent": judged.node.and_then(|node| node.agent.clone()),
        "expected-online-by": judged.until,
        "primary": diagnosis.primary(),
        "causes": diagnosis.causes,
        "log-only": diagnosis.log_only,
        "complete": diagnosis.complete,
    })
}

#[cfg(test)]
mod tests;
