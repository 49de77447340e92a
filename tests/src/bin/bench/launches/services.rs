//! The calls of Auto Scaling, CloudTrail and Systems Manager that quarantine-launch makes.

use serde_json::{Value, json};

use super::estate::{Launches, wrong};
use crate::auto_scaling::{describe_groups, tags_of};
use crate::estate::{ACCOUNT, Answer, rfc3339};
use crate::query::{Query, Refusal, wrapped};
use crate::services::POLICY_PARAMETER;

/// Answers a call of Auto Scaling.
pub(super) fn query(estate: &mut Launches, service: &str, action: &str, query: &Query) -> Answer {
    match (service, action) {
        ("autoscaling", "DescribeAutoScalingGroups") => {
            if query.get("AutoScalingGroupNames.member.1").is_none()
                && query.get("Filters.member.1.Name").is_none()
            {
                return Err(wrong("all groups".to_owned()));
            }
            describe_groups(query, estate.described())
        }
        ("autoscaling", "CreateOrUpdateTags") => {
            for (name, key, value) in tags_of(query)? {
                estate.tag_group(name, key, value)?;
            }
            Ok(wrapped(action, ""))
        }
        ("autoscaling", "EnterStandby") => standby(estate, query),
        _ => Err(Refusal::unknown(&format!("{service}:{action}"))),
    }
}

fn standby(estate: &mut Launches, query: &Query) -> Answer {
    query.only(&[
        "AutoScalingGroupName",
        "InstanceIds",
        "ShouldDecrementDesiredCapacity",
    ])?;
    let ids = query.list("InstanceIds.member");
    let [id] = ids.as_slice() else {
        return Err(wrong(format!("{ids:?} into standby at once")));
    };
    if !query.flag("ShouldDecrementDesiredCapacity") {
        return Err(wrong("the group would launch another".to_owned()));
    }
    let name = query.need("AutoScalingGroupName")?;
    let group = estate.groups.iter().position(|group| group.name == name);
    let found = estate.held(id)?;
    if group.is_none() || found.group != group || found.steps.standby > 0 {
        return Err(Refusal::of(
            "ValidationError",
            format!("The instance {id} is not InService in {name}"),
        ));
    }
    found.steps.standby += 1;
    Ok(wrapped("EnterStandby", "<Activities/>"))
}

/// Answers a call of CloudTrail or Systems Manager.
pub(super) fn json(estate: &Launches, target: &str, request: &Value) -> Answer {
    match target.split('.').next_back() {
        Some("LookupEvents") => lookup(estate, request),
        Some("ListTagsForResource") if request["ResourceId"] == POLICY_PARAMETER => {
            Ok(json!({ "TagList": [] }).to_string())
        }
        _ => Err(Refusal::unknown(target)),
    }
}

/// Who launched an instance; of a group's member Auto Scaling did. Who changed a group.
fn lookup(estate: &Launches, request: &Value) -> Answer {
    let about = request["LookupAttributes"][0]["AttributeValue"].as_str();
    let about = about.unwrap_or_default();
    let role = |name: &str| format!("arn:aws:iam::{ACCOUNT}:role/{name}");
    let (call, by, service) = if about.starts_with("i-") {
        let found = &estate.instances[estate.find(about)?];
        match found.group {
            Some(_) => {
                let service = "autoscaling.amazonaws.com";
                ("RunInstances", role("aws-service-role"), Some(service))
            }
            // Each by somebody else: of one launcher two would be a loop.
            None => ("RunInstances", role(&format!("ci-{about}")), None),
        }
    } else if about.starts_with("lt-") {
        ("CreateLaunchTemplateVersion", role("deploy"), None)
    } else {
        ("UpdateAutoScalingGroup", role("operations"), None)
    };
    let at = rfc3339(jiff::Timestamp::now());
    let record = json!({
        "eventName": call,
        "eventTime": at,
        "sourceIPAddress": "203.0.113.7",
        "userAgent": "HashiCorp Terraform/1.9.8",
        "userIdentity": {
            "type": "AssumedRole",
            "arn": by,
            "invokedBy": service,
        },
    });
    let event = json!({
        "EventId": "59dbff89-35bd-4eac-99ed-be587EXAMPLE",
        "EventName": call,
        "CloudTrailEvent": record.to_string(),
    });
    Ok(json!({ "Events": [event] }).to_string())
}
