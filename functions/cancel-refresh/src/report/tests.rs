use super::*;
use crate::conditions::KINDS;
use crate::decide::{Restore, Stop, Target};
use crate::evaluate::evaluate;
use crate::facts::{Case, Facts, Question};
use crate::memory::{Mismatch, Remembered, Repair, Step};
use crate::tests::fixtures::{
    NO_CAPACITY, NOW, REFRESH, When, bad, error, fine, launch_fails, policy, policy_with_image,
    put_back, source, template, web,
};
use guardrails::aws::{ApiError, ErrorKind};
use guardrails::resource::Resource;
use jiff::SignedDuration;
use std::collections::BTreeSet;

type Outcomes<'a> = &'a [Settled<'a, Action, Effect>];

fn summed(facts: &Facts, settled: Outcomes<'_>) -> Assessment {
    report(&evaluate(facts, &policy_with_image(), NOW.at()), settled)
}

/// The conditions that a sweep reports.
fn conditions(case: &Case, settled: Outcomes<'_>) -> Vec<Condition> {
    summed(&case.clone().facts(), settled).conditions
}

/// What of it stands.
fn firing(case: &Case, settled: Outcomes<'_>) -> Vec<Condition> {
    let mut found = conditions(case, settled);
    found.retain(|one| one.status == Standing::Firing);
    found
}

/// The one condition that stands.
fn only(case: &Case, settled: Outcomes<'_>) -> Condition {
    let mut found = firing(case, settled);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

/// The status of a kind, as the runner understands it: what a sweep doesn't name is resolved.
fn status(case: &Case, settled: Outcomes<'_>, kind: &Kind) -> Standing {
    let found = conditions(case, settled);
    let mut found = found.iter().filter(|one| one.kind.name == kind.name);
    let status = found.next().map_or(Standing::Resolved, |one| one.status);
    assert_eq!(found.next(), None, "each kind has one status");
    status
}

fn target() -> Target {
    Target {
        group: "web".to_owned(),
        refresh: REFRESH.to_owned(),
        before: Remembered::default(),
    }
}

fn stop() -> Action {
    Action::Stop(Box::new(Stop {
        target: target(),
        how: How::Rollback,
        because: String::new(),
        source: None,
        image: None,
    }))
}

fn stopped() -> Stopped {
    Stopped {
        how: Some(How::Rollback),
        ..Stopped::default()
    }
}

fn settled<'a>(
    action: &'a Action,
    outcome: Outcome,
    effect: Option<&'a Effect>,
) -> [Settled<'a, Action, Effect>; 1] {
    [Settled {
        action,
        outcome,
        note: Some("what came of it"),
        effect,
    }]
}

/// What comes of a stop that brings about `result`.
fn after_stop(case: &Case, outcome: Outcome, result: Stopped) -> Vec<Condition> {
    let (action, effect) = (stop(), Effect::Stopped(result));
    firing(case, &settled(&action, outcome, Some(&effect)))
}

fn notify(case: Case) -> Case {
    case.tagged(&[(tags::ON_FAILURE, "notify")])
}

/// Of four instances that die together each starts a run.
#[test]
fn a_run_by_an_event_tells_only_what_it_did_itself() {
    let by_event = |case: &Case, settled: Outcomes<'_>| {
        let facts = Facts {
            complete: false,
            ..case.clone().facts()
        };
        let sum = summed(&facts, settled);
        assert_eq!(sum.coverage, Coverage::Named);
        sum.conditions
    };
    let after = bad().ended(Status::Failed, "09:04");
    assert_eq!(firing(&after, &[]).len(), 1, "a sweep tells it");
    assert_eq!(by_event(&after, &[]), []);
    let action = stop();
    let skipped = settled(&action, Outcome::Skipped, None);
    assert_eq!(by_event(&bad(), &skipped), [], "another run has stopped it");
    let effect = Effect::Stopped(stopped());
    let loud = by_event(&bad(), &settled(&action, Outcome::Done, Some(&effect)));
    assert!(
        loud.iter()
            .any(|one| one.kind == &STOPPED && one.status == Standing::Firing),
        "this one has: {loud:?}"
    );
}

