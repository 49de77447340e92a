mod sessions;

use super::*;
use crate::facts::identity::{CHANNELS, Identity, NEEDED, Permissions, REGISTER};
use crate::fixtures::{OURS, TRUST, at, default_policy, now, remember};
use crate::observe::instances::instance;
use aws_sdk_ec2::operation::describe_instances::DescribeInstancesOutput;
use aws_sdk_ec2::types::{
    IamInstanceProfile, Instance as Ec2Instance, InstanceState, InstanceStateName,
    OperatorResponse, Reservation, Tag,
};
use aws_sdk_iam::operation::get_instance_profile::GetInstanceProfileOutput;
use aws_sdk_iam::operation::simulate_principal_policy::SimulatePrincipalPolicyOutput;
use aws_sdk_iam::types::{EvaluationResult, InstanceProfile, PolicyEvaluationDecisionType, Role};
use aws_sdk_ssm::operation::describe_instance_information::DescribeInstanceInformationOutput;
use aws_sdk_ssm::types::{InstanceInformation, PingStatus};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use guardrails::resource::Resource;
use guardrails::state::model::Model;

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
    // Of the two calls one names the instance, the other what knows no resources.
    mock!(aws_sdk_iam::Client::simulate_principal_policy)
        .match_requests(|request| {
            let keys = request.context_entries().iter();
            let keys: Vec<_> = keys.filter_map(|one| one.context_key_name()).collect();
            let named = request.resource_arns().iter().all(|arn| {
                arn.starts_with("arn:aws:ec2:") && arn.contains(":111122223333:instance/i-")
            });
            let split = match request.resource_arns().len() {
                1 => request.action_names() == [REGISTER],
                _ => request.action_names() == CHANNELS,
            };
            let context = [
                "aws:RequestedRegion",
                "aws:SourceVpc",
                "ec2:SourceInstanceARN",
            ];
            named && split && context.iter().all(|key| keys.contains(key))
        })
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

/// No Auto Scaling groups.
fn no_groups() -> Rule {
    use aws_sdk_autoscaling::operation::describe_auto_scaling_groups::DescribeAutoScalingGroupsOutput;
    mock!(aws_sdk_autoscaling::Client::describe_auto_scaling_groups)
        .then_output(|| DescribeAutoScalingGroupsOutput::builder().build())
}

fn host_management(value: &'static str) -> Rule {
    use aws_sdk_ssm::operation::get_service_setting::GetServiceSettingOutput;
    use aws_sdk_ssm::types::ServiceSetting;
    mock!(aws_sdk_ssm::Client::get_service_setting).then_output(move || {
        let setting = ServiceSetting::builder().setting_value(value).build();
        GetServiceSettingOutput::builder()
            .service_setting(setting)
            .build()
    })
}

fn connection(status: &'static str) -> Rule {
    use aws_sdk_ssm::operation::get_connection_status::GetConnectionStatusOutput;
    mock!(aws_sdk_ssm::Client::get_connection_status).then_output(move || {
        GetConnectionStatusOutput::builder()
            .status(status.into())
            .build()
    })
}

fn clients(ec2: &[&Rule], ssm: &[&Rule], iam: &[&Rule]) -> Clients {
    clients_with(&Model::default(), ec2, ssm, iam)
}

/// Default Host Management is off, where a test says nothing else of it.
fn clients_with(table: &Model, ec2: &[&Rule], ssm: &[&Rule], iam: &[&Rule]) -> Clients {
    let off = host_management("$None");
    let none: [&Rule; 0] = [];
    let ssm: Vec<&Rule> = ssm.iter().copied().chain([&off]).collect();
    Clients {
        ec2: mock_client!(aws_sdk_ec2, RuleMode::MatchAny, ec2),
        ssm: mock_client!(aws_sdk_ssm, RuleMode::MatchAny, ssm),
        iam: mock_client!(aws_sdk_iam, RuleMode::MatchAny, iam),
        kms: mock_client!(aws_sdk_kms, RuleMode::MatchAny, none),
        logs: mock_client!(aws_sdk_cloudwatchlogs, RuleMode::MatchAny, none),
        autoscaling: mock_client!(aws_sdk_autoscaling, RuleMode::MatchAny, [&no_groups()]),
        own: table.state(crate::NAME),
        quarantine: table.state("quarantine-launch"),
    }
}

