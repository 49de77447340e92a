//! Judges a refresh by its activities, its instances' health and its alarms. Pure.
//!
//! Each signal has a guard against false alarms. `Status` and `PercentageComplete` play no part:
//! AWS calls a refresh failed after about an hour, and 0 % says nothing while instances warm up
//! (ASG-4). Pending, slow, warming and baking are never failures.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::activities::{self, Did, Fault, Why};
use crate::facts::{Activity, Case, Group, Member, Refresh, Source, Status, TargetHealth};
use crate::policy::Settings;

/// How many failures for want of capacity are told: one alone passes by itself mostly.
const CAPACITY_TOLD: u32 = 2;
/// Most messages that are kept, the most frequent first.
const MESSAGES: usize = 5;

/// What the evidence comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "because")]
pub enum Verdict {
    /// Not to be judged: not running, or not all of it could be read.
    NotJudged(String),
    Fine,
    /// Something a person should know that isn't the release's fault, or may not be.
    Troubled(Vec<String>),
    Failing(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Judgement {
    pub verdict: Verdict,
    pub launches: Launches,
    pub health: Health,
    pub alarms: Vec<Alarming>,
    pub stall: Option<Stall>,
}

/// Launches since the refresh's start.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Launches {
    pub succeeded: u32,
    /// When the last instance came into service that hasn't failed since: it resets the counts.
    pub last_healthy: Option<Timestamp>,
    /// Failed since then, for want of capacity and outside causes not counted.
    pub failed_in_a_row: u32,
    pub threshold: u32,
    /// Those among them that don't pass by themselves.
    pub permanent_in_a_row: u32,
    pub permanent_threshold: u32,
    /// Failed since then for want of capacity: never counted.
    pub capacity_in_a_row: u32,
    /// Ended by somebody or something else: never counted.
    pub outside_in_a_row: u32,
    /// AWS's words, the most frequent first.
    pub messages: Vec<Message>,
}

/// What AWS said, and how often.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Message {
    pub text: String,
    pub fault: Fault,
    pub times: u32,
}

/// The health of a group's new and old instances.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Health {
    /// New instances that were terminated because they failed health checks.
    pub unhealthy: Vec<String>,
    pub threshold: u32,
    /// New instances that were terminated for another reason, or on another version.
    pub not_counted: Vec<String>,
    /// New instances that have passed their warm-up and stand.
    pub passed: Vec<String>,
    pub new: u32,
    pub old: u32,
    /// Old instances that are unhealthy, or were terminated as such since the start.
    pub old_unhealthy: u32,
    /// Whether so many old instances are unhealthy that it is an outage, not the release (ASG-8).
    pub outage: bool,
    /// How many instances stand on which version of the launch template.
    pub versions: BTreeMap<String, u32>,
}

/// An alarm that the group names.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Alarming {
    pub name: String,
    pub counts: bool,
    pub why: String,
    pub missing: bool,
}

/// A time in which nothing happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stall {
    pub since: Timestamp,
    /// From when on it counts.
    pub counts_from: Timestamp,
    pub long: bool,
    pub excuses: Vec<String>,
    /// Whether all new targets are unhealthy while all old ones are healthy.
    pub new_targets_fail: bool,
}

/// Judges the refresh of `case`.
pub(crate) fn judge(case: &Case, settings: &Settings, now: Timestamp) -> Judgement {
    let refresh = case.refresh.as_ref();
    let start = refresh.and_then(|refresh| refresh.start);
    let (Some(refresh), Some(start)) = (refresh, start) else {
        return Judgement::none(Verdict::NotJudged(match refresh {
            None => match case.unread.first() {
                Some(error) => format!("its newest refresh couldn't be read: {error}"),
                None => "the group has had no instance refresh in the last six weeks".to_owned(),
            },
            Some(_) => "it has not started yet".to_owned(),
        }));
    };
    let since = Since::new(case, refresh, start);
    let launches = since.launches(settings);
    let health = since.health(settings, now);
    let alarms = alarms(case, settings, start);
    let stall = since.stall(settings, now);
    let mut judgement = Judgement {
        verdict: Verdict::Fine,
        launches,
        health,
        alarms,
        stall,
    };
    judgement.verdict = judgement.verdict(case, refresh);
    judgement
}

