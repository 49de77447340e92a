use super::*;
use crate::NAME;
use crate::facts::{Ended, TargetHealth};
use crate::memory::{CLAIM_VALID, Claim, LastStop, Remembered, Repair, Seen, Step};
use crate::source::Template;
use crate::tests::fixtures::{policy, policy_of, refused, source};
use aws_sdk_autoscaling::operation::describe_auto_scaling_groups::DescribeAutoScalingGroupsOutput;
use aws_sdk_autoscaling::operation::describe_instance_refreshes::DescribeInstanceRefreshesOutput;
use aws_sdk_autoscaling::operation::describe_scaling_activities::DescribeScalingActivitiesOutput;
use aws_sdk_autoscaling::primitives::DateTime;
use aws_sdk_autoscaling::types as asg;
use aws_sdk_cloudformation::operation::describe_stacks::DescribeStacksOutput;
use aws_sdk_cloudformation::types::{Stack, StackStatus};
use aws_sdk_cloudwatch::operation::describe_alarms::DescribeAlarmsOutput;
use aws_sdk_cloudwatch::types::{CompositeAlarm, MetricAlarm, StateValue};
use aws_sdk_ec2::operation::describe_instances::DescribeInstancesOutput;
use aws_sdk_ecr::operation::batch_get_image::BatchGetImageOutput;
use aws_sdk_ecr::types::{Image, ImageIdentifier};
use aws_sdk_elasticloadbalancingv2::operation::describe_target_health::DescribeTargetHealthOutput;
use aws_sdk_elasticloadbalancingv2::types::{
    TargetDescription, TargetHealth as ElbHealth, TargetHealthDescription, TargetHealthStateEnum,
};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use guardrails::state::Expect;
use guardrails::state::model::{Fault, Model};
use guardrails::tags;
use guardrails::trigger::Scope;

/// 2026-11-21T09:00:00Z
const START: i64 = 1_795_251_600;

fn now() -> Timestamp {
    Timestamp::from_second(START + 600).unwrap()
}

/// The rules of each service; what isn't listed must not be called.
#[derive(Default)]
struct Rules<'a> {
    autoscaling: Vec<&'a Rule>,
    ec2: Vec<&'a Rule>,
    elb: Vec<&'a Rule>,
    cloudwatch: Vec<&'a Rule>,
    cloudformation: Vec<&'a Rule>,
    ecr: Vec<&'a Rule>,
}

