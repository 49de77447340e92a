//! The security group that isolates, and the interfaces that go into it.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{IpPermission, ResourceType, SecurityGroup, Tag, TagSpecification};
use futures::future::join_all;
use guardrails::aws::{ApiError, ErrorKind, filter};
use guardrails::tags;

use super::refusals::{is_interface_unknown, is_managed_by_others};
use crate::facts::{ISOLATION_GROUP, Instance, Isolation, NAME};
use crate::read::is_bare;

/// What came of isolating.
#[derive(Debug, Default)]
pub(super) struct Isolated {
    /// Interfaces that are isolated now.
    pub(super) done: Vec<String>,
    /// Interfaces that a service manages and AWS refused to change.
    pub(super) refused: Vec<(String, String)>,
    /// What else went wrong.
    pub(super) errors: Vec<ApiError>,
}

/// The isolation groups of the VPCs that `instance` is in: those that are `known` and bare, the
/// others verified, mended or created. And what kept one from being usable.
pub(super) async fn groups(
    ec2: &Client,
    instance: &Instance,
    known: &BTreeMap<String, Isolation>,
) -> (BTreeMap<String, Isolation>, Vec<ApiError>) {
    let vpcs: BTreeSet<&str> = instance
        .interfaces
        .iter()
        .filter(|interface| interface.operator.is_none())
        .map(|interface| interface.vpc.as_str())
        .collect();
    let usable = vpcs.into_iter().map(|vpc| async move {
        let group = match known.get(vpc) {
            Some(known) if known.bare => Ok(known.clone()),
            Some(known) => mend(ec2, &known.id, vpc).await,
            None => make(ec2, vpc).await,
        };
        (vpc.to_owned(), group)
    });
    let mut found = BTreeMap::new();
    let mut errors = Vec::new();
    for (vpc, group) in join_all(usable).await {
        match group {
            Ok(group) => {
                found.insert(vpc, group);
            }
            Err(error) => errors.push(error),
        }
    }
    (found, errors)
}

/// Creates the VPC's isolation group. Its name is unique in the VPC, so of two runs one is told
/// that it exists and looks it up.
async fn make(ec2: &Client, vpc: &str) -> Result<Isolation, ApiError> {
    let named = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let created = ec2
        .create_security_group()
        .group_name(ISOLATION_GROUP)
        .description("Isolates instances in quarantine: no rules at all. Made by ec2-guardrails.")
        .vpc_id(vpc)
        .tag_specifications(
            TagSpecification::builder()
                .resource_type(ResourceType::SecurityGroup)
                .tags(named(tags::GUARDRAIL, NAME))
                .tags(named("Name", ISOLATION_GROUP))
                .build(),
        )
        .send()
        .await
        .map_err(|error| ApiError::of("ec2:CreateSecurityGroup", &error));
    let id = match created {
        Ok(created) => created.group_id().unwrap_or_default().to_owned(),
        Err(error) if error.code == "InvalidGroup.Duplicate" => {
            let which = vec![
                filter("vpc-id", vec![vpc.to_owned()]),
                filter("group-name", vec![ISOLATION_GROUP.to_owned()]),
            ];
            let found = describe(ec2, which).await?.ok_or(error)?;
            found.group_id().unwrap_or_default().to_owned()
        }
        Err(error) => return Err(error),
    };
    mend(ec2, &id, vpc).await
}

/// Takes every rule away and makes sure that none is left: a new group lets everything out, and
/// someone may have added a rule to an old one (AMI-5).
pub(super) async fn mend(ec2: &Client, id: &str, vpc: &str) -> Result<Isolation, ApiError> {
    let which = || vec![filter("group-id", vec![id.to_owned()])];
    // A group that was just created may take a moment to be seen.
    let mut found = describe(ec2, which()).await?;
    for pause in [100, 400, 1_000] {
        if found.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
        found = describe(ec2, which()).await?;
    }
    let Some(found) = found else {
        return Err(refuse(format!(
            "the isolation group {id} of {vpc} can't be seen; the next sweep looks again"
        )));
    };
    if is_bare(&found) {
        return Ok(bare(id));
    }
    if !is_ours(&found) {
        return Err(refuse(format!(
            "{id} in {vpc} has the name {ISOLATION_GROUP} and lets something through, but not the tag {}={NAME}: it isn't this guardrail's and isn't touched; rename or delete it",
            tags::GUARDRAIL
        )));
    }
    let (incoming, outgoing) = (found.ip_permissions(), found.ip_permissions_egress());
    if !outgoing.is_empty() {
        settle(
            ec2.revoke_security_group_egress()
                .group_id(id)
                .set_ip_permissions(Some(plain(outgoing)))
                .send()
                .await
                .map(drop)
                .map_err(|error| ApiError::of("ec2:RevokeSecurityGroupEgress", &error)),
        )?;
    }
    if !incoming.is_empty() {
        settle(
            ec2.revoke_security_group_ingress()
                .group_id(id)
                .set_ip_permissions(Some(plain(incoming)))
                .send()
                .await
                .map(drop)
                .map_err(|error| ApiError::of("ec2:RevokeSecurityGroupIngress", &error)),
        )?;
    }
    let left = describe(ec2, which()).await?;
    if !left.as_ref().is_some_and(is_bare) {
        return Err(refuse(format!(
            "the isolation group {id} of {vpc} still has rules after they were revoked, so it isolates nothing; it isn't used until they are gone"
        )));
    }
    Ok(bare(id))
}

