//! What in the section is hardly meant, and what it takes of the stack. Only what is certain from
//! the section alone.

use guardrails::policy::{Age, Mode, Remark, Section, TagMatch};
use jiff::{Timestamp, Zoned};

use super::misread::misread;
use super::{Count, Keep, Plan, Policy, Select, Within};

/// The stack's sweep interval is this at least …
const SHORTEST_SWEEP: Age = Age::from_mins(5);
/// … and this when nobody changed it.
const DEFAULT_SWEEP: Age = Age::from_mins(15);
/// How many of a plan's slots are looked at: with an hourly schedule more than two days, with one
/// for working hours more than a week.
const SLOTS: usize = 64;

impl Section for Policy {
    fn mode(&self) -> Mode {
        self.mode
    }

    fn warnings(&self) -> Vec<Remark> {
        warnings(self, Timestamp::now())
    }

    fn requirements(&self) -> Vec<Remark> {
        requirements(self)
    }
}

/// `now` is only for the slots that are shown.
fn warnings(policy: &Policy, now: Timestamp) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let plans = &policy.plans.0;
    for (index, plan) in plans.iter().enumerate() {
        let mut warn = |key: &str, text: String| {
            remarks.push(Remark::new(format!("plans[{index}]{key}"), text));
        };
        if let Some(twin) = plans[..index].iter().find(|twin| same_slots(twin, plan)) {
            warn(
                "",
                format!(
                    "plan \"{}\" snapshots the same volumes at the same times as \"{}\": each volume gets two snapshots at once; put both `keep` together into one plan",
                    plan.name, twin.name
                ),
            );
        }
        if selects_nothing(plan) {
            warn(
                ".exclude",
                format!(
                    "leaves out every volume that plan \"{}\" selects, so it makes no snapshot; use another tag to leave volumes out",
                    plan.name
                ),
            );
        }
        if holds_newest_only(&plan.keep) {
            warn(
                ".keep",
                format!(
                    "never holds more than the newest snapshot of a volume: what was deleted or broken before plan \"{}\" ran again can't be had back; keep more, such as {{ last: 2, daily: 7 }}",
                    plan.name
                ),
            );
        }
        for (key, text) in spans_that_reach_nothing(plan) {
            warn(&format!(".keep.{key}"), text);
        }
        if let Some(text) = misread(plan, now) {
            warn(".schedule", text);
        }
        if policy.orphans_after.is_none() && plan.select == Select::All {
            warn(
                ".select.all",
                format!(
                    "selects the volumes of every instance that Auto Scaling or anybody launches, and without `orphans-after` plan \"{}\" keeps the last snapshots of each for ever after it is gone: the metric SnapshotsOrphaned counts them; set `orphans-after`, such as 90d",
                    plan.name
                ),
            );
        }
        if let Some((shortest, longest)) = gaps(plan) {
            if shortest < SHORTEST_SWEEP {
                warn(
                    ".schedule",
                    format!(
                        "has slots {shortest} apart, but sweeps come every {SHORTEST_SWEEP} at most (every {DEFAULT_SWEEP} by default): slots in between get no snapshot"
                    ),
                );
            }
            if let Some(after) = policy.orphans_after.filter(|after| *after < longest) {
                remarks.push(Remark::new(
                    "orphans-after",
                    format!(
                        "{after} is shorter than the {longest} between two slots of plan \"{}\": when a volume is deleted late in between, all its snapshots go with the next sweep; write more than {longest}",
                        plan.name
                    ),
                ));
            }
        }
    }
    remarks.extend(drills(policy));
    let brake = policy.brake;
    if brake.percent == 100 {
        remarks.push(Remark::new(
            "brake.percent",
            "100 takes the brake off: nothing stops a run that would delete nearly every snapshot, say after a mistake in `keep`; the default is 33",
        ));
    } else if brake.count == 0 && brake.percent == 0 {
        remarks.push(Remark::new(
            "brake",
            "with `count: 0` and `percent: 0` every deletion is too much, so no snapshot is ever pruned; the defaults are 20 and 33",
        ));
    }
    remarks
}