/// The new instances that were terminated since the refresh's start: of them EC2 tells more.
pub(crate) fn terminated(case: &Case) -> Vec<String> {
    let Some((refresh, start)) = case
        .refresh
        .as_ref()
        .and_then(|refresh| Some((refresh, refresh.start?)))
    else {
        return Vec::new();
    };
    let since = Since::new(case, refresh, start);
    let mut ids: Vec<String> = since
        .terminations
        .iter()
        .filter(|(id, why)| {
            since.launched.contains_key(*id) && matches!(why, Why::Unhealthy | Why::FoundGone)
        })
        .map(|(id, _)| (*id).to_owned())
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

/// Whether the targets' health matters to the judgement.
pub(crate) fn targets_matter(judgement: &Judgement) -> bool {
    let stalled = |stall: &Stall| stall.long && stall.excuses.is_empty();
    !judgement.health.unhealthy.is_empty() || judgement.stall.as_ref().is_some_and(stalled)
}

impl Judgement {
    fn none(verdict: Verdict) -> Self {
        Self {
            verdict,
            launches: Launches::default(),
            health: Health::default(),
            alarms: Vec::new(),
            stall: None,
        }
    }

    pub fn is_failing(&self) -> bool {
        matches!(self.verdict, Verdict::Failing(_))
    }

    fn verdict(&self, case: &Case, refresh: &Refresh) -> Verdict {
        if !refresh.status.is_running() {
            return Verdict::NotJudged(match refresh.status {
                Status::Pending => "it is Pending, which is no failure".to_owned(),
                _ => format!("it is {}", refresh.status),
            });
        }
        if let Some(error) = case.unread.first() {
            return Verdict::NotJudged(format!("not all of it could be read: {error}"));
        }
        let mut failing = Vec::new();
        let mut troubled = Vec::new();
        self.launches.weigh(&mut failing, &mut troubled);
        self.health.weigh(&mut failing, &mut troubled);
        failing.extend(
            self.alarms
                .iter()
                .filter(|alarm| alarm.counts)
                .map(|alarm| alarm.why.clone()),
        );
        let missing = self.alarms.iter().filter(|alarm| alarm.missing);
        troubled.extend(missing.map(|alarm| {
            format!(
                "{}, though the group's tag names it, so it can't stop the refresh",
                alarm.why
            )
        }));
        if let Some(stall) = &self.stall {
            stall.weigh(&self.health, &mut failing, &mut troubled);
        }
        if !failing.is_empty() {
            Verdict::Failing(failing)
        } else if !troubled.is_empty() {
            Verdict::Troubled(troubled)
        } else {
            Verdict::Fine
        }
    }
}

impl Launches {
    fn weigh(&self, failing: &mut Vec<String>, troubled: &mut Vec<String>) {
        let words = |faults: &[Fault]| {
            let said: Vec<String> = self
                .messages
                .iter()
                .filter(|message| faults.contains(&message.fault))
                .map(|message| format!("\"{}\" ({}x)", message.text, message.times))
                .collect();
            said.join(", ")
        };
        let since = match self.last_healthy {
            Some(at) => format!("since the last healthy new instance at {at:.0}"),
            None => "since the start".to_owned(),
        };
        if self.permanent_in_a_row >= self.permanent_threshold {
            failing.push(format!(
                "{} launches in a row failed {since} for a reason that doesn't pass by itself ({} are too many): {}",
                self.permanent_in_a_row,
                self.permanent_threshold,
                words(&[Fault::Permanent])
            ));
        } else if self.failed_in_a_row >= self.threshold {
            failing.push(format!(
                "{} launches in a row failed {since} ({} are too many): {}",
                self.failed_in_a_row,
                self.threshold,
                words(&[Fault::Permanent, Fault::Other])
            ));
        }
        if self.capacity_in_a_row >= CAPACITY_TOLD {
            troubled.push(format!(
                "{} launches failed {since} because AWS had nothing to give, which cancelling doesn't change: {}",
                self.capacity_in_a_row,
                words(&[Fault::Capacity])
            ));
        }
    }
}

impl Health {
    fn weigh(&self, failing: &mut Vec<String>, troubled: &mut Vec<String>) {
        let unhealthy = u32::try_from(self.unhealthy.len()).unwrap_or(u32::MAX);
        if unhealthy < self.threshold || !self.passed.is_empty() {
            return;
        }
        let text = format!(
            "{unhealthy} new instances were terminated because they failed health checks, and none has passed its warm-up ({} are too many): {}",
            self.threshold,
            self.unhealthy.join(", ")
        );
        if self.outage {
            troubled.push(format!(
                "{text}; but {} old instances are or were unhealthy too, so this looks like an outage and not like the release",
                self.old_unhealthy
            ));
        } else {
            failing.push(text);
        }
    }
}

impl Stall {
    fn weigh(&self, health: &Health, failing: &mut Vec<String>, troubled: &mut Vec<String>) {
        if !self.long || !self.excuses.is_empty() {
            return;
        }
        let text = format!("nothing has happened since {:.0}", self.since);
        if self.new_targets_fail {
            failing.push(format!(
                "{text}, and all {} new targets are unhealthy while all old ones are healthy",
                health.new
            ));
        } else {
            troubled.push(text);
        }
    }
}

/// What happened since a refresh's start.
struct Since<'a> {
    case: &'a Case,
    refresh: &'a Refresh,
    start: Timestamp,
    activities: Vec<(&'a Activity, Did<'a>)>,
    /// Instances launched since, with the end of their launch once it has succeeded.
    launched: BTreeMap<&'a str, Option<Timestamp>>,
    /// Instances terminated since, and why.
    terminations: BTreeMap<&'a str, Why>,
}

