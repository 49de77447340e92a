//! What attach-ssm-role is for: each instance becomes a managed node, or it is told why not.

#![expect(
    clippy::panic,
    reason = "helpers outside the tests' own functions fail the test by panicking"
)]
#![expect(
    clippy::expect_used,
    reason = "helpers outside the tests' own functions fail the test by panicking"
)]

use std::time::Duration;

use aws_sdk_ec2::types::{
    IamInstanceProfileSpecification, InstanceState, RequestLaunchTemplateData,
};
use e2e::{
    ATTACH_SSM_ROLE, FULL_MONITORING, Fault, LocalAws, Outcomes, REGION, Report, Vpc, ZONE,
    deployed, deployed_with, only_one,
};
use jiff::Timestamp;
use serde_json::json;

const CORE: &str = "AmazonSSMManagedInstanceCore";
const OBSERVE: &str = "attach-ssm-role:\n  mode: observe\n";
const ENFORCE: &str = "attach-ssm-role:\n  mode: enforce\n  exclude: { tag: NoSsm }\n";
const STATE_CHANGE: &str = "EC2 Instance State-change Notification";
const ASSOCIATE: &str = "AssociateIamInstanceProfile";

/// The full diagnosis, which changes nothing.
async fn diagnosis(aws: &LocalAws, instance: &str) -> Report {
    let before = aws.last_call().await;
    let command = json!({ "trigger": "command", "command": "diagnose", "instance-id": instance });
    let report = aws.invoke(command).await.succeeded();
    for call in aws.calls_since(before).await {
        let reads = ["Describe", "Get", "List", "Simulate"];
        // Any run remembers that there was a policy.
        let remembers = call.parameters["Item"]["item"]["S"] == "policy#any";
        assert!(
            remembers || reads.iter().any(|verb| call.operation.starts_with(verb)),
            "a diagnosis changes nothing: {call:?}"
        );
    }
    report
}

/// The event that an instance runs, and what the run that it starts has to say.
async fn runs_now(aws: &LocalAws, instance: &str) -> Report {
    let detail = json!({ "instance-id": instance, "state": "running" });
    aws.emit("aws.ec2", STATE_CHANGE, detail).await;
    aws.wait_until_idle().await;
    let run = aws.runs_by_rule().await.pop().expect("it runs");
    run.succeeded()
}

fn with_profile(arn: &str) -> IamInstanceProfileSpecification {
    IamInstanceProfileSpecification::builder().arn(arn).build()
}

// --- attaching ----------------------------------------------------------------------------------

/// Incident 1: Session Manager would have been the second door.
#[tokio::test]
async fn a_new_instance_gets_the_profile_by_its_running_event_and_comes_online() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        let image = aws.amazon_linux().await;
        aws.set(json!({ "instance_transition_seconds": 0.5 })).await;
        let shop = aws.launch(&image, |run| run).await;
        let until = std::time::Instant::now() + Duration::from_secs(20);
        while aws.runs_by_rule().await.is_empty() {
            assert!(std::time::Instant::now() < until, "no event started it");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        aws.wait_until_idle().await;

        // Once, by `running`; `pending` starts nothing.
        let run = only_one(aws.runs_by_rule().await);
        assert_eq!(run.event["detail"]["state"], "running");
        assert_eq!(run.succeeded().done("attach-profile"), 1);
        let profile = aws.stack_profile().await;
        assert_eq!(aws.profile_of(&shop).await, Some(profile));
        assert_eq!(aws.noted(&shop).await.as_deref(), Some("attached"));

        // The event again, and one that is late: nothing is done twice (SSM-9, SAM-3).
        for _ in 0..2 {
            runs_now(aws, &shop).await;
        }
        for run in &aws.runs_by_rule().await[1..] {
            assert_eq!(run.succeeded().outcomes.done, 0, "{}", run.told());
        }
        assert_eq!(aws.calls_of(ASSOCIATE).await.len(), 1);

        assert!(aws.try_agent(&shop).await.online);
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("confirm-online"), 1, "{report:?}");
        assert_eq!(report.metrics["InstancesManaged"], 1);
        assert_eq!(aws.noted(&shop).await.as_deref(), Some("online"));
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.outcomes, Outcomes::default(), "healthy: {report:?}");
        assert!(aws.notices().await.is_empty());
    })
    .await;
}

/// SSM-1: an agent that found no credentials sleeps for half an hour, and that is no fault.
#[tokio::test]
async fn a_sweep_picks_up_what_existed_before_and_waits_for_its_agents() {
    deployed_with(ATTACH_SSM_ROLE, FULL_MONITORING, async |aws| {
        aws.put_policy(OBSERVE).await;
        let image = aws.amazon_linux().await;
        let old = aws.launch(&image, |run| run).await;
        let stopped = aws.launch(&image, |run| run).await;
        let stop = aws.ec2.stop_instances().instance_ids(&stopped);
        stop.send().await.expect("it can be stopped");
        // Months ago.
        aws.pass_minutes(&old, 100_000).await;
        let agent = aws.try_agent(&old).await;
        assert_eq!(agent.outcome.as_deref(), Some("no credentials"));
        let report = aws.sweep().await.succeeded();
        assert_eq!((report.outcomes.would_do, report.outcomes.done), (2, 0));
        assert_eq!(
            aws.profile_of(&old).await,
            None,
            "observing changes nothing"
        );

        aws.put_policy(ENFORCE).await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("attach-profile"), 2, "{report:?}");
        let profile = Some(aws.stack_profile().await);
        assert_eq!(aws.profile_of(&old).await, profile);
        assert_eq!(aws.profile_of(&stopped).await, profile);

        // It sleeps on, though it has its profile now.
        aws.pass_minutes(&old, 20).await;
        let report = aws.sweep().await.succeeded();
        assert!(!aws.agent(&old).await.online);
        assert_eq!(
            (report.metrics["InstancesWaiting"], report.firing()),
            (1, 0)
        );
        let detail = diagnosis(aws, &old).await.detail;
        assert_eq!(detail["standing"], "waiting");
        // Not what the agent said before it had its profile.
        let window = &detail["primary"];
        assert_eq!(window["code"], "retry-window", "{detail}");
        assert_eq!(window["resource"], old.as_str(), "{detail}");
        assert_eq!(window["certainty"], "likely", "{detail}");
        // And wakes by itself.
        aws.pass_minutes(&old, 11).await;
        assert!(aws.agent(&old).await.online);
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("confirm-online"), 1, "{report:?}");
        let took = report.metrics["SecondsToOnline"];
        assert!((1_860..1_920).contains(&took), "{took} seconds");
        assert_eq!(aws.metric("SecondsToOnline").await, Some(took));
        assert!(aws.notices().await.is_empty());
    })
    .await;
}

