//! The section `snapshot-volumes` of the policy document.

mod warnings;

use guardrails::policy::{Age, Mode, SPAN_PATTERN, TagMatch, positive_span};
use guardrails::text::quoted;
use jiff::{Span, Timestamp, Zoned};
use schemars::JsonSchema;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::facts::{Facts, Volume};
use crate::slots::{Schedule, Zone};

/// Which volumes are snapshotted when, and what is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "SnapshotVolumes")]
pub struct Policy {
    /// enforce (the default): do it; notify: change nothing, tell people; observe: change nothing,
    /// only report what would be done.
    #[serde(default)]
    pub mode: Mode,
    /// The plans. A volume selected by several gets each plan's snapshots.
    #[schemars(length(min = 1))]
    pub plans: Plans,
    /// How long after its last snapshot the snapshots of a volume that no longer exists are kept,
    /// e.g. `365d`. Left out: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphans_after: Option<Age>,
    /// When a run deletes nothing, because it would delete too much.
    #[serde(default)]
    pub brake: Brake,
}

impl Policy {
    /// The plan of that name.
    #[must_use]
    pub fn plan(&self, name: &str) -> Option<&Plan> {
        self.plans.0.iter().find(|plan| plan.name == name)
    }

    /// Whether any plan leaves out boot volumes, so that root devices must be known.
    #[must_use]
    pub fn needs_boot(&self) -> bool {
        self.plans.0.iter().any(|plan| plan.exclude.boot)
    }
}

/// One or more plans with names of their own.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Plans(pub Vec<Plan>);

impl<'de> Deserialize<'de> for Plans {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(PlansVisitor)
    }
}

/// By hand, so that a name that is taken is told where the second plan stands.
struct PlansVisitor;

impl<'de> Visitor<'de> for PlansVisitor {
    type Value = Plans;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of plans")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Plans, A::Error> {
        let mut plans: Vec<Plan> = Vec::new();
        while let Some(plan) = list.next_element::<Plan>()? {
            if plans.iter().any(|other| other.name == plan.name) {
                return Err(A::Error::custom(format!(
                    "two plans are named \"{}\"; a plan's snapshots carry its name, so each needs its own",
                    plan.name
                )));
            }
            plans.push(plan);
        }
        if plans.is_empty() {
            return Err(A::Error::custom(
                "no plan; to stop snapshots set `mode: observe` or disable the sweep",
            ));
        }
        Ok(Plans(plans))
    }
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Plan {
    /// The plan's name: its snapshots carry it. Lower case letters, digits and dashes.
    #[serde(deserialize_with = "plan_name")]
    #[schemars(regex(pattern = "^[a-z0-9][a-z0-9-]{0,39}$"))]
    pub name: String,
    /// Which volumes: by a tag, or `all: true`.
    pub select: Select,
    /// Which of these not: by a tag, or `boot: true` for root volumes.
    #[serde(default)]
    pub exclude: Exclude,
    /// When its slots are. Cron expression: minute, hour, day of month, month, day of week.
    pub schedule: Schedule,
    /// IANA time zone of the schedule and of `keep`. Default UTC.
    #[serde(default = "utc")]
    pub timezone: Zone,
    /// What is kept of each volume's snapshots.
    #[serde(deserialize_with = "keep_something")]
    pub keep: Keep,
    /// How long after its time a completed snapshot may be missing before you are told, e.g. `6h`
    /// (the default) or `2d`.
    #[serde(default = "default_grace")]
    pub grace: Age,
}

fn plan_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=40).contains(&name.len()) && !name.starts_with('-') && name.chars().all(allowed) {
        return Ok(name);
    }
    Err(D::Error::custom(format!(
        "plan name {}: expected 1 to 40 lower case letters, digits and dashes",
        quoted(&name)
    )))
}

/// Without any rule all but the newest would be deleted, which nobody means.
fn keep_something<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Keep, D::Error> {
    let keep = Keep::deserialize(deserializer)?;
    if keep == Keep::default() {
        return Err(D::Error::custom(
            "expected at least one of last, hourly, daily, weekly, monthly, yearly, within",
        ));
    }
    Ok(keep)
}

