//! What came of what was launched since a refresh's start. Pure.
//!
//! The unit of evidence is not the event. Every launch is one *attempt* with one fate; what failed
//! at one moment is one *round*, however many zones or instances it hit; and what a cause outside of
//! the release ended is left out.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::activities::{self, Came, Did};
use crate::facts::{Activity, Case, Group, Member, Refresh, TargetHealth};
use crate::source::Template;
use crate::words::{self, Fault, Why};

/// What fails so soon after another is of one round: AWS tries all zones at once, and again no
/// sooner than half a minute later.
const ROUND: SignedDuration = SignedDuration::from_secs(15);
/// How long before the start failures tell that something was wrong already.
const BEFORE: SignedDuration = SignedDuration::from_hours(6);
/// For how long an earlier refresh to the same configuration counts as a try at the same release.
const SAME_RELEASE: SignedDuration = SignedDuration::from_hours(24);
/// How often instances must have died of one cause before the start for it to go on.
const DIED_BEFORE: usize = 2;

/// One launch since the start.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    /// When its fate was decided, or it began.
    pub(crate) at: Timestamp,
    pub(crate) began: Timestamp,
    pub(crate) zone: Option<&'a str>,
    pub(crate) instance: Option<&'a str>,
    pub(crate) fate: Fate<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate<'a> {
    UnderWay,
    /// In service, and healthy so far.
    Stands,
    /// In service, but not healthy, or its targets aren't: it says nothing yet.
    Ails,
    /// It failed before it was in service.
    Failed {
        fault: Fault,
        message: &'a str,
    },
    /// In service it failed a health check, or ended itself.
    Died {
        of: &'a str,
    },
    /// Ended by something else: scale-in, Spot, a person, the refresh itself; or not known how.
    Gone,
}

/// Why what failed doesn't count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Excuse {
    Capacity,
    Outside,
    /// Zones that don't have it, while others do or haven't said.
    Zone,
    /// It failed in the same words before the start.
    Before,
}

/// Whether an attempt counts against the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counts {
    NoFailure,
    Against,
    Not(Excuse),
}

/// All that happened since a refresh's start.
pub(crate) struct History<'a> {
    pub(crate) case: &'a Case,
    pub(crate) refresh: &'a Refresh,
    pub(crate) start: Timestamp,
    /// By time, because retries of a bad replacement may not mention the refresh (ASG-5).
    pub(crate) activities: Vec<(&'a Activity, Did<'a>)>,
    before: Vec<(&'a Activity, Did<'a>)>,
    terminations: BTreeMap<&'a str, (&'a Activity, Why)>,
    pub(crate) attempts: Vec<Attempt<'a>>,
    /// Instances launched since, whatever they were launched from.
    launched: BTreeSet<&'a str>,
}

/// When what a release does begins: at the first of the refreshes that tried it.
fn first_try(case: &Case, refresh: &Refresh, start: Timestamp) -> Timestamp {
    let tries = case.earlier.iter().filter(|earlier| {
        let wanted = earlier.wanted.as_ref();
        wanted.is_some_and(|wanted| refresh.goes_where(wanted))
    });
    let starts = tries.filter_map(|earlier| earlier.start);
    let recent = starts.filter(|tried| start.duration_since(*tried) < SAME_RELEASE);
    recent.fold(start, Timestamp::min)
}

/// From when on the group's activities are to be read.
pub(crate) fn read_from(case: &Case, refresh: &Refresh, start: Timestamp) -> Timestamp {
    let first = first_try(case, refresh, start);
    first.checked_sub(BEFORE).unwrap_or(Timestamp::MIN)
}

fn read(activity: &Activity) -> (&Activity, Did<'_>) {
    (activity, activities::read(activity))
}

impl<'a> History<'a> {
    pub(crate) fn of(case: &'a Case, refresh: &'a Refresh, start: Timestamp) -> Self {
        let first_try = first_try(case, refresh, start);
        let mut activities: Vec<&Activity> = case.activities.iter().collect();
        activities.sort_by(|a, b| (a.start, a.end, &a.id).cmp(&(b.start, b.end, &b.id)));
        let before = activities.iter().filter(|one| one.start < first_try);
        let since = activities.iter().filter(|one| one.start >= start);
        let mut history = Self {
            case,
            refresh,
            start,
            before: before.copied().map(read).collect(),
            activities: since.copied().map(read).collect(),
            terminations: BTreeMap::new(),
            attempts: Vec::new(),
            launched: BTreeSet::new(),
        };
        history.terminations = history.terminations();
        history.launched = history.launched();
        history.attempts = history.attempts();
        history
    }

