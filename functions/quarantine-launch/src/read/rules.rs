//! What the isolation groups let in, and where the responders' security groups are.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, IpPermission, SecurityGroup};
use guardrails::aws::{ApiError, filter};
use guardrails::ec2::FILTER_VALUES;
use guardrails::tags;

use crate::facts::{ISOLATION_GROUP, Isolation, NAME};
use crate::rule::Rule;

/// Largest page of `DescribeSecurityGroups`.
const PAGE: i32 = 1_000;

/// The isolation groups of the account in `vpcs` (all where none are named), by VPC. By their name,
/// which is unique in a VPC and can't be changed: whoever made it, a group that lets in nobody else
/// isolates. One of another account, which shares it in its VPC, is its own to open (AMI-20).
pub(crate) async fn isolation(
    ec2: &Client,
    account: Option<&str>,
    vpcs: Option<&BTreeSet<String>>,
) -> Result<BTreeMap<String, Isolation>, ApiError> {
    if vpcs.is_some_and(BTreeSet::is_empty) {
        return Ok(BTreeMap::new());
    }
    let mut which = vec![filter("group-name", vec![ISOLATION_GROUP.to_owned()])];
    which.extend(vpcs.map(|vpcs| filter("vpc-id", vpcs.iter().cloned().collect())));
    let found = groups(ec2, which).await?;
    let is_own = |group: &&SecurityGroup| account.is_none() || group.owner_id() == account;
    let named = found.iter().filter(|group| is_named(group));
    Ok(named
        .filter(is_own)
        .filter_map(|group| Some((group.vpc_id()?.to_owned(), isolation_of(group)?)))
        .collect())
}

/// The VPCs of these security groups, of those that exist. An isolation group is none that anybody
/// could be let in from.
pub(crate) async fn responders(
    ec2: &Client,
    ids: BTreeSet<&str>,
) -> Result<BTreeMap<String, String>, ApiError> {
    let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
    let mut found = Vec::new();
    for some in ids.chunks(FILTER_VALUES) {
        found.extend(groups(ec2, vec![filter("group-id", some.to_vec())]).await?);
    }
    let others = found.iter().filter(|group| !is_named(group));
    Ok(others
        .filter_map(|group| Some((group.group_id()?.to_owned(), group.vpc_id()?.to_owned())))
        .collect())
}

fn is_named(group: &SecurityGroup) -> bool {
    group.group_name() == Some(ISOLATION_GROUP)
}

async fn groups(ec2: &Client, which: Vec<Filter>) -> Result<Vec<SecurityGroup>, ApiError> {
    ec2.describe_security_groups()
        .set_filters(Some(which))
        .max_results(PAGE)
        .into_paginator()
        .items()
        .send()
        .try_collect()
        .await
        .map_err(|error| ApiError::of("ec2:DescribeSecurityGroups", &error))
}

/// A security group as one that isolates.
pub(crate) fn isolation_of(group: &SecurityGroup) -> Option<Isolation> {
    let mut tags = group.tags().iter();
    Some(Isolation {
        id: group.group_id()?.to_owned(),
        ours: tags.any(|tag| tag.key() == Some(tags::GUARDRAIL) && tag.value() == Some(NAME)),
        incoming: group.ip_permissions().iter().flat_map(rules).collect(),
        lets_out: !group.ip_permissions_egress().is_empty(),
    })
}

/// The protocol and the ports.
pub(crate) fn of_any_source(permission: &IpPermission) -> (String, Option<(i32, i32)>) {
    let protocol = permission.ip_protocol().unwrap_or_default();
    let ports = permission.from_port().zip(permission.to_port());
    (protocol.to_owned(), ports)
}

/// Its sources one by one.
fn rules(permission: &IpPermission) -> Vec<Rule> {
    let (protocol, ports) = of_any_source(permission);
    let networks = permission.ip_ranges().iter().map(|one| one.cidr_ip());
    let v6 = permission.ipv6_ranges().iter().map(|one| one.cidr_ipv6());
    let pairs = permission.user_id_group_pairs().iter();
    let lists = permission.prefix_list_ids().iter();
    networks
        .chain(v6)
        .chain(pairs.map(|one| one.group_id()))
        .chain(lists.map(|one| one.prefix_list_id()))
        .map(|from| Rule::new(from.unwrap_or("?"), &protocol, ports))
        .collect()
}
