//! Reads what Session Manager's preferences ask of a session, and whether AWS has it: for a person
//! who asks about one instance only.

use std::collections::BTreeMap;

use futures::future::join_all;
use guardrails::aws::{ApiError, ErrorKind};
use guardrails::resource::Arn;
use serde::Deserialize;

use super::answer::unreadable;
use super::identity::{right_of, simulated};
use crate::clients::Clients;
use crate::diagnosis::identity::registers;
use crate::facts::sessions::{
    Bucket, CHECK_BUCKET, DECRYPT, FIND_LOG_GROUP, FoundKey, Key, LogGroup, Right, Rights,
    Sessions, WRITE_LOG, WRITE_OBJECT,
};
use crate::facts::{Facts, Instance, Read};

/// Where the preferences of a Region stand (SSM-17).
const DOCUMENT: &str = "SSM-SessionManagerRunShell";

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    inputs: Inputs,
}

/// The preferences that can be in a session's way; empty is as if it weren't there.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Inputs {
    kms_key_id: String,
    s3_bucket_name: String,
    s3_key_prefix: String,
    #[serde(deserialize_with = "flag")]
    s3_encryption_enabled: bool,
    cloud_watch_log_group_name: String,
    #[serde(deserialize_with = "flag")]
    cloud_watch_encryption_enabled: bool,
    #[serde(deserialize_with = "flag")]
    run_as_enabled: bool,
    run_as_default_user: String,
}

/// Documents from templates have text where AWS's console writes a boolean.
fn flag<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let text = value.as_str();
    Ok(value == true || text.is_some_and(|text| text.eq_ignore_ascii_case("true")))
}

/// What sessions with `instance` take besides a channel.
pub(super) async fn sessions(
    clients: &Clients,
    facts: &Facts,
    instance: &Instance,
) -> Read<Sessions> {
    let asked = preferences(&clients.ssm).await?;
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    let (key, log_group) = futures::join!(
        key(&clients.kms, given(&asked.kms_key_id)),
        log_group(&clients.logs, &asked),
    );
    let mut sessions = Sessions {
        key,
        log_group,
        bucket: given(&asked.s3_bucket_name).map(|name| Bucket {
            name,
            must_be_encrypted: asked.s3_encryption_enabled,
        }),
        run_as_by_tag: asked.run_as_enabled && asked.run_as_default_user.is_empty(),
        rights: None,
    };
    sessions.rights = rights(clients, facts, instance, &sessions, &asked.s3_key_prefix).await;
    Ok(sessions)
}

/// The preferences. Where nobody ever set any there is no document, and nothing is asked.
async fn preferences(ssm: &aws_sdk_ssm::Client) -> Read<Inputs> {
    const CALL: &str = "ssm:GetDocument";
    let answer = ssm.get_document().name(DOCUMENT).send().await;
    let content = match answer.map_err(|error| ApiError::of(CALL, &error)) {
        Ok(answer) => answer.content.unwrap_or_default(),
        Err(error) if error.code == "InvalidDocument" => return Ok(Inputs::default()),
        Err(error) => return Err(error),
    };
    match serde_json::from_str::<Document>(&content) {
        Ok(document) => Ok(document.inputs),
        Err(error) => Err(ApiError {
            operation: CALL,
            code: "UnreadableDocument".to_owned(),
            message: format!("{DOCUMENT} can't be understood: {error}"),
            kind: ErrorKind::Refused,
        }),
    }
}

async fn key(kms: &aws_sdk_kms::Client, name: Option<String>) -> Option<Key> {
    const CALL: &str = "kms:DescribeKey";
    let name = name?;
    let answer = kms.describe_key().key_id(&name).send().await;
    let found = match answer.map_err(|error| ApiError::of(CALL, &error)) {
        Ok(answer) => match answer.key_metadata {
            Some(found) => Ok(Some(FoundKey {
                state: found
                    .key_state()
                    .map_or("unknown", aws_sdk_kms::types::KeyState::as_str)
                    .to_owned(),
                arn: found.arn.unwrap_or_default(),
            })),
            // That nothing is said of it doesn't mean that it is gone.
            None => Err(unreadable(CALL, format!("it says nothing of {name}"))),
        },
        Err(error) if error.code == "NotFoundException" => Ok(None),
        Err(error) => Err(error),
    };
    Some(Key { name, found })
}

