//! Why a node isn't Online. Pure: evidence in, causes out.
//!
//! The layers are looked at from the instance outwards: [`instance`], [`identity`], [`agent`],
//! [`network`]. Each tells only what it sees; a healthy layer tells nothing.

pub mod agent;
pub mod document;
pub mod identity;
pub mod instance;
pub mod network;

use jiff::Timestamp;
use serde::Serialize;

use crate::decide;
use crate::facts::{Evidence, Facts, Instance, Node, Read};
use crate::policy::Policy;

/// How sure a cause is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certainty {
    /// With this no node comes Online.
    Definite,
    /// This usually keeps a node away.
    Likely,
    /// What was read doesn't tell.
    CannotTell,
}

/// A cause, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cause {
    /// Short name: the documentation explains each.
    pub code: &'static str,
    /// How sure it is.
    pub certainty: Certainty,
    /// The resource that is at fault, or that is to be changed.
    pub resource: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub fix: String,
}

/// What was found, the primary cause first, the others from the instance outwards.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Diagnosis {
    /// The causes.
    pub causes: Vec<Cause>,
    /// Whether something that matters couldn't be read.
    pub incomplete: bool,
}

impl Diagnosis {
    /// The cause to remove first.
    #[must_use]
    pub fn primary(&self) -> Option<&Cause> {
        self.causes.first()
    }

    /// What is told again when it changes: the surest cause, but for the agent's words, which
    /// aren't read of every instance at every sweep.
    #[must_use]
    pub fn state(&self) -> String {
        self.causes
            .iter()
            .find(|cause| cause.code != agent::CONSOLE)
            .map_or_else(
                || "unknown".to_owned(),
                |cause| format!("{} {}", cause.code, cause.resource),
            )
    }
}

/// All that is known of an instance.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The instance.
    pub instance: &'a Instance,
    /// What Systems Manager knows of it.
    pub node: Option<&'a Node>,
    /// Until when it may come Online by itself (SSM-1).
    pub until: Timestamp,
    /// Its profile's role and permissions.
    pub identity: Option<&'a Read<identity::Identity>>,
    /// The role of Default Host Management.
    pub dhmc: Option<&'a Read<Option<String>>>,
    /// Checks, console, AMI.
    pub evidence: Option<&'a Evidence>,
    /// Its VPC.
    pub network: Option<&'a Read<network::Network>>,
}

impl<'a> Known<'a> {
    /// Gathers what `facts` know of `instance`.
    #[must_use]
    pub fn of(instance: &'a Instance, facts: &'a Facts, policy: &Policy) -> Self {
        let node = facts.nodes.get(&instance.id);
        Self {
            instance,
            node,
            until: policy
                .online_within
                .after(decide::since(instance, facts, node)),
            identity: instance
                .profile
                .as_ref()
                .and_then(|profile| facts.identities.get(profile)),
            dhmc: facts.dhmc.as_ref(),
            evidence: facts.evidence.get(&instance.id),
            network: facts.network.as_ref(),
        }
    }
}

/// Finds out why `known` isn't Online.
#[must_use]
pub fn diagnose(known: &Known<'_>, now: Timestamp) -> Diagnosis {
    let mut causes = instance::causes(known);
    causes.extend(identity::causes(known));
    causes.extend(agent::said(known));
    let mut incomplete = [
        known.identity.and_then(|read| read.as_ref().err()),
        known.network.and_then(|read| read.as_ref().err()),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>();
    if let Some(Ok(network)) = known.network {
        causes.extend(network::causes(known.instance, network));
    }
    if let Some(Err(error)) = known.evidence.and_then(|evidence| evidence.checks.as_ref()) {
        incomplete.push(error);
    }
    causes.extend(agent::causes(known, now, &causes));
    for error in &incomplete {
        causes.push(Cause {
            code: "not-read",
            certainty: Certainty::CannotTell,
            resource: known.instance.id.clone(),
            problem: format!("part of the diagnosis is missing: {error}"),
            fix: "Allow the call in the function's role; the next sweep looks again.".to_owned(),
        });
    }
    // The surest cause goes first; the others keep their order from the instance outwards.
    if let Some(primary) = (0..causes.len()).min_by_key(|at| (causes[*at].certainty, *at)) {
        causes[..=primary].rotate_right(1);
    }
    Diagnosis {
        causes,
        incomplete: !incomplete.is_empty(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
