//! What cancel-refresh is for: a failing instance refresh is stopped within a few instances, a good
//! one never.

#![expect(clippy::print_stdout, reason = "costs are printed")]

use aws_sdk_autoscaling::operation::create_auto_scaling_group::builders::CreateAutoScalingGroupFluentBuilder as CreateGroup;
use aws_sdk_autoscaling::types::InstanceRefresh;
use e2e::{
    CANCEL, CANCEL_REFRESH, Group, LocalAws, Notice, ROLLBACK, Report, deployed, deployed_with,
    only_one,
};
use serde_json::{Value, json};

const OBSERVE: &str = "cancel-refresh:\n  mode: observe\n";
/// As long as AWS itself takes: an hour without progress (ASG-4).
const NATIVE_MINUTES: u32 = 60;

/// A group `web` of version 1, all in service, and the number of version 2, with another image.
async fn web<'a>(aws: &'a LocalAws, desired: i32, next: &str) -> (Group<'a>, String) {
    aws.alone().await;
    let image = aws.image("web-1").await;
    let group = aws.group("web", desired, &image, |group| group).await;
    let version = group.version(next).await;
    (group, version)
}

/// What a person gets when asking; it changes nothing.
async fn explain(aws: &LocalAws, group: &str) -> Report {
    let before = aws.last_call().await;
    let command = json!({ "trigger": "command", "command": "explain", "group": group });
    let report = aws.invoke(command).await.succeeded();
    let changed = aws.changes_since(before).await;
    assert!(
        changed.is_empty(),
        "explaining changes nothing: {changed:?}"
    );
    report
}

fn status(refresh: &InstanceRefresh) -> &str {
    refresh.status().map_or("?", |status| status.as_str())
}

// --- good ones ----------------------------------------------------------------------------------

/// Incident 4: the script took Pending for a failure.
#[tokio::test]
async fn a_good_refresh_is_left_alone_from_pending_to_successful() {
    deployed(CANCEL_REFRESH, async |aws| {
        let (group, version) = web(aws, 4, &aws.image("web-2").await).await;
        let id = group.start_refresh(Some(&version), |p| p).await;
        group.hold_pending(true).await;
        for _ in 0..3 {
            assert_eq!(group.status(&id).await, "Pending");
            aws.pass_with_sweeps(5).await;
        }
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.metrics["RefreshesWatched"], 1, "{report:?}");
        let detail = explain(aws, "web").await.detail;
        assert!(detail.to_string().contains("Pending"), "{detail}");

        group.hold_pending(false).await;
        let (refresh, _) = group.pass_until(&id, "Successful", 90).await;
        assert_eq!(refresh.percentage_complete(), Some(100));
        aws.nothing_more_is_told(0).await;
        assert!(aws.changes().await.is_empty(), "{:?}", aws.changes().await);
        assert!(
            !aws.runs_by_rule().await.is_empty(),
            "events were looked at"
        );
        for run in aws.runs().await {
            run.succeeded();
        }
        let versions = group.in_service().await;
        assert!(versions.iter().all(|(_, v)| *v == version), "{versions:?}");
    })
    .await;
}

/// ASG-4, ASG-8: the percentage stands still for hours, and that is no failure.
#[tokio::test]
async fn a_slow_refresh_with_warm_up_checkpoint_and_bake_time_is_left_alone() {
    deployed(CANCEL_REFRESH, async |aws| {
        let (group, version) = web(aws, 4, &aws.image("web-2").await).await;
        let id = group
            .start_refresh(Some(&version), |preferences| {
                preferences
                    .min_healthy_percentage(75)
                    .instance_warmup(900)
                    .checkpoint_percentages(50)
                    .checkpoint_percentages(100)
                    .checkpoint_delay(3600)
                    .bake_time(3600)
            })
            .await;
        let (_, baking) = group.pass_until(&id, "Baking", 300).await;
        let (_, done) = group.pass_until(&id, "Successful", 120).await;
        // Four warm-ups and one checkpoint, then the bake time.
        assert!(baking >= 115 && done >= 55, "{baking} and {done} minutes");
        aws.nothing_more_is_told(0).await;
        assert!(aws.changes().await.is_empty(), "{:?}", aws.changes().await);
    })
    .await;
}

