//! The image tag's repair: whether the known good image may be put back (pure), and putting it
//! back (ASG-10).
//!
//! ECR has no compare-and-swap. So what the tag pointed to is written down when the refresh is
//! first seen, and the known good image goes back only while the tag still points to that.

use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::ImageIdentifier;
use guardrails::aws::{ApiError, ErrorKind};
use jiff::{SignedDuration, Timestamp};

use crate::facts::{Case, Image, Read, Refresh, Repair};
use crate::policy::{IMAGE_TAG_MAX, ImageTags, Settings};

/// How long after a refresh's start its image tag may be seen for the first time. Later nobody
/// knows whether it is still the image that the refresh brought.
const FIRST_SIGHT: SignedDuration = SignedDuration::from_mins(10);

/// How an image tag's repair stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// Not opted in, or not looked at.
    NotAsked,
    /// The tag points to the known good image.
    Done,
    /// It can be repaired so.
    Repair(Plan),
    /// It is left as it is, for this reason; with what a person does about it.
    Refused(String),
}

/// What is put back where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The repository.
    pub repository: String,
    /// The tag that the instances pull.
    pub tag: String,
    /// The tag of the known good image.
    pub stable: String,
    /// The digest that the tag points to: the image of the failing refresh.
    pub bad: String,
    /// The digest of the known good image.
    pub good: String,
    /// The tag under which the failing image stays: without any tag a lifecycle rule may sweep it.
    pub keep_as: String,
}

/// What came of a repair.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The tag points to the known good image; the other stays under `keep_as`.
    Restored {
        /// The digest under the tag now.
        digest: String,
        /// The tag of the failing image.
        kept_as: String,
    },
    /// Nothing was overwritten: why, and what to do.
    Refused(String),
    /// AWS said no, or nobody knows.
    Failed(ApiError),
}

/// How the repair of `case`'s image tag stands for `refresh`.
#[must_use]
pub fn plan(case: &Case, settings: &Settings, refresh: &Refresh) -> Standing {
    let (Some(tags), Some(read)) = (&settings.image, &case.image) else {
        return Standing::NotAsked;
    };
    let ImageTags {
        repository,
        tag,
        stable,
    } = tags;
    let seen = case.group.seen().filter(|seen| seen.refresh == refresh.id);
    if seen
        .as_ref()
        .is_some_and(|seen| seen.repair == Repair::Restored)
    {
        return Standing::Done;
    }
    let image = match read {
        Ok(image) => image,
        Err(error) if error.kind == ErrorKind::Denied => {
            return Standing::Refused(format!(
                "{repository} couldn't be read: {error}. Name the repository's ARN in the stack's parameter ImageRepositoryArns: without it the function may do nothing there. Until then put the image that you trust under {repository}:{tag} yourself"
            ));
        }
        Err(error) => return Standing::Refused(format!("{repository} couldn't be read: {error}")),
    };
    let refused = |why: &str| {
        Standing::Refused(format!(
            "{why}. Nothing was overwritten. Put the image that you trust under {repository}:{tag} yourself"
        ))
    };
    let Some(current) = &image.current else {
        return refused(&format!("{repository}:{tag} doesn't exist"));
    };
    let Some(good) = &image.stable else {
        return refused(&format!(
            "there is no known good image: {repository}:{stable} doesn't exist"
        ));
    };
    let bad = match &seen {
        Some(seen) if seen.repair == Repair::NotRestored => {
            return refused(&format!("{repository}:{tag} couldn't be changed"));
        }
        Some(seen) => &seen.digest,
        None if seen_in_time(refresh, case.looked) => current,
        None => {
            return refused(&format!(
                "nobody saw what {repository}:{tag} pointed to when the refresh started"
            ));
        }
    };
    if bad == good {
        return refused(&format!(
            "{repository}:{stable} is the same image as the refresh brought ({good}), so there is nothing to go back to"
        ));
    }
    if current == good {
        return Standing::Done;
    }
    if current != bad {
        return refused(&format!(
            "{repository}:{tag} has changed since the refresh started: it points to {current}, no longer to {bad}"
        ));
    }
    Standing::Repair(Plan {
        repository: repository.clone(),
        tag: tag.clone(),
        stable: stable.clone(),
        bad: bad.clone(),
        good: good.clone(),
        keep_as: keep_as(tag, &refresh.id),
    })
}

fn seen_in_time(refresh: &Refresh, looked: Timestamp) -> bool {
    refresh.start.is_none_or(|start| {
        start
            .checked_add(FIRST_SIGHT)
            .is_ok_and(|until| looked <= until)
    })
}

/// `<tag>-failed-<refresh id>`, within what a tag may be.
#[must_use]
pub fn keep_as(tag: &str, refresh: &str) -> String {
    let suffix = format!("-failed-{refresh}");
    let room = IMAGE_TAG_MAX.saturating_sub(suffix.len());
    let tag: String = tag.chars().take(room).collect();
    format!("{tag}{suffix}")
}

/// A manifest as ECR keeps it.
struct Manifest {
    digest: String,
    body: String,
    media_type: Option<String>,
}

/// Reads what the tags point to. A tag that isn't there is no error.
pub(crate) async fn read(ecr: &Client, tags: &ImageTags) -> Read<Image> {
    let found = manifests(ecr, &tags.repository, &[&tags.tag, &tags.stable]).await?;
    let digest = |tag: &str| {
        let found = found.iter().find(|(name, _)| name == tag);
        found.map(|(_, manifest)| manifest.digest.clone())
    };
    Ok(Image {
        current: digest(&tags.tag),
        stable: digest(&tags.stable),
    })
}