#[test]
fn a_sweep_says_of_all_groups_how_they_stand() {
    let sum = summed(&fine().facts(), &[]);
    let Coverage::All { kinds, present } = sum.coverage else {
        panic!("all");
    };
    assert_eq!(present, [Resource::group("web")].into());
    let judged: BTreeSet<&str> = kinds.iter().map(|kind| kind.name).collect();
    let known: BTreeSet<&str> = KINDS.iter().map(|kind| kind.name).collect();
    assert_eq!(judged, known);
    // A name that several share is read as the first of them.
    for kind in kinds {
        let first = KINDS.iter().find(|known| known.name == kind.name);
        assert_eq!(first, Some(&kind));
    }
}

#[test]
fn nothing_is_told_of_what_goes_well() {
    assert_eq!(firing(&fine(), &[]), []);
    for status in [
        Status::Pending,
        Status::Baking,
        Status::Successful,
        Status::Cancelled,
    ] {
        assert_eq!(firing(&fine().ended(status, "09:04"), &[]), []);
    }
}

#[test]
fn what_was_stopped_is_told_with_its_evidence() {
    let told = after_stop(&bad(), Outcome::Done, stopped());
    let [condition] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(condition.kind, &STOPPED);
    assert_eq!(condition.label, "web");
    for part in [
        REFRESH,
        "to web version 4",
        "2 of 2 launches since the start have failed",
        "does not exist",
        "It is being rolled back",
        "0 new, 2 old (2 on web version 3)",
        "0 stand, 0 are under way, 2 failed, 0 died",
    ] {
        assert!(condition.why.contains(part), "{part}: {}", condition.why);
    }
}

/// The stages of a story, each with a fingerprint of its own under one name: each is told once.
#[test]
fn each_stage_takes_the_place_of_the_one_before() {
    let stages = [
        (notify(bad()), &FAILING, "failing"),
        (bad().claimed(Step::Cancelled, "09:00"), &STOPPED, "stopped"),
        (
            bad()
                .in_status(Status::Cancelling)
                .claimed(Step::Cancelled, "09:00"),
            &STOPPED,
            "stopped",
        ),
        (cancelled(), &ENDED, "ended"),
    ];
    for (case, kind, stage) in stages {
        let told = only(&case, &[]);
        assert_eq!((told.kind, told.kind.name), (kind, "refresh"));
        assert_eq!(told.fingerprint, format!("{REFRESH} {stage}"));
    }
}

/// A release that is failing now and fine at the next look isn't told again and again.
#[test]
fn while_it_runs_nothing_resolves_what_was_told() {
    for status in [
        Status::Pending,
        Status::InProgress,
        Status::Baking,
        Status::Cancelling,
        Status::RollbackInProgress,
        Status::Cancelled,
        Status::Other("Paused".to_owned()),
    ] {
        let case = fine().ended(status, "09:04");
        for kind in [&FAILING, &TROUBLED] {
            assert_eq!(super::tests::status(&case, &[], kind), Standing::Unknown);
        }
    }
    let troubled = fine()
        .with(launch_fails("09:01", NO_CAPACITY))
        .with(launch_fails("09:02", NO_CAPACITY));
    assert_eq!(only(&troubled, &[]).kind, &TROUBLED);
    assert_eq!(status(&troubled, &[], &FAILING), Standing::Unknown);
    assert_eq!(status(&notify(bad()), &[], &TROUBLED), Standing::Unknown);
}

#[test]
fn a_refresh_that_comes_through_resolves_what_was_told() {
    let through = fine().ended(Status::Successful, "09:04");
    // So does a group without any, or one that isn't looked after any more.
    let none = fine().change(|case| case.refresh = None);
    let excluded = bad().tagged(&[("Hands", "off")]);
    for case in [through, none, excluded] {
        assert_eq!(conditions(&case, &[]), []);
    }
}

