//! What is to be done about each instance, and about sources that launch in a loop. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use guardrails::ec2::State;
use guardrails::guardrail::Decision;
use guardrails::policy::Age;
use guardrails::tags;
use jiff::{SignedDuration, Timestamp};

use crate::approval::{Verdict, verdict};
use crate::facts::{Asked, Facts, Group, Instance, Isolation, Stage};
use crate::launcher::Launcher;
use crate::launches::{Looping, Source, is_broken, loops};
use crate::policy::{Policy, Steps};

/// How long after the isolation a look may still show the groups from before it.
const SETTLE: Age = Age::from_mins(2);
/// How long a person's release may take before a sweep finishes it.
const RELEASE_TAKES: Age = Age::from_mins(5);
/// How long a run may take to carry a quarantine out, before another takes it up: long enough that
/// of several events for one launch only the first acts and tells.
const UNDER_WAY: SignedDuration = SignedDuration::from_secs(20);
/// How long after the launch CloudTrail is asked who it was; its records come within 15 minutes.
const LOOK_FOR_LAUNCHER: Age = Age::from_hours(2);
/// Launchers looked up per sweep: CloudTrail takes two lookups a second from the whole account.
const LAUNCHERS_PER_SWEEP: usize = 5;

/// What can be carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Isolate an instance, keep its state, take it out of service.
    Quarantine(Box<Quarantine>),
    /// Keep a group from launching again.
    BreakLoop(Box<BreakLoop>),
    /// Find out who launched an instance in quarantine.
    NameLauncher(Box<NameLauncher>),
    /// Put everything back.
    Release(Box<Release>),
    /// Let a group launch again.
    RestoreGroup {
        /// The group's name.
        group: String,
        /// When this was decided.
        at: Timestamp,
    },
}

impl Action {
    /// The instance that it changes.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        match self {
            Self::Quarantine(quarantine) => Some(&quarantine.instance.id),
            Self::NameLauncher(name) => Some(&name.instance),
            Self::Release(release) => Some(&release.instance.id),
            Self::BreakLoop(_) | Self::RestoreGroup { .. } => None,
        }
    }
}

/// Why an instance is quarantined now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// Its AMI isn't approved.
    Launch,
    /// A person wants it.
    ByHand,
    /// A run ended before all was done.
    Unfinished,
    /// Somebody changed its groups by hand.
    Drift,
}

/// A quarantine to carry out.
#[derive(Debug, Clone, PartialEq)]
pub struct Quarantine {
    /// The instance as it was looked at.
    pub instance: Instance,
    /// Why.
    pub occasion: Occasion,
    /// The rule that refused it, or the person's reason.
    pub reason: String,
    /// Its AMI's id and name.
    pub image: String,
    /// Since when: the same for every run that carries it on.
    pub since: Timestamp,
    /// When this was decided.
    pub at: Timestamp,
    /// What it does besides isolating.
    pub steps: Steps,
    /// The isolation groups that exist, by VPC.
    pub isolation: BTreeMap<String, Isolation>,
    /// Its Auto Scaling group, as far as it is known.
    pub group: Option<Group>,
    /// Who launched it, where the event told.
    pub launcher: Option<Launcher>,
    /// What came of it, for the notice.
    pub held: OnceLock<Held>,
}

/// What a quarantine did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// What was done, in order.
    pub done: Vec<String>,
    /// What couldn't be done, and why.
    pub not_done: Vec<String>,
    /// Interfaces that AWS refused to change.
    pub refused: Vec<String>,
    /// Who launched it: what the tag remembers, and what a person reads.
    pub launcher: Option<(String, String)>,
}

/// A loop to break.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakLoop {
    /// The group as it was looked at.
    pub group: Group,
    /// When this was decided.
    pub at: Timestamp,
}

/// A launcher to look up.
#[derive(Debug, Clone, PartialEq)]
pub struct NameLauncher {
    /// The instance.
    pub instance: String,
    /// Its group, whose last change tells who is behind the launch.
    pub group: Option<Group>,
    /// What was found.
    pub found: OnceLock<Option<(String, String)>>,
}

/// A release to carry out.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// The instance as it was looked at.
    pub instance: Instance,
    /// Other instances of its group that are in quarantine still: while there are any, the group's
    /// processes stay suspended.
    pub others: Vec<String>,
    /// When this was decided.
    pub at: Timestamp,
}

