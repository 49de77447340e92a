//! Snapshots of all volumes of an instance in quarantine.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{
    InstanceSpecification, ResourceType, Snapshot, SnapshotState, Tag, TagSpecification,
};
use guardrails::aws::{ApiError, filter, once, timestamp};
use guardrails::tags;
use jiff::Timestamp;

use crate::facts::{Disk, Instance, NAME};
use crate::record::evidence_of;

const CREATE: &str = "ec2:CreateSnapshots";

/// The snapshots of the quarantine that began at `since`: those there are, or a new set. The
/// creation takes no client token (EBS-1), so it looks first and sends once. Of two runs at the same
/// moment AWS refuses the later one's: a volume takes a snapshot every 15 seconds (EBS-5).
pub(super) async fn snapshots(
    ec2: &Client,
    instance: &Instance,
    since: Timestamp,
) -> Result<Vec<String>, ApiError> {
    let found = find(ec2, instance, since).await?;
    if !found.is_empty() {
        return Ok(found);
    }
    match create(ec2, instance, since).await {
        Err(error) if error.code == "SnapshotCreationPerVolumeRateExceeded" => {
            // Another run was faster, or somebody made a snapshot just now.
            match find(ec2, instance, since).await? {
                none if none.is_empty() => Err(error),
                found => Ok(found),
            }
        }
        other => other,
    }
}

async fn create(
    ec2: &Client,
    instance: &Instance,
    since: Timestamp,
) -> Result<Vec<String>, ApiError> {
    let id = instance.id.as_str();
    let image = instance.image.as_deref().unwrap_or_default();
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(tags::clip(value)).build();
    let made = ec2
        .create_snapshots()
        .instance_specification(InstanceSpecification::builder().instance_id(id).build())
        .description(description(id, since))
        .tag_specifications(
            TagSpecification::builder()
                .resource_type(ResourceType::Snapshot)
                .tags(tag(tags::GUARDRAIL, NAME))
                .tags(tag(tags::EVIDENCE, id))
                .tags(tag(tags::INSTANCE, id))
                .tags(tag(tags::IMAGE, image))
                .tags(tag("Name", &format!("evidence of {id}")))
                .build(),
        )
        .customize()
        .config_override(once())
        .send()
        .await
        .map_err(|error| ApiError::of(CREATE, &error))?;
    let made = made.snapshots().iter();
    let made: Vec<String> = made
        .filter_map(|snapshot| snapshot.snapshot_id().map(str::to_owned))
        .collect();
    // Whether there are any the next run sees.
    if made.is_empty() {
        return Err(ApiError::incomplete(CREATE, "the snapshots"));
    }
    Ok(made)
}

/// What nobody can change once the snapshot is there, unlike its tags.
fn description(instance: &str, since: Timestamp) -> String {
    format!("{}{since:.0}", evidence_of(instance))
}

/// The snapshots taken of `instance` at the quarantine that began at `since`, one of each volume;
/// none where any volume has none. Tag and description anybody may give to a snapshot of another one.
async fn find(
    ec2: &Client,
    instance: &Instance,
    since: Timestamp,
) -> Result<Vec<String>, ApiError> {
    let id = instance.id.as_str();
    let evidence = filter(&format!("tag:{}", tags::EVIDENCE), vec![id.to_owned()]);
    let found: Vec<Snapshot> = ec2
        .describe_snapshots()
        .owner_ids("self")
        .filters(evidence)
        .max_results(1_000)
        .into_paginator()
        .items()
        .send()
        .try_collect()
        .await
        .map_err(|error| ApiError::of("ec2:DescribeSnapshots", &error))?;
    let of = |disk: &Disk| {
        let of_it = |one: &&Snapshot| {
            one.volume_id() == Some(disk.volume.as_str()) && is_of_this(one, id, since)
        };
        found.iter().find(of_it)?.snapshot_id().map(str::to_owned)
    };
    let each: Option<Vec<String>> = instance.disks.iter().map(of).collect();
    Ok(each.unwrap_or_default())
}

/// An earlier quarantine of the instance has its own; AWS gives the start to the second. One that
/// failed is none (EBS-4).
fn is_of_this(snapshot: &Snapshot, instance: &str, since: Timestamp) -> bool {
    let text = snapshot.description().unwrap_or_default();
    let started = timestamp(snapshot.start_time());
    text.starts_with(&evidence_of(instance))
        && started.is_some_and(|started| started.as_second() >= since.as_second())
        && snapshot.state() != Some(&SnapshotState::Error)
}
