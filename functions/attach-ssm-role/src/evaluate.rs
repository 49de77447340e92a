//! Judges each instance and group once: decisions, conditions, numbers and the diagnosis that a
//! person asks for all come from here. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use guardrails::aws::ApiError;
use guardrails::policy::{Age, Exempt};
use guardrails::resource::name_of;
use guardrails::state::Stored;
use jiff::Timestamp;

use crate::diagnosis::cause::{Cause, Certainty, Known};
use crate::diagnosis::{Diagnosis, diagnose, identity, network, not_connected, passing};
use crate::facts::identity::{Identity, Permissions, REGISTER, Role};
use crate::facts::network::{Network, Service};
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
    /// The policy's.
    pub(crate) exclude: &'a Exempt,
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
    /// Whether AWS says that a session can be opened; none: not asked, or no answer.
    pub(crate) connected: Option<bool>,
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
        exclude: &policy.exclude,
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
    let known = known(instance, facts, policy);
    let connected = known.connection.and_then(|read| read.as_ref().ok());
    let mut judged = Judged {
        instance,
        standing: standing(instance, facts, policy, now),
        node: known.node,
        memory: facts.memory.get(&instance.id),
        connected: connected.copied(),
        until: known.until,
        quarantine_unread: facts.quarantined.as_ref().err(),
        repair: None,
        diagnosis: None,
        unmanaged: Judgement::Not,
        unusable: Judgement::Not,
    };
    let settled = SETTLE.after(settled_since(instance, facts)) <= now;
    let waits = matches!(judged.standing, Standing::Waiting(_));
    let late = matches!(judged.standing, Standing::Late(_));
    let online = judged.standing == Standing::Online;
    // Default Host Management carries who may not register, so that nothing is lacking before it is
    // late; and what AWS proves outweighs what was simulated.
    let proven = |missing: &[String]| {
        if missing.iter().any(|action| action == REGISTER) {
            late || waits && facts.dhmc == Ok(None)
        } else {
            !online || connected == Some(&false)
        }
    };
    let refuted = connected == Some(&true);
    let lacks =
        role_lacks(known.identity).filter(|(_, missing)| settled && !refuted && proven(missing));
    if facts.diagnose || late || waits && lacks.is_some() {
        judged.diagnosis = Some(diagnose(&known, now));
    }
    let is_looked_after = late || waits || online;
    if policy.repair_roles && is_looked_after && facts.quarantined.is_ok() {
        // An explicit deny or a boundary isn't cured by one more allow: where the policy that would
        // be attached is there already, or may be, there is nothing to repair.
        let lacks = lacks.filter(|(role, _)| role.has_core == Ok(false));
        judged.repair = lacks.map(|(role, missing)| Repair {
            role: &role.name,
            missing,
        });
    }
    judged.unmanaged = unmanaged(&judged, &known, facts, lacks.is_some());
    judged.unusable = unusable(&judged, &known, settled, now);
    judged
}

fn known<'a>(instance: &'a Instance, facts: &'a Facts, policy: &Policy) -> Known<'a> {
    /// What is left of a profile under whose name there is another one by now.
    static GONE: Read<Identity> = Ok(Identity::NoProfile);
    let since = since(instance, facts);
    let identity = match &instance.profile {
        Some(_) if facts.remade.contains(&instance.id) => Some(&GONE),
        profile => profile.as_ref().and_then(|arn| facts.identities.get(arn)),
    };
    let network = facts.network.as_ref();
    let name = &instance.interface.vpc;
    let vpc = network.and_then(|read| read.as_ref().ok()?.vpcs.get(name));
    let address_of = |nodes: &'a HashMap<String, String>| {
        let mut addresses = instance.interface.addresses.iter();
        let node = addresses.find_map(|address| nodes.get(&address.to_string()));
        node.map(String::as_str)
    };
    Known {
        instance,
        node: facts.nodes.get(&instance.id),
        connection: facts.connections.get(&instance.id),
        sessions: facts.sessions.as_ref(),
        hybrid: facts.hybrid.as_ref().map(address_of),
        since,
        until: policy.online_within.after(since),
        identity,
        dhmc: &facts.dhmc,
        evidence: facts.evidence.get(&instance.id),
        network,
        by_hub: policy.is_hub(name, vpc.map_or(&[], |vpc| &vpc.tags)),
    }
}

