//! What the synthetic estates have in common, about as long as AWS describes it.

use jiff::{Timestamp, ToSpan as _};

use crate::list::List;

/// The account.
pub(crate) const ACCOUNT: &str = "123456789012";
/// The Region.
pub(crate) const REGION: &str = "eu-central-1";
/// What the schedule sends.
pub(crate) const SWEEP: &str = r#"{"trigger": "sweep"}"#;
/// Where an instance's volumes are, the root volume first.
pub(crate) const DEVICES: [&str; 3] = ["/dev/xvda", "/dev/sdf", "/dev/sdg"];
const KEY: &str = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// An account's content, and what a guardrail should do about it: each once, and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Estate {
    pub(crate) policy: String,
    pub(crate) lists: Vec<List>,
    /// How many volumes, groups or instances there are.
    pub(crate) size: usize,
    /// Calls that change something, each with its target.
    pub(crate) changes: Vec<String>,
    /// Resources of which people are told.
    pub(crate) findings: Vec<String>,
}

impl Estate {
    /// How many actions are due: one for each resource that is told of, where any is.
    pub(crate) fn due(&self) -> usize {
        let told = self.findings.len();
        if told > 0 { told } else { self.changes.len() }
    }
}

/// 17 hexadecimal digits in no order, as AWS gives them.
pub(crate) fn id(prefix: &str, number: usize) -> String {
    let scattered = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{prefix}-0{scattered:016x}")
}

/// A time as AWS writes it.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}

pub(crate) fn minutes_ago(minutes: i64) -> Timestamp {
    Timestamp::now() - minutes.minutes()
}

fn tag_set(tags: &[(&str, &str)]) -> String {
    let tag = |(key, value): &(&str, &str)| {
        format!("<item><key>{key}</key><value>{value}</value></item>")
    };
    let tags: String = tags.iter().map(tag).collect();
    format!("<tagSet>{tags}</tagSet>")
}

/// An item of `DescribeInstances`, launched long ago where nothing else is said.
#[derive(Debug, Default)]
pub(crate) struct Instance<'a> {
    pub(crate) number: usize,
    pub(crate) image: usize,
    pub(crate) stopped: bool,
    pub(crate) launched: Timestamp,
    pub(crate) vpc: usize,
    pub(crate) profile: Option<&'a str>,
    pub(crate) volumes: Vec<String>,
    pub(crate) group: Option<String>,
    pub(crate) tags: &'a [(&'a str, &'a str)],
}