impl<'a> Rules<'a> {
    fn of(autoscaling: &[&'a Rule]) -> Self {
        Self {
            autoscaling: autoscaling.to_vec(),
            ..Self::default()
        }
    }
}

fn clients(rules: &Rules<'_>) -> Clients {
    Clients {
        autoscaling: mock_client!(aws_sdk_autoscaling, RuleMode::MatchAny, &rules.autoscaling),
        ec2: mock_client!(aws_sdk_ec2, RuleMode::MatchAny, &rules.ec2),
        elb: mock_client!(
            aws_sdk_elasticloadbalancingv2,
            RuleMode::MatchAny,
            &rules.elb
        ),
        cloudwatch: mock_client!(aws_sdk_cloudwatch, RuleMode::MatchAny, &rules.cloudwatch),
        cloudformation: mock_client!(
            aws_sdk_cloudformation,
            RuleMode::MatchAny,
            &rules.cloudformation
        ),
        ecr: mock_client!(aws_sdk_ecr, RuleMode::MatchAny, &rules.ecr),
    }
}

fn tag(key: &str, value: &str) -> asg::TagDescription {
    asg::TagDescription::builder().key(key).value(value).build()
}

fn group_named(name: &str) -> asg::builders::AutoScalingGroupBuilder {
    asg::AutoScalingGroup::builder()
        .auto_scaling_group_name(name)
        .desired_capacity(2)
        .health_check_type("ELB")
        .health_check_grace_period(120)
}

fn groups_rule(groups: Vec<asg::builders::AutoScalingGroupBuilder>) -> Rule {
    mock!(aws_sdk_autoscaling::Client::describe_auto_scaling_groups).then_output(move || {
        let groups = groups.iter().cloned();
        let groups = groups.map(asg::builders::AutoScalingGroupBuilder::build);
        DescribeAutoScalingGroupsOutput::builder()
            .set_auto_scaling_groups(Some(groups.collect()))
            .build()
    })
}

fn refresh(status: asg::InstanceRefreshStatus) -> asg::builders::InstanceRefreshBuilder {
    asg::InstanceRefresh::builder()
        .instance_refresh_id("r-1")
        .status(status)
        .start_time(DateTime::from_secs(START))
}

fn answer(refresh: asg::builders::InstanceRefreshBuilder) -> DescribeInstanceRefreshesOutput {
    DescribeInstanceRefreshesOutput::builder()
        .instance_refreshes(refresh.build())
        .build()
}

fn refreshes_rule(status: asg::InstanceRefreshStatus) -> Rule {
    mock!(aws_sdk_autoscaling::Client::describe_instance_refreshes)
        .then_output(move || answer(refresh(status.clone())))
}

fn activity(description: &str, status: &str, cause: &str) -> asg::Activity {
    asg::Activity::builder()
        .activity_id("a")
        .description(description)
        .status_code(status.into())
        .cause(cause)
        .start_time(DateTime::from_secs(START + 10))
        .end_time(DateTime::from_secs(START + 90))
        .build()
}

fn activities_rule(activities: Vec<asg::Activity>) -> Rule {
    mock!(aws_sdk_autoscaling::Client::describe_scaling_activities)
        .match_requests(|request| {
            let filter = &request.filters()[0];
            filter.name() == Some("StartTimeLowerBound")
                // Some time before the start: what failed already.
                && filter.values() == ["2026-11-21T03:00:00Z"]
                && request.auto_scaling_group_name() == Some("web")
        })
        .then_output(move || {
            DescribeScalingActivitiesOutput::builder()
                .set_activities(Some(activities.clone()))
                .build()
        })
}

/// The policy's alarm, which hasn't gone off.
fn quiet_alarm() -> Rule {
    mock!(aws_sdk_cloudwatch::Client::describe_alarms).then_output(|| {
        let alarm = MetricAlarm::builder()
            .alarm_name("errors")
            .state_value(StateValue::Ok);
        DescribeAlarmsOutput::builder()
            .metric_alarms(alarm.build())
            .build()
    })
}

async fn look(rules: &Rules<'_>, scope: Scope) -> Facts {
    look_with(rules, &Model::default(), &Request::of(scope))
        .await
        .unwrap()
}

async fn look_with(
    rules: &Rules<'_>,
    table: &Model,
    request: &Request<Option<Question>>,
) -> Result<Facts, ApiError> {
    observe(
        &clients(rules),
        &table.state(NAME),
        &policy(),
        request,
        now(),
    )
    .await
}

fn one() -> Scope {
    Scope::one(Resource::group("web"))
}

#[tokio::test]
async fn a_quiet_group_costs_one_call() {
    let groups = groups_rule(vec![group_named("web")]);
    for status in [
        asg::InstanceRefreshStatus::Pending,
        asg::InstanceRefreshStatus::Successful,
        asg::InstanceRefreshStatus::Cancelling,
    ] {
        let refreshes = refreshes_rule(status.clone());
        let rules = Rules::of(&[&groups, &refreshes]);
        let facts = look(&rules, Scope::All).await;
        assert!(facts.complete);
        let case = &facts.cases["web"];
        assert_eq!(case.unread, []);
        let refresh = case.refresh.as_ref().unwrap();
        assert_eq!(refresh.status.to_string(), status.as_str());
        assert_eq!(refreshes.num_calls(), 1);
    }
}

/// Groups in pages, one call for each group's newest refresh, one more for each that runs and has no
/// alarms, and one look into the table: any other call would fail the test.
#[tokio::test]
async fn a_sweep_makes_one_call_per_group_and_one_more_per_refresh_that_runs() {
    let named = |numbers: std::ops::Range<usize>| {
        numbers.map(|number| group_named(&format!("g-{number}")).build())
    };
    let groups = mock!(aws_sdk_autoscaling::Client::describe_auto_scaling_groups)
        .then_compute_output(move |request| {
            let (found, next) = match request.next_token() {
                None => (named(0..100), Some("more")),
                Some(_) => (named(100..120), None),
            };
            DescribeAutoScalingGroupsOutput::builder()
                .set_auto_scaling_groups(Some(found.collect()))
                .set_next_token(next.map(str::to_owned))
                .build()
        });
    let refreshes = mock!(aws_sdk_autoscaling::Client::describe_instance_refreshes)
        .then_compute_output(|request| {
            let runs = ["g-1", "g-50", "g-119"];
            let status = match request.auto_scaling_group_name() {
                Some(name) if runs.contains(&name) => asg::InstanceRefreshStatus::InProgress,
                _ => asg::InstanceRefreshStatus::Successful,
            };
            answer(refresh(status))
        });
    let activities = mock!(aws_sdk_autoscaling::Client::describe_scaling_activities)
        .then_output(|| DescribeScalingActivitiesOutput::builder().build());
    let rules = Rules::of(&[&groups, &refreshes, &activities]);
    let table = Model::default();
    let facts = look_with(&rules, &table, &Request::sweep()).await.unwrap();
    assert_eq!(facts.cases.len(), 120);
    assert!(facts.cases.values().all(|case| case.unread.is_empty()));
    let calls = [&groups, &refreshes, &activities].map(Rule::num_calls);
    assert_eq!(calls, [2, 120, 3]);
    assert_eq!(table.calls().len(), 1, "{:?}", table.calls());
}

#[tokio::test]
async fn groups_and_activities_come_in_pages() {
    let groups = mock!(aws_sdk_autoscaling::Client::describe_auto_scaling_groups)
        .then_compute_output(|request| {
            let (name, next) = match request.next_token() {
                None => ("db", Some("more")),
                Some(_) => ("web", None),
            };
            DescribeAutoScalingGroupsOutput::builder()
                .auto_scaling_groups(group_named(name).build())
                .set_next_token(next.map(str::to_owned))
                .build()
        });
    let refreshes = mock!(aws_sdk_autoscaling::Client::describe_instance_refreshes)
        .then_compute_output(|request| {
            let none = DescribeInstanceRefreshesOutput::builder();
            match (request.auto_scaling_group_name(), request.next_token()) {
                // An empty page may not be the last.
                (Some("web"), None) => none.next_token("more").build(),
                (Some("web"), Some(_)) => answer(refresh(asg::InstanceRefreshStatus::InProgress)),
                _ => none.build(),
            }
        });
    let activities = mock!(aws_sdk_autoscaling::Client::describe_scaling_activities)
        .then_compute_output(|request| {
            let answer = DescribeScalingActivitiesOutput::builder();
            let failed = activity("Launching a new EC2 instance", "Failed", "");
            match request.next_token() {
                None => answer.next_token("2"),
                Some("2") => answer.activities(failed).next_token("3"),
                Some(_) => answer.activities(failed),
            }
            .build()
        });
    let alarms = quiet_alarm();
    let rules = Rules {
        cloudwatch: vec![&alarms],
        ..Rules::of(&[&groups, &refreshes, &activities])
    };
    let facts = look(&rules, Scope::All).await;
    assert_eq!(facts.cases.keys().collect::<Vec<_>>(), ["db", "web"]);
    assert_eq!(facts.cases["db"].refresh, None);
    assert_eq!(facts.cases["web"].activities.len(), 2);
}

#[tokio::test]
async fn of_instances_that_died_ec2_and_the_targets_are_asked() {
    let group = group_named("web")
        .target_group_arns("arn:aws:elasticloadbalancing:r:1:targetgroup/a/1")
        .traffic_sources(
            asg::TrafficSourceIdentifier::builder()
                .identifier("arn:aws:elasticloadbalancing:r:1:targetgroup/b/1")
                .r#type("elbv2")
                .build(),
        )
        .traffic_sources(
            asg::TrafficSourceIdentifier::builder()
                .identifier("arn:aws:vpc-lattice:r:1:targetgroup/tg-1")
                .r#type("vpc-lattice")
                .build(),
        );
    let groups = groups_rule(vec![group]);
    let refreshes = refreshes_rule(asg::InstanceRefreshStatus::InProgress);
    let activities = activities_rule(vec![
        activity("Launching a new EC2 instance: i-0a", "Successful", ""),
        activity("Launching a new EC2 instance: i-0b", "Successful", ""),
        activity(
            "Terminating EC2 instance: i-0a",
            "Successful",
            "At 2026-11-21T09:01:00Z an instance was taken out of service in response to an ELB system health check failure.",
        ),
    ]);
    let instances = mock!(aws_sdk_ec2::Client::describe_instances)
        .match_requests(|request| {
            let filter = &request.filters()[0];
            filter.name() == Some("instance-id") && filter.values() == ["i-0a"]
        })
        .then_output(|| {
            let instance = aws_sdk_ec2::types::Instance::builder()
                .instance_id("i-0a")
                .state_reason(
                    aws_sdk_ec2::types::StateReason::builder()
                        .code("Client.UserInitiatedShutdown")
                        .build(),
                )
                .tags(
                    aws_sdk_ec2::types::Tag::builder()
                        .key("aws:ec2launchtemplate:version")
                        .value("4")
                        .build(),
                );
            DescribeInstancesOutput::builder()
                .reservations(
                    aws_sdk_ec2::types::Reservation::builder()
                        .instances(instance.build())
                        .build(),
                )
                .build()
        });
    let health = mock!(aws_sdk_elasticloadbalancingv2::Client::describe_target_health)
        .then_compute_output(|request| {
            let first = request.target_group_arn().unwrap().contains("/a/");
            let target = |id: &str, state: TargetHealthStateEnum| {
                TargetHealthDescription::builder()
                    .target(TargetDescription::builder().id(id).build())
                    .target_health(ElbHealth::builder().state(state).build())
                    .build()
            };
            let other = if first {
                TargetHealthStateEnum::Healthy
            } else {
                TargetHealthStateEnum::Unhealthy
            };
            DescribeTargetHealthOutput::builder()
                .target_health_descriptions(target("i-0b", other))
                .target_health_descriptions(target("i-0c", TargetHealthStateEnum::Healthy))
                .target_health_descriptions(target("i-0d", TargetHealthStateEnum::Initial))
                .build()
        });
    let alarms = quiet_alarm();
    let rules = Rules {
        ec2: vec![&instances],
        elb: vec![&health],
        cloudwatch: vec![&alarms],
        ..Rules::of(&[&groups, &refreshes, &activities])
    };
    let facts = look(&rules, one()).await;
    let case = &facts.cases["web"];
    assert_eq!(case.unread, []);
    assert_eq!(
        case.ended["i-0a"],
        Ended {
            reason: Some("Client.UserInitiatedShutdown".to_owned()),
            template: Some(Template {
                version: "4".to_owned(),
                ..Template::default()
            }),
        }
    );
    // Healthy only where every target group says so.
    let targets = case.targets.as_ref().unwrap();
    assert_eq!(targets["i-0b"], TargetHealth::Unhealthy);
    assert_eq!(targets["i-0c"], TargetHealth::Healthy);
    assert_eq!(targets["i-0d"], TargetHealth::Unknown);
    assert_eq!(health.num_calls(), 2);
}

#[tokio::test]
async fn alarms_are_read_by_the_names_in_the_policy() {
    // A tag can't add to them.
    let tagged = group_named("web").tags(tag(tags::ALARM, "mine"));
    let groups = groups_rule(vec![tagged]);
    let refreshes = refreshes_rule(asg::InstanceRefreshStatus::Baking);
    let activities = activities_rule(Vec::new());
    let alarms = mock!(aws_sdk_cloudwatch::Client::describe_alarms)
        .match_requests(|request| request.alarm_names() == ["errors"])
        .then_output(|| {
            let at = aws_sdk_cloudwatch::primitives::DateTime::from_secs(START + 60);
            DescribeAlarmsOutput::builder()
                .metric_alarms(
                    MetricAlarm::builder()
                        .alarm_name("errors")
                        .state_value(StateValue::Alarm)
                        .state_transitioned_timestamp(at)
                        .build(),
                )
                .composite_alarms(
                    CompositeAlarm::builder()
                        .alarm_name("composite")
                        .state_value(StateValue::Ok)
                        .build(),
                )
                .build()
        });
    let rules = Rules {
        cloudwatch: vec![&alarms],
        ..Rules::of(&[&groups, &refreshes, &activities])
    };
    let facts = look(&rules, one()).await;
    let alarms = facts.cases["web"].alarms.as_ref().unwrap();
    assert!(alarms["errors"].alarming && alarms["errors"].since.is_some());
    assert!(!alarms["composite"].alarming);
}

#[tokio::test]
async fn an_alarm_leads_to_the_groups_that_name_it() {
    // One that the policy doesn't name; its tag can't.
    let other = group_named("db").tags(tag(tags::ALARM, "errors"));
    let groups = groups_rule(vec![group_named("web"), other]);
    let refreshes = refreshes_rule(asg::InstanceRefreshStatus::Successful);
    let rules = Rules::of(&[&groups, &refreshes]);
    let facts = look(&rules, Scope::one(Resource::Alarm("errors".to_owned()))).await;
    assert_eq!(facts.cases.keys().collect::<Vec<_>>(), ["web"]);
    assert!(!facts.complete);
}

/// Every alarm of the account comes here.
#[tokio::test]
async fn of_an_alarm_that_the_policy_doesnt_name_nothing_is_read() {
    let alarm = Scope::one(Resource::Alarm("another".to_owned()));
    let facts = look(&Rules::default(), alarm).await;
    assert!(facts.cases.is_empty() && !facts.complete);
}

#[tokio::test]
async fn an_excluded_group_isnt_looked_at() {
    let groups = groups_rule(vec![group_named("web").tags(tag("Hands", "off"))]);
    let rules = Rules::of(&[&groups]);
    let facts = look(&rules, Scope::All).await;
    assert_eq!(facts.cases["web"].refresh, None);
}

/// One group's failure is told with the group, and the others are looked at all the same.
#[tokio::test(start_paused = true)]
async fn what_cant_be_read_of_one_group_doesnt_stop_the_rest() {
    let groups = groups_rule(vec![group_named("db"), group_named("web")]);
    let throttled = mock!(aws_sdk_autoscaling::Client::describe_instance_refreshes)
        .match_requests(|request| request.auto_scaling_group_name() == Some("db"))
        .then_http_response(|| refused(400, "Throttling"));
    let refreshes = refreshes_rule(asg::InstanceRefreshStatus::Successful);
    let rules = Rules::of(&[&groups, &throttled, &refreshes]);
    let facts = look(&rules, Scope::All).await;
    assert_eq!(facts.cases["db"].unread[0].code, "Throttling");
    assert_eq!(facts.cases["web"].unread, []);
}

/// ASG-13: what several at once were too many for gets on alone.
#[tokio::test(start_paused = true)]
async fn a_throttled_group_is_read_again() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let groups = groups_rule(vec![group_named("db")]);
    let first = AtomicBool::new(true);
    // All attempts of the first call.
    let throttled = mock!(aws_sdk_autoscaling::Client::describe_instance_refreshes)
        .match_requests(move |_| first.swap(false, Ordering::Relaxed))
        .then_http_response(|| refused(400, "Throttling"));
    let refreshes = refreshes_rule(asg::InstanceRefreshStatus::Successful);
    let rules = Rules::of(&[&groups, &throttled, &refreshes]);
    let facts = look(&rules, Scope::All).await;
    assert!(throttled.num_calls() > 1, "the SDK tries again first");
    assert_eq!(facts.cases["db"].unread, []);
    assert!(facts.cases["db"].refresh.is_some());
}

