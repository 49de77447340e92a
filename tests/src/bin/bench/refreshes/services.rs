//! The calls of Auto Scaling and `CloudFormation` that cancel-refresh makes.

use std::fmt::Write as _;

use jiff::{Timestamp, ToSpan as _};

use super::estate::{Group, Groups, REPLACED, Standing, VERSIONS, wrong};
use crate::auto_scaling::{describe_groups, tags_of};
use crate::estate::{Answer, rfc3339};
use crate::query::{Query, Refusal, wrapped};

/// Answers a call.
pub(super) fn query(estate: &mut Groups, service: &str, action: &str, query: &Query) -> Answer {
    match (service, action) {
        ("autoscaling", "DescribeAutoScalingGroups") => {
            describe_groups(query, estate.groups.iter().map(Group::described))
        }
        ("autoscaling", "DescribeInstanceRefreshes") => refreshes(estate, query),
        ("autoscaling", "DescribeScalingActivities") => activities(estate, query),
        ("autoscaling", "CreateOrUpdateTags") => {
            for (name, key, value) in tags_of(query)? {
                estate.tag(name, key, value)?;
            }
            Ok(wrapped(action, ""))
        }
        ("autoscaling", "CancelInstanceRefresh") => stop(estate, "CancelInstanceRefresh", query),
        ("autoscaling", "RollbackInstanceRefresh") => {
            stop(estate, "RollbackInstanceRefresh", query)
        }
        ("cloudformation", "DescribeStacks") => stacks(estate, query),
        _ => Err(Refusal::unknown(&format!("{service}:{action}"))),
    }
}

fn stop(estate: &mut Groups, action: &'static str, query: &Query) -> Answer {
    query.only(&["AutoScalingGroupName"])?;
    let id = estate.stop(query.need("AutoScalingGroupName")?, action)?;
    let result = format!("<InstanceRefreshId>{id}</InstanceRefreshId>");
    Ok(wrapped(action, &result))
}

/// Only the newest is there, and nobody may ask for more.
fn refreshes(estate: &Groups, query: &Query) -> Answer {
    query.only(&["AutoScalingGroupName", "MaxRecords"])?;
    let group = &estate.groups[estate.find(query.need("AutoScalingGroupName")?)?];
    if query.get("MaxRecords") != Some("1") {
        return Err(wrong("more refreshes than the newest".to_owned()));
    }
    let mut result = "<InstanceRefreshes>".to_owned();
    if let Some(refresh) = &group.refresh {
        let (_, after) = VERSIONS;
        let ended = refresh.ended.map_or_else(String::new, |at| {
            format!("<EndTime>{}</EndTime>", rfc3339(at))
        });
        let wanted = if refresh.names_version {
            format!(
                "<DesiredConfiguration><LaunchTemplate><LaunchTemplateId>{}</LaunchTemplateId><LaunchTemplateName>{}</LaunchTemplateName><Version>{after}</Version></LaunchTemplate></DesiredConfiguration>",
                group.template, group.name
            )
        } else {
            String::new()
        };
        let (percentage, remaining) = match group.standing {
            Standing::Quiet => (100, 0),
            Standing::Rolling => (40, 6),
            _ => (0, 10),
        };
        let _ = write!(
            result,
            "<member><InstanceRefreshId>{id}</InstanceRefreshId><AutoScalingGroupName>{name}</AutoScalingGroupName><Status>{status}</Status><StartTime>{started}</StartTime>{ended}<PercentageComplete>{percentage}</PercentageComplete><InstancesToUpdate>{remaining}</InstancesToUpdate><Strategy>Rolling</Strategy><Preferences><MinHealthyPercentage>90</MinHealthyPercentage><MaxHealthyPercentage>100</MaxHealthyPercentage><InstanceWarmup>60</InstanceWarmup><SkipMatching>true</SkipMatching><AutoRollback>false</AutoRollback><ScaleInProtectedInstances>Wait</ScaleInProtectedInstances><StandbyInstances>Wait</StandbyInstances></Preferences>{wanted}</member>",
            id = refresh.id,
            name = group.name,
            status = refresh.status,
            started = rfc3339(refresh.started),
        );
    }
    result.push_str("</InstanceRefreshes>");
    Ok(wrapped("DescribeInstanceRefreshes", &result))
}

