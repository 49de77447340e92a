//! Reads instances.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, HttpTokensState, InstanceMetadataEndpointState};
use guardrails::aws::{ApiError, timestamp};
use guardrails::ec2::{self, State};
use jiff::Timestamp;

use crate::facts::Instance;
use crate::facts::network::Interface;

/// The instances that `which` chooses, by id.
pub(super) async fn instances(
    ec2: &Client,
    which: Filter,
) -> Result<BTreeMap<String, Instance>, ApiError> {
    let found = ec2::instances(ec2, vec![which], |_, found| instance(found)).await?;
    let by_id = found
        .into_iter()
        .map(|instance| (instance.id.clone(), instance));
    Ok(by_id.collect())
}

pub(super) fn instance(found: &aws_sdk_ec2::types::Instance) -> Option<Instance> {
    Some(Instance {
        id: found.instance_id()?.to_owned(),
        state: State::of(found)?,
        launched: timestamp(found.launch_time()).unwrap_or(Timestamp::UNIX_EPOCH),
        profile: found
            .iam_instance_profile()
            .and_then(|profile| profile.arn())
            .map(str::to_owned),
        profile_id: found
            .iam_instance_profile()
            .and_then(|profile| profile.id())
            .map(str::to_owned),
        tags: ec2::tags(found.tags()),
        image: found.image_id().map(str::to_owned),
        windows: found.platform().is_some(),
        metadata: found
            .metadata_options()
            .and_then(|options| options.http_endpoint())
            != Some(&InstanceMetadataEndpointState::Disabled),
        tokens: found
            .metadata_options()
            .and_then(|options| options.http_tokens())
            == Some(&HttpTokensState::Required),
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
