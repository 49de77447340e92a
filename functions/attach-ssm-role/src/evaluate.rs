//! Judges each instance and group once: decisions, conditions, numbers and the diagnosis that a
//! person asks for all come from here. Pure.

use std::collections::{BTreeMap, BTreeSet};

use guardrails::aws::ApiError;
use guardrails::policy::Age;
use guardrails::resource::name_of;
use guardrails::state::Stored;
use jiff::Timestamp;

use crate::diagnosis::cause::Known;
use crate::diagnosis::{Diagnosis, diagnose, identity, network};
use crate::facts::identity::{Identity, Permissions, Role};
use crate::facts::{Facts, Group, Instance, Node, Read};
use crate::memory::Managed;
use crate::policy::Policy;
use crate::standing::{Member, Standing, member, settled_since, since, standing};

/// How long a profile may be without its role or policies before that is told: scripts create
/// them one after the other, and IAM takes seconds to make them known everywhere.
const SETTLE: Age = Age::from_mins(5);

/// What the facts come to.
#[derive(Debug)]
pub struct Evaluation<'a> {
    pub(crate) now: Timestamp,
    pub(crate) complete: bool,
    pub(crate) diagnose: bool,
    pub(crate) profile: &'a str,
    pub(crate) instances: Vec<Judged<'a>>,
    /// None: not looked at, or not readable.
    pub(crate) groups: Option<Vec<JudgedGroup<'a>>>,
    pub(crate) unread: Vec<Unread<'a>>,
}

/// An instance, judged.
#[derive(Debug)]
pub(crate) struct Judged<'a> {
    pub(crate) instance: &'a Instance,
    pub(crate) standing: Standing,
    pub(crate) node: Option<&'a Node>,
    pub(crate) memory: Option<&'a Stored<Managed>>,
    /// Until when it may come Online by itself.
    pub(crate) until: Timestamp,
    /// Why it isn't known whether it is in quarantine.
    pub(crate) quarantine_unread: Option<&'a ApiError>,
    pub(crate) repair: Option<Repair<'a>>,
    /// Where one matters, or was asked for.
    pub(crate) diagnosis: Option<Diagnosis>,
    pub(crate) unmanaged: Judgement,
    pub(crate) unusable: Judgement,
}

/// A role that is to be repaired.
#[derive(Debug)]
pub(crate) struct Repair<'a> {
    pub(crate) role: &'a str,
    pub(crate) missing: &'a [String],
}

/// Whether something stands against the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    Stands {
        fingerprint: String,
        why: String,
    },
    Not,
    /// It can't be told, and why.
    Unknown(String),
}

/// An Auto Scaling group, judged.
#[derive(Debug)]
pub(crate) struct JudgedGroup<'a> {
    pub(crate) name: &'a str,
    pub(crate) group: &'a Group,
    /// Whether its new members come without a profile.
    pub(crate) without_profile: Judgement,
}

/// A call that failed, and what rests on it.
#[derive(Debug)]
pub(crate) struct Unread<'a> {
    pub(crate) error: &'a ApiError,
    pub(crate) what: String,
    /// Whether something that the policy asks for isn't done for it.
    pub(crate) decides: bool,
}

/// Judges all.
pub(crate) fn evaluate<'a>(facts: &'a Facts, policy: &'a Policy, now: Timestamp) -> Evaluation<'a> {
    let one = |instance| judge(instance, facts, policy, now);
    let instances: Vec<Judged<'a>> = facts.instances.values().map(one).collect();
    let groups = match &facts.groups {
        Some(Ok(found)) => Some(groups(found, &instances, &facts.profile)),
        _ => None,
    };
    Evaluation {
        now,
        complete: facts.complete,
        diagnose: facts.diagnose,
        profile: &facts.profile,
        unread: unread(facts, policy, &instances),
        instances,
        groups,
    }
}

