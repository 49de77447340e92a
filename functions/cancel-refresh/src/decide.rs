//! What is done with which refresh, and why. Pure.

use guardrails::aws::ErrorKind;
use guardrails::guardrail::{Decision, Step};

use crate::evaluate::{Evaluated, Evaluation, Gate, Newest};
use crate::facts::Status;
use crate::image::{self, Plan};
use crate::memory::{How, Remembered};
use crate::signals::Verdict;
use crate::source::Source;

/// What can be carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Stop a failing refresh.
    Stop(Box<Stop>),
    /// Put the known good image back after a refresh that has ended.
    Restore(Box<Restore>),
    /// Remember what is seen for the first time (ASG-10).
    Remember(Box<Remember>),
}

/// A group's refresh, and what was remembered when it was judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub group: String,
    /// The refresh that was judged. No other is touched.
    pub refresh: String,
    /// What was remembered of the group: what is written rests on it.
    pub before: Remembered,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Stop {
    pub target: Target,
    pub how: How,
    /// What stands against it.
    pub because: String,
    /// What the refresh goes to.
    pub source: Option<Source>,
    /// The image tag's repair, which comes first (ASG-11).
    pub image: Option<Plan>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Restore {
    pub target: Target,
    pub plan: Plan,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Remember {
    pub target: Target,
    pub what: First,
}

/// What is remembered at first sight.
#[derive(Debug, Clone, PartialEq)]
pub enum First {
    /// What the image tag points to.
    Image { digest: String },
    /// That it is Pending.
    Pending,
}

/// What an action brought about.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    Stopped(Stopped),
    Image(image::Outcome),
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
    pub image: Option<image::Outcome>,
}

impl Action {
    /// The group that it is about.
    pub(crate) fn group(&self) -> &str {
        match self {
            Self::Stop(stop) => &stop.target.group,
            Self::Restore(restore) => &restore.target.group,
            Self::Remember(remember) => &remember.target.group,
        }
    }
}

/// What is to be done.
pub(crate) fn decide(evaluation: &Evaluation<'_>) -> Vec<Decision<Action>> {
    let groups = evaluation.groups.iter();
    groups
        .flat_map(|group| of_group(group, evaluation.complete))
        .collect()
}

fn of_group(group: &Evaluated<'_>, complete: bool) -> Vec<Decision<Action>> {
    // Of hundreds of quiet groups nothing is to be said, of the one that was asked for it is.
    let quiet = |action: &'static str, reason: String| {
        let said = (!complete).then(|| Decision::leave(group.resource(), action, reason));
        said.into_iter().collect::<Vec<_>>()
    };
    if let Some(error) = group.case.unread.first() {
        let reason = "not all of it could be read".to_owned();
        let unread = Decision::cannot_judge(group.resource(), reason, error.clone());
        return vec![unread];
    }
    if let Some(why) = &group.excluded {
        return quiet("leave-alone", why.clone());
    }
    let Some(newest) = &group.refresh else {
        let reason = "the group has had no instance refresh in the last six weeks";
        return quiet("watch", reason.to_owned());
    };
    let name = format!("refresh {}", newest.refresh.id);
    let mut decisions = match &group.judgement.verdict {
        Verdict::Failing(because) => vec![failing(group, newest, because.join("; "))],
        Verdict::Troubled(because) => vec![Decision::leave(
            group.resource(),
            "report",
            format!("{name} is left alone, but: {}", because.join("; ")),
        )],
        Verdict::Fine => quiet("watch", fine(group, newest)),
        Verdict::NotJudged(why) => quiet("watch", format!("{name}: {why}")),
    };
    decisions.extend(restore(group, newest));
    // Last: where the refresh is stopped at first sight, that writes it down as well.
    let stops = |one: &Decision<Action>| matches!(one.step, Step::Act(Action::Stop(_)));
    if !decisions.iter().any(stops) {
        let image = unread_image(group, newest).or_else(|| remember(group, newest));
        decisions.extend(image.or_else(|| remember_pending(group, newest)));
    }
    decisions
}

fn target(group: &Evaluated<'_>, newest: &Newest<'_>) -> Target {
    Target {
        group: group.case.group.name.clone(),
        refresh: newest.refresh.id.clone(),
        before: group.case.remembered.clone(),
    }
}

fn fine(group: &Evaluated<'_>, newest: &Newest<'_>) -> String {
    let (refresh, health) = (newest.refresh, &group.judgement.health);
    format!(
        "refresh {} is {} at {} %, and nothing stands against it: {} new instances, {} old ones",
        refresh.id, refresh.status, refresh.percentage, health.new, health.old
    )
}

