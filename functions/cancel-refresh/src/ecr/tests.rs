use super::*;
use crate::tests::fixtures::{self, REFRESH};
use aws_sdk_ecr::operation::batch_get_image::BatchGetImageOutput;
use aws_sdk_ecr::operation::put_image::PutImageOutput;
use aws_sdk_ecr::types::{Image as EcrImage, ImageFailure};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn digest(letter: char) -> String {
    format!("sha256:{}", letter.to_string().repeat(64))
}

fn the_plan() -> Plan {
    Plan {
        bad: digest('b'),
        good: digest('a'),
        ..fixtures::the_plan()
    }
}

/// A repository as ECR keeps it: tags that point to digests.
#[derive(Debug, Clone, Default)]
struct Repository {
    tags: BTreeMap<String, String>,
    puts: Vec<(String, String, Option<String>)>,
    immutable: bool,
    /// How many puts go through before the run is killed, or ECR stops answering.
    fails_after: Option<usize>,
    /// What somebody else does once the tag was put back.
    meddles: Option<(String, String)>,
}

type Shared = Arc<Mutex<Repository>>;

fn body(digest: &str) -> String {
    // Neither compact nor pretty: what isn't put back byte for byte shows.
    format!("{{ \"schemaVersion\":2,\n \"of\" : \"{digest}\" }}\n")
}

fn repository(tags: &[(&str, char)]) -> Shared {
    Arc::new(Mutex::new(Repository {
        tags: tags
            .iter()
            .map(|(tag, letter)| ((*tag).to_owned(), digest(*letter)))
            .collect(),
        ..Repository::default()
    }))
}

fn get(shared: &Shared) -> Rule {
    let shared = Arc::clone(shared);
    mock!(Client::batch_get_image)
        .match_requests(|request| {
            request.repository_name() == Some("app")
                && request.accepted_media_types().contains(&INDEX.to_owned())
        })
        .then_compute_output(move |request| {
            let repository = shared.lock().unwrap();
            let mut answer = BatchGetImageOutput::builder();
            for id in request.image_ids() {
                let tag = id.image_tag().unwrap();
                answer = match repository.tags.get(tag) {
                    Some(digest) => {
                        let id = ImageIdentifier::builder()
                            .image_tag(tag)
                            .image_digest(digest);
                        let image = EcrImage::builder()
                            .image_id(id.build())
                            .image_manifest(body(digest))
                            .image_manifest_media_type(if *digest == super::tests::digest('a') {
                                INDEX
                            } else {
                                IMAGE
                            });
                        answer.images(image.build())
                    }
                    None => answer.failures(
                        ImageFailure::builder()
                            .image_id(id.clone())
                            .failure_code(ImageFailureCode::ImageNotFound)
                            .failure_reason("Requested image not found")
                            .build(),
                    ),
                };
            }
            answer.build()
        })
}

fn coded(code: &str) -> aws_sdk_ecr::error::ErrorMetadata {
    aws_sdk_ecr::error::ErrorMetadata::builder()
        .code(code)
        .build()
}

/// ECR's answer to a put, by the rules of ASG-10.
fn put(shared: &Shared) -> Vec<Rule> {
    use aws_sdk_ecr::operation::put_image::PutImageError;
    use aws_sdk_ecr::types::error::{ImageAlreadyExistsException, ImageTagAlreadyExistsException};
    fn verdict(
        repository: &Repository,
        request: &aws_sdk_ecr::operation::put_image::PutImageInput,
    ) -> &'static str {
        let tag = request.image_tag().unwrap();
        let digest = request.image_digest().unwrap();
        match repository.tags.get(tag) {
            Some(have) if have == digest => "same",
            Some(_) if repository.immutable => "immutable",
            _ if repository.fails_after == Some(repository.puts.len()) => "down",
            _ => "ok",
        }
    }
    let when = |wanted: &'static str| {
        let shared = Arc::clone(shared);
        mock!(Client::put_image)
            .match_requests(move |request| verdict(&shared.lock().unwrap(), request) == wanted)
    };
    let stored = Arc::clone(shared);
    vec![
        when("same").then_error(|| {
            PutImageError::ImageAlreadyExistsException(
                ImageAlreadyExistsException::builder()
                    .meta(coded("ImageAlreadyExistsException"))
                    .build(),
            )
        }),
        when("immutable").then_error(|| {
            PutImageError::ImageTagAlreadyExistsException(
                ImageTagAlreadyExistsException::builder()
                    .meta(coded("ImageTagAlreadyExistsException"))
                    .build(),
            )
        }),
        when("down").then_error(|| PutImageError::generic(coded("ServerException"))),
        when("ok").then_compute_output(move |request| {
            let mut repository = stored.lock().unwrap();
            let (tag, digest) = (
                request.image_tag().unwrap().to_owned(),
                request.image_digest().unwrap().to_owned(),
            );
            assert_eq!(request.image_manifest(), Some(body(&digest).as_str()));
            repository.puts.push((
                tag.clone(),
                digest.clone(),
                request.image_manifest_media_type().map(str::to_owned),
            ));
            repository.tags.insert(tag.clone(), digest);
            if tag == "prod"
                && let Some((tag, digest)) = repository.meddles.take()
            {
                repository.tags.insert(tag, digest);
            }
            PutImageOutput::builder().build()
        }),
    ]
}