/// What is to be done.
#[must_use]
pub fn decide(facts: &Facts, policy: &Policy, now: Timestamp) -> Vec<Decision<Action>> {
    match &facts.asked {
        Asked::Reconcile => reconcile(facts, policy, now),
        Asked::CheckInstance(id) => match facts.instances.get(id) {
            // Whatever a sweep would do: the answer of `check`.
            Some(_) => reconcile(facts, policy, now),
            None => vec![absent(id)],
        },
        Asked::CheckImage(_) => Vec::new(),
        Asked::Quarantine { instance, reason } => vec![match facts.instances.get(instance) {
            Some(found) => by_hand(found, reason, facts, policy, now),
            None => absent(instance),
        }],
        Asked::Release(id) => vec![match facts.instances.get(id) {
            Some(found) => release(found, facts, now),
            None => absent(id),
        }],
        Asked::ReleaseGroup(name) => vec![restore(name, facts, now)],
    }
}

fn leave(resource: &str, reason: String) -> Decision<Action> {
    Decision {
        resource: resource.to_owned(),
        action: "leave-alone",
        reason,
        step: None,
    }
}

fn report(resource: &str, reason: String) -> Decision<Action> {
    Decision {
        action: "report",
        ..leave(resource, reason)
    }
}

fn absent(id: &str) -> Decision<Action> {
    leave(
        id,
        "there is no such instance in this account and Region (any more)".to_owned(),
    )
}

fn reconcile(facts: &Facts, policy: &Policy, now: Timestamp) -> Vec<Decision<Action>> {
    // Loops first: they are the fire, the instances the smoke. Both start at once.
    let mut decisions: Vec<_> = loops(facts, policy, now)
        .iter()
        .map(|looping| break_loop(looping, facts, policy, now))
        .collect();
    if policy.approve.is_empty() && facts.complete {
        decisions.push(leave("policy", Verdict::NothingApproved.reason()));
    }
    let mut lookups = 0;
    for instance in facts.instances.values() {
        let decision = decide_one(instance, facts, policy, now);
        if let Some(Decision {
            step: Some(Action::NameLauncher(_)),
            ..
        }) = &decision
        {
            lookups += 1;
            if lookups > LAUNCHERS_PER_SWEEP {
                continue;
            }
        }
        decisions.extend(decision);
    }
    decisions
}

