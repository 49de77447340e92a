//! The kinds of condition that this guardrail reports.

use guardrails::condition::{Command, Kind, On, Run, Urgency};

/// All of them.
pub(crate) const KINDS: &[&Kind] = &[
    &STALE,
    &FAILED,
    &COPY_STALE,
    &COPY_FAILED,
    &COPY_FULL,
    &PROOF_FAILED,
    &PROOF_STALE,
    &DRILL_LEFT_BEHIND,
    &DELETION_LIMIT,
    &DISOWNED,
    &UNDELETABLE,
    &PLANLESS,
];

const EXPLAIN: Command = Command {
    to: "to see its plans, slots and snapshots",
    on: On::Volume,
    run: Run::Invoke("explain"),
};

/// On a volume.
pub(crate) static STALE: Kind = Kind {
    name: "stale",
    meaning: "The volume's newest completed snapshot is older than its plan's `schedule` and `grace` allow, and none is under way; archived ones don't count. Or no snapshot of it can be made any more: it is in state `error`, or on an Outpost or in a Local Zone.",
    one: "volume without a fresh snapshot",
    many: "volumes without a fresh snapshot",
    resolved: "has a fresh snapshot again, or no plan asks for one any more",
    next: "Each sweep goes on trying. Where a reason stands beside the volume, remove it. Where none does, see whether sweeps run at all (the alarm whose name ends in snapshot-volumes-not-running). A volume in state `error` has lost its data: make a new one from the snapshot that is named. A volume that needs no snapshots, or whose snapshots mustn't leave its Outpost or Local Zone: take it out of the plan by its tag.",
    urgency: Urgency::Now,
    commands: &[EXPLAIN],
};

/// On a volume.
pub(crate) static FAILED: Kind = Kind {
    name: "failed",
    meaning: "The volume's latest snapshot ended in `error`, and none has been completed since.",
    one: "failed snapshot",
    many: "failed snapshots",
    resolved: "has a completed snapshot again, or no plan asks for one any more",
    next: "The snapshot is made again by itself, in growing intervals. A reason that names a KMS key doesn't pass by itself: enable the key, let the account use it, or take the volume out of the plan by its tag. A failed snapshot protects nobody; it is removed once a later one is completed.",
    urgency: Urgency::Soon,
    commands: &[EXPLAIN],
};

/// On a volume.
pub(crate) static COPY_STALE: Kind = Kind {
    name: "copy-stale",
    meaning: "The volume's newest completed copy in another Region is older than the `slots` and `grace` of the plan's `copies` allow, and none is under way. A volume that never had one counts from its creation.",
    one: "volume without a fresh copy in another Region",
    many: "volumes without a fresh copy in another Region",
    resolved: "has a fresh copy again, or no plan asks for one any more",
    next: "Each sweep goes on trying, 20 copies at once in each Region. Where a reason stands beside the volume, remove it. Where it only waits for its turn, and `copies` isn't new: let sweeps come more often (the stack's parameter SweepSchedule), or copy fewer slots (`slots`).",
    urgency: Urgency::Soon,
    commands: &[EXPLAIN],
};

/// On a volume.
pub(crate) static COPY_FAILED: Kind = Kind {
    name: "copy-failed",
    meaning: "The volume's latest copy in another Region ended in `error`, and none has been completed since.",
    one: "failed copy in another Region",
    many: "failed copies in another Region",
    resolved: "has a completed copy again, or no longer a failed one",
    next: "The copy is made again by itself, in growing intervals, as long as its snapshot is there. A reason that names a KMS key doesn't pass by itself: enable the key over there, name it in the stack's parameter CopyKeyArns together with the key that the volume is encrypted with, or take `key` out of the plan's `copies`.",
    urgency: Urgency::Soon,
    commands: &[EXPLAIN],
};

/// On a volume.
pub(crate) static COPY_FULL: Kind = Kind {
    name: "copy-full",
    meaning: "The volume's newest copy in another Region has another KMS key than the one before, so AWS has copied the whole volume instead of what changed. It holds until the next copy.",
    one: "full copy to another Region because of another key",
    many: "full copies to another Region because of another key",
    resolved: "is copied by its changes again",
    next: "If the key was changed on purpose (in the plan's `copies`, behind its alias, or the Region's default for EBS): nothing; transfer and storage of the whole volume are charged once. Else put the key back before the next slot.",
    urgency: Urgency::Know,
    commands: &[EXPLAIN],
};

