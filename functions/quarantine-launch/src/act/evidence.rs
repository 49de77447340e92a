//! Snapshots of all volumes of an instance in quarantine.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{
    InstanceSpecification, ResourceType, SnapshotState, Tag, TagSpecification,
};
use guardrails::aws::{ApiError, filter, once, timestamp};
use guardrails::tags;
use jiff::Timestamp;

use crate::facts::{Instance, NAME};
use crate::record::evidence_of;

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
        .map_err(|error| ApiError::of("ec2:CreateSnapshots", &error))?;
    let made = made.snapshots().iter();
    Ok(made
        .filter_map(|snapshot| snapshot.snapshot_id().map(str::to_owned))
        .collect())
}

/// What nobody can change once the snapshot is there, unlike its tags.
fn description(instance: &str, since: Timestamp) -> String {
    format!("{}{since:.0}", evidence_of(instance))
}

/// The snapshots taken of `instance` at the quarantine that began at `since`. Tag and description
/// anybody may give to a snapshot of another volume.
async fn find(
    ec2: &Client,
    instance: &Instance,
    since: Timestamp,
) -> Result<Vec<String>, ApiError> {
    let id = instance.id.as_str();
    let evidence = filter(&format!("tag:{}", tags::EVIDENCE), vec![id.to_owned()]);
    let mut pages = ec2
        .describe_snapshots()
        .owner_ids("self")
        .filters(evidence)
        .max_results(1_000)
        .into_paginator()
        .items()
        .send();
    let mut found = Vec::new();
    while let Some(snapshot) = pages
        .try_next()
        .await
        .map_err(|error| ApiError::of("ec2:DescribeSnapshots", &error))?
    {
        // One that failed is none (EBS-4).
        let failed = snapshot.state() == Some(&SnapshotState::Error);
        let ours = snapshot
            .description()
            .is_some_and(|text| text.starts_with(&evidence_of(id)));
        let mut disks = instance.disks.iter();
        let of_it = disks.any(|disk| snapshot.volume_id() == Some(disk.volume.as_str()));
        // An earlier quarantine of the instance has its own. AWS gives the start to the second.
        let of_this = timestamp(snapshot.start_time())
            .is_some_and(|started| started.as_second() >= since.as_second());
        if ours
            && of_it
            && of_this
            && !failed
            && let Some(id) = snapshot.snapshot_id()
        {
            found.push(id.to_owned());
        }
    }
    Ok(found)
}
