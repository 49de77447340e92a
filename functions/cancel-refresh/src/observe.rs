//! Reads groups and their newest refresh into facts; and of refreshes that run, what happened.
//!
//! A quiet group costs one call, for its newest refresh: AWS has none that lists the active ones of
//! the account. The rest is read only where it can change the judgement.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_autoscaling::types as asg;
use aws_sdk_cloudwatch::types::{AlarmType, StateValue};
use aws_sdk_elasticloadbalancingv2::types::TargetHealthStateEnum;
use futures::StreamExt as _;
use futures::stream;
use guardrails::aws::{ApiError, filter};
use guardrails::ec2::FILTER_VALUES;
use guardrails::notify::AUTO_SCALING_GROUP;
use guardrails::trigger::{Request, Scope};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::facts::{
    Activity, Alarm, Case, Ended, Facts, Group, Member, Preferences, Read, Refresh, Repair, Source,
    Status, TargetHealth,
};
use crate::policy::{Policy, Settings};
use crate::{ALARM, Clients, decide, image, signals};

/// Groups read at once.
const CONCURRENCY: usize = 8;
/// How long groups are read again of which something was throttled. What is left then is told as
/// unread, and the rest of the groups still gets its turn.
const AGAIN: Duration = Duration::from_mins(1);
/// Largest page of `DescribeAutoScalingGroups` and `DescribeScalingActivities`.
const PAGE: i32 = 100;
/// Only the newest refresh is looked at: no older one can be active.
const REFRESHES: i32 = 1;
/// Most names of one `DescribeAlarms`.
const ALARM_NAMES: usize = 100;
/// AWS's own delay at a checkpoint where the refresh names none.
const CHECKPOINT_DELAY: i32 = 3_600;

/// Reads what `request` asks for.
pub(crate) async fn observe(
    clients: &Clients,
    policy: &Policy,
    request: &Request,
    now: Timestamp,
) -> Result<Facts, ApiError> {
    let mut facts = Facts::default();
    let which = match &request.scope {
        Scope::All => {
            facts.complete = true;
            Which::All
        }
        Scope::One(_) | Scope::Some(_) => {
            // Its triggers never name more than one.
            let subject = request.scope.named().first().map_or("", String::as_str);
            if let Some(alarm) = subject.strip_prefix(ALARM) {
                Which::Naming(alarm.to_owned())
            } else {
                let group = subject.strip_prefix(AUTO_SCALING_GROUP).unwrap_or(subject);
                if request.read_only {
                    facts.asked = Some(group.to_owned());
                }
                Which::Named(group.to_owned())
            }
        }
    };
    let groups = groups(clients, which).await?;
    let mut cases: Vec<Case> = stream::iter(groups)
        .map(|group| case(clients, policy, group, request.read_only, now))
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    // All calls of Auto Scaling in an account share one limit (ASG-13), so several at once may be
    // more than it lets through, in spite of the SDK's retries. One at a time gets on.
    let until = Instant::now() + AGAIN;
    for found in &mut cases {
        if found.is_throttled() && Instant::now() < until {
            let group = found.group.clone();
            *found = case(clients, policy, group, request.read_only, now).await;
        }
    }
    facts.cases = cases
        .into_iter()
        .map(|case| (case.group.name.clone(), case))
        .collect();
    Ok(facts)
}

/// Which groups are read.
enum Which {
    All,
    Named(String),
    /// Those with a tag that names this alarm.
    Naming(String),
}

async fn groups(clients: &Clients, which: Which) -> Result<Vec<Group>, ApiError> {
    let describe = clients
        .autoscaling
        .describe_auto_scaling_groups()
        .max_records(PAGE);
    let describe = match &which {
        Which::All => describe,
        Which::Named(name) => describe.auto_scaling_group_names(name),
        Which::Naming(alarm) => {
            let tagged = asg::Filter::builder().name("tag-value").values(alarm);
            describe.filters(tagged.build())
        }
    };
    let mut pages = describe.into_paginator().items().send();
    let mut found = Vec::new();
    while let Some(page) = pages
        .try_next()
        .await
        .map_err(|error| ApiError::of("autoscaling:DescribeAutoScalingGroups", &error))?
    {
        found.extend(group(&page));
    }
    if let Which::Naming(alarm) = &which {
        found.retain(|group| crate::policy::alarms(group).contains(alarm));
    }
    Ok(found)
}

