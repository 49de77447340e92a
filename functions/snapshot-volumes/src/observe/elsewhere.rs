//! Reads our copies in other Regions. One that can't be read keeps nothing here from being done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_ec2::Client;
use guardrails::aws::{ApiError, ErrorKind, filter};
use guardrails::ec2::FILTER_VALUES;
use guardrails::policy::Exempt;
use guardrails::state;
use jiff::Timestamp;
use tokio::time::timeout;

use crate::facts::{Elsewhere, Snapshot, Try};
use crate::memory::TRIES;
use crate::observe::snapshot::{PAGE, described, labelled, marked, state_of};
use crate::ownership::{Owned, copies as ownership};
use crate::policy::Policy;
use crate::regions::{Regions, in_region};

/// Longest that is waited for another Region: what is here goes on without it.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);
/// The same before something is carried out: well within `guardrails::runner::LOOK_VALID`, or the
/// look at what is here would have grown old meanwhile.
const RELOOK: Duration = Duration::from_secs(4);

/// Copies of all volumes, or of some.
pub(super) async fn elsewhere(
    regions: &Regions,
    state: &state::State,
    policy: &Policy,
    volumes: Option<Vec<String>>,
    now: Timestamp,
) -> Result<BTreeMap<String, Result<Elsewhere, ApiError>>, ApiError> {
    let asked = policy.plans.0.iter().flat_map(|plan| &plan.copies);
    let asked = asked.map(|copying| copying.region.as_str());
    let drills = policy.drills.iter().filter_map(|one| one.region.as_deref());
    // A drill may name the stack's own Region.
    let drills = drills.filter(|region| *region != regions.home());
    let asked: BTreeSet<&str> = asked.chain(drills).collect();
    let named: BTreeMap<&str, &Client> = regions.there().collect();
    if asked.is_empty() && named.is_empty() {
        return Ok(BTreeMap::new());
    }
    let reads = named.iter().map(|(region, client)| {
        let volumes = volumes.as_deref();
        async move {
            let home = regions.home();
            let read = timeout(PATIENCE, copies(client, home, volumes, &policy.hold)).await;
            (
                (*region).to_owned(),
                read.unwrap_or_else(|_elapsed| Err(too_slow("ec2:DescribeSnapshots", PATIENCE)))
                    .map_err(|error| in_region(region, error)),
            )
        }
    });
    let (tries, mut elsewhere) =
        futures::join!(state.list(&TRIES, now), futures::future::join_all(reads));
    let tries: Vec<(String, Try)> = tries?
        .into_iter()
        .map(|item| (item.name, item.value))
        .collect();
    for (region, read) in &mut elsewhere {
        if let Ok(there) = read {
            let of_region = format!("{region}/");
            let tries = tries.iter();
            there.tries = tries
                .filter(|(name, _)| name.starts_with(&of_region))
                .cloned()
                .collect();
            there.forbidden = forbidden(regions, policy, region);
        }
    }
    let not_named = asked.iter().filter(|region| !named.contains_key(*region));
    let not_named: Vec<_> = not_named
        .map(|region| ((*region).to_owned(), Err(regions.not_named(region))))
        .collect();
    Ok(elsewhere.into_iter().chain(not_named).collect())
}

fn forbidden(regions: &Regions, policy: &Policy, region: &str) -> BTreeMap<String, ApiError> {
    let plans = policy.plans.0.iter();
    plans
        .filter_map(|plan| {
            let error = regions.forbidden(plan, plan.copies_to(region)?)?;
            Some((plan.name.clone(), error))
        })
        .collect()
}

pub(super) fn too_slow(operation: &'static str, waited: Duration) -> ApiError {
    ApiError {
        operation,
        code: "Timeout".to_owned(),
        message: format!("no answer within {} s", waited.as_secs()),
        kind: ErrorKind::Unknown,
    }
}

/// The copies that are ours, of all volumes or of some.
pub(super) async fn copies(
    ec2: &Client,
    home: &str,
    volumes: Option<&[String]>,
    hold: &Exempt,
) -> Result<Elsewhere, ApiError> {
    let patterns: Vec<String> = match volumes {
        None => vec![format!("{}*", ownership::described(home))],
        Some(volumes) => {
            let volumes = volumes.iter();
            volumes
                .map(|volume| format!("{}*", ownership::described_of(home, volume)))
                .collect()
        }
    };
    let mut found = Elsewhere::default();
    for some in patterns.chunks(FILTER_VALUES) {
        let mut pages = ec2
            .describe_snapshots()
            .owner_ids("self")
            .filters(filter("description", some.to_vec()))
            .max_results(PAGE)
            .into_paginator()
            .items()
            .send();
        while let Some(item) = pages
            .try_next()
            .await
            .map_err(|error| ApiError::of("ec2:DescribeSnapshots", &error))?
        {
            match copy(&item, home, hold) {
                None => {}
                Some(Owned::Ours(copy)) => found.copies.push(copy),
                Some(Owned::Disowned(copy)) => found.disowned.push(copy),
            }
        }
    }
    Ok(found)
}

fn copy(found: &aws_sdk_ec2::types::Snapshot, home: &str, hold: &Exempt) -> Option<Owned> {
    let state = state_of(found)?;
    let tags = labelled(found);
    let described = described(found, &tags)?;
    let key = found.kms_key_id().unwrap_or_default();
    let gib = found.volume_size().unwrap_or_default();
    let owned = ownership::read(home, &described, state, key, gib)?;
    Some(marked(owned, found, &tags, hold))
}

/// What of `ids` is completed there: for a deletion that rests on it.
pub(super) async fn by_id(
    ec2: &Client,
    home: &str,
    ids: &[String],
) -> Result<Vec<Snapshot>, ApiError> {
    let mut found = Vec::new();
    for some in ids.chunks(FILTER_VALUES) {
        let page = ec2
            .describe_snapshots()
            .owner_ids("self")
            .filters(filter("snapshot-id", some.to_vec()))
            .max_results(PAGE)
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|error| ApiError::of("ec2:DescribeSnapshots", &error))?;
        found.extend(
            page.iter()
                .filter_map(|item| match copy(item, home, &Exempt::default())? {
                    Owned::Ours(copy) => Some(copy),
                    Owned::Disowned(_) => None,
                }),
        );
    }
    Ok(found)
}

/// Copies that were made in `region` meanwhile of these volumes, for whoever is about to make one.
pub(super) async fn made(
    regions: &Regions,
    region: &str,
    volumes: &BTreeSet<String>,
    keepers: &BTreeSet<String>,
) -> Result<Vec<Snapshot>, ApiError> {
    let ec2 = regions.client(Some(region))?;
    let home = regions.home();
    let volumes: Vec<String> = volumes.iter().cloned().collect();
    let keepers: Vec<String> = keepers.iter().cloned().collect();
    let hold = Exempt::default();
    let look = async {
        let mut made = copies(ec2, home, Some(&volumes), &hold).await?.copies;
        made.extend(by_id(ec2, home, &keepers).await?);
        Ok(made)
    };
    let looked = timeout(RELOOK, look).await;
    looked
        .unwrap_or_else(|_elapsed| Err(too_slow("ec2:DescribeSnapshots", RELOOK)))
        .map_err(|error| in_region(region, error))
}

#[cfg(test)]
mod tests;