fn judge<'a>(
    instance: &'a Instance,
    facts: &'a Facts,
    policy: &Policy,
    now: Timestamp,
) -> Judged<'a> {
    let since = since(instance, facts);
    let profile = instance.profile.as_ref();
    let mut judged = Judged {
        instance,
        standing: standing(instance, facts, policy, now),
        node: facts.nodes.get(&instance.id),
        memory: facts.memory.get(&instance.id),
        until: policy.online_within.after(since),
        quarantine_unread: facts.quarantined.as_ref().err(),
        repair: None,
        diagnosis: None,
        unmanaged: Judgement::Not,
        unusable: Judgement::Not,
    };
    let known = Known {
        instance,
        node: judged.node,
        since,
        until: judged.until,
        identity: profile.and_then(|profile| facts.identities.get(profile)),
        dhmc: facts.dhmc.as_ref(),
        evidence: facts.evidence.get(&instance.id),
        network: facts.network.as_ref(),
    };
    let settled = SETTLE.after(settled_since(instance, facts)) <= now;
    let lacks = role_lacks(known.identity).filter(|_| settled);
    let waits = matches!(judged.standing, Standing::Waiting(_));
    let late = matches!(judged.standing, Standing::Late(_));
    if facts.diagnose || late || waits && lacks.is_some() {
        judged.diagnosis = Some(diagnose(&known, now));
    }
    let is_looked_after = late || waits || judged.standing == Standing::Online;
    if policy.repair_roles && is_looked_after && facts.quarantined.is_ok() {
        // An explicit deny or a boundary isn't cured by one more allow: where the policy that would
        // be attached is there already, there is nothing to repair.
        judged.repair = lacks
            .filter(|(role, _)| !role.has_core)
            .map(|(role, missing)| Repair {
                role: &role.name,
                missing,
            });
    }
    judged.unmanaged = unmanaged(&judged, facts, lacks.is_some());
    judged.unusable = unusable(&judged, &known, lacks.is_some());
    judged
}

/// The role, and what it lacks, where that alone keeps an instance from being a node that can be
/// used.
fn role_lacks(identity: Option<&Read<Identity>>) -> Option<(&Role, &[String])> {
    let role = identity?.as_ref().ok()?.role()?;
    match &role.permissions {
        Permissions::Simulated { missing } if !missing.is_empty() => Some((role, missing)),
        _ => None,
    }
}

/// Whether it has a profile and should be Online.
fn unmanaged(judged: &Judged<'_>, facts: &Facts, lacks: bool) -> Judgement {
    match &judged.standing {
        Standing::Online | Standing::Excluded(_) | Standing::Operated(_) => return Judgement::Not,
        // A role that allows too little doesn't get better by waiting.
        Standing::Waiting(_) if lacks => {}
        Standing::Late(until) => {
            // Without the time of its profile an instance only counts as late earlier.
            if let (Err(error), None) = (&facts.associated, judged.memory) {
                return Judgement::Unknown(format!(
                    "it isn't Online since before {until:.0}, but when it got its profile couldn't be read: {error}"
                ));
            }
        }
        standing => return Judgement::Unknown(undecided(standing)),
    }
    if let Some(error) = judged.quarantine_unread {
        return Judgement::Unknown(in_quarantine_perhaps(error));
    }
    match &judged.diagnosis {
        Some(diagnosis) if !diagnosis.passing => Judgement::Stands {
            fingerprint: diagnosis.fingerprint(),
            why: diagnosis.why(),
        },
        // Half a diagnosis is no news while the other half may yet be read.
        Some(diagnosis) => Judgement::Unknown(diagnosis.why()),
        None => Judgement::Unknown(undecided(&judged.standing)),
    }
}

fn in_quarantine_perhaps(error: &ApiError) -> String {
    format!("whether it is in quarantine couldn't be read: {error}")
}

/// Why nothing is known anew: what was told stands until the instance is Online or late again.
pub(crate) fn undecided(standing: &Standing) -> String {
    match standing {
        Standing::Waiting(until) => format!("it may still come Online until {until:.0}"),
        Standing::Lacking | Standing::Unknown | Standing::NotYet => "it has no profile".to_owned(),
        Standing::Quarantined => "it is in quarantine".to_owned(),
        Standing::Stopped => "it isn't running".to_owned(),
        Standing::Terminal => "it is being terminated".to_owned(),
        _ => "it wasn't looked at".to_owned(),
    }
}