    pub(crate) fn group(&self) -> &'a Group {
        &self.case.group
    }

    /// Each with its worst reason.
    fn terminations(&self) -> BTreeMap<&'a str, (&'a Activity, Why)> {
        let mut found = BTreeMap::new();
        for (activity, did) in &self.activities {
            if let Did::Terminate { instance, why } = did {
                let worst = found.entry(*instance).or_insert((*activity, *why));
                if worst.1 == Why::Other {
                    *worst = (*activity, *why);
                }
            }
        }
        found
    }

    fn launched(&self) -> BTreeSet<&'a str> {
        let all = || self.activities.iter().map(|(_, did)| did);
        let made = all().filter_map(|did| match did {
            Did::IntoPool { instance } => *instance,
            _ => None,
        });
        let made: BTreeSet<&str> = made.collect();
        let launches = all().filter_map(|did| match did {
            // One out of the warm pool is as old as it was made.
            Did::Launch {
                instance: Some(instance),
                from_pool,
                ..
            } if !from_pool || made.contains(instance) => Some(*instance),
            _ => None,
        });
        launches.collect()
    }

    fn attempts(&self) -> Vec<Attempt<'a>> {
        let mut of_instances: BTreeMap<&str, Attempt<'a>> = BTreeMap::new();
        let mut attempts = Vec::new();
        for (activity, did) in &self.activities {
            let Did::Launch {
                instance,
                came,
                from_pool,
            } = did
            else {
                continue;
            };
            let ours = match instance {
                Some(instance) => self.launched.contains(instance) && self.on_target(instance),
                None => !from_pool,
            };
            if !ours {
                continue;
            }
            let (at, fate) = self.fate(activity, *instance, came);
            let attempt = Attempt {
                at,
                began: activity.start,
                zone: activity.zone.as_deref(),
                instance: *instance,
                fate,
            };
            // The last that an instance's activities say of it holds.
            match instance {
                Some(instance) => drop(of_instances.insert(*instance, attempt)),
                None => attempts.push(attempt),
            }
        }
        attempts.extend(of_instances.into_values());
        attempts.sort_by_key(|attempt| (attempt.at, attempt.instance));
        attempts
    }

    fn fate(
        &self,
        activity: &Activity,
        instance: Option<&str>,
        came: &Came<'a>,
    ) -> (Timestamp, Fate<'a>) {
        if let Came::Failed { fault, message } = came {
            let (fault, message) = (*fault, *message);
            return (activity.moment(), Fate::Failed { fault, message });
        }
        if let Some(id) = instance
            && let Some((termination, why)) = self.terminations.get(id)
        {
            let ended = self.case.ended.get(id);
            let reason = ended.and_then(|ended| ended.reason.as_deref());
            let by_itself = match why {
                Why::Unhealthy => true,
                Why::FoundGone => words::failed_by_itself(reason),
                Why::Other => false,
            };
            let of = words::response(&termination.cause);
            let fate = if by_itself {
                Fate::Died { of }
            } else {
                Fate::Gone
            };
            return (termination.start, fate);
        }
        let fate = match (came, instance.and_then(|id| self.member(id))) {
            (Came::UnderWay, _) => Fate::UnderWay,
            (_, Some(member)) if !stands(member) => Fate::Gone,
            (_, Some(member))
                if member.healthy && self.target(&member.id) != Some(TargetHealth::Unhealthy) =>
            {
                Fate::Stands
            }
            (_, Some(_)) => Fate::Ails,
            // Only what stands counts.
            (_, None) => Fate::Gone,
        };
        (activity.moment(), fate)
    }

    fn member(&self, id: &str) -> Option<&'a Member> {
        let mut members = self.group().members.iter();
        members.find(|member| member.id == id)
    }

    pub(crate) fn target(&self, id: &str) -> Option<TargetHealth> {
        self.case.targets.as_ref()?.get(id).copied()
    }

    /// Whether an instance may be one that the refresh goes to. Only a number tells: `$Latest` and
    /// an unchanged template mean what the group launches at the time.
    fn on_target(&self, id: &str) -> bool {
        let member = self.member(id);
        let template = member.and_then(|member| member.template.as_ref());
        let ended = || self.case.ended.get(id)?.template.as_ref();
        let template: Option<&Template> = template.or_else(ended);
        match (&self.refresh.wanted, template) {
            (Some(wanted), Some(template)) => wanted.may_launch(template),
            _ => true,
        }
    }

    /// Whether it was launched since the start, from what the refresh goes to.
    pub(crate) fn is_new(&self, id: &str) -> bool {
        self.launched.contains(id) && self.on_target(id)
    }

    /// The new instances that were terminated for their health, or found gone: of them EC2 tells
    /// more.
    pub(crate) fn ended_badly(&self) -> Vec<String> {
        let bad = self
            .terminations
            .iter()
            .filter(|(id, (_, why))| self.launched.contains(**id) && *why != Why::Other);
        bad.map(|(id, _)| (*id).to_owned()).collect()
    }

    /// All attempts, each with whether it counts against the release.
    pub(crate) fn judged(&self) -> Vec<(&Attempt<'a>, Counts)> {
        let (baseline, every_zone) = (self.baseline(), self.every_zone_says_so());
        let before =
            |known: &BTreeSet<String>, words: &str| known.contains(&words::same_words(words));
        let judge = |fate: Fate<'_>| match fate {
            Fate::Failed { fault, message } => match fault {
                Fault::Capacity => Counts::Not(Excuse::Capacity),
                Fault::Outside => Counts::Not(Excuse::Outside),
                _ if before(&baseline.messages, message) => Counts::Not(Excuse::Before),
                Fault::Zone if !every_zone => Counts::Not(Excuse::Zone),
                _ => Counts::Against,
            },
            Fate::Died { of } if before(&baseline.deaths, of) => Counts::Not(Excuse::Before),
            Fate::Died { .. } => Counts::Against,
            _ => Counts::NoFailure,
        };
        let attempts = self.attempts.iter();
        attempts
            .map(|attempt| (attempt, judge(attempt.fate)))
            .collect()
    }

    fn every_zone_says_so(&self) -> bool {
        let of_zone = |one: &Attempt<'_>| match one.fate {
            Fate::Failed { fault, .. } => fault == Fault::Zone,
            _ => false,
        };
        let zones = |such: &dyn Fn(&Attempt<'_>) -> bool| -> BTreeSet<Option<&'a str>> {
            let attempts = self.attempts.iter().filter(|one| such(one));
            attempts.map(|attempt| attempt.zone).collect()
        };
        // Where AWS names no zone, any other attempt may have been in another one.
        let (said, others) = (zones(&of_zone), zones(&|one| !of_zone(one)));
        others
            .iter()
            .all(|zone| zone.is_some() && said.contains(zone))
    }

    /// What was wrong before the release already.
    fn baseline(&self) -> Baseline {
        let mut messages = BTreeSet::new();
        let mut deaths: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
        for (activity, did) in &self.before {
            match did {
                Did::Launch {
                    came: Came::Failed { message, .. },
                    ..
                } => {
                    messages.insert(words::same_words(message));
                }
                Did::Terminate {
                    why: Why::Unhealthy,
                    ..
                } => {
                    let of = words::same_words(words::response(&activity.cause));
                    deaths.entry(of).or_default().push(activity.start);
                }
                _ => {}
            }
        }
        deaths.retain(|_, times| rounds(times.iter().copied()).len() >= DIED_BEFORE);
        Baseline {
            messages,
            deaths: deaths.into_keys().collect(),
        }
    }

    /// The old instances that were terminated as unhealthy, or found gone.
    pub(crate) fn old_dead(&self) -> usize {
        let old = self
            .terminations
            .iter()
            .filter(|(id, (_, why))| *why != Why::Other && !self.launched.contains(**id));
        old.filter(|(id, _)| !standing(self.group()).any(|member| member.id == **id))
            .count()
    }
}

/// What failed before the release in the same words.
struct Baseline {
    messages: BTreeSet<String>,
    deaths: BTreeSet<String>,
}

/// The rounds that these moments make, each by its first.
pub(crate) fn rounds(moments: impl IntoIterator<Item = Timestamp>) -> Vec<Timestamp> {
    let mut moments: Vec<Timestamp> = moments.into_iter().collect();
    moments.sort();
    let mut rounds: Vec<Timestamp> = Vec::new();
    for at in moments {
        if rounds
            .last()
            .is_none_or(|first| at.duration_since(*first) > ROUND)
        {
            rounds.push(at);
        }
    }
    rounds
}

/// Whether a member is not on its way out, nor in a warm pool.
fn stands(member: &Member) -> bool {
    let out = ["Terminat", "Detach", "Warmed:"];
    !out.iter().any(|start| member.lifecycle.starts_with(start))
}

pub(crate) fn standing(group: &Group) -> impl Iterator<Item = &Member> {
    group.members.iter().filter(|member| stands(member))
}
