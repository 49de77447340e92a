//! Judges each volume once under each plan, and what the plans no longer keep. Pure.

mod copies;
mod deletions;
pub(crate) mod drills;
mod index;
mod standing;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

pub(crate) use crate::evaluate::copies::{CopyNeed, Line, There};
use crate::evaluate::deletions::Place;
pub(crate) use crate::evaluate::deletions::{Deletion, Deletions, maybe_gone, over_limit};
use crate::evaluate::drills::{Going, Round};
use crate::evaluate::index::Index;
pub(crate) use crate::evaluate::standing::{Freshness, Judged, Need, Planned, Standing};
use crate::facts::{Facts, Snapshot};
use crate::policy::{Policy, Select};

/// What the facts come to under the policy.
#[derive(Debug)]
pub struct Evaluation<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) now: Timestamp,
    pub(crate) plans: Vec<Planned<'a>>,
    pub(crate) volumes: Vec<Judged<'a>>,
    /// Nothing where the facts aren't complete.
    pub(crate) deletions: Deletions<'a>,
    /// Snapshots of plans that the policy doesn't have, by plan. Nothing where the facts aren't
    /// complete.
    pub(crate) planless: BTreeMap<&'a str, Vec<&'a Snapshot>>,
    /// Snapshots of volumes that are gone, where the policy keeps them for ever though a plan selects
    /// every volume.
    pub(crate) piling_up: Vec<&'a Snapshot>,
    /// The copies in other Regions.
    pub(crate) elsewhere: Vec<There<'a>>,
    /// The drills, and what of them is under way: also of drills that the policy no longer has.
    pub(crate) rounds: Vec<Round<'a>>,
    pub(crate) going: Vec<Going<'a>>,
}

/// Judges.
pub(crate) fn evaluate<'a>(facts: &'a Facts, policy: &'a Policy, now: Timestamp) -> Evaluation<'a> {
    let index = Index::of(&facts.snapshots, policy);
    let plans = planned(policy, now);
    let volumes = judged(facts, &plans, index, now);
    let elsewhere = copies::elsewhere(facts, policy, &volumes, now);
    let mut evaluation = Evaluation {
        facts,
        now,
        rounds: drills::rounds(facts, policy, &volumes, &elsewhere, now),
        going: drills::under_way(facts, now),
        plans,
        volumes,
        elsewhere,
        deletions: Deletions::default(),
        planless: BTreeMap::new(),
        piling_up: Vec::new(),
    };
    if facts.complete {
        let home = Place::home(facts, policy);
        let spared = copies::sources(facts, policy, &evaluation.elsewhere);
        evaluation.deletions = Deletions::of(facts, home, &spared, now);
        evaluation.planless = home.planless();
        evaluation.piling_up = piling_up(facts, policy);
    }
    evaluation
}

fn piling_up<'a>(facts: &'a Facts, policy: &Policy) -> Vec<&'a Snapshot> {
    if policy.orphans_after.is_some() || !policy.plans.0.iter().any(|p| p.select == Select::All) {
        return Vec::new();
    }
    let snapshots = facts.snapshots.iter();
    snapshots
        .filter(|snapshot| !facts.volumes.contains_key(&snapshot.volume))
        .collect()
}

/// Instances of volumes that lack a snapshot: only of these the AMI and root device matter.
pub(crate) fn instances_lacking(
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
) -> BTreeSet<String> {
    let index = Index::of(&facts.snapshots, policy);
    judged(facts, &planned(policy, now), index, now)
        .iter()
        .filter(|judged| {
            judged
                .standings
                .iter()
                .any(|s| matches!(s.need, Need::Due(..)))
        })
        .flat_map(|judged| &judged.volume.attachments)
        .map(|attachment| attachment.instance.clone())
        .collect()
}

fn planned(policy: &Policy, now: Timestamp) -> Vec<Planned<'_>> {
    let plans = policy.plans.0.iter();
    plans
        .map(|plan| Planned {
            plan,
            slot: plan.slot_at(now),
        })
        .collect()
}

fn judged<'a>(
    facts: &'a Facts,
    plans: &[Planned<'a>],
    mut index: Index<'a>,
    now: Timestamp,
) -> Vec<Judged<'a>> {
    let volumes = facts.volumes.values();
    volumes
        .map(|volume| Judged {
            volume,
            standings: plans
                .iter()
                .map(|planned| {
                    let snapshots = index.take(&volume.id, &planned.plan.name);
                    let selected = planned.plan.selects(volume, facts);
                    Standing::of(planned, volume, selected, snapshots, now)
                })
                .collect(),
            planless: index.take_rest(&volume.id),
        })
        .collect()
}
