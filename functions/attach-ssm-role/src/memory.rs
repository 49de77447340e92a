//! What is remembered of instances, and what is read of another guardrail's memory.

use guardrails::policy::Age;
use guardrails::state::Topic;
use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// The instances that this guardrail gave its profile, by id.
pub(crate) const NODES: Topic<Managed> = Topic::new("node");

/// Those in quarantine, by id. Only that there is a record counts, whatever stands in it.
pub(crate) const QUARANTINE: Topic<IgnoredAny> = Topic::new("quarantine");

/// How long [`NODES`] are kept. By then the node has been Online, or AWS's own time of the
/// association says as much.
pub(crate) const KEPT: Age = Age::from_mins(90 * 24 * 60);

/// How an instance became a managed node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Managed {
    /// When this guardrail asked for its profile.
    pub(crate) attached: Timestamp,
    /// When it saw the node Online first.
    pub(crate) online: Option<Timestamp>,
    /// Whether a session could be opened since. Items from before this was asked for say nothing.
    #[serde(default = "connected")]
    pub(crate) connected: bool,
}

fn connected() -> bool {
    true
}
