//! Judges each instance and each source of launches once. Pure.
//!
//! What is decided, told, counted and answered all reads this, so that none of them can disagree.

use std::collections::{BTreeMap, BTreeSet};

use guardrails::aws::ApiError;
use guardrails::ec2::State;
use guardrails::policy::Age;
use jiff::{SignedDuration, Timestamp};

use crate::approval::{self, Launch, Line, Verdict, verdict, verdict_on};
use crate::ask::Ask;
use crate::facts::{Facts, Group, Image, Instance};
use crate::labels;
use crate::launches::{Looping, Source, is_broken, loops};
use crate::policy::{Policy, breadth};
use crate::record::{Loop, Record, Stage};

/// How long after the isolation a look may still show the groups from before it.
const SETTLE: Age = Age::from_mins(2);
/// How long a person's release may take before a sweep finishes it.
pub(crate) const RELEASE_TAKES: Age = Age::from_mins(5);
/// How long a run may take to carry a quarantine out, before another takes it up: long enough that
/// of several events for one launch only the first acts and tells.
const UNDER_WAY: SignedDuration = SignedDuration::from_secs(20);
/// How long after the launch CloudTrail is asked who it was; its records come within 15 minutes.
const LOOK_FOR_LAUNCHER: Age = Age::from_hours(2);
/// How long after its launch an approval is written down, and looked up where the verdict is none.
const REMEMBERED_WITHIN: Age = Age::from_hours(1);
/// How long after its beginning the quarantine of an instance that EC2 doesn't show any more is
/// forgotten: longer than a look may miss an instance.
const FORGET: Age = Age::from_hours(24);

/// What the facts come to.
#[derive(Debug)]
pub struct Evaluation<'a> {
    /// What was found.
    pub facts: &'a Facts,
    /// What is wanted.
    pub policy: &'a Policy,
    /// When.
    pub now: Timestamp,
    /// Each instance that was looked at, by id.
    pub judged: BTreeMap<&'a str, Judged<'a>>,
    /// The sources that launch in a loop.
    pub loops: Vec<Judgement<'a>>,
    /// Groups whose loop was broken, and whose latest launches make none any more.
    pub suspended: Vec<(&'a Group, &'a Loop)>,
    /// Quarantines whose instances are gone.
    pub forgotten: Vec<&'a str>,
    /// What is too broad about the policy.
    pub broad: Vec<String>,
    /// What `check` answers.
    pub checked: Option<Checked<'a>>,
}

/// An instance.
#[derive(Debug)]
pub struct Judged<'a> {
    /// The instance.
    pub instance: &'a Instance,
    /// What is said of its launch.
    pub verdict: Verdict<'a>,
    /// What follows.
    pub stance: Stance<'a>,
    /// What its labels say, where nothing was recorded.
    pub unrecorded: Option<String>,
}

/// What follows from verdict and memory.
#[derive(Debug)]
pub enum Stance<'a> {
    /// It is being terminated, or is.
    Terminal,
    /// It is in quarantine.
    Held(Held<'a>),
    /// Nothing is against it.
    Fine,
    /// It can't be told.
    Undecided,
    /// It is to be isolated.
    ToIsolate,
    /// It isn't approved, but this service alone may change it.
    Managed(&'a str),
    /// It isn't approved, but was launched too long ago.
    Old,
}

/// An instance in quarantine.
#[derive(Debug)]
pub struct Held<'a> {
    /// What was recorded.
    pub record: &'a Record,
    /// How it stands.
    pub phase: Phase,
    /// Whether it is to be looked up who launched it.
    pub wants_launcher: bool,
}

/// How a quarantine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A run is carrying it out right now.
    UnderWay,
    /// Begun, and not finished.
    Unfinished,
    /// A release is under way.
    Releasing,
    /// A release was begun, and not finished.
    ReleaseUnfinished,
    /// It stands.
    Stands,
    /// It stands, but whether it is isolated couldn't be read.
    Unread,
    /// Its groups were changed by hand.
    Drifted,
    /// They were changed again after it had been isolated again.
    DriftedAgain,
}

impl Phase {
    /// Whether another run is at it, and tells.
    pub fn is_under_way(self) -> bool {
        matches!(
            self,
            Self::UnderWay | Self::Unfinished | Self::Releasing | Self::ReleaseUnfinished
        )
    }
}

/// A source that launches in a loop, and what can be done about it.
#[derive(Debug)]
pub struct Judgement<'a> {
    /// The source and its launches.
    pub looping: Looping,
    /// What can be done.
    pub standing: Standing<'a>,
}

