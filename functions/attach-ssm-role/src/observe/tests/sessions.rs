//! What is read of sessions, of one instance that a person asks about.

use super::*;
use crate::facts::sessions::{
    CHECK_BUCKET, DECRYPT, FIND_LOG_GROUP, FoundKey, Right, Sessions, WRITE_LOG, WRITE_OBJECT,
};
use crate::fixtures::{denied, facts, instance, role, trusted_by, with_profile};
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
    let (nodes, connected) = (online(&["i-1"]), connection("connected"));
    let (profile, needed) = (profile(), simulation(&NEEDED));
    let mut iam: Vec<&Rule> = vec![&profile];
    iam.extend(simulations);
    iam.push(&needed);
    // What else a diagnosis reads isn't what these tests are about.
    let console = mock!(Client::get_console_output).then_http_response(ec2_denied);
    let (one, others) = (one(), evidence_denied());
    let ec2: Vec<&Rule> = [&one, &console].into_iter().chain(&others).collect();
    let ssm = [&nodes, &connected, &document];
    let mut clients = clients_in(&Model::default(), &ec2, &ssm, &iam);
    let key = mock!(aws_sdk_kms::Client::describe_key)
        .match_requests(|request| request.key_id() == Some("alias/sessions"))
        .then_output(|| {
            let key = KeyMetadata::builder().key_id("k-1").arn(KEY);
            let key = key.key_state(KeyState::Disabled).build().unwrap();
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
            let other = LogGroup::builder().log_group_name("/sessions/old");
            DescribeLogGroupsOutput::builder()
                .log_groups(other.kms_key_id(KEY).build())
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
    let simulations = rows! {
        DECRYPT, KEY => true;
        FIND_LOG_GROUP, "arn:aws:logs:us-east-1:111122223333:log-group::log-stream:" => false;
        WRITE_LOG[0], "arn:aws:logs:us-east-1:111122223333:log-group:/sessions:log-stream:session" => false;
        WRITE_OBJECT, "arn:aws:s3:::session-logs/shell/session.log" => false;
        CHECK_BUCKET, "arn:aws:s3:::session-logs" => false;
    };
    let simulations = simulations.map(|(action, resource, denied)| says(action, resource, denied));
    let (sessions, calls) = read(everything, &simulations).await;
    let sessions = sessions.unwrap();
    assert_eq!(calls, 3, "the key, and two pages of log groups");
    let (arn, state) = (KEY.to_owned(), "Disabled".to_owned());
    let key = sessions.key.unwrap().found;
    assert_eq!(key, Ok(Some(FoundKey { arn, state })));
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
    let named = |role: &str| Some(Ok(format!("arn:aws:iam::111122223333:role/{role}")));
    let (own, host) = (|| named("web-role"), || named("service-role/Hosts"));
    let of = |facts: &Facts| role_of(facts, &facts.instances["i-1"], "aws", "111122223333");
    let with = |missing: &[&str]| facts([with_profile("i-1", OURS)]).role(OURS, role(missing));
    let hosted = |mut facts: Facts| {
        facts.dhmc = Ok(Some("service-role/Hosts".to_owned()));
        facts
    };
    let distrusted = trusted_by(&TRUST.replace("ec2.", "lambda."), &[]);
    let mut remade = with(&[]);
    remade.remade.insert("i-1".to_owned());
    for (what, facts, expected) in rows! {
        "its own", with(&[]) => own();
        "it keeps the other out", hosted(with(&CHANNELS)) => own();
        "it may not register", hosted(with(&NEEDED)) => host();
        "EC2 may not take it", hosted(with(&[]).role(OURS, distrusted)) => host();
        "no profile", hosted(facts([instance("i-1")])) => host();
        "another one of its profile's name", hosted(remade.clone()) => host();
        "Online by it, whatever was simulated", with(&NEEDED) => own();
        "none", facts([instance("i-1")]) => None;
        "none but another's", remade => None;
    } {
        assert_eq!(of(&facts), expected, "{what}");
    }
    let mut unread = with(&NEEDED);
    unread.dhmc = Err(denied("ssm:GetServiceSetting"));
    assert!(matches!(of(&unread), Some(Err(_))));
    unread.identities = BTreeMap::from([(OURS.to_owned(), Err(denied("iam:GetInstanceProfile")))]);
    assert!(matches!(of(&unread), Some(Err(_))));
}