impl Instance<'_> {
    pub(crate) fn add_to(&self, list: &mut List) {
        let (id, image) = (id("i", self.number), id("ami", self.image));
        let [group, subnet, vpc] = ["sg", "subnet", "vpc"].map(|kind| self::id(kind, self.vpc));
        let launched = rfc3339(self.launched);
        let state = if self.stopped { "stopped" } else { "running" };
        let code = if self.stopped { 80 } else { 16 };
        let volume = |(device, volume): (&&str, &String)| {
            format!(
                "<item><deviceName>{device}</deviceName><ebs><volumeId>{volume}</volumeId><status>attached</status><attachTime>{launched}</attachTime><deleteOnTermination>true</deleteOnTermination></ebs></item>"
            )
        };
        let volumes: String = DEVICES.iter().zip(&self.volumes).map(volume).collect();
        let profile = self.profile.map(|arn| {
            format!("<iamInstanceProfile><arn>{arn}</arn><id>AIPAEXAMPLE</id></iamInstanceProfile>")
        });
        let profile = profile.unwrap_or_default();
        let name = format!("app-{:05}", self.number);
        let mut tags = vec![("Name", &*name), ("Environment", "production")];
        tags.extend(self.tags);
        if let Some(group) = &self.group {
            tags.push(("aws:autoscaling:groupName", group));
        }
        let tags = tag_set(&tags);
        let address = format!("10.{}.{}.10", self.number / 250, self.number % 250);
        let text = format!(
            "<item><reservationId>r-{id}</reservationId><ownerId>{ACCOUNT}</ownerId><groupSet/><instancesSet><item><instanceId>{id}</instanceId><imageId>{image}</imageId><instanceState><code>{code}</code><name>{state}</name></instanceState><privateDnsName>{id}.{REGION}.compute.internal</privateDnsName><dnsName/><reason/><keyName>operations</keyName><amiLaunchIndex>0</amiLaunchIndex><productCodes/><instanceType>m7g.large</instanceType><launchTime>{launched}</launchTime><placement><availabilityZone>{REGION}a</availabilityZone><groupName/><tenancy>default</tenancy></placement><monitoring><state>disabled</state></monitoring><subnetId>{subnet}</subnetId><vpcId>{vpc}</vpcId><privateIpAddress>{address}</privateIpAddress><sourceDestCheck>true</sourceDestCheck><groupSet><item><groupId>{group}</groupId><groupName>application</groupName></item></groupSet><architecture>arm64</architecture><rootDeviceType>ebs</rootDeviceType><rootDeviceName>/dev/xvda</rootDeviceName><blockDeviceMapping>{volumes}</blockDeviceMapping><virtualizationType>hvm</virtualizationType><clientToken>terraform-{id}</clientToken>{tags}<hypervisor>xen</hypervisor><networkInterfaceSet><item><networkInterfaceId>eni-{id}</networkInterfaceId><subnetId>{subnet}</subnetId><vpcId>{vpc}</vpcId><description/><ownerId>{ACCOUNT}</ownerId><status>in-use</status><macAddress>02:00:00:00:00:01</macAddress><privateIpAddress>{address}</privateIpAddress><sourceDestCheck>true</sourceDestCheck><groupSet><item><groupId>{group}</groupId><groupName>application</groupName></item></groupSet><attachment><attachmentId>eni-attach-{id}</attachmentId><deviceIndex>0</deviceIndex><status>attached</status><attachTime>{launched}</attachTime><deleteOnTermination>true</deleteOnTermination><networkCardIndex>0</networkCardIndex></attachment><privateIpAddressesSet><item><privateIpAddress>{address}</privateIpAddress><primary>true</primary></item></privateIpAddressesSet><ipv6AddressesSet/><interfaceType>interface</interfaceType></item></networkInterfaceSet>{profile}<ebsOptimized>true</ebsOptimized><enaSupport>true</enaSupport><cpuOptions><coreCount>2</coreCount><threadsPerCore>1</threadsPerCore></cpuOptions><metadataOptions><state>applied</state><httpTokens>required</httpTokens><httpPutResponseHopLimit>2</httpPutResponseHopLimit><httpEndpoint>enabled</httpEndpoint></metadataOptions></item></instancesSet></item>"
        );
        let keys = [("instance-id", &*id), ("instance-state-name", state)];
        list.add(&keys, text);
    }
}

/// AMIs: the account's own, Amazon's, and those of somebody whom no policy names.
pub(crate) const IMAGES: [usize; 3] = [24, 12, 4];

pub(crate) fn images() -> List {
    let mut list = List::new("DescribeImages", "imagesSet", 1_000);
    let [own, amazon, others] = IMAGES;
    for number in 0..own + amazon + others {
        let id = id("ami", number);
        let alias = "<imageOwnerAlias>amazon</imageOwnerAlias>";
        let (owner, alias, name) = match number {
            n if n < own => (ACCOUNT, "", format!("golden-web-2026-{n:02}")),
            n if n < own + amazon => ("137112412989", alias, format!("al2023-ami-2023.{n}-arm64")),
            n => ("999999999999", "", format!("fast-and-free-{n:02}")),
        };
        let text = format!(
            "<item><imageId>{id}</imageId><imageLocation>{owner}/{name}</imageLocation><imageState>available</imageState><imageOwnerId>{owner}</imageOwnerId><creationDate>2025-11-10T00:00:00.000Z</creationDate><isPublic>true</isPublic><architecture>arm64</architecture><imageType>machine</imageType>{alias}<name>{name}</name><rootDeviceType>ebs</rootDeviceType><rootDeviceName>/dev/xvda</rootDeviceName><virtualizationType>hvm</virtualizationType></item>"
        );
        list.add(&[("image-id", &id)], text);
    }
    list
}

