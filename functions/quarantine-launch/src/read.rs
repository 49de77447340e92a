//! What EC2 and Auto Scaling say, as facts.

mod branches;
mod rules;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_autoscaling::types::AutoScalingGroup;
use aws_sdk_ec2::types::{self as sdk, Filter, InstanceLifecycleType};
use guardrails::autoscaling::{self, Which};
use guardrails::aws::{ApiError, filter, timestamp};
use guardrails::ec2::{self, FILTER_VALUES, State};
use guardrails::tags;
use jiff::Timestamp;

pub(crate) use self::branches::add as add_branches;
pub(crate) use self::rules::{isolation, isolation_of, of_any_source, responders};
use crate::facts::{Disk, Group, ISOLATION_GROUP, Instance, Interface, Link};
use crate::record::evidence_of;

/// Largest page of `DescribeSnapshots`.
const PAGE: i32 = 1_000;
/// Why an interface in a secondary network stays open (AMI-19).
const SECONDARY: &str =
    "a secondary network has no security groups; stop the instance to cut it off";

/// Instances by id, terminated ones too, and the account that they belong to.
pub(crate) async fn instances(
    ec2: &aws_sdk_ec2::Client,
    which: Vec<Filter>,
) -> Result<(Option<String>, BTreeMap<String, Instance>), ApiError> {
    let mut account = None;
    let found = ec2::instances(ec2, which, |owner, one| {
        if account.is_none() {
            account = owner.map(str::to_owned);
        }
        instance(owner, one)
    })
    .await?;
    let by_id = found.into_iter().map(|one| (one.id.clone(), one));
    Ok((account, by_id.collect()))
}

/// The instances of these ids, those that exist, and their account.
pub(crate) async fn instances_of(
    ec2: &aws_sdk_ec2::Client,
    ids: impl IntoIterator<Item = String>,
) -> Result<(Option<String>, BTreeMap<String, Instance>), ApiError> {
    let ids: Vec<String> = ids.into_iter().collect();
    let (mut account, mut found) = (None, BTreeMap::new());
    for some in ids.chunks(FILTER_VALUES) {
        let which = vec![filter("instance-id", some.to_vec())];
        let (owner, instances) = instances(ec2, which).await?;
        account = account.or(owner);
        found.extend(instances);
    }
    Ok((account, found))
}

/// One instance as it is now, with what hangs on its trunks.
pub(crate) async fn instance_now(
    ec2: &aws_sdk_ec2::Client,
    id: &str,
) -> Result<Option<Instance>, ApiError> {
    let (_, mut found) = instances_of(ec2, [id.to_owned()]).await?;
    branches::add(ec2, found.values_mut()).await;
    Ok(found.remove(id))
}

fn instance(owner: Option<&str>, found: &sdk::Instance) -> Option<Instance> {
    let started = timestamp(found.launch_time()).unwrap_or(Timestamp::UNIX_EPOCH);
    let vpc = found.vpc_id().unwrap_or_default();
    let text = |value: Option<&str>| value.filter(|text| !text.is_empty()).map(str::to_owned);
    Some(Instance {
        id: found.instance_id()?.to_owned(),
        account: owner.map(str::to_owned),
        state: State::of(found)?,
        launched: first_attached(found).unwrap_or(started),
        image: text(found.image_id()),
        architecture: found.architecture().map(|one| one.as_str().to_owned()),
        vpc: vpc.to_owned(),
        subnet: found.subnet_id().unwrap_or_default().to_owned(),
        profile: text(
            found
                .iam_instance_profile()
                .and_then(|profile| profile.arn()),
        ),
        tags: ec2::tags(found.tags()),
        operator: ec2::operator(found.operator()),
        spot: found.instance_lifecycle() == Some(&InstanceLifecycleType::Spot),
        spot_request: text(found.spot_instance_request_id()),
        interfaces: found
            .network_interfaces()
            .iter()
            .filter_map(|one| interface(one, vpc))
            .collect(),
        beyond: found
            .secondary_interfaces()
            .iter()
            .filter_map(|one| {
                Some((
                    one.secondary_interface_id()?.to_owned(),
                    SECONDARY.to_owned(),
                ))
            })
            .collect(),
        disks: found
            .block_device_mappings()
            .iter()
            .filter_map(disk)
            .collect(),
    })
}

/// When the primary network interface was attached: at the launch. EC2's launch time is that of
/// the last start, and a start is no launch (SSM-9).
fn first_attached(found: &sdk::Instance) -> Option<Timestamp> {
    found.network_interfaces().iter().find_map(|interface| {
        let attachment = interface.attachment()?;
        (attachment.device_index() == Some(0))
            .then(|| timestamp(attachment.attach_time()))
            .flatten()
    })
}

fn interface(found: &sdk::InstanceNetworkInterface, vpc: &str) -> Option<Interface> {
    Some(Interface {
        id: found.network_interface_id()?.to_owned(),
        vpc: found.vpc_id().unwrap_or(vpc).to_owned(),
        groups: found
            .groups()
            .iter()
            .filter_map(|group| group.group_id().map(str::to_owned))
            .collect(),
        operator: ec2::operator(found.operator()),
        link: match found.interface_type() {
            Some("trunk") => Link::Trunk,
            _ => Link::Plain,
        },
    })
}

