//! Values that the sections of several guardrails have.

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::quoted;

/// Reads a positive length of time such as `6h`, `35m`, `14d` or `2w`.
pub fn positive_span(text: &str) -> Result<Span, String> {
    match text.parse::<Span>() {
        Ok(span) if span.is_positive() => Ok(span),
        _ => Err(format!(
            "{} is no length of time; expected a number with a unit, such as 6h, 35m, 14d or 2w",
            quoted(text)
        )),
    }
}

/// Reads how long something is kept: hours or more, such as `36h`, `14d`, `2w`, `6mo` or `1y`.
///
/// restic's `6m` is six months. Read as six minutes it would delete what was meant to be kept, so
/// minutes and what is below them are refused.
pub fn keeping_span(text: &str) -> Result<Span, String> {
    let read = |text: &str| positive_span(text).map(|span| (has_minutes(&span), span));
    let months = months_for_minutes(text);
    match (read(text), read(&months)) {
        (Ok((false, span)), _) => Ok(span),
        (_, Ok((false, _))) => Err(format!(
            "{}: `m` is minutes, and nothing is kept by the minute; for months write {}",
            quoted(text),
            quoted(&months)
        )),
        (Ok((true, _)), _) => Err(format!(
            "{}: nothing is kept by minutes or seconds; write hours (h), days (d), weeks (w), months (mo) or years (y)",
            quoted(text)
        )),
        (Err(problem), _) => Err(problem),
    }
}

/// Whether a span has minutes or what is below them.
#[must_use]
pub fn has_minutes(span: &Span) -> bool {
    span.get_minutes() != 0
        || span.get_seconds() != 0
        || span.get_milliseconds() != 0
        || span.get_microseconds() != 0
        || span.get_nanoseconds() != 0
}

/// `1y6m` as `1y6mo`.
fn months_for_minutes(text: &str) -> String {
    let mut written = String::with_capacity(text.len() + 2);
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        written.push(c);
        let ends = rest.peek().is_none_or(|next| !next.is_alphabetic());
        if c == 'm' && ends && !before.is_alphabetic() {
            written.push('o');
        }
        before = c;
    }
    written
}

/// What every length of time that [`positive_span`] reads has: a number with a unit (or a colon).
/// For the schema, which can't say more without refusing what the parser takes.
pub const SPAN_PATTERN: &str = "[0-9] *[A-Za-zµμ:]";

/// A length of time; a day is 24 hours, a week seven of them.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    inline,
    extend("examples" = ["35m", "6h", "14d", "2w"], "pattern" = SPAN_PATTERN)
)]
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

    /// Between two instants, however they are ordered.
    #[must_use]
    pub fn between(one: Timestamp, other: Timestamp) -> Self {
        Self(one.duration_since(other).abs())
    }

    /// So long before `instant`; the beginning of time, where that is out of range.
    #[must_use]
    pub fn before(self, instant: Timestamp) -> Timestamp {
        instant.checked_sub(self.0).unwrap_or(Timestamp::MIN)
    }

    /// So long after `instant`; never, where that is out of range.
    #[must_use]
    pub fn after(self, instant: Timestamp) -> Timestamp {
        instant.checked_add(self.0).unwrap_or(Timestamp::MAX)
    }
}

/// As a document writes it: in the longest unit that divides it, such as `6h`, `90m` or `180d`.
impl std::fmt::Display for Age {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [(i64, char); 4] = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
        let seconds = self.0.as_secs();
        let unit = UNITS.iter().find(|(unit, _)| seconds % unit == 0);
        match unit {
            Some((unit, name)) if self.0.subsec_nanos() == 0 => {
                write!(f, "{}{name}", seconds / unit)
            }
            _ => write!(f, "{:#}", self.0),
        }
    }
}

impl From<Age> for String {
    fn from(age: Age) -> Self {
        age.to_string()
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
                    "{}: months and years have no fixed length here; write days or weeks",
                    quoted(&text)
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

    /// Reads `tag` and `values` as a document writes them.
    pub fn checked(
        tag: Option<String>,
        values: Option<Vec<String>>,
    ) -> Result<Option<Self>, String> {
        match (tag, values) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err("`values` without `tag`".to_owned()),
            (Some(tag), _) if tag.is_empty() => Err("`tag` is empty".to_owned()),
            (Some(_), Some(values)) if values.is_empty() => {
                Err("`values` is empty; leave it out to match any value".to_owned())
            }
            (Some(tag), values) => Ok(Some(Self { tag, values })),
        }
    }

