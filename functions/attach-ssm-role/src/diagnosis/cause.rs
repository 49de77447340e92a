//! What a diagnosis starts from, and what it is made of.

use guardrails::aws::ApiError;
use jiff::Timestamp;
use serde::Serialize;

use crate::facts::identity::Identity;
use crate::facts::network::Network;
use crate::facts::sessions::Sessions;
use crate::facts::{Evidence, Instance, Node, Read};

/// How sure a cause is that a node isn't Online, or is Online and can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Certainty {
    /// AWS itself refuses it, or says that what it takes isn't there.
    Definite,
    /// This usually keeps a node away, but something that can't be seen from here may make up for
    /// it: a proxy, a hub, a zone.
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
    /// The answer of AWS that it rests on.
    pub(crate) evidence: &'static str,
    /// When that was read, or for the agent's words, written.
    pub(crate) at: Option<Timestamp>,
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
            evidence: evidence_of(code),
            at: None,
        }
    }

    /// What changes when it is another cause.
    pub(crate) fn fingerprint(&self) -> String {
        format!("{} {}", self.code, self.resource)
    }

    /// No surer than `most`.
    pub(crate) fn at_most(mut self, most: Certainty) -> Self {
        self.certainty = self.certainty.max(most);
        self
    }
}

/// The answer of AWS that a cause of this code rests on.
fn evidence_of(code: &str) -> &'static str {
    match code {
        "not-running" | "metadata-off" => "ec2:DescribeInstances",
        "no-profile" => "ec2:DescribeInstances, ssm:GetServiceSetting",
        "profile-gone" | "profile-without-role" | "role-trust" => "iam:GetInstanceProfile",
        "role-lacks" | "session-key-refused" | "session-log-unseen" | "session-log-refused" => {
            "iam:SimulatePrincipalPolicy"
        }
        "session-key-unusable" => "kms:DescribeKey",
        "session-log-unencrypted" | "session-log-missing" => "logs:DescribeLogGroups",
        "session-run-as" => "ssm:GetDocument",
        "not-connected" => "ssm:GetConnectionStatus",
        "registered-as" | "agent" | "agent-too-old" | "retry-window" => {
            "ssm:DescribeInstanceInformation"
        }
        "system-check" | "instance-check" => "ec2:DescribeInstanceStatus",
        "agent-says" => "ec2:GetConsoleOutput",
        "image-without-agent" => "ec2:DescribeImages",
        "egress-closed" | "endpoint-closed" => "ec2:DescribeSecurityGroups",
        "vpc-dns-off" => "ec2:DescribeVpcAttribute",
        "vpc-shared" => "ec2:DescribeVpcs",
        "own-resolver" => "ec2:DescribeDhcpOptions",
        "nat-closed" => "ec2:DescribeNatGateways",
        "acl-closed" => "ec2:DescribeNetworkAcls",
        "no-ipv4" => "ec2:DescribeInstances, ec2:DescribeRouteTables",
        code if code.starts_with("endpoint") => "ec2:DescribeVpcEndpoints",
        code if code.contains("route") || code == "no-public-address" => "ec2:DescribeRouteTables",
        _ => "no answer",
    }
}

/// All that is known of an instance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) instance: &'a Instance,
    pub(crate) node: Option<&'a Node>,
    /// Whether a session can be opened, as AWS says; none: not asked.
    pub(crate) connection: Option<&'a Read<bool>>,
    /// What sessions take besides a channel; none: nobody asked.
    pub(crate) sessions: Option<&'a Read<Sessions>>,
    /// The node of a hybrid activation that is Online with its address.
    pub(crate) hybrid: Result<Option<&'a str>, &'a ApiError>,
    /// Since when it has been as it is: its start, its profile, or its last ping.
    pub(crate) since: Timestamp,
    /// Until when it may come Online by itself (SSM-1).
    pub(crate) until: Timestamp,
    /// Its profile's role and permissions.
    pub(crate) identity: Option<&'a Read<Identity>>,
    /// The role of Default Host Management.
    pub(crate) dhmc: &'a Read<Option<String>>,
    pub(crate) evidence: Option<&'a Evidence>,
    pub(crate) network: Option<&'a Read<Network>>,
    /// Whether the policy says that its VPC reaches Systems Manager by a hub or a proxy.
    pub(crate) by_hub: bool,
}

impl<'a> Known<'a> {
    pub(crate) fn online(&self) -> bool {
        self.node.is_some_and(|node| node.online)
    }

    /// The node of a hybrid activation that is Online with its address, as far as they were read.
    pub(crate) fn hybrid_node(&self) -> Option<&'a str> {
        self.hybrid.ok().flatten()
    }

    /// Its network, where that was read and isn't a hub's.
    pub(crate) fn seen_network(&self) -> Option<&'a Network> {
        self.network?.as_ref().ok().filter(|_| !self.by_hub)
    }

    /// What couldn't be read of it.
    pub(crate) fn unread(&self) -> impl Iterator<Item = &'a ApiError> {
        let vpc = &self.instance.interface.vpc;
        let network = self.network.and_then(|read| read.as_ref().ok());
        let of_vpc = network.and_then(|network| network.vpcs.get(vpc));
        [
            self.identity.and_then(|read| read.as_ref().err()),
            self.network.and_then(|read| read.as_ref().err()),
            // Only its owner may read a shared VPC's, and that it is shared is told.
            of_vpc
                .filter(|vpc| vpc.shared_by.is_none())
                .and_then(|vpc| vpc.dns.as_ref().err()),
            self.connection.and_then(|read| read.as_ref().err()),
            self.dhmc.as_ref().err(),
            self.hybrid.err().filter(|_| !self.online()),
            self.evidence
                .and_then(|evidence| evidence.checks.as_ref()?.as_ref().err()),
            self.evidence
                .and_then(|evidence| evidence.image_name.as_ref()?.as_ref().err()),
        ]
        .into_iter()
        .flatten()
        .chain(network.into_iter().flat_map(|network| &network.unread))
    }
}
