//! Reads what AWS says, as facts.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_autoscaling::types as asg;
use aws_sdk_cloudwatch::types::{AlarmType, StateValue};
use aws_sdk_ec2::types::Instance;
use aws_sdk_elasticloadbalancingv2::types::TargetHealthStateEnum;
use guardrails::autoscaling::{self, Which};
use guardrails::aws::{ApiError, filter, timestamp};
use guardrails::ec2::{self, FILTER_VALUES};
use guardrails::resource::Arn;
use jiff::{SignedDuration, Timestamp};

use crate::facts::{
    Activity, Alarm, Ended, Group, Member, Preferences, Read, Refresh, Status, TargetHealth,
};
use crate::source::{Override, Source, Template};

/// Largest page of scaling activities and of alarms.
const PAGE: i32 = 100;
/// The newest refresh, which alone can be active, and some before it: they tell whether it tries
/// again what failed.
const REFRESHES: i32 = 10;
/// Most names of one `DescribeAlarms`.
const ALARM_NAMES: usize = 100;
/// AWS's own delay at a checkpoint where the refresh names none.
const CHECKPOINT_DELAY: i32 = 3_600;

/// The groups.
pub(crate) async fn groups(
    client: &aws_sdk_autoscaling::Client,
    which: Which<'_>,
) -> Read<Vec<Group>> {
    autoscaling::groups(client, which, group).await
}

/// The newest refreshes of a group, newest first; also just before one is stopped.
pub(crate) async fn refreshes(
    autoscaling: &aws_sdk_autoscaling::Client,
    group: &str,
) -> Read<Vec<Refresh>> {
    const CALL: &str = "autoscaling:DescribeInstanceRefreshes";
    let mut pages = autoscaling
        .describe_instance_refreshes()
        .auto_scaling_group_name(group)
        .max_records(REFRESHES)
        .into_paginator()
        .send();
    // A page may be empty and yet not the last.
    while let Some(page) = pages
        .try_next()
        .await
        .map_err(|error| ApiError::of(CALL, &error))?
    {
        let page = page.instance_refreshes();
        if !page.is_empty() {
            // Without one of them another would be taken for the newest.
            let found: Option<Vec<Refresh>> = page.iter().map(refresh).collect();
            return found.ok_or_else(|| ApiError::incomplete(CALL, "a refresh's id or status"));
        }
    }
    Ok(Vec::new())
}

/// One group; none: it is gone. Just before its refresh is stopped.
pub(crate) async fn one_group(
    client: &aws_sdk_autoscaling::Client,
    name: &str,
) -> Read<Option<Group>> {
    let found = groups(client, Which::Named(&[name.to_owned()])).await?;
    Ok(found.into_iter().next())
}

/// The group's scaling activities since `start`, whatever became of them.
pub(crate) async fn activities(
    autoscaling: &aws_sdk_autoscaling::Client,
    group: &str,
    start: Timestamp,
) -> Read<Vec<Activity>> {
    const CALL: &str = "autoscaling:DescribeScalingActivities";
    let since = asg::Filter::builder()
        .name("StartTimeLowerBound")
        .values(format!("{start:.0}"));
    let mut pages = autoscaling
        .describe_scaling_activities()
        .auto_scaling_group_name(group)
        .filters(since.build())
        .max_records(PAGE)
        .into_paginator()
        .items()
        .send();
    let mut found = Vec::new();
    while let Some(activity) = pages
        .try_next()
        .await
        .map_err(|error| ApiError::of(CALL, &error))?
    {
        let start = timestamp(activity.start_time());
        found.push(Activity {
            id: activity.activity_id().unwrap_or_default().to_owned(),
            description: activity.description().unwrap_or_default().to_owned(),
            cause: activity.cause().unwrap_or_default().to_owned(),
            status: activity
                .status_code()
                .map(asg::ScalingActivityStatusCode::as_str)
                .unwrap_or_default()
                .to_owned(),
            message: activity.status_message().map(str::to_owned),
            zone: activity.details().and_then(zone),
            start: start.ok_or_else(|| ApiError::incomplete(CALL, "an activity's start"))?,
            end: timestamp(activity.end_time()),
        });
    }
    Ok(found)
}

