use super::*;
use crate::facts::Alarm;
use crate::memory::Memory;
use crate::policy::OnFailure;
use crate::source::Override;
use crate::tests::fixtures::{
    Happens, Instance, NO_AMI, NO_CAPACITY, When, error, instance, launch_fails, new, old, policy,
    policy_of, policy_with_image, source, template, web,
};
use guardrails::aws::ErrorKind;
use guardrails::tags;
use jiff::ToSpan as _;
use proptest::prelude::*;
use std::collections::BTreeMap;

const ODD: &str = "Something that no table knows. Launching EC2 instance failed.";
const NOT_IN_ZONE: &str = "Your requested instance type (m9.large) is not supported in your requested Availability Zone (us-east-1e). Launching EC2 instance failed.";
const CLIENT_ERROR: &str = "Instance became unhealthy while waiting for instance to be in InService state. Termination Reason: Client.InternalError: Client error on launch";

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

/// A group of which two new instances have died of their health checks, one after the other.
fn two_die() -> Case {
    web(4)
        .with(instance(&new(1)).launched("09:00:10").unhealthy("09:01:20"))
        .with(instance(&new(2)).launched("09:01:30").unhealthy("09:02:40"))
}

// --- rounds and shares ---------------------------------------------------------------------------

#[test]
fn two_rounds_of_launches_that_fail_for_good_are_enough() {
    let case = web(4).with(launch_fails("09:00:10", NO_AMI));
    assert_eq!(verdict(&case, "09:00:20"), "fine");
    let case = case.with(launch_fails("09:00:40", NO_AMI));
    let Verdict::Failing(because) = judged(&case, "09:00:50").verdict else {
        panic!("failing");
    };
    assert_eq!(
        because,
        [format!(
            "2 of 2 launches since the start have failed, in 2 rounds: 2 launches failed for a reason that doesn't pass by itself: \"{NO_AMI}\" (2x)"
        )]
    );
}

#[test]
fn other_failures_need_three_rounds_whatever_the_size() {
    for desired in [1, 6, 1_000] {
        let twice = web(desired)
            .with(launch_fails("09:00:10", ODD))
            .with(launch_fails("09:00:40", ODD));
        assert_eq!(verdict(&twice, "09:01"), "fine", "{desired}");
        let case = twice.with(launch_fails("09:01:40", ODD));
        assert_eq!(verdict(&case, "09:02"), "failing", "{desired}");
    }
}

/// Failures of one cause at one moment, one per zone, are one round.
#[test]
fn what_happens_at_one_moment_counts_once() {
    for message in [
        ODD,
        NO_AMI,
        "Authentication Failure. Launching EC2 instance failed.",
    ] {
        let zones = (10_i64..).zip(["us-east-1a", "us-east-1b", "us-east-1c"]);
        let case = web(6).with_all(zones.map(|(n, zone)| launch_fails(n, message).in_zone(zone)));
        assert_ne!(verdict(&case, "09:00:20"), "failing", "{message}");
    }
    let dies = |n| instance(&new(n)).launched("09:00:10").unhealthy("09:02");
    let dead = web(6).with_all((0..5).map(dies));
    assert_eq!(verdict(&dead, "09:02:10"), "fine", "one moment");
    let dead = dead.with(instance(&new(5)).launched("09:02:10").unhealthy("09:04"));
    assert_eq!(verdict(&dead, "09:04:10"), "failing");
}

/// 98 of a hundred new ones stand: two that died are no share.
#[test]
fn deaths_need_a_share() {
    let launched = |n| instance(&new(n)).launched("09:00:30");
    let case = web(1_000)
        .change(|case| case.group.grace = SignedDuration::from_mins(10))
        .with_all((0..98).map(launched));
    let healthy = case.group.members.iter();
    let healthy = healthy.map(|member| (member.id.clone(), TargetHealth::Healthy));
    let healthy = healthy.collect();
    let case = case
        .change(|case| case.targets = Some(healthy))
        .with(launched(98).unhealthy("09:01:20"))
        .with(launched(99).unhealthy("09:02:20"));
    assert_eq!(judged(&case, "09:02:30").launches.share, 2);
    assert_eq!(verdict(&case, "09:02:30"), "fine");
}