impl<'a> Since<'a> {
    fn new(case: &'a Case, refresh: &'a Refresh, start: Timestamp) -> Self {
        // By time, because retries of a bad replacement may not mention the refresh (ASG-5).
        let activities: Vec<(&Activity, Did<'_>)> = case
            .activities
            .iter()
            .filter(|activity| activity.start >= start)
            .map(|activity| (activity, activities::read(activity)))
            .collect();
        let mut launched = BTreeMap::new();
        let mut terminations = BTreeMap::new();
        for (activity, did) in &activities {
            match did {
                Did::Launched { instance } => {
                    launched.insert(*instance, Some(activity.end.unwrap_or(activity.start)));
                }
                Did::Launching {
                    instance: Some(instance),
                }
                | Did::LaunchFailed {
                    instance: Some(instance),
                    ..
                } => {
                    launched.entry(*instance).or_insert(None);
                }
                Did::Terminated { instance, why } => {
                    let worst: &mut Why = terminations.entry(*instance).or_insert(*why);
                    if *worst == Why::Other {
                        *worst = *why;
                    }
                }
                _ => {}
            }
        }
        Self {
            case,
            refresh,
            start,
            activities,
            launched,
            terminations,
        }
    }

    fn group(&self) -> &'a Group {
        &self.case.group
    }

    /// Whether `version` may be the one that the refresh goes to. Only a number tells: `$Latest`
    /// and an unchanged template mean what the group launches at the time.
    fn on_target(&self, version: Option<&str>) -> bool {
        let wanted = self.refresh.wanted.as_ref().and_then(Source::number);
        match (
            wanted,
            version.and_then(|version| version.parse::<u64>().ok()),
        ) {
            (Some(wanted), Some(version)) => wanted == version,
            _ => true,
        }
    }

    fn is_new(&self, member: &Member) -> bool {
        self.launched.contains_key(member.id.as_str()) && self.on_target(member.version.as_deref())
    }

