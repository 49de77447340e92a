//! A plan's copies in other Regions.

use guardrails::policy::Age;
use guardrails::resource::Arn;
use guardrails::text::quoted;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::policy::keep::{self, Keep};
use crate::policy::name::not_empty;
use crate::slots::{Schedule, Zone};

pub(super) const REGION: &str = "^[a-z]{2,}(-[a-z]+)+-[0-9]+$";
const KEY: &str = "^(arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)|alias)/[A-Za-z0-9/_-]+$";

/// Copies of a plan's snapshots in one other Region; always encrypted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "Copies")]
pub struct Copying {
    /// The Region. The stack's parameter `CopyRegions` has to name it.
    #[serde(deserialize_with = "region")]
    #[schemars(regex(pattern = REGION))]
    pub region: String,
    /// The KMS key over there: `alias/NAME`, or the ARN of a key or alias of that Region. The
    /// stack's parameter `CopyKeyArns` has to name the key. Left out: the Region's default key for
    /// EBS.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "key"
    )]
    #[schemars(regex(pattern = KEY))]
    pub key: Option<String>,
    /// What is kept of each volume's copies over there.
    #[serde(deserialize_with = "keep::keep_something")]
    pub keep: Keep,
    /// How long after its slot a completed copy may be missing before you are told, e.g. `24h`
    /// (the default).
    #[serde(default = "default_grace")]
    pub grace: Age,
    /// Which slots are copied: at each of these times the slot that holds then. Cron expression in
    /// the plan's time zone. Left out: every slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<Schedule>,
}

fn default_grace() -> Age {
    Age::from_hours(24)
}

pub(super) fn region<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let mut parts = name.split('-').rev();
    let is_number = parts
        .next()
        .is_some_and(|last| !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()));
    let words: Vec<_> = parts.collect();
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    if is_number && words.len() >= 2 && words.iter().all(is_word) {
        return Ok(name);
    }
    Err(D::Error::custom(format!(
        "{} is no Region; they look like eu-central-1",
        quoted(&name)
    )))
}

fn key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let key = String::deserialize(deserializer)?;
    let name = match Arn::read(&key) {
        Some(arn) if arn.service == "kms" => arn
            .resource
            .strip_prefix("key/")
            .or(arn.resource.strip_prefix("alias/")),
        Some(_) => None,
        None => key.strip_prefix("alias/"),
    };
    if name.is_some_and(|name| !name.is_empty()) {
        return Ok(Some(key));
    }
    Err(D::Error::custom(format!(
        "{} is no KMS key; write alias/NAME, or the ARN of a key or alias of that Region",
        quoted(&key)
    )))
}

/// A plan's copies: each Region once, and keys of that Region.
pub(super) fn copies<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Copying>, D::Error> {
    let copies: Vec<Copying> = not_empty(deserializer, "copies nothing; leave it out")?;
    for (at, copying) in copies.iter().enumerate() {
        let region = &copying.region;
        if copies[..at].iter().any(|other| other.region == *region) {
            return Err(D::Error::custom(format!(
                "two copies go to {region}; put both `keep` together into one"
            )));
        }
        if let Some(key) = &copying.key
            && let Some(arn) = Arn::read(key)
            && arn.region != region
        {
            return Err(D::Error::custom(format!(
                "the key {} is of {}, and a copy in {region} takes one of its own Region",
                quoted(key),
                arn.region
            )));
        }
    }
    Ok(copies)
}

impl Copying {
    /// Whether a slot of `schedule` is one that leaves: at one of the times of `slots` it holds.
    #[must_use]
    pub fn leaves(&self, schedule: &Schedule, zone: &Zone, slot: Timestamp) -> bool {
        let Some(slots) = &self.slots else {
            return true;
        };
        let Some(next) = schedule.slot_after(zone, slot) else {
            return true;
        };
        let last = next.timestamp() - jiff::SignedDuration::from_nanos(1);
        slots
            .slot_at(zone, last)
            .is_some_and(|at| at.timestamp() >= slot)
    }

    /// The latest slot that leaves and has come.
    #[must_use]
    pub fn latest(&self, schedule: &Schedule, zone: &Zone, now: Timestamp) -> Option<Timestamp> {
        let at = match &self.slots {
            Some(slots) => slots.slot_at(zone, now)?.timestamp(),
            None => now,
        };
        schedule.slot_at(zone, at).map(|slot| slot.timestamp())
    }

