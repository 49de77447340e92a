//! What quarantine-launch is for: incident 3's loops end, what is approved is never touched, and all
//! that is done can be undone.

#![expect(
    clippy::expect_used,
    reason = "helpers outside the tests' own functions fail the test by panicking"
)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, InstanceNetworkInterfaceSpecification, InstanceType,
};
use e2e::{BAD, Group, LocalAws, QUARANTINE_LAUNCH, Report, Run, deployed, only_one, suspended};
use serde_json::json;

const APPROVE: &str = "  approve:\n    - { owner: amazon, name: \"al2023-ami-2023.*-x86_64\" }\n";

fn policy(mode: &str) -> String {
    format!("quarantine-launch:\n  mode: {mode}\n{APPROVE}")
}

async fn mode(aws: &LocalAws, mode: &str) {
    aws.put_policy(&policy(mode)).await;
}

/// Waits until so many runs were started by rules, and have ended.
async fn runs_by_rule(aws: &LocalAws, wanted: usize) -> Vec<Run> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        aws.wait_until_idle().await;
        let runs = aws.runs_by_rule().await;
        if runs.len() >= wanted {
            return runs;
        }
        assert!(Instant::now() < until, "only {} events", runs.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

// --- incident 3 ---------------------------------------------------------------------------------

/// A group whose instances don't do what they are for, are found unhealthy, and are replaced.
async fn shop<'a>(aws: &'a LocalAws, name: &'a str, image: &str) -> Group<'a> {
    let group = aws.group(name, 0, image, |group| group).await;
    aws.behaves(image, json!({ "healthy": false, "check": "ec2" }))
        .await;
    aws.resize(name, 1, 1).await;
    group
}

#[tokio::test]
async fn a_group_that_launches_the_wrong_image_for_ever_is_stopped_at_the_second_launch() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.alone().await;
        let image = aws.bad_image().await;
        // As it was: the loop really loops.
        mode(aws, "observe").await;
        shop(aws, "before", &image).await;
        aws.pass_seconds(300).await;
        let five_minutes = aws.launched_by("before").await;
        aws.pass_seconds(300).await;
        let ten_minutes = aws.launched_by("before").await;
        println!("without: {five_minutes} launches in 5 minutes, {ten_minutes} in 10");
        assert!(five_minutes >= 4 && ten_minutes >= five_minutes + 4);
        let report = aws.sweep().await.succeeded();
        assert!(report.of("break-loop").any(|e| e.outcome == "would-do"));
        assert!(report.of("quarantine").any(|e| e.outcome == "would-do"));
        assert!(aws.changes().await.is_empty(), "{:?}", aws.changes().await);
        aws.take_down("before").await;

        // With the guardrail.
        mode(aws, "enforce").await;
        let group = shop(aws, "shop", &image).await;
        for _ in 0..10 {
            if !suspended(&group.described().await).is_empty() {
                break;
            }
            aws.pass_seconds(15).await;
        }
        // Within a minute of a notice an event sends none; the sweep tells the rest.
        aws.sweep().await.succeeded();
        let both: BTreeSet<String> = ["Launch", "ReplaceUnhealthy"].map(str::to_owned).into();
        assert_eq!(suspended(&group.described().await), both);
        assert_eq!(aws.launched_by("shop").await, 2, "the default threshold");
        for _ in 0..3 {
            aws.pass_seconds(100).await;
        }
        aws.sweep().await.succeeded();
        assert_eq!(aws.launched_by("shop").await, 2, "and not one more");
        let kept = group.described().await.instances()[0].clone();
        let kept = kept.instance_id().expect("the second one is still there");
        assert!(aws.is_isolated(kept).await);
        let told = aws.notices().await;
        let looping = told.iter().find(|n| n.message.contains("in a loop"));
        looping
            .expect("the loop is told")
            .says(&["shop", kept, "are suspended"]);
        let told = only_one(aws.told_of(kept).await);
        // Who is behind a group's launches: whoever made it or changed it last.
        told.says(&[&image, BAD, "Auto Scaling group shop", "user/admin"]);

        // Corrected and released, the group runs again.
        let right = group.version(&aws.good_image().await).await;
        group.set_version(&right).await;
        let report = aws.command("release", &[("group", "shop")]).await;
        assert_eq!(report.done("restore-group"), 1, "{report:?}");
        assert!(suspended(&group.described().await).is_empty());
        aws.age_quarantine(kept, 60).await;
        for _ in 0..4 {
            aws.pass_seconds(60).await;
        }
        let serving = group.in_service().await;
        assert_eq!(serving.len(), 1, "{serving:?}");
        assert_eq!(serving[0].1, right);
        assert!(suspended(&group.described().await).is_empty());
    })
    .await;
}

