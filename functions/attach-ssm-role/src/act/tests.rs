use super::*;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::operation::associate_iam_instance_profile::AssociateIamInstanceProfileOutput;
use aws_sdk_ec2::operation::describe_iam_instance_profile_associations::DescribeIamInstanceProfileAssociationsOutput;
use aws_sdk_ec2::operation::describe_instances::DescribeInstancesOutput;
use aws_sdk_ec2::types::{
    IamInstanceProfile, IamInstanceProfileAssociation, Instance, InstanceState, InstanceStateName,
    Reservation,
};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use guardrails::state::model::{Fault, Model};
use serde_json::json;

use crate::fixtures::{
    OURS, THEIRS, at, attach as attachment, clients, ec2_error, iam_error, now, quarantine,
    remember as remembers,
};

fn refuses(status: u16, code: &'static str, message: &'static str) -> Rule {
    mock!(Client::associate_iam_instance_profile)
        .then_http_response(move || ec2_error(status, code, message))
}

fn associations(profile: Option<&'static str>) -> Rule {
    mock!(Client::describe_iam_instance_profile_associations).then_output(move || {
        let association = profile.map(|arn| {
            IamInstanceProfileAssociation::builder()
                .association_id("iip-assoc-1")
                .instance_id("i-1")
                .iam_instance_profile(IamInstanceProfile::builder().arn(arn).build())
                .build()
        });
        DescribeIamInstanceProfileAssociationsOutput::builder()
            .set_iam_instance_profile_associations(Some(association.into_iter().collect()))
            .build()
    })
}

fn state(state: InstanceStateName) -> Rule {
    mock!(Client::describe_instances).then_output(move || {
        let state = InstanceState::builder().name(state.clone()).build();
        let instance = Instance::builder().instance_id("i-1").state(state).build();
        DescribeInstancesOutput::builder()
            .reservations(Reservation::builder().instances(instance).build())
            .build()
    })
}

async fn attach_in(table: &Model, rules: &[&Rule]) -> ActResult {
    let clients = clients(table, rules, &[], &[]);
    act(&clients, &attachment("i-1")).await.result
}

async fn attach_with(rules: &[&Rule]) -> ActResult {
    attach_in(&Model::default(), rules).await
}

fn succeeds() -> Rule {
    mock!(Client::associate_iam_instance_profile)
        .match_requests(|request| {
            request.instance_id() == Some("i-1")
                && request.iam_instance_profile().and_then(|p| p.arn()) == Some(OURS)
        })
        .then_output(|| {
            let made = IamInstanceProfileAssociation::builder().association_id("iip-assoc-1");
            AssociateIamInstanceProfileOutput::builder()
                .iam_instance_profile_association(made.build())
                .build()
        })
}

#[tokio::test(start_paused = true)]
async fn remembers_looks_for_a_quarantine_and_associates() {
    let (table, associate) = (Model::default(), succeeds());
    let acted = attach_in(&table, &[&associate]).await;
    assert_eq!(acted, ActResult::Done(Some("iip-assoc-1".to_owned())));
    assert_eq!(associate.num_calls(), 1);
    let item = json!({"attached": "2026-11-21T12:00:00Z", "online": null, "connected": false});
    assert_eq!(table.items(crate::NAME), [("node#i-1".to_owned(), item)]);
    let calls = ["PutItem node#i-1", "GetItem quarantine#i-1"];
    assert_eq!(table.calls(), calls);
}

