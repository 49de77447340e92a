use super::*;
use crate::decide::tests::{OURS, TRUST, default_policy, now};
use crate::diagnosis::identity::{Identity, NEEDED, Permissions};
use aws_sdk_ec2::operation::describe_instances::DescribeInstancesOutput;
use aws_sdk_ec2::types::{
    IamInstanceProfile, Instance as Ec2Instance, InstanceState, InstanceStateName,
    OperatorResponse, Reservation, Tag,
};
use aws_sdk_iam::operation::get_instance_profile::GetInstanceProfileOutput;
use aws_sdk_iam::operation::simulate_principal_policy::SimulatePrincipalPolicyOutput;
use aws_sdk_iam::types::{EvaluationResult, InstanceProfile, PolicyEvaluationDecisionType, Role};
use aws_sdk_ssm::operation::describe_instance_information::DescribeInstanceInformationOutput;
use aws_sdk_ssm::types::InstanceInformation;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;

fn ec2_instance(id: &str) -> Ec2Instance {
    let launched = now().as_second() - 4 * 3_600;
    Ec2Instance::builder()
        .instance_id(id)
        .state(
            InstanceState::builder()
                .name(InstanceStateName::Running)
                .build(),
        )
        .iam_instance_profile(IamInstanceProfile::builder().arn(OURS).build())
        .launch_time(DateTime::from_secs(launched))
        .vpc_id("vpc-1")
        .subnet_id("subnet-a")
        .image_id("ami-1")
        .private_ip_address("10.0.1.10")
        .build()
}

fn page(instances: Vec<Ec2Instance>, next: Option<&str>) -> DescribeInstancesOutput {
    DescribeInstancesOutput::builder()
        .reservations(
            Reservation::builder()
                .set_instances(Some(instances))
                .build(),
        )
        .set_next_token(next.map(str::to_owned))
        .build()
}

fn nodes_page(ids: Vec<String>, next: Option<&str>) -> DescribeInstanceInformationOutput {
    let nodes = ids.into_iter().map(|id| {
        InstanceInformation::builder()
            .instance_id(id)
            .ping_status(PingStatus::Online)
            .build()
    });
    DescribeInstanceInformationOutput::builder()
        .set_instance_information_list(Some(nodes.collect()))
        .set_next_token(next.map(str::to_owned))
        .build()
}

fn profile() -> Rule {
    mock!(aws_sdk_iam::Client::get_instance_profile)
        .match_requests(|request| request.instance_profile_name() == Some("ec2-guardrails-ssm"))
        .then_output(|| {
            let trust: String = TRUST
                .bytes()
                .map(|byte| match byte {
                    b'"' | b'{' | b'}' => format!("%{byte:02X}"),
                    _ => char::from(byte).to_string(),
                })
                .collect();
            let role = Role::builder()
                .path("/")
                .role_name("ssm-role")
                .role_id("AROA1")
                .arn("arn:aws:iam::111122223333:role/ssm-role")
                .create_date(DateTime::from_secs(0))
                .assume_role_policy_document(trust)
                .build()
                .unwrap();
            let profile = InstanceProfile::builder()
                .path("/")
                .instance_profile_name("ec2-guardrails-ssm")
                .instance_profile_id("AIPA1")
                .arn(OURS)
                .create_date(DateTime::from_secs(0))
                .roles(role)
                .build()
                .unwrap();
            GetInstanceProfileOutput::builder()
                .instance_profile(profile)
                .build()
        })
}

fn simulation(allowed: &'static [&'static str]) -> Rule {
    mock!(aws_sdk_iam::Client::simulate_principal_policy)
        .match_requests(|request| request.action_names() == NEEDED)
        .then_output(move || {
            let results = NEEDED.iter().map(|action| {
                EvaluationResult::builder()
                    .eval_action_name(*action)
                    .eval_decision(if allowed.contains(action) {
                        PolicyEvaluationDecisionType::Allowed
                    } else {
                        PolicyEvaluationDecisionType::ImplicitDeny
                    })
                    .build()
                    .unwrap()
            });
            SimulatePrincipalPolicyOutput::builder()
                .set_evaluation_results(Some(results.collect()))
                .build()
        })
}