/// CloudTrail showed `RunInstances` again and again by user admin-02.
#[tokio::test]
async fn a_person_or_fleet_that_launches_again_and_again_is_named_and_each_launch_isolated() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.alone().await;
        let image = aws.bad_image().await;
        let person = aws.as_user("admin-02").await;
        let launch = async || {
            aws.a_minute_after_the_last_notice().await;
            let run = person.run_instances().image_id(&image);
            let run = run.instance_type(InstanceType::T3Micro);
            let run = run.min_count(1).max_count(1).send().await;
            let run = run.expect("it is launched");
            aws.wait_until_idle().await;
            let id = run.instances()[0].instance_id().unwrap_or_default();
            id.to_owned()
        };
        mode(aws, "observe").await;
        let before = launch().await;
        assert!(aws.our_tags(&before).await.is_empty());
        let end = aws.ec2.terminate_instances().instance_ids(&before);
        end.send().await.expect("it can be terminated");
        mode(aws, "enforce").await;
        for number in 1..=3 {
            let id = launch().await;
            assert!(aws.is_isolated(&id).await, "launch {number}");
            assert_eq!(aws.stage(&id).await.as_deref(), Some("complete"));
            // What comes within a minute of a notice, the sweep tells.
            aws.sweep().await.succeeded();
            let told = only_one(aws.told_of(&id).await);
            let nearest = "owner amazon, name al2023-ami-2023.*-x86_64";
            told.says(&["user/admin-02", &image, BAD, "amazon", nearest, "release"]);
            let loops = aws.notices().await;
            let loops = loops.iter().filter(|n| n.message.contains("in a loop"));
            assert_eq!(loops.count() > 0, number > 1, "from the second on");
        }

        let (first, fleet) = aws.fleet_launch(&image, None).await;
        let (second, _) = aws.fleet_launch(&image, Some(&fleet)).await;
        for id in [&first, &second] {
            assert!(aws.is_isolated(id).await);
        }
        aws.sweep().await.succeeded();
        let told = aws.notices().await;
        let told = told.iter().find(|n| n.message.contains(&fleet));
        told.expect("the fleet is named").says(&[&first, &second]);
        aws.sweep().await.succeeded();
        let told = aws.notices().await.len();
        aws.sweep().await.succeeded();
        assert_eq!(aws.notices().await.len(), told, "a sweep repeats nothing");
    })
    .await;
}

// --- what is approved ---------------------------------------------------------------------------

/// How often a run has read AWS, its own memory apart.
async fn reads(aws: &LocalAws, run: &Run) -> usize {
    let calls = aws.calls_in(run).await;
    calls
        .iter()
        .filter(|call| call.service != "dynamodb")
        .count()
}