/// All about one group that its judgement needs. What can't be read is told with the group: one
/// failure never stops the rest.
async fn case(
    clients: &Clients,
    policy: &Policy,
    group: Group,
    explain: bool,
    now: Timestamp,
) -> Case {
    let mut case = Case::of(group, now);
    if policy.exclude.tag_of(|key| case.group.tag(key)).is_some() && !explain {
        return case;
    }
    match newest_refresh(&clients.autoscaling, &case.group.name).await {
        Ok(refresh) => case.refresh = refresh,
        Err(error) => case.unread.push(error),
    }
    let Some(refresh) = case.refresh.clone() else {
        return case;
    };
    let settings = Settings::of(policy, &case.group);
    let running = refresh.status.is_running();
    let ended_badly = refresh.status.is_ended_badly() && decide::ended_recently(&refresh, now);
    if let Some(start) = refresh.start
        && (running || explain || (ended_badly && !told(&case, &refresh)))
    {
        match activities(&clients.autoscaling, &case.group.name, start).await {
            Ok(activities) => case.activities = activities,
            Err(error) => case.unread.push(error),
        }
        if !settings.alarms.is_empty() {
            match alarms(&clients.cloudwatch, &settings.alarms).await {
                Ok(alarms) => case.alarms = Some(alarms),
                Err(error) => case.unread.push(error),
            }
        }
        health(clients, &mut case, &settings, explain, now).await;
    }
    let failing = signals::judge(&case, &settings, now).is_failing();
    if (failing || explain) && case.group.operator.is_none() {
        case.stack = stack(clients, &case.group).await;
    }
    if let Some(tags) = &settings.image
        && (explain || image_matters(&case, &refresh, failing, now))
    {
        case.image = Some(image::read(&clients.ecr, tags).await);
    }
    case
}

/// Whether the end of this refresh was told: then its evidence isn't needed any more.
fn told(case: &Case, refresh: &Refresh) -> bool {
    crate::assess::told_of(&case.group)
        .is_some_and(|told| told.refresh == refresh.id && told.stage >= crate::assess::Stage::Ended)
}

/// At first sight, before it is stopped, and while its repair is open.
fn image_matters(case: &Case, refresh: &Refresh, failing: bool, now: Timestamp) -> bool {
    let seen = case.group.seen().filter(|seen| seen.refresh == refresh.id);
    if !refresh.status.is_ended() {
        let winding_down = matches!(
            refresh.status,
            Status::Cancelling | Status::RollbackInProgress
        );
        let open = seen
            .as_ref()
            .is_some_and(|seen| seen.repair == Repair::Open);
        return failing || seen.is_none() || (winding_down && open);
    }
    decide::failed(case, refresh)
        && decide::ended_recently(refresh, now)
        && seen.is_none_or(|seen| seen.repair == Repair::Open)
}

/// What EC2 and the load balancer say, where that matters.
async fn health(
    clients: &Clients,
    case: &mut Case,
    settings: &Settings,
    explain: bool,
    now: Timestamp,
) {
    let terminated = signals::terminated(case);
    if !terminated.is_empty() {
        match ended(&clients.ec2, &terminated).await {
            Ok(ended) => case.ended = ended,
            Err(error) => case.unread.push(error),
        }
    }
    let judgement = signals::judge(case, settings, now);
    if (explain || signals::targets_matter(&judgement)) && !case.group.target_groups.is_empty() {
        match targets(clients, &case.group.target_groups).await {
            Ok(targets) => case.targets = Some(targets),
            Err(error) => case.unread.push(error),
        }
    }
}

