//! Which snapshots and copies go, and what holds them back.

use guardrails::guardrail::Decision;
use guardrails::resource::Resource;

use crate::action::{Action, Delete};
use crate::evaluate::{Deletion, Deletions};

/// Delete one.
pub(super) const DELETE: &str = "delete-snapshot";

/// Of one Region; none: the stack's own.
pub(super) fn deletions(deletions: &Deletions<'_>, region: Option<&str>) -> Vec<Decision<Action>> {
    let act = |one| deletion(one, region);
    let mut decisions: Vec<_> = deletions.failed.iter().map(act).collect();
    decisions.extend(deletions.refused.iter().filter_map(refused));
    match &deletions.over_limit {
        None => decisions.extend(deletions.unkept.iter().map(act)),
        Some(over) => decisions.push(Decision::leave(
            Resource::Account,
            DELETE,
            format!(
                "over the deletion limit: {} of {} {} would be deleted, {} the oldest of them; none is",
                over.unkept,
                over.owned,
                region.map_or("snapshots".to_owned(), |region| format!("copies in {region}")),
                over.oldest.id
            ),
        )),
    }
    decisions
}

fn deletion(deletion: &Deletion<'_>, region: Option<&str>) -> Decision<Action> {
    let snapshot = deletion.snapshot;
    Decision::act(
        Resource::Snapshot(snapshot.id.clone()),
        DELETE,
        format!(
            "plan {}, slot {}, of {}{}: {}",
            snapshot.plan,
            snapshot.slot,
            snapshot.volume,
            region.map_or(String::new(), |region| format!(", copied to {region}")),
            deletion.reason
        ),
        Action::Delete(Delete {
            region: region.map(str::to_owned),
            snapshot: snapshot.id.clone(),
            keeper: deletion.keeper.map(str::to_owned),
            known_refused: deletion.refusal.is_some_and(|refusal| refusal.unmeant),
        }),
    )
}

/// What AWS has refused isn't asked for again at each sweep.
fn refused(deletion: &Deletion<'_>) -> Option<Decision<Action>> {
    let refusal = deletion.refusal?;
    Some(Decision::leave(
        Resource::Snapshot(deletion.snapshot.id.clone()),
        DELETE,
        format!(
            "{}, but AWS keeps it ({}); tried again after {}",
            deletion.reason,
            refusal.why,
            refusal.again.strftime("%Y-%m-%d %H:%M UTC")
        ),
    ))
}
