//! Launches of unapproved AMIs counted by where they come from: is it a loop? Pure.

use std::collections::{BTreeMap, BTreeSet};

use guardrails::ec2::State;
use jiff::Timestamp;

use crate::approval::Verdict;
use crate::facts::{Facts, Group, Instance};
use crate::launcher::Launcher;
use crate::policy::Policy;
use crate::record::Record;

/// The processes that make an Auto Scaling group launch again (AMI-6).
pub(crate) const PROCESSES: [&str; 2] = ["Launch", "ReplaceUnhealthy"];

/// The tag that names the Fleet on its instances.
const FLEET: &str = "aws:ec2:fleet-id";

/// Where launches come from (AMI-7).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// An Auto Scaling group.
    Group(String),
    /// What a controller keeps up: launches come one by one, each in a Fleet or by a user of its own.
    Controller(Controller, String),
    /// A Fleet, or a Spot Fleet request.
    Fleet(String),
    /// A user or role that calls `RunInstances`.
    Principal(String),
    /// A Spot request.
    Spot(String),
}

/// What launches again what goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Karpenter's, which makes a Fleet for each node.
    NodePool,
    /// An EMR cluster.
    Emr,
    /// A stack of `CloudFormation`.
    Stack,
}

impl Controller {
    const ALL: [Self; 3] = [Self::NodePool, Self::Emr, Self::Stack];

    /// The tag that names it on its instances.
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::NodePool => "karpenter.sh/nodepool",
            Self::Emr => "aws:elasticmapreduce:job-flow-id",
            Self::Stack => "aws:cloudformation:stack-name",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::NodePool => "Karpenter node pool",
            Self::Emr => "EMR cluster",
            Self::Stack => "CloudFormation stack",
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Group(name) => write!(f, "Auto Scaling group {name}"),
            Self::Controller(controller, name) => write!(f, "{} {name}", controller.word()),
            Self::Fleet(id) => write!(f, "Fleet {id}"),
            Self::Principal(arn) => f.write_str(arn),
            Self::Spot(id) => write!(f, "Spot request {id}"),
        }
    }
}

/// Where `instance` comes from, as far as it is known.
pub(crate) fn source(instance: &Instance, facts: &Facts) -> Option<Source> {
    if let Some(group) = instance.group() {
        return Some(Source::Group(group.to_owned()));
    }
    // Only AWS writes `aws:` tags. Karpenter's anybody may, so it counts beside that of a Fleet, by
    // which Karpenter launches: a loop that nobody stops keeps less evidence.
    let is_vouched = |one: Controller| one != Controller::NodePool || instance.tag(FLEET).is_some();
    for controller in Controller::ALL {
        let name = instance.tag(controller.tag());
        if let Some(name) = name.filter(|_| is_vouched(controller)) {
            return Some(Source::Controller(controller, name.to_owned()));
        }
    }
    for key in [FLEET, "aws:ec2spot:fleet-request-id"] {
        if let Some(id) = instance.tag(key) {
            return Some(Source::Fleet(id.to_owned()));
        }
    }
    if let Some(principal) = principal(instance, facts) {
        return Some(Source::Principal(principal.to_owned()));
    }
    instance.spot_request.clone().map(Source::Spot)
}

/// The user or role that launched `instance`, as far as that is recorded or the event says it.
fn principal<'a>(instance: &Instance, facts: &'a Facts) -> Option<&'a str> {
    let recorded = facts.records.get(&instance.id).and_then(launched_by);
    // The event's launcher is that of the instances it names, and not of their siblings.
    let named = facts
        .ask
        .launcher()
        .filter(|_| facts.instances.contains_key(&instance.id))
        .filter(|launcher| !launcher.is_service())
        .map(Launcher::value);
    recorded.or(named.filter(|who| is_principal(who)))
}

/// The user or role that is recorded as the launcher.
pub(crate) fn launched_by(record: &Record) -> Option<&str> {
    let who = record.launcher.as_ref()?;
    Some(who.principal.as_str()).filter(|who| is_principal(who))
}

