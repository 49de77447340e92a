//! Sums up a run: numbers, and what people are told. Pure.
//!
//! A refresh is told in stages, each once: in trouble, failing, stopped, ended. The group's tag
//! remembers the last stage told, and no stage is told after a later one. A refresh that comes
//! through in the end is told as resolved.

use guardrails::finding::{Command, Finding, Kind, On, Run, Told, Urgency};
use guardrails::guardrail::{Assessment, Settled};
use guardrails::metrics::Metric;
use guardrails::report::Outcome;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::decide::{self, Action, CLAIM_VALID, How, Stopped, resource};
use crate::facts::{Case, Facts, Group, Refresh, Repair, Status, Step};
use crate::image::{self, Standing};
use crate::policy::{Policy, Settings};
use crate::signals::{self, Judgement, Verdict};

/// Metrics that count what a run did.
pub const COUNTERS: &[&str] = &["RefreshesStopped", "Mismatches", "ImagesRestored"];

/// Name of all kinds about a refresh itself: one tag, so that each stage replaces the one before.
const REFRESH: &str = "refresh";

const CURED: &str = "has had an instance refresh that came through";

const EXPLAIN: Command = Command {
    to: "to see all the evidence",
    on: On::Group,
    run: Run::Invoke("explain"),
};
const ROLL_BACK: Command = Command {
    to: "to roll the refresh back yourself",
    on: On::Group,
    run: Run::Aws("autoscaling rollback-instance-refresh --auto-scaling-group-name"),
};
const CANCEL: Command = Command {
    to: "to cancel it and keep the instances that are new already",
    on: On::Group,
    run: Run::Aws("autoscaling cancel-instance-refresh --auto-scaling-group-name"),
};

/// In trouble, by no fault of the release that could be proved.
pub static TROUBLED: Kind = Kind {
    name: REFRESH,
    one: "instance refresh in trouble",
    many: "instance refreshes in trouble",
    cured: CURED,
    next: "Nothing was stopped: what stands beside it isn't the release's fault, or may not be. Want of capacity: allow more instance types or Availability Zones, or wait. Old instances unhealthy too: look for an outage of something that all of them use.",
    urgency: Urgency::Soon,
    commands: &[EXPLAIN, ROLL_BACK, CANCEL],
};

/// Failing, and not stopped.
pub static FAILING: Kind = Kind {
    name: REFRESH,
    one: "failing instance refresh",
    many: "failing instance refreshes",
    cured: CURED,
    next: "It goes on: why it wasn't stopped stands beside it. Look at the evidence, and stop it yourself if you agree.",
    urgency: Urgency::Now,
    commands: &[EXPLAIN, ROLL_BACK, CANCEL],
};

/// Stopped.
pub static STOPPED: Kind = Kind {
    name: REFRESH,
    one: "failing instance refresh stopped",
    many: "failing instance refreshes stopped",
    cured: CURED,
    next: "Correct what the evidence names before you start the next refresh. After a rollback the group is as it was. After a cancel old and new instances run side by side: start a refresh to the version that worked, or terminate the new instances. If the release was good after all, start it again; the group's tags can raise the thresholds (ec2-guardrails:launch-failures and so on) or have it only told (ec2-guardrails:on-failure = notify).",
    urgency: Urgency::Soon,
    commands: &[EXPLAIN],
};

/// Stopped before, and at its end now.
pub static ENDED: Kind = Kind {
    name: REFRESH,
    one: "stopped instance refresh that has ended",
    many: "stopped instance refreshes that have ended",
    cured: CURED,
    next: "After a rollback the group is as it was. After a cancel old and new instances run side by side: start a refresh to the version that worked, or terminate the new instances.",
    urgency: Urgency::Know,
    commands: &[EXPLAIN],
};

