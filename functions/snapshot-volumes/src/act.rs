//! Carries out one action.

mod blocks;
mod copies;
pub(crate) mod drills;
mod request;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{CopyTagsFromSource, InstanceSpecification, SnapshotInfo};
use guardrails::aws::{self, ApiError, ErrorKind};
use guardrails::guardrail::{ActResult, Acted};
use guardrails::runner::LOOK_VALID;
use guardrails::state::{Expect, State};
use guardrails::tags;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::act::request::{specification, without_id};
use crate::action::{Action, Create, Delete, Effect, Target};
use crate::facts::Refusal;
use crate::memory::{AGAIN_AFTER, KNOWN_FOR, REFUSED};
use crate::observe;
use crate::regions::Regions;

const CREATE_ONE: &str = "ec2:CreateSnapshot";
const CREATE_SET: &str = "ec2:CreateSnapshots";
const DELETE: &str = "ec2:DeleteSnapshot";
/// The account has as many snapshots as it may have: of no set's making.
const TOO_MANY: &str = "SnapshotLimitExceeded";

/// Carries out `action`; `run` tells the sets of this invocation from another's.
pub(crate) async fn act(
    regions: &Regions,
    state: &State,
    action: &Action,
    run: &str,
) -> Acted<Effect> {
    match action {
        Action::Create(create) => make(regions, create, run).await,
        Action::Drill(drilling) => drills::drill(regions, state, drilling, run).await,
        Action::Copy(copy) => copies::copy(regions, state, copy).await,
        Action::Delete(delete) => match regions.client(delete.region.as_deref()) {
            Ok(ec2) => remove(ec2, state, delete).await,
            Err(error) => Acted::failed(error),
        },
    }
}

/// One snapshot or a set; where AWS refuses the set, its members one by one.
async fn make(regions: &Regions, create: &Create, run: &str) -> Acted<Effect> {
    let ec2 = &regions.here;
    let Target::Set {
        instance,
        exclude_boot,
        exclude,
        singly,
    } = &create.target
    else {
        return one(ec2, create).await;
    };
    let of = InstanceSpecification::builder()
        .instance_id(instance)
        .exclude_boot_volume(*exclude_boot)
        .set_exclude_data_volume_ids((!exclude.is_empty()).then(|| exclude.clone()))
        .build();
    // No set id is returned (EBS-2), so the set gets one of ours.
    let run = run.split('-').next().unwrap_or(run);
    match set(ec2, create, of, format!("{instance}-{run}")).await {
        Err(refused) if is_of_the_set(&refused) => one_by_one(regions, singly, &refused).await,
        Err(error) => not_made(error),
        Ok(acted) => acted,
    }
}

async fn one(ec2: &Client, create: &Create) -> Acted<Effect> {
    let Some(member) = create.members.first() else {
        return Acted::skipped("no volume");
    };
    let answer = ec2
        .create_snapshot()
        .volume_id(&member.volume)
        .description(&create.description)
        .tag_specifications(specification(create.tags.clone()))
        .customize()
        .config_override(aws::once())
        .send()
        .await;
    match answer {
        Ok(snapshot) if snapshot.snapshot_id().is_some() => {
            Acted::done(snapshot.snapshot_id).with(Effect::Started(vec![member.volume.clone()]))
        }
        Ok(_) => Acted::failed(without_id(CREATE_ONE)),
        Err(error) => not_made(ApiError::of(CREATE_ONE, &error)),
    }
}

async fn set(
    ec2: &Client,
    create: &Create,
    of: InstanceSpecification,
    name: String,
) -> Result<Acted<Effect>, ApiError> {
    let set = (tags::SET.to_owned(), name);
    let answer = ec2
        .create_snapshots()
        .instance_specification(of)
        .description(&create.description)
        .copy_tags_from_source(CopyTagsFromSource::Volume)
        .tag_specifications(specification(create.tags.iter().cloned().chain([set])))
        .customize()
        .config_override(aws::once())
        .send()
        .await
        .map_err(|error| ApiError::of(CREATE_SET, &error))?;
    Ok(made(ec2, create, answer.snapshots()).await)
}

