//! What a diagnosis starts from, and what it is made of.

use jiff::Timestamp;
use serde::Serialize;

use crate::facts::identity::Identity;
use crate::facts::network::Network;
use crate::facts::{Evidence, Instance, Node, Read};

/// How sure a cause is that a node isn't Online, or is Online and can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Certainty {
    /// With this no node comes Online, or none can be used.
    Definite,
    /// This usually keeps a node away.
    Likely,
    /// What was read doesn't tell.
    CannotTell,
}

/// A cause, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Cause {
    /// Short name: the documentation explains each.
    pub(crate) code: &'static str,
    pub(crate) certainty: Certainty,
    /// The resource that is at fault, or that is to be changed.
    pub(crate) resource: String,
    pub(crate) problem: String,
    pub(crate) fix: String,
}

impl Cause {
    pub(crate) fn new(
        code: &'static str,
        certainty: Certainty,
        resource: &str,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            code,
            certainty,
            resource: resource.to_owned(),
            problem: problem.into(),
            fix: fix.into(),
        }
    }

    /// What changes when it is another cause.
    pub(crate) fn fingerprint(&self) -> String {
        format!("{} {}", self.code, self.resource)
    }
}

/// All that is known of an instance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) instance: &'a Instance,
    pub(crate) node: Option<&'a Node>,
    /// Since when it has been as it is: its start, its profile, or its last ping.
    pub(crate) since: Timestamp,
    /// Until when it may come Online by itself (SSM-1).
    pub(crate) until: Timestamp,
    /// Its profile's role and permissions.
    pub(crate) identity: Option<&'a Read<Identity>>,
    /// The role of Default Host Management.
    pub(crate) dhmc: Option<&'a Read<Option<String>>>,
    pub(crate) evidence: Option<&'a Evidence>,
    pub(crate) network: Option<&'a Read<Network>>,
}
