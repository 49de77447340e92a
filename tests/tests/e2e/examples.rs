//! The policies of docs/examples/, each in place as it is written: one sweep of each guardrail, and what they say is done.

use aws_sdk_ec2::types::IamInstanceProfileSpecification;
use e2e::{
    ATTACH_SSM_ROLE, CANCEL_REFRESH, LocalAws, QUARANTINE_LAUNCH, Report, SNAPSHOT_VOLUMES,
    deployed, deployed_with,
};
use serde_json::json;

const ONE_INSTANCE: &str = include_str!("../../../docs/examples/one-instance.yaml");
const ECS: &str = include_str!("../../../docs/examples/small-production-ecs.yaml");
const EKS: &str = include_str!("../../../docs/examples/production-eks-karpenter.yaml");
const FIFTY_ACCOUNTS: &str = include_str!("../../../docs/examples/fifty-accounts.yaml");

const ECS_IMAGE: &str = "al2023-ami-ecs-hvm-2023.0.20251108-kernel-6.1-x86_64";
const EKS_IMAGE: &str = "amazon-eks-node-al2023-x86_64-standard-1.33-v20251112";
/// Somebody else's account.
const STRANGER: &str = "444455556666";

/// A sweep of a guardrail, which follows the example and leaves nothing undone.
async fn sweep(aws: &LocalAws, guardrail: &str, mode: &str) -> Report {
    let report = aws.sweep_of(guardrail).await.succeeded();
    let policy = (report.policy.as_str(), report.mode.as_str());
    assert!(policy.0.contains("version 1"), "{guardrail}: {policy:?}");
    assert_eq!(policy.1, mode, "{guardrail}");
    let (failed, left) = (report.outcomes.failed, report.outcomes.left);
    assert_eq!((failed, left), (0, 0), "{guardrail}: {report:#?}");
    report
}

fn with(report: &Report, action: &str, outcome: &str) -> Vec<String> {
    let found = report.of(action).filter(|e| e.outcome == outcome);
    found.map(|e| e.resource.clone()).collect()
}

/// The plans that a volume has snapshots of.
async fn plans(aws: &LocalAws, volume: &str) -> Vec<String> {
    let mut snapshots = aws.ours().await;
    snapshots.retain(|snapshot| snapshot.volume_id == volume);
    let plan = |snapshot: &e2e::Snapshot| snapshot.tag("ec2-guardrails:plan").to_owned();
    snapshots.iter().map(plan).collect()
}

/// An instance whose profile has a role of that name.
async fn launch_as(aws: &LocalAws, image: &str, profile: &str) -> String {
    let profile = IamInstanceProfileSpecification::builder().arn(profile);
    aws.launch(image, |run| run.iam_instance_profile(profile.build()))
        .await
}

#[tokio::test]
async fn one_instance() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.put_policy(ONE_INSTANCE).await;
        let image = aws.amazon_linux().await;
        let server = aws.instance(&image, 1).await;
        let strange = aws.image_of(STRANGER, "free-lunch", json!({})).await;
        let strange = aws.launch(&strange, |run| run).await;

        sweep(aws, SNAPSHOT_VOLUMES, "enforce").await;
        for volume in server.volumes() {
            assert_eq!(plans(aws, &volume).await, ["daily"]);
        }
        sweep(aws, ATTACH_SSM_ROLE, "enforce").await;
        let profile = aws.stack_profile().await;
        assert_eq!(aws.profile_of(&server.id).await, Some(profile));
        sweep(aws, CANCEL_REFRESH, "enforce").await;

        // Told, and left as it is.
        let report = sweep(aws, QUARANTINE_LAUNCH, "notify").await;
        assert_eq!(with(&report, "quarantine", "would-do"), [strange.as_str()]);
        assert!(!aws.is_isolated(&strange).await);
        let told = aws.notices().await;
        assert!(
            told.iter().any(|notice| notice.message.contains(&strange)),
            "{told:#?}"
        );
    })
    .await;
}

