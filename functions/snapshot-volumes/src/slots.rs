//! Slots: a plan's schedule as points in time.
//!
//! Daylight saving follows Vixie cron, as croner implements it: a fixed time that a spring day
//! skips comes right after the gap, one that an autumn day has twice comes once; `*` hours follow
//! the clock. So each slot is one instant, and none is skipped or doubled.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A cron expression of five fields.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(inline, extend("examples" = ["0 3 * * *", "0 */6 * * *", "30 2 * * MON", "@daily"]))]
pub struct Schedule {
    text: String,
    cron: Cron,
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Schedule {
    /// The expression as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl TryFrom<String> for Schedule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let cron = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build()
            .parse(&text)
            .map_err(|error| {
                format!(
                    "not a cron expression of five fields (minute hour day month weekday), such as \"0 3 * * *\": {error}"
                )
            })?;
        // "30 February" parses, but never comes.
        cron.find_next_occurrence(&Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC), true)
            .map_err(|_| format!("the schedule \"{text}\" never comes"))?;
        Ok(Self { text, cron })
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.text
    }
}

/// An IANA time zone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(inline, extend("examples" = ["UTC", "Europe/Berlin", "Asia/Seoul"]))]
pub struct Zone(TimeZone);

impl Zone {
    /// UTC.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// The zone's time at an instant.
    #[must_use]
    pub fn at(&self, instant: Timestamp) -> Zoned {
        instant.to_zoned(self.0.clone())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }
}

impl TryFrom<String> for Zone {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        TimeZone::get(&name).map(Self).map_err(|_| {
            format!("\"{name}\" is no IANA time zone; they look like Europe/Berlin or UTC")
        })
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name().to_owned()
    }
}

impl Schedule {
    /// The slot that holds at `now`: the last time of the schedule not after it.
    #[must_use]
    pub fn slot_at(&self, zone: &Zone, now: Timestamp) -> Option<Zoned> {
        self.cron.find_previous_occurrence(&zone.at(now), true).ok()
    }

    /// The slot that follows `slot`.
    #[must_use]
    pub fn slot_after(&self, zone: &Zone, slot: Timestamp) -> Option<Zoned> {
        self.cron.find_next_occurrence(&zone.at(slot), false).ok()
    }
}

