//! What the plans no longer keep.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::evaluate::index::Index;
use crate::facts::{Facts, Snapshot};
use crate::policy::{Brake, Plan, Policy};
use crate::retention;

/// What is to be deleted.
#[derive(Debug, Default)]
pub(crate) struct Deletions<'a> {
    /// Failed ones that are of no more use.
    pub(crate) failed: Vec<Deletion<'a>>,
    /// Completed ones that no plan keeps.
    pub(crate) unkept: Vec<Deletion<'a>>,
    /// That `unkept` is too much at once: then none of it goes.
    pub(crate) over_limit: Option<OverLimit<'a>>,
}

/// A snapshot that is to go.
#[derive(Debug)]
pub(crate) struct Deletion<'a> {
    pub(crate) snapshot: &'a Snapshot,
    /// The completed snapshot that goes on protecting the volume.
    pub(crate) keeper: Option<&'a str>,
    pub(crate) reason: String,
}

/// What the deletion limit holds back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OverLimit<'a> {
    /// How many would be deleted,
    pub(crate) unkept: usize,
    /// of how many that are completed.
    pub(crate) owned: usize,
    /// The oldest that would.
    pub(crate) oldest: &'a Snapshot,
    pub(crate) limit: Brake,
}

impl<'a> Deletions<'a> {
    pub(super) fn of(facts: &Facts, policy: &Policy, index: &Index<'a>, now: Timestamp) -> Self {
        let unkept = no_longer_kept(facts, policy, index, now);
        let owned = index.iter().flat_map(|(_, _, list)| list);
        let owned = owned.filter(|s| s.is_completed()).count();
        let oldest = unkept
            .iter()
            .map(|d| d.snapshot)
            .min_by_key(|s| (s.started, &s.id));
        Self {
            failed: failed_ones(facts, policy, index),
            over_limit: oldest
                .filter(|_| policy.brake.holds(unkept.len(), owned))
                .map(|oldest| OverLimit {
                    unkept: unkept.len(),
                    owned,
                    oldest,
                    limit: policy.brake,
                }),
            unkept,
        }
    }
}

/// Volumes that snapshots name and that weren't found, where that would have consequences: a
/// second look must not find them either.
pub(crate) fn maybe_gone(facts: &Facts, policy: &Policy, now: Timestamp) -> Vec<String> {
    let index = Index::of(&facts.snapshots);
    let mut ids: BTreeSet<String> = BTreeSet::new();
    for (volume, _, snapshots) in index.iter() {
        if !facts.volumes.contains_key(volume)
            && (snapshots.iter().any(|s| s.is_error()) || orphaned(snapshots, policy, now))
        {
            ids.insert(volume.to_owned());
        }
    }
    ids.into_iter().collect()
}

/// Whether the newest completed snapshot of a volume that is gone is older than orphans are kept.
fn orphaned(snapshots: &[&Snapshot], policy: &Policy, now: Timestamp) -> bool {
    let newest = snapshots
        .iter()
        .filter(|s| s.is_completed())
        .map(|s| s.started)
        .max();
    match (policy.orphans_after, newest) {
        (Some(age), Some(newest)) => age.after(newest) < now,
        _ => false,
    }
}

/// Failed snapshots that are of no more use: each is kept until a later one is completed or has
/// failed too, because it tells how often and when the slot was tried. They count towards the
/// pending limit (EBS-5) and protect nobody.
fn failed_ones<'a>(facts: &Facts, policy: &Policy, index: &Index<'a>) -> Vec<Deletion<'a>> {
    let mut deletions = Vec::new();
    for (volume, plan, snapshots) in index.iter() {
        let gone = facts.gone.contains(volume);
        for (at, snapshot) in snapshots.iter().enumerate() {
            if !snapshot.is_error() {
                continue;
            }
            let later = snapshots[at + 1..]
                .iter()
                .any(|s| s.is_completed() || s.is_error());
            if later || gone || policy.plan(plan).is_none() {
                deletions.push(Deletion {
                    snapshot,
                    keeper: None,
                    reason: "it failed and is of no use".to_owned(),
                });
            }
        }
    }
    deletions
}

/// Completed snapshots that the plans no longer keep. Snapshots of a plan that is no longer in the
/// policy are left alone: nothing says what of them to keep.
fn no_longer_kept<'a>(
    facts: &Facts,
    policy: &Policy,
    index: &Index<'a>,
    now: Timestamp,
) -> Vec<Deletion<'a>> {
    let mut deletions = Vec::new();
    for (volume, plan, snapshots) in index.iter() {
        if facts.gone.contains(volume) && orphaned(snapshots, policy, now) {
            let completed = snapshots.iter().filter(|s| s.is_completed());
            deletions.extend(completed.map(|snapshot| Deletion {
                snapshot,
                keeper: None,
                reason: "the volume is gone, and so is the time that orphans are kept".to_owned(),
            }));
            continue;
        }
        let Some(plan) = policy.plan(plan) else {
            continue;
        };
        deletions.extend(pruned(plan, snapshots));
    }
    deletions
}

/// What one plan no longer keeps of one volume's snapshots.
fn pruned<'a>(plan: &Plan, snapshots: &[&'a Snapshot]) -> Vec<Deletion<'a>> {
    // One per slot: the earliest. A second one of a slot, made by a run that couldn't see the
    // first yet, goes (EBS-1).
    let mut by_slot: BTreeMap<Timestamp, Vec<&'a Snapshot>> = BTreeMap::new();
    for snapshot in snapshots.iter().filter(|s| s.is_completed()) {
        by_slot.entry(snapshot.slot).or_default().push(snapshot);
    }
    let mut deletions = Vec::new();
    let mut slots = Vec::with_capacity(by_slot.len());
    let mut firsts = Vec::with_capacity(by_slot.len());
    for (slot, mut same) in by_slot {
        same.sort_by_key(|s| (s.started, &s.id));
        let mut same = same.into_iter();
        let Some(first) = same.next() else { continue };
        deletions.extend(same.map(|snapshot| Deletion {
            snapshot,
            keeper: Some(&first.id),
            reason: format!("the slot has {} already", first.id),
        }));
        slots.push(slot);
        firsts.push(first);
    }
    let kept = retention::kept(&slots, &plan.keep, &plan.timezone);
    let newest = firsts.last().map(|s| s.id.as_str());
    let unkept = firsts.iter().zip(kept).filter(|(_, kept)| !kept);
    deletions.extend(unkept.map(|(snapshot, _)| Deletion {
        snapshot,
        keeper: newest,
        reason: "no rule of `keep` keeps it".to_owned(),
    }));
    deletions
}
