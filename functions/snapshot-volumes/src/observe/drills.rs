//! Reads what is remembered of drills, and the volumes that they made.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Volume, VolumeAttachmentState};
use guardrails::aws::{ApiError, filter, timestamp};
use guardrails::ec2::{self, FILTER_VALUES};
use guardrails::state::{Expect, State, Stored};
use guardrails::tags;
use jiff::Timestamp;

use crate::facts::Facts;
use crate::facts::drills::{Drills, Made, Record, Remembered, Restore, read_key};
use crate::memory::{DRILLS, PROOFS};
use crate::policy::Policy;
use crate::regions::{PATIENCE, Regions, within};

const VOLUMES: &str = "ec2:DescribeVolumes";

/// All that is known of drills. After the volumes were read: what was made is written down before,
/// so none of it is taken for somebody's volume.
pub(super) async fn drills(
    regions: &Regions,
    state: &State,
    policy: &Policy,
    now: Timestamp,
) -> Result<Drills, ApiError> {
    let (records, since) = futures::try_join!(state.list(&PROOFS, now), state.list(&DRILLS, now))?;
    let mut drills = Drills {
        forbidden: regions.no_drills().filter(|_| !policy.drills.is_empty()),
        since: since
            .into_iter()
            .map(|item| (item.name, item.value))
            .collect(),
        records: records.into_iter().map(remembered).collect(),
        ..Drills::default()
    };
    let mut under_way: BTreeMap<&str, Vec<&Restore>> = BTreeMap::new();
    for stored in drills.records.values() {
        if let Some((_, region, _)) = read_key(&stored.name)
            && let Some(restore) = stored.value.restore()
        {
            under_way.entry(region).or_default().push(restore);
        }
    }
    let reads = under_way.into_iter().map(|(region, restores)| async move {
        let read = made(regions, region, &restores);
        let read = within(PATIENCE, region, VOLUMES, read).await;
        (region.to_owned(), read)
    });
    drills.made = futures::future::join_all(reads).await.into_iter().collect();
    // Without it nobody knows which of the volumes here are drills'.
    if let Some(Err(error)) = drills.made.get(regions.home()) {
        return Err(error.clone());
    }
    Ok(drills)
}

fn remembered(item: Stored<Record>) -> (String, Remembered) {
    let remembered = Remembered {
        expect: Expect::read(Some(&item)),
        name: item.name.clone(),
        value: item.value,
    };
    (item.name, remembered)
}

/// Takes the drills' own volumes out of those that plans are for: as long as they are what was made,
/// and nobody uses them.
pub(super) fn set_apart(facts: &mut Facts) {
    let restores = facts.drills.records.values();
    let restores: Vec<&Restore> = restores
        .filter_map(|stored| stored.value.restore())
        .collect();
    let made = facts.drills.made.get(&facts.region);
    let made = made
        .and_then(|made| made.as_ref().ok())
        .into_iter()
        .flatten();
    let theirs = made.filter(|one| {
        restores
            .iter()
            .any(|restore| restore.may_delete(one).is_ok())
    });
    for one in theirs {
        facts.volumes.remove(&one.id);
    }
}

async fn made(
    regions: &Regions,
    region: &str,
    restores: &[&Restore],
) -> Result<Vec<Made>, ApiError> {
    let ec2 = regions.client_in(region)?;
    let ids = restores.iter().filter_map(|restore| restore.volume.clone());
    let mut made = made_of(ec2, "volume-id", ids.collect()).await?;
    let nameless = restores.iter().filter(|restore| restore.volume.is_none());
    let tokens = nameless.map(|restore| restore.token.clone()).collect();
    let tag = format!("tag:{}", tags::DRILL);
    made.extend(made_of(ec2, &tag, tokens).await?);
    let mut seen = BTreeSet::new();
    made.retain(|one| seen.insert(one.id.clone()));
    Ok(made)
}

/// The volumes with one of these values.
pub(crate) async fn made_of(
    ec2: &Client,
    name: &str,
    values: Vec<String>,
) -> Result<Vec<Made>, ApiError> {
    let mut found = Vec::new();
    for some in values.chunks(FILTER_VALUES) {
        let volumes = ec2
            .describe_volumes()
            .filters(filter(name, some.to_vec()))
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|error| ApiError::of(VOLUMES, &error))?;
        found.extend(volumes.into_iter().filter_map(read));
    }
    Ok(found)
}

fn read(volume: Volume) -> Option<Made> {
    let tags = ec2::tags(volume.tags());
    let attached = volume.attachments().iter();
    let attached = attached
        .filter(|attachment| attachment.state() != Some(&VolumeAttachmentState::Detached))
        .map(|attachment| attachment.instance_id().unwrap_or("something").to_owned())
        .next();
    Some(Made {
        token: ec2::tag(&tags, tags::DRILL).map(str::to_owned),
        snapshot: volume.snapshot_id().unwrap_or_default().to_owned(),
        // What an answer leaves out doesn't make a volume gone: it is none that may be deleted.
        created: timestamp(volume.create_time()).unwrap_or(Timestamp::MIN),
        state: volume
            .state()
            .map_or("unknown", |state| state.as_str())
            .to_owned(),
        attached,
        id: volume.volume_id?,
    })
}

#[cfg(test)]
mod tests;