// --- launches that fail -------------------------------------------------------------------------

/// A launch template that names an AMI which is gone. Told at the decision and at the end, once.
#[tokio::test]
async fn a_bad_image_is_rolled_back_after_two_launches() {
    deployed(CANCEL_REFRESH, async |aws| {
        let bad = aws.image("web-2").await;
        let (group, version) = web(aws, 4, &bad).await;
        let before = group.in_service().await;
        let id = group.start_refresh(Some(&version), |p| p).await;
        aws.deregister(&bad).await;
        let seconds = group.seconds_until("RollbackInProgress", 3600).await;
        let cost = group.cost(&id).await;
        println!("bad AMI: rolled back after {seconds} s, {cost:?}");
        assert_eq!((cost.launched, cost.failed), (0, 2), "{cost:?}");

        assert_eq!(aws.stopped().await, (0, 1));
        let mark = group.remembered().await.expect("it is remembered");
        assert_eq!(
            (&mark["refresh"], &mark["stop"]["step"]),
            (&json!(id), &json!("rolled-back"))
        );
        let decision = only_one(aws.notices().await);
        decision.says(&[
            "web",
            &id,
            &bad,
            "no longer available",
            "console.aws.amazon.com",
        ]);
        aws.sweep().await.succeeded();
        assert_eq!(aws.notices().await.len(), 1, "the sweep says no more");

        let (refresh, _) = group.pass_until(&id, "RollbackSuccessful", 90).await;
        assert_eq!(status(&refresh), "RollbackSuccessful");
        aws.nothing_more_is_told(2).await;
        aws.notices().await[1].says(&["web", "RollbackSuccessful"]);
        assert_eq!(aws.carried_out(ROLLBACK).await, 1, "never twice");
        let after = group.in_service().await;
        assert_eq!(after.len(), before.len());
        assert!(after.iter().all(|(_, version)| version == "1"), "{after:?}");
        let standing: Vec<_> = before.iter().filter(|one| after.contains(one)).collect();
        assert_eq!(standing.len(), 3, "one was terminated for the first batch");
    })
    .await;
}

/// ASG-8: cancelling creates no capacity.
#[tokio::test]
async fn want_of_capacity_is_only_told() {
    deployed(CANCEL_REFRESH, async |aws| {
        let (group, version) = web(aws, 4, &aws.image("web-2").await).await;
        aws.set(json!({ "insufficient_capacity": [{ "instance_type": "t3.micro" }] }))
            .await;
        let id = group.start_refresh(Some(&version), |p| p).await;
        aws.pass_with_sweeps(40).await;
        let cost = group.cost(&id).await;
        assert!(
            cost.failed >= 4,
            "more failures than any threshold: {cost:?}"
        );
        assert_eq!(group.status(&id).await, "InProgress");
        assert_eq!(aws.stopped().await, (0, 0));
        let notice = only_one(aws.notices().await);
        notice.says(&["web", "capacity"]);

        // AWS has some again.
        aws.set(json!({ "insufficient_capacity": [] })).await;
        group.pass_until(&id, "Successful", 120).await;
        aws.nothing_more_is_told(2).await;
        assert_eq!(aws.stopped().await, (0, 0));
    })
    .await;
}

// --- instances that die -------------------------------------------------------------------------

/// How an image behaves whose instances never answer their load balancer's health check.
fn unhealthy() -> Value {
    json!({ "healthy": false, "check": "ec2" })
}