/// A volume of an instance, attached as `device`.
pub(crate) fn add_volume(
    list: &mut List,
    id: &str,
    (instance, device): (&str, &str),
    tags: &[(&str, &str)],
) {
    let created = rfc3339(Timestamp::default());
    let tags = tag_set(tags);
    let text = format!(
        "<item><volumeId>{id}</volumeId><size>100</size><snapshotId>snap-0a</snapshotId><availabilityZone>{REGION}a</availabilityZone><availabilityZoneId>euc1-az2</availabilityZoneId><status>in-use</status><createTime>{created}</createTime><attachmentSet><item><volumeId>{id}</volumeId><instanceId>{instance}</instanceId><device>{device}</device><status>attached</status><attachTime>{created}</attachTime><deleteOnTermination>true</deleteOnTermination></item></attachmentSet><volumeType>gp3</volumeType><iops>3000</iops><throughput>125</throughput><encrypted>true</encrypted><kmsKeyId>{KEY}</kmsKeyId><sseType>sse-ebs</sseType><multiAttachEnabled>false</multiAttachEnabled><operator><managed>false</managed></operator>{tags}</item>"
    );
    let keys = [("volume-id", id), ("attachment.instance-id", instance)];
    list.add(&keys, text);
}

/// Adds a snapshot, and returns how it is described.
pub(crate) fn add_snapshot(
    list: &mut List,
    volume: &str,
    (state, started): (&str, String),
    description: &str,
    tags: &[(&str, &str)],
) -> String {
    let id = id("snap", list.len());
    let progress = if state == "completed" { "100%" } else { "0%" };
    let set = tag_set(tags);
    let text = format!(
        "<item><snapshotId>{id}</snapshotId><volumeId>{volume}</volumeId><status>{state}</status><state>{state}</state><startTime>{started}</startTime><completionTime>{started}</completionTime><progress>{progress}</progress><fullSnapshotSizeInBytes>53687091200</fullSnapshotSizeInBytes><ownerId>{ACCOUNT}</ownerId><volumeSize>100</volumeSize><description>{description}</description><encrypted>true</encrypted><kmsKeyId>{KEY}</kmsKeyId><storageTier>standard</storageTier><sseType>sse-ebs</sseType>{set}</item>"
    );
    let mut keys = vec![("snapshot-id", &*id), ("volume-id", volume)];
    // What begins so is found by `…plan *`.
    if description.starts_with("ec2-guardrails snapshot-volumes: plan ") {
        keys.push(("description", "ec2-guardrails snapshot-volumes: plan *"));
    }
    // Nobody looks for other tags.
    for (key, value) in tags {
        match *key {
            "ec2-guardrails:guardrail" => keys.push(("tag:ec2-guardrails:guardrail", value)),
            "ec2-guardrails:evidence" => keys.push(("tag:ec2-guardrails:evidence", value)),
            _ => {}
        }
    }
    list.add(&keys, text.clone());
    text
}

/// Adds an Auto Scaling group that launches version 3 of a launch template.
pub(crate) fn add_group(list: &mut List, name: &str, members: &[String]) {
    let launches = format!(
        "<LaunchTemplate><LaunchTemplateId>lt-{name}</LaunchTemplateId><LaunchTemplateName>{name}</LaunchTemplateName><Version>3</Version></LaunchTemplate>"
    );
    let member = |id: &String| {
        format!(
            "<member><InstanceId>{id}</InstanceId><LifecycleState>InService</LifecycleState><InstanceType>m7g.large</InstanceType><AvailabilityZone>{REGION}a</AvailabilityZone><HealthStatus>Healthy</HealthStatus>{launches}<ProtectedFromScaleIn>false</ProtectedFromScaleIn></member>"
        )
    };
    let desired = members.len();
    let members: String = members.iter().map(member).collect();
    let text = format!(
        "<member><AutoScalingGroupName>{name}</AutoScalingGroupName><AutoScalingGroupARN>arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:example:autoScalingGroupName/{name}</AutoScalingGroupARN>{launches}<MinSize>0</MinSize><MaxSize>100</MaxSize><DesiredCapacity>{desired}</DesiredCapacity><DefaultCooldown>300</DefaultCooldown><AvailabilityZones><member>{REGION}a</member></AvailabilityZones><HealthCheckType>EC2</HealthCheckType><HealthCheckGracePeriod>300</HealthCheckGracePeriod><CreatedTime>2026-01-01T00:00:00Z</CreatedTime><VPCZoneIdentifier>subnet-0a,subnet-0b</VPCZoneIdentifier><TerminationPolicies><member>Default</member></TerminationPolicies><Instances>{members}</Instances><Tags><member><Key>Environment</Key><Value>production</Value><ResourceId>{name}</ResourceId><ResourceType>auto-scaling-group</ResourceType><PropagateAtLaunch>false</PropagateAtLaunch></member></Tags></member>"
    );
    list.add(&[("AutoScalingGroupNames", name)], text);
}
