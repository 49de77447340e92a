//! What snapshot-volumes is for: the schedule fires, and the right volumes have their snapshots.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::VolumeState;
use e2e::{OTHER_ZONE, SNAPSHOT_VOLUMES, Snapshot, deployed, once_each, only_one, per_slot, slots};
use serde_json::Value;

/// `vol-1=/dev/sda1 vol-2=/dev/sdf`, in any order.
fn listed(snapshot: &Snapshot) -> BTreeSet<&str> {
    snapshot.tag("ec2-guardrails:volumes").split(' ').collect()
}

/// The guardrail's own tags on a snapshot.
fn assert_carries(snapshot: &Snapshot, tags: &[(&str, &str)]) {
    for (key, value) in tags {
        let found = snapshot.tag(&format!("ec2-guardrails:{key}"));
        assert_eq!(found, *value, "{key} of {snapshot:?}");
    }
}

fn of<'a>(snapshots: &'a [Snapshot], volume: &str) -> Vec<&'a Snapshot> {
    snapshots
        .iter()
        .filter(|snapshot| snapshot.volume_id == volume)
        .collect()
}

#[tokio::test]
async fn the_schedule_fires_and_what_the_built_in_plan_selects_is_snapshotted() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        let image_name = "ubuntu/images/hvm-ssd/ubuntu-focal-20.04-amd64-server-20230517";
        let image = aws.image(image_name).await;
        let web = aws.instance(&image, 3).await;
        let [database, media, scratch] = web.data.as_slice() else {
            panic!("three data volumes: {web:?}");
        };
        let selected = [web.root.clone(), database.clone()];
        aws.tag(&selected, &[("Backup", "true")]).await;
        aws.tag(&[database], &[("Team", "shop"), ("Name", "database")])
            .await;
        aws.tag(&[media], &[("Backup", "true"), ("NoBackup", "")])
            .await;
        aws.tag(&[&web.id], &[("Name", "web")]).await;
        let unattached = aws
            .volumes(1, &[("Backup", "daily"), ("Name", "spare")])
            .await;
        let unselected = aws.volumes(1, &[("Backup", "no")]).await;
        // One volume on two instances (EBS-3).
        let shared = aws.multi_attach_volume().await;
        let second = aws.instance(&image, 0).await;
        aws.attach(&shared, &web.id, "/dev/sdx").await;
        aws.attach(&shared, &second.id, "/dev/sdx").await;
        aws.tag(&[&shared], &[("Backup", "true")]).await;

        let slot = slots::built_in();
        let run = aws.sweep().await;
        let report = run.succeeded();

        assert!(run.source.starts_with("schedule "), "{}", run.source);
        assert_eq!(report.policy, "built-in default");
        assert_eq!((report.mode.as_str(), report.outcomes.done), ("enforce", 3));
        let all = aws.snapshots().await;
        let mut expected = [selected.as_slice(), &unattached].concat();
        expected.push(shared.clone());
        assert_eq!(
            per_slot(&aws.ours().await),
            once_each(&expected, "daily", &slot)
        );
        for volume in [media, scratch, &unselected[0], &second.root] {
            assert!(of(&all, volume).is_empty(), "{volume} wasn't selected");
        }

        // The two of the instance at one point in time, the others left out; the rest one by one.
        let sets = aws.calls_of("CreateSnapshots").await;
        assert_eq!(sets.len(), 1, "{sets:?}");
        let request = &sets[0].parameters;
        let excluded: BTreeSet<&str> = request["InstanceSpecification"]["ExcludeDataVolumeIds"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(
            request["InstanceSpecification"]["InstanceId"],
            web.id.as_str()
        );
        assert_eq!(excluded, BTreeSet::from([media.as_str(), scratch, &shared]));
        assert_eq!(request["CopyTagsFromSource"], "volume");
        assert_eq!(aws.calls_of("CreateSnapshot").await.len(), 2);

        let (root, data) = (of(&all, &web.root)[0], of(&all, database)[0]);
        assert_eq!(root.start_time, data.start_time);
        assert_eq!(
            root.tag("ec2-guardrails:set"),
            data.tag("ec2-guardrails:set")
        );
        assert!(root.tag("ec2-guardrails:set").starts_with(&web.id));
        let devices = [
            format!("{}=/dev/sda1", web.root),
            format!("{database}=/dev/sdf"),
        ];
        for snapshot in [root, data] {
            assert_eq!(
                listed(snapshot),
                devices.iter().map(String::as_str).collect()
            );
            assert_carries(
                snapshot,
                &[
                    ("guardrail", "snapshot-volumes"),
                    ("plan", "daily"),
                    ("slot", &slots::tag(&slot)),
                    ("attempt", "1"),
                    ("instance", &web.id),
                    ("image", &image),
                    ("image-name", image_name),
                ],
            );
            let described = &snapshot.description;
            assert!(described.contains("of web"), "{described}");
        }
        assert_eq!((data.tag("Team"), data.tag("Name")), ("shop", "database"));
        assert_eq!((root.tag("Team"), root.tag("Backup")), ("", "true"));
        let spare = of(&all, &unattached[0])[0];
        assert_eq!(spare.tag("Name"), "spare");
        assert_eq!(spare.tag("ec2-guardrails:volumes"), unattached[0]);
        assert_eq!(spare.tag("ec2-guardrails:set"), "");
    })
    .await;
}

