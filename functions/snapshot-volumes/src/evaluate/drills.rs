//! How the drills stand: whose turn it is, what is under way, and what is proven.

use std::collections::BTreeMap;

use guardrails::aws::ApiError;
use jiff::{SignedDuration, Timestamp, Zoned};

use crate::evaluate::copies::There;
use crate::evaluate::standing::Judged;
use crate::facts::drills::{
    Ended, Made, Outcome, Record, Remembered, Restore, UnderWay, key, read_key,
};
use crate::facts::{Facts, Snapshot};
use crate::policy::{Drill, Policy, Selected, Way};

/// A restore that isn't ready by then has failed.
pub(crate) const LIMIT: SignedDuration = SignedDuration::from_hours(6);
/// What is to be deleted and isn't gone by then is told.
const LEFT_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// A new volume may not be seen for so long; then it is gone.
const SEEN_AFTER: SignedDuration = SignedDuration::from_mins(5);
/// So long a client token surely holds: within it the same request makes no second volume (EBS-24).
const TOKEN_HOLDS: SignedDuration = SignedDuration::from_hours(1);
/// A run that reads blocks has ended by then: Lambda gives it no more.
const RUN_ENDS: SignedDuration = SignedDuration::from_mins(15);
/// Reading that never ends is given up after so many runs.
const TRIES_MAX: u32 = 3;
/// What couldn't be tried for so long is told, whatever `proven-within` says.
const UNTRIED_FOR: SignedDuration = SignedDuration::from_hours(24);
/// How long to wait after what doesn't pass by itself.
pub(crate) const AGAIN_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// A drill, and where it stands.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    pub(crate) drill: &'a Drill,
    pub(crate) region: &'a str,
    /// The slot that holds now.
    pub(crate) slot: Option<Zoned>,
    /// Whether it is known since when it is.
    pub(crate) is_new: bool,
    /// Why its Region can't be looked at.
    pub(crate) unread: Option<&'a ApiError>,
    /// The volumes that it is for.
    pub(crate) lines: Vec<Tried<'a>>,
    /// Which of these are tried now.
    pub(crate) turn: Vec<usize>,
}

/// A volume under a drill.
#[derive(Debug)]
pub(crate) struct Tried<'a> {
    /// `vol-…`; it may be gone.
    pub(crate) volume: &'a str,
    pub(crate) key: String,
    /// The newest snapshot or copy that protects it.
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) gib: i32,
    /// Where the volume lies.
    pub(crate) zone: Option<&'a str>,
    /// A proof is asked for from then on.
    pub(crate) since: Timestamp,
    /// Whether that isn't written down yet.
    pub(crate) since_is_new: bool,
    /// Whether it is for the volume hangs on an instance that wasn't found.
    pub(crate) unsure: bool,
    pub(crate) too_large: bool,
    pub(crate) remembered: Option<&'a Remembered>,
}

impl<'a> Tried<'a> {
    /// Whether `since` is to be written down: where there is a proof, it is no matter.
    pub(crate) fn begins(&self) -> bool {
        let is_proven = self.record().is_some_and(|record| record.proof.is_some());
        self.since_is_new && !self.unsure && !is_proven
    }

    fn record(&self) -> Option<&'a Record> {
        self.remembered.map(|stored| &stored.value)
    }
}

/// What is under way, and what comes next.
#[derive(Debug)]
pub(crate) struct Going<'a> {
    pub(crate) drill: &'a str,
    pub(crate) region: &'a str,
    pub(crate) volume: &'a str,
    pub(crate) remembered: &'a Remembered,
    pub(crate) next: Next<'a>,
}

