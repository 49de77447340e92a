//! A quarantine, step by step (AMI-9): write down what is, isolate every interface, then protect,
//! take evidence, take it out of service, take its role, stop it; and say who launched it.
//!
//! From the event to the last interface isolated, what follows one another is: reading the policy
//! (once a minute at most), the instance, everything that its verdict needs, writing down, isolating.
//! Five rounds, four with the policy at hand. What a new VPC's first quarantine adds is creating
//! the isolation group, and three rounds to make sure that it is bare.
//!
//! Each step may be repeated: it looks at what there is, or sets what may be set twice.

use futures::join;
use guardrails::aws::{ApiError, ErrorKind, filter};
use guardrails::ec2::State;
use guardrails::guardrail::Acted;
use guardrails::tags;

use super::groups::Left;
use super::{evidence, groups, is_wrong_state, isolate, protect, tag, untag, who};
use crate::Clients;
use crate::decide::{Held, Occasion, Quarantine};
use crate::facts::{Instance, Stage};
use crate::observe::instances;

/// How a step went.
enum Step {
    /// Done; what.
    Done(String),
    /// Nothing to do.
    Nothing,
    /// Not to be done, and that stays so; why.
    Not(String),
    /// Not now; the next run does it.
    Later(String),
    /// Went wrong.
    Failed(ApiError),
}

/// Isolates the instance and does what the policy asks for besides.
pub(super) async fn quarantine(clients: &Clients, quarantine: &Quarantine, run: &str) -> Acted {
    let ec2 = &clients.ec2;
    let id = &quarantine.instance.id;
    let (groups, mut errors) =
        isolate::groups(ec2, &quarantine.instance, &quarantine.isolation).await;

    let stamp = format!("{} {:.0} {run}", Stage::Started.word(), quarantine.since);
    match write_down(ec2, quarantine, &groups, &stamp).await {
        Ok(()) => {}
        Err(error) if error.is_not_found() => return Acted::Skipped("gone meanwhile".to_owned()),
        Err(error) => return Acted::Failed(error),
    }

    let isolated = isolate::interfaces(ec2, &quarantine.instance, &groups).await;
    if let Some(throttled) = isolated
        .errors
        .iter()
        .find(|error| error.kind == ErrorKind::Throttled)
    {
        return Acted::Failed(throttled.clone());
    }

    // From here on nothing is urgent.
    let now = match look(ec2, id).await {
        Ok(Some(now)) if now.state == State::Terminal => {
            return Acted::Skipped("it is being terminated".to_owned());
        }
        Ok(Some(now)) => now,
        Ok(None) => return Acted::Skipped("gone meanwhile".to_owned()),
        Err(error) => return Acted::Failed(error),
    };
    // Two runs may have begun at the same moment (two events for one launch). Both have isolated,
    // which does no harm; the one whose mark stands goes on and tells.
    let mark = now.tag(tags::QUARANTINED);
    if quarantine.occasion != Occasion::Drift
        && mark.is_some_and(|mark| mark != stamp && mark.starts_with(Stage::Started.word()))
    {
        return Acted::Skipped("isolated; another run carries the quarantine on".to_owned());
    }

    let mut held = Held::default();
    errors.extend(isolated.errors);
    if !isolated.done.is_empty() {
        held.done
            .push(format!("isolated {}", isolated.done.join(", ")));
    }
    for (interface, why) in &isolated.refused {
        held.not_done
            .push(format!("{interface} is not isolated: {why}"));
        held.refused.push(interface.clone());
    }
    // Boxed: its many steps would make every run's future large.
    let later = Box::pin(further(clients, quarantine, &now, &mut held, &mut errors)).await;
    // The steps may have taken long. Whoever wrote the mark since then (a run that had looked before
    // this one wrote it, or a person's release) has the last word, and tells.
    if quarantine.occasion != Occasion::Drift && is_overtaken(ec2, &now, &stamp).await {
        return Acted::Skipped("isolated; another run carries the quarantine on".to_owned());
    }
    finish(ec2, quarantine, run, held, errors, later).await
}

/// Whether the instance bears another mark than `stamp` by now, or was released.
async fn is_overtaken(ec2: &aws_sdk_ec2::Client, before: &Instance, stamp: &str) -> bool {
    // What can't be read isn't known to be overtaken.
    let Ok(Some(now)) = look(ec2, &before.id).await else {
        return false;
    };
    match now.tag(tags::QUARANTINED) {
        Some(mark) => mark != stamp,
        // Tags may take a moment to be seen; a release leaves one of its own.
        None => {
            now.tag(tags::RELEASED_IMAGE).is_some()
                && now.tag(tags::RELEASED_IMAGE) != before.tag(tags::RELEASED_IMAGE)
        }
    }
}

