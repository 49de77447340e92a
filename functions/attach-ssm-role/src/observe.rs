//! Reads instances and nodes into facts; and of those that are late, why.
//!
//! A sweep makes no call per healthy instance: instances, nodes and endpoints come in pages,
//! permissions once per instance profile. The rest is read only where a node is late, or Online and
//! perhaps out of reach: VPCs once each, status checks in batches, the console of a few.

mod evidence;
mod identity;
mod network;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, InstanceMetadataEndpointState};
use aws_sdk_ssm::types::{InstanceInformationStringFilter, PingStatus};
use guardrails::aws::{ApiError, filter};
use guardrails::ec2::{self, FILTER_VALUES, State, timestamp};
use guardrails::trigger::{Request, Scope};
use jiff::Timestamp;

use crate::Clients;
use crate::decide::{Action, Standing, standing};
use crate::diagnosis::network::uneven;
use crate::facts::{Facts, Instance, Interface, Node};
use crate::policy::Policy;

/// Largest page of `DescribeInstances`.
const PAGE: i32 = 1_000;
/// Largest page, and most ids, of `DescribeInstanceInformation` (SSM-6).
const NODES_PAGE: i32 = 50;
const NODE_IDS: usize = 100;

/// Reads what `request` asks for.
pub(crate) async fn observe(
    clients: &Clients,
    profile: &str,
    policy: &Policy,
    request: &Request,
    now: Timestamp,
) -> Result<Facts, ApiError> {
    let mut facts = Facts {
        profile: profile.to_owned(),
        ..Facts::default()
    };
    let which = match &request.scope {
        Scope::All => {
            facts.complete = true;
            let living = ["pending", "running", "stopping", "stopped"];
            filter("instance-state-name", living.map(str::to_owned).to_vec())
        }
        Scope::One(_) | Scope::Some(_) => {
            let named = request.scope.named();
            facts.asked = named.first().cloned();
            facts.diagnose = request.read_only;
            filter("instance-id", named.to_vec())
        }
    };
    facts.instances = instances(&clients.ec2, which).await?;
    let running: Vec<&str> = facts
        .instances
        .values()
        .filter(|instance| instance.state == State::Running)
        .map(|instance| instance.id.as_str())
        .collect();
    facts.nodes = nodes(&clients.ssm, &running).await?;
    let late = ids(
        &facts,
        |standing| matches!(standing, Standing::Late(_)),
        policy,
        now,
    );
    match evidence::associated(&clients.ec2, &late).await {
        Ok(associated) => facts.associated = associated,
        // Then an instance only counts as late earlier.
        Err(error) => facts.unread.push(error),
    }

    facts.identities = identity::identities(&clients.iam, profiles(&facts, policy, now)).await;
    let mut diagnosed = ids(
        &facts,
        |standing| matches!(standing, Standing::Late(_)),
        policy,
        now,
    );
    if facts.diagnose {
        diagnosed.extend(facts.instances.keys().cloned());
        diagnosed.dedup();
    }
    if !diagnosed.is_empty() {
        // Boxed: its many reads would make every run's future large.
        Box::pin(evidence::gather(clients, &mut facts, &diagnosed)).await;
    }
    let online = ids(&facts, |so| *so == Standing::Online, policy, now);
    Box::pin(networks(&clients.ec2, &mut facts, &diagnosed, &online)).await;
    // Only the sweep tells of groups: several members' events at the same moment would each tell.
    if facts.complete {
        groups(clients, &mut facts, policy, now).await;
    }
    Ok(facts)
}

/// Reads the VPCs of what is diagnosed; and of the nodes Online whose way to `ssmmessages` may be
/// cut off, which the endpoints tell: one call for most accounts.
async fn networks(ec2: &Client, facts: &mut Facts, diagnosed: &[String], online: &[String]) {
    let interface = |id: &String| facts.instances.get(id).map(|found| &found.interface);
    let mut interfaces: Vec<&Interface> = diagnosed.iter().filter_map(interface).collect();
    let online: Vec<&Interface> = online.iter().filter_map(interface).collect();
    let vpcs: BTreeSet<&String> = interfaces.iter().chain(&online).map(|i| &i.vpc).collect();
    if vpcs.is_empty() {
        return;
    }
    let which = if facts.complete {
        filter("vpc-endpoint-type", vec!["Interface".to_owned()])
    } else {
        filter("vpc-id", vpcs.into_iter().cloned().collect())
    };
    let read = match network::endpoints(ec2, which).await {
        Ok(endpoints) => {
            let uneven = uneven(&endpoints);
            interfaces.extend(online.iter().filter(|i| uneven.contains(&i.vpc)));
            if interfaces.is_empty() {
                return;
            }
            network::network(ec2, &interfaces, endpoints).await
        }
        Err(error) => Err(error),
    };
    // A diagnosis says itself what it lacks.
    if let (Err(error), true) = (&read, diagnosed.is_empty()) {
        facts.unread.push(error.clone());
    }
    facts.network = Some(read);
}

/// The ids of the instances that stand so, in order.
fn ids(
    facts: &Facts,
    so: impl Fn(&Standing) -> bool,
    policy: &Policy,
    now: Timestamp,
) -> Vec<String> {
    facts
        .instances
        .values()
        .filter(|instance| so(&standing(instance, facts, policy, now)))
        .map(|instance| instance.id.clone())
        .collect()
}

