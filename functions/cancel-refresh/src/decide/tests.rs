use super::*;
use crate::facts::{Activity, Group, Image, Mark, Member, Preferences, Source};
use guardrails::aws::ErrorKind;
use guardrails::tags;

pub(crate) const REFRESH: &str = "08b91cf7-8fa6-48af-b6a6-d227f40f1b9b";

pub(crate) fn now() -> Timestamp {
    "2026-11-21T09:05:00Z".parse().unwrap()
}

pub(crate) fn policy() -> Policy {
    guardrails::policy::parse("cancel-refresh: {exclude: {tag: Hands}}", crate::NAME).unwrap()
}

pub(crate) fn source(version: &str) -> Source {
    Source {
        id: Some("lt-1".to_owned()),
        name: Some("web".to_owned()),
        version: version.to_owned(),
        overrides: Vec::new(),
    }
}

/// A refresh that runs since five minutes and against which nothing stands.
pub(crate) fn fine() -> Case {
    let group = Group {
        name: "web".to_owned(),
        desired: 2,
        source: Some(source("3")),
        members: ["i-01", "i-02"]
            .map(|id| Member {
                id: id.to_owned(),
                version: Some("3".to_owned()),
                lifecycle: "InService".to_owned(),
                healthy: true,
                protected: false,
            })
            .to_vec(),
        ..Group::default()
    };
    let mut case = Case::of(group, now());
    case.refresh = Some(Refresh {
        id: REFRESH.to_owned(),
        status: Status::InProgress,
        reason: None,
        start: Some("2026-11-21T09:00:00Z".parse().unwrap()),
        end: None,
        percentage: 0,
        remaining: Some(2),
        wanted: Some(source("4")),
        preferences: Preferences::default(),
        rollback_reason: None,
    });
    case
}

/// And one whose launches fail.
pub(crate) fn bad() -> Case {
    let mut case = fine();
    for n in 1..=2 {
        case.activities.push(Activity {
            id: format!("a-{n}"),
            description: "Launching a new EC2 instance.".to_owned(),
            cause: String::new(),
            status: "Failed".to_owned(),
            message: Some(
                "The image id '[ami-1]' does not exist. Launching EC2 instance failed.".to_owned(),
            ),
            start: now(),
            end: Some(now()),
        });
    }
    case
}

pub(crate) fn tagged(mut case: Case, pairs: &[(&str, &str)]) -> Case {
    for (key, value) in pairs {
        case.group
            .tags
            .insert((*key).to_owned(), (*value).to_owned());
    }
    case
}

pub(crate) fn facts(case: Case) -> Facts {
    Facts {
        complete: true,
        asked: None,
        cases: [(case.group.name.clone(), case)].into(),
    }
}

/// Opted in, with the tag pointing to `current`.
pub(crate) fn with_image(case: Case, current: char) -> Case {
    let mut case = tagged(
        case,
        &[
            (tags::IMAGE_REPOSITORY, "app"),
            (tags::IMAGE_TAG, "prod"),
            (tags::STABLE_TAG, "prod-stable"),
        ],
    );
    case.image = Some(Ok(Image {
        current: Some(current.to_string()),
        stable: Some("a".to_owned()),
    }));
    case
}

pub(crate) fn mark(step: Step, minutes_ago: i64) -> String {
    Mark {
        refresh: REFRESH.to_owned(),
        step,
        at: now() - SignedDuration::from_mins(minutes_ago),
        run: "run-1".to_owned(),
    }
    .value()
}

fn decided(case: &Case) -> Vec<Decision<Action>> {
    decide(&facts(case.clone()), &policy(), now())
}

/// The only decision.
fn only(case: &Case) -> Decision<Action> {
    let mut decisions = decided(case);
    assert_eq!(decisions.len(), 1, "{decisions:?}");
    decisions.remove(0)
}

fn stop(case: &Case) -> (How, String) {
    let decision = only(case);
    match decision.step {
        Some(Action::Stop(stop)) => {
            assert_eq!(
                (stop.group.as_str(), stop.refresh.as_str()),
                ("web", REFRESH)
            );
            (stop.how, decision.reason)
        }
        other => panic!("{other:?}: {}", decision.reason),
    }
}

fn left(case: &Case, because: &str) {
    let decision = only(case);
    assert_eq!(decision.step, None);
    assert!(decision.reason.contains(because), "{}", decision.reason);
}

