//! What quarantine-launch looks at: instances of 40 AMIs, half of them in Auto Scaling groups of ten,
//! in three VPCs that have an isolation group from an earlier quarantine.

use jiff::Timestamp;
use serde_json::json;

use crate::account::Account;
use crate::call::{Answer, Call, refuse};
use crate::estate::{
    ACCOUNT, Estate, IMAGES, Instance, add_group, id, images, minutes_ago, rfc3339,
};
use crate::list::List;

/// Instances of a group; every second ten stands alone.
const SIZE: usize = 10;
const VPCS: usize = 3;
/// One in so many was launched long ago from an AMI that isn't approved, and one just now.
const UNAPPROVED_EVERY: usize = 250;
const POLICY: &str = "quarantine-launch:\n  mode: enforce\n  approve:\n    - { owner: self, name: \"golden-*\" }\n    - { owner: amazon, name: \"al2023-ami-2023.*-arm64\" }\n  brake: { percent: 100 }\n";

/// Id of a VPC's isolation group.
fn isolation(vpc: usize) -> String {
    id("sg", 900 + vpc)
}

/// An estate of so many instances.
pub(crate) fn estate(run: &str, size: usize) -> Estate {
    let (approved, others) = (IMAGES[0] + IMAGES[1], IMAGES[2]);
    let mut instances = List::new("DescribeInstances", "reservationSet", 1_000);
    let mut groups = List::new("DescribeAutoScalingGroups", "AutoScalingGroups", 100);
    let (mut changes, mut findings) = (Vec::new(), Vec::new());
    let snapshots = List::new("DescribeSnapshots", "snapshotSet", 1_000);
    for number in 0..size {
        let group = number / SIZE;
        let name = format!("web-{group:03}");
        let is_member = group.is_multiple_of(2);
        // By turns in a group and alone.
        let unapproved = run == "enforced" && number % UNAPPROVED_EVERY == 4;
        let strange = unapproved || number % UNAPPROVED_EVERY == 29;
        let image = [number % approved, approved + number % others][usize::from(strange)];
        let launched = match number % SIZE {
            _ if unapproved => minutes_ago(2),
            // A tenth was launched today.
            1 => minutes_ago(5 * 60),
            _ => Timestamp::default(),
        };
        Instance {
            number,
            image,
            launched,
            vpc: number % VPCS,
            volumes: vec![id("vol", number)],
            group: is_member.then(|| name.clone()),
            ..Instance::default()
        }
        .add_to(&mut instances);
        if unapproved {
            // It is isolated, protected, kept, snapshotted, and a group's member taken out of service.
            let id = id("i", number);
            changes.extend([
                format!("ModifyNetworkInterfaceAttribute eni-{id}"),
                format!("ModifyInstanceAttribute {id} DisableApiTermination"),
                format!("ModifyInstanceAttribute {id} BlockDeviceMapping"),
                format!("CreateSnapshots {id}"),
            ]);
            changes.extend(is_member.then(|| format!("EnterStandby {id}")));
            findings.push(id);
        }
        if is_member && number % SIZE == 0 {
            let members: Vec<String> = (number..number + SIZE).map(|at| id("i", at)).collect();
            add_group(&mut groups, &name, &members);
        }
    }
    Estate {
        policy: POLICY.to_owned(),
        lists: vec![groups, images(), instances, security_groups(), snapshots],
        size,
        changes,
        findings,
    }
}

/// The isolation groups, all of them bare.
fn security_groups() -> List {
    let mut list = List::new("DescribeSecurityGroups", "securityGroupInfo", 1_000);
    for number in 0..VPCS {
        let (group, vpc) = (isolation(number), id("vpc", number));
        let text = format!(
            "<item><ownerId>{ACCOUNT}</ownerId><groupId>{group}</groupId><groupName>ec2-guardrails-quarantine</groupName><groupDescription>Isolates</groupDescription><vpcId>{vpc}</vpcId><ipPermissions/><ipPermissionsEgress/><tagSet><item><key>ec2-guardrails:guardrail</key><value>quarantine-launch</value></item></tagSet></item>"
        );
        let tag = ("tag:ec2-guardrails:guardrail", "quarantine-launch");
        let name = ("group-name", "ec2-guardrails-quarantine");
        list.add(&[("group-id", &*group), ("vpc-id", &vpc), tag, name], text);
    }
    list
}

/// Into the isolation group of its VPC, and nothing else.
pub(crate) fn isolate(account: &mut Account, call: &Call) -> Answer {
    let instance = call.get("NetworkInterfaceId").replace("eni-", "");
    let groups = call.list("SecurityGroupId");
    match (0..VPCS).find(|vpc| groups == [isolation(*vpc)]) {
        Some(vpc) => account.replace("DescribeInstances", &instance, &id("sg", vpc), groups[0]),
        None => refuse(format!("into the groups {groups:?}")),
    }
}

/// Termination protection on, or delete-on-termination off.
pub(crate) fn modify(account: &mut Account, call: &Call) -> Answer {
    if call.get("DisableApiTermination.Value") == "true" {
        return Ok("<return>true</return>".to_owned());
    }
    match call.get("BlockDeviceMapping.1.Ebs.DeleteOnTermination") {
        "false" => {
            let (from, to) = ("<deleteOnTermination>true", "<deleteOnTermination>false");
            account.replace("DescribeInstances", call.get("InstanceId"), from, to)
        }
        _ => refuse("another change"),
    }
}

/// One attribute, as EC2 has it: the one that was asked for, and no other.
pub(crate) fn attribute(account: &mut Account, call: &Call) -> Answer {
    let id = call.get("InstanceId");
    let (attribute, value) = match call.get("Attribute") {
        name @ "disableApiTermination" => {
            let protects = format!("ModifyInstanceAttribute {id} DisableApiTermination");
            (name, account.changed.contains(&protects).to_string())
        }
        name @ "instanceInitiatedShutdownBehavior" => (name, "stop".to_owned()),
        _ => return refuse("another attribute"),
    };
    Ok(format!(
        "<instanceId>{id}</instanceId><{attribute}><value>{value}</value></{attribute}>"
    ))
}

pub(crate) fn standby(account: &mut Account, call: &Call) -> Answer {
    if call.get("ShouldDecrementDesiredCapacity") != "true" {
        return refuse("another would be launched");
    }
    let id = call.get("InstanceIds.member.1");
    let is = |state: &str| format!("<InstanceId>{id}</InstanceId><LifecycleState>{state}<");
    let (from, to) = (is("InService"), is("Standby"));
    let group = call.get("AutoScalingGroupName");
    account.replace("DescribeAutoScalingGroups", group, &from, &to)?;
    Ok("<Activities/>".to_owned())
}

/// Each by somebody else: of one launcher two would be a loop.
pub(crate) fn lookup(call: &Call) -> String {
    let about = call.json["LookupAttributes"][0]["AttributeValue"].as_str();
    let role = format!("arn:aws:iam::{ACCOUNT}:role/{}", about.unwrap_or_default());
    let record = json!({
        "eventName": "RunInstances", "eventTime": rfc3339(Timestamp::now()),
        "sourceIPAddress": "203.0.113.7", "userAgent": "HashiCorp Terraform/1.9.8",
        "userIdentity": {"type": "AssumedRole", "arn": role},
    });
    let (id, name, record) = ("59dbff89", "RunInstances", record.to_string());
    let event = json!({"EventId": id, "EventName": name, "CloudTrailEvent": record});
    json!({ "Events": [event] }).to_string()
}
