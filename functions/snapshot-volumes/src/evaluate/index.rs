//! Snapshots by what they are for.

use std::collections::BTreeMap;

use crate::facts::Snapshot;
use crate::policy::Policy;

/// Snapshots by volume and plan, each list from old to new.
pub(super) struct Index<'a>(BTreeMap<&'a str, BTreeMap<&'a str, Vec<&'a Snapshot>>>);

impl<'a> Index<'a> {
    /// Sorts `snapshots`; their order doesn't matter. Those of a plan's former names are its own.
    pub(super) fn of(snapshots: &'a [Snapshot], policy: &'a Policy) -> Self {
        let mut index: BTreeMap<_, BTreeMap<_, Vec<&Snapshot>>> = BTreeMap::new();
        for snapshot in snapshots {
            let known = policy.plan(&snapshot.plan);
            let plan = known.map_or(&*snapshot.plan, |plan| plan.name.as_str());
            index
                .entry(snapshot.volume.as_str())
                .or_default()
                .entry(plan)
                .or_default()
                .push(snapshot);
        }
        for list in index.values_mut().flat_map(BTreeMap::values_mut) {
            list.sort_by(|a, b| a.order().cmp(&b.order()));
        }
        Self(index)
    }

    /// A volume's snapshots of a plan, from old to new.
    pub(super) fn take(&mut self, volume: &str, plan: &str) -> Vec<&'a Snapshot> {
        let of_volume = self.0.get_mut(volume);
        of_volume
            .and_then(|plans| plans.remove(plan))
            .unwrap_or_default()
    }

    /// A volume's snapshots of a plan, from old to new.
    pub(super) fn get(&self, volume: &str, plan: &str) -> &[&'a Snapshot] {
        let of_volume = self.0.get(volume);
        of_volume
            .and_then(|plans| plans.get(plan))
            .map_or(&[], Vec::as_slice)
    }

    /// What is left of a volume's snapshots, by plan.
    pub(super) fn take_rest(&mut self, volume: &str) -> Vec<&'a Snapshot> {
        let rest = self.0.remove(volume).unwrap_or_default();
        rest.into_values().flatten().collect()
    }

    /// Each volume with its snapshots of all plans.
    pub(super) fn volumes(&self) -> impl Iterator<Item = (&'a str, Vec<&'a Snapshot>)> {
        self.0.iter().map(|(volume, plans)| {
            let snapshots = plans.values().flatten().copied().collect();
            (*volume, snapshots)
        })
    }

    /// Each volume and plan with its snapshots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str, &[&'a Snapshot])> {
        self.0.iter().flat_map(|(volume, plans)| {
            plans
                .iter()
                .map(|(plan, list)| (*volume, *plan, list.as_slice()))
        })
    }
}
