//! What is told of a refresh, in sentences. Pure.

use crate::decide::Stopped;
use crate::evaluate::{Evaluated, Newest};
use crate::image::{Outcome, Plan};
use crate::memory::{Claim, How};
use crate::signals::{Judgement, Verdict};

pub(crate) fn troubled(group: &Evaluated<'_>, newest: &Newest<'_>, because: &[String]) -> String {
    format!(
        "{} is left alone, but: {}. {}",
        name(newest),
        because.join("; "),
        evidence(group)
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
    format!(
        "{} failed: {because}. It is being {how}{fallback}{image}. {}",
        name(newest),
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
    format!(
        "{}, {} by this guardrail at {:.0}, is {} now{}{}",
        name(newest),
        claim.step.how(),
        claim.at,
        newest.refresh.status,
        says(newest),
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
    let reasons = [&newest.refresh.reason, &newest.refresh.rollback_reason];
    let reasons: Vec<&str> = reasons.into_iter().flatten().map(String::as_str).collect();
    if reasons.is_empty() {
        String::new()
    } else {
        format!(" (AWS: {})", reasons.join("; "))
    }
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
        .map(|(version, count)| format!("{count} on version {version}"))
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