/// The zone in an activity's details: `{"Subnet ID":"subnet-1","Availability Zone":"us-east-1a"}`.
fn zone(details: &str) -> Option<String> {
    let details: serde_json::Value = serde_json::from_str(details).ok()?;
    let zone = details.get("Availability Zone")?.as_str()?;
    (!zone.is_empty()).then(|| zone.to_owned())
}

/// The alarms of these names, as far as they exist.
pub(crate) async fn alarms(
    cloudwatch: &aws_sdk_cloudwatch::Client,
    names: &[String],
) -> Read<BTreeMap<String, Alarm>> {
    let mut found = BTreeMap::new();
    for some in names.chunks(ALARM_NAMES) {
        let answer = cloudwatch
            .describe_alarms()
            .set_alarm_names(Some(some.to_vec()))
            .alarm_types(AlarmType::MetricAlarm)
            .alarm_types(AlarmType::CompositeAlarm)
            .max_records(PAGE)
            .send()
            .await
            .map_err(|error| ApiError::of("cloudwatch:DescribeAlarms", &error))?;
        let metric = answer.metric_alarms().iter().map(|alarm| {
            (
                alarm.alarm_name(),
                alarm.state_value(),
                alarm.state_transitioned_timestamp(),
                alarm.state_reason(),
            )
        });
        let composite = answer.composite_alarms().iter().map(|alarm| {
            (
                alarm.alarm_name(),
                alarm.state_value(),
                alarm.state_transitioned_timestamp(),
                alarm.state_reason(),
            )
        });
        for (name, state, since, reason) in metric.chain(composite) {
            let Some(name) = name else {
                continue;
            };
            found.insert(
                name.to_owned(),
                Alarm {
                    alarming: state == Some(&StateValue::Alarm),
                    since: timestamp(since),
                    reason: reason.map(str::to_owned),
                },
            );
        }
    }
    Ok(found)
}

/// What EC2 says of these instances; it forgets terminated ones after an hour.
pub(crate) async fn ended(
    client: &aws_sdk_ec2::Client,
    ids: &[String],
) -> Read<BTreeMap<String, Ended>> {
    let mut found = BTreeMap::new();
    for some in ids.chunks(FILTER_VALUES) {
        let filters = vec![filter("instance-id", some.to_vec())];
        found.extend(ec2::instances(client, filters, |_, one| end_of(one)).await?);
    }
    Ok(found)
}

fn end_of(instance: &Instance) -> Option<(String, Ended)> {
    let reason = instance.state_reason().and_then(|reason| reason.code());
    let tags = ec2::tags(instance.tags());
    let ended = Ended {
        reason: reason.map(str::to_owned),
        template: ec2::tag(&tags, "aws:ec2launchtemplate:version").map(|version| Template {
            id: ec2::tag(&tags, "aws:ec2launchtemplate:id").map(str::to_owned),
            name: None,
            version: version.to_owned(),
        }),
    };
    Some((instance.instance_id()?.to_owned(), ended))
}

/// The worst that these target groups say of each of their instances.
pub(crate) async fn targets(
    elb: &aws_sdk_elasticloadbalancingv2::Client,
    groups: &[String],
) -> Read<BTreeMap<String, TargetHealth>> {
    let mut found: BTreeMap<String, TargetHealth> = BTreeMap::new();
    for group in groups {
        let answer = elb
            .describe_target_health()
            .target_group_arn(group)
            .send()
            .await
            .map_err(|error| ApiError::of("elasticloadbalancing:DescribeTargetHealth", &error))?;
        for target in answer.target_health_descriptions() {
            let Some(id) = target.target().and_then(|target| target.id()) else {
                continue;
            };
            let health = match target.target_health().and_then(|health| health.state()) {
                Some(TargetHealthStateEnum::Healthy) => TargetHealth::Healthy,
                Some(
                    TargetHealthStateEnum::Unhealthy | TargetHealthStateEnum::UnhealthyDraining,
                ) => TargetHealth::Unhealthy,
                _ => TargetHealth::Unknown,
            };
            found
                .entry(id.to_owned())
                .and_modify(|worst| *worst = health.min(*worst))
                .or_insert(health);
        }
    }
    Ok(found)
}

