//! Which snapshots are ours, and what says so: written and read here.
//!
//! Whoever may tag can write our tags on any snapshot, and change them on ours. So tags alone prove
//! nothing: plan, slot and attempt are what the description says, which is given at creation and
//! which no API call changes afterwards (EBS-11). The tags have to agree with it, and a snapshot
//! whose tags don't is disowned: it fills no slot, protects nobody, and is never deleted.

pub(crate) mod copies;

use std::fmt;
use std::sync::Arc;

use guardrails::tags;
use jiff::{SignedDuration, Timestamp, Zoned};

use crate::action::Member;
use crate::facts::{Copied, Disowned, Snapshot, State, Tag};
use crate::slots;

/// The guardrail's name, as snapshots carry it.
pub const NAME: &str = "snapshot-volumes";
/// What the description of each snapshot of ours begins with.
pub(crate) const DESCRIBED: &str = "ec2-guardrails snapshot-volumes: plan ";
/// Longest description that EC2 takes.
const DESCRIPTION_MAX: usize = 255;
/// Our clock and that of EBS, which sets a snapshot's start, are kept by AWS within milliseconds;
/// the start is read to the second.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(5);
/// Volumes that one tag lists: `vol-0123456789abcdef0=/dev/xvda` is 31 characters, device names
/// may be longer.
const LISTED_PER_TAG: usize = 6;
/// Most characters of somebody else's tag that are told.
const TOLD_MAX: usize = 60;

/// For what a snapshot was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Origin<'a> {
    plan: &'a str,
    /// As [`slots::tag`] writes it.
    slot: &'a str,
    attempt: u32,
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            plan,
            slot,
            attempt,
        } = self;
        write!(f, "{plan}, slot {slot}, attempt {attempt}: ")
    }
}

/// Reads what follows `plan `: exactly what is written, and then whatever people read.
fn read_origin(text: &str) -> Option<Origin<'_>> {
    let (plan, rest) = text.split_once(", slot ")?;
    let (slot, rest) = rest.split_once(", attempt ")?;
    let (attempt, _) = rest.split_once(": ")?;
    let origin = Origin {
        plan,
        slot,
        attempt: attempt.parse().ok()?,
    };
    text.starts_with(&origin.to_string()).then_some(origin)
}

/// EC2 takes ASCII only.
fn ascii(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(|c| match c {
        ' '..='~' => c,
        _ => '?',
    })
}

/// The description of a snapshot for `plan` and `slot`; `what` is for people.
pub(crate) fn description(plan: &str, slot: &Zoned, attempt: u32, what: &str) -> String {
    described_by(DESCRIBED, plan, slot, attempt, what)
}

/// A description that begins with `words`.
fn described_by(words: &str, plan: &str, slot: &Zoned, attempt: u32, what: &str) -> String {
    let slot = &slots::tag(slot);
    let origin = Origin {
        plan,
        slot,
        attempt,
    };
    format!("{words}{origin}")
        .chars()
        .chain(ascii(what))
        .take(DESCRIPTION_MAX)
        .collect()
}

/// The tags that have to agree with the description, but for the volumes.
fn agreeing<'a>(origin: &Origin<'a>) -> [(&'static str, &'a str); 3] {
    [
        (tags::GUARDRAIL, NAME),
        (tags::PLAN, origin.plan),
        (tags::SLOT, origin.slot),
    ]
}

/// The tags by which a snapshot of `members` is ours.
pub(crate) fn own_tags(plan: &str, slot: &Zoned, attempt: u32, members: &[Member]) -> Vec<Tag> {
    let slot = &slots::tag(slot);
    let origin = Origin {
        plan,
        slot,
        attempt,
    };
    let agreeing = agreeing(&origin).map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut all = Vec::from(agreeing);
    all.push((tags::ATTEMPT.to_owned(), attempt.to_string()));
    for (n, some) in members.chunks(LISTED_PER_TAG).enumerate() {
        let key = match n {
            0 => tags::VOLUMES.to_owned(),
            n => format!("{}-{}", tags::VOLUMES, n + 1),
        };
        all.push((key, listed(some)));
    }
    all
}

/// How many tags [`own_tags`] gives so many.
pub(crate) fn own_tag_count(members: usize) -> usize {
    4 + members.div_ceil(LISTED_PER_TAG)
}

