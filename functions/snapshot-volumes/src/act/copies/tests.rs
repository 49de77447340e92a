use super::*;
use crate::act::act;
use crate::act::tests::error;
use crate::action::Action;
use crate::decide::copies::tests::asked;
use aws_sdk_ec2::operation::copy_snapshot::{CopySnapshotError, CopySnapshotOutput};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use guardrails::guardrail::ActResult;
use guardrails::state::model::{Fault, Model};

fn made() -> Rule {
    mock!(Client::copy_snapshot)
        .match_requests(|request| {
            request.source_region() == Some("eu-central-1")
                && request.destination_region() == Some("us-east-1")
                && request.source_snapshot_id() == Some("snap-1")
                && request.encrypted() == Some(true)
                && request.kms_key_id() == Some("alias/backup")
                && request.description() == Some("d")
                && request.tag_specifications()[0].tags()[0].key() == Some("a")
        })
        .then_output(|| CopySnapshotOutput::builder().snapshot_id("snap-9").build())
}

fn refused(code: &'static str) -> Rule {
    mock!(Client::copy_snapshot)
        .then_error(move || CopySnapshotError::generic(error(code, "says AWS")))
}

async fn acted(model: &Model, rule: &Rule) -> Acted<Effect> {
    let here = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [rule]);
    let there = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [rule]);
    let regions = Regions::of(&here, &[("us-east-1", &there)], &[]);
    let action = Action::Copy(asked());
    act(&regions, &model.state(crate::NAME), &action, "run").await
}

#[tokio::test]
async fn a_copy_is_asked_for_once_whatever_anybody_sees() {
    let model = Model::default();
    let rule = made();
    let first = acted(&model, &rule).await;
    let made = Acted::done(Some("snap-9".to_owned()));
    assert_eq!(first, made.with(Effect::Copied));
    let second = acted(&model, &rule).await;
    assert!(matches!(second.result, ActResult::Skipped(_)), "{second:?}");
    assert_eq!(rule.num_calls(), 1);
}

#[tokio::test]
async fn each_answer_is_taken_for_what_it_is() {
    // Whether it fails, and whether the same try may be sent again at once.
    for (code, fails, again) in [
        ("ResourceLimitExceeded", false, true),
        ("IncorrectState", false, true),
        ("InvalidSnapshot.NotFound", false, true),
        ("RequestLimitExceeded", true, true),
        ("UnauthorizedOperation", true, false),
        ("InvalidParameterValue", true, false),
        ("InternalError", true, false),
    ] {
        let model = Model::default();
        let acted_first = acted(&model, &refused(code)).await;
        assert_eq!(
            matches!(acted_first.result, ActResult::Failed(_)),
            fails,
            "{code}: {acted_first:?}"
        );
        let rule = made();
        acted(&model, &rule).await;
        assert_eq!(rule.num_calls(), usize::from(again), "{code}");
    }
}

#[tokio::test]
async fn a_refusal_is_remembered_with_its_reason() {
    let model = Model::default();
    acted(&model, &refused("UnauthorizedOperation")).await;
    let state = model.state(crate::NAME);
    let tries = state.list(&TRIES, Timestamp::now()).await.unwrap();
    assert_eq!(tries[0].name, "us-east-1/snap-1/1");
    let said = tries[0].value.refused.as_deref().unwrap_or_default();
    assert!(said.contains("says AWS"), "{said}");
}

#[tokio::test]
async fn what_can_not_be_written_down_is_not_sent() {
    let model = Model::default();
    model.script(&[Fault::Denied]);
    let rule = made();
    let acted = acted(&model, &rule).await;
    assert!(matches!(acted.result, ActResult::Failed(_)));
    assert_eq!(rule.num_calls(), 0);
}

#[tokio::test]
async fn an_answer_without_an_id_is_unknown() {
    let rule = mock!(Client::copy_snapshot).then_output(|| CopySnapshotOutput::builder().build());
    match acted(&Model::default(), &rule).await.result {
        ActResult::Failed(error) => assert_eq!(error.kind, ErrorKind::Unknown),
        other => panic!("{other:?}"),
    }
}
