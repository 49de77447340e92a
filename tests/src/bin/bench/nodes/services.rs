//! The calls of IAM, Auto Scaling and Systems Manager that attach-ssm-role makes.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::estate::{Instances, Node, TOLD_GROUP};
use crate::auto_scaling::{Described, describe_groups, tags_of};
use crate::estate::{ACCOUNT, Answer};
use crate::query::{Query, Refusal, wrapped};

/// Who may have the role, percent-encoded as IAM hands it out.
const TRUST: &str = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Principal%22%3A%7B%22Service%22%3A%22ec2.amazonaws.com%22%7D%2C%22Action%22%3A%22sts%3AAssumeRole%22%7D%5D%7D";

/// Answers a call of IAM or Auto Scaling.
pub(super) fn query(estate: &mut Instances, service: &str, action: &str, query: &Query) -> Answer {
    match (service, action) {
        ("iam", "GetInstanceProfile") => profile(query),
        ("iam", "SimulatePrincipalPolicy") => simulate(query),
        ("autoscaling", "DescribeAutoScalingGroups") => groups(estate, query),
        ("autoscaling", "CreateOrUpdateTags") => tag_groups(estate, query),
        _ => Err(Refusal::unknown(&format!("{service}:{action}"))),
    }
}

fn profile(query: &Query) -> Answer {
    query.only(&["InstanceProfileName"])?;
    let name = query.need("InstanceProfileName")?;
    if name.contains('/') {
        return Err(Refusal::of("ValidationError", "a name, not an ARN"));
    }
    let created = "<CreateDate>2025-01-01T00:00:00Z</CreateDate>";
    let result = format!(
        "<InstanceProfile><InstanceProfileId>AIPAEXAMPLE</InstanceProfileId><InstanceProfileName>{name}</InstanceProfileName><Path>/</Path><Arn>arn:aws:iam::{ACCOUNT}:instance-profile/{name}</Arn>{created}<Roles><member><Path>/</Path><RoleName>{name}</RoleName><RoleId>AROAEXAMPLE</RoleId><Arn>arn:aws:iam::{ACCOUNT}:role/{name}</Arn>{created}<AssumeRolePolicyDocument>{TRUST}</AssumeRolePolicyDocument></member></Roles></InstanceProfile>"
    );
    Ok(wrapped("GetInstanceProfile", &result))
}

/// Every role allows what the agent needs.
fn simulate(query: &Query) -> Answer {
    query.only(&["PolicySourceArn", "ActionNames", "Marker"])?;
    let actions = query.list("ActionNames.member");
    if actions.is_empty() || !query.need("PolicySourceArn")?.contains(":role/") {
        return Err(Refusal::of("InvalidInput", "no actions, or of no role"));
    }
    let mut results = String::new();
    for action in actions {
        let _ = write!(
            results,
            "<member><EvalActionName>{action}</EvalActionName><EvalResourceName>*</EvalResourceName><EvalDecision>allowed</EvalDecision><MatchedStatements/><MissingContextValues/></member>"
        );
    }
    let result =
        format!("<IsTruncated>false</IsTruncated><EvaluationResults>{results}</EvaluationResults>");
    Ok(wrapped("SimulatePrincipalPolicy", &result))
}

fn groups(estate: &Instances, query: &Query) -> Answer {
    let told = query.list("Filters.member.1.Values.member") == [TOLD_GROUP];
    if query.get("AutoScalingGroupNames.member.1").is_none() && !told {
        return Err(Refusal::of(
            "ValidationError",
            "neither by name nor by what was told all groups would be listed",
        ));
    }
    let groups = estate.groups.iter().map(|group| Described {
        name: &group.name,
        template: &group.template,
        version: 3,
        min: 1,
        desired: 50,
        members: Vec::new(),
        tags: group.told.as_slice(),
    });
    describe_groups(query, groups)
}

fn tag_groups(estate: &mut Instances, query: &Query) -> Answer {
    for (name, key, value) in tags_of(query)? {
        estate.tag_group(name, key, value)?;
    }
    Ok(wrapped("CreateOrUpdateTags", ""))
}

/// Answers a call of Systems Manager.
pub(super) fn json(estate: &Instances, target: &str, request: &Value) -> Answer {
    match target {
        "AmazonSSM.DescribeInstanceInformation" => nodes(estate, request),
        "AmazonSSM.GetServiceSetting" => {
            let setting = json!({"SettingId": request["SettingId"], "SettingValue": "$None", "Status": "Default"});
            Ok(json!({ "ServiceSetting": setting }).to_string())
        }
        _ => Err(Refusal::unknown(target)),
    }
}

/// A page holds 50 at most; by id 100 at most can be asked for (SSM-6).
fn nodes(estate: &Instances, request: &Value) -> Answer {
    let invalid = |why: &str| Refusal::of("ValidationException", why);
    let size = request["MaxResults"]
        .as_u64()
        .and_then(|size| usize::try_from(size).ok())
        .filter(|size| (5..=50).contains(size))
        .ok_or_else(|| invalid("MaxResults must be between 5 and 50"))?;
    let start = match request["NextToken"].as_str() {
        None => 0,
        Some(token) => token.parse().map_err(|_| invalid("NextToken"))?,
    };
    let values: Vec<&str> = request["Filters"][0]["Values"]
        .as_array()
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let by_id = match request["Filters"][0]["Key"].as_str() {
        Some("InstanceIds") if (1..=100).contains(&values.len()) => true,
        Some("ResourceType") if values == ["EC2Instance"] => false,
        _ => {
            return Err(Refusal::of(
                "InvalidFilterValue",
                request["Filters"].to_string(),
            ));
        }
    };
    let mut all = estate
        .instances
        .iter()
        .filter(|found| found.node != Node::Absent)
        .filter(|found| !by_id || values.contains(&found.id.as_str()))
        .skip(start);
    let page: Vec<Value> = all
        .by_ref()
        .take(size)
        .map(|found| {
            let (ping, at) = match found.node {
                Node::Online => ("Online", jiff::Timestamp::now()),
                _ => ("ConnectionLost", found.launched),
            };
            json!({
                "InstanceId": found.id,
                "PingStatus": ping,
                "LastPingDateTime": at.as_second(),
                "AgentVersion": "3.3.2299.0",
                "IsLatestVersion": true,
                "PlatformType": "Linux",
                "PlatformName": "Amazon Linux",
                "PlatformVersion": "2023",
                "ResourceType": "EC2Instance",
                "IPAddress": "10.0.0.10",
                "ComputerName": "ip-10-0-0-10.eu-central-1.compute.internal",
                "AssociationStatus": "Success",
                "SourceType": "AWS::EC2::Instance",
            })
        })
        .collect();
    let mut answer = json!({ "InstanceInformationList": page });
    if all.next().is_some() {
        answer["NextToken"] = (start + size).to_string().into();
    }
    Ok(answer.to_string())
}
