//! Puts back what a quarantine wrote down, and nothing else. What can't be put back is named.
//!
//! The record goes last, once a look shows every interface as it was: a run that is killed before
//! that is repeated from the start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_ec2::Client;
use futures::future::join_all;
use guardrails::aws::{ApiError, filter};
use guardrails::ec2::{self, State};
use guardrails::guardrail::Acted;
use guardrails::state::Expect;
use jiff::Timestamp;
use lambda_runtime::tracing;
use tokio::time::sleep;

use super::claim::{Claim, Stop};
use super::isolate::set_groups;
use super::refusals::{is_denied, is_instance_gone, is_interface_unknown, is_managed_by_others};
use super::undone::{Put, Undone};
use super::{groups, hold, loops, protect};
use crate::clients::Clients;
use crate::decide::{Effect, Release, ReleaseByLabels};
use crate::facts::{Instance, Interface};
use crate::labels;
use crate::read::{self, instance_now};
use crate::record::{KEPT, QUARANTINE, RELEASED, Record, Released, Stage};

/// How often, and how far apart, it is looked whether the interfaces are as they were.
const LOOKS: usize = 4;
const PAUSE: Duration = Duration::from_secs(2);

/// How often, and how far apart, it is looked whether it runs again.
const STARTS: usize = 12;
const START_PAUSE: Duration = Duration::from_secs(5);

/// Releases the instance.
pub(super) async fn release(clients: &Clients, order: &Release, run: &str) -> Acted<Effect> {
    let mut undone = Undone::default();
    let unfinished = Effect::Released { finished: false };
    match steps(clients, order, run, &mut undone).await {
        Ok(true) => {
            let finished = undone.open.is_empty();
            let next = if order.swept {
                "and the next sweep goes on"
            } else {
                "so order it again"
            };
            let mut note = undone.note(next);
            let may_come = order.admission.whom(&order.instance.vpc);
            if let Some(whom) = may_come.filter(|_| !finished || !undone.given_up.is_empty()) {
                note.push_str("; responders may come in as long as it is isolated: ");
                note.push_str(&whom);
            }
            Acted::done(Some(note)).with(Effect::Released { finished })
        }
        Ok(false) => Acted::skipped("it has been released meanwhile"),
        Err(Stop::Overtaken | Stop::Released) => {
            Acted::skipped("another run carries the release on").with(unfinished)
        }
        Err(Stop::Gone(why)) => Acted::skipped(why),
        Err(Stop::Failed(error)) => Acted::failed(error).with(unfinished),
    }
}

/// Whether there was anything to release.
async fn steps(
    clients: &Clients,
    order: &Release,
    run: &str,
    undone: &mut Undone,
) -> Result<bool, Stop> {
    let (ec2, instance) = (&clients.ec2, &order.instance);
    // First, so that every other run stops.
    let claim = Claim::release(&clients.state, &instance.id, order.at, run).await?;
    let Some((claim, begun_before)) = claim else {
        return Ok(false);
    };
    remember(clients, instance, order.at).await?;
    let record = claim.record().await;
    // IAM lets the role change only what bears its label.
    if let Err(error) = hold::label(ec2, &instance.id, &record).await {
        tracing::warn!(instance = instance.id, "its labels: {error}");
    }
    let done = async {
        put_back(clients, order, &claim, &record, undone).await?;
        last_look(clients, order, &record, undone).await
    };
    match done.await {
        Ok(()) => {}
        Err(Stop::Failed(error)) if is_denied(&error) => {
            // Of two releases the slower may find the labels gone already.
            claim.check().await?;
            if begun_before {
                return Err(Stop::Failed(error));
            }
            // IAM may not see the label yet that was just written (AMI-12).
            undone.open.push(error.to_string());
        }
        Err(other) => return Err(other),
    }
    if let Some(until) = record.settles.filter(|until| *until > order.at) {
        undone.open.push(format!(
            "a run was quarantining it when the release began, and what it had sent may arrive until {until:.0}"
        ));
    }
    if undone.open.is_empty() {
        claim.forget().await?;
        remove_labels(ec2, instance, &record, undone).await;
    }
    Ok(true)
}

