//! What the guardrail works with.

use guardrails::state::State;

/// The clients of the services, and the memory.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    pub(crate) ec2: aws_sdk_ec2::Client,
    pub(crate) ssm: aws_sdk_ssm::Client,
    pub(crate) iam: aws_sdk_iam::Client,
    pub(crate) kms: aws_sdk_kms::Client,
    pub(crate) logs: aws_sdk_cloudwatchlogs::Client,
    pub(crate) autoscaling: aws_sdk_autoscaling::Client,
    /// Its own memory.
    pub(crate) own: State,
    /// That of quarantine-launch, to be read.
    pub(crate) quarantine: State,
}
