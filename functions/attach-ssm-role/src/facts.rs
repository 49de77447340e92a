//! What was found: plain data, no AWS types.

pub(crate) mod identity;
pub(crate) mod network;
pub(crate) mod sessions;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use guardrails::aws::ApiError;
use guardrails::ec2::{self, State};
use guardrails::state::Stored;
use jiff::Timestamp;

use self::identity::Identity;
use self::network::{Interface, Network};
use self::sessions::Sessions;
use crate::memory::Managed;

/// Something read that the run can do without: a failure is told, not fatal.
pub(crate) type Read<T> = Result<T, ApiError>;

/// What `observe` found.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Whether these are all instances of the account and Region. Only then they are counted.
    pub(crate) complete: bool,
    /// Whether a person asked for the full diagnosis of the one that there is.
    pub(crate) diagnose: bool,
    /// ARN of the stack's instance profile.
    pub(crate) profile: String,
    pub(crate) instances: BTreeMap<String, Instance>,
    /// What is remembered of them, by id.
    pub(crate) memory: HashMap<String, Stored<Managed>>,
    /// The ids of those in quarantine.
    pub(crate) quarantined: Read<BTreeSet<String>>,
    /// What Systems Manager knows of them, by id; absent: never registered (SSM-6).
    pub(crate) nodes: HashMap<String, Node>,
    /// When profiles were associated, by instance id; of instances that are late only.
    pub(crate) associated: Read<HashMap<String, Timestamp>>,
    /// Roles and permissions by instance profile ARN.
    pub(crate) identities: BTreeMap<String, Read<Identity>>,
    /// What else is known of the instances that are diagnosed, by id.
    pub(crate) evidence: BTreeMap<String, Evidence>,
    /// The VPCs of the instances that are diagnosed, and of the nodes that may be Online without
    /// being reached; none: there are neither.
    pub(crate) network: Option<Read<Network>>,
    /// The role of Default Host Management; none: off.
    pub(crate) dhmc: Read<Option<String>>,
    /// Instances whose profile is gone, though there is another of its name by now: its id tells.
    pub(crate) remade: BTreeSet<String>,
    /// Whether AWS says that a session can be opened, by instance id; of those asked for only.
    pub(crate) connections: BTreeMap<String, Read<bool>>,
    /// What sessions with the one that was asked for take besides a channel; none: nobody asked.
    pub(crate) sessions: Option<Read<Sessions>>,
    /// Nodes of hybrid activations (`mi-…`) that are Online, by private address; read where an
    /// instance is late.
    pub(crate) hybrid: Read<HashMap<String, String>>,
    /// All Auto Scaling groups, by name; none: not asked for.
    pub(crate) groups: Option<Read<BTreeMap<String, Group>>>,
}

impl Facts {
    /// Nothing found yet.
    pub(crate) fn new(profile: &str) -> Self {
        Self {
            complete: false,
            diagnose: false,
            profile: profile.to_owned(),
            instances: BTreeMap::new(),
            memory: HashMap::new(),
            quarantined: Ok(BTreeSet::new()),
            nodes: HashMap::new(),
            associated: Ok(HashMap::new()),
            identities: BTreeMap::new(),
            evidence: BTreeMap::new(),
            network: None,
            dhmc: Ok(None),
            remade: BTreeSet::new(),
            connections: BTreeMap::new(),
            sessions: None,
            hybrid: Ok(HashMap::new()),
            groups: None,
        }
    }
}

/// An EC2 instance.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) state: State,
    pub(crate) launched: Timestamp,
    /// ARN of its instance profile.
    pub(crate) profile: Option<String>,
    /// The id of that, which no other profile of its name has.
    pub(crate) profile_id: Option<String>,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) image: Option<String>,
    pub(crate) windows: bool,
    /// Whether the instance metadata service answers, without which no profile helps.
    pub(crate) metadata: bool,
    /// Whether it answers only those who come with a token (`IMDSv2`).
    pub(crate) tokens: bool,
    /// Who alone may change it (AMI-8).
    pub(crate) operator: Option<String>,
    pub(crate) interface: Interface,
}

impl Instance {
    /// A tag's value.
    pub(crate) fn tag(&self, key: &str) -> Option<&str> {
        ec2::tag(&self.tags, key)
    }

    /// The Auto Scaling group that it is a member of: nobody but AWS writes tags that begin so.
    pub(crate) fn group(&self) -> Option<&str> {
        self.tag("aws:autoscaling:groupName")
    }

    /// Its id, and its name where it has one, for people.
    pub(crate) fn label(&self) -> String {
        ec2::label(&self.id, &self.tags)
    }
}

/// What Systems Manager knows of an instance.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) online: bool,
    pub(crate) ping: String,
    pub(crate) last_ping: Option<Timestamp>,
    pub(crate) agent: Option<String>,
}

/// What is known of one instance that is diagnosed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Evidence {
    /// Its status checks, system and instance: `ok`, `impaired`, `initializing` …
    pub(crate) checks: Option<Read<(String, String)>>,
    /// The end of its console output; none: not read.
    pub(crate) console: Option<Read<Console>>,
    /// Its AMI's name; none: the AMI is gone.
    pub(crate) image_name: Option<Read<String>>,
}

/// What an instance wrote on its console.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Console {
    pub(crate) text: String,
    /// When it was last written to, as far as AWS tells; none: read just now.
    pub(crate) updated: Option<Timestamp>,
}

/// An Auto Scaling group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    /// What new instances are launched from, e.g. `launch template lt-1 version 3`.
    pub(crate) source: String,
    /// Whether that names an instance profile; none: it doesn't matter, and wasn't read.
    pub(crate) has_profile: Option<Read<bool>>,
}
