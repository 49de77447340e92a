//! What somebody can do who may only tag (`ec2:CreateTags`, `autoscaling:CreateOrUpdateTags`), or copy
//! tags without meaning to: nothing but be reported.

#![expect(
    clippy::expect_used,
    reason = "helpers outside the tests' own functions fail the test by panicking"
)]

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{InstanceType, ResourceType, Tag, TagSpecification};
use e2e::{
    ATTACH_SSM_ROLE, CANCEL_REFRESH, LocalAws, QUARANTINE_LAUNCH, SNAPSHOT_VOLUMES, Seed, deployed,
    deployed_with, slots,
};
use serde_json::json;

const POLICY: &str = "quarantine-launch:
  mode: enforce
  approve:
    - { owner: amazon, name: \"al2023-ami-2023.*-x86_64\" }
";

async fn launch(aws: &LocalAws, image: &str, tags: &[(&str, &str)]) -> String {
    let tags = tags
        .iter()
        .map(|(key, value)| Tag::builder().key(*key).value(*value).build());
    let given = TagSpecification::builder()
        .resource_type(ResourceType::Instance)
        .set_tags(Some(tags.collect()))
        .build();
    let run = aws
        .ec2
        .run_instances()
        .image_id(image)
        .min_count(1)
        .max_count(1);
    let run = run
        .instance_type(InstanceType::T3Micro)
        .set_tag_specifications((!given.tags().is_empty()).then(|| vec![given]));
    let run = run.send().await.expect("it is launched");
    aws.wait_until_idle().await;
    run.instances()[0].instance_id().expect("an id").to_owned()
}

/// Our tags as a quarantine, begun or finished, may have left them on an instance.
fn planted(stage: &str, interface: &str, group: &str) -> Vec<(String, String)> {
    [
        (
            "ec2-guardrails:quarantined",
            format!("{stage} 2026-11-21T03:00:00Z run-1"),
        ),
        (
            "ec2-guardrails:quarantine-reason",
            "no rule approves its AMI".to_owned(),
        ),
        (
            "ec2-guardrails:quarantine-disks",
            "/dev/sda1=delete".to_owned(),
        ),
        ("ec2-guardrails:quarantine-protection", "off".to_owned()),
        (
            "ec2-guardrails:quarantine-profile",
            "arn:aws:iam::123456789012:instance-profile/admin".to_owned(),
        ),
        (
            "ec2-guardrails:quarantine-service",
            "detached web".to_owned(),
        ),
        (
            "ec2-guardrails:quarantine-stopped",
            "2026-11-21T03:00:00Z".to_owned(),
        ),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .chain([(
        format!("ec2-guardrails:quarantine-groups-{interface}"),
        group.to_owned(),
    )])
    .collect()
}

async fn plant(aws: &LocalAws, instance: &str, stage: &str) {
    let groups = aws.groups_of(instance).await;
    let (interface, group) = groups.iter().next().expect("it has an interface");
    let tags = planted(stage, interface, &group.join(" "));
    let tags: Vec<(&str, &str)> = tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    aws.tag(&[instance], &tags).await;
}

/// An instance of one's own, tagged as one that is being released: no sweep may give it the security
/// groups, the instance profile or the group membership that its tags speak of. And a production
/// instance tagged as a quarantine begun, or as one whose groups were changed: it isn't isolated.
#[tokio::test]
async fn tags_of_a_quarantine_that_never_was_do_nothing() {
    // Also where a release may give profiles back.
    let restores = [(
        "RestoreProfileRoleArns",
        "arn:aws:iam::123456789012:role/admin",
    )];
    deployed_with(QUARANTINE_LAUNCH, &restores, async |aws| {
        aws.put_policy(POLICY).await;
        let image = aws.good_image().await;
        let mut pictures = BTreeMap::new();
        for stage in ["releasing", "started", "partial", "complete", "anything"] {
            let instance = launch(aws, &image, &[]).await;
            plant(aws, &instance, stage).await;
            pictures.insert(instance.clone(), aws.picture(&instance).await);
        }
        let before = aws.last_call().await;
        for _ in 0..2 {
            aws.sweep().await.succeeded();
        }
        aws.pass_seconds(600).await;
        aws.sweep().await.succeeded();
        for (instance, picture) in &pictures {
            assert_eq!(aws.picture(instance).await, *picture, "{instance}");
            assert_eq!(aws.memory(&format!("quarantine#{instance}")).await, None);
        }
        let changed = aws.changes_since(before).await;
        assert!(changed.is_empty(), "{changed:?}");
    })
    .await;
}

/// A tag put on at launch says nothing of approval or release.
#[tokio::test]
async fn an_instance_cannot_be_launched_as_released_or_approved() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.put_policy(POLICY).await;
        let image = aws.bad_image().await;
        for tags in [
            [("ec2-guardrails:released-image", image.as_str())],
            [("ec2-guardrails:approved-by", "owner amazon")],
            [(
                "ec2-guardrails:quarantined",
                "releasing 2026-11-21T03:00:00Z",
            )],
            [(
                "ec2-guardrails:quarantined",
                "complete 2026-11-21T03:00:00Z",
            )],
        ] {
            let instance = launch(aws, &image, &tags).await;
            aws.sweep().await.succeeded();
            assert!(aws.is_isolated(&instance).await, "{tags:?}");
        }
    })
    .await;
}

