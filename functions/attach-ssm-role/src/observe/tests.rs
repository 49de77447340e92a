mod sessions;

use super::*;
use crate::evaluate::Question;
use crate::facts::identity::{CHANNELS, Identity, NEEDED, Permissions, REGISTER};
use crate::fixtures::{
    OURS, THEIRS, TRUST, at, attach, clients, default_policy, ec2_answer, ec2_denied, ec2_error,
    iam_error, json_error, now, quarantine, remember,
};
use crate::observe::instances::instance;
use aws_sdk_ec2::operation::describe_instances::DescribeInstancesOutput;
use aws_sdk_ec2::types::{
    IamInstanceProfile, Instance as Ec2Instance, InstanceState, InstanceStateName,
    OperatorResponse, Reservation, Tag,
};
use aws_sdk_iam::operation::get_instance_profile::GetInstanceProfileOutput;
use aws_sdk_iam::operation::list_attached_role_policies::ListAttachedRolePoliciesOutput;
use aws_sdk_iam::operation::simulate_principal_policy::SimulatePrincipalPolicyOutput;
use aws_sdk_iam::types::{
    AttachedPolicy, EvaluationResult, InstanceProfile, PolicyEvaluationDecisionType, Role,
};
use aws_sdk_ssm::operation::describe_instance_information::DescribeInstanceInformationOutput;
use aws_sdk_ssm::operation::get_service_setting::GetServiceSettingOutput;
use aws_sdk_ssm::types::{InstanceInformation, PingStatus};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use aws_smithy_types::DateTime;
use guardrails::resource::Resource;
use guardrails::state::model::{Fault, Model};

fn is(state: InstanceStateName) -> InstanceState {
    InstanceState::builder().name(state).build()
}

fn ec2_instance(id: &str) -> Ec2Instance {
    let launched = now().as_second() - 4 * 3_600;
    Ec2Instance::builder()
        .instance_id(id)
        .state(is(InstanceStateName::Running))
        .iam_instance_profile(IamInstanceProfile::builder().arn(OURS).build())
        .launch_time(DateTime::from_secs(launched))
        .vpc_id("vpc-1")
        .subnet_id("subnet-a")
        .image_id("ami-1")
        .private_ip_address("10.0.1.10")
        .build()
}

fn without_profile(id: &str) -> Ec2Instance {
    let mut found = ec2_instance(id);
    found.iam_instance_profile = None;
    found
}

fn page(instances: Vec<Ec2Instance>, next: Option<&str>) -> DescribeInstancesOutput {
    let all = Reservation::builder().set_instances(Some(instances));
    DescribeInstancesOutput::builder()
        .reservations(all.build())
        .set_next_token(next.map(str::to_owned))
        .build()
}

/// These are all instances.
fn found(instances: Vec<Ec2Instance>) -> Rule {
    mock!(Client::describe_instances).then_output(move || page(instances.clone(), None))
}

/// There is one, with the stack's profile.
fn one() -> Rule {
    found(vec![ec2_instance("i-1")])
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

/// These nodes are Online, and there are no others.
fn online(ids: &'static [&'static str]) -> Rule {
    mock!(aws_sdk_ssm::Client::describe_instance_information).then_output(move || {
        let ids = ids.iter().map(|id| (*id).to_owned());
        nodes_page(ids.collect(), None)
    })
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

/// The policies that are attached to the role.
fn attached(policies: &'static [&'static str]) -> Rule {
    mock!(aws_sdk_iam::Client::list_attached_role_policies).then_output(move || {
        let policies = policies.iter().map(|arn| {
            let policy = AttachedPolicy::builder().policy_arn(*arn);
            policy.build()
        });
        ListAttachedRolePoliciesOutput::builder()
            .set_attached_policies(Some(policies.collect()))
            .build()
    })
}

/// Default Host Management is off, where a test says nothing else of it, and there are no groups.
fn clients_in(table: &Model, ec2: &[&Rule], ssm: &[&Rule], iam: &[&Rule]) -> Clients {
    let off = host_management("$None");
    let ssm: Vec<&Rule> = ssm.iter().copied().chain([&off]).collect();
    Clients {
        autoscaling: mock_client!(aws_sdk_autoscaling, RuleMode::MatchAny, [&no_groups()]),
        ..clients(table, ec2, &ssm, iam)
    }
}

