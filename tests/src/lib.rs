//! The harness of the end-to-end tests: a local AWS with the built template deployed to it, clients
//! of its APIs, and its control API for what AWS itself does by time and chance.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! e2e::deployed(e2e::SNAPSHOT_VOLUMES, async |aws| {
//!     let volumes = aws.volumes(3, &[("Backup", "true")]).await;
//!     aws.sweep().await.succeeded();
//! })
//! .await;
//! # }
//! ```
//!
//! Nothing here knows how a guardrail decides: what a test expects, it works out itself.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a harness fails its test by panicking"
)]

mod control;
mod drills;
mod elsewhere;
mod estate;
mod groups;
mod images;
mod launches;
mod letters;
mod memory;
mod network;
mod nodes;
mod permissions;
mod process;
mod run;
pub mod slots;
mod stack;

use std::fmt::Debug;
use std::time::Duration;

use aws_sdk_ec2::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use serde_json::json;

pub use crate::control::{Call, Fault, Notice, Seed, Snapshot, once_each, per_slot};
pub use crate::elsewhere::{THERE, key_arn};
pub use crate::estate::{Instance, OTHER_ZONE, ZONE};
pub use crate::groups::{CANCEL, Group, ROLLBACK, Refresh};
pub use crate::images::Pushed;
pub use crate::launches::{BAD, suspended};
pub use crate::network::{SERVICES, Vpc};
pub use crate::nodes::{Agent, trust};
pub use crate::run::{Entry, Outcomes, Report, Run};

use crate::process::Emulator;

/// The account and Region that the local AWS has.
pub const ACCOUNT: &str = "123456789012";
/// See [`ACCOUNT`].
pub const REGION: &str = "eu-central-1";
/// Guardrails, by their names.
pub const SNAPSHOT_VOLUMES: &str = "snapshot-volumes";
/// See [`SNAPSHOT_VOLUMES`].
pub const ATTACH_SSM_ROLE: &str = "attach-ssm-role";
/// See [`SNAPSHOT_VOLUMES`].
pub const CANCEL_REFRESH: &str = "cancel-refresh";
/// See [`SNAPSHOT_VOLUMES`].
pub const QUARANTINE_LAUNCH: &str = "quarantine-launch";
/// Where the template lets the function look for its policy.
pub const POLICY_PARAMETER: &str = "/ec2-guardrails/policy";
/// Longest that a test may take, the deployment included: many times what it takes on an idle machine.
const TEST_LIMIT: Duration = Duration::from_mins(5);

/// The one that there must be: what is told, called or left once.
#[must_use]
#[track_caller]
pub fn only_one<T: Debug>(some: Vec<T>) -> T {
    match <[T; 1]>::try_from(some) {
        Ok([one]) => one,
        Err(some) => panic!("not one: {some:#?}"),
    }
}

/// A local AWS with the template deployed. The whole stack is there; runs, calls, faults and metrics
/// are those of the one guardrail that the test is about.
#[derive(Debug)]
pub struct LocalAws {
    /// EC2's own API, as an operator uses it.
    pub ec2: aws_sdk_ec2::Client,
    /// The same of another Region, [`THERE`].
    pub there: aws_sdk_ec2::Client,
    /// Lambda's.
    pub lambda: aws_sdk_lambda::Client,
    /// IAM's.
    pub iam: aws_sdk_iam::Client,
    /// EC2 Auto Scaling's.
    pub autoscaling: aws_sdk_autoscaling::Client,
    /// ECR's.
    pub ecr: aws_sdk_ecr::Client,
    /// CloudWatch's.
    pub cloudwatch: aws_sdk_cloudwatch::Client,
    /// `DynamoDB`'s, as an operator uses it.
    pub dynamodb: aws_sdk_dynamodb::Client,
    guardrail: &'static str,
    eventbridge: aws_sdk_eventbridge::Client,
    load_balancing: aws_sdk_elasticloadbalancingv2::Client,
    sqs: aws_sdk_sqs::Client,
    ssm: aws_sdk_ssm::Client,
    emulator: Emulator,
}

/// With a metric for each number, as [`LocalAws::metric`] reads them.
pub const FULL_MONITORING: &[(&str, &str)] = &[("Monitoring", "full")];

/// Runs a test of `guardrail` against a local AWS of its own, and looks afterwards that the
/// function's role allows all that the function did, and that the local AWS itself was up to it.
pub async fn deployed(guardrail: &'static str, test: impl AsyncFnOnce(&LocalAws)) {
    deployed_with(guardrail, &[], test).await;
}

/// The same, with values for parameters of the template.
pub async fn deployed_with(
    guardrail: &'static str,
    parameters: &[(&str, &str)],
    test: impl AsyncFnOnce(&LocalAws),
) {
    let aws = LocalAws::start(guardrail, parameters);
    let run = async {
        test(&aws).await;
        aws.check_calls().await;
    };
    tokio::time::timeout(TEST_LIMIT, run)
        .await
        .expect("the test takes longer than it may; see the output above for how far it came");
}