#[tokio::test(start_paused = true)]
async fn without_the_groups_nothing_is_known() {
    let denied = mock!(aws_sdk_autoscaling::Client::describe_auto_scaling_groups)
        .then_http_response(|| refused(403, "AccessDenied"));
    let rules = Rules::of(&[&denied]);
    let error = look_with(&rules, &Model::default(), &Request::sweep())
        .await
        .unwrap_err();
    assert_eq!(error.operation, "autoscaling:DescribeAutoScalingGroups");
}

async fn put(table: &Model, group: &str, memory: &Memory) {
    let state = table.state(NAME);
    let put = state.put(&REFRESHES, group, memory, None, &Expect::Any, now());
    assert!(put.await.unwrap().is_done());
}

/// An alarm or a sweep reads what is remembered of all groups at once, an event that of its group.
#[tokio::test(start_paused = true)]
async fn what_is_remembered_comes_with_the_group() {
    let groups = groups_rule(vec![group_named("web").tags(tag(tags::ALARM, "errors"))]);
    let refreshes = refreshes_rule(asg::InstanceRefreshStatus::Successful);
    let rules = Rules::of(&[&groups, &refreshes]);
    let memory = Memory {
        stop: Some(Claim {
            step: Step::Cancelled,
            at: now() - CLAIM_VALID,
            run: "run-1".to_owned(),
            because: "launches fail".to_owned(),
        }),
        ..Memory::of("r-1", None)
    };
    let table = Model::default();
    for group in ["web", "web2"] {
        put(&table, group, &memory).await;
    }
    let alarm = Scope::one(Resource::Alarm("errors".to_owned()));
    for scope in [Scope::All, one(), alarm] {
        let facts = look_with(&rules, &table, &Request::of(scope))
            .await
            .unwrap();
        let remembered = &facts.cases["web"].remembered;
        assert_eq!(remembered.memory.as_ref(), Some(&memory));
        assert!(matches!(remembered.expect, Expect::Version(_)));
    }
    // The tag that anybody may write is no memory.
    let facts = look(&rules, one()).await;
    assert_eq!(facts.cases["web"].remembered, Remembered::default());
}

