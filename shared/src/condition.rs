//! Conditions: what stands against the policy. A guardrail reports them; the runner alone compares
//! them with what people were notified of ([`crate::notify`]), and remembers.

use std::collections::HashSet;

use serde::{Serialize, Serializer};

use crate::resource::Resource;

/// A kind of condition: what all conditions of the kind have in common. The documents' tables are
/// written from it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// Short name, part of what is remembered: `stale`.
    pub name: &'static str,
    /// What it means, in one sentence for the documents.
    pub meaning: &'static str,
    /// What one resource is that has it, for a subject: `volume without a fresh snapshot`.
    pub one: &'static str,
    /// The same of several.
    pub many: &'static str,
    /// What is true once it is resolved: `has a fresh snapshot again`.
    pub resolved: &'static str,
    /// What a person does about it, and how to undo what was done.
    pub next: &'static str,
    /// How pressing it is.
    pub urgency: Urgency,
    /// What a person may want to run, printed ready to be copied.
    pub commands: &'static [Command],
}

/// By its name.
impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

/// How pressing a condition is: what needs a person first stands first in a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Harm goes on until a person acts.
    Now,
    /// A person has to decide or to repair something; meanwhile it doesn't get worse.
    Soon,
    /// Good to know.
    Know,
}

/// A command for a person.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Command {
    /// What it is for: `to put everything back as it was`.
    pub to: &'static str,
    /// What it is about; printed only with a condition of such a resource.
    pub on: On,
    /// What it runs.
    pub run: Run,
}

/// What a command runs.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Run {
    /// This command of the guardrail's own function.
    Invoke(&'static str),
    /// `aws` with these words, the resource's name after them.
    Aws(&'static str),
}

/// The resources that a command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum On {
    /// A volume.
    Volume,
    /// An instance.
    Instance,
    /// An Auto Scaling group.
    Group,
}

impl On {
    /// The key that names the resource in a command's payload.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Volume => "volume-id",
            Self::Instance => "instance-id",
            Self::Group => "group",
        }
    }

    /// Whether `resource` is such a resource.
    pub(crate) fn is(self, resource: &Resource) -> bool {
        matches!(
            (self, resource),
            (Self::Volume, Resource::Volume(_))
                | (Self::Instance, Resource::Instance(_))
                | (Self::Group, Resource::Group(_))
        )
    }
}

/// Whether a condition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It stands.
    Firing,
    /// It doesn't, as far as AWS says.
    Resolved,
    /// It can't be told now: what people were notified of is left standing.
    Unknown,
}

/// Whether something stands against the policy, of one resource and kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Condition {
    /// The resource.
    pub resource: Resource,
    /// What people call it: its id and its name.
    pub label: String,
    /// The kind.
    pub kind: &'static Kind,
    /// Whether it stands.
    pub status: Status,
    /// What changes when it is worth notifying again, and not otherwise.
    #[serde(skip)]
    pub fingerprint: String,
    /// Why, without the resource: a notice says once what several conditions say in the same words.
    pub why: String,
}

impl Condition {
    /// One that stands. `why` is what a person reads, and as long as `fingerprint` stays the same
    /// it isn't worth telling again.
    pub fn firing(
        resource: Resource,
        kind: &'static Kind,
        fingerprint: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self {
            label: resource.name().to_owned(),
            resource,
            kind,
            status: Status::Firing,
            fingerprint: fingerprint.into(),
            why: why.into(),
        }
    }

    /// One that doesn't stand (any more).
    #[must_use]
    pub fn resolved(resource: Resource, kind: &'static Kind) -> Self {
        Self {
            status: Status::Resolved,
            ..Self::firing(resource, kind, "", kind.resolved)
        }
    }

    /// One that can't be told now, and why.
    pub fn unknown(resource: Resource, kind: &'static Kind, why: impl Into<String>) -> Self {
        Self {
            status: Status::Unknown,
            ..Self::firing(resource, kind, "", why)
        }
    }

    /// With what people call the resource.
    #[must_use]
    pub fn called(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// `i-1 (web): because`.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}: {}", self.label, self.why)
    }
}

/// What the conditions of a run say about those that it doesn't name.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Coverage {
    /// Nothing: whatever isn't named is unknown.
    #[default]
    Named,
    /// All resources of these kinds were judged: what isn't named doesn't stand.
    All {
        /// The kinds that were judged everywhere.
        kinds: Vec<&'static Kind>,
        /// The resources that exist; what isn't among them is gone.
        present: HashSet<Resource>,
    },
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) static STALE: Kind = Kind {
        name: "stale",
        meaning: "No completed snapshot is as new as schedule and grace ask for.",
        one: "volume without a fresh snapshot",
        many: "volumes without a fresh snapshot",
        resolved: "has a fresh snapshot again",
        next: "Read the reason beside each volume.",
        urgency: Urgency::Soon,
        commands: &[Command {
            to: "to see its plans, slots and snapshots",
            on: On::Volume,
            run: Run::Invoke("explain"),
        }],
    };

    #[test]
    fn a_label_with_a_colon_stays_whole() {
        let condition = Condition::firing(Resource::instance("i-1"), &STALE, "x", "it is old")
            .called("i-1 (billing: blue)");
        assert_eq!(condition.text(), "i-1 (billing: blue): it is old");
        assert_eq!(
            serde_json::to_value(&condition).unwrap(),
            serde_json::json!({
                "resource": "i-1", "label": "i-1 (billing: blue)", "kind": "stale",
                "status": "firing", "why": "it is old"
            })
        );
    }
}
