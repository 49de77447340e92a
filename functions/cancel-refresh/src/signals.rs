//! Judges a refresh by what came of its launches, its instances' health and its alarms. Pure.
//!
//! Each signal has a guard against false alarms. `Status` and `PercentageComplete` play no part:
//! AWS calls a refresh failed after about an hour, and 0 % says nothing while instances warm up
//! (ASG-4). Pending, slow, warming and baking are never failures.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::activities::{self, Did};
use crate::facts::{Case, Group, Member, Refresh, Status, TargetHealth};
use crate::history::{self, Attempt, Counts, Excuse, Fate, History, rounds, standing};
use crate::memory::LastStop;
use crate::policy::{Again, Settings};
use crate::source::{Source, Template};
use crate::words::Fault;

/// In how many rounds something outside of the release must fail to be told: one alone passes by
/// itself mostly.
const TOLD: u32 = 2;
/// Most messages that are kept, the most frequent first.
const MESSAGES: usize = 5;
/// For how long a launch or a termination under way is something that happens.
const UNDER_WAY: SignedDuration = SignedDuration::from_hours(2);
/// For how long the configuration that was stopped is remembered as such.
const AGAIN: SignedDuration = SignedDuration::from_hours(24);

/// What the evidence comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "because")]
pub enum Verdict {
    /// Not to be judged: not running, or not all of it could be read.
    NotJudged(String),
    #[default]
    Fine,
    /// Something a person should know that isn't the release's fault, or may not be.
    Troubled(Vec<String>),
    Failing(Vec<String>),
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Judgement {
    pub verdict: Verdict,
    pub launches: Launches,
    pub health: Health,
    pub alarms: Vec<Alarming>,
    pub stall: Option<Stall>,
    /// That the same configuration was stopped a short while ago.
    pub again: Option<String>,
}

/// What came of what was launched since the refresh's start.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Launches {
    /// New instances in service and healthy so far.
    pub standing: u32,
    pub under_way: u32,
    /// Launches that failed through the release.
    pub failed: u32,
    /// New instances that died of themselves.
    pub died: Vec<String>,
    /// Failed and died, in percent of those and what stands or is under way.
    pub share: u32,
    /// Moments at which launches failed or instances died.
    pub rounds: u32,
    /// Those of launches that fail every time.
    pub permanent_rounds: u32,
    /// Those of instances that died.
    pub died_rounds: u32,
    /// Rounds that don't count, since the last instance that stands came into service.
    pub not_counted: BTreeMap<Excuse, u32>,
    /// New instances that something else ended, or that ended nobody knows how.
    pub gone: u32,
    pub gone_rounds: u32,
    /// AWS's words, the most frequent first.
    pub messages: Vec<Message>,
}

/// What AWS said, and how often.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Message {
    pub text: String,
    pub fault: Fault,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_counted: Option<Excuse>,
    pub times: u32,
}

/// The health of a group's new and old instances.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Health {
    pub new: u32,
    pub old: u32,
    /// Old instances that are unhealthy, or died or were found gone since the start.
    pub old_unhealthy: u32,
    /// Whether so many old instances are unhealthy that it is an outage, not the release (ASG-8).
    pub outage: bool,
    /// How many instances stand on which version of which launch template.
    pub versions: BTreeMap<String, u32>,
}

/// An alarm that the policy names for the group.
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
    /// A wait that ends by itself.
    pub pause: Option<String>,
    /// What it waits for, for ever if nobody does anything.
    pub waits_for: Vec<String>,
    /// Whether all new targets are unhealthy while all old ones are healthy.
    pub new_targets_fail: bool,
}

/// Judges the refresh of `case`.
pub(crate) fn judge(case: &Case, settings: &Settings, now: Timestamp) -> Judgement {
    let Some(history) = history(case) else {
        let why = match (&case.refresh, case.unread.first()) {
            (Some(_), _) => "it has not started yet".to_owned(),
            (None, Some(error)) => format!("its newest refresh couldn't be read: {error}"),
            (None, None) => {
                "the group has had no instance refresh in the last six weeks".to_owned()
            }
        };
        return Judgement {
            verdict: Verdict::NotJudged(why),
            stall: pending(case, settings, now),
            ..Judgement::default()
        };
    };
    let stall = history.stall(settings, now);
    let mut judgement = Judgement {
        launches: history.launches(),
        health: history.health(),
        alarms: history.alarms(settings),
        stall: stall.or_else(|| pending(case, settings, now)),
        again: again(case, settings),
        ..Judgement::default()
    };
    judgement.verdict = judgement.verdict(case, history.refresh, settings);
    judgement
}

