//! What was found: plain data, no AWS types.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use guardrails::{ec2, tags};
use jiff::Timestamp;

/// A tag.
pub type Tag = (String, String);

/// What `observe` found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Whether these are all volumes and snapshots of the account and Region, or one volume's
    /// neighbourhood. Only with all of them anything is deleted or counted.
    pub complete: bool,
    /// The volumes, by id.
    pub volumes: BTreeMap<String, Volume>,
    /// The snapshots that this guardrail made.
    pub snapshots: Vec<Snapshot>,
    /// The instances that matter, by id: those of volumes that lack a snapshot, and all where a
    /// plan leaves out boot volumes.
    pub instances: HashMap<String, Instance>,
    /// Volumes that snapshots name and that a second look by id hasn't found either.
    pub gone: BTreeSet<String>,
}

/// An EBS volume.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    /// `vol-…`
    pub id: String,
    /// When it was created.
    pub created: Timestamp,
    /// Whether it can be snapshotted: `available` or `in-use`.
    pub usable: bool,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Where it is attached; several with Multi-Attach.
    pub attachments: Vec<Attachment>,
}

impl Volume {
    /// A tag's value.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<&str> {
        ec2::tag(&self.tags, key)
    }

    /// The device that it is on, where it is attached to one instance.
    #[must_use]
    pub fn device(&self) -> Option<&str> {
        match self.attachments.as_slice() {
            [only] => Some(&only.device),
            _ => None,
        }
    }

    /// Its id, and its name where it has one, for people.
    #[must_use]
    pub fn label(&self) -> String {
        ec2::label(&self.id, &self.tags)
    }
}

/// A volume's attachment to an instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Attachment {
    /// `i-…`
    pub instance: String,
    /// `/dev/xvda`
    pub device: String,
    /// Fully attached, not on its way in or out.
    pub settled: bool,
}

/// An instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// `i-…`
    pub id: String,
    /// Its `Name` tag.
    pub name: Option<String>,
    /// The device of its root volume.
    pub root_device: Option<String>,
    /// The AMI that it was launched from.
    pub image: Option<String>,
    /// The AMI's name, where the AMI still is.
    pub image_name: Option<String>,
}

/// A snapshot's state (EBS-4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Under way: `pending` or `recovering`.
    Pending,
    /// The only state that protects anybody.
    Completed,
    /// Failed, with AWS's reason.
    Error(String),
}

/// A snapshot that this guardrail made.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// `snap-…`
    pub id: String,
    /// The volume that it is of.
    pub volume: String,
    /// The plan that it belongs to. Shared: thousands carry the same name.
    pub plan: Arc<str>,
    /// The slot that it fills.
    pub slot: Timestamp,
    /// Which try at the slot, from 1.
    pub attempt: u32,
    /// Its state.
    pub state: State,
    /// When it was started.
    pub started: Timestamp,
    /// Whether it remembers that the brake was told of.
    pub told_brake: Option<String>,
}

impl Snapshot {
    /// Reads a snapshot's tags. None when it isn't one that this guardrail made of `volume`.
    ///
    /// A copy carries an arbitrary volume id (EBS-9), and a tool that copies tags may put ours on
    /// a snapshot of another volume: whatever doesn't list its own volume is left alone.
    #[must_use]
    pub fn ours(
        id: &str,
        volume: &str,
        state: State,
        started: Timestamp,
        tags: &[(&str, &str)],
    ) -> Option<Self> {
        let tag = |key: &str| tags.iter().find(|(have, _)| *have == key).map(|(_, v)| *v);
        // Evidence of a quarantine is no backup, whatever other tags it carries: never pruned.
        if tag(tags::GUARDRAIL) != Some(crate::NAME) || tag(tags::EVIDENCE).is_some() {
            return None;
        }
        let listed = tags
            .iter()
            .filter(|(key, _)| key.starts_with(tags::VOLUMES))
            .flat_map(|(_, value)| value.split(' '))
            .any(|item| item.split('=').next() == Some(volume));
        if !listed {
            return None;
        }
        Some(Self {
            id: id.to_owned(),
            volume: volume.to_owned(),
            plan: Arc::from(tag(tags::PLAN)?),
            slot: tag(tags::SLOT)?.parse().ok()?,
            attempt: tag(tags::ATTEMPT).and_then(|n| n.parse().ok()).unwrap_or(1),
            state,
            started,
            told_brake: tag(&crate::assess::BRAKE.tag()).map(str::to_owned),
        })
    }