/// Against AWS's own hour: the same release to a group that the guardrail leaves alone.
#[tokio::test]
async fn an_unhealthy_release_costs_a_few_instances_and_not_an_hour_of_them() {
    deployed(CANCEL_REFRESH, async |aws| {
        let bad = aws.image("web-2").await;
        aws.behaves(&bad, unhealthy()).await;
        let (group, version) = web(aws, 8, &bad).await;
        group.tag_group(&[("NoRefreshGuard", "")]).await;
        let id = group.start_refresh(Some(&version), |p| p.instance_warmup(120)).await;
        let minutes = group.seconds_until("Failed", 180 * NATIVE_MINUTES).await / 60;
        let without = group.cost(&id).await;
        // The time that the test itself takes passes as well.
        assert!(minutes + 1 >= NATIVE_MINUTES, "AWS takes its hour: {minutes} minutes");
        assert!(aws.notices().await.is_empty(), "the group is excluded");
        assert!(aws.changes().await.is_empty());

        let image = aws.image("shop-1").await;
        let guarded = aws.group("shop", 8, &image, |group| group).await;
        let version = guarded.version(&bad).await;
        let id = guarded
            .start_refresh(Some(&version), |p| p.instance_warmup(120))
            .await;
        let seconds = guarded.seconds_until("RollbackInProgress", 3600).await;
        let with = guarded.cost(&id).await;
        println!(
            "unhealthy release, 8 instances: AWS alone {minutes} min and {without:?}; with the guardrail {seconds} s and {with:?}"
        );
        assert!(with.launched <= 3, "{with:?}");
        assert!(without.launched >= 3 * with.launched, "{without:?} and {with:?}");
        guarded.pass_until(&id, "RollbackSuccessful", 120).await;
        let versions = guarded.in_service().await;
        assert_eq!(versions.len(), 8);
        assert!(versions.iter().all(|(_, v)| v == "1"), "{versions:?}");
        aws.nothing_more_is_told(2).await;
        let dead = &aws.notices().await[0];
        dead.says(&["shop", "health check", "i-"]);
    })
    .await;
}

/// ASG-8: what takes the old ones down too is no release.
#[tokio::test]
async fn an_outage_that_takes_the_old_ones_down_too_is_only_told() {
    deployed(CANCEL_REFRESH, async |aws| {
        let bad = aws.image("web-2").await;
        aws.behaves(&bad, unhealthy()).await;
        let (group, version) = web(aws, 4, &bad).await;
        let old: Vec<String> = group
            .in_service()
            .await
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        let id = group
            .start_refresh(Some(&version), |p| p.instance_warmup(300))
            .await;
        aws.set_health(&old, false).await;
        aws.pass_with_sweeps(20).await;
        let cost = group.cost(&id).await;
        assert!(cost.terminated >= 6, "old and new ones died: {cost:?}");
        assert_eq!(aws.stopped().await, (0, 0));
        only_one(aws.notices().await).says(&["web", "outage"]);
    })
    .await;
}

// --- what to do with it -------------------------------------------------------------------------

/// The refresh of a group whose next version's AMI is gone, and how it was stopped.
async fn stopped_by(
    aws: &LocalAws,
    prepare: impl AsyncFnOnce(&Group<'_>, String) -> Option<String>,
) -> (InstanceRefresh, Notice) {
    let bad = aws.image("web-2").await;
    let (group, version) = web(aws, 4, &bad).await;
    let wanted = prepare(&group, version).await;
    let id = group.start_refresh(wanted.as_deref(), |p| p).await;
    aws.deregister(&bad).await;
    aws.pass_with_sweeps(30).await;
    let refresh = group.refresh(&id).await;
    assert_eq!(aws.stopped().await, (1, 0), "{refresh:#?}");
    aws.nothing_more_is_told(aws.notices().await.len()).await;
    (refresh, aws.notices().await.remove(0))
}

/// ASG-3: AWS can't roll back to what was before when the version is `$Latest`.
#[tokio::test]
async fn what_cannot_be_rolled_back_is_cancelled() {
    deployed(CANCEL_REFRESH, async |aws| {
        let latest = async |_: &Group<'_>, _| Some("$Latest".to_owned());
        let (refresh, notice) = stopped_by(aws, latest).await;
        assert_eq!(status(&refresh), "Cancelled");
        notice.says(&["web", "cancelled", "$Latest"]);
    })
    .await;
}

/// ASG-3: rolling back to the version that is the bad one itself loops.
#[tokio::test]
async fn what_would_be_rolled_back_to_the_bad_version_is_cancelled() {
    deployed(CANCEL_REFRESH, async |aws| {
        let same = async |group: &Group<'_>, version: String| {
            group.set_version(&version).await;
            Some(version)
        };
        let (refresh, notice) = stopped_by(aws, same).await;
        assert_eq!(status(&refresh), "Cancelled");
        notice.says(&["web", "cancelled", "version 2"]);
    })
    .await;
}