    /// New instances that died of themselves.
    fn unhealthy(&self) -> BTreeSet<&'a str> {
        self.terminations
            .iter()
            .filter(|(id, why)| {
                let ended = self.case.ended.get(**id);
                let version = ended.and_then(|ended| ended.version.as_deref());
                let by_itself = match why {
                    Why::Unhealthy => true,
                    Why::FoundGone => activities::failed_by_itself(
                        ended.and_then(|ended| ended.reason.as_deref()),
                    ),
                    Why::Other => false,
                };
                self.launched.contains_key(**id) && by_itself && self.on_target(version)
            })
            .map(|(id, _)| *id)
            .collect()
    }

    fn launches(&self, settings: &Settings) -> Launches {
        let dead = self.unhealthy();
        let fine = |instance: &str| {
            let member = self.group().members.iter().find(|m| m.id == instance);
            !dead.contains(instance) && member.is_none_or(|member| member.healthy)
        };
        let mut found = Launches {
            threshold: settings.launch_failures,
            permanent_threshold: settings.permanent_launch_failures,
            ..Launches::default()
        };
        for (activity, did) in &self.activities {
            if let Did::Launched { instance } = did {
                found.succeeded += 1;
                if fine(instance) {
                    let at = activity.end.unwrap_or(activity.start);
                    found.last_healthy = found.last_healthy.max(Some(at));
                }
            }
        }
        let mut messages: BTreeMap<(&str, u8), Message> = BTreeMap::new();
        for (activity, did) in &self.activities {
            let Did::LaunchFailed { fault, message, .. } = did else {
                continue;
            };
            let at = activity.end.unwrap_or(activity.start);
            if found.last_healthy.is_some_and(|healthy| at <= healthy) {
                continue;
            }
            match fault {
                Fault::Capacity => found.capacity_in_a_row += 1,
                Fault::Outside => found.outside_in_a_row += 1,
                Fault::Permanent => {
                    found.permanent_in_a_row += 1;
                    found.failed_in_a_row += 1;
                }
                Fault::Other => found.failed_in_a_row += 1,
            }
            messages
                .entry((*message, *fault as u8))
                .or_insert_with(|| Message {
                    text: (*message).to_owned(),
                    fault: *fault,
                    times: 0,
                })
                .times += 1;
        }
        found.messages = messages.into_values().collect();
        found
            .messages
            .sort_by_key(|message| std::cmp::Reverse(message.times));
        found.messages.truncate(MESSAGES);
        found
    }

    fn health(&self, settings: &Settings, now: Timestamp) -> Health {
        let dead = self.unhealthy();
        let mut found = Health {
            unhealthy: dead.iter().map(|id| (*id).to_owned()).collect(),
            threshold: settings.unhealthy_terminations,
            not_counted: self
                .terminations
                .keys()
                .filter(|id| self.launched.contains_key(**id) && !dead.contains(**id))
                .map(|id| (*id).to_owned())
                .collect(),
            ..Health::default()
        };
        let target = |id: &str| {
            let targets = self.case.targets.as_ref()?;
            targets.get(id).copied()
        };
        for member in standing(self.group()) {
            let version = member.version.as_deref().unwrap_or("unknown").to_owned();
            *found.versions.entry(version).or_default() += 1;
            if self.is_new(member) {
                found.new += 1;
                if self.has_passed(member, target(&member.id), now) {
                    found.passed.push(member.id.clone());
                }
            } else {
                found.old += 1;
                if !member.healthy || target(&member.id) == Some(TargetHealth::Unhealthy) {
                    found.old_unhealthy += 1;
                }
            }
        }
        let old_dead = self
            .terminations
            .iter()
            .filter(|(id, why)| **why == Why::Unhealthy && !self.launched.contains_key(**id))
            .filter(|(id, _)| !standing(self.group()).any(|member| member.id == **id))
            .count();
        let old_dead = u32::try_from(old_dead).unwrap_or(u32::MAX);
        found.old_unhealthy = found.old_unhealthy.saturating_add(old_dead);
        let old = found.old.saturating_add(old_dead);
        found.outage =
            found.old_unhealthy > 0 && u64::from(found.old_unhealthy) * 2 >= u64::from(old);
        found
    }

    /// Whether a new instance stands beyond doubt. Until the grace period is over the group ignores
    /// its health checks, so that it calls everything healthy: then only a healthy target counts.
    fn has_passed(&self, member: &Member, target: Option<TargetHealth>, now: Timestamp) -> bool {
        let Some(Some(in_service)) = self.launched.get(member.id.as_str()) else {
            return false;
        };
        let past = |duration: SignedDuration| {
            in_service
                .checked_add(duration)
                .is_ok_and(|until| until <= now)
        };
        member.lifecycle == "InService"
            && member.healthy
            && past(self.refresh.warmup(self.group()))
            && match target {
                Some(TargetHealth::Healthy) => true,
                Some(TargetHealth::Unhealthy) => false,
                Some(TargetHealth::Unknown) | None => past(self.group().grace),
            }
    }

    /// Whether all new targets are unhealthy while all old ones are healthy. Where there is no old
    /// one, nobody can tell.
    fn new_targets_fail(&self) -> bool {
        let Some(targets) = &self.case.targets else {
            return false;
        };
        let (new, old): (Vec<&Member>, Vec<&Member>) = standing(self.group())
            .filter(|member| member.lifecycle == "InService")
            .partition(|member| self.is_new(member));
        let all = |members: &[&Member], health| {
            !members.is_empty()
                && members
                    .iter()
                    .all(|member| targets.get(&member.id) == Some(&health))
        };
        all(&new, TargetHealth::Unhealthy)
            && all(&old, TargetHealth::Healthy)
            && old.iter().all(|member| member.healthy)
    }

    fn stall(&self, settings: &Settings, now: Timestamp) -> Option<Stall> {
        // A baking refresh has replaced all: there is nothing left to wait for.
        if self.refresh.status != Status::InProgress {
            return None;
        }
        let since = self
            .activities
            .iter()
            .filter(|(_, did)| !matches!(did, Did::LaunchFailed { .. }))
            .map(|(activity, _)| activity.end.unwrap_or(activity.start))
            .fold(self.start, Timestamp::max);
        let warm = since
            .checked_add(self.refresh.warmup(self.group()))
            .unwrap_or(Timestamp::MAX);
        let counts_from = settings.stalled_for.after(warm);
        Some(Stall {
            since,
            counts_from,
            long: counts_from <= now,
            excuses: self.excuses(warm, now),
            new_targets_fail: self.new_targets_fail(),
        })
    }

    /// What explains that nothing happens (ASG-8).
    fn excuses(&self, warm: Timestamp, now: Timestamp) -> Vec<String> {
        let mut excuses = Vec::new();
        let preferences = &self.refresh.preferences;
        let checkpoint = preferences
            .checkpoints
            .iter()
            .rev()
            .find(|checkpoint| **checkpoint < 100 && **checkpoint <= self.refresh.percentage);
        let until = warm
            .checked_add(preferences.checkpoint_delay)
            .unwrap_or(Timestamp::MAX);
        if let Some(checkpoint) = checkpoint
            && now < until
        {
            excuses.push(format!(
                "it waits at its checkpoint of {checkpoint} % until {until:.0}"
            ));
        }
        let suspended: Vec<&str> = self
            .group()
            .suspended
            .iter()
            .map(String::as_str)
            .filter(|process| HOLD_UP.contains(process))
            .collect();
        if !suspended.is_empty() {
            excuses.push(format!(
                "the group's processes {} are suspended",
                suspended.join(", ")
            ));
        }
        let members = &self.group().members;
        let such = |such: &dyn Fn(&&Member) -> bool| -> Vec<&str> {
            let found = members.iter().filter(such);
            found.map(|member| member.id.as_str()).collect()
        };
        let waiting = such(&|member| member.lifecycle.ends_with(":Wait"));
        if !waiting.is_empty() {
            excuses.push(format!(
                "lifecycle hooks hold {} in Wait",
                waiting.join(", ")
            ));
        }
        let standby =
            such(&|member| matches!(member.lifecycle.as_str(), "Standby" | "EnteringStandby"));
        if preferences.waits_for_standby && !standby.is_empty() {
            excuses.push(format!(
                "{} in standby, which it waits for",
                standby.join(", ")
            ));
        }
        let protected = such(&|member| member.protected && !self.is_new(member));
        if preferences.waits_for_protected && !protected.is_empty() {
            excuses.push(format!(
                "{} protected from scale-in, which it waits for",
                protected.join(", ")
            ));
        }
        excuses
    }
}