#[test]
fn a_refresh_that_failed_on_its_own_is_told_for_a_day() {
    let yesterday = NOW.at() - SignedDuration::from_hours(25);
    for status in [
        Status::Failed,
        Status::RollbackSuccessful,
        Status::RollbackFailed,
    ] {
        let told = only(&bad().ended(status.clone(), "09:04"), &[]);
        assert_eq!(told.kind, &FAILED);
        assert!(told.why.contains("says AWS"), "{}", told.why);
        // Whoever was told of it then isn't told that it is over.
        let old = bad().ended(status, yesterday);
        assert_eq!(super::tests::status(&old, &[], &FAILING), Standing::Unknown);
    }
    // The end of one that this guardrail stopped is told whenever it is seen.
    let ours = bad().ended(Status::Cancelled, yesterday);
    let ours = ours.claimed(Step::Cancelled, yesterday);
    assert_eq!(only(&ours, &[]).kind, &ENDED);
}

#[test]
fn why_it_was_not_stopped_is_told() {
    assert!(only(&notify(bad()), &[]).why.contains("notify only"));
    let operated = bad().change(|case| {
        case.group.operator = Some("ecs.amazonaws.com".to_owned());
    });
    assert!(only(&operated, &[]).why.contains("ecs.amazonaws.com"));
    let unread = bad().change(|case| case.stack = Some(Err(throttled())));
    assert!(only(&unread, &[]).why.contains("couldn't be read"));
    let action = stop();
    let failed = only(&bad(), &settled(&action, Outcome::Failed, None));
    assert!(failed.why.contains("could not be stopped: what came of it"));
    // Another run is at it, or the next sweep: they tell.
    for outcome in [Outcome::Skipped, Outcome::Left] {
        let settled = settled(&action, outcome, None);
        assert_eq!(firing(&bad(), &settled), []);
    }
}

/// In modes notify and observe.
#[test]
fn what_would_be_done_is_told() {
    let action = stop();
    let told = only(&bad(), &settled(&action, Outcome::WouldDo, None));
    assert_eq!(told.kind, &FAILING);
    assert!(
        told.why
            .contains("In mode enforce it would be rolled back. "),
        "{}",
        told.why
    );
    let case = bad()
        .pulling('b')
        .change(|case| case.newest().wanted = None);
    let plan = standing(&case).plan().cloned();
    let action = Action::Stop(Box::new(Stop {
        target: target(),
        how: How::Cancel,
        because: String::new(),
        image: plan.clone(),
        source: None,
    }));
    let told = only(&case, &settled(&action, Outcome::WouldDo, None));
    let expected = "it would be cancelled, after app:prod was put back to a and not rolled back: it has no desired configuration";
    assert!(told.why.contains(expected), "{}", told.why);
    let restore = restore(plan.unwrap());
    let over = case.ended(Status::Failed, "09:04");
    let told = firing(&over, &settled(&restore, Outcome::WouldDo, None));
    let image = told.iter().find(|one| one.kind == &IMAGE).unwrap();
    assert!(
        image.why.contains("would be put back to a"),
        "{}",
        image.why
    );
}

fn restore(plan: image::Plan) -> Action {
    let target = target();
    Action::Restore(Box::new(Restore { target, plan }))
}

fn standing(case: &Case) -> image::Standing {
    Evaluated::of(case, &policy_with_image(), NOW.at())
        .refresh
        .unwrap()
        .image
}

/// The run that is about to stop it tells it a moment later.
#[test]
fn a_run_that_meets_another_leaves_the_telling_to_it() {
    for step in [Step::Rollback, Step::RolledBack] {
        for status in [
            Status::InProgress,
            Status::RollbackInProgress,
            Status::RollbackSuccessful,
        ] {
            let case = |when| bad().ended(status.clone(), NOW).claimed(step, when);
            // Once it is stopped that is news for whoever tells it first.
            let at_once = usize::from(step == Step::RolledBack);
            assert_eq!(
                firing(&case("09:04"), &[]).len(),
                at_once,
                "{step:?} {status:?}"
            );
            // It was ended before it could tell.
            assert_eq!(firing(&case("09:01"), &[]).len(), 1, "{step:?} {status:?}");
        }
    }
}

