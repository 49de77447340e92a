//! Copies in another Region, through the deployed template.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_ec2::types::Filter;
use e2e::{
    Fault, LocalAws, SNAPSHOT_VOLUMES, Seed, Snapshot, THERE, deployed_with, key_arn, only_one,
    slots,
};
use serde_json::json;

/// With a Region to copy to.
const REGIONS: &[(&str, &str)] = &[("CopyRegions", THERE)];

/// A policy with the one plan `daily` that is copied, and more keys of it.
fn policy(copies: &str, plan: &str) -> String {
    format!(
        "snapshot-volumes:
  plans:
    - name: daily
      schedule: '{}'
      select: {{ tag: Backup }}
      keep: {{ last: 3 }}
      copies: [{{ region: {THERE}, {copies} }}]
      {plan}
",
        slots::daily()
    )
}

/// The sources of the copies that haven't failed.
fn sources(copies: &[Snapshot]) -> Vec<&str> {
    let made = copies.iter().filter(|copy| copy.state != "error");
    let mut sources: Vec<_> = made.map(|copy| copy.tag("ec2-guardrails:source")).collect();
    sources.sort_unstable();
    sources
}

async fn history(aws: &LocalAws, volumes: &[String], days: std::ops::Range<i64>) -> Vec<String> {
    let of = |volume: &String| Seed::history(volume, days.clone());
    aws.seed(volumes.iter().flat_map(of)).await
}

#[tokio::test]
async fn a_completed_snapshot_is_copied_encrypted_and_kept_by_its_own_rules() {
    deployed_with(SNAPSHOT_VOLUMES, REGIONS, async |aws| {
        aws.put_policy(&policy("keep: { last: 2 }", "")).await;
        let volumes = aws.volumes(1, &[("Backup", "true"), ("Team", "shop")]).await;
        aws.sweep().await.succeeded();
        assert!(aws.copies().await.is_empty(), "it isn't completed yet");
        aws.complete_snapshots().await;
        aws.sweep().await.succeeded();
        let source = aws.ours().await.remove(0);
        let copy = only_one(aws.copies().await);
        assert_eq!(copy.volume_id, "vol-ffffffff");
        assert!(copy.encrypted);
        assert!(
            copy.description.starts_with(&format!(
                "ec2-guardrails snapshot-volumes: copy from eu-central-1 of {} ({}), plan daily, slot {}, attempt 1: ",
                volumes[0],
                source.snapshot_id,
                slots::tag(&slots::latest())
            )),
            "{}",
            copy.description
        );
        assert_eq!(copy.tag("ec2-guardrails:guardrail"), "snapshot-volumes");
        assert_eq!(copy.tag("ec2-guardrails:source"), source.snapshot_id);
        assert_eq!(copy.tag("Team"), "shop");

        // Once, whatever comes; completed or not.
        aws.sweep().await.succeeded();
        aws.complete_copies().await;
        aws.sweep().await.succeeded();
        assert_eq!(aws.calls_of("CopySnapshot").await.len(), 1);

        // What is older there than its `keep` goes, and nothing here for it.
        for day in 1..4 {
            let old = Seed::ours(&volumes[0], "daily", &slots::days_ago(day));
            aws.seed_copies([old.copied("eu-central-1", "snap-0123456789abcdef0")])
                .await;
        }
        assert_eq!(aws.sweep().await.succeeded().outcomes.done, 2);
        assert_eq!(aws.copies().await.len(), 2);
        assert_eq!(aws.ours().await.len(), 1);
        let explained = aws.command("explain", &[("volume-id", &volumes[0])]).await;
        let explained = explained.detail;
        let there = &explained["volumes"][&volumes[0]]["plans"]["daily"]["copies"][THERE];
        assert_eq!(there["copies"].as_array().map(Vec::len), Some(2), "{explained}");
    })
    .await;
}

/// Over there, named by its alias.
#[tokio::test]
async fn a_key_of_ones_own_is_used() {
    let key = key_arn(THERE, "1a2b");
    let parameters = [("CopyRegions", THERE), ("CopyKeyArns", key.as_str())];
    deployed_with(SNAPSHOT_VOLUMES, &parameters, async |aws| {
        aws.key(THERE, "1a2b", "alias/copies").await;
        copied_with("key: alias/copies", None, aws).await;
        let copies = aws.copies().await;
        assert_eq!(copies[0].state, "completed", "{copies:?}");
        assert_eq!(copies[0].kms_key_id.as_deref(), Some(key.as_str()));
        assert!(aws.notices().await.is_empty());
    })
    .await;
}

