//! The notice as a chat channel has it: the custom notification of Amazon Q Developer in chat
//! applications (AWS Chatbot before), which shows nothing that isn't in its schema (SNS-2).
//!
//! Slack and Teams write links and emphasis differently, and one form goes to both: so there is
//! plain text, with links as `<https://…>`. There is no `threadId`, because an answer in a thread
//! is easily overlooked in the channel.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::digest::{Cause, Digest, Origin, capitalized, short};
use super::event;
use crate::condition::Urgency;
use crate::resource::Resource;

/// Longest title that Amazon Q Developer takes, in characters.
pub(super) const TITLE_MAX: usize = 250;
/// Longest description, in bytes: it takes 8,000 characters, but a block of a Slack message holds
/// 3,000, and who wants to read more opens the mail or the log.
pub(super) const DESCRIPTION_MAX: usize = 2_900;
/// Most causes of a kind that are listed, and most resources that are named with each.
const CAUSES_MAX: usize = 3;
const NAMED_MAX: usize = 3;
/// Longest cause, and longest name of a resource or a kind, in bytes.
const WHY_MAX: usize = 500;
const LABEL_MAX: usize = 200;
/// What of the description is kept for how many more there are.
const RESERVE: usize = 100;
/// Most steps beside the log, and most resources that the metadata lists.
const STEPS_MAX: usize = 6;
const RELATED_MAX: usize = 20;

/// Writes the custom notification.
pub(super) fn chat(
    origin: &Origin<'_>,
    subject: &str,
    firing: &[Digest<'_>],
    resolved: &[Digest<'_>],
) -> Value {
    let place = origin.place;
    let sign = match firing.first().map(|digest| digest.kind.urgency) {
        Some(Urgency::Now) => "🔴",
        Some(Urgency::Soon) => "🟠",
        Some(Urgency::Know) => "🔵",
        None => "🟢",
    };
    let digests = || firing.iter().chain(resolved);
    let related: Vec<&str> = digests()
        .flat_map(|digest| &digest.items)
        .map(|item| item.resource.name())
        .take(RELATED_MAX)
        .collect();
    json!({
        "version": "1.0",
        "source": "custom",
        "id": origin.request,
        "content": {
            "textType": "client-markdown",
            "title": short(&format!("{sign} {subject}"), TITLE_MAX),
            "description": description(origin, firing, resolved),
            "nextSteps": next_steps(origin, firing),
            "keywords": [origin.guardrail, place.account, place.region],
        },
        "metadata": {
            "summary": subject,
            "eventType": event::DETAIL_TYPE,
            "relatedResources": related,
            "additionalContext": {
                "guardrail": origin.guardrail,
                "account": place.account,
                "region": place.region,
                "function": place.function,
                "log-group": place.log_group,
                "request": origin.request,
            },
        },
    })
}

fn description(origin: &Origin<'_>, firing: &[Digest<'_>], resolved: &[Digest<'_>]) -> String {
    let place = origin.place;
    let mut text = format!("Account {}, {}.\n", place.account, place.region);
    let fits = |text: &str, more: &str| text.len() + more.len() <= DESCRIPTION_MAX - RESERVE;
    let mut left = 0;
    let digests = firing.iter().map(|digest| (digest, ""));
    let digests = digests.chain(resolved.iter().map(|digest| (digest, "resolved: ")));
    for (digest, before) in digests {
        let heading = escaped(&format!("{before}{}", digest.heading()));
        let heading = format!("\n{}\n", capitalized(&short(&heading, LABEL_MAX)));
        if !fits(&text, &heading) {
            left += digest.items.len();
            continue;
        }
        text.push_str(&heading);
        let mut more = digest.items.len();
        for cause in digest.causes().iter().take(CAUSES_MAX) {
            let line = format!("• {}\n", line(origin, cause));
            if fits(&text, &line) {
                text.push_str(&line);
                more -= cause.of.len();
            }
        }
        if more > 0 && fits(&text, "") {
            let _ = writeln!(text, "• and {more} more");
        }
    }
    if left > 0 {
        let _ = writeln!(text, "\nAnd {left} more: see the mail or the log.");
    }
    text
}

/// `i-1 (web): because … <https://…>`, or of several `50 of them: because … i-1, i-2 and 48 more`.
fn line(origin: &Origin<'_>, cause: &Cause<'_>) -> String {
    let why = short(&escaped(cause.why), WHY_MAX);
    let why = why.trim_end_matches('.');
    let link = |resource: &Resource| {
        origin
            .place
            .console(resource)
            .map_or_else(String::new, |link| format!(" <{link}>"))
    };
    if let [only] = cause.of.as_slice() {
        let label = short(&escaped(&only.label), LABEL_MAX);
        return format!("{label}: {why}{}", link(&only.resource));
    }
    let named: Vec<String> = cause
        .of
        .iter()
        .take(NAMED_MAX)
        .map(|one| {
            let label = short(&escaped(&one.label), LABEL_MAX);
            format!("{label}{}", link(&one.resource))
        })
        .collect();
    let more = match cause.of.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "{} of them: {why}: {}{more}",
        cause.of.len(),
        named.join(", ")
    )
}

fn next_steps(origin: &Origin<'_>, firing: &[Digest<'_>]) -> Vec<String> {
    let mut steps: Vec<String> = Vec::new();
    for digest in firing {
        steps.push(escaped(digest.kind.next));
        for (to, line) in digest.commands(origin.place) {
            let step = format!("{}: `{}`", escaped(&capitalized(&to)), escaped(&line));
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
    }
    steps.truncate(STEPS_MAX);
    steps.push(format!("Log of this run: <{}>", origin.log_page()));
    steps
}

/// `text` without what a chat takes for more than text, such as `<!channel>` in a resource's name.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
