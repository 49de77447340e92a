//! Slots: a plan's schedule as points in time.
//!
//! Daylight saving, as in Vixie cron: hours that are named (one, a list, a range) are times on the
//! clock, and each comes once: at the first instant at which the clock shows it or a later one. So
//! one that spring skips comes right after the gap, together with its neighbours there, and one
//! that autumn has twice comes at the first. Hours written with `*` follow time itself: croner
//! knows these. So each slot is one instant, and none is skipped or doubled.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// No zone's clock was ever changed by more, nor for less than that long.
const LONGEST_CHANGE: SignedDuration = SignedDuration::from_hours(24);

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

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
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

impl Zone {
    /// The first instant at which the clock shows `time` or a later one.
    fn first_at(&self, time: DateTime) -> Option<Timestamp> {
        match self.0.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(time).ok(),
            AmbiguousOffset::Gap { after, .. } => {
                let before_it = after.to_timestamp(time).ok()?;
                let change = self.0.following(before_it).find(|c| c.offset() == after);
                change.map(|change| change.timestamp())
            }
        }
    }

    /// A time that the clock has never passed up to `now`.
    fn latest_shown(&self, now: Timestamp) -> DateTime {
        let since = now.saturating_sub(LONGEST_CHANGE).unwrap_or(now);
        let second = SignedDuration::from_secs(1);
        let changes = self.0.preceding(now.saturating_add(second).unwrap_or(now));
        let before: Option<Offset> = changes
            .take_while(|change| change.timestamp() >= since)
            .filter_map(|change| change.timestamp().checked_sub(second).ok())
            .map(|before| self.0.to_offset(before))
            .max();
        let offset = self.0.to_offset(now);
        before.unwrap_or(offset).max(offset).to_datetime(now)
    }

    /// A time that the clock shows no more after `now`, but for changes that come.
    fn earliest_to_come(&self, now: Timestamp) -> DateTime {
        let until = now.saturating_add(LONGEST_CHANGE).unwrap_or(now);
        let changes = self.0.following(now);
        let after: Option<Offset> = changes
            .take_while(|change| change.timestamp() <= until)
            .map(|change| change.offset())
            .min();
        let offset = self.0.to_offset(now);
        after.unwrap_or(offset).min(offset).to_datetime(now)
    }
}

impl Schedule {
    /// The slot that holds at `now`: the last time of the schedule not after it.
    #[must_use]
    pub fn slot_at(&self, zone: &Zone, now: Timestamp) -> Option<Zoned> {
        if self.follows_time() {
            return self.cron.find_previous_occurrence(&zone.at(now), true).ok();
        }
        let mut shown = on_its_own(zone.latest_shown(now))?;
        let mut inclusive = true;
        loop {
            shown = self.cron.find_previous_occurrence(&shown, inclusive).ok()?;
            inclusive = false;
            let slot = zone.first_at(shown.datetime())?;
            if slot <= now {
                return Some(zone.at(slot));
            }
        }
    }

    /// The slot that follows `slot`.
    #[must_use]
    pub fn slot_after(&self, zone: &Zone, slot: Timestamp) -> Option<Zoned> {
        if self.follows_time() {
            return self.cron.find_next_occurrence(&zone.at(slot), false).ok();
        }
        let mut shown = on_its_own(zone.earliest_to_come(slot))?;
        let mut inclusive = true;
        loop {
            shown = self.cron.find_next_occurrence(&shown, inclusive).ok()?;
            inclusive = false;
            let next = zone.first_at(shown.datetime())?;
            if next > slot {
                return Some(zone.at(next));
            }
        }
    }

    /// The next `count` slots as people say them: `Sun 2026-11-22 03:00`.
    #[must_use]
    pub fn next_slots(&self, zone: &Zone, now: Timestamp, count: usize) -> String {
        let next = |slot: &Zoned| self.slot_after(zone, slot.timestamp());
        let slots = std::iter::successors(next(&zone.at(now)), next).take(count);
        let labels: Vec<_> = slots
            .map(|slot| slot.strftime("%a %Y-%m-%d %H:%M").to_string())
            .collect();
        labels.join(", ")
    }

    /// Whether its hours are written with `*`.
    fn follows_time(&self) -> bool {
        self.cron.pattern.hours.from_wildcard
    }
}