async fn restored(shared: &Shared) -> Outcome {
    let get = get(shared);
    let put = put(shared);
    let rules: Vec<&Rule> = std::iter::once(&get).chain(&put).collect();
    let ecr = mock_client!(aws_sdk_ecr, RuleMode::MatchAny, &rules);
    restore(&ecr, &the_plan()).await
}

#[tokio::test(start_paused = true)]
async fn the_bad_image_is_kept_before_the_good_one_goes_back() {
    let shared = repository(&[("prod", 'b'), ("prod-stable", 'a')]);
    let keep_as = format!("prod-failed-{REFRESH}");
    let outcome = restored(&shared).await;
    assert_eq!(
        outcome,
        Outcome::Restored {
            digest: digest('a'),
            kept_as: keep_as.clone(),
        }
    );
    // With the media type of each: an index stays an index.
    assert_eq!(
        shared.lock().unwrap().puts,
        [
            (keep_as, digest('b'), Some(IMAGE.to_owned())),
            ("prod".to_owned(), digest('a'), Some(INDEX.to_owned())),
        ]
    );
    // Again: nothing more is put.
    assert!(matches!(restored(&shared).await, Outcome::Restored { .. }));
    assert_eq!(shared.lock().unwrap().puts.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn killed_between_its_steps_the_next_run_does_the_rest() {
    for reached in [0, 1] {
        let shared = repository(&[("prod", 'b'), ("prod-stable", 'a')]);
        shared.lock().unwrap().fails_after = Some(reached);
        assert!(matches!(restored(&shared).await, Outcome::Failed(_)));
        assert_eq!(shared.lock().unwrap().tags["prod"], digest('b'));
        shared.lock().unwrap().fails_after = None;
        assert!(matches!(restored(&shared).await, Outcome::Restored { .. }));
        let repository = shared.lock().unwrap();
        assert_eq!(repository.tags["prod"], digest('a'));
        assert_eq!(
            repository.tags[&format!("prod-failed-{REFRESH}")],
            digest('b')
        );
        assert_eq!(repository.puts.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_changed_meanwhile_is_left_alone() {
    for (tags, expected) in [
        (vec![("prod", 'c'), ("prod-stable", 'a')], "meanwhile"),
        (vec![("prod-stable", 'a')], "doesn't exist any more"),
        (vec![("prod", 'b')], "app:prod-stable has changed"),
        (vec![("prod", 'b'), ("prod-stable", 'c')], "has changed"),
    ] {
        let shared = repository(&tags);
        let Outcome::Refused(why) = restored(&shared).await else {
            panic!("refused");
        };
        assert!(why.contains(expected), "{why}");
        assert!(shared.lock().unwrap().puts.is_empty(), "{tags:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn immutable_tags_stay_as_they_are() {
    let shared = repository(&[("prod", 'b'), ("prod-stable", 'a')]);
    shared.lock().unwrap().immutable = true;
    assert!(matches!(restored(&shared).await, Outcome::Refused(why) if why.contains("immutable")));
    assert_eq!(shared.lock().unwrap().tags["prod"], digest('b'));
}

#[tokio::test(start_paused = true)]
async fn a_push_at_the_same_moment_is_seen() {
    let shared = repository(&[("prod", 'b'), ("prod-stable", 'a')]);
    shared.lock().unwrap().meddles = Some(("prod".to_owned(), digest('c')));
    assert!(
        matches!(restored(&shared).await, Outcome::Refused(why) if why.contains("somebody changed it"))
    );
}
