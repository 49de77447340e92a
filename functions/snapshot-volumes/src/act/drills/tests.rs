use super::*;
use crate::act::act;
use crate::act::tests::error;
use crate::action::Action;
use crate::decide::drills::tests::{backed_up, drills, made, proven, remember, restore};
use crate::evaluate::evaluate;
use crate::facts::drills::Remembered;
use aws_sdk_ec2::operation::create_volume::{CreateVolumeError, CreateVolumeOutput};
use aws_sdk_ec2::operation::delete_volume::{DeleteVolumeError, DeleteVolumeOutput};
use aws_sdk_ec2::operation::describe_availability_zones::DescribeAvailabilityZonesOutput;
use aws_sdk_ec2::operation::describe_volume_status::DescribeVolumeStatusOutput;
use aws_sdk_ec2::operation::describe_volumes::DescribeVolumesOutput;
use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::{
    AvailabilityZone, Volume, VolumeAttachment, VolumeState, VolumeStatusInfo, VolumeStatusItem,
};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use guardrails::guardrail::ActResult;
use guardrails::state::model::Model;

const KEY: &str = "weekly/eu-central-1/vol-1";

fn drilling(record: Option<Record>, step: Step) -> Action {
    let remembered = record.map(|value| Remembered {
        name: KEY.to_owned(),
        value,
        expect: Expect::Any,
    });
    Action::Drill(Box::new(Drilling {
        key: KEY.to_owned(),
        region: "eu-central-1".to_owned(),
        remembered,
        step,
    }))
}

fn under_way(restore: Restore, step: Step) -> Action {
    let record = Record {
        under_way: Some(UnderWay::Volume(restore)),
        ..Record::default()
    };
    drilling(Some(record), step)
}

fn make() -> Step {
    Step::Make {
        snapshot: "snap-1".to_owned(),
        slot: Timestamp::UNIX_EPOCH,
        not_in: Some("eu-central-1a".to_owned()),
        of: "vol-1".to_owned(),
    }
}

fn zones() -> Rule {
    mock!(Client::describe_availability_zones).then_output(|| {
        let zones = ["eu-central-1a", "eu-central-1b"];
        let zones = zones.map(|name| AvailabilityZone::builder().zone_name(name).build());
        DescribeAvailabilityZonesOutput::builder()
            .set_availability_zones(Some(zones.to_vec()))
            .build()
    })
}

fn created() -> Rule {
    mock!(Client::create_volume)
        .match_requests(|request| {
            let tags = request.tag_specifications()[0].tags();
            let drill = tags.iter().find(|tag| tag.key() == Some(tags::DRILL));
            request.availability_zone() == Some("eu-central-1b")
                && request.snapshot_id() == Some("snap-1")
                && request
                    .client_token()
                    .is_some_and(|token| token.starts_with("drill-"))
                && drill.and_then(|tag| tag.value()) == request.client_token()
                && request.volume_type() == Some(&VolumeType::Gp3)
        })
        .then_output(|| CreateVolumeOutput::builder().volume_id("vol-9").build())
}

fn not_created(code: &'static str) -> Rule {
    mock!(Client::create_volume)
        .then_error(move || CreateVolumeError::generic(error(code, "says AWS")))
}

fn described(attached: bool, snapshot: &'static str) -> Rule {
    mock!(Client::describe_volumes).then_output(move || {
        let attachment = VolumeAttachment::builder().instance_id("i-1").build();
        let volume = Volume::builder()
            .volume_id("vol-9")
            .snapshot_id(snapshot)
            .state(VolumeState::Available)
            .create_time(DateTime::from_secs(made("available").created.as_second()))
            .tags(Tag::builder().key(tags::DRILL).value("drill-1").build())
            .set_attachments(attached.then(|| vec![attachment]))
            .build();
        DescribeVolumesOutput::builder().volumes(volume).build()
    })
}

fn told(status: VolumeStatusInfoStatus) -> Rule {
    mock!(Client::describe_volume_status).then_output(move || {
        let info = VolumeStatusInfo::builder().status(status.clone()).build();
        let item = VolumeStatusItem::builder()
            .volume_id("vol-9")
            .volume_status(info);
        DescribeVolumeStatusOutput::builder()
            .volume_statuses(item.build())
            .build()
    })
}

fn deleted() -> Rule {
    mock!(Client::delete_volume)
        .match_requests(|request| request.volume_id() == Some("vol-9"))
        .then_output(|| DeleteVolumeOutput::builder().build())
}

fn not_deleted(code: &'static str) -> Rule {
    mock!(Client::delete_volume)
        .then_error(move || DeleteVolumeError::generic(error(code, "says AWS")))
}

async fn acted(model: &Model, rules: &[&Rule], action: &Action) -> Acted<Effect> {
    let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, rules);
    let regions = Regions::of(&ec2, &[], &[]);
    act(&regions, &model.state(crate::NAME), action, "run").await
}

