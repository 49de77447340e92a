//! What the ways to Systems Manager have in common.

use super::rules::{Passage, Reach, Target};
use crate::diagnosis::cause::{Cause, Certainty};
use crate::facts::Instance;
use crate::facts::network::Network;

/// What a check that must be `Yes` is worth as a cause.
pub(super) fn fault(reach: Reach) -> Option<Certainty> {
    match reach {
        Reach::Yes => None,
        Reach::No => Some(Certainty::Likely),
        Reach::Perhaps => Some(Certainty::CannotTell),
    }
}

/// The ports that answers come back to.
pub(super) fn ephemeral(instance: &Instance) -> (u16, u16) {
    if instance.windows {
        (49_152, 65_535)
    } else {
        (32_768, 60_999)
    }
}

/// Whether a subnet's network ACL stops this traffic.
pub(super) fn leg(
    network: &Network,
    subnet: &str,
    egress: bool,
    peer: Target,
    ports: (u16, u16),
) -> Option<Cause> {
    let acl = network.acl_of(subnet)?;
    let (certainty, rule) = match acl.passage(egress, peer, ports) {
        Passage::Open => return None,
        Passage::Closed(rule) => (Certainty::Likely, rule),
        Passage::Partly => (Certainty::CannotTell, None),
    };
    let direction = if egress { "outbound" } else { "inbound" };
    let ports = match ports {
        (from, to) if from == to => format!("port {from}"),
        (from, to) => format!("ports {from} to {to} (answers)"),
    };
    let rule = rule.map_or_else(|| "rule *".to_owned(), |number| format!("rule {number}"));
    let what = match certainty {
        Certainty::Likely => format!("stops {direction} TCP {ports} by {rule}"),
        _ => format!("lets only part of {direction} TCP {ports} through"),
    };
    let id = &acl.id;
    Some(Cause::new(
        "acl-closed",
        certainty,
        id,
        format!("the network ACL {id} of {subnet} {what}"),
        format!("Allow {direction} TCP {ports} in {id}, with a lower rule number than any deny."),
    ))
}
