use super::*;
use crate::facts::{Alarm, Ended, Preferences};
use crate::policy::{OnFailure, Policy};
use guardrails::tags;
use proptest::prelude::*;

const REFRESH: &str = "08b91cf7-8fa6-48af-b6a6-d227f40f1b9b";
const UNHEALTHY: &str = "At 2026-11-21T09:00:00Z an instance was taken out of service in response to an ELB system health check failure.";
const GONE: &str = "At 2026-11-21T09:00:00Z an instance was taken out of service in response to an EC2 health check indicating it has been terminated or stopped.";
const REPLACED: &str = "At 2026-11-21T09:00:00Z an instance was taken out of service in response to an instance refresh.  At 2026-11-21T09:00:00Z instance i-0 was selected for termination.";
const NO_AMI: &str =
    "The image id '[ami-0123456789abcdef0]' does not exist. Launching EC2 instance failed.";
const NO_CAPACITY: &str = "We currently do not have sufficient m5.large capacity in the Availability Zone you requested (us-east-1a). Launching EC2 instance failed.";
const ODD: &str =
    "You are not authorized to perform this operation. Launching EC2 instance failed.";

fn start() -> Timestamp {
    "2026-11-21T09:00:00Z".parse().unwrap()
}

/// So many seconds after the refresh's start.
fn at(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

fn new(n: u32) -> String {
    format!("i-0ffff{n:012x}")
}

fn old(n: u32) -> String {
    format!("i-00000{n:012x}")
}

/// A refresh of a group of `desired` old instances, from version 3 to 4.
fn case(desired: u32) -> Case {
    let source = |version: &str| Source {
        id: Some("lt-1".to_owned()),
        name: Some("web".to_owned()),
        version: version.to_owned(),
        overrides: Vec::new(),
    };
    let group = Group {
        name: "web".to_owned(),
        desired,
        source: Some(source("3")),
        members: (0..desired).map(|n| member(&old(n), "3")).collect(),
        elb_health: true,
        grace: SignedDuration::from_secs(60),
        ..Group::default()
    };
    let mut case = Case::of(group, start());
    case.refresh = Some(Refresh {
        id: REFRESH.to_owned(),
        status: Status::InProgress,
        reason: None,
        start: Some(start()),
        end: None,
        percentage: 0,
        remaining: Some(desired),
        wanted: Some(source("4")),
        preferences: Preferences {
            warmup: Some(SignedDuration::from_secs(60)),
            waits_for_protected: true,
            waits_for_standby: true,
            ..Preferences::default()
        },
        rollback_reason: None,
    });
    case
}

fn member(id: &str, version: &str) -> Member {
    Member {
        id: id.to_owned(),
        version: Some(version.to_owned()),
        lifecycle: "InService".to_owned(),
        healthy: true,
        protected: false,
    }
}

fn activity(case: &mut Case, seconds: i64, description: String, status: &str, why: &str) {
    case.activities.push(Activity {
        id: format!("a-{}", case.activities.len()),
        description,
        cause: why.to_owned(),
        status: status.to_owned(),
        message: None,
        start: at(seconds),
        end: Some(at(seconds)),
    });
}

fn launched(case: &mut Case, seconds: i64, id: &str) {
    let description = format!("Launching a new EC2 instance: {id}");
    activity(case, seconds, description, "Successful", "");
}

fn stands(case: &mut Case, seconds: i64, id: &str) {
    launched(case, seconds, id);
    case.group.members.push(member(id, "4"));
}

fn failed(case: &mut Case, seconds: i64, message: &str) {
    let description = format!("Launching a new EC2 instance.  Status Reason: {message}");
    activity(case, seconds, description, "Failed", "");
}

fn terminated(case: &mut Case, seconds: i64, id: &str, why: &str) {
    case.group.members.retain(|member| member.id != id);
    activity(
        case,
        seconds,
        format!("Terminating EC2 instance: {id}"),
        "Successful",
        why,
    );
}

/// A new instance that came up and died of its health checks.
fn dies(case: &mut Case, seconds: i64, id: &str) {
    launched(case, seconds, id);
    terminated(case, seconds + 70, id, UNHEALTHY);
}

fn policy() -> Policy {
    guardrails::policy::parse("cancel-refresh: {}", crate::NAME).unwrap()
}

fn judged(case: &Case, seconds: i64) -> Judgement {
    let settings = Settings::of(&policy(), &case.group);
    judge(case, &settings, at(seconds))
}

fn verdict(case: &Case, seconds: i64) -> &'static str {
    match judged(case, seconds).verdict {
        Verdict::NotJudged(_) => "not judged",
        Verdict::Fine => "fine",
        Verdict::Troubled(_) => "troubled",
        Verdict::Failing(_) => "failing",
    }
}

