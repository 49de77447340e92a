//! The calls of EC2 that the function makes, as strict as AWS about what it sends.

use std::sync::Arc;

use jiff::Timestamp;

use super::estate::{Volumes, Wanted};
use crate::estate::{ACCOUNT, Answer, REGION, Tag};
use crate::query::{PAGED, Query, Refusal, answer, answer_page, tag_set};

/// Answers `action`.
pub(crate) fn respond(estate: &mut Volumes, action: &str, query: &Query) -> Answer {
    match action {
        "DescribeVolumes" => describe_volumes(estate, query),
        "DescribeSnapshots" => describe_snapshots(estate, query),
        "DescribeInstances" => describe_instances(estate, query),
        "DescribeImages" => describe_images(estate, query),
        "CreateSnapshot" => create_snapshot(estate, query),
        "CreateSnapshots" => create_snapshots(estate, query),
        "DeleteSnapshot" => delete_snapshot(estate, query),
        "CreateTags" | "DeleteTags" => tag(estate, action, query),
        _ => Err(Refusal::unknown(action)),
    }
}

fn describe_volumes(estate: &Volumes, query: &Query) -> Answer {
    query.only(&PAGED)?;
    let page = query.page(500)?;
    let mut chosen: Vec<usize> = (0..estate.volumes.len()).collect();
    for (name, values) in query.filters()? {
        match name {
            "volume-id" => chosen.retain(|v| values.contains(&estate.volumes[*v].id.as_str())),
            "attachment.instance-id" => chosen.retain(|v| {
                let instance = &estate.instances[estate.volumes[*v].instance];
                values.contains(&instance.id.as_str())
            }),
            _ => return Err(Refusal::filter(name)),
        }
    }
    let items = chosen
        .into_iter()
        .map(|v| (v, estate.volumes[v].xml.as_str()));
    Ok(answer_page("DescribeVolumes", "volumeSet", page, items))
}

/// Whether a request for snapshots names what it looks at again, rather than all.
pub(crate) fn looks_again(query: &Query) -> bool {
    query.filters().is_ok_and(|filters| {
        filters
            .iter()
            .any(|(name, _)| matches!(*name, "volume-id" | "snapshot-id"))
    })
}

fn describe_snapshots(estate: &Volumes, query: &Query) -> Answer {
    query.only(&["Filter", "MaxResults", "NextToken", "Owner"])?;
    // EBS-7
    if query.list("Owner") != ["self"] {
        return Err(Refusal::of(
            "InvalidParameterValue",
            "without Owner.1=self all public snapshots would be listed too",
        ));
    }
    let page = query.page(1_000)?;
    let filters = query.filters()?;
    // By id only a few are looked through, as an index would.
    let by_id = filters.iter().find_map(|(name, values)| match *name {
        "volume-id" => Some(
            values
                .iter()
                .filter_map(|id| estate.volume_ids.get(*id))
                .flat_map(|volume| estate.volumes[*volume].snapshots.iter().copied())
                .collect::<Vec<usize>>(),
        ),
        "snapshot-id" => Some(
            values
                .iter()
                .filter_map(|id| estate.snapshot_ids.get(*id).copied())
                .collect(),
        ),
        _ => None,
    });
    let mut tags: Vec<(&str, &Vec<&str>)> = Vec::new();
    for (name, values) in &filters {
        match (*name, name.strip_prefix("tag:")) {
            ("volume-id" | "snapshot-id", _) => {}
            (_, Some(key)) => tags.push((key, values)),
            _ => return Err(Refusal::filter(name)),
        }
    }
    let matches = |index: &usize| {
        let snapshot = &estate.snapshots[*index];
        !snapshot.deleted
            && tags
                .iter()
                .all(|(key, values)| snapshot.tag(key).is_some_and(|v| values.contains(&v)))
    };
    let item = |index: usize| (index, estate.snapshots[index].xml.as_str());
    let (action, set) = ("DescribeSnapshots", "snapshotSet");
    Ok(if let Some(mut chosen) = by_id {
        chosen.sort_unstable();
        let items = chosen.into_iter().filter(matches).map(item);
        answer_page(action, set, page, items)
    } else {
        let items = (page.1..estate.snapshots.len()).filter(matches).map(item);
        answer_page(action, set, page, items)
    })
}