async fn sweep(clients: &Clients) -> Result<Facts, ApiError> {
    observe(clients, OURS, &default_policy(), &Request::sweep(), now()).await
}

/// Only these eight calls and the two of the table are known to the clients: any other would fail
/// the test.
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
    let table = Model::default();
    let hosted = host_management("service-role/Hosts");
    let clients = clients_with(&table, &ec2, &[&nodes, &hosted], &[&profile, &simulation]);
    let facts = sweep(&clients).await.unwrap();
    assert_eq!(table.calls(), ["Query node#", "Query quarantine#"]);
    assert_eq!((facts.instances.len(), facts.nodes.len()), (120, 120));
    assert_eq!((first.num_calls(), second.num_calls()), (1, 1));
    assert_eq!(nodes.num_calls(), 4);
    assert_eq!((profile.num_calls(), simulation.num_calls()), (1, 2));
    assert_eq!((endpoints.num_calls(), hosted.num_calls()), (1, 1));
    assert_eq!(facts.dhmc, Ok(Some("service-role/Hosts".to_owned())));
    assert!(facts.connections.is_empty(), "no healthy node is asked for");
    assert!(facts.evidence.is_empty() && facts.network.is_none());
    assert_eq!(facts.groups, Some(Ok(BTreeMap::new())));
    let Ok(Identity::Role(role)) = &facts.identities[OURS] else {
        panic!("a role: {:?}", facts.identities);
    };
    assert_eq!(role.trust, TRUST);
    let (missing, unclear) = (vec![], vec![]);
    assert_eq!(
        role.permissions,
        Permissions::Simulated { missing, unclear }
    );
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
    // It is Online, and its role lacks the channels: whether that is so, AWS knows.
    let connection = connection("notconnected");
    let clients = clients(
        &[&one, &endpoints],
        &[&nodes, &connection],
        &[&profile, &simulation, &list],
    );
    let facts = sweep(&clients).await.unwrap();
    let Ok(Identity::Role(role)) = &facts.identities[OURS] else {
        panic!("a role");
    };
    let missing = NEEDED[1..].iter().map(|a| (*a).to_owned()).collect();
    let unclear = vec![];
    assert_eq!(
        role.permissions,
        Permissions::Simulated { missing, unclear }
    );
    assert_eq!(facts.connections["i-1"], Ok(false));
    assert_eq!(connection.num_calls(), 1);
}

/// A word that nobody knows is no answer, of host management as of sessions; and no branch hangs on
/// the one that stands there while it is off.
#[tokio::test]
async fn unknown_words_are_no_answers() {
    for (value, role) in [
        ("$None", None),
        ("", None),
        ("None of it", None),
        ("Hosts", Some("Hosts")),
    ] {
        let setting = host_management(value);
        let ssm = mock_client!(aws_sdk_ssm, RuleMode::MatchAny, [&setting]);
        let found = nodes::default_host_management(&ssm).await.unwrap();
        assert_eq!(found.as_deref(), role, "{value}");
    }
    for (status, answer) in [
        ("connected", Some(true)),
        ("notconnected", Some(false)),
        ("perhaps", None),
    ] {
        let asked = connection(status);
        let ssm = mock_client!(aws_sdk_ssm, RuleMode::MatchAny, [&asked]);
        let found = nodes::connections(&ssm, vec!["i-1".to_owned()]).await;
        assert_eq!(found["i-1"].as_ref().ok().copied(), answer, "{status}");
    }
}

