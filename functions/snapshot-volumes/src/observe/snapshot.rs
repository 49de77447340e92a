//! Reads snapshots that are ours, here and in other Regions.

use std::sync::Arc;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{self, Filter, SnapshotState, StorageTier};
use guardrails::aws::{ApiError, timestamp};
use guardrails::policy::Exempt;

use crate::facts::{Disowned, Snapshot, State};
use crate::ownership::{self, Described, Owned};

pub(super) const SNAPSHOTS: &str = "ec2:DescribeSnapshots";
/// Largest pages (EBS-7).
pub(super) const PAGE: i32 = 1_000;

/// Those that are ours, and those that are ours no longer.
pub(super) type Found = (Vec<Snapshot>, Vec<Disowned>);

/// The snapshots of this account (EBS-7) that `filters` choose: of volumes here, or copies from
/// `home`.
pub(super) async fn owned(
    ec2: &Client,
    filters: Vec<Filter>,
    home: Option<&str>,
    hold: &Exempt,
) -> Result<Found, ApiError> {
    let mut pages = ec2
        .describe_snapshots()
        .owner_ids("self")
        .set_filters(Some(filters))
        .max_results(PAGE)
        .into_paginator()
        .items()
        .send();
    let (mut ours, mut disowned): Found = (Vec::new(), Vec::new());
    while let Some(item) = pages
        .try_next()
        .await
        .map_err(|error| ApiError::of(SNAPSHOTS, &error))?
    {
        match read(&item, home, hold) {
            None => {}
            Some(Owned::Disowned(snapshot)) => disowned.push(snapshot),
            Some(Owned::Ours(mut snapshot)) => {
                // Thousands carry the same name.
                if let Some(last) = ours.last()
                    && last.plan == snapshot.plan
                {
                    snapshot.plan = Arc::clone(&last.plan);
                }
                ours.push(snapshot);
            }
        }
    }
    Ok((ours, disowned))
}

/// None where the description isn't one of ours.
pub(super) fn read(found: &types::Snapshot, home: Option<&str>, hold: &Exempt) -> Option<Owned> {
    let tags = found.tags().iter();
    let tags: Vec<(&str, &str)> = tags
        .filter_map(|tag| Some((tag.key()?, tag.value()?)))
        .collect();
    let described = Described {
        id: found.snapshot_id()?,
        volume: found.volume_id()?,
        description: found.description()?,
        started: timestamp(found.start_time()).unwrap_or_default(),
        tags: &tags,
    };
    let state = state_of(found)?;
    let mut owned = match home {
        None => ownership::read(&described, state)?,
        Some(home) => {
            let key = found.kms_key_id().unwrap_or_default();
            let gib = found.volume_size().unwrap_or_default();
            ownership::copies::read(home, &described, state, key, gib)?
        }
    };
    if let Owned::Ours(snapshot) = &mut owned {
        let value = |key: &str| tags.iter().find(|(have, _)| *have == key).map(|(_, v)| *v);
        snapshot.held = hold.tag_of(value).is_some();
        // One that is restored for a time goes back (EBS-13).
        snapshot.archived = found.storage_tier() == Some(&StorageTier::Archive)
            || found.restore_expiry_time().is_some();
    }
    Some(owned)
}

/// None for one in the Recycle Bin: somebody deleted it, so it protects nobody and isn't ours to touch.
fn state_of(found: &types::Snapshot) -> Option<State> {
    Some(match found.state() {
        Some(SnapshotState::Recoverable) => return None,
        Some(SnapshotState::Completed) => State::Completed,
        Some(SnapshotState::Error) => State::Error(
            found
                .state_message()
                .unwrap_or("no reason given")
                .to_owned(),
        ),
        // Pending, recovering, or a word that isn't known yet: it is there, so no other is made for
        // its slot, and protects nobody; `grace` tells if that lasts.
        _ => State::Pending,
    })
}
