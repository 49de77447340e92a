//! How the copies in other Regions stand: which are lacking, which are stale, what goes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use guardrails::aws::ApiError;
use jiff::Timestamp;

use crate::evaluate::deletions::{Deletions, Place};
use crate::evaluate::index::Index;
use crate::evaluate::standing::{Freshness, Judged, Need, failed, need, waited_for};
use crate::facts::{Elsewhere, Facts, Snapshot, State, try_name};
use crate::policy::{Copying, Plan, Policy, Selected};
use crate::retention;

/// Another Region.
#[derive(Debug)]
pub(crate) struct There<'a> {
    pub(crate) region: &'a str,
    /// What is ours there; why not, where it couldn't be read or mayn't be used.
    pub(crate) read: Result<&'a Elsewhere, &'a ApiError>,
    /// Each volume under each plan that is copied there.
    pub(crate) lines: Vec<Line<'a>>,
    /// Nothing where the facts aren't complete, or the Region couldn't be read.
    pub(crate) deletions: Deletions<'a>,
    /// Copies of plans that aren't copied there (any more), by plan.
    pub(crate) planless: BTreeMap<&'a str, Vec<&'a Snapshot>>,
}

impl There<'_> {
    /// How many copies are under way there.
    pub(crate) fn under_way(&self) -> usize {
        let copies = self.read.iter().flat_map(|there| &there.copies);
        copies.filter(|copy| copy.state == State::Pending).count()
    }
}

/// A volume under a plan that is copied.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) copying: &'a Copying,
    /// `vol-…`; it may be gone.
    pub(crate) volume: &'a str,
    /// The copies, from old to new.
    pub(crate) copies: Vec<&'a Snapshot>,
    /// The newest completed one that isn't archived.
    pub(crate) newest: Option<&'a Snapshot>,
    /// The failed one that nothing completed has followed, and AWS's reason.
    pub(crate) failed: Option<(&'a Snapshot, &'a str)>,
    /// The snapshots that lack a copy, from new to old.
    pub(crate) lacking: Vec<(&'a Snapshot, CopyNeed<'a>)>,
    /// None where no copy of it is wanted (any more).
    pub(crate) freshness: Option<Freshness<'a>>,
    /// Whether copies of it are wanted hangs on an instance that wasn't found.
    pub(crate) unsure: bool,
    /// The newest copy and the one before it, where their keys differ: AWS has copied the whole
    /// volume (EBS-19).
    pub(crate) rekeyed: Option<(&'a Snapshot, &'a Snapshot)>,
}

/// What a snapshot that lacks a copy waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyNeed<'a> {
    /// Nothing: this try is due.
    Due(u32),
    /// The next try, until then; what AWS said to the latest, if it refused it at once.
    Later(Timestamp, Option<&'a str>),
}

/// Judges each Region that the facts have.
pub(super) fn elsewhere<'a>(
    facts: &'a Facts,
    policy: &'a Policy,
    volumes: &[Judged<'a>],
    now: Timestamp,
) -> Vec<There<'a>> {
    if facts.elsewhere.is_empty() {
        return Vec::new();
    }
    let home = Place::home(facts, policy).index();
    let by_id = volumes.iter().map(|judged| (&*judged.volume.id, judged));
    let volumes: HashMap<&str, &Judged<'a>> = by_id.collect();
    let regions = facts.elsewhere.iter();
    regions
        .map(|(region, read)| {
            let region = region.as_str();
            let read = read.as_ref();
            let place = Place {
                snapshots: read.map_or(&[], |there| there.copies.as_slice()),
                region: Some(region),
                policy,
            };
            let index = place.index();
            let mut lines = Vec::new();
            for plan in &policy.plans.0 {
                if let Some(copying) = plan.copies_to(region) {
                    let judge = Judge {
                        plan,
                        copying,
                        read,
                        leaving: leaving(plan, copying, &home),
                        latest: copying.latest(&plan.schedule, &plan.timezone, now),
                        now,
                    };
                    lines.extend(judge.lines(&home, &index, &volumes));
                }
            }
            let is_whole = facts.complete && read.is_ok();
            There {
                region,
                read,
                lines,
                deletions: if is_whole {
                    Deletions::of(facts, place, &BTreeSet::new(), now)
                } else {
                    Deletions::default()
                },
                planless: if facts.complete {
                    place.planless()
                } else {
                    BTreeMap::new()
                },
            }
        })
        .collect()
}

