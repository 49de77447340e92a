//! Reads AWS, and what is remembered, into facts.
//!
//! Of a launch: the instance and the memory, then everything that its verdict may need at once. Only
//! what no rule approves yet costs a further read: what a parameter named before, the ancestry of an
//! AMI, the metadata of one that can't be described. So an approved launch is two rounds of reads,
//! and an unapproved one is isolated two rounds of writes later: see [`crate::act`].
//!
//! A sweep makes no call per healthy instance: instances come in pages, AMIs in batches. Only of
//! launches of the last hour, and of those that nothing approves, it is read one by one how they
//! were seen then.

mod images;
mod names;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::Client;
use futures::future::try_join_all;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use futures::{join, try_join};
use guardrails::aws::{ApiError, filter};
use guardrails::ec2::State;
use guardrails::policy::Mode;
use guardrails::resource::Resource;
use guardrails::state::{self, Topic};
use guardrails::trigger::{Request, Scope};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::ask::Ask;
use crate::clients::Clients;
use crate::decide::{Action, Quarantine};
use crate::evaluate::unapproved_so_far;
use crate::facts::{Facts, Image, Instance, Interface, Link};
use crate::launches::{Source, launched_by, source};
use crate::policy::Policy;
use crate::policy::responders::rules;
use crate::read;
use crate::record::{
    ADMITTED, BRAKE, LATELY, LAUNCH, LOOP, PARAMETER, QUARANTINE, RELEASED, Watched,
};
use crate::rule::Rule;

/// Reads of the memory at once.
const CONCURRENCY: usize = 16;

const ISOLATION: &str = "the isolation groups";
const RESPONDERS: &str = "the responders' security groups";

/// Reads what `request` asks for.
pub(crate) async fn observe(
    clients: &Clients,
    parameter: &str,
    policy: &Policy,
    request: &Request<Ask>,
    now: Timestamp,
) -> Result<Facts, ApiError> {
    let mut facts = Facts {
        complete: request.scope == Scope::All,
        ask: request.ask.clone(),
        policy_parameter: parameter.to_owned(),
        ..Facts::default()
    };
    match &request.ask {
        Ask::CheckImage(id) => check_image(clients, &mut facts, policy, id, now).await?,
        Ask::List => list(clients, &mut facts, policy, now).await?,
        Ask::Launches => facts.seen = values(clients.state.list(&LAUNCH, now).await?),
        Ask::ReleaseGroup(name) => {
            let names = BTreeSet::from([name.clone()]);
            (facts.groups, facts.loops) = try_join!(
                read::groups(&clients.autoscaling, &names),
                remembered(&clients.state, &LOOP, names.clone(), now),
            )?;
        }
        _ if facts.complete => sweep(clients, &mut facts, policy, now).await?,
        _ => launch(clients, &mut facts, policy, &request.scope, now).await?,
    }
    Ok(facts)
}

/// The quarantines and the releases, and what the brake and the rules on parameters need. What can't
/// be read stops the run: nothing is done then.
async fn remember(
    clients: &Clients,
    facts: &mut Facts,
    policy: &Policy,
    now: Timestamp,
) -> Result<(), ApiError> {
    let state = &clients.state;
    let brake = async {
        match policy.mode {
            Mode::Enforce => state.get(&BRAKE, LATELY, now).await,
            _ => Ok(None),
        }
    };
    (facts.records, facts.released, facts.watched, facts.brake) = try_join!(
        async { Ok(values(state.list(&QUARANTINE, now).await?)) },
        async { Ok(values(state.list(&RELEASED, now).await?)) },
        watched(state, policy, now),
        brake,
    )?;
    Ok(())
}

/// What was seen of parameters whose history can't be read.
async fn watched(
    state: &state::State,
    policy: &Policy,
    now: Timestamp,
) -> Result<BTreeMap<String, Watched>, ApiError> {
    if !names::are_watched(policy) {
        return Ok(BTreeMap::new());
    }
    Ok(values(state.list(&PARAMETER, now).await?))
}

fn values<T>(found: Vec<state::Stored<T>>) -> BTreeMap<String, T> {
    found.into_iter().map(|one| (one.name, one.value)).collect()
}

/// What is remembered of these.
async fn remembered<T: DeserializeOwned>(
    state: &state::State,
    topic: &Topic<T>,
    names: impl IntoIterator<Item = String>,
    now: Timestamp,
) -> Result<BTreeMap<String, T>, ApiError> {
    let found: Vec<_> = stream::iter(names)
        .map(|name| async move { state.get(topic, &name, now).await })
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await?;
    Ok(values(found.into_iter().flatten().collect()))
}

