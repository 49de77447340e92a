use super::*;
use crate::action::Member;
use aws_sdk_ec2::operation::create_snapshot::{CreateSnapshotError, CreateSnapshotOutput};
use aws_sdk_ec2::operation::create_snapshots::CreateSnapshotsOutput;
use aws_sdk_ec2::operation::delete_snapshot::{DeleteSnapshotError, DeleteSnapshotOutput};
use aws_sdk_ec2::operation::describe_snapshots::DescribeSnapshotsOutput;
use aws_sdk_ec2::types::{Snapshot, SnapshotInfo};
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use guardrails::guardrail::ActResult;
use jiff::Timestamp;

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

fn error(code: &str, message: &str) -> aws_sdk_ec2::error::ErrorMetadata {
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
        .then_output(|| {
            CreateSnapshotOutput::builder()
                .snapshot_id("snap-1")
                .build()
        });
    let ec2 = mock_client!(aws_sdk_ec2, [&rule]);
    let acted = act(&ec2, &create(Target::Volume, &["vol-1"]), "run").await;
    assert_eq!(
        acted,
        Acted::done(Some("snap-1".to_owned())).with(Effect::Started(vec!["vol-1".to_owned()]))
    );
}

#[tokio::test]
async fn a_set_leaves_out_what_is_not_meant_and_deletes_what_came_in_between() {
    let made = |snapshot: &str, volume: &str| {
        SnapshotInfo::builder()
            .snapshot_id(snapshot)
            .volume_id(volume)
            .build()
    };
    let (wanted, uninvited) = (made("snap-1", "vol-1"), made("snap-2", "vol-new"));
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
    };
    let acted = act(&ec2, &create(target, &["vol-1"]), "4f5e-77").await;
    assert_eq!(
        acted,
        Acted::done(Some(
            "snap-1 of vol-1, snap-2 of vol-new, attached meanwhile: deleted again".to_owned()
        ))
        .with(Effect::Started(vec!["vol-1".to_owned()]))
    );
    assert_eq!(delete.num_calls(), 1);
}

#[tokio::test]
async fn each_refusal_of_a_creation_is_told_apart() {
    for (code, skipped) in [
        ("SnapshotCreationPerVolumeRateExceeded", true),
        ("ConcurrentSnapshotLimitExceeded", true),
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
        let acted = act(&ec2, &create(Target::Volume, &["vol-1"]), "run").await;
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
    let delete = Action::Delete(Delete {
        snapshot: "snap-1".to_owned(),
        keeper: None,
    });
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
        let acted = act(&ec2, &delete, "run").await;
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
    let delete = Action::Delete(Delete {
        snapshot: "snap-1".to_owned(),
        keeper: None,
    });
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
        let acted = act(&ec2, &delete, "run").await;
        assert_eq!(acted.effect == Some(Effect::Deleted), gone, "{acted:?}");
    }
}
