//! The network around instances, as AWS describes it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use guardrails::aws::ApiError;
use ipnet::IpNet;

/// An instance's primary network interface.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Interface {
    pub(crate) vpc: String,
    pub(crate) subnet: String,
    /// Its private IPv4 and its IPv6 addresses.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) public: bool,
    pub(crate) groups: Vec<String>,
}

/// The network of the instances that are diagnosed.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Network {
    pub(crate) vpcs: BTreeMap<String, Vpc>,
    /// What else couldn't be read of VPCs: whose they are, their DHCP options.
    pub(crate) unread: Vec<ApiError>,
    pub(crate) groups: BTreeMap<String, SecurityGroup>,
    /// Interface endpoints for Systems Manager, and in a diagnosis for what sessions take.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) tables: Vec<Table>,
    pub(crate) acls: Vec<Acl>,
    /// Networks of prefix lists, by id.
    pub(crate) prefix_lists: BTreeMap<String, Vec<IpNet>>,
    /// Why other prefix lists couldn't be read, by id.
    pub(crate) unread_lists: BTreeMap<String, ApiError>,
    pub(crate) nats: BTreeMap<String, Nat>,
}

/// A VPC.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Vpc {
    /// Its DNS attributes, which only its owner may read.
    pub(crate) dns: Result<Dns, ApiError>,
    /// The other account that shares it with this one.
    pub(crate) shared_by: Option<String>,
    /// The DNS servers of its own that its DHCP options name.
    pub(crate) resolvers: Vec<String>,
    pub(crate) tags: Vec<(String, String)>,
}

/// A VPC's DNS attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dns {
    pub(crate) support: bool,
    pub(crate) hostnames: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nat {
    /// `available`, `failed` …
    pub(crate) state: String,
    /// None: a regional one, which lies in no subnet.
    pub(crate) subnet: Option<String>,
    /// The route table of a regional one.
    pub(crate) table: Option<String>,
    /// Whether it has a public address; a private one only leads into other networks.
    pub(crate) public: bool,
}

/// A service that the agent talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Ssm,
    Messages,
    /// What agents before 3.3.40 use for messages (SSM-5).
    OldMessages,
    /// What sessions take where their preferences name a key, a log group or a bucket (SSM-17).
    Kms,
    Logs,
    S3,
}

impl Service {
    /// Those of Systems Manager, the needed ones first.
    pub(crate) const OF_NODES: [Self; 3] = [Self::Ssm, Self::Messages, Self::OldMessages];
    /// All.
    pub(crate) const ALL: [Self; 6] = [
        Self::Ssm,
        Self::Messages,
        Self::OldMessages,
        Self::Kms,
        Self::Logs,
        Self::S3,
    ];

    /// The end of its endpoints' service name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ssm => "ssm",
            Self::Messages => "ssmmessages",
            Self::OldMessages => "ec2messages",
            Self::Kms => "kms",
            Self::Logs => "logs",
            Self::S3 => "s3",
        }
    }
}

/// An interface endpoint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Endpoint {
    pub(crate) id: String,
    pub(crate) vpc: String,
    pub(crate) service: Service,
    /// `available`, `pending` …
    pub(crate) state: String,
    /// Whether the service's public name leads to it inside the VPC.
    pub(crate) private_dns: bool,
    pub(crate) groups: Vec<String>,
    /// Its policy, as JSON; none: everything is allowed.
    pub(crate) policy: Option<String>,
    pub(crate) interfaces: Vec<EndpointInterface>,
    pub(crate) subnets: BTreeSet<String>,
}

/// An endpoint's interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EndpointInterface {
    pub(crate) id: String,
    pub(crate) subnet: String,
    pub(crate) addresses: Vec<IpAddr>,
}

/// A security group's rules.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct SecurityGroup {
    pub(crate) ingress: Vec<Rule>,
    pub(crate) egress: Vec<Rule>,
}

/// A rule of a security group.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Rule {
    /// `-1` for all, `tcp`, `6` …
    pub(crate) protocol: String,
    /// First port; none: all.
    pub(crate) from: Option<i32>,
    /// Last port; none: all.
    pub(crate) to: Option<i32>,
    pub(crate) networks: Vec<IpNet>,
    /// Security groups whose members it means.
    pub(crate) groups: Vec<String>,
    pub(crate) prefix_lists: Vec<String>,
}

/// A network ACL.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Acl {
    pub(crate) id: String,
    pub(crate) subnets: Vec<String>,
    /// Its rules, in any order.
    pub(crate) entries: Vec<Entry>,
}

/// A rule of a network ACL.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// The lowest number that matches decides.
    pub(crate) number: i32,
    pub(crate) egress: bool,
    pub(crate) allow: bool,
    /// `-1` for all, `6` for TCP …
    pub(crate) protocol: String,
    /// First and last port; none: all.
    pub(crate) ports: Option<(u16, u16)>,
    pub(crate) network: IpNet,
}

/// A route table.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Table {
    pub(crate) id: String,
    pub(crate) vpc: String,
    /// Whether it is for the subnets that have none of their own.
    pub(crate) main: bool,
    pub(crate) subnets: Vec<String>,
    pub(crate) routes: Vec<Route>,
}

/// A route.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Route {
    /// Where to; none: a prefix list.
    pub(crate) destination: Option<IpNet>,
    pub(crate) prefix_list: Option<String>,
    pub(crate) hop: Hop,
    /// Whether what it leads to is gone.
    pub(crate) blackhole: bool,
}

/// What a route leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hop {
    Local,
    InternetGateway(String),
    Nat(String),
    /// An egress-only internet gateway (IPv6).
    EgressOnly(String),
    /// Something behind which nobody sees from here: transit gateway, peering, appliance …
    Other(String),
}

impl Hop {
    /// Its id.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Local => "local",
            Self::InternetGateway(id) | Self::Nat(id) | Self::EgressOnly(id) | Self::Other(id) => {
                id
            }
        }
    }
}