/// What happened since the start of the group's newest refresh.
fn history(case: &Case) -> Option<History<'_>> {
    let refresh = case.refresh.as_ref()?;
    Some(History::of(case, refresh, refresh.start?))
}

/// The new instances of which EC2 tells more: those that were terminated since the start.
pub(crate) fn terminated(case: &Case) -> Vec<String> {
    history(case).map_or_else(Vec::new, |history| history.ended_badly())
}

/// From when on the group's activities are to be read.
pub(crate) fn read_from(case: &Case) -> Option<Timestamp> {
    let refresh = case.refresh.as_ref()?;
    Some(history::read_from(case, refresh, refresh.start?))
}

/// Whether the targets' health matters to the judgement.
pub(crate) fn targets_matter(judgement: &Judgement) -> bool {
    judgement.launches.rounds > 0
        || judgement.stall.as_ref().is_some_and(Stall::is_unexplained)
        || judgement.alarms.iter().any(|alarm| alarm.counts)
}

/// One that doesn't begin.
fn pending(case: &Case, settings: &Settings, now: Timestamp) -> Option<Stall> {
    let refresh = case.refresh.as_ref()?;
    let seen = case.memory().and_then(|memory| memory.pending_since);
    let since = refresh.start.or(seen);
    let since = since.filter(|_| refresh.status == Status::Pending)?;
    let counts_from = settings.stalled_for.after(since);
    Some(Stall {
        since,
        counts_from,
        long: counts_from <= now,
        pause: None,
        waits_for: vec!["AWS to begin it: it is Pending".to_owned()],
        new_targets_fail: false,
    })
}

/// The refresh that was stopped a short while ago and went where this one goes.
fn same_source(case: &Case) -> Option<&LastStop> {
    let refresh = case.refresh.as_ref()?;
    let last = case.remembered.memory.as_ref()?.last_stop.as_ref()?;
    let recent = refresh
        .start
        .is_some_and(|start| start.duration_since(last.at) < AGAIN);
    let same = last.refresh != refresh.id && recent && refresh.goes_where(&last.source);
    same.then_some(last)
}

/// Whether only the image tag can tell if what was stopped is started again.
pub(crate) fn may_be_again(case: &Case, settings: &Settings) -> bool {
    let refresh = case.refresh.as_ref();
    let goes_on = refresh.is_some_and(|refresh| !refresh.status.is_ended());
    let last = same_source(case).filter(|_| goes_on && settings.image.is_some());
    last.is_some_and(|last| last.image.is_some())
}

/// That what this refresh goes to was stopped a short while ago. With an image tag, it is the same
/// only if the tag points to the same image again.
fn again(case: &Case, settings: &Settings) -> Option<String> {
    let last = same_source(case)?;
    let same = match (&last.image, &case.image) {
        (Some(image), Some(Ok(now))) => now.current.as_ref() == Some(image),
        (Some(_), _) => false,
        // With an image tag, nobody saw which image was stopped.
        (None, _) => settings.image.is_none(),
    };
    same.then(|| {
        format!(
            "the same configuration ({}) was stopped at {:.0} already, as refresh {}",
            last.source, last.at, last.refresh
        )
    })
}

impl Judgement {
    pub fn is_failing(&self) -> bool {
        matches!(self.verdict, Verdict::Failing(_))
    }

    /// What it has waited for too long, though it isn't the release's fault.
    pub fn waits(&self) -> Option<&Stall> {
        let stall = self.stall.as_ref();
        stall.filter(|stall| stall.long && stall.pause.is_none() && !stall.waits_for.is_empty())
    }

