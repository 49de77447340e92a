use super::*;
use crate::evaluate::evaluate;
use crate::facts::{Case, Facts, Status};
use crate::memory::{Repair, Step as Stage};
use crate::source::{Override, Source};
use crate::tests::fixtures::{
    NOW, REFRESH, When, bad, error, fine, policy_with_image, source, template,
};
use guardrails::aws::ApiError;
use guardrails::tags;

fn decided(case: &Case) -> Vec<Decision<Action>> {
    decided_of(&case.clone().facts())
}

fn decided_of(facts: &Facts) -> Vec<Decision<Action>> {
    decide(&evaluate(facts, &policy_with_image(), NOW.at()))
}

/// The only decision.
fn only(case: &Case) -> Decision<Action> {
    let mut decisions = decided(case);
    assert_eq!(decisions.len(), 1, "{decisions:?}");
    decisions.remove(0)
}

fn stops(case: &Case) -> (Stop, String) {
    let decision = only(case);
    match decision.step {
        Step::Act(Action::Stop(stop)) => {
            assert_eq!(
                (stop.target.group.as_str(), stop.target.refresh.as_str()),
                ("web", REFRESH)
            );
            (*stop, decision.reason)
        }
        other => panic!("{other:?}: {}", decision.reason),
    }
}

fn left(case: &Case, because: &str) {
    let decision = only(case);
    assert_eq!(decision.step, Step::Leave);
    assert!(decision.reason.contains(because), "{}", decision.reason);
}

fn not_judged(case: &Case, because: &str) {
    let decision = only(case);
    assert!(
        matches!(decision.step, Step::CannotJudge(_)),
        "{decision:?}"
    );
    assert!(decision.reason.contains(because), "{}", decision.reason);
}

#[test]
fn nothing_is_said_of_a_refresh_that_goes_well() {
    assert_eq!(decided(&fine()), []);
    let decisions = decided_of(&Facts {
        complete: false,
        ..fine().facts()
    });
    assert_eq!(decisions[0].action, "watch");
    assert_eq!(decisions[0].step, Step::Leave);
}

#[test]
fn a_failing_one_is_rolled_back() {
    let (stop, reason) = stops(&bad());
    assert_eq!(stop.how, How::Rollback);
    assert!(reason.contains("does not exist"), "{reason}");
    assert!(!reason.contains("Cancelled"), "{reason}");
}

#[test]
fn or_cancelled_where_that_is_asked() {
    let case = bad().tagged(&[(tags::ON_FAILURE, "cancel")]);
    assert_eq!(stops(&case).0.how, How::Cancel);
}

/// ASG-3: where a rollback would fail, or bring back what fails.
#[test]
fn or_cancelled_where_a_rollback_would_do_no_good() {
    type Change = fn(&mut Case);
    let cases: [(&str, Change); 4] = [
        ("no desired configuration", |case| {
            case.newest().wanted = None;
        }),
        ("numbered versions only", |case| {
            case.newest().wanted = Some(source("$Latest"));
        }),
        ("numbered versions only", |case| {
            case.group.source = Some(source("$Default"));
        }),
        ("nothing to roll back to", |case| {
            case.group.source = Some(source("4"));
        }),
    ];
    for (because, change) in cases {
        let (stop, reason) = stops(&bad().change(change));
        assert_eq!(stop.how, How::Cancel, "{because}");
        assert!(reason.contains(because), "{reason}");
    }
    // Another template of the same number, or other types, is something to go back to.
    for other in [
        Source {
            template: template("other:4"),
            ..source("4")
        },
        Source {
            overrides: vec![Override {
                what: "m5.large x1".to_owned(),
                template: None,
            }],
            ..source("4")
        },
    ] {
        let case = bad().change(|case| case.group.source = Some(other));
        assert_eq!(stops(&case).0.how, How::Rollback);
    }
}

fn with_stack(status: Result<&str, ApiError>) -> Case {
    bad().change(|case| case.stack = Some(status.map(str::to_owned)))
}