/// Where more nodes are in question than one run asks about, the next runs ask about the others.
#[test]
fn each_node_in_question_gets_its_turn() {
    let ids: Vec<String> = (0..200).map(|n| format!("i-{n:03}")).collect();
    let mut asked = BTreeSet::new();
    for sweep in 0..6 {
        let at = now() + jiff::SignedDuration::from_mins(30 * sweep);
        asked.extend(nodes::in_turn(ids.clone(), at).into_iter().take(50));
    }
    assert_eq!(asked.len(), 200);
    let few = ids[..50].to_vec();
    assert_eq!(nodes::in_turn(few.clone(), now()), few);
}

/// Taken for not attached, a policy that is there would be attached again.
#[tokio::test]
async fn a_role_whose_policies_cannot_be_listed_is_unread() {
    let denied = mock!(aws_sdk_iam::Client::list_attached_role_policies)
        .then_http_response(refused("AccessDenied"));
    let (profile, simulation) = (profile(), simulation(&NEEDED[..1]));
    let rules = [&profile, &simulation, &denied];
    let iam = mock_client!(aws_sdk_iam, RuleMode::MatchAny, rules);
    let one = instance(&ec2_instance("i-1")).unwrap();
    let found = identity::identities(&iam, [(OURS.to_owned(), one)].into()).await;
    let unread = found[OURS].as_ref().unwrap_err();
    assert_eq!(unread.operation, "iam:ListAttachedRolePolicies");
}

/// Denials that are none: a condition without a value, and those of the organization and of the
/// boundary, whose conditions the simulation doesn't know.
#[tokio::test]
async fn a_simulated_denial_counts_only_where_nothing_is_in_doubt() {
    use aws_sdk_iam::types::{OrganizationsDecisionDetail, PermissionsBoundaryDecisionDetail};
    type Change = fn(&mut EvaluationResult);
    let cases: [(Change, &str); 4] = [
        (|_| {}, ""),
        (
            |one| one.missing_context_values = Some(vec!["aws:PrincipalTag/x".to_owned()]),
            "no value for aws:PrincipalTag/x",
        ),
        (
            |one| {
                let detail = OrganizationsDecisionDetail::builder();
                one.organizations_decision_detail =
                    Some(detail.allowed_by_organizations(false).build());
            },
            "the organization's policies say no",
        ),
        (
            |one| {
                let detail = PermissionsBoundaryDecisionDetail::builder();
                one.permissions_boundary_decision_detail =
                    Some(detail.allowed_by_permissions_boundary(false).build());
            },
            "the permissions boundary says no",
        ),
    ];
    for (change, doubt) in cases {
        let denied = mock!(aws_sdk_iam::Client::simulate_principal_policy).then_output(move || {
            let results = NEEDED.iter().map(|action| {
                let denied = PolicyEvaluationDecisionType::ImplicitDeny;
                let result = EvaluationResult::builder().eval_action_name(*action);
                let mut result = result.eval_decision(denied).build().unwrap();
                change(&mut result);
                result
            });
            SimulatePrincipalPolicyOutput::builder()
                .set_evaluation_results(Some(results.collect()))
                .build()
        });
        let list = mock!(aws_sdk_iam::Client::list_attached_role_policies).then_output(|| {
            aws_sdk_iam::operation::list_attached_role_policies::ListAttachedRolePoliciesOutput::builder()
                .build()
        });
        let profile = profile();
        let iam = mock_client!(aws_sdk_iam, RuleMode::MatchAny, [&profile, &denied, &list]);
        let one = instance(&ec2_instance("i-1")).unwrap();
        let found = identity::identities(&iam, [(OURS.to_owned(), one)].into()).await;
        let Ok((_, Identity::Role(role))) = &found[OURS] else {
            panic!("a role: {found:?}");
        };
        let Permissions::Simulated { missing, unclear } = &role.permissions else {
            panic!("simulated");
        };
        let all = (missing.len(), unclear.len());
        assert_eq!(
            all,
            if doubt.is_empty() { (3, 0) } else { (0, 3) },
            "{doubt}"
        );
        assert!(
            unclear
                .iter()
                .all(|one| one.ends_with(&format!("({doubt})")))
        );
    }
}

