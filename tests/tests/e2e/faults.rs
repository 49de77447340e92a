//! Whatever goes wrong on the way: each slot has one snapshot in the end.

use e2e::{Fault, SNAPSHOT_VOLUMES, Seed, deployed, once_each, only_one, per_slot, slots};
use serde_json::json;

/// The one plan `daily` that selects `Backup`.
fn policy() -> String {
    format!(
        "snapshot-volumes:
  plans:
    - {{ name: daily, select: {{ tag: Backup }}, schedule: '{}', keep: {{ last: 3 }} }}
",
        slots::daily()
    )
}

/// EBS-6: throttled calls weren't carried out. Each of the function's calls is refused more than
/// once, in its service's own words.
#[tokio::test]
async fn throttling_at_every_call_delays_and_never_duplicates() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy()).await;
        let instance = aws.backed_up_instances(1, 1).await.remove(0);
        let unattached = aws.volumes(2, &[("Backup", "true")]).await;
        // Something to delete, to tell and to take back, so that every call is made.
        let old = [1, 2, 3, 4].map(slots::days_ago);
        let failed = Seed::ours(&unattached[0], "daily", &slots::latest()).failed("no key");
        aws.seed(
            old.iter()
                .map(|slot| Seed::ours(&unattached[0], "daily", slot)),
        )
        .await;
        aws.seed([failed]).await;
        let stale = format!("notified#{}#stale", unattached[1]);
        let told =
            json!({"fingerprint": "daily never", "label": "x", "stage": "given", "on_bus": true});
        aws.remember_in(SNAPSHOT_VOLUMES, &stale, told).await;
        let calls = [
            ("ec2", "DescribeVolumes"),
            ("ec2", "DescribeSnapshots"),
            ("ec2", "DescribeInstances"),
            ("ec2", "DescribeImages"),
            ("ec2", "CreateSnapshots"),
            ("ec2", "CreateSnapshot"),
            ("ec2", "DeleteSnapshot"),
            ("dynamodb", "DeleteItem"),
        ];
        aws.sweep_throttled(&calls).await;

        let all = [instance.volumes(), unattached.clone()].concat();
        let mut expected = once_each(&all, "daily", &slots::latest());
        for slot in &old[..3] {
            expected.extend(once_each(&unattached[..1], "daily", slot));
        }
        assert_eq!(per_slot(&aws.ours().await), expected);
        assert_eq!(aws.notices().await.len(), 1);
        assert!(
            !aws.tags_of(&unattached[1])
                .await
                .iter()
                .any(|(key, _)| key.contains("told"))
        );
    })
    .await;
}

/// EBS-1: no creation can be repeated safely, for each may have been carried out.
#[tokio::test]
async fn a_creation_whose_outcome_is_unknown_is_sent_once() {
    for unknown in [
        |call: Fault| call.carried_out_but_cut_off(),
        |call: Fault| call.carried_out_but_answered("InternalError"),
    ] {
        deployed(SNAPSHOT_VOLUMES, async |aws| {
            aws.put_policy(&policy()).await;
            let instance = aws.backed_up_instances(1, 1).await.remove(0);
            let unattached = aws.volumes(3, &[("Backup", "true")]).await;
            for operation in ["CreateSnapshots", "CreateSnapshot"] {
                aws.inject(unknown(Fault::on("ec2", operation)).times(1))
                    .await;
            }
            let run = aws.sweep().await;
            let (kind, message) = run.failed();
            assert_eq!(kind, "ActionsFailed");
            assert!(message.starts_with("2 of 4 failed (2 done"), "{message}");
            let all = [instance.volumes(), unattached].concat();
            let expected = once_each(&all, "daily", &slots::latest());
            assert_eq!(per_slot(&aws.ours().await), expected);
            assert_eq!(aws.calls_of("CreateSnapshots").await.len(), 1);
            assert_eq!(aws.calls_of("CreateSnapshot").await.len(), 3);

            // The next sweep looks before it creates, and finds all there.
            assert_eq!(aws.sweep().await.succeeded().outcomes.done, 0);
            assert_eq!(per_slot(&aws.ours().await), expected);
            assert_eq!(aws.calls_of("CreateSnapshots").await.len(), 1);
            assert_eq!(aws.calls_of("CreateSnapshot").await.len(), 3);
        })
        .await;
    }
}

