//! What instances are launched from, and when two of them are the same. Pure.

use serde::{Deserialize, Serialize};

/// A version of a launch template.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Template {
    /// Its id, where AWS tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its name, where AWS tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A number, `$Latest` or `$Default`.
    pub version: String,
}

impl Template {
    pub fn number(&self) -> Option<u64> {
        self.version.parse().ok()
    }

    /// Whether both are versions of one template; none: one is known by its id alone and the other
    /// by its name alone.
    pub(crate) fn same_template(&self, other: &Self) -> Option<bool> {
        match (&self.id, &other.id, &self.name, &other.name) {
            (Some(a), Some(b), _, _) | (_, _, Some(a), Some(b)) => Some(a == b),
            _ => None,
        }
    }

    /// Where that can't be told of the templates, the version decides.
    fn same(&self, other: &Self) -> bool {
        self.same_template(other) != Some(false) && self.version == other.version
    }

    /// Whether an instance of `other` may come from this specification: `$Latest` means what the
    /// group launched at the time.
    fn may_be(&self, other: &Self) -> bool {
        let version = match (self.number(), other.number()) {
            (Some(wanted), Some(version)) => wanted == version,
            _ => true,
        };
        version && self.same_template(other) != Some(false)
    }
}

impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.name.as_ref().or(self.id.as_ref());
        let name = name.map_or("launch template", String::as_str);
        write!(f, "{name} version {}", self.version)
    }
}

/// What one entry of a mixed instances policy overrides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Override {
    /// The instance type or the requirements in its place, and the weight, written out.
    pub what: String,
    /// A template of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
}

/// What a group launches from: a launch template's version with what the group overrides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Source {
    #[serde(flatten)]
    pub template: Template,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
}

impl Source {
    fn templates(&self) -> impl Iterator<Item = &Template> {
        let own = self.overrides.iter();
        std::iter::once(&self.template).chain(own.filter_map(|each| each.template.as_ref()))
    }

    /// Whether every template is of a numbered version: AWS rolls back those only.
    pub fn is_numbered(&self) -> bool {
        self.templates().all(|template| template.number().is_some())
    }

    /// Whether instances launched from `self` are as those launched from `other`.
    pub fn same(&self, other: &Self) -> bool {
        let what = |source: &Self| -> Vec<String> {
            let overrides = source.overrides.iter();
            overrides.map(|each| each.what.clone()).collect()
        };
        let (mine, others) = (self.templates(), other.templates());
        what(self) == what(other)
            && self.templates().count() == other.templates().count()
            && mine.zip(others).all(|(a, b)| a.same(b))
    }

    /// Whether an instance of this template may have been launched from it.
    pub fn may_launch(&self, template: &Template) -> bool {
        self.templates().any(|each| each.may_be(template))
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.template.fmt(f)
    }
}
