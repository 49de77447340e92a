//! The image tag's repair: incident 4 in full, and all that speaks against overwriting a tag.

#![expect(clippy::print_stdout, reason = "costs are printed")]
#![expect(
    clippy::expect_used,
    reason = "helpers outside the tests' own functions fail the test by panicking"
)]

use e2e::{CANCEL, CANCEL_REFRESH, Group, LocalAws, Pushed, ROLLBACK, deployed, deployed_with};
use serde_json::{Value, json};

const REPOSITORY: &str = "shop";
/// The parameter without which the function may do nothing in any repository.
const PARAMETERS: &[(&str, &str)] = &[(
    "ImageRepositoryArns",
    "arn:aws:ecr:eu-central-1:123456789012:repository/shop",
)];
/// Which image the group may have put back is the policy's to say.
const POLICY: &str = "cancel-refresh:
  groups:
    - name: shop
      image: { repository: shop, tag: prod, stable-tag: prod-stable }
";
const PLATFORMS: &[&str] = &["linux/amd64", "linux/arm64"];

/// What stands there before the release: the shop's group, whose instances pull `shop:prod` at boot,
/// and the image that is good.
struct Shop<'a> {
    aws: &'a LocalAws,
    group: Group<'a>,
    good: Pushed,
}

impl<'a> Shop<'a> {
    /// What is remembered of the image that its refresh brought: the digest, and what came of it.
    async fn image(&self) -> (Value, Value) {
        let remembered = self.group.remembered().await.expect("it is remembered");
        let image = &remembered["image"];
        (image["digest"].clone(), image["repair"].clone())
    }

    async fn open(aws: &'a LocalAws, desired: i32) -> Self {
        aws.alone().await;
        aws.repository(REPOSITORY).await;
        let good = aws.push(REPOSITORY, "prod", "release 1", PLATFORMS).await;
        let image = aws.image("host").await;
        let pulls = json!({ "pulls": "shop:prod", "good": [good.digest], "check": "ec2" });
        aws.behaves(&image, pulls).await;
        let group = aws.group("shop", desired, &image, |group| group).await;
        aws.put_policy(POLICY).await;
        Self { aws, group, good }
    }

    /// The pipeline of incident 4: the old `prod` stays as `prod-stable`, the new image goes under
    /// `prod`, and all instances are replaced. The launch template doesn't change.
    async fn release(&self, content: &str, platforms: &[&str]) -> (Pushed, String) {
        self.aws.retag(REPOSITORY, "prod", "prod-stable").await;
        let pushed = self.push(content, platforms).await;
        (pushed, self.start().await)
    }

    async fn push(&self, content: &str, platforms: &[&str]) -> Pushed {
        self.aws.push(REPOSITORY, "prod", content, platforms).await
    }

    async fn start(&self) -> String {
        self.group
            .start_refresh(None, |preferences| preferences.instance_warmup(120))
            .await
    }

    async fn under(&self, tag: &str) -> Option<String> {
        self.aws.digest_under(REPOSITORY, tag).await
    }

    /// All instances run the good image and are in service.
    async fn recovers(&self) {
        self.aws.pass_with_sweeps(30).await;
        let pulled = self.group.pulled().await;
        assert!(
            !pulled.is_empty() && pulled.values().all(|d| *d == self.good.digest),
            "{pulled:?}"
        );
        let in_service = self.group.in_service().await;
        assert_eq!(in_service.len(), pulled.len());
    }

    /// Where each call of these operations stands among the function's calls.
    async fn order(&self, operations: &[&str]) -> Vec<String> {
        self.aws
            .calls()
            .await
            .iter()
            .filter(|call| operations.contains(&call.operation.as_str()) && call.error.is_none())
            .map(|call| {
                let tag = call.parameters["imageTag"].as_str().unwrap_or_default();
                format!("{} {tag}", call.operation).trim().to_owned()
            })
            .collect()
    }
}

