//! Restore drills, through the deployed template.

use e2e::{
    Fault, LocalAws, OTHER_ZONE, SNAPSHOT_VOLUMES, Seed, THERE, deployed, deployed_with, key_arn,
    only_one, slots,
};
use serde_json::{Value, json};

const ALLOWED: &[(&str, &str)] = &[("RestoreDrills", "true")];

/// A policy with the plan `daily` and the drill `often`, and more keys of it.
fn policy(drill: &str) -> String {
    format!(
        "snapshot-volumes:
  plans:
    - {{ name: daily, schedule: '{0}', select: {{ all: true }}, keep: {{ last: 3 }} }}
  orphans-after: 90d
  drills: [{{ name: often, schedule: '{0}', {drill} }}]
",
        slots::daily()
    )
}

/// Volumes with a completed snapshot of the current slot each; the snapshots.
async fn backed_up(aws: &LocalAws, count: u32) -> (Vec<String>, Vec<String>) {
    let mut volumes = aws.volumes(count, &[("Team", "shop")]).await;
    volumes.sort_unstable();
    let seeds = volumes
        .iter()
        .map(|volume| Seed::ours(volume, "daily", &slots::latest()));
    let snapshots = aws.seed(seeds.collect::<Vec<_>>()).await;
    (volumes, snapshots)
}

/// What is remembered of a volume under the drill.
async fn record(aws: &LocalAws, volume: &str) -> Value {
    let record = aws
        .memory(&format!("proof#often/eu-central-1/{volume}"))
        .await;
    record.unwrap_or_default()
}

async fn sweep(aws: &LocalAws) {
    aws.sweep().await.succeeded();
}

