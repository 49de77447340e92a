use super::*;
use crate::approval::verdict;
use crate::evaluate::evaluate;
use crate::facts::{ISOLATION_GROUP, Known};
use crate::fixtures::{BAD, GOOD, at, instance, now, policy, record, release, unseen};
use crate::policy::tests::parse;
use crate::record::{Released, Seen, Service};
use aws_sdk_autoscaling::operation::describe_auto_scaling_groups::DescribeAutoScalingGroupsOutput;
use aws_sdk_ec2::operation::describe_images::DescribeImagesOutput;
use aws_sdk_ec2::operation::describe_instance_image_metadata::DescribeInstanceImageMetadataOutput;
use aws_sdk_ec2::operation::describe_instances::DescribeInstancesOutput;
use aws_sdk_ec2::operation::describe_security_groups::DescribeSecurityGroupsOutput;
use aws_sdk_ec2::operation::get_image_ancestry::GetImageAncestryOutput;
use aws_sdk_ec2::types as ec2;
use aws_sdk_iam::operation::get_instance_profile::GetInstanceProfileOutput;
use aws_sdk_ssm::operation::get_parameter_history::GetParameterHistoryOutput;
use aws_sdk_ssm::operation::get_parameters::GetParametersOutput;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use guardrails::state::Expect;
use guardrails::state::model::Model;
use guardrails::trigger::Order;

fn found(id: &str, image: &str) -> ec2::Instance {
    let launched = now().as_second() - 60;
    ec2::Instance::builder()
        .instance_id(id)
        .image_id(image)
        .state(
            ec2::InstanceState::builder()
                .name(ec2::InstanceStateName::Pending)
                .build(),
        )
        // The last start; the attachment below is the launch.
        .launch_time(DateTime::from_secs(launched + 50))
        .vpc_id("vpc-1")
        .network_interfaces(
            ec2::InstanceNetworkInterface::builder()
                .network_interface_id("eni-1")
                .groups(ec2::GroupIdentifier::builder().group_id("sg-web").build())
                .attachment(
                    ec2::InstanceNetworkInterfaceAttachment::builder()
                        .device_index(0)
                        .attach_time(DateTime::from_secs(launched))
                        .build(),
                )
                .build(),
        )
        .build()
}

fn page(instances: Vec<ec2::Instance>, next: Option<&str>) -> DescribeInstancesOutput {
    DescribeInstancesOutput::builder()
        .reservations(
            ec2::Reservation::builder()
                .owner_id("111122223333")
                .set_instances(Some(instances))
                .build(),
        )
        .set_next_token(next.map(str::to_owned))
        .build()
}

fn describes(instances: Vec<ec2::Instance>) -> Rule {
    mock!(Client::describe_instances).then_output(move || page(instances.clone(), None))
}

fn images(known: &'static [(&'static str, &'static str, &'static str)]) -> Rule {
    mock!(Client::describe_images).then_compute_output(move |request| {
        assert!(
            request.image_ids().is_empty(),
            "by filter: one that is gone fails a call by ids"
        );
        assert_eq!(request.include_deprecated(), Some(true));
        let asked = request.filters()[0].values();
        assert!(asked.len() <= 200);
        let images = known
            .iter()
            .filter(|(id, ..)| asked.iter().any(|asked| asked == id))
            .map(|(id, name, owner)| {
                ec2::Image::builder()
                    .image_id(*id)
                    .name(*name)
                    .owner_id(*owner)
                    .set_image_owner_alias((*owner == "137112412989").then(|| "amazon".to_owned()))
                    .creation_date("2026-11-09T12:00:00.000Z")
                    .build()
            });
        DescribeImagesOutput::builder()
            .set_images(Some(images.collect()))
            .build()
    })
}

fn no_groups() -> Rule {
    mock!(Client::describe_security_groups)
        .then_output(|| DescribeSecurityGroupsOutput::builder().build())
}

/// The launch of `i-1`, and what there is of AMIs.
fn launch_of(
    image: &str,
    known: &'static [(&'static str, &'static str, &'static str)],
) -> [Rule; 3] {
    let describe = describes(vec![found("i-1", image)]);
    [describe, images(known), no_groups()]
}

fn refused(status: u16, code: &str) -> HttpResponse {
    HttpResponse::new(
        StatusCode::try_from(status).unwrap(),
        SdkBody::from(format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>says AWS</Message></Error></Errors><RequestID>1</RequestID></Response>"
        )),
    )
}

fn clients(ec2: &[&Rule], ssm: &[&Rule]) -> Clients {
    clients_with(&Model::default(), ec2, ssm)
}