#[test]
fn what_isnt_ours_to_stop_is_only_told() {
    let operated = |case: &mut Case| case.group.operator = Some("ecs.amazonaws.com".to_owned());
    left(
        &bad().change(operated),
        "only ecs.amazonaws.com may change it",
    );
    let notify = bad().tagged(&[(tags::ON_FAILURE, "notify")]);
    left(&notify, "notify only");
    for status in [
        "CREATE_IN_PROGRESS",
        "UPDATE_ROLLBACK_IN_PROGRESS",
        "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
        "DELETE_IN_PROGRESS",
    ] {
        left(&with_stack(Ok(status)), status);
    }
    for status in ["UPDATE_COMPLETE", "CREATE_COMPLETE", "REVIEW_IN_PROGRESS"] {
        stops(&with_stack(Ok(status)));
    }
}

/// ASG-14: AWS refuses to roll back what `CloudFormation` started, and `CloudFormation` rolls its stack
/// back itself.
#[test]
fn while_a_stack_is_updated_its_refresh_is_cancelled() {
    let (stop, reason) = stops(&with_stack(Ok("UPDATE_IN_PROGRESS")));
    assert_eq!(stop.how, How::Cancel);
    assert!(reason.contains("CloudFormation"), "{reason}");
}

#[test]
fn of_one_that_doesnt_begin_is_remembered_since_when() {
    let case = fine().in_status(Status::Pending);
    assert_eq!(decided(&case), [], "AWS says since when");
    let case = case.change(|case| case.newest().start = None);
    let Step::Act(Action::Remember(remember)) = only(&case).step else {
        panic!("remembered");
    };
    assert_eq!(remember.what, First::Pending);
    let known = case.remembering(|memory| memory.pending_since = Some(NOW.at()));
    assert_eq!(decided(&known), []);
}

/// In any mode: no action comes of it, and the run isn't a success.
#[test]
fn what_cant_be_read_is_not_judged_and_stops_nothing() {
    for kind in [ErrorKind::Throttled, ErrorKind::Denied] {
        let unread = bad().change(|case| case.unread.push(error(kind)));
        not_judged(&unread, "not all of it could be read");
        not_judged(&with_stack(Err(error(kind))), "its CloudFormation stack");
    }
    let none = fine().change(|case| {
        case.refresh = None;
        case.unread.push(error(ErrorKind::Unknown));
    });
    not_judged(&none, "not all of it could be read");
    // The twin: AWS says that there is none.
    assert_eq!(decided(&none.change(|case| case.unread.clear())), []);
}

#[test]
fn an_excluded_group_is_not_even_told() {
    let excluded = bad().tagged(&[("Hands", "off")]);
    assert_eq!(decided(&excluded), []);
    // Where somebody asks about it and it couldn't be read, that is the answer.
    let unread = excluded.change(|case| case.unread.push(error(ErrorKind::Denied)));
    not_judged(&unread, "not all of it could be read");
}

#[test]
fn a_refresh_is_not_stopped_twice() {
    for step in [Stage::Cancel, Stage::Rollback] {
        left(&bad().claimed(step, "09:04"), "another run");
        // The run that claimed it was ended before it acted.
        stops(&bad().claimed(step, "09:01"));
    }
    for step in [Stage::Cancelled, Stage::RolledBack] {
        for when in ["09:04", "08:05"] {
            left(&bad().claimed(step, when), "was stopped at");
        }
    }
    // What was done to an earlier refresh says nothing of this one.
    let next = bad()
        .claimed(Stage::Cancelled, "09:04")
        .change(|case| case.newest().id = "another".to_owned());
    assert!(matches!(only(&next).step, Step::Act(Action::Stop(_))));
}

/// Anybody may write a tag.
#[test]
fn no_tag_of_a_claim_keeps_it_from_being_stopped() {
    let tags = [("ec2-guardrails:refresh", "x cancelled 2026-11-21T09:04:00Z")];
    stops(&bad().tagged(&tags));
}

#[test]
fn a_rollback_or_an_end_is_only_watched() {
    for status in [
        Status::Pending,
        Status::Cancelling,
        Status::RollbackInProgress,
        Status::Successful,
        Status::Failed,
        Status::Cancelled,
        Status::RollbackSuccessful,
        Status::RollbackFailed,
        Status::Other("Paused".to_owned()),
    ] {
        assert_eq!(decided(&bad().in_status(status)), []);
    }
}

