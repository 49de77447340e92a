//! What the facts come to: each group judged once. Pure.

use guardrails::aws::ApiError;
use guardrails::policy::Age;
use guardrails::resource::Resource;
use jiff::Timestamp;

use crate::facts::{Case, Facts, Question, Refresh, Status};
use crate::image::{self, Standing};
use crate::memory::{Claim, How, Mismatch, Repair, Seen};
use crate::policy::{OnFailure, Policy, Settings};
use crate::signals::{self, Judgement};
use crate::source::Source;

/// How long after its end a refresh is still dealt with. A group's newest refresh may be six weeks
/// old when the guardrail sees it first.
const RECENT: Age = Age::from_hours(24);

/// All groups that were looked at, judged.
#[derive(Debug)]
pub struct Evaluation<'a> {
    pub complete: bool,
    /// What a person asks about the one group.
    pub asked: Option<&'a Question>,
    pub groups: Vec<Evaluated<'a>>,
}

#[derive(Debug)]
pub struct Evaluated<'a> {
    pub case: &'a Case,
    pub settings: Settings,
    /// Why it is left alone.
    pub excluded: Option<String>,
    /// What stands for and against its newest refresh.
    pub judgement: Judgement,
    pub refresh: Option<Newest<'a>>,
}

#[derive(Debug)]
pub struct Newest<'a> {
    pub refresh: &'a Refresh,
    /// The run that stops it, or did.
    pub claim: Option<&'a Claim>,
    /// Whether that run has it to itself.
    pub claimed: bool,
    pub how: How,
    /// Why it would be cancelled though a rollback is wanted.
    pub fallback: Option<String>,
    /// What a person can do to stop it.
    pub by_hand: ByHand,
    /// Whether it may be stopped.
    pub gate: Gate<'a>,
    /// Why nothing is done: this guardrail has been at it before.
    pub already: Option<String>,
    pub ended_recently: bool,
    /// Whether it ended as one that failed, and not because a person stopped it.
    pub failed: bool,
    pub seen: Option<&'a Seen>,
    pub image: Standing,
    /// Another refresh was hit in the place of one, and this is one of the two.
    pub mismatch: Option<&'a Mismatch>,
}

/// What a person can do to stop a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByHand {
    CancelOrRollBack,
    /// AWS refuses to roll it back.
    Cancel,
    /// Only an AWS service may change the group now.
    Nothing,
}

/// Whether a failing refresh may be stopped.
#[derive(Debug, Clone, PartialEq)]
pub enum Gate<'a> {
    Open,
    /// It is only told, for this reason.
    Closed(String),
    /// It can't be told: this couldn't be read.
    Unknown(&'a ApiError),
}

impl Gate<'_> {
    /// Why it isn't stopped.
    pub(crate) fn closed(&self) -> Option<String> {
        match self {
            Self::Open => None,
            Self::Closed(why) => Some(why.clone()),
            Self::Unknown(error) => Some(format!(
                "whether its CloudFormation stack is being updated couldn't be read: {error}"
            )),
        }
    }
}

pub(crate) fn evaluate<'a>(facts: &'a Facts, policy: &Policy, now: Timestamp) -> Evaluation<'a> {
    let cases = facts.cases.values();
    Evaluation {
        complete: facts.complete,
        asked: facts.asked.as_ref(),
        groups: cases.map(|case| Evaluated::of(case, policy, now)).collect(),
    }
}

impl<'a> Evaluated<'a> {
    /// Judges one group, by what is known of it so far.
    pub(crate) fn of(case: &'a Case, policy: &Policy, now: Timestamp) -> Self {
        let settings = Settings::of(policy, &case.group);
        let excluded = policy.exclude.tag_of(|key| case.group.tag(key));
        let refresh = case.refresh.as_ref();
        Self {
            excluded: excluded.map(|tag| format!("the group's tag {tag} excludes it")),
            judgement: signals::judge(case, &settings, now),
            refresh: refresh.map(|refresh| Newest::of(case, refresh, &settings, now)),
            settings,
            case,
        }
    }

    pub(crate) fn resource(&self) -> Resource {
        Resource::group(&self.case.group.name)
    }

    /// Whether it matters what its image tag points to: at first sight, while its repair is open,
    /// where a run may have been ended after it, and where that tells what was started again.
    pub(crate) fn image_matters(&self) -> bool {
        let Some(newest) = &self.refresh else {
            return false;
        };
        let matters = match newest.seen.map(|seen| seen.repair) {
            None => newest.just_failed() || image::seen_in_time(newest.refresh, self.case.looked),
            Some(Repair::Seen) => newest.just_failed() || newest.is_winding_down(),
            Some(Repair::Restoring) => true,
            Some(Repair::Restored | Repair::NotRestored) => false,
        };
        matters || signals::may_be_again(self.case, &self.settings)
    }

    /// Whether its image tag may be put back.
    pub(crate) fn repairs_image(&self) -> bool {
        self.case.group.operator.is_none() && self.settings.on_failure != OnFailure::Notify
    }
}