/// Why AWS is to be asked whether a session can be opened with a node that is Online.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// It looks as though none can, or it got its profile here and none was possible yet.
    Suspected,
    /// Whether one can isn't seen from outside: AWS's yes ends what was told of it.
    InDoubt,
}

/// Whether AWS is to be asked, and why.
pub(crate) fn in_question(instance: &Instance, facts: &Facts, policy: &Policy) -> Option<Question> {
    if never_connected(facts.memory.get(&instance.id)) {
        return Some(Question::Suspected);
    }
    match look(&known(instance, facts, policy)) {
        Look::Closed(_) => Some(Question::Suspected),
        Look::Unclear(_) => Some(Question::InDoubt),
        Look::Open => None,
    }
}

/// Whether it got its profile here, and no session was possible since.
fn never_connected(memory: Option<&Stored<Managed>>) -> bool {
    memory.is_some_and(|memory| !memory.value.connected)
}

/// How the way of a session with a node that is Online looks from outside.
enum Look {
    Open,
    /// This seems to close it.
    Closed(Cause),
    /// It can't be told, and why.
    Unclear(String),
}

fn look(known: &Known<'_>) -> Look {
    let uneven = uneven_network(known);
    let network = uneven.map(|all| network::to_service(Service::Messages, known.instance, all));
    let causes = identity::without_channels(known).into_iter();
    let causes = causes.chain(network.into_iter().flatten());
    let (in_doubt, suspicions): (Vec<Cause>, Vec<Cause>) =
        causes.partition(|cause| cause.certainty == Certainty::CannotTell);
    if let Some(first) = suspicions.into_iter().next() {
        return Look::Closed(first);
    }
    let dns = || {
        let vpc = uneven?.vpcs.get(&known.instance.interface.vpc)?;
        // Only its owner may read a shared VPC's.
        vpc.dns.as_ref().err().filter(|_| vpc.shared_by.is_none())
    };
    let profile = known.instance.profile.as_ref();
    let identity = profile.and(known.identity.and_then(|read| read.as_ref().err()));
    let network = known.network.and_then(|read| read.as_ref().err());
    if let Some(error) = identity.or(network).or_else(dns) {
        Look::Unclear(unread_part(error))
    } else if profile.is_some() && known.identity.is_none() {
        Look::Unclear("its role wasn't read".to_owned())
    } else if in_doubt.is_empty() {
        Look::Open
    } else {
        Look::Unclear("whether its role and network let it be used can't be told".to_owned())
    }
}

fn unread_part(error: &ApiError) -> String {
    format!("part of it couldn't be read: {error}")
}

/// Its network, where the way of its messages isn't that of its heartbeats.
fn uneven_network<'a>(known: &Known<'a>) -> Option<&'a Network> {
    let vpc = &known.instance.interface.vpc;
    known
        .seen_network()
        .filter(|network| network::uneven(&network.endpoints).contains(vpc))
}

/// The role, and what it lacks, where that alone keeps an instance from being a node that can be
/// used.
fn role_lacks(identity: Option<&Read<Identity>>) -> Option<(&Role, &[String])> {
    let role = identity?.as_ref().ok()?.role()?;
    match &role.permissions {
        Permissions::Simulated { missing, .. } if !missing.is_empty() => Some((role, missing)),
        _ => None,
    }
}

