//! What goes wrong around a quarantine: it is finished by the next run, it never acts on what it
//! couldn't read, and it doesn't fight people or AWS's own services.

#![expect(
    clippy::expect_used,
    reason = "helpers outside the tests' own functions fail the test by panicking"
)]

use aws_sdk_ec2::types::IamInstanceProfileSpecification;
use e2e::{
    ATTACH_SSM_ROLE, BAD, Fault, LocalAws, QUARANTINE_LAUNCH, SNAPSHOT_VOLUMES, deployed,
    deployed_with, only_one, suspended,
};
use serde_json::json;

const APPROVE: &str = "{ owner: amazon, name: \"al2023-ami-2023.*-x86_64\" }";

async fn approve(aws: &LocalAws, mode: &str, rules: &[&str], rest: &str) {
    let rules: Vec<String> = rules.iter().map(|r| format!("    - {r}\n")).collect();
    let rules = rules.concat();
    let document = format!("quarantine-launch:\n  mode: {mode}\n  approve:\n{rules}{rest}");
    aws.put_policy(&document).await;
}

async fn mode(aws: &LocalAws, mode: &str) {
    approve(aws, mode, &[APPROVE], "").await;
}

/// Only the schedule starts it, and Lambda doesn't try a killed run again by itself.
async fn only_sweeps(aws: &LocalAws) {
    aws.deaf().await;
    aws.set(json!({ "async_retry_scale": 1000.0 })).await;
    mode(aws, "enforce").await;
}

// --- killed between any two steps ---------------------------------------------------------------

/// A sweep that is killed at the fault, then one that isn't; a release restores everything.
async fn killed_and_resumed(aws: &LocalAws, image: &str, fault: Fault, what: &str) {
    let id = aws.launch(image, |run| run).await;
    let before = aws.picture(&id).await;
    aws.clear_faults().await;
    aws.inject(fault).await;
    let request = aws.fire().await;
    aws.wait_until_idle().await;
    let run = aws.last_attempt(&request).await;
    assert_eq!(aws.fault_hits().await, [1], "{what}: {}", run.told());
    assert_eq!(run.outcome, "crash", "{what}: {}", run.told());
    aws.clear_faults().await;
    if aws.stage(&id).await.as_deref() == Some("started") {
        // Longer than a run that is under way is left in peace.
        aws.age_quarantine(&id, 60).await;
    }
    aws.sweep().await.succeeded();
    assert!(aws.is_isolated(&id).await, "{what}");
    assert_eq!(aws.stage(&id).await.as_deref(), Some("complete"), "{what}");
    assert!(aws.is_protected(&id).await, "{what}");
    assert_eq!(aws.evidence(&id).await.len(), 1, "{what}");
    let told = aws.told_of(&id).await;
    assert!(!told.is_empty(), "{what}: it is told");
    let report = aws.command("release", &[("instance-id", &id)]).await;
    assert_eq!(report.done("release"), 1, "{what}: {report:?}");
    assert_eq!(aws.picture(&id).await, before, "{what}");
    let end = aws.ec2.terminate_instances().instance_ids(&id);
    end.send().await.expect("it can be terminated");
}

/// Of the writes to the table those of such an item.
fn kill(operation: &str, nth: u32, item: &str) -> Fault {
    let fault = match operation {
        "PutItem" => Fault::on("dynamodb", operation).matching("Item.item.S", item),
        "Publish" => Fault::on("sns", operation),
        "SuspendProcesses" | "EnterStandby" => Fault::on("autoscaling", operation),
        _ => Fault::on("ec2", operation),
    };
    fault.nth(nth).times(1).carried_out_and_killed()
}