#[test]
fn an_image_that_was_not_put_back_is_told_until_it_is() {
    let refused = Stopped {
        image: Some(image::Outcome::Refused("the tags are immutable".to_owned())),
        ..stopped()
    };
    let is_told = |told: &[Condition], words: &str| {
        told.iter()
            .any(|one| one.kind == &IMAGE && one.why.contains(words))
    };
    let told = after_stop(&bad().pulling('b'), Outcome::Done, refused);
    assert!(is_told(&told, "immutable"), "{told:?}");
    // It changed before the decision: the same.
    let changed = bad().pulling('c').seen_with("b", Repair::Seen);
    let told = after_stop(&changed, Outcome::Done, stopped());
    assert!(is_told(&told, "has changed since"), "{told:?}");
    // Not put back yet, and nobody knows whether it will be.
    let case = fine()
        .pulling('b')
        .seen_with("b", Repair::Seen)
        .ended(Status::Failed, "09:04");
    assert_eq!(status(&case, &[], &IMAGE), Standing::Unknown);
    let action = restore(standing(&case).plan().cloned().unwrap());
    let effect = Effect::Image(put_back());
    let done = settled(&action, Outcome::Done, Some(&effect));
    assert_eq!(status(&case, &done, &IMAGE), Standing::Resolved);
    let later = case.seen_with("b", Repair::Restored);
    assert_eq!(status(&later, &[], &IMAGE), Standing::Resolved);
}

#[test]
fn hitting_another_refresh_is_counted_and_told() {
    let action = stop();
    let effect = Effect::Stopped(Stopped {
        mismatch: Some("another".to_owned()),
        ..stopped()
    });
    let settled = settled(&action, Outcome::Failed, Some(&effect));
    let told = firing(&bad(), &settled);
    let mismatch = told.iter().find(|one| one.kind == &MISMATCH).unwrap();
    assert!(mismatch.why.contains("another"));
    let sum = summed(&bad().facts(), &settled);
    let value = |name: &str| {
        let metric = sum.metrics.iter().find(|metric| metric.name == name);
        metric.unwrap().value
    };
    assert_eq!(
        (
            value("Mismatches"),
            value("RefreshesStopped"),
            value("RefreshesFailing")
        ),
        (1, 1, 1)
    );
    for name in COUNTERS {
        value(name);
    }
    // It stands until another refresh begins, also where the one that was hit is looked at.
    let before = mismatch.fingerprint.clone();
    let next = |id: &str| {
        let case = fine().remembering(|memory| {
            memory.mismatch = Some(Mismatch {
                meant: REFRESH.to_owned(),
                hit: "another".to_owned(),
            });
        });
        case.change(|case| case.newest().id = id.to_owned())
    };
    for case in [
        next("another"),
        next("another").seen_with("b", Repair::Seen),
    ] {
        assert_eq!(only(&case, &[]).fingerprint, before);
    }
    assert_eq!(status(&next("a third"), &[], &MISMATCH), Standing::Resolved);
}

#[test]
fn unusable_tags_are_told_until_they_are_corrected() {
    let wrong = fine().tagged(&[(tags::LAUNCH_FAILURES, "many")]);
    let told = only(&wrong, &[]);
    assert_eq!(
        (told.kind, &*told.fingerprint),
        (&SETTINGS, "launch-failures")
    );
    assert!(told.why.contains("no whole number"), "{}", told.why);
    assert_eq!(status(&fine(), &[], &SETTINGS), Standing::Resolved);
}

/// What is answered.
fn asked(case: Case, question: Question) -> serde_json::Value {
    let facts = Facts {
        complete: false,
        asked: Some(question),
        ..case.facts()
    };
    summed(&facts, &[]).detail
}