/// The sweep's look at endpoints in `vpc-1`: service and security group of each.
fn endpoints(found: &'static [(&'static str, &'static str)]) -> Rule {
    use aws_sdk_ec2::operation::describe_vpc_endpoints::DescribeVpcEndpointsOutput;
    use aws_sdk_ec2::types::{SecurityGroupIdentifier, VpcEndpoint, VpcEndpointType};
    mock!(Client::describe_vpc_endpoints)
        .match_requests(|request| {
            request.filters()[0].name() == Some("vpc-endpoint-type")
                && request.max_results() == Some(1_000)
        })
        .then_output(move || {
            let endpoints = found.iter().map(|(service, group)| {
                VpcEndpoint::builder()
                    .vpc_endpoint_id(format!("vpce-{service}"))
                    .vpc_endpoint_type(VpcEndpointType::Interface)
                    .vpc_id("vpc-1")
                    .service_name(format!("com.amazonaws.eu-central-1.{service}"))
                    .state(aws_sdk_ec2::types::State::Available)
                    .private_dns_enabled(true)
                    .groups(SecurityGroupIdentifier::builder().group_id(*group).build())
                    .build()
            });
            DescribeVpcEndpointsOutput::builder()
                .set_vpc_endpoints(Some(endpoints.collect()))
                .build()
        })
}

fn clients(ec2: &[&Rule], ssm: &[&Rule], iam: &[&Rule]) -> Clients {
    Clients {
        ec2: mock_client!(aws_sdk_ec2, RuleMode::MatchAny, ec2),
        ssm: mock_client!(aws_sdk_ssm, RuleMode::MatchAny, ssm),
        iam: mock_client!(aws_sdk_iam, RuleMode::MatchAny, iam),
        autoscaling: mock_client!(aws_sdk_autoscaling, RuleMode::MatchAny, [] as [&Rule; 0]),
    }
}

async fn sweep(clients: &Clients) -> Result<Facts, ApiError> {
    observe(clients, OURS, &default_policy(), &Request::sweep(), now()).await
}

/// Only these six calls are known to the clients: any other would fail the test.
#[tokio::test]
async fn a_sweep_pages_and_makes_no_call_per_healthy_instance() {
    let ids = |from: usize, to: usize| (from..to).map(|n| format!("i-{n:03}"));
    let first = mock!(Client::describe_instances)
        .match_requests(|request| {
            request.next_token().is_none() && request.max_results() == Some(1_000)
        })
        .then_output(move || {
            let instances = ids(0, 70).map(|id| ec2_instance(&id)).collect();
            page(instances, Some("more"))
        });
    let second = mock!(Client::describe_instances)
        .match_requests(|request| request.next_token() == Some("more"))
        .then_output(move || page(ids(70, 120).map(|id| ec2_instance(&id)).collect(), None));
    // More than 100: all nodes in pages, which may be short.
    let nodes = mock!(aws_sdk_ssm::Client::describe_instance_information)
        .match_requests(|request| {
            request.filters()[0].key() == "ResourceType" && request.max_results() == Some(50)
        })
        .sequence()
        .output(move || nodes_page(ids(0, 50).collect(), Some("1")))
        .output(|| nodes_page(vec![], Some("2")))
        .output(move || nodes_page(ids(50, 100).collect(), Some("3")))
        .output(move || nodes_page(ids(100, 120).collect(), None))
        .build();
    let (profile, simulation) = (profile(), simulation(&NEEDED));
    let endpoints = endpoints(&[("ssm", "sg-1"), ("ssmmessages", "sg-1")]);
    let ec2 = [&first, &second, &endpoints];
    let clients = clients(&ec2, &[&nodes], &[&profile, &simulation]);
    let facts = sweep(&clients).await.unwrap();
    assert_eq!((facts.instances.len(), facts.nodes.len()), (120, 120));
    assert_eq!((first.num_calls(), second.num_calls()), (1, 1));
    assert_eq!(nodes.num_calls(), 4);
    assert_eq!((profile.num_calls(), simulation.num_calls()), (1, 1));
    assert_eq!(endpoints.num_calls(), 1);
    assert!(facts.evidence.is_empty() && facts.network.is_none());
    assert!(facts.unread.is_empty(), "{:?}", facts.unread);
    let Ok(Identity::Role(role)) = &facts.identities[OURS] else {
        panic!("a role: {:?}", facts.identities);
    };
    assert_eq!(role.trust, TRUST);
    assert_eq!(role.permissions, Permissions::Simulated { missing: vec![] });
}