/// That a person released it: it isn't quarantined again for its AMI.
async fn remember(clients: &Clients, instance: &Instance, at: Timestamp) -> Result<(), ApiError> {
    let released = Released {
        image: instance.image.clone(),
        at,
    };
    let (id, until) = (instance.id.as_str(), Some(KEPT.after(at)));
    let written = clients
        .state
        .put(&RELEASED, id, &released, until, &Expect::Any, at);
    written.await.map(drop)
}

/// All steps, in the order in which the instance can take them.
async fn put_back(
    clients: &Clients,
    order: &Release,
    claim: &Claim<'_>,
    record: &Record,
    undone: &mut Undone,
) -> Result<(), Stop> {
    let (ec2, instance) = (&clients.ec2, &order.instance);
    let id = instance.id.as_str();
    restore_groups(clients, order, record, undone).await?;
    claim.check().await?;
    restore_deletion(ec2, instance, &going(record), undone).await?;
    if record.protected == Some(false) {
        protect::set_protection(ec2, id, false).await?;
        undone.done.push("termination protection off".to_owned());
    }
    if record.shutdown_terminates == Some(true) {
        protect::set_shutdown(ec2, id, true).await?;
        undone
            .done
            .push("its own shutdown terminates it again".to_owned());
    }
    if let Some(arn) = &record.profile {
        claim.check().await?;
        undone.add(protect::associate(ec2, id, arn, clients.restores_profiles).await?);
    }
    claim.check().await?;
    let mut runs = matches!(instance.state, State::Running | State::Pending);
    if record.stopped.is_some() && matches!(instance.state, State::Stopped | State::Stopping) {
        protect::start(ec2, id).await?;
        undone.done.push("started it".to_owned());
        runs = has_started(ec2, id).await?;
    }
    match &record.service {
        None => {}
        Some(service) if runs => {
            undone.add(groups::come_back(&clients.autoscaling, id, service).await?);
        }
        // A group takes no member that doesn't run, and replaces it.
        Some(service) if record.stopped.is_some() => undone.add(Put::Open(format!(
            "it doesn't run yet, and takes its place in {} when it does",
            service.group()
        ))),
        Some(service) => undone.add(Put::Lost(format!(
            "its place in {}, because somebody stopped it",
            service.group()
        ))),
    }
    if let Some(group) = record.group() {
        resume(clients, order, group, undone).await?;
    }
    Ok(())
}

/// Whether it has come to run, within the time that an instance takes for that.
async fn has_started(ec2: &Client, id: &str) -> Result<bool, Stop> {
    for _ in 0..STARTS {
        let now = instance_now(ec2, id).await?;
        match now.ok_or(Stop::Gone("gone meanwhile"))?.state {
            State::Running => return Ok(true),
            State::Terminal => return Err(Stop::Gone("it is being terminated")),
            _ => sleep(START_PAUSE).await,
        }
    }
    Ok(false)
}

/// The group launches again once none of its instances is in quarantine any more.
async fn resume(
    clients: &Clients,
    order: &Release,
    group: &str,
    undone: &mut Undone,
) -> Result<(), ApiError> {
    let held = loops::is_held(clients, group, order.at).await?;
    let others = if held {
        in_quarantine(clients, order).await?
    } else {
        Vec::new()
    };
    if others.is_empty() {
        let restored = loops::restore(clients, group, order.at).await?;
        undone.done.extend(restored);
    } else {
        let are = if others.len() == 1 { "is" } else { "are" };
        undone.done.push(format!(
            "{group}'s processes stay suspended while {} {are} in quarantine; release them, or the group",
            others.join(", ")
        ));
    }
    Ok(())
}