#[tokio::test]
async fn a_run_killed_in_the_middle_is_completed_by_its_retry() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy()).await;
        aws.retry_soon().await;
        let mut volumes = aws.volumes(20, &[("Backup", "true")]).await;
        for instance in aws.backed_up_instances(3, 1).await {
            volumes.extend(instance.volumes());
        }
        let third = Fault::on("ec2", "CreateSnapshot*").nth(3);
        aws.inject(third.carried_out_and_killed()).await;
        let request = aws.fire().await;
        aws.wait_for_retries().await;

        let attempts = aws.attempts(&request).await;
        let outcomes: Vec<&str> = attempts.iter().map(|run| run.outcome.as_str()).collect();
        assert_eq!(outcomes, ["crash", "success"]);
        let made_up = attempts[1].succeeded().outcomes.done;
        assert!(
            (1..23).contains(&made_up),
            "{made_up} by the second attempt"
        );
        let expected = once_each(&volumes, "daily", &slots::latest());
        assert_eq!(per_slot(&aws.ours().await), expected);
        assert!(aws.dead_letters().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn ten_invocations_at_once_make_one_snapshot_for_each_slot() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy()).await;
        let mut volumes = aws.volumes(5, &[("Backup", "true")]).await;
        for instance in aws.backed_up_instances(9, 2).await {
            volumes.extend(instance.volumes());
        }
        // What one run has made the others see only later: EC2's eventual consistency.
        aws.set(serde_json::json!({ "snapshot_visibility_delay_seconds": 3.0 }))
            .await;
        let mut requests = Vec::new();
        for _ in 0..10 {
            requests.push(aws.fire().await);
        }
        aws.wait_until_idle().await;
        let mut processes = std::collections::BTreeSet::new();
        for request in requests {
            let run = aws.last_attempt(&request).await;
            let report = run.succeeded();
            assert_eq!(report.outcomes.failed, 0, "{}", run.told());
            processes.insert(run.pid);
        }
        assert!(processes.len() > 1, "they ran side by side");
        // At most one more sweep.
        aws.age_snapshots(60).await;
        aws.complete_snapshots().await;
        aws.sweep().await.succeeded();
        let expected = once_each(&volumes, "daily", &slots::latest());
        assert_eq!(per_slot(&aws.ours().await), expected);
    })
    .await;
}

/// Incident 2: a fleet too large for one run is finished by the next; if the fourth doesn't come to
/// the end either, people are told.
#[tokio::test]
async fn a_run_near_its_end_starts_nothing_and_leaves_the_rest_to_the_next() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy()).await;
        // A tenth of it is kept for the last actions, and for what a run does after them.
        aws.set_timeout(16).await;
        let volumes = aws.volumes(480, &[("Backup", "true")]).await;
        aws.inject(Fault::on("ec2", "CreateSnapshot").slow(1.0))
            .await;
        let behind = "doesn't keep up";
        let (mut left, mut subjects) = (480, Vec::new());
        for _ in 0..4 {
            assert!(
                !subjects
                    .iter()
                    .any(|subject: &String| subject.contains(behind))
            );
            let outcomes = aws.sweep().await.succeeded().outcomes;
            assert!(outcomes.done > 0 && outcomes.left > 0, "{outcomes:?}");
            assert_eq!(outcomes.done + outcomes.left, left);
            left = outcomes.left;
            assert_eq!(aws.ours().await.len() as u64, 480 - left);
            let notices = aws.notices().await;
            subjects = notices.into_iter().map(|notice| notice.subject).collect();
        }
        assert!(
            subjects.iter().any(|subject| subject.contains(behind)),
            "{subjects:?}"
        );

        aws.clear_faults().await;
        aws.set_timeout(60).await;
        assert_eq!(aws.sweep().await.succeeded().outcomes.done, left);
        let notices = aws.notices().await;
        let last = notices.last().expect("that it is over");
        last.says(&["a sweep has come to the end of its work again"]);
        let expected = once_each(&volumes, "daily", &slots::latest());
        assert_eq!(per_slot(&aws.ours().await), expected);
    })
    .await;
}

