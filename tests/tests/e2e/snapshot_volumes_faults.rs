//! What goes wrong around snapshots in real accounts: each once, in its smallest case.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::LockMode;
use e2e::{
    Fault, LocalAws, SNAPSHOT_VOLUMES, Seed, deployed, once_each, only_one, per_slot, slots,
};
use serde_json::json;

/// A policy with the one plan `daily`, and more keys of it and of the section.
fn policy(plan: &str, section: &str) -> String {
    format!(
        "snapshot-volumes:
  plans:
    - {{ name: daily, schedule: '{}', {plan} }}
  {section}
",
        slots::daily()
    )
}

const SELECT: &str = "select: { tag: Backup }";

async fn ids(aws: &LocalAws) -> BTreeSet<String> {
    let ours = aws.ours().await;
    ours.into_iter().map(|s| s.snapshot_id).collect()
}

/// One bad volume once failed its instance's set at each slot, twice, and never let it have one
/// point in time.
#[tokio::test]
async fn a_bad_volume_goes_alone_and_its_neighbours_stay_a_set() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy(&format!("{SELECT}, keep: {{ last: 3 }}"), ""))
            .await;
        let instance = aws.backed_up_instances(1, 2).await.remove(0);
        let [bad, good] = instance.data.as_slice() else {
            panic!("two data volumes: {instance:?}");
        };
        let yesterday = slots::days_ago(1);
        let of = |volume: &str| Seed::ours(volume, "daily", &yesterday);
        let reason = "Given key ID is not accessible";
        aws.seed([of(&instance.root), of(good), of(bad).failed(reason)])
            .await;
        aws.sweep().await.succeeded();

        let sets = aws.calls_of("CreateSnapshots").await;
        assert_eq!(sets.len(), 1, "{sets:?}");
        let excluded = &sets[0].parameters["InstanceSpecification"]["ExcludeDataVolumeIds"];
        assert_eq!(*excluded, json!([bad]));
        let alone = aws.calls_of("CreateSnapshot").await;
        assert_eq!(alone.len(), 1, "{alone:?}");
        assert_eq!(alone[0].parameters["VolumeId"], bad.as_str());

        // It fails again, and nobody else does.
        let made = aws.ours().await;
        let failing = made
            .iter()
            .find(|s| s.volume_id == *bad && s.state == "pending");
        let failing = failing.expect("the bad one was tried").snapshot_id.clone();
        aws.fail_snapshot(&failing, reason).await;
        aws.complete_snapshots().await;
        aws.sweep().await.succeeded();
        let made = aws.ours().await;
        let slot = slots::tag(&slots::latest());
        let todays = made.iter().filter(|s| s.tag("ec2-guardrails:slot") == slot);
        let completed: BTreeSet<_> = todays
            .filter(|s| s.state == "completed")
            .map(|s| (s.volume_id.as_str(), s.start_time.as_str()))
            .collect();
        assert_eq!(completed.len(), 2, "{completed:?}");
        let times: BTreeSet<_> = completed.iter().map(|(_, at)| at).collect();
        assert_eq!(times.len(), 1, "one point in time: {completed:?}");
        assert!(aws.notified_of(bad, "failed").await.is_some());
        assert!(aws.notified_of(good, "failed").await.is_none());
    })
    .await;
}

#[tokio::test]
async fn a_set_that_is_refused_outright_is_made_one_by_one() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy(&format!("{SELECT}, keep: {{ last: 3 }}"), ""))
            .await;
        let instance = aws.backed_up_instances(1, 2).await.remove(0);
        aws.tag(&[&instance.root], &[("Team", "shop")]).await;
        let denied = Fault::on("ec2", "CreateSnapshots").refused("UnauthorizedOperation");
        aws.inject(denied).await;
        let report = aws.sweep().await.succeeded();
        assert_eq!((report.outcomes.done, report.outcomes.failed), (1, 0));
        assert!(
            report.decisions[0].note.contains("AWS refused the set"),
            "{report:?}"
        );
        let made = aws.ours().await;
        let expected = once_each(&instance.volumes(), "daily", &slots::latest());
        assert_eq!(per_slot(&made), expected);
        let root = made.iter().find(|s| s.volume_id == instance.root);
        assert_eq!(root.map(|s| s.tag("Team")), Some("shop"));
        aws.sweep().await.succeeded();
        assert_eq!(per_slot(&aws.ours().await), expected);
    })
    .await;
}

