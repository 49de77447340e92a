//! Reads our copies in other Regions. One that can't be read keeps nothing here from being done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_ec2::Client;
use guardrails::aws::{ApiError, filter};
use guardrails::ec2::FILTER_VALUES;
use guardrails::policy::Exempt;
use guardrails::state;
use jiff::Timestamp;

use crate::facts::{Elsewhere, Snapshot, Try};
use crate::memory::TRIES;
use crate::observe::snapshot::{SNAPSHOTS, owned};
use crate::ownership::copies as ownership;
use crate::policy::Policy;
use crate::regions::{PATIENCE, Regions, within};

/// Longest that is waited for another Region before something is carried out: well within
/// `guardrails::runner::LOOK_VALID`, or the look at what is here would have grown old meanwhile.
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
            let read = copies(client, regions.home(), volumes, &policy.hold);
            let read = within(PATIENCE, region, SNAPSHOTS, read).await;
            ((*region).to_owned(), read)
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

/// The copies that are ours, of all volumes or of some.
async fn copies(
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
    copies_by(ec2, home, "description", &patterns, hold).await
}

async fn copies_by(
    ec2: &Client,
    home: &str,
    name: &str,
    values: &[String],
    hold: &Exempt,
) -> Result<Elsewhere, ApiError> {
    let mut found = Elsewhere::default();
    for some in values.chunks(FILTER_VALUES) {
        let filters = vec![filter(name, some.to_vec())];
        let (copies, disowned) = owned(ec2, filters, Some(home), hold).await?;
        found.copies.extend(copies);
        found.disowned.extend(disowned);
    }
    Ok(found)
}

/// Copies in `region` as they are now: of these volumes, for whoever is about to make one, and the
/// keepers that a deletion rests on.
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
        let kept = copies_by(ec2, home, "snapshot-id", &keepers, &hold).await?;
        made.extend(kept.copies);
        Ok(made)
    };
    within(RELOOK, region, SNAPSHOTS, look).await
}

#[cfg(test)]
mod tests;