/// Whether AMIs matter: not while nothing is approved.
fn asks_for_images(facts: &Facts, policy: &Policy) -> bool {
    let by_hand = matches!(facts.ask, Ask::Quarantine { .. });
    !policy.approve.is_empty() || by_hand
}

/// A few instances, and what is remembered.
async fn launch(
    clients: &Clients,
    facts: &mut Facts,
    policy: &Policy,
    scope: &Scope,
    now: Timestamp,
) -> Result<(), ApiError> {
    let ids: Vec<String> = scope
        .named()
        .iter()
        .map(Resource::name)
        .map(str::to_owned)
        .collect();
    if ids.is_empty() {
        return Ok(());
    }
    let (found, (), seen) = try_join!(
        read::instances_of(&clients.ec2, ids.clone()),
        remember(clients, facts, policy, now),
        remembered(&clients.state, &LAUNCH, ids, now),
    )?;
    (facts.account, facts.instances) = found;
    facts.seen = seen;
    add_branches(clients, facts).await;
    if matches!(facts.ask, Ask::Release { .. }) {
        return release(clients, facts, policy).await;
    }
    further(clients, facts, policy, now).await
}

/// What the verdicts on a few instances may need besides them, all at once.
async fn further(
    clients: &Clients,
    facts: &mut Facts,
    policy: &Policy,
    now: Timestamp,
) -> Result<(), ApiError> {
    let living: Vec<&Instance> = facts
        .instances
        .values()
        .filter(|instance| instance.state != State::Terminal)
        .collect();
    if living.is_empty() || (!asks_for_images(facts, policy) && !is_any_held(facts)) {
        return Ok(());
    }
    let images = image_ids(facts, policy, &living);
    let vpcs = vpcs(&living);
    let group_names: BTreeSet<String> = living
        .iter()
        .filter_map(|one| one.group().map(str::to_owned))
        .collect();
    let account = facts.account.clone();
    let sources: BTreeSet<Source> = living.iter().filter_map(|one| source(one, facts)).collect();
    let (found, parameters, roles, isolation, responders, groups, loops, siblings) = join!(
        images::images(&clients.ec2, &images),
        names::parameters(&clients.ssm, policy, &facts.watched, now),
        names::roles(&clients.iam, policy, profiles(facts, &living)),
        read::isolation(&clients.ec2, account.as_deref(), Some(&vpcs)),
        responders(&clients.ec2, policy),
        read::groups(&clients.autoscaling, &group_names),
        remembered(&clients.state, &LOOP, group_names.clone(), now),
        siblings(&clients.ec2, &sources, facts),
    );
    facts.images = found?;
    facts.parameters = parameters;
    facts.roles = roles;
    facts.isolation = facts.readable(ISOLATION, isolation);
    facts.responders = facts.readable(RESPONDERS, responders).flatten();
    facts.admitted = admitted(&clients.state, facts, now).await?;
    facts.loops = loops?;
    match groups {
        Ok(groups) => facts.groups = groups,
        Err(error) => facts.groups_unread = Some(error),
    }
    let siblings = facts.readable("launches from the same source", siblings);
    facts.siblings = siblings.unwrap_or_default();
    facts
        .siblings
        .retain(|id, _| !facts.instances.contains_key(id));
    let young = facts.siblings.values();
    let young = young.filter(|one| policy.relaunch.within.after(one.launched) > now);
    let young: Vec<String> = young.map(|one| one.id.clone()).collect();
    let (then, ()) = join!(
        remembered(&clients.state, &LAUNCH, young, now),
        complete(clients, facts, policy, now),
    );
    facts.seen.extend(then?);
    Ok(())
}