/// Here, where the volume is encrypted with it.
#[tokio::test]
async fn a_key_of_the_volumes_own_is_used() {
    let key = key_arn("eu-central-1", "3c4d");
    let parameters = [("CopyRegions", THERE), ("CopyKeyArns", key.as_str())];
    deployed_with(SNAPSHOT_VOLUMES, &parameters, async |aws| {
        aws.key("eu-central-1", "3c4d", "alias/disks").await;
        copied_with("grace: 24h", Some(&key), aws).await;
        let copies = aws.copies().await;
        assert_eq!(copies[0].state, "completed", "{copies:?}");
    })
    .await;
}

#[tokio::test]
async fn a_key_that_the_stack_does_not_name_fails_the_copy_and_is_told() {
    deployed_with(SNAPSHOT_VOLUMES, REGIONS, async |aws| {
        let key = aws.key("eu-central-1", "3c4d", "alias/disks").await;
        aws.may_be_denied("kms:DescribeKey").await;
        let volume = copied_with("grace: 24h", Some(&key), aws).await;
        assert_eq!(aws.copies().await[0].state, "error");
        aws.sweep().await.succeeded();
        let told = aws.notified_of(&volume, "copy-failed").await;
        assert!(
            told.unwrap_or_default()
                .contains("key ID is not accessible")
        );
    })
    .await;
}

/// Copies one snapshot that is encrypted with AWS's own key, or one of the account's.
async fn copied_with(copies: &str, key: Option<&str>, aws: &LocalAws) -> String {
    aws.set(json!({ "snapshot_pending_seconds": 0.2 })).await;
    aws.put_policy(&policy(&format!("{copies}, keep: {{ last: 2 }}"), ""))
        .await;
    let volume = aws.volumes(1, &[("Backup", "true")]).await.remove(0);
    let source = Seed::ours(&volume, "daily", &slots::latest());
    aws.seed([source.encrypted(key)]).await;
    aws.sweep().await.succeeded();
    while aws.copies().await[0].state == "pending" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    volume
}

#[tokio::test]
async fn what_the_parameters_do_not_name_is_an_error_that_names_them() {
    deployed_with(SNAPSHOT_VOLUMES, REGIONS, async |aws| {
        let volumes = aws.volumes(1, &[("Backup", "true")]).await;
        let asked = policy("keep: { last: 2 }", "").replace(THERE, "ap-south-1");
        aws.put_policy(&asked).await;
        let run = aws.sweep().await;
        let (code, why) = run.failed();
        assert_eq!(code, "ActionsFailed");
        assert!(
            why.contains("CopyRegions") && why.contains("ap-south-1"),
            "{why}"
        );
        assert_eq!(
            aws.ours().await.len(),
            1,
            "what is here is done: {volumes:?}"
        );

        let key = "key: alias/mine, keep: { last: 2 }";
        aws.put_policy(&policy(key, "")).await;
        let run = aws.sweep().await;
        assert!(run.failed().1.contains("CopyKeyArns"), "{:?}", run.failed());
    })
    .await;
}

#[tokio::test]
async fn the_twenty_first_waits_and_is_no_failure() {
    deployed_with(SNAPSHOT_VOLUMES, REGIONS, async |aws| {
        aws.put_policy(&policy("keep: { last: 2 }", "")).await;
        let volumes = aws.volumes(21, &[("Backup", "true")]).await;
        let all = history(aws, &volumes, 0..2).await;
        aws.sweep().await.succeeded();
        let copies = aws.copies().await;
        assert_eq!(copies.len(), 20);
        // Of each volume the newest comes first.
        let newest = slots::tag(&slots::latest());
        assert!(
            copies
                .iter()
                .all(|c| c.tag("ec2-guardrails:slot") == newest)
        );
        aws.sweep().await.succeeded();
        assert_eq!(aws.copies().await.len(), 20);
        assert_eq!(
            aws.calls_of("CopySnapshot").await.len(),
            20,
            "nobody asks in vain"
        );
        for _ in 0..2 {
            aws.complete_copies().await;
            aws.sweep().await.succeeded();
        }
        aws.complete_copies().await;
        aws.sweep().await.succeeded();
        let copies = aws.copies().await;
        let mut expected: Vec<&str> = all.iter().map(String::as_str).collect();
        expected.sort_unstable();
        assert_eq!(sources(&copies), expected);
    })
    .await;
}

