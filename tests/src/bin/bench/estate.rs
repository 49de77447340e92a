//! What the synthetic estates have in common.

use std::fmt::{Debug, Write as _};

use jiff::Timestamp;
use serde_json::Value;

use crate::least::Least;
use crate::outcomes::{Outcomes, Told};
use crate::query::{Query, Refusal, tag_set};
use crate::server::Calls;

/// The account.
pub(crate) const ACCOUNT: &str = "123456789012";
/// The Region.
pub(crate) const REGION: &str = "eu-central-1";

/// What the schedule sends.
pub(crate) const SWEEP: &str = r#"{"trigger": "sweep"}"#;

/// A tag.
pub(crate) type Tag = (String, String);
/// An answer's body, or why there is none.
pub(crate) type Answer = Result<String, Refusal>;

/// A synthetic estate: it answers calls as strictly as AWS, and knows what a sweep should make of
/// it.
pub(crate) trait Estate: Debug + Send {
    /// The policy document that it is swept under.
    fn policy(&self) -> String;

    /// What the function is invoked with.
    fn event(&self) -> String {
        SWEEP.to_owned()
    }

    /// A sweep begins: what is now is what it finds.
    fn begin(&mut self) {}

    /// A call of EC2.
    fn ec2(&mut self, action: &str, query: &Query) -> Answer;

    /// A call of another service with the query protocol: `iam`, `autoscaling`.
    fn query(&mut self, service: &str, action: &str, _query: &Query) -> Answer {
        Err(Refusal::unknown(&format!("{service}:{action}")))
    }

    /// A call of a service with the JSON protocol, by its target.
    fn json(&mut self, target: &str, _request: &Value) -> Answer {
        Err(Refusal::unknown(target))
    }

    /// Whether a call only makes sure before something is done.
    fn looks_again(&self, action: &str, query: &Query) -> bool;

    /// The least calls of the sweep that begins.
    fn least(&self) -> Least;

    /// Checks what a sweep made of the estate, what it said and what it told.
    fn verify(
        &self,
        outcomes: &Outcomes,
        told: &Told,
        made: &Calls,
        may_leave: bool,
    ) -> Result<(), String>;
}

/// 17 hexadecimal digits in no order, as AWS gives them.
pub(crate) fn id(prefix: &str, number: usize) -> String {
    let scattered = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{prefix}-0{scattered:016x}")
}

/// A time as EC2 writes it.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}

/// What differs from instance to instance in EC2's description of it.
#[derive(Debug)]
pub(crate) struct Described<'a> {
    pub(crate) id: &'a str,
    pub(crate) image: &'a str,
    /// `running`, `stopped`.
    pub(crate) state: &'a str,
    pub(crate) launched: Timestamp,
    pub(crate) vpc: &'a str,
    pub(crate) subnet: &'a str,
    pub(crate) group: &'a str,
    pub(crate) address: &'a str,
    /// ARN of its instance profile.
    pub(crate) profile: Option<&'a str>,
    /// Device and id, the root volume first.
    pub(crate) volumes: &'a [(&'static str, &'a str)],
    pub(crate) tags: &'a [Tag],
}

impl Described<'_> {
    /// As an item of `DescribeInstances`, about as long as AWS's.
    pub(crate) fn xml(&self) -> String {
        let Self {
            id,
            image,
            state,
            vpc,
            subnet,
            group,
            address,
            ..
        } = self;
        let launched = rfc3339(self.launched);
        let code = if *state == "running" { 16 } else { 80 };
        let root = self
            .volumes
            .first()
            .map_or("/dev/xvda", |(device, _)| *device);
        let dashed = address.replace('.', "-");
        let mut xml = String::with_capacity(4_096);
        let _ = write!(
            xml,
            "<item><reservationId>r-{id}</reservationId><ownerId>{ACCOUNT}</ownerId><groupSet/><instancesSet><item><instanceId>{id}</instanceId><imageId>{image}</imageId><instanceState><code>{code}</code><name>{state}</name></instanceState><privateDnsName>ip-{dashed}.{REGION}.compute.internal</privateDnsName><dnsName/><reason/><keyName>operations</keyName><amiLaunchIndex>0</amiLaunchIndex><productCodes/><instanceType>m7g.large</instanceType><launchTime>{launched}</launchTime><placement><availabilityZone>{REGION}a</availabilityZone><groupName/><tenancy>default</tenancy></placement><monitoring><state>disabled</state></monitoring><subnetId>{subnet}</subnetId><vpcId>{vpc}</vpcId><privateIpAddress>{address}</privateIpAddress><sourceDestCheck>true</sourceDestCheck><groupSet><item><groupId>{group}</groupId><groupName>application</groupName></item></groupSet><architecture>arm64</architecture><rootDeviceType>ebs</rootDeviceType><rootDeviceName>{root}</rootDeviceName><blockDeviceMapping>"
        );
        for (device, volume) in self.volumes {
            let _ = write!(
                xml,
                "<item><deviceName>{device}</deviceName><ebs><volumeId>{volume}</volumeId><status>attached</status><attachTime>{launched}</attachTime><deleteOnTermination>true</deleteOnTermination></ebs></item>"
            );
        }
        let _ = write!(
            xml,
            "</blockDeviceMapping><virtualizationType>hvm</virtualizationType><clientToken>terraform-{id}</clientToken>"
        );
        tag_set(&mut xml, self.tags.iter());
        let _ = write!(
            xml,
            "<hypervisor>xen</hypervisor><networkInterfaceSet><item><networkInterfaceId>eni-{id}</networkInterfaceId><subnetId>{subnet}</subnetId><vpcId>{vpc}</vpcId><description/><ownerId>{ACCOUNT}</ownerId><status>in-use</status><macAddress>02:00:00:00:00:01</macAddress><privateIpAddress>{address}</privateIpAddress><sourceDestCheck>true</sourceDestCheck><groupSet><item><groupId>{group}</groupId><groupName>application</groupName></item></groupSet><attachment><attachmentId>eni-attach-{id}</attachmentId><deviceIndex>0</deviceIndex><status>attached</status><attachTime>{launched}</attachTime><deleteOnTermination>true</deleteOnTermination><networkCardIndex>0</networkCardIndex></attachment><privateIpAddressesSet><item><privateIpAddress>{address}</privateIpAddress><primary>true</primary></item></privateIpAddressesSet><ipv6AddressesSet/><interfaceType>interface</interfaceType></item></networkInterfaceSet>"
        );
        if let Some(profile) = self.profile {
            let _ = write!(
                xml,
                "<iamInstanceProfile><arn>{profile}</arn><id>AIPAEXAMPLE</id></iamInstanceProfile>"
            );
        }
        xml.push_str("<ebsOptimized>true</ebsOptimized><enaSupport>true</enaSupport><cpuOptions><coreCount>2</coreCount><threadsPerCore>1</threadsPerCore></cpuOptions><metadataOptions><state>applied</state><httpTokens>required</httpTokens><httpPutResponseHopLimit>2</httpPutResponseHopLimit><httpEndpoint>enabled</httpEndpoint></metadataOptions></item></instancesSet></item>");
        xml
    }
}
