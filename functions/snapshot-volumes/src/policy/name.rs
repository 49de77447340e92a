//! What plans and drills may be called.

use guardrails::text::quoted;

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
