//! Why a node isn't Online. Pure: evidence in, causes out.
//!
//! The layers are looked at from the instance outwards: [`instance`], [`identity`], [`agent`],
//! [`network`]. Each tells only what it sees; a healthy layer tells nothing.

pub mod agent;
pub mod document;
pub mod identity;
pub mod instance;
pub mod network;

use guardrails::aws::ApiError;
use jiff::Timestamp;
use serde::Serialize;

use crate::decide;
use crate::facts::{Evidence, Facts, Instance, Node, Read};
use crate::policy::Policy;

/// How sure a cause is that a node isn't Online, or is Online and can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certainty {
    /// With this no node comes Online, or none can be used.
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
    /// Since when it has been as it is: its start, its profile, or its last ping.
    pub since: Timestamp,
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
        let since = decide::since(instance, facts, node);
        Self {
            instance,
            node,
            since,
            until: policy.online_within.after(since),
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
    causes.extend(agent::said(known, now));
    let mut incomplete = [
        known.identity.and_then(|read| read.as_ref().err()),
        known.network.and_then(|read| read.as_ref().err()),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>();
    let mut in_doubt = causes
        .iter()
        .any(|cause| cause.certainty == Certainty::CannotTell);
    if let Some(Ok(network)) = known.network {
        causes.extend(network::causes(known.instance, network));
        in_doubt |= network::in_doubt(known.instance, network);
    }
    if let Some(evidence) = known.evidence {
        let checks = evidence
            .checks
            .as_ref()
            .and_then(|read| read.as_ref().err());
        let image = evidence.image_name.as_ref();
        incomplete.extend(checks);
        incomplete.extend(image.and_then(|read| read.as_ref().err()));
    }
    causes.extend(agent::causes(known, now, &causes, in_doubt));
    let not_read = |resource: &str, error: &ApiError, fix: &str| Cause {
        code: "not-read",
        certainty: Certainty::CannotTell,
        resource: resource.to_owned(),
        problem: format!("part of the diagnosis is missing: {error}"),
        fix: fix.to_owned(),
    };
    for error in &incomplete {
        let fix = "Allow the call in the function's role; the next sweep looks again.";
        causes.push(not_read(&known.instance.id, error, fix));
    }
    if let Some(Ok(network)) = known.network {
        for (list, error) in network::unread(known.instance, network) {
            let fix = "Allow the call in the function's role, and where the prefix list is another account's, have it shared; until then rules and routes with it count as perhaps.";
            causes.push(not_read(list, error, fix));
            // A list that may never be read mustn't hold back what is known besides.
            incomplete.extend(network::may_pass(error).then_some(error));
        }
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
