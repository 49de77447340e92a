//! AMIs, and what is read only of those that no rule approves yet.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{ImageAncestryEntry, ImageMetadata};
use futures::future::join_all;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use guardrails::aws::{ApiError, timestamp};
use guardrails::ec2::{self, FILTER_VALUES, State};
use jiff::Timestamp;

use crate::facts::{Ancestor, Facts, Image, Known, Read};
use crate::policy::{Policy, Which};

/// Most instances per call of `DescribeInstanceImageMetadata`.
const METADATA_IDS: usize = 100;
/// Batches of AMIs that are read at once.
const BATCHES: usize = 4;

/// The AMIs of these ids, those that are visible.
pub(super) async fn images(
    ec2: &Client,
    ids: &BTreeSet<String>,
) -> Result<BTreeMap<String, Image>, ApiError> {
    let ids: Vec<String> = ids.iter().cloned().collect();
    let batches: Vec<Vec<String>> = ids.chunks(FILTER_VALUES).map(<[String]>::to_vec).collect();
    let found: Vec<_> = stream::iter(batches)
        .map(|some| ec2::images(ec2, "image-id", some, None))
        .buffer_unordered(BATCHES)
        .try_concat()
        .await?;
    // One without its id isn't gone.
    let lacks = || ApiError::incomplete("ec2:DescribeImages", "an AMI's id");
    let known = found.iter().map(|one| {
        let image = image(one).ok_or_else(lacks)?;
        Ok((image.id.clone(), image))
    });
    known.collect()
}

/// The account, where it owns `id`.
pub(super) async fn own(ec2: &Client, id: &str) -> Result<Option<String>, ApiError> {
    let found = ec2::images(ec2, "image-id", vec![id.to_owned()], Some("self")).await?;
    Ok(found.into_iter().find_map(|image| image.owner_id))
}

fn image(found: &aws_sdk_ec2::types::Image) -> Option<Image> {
    let id = found.image_id()?;
    Some(Image {
        id: id.to_owned(),
        known: Known::Described,
        name: found.name().map(str::to_owned),
        owner: found.owner_id().map(str::to_owned),
        owner_alias: found.image_owner_alias().map(str::to_owned),
        created: instant(found.creation_date()),
        deprecated: instant(found.deprecation_time()),
        architecture: found
            .architecture()
            .map(|architecture| architecture.as_str().to_owned()),
        tags: ec2::tags(found.tags()),
        product_codes: found
            .product_codes()
            .iter()
            .filter_map(|code| code.product_code_id().map(str::to_owned))
            .collect(),
        source: found.source_image_id().map(str::to_owned),
    })
}

/// EC2 writes an AMI's times as text.
fn instant(text: Option<&str>) -> Option<Timestamp> {
    text.and_then(|text| text.parse().ok())
}

/// The AMIs that parameters name, and the ancestors. Without them a rule applies less often, so a
/// failure must not read as "not approved".
pub(super) async fn further(ec2: &Client, facts: &mut Facts) {
    let named = facts
        .parameters
        .values()
        .flatten()
        .flat_map(|parameter| parameter.images.iter().cloned());
    // An id of another Region is none here.
    let ancestors = facts.ancestry.values().flatten().flatten();
    let ancestors = ancestors.filter(|ancestor| ancestor.is_here);
    let ancestors = ancestors.map(|ancestor| ancestor.id.clone());
    let more: BTreeSet<String> = named
        .chain(ancestors)
        .filter(|id| !facts.images.contains_key(id) && id.starts_with("ami-"))
        .collect();
    if more.is_empty() {
        return;
    }
    match images(ec2, &more).await {
        Ok(found) => facts.images.extend(found),
        Err(error) => {
            for parameter in facts.parameters.values_mut() {
                if parameter
                    .as_ref()
                    .is_ok_and(|one| one.images.iter().any(|image| more.contains(image)))
                {
                    *parameter = Err(error.clone());
                }
            }
            for chain in facts.ancestry.values_mut() {
                *chain = Err(error.clone());
            }
        }
    }
}