fn default_grace() -> Age {
    Age::from_hours(6)
}

fn utc() -> Zone {
    Zone::UTC
}

impl Plan {
    /// Whether it selects `volume`. A volume of which nobody can tell whether it is a boot volume,
    /// because its instance is gone in between, isn't selected where that matters.
    #[must_use]
    pub fn selects(&self, volume: &Volume, facts: &Facts) -> bool {
        let selected = match &self.select {
            Select::All => true,
            Select::Tag(matching) => matching.matches(volume.tag(&matching.tag)),
        };
        let excluded = self
            .exclude
            .tag
            .as_ref()
            .is_some_and(|matching| matching.matches(volume.tag(&matching.tag)))
            || (self.exclude.boot && may_be_boot(volume, facts));
        selected && !excluded
    }

    /// The slot that holds now.
    #[must_use]
    pub fn slot_at(&self, now: Timestamp) -> Option<Zoned> {
        self.schedule.slot_at(&self.timezone, now)
    }
}

fn may_be_boot(volume: &Volume, facts: &Facts) -> bool {
    volume.attachments.iter().any(|attachment| {
        facts
            .instances
            .get(&attachment.instance)
            .is_none_or(|instance| instance.root_device.as_deref() == Some(&attachment.device))
    })
}

/// Which volumes a plan selects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawSelect", into = "RawSelect")]
pub enum Select {
    /// Every volume.
    All,
    /// Those with a tag.
    Tag(TagMatch),
}

/// Which volumes: exactly one of `tag` and `all`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend(
    "anyOf" = [{"required": ["tag"]}, {"required": ["all"]}],
    "dependencies" = {"values": ["tag"]}
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
    /// Every volume.
    #[serde(default, skip_serializing_if = "is_false")]
    all: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

impl TryFrom<RawSelect> for Select {
    type Error = String;

    fn try_from(raw: RawSelect) -> Result<Self, String> {
        match (TagMatch::checked(raw.tag, raw.values)?, raw.all) {
            (Some(tag), false) => Ok(Self::Tag(tag)),
            (None, true) => Ok(Self::All),
            _ => Err("expected either `tag` (and `values`) or `all: true`".to_owned()),
        }
    }
}

impl From<Select> for RawSelect {
    fn from(select: Select) -> Self {
        let (all, matching) = match select {
            Select::All => (true, None),
            Select::Tag(matching) => (false, Some(matching)),
        };
        let (tag, values) = TagMatch::written(matching);
        Self { tag, values, all }
    }
}

/// Which selected volumes a plan leaves out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawExclude", into = "RawExclude")]
pub struct Exclude {
    /// Those with a tag.
    pub tag: Option<TagMatch>,
    /// Root volumes of instances.
    pub boot: bool,
}

/// Which volumes not.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[schemars(extend("dependencies" = {"values": ["tag"]}))]
struct RawExclude {
    /// The key of the tag that excludes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    tag: Option<String>,
    /// The values that exclude; left out: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    values: Option<Vec<String>>,
    /// Root volumes of instances.
    boot: bool,
}

impl TryFrom<RawExclude> for Exclude {
    type Error = String;

    fn try_from(raw: RawExclude) -> Result<Self, String> {
        Ok(Self {
            tag: TagMatch::checked(raw.tag, raw.values)?,
            boot: raw.boot,
        })
    }
}

impl From<Exclude> for RawExclude {
    fn from(exclude: Exclude) -> Self {
        let (tag, values) = TagMatch::written(exclude.tag);
        let boot = exclude.boot;
        Self { tag, values, boot }
    }
}