/// SSM-9: events are late, out of order and about what is long gone; the state is what counts.
#[tokio::test]
async fn a_late_event_finds_the_instance_as_it_is_now() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        aws.put_policy(OBSERVE).await;
        let image = aws.amazon_linux().await;
        let stopped = aws.launch(&image, |run| run).await;
        let gone = aws.launch(&image, |run| run).await;
        let stop = aws.ec2.stop_instances().instance_ids(&stopped);
        stop.send().await.expect("it can be stopped");
        let end = aws.ec2.terminate_instances().instance_ids(&gone);
        end.send().await.expect("it can be terminated");
        aws.wait_until_idle().await;
        aws.put_policy(ENFORCE).await;

        for instance in [gone.as_str(), "i-0123456789abcdef0"] {
            let report = runs_now(aws, instance).await;
            assert_eq!(report.outcomes.done, 0, "{report:?}");
        }
        assert!(aws.calls_of(ASSOCIATE).await.is_empty());
        // A stopped one takes its profile for the next start (SSM-2).
        for times in [1, 0] {
            let report = runs_now(aws, &stopped).await;
            assert_eq!(report.done("attach-profile"), times, "{report:?}");
        }
        let profile = aws.stack_profile().await;
        assert_eq!(aws.profile_of(&stopped).await, Some(profile));
        assert_eq!(aws.calls_of(ASSOCIATE).await.len(), 1);
        assert!(aws.notices().await.is_empty());
    })
    .await;
}

/// SSM-4: a profile would change whose permissions the commands on a node have.
#[tokio::test]
async fn what_has_a_profile_is_online_already_or_is_excluded_stays_as_it_is() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        aws.put_policy(OBSERVE).await;
        let image = aws.amazon_linux().await;
        let theirs = aws.profile("theirs", &[CORE]).await;
        let owned = IamInstanceProfileSpecification::builder()
            .arn(&theirs)
            .build();
        let owned = aws
            .launch(&image, |run| run.iam_instance_profile(owned))
            .await;
        let tags = LocalAws::instance_tags("NoSsm", "");
        let excluded = aws.launch(&image, |run| run.tag_specifications(tags)).await;
        let quarantined = aws.launch(&image, |run| run).await;
        aws.remember_in(
            "quarantine-launch",
            &format!("quarantine#{quarantined}"),
            json!({}),
        )
        .await;
        aws.manage_hosts_by_default().await;
        let hosted = aws.launch(&image, |run| run).await;
        let agent = aws.try_agent(&hosted).await;
        assert_eq!(agent.source.as_deref(), Some("default host management"));
        assert!(agent.online && aws.try_agent(&owned).await.online);

        aws.put_policy(ENFORCE).await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.outcomes.done, 0, "{report:?}");
        assert_eq!(report.metrics["InstancesManaged"], 2);
        assert_eq!(report.metrics["InstancesLeftAlone"], 2);
        // Each for itself, by its event.
        for instance in [&owned, &excluded, &quarantined, &hosted] {
            let report = runs_now(aws, instance).await;
            assert_eq!(report.outcomes.done, 0, "{report:?}");
        }
        assert!(aws.calls_of(ASSOCIATE).await.is_empty());
        assert_eq!(aws.profile_of(&owned).await, Some(theirs));
        for instance in [&excluded, &quarantined, &hosted] {
            assert_eq!(aws.profile_of(instance).await, None);
        }
        assert!(aws.notices().await.is_empty());
    })
    .await;
}

// --- races and faults ---------------------------------------------------------------------------

#[tokio::test]
async fn runs_at_once_and_a_profile_that_ec2_does_not_see_yet_are_no_failures() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        // By the condition that no instance profile is replaced (SSM-3).
        aws.may_be_denied("ec2:AssociateIamInstanceProfile").await;
        aws.put_policy(OBSERVE).await;
        let image = aws.amazon_linux().await;
        let mut instances = Vec::new();
        for _ in 0..4 {
            instances.push(aws.launch(&image, |run| run).await);
        }
        aws.put_policy(ENFORCE).await;
        // SSM-2: to EC2 the stack's profile comes to be three seconds from now.
        let profile = aws.stack_profile().await;
        let name = profile.rsplit('/').next().unwrap_or_default();
        let made = aws.iam.get_instance_profile().instance_profile_name(name);
        let made = made.send().await.expect("the stack made it");
        let made = made.instance_profile().expect("it").create_date().secs();
        let age = Timestamp::now().as_second() - made;
        aws.set(json!({ "instance_profile_visibility_delay_seconds": age + 3 }))
            .await;
        let mut requests = Vec::new();
        for _ in 0..3 {
            requests.push(aws.fire().await);
        }
        aws.wait_until_idle().await;
        for request in requests {
            let run = aws.last_attempt(&request).await;
            assert_eq!(run.succeeded().outcomes.failed, 0, "{}", run.told());
        }
        let refused = aws.calls_of(ASSOCIATE).await;
        assert!(
            refused.iter().any(|call| call.error.is_some()),
            "{refused:?}"
        );
        for instance in &instances {
            assert_eq!(aws.profile_of(instance).await.as_ref(), Some(&profile));
        }
        assert!(aws.notices().await.is_empty());
    })
    .await;
}

/// SSM-3: held by IAM, so that not even a bug could do it.
#[tokio::test]
async fn a_profile_that_somebody_attaches_meanwhile_cannot_be_overwritten() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        // By the condition that no instance profile is replaced (SSM-3).
        aws.may_be_denied("ec2:AssociateIamInstanceProfile").await;
        aws.put_policy(OBSERVE).await;
        let image = aws.amazon_linux().await;
        let instance = aws.launch(&image, |run| run).await;
        let theirs = aws.profile("theirs", &[CORE]).await;
        aws.put_policy(ENFORCE).await;
        // Between the last look at the instance and the association.
        let noting = Fault::on("dynamodb", "PutItem").matching("Item.item.S", "node#*");
        aws.inject(noting.slow(2.0)).await;
        let request = aws.fire().await;
        while aws.fault_hits().await == [0] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        aws.associate(&instance, &theirs).await;
        aws.wait_until_idle().await;

        let run = aws.last_attempt(&request).await;
        let report = run.succeeded();
        let tried = only_one(aws.calls_of(ASSOCIATE).await);
        assert_eq!(tried.error.as_deref(), Some("UnauthorizedOperation"));
        assert_eq!(report.outcomes.failed, 0, "{}", run.told());
        let attach = report.of("attach-profile").next().expect("it was tried");
        assert_eq!(attach.outcome, "skipped");
        assert!(attach.note.contains(&theirs), "{}", attach.note);
        assert_eq!(aws.profile_of(&instance).await, Some(theirs));
    })
    .await;
}

