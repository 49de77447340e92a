//! Reads volumes, snapshots, instances and images into facts: paged, filtered by AWS, and only
//! what is needed.

pub(crate) mod drills;
mod elsewhere;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, Image, LockState, VolumeAttachmentState};
use guardrails::aws::{ApiError, filter, timestamp};
use guardrails::ec2::{self, FILTER_VALUES};
use guardrails::policy::Exempt;
use guardrails::resource::Resource;
use guardrails::state;
use guardrails::trigger::{Order, Request, Scope};
use jiff::Timestamp;

use crate::action::Action;
use crate::evaluate;
use crate::facts::{Ask, Attachment, Facts, Instance, Refusal, Snapshot, Volume};
use crate::memory::REFUSED;
use crate::observe::snapshot::{Found, PAGE, owned};
use crate::ownership;
use crate::policy::Policy;
use crate::regions::Regions;

/// From so many instances on, one paged read of all is fewer calls than reads by id.
const READ_ALL_INSTANCES: usize = 1_000;
/// Most ids by which snapshots are looked for: the description takes one of a filter's values.
const SNAPSHOT_IDS: usize = FILTER_VALUES - 1;

/// Reads what `request` asks for.
pub(crate) async fn observe(
    regions: &Regions,
    state: &state::State,
    policy: &Policy,
    request: &Request<Ask>,
    now: Timestamp,
) -> Result<Facts, ApiError> {
    let ec2 = &regions.here;
    let asked = request.ask.proofs.clone();
    let mut facts = if let (Scope::Only(named), None) = (&request.scope, &asked) {
        let mut facts = neighbourhoods(ec2, policy, named, request.order).await?;
        // A failed snapshot is no matter of its copies; a person wants to know of all.
        if request.order != Order::Own {
            let volumes = Some(facts.volumes.keys().cloned().collect());
            facts.elsewhere = elsewhere::elsewhere(regions, state, policy, volumes, now).await?;
        }
        facts
    } else {
        let (facts, elsewhere) = futures::try_join!(
            everything(ec2, state, policy, now),
            elsewhere::elsewhere(regions, state, policy, None, now),
        )?;
        Facts {
            // A question is no sweep: nothing follows for what it doesn't name.
            complete: asked.is_none(),
            elsewhere,
            ..facts
        }
    };
    regions.home().clone_into(&mut facts.region);
    facts.drills = drills::drills(regions, state, policy, now).await?;
    facts.drills.asked = asked;
    drills::set_apart(&mut facts);
    if policy.needs_instances() {
        let attachments = facts
            .volumes
            .values()
            .flat_map(|volume| &volume.attachments);
        let attached = attachments
            .map(|attachment| attachment.instance.clone())
            .collect();
        facts.instances = instances(ec2, attached).await?;
    }
    let lacking = evaluate::instances_lacking(&facts, policy, now);
    let unknown: BTreeSet<String> = lacking
        .iter()
        .filter(|id| !facts.instances.contains_key(*id))
        .cloned()
        .collect();
    facts.instances.extend(instances(ec2, unknown).await?);
    name_images(ec2, &mut facts.instances, &lacking).await?;
    Ok(facts)
}

async fn everything(
    ec2: &Client,
    state: &state::State,
    policy: &Policy,
    now: Timestamp,
) -> Result<Facts, ApiError> {
    let (volumes, (snapshots, disowned), refused) = futures::try_join!(
        volumes(ec2, Vec::new()),
        snapshots(ec2, Vec::new(), &policy.hold),
        state.list(&REFUSED, now),
    )?;
    let refused = refused.into_iter();
    let mut facts = Facts {
        complete: true,
        volumes: by_id(volumes),
        snapshots,
        disowned,
        refused: refused.map(|item| (item.name, item.value)).collect(),
        ..Facts::default()
    };
    facts.gone = gone(ec2, &evaluate::maybe_gone(&facts, policy, now)).await?;
    let held_back = evaluate::over_limit(&facts, policy, now);
    facts.refused.extend(undeletable(ec2, held_back).await);
    Ok(facts)
}

