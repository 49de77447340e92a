//! Instance profiles and their roles, as IAM describes them.

use guardrails::aws::ApiError;

/// To register, and to say that it is alive (SSM-5).
pub(crate) const REGISTER: &str = "ssm:UpdateInstanceInformation";
/// To be reached: without them a node shows Online and yet can't be used (SSM-4).
pub(crate) const CHANNELS: [&str; 2] = [
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
];
/// What a role needs at least (SSM-5; `ec2messages:GetMessages` is needed by old agents only).
pub(crate) const NEEDED: [&str; 3] = [REGISTER, CHANNELS[0], CHANNELS[1]];

/// What stands behind an instance profile.
#[expect(
    clippy::large_enum_variant,
    reason = "hardly any profile is without a role"
)]
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Identity {
    NoProfile,
    /// The profile has no role (SSM-5).
    NoRole,
    Role(Role),
}

impl Identity {
    /// The role, where there is one.
    pub(crate) fn role(&self) -> Option<&Role> {
        match self {
            Self::Role(role) => Some(role),
            _ => None,
        }
    }
}

/// A role.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) arn: String,
    /// Its trust policy, as JSON.
    pub(crate) trust: String,
    pub(crate) permissions: Permissions,
    /// Whether `AmazonSSMManagedInstanceCore` is attached; read where something is missing.
    pub(crate) has_core: Result<bool, ApiError>,
    /// The instance for which its permissions were simulated.
    pub(crate) simulated_for: String,
}

/// What a role allows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Permissions {
    /// What `SimulatePrincipalPolicy` says of [`NEEDED`].
    Simulated {
        /// What the role's own policies don't allow.
        missing: Vec<String>,
        /// What may be allowed all the same, each with the reason: the simulation lacked a value, or
        /// only the organization or the boundary said no (SSM-12).
        unclear: Vec<String>,
    },
    /// Simulating isn't allowed: the ARNs of the managed policies attached.
    Attached { policies: Vec<String> },
}
