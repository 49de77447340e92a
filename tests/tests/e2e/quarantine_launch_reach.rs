//! What of an instance can still be reached in quarantine: by the policy's responders, on trunks and
//! in secondary networks, in VPCs of other accounts, and in warm pools.

#![expect(
    clippy::expect_used,
    reason = "helpers outside the tests' own functions fail the test by panicking"
)]

use aws_sdk_ec2::types::{IpPermission, IpRange};
use e2e::{LocalAws, QUARANTINE_LAUNCH, Report, deployed, suspended};

const OWNER: &str = "222233334444";

async fn policy(aws: &LocalAws, mode: &str, responders: &str) {
    let document = format!(
        "quarantine-launch:\n  mode: {mode}\n  approve:\n    - {{ owner: amazon, name: \"al2023-ami-2023.*-x86_64\" }}\n  responders: [{responders}]\n"
    );
    aws.put_policy(&document).await;
}

fn reasons(report: &Report) -> String {
    format!("{report:?}")
}

// --- responders ---------------------------------------------------------------------------------

async fn vpc_of(aws: &LocalAws, instance: &str) -> String {
    let described = aws.described(instance).await;
    described.vpc_id().expect("it is in a VPC").to_owned()
}

#[tokio::test]
async fn responders_come_in_as_the_policy_says_and_nobody_else() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.alone().await;
        let image = aws.bad_image().await;
        policy(aws, "observe", "").await;
        let id = aws.launch(&image, |run| run).await;
        let vpc = vpc_of(aws, &id).await;
        let before = aws.picture(&id).await;
        let forensics = aws.security_group(&vpc, "forensics").await;
        let elsewhere = aws.private_vpc().await;
        let ours = aws.security_group(&elsewhere.id, "theirs").await;
        let first = format!("{{ from: [10.1.2.0/24, 'fd00:1::/48', {forensics}, {ours}], ports: [22] }}");
        policy(aws, "enforce", &first).await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("quarantine"), 1, "{report:?}");
        let group = format!("{forensics} 22");
        let whom = ["10.1.2.0/24 22", "fd00:1::/48 22", group.as_str()];
        assert!(aws.is_isolated_but(&id, &whom).await, "the other VPC's group isn't here");
        assert_eq!(aws.stage(&id).await.as_deref(), Some("complete"));
        let told = aws.notices().await;
        assert_eq!(told.len(), 1, "{told:#?}");
        let come_in = format!("Responders may come in: 10.1.2.0/24 (tcp 22), fd00:1::/48 (tcp 22), {forensics} (tcp 22)");
        told[0].says(&[&id, &come_in]);
        let list = aws.command("list", &[]).await.detail;
        assert_eq!(list["quarantine"][0]["isolated"], true, "{list}");
        let listed = list["quarantine"][0]["responders"].as_str();
        assert!(come_in.ends_with(listed.expect("whom")), "{list}");
        let check = aws.command("check", &[("instance-id", &id)]).await.detail;
        assert_eq!(check["responders"][0]["ports"][0], 22, "{check}");

        // A policy that changes is followed by the next sweep, and nobody is told of intruders.
        policy(aws, "enforce", "{ from: 10.9.0.0/16 }").await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("mend-isolation"), 1, "{report:?}");
        assert!(aws.is_isolated_but(&id, &["10.9.0.0/16"]).await);
        // One that can't be read changes nothing.
        aws.put_policy("quarantine-launch: { responders: [{ from: 0.0.0.0/0 }] }").await;
        let run = aws.sweep().await;
        assert!(run.failed().1.contains("nothing is isolated"), "{}", run.told());
        assert!(aws.is_isolated_but(&id, &["10.9.0.0/16"]).await);
        assert_eq!(aws.notices().await.len(), 1);

        // Whoever else lets himself in is told, and thrown out again.
        policy(aws, "enforce", "{ from: 10.9.0.0/16 }").await;
        let isolation = aws.isolation_of(&vpc).await.expect("it is there");
        let intruder = IpPermission::builder().ip_protocol("-1");
        let intruder = intruder.ip_ranges(IpRange::builder().cidr_ip("198.51.100.0/24").build());
        let open = aws.ec2.authorize_security_group_ingress();
        let open = open.group_id(isolation.group_id().expect("an id"));
        open.ip_permissions(intruder.build()).send().await.expect("he may");
        let list = aws.command("list", &[]).await.detail;
        assert_eq!(list["quarantine"][0]["isolated"], false, "{list}");
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("mend-isolation"), 1, "{report:?}");
        assert!(aws.is_isolated_but(&id, &["10.9.0.0/16"]).await);
        let told = aws.notices().await;
        assert!(told[1].message.contains("somebody added rules"), "{told:#?}");

        let report = aws.command("release", &[("instance-id", &id)]).await;
        assert_eq!(report.done("release"), 1, "{report:?}");
        assert_eq!(aws.picture(&id).await, before);
    })
    .await;
}

