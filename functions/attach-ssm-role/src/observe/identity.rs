//! Reads instance profiles, their roles and what these allow: once per profile.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_iam::Client;
use aws_sdk_iam::types::PolicyEvaluationDecisionType;
use futures::StreamExt as _;
use futures::stream;
use guardrails::aws::{ApiError, ErrorKind};
use guardrails::resource::name_of;
use percent_encoding::percent_decode_str;

use crate::facts::Read;
use crate::facts::identity::{Identity, NEEDED, Permissions, Role};

/// Profiles read at once; IAM's rates are low, and shared by the whole account.
const CONCURRENCY: usize = 4;

/// Reads the profiles with these ARNs.
pub(super) async fn identities(
    iam: &Client,
    profiles: BTreeSet<String>,
) -> BTreeMap<String, Read<Identity>> {
    stream::iter(profiles)
        .map(|profile| async move {
            let identity = identity(iam, &profile).await;
            (profile, identity)
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await
}

async fn identity(iam: &Client, profile: &str) -> Read<Identity> {
    let answer = iam
        .get_instance_profile()
        .instance_profile_name(name_of(profile))
        .send()
        .await
        .map_err(|error| ApiError::of("iam:GetInstanceProfile", &error));
    let found = match answer {
        Ok(answer) => answer.instance_profile,
        Err(error) if error.code == "NoSuchEntity" => return Ok(Identity::NoProfile),
        Err(error) => return Err(error),
    };
    let Some(role) = found.and_then(|profile| profile.roles.into_iter().next()) else {
        return Ok(Identity::NoRole);
    };
    let permissions = match simulate(iam, &role.arn).await {
        Ok(missing) => Permissions::Simulated { missing },
        Err(error) if error.kind == ErrorKind::Denied => Permissions::Attached {
            policies: attached(iam, &role.role_name).await?,
        },
        Err(error) => return Err(error),
    };
    let has_core = match &permissions {
        Permissions::Simulated { missing } if missing.is_empty() => false,
        Permissions::Simulated { .. } => attached(iam, &role.role_name)
            .await
            .is_ok_and(|policies| has_core(&policies)),
        Permissions::Attached { policies } => has_core(policies),
    };
    Ok(Identity::Role(Role {
        trust: decoded(role.assume_role_policy_document.as_deref()),
        name: role.role_name,
        permissions,
        has_core,
    }))
}

fn has_core(policies: &[String]) -> bool {
    policies
        .iter()
        .any(|arn| arn.ends_with("policy/AmazonSSMManagedInstanceCore"))
}

/// What of [`NEEDED`] the role's own policies don't allow (SSM-5).
async fn simulate(iam: &Client, role: &str) -> Read<Vec<String>> {
    let mut pages = iam
        .simulate_principal_policy()
        .policy_source_arn(role)
        .set_action_names(Some(NEEDED.map(str::to_owned).to_vec()))
        .into_paginator()
        .items()
        .send();
    let mut missing: Vec<String> = NEEDED.map(str::to_owned).to_vec();
    while let Some(result) = pages
        .try_next()
        .await
        .map_err(|error| ApiError::of("iam:SimulatePrincipalPolicy", &error))?
    {
        if result.eval_decision == PolicyEvaluationDecisionType::Allowed {
            missing.retain(|action| *action != result.eval_action_name);
        }
    }
    Ok(missing)
}

async fn attached(iam: &Client, role: &str) -> Read<Vec<String>> {
    let mut pages = iam
        .list_attached_role_policies()
        .role_name(role)
        .into_paginator()
        .items()
        .send();
    let mut policies = Vec::new();
    while let Some(policy) = pages
        .try_next()
        .await
        .map_err(|error| ApiError::of("iam:ListAttachedRolePolicies", &error))?
    {
        policies.extend(policy.policy_arn);
    }
    Ok(policies)
}

/// IAM hands policy documents out percent-encoded.
fn decoded(document: Option<&str>) -> String {
    let document = percent_decode_str(document.unwrap_or_default());
    document.decode_utf8_lossy().into_owned()
}