/// Processes without which a refresh can't go on.
const HOLD_UP: &[&str] = &[
    "Launch",
    "Terminate",
    "HealthCheck",
    "AddToLoadBalancer",
    "InstanceRefresh",
];

/// The members that are not on their way out, nor in a warm pool.
fn standing(group: &Group) -> impl Iterator<Item = &Member> {
    group.members.iter().filter(|member| {
        let on_its_way_out = ["Terminat", "Detach", "Warmed:"];
        !on_its_way_out
            .iter()
            .any(|start| member.lifecycle.starts_with(start))
    })
}

fn alarms(case: &Case, settings: &Settings, start: Timestamp) -> Vec<Alarming> {
    let Some(alarms) = &case.alarms else {
        return Vec::new();
    };
    settings
        .alarms
        .iter()
        .map(|name| {
            let found = alarms.get(name);
            let (counts, why) = match found {
                None => (false, format!("there is no alarm {name}")),
                Some(alarm) if !alarm.alarming => (false, format!("alarm {name} is not in ALARM")),
                Some(alarm) => match alarm.since {
                    Some(since) if since > start => (
                        true,
                        format!(
                            "alarm {name} went to ALARM at {since:.0}, after the start{}",
                            alarm
                                .reason
                                .as_ref()
                                .map(|reason| format!(": {reason}"))
                                .unwrap_or_default()
                        ),
                    ),
                    _ => (
                        false,
                        format!("alarm {name} was in ALARM before the start already"),
                    ),
                },
            };
            Alarming {
                name: name.clone(),
                counts,
                why,
                missing: found.is_none(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