/// Everything that stands now, in one call, before anything is changed.
async fn write_down(
    ec2: &aws_sdk_ec2::Client,
    quarantine: &Quarantine,
    groups: &std::collections::BTreeMap<String, crate::facts::Isolation>,
    stamp: &str,
) -> Result<(), ApiError> {
    let instance = &quarantine.instance;
    let mut notes = instance.record().missing(instance, groups);
    match quarantine.occasion {
        Occasion::Drift => notes.push((
            tags::QUARANTINE_DRIFT.to_owned(),
            format!("{:.0}", quarantine.at),
        )),
        occasion => {
            notes.push((tags::QUARANTINED.to_owned(), stamp.to_owned()));
            if instance.tag(tags::QUARANTINE_REASON).is_none() {
                notes.push((
                    tags::QUARANTINE_REASON.to_owned(),
                    tags::clip(&quarantine.reason),
                ));
            }
            if occasion == Occasion::Launch {
                notes.push((
                    tags::QUARANTINE_IMAGE.to_owned(),
                    tags::clip(&quarantine.image),
                ));
            }
            if let Some(launcher) = &quarantine.launcher
                && !launcher.is_service()
            {
                notes.push((tags::QUARANTINE_LAUNCHER.to_owned(), launcher.value()));
            }
        }
    }
    tag(ec2, &instance.id, notes).await
}

async fn look(ec2: &aws_sdk_ec2::Client, id: &str) -> Result<Option<Instance>, ApiError> {
    let which = vec![filter("instance-id", vec![id.to_owned()])];
    let (_, mut found) = instances(ec2, which).await?;
    Ok(found.remove(id))
}

/// All steps after the isolation. Whether any of them is left for later.
async fn further(
    clients: &Clients,
    quarantine: &Quarantine,
    now: &Instance,
    held: &mut Held,
    errors: &mut Vec<ApiError>,
) -> bool {
    let known = now.tag(tags::QUARANTINE_LAUNCHER);
    let by_hand = quarantine.occasion == Occasion::ByHand;
    let launcher = async {
        match (known, by_hand, &quarantine.launcher) {
            (Some(_), _, None) | (_, true, _) => Ok(None),
            (_, _, told) => {
                who::launched(
                    &clients.cloudtrail,
                    &now.id,
                    quarantine.group.as_ref(),
                    told.as_ref(),
                )
                .await
            }
        }
    };
    let (kept, deletion, evidence, left, remembered, launcher) = join!(
        protection(clients, quarantine, now),
        deletion(clients, quarantine, now),
        snapshots(clients, quarantine, now),
        leave(clients, quarantine),
        groups::remember_launch(&clients.autoscaling, quarantine),
        launcher,
    );
    held.launcher = match launcher {
        Ok(Some(found)) => Some(found),
        // Nobody's fault: it is looked up again.
        Ok(None) | Err(_) => known.map(|known| (known.to_owned(), known.to_owned())),
    };
    if let Err(error) = remembered {
        errors.push(error);
    }
    let out = matches!(left, Ok(Left::NoMember | Left::Out(_)));
    let service = match left {
        Ok(Left::NoMember) => Step::Nothing,
        Ok(Left::Out(what)) => Step::Done(what),
        Ok(Left::Stays(why)) => Step::Not(why),
        Ok(Left::NotYet(why)) => Step::Later(why),
        Err(error) => Step::Failed(error),
    };
    // The role goes after the evidence is safe, and stopping comes last.
    let role = role(clients, quarantine, now).await;
    let stopped = stop(clients, quarantine, now, out).await;
    let mut later = false;
    for step in [kept, deletion, evidence, service, role, stopped] {
        match step {
            Step::Nothing => {}
            Step::Done(what) => held.done.push(what),
            Step::Not(why) => held.not_done.push(why),
            Step::Later(why) => {
                later = true;
                held.not_done
                    .push(format!("{why} (the next sweep does it)"));
            }
            Step::Failed(error) => {
                held.not_done.push(error.to_string());
                errors.push(error);
            }
        }
    }
    later
}

/// The stage that was reached, and what came of it.
async fn finish(
    ec2: &aws_sdk_ec2::Client,
    quarantine: &Quarantine,
    run: &str,
    held: Held,
    errors: Vec<ApiError>,
    later: bool,
) -> Acted {
    let id = &quarantine.instance.id;
    let stage = match (errors.is_empty() && !later, held.refused.is_empty()) {
        (false, _) => Stage::Started,
        (true, false) => Stage::Partial,
        (true, true) => Stage::Complete,
    };
    let mut notes = vec![(
        tags::QUARANTINED.to_owned(),
        match stage {
            Stage::Started => format!("{} {:.0} {run}", stage.word(), quarantine.since),
            _ => format!("{} {:.0}", stage.word(), quarantine.since),
        },
    )];
    if !held.refused.is_empty() {
        notes.push((
            tags::QUARANTINE_REFUSED.to_owned(),
            tags::clip(&held.refused.join(" ")),
        ));
    }
    if let Some((value, _)) = &held.launcher {
        notes.push((tags::QUARANTINE_LAUNCHER.to_owned(), value.clone()));
    }
    let mut note = held.done.join("; ");
    if !held.not_done.is_empty() {
        note.push_str("; not done: ");
        note.push_str(&held.not_done.join("; "));
    }
    if let Some((_, who)) = &held.launcher {
        note.push_str("; launched by ");
        note.push_str(who);
    }
    let written = tag(ec2, id, notes).await;
    let error = errors.into_iter().next().or(written.err());
    match error {
        Some(error) if error.is_not_found() => Acted::Skipped("gone meanwhile".to_owned()),
        // Tried again as a whole; told when that has come to an end.
        Some(error) if error.kind == ErrorKind::Throttled => Acted::Failed(error),
        Some(mut error) => {
            let _ = quarantine.held.set(held);
            error.message = format!("{} (so far: {note})", error.message);
            Acted::Failed(error)
        }
        None => {
            let _ = quarantine.held.set(held);
            Acted::Done(Some(note))
        }
    }
}

