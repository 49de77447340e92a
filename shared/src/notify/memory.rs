//! What is remembered of each condition that people were, or are to be, notified of.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::condition::Kind;
use crate::resource::Resource;
use crate::state::Topic;

/// Event runs send a notice no more often than once a minute: SNS switches an e-mail subscription
/// off that gets more than ten messages a second. An item expires with the second after this.
pub(super) const PACE: SignedDuration = SignedDuration::from_secs(59);

/// A notice of which it isn't known whether it went out is sent again after this, then after twice
/// as long, and so on up to a day.
const AGAIN: SignedDuration = SignedDuration::from_mins(5);
const AGAIN_MAX: SignedDuration = SignedDuration::from_hours(24);

pub(super) const NOTIFIED: Topic<Memory> = Topic::new("notified");
pub(super) const LAST_NOTICE: Topic<LastNotice> = Topic::new("last-notice");

/// When the last notice went out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LastNotice {
    pub(super) at: Timestamp,
}

/// What is remembered of a condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// That of the condition as it was told; none: it is resolved, and that isn't told yet.
    pub(super) fingerprint: Option<String>,
    /// What people call the resource.
    pub(super) label: String,
    pub(super) stage: Stage,
    /// Whether it is on the event bus.
    pub(super) on_bus: bool,
    /// Whether people were, or may have been, notified of it as it stood before.
    #[serde(default)]
    pub(super) told: bool,
}

impl Memory {
    /// Whether people may know that it stands.
    pub(super) fn is_known(&self) -> bool {
        self.told || (self.fingerprint.is_some() && self.stage != Stage::Held)
    }
}

/// How far the notice is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Stage {
    /// Nobody was notified yet.
    Held,
    /// It was about to go out.
    Sending {
        /// When.
        at: Timestamp,
        /// Which try that was.
        tries: u32,
    },
    /// It went out.
    Given,
}

/// Under which name a condition is remembered.
pub(super) fn name(resource: &Resource, kind: &Kind) -> String {
    format!("{resource}#{}", kind.name)
}

/// Reads [`name`]; none where the kind isn't among `kinds`.
pub(super) fn read_name(name: &str, kinds: &[&'static Kind]) -> Option<(Resource, &'static Kind)> {
    // A group's name may hold a `#`, a kind's can't.
    let (resource, kind) = name.rsplit_once('#')?;
    let kind = kinds.iter().find(|known| known.name == kind)?;
    Some((Resource::read(resource)?, kind))
}

/// Whether a condition that stands goes onto the bus and into a notice.
pub(super) fn firing(memory: Option<&Memory>, fingerprint: &str, now: Timestamp) -> (bool, bool) {
    match memory {
        Some(memory) if memory.fingerprint.as_deref() == Some(fingerprint) => {
            (!memory.on_bus, memory.stage.is_due(now))
        }
        _ => (true, true),
    }
}

/// The same of one that doesn't. Who wasn't notified of it needn't know that it is over.
pub(super) fn resolved(memory: Option<&Memory>, now: Timestamp) -> (bool, bool) {
    match memory {
        None => (false, false),
        Some(memory) if memory.fingerprint.is_none() => {
            (!memory.on_bus, memory.told && memory.stage.is_due(now))
        }
        Some(memory) => (true, memory.is_known()),
    }
}

impl Stage {
    fn is_due(&self, now: Timestamp) -> bool {
        match self {
            Self::Held => true,
            Self::Given => false,
            Self::Sending { at, tries } => {
                let pause = AGAIN.as_secs() << (*tries).saturating_sub(1).min(10);
                let pause = SignedDuration::from_secs(pause).min(AGAIN_MAX);
                at.checked_add(pause).is_ok_and(|due| due <= now)
            }
        }
    }
}