    /// The first slot after `slot` that leaves.
    #[must_use]
    pub fn next(&self, schedule: &Schedule, zone: &Zone, slot: Timestamp) -> Option<Timestamp> {
        let next = schedule.slot_after(zone, slot)?.timestamp();
        let Some(slots) = &self.slots else {
            return Some(next);
        };
        let before = next - jiff::SignedDuration::from_nanos(1);
        let at = slots.slot_after(zone, before)?.timestamp();
        schedule.slot_at(zone, at).map(|slot| slot.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::tests::parse;
    use jiff::Timestamp;

    fn plan(copies: &str) -> Result<crate::policy::Plan, String> {
        let plan = format!(
            "{{name: p, select: {{all: true}}, schedule: \"0 */6 * * *\", keep: {{last: 4}}, copies: {copies}}}"
        );
        let parsed = parse(&plan).map_err(|mistake| mistake.to_string());
        parsed.map(|mut policy| policy.plans.0.remove(0))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        const KEY: &str = "arn:aws:kms:eu-west-1:123456789012:key/1a2b";
        for (copies, expected) in [
            ("[]", "copies nothing"),
            ("[{region: Ireland, keep: {last: 1}}]", "is no Region"),
            ("[{region: eu-west, keep: {last: 1}}]", "is no Region"),
            ("[{region: eu-west-1}]", "`keep` is missing"),
            ("[{region: eu-west-1, keep: {}}]", "at least one of last"),
            (
                "[{region: eu-west-1, keep: {last: 1}}, {region: eu-west-1, keep: {last: 2}}]",
                "two copies go to eu-west-1",
            ),
            (
                "[{region: eu-west-1, keep: {last: 1}, key: 1a2b}]",
                "is no KMS key",
            ),
            (
                "[{region: eu-west-1, keep: {last: 1}, key: alias/}]",
                "is no KMS key",
            ),
            (
                &format!("[{{region: eu-west-2, keep: {{last: 1}}, key: \"{KEY}\"}}]"),
                "is of eu-west-1",
            ),
            (
                "[{region: eu-west-1, keep: {last: 1}, slots: daily}]",
                "not a cron expression",
            ),
        ] {
            let mistake = plan(copies).expect_err(copies);
            assert!(
                mistake.contains(expected) && mistake.contains("plans[0].copies"),
                "{copies}: {mistake}"
            );
        }
        let plan = plan(&format!(
            "[{{region: us-gov-east-1, keep: {{last: 1}}, key: alias/a}}, {{region: eu-west-1, keep: {{last: 1}}, key: \"{KEY}\"}}]"
        ))
        .unwrap();
        assert_eq!(plan.copies[0].grace, super::default_grace());
    }

    #[test]
    fn a_slot_leaves_when_it_holds_at_one_of_the_times() {
        let plan = plan("[{region: eu-west-1, keep: {last: 1}, slots: \"30 7 * * SUN\"}]").unwrap();
        let copying = &plan.copies[0];
        // 2026-11-22 is a Sunday: at 07:30 the slot of 06:00 holds.
        for (slot, leaves) in [
            ("2026-11-22T00:00:00Z", false),
            ("2026-11-22T06:00:00Z", true),
            ("2026-11-22T12:00:00Z", false),
            ("2026-11-23T06:00:00Z", false),
        ] {
            assert_eq!(
                copying.leaves(&plan.schedule, &plan.timezone, at(slot)),
                leaves,
                "{slot}"
            );
        }
        let sunday = Some(at("2026-11-22T06:00:00Z"));
        assert_eq!(
            copying.latest(&plan.schedule, &plan.timezone, at("2026-11-22T07:30:00Z")),
            sunday
        );
        assert_eq!(
            copying.latest(&plan.schedule, &plan.timezone, at("2026-11-22T07:29:00Z")),
            Some(at("2026-11-15T06:00:00Z"))
        );
        assert_eq!(
            copying.next(&plan.schedule, &plan.timezone, at("2026-11-15T06:00:00Z")),
            sunday
        );
        assert_eq!(
            copying.next(&plan.schedule, &plan.timezone, at("2026-11-22T00:00:00Z")),
            sunday
        );
    }

    #[test]
    fn without_slots_every_slot_leaves() {
        let plan = plan("[{region: eu-west-1, keep: {last: 1}}]").unwrap();
        let copying = &plan.copies[0];
        let slot = at("2026-11-22T06:00:00Z");
        assert!(copying.leaves(&plan.schedule, &plan.timezone, slot));
        assert_eq!(
            copying.latest(&plan.schedule, &plan.timezone, at("2026-11-22T07:00:00Z")),
            Some(slot)
        );
        assert_eq!(
            copying.next(&plan.schedule, &plan.timezone, slot),
            Some(at("2026-11-22T12:00:00Z"))
        );
    }
}
