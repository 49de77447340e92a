//! Whether sweeps come to the end of their work.

use jiff::Timestamp;

use crate::aws::ApiError;
use crate::condition::{Condition, Kind, Urgency};
use crate::resource::Resource;
use crate::state::{Expect, State, Topic};

/// How many sweeps in a row must leave something before people are told: a full slot of a large
/// account may take two or three.
const SWEEPS: u32 = 4;
/// How many in a row have, up to [`SWEEPS`].
const LEFT: Topic<u32> = Topic::new("sweeps-that-left-work");
const ALL: &str = "all";

/// What every guardrail may report beside its own kinds.
pub static BEHIND: Kind = Kind {
    name: "behind",
    meaning: "Four sweeps in a row ended before all was done.",
    one: "guardrail that doesn't keep up",
    many: "guardrails that don't keep up",
    resolved: "a sweep has come to the end of its work again",
    next: "Each sweep goes on where the last one ended, most pressing first, so nothing is lost but time. Raise the stack's parameter Memory (more memory is more processor), have it sweep more often, or look in the log for what AWS throttles.",
    urgency: Urgency::Soon,
    commands: &[],
};

/// Counts a sweep that left so many actions for the next one: whether that has become the rule.
pub(super) async fn after(state: &State, left: u64, now: Timestamp) -> Result<Condition, ApiError> {
    let stored = state.get(&LEFT, ALL, now).await?;
    let before = stored.as_ref().map_or(0, |stored| stored.value);
    let count = if left == 0 {
        0
    } else {
        before.saturating_add(1).min(SWEEPS)
    };
    if count != before {
        // Of two sweeps at the same moment one counts.
        let expect = Expect::read(stored.as_ref());
        state.put(&LEFT, ALL, &count, None, &expect, now).await?;
    }
    Ok(if count < SWEEPS {
        Condition::resolved(Resource::Account, &BEHIND)
    } else {
        let why = format!(
            "its last {SWEEPS} sweeps ended before all was done; this one left {left} actions for the next"
        );
        // However many they are, it is the same trouble.
        Condition::firing(Resource::Account, &BEHIND, "behind", why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::Status;
    use crate::state::model::Model;

    #[tokio::test]
    async fn four_sweeps_in_a_row_that_leave_work_are_told_until_one_ends() {
        let table = Model::default();
        let state = table.state("snapshot-volumes");
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        for (left, status, writes) in [
            (0, Status::Resolved, 0),
            (7, Status::Resolved, 1),
            (1, Status::Resolved, 2),
            (0, Status::Resolved, 3),
            (1, Status::Resolved, 4),
            (1, Status::Resolved, 5),
            (1, Status::Resolved, 6),
            (900, Status::Firing, 7),
            (1, Status::Firing, 7),
            (0, Status::Resolved, 8),
        ] {
            let condition = after(&state, left, now).await.unwrap();
            assert_eq!(condition.status, status, "{left}");
            let calls = table.calls();
            let put = calls.iter().filter(|call| call.starts_with("PutItem"));
            assert_eq!(put.count(), writes, "{left}");
        }
    }
}