/// Incident 4 in full. ASG-11: the tag first, then the refresh; otherwise what is still launching
/// boots the bad image.
#[tokio::test]
async fn incident_4_the_tag_is_put_back_and_then_the_refresh_is_stopped() {
    deployed_with(CANCEL_REFRESH, PARAMETERS, async |aws| {
        let shop = Shop::open(aws, 8).await;
        let good_bytes = aws.tagged_image(REPOSITORY, "prod").await;
        let (bad, id) = shop.release("release 2, which fails", PLATFORMS).await;
        // ASG-10: seen at the Started event, while nobody knew that it would fail.
        shop.group.seconds_until("InProgress", 300).await;
        aws.wait_until_idle().await;
        assert_eq!(shop.image().await, (json!(bad.digest), json!("seen")));

        let seconds = shop.group.seconds_until("Cancelled", 3600).await;
        let cost = shop.group.cost(&id).await;
        println!("incident 4, 8 instances: stopped after {seconds} s, {cost:?}");
        assert!(cost.launched <= 3, "a few instances: {cost:?}");
        let failed = format!("prod-failed-{id}");
        let steps = ["PutImage", CANCEL, ROLLBACK];
        let expected = [
            format!("PutImage {failed}"),
            "PutImage prod".to_owned(),
            CANCEL.to_owned(),
        ];
        assert_eq!(shop.order(&steps).await, expected);
        assert_eq!(shop.under("prod").await.as_ref(), Some(&shop.good.digest));
        assert_eq!(
            shop.under("prod-stable").await.as_ref(),
            Some(&shop.good.digest)
        );
        assert_eq!(shop.under(&failed).await.as_ref(), Some(&bad.digest));
        let now = aws.tagged_image(REPOSITORY, "prod").await;
        let bytes = |image: Option<aws_sdk_ecr::types::Image>| {
            let image = image.expect("there is one");
            (image.image_manifest, image.image_manifest_media_type)
        };
        assert_eq!(
            bytes(now),
            bytes(good_bytes),
            "byte for byte, with its type"
        );
        // With a tag of its own a lifecycle rule doesn't sweep it.
        aws.expire_untagged(REPOSITORY).await;
        assert_eq!(shop.under(&failed).await.as_ref(), Some(&bad.digest));

        let told = aws.notices().await;
        told[0].says(&["shop", &id, "prod", &failed, &shop.good.digest, "i-"]);
        shop.recovers().await;
        aws.nothing_more_is_told(2).await;
        aws.notices().await[1].says(&["shop", "Cancelled"]);
        assert_eq!(shop.image().await, (json!(bad.digest), json!("restored")));
    })
    .await;
}

/// A release with a new launch template version too can be rolled back, and comes back on the good
/// image. One that is good leaves the tag where the pipeline put it.
#[tokio::test]
async fn a_numbered_version_is_rolled_back_after_the_tag_and_a_good_release_keeps_its_tag() {
    deployed_with(CANCEL_REFRESH, PARAMETERS, async |aws| {
        let shop = Shop::open(aws, 4).await;
        aws.retag(REPOSITORY, "prod", "prod-stable").await;
        let next = shop.push("release 2, which is good", &[]).await;
        let host = aws.image("host-2").await;
        let good = json!([shop.good.digest, next.digest]);
        aws.behaves(
            &host,
            json!({ "pulls": "shop:prod", "good": good, "check": "ec2" }),
        )
        .await;
        let version = shop.group.version(&host).await;
        let start = async |version: &str| {
            let warm = |p: aws_sdk_autoscaling::types::builders::RefreshPreferencesBuilder| {
                p.instance_warmup(120)
            };
            shop.group.start_refresh(Some(version), warm).await
        };
        let id = start(&version).await;
        shop.group.pass_until(&id, "Successful", 120).await;
        aws.nothing_more_is_told(0).await;
        assert_eq!(shop.under("prod").await.as_ref(), Some(&next.digest));
        assert_eq!(aws.carried_out("PutImage").await, 0);

        aws.retag(REPOSITORY, "prod", "prod-stable").await;
        let bad = shop.push("release 3, which fails", &[]).await;
        let version = shop.group.version(&host).await;
        let id = start(&version).await;
        shop.group.seconds_until("RollbackInProgress", 3600).await;
        let failed = format!("PutImage prod-failed-{id}");
        let steps = shop.order(&["PutImage", CANCEL, ROLLBACK]).await;
        assert_eq!(steps, [failed.as_str(), "PutImage prod", ROLLBACK]);
        assert_eq!(shop.under("prod").await.as_ref(), Some(&next.digest));
        let failed = format!("prod-failed-{id}");
        assert_eq!(shop.under(&failed).await.as_ref(), Some(&bad.digest));
        shop.group.pass_until(&id, "RollbackSuccessful", 120).await;
        aws.nothing_more_is_told(2).await;
    })
    .await;
}

