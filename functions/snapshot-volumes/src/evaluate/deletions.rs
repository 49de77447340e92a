//! What the plans no longer keep.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::evaluate::index::Index;
use crate::facts::{Copied, Facts, Refusal, Snapshot, State};
use crate::policy::{Brake, Keep, Plan, Policy};
use crate::retention;

/// The snapshots of one Region, and what is kept of them there.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) snapshots: &'a [Snapshot],
    /// Another Region than the stack's own.
    pub(super) region: Option<&'a str>,
    pub(super) policy: &'a Policy,
}

impl<'a> Place<'a> {
    /// What lies in the stack's own Region.
    pub(super) fn home(facts: &'a Facts, policy: &'a Policy) -> Self {
        Self {
            snapshots: &facts.snapshots,
            region: None,
            policy,
        }
    }

    pub(super) fn index(self) -> Index<'a> {
        Index::of(self.snapshots, self.policy)
    }

    /// The plan of that name, and what it keeps here; none where it says nothing about it.
    pub(super) fn keep(self, plan: &str) -> Option<(&'a Plan, &'a Keep)> {
        let plan = self.policy.plan(plan)?;
        match self.region {
            None => Some((plan, &plan.keep)),
            Some(region) => Some((plan, &plan.copies_to(region)?.keep)),
        }
    }

    /// The snapshots of plans that say nothing about what is kept here, by plan.
    pub(super) fn planless(self) -> BTreeMap<&'a str, Vec<&'a Snapshot>> {
        let mut planless: BTreeMap<&str, Vec<&Snapshot>> = BTreeMap::new();
        for snapshot in self.snapshots {
            if self.keep(&snapshot.plan).is_none() {
                planless.entry(&snapshot.plan).or_default().push(snapshot);
            }
        }
        planless
    }

    /// Whether the last snapshots of a volume that is gone go too, after a time. Not in another
    /// Region: they are for the case that all here is lost.
    fn has_orphans(self) -> bool {
        self.region.is_none()
    }
}

/// What is to be deleted.
#[derive(Debug, Default)]
pub(crate) struct Deletions<'a> {
    /// Failed ones that are of no more use.
    pub(crate) failed: Vec<Deletion<'a>>,
    /// Completed ones that no plan keeps.
    pub(crate) unkept: Vec<Deletion<'a>>,
    /// Those of both that AWS refuses to delete, until they are tried again.
    pub(crate) refused: Vec<Deletion<'a>>,
    /// That `unkept` is too much at once: then none of it goes.
    pub(crate) over_limit: Option<OverLimit<'a>>,
}

/// A snapshot that is to go.
#[derive(Debug)]
pub(crate) struct Deletion<'a> {
    pub(crate) snapshot: &'a Snapshot,
    /// The completed snapshot that goes on protecting the volume.
    pub(crate) keeper: Option<&'a str>,
    /// That AWS has refused it before.
    pub(crate) refusal: Option<&'a Refusal>,
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
    /// `spared` are ids of snapshots that stay whatever `keep` says.
    pub(super) fn of(
        facts: &'a Facts,
        place: Place<'a>,
        spared: &BTreeSet<&str>,
        now: Timestamp,
    ) -> Self {
        let index = &place.index();
        let known = |mut deletion: Deletion<'a>| {
            deletion.refusal = facts.refused.get(&deletion.snapshot.id);
            deletion
        };
        let waits = |deletion: &Deletion<'a>| deletion.refusal.is_some_and(|r| r.again > now);
        let mut unkept = no_longer_kept(facts, place, index, now);
        unkept.retain(|deletion| !spared.contains(deletion.snapshot.id.as_str()));
        let unkept = unkept.into_iter();
        let (mut refused, unkept): (Vec<_>, Vec<_>) = unkept.map(known).partition(waits);
        let failed = failed_ones(facts, place, index).into_iter();
        let (refused_too, failed): (Vec<_>, Vec<_>) = failed.map(known).partition(waits);
        refused.extend(refused_too);
        Self {
            over_limit: over(facts, place, &unkept),
            failed,
            unkept,
            refused,
        }
    }
}

