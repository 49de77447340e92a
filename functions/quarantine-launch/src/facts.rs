//! What was found: plain data, no AWS types.

use std::collections::{BTreeMap, BTreeSet};

use guardrails::aws::ApiError;
use guardrails::ec2::{self, State};
use guardrails::resource::Resource;
use jiff::Timestamp;

use crate::ask::Ask;
use crate::record::{Approval, Loop, Record, Released};

/// The guardrail's name.
pub(crate) const NAME: &str = "quarantine-launch";
/// The name of the security group that isolates, one in each VPC.
pub(crate) const ISOLATION_GROUP: &str = "ec2-guardrails-quarantine";

/// Something read from AWS that may be missing: a failure is told, and never taken for a "no".
pub(crate) type Read<T> = Result<T, ApiError>;

/// What `observe` found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Whether these are all instances of the account and Region. Only then they are counted.
    pub complete: bool,
    /// What was asked for.
    pub ask: Ask,
    /// The account, where any instance told it: whose AMIs are `self`.
    pub account: Option<String>,
    /// The instances that are looked at, by id.
    pub instances: BTreeMap<String, Instance>,
    /// Further instances of the same sources, for counting launches; at a release those that are in
    /// quarantine with it.
    pub siblings: BTreeMap<String, Instance>,
    /// The quarantines, by instance.
    pub records: BTreeMap<String, Record>,
    /// The releases, by instance.
    pub released: BTreeMap<String, Released>,
    /// Approvals at the launch, by instance: of those of which it matters.
    pub approvals: BTreeMap<String, Approval>,
    /// What is remembered of Auto Scaling groups, by name.
    pub loops: BTreeMap<String, Loop>,
    /// The AMIs, by id. One that isn't here wasn't looked for.
    pub images: BTreeMap<String, Image>,
    /// Why AMIs that can't be described couldn't be looked up otherwise, by id.
    pub images_unread: BTreeMap<String, ApiError>,
    /// The ids of the AMIs that an AMI of the account descends from, nearest first; read only with
    /// a rule on derived AMIs.
    pub ancestry: BTreeMap<String, Read<Vec<String>>>,
    /// SSM parameters that rules name.
    pub parameters: BTreeMap<String, Read<Parameter>>,
    /// The roles of instance profiles, by the profile's ARN; read only with a rule on roles.
    pub roles: BTreeMap<String, Read<Vec<String>>>,
    /// Isolation groups of this guardrail that exist, by VPC; none: they couldn't be read.
    pub isolation: Option<BTreeMap<String, Isolation>>,
    /// Auto Scaling groups that matter, by name.
    pub groups: BTreeMap<String, Group>,
    /// Why the groups couldn't be read.
    pub groups_unread: Option<ApiError>,
    /// The name of the SSM parameter that holds the policy.
    pub policy_parameter: String,
}

/// A security group that isolates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    /// `sg-…`
    pub id: String,
    /// Whether it has no rule at all, in no direction and of no address family.
    pub bare: bool,
}

/// An EC2 instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// `i-…`
    pub id: String,
    /// Its state.
    pub state: State,
    /// When it was launched. Not its last start, which is what EC2 calls its launch time: the
    /// attachment of its primary network interface, which a stop and a start don't change.
    pub launched: Timestamp,
    /// Its AMI.
    pub image: Option<String>,
    /// Its architecture.
    pub architecture: Option<String>,
    /// Its VPC.
    pub vpc: String,
    /// Its subnet.
    pub subnet: String,
    /// ARN of its instance profile.
    pub profile: Option<String>,
    /// Its tags.
    pub tags: Vec<(String, String)>,
    /// Who alone may change it (AMI-8).
    pub operator: Option<String>,
    /// Whether it is a Spot instance.
    pub spot: bool,
    /// The Spot request that launched it.
    pub spot_request: Option<String>,
    /// Its network interfaces.
    pub interfaces: Vec<Interface>,
    /// Its EBS volumes.
    pub disks: Vec<Disk>,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// `eni-…`
    pub id: String,
    /// Its VPC: an instance may have interfaces in several.
    pub vpc: String,
    /// Its security groups, in AWS's order.
    pub groups: Vec<String>,
    /// The service that alone may change it.
    pub operator: Option<String>,
}