    /// Newer means a later slot, or a later try at the same.
    #[must_use]
    pub fn order(&self) -> (Timestamp, u32, Timestamp, &str) {
        (self.slot, self.attempt, self.started, &self.id)
    }

    /// Whether it is completed.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.state == State::Completed
    }

    /// Whether it failed.
    #[must_use]
    pub fn is_error(&self) -> bool {
        matches!(self.state, State::Error(_))
    }
}

/// Snapshots by volume and plan, each list from old to new.
#[derive(Debug)]
pub struct Index<'a>(BTreeMap<&'a str, BTreeMap<&'a str, Vec<&'a Snapshot>>>);

impl<'a> Index<'a> {
    /// Sorts `snapshots`; their order doesn't matter.
    #[must_use]
    pub fn of(snapshots: &'a [Snapshot]) -> Self {
        let mut index: BTreeMap<_, BTreeMap<_, Vec<&Snapshot>>> = BTreeMap::new();
        for snapshot in snapshots {
            index
                .entry(snapshot.volume.as_str())
                .or_default()
                .entry(&*snapshot.plan)
                .or_default()
                .push(snapshot);
        }
        for list in index.values_mut().flat_map(BTreeMap::values_mut) {
            list.sort_by(|a, b| a.order().cmp(&b.order()));
        }
        Self(index)
    }

    /// A volume's snapshots of a plan, from old to new.
    #[must_use]
    pub fn get(&self, volume: &str, plan: &str) -> &[&'a Snapshot] {
        self.0
            .get(volume)
            .and_then(|plans| plans.get(plan))
            .map_or(&[], Vec::as_slice)
    }

    /// Each volume and plan with its snapshots.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str, &[&'a Snapshot])> {
        self.0.iter().flat_map(|(volume, plans)| {
            plans
                .iter()
                .map(|(plan, list)| (*volume, *plan, list.as_slice()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(volume: &str, tags: &[(&str, &str)]) -> Option<Snapshot> {
        Snapshot::ours(
            "snap-1",
            volume,
            State::Completed,
            Timestamp::UNIX_EPOCH,
            tags,
        )
    }

    const OURS: [(&str, &str); 5] = [
        (tags::GUARDRAIL, "snapshot-volumes"),
        (tags::PLAN, "daily"),
        (tags::SLOT, "2026-11-22T03:00:00+09:00"),
        (tags::VOLUMES, "vol-1=/dev/xvda vol-2=/dev/sdf"),
        ("ec2-guardrails:volumes-2", "vol-3"),
    ];

    #[test]
    fn reads_what_it_wrote() {
        for volume in ["vol-1", "vol-2", "vol-3"] {
            let snapshot = read(volume, &OURS).unwrap();
            assert_eq!(&*snapshot.plan, "daily");
            assert_eq!(snapshot.slot.to_string(), "2026-11-21T18:00:00Z");
            assert_eq!(snapshot.attempt, 1);
        }
    }

    #[test]
    fn a_copy_or_a_snapshot_with_inherited_tags_is_not_ours() {
        assert_eq!(read("vol-ffffffff", &OURS), None, "a copy (EBS-9)");
        assert_eq!(
            read("vol-4", &OURS),
            None,
            "tags inherited from a restored volume"
        );
        assert_eq!(read("vol-", &OURS), None, "a prefix is no id");
        for (missing, _) in &OURS[..4] {
            let tags: Vec<_> = OURS.into_iter().filter(|(key, _)| key != missing).collect();
            assert_eq!(read("vol-1", &tags), None, "without {missing}");
        }
        assert_eq!(read("vol-1", &[("Name", "by hand")]), None);
        let mut evidence = OURS.to_vec();
        evidence.push((tags::EVIDENCE, "i-1"));
        assert_eq!(read("vol-1", &evidence), None, "evidence is never pruned");
    }
}