async fn sweep(clients: &Clients) -> Result<Facts, ApiError> {
    observe(clients, OURS, &default_policy(), &Request::sweep(), now()).await
}

/// What a sweep of these finds.
async fn swept(ec2: &[&Rule], ssm: &[&Rule], iam: &[&Rule]) -> Result<Facts, ApiError> {
    sweep(&clients_in(&Model::default(), ec2, ssm, iam)).await
}

fn role_of(identity: &Read<Identity>) -> &crate::facts::identity::Role {
    match identity {
        Ok(Identity::Role(role)) => role,
        other => panic!("a role: {other:?}"),
    }
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
    let clients = clients_in(&table, &ec2, &[&nodes, &hosted], &[&profile, &simulation]);
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
    let role = role_of(&facts.identities[OURS]);
    assert_eq!(role.trust, TRUST);
    let (missing, unclear) = (vec![], vec![]);
    let all = Permissions::Simulated { missing, unclear };
    assert_eq!(role.permissions, all);
}

#[tokio::test]
async fn few_nodes_are_asked_for_by_id() {
    let nodes = mock!(aws_sdk_ssm::Client::describe_instance_information)
        .match_requests(|request| {
            request.filters()[0].key() == "InstanceIds" && request.filters()[0].values() == ["i-1"]
        })
        .then_output(|| nodes_page(vec!["i-1".to_owned()], None));
    let (profile, simulation, list) = (profile(), simulation(&NEEDED[..1]), attached(&[]));
    // It is Online, and its role lacks the channels: whether that is so, AWS knows.
    let connection = connection("notconnected");
    let facts = swept(
        &[&one(), &endpoints(&[])],
        &[&nodes, &connection],
        &[&profile, &simulation, &list],
    )
    .await
    .unwrap();
    let missing = NEEDED[1..].iter().map(|a| (*a).to_owned()).collect();
    let unclear = vec![];
    let channels = Permissions::Simulated { missing, unclear };
    assert_eq!(role_of(&facts.identities[OURS]).permissions, channels);
    assert_eq!(facts.connections["i-1"], Ok(false));
    assert_eq!(connection.num_calls(), 1);
}

/// A word that nobody knows is no answer, of host management as of sessions; and no branch hangs on
/// the one that stands there while it is off.
#[tokio::test]
async fn unknown_words_are_no_answers() {
    for (value, role) in rows! {
        "$None" => None;
        "" => None;
        "None of it" => None;
        "Hosts" => Some("Hosts");
    } {
        let setting = host_management(value);
        let ssm = mock_client!(aws_sdk_ssm, RuleMode::MatchAny, [&setting]);
        let found = nodes::default_host_management(&ssm).await.unwrap();
        assert_eq!(found.as_deref(), role, "{value}");
    }
    // Taken for off, it would have a profile attached to what it carries.
    let silent = mock!(aws_sdk_ssm::Client::get_service_setting)
        .then_output(|| GetServiceSettingOutput::builder().build());
    let ssm = mock_client!(aws_sdk_ssm, RuleMode::MatchAny, [&silent]);
    let unread = nodes::default_host_management(&ssm).await.unwrap_err();
    assert_eq!(unread.code, "UnreadableAnswer");
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
    let of =
        |question, ids: std::ops::Range<usize>| ids.map(move |n| (question, format!("i-{n:03}")));
    let suspected: Vec<_> = of(Question::Suspected, 0..200).collect();
    let mut asked = BTreeSet::new();
    for sweep in 0..6 {
        let at = now() + jiff::SignedDuration::from_mins(30 * sweep);
        asked.extend(nodes::in_turn(suspected.clone(), at));
    }
    assert_eq!(asked.len(), 200);
    // Those in doubt leave them the way.
    let both = of(Question::InDoubt, 0..200).chain(of(Question::Suspected, 200..210));
    let mut first = nodes::in_turn(both.collect(), now());
    first.truncate(10);
    first.sort();
    let suspected: Vec<String> = of(Question::Suspected, 200..210)
        .map(|(_, id)| id)
        .collect();
    assert_eq!(first, suspected);
    // And get theirs, however many look wrong.
    for wrong in [30, 200] {
        let mut asked = BTreeSet::new();
        for sweep in 0..24 {
            let at = now() + jiff::SignedDuration::from_mins(30 * sweep);
            let both =
                of(Question::InDoubt, 0..60).chain(of(Question::Suspected, 100..100 + wrong));
            let turn = nodes::in_turn(both.collect(), at);
            assert_eq!(turn.len(), 50);
            asked.extend(turn);
        }
        assert_eq!(asked.len(), 60 + wrong, "{wrong}");
    }
}