#[test]
fn one_survivor_pardons_no_forty_deaths() {
    let dies = |n: u32| {
        let at = i64::from(n) * 60;
        instance(&new(n)).launched(at).unhealthy(at + 50)
    };
    let survivor = instance(&new(0)).launched("09:00:10");
    let case = web(50).with(survivor).with_all((1..=40).map(dies));
    assert_eq!(judged(&case, "10:00").launches.share, 97);
    assert_eq!(verdict(&case, "10:00"), "failing");
}

#[test]
fn every_tenth_success_pardons_no_360_failed_launches() {
    let lived = |stands: fn(u32) -> bool| {
        (0..400).fold(web(50), |case, n| {
            let at = i64::from(n) * 30;
            if stands(n) {
                case.with(instance(&new(n)).launched(at))
            } else {
                case.with(launch_fails(at, ODD))
            }
        })
    };
    assert_eq!(verdict(&lived(|n| n % 10 == 0), "12:30"), "failing");
    // A tenth that fails is none of the release's, for all anybody knows.
    assert_eq!(verdict(&lived(|n| n % 10 != 0), "12:30"), "fine");
}

/// What ends itself at boot was launched all the same, and doesn't stand.
#[test]
fn only_what_stands_counts_as_good() {
    let ends_itself = |n: u32| {
        let at = 60 * i64::from(n) + 10;
        let one = instance(&new(n)).launched(at).found_gone(at + 30);
        one.which_ec2_says(Some("Client.InstanceInitiatedShutdown"))
    };
    let case = web(4).with_all((0..3).map(ends_itself));
    assert_eq!(verdict(&case, "09:04"), "failing");
    // One that vanished, of which nobody knows how, is neither good nor bad.
    let gone = instance(&new(9)).launched("09:00:20").found_gone("09:01");
    let case = two_die().with(gone.which_ec2_says(None));
    assert_eq!(verdict(&case, "09:03"), "failing");
}

#[test]
fn launches_under_way_are_waited_for() {
    let case = web(6)
        .with(launch_fails("09:00:10", NO_AMI))
        .with(launch_fails("09:00:40", NO_AMI))
        .with_all((0..4).map(|n| instance(&new(n)).launching("09:00:40")));
    assert_eq!(verdict(&case, "09:00:50"), "fine");
}

/// Until its grace period is over the group calls everything healthy; its targets tell.
#[test]
fn an_instance_whose_target_is_unhealthy_says_nothing_yet() {
    let launched = |n| instance(&new(n)).launched("09:01:40");
    let mut case = two_die().with_all((3..=6).map(launched));
    assert_eq!(verdict(&case, "09:03:20"), "fine", "four stand, two died");
    let unhealthy = (3..=6).map(|n| (new(n), TargetHealth::Unhealthy)).collect();
    case.targets = Some(unhealthy);
    assert_eq!(verdict(&case, "09:03:20"), "failing");
}

// --- causes outside of the release ---------------------------------------------------------------

#[test]
fn want_of_capacity_is_told_and_never_stops_anything() {
    let case = web(4).with(launch_fails("09:00:01", NO_CAPACITY));
    assert_eq!(verdict(&case, "09:00:10"), "fine");
    let case = case.with_all((2..300_i64).map(|n| launch_fails(n, NO_CAPACITY)));
    assert_eq!(verdict(&case, "09:05"), "troubled");
    // Once something comes up it is over.
    let over = case.clone().with(instance(&new(1)).launched("09:05:10"));
    assert_eq!(verdict(&over, "09:05:20"), "fine");
    // And doesn't hide what is the release's fault.
    let case = case
        .with(launch_fails("09:05:01", NO_AMI))
        .with(launch_fails("09:05:31", NO_AMI));
    assert_eq!(verdict(&case, "09:05:40"), "failing");
}

/// Six instances over three zones: one zone doesn't have their type.
#[test]
fn a_zones_fault_is_the_releases_only_if_every_zone_says_so() {
    let fails = |n: i64, zone: &str| launch_fails(n, NOT_IN_ZONE).in_zone(zone);
    let one = web(6)
        .with(fails(10, "a"))
        .with(fails(10, "a"))
        .with(fails(60, "a"));
    let others = one
        .clone()
        .with(instance(&new(1)).in_zone("b").launching("09:00:11"))
        .with(instance(&new(2)).in_zone("c").launching("09:00:11"));
    assert_eq!(verdict(&others, "09:01:10"), "troubled");
    let all = one.with(fails(61, "b")).with(fails(62, "c"));
    assert_eq!(verdict(&all, "09:01:10"), "failing");
    // Where AWS doesn't say in which zone something else was tried, it may be another.
    let unknown = web(6)
        .with(fails(10, "a"))
        .with(fails(60, "a"))
        .with(instance(&new(1)).launching("09:00:11"));
    assert_eq!(verdict(&unknown, "09:01:10"), "troubled");
}

