//! What was found: plain data, no AWS types.

use std::collections::{BTreeMap, BTreeSet};

use guardrails::aws::ApiError;
use guardrails::ec2::{self, State};
use guardrails::tags;
use jiff::Timestamp;

use crate::launcher::Launcher;
use crate::record::Record;

/// Something read from AWS that may be missing: a failure is told, and never taken for a "no".
pub type Read<T> = Result<T, ApiError>;

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Asked {
    /// The difference between what is and what the policy wants.
    #[default]
    Reconcile,
    /// What would be decided about an instance.
    CheckInstance(String),
    /// What would be decided about an AMI.
    CheckImage(String),
    /// A person's order to quarantine an instance.
    Quarantine {
        /// The instance.
        instance: String,
        /// The person's reason.
        reason: String,
    },
    /// A person's order to release an instance.
    Release(String),
    /// A person's order to resume what was suspended of a group.
    ReleaseGroup(String),
}

/// What `observe` found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Whether these are all instances of the account and Region. Only then they are counted.
    pub complete: bool,
    /// What was asked for.
    pub asked: Asked,
    /// The account, where any instance told it: whose AMIs are `self`.
    pub account: Option<String>,
    /// The instances that are looked at, by id.
    pub instances: BTreeMap<String, Instance>,
    /// Further instances of the same sources, for counting launches only.
    pub siblings: BTreeMap<String, Instance>,
    /// The AMIs, by id. One that isn't here wasn't looked for.
    pub images: BTreeMap<String, Image>,
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
    /// Who launched the instances of this run's event, where the event said it.
    pub launcher: Option<Launcher>,
    /// What was told of the policy itself.
    pub policy_parameter: PolicyParameter,
}

/// The SSM parameter that holds the policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyParameter {
    /// Its name.
    pub name: String,
    /// Its tags that say what was told of it; none: they weren't read, so nothing is told.
    pub told: Option<BTreeMap<String, String>>,
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
    #[must_use]
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
    #[must_use]
    pub fn is_owned_by(&self, owner: &str, account: Option<&str>) -> bool {
        match owner {
            "self" => account.is_some() && self.owner.as_deref() == account,
            _ => self.owner_alias.as_deref() == Some(owner) || self.owner.as_deref() == Some(owner),
        }
    }

    /// For people: its id and name.
    #[must_use]
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
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its members and their lifecycle states.
    pub members: BTreeMap<String, String>,
    /// What it launches from: the id of its launch template.
    pub template: Option<String>,
    /// Who alone may change it (ASG-9).
    pub operator: Option<String>,
}

/// How far a quarantine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Begun; steps may be missing.
    Started,
    /// All that can be done is done, and it isn't all.
    Partial,
    /// Done.
    Complete,
    /// A person's release is under way.
    Releasing,
}

impl Stage {
    /// The word in the tag.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Partial => "partial",
            Self::Complete => "complete",
            Self::Releasing => "releasing",
        }
    }
}

impl Instance {
    /// A tag's value.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<&str> {
        ec2::tag(&self.tags, key)
    }

    /// How far its quarantine is, and since when; none: it is in none. A value that can't be read
    /// counts as begun, so that the quarantine is finished rather than forgotten.
    #[must_use]
    pub fn quarantine(&self) -> Option<(Stage, Timestamp)> {
        let value = self.tag(tags::QUARANTINED)?;
        // The stage, since when, and which run was at it.
        let mut words = value.split(' ');
        let word = words.next().unwrap_or_default();
        let at = words
            .next()
            .and_then(|at| at.parse().ok())
            .unwrap_or(self.launched);
        let stage = match word {
            "partial" => Stage::Partial,
            "complete" => Stage::Complete,
            "releasing" => Stage::Releasing,
            _ => Stage::Started,
        };
        Some((stage, at))
    }

    /// What a quarantine wrote down.
    #[must_use]
    pub fn record(&self) -> Record {
        Record::of(&self.tags)
    }

    /// The Auto Scaling group that launched it.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.tag("aws:autoscaling:groupName")
    }

    /// Its id, and its name where it has one, for people.
    #[must_use]
    pub fn label(&self) -> String {
        ec2::label(&self.id, &self.tags)
    }

    /// Whether every interface that can be changed is in an isolation group and in no other.
    #[must_use]
    pub fn is_isolated(&self, isolation: &BTreeMap<String, Isolation>) -> bool {
        self.interfaces
            .iter()
            .filter(|interface| interface.operator.is_none())
            .all(|interface| interface.is_isolated(isolation))
    }
}

impl Interface {
    /// Whether it is in its VPC's isolation group and in no other.
    #[must_use]
    pub fn is_isolated(&self, isolation: &BTreeMap<String, Isolation>) -> bool {
        match (isolation.get(&self.vpc), self.groups.as_slice()) {
            (Some(isolation), [only]) => isolation.id == *only,
            _ => false,
        }
    }
}