#[tokio::test]
async fn a_group_says_by_tag_what_is_done_with_it() {
    deployed(CANCEL_REFRESH, async |aws| {
        let asks = async |group: &Group<'_>, version: String| {
            group
                .tag_group(&[("ec2-guardrails:on-failure", "cancel")])
                .await;
            Some(version)
        };
        let (refresh, _) = stopped_by(aws, asks).await;
        assert_eq!(status(&refresh), "Cancelled");
    })
    .await;
}

/// A misspelt wish must not be taken for none: it is told, and nothing is done until it is corrected.
#[tokio::test]
async fn a_tag_that_cannot_be_understood_is_told_and_holds_the_guardrail_off() {
    deployed(CANCEL_REFRESH, async |aws| {
        let bad = aws.image("web-2").await;
        let (group, version) = web(aws, 4, &bad).await;
        group
            .tag_group(&[("ec2-guardrails:on-failure", "cancle")])
            .await;
        let id = group.start_refresh(Some(&version), |p| p).await;
        aws.deregister(&bad).await;
        aws.pass_with_sweeps(15).await;
        assert_eq!(group.status(&id).await, "InProgress");
        let told = aws.notices().await;
        let all: String = told.iter().map(|n| n.message.as_str()).collect();
        assert!(all.contains("cancle"), "{told:#?}");

        group
            .tag_group(&[("ec2-guardrails:on-failure", "cancel")])
            .await;
        aws.sweep().await.succeeded();
        assert_eq!(aws.carried_out(CANCEL).await, 1);
        let settings = aws
            .notified_of("auto-scaling-group/web", "refresh-settings")
            .await;
        assert_eq!(settings, None);
    })
    .await;
}

/// ASG-9, and a `CloudFormation` update in the middle of which nobody else may move things.
#[tokio::test]
async fn what_belongs_to_somebody_else_is_only_told() {
    deployed(CANCEL_REFRESH, async |aws| {
        aws.alone().await;
        let bad = aws.image("bad").await;
        let good = aws.image("good").await;
        let mut ids = Vec::new();
        for name in ["operated", "asked", "rolled"] {
            let group = aws.group(name, 4, &good, |group| group).await;
            let version = group.version(&bad).await;
            match name {
                "operated" => group.operated_by("eks.amazonaws.com").await,
                "asked" => {
                    let tags = [("ec2-guardrails:on-failure", "notify")];
                    group.tag_group(&tags).await;
                }
                _ => aws.put_policy(OBSERVE).await,
            }
            let id = group.start_refresh(Some(&version), |p| p).await;
            ids.push((group, id));
        }
        aws.deregister(&bad).await;
        // The third is being rolled back by a person.
        aws.pass_seconds(120).await;
        let (rolled, rolled_id) = ids.pop().expect("three");
        rolled.roll_back().await;
        let seen = rolled.status(&rolled_id).await;
        assert!(seen.starts_with("Rollback"), "{seen}");
        aws.put_policy("cancel-refresh:\n  mode: enforce\n").await;
        aws.pass_with_sweeps(20).await;
        aws.has_stopped_nothing().await;
        for (group, id) in &ids {
            assert_eq!(group.status(id).await, "InProgress", "{}", group.name);
        }
        let told = aws.notices().await;
        let told_of = |name: &str| told.iter().filter(|n| n.message.contains(name)).count();
        assert_eq!((told_of("operated"), told_of("asked")), (1, 1), "{told:#?}");
        let operated = told.iter().find(|n| n.message.contains("operated"));
        operated.expect("it was told").says(&["eks.amazonaws.com"]);
    })
    .await;
}

