//! Reads one snapshot, here or in another Region.

use aws_sdk_ec2::types::{Snapshot, SnapshotState, StorageTier, Tag};
use guardrails::aws::timestamp;
use guardrails::policy::Exempt;

use crate::facts::State;
use crate::ownership::{Described, Owned};

/// Largest pages (EBS-7).
pub(super) const PAGE: i32 = 1_000;

/// None for one in the Recycle Bin: somebody deleted it, so it protects nobody and isn't ours to touch.
pub(super) fn state_of(found: &Snapshot) -> Option<State> {
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

/// Its tags.
pub(super) fn labelled(found: &Snapshot) -> Vec<(&str, &str)> {
    let tags = found.tags().iter();
    tags.filter_map(|tag: &Tag| Some((tag.key()?, tag.value()?)))
        .collect()
}

/// As ownership is read from it.
pub(super) fn described<'a>(
    found: &'a Snapshot,
    tags: &'a [(&'a str, &'a str)],
) -> Option<Described<'a>> {
    Some(Described {
        id: found.snapshot_id()?,
        volume: found.volume_id()?,
        description: found.description()?,
        started: timestamp(found.start_time()).unwrap_or_default(),
        tags,
    })
}

/// Whether it is held and archived.
pub(super) fn marked(
    mut owned: Owned,
    found: &Snapshot,
    tags: &[(&str, &str)],
    hold: &Exempt,
) -> Owned {
    if let Owned::Ours(snapshot) = &mut owned {
        let value = |key: &str| tags.iter().find(|(have, _)| *have == key).map(|(_, v)| *v);
        snapshot.held = hold.tag_of(value).is_some();
        // One that is restored for a time goes back (EBS-13).
        snapshot.archived = found.storage_tier() == Some(&StorageTier::Archive)
            || found.restore_expiry_time().is_some();
    }
    owned
}