#[test]
fn what_failed_in_the_same_words_before_the_start_isnt_the_releases() {
    let case = web(4)
        .with(launch_fails(-600, NO_AMI))
        .with(launch_fails(10, NO_AMI))
        .with(launch_fails(60, NO_AMI));
    assert_eq!(verdict(&case, "09:01:30"), "troubled");
    // Other words are another cause.
    let case = case
        .with(launch_fails(70, CLIENT_ERROR))
        .with(launch_fails(100, CLIENT_ERROR))
        .with(launch_fails(160, CLIENT_ERROR));
    assert_eq!(verdict(&case, "09:03"), "failing");
    // Instances that died one after the other before go on dying.
    let dying = two_die()
        .with(instance(&old(7)).unhealthy(-1_200))
        .with(instance(&old(8)).unhealthy(-600));
    assert_ne!(verdict(&dying, "09:03"), "failing");
    // One alone may be bad luck, and says nothing of two.
    let once = two_die().with(instance(&old(7)).unhealthy(-1_200));
    assert_eq!(verdict(&once, "09:03"), "failing");
}

/// What the first try of a release broke is no baseline for its second.
#[test]
fn a_release_that_is_tried_again_isnt_pardoned_by_its_first_try() {
    let again = |wanted: &str| {
        let mut case = web(4)
            .with(launch_fails(-600, NO_AMI))
            .with(launch_fails(10, NO_AMI))
            .with(launch_fails(60, NO_AMI));
        let mut first = case.newest().clone();
        first.id = "first".to_owned();
        first.wanted = Some(source(wanted));
        first.start = Some((-900_i64).at());
        first.status = Status::Cancelled;
        case.earlier = vec![first];
        case
    };
    assert_eq!(verdict(&again("4"), "09:01:30"), "failing");
    assert_eq!(verdict(&again("2"), "09:01:30"), "troubled");
}

/// An outage takes the old ones too, and isn't the release's whatever it shows in.
#[test]
fn an_outage_holds_for_every_signal() {
    let gone = |case: Case| {
        case.with(instance(&old(0)).found_gone("09:00:05"))
            .with(instance(&old(1)).found_gone("09:00:06"))
    };
    let fails = |n: i64| launch_fails(60 * n + 10, CLIENT_ERROR);
    let launches = web(2).with_all((0..3).map(fails));
    assert_eq!(verdict(&launches, "09:03"), "failing");
    assert_eq!(verdict(&gone(launches), "09:03"), "troubled");
    assert_eq!(verdict(&gone(two_die()), "09:03"), "troubled");
    let alarm = rings("09:01").with(instance(&new(1)).launched("09:00:20"));
    assert_eq!(verdict(&alarm, "09:02"), "failing");
    assert_eq!(verdict(&gone(alarm), "09:02"), "troubled");
    // One of four may be bad luck; two, by their targets too, are half.
    let one = two_die().change(|case| case.group.members[0].healthy = false);
    assert_eq!(verdict(&one, "09:03"), "failing");
    let two = one.change(|case| {
        case.targets = Some(BTreeMap::from([(old(1), TargetHealth::Unhealthy)]));
    });
    assert_eq!(verdict(&two, "09:03"), "troubled");
    // What the refresh itself replaces is none.
    let replaced = (0..3).map(|n| instance(&old(n)).replaced("09:00:05"));
    let replaced = two_die().with_all(replaced);
    assert_eq!(verdict(&replaced, "09:03"), "failing");
}