/// The newest refresh of a group; also just before one is stopped.
pub(crate) async fn newest_refresh(
    autoscaling: &aws_sdk_autoscaling::Client,
    group: &str,
) -> Read<Option<Refresh>> {
    let mut pages = autoscaling
        .describe_instance_refreshes()
        .auto_scaling_group_name(group)
        .max_records(REFRESHES)
        .into_paginator()
        .send();
    // Newest first; a page may be empty and yet not the last.
    while let Some(page) = pages
        .try_next()
        .await
        .map_err(|error| ApiError::of("autoscaling:DescribeInstanceRefreshes", &error))?
    {
        if let Some(newest) = page.instance_refreshes().first() {
            return Ok(refresh(newest));
        }
    }
    Ok(None)
}

/// One group; none: it is gone. Just before its refresh is stopped.
pub(crate) async fn one_group(
    autoscaling: &aws_sdk_autoscaling::Client,
    name: &str,
) -> Read<Option<Group>> {
    let answer = autoscaling
        .describe_auto_scaling_groups()
        .auto_scaling_group_names(name)
        .send()
        .await
        .map_err(|error| ApiError::of("autoscaling:DescribeAutoScalingGroups", &error))?;
    Ok(answer.auto_scaling_groups().iter().find_map(group))
}

async fn activities(
    autoscaling: &aws_sdk_autoscaling::Client,
    group: &str,
    start: Timestamp,
) -> Read<Vec<Activity>> {
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
        .map_err(|error| ApiError::of("autoscaling:DescribeScalingActivities", &error))?
    {
        let Some(start) = timestamp(activity.start_time()) else {
            continue;
        };
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
            start,
            end: timestamp(activity.end_time()),
        });
    }
    Ok(found)
}

