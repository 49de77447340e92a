//! The subject: what happened to what, whole words only, however much it is.

use super::digest::{Digest, capitalized};

/// Longest subject: SNS takes fewer than 100 characters. More than ASCII isn't shown rightly
/// by every mail program, and control characters are refused.
pub(super) const SUBJECT_MAX: usize = 99;

/// A part of the subject, from its longest form to its shortest.
struct Part {
    forms: Vec<String>,
    conditions: usize,
}

/// Writes the subject. When it is too long, parts lose their names from the last to the first,
/// then the last parts give way to their number.
pub(super) fn subject(guardrail: &str, firing: &[Digest<'_>], resolved: &[Digest<'_>]) -> String {
    let mut parts: Vec<Part> = firing.iter().map(stands).collect();
    parts.extend(resolved_part(resolved));
    for kept in (1..=parts.len()).rev() {
        let (parts, left) = parts.split_at(kept);
        let left = left.iter().map(|part| part.conditions).sum();
        let mut chosen = vec![0; kept];
        loop {
            let words: Vec<&str> = parts
                .iter()
                .zip(&chosen)
                .filter_map(|(part, form)| part.forms.get(*form).map(String::as_str))
                .collect();
            let text = line(guardrail, &words, left);
            if words.len() == kept && text.len() <= SUBJECT_MAX {
                return text;
            }
            let shorter = (0..kept).rfind(|at| chosen[*at] + 1 < parts[*at].forms.len());
            let Some(at) = shorter else { break };
            chosen[at] += 1;
        }
    }
    // No kind of condition is called by so many words that it comes to this.
    let all: usize = parts.iter().map(|part| part.conditions).sum();
    line(guardrail, &[&format!("{all} conditions")], 0)
}

fn line(guardrail: &str, parts: &[&str], left: usize) -> String {
    let parts = capitalized(&parts.join(", "));
    let more = if left > 0 {
        format!(" and {left} more")
    } else {
        String::new()
    };
    format!("[{guardrail}] {parts}{more}")
}

fn stands(digest: &Digest<'_>) -> Part {
    let count = digest.items.len();
    let forms = match digest.items.as_slice() {
        [_] => vec![digest.heading(), digest.kind.one.to_owned()],
        _ => vec![digest.heading()],
    };
    Part {
        forms: printable(forms),
        conditions: count,
    }
}

fn resolved_part(resolved: &[Digest<'_>]) -> Option<Part> {
    let all: Vec<_> = resolved.iter().flat_map(|digest| &digest.items).collect();
    let count = format!("{} resolved", all.len());
    let forms = match all.as_slice() {
        [] => return None,
        [only] => {
            let (one, name) = (only.kind.one, only.resource.name());
            vec![
                format!("resolved: {one} ({name})"),
                format!("resolved: {one}"),
                count,
            ]
        }
        _ => vec![count],
    };
    Some(Part {
        forms: printable(forms),
        conditions: all.len(),
    })
}

/// A name that can't be printed is left out rather than mangled.
fn printable(mut forms: Vec<String>) -> Vec<String> {
    forms.retain(|form| form.chars().all(|c| matches!(c, ' '..='~')));
    forms
}