fn is_principal(who: &str) -> bool {
    who.starts_with("arn:")
}

/// A source that launches in a loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looping {
    /// Where from.
    pub source: Source,
    /// Which instances, by launch time.
    pub launches: Vec<(Timestamp, String)>,
    /// The newest of them that is still here.
    pub newest: Option<String>,
}

/// The sources that launch in a loop, of the instances that were `seen`, each with its verdict.
pub(crate) fn loops(
    seen: &[(&Instance, &Verdict<'_>)],
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> Vec<Looping> {
    let unapproved = seen.iter().filter(|(_, verdict)| verdict.is_unapproved());
    let living: BTreeSet<&str> = unapproved
        .clone()
        .filter(|(instance, _)| instance.state != State::Terminal)
        .map(|(instance, _)| instance.id.as_str())
        .collect();
    let mut sources: BTreeMap<Source, BTreeMap<&str, Timestamp>> = BTreeMap::new();
    for (instance, _) in unapproved {
        if let Some(source) = source(instance, facts) {
            let launches = sources.entry(source).or_default();
            launches.insert(&instance.id, instance.launched);
        }
    }
    for (source, launches) in &mut sources {
        remembered(source, facts, launches);
    }
    // Released, or approved since: remembered as launches, and none that count any more.
    let cleared = |id: &str| {
        let approved = seen
            .iter()
            .any(|(instance, verdict)| instance.id == id && verdict.is_approved());
        approved || facts.released.contains_key(id)
    };
    let looping = sources.into_iter().filter_map(|(source, found)| {
        let since = counted_since(&source, facts);
        let mut launches: Vec<(Timestamp, String)> = found
            .into_iter()
            .filter(|(id, _)| !cleared(id))
            .filter(|(_, at)| policy.relaunch.within.after(*at) > now)
            .filter(|(_, at)| since.is_none_or(|since| *at > since))
            .map(|(id, at)| (at, id.to_owned()))
            .collect();
        launches.sort();
        let mut newest_first = launches.iter().rev().map(|(_, id)| id);
        let newest = newest_first
            .find(|id| living.contains(id.as_str()))
            .cloned();
        let enough = launches.len() as u64 >= u64::from(policy.relaunch.launches);
        enough.then_some(Looping {
            source,
            launches,
            newest,
        })
    });
    looping.collect()
}

/// Adds the launches that are remembered: terminated instances lose their tags, and then vanish.
fn remembered<'a>(source: &Source, facts: &'a Facts, launches: &mut BTreeMap<&'a str, Timestamp>) {
    match source {
        Source::Group(name) => {
            let group = facts.loops.get(name).into_iter();
            let known = group.flat_map(|group| &group.launches);
            launches.extend(known.map(|(id, at)| (id.as_str(), *at)));
        }
        Source::Principal(arn) => {
            // Those that EC2 shows still are counted already, each where it comes from.
            let vanished =
                |id: &String| !facts.instances.contains_key(id) && !facts.siblings.contains_key(id);
            let own = facts.records.iter().filter(|(id, record)| {
                vanished(id)
                    && !record.by_hand
                    && record.group.is_none()
                    && launched_by(record) == Some(arn)
            });
            launches.extend(own.map(|(id, record)| (id.as_str(), record.launched)));
        }
        Source::Controller(..) | Source::Fleet(_) | Source::Spot(_) => {}
    }
}

/// From when on a group's launches count: since its processes were resumed, by a release or by
/// hand after the loop was broken.
fn counted_since(source: &Source, facts: &Facts) -> Option<Timestamp> {
    let Source::Group(name) = source else {
        return None;
    };
    let known = facts.loops.get(name)?;
    let by_hand = facts
        .groups
        .get(name)
        .is_some_and(|group| !is_broken(group));
    known.restored.max(known.broken.filter(|_| by_hand))
}

/// Whether the group can't launch again.
pub(crate) fn is_broken(group: &Group) -> bool {
    PROCESSES
        .iter()
        .all(|process| group.suspended.contains(*process))
}

#[cfg(test)]
mod tests;
