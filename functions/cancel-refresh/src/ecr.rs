//! What an image tag points to, and putting the known good image back under it (ASG-10).

use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::{ImageFailureCode, ImageIdentifier};
use guardrails::aws::{ApiError, ErrorKind};

use crate::facts::{Image, Read};
use crate::image::{self, Outcome, Plan};
use crate::policy::ImageTags;

/// A manifest as ECR keeps it.
struct Manifest {
    digest: String,
    body: String,
    media_type: Option<String>,
}

/// Reads what the tags point to. A tag that isn't there is no error.
pub(crate) async fn read(ecr: &Client, tags: &ImageTags) -> Read<Image> {
    let found = manifests(ecr, &tags.repository, &[&tags.tag, &tags.stable_tag]).await?;
    let digest = |tag: &str| {
        let found = found.iter().find(|(name, _)| name == tag);
        found.map(|(_, manifest)| manifest.digest.clone())
    };
    Ok(Image {
        current: digest(&tags.tag),
        stable: digest(&tags.stable_tag),
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
    if let Some(failure) = answer
        .failures()
        .iter()
        .find(|failure| failure.failure_code() != Some(&ImageFailureCode::ImageNotFound))
    {
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
    let outcome = try_restore(ecr, plan).await;
    outcome.unwrap_or_else(Outcome::Failed)
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
    let Some(known_good) = known_good.filter(|manifest| manifest.digest == *good) else {
        return Ok(refused(
            plan,
            &format!("{repository}:{stable} has changed meanwhile"),
        ));
    };
    match current {
        Some(current) if current.digest == *good => return Ok(restored(plan)),
        Some(current) if current.digest == *bad => {
            // Before it loses its tag: an untagged image may be swept by a lifecycle rule.
            // Where tags are immutable and this one is there: it is ours alone by its name, so
            // whoever made it has kept the image already.
            let (Put::Done | Put::Immutable) = put(ecr, repository, keep_as, &current).await?;
        }
        Some(current) => {
            let why = format!(
                "{repository}:{tag} points to {} meanwhile, no longer to {bad}",
                current.digest
            );
            return Ok(refused(plan, &why));
        }
        None => {
            return Ok(refused(
                plan,
                &format!("{repository}:{tag} doesn't exist any more"),
            ));
        }
    }
    match put(ecr, repository, tag, &known_good).await? {
        Put::Done => looked_at(ecr, plan).await,
        Put::Immutable => Ok(refused(
            plan,
            &format!("the tags of {repository} are immutable, so {tag} can't be moved"),
        )),
    }
}

/// What counts is what the instances will pull.
async fn looked_at(ecr: &Client, plan: &Plan) -> Read<Outcome> {
    let Plan {
        repository,
        tag,
        good,
        ..
    } = plan;
    let now = manifests(ecr, repository, &[tag]).await?;
    Ok(match now.into_iter().next() {
        Some((_, manifest)) if manifest.digest == *good => restored(plan),
        Some((_, manifest)) => Outcome::Refused(format!(
            "{repository}:{tag} was put back to {good}, but points to {} now: somebody changed it at the same moment. Look which of the two you want there",
            manifest.digest
        )),
        None => Outcome::Refused(format!(
            "{repository}:{tag} was put back to {good}, but somebody has removed it at the same moment"
        )),
    })
}

fn restored(plan: &Plan) -> Outcome {
    Outcome::Restored {
        digest: plan.good.clone(),
        kept_as: plan.keep_as.clone(),
    }
}

fn refused(plan: &Plan, why: &str) -> Outcome {
    Outcome::Refused(image::left_alone(why, &plan.repository, &plan.tag))
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