#[tokio::test]
async fn throttling_at_every_call_is_waited_out() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        aws.put_policy(OBSERVE).await;
        let image = aws.amazon_linux().await;
        let new = aws.launch(&image, |run| run).await;
        let vpc = aws.private_vpc().await;
        vpc.endpoints_but("ssmmessages").await;
        let profile = IamInstanceProfileSpecification::builder()
            .arn(aws.stack_profile().await)
            .build();
        let late = aws.launch(&image, |run| {
            run.subnet_id(&vpc.subnet).iam_instance_profile(profile)
        });
        let late = late.await;
        aws.pass_minutes(&late, 40).await;
        aws.put_policy(ENFORCE).await;
        let calls = [
            ("ssm", "DescribeInstanceInformation"),
            ("ssm", "GetServiceSetting"),
            ("ec2", "DescribeVpcs"),
            ("iam", "GetInstanceProfile"),
            ("iam", "SimulatePrincipalPolicy"),
            ("ec2", "DescribeInstances"),
            ("ec2", "DescribeInstanceStatus"),
            ("ec2", "DescribeVpcEndpoints"),
            ("ec2", "DescribeVpcAttribute"),
            ("ec2", "DescribeRouteTables"),
            ("ec2", "DescribeSecurityGroups"),
            ("ec2", "DescribeNetworkAcls"),
            ("ec2", "GetConsoleOutput"),
            ("ec2", ASSOCIATE),
        ];
        aws.sweep_throttled(&calls).await;
        assert_eq!(aws.profile_of(&new).await, Some(aws.stack_profile().await));
        assert_eq!(aws.notices().await.len(), 1);
        assert!(aws.notified_of(&late, "unmanaged").await.is_some());
    })
    .await;
}

#[tokio::test]
async fn a_missing_permission_is_named_and_ends_in_the_dead_letter_queue() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        aws.put_policy(OBSERVE).await;
        aws.retry_soon().await;
        let image = aws.amazon_linux().await;
        let instance = aws.launch(&image, |run| run).await;
        aws.put_policy(ENFORCE).await;
        let denied = Fault::on("ec2", ASSOCIATE).refused("UnauthorizedOperation");
        aws.inject(denied).await;
        let request = aws.fire().await;
        aws.wait_for_retries().await;
        let attempts = aws.attempts(&request).await;
        assert_eq!(attempts.len(), 2, "the template asks for one retry");
        for run in &attempts {
            let (kind, message) = run.failed();
            assert_eq!(kind, "ActionsFailed");
            for part in ["ec2:AssociateIamInstanceProfile", "UnauthorizedOperation"] {
                assert!(message.contains(part), "{message}");
            }
        }
        let letter = only_one(aws.dead_letters().await);
        assert_eq!(letter["requestContext"]["requestId"], request.as_str());
        assert_eq!(aws.profile_of(&instance).await, None);

        aws.clear_faults().await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("attach-profile"), 1, "{report:?}");
    })
    .await;
}

// --- incident 5: a private instance that Session Manager can't see ------------------------------

/// An instance in the private subnet that has just got its profile.
async fn private_instance(aws: &LocalAws, vpc: &Vpc<'_>) -> String {
    let image = aws.amazon_linux().await;
    let instance = aws.launch(&image, |run| run.subnet_id(&vpc.subnet)).await;
    assert!(
        aws.profile_of(&instance).await.is_some(),
        "attached by its event"
    );
    instance
}

/// Inside the window nothing is told; after it this cause, once.
async fn told_once(aws: &LocalAws, instance: &str, code: &str, certainty: &str, resource: &str) {
    let agent = aws.try_agent(instance).await;
    assert!(!agent.online, "{agent:?}");
    aws.sweep().await.succeeded();
    assert!(
        aws.notices().await.is_empty(),
        "the agent may only be asleep"
    );

    aws.pass_minutes(instance, 36).await;
    let report = diagnosis(aws, instance).await;
    let detail = report.detail;
    assert_eq!(detail["standing"], "late");
    assert_eq!(detail["complete"], true, "{detail}");
    let causes = detail["causes"].as_array().into_iter().flatten();
    let mut causes = causes.filter(|cause| cause["code"] == code);
    let cause = causes.next().unwrap_or_else(|| panic!("{code}: {detail}"));
    assert_eq!(cause["certainty"], certainty, "{detail}");
    assert_eq!(cause["resource"], resource, "{detail}");
    assert!(cause["evidence"].is_string() && cause["at"].is_string());
    // What is in doubt goes after what the agent itself said.
    let in_doubt = certainty == "cannot-tell";
    assert_eq!(detail["primary"] == *cause, !in_doubt, "{detail}");
    assert!(aws.notices().await.is_empty(), "a diagnosis only answers");

    for _ in 0..2 {
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.metrics["InstancesUnmanaged"], 1);
        let notice = only_one(aws.notices().await);
        assert!(notice.subject.contains(instance), "{}", notice.subject);
        let keys = ["problem", "fix"];
        for key in keys.iter().take(if in_doubt { 1 } else { 2 }) {
            let text = cause[key].as_str().unwrap_or("?");
            assert!(notice.message.contains(text), "{text}: {}", notice.message);
        }
        let proof = format!("aws ssm get-connection-status --target {instance}");
        assert!(notice.message.contains(&proof), "{}", notice.message);
        let told = aws.notified_of(instance, "unmanaged").await;
        assert_eq!(told, Some(format!("{code} {resource}")));
    }
}

/// Once repaired it comes Online, and that is told, once.
async fn cured_once(aws: &LocalAws, instance: &str) {
    let agent = aws.try_agent(instance).await;
    assert!(agent.online && agent.usable, "{agent:?}");
    for _ in 0..2 {
        aws.sweep().await.succeeded();
        aws.resolved_once().await;
        assert_eq!(aws.notified_of(instance, "unmanaged").await, None);
    }
}

