use super::*;
use aws_sdk_autoscaling::operation::describe_instance_refreshes::DescribeInstanceRefreshesOutput;
use aws_sdk_autoscaling::operation::describe_scaling_activities::DescribeScalingActivitiesOutput;
use aws_sdk_autoscaling::primitives::DateTime;
use aws_sdk_cloudformation::operation::describe_stacks::DescribeStacksOutput;
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use guardrails::aws::ErrorKind;

/// 2026-11-21T09:00:00Z
const START: i64 = 1_795_251_600;

/// Each in AWS's word; one that isn't known keeps its own.
#[test]
fn statuses_are_read_in_awss_words() {
    use asg::InstanceRefreshStatus as Aws;
    for known in Aws::values() {
        let read = status(&Aws::from(*known));
        assert_eq!(read.to_string(), *known);
        assert!(!matches!(read, Status::Other(_)), "{known}");
    }
    let new = status(&Aws::from("Paused"));
    assert_eq!(
        (new.to_string().as_str(), new.is_ended()),
        ("Paused", false)
    );
}

#[test]
fn a_refresh_as_aws_describes_it() {
    let template = |version: &str| {
        asg::LaunchTemplateSpecification::builder()
            .launch_template_id("lt-1")
            .version(version)
            .build()
    };
    let found = asg::InstanceRefresh::builder()
        .instance_refresh_id("r-1")
        .status(asg::InstanceRefreshStatus::InProgress)
        .start_time(DateTime::from_secs(START))
        .percentage_complete(20)
        .instances_to_update(4)
        .desired_configuration(
            asg::DesiredConfiguration::builder()
                .mixed_instances_policy(
                    asg::MixedInstancesPolicy::builder()
                        .launch_template(
                            asg::LaunchTemplate::builder()
                                .launch_template_specification(template("4"))
                                .overrides(
                                    asg::LaunchTemplateOverrides::builder()
                                        .instance_type("m5.large")
                                        .build(),
                                )
                                .build(),
                        )
                        .build(),
                )
                .build(),
        )
        .preferences(
            asg::RefreshPreferences::builder()
                .instance_warmup(0)
                .checkpoint_percentages(50)
                .checkpoint_percentages(100)
                .standby_instances(asg::StandbyInstances::Ignore)
                .build(),
        )
        .build();
    let read = refresh(&found).unwrap();
    assert_eq!(read.start.unwrap().as_second(), START);
    let wanted = read.wanted.unwrap();
    assert_eq!(
        (wanted.template.number(), wanted.overrides[0].what.as_str()),
        (Some(4), "m5.large x1")
    );
    let preferences = read.preferences;
    assert_eq!(preferences.warmup, Some(SignedDuration::ZERO));
    // What AWS does where the refresh says nothing.
    assert_eq!(preferences.checkpoint_delay, SignedDuration::from_hours(1));
    assert!(preferences.waits_for_protected && !preferences.waits_for_standby);
}

/// Requirements in the place of a type are part of what a configuration is.
#[test]
fn a_configuration_is_told_from_another_by_its_requirements_too() {
    let policy = |cpus: i32| {
        let count = asg::VCpuCountRequest::builder().min(cpus).build();
        let requirements = asg::InstanceRequirements::builder().v_cpu_count(count);
        let specification = asg::LaunchTemplateSpecification::builder().launch_template_id("lt-1");
        let overrides = asg::LaunchTemplateOverrides::builder()
            .instance_requirements(requirements.build())
            .weighted_capacity("4");
        let template = asg::LaunchTemplate::builder()
            .launch_template_specification(specification.version("4").build())
            .overrides(overrides.build());
        let policy = asg::MixedInstancesPolicy::builder().launch_template(template.build());
        mixed(&policy.build()).unwrap()
    };
    assert!(policy(2).same(&policy(2)));
    assert!(!policy(2).same(&policy(4)));
}

#[test]
fn an_activity_names_its_zone_in_its_details() {
    let details = r#"{"Subnet ID":"subnet-1","Availability Zone":"us-east-1a"}"#;
    assert_eq!(zone(details).as_deref(), Some("us-east-1a"));
    for none in ["{}", "", r#"{"Availability Zone":""}"#, "[1]"] {
        assert_eq!(zone(none), None, "{none}");
    }
}

/// Left out, an older refresh would be taken for the newest, and a launch for none.
#[tokio::test]
async fn what_an_answer_leaves_out_of_a_refresh_or_an_activity_couldnt_be_read() {
    let newest =
        mock!(aws_sdk_autoscaling::Client::describe_instance_refreshes).then_output(|| {
            let refresh = |id| asg::InstanceRefresh::builder().instance_refresh_id(id);
            let older = refresh("r-1").status(asg::InstanceRefreshStatus::Successful);
            DescribeInstanceRefreshesOutput::builder()
                .instance_refreshes(refresh("r-2").build())
                .instance_refreshes(older.build())
                .build()
        });
    let undated =
        mock!(aws_sdk_autoscaling::Client::describe_scaling_activities).then_output(|| {
            DescribeScalingActivitiesOutput::builder()
                .activities(asg::Activity::builder().activity_id("a").build())
                .build()
        });
    let rules = [&newest, &undated];
    let client = mock_client!(aws_sdk_autoscaling, RuleMode::MatchAny, &rules);
    let error = refreshes(&client, "web").await.unwrap_err();
    assert_eq!(error.code, "IncompleteAnswer");
    let error = activities(&client, "web", Timestamp::UNIX_EPOCH).await;
    assert_eq!(error.unwrap_err().code, "IncompleteAnswer");
}

/// Taken for none, it would be stopped in the middle of whatever its stack is in.
#[tokio::test]
async fn a_stack_that_the_answer_leaves_out_couldnt_be_read() {
    let empty = mock!(aws_sdk_cloudformation::Client::describe_stacks)
        .then_output(|| DescribeStacksOutput::builder().build());
    let client = mock_client!(aws_sdk_cloudformation, RuleMode::MatchAny, &[&empty]);
    let key = "aws:cloudformation:stack-name".to_owned();
    let group = Group {
        tags: [(key, "web".to_owned())].into(),
        ..Group::default()
    };
    let error = stack(&client, &group).await.unwrap().unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.kind),
        ("IncompleteAnswer", ErrorKind::Unknown)
    );
}
