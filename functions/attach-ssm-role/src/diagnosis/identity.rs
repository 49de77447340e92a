//! Who the agent is: profile, role, trust, permissions, Default Host Management.

use std::fmt::Write as _;

use guardrails::ec2::State;
use guardrails::resource::name_of;
use serde_json::Value;

use super::cause::{Cause, Certainty, Known};
use super::document::{self, Verdict};
use crate::facts::Read;
use crate::facts::identity::{CHANNELS, Identity, NEEDED, Permissions, REGISTER, Role};

/// AWS's managed policies that hold all of [`NEEDED`].
const SUFFICIENT: [&str; 3] = [
    "policy/AmazonSSMManagedInstanceCore",
    "policy/service-role/AmazonEC2RoleforSSM",
    "policy/AdministratorAccess",
];

/// Whether the trust policy lets EC2 take the role.
fn trusts_ec2(trust: &str) -> Verdict {
    document::evaluate(trust, "sts:AssumeRole", |principal| {
        principal == "*"
            || document::items(&principal["Service"])
                .filter_map(Value::as_str)
                .any(|service| service == "ec2.amazonaws.com" || service == "ec2.amazonaws.com.cn")
    })
}

/// What keeps the agent from being anybody.
pub(super) fn causes(known: &Known<'_>) -> Vec<Cause> {
    let dhmc = known.dhmc.and_then(|read| read.as_ref().ok());
    let dhmc = dhmc.and_then(Option::as_deref);
    let Some(profile) = &known.instance.profile else {
        return vec![no_profile(known, dhmc)];
    };
    let mut causes = match known.identity {
        Some(Ok(identity)) => of_identity(profile, identity),
        _ => Vec::new(),
    };
    // A profile that allows nothing at all is no loss where Default Host Management steps in, but
    // one that allows registering keeps it out (SSM-4).
    if let (Some(role), Some(cause)) = (dhmc, causes.first_mut())
        && cause.code == "role-lacks"
    {
        let _ = write!(
            cause.problem,
            "; Default Host Management is on (role {role}), but the agent prefers the profile"
        );
    }
    causes
}

fn no_profile(known: &Known<'_>, dhmc: Option<&str>) -> Cause {
    let instance = known.instance;
    let (certainty, problem, fix) = match dhmc {
        Some(role) => (
            Certainty::Likely,
            format!(
                "it has no instance profile; Default Host Management is on (role {role}) and would do for an agent from 3.2.582 with IMDSv2"
            ),
            "Wait for the guardrail to attach its profile, or update the agent.",
        ),
        None => (
            Certainty::Definite,
            "it has no instance profile, and Default Host Management is off".to_owned(),
            if instance.state == State::Pending {
                "Nothing: the profile is attached as soon as it runs."
            } else {
                "The next sweep attaches the profile, unless the policy's mode isn't enforce or a tag excludes the instance."
            },
        ),
    };
    Cause::new("no-profile", certainty, &instance.id, problem, fix)
}

fn of_identity(profile: &str, identity: &Identity) -> Vec<Cause> {
    let profile = name_of(profile);
    match identity {
        Identity::NoProfile => vec![Cause::new(
            "profile-gone",
            Certainty::Definite,
            profile,
            format!(
                "its instance profile {profile} doesn't exist any more (or was made anew under its name, which is another profile)"
            ),
            "Disassociate it (aws ec2 disassociate-iam-instance-profile); the guardrail then attaches its own.",
        )],
        Identity::NoRole => vec![Cause::new(
            "profile-without-role",
            Certainty::Definite,
            profile,
            format!("its instance profile {profile} has no role"),
            format!(
                "Put the role into it: aws iam add-role-to-instance-profile --instance-profile-name {profile} --role-name …"
            ),
        )],
        Identity::Role(role) => trust(role).into_iter().chain(permissions(role)).collect(),
    }
}

fn trust(role: &Role) -> Option<Cause> {
    let name = &role.name;
    let (certainty, problem, fix) = match trusts_ec2(&role.trust) {
        Verdict::Allowed => return None,
        Verdict::Denied => (
            Certainty::Definite,
            "doesn't let ec2.amazonaws.com take it",
            "Allow sts:AssumeRole to the service ec2.amazonaws.com in the role's trust policy.",
        ),
        Verdict::Unclear => (
            Certainty::CannotTell,
            "has conditions",
            "Check that they hold for ec2.amazonaws.com.",
        ),
    };
    let problem = format!("the trust policy of role {name} {problem}");
    Some(Cause::new("role-trust", certainty, name, problem, fix))
}

fn permissions(role: &Role) -> Option<Cause> {
    let name = &role.name;
    let (certainty, problem, fix) = match &role.permissions {
        Permissions::Simulated { missing } if missing.is_empty() => return None,
        Permissions::Simulated { missing } => (
            Certainty::Definite,
            format!("role {name} doesn't allow {}", missing.join(", ")),
            repair_hint(role),
        ),
        Permissions::Attached { policies } => {
            let enough = |arn: &String| SUFFICIENT.iter().any(|policy| arn.ends_with(policy));
            if policies.iter().any(enough) {
                return None;
            }
            (
                Certainty::CannotTell,
                format!(
                    "role {name} has none of AWS's policies for managed nodes attached; whether its others allow {} can't be simulated",
                    NEEDED.join(", ")
                ),
                format!(
                    "Allow iam:SimulatePrincipalPolicy to the function, or check the role by hand. {}",
                    repair_hint(role)
                ),
            )
        }
    };
    Some(Cause::new("role-lacks", certainty, name, problem, fix))
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
pub(crate) fn unusable(identity: Option<&Read<Identity>>) -> Option<(&Role, Vec<&str>)> {
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
