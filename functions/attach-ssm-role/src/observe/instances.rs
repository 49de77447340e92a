//! Reads instances.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, GroupIdentifier, HttpTokensState, InstanceMetadataEndpointState};
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
    let profile = found.iam_instance_profile();
    let metadata = found.metadata_options();
    let endpoint = metadata.and_then(|options| options.http_endpoint());
    let tokens = metadata.and_then(|options| options.http_tokens());
    Some(Instance {
        id: found.instance_id()?.to_owned(),
        state: State::of(found)?,
        // Without a start nothing is late.
        launched: timestamp(found.launch_time()).unwrap_or(Timestamp::MAX),
        // One without a name is one all the same.
        profile: profile.map(|has| has.arn().unwrap_or_default().to_owned()),
        profile_id: profile.and_then(|has| has.id().map(str::to_owned)),
        tags: ec2::tags(found.tags()),
        image: found.image_id().map(str::to_owned),
        windows: found.platform().is_some(),
        metadata: endpoint != Some(&InstanceMetadataEndpointState::Disabled),
        tokens: tokens == Some(&HttpTokensState::Required),
        operator: ec2::operator(found.operator()),
        interface: interface(found),
    })
}

/// The primary interface: the agent goes out by it. A stopped instance has it too.
fn interface(found: &aws_sdk_ec2::types::Instance) -> Interface {
    let mut interfaces = found.network_interfaces().iter();
    let primary = interfaces.find(|interface| {
        let attachment = interface.attachment();
        attachment.is_some_and(|attachment| attachment.device_index() == Some(0))
    });
    let ids = |groups: &[GroupIdentifier]| {
        let ids = groups.iter().filter_map(|group| group.group_id());
        ids.map(str::to_owned).collect()
    };
    let Some(primary) = primary else {
        let address = found.private_ip_address();
        let address = address.and_then(|address| address.parse().ok());
        return Interface {
            vpc: found.vpc_id().unwrap_or_default().to_owned(),
            subnet: found.subnet_id().unwrap_or_default().to_owned(),
            addresses: address.into_iter().collect(),
            public: found.public_ip_address().is_some_and(|ip| !ip.is_empty()),
            groups: ids(found.security_groups()),
        };
    };
    let v4 = primary.private_ip_addresses().iter();
    let v4 = v4.filter_map(|address| address.private_ip_address());
    let v6 = primary.ipv6_addresses().iter();
    let v6 = v6.filter_map(|address| address.ipv6_address());
    let public = primary.association().and_then(|one| one.public_ip());
    Interface {
        vpc: primary.vpc_id().unwrap_or_default().to_owned(),
        subnet: primary.subnet_id().unwrap_or_default().to_owned(),
        addresses: v4.chain(v6).filter_map(|a| a.parse().ok()).collect(),
        public: public.is_some(),
        groups: ids(primary.groups()),
    }
}