/// Whether it has a profile and should be Online.
fn unmanaged(judged: &Judged<'_>, known: &Known<'_>, facts: &Facts, lacks: bool) -> Judgement {
    match &judged.standing {
        Standing::Online | Standing::Excluded(_) | Standing::Operated(_) => return Judgement::Not,
        // A role that allows too little doesn't get better by waiting.
        Standing::Waiting(_) if lacks => {}
        // It can be reached, or is managed as another node.
        Standing::Late(_) if judged.connected == Some(true) || known.hybrid_node().is_some() => {
            return Judgement::Not;
        }
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
        Standing::Lacking | Standing::Unknown | Standing::NotYet(_) => {
            "it has no profile".to_owned()
        }
        Standing::Quarantined => "it is in quarantine".to_owned(),
        Standing::Stopped => "it isn't running".to_owned(),
        Standing::Terminal => "it is being terminated".to_owned(),
        _ => "it wasn't looked at".to_owned(),
    }
}

/// Whether it is Online and can't be used. Only AWS's own word that no session can be opened counts.
fn unusable(judged: &Judged<'_>, known: &Known<'_>, settled: bool, now: Timestamp) -> Judgement {
    match &judged.standing {
        Standing::Online => {}
        Standing::Late(_) | Standing::Excluded(_) | Standing::Operated(_) => return Judgement::Not,
        standing => return Judgement::Unknown(undecided(standing)),
    }
    if let Some(error) = judged.quarantine_unread {
        return Judgement::Unknown(in_quarantine_perhaps(error));
    }
    let look = look(known);
    let (memory, never) = (judged.memory, never_connected(judged.memory));
    let not_yet = || "whether a session can be opened isn't known yet".to_owned();
    match known.connection {
        Some(Ok(true)) => return Judgement::Not,
        Some(Ok(false)) => {}
        Some(Err(error)) => {
            return Judgement::Unknown(format!(
                "whether a session can be opened couldn't be asked: {error}"
            ));
        }
        None => {
            return match look {
                Look::Open if !never => Judgement::Not,
                Look::Unclear(why) if !never => Judgement::Unknown(why),
                _ => Judgement::Unknown(not_yet()),
            };
        }
    }
    // Scripts make a role and its policies one after the other; and a node's channel comes up shortly
    // after its first heartbeat.
    let first_seen = |memory: &Stored<Managed>| memory.value.online.unwrap_or(now);
    let is_new = memory.is_some_and(|memory| now < SETTLE.after(first_seen(memory)));
    if !settled || is_new && !matches!(look, Look::Closed(_)) {
        return Judgement::Unknown(not_yet());
    }
    // By half of what is to be read another cause would be told, and at the next sweep the first again.
    if let Some(error) = passing(known) {
        return Judgement::Unknown(unread_part(error));
    }
    let cause = match look {
        Look::Closed(cause) => cause,
        // An agent that is just being restarted has no channel either.
        Look::Unclear(why) if !never => return Judgement::Unknown(why),
        _ => not_connected(&known.instance.id),
    };
    let probably = match cause.certainty {
        Certainty::Definite => "",
        _ => "probably ",
    };
    Judgement::Stands {
        fingerprint: cause.fingerprint(),
        why: format!(
            "it shows Online, but AWS says that no session can be opened with it, {probably}because {}. Fix: {}",
            cause.problem, cause.fix
        ),
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
    let hosts = "whether Default Host Management carries the instances";
    add(facts.dhmc.as_ref().err(), hosts, repairs);
    let hybrid = "whether nodes of hybrid activations have the address of a late instance";
    add(facts.hybrid.as_ref().err(), hybrid, false);
    let mut connections = facts.connections.values();
    let refused = connections.find_map(|read| read.as_ref().err());
    add(refused, "whether sessions can be opened", false);
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
        let what = format!("the role of instance profile {}", name_of(profile));
        let policies = |role: &'a Role| role.has_core.as_ref().err();
        let error = match identity {
            Ok(identity) => identity.role().and_then(policies),
            Err(error) => Some(error),
        };
        add(error, &what, repairs);
    }
    unread
}