/// What comes next with what is under way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    /// It takes its time.
    Wait,
    /// Read the blocks of this snapshot again: the run that did has been ended.
    Read(&'a str),
    /// Ask for the volume again, by the same client token.
    Ask,
    /// Write down that this is the volume, or that it is still being made.
    Note(&'a Made),
    /// It is ready: look at its status.
    Check(&'a Made),
    /// Write down what came of it, and delete the volume.
    Close(&'a Made, Outcome),
    /// The volume is gone: write down what came of it.
    Settle(Ended),
    /// Somebody has to look: the volume can't be deleted, and why.
    Left(String),
    /// That can't be told now.
    Unknown(&'a ApiError),
}

impl<'a> Going<'a> {
    /// Why people have to know of it: what was made stays.
    pub(crate) fn left(&self, now: Timestamp) -> Option<String> {
        let restore = self.remembered.value.restore()?;
        if let Next::Left(why) = &self.next {
            return Some(why.clone());
        }
        if let Some(refused) = &restore.refused {
            return Some(refused.clone());
        }
        let is_late = restore.begun + LIMIT + LEFT_AFTER < now;
        is_late.then(|| match &self.next {
            Next::Unknown(error) => format!("it can't be looked at ({error})"),
            _ => "it isn't deleted yet; only runs in mode enforce delete it".to_owned(),
        })
    }

    fn of(facts: &'a Facts, stored: &'a Remembered, now: Timestamp) -> Option<Self> {
        let (drill, region, volume) = read_key(&stored.name)?;
        let next = match stored.value.under_way.as_ref()? {
            UnderWay::Blocks { begun, .. } if *begun + RUN_ENDS > now => Next::Wait,
            UnderWay::Blocks {
                tries, snapshot, ..
            } if *tries < TRIES_MAX => Next::Read(snapshot),
            UnderWay::Blocks { tries, .. } => {
                let why = format!("{tries} runs were ended while they read its blocks");
                Next::Settle(Ended::Untried(why, AGAIN_AFTER))
            }
            UnderWay::Volume(restore) => match facts.drills.made.get(region) {
                Some(Ok(made)) => next(restore, made, now),
                Some(Err(error)) => Next::Unknown(error),
                None => Next::Wait,
            },
        };
        Some(Self {
            drill,
            region,
            volume,
            remembered: stored,
            next,
        })
    }
}

/// What comes next with a volume that was asked for, by what AWS shows.
pub(crate) fn next<'a>(restore: &Restore, made: &'a [Made], now: Timestamp) -> Next<'a> {
    let Some(id) = &restore.volume else {
        return match made.iter().find(|one| restore.is_its(one).is_ok()) {
            Some(its) => Next::Note(its),
            None if restore.begun + TOKEN_HOLDS > now => Next::Ask,
            None => Next::Settle(Ended::Untried(
                "AWS never said whether it makes a volume, and there is none".to_owned(),
                AGAIN_AFTER,
            )),
        };
    };
    let Some(its) = made.iter().find(|one| one.id == *id) else {
        return gone(restore, now);
    };
    if let Err(why) = restore.is_its(its) {
        return Next::Left(why);
    }
    if its.attached.is_some() {
        return Next::Left(restore.may_delete(its).err().unwrap_or_default());
    }
    if its.state == "deleting" {
        return Next::Wait;
    }
    let late = restore.begun + LIMIT < now;
    match (&restore.outcome, its.state.as_str()) {
        (Some(outcome), _) => Next::Close(its, outcome.clone()),
        (None, "error") => Next::Close(its, Outcome::Failed(format!("{id} ended in `error`"))),
        (None, "available") if late => Next::Close(
            its,
            Outcome::Untried(format!("AWS didn't tell the status of {id} in 6 hours")),
        ),
        (None, state) if late => Next::Close(
            its,
            Outcome::Failed(format!("{id} wasn't ready after 6 hours: state `{state}`")),
        ),
        (None, "available") => Next::Check(its),
        (None, "creating") => Next::Note(its),
        (None, _) => Next::Left(restore.may_delete(its).err().unwrap_or_default()),
    }
}

/// The volume isn't there.
fn gone(restore: &Restore, now: Timestamp) -> Next<'static> {
    let asked = restore.created.unwrap_or(restore.begun).max(restore.begun);
    match &restore.outcome {
        Some(outcome) => Next::Settle(match outcome {
            Outcome::Proven => Ended::Proven(
                format!("a volume in {} was available, its status ok", restore.zone),
                restore.took(),
            ),
            Outcome::Failed(why) => Ended::Failed(why.clone()),
            Outcome::Untried(why) => Ended::Untried(why.clone(), AGAIN_AFTER),
        }),
        None if asked + SEEN_AFTER > now => Next::Wait,
        // EBS-25
        None => Next::Settle(Ended::Untried(vanished(restore), AGAIN_AFTER)),
    }
}

/// A volume that was made and isn't there any more.
pub(crate) fn vanished(restore: &Restore) -> String {
    format!(
        "{} vanished before it was ready: AWS lets a volume vanish whose KMS key may not be used (name the key in the stack's parameter CopyKeyArns, and enable it), or somebody has deleted it",
        restore.volume.as_deref().unwrap_or("the volume")
    )
}

/// Judges what is under way.
pub(super) fn under_way(facts: &Facts, now: Timestamp) -> Vec<Going<'_>> {
    // A look at one volume is no matter of others'.
    let is_whole = facts.complete || facts.drills.asked.is_some();
    let records = facts.drills.records.values().filter(|_| is_whole);
    records
        .filter_map(|stored| Going::of(facts, stored, now))
        .collect()
}

