//! The tags that people see on an instance in quarantine. Written best effort.
//!
//! Anybody who may tag can write them too, so they are read in one place only: for a release that a
//! person orders `from-labels` after the table was lost, and to say that there are any.

use std::collections::BTreeMap;

use guardrails::ec2::tag;
use guardrails::tags::{self, label};

use crate::record::{Record, Service};

type Tags = [(String, String)];

/// What the labels of an instance say stood before a quarantine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// The security groups of each network interface.
    pub interfaces: BTreeMap<String, Vec<String>>,
    /// The devices whose volumes were to be deleted with the instance.
    pub going: Vec<String>,
    /// Whether termination protection was off.
    pub unprotected: bool,
}

impl Labels {
    /// What a release by them does, for people.
    pub(crate) fn would_restore(&self) -> String {
        let mut parts: Vec<String> = self
            .interfaces
            .iter()
            .map(|(interface, groups)| format!("gives {interface} {}", groups.join(", ")))
            .collect();
        if !self.going.is_empty() {
            parts.push(format!("lets {} go with it", self.going.join(", ")));
        }
        if self.unprotected {
            parts.push("turns termination protection off".to_owned());
        }
        if parts.is_empty() {
            parts.push("removes the labels".to_owned());
        }
        parts.join(", ")
    }
}

/// Whether it is a label of a quarantine.
pub(crate) fn is_label(key: &str) -> bool {
    key == label::QUARANTINED || key.starts_with(label::QUARANTINE_PREFIX)
}

/// Those labels of an instance that say that it is in quarantine, for people.
pub(crate) fn said(tags: &Tags) -> Option<String> {
    let mut labels = tags.iter().filter(|(key, _)| is_label(key));
    let first = labels.next()?;
    let (key, value) = tag(tags, label::QUARANTINED)
        .map_or((first.0.as_str(), first.1.as_str()), |value| {
            (label::QUARANTINED, value)
        });
    Some(format!("{key}={}", tags::clip_to(value, 60)))
}

/// The labels of `record`.
pub(crate) fn of(record: &Record) -> Vec<(String, String)> {
    let stage = format!("{} {:.0}", record.stage.word(), record.since);
    let mut labels = vec![
        (label::QUARANTINED.to_owned(), stage),
        (
            label::QUARANTINE_REASON.to_owned(),
            tags::clip(&record.reason),
        ),
        (
            label::QUARANTINE_IMAGE.to_owned(),
            tags::clip(&record.image),
        ),
    ];
    let mut add = |key: &str, value: Option<String>| {
        labels.extend(value.map(|value| (key.to_owned(), tags::clip(&value))));
    };
    let launcher = record.launcher.as_ref();
    add(
        label::QUARANTINE_LAUNCHER,
        launcher.map(|who| who.principal.clone()),
    );
    add(
        label::QUARANTINE_PROTECTION,
        record
            .protected
            .map(|on| if on { "on" } else { "off" }.to_owned()),
    );
    add(label::QUARANTINE_PROFILE, record.profile.clone());
    let service = record.service.as_ref().map(|service| match service {
        Service::Standby(group) => format!("standby {group}"),
        Service::Detached(group) => format!("detached {group}"),
    });
    add(label::QUARANTINE_SERVICE, service);
    add(
        label::QUARANTINE_STOPPED,
        record.stopped.map(|at| format!("{at:.0}")),
    );
    let refused: Vec<&str> = record.refused.iter().map(String::as_str).collect();
    add(
        label::QUARANTINE_REFUSED,
        (!refused.is_empty()).then(|| refused.join(" ")),
    );
    add(
        label::QUARANTINE_DRIFT,
        record.drift.map(|at| format!("{at:.0}")),
    );
    for (interface, groups) in &record.interfaces {
        let key = format!("{}{interface}", label::QUARANTINE_GROUPS);
        labels.extend(in_tags(&key, groups.iter().cloned()));
    }
    let disks = record.disks.iter().map(|(device, delete)| {
        let what = if *delete { "delete" } else { "keep" };
        format!("{device}={what}")
    });
    if !record.disks.is_empty() {
        labels.extend(in_tags(label::QUARANTINE_DISKS, disks));
    }
    labels
}

/// What the labels say stood before: as far as a release may go by what anybody may have written.
pub(crate) fn read(tags: &Tags) -> Labels {
    let mut labels = Labels {
        unprotected: tag(tags, label::QUARANTINE_PROTECTION) == Some("off"),
        ..Labels::default()
    };
    for (key, _) in tags {
        // `eni-0a1b`, not its continuation `eni-0a1b-2`.
        if let Some(interface) = key.strip_prefix(label::QUARANTINE_GROUPS)
            && interface.matches('-').count() == 1
        {
            let groups = words(tags, key);
            labels.interfaces.insert(interface.to_owned(), groups);
        }
    }
    labels.going = words(tags, label::QUARANTINE_DISKS)
        .iter()
        .filter_map(|disk| Some(disk.strip_suffix("=delete")?.to_owned()))
        .collect();
    labels
}

/// The words in a tag and its continuations `key-2`, `key-3` …
fn words(tags: &Tags, key: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut next = tag(tags, key);
    let mut number = 2;
    while let Some(part) = next {
        words.extend(part.split_whitespace().map(str::to_owned));
        next = tag(tags, &format!("{key}-{number}"));
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
    use crate::fixtures::record;

    #[test]
    fn what_is_written_is_read_again_however_long() {
        let groups: Vec<String> = (0..16).map(|n| format!("sg-{n:017x}")).collect();
        let mut record = record("12:00");
        record.interfaces.insert("eni-1".to_owned(), groups.clone());
        record
            .interfaces
            .insert("eni-2".to_owned(), vec!["sg-b".to_owned()]);
        record.disks = (0..30)
            .map(|n| (format!("/dev/sd{n}"), n % 2 == 0))
            .collect();
        record.protected = Some(false);
        let tags = of(&record);
        assert!(
            tags.iter()
                .all(|(key, value)| is_label(key) && value.len() <= 256)
        );
        let labels = read(&tags);
        assert_eq!(labels.interfaces["eni-1"], groups);
        assert_eq!(labels.interfaces["eni-2"], ["sg-b"]);
        assert_eq!(labels.going.len(), 15);
        assert!(labels.unprotected);
        assert_eq!(
            said(&tags).unwrap(),
            "ec2-guardrails:quarantined=complete 2026-11-21T12:00:00Z"
        );
        assert_eq!(said(&[]), None);
    }
}
