use super::*;
use crate::facts::Alarm;
use crate::policy::OnFailure;
use crate::tests::fixtures::{
    Happens, NO_AMI, NO_CAPACITY, When, instance, launch_fails, new, old, policy, web,
};
use guardrails::tags;
use proptest::prelude::*;

const ODD: &str =
    "You are not authorized to perform this operation. Launching EC2 instance failed.";

fn judged(case: &Case, when: impl When) -> Judgement {
    let settings = Settings::of(&policy(), &case.group);
    judge(case, &settings, when.at())
}

fn verdict(case: &Case, when: impl When) -> &'static str {
    match judged(case, when).verdict {
        Verdict::NotJudged(_) => "not judged",
        Verdict::Fine => "fine",
        Verdict::Troubled(_) => "troubled",
        Verdict::Failing(_) => "failing",
    }
}

/// A group of which two new instances have died of their health checks.
fn two_die() -> Case {
    web(4)
        .with(instance(&new(1)).launched("09:00:10").unhealthy("09:01:20"))
        .with(instance(&new(2)).launched("09:00:20").unhealthy("09:01:30"))
}

#[test]
fn two_launches_that_fail_for_good_are_enough() {
    let case = web(4).with(launch_fails("09:00:10", NO_AMI));
    assert_eq!(verdict(&case, "09:00:20"), "fine");
    let case = case.with(launch_fails("09:00:20", NO_AMI));
    let Verdict::Failing(because) = judged(&case, "09:00:30").verdict else {
        panic!("failing");
    };
    assert_eq!(
        because,
        [format!(
            "2 launches in a row failed since the start for a reason that doesn't pass by itself (2 are too many): \"{NO_AMI}\" (2x)"
        )]
    );
}

#[test]
fn other_failed_launches_count_up_to_half_of_the_group() {
    for (desired, threshold) in [(1, 3_i64), (6, 3), (10, 5), (1_000, 200)] {
        let mut case = web(desired);
        for n in 1..threshold {
            case = case.with(launch_fails(n, ODD));
        }
        assert_eq!(verdict(&case, threshold), "fine", "{desired}");
        let case = case.with(launch_fails(threshold, ODD));
        assert_eq!(verdict(&case, threshold), "failing", "{desired}");
    }
}

#[test]
fn want_of_capacity_is_told_and_never_stops_anything() {
    let mut case = web(4).with(launch_fails("09:00:01", NO_CAPACITY));
    assert_eq!(verdict(&case, "09:00:10"), "fine");
    for n in 2..300_i64 {
        case = case.with(launch_fails(n, NO_CAPACITY));
    }
    assert_eq!(verdict(&case, "09:05"), "troubled");
    // And doesn't hide what is the release's fault.
    let case = case
        .with(launch_fails("09:05:01", NO_AMI))
        .with(launch_fails("09:05:02", NO_AMI));
    assert_eq!(verdict(&case, "09:05:10"), "failing");
}

#[test]
fn a_healthy_new_instance_resets_the_count() {
    let twice = web(4)
        .with(launch_fails("09:00:10", ODD))
        .with(launch_fails("09:00:20", ODD));
    let case = twice
        .clone()
        .with(instance(&new(1)).launched("09:00:30"))
        .with(launch_fails("09:00:40", ODD));
    assert_eq!(verdict(&case, "09:00:50"), "fine");
    let launches = judged(&case, "09:00:50").launches;
    assert_eq!(
        (launches.failed_in_a_row, launches.last_healthy),
        (1, Some("09:00:30".at()))
    );
    // One that died of its health checks resets nothing.
    let case = twice
        .with(instance(&new(1)).launched("09:00:30").unhealthy("09:01:40"))
        .with(launch_fails("09:01:50", ODD));
    assert_eq!(verdict(&case, "09:02"), "failing");
}

#[test]
fn what_failed_before_the_start_is_not_the_releases() {
    let mut case = web(4);
    for n in 1..10_i64 {
        case = case.with(launch_fails(-n, NO_AMI));
    }
    let case = case
        .with(instance(&new(1)).launched("08:56").unhealthy("08:57"))
        .with(instance(&new(2)).launched("08:55").unhealthy("08:56"));
    assert_eq!(verdict(&case, "09:00:10"), "fine");
}

