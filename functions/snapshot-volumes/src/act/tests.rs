use super::*;
use crate::action::Member;
use aws_sdk_ec2::operation::create_snapshot::{CreateSnapshotError, CreateSnapshotOutput};
use aws_sdk_ec2::operation::create_snapshots::{CreateSnapshotsError, CreateSnapshotsOutput};
use aws_sdk_ec2::operation::delete_snapshot::{DeleteSnapshotError, DeleteSnapshotOutput};
use aws_sdk_ec2::operation::describe_snapshots::DescribeSnapshotsOutput;
use aws_sdk_ec2::types::{ResourceType, Snapshot, SnapshotInfo, Tag};
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use guardrails::state::model::Model;

fn create(target: Target, volumes: &[&str]) -> Action {
    Action::Create(Create {
        plan: "daily".to_owned(),
        slot: Timestamp::UNIX_EPOCH,
        attempt: 1,
        target,
        members: volumes
            .iter()
            .map(|volume| Member {
                volume: (*volume).to_owned(),
                device: None,
            })
            .collect(),
        tags: vec![(tags::PLAN.to_owned(), "daily".to_owned())],
        description: "d".to_owned(),
    })
}

fn delete(known_refused: bool) -> Action {
    Action::Delete(Delete {
        region: None,
        snapshot: "snap-1".to_owned(),
        keeper: None,
        known_refused,
    })
}

async fn acted(ec2: &Client, action: &Action, run: &str) -> Acted<Effect> {
    acted_with(&Model::default(), ec2, action, run).await
}

async fn acted_with(model: &Model, ec2: &Client, action: &Action, run: &str) -> Acted<Effect> {
    let (regions, state) = (Regions::of(ec2, &[], &[]), model.state(crate::NAME));
    act(&regions, &state, action, run).await
}

fn started(volumes: &[&str]) -> Effect {
    Effect::Started(volumes.iter().map(|&volume| volume.to_owned()).collect())
}

fn one_made() -> CreateSnapshotOutput {
    CreateSnapshotOutput::builder()
        .snapshot_id("snap-1")
        .build()
}

fn info(snapshot: Option<&str>, volume: Option<&str>) -> SnapshotInfo {
    SnapshotInfo::builder()
        .set_snapshot_id(snapshot.map(str::to_owned))
        .set_volume_id(volume.map(str::to_owned))
        .build()
}

pub(super) fn error(code: &str, message: &str) -> aws_sdk_ec2::error::ErrorMetadata {
    aws_sdk_ec2::error::ErrorMetadata::builder()
        .code(code)
        .message(message)
        .build()
}

#[tokio::test]
async fn tags_are_given_at_creation() {
    let rule = mock!(Client::create_snapshot)
        .match_requests(|request| {
            let specification = &request.tag_specifications()[0];
            specification.resource_type() == Some(&ResourceType::Snapshot)
                && specification.tags()[0].key() == Some(tags::PLAN)
                && request.volume_id() == Some("vol-1")
        })
        .then_output(one_made);
    let ec2 = mock_client!(aws_sdk_ec2, [&rule]);
    let acted = acted(&ec2, &create(Target::Volume, &["vol-1"]), "run").await;
    assert_eq!(acted.result, ActResult::Done(Some("snap-1".to_owned())));
    assert_eq!(acted.effect, Some(started(&["vol-1"])));
}

#[tokio::test]
async fn a_set_leaves_out_what_is_not_meant_and_deletes_what_came_in_between() {
    let wanted = info(Some("snap-1"), Some("vol-1"));
    let uninvited = info(Some("snap-2"), Some("vol-new"));
    let rule = mock!(Client::create_snapshots)
        .match_requests(|request| {
            let of = request.instance_specification().unwrap();
            of.instance_id() == Some("i-1")
                && of.exclude_boot_volume() == Some(true)
                && of.exclude_data_volume_ids() == ["vol-9"]
                && request.copy_tags_from_source() == Some(&CopyTagsFromSource::Volume)
                && request.tag_specifications()[0]
                    .tags()
                    .iter()
                    .any(|tag| tag.key() == Some(tags::SET) && tag.value() == Some("i-1-4f5e"))
        })
        .then_output(move || {
            CreateSnapshotsOutput::builder()
                .snapshots(wanted.clone())
                .snapshots(uninvited.clone())
                .build()
        });
    let delete = mock!(Client::delete_snapshot)
        .match_requests(|request| request.snapshot_id() == Some("snap-2"))
        .then_output(|| DeleteSnapshotOutput::builder().build());
    let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&rule, &delete]);
    let target = Target::Set {
        instance: "i-1".to_owned(),
        exclude_boot: true,
        exclude: vec!["vol-9".to_owned()],
        singly: Vec::new(),
    };
    let acted = acted(&ec2, &create(target, &["vol-1"]), "4f5e-77").await;
    let note = "snap-1 of vol-1, snap-2 of vol-new, attached meanwhile: deleted again";
    assert_eq!(acted.result, ActResult::Done(Some(note.to_owned())));
    assert_eq!(acted.effect, Some(started(&["vol-1"])));
    assert_eq!(delete.num_calls(), 1);
}