/// Which of the snapshots that the deletion limit holds back couldn't be deleted anyway, being
/// locked or in use by an AMI: tried they never were, so nothing is remembered of it. What can't be
/// read counts as deletable, and the limit goes on holding.
async fn undeletable(ec2: &Client, ids: Vec<String>) -> BTreeMap<String, Refusal> {
    let ids: BTreeSet<String> = ids.into_iter().collect();
    if ids.is_empty() {
        return BTreeMap::new();
    }
    let (locked, used) = futures::join!(locked(ec2), used_by_images(ec2, &ids));
    let locked = locked.unwrap_or_default().into_iter();
    let used = used.unwrap_or_default().into_iter();
    let kept = locked.map(|id| (id, "locked"));
    let kept = kept.chain(used.map(|id| (id, "in use by an AMI")));
    kept.filter(|(id, _)| ids.contains(id))
        .map(|(id, why)| {
            let refusal = Refusal {
                why: why.to_owned(),
                unmeant: false,
                again: Timestamp::MAX,
            };
            (id, refusal)
        })
        .collect()
}

/// All snapshots of the account that are locked.
async fn locked(ec2: &Client) -> Result<Vec<String>, ApiError> {
    let mut locked = Vec::new();
    let mut token = None;
    loop {
        let page = ec2
            .describe_locked_snapshots()
            .max_results(PAGE)
            .set_next_token(token)
            .send()
            .await
            .map_err(|error| ApiError::of("ec2:DescribeLockedSnapshots", &error))?;
        let now_locked = page
            .snapshots()
            .iter()
            .filter(|snapshot| snapshot.lock_state() != Some(&LockState::Expired))
            .filter_map(|snapshot| snapshot.snapshot_id());
        locked.extend(now_locked.map(str::to_owned));
        token = page.next_token;
        if token.is_none() {
            return Ok(locked);
        }
    }
}

/// The snapshots among `ids` that an AMI of the account uses, a disabled one too (EBS-8).
async fn used_by_images(ec2: &Client, ids: &BTreeSet<String>) -> Result<Vec<String>, ApiError> {
    let ids = ids.iter().cloned().collect();
    let images = ec2::images(ec2, "block-device-mapping.snapshot-id", ids, Some("self")).await?;
    let disks = images.iter().flat_map(Image::block_device_mappings);
    let snapshots = disks.filter_map(|disk| disk.ebs()?.snapshot_id());
    Ok(snapshots.map(str::to_owned).collect())
}

/// The volumes that are named, with all others of their instances. An event may come after its
/// volume is gone; a person who asks for one that isn't there is told so.
async fn neighbourhoods(
    ec2: &Client,
    policy: &Policy,
    named: &[Resource],
    order: Order,
) -> Result<Facts, ApiError> {
    let mut facts = Facts::default();
    for volume in named {
        let id = volume.name();
        facts.volumes.extend(by_id(neighbourhood(ec2, id).await?));
        if order != Order::Own && !facts.volumes.contains_key(id) {
            facts.not_found.push(id.to_owned());
        }
    }
    let ids: Vec<String> = facts.volumes.keys().cloned().collect();
    for some in ids.chunks(SNAPSHOT_IDS) {
        let of_these = filter("volume-id", some.to_vec());
        let (snapshots, disowned) = snapshots(ec2, vec![of_these], &policy.hold).await?;
        facts.snapshots.extend(snapshots);
        facts.disowned.extend(disowned);
    }
    Ok(facts)
}

fn by_id(volumes: Vec<Volume>) -> BTreeMap<String, Volume> {
    volumes.into_iter().map(|v| (v.id.clone(), v)).collect()
}

async fn volumes(ec2: &Client, filters: Vec<Filter>) -> Result<Vec<Volume>, ApiError> {
    let mut pages = ec2
        .describe_volumes()
        .set_filters((!filters.is_empty()).then_some(filters))
        .max_results(PAGE)
        .into_paginator()
        .items()
        .send();
    let mut found = Vec::new();
    while let Some(item) = pages
        .try_next()
        .await
        .map_err(|error| ApiError::of("ec2:DescribeVolumes", &error))?
    {
        found.push(volume(item));
    }
    Ok(found)
}

/// One volume and all others of the instance that it is attached to: they are snapshotted together.
async fn neighbourhood(ec2: &Client, id: &str) -> Result<Vec<Volume>, ApiError> {
    let found = volumes(ec2, vec![filter("volume-id", vec![id.to_owned()])]).await?;
    let instances: Vec<String> = found
        .iter()
        .flat_map(|volume| &volume.attachments)
        .map(|attachment| attachment.instance.clone())
        .collect();
    if instances.is_empty() {
        return Ok(found);
    }
    volumes(ec2, vec![filter("attachment.instance-id", instances)]).await
}

