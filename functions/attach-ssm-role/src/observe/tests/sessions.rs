//! What is read of sessions, of one instance that a person asks about.

use super::*;
use crate::facts::sessions::{
    CHECK_BUCKET, DECRYPT, FIND_LOG_GROUP, FoundKey, Right, Sessions, WRITE_LOG, WRITE_OBJECT,
};
use crate::fixtures::{denied, facts, instance, role, with_profile};
use crate::observe::sessions::role_of;
use aws_sdk_cloudwatchlogs::operation::describe_log_groups::DescribeLogGroupsOutput;
use aws_sdk_cloudwatchlogs::types::LogGroup;
use aws_sdk_kms::operation::describe_key::DescribeKeyOutput;
use aws_sdk_kms::types::{KeyMetadata, KeyState};
use aws_sdk_ssm::operation::get_document::GetDocumentOutput;

const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/k-1";

fn document(inputs: &'static str) -> Rule {
    mock!(aws_sdk_ssm::Client::get_document)
        .match_requests(|request| request.name() == Some("SSM-SessionManagerRunShell"))
        .then_output(move || {
            let content = format!(
                r#"{{"schemaVersion":"1.0","description":"","sessionType":"Standard_Stream","inputs":{inputs}}}"#
            );
            GetDocumentOutput::builder().content(content).build()
        })
}