/// Who of the group is in quarantine still. Of several that are released at once the last one to
/// ask finds none: each wrote down before that it is released.
async fn in_quarantine<'a>(
    clients: &Clients,
    order: &'a Release,
) -> Result<Vec<&'a str>, ApiError> {
    let mut found = Vec::new();
    for other in &order.others {
        let stored = clients.state.get(&QUARANTINE, other, order.at).await?;
        if stored.is_some_and(|stored| stored.value.stage != Stage::Releasing) {
            found.push(other.as_str());
        }
    }
    Ok(found)
}

fn attached<'a>(instance: &'a Instance, interface: &str) -> Option<&'a Interface> {
    let mut interfaces = instance.interfaces.iter();
    interfaces.find(|one| one.id == interface)
}

/// Every interface gets its groups back, all at once: also those that are shown with them, because
/// a look may be older than a change.
async fn restore_groups(
    clients: &Clients,
    order: &Release,
    record: &Record,
    undone: &mut Undone,
) -> Result<(), ApiError> {
    let (ec2, instance) = (&clients.ec2, &order.instance);
    let (mut changes, mut detached) = (Vec::new(), Vec::new());
    for (interface, groups) in &record.interfaces {
        match attached(instance, interface) {
            None => detached.push(interface.clone()),
            // Never isolated.
            Some(now) if record.refused.contains(interface) && now.groups == *groups => {}
            Some(_) => changes.push(restore_one(ec2, interface, groups)),
        }
    }
    for (interface, answer) in join_all(changes).await {
        let answer = match answer {
            // The last look tells whether it is gone.
            Err(error) if is_interface_unknown(&error) => {
                let had = record.interfaces[interface].join(", ");
                undone.not_found.push((interface.to_owned(), had));
                continue;
            }
            other => other?,
        };
        if matches!(answer, Put::Lost(_)) {
            undone.given_up.insert(interface.to_owned());
        }
        undone.add(answer);
    }
    restore_detached(clients, order, record, detached, undone).await
}

/// What isn't shown with it any more: it was detached, or hung on its trunk and AWS doesn't tell that
/// now. Isolated still, it would cut off whoever has it.
async fn restore_detached(
    clients: &Clients,
    order: &Release,
    record: &Record,
    detached: Vec<String>,
    undone: &mut Undone,
) -> Result<(), ApiError> {
    if detached.is_empty() {
        return Ok(());
    }
    let mut restored = restore_left(clients, record, detached.clone(), order.at).await?;
    for interface in detached {
        let put = restored.remove(&interface).unwrap_or_else(|| {
            Put::Lost(format!(
                "{interface}, which isn't attached any more (it had {})",
                record.interfaces[&interface].join(", ")
            ))
        });
        undone.add(put);
    }
    Ok(())
}

async fn restore_one<'a>(
    ec2: &Client,
    interface: &'a str,
    groups: &[String],
) -> (&'a str, Result<Put, ApiError>) {
    let had = groups.join(", ");
    let answer = match set_groups(ec2, interface, groups.to_vec()).await {
        Ok(()) => Ok(Put::Back(format!("{interface} has {had} again"))),
        Err(error) if is_managed_by_others(&error) => {
            Ok(Put::Lost(format!("{interface}: {}", error.message)))
        }
        Err(error) if error.code.starts_with("InvalidGroup") => {
            restore_rest(ec2, interface, groups, error).await
        }
        Err(error) => Err(error),
    };
    (interface, answer)
}

/// Some of its groups were deleted meanwhile: those that are left.
async fn restore_rest(
    ec2: &Client,
    interface: &str,
    groups: &[String],
    error: ApiError,
) -> Result<Put, ApiError> {
    let had = groups.join(", ");
    let here = ec2
        .describe_security_groups()
        .filters(filter("group-id", groups.to_vec()))
        .send()
        .await
        .map_err(|error| ApiError::of("ec2:DescribeSecurityGroups", &error))?;
    let exists = |group: &&String| {
        let mut here = here.security_groups().iter();
        here.any(|here| here.group_id() == Some(group.as_str()))
    };
    let left: Vec<String> = groups.iter().filter(exists).cloned().collect();
    if left.is_empty() {
        return Ok(Put::Lost(format!(
            "{interface} stays isolated: its groups {had} don't exist any more; give it others"
        )));
    }
    if left.len() == groups.len() {
        return Err(error);
    }
    set_groups(ec2, interface, left.clone()).await?;
    Ok(Put::Lost(format!(
        "{interface} has {} again, but of {had} the others don't exist any more",
        left.join(", ")
    )))
}

