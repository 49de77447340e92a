//! Which snapshots a plan keeps: restic's `forget` rules, per volume, in the plan's time zone.

use jiff::{Timestamp, Zoned};

use crate::policy::Keep;
use crate::slots::Zone;

/// For each slot, whether `keep` keeps its snapshot, in the order of `slots` (from old to new,
/// no two equal). The newest is always kept.
///
/// As in restic: `last` keeps the newest so many; `hourly` to `yearly` keep the newest of each of
/// the latest so many hours, days … that have any, and the oldest of all while a rule has some
/// left; `within` keeps all that are less than so long older than the newest.
pub(crate) fn kept(slots: &[Timestamp], keep: &Keep, zone: &Zone) -> Vec<bool> {
    let mut kept = vec![false; slots.len()];
    let Some(newest) = slots.last() else {
        return kept;
    };
    let horizon = keep
        .within
        .as_ref()
        .and_then(|within| within.before(&zone.at(*newest)));
    let mut rules = [
        Rule::new(keep.last, |_, index| key(index)),
        Rule::new(keep.hourly, |at, _| {
            // The instant of the hour's begin, so that the hour that autumn has twice counts twice.
            at.timestamp().as_second() - i64::from(at.minute()) * 60 - i64::from(at.second())
        }),
        Rule::new(keep.daily, |at, _| day(at)),
        Rule::new(keep.weekly, |at, _| {
            let week = at.date().iso_week_date();
            i64::from(week.year()) * 100 + i64::from(week.week())
        }),
        Rule::new(keep.monthly, |at, _| {
            i64::from(at.year()) * 100 + i64::from(at.month())
        }),
        Rule::new(keep.yearly, |at, _| i64::from(at.year())),
    ];
    for (index, slot) in slots.iter().enumerate().rev() {
        let at = zone.at(*slot);
        // `|`, not `||`: each rule counts what it sees.
        let by_rule = rules
            .iter_mut()
            .fold(false, |any, rule| rule.keeps(&at, index) | any);
        let by_age = horizon.is_some_and(|horizon| *slot > horizon);
        kept[index] = by_rule || by_age || index + 1 == slots.len();
    }
    kept
}

