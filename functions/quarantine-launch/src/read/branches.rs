//! What hangs on the trunk of an instance: tasks of ECS and pods have network interfaces of their own
//! there, which EC2 doesn't list with the instance (AMI-17).
//!
//! Where a branch hangs only `DescribeTrunkInterfaceAssociations` tells. A tag that says so too, such
//! as Kubernetes' own, may be anybody's: nothing is done by it.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::NetworkInterface;
use futures::try_join;
use guardrails::aws::{ApiError, filter};
use guardrails::ec2;

use crate::facts::{Instance, Interface, Link};

/// Most interfaces that are named in one sentence.
const NAMED: usize = 10;
const END: &str = "drain the node, or close their security groups";

/// Adds the branches on the trunks of these instances, as far as AWS tells where they hang, and what
/// can't be told to what is [beyond](Instance::beyond) it.
pub(crate) async fn add<'a>(client: &Client, instances: impl Iterator<Item = &'a mut Instance>) {
    let mut instances: Vec<_> = instances
        .filter(|one| trunks(one).next().is_some())
        .collect();
    if instances.is_empty() {
        return;
    }
    let vpcs = instances.iter().flat_map(|one| trunks(one));
    let vpcs: BTreeSet<String> = vpcs.map(|trunk| trunk.vpc.clone()).collect();
    let found = try_join!(associations(client), branches(client, &vpcs));
    for instance in &mut instances {
        match &found {
            Ok((on, branches)) => hang(instance, on, branches),
            Err(error) => unread(instance, error),
        }
    }
}

fn trunks(instance: &Instance) -> impl Iterator<Item = &Interface> {
    let interfaces = instance.interfaces.iter();
    interfaces.filter(|one| one.link == Link::Trunk)
}

fn what(trunk: &Interface) -> String {
    format!("what hangs on the trunk {}", trunk.id)
}

fn unread(instance: &mut Instance, error: &ApiError) {
    let found: Vec<_> = trunks(instance)
        .map(|trunk| (what(trunk), format!("it couldn't be read ({error}); {END}")))
        .collect();
    instance.beyond.extend(found);
}

/// `on` is the trunk of each branch of which AWS tells it.
fn hang(
    instance: &mut Instance,
    on: &BTreeMap<String, String>,
    branches: &BTreeMap<String, NetworkInterface>,
) {
    let (mut hanging, mut beyond) = (Vec::new(), Vec::new());
    for trunk in trunks(instance) {
        let own = on.iter().filter(|(_, of)| **of == trunk.id);
        for (id, _) in own {
            match branches.get(id) {
                Some(branch) => hanging.push(interface(id, branch, &trunk.vpc)),
                None => beyond.push((
                    id.clone(),
                    format!(
                        "EC2 doesn't show it, though it hangs on the trunk {}",
                        trunk.id
                    ),
                )),
            }
        }
        let homeless = branches.iter().filter(|(id, branch)| {
            !on.contains_key(*id) && branch.vpc_id() == Some(trunk.vpc.as_str())
        });
        let homeless: Vec<&str> = homeless.map(|(id, _)| id.as_str()).collect();
        if let Some(why) = may_hang(&homeless) {
            beyond.push((what(trunk), why));
        }
    }
    instance.interfaces.extend(hanging);
    instance.beyond.extend(beyond);
}

fn may_hang(homeless: &[&str]) -> Option<String> {
    let more = match homeless.len() {
        0 => return None,
        1..=NAMED => String::new(),
        count => format!(" and {} more", count - NAMED),
    };
    let named: Vec<&str> = homeless.iter().take(NAMED).copied().collect();
    Some(format!(
        "EC2 doesn't tell where these hang, so it may be here: {}{more}; {END}",
        named.join(", ")
    ))
}

fn interface(id: &str, branch: &NetworkInterface, vpc: &str) -> Interface {
    let groups = branch.groups().iter();
    Interface {
        id: id.to_owned(),
        vpc: branch.vpc_id().unwrap_or(vpc).to_owned(),
        groups: groups
            .filter_map(|group| group.group_id().map(str::to_owned))
            .collect(),
        operator: ec2::operator(branch.operator()),
        link: Link::Branch,
    }
}

/// The trunk of each branch. No filter chooses by either.
async fn associations(client: &Client) -> Result<BTreeMap<String, String>, ApiError> {
    let found: Vec<_> = client
        .describe_trunk_interface_associations()
        .into_paginator()
        .items()
        .send()
        .try_collect()
        .await
        .map_err(|error| ApiError::of("ec2:DescribeTrunkInterfaceAssociations", &error))?;
    let pairs = found.into_iter();
    Ok(pairs
        .filter_map(|one| Some((one.branch_interface_id?, one.trunk_interface_id?)))
        .collect())
}

async fn branches(
    client: &Client,
    vpcs: &BTreeSet<String>,
) -> Result<BTreeMap<String, NetworkInterface>, ApiError> {
    let found: Vec<_> = client
        .describe_network_interfaces()
        .filters(filter("interface-type", vec!["branch".to_owned()]))
        .filters(filter("vpc-id", vpcs.iter().cloned().collect()))
        .into_paginator()
        .items()
        .send()
        .try_collect()
        .await
        .map_err(|error| ApiError::of("ec2:DescribeNetworkInterfaces", &error))?;
    let known = found.into_iter();
    Ok(known
        .filter_map(|one| Some((one.network_interface_id.clone()?, one)))
        .collect())
}