#[test]
fn two_new_instances_that_die_are_enough_while_none_stands() {
    let case = web(4).with(instance(&new(1)).launched("09:00:10").unhealthy("09:01:20"));
    assert_eq!(verdict(&case, "09:01:40"), "fine");
    let case = case.with(instance(&new(2)).launched("09:01:30").unhealthy("09:02:40"));
    assert_eq!(verdict(&case, "09:03:20"), "failing");
    let unhealthy = judged(&case, "09:03:20").health.unhealthy;
    assert_eq!(unhealthy, [new(1), new(2)]);
    // A third one that is still warming up proves nothing.
    let case = case.with(instance(&new(3)).launched("09:03:10"));
    assert_eq!(verdict(&case, "09:03:20"), "failing");
    // Once it has passed, the deaths may have been bad luck.
    assert_eq!(verdict(&case, "09:04:20"), "fine");
    // Unless it dies too.
    let case = case.with(instance(&new(3)).unhealthy("09:04:30"));
    assert_eq!(verdict(&case, "09:04:40"), "failing");
}

/// Until the grace period is over the group calls every instance healthy.
#[test]
fn within_the_grace_period_only_a_healthy_target_proves_anything() {
    let mut case = two_die().with(instance(&new(3)).launched("09:01:40"));
    case.group.grace = SignedDuration::from_mins(10);
    assert_eq!(verdict(&case, "09:03:20"), "failing");
    for (health, expected) in [
        (TargetHealth::Unknown, "failing"),
        (TargetHealth::Unhealthy, "failing"),
        (TargetHealth::Healthy, "fine"),
    ] {
        case.targets = Some(BTreeMap::from([(new(3), health)]));
        assert_eq!(verdict(&case, "09:03:20"), expected);
    }
}

#[test]
fn only_what_died_of_itself_counts() {
    type Ends = fn(crate::tests::fixtures::Instance) -> crate::tests::fixtures::Instance;
    let unhealthy: Ends = |one| one.unhealthy("09:01:30");
    let replaced: Ends = |one| one.replaced("09:01:30");
    let gone: Ends = |one| one.found_gone("09:01:30");
    for (ends, reason, expected) in [
        (unhealthy, None, "failing"),
        (replaced, None, "fine"),
        (gone, None, "fine"),
        (gone, Some("Client.UserInitiatedShutdown"), "fine"),
        (gone, Some("Server.SpotInstanceTermination"), "fine"),
        (gone, Some("Client.InstanceInitiatedShutdown"), "failing"),
    ] {
        let mut case = web(4);
        for n in 1..=3 {
            let one = ends(instance(&new(n)).launched("09:00:10"));
            case = case.with(one.which_ec2_says(reason));
        }
        assert_eq!(verdict(&case, "09:03:20"), expected, "{reason:?}");
        let asked = terminated(&case).len();
        let by_refresh = case
            .activities
            .iter()
            .any(|one| one.cause.contains("refresh"));
        assert_eq!(asked, if by_refresh { 0 } else { 3 }, "{reason:?}");
    }
}

#[test]
fn only_the_version_that_the_refresh_goes_to_counts() {
    let died = |n, version| {
        let one = instance(&new(n)).on_version(version).launched("09:00:10");
        one.unhealthy("09:01:20").which_ec2_says(None)
    };
    let case = web(4).with(died(1, "3")).with(died(2, "4"));
    assert_eq!(verdict(&case, "09:01:40"), "fine");
    let not_counted = judged(&case, "09:01:40").health.not_counted;
    assert_eq!(not_counted, [new(1)]);
    // `$Latest` was whatever it was at the time.
    let latest = case.change(|case| {
        case.newest().wanted.as_mut().unwrap().version = "$Latest".to_owned();
    });
    assert_eq!(verdict(&latest, "09:01:40"), "failing");
    let unchanged = latest.change(|case| case.newest().wanted = None);
    assert_eq!(verdict(&unchanged, "09:01:40"), "failing");
}