#[tokio::test]
async fn a_missing_endpoint_is_named() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        let vpc = aws.private_vpc().await;
        vpc.open_endpoints().await;
        vpc.endpoints_but("ssm").await;
        let instance = private_instance(aws, &vpc).await;
        let missing = format!("{}/ssm", vpc.id);
        told_once(aws, &instance, "endpoint-missing", "likely", &missing).await;
        vpc.endpoint("ssm", true).await;
        cured_once(aws, &instance).await;
    })
    .await;
}

/// That an Online node can't be used is told once for this reason, by sweeps and by its event.
async fn told_unusable_once(aws: &LocalAws, instance: &str, state: &str, reason: &str) {
    for sweep in [false, true, true] {
        if sweep {
            let report = aws.sweep().await.succeeded();
            assert_eq!(report.metrics["InstancesManaged"], 1);
        } else {
            runs_now(aws, instance).await;
        }
        let notice = only_one(aws.notices().await);
        assert!(notice.subject.contains(instance), "{}", notice.subject);
        assert!(notice.message.contains(reason), "{}", notice.message);
        let told = aws.notified_of(instance, "unusable").await;
        assert_eq!(told.as_deref(), Some(state));
    }
}

/// And that it can be used again.
async fn usable_again(aws: &LocalAws, instance: &str) {
    let agent = aws.try_agent(instance).await;
    assert!(agent.online && agent.usable, "{agent:?}");
    for _ in 0..2 {
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.firing(), 0, "{report:?}");
        aws.resolved_once().await;
        assert_eq!(aws.notified_of(instance, "unusable").await, None);
    }
}

/// SSM-4: heartbeats take `ssm` only. So the node shows Online, and nobody can use it.
#[tokio::test]
async fn a_missing_message_endpoint_of_a_node_that_shows_online_is_named() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        let vpc = aws.private_vpc().await;
        vpc.open_endpoints().await;
        vpc.endpoint("ssm", true).await;
        let instance = private_instance(aws, &vpc).await;
        let agent = aws.try_agent(&instance).await;
        assert!(agent.online && !agent.usable, "{agent:?}");
        let missing = format!("{}/ssmmessages", vpc.id);
        let detail = diagnosis(aws, &instance).await.detail;
        assert_eq!(detail["standing"], "online");
        let primary = &detail["primary"];
        assert_eq!(primary["code"], "endpoint-missing", "{detail}");
        assert_eq!(primary["certainty"], "likely", "{detail}");
        assert_eq!(detail["session-possible"], false, "{detail}");
        assert_eq!(primary["resource"], missing, "{detail}");

        // Its channel comes up shortly after its first heartbeat.
        aws.sweep().await.succeeded();
        assert!(aws.notices().await.is_empty(), "not in its first minutes");
        aws.pass_minutes(&instance, 6).await;
        let state = format!("endpoint-missing {missing}");
        let fix = primary["fix"].as_str().unwrap_or("?");
        told_unusable_once(aws, &instance, &state, fix).await;
        vpc.endpoint("ssmmessages", true).await;
        usable_again(aws, &instance).await;
    })
    .await;
}

#[tokio::test]
async fn a_role_without_message_channels_is_named() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        let image = aws.amazon_linux().await;
        let deaf = aws.profile("deaf", &[]).await;
        aws.allow("deaf", "ssm:UpdateInstanceInformation").await;
        let instance = aws
            .launch(&image, |run| run.iam_instance_profile(with_profile(&deaf)))
            .await;
        let agent = aws.try_agent(&instance).await;
        assert!(agent.online && !agent.usable, "{agent:?}");
        // Scripts make a role and its policies one after the other.
        aws.sweep().await.succeeded();
        assert!(aws.notices().await.is_empty(), "not in its first minutes");
        aws.pass_minutes(&instance, 6).await;
        let channels = "ssmmessages:CreateControlChannel";
        told_unusable_once(aws, &instance, "role-lacks deaf", channels).await;
        aws.attach_policy("deaf", CORE).await;
        usable_again(aws, &instance).await;
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_without_private_dns_is_named() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        let vpc = aws.private_vpc().await;
        vpc.open_endpoints().await;
        vpc.endpoints_but("ssm").await;
        let endpoint = vpc.endpoint("ssm", false).await;
        let instance = private_instance(aws, &vpc).await;
        let code = "endpoint-private-dns-off";
        told_once(aws, &instance, code, "cannot-tell", &endpoint).await;
        vpc.enable_private_dns(&endpoint).await;
        cured_once(aws, &instance).await;
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_does_not_let_the_instance_in_is_named() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        let vpc = aws.private_vpc().await;
        let endpoints = vpc.endpoints_but("").await;
        let instance = private_instance(aws, &vpc).await;
        let endpoint = &endpoints["ssm"];
        told_once(aws, &instance, "endpoint-closed", "likely", endpoint).await;
        vpc.open_endpoints().await;
        cured_once(aws, &instance).await;
    })
    .await;
}

/// A rule may name a list of networks instead of one.
#[tokio::test]
async fn an_endpoint_that_lets_the_instance_in_by_a_prefix_list_is_no_finding() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        let vpc = aws.private_vpc().await;
        vpc.endpoints_but("").await;
        vpc.open_endpoints_to_a_list().await;
        let instance = private_instance(aws, &vpc).await;
        let agent = aws.try_agent(&instance).await;
        assert!(agent.online && agent.usable, "{agent:?}");
        let detail = diagnosis(aws, &instance).await.detail;
        assert_eq!(detail["complete"], true, "{detail}");
        assert_eq!(detail["primary"], json!(null), "{detail}");
    })
    .await;
}

#[tokio::test]
async fn a_missing_route_is_named() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        let vpc = aws.private_vpc().await;
        let instance = private_instance(aws, &vpc).await;
        told_once(aws, &instance, "no-route", "likely", &vpc.table).await;
        vpc.nat().await;
        cured_once(aws, &instance).await;
    })
    .await;
}