/// The snapshots here that copies are made from, or are about to be: without them the copies might
/// fail, or would never be. There are no more of them than `keep` over there keeps. What AWS has
/// refused to copy isn't among them. Where a Region can't be read, or the stack doesn't let a plan copy
/// to it, any of a plan's may be one.
pub(super) fn sources<'a>(
    facts: &'a Facts,
    policy: &Policy,
    elsewhere: &[There<'a>],
) -> BTreeSet<&'a str> {
    let mut sources = BTreeSet::new();
    for there in elsewhere {
        let waits = |plan: &Plan| {
            let is_forbidden = |read: &Elsewhere| read.forbidden.contains_key(&plan.name);
            plan.copies_to(there.region).is_some() && there.read.map_or(true, is_forbidden)
        };
        let waiting = |s: &&Snapshot| policy.plan(&s.plan).is_some_and(waits);
        let waiting = facts.snapshots.iter().filter(waiting);
        sources.extend(waiting.map(|s| s.id.as_str()));
        let copies = there.read.into_iter().flat_map(|read| &read.copies);
        let pending = copies.filter(|copy| copy.state == State::Pending);
        sources.extend(pending.filter_map(|copy| Some(copy.copy.as_ref()?.source.as_str())));
        let lacking = there.lines.iter().flat_map(|line| &line.lacking);
        let awaited = lacking.filter(|(_, need)| !matches!(need, CopyNeed::Later(_, Some(_))));
        sources.extend(awaited.map(|(source, _)| source.id.as_str()));
    }
    sources
}

/// The slots of a plan's snapshots that leave: asked once each, since all volumes share them.
fn leaving(plan: &Plan, copying: &Copying, home: &Index<'_>) -> BTreeSet<Timestamp> {
    let of_plan = home.iter().filter(|(_, name, _)| *name == plan.name);
    let slots: BTreeSet<Timestamp> = of_plan
        .flat_map(|(_, _, snapshots)| snapshots.iter().map(|s| s.slot))
        .collect();
    let slots = slots.into_iter();
    slots
        .filter(|slot| copying.leaves(&plan.schedule, &plan.timezone, *slot))
        .collect()
}

/// What all lines of one plan in one Region are judged by.
struct Judge<'a> {
    plan: &'a Plan,
    copying: &'a Copying,
    read: Result<&'a Elsewhere, &'a ApiError>,
    leaving: BTreeSet<Timestamp>,
    latest: Option<Timestamp>,
    now: Timestamp,
}

