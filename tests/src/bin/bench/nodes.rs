//! What attach-ssm-role sweeps: instances, nodes, profiles, Auto Scaling groups.

use jiff::Timestamp;
use serde_json::json;

use crate::call::Call;
use crate::estate::{ACCOUNT, Estate, Instance, id, images};
use crate::list::List;

/// The stack's instance profile.
pub(crate) const OUR_PROFILE: &str =
    "arn:aws:iam::123456789012:instance-profile/ec2-guardrails-managed-node";
/// Instances of a group; what stands alone comes in as many, every fifth time.
const GROUP: usize = 50;
/// Profiles of the account's own.
const PROFILES: usize = 20;
const VPCS: usize = 36;
/// Who may have a role, percent-encoded as IAM hands it out.
const TRUST: &str = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Principal%22%3A%7B%22Service%22%3A%22ec2.amazonaws.com%22%7D%2C%22Action%22%3A%22sts%3AAssumeRole%22%7D%5D%7D";

/// An estate of so many instances.
pub(crate) fn estate(_: &str, size: usize) -> Estate {
    let mut instances = List::new("DescribeInstances", "reservationSet", 1_000);
    let mut nodes = List::new("DescribeInstanceInformation", "InstanceInformationList", 50);
    for number in 0..size {
        let (group, place) = (number / GROUP, number % GROUP);
        let alone = group.is_multiple_of(5);
        let own = number % PROFILES;
        let own = format!("arn:aws:iam::{ACCOUNT}:instance-profile/app-{own:02}");
        let ours = alone && number % 2 == 0;
        let mut found = Instance {
            number,
            vpc: number % VPCS,
            profile: Some(if ours { OUR_PROFILE } else { &own }),
            group: (!alone).then(|| format!("web-{group:03}")),
            ..Instance::default()
        };
        let mut online = true;
        match place {
            // Nodes of stopped instances aren't listed.
            9 | 29 => (found.stopped, online) = (true, false),
            // By Default Host Management.
            11..14 => found.profile = None,
            14 => {
                (found.profile, online) = (None, false);
                found.tags = &[("NoSsm", "")];
            }
            _ => {}
        }
        found.add_to(&mut instances);
        if online {
            add_node(&mut nodes, &id("i", number));
        }
    }
    let groups = List::new("DescribeAutoScalingGroups", "AutoScalingGroups", 100);
    Estate {
        policy: "attach-ssm-role:\n  exclude: { tag: NoSsm }\n".to_owned(),
        lists: vec![groups, images(), nodes, instances, endpoints()],
        size,
        ..Estate::default()
    }
}

fn add_node(list: &mut List, id: &str) {
    let text = json!({
        "InstanceId": id, "PingStatus": "Online", "LastPingDateTime": Timestamp::now().as_second(),
        "AgentVersion": "3.3.2299.0", "IsLatestVersion": true, "PlatformType": "Linux",
        "PlatformName": "Amazon Linux", "PlatformVersion": "2023", "ResourceType": "EC2Instance",
        "IPAddress": "10.0.0.10", "ComputerName": "ip-10-0-0-10.eu-central-1.compute.internal",
        "AssociationStatus": "Success", "SourceType": "AWS::EC2::Instance",
    });
    let keys = [("InstanceIds", id), ("ResourceType", "EC2Instance")];
    list.add(&keys, text.to_string());
}

/// A third of the VPCs have all that the agent needs.
fn endpoints() -> List {
    let mut list = List::new("DescribeVpcEndpoints", "vpcEndpointSet", 1_000);
    for vpc in (0..VPCS).step_by(3) {
        for (at, service) in ["ssm", "ssmmessages", "ec2messages"].iter().enumerate() {
            let (endpoint, vpc) = (id("vpce", vpc * 3 + at), id("vpc", vpc));
            let text = format!(
                "<item><vpcEndpointId>{endpoint}</vpcEndpointId><vpcEndpointType>Interface</vpcEndpointType><vpcId>{vpc}</vpcId><serviceName>com.amazonaws.eu-central-1.{service}</serviceName><state>available</state><policyDocument>{{\"Statement\":[{{\"Action\":\"*\",\"Effect\":\"Allow\",\"Principal\":\"*\",\"Resource\":\"*\"}}]}}</policyDocument><routeTableIdSet/><groupSet><item><groupId>sg-0e</groupId><groupName>endpoints</groupName></item></groupSet><privateDnsEnabled>true</privateDnsEnabled><requesterManaged>false</requesterManaged><ownerId>{ACCOUNT}</ownerId><subnetIdSet><item>subnet-0a</item></subnetIdSet><networkInterfaceIdSet><item>eni-{endpoint}</item></networkInterfaceIdSet></item>"
            );
            let kind = ("vpc-endpoint-type", "Interface");
            let keys = [("id", &*endpoint), ("vpc-id", &vpc), kind];
            list.add(&keys, text);
        }
    }
    list
}

pub(crate) fn profile(call: &Call) -> String {
    let name = call.get("InstanceProfileName");
    let created = "<CreateDate>2025-01-01T00:00:00Z</CreateDate>";
    format!(
        "<InstanceProfile><InstanceProfileId>AIPAEXAMPLE</InstanceProfileId><InstanceProfileName>{name}</InstanceProfileName><Path>/</Path><Arn>arn:aws:iam::{ACCOUNT}:instance-profile/{name}</Arn>{created}<Roles><member><Path>/</Path><RoleName>{name}</RoleName><RoleId>AROAEXAMPLE</RoleId><Arn>arn:aws:iam::{ACCOUNT}:role/{name}</Arn>{created}<AssumeRolePolicyDocument>{TRUST}</AssumeRolePolicyDocument></member></Roles></InstanceProfile>"
    )
}

/// Every role allows what the agent needs.
pub(crate) fn simulate(call: &Call) -> String {
    let result = |action: &str| {
        format!(
            "<member><EvalActionName>{action}</EvalActionName><EvalResourceName>*</EvalResourceName><EvalDecision>allowed</EvalDecision><MatchedStatements/><MissingContextValues/></member>"
        )
    };
    let actions = call.list("ActionNames.member").into_iter();
    let results: String = actions.map(result).collect();
    format!("<EvaluationResults>{results}</EvaluationResults>")
}

/// Default Host Management is on.
pub(crate) fn host_management() -> String {
    let role = "service-role/AWSSystemsManagerDefaultEC2InstanceManagementRole";
    json!({ "ServiceSetting": { "SettingValue": role } }).to_string()
}
