//! Reads volumes, snapshots, instances and images into facts: paged, filtered by AWS, and only
//! what is needed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{
    Filter, Reservation, SnapshotState, Tag, VolumeAttachmentState, VolumeState,
};
use guardrails::aws::{ApiError, filter};
use guardrails::ec2::{self, FILTER_VALUES};
use guardrails::tags;
use guardrails::trigger::Scope;
use jiff::Timestamp;

use crate::decide::{self, Action};
use crate::facts::{Attachment, Facts, Instance, Snapshot, State, Volume};
use crate::policy::Policy;

/// Largest pages (EBS-7); `DescribeInstances` and `DescribeImages` take 1,000 as well.
const VOLUMES_PAGE: i32 = 500;
const PAGE: i32 = 1_000;
/// From so many instances on, one paged read of all is fewer calls than reads by id.
const READ_ALL_INSTANCES: usize = 1_000;

/// Reads what `scope` asks for.
pub(crate) async fn observe(
    ec2: &Client,
    policy: &Policy,
    scope: &Scope,
    now: Timestamp,
) -> Result<Facts, ApiError> {
    let mut facts = Facts::default();
    match scope {
        Scope::All => {
            facts.complete = true;
            let (volumes, snapshots) =
                futures::try_join!(volumes(ec2, Vec::new()), snapshots(ec2, Vec::new()))?;
            facts.volumes = volumes.into_iter().map(|v| (v.id.clone(), v)).collect();
            facts.snapshots = snapshots;
            facts.gone = gone(ec2, &decide::maybe_gone(&facts, policy, now)).await?;
        }
        Scope::One(_) | Scope::Some(_) => {
            for volume in scope.named() {
                let found = neighbourhood(ec2, volume).await?;
                facts
                    .volumes
                    .extend(found.into_iter().map(|v| (v.id.clone(), v)));
            }
            let ids: Vec<String> = facts.volumes.keys().cloned().collect();
            for some in ids.chunks(FILTER_VALUES) {
                let of_these = filter("volume-id", some.to_vec());
                facts
                    .snapshots
                    .extend(snapshots(ec2, vec![of_these]).await?);
            }
        }
    }
    if policy.needs_boot() {
        let attached = decide::attached_instances(&facts);
        facts.instances = instances(ec2, attached).await?;
    }
    let lacking = decide::instances_of_lacking(&facts, policy, now);
    let unknown: BTreeSet<String> = lacking
        .iter()
        .filter(|id| !facts.instances.contains_key(*id))
        .cloned()
        .collect();
    facts.instances.extend(instances(ec2, unknown).await?);
    name_images(ec2, &mut facts.instances, &lacking).await?;
    Ok(facts)
}

fn timestamp(at: Option<&aws_sdk_ec2::primitives::DateTime>) -> Timestamp {
    ec2::timestamp(at).unwrap_or(Timestamp::UNIX_EPOCH)
}

async fn volumes(ec2: &Client, filters: Vec<Filter>) -> Result<Vec<Volume>, ApiError> {
    let mut pages = ec2
        .describe_volumes()
        .set_filters((!filters.is_empty()).then_some(filters))
        .max_results(VOLUMES_PAGE)
        .into_paginator()
        .items()
        .send();
    let mut found = Vec::new();
    while let Some(item) = pages
        .try_next()
        .await
        .map_err(|error| ApiError::of("ec2:DescribeVolumes", &error))?
    {
        found.push(volume(item));
    }
    Ok(found)
}

/// One volume and all others of the instance that it is attached to: they are snapshotted together.
async fn neighbourhood(ec2: &Client, id: &str) -> Result<Vec<Volume>, ApiError> {
    let found = volumes(ec2, vec![filter("volume-id", vec![id.to_owned()])]).await?;
    let instances: Vec<String> = found
        .iter()
        .flat_map(|volume| &volume.attachments)
        .map(|attachment| attachment.instance.clone())
        .collect();
    if instances.is_empty() {
        return Ok(found);
    }
    volumes(ec2, vec![filter("attachment.instance-id", instances)]).await
}

fn volume(volume: aws_sdk_ec2::types::Volume) -> Volume {
    Volume {
        created: timestamp(volume.create_time()),
        usable: matches!(
            volume.state(),
            Some(VolumeState::Available | VolumeState::InUse)
        ),
        attachments: volume
            .attachments()
            .iter()
            .filter(|a| a.state() != Some(&VolumeAttachmentState::Detached))
            .filter_map(|a| {
                Some(Attachment {
                    instance: a.instance_id()?.to_owned(),
                    device: a.device().unwrap_or_default().to_owned(),
                    settled: a.state() == Some(&VolumeAttachmentState::Attached),
                })
            })
            .collect(),
        tags: ec2::tags(volume.tags()),
        id: volume.volume_id.unwrap_or_default(),
    }
}

/// The snapshots that this guardrail made: of this account (EBS-7), with its tag.
async fn snapshots(ec2: &Client, mut filters: Vec<Filter>) -> Result<Vec<Snapshot>, ApiError> {
    filters.push(filter(
        &format!("tag:{}", tags::GUARDRAIL),
        vec![crate::NAME.to_owned()],
    ));
    let mut pages = ec2
        .describe_snapshots()
        .owner_ids("self")
        .set_filters(Some(filters))
        .max_results(PAGE)
        .into_paginator()
        .items()
        .send();
    let mut found: Vec<Snapshot> = Vec::new();
    while let Some(item) = pages
        .try_next()
        .await
        .map_err(|error| ApiError::of("ec2:DescribeSnapshots", &error))?
    {
        let Some(mut read) = snapshot(&item) else {
            continue;
        };
        if let Some(last) = found.last()
            && last.plan == read.plan
        {
            read.plan = Arc::clone(&last.plan);
        }
        found.push(read);
    }
    Ok(found)
}

