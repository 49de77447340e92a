//! What was seen is written down, in every mode: what launches were like, and what parameters named
//! whose history AWS keeps to itself.

use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use guardrails::aws::ApiError;
use guardrails::state::Expect;
use jiff::Timestamp;

use crate::clients::Clients;
use crate::evaluate::Evaluation;
use crate::record::{KEPT, LAUNCH, PARAMETER, Value};

/// Writes at once.
const CONCURRENCY: usize = 16;

/// Writes down what a run saw that nobody asked a question of. Each by itself: one that can't be
/// written keeps no other from it.
pub(crate) async fn remember(
    clients: &Clients,
    evaluation: &Evaluation<'_>,
) -> Result<(), ApiError> {
    if !evaluation.facts.ask.is_reconcile() {
        return Ok(());
    }
    let at = evaluation.now;
    let moved = evaluation.moved().into_iter();
    let watched = join_all(moved.map(|(name, value)| watch(clients, name, value, at))).await;
    let seen: Vec<_> = stream::iter(evaluation.first_seen())
        .map(|(id, seen)| async move {
            let (until, absent) = (Some(KEPT.after(at)), Expect::Absent);
            let written = clients.state.put(&LAUNCH, &id, &seen, until, &absent, at);
            // Another run may have been first: what it saw stands.
            written.await.map(drop)
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    watched.into_iter().chain(seen).collect()
}

/// A conflict means that another run wrote at the same moment; what is missing the next one adds.
async fn watch(clients: &Clients, name: &str, value: Value, at: Timestamp) -> Result<(), ApiError> {
    let stored = clients.state.get(&PARAMETER, name, at).await?;
    let expect = Expect::read(stored.as_ref());
    let mut watched = stored.map(|stored| stored.value).unwrap_or_default();
    if !watched.add(value) {
        return Ok(());
    }
    let written = clients
        .state
        .put(&PARAMETER, name, &watched, None, &expect, at);
    written.await.map(drop)
}
