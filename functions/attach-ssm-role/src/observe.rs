//! Reads instances, nodes and the memory into facts; and of those that are late, why.
//!
//! A sweep makes no call per healthy instance: instances, nodes, endpoints, groups and the memory
//! come in pages, permissions once per instance profile. The rest is read only where a node is late,
//! or Online and perhaps out of reach: VPCs once each, status checks in batches, the console of a
//! few.

#[macro_use]
mod answer;
mod evidence;
mod groups;
mod identity;
mod instances;
mod network;
mod nodes;
mod sessions;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_ec2::Client;
use guardrails::aws::{ApiError, ErrorKind, filter};
use guardrails::ec2::{FILTER_VALUES, State};
use guardrails::resource::Arn;
use guardrails::state::{Stored, Topic};
use guardrails::trigger::{Request, Scope};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use self::instances::instances;
use self::nodes::nodes;

use crate::clients::Clients;
use crate::decide::Action;
use crate::diagnosis::network::uneven;
use crate::evaluate::in_question;
use crate::facts::identity::Identity;
use crate::facts::network::{Interface, Service};
use crate::facts::{Facts, Instance, Read};
use crate::memory::{NODES, QUARANTINE};
use crate::policy::Policy;
use crate::request::Ask;
use crate::standing::{Member, Standing, member, standing};

/// Reads what `request` asks for.
pub(crate) async fn observe(
    clients: &Clients,
    profile: &str,
    policy: &Policy,
    request: &Request<Ask>,
    now: Timestamp,
) -> Result<Facts, ApiError> {
    let mut facts = Facts::new(profile);
    facts.complete = request.scope == Scope::All;
    facts.diagnose = request.ask == Ask::Diagnose;
    let named = request.scope.named().iter();
    let ids: Vec<String> = named.map(|one| one.name().to_owned()).collect();
    let which = if facts.complete {
        let living = ["pending", "running", "stopping", "stopped"];
        filter("instance-state-name", living.map(str::to_owned).to_vec())
    } else {
        filter("instance-id", ids.clone())
    };
    // Boxed, as below: the many reads would make every run's future large.
    let (found, memory, quarantined, dhmc) = Box::pin(async {
        futures::join!(
            instances(&clients.ec2, which),
            remembered(&clients.own, &NODES, facts.complete, &ids, now),
            remembered(&clients.quarantine, &QUARANTINE, facts.complete, &ids, now),
            nodes::default_host_management(&clients.ssm),
        )
    })
    .await;
    (facts.instances, facts.memory) = (found?, memory?);
    facts.quarantined = quarantined.map(|found| found.into_keys().collect());
    facts.dhmc = dhmc;
    if facts.diagnose && facts.instances.is_empty() {
        return Err(missing(&ids));
    }

    let instances = facts.instances.values();
    let running = instances.filter(|instance| instance.state == State::Running);
    let running: Vec<&str> = running.map(|instance| instance.id.as_str()).collect();
    facts.nodes = nodes(&clients.ssm, &running).await?;
    let is_late = |_: &Instance, so: &Standing| matches!(so, Standing::Late(_));
    let late = ids_of(&facts, policy, now, is_late);
    facts.associated = evidence::associated(&clients.ec2, &late).await;
    let profiles = profiles(&facts, policy, now);
    let identities = Box::pin(identity::identities(&clients.iam, profiles)).await;
    facts.remade = remade(&facts.instances, &identities);
    facts.identities = identities
        .into_iter()
        .map(|(arn, read)| (arn, read.map(|(_, identity)| identity)))
        .collect();

    let diagnosed = ids_of(&facts, policy, now, |instance, so| {
        facts.diagnose || is_late(instance, so)
    });
    if !diagnosed.is_empty() {
        Box::pin(evidence::gather(clients, &mut facts, &diagnosed)).await;
    }
    let online = ids_of(&facts, policy, now, |_, so| *so == Standing::Online);
    Box::pin(networks(&clients.ec2, &mut facts, &diagnosed, &online)).await;
    if !diagnosed.is_empty() {
        facts.hybrid = nodes::hybrid(&clients.ssm).await;
    }
    let diagnosed = facts.instances.values().next();
    let diagnosed = diagnosed.filter(|one| facts.diagnose && one.state == State::Running);
    if let Some(instance) = diagnosed {
        let id = vec![instance.id.clone()];
        let sessions = Box::pin(sessions::sessions(clients, &facts, instance)).await;
        facts.sessions = Some(sessions);
        facts.connections = nodes::connections(&clients.ssm, id).await;
    } else if !facts.diagnose {
        let asked = so(&facts, policy, now, |_, so| *so == Standing::Online)
            .filter_map(|one| Some((in_question(one, &facts, policy)?, one.id.clone())));
        let asked = nodes::in_turn(asked.collect(), now);
        facts.connections = nodes::connections(&clients.ssm, asked).await;
    }
    // Only the sweep tells of groups: several members' events at the same moment would each tell.
    if facts.complete {
        let concerned = concerned(&facts, policy, now);
        facts.groups = Some(groups::groups(clients, &concerned).await);
    }
    Ok(facts)
}