/// Incident 1: locked out of the only instance, with nothing to go back to, and not even sure
/// which system was on it.
#[tokio::test]
async fn a_locked_out_instance_comes_up_in_another_zone_from_its_snapshot() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        let image_name = "ubuntu/images/hvm-ssd/ubuntu-focal-20.04-amd64-server-20230517";
        let image = aws.image(image_name).await;
        let only = aws.instance(&image, 0).await;
        aws.tag(&only.volumes(), &[("Backup", "true")]).await;
        aws.sweep().await.succeeded();
        aws.complete_snapshots().await;
        // The owner gives up, and terminates it: the root volume goes with it.
        aws.ec2
            .terminate_instances()
            .instance_ids(&only.id)
            .send()
            .await
            .expect("the instance can be terminated");

        let snapshot = only_one(aws.ours().await);
        assert_eq!(snapshot.state, "completed");
        assert_eq!(snapshot.tag("ec2-guardrails:instance"), only.id);
        assert_eq!(snapshot.tag("ec2-guardrails:image-name"), image_name);
        assert_eq!(
            snapshot.tag("ec2-guardrails:volumes"),
            format!("{}=/dev/sda1", only.root)
        );
        let restored = aws
            .ec2
            .create_volume()
            .snapshot_id(&snapshot.snapshot_id)
            .availability_zone(OTHER_ZONE)
            .send()
            .await
            .expect("a volume can be made from it in another zone");
        let volumes = aws
            .ec2
            .describe_volumes()
            .volume_ids(restored.volume_id().unwrap_or_default())
            .send()
            .await
            .expect("the new volume is there");
        assert_eq!(volumes.volumes()[0].state(), Some(&VolumeState::Available));
        assert_eq!(volumes.volumes()[0].availability_zone(), Some(OTHER_ZONE));

        // And the snapshot of the volume that is gone stays.
        aws.sweep().await.succeeded();
        assert_eq!(aws.ours().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_slot_gets_no_second_snapshot_and_a_new_volume_is_made_up() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        let mut volumes = aws.volumes(7, &[("Backup", "true")]).await;
        for instance in aws.backed_up_instances(2, 2).await {
            volumes.extend(instance.volumes());
        }
        let slot = slots::built_in();
        assert_eq!(aws.sweep().await.succeeded().outcomes.done, 9);
        assert_eq!(
            per_slot(&aws.ours().await),
            once_each(&volumes, "daily", &slot)
        );

        // While they are pending, and when they are completed; also when AWS's pages are short
        // (EBS-7).
        for _ in 0..2 {
            let before = aws.last_call().await;
            let report = aws.sweep().await.succeeded();
            assert_eq!(report.outcomes, e2e::Outcomes::default(), "{report:?}");
            let changed = aws.changes_since(before).await;
            assert!(changed.is_empty(), "{changed:?}");
            aws.complete_snapshots().await;
            aws.shorten_pages().await;
        }

        let new = aws.volumes(1, &[("Backup", "true")]).await;
        volumes.extend(new.clone());
        let before = aws.last_call().await;
        assert_eq!(aws.sweep().await.succeeded().outcomes.done, 1);
        let mut created = aws.calls_since(before).await;
        created.retain(|call| call.operation.starts_with("Create"));
        assert_eq!(created.len(), 1, "{created:?}");
        assert_eq!(created[0].parameters["VolumeId"], new[0].as_str());
        assert_eq!(
            per_slot(&aws.ours().await),
            once_each(&volumes, "daily", &slot)
        );
    })
    .await;
}

#[tokio::test]
async fn a_volume_of_two_plans_gets_a_snapshot_for_each() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(&format!(
            "snapshot-volumes:
  plans:
    - {{ name: daily, select: {{ tag: Backup }}, schedule: '{daily}', keep: {{ last: 3 }} }}
    - name: seoul
      select: {{ tag: Backup, values: [often] }}
      schedule: '{daily}'
      timezone: Asia/Seoul
      keep: {{ last: 3 }}
",
            daily = slots::daily()
        ))
        .await;
        let often = aws.volumes(2, &[("Backup", "often")]).await;
        let seldom = aws.volumes(1, &[("Backup", "seldom")]).await;
        // AWS takes the second snapshot of a volume after 15 seconds (EBS-5).
        assert_eq!(aws.sweep().await.succeeded().outcomes.done, 3);
        aws.age_snapshots(20).await;
        let report = aws.sweep().await.succeeded();
        assert_eq!((report.outcomes.done, report.outcomes.failed), (2, 0));
        aws.age_snapshots(20).await;
        assert_eq!(aws.sweep().await.succeeded().outcomes.done, 0);

        let ours = aws.ours().await;
        assert_eq!(ours.len(), 5);
        assert!(per_slot(&ours).values().all(|count| *count == 1));
        for (plan, volumes) in [
            ("daily", [often.clone(), seldom].concat()),
            ("seoul", often),
        ] {
            let made: BTreeSet<_> = ours
                .iter()
                .filter(|s| s.tag("ec2-guardrails:plan") == plan)
                .map(|s| s.volume_id.clone())
                .collect();
            assert_eq!(made, volumes.into_iter().collect(), "{plan}");
        }
        let offsets: BTreeSet<&str> = ours
            .iter()
            .filter(|s| s.tag("ec2-guardrails:plan") == "seoul")
            .map(|s| &s.tag("ec2-guardrails:slot")[19..])
            .collect();
        assert_eq!(
            offsets,
            BTreeSet::from(["+09:00"]),
            "a slot is written in the plan's zone"
        );
        let sent = aws.calls_of("CreateSnapshot").await.len();
        assert_eq!(sent, 5, "nothing is sent that AWS would refuse");
    })
    .await;
}
