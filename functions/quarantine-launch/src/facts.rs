//! What was found: plain data, no AWS types.

use std::collections::{BTreeMap, BTreeSet};

use guardrails::aws::ApiError;
use guardrails::ec2::{self, State};
use guardrails::policy::Age;
use guardrails::resource::Resource;
use guardrails::state::Stored;
use jiff::Timestamp;

use crate::ask::Ask;
pub(crate) use crate::image::{Image, Known};
use crate::record::{Brake, Loop, Record, Released, Seen, Watched};
use crate::rule::Rule;

/// The guardrail's name.
pub(crate) const NAME: &str = "quarantine-launch";
/// The name of the security group that isolates, one in each VPC.
pub(crate) const ISOLATION_GROUP: &str = "ec2-guardrails-quarantine";

/// How long after its launch what is seen of it is written down as what it was.
const REMEMBERED_WITHIN: Age = Age::from_hours(1);

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
    /// Launches as they were seen first, by instance: of those of which it matters.
    pub seen: BTreeMap<String, Seen>,
    /// What was isolated of late, where anything was; read only where the guardrail acts.
    pub brake: Option<Stored<Brake>>,
    /// What is remembered of Auto Scaling groups, by name.
    pub loops: BTreeMap<String, Loop>,
    /// The AMIs, by id. One that isn't here wasn't looked for.
    pub images: BTreeMap<String, Image>,
    /// Why AMIs that can't be described couldn't be looked up otherwise, by id.
    pub images_unread: BTreeMap<String, ApiError>,
    /// The AMIs that an AMI of the account descends from, nearest first; read only with a rule on
    /// derived AMIs.
    pub ancestry: BTreeMap<String, Read<Vec<Ancestor>>>,
    /// SSM parameters that rules name.
    pub parameters: BTreeMap<String, Read<Parameter>>,
    /// What was seen of parameters whose history can't be read, by name.
    pub watched: BTreeMap<String, Watched>,
    /// The roles of instance profiles, by the profile's ARN; read only with a rule on roles.
    pub roles: BTreeMap<String, Read<Vec<String>>>,
    /// Isolation groups of this guardrail that exist, by VPC; none: they couldn't be read.
    pub isolation: Option<BTreeMap<String, Isolation>>,
    /// The VPCs of the security groups that the policy names as responders, of those that exist;
    /// none: they couldn't be read, or there was nothing to read them for.
    pub responders: Option<BTreeMap<String, String>>,
    /// What this guardrail has had isolation groups let in, by group: of those that have inbound
    /// rules.
    pub admitted: BTreeMap<String, BTreeSet<Rule>>,
    /// Evidence snapshots that failed, by the instance in quarantine, with AWS's reasons; read by a
    /// sweep only. None: they couldn't be read.
    pub failed_evidence: Option<BTreeMap<String, Vec<String>>>,
    /// Auto Scaling groups that matter, by name.
    pub groups: BTreeMap<String, Group>,
    /// Why the groups couldn't be read.
    pub groups_unread: Option<ApiError>,
    /// What else couldn't be read, and why: no verdict rests on it.
    pub unread: Vec<(&'static str, ApiError)>,
    /// The name of the SSM parameter that holds the policy.
    pub policy_parameter: String,
}

/// A security group that isolates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Isolation {
    /// `sg-…`
    pub id: String,
    /// Whether it bears the tag that IAM asks for: only of such a group rules may be changed.
    pub ours: bool,
    /// Its inbound rules.
    pub incoming: BTreeSet<Rule>,
    /// Whether it has outbound rules.
    pub lets_out: bool,
}

/// An EC2 instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// `i-…`
    pub id: String,
    /// The account that it belongs to.
    pub account: Option<String>,
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
    /// Its network interfaces, of one in quarantine those on its trunks too.
    pub interfaces: Vec<Interface>,
    /// What of it no security group isolates, or nobody can tell, and why.
    pub beyond: BTreeMap<String, String>,
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
    /// Whether others hang on it, or it hangs on another.
    pub link: Link,
}

/// How a network interface is attached (AMI-17).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Link {
    /// To the instance.
    #[default]
    Plain,
    /// To the instance, and tasks and pods have interfaces of their own on it.
    Trunk,
    /// To a trunk.
    Branch,
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

/// An AMI that another descends from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ancestor {
    /// `ami-…`
    pub id: String,
    /// Whether it is of this Region: what has its id here is another AMI otherwise.
    pub is_here: bool,
    /// Whether the ancestry has an entry of its own for it, and so tells of its owner.
    pub is_told: bool,
    /// AWS's word for its owner, where it has one.
    pub owner_alias: Option<String>,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// When the next in line was made from it.
    pub built_upon: Option<Timestamp>,
}

/// An SSM parameter that names AMIs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameter {
    /// The AMIs that it names: one, or a list of which each counts.
    pub images: Vec<String>,
    /// Its version, which each change makes higher by one.
    pub version: i64,
    /// Since when.
    pub since: Option<Timestamp>,
    /// What it named before, each until when, as far as it is known.
    pub before: Vec<(String, Timestamp)>,
    /// From when on all is known that it named; none: from its beginning.
    pub known_from: Option<Timestamp>,
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
    /// Whether it is so young that what can be seen of it is as it was at its launch, and is
    /// remembered.
    pub fn is_young(&self, now: Timestamp) -> bool {
        REMEMBERED_WITHIN.after(self.launched) > now
    }

    /// A tag's value.
    pub fn tag(&self, key: &str) -> Option<&str> {
        ec2::tag(&self.tags, key)
    }

    /// The Auto Scaling group that launched it.
    pub fn group(&self) -> Option<&str> {
        group_in(&self.tags)
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

/// The Auto Scaling group that these tags of an instance name.
pub(crate) fn group_in(tags: &[(String, String)]) -> Option<&str> {
    ec2::tag(tags, "aws:autoscaling:groupName")
}

impl Facts {
    /// The policy's document.
    pub fn policy(&self) -> Resource {
        Resource::Parameter(self.policy_parameter.clone())
    }

    /// What an answer tells. That it couldn't be read keeps no quarantine away, and is told.
    pub fn readable<T>(&mut self, what: &'static str, answer: Read<T>) -> Option<T> {
        answer.map_err(|error| self.unread.push((what, error))).ok()
    }

    /// The launch of `instance` from the AMI that it has, as it was seen first.
    pub fn seen_of(&self, instance: &Instance) -> Option<&Seen> {
        let seen = self.seen.get(&instance.id);
        seen.filter(|seen| Some(seen.image.as_str()) == instance.image.as_deref())
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