/// Judges each drill.
pub(super) fn rounds<'a>(
    facts: &'a Facts,
    policy: &'a Policy,
    volumes: &[Judged<'a>],
    elsewhere: &[There<'a>],
    now: Timestamp,
) -> Vec<Round<'a>> {
    let drills = policy.drills.iter();
    drills
        .map(|drill| {
            let region = drill.region.as_deref().unwrap_or(&facts.region);
            let since = facts.drills.since.get(&drill.name).copied();
            let there = elsewhere.iter().find(|there| there.region == region);
            let of = Of {
                facts,
                drill,
                region,
                since: since.unwrap_or(now),
            };
            let mut round = Round {
                drill,
                region,
                slot: drill.schedule.slot_at(&drill.timezone, now),
                is_new: since.is_none(),
                unread: there.and_then(|there| there.read.err()),
                lines: match there {
                    _ if region == facts.region => of.here(volumes),
                    Some(there) => of.there(there),
                    None => Vec::new(),
                },
                turn: Vec::new(),
            };
            if facts.drills.forbidden.is_none() && round.unread.is_none() {
                round.turn = turn(facts, &round, now);
            }
            round
        })
        .collect()
}

/// A drill in its Region.
struct Of<'a> {
    facts: &'a Facts,
    drill: &'a Drill,
    region: &'a str,
    since: Timestamp,
}