/// A slot as its tag says it: RFC 3339 with the plan's offset.
pub(crate) fn tag(slot: &Zoned) -> String {
    slot.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// A slot as people say it: `2026-11-22 03:00 Asia/Seoul`.
pub(crate) fn label(slot: &Zoned, zone: &Zone) -> String {
    format!("{} {}", slot.strftime("%Y-%m-%d %H:%M"), zone.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan as _;
    use proptest::prelude::*;

    fn zone(name: &str) -> Zone {
        Zone::try_from(name.to_owned()).unwrap()
    }

    fn schedule(text: &str) -> Schedule {
        Schedule::try_from(text.to_owned()).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// All slots between two instants, walking forward.
    fn between(text: &str, zone_name: &str, from: &str, to: &str) -> Vec<String> {
        let (schedule, zone) = (schedule(text), zone(zone_name));
        let mut slots = Vec::new();
        let mut slot = schedule.slot_after(&zone, at(from)).unwrap();
        while slot.timestamp() <= at(to) {
            slots.push(tag(&slot));
            slot = schedule.slot_after(&zone, slot.timestamp()).unwrap();
        }
        slots
    }

    #[test]
    fn the_slot_is_the_last_time_not_after_now() {
        let (daily, seoul) = (schedule("0 3 * * *"), zone("Asia/Seoul"));
        for (now, slot) in [
            ("2026-11-21T18:00:00Z", "2026-11-22T03:00:00+09:00"),
            ("2026-11-21T17:59:59Z", "2026-11-21T03:00:00+09:00"),
            ("2026-11-22T12:00:00Z", "2026-11-22T03:00:00+09:00"),
        ] {
            assert_eq!(tag(&daily.slot_at(&seoul, at(now)).unwrap()), slot);
        }
    }

    #[test]
    fn a_time_that_spring_skips_comes_right_after_the_gap() {
        assert_eq!(
            between(
                "30 2 * * *",
                "Europe/Berlin",
                "2026-03-28T00:00:00Z",
                "2026-03-30T12:00:00Z"
            ),
            [
                "2026-03-28T02:30:00+01:00",
                "2026-03-29T03:00:00+02:00",
                "2026-03-30T02:30:00+02:00"
            ]
        );
    }

    #[test]
    fn a_time_that_autumn_has_twice_comes_once() {
        assert_eq!(
            between(
                "30 2 * * *",
                "Europe/Berlin",
                "2026-10-24T00:00:00Z",
                "2026-10-26T12:00:00Z"
            ),
            [
                "2026-10-24T02:30:00+02:00",
                "2026-10-25T02:30:00+02:00",
                "2026-10-26T02:30:00+01:00"
            ]
        );
    }

    #[test]
    fn hourly_slots_follow_the_clock_through_both_changes() {
        for (from, to) in [
            ("2026-03-28T22:30:00Z", "2026-03-29T04:30:00Z"),
            ("2026-10-24T22:30:00Z", "2026-10-25T04:30:00Z"),
        ] {
            let slots = between("0 * * * *", "Europe/Berlin", from, to);
            assert_eq!(slots.len(), 6, "{slots:?}");
        }
    }

    #[test]
    fn a_wrong_schedule_or_zone_says_what_is_expected() {
        for text in [
            "",
            "daily",
            "0 3 * *",
            "61 3 * * *",
            "0 0 3 * * *",
            "0 3 30 2 *",
        ] {
            assert!(Schedule::try_from(text.to_owned()).is_err(), "{text:?}");
        }
        let error = Zone::try_from("Europe/Bonn".to_owned()).unwrap_err();
        assert!(error.contains("Europe/Berlin"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// Looking back from any moment finds the slot that walking forward has passed last: no
        /// slot is skipped or doubled, whatever the zone's clock does.
        #[test]
        fn looking_back_agrees_with_walking_forward(
            schedule_text in prop::sample::select(vec![
                "0 3 * * *", "30 2 * * *", "0 * * * *", "*/30 * * * *", "15 1,2,3 * * *",
                "0 2 * * 0", "45 2 1 * *", "0 0 * * *", "30 1-3 * * *", "0 */6 * * *",
            ]),
            zone_name in prop::sample::select(vec![
                "UTC", "Europe/Berlin", "America/New_York", "Asia/Seoul", "Australia/Lord_Howe",
                "America/Sao_Paulo", "Africa/Cairo", "Pacific/Chatham", "America/St_Johns",
                "Asia/Kathmandu", "Atlantic/Azores",
            ]),
            // Around the changes of 2026, and any other time of three years.
            base in prop::sample::select(vec![
                "2026-03-08T07:00:00Z", "2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z",
                "2026-11-01T06:00:00Z", "2026-04-04T15:00:00Z", "2026-10-03T15:00:00Z",
                "2026-04-24T00:00:00Z", "2026-10-29T22:00:00Z", "2025-01-01T00:00:00Z",
            ]),
            minutes in -4_000i64..4_000,
        ) {
            let (schedule, zone) = (schedule(schedule_text), zone(zone_name));
            let now = at(base) + minutes.minutes();
            let slot = schedule.slot_at(&zone, now).unwrap().timestamp();
            prop_assert!(slot <= now);
            let next = schedule.slot_after(&zone, slot).unwrap().timestamp();
            prop_assert!(next > now, "{} after {} is not after {}", next, slot, now);
            // And from well before, walking forward meets exactly this slot.
            let mut walked = schedule.slot_after(&zone, slot - 40.hours()).unwrap().timestamp();
            while walked < slot {
                walked = schedule.slot_after(&zone, walked).unwrap().timestamp();
            }
            prop_assert_eq!(walked, slot);
        }
    }
}
