//! Snapshots of all volumes of an instance in quarantine.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{InstanceSpecification, ResourceType, Tag, TagSpecification};
use guardrails::aws::{ApiError, filter, once};
use guardrails::tags;
use jiff::Timestamp;

use crate::NAME;
use crate::decide::Quarantine;

/// The snapshots of this quarantine: those there are, or a new set. The creation takes no client
/// token (EBS-1), so it looks first and sends once. Of two runs at the same moment AWS refuses the
/// later one's: a volume takes a snapshot every 15 seconds (EBS-5).
pub(super) async fn snapshots(
    ec2: &Client,
    quarantine: &Quarantine,
) -> Result<Vec<String>, ApiError> {
    let instance = &quarantine.instance.id;
    let found = find(ec2, instance, quarantine.since).await?;
    if !found.is_empty() {
        return Ok(found);
    }
    let image = quarantine.instance.image.clone().unwrap_or_default();
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(tags::clip(value)).build();
    let made = ec2
        .create_snapshots()
        .instance_specification(
            InstanceSpecification::builder()
                .instance_id(instance)
                .build(),
        )
        .description(format!("Evidence: {instance} in quarantine"))
        .tag_specifications(
            TagSpecification::builder()
                .resource_type(ResourceType::Snapshot)
                .tags(tag(tags::GUARDRAIL, NAME))
                .tags(tag(tags::EVIDENCE, instance))
                .tags(tag(tags::INSTANCE, instance))
                .tags(tag(tags::IMAGE, &image))
                .tags(tag("Name", &format!("evidence of {instance}")))
                .build(),
        )
        .customize()
        .config_override(once())
        .send()
        .await
        .map_err(|error| ApiError::of("ec2:CreateSnapshots", &error));
    match made {
        Ok(made) => Ok(made
            .snapshots()
            .iter()
            .filter_map(|snapshot| snapshot.snapshot_id().map(str::to_owned))
            .collect()),
        Err(error) if error.code == "SnapshotCreationPerVolumeRateExceeded" => {
            // Another run was faster, or somebody made a snapshot just now.
            match find(ec2, instance, quarantine.since).await? {
                none if none.is_empty() => Err(error),
                found => Ok(found),
            }
        }
        Err(error) => Err(error),
    }
}

/// The snapshots taken of `instance` at a quarantine that began at `since`.
async fn find(ec2: &Client, instance: &str, since: Timestamp) -> Result<Vec<String>, ApiError> {
    let evidence = filter(
        &format!("tag:{}", tags::EVIDENCE),
        vec![instance.to_owned()],
    );
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
        // Those of an earlier quarantine of the same instance are older. One that failed is none
        // (EBS-4).
        let of_this = snapshot
            .start_time()
            .is_some_and(|at| at.secs() >= since.as_second());
        let failed = snapshot.state() == Some(&aws_sdk_ec2::types::SnapshotState::Error);
        if of_this
            && !failed
            && let Some(id) = snapshot.snapshot_id()
        {
            found.push(id.to_owned());
        }
    }
    Ok(found)
}