/// The status of the stack that made the group, where one did.
pub(crate) async fn stack(
    cloudformation: &aws_sdk_cloudformation::Client,
    group: &Group,
) -> Option<Read<String>> {
    const CALL: &str = "cloudformation:DescribeStacks";
    let stack = group
        .tag("aws:cloudformation:stack-id")
        .or_else(|| group.tag("aws:cloudformation:stack-name"))?;
    let answer = cloudformation
        .describe_stacks()
        .stack_name(stack)
        .send()
        .await
        .map_err(|error| ApiError::of(CALL, &error));
    match answer {
        Ok(answer) => {
            let stack = answer.stacks().first();
            let status = stack.and_then(|stack| stack.stack_status());
            let status = status.map(|status| status.as_str().to_owned());
            Some(status.ok_or_else(|| ApiError::incomplete(CALL, "the stack's status")))
        }
        // A stack that was deleted and left the group behind is at work on nothing.
        Err(error)
            if error.code == "ValidationError" && error.message.contains("does not exist") =>
        {
            None
        }
        Err(error) => Some(Err(error)),
    }
}

fn count(number: Option<i32>) -> Option<u32> {
    number.and_then(|number| u32::try_from(number).ok())
}

/// Seconds; AWS writes -1 for a value that was taken away again.
fn seconds(number: Option<i32>) -> Option<SignedDuration> {
    number
        .filter(|seconds| *seconds >= 0)
        .map(|seconds| SignedDuration::from_secs(i64::from(seconds)))
}

fn group(found: &asg::AutoScalingGroup) -> Option<Group> {
    let suspended = found.suspended_processes().iter();
    let tags = found.tags().iter();
    Some(Group {
        name: found.auto_scaling_group_name()?.to_owned(),
        desired: count(found.desired_capacity()).unwrap_or(0),
        source: launched_from(found.launch_template(), found.mixed_instances_policy()),
        suspended: suspended
            .filter_map(|process| process.process_name().map(str::to_owned))
            .collect(),
        operator: found
            .operator()
            .map(|operator| operator.principal().unwrap_or("an AWS service").to_owned()),
        tags: tags
            .filter_map(|tag| {
                Some((
                    tag.key()?.to_owned(),
                    tag.value().unwrap_or_default().to_owned(),
                ))
            })
            .collect(),
        members: found.instances().iter().filter_map(member).collect(),
        target_groups: target_groups(found).into_iter().collect(),
        elb_health: found
            .health_check_type()
            .is_some_and(|kinds| kinds.contains("ELB")),
        grace: seconds(found.health_check_grace_period()).unwrap_or_default(),
        warmup: seconds(found.default_instance_warmup()),
    })
}

/// However they are attached.
fn target_groups(found: &asg::AutoScalingGroup) -> BTreeSet<String> {
    let sources = found.traffic_sources().iter();
    let traffic = sources
        .filter_map(asg::TrafficSourceIdentifier::identifier)
        .filter(|name| {
            Arn::read(name).is_some_and(|arn| {
                arn.service == "elasticloadbalancing" && arn.resource.starts_with("targetgroup/")
            })
        })
        .map(str::to_owned);
    found
        .target_group_arns()
        .iter()
        .cloned()
        .chain(traffic)
        .collect()
}

