//! Launches of unapproved AMIs counted by where they come from: is it a loop? Pure.

use std::collections::{BTreeMap, BTreeSet};

use guardrails::tags;
use jiff::Timestamp;

use crate::approval::verdict;
use crate::facts::{Facts, Group, Instance};
use crate::policy::Policy;

/// The processes that make an Auto Scaling group launch again (AMI-6).
pub const PROCESSES: [&str; 2] = ["Launch", "ReplaceUnhealthy"];

/// Where launches come from (AMI-7).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// An Auto Scaling group.
    Group(String),
    /// A Fleet, or a Spot Fleet request.
    Fleet(String),
    /// A user or role that calls `RunInstances`.
    Principal(String),
    /// A Spot request.
    Spot(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Group(name) => write!(f, "Auto Scaling group {name}"),
            Self::Fleet(id) => write!(f, "Fleet {id}"),
            Self::Principal(arn) => f.write_str(arn),
            Self::Spot(id) => write!(f, "Spot request {id}"),
        }
    }
}

/// Where `instance` comes from, as far as it is known.
#[must_use]
pub fn source(instance: &Instance, facts: &Facts) -> Option<Source> {
    if let Some(group) = instance.group() {
        return Some(Source::Group(group.to_owned()));
    }
    for key in ["aws:ec2:fleet-id", "aws:ec2spot:fleet-request-id"] {
        if let Some(id) = instance.tag(key) {
            return Some(Source::Fleet(id.to_owned()));
        }
    }
    // The event's launcher is that of the instances it names, which are those without a mark.
    let marked = instance.tag(tags::QUARANTINE_LAUNCHER);
    let named = facts
        .launcher
        .as_ref()
        .filter(|launcher| {
            !facts.complete && !launcher.is_service() && facts.instances.contains_key(&instance.id)
        })
        .map(crate::launcher::Launcher::value);
    let principal = marked
        .map(str::to_owned)
        .or(named)
        .filter(|principal| principal.starts_with("arn:"));
    if let Some(principal) = principal {
        return Some(Source::Principal(principal));
    }
    instance
        .spot_request
        .as_ref()
        .map(|id| Source::Spot(id.clone()))
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

/// The sources of `facts.instances` that launch in a loop.
#[must_use]
pub fn loops(facts: &Facts, policy: &Policy, now: Timestamp) -> Vec<Looping> {
    let mut launches: BTreeMap<Source, BTreeMap<String, Timestamp>> = BTreeMap::new();
    let mut living = BTreeSet::new();
    // Released, or approved since: remembered as launches, and none that count any more.
    let mut cleared = BTreeSet::new();
    for instance in facts.instances.values().chain(facts.siblings.values()) {
        let verdict = verdict(instance, facts, policy);
        if verdict.is_approved() {
            cleared.insert(instance.id.as_str());
        }
        if !verdict.is_unapproved() {
            continue;
        }
        let Some(source) = source(instance, facts) else {
            continue;
        };
        if instance.state != guardrails::ec2::State::Terminal {
            living.insert(instance.id.clone());
        }
        launches
            .entry(source)
            .or_default()
            .insert(instance.id.clone(), instance.launched);
    }
    launches
        .into_iter()
        .filter_map(|(source, mut found)| {
            let mut since = None;
            if let Source::Group(name) = &source
                && let Some(group) = facts.groups.get(name)
            {
                // Terminated ones lose their tags after a while and then vanish.
                found.extend(remembered(group));
                since = counted_since(group);
            }
            let mut launches: Vec<(Timestamp, String)> = found
                .into_iter()
                .map(|(id, at)| (at, id))
                .filter(|(_, id)| !cleared.contains(id.as_str()))
                .filter(|(at, _)| policy.relaunch.within.after(*at) > now)
                .filter(|(at, _)| since.is_none_or(|since| *at > since))
                .collect();
            launches.sort();
            let enough = launches.len() as u64 >= u64::from(policy.relaunch.launches);
            let newest = launches
                .iter()
                .rev()
                .find(|(_, id)| living.contains(id))
                .map(|(_, id)| id.clone());
            enough.then_some(Looping {
                source,
                launches,
                newest,
            })
        })
        .collect()
}

/// From when on a group's launches count: since its processes were resumed, by a release or by
/// hand after the loop was broken.
fn counted_since(group: &Group) -> Option<Timestamp> {
    let at = |key| group.tags.get(key)?.split(' ').next()?.parse().ok();
    let restored: Option<Timestamp> = at(tags::LOOP_RESTORED);
    let broken: Option<Timestamp> = at(tags::LOOP_BROKEN).filter(|_| !is_broken(group));
    restored.max(broken)
}

/// Whether the group can't launch again.
#[must_use]
pub fn is_broken(group: &Group) -> bool {
    PROCESSES
        .iter()
        .all(|process| group.suspended.contains(*process))
}

/// The launches that the group's tag remembers.
#[must_use]
pub fn remembered(group: &Group) -> BTreeMap<String, Timestamp> {
    group
        .tags
        .get(tags::LOOP_LAUNCHES)
        .into_iter()
        .flat_map(|value| value.split(' '))
        .filter_map(|launch| {
            let (id, at) = launch.split_once('=')?;
            Some((id.to_owned(), at.parse().ok()?))
        })
        .collect()
}

/// What the group's tag is to remember with `instance`'s launch: the latest that fit.
#[must_use]
pub fn remembering(group: &Group, instance: &str, at: Timestamp) -> String {
    let mut launches: Vec<(Timestamp, String)> = remembered(group)
        .into_iter()
        .filter(|(id, _)| id != instance)
        .map(|(id, at)| (at, id))
        .collect();
    launches.push((at, instance.to_owned()));
    launches.sort();
    let mut value = String::new();
    for (at, id) in launches.iter().rev() {
        let launch = format!("{id}={at:.0}");
        if !value.is_empty() {
            if value.len() + 1 + launch.len() > tags::VALUE_MAX {
                break;
            }
            value.push(' ');
        }
        value.push_str(&launch);
    }
    value
}

#[cfg(test)]
mod tests;