#[tokio::test]
async fn each_refusal_of_a_creation_is_told_apart() {
    for (code, skipped) in [
        ("SnapshotCreationPerVolumeRateExceeded", true),
        ("ConcurrentSnapshotLimitExceeded", true),
        ("PendingSnapshotLimitExceeded", true),
        ("InvalidVolume.NotFound", true),
        ("InvalidInstanceID.NotFound", true),
        ("IncorrectState", true),
        ("SnapshotLimitExceeded", false),
        ("TagLimitExceeded", false),
        ("UnauthorizedOperation", false),
        ("RequestLimitExceeded", false),
    ] {
        let rule = mock!(Client::create_snapshot)
            .then_error(move || CreateSnapshotError::generic(error(code, "says AWS")));
        let ec2 = mock_client!(aws_sdk_ec2, [&rule]);
        let acted = acted(&ec2, &create(Target::Volume, &["vol-1"]), "run").await;
        assert_eq!(acted.effect, None, "{code}");
        match acted.result {
            ActResult::Skipped(why) => assert!(skipped && why.contains(code), "{code}: {why}"),
            ActResult::Failed(error) => assert!(!skipped && error.code == code, "{code}: {error}"),
            ActResult::Done(_) => panic!("{code}"),
        }
        assert_eq!(rule.num_calls(), 1, "{code}: sent once (EBS-1)");
    }
}

#[tokio::test]
async fn a_snapshot_that_something_relies_on_is_kept() {
    for (code, message, expected) in [
        (
            "InvalidSnapshot.InUse",
            "snap-1 is currently in use by ami-1",
            "kept, in use",
        ),
        (
            "InvalidParameterValue",
            "snap-1 is managed by the AWS Backup service",
            "kept, managed",
        ),
        ("OperationNotPermitted", "snap-1 is locked", "kept, locked"),
        ("SnapshotLocked", "no", "kept, locked"),
        ("InvalidSnapshot.NotFound", "does not exist", "done"),
        ("InvalidParameterValue", "something else", "failed"),
    ] {
        let rule = mock!(Client::delete_snapshot)
            .then_error(move || DeleteSnapshotError::generic(error(code, message)));
        let ec2 = mock_client!(aws_sdk_ec2, [&rule]);
        let acted = acted(&ec2, &delete(false), "run").await;
        let gone = acted.effect == Some(Effect::Deleted);
        let outcome = match acted.result {
            ActResult::Done(_) => "done".to_owned(),
            ActResult::Skipped(why) => why,
            ActResult::Failed(_) => "failed".to_owned(),
        };
        assert_eq!(gone, outcome == "done", "{code}");
        assert!(outcome.starts_with(expected), "{code} {message}: {outcome}");
    }
}

/// The role allows deletion by the snapshot's own tag, so one that another run has just deleted may
/// be "not authorized" rather than "not found".
#[tokio::test]
async fn a_snapshot_that_is_gone_is_no_missing_permission() {
    for (left, gone) in [(0, true), (1, false)] {
        // The mock's status is 400, so it is known by its code.
        let denied = mock!(Client::delete_snapshot).then_error(|| {
            DeleteSnapshotError::generic(error("UnauthorizedOperation", "the locked door"))
        });
        let found = mock!(Client::describe_snapshots)
            .match_requests(|request| request.filters()[0].values() == ["snap-1"])
            .then_output(move || {
                let snapshots = vec![Snapshot::builder().snapshot_id("snap-1").build(); left];
                DescribeSnapshotsOutput::builder()
                    .set_snapshots(Some(snapshots))
                    .build()
            });
        let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&denied, &found]);
        let acted = acted(&ec2, &delete(false), "run").await;
        assert_eq!(acted.effect == Some(Effect::Deleted), gone, "{acted:?}");
    }
}

// ---- answers that don't say what was made ----------------------------------------------------------

fn unknown(acted: &Acted<Effect>) -> bool {
    matches!(&acted.result, ActResult::Failed(error) if error.kind == ErrorKind::Unknown)
}

