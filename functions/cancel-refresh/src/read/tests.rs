use super::*;
use aws_sdk_autoscaling::primitives::DateTime;

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
        (wanted.number(), wanted.overrides),
        (Some(4), vec!["m5.large 1".to_owned()])
    );
    let preferences = read.preferences;
    assert_eq!(preferences.warmup, Some(SignedDuration::ZERO));
    // What AWS does where the refresh says nothing.
    assert_eq!(preferences.checkpoint_delay, SignedDuration::from_hours(1));
    assert!(preferences.waits_for_protected && !preferences.waits_for_standby);
}