#[test]
fn explain_shows_evidence_and_decision() {
    let detail = asked(bad(), Question::Explain);
    assert_eq!(detail["verdict"]["is"], "failing");
    assert_eq!(detail["evidence"]["launches"]["permanent-rounds"], 2);
    assert_eq!(detail["decision"]["if-failing"], "rollback");
    assert_eq!(detail["settings"]["launch-failures"], 3);
    assert_eq!(detail["refresh"]["status"], "InProgress");
    let detail = asked(bad().claimed(Step::Rollback, "09:04"), Question::Explain);
    assert_eq!(detail["remembered"]["stop"]["step"], "rollback");
    let only_told = detail["decision"]["only-told-because"].as_str().unwrap();
    assert!(only_told.contains("another run"), "{only_told}");
    assert!(summed(&bad().facts(), &[]).detail.is_null());
}

fn throttled() -> ApiError {
    error(ErrorKind::Throttled)
}

#[test]
fn of_a_group_that_couldnt_be_read_nothing_is_known() {
    let case = bad()
        .pulling('b')
        .change(|case| case.unread.push(throttled()));
    let without = case.clone().change(|case| case.refresh = None);
    for case in [case, without] {
        for kind in [&FAILING, &TROUBLED, &WAITING, &IMAGE, &MISMATCH] {
            assert_eq!(status(&case, &[], kind), Standing::Unknown);
        }
        let said = format!("{:?}", conditions(&case, &[]));
        assert!(
            said.contains("Throttling") && !said.contains("six weeks"),
            "{said}"
        );
    }
}

/// One answer that doesn't come is no image that wasn't put back.
#[test]
fn of_an_image_that_couldnt_be_read_nothing_is_known() {
    let unread = |case: Case, kind| case.change(|case| case.image = Some(Err(error(kind))));
    let failed = fine()
        .seen_with("b", Repair::Seen)
        .ended(Status::Failed, "09:04");
    for (kind, expected) in [
        (ErrorKind::Throttled, Standing::Unknown),
        (ErrorKind::Unknown, Standing::Unknown),
        (ErrorKind::Denied, Standing::Firing),
    ] {
        assert_eq!(status(&unread(failed.clone(), kind), &[], &IMAGE), expected);
    }
    // A refresh that was stopped without it.
    let told = after_stop(&unread(bad(), ErrorKind::Unknown), Outcome::Done, stopped());
    assert!(told.iter().any(|one| one.kind == &IMAGE), "{told:?}");
}

fn in_stack(status: &str) -> Case {
    bad().change(|case| case.stack = Some(Ok(status.to_owned())))
}

/// No command is offered that can't work.
#[test]
fn a_failing_one_comes_with_the_commands_that_can_work() {
    let both = notify(bad());
    let forward = both.clone().change(|case| case.newest().wanted = None);
    let updating = notify(in_stack("UPDATE_IN_PROGRESS"));
    let rolling_back = in_stack("UPDATE_ROLLBACK_IN_PROGRESS");
    let operated = bad().change(|case| case.group.operator = Some("eks.amazonaws.com".to_owned()));
    for (case, kind) in [
        (both, &FAILING),
        (forward, &FAILING_FORWARD),
        (updating, &FAILING_FORWARD),
        (rolling_back, &FAILING_ELSEWHERE),
        (operated, &FAILING_ELSEWHERE),
    ] {
        assert_eq!(only(&case, &[]).kind, kind);
    }
}

/// A hook that holds an instance for two days.
fn held_up() -> Case {
    web(2).change(|case| {
        case.group.members[0].lifecycle = "Terminating:Wait".to_owned();
        case.newest().start = Some("08:00".at());
    })
}

#[test]
fn what_waits_for_somebody_is_told_once() {
    let told = only(&held_up(), &[]);
    assert_eq!((told.kind, &*told.fingerprint), (&WAITING, REFRESH));
    assert!(told.why.contains("lifecycle hooks"), "{}", told.why);
    // It may go on, and wait again: that is no news.
    let on = held_up().change(|case| case.newest().start = Some(NOW.at()));
    assert_eq!(status(&on, &[], &WAITING), Standing::Unknown);
    let pending = fine().in_status(Status::Pending);
    let pending = pending.change(|case| case.newest().start = Some("08:00".at()));
    assert!(only(&pending, &[]).why.contains("Pending"));
}