#[tokio::test]
async fn as_many_pending_snapshots_as_aws_allows_are_waited_for() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy(&format!("{SELECT}, keep: {{ last: 3 }}"), ""))
            .await;
        let mut volumes = aws.volumes(3, &[("Backup", "true")]).await;
        volumes.extend(aws.backed_up_instances(1, 1).await[0].volumes());
        for operation in ["CreateSnapshot", "CreateSnapshots"] {
            let full = Fault::on("ec2", operation).refused("PendingSnapshotLimitExceeded");
            aws.inject(full).await;
        }
        let outcomes = aws.sweep().await.succeeded().outcomes;
        assert_eq!(
            (outcomes.done, outcomes.failed, outcomes.skipped),
            (0, 0, 4)
        );
        aws.clear_faults().await;
        assert_eq!(aws.sweep().await.succeeded().outcomes.done, 4);
        let expected = once_each(&volumes, "daily", &slots::latest());
        assert_eq!(per_slot(&aws.ours().await), expected);
    })
    .await;
}

/// They once held the deletion limit for ever, and each was tried at each sweep.
#[tokio::test]
async fn locked_snapshots_are_no_matter_of_the_deletion_limit() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy(&format!("{SELECT}, keep: {{ last: 12 }}"), ""))
            .await;
        let volume = aws.volumes(1, &[("Backup", "true")]).await.remove(0);
        let old = aws.seed(Seed::history(&volume, 12..40)).await;
        aws.seed(Seed::history(&volume, 0..12)).await;
        for snapshot in &old {
            let lock = aws.ec2.lock_snapshot().snapshot_id(snapshot);
            let lock = lock.lock_mode(LockMode::Governance).lock_duration(30);
            lock.send().await.expect("it can be locked");
        }
        let more = aws.seed(Seed::history(&volume, [40])).await.remove(0);
        let report = aws.sweep().await.succeeded();
        assert_eq!((report.outcomes.done, report.outcomes.skipped), (1, 28));
        assert!(!ids(aws).await.contains(&more));
        assert_eq!(aws.calls_of("DeleteSnapshot").await.len(), 1);
        assert!(aws.notices().await.is_empty());

        // Without them it is what it was: too much at once.
        for snapshot in &old {
            let unlock = aws.ec2.unlock_snapshot().snapshot_id(snapshot);
            unlock.send().await.expect("it can be unlocked");
        }
        aws.sweep().await.succeeded();
        assert_eq!(aws.calls_of("DeleteSnapshot").await.len(), 1);
        assert!(aws.notified_of("account", "deletion-limit").await.is_some());
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_that_an_explicit_deny_protects_fails_one_run_and_is_told() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy(&format!("{SELECT}, keep: {{ last: 2 }}"), ""))
            .await;
        let volume = aws.volumes(1, &[("Backup", "true")]).await.remove(0);
        let seeded = aws.seed(Seed::history(&volume, 0..4)).await;
        let denied = Fault::on("ec2", "DeleteSnapshot").refused("UnauthorizedOperation");
        aws.may_be_denied("ec2:DeleteSnapshot").await;
        aws.inject(denied.matching("SnapshotId", &seeded[3])).await;

        let run = aws.sweep().await;
        assert_eq!(run.failed().0, "ActionsFailed");
        assert_eq!(ids(aws).await.len(), 3, "the other one went");
        assert!(aws.notified_of(&seeded[3], "undeletable").await.is_some());
        let tried = aws.calls_of("DeleteSnapshot").await.len();
        for _ in 0..2 {
            let report = aws.sweep().await.succeeded();
            assert!(
                report.decisions[0].reason.contains("AWS keeps it"),
                "{report:?}"
            );
        }
        assert_eq!(aws.calls_of("DeleteSnapshot").await.len(), tried);
        // A day later it is tried again, and that fails no run any more.
        let remembered = format!("refused#{}", seeded[3]);
        aws.age_memory(&remembered, 25 * 3_600).await;
        aws.sweep().await.succeeded();
        assert_eq!(aws.calls_of("DeleteSnapshot").await.len(), tried + 1);
        assert_eq!(aws.notices().await.len(), 1);

        aws.clear_faults().await;
        aws.age_memory(&remembered, 25 * 3_600).await;
        assert_eq!(aws.sweep().await.succeeded().outcomes.done, 1);
        assert_eq!(ids(aws).await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_volume_in_ruins_or_outside_the_region_is_told_with_what_is_left_of_it() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy(&format!("{SELECT}, keep: {{ last: 2 }}"), ""))
            .await;
        let volumes = aws.volumes(4, &[("Backup", "true")]).await;
        let [lost, local, outpost, sound] = volumes.as_slice() else {
            panic!("four: {volumes:?}");
        };
        let newest = aws.seed(Seed::history(lost, [0])).await.remove(0);
        let zone = "eu-central-1-ham-1a";
        let arn = "arn:aws:outposts:eu-central-1:123456789012:outpost/op-0";
        for place in [
            json!({"volume_ids": [lost], "state": "error"}),
            json!({"volume_ids": [local], "zone": zone}),
            json!({"volume_ids": [outpost], "outpost_arn": arn}),
        ] {
            aws.place(place).await;
        }
        let report = aws.sweep().await.succeeded();
        assert_eq!((report.outcomes.done, report.outcomes.skipped), (1, 3));
        let made = aws.calls_of("CreateSnapshot").await;
        assert_eq!(made.len(), 1, "{made:?}");
        assert_eq!(made[0].parameters["VolumeId"], sound.as_str());
        let notice = only_one(aws.notices().await);
        notice.says(&["in state `error`", &newest, zone, arn]);
        assert_eq!(report.metrics["VolumesStale"], 3, "{report:?}");
    })
    .await;
}