#[tokio::test]
async fn killed_while_isolating_the_next_run_finishes_it() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        only_sweeps(aws).await;
        let image = aws.bad_image().await;
        for (operation, nth) in [
            ("CreateSecurityGroup", 1),
            ("RevokeSecurityGroupEgress", 1),
            ("PutItem", 1),
            ("ModifyNetworkInterfaceAttribute", 1),
        ] {
            if operation.ends_with("Egress") {
                // As if this VPC had none yet.
                remove_isolation(aws).await;
            }
            let what = format!("{operation} {nth}");
            killed_and_resumed(aws, &image, kill(operation, nth, "quarantine#*"), &what).await;
        }
    })
    .await;
}

/// Deletes the isolation group, which nothing uses.
async fn remove_isolation(aws: &LocalAws) {
    let groups = aws.ec2.describe_security_groups().send().await;
    for group in groups.expect("security groups").security_groups() {
        if group.group_name() == Some("ec2-guardrails-quarantine") {
            let gone = aws.ec2.delete_security_group();
            let gone = gone.set_group_id(group.group_id.clone()).send().await;
            gone.expect("nothing uses it");
        }
    }
}

#[tokio::test]
async fn killed_while_protecting_or_telling_the_next_run_finishes_it() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        only_sweeps(aws).await;
        let image = aws.bad_image().await;
        // Termination protection and deletion in either order; the tags of protection and of the
        // end; what is told.
        for (operation, nth) in [
            ("ModifyInstanceAttribute", 1),
            ("ModifyInstanceAttribute", 2),
            ("CreateSnapshots", 1),
            ("PutItem", 2),
            ("Publish", 1),
        ] {
            let what = format!("{operation} {nth}");
            killed_and_resumed(aws, &image, kill(operation, nth, "quarantine#*"), &what).await;
        }
    })
    .await;
}

#[tokio::test]
async fn killed_while_a_groups_loop_is_broken_the_next_run_finishes_it() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.deaf().await;
        aws.set(json!({ "async_retry_scale": 1000.0 })).await;
        for (name, operation, nth) in [
            ("record", "PutItem", 2),
            ("suspend", "SuspendProcesses", 1),
            ("standby", "EnterStandby", 1),
        ] {
            mode(aws, "observe").await;
            let image = aws
                .image_of("amazon", &format!("{BAD}-{name}"), json!({}))
                .await;
            let group = aws.group(name, 2, &image, |group| group).await;
            let ids: Vec<String> = group.in_service().await.into_iter().map(|m| m.0).collect();
            let before = [aws.picture(&ids[0]).await, aws.picture(&ids[1]).await];
            mode(aws, "enforce").await;
            aws.clear_faults().await;
            aws.inject(kill(operation, nth, "loop#*")).await;
            aws.fire().await;
            aws.wait_until_idle().await;
            assert_eq!(aws.fault_hits().await, [1], "{operation}");
            aws.clear_faults().await;
            // Longer than a run that is under way is left in peace.
            aws.pass_seconds(60).await;
            aws.sweep().await.succeeded();
            aws.pass_seconds(30).await;
            let now = group.described().await;
            assert_eq!(suspended(&now).len(), 2, "{operation}: {now:#?}");
            assert_eq!(now.desired_capacity(), Some(0), "{operation}: {now:#?}");
            for id in &ids {
                assert!(aws.is_isolated(id).await, "{operation}");
                assert_eq!(aws.stage(id).await.as_deref(), Some("complete"));
                let report = aws.command("release", &[("instance-id", id)]).await;
                assert_eq!(report.done("release"), 1, "{operation}: {report:?}");
            }
            // What the killed run had sent may arrive for as long as a function may run.
            aws.pass_seconds(16 * 60).await;
            aws.sweep().await.succeeded();
            aws.pass_seconds(60).await;
            let now = group.described().await;
            assert!(suspended(&now).is_empty(), "{operation}: {now:#?}");
            assert_eq!(group.in_service().await.len(), 2, "{operation}");
            let after = [aws.picture(&ids[0]).await, aws.picture(&ids[1]).await];
            assert_eq!(after, before, "{operation}");
            aws.take_down(name).await;
        }
    })
    .await;
}

// --- what can't be read, what is refused --------------------------------------------------------

