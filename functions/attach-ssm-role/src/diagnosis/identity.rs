//! Who the agent is: profile, role, trust, permissions, Default Host Management.

use std::fmt::Write as _;

use serde_json::Value;

use guardrails::ec2::State;

use super::document::{self, Verdict};
use super::{Cause, Certainty, Known};
use crate::facts::Read;

/// To register, and to say that it is alive (SSM-5).
pub const REGISTER: &str = "ssm:UpdateInstanceInformation";
/// To be reached: without them a node shows Online and yet can't be used (SSM-4).
pub const CHANNELS: [&str; 2] = [
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
];
/// What a role needs at least (SSM-5; `ec2messages:GetMessages` is needed by old agents only).
pub const NEEDED: [&str; 3] = [REGISTER, CHANNELS[0], CHANNELS[1]];

/// AWS's managed policies that hold all of [`NEEDED`].
const SUFFICIENT: [&str; 3] = [
    "policy/AmazonSSMManagedInstanceCore",
    "policy/service-role/AmazonEC2RoleforSSM",
    "policy/AdministratorAccess",
];

/// What stands behind an instance profile.
#[derive(Debug, Clone, PartialEq)]
pub enum Identity {
    /// The profile doesn't exist any more.
    NoProfile,
    /// The profile has no role (SSM-5).
    NoRole,
    /// Its role.
    Role(Role),
}

impl Identity {
    /// The role, where there is one.
    #[must_use]
    pub fn role(&self) -> Option<&Role> {
        match self {
            Self::Role(role) => Some(role),
            _ => None,
        }
    }
}

/// A role.
#[derive(Debug, Clone, PartialEq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Its trust policy, as JSON.
    pub trust: String,
    /// What it allows.
    pub permissions: Permissions,
    /// Whether `AmazonSSMManagedInstanceCore` is attached; read where something is missing.
    pub has_core: bool,
}

/// What a role allows.
#[derive(Debug, Clone, PartialEq)]
pub enum Permissions {
    /// What `SimulatePrincipalPolicy` says is missing of [`NEEDED`].
    Simulated {
        /// The actions.
        missing: Vec<String>,
    },
    /// Simulating isn't allowed: the ARNs of the managed policies attached.
    Attached {
        /// The policies.
        policies: Vec<String>,
    },
}

/// Whether the trust policy lets EC2 take the role.
#[must_use]
pub fn trusts_ec2(trust: &str) -> Verdict {
    document::evaluate(trust, "sts:AssumeRole", |principal| {
        principal == "*"
            || document::items(&principal["Service"])
                .filter_map(Value::as_str)
                .any(|service| service == "ec2.amazonaws.com" || service == "ec2.amazonaws.com.cn")
    })
}

/// What keeps the agent from being anybody.
pub(super) fn causes(known: &Known<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let instance = known.instance;
    let dhmc = known.dhmc.and_then(|read| read.as_ref().ok());
    let Some(profile) = &instance.profile else {
        if let Some(Some(role)) = dhmc {
            causes.push(Cause {
                code: "no-profile",
                certainty: Certainty::Likely,
                resource: instance.id.clone(),
                problem: format!("it has no instance profile; Default Host Management is on (role {role}) and would do for an agent from 3.2.582 with IMDSv2"),
                fix: "Wait for the guardrail to attach its profile, or update the agent.".to_owned(),
            });
        } else {
            let pending = instance.state == State::Pending;
            causes.push(Cause {
                code: "no-profile",
                certainty: Certainty::Definite,
                resource: instance.id.clone(),
                problem: "it has no instance profile, and Default Host Management is off".to_owned(),
                fix: if pending {
                    "Nothing: the profile is attached as soon as it runs."
                } else {
                    "The next sweep attaches the profile, unless the policy's mode is observe or a tag excludes the instance."
                }
                .to_owned(),
            });
        }
        return causes;
    };
    if let Some(Ok(identity)) = known.identity {
        causes.extend(of_identity(profile, identity));
    }
    // A profile that allows nothing at all is no loss where Default Host Management steps in, but
    // one that allows registering keeps it out (SSM-4).
    if let (Some(Some(role)), Some(cause)) = (dhmc, causes.first_mut())
        && cause.code == "role-lacks"
    {
        let _ = write!(
            cause.problem,
            "; Default Host Management is on (role {role}), but the agent prefers the profile"
        );
    }
    causes
}