#[test]
fn old_instances_that_die_too_are_an_outage() {
    let one = two_die().change(|case| case.group.members[0].healthy = false);
    assert_eq!(
        verdict(&one, "09:01:40"),
        "failing",
        "one of four may be bad luck"
    );
    let two = one.change(|case| case.group.members[1].healthy = false);
    assert_eq!(verdict(&two, "09:01:40"), "troubled");
    // By their targets, or dead already.
    let dead = two_die().with(instance(&old(0)).unhealthy("09:00:30"));
    assert_eq!(verdict(&dead, "09:01:40"), "failing");
    let dead = dead.change(|case| {
        case.targets = Some(BTreeMap::from([(old(1), TargetHealth::Unhealthy)]));
    });
    assert_eq!(verdict(&dead, "09:01:40"), "troubled");
}

#[test]
fn what_the_refresh_itself_replaces_is_no_outage() {
    let mut case = two_die();
    for n in 0..3 {
        case = case.with(instance(&old(n)).replaced("09:00:05"));
    }
    assert_eq!(verdict(&case, "09:01:40"), "failing");
}

#[test]
fn an_alarm_counts_when_it_went_off_after_the_start() {
    let case = web(4).tagged(&[(tags::ALARM, "errors")]);
    assert_eq!(verdict(&case, "09:00:10"), "fine");
    for (alarming, since, expected) in [
        (false, Some("09:00:05"), "fine"),
        (true, Some("09:00:05"), "failing"),
        (true, Some("08:59:55"), "fine"),
        (true, Some("09:00:00"), "fine"),
        (true, None, "fine"),
    ] {
        let alarm = Alarm {
            alarming,
            since: since.map(When::at),
            reason: None,
        };
        let case = case.clone().change(|case| {
            case.alarms = Some(BTreeMap::from([("errors".to_owned(), alarm)]));
        });
        assert_eq!(verdict(&case, "09:00:10"), expected, "{alarming} {since:?}");
        // Also while it bakes, and never while it is pending.
        let baking = case.clone().in_status(Status::Baking);
        assert_eq!(verdict(&baking, "09:00:10"), expected);
        let pending = case.in_status(Status::Pending);
        assert_eq!(verdict(&pending, "09:00:10"), "not judged");
    }
    // A name that leads nowhere is told, because a person counts on it.
    let nowhere = case.change(|case| case.alarms = Some(BTreeMap::new()));
    assert_eq!(verdict(&nowhere, "09:00:10"), "troubled");
}

/// A refresh at which nothing has happened for an hour.
fn stalled() -> Case {
    let case = web(4).with(instance(&new(1)).launched("09:00:10"));
    let targets = case
        .group
        .members
        .iter()
        .map(|member| (member.id.clone(), TargetHealth::Healthy));
    let targets = Some(targets.collect());
    case.change(|case| case.targets = targets)
}

fn set(case: &mut Case, id: &str, health: TargetHealth) {
    case.targets
        .get_or_insert_default()
        .insert(id.to_owned(), health);
}

#[test]
fn a_stall_alone_is_only_told() {
    let case = stalled();
    // 20 minutes after the warm-up of the last instance, and not before.
    assert_eq!(verdict(&case, "09:21:09"), "fine");
    assert_eq!(verdict(&case, "09:21:10"), "troubled");
}

#[test]
fn a_stall_with_new_targets_unhealthy_and_old_ones_healthy_fails() {
    let case = stalled().change(|case| set(case, &new(1), TargetHealth::Unhealthy));
    assert_eq!(verdict(&case, "09:10"), "fine", "it may still be booting");
    assert_eq!(verdict(&case, "10:00"), "failing");
    // An outage, or not known.
    for health in [TargetHealth::Unhealthy, TargetHealth::Unknown] {
        let outage = case.clone().change(|case| set(case, &old(0), health));
        assert_eq!(verdict(&outage, "10:00"), "troubled", "{health:?}");
    }
    let one_fine = case
        .clone()
        .with(instance(&new(2)).launched("09:00:10"))
        .change(|case| set(case, &new(2), TargetHealth::Healthy));
    assert_eq!(verdict(&one_fine, "10:00"), "troubled");
    // With no old one left nobody can tell.
    let all_new = case
        .clone()
        .change(|case| case.group.members.retain(|member| member.id == new(1)));
    assert_eq!(verdict(&all_new, "10:00"), "troubled");
    let unread = case.change(|case| case.targets = None);
    assert_eq!(verdict(&unread, "10:00"), "troubled");
}

