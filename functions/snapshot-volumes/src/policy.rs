//! The section `snapshot-volumes` of the policy document.

mod copies;
mod drills;
mod keep;
mod misread;
mod name;
mod select;
mod warnings;

use guardrails::policy::{Age, Exempt, Mode, has_minutes, positive_span};
use guardrails::text::quoted;
use jiff::{Timestamp, Zoned};
use schemars::JsonSchema;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::facts::{Facts, Volume};
use crate::policy::name::{check_name, not_empty};
use crate::slots::{Schedule, Zone};
pub use copies::Copying;
pub use drills::{Drill, Way};
pub use keep::{Count, Keep, Within};
pub use select::{Exclude, Of, Select, Selected, TagOf};

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
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "orphans_after"
    )]
    pub orphans_after: Option<Age>,
    /// Snapshots with this tag are never deleted, and outside the brake. `{}`: none.
    #[serde(default)]
    pub hold: Exempt,
    /// When a run deletes nothing, because it would delete too much.
    #[serde(default)]
    pub brake: Brake,
    /// Whether what is kept can be restored is tried: when, and how.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "drills::drills"
    )]
    #[schemars(length(min = 1))]
    pub drills: Vec<Drill>,
}

impl Policy {
    /// The plan of that name, or that was once called so.
    #[must_use]
    pub fn plan(&self, name: &str) -> Option<&Plan> {
        let mut plans = self.plans.0.iter();
        plans.find(|plan| plan.names().any(|known| known == name))
    }

    /// The next slots of each plan and drill, from now on: for whoever checks a document.
    #[must_use]
    pub fn outlook(&self) -> Vec<String> {
        let now = Timestamp::now();
        let plans = self.plans.0.iter();
        let plans = plans.map(|plan| ("plan", &plan.name, &plan.schedule, &plan.timezone));
        let drills = self.drills.iter();
        let drills = drills.map(|one| ("drill", &one.name, &one.schedule, &one.timezone));
        plans
            .chain(drills)
            .map(|(what, name, schedule, zone)| {
                format!(
                    "{what} {name} (`{}`, {}): {}",
                    schedule.as_str(),
                    zone.name(),
                    schedule.next_slots(zone, now, 5)
                )
            })
            .collect()
    }

    /// Whether any plan goes by what is known of the instances alone: their tags, their root
    /// devices.
    #[must_use]
    pub fn needs_instances(&self) -> bool {
        let mut plans = self.plans.0.iter();
        plans.any(|plan| plan.select.needs_instances() || plan.exclude.needs_instances())
    }
}

fn orphans_after<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Age>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if positive_span(&text).is_ok_and(|span| has_minutes(&span)) {
        return Err(D::Error::custom(format!(
            "{}: `m` is minutes, and nothing is kept by the minute; write hours, days or weeks, such as 180d for half a year",
            quoted(&text)
        )));
    }
    Age::try_from(text).map(Some).map_err(D::Error::custom)
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
            if let Some(twice) = taken(&plan, &plans) {
                return Err(A::Error::custom(format!(
                    "two plans are named \"{twice}\" (by `name` or `formerly`); a plan's snapshots carry its name, so each needs its own"
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

/// A name of the plan's that another has, or that it has twice.
fn taken<'a>(plan: &'a Plan, others: &[Plan]) -> Option<&'a str> {
    let own: Vec<&str> = plan.names().collect();
    let twice = |(at, name): (usize, &&'a str)| {
        let by_another = others
            .iter()
            .flat_map(Plan::names)
            .any(|taken| taken == *name);
        (by_another || own[..at].contains(name)).then_some(*name)
    };
    own.iter().enumerate().find_map(twice)
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Plan {
    /// The plan's name: its snapshots carry it. Lower case letters, digits and dashes.
    #[serde(deserialize_with = "plan_name")]
    #[schemars(regex(pattern = "^[a-z0-9][a-z0-9-]{0,39}$"))]
    pub name: String,
    /// Names that it had before: snapshots that carry one of them are its own.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "former_names"
    )]
    #[schemars(length(min = 1), inner(regex(pattern = "^[a-z0-9][a-z0-9-]{0,39}$")))]
    pub formerly: Vec<String>,
    /// Which volumes: by a tag (their own, or their instance's), or `all: true`.
    pub select: Select,
    /// Which of these not: by a tag (their own, or their instance's), or `boot: true` for root
    /// volumes.
    #[serde(default)]
    pub exclude: Exclude,
    /// When its slots are. Cron expression: minute, hour, day of month, month, day of week.
    pub schedule: Schedule,
    /// IANA time zone of the schedule and of `keep`. Default UTC.
    #[serde(default)]
    pub timezone: Zone,
    /// What is kept of each volume's snapshots.
    #[serde(deserialize_with = "keep::keep_something")]
    pub keep: Keep,
    /// How long after its time a completed snapshot may be missing before you are told, e.g. `6h`
    /// (the default) or `2d`.
    #[serde(default = "default_grace")]
    pub grace: Age,
    /// Copies in other Regions, each made from the completed snapshots of the slots that it is for.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "copies::copies"
    )]
    #[schemars(length(min = 1))]
    pub copies: Vec<Copying>,
}

