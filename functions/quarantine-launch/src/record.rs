//! What a quarantine writes down before it changes anything, as tags of the instance. Pure.
//!
//! A release puts back what stands here and nothing else. What is written down is never
//! overwritten: a second run would write down the isolation as what was before.

use std::collections::BTreeMap;

use guardrails::tags;

use crate::facts::{Disk, Instance, Interface, Isolation};

/// What stood before the quarantine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The security groups of each network interface.
    pub groups: BTreeMap<String, Vec<String>>,
    /// Whether each device's volume was to be deleted with the instance.
    pub disks: BTreeMap<String, bool>,
    /// Whether termination protection was on.
    pub protected: Option<bool>,
    /// The instance profile that the quarantine takes away.
    pub profile: Option<String>,
    /// How it was taken out of its group's service.
    pub service: Option<Service>,
    /// Whether the quarantine stops it.
    pub stopped: bool,
}

/// How an instance was taken out of its group's service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    /// In standby of this group.
    Standby(String),
    /// Detached from this group.
    Detached(String),
}

impl Service {
    /// The tag's value.
    #[must_use]
    pub fn value(&self) -> String {
        match self {
            Self::Standby(group) => format!("standby {group}"),
            Self::Detached(group) => format!("detached {group}"),
        }
    }

    fn read(value: &str) -> Option<Self> {
        match value.split_once(' ')? {
            ("standby", group) => Some(Self::Standby(group.to_owned())),
            ("detached", group) => Some(Self::Detached(group.to_owned())),
            _ => None,
        }
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> &str {
        match self {
            Self::Standby(group) | Self::Detached(group) => group,
        }
    }
}

impl Record {
    /// Reads an instance's tags.
    #[must_use]
    pub fn of(tags: &[(String, String)]) -> Self {
        let value = |key: &str| {
            tags.iter()
                .find(|(have, _)| have == key)
                .map(|(_, value)| value.as_str())
        };
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, _) in tags {
            // `eni-0a1b`, not its continuation `eni-0a1b-2`.
            if let Some(interface) = key.strip_prefix(tags::QUARANTINE_GROUPS)
                && interface.matches('-').count() == 1
            {
                groups.insert(interface.to_owned(), words(tags, key));
            }
        }
        let disks = words(tags, tags::QUARANTINE_DISKS)
            .iter()
            .filter_map(|disk| disk.rsplit_once('='))
            .map(|(device, what)| (device.to_owned(), what == "delete"))
            .collect();
        Self {
            groups,
            disks,
            protected: value(tags::QUARANTINE_PROTECTION).map(|value| value == "on"),
            profile: value(tags::QUARANTINE_PROFILE).map(str::to_owned),
            service: value(tags::QUARANTINE_SERVICE).and_then(Service::read),
            stopped: value(tags::QUARANTINE_STOPPED).is_some(),
        }
    }

    /// What is still to be written down of `instance`, as tags: the groups of interfaces and the
    /// disks that aren't yet. An interface that is in an isolation group has no other groups to
    /// write down (a run that was faster wrote them, and its tags aren't visible yet).
    #[must_use]
    pub fn missing(
        &self,
        instance: &Instance,
        isolation: &BTreeMap<String, Isolation>,
    ) -> Vec<(String, String)> {
        let mut missing = Vec::new();
        for interface in &instance.interfaces {
            if self.groups.contains_key(&interface.id)
                || interface.operator.is_some()
                || is_any_isolation(interface, isolation)
            {
                continue;
            }
            let key = format!("{}{}", tags::QUARANTINE_GROUPS, interface.id);
            missing.extend(in_tags(&key, interface.groups.iter().cloned()));
        }
        let new_disks = instance
            .disks
            .iter()
            .any(|disk| !self.disks.contains_key(&disk.device));
        if new_disks {
            let mut disks = self.disks.clone();
            for Disk {
                device,
                delete_on_termination,
                ..
            } in &instance.disks
            {
                disks
                    .entry(device.clone())
                    .or_insert(*delete_on_termination);
            }
            let words = disks.iter().map(|(device, delete)| {
                format!("{device}={}", if *delete { "delete" } else { "keep" })
            });
            missing.extend(in_tags(tags::QUARANTINE_DISKS, words));
        }
        missing
    }
}