#[tokio::test]
async fn what_cannot_be_read_is_never_a_reason_to_quarantine() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        only_sweeps(aws).await;
        aws.retry_soon().await;
        let image = aws.bad_image().await;
        let id = aws.launch(&image, |run| run).await;
        let before = aws.picture(&id).await;
        for read in ["DescribeInstances", "DescribeImages"] {
            aws.clear_faults().await;
            aws.inject(Fault::on("ec2", read).refused("UnauthorizedOperation"))
                .await;
            let request = aws.fire().await;
            aws.wait_for_retries().await;
            let run = aws.last_attempt(&request).await;
            let (_, message) = run.failed();
            assert!(message.contains(&format!("ec2:{read}")), "{message}");
        }
        // A rule that depends on a parameter that can't be read: perhaps it approves.
        aws.clear_faults().await;
        let rule = "{ ssm-parameter: /aws/service/ami-amazon-linux-latest/nothing }";
        approve(aws, "enforce", &[APPROVE, rule], "").await;
        for _ in 0..2 {
            let report = aws.sweep().await.succeeded();
            assert_eq!(report.of("cannot-tell").count(), 1, "{report:?}");
            assert_eq!(report.metrics["LaunchesUndecided"], 1);
            let told = only_one(aws.notices().await);
            told.says(&[&id, "amazon-linux-latest/nothing"]);
        }
        assert_eq!(aws.picture(&id).await, before);
        let changes = aws.changes().await;
        assert!(changes.is_empty(), "{changes:#?}");
        assert_eq!(aws.stage(&id).await, None);
    })
    .await;
}

#[tokio::test]
async fn throttling_at_every_call_is_waited_out() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        only_sweeps(aws).await;
        let image = aws.bad_image().await;
        let id = aws.launch(&image, |run| run).await;
        let calls = [
            ("ec2", "DescribeInstances"),
            ("ec2", "DescribeImages"),
            ("ec2", "DescribeSecurityGroups"),
            ("ec2", "CreateSecurityGroup"),
            ("ec2", "RevokeSecurityGroupEgress"),
            ("ec2", "CreateTags"),
            ("ec2", "ModifyNetworkInterfaceAttribute"),
            ("ec2", "DescribeInstanceAttribute"),
            ("ec2", "ModifyInstanceAttribute"),
            ("ec2", "DescribeSnapshots"),
            ("ec2", "CreateSnapshots"),
            ("cloudtrail", "LookupEvents"),
        ];
        aws.sweep_throttled(&calls).await;
        assert!(aws.is_isolated(&id).await);
        assert_eq!(aws.stage(&id).await.as_deref(), Some("complete"));
        assert_eq!(aws.evidence(&id).await.len(), 1);
        assert_eq!(aws.told_of(&id).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_missing_permission_is_named_and_the_next_sweep_goes_on() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        only_sweeps(aws).await;
        aws.retry_soon().await;
        let image = aws.bad_image().await;
        let id = aws.launch(&image, |run| run).await;
        let before = aws.picture(&id).await;
        let operation = "ModifyNetworkInterfaceAttribute";
        aws.inject(Fault::on("ec2", operation).refused("UnauthorizedOperation"))
            .await;
        let request = aws.fire().await;
        aws.wait_for_retries().await;
        let first = aws.attempts(&request).await.remove(0);
        let (kind, message) = first.failed();
        assert_eq!(kind, "ActionsFailed");
        for part in [operation, "UnauthorizedOperation", &id] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert_eq!(aws.stage(&id).await.as_deref(), Some("started"));
        aws.clear_faults().await;
        aws.age_quarantine(&id, 60).await;
        aws.sweep().await.succeeded();
        assert!(aws.is_isolated(&id).await);
        assert_eq!(aws.stage(&id).await.as_deref(), Some("complete"));
        aws.command("release", &[("instance-id", &id)]).await;
        assert_eq!(aws.picture(&id).await, before);
    })
    .await;
}

