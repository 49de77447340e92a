//! What rules name besides AMIs: SSM parameters and roles.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ssm::types::ParameterType;
use futures::future::join_all;
use guardrails::aws::{ApiError, ErrorKind, timestamp};
use guardrails::resource::name_of;
use jiff::Timestamp;
use serde_json::Value as Json;

use crate::approval::{NO_IMAGE, PARAMETER_NOT_FOUND};
use crate::facts::{Parameter, Read};
use crate::policy::parameter::{has_history, has_label, is_watched};
use crate::policy::{Approve, Policy, Which};
use crate::record::{Value, Watched};

const PARAMETERS: &str = "ssm:GetParameters";
/// Most names in one `GetParameters`.
const NAMES: usize = 10;
const HISTORY: &str = "ssm:GetParameterHistory";
/// Largest page of `GetParameterHistory`.
const HISTORY_PAGE: i32 = 50;

/// What the parameters name that rules ask for.
///
/// AWS answers with the name and, beside it, the version or label that was asked for, also where the
/// ARN was: what belongs to which question is told by all three.
pub(super) async fn parameters(
    ssm: &aws_sdk_ssm::Client,
    policy: &Policy,
    watched: &BTreeMap<String, Watched>,
    now: Timestamp,
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
            .map_err(|error| ApiError::of(PARAMETERS, &error));
        (some, answer)
    });
    for (some, answer) in join_all(reads).await {
        let find = |name: &String| {
            let answer = answer.as_ref().map_err(ApiError::clone)?;
            let mut answers = answer.parameters().iter();
            match answers.find(|parameter| answers_to(parameter, name)) {
                Some(parameter) => read(name, parameter, watched.get(name), now),
                // A mistake, not a "no": nothing is isolated for it.
                None => Err(mistake(
                    PARAMETER_NOT_FOUND,
                    format!("there is no parameter {name}; correct the policy or create it"),
                )),
            }
        };
        found.extend(some.iter().map(|name| (name.clone(), find(name))));
    }
    found
}

fn mistake(code: &str, message: String) -> ApiError {
    ApiError::new(PARAMETERS, code, message, ErrorKind::Refused)
}

/// Whether it is the answer to `asked`: a name or an ARN, perhaps with a version or label.
fn answers_to(parameter: &aws_sdk_ssm::types::Parameter, asked: &str) -> bool {
    let selector = parameter.selector().unwrap_or_default();
    let selector = selector.strip_prefix(':').unwrap_or(selector);
    [parameter.name(), parameter.arn()]
        .into_iter()
        .flatten()
        .any(|name| {
            let rest = asked.strip_prefix(name);
            rest.is_some_and(|rest| rest.strip_prefix(':').unwrap_or(rest) == selector)
        })
}

fn read(
    name: &str,
    parameter: &aws_sdk_ssm::types::Parameter,
    watched: Option<&Watched>,
    now: Timestamp,
) -> Read<Parameter> {
    let holds_none = |what: &str| {
        let message = format!(
            "parameter {name} {what}, so it names no AMI; put an AMI's id there, a list of them, or a JSON document with image_id"
        );
        Err(mistake(NO_IMAGE, message))
    };
    if parameter.r#type() == Some(&ParameterType::SecureString) {
        return holds_none("is a SecureString, which isn't decrypted here");
    }
    let value = parameter.value();
    let value = value.ok_or_else(|| ApiError::incomplete(PARAMETERS, "the value"))?;
    let Some(images) = images_in(value) else {
        return holds_none("holds no AMI's id");
    };
    let version = parameter.version();
    let mut since = timestamp(parameter.last_modified_date());
    let mut before = Vec::new();
    let mut known_from = None;
    if is_watched(name) {
        let mut watched = watched.cloned().unwrap_or_default();
        let last = watched.0.last();
        // A version is older than the moment at which a label came to it.
        if has_label(name) {
            let same = last.filter(|last| last.version == version && last.images == images);
            since = Some(same.map_or(now, |same| same.since));
        }
        watched.add(Value {
            images: images.clone(),
            version,
            since: since.unwrap_or(now),
        });
        (before, known_from) = watched.before();
    }
    Ok(Parameter {
        images,
        version,
        since,
        before,
        known_from,
    })
}

fn parameter_of(rule: &Approve) -> Option<&str> {
    match &rule.which {
        Which::Parameter { name, .. } => Some(name),
        _ => None,
    }
}

/// Whether a rule names a parameter whose history can't be read.
pub(super) fn are_watched(policy: &Policy) -> bool {
    let mut names = policy.approve.iter().filter_map(parameter_of);
    names.any(is_watched)
}