#[tokio::test]
async fn an_approved_launch_is_not_touched_and_costs_four_reads() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.alone().await;
        mode(aws, "enforce").await;
        let image = aws.good_image().await;
        let first = aws.launch(&image, |run| run).await;
        let before = aws.picture(&first).await;
        for run in aws.runs_by_rule().await {
            let report = run.succeeded();
            assert_eq!(report.metrics["LaunchesApproved"], 1, "{report:?}");
            assert_eq!(report.outcomes.done, 0);
            assert!(reads(aws, &run).await <= 5);
        }
        // With the policy at hand: the instance, then its AMI, the isolation group and, where the
        // event names the launcher, what else that one launched.
        let seen = aws.runs_by_rule().await.len();
        aws.launch(&image, |run| run).await;
        for run in &runs_by_rule(aws, seen + 3).await[seen..] {
            let calls = reads(aws, run).await;
            println!("an approved launch: {calls} calls beside the table's");
            assert!(calls <= 5);
        }
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.metrics["LaunchesApproved"], 2, "{report:?}");
        assert_eq!(aws.picture(&first).await, before);
        assert!(aws.our_tags(&first).await.is_empty());
        assert!(aws.changes().await.is_empty());
        assert!(aws.notices().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn observe_mode_and_an_empty_approval_change_nothing_at_all() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.alone().await;
        let image = aws.bad_image().await;
        // The built-in policy: observe, and nothing is approved.
        let one = aws.launch(&image, |run| run).await;
        let before = aws.picture(&one).await;
        let report = aws.sweep().await.succeeded();
        assert_eq!((report.outcomes.done, report.outcomes.would_do), (0, 0));

        let deny = "quarantine-launch:\n  mode: enforce\n  deny:\n    - { name: \"*-ecs-*\" }\n";
        aws.put_policy(deny).await;
        let two = aws.launch(&image, |run| run).await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.outcomes.done, 0, "{report:?}");
        let reason = &report.decisions[0].reason;
        assert!(reason.contains("approves nothing yet"), "{reason}");

        mode(aws, "observe").await;
        let three = aws.launch(&image, |run| run).await;
        let group = aws.group("web", 2, &image, |group| group).await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.outcomes.done, 0, "{report:?}");
        // Five instances and two loops: the person's is only told.
        assert_eq!(report.of("quarantine").count(), 5, "{report:?}");
        assert_eq!(report.outcomes.would_do, 6, "{report:?}");
        assert_eq!(suspended(&group.described().await).len(), 0);
        for id in [&one, &two, &three] {
            assert!(aws.our_tags(id).await.is_empty());
        }
        assert_eq!(aws.picture(&one).await, before);
        assert!(aws.changes().await.is_empty(), "{:?}", aws.changes().await);
        assert!(aws.notices().await.is_empty(), "{:?}", aws.notices().await);
    })
    .await;
}

// --- events -------------------------------------------------------------------------------------

/// SAM-3, AMI-1: state-change and CloudTrail, in either order and at the same moment.
#[tokio::test]
async fn several_events_for_one_launch_are_one_quarantine_and_one_notice() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.alone().await;
        mode(aws, "enforce").await;
        let image = aws.bad_image().await;
        let mut runs = 0;
        let orders = [(3.0, 0.0), (0.0, 3.0), (0.0, 0.0)];
        for (trail, state) in orders {
            aws.set(json!({
                "cloudtrail_event_delay_seconds": trail,
                "instance_event_delay_seconds": state,
            }))
            .await;
            let id = aws.launch(&image, |run| run).await;
            // pending, running and RunInstances; the last of them may not have ended yet.
            runs_by_rule(aws, runs + 3).await;
            aws.wait_until_idle().await;
            let all = runs_by_rule(aws, runs + 3).await;
            let reports: Vec<Report> = all[runs..].iter().map(Run::succeeded).collect();
            runs = all.len();
            let quarantines: usize = reports.iter().map(|r| r.done("quarantine")).sum();
            assert_eq!(quarantines, 1, "{trail} {state}: {reports:#?}");
            assert!(aws.is_isolated(&id).await);
            assert_eq!(aws.stage(&id).await.as_deref(), Some("complete"));
            assert_eq!(aws.evidence(&id).await.len(), 1);
            // What comes within a minute of a notice, the sweep tells.
            aws.sweep().await.succeeded();
            let told = aws.told_of(&id).await;
            assert_eq!(told.len(), 1, "{trail} {state}: {told:#?}");
            assert!(told[0].message.contains("user/admin"), "{told:#?}");
            // Once more, late.
            let detail = json!({ "instance-id": id, "state": "running" });
            let kind = "EC2 Instance State-change Notification";
            aws.emit("aws.ec2", kind, detail).await;
            runs += 1;
            assert_eq!(aws.told_of(&id).await.len(), 1);
            assert_eq!(aws.evidence(&id).await.len(), 1);
        }
        assert_eq!(aws.carried_out("CreateSnapshots").await, 3);
        assert_eq!(aws.carried_out("CreateSecurityGroup").await, 1);
    })
    .await;
}

