//! Causes outside of a release, and failures that only look like one: what stops a refresh and what
//! doesn't, end to end.

use e2e::{CANCEL, CANCEL_REFRESH, Fault, ROLLBACK, deployed, only_one};
use serde_json::json;

/// Six instances over three zones, of which one doesn't have their type: the others do.
#[tokio::test]
async fn a_zone_that_lacks_the_type_stops_no_release() {
    deployed(CANCEL_REFRESH, async |aws| {
        aws.alone().await;
        let (first, next) = (aws.image("web-1").await, aws.image("web-2").await);
        let zones = ["eu-central-1b", "eu-central-1c"].map(str::to_owned);
        let over = |group: aws_sdk_autoscaling::operation::create_auto_scaling_group::builders::CreateAutoScalingGroupFluentBuilder| {
            let [b, c] = zones;
            group.availability_zones(b).availability_zones(c)
        };
        let group = aws.group("web", 6, &first, over).await;
        let version = group.version(&next).await;
        let words = "Your requested instance type (t3.micro) is not supported in your requested Availability Zone (eu-central-1a). Please retry your request by not specifying an Availability Zone";
        aws.set(json!({ "insufficient_capacity": [{ "availability_zone": "eu-central-1a", "message": words }] }))
            .await;
        let id = group.start_refresh(Some(&version), |p| p).await;
        group.pass_until(&id, "Successful", 240).await;
        aws.has_stopped_nothing().await;
        let failed = group.cost(&id).await.failed;
        assert!(failed >= 2, "the zone refused {failed} launches");
    })
    .await;
}

/// A new account's first launches, one in each zone and at one moment.
#[tokio::test]
async fn an_account_that_is_not_ready_stops_no_release() {
    deployed(CANCEL_REFRESH, async |aws| {
        aws.alone().await;
        let (first, next) = (aws.image("web-1").await, aws.image("web-2").await);
        let group = aws.group("web", 4, &first, |group| group).await;
        let version = group.version(&next).await;
        let refused = json!([{ "count": 3, "message": "Authentication Failure" }]);
        aws.set(json!({ "insufficient_capacity": refused })).await;
        let id = group.start_refresh(Some(&version), |p| p).await;
        group.pass_until(&id, "Successful", 120).await;
        assert_eq!(group.cost(&id).await.failed, 3);
        aws.has_stopped_nothing().await;
    })
    .await;
}

/// The code behind Spot's wrapper is no want of capacity.
#[tokio::test]
async fn what_spot_refuses_for_good_is_rolled_back() {
    deployed(CANCEL_REFRESH, async |aws| {
        aws.alone().await;
        let (first, next) = (aws.image("web-1").await, aws.image("web-2").await);
        let group = aws.group("web", 4, &first, |group| group).await;
        let version = group.version(&next).await;
        let words = "Could not launch Spot Instances. InvalidParameterCombination - The specified instance type is not eligible for Free Tier";
        aws.set(json!({ "insufficient_capacity": [{ "message": words }] })).await;
        let id = group.start_refresh(Some(&version), |p| p).await;
        group.seconds_until("RollbackInProgress", 3600).await;
        assert_eq!(group.cost(&id).await.failed, 2);
        aws.notices().await[0].says(&["web", &id, "Free Tier"]);
        aws.set(json!({ "insufficient_capacity": [] })).await;
    })
    .await;
}

/// Without the permission for one, the other is asked for.
#[tokio::test]
async fn a_rollback_that_is_denied_becomes_a_cancel() {
    deployed(CANCEL_REFRESH, async |aws| {
        aws.alone().await;
        let (first, bad) = (aws.image("web-1").await, aws.image("web-2").await);
        let group = aws.group("web", 4, &first, |group| group).await;
        let version = group.version(&bad).await;
        aws.inject(Fault::on("autoscaling", ROLLBACK).refused("AccessDenied"))
            .await;
        let id = group.start_refresh(Some(&version), |p| p).await;
        aws.deregister(&bad).await;
        aws.pass_with_sweeps(15).await;
        assert_eq!(group.status(&id).await, "Cancelled");
        assert_eq!(aws.carried_out(CANCEL).await, 1);
        assert_eq!(aws.calls_of(ROLLBACK).await.len(), 1);
        aws.notices().await[0].says(&["web", &id, "not rolled back"]);
    })
    .await;
}

/// Somebody has suspended Launch, and AWS would let the refresh wait for its hour.
#[tokio::test]
async fn what_a_refresh_waits_for_is_told_once_and_stops_nothing() {
    deployed(CANCEL_REFRESH, async |aws| {
        aws.alone().await;
        let (first, next) = (aws.image("web-1").await, aws.image("web-2").await);
        let group = aws.group("web", 4, &first, |group| group).await;
        let version = group.version(&next).await;
        let id = group
            .start_refresh(Some(&version), |p| p.instance_warmup(60))
            .await;
        group.seconds_until("InProgress", 300).await;
        group.suspend("Terminate").await;
        aws.pass_with_sweeps(15).await;
        assert!(aws.notices().await.is_empty(), "{:#?}", aws.notices().await);
        aws.pass_with_sweeps(30).await;
        only_one(aws.notices().await).says(&["web", &id, "suspended", "Terminate"]);
        aws.has_stopped_nothing().await;
    })
    .await;
}

/// A controller starts again what was stopped.
#[tokio::test]
async fn what_is_started_again_is_kept_stopped_where_the_policy_says_so() {
    deployed(CANCEL_REFRESH, async |aws| {
        aws.alone().await;
        aws.put_policy("cancel-refresh:\n  when-started-again: stop\n")
            .await;
        let (first, bad) = (aws.image("web-1").await, aws.image("web-2").await);
        let group = aws.group("web", 4, &first, |group| group).await;
        let version = group.version(&bad).await;
        aws.behaves(&bad, json!({ "healthy": false, "check": "ec2" }))
            .await;
        let id = group
            .start_refresh(Some(&version), |p| p.instance_warmup(120))
            .await;
        group.pass_until(&id, "RollbackSuccessful", 120).await;
        let again = group
            .start_refresh(Some(&version), |p| p.instance_warmup(120))
            .await;
        group.seconds_until("RollbackInProgress", 600).await;
        let launched = group.cost(&again).await.launched;
        assert!(launched <= 1, "stopped at first sight: {launched}");
        // A minute after the last notice only a sweep tells more.
        aws.sweep().await.succeeded();
        let told = aws.notices().await;
        let last = told.last().map(|notice| notice.message.clone());
        assert!(
            last.is_some_and(|text| text.contains("already, as refresh")),
            "{told:#?}"
        );
    })
    .await;
}