fn going(record: &Record) -> Vec<&str> {
    let disks = record.disks.iter();
    disks
        .filter(|(_, delete)| **delete)
        .map(|(device, _)| device.as_str())
        .collect()
}

/// The volumes that went with the instance go with it again.
async fn restore_deletion(
    ec2: &Client,
    instance: &Instance,
    going: &[&str],
    undone: &mut Undone,
) -> Result<(), ApiError> {
    let mut again = Vec::new();
    let mut open = false;
    for device in going {
        let mut disks = instance.disks.iter();
        match disks.find(|disk| disk.device == *device) {
            Some(disk) => {
                again.push(*device);
                open |= !disk.delete_on_termination;
            }
            None => undone
                .lost
                .push(format!("{device}: no volume is attached there any more")),
        }
    }
    if again.is_empty() {
        return Ok(());
    }
    match protect::set_deletion(ec2, &instance.id, &again, true).await {
        // Without its label it wasn't changed by the quarantine either.
        Err(error) if is_denied(&error) && !open => return Ok(()),
        other => other?,
    }
    let what = format!("{} go with it again", again.join(", "));
    undone.done.push(what);
    Ok(())
}

/// Whether everything that a run in flight may have changed is as it was, or was named as lost:
/// interfaces, delete-on-termination and termination protection.
async fn last_look(
    clients: &Clients,
    order: &Release,
    record: &Record,
    undone: &mut Undone,
) -> Result<(), Stop> {
    let (mut open, mut missing) = (Vec::new(), Vec::new());
    for look in 0..LOOKS {
        if look > 0 {
            sleep(PAUSE).await;
        }
        let now = instance_now(&clients.ec2, &order.instance.id).await?;
        let now = now.ok_or(Stop::Gone("gone meanwhile"))?;
        let recorded = record.interfaces.iter();
        let differs = recorded.filter(|(interface, groups)| {
            let now = attached(&now, interface);
            let same = |now: &Interface| {
                let now: BTreeSet<&String> = now.groups.iter().collect();
                now == groups.iter().collect()
            };
            !undone.given_up.contains(*interface) && now.is_some_and(|now| !same(now))
        });
        open = differs
            .map(|(interface, _)| format!("{interface} isn't shown with its groups yet"))
            .collect();
        let kept = now.disks.iter().filter(|disk| {
            record.disks.get(&disk.device) == Some(&true) && !disk.delete_on_termination
        });
        open.extend(kept.map(|disk| format!("{} isn't shown to go with it yet", disk.device)));
        if record.protected == Some(false) && protect::protection(&clients.ec2, &now.id).await? {
            open.push("termination protection is shown on still".to_owned());
        }
        let gone = undone.not_found.iter();
        missing = gone
            .filter(|(id, _)| attached(&now, id).is_none())
            .map(|(id, had)| format!("{id}, which is gone (it had {had})"))
            .collect();
        if open.is_empty() {
            break;
        }
    }
    undone.lost.extend(missing);
    undone.open.extend(open);
    Ok(())
}

/// Best effort: they are for people.
async fn remove_labels(ec2: &Client, instance: &Instance, record: &Record, undone: &mut Undone) {
    let ours = labels::of(record).into_iter().map(|(key, _)| key);
    let theirs = instance.tags.iter().map(|(key, _)| key.clone());
    let keys: BTreeSet<String> = ours
        .chain(theirs.filter(|key| labels::is_label(key)))
        .collect();
    if let Err(error) = ec2::remove_tags(ec2, &[&instance.id], keys).await {
        undone.lost.push(format!("its labels are left: {error}"));
    }
}