/// Failed on its own.
pub static FAILED: Kind = Kind {
    name: REFRESH,
    one: "instance refresh that failed",
    many: "instance refreshes that failed",
    cured: CURED,
    next: "AWS gave it up; its reason stands beside it. Unless AWS rolled it back, old and new instances run side by side: start a refresh to the version that worked, or correct what is wrong and start this one again.",
    urgency: Urgency::Soon,
    commands: &[EXPLAIN],
};

/// An image tag that wasn't put back.
pub static IMAGE: Kind = Kind {
    name: "refresh-image",
    one: "image tag that was not put back",
    many: "image tags that were not put back",
    cured: "has its known good image again, or a later refresh came through",
    next: "Until it is put back, instances that start pull what the tag points to now. Look at it with aws ecr batch-get-image --repository-name REPOSITORY --image-ids imageTag=TAG. To put an image back, give its imageManifest and imageManifestMediaType to aws ecr put-image with --image-tag TAG.",
    urgency: Urgency::Now,
    commands: &[EXPLAIN],
};

/// Another refresh was hit than the one that was meant.
pub static MISMATCH: Kind = Kind {
    name: "refresh-mismatch",
    one: "instance refresh stopped that was not meant",
    many: "instance refreshes stopped that were not meant",
    cured: CURED,
    next: "A refresh began between the last look and the call, which takes only the group's name. Start it again if it was good.",
    urgency: Urgency::Now,
    commands: &[EXPLAIN],
};

/// A group's tags that can't be used.
pub static SETTINGS: Kind = Kind {
    name: "refresh-settings",
    one: "group with unusable cancel-refresh tags",
    many: "groups with unusable cancel-refresh tags",
    cured: "has usable tags now",
    next: "The policy's values hold instead. Correct the tags that are named (aws autoscaling create-or-update-tags); docs/cancel-refresh.md lists each with its values.",
    urgency: Urgency::Know,
    commands: &[],
};

/// How far the story of a refresh has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// In trouble.
    Trouble,
    /// Failing.
    Failing,
    /// Stopped.
    Stopped,
    /// At its end.
    Ended,
}

impl Stage {
    fn word(self) -> &'static str {
        match self {
            Self::Trouble => "trouble",
            Self::Failing => "failing",
            Self::Stopped => "stopped",
            Self::Ended => "ended",
        }
    }
}

/// What was told of a group's refresh last.
#[derive(Debug, Clone, PartialEq)]
pub struct ToldRefresh {
    /// The refresh.
    pub refresh: String,
    /// How far.
    pub stage: Stage,
}

/// What the group's tag remembers.
#[must_use]
pub fn told_of(group: &Group) -> Option<ToldRefresh> {
    let (refresh, word) = group.tag(&TROUBLED.tag())?.split_once(' ')?;
    let stages = [Stage::Trouble, Stage::Failing, Stage::Stopped, Stage::Ended];
    let stage = stages.into_iter().find(|stage| stage.word() == word)?;
    Some(ToldRefresh {
        refresh: refresh.to_owned(),
        stage,
    })
}

/// Sums up.
#[must_use]
pub fn assess(
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
    settled: &[Settled<'_, Action>],
) -> Assessment {
    let mut sum = Sum::default();
    for case in facts.cases.values() {
        if policy.exclude.tag_of(|key| case.group.tag(key)).is_some() {
            continue;
        }
        let settings = Settings::of(policy, &case.group);
        let judgement = signals::judge(case, &settings, now);
        sum.count(case, &judgement);
        let seen = View {
            case,
            settings: &settings,
            policy,
            judgement: &judgement,
            now,
            acted: Acted::of(&case.group.name, settled),
        };
        // Events come in bursts (four instances die together, and each starts a run), and runs at
        // the same moment don't see what the others tell. So a run that an event started tells what
        // it did itself; all else is left to the sweep.
        let by_event = !facts.complete && facts.asked.is_none();
        if by_event && !seen.acted.did_something() {
            continue;
        }
        seen.settings(&mut sum);
        if let Some(refresh) = &case.refresh
            && case.unread.is_empty()
        {
            seen.refresh(refresh, &mut sum);
            seen.image(refresh, &mut sum);
            seen.mismatch(refresh, &mut sum);
        }
    }
    Assessment {
        considered: facts.cases.len() as u64,
        metrics: sum.metrics(settled),
        findings: sum.findings,
        told: sum.told,
        detail: detail(facts, policy, now),
    }
}

/// What came of the actions on one group.
#[derive(Debug, Default, Clone, Copy)]
struct Acted<'a> {
    stop: Option<(Outcome, Option<&'a Stopped>, Option<&'a str>)>,
    restore: Option<(Outcome, Option<&'a image::Outcome>, Option<&'a str>)>,
}

