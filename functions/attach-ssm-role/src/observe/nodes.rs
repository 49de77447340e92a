//! Reads what Systems Manager knows of instances.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_ssm::Client;
use aws_sdk_ssm::types::{
    ConnectionStatus, InstanceInformation, InstanceInformationStringFilter, PingStatus,
};
use futures::stream::{self, StreamExt as _};
use guardrails::aws::{ApiError, ErrorKind, timestamp};
use jiff::Timestamp;

use crate::facts::{Node, Read};

/// Largest page, and most ids, of `DescribeInstanceInformation` (SSM-6).
const NODES_PAGE: i32 = 50;
const NODE_IDS: usize = 100;

/// What Systems Manager knows of `ids`: by id where one call does, else all nodes in pages, which
/// is no more calls, since a page holds 50 either way (SSM-6).
pub(super) async fn nodes(ssm: &Client, ids: &[&str]) -> Result<HashMap<String, Node>, ApiError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let (key, values) = if ids.len() <= NODE_IDS {
        (
            "InstanceIds",
            ids.iter().map(|id| (*id).to_owned()).collect(),
        )
    } else {
        ("ResourceType", vec!["EC2Instance".to_owned()])
    };
    let all = describe(ssm, key, values).await?.into_iter();
    let by_id = all.filter_map(|node| {
        let ping = node.ping_status();
        let found = Node {
            online: ping == Some(&PingStatus::Online),
            ping: ping.map_or("unknown", PingStatus::as_str).to_owned(),
            last_ping: timestamp(node.last_ping_date_time()),
            agent: node.agent_version().map(str::to_owned),
        };
        Some((node.instance_id?, found))
    });
    Ok(by_id.collect())
}

/// The nodes of hybrid activations that are Online, by private address.
pub(super) async fn hybrid(ssm: &Client) -> Read<HashMap<String, String>> {
    let all = describe(ssm, "ResourceType", vec!["ManagedInstance".to_owned()]).await?;
    let online = all
        .into_iter()
        .filter(|node| node.ping_status() == Some(&PingStatus::Online));
    Ok(online
        .filter_map(|node| Some((node.ip_address?, node.instance_id?)))
        .collect())
}

/// Asked at once, and in one run: one call each.
const CONCURRENCY: usize = 4;
const CONNECTIONS: usize = 50;

/// The turn moves on by one node in so many seconds. Between two sweeps, which are half an hour
/// apart at most, that is by fewer than are asked, so none is left out.
const TURN: i64 = 40;

/// `ids` in the order in which they are asked: where they are too many for one run, each gets its
/// turn.
pub(super) fn in_turn(mut ids: Vec<String>, now: Timestamp) -> Vec<String> {
    if ids.len() > CONNECTIONS {
        let moved = usize::try_from(now.as_second() / TURN).unwrap_or_default();
        let first = moved % ids.len();
        ids.rotate_left(first);
    }
    ids
}

/// Whether sessions can be opened with the first of `ids`.
pub(super) async fn connections(ssm: &Client, ids: Vec<String>) -> BTreeMap<String, Read<bool>> {
    stream::iter(ids.into_iter().take(CONNECTIONS))
        .map(|id| async move {
            let answer = ssm.get_connection_status().target(&id).send().await;
            let connected = match answer {
                Ok(answer) => match answer.status() {
                    Some(ConnectionStatus::Connected) => Ok(true),
                    Some(ConnectionStatus::NotConnected) => Ok(false),
                    // A word that nobody knows is no answer.
                    other => Err(ApiError {
                        operation: CONNECTION_STATUS,
                        code: "UnknownStatus".to_owned(),
                        message: format!("it answered {other:?}"),
                        kind: ErrorKind::Unknown,
                    }),
                },
                Err(error) => Err(ApiError::of(CONNECTION_STATUS, &error)),
            };
            (id, connected)
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await
}

const CONNECTION_STATUS: &str = "ssm:GetConnectionStatus";

async fn describe(
    ssm: &Client,
    key: &str,
    values: Vec<String>,
) -> Result<Vec<InstanceInformation>, ApiError> {
    let only = InstanceInformationStringFilter::builder()
        .key(key)
        .set_values(Some(values))
        .build()
        .map_err(|error| ApiError {
            operation: "ssm:DescribeInstanceInformation",
            code: "InvalidRequest".to_owned(),
            message: error.to_string(),
            kind: ErrorKind::Refused,
        })?;
    let mut pages = ssm
        .describe_instance_information()
        .filters(only)
        .max_results(NODES_PAGE)
        .into_paginator()
        .items()
        .send();
    let mut found = Vec::new();
    while let Some(node) = pages
        .try_next()
        .await
        .map_err(|error| ApiError::of("ssm:DescribeInstanceInformation", &error))?
    {
        found.push(node);
    }
    Ok(found)
}

/// Service setting of Default Host Management (SSM-4).
const DHMC_SETTING: &str = "/ssm/managed-instance/default-ec2-instance-management-role";

/// The role of Default Host Management; none: it is off.
pub(super) async fn default_host_management(ssm: &Client) -> Read<Option<String>> {
    let answer = ssm
        .get_service_setting()
        .setting_id(DHMC_SETTING)
        .send()
        .await;
    let answer = answer.map_err(|error| ApiError::of("ssm:GetServiceSetting", &error));
    let setting = match answer {
        Ok(answer) => answer.service_setting,
        Err(error) if error.code == "ServiceSettingNotFound" => None,
        Err(error) => return Err(error),
    };
    // What stands there while it is off AWS says nowhere; but no role is called so.
    let is_name = |value: &String| {
        let names = |one: char| one.is_ascii_alphanumeric() || "/+=,.@_-:".contains(one);
        !value.is_empty() && value.chars().all(names)
    };
    Ok(setting
        .and_then(|setting| setting.setting_value)
        .filter(is_name))
}