fn is_any_isolation(interface: &Interface, isolation: &BTreeMap<String, Isolation>) -> bool {
    interface
        .groups
        .iter()
        .any(|group| isolation.values().any(|isolation| isolation.id == *group))
}

/// The words in a tag and its continuations `key-2`, `key-3` …
fn words(tags: &[(String, String)], key: &str) -> Vec<String> {
    let value = |key: &str| {
        tags.iter()
            .find(|(have, _)| have == key)
            .map(|(_, value)| value.as_str())
    };
    let mut words = Vec::new();
    let mut next = value(key);
    let mut number = 2;
    while let Some(part) = next {
        words.extend(part.split_whitespace().map(str::to_owned));
        next = value(&format!("{key}-{number}"));
        number += 1;
    }
    words
}

/// `words` in as many tags as they need, none longer than a tag may be.
fn in_tags(key: &str, words: impl Iterator<Item = String>) -> Vec<(String, String)> {
    let mut values = vec![String::new()];
    for word in words {
        let fits = values
            .last()
            .is_some_and(|last| last.is_empty() || last.len() + 1 + word.len() <= tags::VALUE_MAX);
        if !fits {
            values.push(String::new());
        }
        if let Some(last) = values.last_mut() {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(&word);
        }
    }
    values
        .into_iter()
        .enumerate()
        .map(|(index, value)| match index {
            0 => (key.to_owned(), value),
            _ => (format!("{key}-{}", index + 1), value),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::{instance, isolation};

    #[test]
    fn what_is_written_is_read_again_however_long() {
        let mut one = instance("i-1");
        let groups: Vec<String> = (0..16).map(|n| format!("sg-{n:017x}")).collect();
        one.interfaces[0].groups = groups.clone();
        one.interfaces.push(Interface {
            id: "eni-2".to_owned(),
            vpc: "vpc-1".to_owned(),
            groups: vec!["sg-b".to_owned()],
            operator: None,
        });
        one.disks = (0..30)
            .map(|n| Disk {
                device: format!("/dev/sd{n}"),
                volume: format!("vol-{n}"),
                delete_on_termination: n % 2 == 0,
            })
            .collect();
        let tags = Record::default().missing(&one, &isolation());
        assert!(tags.iter().all(|(_, value)| value.len() <= 256));
        let record = Record::of(&tags);
        assert_eq!(record.groups["eni-1"], groups);
        assert_eq!(record.groups["eni-2"], ["sg-b"]);
        assert_eq!(record.disks.len(), 30);
        assert!(record.disks["/dev/sd0"] && !record.disks["/dev/sd1"]);
        one.tags = tags;
        assert!(one.record().missing(&one, &isolation()).is_empty());
    }

    #[test]
    fn the_isolation_is_never_written_down_as_what_was_before() {
        let mut one = instance("i-1");
        one.interfaces[0].groups = vec![isolation()["vpc-1"].id.clone()];
        one.disks.clear();
        assert!(Record::default().missing(&one, &isolation()).is_empty());
    }

    #[test]
    fn what_stands_is_not_overwritten() {
        let mut one = instance("i-1");
        one.tags = Record::default().missing(&one, &isolation());
        one.interfaces[0].groups = vec!["sg-other".to_owned()];
        one.disks[0].delete_on_termination = false;
        assert!(one.record().missing(&one, &isolation()).is_empty());
    }

    #[test]
    fn a_group_whose_name_has_spaces_is_read_back() {
        for service in [
            Service::Standby("my web group".to_owned()),
            Service::Detached("web".to_owned()),
        ] {
            assert_eq!(Service::read(&service.value()), Some(service));
        }
        assert_eq!(Service::read("gone"), None);
    }
}