// --- people and services ------------------------------------------------------------------------

#[tokio::test]
async fn groups_changed_by_hand_are_put_right_once_and_then_only_told() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        only_sweeps(aws).await;
        let image = aws.bad_image().await;
        let id = aws.launch(&image, |run| run).await;
        let groups = aws.groups_of(&id).await;
        let (interface, open) = groups.first_key_value().expect("an interface");
        aws.sweep().await.succeeded();
        assert!(aws.is_isolated(&id).await);
        let reopen = async || {
            let modify = aws.ec2.modify_network_interface_attribute();
            let modify = modify.network_interface_id(interface);
            let modify = modify.set_groups(Some(open.clone())).send().await;
            modify.expect("a person may change it");
        };
        reopen().await;
        aws.age_quarantine(&id, 300).await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("isolate-again"), 1, "{report:?}");
        assert!(aws.is_isolated(&id).await);
        let told = aws.notices().await;
        assert_eq!(told.len(), 2, "{told:#?}");
        told[1].says(&[&id, "changed by hand", "isolated again"]);

        reopen().await;
        aws.age_quarantine(&id, 300).await;
        let changes = aws.calls_of("ModifyNetworkInterfaceAttribute").await.len();
        for _ in 0..2 {
            let report = aws.sweep().await.succeeded();
            assert_eq!(report.outcomes.done, 0, "{report:?}");
            assert_eq!(report.metrics["InstancesDrifted"], 1);
            assert_eq!(aws.groups_of(&id).await, groups, "it doesn't fight");
            let told = aws.notices().await;
            assert_eq!(told.len(), 3, "{told:#?}");
            told[2].says(&[&id, "NOT isolated"]);
        }
        let now = aws.calls_of("ModifyNetworkInterfaceAttribute").await.len();
        assert_eq!(now, changes);
    })
    .await;
}

/// AMI-5: a new security group lets everything out, in a VPC with IPv6 by that too; and somebody may
/// open one that was bare.
#[tokio::test]
async fn the_isolation_group_is_emptied_whatever_it_lets_through() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        only_sweeps(aws).await;
        let vpc = aws.private_vpc().await;
        vpc.ipv6_out().await;
        let image = aws.bad_image().await;
        let launch = async || aws.launch(&image, |run| run.subnet_id(&vpc.subnet)).await;
        let first = launch().await;
        aws.sweep().await.succeeded();
        assert!(aws.is_isolated(&first).await);
        let group = aws.isolation_of(&vpc.id).await.and_then(|g| g.group_id);
        vpc.open(&group.expect("an isolation group has an id"))
            .await;
        assert!(!aws.is_isolated(&first).await);

        let second = launch().await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("quarantine"), 1, "{report:?}");
        assert!(aws.is_isolated(&first).await && aws.is_isolated(&second).await);
    })
    .await;
}

/// AMI-5, AMI-8: what AWS's own services manage can't be changed, and that is said.
#[tokio::test]
async fn partial_isolation_is_reported_as_partial() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        only_sweeps(aws).await;
        let image = aws.bad_image().await;
        let mixed = aws.launch(&image, |run| run).await;
        let managed = aws.managed_interface(&mixed).await;
        let node = aws.launch(&image, |run| run).await;
        aws.operate(&node, "eks.amazonaws.com").await;
        let before = aws.picture(&node).await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("quarantine"), 1, "{report:?}");
        assert_eq!(aws.stage(&mixed).await.as_deref(), Some("partial"));
        assert!(!aws.is_isolated(&mixed).await);
        let vpc = aws.described(&mixed).await.vpc_id.unwrap_or_default();
        let isolation = aws.isolation_of(&vpc).await.and_then(|g| g.group_id);
        for (interface, groups) in aws.groups_of(&mixed).await {
            let isolated = Some(&groups[0]) == isolation.as_ref() && groups.len() == 1;
            assert_eq!(isolated, interface != managed, "{interface}: {groups:?}");
        }
        assert_eq!(report.metrics["InstancesPartlyIsolated"], 2, "{report:?}");
        let told = aws.notices().await;
        let all: String = told.iter().map(|n| n.message.as_str()).collect();
        for part in [mixed.as_str(), &managed, &node, "eks.amazonaws.com"] {
            assert!(all.contains(part), "{part}: {told:#?}");
        }
        assert_eq!(aws.picture(&node).await, before, "left alone");
        assert_eq!(aws.stage(&node).await, None);
        let told = told.len();
        aws.sweep().await.succeeded();
        assert_eq!(aws.notices().await.len(), told, "told once");
    })
    .await;
}