fn record(acted: &Acted<Effect>) -> &Record {
    match &acted.effect {
        Some(Effect::Drilled(record)) => record,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_volume_is_written_down_before_it_is_asked_for_in_another_zone() {
    let (model, rule) = (Model::default(), created());
    let first = acted(&model, &[&zones(), &rule], &drilling(None, make())).await;
    let restore = record(&first).restore().unwrap();
    assert_eq!(restore.volume.as_deref(), Some("vol-9"));
    let put = format!("PutItem proof#{KEY}");
    assert_eq!(model.calls(), [put.clone(), put]);
    // Who rests on the same look comes too late.
    let second = acted(&model, &[&zones(), &rule], &drilling(None, make())).await;
    assert!(matches!(second.result, ActResult::Skipped(_)), "{second:?}");
    assert_eq!(rule.num_calls(), 1);
}

#[tokio::test]
async fn each_answer_to_a_creation_is_taken_for_what_it_is() {
    // Whether the run fails, and whether it stays written down that a volume may be there.
    for (code, fails, stays) in [
        ("UnauthorizedOperation", true, false),
        ("VolumeLimitExceeded", true, false),
        ("InternalError", true, true),
        ("RequestLimitExceeded", false, true),
        // Asked twice by the SDK: the first request has made one.
        (MISMATCH, true, true),
    ] {
        let rules = [&zones(), &not_created(code)];
        let acted = acted(&Model::default(), &rules, &drilling(None, make())).await;
        assert_eq!(
            matches!(acted.result, ActResult::Failed(_)),
            fails,
            "{code}: {acted:?}"
        );
        let record = record(&acted);
        assert_eq!(record.under_way.is_some(), stays, "{code}");
        assert_eq!(record.untried.is_some(), !stays, "{code}");
    }
    // Asked once more, nothing that AWS refuses says that nothing was made before.
    for code in ["UnauthorizedOperation", MISMATCH] {
        let nameless = Restore {
            volume: None,
            ..restore()
        };
        let step = Step::Ask {
            of: "vol-1".to_owned(),
        };
        let ask = under_way(nameless, step);
        let acted = acted(&Model::default(), &[&not_created(code)], &ask).await;
        assert_eq!(acted.effect, None, "{code}");
    }
}

#[tokio::test]
async fn a_volume_that_is_ready_is_looked_at_and_deleted() {
    let check = under_way(restore(), Step::Check(made("available")));
    for (status, expected) in [
        (VolumeStatusInfoStatus::Ok, "proven"),
        (VolumeStatusInfoStatus::Impaired, "failed"),
        // Not told isn't ok, and not wrong either.
        (VolumeStatusInfoStatus::InsufficientData, ""),
    ] {
        let delete = deleted();
        let rules = [&described(false, "snap-1"), &told(status), &delete];
        let acted = acted(&Model::default(), &rules, &check).await;
        let outcome = match record(&acted).restore().unwrap().outcome {
            Some(Outcome::Proven) => "proven",
            Some(Outcome::Failed(_)) => "failed",
            _ => "",
        };
        assert_eq!(outcome, expected);
        assert_eq!(delete.num_calls(), usize::from(!expected.is_empty()));
    }
}

/// Who has a proof counts from it.
#[tokio::test]
async fn since_when_a_first_proof_is_asked_for_is_written_down_once() {
    let model = Model::default();
    let state = model.state(crate::NAME);
    let policy = drills("");
    let mut facts = backed_up(&["vol-1", "vol-2"]);
    remember(&mut facts, "eu-central-1", "vol-1", proven(3));
    let first: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
    let later: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
    for now in [first, later] {
        let evaluation = evaluate(&facts, &policy, now);
        begin(&state, &evaluation).await.unwrap();
    }
    let since = serde_json::json!("2026-11-21T10:00:00Z");
    let expected = ["drill#weekly", "drill#weekly/eu-central-1/vol-2"];
    let expected = expected.map(|item| (item.to_owned(), since.clone()));
    assert_eq!(model.items(crate::NAME), expected);
}

/// The look that decided is some seconds old.
#[tokio::test]
async fn what_has_changed_since_is_not_deleted() {
    let close = under_way(restore(), Step::Close(made("available"), Outcome::Proven));
    for rule in [described(true, "snap-1"), described(false, "snap-2")] {
        let delete = deleted();
        let acted = acted(&Model::default(), &[&rule, &delete], &close).await;
        assert!(matches!(acted.result, ActResult::Skipped(_)), "{acted:?}");
        assert_eq!(delete.num_calls(), 0);
    }
}

#[tokio::test]
async fn a_deletion_that_aws_refuses_fails_a_run_once_and_is_remembered() {
    let denied = not_deleted("UnauthorizedOperation");
    let rules = [&described(false, "snap-1"), &denied];
    let close = |restore| under_way(restore, Step::Close(made("available"), Outcome::Proven));
    let first = acted(&Model::default(), &rules, &close(restore())).await;
    assert!(matches!(first.result, ActResult::Failed(_)), "{first:?}");
    let again = record(&first).restore().unwrap().clone();
    let second = acted(&Model::default(), &rules, &close(again)).await;
    assert!(matches!(second.result, ActResult::Skipped(_)), "{second:?}");
}
