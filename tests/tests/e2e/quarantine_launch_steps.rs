//! The steps of a quarantine one by one: how fast it isolates, those that the policy must ask for,
//! what EC2 doesn't show yet, and a release that is interrupted.

use std::time::Duration;

use aws_sdk_ec2::types::{IamInstanceProfileSpecification, InstanceStateName};
use aws_sdk_lambda::primitives::Blob;
use e2e::{Fault, LocalAws, QUARANTINE_LAUNCH, deployed, deployed_with};
use serde_json::json;

/// Seconds; longer than the runs that its events start.
const VISIBLE_AFTER: u64 = 12;
const KIND: &str = "EC2 Instance State-change Notification";

async fn policy(aws: &LocalAws, mode: &str, steps: &str) {
    let document = format!(
        "quarantine-launch:\n  mode: {mode}\n  approve:\n    - {{ owner: amazon, name: \"al2023-ami-2023.*-x86_64\" }}\n  steps: {{ {steps} }}\n"
    );
    aws.put_policy(&document).await;
}

/// The event of an instance that runs, as EC2 sends it.
async fn running(aws: &LocalAws, instance: &str) {
    let detail = json!({ "instance-id": instance, "state": "running" });
    aws.emit("aws.ec2", KIND, detail).await;
}

#[tokio::test]
async fn an_instance_is_isolated_six_rounds_of_calls_after_its_event() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.alone().await;
        policy(aws, "observe", "snapshot: true").await;
        let image = aws.bad_image().await;
        let (first, second) = (
            aws.launch(&image, |run| run).await,
            aws.launch(&image, |run| run).await,
        );
        policy(aws, "enforce", "snapshot: true").await;
        // Makes the VPC's isolation group; the next one finds it.
        running(aws, &first).await;
        assert!(aws.is_isolated(&first).await);
        aws.restart_function().await;
        running(aws, &second).await;
        let run = aws.runs_by_rule().await.pop().expect("it ran");
        assert_eq!(run.succeeded().done("quarantine"), 1, "{}", run.told());
        let calls = aws.calls_in(&run).await;
        let isolated = calls
            .iter()
            .rposition(|call| call.operation == "ModifyNetworkInterfaceAttribute");
        let until = &calls[..=isolated.expect("it was isolated")];
        let (table, mut names): (Vec<&str>, Vec<&str>) = until
            .iter()
            .map(|call| call.operation.as_str())
            .partition(|operation| ["GetItem", "PutItem", "Query"].contains(operation));
        println!("from the event to the isolation: {names:?}, and of the table {table:?}");
        // Those of the third round come in any order; the label goes out beside the last one.
        names[2..4].sort_unstable();
        if names[4] == "CreateTags" {
            names.remove(4);
        }
        assert_eq!(
            names,
            [
                "GetParameter",
                "DescribeInstances",
                "DescribeImages",
                "DescribeSecurityGroups",
                "ModifyNetworkInterfaceAttribute",
            ]
        );
        // That there is a policy, once a process; the place under the brake; the record.
        assert_eq!(table.iter().filter(|call| **call == "PutItem").count(), 3);
    })
    .await;
}

#[tokio::test]
async fn the_profile_is_taken_and_the_instance_stopped_only_where_asked_and_both_come_back() {
    let may = [
        ("QuarantineTakesProfiles", "true"),
        ("QuarantineStops", "true"),
        (
            "RestoreProfileRoleArns",
            "arn:aws:iam::123456789012:role/web",
        ),
    ];
    deployed_with(QUARANTINE_LAUNCH, &may, async |aws| {
        aws.deaf().await;
        policy(aws, "enforce", "dissociate-profile: true, stop: true").await;
        let image = aws.bad_image().await;
        let profile = aws.profile("web", &[]).await;
        let owned = IamInstanceProfileSpecification::builder()
            .arn(&profile)
            .build();
        let id = aws
            .launch(&image, |run| run.iam_instance_profile(owned))
            .await;
        let groups = aws.groups_of(&id).await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("quarantine"), 1, "{report:?}");
        assert!(aws.is_isolated(&id).await);
        assert_eq!(aws.profile_of(&id).await, None);
        let state = async || {
            let state = aws.described(&id).await.state;
            state.and_then(|state| state.name)
        };
        assert_eq!(state().await, Some(InstanceStateName::Stopped));
        assert_eq!(aws.stage(&id).await.as_deref(), Some("complete"));

        let report = aws.command("release", &[("instance-id", &id)]).await;
        assert_eq!(report.done("release"), 1, "{report:?}");
        assert_eq!(aws.profile_of(&id).await, Some(profile));
        assert_eq!(state().await, Some(InstanceStateName::Running));
        assert_eq!(aws.groups_of(&id).await, groups);
        assert!(!aws.is_protected(&id).await);
        aws.sweep().await.succeeded();
        aws.bears_no_trace(&id).await;
    })
    .await;
}