/// The other guardrails see the quarantine: no profile is given, and no evidence is pruned.
#[tokio::test]
async fn evidence_is_never_pruned_and_no_profile_is_attached() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        only_sweeps(aws).await;
        let more = "snapshot-volumes:\n  mode: enforce\n  plans:\n    - { name: daily, select: { all: true }, schedule: \"0 * * * *\", keep: { last: 1 } }\nattach-ssm-role:\n  mode: enforce\n";
        approve(aws, "enforce", &[APPROVE], more).await;
        let image = aws.bad_image().await;
        let id = aws.launch(&image, |run| run).await;
        aws.sweep().await.succeeded();
        let evidence = aws.evidence(&id).await;
        assert_eq!(evidence.len(), 1);
        aws.complete_snapshots().await;
        let volume = evidence[0].volume_id.clone();
        for _ in 0..3 {
            // Months.
            aws.age_snapshots(40 * 24 * 3600).await;
            aws.sweep_of(SNAPSHOT_VOLUMES).await.succeeded();
            aws.complete_snapshots().await;
        }
        let kept = aws.evidence(&id).await;
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert_eq!(kept[0].snapshot_id, evidence[0].snapshot_id);
        let others = aws.snapshots().await;
        let others = others.iter().filter(|s| s.volume_id == volume);
        assert!(others.count() > 1, "snapshot-volumes goes on with it");
        aws.sweep_of(ATTACH_SSM_ROLE).await.succeeded();
        assert_eq!(aws.profile_of(&id).await, None);
    })
    .await;
}

// --- which AMIs ---------------------------------------------------------------------------------

/// AMI-2: gone from `DescribeImages` is no proof of anything.
#[tokio::test]
async fn private_deregistered_and_copied_images_are_judged_by_what_they_are() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        only_sweeps(aws).await;
        let rules = ["{ owner: self, name: \"golden-*\" }", "{ derived: true }"];
        approve(aws, "enforce", &rules, "").await;
        let own = |name: &'static str, with| aws.image_of("self", name, with);
        let golden = own("golden-1", json!({})).await;
        let gone = own("golden-2", json!({})).await;
        let copy = own("web-1", json!({ "source_image_id": golden })).await;
        let stranger = aws
            .image_of("999988887777", "golden-3", json!({ "public": true }))
            .await;
        let hidden = aws
            .image_of("999988887777", "golden-5", json!({ "public": true }))
            .await;
        let stolen = own("web-2", json!({ "source_image_id": hidden })).await;
        let open = aws
            .image_of("999988887777", "golden-4", json!({ "public": true }))
            .await;
        let taken = own("web-3", json!({ "source_image_id": open })).await;
        let mut launched = Vec::new();
        for image in [&golden, &gone, &copy, &stranger, &taken, &stolen] {
            launched.push(aws.launch(image, |run| run).await);
        }
        aws.deregister(&gone).await;
        aws.make_private(&stranger).await;
        aws.make_private(&hidden).await;
        aws.sweep().await.succeeded();
        for id in &launched[..3] {
            assert_eq!(aws.stage(id).await, None, "approved");
        }
        for id in &launched[3..5] {
            assert!(aws.is_isolated(id).await, "unapproved");
        }
        // What can't be described any more, and no instance runs from: nobody can tell whose it was.
        assert_eq!(aws.stage(&launched[5]).await, None, "unknown");
        let told = aws.notices().await;
        let told = told.iter().find(|n| n.message.contains(&launched[5]));
        told.expect("it is told")
            .says(&["can't be told", &stranger]);
        // Its name and owner are told though nobody can describe it any more.
        only_one(aws.told_of(&launched[3]).await).says(&[
            "golden-3",
            "999988887777",
            "no longer visible",
        ]);
    })
    .await;
}