/// What is read of each late instance is read in batches, and no more consoles than ten.
#[tokio::test]
async fn many_late_instances_take_few_calls() {
    let late = mock!(Client::describe_instances).then_output(|| {
        let many = (0..250).map(|n| {
            let mut one = ec2_instance(&format!("i-{n:03}"));
            one.image_id = Some(format!("ami-{n:03}"));
            one
        });
        page(many.collect(), None)
    });
    let empty = |operation: &'static str, body: &'static str| move || wire(operation, body);
    let associations = mock!(Client::describe_iam_instance_profile_associations)
        .match_requests(|request| request.filters()[0].values().len() <= 200)
        .then_http_response(empty(
            "DescribeIamInstanceProfileAssociations",
            "<iamInstanceProfileAssociationSet/>",
        ));
    let checks = mock!(Client::describe_instance_status)
        .match_requests(|request| request.instance_ids().len() <= 100)
        .then_http_response(empty("DescribeInstanceStatus", "<instanceStatusSet/>"));
    let images =
        mock!(Client::describe_images).then_http_response(empty("DescribeImages", "<imagesSet/>"));
    let consoles = mock!(Client::get_console_output)
        .match_requests(|request| request.latest() == Some(true))
        .then_http_response(empty("GetConsoleOutput", "<instanceId>i-1</instanceId>"));
    let endpoints = mock!(Client::describe_vpc_endpoints).then_http_response(ec2_denied);
    let nodes = mock!(aws_sdk_ssm::Client::describe_instance_information)
        .then_output(|| nodes_page(vec![], None));
    let (profile, simulation) = (profile(), simulation(&NEEDED));
    let ec2 = [
        &late,
        &associations,
        &checks,
        &images,
        &consoles,
        &endpoints,
    ];
    let clients = clients(&ec2, &[&nodes], &[&profile, &simulation]);
    let facts = sweep(&clients).await.unwrap();
    assert_eq!(facts.evidence.len(), 250);
    assert_eq!(associations.num_calls(), 2);
    assert_eq!(checks.num_calls(), 3);
    assert_eq!(images.num_calls(), 2);
    assert_eq!(consoles.num_calls(), 10);
    assert_eq!(
        nodes.num_calls(),
        2,
        "all nodes, and those of hybrid activations"
    );
    assert_eq!((profile.num_calls(), simulation.num_calls()), (1, 2));
}

/// Not every instance type has the console as it is now.
#[tokio::test]
async fn a_console_that_has_no_latest_is_read_as_it_was_after_the_last_start() {
    let one =
        mock!(Client::describe_instances).then_output(|| page(vec![ec2_instance("i-1")], None));
    let latest = mock!(Client::get_console_output)
        .match_requests(|request| request.latest() == Some(true))
        .then_http_response(|| ec2_error("UnsupportedOperation", "not this type"));
    let kept = mock!(Client::get_console_output)
        .match_requests(|request| request.latest().is_none())
        .then_http_response(|| {
            wire(
                "GetConsoleOutput",
                "<instanceId>i-1</instanceId><timestamp>2026-11-21T08:01:00Z</timestamp><output>bG9naW46</output>",
            )
        });
    let rest = [
        mock!(Client::describe_iam_instance_profile_associations).then_http_response(ec2_denied),
        mock!(Client::describe_instance_status).then_http_response(ec2_denied),
        mock!(Client::describe_images).then_http_response(ec2_denied),
        mock!(Client::describe_vpc_endpoints).then_http_response(ec2_denied),
    ];
    let nodes = mock!(aws_sdk_ssm::Client::describe_instance_information)
        .then_output(|| nodes_page(vec![], None));
    let (profile, simulation) = (profile(), simulation(&NEEDED));
    let ec2: Vec<&Rule> = [&one, &latest, &kept].into_iter().chain(&rest).collect();
    let clients = clients(&ec2, &[&nodes], &[&profile, &simulation]);
    let facts = sweep(&clients).await.unwrap();
    let Some(Ok(console)) = &facts.evidence["i-1"].console else {
        panic!("a console");
    };
    assert_eq!(console.text, "login:");
    assert_eq!(console.updated, Some(at("08:01:00")));
}