/// What is kept, with restic's meanings. A snapshot stays when any rule keeps it. A rule that is
/// left out, or 0, keeps nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[schemars(extend("minProperties" = 1))]
pub struct Keep {
    /// The newest so many.
    #[serde(skip_serializing_if = "is_zero")]
    pub last: u32,
    /// The newest of each of the latest so many hours that have one.
    #[serde(skip_serializing_if = "is_zero")]
    pub hourly: u32,
    /// The same with days.
    #[serde(skip_serializing_if = "is_zero")]
    pub daily: u32,
    /// The same with weeks (ISO, from Monday).
    #[serde(skip_serializing_if = "is_zero")]
    pub weekly: u32,
    /// The same with months.
    #[serde(skip_serializing_if = "is_zero")]
    pub monthly: u32,
    /// The same with years.
    #[serde(skip_serializing_if = "is_zero")]
    pub yearly: u32,
    /// All that are less than this older than the newest, e.g. `14d`, `2w`, `1mo`, `1y`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Within>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A calendar span back from the newest snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    inline,
    extend("examples" = ["14d", "2w", "1mo", "1y"], "pattern" = SPAN_PATTERN)
)]
pub struct Within(SpanText);

/// A span with the text that it was written as; spans themselves don't compare.
#[derive(Debug, Clone)]
struct SpanText {
    text: String,
    span: Span,
}

impl PartialEq for SpanText {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Within {
    /// So long before `newest`.
    #[must_use]
    pub fn before(&self, newest: &Zoned) -> Option<Timestamp> {
        newest
            .checked_sub(self.0.span)
            .ok()
            .map(|at| at.timestamp())
    }
}

impl TryFrom<String> for Within {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let span = positive_span(&text)?;
        Ok(Self(SpanText { text, span }))
    }
}

impl From<Within> for String {
    fn from(within: Within) -> Self {
        within.0.text
    }
}

/// A run that would delete more than `count` snapshots and more than `percent` of all that the
/// guardrail owns deletes none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Brake {
    /// So many may always be deleted.
    pub count: u64,
    /// And this share of all, in percent. 100 takes the brake off.
    #[serde(deserialize_with = "percent")]
    #[schemars(range(max = 100))]
    pub percent: u64,
}

impl Default for Brake {
    fn default() -> Self {
        Self {
            count: 20,
            percent: 33,
        }
    }
}

impl Brake {
    /// Whether deleting `doomed` of `owned` is too much.
    #[must_use]
    pub fn holds(self, doomed: usize, owned: usize) -> bool {
        let (doomed, owned) = (doomed as u64, owned as u64);
        doomed > self.count && doomed * 100 > owned * self.percent
    }
}

fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    if number > 100 {
        return Err(D::Error::custom(format!("expected 0 to 100, got {number}")));
    }
    Ok(number)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use guardrails::policy;

    pub(crate) fn keep(yaml: &str) -> Keep {
        parse(&format!(
            "{{name: p, select: {{all: true}}, schedule: \"0 3 * * *\", keep: {yaml}}}"
        ))
        .unwrap()
        .plans
        .0
        .remove(0)
        .keep
    }

    pub(crate) fn within_days(days: i32) -> Within {
        Within::try_from(format!("{days}d")).unwrap()
    }

    /// A policy with one plan.
    pub(crate) fn parse(plan: &str) -> Result<Policy, policy::Mistakes> {
        policy::parse(
            &format!("snapshot-volumes:\n  plans:\n    - {plan}\n"),
            crate::NAME,
        )
    }

    #[test]
    fn the_built_in_document_holds_where_the_section_is_left_out() {
        let built_in: Policy = policy::parse(policy::BUILT_IN, crate::NAME).unwrap();
        let empty: Policy = policy::parse("", crate::NAME).unwrap();
        assert_eq!(empty, built_in);
        assert_eq!(built_in.brake, Brake::default());
        assert_eq!(built_in.plans.0[0].grace, default_grace());
        assert!(policy::BUILT_IN.len() < 4_096, "fits a standard parameter");
    }

    #[test]
    fn the_sections_name_is_known() {
        assert!(policy::SECTIONS.contains(&crate::NAME));
    }

    #[test]
    fn a_section_without_plans_is_refused() {
        let mistake = policy::parse::<Policy>("snapshot-volumes:\n  mode: observe\n", crate::NAME);
        let mistake = mistake.unwrap_err().to_string();
        assert!(
            mistake.contains("snapshot-volumes (line 2): `plans` is missing"),
            "{mistake}"
        );
    }

    #[test]
    fn each_mistake_is_named_with_its_path_and_line() {
        let plan = |change: &str| {
            let mut keys = vec![
                ("name", "p"),
                ("select", "{all: true}"),
                ("schedule", "\"0 3 * * *\""),
                ("keep", "{last: 1}"),
            ];
            let (key, value) = change.split_once(": ").unwrap();
            keys.retain(|(have, _)| *have != key);
            keys.push((key, value));
            let keys: Vec<_> = keys.iter().map(|(k, v)| format!("{k}: {v}")).collect();
            parse(&format!("{{{}}}", keys.join(", "))).map_err(|mistake| mistake.to_string())
        };
        for (change, expected) in [
            ("schedule: \"0 25 * * *\"", "not a cron expression"),
            ("schedule: \"0 3 30 2 *\"", "never comes"),
            ("timezone: Europe/Bonn", "no IANA time zone"),
            (
                "keep: {}",
                "plans[0].keep (line 3): expected at least one of",
            ),
            (
                "keep: {daily: seven}",
                "plans[0].keep.daily (line 3): expected a whole",
            ),
            ("keep: {daily: -1}", "plans[0].keep.daily (line 3): "),
            ("keep: {dayly: 1}", "unknown key `dayly`"),
            ("keep: {within: soon}", "is no length of time"),
            ("grace: 0h", "is no length of time"),
            ("grace: 1mo", "no fixed length"),
            ("grace: -3h", "is no length of time"),
            ("select: {}", "either `tag`"),
            ("select: {tag: a, all: true}", "either `tag`"),
            ("select: {values: [a]}", "`values` without `tag`"),
            ("select: {tag: a, values: []}", "`values` is empty"),
            ("select: {tag: \"\"}", "`tag` is empty"),
            (
                "exclude: {values: [a]}",
                "plans[0].exclude (line 3): `values` without `tag`",
            ),
            ("name: Täglich", "plan name \"Täglich\""),
            ("name: \"\"", "plan name \"\""),
        ] {
            let mistake = plan(change).expect_err(change);
            assert!(
                mistake.contains(expected)
                    && mistake.contains("snapshot-volumes.plans")
                    && mistake.contains("(line "),
                "{change}: {mistake}"
            );
        }
        assert!(plan("grace: 90m").is_ok());
    }

    #[test]
    fn two_plans_of_one_name_and_no_plan_are_refused() {
        let plan = "{name: p, select: {all: true}, schedule: \"0 3 * * *\", keep: {last: 1}}";
        let twice = parse(&format!("{plan}\n    - {plan}")).unwrap_err();
        assert!(
            twice.to_string().starts_with(
                "snapshot-volumes.plans[1] (line 4): two plans are named \"p\"; a plan's"
            ),
            "{twice}"
        );
        let none: Result<Policy, _> = policy::parse("snapshot-volumes: {plans: []}", crate::NAME);
        let none = none.unwrap_err().to_string();
        assert!(
            none.starts_with("snapshot-volumes.plans (line 1): no plan"),
            "{none}"
        );
    }

    #[test]
    fn the_brake_takes_both_conditions() {
        let brake = Brake::default();
        for (doomed, owned, holds) in [
            (20, 20, false),
            (21, 63, true),
            (21, 64, false),
            (1_000, 3_100, false),
            (1_000, 1_000, true),
        ] {
            assert_eq!(brake.holds(doomed, owned), holds, "{doomed} of {owned}");
        }
        let off = Brake {
            count: 0,
            percent: 100,
        };
        assert!(!off.holds(5, 5));
        let too_much: Result<Policy, _> =
            policy::parse("snapshot-volumes: {brake: {percent: 133}}", crate::NAME);
        assert!(too_much.unwrap_err().to_string().contains("0 to 100"));
    }
}