fn clients_with(table: &Model, ec2: &[&Rule], ssm: &[&Rule]) -> Clients {
    let groups = mock!(aws_sdk_autoscaling::Client::describe_auto_scaling_groups)
        .then_output(|| DescribeAutoScalingGroupsOutput::builder().build());
    Clients {
        ec2: mock_client!(aws_sdk_ec2, RuleMode::MatchAny, ec2),
        autoscaling: mock_client!(aws_sdk_autoscaling, RuleMode::MatchAny, [&groups]),
        cloudtrail: mock_client!(aws_sdk_cloudtrail, RuleMode::MatchAny, &[]),
        iam: mock_client!(aws_sdk_iam, RuleMode::MatchAny, &[]),
        ssm: mock_client!(aws_sdk_ssm, RuleMode::MatchAny, ssm),
        state: table.state(crate::NAME),
        restores_profiles: true,
    }
}

fn one() -> Request<Ask> {
    Request::of(Scope::one(Resource::instance("i-1")))
}

const NARROW: &str = "{approve: [{owner: amazon, name: 'al2023-ami-2023.*-x86_64'}]}";

async fn observed(
    clients: &Clients,
    section: &str,
    request: &Request<Ask>,
) -> Result<Facts, ApiError> {
    observe(clients, "/p", &parse(section).unwrap(), request, now()).await
}

fn verdict_of(facts: &Facts, section: &str) -> String {
    let policy = parse(section).unwrap();
    verdict(&facts.instances["i-1"], facts, &policy, now()).reason()
}

#[tokio::test(start_paused = true)]
async fn an_approved_launch_is_three_calls_in_two_rounds_and_three_looks_into_the_table() {
    let [describe, image, groups] = launch_of("ami-good", &[("ami-good", GOOD, "137112412989")]);
    let table = Model::default();
    let clients = clients_with(&table, &[&describe, &image, &groups], &[]);
    let facts = observed(&clients, NARROW, &one()).await.unwrap();
    assert!(verdict_of(&facts, NARROW).starts_with("approved"));
    let calls = [&describe, &image, &groups].map(Rule::num_calls);
    assert_eq!(calls, [1, 1, 1]);
    let mut looks = table.calls();
    looks.sort();
    let expected = ["GetItem launch#i-1", "Query quarantine#", "Query released#"];
    assert_eq!(looks, expected);
    // The launch is the attachment of the primary interface, not the last start.
    assert_eq!(
        facts.instances["i-1"].launched,
        now() - jiff::SignedDuration::from_secs(60)
    );
}

/// What `i-1` tells of its AMI, where it tells a name.
fn metadata(image: &'static str, name: Option<&'static str>, owner: &'static str) -> Rule {
    mock!(Client::describe_instance_image_metadata)
        .match_requests(|request| request.instance_ids() == ["i-1"])
        .then_output(move || {
            let amazons = name.filter(|_| owner == "137112412989");
            let image = ec2::ImageMetadata::builder()
                .image_id(image)
                .set_name(name.map(str::to_owned))
                .set_owner_id(name.map(|_| owner.to_owned()))
                .set_image_owner_alias(amazons.map(|_| "amazon".to_owned()))
                .build();
            let told = ec2::InstanceImageMetadata::builder()
                .instance_id("i-1")
                .image_metadata(image);
            DescribeInstanceImageMetadataOutput::builder()
                .instance_image_metadata(told.build())
                .build()
        })
}

