//! What is done with which refresh, and why. Pure.

use std::sync::OnceLock;

use guardrails::aws::ApiError;
use guardrails::guardrail::Decision;
use guardrails::notify::AUTO_SCALING_GROUP;
use guardrails::policy::Age;
use jiff::{SignedDuration, Timestamp};

use crate::facts::{Case, Facts, Refresh, Repair, Seen, Status, Step};
use crate::image::{self, Plan};
use crate::policy::{OnFailure, Policy, Settings};
use crate::signals::{self, Judgement, Verdict};

/// How long a run that is about to stop a refresh has it to itself. One that takes longer finds,
/// before it sends anything, that another has claimed the refresh, or that nobody has.
pub const CLAIM_VALID: SignedDuration = SignedDuration::from_mins(3);
/// How long after its end a refresh is still dealt with. A group's newest refresh may be six weeks
/// old when the guardrail sees it first.
pub const RECENT: Age = Age::from_hours(24);

/// What can be carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Stop a failing refresh.
    Stop(Box<Stop>),
    /// Put the known good image back after a refresh that has ended.
    Restore(Box<Restore>),
    /// Write down what the image tag points to (ASG-10).
    Remember {
        /// The group's name.
        group: String,
        /// What was seen.
        seen: Seen,
    },
    /// Say that the refresh couldn't be judged: nothing can be carried out, so it fails, and with
    /// it the run, after all else is done.
    CannotJudge {
        /// What couldn't be read.
        error: ApiError,
    },
}

/// Stops a refresh.
#[derive(Debug, Clone, PartialEq)]
pub struct Stop {
    /// The group's name.
    pub group: String,
    /// The refresh that was judged. No other is touched.
    pub refresh: String,
    /// How.
    pub how: How,
    /// The image tag's repair, which comes first (ASG-11).
    pub image: Option<Plan>,
    /// What came of it, for the notice: `act` sets it.
    pub result: OnceLock<Stopped>,
}

/// Puts an image back.
#[derive(Debug, Clone, PartialEq)]
pub struct Restore {
    /// The group's name.
    pub group: String,
    /// The refresh.
    pub refresh: String,
    /// What is done.
    pub plan: Plan,
    /// What came of it, for the notice: `act` sets it.
    pub result: OnceLock<image::Outcome>,
}

/// How a refresh is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Cancel it.
    Cancel,
    /// Roll it back.
    Rollback,
}

impl How {
    /// What the tag says while it is about to be done.
    #[must_use]
    pub fn claim(self) -> Step {
        match self {
            Self::Cancel => Step::Cancel,
            Self::Rollback => Step::Rollback,
        }
    }

    /// What the tag says once it is done.
    #[must_use]
    pub fn done(self) -> Step {
        match self {
            Self::Cancel => Step::Cancelled,
            Self::Rollback => Step::RolledBack,
        }
    }

    fn action(self) -> &'static str {
        match self {
            Self::Cancel => "cancel-refresh",
            Self::Rollback => "rollback-refresh",
        }
    }
}

/// What came of stopping a refresh.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stopped {
    /// How it was stopped; none: it wasn't.
    pub how: Option<How>,
    /// Why it was cancelled though a rollback was meant.
    pub fallback: Option<String>,
    /// Another refresh that AWS says was hit (ASG-2).
    pub mismatch: Option<String>,
    /// What came of the image tag.
    pub image: Option<image::Outcome>,
}

/// How a group is named in reports.
#[must_use]
pub fn resource(group: &str) -> String {
    format!("{AUTO_SCALING_GROUP}{group}")
}

/// How a failing refresh would be stopped, and why not as was asked.
#[must_use]
pub fn how(case: &Case, refresh: &Refresh, asked: OnFailure) -> (How, Option<String>) {
    if asked != OnFailure::Rollback {
        return (How::Cancel, None);
    }
    let cancel = |why: String| (How::Cancel, Some(why));
    let Some(wanted) = &refresh.wanted else {
        return cancel("it has no desired configuration, so AWS can't roll it back".to_owned());
    };
    if wanted.number().is_none() {
        return cancel(format!(
            "it goes to {wanted}, and AWS rolls back numbered versions only"
        ));
    }
    match &case.group.source {
        Some(before) if before.number().is_none() => cancel(format!(
            "the group launches from {before}, and AWS goes back to numbered versions only"
        )),
        // Rolling back to the bad version itself replaces everything and changes nothing.
        Some(before) if before.same(wanted) => cancel(format!(
            "the group launches from {before}, which is the failing version itself, so there is nothing to roll back to"
        )),
        _ => (How::Rollback, None),
    }
}