#[test]
fn only_what_died_of_itself_counts() {
    type Ends = fn(Instance, i64) -> Instance;
    let unhealthy: Ends = |one, at| one.unhealthy(at);
    let replaced: Ends = |one, at| one.replaced(at);
    let gone: Ends = |one, at| one.found_gone(at);
    for (ends, reason, expected) in [
        (unhealthy, None, "failing"),
        (replaced, None, "troubled"),
        (gone, None, "troubled"),
        (gone, Some("Client.UserInitiatedShutdown"), "troubled"),
        (gone, Some("Server.SpotInstanceTermination"), "troubled"),
        (gone, Some("Client.InstanceInitiatedShutdown"), "failing"),
    ] {
        let case = web(4).with_all((1..=3).map(|n| {
            let one = ends(instance(&new(n)).launched("09:00:10"), 60 * i64::from(n));
            one.which_ec2_says(reason)
        }));
        assert_eq!(verdict(&case, "09:03:20"), expected, "{reason:?}");
        let by_refresh = case
            .activities
            .iter()
            .any(|one| one.cause.contains("refresh"));
        let asked = terminated(&case).len();
        assert_eq!(asked, if by_refresh { 0 } else { 3 }, "{reason:?}");
    }
}

// --- what is new ---------------------------------------------------------------------------------

/// Wanted lt-x86 v4, with an override of lt-arm v2.
#[test]
fn what_any_of_the_templates_launched_is_new() {
    let arm = |n| instance(&new(n)).on_version("lt-arm:2");
    let case = web(20)
        .change(|case| {
            case.newest().wanted.as_mut().unwrap().overrides = vec![Override {
                what: "m7g.large x1".to_owned(),
                template: Some(template("lt-arm:2")),
            }];
        })
        .with_all((0..10).map(|n| arm(n).launched("09:00:10")))
        .with(instance(&new(10)).launched("09:00:10").unhealthy("09:02"))
        .with(instance(&new(11)).launched("09:00:10").unhealthy("09:03"));
    let judged = judged(&case, "09:05");
    assert_eq!((judged.launches.standing, judged.launches.share), (10, 16));
    assert_eq!(judged.verdict, Verdict::Fine);
    // Version 2 of another template, or version 4 of it, is none of them.
    let others = two_die()
        .with(instance(&new(3)).on_version("other:4").launched("09:01"))
        .with(instance(&new(4)).on_version("3").launched("09:01"));
    assert_eq!(super::tests::judged(&others, "09:03").launches.standing, 0);
}

#[test]
fn only_the_version_that_the_refresh_goes_to_counts() {
    let died = |n: u32, version| {
        let at = 60 * i64::from(n);
        let one = instance(&new(n)).on_version(version).launched(at);
        one.unhealthy(at + 50).which_ec2_says(None)
    };
    let case = web(4).with(died(1, "3")).with(died(2, "4"));
    assert_eq!(verdict(&case, "09:04"), "fine");
    // `$Latest` was whatever it was at the time.
    let latest = case.change(|case| case.newest().wanted = Some(source("$Latest")));
    assert_eq!(verdict(&latest, "09:04"), "failing");
    let unchanged = latest.change(|case| case.newest().wanted = None);
    assert_eq!(verdict(&unchanged, "09:04"), "failing");
}

/// A launch into the pool is no launch; an instance out of it made before the start isn't new.
#[test]
fn a_warm_pool_hides_nothing() {
    let mut case = web(10);
    for n in 0..10 {
        let at = 60 * i64::from(n) + 10;
        case = case
            .with(instance(&new(n)).abandoned(at))
            .with(instance(&new(100 + n)).pooled(at + 20));
    }
    assert_eq!(verdict(&case, "09:12"), "failing");
    // Those out of the pool that were made before aren't the release's, for better or for worse.
    let out = |n| instance(&new(n)).out_of_the_pool("09:01");
    let older = two_die().with_all((10..20).map(out));
    assert_eq!(judged(&older, "09:03").launches.standing, 0);
    assert_eq!(verdict(&older, "09:03"), "failing");
    let pooled = |n| instance(&new(n)).pooled("09:00:30");
    let since = two_die().with_all((10..20).map(|n| pooled(n).out_of_the_pool("09:01")));
    assert_eq!(judged(&since, "09:03").launches.standing, 10);
    assert_eq!(verdict(&since, "09:03"), "fine");
}