fn requirements(policy: &Policy) -> Vec<Remark> {
    let plans = || policy.plans.0.iter().enumerate();
    let mut remarks: Vec<Remark> = plans().flat_map(|(at, plan)| copies(at, plan)).collect();
    let slots = plans()
        .filter_map(|(index, plan)| {
            let (shortest, _) = gaps(plan)?;
            (SHORTEST_SWEEP..DEFAULT_SWEEP).contains(&shortest).then(|| {
                Remark::new(
                    format!("plans[{index}].schedule"),
                    format!(
                        "has slots {shortest} apart: takes the stack's parameter SweepSchedule at {shortest} or less (it is {DEFAULT_SWEEP} by default)"
                    ),
                )
            })
        });
    remarks.extend(slots);
    if !policy.drills.is_empty() {
        let text = "takes the stack's parameter RestoreDrills at true";
        remarks.push(Remark::new("drills", text));
    }
    remarks
}

/// What of the drills can try nothing.
fn drills(policy: &Policy) -> impl Iterator<Item = Remark> {
    policy.drills.iter().enumerate().flat_map(|(at, drill)| {
        let place = move |key: &str| format!("drills[{at}].{key}");
        let plans = policy.plans.0.iter();
        let is_known = move |name: &String| plans.clone().any(|plan| plan.name == *name);
        let unknown = drill.plans.iter().filter(move |name| !is_known(name));
        let unknown = unknown.map(move |name| {
            let text = format!("there is no plan \"{name}\", so nothing of it is tried");
            Remark::new(place("plans"), text)
        });
        let region = drill.region.as_deref();
        let mut plans = policy.plans.0.iter().filter(|plan| drill.is_for(&plan.name));
        let not_copied = region.filter(|region| !plans.any(|plan| plan.copies_to(region).is_some()));
        let not_copied = not_copied.map(move |region| {
            let text = format!("no plan of drill \"{}\" is copied to {region}; leave `region` out to try the snapshots in the stack's own Region", drill.name);
            Remark::new(place("region"), text)
        });
        unknown.chain(not_copied)
    })
}

/// What a plan's copies take.
fn copies(at: usize, plan: &Plan) -> impl Iterator<Item = Remark> {
    let copies = plan.copies.iter().enumerate();
    copies.flat_map(move |(n, copying)| {
        let place = |key: &str| format!("plans[{at}].copies[{n}].{key}");
        let region = &copying.region;
        let named = format!("takes {region} in the stack's parameter CopyRegions as well");
        let key = copying.key.as_ref().map(|key| {
            let text = format!(
                "takes the ARN of the key {key} in the stack's parameter CopyKeyArns as well, and those of the keys that volumes here are encrypted with"
            );
            Remark::new(place("key"), text)
        });
        std::iter::once(Remark::new(place("region"), named)).chain(key)
    })
}

fn same_slots(one: &Plan, other: &Plan) -> bool {
    one.select == other.select
        && one.exclude == other.exclude
        && one.schedule == other.schedule
        && one.timezone == other.timezone
}

/// Whether each volume with the selecting tag is left out by the same tag.
fn selects_nothing(plan: &Plan) -> bool {
    let (Select::Tag(wanted), Some(unwanted)) = (&plan.select, &plan.exclude.tag) else {
        return false;
    };
    let all = |of: &TagMatch, by: &TagMatch| match (&of.values, &by.values) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(of), Some(by)) => of.iter().all(|value| by.contains(value)),
    };
    wanted.of == unwanted.of
        && wanted.matching.tag == unwanted.matching.tag
        && all(&wanted.matching, &unwanted.matching)
}

/// A rule that counts to one keeps the newest, and so does each other that does.
fn holds_newest_only(keep: &Keep) -> bool {
    keep.spans().iter().all(|(_, within)| within.is_none()) && !counts_further(keep)
}

/// Whether a rule that counts keeps more than the newest.
fn counts_further(keep: &Keep) -> bool {
    keep.counts().iter().any(|count| *count > Count::Latest(1))
}

