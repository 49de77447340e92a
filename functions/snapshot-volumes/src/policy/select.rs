//! Which volumes a plan is for.

use guardrails::ec2;
use guardrails::policy::TagMatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::facts::{Attachment, Facts, Instance, Volume};

/// Which volumes a plan selects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawSelect", into = "RawSelect")]
pub enum Select {
    /// Every volume.
    All,
    /// Those with a tag, or on an instance with one.
    Tag(TagOf),
}

/// Which selected volumes a plan leaves out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawExclude", into = "RawExclude")]
pub struct Exclude {
    /// Those with a tag, or on an instance with one.
    pub tag: Option<TagOf>,
    /// Root volumes of instances.
    pub boot: bool,
}

/// Whether a plan is for a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selected {
    /// It is.
    Yes,
    /// It isn't.
    No,
    /// That hangs on an instance that wasn't found.
    Unknown,
}

/// A tag, and on what it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct TagOf {
    /// The tag.
    pub matching: TagMatch,
    /// Whose it is.
    pub of: Of,
}

/// Whose tag it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Of {
    /// The volume's own.
    #[default]
    Volume,
    /// That of an instance to which the volume is attached, now or later.
    Instance,
}

impl Select {
    /// Whether it selects `volume`; none: the instance that would tell wasn't found.
    pub(super) fn matches(&self, volume: &Volume, facts: &Facts) -> Option<bool> {
        match self {
            Self::All => Some(true),
            Self::Tag(tag) => tag.matches(volume, facts),
        }
    }

    /// Whether it takes the instances' tags.
    pub(super) fn needs_instances(&self) -> bool {
        matches!(self, Self::Tag(tag) if tag.of == Of::Instance)
    }
}

impl Exclude {
    /// Whether it leaves out `volume`; none: the instance that would tell wasn't found.
    pub(super) fn matches(&self, volume: &Volume, facts: &Facts) -> Option<bool> {
        let by_tag = self
            .tag
            .as_ref()
            .map_or(Some(false), |tag| tag.matches(volume, facts));
        let as_root = |instance: &Instance, attachment: &Attachment| {
            instance.root_device.as_deref() == Some(&attachment.device)
        };
        let by_boot = if self.boot {
            of_any_instance(volume, facts, as_root)
        } else {
            Some(false)
        };
        match (by_tag, by_boot) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        }
    }

    /// Whether it takes the instances' root devices or tags.
    pub(super) fn needs_instances(&self) -> bool {
        self.boot || self.tag.as_ref().is_some_and(|tag| tag.of == Of::Instance)
    }
}

impl TagOf {
    fn matches(&self, volume: &Volume, facts: &Facts) -> Option<bool> {
        let key = &self.matching.tag;
        match self.of {
            Of::Volume => Some(self.matching.matches(volume.tag(key))),
            Of::Instance => of_any_instance(volume, facts, |instance, _| {
                self.matching.matches(ec2::tag(&instance.tags, key))
            }),
        }
    }
}

/// Whether `holds` of an instance of the volume's; none: it doesn't of those that were found, and
/// another wasn't.
fn of_any_instance(
    volume: &Volume,
    facts: &Facts,
    holds: impl Fn(&Instance, &Attachment) -> bool,
) -> Option<bool> {
    let mut seen_all = true;
    for attachment in &volume.attachments {
        match facts.instances.get(&attachment.instance) {
            Some(instance) if holds(instance, attachment) => return Some(true),
            Some(_) => {}
            None => seen_all = false,
        }
    }
    seen_all.then_some(false)
}

/// Which volumes: exactly one of `tag` and `all`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend(
    "anyOf" = [{"required": ["tag"]}, {"required": ["all"]}],
    "dependencies" = {"values": ["tag"], "of": ["tag"]}
))]
struct RawSelect {
    /// The key of the tag that selects.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    tag: Option<String>,
    /// The values that select; left out: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    values: Option<Vec<String>>,
    /// Whose tag: the volume's own (the default), or that of the instance it is attached to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Of")]
    of: Option<Of>,
    /// Every volume.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    all: bool,
}

impl TryFrom<RawSelect> for Select {
    type Error = String;

    fn try_from(raw: RawSelect) -> Result<Self, String> {
        match (TagOf::checked(raw.tag, raw.values, raw.of)?, raw.all) {
            (Some(tag), false) => Ok(Self::Tag(tag)),
            (None, true) => Ok(Self::All),
            _ => Err("expected either `tag` (and `values`) or `all: true`".to_owned()),
        }
    }
}

impl From<Select> for RawSelect {
    fn from(select: Select) -> Self {
        let (all, tag) = match select {
            Select::All => (true, None),
            Select::Tag(tag) => (false, Some(tag)),
        };
        let (tag, values, of) = TagOf::written(tag);
        Self {
            tag,
            values,
            of,
            all,
        }
    }
}

/// Which volumes not.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[schemars(extend("dependencies" = {"values": ["tag"], "of": ["tag"]}))]
struct RawExclude {
    /// The key of the tag that excludes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    tag: Option<String>,
    /// The values that exclude; left out: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    values: Option<Vec<String>>,
    /// Whose tag: the volume's own (the default), or that of the instance it is attached to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Of")]
    of: Option<Of>,
    /// Root volumes of instances.
    boot: bool,
}

impl TryFrom<RawExclude> for Exclude {
    type Error = String;

    fn try_from(raw: RawExclude) -> Result<Self, String> {
        Ok(Self {
            tag: TagOf::checked(raw.tag, raw.values, raw.of)?,
            boot: raw.boot,
        })
    }
}

impl From<Exclude> for RawExclude {
    fn from(exclude: Exclude) -> Self {
        let boot = exclude.boot;
        let (tag, values, of) = TagOf::written(exclude.tag);
        Self {
            tag,
            values,
            of,
            boot,
        }
    }
}

impl TagOf {
    fn checked(
        tag: Option<String>,
        values: Option<Vec<String>>,
        of: Option<Of>,
    ) -> Result<Option<Self>, String> {
        match (TagMatch::checked(tag, values)?, of) {
            (None, Some(_)) => Err("`of` without `tag`".to_owned()),
            (matching, of) => Ok(matching.map(|matching| Self {
                matching,
                of: of.unwrap_or_default(),
            })),
        }
    }

    fn written(this: Option<Self>) -> (Option<String>, Option<Vec<String>>, Option<Of>) {
        let of = this.as_ref().map(|this| this.of);
        let (tag, values) = TagMatch::written(this.map(|this| this.matching));
        (tag, values, of.filter(|of| *of != Of::Volume))
    }
}