// --- quarantine and release ---------------------------------------------------------------------

/// An instance with two network interfaces in different groups, and a volume that stays.
async fn two_interfaces(aws: &LocalAws, image: &str) -> String {
    let subnet = aws.ec2.describe_subnets().send().await.expect("subnets");
    let subnet = subnet.subnets()[0].clone();
    let id = subnet.subnet_id().unwrap_or_default();
    let mut interfaces = Vec::new();
    for (index, names) in [vec!["web", "ssh"], vec!["database"]].iter().enumerate() {
        let mut groups = Vec::new();
        for name in names {
            let made = aws.ec2.create_security_group().group_name(*name);
            let made = made.description(*name).set_vpc_id(subnet.vpc_id.clone());
            let made = made.send().await.expect("a group can be made");
            groups.extend(made.group_id);
        }
        interfaces.push(
            InstanceNetworkInterfaceSpecification::builder()
                .device_index(i32::try_from(index).unwrap_or_default())
                .subnet_id(id)
                .set_groups(Some(groups))
                .build(),
        );
    }
    let kept = EbsBlockDevice::builder()
        .volume_size(8)
        .delete_on_termination(false);
    let kept = BlockDeviceMapping::builder()
        .device_name("/dev/sdf")
        .ebs(kept.build())
        .build();
    aws.launch(image, |run| {
        run.set_network_interfaces(Some(interfaces))
            .block_device_mappings(kept)
    })
    .await
}

#[tokio::test]
async fn every_interface_is_isolated_and_a_release_restores_all_to_the_letter() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.alone().await;
        mode(aws, "observe").await;
        let image = aws.bad_image().await;
        let id = two_interfaces(aws, &image).await;
        let before = aws.picture(&id).await;
        let groups = aws.groups_of(&id).await;
        assert_eq!(groups.len(), 2, "{groups:?}");
        assert_eq!(groups.values().map(Vec::len).sum::<usize>(), 3);

        mode(aws, "enforce").await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("quarantine"), 1, "{report:?}");
        assert!(aws.is_isolated(&id).await);
        assert!(aws.is_protected(&id).await);
        let described = aws.described(&id).await;
        let goes = described.block_device_mappings().iter();
        let goes = goes.filter_map(|m| m.ebs()?.delete_on_termination());
        assert_eq!(goes.collect::<Vec<_>>(), [false, false]);
        assert_eq!(aws.evidence(&id).await.len(), 2, "one of each volume");
        assert_ne!(aws.picture(&id).await, before);
        aws.nothing_more_is_told(1).await;

        let report = aws.command("release", &[("instance-id", &id)]).await;
        assert_eq!(report.done("release"), 1, "{report:?}");
        assert_eq!(aws.picture(&id).await, before);
        aws.sweep().await.succeeded();
        // Nothing is left of it but the evidence and which AMI it was released for.
        aws.bears_no_trace(&id).await;
        assert_eq!(aws.evidence(&id).await.len(), 2);
        aws.nothing_more_is_told(2).await;
        assert_eq!(aws.picture(&id).await, before, "not quarantined again");
    })
    .await;
}