/// Why a failing refresh is only told.
#[must_use]
pub fn hands_off(case: &Case, settings: &Settings, policy: &Policy) -> Option<String> {
    let group = &case.group;
    if let Some(tag) = policy.exclude.tag_of(|key| group.tag(key)) {
        return Some(format!("the group's tag {tag} excludes it"));
    }
    if let Some(operator) = &group.operator {
        return Some(format!(
            "{operator} manages the group, and only {operator} may change it"
        ));
    }
    match &case.stack {
        Some(Ok(status)) if stack_is_busy(status) => {
            return Some(format!(
                "its CloudFormation stack is {status} and would take the stop for a failure of its own; stop the stack's update instead"
            ));
        }
        Some(Err(error)) => {
            return Some(format!(
                "whether its CloudFormation stack is being updated couldn't be read: {error}"
            ));
        }
        _ => {}
    }
    (settings.on_failure == OnFailure::Notify)
        .then(|| "the policy or the group's tag says to notify only".to_owned())
}

/// Whether `CloudFormation` is at work on a stack of this status.
#[must_use]
pub fn stack_is_busy(status: &str) -> bool {
    status.ends_with("_IN_PROGRESS") && status != "REVIEW_IN_PROGRESS"
}

/// Why nothing is done about a refresh that this guardrail has been at before.
#[must_use]
pub fn already(case: &Case, refresh: &Refresh, now: Timestamp) -> Option<String> {
    let mark = case.group.mark()?;
    if mark.refresh != refresh.id {
        return None;
    }
    match mark.step {
        Step::Cancelled | Step::RolledBack => Some(format!(
            "it was stopped at {:.0} already; AWS has yet to show it",
            mark.at
        )),
        Step::Cancel | Step::Rollback => {
            let until = mark.at.checked_add(CLAIM_VALID).unwrap_or(Timestamp::MAX);
            (now < until).then(|| {
                format!(
                    "another run is about to stop it since {:.0}; unless it does, the next look after {until:.0} goes on",
                    mark.at
                )
            })
        }
    }
}

/// Whether `case`'s refresh ended a short time ago.
#[must_use]
pub fn ended_recently(refresh: &Refresh, now: Timestamp) -> bool {
    let end = refresh.end.or(refresh.start);
    refresh.status.is_ended() && end.is_some_and(|end| RECENT.after(end) > now)
}

/// Whether this guardrail stopped the refresh, or was about to.
#[must_use]
pub fn is_ours(case: &Case, refresh: &Refresh) -> bool {
    case.group
        .mark()
        .is_some_and(|mark| mark.refresh == refresh.id)
}

/// Whether the refresh ended as one that failed, and not because a person stopped it.
#[must_use]
pub fn failed(case: &Case, refresh: &Refresh) -> bool {
    match refresh.status {
        Status::Failed | Status::RollbackSuccessful | Status::RollbackFailed => true,
        Status::Cancelled => is_ours(case, refresh),
        _ => false,
    }
}

/// What is to be done.
#[must_use]
pub fn decide(facts: &Facts, policy: &Policy, now: Timestamp) -> Vec<Decision<Action>> {
    facts
        .cases
        .values()
        .flat_map(|case| decide_one(case, facts, policy, now))
        .collect()
}

fn decide_one(
    case: &Case,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> Vec<Decision<Action>> {
    let settings = Settings::of(policy, &case.group);
    let leave = |action: &'static str, reason: String| Decision {
        resource: resource(&case.group.name),
        action,
        reason,
        step: None,
    };
    // Of hundreds of quiet groups nothing is to be said, of the one that was asked for it is.
    let quiet = |action: &'static str, reason: String| {
        let said = (!facts.complete).then(|| leave(action, reason));
        said.into_iter().collect::<Vec<_>>()
    };
    if let Some(tag) = policy.exclude.tag_of(|key| case.group.tag(key)) {
        return quiet("leave-alone", format!("the group's tag {tag} excludes it"));
    }
    if let Some(error) = case.unread.first() {
        return vec![Decision {
            step: Some(Action::CannotJudge {
                error: error.clone(),
            }),
            ..leave("read-refresh", "not all of it could be read".to_owned())
        }];
    }
    let Some(refresh) = &case.refresh else {
        let reason = "the group has had no instance refresh in the last six weeks";
        return quiet("watch", reason.to_owned());
    };
    let mut decisions: Vec<Decision<Action>> = Vec::new();
    let judgement = signals::judge(case, &settings, now);
    let name = format!("refresh {}", refresh.id);
    match &judgement.verdict {
        Verdict::Failing(because) => {
            let because = format!("{name} fails: {}", because.join("; "));
            decisions.push(failing(case, refresh, &settings, policy, because, now));
        }
        Verdict::Troubled(because) => decisions.push(leave(
            "report",
            format!("{name} is left alone, but: {}", because.join("; ")),
        )),
        Verdict::Fine => decisions.extend(quiet("watch", fine(refresh, &judgement))),
        Verdict::NotJudged(why) => decisions.extend(quiet("watch", format!("{name}: {why}"))),
    }
    decisions.extend(restore(case, refresh, &settings, now));
    // Last: where the refresh is stopped at first sight, that writes it down as well.
    if !decisions
        .iter()
        .any(|decision| matches!(decision.step, Some(Action::Stop(_))))
    {
        decisions.extend(remember(case, refresh, &settings));
    }
    decisions
}

