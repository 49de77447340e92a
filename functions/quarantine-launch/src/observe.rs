//! Reads AWS into facts.
//!
//! Of a launch: the instance, then everything that its verdict may need at once. Only what no rule
//! approves yet costs a further read: what a parameter named before, the ancestry of an AMI, the
//! metadata of one that can't be described. So an approved launch is two rounds of reads, and an
//! unapproved one is isolated two rounds of writes later: see [`crate::act`].
//!
//! A sweep makes no call per healthy instance: instances come in pages, AMIs in batches.

mod groups;
mod images;
mod names;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, InstanceLifecycleType};
use futures::join;
use guardrails::aws::{ApiError, filter};
use guardrails::ec2::{self, FILTER_VALUES, State, timestamp};
use guardrails::tags;
use guardrails::trigger::{Request, Scope};
use jiff::Timestamp;
use lambda_runtime::tracing;

use crate::Clients;
use crate::approval::verdict;
use crate::decide::Action;
use crate::facts::{Asked, Disk, Facts, Instance, Interface, Isolation, PolicyParameter};
use crate::launches::{Source, source};
use crate::policy::Policy;

pub(crate) use groups::groups;

/// Largest page of `DescribeInstances`.
const PAGE: i32 = 1_000;

/// Reads what `request` asks for.
pub(crate) async fn observe(
    clients: &Clients,
    parameter: &str,
    policy: &Policy,
    request: &Request,
) -> Result<Facts, ApiError> {
    let hint = crate::Hint::of(request);
    let mut facts = Facts {
        asked: hint.asked,
        launcher: hint.launcher,
        policy_parameter: PolicyParameter {
            name: parameter.to_owned(),
            told: None,
        },
        ..Facts::default()
    };
    match (&facts.asked, &request.scope) {
        (Asked::CheckImage(id), _) => {
            let id = id.clone();
            check_image(clients, &mut facts, policy, &id).await?;
        }
        (Asked::ReleaseGroup(name), _) => {
            let names = BTreeSet::from([name.clone()]);
            facts.groups = groups(&clients.autoscaling, &names).await?;
        }
        (_, Scope::All) => {
            facts.complete = true;
            let (account, instances) = instances(&clients.ec2, Vec::new()).await?;
            facts.account = account;
            facts.instances = instances;
            sweep(clients, &mut facts, policy).await?;
        }
        (_, named) => {
            let ids = named.named().to_vec();
            for some in ids.chunks(FILTER_VALUES) {
                let (account, instances) =
                    instances(&clients.ec2, vec![filter("instance-id", some.to_vec())]).await?;
                facts.account = facts.account.or(account);
                facts.instances.extend(instances);
            }
            launch(clients, &mut facts, policy).await?;
        }
    }
    Ok(facts)
}

/// Whether AMIs matter: not while nothing is approved.
fn asks_for_images(facts: &Facts, policy: &Policy) -> bool {
    let by_hand = matches!(facts.asked, Asked::Quarantine { .. });
    !policy.approve.is_empty() || by_hand
}

/// All that the verdicts on a few instances may need, at once.
async fn launch(clients: &Clients, facts: &mut Facts, policy: &Policy) -> Result<(), ApiError> {
    if matches!(facts.asked, Asked::Release(_)) {
        let held = vec![filter("tag-key", vec![tags::QUARANTINED.to_owned()])];
        facts.siblings = others(facts, instances(&clients.ec2, held).await?.1);
        return Ok(());
    }
    let living: Vec<&Instance> = facts
        .instances
        .values()
        .filter(|instance| instance.state != State::Terminal)
        .collect();
    if living.is_empty() || (!asks_for_images(facts, policy) && !is_any_held(facts)) {
        return Ok(());
    }
    let ids = image_ids(facts, policy, &living);
    let vpcs: BTreeSet<String> = living
        .iter()
        .flat_map(|one| one.interfaces.iter().map(|interface| interface.vpc.clone()))
        .collect();
    let group_names: BTreeSet<String> = living
        .iter()
        .filter_map(|one| one.group().map(str::to_owned))
        .collect();
    let sources: BTreeSet<Source> = living.iter().filter_map(|one| source(one, facts)).collect();
    let (found, parameters, roles, isolation, found_groups, siblings) = join!(
        images::images(&clients.ec2, &ids),
        names::parameters(&clients.ssm, policy),
        names::roles(&clients.iam, policy, &living),
        isolation(&clients.ec2, Some(&vpcs)),
        groups(&clients.autoscaling, &group_names),
        siblings(&clients.ec2, &sources),
    );
    facts.images = found?;
    facts.parameters = parameters;
    facts.roles = roles;
    facts.isolation = readable(isolation);
    match found_groups {
        Ok(groups) => facts.groups = groups,
        Err(error) => facts.groups_unread = Some(error),
    }
    facts.siblings = others(facts, siblings);
    images::complete(clients, facts, policy).await;
    Ok(())
}

