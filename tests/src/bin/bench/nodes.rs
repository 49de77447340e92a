//! Sweeps of attach-ssm-role.

mod ec2;
mod estate;
mod network;
mod services;

pub(crate) use estate::Instances;

/// The stack's instance profile.
pub(crate) const OUR_PROFILE: &str =
    "arn:aws:iam::123456789012:instance-profile/ec2-guardrails-managed-node";

/// What a sweep finds, and so has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Every instance is a managed node, stopped or left out: the common case.
    Managed,
    /// Some lack a profile, some are on their way, some have come Online, some are late.
    Unmanaged,
}
