//! Sweeps of small estates by the guardrails themselves, in this process: the quick form of the
//! benchmark, with the same checks.

use std::time::Duration;

use attach_ssm_role::AttachSsmRole;
use aws_sdk_ec2::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use cancel_refresh::CancelRefresh;
use guardrails::guardrail::Guardrail;
use guardrails::notify::Place;
use guardrails::runner::{Invocation, Runner};
use guardrails::wiring::Environment;
use jiff::Timestamp;
use quarantine_launch::QuarantineLaunch;
use serde_json::Value;
use snapshot_volumes::SnapshotVolumes;

use super::*;
use crate::estate::{ACCOUNT, REGION};
use crate::server::Calls;

fn options() -> Options {
    Options {
        latency: Duration::ZERO,
        ..Options::default()
    }
}

fn runner<G: Guardrail>(endpoint: &str) -> Runner<G> {
    let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE", "secret", None, None, "test");
    let config = aws_config::SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(endpoint)
        .build();
    let environment = Environment::from([
        ("POLICY_PARAMETER", services::POLICY_PARAMETER),
        ("NOTIFICATION_TOPIC_ARN", services::TOPIC),
        ("INSTANCE_PROFILE_ARN", crate::nodes::OUR_PROFILE),
    ]);
    Runner::new(&config, &environment).unwrap()
}

/// All sweeps of `run` in an estate of `size`, each checked; the calls of each.
async fn sweep<G: Guardrail>(run: Run, size: usize) -> Vec<Calls> {
    let server = Server::start(Account::new(run.estate(size), &options()))
        .await
        .unwrap();
    let runner = runner::<G>(&server.endpoint().url);
    let mut calls = Vec::new();
    for suffix in run.sweeps() {
        server.account().begin();
        let invocation = Invocation {
            id: "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned(),
            now: Timestamp::now(),
            deadline: tokio::time::Instant::now() + Duration::from_mins(1),
            place: Place::of_function(&format!(
                "arn:aws:lambda:{REGION}:{ACCOUNT}:function:ec2-guardrails-{}",
                G::NAME
            )),
        };
        let event: Value = serde_json::from_str(&server.account().estate().event()).unwrap();
        let report = runner.run(event, &invocation).await.unwrap();
        let report = serde_json::to_vec(&report).unwrap();
        if let Err(why) = check(&server, &report, &options()) {
            panic!("{size}, {}{suffix}: {why}", run.name());
        }
        calls.push(server.account().calls().clone());
    }
    calls
}

#[tokio::test]
async fn snapshot_volumes_passes_every_check() {
    for run in Run::ALL {
        if matches!(run, Run::Volumes(_)) {
            sweep::<SnapshotVolumes>(run, 100).await;
        }
    }
}

#[tokio::test]
async fn attach_ssm_role_passes_every_check() {
    for run in Run::ALL {
        if matches!(run, Run::Instances(_)) {
            sweep::<AttachSsmRole>(run, 400).await;
        }
    }
}

#[tokio::test]
async fn cancel_refresh_passes_every_check() {
    for run in Run::ALL {
        if matches!(run, Run::Groups(_)) {
            sweep::<CancelRefresh>(run, 110).await;
        }
    }
}

#[tokio::test]
async fn quarantine_launch_passes_every_check() {
    for run in Run::ALL {
        if matches!(run, Run::Launches(_)) {
            sweep::<QuarantineLaunch>(run, 400).await;
        }
    }
}

/// The claim itself, beside what the least number of calls says: more healthy instances take
/// more pages, and nothing else.
#[tokio::test]
async fn only_pages_grow_with_healthy_instances() {
    let run = Run::Instances(crate::nodes::Scenario::Managed);
    // As many groups that launch without a profile in both.
    let few = sweep::<AttachSsmRole>(run, 250).await.remove(0);
    let many = sweep::<AttachSsmRole>(run, 1_150).await.remove(0);
    let more: Vec<&str> = many
        .0
        .iter()
        .filter(|(name, count)| few.0.get(*name) != Some(*count))
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(more, ["DescribeInstanceInformation", "DescribeInstances"]);
}
