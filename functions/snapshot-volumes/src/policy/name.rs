//! What plans and drills may be called, and lists that have to say something.

use guardrails::text::quoted;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A list that isn't empty; `why` says what it would do if it were.
pub(super) fn not_empty<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
    why: &str,
) -> Result<Vec<T>, D::Error> {
    let list = Vec::deserialize(deserializer)?;
    if list.is_empty() {
        return Err(D::Error::custom(format!("an empty list {why}")));
    }
    Ok(list)
}

/// Whether `name` may be that of a plan or drill (`what`).
pub(super) fn check_name(what: &str, name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=40).contains(&name.len()) && !name.starts_with('-') && name.chars().all(allowed) {
        return Ok(());
    }
    Err(format!(
        "{what} name {}: expected 1 to 40 lower case letters, digits and dashes",
        quoted(name)
    ))
}