impl<'a> Acted<'a> {
    fn of(group: &str, settled: &'a [Settled<'a, Action>]) -> Self {
        let mut acted = Self::default();
        for one in settled {
            match one.action {
                Action::Stop(stop) if stop.group == group => {
                    acted.stop = Some((one.outcome, stop.result.get(), one.note));
                }
                Action::Restore(restore) if restore.group == group => {
                    acted.restore = Some((one.outcome, restore.result.get(), one.note));
                }
                _ => {}
            }
        }
        acted
    }

    /// Whether this run itself changed something, tried to, or would have in mode enforce.
    fn did_something(&self) -> bool {
        let outcomes = [
            self.stop.map(|(outcome, _, _)| outcome),
            self.restore.map(|(outcome, _, _)| outcome),
        ];
        outcomes
            .into_iter()
            .flatten()
            .any(|outcome| !matches!(outcome, Outcome::Skipped | Outcome::Left))
    }

    /// How this run stopped the refresh, if it did.
    fn stopped(&self) -> Option<(How, &'a Stopped)> {
        let (_, result, _) = self.stop?;
        let result = result?;
        Some((result.how?, result))
    }

    fn image(&self) -> Option<&'a image::Outcome> {
        let of_stop = self.stop.and_then(|(_, result, _)| result?.image.as_ref());
        let of_restore = self.restore.and_then(|(_, result, _)| result);
        of_restore.or(of_stop)
    }
}

#[derive(Debug, Default)]
struct Sum {
    watched: u64,
    failing: u64,
    troubled: u64,
    not_restored: u64,
    findings: Vec<Finding>,
    told: Vec<Told>,
}

impl Sum {
    fn count(&mut self, case: &Case, judgement: &Judgement) {
        let active = |refresh: &Refresh| !refresh.status.is_ended();
        self.watched += u64::from(case.refresh.as_ref().is_some_and(active));
        match judgement.verdict {
            Verdict::Failing(_) => self.failing += 1,
            Verdict::Troubled(_) => self.troubled += 1,
            Verdict::Fine | Verdict::NotJudged(_) => {}
        }
    }

