use super::*;
use crate::action::{Action, CopyTo, Delete};
use crate::decide::copies::tests::copied;
use crate::facts::Ask;
use crate::observe::{observe, revalidate};
use aws_sdk_ec2::operation::describe_snapshots::{DescribeSnapshotsError, DescribeSnapshotsOutput};
use aws_sdk_ec2::operation::describe_volumes::DescribeVolumesOutput;
use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::{Snapshot as Found, SnapshotState, Tag};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use guardrails::resource::Resource;
use guardrails::state::Expect;
use guardrails::state::model::Model;
use guardrails::tags;
use guardrails::trigger::{Request, Scope};

const SLOT: &str = "2026-11-21T03:00:00+00:00";

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

fn found(id: &str, described: &str, source: Option<&str>) -> Found {
    let slot = crate::slots::tag(&crate::slots::Zone::UTC.at(SLOT.parse().unwrap()));
    let source = source.map(|source| tag(tags::SOURCE, source));
    Found::builder()
        .snapshot_id(id)
        .volume_id(if source.is_some() {
            "vol-ffffffff"
        } else {
            "vol-1"
        })
        .state(SnapshotState::Completed)
        .start_time(DateTime::from_secs(1_795_260_000))
        .description(format!("{described}plan daily, slot {slot}, attempt 1: x"))
        .volume_size(100)
        .kms_key_id("key-1")
        .set_tags(Some(
            [
                tag(tags::GUARDRAIL, crate::NAME),
                tag(tags::PLAN, "daily"),
                tag(tags::SLOT, &slot),
                tag(tags::VOLUMES, "vol-1"),
            ]
            .into_iter()
            .chain(source)
            .collect(),
        ))
        .build()
}

fn a_copy(id: &str) -> Found {
    let described = "ec2-guardrails snapshot-volumes: copy from eu-central-1 of vol-1 (snap-1), ";
    found(id, described, Some("snap-1"))
}

/// Describes `snapshots` where the one filter that isn't of all ours begins so.
fn snapshots(filter: &'static str, snapshots: Vec<Found>) -> Rule {
    mock!(Client::describe_snapshots)
        .match_requests(move |request| {
            let filters = request.filters().iter();
            let mut values = filters.flat_map(|f| f.values().to_vec());
            request.owner_ids() == ["self"] && values.any(|value| value.starts_with(filter))
        })
        .then_output(move || {
            DescribeSnapshotsOutput::builder()
                .set_snapshots(Some(snapshots.clone()))
                .build()
        })
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
    let put = state.put(
        &TRIES,
        "us-east-1/snap-1/1",
        &begun,
        None,
        &Expect::Any,
        now(),
    );
    put.await.unwrap();
    let policy = copied("keep: {last: 1}");
    observe(&regions, &state, &policy, &request, now())
        .await
        .unwrap()
}

#[tokio::test]
async fn copies_are_read_by_their_description_with_one_call_each_region() {
    let disowned = found(
        "snap-d",
        "ec2-guardrails snapshot-volumes: copy from eu-central-1 of vol-1 (snap-2), ",
        Some("snap-1"),
    );
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

fn asked() -> Action {
    Action::Copy(CopyTo {
        region: "us-east-1".to_owned(),
        plan: "daily".to_owned(),
        slot: SLOT.parse().unwrap(),
        attempt: 1,
        volume: "vol-1".to_owned(),
        source: "snap-1".to_owned(),
        key: None,
        tags: Vec::new(),
        description: String::new(),
    })
}

async fn verdicts(here: Vec<Found>, there: &[&Rule], actions: &[Action]) -> Vec<Option<String>> {
    let here = snapshots("", here);
    let here = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&here]);
    let there = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, there);
    let regions = Regions::of(&here, &[("us-east-1", &there)], &[]);
    let actions: Vec<&Action> = actions.iter().collect();
    revalidate(&regions, &actions).await.unwrap()
}

#[tokio::test]
async fn before_a_copy_both_regions_are_looked_at_again() {
    let source = || found("snap-1", "ec2-guardrails snapshot-volumes: ", None);
    let none = snapshots("", vec![]);
    let made = snapshots("", vec![a_copy("snap-c")]);
    let unreadable = unreadable();
    for (here, there, expected) in [
        (vec![source()], &none, None),
        (
            vec![source()],
            &made,
            Some("has snap-c in us-east-1 meanwhile"),
        ),
        (vec![], &none, Some("snap-1 is gone")),
        (
            vec![source()],
            &unreadable,
            Some("ec2:DescribeSnapshots failed"),
        ),
    ] {
        let verdicts = verdicts(here, &[there], &[asked()]).await;
        match (expected, verdicts[0].as_deref()) {
            (None, None) => {}
            (Some(expected), Some(why)) => assert!(why.contains(expected), "{why}"),
            other => panic!("{other:?}"),
        }
    }
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
    let kept = verdicts(vec![], &[&there], std::slice::from_ref(&delete)).await;
    assert_eq!(kept, [None]);
    let none = snapshots("", vec![]);
    let lost = verdicts(vec![], &[&none], &[delete]).await;
    assert!(
        lost[0]
            .as_ref()
            .unwrap()
            .contains("snap-c, which was to stay")
    );
}
