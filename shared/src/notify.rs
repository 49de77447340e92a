//! Notifying people: what of the conditions is new, changed or resolved goes into one notice (SNS)
//! and onto the default event bus, once; what people were notified of is remembered in the state
//! table.
//!
//! Before anything is sent the guardrail writes down that it is about to: whoever can't write that
//! sends nothing, so a table that can't be written makes a failed run and no mail at every sweep.
//! Killed in between, a notice comes twice, after a pause that doubles, never not at all. Of two
//! runs at once the first to write it down sends.

mod chat;
mod digest;
mod event;
mod memory;
mod notice;
mod place;
mod subject;
mod text;

use std::collections::{HashMap, HashSet};

use aws_config::SdkConfig;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use lambda_runtime::tracing;

use crate::aws::{ApiError, ErrorKind};
use crate::condition::{Condition, Coverage, Kind, Status};
use crate::guardrail::Assessment;
use crate::state::{Expect, State, Stored, Written};

pub(crate) use digest::Origin;
use memory::{LAST_NOTICE, LastNotice, Memory, NOTIFIED, PACE, Stage};
use notice::compose;
pub use notice::examples;
pub use place::OPERATOR;
pub(crate) use place::Place;

const PUT_EVENTS: &str = "events:PutEvents";
/// Most events per `PutEvents` (AWS takes 10), and how often those that the bus didn't take for want
/// of capacity are sent.
const EVENTS_AT_ONCE: usize = 10;
const EVENT_TRIES: usize = 3;
/// Reads and writes of the memory at once.
const CONCURRENCY: usize = 16;

/// Sends what has changed where it belongs, and remembers it.
#[derive(Debug)]
pub(crate) struct Notifier {
    events: aws_sdk_eventbridge::Client,
    sns: aws_sdk_sns::Client,
    topic_arn: String,
    state: State,
}

/// What came of notifying.
#[derive(Debug, Default)]
pub(crate) struct Notified {
    /// How many conditions are new, changed or resolved.
    pub(crate) changed: usize,
    /// Why people weren't notified, where that is nobody's failure.
    pub(crate) held_back: Option<String>,
    /// What went wrong; the rest was done all the same.
    pub(crate) errors: Vec<ApiError>,
}

/// A condition that isn't as it is remembered.
#[derive(Debug)]
struct Change {
    condition: Condition,
    /// Where it goes: onto the bus, into a notice.
    bus: bool,
    notice: bool,
    /// Whether a notice is due and was held back.
    held: bool,
    before: Option<Stored<Memory>>,
}

impl Change {
    fn name(&self) -> String {
        memory::name(&self.condition.resource, self.condition.kind)
    }

    fn is_firing(&self) -> bool {
        self.condition.status == Status::Firing
    }

    /// What is remembered of it at `stage`. What is resolved is remembered until that is told.
    fn memory(&self, stage: Stage, on_bus: bool) -> Memory {
        Memory {
            fingerprint: self.is_firing().then(|| self.condition.fingerprint.clone()),
            label: self.condition.label.clone(),
            stage,
            on_bus,
            told: (self.before.as_ref()).is_some_and(|before| before.value.is_known()),
        }
    }
}

impl Notifier {
    /// A notifier that publishes to `topic_arn`.
    pub(crate) fn new(config: &SdkConfig, topic_arn: String, state: State) -> Self {
        Self {
            events: aws_sdk_eventbridge::Client::new(config),
            sns: aws_sdk_sns::Client::new(config),
            topic_arn,
            state,
        }
    }