fn disk(found: &sdk::InstanceBlockDeviceMapping) -> Option<Disk> {
    let ebs = found.ebs()?;
    Some(Disk {
        device: found.device_name()?.to_owned(),
        volume: ebs.volume_id()?.to_owned(),
        delete_on_termination: ebs.delete_on_termination().unwrap_or_default(),
    })
}

/// Evidence snapshots of these instances that failed, each with AWS's reason.
pub(crate) async fn failed_evidence(
    ec2: &aws_sdk_ec2::Client,
    instances: &[&str],
) -> Result<BTreeMap<String, Vec<String>>, ApiError> {
    let mut failed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for some in instances.chunks(FILTER_VALUES) {
        let ids = some.iter().map(|&id| id.to_owned()).collect();
        let snapshots: Vec<_> = ec2
            .describe_snapshots()
            .owner_ids("self")
            .filters(filter(&format!("tag:{}", tags::EVIDENCE), ids))
            .filters(filter("status", vec!["error".to_owned()]))
            .max_results(PAGE)
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|error| ApiError::of("ec2:DescribeSnapshots", &error))?;
        for one in snapshots {
            let description = one.description().unwrap_or_default();
            let of = some
                .iter()
                .find(|id| description.starts_with(&evidence_of(id)));
            if let (Some(of), Some(id)) = (of, one.snapshot_id()) {
                let why = one.state_message().unwrap_or("AWS gives no reason");
                let told = format!("{id} of {}: {why}", one.volume_id().unwrap_or("a volume"));
                failed.entry((*of).to_owned()).or_default().push(told);
            }
        }
    }
    Ok(failed)
}

/// A network interface, whatever it is attached to.
pub(crate) struct LeftBehind {
    /// `eni-…`
    pub(crate) id: String,
    /// The instance that has it now.
    pub(crate) instance: Option<String>,
    /// Whether it is in an isolation group and in no other.
    pub(crate) is_isolated: bool,
}

/// The interfaces of these ids, those that exist. By filter: a call by ids fails when one is gone.
pub(crate) async fn left_behind(
    ec2: &aws_sdk_ec2::Client,
    ids: Vec<String>,
) -> Result<Vec<LeftBehind>, ApiError> {
    let mut found = Vec::new();
    for some in ids.chunks(FILTER_VALUES) {
        let interfaces: Vec<_> = ec2
            .describe_network_interfaces()
            .filters(filter("network-interface-id", some.to_vec()))
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|error| ApiError::of("ec2:DescribeNetworkInterfaces", &error))?;
        found.extend(interfaces.into_iter().filter_map(|one| {
            let is_isolated =
                matches!(one.groups(), [only] if only.group_name() == Some(ISOLATION_GROUP));
            Some(LeftBehind {
                id: one.network_interface_id?,
                instance: one.attachment.and_then(|one| one.instance_id),
                is_isolated,
            })
        }));
    }
    Ok(found)
}

/// The Auto Scaling groups of these names, those that exist.
pub(crate) async fn groups(
    client: &aws_sdk_autoscaling::Client,
    names: &BTreeSet<String>,
) -> Result<BTreeMap<String, Group>, ApiError> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names: Vec<String> = names.iter().cloned().collect();
    let found = autoscaling::groups(client, Which::Named(&names), group).await?;
    let by_name = found.into_iter().map(|one| (one.name.clone(), one));
    Ok(by_name.collect())
}

/// The state that Auto Scaling has of an instance, be it a group's member or in a warm pool, which
/// the group doesn't list (ASG-17).
pub(crate) async fn lifecycle(
    client: &aws_sdk_autoscaling::Client,
    instance: &str,
) -> Result<Option<String>, ApiError> {
    let answer = client
        .describe_auto_scaling_instances()
        .instance_ids(instance)
        .send()
        .await
        .map_err(|error| ApiError::of("autoscaling:DescribeAutoScalingInstances", &error))?;
    let state = answer.auto_scaling_instances().first();
    Ok(state.and_then(|one| one.lifecycle_state().map(str::to_owned)))
}

/// One group as it is now.
pub(crate) async fn group_now(
    client: &aws_sdk_autoscaling::Client,
    name: &str,
) -> Result<Option<Group>, ApiError> {
    let mut found = groups(client, &BTreeSet::from([name.to_owned()])).await?;
    Ok(found.remove(name))
}

fn group(found: &AutoScalingGroup) -> Option<Group> {
    let mixed = found
        .mixed_instances_policy()
        .and_then(|policy| policy.launch_template())
        .and_then(|template| template.launch_template_specification());
    let suspended = found.suspended_processes().iter();
    let members = found.instances().iter();
    Some(Group {
        name: found.auto_scaling_group_name()?.to_owned(),
        min: found.min_size().unwrap_or_default(),
        desired: found.desired_capacity().unwrap_or_default(),
        suspended: suspended
            .filter_map(|process| process.process_name().map(str::to_owned))
            .collect(),
        members: members
            .filter_map(|member| {
                let state = member.lifecycle_state()?.as_str().to_owned();
                Some((member.instance_id()?.to_owned(), state))
            })
            .collect(),
        template: found
            .launch_template()
            .or(mixed)
            .and_then(|template| template.launch_template_id())
            .map(str::to_owned),
        operator: found
            .operator()
            .map(|operator| operator.principal().unwrap_or("an AWS service").to_owned()),
    })
}