#[test]
fn the_image_is_written_down_at_first_sight() {
    for status in [Status::Pending, Status::InProgress] {
        let case = fine().pulling('b').in_status(status);
        let Step::Act(Action::Remember(remember)) = only(&case).step else {
            panic!("remembered");
        };
        let digest = "b".to_owned();
        assert_eq!(remember.what, First::Image { digest });
        assert_eq!(decided(&case.clone().seen_with("b", Repair::Seen)), []);
        // What was seen of an earlier refresh says nothing of this one.
        let next = case
            .seen_with("b", Repair::Seen)
            .change(|case| case.newest().id = "another".to_owned());
        assert!(matches!(only(&next).step, Step::Act(Action::Remember(_))));
    }
    // Later it may be another push's.
    let late = fine()
        .pulling('b')
        .change(|case| case.looked = "09:11".at());
    assert_eq!(decided(&late), []);
}

#[test]
fn an_image_that_cant_be_read_is_said() {
    let said = "app:prod points to couldn't be read";
    let failed = fine()
        .seen_with("b", Repair::Seen)
        .ended(Status::Failed, "09:04");
    // At first sight, and where it is to be put back.
    for case in [fine(), failed] {
        let unread = |kind| {
            let case = case.clone();
            case.change(|case| case.image = Some(Err(error(kind))))
        };
        for kind in [ErrorKind::Throttled, ErrorKind::Unknown] {
            not_judged(&unread(kind), said);
        }
        // Not one of the stack's repositories: it stays so until a person has settled it.
        left(&unread(ErrorKind::Denied), said);
    }
    // Too late for a first sight, so nothing hangs on it.
    let late = fine().change(|case| {
        case.looked = "09:11".at();
        case.image = Some(Err(error(ErrorKind::Unknown)));
    });
    assert_eq!(decided(&late), []);
}

#[test]
fn a_failing_refresh_has_its_image_put_back_too() {
    let case = bad().pulling('b').seen_with("b", Repair::Seen);
    assert_eq!(stops(&case).0.image.unwrap().good, "a");
    // Changed meanwhile: stopped all the same, and the tag left alone.
    let case = bad().pulling('c').seen_with("b", Repair::Seen);
    assert_eq!(stops(&case).0.image, None);
}

fn restores(case: &Case) -> bool {
    match decided(case).pop().map(|decision| decision.step) {
        Some(Step::Act(Action::Restore(restore))) => restore.plan.good == "a",
        None => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refresh_that_failed_on_its_own_has_its_image_put_back() {
    let over = |status: Status, when: &str| {
        let case = fine().pulling('b').seen_with("b", Repair::Seen);
        case.ended(status, when)
    };
    let yesterday = "09:05".at() - jiff::SignedDuration::from_hours(25);
    for status in [
        Status::Failed,
        Status::RollbackSuccessful,
        Status::RollbackFailed,
    ] {
        let case = over(status, "09:04");
        assert!(restores(&case), "{:?}", case.refresh);
        assert!(!restores(
            &case.change(|case| case.newest().end = Some(yesterday))
        ));
    }
    // A person's cancel means what it says; ours was to have put the image back.
    let cancelled = over(Status::Cancelled, "09:04");
    assert!(!restores(&cancelled));
    assert!(restores(&cancelled.claimed(Stage::Cancelled, "09:04")));
    assert!(!restores(&over(Status::Successful, "09:04")));
    let failed = over(Status::Failed, "09:04");
    assert!(!restores(
        &failed.clone().tagged(&[(tags::ON_FAILURE, "notify")])
    ));
    for (digest, repair) in [("b", Repair::Restored), ("c", Repair::Seen)] {
        let case = failed.clone().seen_with(digest, repair);
        assert!(!restores(&case), "{digest} {repair:?}");
    }
}

#[test]
fn whoever_rolls_back_launches_what_the_image_tag_points_to() {
    let winding_down = |status| {
        let case = fine().pulling('b').seen_with("b", Repair::Seen);
        case.in_status(status)
    };
    // While the run that stops it is at it, nobody else is.
    let case = winding_down(Status::Cancelling);
    assert!(!restores(&case.claimed(Stage::Cancelled, "09:04")));
    let case = winding_down(Status::RollbackInProgress);
    assert!(restores(&case.claimed(Stage::RolledBack, "09:01")));
    // AWS's own rollback too; a person's cancel launches nothing.
    assert!(restores(&winding_down(Status::RollbackInProgress)));
    assert!(!restores(&winding_down(Status::Cancelling)));
}