async fn alarms(
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

async fn ended(ec2: &aws_sdk_ec2::Client, ids: &[String]) -> Read<BTreeMap<String, Ended>> {
    let mut found = BTreeMap::new();
    for some in ids.chunks(FILTER_VALUES) {
        // By filter, not by ids: EC2 forgets terminated instances after an hour, and one unknown
        // id would fail the call.
        let mut pages = ec2
            .describe_instances()
            .filters(filter("instance-id", some.to_vec()))
            .into_paginator()
            .items()
            .send();
        while let Some(reservation) = pages
            .try_next()
            .await
            .map_err(|error| ApiError::of("ec2:DescribeInstances", &error))?
        {
            for instance in reservation.instances() {
                let Some(id) = instance.instance_id() else {
                    continue;
                };
                let version = instance
                    .tags()
                    .iter()
                    .find(|tag| tag.key() == Some("aws:ec2launchtemplate:version"))
                    .and_then(|tag| tag.value().map(str::to_owned));
                let reason = instance.state_reason().and_then(|reason| reason.code());
                found.insert(
                    id.to_owned(),
                    Ended {
                        reason: reason.map(str::to_owned),
                        version,
                    },
                );
            }
        }
    }
    Ok(found)
}

async fn targets(clients: &Clients, groups: &[String]) -> Read<BTreeMap<String, TargetHealth>> {
    let mut found: BTreeMap<String, TargetHealth> = BTreeMap::new();
    for group in groups {
        let answer = clients
            .elb
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
async fn stack(clients: &Clients, group: &Group) -> Option<Read<String>> {
    let stack = group
        .tag("aws:cloudformation:stack-id")
        .or_else(|| group.tag("aws:cloudformation:stack-name"))?;
    let answer = clients
        .cloudformation
        .describe_stacks()
        .stack_name(stack)
        .send()
        .await
        .map_err(|error| ApiError::of("cloudformation:DescribeStacks", &error));
    match answer {
        Ok(answer) => answer
            .stacks()
            .first()
            .and_then(|stack| stack.stack_status())
            .map(|status| Ok(status.as_str().to_owned())),
        // A stack that was deleted and left the group behind is at work on nothing.
        Err(error)
            if error.code == "ValidationError" && error.message.contains("does not exist") =>
        {
            None
        }
        Err(error) => Some(Err(error)),
    }
}

fn timestamp(at: Option<&aws_sdk_autoscaling::primitives::DateTime>) -> Option<Timestamp> {
    let at = at?;
    let nanos = i32::try_from(at.subsec_nanos()).ok()?;
    Timestamp::new(at.secs(), nanos).ok()
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
    let traffic = found
        .traffic_sources()
        .iter()
        .map(asg::TrafficSourceIdentifier::identifier)
        .map(Option::unwrap_or_default)
        .filter(|identifier| {
            identifier.contains(":targetgroup/") && identifier.contains(":elasticloadbalancing:")
        })
        .map(str::to_owned);
    let target_groups: BTreeSet<String> = found
        .target_group_arns()
        .iter()
        .cloned()
        .chain(traffic)
        .collect();
    let source = match (found.launch_template(), found.mixed_instances_policy()) {
        (Some(template), _) => Some(source(template)),
        (None, Some(policy)) => mixed(policy),
        (None, None) => None,
    };
    Some(Group {
        name: found.auto_scaling_group_name()?.to_owned(),
        desired: count(found.desired_capacity()).unwrap_or(0),
        source,
        suspended: found
            .suspended_processes()
            .iter()
            .filter_map(|process| process.process_name().map(str::to_owned))
            .collect(),
        operator: found
            .operator()
            .map(|operator| operator.principal().unwrap_or("an AWS service").to_owned()),
        tags: found
            .tags()
            .iter()
            .filter_map(|tag| {
                Some((
                    tag.key()?.to_owned(),
                    tag.value().unwrap_or_default().to_owned(),
                ))
            })
            .collect(),
        members: found.instances().iter().filter_map(member).collect(),
        target_groups: target_groups.into_iter().collect(),
        elb_health: found
            .health_check_type()
            .is_some_and(|kinds| kinds.contains("ELB")),
        grace: seconds(found.health_check_grace_period()).unwrap_or_default(),
        warmup: seconds(found.default_instance_warmup()),
    })
}

fn member(found: &asg::Instance) -> Option<Member> {
    Some(Member {
        id: found.instance_id()?.to_owned(),
        version: found
            .launch_template()
            .and_then(|template| template.version().map(str::to_owned)),
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

fn source(template: &asg::LaunchTemplateSpecification) -> Source {
    Source {
        id: template.launch_template_id().map(str::to_owned),
        name: template.launch_template_name().map(str::to_owned),
        // AWS takes the default version where none is named.
        version: template.version().unwrap_or("$Default").to_owned(),
        overrides: Vec::new(),
    }
}

fn mixed(policy: &asg::MixedInstancesPolicy) -> Option<Source> {
    let template = policy.launch_template()?;
    let specification = template.launch_template_specification()?;
    let overrides = template.overrides().iter().map(|each| {
        let own = each.launch_template_specification().map(source);
        format!(
            "{} {} {}",
            each.instance_type().unwrap_or("any type"),
            each.weighted_capacity().unwrap_or("1"),
            own.map(|own| own.to_string()).unwrap_or_default()
        )
        .trim_end()
        .to_owned()
    });
    Some(Source {
        overrides: overrides.collect(),
        ..source(specification)
    })
}

fn refresh(found: &asg::InstanceRefresh) -> Option<Refresh> {
    let wanted = found.desired_configuration().and_then(|wanted| {
        match (wanted.launch_template(), wanted.mixed_instances_policy()) {
            (Some(template), _) => Some(source(template)),
            (None, Some(policy)) => mixed(policy),
            (None, None) => None,
        }
    });
    Some(Refresh {
        id: found.instance_refresh_id()?.to_owned(),
        status: Status::read(found.status()?.as_str()),
        reason: found.status_reason().map(str::to_owned),
        start: timestamp(found.start_time()),
        end: timestamp(found.end_time()),
        percentage: count(found.percentage_complete()).unwrap_or(0),
        remaining: count(found.instances_to_update()),
        wanted,
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