fn key(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

fn day(at: &Zoned) -> i64 {
    i64::from(at.year()) * 1_000 + i64::from(at.day_of_year())
}

/// One counted rule, fed from new to old.
struct Rule {
    left: u32,
    bucket: fn(&Zoned, usize) -> i64,
    last: Option<i64>,
}

impl Rule {
    fn new(count: u32, bucket: fn(&Zoned, usize) -> i64) -> Self {
        Self {
            left: count,
            bucket,
            last: None,
        }
    }

    fn keeps(&mut self, at: &Zoned, index: usize) -> bool {
        if self.left == 0 {
            return false;
        }
        let bucket = (self.bucket)(at, index);
        let oldest = index == 0;
        if self.last == Some(bucket) && !oldest {
            return false;
        }
        self.last = Some(bucket);
        self.left -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan as _;
    use proptest::prelude::*;

    fn keep(yaml: &str) -> Keep {
        crate::policy::tests::keep(yaml)
    }

    fn days(count: i64) -> Vec<Timestamp> {
        let first: Timestamp = "2026-01-01T03:00:00Z".parse().unwrap();
        (0..count).map(|day| first + (day * 24).hours()).collect()
    }

    fn kept_of(slots: &[Timestamp], keep: &Keep) -> Vec<String> {
        let kept = kept(slots, keep, &Zone::UTC);
        let labels = slots.iter().zip(kept).filter(|(_, kept)| *kept);
        labels
            .map(|(slot, _)| slot.strftime("%m-%d").to_string())
            .collect()
    }

    #[test]
    fn the_example_of_the_policy_over_a_quarter() {
        // 2026-03-31 is the newest of 90 days; weeks end on Sunday; the oldest is kept because
        // `monthly` has some left.
        assert_eq!(
            kept_of(
                &days(90),
                &keep("{last: 2, daily: 7, weekly: 4, monthly: 12}")
            ),
            [
                "01-01", "01-31", "02-28", "03-15", "03-22", "03-25", "03-26", "03-27", "03-28",
                "03-29", "03-30", "03-31"
            ]
        );
    }

    #[test]
    fn counts_days_that_have_a_snapshot_not_calendar_days() {
        let mut slots = days(3);
        slots.extend(days(40).split_off(38));
        assert_eq!(
            kept_of(&slots, &keep("{daily: 3}")),
            ["01-03", "02-08", "02-09"]
        );
    }

    #[test]
    fn within_counts_back_from_the_newest() {
        assert_eq!(
            kept_of(&days(60), &keep("{within: 3d}")),
            ["02-27", "02-28", "03-01"]
        );
        assert_eq!(kept_of(&days(60), &keep("{within: 1mo}")).len(), 28);
    }

    #[test]
    fn days_are_those_of_the_plans_zone() {
        // 20:00 and 22:00 UTC are the same day in UTC and two days in Berlin.
        let slots: Vec<Timestamp> = ["2026-01-01T20:00:00Z", "2026-01-01T23:30:00Z"]
            .map(|slot| slot.parse().unwrap())
            .to_vec();
        let rule = keep("{daily: 1, last: 1}");
        let berlin = Zone::try_from("Europe/Berlin".to_owned()).unwrap();
        // One day: its newest, and one left-over count for the oldest.
        assert_eq!(kept(&slots, &rule, &Zone::UTC), [false, true]);
        assert_eq!(kept(&slots, &rule, &berlin), [false, true]);
        let two = keep("{daily: 2}");
        assert_eq!(kept(&slots, &two, &berlin), [true, true]);
    }

    #[test]
    fn nothing_to_keep_is_nothing_kept() {
        assert!(kept(&[], &keep("{last: 1}"), &Zone::UTC).is_empty());
    }

    /// The policy refuses a `keep` without rules; should one come here all the same, it isn't a
    /// licence to delete everything.
    #[test]
    fn without_any_rule_the_newest_stays() {
        assert_eq!(
            kept(&days(3), &Keep::default(), &Zone::UTC),
            [false, false, true]
        );
    }

    fn any_keep() -> impl Strategy<Value = Keep> {
        (
            0u32..5,
            0u32..5,
            0u32..5,
            0u32..5,
            0u32..5,
            0u32..3,
            prop::option::of(1i32..40),
        )
            .prop_map(
                |(last, hourly, daily, weekly, monthly, yearly, within)| Keep {
                    last,
                    hourly,
                    daily,
                    weekly,
                    monthly,
                    yearly,
                    within: within.map(crate::policy::tests::within_days),
                },
            )
    }

    proptest! {
        #[test]
        fn the_newest_always_stays_and_a_rule_never_keeps_fewer_when_raised(
            gaps in prop::collection::vec(1i64..2_000, 1..60),
            keep in any_keep(),
        ) {
            let mut at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
            let slots: Vec<_> = gaps.iter().map(|gap| { at += gap.hours() ; at }).collect();
            let now = kept(&slots, &keep, &Zone::UTC);
            prop_assert_eq!(now.last(), Some(&true));
            let count = now.iter().filter(|kept| **kept).count();
            let least = usize::try_from(keep.last).unwrap().min(slots.len());
            prop_assert!(count >= least);
            let more = Keep { daily: keep.daily + 1, ..keep.clone() };
            let raised = kept(&slots, &more, &Zone::UTC);
            // All but the oldest, which is only kept while counts are left over.
            for index in 1..slots.len() {
                prop_assert!(!now[index] || raised[index]);
            }
        }

        /// Forgetting day by day keeps what forgetting at the end would keep: no day's run
        /// deletes what a later one wants. (Why a day that failed doesn't lose a tier, EBS-12.)
        #[test]
        fn pruning_as_time_passes_agrees_with_pruning_at_the_end(
            gaps in prop::collection::vec(6i64..80, 1..80),
            keep in any_keep(),
        ) {
            let mut at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
            let mut left: Vec<Timestamp> = Vec::new();
            let mut all = Vec::new();
            for gap in gaps {
                at += gap.hours();
                left.push(at);
                all.push(at);
                let stays = kept(&left, &keep, &Zone::UTC);
                left = left.iter().zip(stays).filter(|(_, s)| *s).map(|(l, _)| *l).collect();
            }
            let at_once: Vec<Timestamp> = all.iter().zip(kept(&all, &keep, &Zone::UTC))
                .filter(|(_, stays)| *stays).map(|(slot, _)| *slot).collect();
            // Restic's extra for the oldest is the only one that may have gone by and by.
            for slot in &at_once {
                prop_assert!(left.contains(slot) || Some(slot) == all.first(), "{} is lost", slot);
            }
        }
    }
}