/// What can be done about a source that launches in a loop.
#[derive(Debug)]
pub enum Standing<'a> {
    /// Nothing from here: it is no group.
    NoGroup,
    /// The group couldn't be read.
    Unread(&'a ApiError),
    /// The group is gone.
    Gone,
    /// Its processes are suspended.
    Suspended,
    /// This service alone may change it.
    Managed(&'a str),
    /// The policy doesn't want it.
    StepOff,
    /// Its processes are to be suspended.
    ToBreak(&'a Group),
}

/// What `check` says of a launch, rule by rule.
#[derive(Debug)]
pub struct Checked<'a> {
    /// The AMI, where it is known.
    pub image: Option<&'a Image>,
    /// The verdict in a word or two.
    pub word: &'static str,
    /// Why.
    pub reason: String,
    /// Each rule.
    pub rules: Vec<Line>,
}

/// Judges.
pub(crate) fn evaluate<'a>(facts: &'a Facts, policy: &'a Policy, now: Timestamp) -> Evaluation<'a> {
    let judged: BTreeMap<&str, Judged<'_>> = facts
        .instances
        .values()
        .map(|one| (one.id.as_str(), judge(one, facts, policy, now)))
        .collect();
    let siblings: Vec<(&Instance, Verdict<'_>)> = facts
        .siblings
        .values()
        .map(|one| (one, verdict(one, facts, policy)))
        .collect();
    let seen: Vec<(&Instance, &Verdict<'_>)> = judged
        .values()
        .map(|judged| (judged.instance, &judged.verdict))
        .chain(siblings.iter().map(|(one, verdict)| (*one, verdict)))
        .collect();
    let found = if facts.ask.is_reconcile() || matches!(facts.ask, Ask::CheckInstance(_)) {
        loops(&seen, facts, policy, now)
    } else {
        Vec::new()
    };
    let loops: Vec<Judgement<'_>> = found
        .into_iter()
        .map(|looping| Judgement {
            standing: standing(&looping.source, facts, policy),
            looping,
        })
        .collect();
    let checked = checked(facts, policy, &judged, now);
    Evaluation {
        facts,
        policy,
        now,
        suspended: suspended(facts, &loops),
        forgotten: forgotten(facts, now),
        broad: breadth::warnings(policy)
            .into_iter()
            .map(|warning| warning.text)
            .collect(),
        judged,
        loops,
        checked,
    }
}

/// The instances among `facts` that no rule approves, as far as anything was read: those of which
/// more is to be read.
pub(crate) fn unapproved_so_far<'a>(facts: &'a Facts, policy: &Policy) -> Vec<&'a Instance> {
    let instances = facts.instances.values();
    instances
        .filter(|one| {
            let verdict = verdict(one, facts, policy);
            verdict.is_unapproved() || matches!(verdict, Verdict::Undecided(_))
        })
        .collect()
}

/// Whether it is so young that its approval is remembered.
pub(crate) fn is_young(instance: &Instance, now: Timestamp) -> bool {
    REMEMBERED_WITHIN.after(instance.launched) > now
}

fn judge<'a>(
    instance: &'a Instance,
    facts: &'a Facts,
    policy: &'a Policy,
    now: Timestamp,
) -> Judged<'a> {
    let verdict = verdict(instance, facts, policy);
    let record = facts.records.get(&instance.id);
    let stance = match (instance.state, record) {
        (State::Terminal, _) => Stance::Terminal,
        (_, Some(record)) => Stance::Held(held(instance, record, facts, now)),
        (_, None) => of_launch(instance, &verdict, policy, now),
    };
    // Labels may stay behind for a moment when a release has ended.
    let unrecorded = record.is_none() && !facts.released.contains_key(&instance.id);
    Judged {
        unrecorded: labels::said(&instance.tags)
            .filter(|_| unrecorded && instance.state != State::Terminal),
        instance,
        verdict,
        stance,
    }
}

fn of_launch<'a>(
    instance: &'a Instance,
    verdict: &Verdict<'_>,
    policy: &Policy,
    now: Timestamp,
) -> Stance<'a> {
    if matches!(verdict, Verdict::Undecided(_)) {
        return Stance::Undecided;
    }
    if !verdict.is_unapproved() {
        return Stance::Fine;
    }
    if policy.launched_within.after(instance.launched) <= now {
        return Stance::Old;
    }
    match &instance.operator {
        Some(operator) => Stance::Managed(operator),
        None => Stance::ToIsolate,
    }
}

fn held<'a>(instance: &'a Instance, record: &'a Record, facts: &Facts, now: Timestamp) -> Held<'a> {
    let phase = match record.stage {
        Stage::Releasing if RELEASE_TAKES.after(record.at) > now => Phase::Releasing,
        Stage::Releasing => Phase::ReleaseUnfinished,
        Stage::Started if now.duration_since(record.at) < UNDER_WAY => Phase::UnderWay,
        Stage::Started => Phase::Unfinished,
        Stage::Partial | Stage::Complete => drift(instance, record, facts, now),
    };
    let stands = matches!(record.stage, Stage::Partial | Stage::Complete);
    Held {
        record,
        phase,
        // By hand: the person knows.
        wants_launcher: stands
            && record.launcher.is_none()
            && !record.by_hand
            && LOOK_FOR_LAUNCHER.after(record.since) > now,
    }
}