/// Those of an active refresh; of others nobody may ask.
fn activities(estate: &Groups, query: &Query) -> Answer {
    query.only(&["AutoScalingGroupName", "Filters", "MaxRecords"])?;
    let name = query.need("AutoScalingGroupName")?;
    let group = &estate.groups[estate.find(name)?];
    let started = group.refresh.as_ref().map(|refresh| refresh.started);
    let since = query.get("Filters.member.1.Values.member.1");
    let since: Option<Timestamp> = since.and_then(|since| since.parse().ok());
    if query.get("Filters.member.1.Name") != Some("StartTimeLowerBound")
        || query.get("MaxRecords") != Some("100")
        || since.is_none()
        || since.map(Timestamp::as_second) != started.map(Timestamp::as_second)
    {
        return Err(wrong(format!("activities of {name} since {since:?}")));
    }
    let at = |minutes: i64| started.unwrap_or_default() + minutes.minutes();
    let refresh = "in response to an instance refresh";
    let mut result = "<Activities>".to_owned();
    let mut add = |begun: i64, text: &str, cause: &str, status: &str, message: &str| {
        let (start, end) = (rfc3339(at(begun)), rfc3339(at(begun + 1)));
        let _ = write!(
            result,
            "<member><ActivityId>{name}-{begun}-{text}</ActivityId><AutoScalingGroupName>{name}</AutoScalingGroupName><Description>{text}</Description><Cause>At {start} {cause}.</Cause><StartTime>{start}</StartTime><EndTime>{end}</EndTime><StatusCode>{status}</StatusCode>{message}<Progress>100</Progress><Details>{{\"Subnet ID\":\"subnet-0a\",\"Availability Zone\":\"eu-central-1a\"}}</Details></member>"
        );
    };
    match group.standing {
        Standing::Rolling => {
            for (place, begun) in (0..REPLACED).zip(1..) {
                let new = &group.members[place];
                let cause = format!("an instance was launched {refresh}");
                let text = format!("Launching a new EC2 instance: {new}");
                add(begun, &text, &cause, "Successful", "");
                let old = crate::estate::id("i", 9_000_000 + place);
                let cause = format!("an instance was taken out of service {refresh}");
                let text = format!("Terminating EC2 instance: {old}");
                add(begun + 1, &text, &cause, "Successful", "");
            }
        }
        Standing::Failing => {
            let why = "<StatusMessage>The security group 'sg-0123456789abcdef0' does not exist in VPC 'vpc-0123456789abcdef0'. Launching EC2 instance failed.</StatusMessage>";
            for begun in 1..4 {
                let cause = format!("an instance was launched {refresh}");
                let text = "Launching a new EC2 instance.  Status Reason: The security group does not exist.";
                add(begun, text, &cause, "Failed", why);
            }
        }
        Standing::Quiet | Standing::Stopped => {
            return Err(wrong(format!(
                "activities of {name}, whose refresh isn't running"
            )));
        }
    }
    result.push_str("</Activities>");
    Ok(wrapped("DescribeScalingActivities", &result))
}

/// The stack of a group whose refresh fails.
fn stacks(estate: &Groups, query: &Query) -> Answer {
    query.only(&["StackName"])?;
    let stack = query.need("StackName")?;
    let group = estate.groups.iter().find(|group| group.stack() == stack);
    let group = group
        .filter(|group| group.standing == Standing::Failing)
        .ok_or_else(|| {
            wrong(format!(
                "the stack {stack}, of which nothing is to be known"
            ))
        })?;
    let result = format!(
        "<Stacks><member><StackId>{stack}</StackId><StackName>{}</StackName><CreationTime>2026-01-01T00:00:00Z</CreationTime><StackStatus>UPDATE_COMPLETE</StackStatus></member></Stacks>",
        group.name
    );
    Ok(wrapped("DescribeStacks", &result))
}
