//! Reads what Systems Manager knows of instances.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_ssm::Client;
use aws_sdk_ssm::types::{
    ConnectionStatus, InstanceInformation, InstanceInformationStringFilter, PingStatus,
};
use futures::stream::{self, StreamExt as _};
use guardrails::aws::{ApiError, ErrorKind, timestamp};
use jiff::Timestamp;

use super::answer::unreadable;
use crate::evaluate::Question;
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

/// Kept for those in doubt, where there are some.
const IN_DOUBT: usize = 10;

/// The turn passes by all that are asked in so many seconds. Between two sweeps, which are half an
/// hour apart at most, that is by fewer than are asked, so none is left out.
const TURN: usize = 2_000;

/// The ids of `asked` in the order in which they are asked, as many as one run asks: each gets its
/// turn; those of which something looks wrong come before those in doubt.
pub(super) fn in_turn(asked: Vec<(Question, String)>, now: Timestamp) -> Vec<String> {
    let (mut suspected, mut in_doubt): (Vec<_>, Vec<_>) = asked
        .into_iter()
        .partition(|(question, _)| *question == Question::Suspected);
    let first = suspected
        .len()
        .min(CONNECTIONS - in_doubt.len().min(IN_DOUBT));
    let seconds = usize::try_from(now.as_second()).unwrap_or_default();
    for (part, seats) in [
        (&mut suspected, first),
        (&mut in_doubt, CONNECTIONS - first),
    ] {
        if part.len() > seats {
            let moved = seconds * seats / TURN % part.len();
            part.rotate_left(moved);
        }
        part.truncate(seats);
    }
    suspected.extend(in_doubt);
    suspected.into_iter().map(|(_, id)| id).collect()
}

/// Whether sessions can be opened with the first of `ids`.
pub(super) async fn connections(ssm: &Client, ids: Vec<String>) -> BTreeMap<String, Read<bool>> {
    const CALL: &str = "ssm:GetConnectionStatus";
    stream::iter(ids.into_iter().take(CONNECTIONS))
        .map(|id| async move {
            let answer = ssm.get_connection_status().target(&id).send().await;
            let connected = match answer {
                Ok(answer) => match answer.status() {
                    Some(ConnectionStatus::Connected) => Ok(true),
                    Some(ConnectionStatus::NotConnected) => Ok(false),
                    // A word that nobody knows is no answer.
                    other => Err(unreadable(CALL, format!("it says {other:?}"))),
                },
                Err(error) => Err(ApiError::of(CALL, &error)),
            };
            (id, connected)
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await
}

async fn describe(
    ssm: &Client,
    key: &str,
    values: Vec<String>,
) -> Result<Vec<InstanceInformation>, ApiError> {
    const CALL: &str = "ssm:DescribeInstanceInformation";
    let only = InstanceInformationStringFilter::builder()
        .key(key)
        .set_values(Some(values))
        .build()
        .map_err(|error| ApiError {
            operation: CALL,
            code: "InvalidRequest".to_owned(),
            message: error.to_string(),
            kind: ErrorKind::Refused,
        })?;
    let call = ssm.describe_instance_information().filters(only);
    let pages = call.max_results(NODES_PAGE).into_paginator().items();
    let found = pages.send().try_collect().await;
    found.map_err(|error| ApiError::of(CALL, &error))
}

/// Service setting of Default Host Management (SSM-4).
const DHMC_SETTING: &str = "/ssm/managed-instance/default-ec2-instance-management-role";

/// The role of Default Host Management; none: it is off.
pub(super) async fn default_host_management(ssm: &Client) -> Read<Option<String>> {
    const CALL: &str = "ssm:GetServiceSetting";
    let answer = ssm.get_service_setting().setting_id(DHMC_SETTING).send();
    let answer = answer.await.map_err(|error| ApiError::of(CALL, &error));
    let setting = match answer {
        Ok(answer) => answer.service_setting,
        Err(error) if error.code == "ServiceSettingNotFound" => return Ok(None),
        Err(error) => return Err(error),
    };
    let value = setting
        .and_then(|setting| setting.setting_value)
        .ok_or_else(|| unreadable(CALL, "it names no value"))?;
    // What stands there while it is off AWS says nowhere; but no role is called so.
    let names = |one: char| one.is_ascii_alphanumeric() || "/+=,.@_-:".contains(one);
    Ok(Some(value).filter(|value| !value.is_empty() && value.chars().all(names)))
}