#[test]
fn each_excuse_explains_a_stall() {
    type Change = fn(&mut Case);
    let excuses: [(&str, Change); 6] = [
        ("checkpoint", |case| {
            let refresh = case.newest();
            refresh.percentage = 20;
            refresh.preferences.checkpoints = vec![20, 100];
            refresh.preferences.checkpoint_delay = SignedDuration::from_hours(2);
        }),
        ("suspended", |case| {
            case.group.suspended.insert("Launch".to_owned());
        }),
        ("hook", |case| {
            case.group.members[0].lifecycle = "Terminating:Wait".to_owned();
        }),
        ("standby", |case| {
            case.group.members[0].lifecycle = "Standby".to_owned();
        }),
        ("protected", |case| case.group.members[0].protected = true),
        ("baking", |case| case.newest().status = Status::Baking),
    ];
    for (name, change) in excuses {
        let case = stalled()
            .change(|case| set(case, &new(1), TargetHealth::Unhealthy))
            .change(change);
        assert_eq!(verdict(&case, "10:00"), "fine", "{name}");
    }
    // What explains nothing.
    let none: [(&str, Change); 5] = [
        ("a checkpoint that isn't reached", |case| {
            let preferences = &mut case.newest().preferences;
            preferences.checkpoints = vec![50, 100];
            preferences.checkpoint_delay = SignedDuration::from_hours(2);
        }),
        ("a checkpoint whose delay is over", |case| {
            let refresh = case.newest();
            refresh.percentage = 20;
            refresh.preferences.checkpoints = vec![20, 100];
            refresh.preferences.checkpoint_delay = SignedDuration::from_mins(5);
        }),
        ("a process that it doesn't need", |case| {
            case.group.suspended.insert("ScheduledActions".to_owned());
        }),
        ("protected, and replaced all the same", |case| {
            case.group.members[0].protected = true;
            case.newest().preferences.waits_for_protected = false;
        }),
        ("a new one is protected", |case| {
            case.group.members.last_mut().unwrap().protected = true;
        }),
    ];
    for (name, change) in none {
        let case = stalled()
            .change(|case| set(case, &new(1), TargetHealth::Unhealthy))
            .change(change);
        assert_eq!(verdict(&case, "10:00"), "failing", "{name}");
    }
}

/// Whatever happened: a refresh that doesn't run, or isn't known in full, is not judged.
#[test]
fn only_a_running_refresh_is_judged() {
    let mut case = two_die();
    for n in 0..10_i64 {
        case = case.with(launch_fails(n, NO_AMI));
    }
    for status in [
        Status::Pending,
        Status::Cancelling,
        Status::RollbackInProgress,
        Status::Successful,
        Status::Failed,
        Status::Cancelled,
        Status::RollbackSuccessful,
        Status::RollbackFailed,
        Status::Other("Waiting".to_owned()),
    ] {
        let case = case.clone().in_status(status.clone());
        assert_eq!(verdict(&case, "10:00"), "not judged", "{status:?}");
    }
    assert_eq!(verdict(&case, "10:00"), "failing");
    let mut unread = case.change(|case| case.unread.push(denied()));
    assert_eq!(verdict(&unread, "10:00"), "not judged");
    // Nor is a group without one, and why is never a guess.
    unread.refresh = None;
    let why = |case: &Case| match judged(case, "10:00").verdict {
        Verdict::NotJudged(why) => why,
        other => panic!("{other:?}"),
    };
    assert!(
        why(&unread).contains("couldn't be read"),
        "{}",
        why(&unread)
    );
    unread.unread.clear();
    assert!(why(&unread).contains("six weeks"), "{}", why(&unread));
}

fn denied() -> guardrails::aws::ApiError {
    guardrails::aws::ApiError {
        operation: "ec2:DescribeInstances",
        code: "UnauthorizedOperation".to_owned(),
        message: "no".to_owned(),
        kind: guardrails::aws::ErrorKind::Denied,
    }
}

