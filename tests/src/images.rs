//! Container images in ECR, as a pipeline pushes and tags them.

use std::collections::BTreeMap;

use aws_sdk_ecr::types::{Image, ImageIdentifier, ImageTagMutability};
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::LocalAws;
use crate::estate::answered;

/// An image that was pushed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Pushed {
    /// The digest of its manifest.
    pub digest: String,
}

#[derive(Deserialize)]
struct Stored {
    images: Vec<StoredImage>,
}

#[derive(Deserialize)]
struct StoredImage {
    digest: String,
    tags: Vec<String>,
}

impl LocalAws {
    /// Creates a repository whose tags can be moved.
    pub async fn repository(&self, name: &str) {
        let made = self.ecr.create_repository().repository_name(name);
        answered("CreateRepository", made.send().await);
    }

    /// From now on no tag of the repository can be moved.
    pub async fn make_immutable(&self, repository: &str) {
        let put = self
            .ecr
            .put_image_tag_mutability()
            .repository_name(repository);
        let put = put.image_tag_mutability(ImageTagMutability::Immutable);
        answered("PutImageTagMutability", put.send().await);
    }

    /// Pushes an image, for one platform or as an index of several; other content has another digest.
    pub async fn push(
        &self,
        repository: &str,
        tag: &str,
        content: &str,
        platforms: &[&str],
    ) -> Pushed {
        let mut body = json!({ "repository": repository, "tag": tag, "content": content });
        if !platforms.is_empty() {
            body["platforms"] = json!(platforms);
        }
        self.control(Method::POST, "ecr/push", Some(&body)).await
    }

    /// The image under a tag, as ECR hands it out.
    pub async fn tagged_image(&self, repository: &str, tag: &str) -> Option<Image> {
        let wanted = ImageIdentifier::builder().image_tag(tag).build();
        let got = self.ecr.batch_get_image().repository_name(repository);
        // Without these an index comes back as the image of one platform.
        let got = got
            .accepted_media_types("application/vnd.docker.distribution.manifest.list.v2+json")
            .accepted_media_types("application/vnd.docker.distribution.manifest.v2+json")
            .accepted_media_types("application/vnd.oci.image.index.v1+json")
            .accepted_media_types("application/vnd.oci.image.manifest.v1+json");
        let got = got.image_ids(wanted).send().await;
        answered("BatchGetImage", got).images().first().cloned()
    }

    /// The digest of the image under a tag.
    pub async fn digest_under(&self, repository: &str, tag: &str) -> Option<String> {
        let image = self.tagged_image(repository, tag).await?;
        Some(image.image_id()?.image_digest()?.to_owned())
    }

    /// Puts another tag on the image under `from`, as the pipeline does: `prod` becomes `prod-stable`.
    pub async fn retag(&self, repository: &str, from: &str, to: &str) {
        let image = self.tagged_image(repository, from).await;
        let image = image.expect("there is an image under the tag");
        let put = self
            .ecr
            .put_image()
            .repository_name(repository)
            .set_image_manifest(image.image_manifest)
            .set_image_manifest_media_type(image.image_manifest_media_type)
            .image_tag(to);
        answered("PutImage", put.send().await);
    }

    /// Each tag of a repository with its digest.
    pub async fn image_tags(&self, repository: &str) -> BTreeMap<String, String> {
        let path = format!("ecr/images?repository={repository}");
        let stored: Stored = self.get(&path).await;
        stored
            .images
            .into_iter()
            .flat_map(|image| {
                image
                    .tags
                    .into_iter()
                    .map(move |t| (t, image.digest.clone()))
            })
            .collect()
    }

    /// The repository's lifecycle policy runs: what has no tag goes. Returns their digests.
    pub async fn expire_untagged(&self, repository: &str) -> Value {
        let body = json!({ "repository": repository });
        self.post("ecr/lifecycle", body).await["expired"].clone()
    }
}
