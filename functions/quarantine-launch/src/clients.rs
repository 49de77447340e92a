//! What the guardrail works with.

use aws_sdk_autoscaling as autoscaling;
use aws_sdk_cloudtrail as cloudtrail;
use aws_sdk_ec2 as ec2;
use aws_sdk_iam as iam;
use aws_sdk_ssm as ssm;
use guardrails::aws::SdkConfig;
use guardrails::state::State;

/// The clients of the services, and the memory.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    pub(crate) ec2: ec2::Client,
    pub(crate) autoscaling: autoscaling::Client,
    pub(crate) cloudtrail: cloudtrail::Client,
    pub(crate) iam: iam::Client,
    pub(crate) ssm: ssm::Client,
    pub(crate) state: State,
    /// Whether a release gives an instance profile back itself, which takes `iam:PassRole`.
    pub(crate) restores_profiles: bool,
}

impl Clients {
    pub(crate) fn new(config: &SdkConfig, state: &State, restores_profiles: bool) -> Self {
        Self {
            ec2: ec2::Client::new(config),
            autoscaling: autoscaling::Client::new(config),
            cloudtrail: cloudtrail::Client::new(config),
            iam: iam::Client::new(config),
            ssm: ssm::Client::new(config),
            state: state.clone(),
            restores_profiles,
        }
    }
}