/// What AWS has refused before, or somebody holds, isn't the limit's concern: it says nothing of
/// what the policy would destroy.
fn over<'a>(facts: &'a Facts, place: Place<'a>, unkept: &[Deletion<'a>]) -> Option<OverLimit<'a>> {
    let counts = |s: &&'a Snapshot| !s.held && !facts.refused.contains_key(&s.id);
    let policy = place.policy;
    let owned = place.snapshots.iter().filter(counts);
    let owned = owned.filter(|s| s.is_completed()).count();
    let unkept: Vec<_> = unkept.iter().map(|d| d.snapshot).filter(counts).collect();
    let oldest = unkept.iter().copied().min_by_key(|s| (s.started, &s.id))?;
    let holds = policy.brake.holds(unkept.len(), owned);
    holds.then_some(OverLimit {
        unkept: unkept.len(),
        owned,
        oldest,
        limit: policy.brake,
    })
}

/// The snapshots that the deletion limit holds back, if it does.
pub(crate) fn over_limit(facts: &Facts, policy: &Policy, now: Timestamp) -> Vec<String> {
    let home = Place::home(facts, policy);
    let deletions = Deletions::of(facts, home, &BTreeSet::new(), now);
    if deletions.over_limit.is_none() {
        return Vec::new();
    }
    let unkept = deletions.unkept.iter();
    unkept.map(|d| d.snapshot.id.clone()).collect()
}

/// Volumes that snapshots name and that weren't found, where that would have consequences: a
/// second look must not find them either.
pub(crate) fn maybe_gone(facts: &Facts, policy: &Policy, now: Timestamp) -> Vec<String> {
    let index = Index::of(&facts.snapshots, policy);
    let absent = index
        .volumes()
        .filter(|(volume, _)| !facts.volumes.contains_key(*volume));
    absent
        .filter(|(_, snapshots)| {
            snapshots.iter().any(|s| s.is_error()) || orphaned(snapshots, policy, now)
        })
        .map(|(volume, _)| volume.to_owned())
        .collect()
}

/// Whether the last snapshot of a volume that is gone is older than orphans are kept: `snapshots`
/// are all of the volume's, whatever their plan. One that is under way is the last until it is known
/// how it ends.
fn orphaned(snapshots: &[&Snapshot], policy: &Policy, now: Timestamp) -> bool {
    if snapshots.iter().any(|s| s.state == State::Pending) {
        return false;
    }
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
fn failed_ones<'a>(facts: &Facts, place: Place<'_>, index: &Index<'a>) -> Vec<Deletion<'a>> {
    let mut deletions = Vec::new();
    for (volume, plan, snapshots) in index.iter() {
        // A copy is made again as long as its source is there, whatever became of the volume.
        let gone = place.region.is_none() && facts.gone.contains(volume);
        for (at, snapshot) in snapshots.iter().enumerate() {
            if !snapshot.is_error() || snapshot.held {
                continue;
            }
            // A copy fails and is made again by its slot, a snapshot by the latest one.
            let is_of = |other: &Snapshot| match snapshot.copy {
                None => other.slot >= snapshot.slot,
                Some(_) => other.slot == snapshot.slot,
            };
            let later_failure = snapshots[at + 1..].iter().any(|s| s.is_error() && is_of(s));
            let completed = || snapshots.iter().filter(|s| s.is_completed());
            let made_up = completed().any(|s| is_of(s))
                || completed().any(|s| s.slot >= snapshot.slot) && lost_source(facts, snapshot);
            if later_failure || made_up || gone || place.keep(plan).is_none() {
                deletions.push(Deletion {
                    snapshot,
                    keeper: None,
                    refusal: None,
                    reason: "it failed and is of no use".to_owned(),
                });
            }
        }
    }
    deletions
}

/// Whether a copy can't be made again, because what it is from isn't there any more.
fn lost_source(facts: &Facts, copy: &Snapshot) -> bool {
    let is_source = |copied: &Copied| facts.snapshots.iter().any(|s| s.id == copied.source);
    copy.copy.as_ref().is_some_and(|copied| !is_source(copied))
}

/// Completed snapshots that the plans no longer keep. Snapshots of a plan that is no longer in the
/// policy are left alone: nothing says what of them to keep. What is held stays.
fn no_longer_kept<'a>(
    facts: &Facts,
    place: Place<'_>,
    index: &Index<'a>,
    now: Timestamp,
) -> Vec<Deletion<'a>> {
    let policy = place.policy;
    let mut deletions = Vec::new();
    let mut orphans: BTreeSet<&str> = BTreeSet::new();
    for (volume, snapshots) in index.volumes() {
        if !place.has_orphans()
            || !facts.gone.contains(volume)
            || !orphaned(&snapshots, policy, now)
        {
            continue;
        }
        orphans.insert(volume);
        let completed = snapshots.into_iter().filter(|s| s.is_completed());
        deletions.extend(completed.map(|snapshot| {
            let reason = "the volume is gone, and so is the time that orphans are kept";
            deletion(snapshot, None, reason)
        }));
    }
    for (volume, plan, snapshots) in index.iter() {
        if !orphans.contains(volume)
            && let Some((plan, keep)) = place.keep(plan)
        {
            deletions.extend(pruned(plan, keep, snapshots));
        }
    }
    deletions.retain(|deletion| !deletion.snapshot.held);
    deletions
}