/// AWS's id of a profile tells one that was made again under its name from the one that an instance
/// has.
#[tokio::test]
async fn a_profile_made_again_under_its_name_is_another_one() {
    let two = mock!(Client::describe_instances).then_output(|| {
        let with = |id: &str, profile: &str| {
            let mut one = ec2_instance(id);
            let has = IamInstanceProfile::builder().arn(OURS).id(profile);
            one.iam_instance_profile = Some(has.build());
            one
        };
        page(vec![with("i-1", "AIPA1"), with("i-2", "AIPA0")], None)
    });
    let nodes = mock!(aws_sdk_ssm::Client::describe_instance_information)
        .then_output(|| nodes_page(vec!["i-1".to_owned(), "i-2".to_owned()], None));
    let (profile, simulation, endpoints) = (profile(), simulation(&NEEDED), endpoints(&[]));
    let clients = clients(&[&two, &endpoints], &[&nodes], &[&profile, &simulation]);
    let facts = sweep(&clients).await.unwrap();
    assert_eq!(facts.remade, ["i-2".to_owned()].into());
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
        mock!(Client::describe_vpcs).then_http_response(|| wire("DescribeVpcs", "<vpcSet/>")),
        mock!(Client::describe_route_tables)
            .then_http_response(|| wire("DescribeRouteTables", "<routeTableSet/>")),
        mock!(Client::describe_network_acls)
            .then_http_response(|| wire("DescribeNetworkAcls", "<networkAclSet/>")),
        mock!(Client::describe_security_groups)
            .then_http_response(|| wire("DescribeSecurityGroups", "<securityGroupInfo/>")),
    ];
    let ec2: Vec<&Rule> = uneven.iter().collect();
    let connection = connection("connected");
    let ssm = [&nodes, &connection];
    let clients = clients(&ec2, &ssm, &[&profile, &simulation]);
    let facts = sweep(&clients).await.unwrap();
    assert_eq!(connection.num_calls(), 2);
    let calls: Vec<usize> = uneven.iter().map(Rule::num_calls).collect();
    assert_eq!(calls, [1, 1, 2, 1, 1, 1, 1]);
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
    let Some(Err(unread)) = facts.network else {
        panic!("refused: {:?}", facts.network);
    };
    assert_eq!(unread.operation, "ec2:DescribeVpcEndpoints");
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