/// It is quarantined between the sweep's look and the association.
#[tokio::test(start_paused = true)]
async fn what_is_in_quarantine_by_now_gets_no_profile() {
    let (table, associate) = (Model::default(), succeeds());
    quarantine(&table, "i-1").await;
    let acted = attach_in(&table, &[&associate]).await;
    let why = "it is in quarantine meanwhile".to_owned();
    assert_eq!(acted, ActResult::Skipped(why));
    assert_eq!(associate.num_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn where_a_quarantine_cannot_be_looked_for_no_profile_is_given() {
    let (table, associate) = (Model::default(), succeeds());
    table.deny(Some("GetItem"));
    let ActResult::Failed(error) = attach_in(&table, &[&associate]).await else {
        panic!("failed");
    };
    assert_eq!(error.operation, "dynamodb:GetItem");
    assert_eq!(associate.num_calls(), 0);
}

async fn confirm_in(table: &Model, read: guardrails::state::Version) -> Acted<Effect> {
    let action = Action::Confirm {
        instance: "i-1".to_owned(),
        managed: Managed {
            attached: at("11:00:00"),
            online: Some(now()),
            connected: true,
        },
        launched: Some(at("08:00:00")),
        at: now(),
        read,
    };
    act(&clients(table, &[], &[], &[]), &action).await
}

#[tokio::test(start_paused = true)]
async fn the_time_to_online_runs_from_the_start_or_the_profile() {
    let table = Model::default();
    remembers(&table, "i-1", "11:00:00").await;
    let state = table.state(crate::NAME);
    let read = state.get(&NODES, "i-1", now()).await.unwrap().unwrap();
    let acted = confirm_in(&table, read.version.clone()).await;
    assert_eq!(acted.effect, Some(Effect::Online { after: 3_600 }));
    let item = json!({"attached": "2026-11-21T11:00:00Z", "online": "2026-11-21T12:00:00Z", "connected": true});
    assert_eq!(table.items(crate::NAME), [("node#i-1".to_owned(), item)]);
    // Of two runs that see it first, one says so.
    let acted = confirm_in(&table, read.version).await;
    assert!(matches!(acted.result, ActResult::Skipped(_)), "{acted:?}");
    assert_eq!(acted.effect, None);
}

/// Each error of SSM-2, with what is found when looking again: the same code, opposite meanings.
#[tokio::test(start_paused = true)]
async fn each_refusal_is_told_apart() {
    use InstanceStateName::{Pending, Running, ShuttingDown, Stopping};
    let (state, known, unknown) = (
        "IncorrectInstanceState",
        "IncorrectState",
        "InvalidParameterValue",
    );
    let existing = "There is an existing association for instance i-1";
    let invalid = "Invalid IAM Instance Profile ARN";
    let no_state = "The instance 'i-1' is not in a valid state";
    let unseen = "Value (x) for parameter iamInstanceProfile.name is invalid. IamInstanceProfile x has no associated IAM Roles";
    // The role's condition refuses an instance that has got a profile (SSM-3).
    let denied = "UnauthorizedOperation";
    for (code, message, has, is, expected) in rows! {
        state, no_state, None, Pending => "skipped: it is still pending";
        state, no_state, None, ShuttingDown => "skipped: it is being terminated";
        state, no_state, None, Stopping => "skipped: it is being stopped";
        known, existing, Some(OURS), Running => "done: another run attached it";
        known, existing, Some(THEIRS), Running => "skipped: somebody attached arn:aws:iam::111122223333:instance-profile/web";
        known, existing, None, Running => "skipped: it has changed meanwhile";
        known, invalid, None, Running => "failed: IncorrectState";
        known, unseen, None, Running => "failed: IncorrectState";
        unknown, invalid, None, Running => "failed: InvalidParameterValue";
        unknown, "Value (x) is invalid", None, Running => "failed: InvalidParameterValue";
        "InvalidInstanceID.NotFound", "no", None, Running => "skipped: gone meanwhile";
        denied, "no", Some(THEIRS), Running => "skipped: somebody attached";
        denied, "no", Some(OURS), Running => "done: another run attached it";
        denied, "no", None, Running => "failed: UnauthorizedOperation";
    } {
        let status = if code == denied { 403 } else { 400 };
        let rules = [
            refuses(status, code, message),
            associations(has),
            self::state(is.clone()),
        ];
        let acted = attach_with(&rules.iter().collect::<Vec<_>>()).await;
        let found = match acted {
            ActResult::Done(note) => format!("done: {}", note.unwrap_or_default()),
            ActResult::Skipped(why) => format!("skipped: {why}"),
            ActResult::Failed(error) => format!("failed: {}", error.code),
        };
        assert!(
            found.starts_with(expected),
            "{code} {message} {has:?} {is:?}: {found}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_profile_not_yet_visible_is_retried_within_bounds() {
    let message = "Value (arn) for parameter iamInstanceProfile.arn is invalid. Invalid IAM Instance Profile ARN";
    let unseen = "IamInstanceProfile x has no associated IAM Roles";
    for (code, message) in [
        ("InvalidParameterValue", message),
        ("IncorrectState", unseen),
    ] {
        let never = refuses(400, code, message);
        let acted = attach_with(&[&never]).await;
        assert!(matches!(acted, ActResult::Failed(_)), "{acted:?}");
        assert_eq!(never.num_calls(), 4, "{message}");
    }

    let soon = mock!(Client::associate_iam_instance_profile)
        .sequence()
        .http_response(move || ec2_error(400, "InvalidParameterValue", message))
        .times(2)
        .output(|| AssociateIamInstanceProfileOutput::builder().build())
        .build();
    let acted = attach_with(&[&soon]).await;
    assert_eq!(acted, ActResult::Done(None));
    assert_eq!(soon.num_calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn throttling_goes_back_to_the_runner() {
    let throttled = refuses(503, "RequestLimitExceeded", "slow down");
    let ActResult::Failed(error) = attach_with(&[&throttled]).await else {
        panic!("throttled");
    };
    assert_eq!(error.kind, ErrorKind::Throttled);
    // And so does that of the table, before anything is done.
    let (table, associate) = (Model::default(), succeeds());
    table.script(&[Fault::Throttled; 3]);
    let ActResult::Failed(error) = attach_in(&table, &[&associate]).await else {
        panic!("throttled");
    };
    let put = ("dynamodb:PutItem", ErrorKind::Throttled);
    assert_eq!((error.operation, error.kind), put);
    assert_eq!(associate.num_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_cannot_be_noted_gets_its_profile_all_the_same() {
    let (table, associate) = (Model::default(), succeeds());
    table.deny(Some("PutItem"));
    let ActResult::Done(Some(note)) = attach_in(&table, &[&associate]).await else {
        panic!("done");
    };
    assert!(
        note.contains("when wasn't noted: dynamodb:PutItem"),
        "{note}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_repair_names_the_parameter_that_allows_it() {
    let repaired = async |code| {
        let refused =
            mock!(aws_sdk_iam::Client::attach_role_policy).then_http_response(iam_error(code));
        let iam = mock_client!(aws_sdk_iam, RuleMode::MatchAny, [&refused]);
        repair(&iam, "web-role", "arn:p").await
    };
    let ActResult::Failed(error) = repaired("AccessDenied").await.result else {
        panic!("failed");
    };
    assert!(error.to_string().contains("RepairRoles"), "{error}");
    let gone = repaired("NoSuchEntity").await;
    assert_eq!(gone, Acted::skipped("gone meanwhile"));
}