async fn log_group(logs: &aws_sdk_cloudwatchlogs::Client, asked: &Inputs) -> Option<LogGroup> {
    let name = asked.cloud_watch_log_group_name.clone();
    if name.is_empty() {
        return None;
    }
    let call = logs.describe_log_groups().log_group_name_prefix(&name);
    let mut groups = call.into_paginator().items().send();
    let encrypted = loop {
        match groups.try_next().await {
            Ok(Some(group)) if group.log_group_name() == Some(&name) => {
                break Ok(Some(group.kms_key_id.is_some()));
            }
            Ok(Some(_)) => {}
            Ok(None) => break Ok(None),
            Err(error) => break Err(ApiError::of(FIND_LOG_GROUP, &error)),
        }
    };
    Some(LogGroup {
        name,
        must_be_encrypted: asked.cloud_watch_encryption_enabled,
        encrypted,
    })
}

/// What the agent's role allows of what sessions take.
async fn rights(
    clients: &Clients,
    facts: &Facts,
    instance: &Instance,
    sessions: &Sessions,
    prefix: &str,
) -> Option<Read<Rights>> {
    let own = Arn::read(&facts.profile)?;
    let region = clients.iam.config().region()?.to_string();
    let asked = asked(sessions, prefix, own.partition, &region, own.account);
    if asked.is_empty() {
        return None;
    }
    let role = match role_of(facts, instance, own.partition, own.account)? {
        Ok(role) => role,
        Err(error) => return Some(Err(error)),
    };
    let calls = asked.iter().map(|(actions, resource)| {
        simulated(
            &clients.iam,
            &role,
            &facts.profile,
            instance,
            actions,
            Some(resource),
        )
    });
    let mut of = BTreeMap::new();
    for ((actions, _), results) in asked.iter().zip(join_all(calls).await) {
        let results = match results {
            Ok(results) => results,
            Err(error) => return Some(Err(error)),
        };
        of.extend(actions.iter().map(|action| {
            let result = results.iter().find(|one| one.eval_action_name == *action);
            let right = result.map_or_else(|| Right::Unclear("no answer".to_owned()), right_of);
            (*action, right)
        }));
    }
    Some(Ok(Rights { role, of }))
}

/// The actions that `sessions` take, with the resources that AWS asks IAM about.
fn asked(
    sessions: &Sessions,
    prefix: &str,
    partition: &str,
    region: &str,
    account: &str,
) -> Vec<(Vec<&'static str>, String)> {
    let mut asked = Vec::new();
    if let Some(key) = &sessions.key {
        let arn = match &key.found {
            Ok(found) => found.as_ref().map(|found| found.arn.clone()),
            // An alias says nothing of the key that it means, which is what IAM is asked about.
            Err(_) if key.name.contains("alias/") => None,
            Err(_) if key.name.starts_with("arn:") => Some(key.name.clone()),
            Err(_) => Some(format!(
                "arn:{partition}:kms:{region}:{account}:key/{}",
                key.name
            )),
        };
        asked.extend(arn.map(|arn| (vec![DECRYPT], arn)));
    }
    if let Some(LogGroup { name, .. }) = &sessions.log_group {
        // Whichever group is looked for: AWS asks about all (SSM-18).
        let group = |name: &str, stream: &str| {
            format!("arn:{partition}:logs:{region}:{account}:log-group:{name}:log-stream:{stream}")
        };
        asked.push((vec![FIND_LOG_GROUP], group("", "")));
        asked.push((WRITE_LOG.to_vec(), group(name, "session")));
    }
    if let Some(bucket) = &sessions.bucket {
        let arn = format!("arn:{partition}:s3:::{}", bucket.name);
        let prefix = prefix.trim_matches('/');
        let log = [prefix, "session.log"].join("/");
        asked.push((
            vec![WRITE_OBJECT],
            format!("{arn}/{}", log.trim_matches('/')),
        ));
        if bucket.must_be_encrypted {
            asked.push((vec![CHECK_BUCKET], arn));
        }
    }
    asked
}

/// The role that the agent has: the profile's, unless that may not register, so that Default Host
/// Management carries the node (SSM-4).
pub(super) fn role_of(
    facts: &Facts,
    instance: &Instance,
    partition: &str,
    account: &str,
) -> Option<Read<String>> {
    // The role of one that was made anew under the name of its profile isn't its.
    let profile = instance.profile.as_ref();
    let profile = profile.filter(|_| !facts.remade.contains(&instance.id));
    let own = match profile.and_then(|arn| facts.identities.get(arn)) {
        Some(Err(error)) => return Some(Err(error.clone())),
        identity => identity.and_then(|read| read.as_ref().ok()?.role()),
    };
    let own_registers = own.is_some_and(registers);
    match &facts.dhmc {
        Ok(Some(host)) if !own_registers => {
            Some(Ok(format!("arn:{partition}:iam::{account}:role/{host}")))
        }
        Err(error) if !own_registers => Some(Err(error.clone())),
        _ => own.map(|role| Ok(role.arn.clone())),
    }
}