/// And the role, which the tutorial made by hand.
#[tokio::test]
async fn a_role_that_lacks_permissions_is_named() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        let image = aws.amazon_linux().await;
        let bare = aws.profile("bare", &[]).await;
        let instance = aws
            .launch(&image, |run| run.iam_instance_profile(with_profile(&bare)))
            .await;
        told_once(aws, &instance, "role-lacks", "definite", "bare").await;
        let message = aws.notices().await.remove(0).message;
        assert!(
            message.contains("ssm:UpdateInstanceInformation"),
            "{message}"
        );
        aws.attach_policy("bare", CORE).await;
        cured_once(aws, &instance).await;
        let calls = aws.calls().await;
        assert!(
            !calls
                .iter()
                .any(|call| call.operation == "AttachRolePolicy")
        );
    })
    .await;
}

/// Only where the policy asks for it and the stack allows it.
#[tokio::test]
async fn a_role_is_repaired_where_policy_and_stack_ask_for_it() {
    deployed_with(ATTACH_SSM_ROLE, &[("RepairRoles", "true")], async |aws| {
        let image = aws.amazon_linux().await;
        let bare = aws.profile("bare", &[]).await;
        let instance = aws
            .launch(&image, |run| run.iam_instance_profile(with_profile(&bare)))
            .await;
        assert!(!aws.try_agent(&instance).await.online);
        aws.pass_minutes(&instance, 6).await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("repair-role"), 0, "{report:?}");
        let told = aws.notified_of(&instance, "unmanaged").await;
        assert_eq!(told.as_deref(), Some("role-lacks bare"));

        aws.put_policy("attach-ssm-role: { repair-roles: true }\n")
            .await;
        for times in [1, 0] {
            let report = aws.sweep().await.succeeded();
            assert_eq!(report.done("repair-role"), times, "{report:?}");
        }
        let attached = aws.iam.list_attached_role_policies().role_name("bare");
        let attached = attached.send().await.expect("the role is there");
        let [policy] = attached.attached_policies() else {
            panic!("one policy: {attached:?}");
        };
        assert_eq!(policy.policy_name(), Some(CORE));
        assert_eq!(aws.calls_of("AttachRolePolicy").await.len(), 1);
        assert_eq!(aws.profile_of(&instance).await, Some(bare));
        cured_once(aws, &instance).await;
    })
    .await;
}

/// IPv6 leads out, but the services' usual names have IPv4 addresses only: whether the agent is set
/// to others can't be seen from outside.
#[tokio::test]
async fn a_way_out_by_ipv6_alone_leaves_the_route_in_doubt() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        let vpc = aws.private_vpc().await;
        vpc.ipv6_out().await;
        let image = aws.amazon_linux().await;
        let instance = aws
            .launch(&image, |run| {
                run.subnet_id(&vpc.subnet).ipv6_address_count(1)
            })
            .await;
        assert!(!aws.try_agent(&instance).await.online);
        aws.pass_minutes(&instance, 36).await;
        let detail = diagnosis(aws, &instance).await.detail;
        let causes = detail["causes"].as_array().into_iter().flatten();
        let causes: Vec<_> = causes
            .map(|cause| (cause["code"].as_str(), cause["certainty"].as_str()))
            .collect();
        // The agent's own words are the surest thing, and the route is in doubt.
        let said = (Some("agent-says"), Some("likely"));
        let route = (Some("no-route"), Some("cannot-tell"));
        assert_eq!(causes, [said, route], "{detail}");
        for _ in 0..2 {
            aws.sweep().await.succeeded();
            let notice = only_one(aws.notices().await);
            assert!(notice.message.contains("IPv6 leads out"), "{notice:?}");
            let told = aws.notified_of(&instance, "unmanaged").await;
            assert_eq!(told, Some(format!("no-route {}", vpc.table)));
        }
        vpc.nat().await;
        cured_once(aws, &instance).await;
    })
    .await;
}

/// No crying wolf: behind NAT nothing is missing, and where only the agent is stopped the network
/// isn't blamed.
#[tokio::test]
async fn an_instance_reached_through_nat_has_no_finding() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        let vpc = aws.private_vpc().await;
        vpc.nat().await;
        let instance = private_instance(aws, &vpc).await;
        assert!(aws.try_agent(&instance).await.online);
        aws.pass_minutes(&instance, 4).await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(
            (report.firing(), report.metrics["InstancesManaged"]),
            (0, 1)
        );
        // Nor where one service goes by an endpoint and the others by NAT.
        vpc.open_endpoints().await;
        vpc.endpoint("ssm", true).await;
        let agent = aws.try_agent(&instance).await;
        assert!(agent.online && agent.usable, "{agent:?}");
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.firing(), 0, "{report:?}");
        assert!(!aws.calls_of("DescribeRouteTables").await.is_empty());
        let detail = diagnosis(aws, &instance).await.detail;
        assert_eq!(detail["standing"], "online");
        assert_eq!(detail["causes"], json!([]), "{detail}");
        assert!(aws.notices().await.is_empty());

        aws.set_agent(&instance, "stopped").await;
        assert!(!aws.try_agent(&instance).await.online);
        aws.pass_minutes(&instance, 90).await;
        let detail = diagnosis(aws, &instance).await.detail;
        assert_eq!(detail["primary"]["code"], "agent", "{detail}");
        let causes = detail["causes"].as_array().map(Vec::len);
        assert_eq!(causes, Some(1), "{detail}");
    })
    .await;
}

// --- Auto Scaling groups ------------------------------------------------------------------------

/// A group of so many members that launches from the template `web`, without a profile.
async fn group(aws: &LocalAws, members: i32) {
    let image = aws.amazon_linux().await;
    let data = RequestLaunchTemplateData::builder()
        .image_id(&image)
        .instance_type("t3.micro".into())
        .build();
    let template = aws.ec2.create_launch_template().launch_template_name("web");
    let template = template.launch_template_data(data).send().await;
    template.expect("a launch template can be made");
    let from = aws_sdk_autoscaling::types::LaunchTemplateSpecification::builder()
        .launch_template_name("web")
        .version("$Latest")
        .build();
    let group = aws.autoscaling.create_auto_scaling_group();
    let group = group
        .auto_scaling_group_name("web")
        .launch_template(from)
        .availability_zones(ZONE)
        .min_size(0)
        .max_size(5)
        .desired_capacity(members);
    group.send().await.expect("a group can be made");
    aws.wait_until_idle().await;
}

async fn resize(aws: &LocalAws, members: i32) {
    let size = aws.autoscaling.set_desired_capacity();
    let size = size
        .auto_scaling_group_name("web")
        .desired_capacity(members);
    size.send().await.expect("the group can be resized");
    aws.wait_until_idle().await;
}