/// HTTP 200, and no id: it may have been made, so nobody sends it again without looking.
#[tokio::test]
async fn an_answer_without_a_snapshots_id_is_unknown() {
    let rule =
        mock!(Client::create_snapshot).then_output(|| CreateSnapshotOutput::builder().build());
    let ec2 = mock_client!(aws_sdk_ec2, [&rule]);
    let one = acted(&ec2, &create(Target::Volume, &["vol-1"]), "run").await;
    assert!(unknown(&one) && one.effect.is_none(), "{one:?}");
    assert_eq!(rule.num_calls(), 1);
    let ActResult::Failed(error) = &one.result else {
        panic!("it failed");
    };
    assert!(
        error.to_string().contains("may have been carried out"),
        "{error}"
    );
}

#[tokio::test]
async fn a_sets_answer_without_ids_is_unknown_but_for_what_it_names() {
    let named = || info(Some("snap-1"), Some("vol-1"));
    let no_id = info(None, Some("vol-2"));
    let no_volume = info(Some("snap-2"), None);
    for (answer, made) in [
        (vec![], &[] as &[&str]),
        (vec![named(), no_id], &["vol-1"]),
        (vec![named(), no_volume], &["vol-1"]),
    ] {
        let rule = mock!(Client::create_snapshots).then_output(move || {
            CreateSnapshotsOutput::builder()
                .set_snapshots(Some(answer.clone()))
                .build()
        });
        // Neither is anything made one by one, nor deleted that might be one of ours.
        let ec2 = mock_client!(aws_sdk_ec2, [&rule]);
        let set = acted(&ec2, &create_set(&["vol-1", "vol-2"]), "run").await;
        assert!(unknown(&set), "{set:?}");
        assert_eq!(set.effect, Some(started(made)));
    }
}

// ---- sets that AWS refuses -------------------------------------------------------------------------

/// A set whose members can be made one by one too.
fn create_set(volumes: &[&str]) -> Action {
    let singly = volumes.iter().map(|volume| {
        let Action::Create(create) = create(Target::Volume, &[volume]) else {
            unreachable!("it is one");
        };
        create
    });
    let set = Target::Set {
        instance: "i-1".to_owned(),
        exclude_boot: false,
        exclude: Vec::new(),
        singly: singly.collect(),
    };
    create(set, volumes)
}

fn refused_set(code: &'static str, message: &'static str) -> aws_smithy_mocks::Rule {
    mock!(Client::create_snapshots)
        .then_error(move || CreateSnapshotsError::generic(error(code, message)))
}

#[tokio::test]
async fn a_set_that_is_refused_outright_is_made_one_by_one_after_another_look() {
    let refused = refused_set("UnauthorizedOperation", "an explicit deny");
    let look = mock!(Client::describe_snapshots)
        .then_output(|| DescribeSnapshotsOutput::builder().build());
    let made = mock!(Client::create_snapshot)
        .match_requests(|request| request.volume_id() != Some("vol-bad"))
        .then_output(one_made);
    let bad = mock!(Client::create_snapshot)
        .match_requests(|request| request.volume_id() == Some("vol-bad"))
        .then_error(|| CreateSnapshotError::generic(error("UnauthorizedOperation", "not this")));
    let ec2 = mock_client!(
        aws_sdk_ec2,
        RuleMode::MatchAny,
        [&refused, &look, &made, &bad]
    );
    let whole = acted(&ec2, &create_set(&["vol-1", "vol-2"]), "run").await;
    assert_eq!(whole.effect, Some(started(&["vol-1", "vol-2"])));
    let ActResult::Done(Some(note)) = &whole.result else {
        panic!("{whole:?}");
    };
    assert!(
        note.contains("AWS refused the set") && note.contains("snap-1 of vol-2"),
        "{note}"
    );
    assert_eq!((look.num_calls(), made.num_calls()), (1, 2));

    // One of the members isn't allowed: the others are there, and it is told.
    let but_one = acted(&ec2, &create_set(&["vol-1", "vol-bad", "vol-2"]), "run").await;
    assert_eq!(but_one.effect, Some(started(&["vol-1", "vol-2"])));
    let ActResult::Failed(error) = &but_one.result else {
        panic!("{but_one:?}");
    };
    assert!(
        error.to_string().contains("not this") && error.message.contains("vol-bad failed"),
        "{error}"
    );
}