async fn protection(clients: &Clients, quarantine: &Quarantine, now: &Instance) -> Step {
    if !quarantine.steps.protect {
        return Step::Nothing;
    }
    if now.spot {
        return Step::Not("a Spot instance can't be protected from termination".to_owned());
    }
    match protect::protect(&clients.ec2, now, now.record().protected).await {
        Ok(()) => Step::Done("termination protection on".to_owned()),
        Err(error) if is_wrong_state(&error) => Step::Later(error.to_string()),
        Err(error) => Step::Failed(error),
    }
}

async fn deletion(clients: &Clients, quarantine: &Quarantine, now: &Instance) -> Step {
    // Only what was written down may be changed.
    let recorded = now.record().disks;
    let going: Vec<(String, bool)> = protect::going(now)
        .into_iter()
        .filter(|(device, _)| {
            recorded.contains_key(device)
                || quarantine
                    .instance
                    .disks
                    .iter()
                    .any(|disk| disk.device == *device)
        })
        .collect();
    if !quarantine.steps.protect || going.is_empty() {
        return Step::Nothing;
    }
    let devices: Vec<&str> = going.iter().map(|(device, _)| device.as_str()).collect();
    let what = format!("{} outlive it", devices.join(", "));
    match protect::set_deletion(&clients.ec2, &now.id, going).await {
        Ok(()) => Step::Done(what),
        Err(error) if is_wrong_state(&error) => Step::Later(error.to_string()),
        Err(error) => Step::Failed(error),
    }
}

async fn snapshots(clients: &Clients, quarantine: &Quarantine, now: &Instance) -> Step {
    if !quarantine.steps.snapshot || quarantine.occasion == Occasion::Drift {
        return Step::Nothing;
    }
    if now.disks.is_empty() {
        // EBS volumes are attached some seconds after the start.
        return if now.state == State::Pending {
            Step::Later("its volumes aren't attached yet".to_owned())
        } else {
            Step::Not("it has no EBS volume to take a snapshot of".to_owned())
        };
    }
    match evidence::snapshots(&clients.ec2, quarantine).await {
        Ok(made) => Step::Done(format!("evidence {}", made.join(", "))),
        Err(error) if is_wrong_state(&error) => Step::Later(error.to_string()),
        Err(error) => Step::Failed(error),
    }
}

async fn leave(clients: &Clients, quarantine: &Quarantine) -> Result<Left, ApiError> {
    if quarantine.occasion == Occasion::Drift {
        return Ok(Left::NoMember);
    }
    groups::leave(clients, quarantine).await
}

async fn role(clients: &Clients, quarantine: &Quarantine, now: &Instance) -> Step {
    if !quarantine.steps.dissociate_profile || quarantine.occasion == Occasion::Drift {
        return Step::Nothing;
    }
    match protect::dissociate(&clients.ec2, &now.id).await {
        Ok(None) => Step::Nothing,
        Ok(Some(arn)) => Step::Done(format!(
            "took its profile {arn} away (credentials that it has stay valid until they expire)"
        )),
        Err(error) if is_wrong_state(&error) => Step::Later(error.to_string()),
        Err(error) => Step::Failed(error),
    }
}

async fn stop(clients: &Clients, quarantine: &Quarantine, now: &Instance, out: bool) -> Step {
    if !quarantine.steps.stop || quarantine.occasion == Occasion::Drift {
        return Step::Nothing;
    }
    match now.state {
        State::Running if !out => {
            Step::Not("it isn't stopped, because its group would replace it".to_owned())
        }
        State::Running if now.spot => {
            Step::Not("it isn't stopped, because it is a Spot instance".to_owned())
        }
        State::Pending => Step::Later("it is still starting, so it can't be stopped".to_owned()),
        State::Running => {
            match protect::stop(&clients.ec2, &now.id, format!("{:.0}", quarantine.at)).await {
                Ok(()) => Step::Done("stopped it".to_owned()),
                Err(error) if is_wrong_state(&error) => Step::Later(error.to_string()),
                // Instance-store root volumes and the like: written down, but not so.
                Err(error) if error.code == "UnsupportedOperation" => {
                    let undone =
                        untag(&clients.ec2, &now.id, [tags::QUARANTINE_STOPPED.to_owned()]).await;
                    match undone {
                        Ok(()) => Step::Not(format!("it can't be stopped: {}", error.message)),
                        Err(error) => Step::Failed(error),
                    }
                }
                Err(error) => Step::Failed(error),
            }
        }
        _ => Step::Nothing,
    }
}