/// The AMIs in a parameter's value: one, a list of them, or as some of AWS's public parameters have
/// it a JSON document. None where there is anything else.
fn images_in(value: &str) -> Option<Vec<String>> {
    let document = serde_json::from_str::<Json>(value).ok();
    let texts: Vec<&str> = match &document {
        Some(Json::Object(document)) => vec![document.get("image_id")?.as_str()?],
        Some(Json::Array(list)) => list.iter().map(Json::as_str).collect::<Option<_>>()?,
        _ => value.split(',').collect(),
    };
    let images: Vec<String> = texts.into_iter().map(|id| id.trim().to_owned()).collect();
    let is_id = |id: &String| id.strip_prefix("ami-").is_some_and(|rest| !rest.is_empty());
    (!images.is_empty() && images.iter().all(is_id)).then_some(images)
}

/// What the account's own parameters named before.
pub(super) async fn history(
    ssm: &aws_sdk_ssm::Client,
    parameters: &mut BTreeMap<String, Read<Parameter>>,
    policy: &Policy,
) {
    let own: BTreeSet<&str> = policy
        .approve
        .iter()
        .filter_map(parameter_of)
        .filter(|name| has_history(name) && parameters.get(*name).is_some_and(Result::is_ok))
        .collect();
    let reads = own
        .into_iter()
        .map(|name| async move { (name, versions(ssm, name).await) });
    for (name, versions) in join_all(reads).await {
        if let Some(read) = parameters.get_mut(name) {
            let known = read.clone();
            *read = known.and_then(|known| with_history(known, &versions?));
        }
    }
}

fn with_history(parameter: Parameter, versions: &[Version]) -> Read<Parameter> {
    // Until when the one before was named isn't told before the present one is.
    if versions
        .last()
        .is_none_or(|last| last.number < parameter.version)
    {
        return Err(ApiError::incomplete(HISTORY, "the present version"));
    }
    // AWS keeps the last hundred versions.
    let lost = versions.first().filter(|first| first.number > 1);
    Ok(Parameter {
        before: before(versions),
        known_from: lost.map(|first| first.at),
        ..parameter
    })
}

/// A version of a parameter.
struct Version {
    number: i64,
    at: Timestamp,
    images: Vec<String>,
}

async fn versions(ssm: &aws_sdk_ssm::Client, name: &str) -> Result<Vec<Version>, ApiError> {
    let pages: Vec<_> = ssm
        .get_parameter_history()
        .name(name)
        .max_results(HISTORY_PAGE)
        .into_paginator()
        .send()
        .try_collect()
        .await
        .map_err(|error| ApiError::of(HISTORY, &error))?;
    let told = pages.iter().flat_map(|page| page.parameters().iter());
    let read = told.filter_map(|version| {
        Some(Version {
            number: version.version(),
            at: timestamp(version.last_modified_date())?,
            // A placeholder approved nothing.
            images: images_in(version.value()?).unwrap_or_default(),
        })
    });
    let mut found: Vec<Version> = read.collect();
    found.sort_by_key(|version| version.number);
    Ok(found)
}

/// Each value with the time at which another took its place.
fn before(versions: &[Version]) -> Vec<(String, Timestamp)> {
    versions
        .windows(2)
        .flat_map(|pair| match pair {
            [earlier, later] => {
                let images = earlier.images.iter();
                images.map(|image| (image.clone(), later.at)).collect()
            }
            _ => Vec::new(),
        })
        .collect()
}

/// The roles of the instances' profiles, where a rule asks for roles.
pub(super) async fn roles(
    iam: &aws_sdk_iam::Client,
    policy: &Policy,
    profiles: BTreeSet<&str>,
) -> BTreeMap<String, Read<Vec<String>>> {
    let approve = policy.approve.iter().map(|rule| &rule.scope);
    let deny = policy.deny.iter().map(|rule| &rule.scope);
    if approve.chain(deny).all(|scope| scope.role.all().is_empty()) {
        return BTreeMap::new();
    }
    let reads = profiles.into_iter().map(|arn| async move {
        let roles = iam
            .get_instance_profile()
            .instance_profile_name(name_of(arn))
            .send()
            .await
            .map_err(|error| ApiError::of("iam:GetInstanceProfile", &error))
            .and_then(|answer| {
                let names = answer.instance_profile().map(|profile| {
                    let roles = profile.roles().iter();
                    roles.map(|role| role.role_name().to_owned()).collect()
                });
                names.ok_or_else(|| ApiError::incomplete("iam:GetInstanceProfile", "the profile"))
            });
        (arn.to_owned(), roles)
    });
    join_all(reads).await.into_iter().collect()
}