/// The stack's profile as these rules answer of it, simulated for one instance.
async fn identified(rules: &[&Rule]) -> Read<Identity> {
    let iam = mock_client!(aws_sdk_iam, RuleMode::MatchAny, rules);
    let one = instance(&ec2_instance("i-1")).unwrap();
    let mut found = identity::identities(&iam, [(OURS.to_owned(), one)].into()).await;
    found.remove(OURS).unwrap().map(|(_, identity)| identity)
}

/// Taken for not attached, a policy that is there would be attached again; and what the role lacks is
/// known all the same.
#[tokio::test]
async fn a_role_whose_policies_cannot_be_listed_is_read_but_for_these() {
    let denied = mock!(aws_sdk_iam::Client::list_attached_role_policies)
        .then_http_response(iam_error("AccessDenied"));
    let found = identified(&[&profile(), &simulation(&NEEDED[..1]), &denied]).await;
    let unread = role_of(&found).has_core.as_ref().unwrap_err();
    assert_eq!(unread.operation, "iam:ListAttachedRolePolicies");
}

/// That it has no role would be a definite cause.
#[tokio::test]
async fn a_profile_of_which_nothing_is_said_is_unread() {
    let silent = mock!(aws_sdk_iam::Client::get_instance_profile)
        .then_output(|| GetInstanceProfileOutput::builder().build());
    let unread = identified(&[&silent]).await.unwrap_err();
    assert_eq!(unread.code, "UnreadableAnswer");
}

/// Denials that are none: a condition without a value, and those of the organization and of the
/// boundary, whose conditions the simulation doesn't know.
#[tokio::test]
async fn a_simulated_denial_counts_only_where_nothing_is_in_doubt() {
    use aws_sdk_iam::types::{OrganizationsDecisionDetail, PermissionsBoundaryDecisionDetail};
    type Change = fn(&mut EvaluationResult);
    let cases: [(Change, &str); 5] = [
        (|_| {}, ""),
        (
            |one| one.eval_decision = "perhaps".into(),
            "it says perhaps",
        ),
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
        let found = identified(&[&profile(), &denied, &attached(&[])]).await;
        let all = |why: &str| NEEDED.map(|action| format!("{action}{why}")).to_vec();
        let expected = match doubt {
            "" => (all(""), vec![]),
            doubt => (vec![], all(&format!(" ({doubt})"))),
        };
        let (missing, unclear) = expected;
        let expected = Permissions::Simulated { missing, unclear };
        assert_eq!(role_of(&found).permissions, expected, "{doubt}");
    }
}