    fn metrics(&self, settled: &[Settled<'_, Action>]) -> Vec<Metric> {
        let results: Vec<&Stopped> = settled
            .iter()
            .filter_map(|one| match one.action {
                Action::Stop(stop) => stop.result.get(),
                _ => None,
            })
            .collect();
        let count = |such: &dyn Fn(&&&Stopped) -> bool| results.iter().filter(such).count() as u64;
        let restored = |outcome: Option<&image::Outcome>| {
            matches!(outcome, Some(image::Outcome::Restored { .. }))
        };
        let restored_after = settled
            .iter()
            .filter(|one| match one.action {
                Action::Restore(restore) => restored(restore.result.get()),
                _ => false,
            })
            .count() as u64;
        [
            ("RefreshesWatched", self.watched),
            ("RefreshesFailing", self.failing),
            ("RefreshesTroubled", self.troubled),
            ("RefreshesStopped", count(&|result| result.how.is_some())),
            ("Mismatches", count(&|result| result.mismatch.is_some())),
            (
                "ImagesRestored",
                count(&|result| restored(result.image.as_ref())) + restored_after,
            ),
            ("ImagesNotRestored", self.not_restored),
        ]
        .map(|(name, value)| Metric { name, value })
        .to_vec()
    }

    /// Adds a finding of `kind`, or what of it was told before.
    fn stage(
        &mut self,
        group: &Group,
        kind: &'static Kind,
        refresh: &Refresh,
        stands: Option<(String, String)>,
        cured: bool,
    ) {
        let told = group.tag(&kind.tag());
        let of_this = told.is_some_and(|told| told.split(' ').next() == Some(&refresh.id));
        if let Some((state, text)) = stands {
            self.findings.push(Finding {
                resource: resource(&group.name),
                kind,
                state,
                text,
            });
        } else if told.is_some() && !cured {
            // Nothing is known anew: what was told of this refresh stands, and what was told of
            // an earlier one until a later one comes through.
            if !of_this {
                return;
            }
            self.findings.push(Finding {
                resource: resource(&group.name),
                kind,
                state: told.unwrap_or_default().to_owned(),
                text: format!("{}: as was told of refresh {}", group.name, refresh.id),
            });
        }
        if let Some(told) = told {
            self.told.push(Told {
                resource: resource(&group.name),
                kind,
                state: told.to_owned(),
                gone: false,
            });
        }
    }
}

/// One group as it is told.
struct View<'a> {
    case: &'a Case,
    settings: &'a Settings,
    policy: &'a Policy,
    judgement: &'a Judgement,
    now: Timestamp,
    acted: Acted<'a>,
}