/// All groups in pages; what they launch from once each, and only where a member lacks a profile or
/// has the stack's.
#[tokio::test]
async fn groups_are_read_in_sweeps_and_the_templates_of_those_concerned() {
    use aws_sdk_autoscaling::operation::describe_auto_scaling_groups::DescribeAutoScalingGroupsOutput;
    use aws_sdk_autoscaling::types::{AutoScalingGroup, LaunchTemplateSpecification};
    fn group(name: &str, template: &str) -> AutoScalingGroup {
        let from = LaunchTemplateSpecification::builder().launch_template_id(template);
        AutoScalingGroup::builder()
            .auto_scaling_group_name(name)
            .launch_template(from.build())
            .build()
    }
    let member = |id: &str, group: &str, profile: Option<&str>| {
        let mut found = ec2_instance(id);
        let profile = profile.map(|arn| IamInstanceProfile::builder().arn(arn).build());
        found.iam_instance_profile = profile;
        let tag = Tag::builder().key("aws:autoscaling:groupName").value(group);
        found.tags = Some(vec![tag.build()]);
        found
    };
    let theirs = "arn:aws:iam::1:instance-profile/theirs";
    let mut stopped = member("i-4", "own", Some(theirs));
    let is_stopped = InstanceState::builder().name(InstanceStateName::Stopped);
    stopped.state = Some(is_stopped.build());
    let members = vec![
        member("i-1", "web", None),
        member("i-2", "web", None),
        member("i-3", "db", None),
        stopped,
    ];
    let found = mock!(Client::describe_instances).then_output(move || page(members.clone(), None));
    let nodes = mock!(aws_sdk_ssm::Client::describe_instance_information)
        .then_output(|| nodes_page(vec![], None));
    let denied = mock!(Client::describe_launch_template_versions)
        .match_requests(|request| request.launch_template_id() == Some("lt-1"))
        .then_http_response(ec2_denied);
    let groups =
        mock!(aws_sdk_autoscaling::Client::describe_auto_scaling_groups).then_output(|| {
            let groups = [
                group("web", "lt-1"),
                group("db", "lt-1"),
                group("own", "lt-own"),
                group("empty", "lt-empty"),
            ];
            DescribeAutoScalingGroupsOutput::builder()
                .set_auto_scaling_groups(Some(groups.to_vec()))
                .build()
        });
    let mut clients = clients(&[&found, &denied], &[&nodes], &[]);
    clients.autoscaling = mock_client!(aws_sdk_autoscaling, RuleMode::MatchAny, [&groups]);
    let facts = sweep(&clients).await.unwrap();
    let read = facts.groups.unwrap().unwrap();
    for concerned in ["web", "db"] {
        let Some(Err(refused)) = &read[concerned].has_profile else {
            panic!("refused: {:?}", read[concerned]);
        };
        assert_eq!(refused.operation, "ec2:DescribeLaunchTemplateVersions");
    }
    assert_eq!(denied.num_calls(), 1, "several launch from the same");
    for other in ["own", "empty"] {
        assert_eq!(read[other].has_profile, None);
    }

    // An event's run leaves groups to the sweep.
    let request = Request::of(Scope::one(Resource::instance("i-1")));
    let policy = default_policy();
    let facts = observe(&clients, OURS, &policy, &request, now()).await;
    assert_eq!(facts.unwrap().groups, None);
    assert_eq!(groups.num_calls(), 1);
}

/// A table with an instance attached and one in quarantine.
async fn table() -> Model {
    let table = Model::default();
    let attached = Managed {
        attached: at("11:00:00"),
        online: None,
        connected: false,
    };
    remember(&table, &NODES, "i-1", &attached).await;
    let topic = guardrails::state::Topic::<serde_json::Value>::new("quarantine");
    let record = serde_json::json!({"stage": "begun", "more": [1, 2]});
    let state = table.state("quarantine-launch");
    let any = guardrails::state::Expect::Any;
    let written = state.put(&topic, "i-2", &record, None, &any, now());
    assert!(written.await.unwrap().is_done());
    table
}

/// Two instances without a profile, read by a sweep or by the event of the second.
async fn with_table(table: &Model, request: &Request<Ask>) -> Result<Facts, ApiError> {
    let found = mock!(Client::describe_instances).then_output(|| {
        let two = ["i-1", "i-2"].map(|id| {
            let mut found = ec2_instance(id);
            found.iam_instance_profile = None;
            found
        });
        page(two.to_vec(), None)
    });
    let nodes = mock!(aws_sdk_ssm::Client::describe_instance_information)
        .then_output(|| nodes_page(vec![], None));
    let clients = clients_with(table, &[&found], &[&nodes], &[]);
    observe(&clients, OURS, &default_policy(), request, now()).await
}