#[test]
fn nothing_is_said_of_a_refresh_that_goes_well() {
    assert_eq!(decided(&fine()), []);
    let asked = Facts {
        complete: false,
        ..facts(fine())
    };
    let decisions = decide(&asked, &policy(), now());
    assert_eq!(decisions[0].action, "watch");
    assert_eq!(decisions[0].step, None);
}

#[test]
fn a_failing_one_is_rolled_back() {
    let (how, reason) = stop(&bad());
    assert_eq!(how, How::Rollback);
    assert!(reason.contains("does not exist"), "{reason}");
    assert!(!reason.contains("Cancelled"), "{reason}");
}

#[test]
fn or_cancelled_where_that_is_asked() {
    let case = tagged(bad(), &[(tags::ON_FAILURE, "cancel")]);
    assert_eq!(stop(&case).0, How::Cancel);
}

/// ASG-3: where a rollback would fail, or bring back what fails.
#[test]
fn or_cancelled_where_a_rollback_would_do_no_good() {
    type Change = fn(&mut Case);
    let cases: [(&str, Change); 4] = [
        ("no desired configuration", |case| {
            case.refresh.as_mut().unwrap().wanted = None;
        }),
        ("numbered versions only", |case| {
            case.refresh.as_mut().unwrap().wanted = Some(source("$Latest"));
        }),
        ("numbered versions only", |case| {
            case.group.source = Some(source("$Default"));
        }),
        ("nothing to roll back to", |case| {
            case.group.source = Some(source("4"));
        }),
    ];
    for (because, change) in cases {
        let mut case = bad();
        change(&mut case);
        let (how, reason) = stop(&case);
        assert_eq!(how, How::Cancel, "{because}");
        assert!(reason.contains(because), "{reason}");
    }
    // Another template of the same number, or other types, is something to go back to.
    let mut case = bad();
    case.group.source = Some(Source {
        id: Some("lt-2".to_owned()),
        ..source("4")
    });
    assert_eq!(stop(&case).0, How::Rollback);
    case.group.source = Some(Source {
        overrides: vec!["m5.large 1".to_owned()],
        ..source("4")
    });
    assert_eq!(stop(&case).0, How::Rollback);
}

#[test]
fn what_isnt_ours_to_stop_is_only_told() {
    let mut operated = bad();
    operated.group.operator = Some("ecs.amazonaws.com".to_owned());
    left(&operated, "only ecs.amazonaws.com may change it");
    left(
        &tagged(bad(), &[(tags::ON_FAILURE, "notify")]),
        "notify only",
    );
    for status in [
        "UPDATE_IN_PROGRESS",
        "CREATE_IN_PROGRESS",
        "UPDATE_ROLLBACK_IN_PROGRESS",
        "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
        "DELETE_IN_PROGRESS",
    ] {
        let mut busy = bad();
        busy.stack = Some(Ok(status.to_owned()));
        left(&busy, status);
    }
    for status in ["UPDATE_COMPLETE", "CREATE_COMPLETE", "REVIEW_IN_PROGRESS"] {
        let mut idle = bad();
        idle.stack = Some(Ok(status.to_owned()));
        stop(&idle);
    }
    // Where it can't be known, it isn't risked.
    let mut unknown = bad();
    unknown.stack = Some(Err(error(ErrorKind::Denied)));
    left(&unknown, "couldn't be read");
}

fn error(kind: ErrorKind) -> ApiError {
    ApiError {
        operation: "cloudformation:DescribeStacks",
        code: "AccessDenied".to_owned(),
        message: "no".to_owned(),
        kind,
    }
}

#[test]
fn an_excluded_group_is_not_even_told() {
    assert_eq!(decided(&tagged(bad(), &[("Hands", "off")])), []);
}

#[test]
fn what_cant_be_read_fails_and_stops_nothing() {
    let mut case = bad();
    case.unread.push(error(ErrorKind::Throttled));
    let decision = only(&case);
    assert_eq!(decision.action, "read-refresh");
    assert!(matches!(decision.step, Some(Action::CannotJudge { .. })));
}