/// "Launch more like this", MGN and Terraform copy tags: those of a finished quarantine on another
/// instance are nobody's quarantine, and a release by them gives no profile and no membership.
#[tokio::test]
async fn a_copy_of_a_quarantines_tags_is_not_in_quarantine_and_is_released_on_explicit_order_only()
{
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.put_policy(POLICY).await;
        let bad = aws.bad_image().await;
        let first = launch(aws, &bad, &[]).await;
        assert!(aws.is_isolated(&first).await);
        let labels = aws.our_tags(&first).await;
        assert!(!labels.is_empty(), "people see in the console what it is");

        let good = aws.good_image().await;
        let copy = launch(aws, &good, &[]).await;
        plant(aws, &copy, "complete").await;
        let picture = aws.picture(&copy).await;
        aws.sweep().await.succeeded();
        assert_eq!(aws.picture(&copy).await, picture);

        // Without the explicit word a release answers what it would do.
        let before = aws.last_call().await;
        let order = json!({"trigger": "command", "command": "release", "instance-id": copy});
        aws.invoke(order.clone()).await;
        assert!(aws.changes_since(before).await.is_empty());
        let mut order = order;
        order["from-labels"] = true.into();
        aws.invoke(order).await.succeeded();
        let calls = aws.calls_since(before).await;
        for refused in [
            "AssociateIamInstanceProfile",
            "AttachInstances",
            "ExitStandby",
            "StartInstances",
        ] {
            assert!(
                calls.iter().all(|call| call.operation != refused),
                "{refused}"
            );
        }
    })
    .await;
}

/// Somebody who may tag and not delete has no foreign snapshot deleted: not by tags that make it look
/// like one of ours, nor by a slot in the future that makes all real ones look old.
#[tokio::test]
async fn no_tag_makes_a_foreign_snapshot_go_nor_ours_look_old() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        let plan = "name: daily, select: { tag: Backup }";
        let policy = format!(
            "snapshot-volumes:\n  plans:\n    - {{ {plan}, schedule: '{}', keep: {{ within: 14d }} }}\n  brake: {{ percent: 100 }}\n",
            slots::daily()
        );
        aws.put_policy(&policy).await;
        let volume = aws.volumes(1, &[("Backup", "true")]).await.remove(0);
        let history = (0..10).map(|day| Seed::ours(&volume, "daily", &slots::days_ago(day)));
        aws.seed(history).await;
        // By hand, years ago, and tagged to the letter as one of ours.
        let old = slots::days_ago(900);
        let forged = Seed::ours(&volume, "daily", &old).described("before the upgrade");
        let foreign = aws.seed([forged]).await.remove(0);
        // One of ours whose slot was edited.
        let newest = aws.ours().await.iter().map(|s| s.snapshot_id.clone()).max();
        let edited = newest.expect("there are some");
        aws.tag(&[&edited], &[("ec2-guardrails:slot", "2099-01-01T00:00:00Z")]).await;

        let before: Vec<String> = aws.snapshots().await.into_iter().map(|s| s.snapshot_id).collect();
        aws.sweep().await.succeeded();
        aws.complete_snapshots().await;
        aws.sweep().await.succeeded();
        let after: Vec<String> = aws.snapshots().await.into_iter().map(|s| s.snapshot_id).collect();
        for id in &before {
            assert!(after.contains(id), "{id} is gone; {foreign} is foreign, {edited} edited");
        }
        assert!(aws.calls_of("DeleteSnapshot").await.is_empty());
    })
    .await;
}

/// Nobody hides an instance from attach-ssm-role by the tags of a quarantine, and none is taken for
/// attached by its tag.
#[tokio::test]
async fn a_tag_keeps_no_instance_from_its_profile() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        let image = aws.image("ours").await;
        let instance = aws.instance(&image, 0).await.id;
        aws.tag(
            &[&instance],
            &[
                (
                    "ec2-guardrails:quarantined",
                    "complete 2026-11-21T03:00:00Z",
                ),
                (
                    "ec2-guardrails:managed-node",
                    "attached 2026-11-21T03:00:00Z",
                ),
            ],
        )
        .await;
        aws.wait_until_idle().await;
        aws.sweep().await.succeeded();
        assert!(aws.profile_of(&instance).await.is_some());
    })
    .await;
}

/// A group tagged as one whose refresh another run stops, or has stopped, is judged all the same.
#[tokio::test]
async fn a_tag_is_no_claim_to_a_refresh() {
    deployed(CANCEL_REFRESH, async |aws| {
        aws.alone().await;
        let image = aws.image("web-1").await;
        let group = aws.group("web", 4, &image, |group| group).await;
        let bad = aws.image("web-2").await;
        let version = group.version(&bad).await;
        let id = group.start_refresh(Some(&version), |p| p).await;
        let now = slots::tag(&slots::days_ago(0));
        for step in ["cancel", "cancelled"] {
            let claim = format!("{id} {step} {now} another-run");
            group.tag_group(&[("ec2-guardrails:refresh", &claim)]).await;
        }
        aws.deregister(&bad).await;
        group.seconds_until("RollbackInProgress", 600).await;
    })
    .await;
}