/// ASG-14: AWS refuses to roll back a refresh that `CloudFormation` started. Once it is cancelled,
/// `CloudFormation` takes its update back.
#[tokio::test]
async fn a_refresh_of_cloudformation_is_cancelled_and_its_stack_goes_back() {
    deployed(CANCEL_REFRESH, async |aws| {
        let bad = aws.image("web-2").await;
        let (group, version) = web(aws, 4, &bad).await;
        group.made_by_our_stack().await;
        aws.stack_is("UPDATE_IN_PROGRESS").await;
        let id = group.start_refresh(Some(&version), |p| p).await;
        aws.deregister(&bad).await;
        aws.pass_with_sweeps(15).await;
        assert_eq!(group.status(&id).await, "Cancelled");
        assert_eq!(aws.carried_out(CANCEL).await, 1);
        assert!(aws.calls_of(ROLLBACK).await.is_empty());
        let told = aws.notices().await;
        told[0].says(&["web", &id, "cancelled", "CloudFormation"]);
        aws.stack_is("UPDATE_COMPLETE").await;
    })
    .await;
}

/// While `CloudFormation` takes an update back nobody else may move its group.
#[tokio::test]
async fn while_a_stack_goes_back_a_failure_is_only_told() {
    deployed(CANCEL_REFRESH, async |aws| {
        let bad = aws.image("web-2").await;
        let (group, version) = web(aws, 4, &bad).await;
        group.made_by_our_stack().await;
        aws.stack_is("UPDATE_ROLLBACK_IN_PROGRESS").await;
        let id = group.start_refresh(Some(&version), |p| p).await;
        aws.deregister(&bad).await;
        aws.pass_with_sweeps(15).await;
        aws.has_stopped_nothing().await;
        let told = only_one(aws.notices().await);
        told.says(&["web", &id, "UPDATE_ROLLBACK_IN_PROGRESS"]);
        assert!(
            !told.message.contains("rollback-instance-refresh"),
            "it can't work"
        );

        aws.stack_is("UPDATE_COMPLETE").await;
        aws.sweep().await.succeeded();
        assert_eq!(aws.carried_out(ROLLBACK).await, 1);
        group.pass_until(&id, "RollbackSuccessful", 60).await;
    })
    .await;
}

// --- stall --------------------------------------------------------------------------------------

/// A person has suspended the replacement of unhealthy instances, so that none is terminated: only
/// the load balancer tells that it is the new ones that fail.
#[tokio::test]
async fn a_stall_with_all_new_targets_unhealthy_and_all_old_ones_healthy_is_a_failure() {
    deployed(CANCEL_REFRESH, async |aws| {
        aws.alone().await;
        let (good, bad) = (aws.image("web-1").await, aws.image("web-2").await);
        let targets = aws.target_group("web").await;
        let behind = |group: CreateGroup| group.target_group_arns(targets).health_check_type("ELB");
        let group = aws.group("web", 4, &good, behind).await;
        group.suspend("ReplaceUnhealthy").await;
        aws.behaves(&bad, json!({ "healthy": false })).await;
        let version = group.version(&bad).await;
        let id = group
            .start_refresh(Some(&version), |p| p.instance_warmup(60))
            .await;
        // Less than `stalled-for` says.
        aws.pass_with_sweeps(15).await;
        assert_eq!(group.status(&id).await, "InProgress");
        assert!(aws.calls_of("DescribeTargetHealth").await.is_empty());
        assert!(aws.notices().await.is_empty());

        aws.pass_with_sweeps(15).await;
        assert_eq!(aws.carried_out(ROLLBACK).await, 1);
        let told = aws.notices().await.remove(0);
        told.says(&["web", "new targets are unhealthy", "old ones are healthy"]);
    })
    .await;
}

// --- alarms -------------------------------------------------------------------------------------