#[tokio::test]
async fn few_nodes_are_asked_for_by_id() {
    let one =
        mock!(Client::describe_instances).then_output(|| page(vec![ec2_instance("i-1")], None));
    let nodes = mock!(aws_sdk_ssm::Client::describe_instance_information)
        .match_requests(|request| {
            request.filters()[0].key() == "InstanceIds" && request.filters()[0].values() == ["i-1"]
        })
        .then_output(|| nodes_page(vec!["i-1".to_owned()], None));
    let (profile, simulation) = (profile(), simulation(&NEEDED[..1]));
    let list = mock!(aws_sdk_iam::Client::list_attached_role_policies).then_output(|| {
        aws_sdk_iam::operation::list_attached_role_policies::ListAttachedRolePoliciesOutput::builder()
            .build()
    });
    let endpoints = endpoints(&[]);
    let clients = clients(
        &[&one, &endpoints],
        &[&nodes],
        &[&profile, &simulation, &list],
    );
    let facts = sweep(&clients).await.unwrap();
    let Ok(Identity::Role(role)) = &facts.identities[OURS] else {
        panic!("a role");
    };
    let missing = NEEDED[1..].iter().map(|a| (*a).to_owned()).collect();
    assert_eq!(role.permissions, Permissions::Simulated { missing });
}

fn wire(operation: &str, body: &str) -> HttpResponse {
    let xml = format!(
        r#"<{operation}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>1</requestId>{body}</{operation}Response>"#
    );
    HttpResponse::new(StatusCode::try_from(200).unwrap(), SdkBody::from(xml))
}

fn ec2_denied() -> HttpResponse {
    ec2_error("UnauthorizedOperation", "no")
}

fn ec2_error(code: &str, message: &str) -> HttpResponse {
    HttpResponse::new(
        StatusCode::try_from(403).unwrap(),
        SdkBody::from(format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>1</RequestID></Response>"
        )),
    )
}

/// Two Online nodes in a VPC whose endpoints differ: the VPC is read once, nothing per node.
#[tokio::test]
async fn a_vpc_whose_endpoints_are_uneven_is_read_once() {
    let two = mock!(Client::describe_instances)
        .then_output(|| page(vec![ec2_instance("i-1"), ec2_instance("i-2")], None));
    let nodes = mock!(aws_sdk_ssm::Client::describe_instance_information)
        .then_output(|| nodes_page(vec!["i-1".to_owned(), "i-2".to_owned()], None));
    let (profile, simulation) = (profile(), simulation(&NEEDED));
    let uneven = [
        two,
        endpoints(&[("ssm", "sg-1")]),
        mock!(Client::describe_vpc_attribute)
            .then_http_response(|| wire("DescribeVpcAttribute", "<vpcId>vpc-1</vpcId>")),
        mock!(Client::describe_route_tables)
            .then_http_response(|| wire("DescribeRouteTables", "<routeTableSet/>")),
        mock!(Client::describe_network_acls)
            .then_http_response(|| wire("DescribeNetworkAcls", "<networkAclSet/>")),
        mock!(Client::describe_security_groups)
            .then_http_response(|| wire("DescribeSecurityGroups", "<securityGroupInfo/>")),
    ];
    let ec2: Vec<&Rule> = uneven.iter().collect();
    let clients = clients(&ec2, &[&nodes], &[&profile, &simulation]);
    let facts = sweep(&clients).await.unwrap();
    let calls: Vec<usize> = uneven.iter().map(Rule::num_calls).collect();
    assert_eq!(calls, [1, 1, 2, 1, 1, 1]);
    let Some(Ok(network)) = &facts.network else {
        panic!("a network: {:?}", facts.network);
    };
    assert_eq!(network.endpoints.len(), 1);
    assert!(facts.evidence.is_empty());
}