/// As the sweep judges it.
#[tokio::test(start_paused = true)]
async fn the_check_of_an_ami_that_is_gone_asks_the_instance_that_runs_it() {
    let rules = "{approve: [{owner: self, name: 'web-*'}]}";
    let check = Request {
        ask: Ask::CheckImage("ami-1".to_owned()),
        ..Request::asking(Scope::one(Resource::Image("ami-1".to_owned())))
    };
    let denied = mock!(Client::describe_instance_image_metadata)
        .then_http_response(|| refused(403, "UnauthorizedOperation"));
    let told = metadata("ami-1", Some("web-1"), "111122223333");
    for (metadata, expected) in [
        (told, Ok("approved")),
        (denied, Err("UnauthorizedOperation")),
    ] {
        let [describe, image, _] = launch_of("ami-1", &[]);
        let clients = clients(&[&describe, &image, &metadata], &[]);
        let policy = parse(rules).unwrap();
        let word = observed(&clients, rules, &check).await.map(|facts| {
            let checked = evaluate(&facts, &policy, now()).checked;
            checked.unwrap().word
        });
        assert_eq!(
            word.map_err(|error| error.code),
            expected.map_err(str::to_owned)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_ami_that_is_gone_is_looked_up_through_the_instance() {
    for (name, known, expected) in [
        (Some(GOOD), Known::Metadata, "approved"),
        (Some(BAD), Known::Metadata, "no rule approves"),
        (None, Known::Unknown, "it can't be told"),
    ] {
        let [describe, image, groups] = launch_of("ami-good", &[]);
        let metadata = metadata("ami-good", name, "137112412989");
        let clients = clients(&[&describe, &image, &groups, &metadata], &[]);
        let facts = observed(&clients, NARROW, &one()).await.unwrap();
        assert_eq!(facts.images["ami-good"].known, known);
        let reason = verdict_of(&facts, NARROW);
        assert!(reason.starts_with(expected), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_is_never_a_no() {
    // The AMIs can't be read: nothing at all is decided.
    for (status, code) in [(403, "UnauthorizedOperation"), (500, "InternalError")] {
        let image =
            mock!(Client::describe_images).then_http_response(move || refused(status, code));
        let (describe, groups) = (describes(vec![found("i-1", "ami-1")]), no_groups());
        let clients = clients(&[&describe, &image, &groups], &[]);
        let error = observed(&clients, NARROW, &one()).await.unwrap_err();
        assert_eq!(error.code, code);
    }
    // The metadata can't be read: it can't be told.
    let metadata = mock!(Client::describe_instance_image_metadata)
        .then_http_response(|| refused(403, "UnauthorizedOperation"));
    let [describe, image, groups] = launch_of("ami-1", &[]);
    let clients = clients(&[&describe, &image, &groups, &metadata], &[]);
    let facts = observed(&clients, NARROW, &one()).await.unwrap();
    assert!(verdict_of(&facts, NARROW).starts_with("it can't be told"));
}

#[tokio::test(start_paused = true)]
async fn the_history_of_a_parameter_is_read_only_when_its_value_doesnt_approve() {
    let rules = "{approve: [{ssm-parameter: /golden}]}";
    for (value, versions, expected, histories) in [
        ("ami-1", 2, "approved", 0),
        ("{\"image_id\": \"ami-1\"}", 2, "approved", 0),
        ("ami-2", 2, "approved", 1),
        // The version that took its place isn't shown yet.
        ("ami-2", 1, "it can't be told", 1),
    ] {
        let [describe, image, groups] = launch_of("ami-1", &[("ami-1", "web-1", "111122223333")]);
        let parameter = move || {
            aws_sdk_ssm::types::Parameter::builder()
                .name("/golden")
                .value(value)
                .version(2)
                .last_modified_date(DateTime::from_secs(now().as_second() - 30))
                .build()
        };
        let get = mock!(aws_sdk_ssm::Client::get_parameters).then_output(move || {
            GetParametersOutput::builder()
                .parameters(parameter())
                .build()
        });
        let history = mock!(aws_sdk_ssm::Client::get_parameter_history).then_output(move || {
            let version = |number, value: &str, ago| {
                aws_sdk_ssm::types::ParameterHistory::builder()
                    .name("/golden")
                    .version(number)
                    .value(value)
                    .last_modified_date(DateTime::from_secs(now().as_second() - ago))
                    .build()
            };
            let mut shown = vec![version(1, "ami-1", 9_000), version(2, "ami-2", 30)];
            shown.truncate(versions);
            GetParameterHistoryOutput::builder()
                .set_parameters(Some(shown))
                .build()
        });
        let clients = clients(&[&describe, &image, &groups], &[&get, &history]);
        let facts = observed(&clients, rules, &one()).await.unwrap();
        assert!(verdict_of(&facts, rules).starts_with(expected), "{value}");
        assert_eq!(history.num_calls(), histories, "{value}");
    }
}

/// What AWS answers to a question by name, ARN, version or label, and what its value comes to.
#[tokio::test(start_paused = true)]
async fn what_a_parameter_holds_is_known_however_it_is_named() {
    const SHARED: &str = "arn:aws:ssm:eu-central-1:210987654321:parameter/golden";
    // Name, ARN and selector.
    const OWN: [&str; 3] = ["/golden", "arn:1", ""];
    const PROD: [&str; 3] = ["/golden", "arn:1", ":prod"];
    const SEVEN: [&str; 3] = ["/golden", "arn:1", ":7"];
    for (asked, answers, value, expected) in [
        ("/golden", OWN, "ami-1", "approved"),
        ("/golden:prod", PROD, "ami-1", "approved"),
        ("/golden:7", SEVEN, " ami-1\n", "approved"),
        (SHARED, ["/golden", SHARED, ""], "ami-1", "approved"),
        (SHARED, [SHARED, SHARED, ""], "ami-1", "approved"),
        (
            &format!("{SHARED}:prod"),
            ["/golden", SHARED, ":prod"],
            "ami-1",
            "approved",
        ),
        ("/golden", OWN, "ami-0,ami-1", "approved"),
        ("/golden", OWN, "[\"ami-0\", \"ami-1\"]", "approved"),
        ("/golden:7", SEVEN, "ami-0,ami-2", "no rule approves"),
        ("/golden", OWN, "none yet", "holds no AMI"),
        ("/golden", OWN, "", "holds no AMI"),
        ("/golden", OWN, "ami-0,soon", "holds no AMI"),
        ("/golden", OWN, "{\"ami\": \"ami-1\"}", "holds no AMI"),
        ("/golden", OWN, "[1]", "holds no AMI"),
        ("/golden", OWN, "SECRET", "is a SecureString"),
        ("/golden", OWN, "NONE", "the answer lacks the value"),
        // The answer to another question.
        (
            "/golden:prod",
            ["/golden", "arn:1", ":dev"],
            "ami-1",
            "there is no parameter",
        ),
        (
            "/golden",
            ["/golden/al2023", "arn:1", ""],
            "ami-1",
            "there is no parameter",
        ),
    ] {
        let rules = format!("{{approve: [{{ssm-parameter: '{asked}'}}]}}");
        let [describe, image, groups] = launch_of("ami-1", &[("ami-1", "web-1", "111122223333")]);
        let kind = match value {
            "SECRET" => aws_sdk_ssm::types::ParameterType::SecureString,
            _ => aws_sdk_ssm::types::ParameterType::String,
        };
        let [name, arn, selector] = answers;
        let parameter = aws_sdk_ssm::types::Parameter::builder()
            .name(name)
            .arn(arn)
            .set_selector((!selector.is_empty()).then(|| selector.to_owned()))
            .r#type(kind)
            .set_value((value != "NONE").then(|| value.to_owned()))
            .last_modified_date(DateTime::from_secs(now().as_second() - 9_999_999))
            .build();
        let get = mock!(aws_sdk_ssm::Client::get_parameters).then_output(move || {
            let parameter = parameter.clone();
            GetParametersOutput::builder().parameters(parameter).build()
        });
        let clients = clients(&[&describe, &image, &groups], &[&get]);
        let facts = observed(&clients, &rules, &one()).await.unwrap();
        let reason = verdict_of(&facts, &rules);
        assert!(reason.contains(expected), "{asked} {value}: {reason}");
    }
}

/// AWS keeps the history of its public parameters to itself; what they name is written down.
#[tokio::test(start_paused = true)]
async fn what_was_seen_of_a_public_parameter_has_its_grace() {
    const NAME: &str = "/aws/service/bottlerocket/aws-k8s-1.33/x86_64/latest/image_id";
    let rules = format!("{{approve: [{{ssm-parameter: {NAME}, grace: 2d}}]}}");
    let table = Model::default();
    let long_ago = now().as_second() - 90_000;
    for (image_id, version, changed, expected) in [
        ("ami-1", 4, long_ago, "approved"),
        // It moves on, and what was seen stays approved for two days.
        ("ami-2", 5, now().as_second() - 60, "approved"),
        ("ami-3", 6, now().as_second() - 30, "approved"),
    ] {
        let [describe, image, groups] = launch_of(
            "ami-1",
            &[
                (
                    "ami-1",
                    "bottlerocket-aws-k8s-1.33-x86_64-v1.46.0-8bb40bb8",
                    "092701018921",
                ),
                (
                    "ami-2",
                    "bottlerocket-aws-k8s-1.33-x86_64-v1.47.0-7ba2a3b9",
                    "092701018921",
                ),
            ],
        );
        let parameter = aws_sdk_ssm::types::Parameter::builder()
            .name(NAME)
            .value(image_id)
            .version(version)
            .last_modified_date(DateTime::from_secs(changed))
            .build();
        let get = mock!(aws_sdk_ssm::Client::get_parameters).then_output(move || {
            let parameter = parameter.clone();
            GetParametersOutput::builder().parameters(parameter).build()
        });
        let clients = clients_with(&table, &[&describe, &image, &groups], &[&get]);
        let facts = observed(&clients, &rules, &one()).await.unwrap();
        let reason = verdict_of(&facts, &rules);
        assert!(reason.starts_with(expected), "{image_id}: {reason}");
        let policy = parse(&rules).unwrap();
        let evaluation = evaluate(&facts, &policy, now());
        crate::act::remember(&clients, &evaluation).await.unwrap();
        // Written down once.
        let facts = observed(&clients, &rules, &one()).await.unwrap();
        assert_eq!(evaluate(&facts, &policy, now()).moved(), []);
        // The next launch is another's.
        let forgotten = clients.state.delete(&LAUNCH, "i-1", &Expect::Any).await;
        assert!(forgotten.unwrap().is_done());
    }
}

/// Nobody has seen its launch yet, the parameter has moved on, and the launch that is asked about is
/// approved as it was seen: the other may be too.
#[tokio::test(start_paused = true)]
async fn another_launch_of_a_group_counts_for_a_loop_only_by_all_that_is_known() {
    let rules = "{mode: enforce, loop: {launches: 1}, approve: [{ssm-parameter: /golden}]}";
    let in_web = |id: &str| {
        let mut one = found(id, "ami-1");
        let tag = ec2::Tag::builder().key("aws:autoscaling:groupName");
        one.tags = Some(vec![tag.value("web").build()]);
        one
    };
    let (own, both) = (in_web("i-1"), vec![in_web("i-1"), in_web("i-2")]);
    let describe = mock!(Client::describe_instances).then_compute_output(move |request| {
        match request.filters()[0].name() {
            Some("instance-id") => page(vec![own.clone()], None),
            _ => page(both.clone(), None),
        }
    });
    let [_, image, groups] = launch_of("ami-1", &[("ami-1", "web-1", "111122223333")]);
    let moved = DateTime::from_secs(now().as_second() - 30);
    let get = mock!(aws_sdk_ssm::Client::get_parameters).then_output(move || {
        let parameter = aws_sdk_ssm::types::Parameter::builder().name("/golden");
        let parameter = parameter
            .value("ami-2")
            .version(2)
            .last_modified_date(moved);
        let parameter = parameter.build();
        GetParametersOutput::builder().parameters(parameter).build()
    });
    let history = mock!(aws_sdk_ssm::Client::get_parameter_history).then_output(move || {
        let version = |number, value: &str| {
            let version = aws_sdk_ssm::types::ParameterHistory::builder().version(number);
            version.value(value).last_modified_date(moved).build()
        };
        GetParameterHistoryOutput::builder()
            .set_parameters(Some(vec![version(1, "ami-1"), version(2, "ami-2")]))
            .build()
    });
    let clients = clients(&[&describe, &image, &groups], &[&get, &history]);
    let seen = Seen {
        rule: Some("ssm-parameter /golden".to_owned()),
        ..unseen("ami-1")
    };
    let state = &clients.state;
    let put = state.put(&LAUNCH, "i-1", &seen, None, &Expect::Any, now());
    assert!(put.await.unwrap().is_done());
    let facts = observed(&clients, rules, &one()).await.unwrap();
    assert!(facts.siblings.contains_key("i-2"));
    let policy = parse(rules).unwrap();
    assert!(evaluate(&facts, &policy, now()).loops.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_ancestry_of_own_amis_is_read_where_a_rule_asks_for_it() {
    let rules = "{approve: [{owner: amazon, name: 'al2023-ami-2023.*'}, {derived: true}]}";
    let ancestry = mock!(Client::get_image_ancestry)
        .match_requests(|request| request.image_id() == Some("ami-1"))
        .then_output(|| {
            let entry = |id: &str, source: Option<&str>| {
                ec2::ImageAncestryEntry::builder()
                    .image_id(id)
                    .set_source_image_id(source.map(str::to_owned))
                    .build()
            };
            GetImageAncestryOutput::builder()
                .image_ancestry_entries(entry("ami-1", Some("ami-good")))
                .image_ancestry_entries(entry("ami-good", None))
                .build()
        });
    let [describe, image, groups] = launch_of(
        "ami-1",
        &[
            ("ami-1", "web-1", "111122223333"),
            ("ami-good", GOOD, "137112412989"),
        ],
    );
    let clients = clients(&[&describe, &image, &groups, &ancestry], &[]);
    let facts = observed(&clients, rules, &one()).await.unwrap();
    assert!(verdict_of(&facts, rules).starts_with("approved"));
    assert_eq!(ancestry.num_calls(), 1);
}

/// What an answer leaves out is no "no".
#[tokio::test(start_paused = true)]
async fn an_answer_that_lacks_what_was_asked_for_is_a_failed_read() {
    let rules = "{approve: [{derived: true}]}";
    for first in [None, Some("ami-2")] {
        let ancestry = mock!(Client::get_image_ancestry).then_output(move || {
            let entry = first.map(|id| ec2::ImageAncestryEntry::builder().image_id(id).build());
            GetImageAncestryOutput::builder()
                .set_image_ancestry_entries(Some(entry.into_iter().collect()))
                .build()
        });
        let [describe, image, groups] = launch_of("ami-1", &[("ami-1", "web-1", "111122223333")]);
        let clients = clients(&[&describe, &image, &groups, &ancestry], &[]);
        let facts = observed(&clients, rules, &one()).await.unwrap();
        let error = facts.ancestry["ami-1"].as_ref().unwrap_err();
        assert_eq!(error.code, "IncompleteAnswer");
        let reason = verdict_of(&facts, rules);
        assert!(reason.starts_with("it can't be told"), "{reason}");
    }

    let nameless = mock!(Client::describe_images).then_output(|| {
        let image = ec2::Image::builder().name("web-1").build();
        DescribeImagesOutput::builder().images(image).build()
    });
    let [describe, _, groups] = launch_of("ami-1", &[]);
    let clients = clients(&[&describe, &nameless, &groups], &[]);
    let error = observed(&clients, rules, &one()).await.unwrap_err();
    assert_eq!(error.code, "IncompleteAnswer");

    let profile = "arn:aws:iam::1:instance-profile/app";
    let empty = mock!(aws_sdk_iam::Client::get_instance_profile)
        .then_output(|| GetInstanceProfileOutput::builder().build());
    let iam = mock_client!(aws_sdk_iam, RuleMode::MatchAny, [&empty]);
    let scoped = parse("{approve: [{owner: amazon, scope: {role: web}}]}").unwrap();
    let found = names::roles(&iam, &scoped, [profile].into()).await;
    let error = found[profile].as_ref().unwrap_err();
    assert_eq!(error.code, "IncompleteAnswer");
}

#[test]
fn an_ancestry_tells_where_each_is_from_and_until_when_it_counts() {
    let entry = |id: &str, source: Option<(&str, Option<&str>)>, days: i64| {
        ec2::ImageAncestryEntry::builder()
            .image_id(id)
            .image_owner_alias("amazon")
            .creation_date(DateTime::from_secs(now().as_second() - days * 86_400))
            .set_source_image_id(source.map(|(id, _)| id.to_owned()))
            .set_source_image_region(source.and_then(|(_, region)| region.map(str::to_owned)))
            .build()
    };
    let days = |days: i64| Some(now() - jiff::SignedDuration::from_hours(24 * days));
    let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, &[]);
    let here = ec2.config().region().unwrap().as_ref().to_owned();
    let chain = images::chain(
        &ec2,
        &[
            entry("ami-1", Some(("ami-2", Some(&here))), 1),
            entry("ami-2", Some(("ami-3", Some("ap-northeast-2"))), 5),
            entry("ami-3", Some(("ami-4", None)), 9),
        ],
    );
    let words: Vec<_> = chain
        .iter()
        .map(|one| {
            (
                one.id.as_str(),
                one.is_here,
                one.is_told,
                one.created,
                one.built_upon,
            )
        })
        .collect();
    assert_eq!(
        words,
        [
            ("ami-2", true, true, days(5), days(1)),
            ("ami-3", false, true, days(9), days(5)),
            ("ami-4", false, false, None, days(9)),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_sweep_makes_no_call_per_instance() {
    let describe = mock!(Client::describe_instances).then_compute_output(|request| {
        assert!(request.filters().is_empty());
        let ids = |range: std::ops::Range<usize>| {
            range
                .map(|n| found(&format!("i-{n}"), &format!("ami-{}", n % 300)))
                .collect()
        };
        match request.next_token() {
            None => page(ids(0..1_000), Some("more")),
            Some(_) => page(ids(1_000..1_500), None),
        }
    });
    let image = mock!(Client::describe_images).then_compute_output(|request| {
        let images = request.filters()[0].values().iter().map(|id| {
            ec2::Image::builder()
                .image_id(id)
                .name(GOOD)
                .owner_id("137112412989")
                .image_owner_alias("amazon")
                .build()
        });
        DescribeImagesOutput::builder()
            .set_images(Some(images.collect()))
            .build()
    });
    let groups = no_groups();
    let table = Model::default();
    let clients = clients_with(&table, &[&describe, &image, &groups], &[]);
    let hours_later = now() + jiff::SignedDuration::from_hours(2);
    let facts = observe(&clients, "/p", &policy(), &Request::sweep(), hours_later)
        .await
        .unwrap();
    assert_eq!(facts.instances.len(), 1_500);
    assert!(facts.complete);
    let calls = [&describe, &image, &groups].map(Rule::num_calls);
    assert_eq!(calls, [2, 2, 1]);
    assert_eq!(table.calls().len(), 4, "{:?}", table.calls());
}

#[tokio::test(start_paused = true)]
async fn while_nothing_is_approved_no_ami_is_read() {
    let describe = describes(vec![found("i-1", "ami-1")]);
    let clients = clients(&[&describe], &[]);
    let facts = observed(&clients, "{}", &one()).await.unwrap();
    assert!(facts.images.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_event_that_launched_nothing_makes_no_call() {
    let clients = clients(&[], &[]);
    let nothing = Request::of(Scope::Only(Vec::new()));
    let facts = observed(&clients, NARROW, &nothing).await.unwrap();
    assert!(facts.instances.is_empty() && !facts.complete);
}

#[tokio::test(start_paused = true)]
async fn a_group_is_known_by_its_rules_of_each_kind() {
    let groups = mock!(Client::describe_security_groups).then_output(|| {
        let group = |id: &str, vpc: &str, owner: &str, name: &str, open: bool| {
            let rule = ec2::IpPermission::builder().ip_protocol("-1").build();
            ec2::SecurityGroup::builder()
                .group_id(id)
                .vpc_id(vpc)
                .group_name(name)
                .owner_id(owner)
                .set_ip_permissions_egress(open.then(|| vec![rule]))
                .build()
        };
        DescribeSecurityGroupsOutput::builder()
            .security_groups(group("sg-1", "vpc-1", "1", ISOLATION_GROUP, false))
            .security_groups(group("sg-2", "vpc-2", "1", ISOLATION_GROUP, true))
            .security_groups(group("sg-3", "vpc-3", "1", "another", false))
            .security_groups(group("sg-4", "vpc-1", "2", ISOLATION_GROUP, true))
            .build()
    });
    let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&groups]);
    let found = read::isolation(&ec2, Some("1"), None).await.unwrap();
    let out = found
        .values()
        .map(|group| (group.id.as_str(), group.lets_out));
    assert_eq!(out.collect::<Vec<_>>(), [("sg-1", false), ("sg-2", true)]);
    // Each source of a permission is a rule of its own, whatever kind it is.
    let permission = ec2::IpPermission::builder()
        .ip_protocol("tcp")
        .from_port(22)
        .to_port(23)
        .ip_ranges(ec2::IpRange::builder().cidr_ip("10.0.0.0/8").build())
        .ipv6_ranges(ec2::Ipv6Range::builder().cidr_ipv6("FD00:0::/48").build())
        .user_id_group_pairs(ec2::UserIdGroupPair::builder().group_id("sg-9").build())
        .prefix_list_ids(ec2::PrefixListId::builder().prefix_list_id("pl-1").build());
    let group = ec2::SecurityGroup::builder().group_id("sg-1");
    let group = group.ip_permissions(permission.build()).build();
    let incoming = read::isolation_of(&group).unwrap().incoming;
    let told: Vec<String> = incoming.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "10.0.0.0/8 (tcp 22-23)",
            "fd00::/48 (tcp 22-23)",
            "pl-1 (tcp 22-23)",
            "sg-9 (tcp 22-23)"
        ]
    );
}

/// An isolation group is no responder: all that is in quarantine would be let in.
#[tokio::test(start_paused = true)]
async fn responders_are_looked_up_and_an_isolation_group_is_none() {
    let groups = mock!(Client::describe_security_groups).then_output(|| {
        let group = |id: &str, name: &str| {
            let group = ec2::SecurityGroup::builder().group_id(id).vpc_id("vpc-1");
            group.group_name(name).build()
        };
        DescribeSecurityGroupsOutput::builder()
            .security_groups(group("sg-1", "responders"))
            .security_groups(group("sg-2", ISOLATION_GROUP))
            .build()
    });
    let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&groups]);
    let asked = BTreeSet::from(["sg-1", "sg-2", "sg-3"]);
    let found = read::responders(&ec2, asked).await.unwrap();
    assert_eq!(found, [("sg-1".to_owned(), "vpc-1".to_owned())].into());
}

#[tokio::test(start_paused = true)]
async fn a_table_that_cant_be_read_stops_everything() {
    for denied in ["Query", "GetItem"] {
        let [describe, image, groups] = launch_of("ami-bad", &[("ami-bad", BAD, "137112412989")]);
        let table = Model::default();
        table.deny(Some(denied));
        let clients = clients_with(&table, &[&describe, &image, &groups], &[]);
        for request in [one(), Request::sweep()] {
            let error = observed(&clients, NARROW, &request).await.unwrap_err();
            assert_eq!(error.code, "AccessDeniedException", "{denied}");
        }
    }
}

/// What is remembered comes from the table; the same in tags is nobody's memory.
#[tokio::test(start_paused = true)]
async fn what_is_remembered_is_read_from_the_table() {
    let (describe, groups) = (describes(vec![found("i-1", "ami-bad")]), no_groups());
    let image = images(&[("ami-bad", BAD, "137112412989")]);
    let table = Model::default();
    let clients = clients_with(&table, &[&describe, &image, &groups], &[]);
    let state = &clients.state;
    let released = Released {
        image: Some("ami-bad".to_owned()),
        at: now(),
    };
    let in_web = record("11:00").detached_from("web");
    for id in ["i-1", "i-2"] {
        let put = state.put(&QUARANTINE, id, &in_web, None, &Expect::Any, now());
        assert!(put.await.unwrap().is_done());
    }
    let put = state.put(&RELEASED, "i-9", &released, None, &Expect::Any, now());
    assert!(put.await.unwrap().is_done());
    let facts = observed(&clients, NARROW, &one()).await.unwrap();
    assert_eq!(facts.records["i-1"], in_web);
    assert_eq!(facts.released["i-9"], released);
    // A release asks for those that are in quarantine with it.
    let release = Request {
        order: Order::Person,
        ask: release(false),
        ..one()
    };
    let asked = describe.num_calls();
    let facts = observed(&clients, NARROW, &release).await.unwrap();
    assert_eq!(describe.num_calls(), asked + 2);
    assert_eq!(
        facts.records["i-2"].service,
        Some(Service::Detached("web".to_owned()))
    );
    assert!(facts.images.is_empty());
    assert_eq!(in_web.since, at("11:00"));
}

/// By labels it is put back only what is known to be isolated.
#[tokio::test(start_paused = true)]
async fn a_release_by_labels_needs_the_isolation_groups_and_one_by_the_record_doesnt() {
    let denied = || refused(403, "UnauthorizedOperation");
    let groups = mock!(Client::describe_security_groups).then_http_response(denied);
    let describe = describes(vec![found("i-1", "ami-bad")]);
    let clients = clients(&[&describe, &groups], &[]);
    let release = Request {
        order: Order::Person,
        ask: release(true),
        ..one()
    };
    let error = observed(&clients, NARROW, &release).await.unwrap_err();
    assert_eq!(error.code, "UnauthorizedOperation");
    let (state, known) = (&clients.state, record("11:00"));
    let put = state.put(&QUARANTINE, "i-1", &known, None, &Expect::Any, now());
    assert!(put.await.unwrap().is_done());
    let facts = observed(&clients, NARROW, &release).await.unwrap();
    assert_eq!(facts.isolation, None);
    // What it wasn't for is told.
    let (what, error) = &facts.unread[0];
    let told = (*what, error.code.as_str());
    assert_eq!(told, (ISOLATION, "UnauthorizedOperation"));
}

/// Nothing is written down as having been before that has changed since it was looked at.
#[tokio::test(start_paused = true)]
async fn an_instance_that_changed_meanwhile_is_left_to_the_next_run() {
    let now_of = |groups: &[&str]| instance("i-1").behind(groups);
    let decided = crate::fixtures::decided(&crate::fixtures::facts([instance("i-1")]), &policy());
    let guardrails::guardrail::Step::Act(action) = &decided[0].step else {
        panic!("{decided:?}");
    };
    for (groups, recorded, stands) in [
        (vec!["sg-web", "sg-ssh"], false, true),
        (vec!["sg-web"], false, false),
        // Isolated by this run, which was throttled after that.
        (vec!["sg-isolation"], true, true),
    ] {
        let shown = now_of(&groups);
        let describe = mock!(Client::describe_instances).then_output(move || {
            let groups = shown.interfaces[0].groups.iter();
            let groups = groups.map(|id| ec2::GroupIdentifier::builder().group_id(id).build());
            let interface = ec2::InstanceNetworkInterface::builder()
                .network_interface_id("eni-1")
                .vpc_id("vpc-1")
                .set_groups(Some(groups.collect()))
                .build();
            let running = ec2::InstanceStateName::Running;
            let one = ec2::Instance::builder()
                .instance_id("i-1")
                .state(ec2::InstanceState::builder().name(running).build())
                .network_interfaces(interface)
                .build();
            page(vec![one], None)
        });
        let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&describe]);
        let state = guardrails::state::model::Model::default().state(crate::facts::NAME);
        if recorded {
            let mut record = crate::fixtures::record("12:00");
            record.interfaces = [("eni-1".to_owned(), vec!["sg-web".to_owned()])].into();
            state
                .put(
                    &QUARANTINE,
                    "i-1",
                    &record,
                    None,
                    &guardrails::state::Expect::Absent,
                    at("12:00"),
                )
                .await
                .unwrap();
        }
        let verdicts = revalidate(&ec2, &state, &[action], at("12:00"))
            .await
            .unwrap();
        assert_eq!(verdicts[0].is_none(), stands, "{verdicts:?}");
    }
}