/// What a release needs besides the instance: those that are in quarantine with it, and where
/// nothing was recorded the isolation groups.
async fn release(clients: &Clients, facts: &mut Facts, policy: &Policy) -> Result<(), ApiError> {
    let groups: BTreeSet<&str> = facts
        .instances
        .keys()
        .filter_map(|id| facts.records.get(id)?.group())
        .collect();
    let beside = facts.records.iter().filter(|(id, record)| {
        !facts.instances.contains_key(*id)
            && record.group().is_some_and(|group| groups.contains(group))
    });
    let beside: Vec<String> = beside.map(|(id, _)| id.clone()).collect();
    let vpcs = vpcs(&facts.instances.values().collect::<Vec<_>>());
    let account = facts.account.clone();
    let (siblings, isolation, responders) = join!(
        read::instances_of(&clients.ec2, beside),
        read::isolation(&clients.ec2, account.as_deref(), Some(&vpcs)),
        responders(&clients.ec2, policy),
    );
    facts.siblings = siblings?.1;
    // By labels only what is known to be isolated is put back, and then they are taken away.
    let mut ids = facts.instances.keys();
    facts.isolation = if ids.any(|id| !facts.records.contains_key(id)) {
        Some(isolation?)
    } else {
        facts.readable(ISOLATION, isolation)
    };
    facts.responders = facts.readable(RESPONDERS, responders).flatten();
    Ok(())
}

fn vpcs(of: &[&Instance]) -> BTreeSet<String> {
    of.iter()
        .flat_map(|one| one.interfaces.iter().map(|interface| interface.vpc.clone()))
        .collect()
}

fn image_ids(facts: &Facts, policy: &Policy, of: &[&Instance]) -> BTreeSet<String> {
    if !asks_for_images(facts, policy) {
        return BTreeSet::new();
    }
    of.iter().filter_map(|one| one.image.clone()).collect()
}

