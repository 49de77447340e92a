use super::*;
use crate::decide::tests::{REFRESH, bad, facts, fine, mark, now, policy, tagged, with_image};
use crate::decide::{Restore, Stop};
use guardrails::finding::{News, news};
use guardrails::tags;
use jiff::SignedDuration;
use std::sync::OnceLock;

const TOLD: &str = "ec2-guardrails:told-refresh";
const TOLD_IMAGE: &str = "ec2-guardrails:told-refresh-image";

/// What people would read, with whether it is resolved.
fn told(case: &Case, settled: &[Settled<'_, Action>]) -> Vec<(&'static str, bool, String)> {
    let sum = assess(&facts(case.clone()), &policy(), now(), settled);
    news(&sum.findings, &sum.told)
        .iter()
        .map(|news| {
            let cured = matches!(news, guardrails::finding::News::Cured(_));
            (news.kind().one, cured, news.text())
        })
        .collect()
}

fn silent(case: &Case) {
    assert_eq!(told(case, &[]), []);
}

fn stop(result: Option<Stopped>) -> Action {
    let stop = Stop {
        group: "web".to_owned(),
        refresh: REFRESH.to_owned(),
        how: How::Rollback,
        image: None,
        result: OnceLock::new(),
    };
    if let Some(result) = result {
        stop.result.set(result).unwrap();
    }
    Action::Stop(Box::new(stop))
}

fn stopped() -> Stopped {
    Stopped {
        how: Some(How::Rollback),
        ..Stopped::default()
    }
}

fn settled(action: &Action, outcome: Outcome) -> [Settled<'_, Action>; 1] {
    [Settled {
        action,
        outcome,
        note: Some("what came of it"),
    }]
}

fn ended(case: Case, status: Status, minutes_ago: i64) -> Case {
    let mut case = case;
    let refresh = case.refresh.as_mut().unwrap();
    refresh.status = status;
    refresh.end = Some(now() - SignedDuration::from_mins(minutes_ago));
    refresh.reason = Some("says AWS".to_owned());
    case
}

/// Of four instances that die together each starts a run.
#[test]
fn a_run_by_an_event_tells_only_what_it_did_itself() {
    let by_event = |case: &Case, settled: &[Settled<'_, Action>]| {
        let facts = Facts {
            complete: false,
            ..facts(case.clone())
        };
        assess(&facts, &policy(), now(), settled)
    };
    let after = ended(bad(), Status::Failed, 1);
    assert_eq!(told(&after, &[]).len(), 1, "a sweep tells it");
    let quiet = by_event(&after, &[]);
    assert_eq!((quiet.findings, quiet.told), (Vec::new(), Vec::new()));
    let action = stop(None);
    let quiet = by_event(&bad(), &settled(&action, Outcome::Skipped));
    assert_eq!(quiet.findings, [], "another run has stopped it");
    let action = stop(Some(stopped()));
    let loud = by_event(&bad(), &settled(&action, Outcome::Done));
    assert_eq!(loud.findings.len(), 1, "this one has");
}

#[test]
fn nothing_is_told_of_what_goes_well() {
    silent(&fine());
    for status in [
        Status::Pending,
        Status::Baking,
        Status::Successful,
        Status::Cancelled,
    ] {
        silent(&ended(fine(), status, 1));
    }
}

#[test]
fn what_was_stopped_is_told_with_its_evidence() {
    let action = stop(Some(stopped()));
    let news = told(&bad(), &settled(&action, Outcome::Done));
    let [(kind, false, text)] = news.as_slice() else {
        panic!("{news:?}");
    };
    assert_eq!(*kind, STOPPED.one);
    for part in [
        REFRESH,
        "to web version 4",
        "2 launches in a row failed",
        "does not exist",
        "It is being rolled back",
        "0 new, 2 old (2 on version 3)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// The stages of a story, each told once, by whatever run sees it.
#[test]
fn each_stage_is_told_once() {
    let stages = ["trouble", "failing", "stopped", "ended"];
    let failing = tagged(bad(), &[(tags::ON_FAILURE, "notify")]);
    let over = ended(
        tagged(bad(), &[(tags::REFRESH, &mark(Step::Cancelled, 10))]),
        Status::Cancelled,
        1,
    );
    for (case, stage) in [(failing, "failing"), (over, "ended")] {
        let at = stages.iter().position(|known| *known == stage).unwrap();
        for (index, before) in stages.iter().enumerate() {
            let value = format!("{REFRESH} {before}");
            let news = told(&tagged(case.clone(), &[(TOLD, &value)]), &[]);
            assert_eq!(
                news.len(),
                usize::from(index < at),
                "{stage} after {before}"
            );
        }
        assert_eq!(told(&case, &[]).len(), 1);
    }
}

#[test]
fn a_refresh_that_comes_through_resolves_what_was_told() {
    for before in [
        format!("{REFRESH} trouble"),
        format!("{REFRESH} failing"),
        "an-earlier-one ended".to_owned(),
    ] {
        let case = tagged(fine(), &[(TOLD, &before)]);
        // Not while it runs.
        silent(&case);
        let news = told(&ended(case, Status::Successful, 1), &[]);
        assert!(matches!(news.as_slice(), [(_, true, _)]), "{news:?}");
    }
}

#[test]
fn a_refresh_that_failed_on_its_own_is_told_for_a_day() {
    for status in [
        Status::Failed,
        Status::RollbackSuccessful,
        Status::RollbackFailed,
    ] {
        let news = told(&ended(bad(), status.clone(), 1), &[]);
        let [(kind, false, text)] = news.as_slice() else {
            panic!("{news:?}");
        };
        assert_eq!(*kind, FAILED.one);
        assert!(text.contains("says AWS"), "{text}");
        silent(&ended(bad(), status, 60 * 25));
    }
}

#[test]
fn why_it_was_not_stopped_is_told() {
    let notify = tagged(bad(), &[(tags::ON_FAILURE, "notify")]);
    assert!(told(&notify, &[])[0].2.contains("notify only"));
    let mut operated = bad();
    operated.group.operator = Some("ecs.amazonaws.com".to_owned());
    assert!(told(&operated, &[])[0].2.contains("ecs.amazonaws.com"));
    let action = stop(None);
    let failed = told(&bad(), &settled(&action, Outcome::Failed));
    assert!(
        failed[0]
            .2
            .contains("could not be stopped: what came of it")
    );
    // Another run is at it, or the next sweep: they tell.
    for outcome in [Outcome::Skipped, Outcome::Left] {
        assert_eq!(told(&bad(), &settled(&action, outcome)), []);
    }
}

/// The run that stopped it tells it a moment later.
#[test]
fn a_run_that_meets_another_leaves_the_telling_to_it() {
    for step in [Step::Rollback, Step::RolledBack] {
        for status in [
            Status::InProgress,
            Status::RollbackInProgress,
            Status::RollbackSuccessful,
        ] {
            let case = |minutes| {
                let case = tagged(bad(), &[(tags::REFRESH, &mark(step, minutes))]);
                ended(case, status.clone(), 0)
            };
            silent(&case(1));
            // It was ended before it could.
            if status != Status::InProgress {
                assert_eq!(told(&case(4), &[]).len(), 1, "{step:?} {status:?}");
            }
            // Once it has told, the end is news at once.
            let value = format!("{REFRESH} stopped");
            let news = told(&tagged(case(1), &[(TOLD, &value)]), &[]);
            let over = status == Status::RollbackSuccessful;
            assert_eq!(news.len(), usize::from(over), "{step:?} {status:?}");
        }
    }
}

#[test]
fn an_image_that_was_not_put_back_is_told_until_it_is() {
    let refused = Stopped {
        image: Some(image::Outcome::Refused("the tags are immutable".to_owned())),
        ..stopped()
    };
    let action = stop(Some(refused));
    let news = told(&with_image(bad(), 'b'), &settled(&action, Outcome::Done));
    assert!(
        news.iter()
            .any(|(kind, _, text)| *kind == IMAGE.one && text.contains("immutable")),
        "{news:?}"
    );
    // It changed before the decision: the same.
    let seen = format!("{REFRESH} b seen");
    let changed = tagged(with_image(bad(), 'c'), &[(tags::REFRESH_IMAGE, &seen)]);
    let action = stop(Some(stopped()));
    let news = told(&changed, &settled(&action, Outcome::Done));
    assert!(
        news.iter().any(|(kind, _, _)| *kind == IMAGE.one),
        "{news:?}"
    );
    // Told already, and then put back.
    let value = format!("{REFRESH} not-restored");
    let case = tagged(
        ended(with_image(fine(), 'b'), Status::Failed, 1),
        &[
            (TOLD, &format!("{REFRESH} ended")),
            (TOLD_IMAGE, &value),
            (tags::REFRESH_IMAGE, &seen),
        ],
    );
    silent(&case);
    let restore = Restore {
        group: "web".to_owned(),
        refresh: REFRESH.to_owned(),
        plan: match image::plan(
            &case,
            &Settings::of(&policy(), &case.group),
            case.refresh.as_ref().unwrap(),
        ) {
            Standing::Repair(plan) => plan,
            other => panic!("{other:?}"),
        },
        result: OnceLock::new(),
    };
    let outcome = image::Outcome::Restored {
        digest: "a".to_owned(),
        kept_as: "prod-failed".to_owned(),
    };
    restore.result.set(outcome).unwrap();
    let action = Action::Restore(Box::new(restore));
    let news = told(&case, &settled(&action, Outcome::Done));
    assert!(matches!(news.as_slice(), [(_, true, _)]), "{news:?}");
}

#[test]
fn hitting_another_refresh_is_counted_and_told() {
    let action = stop(Some(Stopped {
        mismatch: Some("another".to_owned()),
        ..stopped()
    }));
    let settled = settled(&action, Outcome::Failed);
    let news = told(&bad(), &settled);
    assert!(
        news.iter()
            .any(|(kind, _, text)| *kind == MISMATCH.one && text.contains("another"))
    );
    let sum = assess(&facts(bad()), &policy(), now(), &settled);
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
}

#[test]
fn unusable_tags_are_told_until_they_are_corrected() {
    let key = "ec2-guardrails:told-refresh-settings";
    let wrong = tagged(fine(), &[(tags::LAUNCH_FAILURES, "many")]);
    let news = told(&wrong, &[]);
    assert!(news[0].2.contains("no whole number"), "{news:?}");
    silent(&tagged(wrong, &[(key, "launch-failures")]));
    let news = told(&tagged(fine(), &[(key, "launch-failures")]), &[]);
    assert!(matches!(news.as_slice(), [(_, true, _)]), "{news:?}");
}

#[test]
fn explain_shows_evidence_and_decision() {
    let mut facts = facts(bad());
    facts.asked = Some("web".to_owned());
    let detail = assess(&facts, &policy(), now(), &[]).detail;
    assert_eq!(detail["verdict"]["is"], "failing");
    assert_eq!(detail["evidence"]["launches"]["permanent-in-a-row"], 2);
    assert_eq!(detail["decision"]["if-failing"], "rollback");
    assert_eq!(detail["settings"]["launch-failures"], 3);
    facts.asked = Some("gone".to_owned());
    let detail = assess(&facts, &policy(), now(), &[]).detail;
    assert!(detail["problem"].as_str().unwrap().contains("no such"));
}

#[test]
fn a_group_that_couldnt_be_read_keeps_what_was_told() {
    let mut case = tagged(bad(), &[(TOLD, &format!("{REFRESH} failing"))]);
    case.unread.push(guardrails::aws::ApiError {
        operation: "ec2:DescribeInstances",
        code: "Throttling".to_owned(),
        message: "slow".to_owned(),
        kind: guardrails::aws::ErrorKind::Throttled,
    });
    silent(&case);
}

/// All that this guardrail tells, for whoever reviews the texts.
#[test]
fn the_notices_as_people_get_them() {
    let of = |case: Case, settled: &[Settled<'_, Action>]| {
        assess(&facts(case), &policy(), now(), settled).findings
    };
    let mut troubled = bad();
    for activity in &mut troubled.activities {
        if activity.message.is_some() {
            activity.message = Some("We currently do not have sufficient m5.large capacity in the Availability Zone you requested (eu-central-1a). Launching EC2 instance failed.".to_owned());
        }
    }
    let stopping = stop(Some(Stopped {
        image: Some(image::Outcome::Refused(
            "the repository's tags are immutable".to_owned(),
        )),
        mismatch: Some("f3b5f0a1-0000-4000-8000-000000000000".to_owned()),
        ..stopped()
    }));
    let over = ended(
        tagged(bad(), &[(tags::REFRESH, &mark(Step::RolledBack, 10))]),
        Status::RollbackSuccessful,
        1,
    );
    let findings = [
        of(troubled, &[]),
        of(tagged(bad(), &[(tags::ON_FAILURE, "notify")]), &[]),
        of(with_image(bad(), 'b'), &settled(&stopping, Outcome::Done)),
        of(over, &[]),
        of(ended(bad(), Status::Failed, 1), &[]),
        of(tagged(fine(), &[(tags::LAUNCH_FAILURES, "many")]), &[]),
    ];
    let told = [&STOPPED, &IMAGE, &MISMATCH, &SETTINGS].map(|kind| Told {
        resource: "auto-scaling-group/web".to_owned(),
        kind,
        state: String::new(),
        gone: false,
    });
    let mut each: Vec<Vec<News<'_>>> = findings
        .iter()
        .map(|some| some.iter().map(News::Stands).collect())
        .collect();
    each.push(told.iter().map(News::Cured).collect());
    let kinds: std::collections::BTreeSet<_> =
        each.iter().flatten().map(|news| news.kind().one).collect();
    for kind in [
        &TROUBLED, &FAILING, &STOPPED, &ENDED, &FAILED, &IMAGE, &MISMATCH, &SETTINGS,
    ] {
        assert!(kinds.contains(kind.one), "{} is missing", kind.one);
    }
    insta::assert_snapshot!(guardrails::notify::examples(crate::NAME, now(), &each));
}
