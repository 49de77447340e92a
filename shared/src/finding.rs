//! Findings: what stands against the policy. Each is told once when it appears or changes and
//! once when it is cured; what was told is remembered in a tag on the resource that it is about.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::tags;

/// A kind of finding: what all findings of the kind have in common.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// Short name; the tag key is `ec2-guardrails:told-<name>`.
    pub name: &'static str,
    /// What one resource is that has it, for a subject: `volume without a fresh snapshot`.
    pub one: &'static str,
    /// The same of several.
    pub many: &'static str,
    /// What is true again once it is cured: `has a fresh snapshot again`.
    pub cured: &'static str,
    /// What a person does about it, and how to undo what was done.
    pub next: &'static str,
    /// How pressing it is.
    pub urgency: Urgency,
    /// What a person may want to run, printed ready to be copied.
    pub commands: &'static [Command],
}

/// How pressing a finding is: what needs a person first stands first in a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Harm goes on until a person acts.
    Now,
    /// A person has to decide or to repair something; meanwhile it doesn't get worse.
    Soon,
    /// Good to know.
    Know,
}

/// A command for a person.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Command {
    /// What it is for: `to put everything back as it was`.
    pub to: &'static str,
    /// What it is about; printed only with a finding on such a resource.
    pub on: On,
    /// What it runs.
    pub run: Run,
}

/// What a command runs.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Run {
    /// This command of the guardrail's own function.
    Invoke(&'static str),
    /// `aws` with these words, the resource's name after them.
    Aws(&'static str),
}

/// The resources that a command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Volume => "volume-id",
            Self::Instance => "instance-id",
            Self::Group => "group",
        }
    }

    /// Whether `resource` is such a resource.
    #[must_use]
    pub fn is(self, resource: &str) -> bool {
        resource.starts_with(match self {
            Self::Volume => "vol-",
            Self::Instance => "i-",
            Self::Group => AUTO_SCALING_GROUP,
        })
    }
}

/// How a finding names an Auto Scaling group, before the group's name.
pub const AUTO_SCALING_GROUP: &str = "auto-scaling-group/";
/// How a finding names an SSM parameter, before the parameter's name.
pub const PARAMETER: &str = "parameter/";

/// A resource's own name: its id, or what follows its type.
#[must_use]
pub fn name_of(resource: &str) -> &str {
    [AUTO_SCALING_GROUP, PARAMETER]
        .iter()
        .find_map(|kind| resource.strip_prefix(kind))
        .unwrap_or(resource)
}

impl Kind {
    /// The tag that remembers what was told.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("{}{}", tags::TOLD_PREFIX, self.name)
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn kind_name<S: serde::Serializer>(kind: &&'static Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name)
}

/// Something that stands against the policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The resource that it is about, and that remembers it: an EC2 resource id, or what the
    /// guardrail's `remember` knows.
    pub resource: String,
    /// Its kind.
    #[serde(serialize_with = "kind_name")]
    pub kind: &'static Kind,
    /// What is told again when it changes: the tag's value, cut to a tag's length.
    pub state: String,
    /// What a person reads: the resource, a colon, and why. A digest says once what several
    /// findings say in the same words after the colon.
    pub text: String,
}

/// What a resource's tags remember of an earlier telling.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The resource.
    pub resource: String,
    /// The kind.
    pub kind: &'static Kind,
    /// The state that was told.
    pub state: String,
    /// Whether this run has removed the resource, and the tag with it.
    pub gone: bool,
}

/// What a person doesn't know yet.
#[derive(Debug, Clone, PartialEq)]
pub enum News<'a> {
    /// New, or not as it was told.
    Stands(&'a Finding),
    /// No longer so.
    Cured(&'a Told),
}

impl News<'_> {
    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &'static Kind {
        match self {
            Self::Stands(finding) => finding.kind,
            Self::Cured(told) => told.kind,
        }
    }

    /// The resource.
    #[must_use]
    pub fn resource(&self) -> &str {
        match self {
            Self::Stands(finding) => &finding.resource,
            Self::Cured(told) => &told.resource,
        }
    }

    /// What the resource's tag is to remember; none once it is cured.
    #[must_use]
    pub fn value(&self) -> Option<String> {
        match self {
            Self::Stands(finding) => Some(tags::clip(&finding.state)),
            Self::Cured(_) => None,
        }
    }

    /// What a person reads.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Stands(finding) => finding.text.clone(),
            Self::Cured(told) => format!("{} {}", name_of(&told.resource), told.kind.cured),
        }
    }
}

/// Compares what stands with what was told.
#[must_use]
pub fn news<'a>(findings: &'a [Finding], told: &'a [Told]) -> Vec<News<'a>> {
    let remembered: BTreeMap<(&str, &str), &str> = told
        .iter()
        .map(|t| ((t.resource.as_str(), t.kind.name), t.state.as_str()))
        .collect();
    let standing: BTreeSet<(&str, &str)> = findings
        .iter()
        .map(|f| (f.resource.as_str(), f.kind.name))
        .collect();
    let appeared = findings
        .iter()
        .filter(|f| {
            remembered.get(&(f.resource.as_str(), f.kind.name))
                != Some(&tags::clip(&f.state).as_str())
        })
        .map(News::Stands);
    let cured = told
        .iter()
        .filter(|t| !standing.contains(&(t.resource.as_str(), t.kind.name)))
        .map(News::Cured);
    appeared.chain(cured).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) static STALE: Kind = Kind {
        name: "stale",
        one: "volume without a fresh snapshot",
        many: "volumes without a fresh snapshot",
        cured: "has a fresh snapshot again",
        next: "Read the reason beside each volume.",
        urgency: Urgency::Soon,
        commands: &[Command {
            to: "to see its plans, slots and snapshots",
            on: On::Volume,
            run: Run::Invoke("explain"),
        }],
    };

    fn finding(resource: &str, state: &str) -> Finding {
        Finding {
            resource: resource.to_owned(),
            kind: &STALE,
            state: state.to_owned(),
            text: format!("{resource} is stale"),
        }
    }

    fn told(resource: &str, state: &str) -> Told {
        Told {
            resource: resource.to_owned(),
            kind: &STALE,
            state: state.to_owned(),
            gone: false,
        }
    }

    #[test]
    fn tells_what_is_new_changed_or_cured_and_nothing_twice() {
        let long = "x".repeat(400);
        let findings = [
            finding("vol-new", "a"),
            finding("vol-same", "a"),
            finding("vol-changed", "b"),
            finding("vol-long", &long),
        ];
        let before = [
            told("vol-same", "a"),
            told("vol-changed", "a"),
            told("vol-cured", "a"),
            told("vol-long", &tags::clip(&long)),
        ];
        let news: Vec<(String, bool)> = news(&findings, &before)
            .iter()
            .map(|n| (n.resource().to_owned(), matches!(n, News::Cured(_))))
            .collect();
        assert_eq!(
            news,
            [
                ("vol-new".to_owned(), false),
                ("vol-changed".to_owned(), false),
                ("vol-cured".to_owned(), true),
            ]
        );
    }
}
