//! What a plan keeps.

use std::fmt;

use guardrails::policy::{SPAN_PATTERN, keeping_span};
use jiff::{Span, Timestamp, Zoned};
use schemars::JsonSchema;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is kept, with restic's meanings. A snapshot stays when any rule keeps it. A rule that is
/// left out, or 0, keeps nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[schemars(extend("minProperties" = 1))]
pub struct Keep {
    /// The newest so many; `unlimited`: all.
    #[serde(skip_serializing_if = "Count::is_zero")]
    pub last: Count,
    /// The newest of each of the latest so many hours that have one.
    #[serde(skip_serializing_if = "Count::is_zero")]
    pub hourly: Count,
    /// The same with days.
    #[serde(skip_serializing_if = "Count::is_zero")]
    pub daily: Count,
    /// The same with weeks (ISO, from Monday).
    #[serde(skip_serializing_if = "Count::is_zero")]
    pub weekly: Count,
    /// The same with months.
    #[serde(skip_serializing_if = "Count::is_zero")]
    pub monthly: Count,
    /// The same with years.
    #[serde(skip_serializing_if = "Count::is_zero")]
    pub yearly: Count,
    /// All that are less than this older than the newest, e.g. `14d`, `2w`, `6mo`, `1y`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Within>,
    /// Of those that are less than this older than the newest, the newest of each hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within_hourly: Option<Within>,
    /// The same with days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within_daily: Option<Within>,
    /// The same with weeks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within_weekly: Option<Within>,
    /// The same with months.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within_monthly: Option<Within>,
    /// The same with years.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within_yearly: Option<Within>,
}

impl Keep {
    /// The rules that count.
    #[must_use]
    pub fn counts(&self) -> [Count; 6] {
        [
            self.last,
            self.hourly,
            self.daily,
            self.weekly,
            self.monthly,
            self.yearly,
        ]
    }

    /// The rules that reach back from the newest snapshot, by their keys.
    #[must_use]
    pub fn spans(&self) -> [(&'static str, Option<&Within>); 6] {
        [
            ("within", self.within.as_ref()),
            ("within-hourly", self.within_hourly.as_ref()),
            ("within-daily", self.within_daily.as_ref()),
            ("within-weekly", self.within_weekly.as_ref()),
            ("within-monthly", self.within_monthly.as_ref()),
            ("within-yearly", self.within_yearly.as_ref()),
        ]
    }
}

/// How many a rule keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Count {
    /// The latest so many.
    Latest(u32),
    /// All that there are.
    Unlimited,
}

/// restic's word for it.
const UNLIMITED: &str = "unlimited";

impl Default for Count {
    fn default() -> Self {
        Self::Latest(0)
    }
}

impl Count {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature that serde asks for"
    )]
    fn is_zero(&self) -> bool {
        *self == Self::Latest(0)
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Latest(count) => serializer.serialize_u32(*count),
            Self::Unlimited => serializer.serialize_str(UNLIMITED),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl Visitor<'_> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number, 0 or more, or `{UNLIMITED}`")
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Count, E> {
        let count = u32::try_from(number);
        count.map(Count::Latest).map_err(|_| {
            E::custom(format!(
                "{number} is too large a number here; for all of them write `{UNLIMITED}`"
            ))
        })
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Count, E> {
        match text {
            UNLIMITED => Ok(Count::Unlimited),
            _ => Err(E::invalid_type(serde::de::Unexpected::Str(text), &self)),
        }
    }
}

impl JsonSchema for Count {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": u32::MAX},
                {"const": UNLIMITED}
            ]
        })
    }
}

/// A calendar span back from the newest snapshot.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    inline,
    extend("examples" = ["14d", "2w", "6mo", "1y"], "pattern" = SPAN_PATTERN)
)]
pub struct Within {
    text: String,
    span: Span,
}

/// Spans themselves don't compare.
impl PartialEq for Within {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Within {
    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it reaches from `newest` back to `other`. One that goes back before all calendars
    /// reaches everything.
    #[must_use]
    pub fn reaches(&self, other: Timestamp, newest: &Zoned) -> bool {
        newest
            .checked_sub(self.span)
            .map_or(true, |horizon| other > horizon.timestamp())
    }
}

impl TryFrom<String> for Within {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let span = keeping_span(&text)?;
        Ok(Self { text, span })
    }
}

impl From<Within> for String {
    fn from(within: Within) -> Self {
        within.text
    }
}

/// Without any rule all but the newest would be deleted, which nobody means.
pub(super) fn keep_something<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Keep, D::Error> {
    let keep = Keep::deserialize(deserializer)?;
    if keep == Keep::default() {
        return Err(D::Error::custom(
            "expected at least one of last, hourly, daily, weekly, monthly, yearly, within, within-hourly, within-daily, within-weekly, within-monthly, within-yearly",
        ));
    }
    Ok(keep)
}
