//! Which instances get the profile, which are left alone, and which are late. Pure.

use std::collections::BTreeSet;

use guardrails::ec2::State;
use guardrails::guardrail::Decision;
use guardrails::notify::AUTO_SCALING_GROUP;
use guardrails::policy::Age;
use guardrails::tags;
use jiff::Timestamp;

use crate::diagnosis::identity::Permissions;
use crate::facts::{Facts, Instance, Mark, Node};
use crate::policy::Policy;

/// What can be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Associate the stack's instance profile.
    Attach {
        /// The instance.
        instance: String,
        /// The profile's ARN.
        profile: String,
        /// When this was decided, for the tag that later tells how long it took.
        at: Timestamp,
    },
    /// Attach `AmazonSSMManagedInstanceCore` to a role.
    Repair {
        /// The role's name.
        role: String,
        /// The policy's ARN.
        policy: String,
    },
    /// Note that the node is Online.
    Confirm {
        /// The instance.
        instance: String,
        /// When it was seen.
        at: Timestamp,
    },
}

/// Where an instance stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// On its way out, or gone.
    Terminal,
    /// In quarantine: only a release may change it.
    Quarantined,
    /// Left out by this tag.
    Excluded(String),
    /// Someone else's to change (AMI-8).
    Operated(String),
    /// A managed node, by a profile or by Default Host Management.
    Online,
    /// No profile, and in a state in which it can get one.
    Lacking,
    /// No profile, and in a state in which it can't get one (SSM-2).
    NotYet,
    /// Not running, with a profile: nothing to see.
    Stopped,
    /// Has a profile and may still come Online by itself until then (SSM-1).
    Waiting(Timestamp),
    /// Has a profile and should have been Online before then.
    Late(Timestamp),
}

/// How long a profile may be without its role or policies before that is told: scripts create
/// them one after the other, and IAM takes seconds to make them known everywhere.
const SETTLE: Age = Age::from_mins(5);

/// Where `instance` stands.
#[must_use]
pub fn standing(instance: &Instance, facts: &Facts, policy: &Policy, now: Timestamp) -> Standing {
    if instance.state == State::Terminal {
        return Standing::Terminal;
    }
    if instance.tag(tags::QUARANTINED).is_some() {
        return Standing::Quarantined;
    }
    if let Some(tag) = policy.exclude.tag_of(|key| instance.tag(key)) {
        return Standing::Excluded(tag.to_owned());
    }
    let running = instance.state == State::Running;
    let node = facts.nodes.get(&instance.id);
    if running && node.is_some_and(|node| node.online) {
        // With or without a profile: attaching one to a node that Default Host Management runs
        // would change whose permissions its commands have (SSM-4).
        return Standing::Online;
    }
    if let Some(operator) = &instance.operator {
        return Standing::Operated(operator.clone());
    }
    match (&instance.profile, instance.state) {
        (None, State::Running | State::Stopped) => Standing::Lacking,
        (None, _) => Standing::NotYet,
        (Some(_), State::Running) => {
            let until = policy.online_within.after(since(instance, facts, node));
            if now < until {
                Standing::Waiting(until)
            } else {
                Standing::Late(until)
            }
        }
        (Some(_), _) => Standing::Stopped,
    }
}

/// From when on the agent could have come Online: its start, its profile, or its last ping,
/// whichever is latest.
#[must_use]
pub fn since(instance: &Instance, facts: &Facts, node: Option<&Node>) -> Timestamp {
    let attached = match instance.mark() {
        Some(Mark::Attached(at)) => Some(at),
        _ => None,
    };
    let associated = facts.associated.get(&instance.id).copied();
    let pinged = node.and_then(|node| node.last_ping);
    [attached, associated, pinged]
        .into_iter()
        .flatten()
        .fold(instance.launched, Timestamp::max)
}

/// What a role lacks, where that alone keeps `instance` from being a node that can be used, as a
/// reason to repair it or to tell without waiting longer.
#[must_use]
pub fn role_lacks<'a>(
    instance: &Instance,
    facts: &'a Facts,
    now: Timestamp,
) -> Option<(&'a str, &'a [String])> {
    let Ok(identity) = facts.identities.get(instance.profile.as_ref()?)? else {
        return None;
    };
    let role = identity.role()?;
    let Permissions::Simulated { missing } = &role.permissions else {
        return None;
    };
    let settled = SETTLE.after(since(instance, facts, None)) <= now;
    (settled && !missing.is_empty()).then_some((role.name.as_str(), missing.as_slice()))
}

/// What is to be done.
#[must_use]
pub fn decide(facts: &Facts, policy: &Policy, now: Timestamp) -> Vec<Decision<Action>> {
    let mut repaired = BTreeSet::new();
    let of_instances = facts.instances.values().flat_map(|instance| {
        let standing = standing(instance, facts, policy, now);
        let repair = repair(instance, &standing, facts, policy, now)
            .filter(|decision| repaired.insert(decision.resource.clone()));
        repair
            .into_iter()
            .chain(decide_one(instance, &standing, facts, now))
    });
    of_instances.chain(unread(facts)).collect()
}

