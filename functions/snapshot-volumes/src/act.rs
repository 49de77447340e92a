//! Carries out one action.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{
    CopyTagsFromSource, InstanceSpecification, ResourceType, Tag, TagSpecification,
};
use guardrails::aws::{self, ApiError, ErrorKind};
use guardrails::guardrail::Acted;
use guardrails::tags;

use crate::action::{Action, Create, Delete, Effect, Target};

/// Carries out `action`; `run` tells the sets of this invocation from another's.
pub(crate) async fn act(ec2: &Client, action: &Action, run: &str) -> Acted<Effect> {
    match action {
        Action::Create(create) => match &create.target {
            Target::Volume => one(ec2, create).await,
            Target::Set {
                instance,
                exclude_boot,
                exclude,
            } => set(ec2, create, instance, *exclude_boot, exclude, run).await,
        },
        Action::Delete(delete) => remove(ec2, delete).await,
    }
}

fn specification(tags: impl IntoIterator<Item = (String, String)>) -> TagSpecification {
    let tags = tags
        .into_iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect();
    TagSpecification::builder()
        .resource_type(ResourceType::Snapshot)
        .set_tags(Some(tags))
        .build()
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
        Ok(snapshot) => {
            Acted::done(snapshot.snapshot_id).with(Effect::Started(vec![member.volume.clone()]))
        }
        Err(error) => not_made(ApiError::of("ec2:CreateSnapshot", &error)),
    }
}

async fn set(
    ec2: &Client,
    create: &Create,
    instance: &str,
    exclude_boot: bool,
    exclude: &[String],
    run: &str,
) -> Acted<Effect> {
    // No set id is returned (EBS-2), so the set gets one of ours.
    let run = run.split('-').next().unwrap_or(run);
    let set = (tags::SET.to_owned(), format!("{instance}-{run}"));
    let answer = ec2
        .create_snapshots()
        .instance_specification(
            InstanceSpecification::builder()
                .instance_id(instance)
                .exclude_boot_volume(exclude_boot)
                .set_exclude_data_volume_ids((!exclude.is_empty()).then(|| exclude.to_vec()))
                .build(),
        )
        .description(&create.description)
        .copy_tags_from_source(CopyTagsFromSource::Volume)
        .tag_specifications(specification(create.tags.iter().cloned().chain([set])))
        .customize()
        .config_override(aws::once())
        .send()
        .await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return not_made(ApiError::of("ec2:CreateSnapshots", &error)),
    };
    let mut made = Vec::new();
    let mut started = Vec::new();
    let mut uninvited = Vec::new();
    for snapshot in answer.snapshots() {
        let (Some(id), Some(volume)) = (snapshot.snapshot_id(), snapshot.volume_id()) else {
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
            Err(error) => ApiError::of("ec2:DeleteSnapshot", &error).to_string(),
        };
        made.push(format!("{id} of {volume}, attached meanwhile: {outcome}"));
    }
    Acted::done(Some(made.join(", "))).with(Effect::Started(started))
}

/// What a refused creation means. All codes here say that nothing was made.
fn not_made(error: ApiError) -> Acted<Effect> {
    let why = match error.code.as_str() {
        // EBS-5
        "SnapshotCreationPerVolumeRateExceeded" => {
            "another snapshot of the volume was started less than 15 seconds ago, so somebody has just made one; the next sweep looks again"
        }
        "ConcurrentSnapshotLimitExceeded" => {
            "as many snapshots of the volume are pending as AWS allows; the next sweep tries again"
        }
        "IncorrectState" | "IncorrectInstanceState" => {
            "the volume or its instance is in no state for a snapshot now; the next sweep looks again"
        }
        _ if error.is_not_found() => "gone meanwhile",
        _ => return Acted::failed(error),
    };
    Acted::skipped(format!("{why} ({})", error.code))
}

async fn remove(ec2: &Client, delete: &Delete) -> Acted<Effect> {
    let answer = ec2
        .delete_snapshot()
        .snapshot_id(&delete.snapshot)
        .send()
        .await;
    let error = match answer {
        Ok(_) => return Acted::done(None).with(Effect::Deleted),
        Err(error) => ApiError::of("ec2:DeleteSnapshot", &error),
    };
    // The role allows deletion by the snapshot's tag, and what is gone has none.
    if error.kind == ErrorKind::Denied && is_gone(ec2, &delete.snapshot).await {
        return already_gone();
    }
    not_removed(error)
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

/// What a refused deletion means: a snapshot that something relies on stays (EBS-8).
fn not_removed(error: ApiError) -> Acted<Effect> {
    if error.is_not_found() {
        return already_gone();
    }
    let refused = error.kind == ErrorKind::Refused;
    // AWS documents no code for a locked snapshot, nor one of its own for AWS Backup's.
    let says = |word: &str| {
        format!("{} {}", error.code, error.message)
            .to_lowercase()
            .contains(word)
    };
    let why = if error.code == "InvalidSnapshot.InUse" {
        "in use by an AMI or fast snapshot restore"
    } else if refused && says("locked") {
        "locked"
    } else if refused && says("aws backup") {
        "managed by AWS Backup"
    } else {
        return Acted::failed(error);
    };
    Acted::skipped(format!(
        "kept, {why}: {}; tried again at the next sweep",
        error.message
    ))
}

#[cfg(test)]
mod tests;