fn decide_one(
    instance: &Instance,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> Option<Decision<Action>> {
    if instance.state == State::Terminal {
        return (!facts.complete).then(|| leave(&instance.id, "it is being terminated".to_owned()));
    }
    if let Some((stage, since)) = instance.quarantine() {
        return held(instance, stage, since, facts, policy, now);
    }
    let verdict = verdict(instance, facts, policy);
    let reason = verdict.reason();
    match &verdict {
        Verdict::Undecided(_) => Some(Decision {
            action: "cannot-tell",
            ..report(&instance.id, reason)
        }),
        Verdict::Denied(_) | Verdict::Unapproved { .. } => {
            if let Some(operator) = &instance.operator {
                return Some(report(
                    &instance.id,
                    format!("{reason}; {operator} manages it, and only {operator} may change it"),
                ));
            }
            if policy.launched_within.after(instance.launched) <= now {
                // Counted in a sweep, told only of the one that is asked about.
                return (!facts.complete).then(|| {
                    report(
                        &instance.id,
                        format!(
                            "{reason}; it was launched {:.0}, longer ago than launched-within ({}), so it stays; the command quarantine isolates it all the same",
                            instance.launched, policy.launched_within
                        ),
                    )
                });
            }
            Some(Decision {
                resource: instance.id.clone(),
                action: "quarantine",
                reason: format!("{}: {reason}", image_label(instance, facts)),
                step: Some(quarantine(
                    instance,
                    Occasion::Launch,
                    reason,
                    now,
                    facts,
                    policy,
                    now,
                )),
            })
        }
        // Of thousands of approved instances nothing is to be said, of the one asked for it is.
        _ if facts.complete => None,
        _ => Some(leave(&instance.id, reason)),
    }
}

/// An instance that is in quarantine.
fn held(
    instance: &Instance,
    stage: Stage,
    since: Timestamp,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> Option<Decision<Action>> {
    let reason = || {
        instance
            .tag(tags::QUARANTINE_REASON)
            .unwrap_or("a quarantine was begun")
            .to_owned()
    };
    let step = |occasion| {
        let steps = quarantine(instance, occasion, reason(), since, facts, policy, now);
        Some(steps)
    };
    match stage {
        Stage::Releasing if RELEASE_TAKES.after(since) > now => {
            Some(leave(&instance.id, "its release is under way".to_owned()))
        }
        Stage::Releasing => Some(Decision {
            reason: "its release was begun and isn't finished".to_owned(),
            ..release(instance, facts, now)
        }),
        Stage::Started if now.duration_since(since) < UNDER_WAY => Some(leave(
            &instance.id,
            "another run is quarantining it right now".to_owned(),
        )),
        Stage::Started => Some(Decision {
            resource: instance.id.clone(),
            action: "quarantine",
            reason: "its quarantine was begun and isn't finished".to_owned(),
            step: step(Occasion::Unfinished),
        }),
        Stage::Partial | Stage::Complete => {
            let drifted = SETTLE.after(since) <= now && drifted(instance, facts);
            match (drifted, instance.tag(tags::QUARANTINE_DRIFT)) {
                (true, None) => Some(Decision {
                    resource: instance.id.clone(),
                    action: "isolate-again",
                    reason: "it is in quarantine, but its security groups were changed".to_owned(),
                    step: step(Occasion::Drift),
                }),
                (true, Some(at)) if settled(at, now) => Some(report(
                    &instance.id,
                    format!(
                        "it is in quarantine, but its security groups were changed again after it was isolated again {at}; they stay as they are"
                    ),
                )),
                _ => name_launcher(instance, since, facts, now).or_else(|| {
                    (!facts.complete).then(|| {
                        leave(
                            &instance.id,
                            format!("it is in quarantine since {since:.0}"),
                        )
                    })
                }),
            }
        }
    }
}

fn settled(at: &str, now: Timestamp) -> bool {
    at.parse().map_or(true, |at| SETTLE.after(at) <= now)
}

/// Whether an interface that was isolated isn't any more. One that was attached later counts too.
#[must_use]
pub fn drifted(instance: &Instance, facts: &Facts) -> bool {
    let Some(isolation) = &facts.isolation else {
        return false;
    };
    let refused: BTreeSet<&str> = instance
        .tag(tags::QUARANTINE_REFUSED)
        .into_iter()
        .flat_map(|value| value.split(' '))
        .collect();
    instance.interfaces.iter().any(|interface| {
        interface.operator.is_none()
            && !refused.contains(interface.id.as_str())
            && !interface.is_isolated(isolation)
    })
}

/// Whoever launched it isn't known yet: CloudTrail's records come minutes after the launch.
fn name_launcher(
    instance: &Instance,
    since: Timestamp,
    facts: &Facts,
    now: Timestamp,
) -> Option<Decision<Action>> {
    let known = instance.tag(tags::QUARANTINE_LAUNCHER).is_some();
    // By hand: the person knows.
    let launched = instance.tag(tags::QUARANTINE_IMAGE).is_some();
    if known || !launched || LOOK_FOR_LAUNCHER.after(since) <= now {
        return None;
    }
    Some(Decision {
        resource: instance.id.clone(),
        action: "name-launcher",
        reason: "who launched it isn't known yet".to_owned(),
        step: Some(Action::NameLauncher(Box::new(NameLauncher {
            instance: instance.id.clone(),
            group: group_of(instance, facts).cloned(),
            found: OnceLock::new(),
        }))),
    })
}

fn group_of<'a>(instance: &Instance, facts: &'a Facts) -> Option<&'a Group> {
    facts.groups.get(instance.group()?)
}

/// `ami-1 (its name)`.
pub(crate) fn image_label(instance: &Instance, facts: &Facts) -> String {
    match &instance.image {
        None => "an AMI that EC2 doesn't name".to_owned(),
        Some(id) => facts
            .images
            .get(id)
            .map_or_else(|| id.clone(), crate::facts::Image::label),
    }
}