#[tokio::test]
async fn the_memory_says_what_was_attached_and_what_is_in_quarantine() {
    let table = table().await;
    let facts = with_table(&table, &Request::sweep()).await.unwrap();
    assert_eq!(facts.memory["i-1"].value.attached, at("11:00:00"));
    assert_eq!(facts.memory.len(), 1);
    assert_eq!(facts.quarantined, Ok(["i-2".to_owned()].into()));
    let event = Request::of(Scope::one(Resource::instance("i-2")));
    let facts = with_table(&table, &event).await.unwrap();
    assert_eq!(facts.quarantined, Ok(["i-2".to_owned()].into()));
    let last: Vec<String> = table.calls().into_iter().rev().take(2).collect();
    assert_eq!(last, ["GetItem quarantine#i-2", "GetItem node#i-2"]);
}

#[tokio::test]
async fn quarantines_that_cannot_be_read_are_unknown_and_the_own_memory_is_needed() {
    use guardrails::state::model::Fault;
    let table = table().await;
    table.script(&[Fault::None, Fault::Denied]);
    let facts = with_table(&table, &Request::sweep()).await.unwrap();
    let unread = facts.quarantined.unwrap_err();
    assert_eq!(unread.operation, "dynamodb:Query");
    table.script(&[Fault::Denied]);
    let error = with_table(&table, &Request::sweep()).await.unwrap_err();
    assert_eq!(error.operation, "dynamodb:Query");
}

#[tokio::test]
async fn a_diagnosis_of_what_is_not_there_is_an_error() {
    let none = mock!(Client::describe_instances).then_output(|| page(vec![], None));
    let nodes = mock!(aws_sdk_ssm::Client::describe_instance_information)
        .then_output(|| nodes_page(vec![], None));
    let clients = clients(&[&none], &[&nodes], &[]);
    let mut request = Request::asking(Scope::one(Resource::instance("i-9")));
    let policy = default_policy();
    // An event may be late.
    let facts = observe(&clients, OURS, &policy, &request, now()).await;
    assert!(facts.unwrap().instances.is_empty());
    request.ask = Ask::Diagnose;
    let error = observe(&clients, OURS, &policy, &request, now())
        .await
        .unwrap_err();
    assert!(error.is_not_found());
    assert!(
        error.message.contains("there is no instance i-9"),
        "{error}"
    );
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
        mock!(Client::describe_vpcs).then_http_response(ec2_denied),
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
    let unread = facts.associated.unwrap_err();
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
    let mut excluded = without.clone();
    excluded.instance_id = Some("i-4".to_owned());
    excluded.tags = Some(vec![Tag::builder().key("NoSsm").value("").build()]);
    let mut operated = without.clone();
    operated.instance_id = Some("i-5".to_owned());
    let operator = OperatorResponse::builder().managed(true);
    operated.operator = Some(operator.principal("eks.amazonaws.com").build());
    let found = vec![ec2_instance("i-1"), without, excluded, operated];
    let found = mock!(Client::describe_instances).then_output(move || page(found.clone(), None));
    let ec2 = mock_client!(aws_sdk_ec2, [&found]);
    let attach = |id: &str| Action::Attach {
        instance: id.to_owned(),
        profile: OURS.to_owned(),
        at: now(),
        exclude: default_policy().exclude,
    };
    let actions = ["i-1", "i-2", "i-3", "i-4", "i-5"].map(attach);
    let verdicts = revalidate(&ec2, &actions.iter().collect::<Vec<_>>())
        .await
        .unwrap();
    assert_eq!(verdicts[0], Some(format!("it has {OURS} meanwhile")));
    assert_eq!(verdicts[1], None);
    assert_eq!(verdicts[2], Some("gone meanwhile".to_owned()));
    let excluded = "its tag NoSsm excludes it meanwhile".to_owned();
    assert_eq!(verdicts[3], Some(excluded));
    let operated = "eks.amazonaws.com manages it meanwhile".to_owned();
    assert_eq!(verdicts[4], Some(operated));
}
