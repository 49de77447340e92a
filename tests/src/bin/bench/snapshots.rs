//! Sweeps of snapshot-volumes.

mod ec2;
mod estate;

use crate::least::Least;

pub(crate) use estate::Volumes;

/// What a sweep finds, and so has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Every volume has its slot's snapshot: the common case, every quarter of an hour.
    Idle,
    /// Every volume lacks it, as in the first sweep of a slot.
    Slot,
    /// A tenth of all snapshots is no longer kept.
    Prune,
    /// The slot's snapshots of a tenth of all volumes failed: they are made again and told of.
    Failed,
}

/// The least calls for one sweep, by the largest pages and batches that AWS takes (EBS-7).
fn least(estate: &Volumes) -> Least {
    let sets = estate.lacking().count();
    let failing = estate.failing().count();
    Least::of([
        ("GetParameter", 1),
        ("DescribeVolumes", Least::pages(estate.volumes.len(), 500)),
        ("DescribeSnapshots", Least::pages(estate.owned(), 1_000)),
        // Root devices and AMIs matter only for what is made. By id, until reading all of them is
        // fewer for certain: how many others the account has isn't known.
        (
            "DescribeInstances",
            match sets {
                ..=1_000 => sets.div_ceil(200),
                _ => estate.instances.len().div_ceil(1_000),
            },
        ),
        ("DescribeImages", usize::from(sets > 0)),
        ("CreateSnapshots", sets),
        ("DeleteSnapshot", estate.doomed().count()),
        ("Publish", usize::from(failing > 0)),
        ("PutEvents", failing.div_ceil(10)),
        ("CreateTags", failing.div_ceil(1_000)),
    ])
}