    fn verdict(&self, case: &Case, refresh: &Refresh, settings: &Settings) -> Verdict {
        if !refresh.status.is_running() {
            return Verdict::NotJudged(match refresh.status {
                Status::Pending => "it is Pending, which is no failure".to_owned(),
                _ => format!("it is {}", refresh.status),
            });
        }
        if let Some(why) = case.not_read() {
            return Verdict::NotJudged(why);
        }
        let mut failing: Vec<String> = self.launches.against(settings).into_iter().collect();
        let counting = self.alarms.iter().filter(|alarm| alarm.counts);
        failing.extend(counting.map(|alarm| alarm.why.clone()));
        let mut troubled = self.launches.beside();
        let missing = self.alarms.iter().filter(|alarm| alarm.missing);
        troubled.extend(missing.map(|alarm| {
            format!(
                "{}, though the policy names it for this group, so it can't stop the refresh",
                alarm.why
            )
        }));
        if let Some(stall) = &self.stall {
            stall.weigh(&self.health, &mut failing, &mut troubled);
        }
        if self.health.outage && !failing.is_empty() {
            troubled.extend(failing.drain(..).map(|why| {
                format!(
                    "{why}; but {} old instances are or were unhealthy too, so this looks like an outage and not like the release",
                    self.health.old_unhealthy
                )
            }));
        }
        if let Some(again) = &self.again
            && settings.when_started_again == Again::Stop
        {
            failing.push(format!("{again}, and the policy keeps it stopped"));
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
    /// What stands against the release.
    fn against(&self, settings: &Settings) -> Option<String> {
        let rounds = [
            (self.permanent_rounds, settings.permanent_launch_failures),
            (self.died_rounds, settings.unhealthy_terminations),
            (self.rounds, settings.launch_failures),
        ];
        let many = rounds.iter().any(|(found, most)| found >= most);
        if self.share < settings.failing_share || !many {
            return None;
        }
        let bad = self.failed + count(self.died.len());
        let mut parts = Vec::new();
        if self.failed > 0 {
            let permanent = self.permanent_rounds > 0;
            parts.push(format!(
                "{} launches failed{}: {}",
                self.failed,
                if permanent {
                    " for a reason that doesn't pass by itself"
                } else {
                    ""
                },
                self.said(None)
            ));
        }
        if !self.died.is_empty() {
            parts.push(format!(
                "{} new instances were terminated because they failed health checks or ended themselves: {}",
                self.died.len(),
                self.died.join(", ")
            ));
        }
        Some(format!(
            "{bad} of {} launches since the start have failed, in {} rounds: {}",
            bad + self.standing + self.under_way,
            self.rounds,
            parts.join("; ")
        ))
    }

    /// What a person should know that doesn't count.
    fn beside(&self) -> Vec<String> {
        let told = self
            .not_counted
            .iter()
            .filter(|(_, rounds)| **rounds >= TOLD);
        let mut beside: Vec<String> = told
            .map(|(excuse, rounds)| {
                let why = match excuse {
                    Excuse::Capacity => "AWS had nothing to give, or the account's limits let it give nothing, which cancelling doesn't change",
                    Excuse::Outside => "something outside of the release ended them",
                    Excuse::Zone => "not every Availability Zone has what they need",
                    Excuse::Before => "they failed in the same words before the start already",
                };
                format!("launches failed in {rounds} rounds because {why}: {}", self.said(Some(*excuse)))
            })
            .collect();
        if self.gone_rounds >= TOLD && self.standing == 0 {
            beside.push(format!(
                "{} new instances were ended by somebody or something else, or nobody knows how, and none stands",
                self.gone
            ));
        }
        beside
    }

    fn said(&self, not_counted: Option<Excuse>) -> String {
        let messages = self
            .messages
            .iter()
            .filter(|one| one.not_counted == not_counted);
        let said: Vec<String> = messages
            .map(|message| format!("\"{}\" ({}x)", message.text, message.times))
            .collect();
        said.join(", ")
    }
}

impl Stall {
    fn is_unexplained(&self) -> bool {
        self.long && self.pause.is_none() && self.waits_for.is_empty()
    }

    fn weigh(&self, health: &Health, failing: &mut Vec<String>, troubled: &mut Vec<String>) {
        if !self.is_unexplained() {
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

fn messages(judged: &[(&Attempt<'_>, Counts)]) -> Vec<Message> {
    let mut found: BTreeMap<(&str, Option<Excuse>), Message> = BTreeMap::new();
    for (attempt, counts) in judged {
        let Fate::Failed { fault, message } = attempt.fate else {
            continue;
        };
        let not_counted = match counts {
            Counts::Not(excuse) => Some(*excuse),
            _ => None,
        };
        let text = message.to_owned();
        let message = found.entry((message, not_counted)).or_insert(Message {
            text,
            fault,
            not_counted,
            times: 0,
        });
        message.times += 1;
    }
    let mut found: Vec<Message> = found.into_values().collect();
    found.sort_by_key(|message| std::cmp::Reverse(message.times));
    found.truncate(MESSAGES);
    found
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl History<'_> {
    fn launches(&self) -> Launches {
        let judged = self.judged();
        let such = |such: &dyn Fn(&Fate<'_>, Counts) -> bool| -> Vec<&Attempt<'_>> {
            let judged = judged
                .iter()
                .filter(|(one, counts)| such(&one.fate, *counts));
            judged.map(|(one, _)| *one).collect()
        };
        let in_rounds =
            |attempts: &[&Attempt<'_>]| count(rounds(attempts.iter().map(|one| one.at)).len());
        let against = |fault: &dyn Fn(&Fate<'_>) -> bool| {
            such(&|fate, counts| counts == Counts::Against && fault(fate))
        };
        let bad = against(&|_| true);
        let died = against(&|fate| matches!(fate, Fate::Died { .. }));
        let permanent = against(&|fate| match fate {
            Fate::Failed { fault, .. } => matches!(fault, Fault::Permanent | Fault::Zone),
            _ => false,
        });
        let stand = such(&|fate, _| *fate == Fate::Stands);
        let under_way = such(&|fate, _| *fate == Fate::UnderWay);
        let gone = such(&|fate, _| *fate == Fate::Gone);
        let last = stand.iter().map(|one| one.at).max();
        let not_counted = [
            Excuse::Capacity,
            Excuse::Outside,
            Excuse::Zone,
            Excuse::Before,
        ];
        let not_counted = not_counted.into_iter().map(|excuse| {
            let mut left_out = such(&|_, counts| counts == Counts::Not(excuse));
            left_out.retain(|one| last.is_none_or(|last| one.at > last));
            (excuse, in_rounds(&left_out))
        });
        let all = bad.len() + stand.len() + under_way.len();
        let mut ids: Vec<String> = died
            .iter()
            .filter_map(|one| one.instance.map(str::to_owned))
            .collect();
        ids.sort();
        Launches {
            standing: count(stand.len()),
            under_way: count(under_way.len()),
            failed: count(bad.len() - died.len()),
            share: count((bad.len() * 100).checked_div(all).unwrap_or(0)),
            rounds: in_rounds(&bad),
            permanent_rounds: in_rounds(&permanent),
            died_rounds: in_rounds(&died),
            not_counted: not_counted.filter(|(_, rounds)| *rounds > 0).collect(),
            gone: count(gone.len()),
            gone_rounds: in_rounds(&gone),
            died: ids,
            messages: messages(&judged),
        }
    }

    fn health(&self) -> Health {
        let mut found = Health::default();
        for member in standing(self.group()) {
            let template = member.template.as_ref();
            let version =
                template.map_or_else(|| "an unknown version".to_owned(), ToString::to_string);
            *found.versions.entry(version).or_default() += 1;
            if self.is_new(&member.id) {
                found.new += 1;
            } else {
                found.old += 1;
                if !member.healthy || self.target(&member.id) == Some(TargetHealth::Unhealthy) {
                    found.old_unhealthy += 1;
                }
            }
        }
        let dead = count(self.old_dead());
        found.old_unhealthy = found.old_unhealthy.saturating_add(dead);
        let old = found.old.saturating_add(dead);
        found.outage =
            found.old_unhealthy > 0 && u64::from(found.old_unhealthy) * 2 >= u64::from(old);
        found
    }

    /// Whether all new targets are unhealthy while all old ones are healthy. Where there is no old
    /// one, nobody can tell.
    fn new_targets_fail(&self) -> bool {
        let (new, old): (Vec<&Member>, Vec<&Member>) = standing(self.group())
            .filter(|member| member.lifecycle == "InService")
            .partition(|member| self.is_new(&member.id));
        let all = |members: &[&Member], health| {
            !members.is_empty()
                && members
                    .iter()
                    .all(|member| self.target(&member.id) == Some(health))
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
        let begun = |did: &Did<'_>| matches!(did, Did::Launch { .. } | Did::Terminate { .. });
        let moments = self
            .activities
            .iter()
            .filter(|(_, did)| !did.is_failed_launch());
        let since = moments
            .map(|(activity, did)| {
                let young = now.duration_since(activity.start) < UNDER_WAY;
                if activities::is_under_way(activity) && begun(did) && young {
                    now
                } else {
                    activity.moment()
                }
            })
            .fold(self.start, Timestamp::max);
        let group = self.group();
        let quiet = self.refresh.warmup(group).max(group.grace);
        let warm = since.checked_add(quiet).unwrap_or(Timestamp::MAX);
        let counts_from = settings.stalled_for.after(warm);
        Some(Stall {
            since,
            counts_from,
            long: counts_from <= now,
            pause: self.pause(warm, now),
            waits_for: self.waits_for(),
            new_targets_fail: self.new_targets_fail(),
        })
    }

    /// The delay of a checkpoint.
    fn pause(&self, warm: Timestamp, now: Timestamp) -> Option<String> {
        let preferences = &self.refresh.preferences;
        let mut checkpoints = preferences.checkpoints.iter().rev();
        let checkpoint = checkpoints
            .find(|checkpoint| **checkpoint < 100 && **checkpoint <= self.refresh.percentage)?;
        let until = warm.checked_add(preferences.checkpoint_delay);
        let until = until.unwrap_or(Timestamp::MAX);
        (now < until)
            .then(|| format!("it waits at its checkpoint of {checkpoint} % until {until:.0}"))
    }

    /// What explains that nothing happens, and doesn't end by itself (ASG-8).
    fn waits_for(&self) -> Vec<String> {
        let preferences = &self.refresh.preferences;
        let group = self.group();
        let suspended = group.suspended.iter().map(String::as_str);
        let suspended: Vec<&str> = suspended
            .filter(|process| HOLD_UP.contains(process))
            .collect();
        let such = |such: &dyn Fn(&&Member) -> bool| -> Vec<&str> {
            let found = group.members.iter().filter(such);
            found.map(|member| member.id.as_str()).collect()
        };
        let hooked = such(&|member| member.lifecycle.ends_with(":Wait"));
        let standby = such(&|member| {
            preferences.waits_for_standby
                && matches!(member.lifecycle.as_str(), "Standby" | "EnteringStandby")
        });
        let protected = such(&|member| {
            preferences.waits_for_protected && member.protected && !self.is_new(&member.id)
        });
        [
            (suspended, "the group's suspended processes to be resumed"),
            (
                hooked,
                "lifecycle hooks that hold instances in Wait to be completed",
            ),
            (standby, "instances to leave standby"),
            (
                protected,
                "scale-in protection to be removed from instances",
            ),
        ]
        .into_iter()
        .filter(|(what, _)| !what.is_empty())
        .map(|(what, to)| format!("{to}: {}", what.join(", ")))
        .collect()
    }

    /// An alarm counts that went off after something was launched: before that it isn't the
    /// release's.
    fn alarms(&self, settings: &Settings) -> Vec<Alarming> {
        let Some(alarms) = &self.case.alarms else {
            return Vec::new();
        };
        let launches = self.attempts.iter().filter(|one| one.instance.is_some());
        let first = if self.refresh.in_place {
            Some(self.start)
        } else {
            launches.map(|one| one.began).min()
        };
        let judged = |name: &String| {
            let alarm = alarms.get(name);
            let (counts, why) = match alarm.map(|alarm| (alarm.alarming, alarm.since, first)) {
                None => (false, format!("there is no alarm {name}")),
                Some((false, ..)) => (false, format!("alarm {name} is not in ALARM")),
                Some((true, Some(since), Some(first))) if since > first => {
                    let reason = alarm.and_then(|alarm| alarm.reason.as_ref());
                    let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
                    let why = format!(
                        "alarm {name} went to ALARM at {since:.0}, after the first launch{reason}"
                    );
                    (true, why)
                }
                Some(_) => {
                    let why = format!("alarm {name} was in ALARM before anything was launched");
                    (false, why)
                }
            };
            Alarming {
                name: name.clone(),
                counts,
                why,
                missing: alarm.is_none(),
            }
        };
        settings.alarms.iter().map(judged).collect()
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

/// What worked, if it is a version of `source`'s template: what most of those instances of the group
/// run that weren't launched from `source`.
pub(crate) fn version_before(group: &Group, source: &Source) -> Option<String> {
    let mut others: BTreeMap<&Template, u32> = BTreeMap::new();
    for template in standing(group).filter_map(|member| member.template.as_ref()) {
        if !source.may_launch(template) {
            *others.entry(template).or_default() += 1;
        }
    }
    let (most, _) = others.into_iter().max_by_key(|(_, count)| *count)?;
    let versions = source.template.same_template(most) == Some(true);
    versions.then(|| most.version.clone())
}

#[cfg(test)]
mod tests;