fn describe_instances(estate: &Volumes, query: &Query) -> Answer {
    query.only(&PAGED)?;
    let page = query.page(1_000)?;
    let mut chosen: Vec<usize> = (0..estate.instances.len()).collect();
    for (name, values) in query.filters()? {
        if name != "instance-id" {
            return Err(Refusal::filter(name));
        }
        chosen.retain(|i| values.contains(&estate.instances[*i].id.as_str()));
    }
    let items = chosen
        .into_iter()
        .map(|i| (i, estate.instances[i].xml.as_str()));
    Ok(answer_page(
        "DescribeInstances",
        "reservationSet",
        page,
        items,
    ))
}

fn describe_images(estate: &Volumes, query: &Query) -> Answer {
    query.only(&[
        "Filter",
        "MaxResults",
        "NextToken",
        "IncludeDeprecated",
        "IncludeDisabled",
    ])?;
    let page = query.page(1_000)?;
    let filters = query.filters()?;
    let [("image-id", ids)] = filters.as_slice() else {
        return Err(Refusal::of(
            "InvalidParameterValue",
            "without a filter by image-id all public images would be listed",
        ));
    };
    let items = estate
        .images
        .iter()
        .enumerate()
        .filter(|(_, image)| ids.contains(&image.id.as_str()))
        .map(|(index, image)| (index, image.xml.as_str()));
    Ok(answer_page("DescribeImages", "imagesSet", page, items))
}

/// The tags that a creation gives its snapshots, refused where AWS would.
fn wanted(query: &Query) -> Result<Wanted, Refusal> {
    if query.get("TagSpecification.1.ResourceType") != Some("snapshot") {
        return Err(Refusal::of(
            "InvalidParameterValue",
            "TagSpecification.1.ResourceType must be snapshot",
        ));
    }
    let tags: Vec<Tag> = query
        .tags("TagSpecification.1.Tag")
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.unwrap_or_default().to_owned()))
        .collect();
    Ok(Wanted {
        tags: Arc::new(tags),
        copy_tags: query.get("CopyTagsFromSource") == Some("volume"),
        description: query.get("Description").unwrap_or_default().into(),
    })
}

/// 50 tags at most, and no key twice, also together with those copied from the volume.
fn tags_fit(estate: &Volumes, volume: usize, wanted: &Wanted) -> Result<(), Refusal> {
    let copied = estate.volumes[volume].tags.iter();
    let mut keys: Vec<&str> = wanted
        .tags
        .iter()
        .chain(copied.filter(|_| wanted.copy_tags))
        .map(|(key, _)| key.as_str())
        .collect();
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    if count > 50 {
        return Err(Refusal::of("TagLimitExceeded", "more than 50 tags"));
    }
    if keys.len() < count {
        return Err(Refusal::of(
            "InvalidParameterValue",
            format!("Duplicate tag keys for {}", estate.volumes[volume].id),
        ));
    }
    Ok(())
}

/// What a creation says of a new snapshot; the two calls name its state differently.
fn created(estate: &Volumes, index: usize, state: &str) -> String {
    let snapshot = &estate.snapshots[index];
    let mut xml = format!(
        "<snapshotId>{}</snapshotId><volumeId>{}</volumeId><{state}>pending</{state}><startTime>{}</startTime><progress/><ownerId>{ACCOUNT}</ownerId><volumeSize>100</volumeSize><encrypted>true</encrypted><availabilityZone>{REGION}a</availabilityZone>",
        snapshot.id, estate.volumes[snapshot.volume].id, snapshot.started
    );
    tag_set(&mut xml, snapshot.all_tags());
    xml
}

