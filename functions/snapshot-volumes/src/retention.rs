//! Which snapshots a plan keeps: restic's `forget` rules, per volume, in the plan's time zone.

use jiff::{Timestamp, Zoned};

use crate::policy::{Count, Keep, Within};
use crate::slots::Zone;

/// For each slot, whether `keep` keeps its snapshot, in the order of `slots` (from old to new,
/// no two equal). The newest is always kept.
///
/// As in restic: `last` keeps the newest so many; `hourly` to `yearly` keep the newest of each of
/// the latest so many hours, days … that have any, and the oldest of all while a rule has some
/// left; `within` keeps all that are less than so long older than the newest, `within-hourly` to
/// `within-yearly` of these the newest of each hour, day …, and the oldest of all if it is one.
pub(crate) fn kept(slots: &[Timestamp], keep: &Keep, zone: &Zone) -> Vec<bool> {
    let mut kept = vec![false; slots.len()];
    let Some(newest) = slots.last() else {
        return kept;
    };
    let newest = zone.at(*newest);
    let buckets: [fn(&Zoned, usize) -> i64; 6] = [each, hour, day, week, month, year];
    let counts = keep.counts().into_iter().zip(buckets);
    let mut counts: Vec<_> = counts
        .map(|(count, bucket)| Rule::new(Limit::Count(count), bucket))
        .collect();
    let spans = keep.spans().into_iter().zip(buckets);
    counts.extend(spans.filter_map(|((_, within), bucket)| {
        Some(Rule::new(Limit::Within(within?, &newest), bucket))
    }));
    for (index, slot) in slots.iter().enumerate().rev() {
        let at = zone.at(*slot);
        // `|`, not `||`: each rule counts what it sees.
        let by_rule = counts
            .iter_mut()
            .fold(false, |any, rule| rule.keeps(&at, index) | any);
        kept[index] = by_rule || index + 1 == slots.len();
    }
    kept
}

fn each(_: &Zoned, index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

/// The instant of the hour's begin, so that the hour that autumn has twice counts twice.
fn hour(at: &Zoned, _: usize) -> i64 {
    at.timestamp().as_second() - i64::from(at.minute()) * 60 - i64::from(at.second())
}

fn day(at: &Zoned, _: usize) -> i64 {
    i64::from(at.year()) * 1_000 + i64::from(at.day_of_year())
}

fn week(at: &Zoned, _: usize) -> i64 {
    let week = at.date().iso_week_date();
    i64::from(week.year()) * 100 + i64::from(week.week())
}

fn month(at: &Zoned, _: usize) -> i64 {
    i64::from(at.year()) * 100 + i64::from(at.month())
}

fn year(at: &Zoned, _: usize) -> i64 {
    i64::from(at.year())
}

/// One rule, fed from new to old.
struct Rule<'a> {
    limit: Limit<'a>,
    bucket: fn(&Zoned, usize) -> i64,
    last: Option<i64>,
}

enum Limit<'a> {
    /// So many are left.
    Count(Count),
    /// What lies less than so long before the newest.
    Within(&'a Within, &'a Zoned),
}

impl<'a> Rule<'a> {
    fn new(limit: Limit<'a>, bucket: fn(&Zoned, usize) -> i64) -> Self {
        Self {
            limit,
            bucket,
            last: None,
        }
    }

    fn keeps(&mut self, at: &Zoned, index: usize) -> bool {
        let is_over = match &self.limit {
            Limit::Count(count) => *count == Count::Latest(0),
            Limit::Within(within, newest) => !within.reaches(at.timestamp(), newest),
        };
        if is_over {
            return false;
        }
        let bucket = (self.bucket)(at, index);
        let oldest = index == 0;
        if self.last == Some(bucket) && !oldest {
            return false;
        }
        self.last = Some(bucket);
        if let Limit::Count(Count::Latest(left)) = &mut self.limit {
            *left -= 1;
        }
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
    fn a_span_longer_than_all_calendars_keeps_everything() {
        assert_eq!(kept_of(&days(6), &keep("{within: 12026y}")).len(), 6);
        assert_eq!(kept_of(&days(6), &keep("{within-daily: 19000y}")).len(), 6);
    }

    #[test]
    fn unlimited_keeps_all() {
        assert_eq!(kept_of(&days(60), &keep("{last: unlimited}")).len(), 60);
        // The newest of each month, and the oldest.
        assert_eq!(
            kept_of(&days(60), &keep("{monthly: unlimited}")),
            ["01-01", "01-31", "02-28", "03-01"]
        );
    }

    #[test]
    fn of_those_within_a_span_the_newest_of_each_period() {
        // 2026-03-01 is the newest of 60 days, a Sunday.
        for (rule, expected) in [
            ("{within-daily: 3d}", &["02-27", "02-28", "03-01"][..]),
            ("{within-hourly: 2d}", &["02-28", "03-01"]),
            (
                "{within-weekly: 28d}",
                &["02-08", "02-15", "02-22", "03-01"],
            ),
            ("{within-monthly: 2mo}", &["01-31", "02-28", "03-01"]),
            ("{within-yearly: 1y}", &["01-01", "03-01"]),
            (
                "{within: 2d, within-monthly: 2mo}",
                &["01-31", "02-28", "03-01"],
            ),
        ] {
            assert_eq!(kept_of(&days(60), &keep(rule)), expected, "{rule}");
        }
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

    fn any_count(most: u32) -> impl Strategy<Value = Count> {
        prop_oneof![
            12 => (0..most).prop_map(Count::Latest),
            1 => Just(Count::Unlimited),
        ]
    }

    fn any_within() -> impl Strategy<Value = Option<Within>> {
        prop::option::of((1i32..40).prop_map(crate::policy::tests::within_days))
    }

    prop_compose! {
        fn any_keep()(
            last in any_count(5),
            hourly in any_count(5),
            daily in any_count(5),
            weekly in any_count(5),
            monthly in any_count(5),
            yearly in any_count(3),
            within in any_within(),
            within_hourly in any_within(),
            within_daily in any_within(),
            within_weekly in any_within(),
            within_monthly in any_within(),
            within_yearly in any_within(),
        ) -> Keep {
            Keep {
                last,
                hourly,
                daily,
                weekly,
                monthly,
                yearly,
                within,
                within_hourly,
                within_daily,
                within_weekly,
                within_monthly,
                within_yearly,
            }
        }
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
            let least = match keep.last {
                Count::Latest(last) => usize::try_from(last).unwrap().min(slots.len()),
                Count::Unlimited => slots.len(),
            };
            prop_assert!(count >= least);
            let raised = match keep.daily {
                Count::Latest(days) => Count::Latest(days + 1),
                Count::Unlimited => Count::Unlimited,
            };
            let more = Keep { daily: raised, ..keep.clone() };
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
