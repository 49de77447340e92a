use super::*;
use crate::action::{Action, Delete};
use crate::decide::copies::tests::{asked, copied};
use crate::facts::Ask;
use crate::observe::tests::{completed, create, snapshots_found, tag};
use crate::observe::{observe, revalidate};
use aws_credential_types::credential_fn::provide_credentials_fn;
use aws_sdk_ec2::operation::describe_snapshots::DescribeSnapshotsError;
use aws_sdk_ec2::operation::describe_volumes::DescribeVolumesOutput;
use aws_sdk_ec2::types::Snapshot as Found;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use guardrails::aws::ErrorKind;
use guardrails::resource::Resource;
use guardrails::runner::LOOK_VALID;
use guardrails::state::Expect;
use guardrails::state::model::Model;
use guardrails::tags;
use guardrails::trigger::{Request, Scope};
use tokio::time::Instant;

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

/// A copy whose description says that it is of `source`, and whose tag that it is of snap-1.
fn copy_of(source: &str, id: &str) -> Found {
    let mut copy = completed(id, "vol-1");
    let from = format!("copy from eu-central-1 of vol-1 ({source}), plan");
    copy.description = copy.description.map(|text| text.replace("plan", &from));
    copy.tags
        .as_mut()
        .unwrap()
        .push(tag(tags::SOURCE, "snap-1"));
    copy.volume_id = Some("vol-ffffffff".to_owned());
    copy.volume_size = Some(100);
    copy.kms_key_id = Some("key-1".to_owned());
    copy
}

fn a_copy(id: &str) -> Found {
    copy_of("snap-1", id)
}

/// Describes `snapshots` where the one filter that isn't of all ours begins so.
fn snapshots(filter: &'static str, snapshots: Vec<Found>) -> Rule {
    mock!(Client::describe_snapshots)
        .match_requests(move |request| {
            let filters = request.filters().iter();
            let mut values = filters.flat_map(|f| f.values().to_vec());
            request.owner_ids() == ["self"] && values.any(|value| value.starts_with(filter))
        })
        .then_output(move || snapshots_found(snapshots.clone()))
}

fn unreadable() -> Rule {
    mock!(Client::describe_snapshots).then_error(|| {
        let error = aws_sdk_ec2::error::ErrorMetadata::builder().code("UnauthorizedOperation");
        DescribeSnapshotsError::generic(error.build())
    })
}

fn no_volumes() -> Rule {
    mock!(Client::describe_volumes).then_output(|| DescribeVolumesOutput::builder().build())
}

async fn seen(there: &[&Rule], regions: &[&str], request: Request<Ask>) -> crate::facts::Facts {
    let (volumes, here) = (no_volumes(), snapshots("ec2-guardrails", vec![]));
    let here = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&volumes, &here]);
    let there = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, there);
    let regions: Vec<_> = regions.iter().map(|region| (*region, &there)).collect();
    let regions = Regions::of(&here, &regions, &[]);
    let state = Model::default().state(crate::NAME);
    let begun = Try {
        refused: None,
        again: now(),
    };
    let name = "us-east-1/snap-1/1";
    let put = state.put(&TRIES, name, &begun, None, &Expect::Any, now());
    put.await.unwrap();
    let policy = copied("keep: {last: 1}");
    observe(&regions, &state, &policy, &request, now())
        .await
        .unwrap()
}

#[tokio::test]
async fn copies_are_read_by_their_description_with_one_call_each_region() {
    let disowned = copy_of("snap-2", "snap-d");
    let rule = snapshots(
        "ec2-guardrails snapshot-volumes: copy from eu-central-1 of *",
        vec![a_copy("snap-c"), disowned],
    );
    let facts = seen(&[&rule], &["us-east-1"], Request::sweep()).await;
    assert_eq!(facts.region, "eu-central-1");
    let there = facts.elsewhere["us-east-1"].as_ref().unwrap();
    let [copy] = there.copies.as_slice() else {
        panic!("{there:?}");
    };
    let copied = copy.copy.as_ref().unwrap();
    assert_eq!(
        (&*copy.volume, &*copied.source, &*copied.key, copied.gib),
        ("vol-1", "snap-1", "key-1", 100)
    );
    assert_eq!(there.disowned[0].id, "snap-d");
    assert!(there.tries.contains_key("us-east-1/snap-1/1"));
    assert_eq!(rule.num_calls(), 1);
}