/// `vol-1=/dev/xvda vol-2=/dev/sdf`; without the devices where these don't fit, because a volume
/// that isn't listed would be disowned.
fn listed(members: &[Member]) -> String {
    let join = |with_device: bool| {
        let each = members.iter().map(|member| match &member.device {
            Some(device) if with_device => format!("{}={device}", member.volume),
            _ => member.volume.clone(),
        });
        each.collect::<Vec<_>>().join(" ")
    };
    let whole = join(true);
    if whole.chars().count() <= tags::VALUE_MAX {
        whole
    } else {
        join(false)
    }
}

/// A snapshot as AWS describes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Described<'a> {
    pub(crate) id: &'a str,
    pub(crate) volume: &'a str,
    pub(crate) description: &'a str,
    pub(crate) started: Timestamp,
    pub(crate) tags: &'a [(&'a str, &'a str)],
}

/// Whose a snapshot is whose description says that it is ours.
#[derive(Debug, PartialEq)]
pub(crate) enum Owned {
    Ours(Snapshot),
    Disowned(Disowned),
}

/// Reads a snapshot; whether it is archived or held isn't a question of whose it is. None when its
/// description isn't one of ours: then it is nobody's concern here, whatever its tags say.
pub(crate) fn read(described: &Described<'_>, state: State) -> Option<Owned> {
    let text = described.description.strip_prefix(DESCRIBED)?;
    described.owned(text, described.volume, None, state)
}

impl Described<'_> {
    /// Whose it is, by what its description says behind `plan `.
    fn owned(&self, text: &str, volume: &str, copy: Option<Copied>, state: State) -> Option<Owned> {
        let origin = read_origin(text)?;
        let slot: Timestamp = origin.slot.parse().ok()?;
        let source = copy.iter().map(|copy| (tags::SOURCE, &*copy.source));
        let expected = agreeing(&origin).into_iter().chain(source);
        // A copy carries an arbitrary volume id (EBS-9), and a set has one description also for a
        // volume that was attached meanwhile (EBS-2).
        let why = started_before(self, &origin, slot)
            .or_else(|| differs(self.tags, expected))
            .or_else(|| unlisted(self.tags, volume));
        let (id, volume) = (self.id.to_owned(), volume.to_owned());
        Some(match why {
            None => Owned::Ours(Snapshot {
                id,
                volume,
                plan: Arc::from(origin.plan),
                slot,
                attempt: origin.attempt,
                state,
                started: self.started,
                archived: false,
                held: false,
                copy: copy.map(Box::new),
            }),
            Some(why) => Owned::Disowned(Disowned { id, volume, why }),
        })
    }
}

/// That a snapshot was started before its slot.
fn started_before(
    described: &Described<'_>,
    origin: &Origin<'_>,
    slot: Timestamp,
) -> Option<String> {
    let started = described.started;
    (slot > started + CLOCK_SKEW).then(|| {
        format!(
            "it was started at {started}, before its slot {}",
            origin.slot
        )
    })
}

/// Which of `expected` was changed, or is gone.
fn differs<'a>(
    tags: &[(&str, &str)],
    expected: impl Iterator<Item = (&'static str, &'a str)>,
) -> Option<String> {
    for (key, expected) in expected {
        match tags.iter().find(|(have, _)| *have == key) {
            Some((_, value)) if *value == expected => {}
            Some((_, value)) => {
                let value = tags::clip_to(value, TOLD_MAX);
                return Some(format!(
                    "its tag {key} was \"{expected}\" and is \"{value}\""
                ));
            }
            None => return Some(format!("its tag {key} (\"{expected}\") is gone")),
        }
    }
    None
}

/// That the tags don't list `volume`.
fn unlisted(tags: &[(&str, &str)], volume: &str) -> Option<String> {
    let listed = tags
        .iter()
        .filter(|(key, _)| key.starts_with(tags::VOLUMES))
        .flat_map(|(_, value)| value.split(' '))
        .any(|item| item.split('=').next() == Some(volume));
    (!listed).then(|| format!("its tag {} doesn't list its volume {volume}", tags::VOLUMES))
}

#[cfg(test)]
mod tests;