async fn told_of_group(aws: &LocalAws) -> Option<String> {
    aws.notified_of("auto-scaling-group/web", "template-profile")
        .await
}

/// The living members with their profiles.
async fn members(aws: &LocalAws) -> Vec<Option<String>> {
    let all = aws.ec2.describe_instances().send().await;
    let all = all.expect("instances can be described");
    all.reservations()
        .iter()
        .flat_map(aws_sdk_ec2::types::Reservation::instances)
        .filter(|found| found.state().and_then(InstanceState::code) == Some(16))
        .map(|found| Some(found.iam_instance_profile()?.arn()?.to_owned()))
        .collect()
}

/// Several members start at the same moment: each event's run attaches, and only the sweep tells.
#[tokio::test]
async fn a_group_is_told_once_and_its_members_are_attached() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        group(aws, 3).await;
        let profile = Some(aws.stack_profile().await);
        assert_eq!(members(aws).await, vec![profile.clone(); 3]);
        assert!(aws.notices().await.is_empty(), "{:?}", aws.notices().await);
        aws.sweep().await.succeeded();
        let told = only_one(aws.notices().await);
        assert!(told.message.contains("web"), "{}", told.message);

        resize(aws, 5).await;
        aws.sweep().await.succeeded();
        assert_eq!(aws.notices().await.len(), 1, "no second time");
        assert_eq!(members(aws).await, vec![profile; 5]);
    })
    .await;
}

/// The older kind of template, which nobody should need any more.
#[tokio::test]
async fn a_launch_configuration_without_a_profile_is_told_as_well() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        let image = aws.amazon_linux().await;
        let old = aws.autoscaling.create_launch_configuration();
        let old = old.launch_configuration_name("old").image_id(image);
        let old = old.instance_type("t3.micro").send().await;
        old.expect("a launch configuration can be made");
        let group = aws.autoscaling.create_auto_scaling_group();
        let group = group
            .auto_scaling_group_name("web")
            .launch_configuration_name("old")
            .availability_zones(ZONE)
            .min_size(0)
            .max_size(1)
            .desired_capacity(1);
        group.send().await.expect("a group can be made");
        aws.wait_until_idle().await;
        aws.sweep().await.succeeded();
        only_one(aws.notices().await).says(&["web", "launch configuration old"]);
        assert!(told_of_group(aws).await.is_some());
    })
    .await;
}

/// Also when the old members, whose tags told of it, are gone.
#[tokio::test]
async fn a_group_whose_template_names_a_profile_now_is_told_as_cured() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        group(aws, 1).await;
        aws.sweep().await.succeeded();
        assert_eq!(aws.notices().await.len(), 1);
        assert!(told_of_group(aws).await.is_some());

        resize(aws, 0).await;
        let profile = aws.stack_profile().await;
        let profile =
            aws_sdk_ec2::types::LaunchTemplateIamInstanceProfileSpecificationRequest::builder()
                .arn(profile)
                .build();
        let data = RequestLaunchTemplateData::builder()
            .image_id(
                aws.image("al2023-ami-2023.9.20251201.0-kernel-6.12-x86_64")
                    .await,
            )
            .instance_type("t3.micro".into())
            .iam_instance_profile(profile)
            .build();
        let version = aws.ec2.create_launch_template_version();
        let version = version.launch_template_name("web");
        let version = version.launch_template_data(data).send().await;
        version.expect("a version can be made");
        resize(aws, 1).await;
        for _ in 0..2 {
            aws.sweep().await.succeeded();
            aws.resolved_once().await;
            assert_eq!(told_of_group(aws).await, None);
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_group_launches_from_and_may_not_be_read_is_in_the_report() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        let operation = "DescribeLaunchTemplateVersions";
        let denied = Fault::on("ec2", operation).refused("UnauthorizedOperation");
        aws.inject(denied).await;
        group(aws, 1).await;
        let report = aws.sweep().await.succeeded();
        let said = report.of("report").next().expect("it is reported");
        assert_eq!(said.resource, "auto-scaling-group/web");
        let named = format!("allow ec2:{operation} in the function's role");
        assert!(said.reason.contains(&named), "{}", said.reason);
        assert!(aws.notices().await.is_empty(), "nobody knows");

        aws.clear_faults().await;
        aws.sweep().await.succeeded();
        assert_eq!(aws.notices().await.len(), 1);
    })
    .await;
}

// --- never confidently wrong --------------------------------------------------------------------

/// The causes of a diagnosis that are definite.
fn definite(report: &Report) -> Vec<String> {
    let causes = report.detail["causes"].as_array().into_iter().flatten();
    let definite = causes.filter(|cause| cause["certainty"] == "definite");
    definite.map(|cause| cause["code"].to_string()).collect()
}

/// A role for this Region and for instances only, in an organization with a Region lock: it works,
/// whatever the simulation makes of it (SSM-12).
#[tokio::test]
async fn a_role_that_works_is_neither_blamed_nor_repaired() {
    deployed_with(ATTACH_SSM_ROLE, &[("RepairRoles", "true")], async |aws| {
        aws.put_policy("attach-ssm-role: { repair-roles: true }\n")
            .await;
        let image = aws.amazon_linux().await;
        let scoped = aws.profile("scoped", &[]).await;
        let here = json!({ "StringEquals": { "aws:RequestedRegion": REGION } });
        let document = json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Action": "ssm:UpdateInstanceInformation",
              "Resource": "arn:aws:ec2:*:*:instance/*", "Condition": here },
            { "Effect": "Allow", "Action": "ssmmessages:*", "Resource": "*", "Condition": here },
        ] });
        let put = aws.iam.put_role_policy().role_name("scoped");
        let put = put
            .policy_name("scoped")
            .policy_document(document.to_string());
        put.send().await.expect("a policy can be put");
        let owned = with_profile(&scoped);
        let instance = aws
            .launch(&image, |run| run.iam_instance_profile(owned))
            .await;
        let agent = aws.try_agent(&instance).await;
        assert!(agent.online && agent.usable, "{agent:?}");
        for locked in [false, true] {
            aws.set(json!({ "organization_denies_without_region": locked }))
                .await;
            aws.set_agent(&instance, "running").await;
            assert!(aws.try_agent(&instance).await.online);
            let report = aws.sweep().await.succeeded();
            assert_eq!((report.done("repair-role"), report.firing()), (0, 0));
            // Nor when it is late for another reason.
            aws.set_agent(&instance, "stopped").await;
            assert!(!aws.try_agent(&instance).await.online);
            aws.pass_minutes(&instance, 90).await;
            let report = diagnosis(aws, &instance).await;
            assert_eq!(definite(&report), [""; 0], "{:?}", report.detail);
            let report = aws.sweep().await.succeeded();
            assert_eq!(report.done("repair-role"), 0, "{report:?}");
        }
        assert!(aws.calls_of("AttachRolePolicy").await.is_empty());
    })
    .await;
}