fn image_ids(facts: &Facts, policy: &Policy, of: &[&Instance]) -> BTreeSet<String> {
    if !asks_for_images(facts, policy) {
        return BTreeSet::new();
    }
    of.iter().filter_map(|one| one.image.clone()).collect()
}

fn is_any_held(facts: &Facts) -> bool {
    facts
        .instances
        .values()
        .any(|instance| instance.quarantine().is_some())
}

/// `found` without what is in `facts` already.
fn others(facts: &Facts, found: BTreeMap<String, Instance>) -> BTreeMap<String, Instance> {
    found
        .into_iter()
        .filter(|(id, _)| !facts.instances.contains_key(id))
        .collect()
}

/// A missing read of the isolation groups must not keep a quarantine away: it looks itself.
fn readable(
    isolation: Result<BTreeMap<String, Isolation>, ApiError>,
) -> Option<BTreeMap<String, Isolation>> {
    isolation
        .inspect_err(|error| tracing::warn!("isolation groups weren't read: {error}"))
        .ok()
}

async fn sweep(clients: &Clients, facts: &mut Facts, policy: &Policy) -> Result<(), ApiError> {
    let told = names::told_of_policy(&clients.ssm, &facts.policy_parameter.name);
    if !asks_for_images(facts, policy) && !is_any_held(facts) {
        facts.policy_parameter.told = told.await;
        return Ok(());
    }
    let all: Vec<&Instance> = facts.instances.values().collect();
    let ids = image_ids(facts, policy, &all);
    let (found, parameters, roles, isolation, told) = join!(
        images::images(&clients.ec2, &ids),
        names::parameters(&clients.ssm, policy),
        names::roles(&clients.iam, policy, &all),
        isolation(&clients.ec2, None),
        told,
    );
    facts.images = found?;
    facts.parameters = parameters;
    facts.roles = roles;
    facts.isolation = readable(isolation);
    facts.policy_parameter.told = told;
    images::complete(clients, facts, policy).await;
    let wanted: BTreeSet<String> = facts
        .instances
        .values()
        .filter(|one| one.quarantine().is_some() || verdict(one, facts, policy).is_unapproved())
        .filter_map(|one| one.group().map(str::to_owned))
        .collect();
    let (named, broken) = join!(
        groups(&clients.autoscaling, &wanted),
        groups::broken(&clients.autoscaling),
    );
    match (named, broken) {
        (Ok(named), Ok(broken)) => {
            facts.groups = broken;
            facts.groups.extend(named);
        }
        (Err(error), _) | (_, Err(error)) => facts.groups_unread = Some(error),
    }
    Ok(())
}

/// What is asked of an AMI that perhaps no instance was launched from.
async fn check_image(
    clients: &Clients,
    facts: &mut Facts,
    policy: &Policy,
    id: &str,
) -> Result<(), ApiError> {
    let ids = BTreeSet::from([id.to_owned()]);
    let (found, own, parameters) = join!(
        images::images(&clients.ec2, &ids),
        images::own(&clients.ec2, id),
        names::parameters(&clients.ssm, policy),
    );
    facts.images = found?;
    facts.account = own?;
    // Of an AMI that isn't the account's own this is enough to tell that it isn't `self`.
    facts.account.get_or_insert_with(|| "another".to_owned());
    facts.parameters = parameters;
    if !facts.images.contains_key(id) {
        let unknown = crate::facts::Image::unknown(id);
        facts.images.insert(id.to_owned(), unknown);
    }
    images::complete(clients, facts, policy).await;
    Ok(())
}

