//! Values that the sections of several guardrails have.

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use serde::Deserialize;

/// Reads a positive length of time such as `6h`, `35m`, `14d` or `2w`.
pub fn positive_span(text: &str) -> Result<Span, String> {
    match text.parse::<Span>() {
        Ok(span) if span.is_positive() => Ok(span),
        _ => Err(format!(
            "\"{text}\" is no length of time; expected a number with a unit, such as 6h, 35m, 14d or 2w"
        )),
    }
}

/// A length of time; a day is 24 hours, a week seven of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Age(SignedDuration);

impl Age {
    /// So many minutes.
    #[must_use]
    pub const fn from_mins(minutes: i64) -> Self {
        Self(SignedDuration::from_mins(minutes))
    }

    /// So many hours.
    #[must_use]
    pub const fn from_hours(hours: i64) -> Self {
        Self(SignedDuration::from_hours(hours))
    }

    /// So long after `instant`; never, where that is out of range.
    #[must_use]
    pub fn after(self, instant: Timestamp) -> Timestamp {
        instant.checked_add(self.0).unwrap_or(Timestamp::MAX)
    }
}

impl std::fmt::Display for Age {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl TryFrom<String> for Age {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        positive_span(&text)?
            .to_duration(SpanRelativeTo::days_are_24_hours())
            .map(Self)
            .map_err(|_| {
                format!(
                    "\"{text}\": months and years have no fixed length here; write days or weeks"
                )
            })
    }
}

/// A tag, with one of some values or any.
#[derive(Debug, Clone, PartialEq)]
pub struct TagMatch {
    /// The tag's key.
    pub tag: String,
    /// The values; none means any.
    pub values: Option<Vec<String>>,
}

impl TagMatch {
    /// Whether a resource matches whose tag `self.tag` has this value, or that has no such tag.
    #[must_use]
    pub fn matches(&self, value: Option<&str>) -> bool {
        value.is_some_and(|value| {
            self.values
                .as_ref()
                .is_none_or(|values| values.iter().any(|wanted| wanted == value))
        })
    }

    /// Reads `tag` and `values` as they are written under `key`.
    pub fn checked(
        key: &str,
        tag: Option<String>,
        values: Option<Vec<String>>,
    ) -> Result<Option<Self>, String> {
        match (tag, values) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(format!("{key}: `values` without `tag`")),
            (Some(tag), _) if tag.is_empty() => Err(format!("{key}: `tag` is empty")),
            (Some(_), Some(values)) if values.is_empty() => Err(format!(
                "{key}: `values` is empty; leave it out to match any value"
            )),
            (Some(tag), values) => Ok(Some(Self { tag, values })),
        }
    }
}