/// A time on a clock that is never changed.
fn on_its_own(time: DateTime) -> Option<Zoned> {
    time.to_zoned(TimeZone::UTC).ok()
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
    fn lists_and_ranges_of_hours_are_times_on_the_clock() {
        let spring = ("2026-03-29T00:00:00Z", "2026-03-29T12:30:00Z");
        let autumn = ("2026-10-24T22:30:00Z", "2026-10-25T13:30:00Z");
        for (text, (from, to), expected) in [
            ("0 2,14 * * *", spring, &["03:00+02:00", "14:00+02:00"][..]),
            ("0 2,14 * * *", autumn, &["02:00+02:00", "14:00+01:00"]),
            (
                "30 1-3 * * *",
                spring,
                &["01:30+01:00", "03:00+02:00", "03:30+02:00"],
            ),
            (
                "30 1-3 * * *",
                autumn,
                &["01:30+02:00", "02:30+02:00", "03:30+01:00"],
            ),
            ("0,30 2 * * *", spring, &["03:00+02:00"]),
            ("0,30 2 * * *", autumn, &["02:00+02:00", "02:30+02:00"]),
            ("*/20 2 * * *", spring, &["03:00+02:00"]),
        ] {
            let slots = between(text, "Europe/Berlin", from, to);
            let shown: Vec<_> = slots
                .iter()
                .map(|slot| format!("{}{}", &slot[11..16], &slot[19..]))
                .collect();
            assert_eq!(shown, expected, "{text} from {from}");
        }
    }

    /// The clock of Nuuk jumps from Saturday 23:00 to Sunday 00:00.
    #[test]
    fn what_a_gap_at_midnight_skips_comes_right_after_it() {
        let slots = between(
            "30 23 * * SAT",
            "America/Nuuk",
            "2026-03-25T00:00:00Z",
            "2026-03-31T00:00:00Z",
        );
        assert_eq!(slots, ["2026-03-29T00:00:00-01:00"]);
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

    // ---- an independent reckoning ------------------------------------------------------------------

    /// Whether a field of minutes or hours has `value`.
    fn has(field: &str, value: i8) -> bool {
        let number = |text: &str| text.parse::<i8>().unwrap();
        field.split(',').any(|part| {
            let (range, step) = part.split_once('/').unwrap_or((part, "1"));
            let (from, to) = match range.split_once('-') {
                Some((from, to)) => (number(from), number(to)),
                None if range == "*" => (0, 59),
                None => (number(range), number(range)),
            };
            (from..=to).contains(&value) && (value - from) % number(step) == 0
        })
    }

    /// A schedule of minutes and hours alone, and whether its hours have a `*`.
    struct Reckoning {
        follows_time: bool,
        /// By minute of the day.
        due: Vec<bool>,
    }

    impl Reckoning {
        fn of(text: &str) -> Self {
            let mut fields = text.split(' ');
            let (minute, hour) = (fields.next().unwrap(), fields.next().unwrap());
            let day = (0..24).flat_map(|h| (0..60).map(move |m| (h, m)));
            Self {
                follows_time: hour.contains('*'),
                due: day.map(|(h, m)| has(hour, h) && has(minute, m)).collect(),
            }
        }

        fn is_due(&self, time: DateTime) -> bool {
            let minute = i32::from(time.hour()) * 60 + i32::from(time.minute());
            self.due[usize::try_from(minute).unwrap()]
        }

        /// Walks minute by minute. Hours with `*`: whenever the clock shows such a time. Others:
        /// when it first shows such a time, or has jumped over it.
        fn slots(&self, minutes: &[(Timestamp, DateTime)]) -> Vec<Timestamp> {
            let mut latest = minutes[0].1;
            let mut slots = Vec::new();
            for (at, shown) in minutes {
                let mut is_slot = self.follows_time && self.is_due(*shown);
                while latest < *shown {
                    latest += 1.minute();
                    is_slot |= !self.follows_time && self.is_due(latest);
                }
                if is_slot {
                    slots.push(*at);
                }
            }
            slots
        }
    }

    /// Every change of every zone's clock in ten years, each kind of schedule.
    #[test]
    fn all_changes_of_ten_years_agree_with_an_independent_reckoning() {
        let schedules: Vec<(&str, Schedule, Reckoning)> = [
            "0 3 * * *",
            "30 2 * * *",
            "0 2,14 * * *",
            "15 1,2,3 * * *",
            "30 1-3 * * *",
            "0,20,40 0-4 * * *",
            "0-10/5 0-23/2 * * *",
            "30 23 * * *",
            "5 0 * * *",
            "*/30 2 * * *",
            "0 * * * *",
            "*/15 * * * *",
            "45 */2 * * *",
            "10,50 */3 * * *",
        ]
        .into_iter()
        .map(|text| (text, schedule(text), Reckoning::of(text)))
        .collect();
        let (from, to) = (at("2026-01-01T00:00:00Z"), at("2036-01-01T00:00:00Z"));
        let mut seen = std::collections::BTreeSet::new();
        for name in jiff::tz::db().available() {
            let zone = zone(name.as_str());
            let changes = zone
                .0
                .following(from)
                .take_while(|change| change.timestamp() < to);
            for change in changes {
                let change = (change.timestamp(), change.offset());
                let before = zone.0.to_offset(change.0 - 1.second());
                // Not one to the offset that holds already; and of those that the clock shows alike,
                // on whatever day, one.
                let shown = before.to_datetime(change.0).time();
                if before == change.1 || !seen.insert((shown, before, change.1)) {
                    continue;
                }
                let first = change.0 - 8.hours();
                let minutes: Vec<_> = (0..16 * 60)
                    .map(|minute| first + minute.minutes())
                    .map(|instant| (instant, zone.at(instant).datetime()))
                    .collect();
                let last = minutes[minutes.len() - 1].0;
                for (text, schedule, reckoning) in &schedules {
                    let expected: Vec<_> = reckoning
                        .slots(&minutes)
                        .into_iter()
                        .filter(|slot| *slot > change.0 - 4.hours())
                        .collect();
                    let mut walked = Vec::new();
                    let mut slot = change.0 - 4.hours();
                    loop {
                        slot = schedule.slot_after(&zone, slot).unwrap().timestamp();
                        if slot > last {
                            break;
                        }
                        walked.push(slot);
                    }
                    let place = || format!("{text} in {} around {}", name.as_str(), change.0);
                    assert_eq!(walked, expected, "{}", place());
                    for (now, _) in minutes.iter().skip(5 * 60 + 7).step_by(53) {
                        let Some(slot) = expected.iter().rfind(|slot| *slot <= now) else {
                            continue;
                        };
                        let found = schedule.slot_at(&zone, *now).unwrap().timestamp();
                        assert_eq!(found, *slot, "{} at {now}", place());
                    }
                }
            }
        }
        assert!(seen.len() > 40, "{} kinds of change", seen.len());
    }
}