fn plan_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    check_name("plan", &name).map_err(D::Error::custom)?;
    Ok(name)
}

fn former_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names: Vec<String> = not_empty(deserializer, "names no plan; leave it out")?;
    for name in &names {
        check_name("plan", name).map_err(D::Error::custom)?;
    }
    Ok(names)
}

fn default_grace() -> Age {
    Age::from_hours(6)
}

impl Plan {
    /// Its name, and those that it had before.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let former = self.formerly.iter().map(String::as_str);
        std::iter::once(self.name.as_str()).chain(former)
    }

    /// Whether it selects `volume`.
    #[must_use]
    pub fn selects(&self, volume: &Volume, facts: &Facts) -> Selected {
        let excluded = self.exclude.matches(volume, facts);
        match (self.select.matches(volume, facts), excluded) {
            (Some(false), _) | (_, Some(true)) => Selected::No,
            (Some(true), Some(false)) => Selected::Yes,
            _ => Selected::Unknown,
        }
    }

    /// Its copies in `region`.
    #[must_use]
    pub fn copies_to(&self, region: &str) -> Option<&Copying> {
        self.copies.iter().find(|copying| copying.region == region)
    }

    /// The slot that holds now.
    #[must_use]
    pub fn slot_at(&self, now: Timestamp) -> Option<Zoned> {
        self.schedule.slot_at(&self.timezone, now)
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

    /// One plan called `daily` that is copied to us-east-1, and more keys of the section.
    pub(crate) fn parse_with(keys: &str) -> Result<Policy, policy::Mistakes> {
        let plan = "{name: daily, select: {tag: Backup}, schedule: \"0 3 * * *\", keep: {last: 3}, copies: [{region: us-east-1, keep: {last: 2}}]}";
        policy::parse(
            &format!("snapshot-volumes:\n  plans: [{plan}]\n  {keys}\n"),
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
            ("keep: {within: 6m}", "for months write \"6mo\""),
            ("keep: {within-daily: 1y6m}", "for months write \"1y6mo\""),
            ("keep: {within: 20000y}", "is no length of time"),
            ("keep: {last: all}", "or `unlimited`"),
            ("formerly: []", "names no plan"),
            ("formerly: [Old]", "plan name \"Old\""),
            ("formerly: [p]", "two plans are named \"p\""),
            ("select: {all: true, of: instance}", "`of` without `tag`"),
            ("select: {tag: a, of: disk}", "`disk` isn't known here"),
            ("exclude: {of: instance, boot: true}", "`of` without `tag`"),
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
                "snapshot-volumes.plans[1] (line 4): two plans are named \"p\" (by `name` or `formerly`); a plan's"
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
    fn a_former_name_is_one_plans_only() {
        let plan = |name: &str, formerly: &str| {
            format!(
                "{{name: {name}, {formerly} select: {{all: true}}, schedule: \"0 3 * * *\", keep: {{last: 1}}}}"
            )
        };
        for (one, other, twice) in [
            (plan("a", ""), plan("b", "formerly: [a],"), Some("a")),
            (plan("a", "formerly: [b],"), plan("b", ""), Some("b")),
            (
                plan("a", "formerly: [c],"),
                plan("b", "formerly: [c],"),
                Some("c"),
            ),
            (plan("a", "formerly: [c, c],"), plan("b", ""), Some("c")),
            (
                plan("a", "formerly: [c, d],"),
                plan("b", "formerly: [e],"),
                None,
            ),
        ] {
            let read = parse(&format!("{one}\n    - {other}"));
            match (read, twice) {
                (Ok(policy), None) => {
                    assert_eq!(policy.plan("d").map(|plan| plan.name.as_str()), Some("a"));
                    assert_eq!(policy.plan("f"), None);
                }
                (Err(mistake), Some(name)) => {
                    let told = format!("two plans are named \"{name}\"");
                    assert!(mistake.to_string().contains(&told), "{mistake}");
                }
                (read, _) => panic!("{one}, {other}: {read:?}"),
            }
        }
    }

    #[test]
    fn orphans_are_not_kept_by_the_minute() {
        let read = |text: &str| {
            policy::parse::<Policy>(
                &format!(
                    "snapshot-volumes: {{plans: [{{name: p, select: {{tag: B}}, schedule: \"0 3 * * *\", keep: {{last: 1}}}}], orphans-after: {text}}}"
                ),
                crate::NAME,
            )
        };
        for (text, told) in [
            ("6m", "such as 180d"),
            ("6mo", "write days or weeks"),
            ("soon", "is no length of time"),
        ] {
            let mistake = read(text).unwrap_err().to_string();
            assert!(
                mistake.contains(told) && mistake.contains("orphans-after (line 1)"),
                "{mistake}"
            );
        }
        assert_eq!(
            read("36h").unwrap().orphans_after,
            Some(Age::from_hours(36))
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
