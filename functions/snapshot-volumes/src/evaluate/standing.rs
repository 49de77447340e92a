//! How one volume stands under one plan.

use guardrails::policy::Age;
use jiff::{SignedDuration, Timestamp, Zoned};

use crate::facts::{Snapshot, State, Volume};
use crate::policy::{Plan, Selected};

/// A plan, and where its schedule stands.
#[derive(Debug)]
pub(crate) struct Planned<'a> {
    pub(crate) plan: &'a Plan,
    /// The slot that holds now.
    pub(crate) slot: Option<Zoned>,
}

/// A volume, and how it stands under each plan: in the order of [`Evaluation::plans`].
#[derive(Debug)]
pub(crate) struct Judged<'a> {
    pub(crate) volume: &'a Volume,
    pub(crate) standings: Vec<Standing<'a>>,
    /// Its snapshots of plans that the policy doesn't have.
    pub(crate) planless: Vec<&'a Snapshot>,
}

impl<'a> Judged<'a> {
    /// The plans that want snapshots of it: also where it can have none (any more).
    pub(crate) fn selected(&self) -> impl Iterator<Item = &Standing<'a>> {
        let standings = self.standings.iter();
        standings.filter(|s| !self.volume.is_new() && s.selected == Selected::Yes)
    }

    /// Whether a plan wants snapshots of it.
    pub(super) fn selected_by(&self, plan: &str) -> Selected {
        let mut standings = self.standings.iter();
        let its = standings.find(|s| s.plan.name == plan && !self.volume.is_new());
        its.map_or(Selected::No, |s| s.selected)
    }
}

/// How a volume stands under a plan.
#[derive(Debug)]
pub(crate) struct Standing<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) selected: Selected,
    /// Its snapshots of the plan, from old to new.
    pub(crate) snapshots: Vec<&'a Snapshot>,
    /// The newest completed one that isn't archived.
    pub(crate) newest: Option<&'a Snapshot>,
    /// A completed one that is archived, and newer.
    pub(crate) archived: Option<&'a Snapshot>,
    /// The failed one that nothing completed has followed, and AWS's reason.
    pub(crate) failed: Option<(&'a Snapshot, &'a str)>,
    pub(crate) need: Need,
    pub(crate) freshness: Freshness<'a>,
}

/// Whether a volume lacks its plan's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// It has it, or a later one; or it can't or needn't have one.
    None,
    /// This try at it is due; why.
    Due(u32, &'static str),
    /// The next try waits; until when.
    Later(Timestamp),
}

/// Whether the newest completed snapshot is as new as schedule and grace ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness<'a> {
    Fresh,
    /// It isn't, but one is under way.
    UnderWay(&'a Snapshot),
    Overdue,
}

impl<'a> Standing<'a> {
    pub(super) fn of(
        planned: &Planned<'a>,
        volume: &Volume,
        selected: Selected,
        snapshots: Vec<&'a Snapshot>,
        now: Timestamp,
    ) -> Self {
        let plan = planned.plan;
        let slot = planned.slot.as_ref().map(Zoned::timestamp);
        let newest = snapshots.iter().rev().find(|s| s.protects()).copied();
        let archived = snapshots.iter().rev().find(|s| s.is_completed()).copied();
        let mut standing = Self {
            plan,
            selected,
            newest,
            archived: archived.filter(|snapshot| snapshot.archived),
            failed: failed(&snapshots),
            need: Need::None,
            freshness: Freshness::Fresh,
            snapshots,
        };
        if selected != Selected::Yes || volume.is_new() {
            return standing;
        }
        let obstacle = volume.obstacle().is_some();
        if let Some(slot) = slot
            && !obstacle
        {
            standing.need = need(&standing.snapshots, slot, now);
        }
        // What lies outside or in ruins has no next slot to wait for.
        let is_lost = obstacle && (volume.is_usable() || volume.state == "error");
        if is_lost {
            standing.freshness = Freshness::Overdue;
        } else if standing.is_overdue(slot, volume.created, now) {
            standing.freshness = waited_for(&standing.snapshots, plan.grace, now);
        }
        standing
    }

    fn is_overdue(&self, slot: Option<Timestamp>, created: Timestamp, now: Timestamp) -> bool {
        let due = match self.newest {
            // Nothing has come due since.
            Some(newest) if slot.is_some_and(|slot| newest.slot >= slot) => return false,
            Some(newest) => self
                .plan
                .schedule
                .slot_after(&self.plan.timezone, newest.slot)
                .map_or(Timestamp::MAX, |slot| slot.timestamp()),
            None => created,
        };
        self.plan.grace.after(due) < now
    }
}

/// One under way is waited for: for how it ends, but not for ever.
pub(super) fn waited_for<'a>(
    snapshots: &[&'a Snapshot],
    grace: Age,
    now: Timestamp,
) -> Freshness<'a> {
    let mut latest = snapshots.iter().rev().copied();
    let under_way = latest.find(|s| s.state == State::Pending && grace.after(s.started) >= now);
    under_way.map_or(Freshness::Overdue, Freshness::UnderWay)
}

/// The latest failure that nothing made up for.
pub(super) fn failed<'a>(snapshots: &[&'a Snapshot]) -> Option<(&'a Snapshot, &'a str)> {
    let failures = snapshots.iter().rev().copied();
    failures
        .filter(|failure| !snapshots.iter().any(|other| makes_up(other, failure)))
        .find_map(|snapshot| match &snapshot.state {
            State::Error(reason) => Some((snapshot, reason.as_str())),
            _ => None,
        })
}

/// Whether `other` has, or still may have, what `failure` was to be: it is completed, or it was
/// made for the same slot and isn't a try after it, so the failure was one too many (EBS-1).
fn makes_up(other: &Snapshot, failure: &Snapshot) -> bool {
    match other.state {
        State::Completed => other.slot >= failure.slot,
        State::Pending => other.slot == failure.slot && other.attempt <= failure.attempt,
        State::Error(_) => false,
    }
}

/// What `slot` lacks, by its snapshots from old to new.
pub(super) fn need(snapshots: &[&Snapshot], slot: Timestamp, now: Timestamp) -> Need {
    if snapshots.iter().any(|s| s.slot >= slot && !s.is_error()) {
        return Need::None;
    }
    // Sorted from old to new: the last one of the slot is the latest try.
    let Some(failed) = snapshots.iter().rev().find(|s| s.slot >= slot) else {
        return Need::Due(1, "the slot has no snapshot yet");
    };
    let next = failed.started + pause_after(failed.attempt);
    if next > now {
        return Need::Later(next);
    }
    Need::Due(
        failed.attempt.saturating_add(1),
        "the snapshot before failed",
    )
}

/// How long after a failed try the next one starts. The first failure may pass by itself; a lasting
/// one, such as a disabled key, would fail at every sweep.
fn pause_after(attempt: u32) -> SignedDuration {
    let minutes = match attempt {
        0 | 1 => 0,
        2 => 15,
        3 => 30,
        4 => 60,
        5 => 120,
        _ => 240,
    };
    SignedDuration::from_mins(minutes)
}
