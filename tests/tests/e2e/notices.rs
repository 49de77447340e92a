//! What people are told: once when something appears, once when it has passed.

use e2e::{
    FULL_MONITORING, Fault, SNAPSHOT_VOLUMES, Seed, deployed, deployed_with, once_each, only_one,
    per_slot, slots,
};

fn policy() -> String {
    format!(
        "snapshot-volumes:
  plans:
    - name: daily
      select: {{ tag: Backup }}
      schedule: '{}'
      keep: {{ last: 3 }}
      grace: 1h
",
        slots::daily()
    )
}

const REASON: &str =
    "Client error occurred: the KMS key is disabled (Client.InvalidKMSKey.InvalidState)";

/// EBS-4, EBS-10: the event starts the function at once; no sweep is waited for.
#[tokio::test]
async fn a_failed_snapshot_is_replaced_in_its_slot_and_told_once() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy()).await;
        let volume = aws.volumes(1, &[("Backup", "true")]).await.remove(0);
        aws.sweep().await.succeeded();
        aws.age_snapshots(60).await;
        let failed = aws.ours().await.remove(0).snapshot_id;
        aws.fail_snapshot(&failed, REASON).await;

        let run = only_one(aws.runs_by_rule().await);
        assert_eq!(run.event["detail"]["event"], "createSnapshot");
        assert_eq!(run.succeeded().outcomes.done, 1);
        let ours = aws.ours().await;
        assert_eq!(ours.len(), 2);
        let replacement = ours.iter().find(|s| s.snapshot_id != failed);
        let replacement = replacement.expect("there is a second one");
        assert_eq!(replacement.tag("ec2-guardrails:attempt"), "2");
        let volumes = [volume.clone()];
        assert_eq!(
            per_slot(&ours),
            once_each(&volumes, "daily", &slots::latest())
        );

        let notice = only_one(aws.notices().await);
        assert!(notice.subject.contains("Failed snapshot") && notice.subject.contains(&volume));
        for part in [REASON, &failed, "What to do:", "console.aws.amazon.com"] {
            assert!(notice.message.contains(part), "{}", notice.message);
        }
        // Not again by the next sweep, which leaves the failed one until its replacement is there.
        let report = aws.sweep().await.succeeded();
        assert_eq!((aws.notices().await.len(), report.outcomes.done), (1, 0));

        aws.complete_snapshots().await;
        for _ in 0..2 {
            aws.sweep().await.succeeded();
            let left = aws.ours().await;
            assert_eq!(left.len(), 1, "the failed one is cleaned up");
            assert_eq!(left[0].tag("ec2-guardrails:attempt"), "2");
            aws.resolved_once().await;
        }
        let told = aws.tags_of(&volume).await;
        assert!(
            !told
                .iter()
                .any(|(key, _)| key.starts_with("ec2-guardrails:"))
        );
    })
    .await;
}

/// EBS-2: if one member fails, all do; the set is made again as a set.
#[tokio::test]
async fn a_failed_set_is_replaced_as_a_set() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy()).await;
        let instance = aws.backed_up_instances(1, 2).await.remove(0);
        aws.sweep().await.succeeded();
        aws.age_snapshots(60).await;
        let member = aws.ours().await.remove(1).snapshot_id;
        aws.fail_snapshot(&member, REASON).await;

        let runs = aws.runs_by_rule().await;
        assert_eq!(runs.len(), 1);
        assert_eq!(runs[0].event["detail"]["event"], "createSnapshots");
        assert_eq!(runs[0].succeeded().outcomes.done, 1);
        assert_eq!(aws.calls_of("CreateSnapshots").await.len(), 2);
        let ours = aws.ours().await;
        assert_eq!(ours.len(), 6);
        let expected = once_each(&instance.volumes(), "daily", &slots::latest());
        assert_eq!(per_slot(&ours), expected);
        aws.complete_snapshots().await;
        aws.sweep().await.succeeded();
        assert_eq!(aws.ours().await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_volume_without_a_fresh_snapshot_is_told_once_and_once_when_it_has_one() {
    deployed_with(SNAPSHOT_VOLUMES, FULL_MONITORING, async |aws| {
        aws.put_policy(&policy()).await;
        let [stale, fresh] = [(); 2].map(|()| aws.volumes(1, &[("Backup", "true")]));
        let (stale, fresh) = (stale.await.remove(0), fresh.await.remove(0));
        aws.volumes(4, &[]).await;
        aws.seed([
            Seed::ours(&stale, "daily", &slots::days_ago(3)),
            Seed::ours(&fresh, "daily", &slots::latest()),
        ])
        .await;
        aws.inject(Fault::on("ec2", "CreateSnapshot").refused("SnapshotLimitExceeded"))
            .await;
        for _ in 0..2 {
            aws.sweep().await.failed();
            let notice = only_one(aws.notices().await);
            assert!(notice.subject.contains("olume without a fresh snapshot"));
            assert!(notice.subject.contains(&stale) && !notice.message.contains(&fresh));
            assert!(
                notice.message.contains("SnapshotLimitExceeded"),
                "{}",
                notice.message
            );
            assert_eq!(aws.metric("VolumesStale").await, Some(1));
            assert_eq!(aws.metric("Failed").await, Some(1));
        }
        assert_eq!(aws.metric("VolumesSelected").await, Some(2));
        assert_eq!(aws.metric("VolumesUnselected").await, Some(4));
        let oldest = aws.metric("OldestSnapshotAgeSeconds").await;
        assert!(oldest > Some(3 * 86_400), "{oldest:?}");
        let findings = aws.calls_of("PutEvents").await;
        assert_eq!(findings.len(), 1, "the bus gets it once, too");
        assert_eq!(
            findings[0].parameters["Entries"][0]["Source"],
            "ec2-guardrails"
        );

        // Started is not yet completed: nothing is said until it is.
        aws.clear_faults().await;
        aws.sweep().await.succeeded();
        assert_eq!(aws.notices().await.len(), 1);
        aws.complete_snapshots().await;
        for _ in 0..2 {
            aws.sweep().await.succeeded();
            aws.resolved_once().await;
        }
        assert_eq!(aws.metric("VolumesStale").await, Some(0));
        assert_eq!(aws.metric("SnapshotsOwned").await, Some(3));
    })
    .await;
}

/// Cents instead of dollars: what a sweep counted stands in its log, and CloudWatch makes no metric of it.
#[tokio::test]
async fn with_basic_monitoring_figures_are_in_the_log_and_no_metric_is_written() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy()).await;
        aws.volumes(1, &[("Backup", "true")]).await;
        let run = aws.sweep().await;
        let figures = run
            .log
            .iter()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find(|line| line["Guardrail"] == SNAPSHOT_VOLUMES);
        let figures = figures.expect("the sweep's figures stand in its log");
        assert_eq!(figures["VolumesSelected"], 1, "{figures}");
        assert_eq!(figures["Failed"], 0, "{figures}");
        assert!(figures.get("_aws").is_none(), "{figures}");
        run.succeeded();
        assert_eq!(aws.metric("VolumesSelected").await, None);
    })
    .await;
}