/// A refresh during which the image tag was moved back.
fn moved(repair: Repair) -> Case {
    fine()
        .pulling('a')
        .seen_with("b", repair)
        .ended(Status::Successful, "09:04")
}

/// Even where the refresh came through: a run may have been ended after it had moved the tag.
#[test]
fn a_moved_image_tag_is_told_whatever_becomes_of_the_refresh() {
    for repair in [Repair::Restored, Repair::Restoring] {
        let told = only(&moved(repair), &[]);
        assert_eq!(told.kind, &MOVED, "{repair:?}");
        assert!(
            told.why.contains("app:prod") && told.why.contains("Successful"),
            "{}",
            told.why
        );
    }
    // Nobody began to move it: the pipeline did.
    assert_eq!(firing(&moved(Repair::Seen), &[]), []);
    // It stands until another refresh begins.
    let next = moved(Repair::Restored).change(|case| case.newest().id = "another".to_owned());
    assert_eq!(status(&next, &[], &MOVED), Standing::Resolved);
    let unread = moved(Repair::Restoring).change(|case| case.image = Some(Err(throttled())));
    assert_eq!(status(&unread, &[], &MOVED), Standing::Unknown);
    // Nor does it end with the image's name in the policy.
    let facts = moved(Repair::Restored).facts();
    let unnamed = report(&evaluate(&facts, &policy(), NOW.at()), &[]).conditions;
    let [unnamed] = unnamed.as_slice() else {
        panic!("{unnamed:?}");
    };
    assert_eq!((unnamed.kind, unnamed.status), (&MOVED, Standing::Unknown));
    // The stop itself was refused: the tag is moved all the same.
    let action = stop();
    let effect = Effect::Stopped(Stopped {
        image: Some(put_back()),
        ..Stopped::default()
    });
    let refused = settled(&action, Outcome::Failed, Some(&effect));
    let told = firing(&bad().pulling('b'), &refused);
    assert!(told.iter().any(|one| one.kind == &MOVED), "{told:?}");
    assert!(told.iter().any(|one| one.kind == &FAILING), "{told:?}");
}

/// One that this guardrail has cancelled.
fn cancelled() -> Case {
    bad()
        .ended(Status::Cancelled, "09:04")
        .claimed(Step::Cancelled, "09:00")
}

/// The same in a group whose own template is the bad one.
fn cancelled_and_still_launching() -> Case {
    cancelled().change(|case| case.group.source = Some(source("4")))
}

#[test]
fn after_a_cancel_it_is_said_what_the_group_still_launches() {
    let why = only(&cancelled_and_still_launching(), &[]).why;
    let command = "aws autoscaling update-auto-scaling-group --auto-scaling-group-name web --launch-template LaunchTemplateId=lt-1,Version=3";
    assert!(why.contains(command), "{why}");
    // What worked is a version of another template: no command names it as one of this.
    let moved = cancelled_and_still_launching().change(|case| {
        for member in &mut case.group.members {
            member.template = Some(template("other:7"));
        }
    });
    let why = only(&moved, &[]).why;
    assert!(
        why.contains("still launches") && !why.contains("Version=7"),
        "{why}"
    );
    assert!(!only(&cancelled(), &[]).why.contains("still launches"));
}