impl View<'_> {
    fn group(&self) -> &Group {
        &self.case.group
    }

    fn refresh(&self, refresh: &Refresh, sum: &mut Sum) {
        let told = told_of(self.group()).filter(|told| told.refresh == refresh.id);
        let stage = self
            .stage(refresh, told.as_ref())
            .filter(|(stage, _, _)| told.as_ref().is_none_or(|told| told.stage < *stage));
        let cured = refresh.status == Status::Successful;
        let (kind, stands) = match stage {
            Some((stage, kind, text)) => (
                kind,
                Some((format!("{} {}", refresh.id, stage.word()), text)),
            ),
            None => (&TROUBLED, None),
        };
        sum.stage(self.group(), kind, refresh, stands, cured);
    }

    /// What this run knows anew of the refresh, if anything.
    fn stage(
        &self,
        refresh: &Refresh,
        told: Option<&ToldRefresh>,
    ) -> Option<(Stage, &'static Kind, String)> {
        let name = format!(
            "{}: refresh {}{}",
            self.group().name,
            refresh.id,
            to(refresh)
        );
        if let Some((how, stopped)) = self.acted.stopped() {
            return Some((
                Stage::Stopped,
                &STOPPED,
                format!("{name} {}", self.was_stopped(refresh, how, stopped)),
            ));
        }
        if self.another_run_tells(refresh, told) {
            return None;
        }
        match &refresh.status {
            status if status.is_running() => self.running(refresh, &name),
            Status::Cancelling | Status::RollbackInProgress => {
                // Stopped by a run that ended before it could tell.
                let mark = self
                    .group()
                    .mark()
                    .filter(|mark| mark.refresh == refresh.id)?;
                let text = format!(
                    "{name} was stopped at {:.0} because it failed; it is {}",
                    mark.at,
                    refresh.status.word()
                );
                Some((Stage::Stopped, &STOPPED, text))
            }
            status if status.is_ended_badly() => {
                let known = told.is_some();
                let failed =
                    decide::failed(self.case, refresh) && decide::ended_recently(refresh, self.now);
                (known || failed).then(|| self.ended(refresh, &name))
            }
            _ => None,
        }
    }

    /// Whether the run that stopped the refresh is about to tell it: a run at the same moment
    /// would tell it twice.
    fn another_run_tells(&self, refresh: &Refresh, told: Option<&ToldRefresh>) -> bool {
        let told = told.is_some_and(|told| told.stage >= Stage::Stopped);
        let mark = self
            .group()
            .mark()
            .filter(|mark| mark.refresh == refresh.id);
        !told
            && mark.is_some_and(|mark| {
                mark.at
                    .checked_add(CLAIM_VALID)
                    .is_ok_and(|until| self.now < until)
            })
    }

    fn running(&self, refresh: &Refresh, name: &str) -> Option<(Stage, &'static Kind, String)> {
        let evidence = self.evidence();
        match &self.judgement.verdict {
            Verdict::Troubled(because) => Some((
                Stage::Trouble,
                &TROUBLED,
                format!(
                    "{name} is left alone, but: {}. {evidence}",
                    because.join("; ")
                ),
            )),
            Verdict::Failing(because) => {
                let because = because.join("; ");
                let not_stopped = match self.acted.stop {
                    // Another run does it, or it came to its end: the next look tells.
                    Some((Outcome::Skipped | Outcome::Left, _, _)) => return None,
                    Some((Outcome::WouldDo, _, _)) => {
                        "It would be stopped in mode enforce".to_owned()
                    }
                    Some((_, _, note)) => format!(
                        "It could not be stopped: {}",
                        note.unwrap_or("the reason stands in the log")
                    ),
                    None => {
                        let why = decide::hands_off(self.case, self.settings, self.policy)
                            .or_else(|| decide::already(self.case, refresh, self.now))
                            .unwrap_or_else(|| "the reason stands in the log".to_owned());
                        format!("It was not stopped: {why}")
                    }
                };
                Some((
                    Stage::Failing,
                    &FAILING,
                    format!("{name} fails: {because}. {not_stopped}. {evidence}"),
                ))
            }
            Verdict::Fine | Verdict::NotJudged(_) => None,
        }
    }

    fn was_stopped(&self, refresh: &Refresh, how: How, stopped: &Stopped) -> String {
        let because = match &self.judgement.verdict {
            Verdict::Failing(because) => because.join("; "),
            _ => "the evidence stands in the log".to_owned(),
        };
        let (_, fallback) = decide::how(self.case, refresh, self.settings.on_failure);
        let fallback = stopped.fallback.clone().or(fallback);
        let how = match (how, fallback) {
            (How::Rollback, _) => "It is being rolled back".to_owned(),
            (How::Cancel, None) => "It is being cancelled".to_owned(),
            (How::Cancel, Some(why)) => format!("It is being cancelled and not rolled back: {why}"),
        };
        let image = match &stopped.image {
            Some(image::Outcome::Restored { digest, kept_as }) => {
                let tags = self.settings.image.as_ref();
                let name = tags.map_or_else(String::new, |tags| {
                    format!(" {}:{}", tags.repository, tags.tag)
                });
                format!(
                    ". Before that the image tag{name} was put back to {digest}; the failing image is kept under {kept_as}"
                )
            }
            _ => String::new(),
        };
        format!("failed: {because}. {how}{image}. {}", self.evidence())
    }

    fn ended(&self, refresh: &Refresh, name: &str) -> (Stage, &'static Kind, String) {
        let reason = [&refresh.reason, &refresh.rollback_reason];
        let reason: Vec<&str> = reason.into_iter().flatten().map(String::as_str).collect();
        let says = if reason.is_empty() {
            String::new()
        } else {
            format!(" (AWS: {})", reason.join("; "))
        };
        let mark = self
            .group()
            .mark()
            .filter(|mark| mark.refresh == refresh.id);
        let evidence = self.evidence();
        let Some(mark) = mark else {
            let text = format!(
                "{name} ended as {}{says}. {evidence}",
                refresh.status.word()
            );
            return (Stage::Ended, &FAILED, text);
        };
        let how = match mark.step {
            Step::Cancel | Step::Cancelled => "cancelled",
            Step::Rollback | Step::RolledBack => "rolled back",
        };
        let text = format!(
            "{name}, {how} by this guardrail at {:.0}, is {} now{says}. {evidence}",
            mark.at,
            refresh.status.word()
        );
        (Stage::Ended, &ENDED, text)
    }

    /// Numbers and words behind it, in a sentence or two.
    fn evidence(&self) -> String {
        let Judgement {
            launches, health, ..
        } = self.judgement;
        let versions: Vec<String> = health
            .versions
            .iter()
            .map(|(version, count)| format!("{count} on version {version}"))
            .collect();
        let mut text = format!(
            "Instances: {} new, {} old{}",
            health.new,
            health.old,
            if versions.is_empty() {
                String::new()
            } else {
                format!(" ({})", versions.join(", "))
            }
        );
        let failed = launches.failed_in_a_row + launches.capacity_in_a_row;
        if launches.succeeded > 0 || failed > 0 {
            text = format!(
                "{text}. Launches since its start: {} worked, {failed} failed since the last healthy one",
                launches.succeeded
            );
        }
        if !health.unhealthy.is_empty() {
            text = format!(
                "{text}. Terminated as unhealthy: {}",
                health.unhealthy.join(", ")
            );
        }
        let told = |message: &str| match &self.judgement.verdict {
            Verdict::Failing(because) | Verdict::Troubled(because) => {
                because.iter().any(|why| why.contains(message))
            }
            Verdict::Fine | Verdict::NotJudged(_) => false,
        };
        if let Some(message) = launches.messages.first()
            && !told(&message.message)
        {
            text = format!("{text}. AWS said: \"{}\"", message.message);
        }
        text
    }

    fn image(&self, refresh: &Refresh, sum: &mut Sum) {
        let restored = matches!(self.acted.image(), Some(image::Outcome::Restored { .. }))
            || self
                .group()
                .seen()
                .is_some_and(|seen| seen.refresh == refresh.id && seen.repair == Repair::Restored);
        let problem = if restored {
            None
        } else {
            self.not_restored(refresh)
        };
        sum.not_restored += u64::from(problem.is_some());
        let stands = problem.map(|problem| {
            (
                format!("{} not-restored", refresh.id),
                format!("{}: {problem}", self.group().name),
            )
        });
        let cured = restored || refresh.status == Status::Successful;
        sum.stage(self.group(), &IMAGE, refresh, stands, cured);
    }

    /// Why the image tag wasn't put back though it should have been.
    fn not_restored(&self, refresh: &Refresh) -> Option<String> {
        match self.acted.image() {
            Some(image::Outcome::Refused(why)) => return Some(why.clone()),
            Some(image::Outcome::Failed(error)) => {
                return Some(format!("{error}. The next sweep tries again"));
            }
            Some(image::Outcome::Restored { .. }) => return None,
            None => {}
        }
        if let Some((Outcome::Failed, _, note)) = self.acted.restore {
            return Some(format!(
                "{}. The next sweep tries again",
                note.unwrap_or("the reason stands in the log")
            ));
        }
        let called_for = self.acted.stopped().is_some()
            || (decide::failed(self.case, refresh)
                && decide::ended_recently(refresh, self.now)
                && decide::hands_off(self.case, self.settings, self.policy).is_none());
        match image::plan(self.case, self.settings, refresh) {
            Standing::Refused(why) if called_for => Some(why),
            _ => None,
        }
    }

    fn mismatch(&self, refresh: &Refresh, sum: &mut Sum) {
        let hit = self
            .acted
            .stop
            .and_then(|(_, result, _)| result?.mismatch.clone());
        let stands = hit.map(|hit| {
            (
                format!("{} {hit}", refresh.id),
                format!(
                    "{}: refresh {} was to be stopped, and AWS says that {hit} was",
                    self.group().name,
                    refresh.id
                ),
            )
        });
        let cured = refresh.status == Status::Successful;
        sum.stage(self.group(), &MISMATCH, refresh, stands, cured);
    }

    fn settings(&self, sum: &mut Sum) {
        let told = self.group().tag(&SETTINGS.tag());
        if let Some(told) = told {
            sum.told.push(Told {
                resource: resource(&self.group().name),
                kind: &SETTINGS,
                state: told.to_owned(),
                gone: false,
            });
        }
        let problems = &self.settings.problems;
        if problems.is_empty() {
            return;
        }
        let prefix = guardrails::tags::PREFIX;
        let keys: Vec<&str> = problems
            .iter()
            .map(|problem| problem.tag.strip_prefix(prefix).unwrap_or(problem.tag))
            .collect();
        let text: Vec<String> = problems
            .iter()
            .map(|problem| format!("tag {}: {}", problem.tag, problem.problem))
            .collect();
        sum.findings.push(Finding {
            resource: resource(&self.group().name),
            kind: &SETTINGS,
            state: keys.join(" "),
            text: format!("{}: {}", self.group().name, text.join("; ")),
        });
    }
}