/// An AMI may be approved for those instances only that have a certain role.
#[tokio::test]
async fn a_rule_may_hold_for_a_role_only() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        only_sweeps(aws).await;
        let rule = "{ owner: amazon, name: \"al2023-ami-ecs-*\", scope: { role: cluster } }";
        approve(aws, "enforce", &[rule], "").await;
        let image = aws.bad_image().await;
        let mut launched = Vec::new();
        for name in ["cluster", "web"] {
            let profile = IamInstanceProfileSpecification::builder();
            let profile = profile.arn(aws.profile(name, &[]).await).build();
            let launch = aws.launch(&image, |run| run.iam_instance_profile(profile));
            launched.push(launch.await);
        }
        aws.sweep().await.succeeded();
        assert_eq!(aws.stage(&launched[0]).await, None, "approved");
        assert!(aws.is_isolated(&launched[1]).await);
    })
    .await;
}

#[tokio::test]
async fn deny_wins_exempt_is_left_alone_and_broad_rules_are_warned_of() {
    let own = [(
        "ImageParameterArns",
        "arn:aws:ssm:eu-central-1:123456789012:parameter/golden/ami",
    )];
    deployed_with(QUARANTINE_LAUNCH, &own, async |aws| {
        only_sweeps(aws).await;
        let good = aws.good_image().await;
        let ecs = aws.bad_image().await;
        let broad = "{ owner: amazon, name: \"al2023-ami-*-x86_64\" }";
        approve(aws, "enforce", &[broad], "").await;
        let let_in = aws.launch(&ecs, |run| run).await;
        aws.sweep().await.succeeded();
        assert_eq!(aws.stage(&let_in).await, None, "as incident 3's pattern");
        let told = only_one(aws.notices().await);
        told.says(&["al2023-ami-*-x86_64", "ecs", "neuron", "minimal"]);

        let deny = "  deny:\n    - { name: \"*-ecs-*\" }\n  exempt: { tag: Lab }\n";
        approve(aws, "enforce", &[broad], deny).await;
        let fine = aws.launch(&good, |run| run).await;
        let lab = LocalAws::instance_tags("Lab", "yes");
        let exempt = aws.launch(&ecs, |run| run.tag_specifications(lab)).await;
        aws.sweep().await.succeeded();
        assert!(aws.is_isolated(&let_in).await, "deny wins");
        let told = aws.told_of(&let_in).await;
        told[0].says(&["the deny rule", "*-ecs-*"]);
        for id in [&fine, &exempt] {
            assert_eq!(aws.stage(id).await, None);
        }

        // What an SSM parameter names, and what it named before, for the grace period.
        let own = "/golden/ami";
        aws.parameter(own, &ecs).await;
        let rules = ["{ ssm-parameter: /golden/ami, grace: 7d }"];
        approve(aws, "enforce", &rules, "").await;
        let report = aws.command("check", &[("image-id", &ecs)]).await;
        assert_eq!(report.detail["verdict"], "approved", "{report:?}");
        aws.parameter(own, &good).await;
        for image in [&ecs, &good] {
            let report = aws.command("check", &[("image-id", image)]).await;
            assert_eq!(report.detail["verdict"], "approved", "{report:?}");
        }

        // The rule that was too broad is gone.
        aws.sweep().await.succeeded();
        let told = aws.notices().await.pop().expect("it is told");
        assert!(told.subject.contains("Resolved"), "{told:#?}");
    })
    .await;
}
