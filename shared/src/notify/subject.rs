//! The subject: what happened to what, whole words only, however much it is.

use super::notice::{Topic, capitalized};
use crate::finding::name_of;

/// Longest subject: SNS takes fewer than 100 characters. More than ASCII isn't shown rightly
/// by every mail program, and control characters are refused.
pub(super) const SUBJECT_MAX: usize = 99;

/// A part of the subject, from its longest form to its shortest.
struct Part {
    forms: Vec<String>,
    findings: usize,
}

/// Writes the subject. When it is too long, parts lose their names from the last to the first,
/// then the last parts give way to their number.
pub(super) fn subject(guardrail: &str, standing: &[Topic<'_>], cured: &[Topic<'_>]) -> String {
    let mut parts: Vec<Part> = standing.iter().map(stands).collect();
    parts.extend(resolved(cured));
    for kept in (1..=parts.len()).rev() {
        let (parts, left) = parts.split_at(kept);
        let left = left.iter().map(|part| part.findings).sum();
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
    // No kind of finding is called by so many words that it comes to this.
    let all: usize = parts.iter().map(|part| part.findings).sum();
    line(guardrail, &[&format!("{all} findings")], 0)
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

fn stands(topic: &Topic<'_>) -> Part {
    let count = topic.items.len();
    let forms = match topic.items.as_slice() {
        [_] => vec![topic.heading(), topic.kind.one.to_owned()],
        _ => vec![topic.heading()],
    };
    Part {
        forms: printable(forms),
        findings: count,
    }
}

fn resolved(cured: &[Topic<'_>]) -> Option<Part> {
    let all: Vec<_> = cured.iter().flat_map(|topic| &topic.items).collect();
    let count = format!("{} resolved", all.len());
    let forms = match all.as_slice() {
        [] => return None,
        [only] => {
            let (one, name) = (only.kind().one, name_of(only.resource()));
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
        findings: all.len(),
    })
}

/// A name that can't be printed is left out rather than mangled.
fn printable(mut forms: Vec<String>) -> Vec<String> {
    forms.retain(|form| form.chars().all(|c| matches!(c, ' '..='~')));
    forms
}