impl<'a> Of<'a> {
    /// Of the volumes that a plan of the drill selects, or may select.
    fn here(&self, volumes: &[Judged<'a>]) -> Vec<Tried<'a>> {
        let of_volume = |judged: &Judged<'a>| {
            let plans = judged.standings.iter();
            let plans = plans.filter(|standing| {
                standing.selected != Selected::No && self.drill.is_for(&standing.plan.name)
            });
            let unsure = plans.clone().all(|s| s.selected != Selected::Yes);
            let snapshots = plans.flat_map(|standing| &standing.snapshots).copied();
            let volume = judged.volume;
            let zone = volume.zone.as_deref();
            self.tried(
                &volume.id,
                &snapshots.collect::<Vec<_>>(),
                volume.gib,
                zone,
                volume.created,
                unsure,
            )
        };
        volumes.iter().filter_map(of_volume).collect()
    }

    /// Of the copies in another Region, also of volumes that are gone.
    fn there(&self, there: &There<'a>) -> Vec<Tried<'a>> {
        let mut volumes: BTreeMap<&'a str, Vec<&'a Snapshot>> = BTreeMap::new();
        let lines = there.lines.iter();
        for line in lines.filter(|line| self.drill.is_for(&line.plan.name)) {
            volumes.entry(line.volume).or_default().extend(&line.copies);
        }
        let volumes = volumes.into_iter();
        volumes
            .filter_map(|(volume, copies)| {
                let gib = copies.iter().rev().find_map(|copy| copy.copy.as_ref());
                let gib = gib.map_or(0, |copied| copied.gib);
                self.tried(volume, &copies, gib, None, Timestamp::MIN, false)
            })
            .collect()
    }

    /// None: there is nothing that could be tried.
    fn tried(
        &self,
        volume: &'a str,
        snapshots: &[&'a Snapshot],
        gib: i32,
        zone: Option<&'a str>,
        created: Timestamp,
        unsure: bool,
    ) -> Option<Tried<'a>> {
        let usable = snapshots.iter().filter(|snapshot| snapshot.protects());
        let snapshot = usable.max_by(|one, other| one.order().cmp(&other.order()))?;
        // What came under a plan later is known by its first snapshot. That is pruned, so it is
        // written down.
        let first = snapshots.iter().map(|snapshot| snapshot.started).min()?;
        let key = key(&self.drill.name, self.region, volume);
        let known = self.facts.drills.since.get(&key).copied();
        Some(Tried {
            volume,
            snapshot,
            gib,
            zone,
            since: known.unwrap_or(self.since.max(created).max(first)),
            since_is_new: known.is_none(),
            unsure,
            too_large: self.drill.leaves_out(gib),
            remembered: self.facts.drills.records.get(&key),
            key,
        })
    }
}

/// Whose turn it is: as many as the slot still lacks, those whose last turn was longest ago, and
/// what couldn't be tried before. A volume whose proof fails doesn't take others their turn.
fn turn(facts: &Facts, round: &Round<'_>, now: Timestamp) -> Vec<usize> {
    let Some(slot) = round.slot.as_ref().map(Zoned::timestamp) else {
        return Vec::new();
    };
    if !facts.complete {
        return Vec::new();
    }
    let had_it = |record: &Record| record.taken.is_some_and(|taken| taken >= slot);
    let of_round = key(&round.drill.name, round.region, "");
    let records = facts.drills.records.values();
    let done = records
        .filter(|stored| stored.name.starts_with(&of_round) && had_it(&stored.value))
        .count();
    let lacking = (round.drill.volumes as usize).saturating_sub(done);
    let is_idle = |line: &&(usize, &Tried<'_>)| {
        !line.1.too_large
            && !line.1.unsure
            && line
                .1
                .record()
                .is_none_or(|record| record.under_way.is_none())
    };
    let idle: Vec<_> = round.lines.iter().enumerate().collect();
    let (had, mut due): (Vec<_>, Vec<_>) = idle
        .iter()
        .filter(is_idle)
        .copied()
        .partition(|(_, line)| line.record().is_some_and(had_it));
    due.sort_by_key(|(_, line)| (line.record().and_then(Record::last_turn), line.volume));
    let again = had.into_iter().filter(|(_, line)| {
        let untried = line.record().and_then(|record| record.untried.as_ref());
        untried.is_some_and(|untried| untried.again <= now)
    });
    let chosen = due.iter().take(lacking).copied().chain(again);
    chosen.map(|(at, _)| at).collect()
}

/// Whether a proof is as new as is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proven {
    Fresh,
    /// It is older, or there is none: a fingerprint, and why.
    Stale(String, String),
}

/// Whether the proof of a volume is as new as its drill asks for.
pub(crate) fn proven(
    drill: &Drill,
    line: &Tried<'_>,
    record: Option<&Record>,
    now: Timestamp,
) -> Proven {
    if line.too_large {
        return Proven::Fresh;
    }
    let proof = record.and_then(|record| record.proof.as_ref());
    let untried = record.and_then(|record| record.untried.as_ref());
    let (from, fingerprint, last) = match proof {
        Some(proof) => (
            proof.at,
            format!("since {}", proof.at),
            format!("the last proof is of {}, by {}", proof.at, proof.snapshot),
        ),
        None => (
            line.since,
            "never".to_owned(),
            "there has never been a proof".to_owned(),
        ),
    };
    let why = untried.map(|untried| {
        format!(
            "it couldn't be tried since {}: {}",
            untried.since, untried.why
        )
    });
    if drill.proven_within.after(from) < now {
        let why = why.unwrap_or_else(|| format!("within {} one is asked for", drill.proven_within));
        return Proven::Stale(fingerprint, format!("{last}; {why}"));
    }
    match (untried, why) {
        (Some(untried), Some(why)) if untried.since + UNTRIED_FOR < now => Proven::Stale(
            format!("untried since {}", untried.since),
            format!("{last}; {why}"),
        ),
        _ => Proven::Fresh,
    }
}

/// What a try's way is called.
pub(crate) fn way(way: Way) -> &'static str {
    match way {
        Way::Blocks => "blocks",
        Way::Volume => "volume",
    }
}
