//! Puts back what a quarantine wrote down, and nothing else. What can't be put back is named.
//!
//! The mark goes last: a run that is killed in between is repeated from the start.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use futures::future::join_all;
use guardrails::aws::{ApiError, filter};
use guardrails::ec2::State;
use guardrails::guardrail::Acted;
use guardrails::tags;

use super::isolate::set_groups;
use super::{groups, is_managed_by_others, is_quarantine_tag, protect, tag, untag};
use crate::Clients;
use crate::decide::Release;
use crate::facts::Stage;
use crate::record::{Record, Service};

/// What came of the steps.
#[derive(Default)]
struct Undone {
    done: Vec<String>,
    /// What can't be restored.
    lost: Vec<String>,
}

/// Releases the instance.
pub(super) async fn release(clients: &Clients, release: &Release) -> Acted {
    let mut undone = Undone::default();
    match steps(clients, release, &mut undone).await {
        Ok(()) => {
            let mut note = undone.done.join("; ");
            if !undone.lost.is_empty() {
                note.push_str("; NOT RESTORED: ");
                note.push_str(&undone.lost.join("; "));
            }
            Acted::Done(Some(note))
        }
        Err(error) if error.is_not_found() && error.code.starts_with("InvalidInstanceID") => {
            Acted::Skipped("gone meanwhile".to_owned())
        }
        Err(error) => Acted::Failed(error),
    }
}

async fn steps(clients: &Clients, release: &Release, undone: &mut Undone) -> Result<(), ApiError> {
    let ec2 = &clients.ec2;
    let instance = &release.instance;
    let id = &instance.id;
    let record = instance.record();

    // First, so that no run takes it for a launch or a drift meanwhile.
    let mut notes = vec![(
        tags::QUARANTINED.to_owned(),
        format!("{} {:.0}", Stage::Releasing.word(), release.at),
    )];
    if let Some(image) = &instance.image {
        notes.push((tags::RELEASED_IMAGE.to_owned(), image.clone()));
    }
    tag(ec2, id, notes).await?;

    restore_groups(ec2, release, &record, undone).await?;
    restore_deletion(ec2, release, &record, undone).await?;
    if record.protected == Some(false) {
        protect::set_protection(ec2, id, false).await?;
        undone.done.push("termination protection off".to_owned());
    }
    if let Some(arn) = &record.profile {
        undone.add(protect::associate(ec2, id, arn).await?);
    }
    if record.stopped && matches!(instance.state, State::Stopped | State::Stopping) {
        protect::start(ec2, id).await?;
        undone.done.push("started it".to_owned());
    }
    if let Some(service) = &record.service {
        undone.add(groups::come_back(&clients.autoscaling, id, service).await?);
    }
    let group = record
        .service
        .as_ref()
        .map(Service::group)
        .or_else(|| instance.group());
    if let Some(group) = group {
        if release.others.is_empty() {
            let restored = groups::restore(&clients.autoscaling, group, release.at).await?;
            undone.done.extend(restored);
        } else if groups::read(&clients.autoscaling, group)
            .await?
            .is_some_and(|group| group.tags.contains_key(tags::LOOP_SUSPENDED))
        {
            undone.done.push(format!(
                "{group}'s processes stay suspended while {} {} in quarantine; release them, or the group",
                release.others.join(", "),
                if release.others.len() == 1 { "is" } else { "are" }
            ));
        }
    }
    let keys = instance
        .tags
        .iter()
        .map(|(key, _)| key.clone())
        .chain([tags::QUARANTINED.to_owned()])
        .filter(|key| is_quarantine_tag(key));
    let keys: std::collections::BTreeSet<String> = keys.collect();
    untag(ec2, id, keys).await
}

impl Undone {
    fn add(&mut self, answer: Result<String, String>) {
        match answer {
            Ok(done) => self.done.push(done),
            Err(lost) => self.lost.push(lost),
        }
    }
}

/// Every interface gets its groups back, all at once.
async fn restore_groups(
    ec2: &Client,
    release: &Release,
    record: &Record,
    undone: &mut Undone,
) -> Result<(), ApiError> {
    let now: BTreeMap<&str, &[String]> = release
        .instance
        .interfaces
        .iter()
        .map(|interface| (interface.id.as_str(), interface.groups.as_slice()))
        .collect();
    for (interface, groups) in &record.groups {
        if !now.contains_key(interface.as_str()) {
            undone.lost.push(format!(
                "{interface}, which isn't attached any more (it had {})",
                groups.join(", ")
            ));
        }
    }
    let changes = record
        .groups
        .iter()
        .filter(|(interface, groups)| {
            now.get(interface.as_str())
                .is_some_and(|have| have != groups)
        })
        .map(|(interface, groups)| restore_one(ec2, interface, groups));
    for answer in join_all(changes).await {
        undone.add(answer?);
    }
    Ok(())
}

async fn restore_one(
    ec2: &Client,
    interface: &str,
    groups: &[String],
) -> Result<Result<String, String>, ApiError> {
    let had = groups.join(", ");
    match set_groups(ec2, interface, groups.to_vec()).await {
        Ok(()) => Ok(Ok(format!("{interface} has {had} again"))),
        Err(error) if error.code.starts_with("InvalidNetworkInterfaceID") => {
            Ok(Err(format!("{interface}, which is gone (it had {had})")))
        }
        Err(error) if is_managed_by_others(&error) => {
            Ok(Err(format!("{interface}: {}", error.message)))
        }
        Err(error) if error.code.starts_with("InvalidGroup") => {
            // Some of them were deleted meanwhile: those that are left.
            let here = ec2
                .describe_security_groups()
                .filters(filter("group-id", groups.to_vec()))
                .send()
                .await
                .map_err(|error| ApiError::of("ec2:DescribeSecurityGroups", &error))?;
            let left: Vec<String> = groups
                .iter()
                .filter(|group| {
                    here.security_groups()
                        .iter()
                        .any(|here| here.group_id() == Some(group.as_str()))
                })
                .cloned()
                .collect();
            if left.is_empty() {
                return Ok(Err(format!(
                    "{interface} stays isolated: its groups {had} don't exist any more; give it others"
                )));
            }
            if left.len() == groups.len() {
                return Err(error);
            }
            set_groups(ec2, interface, left.clone()).await?;
            Ok(Err(format!(
                "{interface} has {} again, but of {had} the others don't exist any more",
                left.join(", ")
            )))
        }
        Err(error) => Err(error),
    }
}

/// The volumes that went with the instance go with it again.
async fn restore_deletion(
    ec2: &Client,
    release: &Release,
    record: &Record,
    undone: &mut Undone,
) -> Result<(), ApiError> {
    let mut going = Vec::new();
    for (device, delete) in record.disks.iter().filter(|(_, delete)| **delete) {
        match release
            .instance
            .disks
            .iter()
            .find(|disk| disk.device == *device)
        {
            None => undone
                .lost
                .push(format!("{device}: no volume is attached there any more")),
            Some(disk) if disk.delete_on_termination => {}
            Some(_) => going.push((device.clone(), *delete)),
        }
    }
    if going.is_empty() {
        return Ok(());
    }
    let devices: Vec<&str> = going.iter().map(|(device, _)| device.as_str()).collect();
    let what = format!("{} go with it again", devices.join(", "));
    protect::set_deletion(ec2, &release.instance.id, going).await?;
    undone.done.push(what);
    Ok(())
}