/// AWS writes an activity's end in whole seconds, so that it may lie before its start.
#[test]
fn an_end_before_the_start_is_the_same_moment() {
    let mut case = web(4).with_all([10, 12].map(|n: i64| launch_fails(n, NO_AMI)));
    for activity in &mut case.activities {
        activity.start += 900.milliseconds();
    }
    assert_eq!(judged(&case, "09:00:20").launches.rounds, 1);
}

// --- alarms --------------------------------------------------------------------------------------

/// A refresh at which the alarm goes off at this time.
fn rings(since: &str) -> Case {
    let alarm = Alarm {
        alarming: true,
        since: Some(since.at()),
        reason: None,
    };
    web(4).change(|case| case.alarms = Some(BTreeMap::from([("errors".to_owned(), alarm)])))
}

#[test]
fn an_alarm_counts_when_it_went_off_after_something_was_launched() {
    let launched = |case: Case| case.with(instance(&new(1)).launched("09:00:20"));
    assert_eq!(
        verdict(&rings("09:00:01"), "09:00:10"),
        "fine",
        "nothing was launched"
    );
    assert_eq!(
        verdict(&launched(rings("09:00:01")), "09:00:30"),
        "fine",
        "nor when it went off"
    );
    assert_eq!(verdict(&launched(rings("08:59:55")), "09:00:30"), "fine");
    assert_eq!(verdict(&launched(rings("09:00:25")), "09:00:30"), "failing");
    // Whether it is an outage the targets may tell alone.
    let matter = |case| targets_matter(&judged(&launched(case), "09:00:30"));
    assert!(matter(rings("09:00:25")) && !matter(rings("08:59:55")));
    // Also while it bakes, and never while it is pending.
    let baking = launched(rings("09:00:25")).in_status(Status::Baking);
    assert_eq!(verdict(&baking, "09:00:30"), "failing");
    let pending = launched(rings("09:00:25")).in_status(Status::Pending);
    assert_eq!(verdict(&pending, "09:00:30"), "not judged");
    // Where root volumes are replaced nothing is launched at all.
    let in_place = rings("09:00:25").change(|case| case.newest().in_place = true);
    assert_eq!(verdict(&in_place, "09:00:30"), "failing");
    let quiet = launched(rings("09:00:25")).change(|case| {
        let alarm = case.alarms.as_mut().unwrap().get_mut("errors");
        alarm.unwrap().alarming = false;
    });
    assert_eq!(verdict(&quiet, "09:00:30"), "fine");
    // A name that leads nowhere is told, because a person counts on it.
    let nowhere = quiet.change(|case| case.alarms = Some(BTreeMap::new()));
    assert_eq!(verdict(&nowhere, "09:00:30"), "troubled");
}

// --- stalls --------------------------------------------------------------------------------------

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

/// Warm-up or grace period, whichever is longer.
#[test]
fn a_stall_is_counted_from_the_end_of_the_grace_period() {
    let case = stalled().change(|case| {
        set(case, &new(1), TargetHealth::Unhealthy);
        case.group.grace = SignedDuration::from_mins(30);
    });
    assert_eq!(verdict(&case, "09:45"), "fine");
    assert_eq!(verdict(&case, "09:51"), "failing");
}

/// An old target may drain for an hour.
#[test]
fn launches_and_terminations_under_way_are_something() {
    let case = stalled().change(|case| set(case, &new(1), TargetHealth::Unhealthy));
    let draining = |status: &str| {
        let leaving = case.clone().with(instance(&old(0)).replaced("09:00:30"));
        leaving.change(|case| {
            let activity = case.activities.last_mut().unwrap();
            activity.status = status.to_owned();
            activity.end = None;
        })
    };
    assert_eq!(
        verdict(&draining("WaitingForELBConnectionDraining"), "10:00"),
        "fine"
    );
    assert_eq!(verdict(&draining("Successful"), "10:00"), "failing");
    let launching = case.with(instance(&new(2)).launching("09:00:30"));
    assert_eq!(verdict(&launching, "10:00"), "fine");
}