/// What a set's answer says.
async fn made(ec2: &Client, create: &Create, snapshots: &[SnapshotInfo]) -> Acted<Effect> {
    let mut made = Vec::new();
    let mut started = Vec::new();
    let mut uninvited = Vec::new();
    let mut unreadable = snapshots.is_empty();
    for snapshot in snapshots {
        let (Some(id), Some(volume)) = (snapshot.snapshot_id(), snapshot.volume_id()) else {
            unreadable = true;
            continue;
        };
        if create.members.iter().any(|member| member.volume == volume) {
            made.push(format!("{id} of {volume}"));
            started.push(volume.to_owned());
        } else {
            uninvited.push((id.to_owned(), volume.to_owned()));
        }
    }
    // A volume attached since we looked is in the set though no plan asked for it. Its snapshot
    // doesn't list it (see the tag VOLUMES), so nobody would prune it later: it would be disowned.
    for (id, volume) in uninvited {
        let outcome = match ec2.delete_snapshot().snapshot_id(&id).send().await {
            Ok(_) => "deleted again".to_owned(),
            Err(error) => ApiError::of(DELETE, &error).to_string(),
        };
        made.push(format!("{id} of {volume}, attached meanwhile: {outcome}"));
    }
    let acted = if unreadable {
        Acted::failed(without_id(CREATE_SET))
    } else {
        Acted::done(Some(made.join(", ")))
    };
    acted.with(Effect::Started(started))
}

/// Whether AWS has refused a set for what may be no reason to refuse its members one by one: the
/// call isn't allowed, or one of the members isn't. Nothing was made then.
fn is_of_the_set(error: &ApiError) -> bool {
    matches!(error.kind, ErrorKind::Denied | ErrorKind::Refused)
        && error.code != TOO_MANY
        && passes_by_itself(error).is_none()
}

/// Makes the members of a set that AWS refused one by one: they aren't of one point in time then,
/// but they are there. It looks again first, as the runner does before each creation (EBS-1).
async fn one_by_one(regions: &Regions, singly: &[Create], refused: &ApiError) -> Acted<Effect> {
    let actions: Vec<Action> = singly.iter().cloned().map(Action::Create).collect();
    let looked = Instant::now();
    let verdicts = match observe::revalidate(regions, &actions.iter().collect::<Vec<_>>()).await {
        Ok(verdicts) => verdicts,
        Err(error) => return Acted::failed(error),
    };
    let mut notes = vec![format!(
        "one by one, because AWS refused the set ({refused})"
    )];
    let mut started = Vec::new();
    let mut failed = None;
    for (create, overtaken) in singly.iter().zip(verdicts) {
        let volume = create.members.first().map_or("", |m| m.volume.as_str());
        if let Some(why) = overtaken {
            notes.push(why);
            continue;
        }
        if looked.elapsed() >= LOOK_VALID {
            notes.push(format!("{volume}: left to the next sweep"));
            continue;
        }
        let acted = one(&regions.here, create).await;
        if let Some(Effect::Started(volumes)) = acted.effect {
            started.extend(volumes);
        }
        match acted.result {
            ActResult::Done(id) => {
                notes.push(format!("{} of {volume}", id.unwrap_or_default()));
            }
            ActResult::Skipped(why) => notes.push(format!("{volume}: {why}")),
            ActResult::Failed(error) => {
                notes.push(format!("{volume} failed"));
                failed.get_or_insert(error);
            }
        }
    }
    let acted = match failed {
        // What was throttled the runner tries again, so only where nothing was made.
        Some(error) if error.kind != ErrorKind::Throttled || started.is_empty() => {
            Acted::failed(ApiError {
                message: format!("{}; {}", error.message, notes.join("; ")),
                ..error
            })
        }
        _ => Acted::done(Some(notes.join("; "))),
    };
    acted.with(Effect::Started(started))
}

/// What a refused creation means. All codes that pass by themselves say that nothing was made.
fn not_made(error: ApiError) -> Acted<Effect> {
    match passes_by_itself(&error) {
        Some(why) => Acted::skipped(format!("{why} ({})", error.code)),
        None => Acted::failed(error),
    }
}

