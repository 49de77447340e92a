//! The least number of calls that a sweep can do with.

use std::collections::BTreeMap;

use crate::estate::Estate;

/// Calls by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Least(BTreeMap<&'static str, usize>);

impl Least {
    /// For one sweep of `estate`, by the largest pages and batches that AWS takes (EBS-7).
    ///
    /// Looking again before acting isn't in it: how often that must be done depends on how long
    /// the acting takes. Nor are calls that were throttled and had to be made again.
    pub(crate) fn of(estate: &Estate) -> Self {
        let sets = estate.lacking().count();
        let failing = estate.failing().count();
        let calls = [
            ("GetParameter", 1),
            ("DescribeVolumes", pages(estate.volumes.len(), 500)),
            ("DescribeSnapshots", pages(estate.owned(), 1_000)),
            // Root devices and AMIs matter only for what is made. By id where that is fewer.
            (
                "DescribeInstances",
                sets.div_ceil(200)
                    .min(estate.instances.len().div_ceil(1_000)),
            ),
            ("DescribeImages", usize::from(sets > 0)),
            ("CreateSnapshots", sets),
            ("DeleteSnapshot", estate.doomed().count()),
            ("Publish", usize::from(failing > 0)),
            ("PutEvents", failing.div_ceil(10)),
            ("CreateTags", failing.div_ceil(1_000)),
        ];
        Self(calls.into_iter().filter(|(_, calls)| *calls > 0).collect())
    }

    /// For the first run of a process, or for a later one within the minute that a policy is
    /// used without reading it again.
    pub(crate) fn in_run(&self, first: bool) -> Self {
        let mut least = self.clone();
        if !first {
            least.0.remove("GetParameter");
        }
        least
    }

    /// Of one name.
    pub(crate) fn of_call(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// The names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|name| *name as &str)
    }

    /// All together.
    pub(crate) fn total(&self) -> usize {
        self.0.values().sum()
    }
}

/// An empty list takes a page too.
fn pages(items: usize, size: usize) -> usize {
    items.div_ceil(size).max(1)
}