#[tokio::test]
async fn small_production_with_ecs() {
    let parameters = [
        (
            "ImageRepositoryArns",
            "arn:aws:ecr:eu-central-1:123456789012:repository/shop",
        ),
        ("RefreshAlarmPrefix", "shop-"),
    ];
    deployed_with(QUARANTINE_LAUNCH, &parameters, async |aws| {
        aws.put_policy(ECS).await;
        aws.alarm("shop-5xx").await;
        aws.repository("shop").await;
        let good = aws.push("shop", "prod", "release 1", &[]).await;
        let volumes = aws.volumes(1, &[("Backup", "hourly")]).await;
        let daily = aws.volumes(1, &[("Backup", "daily")]).await;

        // The release that fails: the image goes back under its tag, and the refresh ends.
        let host = aws.image("shop-host").await;
        let pulls = json!({ "pulls": "shop:prod", "good": [good.digest], "check": "ec2" });
        aws.behaves(&host, pulls).await;
        let web = aws.group("shop-web", 4, &host, |group| group).await;
        aws.retag("shop", "prod", "prod-stable").await;
        aws.push("shop", "prod", "release 2, which fails", &[])
            .await;
        let refresh = web
            .start_refresh(None, |preferences| preferences.instance_warmup(120))
            .await;
        web.seconds_until("Cancelled", 3600).await;
        assert!(web.cost(&refresh).await.launched <= 3);
        assert_eq!(aws.digest_under("shop", "prod").await, Some(good.digest));

        // The same image in the cluster's group, and outside.
        let image = aws.image_of("amazon", ECS_IMAGE, json!({})).await;
        let cluster = aws.group("ecs-cluster", 1, &image, |group| group).await;
        let outside = aws.launch(&image, |run| run).await;

        sweep(aws, SNAPSHOT_VOLUMES, "enforce").await;
        assert_eq!(plans(aws, &volumes[0]).await, ["hourly"]);
        assert_eq!(plans(aws, &daily[0]).await, ["daily"]);
        sweep(aws, ATTACH_SSM_ROLE, "enforce").await;
        sweep(aws, CANCEL_REFRESH, "enforce").await;
        sweep(aws, QUARANTINE_LAUNCH, "enforce").await;
        assert!(aws.is_isolated(&outside).await);
        let inside = cluster.described().await.instances()[0].clone();
        let inside = inside.instance_id().expect("an id");
        assert!(!aws.is_isolated(inside).await);
        let profile = aws.stack_profile().await;
        assert_eq!(aws.profile_of(inside).await, Some(profile));
    })
    .await;
}

#[tokio::test]
async fn production_with_eks_and_karpenter() {
    deployed(QUARANTINE_LAUNCH, async |aws| {
        aws.put_policy(EKS).await;
        let namespace = "kubernetes.io/created-for/pvc/namespace";
        let claim = aws.volumes(1, &[(namespace, "shop")]).await;
        let scratch = aws.volumes(1, &[(namespace, "build")]).await;
        let image = aws.image_of("amazon", EKS_IMAGE, json!({})).await;
        let role = aws.profile("KarpenterNodeRole-prod", &[]).await;
        let node = launch_as(aws, &image, &role).await;
        aws.tag(&[&node], &[("karpenter.sh/nodepool", "default")])
            .await;
        let stray = aws.launch(&image, |run| run).await;

        sweep(aws, SNAPSHOT_VOLUMES, "enforce").await;
        assert_eq!(plans(aws, &claim[0]).await, ["claims"]);
        assert!(plans(aws, &scratch[0]).await.is_empty());
        // Its role lacks what the agent needs, and that is nobody's affair here.
        aws.pass_minutes(&node, 60).await;
        let report = sweep(aws, ATTACH_SSM_ROLE, "enforce").await;
        let about = report.decisions.iter().filter(|e| e.resource == node);
        assert_eq!(about.count(), 0, "{report:#?}");
        sweep(aws, CANCEL_REFRESH, "enforce").await;
        sweep(aws, QUARANTINE_LAUNCH, "enforce").await;
        assert!(!aws.is_isolated(&node).await);
        assert!(aws.is_isolated(&stray).await);
    })
    .await;
}

#[tokio::test]
async fn fifty_accounts() {
    let shared = [(
        "PolicyParameterArn",
        "arn:aws:ssm:eu-central-1:123456789012:parameter/ec2-guardrails/policy",
    )];
    deployed_with(QUARANTINE_LAUNCH, &shared, async |aws| {
        aws.put_policy(FIFTY_ACCOUNTS).await;
        let golden = aws.image_of("111122223333", "golden-7", json!({})).await;
        let team = aws
            .image_of("self", "team-1", json!({ "source_image_id": golden }))
            .await;
        let base = aws.good_image().await;
        let instance = aws.launch(&golden, |run| run).await;
        let built = aws.launch(&team, |run| run).await;
        let builder = aws.profile("image-builder", &[]).await;
        let builder = launch_as(aws, &base, &builder).await;
        let stray = aws.launch(&base, |run| run).await;
        aws.tag(&[&instance], &[("Backup", "silver")]).await;
        let disk = aws.described(&instance).await;
        let disk = disk.block_device_mappings()[0].ebs().expect("a disk");
        let disk = disk.volume_id().expect("an id").to_owned();
        let gold = aws.volumes(1, &[("Backup", "gold")]).await;

        sweep(aws, SNAPSHOT_VOLUMES, "enforce").await;
        assert_eq!(plans(aws, &disk).await, ["silver"]);
        assert_eq!(plans(aws, &gold[0]).await, ["gold"]);
        // The team's stack has a quarter of an hour to attach a profile of its own.
        sweep(aws, ATTACH_SSM_ROLE, "enforce").await;
        assert_eq!(aws.profile_of(&instance).await, None);
        aws.pass_minutes(&instance, 16).await;
        sweep(aws, ATTACH_SSM_ROLE, "enforce").await;
        let profile = aws.stack_profile().await;
        assert_eq!(aws.profile_of(&instance).await, Some(profile));
        sweep(aws, CANCEL_REFRESH, "enforce").await;
        sweep(aws, QUARANTINE_LAUNCH, "enforce").await;
        for approved in [&instance, &built, &builder] {
            assert!(!aws.is_isolated(approved).await, "{approved}");
        }
        assert!(aws.is_isolated(&stray).await);
    })
    .await;
}