/// Why a refusal is nobody's fault, if it isn't: the next sweep looks again.
fn passes_by_itself(error: &ApiError) -> Option<&'static str> {
    Some(match error.code.as_str() {
        // EBS-5
        "SnapshotCreationPerVolumeRateExceeded" => {
            "another snapshot of the volume was started less than 15 seconds ago, so somebody has just made one; the next sweep looks again"
        }
        "ConcurrentSnapshotLimitExceeded" => {
            "as many snapshots of the volume are pending as AWS allows; the next sweep tries again"
        }
        "PendingSnapshotLimitExceeded" => {
            "as many snapshots of the account are pending as AWS allows; the next sweep goes on once some are completed"
        }
        "IncorrectState" | "IncorrectInstanceState" => {
            "the volume or its instance is in no state for a snapshot now; the next sweep looks again"
        }
        // "There are no attached EBS-backed volumes …", or one to leave out isn't attached.
        "InvalidParameterValue" if error.message.contains("attached") => {
            "other volumes are attached to the instance than a moment ago; the next sweep looks again"
        }
        _ if error.is_not_found() => "gone meanwhile",
        _ => return None,
    })
}

async fn remove(ec2: &Client, state: &State, delete: &Delete) -> Acted<Effect> {
    let answer = ec2
        .delete_snapshot()
        .snapshot_id(&delete.snapshot)
        .send()
        .await;
    let error = match answer {
        Ok(_) => return Acted::done(None).with(Effect::Deleted),
        Err(error) => ApiError::of(DELETE, &error),
    };
    // The role allows deletion by the snapshot's tag, and what is gone has none.
    if error.is_not_found()
        || (error.kind == ErrorKind::Denied && is_gone(ec2, &delete.snapshot).await)
    {
        return already_gone();
    }
    if !matches!(error.kind, ErrorKind::Denied | ErrorKind::Refused) {
        return Acted::failed(error);
    }
    let meant = meant_to_stay(&error);
    let text = error.to_string();
    let now = Timestamp::now();
    let refusal = Refusal {
        why: meant.map_or_else(|| text.clone(), str::to_owned),
        unmeant: meant.is_none(),
        again: now + AGAIN_AFTER,
    };
    let until = Some(refusal.again + KNOWN_FOR);
    let remembered = state
        .put(
            &REFUSED,
            &delete.snapshot,
            &refusal,
            until,
            &Expect::Any,
            now,
        )
        .await;
    if let Err(error) = remembered {
        return Acted::failed(error);
    }
    match meant {
        Some(why) => Acted::skipped(format!(
            "kept, {why}: {}; tried again in a day",
            error.message
        )),
        // People are told once by a run that fails, and from then on by the condition.
        None if !delete.known_refused => Acted::failed(error).with(Effect::Refused(text)),
        None => Acted::skipped(format!("kept: {text}; tried again in a day"))
            .with(Effect::Refused(text)),
    }
}

fn already_gone() -> Acted<Effect> {
    Acted::done(Some("already gone".to_owned())).with(Effect::Deleted)
}

/// Whether a snapshot isn't there any more; false where that can't be found out.
async fn is_gone(ec2: &Client, snapshot: &str) -> bool {
    let this = aws::filter("snapshot-id", vec![snapshot.to_owned()]);
    let found = ec2
        .describe_snapshots()
        .owner_ids("self")
        .filters(this)
        .send()
        .await;
    // A page may be short: only the last one says that there is nothing (EBS-7).
    found.is_ok_and(|page| page.snapshots().is_empty() && page.next_token().is_none())
}

/// By what a snapshot that AWS refused to delete is meant to stay (EBS-8); none: by nothing that we
/// know.
fn meant_to_stay(error: &ApiError) -> Option<&'static str> {
    let refused = error.kind == ErrorKind::Refused;
    // AWS documents no code for a locked snapshot, nor one of its own for AWS Backup's.
    let says = |word: &str| {
        format!("{} {}", error.code, error.message)
            .to_lowercase()
            .contains(word)
    };
    if error.code == "InvalidSnapshot.InUse" {
        Some("in use by an AMI or fast snapshot restore")
    } else if refused && says("locked") {
        Some("locked")
    } else if refused && says("aws backup") {
        Some("managed by AWS Backup")
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
