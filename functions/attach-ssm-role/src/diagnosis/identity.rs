//! Who the agent is: profile, role, trust, permissions, Default Host Management.

use std::fmt::Write as _;

use guardrails::ec2::State;
use guardrails::resource::{Arn, name_of};
use serde_json::Value;

use super::cause::{Cause, Certainty, Known};
use super::document::{self, Verdict};
use crate::facts::Instance;
use crate::facts::identity::{Identity, NEEDED, Permissions, REGISTER, Role};

/// AWS's managed policies that hold all of [`NEEDED`].
const SUFFICIENT: [&str; 3] = [
    "policy/AmazonSSMManagedInstanceCore",
    "policy/service-role/AmazonEC2RoleforSSM",
    "policy/AdministratorAccess",
];

/// Whether the trust policy lets EC2 take the role.
fn trusts_ec2(trust: &str) -> Verdict {
    // Each partition has its own ending: `ec2.amazonaws.com`, `ec2.amazonaws.com.cn` …
    document::evaluate(trust, "sts:AssumeRole", |principal| {
        principal == "*"
            || document::items(&principal["Service"])
                .filter_map(Value::as_str)
                .any(|service| service.starts_with("ec2."))
    })
}

/// What keeps the agent from being anybody.
pub(super) fn causes(known: &Known<'_>) -> Vec<Cause> {
    let causes = match (&known.instance.profile, known.identity) {
        (None, _) => vec![no_profile(known.instance)],
        (Some(profile), Some(Ok(identity))) => of_identity(known, profile, identity),
        _ => Vec::new(),
    };
    causes
        .into_iter()
        .map(|cause| carried(known, cause))
        .collect()
}

/// Where the profile gives the agent nothing, Default Host Management carries the node; one that
/// allows registering keeps it out (SSM-4).
fn carried(known: &Known<'_>, mut cause: Cause) -> Cause {
    if role_of(known).is_some_and(registers) {
        return cause;
    }
    let instead = match known.dhmc {
        Ok(None) => return cause,
        Ok(Some(role)) => format!(
            "Default Host Management is on and should carry the node all the same (role {role}, agents from 3.2.582 with IMDSv2)"
        ),
        Err(_) => "whether Default Host Management carries the node couldn't be read".to_owned(),
    };
    let _ = write!(cause.problem, "; {instead}");
    cause.at_most(Certainty::Likely)
}

/// The role of its profile.
fn role_of<'a>(known: &Known<'a>) -> Option<&'a Role> {
    known.identity?.as_ref().ok()?.role()
}

/// Whether an agent with this role may register its node.
pub(crate) fn registers(role: &Role) -> bool {
    match &role.permissions {
        Permissions::Simulated { missing, .. } => {
            missing.iter().all(|action| action != REGISTER)
                && trusts_ec2(&role.trust) == Verdict::Allowed
        }
        Permissions::Attached { .. } => false,
    }
}

fn no_profile(instance: &Instance) -> Cause {
    Cause::new(
        "no-profile",
        Certainty::Definite,
        &instance.id,
        "it has no instance profile",
        if instance.state == State::Pending {
            "Nothing: the profile is attached as soon as it runs."
        } else {
            "A sweep attaches the profile, unless the policy's mode isn't enforce, or the policy leaves the instance alone or has it wait (attach-after)."
        },
    )
}

fn of_identity(known: &Known<'_>, profile: &str, identity: &Identity) -> Vec<Cause> {
    let (arn, profile) = (profile, name_of(profile));
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
        Identity::Role(role) => {
            let permissions = permissions(known.instance, arn, role);
            trust(role).into_iter().chain(permissions).collect()
        }
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

fn permissions(instance: &Instance, profile: &str, role: &Role) -> Option<Cause> {
    let name = &role.name;
    let (certainty, problem, fix) = match &role.permissions {
        Permissions::Simulated { missing, unclear } if missing.is_empty() => {
            if unclear.is_empty() {
                return None;
            }
            (
                Certainty::CannotTell,
                format!(
                    "whether role {name} allows all that the agent needs can't be simulated from here: {}",
                    unclear.join(", ")
                ),
                "Look at these conditions, the permissions boundary and the organization's policies; where the agent's log shows no AccessDeniedException, they aren't the cause.".to_owned(),
            )
        }
        Permissions::Simulated { missing, .. } => (
            // Another instance's answer may hang on its ARN.
            if role.simulated_for == instance.id {
                Certainty::Definite
            } else {
                Certainty::Likely
            },
            format!("role {name} doesn't allow {}", missing.join(", ")),
            repair_hint(profile, role),
        ),
        Permissions::Attached { policies } => {
            // AWS's own, in whichever partition; somebody else's may have the same name.
            let enough = |arn: &String| {
                let ours = |policy| arn.ends_with(&format!("::aws:{policy}"));
                SUFFICIENT.iter().any(ours)
            };
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
                    repair_hint(profile, role)
                ),
            )
        }
    };
    Some(Cause::new("role-lacks", certainty, name, problem, fix))
}

fn repair_hint(profile: &str, role: &Role) -> String {
    let name = &role.name;
    let policy = core_policy(profile);
    if role.has_core == Ok(true) {
        "AmazonSSMManagedInstanceCore is attached, so something denies it: look for a Deny statement, a permissions boundary or a service control policy.".to_owned()
    } else {
        format!(
            "aws iam attach-role-policy --role-name {name} --policy-arn {policy} (or let the guardrail do it: repair-roles: true)."
        )
    }
}

/// AWS's managed policy for managed nodes, in the partition of `arn`.
pub(crate) fn core_policy(arn: &str) -> String {
    let partition = Arn::read(arn).map_or("aws", |arn| arn.partition);
    format!("arn:{partition}:iam::aws:policy/AmazonSSMManagedInstanceCore")
}

/// Which message channels the role of a node that is Online lacks: it can't be used (SSM-4).
/// Without the right to register, the node is Online through Default Host Management; where that
/// can't be simulated, neither can the channels.
pub(crate) fn without_channels(known: &Known<'_>) -> Option<Cause> {
    let profile = known.instance.profile.as_ref()?;
    let role = role_of(known)?;
    let cause = permissions(known.instance, profile, role)?;
    let listed = matches!(role.permissions, Permissions::Attached { .. });
    (listed || registers(role)).then_some(cause)
}
