//! What is remembered: which snapshots AWS refused to delete.

use guardrails::state::Topic;
use jiff::SignedDuration;

use crate::facts::Refusal;

/// By snapshot.
pub(crate) const REFUSED: Topic<Refusal> = Topic::new("refused");
/// A refused deletion is tried again after so long: AWS doesn't say when a lock is lifted or an AMI
/// is gone.
pub(crate) const AGAIN_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// That AWS has refused once is remembered for so much longer: as long as the deletion is asked for,
/// the snapshot is no matter of the deletion limit.
pub(crate) const KNOWN_FOR: SignedDuration = SignedDuration::from_hours(24 * 30);