#[test]
fn what_it_waits_for_keeps_it_from_being_stopped_and_is_told() {
    type Change = fn(&mut Case);
    let waits: [(&str, Change); 4] = [
        ("suspended", |case| {
            case.group.suspended.insert("Launch".to_owned());
        }),
        ("hook", |case| {
            case.group.members[0].lifecycle = "Terminating:Wait".to_owned();
        }),
        ("standby", |case| {
            case.group.members[0].lifecycle = "Standby".to_owned();
        }),
        ("protect", |case| case.group.members[0].protected = true),
    ];
    let unhealthy = || stalled().change(|case| set(case, &new(1), TargetHealth::Unhealthy));
    for (name, change) in waits {
        let case = unhealthy().change(change);
        assert_eq!(verdict(&case, "10:00"), "fine", "{name}");
        assert_eq!(judged(&case, "09:10").waits(), None, "{name}: not yet");
        let judgement = judged(&case, "10:00");
        let waits = judgement.waits().unwrap();
        assert!(waits.waits_for[0].contains(name), "{waits:?}");
    }
    // What ends by itself is not told.
    let pauses: [Change; 2] = [
        |case| {
            let refresh = case.newest();
            refresh.percentage = 20;
            refresh.preferences.checkpoints = vec![20, 100];
            refresh.preferences.checkpoint_delay = SignedDuration::from_hours(2);
        },
        |case| case.newest().status = Status::Baking,
    ];
    for change in pauses {
        let case = unhealthy().change(change);
        assert_eq!(verdict(&case, "10:00"), "fine");
        assert_eq!(judged(&case, "10:00").waits(), None);
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
        let case = unhealthy().change(change);
        assert_eq!(verdict(&case, "10:00"), "failing", "{name}");
    }
}

#[test]
fn one_that_is_pending_for_ever_is_told() {
    let case = web(4).in_status(Status::Pending);
    let case = case.change(|case| case.newest().start = None);
    assert_eq!(
        judged(&case, "10:00").waits(),
        None,
        "nobody knows since when"
    );
    let seen = case.remembering(|memory| memory.pending_since = Some("09:00".at()));
    assert_eq!(judged(&seen, "09:19").waits(), None);
    let judgement = judged(&seen, "09:20");
    assert!(judgement.waits().is_some(), "{judgement:?}");
    assert!(matches!(judgement.verdict, Verdict::NotJudged(_)));
    // It may have been another one that was seen.
    let next = seen.change(|case| case.newest().id = "another".to_owned());
    assert_eq!(judged(&next, "10:00").waits(), None);
}

// --- once more -----------------------------------------------------------------------------------

/// A controller starts again what was stopped ten minutes ago.
fn started_again(wanted: &str) -> Case {
    let last = LastStop {
        refresh: "first".to_owned(),
        source: source(wanted),
        image: None,
        at: (-600_i64).at(),
    };
    web(4).change(|case| {
        case.remembered.memory = Some(Memory {
            refresh: "first".to_owned(),
            last_stop: Some(last),
            ..Memory::default()
        });
    })
}

#[test]
fn a_configuration_that_is_started_again_is_known() {
    let text = |case: &Case| judged(case, "09:00:10").again;
    assert!(text(&started_again("4")).unwrap().contains("first"));
    assert_eq!(text(&started_again("2")), None, "another configuration");
    // A day later it may be another try.
    let later = started_again("4").change(|case| {
        let memory = case.remembered.memory.as_mut().unwrap();
        memory.last_stop.as_mut().unwrap().at = "09:00".at() - SignedDuration::from_hours(25);
    });
    assert_eq!(text(&later), None);
    // `$Latest` may mean something else now, as may an image tag.
    let latest =
        started_again("$Latest").change(|case| case.newest().wanted = Some(source("$Latest")));
    assert_eq!(text(&latest), None);
    let brought = |image: &str| {
        let case = started_again("4").pulling('b');
        case.change(|case| {
            let memory = case.remembered.memory.as_mut().unwrap();
            memory.last_stop.as_mut().unwrap().image = Some(image.to_owned());
        })
    };
    assert!(text(&brought("b")).is_some());
    assert_eq!(text(&brought("c")), None);
    // Nor is anything known where nobody saw which image was stopped.
    let unseen = started_again("4").pulling('b');
    let settings = Settings::of(&policy_with_image(), &unseen.group);
    assert_eq!(judge(&unseen, &settings, "09:00:10".at()).again, None);
}

#[test]
fn it_is_kept_stopped_only_where_the_policy_says_so() {
    assert_eq!(verdict(&started_again("4"), "09:00:10"), "fine");
    let keeps = policy_of("{when-started-again: stop}");
    let judged = |case: &Case| {
        let settings = Settings::of(&keeps, &case.group);
        judge(case, &settings, "09:00:10".at()).is_failing()
    };
    assert!(judged(&started_again("4")));
    assert!(!judged(&started_again("2")));
    assert!(!judged(&web(4)));
}

