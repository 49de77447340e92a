//! What is deleted, and what never is.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{BlockDeviceMapping, EbsBlockDevice, LockMode};
use e2e::{Fault, LocalAws, SNAPSHOT_VOLUMES, Seed, deployed, only_one, slots};
use jiff::Zoned;

/// A policy with the one plan `daily` that selects `Backup`.
fn policy(keep: &str, more: &str) -> String {
    format!(
        "snapshot-volumes:
  plans:
    - {{ name: daily, select: {{ tag: Backup }}, schedule: '{}', keep: {keep} }}
  {more}
",
        slots::daily()
    )
}

/// The slots of a volume's snapshots of the plan `daily`.
async fn slots_of(aws: &LocalAws, volume: &str) -> BTreeSet<String> {
    let ours = aws.ours().await;
    let of_volume = ours.iter().filter(|s| s.volume_id == volume);
    of_volume
        .filter(|s| s.tag("ec2-guardrails:plan") == "daily")
        .map(|s| s.tag("ec2-guardrails:slot").to_owned())
        .collect()
}

fn tags(days: impl IntoIterator<Item = i64>) -> BTreeSet<String> {
    days.into_iter()
        .map(|day| slots::tag(&slots::days_ago(day)))
        .collect()
}

/// What restic keeps of one snapshot a day, the newest of today, under `--keep-daily 7
/// --keep-weekly 4 --keep-monthly 2`: the newest of each of the latest so many days, ISO weeks and
/// months.
fn kept_by_restic(days: i64) -> BTreeSet<String> {
    type Period = fn(&Zoned) -> String;
    let mut kept = BTreeSet::new();
    let rules: [(usize, Period); 3] = [
        (7, |day| day.date().to_string()),
        (4, |day| {
            let week = day.date().iso_week_date();
            format!("{} {}", week.year(), week.week())
        }),
        (2, |day| day.strftime("%Y-%m").to_string()),
    ];
    for (count, period) in rules {
        let mut seen: Vec<String> = Vec::new();
        for day in (0..days).map(slots::days_ago) {
            let label = period(&day);
            if !seen.contains(&label) && seen.len() < count {
                kept.insert(slots::tag(&day));
                seen.push(label);
            }
        }
        assert_eq!(seen.len(), count, "the history is too short for the rule");
    }
    kept
}

#[tokio::test]
async fn pruning_keeps_what_restic_would_of_each_volume_and_touches_nothing_foreign() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        let keep = "{ daily: 7, weekly: 4, monthly: 2 }";
        aws.put_policy(&policy(keep, "brake: { percent: 100 }"))
            .await;
        let instance = aws.backed_up_instances(1, 0).await.remove(0);
        let long = aws.volumes(1, &[("Backup", "true")]).await.remove(0);
        let short = aws.volumes(1, &[("Backup", "true")]).await.remove(0);
        let restored = aws.volumes(1, &[]).await.remove(0);
        // Counted per volume, not over all together (EBS-12).
        for volume in [&instance.root, &long] {
            aws.seed(Seed::history(volume, 0..70)).await;
        }
        aws.seed(Seed::history(&short, [0, 1, 5])).await;

        let old = slots::days_ago(65);
        let ours = Seed::ours(&long, "daily", &old);
        let mut others = vec![
            // By hand, without a tag and with one.
            Seed::foreign(&long, &old, &[]),
            Seed::foreign(&long, &old, &[("Name", "before the upgrade")]),
            // Of another tool, or another guardrail.
            Seed::foreign(&long, &old, &[("aws:dlm:lifecycle-policy-id", "policy-1")]),
            ours.clone().tagged("ec2-guardrails:guardrail", "another"),
            // Of a plan that the policy no longer has: nothing says what of it to keep.
            Seed::ours(&long, "former", &old),
            // Another account's, shared with this one.
            ours.shared_by("999999999999"),
        ];
        // Copies of ours carry our tags and an arbitrary volume (EBS-9); so do snapshots, by another
        // tool, of a volume that was restored with our tags. Taken for ours, most of them would go.
        for volume in ["vol-ffffffff", &restored] {
            let theirs = Seed::history(&long, 1..40).into_iter();
            others.extend(theirs.map(|seed| seed.of_volume(volume)));
        }
        let foreign = aws.seed(others).await;

        let report = aws.sweep().await.succeeded();

        let expected = kept_by_restic(70);
        for volume in [&instance.root, &long] {
            assert_eq!(slots_of(aws, volume).await, expected, "{volume}");
        }
        assert_eq!(slots_of(aws, &short).await, tags([0, 1, 5]));
        let deleted = 2 * (70 - expected.len() as u64);
        assert_eq!((report.outcomes.done, report.outcomes.failed), (deleted, 0));
        let still = aws.ec2.describe_snapshots();
        let still = still.set_snapshot_ids(Some(foreign.clone())).send().await;
        let still = still.expect("every foreign snapshot is still there");
        assert_eq!(still.snapshots().len(), foreign.len());
        assert!(aws.calls_of("CreateSnapshot").await.is_empty());

        let before = aws.last_call().await;
        aws.sweep().await.succeeded();
        let mut again = aws.calls_since(before).await;
        again.retain(|call| call.operation == "DeleteSnapshot");
        assert!(again.is_empty(), "{again:?}");
    })
    .await;
}