/// Spans that don't reach from a slot back to the one before it: from none, or from some where no
/// other rule keeps it.
fn spans_that_reach_nothing(plan: &Plan) -> Vec<(&'static str, String)> {
    let slots = first_slots(plan);
    let reaches = |within: &Within, pair: &[Zoned]| within.reaches(pair[0].timestamp(), &pair[1]);
    let spans = || plan.keep.spans().into_iter();
    let all_reach = |pair: &[Zoned]| {
        counts_further(&plan.keep)
            || spans().any(|(_, within)| within.is_some_and(|within| reaches(within, pair)))
    };
    let pairs = || slots.windows(2);
    let some_go = pairs().any(|pair| !all_reach(pair));
    let told = |(key, within): (&'static str, Option<&Within>)| {
        let within = within?;
        let never = slots.len() > 1 && pairs().all(|pair| !reaches(within, pair));
        let (reach, then) = match (never, some_go) {
            (true, _) => ("never reaches", ""),
            (false, true) => ("doesn't always reach", " then"),
            (false, false) => return None,
        };
        let text = format!(
            "{} {reach} from one slot of plan \"{}\" back to the one before, so it keeps the newest snapshot alone{then}; write more than the time between slots",
            within.as_str(),
            plan.name
        );
        Some((key, text))
    };
    spans().filter_map(told).collect()
}

/// The shortest and the longest time between slots, among the first [`SLOTS`] of the epoch: the
/// answer must not change with the day on which it is asked for.
fn gaps(plan: &Plan) -> Option<(Age, Age)> {
    let slots = first_slots(plan);
    let gaps = slots
        .windows(2)
        .map(|pair| Age::between(pair[0].timestamp(), pair[1].timestamp()));
    Some((gaps.clone().min()?, gaps.max()?))
}