fn quarantine(
    instance: &Instance,
    occasion: Occasion,
    reason: String,
    since: Timestamp,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> Action {
    Action::Quarantine(Box::new(Quarantine {
        instance: instance.clone(),
        occasion,
        reason,
        image: image_label(instance, facts),
        since,
        at: now,
        steps: policy.steps.clone(),
        isolation: facts.isolation.clone().unwrap_or_default(),
        group: group_of(instance, facts).cloned(),
        launcher: facts.launcher.clone(),
        held: OnceLock::new(),
    }))
}

fn by_hand(
    instance: &Instance,
    reason: &str,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> Decision<Action> {
    if instance.state == State::Terminal {
        return leave(&instance.id, "it is being terminated".to_owned());
    }
    if let Some(operator) = &instance.operator {
        return leave(
            &instance.id,
            format!("{operator} manages it, and only {operator} may change it"),
        );
    }
    let since = match instance.quarantine() {
        Some((Stage::Releasing, _)) => {
            return leave(
                &instance.id,
                "its release is under way; run release again to finish it first".to_owned(),
            );
        }
        Some((_, since)) => since,
        None => now,
    };
    Decision {
        resource: instance.id.clone(),
        action: "quarantine",
        reason: reason.to_owned(),
        step: Some(quarantine(
            instance,
            Occasion::ByHand,
            format!("by hand: {reason}"),
            since,
            facts,
            policy,
            now,
        )),
    }
}

fn release(instance: &Instance, facts: &Facts, now: Timestamp) -> Decision<Action> {
    if instance.quarantine().is_none() {
        return leave(&instance.id, "it isn't in quarantine".to_owned());
    }
    if instance.state == State::Terminal {
        return leave(
            &instance.id,
            "it is being terminated; where its group's loop was broken, release the group"
                .to_owned(),
        );
    }
    let group = |instance: &Instance| {
        let service = instance.record().service;
        service
            .map(|service| service.group().to_owned())
            .or_else(|| instance.group().map(str::to_owned))
    };
    let own = group(instance);
    let others = facts
        .instances
        .values()
        .chain(facts.siblings.values())
        .filter(|other| {
            other.id != instance.id
                && other.state != State::Terminal
                && other.quarantine().is_some()
                && own.is_some()
                && group(other) == own
        })
        .map(|other| other.id.clone())
        .collect();
    Decision {
        resource: instance.id.clone(),
        action: "release",
        reason: "a person releases it".to_owned(),
        step: Some(Action::Release(Box::new(Release {
            instance: instance.clone(),
            others,
            at: now,
        }))),
    }
}

fn restore(name: &str, facts: &Facts, now: Timestamp) -> Decision<Action> {
    match facts.groups.get(name) {
        None => leave(
            name,
            "there is no such Auto Scaling group in this account and Region".to_owned(),
        ),
        Some(group) if !group.tags.contains_key(tags::LOOP_SUSPENDED) => leave(
            name,
            "this guardrail has suspended nothing of it".to_owned(),
        ),
        Some(_) => Decision {
            resource: name.to_owned(),
            action: "restore-group",
            reason: "a person releases it".to_owned(),
            step: Some(Action::RestoreGroup {
                group: name.to_owned(),
                at: now,
            }),
        },
    }
}

fn break_loop(
    looping: &Looping,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> Decision<Action> {
    let count = looping.launches.len();
    let what = format!(
        "{} launched {count} unapproved {} within {}",
        looping.source,
        if count == 1 { "instance" } else { "instances" },
        policy.relaunch.within
    );
    let Source::Group(name) = &looping.source else {
        let resource = looping.newest.as_deref().unwrap_or("launches");
        return report(
            resource,
            format!("{what}; each further one is isolated, but only a person can stop it"),
        );
    };
    let tell = |why: String| report(name, format!("{what}; {why}"));
    match facts.groups.get(name) {
        None => tell(match &facts.groups_unread {
            Some(error) => format!("the group couldn't be read: {error}"),
            None => "the group is gone".to_owned(),
        }),
        // Suspended but not marked as broken: a run was killed in between, and isn't done.
        Some(group)
            if is_broken(group)
                && (group.tags.contains_key(tags::LOOP_BROKEN)
                    || !group.tags.contains_key(tags::LOOP_SUSPENDED)) =>
        {
            tell("its processes Launch and ReplaceUnhealthy are suspended".to_owned())
        }
        Some(Group {
            operator: Some(operator),
            ..
        }) => tell(format!(
            "{operator} manages it, and only {operator} may change it"
        )),
        Some(_) if !policy.steps.break_loop => {
            tell("steps.break-loop is off, so it goes on".to_owned())
        }
        Some(group) => Decision {
            resource: name.clone(),
            action: "break-loop",
            reason: what,
            step: Some(Action::BreakLoop(Box::new(BreakLoop {
                group: group.clone(),
                at: now,
            }))),
        },
    }
}

#[cfg(test)]
pub(crate) mod tests;