/// The profiles whose roles matter: those of all running instances that are looked after. They
/// are few however many instances there are.
fn profiles(facts: &Facts, policy: &Policy, now: Timestamp) -> BTreeSet<String> {
    facts
        .instances
        .values()
        .filter(|instance| {
            facts.diagnose
                || matches!(
                    standing(instance, facts, policy, now),
                    Standing::Online | Standing::Waiting(_) | Standing::Late(_)
                )
        })
        .filter_map(|instance| instance.profile.clone())
        .collect()
}

async fn groups(clients: &Clients, facts: &mut Facts, policy: &Policy, now: Timestamp) {
    if facts.instances.values().all(|i| i.group().is_none()) {
        return;
    }
    let names: BTreeSet<String> = facts
        .instances
        .values()
        .filter(|instance| {
            instance.mark().is_some() || standing(instance, facts, policy, now) == Standing::Lacking
        })
        .filter_map(|instance| instance.group().map(str::to_owned))
        .collect();
    match evidence::groups(clients, names).await {
        Ok(groups) => facts.groups = groups,
        Err(error) => facts.unread.push(error),
    }
}

async fn instances(ec2: &Client, which: Filter) -> Result<BTreeMap<String, Instance>, ApiError> {
    let mut pages = ec2
        .describe_instances()
        .filters(which)
        .max_results(PAGE)
        .into_paginator()
        .send();
    let mut found = BTreeMap::new();
    while let Some(page) = pages
        .try_next()
        .await
        .map_err(|error| ApiError::of("ec2:DescribeInstances", &error))?
    {
        found.extend(
            page.reservations()
                .iter()
                .flat_map(aws_sdk_ec2::types::Reservation::instances)
                .filter_map(instance)
                .map(|instance| (instance.id.clone(), instance)),
        );
    }
    Ok(found)
}

fn instance(found: &aws_sdk_ec2::types::Instance) -> Option<Instance> {
    Some(Instance {
        id: found.instance_id()?.to_owned(),
        state: State::of(found)?,
        launched: timestamp(found.launch_time()).unwrap_or(Timestamp::UNIX_EPOCH),
        profile: found
            .iam_instance_profile()
            .and_then(|profile| profile.arn())
            .map(str::to_owned),
        tags: ec2::tags(found.tags()),
        image: found.image_id().map(str::to_owned),
        windows: found.platform().is_some(),
        metadata: found
            .metadata_options()
            .and_then(|options| options.http_endpoint())
            != Some(&InstanceMetadataEndpointState::Disabled),
        operator: ec2::operator(found.operator()),
        interface: interface(found),
    })
}

/// The primary interface: the agent goes out by it. A stopped instance has it too.
fn interface(found: &aws_sdk_ec2::types::Instance) -> Interface {
    let primary = found.network_interfaces().iter().find(|interface| {
        interface
            .attachment()
            .is_some_and(|attachment| attachment.device_index() == Some(0))
    });
    let Some(primary) = primary else {
        return Interface {
            vpc: found.vpc_id().unwrap_or_default().to_owned(),
            subnet: found.subnet_id().unwrap_or_default().to_owned(),
            addresses: found
                .private_ip_address()
                .and_then(|address| address.parse().ok())
                .into_iter()
                .collect(),
            public: found.public_ip_address().is_some_and(|ip| !ip.is_empty()),
            groups: found
                .security_groups()
                .iter()
                .filter_map(|group| group.group_id().map(str::to_owned))
                .collect(),
        };
    };
    let v4 = primary
        .private_ip_addresses()
        .iter()
        .filter_map(|address| address.private_ip_address());
    let v6 = primary
        .ipv6_addresses()
        .iter()
        .filter_map(|address| address.ipv6_address());
    Interface {
        vpc: primary.vpc_id().unwrap_or_default().to_owned(),
        subnet: primary.subnet_id().unwrap_or_default().to_owned(),
        addresses: v4.chain(v6).filter_map(|a| a.parse().ok()).collect(),
        public: primary
            .association()
            .is_some_and(|association| association.public_ip().is_some()),
        groups: primary
            .groups()
            .iter()
            .filter_map(|group| group.group_id().map(str::to_owned))
            .collect(),
    }
}

/// What Systems Manager knows of `ids`: by id where one call does, else all nodes in pages, which
/// is no more calls, since a page holds 50 either way (SSM-6).
async fn nodes(ssm: &aws_sdk_ssm::Client, ids: &[&str]) -> Result<HashMap<String, Node>, ApiError> {
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
            kind: guardrails::aws::ErrorKind::Refused,
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

/// Whether the coming associations are still called for.
pub(crate) async fn look_again(
    ec2: &Client,
    actions: &[&Action],
) -> Result<Vec<Option<String>>, ApiError> {
    let ids: Vec<String> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Attach { instance, .. } => Some(instance.clone()),
            _ => None,
        })
        .collect();
    let mut now = BTreeMap::new();
    for some in ids.chunks(FILTER_VALUES) {
        now.extend(instances(ec2, filter("instance-id", some.to_vec())).await?);
    }
    Ok(actions
        .iter()
        .map(|action| {
            let Action::Attach { instance, .. } = action else {
                return None;
            };
            match now.get(instance) {
                None => Some("gone meanwhile".to_owned()),
                Some(found) if found.state == State::Terminal => {
                    Some("it is being terminated".to_owned())
                }
                Some(found) => found
                    .profile
                    .as_ref()
                    .map(|profile| format!("it has {profile} meanwhile")),
            }
        })
        .collect())
}

#[cfg(test)]
mod tests;
