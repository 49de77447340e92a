//! A wrong rule isolates no fleet, and what an instance in quarantine leaves behind cuts nobody off.

use aws_sdk_ec2::types::{AttributeBooleanValue, InstanceNetworkInterfaceSpecification};
use e2e::{LocalAws, QUARANTINE_LAUNCH, deployed, only_one};

const RIGHT: &str = "{ owner: amazon, name: \"al2023-ami-2023.*-x86_64\" }";
/// It was meant to let more in, and lets nothing in.
const WRONG: &str = "{ owner: self, name: \"golden-*\" }";

async fn approve(aws: &LocalAws, rule: &str) {
    let document = format!("quarantine-launch:\n  mode: enforce\n  approve:\n    - {rule}\n");
    aws.put_policy(&document).await;
}

#[tokio::test]
async fn a_wrong_rule_isolates_no_fleet_until_a_person_confirms_it() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.deaf().await;
        approve(aws, WRONG).await;
        let image = aws.good_image().await;
        let mut ids = Vec::new();
        for _ in 0..12 {
            ids.push(aws.launch(&image, |run| run).await);
        }
        let before = aws.picture(&ids[0]).await;
        for _ in 0..2 {
            let report = aws.sweep().await.succeeded();
            assert_eq!(report.done("quarantine"), 0, "{report:?}");
            assert_eq!(report.metrics["LaunchesUnapproved"], 12);
            let told = only_one(aws.notices().await);
            told.says(&["12 unapproved launches are held back", "confirm"]);
        }
        let changes = aws.changes().await;
        assert!(changes.is_empty(), "{changes:#?}");

        // As many as the person knows of, and no more.
        let report = aws.command("confirm", &[("instances", "11")]).await;
        assert_eq!(report.done("quarantine"), 0, "{report:?}");
        let report = aws.command("confirm", &[("instances", "12")]).await;
        assert_eq!(report.done("quarantine"), 12, "{report:?}");
        for id in &ids {
            assert!(aws.is_isolated(id).await, "{id}");
        }
        let list = aws.command("list", &[]).await.detail;
        let held = list["quarantine"].as_array().expect("a list");
        assert_eq!(held.len(), 12);
        assert!(held.iter().all(|one| one["isolated"] == true), "{list:#}");

        // The rule is corrected, and everything is as it was.
        approve(aws, RIGHT).await;
        let report = aws.command("release", &[("instance-id", &ids[0])]).await;
        assert_eq!(report.done("release"), 1, "{report:?}");
        assert_eq!(aws.picture(&ids[0]).await, before);
        let week = aws.command("launches", &[]).await.detail;
        assert_eq!(week["not-approved"][0]["launches"], 12, "{week:#}");
    })
    .await;
}

#[tokio::test]
async fn an_interface_that_outlives_its_instance_gets_its_groups_back() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.deaf().await;
        approve(aws, RIGHT).await;
        let image = aws.bad_image().await;
        let kept = InstanceNetworkInterfaceSpecification::builder()
            .device_index(0)
            .delete_on_termination(false)
            .build();
        let id = aws.launch(&image, |run| run.network_interfaces(kept)).await;
        let groups = aws.groups_of(&id).await;
        let (interface, before) = groups.first_key_value().expect("an interface");
        aws.sweep().await.succeeded();
        assert!(aws.is_isolated(&id).await);

        let off = AttributeBooleanValue::builder().value(false).build();
        let unprotect = aws.ec2.modify_instance_attribute().instance_id(&id);
        let unprotect = unprotect.disable_api_termination(off).send().await;
        unprotect.expect("termination protection off");
        let end = aws.ec2.terminate_instances().instance_ids(&id).send().await;
        end.expect("it can be terminated");
        aws.pass_seconds(120).await;
        let report = aws.command("release", &[("instance-id", &id)]).await;
        assert_eq!(report.done("forget"), 1, "{report:?}");
        let left = aws.ec2.describe_network_interfaces();
        let left = left.network_interface_ids(interface).send().await;
        let left = left.expect("it outlives the instance");
        let now = left.network_interfaces()[0].groups().iter();
        let now: Vec<String> = now.filter_map(|group| group.group_id.clone()).collect();
        assert_eq!(&now, before);
        assert_eq!(aws.stage(&id).await, None);
    })
    .await;
}