#[tokio::test]
async fn endpoints_that_cannot_be_read_are_told_and_stop_nothing() {
    let one =
        mock!(Client::describe_instances).then_output(|| page(vec![ec2_instance("i-1")], None));
    let nodes = mock!(aws_sdk_ssm::Client::describe_instance_information)
        .then_output(|| nodes_page(vec!["i-1".to_owned()], None));
    let (profile, simulation) = (profile(), simulation(&NEEDED));
    let denied = mock!(Client::describe_vpc_endpoints).then_http_response(ec2_denied);
    let clients = clients(&[&one, &denied], &[&nodes], &[&profile, &simulation]);
    let facts = sweep(&clients).await.unwrap();
    assert!(matches!(facts.network, Some(Err(_))));
    assert_eq!(facts.unread[0].operation, "ec2:DescribeVpcEndpoints");
}

/// One instance that is gone must not take the other checks with it.
#[tokio::test]
async fn status_checks_go_on_without_instances_that_are_gone() {
    let ids: Vec<String> = ["i-1", "i-11", "i-2"].map(str::to_owned).to_vec();
    let gone = mock!(Client::describe_instance_status)
        .match_requests(|request| request.instance_ids().len() == 3)
        .then_http_response(|| {
            ec2_error(
                "InvalidInstanceID.NotFound",
                "The instance IDs 'i-2, i-1' do not exist",
            )
        });
    let rest = mock!(Client::describe_instance_status)
        .match_requests(|request| request.instance_ids() == ["i-11"])
        .then_http_response(|| {
            wire(
                "DescribeInstanceStatus",
                "<instanceStatusSet><item><instanceId>i-11</instanceId><systemStatus><status>impaired</status></systemStatus><instanceStatus><status>ok</status></instanceStatus></item></instanceStatusSet>",
            )
        });
    let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&gone, &rest]);
    let found = evidence::checks(&ec2, &ids).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found["i-11"], ("impaired".to_owned(), "ok".to_owned()));

    // None is left, or none is named: no endless loop.
    for (message, known) in [("'i-1, i-11, i-2'", true), ("some are gone", false)] {
        let gone = mock!(Client::describe_instance_status)
            .then_http_response(move || ec2_error("InvalidInstanceID.NotFound", message));
        let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&gone]);
        let found = evidence::checks(&ec2, &ids).await;
        assert_eq!(
            found.is_ok_and(|found| found.is_empty()),
            known,
            "{message}"
        );
        assert_eq!(gone.num_calls(), 1);
    }
}