impl<'a> Newest<'a> {
    fn of(case: &'a Case, refresh: &'a Refresh, settings: &Settings, now: Timestamp) -> Self {
        let stored = case.remembered.memory.as_ref();
        let memory = case.memory();
        let claim = memory.and_then(|memory| memory.stop.as_ref());
        let end = refresh.end.or(refresh.start);
        let irreversible = irreversible(case, refresh);
        let rolls_back = settings.on_failure == OnFailure::Rollback;
        Self {
            refresh,
            claim,
            claimed: claim.is_some_and(|claim| now < claim.until()),
            how: if rolls_back && irreversible.is_none() {
                How::Rollback
            } else {
                How::Cancel
            },
            by_hand: if in_other_hands(case).is_some() {
                ByHand::Nothing
            } else if irreversible.is_some() {
                ByHand::Cancel
            } else {
                ByHand::CancelOrRollBack
            },
            fallback: irreversible.filter(|_| rolls_back),
            gate: gate(case, settings),
            already: claim.and_then(|claim| already(claim, now)),
            ended_recently: refresh.status.is_ended()
                && end.is_some_and(|end| RECENT.after(end) > now),
            failed: match refresh.status {
                Status::Failed | Status::RollbackSuccessful | Status::RollbackFailed => true,
                Status::Cancelled => claim.is_some(),
                _ => false,
            },
            seen: memory.and_then(|memory| memory.image.as_ref()),
            image: image::standing(case, refresh, settings.image.as_ref()),
            mismatch: stored.and_then(|memory| memory.mismatch_at(&refresh.id)),
        }
    }

    pub(crate) fn just_failed(&self) -> bool {
        self.failed && self.ended_recently
    }

    /// Whether its image tag was put back, or may have been: a run began to.
    fn was_moved(&self) -> bool {
        let repair = self.seen.map(|seen| seen.repair);
        matches!(repair, Some(Repair::Restoring | Repair::Restored))
    }

    /// Why it can't be told where its image tag points that was put back, or may have been.
    pub(crate) fn lost_sight(&self) -> Option<&str> {
        match &self.image {
            Standing::Refused(why) | Standing::Unread(why) if self.was_moved() => Some(why),
            Standing::NotAsked if self.was_moved() => Some(
                "an image tag was put back, or may have been, and the settings name none any more",
            ),
            _ => None,
        }
    }

    /// What its group goes on launching from though it failed: after a cancel, its own version.
    pub(crate) fn still_launches<'c>(&self, case: &'c Case) -> Option<&'c Source> {
        let source = case.group.source.as_ref()?;
        let wanted = self.refresh.wanted.as_ref().unwrap_or(source);
        source.same(wanted).then_some(source)
    }

    /// Whether instances go back to what was before: whoever does it, AWS or a person, what launches
    /// now boots what the image tag points to (ASG-11). A person's cancel launches nothing.
    pub(crate) fn is_winding_down(&self) -> bool {
        match self.refresh.status {
            Status::RollbackInProgress => true,
            Status::Cancelling => self.claim.is_some(),
            _ => false,
        }
    }
}

/// Why it can't be rolled back, or had better not.
fn irreversible(case: &Case, refresh: &Refresh) -> Option<String> {
    if is_updating(case) {
        return Some("its CloudFormation stack is being updated: AWS refuses to roll back a refresh that CloudFormation started, and CloudFormation takes the stack back itself once its refresh is cancelled".to_owned());
    }
    let Some(wanted) = &refresh.wanted else {
        return Some("it has no desired configuration, so AWS can't roll it back".to_owned());
    };
    if !wanted.is_numbered() {
        return Some(format!(
            "it goes to {wanted}, and AWS rolls back numbered versions only"
        ));
    }
    match &case.group.source {
        Some(before) if !before.is_numbered() => Some(format!(
            "the group launches from {before}, and AWS goes back to numbered versions only"
        )),
        // Rolling back to the bad version itself replaces everything and changes nothing.
        Some(before) if before.same(wanted) => Some(format!(
            "the group launches from {before}, which is the failing version itself, so there is nothing to roll back to"
        )),
        _ => None,
    }
}

/// Why only an AWS service may change the group now.
fn in_other_hands(case: &Case) -> Option<String> {
    if let Some(operator) = &case.group.operator {
        return Some(format!(
            "{operator} manages the group, and only {operator} may change it"
        ));
    }
    match &case.stack {
        Some(Ok(status)) if stack_is_busy(status) => Some(format!(
            "its CloudFormation stack is {status}, in which nobody else may move its group"
        )),
        _ => None,
    }
}

fn gate<'a>(case: &'a Case, settings: &Settings) -> Gate<'a> {
    if let Some(why) = in_other_hands(case) {
        return Gate::Closed(why);
    }
    if settings.on_failure == OnFailure::Notify {
        return Gate::Closed("the policy or the group's tag says to notify only".to_owned());
    }
    match &case.stack {
        Some(Err(error)) => Gate::Unknown(error),
        _ => Gate::Open,
    }
}

/// Whether `CloudFormation` updates the group's stack, forwards. For its own refreshes AWS allows
/// then to cancel (ASG-14).
fn is_updating(case: &Case) -> bool {
    matches!(&case.stack, Some(Ok(status)) if status == "UPDATE_IN_PROGRESS")
}

/// Whether `CloudFormation` is at work on a stack of this status, and not by an update that may be
/// stopped: least of all while it takes one back.
fn stack_is_busy(status: &str) -> bool {
    let free = ["REVIEW_IN_PROGRESS", "UPDATE_IN_PROGRESS"];
    status.ends_with("_IN_PROGRESS") && !free.contains(&status)
}

fn already(claim: &Claim, now: Timestamp) -> Option<String> {
    if claim.step.is_done() {
        return Some(format!(
            "it was stopped at {:.0} already; AWS has yet to show it",
            claim.at
        ));
    }
    let until = claim.until();
    (now < until).then(|| {
        format!(
            "another run is about to stop it since {:.0}; unless it does, the next look after {until:.0} goes on",
            claim.at
        )
    })
}