/// Where the refresh was to go, for people.
fn to(refresh: &Refresh) -> String {
    match &refresh.wanted {
        Some(wanted) => format!(" to {wanted}"),
        None => String::new(),
    }
}

/// All that is known of the group that was asked for.
fn detail(facts: &Facts, policy: &Policy, now: Timestamp) -> Value {
    let Some(asked) = &facts.asked else {
        return Value::Null;
    };
    let Some(case) = facts.cases.get(asked) else {
        return json!({
            "group": asked,
            "problem": "there is no such Auto Scaling group in this account and Region",
        });
    };
    let settings = Settings::of(policy, &case.group);
    let judgement = signals::judge(case, &settings, now);
    let refresh = case.refresh.as_ref().map(|refresh| {
        json!({
            "id": refresh.id,
            "status": refresh.status.word(),
            "status-reason": refresh.reason,
            "start": refresh.start,
            "end": refresh.end,
            "percentage-complete": refresh.percentage,
            "instances-to-update": refresh.remaining,
            "wanted": refresh.wanted,
            "preferences": refresh.preferences,
            "rollback-reason": refresh.rollback_reason,
        })
    });
    let decision = case.refresh.as_ref().map(|refresh| {
        let (how, fallback) = decide::how(case, refresh, settings.on_failure);
        json!({
            "if-failing": match how { How::Cancel => "cancel", How::Rollback => "rollback" },
            "not-as-asked-because": fallback,
            "only-told-because": decide::hands_off(case, &settings, policy)
                .or_else(|| decide::already(case, refresh, now)),
        })
    });
    let image = case
        .refresh
        .as_ref()
        .map(|refresh| match image::plan(case, &settings, refresh) {
            Standing::NotAsked => json!({"standing": "not watched"}),
            Standing::Done => json!({"standing": "it is the known good image"}),
            Standing::Repair(plan) => json!({
                "standing": "would be put back",
                "repository": plan.repository, "tag": plan.tag,
                "from": plan.bad, "to": plan.good, "kept-as": plan.keep_as,
            }),
            Standing::Refused(why) => json!({"standing": "would not be put back", "because": why}),
        });
    json!({
        "group": case.group.name,
        "launches-from": case.group.source,
        "desired-capacity": case.group.desired,
        "suspended-processes": case.group.suspended,
        "operator": case.group.operator,
        "refresh": refresh,
        "verdict": judgement.verdict,
        "evidence": {
            "launches": judgement.launches,
            "health": judgement.health,
            "alarms": judgement.alarms,
            "stall": judgement.stall,
        },
        "decision": decision,
        "settings": {
            "on-failure": settings.on_failure,
            "launch-failures": settings.launch_failures,
            "permanent-launch-failures": settings.permanent_launch_failures,
            "unhealthy-terminations": settings.unhealthy_terminations,
            "stalled-for": settings.stalled_for.to_string(),
            "alarms": settings.alarms,
            "image": settings.image,
            "problems": settings.problems,
        },
        "image": image,
        "unread": case.unread.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests;
