//! What is told of a refresh, in sentences. Pure.

use crate::decide::Stopped;
use crate::evaluate::{Evaluated, Newest};
use crate::image::{Moved, Outcome, Plan, Standing};
use crate::memory::{Claim, How};
use crate::policy::ImageTags;
use crate::signals::{Judgement, Stall, Verdict, version_before};

pub(crate) fn troubled(group: &Evaluated<'_>, newest: &Newest<'_>, because: &[String]) -> String {
    format!(
        "{} is left alone, but: {}. {}",
        name(newest),
        because.join("; "),
        evidence(group)
    )
}

pub(crate) fn waits(newest: &Newest<'_>, stall: &Stall) -> String {
    format!(
        "{} has waited since {:.0} for {}",
        name(newest),
        stall.since,
        stall.waits_for.join("; for ")
    )
}

/// What stands under the tag now that this run has moved it.
pub(crate) fn moved_now(newest: &Newest<'_>, tags: &ImageTags, digest: &str, kept: &str) -> String {
    format!(
        "{}:{} was put back to {digest}, because refresh {} failed; the image that it brought is kept under {kept}",
        tags.repository, tags.tag, newest.refresh.id
    )
}

pub(crate) fn moved(newest: &Newest<'_>, moved: &Moved) -> String {
    format!(
        "{} was put back to the known good image while refresh {} was stopped, which is {} now; when it began the tag pointed to {}",
        moved.name, newest.refresh.id, newest.refresh.status, moved.from
    )
}

/// After a cancel: what the group still launches from, and what puts that right.
fn still_launches(group: &Evaluated<'_>, newest: &Newest<'_>, how: How, image: bool) -> String {
    let (true, false, Some(source)) =
        (how == How::Cancel, image, newest.still_launches(group.case))
    else {
        return String::new();
    };
    let name = shlex::try_quote(&group.case.group.name);
    let before = version_before(&group.case.group, source);
    let template = &source.template;
    let key = match (&template.id, &template.name) {
        (Some(id), _) => format!("LaunchTemplateId={id}"),
        (None, Some(name)) => format!("LaunchTemplateName={name}"),
        (None, None) => String::new(),
    };
    let put_right = match (name, before) {
        (Ok(name), Some(before)) if source.overrides.is_empty() && !key.is_empty() => format!(
            "aws autoscaling update-auto-scaling-group --auto-scaling-group-name {name} --launch-template {key},Version={before}"
        ),
        _ => "set its launch template, or its mixed instances policy, to the version that worked (aws autoscaling update-auto-scaling-group)".to_owned(),
    };
    format!(
        ". The group still launches from {source}, which failed. To put that right: {put_right}"
    )
}

/// `why`: a sentence why it isn't stopped.
pub(crate) fn failing(
    group: &Evaluated<'_>,
    newest: &Newest<'_>,
    because: &[String],
    why: &str,
) -> String {
    format!(
        "{} fails: {}. {why}. {}",
        name(newest),
        because.join("; "),
        evidence(group)
    )
}

/// What mode enforce would do.
pub(crate) fn would_be_stopped(newest: &Newest<'_>, image: Option<&Plan>) -> String {
    let fallback = newest.fallback.as_ref();
    let fallback = fallback.map_or_else(String::new, |why| format!(" and not rolled back: {why}"));
    let image = image.map_or_else(String::new, |plan| {
        format!(
            ", after {}:{} was put back to {}",
            plan.repository, plan.tag, plan.good
        )
    });
    format!(
        "In mode enforce it would be {}{image}{fallback}",
        newest.how
    )
}

pub(crate) fn would_be_restored(plan: &Plan) -> String {
    format!(
        "{}:{} points to {}, the image of the failed refresh. In mode enforce it would be put back to {}",
        plan.repository, plan.tag, plan.bad, plan.good
    )
}

