//! The notice as a mail has it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::digest::{Digest, Origin, capitalized, short};

/// Most causes of a kind that are listed, and most resources of one cause; the log has them all.
const CAUSES_MAX: usize = 20;
const LISTED_MAX: usize = 20;
/// Most resources of a cause where the kind has several causes.
const LISTED_EACH: usize = 5;
/// Longest cause, in bytes.
const WHY_MAX: usize = 1_500;
/// No more is listed behind so many bytes. SNS takes 256 KiB of all forms together, and JSON may
/// write a character as two.
const TEXT_MAX: usize = 50_000;

/// Writes the text.
pub(super) fn text(origin: &Origin<'_>, firing: &[Digest<'_>], resolved: &[Digest<'_>]) -> String {
    let place = origin.place;
    let mut text = format!(
        "{} in account {}, {}, at {}{}.\n",
        origin.guardrail,
        place.account,
        place.region,
        origin.now.strftime("%Y-%m-%d %H:%M UTC"),
        if origin.by_person {
            ", ordered by a person"
        } else {
            ""
        }
    );
    let mut printed = BTreeSet::new();
    for digest in firing {
        heading(&mut text, &digest.heading());
        list(&mut text, origin, digest);
        let _ = write!(text, "\nWhat to do: {}\n", digest.kind.next);
        for (to, line) in digest.commands(place) {
            // Conditions of several kinds may be about one resource.
            if printed.insert(line.clone()) {
                let _ = write!(text, "\n{}:\n  {line}\n", capitalized(&to));
            }
        }
    }
    for digest in resolved {
        heading(&mut text, &format!("Resolved: {}", digest.heading()));
        list(&mut text, origin, digest);
    }
    let _ = write!(
        text,
        "\nYou are told once when something appears or changes, and once when it is resolved.\n\
         Log of this run (request {} in {}):\n  {}\n",
        origin.request,
        place.log_group,
        origin.log_page()
    );
    text
}

fn heading(text: &mut String, words: &str) {
    let words = capitalized(words);
    let _ = write!(text, "\n{words}\n{}\n", "-".repeat(words.chars().count()));
}

fn list(text: &mut String, origin: &Origin<'_>, digest: &Digest<'_>) {
    let causes = digest.causes();
    let mut listed = 0;
    for cause in causes.iter().take(CAUSES_MAX) {
        if text.len() > TEXT_MAX {
            break;
        }
        let why = short(cause.why, WHY_MAX);
        if let [only] = cause.of.as_slice() {
            let _ = writeln!(text, "* {}: {why}", short(&only.label, WHY_MAX));
            if let Some(link) = origin.place.console(&only.resource) {
                let _ = writeln!(text, "  {link}");
            }
        } else {
            let count = cause.of.len();
            let each = if digest.is_resolved() { "each " } else { "" };
            let (of, most) = match causes.len() {
                1 => (format!("All {count}"), LISTED_MAX),
                _ => (format!("{count} of them"), LISTED_EACH),
            };
            let _ = writeln!(text, "* {of}: {each}{why}");
            for one in cause.of.iter().take(most) {
                let link = origin.place.console(&one.resource);
                let link = link.map_or_else(String::new, |link| format!("  {link}"));
                let _ = writeln!(text, "  - {}{link}", short(&one.label, WHY_MAX));
            }
            if count > most {
                let _ = writeln!(text, "  - and {} more", count - most);
            }
        }
        listed += cause.of.len();
    }
    if listed < digest.items.len() {
        let _ = writeln!(
            text,
            "* and {} more: see the log",
            digest.items.len() - listed
        );
    }
}