/// What the metadata of instances tells of AMIs that can't be described (AMI-2). An AMI of which
/// nothing is told either is unknown; one whose metadata couldn't be read stays unread.
pub(super) async fn metadata(ec2: &Client, facts: &mut Facts) {
    let mut missing: BTreeMap<String, String> = BTreeMap::new();
    for instance in facts.instances.values() {
        if let Some(image) = &instance.image
            && instance.state != State::Terminal
            && !facts.images.contains_key(image)
        {
            missing.insert(image.clone(), instance.id.clone());
        }
    }
    let missing: Vec<(String, String)> = missing.into_iter().collect();
    let batches = missing.chunks(METADATA_IDS).map(|some| async move {
        let ids: Vec<String> = some.iter().map(|(_, id)| id.clone()).collect();
        let answer = ec2
            .describe_instance_image_metadata()
            .set_instance_ids(Some(ids))
            .send()
            .await
            .map_err(|error| ApiError::of("ec2:DescribeInstanceImageMetadata", &error));
        (some, answer)
    });
    for (asked, answer) in join_all(batches).await {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let unread = asked.iter().map(|(id, _)| (id.clone(), error.clone()));
                facts.images_unread.extend(unread);
                continue;
            }
        };
        let told: BTreeMap<String, Image> = answer
            .instance_image_metadata()
            .iter()
            .filter_map(|one| from_metadata(one.image_metadata()?))
            .map(|image| (image.id.clone(), image))
            .collect();
        for (id, _) in asked {
            let image = told.get(id).cloned().unwrap_or_else(|| Image::unknown(id));
            facts.images.insert(id.clone(), image);
        }
    }
}

fn from_metadata(found: &ImageMetadata) -> Option<Image> {
    let id = found.image_id()?;
    // Nothing but the id is no more than was known before.
    let known = match (found.name(), found.owner_id()) {
        (None, None) => Known::Unknown,
        _ => Known::Metadata,
    };
    Some(Image {
        known,
        name: found.name().map(str::to_owned),
        owner: found.owner_id().map(str::to_owned),
        owner_alias: found.image_owner_alias().map(str::to_owned),
        created: instant(found.creation_date()),
        deprecated: instant(found.deprecation_time()),
        ..Image::unknown(id)
    })
}

/// What the account's own AMIs among `wanted` descend from, with a rule that asks for it.
pub(super) async fn ancestry(
    ec2: &Client,
    ancestry: &mut BTreeMap<String, Read<Vec<Ancestor>>>,
    images: &BTreeMap<String, Image>,
    account: Option<&str>,
    policy: &Policy,
    wanted: &BTreeSet<String>,
) {
    if !policy
        .approve
        .iter()
        .any(|rule| rule.which == Which::Derived)
    {
        return;
    }
    let own = wanted.iter().filter(|id| {
        images
            .get(*id)
            .is_some_and(|image| image.is_owned_by("self", account) == Some(true))
    });
    let reads = own.map(|id| async move {
        let chain = ec2
            .get_image_ancestry()
            .image_id(id)
            .send()
            .await
            .map_err(|error| ApiError::of("ec2:GetImageAncestry", &error))
            .and_then(|answer| match answer.image_ancestry_entries() {
                // From the AMI itself to its root.
                entries @ [own, ..] if own.image_id() == Some(id.as_str()) => {
                    Ok(chain(ec2, entries))
                }
                _ => Err(ApiError::incomplete(
                    "ec2:GetImageAncestry",
                    "the AMI itself",
                )),
            });
        (id.clone(), chain)
    });
    ancestry.extend(join_all(reads).await);
}

/// The ancestors that the entries tell of, nearest first: of each its own entry where there is one,
/// and what the entry of the AMI made from it says.
pub(super) fn chain(ec2: &Client, entries: &[ImageAncestryEntry]) -> Vec<Ancestor> {
    let here = ec2.config().region().map(AsRef::as_ref);
    let mut chain: Vec<Ancestor> = Vec::new();
    for child in entries {
        let Some(id) = child.source_image_id() else {
            continue;
        };
        let region = child.source_image_region();
        let is_here = match region {
            Some(region) => Some(region) == here,
            None => chain.last().is_none_or(|child| child.is_here),
        };
        let own = entries.iter().find(|entry| entry.image_id() == Some(id));
        chain.push(Ancestor {
            id: id.to_owned(),
            is_here,
            is_told: own.is_some(),
            owner_alias: own.and_then(|own| own.image_owner_alias().map(str::to_owned)),
            created: own.and_then(|own| timestamp(own.creation_date())),
            built_upon: timestamp(child.creation_date()),
        });
    }
    chain
}