fn first_slots(plan: &Plan) -> Vec<Zoned> {
    let next = |slot: &Zoned| plan.schedule.slot_after(&plan.timezone, slot.timestamp());
    let epoch = plan.timezone.at(Timestamp::UNIX_EPOCH);
    std::iter::successors(next(&epoch), next)
        .take(SLOTS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use guardrails::policy;

    /// A plan that nothing is to be said about, with one key changed.
    fn plan(change: &str) -> String {
        let mut keys = vec![
            ("name", "p"),
            ("select", "{tag: Backup, values: [a, b]}"),
            ("schedule", "\"0 3 * * *\""),
            ("keep", "{daily: 7}"),
        ];
        if let Some((key, value)) = change.split_once(": ") {
            keys.retain(|(have, _)| *have != key);
            keys.push((key, value));
        }
        let keys: Vec<_> = keys.iter().map(|(k, v)| format!("{k}: {v}")).collect();
        format!("{{{}}}", keys.join(", "))
    }

    fn parse(section: &str) -> Policy {
        policy::parse(&format!("snapshot-volumes: {{{section}}}"), crate::NAME).unwrap()
    }

    fn of(section: &str) -> Vec<String> {
        let remarks = parse(section).warnings();
        remarks.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_hardly_meant_is_told_with_its_place() {
        for (change, expected) in [
            (
                "exclude: {tag: Backup}",
                "plans[0].exclude: leaves out every volume",
            ),
            ("exclude: {tag: Backup, values: [b, c, a]}", ".exclude: "),
            ("keep: {last: 1}", "plans[0].keep: never holds more"),
            ("keep: {last: 1, daily: 1, yearly: 1}", ".keep: "),
            (
                "schedule: \"* * * * *\"",
                "plans[0].schedule: has slots 1m apart",
            ),
            ("schedule: \"0,4 3 * * *\"", "has slots 4m apart"),
            (
                "keep: {within: 12h}",
                "plans[0].keep.within: 12h never reaches",
            ),
            ("keep: {within: 24h, last: 3}", ".keep.within: 24h never"),
            (
                "keep: {within-weekly: 1d}",
                ".keep.within-weekly: 1d never reaches",
            ),
            (
                "select: {all: true}",
                "plans[0].select.all: selects the volumes of every",
            ),
        ] {
            let remarks = of(&format!("plans: [{}]", plan(change)));
            let [remark] = remarks.as_slice() else {
                panic!("{change}: {remarks:?}");
            };
            assert!(remark.contains(expected), "{change}: {remark}");
        }
    }

    #[test]
    fn what_may_be_meant_is_not_told() {
        for change in [
            "",
            "select: {tag: Backup, of: instance}",
            "exclude: {tag: Backup, of: instance}",
            "exclude: {tag: NoBackup}",
            "exclude: {tag: Backup, values: [b]}",
            "exclude: {tag: Backup, values: [b], boot: true}",
            "keep: {last: 1, within: 14d}",
            "keep: {last: unlimited}",
            "keep: {within: 25h}",
            "keep: {within-yearly: 3y}",
            "keep: {last: 1, daily: 2}",
            "schedule: \"*/15 * * * *\"",
            "schedule: \"0 0 29 2 *\"",
            "schedule: \"*/5 * * * *\"",
        ] {
            assert_eq!(
                of(&format!("plans: [{}]", plan(change))),
                [""; 0],
                "{change}"
            );
        }
    }

    #[test]
    fn a_span_that_does_not_reach_over_the_weekend_is_told_where_nothing_else_does() {
        let schedule = "schedule: \"0 9-17 * * MON-FRI\"";
        for (keep, told) in [
            ("{within: 2d}", true),
            ("{within: 2d, daily: 7}", false),
            ("{within: 2d, within-daily: 14d}", false),
            ("{within: 3d}", false),
        ] {
            let plan = plan(schedule).replace("{daily: 7}", keep);
            let remarks = of(&format!("plans: [{plan}]"));
            let expected = "plans[0].keep.within: 2d doesn't always reach";
            assert_eq!(
                remarks.iter().any(|remark| remark.starts_with(expected)),
                told,
                "{keep}: {remarks:?}"
            );
            assert_eq!(remarks.len(), usize::from(told), "{keep}: {remarks:?}");
        }
    }

    #[test]
    fn orphans_of_a_plan_for_all_volumes_need_an_end() {
        let all = plan("select: {all: true}");
        let told = of(&format!("plans: [{all}], orphans-after: 90d"));
        assert_eq!(told, [""; 0]);
    }

    /// With the next slots, and what was probably meant.
    #[test]
    fn a_schedule_that_means_something_else_is_told() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let told = |schedule: &str| {
            let plan = plan(&format!("schedule: \"{schedule}\""));
            let remarks = warnings(&parse(&format!("plans: [{plan}]")), now);
            let remarks: Vec<_> = remarks.iter().map(ToString::to_string).collect();
            remarks.join("\n")
        };
        for (schedule, slots, meant) in [
            (
                "0 3 1-7 * SUN",
                "(next: Sun 2026-11-29 03:00, Tue 2026-12-01 03:00, Wed 2026-12-02 03:00, Thu 2026-12-03 03:00, Fri 2026-12-04 03:00)",
                "`0 3 * * SUN#1`",
            ),
            ("0 3 8-14 * 0", "next: Sun 2026-11-29", "`0 3 * * 0#2`"),
            ("0 3 */2 * SUN", "next: Mon 2026-11-23", "`0 3 */2 * +SUN`"),
            ("0 3 1-7 * MON-FRI", "next: ", "`0 3 1-7 * +MON-FRI`"),
            (
                "0 3 ? * 1",
                "next: Mon 2026-11-23",
                "`0 3 ? * MON` as it is now, or `0 3 ? * SUN`",
            ),
            (
                "0 3 ? * 2-6",
                "next: Tue 2026-11-24",
                "`0 3 ? * TUE-SAT` as it is now, or `0 3 ? * MON-FRI`",
            ),
            ("0 3 ? * 1#1", "next: Mon 2026-12-07", "or `0 3 ? * SUN#1`"),
            ("0 3 31 * *", "next: Thu 2026-12-31", "`0 3 L * *`"),
            (
                "*/40 * * * *",
                "next: Sun 2026-11-22 12:40, Sun 2026-11-22 13:00",
                "60",
            ),
            (
                "0 */5 * * *",
                "Sun 2026-11-22 20:00, Mon 2026-11-23 00:00",
                "24",
            ),
        ] {
            let told = told(schedule);
            assert!(
                told.starts_with("plans[0].schedule: ")
                    && told.contains(slots)
                    && told.contains(meant),
                "{schedule}: {told}"
            );
            assert_eq!(told.lines().count(), 1, "{told}");
        }
        for schedule in [
            "0 3 * * SUN#1",
            "0 3 */2 * +SUN",
            "0 3 ? * MON",
            "0 3 * * 1",
            "0 3 1 * ?",
            "0 3 L * *",
            "0 3 31 1 *",
            "0 3 28 * *",
            "*/20 * * * *",
            "0 */6 * * *",
            "@weekly",
            "0 3 * * 1-5",
        ] {
            assert_eq!(told(schedule), "", "{schedule}");
        }
    }

    #[test]
    fn twins_are_told_and_sisters_are_not() {
        let twins = of(&format!("plans: [{}, {}]", plan(""), plan("name: q")));
        assert!(
            matches!(twins.as_slice(), [one] if one.starts_with("plans[1]: plan \"q\"") && one.contains("as \"p\"")),
            "{twins:?}"
        );
        for change in [
            "timezone: Asia/Seoul",
            "schedule: \"0 4 * * *\"",
            "select: {tag: Backup}",
            "exclude: {boot: true}",
        ] {
            let sister = plan(change).replace("name: p", "name: q");
            let told = of(&format!("plans: [{}, {sister}]", plan("")));
            assert_eq!(told, [""; 0], "{change}");
        }
    }

    #[test]
    fn the_brake_and_orphans_are_looked_at() {
        for (section, expected) in [
            ("brake: {percent: 100}", Some("brake.percent: 100 takes")),
            ("brake: {count: 0, percent: 0}", Some("brake: with")),
            ("brake: {count: 0, percent: 1}", None),
            ("brake: {percent: 99}", None),
            (
                "orphans-after: 23h",
                Some("orphans-after: 23h is shorter than the 1d"),
            ),
            ("orphans-after: 1d", None),
        ] {
            let told = of(&format!("plans: [{}], {section}", plan("")));
            match expected {
                None => assert_eq!(told, [""; 0], "{section}"),
                Some(expected) => assert!(
                    matches!(told.as_slice(), [one] if one.starts_with(expected)),
                    "{section}: {told:?}"
                ),
            }
        }
        // Over the weekend.
        let office = plan("schedule: \"0 9-17 * * MON-FRI\"");
        let told = of(&format!("plans: [{office}], orphans-after: 2d"));
        assert!(told[0].contains("the 64h between two slots"), "{told:?}");
    }

    #[test]
    fn slots_closer_than_the_default_sweep_take_a_parameter() {
        let told = |schedule: &str| {
            let plan = plan(&format!("schedule: \"{schedule}\""));
            parse(&format!("plans: [{plan}]")).requirements()
        };
        let remarks = told("*/10 * * * *");
        assert!(
            matches!(remarks.as_slice(), [one] if one.text.contains("SweepSchedule at 10m")),
            "{remarks:?}"
        );
        let copied = plan("copies: [{region: eu-west-1, key: alias/a, keep: {last: 1}}]");
        let remarks = parse(&format!("plans: [{copied}]")).requirements();
        let texts: Vec<_> = remarks.iter().map(ToString::to_string).collect();
        assert!(
            texts[0].starts_with("plans[0].copies[0].region: takes eu-west-1")
                && texts[1].contains("CopyKeyArns"),
            "{texts:?}"
        );
        assert_eq!(told("*/15 * * * *"), []);
        assert_eq!(told("* * * * *"), []);
    }
}