/// What is read of each late instance is read in batches, and no more consoles than ten.
#[tokio::test]
async fn many_late_instances_take_few_calls() {
    let late = (0..250).map(|n| {
        let mut one = ec2_instance(&format!("i-{n:03}"));
        one.image_id = Some(format!("ami-{n:03}"));
        one
    });
    let late = found(late.collect());
    let associations = mock!(Client::describe_iam_instance_profile_associations)
        .match_requests(|request| request.filters()[0].values().len() <= 200)
        .then_http_response(ec2_answer(
            "DescribeIamInstanceProfileAssociations",
            "<iamInstanceProfileAssociationSet/>",
        ));
    let checks = mock!(Client::describe_instance_status)
        .match_requests(|request| request.instance_ids().len() <= 100)
        .then_http_response(ec2_answer("DescribeInstanceStatus", "<instanceStatusSet/>"));
    let images = mock!(Client::describe_images)
        .then_http_response(ec2_answer("DescribeImages", "<imagesSet/>"));
    let consoles = mock!(Client::get_console_output)
        .match_requests(|request| request.latest() == Some(true))
        .then_http_response(ec2_answer(
            "GetConsoleOutput",
            "<instanceId>i-1</instanceId>",
        ));
    let endpoints = mock!(Client::describe_vpc_endpoints).then_http_response(ec2_denied);
    let (nodes, profile, simulation) = (online(&[]), profile(), simulation(&NEEDED));
    let batched = [&associations, &checks, &images, &consoles];
    let ec2 = [&[&late, &endpoints][..], &batched].concat();
    let facts = swept(&ec2, &[&nodes], &[&profile, &simulation]).await;
    assert_eq!(facts.unwrap().evidence.len(), 250);
    assert_eq!(batched.map(Rule::num_calls), [2, 3, 2, 10]);
    let of_nodes = "all nodes, and those of hybrid activations";
    assert_eq!(nodes.num_calls(), 2, "{of_nodes}");
    assert_eq!((profile.num_calls(), simulation.num_calls()), (1, 2));
}

/// Not every instance type has the console as it is now.
#[tokio::test]
async fn a_console_that_has_no_latest_is_read_as_it_was_after_the_last_start() {
    let latest = mock!(Client::get_console_output)
        .match_requests(|request| request.latest() == Some(true))
        .then_http_response(|| ec2_error(400, "UnsupportedOperation", "not this type"));
    let kept = mock!(Client::get_console_output)
        .match_requests(|request| request.latest().is_none())
        .then_http_response(ec2_answer("GetConsoleOutput", "<instanceId>i-1</instanceId><timestamp>2026-11-21T08:01:00Z</timestamp><output>bG9naW46</output>"));
    let (one, rest) = (one(), evidence_denied());
    let ec2: Vec<&Rule> = [&one, &latest, &kept].into_iter().chain(&rest).collect();
    let (nodes, profile, simulation) = (online(&[]), profile(), simulation(&NEEDED));
    let facts = swept(&ec2, &[&nodes], &[&profile, &simulation]).await;
    let facts = facts.unwrap();
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
    let with = |id: &str, profile: &str| {
        let mut one = ec2_instance(id);
        let has = IamInstanceProfile::builder().arn(OURS).id(profile);
        one.iam_instance_profile = Some(has.build());
        one
    };
    let two = found(vec![with("i-1", "AIPA1"), with("i-2", "AIPA0")]);
    let (profile, simulation, endpoints) = (profile(), simulation(&NEEDED), endpoints(&[]));
    let nodes = online(&["i-1", "i-2"]);
    let facts = swept(&[&two, &endpoints], &[&nodes], &[&profile, &simulation]).await;
    assert_eq!(facts.unwrap().remade, ["i-2".to_owned()].into());
}

/// Of a late instance nothing is read but its console.
fn evidence_denied() -> [Rule; 4] {
    [
        mock!(Client::describe_iam_instance_profile_associations).then_http_response(ec2_denied),
        mock!(Client::describe_instance_status).then_http_response(ec2_denied),
        mock!(Client::describe_images).then_http_response(ec2_denied),
        mock!(Client::describe_vpc_endpoints).then_http_response(ec2_denied),
    ]
}