#[tokio::test]
async fn what_can_not_be_read_or_is_not_named_is_no_matter_of_what_is_here() {
    let facts = seen(&[&unreadable()], &["us-east-1"], Request::sweep()).await;
    let error = facts.elsewhere["us-east-1"].as_ref().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    let facts = seen(&[], &[], Request::sweep()).await;
    let error = facts.elsewhere["us-east-1"].as_ref().unwrap_err();
    assert!(error.to_string().contains("CopyRegions"), "{error}");
}

#[tokio::test]
async fn an_event_looks_at_no_other_region() {
    let event = Request::of(Scope::one(Resource::volume("vol-1")));
    let facts = seen(&[], &["us-east-1"], event).await;
    assert!(facts.elsewhere.is_empty());
}

async fn verdicts(here: Vec<Found>, there: &Rule, actions: &[Action]) -> Vec<Option<String>> {
    let there = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [there]);
    verdicts_of(here, &there, actions).await
}

async fn verdicts_of(here: Vec<Found>, there: &Client, actions: &[Action]) -> Vec<Option<String>> {
    let here = snapshots("", here);
    let here = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&here]);
    let regions = Regions::of(&here, &[("us-east-1", there)], &[]);
    let actions: Vec<&Action> = actions.iter().collect();
    revalidate(&regions, &actions).await.unwrap()
}

#[tokio::test]
async fn before_a_copy_both_regions_are_looked_at_again() {
    let source = || vec![completed("snap-1", "vol-1")];
    let none = || snapshots("", vec![]);
    let made = snapshots("", vec![a_copy("snap-c")]);
    for (here, there, expected) in [
        (source(), none(), None),
        (source(), made, Some("has snap-c in us-east-1 meanwhile")),
        (vec![], none(), Some("snap-1 is gone")),
        (source(), unreadable(), Some("ec2:DescribeSnapshots failed")),
    ] {
        let verdicts = verdicts(here, &there, &[Action::Copy(asked())]).await;
        match (expected, verdicts[0].as_deref()) {
            (None, None) => {}
            (Some(expected), Some(why)) => assert!(why.contains(expected), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

/// What is here goes on without it, on a look that still holds.
#[tokio::test]
async fn a_region_that_never_answers_is_waited_for_a_few_seconds() {
    // Without credentials, for which it waits, nothing is sent.
    let there = mock_client!(
        aws_sdk_ec2,
        RuleMode::MatchAny,
        [&snapshots("", vec![])],
        |config| config.credentials_provider(provide_credentials_fn(std::future::pending))
    );
    let here = vec![completed("snap-1", "vol-1")];
    let actions = [create("vol-2"), Action::Copy(asked())];
    let looked = Instant::now();
    let verdicts = verdicts_of(here, &there, &actions).await;
    assert!(looked.elapsed() < LOOK_VALID);
    assert_eq!(verdicts[0], None);
    let why = verdicts[1].as_deref().unwrap_or_default();
    assert!(why.contains("in us-east-1: no answer within 4 s"), "{why}");
}

#[tokio::test]
async fn the_copy_that_is_to_stay_is_looked_for_where_it_lies() {
    let delete = Action::Delete(Delete {
        region: Some("us-east-1".to_owned()),
        snapshot: "snap-a".to_owned(),
        keeper: Some("snap-c".to_owned()),
        known_refused: false,
    });
    let there = snapshots("snap-c", vec![a_copy("snap-c")]);
    let kept = verdicts(vec![], &there, std::slice::from_ref(&delete)).await;
    assert_eq!(kept, [None]);
    let none = snapshots("", vec![]);
    let lost = verdicts(vec![], &none, &[delete]).await;
    assert!(
        lost[0]
            .as_ref()
            .unwrap()
            .contains("snap-c, which was to stay")
    );
}