fn create_snapshot(estate: &mut Volumes, query: &Query) -> Answer {
    query.only(&["VolumeId", "Description", "TagSpecification"])?;
    let now = Timestamp::now();
    let id = query.need("VolumeId")?;
    let volume = *estate.volume_ids.get(id).ok_or_else(|| no_volume(id))?;
    let wanted = wanted(query)?;
    tags_fit(estate, volume, &wanted)?;
    estate.may_snapshot(volume, now)?;
    let index = estate.snapshot(volume, &wanted, now);
    Ok(answer("CreateSnapshot", &created(estate, index, "status")))
}

fn no_volume(id: &str) -> Refusal {
    Refusal::of(
        "InvalidVolume.NotFound",
        format!("The volume '{id}' does not exist."),
    )
}

/// All attached volumes of an instance but those left out (EBS-2); all or none.
fn create_snapshots(estate: &mut Volumes, query: &Query) -> Answer {
    query.only(&[
        "InstanceSpecification",
        "Description",
        "CopyTagsFromSource",
        "TagSpecification",
    ])?;
    let now = Timestamp::now();
    let id = query.need("InstanceSpecification.InstanceId")?;
    let instance = *estate.instance_ids.get(id).ok_or_else(|| {
        Refusal::of(
            "InvalidInstanceID.NotFound",
            format!("The instance ID '{id}' does not exist"),
        )
    })?;
    let left_out = query.list("InstanceSpecification.ExcludeDataVolumeId");
    let mut members = estate.instances[instance].volumes.clone();
    let root = members.start;
    if let Some(wrong) = left_out.iter().find(|id| {
        let volume = estate.volume_ids.get(**id);
        volume.is_none_or(|v| *v == root || !members.contains(v))
    }) {
        return Err(Refusal::of(
            "InvalidParameterValue",
            format!("{wrong} isn't a data volume of {id}"),
        ));
    }
    if query.flag("InstanceSpecification.ExcludeBootVolume") {
        members.start += 1;
    }
    let members: Vec<usize> = members
        .filter(|v| !left_out.contains(&estate.volumes[*v].id.as_str()))
        .collect();
    let wanted = wanted(query)?;
    for volume in &members {
        tags_fit(estate, *volume, &wanted)?;
        estate.may_snapshot(*volume, now)?;
    }
    let mut set = "<snapshotSet>".to_owned();
    for volume in members {
        let index = estate.snapshot(volume, &wanted, now);
        set.push_str("<item>");
        set.push_str(&created(estate, index, "state"));
        set.push_str("</item>");
    }
    set.push_str("</snapshotSet>");
    Ok(answer("CreateSnapshots", &set))
}

fn delete_snapshot(estate: &mut Volumes, query: &Query) -> Answer {
    query.only(&["SnapshotId"])?;
    let id = query.need("SnapshotId")?;
    let snapshot = estate
        .snapshot_ids
        .get(id)
        .and_then(|index| estate.snapshots.get_mut(*index))
        .filter(|snapshot| !snapshot.deleted)
        .ok_or_else(|| {
            Refusal::of(
                "InvalidSnapshot.NotFound",
                format!("The snapshot '{id}' does not exist."),
            )
        })?;
    snapshot.deleted = true;
    Ok(answer("DeleteSnapshot", "<return>true</return>"))
}

/// Of volumes, since only those are told of here.
fn tag(estate: &mut Volumes, action: &str, query: &Query) -> Answer {
    query.only(&["ResourceId", "Tag"])?;
    let tags: Vec<(&str, Option<&str>)> = query
        .tags("Tag")
        .into_iter()
        .map(|(key, value)| match action {
            "CreateTags" => (key, Some(value.unwrap_or_default())),
            _ => (key, None),
        })
        .collect();
    let volumes = query
        .list("ResourceId")
        .into_iter()
        .map(|id| {
            estate
                .volume_ids
                .get(id)
                .copied()
                .ok_or_else(|| no_volume(id))
        })
        .collect::<Result<Vec<usize>, Refusal>>()?;
    if tags.is_empty() || volumes.is_empty() {
        return Err(Refusal::of("MissingParameter", "no tag or no resource"));
    }
    for volume in volumes {
        estate.tag_volume(volume, &tags);
    }
    Ok(answer(action, "<return>true</return>"))
}
