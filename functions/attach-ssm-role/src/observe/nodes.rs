//! Reads what Systems Manager knows of instances.

use std::collections::HashMap;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::types::{InstanceInformationStringFilter, PingStatus};
use guardrails::aws::{ApiError, ErrorKind, timestamp};

use crate::facts::Node;

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
    let mut found = HashMap::with_capacity(ids.len());
    while let Some(node) = pages
        .try_next()
        .await
        .map_err(|error| ApiError::of("ssm:DescribeInstanceInformation", &error))?
    {
        let Some(id) = node.instance_id() else {
            continue;
        };
        let ping = node.ping_status();
        found.insert(
            id.to_owned(),
            Node {
                online: ping == Some(&PingStatus::Online),
                ping: ping.map_or("unknown", PingStatus::as_str).to_owned(),
                last_ping: timestamp(node.last_ping_date_time()),
                agent: node.agent_version().map(str::to_owned),
            },
        );
    }
    Ok(found)
}