/// A group that was told of is read though no member shows it any more: it may be cured.
#[tokio::test]
async fn groups_are_read_in_sweeps_and_what_was_told_of_them_with_it() {
    use aws_sdk_autoscaling::operation::describe_auto_scaling_groups::DescribeAutoScalingGroupsOutput;
    use aws_sdk_autoscaling::types::{
        AutoScalingGroup, LaunchTemplateSpecification, TagDescription,
    };
    fn group(name: &str, told: bool) -> AutoScalingGroup {
        let from = LaunchTemplateSpecification::builder().launch_template_id("lt-1");
        let tag = TagDescription::builder().key("ec2-guardrails:told-template-profile");
        AutoScalingGroup::builder()
            .auto_scaling_group_name(name)
            .launch_template(from.build())
            .set_tags(told.then(|| vec![tag.value("told").build()]))
            .build()
    }
    fn groups(found: AutoScalingGroup) -> DescribeAutoScalingGroupsOutput {
        DescribeAutoScalingGroupsOutput::builder()
            .auto_scaling_groups(found)
            .build()
    }
    let member = |id: &str, group: &str| {
        let mut found = ec2_instance(id);
        found.iam_instance_profile = None;
        let tag = Tag::builder().key("aws:autoscaling:groupName").value(group);
        found.tags = Some(vec![tag.build()]);
        found
    };
    let members = vec![member("i-1", "web"), member("i-2", "db")];
    let found = mock!(Client::describe_instances).then_output(move || page(members.clone(), None));
    let nodes = mock!(aws_sdk_ssm::Client::describe_instance_information)
        .then_output(|| nodes_page(vec![], None));
    let denied = mock!(Client::describe_launch_template_versions).then_http_response(ec2_denied);
    let told = mock!(aws_sdk_autoscaling::Client::describe_auto_scaling_groups)
        .match_requests(|request| {
            request.filters().first().is_some_and(|filter| {
                filter.name() == Some("tag-key")
                    && filter.values() == ["ec2-guardrails:told-template-profile"]
            })
        })
        .then_output(|| groups(group("db", true)));
    let named = mock!(aws_sdk_autoscaling::Client::describe_auto_scaling_groups)
        .match_requests(|request| request.auto_scaling_group_names() == ["web"])
        .then_output(|| groups(group("web", false)));
    let mut clients = clients(&[&found, &denied], &[&nodes], &[]);
    clients.autoscaling = mock_client!(aws_sdk_autoscaling, RuleMode::MatchAny, [&told, &named]);
    let facts = sweep(&clients).await.unwrap();
    assert_eq!(facts.groups["db"].told.as_deref(), Some("told"));
    assert_eq!(facts.groups["web"].told, None);
    let refused = facts.groups["web"].has_profile.as_ref().unwrap_err();
    assert_eq!(refused.operation, "ec2:DescribeLaunchTemplateVersions");

    // An event's run leaves groups to the sweep.
    let request = Request::of(Scope::One("i-1".to_owned()));
    let policy = default_policy();
    let facts = observe(&clients, OURS, &policy, &request, now()).await;
    assert!(facts.unwrap().groups.is_empty());
    assert_eq!((told.num_calls(), named.num_calls()), (1, 1));
}

fn refused(code: &'static str) -> impl Fn() -> HttpResponse + Send + Sync + 'static {
    move || {
        HttpResponse::new(
            StatusCode::try_from(403).unwrap(),
            SdkBody::from(format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error><RequestId>1</RequestId></ErrorResponse>"
            )),
        )
    }
}

#[tokio::test]
async fn where_simulating_is_not_allowed_attached_policies_are_listed() {
    let one =
        mock!(Client::describe_instances).then_output(|| page(vec![ec2_instance("i-1")], None));
    let nodes = mock!(aws_sdk_ssm::Client::describe_instance_information)
        .then_output(|| nodes_page(vec!["i-1".to_owned()], None));
    let profile = profile();
    let denied = mock!(aws_sdk_iam::Client::simulate_principal_policy)
        .then_http_response(refused("AccessDenied"));
    let core = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";
    let list = mock!(aws_sdk_iam::Client::list_attached_role_policies).then_output(move || {
        aws_sdk_iam::operation::list_attached_role_policies::ListAttachedRolePoliciesOutput::builder()
            .attached_policies(
                aws_sdk_iam::types::AttachedPolicy::builder()
                    .policy_arn(core)
                    .build(),
            )
            .build()
    });
    let endpoints = endpoints(&[]);
    let clients = clients(&[&one, &endpoints], &[&nodes], &[&profile, &denied, &list]);
    let facts = sweep(&clients).await.unwrap();
    let Ok(Identity::Role(role)) = &facts.identities[OURS] else {
        panic!("a role");
    };
    let policies = vec![core.to_owned()];
    assert_eq!(role.permissions, Permissions::Attached { policies });
    assert!(role.has_core);
}