/// Interfaces that outlive their instance would cut off the next one that takes them: they get their
/// groups back. What of them is in quarantine with another instance, or isn't isolated, stays.
pub(super) async fn left_behind(
    clients: &Clients,
    record: &Record,
    at: Timestamp,
) -> Result<Option<String>, ApiError> {
    let ids = record.interfaces.keys().cloned().collect();
    let restored = restore_left(clients, record, ids, at).await?;
    let done: Vec<String> = restored.into_values().map(Put::words).collect();
    Ok((!done.is_empty()).then(|| done.join("; ")))
}

/// Gives those of these interfaces their groups back that are isolated still.
async fn restore_left(
    clients: &Clients,
    record: &Record,
    ids: Vec<String>,
    at: Timestamp,
) -> Result<BTreeMap<String, Put>, ApiError> {
    let mut done = BTreeMap::new();
    for left in read::left_behind(&clients.ec2, ids).await? {
        let holder = match &left.instance {
            Some(id) => clients.state.get(&QUARANTINE, id, at).await?,
            None => None,
        };
        if !left.is_isolated || holder.is_some() {
            continue;
        }
        let groups = &record.interfaces[&left.id];
        match restore_one(&clients.ec2, &left.id, groups).await.1 {
            Err(error) if is_interface_unknown(&error) => {}
            put => drop(done.insert(left.id, put?)),
        }
    }
    Ok(done)
}

/// Releases an instance of which nothing was recorded, by what its labels say: security groups of
/// interfaces that are isolated, delete-on-termination and termination protection. No profile and no
/// place in a group, because whoever may tag may have written them.
pub(super) async fn by_labels(clients: &Clients, order: &ReleaseByLabels) -> Acted<Effect> {
    let mut undone = Undone::default();
    match put_back_by_labels(clients, order, &mut undone).await {
        Ok(()) => {
            let finished = undone.open.is_empty();
            let note = undone.note("so order it again");
            Acted::done(Some(note)).with(Effect::Released { finished })
        }
        Err(error) if is_instance_gone(&error) => Acted::skipped("gone meanwhile"),
        Err(error) => Acted::failed(error),
    }
}

async fn put_back_by_labels(
    clients: &Clients,
    order: &ReleaseByLabels,
    undone: &mut Undone,
) -> Result<(), ApiError> {
    let (ec2, instance, said) = (&clients.ec2, &order.instance, &order.labels);
    remember(clients, instance, order.at).await?;
    let mut changes = Vec::new();
    for (interface, groups) in &said.interfaces {
        match attached(instance, interface) {
            Some(now) if now.is_isolated(&order.isolation) => {
                changes.push(restore_one(ec2, interface, groups));
            }
            Some(_) => undone
                .lost
                .push(format!("{interface}, which isn't isolated, stays as it is")),
            None => undone
                .lost
                .push(format!("{interface}, which isn't attached")),
        }
    }
    for (interface, answer) in join_all(changes).await {
        match answer {
            Err(error) if is_interface_unknown(&error) => {
                let what = format!("{interface}, which EC2 doesn't find");
                undone.open.push(what);
            }
            other => undone.add(other?),
        }
    }
    let going: Vec<&str> = said.going.iter().map(String::as_str).collect();
    restore_deletion(ec2, instance, &going, undone).await?;
    if said.unprotected {
        protect::set_protection(ec2, &instance.id, false).await?;
        undone.done.push("termination protection off".to_owned());
    }
    // Whoever orders it again needs them.
    if !undone.open.is_empty() {
        return Ok(());
    }
    let keys = instance.tags.iter().map(|(key, _)| key.clone());
    let keys: Vec<String> = keys.filter(|key| labels::is_label(key)).collect();
    ec2::remove_tags(ec2, &[&instance.id], keys).await
}
