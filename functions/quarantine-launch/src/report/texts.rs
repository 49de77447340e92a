//! What people read.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::decide::{Occasion, Quarantine, Quarantined};
use crate::evaluate::{Evaluation, Judged};
use crate::facts::{Image, Known};
use crate::launcher::Who;
use crate::policy::{FromGroup, Steps};

/// What people call a group.
pub(super) fn group(name: &str) -> String {
    format!("Auto Scaling group {name}")
}

/// `launched from ami-1 (its name), owned by amazon, 12 days old at the launch`.
pub(super) fn launched(judged: &Judged<'_>, evaluation: &Evaluation<'_>) -> String {
    let instance = judged.instance;
    let recorded = judged.held().map(|held| held.record.image.clone());
    let image = recorded.unwrap_or_else(|| evaluation.image_label(instance));
    let known = instance.image.as_ref();
    let known = known.and_then(|image| evaluation.facts.images.get(image));
    let known = known.map(|image| owner_and_age(image, instance.launched));
    format!("launched from {image}{}", known.unwrap_or_default())
}

/// An instance in quarantine.
pub(super) fn quarantined(
    judged: &Judged<'_>,
    now: Option<(&Quarantine, &Quarantined)>,
    launcher: Option<&Who>,
    evaluation: &Evaluation<'_>,
) -> String {
    let mut text = launched(judged, evaluation);
    let held = judged.held();
    let ordered = now.is_some_and(|(order, _)| order.occasion == Occasion::ByHand);
    let by_hand = held.map_or(ordered, |held| held.record.by_hand);
    let expected = held.is_none_or(|held| held.wants_launcher || now.is_some());
    match launcher {
        Some(who) => {
            text.push_str(" by ");
            text.push_str(&who.text);
        }
        // Nobody looks for it then.
        None if by_hand => {}
        None if expected => text
            .push_str(" by somebody whom CloudTrail doesn't name yet (you are told when it does)"),
        None => text.push_str(" by somebody whom CloudTrail doesn't name"),
    }
    text.push_str(". Why: ");
    let recorded = held.map(|held| held.record.reason.as_str());
    let ordered = now.map(|(order, _)| order.reason.as_str());
    text.push_str(recorded.or(ordered).unwrap_or("a quarantine was begun"));
    if let Some((_, effect)) = now {
        if !effect.done.is_empty() {
            text.push_str(". Done: ");
            text.push_str(&effect.done.join("; "));
        }
        if !effect.not_done.is_empty() {
            text.push_str(". Not done: ");
            text.push_str(&effect.not_done.join("; "));
        }
    }
    if let Some(whom) = evaluation.admission.whom(&judged.instance.vpc) {
        text.push_str(". Responders may come in: ");
        text.push_str(&whom);
    }
    text.push('.');
    text
}

/// What a quarantine does besides isolating: `, protected, taken out of its group's service`.
pub(super) fn steps(steps: &Steps) -> String {
    let out = match steps.group {
        FromGroup::Keep => None,
        FromGroup::Standby => Some("put into standby of its group"),
        FromGroup::Detach => Some("detached from its group"),
    };
    let parts = [
        steps.protect.then_some("protected from termination"),
        steps.snapshot.then_some("kept in snapshots"),
        out,
        steps
            .dissociate_profile
            .then_some("deprived of its profile"),
        steps.stop.then_some("stopped"),
    ];
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        String::new()
    } else {
        format!(" and {}", parts.join(", "))
    }
}

/// `, owned by amazon, 12 days old at the launch`.
fn owner_and_age(image: &Image, launched: Timestamp) -> String {
    let mut text = match (&image.owner_alias, &image.owner) {
        (Some(alias), _) => format!(", owned by {alias}"),
        (None, Some(owner)) => format!(", owned by account {owner}"),
        (None, None) => ", owner unknown".to_owned(),
    };
    if let Some(created) = image.created {
        let days = launched.duration_since(created).as_hours() / 24;
        let _ = write!(text, ", {days} days old at the launch");
    }
    if image.known != Known::Described {
        text.push_str(", no longer visible");
    }
    text
}