#[tokio::test]
async fn a_set_is_not_made_one_by_one_where_that_would_be_no_better() {
    for (code, message, skipped) in [
        ("RequestLimitExceeded", "", false),
        ("InternalError", "", false),
        ("SnapshotLimitExceeded", "", false),
        ("PendingSnapshotLimitExceeded", "", true),
        ("SnapshotCreationPerVolumeRateExceeded", "", true),
        ("IncorrectState", "", true),
        ("InvalidInstanceID.NotFound", "", true),
        (
            "InvalidParameterValue",
            "There are no attached EBS-backed volumes for instance i-1",
            true,
        ),
    ] {
        let rule = refused_set(code, message);
        let ec2 = mock_client!(aws_sdk_ec2, [&rule]);
        let acted = acted(&ec2, &create_set(&["vol-1", "vol-2"]), "r").await;
        match acted.result {
            ActResult::Skipped(why) => assert!(skipped && why.contains(code), "{code}: {why}"),
            ActResult::Failed(error) => assert!(!skipped && error.code == code, "{code}: {error}"),
            ActResult::Done(_) => panic!("{code}"),
        }
    }
}

#[tokio::test]
async fn what_somebody_has_made_meanwhile_is_not_made_again_one_by_one() {
    let refused = refused_set("InvalidParameterCombination", "one of them");
    let look = mock!(Client::describe_snapshots).then_output(|| {
        let slot = "1970-01-01T00:00:00+00:00";
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        let made = Snapshot::builder()
            .snapshot_id("snap-theirs")
            .volume_id("vol-1")
            .state(aws_sdk_ec2::types::SnapshotState::Pending)
            .start_time(aws_sdk_ec2::primitives::DateTime::from_secs(60))
            .description(format!(
                "ec2-guardrails snapshot-volumes: plan daily, slot {slot}, attempt 1: x"
            ))
            .tags(tag(tags::GUARDRAIL, "snapshot-volumes"))
            .tags(tag(tags::PLAN, "daily"))
            .tags(tag(tags::SLOT, slot))
            .tags(tag(tags::VOLUMES, "vol-1"))
            .build();
        DescribeSnapshotsOutput::builder().snapshots(made).build()
    });
    let made = mock!(Client::create_snapshot)
        .match_requests(|request| request.volume_id() == Some("vol-2"))
        .then_output(one_made);
    let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&refused, &look, &made]);
    let acted = acted(&ec2, &create_set(&["vol-1", "vol-2"]), "r").await;
    assert_eq!(acted.effect, Some(started(&["vol-2"])));
}

// ---- what is remembered of refused deletions -------------------------------------------------------

#[tokio::test]
async fn a_refused_deletion_is_remembered_and_told_once() {
    for (code, message, unmeant) in [
        ("InvalidSnapshot.InUse", "by ami-1", false),
        ("SnapshotLocked", "it is locked", false),
        ("UnauthorizedOperation", "with an explicit deny", true),
        // Whatever words AWS has for it.
        ("OperationNotPermitted", "you can't", true),
    ] {
        for known_refused in [false, true] {
            let rule = mock!(Client::delete_snapshot)
                .then_error(move || DeleteSnapshotError::generic(error(code, message)));
            let there = mock!(Client::describe_snapshots).then_output(|| {
                DescribeSnapshotsOutput::builder()
                    .snapshots(Snapshot::builder().snapshot_id("snap-1").build())
                    .build()
            });
            let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&rule, &there]);
            let table = Model::default();
            let acted = acted_with(&table, &ec2, &delete(known_refused), "run").await;
            let fails = matches!(acted.result, ActResult::Failed(_));
            assert_eq!(fails, unmeant && !known_refused, "{code}: {acted:?}");
            assert_eq!(
                matches!(acted.effect, Some(Effect::Refused(_))),
                unmeant,
                "{code}"
            );
            let now = Timestamp::now();
            let state = table.state(crate::NAME);
            let remembered = state.get(&REFUSED, "snap-1", now).await.unwrap().unwrap();
            assert_eq!(remembered.value.unmeant, unmeant);
            assert!(
                remembered.value.again > now + AGAIN_AFTER / 2,
                "{remembered:?}"
            );
        }
    }
}

/// Otherwise it would be tried again at each sweep, and nobody would know why.
#[tokio::test]
async fn a_refusal_that_cannot_be_remembered_fails() {
    let rule = mock!(Client::delete_snapshot)
        .then_error(|| DeleteSnapshotError::generic(error("SnapshotLocked", "locked")));
    let ec2 = mock_client!(aws_sdk_ec2, [&rule]);
    let table = Model::default();
    table.deny(Some("PutItem"));
    let acted = acted_with(&table, &ec2, &delete(false), "run").await;
    assert!(
        matches!(&acted.result, ActResult::Failed(error) if error.operation == "dynamodb:PutItem"),
        "{acted:?}"
    );
}