/// Instances by id, terminated ones too, and the account that they belong to.
pub(crate) async fn instances(
    ec2: &Client,
    which: Vec<Filter>,
) -> Result<(Option<String>, BTreeMap<String, Instance>), ApiError> {
    let mut pages = ec2
        .describe_instances()
        .set_filters((!which.is_empty()).then_some(which))
        .max_results(PAGE)
        .into_paginator()
        .send();
    let mut account = None;
    let mut found = BTreeMap::new();
    while let Some(page) = pages
        .try_next()
        .await
        .map_err(|error| ApiError::of("ec2:DescribeInstances", &error))?
    {
        for reservation in page.reservations() {
            if account.is_none() {
                account = reservation.owner_id().map(str::to_owned);
            }
            found.extend(
                reservation
                    .instances()
                    .iter()
                    .filter_map(instance)
                    .map(|instance| (instance.id.clone(), instance)),
            );
        }
    }
    Ok((account, found))
}

fn instance(found: &aws_sdk_ec2::types::Instance) -> Option<Instance> {
    let started = timestamp(found.launch_time()).unwrap_or(Timestamp::UNIX_EPOCH);
    let vpc = found.vpc_id().unwrap_or_default();
    Some(Instance {
        id: found.instance_id()?.to_owned(),
        state: State::of(found)?,
        launched: first_attached(found).unwrap_or(started),
        image: found
            .image_id()
            .filter(|id| !id.is_empty())
            .map(str::to_owned),
        architecture: found
            .architecture()
            .map(|architecture| architecture.as_str().to_owned()),
        vpc: vpc.to_owned(),
        subnet: found.subnet_id().unwrap_or_default().to_owned(),
        profile: found
            .iam_instance_profile()
            .and_then(|profile| profile.arn())
            .map(str::to_owned),
        tags: ec2::tags(found.tags()),
        operator: ec2::operator(found.operator()),
        spot: found.instance_lifecycle() == Some(&InstanceLifecycleType::Spot),
        spot_request: found
            .spot_instance_request_id()
            .filter(|id| !id.is_empty())
            .map(str::to_owned),
        interfaces: found
            .network_interfaces()
            .iter()
            .filter_map(|interface| self::interface(interface, vpc))
            .collect(),
        disks: found
            .block_device_mappings()
            .iter()
            .filter_map(|mapping| {
                let ebs = mapping.ebs()?;
                Some(Disk {
                    device: mapping.device_name()?.to_owned(),
                    volume: ebs.volume_id()?.to_owned(),
                    delete_on_termination: ebs.delete_on_termination().unwrap_or_default(),
                })
            })
            .collect(),
    })
}

/// When the primary network interface was attached: at the launch. EC2's launch time is that of
/// the last start, and a start is no launch (SSM-9).
fn first_attached(found: &aws_sdk_ec2::types::Instance) -> Option<Timestamp> {
    found.network_interfaces().iter().find_map(|interface| {
        let attachment = interface.attachment()?;
        (attachment.device_index() == Some(0))
            .then(|| timestamp(attachment.attach_time()))
            .flatten()
    })
}

fn interface(found: &aws_sdk_ec2::types::InstanceNetworkInterface, vpc: &str) -> Option<Interface> {
    Some(Interface {
        id: found.network_interface_id()?.to_owned(),
        vpc: found.vpc_id().unwrap_or(vpc).to_owned(),
        groups: found
            .groups()
            .iter()
            .filter_map(|group| group.group_id().map(str::to_owned))
            .collect(),
        operator: ec2::operator(found.operator()),
    })
}