#[test]
fn nothing_but_time_never_fails_a_refresh() {
    for days in 0..14_i64 {
        for status in [Status::Pending, Status::Baking, Status::InProgress] {
            let case = web(4).in_status(status);
            assert_ne!(verdict(&case, days * 86_400), "failing");
        }
    }
}

/// What can happen at a refresh.
#[derive(Debug, Clone, Copy)]
enum Event {
    NoAmi,
    NoCapacity,
    Odd,
    Dies,
    Stands,
    Replaces,
    Spot,
}

/// The n-th event of a story.
struct Nth(u32, Event);

impl Happens for Nth {
    fn to(self, case: &mut Case) {
        let Self(n, event) = self;
        let seconds = 100 * i64::from(n + 1);
        let launched = || instance(&new(n)).launched(seconds);
        match event {
            Event::NoAmi => launch_fails(seconds, NO_AMI).to(case),
            Event::NoCapacity => launch_fails(seconds, NO_CAPACITY).to(case),
            Event::Odd => launch_fails(seconds, ODD).to(case),
            Event::Dies => launched().unhealthy(seconds + 70).to(case),
            Event::Stands => launched().to(case),
            Event::Replaces => instance(&old(n)).replaced(seconds).to(case),
            Event::Spot => launched().found_gone(seconds + 5).to(case),
        }
    }
}

fn anything() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::NoAmi),
        Just(Event::NoCapacity),
        Just(Event::Odd),
        Just(Event::Dies),
        Just(Event::Stands),
        Just(Event::Replaces),
        Just(Event::Spot),
    ]
}

fn harmless() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::NoCapacity),
        Just(Event::Stands),
        Just(Event::Replaces),
        Just(Event::Spot),
    ]
}

fn lived(desired: u32, story: &[Event]) -> Case {
    let events = (0..).zip(story);
    events.fold(web(desired), |case, (n, event)| case.with(Nth(n, *event)))
}

const LATER: i64 = 100_000;

proptest! {
    #[test]
    fn what_is_not_the_releases_fault_never_fails_it(
        desired in 1..50_u32,
        story in prop::collection::vec(harmless(), 0..40),
        seconds in 0..LATER,
    ) {
        prop_assert_ne!(verdict(&lived(desired, &story), seconds), "failing");
    }

    #[test]
    fn more_of_what_is_bad_never_makes_it_fine(
        desired in 1..20_u32,
        story in prop::collection::vec(anything(), 0..30),
        more in prop::collection::vec(prop_oneof![
            Just(Event::NoAmi), Just(Event::Odd), Just(Event::Dies), Just(Event::NoCapacity),
        ], 1..10),
    ) {
        let mut case = lived(desired, &story);
        if verdict(&case, LATER) == "failing" {
            for (n, event) in (100..).zip(more) {
                case = case.with(Nth(n, event));
                prop_assert_eq!(verdict(&case, LATER), "failing");
            }
        }
    }

    #[test]
    fn the_order_in_which_aws_lists_activities_means_nothing(
        desired in 1..20_u32,
        story in prop::collection::vec(anything(), 0..30),
        turn in 0..30_usize,
    ) {
        let case = lived(desired, &story);
        let mut other = case.clone();
        other.activities.reverse();
        let len = other.activities.len().max(1);
        other.activities.rotate_left(turn % len);
        prop_assert_eq!(judged(&case, LATER), judged(&other, LATER));
    }

    #[test]
    fn a_healthy_new_instance_forgives_every_failed_launch_before_it(
        desired in 1..20_u32,
        story in prop::collection::vec(anything(), 0..30),
    ) {
        let case = lived(desired, &story).with(Nth(50, Event::Stands));
        let launches = judged(&case, LATER).launches;
        prop_assert_eq!(launches.failed_in_a_row, 0);
        prop_assert_eq!(launches.capacity_in_a_row, 0);
    }

    #[test]
    fn a_refresh_that_is_notified_only_is_judged_alike(
        story in prop::collection::vec(anything(), 0..30),
    ) {
        let case = lived(4, &story);
        let before = judged(&case, LATER);
        let case = case.tagged(&[(tags::ON_FAILURE, "notify")]);
        prop_assert_eq!(Settings::of(&policy(), &case.group).on_failure, OnFailure::Notify);
        prop_assert_eq!(before, judged(&case, LATER));
    }
}