fn fine(refresh: &Refresh, judgement: &Judgement) -> String {
    format!(
        "refresh {} is {} at {} %, and nothing stands against it: {} new instances, {} old ones",
        refresh.id,
        refresh.status.word(),
        refresh.percentage,
        judgement.health.new,
        judgement.health.old
    )
}

fn failing(
    case: &Case,
    refresh: &Refresh,
    settings: &Settings,
    policy: &Policy,
    because: String,
    now: Timestamp,
) -> Decision<Action> {
    let leave = |why: String| Decision {
        resource: resource(&case.group.name),
        action: "report",
        reason: format!("{because}. Nothing is done: {why}"),
        step: None,
    };
    if let Some(why) = hands_off(case, settings, policy) {
        return leave(why);
    }
    if let Some(why) = already(case, refresh, now) {
        return leave(why);
    }
    let (how, fallback) = how(case, refresh, settings.on_failure);
    let reason = match fallback {
        Some(fallback) => format!("{because}. Cancelled and not rolled back: {fallback}"),
        None => because,
    };
    Decision {
        resource: resource(&case.group.name),
        action: how.action(),
        reason,
        step: Some(Action::Stop(Box::new(Stop {
            group: case.group.name.clone(),
            refresh: refresh.id.clone(),
            how,
            image: match image::plan(case, settings, refresh) {
                image::Standing::Repair(plan) => Some(plan),
                _ => None,
            },
            result: OnceLock::new(),
        }))),
    }
}

/// The image tag's repair after a refresh that failed on its own, or one that was stopped before
/// its image tag was repaired.
fn restore(
    case: &Case,
    refresh: &Refresh,
    settings: &Settings,
    now: Timestamp,
) -> Option<Decision<Action>> {
    // Whoever rolls it back, AWS or a person: what launches now boots what the tag points to
    // (ASG-11). A person's cancel launches nothing.
    let winding_down = match refresh.status {
        Status::RollbackInProgress => true,
        Status::Cancelling => is_ours(case, refresh),
        _ => false,
    };
    let ended = failed(case, refresh) && ended_recently(refresh, now);
    if !(winding_down || ended) || case.group.operator.is_some() {
        return None;
    }
    // A run that stops a refresh repairs the tag itself: two at once would only get in each
    // other's way.
    if settings.on_failure == OnFailure::Notify || (!ended && already_at_it(case, refresh, now)) {
        return None;
    }
    let image::Standing::Repair(plan) = image::plan(case, settings, refresh) else {
        return None;
    };
    Some(Decision {
        resource: resource(&case.group.name),
        action: "restore-image",
        reason: format!(
            "refresh {} is {} and {}:{} still points to the image that it brought",
            refresh.id,
            refresh.status.word(),
            plan.repository,
            plan.tag
        ),
        step: Some(Action::Restore(Box::new(Restore {
            group: case.group.name.clone(),
            refresh: refresh.id.clone(),
            plan,
            result: OnceLock::new(),
        }))),
    })
}

fn already_at_it(case: &Case, refresh: &Refresh, now: Timestamp) -> bool {
    case.group.mark().is_some_and(|mark| {
        mark.refresh == refresh.id
            && mark
                .at
                .checked_add(CLAIM_VALID)
                .is_ok_and(|until| now < until)
    })
}

/// At first sight of a refresh: what its image tag points to.
fn remember(case: &Case, refresh: &Refresh, settings: &Settings) -> Option<Decision<Action>> {
    let tags = settings.image.as_ref()?;
    if refresh.status.is_ended() || case.group.operator.is_some() {
        return None;
    }
    if case
        .group
        .seen()
        .is_some_and(|seen| seen.refresh == refresh.id)
    {
        return None;
    }
    let digest = case.image.as_ref()?.as_ref().ok()?.current.clone()?;
    Some(Decision {
        resource: resource(&case.group.name),
        action: "remember-image",
        reason: format!(
            "refresh {} is seen for the first time; {}:{} points to {digest}",
            refresh.id, tags.repository, tags.tag
        ),
        step: Some(Action::Remember {
            group: case.group.name.clone(),
            seen: Seen {
                refresh: refresh.id.clone(),
                digest,
                repair: Repair::Open,
            },
        }),
    })
}

#[cfg(test)]
pub(crate) mod tests;
