//! What is remembered: which snapshots AWS refused to delete, which copies were asked for, and what
//! drills have shown.

use guardrails::state::Topic;
use jiff::{SignedDuration, Timestamp};

use crate::facts::drills::Record;
use crate::facts::{Refusal, Try};

/// By snapshot.
pub(crate) const REFUSED: Topic<Refusal> = Topic::new("refused");
/// A refused deletion is tried again after so long: AWS doesn't say when a lock is lifted or an AMI
/// is gone.
pub(crate) const AGAIN_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// That AWS has refused once is remembered for so much longer: as long as the deletion is asked for,
/// the snapshot is no matter of the deletion limit.
pub(crate) const KNOWN_FOR: SignedDuration = SignedDuration::from_hours(24 * 30);

/// By [`crate::facts::try_name`]: written down before a copy is asked for, so that no two runs ask
/// for the same, whatever either of them sees (EBS-1; AWS has no limit per volume here, as EBS-5 is).
pub(crate) const TRIES: Topic<Try> = Topic::new("copy");
/// Whether a copy was made is seen after so long: an answer that was lost is no matter any more.
pub(crate) const SEEN_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// What AWS has refused is asked for again after so long.
pub(crate) const COPY_AGAIN_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// By [`crate::facts::drills::key`].
pub(crate) const PROOFS: Topic<Record> = Topic::new("proof");
/// Since when there is a drill, by its name; and by [`crate::facts::drills::key`] since when it asks
/// for the first proof of a volume: the snapshots that tell are pruned.
pub(crate) const DRILLS: Topic<Timestamp> = Topic::new("drill");
/// What nobody has tried for so long is forgotten, unless something is under way; so is since when a
/// first proof is asked for.
pub(crate) const PROOFS_KEPT_FOR: SignedDuration = SignedDuration::from_hours(24 * 730);