#[test]
fn two_launches_that_fail_for_good_are_enough() {
    let mut case = case(4);
    failed(&mut case, 10, NO_AMI);
    assert_eq!(verdict(&case, 20), "fine");
    failed(&mut case, 20, NO_AMI);
    let Verdict::Failing(because) = judged(&case, 30).verdict else {
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
    for (desired, threshold) in [(1, 3), (6, 3), (10, 5), (1_000, 200)] {
        let mut case = case(desired);
        for n in 1..threshold {
            failed(&mut case, n, ODD);
        }
        assert_eq!(verdict(&case, threshold), "fine", "{desired}");
        failed(&mut case, threshold, ODD);
        assert_eq!(verdict(&case, threshold), "failing", "{desired}");
    }
}

#[test]
fn want_of_capacity_is_told_and_never_stops_anything() {
    let mut case = case(4);
    failed(&mut case, 1, NO_CAPACITY);
    assert_eq!(verdict(&case, 10), "fine");
    for n in 2..300 {
        failed(&mut case, n, NO_CAPACITY);
    }
    assert_eq!(verdict(&case, 300), "troubled");
    // And doesn't hide what is the release's fault.
    failed(&mut case, 301, NO_AMI);
    failed(&mut case, 302, NO_AMI);
    assert_eq!(verdict(&case, 310), "failing");
}

#[test]
fn a_healthy_new_instance_resets_the_count() {
    let mut case = case(4);
    failed(&mut case, 10, ODD);
    failed(&mut case, 20, ODD);
    stands(&mut case, 30, &new(1));
    failed(&mut case, 40, ODD);
    assert_eq!(verdict(&case, 50), "fine");
    let launches = judged(&case, 50).launches;
    assert_eq!(
        (launches.failed_in_a_row, launches.last_healthy),
        (1, Some(at(30)))
    );
    // One that died of its health checks resets nothing.
    let mut case = super::tests::case(4);
    failed(&mut case, 10, ODD);
    failed(&mut case, 20, ODD);
    dies(&mut case, 30, &new(1));
    failed(&mut case, 110, ODD);
    assert_eq!(verdict(&case, 120), "failing");
}

#[test]
fn what_failed_before_the_start_is_not_the_releases() {
    let mut case = case(4);
    for n in 1..10 {
        failed(&mut case, -n, NO_AMI);
    }
    dies(&mut case, -200, &new(1));
    dies(&mut case, -300, &new(2));
    assert_eq!(verdict(&case, 10), "fine");
}

#[test]
fn two_new_instances_that_die_are_enough_while_none_stands() {
    let mut case = case(4);
    dies(&mut case, 10, &new(1));
    assert_eq!(verdict(&case, 100), "fine");
    dies(&mut case, 90, &new(2));
    assert_eq!(verdict(&case, 200), "failing");
    assert_eq!(judged(&case, 200).health.unhealthy, [new(1), new(2)]);
    // A third one that is still warming up proves nothing.
    stands(&mut case, 190, &new(3));
    assert_eq!(verdict(&case, 200), "failing");
    // Once it has passed, the deaths may have been bad luck.
    assert_eq!(verdict(&case, 260), "fine");
    // Unless it dies too.
    terminated(&mut case, 270, &new(3), UNHEALTHY);
    assert_eq!(verdict(&case, 280), "failing");
}

/// Until the grace period is over the group calls every instance healthy.
#[test]
fn within_the_grace_period_only_a_healthy_target_proves_anything() {
    let mut case = case(4);
    case.group.grace = SignedDuration::from_mins(10);
    dies(&mut case, 10, &new(1));
    dies(&mut case, 90, &new(2));
    stands(&mut case, 100, &new(3));
    assert_eq!(verdict(&case, 200), "failing");
    for (health, expected) in [
        (TargetHealth::Unknown, "failing"),
        (TargetHealth::Unhealthy, "failing"),
        (TargetHealth::Healthy, "fine"),
    ] {
        case.targets = Some(BTreeMap::from([(new(3), health)]));
        assert_eq!(verdict(&case, 200), expected);
    }
}

#[test]
fn only_what_died_of_itself_counts() {
    for (cause, reason, expected) in [
        (UNHEALTHY, None, "failing"),
        (REPLACED, None, "fine"),
        (GONE, None, "fine"),
        (GONE, Some("Client.UserInitiatedShutdown"), "fine"),
        (GONE, Some("Server.SpotInstanceTermination"), "fine"),
        (GONE, Some("Client.InstanceInitiatedShutdown"), "failing"),
    ] {
        let mut case = case(4);
        for n in 1..=3 {
            launched(&mut case, i64::from(n) * 10, &new(n));
            terminated(&mut case, i64::from(n) * 10 + 70, &new(n), cause);
            let ended = Ended {
                reason: reason.map(str::to_owned),
                version: Some("4".to_owned()),
            };
            case.ended.insert(new(n), ended);
        }
        assert_eq!(verdict(&case, 200), expected, "{reason:?} {cause}");
        let asked = super::terminated(&case).len();
        assert_eq!(asked, if cause == REPLACED { 0 } else { 3 }, "{cause}");
    }
}

#[test]
fn only_the_version_that_the_refresh_goes_to_counts() {
    let mut case = case(4);
    dies(&mut case, 10, &new(1));
    dies(&mut case, 20, &new(2));
    let version = |version: &str| Ended {
        reason: None,
        version: Some(version.to_owned()),
    };
    case.ended.insert(new(1), version("3"));
    case.ended.insert(new(2), version("4"));
    assert_eq!(verdict(&case, 100), "fine");
    assert_eq!(judged(&case, 100).health.not_counted, [new(1)]);
    // `$Latest` was whatever it was at the time.
    case.refresh
        .as_mut()
        .unwrap()
        .wanted
        .as_mut()
        .unwrap()
        .version = "$Latest".to_owned();
    assert_eq!(verdict(&case, 100), "failing");
    case.refresh.as_mut().unwrap().wanted = None;
    assert_eq!(verdict(&case, 100), "failing");
}

#[test]
fn old_instances_that_die_too_are_an_outage() {
    let mut case = case(4);
    dies(&mut case, 10, &new(1));
    dies(&mut case, 20, &new(2));
    case.group.members[0].healthy = false;
    assert_eq!(
        verdict(&case, 100),
        "failing",
        "one of four may be bad luck"
    );
    case.group.members[1].healthy = false;
    assert_eq!(verdict(&case, 100), "troubled");
    // By their targets, or dead already.
    let mut case = super::tests::case(4);
    dies(&mut case, 10, &new(1));
    dies(&mut case, 20, &new(2));
    terminated(&mut case, 30, &old(0), UNHEALTHY);
    assert_eq!(verdict(&case, 100), "failing");
    case.targets = Some(BTreeMap::from([(old(1), TargetHealth::Unhealthy)]));
    assert_eq!(verdict(&case, 100), "troubled");
}

#[test]
fn what_the_refresh_itself_replaces_is_no_outage() {
    let mut case = case(4);
    for n in 0..3 {
        terminated(&mut case, 5, &old(n), REPLACED);
    }
    dies(&mut case, 10, &new(1));
    dies(&mut case, 20, &new(2));
    assert_eq!(verdict(&case, 100), "failing");
}

#[test]
fn an_alarm_counts_when_it_went_off_after_the_start() {
    let mut case = case(4);
    case.group
        .tags
        .insert(tags::ALARM.to_owned(), "errors".to_owned());
    assert_eq!(verdict(&case, 10), "fine");
    for (alarming, since, expected) in [
        (false, Some(at(5)), "fine"),
        (true, Some(at(5)), "failing"),
        (true, Some(at(-5)), "fine"),
        (true, Some(at(0)), "fine"),
        (true, None, "fine"),
    ] {
        let alarm = Alarm {
            alarming,
            since,
            reason: None,
        };
        case.alarms = Some(BTreeMap::from([("errors".to_owned(), alarm)]));
        assert_eq!(verdict(&case, 10), expected, "{alarming} {since:?}");
        // Also while it bakes, and never while it is pending.
        case.refresh.as_mut().unwrap().status = Status::Baking;
        assert_eq!(verdict(&case, 10), expected);
        case.refresh.as_mut().unwrap().status = Status::Pending;
        assert_eq!(verdict(&case, 10), "not judged");
        case.refresh.as_mut().unwrap().status = Status::InProgress;
    }
    // A name that leads nowhere is told, because a person counts on it.
    case.alarms = Some(BTreeMap::new());
    assert_eq!(verdict(&case, 10), "troubled");
}

/// A refresh at which nothing has happened for an hour.
fn stalled() -> Case {
    let mut case = case(4);
    stands(&mut case, 10, &new(1));
    let targets = case
        .group
        .members
        .iter()
        .map(|member| (member.id.clone(), TargetHealth::Healthy));
    case.targets = Some(targets.collect());
    case
}

fn set(case: &mut Case, id: &str, health: TargetHealth) {
    case.targets
        .get_or_insert_default()
        .insert(id.to_owned(), health);
}

const HOUR: i64 = 3_600;

#[test]
fn a_stall_alone_is_only_told() {
    let case = stalled();
    // 20 minutes after the warm-up of the last instance, and not before.
    assert_eq!(verdict(&case, 10 + 60 + 1_199), "fine");
    assert_eq!(verdict(&case, 10 + 60 + 1_200), "troubled");
}

#[test]
fn a_stall_with_new_targets_unhealthy_and_old_ones_healthy_fails() {
    let mut case = stalled();
    set(&mut case, &new(1), TargetHealth::Unhealthy);
    assert_eq!(verdict(&case, 600), "fine", "it may still be booting");
    assert_eq!(verdict(&case, HOUR), "failing");
    // An outage, or not known.
    for health in [TargetHealth::Unhealthy, TargetHealth::Unknown] {
        let mut outage = case.clone();
        set(&mut outage, &old(0), health);
        assert_eq!(verdict(&outage, HOUR), "troubled", "{health:?}");
    }
    let mut one_fine = case.clone();
    stands(&mut one_fine, 10, &new(2));
    set(&mut one_fine, &new(2), TargetHealth::Healthy);
    assert_eq!(verdict(&one_fine, HOUR), "troubled");
    // With no old one left nobody can tell.
    let mut all_new = case.clone();
    all_new.group.members.retain(|member| member.id == new(1));
    assert_eq!(verdict(&all_new, HOUR), "troubled");
    let mut unread = case;
    unread.targets = None;
    assert_eq!(verdict(&unread, HOUR), "troubled");
}

#[test]
fn each_excuse_explains_a_stall() {
    type Change = fn(&mut Case);
    let excuses: [(&str, Change); 6] = [
        ("checkpoint", |case| {
            let refresh = case.refresh.as_mut().unwrap();
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
        ("baking", |case| {
            case.refresh.as_mut().unwrap().status = Status::Baking;
        }),
    ];
    for (name, change) in excuses {
        let mut case = stalled();
        set(&mut case, &new(1), TargetHealth::Unhealthy);
        change(&mut case);
        assert_eq!(verdict(&case, HOUR), "fine", "{name}");
    }
    // What explains nothing.
    let none: [(&str, Change); 5] = [
        ("a checkpoint that isn't reached", |case| {
            let preferences = &mut case.refresh.as_mut().unwrap().preferences;
            preferences.checkpoints = vec![50, 100];
            preferences.checkpoint_delay = SignedDuration::from_hours(2);
        }),
        ("a checkpoint whose delay is over", |case| {
            let refresh = case.refresh.as_mut().unwrap();
            refresh.percentage = 20;
            refresh.preferences.checkpoints = vec![20, 100];
            refresh.preferences.checkpoint_delay = SignedDuration::from_mins(5);
        }),
        ("a process that it doesn't need", |case| {
            case.group.suspended.insert("ScheduledActions".to_owned());
        }),
        ("protected, and replaced all the same", |case| {
            case.group.members[0].protected = true;
            case.refresh
                .as_mut()
                .unwrap()
                .preferences
                .waits_for_protected = false;
        }),
        ("a new one is protected", |case| {
            case.group.members.last_mut().unwrap().protected = true;
        }),
    ];
    for (name, change) in none {
        let mut case = stalled();
        set(&mut case, &new(1), TargetHealth::Unhealthy);
        change(&mut case);
        assert_eq!(verdict(&case, HOUR), "failing", "{name}");
    }
}

/// Whatever happened: a refresh that doesn't run, or isn't known in full, is not judged.
#[test]
fn only_a_running_refresh_is_judged() {
    let mut case = case(4);
    dies(&mut case, 10, &new(1));
    dies(&mut case, 20, &new(2));
    for n in 0..10 {
        failed(&mut case, n, NO_AMI);
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
        case.refresh.as_mut().unwrap().status = status.clone();
        assert_eq!(verdict(&case, HOUR), "not judged", "{status:?}");
    }
    case.refresh.as_mut().unwrap().status = Status::InProgress;
    assert_eq!(verdict(&case, HOUR), "failing");
    case.unread.push(guardrails::aws::ApiError {
        operation: "ec2:DescribeInstances",
        code: "UnauthorizedOperation".to_owned(),
        message: "no".to_owned(),
        kind: guardrails::aws::ErrorKind::Denied,
    });
    assert_eq!(verdict(&case, HOUR), "not judged");
}

#[test]
fn nothing_but_time_never_fails_a_refresh() {
    let mut case = case(4);
    for days in 0..14 {
        let seconds = days * 86_400;
        assert_ne!(verdict(&case, seconds), "failing");
        for status in [Status::Pending, Status::Baking, Status::InProgress] {
            case.refresh.as_mut().unwrap().status = status;
            assert_ne!(verdict(&case, seconds), "failing");
        }
    }
}

/// What can happen at a refresh.
#[derive(Debug, Clone, Copy)]
enum Happens {
    NoAmi,
    NoCapacity,
    Odd,
    Dies,
    Stands,
    Replaces,
    Spot,
}

fn happen(case: &mut Case, n: u32, what: Happens) {
    let seconds = 100 * i64::from(n + 1);
    match what {
        Happens::NoAmi => failed(case, seconds, NO_AMI),
        Happens::NoCapacity => failed(case, seconds, NO_CAPACITY),
        Happens::Odd => failed(case, seconds, ODD),
        Happens::Dies => dies(case, seconds, &new(n)),
        Happens::Stands => stands(case, seconds, &new(n)),
        Happens::Replaces => terminated(case, seconds, &old(n), REPLACED),
        Happens::Spot => {
            launched(case, seconds, &new(n));
            terminated(case, seconds + 5, &new(n), GONE);
        }
    }
}

fn anything() -> impl Strategy<Value = Happens> {
    prop_oneof![
        Just(Happens::NoAmi),
        Just(Happens::NoCapacity),
        Just(Happens::Odd),
        Just(Happens::Dies),
        Just(Happens::Stands),
        Just(Happens::Replaces),
        Just(Happens::Spot),
    ]
}

fn harmless() -> impl Strategy<Value = Happens> {
    prop_oneof![
        Just(Happens::NoCapacity),
        Just(Happens::Stands),
        Just(Happens::Replaces),
        Just(Happens::Spot),
    ]
}

fn lived(desired: u32, story: &[Happens]) -> Case {
    let mut case = case(desired);
    for (n, what) in (0..).zip(story) {
        happen(&mut case, n, *what);
    }
    case
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
            Just(Happens::NoAmi), Just(Happens::Odd), Just(Happens::Dies), Just(Happens::NoCapacity),
        ], 1..10),
    ) {
        let mut case = lived(desired, &story);
        if verdict(&case, LATER) == "failing" {
            for (n, what) in (100..).zip(more) {
                happen(&mut case, n, what);
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
        let mut case = lived(desired, &story);
        happen(&mut case, 50, Happens::Stands);
        let launches = judged(&case, LATER).launches;
        prop_assert_eq!(launches.failed_in_a_row, 0);
        prop_assert_eq!(launches.capacity_in_a_row, 0);
    }

    #[test]
    fn a_refresh_that_is_notified_only_is_judged_alike(
        story in prop::collection::vec(anything(), 0..30),
    ) {
        let mut case = lived(4, &story);
        let before = judged(&case, LATER);
        case.group.tags.insert(tags::ON_FAILURE.to_owned(), "notify".to_owned());
        prop_assert_eq!(Settings::of(&policy(), &case.group).on_failure, OnFailure::Notify);
        prop_assert_eq!(before, judged(&case, LATER));
    }
}