/// Two Online nodes in a VPC whose endpoints differ: the VPC is read once, nothing per node.
#[tokio::test]
async fn a_vpc_whose_endpoints_are_uneven_is_read_once() {
    let on = "<enableDnsSupport><value>true</value></enableDnsSupport><enableDnsHostnames><value>true</value></enableDnsHostnames>";
    let uneven = [
        found(vec![ec2_instance("i-1"), ec2_instance("i-2")]),
        endpoints(&[("ssm", "sg-1")]),
        mock!(Client::describe_vpc_attribute)
            .then_http_response(ec2_answer("DescribeVpcAttribute", on)),
        mock!(Client::describe_vpcs).then_http_response(ec2_answer("DescribeVpcs", "<vpcSet/>")),
        mock!(Client::describe_route_tables)
            .then_http_response(ec2_answer("DescribeRouteTables", "<routeTableSet/>")),
        mock!(Client::describe_network_acls)
            .then_http_response(ec2_answer("DescribeNetworkAcls", "<networkAclSet/>")),
        mock!(Client::describe_security_groups)
            .then_http_response(ec2_answer("DescribeSecurityGroups", "<securityGroupInfo/>")),
    ];
    let (profile, simulation) = (profile(), simulation(&NEEDED));
    let (nodes, connection) = (online(&["i-1", "i-2"]), connection("connected"));
    let ec2: Vec<&Rule> = uneven.iter().collect();
    let facts = swept(&ec2, &[&nodes, &connection], &[&profile, &simulation]).await;
    let facts = facts.unwrap();
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
    let denied = mock!(Client::describe_vpc_endpoints).then_http_response(ec2_denied);
    let (nodes, connection) = (online(&["i-1"]), connection("connected"));
    let facts = swept(
        &[&one(), &denied],
        &[&nodes, &connection],
        &[&profile(), &simulation(&NEEDED)],
    )
    .await
    .unwrap();
    // AWS knows, what isn't seen from outside.
    assert_eq!(facts.connections["i-1"], Ok(true));
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
            let message = "The instance IDs 'i-2, i-1' do not exist";
            ec2_error(400, "InvalidInstanceID.NotFound", message)
        });
    let rest = mock!(Client::describe_instance_status)
        .match_requests(|request| request.instance_ids() == ["i-11"])
        .then_http_response(ec2_answer("DescribeInstanceStatus", "<instanceStatusSet><item><instanceId>i-11</instanceId><systemStatus><status>impaired</status></systemStatus><instanceStatus><status>ok</status></instanceStatus></item></instanceStatusSet>"));
    let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&gone, &rest]);
    let found = evidence::checks(&ec2, &ids).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found["i-11"], ("impaired".to_owned(), "ok".to_owned()));

    // None is left, or none is named: no endless loop.
    for (message, known) in [("'i-1, i-11, i-2'", true), ("some are gone", false)] {
        let gone = mock!(Client::describe_instance_status)
            .then_http_response(move || ec2_error(400, "InvalidInstanceID.NotFound", message));
        let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&gone]);
        let found = evidence::checks(&ec2, &ids).await;
        let none = found.is_ok_and(|found| found.is_empty());
        assert_eq!(none, known, "{message}");
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
    let mut stopped = member("i-4", "own", Some(THEIRS));
    stopped.state = Some(is(InstanceStateName::Stopped));
    let found = found(vec![
        member("i-1", "web", None),
        member("i-2", "web", None),
        member("i-3", "db", None),
        stopped,
    ]);
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
    let mut clients = clients_in(&Model::default(), &[&found, &denied], &[&online(&[])], &[]);
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
    remember(&table, "i-1", "11:00:00").await;
    quarantine(&table, "i-2").await;
    table
}

/// Two instances without a profile, read by a sweep or by the event of the second.
async fn with_table(table: &Model, request: &Request<Ask>) -> Result<Facts, ApiError> {
    let two = found(["i-1", "i-2"].map(without_profile).to_vec());
    let clients = clients_in(table, &[&two], &[&online(&[])], &[]);
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
    let clients = clients_in(&Model::default(), &[&found(vec![])], &[], &[]);
    let mut request = Request::asking(Scope::one(Resource::instance("i-9")));
    let policy = default_policy();
    // An event may be late.
    let facts = observe(&clients, OURS, &policy, &request, now()).await;
    assert!(facts.unwrap().instances.is_empty());
    request.ask = Ask::Diagnose;
    let error = observe(&clients, OURS, &policy, &request, now()).await;
    let error = error.unwrap_err();
    assert!(error.is_not_found());
    let none = "there is no instance i-9";
    assert!(error.message.contains(none), "{error}");
}