#[tokio::test(start_paused = true)]
async fn without_what_is_remembered_nothing_is_known() {
    let groups = groups_rule(vec![group_named("web")]);
    let refreshes = refreshes_rule(asg::InstanceRefreshStatus::Successful);
    let rules = Rules::of(&[&groups, &refreshes]);
    for scope in [Scope::All, one()] {
        let table = Model::default();
        table.script(&[Fault::Denied]);
        let error = look_with(&rules, &table, &Request::of(scope)).await;
        assert_eq!(error.unwrap_err().kind, ErrorKind::Denied);
    }
}

#[tokio::test]
async fn asking_about_a_group_that_isnt_there_is_an_error_and_an_event_of_one_isnt() {
    let none = groups_rule(vec![]);
    let rules = Rules::of(&[&none]);
    let facts = look(&rules, one()).await;
    assert!(facts.cases.is_empty());
    let asked = look_with(&rules, &Model::default(), &Request::asking(one())).await;
    let error = asked.unwrap_err().to_string();
    assert!(
        error.contains("there is no Auto Scaling group web"),
        "{error}"
    );
}

/// The image tells that it is what was stopped, and then its stack tells whether it may be again.
#[tokio::test(start_paused = true)]
async fn of_what_is_started_again_the_image_is_read_before_the_stack() {
    let keeps = policy_of(
        "{when-started-again: stop, groups: [{name: web, image: {repository: app, tag: prod, stable-tag: prod-stable}}]}",
    );
    let in_stack = group_named("web").tags(tag("aws:cloudformation:stack-name", "web"));
    let groups = groups_rule(vec![in_stack]);
    let refreshes =
        mock!(aws_sdk_autoscaling::Client::describe_instance_refreshes).then_output(|| {
            let version = asg::LaunchTemplateSpecification::builder()
                .launch_template_id("lt-1")
                .version("4");
            let wanted = asg::DesiredConfiguration::builder().launch_template(version.build());
            let runs = refresh(asg::InstanceRefreshStatus::InProgress);
            answer(runs.desired_configuration(wanted.build()))
        });
    let activities = activities_rule(Vec::new());
    let images = mock!(aws_sdk_ecr::Client::batch_get_image).then_output(|| {
        let id = ImageIdentifier::builder()
            .image_tag("prod")
            .image_digest("b");
        let image = Image::builder().image_id(id.build()).image_manifest("{}");
        BatchGetImageOutput::builder().images(image.build()).build()
    });
    let stacks = mock!(aws_sdk_cloudformation::Client::describe_stacks).then_output(|| {
        let stack = Stack::builder().stack_status(StackStatus::UpdateRollbackInProgress);
        DescribeStacksOutput::builder()
            .stacks(stack.build())
            .build()
    });
    let rules = Rules {
        cloudformation: vec![&stacks],
        ecr: vec![&images],
        ..Rules::of(&[&groups, &refreshes, &activities])
    };
    let memory = Memory {
        // Not seen for the first time: its image is read only for what was stopped.
        image: Some(Seen {
            digest: "b".to_owned(),
            repair: Repair::Seen,
        }),
        last_stop: Some(LastStop {
            refresh: "r-0".to_owned(),
            source: source("4"),
            image: Some("b".to_owned()),
            at: Timestamp::from_second(START - 600).unwrap(),
        }),
        ..Memory::of("r-1", None)
    };
    let table = Model::default();
    put(&table, "web", &memory).await;
    let (state, request) = (table.state(NAME), Request::of(one()));
    let facts = observe(&clients(&rules), &state, &keeps, &request, now()).await;
    let stack = facts.unwrap().cases["web"].stack.clone();
    assert_eq!(stack, Some(Ok("UPDATE_ROLLBACK_IN_PROGRESS".to_owned())));
}