#[tokio::test]
async fn a_member_that_was_detached_is_attached_again_at_its_release() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.deaf().await;
        policy(aws, "observe", "group: detach").await;
        let image = aws.bad_image().await;
        let group = aws.group("web", 1, &image, |group| group).await;
        let id = group.in_service().await.remove(0).0;
        let before = aws.picture(&id).await;

        policy(aws, "enforce", "group: detach").await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("quarantine"), 1, "{report:?}");
        aws.pass_seconds(60).await;
        assert!(aws.is_isolated(&id).await);
        let now = group.described().await;
        assert!(now.instances().is_empty(), "{now:#?}");
        assert_eq!(now.desired_capacity(), Some(0));
        assert_eq!(aws.launched_by("web").await, 1, "nothing took its place");

        let report = aws.command("release", &[("instance-id", &id)]).await;
        assert_eq!(report.done("release"), 1, "{report:?}");
        aws.pass_seconds(60).await;
        let members = group.in_service().await;
        assert_eq!(members.len(), 1, "{members:?}");
        assert_eq!(members[0].0, id);
        assert_eq!(group.described().await.desired_capacity(), Some(1));
        assert_eq!(aws.picture(&id).await, before);
        aws.sweep().await.succeeded();
        aws.bears_no_trace(&id).await;
    })
    .await;
}

/// EC2 is eventually consistent: an instance may be unknown when its event comes, and a security
/// group when it was just made.
#[tokio::test]
async fn what_ec2_does_not_show_yet_is_seen_by_the_next_run() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.alone().await;
        policy(aws, "enforce", "snapshot: true").await;
        let image = aws.bad_image().await;
        aws.set(json!({
            "instance_visibility_delay_seconds": VISIBLE_AFTER,
            "security_group_visibility_delay_seconds": 1.0,
        }))
        .await;
        let id = aws.launch(&image, |run| run).await;
        for run in aws.runs_by_rule().await {
            let report = run.succeeded();
            assert_eq!(report.outcomes.done, 0, "{report:?}");
        }
        assert!(aws.changes().await.is_empty());
        tokio::time::sleep(Duration::from_secs(VISIBLE_AFTER)).await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("quarantine"), 1, "{report:?}");
        assert!(aws.is_isolated(&id).await);
        assert_eq!(aws.stage(&id).await.as_deref(), Some("complete"));
        assert_eq!(aws.notices().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_release_that_is_killed_is_done_again_from_the_start() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.deaf().await;
        aws.set(json!({ "async_retry_scale": 1000.0 })).await;
        policy(aws, "enforce", "snapshot: false").await;
        let image = aws.bad_image().await;
        for (operation, nth) in [
            ("PutItem", 1),
            ("ModifyNetworkInterfaceAttribute", 1),
            ("ModifyInstanceAttribute", 1),
            ("ModifyInstanceAttribute", 2),
            ("DeleteTags", 1),
            ("DeleteItem", 1),
        ] {
            let id = aws.launch(&image, |run| run).await;
            let before = aws.picture(&id).await;
            aws.sweep().await.succeeded();
            assert!(aws.is_isolated(&id).await);
            let fault = match operation {
                "PutItem" => {
                    Fault::on("dynamodb", operation).matching("Item.item.S", "quarantine#*")
                }
                "DeleteItem" => {
                    Fault::on("dynamodb", operation).matching("Key.item.S", "quarantine#*")
                }
                _ => Fault::on("ec2", operation),
            };
            let fault = fault.nth(nth).times(1);
            aws.inject(fault.carried_out_and_killed()).await;
            let release = json!({ "trigger": "command", "command": "release", "instance-id": id });
            let invoke = aws.lambda.invoke().function_name(aws.function());
            let invoke = invoke.qualifier("operator");
            let answer = invoke.payload(Blob::new(release.to_string())).send().await;
            let answer = answer.expect("Lambda answers");
            assert!(answer.function_error().is_some(), "{operation}: killed");
            assert_eq!(aws.fault_hits().await, [1], "{operation}");
            aws.clear_faults().await;
            // A sweep in between doesn't take it for a launch or a drift.
            let report = aws.sweep().await.succeeded();
            assert_eq!(report.done("quarantine"), 0, "{operation}: {report:?}");
            assert_eq!(report.done("isolate-again"), 0, "{operation}");
            aws.command("release", &[("instance-id", &id)]).await;
            assert_eq!(aws.picture(&id).await, before, "{operation} {nth}");
            aws.sweep().await.succeeded();
            assert_eq!(aws.stage(&id).await, None, "{operation} {nth}");
            let end = aws.ec2.terminate_instances().instance_ids(&id);
            end.send().await.expect("it can be terminated");
        }
    })
    .await;
}

/// Two runs look before either has written: the one whose mark stands in the end tells, though the
/// other had seen its own.
#[tokio::test]
async fn of_two_runs_that_overlap_only_one_tells() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.deaf().await;
        policy(aws, "enforce", "snapshot: true").await;
        let image = aws.bad_image().await;
        let id = aws.launch(&image, |run| run).await;
        let marks = Fault::on("dynamodb", "PutItem").matching("Item.item.S", "quarantine#*");
        for fault in [
            Fault::on("ec2", "DescribeImages").slow(2.0).times(2),
            marks.nth(2).slow(4.0),
            Fault::on("ec2", "CreateSnapshots").slow(8.0).times(1),
        ] {
            aws.inject(fault).await;
        }
        let requests = [aws.fire().await, aws.fire().await];
        aws.wait_until_idle().await;
        assert_eq!(aws.fault_hits().await, [2, 1, 1], "they overlap");
        let mut carried_out = 0;
        for request in &requests {
            let run = aws.last_attempt(request).await;
            let report = run.succeeded();
            assert_eq!(report.outcomes.failed, 0, "{}", run.told());
            carried_out += report.done("quarantine");
        }
        assert_eq!(carried_out, 1);
        assert_eq!(aws.stage(&id).await.as_deref(), Some("complete"));
        assert_eq!(aws.evidence(&id).await.len(), 1);
        let told = aws.notices().await;
        assert_eq!(told.len(), 1, "{told:#?}");
    })
    .await;
}