#[tokio::test]
async fn where_simulating_is_not_allowed_attached_policies_are_listed() {
    const CORE: &str = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";
    let denied = mock!(aws_sdk_iam::Client::simulate_principal_policy)
        .then_http_response(iam_error("AccessDenied"));
    let found = identified(&[&profile(), &denied, &attached(&[CORE])]).await;
    let policies = vec![CORE.to_owned()];
    let role = role_of(&found);
    assert_eq!(role.permissions, Permissions::Attached { policies });
    assert_eq!(role.has_core, Ok(true));
}

/// Nothing of the evidence can be read: the run goes on, and says what it couldn't read.
#[tokio::test]
async fn a_late_instance_is_diagnosed_and_unreadable_evidence_stops_nothing() {
    let gone = mock!(aws_sdk_iam::Client::get_instance_profile)
        .then_http_response(iam_error("NoSuchEntity"));
    let console = mock!(Client::get_console_output).then_http_response(ec2_denied);
    let denied = mock!(aws_sdk_ssm::Client::get_service_setting)
        .then_http_response(json_error("AccessDeniedException"));
    let (one, rest, nodes) = (one(), evidence_denied(), online(&[]));
    let ec2: Vec<&Rule> = [&one, &console].into_iter().chain(&rest).collect();
    let facts = swept(&ec2, &[&nodes, &denied], &[&gone]).await.unwrap();
    assert_eq!(facts.identities[OURS], Ok(Identity::NoProfile));
    assert!(matches!(facts.network, Some(Err(_))));
    let evidence = &facts.evidence["i-1"];
    assert!(matches!(evidence.checks, Some(Err(_))));
    assert!(matches!(evidence.console, Some(Err(_))));
    assert!(matches!(evidence.image_name, Some(Err(_))));
    let unread = facts.associated.unwrap_err().operation;
    assert_eq!(unread, "ec2:DescribeIamInstanceProfileAssociations");
}

#[tokio::test]
async fn what_must_be_known_fails_the_run() {
    let denied = mock!(Client::describe_instances).then_http_response(ec2_denied);
    let error = swept(&[&denied], &[], &[]).await.unwrap_err();
    assert_eq!(error.operation, "ec2:DescribeInstances");
}

#[test]
fn reads_an_instance_as_aws_describes_it() {
    let described = Ec2Instance::builder()
        .instance_id("i-1")
        .state(is(InstanceStateName::ShuttingDown))
        .operator(operator())
        .tags(Tag::builder().key("Name").value("web").build())
        .build();
    let found = instance(&described).unwrap();
    assert_eq!(found.state, State::Terminal);
    assert_eq!(found.operator.as_deref(), Some("eks.amazonaws.com"));
    assert_eq!(found.label(), "i-1 (web)");
    assert!(found.metadata && found.profile.is_none());
    assert!(
        found.launched > now(),
        "nothing is late for want of a start"
    );
    assert!(instance(&Ec2Instance::builder().instance_id("i-2").build()).is_none());
    let mut nameless = ec2_instance("i-3");
    nameless.iam_instance_profile = Some(IamInstanceProfile::builder().build());
    assert!(instance(&nameless).unwrap().profile.is_some());
}

fn operator() -> OperatorResponse {
    let operator = OperatorResponse::builder().managed(true);
    operator.principal("eks.amazonaws.com").build()
}

#[tokio::test]
async fn an_attachment_overtaken_since_the_decision_is_not_sent() {
    let mut excluded = without_profile("i-4");
    excluded.tags = Some(vec![Tag::builder().key("NoSsm").value("").build()]);
    let mut operated = without_profile("i-5");
    operated.operator = Some(operator());
    let found = found(vec![
        ec2_instance("i-1"),
        without_profile("i-2"),
        excluded,
        operated,
    ]);
    let ec2 = mock_client!(aws_sdk_ec2, [&found]);
    let actions = ["i-1", "i-2", "i-3", "i-4", "i-5"].map(attach);
    let verdicts = revalidate(&ec2, &actions.iter().collect::<Vec<_>>()).await;
    let expected = [
        Some(format!("it has {OURS} meanwhile")),
        None,
        Some("gone meanwhile".to_owned()),
        Some("its tag NoSsm excludes it meanwhile".to_owned()),
        Some("eks.amazonaws.com manages it meanwhile".to_owned()),
    ];
    assert_eq!(verdicts.unwrap(), expected);
}