#[tokio::test]
async fn members_come_back_into_service_and_their_groups_processes_last() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.alone().await;
        mode(aws, "observe").await;
        let image = aws.bad_image().await;
        let group = aws.group("web", 2, &image, |group| group).await;
        // Suspended by a person: stays so.
        group.suspend("ReplaceUnhealthy").await;
        let members: Vec<String> = group.in_service().await.into_iter().map(|m| m.0).collect();
        let before = [
            aws.picture(&members[0]).await,
            aws.picture(&members[1]).await,
        ];

        mode(aws, "enforce").await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("quarantine"), 2, "{report:?}");
        assert_eq!(report.done("break-loop"), 1, "{report:?}");
        aws.pass_seconds(60).await;
        let now = group.described().await;
        assert_eq!(now.desired_capacity(), Some(0), "standby counts less");
        let states = now.instances().iter();
        let standby =
            states.filter(|i| i.lifecycle_state().is_some_and(|s| s.as_str() == "Standby"));
        assert_eq!(standby.count(), 2, "{now:#?}");
        assert_eq!(suspended(&now).len(), 2);
        assert_eq!(aws.launched_by("web").await, 2, "nothing was replaced");

        for (index, id) in members.iter().enumerate() {
            let report = aws.command("release", &[("instance-id", id)]).await;
            assert_eq!(report.done("release"), 1, "{report:?}");
            let left = suspended(&group.described().await);
            assert_eq!(left.len(), 2 - index, "resumed with the last one: {left:?}");
        }
        aws.pass_seconds(90).await;
        let now = group.described().await;
        assert_eq!(now.desired_capacity(), Some(2));
        assert_eq!(group.in_service().await.len(), 2, "{now:#?}");
        assert_eq!(
            suspended(&now),
            BTreeSet::from(["ReplaceUnhealthy".to_owned()])
        );
        let after = [
            aws.picture(&members[0]).await,
            aws.picture(&members[1]).await,
        ];
        assert_eq!(after, before);
        aws.sweep().await.succeeded();
        for id in &members {
            aws.bears_no_trace(id).await;
        }
        let tags = group.described().await;
        let left = tags.tags().iter().filter_map(|t| t.key());
        let left: Vec<_> = left
            .filter(|k| k.contains("loop-") && !k.ends_with("restored"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    })
    .await;
}

// --- by hand ------------------------------------------------------------------------------------

#[tokio::test]
async fn a_person_can_check_quarantine_and_release_in_every_mode() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.alone().await;
        mode(aws, "observe").await;
        let (fine, wrong) = (aws.good_image().await, aws.bad_image().await);
        let id = aws.launch(&fine, |run| run).await;
        let before = aws.picture(&id).await;
        let check = aws.command("check", &[("image-id", &wrong)]).await.detail;
        assert_eq!(check["verdict"], "unapproved", "{check}");
        assert_eq!(check["image"]["name"], BAD, "{check}");
        let check = aws.command("check", &[("image-id", &fine)]).await.detail;
        assert_eq!(check["verdict"], "approved", "{check}");
        let unknown = "ami-0123456789abcdef0";
        let check = aws.command("check", &[("image-id", unknown)]).await.detail;
        assert_eq!(check["verdict"], "cannot tell", "{check}");
        let check = aws.command("check", &[("instance-id", &id)]).await.detail;
        assert_eq!(check["verdict"], "approved", "{check}");
        assert!(aws.changes().await.is_empty(), "check only answers");

        let why = [("instance-id", id.as_str()), ("reason", "it mines coins")];
        let report = aws.command("quarantine", &why).await;
        assert_eq!(report.done("quarantine"), 1, "{report:?}");
        assert!(aws.is_isolated(&id).await && aws.is_protected(&id).await);
        only_one(aws.notices().await).says(&[&id, "it mines coins"]);
        let report = aws.command("release", &[("instance-id", &id)]).await;
        assert_eq!(report.done("release"), 1, "{report:?}");
        assert_eq!(aws.picture(&id).await, before);
        // Nothing to do is said, and no error; what isn't there is one.
        let report = aws.command("release", &[("instance-id", &id)]).await;
        assert_eq!((report.outcomes.done, report.outcomes.failed), (0, 0));
        for (key, name) in [("instance-id", "i-0123456789abcdef0"), ("group", "none")] {
            let order = json!({ "trigger": "command", "command": "release", key: name });
            let run = aws.invoke(order).await;
            assert!(run.failed().1.contains(name), "{}", run.told());
        }
    })
    .await;
}
