//! What was found: plain data, no AWS types.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use guardrails::aws::ApiError;
use guardrails::ec2::{self, State};
use guardrails::tags;
use jiff::Timestamp;

use crate::diagnosis::identity::Identity;
use crate::diagnosis::network::Network;

/// Something read from AWS that a diagnosis can do without: a failure is told, not fatal.
pub type Read<T> = Result<T, ApiError>;

/// What `observe` found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Whether these are all instances of the account and Region. Only then they are counted.
    pub complete: bool,
    /// The one instance that was asked for.
    pub asked: Option<String>,
    /// Whether a person asked for its full diagnosis.
    pub diagnose: bool,
    /// ARN of the stack's instance profile.
    pub profile: String,
    /// The instances, by id, but terminated ones.
    pub instances: BTreeMap<String, Instance>,
    /// What Systems Manager knows of them, by id; absent: never registered (SSM-6).
    pub nodes: HashMap<String, Node>,
    /// When profiles were associated, by instance id; of instances that are late only.
    pub associated: HashMap<String, Timestamp>,
    /// Roles and permissions by instance profile ARN.
    pub identities: BTreeMap<String, Read<Identity>>,
    /// What else is known of the instances that are diagnosed, by id.
    pub evidence: BTreeMap<String, Evidence>,
    /// The VPCs of the instances that are diagnosed, and of the nodes that may be Online without
    /// being reached; none: there are neither.
    pub network: Option<Read<Network>>,
    /// The role of Default Host Management; none: off. Read for a diagnosis only.
    pub dhmc: Option<Read<Option<String>>>,
    /// Auto Scaling groups with members that this guardrail gives, or gave, its profile.
    pub groups: BTreeMap<String, Group>,
    /// What couldn't be read and is told nowhere else.
    pub unread: Vec<ApiError>,
}

/// An EC2 instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// `i-…`
    pub id: String,
    /// Its state.
    pub state: State,
    /// When it was last started.
    pub launched: Timestamp,
    /// ARN of its instance profile.
    pub profile: Option<String>,
    /// Its tags.
    pub tags: Vec<(String, String)>,
    /// Its AMI.
    pub image: Option<String>,
    /// Whether it runs Windows.
    pub windows: bool,
    /// Whether the instance metadata service answers, without which no profile helps.
    pub metadata: bool,
    /// Who alone may change it (AMI-8).
    pub operator: Option<String>,
    /// Its primary network interface.
    pub interface: Interface,
}

/// An instance's primary network interface.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Interface {
    /// Its VPC.
    pub vpc: String,
    /// Its subnet.
    pub subnet: String,
    /// Its private IPv4 and its IPv6 addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it has a public IPv4 address.
    pub public: bool,
    /// Its security groups.
    pub groups: Vec<String>,
}

/// What the tag [`tags::MANAGED_NODE`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// This guardrail asked for the profile then.
    Attached(Timestamp),
    /// And saw the node Online first then.
    Online(Timestamp),
}

impl Mark {
    /// The tag's value.
    #[must_use]
    pub fn value(self) -> String {
        match self {
            Self::Attached(at) => format!("attached {at:.0}"),
            Self::Online(at) => format!("online {at:.0}"),
        }
    }
}

impl Instance {
    /// A tag's value.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<&str> {
        ec2::tag(&self.tags, key)
    }

    /// What this guardrail noted on it.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        let (word, at) = self.tag(tags::MANAGED_NODE)?.split_once(' ')?;
        let at = at.parse().ok()?;
        match word {
            "attached" => Some(Mark::Attached(at)),
            "online" => Some(Mark::Online(at)),
            _ => None,
        }
    }

    /// The Auto Scaling group that it is a member of.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.tag("aws:autoscaling:groupName")
    }

    /// Its id, and its name where it has one, for people.
    #[must_use]
    pub fn label(&self) -> String {
        ec2::label(&self.id, &self.tags)
    }
}

/// What Systems Manager knows of an instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Whether its `PingStatus` is `Online`.
    pub online: bool,
    /// Its `PingStatus`.
    pub ping: String,
    /// When it was last heard of.
    pub last_ping: Option<Timestamp>,
    /// The agent's version.
    pub agent: Option<String>,
}

/// What is known of one instance that is diagnosed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// Its status checks, system and instance: `ok`, `impaired`, `initializing` …
    pub checks: Option<Read<(String, String)>>,
    /// The end of its console output; none: not read.
    pub console: Option<Read<Console>>,
    /// Its AMI's name; none: the AMI is gone.
    pub image_name: Option<Read<String>>,
}

/// What an instance wrote on its console.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Console {
    /// The end of it.
    pub text: String,
    /// When it was last written to, as far as AWS tells.
    pub updated: Option<Timestamp>,
}

/// An Auto Scaling group.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// What new instances are launched from, e.g. `launch template lt-1 version 3`.
    pub source: String,
    /// Whether that names an instance profile.
    pub has_profile: Read<bool>,
    /// What its tag remembers of an earlier telling.
    pub told: Option<String>,
}
