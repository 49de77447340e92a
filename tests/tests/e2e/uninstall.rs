//! What a deleted stack would leave is listed before it is too late, by `docs/uninstall_check.py`.

#![expect(
    clippy::panic,
    reason = "helpers outside the tests' own functions fail the test by panicking"
)]

use e2e::{Group, LocalAws, QUARANTINE_LAUNCH, Seed, deployed, slots, suspended};
use serde_json::json;

const POLICY: &str = "quarantine-launch:
  mode: enforce
  approve:
    - { owner: amazon, name: \"al2023-ami-2023.*-x86_64\" }
";

/// A group whose bad instances are replaced for ever, until its loop is broken.
async fn looping<'a>(aws: &'a LocalAws, name: &'a str, image: &str) -> Group<'a> {
    let group = aws.group(name, 0, image, |group| group).await;
    aws.behaves(image, json!({ "healthy": false, "check": "ec2" }))
        .await;
    aws.resize(name, 1, 1).await;
    for _ in 0..20 {
        if !suspended(&group.described().await).is_empty() {
            return group;
        }
        aws.pass_seconds(15).await;
    }
    panic!("its loop goes on");
}

#[tokio::test]
async fn what_has_to_be_done_before_and_what_stays_is_listed() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        let (status, said) = aws.script("uninstall_check.py", &[]);
        assert_eq!(status, Some(0), "nothing was done yet: {said}");
        let profile = aws.stack_profile().await;
        assert!(said.contains(&profile), "{said}");
        assert!(!said.contains("BEFORE"), "{said}");

        aws.put_policy(POLICY).await;
        let volumes = aws.volumes(1, &[]).await;
        let snapshots = aws
            .seed([Seed::ours(&volumes[0], "daily", &slots::latest())])
            .await;
        let good = aws.good_image().await;
        let bad = aws.bad_image().await;
        let managed = aws.launch(&good, |run| run).await;
        assert_eq!(aws.profile_of(&managed).await, Some(profile));
        let held = aws.launch(&bad, |run| run).await;
        assert!(aws.is_isolated(&held).await);
        let group = looping(aws, "shop", &bad).await;

        let table = aws.state_table().await;
        let before = aws.calls_of_people().await.len();
        let (status, said) = aws.script("uninstall_check.py", &[]);
        let calls = aws.calls_of_people().await.split_off(before);
        assert!(calls.len() > 6, "{calls:?}");
        assert!(calls.iter().all(e2e::Call::only_reads), "{calls:?}");
        assert_eq!(status, Some(2), "{said}");
        for part in [
            "BEFORE",
            &held,
            "shop: Launch, ReplaceUnhealthy",
            "\"command\": \"release\"",
            "ec2-guardrails-quarantine-launch --qualifier operator",
            &managed,
            &snapshots[0],
            "of volumes of",
            "evidence snapshots",
            &table,
            "Don't delete the stack yet",
        ] {
            assert!(said.contains(part), "{part} isn't in\n{said}");
        }
        let evidence = aws.evidence(&held).await;
        assert!(said.contains(&evidence[0].snapshot_id), "{said}");
        let isolation = aws.described(&held).await.vpc_id.expect("a VPC");
        let isolation = aws.isolation_of(&isolation).await.expect("it is isolated");
        assert!(
            said.contains(isolation.group_id().expect("an id")),
            "{said}"
        );

        // As it says.
        let right = group.version(&good).await;
        group.set_version(&right).await;
        aws.command("release", &[("group", "shop")]).await;
        aws.command("release", &[("instance-id", &held)]).await;
        aws.resize("shop", 0, 0).await;
        aws.pass_seconds(300).await;
        let (status, said) = aws.script("uninstall_check.py", &[]);
        assert_eq!(status, Some(0), "{said}");
        assert!(!said.contains("BEFORE"), "{said}");
    })
    .await;
}

/// A read that fails is no "nothing".
#[tokio::test]
async fn what_cannot_be_read_is_no_leave_to_delete() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        let table = aws.state_table().await;
        let gone = aws.dynamodb.delete_table().table_name(&table);
        gone.send().await.expect("the table is there");
        let (status, said) = aws.script("uninstall_check.py", &[]);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains("isn't all"), "{said}");
        assert!(!said.contains("Nothing has to be done"), "{said}");
    })
    .await;
}