impl<'a> Judge<'a> {
    /// Of each volume that has snapshots or copies, or that the plan selects, or may select.
    fn lines(
        &self,
        home: &Index<'a>,
        there: &Index<'a>,
        judged: &HashMap<&str, &Judged<'a>>,
    ) -> Vec<Line<'a>> {
        let plan = self.plan.name.as_str();
        let indexed = home.iter().chain(there.iter());
        let mut volumes: BTreeSet<&'a str> = indexed
            .filter(|(_, name, _)| *name == plan)
            .map(|(volume, ..)| volume)
            .collect();
        let all = judged.values();
        let all = all.filter(|judged| judged.selected_by(plan) != Selected::No);
        volumes.extend(all.map(|judged| judged.volume.id.as_str()));
        let line = |volume: &'a str| {
            let (home, there) = (home.get(volume, plan), there.get(volume, plan));
            self.line(volume, home, there, judged.get(volume).copied())
        };
        volumes.into_iter().map(line).collect()
    }

    /// `judged`: the volume, where it is there.
    fn line(
        &self,
        volume: &'a str,
        home: &[&'a Snapshot],
        copies: &[&'a Snapshot],
        judged: Option<&Judged<'a>>,
    ) -> Line<'a> {
        let selected = judged.map_or(Selected::No, |one| one.selected_by(&self.plan.name));
        let wanted = judged.filter(|_| selected == Selected::Yes);
        let newest = copies.iter().rev().find(|copy| copy.protects()).copied();
        Line {
            plan: self.plan,
            copying: self.copying,
            volume,
            newest,
            failed: failed(copies),
            lacking: self.lacking(home, copies),
            freshness: wanted.map(|one| self.freshness(copies, newest, one.volume.created)),
            unsure: selected == Selected::Unknown,
            rekeyed: rekeyed(copies),
            copies: copies.to_vec(),
        }
    }

    /// The snapshots that `keep` over there would keep, were they there, and that aren't: what was
    /// copied to be deleted again would be paid for twice.
    fn lacking(
        &self,
        home: &[&'a Snapshot],
        copies: &[&'a Snapshot],
    ) -> Vec<(&'a Snapshot, CopyNeed<'a>)> {
        let Ok(there) = self.read else {
            return Vec::new();
        };
        if there.forbidden.contains_key(&self.plan.name) {
            return Vec::new();
        }
        let mut sources: BTreeMap<Timestamp, &'a Snapshot> = BTreeMap::new();
        let leave = home.iter().filter(|s| self.leaving.contains(&s.slot));
        for source in leave.filter(|s| s.protects()) {
            sources.entry(source.slot).or_insert(source);
        }
        let made = copies.iter().filter(|copy| !copy.is_error());
        let slots: BTreeSet<Timestamp> = made
            .map(|copy| copy.slot)
            .chain(sources.keys().copied())
            .collect();
        let slots: Vec<Timestamp> = slots.into_iter().collect();
        let kept = retention::kept(&slots, &self.copying.keep, &self.plan.timezone);
        let kept = slots.iter().zip(kept).rev().filter(|(_, kept)| *kept);
        kept.filter_map(|(slot, _)| {
            let source = *sources.get(slot)?;
            let need = self.need(source, copies, there)?;
            Some((source, need))
        })
        .collect()
    }

    fn need(
        &self,
        source: &Snapshot,
        copies: &[&'a Snapshot],
        there: &'a Elsewhere,
    ) -> Option<CopyNeed<'a>> {
        let of_slot = copies.iter().filter(|copy| copy.slot == source.slot);
        let of_slot: Vec<&Snapshot> = of_slot.copied().collect();
        match need(&of_slot, source.slot, self.now) {
            Need::None => None,
            Need::Later(again) => Some(CopyNeed::Later(again, None)),
            Need::Due(attempt, _) => {
                let name = try_name(&self.copying.region, &source.id, attempt);
                let begun = there.tries.get(&name).filter(|one| one.again > self.now);
                Some(match begun {
                    Some(begun) => CopyNeed::Later(begun.again, begun.refused.as_deref()),
                    None => CopyNeed::Due(attempt),
                })
            }
        }
    }

    fn freshness(
        &self,
        copies: &[&'a Snapshot],
        newest: Option<&'a Snapshot>,
        created: Timestamp,
    ) -> Freshness<'a> {
        let due = match newest {
            Some(newest) if self.latest.is_none_or(|latest| newest.slot >= latest) => {
                return Freshness::Fresh;
            }
            Some(newest) => {
                let next = self
                    .copying
                    .next(&self.plan.schedule, &self.plan.timezone, newest.slot);
                next.unwrap_or(Timestamp::MAX)
            }
            None => created,
        };
        let grace = self.copying.grace;
        if grace.after(due) >= self.now {
            return Freshness::Fresh;
        }
        waited_for(copies, grace, self.now)
    }
}

fn rekeyed<'a>(copies: &[&'a Snapshot]) -> Option<(&'a Snapshot, &'a Snapshot)> {
    let mut made = copies.iter().rev().filter(|copy| !copy.is_error());
    let (last, before) = (*made.next()?, *made.next()?);
    let key = |copy: &'a Snapshot| copy.copy.as_ref().map_or("", |copy| copy.key.as_str());
    let differ = key(last) != key(before) && !key(last).is_empty() && !key(before).is_empty();
    differ.then_some((last, before))
}
