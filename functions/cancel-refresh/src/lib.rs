//! Stops Auto Scaling instance refreshes that fail.

/// The guardrail's name.
pub const NAME: &str = "cancel-refresh";