#[tokio::test]
async fn an_alarm_that_rises_after_the_start_fails_the_refresh_and_an_older_one_does_not() {
    deployed_with(
        CANCEL_REFRESH,
        &[("RefreshAlarmPrefix", "err")],
        async |aws| {
            aws.alarm("standing").await;
            aws.alarm("errors").await;
            aws.set_alarm("standing", "ALARM").await;
            let (group, version) = web(aws, 4, &aws.image("web-2").await).await;
            aws.put_policy(
                "cancel-refresh:\n  groups:\n    - { name: 'w*', alarms: [standing, errors] }\n",
            )
            .await;
            aws.set_alarm("errors", "OK").await;
            // Long since.
            aws.pass_seconds(3600).await;
            let id = group
                .start_refresh(Some(&version), |p| p.instance_warmup(600))
                .await;
            aws.pass_with_sweeps(10).await;
            assert_eq!(group.status(&id).await, "InProgress");
            let before = aws.runs_by_rule().await.len();
            aws.set_alarm("errors", "ALARM").await;
            aws.wait_until_idle().await;

            let runs = aws.runs_by_rule().await;
            let run = runs[before..]
                .iter()
                .find(|run| run.event["detail-type"] == "CloudWatch Alarm State Change");
            run.expect("the alarm starts it at once").succeeded();
            assert_eq!(group.status(&id).await, "RollbackInProgress");
            let told = only_one(aws.notices().await);
            told.says(&["web", "errors", "ALARM"]);
            assert!(
                !told.message.contains("standing went to ALARM"),
                "{}",
                told.message
            );
            group.pass_until(&id, "RollbackSuccessful", 120).await;
            aws.nothing_more_is_told(2).await;
        },
    )
    .await;
}

// --- asking and observing -----------------------------------------------------------------------

#[tokio::test]
async fn observing_and_explaining_change_nothing_and_say_what_would_be_done() {
    deployed(CANCEL_REFRESH, async |aws| {
        aws.put_policy(OBSERVE).await;
        let bad = aws.image("web-2").await;
        let (group, version) = web(aws, 4, &bad).await;
        let id = group.start_refresh(Some(&version), |p| p).await;
        aws.deregister(&bad).await;
        aws.pass_with_sweeps(10).await;
        assert_eq!(group.status(&id).await, "InProgress");
        assert!(aws.changes().await.is_empty(), "{:?}", aws.changes().await);
        let report = aws.sweep().await.succeeded();
        assert_eq!(
            (report.outcomes.would_do, report.outcomes.done),
            (1, 0),
            "{report:?}"
        );
        assert_eq!(report.of("rollback-refresh").count(), 1, "{report:?}");
        assert_eq!(report.metrics["RefreshesFailing"], 1, "{report:?}");
        assert!(aws.notices().await.is_empty());

        aws.put_policy("cancel-refresh:\n  mode: enforce\n").await;
        let report = explain(aws, "web").await;
        assert_eq!(report.of("rollback-refresh").count(), 1, "{report:?}");
        let detail = report.detail.to_string();
        for part in [id.as_str(), &bad, "no longer available"] {
            assert!(detail.contains(part), "{part} is not in {detail}");
        }
        assert_eq!(group.status(&id).await, "InProgress");
        assert!(aws.changes().await.is_empty(), "{:?}", aws.changes().await);
        let unknown = json!({ "trigger": "command", "command": "explain", "group": "none" });
        let unknown = aws.invoke(unknown).await;
        assert!(unknown.told().contains("none"), "{}", unknown.told());
    })
    .await;
}

/// A guardrail that came too late still tells, and AWS's own failure is no riddle.
#[tokio::test]
async fn a_refresh_that_failed_by_itself_is_told_once() {
    deployed(CANCEL_REFRESH, async |aws| {
        aws.put_policy(OBSERVE).await;
        let bad = aws.image("web-2").await;
        let (group, version) = web(aws, 4, &bad).await;
        let id = group.start_refresh(Some(&version), |p| p).await;
        aws.deregister(&bad).await;
        group.pass_until(&id, "Failed", 3 * NATIVE_MINUTES).await;
        aws.put_policy("cancel-refresh:\n  mode: enforce\n").await;
        aws.sweep().await.succeeded();
        only_one(aws.notices().await).says(&["web", &id, "Failed"]);
        aws.nothing_more_is_told(1).await;
        assert_eq!(aws.stopped().await, (0, 0));
    })
    .await;
}
