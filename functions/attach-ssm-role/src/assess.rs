//! Sums up a run: numbers, and what stands against the policy. Pure.

use std::collections::BTreeSet;

use guardrails::finding::{Command, Finding, Kind, On, Run, Told, Urgency};
use guardrails::guardrail::{Assessment, Settled};
use guardrails::metrics::Metric;
use guardrails::notify::AUTO_SCALING_GROUP;
use guardrails::report::Outcome;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::decide::{self, Action, Standing, standing};
use crate::diagnosis::{Known, diagnose, identity, network};
use crate::facts::{Facts, Instance, Mark};
use crate::policy::Policy;

const DIAGNOSE: Command = Command {
    to: "to see the full diagnosis",
    on: On::Instance,
    run: Run::Invoke("diagnose"),
};

/// An instance that has a profile and isn't Online.
pub static UNMANAGED: Kind = Kind {
    name: "unmanaged",
    one: "instance that isn't a managed node",
    many: "instances that aren't managed nodes",
    cured: "is a managed node now, or nobody asks for it any more",
    next: "Remove the cause that stands first. The agent may then take half an hour to try again; a reboot makes it try at once. An instance that needs no Session Manager: exclude it by the tag that the policy names.",
    urgency: Urgency::Soon,
    commands: &[DIAGNOSE],
};

/// A node that is Online and yet can't be reached.
pub static UNUSABLE: Kind = Kind {
    name: "unusable",
    one: "managed node that can't be used",
    many: "managed nodes that can't be used",
    cured: "can be used now, or is no managed node any more",
    next: "The agent's heartbeat needs only the service ssm, so a node shows Online while Session Manager and Run Command fail for want of ssmmessages. Do the fix that stands beside the node. Where its role lacks the message channels: attach AmazonSSMManagedInstanceCore, or let the guardrail do it with repair-roles: true.",
    urgency: Urgency::Soon,
    commands: &[DIAGNOSE],
};

/// A group whose new instances come without a profile.
pub static NO_PROFILE_IN_TEMPLATE: Kind = Kind {
    name: "template-profile",
    one: "Auto Scaling group that launches without instance profile",
    many: "Auto Scaling groups that launch without instance profile",
    cured: "launches with an instance profile now",
    next: "Nothing is broken: each new member is given the profile after its start, so its agent may come Online half an hour later than it could. Name the instance profile in what the group launches from.",
    urgency: Urgency::Know,
    commands: &[],
};

