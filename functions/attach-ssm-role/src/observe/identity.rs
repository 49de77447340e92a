//! Reads instance profiles, their roles and what these allow: once per profile.

use std::collections::BTreeMap;

use aws_sdk_iam::Client;
use aws_sdk_iam::types::{
    ContextEntry, ContextKeyTypeEnum, EvaluationResult, PolicyEvaluationDecisionType,
};
use futures::StreamExt as _;
use futures::stream;
use guardrails::aws::{ApiError, ErrorKind};
use guardrails::resource::{Arn, name_of};
use percent_encoding::percent_decode_str;

use super::answer::unreadable;
use crate::facts::identity::{CHANNELS, Identity, NEEDED, Permissions, REGISTER, Role};
use crate::facts::sessions::Right;
use crate::facts::{Instance, Read};

/// Profiles read at once; IAM's rates are low, and shared by the whole account.
const CONCURRENCY: usize = 4;

/// Reads the profiles with these ARNs, each with its id; permissions as `profiles` has an instance
/// for each.
pub(super) async fn identities(
    iam: &Client,
    profiles: BTreeMap<String, Instance>,
) -> BTreeMap<String, Read<(String, Identity)>> {
    stream::iter(profiles)
        .map(|(profile, instance)| async move {
            let identity = identity(iam, &profile, &instance).await;
            (profile, identity)
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await
}

async fn identity(iam: &Client, profile: &str, instance: &Instance) -> Read<(String, Identity)> {
    const CALL: &str = "iam:GetInstanceProfile";
    let call = iam.get_instance_profile();
    let answer = call.instance_profile_name(name_of(profile)).send().await;
    let found = match answer.map_err(|error| ApiError::of(CALL, &error)) {
        Ok(answer) => answer.instance_profile,
        Err(error) if error.code == "NoSuchEntity" => {
            return Ok((String::new(), Identity::NoProfile));
        }
        Err(error) => return Err(error),
    };
    let found = found.ok_or_else(|| unreadable(CALL, "it says nothing of the profile"))?;
    let id = found.instance_profile_id;
    let Some(role) = found.roles.into_iter().next() else {
        return Ok((id, Identity::NoRole));
    };
    let permissions = match simulate(iam, &role.arn, profile, instance).await {
        Ok(permissions) => permissions,
        Err(error) if error.kind == ErrorKind::Denied => Permissions::Attached {
            policies: attached(iam, &role.role_name).await?,
        },
        Err(error) => return Err(error),
    };
    let has_core = match &permissions {
        Permissions::Simulated { missing, .. } if missing.is_empty() => Ok(false),
        Permissions::Simulated { .. } => {
            let policies = attached(iam, &role.role_name).await;
            policies.map(|policies| has_core(&policies))
        }
        Permissions::Attached { policies } => Ok(has_core(policies)),
    };
    let role = Role {
        simulated_for: instance.id.clone(),
        trust: decoded(role.assume_role_policy_document.as_deref()),
        name: role.role_name,
        arn: role.arn,
        permissions,
        has_core,
    };
    Ok((id, Identity::Role(role)))
}

fn has_core(policies: &[String]) -> bool {
    policies
        .iter()
        .any(|arn| arn.ends_with("::aws:policy/AmazonSSMManagedInstanceCore"))
}

/// What the role allows to `instance` (SSM-5). Without the instance's ARN a role for
/// `instance/*` seems to allow nothing, and without these values none that is bound to a Region or
/// a VPC (SSM-12).
async fn simulate(
    iam: &Client,
    role: &str,
    profile: &str,
    instance: &Instance,
) -> Read<Permissions> {
    // Channels know no resources.
    let mine = arn_of(iam, profile, instance);
    let (register, channels) = futures::join!(
        simulated(iam, role, profile, instance, &[REGISTER], Some(&mine)),
        simulated(iam, role, profile, instance, &CHANNELS, None),
    );
    let results = [register?, channels?].concat();
    let (mut missing, mut unclear) = (Vec::new(), Vec::new());
    for action in NEEDED {
        let result = results.iter().find(|one| one.eval_action_name == action);
        match result.map(right_of) {
            Some(Right::Allowed) => {}
            Some(Right::Missing | Right::Denied) => missing.push(action.to_owned()),
            Some(Right::Unclear(why)) => unclear.push(format!("{action} ({why})")),
            None => unclear.push(format!("{action} (no answer)")),
        }
    }
    Ok(Permissions::Simulated { missing, unclear })
}

/// What the simulation says of `actions` on `resource`, for an agent on `instance` with `role`.
pub(super) async fn simulated(
    iam: &Client,
    role: &str,
    profile: &str,
    instance: &Instance,
    actions: &[&str],
    resource: Option<&str>,
) -> Read<Vec<EvaluationResult>> {
    let region = iam.config().region().map_or("", |region| region.as_ref());
    let context = context(region, &arn_of(iam, profile, instance), instance);
    let call = iam
        .simulate_principal_policy()
        .policy_source_arn(role)
        .set_action_names(Some(actions.iter().map(|one| (*one).to_owned()).collect()))
        .set_resource_arns(resource.map(|arn| vec![arn.to_owned()]))
        .set_context_entries(Some(context));
    let pages = call.into_paginator().items().send();
    let results = pages.try_collect().await;
    results.map_err(|error| ApiError::of("iam:SimulatePrincipalPolicy", &error))
}

/// The ARN of `instance`, in the account and partition of `profile`.
fn arn_of(iam: &Client, profile: &str, instance: &Instance) -> String {
    let region = iam.config().region().map_or("", |region| region.as_ref());
    let (partition, account) =
        Arn::read(profile).map_or(("aws", ""), |arn| (arn.partition, arn.account));
    let id = &instance.id;
    format!("arn:{partition}:ec2:{region}:{account}:instance/{id}")
}

/// What IAM gets to know of a request by the agent, as far as it is known.
fn context(region: &str, arn: &str, instance: &Instance) -> Vec<ContextEntry> {
    let (vpc, addresses) = (&instance.interface.vpc, &instance.interface.addresses);
    let address = addresses.iter().find(|one| one.is_ipv4());
    let address = address.map(ToString::to_string).unwrap_or_default();
    let entry = |key: &str, kind, value: &str| {
        ContextEntry::builder()
            .context_key_name(key)
            .context_key_type(kind)
            .context_key_values(value)
            .build()
    };
    let all = [
        entry("aws:RequestedRegion", ContextKeyTypeEnum::String, region),
        entry("aws:SourceVpc", ContextKeyTypeEnum::String, vpc),
        entry("aws:Ec2InstanceSourceVpc", ContextKeyTypeEnum::String, vpc),
        entry(
            "aws:Ec2InstanceSourcePrivateIPv4",
            ContextKeyTypeEnum::Ip,
            &address,
        ),
        entry("ec2:SourceInstanceARN", ContextKeyTypeEnum::String, arn),
        entry("ssm:SourceInstanceARN", ContextKeyTypeEnum::String, arn),
        entry("aws:SecureTransport", ContextKeyTypeEnum::Boolean, "true"),
        entry("aws:ViaAWSService", ContextKeyTypeEnum::Boolean, "false"),
    ];
    let given = |entry: &ContextEntry| entry.context_key_values() != [""];
    all.into_iter().filter(given).collect()
}

/// What one answer of the simulation says. A denial may be none (SSM-12): for a condition whose value
/// nobody gave; by the organization's policies, whose conditions the simulation doesn't know; by a
/// boundary likewise.
pub(super) fn right_of(result: &EvaluationResult) -> Right {
    let keys = result.missing_context_values();
    let by_organization = result.organizations_decision_detail();
    let by_boundary = result.permissions_boundary_decision_detail();
    if result.eval_decision == PolicyEvaluationDecisionType::Allowed {
        Right::Allowed
    } else if !keys.is_empty() {
        Right::Unclear(format!("no value for {}", keys.join(", ")))
    } else if by_organization.is_some_and(|detail| !detail.allowed_by_organizations) {
        Right::Unclear("the organization's policies say no".to_owned())
    } else if by_boundary.is_some_and(|detail| !detail.allowed_by_permissions_boundary) {
        Right::Unclear("the permissions boundary says no".to_owned())
    } else if result.eval_decision == PolicyEvaluationDecisionType::ExplicitDeny {
        Right::Denied
    } else if result.eval_decision == PolicyEvaluationDecisionType::ImplicitDeny {
        Right::Missing
    } else {
        Right::Unclear(format!("it says {}", result.eval_decision.as_str()))
    }
}

async fn attached(iam: &Client, role: &str) -> Read<Vec<String>> {
    let call = iam.list_attached_role_policies().role_name(role);
    let pages = call.into_paginator().items().send();
    let policies = pages.try_collect().await;
    let policies =
        policies.map_err(|error| ApiError::of("iam:ListAttachedRolePolicies", &error))?;
    let arns = policies.into_iter().filter_map(|policy| policy.policy_arn);
    Ok(arns.collect())
}

/// IAM hands policy documents out percent-encoded.
fn decoded(document: Option<&str>) -> String {
    let document = percent_decode_str(document.unwrap_or_default());
    document.decode_utf8_lossy().into_owned()
}
