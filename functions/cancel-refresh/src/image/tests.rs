use super::*;
use crate::facts::{Group, Seen, Status};
use crate::policy::Policy;
use aws_sdk_ecr::operation::batch_get_image::BatchGetImageOutput;
use aws_sdk_ecr::operation::put_image::PutImageOutput;
use aws_sdk_ecr::types::{Image as EcrImage, ImageFailure, ImageFailureCode};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use guardrails::tags;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const REFRESH: &str = "08b91cf7-8fa6-48af-b6a6-d227f40f1b9b";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn start() -> Timestamp {
    "2026-11-21T09:00:00Z".parse().unwrap()
}

fn digest(letter: char) -> String {
    format!("sha256:{}", letter.to_string().repeat(64))
}

/// A refresh of a group that is opted in; `seen` is what its tag remembers.
fn case(current: Option<char>, stable: Option<char>, seen: Option<(char, Repair)>) -> Case {
    let mut tags = BTreeMap::from(
        [
            (tags::IMAGE_REPOSITORY, "app"),
            (tags::IMAGE_TAG, "prod"),
            (tags::STABLE_TAG, "prod-stable"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    if let Some((letter, repair)) = seen {
        let seen = Seen {
            refresh: REFRESH.to_owned(),
            digest: digest(letter),
            repair,
        };
        tags.insert(tags::REFRESH_IMAGE.to_owned(), seen.value());
    }
    let group = Group {
        name: "web".to_owned(),
        tags,
        ..Group::default()
    };
    let mut case = Case::of(group, start() + SignedDuration::from_mins(2));
    case.refresh = Some(Refresh {
        id: REFRESH.to_owned(),
        status: Status::InProgress,
        reason: None,
        start: Some(start()),
        end: None,
        percentage: 0,
        remaining: None,
        wanted: None,
        preferences: crate::facts::Preferences::default(),
        rollback_reason: None,
    });
    case.image = Some(Ok(Image {
        current: current.map(digest),
        stable: stable.map(digest),
    }));
    case
}

fn standing(case: &Case) -> Standing {
    let policy: Policy = guardrails::policy::parse("cancel-refresh: {}", crate::NAME).unwrap();
    let settings = Settings::of(&policy, &case.group);
    plan(case, &settings, case.refresh.as_ref().unwrap())
}

fn the_plan() -> Plan {
    Plan {
        repository: "app".to_owned(),
        tag: "prod".to_owned(),
        stable: "prod-stable".to_owned(),
        bad: digest('b'),
        good: digest('a'),
        keep_as: format!("prod-failed-{REFRESH}"),
    }
}

#[test]
fn the_tag_is_put_back_only_while_it_points_to_what_was_seen() {
    let seen = |letter| Some((letter, Repair::Open));
    for (case, expected) in [
        (case(Some('b'), Some('a'), seen('b')), "repair"),
        // At first sight, soon after the start.
        (case(Some('b'), Some('a'), None), "repair"),
        (case(Some('a'), Some('a'), seen('b')), "done"),
        (
            case(Some('b'), Some('a'), Some(('b', Repair::Restored))),
            "done",
        ),
        (case(Some('c'), Some('a'), seen('b')), "has changed since"),
        (case(None, Some('a'), seen('b')), "app:prod doesn't exist"),
        (
            case(Some('b'), None, seen('b')),
            "app:prod-stable doesn't exist",
        ),
        (case(Some('b'), Some('b'), seen('b')), "is the same image"),
        (case(Some('b'), Some('b'), None), "is the same image"),
        // Stable moved onto the bad image meanwhile.
        (case(Some('c'), Some('b'), seen('b')), "is the same image"),
        (
            case(Some('b'), Some('a'), Some(('b', Repair::NotRestored))),
            "couldn't be changed",
        ),
    ] {
        let standing = standing(&case);
        match (&standing, expected) {
            (Standing::Repair(plan), "repair") => assert_eq!(*plan, the_plan()),
            (Standing::Done, "done") => {}
            (Standing::Refused(why), text) => {
                assert!(why.contains(text), "{why}");
                assert!(why.contains("Nothing was overwritten"), "{why}");
            }
            _ => panic!("{standing:?}, expected {expected}"),
        }
    }
}

#[test]
fn an_image_seen_too_late_is_not_trusted_to_be_the_releases() {
    let mut late = case(Some('b'), Some('a'), None);
    late.looked = start() + SignedDuration::from_mins(11);
    assert!(matches!(standing(&late), Standing::Refused(why) if why.contains("nobody saw")));
    // What was seen of another refresh says nothing of this one.
    let mut other = case(Some('b'), Some('a'), Some(('b', Repair::Open)));
    other.looked = late.looked;
    other.refresh.as_mut().unwrap().id = "another".to_owned();
    assert!(matches!(standing(&other), Standing::Refused(why) if why.contains("nobody saw")));
}

#[test]
fn without_opting_in_nothing_is_looked_at() {
    let mut case = case(Some('b'), Some('a'), None);
    case.image = None;
    assert_eq!(standing(&case), Standing::NotAsked);
    case.image = Some(Ok(Image::default()));
    case.group.tags.remove(tags::STABLE_TAG);
    assert_eq!(standing(&case), Standing::NotAsked);
}

#[test]
fn the_kept_images_tag_is_one_that_ecr_takes() {
    assert_eq!(keep_as("prod", REFRESH), format!("prod-failed-{REFRESH}"));
    let long = keep_as(&"x".repeat(128), REFRESH);
    assert_eq!(long.len(), IMAGE_TAG_MAX);
    assert!(long.ends_with(REFRESH));
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