/// Sums up.
#[must_use]
pub fn assess(
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
    settled: &[Settled<'_, Action>],
) -> Assessment {
    let mut findings = Vec::new();
    let mut told = Vec::new();
    let mut counts = Counts::default();
    for instance in facts.instances.values() {
        let standing = standing(instance, facts, policy, now);
        counts.add(&standing);
        judge(
            instance,
            &standing,
            facts,
            policy,
            now,
            &mut findings,
            &mut told,
        );
    }
    groups(facts, policy, now, &mut findings, &mut told);
    let mut metrics = counts.metrics().to_vec();
    metrics.extend(slowest(facts, settled));
    Assessment {
        considered: facts.instances.len() as u64,
        metrics,
        findings,
        told,
        detail: detail(facts, policy, now),
    }
}

/// How many instances stand where.
#[derive(Debug, Default)]
struct Counts {
    managed: u64,
    waiting: u64,
    unmanaged: u64,
    lacking: u64,
    left_alone: u64,
}

impl Counts {
    fn add(&mut self, standing: &Standing) {
        match standing {
            Standing::Online => self.managed += 1,
            Standing::Waiting(_) | Standing::NotYet => self.waiting += 1,
            Standing::Late(_) => self.unmanaged += 1,
            Standing::Lacking => self.lacking += 1,
            Standing::Quarantined | Standing::Excluded(_) | Standing::Operated(_) => {
                self.left_alone += 1;
            }
            Standing::Stopped | Standing::Terminal => {}
        }
    }

    fn metrics(&self) -> [Metric; 5] {
        [
            ("InstancesManaged", self.managed),
            ("InstancesWaiting", self.waiting),
            ("InstancesUnmanaged", self.unmanaged),
            ("InstancesWithoutProfile", self.lacking),
            ("InstancesLeftAlone", self.left_alone),
        ]
        .map(|(name, value)| Metric { name, value })
    }
}

/// The longest time from start to Online among the nodes seen Online first in this run.
fn slowest(facts: &Facts, settled: &[Settled<'_, Action>]) -> Option<Metric> {
    let seconds = settled
        .iter()
        .filter(|one| one.outcome == Outcome::Done)
        .filter_map(|one| match one.action {
            Action::Confirm { instance, at } => {
                let instance = facts.instances.get(instance)?;
                // What stood for months before it was attached says nothing about its start.
                let attached = match instance.mark()? {
                    Mark::Attached(attached) => attached,
                    Mark::Online(_) => return None,
                };
                let start = instance.launched.max(attached);
                u64::try_from(at.duration_since(start).as_secs()).ok()
            }
            _ => None,
        })
        .max()?;
    Some(Metric {
        name: "SecondsToOnline",
        value: seconds,
    })
}

/// What stands against the policy on one instance, and what was told of it.
fn judge(
    instance: &Instance,
    standing: &Standing,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
    findings: &mut Vec<Finding>,
    told: &mut Vec<Told>,
) {
    let remembered = |kind: &'static Kind| {
        instance.tag(&kind.tag()).map(|state| Told {
            resource: instance.id.clone(),
            kind,
            state: state.to_owned(),
            gone: false,
        })
    };
    let lacks = decide::role_lacks(instance, facts, now).is_some();
    match standing {
        Standing::Late(_) => {
            told.extend(remembered(&UNMANAGED));
            told.extend(remembered(&UNUSABLE));
            findings.push(unmanaged(instance, facts, policy, now));
        }
        // A role that allows too little doesn't get better by waiting.
        Standing::Waiting(_) if lacks => {
            told.extend(remembered(&UNMANAGED));
            findings.push(unmanaged(instance, facts, policy, now));
        }
        Standing::Online => {
            told.extend(remembered(&UNMANAGED));
            match usability(instance, facts, lacks) {
                Usability::Unknown => {}
                Usability::Usable => told.extend(remembered(&UNUSABLE)),
                Usability::Unusable(finding) => {
                    told.extend(remembered(&UNUSABLE));
                    findings.push(finding);
                }
            }
        }
        Standing::Excluded(_) | Standing::Operated(_) => {
            told.extend(remembered(&UNMANAGED));
            told.extend(remembered(&UNUSABLE));
        }
        // Nothing is known anew: what was told stands until the instance is Online or late again.
        Standing::Waiting(_)
        | Standing::Lacking
        | Standing::NotYet
        | Standing::Stopped
        | Standing::Quarantined
        | Standing::Terminal => {}
    }
}

/// Whether a node that is Online can be used.
enum Usability {
    /// Not read, or not readable, in this run: what was told stands.
    Unknown,
    /// Nothing stands against it.
    Usable,
    /// It can't, and why.
    Unusable(Finding),
}

fn usability(instance: &Instance, facts: &Facts, role_lacks: bool) -> Usability {
    let finding = |state: String, why: String| Finding {
        resource: instance.id.clone(),
        kind: &UNUSABLE,
        state,
        text: format!("{}: it shows Online, but {why}", instance.label()),
    };
    let identity = instance
        .profile
        .as_ref()
        .and_then(|profile| facts.identities.get(profile));
    if role_lacks && let Some((role, channels)) = identity::unusable(identity) {
        let why = format!(
            "its role {} doesn't allow {}",
            role.name,
            channels.join(", ")
        );
        let state = format!("{} {}", role.name, channels.join(" "));
        return Usability::Unusable(finding(state, why));
    }
    let network = match &facts.network {
        Some(Err(_)) => return Usability::Unknown,
        Some(Ok(network)) => Some(network),
        None => None,
    };
    if let Some(cause) = network.and_then(|network| network::cut_off(instance, network)) {
        let why = format!(
            "can't be reached, because {}. Fix: {}",
            cause.problem, cause.fix
        );
        let state = format!("{} {}", cause.code, cause.resource);
        return Usability::Unusable(finding(state, why));
    }
    // By a profile whose role couldn't be read it may still be so.
    match (instance.profile.is_some(), identity) {
        (true, None | Some(Err(_))) => Usability::Unknown,
        _ => Usability::Usable,
    }
}

fn unmanaged(instance: &Instance, facts: &Facts, policy: &Policy, now: Timestamp) -> Finding {
    let known = Known::of(instance, facts, policy);
    let diagnosis = diagnose(&known, now);
    let state = match instance.tag(&UNMANAGED.tag()) {
        // Half a diagnosis is no news: what was told stays until all could be read again.
        Some(told) if diagnosis.incomplete => told.to_owned(),
        _ => diagnosis.state(),
    };
    let text = match diagnosis.primary() {
        Some(primary) => {
            let others: Vec<&str> = diagnosis
                .causes
                .iter()
                .skip(1)
                .map(|cause| cause.problem.as_str())
                .collect();
            let sure = match primary.certainty {
                crate::diagnosis::Certainty::Definite => "",
                crate::diagnosis::Certainty::Likely => "probably ",
                crate::diagnosis::Certainty::CannotTell => "perhaps ",
            };
            let also = if others.is_empty() {
                String::new()
            } else {
                format!(" Also: {}.", others.join("; "))
            };
            format!(
                "{}: {sure}because {}. Fix: {}{also}",
                instance.label(),
                primary.problem,
                primary.fix
            )
        }
        None => format!("{}: no cause was found", instance.label()),
    };
    Finding {
        resource: instance.id.clone(),
        kind: &UNMANAGED,
        state,
        text,
    }
}

/// Groups whose members get the profile only after their start. Only a sweep reads them: the events
/// of members that start together would each tell, before any sees what another remembers.
fn groups(
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
    findings: &mut Vec<Finding>,
    told: &mut Vec<Told>,
) {
    if !facts.complete {
        return;
    }
    let concerned: BTreeSet<&str> = facts
        .instances
        .values()
        .filter(|instance| {
            instance.mark().is_some() || standing(instance, facts, policy, now) == Standing::Lacking
        })
        .filter_map(Instance::group)
        .collect();
    for (name, group) in &facts.groups {
        let resource = format!("{AUTO_SCALING_GROUP}{name}");
        let Ok(has_profile) = group.has_profile else {
            continue;
        };
        if let Some(state) = &group.told {
            told.push(Told {
                resource: resource.clone(),
                kind: &NO_PROFILE_IN_TEMPLATE,
                state: state.clone(),
                gone: false,
            });
        }
        if !has_profile && (concerned.contains(name.as_str()) || group.told.is_some()) {
            findings.push(Finding {
                resource,
                kind: &NO_PROFILE_IN_TEMPLATE,
                // Not the template's version: each new one would be told again.
                state: "launches without instance profile".to_owned(),
                text: format!(
                    "{name}: its {} names no instance profile, so each new member is attached one after its start",
                    group.source
                ),
            });
        }
    }
}

/// The full diagnosis of the instance that was asked for.
fn detail(facts: &Facts, policy: &Policy, now: Timestamp) -> Value {
    let Some(asked) = facts.asked.as_ref().filter(|_| facts.diagnose) else {
        return Value::Null;
    };
    let Some(instance) = facts.instances.get(asked) else {
        return json!({
            "instance": asked,
            "problem": "there is no such instance in this account and Region (any more)",
        });
    };
    let known = Known::of(instance, facts, policy);
    let diagnosis = diagnose(&known, now);
    let standing = match standing(instance, facts, policy, now) {
        Standing::Terminal => "terminating",
        Standing::Quarantined => "quarantined",
        Standing::Excluded(_) => "excluded",
        Standing::Operated(_) => "operated by a service",
        Standing::Online => "online",
        Standing::Lacking | Standing::NotYet => "without profile",
        Standing::Stopped => "not running",
        Standing::Waiting(_) => "waiting",
        Standing::Late(_) => "late",
    };
    json!({
        "instance": instance.id,
        "standing": standing,
        "profile": instance.profile,
        "ping-status": known.node.map(|node| node.ping.clone()),
        "last-ping": known.node.and_then(|node| node.last_ping),
        "agent": known.node.and_then(|node| node.agent.clone()),
        "expected-online-by": known.until,
        "primary": diagnosis.primary(),
        "causes": diagnosis.causes,
        "complete": !diagnosis.incomplete,
    })
}

#[cfg(test)]
mod tests;