/// EBS-8: one refused deletion stops none of the others.
#[tokio::test]
async fn snapshots_in_use_or_locked_stay_while_the_others_go_and_go_once_they_may() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy("{ last: 2 }", "")).await;
        let volume = aws.volumes(1, &[("Backup", "true")]).await.remove(0);
        let mut seeds = Seed::history(&volume, 0..10);
        let managed = seeds.remove(9).tagged("aws:backup:source-resource", "x");
        let ids = aws.seed(seeds).await;
        let managed = aws.seed([managed]).await.remove(0);
        let (used, locked) = (&ids[5], &ids[6]);
        let disk = EbsBlockDevice::builder().snapshot_id(used).build();
        let image = aws
            .ec2
            .register_image()
            .name("golden")
            .root_device_name("/dev/sda1")
            .block_device_mappings(
                BlockDeviceMapping::builder()
                    .device_name("/dev/sda1")
                    .ebs(disk)
                    .build(),
            )
            .send()
            .await
            .expect("an AMI can be made of it");
        aws.ec2
            .lock_snapshot()
            .snapshot_id(locked)
            .lock_mode(LockMode::Governance)
            .lock_duration(30)
            .send()
            .await
            .expect("it can be locked");

        let report = aws.sweep().await.succeeded();
        assert_eq!((report.outcomes.done, report.outcomes.skipped), (5, 3));
        let kept: Vec<(&str, &str)> = report
            .decisions
            .iter()
            .filter(|entry| entry.outcome == "skipped")
            .map(|entry| (entry.resource.as_str(), entry.note.as_str()))
            .collect();
        for (id, why) in [(used, "AMI"), (locked, "locked"), (&managed, "AWS Backup")] {
            let said = kept.iter().find(|(kept, _)| kept == id);
            assert!(said.is_some_and(|(_, note)| note.contains(why)), "{kept:?}");
        }
        assert_eq!(slots_of(aws, &volume).await, tags([0, 1, 5, 6, 9]));

        aws.ec2
            .deregister_image()
            .image_id(image.image_id().unwrap_or_default())
            .send()
            .await
            .expect("the AMI can go");
        aws.ec2
            .unlock_snapshot()
            .snapshot_id(locked)
            .send()
            .await
            .expect("the lock can go");
        // They are tried again once a day.
        let before = aws.last_call().await;
        let report = aws.sweep().await.succeeded();
        assert_eq!((report.outcomes.done, report.outcomes.skipped), (0, 3));
        assert!(aws.changes_since(before).await.is_empty());
        aws.age_memory("refused#", 25 * 3_600).await;
        assert_eq!(aws.sweep().await.succeeded().outcomes.done, 2);
        assert_eq!(slots_of(aws, &volume).await, tags([0, 1, 9]));
    })
    .await;
}

/// The later of two runs finds gone what it has just decided to delete. The role allows deletion by
/// the snapshot's own tag, so AWS may well answer "not authorized" rather than "not found".
#[tokio::test]
async fn two_runs_at_once_delete_each_snapshot_once_and_neither_fails() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.may_be_denied("ec2:DeleteSnapshot").await;
        aws.put_policy(&policy("{ last: 2 }", "")).await;
        let volume = aws.volumes(1, &[("Backup", "true")]).await.remove(0);
        aws.seed(Seed::history(&volume, 0..20)).await;
        // Long enough for the second run to decide before the first is through.
        let slow = Fault::on("ec2", "DeleteSnapshot").slow(1.0);
        aws.inject(slow).await;
        let requests = [aws.fire().await, aws.fire().await];
        aws.wait_until_idle().await;
        for request in &requests {
            aws.last_attempt(request).await.succeeded();
        }
        assert_eq!(slots_of(aws, &volume).await, tags([0, 1]));
        let calls = aws.calls_of("DeleteSnapshot").await;
        assert!(calls.len() > 18, "they met: {} deletions", calls.len());
    })
    .await;
}