fn snapshot(found: &aws_sdk_ec2::types::Snapshot) -> Option<Snapshot> {
    let state = match found.state()? {
        SnapshotState::Completed => State::Completed,
        SnapshotState::Pending | SnapshotState::Recovering => State::Pending,
        SnapshotState::Error => State::Error(
            found
                .state_message()
                .unwrap_or("no reason given")
                .to_owned(),
        ),
        // In the Recycle Bin: somebody deleted it, so it protects nobody and isn't ours to touch.
        _ => return None,
    };
    let tags: Vec<(&str, &str)> = found
        .tags()
        .iter()
        .filter_map(|tag: &Tag| Some((tag.key()?, tag.value()?)))
        .collect();
    Snapshot::ours(
        found.snapshot_id()?,
        found.volume_id()?,
        state,
        timestamp(found.start_time()),
        &tags,
    )
}

/// Which of `ids` a second look doesn't find either. An id is looked for on its own, so that a
/// page that AWS left out of the first read can't make a volume seem gone.
async fn gone(ec2: &Client, ids: &[String]) -> Result<BTreeSet<String>, ApiError> {
    let mut gone: BTreeSet<String> = ids.iter().cloned().collect();
    for some in ids.chunks(FILTER_VALUES) {
        for volume in volumes(ec2, vec![filter("volume-id", some.to_vec())]).await? {
            gone.remove(&volume.id);
        }
    }
    Ok(gone)
}

async fn instances(
    ec2: &Client,
    ids: BTreeSet<String>,
) -> Result<HashMap<String, Instance>, ApiError> {
    let mut found = HashMap::with_capacity(ids.len());
    let ids: Vec<String> = ids.into_iter().collect();
    let reads: Vec<Option<Filter>> = if ids.len() > READ_ALL_INSTANCES {
        vec![None]
    } else {
        ids.chunks(FILTER_VALUES)
            .map(|some| Some(filter("instance-id", some.to_vec())))
            .collect()
    };
    for read in reads {
        let mut pages = ec2
            .describe_instances()
            .set_filters(read.map(|filter| vec![filter]))
            .max_results(PAGE)
            .into_paginator()
            .send();
        while let Some(page) = pages
            .try_next()
            .await
            .map_err(|error| ApiError::of("ec2:DescribeInstances", &error))?
        {
            for instance in page.reservations().iter().flat_map(Reservation::instances) {
                let Some(id) = instance.instance_id() else {
                    continue;
                };
                found.insert(
                    id.to_owned(),
                    Instance {
                        id: id.to_owned(),
                        name: instance
                            .tags()
                            .iter()
                            .find(|tag| tag.key() == Some("Name"))
                            .and_then(|tag| tag.value().map(str::to_owned)),
                        root_device: instance.root_device_name().map(str::to_owned),
                        image: instance.image_id().map(str::to_owned),
                        image_name: None,
                    },
                );
            }
        }
    }
    Ok(found)
}

/// Fills in the AMIs' names.
async fn name_images(
    ec2: &Client,
    instances: &mut HashMap<String, Instance>,
    which: &BTreeSet<String>,
) -> Result<(), ApiError> {
    let wanted: BTreeSet<String> = which
        .iter()
        .filter_map(|id| instances.get(id)?.image.clone())
        .collect();
    let names = ec2::image_names(ec2, wanted).await?;
    for instance in instances.values_mut() {
        if let Some(image) = &instance.image {
            instance.image_name = names.get(image).cloned();
        }
    }
    Ok(())
}

/// Whether the coming actions are still called for: has another run made the slot's snapshot
/// meanwhile, is the snapshot that a deletion relies on still there?
pub(crate) async fn look_again(
    ec2: &Client,
    actions: &[&Action],
) -> Result<Vec<Option<String>>, ApiError> {
    let mut volumes: BTreeSet<String> = BTreeSet::new();
    let mut keepers: BTreeSet<String> = BTreeSet::new();
    for action in actions {
        match action {
            Action::Create(create) => {
                volumes.extend(create.members.iter().map(|member| member.volume.clone()));
            }
            Action::Delete(delete) => keepers.extend(delete.keeper.clone()),
        }
    }
    let mut made = Vec::new();
    for (name, ids) in [("volume-id", volumes), ("snapshot-id", keepers)] {
        let ids: Vec<String> = ids.into_iter().collect();
        for some in ids.chunks(FILTER_VALUES) {
            made.extend(snapshots(ec2, vec![filter(name, some.to_vec())]).await?);
        }
    }
    let completed: HashSet<&str> = made
        .iter()
        .filter(|snapshot| snapshot.is_completed())
        .map(|snapshot| snapshot.id.as_str())
        .collect();
    Ok(actions
        .iter()
        .map(|action| match action {
            Action::Create(create) => create.overtaken_by(&made).map(|snapshot| {
                format!(
                    "{} has {} meanwhile; the next sweep looks again",
                    snapshot.volume, snapshot.id
                )
            }),
            Action::Delete(delete) => delete
                .keeper
                .as_deref()
                .filter(|keeper| !completed.contains(keeper))
                .map(|keeper| {
                    format!("{keeper}, which was to stay, is gone; the next sweep looks again")
                }),
        })
        .collect())
}

#[cfg(test)]
mod tests;