/// An attached EBS volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// `/dev/xvda`
    pub device: String,
    /// `vol-…`
    pub volume: String,
    /// Whether it goes when the instance is terminated.
    pub delete_on_termination: bool,
}

/// How much is known of an AMI (AMI-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Described.
    Described,
    /// Gone or not visible any more; what its instance's metadata tells.
    Metadata,
    /// Nothing but its id.
    Unknown,
}

/// An AMI.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// `ami-…`
    pub id: String,
    /// How much is known of it.
    pub known: Known,
    /// Its name.
    pub name: Option<String>,
    /// The account that owns it.
    pub owner: Option<String>,
    /// AWS's word for the owner: `amazon`, `aws-marketplace`.
    pub owner_alias: Option<String>,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// From when on it is deprecated.
    pub deprecated: Option<Timestamp>,
    /// Its architecture.
    pub architecture: Option<String>,
    /// Its tags: the account's own.
    pub tags: Vec<(String, String)>,
    /// The AMI that it was made from.
    pub source: Option<String>,
}

impl Image {
    /// An AMI of which nothing is known but its id.
    pub fn unknown(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            known: Known::Unknown,
            name: None,
            owner: None,
            owner_alias: None,
            created: None,
            deprecated: None,
            architecture: None,
            tags: Vec::new(),
            source: None,
        }
    }

    /// Whether `owner` (an account's id, `self` or an alias) owns it.
    pub fn is_owned_by(&self, owner: &str, account: Option<&str>) -> bool {
        match owner {
            "self" => account.is_some() && self.owner.as_deref() == account,
            _ => self.owner_alias.as_deref() == Some(owner) || self.owner.as_deref() == Some(owner),
        }
    }

    /// For people: its id and name.
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("{} ({name})", self.id),
            None => format!("{} (of no known name)", self.id),
        }
    }
}

/// An SSM parameter that names an AMI.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameter {
    /// The AMI that it names.
    pub image: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// What it named before, each until when; empty for AWS's public ones, whose history can't be
    /// read.
    pub before: Vec<(String, Timestamp)>,
}

/// An Auto Scaling group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its smallest size.
    pub min: i32,
    /// Its desired capacity.
    pub desired: i32,
    /// Its suspended processes.
    pub suspended: BTreeSet<String>,
    /// Its members and their lifecycle states.
    pub members: BTreeMap<String, String>,
    /// What it launches from: the id of its launch template.
    pub template: Option<String>,
    /// Who alone may change it (ASG-9).
    pub operator: Option<String>,
}

impl Instance {
    /// A tag's value.
    pub fn tag(&self, key: &str) -> Option<&str> {
        ec2::tag(&self.tags, key)
    }

    /// The Auto Scaling group that launched it.
    pub fn group(&self) -> Option<&str> {
        self.tag("aws:autoscaling:groupName")
    }

    /// What decisions and conditions are about.
    pub fn resource(&self) -> Resource {
        Resource::instance(&self.id)
    }

    /// Its id, and its name where it has one, for people.
    pub fn label(&self) -> String {
        ec2::label(&self.id, &self.tags)
    }

    /// Whether every interface that can be changed is in an isolation group and in no other.
    pub fn is_isolated(&self, isolation: &BTreeMap<String, Isolation>) -> bool {
        self.interfaces
            .iter()
            .filter(|interface| interface.operator.is_none())
            .all(|interface| interface.is_isolated(isolation))
    }
}

impl Interface {
    /// Whether it is in its VPC's isolation group and in no other.
    pub fn is_isolated(&self, isolation: &BTreeMap<String, Isolation>) -> bool {
        match (isolation.get(&self.vpc), self.groups.as_slice()) {
            (Some(isolation), [only]) => isolation.id == *only,
            _ => false,
        }
    }
}