    /// Notifies of what in `assessment` differs from what is remembered. A run that isn't a sweep
    /// sends no notice within a minute of the last; the sweep tells the rest.
    pub(crate) async fn notify(
        &self,
        origin: &Origin<'_>,
        kinds: &[&'static Kind],
        assessment: &Assessment,
        is_sweep: bool,
    ) -> Notified {
        let mut notified = Notified::default();
        let remembered = match self.remembered(assessment, origin.now).await {
            Ok(remembered) => remembered,
            Err(error) => {
                notified.errors.push(error);
                return notified;
            }
        };
        let changes = changes(kinds, assessment, remembered, origin.now);
        notified.changed = changes.len();
        for Change { condition, .. } in &changes {
            tracing::warn!(
                resource = %condition.resource,
                kind = condition.kind.name,
                resolved = condition.status == Status::Resolved,
                "{}",
                condition.text()
            );
        }
        let wanted = changes.iter().any(|change| change.notice);
        if wanted {
            notified.held_back = self
                .holds_back(origin.now, is_sweep, &mut notified.errors)
                .await;
        }
        let send = notified.held_back.is_none();
        let claimed = self
            .claim(changes, send, origin.now, &mut notified.errors)
            .await;
        let told = send && self.publish(origin, &claimed, &mut notified.errors).await;
        let on_bus = self
            .put_events(origin, &claimed, &mut notified.errors)
            .await;
        self.remember(&claimed, told, &on_bus, origin.now, &mut notified.errors)
            .await;
        notified
    }

    /// What is remembered of the conditions that `assessment` says something about.
    async fn remembered(
        &self,
        assessment: &Assessment,
        now: Timestamp,
    ) -> Result<HashMap<String, Stored<Memory>>, ApiError> {
        let found = if matches!(assessment.coverage, Coverage::All { .. }) {
            self.state.list(&NOTIFIED, now).await?
        } else {
            let named = assessment.conditions.iter();
            let named: HashSet<String> = named
                .filter(|condition| condition.status != Status::Unknown)
                .map(|condition| memory::name(&condition.resource, condition.kind))
                .collect();
            let read: Vec<_> = stream::iter(named)
                .map(async |name| self.state.get(&NOTIFIED, &name, now).await)
                .buffer_unordered(CONCURRENCY)
                .collect()
                .await;
            let read: Result<Vec<_>, _> = read.into_iter().collect();
            read?.into_iter().flatten().collect()
        };
        let by_name = found
            .into_iter()
            .map(|stored| (stored.name.clone(), stored));
        Ok(by_name.collect())
    }

    /// Why no notice is sent now.
    async fn holds_back(
        &self,
        now: Timestamp,
        is_sweep: bool,
        errors: &mut Vec<ApiError>,
    ) -> Option<String> {
        match self.has_subscriber().await {
            Ok(true) => {}
            Ok(false) => {
                return Some(format!(
                    "topic {} has no confirmed subscription, so nobody was notified; subscribe an address and confirm it from its mail, and the next sweep tells what stands",
                    self.topic_arn
                ));
            }
            // Whether anybody listens isn't known; then it is better said.
            Err(error) => errors.push(error),
        }
        // Once it has expired it counts as absent.
        let (sent, until) = (LastNotice { at: now }, now.checked_add(PACE).ok());
        let expect = if is_sweep {
            Expect::Any
        } else {
            Expect::Absent
        };
        match self
            .state
            .put(&LAST_NOTICE, "all", &sent, until, &expect, now)
            .await
        {
            Ok(Written::Done(_)) => None,
            Ok(Written::Conflict) => Some(
                "the last notice is less than a minute old; the next sweep tells this".to_owned(),
            ),
            Err(error) => {
                errors.push(error);
                Some("that a notice goes out couldn't be written down".to_owned())
            }
        }
    }

    async fn has_subscriber(&self) -> Result<bool, ApiError> {
        let answer = self
            .sns
            .get_topic_attributes()
            .topic_arn(&self.topic_arn)
            .send()
            .await
            .map_err(|error| ApiError::of("sns:GetTopicAttributes", &error))?;
        let confirmed = answer
            .attributes()
            .and_then(|attributes| attributes.get("SubscriptionsConfirmed"))
            .and_then(|confirmed| confirmed.parse::<u64>().ok());
        // Without the number nothing is known, and then it is better said.
        Ok(confirmed != Some(0))
    }

    /// Writes down what is about to be sent. What couldn't be written isn't sent; what another run
    /// is about to send is left to it.
    async fn claim(
        &self,
        changes: Vec<Change>,
        send: bool,
        now: Timestamp,
        errors: &mut Vec<ApiError>,
    ) -> Vec<Change> {
        let claims: Vec<_> = stream::iter(changes)
            .map(async |mut change| {
                change.held = change.notice && !send;
                change.notice &= send;
                if change.held && !change.bus {
                    // It is on the bus already.
                    return Ok(None);
                }
                let before = change.before.as_ref().map(|before| &before.value.stage);
                let stage = match before {
                    Some(Stage::Sending { tries, .. }) if change.notice => Stage::Sending {
                        at: now,
                        tries: tries + 1,
                    },
                    _ if change.notice => Stage::Sending { at: now, tries: 1 },
                    // Only for the bus: what people were told stands.
                    Some(stage) if !change.held => stage.clone(),
                    _ => Stage::Held,
                };
                let value = change.memory(stage, !change.bus);
                let expect = Expect::read(change.before.as_ref());
                let name = change.name();
                let written = self
                    .state
                    .put(&NOTIFIED, &name, &value, None, &expect, now)
                    .await?;
                let Written::Done(version) = written else {
                    return Ok(None);
                };
                change.before = Some(Stored {
                    name,
                    value,
                    version,
                });
                Ok(Some(change))
            })
            .buffered(CONCURRENCY)
            .collect()
            .await;
        let mut claimed = Vec::with_capacity(claims.len());
        for claim in claims {
            match claim {
                Ok(change) => claimed.extend(change),
                Err(error) => errors.push(error),
            }
        }
        claimed
    }

    /// Whether the notice went out.
    async fn publish(
        &self,
        origin: &Origin<'_>,
        claimed: &[Change],
        errors: &mut Vec<ApiError>,
    ) -> bool {
        let wanted = claimed.iter().filter(|change| change.notice);
        let wanted: Vec<&Condition> = wanted.map(|change| &change.condition).collect();
        let Some(notice) = compose(origin, &wanted) else {
            return false;
        };
        let sent = self
            .sns
            .publish()
            .topic_arn(&self.topic_arn)
            .message_structure("json")
            .message(notice.message())
            .subject(notice.subject)
            .send()
            .await;
        match sent {
            Ok(_) => true,
            Err(error) => {
                errors.push(ApiError::of("sns:Publish", &error));
                false
            }
        }
    }

    /// Puts the changes onto the bus: for each whether it is there.
    async fn put_events(
        &self,
        origin: &Origin<'_>,
        claimed: &[Change],
        errors: &mut Vec<ApiError>,
    ) -> Vec<bool> {
        let mut there: Vec<bool> = claimed.iter().map(|change| !change.bus).collect();
        let mut open: Vec<usize> = (0..claimed.len()).filter(|at| !there[*at]).collect();
        for attempt in 1..=EVENT_TRIES {
            let mut again = Vec::new();
            for some in open.chunks(EVENTS_AT_ONCE) {
                let entries = some
                    .iter()
                    .map(|at| event::of(origin, &claimed[*at].condition));
                let answer = self
                    .events
                    .put_events()
                    .set_entries(Some(entries.collect()))
                    .send()
                    .await;
                let answer = match answer {
                    Ok(answer) => answer,
                    Err(error) => {
                        errors.push(ApiError::of(PUT_EVENTS, &error));
                        continue;
                    }
                };
                for (at, entry) in some.iter().zip(answer.entries()) {
                    let Some(code) = entry.error_code() else {
                        there[*at] = true;
                        continue;
                    };
                    let error = ApiError::coded(PUT_EVENTS, code, entry.error_message());
                    match error.kind {
                        ErrorKind::Throttled | ErrorKind::Unknown if attempt < EVENT_TRIES => {
                            again.push(*at);
                        }
                        _ => errors.push(error),
                    }
                }
                if answer.entries().len() < some.len() {
                    errors.push(ApiError::incomplete(
                        PUT_EVENTS,
                        "what became of some events",
                    ));
                }
            }
            open = again;
        }
        there
    }

    /// Writes down what was sent. Each by itself: one that fails doesn't keep the others from it.
    async fn remember(
        &self,
        claimed: &[Change],
        told: bool,
        on_bus: &[bool],
        now: Timestamp,
        errors: &mut Vec<ApiError>,
    ) {
        let writes: Vec<_> = stream::iter(claimed.iter().zip(on_bus))
            .map(async |(change, on_bus)| {
                let Some(claim) = &change.before else {
                    return Ok(Written::Conflict);
                };
                let expect = Expect::Version(claim.version.clone());
                let name = change.name();
                let stage = if change.notice && told {
                    Stage::Given
                } else {
                    // It may have gone out all the same: tried again, but not at every sweep.
                    claim.value.stage.clone()
                };
                // What is over is remembered until everybody knows it.
                let known = *on_bus && !change.held && !matches!(stage, Stage::Sending { .. });
                if !change.is_firing() && known {
                    return self.state.delete(&NOTIFIED, &name, &expect).await;
                }
                let memory = change.memory(stage, *on_bus);
                if memory == claim.value {
                    return Ok(Written::Conflict);
                }
                self.state
                    .put(&NOTIFIED, &name, &memory, None, &expect, now)
                    .await
            })
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        errors.extend(writes.into_iter().filter_map(Result::err));
    }
}

/// Compares the conditions with what is remembered.
fn changes(
    kinds: &[&'static Kind],
    assessment: &Assessment,
    mut remembered: HashMap<String, Stored<Memory>>,
    now: Timestamp,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for condition in &assessment.conditions {
        let name = memory::name(&condition.resource, condition.kind);
        let before = remembered.remove(&name);
        let memory = before.as_ref().map(|before| &before.value);
        let (bus, notice) = match condition.status {
            Status::Unknown => continue,
            Status::Firing => memory::firing(memory, &condition.fingerprint, now),
            Status::Resolved => memory::resolved(memory, now),
        };
        if bus || notice {
            changes.push(Change {
                condition: condition.clone(),
                bus,
                notice,
                held: false,
                before,
            });
        }
    }
    let Coverage::All {
        kinds: judged,
        present,
    } = &assessment.coverage
    else {
        return changes;
    };
    let mut rest: Vec<_> = remembered.into_values().collect();
    rest.sort_by(|a, b| a.name.cmp(&b.name));
    for mut before in rest {
        let Some((resource, kind)) = memory::read_name(&before.name, kinds) else {
            // Of a kind that there was in another version.
            continue;
        };
        if !judged.contains(&kind) {
            continue;
        }
        let gone = !present.contains(&resource);
        let (bus, mut notice) = memory::resolved(Some(&before.value), now);
        let mut condition = Condition::resolved(resource, kind).called(before.value.label.clone());
        if gone {
            // Nobody needs a mail of it, nor one that was due.
            "it is gone".clone_into(&mut condition.why);
            before.value.stage = Stage::Given;
            notice = false;
        }
        if bus || notice || gone {
            changes.push(Change {
                condition,
                bus,
                notice,
                held: false,
                before: Some(before),
            });
        }
    }
    changes
}

#[cfg(test)]
#[path = "notify/tests/notifier.rs"]
pub(crate) mod tests;
