//! One notice of all that is new in a run, in the form that each kind of subscriber reads.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::digest::{Digest, Origin};
use super::place::Place;
use super::{chat, subject, text};
use crate::condition::{Condition, Status};

/// A message to people.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Notice {
    /// What happened to what, in under 100 characters of ASCII.
    pub(super) subject: String,
    /// Why, what was done, what to do next, how to undo it: for mail.
    text: String,
    /// The same in short, as Amazon Q Developer in chat applications takes it.
    chat: Value,
    /// The subject and where, for a telephone: SNS sends it no subject.
    sms: String,
}

impl Notice {
    /// What is published, with `MessageStructure` `json` (SNS-1).
    ///
    /// A chat channel is subscribed by `https`. All other protocols get the text, as `default`: mail
    /// for people, queues and functions for those who forward it themselves; who wants data takes
    /// the findings from the event bus.
    pub(super) fn message(&self) -> String {
        json!({
            "default": self.text,
            "https": self.chat.to_string(),
            "sms": self.sms,
        })
        .to_string()
    }
}

/// Writes the notice of what has changed; none when nothing has.
pub(super) fn compose(origin: &Origin<'_>, changed: &[&Condition]) -> Option<Notice> {
    if changed.is_empty() {
        return None;
    }
    let firing = Digest::of(changed, Status::Firing);
    let resolved = Digest::of(changed, Status::Resolved);
    let subject = subject::subject(origin.guardrail, &firing, &resolved);
    let place = origin.place;
    Some(Notice {
        text: text::text(origin, &firing, &resolved),
        chat: chat::chat(origin, &subject, &firing, &resolved),
        sms: format!("{subject} ({}, {})", place.account, place.region),
        subject,
    })
}

/// Notices as the stack `ec2-guardrails` sends them, each of its own conditions: what tests show to
/// those who review the texts, and documents cite.
#[must_use]
pub fn examples(guardrail: &str, now: Timestamp, each: &[Vec<Condition>]) -> String {
    let function = format!("ec2-guardrails-{guardrail}");
    let arn = format!("arn:aws:lambda:eu-central-1:123456789012:function:{function}");
    let place = Place::of_function(&arn);
    let origin = Origin {
        guardrail,
        place: &place,
        request: "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
        now,
        by_person: false,
    };
    let sent = each
        .iter()
        .filter_map(|changed| compose(&origin, &changed.iter().collect::<Vec<_>>()));
    sent.map(|notice| format!("Subject: {}\n\n{}", notice.subject, notice.text))
        .collect::<Vec<_>>()
        .join("\n==========\n\n")
}

#[cfg(test)]
#[path = "tests/notice.rs"]
mod tests;
