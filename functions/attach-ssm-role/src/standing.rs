//! Where an instance stands. Pure.

use guardrails::ec2::State;
use jiff::Timestamp;

use crate::facts::{Facts, Instance};
use crate::policy::Policy;

/// Where an instance stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// On its way out, or gone.
    Terminal,
    /// In quarantine: only a release may change it.
    Quarantined,
    /// Left out by the policy, for this reason.
    Excluded(String),
    /// Someone else's to change (AMI-8).
    Operated(String),
    /// A managed node, by a profile or by Default Host Management.
    Online,
    /// No profile, and in a state in which it can get one.
    Lacking,
    /// As lacking, but whether it is in quarantine couldn't be read.
    Unknown,
    /// No profile, and for this reason none to be given as yet.
    NotYet(String),
    /// Not running, with a profile: nothing to see.
    Stopped,
    /// Has a profile and may still come Online by itself until then (SSM-1).
    Waiting(Timestamp),
    /// Has a profile and should have been Online before then.
    Late(Timestamp),
}

/// Where `instance` stands.
pub(crate) fn standing(
    instance: &Instance,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> Standing {
    if instance.state == State::Terminal {
        return Standing::Terminal;
    }
    let quarantined = facts.quarantined.as_ref();
    if quarantined.is_ok_and(|ids| ids.contains(&instance.id)) {
        return Standing::Quarantined;
    }
    if let Some(why) = excluded(instance, policy) {
        return Standing::Excluded(why);
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
        (None, State::Running | State::Stopped) if quarantined.is_err() => Standing::Unknown,
        (None, State::Running | State::Stopped) => match not_yet(instance, facts, policy, now) {
            Some(why) => Standing::NotYet(why),
            None => Standing::Lacking,
        },
        (None, _) => Standing::NotYet(
            "it can get one only when it is running or stopped; its next state change or the next sweep attaches it".to_owned(),
        ),
        (Some(_), State::Running) => {
            let until = policy.online_within.after(since(instance, facts));
            if now < until {
                Standing::Waiting(until)
            } else {
                Standing::Late(until)
            }
        }
        (Some(_), _) => Standing::Stopped,
    }
}

/// Why the policy leaves it out.
fn excluded(instance: &Instance, policy: &Policy) -> Option<String> {
    let except = &policy.leave_alone;
    let named = |list: &[String], value: Option<&str>, what: &str| {
        let value = value.filter(|value| list.iter().any(|one| one == value))?;
        Some(format!("the policy leaves {what} {value} alone"))
    };
    let by_tag = policy.exclude.tag_of(|key| instance.tag(key));
    by_tag
        .map(|tag| format!("its tag {tag} excludes it"))
        .or_else(|| named(&except.images, instance.image.as_deref(), "AMI"))
        .or_else(|| named(&except.groups, instance.group(), "group"))
        .or_else(|| named(&except.vpcs, Some(&instance.interface.vpc), "VPC"))
}

/// Why it is given no profile as yet: whoever made it may be about to give it one, or Default Host
/// Management to carry it, whose role a profile would displace (SSM-4).
fn not_yet(instance: &Instance, facts: &Facts, policy: &Policy, now: Timestamp) -> Option<String> {
    let grace = policy.attach_after.map(|age| age.after(instance.launched));
    if let Some(until) = grace.filter(|until| now < *until) {
        return Some(format!(
            "the policy gives others until {until:.0} to attach one (attach-after)"
        ));
    }
    let carrier = match &facts.dhmc {
        Ok(None) => return None,
        Ok(Some(role)) => format!("Default Host Management is on (role {role})"),
        Err(error) => format!("whether Default Host Management is on couldn't be read ({error})"),
    };
    if instance.state != State::Running {
        return Some(format!("{carrier}, and may carry it once it runs"));
    }
    let until = policy.online_within.after(since(instance, facts));
    (now < until).then(|| format!("{carrier}, and may carry it by {until:.0}"))
}

/// From when on the agent could have come Online: its start, its profile, or its last ping,
/// whichever is latest.
pub(crate) fn since(instance: &Instance, facts: &Facts) -> Timestamp {
    let pinged = facts
        .nodes
        .get(&instance.id)
        .and_then(|node| node.last_ping);
    settled_since(instance, facts).max(pinged.unwrap_or(Timestamp::MIN))
}

/// From when on it has had its profile, and run.
pub(crate) fn settled_since(instance: &Instance, facts: &Facts) -> Timestamp {
    let remembered = facts.memory.get(&instance.id);
    let attached = remembered.map(|memory| memory.value.attached);
    let associated = facts.associated.as_ref().ok();
    let associated = associated.and_then(|all| all.get(&instance.id).copied());
    [attached, associated]
        .into_iter()
        .flatten()
        .fold(instance.launched, Timestamp::max)
}

/// What a member says about whether its group launches without a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Member {
    /// It lacks a profile, or has got the stack's: then what it was launched from matters.
    Concerned,
    /// It needs none from here.
    Unconcerned,
    /// Nothing, as yet.
    Silent,
}

/// What a member that stands so says.
pub(crate) fn member(instance: &Instance, standing: &Standing, profile: &str) -> Member {
    match (standing, &instance.profile) {
        (Standing::Excluded(_) | Standing::Operated(_), _) => Member::Unconcerned,
        (Standing::Terminal | Standing::Quarantined | Standing::NotYet(_), _) => Member::Silent,
        (Standing::Lacking | Standing::Unknown, _) => Member::Concerned,
        (_, Some(has)) if has == profile => Member::Concerned,
        _ => Member::Unconcerned,
    }
}

#[cfg(test)]
mod tests;
