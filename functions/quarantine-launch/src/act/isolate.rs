//! The security group that isolates, and the interfaces that go into it.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{
    IpPermission, IpRange, Ipv6Range, ResourceType, SecurityGroup, Tag, TagSpecification,
    UserIdGroupPair,
};
use futures::future::join_all;
use guardrails::aws::{ApiError, ErrorKind, filter};
use guardrails::state::Expect;
use guardrails::tags;
use jiff::Timestamp;

use super::refusals::{is_interface_unknown, is_managed_by_others, outcome};
use crate::admission::Admission;
use crate::clients::Clients;
use crate::facts::{ISOLATION_GROUP, Instance, Isolation, NAME};
use crate::read::{self, isolation_of, of_any_source};
use crate::record::ADMITTED;
use crate::rule::Rule;

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

/// The isolation groups of the VPCs that `instance` is in: those that are `known` and let in nobody
/// but responders, the others verified, mended or created. And what kept one from being usable.
pub(super) async fn groups(
    clients: &Clients,
    instance: &Instance,
    known: &BTreeMap<String, Isolation>,
    admission: &Admission,
    at: Timestamp,
) -> (BTreeMap<String, Isolation>, Vec<ApiError>) {
    let vpcs: BTreeSet<&str> = instance
        .interfaces
        .iter()
        .filter(|interface| interface.operator.is_none())
        .map(|interface| interface.vpc.as_str())
        .collect();
    let usable = vpcs.into_iter().map(|vpc| async move {
        let group = match known.get(vpc) {
            Some(known) if admission.isolates(known) => Ok(known.clone()),
            Some(known) => mend(clients, &known.id, vpc, admission, at).await,
            None => make(clients, vpc, instance.account.as_deref(), admission, at).await,
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
async fn make(
    clients: &Clients,
    vpc: &str,
    account: Option<&str>,
    admission: &Admission,
    at: Timestamp,
) -> Result<Isolation, ApiError> {
    let named = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let created = clients
        .ec2
        .create_security_group()
        .group_name(ISOLATION_GROUP)
        .description(
            "Isolates instances in quarantine: only responders come in. Made by ec2-guardrails.",
        )
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
            let here = BTreeSet::from([vpc.to_owned()]);
            let found = read::isolation(&clients.ec2, account, Some(&here));
            found.await?.remove(vpc).ok_or(error)?.id
        }
        Err(error) => return Err(error),
    };
    mend(clients, &id, vpc, admission, at).await
}

/// Takes every rule away that the policy doesn't name, and makes sure that none is left: a new group
/// lets everything out, and someone may have added a rule to an old one (AMI-5).
pub(super) async fn mend(
    clients: &Clients,
    id: &str,
    vpc: &str,
    admission: &Admission,
    at: Timestamp,
) -> Result<Isolation, ApiError> {
    let ec2 = &clients.ec2;
    // A group that was just created may take a moment to be seen.
    let mut found = describe(ec2, id).await?;
    for pause in [100, 400, 1_000] {
        if found.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
        found = describe(ec2, id).await?;
    }
    let Some((group, stands)) = found else {
        return Err(refuse(format!(
            "the isolation group {id} of {vpc} can't be seen; the next sweep looks again"
        )));
    };
    if admission.isolates(&stands) {
        return Ok(stands);
    }
    check_ours(&group, &stands, vpc)?;
    let outgoing = group.ip_permissions_egress();
    if !outgoing.is_empty() {
        let revoke = ec2
            .revoke_security_group_egress()
            .group_id(id)
            .set_ip_permissions(Some(plain(outgoing)));
        let revoked = outcome("ec2:RevokeSecurityGroupEgress", revoke.send().await);
        settle("InvalidPermission.NotFound", revoked)?;
    }
    let surplus = admission.surplus(&stands);
    if !surplus.is_empty() {
        let revoke = ec2
            .revoke_security_group_ingress()
            .group_id(id)
            .set_ip_permissions(Some(only(&surplus, plain(group.ip_permissions()))));
        let revoked = outcome("ec2:RevokeSecurityGroupIngress", revoke.send().await);
        settle("InvalidPermission.NotFound", revoked)?;
        remember(clients, id, &admission.admitted(vpc, &stands), at).await?;
    }
    match describe(ec2, id).await? {
        Some((_, left)) if admission.isolates(&left) => Ok(left),
        _ => Err(refuse(format!(
            "the isolation group {id} of {vpc} still has rules after they were revoked, so it isolates nothing; it isn't used until they are gone"
        ))),
    }
}

/// Lets the responders in that the isolation group of this VPC doesn't let in yet; whom, none where
/// there is nothing to do. Written down first: what the policy doesn't want any more later is then
/// known as what this guardrail has let in, and nobody else.
pub(super) async fn admit(
    clients: &Clients,
    vpc: &str,
    isolation: &Isolation,
    admission: &Admission,
    at: Timestamp,
) -> Result<Option<String>, ApiError> {
    if admission.missing(vpc, isolation).is_empty() {
        return Ok(None);
    }
    let id = isolation.id.as_str();
    let unseen = || refuse(format!("the isolation group {id} of {vpc} can't be seen"));
    // As it is now: adding to a group that isn't this would open somebody's own.
    let (group, stands) = describe(&clients.ec2, id).await?.ok_or_else(unseen)?;
    check_ours(&group, &stands, vpc)?;
    let missing = admission.missing(vpc, &stands);
    if missing.is_empty() {
        return Ok(None);
    }
    remember(clients, id, &admission.admitted(vpc, &stands), at).await?;
    let authorize = clients
        .ec2
        .authorize_security_group_ingress()
        .group_id(id)
        .set_ip_permissions(Some(missing.iter().map(permission).collect()));
    let authorized = outcome("ec2:AuthorizeSecurityGroupIngress", authorize.send().await);
    settle("InvalidPermission.Duplicate", authorized)?;
    let (_, now) = describe(&clients.ec2, id).await?.ok_or_else(unseen)?;
    if !admission.missing(vpc, &now).is_empty() {
        return Err(refuse(format!(
            "the isolation group {id} of {vpc} isn't shown to let all responders in yet; the next sweep looks again"
        )));
    }
    let whom: Vec<String> = missing.iter().map(ToString::to_string).collect();
    Ok(Some(whom.join(", ")))
}

/// What it lets in by the policy, whoever added it.
async fn remember(
    clients: &Clients,
    id: &str,
    admitted: &BTreeSet<Rule>,
    at: Timestamp,
) -> Result<(), ApiError> {
    let any = Expect::Any;
    let written = clients.state.put(&ADMITTED, id, admitted, None, &any, at);
    written.await.map(drop)
}

/// Anybody may tag, so the tag that IAM asks for is no evidence. The name and the VPC are, because
/// a group has them for ever and no other has both.
fn check_ours(group: &SecurityGroup, stands: &Isolation, vpc: &str) -> Result<(), ApiError> {
    let id = &stands.id;
    if group.group_name() != Some(ISOLATION_GROUP) || group.vpc_id() != Some(vpc) {
        return Err(refuse(format!(
            "{id} isn't the group {ISOLATION_GROUP} of {vpc}, so nothing of it is changed"
        )));
    }
    if !stands.ours {
        return Err(refuse(format!(
            "{id} in {vpc} has the name {ISOLATION_GROUP} and other rules than the policy wants, but not the tag {}={NAME}: it isn't this guardrail's and isn't touched; rename or delete it",
            tags::GUARDRAIL
        )));
    }
    Ok(())
}

/// What another run has done meanwhile, by the code that says so, is done.
fn settle(code: &str, answer: Result<(), ApiError>) -> Result<(), ApiError> {
    match answer {
        Err(error) if error.code == code => Ok(()),
        other => other,
    }
}

/// A rule as a call takes it.
fn permission(rule: &Rule) -> IpPermission {
    let (from, to) = rule.ports.unzip();
    let permission = IpPermission::builder()
        .ip_protocol(&rule.protocol)
        .set_from_port(from)
        .set_to_port(to);
    let note = "A responder that the policy of ec2-guardrails names";
    match rule.group() {
        Some(group) => {
            let pair = UserIdGroupPair::builder().group_id(group);
            permission.user_id_group_pairs(pair.description(note).build())
        }
        None if rule.from.contains(':') => {
            let range = Ipv6Range::builder().cidr_ipv6(&rule.from);
            permission.ipv6_ranges(range.description(note).build())
        }
        None => {
            let range = IpRange::builder().cidr_ip(&rule.from);
            permission.ip_ranges(range.description(note).build())
        }
    }
    .build()
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

/// What of these permissions is one of these rules.
fn only(rules: &BTreeSet<Rule>, permissions: Vec<IpPermission>) -> Vec<IpPermission> {
    let narrowed = permissions.into_iter().map(|mut permission| {
        let (protocol, ports) = of_any_source(&permission);
        let is_one =
            |from: Option<&str>| rules.contains(&Rule::new(from.unwrap_or("?"), &protocol, ports));
        if let Some(ranges) = &mut permission.ip_ranges {
            ranges.retain(|one| is_one(one.cidr_ip()));
        }
        if let Some(ranges) = &mut permission.ipv6_ranges {
            ranges.retain(|one| is_one(one.cidr_ipv6()));
        }
        if let Some(pairs) = &mut permission.user_id_group_pairs {
            pairs.retain(|one| is_one(one.group_id()));
        }
        if let Some(lists) = &mut permission.prefix_list_ids {
            lists.retain(|one| is_one(one.prefix_list_id()));
        }
        permission
    });
    let has_sources = |one: &IpPermission| {
        !(one.ip_ranges().is_empty()
            && one.ipv6_ranges().is_empty()
            && one.user_id_group_pairs().is_empty()
            && one.prefix_list_ids().is_empty())
    };
    narrowed.filter(has_sources).collect()
}

/// The group of this id, and what of it counts.
async fn describe(ec2: &Client, id: &str) -> Result<Option<(SecurityGroup, Isolation)>, ApiError> {
    let found = ec2
        .describe_security_groups()
        .filters(filter("group-id", vec![id.to_owned()]))
        .send()
        .await
        .map_err(|error| ApiError::of("ec2:DescribeSecurityGroups", &error))?;
    let found = found.security_groups.unwrap_or_default().into_iter().next();
    Ok(found.and_then(|group| {
        let isolation = isolation_of(&group)?;
        Some((group, isolation))
    }))
}

fn refuse(message: String) -> ApiError {
    ApiError::new(
        "ec2:DescribeSecurityGroups",
        "UnusableIsolationGroup",
        message,
        ErrorKind::Refused,
    )
}

/// Puts every interface of `instance` into its VPC's isolation group and no other, all at once:
/// groups are per interface (AMI-5).
pub(super) async fn interfaces(
    ec2: &Client,
    instance: &Instance,
    groups: &BTreeMap<String, Isolation>,
) -> Isolated {
    let mut isolated = Isolated {
        refused: instance.beyond.clone().into_iter().collect(),
        ..Isolated::default()
    };
    let mut changes = Vec::new();
    for interface in &instance.interfaces {
        let id = &interface.id;
        if let Some(operator) = &interface.operator {
            let why = format!("{operator} manages it");
            isolated.refused.push((id.clone(), why));
        } else if interface.is_isolated(groups) {
            isolated.done.push(id.clone());
        } else if let Some(group) = groups.get(&interface.vpc) {
            let only = vec![group.id.clone()];
            changes.push(async move { (id, set_groups(ec2, id, only).await) });
        }
    }
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
    let modify = ec2
        .modify_network_interface_attribute()
        .network_interface_id(interface)
        .set_groups(Some(groups));
    outcome("ec2:ModifyNetworkInterfaceAttribute", modify.send().await)
}