#[tokio::test]
async fn a_missing_permission_hurts_nothing_else_and_ends_in_the_dead_letter_queue() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy()).await;
        aws.retry_soon().await;
        let instance = aws.backed_up_instances(1, 1).await.remove(0);
        let unattached = aws.volumes(1, &[("Backup", "true")]).await;
        let days = [1, 2, 3, 4, 5].map(slots::days_ago);
        aws.seed(
            days.iter()
                .map(|slot| Seed::ours(&unattached[0], "daily", slot)),
        )
        .await;
        let denied = Fault::on("ec2", "CreateSnapshots").refused("UnauthorizedOperation");
        aws.inject(denied).await;
        // Nor one by one.
        for volume in instance.volumes() {
            let denied = Fault::on("ec2", "CreateSnapshot").refused("UnauthorizedOperation");
            aws.inject(denied.matching("VolumeId", &volume)).await;
        }
        let request = aws.fire().await;
        aws.wait_for_retries().await;

        let attempts = aws.attempts(&request).await;
        assert_eq!(attempts.len(), 2, "the template asks for one retry");
        for run in &attempts {
            let (kind, message) = run.failed();
            assert_eq!(kind, "ActionsFailed");
            for part in ["ec2:CreateSnapshots", "UnauthorizedOperation", "role"] {
                assert!(message.contains(part), "{message}");
            }
        }
        let mut expected = once_each(&unattached, "daily", &slots::latest());
        for slot in &days[..3] {
            expected.extend(once_each(&unattached, "daily", slot));
        }
        assert_eq!(per_slot(&aws.ours().await), expected, "the rest was done");
        let letter = only_one(aws.dead_letters().await);
        assert_eq!(letter["requestContext"]["requestId"], request.as_str());
        assert_eq!(letter["requestContext"]["condition"], "RetriesExhausted");
        assert_eq!(letter["requestPayload"]["trigger"], "sweep");
        assert_eq!(letter["responsePayload"]["errorType"], "ActionsFailed");
    })
    .await;
}

#[tokio::test]
async fn a_volume_deleted_meanwhile_is_no_failure() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy()).await;
        let instance = aws.backed_up_instances(1, 1).await.remove(0);
        let unattached = aws.volumes(2, &[("Backup", "true")]).await;
        // After the volumes were read, and before anything is made.
        aws.inject(Fault::on("ec2", "DescribeInstances").slow(1.5))
            .await;
        let request = aws.fire().await;
        while aws.calls_of("DescribeInstances").await.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        aws.ec2
            .delete_volume()
            .volume_id(&unattached[0])
            .send()
            .await
            .expect("the volume can be deleted");
        aws.wait_until_idle().await;

        let report = aws.last_attempt(&request).await.succeeded();
        assert_eq!((report.outcomes.done, report.outcomes.skipped), (2, 1));
        let skipped = report.decisions.iter().find(|e| e.outcome == "skipped");
        let skipped = skipped.expect("it is in the report");
        assert_eq!(skipped.resource, unattached[0]);
        assert!(skipped.note.contains("gone meanwhile"), "{}", skipped.note);
        let all = [instance.volumes(), unattached[1..].to_vec()].concat();
        let expected = once_each(&all, "daily", &slots::latest());
        assert_eq!(per_slot(&aws.ours().await), expected);
    })
    .await;
}