/// That this run stopped it.
pub(crate) fn was_stopped(
    group: &Evaluated<'_>,
    newest: &Newest<'_>,
    how: How,
    stopped: &Stopped,
) -> String {
    let because = match &group.judgement.verdict {
        Verdict::Failing(because) => because.join("; "),
        _ => "the evidence stands in the log".to_owned(),
    };
    let fallback = stopped.fallback.as_ref().or(newest.fallback.as_ref());
    let fallback = match (how, fallback) {
        (How::Cancel, Some(why)) => format!(" and not rolled back: {why}"),
        _ => String::new(),
    };
    let image = match &stopped.image {
        Some(Outcome::Restored { digest, kept_as }) => {
            let tags = group.settings.image.as_ref();
            let name = tags.map_or_else(String::new, |tags| {
                format!(" {}:{}", tags.repository, tags.tag)
            });
            format!(
                ". Before that the image tag{name} was put back to {digest}; the failing image is kept under {kept_as}"
            )
        }
        _ => String::new(),
    };
    let restored = matches!(stopped.image, Some(Outcome::Restored { .. }));
    let again = group.judgement.again.as_ref();
    let again = again.map_or_else(String::new, |why| format!(". Mind that {why}"));
    format!(
        "{} failed: {because}. It is being {how}{fallback}{image}{again}{}. {}",
        name(newest),
        still_launches(group, newest, how, restored),
        evidence(group)
    )
}

/// That another run stopped it.
pub(crate) fn stopped_before(newest: &Newest<'_>, claim: &Claim) -> String {
    format!(
        "{} failed: {}. It was {} at {:.0} and is {} now",
        name(newest),
        claim.because,
        claim.step.how(),
        claim.at,
        newest.refresh.status
    )
}

/// The end of one that this guardrail stopped.
pub(crate) fn ended_stopped(group: &Evaluated<'_>, newest: &Newest<'_>, claim: &Claim) -> String {
    let restored = matches!(newest.image, Standing::Moved(_));
    format!(
        "{}, {} by this guardrail at {:.0}, is {} now{}{}{}",
        name(newest),
        claim.step.how(),
        claim.at,
        newest.refresh.status,
        says(newest),
        still_launches(group, newest, claim.step.how(), restored),
        evidence_at_end(group, newest)
    )
}

/// The end of one that failed on its own.
pub(crate) fn ended(group: &Evaluated<'_>, newest: &Newest<'_>) -> String {
    format!(
        "{} ended as {}{}{}",
        name(newest),
        newest.refresh.status,
        says(newest),
        evidence_at_end(group, newest)
    )
}

/// Which refresh, and where it was to go.
fn name(newest: &Newest<'_>) -> String {
    let refresh = newest.refresh;
    match &refresh.wanted {
        Some(wanted) => format!("refresh {} to {wanted}", refresh.id),
        None => format!("refresh {}", refresh.id),
    }
}

fn says(newest: &Newest<'_>) -> String {
    let reasons = newest.refresh.reasons();
    if reasons.is_empty() {
        return String::new();
    }
    format!(" (AWS: {})", reasons.join("; "))
}

/// The evidence, where it was read: of what is long over it isn't.
fn evidence_at_end(group: &Evaluated<'_>, newest: &Newest<'_>) -> String {
    if newest.ended_recently {
        format!(". {}", evidence(group))
    } else {
        String::new()
    }
}

/// Numbers and words behind it, in a sentence or two.
fn evidence(group: &Evaluated<'_>) -> String {
    let Judgement {
        launches, health, ..
    } = &group.judgement;
    let versions: Vec<String> = health
        .versions
        .iter()
        .map(|(version, count)| format!("{count} on {version}"))
        .collect();
    let versions = if versions.is_empty() {
        String::new()
    } else {
        format!(" ({})", versions.join(", "))
    };
    let mut text = format!(
        "Instances: {} new, {} old{versions}",
        health.new, health.old
    );
    if launches.standing + launches.under_way + launches.failed > 0 || !launches.died.is_empty() {
        text = format!(
            "{text}. Launched since its start: {} stand, {} are under way, {} failed, {} died",
            launches.standing,
            launches.under_way,
            launches.failed,
            launches.died.len()
        );
    }
    let said = |message: &str| match &group.judgement.verdict {
        Verdict::Failing(because) | Verdict::Troubled(because) => {
            because.iter().any(|why| why.contains(message))
        }
        Verdict::Fine | Verdict::NotJudged(_) => false,
    };
    match launches.messages.first() {
        Some(first) if !said(&first.text) => format!("{text}. AWS said: \"{}\"", first.text),
        _ => text,
    }
}
