//! Drills: whether what is kept can be restored, tried at the times of a schedule.

use guardrails::policy::Age;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

pub use crate::facts::drills::Way;
use crate::policy::copies;
use crate::policy::name::{check_name, not_empty};
use crate::slots::{Schedule, Zone};

/// Most volumes that one slot of a drill tries.
const VOLUMES_MAX: u32 = 50;

/// A drill. At each slot it tries the newest completed snapshot of some volumes: of those whose turn
/// was longest ago.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Drill {
    /// The drill's name, by which its proofs are remembered. Lower case letters, digits and dashes.
    #[serde(deserialize_with = "drill_name")]
    #[schemars(regex(pattern = "^[a-z0-9][a-z0-9-]{0,39}$"))]
    pub name: String,
    /// When its slots are. Cron expression: minute, hour, day of month, month, day of week.
    pub schedule: Schedule,
    /// IANA time zone of the schedule. Default UTC.
    #[serde(default)]
    pub timezone: Zone,
    /// Plans whose volumes are tried, by name. Left out: those of all plans.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "plans"
    )]
    #[schemars(length(min = 1))]
    pub plans: Vec<String>,
    /// blocks (the default): read blocks of the snapshot and compare their checksums; volume: make a
    /// volume from it, look at it, and delete it again.
    #[serde(default)]
    pub kind: Way,
    /// How many volumes each slot tries, 1 (the default) to 50.
    #[serde(default = "one", deserialize_with = "count")]
    #[schemars(range(min = 1, max = VOLUMES_MAX))]
    pub volumes: u32,
    /// The Region whose copies are tried. Left out: the snapshots in the stack's own Region.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "region"
    )]
    #[schemars(regex(pattern = copies::REGION))]
    pub region: Option<String>,
    /// Larger volumes are left out, in GiB. Left out: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_size: Option<u32>,
    /// How old a volume's last proof may be before you are told, e.g. `90d` (the default).
    #[serde(default = "default_proven_within")]
    pub proven_within: Age,
}

fn one() -> u32 {
    1
}

fn default_proven_within() -> Age {
    Age::from_hours(24 * 90)
}

fn drill_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    check_name("drill", &name).map_err(D::Error::custom)?;
    Ok(name)
}

fn plans<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    not_empty(deserializer, "names no plan; leave it out for all plans")
}

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let count = u32::deserialize(deserializer)?;
    if !(1..=VOLUMES_MAX).contains(&count) {
        return Err(D::Error::custom(format!(
            "expected 1 to {VOLUMES_MAX}, got {count}"
        )));
    }
    Ok(count)
}

fn region<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    copies::region(deserializer).map(Some)
}

/// Drills with names of their own.
pub(super) fn drills<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Drill>, D::Error> {
    let drills: Vec<Drill> = not_empty(deserializer, "tries nothing; leave it out")?;
    for (at, drill) in drills.iter().enumerate() {
        if drills[..at].iter().any(|other| other.name == drill.name) {
            return Err(D::Error::custom(format!(
                "two drills are named \"{}\"; their proofs are remembered by name, so each needs its own",
                drill.name
            )));
        }
    }
    Ok(drills)
}

impl Drill {
    /// Whether it tries volumes of `plan`.
    #[must_use]
    pub fn is_for(&self, plan: &str) -> bool {
        self.plans.is_empty() || self.plans.iter().any(|name| name == plan)
    }

    /// Whether it leaves out a volume of that size.
    #[must_use]
    pub fn leaves_out(&self, gib: i32) -> bool {
        self.max_size
            .is_some_and(|most| i64::from(gib) > i64::from(most))
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::tests::parse_with;
    use guardrails::policy::Section as _;

    #[test]
    fn what_can_try_nothing_and_what_the_stack_must_allow_is_said() {
        let remarks = |drill: &str| {
            let good = "name: weekly, schedule: \"0 4 * * SUN\"";
            parse_with(&format!("drills: [{{{good}{drill}}}]")).unwrap()
        };
        for (drill, expected) in [
            ("", None),
            (", plans: [daily], region: us-east-1", None),
            (", plans: [dayly]", Some("no plan \"dayly\"")),
            (", region: eu-west-1", Some("is copied to eu-west-1")),
        ] {
            let warnings = remarks(drill).warnings();
            let said = warnings
                .iter()
                .find(|remark| remark.path.starts_with("drills[0]"));
            assert_eq!(said.is_some(), expected.is_some(), "{drill}: {warnings:?}");
            if let (Some(said), Some(expected)) = (said, expected) {
                assert!(said.text.contains(expected), "{said}");
            }
        }
        let takes = remarks("").requirements();
        assert!(
            takes
                .iter()
                .any(|remark| remark.text.contains("RestoreDrills")),
            "{takes:?}"
        );
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let good = "name: weekly, schedule: \"0 4 * * SUN\"";
        for (drills, expected) in [
            ("[]".to_owned(), "tries nothing"),
            (
                "[{schedule: \"0 4 * * SUN\"}]".to_owned(),
                "`name` is missing",
            ),
            (
                "[{name: Weekly, schedule: \"0 4 * * SUN\"}]".to_owned(),
                "drill name",
            ),
            ("[{name: weekly}]".to_owned(), "`schedule` is missing"),
            (format!("[{{{good}}}, {{{good}}}]"), "two drills are named"),
            (format!("[{{{good}, plans: []}}]"), "names no plan"),
            (format!("[{{{good}, volumes: 0}}]"), "expected 1 to 50"),
            (format!("[{{{good}, volumes: 51}}]"), "expected 1 to 50"),
            (format!("[{{{good}, kind: file}}]"), "blocks"),
            (format!("[{{{good}, region: Ireland}}]"), "is no Region"),
            (
                format!("[{{{good}, proven-within: soon}}]"),
                "no length of time",
            ),
            (format!("[{{{good}, size: 5}}]"), "size"),
        ] {
            let mistake = parse_with(&format!("drills: {drills}")).expect_err(&drills);
            let mistake = mistake.to_string();
            assert!(
                mistake.contains(expected) && mistake.contains("drills"),
                "{drills}: {mistake}"
            );
        }
        let policy = parse_with(&format!(
            "drills: [{{{good}, plans: [daily], max-size: 100}}]"
        ));
        let policy = policy.unwrap();
        let drill = &policy.drills[0];
        assert_eq!((drill.kind, drill.volumes), (super::Way::Blocks, 1));
        assert_eq!(drill.proven_within, super::default_proven_within());
        assert!(drill.is_for("daily") && !drill.is_for("hourly"));
        assert!(drill.leaves_out(101) && !drill.leaves_out(100));
    }
}