fn failing(group: &Evaluated<'_>, newest: &Newest<'_>, because: String) -> Decision<Action> {
    let fails = format!("refresh {} fails: {because}", newest.refresh.id);
    let left = |why: &str| format!("{fails}. Nothing is done: {why}");
    let gate = newest.gate.closed();
    if let (Gate::Unknown(error), Some(why)) = (&newest.gate, &gate) {
        return Decision::cannot_judge(group.resource(), left(why), (*error).clone());
    }
    if let Some(why) = gate.as_ref().or(newest.already.as_ref()) {
        return Decision::leave(group.resource(), "report", left(why));
    }
    let reason = match &newest.fallback {
        Some(fallback) => format!("{fails}. Cancelled and not rolled back: {fallback}"),
        None => fails,
    };
    let action = match newest.how {
        How::Cancel => "cancel-refresh",
        How::Rollback => "rollback-refresh",
    };
    let stop = Stop {
        target: target(group, newest),
        how: newest.how,
        because,
        source: newest.refresh.wanted.clone(),
        image: newest.image.plan().cloned(),
    };
    let stop = Action::Stop(Box::new(stop));
    Decision::act(group.resource(), action, reason, stop)
}

/// The image tag's repair after a refresh that failed on its own, or one that was stopped before
/// its image tag was repaired.
fn restore(group: &Evaluated<'_>, newest: &Newest<'_>) -> Option<Decision<Action>> {
    // A run that stops a refresh repairs the tag itself: two at once would only get in each
    // other's way.
    let called_for = newest.just_failed() || (newest.is_winding_down() && !newest.claimed);
    let plan = newest.image.plan();
    let plan = plan.filter(|_| called_for && group.repairs_image())?;
    let refresh = newest.refresh;
    let reason = format!(
        "refresh {} is {} and {}:{} still points to the image that it brought",
        refresh.id, refresh.status, plan.repository, plan.tag
    );
    let restore = Restore {
        target: target(group, newest),
        plan: plan.clone(),
    };
    let restore = Action::Restore(Box::new(restore));
    let resource = group.resource();
    Some(Decision::act(resource, "restore-image", reason, restore))
}

/// What its image tag points to matters, and couldn't be read.
fn unread_image(group: &Evaluated<'_>, newest: &Newest<'_>) -> Option<Decision<Action>> {
    let tags = group.settings.image.as_ref()?;
    let error = group.case.image.as_ref()?.as_ref().err()?;
    if !group.image_matters() || group.case.group.operator.is_some() {
        return None;
    }
    let unread = format!(
        "what {}:{} points to couldn't be read, so for refresh {} it can neither be put back nor told from what was stopped before",
        tags.repository, tags.tag, newest.refresh.id
    );
    Some(match error.kind {
        // Not one of the stack's repositories, or none at all: for a person to settle, and told when
        // it matters.
        ErrorKind::Denied | ErrorKind::Refused => {
            Decision::leave(group.resource(), "report", format!("{unread}: {error}"))
        }
        ErrorKind::Throttled | ErrorKind::Unknown => {
            Decision::cannot_judge(group.resource(), unread, error.clone())
        }
    })
}

/// At first sight of a refresh: what its image tag points to.
fn remember(group: &Evaluated<'_>, newest: &Newest<'_>) -> Option<Decision<Action>> {
    let tags = group.settings.image.as_ref()?;
    let refresh = newest.refresh;
    // Written down later, it would be taken for the refresh's own at the next look.
    let first = newest.seen.is_none() && image::seen_in_time(refresh, group.case.looked);
    if !first || group.case.group.operator.is_some() {
        return None;
    }
    let found = group.case.image.as_ref()?.as_ref().ok()?;
    let digest = found.current.clone()?;
    let reason = format!(
        "refresh {} is seen for the first time; {}:{} points to {digest}",
        refresh.id, tags.repository, tags.tag
    );
    let what = First::Image { digest };
    Some(remembering(group, newest, "remember-image", reason, what))
}

/// AWS says of a Pending refresh not since when it is.
fn remember_pending(group: &Evaluated<'_>, newest: &Newest<'_>) -> Option<Decision<Action>> {
    let refresh = newest.refresh;
    let seen = group.case.memory().and_then(|memory| memory.pending_since);
    let dated = seen.or(refresh.start).is_some();
    (refresh.status == Status::Pending && !dated).then(|| {
        let reason = format!("refresh {} is seen Pending for the first time", refresh.id);
        remembering(group, newest, "remember-pending", reason, First::Pending)
    })
}

fn remembering(
    group: &Evaluated<'_>,
    newest: &Newest<'_>,
    action: &'static str,
    reason: String,
    what: First,
) -> Decision<Action> {
    let target = target(group, newest);
    let remember = Action::Remember(Box::new(Remember { target, what }));
    Decision::act(group.resource(), action, reason, remember)
}

#[cfg(test)]
mod tests;