fn drift(instance: &Instance, record: &Record, facts: &Facts, now: Timestamp) -> Phase {
    let Some(isolation) = &facts.isolation else {
        return Phase::Unread;
    };
    // An interface that was attached later counts too.
    let open = instance.interfaces.iter().any(|interface| {
        interface.operator.is_none()
            && !record.refused.contains(&interface.id)
            && !interface.is_isolated(isolation)
    });
    let isolated_at = record.drift.unwrap_or(record.since).max(record.since);
    if !open || SETTLE.after(isolated_at) > now {
        return Phase::Stands;
    }
    match record.drift {
        None => Phase::Drifted,
        Some(_) => Phase::DriftedAgain,
    }
}

fn standing<'a>(source: &Source, facts: &'a Facts, policy: &Policy) -> Standing<'a> {
    let Source::Group(name) = source else {
        return Standing::NoGroup;
    };
    let Some(group) = facts.groups.get(name) else {
        return match &facts.groups_unread {
            Some(error) => Standing::Unread(error),
            None => Standing::Gone,
        };
    };
    // Suspended, and recorded as begun only: a run was killed in between, and isn't done.
    let known = facts.loops.get(name);
    let done = known.is_none_or(|known| known.broken.is_some() || !known.is_held());
    if is_broken(group) && done {
        return Standing::Suspended;
    }
    match &group.operator {
        Some(operator) => Standing::Managed(operator),
        None if !policy.steps.break_loop => Standing::StepOff,
        None => Standing::ToBreak(group),
    }
}

/// A loop that was broken stands until it is released, however long ago its launches were.
fn suspended<'a>(facts: &'a Facts, loops: &[Judgement<'_>]) -> Vec<(&'a Group, &'a Loop)> {
    let named: BTreeSet<&str> = loops
        .iter()
        .filter_map(|one| match &one.looping.source {
            Source::Group(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    facts
        .loops
        .iter()
        .filter(|(name, known)| known.broken.is_some() && !named.contains(name.as_str()))
        .filter_map(|(name, known)| Some((facts.groups.get(name)?, known)))
        .filter(|(group, _)| is_broken(group))
        .collect()
}

fn forgotten(facts: &Facts, now: Timestamp) -> Vec<&str> {
    if !facts.complete {
        return Vec::new();
    }
    let gone = facts.records.iter().filter(|(id, record)| {
        let there = facts.instances.get(*id);
        there.is_none_or(|one| one.state == State::Terminal) && FORGET.after(record.since) <= now
    });
    gone.map(|(id, _)| id.as_str()).collect()
}

fn checked<'a>(
    facts: &'a Facts,
    policy: &Policy,
    judged: &BTreeMap<&'a str, Judged<'a>>,
    now: Timestamp,
) -> Option<Checked<'a>> {
    let rules = |launch| approval::lines(launch, facts, policy);
    match &facts.ask {
        Ask::CheckInstance(id) => {
            let judged = judged.get(id.as_str())?;
            let image = judged.instance.image.as_ref();
            let image = image.and_then(|image| facts.images.get(image));
            let launch = |image| Launch {
                image,
                instance: Some(judged.instance),
                at: judged.instance.launched,
            };
            Some(Checked {
                image,
                word: word(&judged.verdict),
                reason: judged.verdict.reason(),
                rules: image.map(launch).map(rules).unwrap_or_default(),
            })
        }
        Ask::CheckImage(id) => {
            let image = facts.images.get(id)?;
            let launch = Launch {
                image,
                instance: None,
                at: now,
            };
            let verdict = verdict_on(launch, facts, policy);
            Some(Checked {
                image: Some(image),
                word: word(&verdict),
                reason: verdict.reason(),
                rules: rules(launch),
            })
        }
        _ => None,
    }
}

fn word(verdict: &Verdict<'_>) -> &'static str {
    match verdict {
        Verdict::Exempt(_) => "exempt",
        Verdict::Released => "released",
        Verdict::NothingApproved => "nothing approved yet",
        Verdict::Approved(_) => "approved",
        Verdict::ApprovedAtLaunch(_) => "approved at launch",
        Verdict::Undecided(_) => "cannot tell",
        Verdict::Denied(_) => "denied",
        Verdict::Unapproved { unknown: true, .. } => "unapproved, unknown",
        Verdict::Unapproved { .. } => "unapproved",
    }
}

impl Evaluation<'_> {
    /// The AMI's id and name.
    pub fn image_label(&self, instance: &Instance) -> String {
        match &instance.image {
            None => "an AMI that EC2 doesn't name".to_owned(),
            Some(id) => {
                let known = self.facts.images.get(id);
                known.map_or_else(|| id.clone(), Image::label)
            }
        }
    }
}