// --- nothing is overwritten ---------------------------------------------------------------------

/// Runs a failing release of `shop`; whatever is wrong with the tags, the refresh is stopped, no tag
/// is moved, and the notice says why and what to do.
async fn stopped_with_tags_untouched(shop: &Shop<'_>, id: &str, says: &[&str]) {
    let aws = shop.aws;
    let before = aws.image_tags(REPOSITORY).await;
    shop.group.seconds_until("Cancelled", 3600).await;
    assert_eq!(aws.carried_out(CANCEL).await, 1);
    let mut after = aws.image_tags(REPOSITORY).await;
    // To keep the bad image under one more tag harms nobody.
    after.remove(&format!("prod-failed-{id}"));
    assert_eq!(after, before, "no tag was moved");
    aws.sweep().await.succeeded();
    let told = aws.notices().await;
    let all: Vec<String> = told
        .iter()
        .map(|n| format!("{}\n{}", n.subject, n.message))
        .collect();
    let all = all.join("\n");
    for part in says {
        assert!(all.contains(part), "{part} is not in:\n{all}");
    }
    assert!(all.contains("shop:prod"), "{all}");
    let notices = told.len();
    aws.nothing_more_is_told(notices).await;
}

/// A person, or the pipeline, was faster: their image stays.
#[tokio::test]
async fn a_tag_that_was_moved_meanwhile_stays() {
    deployed_with(CANCEL_REFRESH, PARAMETERS, async |aws| {
        let shop = Shop::open(aws, 4).await;
        let (_, id) = shop.release("release 2, which fails", &[]).await;
        shop.group.seconds_until("InProgress", 300).await;
        aws.wait_until_idle().await;
        let fix = shop.push("release 2 with a fix that fails too", &[]).await;
        stopped_with_tags_untouched(&shop, &id, &["changed", &fix.digest]).await;
    })
    .await;
}

#[tokio::test]
async fn without_a_known_good_image_the_tag_stays() {
    deployed_with(CANCEL_REFRESH, PARAMETERS, async |aws| {
        let shop = Shop::open(aws, 4).await;
        // The pipeline forgot to tag it.
        shop.push("release 2, which fails", &[]).await;
        let id = shop.start().await;
        stopped_with_tags_untouched(&shop, &id, &["prod-stable", "doesn't exist"]).await;
    })
    .await;
}

#[tokio::test]
async fn where_stable_is_the_bad_image_itself_the_tag_stays() {
    deployed_with(CANCEL_REFRESH, PARAMETERS, async |aws| {
        let shop = Shop::open(aws, 4).await;
        // The pipeline tagged the wrong one.
        shop.push("release 2, which fails", &[]).await;
        aws.retag(REPOSITORY, "prod", "prod-stable").await;
        let id = shop.start().await;
        stopped_with_tags_untouched(&shop, &id, &["prod-stable", "same image"]).await;
    })
    .await;
}

#[tokio::test]
async fn in_an_immutable_repository_the_tag_stays() {
    deployed_with(CANCEL_REFRESH, PARAMETERS, async |aws| {
        let shop = Shop::open(aws, 4).await;
        let (_, id) = shop.release("release 2, which fails", &[]).await;
        aws.make_immutable(REPOSITORY).await;
        stopped_with_tags_untouched(&shop, &id, &["immutable"]).await;
    })
    .await;
}