    /// `tag` and `values` as a document writes them.
    #[must_use]
    pub fn written(this: Option<Self>) -> (Option<String>, Option<Vec<String>>) {
        this.map_or((None, None), |this| (Some(this.tag), this.values))
    }
}

/// Resources that a guardrail leaves alone, by a tag: `{ tag: NoSsm }`, or `{}` for none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawExempt", into = "RawExempt")]
pub struct Exempt(Option<TagMatch>);

impl Exempt {
    /// The tag by which a resource is left alone whose tags `value` reads, if it is.
    #[must_use]
    pub fn tag_of<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> Option<&str> {
        self.0
            .as_ref()
            .filter(|matching| matching.matches(value(&matching.tag)))
            .map(|matching| matching.tag.as_str())
    }
}

/// Resources to leave alone: those with a tag. `{}`: none.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[schemars(extend("dependencies" = {"values": ["tag"]}))]
struct RawExempt {
    /// The tag's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    tag: Option<String>,
    /// The tag's values that count; left out: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    values: Option<Vec<String>>,
}

impl TryFrom<RawExempt> for Exempt {
    type Error = String;

    fn try_from(raw: RawExempt) -> Result<Self, String> {
        TagMatch::checked(raw.tag, raw.values).map(Self)
    }
}

impl From<Exempt> for RawExempt {
    fn from(exempt: Exempt) -> Self {
        let (tag, values) = TagMatch::written(exempt.0);
        Self { tag, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_written_as_a_person_would() {
        for (text, written) in [
            ("35m", "35m"),
            ("90m", "90m"),
            ("1h 30m", "90m"),
            ("24h", "1d"),
            ("25h", "25h"),
            ("180d", "180d"),
            ("2w", "14d"),
            ("61s", "61s"),
            ("PT6H", "6h"),
        ] {
            let age = Age::try_from(text.to_owned()).unwrap();
            assert_eq!(age.to_string(), written, "{text}");
            assert_eq!(Age::try_from(written.to_owned()), Ok(age), "{text}");
        }
        let odd = Age::try_from("1500ms".to_owned()).unwrap();
        assert_eq!(Age::try_from(odd.to_string()), Ok(odd), "{odd}");
    }

    #[test]
    fn nothing_is_kept_by_the_minute() {
        for text in [
            "36h",
            "14d",
            "2w",
            "6mo",
            "1y 2mo",
            "1y2mo3d4h",
            "P6M",
            "6 months",
        ] {
            assert!(keeping_span(text).is_ok(), "{text}");
        }
        for (text, told) in [
            (
                "6m",
                "\"6m\": `m` is minutes, and nothing is kept by the minute; for months write \"6mo\"",
            ),
            ("6 m", "for months write \"6 mo\""),
            ("1y6m", "for months write \"1y6mo\""),
            // restic's own order, in which minutes can't be read.
            ("2y5m7d3h", "for months write \"2y5mo7d3h\""),
            ("PT6M", "nothing is kept by minutes or seconds"),
            ("90 minutes", "nothing is kept by minutes or seconds"),
            ("1d 30s", "nothing is kept by minutes or seconds"),
            ("1h 1ms", "nothing is kept by minutes or seconds"),
            ("soon", "is no length of time"),
            ("-3d", "is no length of time"),
        ] {
            let refused = keeping_span(text).unwrap_err();
            assert!(refused.contains(told), "{text}: {refused}");
        }
    }

    #[test]
    fn a_resource_is_exempt_by_its_tag() {
        let read = |text: &str| serde_json::from_str::<Exempt>(text);
        let any = read(r#"{"tag": "NoSsm"}"#).unwrap();
        assert_eq!(
            any.tag_of(|key| (key == "NoSsm").then_some("")),
            Some("NoSsm")
        );
        assert_eq!(any.tag_of(|_| None), None);
        let one = read(r#"{"tag": "Env", "values": ["test", "dev"]}"#).unwrap();
        assert_eq!(one.tag_of(|_| Some("dev")), Some("Env"));
        assert_eq!(one.tag_of(|_| Some("live")), None);
        assert_eq!(Exempt::default().tag_of(|_| Some("dev")), None);
        for wrong in [
            r#"{"values": ["a"]}"#,
            r#"{"tag": ""}"#,
            r#"{"tag": "a", "values": []}"#,
            r#"{"all": true}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