/// How clients with these credentials reach it.
fn config(emulator: &Emulator, credentials: Credentials) -> aws_config::SdkConfig {
    aws_config::SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(emulator.endpoint())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

impl LocalAws {
    fn start(guardrail: &'static str, parameters: &[(&str, &str)]) -> Self {
        let emulator = Emulator::deployed(parameters);
        // The emulator tells callers apart by their credentials; these are nobody's.
        let nobody = Credentials::new("AKIAIOSFODNN7EXAMPLE", "secret", None, None, "test");
        let config = config(&emulator, nobody);
        Self {
            ec2: aws_sdk_ec2::Client::new(&config),
            there: aws_sdk_ec2::Client::from_conf(
                aws_sdk_ec2::config::Builder::from(&config)
                    .region(Region::new(THERE))
                    .build(),
            ),
            lambda: aws_sdk_lambda::Client::new(&config),
            iam: aws_sdk_iam::Client::new(&config),
            autoscaling: aws_sdk_autoscaling::Client::new(&config),
            ecr: aws_sdk_ecr::Client::new(&config),
            cloudwatch: aws_sdk_cloudwatch::Client::new(&config),
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            guardrail,
            eventbridge: aws_sdk_eventbridge::Client::new(&config),
            load_balancing: aws_sdk_elasticloadbalancingv2::Client::new(&config),
            sqs: aws_sdk_sqs::Client::new(&config),
            ssm: aws_sdk_ssm::Client::new(&config),
            emulator,
        }
    }

    /// The guardrail's function, as the template names it in the stack `ec2-guardrails`.
    #[must_use]
    pub fn function(&self) -> String {
        format!("ec2-guardrails-{}", self.guardrail)
    }

    /// A program with what the AWS CLI needs to reach this local AWS.
    #[must_use]
    pub fn program(&self, name: &str) -> std::process::Command {
        let mut command = std::process::Command::new(name);
        command
            .env("AWS_ENDPOINT_URL", self.emulator.endpoint())
            .env("AWS_REGION", REGION)
            // The first AWS CLI knows this one alone.
            .env("AWS_DEFAULT_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_PAGER", "");
        command
    }

    /// Turns the rules of the other guardrails off: of hundreds of instances each would otherwise
    /// start them too. What a test is about stays as it is deployed.
    pub async fn alone(&self) {
        let rules = self.eventbridge.list_rules().send().await.expect("rules");
        for rule in rules.rules().iter().filter_map(|rule| rule.name()) {
            let targets = self.eventbridge.list_targets_by_rule().rule(rule);
            let targets = targets.send().await.expect("targets");
            let ours = |target: &aws_sdk_eventbridge::types::Target| {
                target.arn().ends_with(&format!(":{}", self.function()))
            };
            if !targets.targets().iter().any(ours) {
                let off = self.eventbridge.disable_rule().name(rule).send().await;
                off.expect("the rule can be disabled");
            }
        }
    }

    /// Puts the policy in place, and makes sure that the next run reads it: a function keeps what it
    /// has read for a minute, and a changed configuration starts new processes.
    pub async fn put_policy(&self, document: &str) {
        self.ssm
            .put_parameter()
            .name(POLICY_PARAMETER)
            .value(document)
            .r#type(aws_sdk_ssm::types::ParameterType::String)
            .overwrite(true)
            .send()
            .await
            .expect("the policy parameter can be put");
        self.restart_function().await;
    }

    /// Deletes the policy's parameter.
    pub async fn delete_policy(&self) {
        let gone = self.ssm.delete_parameter().name(POLICY_PARAMETER);
        gone.send().await.expect("the policy parameter is there");
        self.restart_function().await;
    }

    /// Makes the next run start in a process of its own.
    pub async fn restart_function(&self) {
        let now = self
            .lambda
            .get_function_configuration()
            .function_name(self.function())
            .send()
            .await
            .expect("the function is there");
        self.lambda
            .update_function_configuration()
            .function_name(self.function())
            .memory_size(now.memory_size().unwrap_or(256) + 1)
            .send()
            .await
            .expect("the function can be changed");
    }

    /// Gives the function so many seconds.
    pub async fn set_timeout(&self, seconds: i32) {
        self.lambda
            .update_function_configuration()
            .function_name(self.function())
            .timeout(seconds)
            .send()
            .await
            .expect("the function's timeout can be changed");
    }

    /// The bodies in the dead-letter queue; they stay there.
    pub async fn dead_letters(&self) -> Vec<serde_json::Value> {
        let queue = self.dead_letter_queue().await;
        self.messages(&queue).await
    }

    /// Makes Lambda try a failed event again after so small a part of its usual minute.
    pub async fn retry_soon(&self) {
        self.set(json!({ "async_retry_scale": 0.005 })).await;
    }
}