#[tokio::test]
async fn blocks_are_read_and_what_lies_there_is_told_to_an_auditor() {
    deployed_with(SNAPSHOT_VOLUMES, ALLOWED, async |aws| {
        aws.put_policy(&policy("volumes: 2")).await;
        let (volumes, snapshots) = backed_up(aws, 3).await;
        let xfs = json!({"0": {"0": "58465342"}, "9000": {"7": "01"}});
        aws.content(&volumes, xfs).await;
        sweep(aws).await;
        let proven = record(aws, &volumes[0]).await["proof"].clone();
        assert_eq!(proven["found"], "2 blocks are sound; XFS on the whole disk");
        assert_eq!(proven["snapshot"], snapshots[0]);
        // The slot has had its two, and each once.
        let calls = aws.calls_of("GetSnapshotBlock").await.len();
        assert_eq!(calls, 4, "of each its two blocks, once");
        sweep(aws).await;
        assert_eq!(aws.calls_of("GetSnapshotBlock").await.len(), calls);
        let answer = aws.command("proofs", &[]).await;
        let proofs = answer.detail["proofs"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let proven: Vec<_> = proofs
            .iter()
            .map(|row| row["proven"]["snapshot"].clone())
            .collect();
        assert_eq!(
            proven,
            [json!(snapshots[0]), json!(snapshots[1]), Value::Null],
            "{answer:?}"
        );
        assert!(answer.decisions.is_empty());
        let explained = aws.command("explain", &[("volume-id", &volumes[1])]).await;
        let drills = &explained.detail["volumes"][&volumes[1]]["drills"];
        assert_eq!(drills[0]["proven"]["by"], "blocks", "{explained:?}");
        assert!(aws.notices().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_block_that_is_wrong_and_an_empty_disk_are_told() {
    deployed_with(SNAPSHOT_VOLUMES, ALLOWED, async |aws| {
        aws.put_policy(&policy("volumes: 9")).await;
        let (volumes, snapshots) = backed_up(aws, 4).await;
        aws.corrupt(&snapshots[..1]).await;
        aws.content(&volumes[1..2], json!({})).await;
        // A database may have its disk for itself.
        aws.content(&volumes[2..3], json!({"5": {"0": "4f5241434c45"}}))
            .await;
        sweep(aws).await;
        for (volume, expected) in [
            (&volumes[0], Some("is wrong, twice")),
            (&volumes[1], Some("the disk is empty")),
            (&volumes[2], None),
            (&volumes[3], None),
        ] {
            let told = record(aws, volume).await["failed"]["why"].clone();
            match expected {
                Some(words) => {
                    assert!(told.as_str().unwrap_or_default().contains(words), "{told}");
                    assert!(aws.notified_of(volume, "proof-failed").await.is_some());
                }
                None => assert_eq!(told, Value::Null),
            }
        }
        let raw = record(aws, &volumes[2]).await["proof"]["found"].clone();
        assert!(
            raw.to_string()
                .contains("no partition table or file system is recognised"),
            "{raw}"
        );
        let notices = aws.notices().await;
        assert!(
            notices
                .iter()
                .any(|n| n.message.contains("the disk is empty")),
            "{notices:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_volume_is_made_in_another_zone_looked_at_and_deleted() {
    deployed_with(SNAPSHOT_VOLUMES, ALLOWED, async |aws| {
        aws.set(json!({ "volume_creating_seconds": 600 })).await;
        aws.put_policy(&policy("kind: volume")).await;
        let (volumes, snapshots) = backed_up(aws, 1).await;
        sweep(aws).await;
        let made = only_one(aws.drill_volumes().await);
        assert_eq!(made.availability_zone(), Some(OTHER_ZONE));
        assert_eq!(made.snapshot_id(), Some(snapshots[0].as_str()));
        // It takes its time, and is no plan's volume meanwhile.
        sweep(aws).await;
        assert_eq!(aws.ours().await.len(), 1);
        let id = made.volume_id().unwrap_or_default().to_owned();
        aws.place(json!({ "volume_ids": [id] })).await;
        sweep(aws).await;
        assert!(aws.drill_volumes().await.is_empty());
        assert_eq!(
            record(aws, &volumes[0]).await["proof"],
            Value::Null,
            "not before it is seen to be gone"
        );
        sweep(aws).await;
        let remembered = record(aws, &volumes[0]).await;
        assert_eq!(remembered["under_way"], Value::Null);
        assert_eq!(remembered["proof"]["snapshot"], snapshots[0]);
        assert!(remembered["proof"]["took"].is_array(), "{remembered}");
        sweep(aws).await;
        assert_eq!(aws.calls_of("CreateVolume").await.len(), 1);
        assert_eq!(aws.calls_of("DeleteVolume").await.len(), 1);
        assert!(aws.notices().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn killed_anywhere_one_volume_is_made_and_none_is_left() {
    let put = || Fault::on("dynamodb", "PutItem").matching("Item.item.S", "proof#*");
    for (fault, nth) in [
        (Fault::on("ec2", "CreateVolume").carried_out_and_killed(), 1),
        (
            Fault::on("ec2", "CreateVolume").carried_out_but_cut_off(),
            1,
        ),
        (
            Fault::on("ec2", "CreateVolume").carried_out_but_answered("InternalError"),
            1,
        ),
        (Fault::on("ec2", "DeleteVolume").carried_out_and_killed(), 1),
        (
            Fault::on("ec2", "DeleteVolume").carried_out_but_answered("InternalError"),
            1,
        ),
        (put().carried_out_and_killed(), 1),
        (put().carried_out_and_killed(), 2),
        (put().carried_out_and_killed(), 3),
        (put().carried_out_but_cut_off(), 2),
    ] {
        deployed_with(SNAPSHOT_VOLUMES, ALLOWED, async |aws| {
            aws.put_policy(&policy("kind: volume")).await;
            // What is gone has no tag by which it could be allowed.
            aws.may_be_denied("ec2:DeleteVolume").await;
            let (volumes, _) = backed_up(aws, 1).await;
            aws.inject(fault.times(1).nth(nth)).await;
            for _ in 0..6 {
                let _cut_short = aws.sweep().await;
                assert!(aws.drill_volumes().await.len() <= 1);
            }
            assert!(aws.drill_volumes().await.is_empty());
            let remembered = record(aws, &volumes[0]).await;
            assert_eq!(remembered["under_way"], Value::Null, "{remembered}");
            assert!(remembered["proof"].is_object(), "{remembered}");
            let seen = aws.calls_of("CreateVolume").await;
            let tokens: std::collections::BTreeSet<_> = seen
                .iter()
                .map(|call| call.parameters["ClientToken"].to_string())
                .collect();
            assert_eq!(tokens.len(), 1, "{seen:?}");
        })
        .await;
    }
}

/// Whoever may tag can neither have a volume deleted nor have one left out of the backups.
#[tokio::test]
async fn a_volume_that_somebody_tagged_so_stays_and_is_backed_up() {
    deployed_with(SNAPSHOT_VOLUMES, ALLOWED, async |aws| {
        aws.set(json!({ "volume_creating_seconds": 600 })).await;
        aws.put_policy(&policy("kind: volume")).await;
        let (volumes, _) = backed_up(aws, 1).await;
        sweep(aws).await;
        let token = record(aws, &volumes[0]).await["under_way"]["volume"]["token"].clone();
        let token = token.as_str().unwrap_or_default();
        assert!(token.starts_with("drill-"), "{token}");
        let foreign = aws.volumes(1, &[("ec2-guardrails:drill", token)]).await;
        // Its own is gone, as if AWS had never made it, and its id unknown.
        for volume in aws.drill_volumes().await {
            let id = volume.volume_id().unwrap_or_default();
            aws.place(json!({ "volume_ids": [id] })).await;
        }
        for _ in 0..4 {
            sweep(aws).await;
        }
        let left = aws.drill_volumes().await;
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(left[0].volume_id(), Some(foreign[0].as_str()));
        let snapshots = aws.ours().await;
        assert!(
            snapshots
                .iter()
                .any(|snapshot| snapshot.volume_id == foreign[0]),
            "{snapshots:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_drills_volume_that_somebody_uses_stays_and_is_told() {
    deployed_with(SNAPSHOT_VOLUMES, ALLOWED, async |aws| {
        aws.set(json!({ "volume_creating_seconds": 600 })).await;
        aws.put_policy(&policy("kind: volume")).await;
        let (_, _) = backed_up(aws, 1).await;
        sweep(aws).await;
        let made = aws.drill_volumes().await.remove(0);
        let id = made.volume_id().unwrap_or_default();
        aws.place(json!({ "volume_ids": [id], "zone": e2e::ZONE }))
            .await;
        let image = aws.image("web").await;
        let instance = aws.instance(&image, 0).await;
        aws.attach(id, &instance.id, "/dev/sdx").await;
        sweep(aws).await;
        sweep(aws).await;
        assert!(aws.calls_of("DeleteVolume").await.is_empty());
        assert!(aws.notified_of(id, "drill-left-behind").await.is_some());
        let detached = aws.ec2.detach_volume().volume_id(id).send().await;
        detached.expect("it can be detached");
        for _ in 0..2 {
            sweep(aws).await;
        }
        assert!(aws.drill_volumes().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_fails_is_told_and_what_is_not_known_is_not() {
    for (fault, condition) in [
        ("error", "proof-failed"),
        ("vanish", ""),
        ("creating", "proof-failed"),
    ] {
        deployed_with(SNAPSHOT_VOLUMES, ALLOWED, async |aws| {
            aws.set(json!({ "volume_faults": [{ "becomes": fault }] }))
                .await;
            aws.put_policy(&policy("kind: volume")).await;
            let (volumes, _) = backed_up(aws, 1).await;
            sweep(aws).await;
            aws.age_drills(6 * 3600 + 1).await;
            // What vanished is settled at once; what is deleted has to be seen to be gone.
            for _ in 0..if condition.is_empty() { 1 } else { 2 } {
                sweep(aws).await;
            }
            assert!(aws.drill_volumes().await.is_empty(), "{fault}");
            let remembered = record(aws, &volumes[0]).await;
            if condition.is_empty() {
                assert!(
                    remembered["untried"]["why"]
                        .to_string()
                        .contains("vanished"),
                    "{remembered}"
                );
                assert!(aws.notices().await.is_empty());
            } else {
                assert!(
                    aws.notified_of(&volumes[0], condition).await.is_some(),
                    "{remembered}"
                );
            }
        })
        .await;
    }
}

#[tokio::test]
async fn copies_elsewhere_are_tried_there_with_a_key_of_ones_own() {
    let key = key_arn(THERE, "1a2b");
    let parameters = [
        ("RestoreDrills", "true"),
        ("CopyRegions", THERE),
        ("CopyKeyArns", key.as_str()),
    ];
    deployed_with(SNAPSHOT_VOLUMES, &parameters, async |aws| {
        let key = aws.key(THERE, "1a2b", "alias/copies").await;
        for (n, kind) in ["blocks", "volume"].into_iter().enumerate() {
            let document = policy(&format!("kind: {kind}, region: {THERE}"))
                .replace(
                    "keep: { last: 3 }",
                    &format!(
                        "keep: {{ last: 3 }}, copies: [{{ region: {THERE}, keep: {{ last: 2 }} }}]"
                    ),
                )
                .replace("name: often", &format!("name: {kind}"));
            aws.put_policy(&document).await;
            // Of a volume that is gone here with all its snapshots.
            let lost = format!("vol-0123456789abcdef{n}");
            let copy = Seed::ours(&lost, "daily", &slots::latest());
            let copy = copy
                .copied("eu-central-1", "snap-0123456789abcdef0")
                .encrypted(Some(&key));
            aws.seed_copies([copy]).await;
            aws.restart_function().await;
            for _ in 0..3 {
                sweep(aws).await;
            }
            let proofs = aws.command("proofs", &[]).await.detail;
            let rows = proofs["proofs"].as_array().cloned().unwrap_or_default();
            assert!(
                rows.iter()
                    .any(|row| row["proven"]["by"] == kind && row["region"] == THERE),
                "{proofs}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn without_the_parameter_the_run_names_it_and_the_rest_is_done() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&policy("kind: volume")).await;
        aws.volumes(1, &[]).await;
        let run = aws.sweep().await;
        assert!(
            run.failed().1.contains("RestoreDrills"),
            "{:?}",
            run.failed()
        );
        assert_eq!(aws.ours().await.len(), 1);
        assert!(aws.calls_of("CreateVolume").await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn below_enforce_nothing_is_read_or_made() {
    deployed_with(SNAPSHOT_VOLUMES, ALLOWED, async |aws| {
        for (mode, kind) in [("notify", "blocks"), ("observe", "volume")] {
            let document = policy(&format!("kind: {kind}"));
            aws.put_policy(&document.replace("  plans:", &format!("  mode: {mode}\n  plans:")))
                .await;
            backed_up(aws, 1).await;
            aws.restart_function().await;
            let report = aws.sweep().await.succeeded();
            let would: Vec<_> = report
                .of("drill")
                .map(|entry| entry.outcome.as_str())
                .collect();
            assert_eq!(would, ["would-do"], "{report:?}");
        }
        for call in ["CreateVolume", "GetSnapshotBlock", "ListSnapshotBlocks"] {
            assert!(aws.calls_of(call).await.is_empty(), "{call}");
        }
    })
    .await;
}

/// A missing permission fails one run, and is told once it has lasted.
#[tokio::test]
async fn what_can_not_be_tried_fails_one_run_and_is_told_when_it_lasts() {
    deployed_with(SNAPSHOT_VOLUMES, ALLOWED, async |aws| {
        aws.put_policy(&policy("kind: blocks")).await;
        let (volumes, _) = backed_up(aws, 1).await;
        aws.may_be_denied("ebs:GetSnapshotBlock").await;
        aws.inject(Fault::on("ebs", "GetSnapshotBlock").refused("AccessDeniedException"))
            .await;
        let run = aws.sweep().await;
        assert!(
            run.failed().1.contains("AccessDenied"),
            "{:?}",
            run.failed()
        );
        sweep(aws).await;
        assert!(aws.notified_of(&volumes[0], "proof-stale").await.is_none());
        aws.age_drills(25 * 3600).await;
        sweep(aws).await;
        sweep(aws).await;
        let told = aws.notified_of(&volumes[0], "proof-stale").await;
        assert!(told.unwrap_or_default().contains("untried"));
        aws.clear_faults().await;
        aws.age_drills(3601).await;
        sweep(aws).await;
        assert!(aws.notified_of(&volumes[0], "proof-stale").await.is_none());
    })
    .await;
}