/// The instances whose profile is gone, though there is another one of its name: its id tells.
fn remade(
    instances: &BTreeMap<String, Instance>,
    profiles: &BTreeMap<String, Read<(String, Identity)>>,
) -> BTreeSet<String> {
    let is_remade = |one: &&Instance| {
        let now = one.profile.as_ref().and_then(|arn| profiles.get(arn));
        match (&one.profile_id, now) {
            (Some(had), Some(Ok((id, _)))) => !id.is_empty() && had != id,
            _ => false,
        }
    };
    let remade = instances.values().filter(is_remade);
    remade.map(|one| one.id.clone()).collect()
}

/// A person asks about what isn't there.
fn missing(ids: &[String]) -> ApiError {
    ApiError {
        operation: "ec2:DescribeInstances",
        code: "InvalidInstanceID.NotFound".to_owned(),
        message: format!(
            "there is no instance {} in this account and Region (any more)",
            ids.join(", ")
        ),
        kind: ErrorKind::Refused,
    }
}

/// What is remembered under `topic`, of all or of `ids`.
async fn remembered<T: DeserializeOwned>(
    state: &guardrails::state::State,
    topic: &Topic<T>,
    all: bool,
    ids: &[String],
    now: Timestamp,
) -> Read<HashMap<String, Stored<T>>> {
    let mut found = Vec::new();
    if all {
        found = state.list(topic, now).await?;
    }
    for id in ids {
        found.extend(state.get(topic, id, now).await?);
    }
    let by_id = found
        .into_iter()
        .map(|stored| (stored.name.clone(), stored));
    Ok(by_id.collect())
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
    let services: &[Service] = if facts.diagnose {
        &Service::ALL
    } else {
        &Service::OF_NODES
    };
    facts.network = match network::endpoints(ec2, which, services).await {
        Ok(endpoints) => {
            let uneven = uneven(&endpoints);
            interfaces.extend(online.iter().filter(|i| uneven.contains(&i.vpc)));
            if interfaces.is_empty() {
                return;
            }
            let account = Arn::read(&facts.profile).map_or("", |arn| arn.account);
            Some(network::network(ec2, account, &interfaces, endpoints).await)
        }
        Err(error) => Some(Err(error)),
    };
}

/// The instances that are so and stand so, in order.
fn so<'a>(
    facts: &'a Facts,
    policy: &'a Policy,
    now: Timestamp,
    is: impl Fn(&Instance, &Standing) -> bool + 'a,
) -> impl Iterator<Item = &'a Instance> {
    let instances = facts.instances.values();
    instances.filter(move |one| is(one, &standing(one, facts, policy, now)))
}

fn ids_of(
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
    is: impl Fn(&Instance, &Standing) -> bool,
) -> Vec<String> {
    so(facts, policy, now, is)
        .map(|one| one.id.clone())
        .collect()
}

/// The profiles whose roles matter: those of all running instances that are looked after. They
/// are few however many instances there are. Each with one instance for which to simulate, which
/// isn't Online, if there is one.
fn profiles(facts: &Facts, policy: &Policy, now: Timestamp) -> BTreeMap<String, Instance> {
    let matters = |_: &Instance, so: &Standing| match so {
        Standing::Online | Standing::Waiting(_) | Standing::Late(_) => true,
        _ => facts.diagnose,
    };
    let is_online = |one: &Instance| facts.nodes.get(&one.id).is_some_and(|node| node.online);
    let mut found: Vec<&Instance> = so(facts, policy, now, matters).collect();
    // Of several the last one stays.
    found.sort_by_key(|one| !is_online(one));
    let by_profile = |one: &Instance| Some((one.profile.clone()?, one.clone()));
    found.into_iter().filter_map(by_profile).collect()
}

/// The groups of which it matters whether they launch with a profile.
fn concerned(facts: &Facts, policy: &Policy, now: Timestamp) -> BTreeSet<String> {
    let is = |one: &Instance, so: &Standing| member(one, so, &facts.profile) == Member::Concerned;
    so(facts, policy, now, is)
        .filter_map(|instance| instance.group().map(str::to_owned))
        .collect()
}

/// Whether the coming associations are still called for. Whether the instance is in quarantine by
/// now is read at the association itself.
pub(crate) async fn revalidate(
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
    let overtaken = |action: &&Action| {
        let Action::Attach {
            instance, exclude, ..
        } = action
        else {
            return None;
        };
        let Some(found) = now.get(instance) else {
            return Some("gone meanwhile".to_owned());
        };
        if found.state == State::Terminal {
            return Some("it is being terminated".to_owned());
        }
        let tag = exclude.tag_of(|key| found.tag(key));
        let (profile, operator) = (found.profile.as_ref(), found.operator.as_ref());
        profile
            .map(|profile| format!("it has {profile} meanwhile"))
            .or_else(|| tag.map(|tag| format!("its tag {tag} excludes it meanwhile")))
            .or_else(|| operator.map(|operator| format!("{operator} manages it meanwhile")))
    };
    Ok(actions.iter().map(overtaken).collect())
}

#[cfg(test)]
mod tests;