/// Whoever may tag and make groups puts our tag on one of his own, and one of our name where we
/// have none: neither is opened to anybody.
#[tokio::test]
async fn no_group_is_opened_because_of_its_tag_or_name() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.alone().await;
        let image = aws.bad_image().await;
        policy(aws, "observe", "").await;
        let id = aws.launch(&image, |run| run).await;
        let vpc = vpc_of(aws, &id).await;
        let database = aws.security_group(&vpc, "database").await;
        aws.tag(
            &[&database],
            &[("ec2-guardrails:guardrail", QUARANTINE_LAUNCH)],
        )
        .await;
        let other = aws.private_vpc().await;
        let planted = aws
            .security_group(&other.id, "ec2-guardrails-quarantine")
            .await;
        let inbound = async |group: &str| {
            let found = aws
                .ec2
                .describe_security_groups()
                .group_ids(group)
                .send()
                .await;
            let found = found.expect("EC2 answers");
            found.security_groups()[0].ip_permissions().len()
        };
        policy(aws, "enforce", "{ from: 10.1.2.0/24 }").await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("quarantine"), 1, "{report:?}");
        assert!(aws.is_isolated_but(&id, &["10.1.2.0/24"]).await);
        aws.sweep().await.succeeded();
        assert_eq!((inbound(&database).await, inbound(&planted).await), (0, 0));
    })
    .await;
}

// --- trunks and secondary networks --------------------------------------------------------------

#[tokio::test]
async fn pods_on_a_trunk_are_isolated_with_their_node_and_what_cant_be_is_named() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.alone().await;
        let image = aws.bad_image().await;
        policy(aws, "observe", "").await;
        let id = aws.launch(&image, |run| run).await;
        let vpc = vpc_of(aws, &id).await;
        let subnet = aws.described(&id).await.subnet_id.expect("a subnet");
        let pods = aws.security_group(&vpc, "pods").await;
        let trunk = aws.trunk(&id).await;
        let pod = aws.branch(Some(&trunk), &subnet, &pods).await;
        let before = aws.picture(&id).await;
        policy(aws, "enforce", "").await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("quarantine"), 1, "{report:?}");
        assert!(aws.is_isolated(&id).await);
        let isolation = aws
            .isolation_of(&vpc)
            .await
            .and_then(|group| group.group_id);
        let isolated = vec![isolation.expect("an id")];
        assert_eq!(aws.groups_on(&pod).await, isolated);
        assert_eq!(aws.stage(&id).await.as_deref(), Some("complete"));

        // A pod that comes later is isolated, and one of which nobody tells where it is is named.
        let late = aws.branch(Some(&trunk), &subnet, &pods).await;
        let homeless = aws.branch(None, &subnet, &pods).await;
        aws.secondary(&id, "sni-0a1b2c3d4e5f60718").await;
        aws.age_quarantine(&id, 300).await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("isolate-again"), 1, "{report:?}");
        assert_eq!(aws.groups_on(&late).await, isolated);
        assert_eq!(aws.groups_on(&homeless).await, [pods.as_str()]);
        assert_eq!(aws.stage(&id).await.as_deref(), Some("partial"));
        let why = reasons(&report);
        assert!(
            why.contains(&homeless) && why.contains("sni-0a1b2c3d4e5f60718"),
            "{why}"
        );
        let told = aws.notices().await;
        let partly = told
            .iter()
            .find(|one| one.message.contains("can't be isolated"));
        partly
            .expect("it is told")
            .says(&["sni-0a1b2c3d4e5f60718", &trunk]);
        let firing = aws.notified_of(&id, "drift").await;
        assert_eq!(firing, None, "nobody has changed anything by hand");

        let report = aws.command("release", &[("instance-id", &id)]).await;
        assert_eq!(report.done("release"), 1, "{report:?}");
        for branch in [&pod, &late, &homeless] {
            assert_eq!(aws.groups_on(branch).await, [pods.as_str()]);
        }
        let after = aws.picture(&id).await;
        assert!(after.contains("sni-"), "it has one more interface now");
        assert_eq!(aws.groups_of(&id).await.len(), 2);
        assert!(before.contains(&trunk));
        aws.bears_no_trace(&id).await;
    })
    .await;
}

// --- shared VPCs --------------------------------------------------------------------------------