/// Whether it is Online and can't be used.
fn unusable(judged: &Judged<'_>, known: &Known<'_>, role_lacks: bool) -> Judgement {
    match &judged.standing {
        Standing::Online => {}
        Standing::Late(_) | Standing::Excluded(_) | Standing::Operated(_) => return Judgement::Not,
        standing => return Judgement::Unknown(undecided(standing)),
    }
    if let Some(error) = judged.quarantine_unread {
        return Judgement::Unknown(in_quarantine_perhaps(error));
    }
    if role_lacks && let Some((role, channels)) = identity::unusable(known.identity) {
        let why = format!(
            "it shows Online, but its role {} doesn't allow {}",
            role.name,
            channels.join(", ")
        );
        return Judgement::Stands {
            fingerprint: format!("{} {}", role.name, channels.join(" ")),
            why,
        };
    }
    let network = match known.network {
        Some(Err(error)) => {
            return Judgement::Unknown(format!("its VPC couldn't be read: {error}"));
        }
        Some(Ok(network)) => Some(network),
        None => None,
    };
    if let Some(cause) = network.and_then(|network| network::cut_off(known.instance, network)) {
        return Judgement::Stands {
            fingerprint: cause.fingerprint(),
            why: format!(
                "it shows Online, but can't be reached, because {}. Fix: {}",
                cause.problem, cause.fix
            ),
        };
    }
    // By a profile whose role couldn't be read it may still be so.
    match (&known.instance.profile, known.identity) {
        (Some(_), Some(Err(error))) => {
            Judgement::Unknown(format!("its role couldn't be read: {error}"))
        }
        (Some(_), None) => Judgement::Unknown("its role wasn't read".to_owned()),
        _ => Judgement::Not,
    }
}

fn groups<'a>(
    found: &'a BTreeMap<String, Group>,
    instances: &[Judged<'_>],
    profile: &str,
) -> Vec<JudgedGroup<'a>> {
    let unconcerned: BTreeSet<&str> = instances
        .iter()
        .filter(|judged| member(judged.instance, &judged.standing, profile) == Member::Unconcerned)
        .filter_map(|judged| judged.instance.group())
        .collect();
    let judge = |(name, group): (&'a String, &'a Group)| {
        let without_profile = match &group.has_profile {
            Some(Ok(false)) => Judgement::Stands {
                // Not the template's version: each new one would be told again.
                fingerprint: "launches without instance profile".to_owned(),
                why: format!(
                    "its {} names no instance profile, so each new member starts without one",
                    group.source
                ),
            },
            Some(Ok(true)) => Judgement::Not,
            Some(Err(error)) => Judgement::Unknown(format!(
                "whether its {} names an instance profile can't be told: {error}",
                group.source
            )),
            None if unconcerned.contains(name.as_str()) => Judgement::Not,
            None => Judgement::Unknown("no member shows whether it needs a profile".to_owned()),
        };
        JudgedGroup {
            name,
            group,
            without_profile,
        }
    };
    found.iter().map(judge).collect()
}

/// What couldn't be read and concerns more than one instance or group.
fn unread<'a>(facts: &'a Facts, policy: &Policy, instances: &[Judged<'_>]) -> Vec<Unread<'a>> {
    let mut unread = Vec::new();
    let mut add = |error: Option<&'a ApiError>, what: &str, decides| {
        unread.extend(error.map(|error| Unread {
            error,
            what: what.to_owned(),
            decides,
        }));
    };
    let quarantined = facts.quarantined.as_ref().err();
    let repairs = policy.repair_roles;
    add(quarantined, "which instances are in quarantine", repairs);
    add(
        facts.associated.as_ref().err(),
        "when profiles were associated",
        false,
    );
    let groups = facts.groups.as_ref().and_then(|read| read.as_ref().err());
    add(groups, "the Auto Scaling groups", false);
    // A diagnosis says itself what it lacks.
    let network = facts.network.as_ref().and_then(|read| read.as_ref().err());
    let is_told = instances.iter().any(|judged| judged.diagnosis.is_some());
    add(
        network.filter(|_| !is_told),
        "the way of nodes to ssmmessages",
        false,
    );
    for (profile, identity) in &facts.identities {
        let name = name_of(profile);
        let what = format!("the role of instance profile {name}");
        add(identity.as_ref().err(), &what, repairs);
    }
    unread
}