#[test]
fn a_refresh_is_not_stopped_twice() {
    for step in [Step::Cancel, Step::Rollback] {
        left(
            &tagged(bad(), &[(tags::REFRESH, &mark(step, 1))]),
            "another run",
        );
        // The run that claimed it was ended before it acted.
        stop(&tagged(bad(), &[(tags::REFRESH, &mark(step, 4))]));
    }
    for step in [Step::Cancelled, Step::RolledBack] {
        for minutes in [1, 60] {
            left(
                &tagged(bad(), &[(tags::REFRESH, &mark(step, minutes))]),
                "was stopped at",
            );
        }
    }
    // What was done to an earlier refresh says nothing of this one.
    let mut next = tagged(bad(), &[(tags::REFRESH, &mark(Step::Cancelled, 1))]);
    next.refresh.as_mut().unwrap().id = "another".to_owned();
    assert!(matches!(only(&next).step, Some(Action::Stop(_))));
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
        let mut case = bad();
        case.refresh.as_mut().unwrap().status = status;
        assert_eq!(decided(&case), []);
    }
}

#[test]
fn the_image_is_written_down_at_first_sight() {
    for status in [Status::Pending, Status::InProgress] {
        let mut case = with_image(fine(), 'b');
        case.refresh.as_mut().unwrap().status = status;
        let decision = only(&case);
        let Some(Action::Remember { seen, .. }) = decision.step else {
            panic!("{decision:?}");
        };
        assert_eq!(seen.digest, "b");
        assert_eq!(
            decided(&tagged(case, &[(tags::REFRESH_IMAGE, &seen.value())])),
            []
        );
    }
}

#[test]
fn a_failing_refresh_has_its_image_put_back_too() {
    let seen = format!("{REFRESH} b seen");
    let case = tagged(with_image(bad(), 'b'), &[(tags::REFRESH_IMAGE, &seen)]);
    let Some(Action::Stop(stop)) = only(&case).step else {
        panic!("stopped");
    };
    assert_eq!(stop.image.unwrap().good, "a");
    // Changed meanwhile: stopped all the same, and the tag left alone.
    let case = tagged(with_image(bad(), 'c'), &[(tags::REFRESH_IMAGE, &seen)]);
    let Some(Action::Stop(stop)) = only(&case).step else {
        panic!("stopped");
    };
    assert_eq!(stop.image, None);
}

#[test]
fn a_refresh_that_failed_on_its_own_has_its_image_put_back() {
    let seen = format!("{REFRESH} b seen");
    let ended = |status: Status, minutes_ago: i64| {
        let mut case = tagged(with_image(fine(), 'b'), &[(tags::REFRESH_IMAGE, &seen)]);
        let refresh = case.refresh.as_mut().unwrap();
        refresh.status = status;
        refresh.end = Some(now() - SignedDuration::from_mins(minutes_ago));
        case
    };
    let restores = |case: &Case| match decided(case).pop().and_then(|decision| decision.step) {
        Some(Action::Restore(restore)) => restore.plan.good == "a",
        None => false,
        other => panic!("{other:?}"),
    };
    for status in [
        Status::Failed,
        Status::RollbackSuccessful,
        Status::RollbackFailed,
    ] {
        assert!(restores(&ended(status.clone(), 1)), "{status:?}");
        assert!(!restores(&ended(status, 60 * 25)));
    }
    // A person's cancel means what it says; ours was to have put the image back.
    let cancelled = ended(Status::Cancelled, 1);
    assert!(!restores(&cancelled));
    assert!(restores(&tagged(
        cancelled,
        &[(tags::REFRESH, &mark(Step::Cancelled, 1))]
    )));
    assert!(!restores(&ended(Status::Successful, 1)));
    for (key, value) in [
        (tags::ON_FAILURE, "notify".to_owned()),
        (tags::REFRESH_IMAGE, format!("{REFRESH} b restored")),
        (tags::REFRESH_IMAGE, format!("{REFRESH} c seen")),
    ] {
        let case = tagged(ended(Status::Failed, 1), &[(key, &value)]);
        assert!(!restores(&case), "{key}={value}");
    }
    // While the run that stops it is at it, nobody else is.
    let winding_down = tagged(
        ended(Status::Cancelling, 0),
        &[(tags::REFRESH, &mark(Step::Cancelled, 1))],
    );
    assert!(!restores(&winding_down));
    let later = tagged(
        ended(Status::RollbackInProgress, 0),
        &[(tags::REFRESH, &mark(Step::RolledBack, 4))],
    );
    assert!(restores(&later));
    // AWS's own rollback launches what the tag points to.
    assert!(restores(&ended(Status::RollbackInProgress, 0)));
    assert!(!restores(&ended(Status::Cancelling, 0)));
}