#[tokio::test]
async fn in_a_shared_vpc_the_owners_groups_come_back_and_those_that_are_gone_are_named() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.alone().await;
        let image = aws.bad_image().await;
        policy(aws, "observe", "").await;
        let vpc = aws.private_vpc().await;
        let (own, theirs) = (
            aws.security_group(&vpc.id, "own").await,
            aws.security_group(&vpc.id, "theirs").await,
        );
        let launch = async || {
            let id = aws
                .launch(&image, |run| {
                    let run = run.subnet_id(&vpc.subnet);
                    run.security_group_ids(&own).security_group_ids(&theirs)
                })
                .await;
            let before = aws.picture(&id).await;
            (id, before)
        };
        let ((one, before), (two, _)) = (launch().await, launch().await);
        vpc.share(OWNER).await;
        aws.owned_by(&theirs, OWNER, true).await;
        policy(aws, "enforce", "{ from: 10.1.2.0/24 }").await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("quarantine"), 2, "{report:?}");
        for id in [&one, &two] {
            assert!(aws.is_isolated_but(id, &["10.1.2.0/24"]).await);
            assert_eq!(aws.stage(id).await.as_deref(), Some("complete"));
        }
        let report = aws.command("release", &[("instance-id", &one)]).await;
        assert_eq!(report.done("release"), 1, "{report:?}");
        assert_eq!(aws.picture(&one).await, before);
        // Its owner shares it no longer: what is left comes back, and that it isn't whole is said.
        aws.owned_by(&theirs, OWNER, false).await;
        let report = aws.command("release", &[("instance-id", &two)]).await;
        let said = reasons(&report);
        assert!(
            said.contains(&format!(
                "has {own} again, but of {own}, {theirs} the others don't exist any more"
            )),
            "{said}"
        );
        let groups = aws.groups_of(&two).await;
        assert!(
            groups.values().all(|groups| *groups == [own.clone()]),
            "{groups:?}"
        );
    })
    .await;
}

// --- warm pools ---------------------------------------------------------------------------------

#[tokio::test]
async fn what_is_in_a_warm_pool_is_isolated_there_and_leaves_the_service_once_it_is_in_it() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.deaf().await;
        let image = aws.bad_image().await;
        policy(aws, "observe", "").await;
        let group = aws.group("web", 0, &image, |group| group.max_size(2)).await;
        let pool = aws
            .autoscaling
            .put_warm_pool()
            .auto_scaling_group_name("web");
        let pool = pool.pool_state(aws_sdk_autoscaling::types::WarmPoolState::Running);
        pool.send().await.expect("a warm pool");
        aws.pass_seconds(60).await;
        let found = aws
            .autoscaling
            .describe_warm_pool()
            .auto_scaling_group_name("web");
        let found = found.send().await.expect("it is there");
        let ids: Vec<String> = found
            .instances()
            .iter()
            .filter_map(|one| one.instance_id.clone())
            .collect();
        assert_eq!(ids.len(), 2, "{found:?}");
        let before = aws.picture(&ids[0]).await;

        policy(aws, "enforce", "").await;
        let report = aws.sweep().await.succeeded();
        assert_eq!(report.done("quarantine"), 2, "{report:?}");
        assert_eq!(
            report.done("break-loop"),
            1,
            "launches into the pool count: {report:?}"
        );
        assert_eq!(suspended(&group.described().await).len(), 2);
        let why = reasons(&report);
        assert!(
            why.contains("it is Warmed:Running in the warm pool of web"),
            "{why}"
        );
        let changes = aws.changes().await;
        let tried = |name: &str| changes.iter().any(|call| call.operation == name);
        assert!(
            !tried("EnterStandby") && !tried("DetachInstances"),
            "{changes:?}"
        );
        for id in &ids {
            assert!(aws.is_isolated(id).await);
            assert_eq!(aws.stage(id).await.as_deref(), Some("complete"));
        }
        aws.pass_seconds(120).await;
        assert_eq!(aws.launched_by("web").await, 2, "the pool isn't filled up");

        // Released in the pool, it is as it was; the other one comes into service.
        let report = aws.command("release", &[("instance-id", &ids[0])]).await;
        assert_eq!(report.done("release"), 1, "{report:?}");
        assert_eq!(aws.picture(&ids[0]).await, before);
        let end = aws
            .ec2
            .terminate_instances()
            .instance_ids(&ids[0])
            .send()
            .await;
        end.expect("it can be terminated");
        let resume = aws
            .autoscaling
            .resume_processes()
            .auto_scaling_group_name("web");
        let resume = resume.scaling_processes("Launch").send().await;
        resume.expect("a person lets it launch");
        aws.resize("web", 0, 1).await;
        aws.pass_seconds(60).await;
        assert_eq!(group.in_service().await.remove(0).0, ids[1]);
        let report = aws.sweep().await.succeeded();
        let mut entries = report.of("quarantine");
        let taken = entries.any(|one| one.resource == ids[1] && one.outcome == "done");
        assert!(taken, "{report:?}");
        let now = group.described().await;
        let member = now
            .instances()
            .iter()
            .find(|one| one.instance_id() == Some(&ids[1]));
        let state = member
            .and_then(|one| one.lifecycle_state())
            .map(aws_sdk_autoscaling::types::LifecycleState::as_str);
        assert_eq!(state, Some("Standby"), "{now:?}");
        let report = aws.command("release", &[("instance-id", &ids[1])]).await;
        assert_eq!(report.done("release"), 1, "{report:?}");
        aws.pass_seconds(60).await;
        let back = group.in_service().await;
        assert!(back.iter().any(|one| one.0 == ids[1]), "{back:?}");
    })
    .await;
}
