use super::*;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::operation::associate_iam_instance_profile::AssociateIamInstanceProfileOutput;
use aws_sdk_ec2::operation::create_tags::CreateTagsOutput;
use aws_sdk_ec2::operation::describe_iam_instance_profile_associations::DescribeIamInstanceProfileAssociationsOutput;
use aws_sdk_ec2::operation::describe_instances::DescribeInstancesOutput;
use aws_sdk_ec2::types::{
    IamInstanceProfile, IamInstanceProfileAssociation, Instance, InstanceState, Reservation,
};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;

const OURS: &str = "arn:aws:iam::111122223333:instance-profile/ours";
const THEIRS: &str = "arn:aws:iam::111122223333:instance-profile/theirs";

fn refused(status: u16, code: &str, message: &str) -> HttpResponse {
    HttpResponse::new(
        StatusCode::try_from(status).unwrap(),
        SdkBody::from(format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>1</RequestID></Response>"
        )),
    )
}

fn tagged() -> Rule {
    mock!(Client::create_tags)
        .match_requests(|request| {
            request.resources() == ["i-1"]
                && request.tags().iter().any(|tag| {
                    tag.key() == Some("ec2-guardrails:managed-node")
                        && tag.value() == Some("attached 2026-11-21T12:00:00Z")
                })
        })
        .then_output(|| CreateTagsOutput::builder().build())
}

fn refuses(status: u16, code: &'static str, message: &'static str) -> Rule {
    mock!(Client::associate_iam_instance_profile)
        .then_http_response(move || refused(status, code, message))
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

async fn attach_with(rules: &[&Rule]) -> Acted {
    let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, rules);
    let at = "2026-11-21T12:00:00Z".parse().unwrap();
    attach(&ec2, "i-1", OURS, at).await
}

fn succeeds() -> Rule {
    mock!(Client::associate_iam_instance_profile)
        .match_requests(|request| {
            request.instance_id() == Some("i-1")
                && request.iam_instance_profile().and_then(|p| p.arn()) == Some(OURS)
        })
        .then_output(|| {
            AssociateIamInstanceProfileOutput::builder()
                .iam_instance_profile_association(
                    IamInstanceProfileAssociation::builder()
                        .association_id("iip-assoc-1")
                        .build(),
                )
                .build()
        })
}

#[tokio::test(start_paused = true)]
async fn tags_and_associates() {
    let (tag, associate) = (tagged(), succeeds());
    let acted = attach_with(&[&tag, &associate]).await;
    assert_eq!(acted, Acted::Done(Some("iip-assoc-1".to_owned())));
    assert_eq!((tag.num_calls(), associate.num_calls()), (1, 1));
}