fn volume(volume: aws_sdk_ec2::types::Volume) -> Volume {
    Volume {
        created: timestamp(volume.create_time()).unwrap_or_default(),
        state: volume
            .state()
            .map_or("unknown", |state| state.as_str())
            .to_owned(),
        gib: volume.size().unwrap_or_default(),
        zone: volume.availability_zone().map(str::to_owned),
        outside: outside(&volume),
        attachments: volume
            .attachments()
            .iter()
            .filter(|a| a.state() != Some(&VolumeAttachmentState::Detached))
            .filter_map(|a| {
                Some(Attachment {
                    instance: a.instance_id()?.to_owned(),
                    device: a.device().unwrap_or_default().to_owned(),
                    settled: a.state() == Some(&VolumeAttachmentState::Attached),
                })
            })
            .collect(),
        tags: ec2::tags(volume.tags()),
        id: volume.volume_id.unwrap_or_default(),
    }
}

/// Where a volume lies, if that isn't a zone of its Region: on an Outpost, or in a Local or
/// Wavelength Zone. The name of such a zone begins with the Region's (`us-west-2-lax-1a`); that of a
/// zone of the Region only adds a letter (`us-west-2a`): EBS-14.
fn outside(volume: &aws_sdk_ec2::types::Volume) -> Option<String> {
    if let Some(outpost) = volume.outpost_arn() {
        return Some(format!("on the Outpost {outpost}"));
    }
    let zone = volume.availability_zone()?;
    let mut parts = zone.split('-').rev().skip(1);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    parts
        .any(is_number)
        .then(|| format!("in the Local Zone {zone}"))
}

/// The snapshots of volumes here whose description says that they are ours. Not by tag: whoever
/// takes ours away shall not thereby hide a snapshot.
async fn snapshots(
    ec2: &Client,
    mut filters: Vec<Filter>,
    hold: &Exempt,
) -> Result<Found, ApiError> {
    let ours = vec![format!("{}*", ownership::DESCRIBED)];
    filters.push(filter("description", ours));
    owned(ec2, filters, None, hold).await
}

/// Which of `ids` a second look doesn't find either. An id is looked for on its own, so that a
/// page that AWS left out of the first read can't make a volume seem gone.
async fn gone(ec2: &Client, ids: &[String]) -> Result<BTreeSet<String>, ApiError> {
    let mut gone: BTreeSet<String> = ids.iter().cloned().collect();
    for some in ids.chunks(FILTER_VALUES) {
        for volume in volumes(ec2, vec![filter("volume-id", some.to_vec())]).await? {
            gone.remove(&volume.id);
        }
    }
    Ok(gone)
}

async fn instances(
    ec2: &Client,
    ids: BTreeSet<String>,
) -> Result<HashMap<String, Instance>, ApiError> {
    let mut found = HashMap::with_capacity(ids.len());
    let ids: Vec<String> = ids.into_iter().collect();
    let reads: Vec<Vec<Filter>> = if ids.len() > READ_ALL_INSTANCES {
        vec![Vec::new()]
    } else {
        ids.chunks(FILTER_VALUES)
            .map(|some| vec![filter("instance-id", some.to_vec())])
            .collect()
    };
    for filters in reads {
        found.extend(ec2::instances(ec2, filters, |_, one| instance(one)).await?);
    }
    Ok(found)
}

fn instance(found: &aws_sdk_ec2::types::Instance) -> Option<(String, Instance)> {
    let id = found.instance_id()?.to_owned();
    let tags = ec2::tags(found.tags());
    let instance = Instance {
        name: ec2::tag(&tags, "Name").map(str::to_owned),
        tags,
        root_device: found.root_device_name().map(str::to_owned),
        image: found.image_id().map(str::to_owned),
        image_name: None,
        id: id.clone(),
    };
    Some((id, instance))
}

/// Fills in the AMIs' names.
async fn name_images(
    ec2: &Client,
    instances: &mut HashMap<String, Instance>,
    which: &BTreeSet<String>,
) -> Result<(), ApiError> {
    let wanted: BTreeSet<String> = which
        .iter()
        .filter_map(|id| instances.get(id)?.image.clone())
        .collect();
    let names = ec2::image_names(ec2, wanted).await?;
    for instance in instances.values_mut() {
        if let Some(image) = &instance.image {
            instance.image_name = names.get(image).cloned();
        }
    }
    Ok(())
}

/// What of a Region is looked at again: volumes that something is to be made of, and snapshots
/// that an action rests on.
#[derive(Default)]
struct Again {
    volumes: BTreeSet<String>,
    snapshots: BTreeSet<String>,
}

