//! What rules name besides AMIs: SSM parameters and roles.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use guardrails::aws::{ApiError, ErrorKind, timestamp};
use guardrails::resource::name_of;
use jiff::Timestamp;
use serde_json::Value;

use crate::approval::PARAMETER_NOT_FOUND;
use crate::facts::{Instance, Parameter, Read};
use crate::policy::{Approve, Policy, Which};

/// Most names in one `GetParameters`.
const NAMES: usize = 10;
/// Largest page of `GetParameterHistory`.
const HISTORY_PAGE: i32 = 50;

/// What the parameters name that rules ask for.
pub(super) async fn parameters(
    ssm: &aws_sdk_ssm::Client,
    policy: &Policy,
) -> BTreeMap<String, Read<Parameter>> {
    let names: BTreeSet<&str> = policy.approve.iter().filter_map(parameter_of).collect();
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let mut found = BTreeMap::new();
    let reads = names.chunks(NAMES).map(|some| async move {
        let answer = ssm
            .get_parameters()
            .set_names(Some(some.to_vec()))
            .send()
            .await
            .map_err(|error| ApiError::of("ssm:GetParameters", &error));
        (some, answer)
    });
    for (some, answer) in join_all(reads).await {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                found.extend(some.iter().map(|name| (name.clone(), Err(error.clone()))));
                continue;
            }
        };
        for name in some {
            // A parameter that isn't there is a mistake, not a "no": nothing is isolated for it.
            let missing = ApiError {
                operation: "ssm:GetParameters",
                code: PARAMETER_NOT_FOUND.to_owned(),
                message: format!("there is no parameter {name}; correct the policy or create it"),
                kind: ErrorKind::Refused,
            };
            found.insert(name.clone(), Err(missing));
        }
        for parameter in answer.parameters() {
            let (Some(name), Some(value)) = (parameter.name(), parameter.value()) else {
                continue;
            };
            found.insert(
                name.to_owned(),
                Ok(Parameter {
                    image: image_in(value),
                    since: timestamp(parameter.last_modified_date()),
                    before: Vec::new(),
                }),
            );
        }
    }
    found
}

fn parameter_of(rule: &Approve) -> Option<&str> {
    match &rule.which {
        Which::Parameter { name, .. } => Some(name),
        _ => None,
    }
}

/// The AMI in a parameter's value: some of AWS's public parameters hold a JSON document.
fn image_in(value: &str) -> String {
    let document = serde_json::from_str::<Value>(value).ok();
    document
        .as_ref()
        .and_then(|document| document.get("image_id"))
        .and_then(Value::as_str)
        .unwrap_or_else(|| value.trim())
        .to_owned()
}

/// What the account's own parameters named before. The history of AWS's public ones can't be read.
pub(super) async fn history(
    ssm: &aws_sdk_ssm::Client,
    parameters: &mut BTreeMap<String, Read<Parameter>>,
    policy: &Policy,
) {
    let own: BTreeSet<&str> = policy
        .approve
        .iter()
        .filter_map(parameter_of)
        .filter(|name| {
            !name.starts_with("/aws/") && parameters.get(*name).is_some_and(Result::is_ok)
        })
        .collect();
    let reads = own
        .into_iter()
        .map(|name| async move { (name, versions(ssm, name).await) });
    for (name, versions) in join_all(reads).await {
        match versions {
            Err(error) => {
                parameters.insert(name.to_owned(), Err(error));
            }
            Ok(versions) => {
                if let Some(Ok(parameter)) = parameters.get_mut(name) {
                    parameter.before = before(&versions);
                }
            }
        }
    }
}

async fn versions(
    ssm: &aws_sdk_ssm::Client,
    name: &str,
) -> Result<Vec<(Timestamp, String)>, ApiError> {
    let mut pages = ssm
        .get_parameter_history()
        .name(name)
        .max_results(HISTORY_PAGE)
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages
        .try_next()
        .await
        .map_err(|error| ApiError::of("ssm:GetParameterHistory", &error))?
    {
        for version in page.parameters() {
            if let (Some(at), Some(value)) =
                (timestamp(version.last_modified_date()), version.value())
            {
                found.push((version.version(), at, image_in(value)));
            }
        }
    }
    found.sort();
    Ok(found
        .into_iter()
        .map(|(_, at, image)| (at, image))
        .collect())
}

/// Each value with the time at which another took its place.
fn before(versions: &[(Timestamp, String)]) -> Vec<(String, Timestamp)> {
    versions
        .windows(2)
        .filter_map(|pair| match pair {
            [(_, image), (until, next)] if image != next => Some((image.clone(), *until)),
            _ => None,
        })
        .collect()
}

/// The roles of the instances' profiles, where a rule asks for roles.
pub(super) async fn roles(
    iam: &aws_sdk_iam::Client,
    policy: &Policy,
    instances: &[&Instance],
) -> BTreeMap<String, Read<Vec<String>>> {
    let approve = policy.approve.iter().map(|rule| &rule.scope);
    let deny = policy.deny.iter().map(|rule| &rule.scope);
    if approve.chain(deny).all(|scope| scope.role.all().is_empty()) {
        return BTreeMap::new();
    }
    let profiles: BTreeSet<&str> = instances
        .iter()
        .filter_map(|instance| instance.profile.as_deref())
        .collect();
    let reads = profiles.into_iter().map(|arn| async move {
        let roles = iam
            .get_instance_profile()
            .instance_profile_name(name_of(arn))
            .send()
            .await
            .map_err(|error| ApiError::of("iam:GetInstanceProfile", &error))
            .map(|answer| {
                answer
                    .instance_profile()
                    .map(|profile| {
                        profile
                            .roles()
                            .iter()
                            .map(|role| role.role_name().to_owned())
                            .collect()
                    })
                    .unwrap_or_default()
            });
        (arn.to_owned(), roles)
    });
    join_all(reads).await.into_iter().collect()
}
