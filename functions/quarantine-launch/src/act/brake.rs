//! Places among what may be isolated within the time of the brake.
//!
//! A run that an event starts sees its own launches only, so two hundred of them would each think
//! that theirs is the first. So each takes a place in the table before it changes anything.

use guardrails::aws::ApiError;
use guardrails::state::{Expect, State};
use jiff::Timestamp;

use super::refusals::contended;
use crate::decide::Place;
use crate::record::{BRAKE, LATELY};

/// How often a place is asked for that others take at the same moment.
const TRIES: usize = 12;

/// Takes a place for `what`. Whether there is one; taken once, it stays its own.
pub(super) async fn take(
    state: &State,
    place: Option<&Place>,
    what: &str,
    at: Timestamp,
) -> Result<bool, ApiError> {
    let Some(place) = place else { return Ok(true) };
    let mut taken = place.taken.clone();
    for _ in 0..TRIES {
        let expect = Expect::read(taken.as_ref());
        let mut brake = taken.map(|stored| stored.value).unwrap_or_default();
        if !brake.take(what, place.limit, place.from, at) {
            return Ok(false);
        }
        let written = state.put(&BRAKE, LATELY, &brake, None, &expect, at).await?;
        if written.is_done() {
            return Ok(true);
        }
        taken = state.get(&BRAKE, LATELY, at).await?;
    }
    Err(contended("isolations of late"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{at, now};
    use futures::future::join_all;
    use guardrails::aws::ErrorKind;
    use guardrails::state::model::Model;

    /// Two hundred launches at once, each of which sees none but itself.
    #[tokio::test(start_paused = true)]
    async fn of_many_at_once_as_many_get_a_place_as_there_are() {
        let state = Model::default().state(crate::NAME);
        let place = Place {
            limit: 10,
            from: at("11:00"),
            taken: None,
        };
        let all = (0..200).map(|n| {
            let (state, place) = (state.clone(), place.clone());
            async move { take(&state, Some(&place), &format!("i-{n}"), now()).await }
        });
        let mut got = 0;
        for taken in join_all(all).await {
            match taken {
                Ok(taken) => got += usize::from(taken),
                // Asked anew by the runner.
                Err(error) => assert_eq!(error.kind, ErrorKind::Throttled),
            }
        }
        assert!(got <= 10, "{got}");
        let brake = state.get(&BRAKE, LATELY, now()).await.unwrap().unwrap();
        assert_eq!(brake.value.0.len(), got);
        // What has one keeps it.
        let (first, _) = brake.value.0.first_key_value().unwrap();
        assert!(take(&state, Some(&place), first, now()).await.unwrap());
        assert!(take(&state, None, "i-by-hand", now()).await.unwrap());
    }
}
