//! What cancel-refresh sweeps: Auto Scaling groups of ten instances, and the newest refresh of each.

use jiff::{Timestamp, ToSpan as _};

use crate::account::Account;
use crate::call::{Answer, Call};
use crate::estate::{ACCOUNT, Estate, REGION, add_group, id, minutes_ago, rfc3339};
use crate::list::List;

/// Instances of a group, and those that a refresh under way has replaced already.
const SIZE: usize = 10;
const REPLACED: usize = 4;

/// What a group's newest refresh is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refresh {
    Ended,
    /// Under way, and fine.
    Rolling,
    /// Its launches fail; whether it names its version, so that AWS can roll it back.
    Failing(bool),
}

/// A quarter had none in the last six weeks.
fn refresh(run: &str, number: usize) -> Option<Refresh> {
    match number % 10 {
        3 if run == "failing" => Some(Refresh::Rolling),
        7 if run == "failing" && (number < 20 || number % 100 == 7) => Some(Refresh::Failing(true)),
        8 if run == "failing" && number < 20 => Some(Refresh::Failing(false)),
        _ => (number % 4 > 0).then_some(Refresh::Ended),
    }
}

/// An estate of so many groups.
pub(crate) fn estate(run: &str, size: usize) -> Estate {
    let (mut changes, mut findings) = (Vec::new(), Vec::new());
    let mut groups = List::new("DescribeAutoScalingGroups", "AutoScalingGroups", 100);
    let mut refreshes = List::new("DescribeInstanceRefreshes", "InstanceRefreshes", 100);
    let mut activities = List::new("DescribeScalingActivities", "Activities", 100);
    let mut stacks = List::new("DescribeStacks", "Stacks", 100);
    for number in 0..size {
        let name = format!("web-{number:03}");
        let refresh = refresh(run, number);
        let members: Vec<String> = (0..SIZE).map(|at| id("i", number * SIZE + at)).collect();
        let stack = format!("arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{name}/{number:012x}");
        let replaced = if refresh == Some(Refresh::Rolling) {
            REPLACED
        } else {
            0
        };
        let tag = ("aws:cloudformation:stack-id", &*stack);
        add_group(&mut groups, &name, &members, replaced, tag);
        if let Some(refresh) = refresh {
            add_refresh(&mut refreshes, &name, refresh);
        }
        for member in &members[..replaced] {
            for (what, done, which) in [
                ("Launching a new EC2 instance", "launched", member),
                (
                    "Terminating EC2 instance",
                    "taken out of service",
                    &id(&name, 0),
                ),
            ] {
                add_activity(
                    &mut activities,
                    &name,
                    &format!("{what}: {which}"),
                    done,
                    "",
                );
            }
        }
        if let Some(Refresh::Failing(names_version)) = refresh {
            let what =
                "Launching a new EC2 instance.  Status Reason: The security group does not exist.";
            let why = "<StatusMessage>The security group 'sg-0123456789abcdef0' does not exist in VPC 'vpc-0123456789abcdef0'. Launching EC2 instance failed.</StatusMessage>";
            for _ in 0..3 {
                add_activity(&mut activities, &name, what, "launched", why);
            }
            let text = format!(
                "<member><StackId>{stack}</StackId><StackName>{name}</StackName><CreationTime>2026-01-01T00:00:00Z</CreationTime><StackStatus>UPDATE_COMPLETE</StackStatus></member>"
            );
            stacks.add(&[("StackName", &stack)], text);
            let action = if names_version { "Rollback" } else { "Cancel" };
            changes.push(format!("{action}InstanceRefresh {name}"));
            findings.push(format!("auto-scaling-group/{name}"));
        }
    }
    Estate {
        policy: "cancel-refresh:\n  mode: enforce\n".to_owned(),
        lists: vec![groups, refreshes, activities, stacks],
        size,
        changes,
        findings,
    }
}

fn add_refresh(list: &mut List, name: &str, refresh: Refresh) {
    let at = |minutes| rfc3339(minutes_ago(minutes));
    let week = 7 * 24 * 60;
    let (status, started, ended, percentage, open) = match refresh {
        Refresh::Ended => ("Successful", at(week), at(week - 20), 100, 0),
        Refresh::Rolling => ("InProgress", at(10), String::new(), 40, 6),
        Refresh::Failing(_) => ("InProgress", at(10), String::new(), 0, 10),
    };
    let ended = match refresh {
        Refresh::Ended => format!("<EndTime>{ended}</EndTime>"),
        _ => ended,
    };
    let wanted = match refresh {
        Refresh::Failing(false) => String::new(),
        _ => format!(
            "<DesiredConfiguration><LaunchTemplate><LaunchTemplateId>lt-{name}</LaunchTemplateId><LaunchTemplateName>{name}</LaunchTemplateName><Version>4</Version></LaunchTemplate></DesiredConfiguration>"
        ),
    };
    let text = format!(
        "<member><InstanceRefreshId>08b91cf7-{name}</InstanceRefreshId><AutoScalingGroupName>{name}</AutoScalingGroupName><Status>{status}</Status><StartTime>{started}</StartTime>{ended}<PercentageComplete>{percentage}</PercentageComplete><InstancesToUpdate>{open}</InstancesToUpdate><Strategy>Rolling</Strategy><Preferences><MinHealthyPercentage>90</MinHealthyPercentage><MaxHealthyPercentage>100</MaxHealthyPercentage><InstanceWarmup>60</InstanceWarmup><SkipMatching>true</SkipMatching><AutoRollback>false</AutoRollback><ScaleInProtectedInstances>Wait</ScaleInProtectedInstances><StandbyInstances>Wait</StandbyInstances></Preferences>{wanted}</member>"
    );
    list.add(&[("AutoScalingGroupName", name)], text);
}

/// An activity of a refresh: the group's first some minutes ago, each a second after the other.
fn add_activity(list: &mut List, group: &str, what: &str, done: &str, failure: &str) {
    let start: Timestamp = minutes_ago(8) + i64::try_from(list.len() % 60).unwrap_or(0).seconds();
    let (start, end) = (rfc3339(start), rfc3339(start + 1.minutes()));
    let id = format!("activity-{}", list.len());
    let status = if failure.is_empty() {
        "Successful"
    } else {
        "Failed"
    };
    let text = format!(
        "<member><ActivityId>{id}</ActivityId><AutoScalingGroupName>{group}</AutoScalingGroupName><Description>{what}</Description><Cause>At {start} an instance was {done} in response to an instance refresh.</Cause><StartTime>{start}</StartTime><EndTime>{end}</EndTime><StatusCode>{status}</StatusCode>{failure}<Progress>100</Progress><Details>{{\"Subnet ID\":\"subnet-0a\",\"Availability Zone\":\"eu-central-1a\"}}</Details></member>"
    );
    list.add(&[("activity", &id), ("AutoScalingGroupName", group)], text);
}

/// Cancels a refresh, or rolls it back, once.
pub(crate) fn stop(account: &mut Account, call: &Call) -> Answer {
    let name = call.get("AutoScalingGroupName");
    let status = match &*call.action {
        "CancelInstanceRefresh" => "<Status>Cancelling<",
        _ => "<Status>RollbackInProgress<",
    };
    let list = "DescribeInstanceRefreshes";
    account.replace(list, name, "<Status>InProgress<", status)?;
    Ok(format!(
        "<InstanceRefreshId>08b91cf7-{name}</InstanceRefreshId>"
    ))
}