/// On a volume.
pub(crate) static PROOF_FAILED: Kind = Kind {
    name: "proof-failed",
    meaning: "A drill tried the volume's newest snapshot or copy, and it can't be restored as it should: a checksum is wrong, the disk is empty, or a volume made from it wasn't ready within 6 hours. No proof has come since.",
    one: "backup that a drill found wrong",
    many: "backups that a drill found wrong",
    resolved: "is proven again, or no drill tries it any more",
    next: "Take the reason seriously: make a volume from that snapshot by hand and look at what you need of it. An empty disk: see whether the application writes where you think. A checksum that is wrong, or a volume that ends in `error`: keep the older snapshots (the tag that `hold` names), take a new one, and ask AWS. The volume is tried again when its turn comes.",
    urgency: Urgency::Now,
    commands: &[EXPLAIN],
};

/// On a volume.
pub(crate) static PROOF_STALE: Kind = Kind {
    name: "proof-stale",
    meaning: "The last proof that the volume's backup can be restored is older than the drill's `proven-within`; a volume that never had one counts from when the drill and its first snapshot were there. Or it couldn't be tried for a day.",
    one: "backup without a fresh proof",
    many: "backups without a fresh proof",
    resolved: "is proven again, or no drill tries it any more",
    next: "Where a reason stands beside the volume, remove it: a key that drills may not use goes into the stack's parameter CopyKeyArns. Where none does, its turn doesn't come in time: let the drill try more `volumes`, or more often (`schedule`).",
    urgency: Urgency::Soon,
    commands: &[EXPLAIN],
};

/// On a volume that a drill made.
pub(crate) static DRILL_LEFT_BEHIND: Kind = Kind {
    name: "drill-left-behind",
    meaning: "A volume that a drill made is still there and isn't deleted: somebody attached it or changed its tag, AWS refuses to delete it, or it can't be looked at.",
    one: "volume that a drill left behind",
    many: "volumes that drills left behind",
    resolved: "is gone",
    next: "It costs until it is deleted. Detach it, or give it back its tag ec2-guardrails:drill, and the next sweep deletes it; or delete it by hand. If you want to keep it: nothing, it is left alone as long as it is attached or lacks the tag.",
    urgency: Urgency::Know,
    commands: &[],
};

/// On the account.
pub(crate) static DELETION_LIMIT: Kind = Kind {
    name: "deletion-limit",
    meaning: "A sweep would have deleted more snapshots than the policy's `brake` allows: a shortened `keep`, or something wrong. None was deleted.",
    one: "mass deletion held back",
    many: "mass deletions held back",
    resolved: "no longer has deletions that the limit holds back",
    next: "Nothing was deleted. Set `mode: observe` in the policy and run a sweep (docs/operations.md has the command): its answer lists what would go. Check `keep` and `orphans-after`. If the deletions are meant, set `brake: {percent: 100}` until they are done.",
    urgency: Urgency::Soon,
    commands: &[],
};

/// On a snapshot.
pub(crate) static DISOWNED: Kind = Kind {
    name: "disowned",
    meaning: "The snapshot's description says that this guardrail made it, but its tags say something else, or its slot is later than its start. It counts as nobody's: it fills no slot and is never deleted.",
    one: "snapshot that no longer counts as ours",
    many: "snapshots that no longer count as ours",
    resolved: "counts as ours again",
    next: "If somebody meant to keep it for good: nothing, it is never deleted. Else find out who changed its tags (CloudTrail: CreateTags, DeleteTags) and give it those back that its description names, or delete it. A slot later than the start comes from a wrong clock or was made by somebody else: delete it once it isn't needed.",
    urgency: Urgency::Know,
    commands: &[],
};

/// On a snapshot.
pub(crate) static UNDELETABLE: Kind = Kind {
    name: "undeletable",
    meaning: "No plan keeps the snapshot, and AWS refuses to delete it, though no lock, AMI or backup holds it: mostly because something denies it. It is tried again once a day, and the deletion limit doesn't count it.",
    one: "snapshot that AWS refuses to delete",
    many: "snapshots that AWS refuses to delete",
    resolved: "is no longer to be deleted, or can be",
    next: "If somebody means to keep it (a service control policy, a tag that forbids it): nothing, or hold it by the tag that `hold` names in the policy. Else allow ec2:DeleteSnapshot: the reason names what denies it.",
    urgency: Urgency::Know,
    commands: &[],
};

/// On the account.
pub(crate) static PLANLESS: Kind = Kind {
    name: "planless",
    meaning: "Snapshots carry the name of a plan that the policy doesn't have, because it was renamed or removed, or are copies in a Region that the plan no longer names. They are kept, and nothing prunes them.",
    one: "plan that is gone and has snapshots",
    many: "plans that are gone and have snapshots",
    resolved: "no longer has snapshots of plans that are gone",
    next: "A plan that was renamed: write its old name into the new plan's `formerly`, and its snapshots are that plan's. A plan that was removed: add one with that name and `keep: { last: 1 }` to prune them, or delete those that nobody needs. Copies in a Region: name the Region in the plan's `copies` again to have them pruned. Until then they stay, and cost.",
    urgency: Urgency::Know,
    commands: &[],
};