/// Central endpoints behind a transit gateway, their names in a zone: neither is seen from here.
#[tokio::test]
async fn a_hub_behind_a_transit_gateway_is_not_taken_for_no_way() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        let vpc = aws.private_vpc().await;
        vpc.route_to_the_hub().await;
        vpc.open_endpoints().await;
        // One service by an endpoint of its own, the others by the hub.
        vpc.endpoint("ssm", true).await;
        aws.set(json!({ "hub": true })).await;
        let instance = private_instance(aws, &vpc).await;
        let agent = aws.try_agent(&instance).await;
        assert!(agent.online && agent.usable, "{agent:?}");
        aws.pass_minutes(&instance, 6).await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.firing(), 0, "{report:?}");
        let detail = diagnosis(aws, &instance).await.detail;
        assert_eq!(detail["causes"], json!([]), "{detail}");

        aws.set_agent(&instance, "stopped").await;
        assert!(!aws.try_agent(&instance).await.online);
        aws.pass_minutes(&instance, 90).await;
        let report = diagnosis(aws, &instance).await;
        assert_eq!(definite(&report), [""; 0], "{:?}", report.detail);
        let primary = &report.detail["primary"]["certainty"];
        assert_eq!(primary, "cannot-tell", "{:?}", report.detail);
        // Whoever says so in the policy isn't told of the network at all.
        let policy = format!("attach-ssm-role: {{ hub-vpcs: [{}] }}\n", vpc.id);
        aws.put_policy(&policy).await;
        let detail = diagnosis(aws, &instance).await.detail;
        assert_eq!(detail["primary"]["code"], "agent", "{detail}");
        assert_eq!(detail["causes"].as_array().map(Vec::len), Some(1));
    })
    .await;
}

/// It lies in no subnet, and has a route table of its own.
#[tokio::test]
async fn a_regional_nat_gateway_is_a_way_out() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        let vpc = aws.private_vpc().await;
        vpc.regional_nat().await;
        let instance = private_instance(aws, &vpc).await;
        assert!(aws.try_agent(&instance).await.online);
        aws.set_agent(&instance, "stopped").await;
        assert!(!aws.try_agent(&instance).await.online);
        aws.pass_minutes(&instance, 90).await;
        let detail = diagnosis(aws, &instance).await.detail;
        assert_eq!(detail["primary"]["code"], "agent", "{detail}");
        assert_eq!(detail["causes"].as_array().map(Vec::len), Some(1));
    })
    .await;
}

/// It carries what has no profile, and what has one that allows nothing (SSM-4).
#[tokio::test]
async fn what_default_host_management_carries_is_neither_attached_nor_repaired() {
    deployed_with(ATTACH_SSM_ROLE, &[("RepairRoles", "true")], async |aws| {
        aws.put_policy("attach-ssm-role: { repair-roles: true }\n")
            .await;
        aws.manage_hosts_by_default().await;
        let image = aws.amazon_linux().await;
        let bare = with_profile(&aws.profile("bare", &[]).await);
        let owned = aws
            .launch(&image, |run| run.iam_instance_profile(bare))
            .await;
        let hosted = aws.launch(&image, |run| run).await;
        assert_eq!(aws.profile_of(&hosted).await, None, "by its event");
        let wait = runs_now(aws, &hosted).await;
        assert!(wait.of("wait").next().is_some(), "{wait:?}");
        for instance in [&owned, &hosted] {
            let agent = aws.try_agent(instance).await;
            assert_eq!(agent.source.as_deref(), Some("default host management"));
            aws.pass_minutes(instance, 90).await;
        }
        let report = aws.sweep().await.succeeded();
        assert_eq!(
            (report.outcomes.done, report.firing()),
            (0, 0),
            "{report:?}"
        );
        assert!(aws.calls_of("AttachRolePolicy").await.is_empty());
        assert_eq!(aws.profile_of(&hosted).await, None);

        // What it doesn't carry, here for want of an agent, gets the profile when it had its time.
        let minimal = aws.image("al2023-ami-minimal-2023").await;
        let lost = aws.launch(&minimal, |run| run).await;
        assert_eq!(aws.profile_of(&lost).await, None, "it has its time");
        aws.pass_minutes(&lost, 40).await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("attach-profile"), 1, "{report:?}");
    })
    .await;
}

/// What only the owner of a VPC may read isn't known: of that VPC, and of no other.
#[tokio::test]
async fn a_shared_vpc_leaves_the_others_in_sight() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        aws.may_be_denied("ec2:DescribeVpcAttribute").await;
        let shared = aws.private_vpc().await;
        shared.share("222233334444").await;
        let own = aws.private_vpc().await;
        let (there, here) = (
            private_instance(aws, &shared).await,
            private_instance(aws, &own).await,
        );
        for instance in [&there, &here] {
            assert!(!aws.try_agent(instance).await.online);
            aws.pass_minutes(instance, 90).await;
        }
        aws.sweep().await.succeeded();
        let told = aws.notified_of(&there, "unmanaged").await;
        assert_eq!(told, Some(format!("vpc-shared {}", shared.id)));
        let told = aws.notified_of(&here, "unmanaged").await;
        assert_eq!(told, Some(format!("no-route {}", own.table)));
        let report = diagnosis(aws, &there).await;
        assert_eq!(definite(&report), [""; 0], "{:?}", report.detail);
    })
    .await;
}

/// DNS servers of one's own may know the endpoints' names, or not.
#[tokio::test]
async fn dns_servers_of_its_own_leave_the_names_in_doubt() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        let vpc = aws.private_vpc().await;
        vpc.own_resolver().await;
        vpc.open_endpoints().await;
        vpc.endpoints_but("").await;
        let instance = private_instance(aws, &vpc).await;
        aws.set_agent(&instance, "stopped").await;
        aws.pass_minutes(&instance, 90).await;
        let detail = diagnosis(aws, &instance).await.detail;
        let causes = detail["causes"].as_array().into_iter().flatten();
        let codes: Vec<_> = causes.map(|cause| cause["code"].as_str()).collect();
        assert!(codes.contains(&Some("own-resolver")), "{detail}");
    })
    .await;
}