#[tokio::test]
async fn an_archived_snapshot_is_neither_fresh_nor_a_keeper() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy(
            &format!("{SELECT}, grace: 1h, keep: {{ last: 1 }}"),
            "",
        ))
        .await;
        let volume = aws.volumes(1, &[("Backup", "true")]).await.remove(0);
        let old = aws.seed(Seed::history(&volume, [3, 2])).await;
        let archived = Seed::ours(&volume, "daily", &slots::days_ago(1)).archived();
        let archived = aws.seed([archived]).await.remove(0);
        aws.sweep().await.succeeded();
        let left = ids(aws).await;
        assert!(
            left.contains(&old[1]),
            "the newest that can be restored now"
        );
        assert!(!left.contains(&old[0]) && left.contains(&archived));
        let refused = aws.ec2.create_volume().snapshot_id(&archived);
        let refused = refused.availability_zone(e2e::OTHER_ZONE).send().await;
        assert!(refused.is_err(), "as AWS has it");

        aws.complete_snapshots().await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.outcomes.done, 2);
        assert!(
            report
                .decisions
                .iter()
                .any(|d| d.resource == archived && d.reason.contains("90 days")),
            "{report:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn orphans_stay_while_the_last_snapshot_is_pending() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy(
            &format!("{SELECT}, keep: {{ last: 9 }}"),
            "orphans-after: 30d",
        ))
        .await;
        let gone = "vol-0123456789abcdef0";
        aws.seed(Seed::history(gone, [40, 41])).await;
        let last = Seed::ours(gone, "daily", &slots::days_ago(35)).pending();
        let last = aws.seed([last]).await.remove(0);
        aws.sweep().await.succeeded();
        assert_eq!(ids(aws).await.len(), 3);
        aws.fail_snapshot(&last, "no key").await;
        aws.sweep().await.succeeded();
        assert_eq!(ids(aws).await.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_second_snapshot_of_a_slot_that_fails_is_removed_in_silence() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy(&format!("{SELECT}, keep: {{ last: 5 }}"), ""))
            .await;
        let volume = aws.volumes(1, &[("Backup", "true")]).await.remove(0);
        let slot = slots::latest();
        let first = Seed::ours(&volume, "daily", &slot).later(&slot, 1);
        let second = Seed::ours(&volume, "daily", &slot).later(&slot, 3);
        let first = aws.seed([first]).await.remove(0);
        aws.seed([second.failed("no key")]).await;
        assert_eq!(aws.sweep().await.succeeded().outcomes.done, 1);
        assert_eq!(ids(aws).await, BTreeSet::from([first]));
        assert!(aws.notices().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_held_snapshot_stays_whatever_the_policy_keeps() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy(
            &format!("{SELECT}, keep: {{ last: 2 }}"),
            "hold: { tag: Hold }",
        ))
        .await;
        let volume = aws.volumes(1, &[("Backup", "true")]).await.remove(0);
        let seeded = aws.seed(Seed::history(&volume, 0..5)).await;
        aws.tag(&[&seeded[4]], &[("Hold", "before the migration")])
            .await;
        assert_eq!(aws.sweep().await.succeeded().outcomes.done, 2);
        let left: BTreeSet<_> = [0, 1, 4].map(|at: usize| seeded[at].clone()).into();
        assert_eq!(ids(aws).await, left);
    })
    .await;
}

