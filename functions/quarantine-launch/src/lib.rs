//! Isolates launches from unapproved AMIs and keeps their state.

/// The guardrail's name.
pub const NAME: &str = "quarantine-launch";