fn bare(id: &str) -> Isolation {
    Isolation {
        id: id.to_owned(),
        bare: true,
    }
}

/// By the tag that IAM asks for: only of such a group the role may revoke rules.
fn is_ours(group: &SecurityGroup) -> bool {
    let mut tags = group.tags().iter();
    tags.any(|tag| tag.key() == Some(tags::GUARDRAIL) && tag.value() == Some(NAME))
}

/// A rule that another run has revoked meanwhile is gone as well.
fn settle(answer: Result<(), ApiError>) -> Result<(), ApiError> {
    match answer {
        Err(error) if error.code == "InvalidPermission.NotFound" => Ok(()),
        other => other,
    }
}

/// Permissions as a call takes them back: the names of referenced groups are for reading only.
fn plain(permissions: &[IpPermission]) -> Vec<IpPermission> {
    permissions
        .iter()
        .map(|permission| {
            let pairs = permission.user_id_group_pairs().iter().map(|pair| {
                let mut plain = pair.clone();
                plain.group_name = None;
                plain.peering_status = None;
                plain
            });
            let mut plain = permission.clone();
            plain.user_id_group_pairs = Some(pairs.collect());
            plain
        })
        .collect()
}

async fn describe(
    ec2: &Client,
    which: Vec<aws_sdk_ec2::types::Filter>,
) -> Result<Option<SecurityGroup>, ApiError> {
    ec2.describe_security_groups()
        .set_filters(Some(which))
        .send()
        .await
        .map(|answer| answer.security_groups().first().cloned())
        .map_err(|error| ApiError::of("ec2:DescribeSecurityGroups", &error))
}

fn refuse(message: String) -> ApiError {
    ApiError {
        operation: "ec2:DescribeSecurityGroups",
        code: "UnusableIsolationGroup".to_owned(),
        message,
        kind: ErrorKind::Refused,
    }
}

/// Puts every interface of `instance` into its VPC's isolation group and no other, all at once:
/// groups are per interface (AMI-5).
pub(super) async fn interfaces(
    ec2: &Client,
    instance: &Instance,
    groups: &BTreeMap<String, Isolation>,
) -> Isolated {
    let mut isolated = Isolated::default();
    for interface in &instance.interfaces {
        if interface.is_trunk {
            let what = format!("what hangs on the trunk {}", interface.id);
            let why = "tasks or pods have interfaces of their own there, with security groups of their own; drain the node, or close those groups";
            isolated.refused.push((what, why.to_owned()));
        }
        if let Some(operator) = &interface.operator {
            let why = format!("{operator} manages it");
            isolated.refused.push((interface.id.clone(), why));
        } else if interface.is_isolated(groups) {
            isolated.done.push(interface.id.clone());
        }
    }
    let changes = instance
        .interfaces
        .iter()
        .filter(|interface| interface.operator.is_none() && !interface.is_isolated(groups))
        .filter_map(|interface| Some((&interface.id, groups.get(&interface.vpc)?)))
        .map(|(id, group)| async move {
            let ids = vec![group.id.clone()];
            (id, set_groups(ec2, id, ids).await)
        });
    for (id, answer) in join_all(changes).await {
        match answer {
            Ok(()) => isolated.done.push(id.clone()),
            // Detached meanwhile, or so new that EC2 doesn't find it everywhere: the last look tells.
            Err(error) if is_interface_unknown(&error) => {}
            Err(error) if is_managed_by_others(&error) => {
                isolated.refused.push((id.clone(), error.message));
            }
            Err(error) => isolated.errors.push(error),
        }
    }
    isolated
}

/// Gives a network interface these security groups and no others.
pub(super) async fn set_groups(
    ec2: &Client,
    interface: &str,
    groups: Vec<String>,
) -> Result<(), ApiError> {
    ec2.modify_network_interface_attribute()
        .network_interface_id(interface)
        .set_groups(Some(groups))
        .send()
        .await
        .map(drop)
        .map_err(|error| ApiError::of("ec2:ModifyNetworkInterfaceAttribute", &error))
}