/// All that this guardrail tells, for whoever reviews the texts.
#[test]
fn the_notices_as_people_get_them() {
    let troubled = fine()
        .with(launch_fails("09:04", NO_CAPACITY))
        .with(launch_fails(NOW, NO_CAPACITY));
    let result = Stopped {
        image: Some(image::Outcome::Refused(
            "the repository's tags are immutable".to_owned(),
        )),
        mismatch: Some("f3b5f0a1-0000-4000-8000-000000000000".to_owned()),
        ..stopped()
    };
    let over = bad()
        .ended(Status::RollbackSuccessful, "09:04")
        .claimed(Step::RolledBack, "08:55");
    let action = stop();
    let mut each = vec![
        firing(&troubled, &[]),
        firing(&notify(bad()), &[]),
        firing(&bad(), &settled(&action, Outcome::WouldDo, None)),
        after_stop(&bad().pulling('b'), Outcome::Done, result),
        firing(&over, &[]),
        firing(&bad().ended(Status::Failed, "09:04"), &[]),
        firing(&web(2).tagged(&[(tags::LAUNCH_FAILURES, "many")]), &[]),
        firing(
            &notify(bad()).change(|case| case.newest().wanted = None),
            &[],
        ),
        firing(&in_stack("UPDATE_ROLLBACK_IN_PROGRESS"), &[]),
        firing(&held_up(), &[]),
        firing(&moved(Repair::Restored), &[]),
        firing(&cancelled_and_still_launching(), &[]),
    ];
    let kinds: BTreeSet<_> = each.iter().flatten().map(|one| one.kind.one).collect();
    for kind in KINDS {
        assert!(kinds.contains(kind.one), "{} is missing", kind.one);
    }
    let resolved = JUDGED;
    let resolved = resolved.map(|kind| Condition::resolved(Resource::group("web"), kind));
    each.push(resolved.to_vec());
    insta::assert_snapshot!(guardrails::notify::examples(crate::NAME, NOW.at(), &each));
}

/// One word for scripts.
#[test]
fn a_verdict_is_one_word_with_its_reasons() {
    let asked = |case: Case, refresh: Option<&str>| {
        let refresh = refresh.map(str::to_owned);
        asked(case, Question::Verdict { refresh })
    };
    let stopped = |case: Case| case.claimed(Step::Cancelled, "09:00");
    for (case, expected) in vec![
        (fine(), "running"),
        (fine().in_status(Status::Pending), "running"),
        (fine().in_status(Status::Baking), "running"),
        (bad(), "failing"),
        (notify(bad()), "failing"),
        (stopped(bad()), "stopped"),
        (stopped(bad().in_status(Status::Cancelling)), "stopped"),
        (bad().ended(Status::Cancelled, "09:04"), "stopped"),
        (bad().in_status(Status::RollbackInProgress), "stopped"),
        (bad().ended(Status::RollbackSuccessful, "09:04"), "stopped"),
        (bad().ended(Status::Failed, "09:04"), "ended-badly"),
        (bad().ended(Status::RollbackFailed, "09:04"), "ended-badly"),
        (fine().ended(Status::Successful, "09:04"), "good"),
        // What came through isn't what runs.
        (moved(Repair::Restored), "ended-badly"),
        // What runs can't be told.
        (
            moved(Repair::Restoring).change(|case| case.image = Some(Err(throttled()))),
            "unknown",
        ),
        (
            moved(Repair::Restoring).change(|case| case.image = None),
            "unknown",
        ),
    ] {
        let detail = asked(case, None);
        assert_eq!(detail["verdict"], expected, "{detail}");
        assert_eq!(detail["refresh"], REFRESH);
    }
    let because = asked(bad(), Some(REFRESH))["because"].to_string();
    assert!(because.contains("does not exist"), "{because}");
    // Another than the newest.
    let earlier = || {
        fine().change(|case| {
            let mut earlier = case.newest().clone();
            earlier.id = "earlier".to_owned();
            earlier.status = Status::Failed;
            case.earlier = vec![earlier];
        })
    };
    assert_eq!(asked(earlier(), Some("earlier"))["verdict"], "ended-badly");
    assert_eq!(asked(earlier(), Some("none"))["verdict"], "unknown");
    // What couldn't be read is no verdict, and no refresh that isn't there.
    for case in [fine(), fine().change(|case| case.refresh = None)] {
        let unread = case.change(|case| case.unread.push(throttled()));
        let detail = asked(unread, Some(REFRESH));
        assert_eq!(detail["verdict"], "unknown");
        let because = detail["because"].to_string();
        assert!(because.contains("Throttling"), "{because}");
    }
}
