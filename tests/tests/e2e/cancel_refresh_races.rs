//! Several runs, several refreshes, faults of AWS: each refresh is stopped at most once, and never
//! another one.

use std::time::Duration;

use e2e::{CANCEL, CANCEL_REFRESH, Fault, Group, LocalAws, ROLLBACK, Run, deployed};
use serde_json::json;

const OBSERVE: &str = "cancel-refresh:\n  mode: observe\n";
const ENFORCE: &str = "cancel-refresh:\n  mode: enforce\n";

/// A group with a refresh that fails, which so far nobody has stopped.
async fn failing<'a>(aws: &'a LocalAws, name: &'a str, on_failure: &str) -> (Group<'a>, String) {
    aws.alone().await;
    aws.put_policy(OBSERVE).await;
    let image = aws.image(&format!("{name}-1")).await;
    let bad = aws.image(&format!("{name}-2")).await;
    let group = aws.group(name, 4, &image, |group| group).await;
    let version = group.version(&bad).await;
    group
        .tag_group(&[("ec2-guardrails:on-failure", on_failure)])
        .await;
    let id = group.start_refresh(Some(&version), |p| p).await;
    aws.deregister(&bad).await;
    aws.pass_with_sweeps(10).await;
    assert_eq!(group.status(&id).await, "InProgress");
    aws.put_policy(ENFORCE).await;
    (group, id)
}