/// Whatever happened: a refresh that doesn't run, or isn't known in full, is not judged.
#[test]
fn only_a_running_refresh_is_judged() {
    let case = two_die().with_all((0..10_i64).map(|n| launch_fails(n, NO_AMI)));
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
    let mut unread = case.change(|case| case.unread.push(error(ErrorKind::Denied)));
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
    NotReady,
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
            Event::NotReady => {
                let words = "Authentication Failure. Launching EC2 instance failed.";
                launch_fails(seconds, words).to(case);
            }
        }
    }
}

fn anything() -> impl Strategy<Value = Event> {
    prop_oneof![bad(), harmless()]
}

fn bad() -> impl Strategy<Value = Event> {
    prop_oneof![Just(Event::NoAmi), Just(Event::Odd), Just(Event::Dies)]
}

fn outside() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::NoCapacity),
        Just(Event::Replaces),
        Just(Event::Spot),
        Just(Event::NotReady),
    ]
}

fn harmless() -> impl Strategy<Value = Event> {
    prop_oneof![outside(), Just(Event::Stands)]
}

fn lived(desired: u32, story: &[Event]) -> Case {
    web(desired).with_all((0..).zip(story).map(|(n, event)| Nth(n, *event)))
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
    fn a_failure_outside_of_the_release_never_turns_fine_into_failing(
        desired in 1..20_u32,
        story in prop::collection::vec(anything(), 0..30),
        more in prop::collection::vec(outside(), 1..10),
    ) {
        let case = lived(desired, &story);
        let before = verdict(&case, LATER);
        let case = case.with_all((100..).zip(more).map(|(n, event)| Nth(n, event)));
        prop_assert!(before == "failing" || verdict(&case, LATER) != "failing");
    }

    #[test]
    fn more_of_what_is_bad_never_makes_it_fine(
        desired in 1..20_u32,
        story in prop::collection::vec(anything(), 0..30),
        more in prop::collection::vec(bad(), 1..10),
    ) {
        let mut case = lived(desired, &story);
        if verdict(&case, LATER) == "failing" {
            for (n, event) in (100..).zip(more) {
                case = case.with(Nth(n, event));
                prop_assert_eq!(verdict(&case, LATER), "failing");
            }
        }
    }

    /// The same failures at the same moments, however the zones share them.
    #[test]
    fn splitting_a_moments_failures_over_zones_changes_nothing(
        moments in prop::collection::vec(0..40_i64, 1..8),
        zones in prop::collection::vec(0..3_usize, 8),
        permanent: bool,
        standing in 0..6_u32,
    ) {
        let message = if permanent { NO_AMI } else { ODD };
        let mut whole = web(6).with_all((0..standing).map(|n| instance(&new(n)).launched(5)));
        let mut split = whole.clone();
        for (moment, zone) in moments.iter().zip(zones) {
            let failure = || launch_fails(30 * moment, message);
            whole = whole.with(failure().in_zone("a"));
            split = split.with(failure().in_zone(["a", "b", "c"][zone]));
        }
        prop_assert_eq!(judged(&whole, LATER).verdict, judged(&split, LATER).verdict);
    }

    #[test]
    fn a_release_of_which_nine_tenths_stand_is_never_stopped(
        bad in prop::collection::vec(bad(), 0..12),
        more in 0..20_usize,
    ) {
        let mut story = bad.clone();
        story.extend(std::iter::repeat_n(Event::Stands, 9 * bad.len() + more));
        prop_assert_ne!(verdict(&lived(50, &story), LATER), "failing");
    }

    /// AWS goes on trying.
    #[test]
    fn a_release_of_which_none_ever_comes_up_always_is(
        desired in 1..50_u32,
        story in prop::collection::vec(bad(), 3..30),
        outside in prop::collection::vec(outside(), 0..10),
    ) {
        // Old ones that the refresh replaces are no outage.
        let outside = (100..).zip(outside).map(|(n, event)| Nth(n, event));
        let case = lived(desired, &story).with_all(outside);
        prop_assert_eq!(verdict(&case, LATER), "failing");
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