/// The instance profiles that they have, and had when they were seen first.
fn profiles<'a>(facts: &'a Facts, of: &[&'a Instance]) -> BTreeSet<&'a str> {
    let now = of.iter().filter_map(|one| one.profile.as_deref());
    let then = of.iter().filter_map(|one| facts.seen_of(one));
    now.chain(then.filter_map(|seen| seen.profile.as_deref()))
        .collect()
}

fn is_any_held(facts: &Facts) -> bool {
    facts
        .instances
        .keys()
        .any(|id| facts.records.contains_key(id))
}

/// What hangs on the trunks of what is in quarantine: of others it makes no difference.
async fn add_branches(clients: &Clients, facts: &mut Facts) {
    let records = &facts.records;
    let instances = facts.instances.values_mut();
    let held = instances.filter(|one| records.contains_key(&one.id));
    read::add_branches(&clients.ec2, held).await;
}

/// Where the security groups are that the policy names as responders. One that can't be read is
/// neither let in nor thrown out.
async fn responders(
    ec2: &Client,
    policy: &Policy,
) -> Result<Option<BTreeMap<String, String>>, ApiError> {
    let rules = rules(&policy.responders);
    let groups: BTreeSet<&str> = rules.iter().filter_map(Rule::group).collect();
    if groups.is_empty() {
        return Ok(None);
    }
    read::responders(ec2, groups).await.map(Some)
}

/// What this guardrail has had isolation groups let in, where any lets anybody in.
async fn admitted(
    state: &state::State,
    facts: &Facts,
    now: Timestamp,
) -> Result<BTreeMap<String, BTreeSet<Rule>>, ApiError> {
    let mut groups = facts.isolation.iter().flat_map(BTreeMap::values);
    if groups.all(|group| group.incoming.is_empty()) {
        return Ok(BTreeMap::new());
    }
    Ok(values(state.list(&ADMITTED, now).await?))
}

async fn sweep(
    clients: &Clients,
    facts: &mut Facts,
    policy: &Policy,
    now: Timestamp,
) -> Result<(), ApiError> {
    let (found, (), loops) = try_join!(
        read::instances(&clients.ec2, Vec::new()),
        remember(clients, facts, policy, now),
        clients.state.list(&LOOP, now),
    )?;
    (facts.account, facts.instances) = found;
    facts.loops = values(loops);
    add_branches(clients, facts).await;
    if asks_for_images(facts, policy) || is_any_held(facts) {
        let all: Vec<&Instance> = facts.instances.values().collect();
        let ids = image_ids(facts, policy, &all);
        let account = facts.account.clone();
        let (found, parameters, roles, isolation, responders) = join!(
            images::images(&clients.ec2, &ids),
            names::parameters(&clients.ssm, policy, &facts.watched, now),
            names::roles(&clients.iam, policy, profiles(facts, &all)),
            read::isolation(&clients.ec2, account.as_deref(), None),
            responders(&clients.ec2, policy),
        );
        facts.images = found?;
        facts.parameters = parameters;
        facts.roles = roles;
        facts.isolation = facts.readable(ISOLATION, isolation);
        facts.responders = facts.readable(RESPONDERS, responders).flatten();
        facts.admitted = admitted(&clients.state, facts, now).await?;
        complete(clients, facts, policy, now).await;
        let open = in_question(facts, policy, now);
        facts.seen = remembered(&clients.state, &LAUNCH, open, now).await?;
    }
    let held_ids: Vec<&str> = held(facts).map(|one| one.id.as_str()).collect();
    let failed = read::failed_evidence(&clients.ec2, &held_ids).await;
    facts.failed_evidence = facts.readable("evidence snapshots", failed);
    let unapproved = unapproved_so_far(facts, policy, now).into_iter();
    let wanted: BTreeSet<String> = unapproved
        .chain(held(facts))
        .filter_map(Instance::group)
        .chain(facts.loops.keys().map(String::as_str))
        .map(str::to_owned)
        .collect();
    match read::groups(&clients.autoscaling, &wanted).await {
        Ok(groups) => facts.groups = groups,
        Err(error) => facts.groups_unread = Some(error),
    }
    Ok(())
}

fn held(facts: &Facts) -> impl Iterator<Item = &Instance> {
    let instances = facts.instances.values();
    instances.filter(|one| facts.records.contains_key(&one.id))
}

/// The launches of which it matters how they were seen then.
fn in_question(facts: &Facts, policy: &Policy, now: Timestamp) -> BTreeSet<String> {
    if policy.approve.is_empty() {
        return BTreeSet::new();
    }
    let young = facts.instances.values().filter(|one| one.is_young(now));
    unapproved_so_far(facts, policy, now)
        .into_iter()
        .chain(young)
        .filter(|one| one.state != State::Terminal)
        .map(|one| one.id.clone())
        .collect()
}

/// What is in quarantine, and how it stands.
async fn list(
    clients: &Clients,
    facts: &mut Facts,
    policy: &Policy,
    now: Timestamp,
) -> Result<(), ApiError> {
    let ((), loops) = try_join!(
        remember(clients, facts, policy, now),
        clients.state.list(&LOOP, now),
    )?;
    facts.loops = values(loops);
    let found = read::instances_of(&clients.ec2, facts.records.keys().cloned());
    (facts.account, facts.instances) = found.await?;
    let account = facts.account.clone();
    let (isolation, responders) = join!(
        read::isolation(&clients.ec2, account.as_deref(), None),
        responders(&clients.ec2, policy),
    );
    facts.isolation = facts.readable(ISOLATION, isolation);
    facts.responders = facts.readable(RESPONDERS, responders).flatten();
    add_branches(clients, facts).await;
    Ok(())
}

/// What is asked of an AMI, which perhaps no instance was launched from.
async fn check_image(
    clients: &Clients,
    facts: &mut Facts,
    policy: &Policy,
    id: &str,
    now: Timestamp,
) -> Result<(), ApiError> {
    remember(clients, facts, policy, now).await?;
    let ids = BTreeSet::from([id.to_owned()]);
    let runs = vec![filter("image-id", vec![id.to_owned()])];
    let (found, own, parameters, instances) = join!(
        images::images(&clients.ec2, &ids),
        images::own(&clients.ec2, id),
        names::parameters(&clients.ssm, policy, &facts.watched, now),
        read::instances(&clients.ec2, runs),
    );
    facts.images = found?;
    let (account, found) = instances?;
    let found = found.into_iter();
    facts.instances = found
        .filter(|(_, one)| one.state != State::Terminal)
        .collect();
    facts.account = own?.or(account);
    if facts.images.contains_key(id) {
        // It isn't the account's own: that is enough to tell that it isn't `self`.
        facts.account.get_or_insert_with(|| "another".to_owned());
    }
    images::metadata(&clients.ec2, facts).await;
    if let Some(error) = facts.images_unread.remove(id) {
        return Err(error);
    }
    let unknown = || Image::unknown(id);
    facts.images.entry(id.to_owned()).or_insert_with(unknown);
    let running: Vec<&Instance> = facts.instances.values().collect();
    let ids: Vec<String> = facts.instances.keys().cloned().collect();
    let (seen, roles) = join!(
        remembered(&clients.state, &LAUNCH, ids, now),
        names::roles(&clients.iam, policy, profiles(facts, &running)),
    );
    (facts.seen, facts.roles) = (seen?, roles);
    facts.parameters = parameters;
    complete(clients, facts, policy, now).await;
    Ok(())
}

/// Reads what is still missing for a verdict, of those AMIs only that nothing approves so far.
async fn complete(clients: &Clients, facts: &mut Facts, policy: &Policy, now: Timestamp) {
    images::metadata(&clients.ec2, facts).await;
    let wanted: BTreeSet<String> = if matches!(facts.ask, Ask::CheckImage(_)) {
        facts.images.keys().cloned().collect()
    } else {
        let open = unapproved_so_far(facts, policy, now).into_iter();
        open.filter_map(|one| one.image.clone()).collect()
    };
    if wanted.is_empty() {
        return;
    }
    join!(
        names::history(&clients.ssm, &mut facts.parameters, policy),
        images::ancestry(
            &clients.ec2,
            &mut facts.ancestry,
            &facts.images,
            facts.account.as_deref(),
            policy,
            &wanted,
        ),
    );
    images::further(&clients.ec2, facts).await;
}

/// Instances of these sources. Failing to read them only delays that a loop is seen.
async fn siblings(
    ec2: &Client,
    sources: &BTreeSet<Source>,
    facts: &Facts,
) -> Result<BTreeMap<String, Instance>, ApiError> {
    let reads = sources.iter().map(|source| async move {
        let (key, value) = match source {
            Source::Group(name) => ("tag:aws:autoscaling:groupName", name),
            Source::Controller(controller, name) => (controller.tag(), name),
            Source::Fleet(id) if id.starts_with("sfr-") => ("tag:aws:ec2spot:fleet-request-id", id),
            Source::Fleet(id) => ("tag:aws:ec2:fleet-id", id),
            Source::Spot(id) => ("spot-instance-request-id", id),
            Source::Principal(arn) => {
                let own = facts.records.iter().filter(|(id, record)| {
                    launched_by(record) == Some(arn) && !facts.instances.contains_key(*id)
                });
                return read::instances_of(ec2, own.map(|(id, _)| id.clone())).await;
            }
        };
        // `*` and `?` in a value are wildcards of the filter; `\` takes that away.
        let key = match source {
            Source::Controller(..) => format!("tag:{key}"),
            _ => key.to_owned(),
        };
        let value = value
            .replace('\\', "\\\\")
            .replace('*', "\\*")
            .replace('?', "\\?");
        read::instances(ec2, vec![filter(&key, vec![value])]).await
    });
    let found = try_join_all(reads).await?.into_iter();
    Ok(found.flat_map(|(_, instances)| instances).collect())
}

/// Whether the coming actions are still called for.
///
/// What is written down as having been before is what was looked at: so nobody may have changed the
/// interfaces since, unless it is written down already. That is so where this run has isolated them
/// and was throttled after it.
pub(crate) async fn revalidate(
    ec2: &Client,
    state: &state::State,
    actions: &[&Action],
    at: Timestamp,
) -> Result<Vec<Option<String>>, ApiError> {
    let ids: BTreeSet<String> = actions
        .iter()
        .filter_map(|action| action.instance().map(str::to_owned))
        .collect();
    let (_, now) = read::instances_of(ec2, ids).await?;
    // Of what hangs on a trunk nothing is written down before a look that shows it.
    let own = |one: &Instance| {
        let own = one.interfaces.iter().filter(|one| one.link != Link::Branch);
        own.cloned().collect::<Vec<_>>()
    };
    let changed = |order: &Quarantine| {
        let now = now.get(&order.instance.id);
        now.is_some_and(|now| own(now) != own(&order.instance))
    };
    let mut written_down = BTreeSet::new();
    for action in actions {
        if let Action::Quarantine(order) = action
            && changed(order)
        {
            let id = order.instance.id.as_str();
            if let Some(stored) = state.get(&QUARANTINE, id, at).await? {
                let mut interfaces = order.instance.interfaces.iter();
                let known = |one: &Interface| {
                    one.operator.is_some() || stored.value.interfaces.contains_key(&one.id)
                };
                if interfaces.all(known) {
                    written_down.insert(id);
                }
            }
        }
    }
    let stands = |action: &Action| {
        let id = action.instance()?;
        let Some(instance) = now.get(id) else {
            return Some("gone meanwhile".to_owned());
        };
        if instance.state == State::Terminal {
            return Some("it is being terminated".to_owned());
        }
        match action {
            Action::Quarantine(order) if changed(order) && !written_down.contains(id) => Some(
                "its network interfaces were changed since it was looked at; the next run looks anew"
                    .to_owned(),
            ),
            _ => None,
        }
    };
    Ok(actions.iter().map(|action| stands(action)).collect())
}

#[cfg(test)]
mod tests;