/// Each error of SSM-2, with what is found when looking again: the same code, opposite meanings.
#[tokio::test(start_paused = true)]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
async fn each_refusal_is_told_apart() {
    type Now = (Option<&'static str>, InstanceStateName);
    let existing = "There is an existing association for instance i-1";
    let invalid = "Invalid IAM Instance Profile ARN";
    let no_state = "The instance 'i-1' is not in a valid state";
    let running = InstanceStateName::Running;
    let unseen = "IamInstanceProfileAssociation (iip-assoc-1) failed: { Code=InstanceIdentityProfileNotFound, Message=the instance profile doesn't exist }";
    let cases: [(u16, &str, &str, Now, &str); 14] = [
        (
            400,
            "IncorrectInstanceState",
            no_state,
            (None, InstanceStateName::Pending),
            "skipped: it is still pending",
        ),
        (
            400,
            "IncorrectInstanceState",
            no_state,
            (None, InstanceStateName::ShuttingDown),
            "skipped: it is being terminated",
        ),
        (
            400,
            "IncorrectInstanceState",
            no_state,
            (None, InstanceStateName::Stopping),
            "skipped: it is being stopped",
        ),
        (
            400,
            "IncorrectState",
            existing,
            (Some(OURS), running.clone()),
            "done: another run attached it",
        ),
        (
            400,
            "IncorrectState",
            existing,
            (Some(THEIRS), running.clone()),
            "skipped: somebody attached arn:aws:iam::111122223333:instance-profile/theirs",
        ),
        (
            400,
            "IncorrectState",
            existing,
            (None, running.clone()),
            "skipped: it has changed meanwhile",
        ),
        (
            400,
            "IncorrectState",
            invalid,
            (None, running.clone()),
            "failed: IncorrectState",
        ),
        (
            400,
            "IncorrectState",
            unseen,
            (None, running.clone()),
            "failed: IncorrectState",
        ),
        (
            400,
            "InvalidParameterValue",
            invalid,
            (None, running.clone()),
            "failed: InvalidParameterValue",
        ),
        (
            400,
            "InvalidParameterValue",
            "Value (x) is invalid",
            (None, running.clone()),
            "failed: InvalidParameterValue",
        ),
        (
            400,
            "InvalidInstanceID.NotFound",
            "no",
            (None, running.clone()),
            "skipped: gone meanwhile",
        ),
        // The role's condition refuses an instance that has got a profile (SSM-3).
        (
            403,
            "UnauthorizedOperation",
            "no",
            (Some(THEIRS), running.clone()),
            "skipped: somebody attached",
        ),
        (
            403,
            "UnauthorizedOperation",
            "no",
            (Some(OURS), running.clone()),
            "done: another run attached it",
        ),
        (
            403,
            "UnauthorizedOperation",
            "no",
            (None, running.clone()),
            "failed: UnauthorizedOperation",
        ),
    ];
    for (status, code, message, (has, is), expected) in cases {
        let rules = [
            tagged(),
            refuses(status, code, message),
            associations(has),
            state(is.clone()),
        ];
        let acted = attach_with(&rules.iter().collect::<Vec<_>>()).await;
        let found = match acted {
            Acted::Done(note) => format!("done: {}", note.unwrap_or_default()),
            Acted::Skipped(why) => format!("skipped: {why}"),
            Acted::Failed(error) => format!("failed: {}", error.code),
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
    let unseen = "Association failed: { Code=InstanceIdentityProfileNotFound, Message=no }";
    for (code, message) in [
        ("InvalidParameterValue", message),
        ("IncorrectState", unseen),
    ] {
        let never = refuses(400, code, message);
        let tag = tagged();
        let acted = attach_with(&[&tag, &never]).await;
        assert!(matches!(acted, Acted::Failed(_)), "{acted:?}");
        assert_eq!(never.num_calls(), 4, "{message}");
    }

    let tag = tagged();
    let soon = mock!(Client::associate_iam_instance_profile)
        .sequence()
        .http_response(move || refused(400, "InvalidParameterValue", message))
        .times(2)
        .output(|| AssociateIamInstanceProfileOutput::builder().build())
        .build();
    let acted = attach_with(&[&tag, &soon]).await;
    assert_eq!(acted, Acted::Done(None));
    assert_eq!(soon.num_calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn throttling_goes_back_to_the_runner() {
    let tag = tagged();
    let throttled = refuses(503, "RequestLimitExceeded", "slow down");
    let Acted::Failed(error) = attach_with(&[&tag, &throttled]).await else {
        panic!("throttled");
    };
    assert_eq!(error.kind, ErrorKind::Throttled);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_takes_no_tags_gets_its_profile_all_the_same() {
    let full = mock!(Client::create_tags)
        .then_http_response(|| refused(400, "TagLimitExceeded", "50 tags"));
    let associate = succeeds();
    let Acted::Done(Some(note)) = attach_with(&[&full, &associate]).await else {
        panic!("done");
    };
    assert!(note.contains("TagLimitExceeded"), "{note}");

    let gone = mock!(Client::create_tags)
        .then_http_response(|| refused(400, "InvalidInstanceID.NotFound", "no"));
    let associate = succeeds();
    let acted = attach_with(&[&gone, &associate]).await;
    assert_eq!(acted, Acted::Skipped("gone meanwhile".to_owned()));
    assert_eq!(associate.num_calls(), 0);
}

fn iam_refuses(status: u16, code: &'static str) -> Rule {
    mock!(aws_sdk_iam::Client::attach_role_policy).then_http_response(move || {
        HttpResponse::new(
            StatusCode::try_from(status).unwrap(),
            SdkBody::from(format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>says IAM</Message></Error><RequestId>1</RequestId></ErrorResponse>"
            )),
        )
    })
}

#[tokio::test(start_paused = true)]
async fn a_refused_repair_names_the_parameter_that_allows_it() {
    let denied = iam_refuses(403, "AccessDenied");
    let iam = mock_client!(aws_sdk_iam, [&denied]);
    let Acted::Failed(error) = repair(&iam, "web-role", "arn:p").await else {
        panic!("failed");
    };
    assert!(error.to_string().contains("RepairRoles"), "{error}");
    let gone = iam_refuses(404, "NoSuchEntity");
    let iam = mock_client!(aws_sdk_iam, [&gone]);
    let acted = repair(&iam, "web-role", "arn:p").await;
    assert_eq!(acted, Acted::Skipped("gone meanwhile".to_owned()));
}
