//! What has changed, by kind and cause, in words that all forms of a notice share.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;

use super::place::{OPERATOR, Place};
use crate::condition::{Command, Condition, Kind, Run, Status};
use crate::resource::Resource;

/// The run that tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) guardrail: &'a str,
    pub(crate) place: &'a Place,
    /// The request's id, by which its lines are found in the log.
    pub(crate) request: &'a str,
    /// When it started.
    pub(crate) now: Timestamp,
    /// Whether a person ordered it.
    pub(crate) by_person: bool,
}

impl Origin<'_> {
    /// The run's log in the console.
    pub(super) fn log_page(&self) -> String {
        self.place.log_page(self.request, self.now)
    }
}

/// All that has changed of a kind.
pub(super) struct Digest<'a> {
    pub(super) kind: &'static Kind,
    pub(super) items: Vec<&'a Condition>,
}

impl<'a> Digest<'a> {
    /// What has come to `status`, by kind: the most pressing first, else as it occurs.
    pub(super) fn of(changed: &[&'a Condition], status: Status) -> Vec<Self> {
        let mut digests: Vec<Self> = Vec::new();
        for condition in changed.iter().filter(|one| one.status == status) {
            match digests.iter_mut().find(|one| one.kind == condition.kind) {
                Some(digest) => digest.items.push(condition),
                None => digests.push(Self {
                    kind: condition.kind,
                    items: vec![condition],
                }),
            }
        }
        digests.sort_by_key(|digest| digest.kind.urgency);
        digests
    }

    /// Whether it is of what is resolved.
    pub(super) fn is_resolved(&self) -> bool {
        self.items.iter().all(|one| one.status == Status::Resolved)
    }

    /// `failed snapshot (vol-1)`, `3 failed snapshots`.
    pub(super) fn heading(&self) -> String {
        match self.items.as_slice() {
            [only] => format!("{} ({})", self.kind.one, only.resource.name()),
            several => format!("{} {}", several.len(), self.kind.many),
        }
    }

    /// What is said, each once, with those of which it is said: first what most have.
    pub(super) fn causes(&self) -> Vec<Cause<'a>> {
        let mut causes: Vec<Cause<'a>> = Vec::new();
        let mut known: HashMap<&str, usize> = HashMap::new();
        for condition in &self.items {
            let why = condition.why.as_str();
            let at = *known.entry(why).or_insert(causes.len());
            match causes.get_mut(at) {
                Some(cause) => cause.of.push(condition),
                None => causes.push(Cause {
                    why,
                    of: vec![condition],
                }),
            }
        }
        causes.sort_by_key(|cause| Reverse(cause.of.len()));
        causes
    }

    /// Commands for the first resource that each is for, with what it is for.
    pub(super) fn commands(&self, place: &Place) -> Vec<(String, String)> {
        let of = |command: &Command| {
            let mut resources = self.items.iter().map(|item| &item.resource);
            let name = resources
                .find(|one| command.on.is(one))
                .map(Resource::name)?;
            let others = if self.items.len() > 1 {
                format!("{} (here of {name})", command.to)
            } else {
                command.to.to_owned()
            };
            let region = &place.region;
            let line = match command.run {
                Run::Invoke(what) => {
                    let payload = format!(
                        r#"{{"trigger": "command", "command": "{what}", "{}": {}}}"#,
                        command.on.key(),
                        Value::from(name)
                    );
                    format!(
                        "aws lambda invoke --region {region} --function-name {} --qualifier {OPERATOR} --cli-read-timeout 920 --cli-binary-format raw-in-base64-out --payload {} /dev/stdout",
                        place.function,
                        quoted(&payload)
                    )
                }
                Run::Aws(words) => format!("aws {words} {} --region {region}", quoted(name)),
            };
            Some((others, line))
        };
        self.kind.commands.iter().filter_map(of).collect()
    }
}

/// What is said, and of which conditions.
pub(super) struct Cause<'a> {
    pub(super) why: &'a str,
    pub(super) of: Vec<&'a Condition>,
}

/// `text` as one word of a shell, whatever it holds: a group's name is chosen by whoever makes it.
fn quoted(text: &str) -> String {
    // What no shell can pass on is no resource's name.
    shlex::try_quote(text).map_or_else(|_| String::new(), Cow::into_owned)
}

/// `text` in one line, cut between two words to at most `most` bytes.
pub(super) fn short(text: &str, most: usize) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.len() <= most {
        return text;
    }
    let end = text.floor_char_boundary(most.saturating_sub(" …".len()));
    let (head, _) = text.split_at(end);
    // A word longer than the whole is cut after all.
    let head = head.rfind(' ').map_or(head, |space| head.split_at(space).0);
    format!("{} …", head.trim_end())
}

pub(super) fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    rest.next()
        .map(|first| first.to_uppercase().chain(rest).collect())
        .unwrap_or_default()
}