/// Waits until the function has made so many calls of an operation.
async fn called(aws: &LocalAws, operation: &str, times: usize) {
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while aws.calls_of(operation).await.len() < times {
        assert!(
            std::time::Instant::now() < until,
            "{operation} isn't called"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// ASG-2: Cancel takes only the group's name, so what is looked at and what is hit may differ.
#[tokio::test]
async fn a_second_refresh_that_starts_after_the_look_is_not_touched() {
    deployed(CANCEL_REFRESH, async |aws| {
        let (group, first) = failing(aws, "web", "cancel").await;
        // The function has looked, and is about to write down what it will do.
        aws.inject(
            Fault::on("dynamodb", "PutItem")
                .matching("Item.item.S", "refresh#*")
                .slow(3.0)
                .times(1),
        )
        .await;
        let request = aws.fire().await;
        called(aws, "PutItem", 1).await;
        group.cancel_refresh().await;
        aws.settle(&group, &first, "Cancelled").await;
        let good = group.version(&aws.image("web-3").await).await;
        let second = group.start_refresh(Some(&good), |p| p).await;
        aws.wait_until_idle().await;

        let report = aws.last_attempt(&request).await.succeeded();
        assert_eq!(aws.carried_out(CANCEL).await, 0, "{report:?}");
        let (_, minutes) = group.pass_until(&second, "Successful", 120).await;
        assert!(minutes > 0);
        assert_eq!(aws.carried_out(CANCEL).await, 0);
    })
    .await;
}

/// The window that AWS's API leaves: between the last look and the call itself. It can't be closed,
/// so it is told as what it is, and not done again.
#[tokio::test]
async fn if_another_refresh_was_hit_all_the_same_that_is_an_alarm() {
    deployed(CANCEL_REFRESH, async |aws| {
        let (group, first) = failing(aws, "web", "cancel").await;
        aws.inject(Fault::on("autoscaling", CANCEL).slow(3.0).times(1))
            .await;
        let request = aws.fire().await;
        called(aws, CANCEL, 1).await;
        group.cancel_refresh().await;
        aws.settle(&group, &first, "Cancelled").await;
        let good = group.version(&aws.image("web-3").await).await;
        let second = group.start_refresh(Some(&good), |p| p).await;
        aws.wait_until_idle().await;
        let run = aws.last_attempt(&request).await;
        assert_eq!(aws.carried_out(CANCEL).await, 1, "{}", run.told());
        assert!(run.told().contains(r#""Mismatches":1"#), "{}", run.told());
        let told = aws.notices().await;
        let mismatch = told.iter().find(|n| n.message.contains(&second));
        mismatch
            .expect("it is told")
            .says(&["web", &first, &second]);

        // The pipeline starts it again, and this time it is left alone.
        aws.settle(&group, &second, "Cancelled").await;
        let third = group.start_refresh(Some(&good), |p| p).await;
        group.pass_until(&third, "Successful", 120).await;
        assert_eq!(aws.calls_of(CANCEL).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn runs_at_the_same_moment_stop_it_once_and_tell_it_once() {
    deployed(CANCEL_REFRESH, async |aws| {
        let (group, id) = failing(aws, "web", "rollback").await;
        let mut requests = Vec::new();
        for _ in 0..4 {
            requests.push(aws.fire().await);
        }
        let detail = json!({ "AutoScalingGroupName": "web", "InstanceRefreshId": id });
        aws.emit(
            "aws.autoscaling",
            "EC2 Auto Scaling Instance Refresh Started",
            detail,
        )
        .await;
        aws.wait_until_idle().await;
        let mut stopped = 0;
        for request in requests {
            let run = aws.last_attempt(&request).await;
            let report = run.succeeded();
            stopped += report
                .of("rollback-refresh")
                .filter(|e| e.outcome == "done")
                .count();
            assert_eq!(report.outcomes.failed, 0, "{}", run.told());
        }
        stopped += done_by_rules(aws).await;
        assert_eq!(stopped, 1);
        assert_eq!(aws.carried_out(ROLLBACK).await, 1);
        assert_eq!(group.status(&id).await, "RollbackInProgress");
        let told = aws.notices().await;
        assert_eq!(told.len(), 1, "{told:#?}");
        group.pass_until(&id, "RollbackSuccessful", 120).await;
        aws.nothing_more_is_told(2).await;
    })
    .await;
}

async fn done_by_rules(aws: &LocalAws) -> usize {
    let runs = aws.runs_by_rule().await;
    let reports = runs.iter().map(Run::succeeded);
    reports
        .map(|r| {
            r.of("rollback-refresh")
                .filter(|e| e.outcome == "done")
                .count()
        })
        .sum()
}

/// SAM-3, ASG-6: twice, late, in any order, or of something that is long over.
#[tokio::test]
async fn events_that_come_twice_or_out_of_order_do_no_harm() {
    deployed(CANCEL_REFRESH, async |aws| {
        let (group, id) = failing(aws, "web", "rollback").await;
        let detail = json!({ "AutoScalingGroupName": "web", "InstanceRefreshId": id });
        let kind = |what: &str| format!("EC2 Auto Scaling Instance Refresh {what}");
        for what in [
            "Succeeded",
            "Rollback Succeeded",
            "Started",
            "Started",
            "Failed",
        ] {
            aws.emit("aws.autoscaling", &kind(what), detail.clone())
                .await;
        }
        assert_eq!(aws.carried_out(ROLLBACK).await, 1);
        group.pass_until(&id, "RollbackSuccessful", 120).await;
        let good = group.version(&aws.image("web-3").await).await;
        let next = group.start_refresh(Some(&good), |p| p).await;
        // Of the first one, late; and of a group that is gone.
        let launch = "EC2 Instance Launch Unsuccessful";
        for _ in 0..3 {
            let late = json!({
                "AutoScalingGroupName": "web", "StatusCode": "Failed",
                "StatusMessage": "The image id does not exist", "EC2InstanceId": "",
            });
            aws.emit("aws.autoscaling", launch, late).await;
            aws.emit("aws.autoscaling", &kind("Failed"), detail.clone())
                .await;
        }
        let gone = json!({ "AutoScalingGroupName": "gone", "InstanceRefreshId": id });
        aws.emit("aws.autoscaling", &kind("Cancelled"), gone).await;
        group.pass_until(&next, "Successful", 120).await;
        for run in aws.runs().await {
            run.succeeded();
        }
        assert_eq!(aws.stopped().await, (0, 1));
        // Stopped, at its end, and resolved by the good one.
        aws.nothing_more_is_told(3).await;
        assert!(aws.notices().await[2].subject.contains("Resolved"));
    })
    .await;
}

/// A person's cancel is a person's: nothing is undone, and it isn't told as a failure.
#[tokio::test]
async fn a_refresh_that_a_person_cancels_or_rolls_back_is_theirs() {
    deployed(CANCEL_REFRESH, async |aws| {
        aws.alone().await;
        let image = aws.image("web-1").await;
        let group = aws.group("web", 4, &image, |group| group).await;
        let version = group.version(&aws.image("web-2").await).await;
        let id = group
            .start_refresh(Some(&version), |p| p.instance_warmup(600))
            .await;
        aws.pass_with_sweeps(5).await;
        group.cancel_refresh().await;
        group.pass_until(&id, "Cancelled", 30).await;
        let id = group
            .start_refresh(Some(&version), |p| p.instance_warmup(600))
            .await;
        aws.pass_with_sweeps(5).await;
        group.roll_back().await;
        group.pass_until(&id, "RollbackSuccessful", 120).await;
        assert!(aws.changes().await.is_empty());
        aws.has_stopped_nothing().await;
    })
    .await;
}

// --- faults of AWS ------------------------------------------------------------------------------

#[tokio::test]
async fn throttling_at_every_call_is_waited_out() {
    deployed(CANCEL_REFRESH, async |aws| {
        let (group, id) = failing(aws, "web", "rollback").await;
        let calls = [
            ("autoscaling", "DescribeAutoScalingGroups"),
            ("autoscaling", "DescribeInstanceRefreshes"),
            ("autoscaling", "DescribeScalingActivities"),
            ("autoscaling", ROLLBACK),
        ];
        aws.sweep_throttled(&calls).await;
        assert_eq!(aws.carried_out(ROLLBACK).await, 1);
        assert_eq!(group.status(&id).await, "RollbackInProgress");
        assert_eq!(aws.notices().await.len(), 1);
    })
    .await;
}

/// What can't be read isn't judged, and one group's trouble isn't another's.
#[tokio::test]
async fn what_cannot_be_read_is_not_judged_and_the_next_sweep_goes_on() {
    deployed(CANCEL_REFRESH, async |aws| {
        let (web, web_id) = failing(aws, "web", "cancel").await;
        let (shop, shop_id) = failing(aws, "shop", "cancel").await;
        let denied = Fault::on("autoscaling", "DescribeScalingActivities")
            .matching("AutoScalingGroupName", "web")
            .refused("AccessDenied");
        aws.inject(denied).await;
        let run = aws.sweep().await;
        let (_, message) = run.failed();
        for part in [
            "web",
            "autoscaling:DescribeScalingActivities",
            "AccessDenied",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert_eq!(web.status(&web_id).await, "InProgress");
        assert_ne!(shop.status(&shop_id).await, "InProgress");
        aws.clear_faults().await;
        aws.sweep().await.succeeded();
        assert_ne!(web.status(&web_id).await, "InProgress");
        assert_eq!(aws.carried_out(CANCEL).await, 2);
    })
    .await;
}

#[tokio::test]
async fn a_missing_permission_is_named_and_the_next_sweep_goes_on() {
    deployed(CANCEL_REFRESH, async |aws| {
        let (group, id) = failing(aws, "web", "rollback").await;
        aws.retry_soon().await;
        for operation in [ROLLBACK, CANCEL] {
            aws.inject(Fault::on("autoscaling", operation).refused("AccessDenied"))
                .await;
        }
        let request = aws.fire().await;
        aws.wait_for_retries().await;
        let attempts = aws.attempts(&request).await;
        let (kind, message) = attempts[0].failed();
        assert_eq!(kind, "ActionsFailed");
        for part in ["autoscaling:CancelInstanceRefresh", "AccessDenied", "web"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert_eq!(group.status(&id).await, "InProgress");
        let told = aws.notices().await;
        assert!(!told.is_empty(), "that it fails and isn't stopped is told");
        told[0].says(&["web", &id]);

        aws.clear_faults().await;
        group.age_mark(5).await;
        aws.sweep().await.succeeded();
        assert_eq!(aws.carried_out(ROLLBACK).await, 1);
    })
    .await;
}

/// To cancel it is better than to watch it.
#[tokio::test]
async fn where_a_rollback_isnt_allowed_it_is_cancelled_and_told() {
    deployed(CANCEL_REFRESH, async |aws| {
        let (group, id) = failing(aws, "web", "rollback").await;
        aws.inject(Fault::on("autoscaling", ROLLBACK).refused("AccessDenied"))
            .await;
        aws.sweep().await.succeeded();
        assert_eq!(aws.carried_out(CANCEL).await, 1);
        aws.settle(&group, &id, "Cancelled").await;
        aws.notices().await[0].says(&["web", &id, "cancelled and not rolled back", "Denied"]);
    })
    .await;
}

/// EBS-1's trap in another service: the answer is lost, and the refresh is being rolled back.
#[tokio::test]
async fn a_lost_answer_is_not_repeated() {
    deployed(CANCEL_REFRESH, async |aws| {
        let (group, id) = failing(aws, "web", "rollback").await;
        aws.inject(
            Fault::on("autoscaling", ROLLBACK)
                .times(1)
                .carried_out_but_cut_off(),
        )
        .await;
        let _ = aws.sweep().await;
        assert_eq!(group.status(&id).await, "RollbackInProgress");
        assert_eq!(aws.calls_of(ROLLBACK).await.len(), 1, "sent once");
        // The claim of a run that may be at it still.
        group.age_mark(5).await;
        group.pass_until(&id, "RollbackSuccessful", 120).await;
        aws.sweep().await.succeeded();
        assert_eq!(aws.calls_of(ROLLBACK).await.len(), 1);
        let told = aws.notices().await;
        let last = told.last().expect("it was told");
        last.says(&["web", "RollbackSuccessful"]);
        aws.nothing_more_is_told(told.len()).await;
    })
    .await;
}

/// Killed after the claim, or after the rollback itself: the next run neither repeats it nor forgets
/// to tell.
#[tokio::test]
async fn killed_on_the_way_it_is_stopped_once_and_told() {
    for (operation, nth) in [("PutItem", 1), (ROLLBACK, 1), ("PutItem", 2)] {
        deployed(CANCEL_REFRESH, async |aws| {
            let (group, id) = failing(aws, "web", "rollback").await;
            aws.retry_soon().await;
            let fault = match operation {
                ROLLBACK => Fault::on("autoscaling", operation),
                _ => Fault::on("dynamodb", operation).matching("Item.item.S", "refresh#*"),
            };
            let fault = fault.nth(nth);
            aws.inject(fault.carried_out_and_killed()).await;
            let step = format!("{operation} {nth}");
            aws.fire().await;
            aws.wait_for_retries().await;
            assert_eq!(aws.fault_hits().await, [1], "{step}: it was killed");
            // A claim holds others off for three minutes.
            group.age_mark(5).await;
            aws.sweep().await.succeeded();
            assert_eq!(aws.carried_out(ROLLBACK).await, 1, "{step}");
            group.pass_until(&id, "RollbackSuccessful", 120).await;
            aws.sweep().await.succeeded();
            let told = aws.notices().await;
            let last = told.last().expect("it was told");
            last.says(&["web", "RollbackSuccessful"]);
            aws.nothing_more_is_told(told.len()).await;
        })
        .await;
    }
}