/// What couldn't be read, so that a missing permission doesn't go unseen.
fn unread(facts: &Facts) -> impl Iterator<Item = Decision<Action>> {
    let report = |resource: String, reason: String| Decision {
        resource,
        action: "report",
        reason,
        step: None,
    };
    let calls = facts.unread.iter().map(move |error| {
        let reason = format!("what rests on it isn't told in this run: {error}");
        report(error.operation.to_owned(), reason)
    });
    let groups = facts.groups.iter().filter_map(move |(name, group)| {
        let error = group.has_profile.as_ref().err()?;
        let reason = format!(
            "whether its {} names an instance profile can't be told: {error}",
            group.source
        );
        Some(report(format!("{AUTO_SCALING_GROUP}{name}"), reason))
    });
    calls.chain(groups)
}

fn decide_one(
    instance: &Instance,
    standing: &Standing,
    facts: &Facts,
    now: Timestamp,
) -> Option<Decision<Action>> {
    let leave = |reason: String| Decision {
        resource: instance.id.clone(),
        action: "leave-alone",
        reason,
        step: None,
    };
    let wait = |reason: String| Decision {
        action: "wait",
        ..leave(reason)
    };
    Some(match standing {
        Standing::Lacking => Decision {
            resource: instance.id.clone(),
            action: "attach-profile",
            reason: format!("{} has no instance profile", instance.label()),
            step: Some(Action::Attach {
                instance: instance.id.clone(),
                profile: facts.profile.clone(),
                at: now,
            }),
        },
        Standing::Online => match instance.mark() {
            Some(Mark::Attached(_)) => Decision {
                resource: instance.id.clone(),
                action: "confirm-online",
                reason: "it is a managed node now".to_owned(),
                step: Some(Action::Confirm {
                    instance: instance.id.clone(),
                    at: now,
                }),
            },
            // Of thousands of healthy nodes nothing is to be said, of the one asked for it is.
            _ if facts.complete => return None,
            _ if instance.profile.is_none() => leave(
                "it is a managed node through Default Host Management; a profile would change whose permissions its commands have".to_owned(),
            ),
            _ => leave("it is a managed node".to_owned()),
        },
        Standing::NotYet => wait(
            "it has no profile and can get one only when it is running or stopped; its next state change or the next sweep attaches it".to_owned(),
        ),
        Standing::Waiting(until) => wait(format!(
            "it has a profile and may take until {until:.0} to come Online: an agent that found no credentials sleeps for half an hour"
        )),
        Standing::Late(until) => Decision {
            action: "report",
            ..leave(format!("it has a profile and isn't Online since before {until:.0}"))
        },
        Standing::Quarantined => leave("it is in quarantine".to_owned()),
        Standing::Operated(operator) => {
            leave(format!("{operator} manages it, and only {operator} may change it"))
        }
        Standing::Excluded(_) | Standing::Stopped | Standing::Terminal if facts.complete => {
            return None;
        }
        Standing::Excluded(tag) => leave(format!("its tag {tag} excludes it")),
        Standing::Stopped => leave("it has a profile and isn't running".to_owned()),
        Standing::Terminal => leave("it is being terminated".to_owned()),
    })
}

/// The repair of a role that lacks something, once per role, where the policy asks for it.
fn repair(
    instance: &Instance,
    standing: &Standing,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> Option<Decision<Action>> {
    let looked_after = matches!(
        standing,
        Standing::Online | Standing::Waiting(_) | Standing::Late(_)
    );
    if !policy.repair_roles || !looked_after {
        return None;
    }
    let (role, missing) = role_lacks(instance, facts, now)?;
    // An explicit deny or a boundary isn't cured by one more allow, so repeat nothing: the policy
    // that would be attached is there already.
    let identity = facts.identities.get(instance.profile.as_ref()?)?.as_ref();
    if identity.ok()?.role()?.has_core {
        return None;
    }
    Some(Decision {
        resource: role.to_owned(),
        action: "repair-role",
        reason: format!(
            "the role of {} doesn't allow {}",
            instance.label(),
            missing.join(", ")
        ),
        step: Some(Action::Repair {
            role: role.to_owned(),
            policy: core_policy(&facts.profile),
        }),
    })
}

/// AWS's managed policy for managed nodes, in the partition of `arn`.
#[must_use]
pub fn core_policy(arn: &str) -> String {
    let partition = arn.split(':').nth(1).unwrap_or("aws");
    format!("arn:{partition}:iam::aws:policy/AmazonSSMManagedInstanceCore")
}

#[cfg(test)]
pub(crate) mod tests;