fn member(found: &asg::Instance) -> Option<Member> {
    Some(Member {
        id: found.instance_id()?.to_owned(),
        template: found.launch_template().map(template),
        lifecycle: found
            .lifecycle_state()
            .map(asg::LifecycleState::as_str)
            .unwrap_or_default()
            .to_owned(),
        healthy: found
            .health_status()
            .is_some_and(|health| health.eq_ignore_ascii_case("healthy")),
        protected: found.protected_from_scale_in() == Some(true),
    })
}

fn template(specification: &asg::LaunchTemplateSpecification) -> Template {
    Template {
        id: specification.launch_template_id().map(str::to_owned),
        name: specification.launch_template_name().map(str::to_owned),
        // AWS takes the default version where none is named.
        version: specification.version().unwrap_or("$Default").to_owned(),
    }
}

fn launched_from(
    specification: Option<&asg::LaunchTemplateSpecification>,
    policy: Option<&asg::MixedInstancesPolicy>,
) -> Option<Source> {
    let plain = specification.map(source);
    plain.or_else(|| policy.and_then(mixed))
}

fn source(specification: &asg::LaunchTemplateSpecification) -> Source {
    Source {
        template: template(specification),
        overrides: Vec::new(),
    }
}

fn mixed(policy: &asg::MixedInstancesPolicy) -> Option<Source> {
    let launches = policy.launch_template()?;
    let overrides = launches.overrides().iter().map(|each| {
        let requirements = each.instance_requirements();
        let requirements = requirements.map(|these| format!("{these:?}"));
        let kind = each.instance_type().map(str::to_owned).or(requirements);
        Override {
            what: format!(
                "{} x{}",
                kind.unwrap_or_else(|| "any type".to_owned()),
                each.weighted_capacity().unwrap_or("1"),
            ),
            template: each.launch_template_specification().map(template),
        }
    });
    Some(Source {
        overrides: overrides.collect(),
        ..source(launches.launch_template_specification()?)
    })
}

fn refresh(found: &asg::InstanceRefresh) -> Option<Refresh> {
    Some(Refresh {
        id: found.instance_refresh_id()?.to_owned(),
        status: status(found.status()?),
        reason: found.status_reason().map(str::to_owned),
        start: timestamp(found.start_time()),
        end: timestamp(found.end_time()),
        percentage: count(found.percentage_complete()).unwrap_or(0),
        remaining: count(found.instances_to_update()),
        wanted: found.desired_configuration().and_then(|wanted| {
            launched_from(wanted.launch_template(), wanted.mixed_instances_policy())
        }),
        in_place: found.strategy() == Some(&asg::RefreshStrategy::ReplaceRootVolume),
        preferences: found.preferences().map_or_else(
            || preferences(&asg::RefreshPreferences::builder().build()),
            preferences,
        ),
        rollback_reason: found
            .rollback_details()
            .and_then(|details| details.rollback_reason())
            .map(str::to_owned),
    })
}

fn status(found: &asg::InstanceRefreshStatus) -> Status {
    let word = found.as_str();
    word.parse()
        .unwrap_or_else(|_| Status::Other(word.to_owned()))
}

fn preferences(found: &asg::RefreshPreferences) -> Preferences {
    Preferences {
        warmup: seconds(found.instance_warmup()),
        checkpoints: found
            .checkpoint_percentages()
            .iter()
            .filter_map(|percentage| u32::try_from(*percentage).ok())
            .collect(),
        checkpoint_delay: seconds(found.checkpoint_delay().or(Some(CHECKPOINT_DELAY)))
            .unwrap_or_default(),
        // Waiting is AWS's default for both.
        waits_for_protected: found
            .scale_in_protected_instances()
            .is_none_or(|choice| *choice == asg::ScaleInProtectedInstances::Wait),
        waits_for_standby: found
            .standby_instances()
            .is_none_or(|choice| *choice == asg::StandbyInstances::Wait),
        auto_rollback: found.auto_rollback() == Some(true),
    }
}

#[cfg(test)]
mod tests;