fn name_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

fn of_identity(profile: &str, identity: &Identity) -> Vec<Cause> {
    let profile = name_of(profile);
    let role = match identity {
        Identity::NoProfile => {
            return vec![Cause {
                code: "profile-gone",
                certainty: Certainty::Definite,
                resource: profile.to_owned(),
                problem: format!("its instance profile {profile} doesn't exist any more (or was made anew under its name, which is another profile)"),
                fix: "Disassociate it (aws ec2 disassociate-iam-instance-profile); the guardrail then attaches its own.".to_owned(),
            }];
        }
        Identity::NoRole => {
            return vec![Cause {
                code: "profile-without-role",
                certainty: Certainty::Definite,
                resource: profile.to_owned(),
                problem: format!("its instance profile {profile} has no role"),
                fix: format!(
                    "Put the role into it: aws iam add-role-to-instance-profile --instance-profile-name {profile} --role-name …"
                ),
            }];
        }
        Identity::Role(role) => role,
    };
    let mut causes = Vec::new();
    let name = &role.name;
    let cause = |code, certainty, problem: String, fix: String| Cause {
        code,
        certainty,
        resource: name.clone(),
        problem,
        fix,
    };
    match trusts_ec2(&role.trust) {
        Verdict::Allowed => {}
        Verdict::Denied => causes.push(cause(
            "role-trust",
            Certainty::Definite,
            format!("the trust policy of role {name} doesn't let ec2.amazonaws.com take it"),
            "Allow sts:AssumeRole to the service ec2.amazonaws.com in the role's trust policy."
                .to_owned(),
        )),
        Verdict::Unclear => causes.push(cause(
            "role-trust",
            Certainty::CannotTell,
            format!("the trust policy of role {name} has conditions"),
            "Check that they hold for ec2.amazonaws.com.".to_owned(),
        )),
    }
    match &role.permissions {
        Permissions::Simulated { missing } if missing.is_empty() => {}
        Permissions::Simulated { missing } => causes.push(cause(
            "role-lacks",
            Certainty::Definite,
            format!("role {name} doesn't allow {}", missing.join(", ")),
            repair_hint(role),
        )),
        Permissions::Attached { policies } => {
            let enough = policies
                .iter()
                .any(|arn| SUFFICIENT.iter().any(|policy| arn.ends_with(policy)));
            if !enough {
                causes.push(cause(
                    "role-lacks",
                    Certainty::CannotTell,
                    format!("role {name} has none of AWS's policies for managed nodes attached; whether its others allow {} can't be simulated", NEEDED.join(", ")),
                    format!("Allow iam:SimulatePrincipalPolicy to the function, or check the role by hand. {}", repair_hint(role)),
                ));
            }
        }
    }
    causes
}

fn repair_hint(role: &Role) -> String {
    let name = &role.name;
    if role.has_core {
        "AmazonSSMManagedInstanceCore is attached, so something denies it: look for a Deny statement, a permissions boundary or a service control policy.".to_owned()
    } else {
        format!(
            "aws iam attach-role-policy --role-name {name} --policy-arn arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore (or let the guardrail do it: repair-roles: true)."
        )
    }
}

/// Which message channels an Online node's role lacks: it shows Online and can't be used (SSM-4).
#[must_use]
pub fn unusable(identity: Option<&Read<Identity>>) -> Option<(&Role, Vec<&str>)> {
    let role = identity?.as_ref().ok()?.role()?;
    let Permissions::Simulated { missing } = &role.permissions else {
        return None;
    };
    // Without the right to register, the node is Online through Default Host Management.
    if missing.iter().any(|action| action == REGISTER) {
        return None;
    }
    let channels: Vec<&str> = missing
        .iter()
        .map(String::as_str)
        .filter(|action| CHANNELS.contains(action))
        .collect();
    (!channels.is_empty()).then_some((role, channels))
}