fn json_error(code: &'static str) -> impl Fn() -> HttpResponse + Send + Sync + 'static {
    move || {
        HttpResponse::new(
            StatusCode::try_from(400).unwrap(),
            SdkBody::from(format!(r#"{{"__type":"{code}","message":"no"}}"#)),
        )
    }
}

/// What the simulation of one action on one resource says.
fn says(action: &'static str, resource: &'static str, denied: bool) -> Rule {
    mock!(aws_sdk_iam::Client::simulate_principal_policy)
        .match_requests(move |request| {
            request.action_names().first().map(String::as_str) == Some(action)
                && request.resource_arns() == [resource]
        })
        .then_output(move || {
            let decision = if denied {
                PolicyEvaluationDecisionType::ExplicitDeny
            } else {
                PolicyEvaluationDecisionType::Allowed
            };
            let of = |action: &str| {
                EvaluationResult::builder()
                    .eval_action_name(action)
                    .eval_decision(decision.clone())
                    .build()
                    .unwrap()
            };
            // Of what is asked for together, the second one is left out.
            SimulatePrincipalPolicyOutput::builder()
                .evaluation_results(of(action))
                .build()
        })
}

/// The sessions of an Online node with these preferences, and how often keys and log groups were
/// asked for.
async fn read(document: Rule, simulations: &[Rule]) -> (Read<Sessions>, usize) {
    let one =
        mock!(Client::describe_instances).then_output(|| page(vec![ec2_instance("i-1")], None));
    let nodes = mock!(aws_sdk_ssm::Client::describe_instance_information)
        .then_output(|| nodes_page(vec!["i-1".to_owned()], None));
    let connected = connection("connected");
    let (profile, needed) = (profile(), simulation(&NEEDED));
    let mut iam: Vec<&Rule> = vec![&profile];
    iam.extend(simulations);
    iam.push(&needed);
    // What else a diagnosis reads isn't what these tests are about.
    let others = [
        mock!(Client::describe_instance_status).then_http_response(ec2_denied),
        mock!(Client::describe_images).then_http_response(ec2_denied),
        mock!(Client::get_console_output).then_http_response(ec2_denied),
        mock!(Client::describe_vpc_endpoints).then_http_response(ec2_denied),
    ];
    let ec2: Vec<&Rule> = [&one].into_iter().chain(&others).collect();
    let mut clients = clients(&ec2, &[&nodes, &connected, &document], &iam);
    let key = mock!(aws_sdk_kms::Client::describe_key)
        .match_requests(|request| request.key_id() == Some("alias/sessions"))
        .then_output(|| {
            let key = KeyMetadata::builder()
                .key_id("k-1")
                .arn(KEY)
                .key_state(KeyState::Disabled)
                .build()
                .unwrap();
            DescribeKeyOutput::builder().key_metadata(key).build()
        });
    let gone = mock!(aws_sdk_kms::Client::describe_key)
        .match_requests(|request| request.key_id() == Some("gone"))
        .then_http_response(json_error("NotFoundException"));
    let silent = mock!(aws_sdk_kms::Client::describe_key)
        .match_requests(|request| request.key_id() == Some("silent"))
        .then_output(|| DescribeKeyOutput::builder().build());
    let secret = mock!(aws_sdk_kms::Client::describe_key)
        .match_requests(|request| request.key_id().is_some_and(|id| id.ends_with("secret")))
        .then_http_response(json_error("AccessDeniedException"));
    // A longer name on the first page.
    let groups = mock!(aws_sdk_cloudwatchlogs::Client::describe_log_groups)
        .match_requests(|request| request.log_group_name_prefix() == Some("/sessions"))
        .sequence()
        .output(|| {
            let other = LogGroup::builder()
                .log_group_name("/sessions/old")
                .kms_key_id(KEY);
            DescribeLogGroupsOutput::builder()
                .log_groups(other.build())
                .next_token("more")
                .build()
        })
        .output(|| {
            DescribeLogGroupsOutput::builder()
                .log_groups(LogGroup::builder().log_group_name("/sessions").build())
                .build()
        })
        .build();
    clients.kms = mock_client!(
        aws_sdk_kms,
        RuleMode::MatchAny,
        [&key, &gone, &silent, &secret]
    );
    clients.logs = mock_client!(aws_sdk_cloudwatchlogs, RuleMode::MatchAny, [&groups]);
    let mut request = Request::asking(Scope::one(Resource::instance("i-1")));
    request.ask = Ask::Diagnose;
    let facts = observe(&clients, OURS, &default_policy(), &request, now()).await;
    let calls = key.num_calls() + gone.num_calls() + secret.num_calls() + groups.num_calls();
    (facts.unwrap().sessions.unwrap(), calls)
}

#[tokio::test]
async fn all_that_the_preferences_ask_for_is_read_once() {
    let everything = document(
        r#"{"kmsKeyId":"alias/sessions","s3BucketName":"session-logs","s3KeyPrefix":"shell/","s3EncryptionEnabled":true,
            "cloudWatchLogGroupName":"/sessions","cloudWatchEncryptionEnabled":"true","cloudWatchStreamingEnabled":true,
            "idleSessionTimeout":"20","runAsEnabled":true,"runAsDefaultUser":"","shellProfile":{"linux":"bash"}}"#,
    );
    let simulations = [
        says(DECRYPT, KEY, true),
        says(
            FIND_LOG_GROUP,
            "arn:aws:logs:us-east-1:111122223333:log-group::log-stream:",
            false,
        ),
        says(
            WRITE_LOG[0],
            "arn:aws:logs:us-east-1:111122223333:log-group:/sessions:log-stream:session",
            false,
        ),
        says(
            WRITE_OBJECT,
            "arn:aws:s3:::session-logs/shell/session.log",
            false,
        ),
        says(CHECK_BUCKET, "arn:aws:s3:::session-logs", false),
    ];
    let (sessions, calls) = read(everything, &simulations).await;
    let sessions = sessions.unwrap();
    assert_eq!(calls, 3, "the key, and two pages of log groups");
    assert_eq!(
        sessions.key.unwrap().found,
        Ok(Some(FoundKey {
            arn: KEY.to_owned(),
            state: "Disabled".to_owned()
        }))
    );
    let group = sessions.log_group.unwrap();
    assert_eq!(
        (group.must_be_encrypted, group.encrypted),
        (true, Ok(Some(false)))
    );
    assert!(sessions.bucket.unwrap().must_be_encrypted && sessions.run_as_by_tag);
    let rights = sessions.rights.unwrap().unwrap();
    assert_eq!(rights.role, "arn:aws:iam::111122223333:role/ssm-role");
    assert_eq!(rights.of[DECRYPT], Right::Denied);
    let no_answer = Right::Unclear("no answer".to_owned());
    assert_eq!(rights.of[WRITE_LOG[1]], no_answer);
    let allowed = rights.of.values().filter(|right| **right == Right::Allowed);
    assert_eq!(allowed.count(), 4);
    assert!(simulations.iter().all(|rule| rule.num_calls() == 1));
}

/// Where nobody set preferences there is no document, which is AWS's own no; one that isn't allowed
/// to be read, or understood, tells nothing.
#[tokio::test]
async fn no_document_is_a_no_and_one_that_cannot_be_read_is_none() {
    let none =
        mock!(aws_sdk_ssm::Client::get_document).then_http_response(json_error("InvalidDocument"));
    assert_eq!(read(none, &[]).await, (Ok(Sessions::default()), 0));
    let empty = document(
        r#"{"kmsKeyId":"","s3BucketName":"","cloudWatchLogGroupName":"","runAsEnabled":false,"s3EncryptionEnabled":true}"#,
    );
    assert_eq!(read(empty, &[]).await, (Ok(Sessions::default()), 0));
    let denied = mock!(aws_sdk_ssm::Client::get_document)
        .then_http_response(json_error("AccessDeniedException"));
    let (unread, _) = read(denied, &[]).await;
    assert_eq!(unread.unwrap_err().kind, ErrorKind::Denied);
    let (unread, _) = read(document(r#""none""#), &[]).await;
    assert_eq!(unread.unwrap_err().code, "UnreadableDocument");
}

/// Of a key that can't be looked at only an id or ARN says what IAM is to be asked about.
#[tokio::test]
async fn a_key_is_gone_by_its_own_word_only() {
    let (sessions, _) = read(document(r#"{"kmsKeyId":"gone"}"#), &[]).await;
    let sessions = sessions.unwrap();
    assert_eq!(
        (sessions.key.unwrap().found, sessions.rights),
        (Ok(None), None)
    );
    let arn = "arn:aws:kms:us-east-1:111122223333:key/secret";
    let allowed = says(
        DECRYPT,
        "arn:aws:kms:us-east-1:111122223333:key/silent",
        false,
    );
    let (sessions, _) = read(document(r#"{"kmsKeyId":"silent"}"#), &[allowed]).await;
    let found = sessions.unwrap().key.unwrap().found;
    assert_eq!(found.unwrap_err().code, "UnreadableAnswer");
    for (asked, simulated) in [("secret", true), ("alias/secret", false)] {
        let name = Box::leak(format!(r#"{{"kmsKeyId":"{asked}"}}"#).into_boxed_str());
        let (sessions, _) = read(document(name), &[says(DECRYPT, arn, false)]).await;
        let sessions = sessions.unwrap();
        assert!(sessions.key.unwrap().found.is_err(), "{asked}");
        assert_eq!(sessions.rights.is_some(), simulated, "{asked}");
    }
}

/// Default Host Management carries who has no profile, or one that may not register (SSM-4).
#[test]
fn the_agents_role_is_the_one_that_registers() {
    let own = || Some(Ok("arn:aws:iam::111122223333:role/web-role".to_owned()));
    let host = || {
        Some(Ok(
            "arn:aws:iam::111122223333:role/service-role/Hosts".to_owned()
        ))
    };
    let of = |facts: &Facts| role_of(facts, &facts.instances["i-1"], "aws", "111122223333");
    let with = |missing: &[&str]| facts([with_profile("i-1", OURS)]).role(OURS, role(missing));
    let hosted = |mut facts: Facts| {
        facts.dhmc = Ok(Some("service-role/Hosts".to_owned()));
        facts
    };
    assert_eq!(of(&with(&[])), own());
    assert_eq!(
        of(&hosted(with(&CHANNELS))),
        own(),
        "it keeps the other out"
    );
    assert_eq!(of(&hosted(with(&NEEDED))), host());
    assert_eq!(of(&hosted(facts([instance("i-1")]))), host());
    assert_eq!(
        of(&with(&NEEDED)),
        own(),
        "it is Online by it, whatever was simulated"
    );
    assert_eq!(of(&facts([instance("i-1")])), None);
    let mut unread = with(&NEEDED);
    unread.dhmc = Err(denied("ssm:GetServiceSetting"));
    assert!(matches!(of(&unread), Some(Err(_))));
    unread.identities = BTreeMap::from([(OURS.to_owned(), Err(denied("iam:GetInstanceProfile")))]);
    assert!(matches!(of(&unread), Some(Err(_))));
}