/// Whether the coming actions are still called for: has another run made the slot's snapshot or
/// copy meanwhile, is the snapshot that is copied or that a deletion relies on still there?
pub(crate) async fn revalidate(
    regions: &Regions,
    actions: &[&Action],
) -> Result<Vec<Option<String>>, ApiError> {
    let mut again: BTreeMap<Option<&str>, Again> = BTreeMap::new();
    for action in actions {
        match action {
            Action::Create(create) => {
                let members = create.members.iter().map(|member| member.volume.clone());
                again.entry(None).or_default().volumes.extend(members);
            }
            Action::Copy(copy) => {
                let there = again.entry(Some(&copy.region)).or_default();
                there.volumes.insert(copy.volume.clone());
                let here = again.entry(None).or_default();
                here.snapshots.insert(copy.source.clone());
            }
            // Its record is what it rests on.
            Action::Drill(_) => {}
            Action::Delete(delete) => {
                let place = again.entry(delete.region.as_deref()).or_default();
                place.snapshots.extend(delete.keeper.clone());
            }
        }
    }
    let looks = again.into_iter().map(|(region, again)| async move {
        let Again { volumes, snapshots } = again;
        let looked = match region {
            None => Ok(look_again(&regions.here, volumes, snapshots).await?),
            // What can't be seen there is no matter of what is done here.
            Some(region) => elsewhere::made(regions, region, &volumes, &snapshots).await,
        };
        Ok::<Seen<'_>, ApiError>((region, looked))
    });
    let seen = futures::future::try_join_all(looks).await?;
    let verdicts = actions.iter().map(|action| verdict(action, &seen));
    Ok(verdicts
        .map(|verdict| verdict.unwrap_or_else(|error| Some(error.to_string())))
        .collect())
}

/// What was seen when a Region was looked at again.
type Seen<'a> = (Option<&'a str>, Result<Vec<Snapshot>, ApiError>);

fn seen_in<'s>(seen: &'s [Seen<'_>], region: Option<&str>) -> Result<&'s [Snapshot], &'s ApiError> {
    let of_region = seen.iter().find(|(name, _)| *name == region);
    of_region.map_or(Ok(&[]), |(_, looked)| looked.as_deref())
}

async fn look_again(
    ec2: &Client,
    volumes: BTreeSet<String>,
    ids: BTreeSet<String>,
) -> Result<Vec<Snapshot>, ApiError> {
    let mut made = Vec::new();
    for (name, ids) in [("volume-id", volumes), ("snapshot-id", ids)] {
        let ids: Vec<String> = ids.into_iter().collect();
        for some in ids.chunks(SNAPSHOT_IDS) {
            let look = vec![filter(name, some.to_vec())];
            made.extend(snapshots(ec2, look, &Exempt::default()).await?.0);
        }
    }
    Ok(made)
}

/// Why an action is no longer called for, by what was `seen` in each Region.
fn verdict<'s>(action: &Action, seen: &'s [Seen<'_>]) -> Result<Option<String>, &'s ApiError> {
    let is_usable = |region: Option<&str>, id: &str| -> Result<bool, &'s ApiError> {
        Ok(seen_in(seen, region)?
            .iter()
            .any(|s| s.id == id && s.protects()))
    };
    Ok(match action {
        Action::Create(create) => create.overtaken_by(seen_in(seen, None)?).map(|snapshot| {
            format!(
                "{} has {} meanwhile; the next sweep looks again",
                snapshot.volume, snapshot.id
            )
        }),
        Action::Copy(copy) => {
            let region = &copy.region;
            if let Some(made) = copy.overtaken_by(seen_in(seen, Some(region))?) {
                Some(format!(
                    "{} has {} in {region} meanwhile; the next sweep looks again",
                    copy.source, made.id
                ))
            } else if is_usable(None, &copy.source)? {
                None
            } else {
                Some(format!(
                    "{} is gone, archived or ours no longer; the next sweep looks again",
                    copy.source
                ))
            }
        }
        Action::Drill(_) => None,
        Action::Delete(delete) => match delete.keeper.as_deref() {
            Some(keeper) if !is_usable(delete.region.as_deref(), keeper)? => Some(format!(
                "{keeper}, which was to stay, is gone or archived; the next sweep looks again"
            )),
            _ => None,
        },
    })
}

#[cfg(test)]
mod tests;
