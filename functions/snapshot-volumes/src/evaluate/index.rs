//! Snapshots by what they are for.

use std::collections::BTreeMap;

use crate::facts::Snapshot;

/// Snapshots by volume and plan, each list from old to new.
pub(super) struct Index<'a>(BTreeMap<&'a str, BTreeMap<&'a str, Vec<&'a Snapshot>>>);

impl<'a> Index<'a> {
    /// Sorts `snapshots`; their order doesn't matter.
    pub(super) fn of(snapshots: &'a [Snapshot]) -> Self {
        let mut index: BTreeMap<_, BTreeMap<_, Vec<&Snapshot>>> = BTreeMap::new();
        for snapshot in snapshots {
            index
                .entry(snapshot.volume.as_str())
                .or_default()
                .entry(&*snapshot.plan)
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

    /// Each volume and plan with its snapshots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str, &[&'a Snapshot])> {
        self.0.iter().flat_map(|(volume, plans)| {
            plans
                .iter()
                .map(|(plan, list)| (*volume, *plan, list.as_slice()))
        })
    }
}