/// A stack that associates a profile of its own fails where this one is there first.
#[tokio::test]
async fn an_instance_is_left_to_others_for_as_long_as_the_policy_says() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        aws.put_policy("attach-ssm-role: { attach-after: 10m }\n")
            .await;
        let image = aws.amazon_linux().await;
        let instance = aws.launch(&image, |run| run).await;
        aws.sweep().await.succeeded();
        assert_eq!(aws.profile_of(&instance).await, None);
        aws.pass_minutes(&instance, 11).await;
        aws.sweep().await.succeeded();
        let profile = aws.stack_profile().await;
        assert_eq!(aws.profile_of(&instance).await, Some(profile));
    })
    .await;
}

// --- sessions -----------------------------------------------------------------------------------

/// The causes of a diagnosis, and what only loses the log: certainty and code of each.
fn of_sessions(report: &Report) -> [Vec<String>; 2] {
    ["causes", "log-only"].map(|list| {
        let found = report.detail[list].as_array().into_iter().flatten();
        let word =
            |cause: &serde_json::Value, key: &str| cause[key].as_str().unwrap_or("?").to_owned();
        found
            .map(|cause| format!("{} {}", word(cause, "certainty"), word(cause, "code")))
            .collect()
    })
}

/// AWS calls the node connected, and yet no shell opens: what the preferences ask for, which the
/// profile that the guardrail itself attaches doesn't give.
#[tokio::test]
async fn what_a_session_takes_besides_a_channel_is_named() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        aws.put_policy("attach-ssm-role: { mode: observe }\n").await;
        let image = aws.amazon_linux().await;
        let own = aws.profile("own", &[CORE]).await;
        let instance = aws
            .launch(&image, |run| run.iam_instance_profile(with_profile(&own)))
            .await;
        let agent = aws.try_agent(&instance).await;
        assert!(agent.usable && agent.shell.is_none(), "{agent:?}");
        let report = diagnosis(aws, &instance).await;
        assert_eq!(of_sessions(&report), [[""; 0], [""; 0]], "no preferences");

        let key = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
        aws.key(REGION, key, "alias/sessions").await;
        let group = "/aws/lambda/ec2-guardrails-attach-ssm-role";
        let prefer = |key: &str, encrypted: bool| {
            json!({ "kmsKeyId": key, "cloudWatchLogGroupName": group, "s3BucketName": "session-logs",
                    "cloudWatchEncryptionEnabled": encrypted, "s3EncryptionEnabled": encrypted })
        };
        aws.prefer(prefer("alias/sessions", true)).await;
        let shell = aws.try_agent(&instance).await.shell.unwrap_or_default();
        assert!(shell.contains("handshake"), "{shell}");
        let report = diagnosis(aws, &instance).await;
        assert_eq!(report.detail["session-possible"], true, "the channel is there");
        let blocked = [
            "definite session-log-unencrypted",
            "likely session-key-refused",
            "likely session-log-unseen",
        ];
        let lost = ["definite session-log-refused", "likely session-log-refused"];
        assert_eq!(of_sessions(&report), [&blocked[..], &lost], "{:?}", report.detail);
        let problem = &report.detail["causes"][1]["problem"].to_string();
        assert!(problem.contains(key) && problem.contains("role own"), "{problem}");
        // It is for whoever asks; a sweep asks nothing of it.
        let before = aws.last_call().await;
        assert_eq!(aws.sweep().await.succeeded().firing(), 0);
        let asked = ["GetDocument", "DescribeKey", "DescribeLogGroups", "GetConnectionStatus"];
        let calls = aws.calls_since(before).await;
        assert!(!calls.iter().any(|call| asked.contains(&call.operation.as_str())));

        // A key that isn't there is AWS's own no.
        aws.prefer(prefer("alias/none", false)).await;
        let report = diagnosis(aws, &instance).await;
        let gone = ["definite session-key-unusable"];
        assert_eq!(of_sessions(&report), [&gone[..], &lost], "{:?}", report.detail);

        aws.prefer(prefer("alias/sessions", false)).await;
        for action in ["kms:Decrypt", "logs:*", "s3:PutObject"] {
            aws.allow("own", action).await;
        }
        assert_eq!(aws.try_agent(&instance).await.shell, None);
        let report = diagnosis(aws, &instance).await;
        assert_eq!(of_sessions(&report), [[""; 0], [""; 0]], "{:?}", report.detail);
        assert_eq!(report.detail["complete"], true, "{:?}", report.detail);
    })
    .await;
}

/// In private subnets the endpoints of Systems Manager lead to no key.
#[tokio::test]
async fn a_key_without_an_endpoint_for_kms_is_named() {
    deployed(ATTACH_SSM_ROLE, async |aws| {
        let vpc = aws.private_vpc().await;
        vpc.open_endpoints().await;
        vpc.endpoints_but("").await;
        let key = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
        aws.key(REGION, key, "alias/sessions").await;
        aws.prefer(json!({ "kmsKeyId": key })).await;
        let image = aws.amazon_linux().await;
        let own = aws.profile("own", &[CORE]).await;
        aws.allow("own", "kms:Decrypt").await;
        let in_private =
            |run: aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder| {
                run.subnet_id(&vpc.subnet)
                    .iam_instance_profile(with_profile(&own))
            };
        let instance = aws.launch(&image, in_private).await;
        let agent = aws.try_agent(&instance).await;
        let shell = agent.shell.unwrap_or_default();
        assert!(
            agent.usable && shell.contains("Handshake timed out"),
            "{shell}"
        );
        let report = diagnosis(aws, &instance).await;
        assert_eq!(
            of_sessions(&report)[0],
            ["likely endpoint-missing"],
            "{:?}",
            report.detail
        );
        let resource = format!("{}/kms", vpc.id);
        assert_eq!(report.detail["primary"]["resource"], resource);

        vpc.endpoint("kms", true).await;
        assert_eq!(aws.try_agent(&instance).await.shell, None);
        let report = diagnosis(aws, &instance).await;
        assert_eq!(
            of_sessions(&report),
            [[""; 0], [""; 0]],
            "{:?}",
            report.detail
        );
    })
    .await;
}