/// Every media type that a tag may point to, multi-architecture indexes too. Without them ECR
/// converts the manifest to an older type, and its digest would be another.
const MEDIA_TYPES: [&str; 5] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
];

async fn manifests(ecr: &Client, repository: &str, tags: &[&str]) -> Read<Vec<(String, Manifest)>> {
    let ids = tags
        .iter()
        .map(|tag| ImageIdentifier::builder().image_tag(*tag).build())
        .collect();
    let answer = ecr
        .batch_get_image()
        .repository_name(repository)
        .set_image_ids(Some(ids))
        .set_accepted_media_types(Some(MEDIA_TYPES.map(str::to_owned).to_vec()))
        .send()
        .await
        .map_err(|error| ApiError::of("ecr:BatchGetImage", &error))?;
    // What isn't there comes in `failures`; anything else there is no answer.
    if let Some(failure) = answer.failures().iter().find(|failure| {
        failure.failure_code() != Some(&aws_sdk_ecr::types::ImageFailureCode::ImageNotFound)
    }) {
        return Err(ApiError {
            operation: "ecr:BatchGetImage",
            code: failure
                .failure_code()
                .map_or("NoFailureCode", |code| code.as_str())
                .to_owned(),
            message: failure.failure_reason().unwrap_or("no reason").to_owned(),
            kind: ErrorKind::Refused,
        });
    }
    Ok(answer
        .images()
        .iter()
        .filter_map(|image| {
            let id = image.image_id()?;
            Some((
                id.image_tag()?.to_owned(),
                Manifest {
                    digest: id.image_digest()?.to_owned(),
                    body: image.image_manifest()?.to_owned(),
                    media_type: image.image_manifest_media_type().map(str::to_owned),
                },
            ))
        })
        .collect())
}

/// Puts the known good image back. Each step may be repeated: killed in between, the next run does
/// what is left.
pub(crate) async fn restore(ecr: &Client, plan: &Plan) -> Outcome {
    match try_restore(ecr, plan).await {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Failed(error),
    }
}

async fn try_restore(ecr: &Client, plan: &Plan) -> Read<Outcome> {
    let Plan {
        repository,
        tag,
        stable,
        bad,
        good,
        keep_as,
    } = plan;
    let mut found = manifests(ecr, repository, &[tag, stable]).await?;
    let mut take = |name: &str| {
        let at = found.iter().position(|(found, _)| found == name)?;
        Some(found.swap_remove(at).1)
    };
    let (current, known_good) = (take(tag), take(stable));
    let refused = |why: String| {
        Ok(Outcome::Refused(format!(
            "{why}. Nothing was overwritten. Put the image that you trust under {repository}:{tag} yourself"
        )))
    };
    let Some(known_good) = known_good.filter(|manifest| manifest.digest == *good) else {
        return refused(format!("{repository}:{stable} has changed meanwhile"));
    };
    let restored = |digest: String| {
        Ok(Outcome::Restored {
            digest,
            kept_as: keep_as.clone(),
        })
    };
    match current {
        Some(current) if current.digest == *good => return restored(current.digest),
        Some(current) if current.digest == *bad => {
            // Before it loses its tag: an untagged image may be swept by a lifecycle rule.
            // Where tags are immutable and this one is there: it is ours alone by its name, so
            // whoever made it has kept the image already.
            let (Put::Done | Put::Immutable) = put(ecr, repository, keep_as, &current).await?;
        }
        Some(current) => {
            return refused(format!(
                "{repository}:{tag} points to {} meanwhile, no longer to {bad}",
                current.digest
            ));
        }
        None => return refused(format!("{repository}:{tag} doesn't exist any more")),
    }
    match put(ecr, repository, tag, &known_good).await? {
        Put::Done => {}
        Put::Immutable => {
            return refused(format!(
                "the tags of {repository} are immutable, so {tag} can't be moved"
            ));
        }
    }
    // What counts is what the instances will pull.
    let now = manifests(ecr, repository, &[tag]).await?;
    match now.into_iter().next() {
        Some((_, manifest)) if manifest.digest == *good => restored(manifest.digest),
        Some((_, manifest)) => Ok(Outcome::Refused(format!(
            "{repository}:{tag} was put back to {good}, but points to {} now: somebody changed it at the same moment. Look which of the two you want there",
            manifest.digest
        ))),
        None => Ok(Outcome::Refused(format!(
            "{repository}:{tag} was put back to {good}, but somebody has removed it at the same moment"
        ))),
    }
}

enum Put {
    Done,
    Immutable,
}

/// Puts a manifest under a tag, byte for byte: ECR computes the digest anew and refuses another.
async fn put(ecr: &Client, repository: &str, tag: &str, manifest: &Manifest) -> Read<Put> {
    let answer = ecr
        .put_image()
        .repository_name(repository)
        .image_tag(tag)
        .image_manifest(&manifest.body)
        .set_image_manifest_media_type(manifest.media_type.clone())
        .image_digest(&manifest.digest)
        .send()
        .await
        .map_err(|error| ApiError::of("ecr:PutImage", &error));
    match answer {
        Ok(_) => Ok(Put::Done),
        Err(error) => match error.code.as_str() {
            // The same manifest under the same tag already: what was wanted.
            "ImageAlreadyExistsException" => Ok(Put::Done),
            "ImageTagAlreadyExistsException" => Ok(Put::Immutable),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests;
