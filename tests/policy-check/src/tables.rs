//! The documents' tables of conditions, written from the code, so that no sentence stands twice.

use std::fmt::Write as _;

use guardrails::condition::{Kind, Urgency};
use guardrails::guardrail::Guardrail;
use guardrails::runner::BEHIND;

/// The guardrails with the kinds of condition that each reports.
pub const GUARDRAILS: [(&str, &[&Kind]); 5] = [
    ("every guardrail", &[&BEHIND]),
    of::<snapshot_volumes::SnapshotVolumes>(),
    of::<attach_ssm_role::AttachSsmRole>(),
    of::<cancel_refresh::CancelRefresh>(),
    of::<quarantine_launch::QuarantineLaunch>(),
];

const fn of<G: Guardrail>() -> (&'static str, &'static [&'static Kind]) {
    (G::NAME, G::KINDS)
}

/// A document with each table between `<!-- conditions: GUARDRAIL -->` and `<!-- /conditions -->`
/// written anew, or why it can't be.
pub fn rewritten(document: &str) -> Result<String, String> {
    // Alone on its line: elsewhere a document only speaks of it.
    const BEGIN: &str = "\n<!-- conditions: ";
    const END: &str = "<!-- /conditions -->";
    let mut parts = document.split(BEGIN);
    let mut written = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(" -->").ok_or("a mark isn't closed")?;
        let (_, rest) = rest
            .split_once(END)
            .ok_or_else(|| format!("the table of {name} has no end"))?;
        let (_, kinds) = GUARDRAILS
            .iter()
            .find(|(guardrail, _)| *guardrail == name)
            .ok_or_else(|| format!("there is no guardrail {name}"))?;
        let _ = write!(written, "{BEGIN}{name} -->\n{}{END}{rest}", table(kinds));
    }
    Ok(written)
}

fn table(kinds: &[&Kind]) -> String {
    let mut table =
        "| condition | how pressing | means | what to do |\n| --- | --- | --- | --- |\n".to_owned();
    for kind in kinds {
        let urgency = match kind.urgency {
            Urgency::Now => "now",
            Urgency::Soon => "soon",
            Urgency::Know => "good to know",
        };
        let _ = writeln!(
            table,
            "| **{}** (`{}`) | {urgency} | {} | {} |",
            capitalized(kind.one),
            kind.name,
            kind.meaning,
            kind.next
        );
    }
    table
}

fn capitalized(text: &str) -> String {
    let (first, rest) = text.split_at(text.len().min(1));
    first.to_uppercase() + rest
}