/// Somebody else's copies count too.
#[tokio::test]
async fn as_many_copies_as_aws_makes_at_once_are_waited_for() {
    deployed_with(SNAPSHOT_VOLUMES, REGIONS, async |aws| {
        aws.put_policy(&policy("keep: { last: 2 }", "")).await;
        let volumes = aws.volumes(1, &[("Backup", "true")]).await;
        history(aws, &volumes, 0..1).await;
        let full = Fault::on("ec2", "CopySnapshot").refused("ResourceLimitExceeded");
        aws.inject(full.times(1)).await;
        let outcomes = aws.sweep().await.succeeded().outcomes;
        assert_eq!((outcomes.done, outcomes.failed), (0, 0));
        aws.sweep().await.succeeded();
        assert_eq!(aws.copies().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn killed_anywhere_each_slot_gets_one_copy() {
    for fault in [
        Fault::on("ec2", "CopySnapshot").carried_out_and_killed(),
        Fault::on("ec2", "CopySnapshot").carried_out_but_cut_off(),
        Fault::on("ec2", "CopySnapshot").carried_out_but_answered("InternalError"),
        Fault::on("dynamodb", "PutItem")
            .matching("Item.item.S", "copy#*")
            .carried_out_and_killed(),
    ] {
        deployed_with(SNAPSHOT_VOLUMES, REGIONS, async |aws| {
            aws.put_policy(&policy("keep: { last: 2 }", "")).await;
            let volumes = aws.volumes(5, &[("Backup", "true")]).await;
            let all = history(aws, &volumes, 0..1).await;
            aws.inject(fault.times(1).nth(3)).await;
            let _cut_short = aws.sweep().await;
            aws.clear_faults().await;
            aws.sweep().await.succeeded();
            // What was begun and isn't there is asked for once nobody can have it under way.
            aws.age_all_memory("copy#", 601).await;
            aws.sweep().await.succeeded();
            let mut expected: Vec<&str> = all.iter().map(String::as_str).collect();
            expected.sort_unstable();
            assert_eq!(sources(&aws.copies().await), expected);
        })
        .await;
    }
}

#[tokio::test]
async fn a_failed_copy_is_told_with_awss_reason_and_made_again() {
    deployed_with(SNAPSHOT_VOLUMES, REGIONS, async |aws| {
        aws.put_policy(&policy("keep: { last: 2 }", "")).await;
        let volumes = aws.volumes(1, &[("Backup", "true")]).await;
        history(aws, &volumes, 0..1).await;
        aws.sweep().await.succeeded();
        let copy = aws.copies().await.remove(0).snapshot_id;
        let reason = "Given key ID is not accessible";
        aws.fail_copy(&copy, reason).await;
        // The second try comes at once, the third after a quarter of an hour.
        aws.sweep().await.succeeded();
        let told = aws.notified_of(&volumes[0], "copy-failed").await;
        assert!(told.unwrap_or_default().contains(reason));
        let again = aws.copies().await;
        let again = again.iter().find(|copy| copy.state == "pending");
        let again = again.expect("it is tried again").clone();
        assert_eq!(again.tag("ec2-guardrails:attempt"), "2");
        aws.fail_copy(&again.snapshot_id, reason).await;
        aws.sweep().await.succeeded();
        assert_eq!(aws.calls_of("CopySnapshot").await.len(), 2);
        aws.age_copies(16 * 60).await;
        aws.sweep().await.succeeded();
        aws.complete_copies().await;
        aws.sweep().await.succeeded();
        let copies = aws.copies().await;
        let states: Vec<&str> = copies.iter().map(|copy| copy.state.as_str()).collect();
        assert_eq!(states, ["completed"], "the failed ones are gone");
        assert!(aws.notified_of(&volumes[0], "copy-failed").await.is_none());
    })
    .await;
}

#[tokio::test]
async fn a_region_that_can_not_be_read_is_told_and_keeps_nothing_here_from_being_done() {
    deployed_with(SNAPSHOT_VOLUMES, REGIONS, async |aws| {
        aws.put_policy(&policy("keep: { last: 2 }", "")).await;
        let volumes = aws.volumes(2, &[("Backup", "true")]).await;
        history(aws, &volumes, 1..6).await;
        let there = Fault::on("ec2", "DescribeSnapshots").matching(
            "Filters.Values",
            "ec2-guardrails snapshot-volumes: copy from *",
        );
        aws.may_be_denied("ec2:DescribeSnapshots").await;
        aws.inject(there.refused("UnauthorizedOperation")).await;
        let run = aws.sweep().await;
        let (code, why) = run.failed();
        assert_eq!(code, "ActionsFailed");
        assert!(why.contains(THERE), "{why}");
        // Two new ones; of the ten before, any may be on its way there for all that is known.
        let ours = aws.ours().await;
        assert_eq!(ours.len(), 12);
        assert_eq!(ours.iter().filter(|s| s.state == "pending").count(), 2);
        assert!(aws.copies().await.is_empty());
        aws.clear_faults().await;
        aws.complete_snapshots().await;
        aws.sweep().await.succeeded();
        assert_eq!(aws.copies().await.len(), 4);
    })
    .await;
}

#[tokio::test]
async fn the_newest_copy_stays_when_all_is_gone_here() {
    deployed_with(SNAPSHOT_VOLUMES, REGIONS, async |aws| {
        aws.put_policy(&policy("keep: { last: 1 }", "")).await;
        let volumes = aws.volumes(1, &[("Backup", "true")]).await;
        let here = history(aws, &volumes, 0..1).await;
        aws.sweep().await.succeeded();
        aws.complete_copies().await;
        let old = Seed::ours(&volumes[0], "daily", &slots::days_ago(9));
        aws.seed_copies([old.copied("eu-central-1", "snap-0123456789abcdef0")])
            .await;
        for snapshot in &here {
            let delete = aws.ec2.delete_snapshot().snapshot_id(snapshot).send().await;
            delete.expect("it can be deleted");
        }
        let gone = aws.ec2.delete_volume().volume_id(&volumes[0]).send().await;
        gone.expect("it can be deleted");
        for _ in 0..2 {
            aws.sweep().await.succeeded();
        }
        let copies = aws.copies().await;
        assert_eq!(sources(&copies), [here[0].as_str()]);
        // And a volume can be made from it.
        let found = aws.there.describe_snapshots().owner_ids("self").filters(
            Filter::builder()
                .name("description")
                .values(format!("*of {} (*", volumes[0]))
                .build(),
        );
        let found = found.send().await.expect("snapshots there");
        assert_eq!(found.snapshots().len(), 1);
        let volume = aws
            .there
            .create_volume()
            .availability_zone(format!("{THERE}a"));
        let id = found.snapshots()[0].snapshot_id().unwrap_or_default();
        let made = volume.snapshot_id(id).send().await;
        assert!(made.is_ok(), "{made:?}");
    })
    .await;
}

/// Whoever may tag over there can neither have a copy deleted nor one left out.
#[tokio::test]
async fn a_copy_whose_tags_are_changed_is_nobodys() {
    deployed_with(SNAPSHOT_VOLUMES, REGIONS, async |aws| {
        aws.put_policy(&policy("keep: { last: 1 }", "")).await;
        let volumes = aws.volumes(1, &[("Backup", "true")]).await;
        history(aws, &volumes, 0..1).await;
        aws.sweep().await.succeeded();
        aws.complete_copies().await;
        let copy = aws.copies().await.remove(0).snapshot_id;
        let tag = aws_sdk_ec2::types::Tag::builder()
            .key("ec2-guardrails:source")
            .value("snap-1")
            .build();
        let tagged = aws.there.create_tags().resources(&copy).tags(tag).send();
        tagged.await.expect("it can be tagged");
        aws.age_all_memory("copy#", 601).await;
        aws.sweep().await.succeeded();
        let ids: BTreeSet<_> = aws
            .copies()
            .await
            .into_iter()
            .map(|c| c.snapshot_id)
            .collect();
        assert_eq!(ids.len(), 2, "the slot is copied again");
        assert!(ids.contains(&copy));
        assert!(aws.notified_of(&copy, "disowned").await.is_some());
    })
    .await;
}