/// The isolation groups in `vpcs` (all where none are named), by VPC.
pub(crate) async fn isolation(
    ec2: &Client,
    vpcs: Option<&BTreeSet<String>>,
) -> Result<BTreeMap<String, Isolation>, ApiError> {
    if vpcs.is_some_and(BTreeSet::is_empty) {
        return Ok(BTreeMap::new());
    }
    let mut which = vec![filter(
        &format!("tag:{}", tags::GUARDRAIL),
        vec![crate::NAME.to_owned()],
    )];
    which.extend(vpcs.map(|vpcs| filter("vpc-id", vpcs.iter().cloned().collect())));
    let mut pages = ec2
        .describe_security_groups()
        .set_filters(Some(which))
        .max_results(PAGE)
        .into_paginator()
        .send();
    let mut found: BTreeMap<String, Isolation> = BTreeMap::new();
    while let Some(page) = pages
        .try_next()
        .await
        .map_err(|error| ApiError::of("ec2:DescribeSecurityGroups", &error))?
    {
        for group in page.security_groups() {
            let (Some(id), Some(vpc)) = (group.group_id(), group.vpc_id()) else {
                continue;
            };
            // A tag alone could be anybody's copy: the name is ours too.
            if group.group_name() != Some(crate::ISOLATION_GROUP) {
                continue;
            }
            found.insert(
                vpc.to_owned(),
                Isolation {
                    id: id.to_owned(),
                    bare: group.ip_permissions().is_empty()
                        && group.ip_permissions_egress().is_empty(),
                },
            );
        }
    }
    Ok(found)
}

/// Other instances of the same sources. Failing to read them only delays that a loop is seen.
async fn siblings(ec2: &Client, sources: &BTreeSet<Source>) -> BTreeMap<String, Instance> {
    let reads = sources.iter().map(|source| {
        let (key, value) = match source {
            Source::Group(name) => ("tag:aws:autoscaling:groupName".to_owned(), name),
            Source::Fleet(id) if id.starts_with("sfr-") => {
                ("tag:aws:ec2spot:fleet-request-id".to_owned(), id)
            }
            Source::Fleet(id) => ("tag:aws:ec2:fleet-id".to_owned(), id),
            Source::Principal(arn) => (format!("tag:{}", tags::QUARANTINE_LAUNCHER), arn),
            Source::Spot(id) => ("spot-instance-request-id".to_owned(), id),
        };
        // `*` and `?` in a value are wildcards of the filter; `\` takes that away.
        let value = value
            .replace('\\', "\\\\")
            .replace('*', "\\*")
            .replace('?', "\\?");
        instances(ec2, vec![filter(&key, vec![value])])
    });
    let mut found = BTreeMap::new();
    for answer in futures::future::join_all(reads).await {
        match answer {
            Ok((_, instances)) => found.extend(instances),
            Err(error) => tracing::warn!("launches of the same source weren't counted: {error}"),
        }
    }
    found
}

/// Whether the coming actions are still called for.
pub(crate) async fn look_again(
    ec2: &Client,
    actions: &[&Action],
) -> Result<Vec<Option<String>>, ApiError> {
    let ids: BTreeSet<String> = actions
        .iter()
        .filter_map(|action| action.instance().map(str::to_owned))
        .collect();
    let ids: Vec<String> = ids.into_iter().collect();
    let mut now = BTreeMap::new();
    for some in ids.chunks(FILTER_VALUES) {
        let which = vec![filter("instance-id", some.to_vec())];
        now.extend(instances(ec2, which).await?.1);
    }
    Ok(actions
        .iter()
        .map(|action| {
            let Some(instance) = now.get(action.instance()?) else {
                return Some("gone meanwhile".to_owned());
            };
            if instance.state == State::Terminal {
                return Some("it is being terminated".to_owned());
            }
            let released = instance.tag(tags::RELEASED_IMAGE).is_some()
                && instance.tag(tags::RELEASED_IMAGE) == instance.image.as_deref();
            match action {
                Action::Quarantine(quarantine)
                    if released && quarantine.occasion != crate::decide::Occasion::ByHand =>
                {
                    Some("a person released it meanwhile".to_owned())
                }
                Action::Release(_) if instance.quarantine().is_none() => {
                    Some("it has been released meanwhile".to_owned())
                }
                _ => None,
            }
        })
        .collect())
}

#[cfg(test)]
mod tests;