#[tokio::test]
async fn an_instances_tag_selects_its_volumes_also_one_that_comes_later() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy(
            "select: { tag: Backup, values: [nightly], of: instance }, keep: { last: 2 }",
            "",
        ))
        .await;
        let image = aws.image("app").await;
        let tagged = aws.instance(&image, 1).await;
        let other = aws.instance(&image, 1).await;
        aws.tag(&[&tagged.id], &[("Backup", "nightly")]).await;
        aws.tag(&[&other.id], &[("Backup", "no")]).await;
        aws.sweep().await.succeeded();
        let mut expected = tagged.volumes();
        let slot = slots::latest();
        assert_eq!(
            per_slot(&aws.ours().await),
            once_each(&expected, "daily", &slot)
        );

        let later = aws.volumes(1, &[]).await.remove(0);
        aws.attach(&later, &tagged.id, "/dev/sdg").await;
        aws.sweep().await.succeeded();
        expected.push(later);
        assert_eq!(
            per_slot(&aws.ours().await),
            once_each(&expected, "daily", &slot)
        );
    })
    .await;
}

#[tokio::test]
async fn a_renamed_plans_snapshots_are_shown_and_adopted() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        let renamed = |formerly: &str| {
            format!(
                "snapshot-volumes:
  plans:
    - {{ name: nightly, {formerly} {SELECT}, schedule: '{}', keep: {{ last: 2 }} }}
",
                slots::daily()
            )
        };
        aws.put_policy(&renamed("")).await;
        let volume = aws.volumes(1, &[("Backup", "true")]).await.remove(0);
        aws.seed(Seed::history(&volume, 1..5)).await;
        aws.sweep().await.succeeded();
        assert_eq!(
            ids(aws).await.len(),
            5,
            "nothing says what of the old ones to keep"
        );
        let notice = only_one(aws.notices().await);
        notice.says(&["plan daily: 4 snapshots", "`formerly`"]);

        aws.put_policy(&renamed("formerly: [daily],")).await;
        aws.complete_snapshots().await;
        assert_eq!(aws.sweep().await.succeeded().outcomes.done, 3);
        assert_eq!(ids(aws).await.len(), 2);
        assert_eq!(aws.notified_of("account", "planless").await, None);
    })
    .await;
}