/// The stack's parameter wasn't given: AWS itself holds the function off, and a person is told what
/// is missing. The refresh is stopped all the same.
#[tokio::test]
async fn without_the_permission_the_refresh_is_stopped_and_the_parameter_named() {
    deployed(CANCEL_REFRESH, async |aws| {
        aws.may_be_denied("ecr:BatchGetImage").await;
        let shop = Shop::open(aws, 4).await;
        let (bad, id) = shop.release("release 2, which fails", &[]).await;
        shop.group.seconds_until("Cancelled", 3600).await;
        assert_eq!(shop.under("prod").await.as_ref(), Some(&bad.digest));
        assert_eq!(aws.carried_out(CANCEL).await, 1);
        let told = aws.notices().await;
        assert!(!told.is_empty());
        told[0].says(&["shop", &id, "ImageRepositoryArns"]);
    })
    .await;
}

/// AWS has declared the failure before the policy did: what is launched next must not boot the bad
/// image either.
#[tokio::test]
async fn after_a_failure_that_aws_declares_itself_the_tag_is_put_back() {
    deployed_with(CANCEL_REFRESH, PARAMETERS, async |aws| {
        let shop = Shop::open(aws, 4).await;
        // So many that AWS's hour without progress is over first.
        let many = [
            ("ec2-guardrails:unhealthy-terminations", "1000"),
            ("ec2-guardrails:launch-failures", "1000"),
        ];
        shop.group.tag_group(&many).await;
        let (bad, id) = shop.release("release 2, which fails", &[]).await;
        shop.group.pass_until(&id, "Failed", 180).await;
        aws.sweep().await.succeeded();
        assert_eq!(aws.carried_out(CANCEL).await, 0);
        assert_eq!(shop.under("prod").await.as_ref(), Some(&shop.good.digest));
        let failed = format!("prod-failed-{id}");
        assert_eq!(shop.under(&failed).await.as_ref(), Some(&bad.digest));
        shop.recovers().await;
    })
    .await;
}

// --- killed on the way --------------------------------------------------------------------------

/// Killed after each step in turn: the next run does what is left, once.
#[tokio::test]
async fn killed_between_any_two_steps_the_next_run_goes_on() {
    for (service, operation, nth) in [
        ("dynamodb", "PutItem", 2),
        ("ecr", "PutImage", 1),
        ("ecr", "PutImage", 2),
        ("autoscaling", CANCEL, 1),
    ] {
        deployed_with(CANCEL_REFRESH, PARAMETERS, async |aws| {
            let shop = Shop::open(aws, 4).await;
            aws.retry_soon().await;
            let (bad, id) = shop.release("release 2, which fails", PLATFORMS).await;
            let mut fault = e2e::Fault::on(service, operation).nth(nth);
            if service == "dynamodb" {
                fault = fault.matching("Item.item.S", "refresh#*");
            }
            aws.inject(fault.carried_out_and_killed()).await;
            let step = format!("{operation} {nth}");
            for _ in 0..6 {
                aws.pass_seconds(120).await;
                aws.wait_for_retries().await;
                if shop.group.remembered().await.is_some() {
                    shop.group.age_mark(2).await;
                }
                let _ = aws.sweep().await;
            }
            assert_eq!(aws.fault_hits().await, [1], "{step}: it was killed");
            assert_eq!(shop.group.status(&id).await, "Cancelled", "{step}");
            assert_eq!(aws.carried_out(CANCEL).await, 1, "{step}");
            assert_eq!(
                shop.under("prod").await.as_ref(),
                Some(&shop.good.digest),
                "{step}"
            );
            let failed = format!("prod-failed-{id}");
            assert_eq!(
                shop.under(&failed).await.as_ref(),
                Some(&bad.digest),
                "{step}"
            );
            shop.recovers().await;
            let told = aws.notices().await;
            // Whatever became of the run that moved it.
            let moved = told
                .iter()
                .any(|n| n.message.contains("Image tag moved back"));
            assert!(moved, "{step}: {told:#?}");
            let ends = told
                .iter()
                .filter(|n| n.message.contains("Cancelled"))
                .count();
            assert!(ends >= 1 && told.len() <= 3, "{step}: {told:#?}");
            aws.nothing_more_is_told(told.len()).await;
        })
        .await;
    }
}