#[tokio::test]
async fn the_brake_holds_a_mass_deletion_back_and_says_so_once() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        // Somebody meant `last: 20` and wrote `last: 2`.
        aws.put_policy(&policy("{ last: 2 }", "")).await;
        let volumes = aws.volumes(3, &[("Backup", "true")]).await;
        for volume in &volumes {
            aws.seed(Seed::history(volume, 0..20)).await;
        }
        for _ in 0..2 {
            let report = aws.sweep().await.succeeded();
            assert_eq!((report.outcomes.done, report.outcomes.skipped), (0, 1));
            assert!(
                report.decisions[0].reason.contains("54 of 60"),
                "{report:?}"
            );
            assert_eq!(aws.ours().await.len(), 60);
        }
        assert!(aws.calls_of("DeleteSnapshot").await.is_empty());
        let notice = only_one(aws.notices().await);
        assert!(notice.message.contains("54 of 60"), "{}", notice.message);

        // It was meant after all.
        aws.put_policy(&policy("{ last: 2 }", "brake: { percent: 100 }"))
            .await;
        assert_eq!(aws.sweep().await.succeeded().outcomes.done, 54);
        assert_eq!(aws.ours().await.len(), 6);
        aws.sweep().await.succeeded();
        assert_eq!(aws.notices().await.len(), 2, "resolved, told once");
    })
    .await;
}

#[tokio::test]
async fn what_the_brake_held_back_stays_once_the_policy_is_corrected() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy("{ last: 2 }", "")).await;
        let volumes = aws.volumes(3, &[("Backup", "true")]).await;
        for volume in &volumes {
            aws.seed(Seed::history(volume, 0..20)).await;
        }
        aws.sweep().await.succeeded();
        assert_eq!(aws.notices().await.len(), 1);

        aws.put_policy(&policy("{ last: 20 }", "")).await;
        for _ in 0..2 {
            aws.sweep().await.succeeded();
            assert_eq!(aws.ours().await.len(), 60);
            let notices = aws.notices().await;
            assert_eq!(notices.len(), 2, "resolved, told once: {notices:?}");
        }
        assert_eq!(aws.notified_of("account", "deletion-limit").await, None);
    })
    .await;
}

#[tokio::test]
async fn snapshots_of_a_deleted_volume_stay_until_orphans_after() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        let keep = "{ last: 10 }";
        let gone = "vol-0123456789abcdef0";
        let there = aws.volumes(1, &[("Backup", "true")]).await.remove(0);
        // As old as those of the volume that is gone, but its volume exists.
        let days = [40, 41, 42];
        for volume in [gone, &there] {
            aws.seed(Seed::history(volume, days)).await;
        }
        for (orphans, left) in [
            ("", 3),
            ("orphans-after: 60d", 3),
            ("orphans-after: 30d", 0),
        ] {
            aws.put_policy(&policy(keep, orphans)).await;
            aws.sweep().await.succeeded();
            assert_eq!(slots_of(aws, gone).await.len(), left, "{orphans}");
        }
        // With the one that the first sweep made.
        assert_eq!(slots_of(aws, &there).await, tags([0, 40, 41, 42]));
    })
    .await;
}

#[tokio::test]
async fn the_newest_completed_snapshot_stays_whatever_the_policy_keeps() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy("{ within: 12h }", "")).await;
        let volume = aws.volumes(1, &[("Backup", "true")]).await.remove(0);
        aws.seed(Seed::history(&volume, [10, 11, 12])).await;
        // The new one is only pending: it protects nobody yet (EBS-4).
        for _ in 0..2 {
            aws.sweep().await.succeeded();
            assert_eq!(slots_of(aws, &volume).await, tags([0, 10]));
        }
        aws.complete_snapshots().await;
        aws.sweep().await.succeeded();
        assert_eq!(slots_of(aws, &volume).await, tags([0]));
    })
    .await;
}

/// Two runs that couldn't see each other's snapshot yet (EBS-1): the slot keeps the first.
#[tokio::test]
async fn a_second_snapshot_of_a_slot_goes() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy("{ last: 5 }", "")).await;
        let volume = aws.volumes(1, &[("Backup", "true")]).await.remove(0);
        let slot = slots::latest();
        let first = Seed::ours(&volume, "daily", &slot).later(&slot, 1);
        let second = Seed::ours(&volume, "daily", &slot).later(&slot, 3);
        let second = aws.seed([second]).await.remove(0);
        let first = aws.seed([first]).await.remove(0);
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.outcomes.done, 1);
        assert_eq!(report.decisions[0].resource, second);
        assert_eq!(aws.ours().await[0].snapshot_id, first);
    })
    .await;
}