/// The deletion of a completed snapshot.
fn deletion<'a>(snapshot: &'a Snapshot, keeper: Option<&'a str>, reason: &str) -> Deletion<'a> {
    let costs = if snapshot.archived {
        "; it is archived, and AWS charges for what is left of the 90 days since then all the same"
    } else {
        ""
    };
    Deletion {
        snapshot,
        keeper,
        refusal: None,
        reason: format!("{reason}{costs}"),
    }
}

/// What one plan no longer keeps of one volume's snapshots, by `keep`.
///
/// Archived ones can't be restored for days: what can be is judged without them, and nothing goes
/// where only they would be left.
fn pruned<'a>(plan: &Plan, keep: &Keep, snapshots: &[&'a Snapshot]) -> Vec<Deletion<'a>> {
    let completed = || snapshots.iter().copied().filter(|s| s.is_completed());
    let usable = by_slot(completed().filter(|s| !s.archived));
    let Some(newest) = usable.last_key_value().map(|(_, same)| same[0].id.as_str()) else {
        return Vec::new();
    };
    let mut deletions = Vec::new();
    // One per slot: the earliest. A second one of a slot, made by a run that couldn't see the
    // first yet, goes (EBS-1).
    for same in usable.values() {
        let first = same[0].id.as_str();
        let reason = format!("the slot has {first} already");
        let others = same[1..].iter().copied();
        deletions.extend(others.map(|snapshot| deletion(snapshot, Some(first), &reason)));
    }
    let mut unkept = |of: &BTreeMap<Timestamp, Vec<&'a Snapshot>>, goes: fn(&Snapshot) -> bool| {
        let slots: Vec<_> = of.keys().copied().collect();
        let kept = retention::kept(&slots, keep, &plan.timezone);
        for (same, _) in of.values().zip(kept).filter(|(_, kept)| !kept) {
            let reason = "no rule of `keep` keeps it";
            let gone = same.iter().copied().filter(|s| goes(s));
            deletions.extend(gone.map(|snapshot| deletion(snapshot, Some(newest), reason)));
        }
    };
    let firsts = usable.iter().map(|(slot, same)| (*slot, vec![same[0]]));
    unkept(&firsts.collect(), |_| true);
    unkept(&by_slot(completed()), |snapshot| snapshot.archived);
    deletions
}

/// Snapshots by slot, those of one from the earliest started on.
fn by_slot<'a>(
    snapshots: impl Iterator<Item = &'a Snapshot>,
) -> BTreeMap<Timestamp, Vec<&'a Snapshot>> {
    let mut by_slot: BTreeMap<Timestamp, Vec<&'a Snapshot>> = BTreeMap::new();
    for snapshot in snapshots {
        by_slot.entry(snapshot.slot).or_default().push(snapshot);
    }
    for same in by_slot.values_mut() {
        same.sort_by_key(|s| (s.started, &s.id));
    }
    by_slot
}