/// Nothing of the evidence can be read: the run goes on, and says what it couldn't read.
#[tokio::test]
async fn a_late_instance_is_diagnosed_and_unreadable_evidence_stops_nothing() {
    let one =
        mock!(Client::describe_instances).then_output(|| page(vec![ec2_instance("i-1")], None));
    let none = mock!(aws_sdk_ssm::Client::describe_instance_information)
        .then_output(|| nodes_page(vec![], None));
    let gone = mock!(aws_sdk_iam::Client::get_instance_profile)
        .then_http_response(refused("NoSuchEntity"));
    let rules = [
        one,
        mock!(Client::describe_iam_instance_profile_associations).then_http_response(ec2_denied),
        mock!(Client::describe_instance_status).then_http_response(ec2_denied),
        mock!(Client::describe_images).then_http_response(ec2_denied),
        mock!(Client::describe_vpc_attribute).then_http_response(ec2_denied),
        mock!(Client::describe_vpc_endpoints).then_http_response(ec2_denied),
        mock!(Client::describe_route_tables).then_http_response(ec2_denied),
        mock!(Client::describe_network_acls).then_http_response(ec2_denied),
        mock!(Client::get_console_output).then_http_response(ec2_denied),
    ];
    let denied = mock!(aws_sdk_ssm::Client::get_service_setting).then_http_response(|| {
        HttpResponse::new(
            StatusCode::try_from(400).unwrap(),
            SdkBody::from(r#"{"__type":"AccessDeniedException","message":"no"}"#),
        )
    });
    let clients = clients(
        &rules.iter().collect::<Vec<_>>(),
        &[&none, &denied],
        &[&gone],
    );
    let facts = sweep(&clients).await.unwrap();
    assert_eq!(facts.identities[OURS], Ok(Identity::NoProfile));
    assert!(matches!(facts.network, Some(Err(_))));
    let evidence = &facts.evidence["i-1"];
    assert!(matches!(evidence.checks, Some(Err(_))));
    assert!(matches!(evidence.console, Some(Err(_))));
    assert!(matches!(evidence.image_name, Some(Err(_))));
    let unread = &facts.unread[0];
    assert_eq!(
        unread.operation,
        "ec2:DescribeIamInstanceProfileAssociations"
    );
}

#[tokio::test]
async fn what_must_be_known_fails_the_run() {
    let denied =
        mock!(Client::describe_instances).then_http_response(refused("UnauthorizedOperation"));
    let clients = clients(&[&denied], &[], &[]);
    let error = sweep(&clients).await.unwrap_err();
    assert_eq!(error.operation, "ec2:DescribeInstances");
}

#[test]
fn reads_an_instance_as_aws_describes_it() {
    let described = Ec2Instance::builder()
        .instance_id("i-1")
        .state(
            InstanceState::builder()
                .name(InstanceStateName::ShuttingDown)
                .build(),
        )
        .operator(
            OperatorResponse::builder()
                .managed(true)
                .principal("eks.amazonaws.com")
                .build(),
        )
        .tags(Tag::builder().key("Name").value("web").build())
        .build();
    let found = instance(&described).unwrap();
    assert_eq!(found.state, State::Terminal);
    assert_eq!(found.operator.as_deref(), Some("eks.amazonaws.com"));
    assert_eq!(found.label(), "i-1 (web)");
    assert!(found.metadata && found.profile.is_none());
    assert!(instance(&Ec2Instance::builder().instance_id("i-2").build()).is_none());
}

#[tokio::test]
async fn an_attachment_overtaken_since_the_decision_is_not_sent() {
    let mut without = ec2_instance("i-2");
    without.iam_instance_profile = None;
    let found = mock!(Client::describe_instances)
        .then_output(move || page(vec![ec2_instance("i-1"), without.clone()], None));
    let ec2 = mock_client!(aws_sdk_ec2, [&found]);
    let attach = |id: &str| Action::Attach {
        instance: id.to_owned(),
        profile: OURS.to_owned(),
        at: now(),
    };
    let actions = [attach("i-1"), attach("i-2"), attach("i-3")];
    let verdicts = look_again(&ec2, &actions.iter().collect::<Vec<_>>())
        .await
        .unwrap();
    assert_eq!(verdicts[0], Some(format!("it has {OURS} meanwhile")));
    assert_eq!(verdicts[1], None);
    assert_eq!(verdicts[2], Some("gone meanwhile".to_owned()));
}
