//! The way out of the VPC, to the public addresses.

use super::checks::{ephemeral, fault, leg};
use super::rules::{Family, HTTPS, Peer, Target};
use crate::diagnosis::cause::{Cause, Certainty};
use crate::facts::Instance;
use crate::facts::network::{Hop, Network, Table};

/// What stands in the way out to a public address; nothing: the way is open.
pub(super) fn way_out(instance: &Instance, network: &Network) -> Vec<Cause> {
    let interface = &instance.interface;
    let has = |v4: bool| {
        interface
            .addresses
            .iter()
            .any(|address| address.is_ipv4() == v4)
    };
    let mut causes = if has(true) {
        way_out_by(Family::V4, instance, network)
    } else {
        vec![Cause::new(
            "no-ipv4",
            Certainty::Definite,
            &instance.id,
            "it has no IPv4 address, and the services' usual names have only IPv4 ones",
            "Use endpoints with IPv6, or set the agent to dual-stack endpoints.",
        )]
    };
    if !causes.is_empty() && has(false) && way_out_by(Family::V6, instance, network).is_empty() {
        for cause in &mut causes {
            cause.certainty = Certainty::CannotTell;
            cause.problem.push_str(
                "; IPv6 leads out, but the agent uses it only where it is set to dual-stack endpoints",
            );
        }
    }
    causes
}

fn way_out_by(family: Family, instance: &Instance, network: &Network) -> Vec<Cause> {
    let interface = &instance.interface;
    let mut causes = Vec::new();
    let reach = network.egress(&interface.groups, Peer::Public(family));
    if let Some(certainty) = fault(reach) {
        let groups = interface.groups.join(", ");
        let lets = match certainty {
            Certainty::Definite => "doesn't let it out on 443",
            _ => "lets it out on 443 to some public addresses only",
        };
        causes.push(Cause::new(
            "egress-closed",
            certainty,
            &groups,
            format!("the instance's security group {groups} {lets}"),
            "Allow outbound TCP 443 to 0.0.0.0/0, or create endpoints for ssm, ssmmessages and ec2messages and allow it to them.",
        ));
    }
    causes.extend(route_out(family, instance, network));
    let peer = Target::Public(family);
    causes.extend(
        leg(network, &interface.subnet, true, peer, (HTTPS, HTTPS))
            .or_else(|| leg(network, &interface.subnet, false, peer, ephemeral(instance))),
    );
    causes
}

const NEEDS_A_WAY: &str = "Give the subnet a way out (a route 0.0.0.0/0 to a NAT gateway), or create interface endpoints for ssm, ssmmessages and ec2messages with private DNS on.";

/// What is wrong with the subnet's route out.
fn route_out(family: Family, instance: &Instance, network: &Network) -> Option<Cause> {
    let interface = &instance.interface;
    let lists = &network.prefix_lists;
    let subnet = &interface.subnet;
    let Some(table) = network.table_of(&interface.vpc, subnet) else {
        return Some(Cause::new(
            "no-route",
            Certainty::CannotTell,
            subnet,
            format!("no route table of {subnet} could be read"),
            "Look at the subnet's route table by hand.",
        ));
    };
    let (id, everything) = (&table.id, family.everything());
    let partial = table.partial_routes(family, lists).next();
    let Some(route) = table.default_route(family, lists) else {
        let (certainty, problem, fix) = match partial {
            Some(route) => (
                Certainty::CannotTell,
                format!(
                    "the route table {id} leads to some public addresses only (by {})",
                    route.hop.id()
                ),
                "Check that they hold those of Systems Manager.",
            ),
            None => (
                Certainty::Definite,
                format!("the route table {id} of {subnet} has no route {everything}"),
                NEEDS_A_WAY,
            ),
        };
        return Some(Cause::new("no-route", certainty, id, problem, fix));
    };
    if !route.blackhole {
        return by_hop(&route.hop, table, family, instance, network);
    }
    // A longer prefix may still lead there.
    let certainty = if partial.is_some() {
        Certainty::CannotTell
    } else {
        Certainty::Definite
    };
    let hop = route.hop.id();
    Some(Cause::new(
        "route-blackhole",
        certainty,
        id,
        format!("the route {everything} in {id} is a blackhole: {hop} is gone"),
        "Point the route at a gateway that exists.",
    ))
}

/// What is wrong with what the default route of `table` leads to.
fn by_hop(
    hop: &Hop,
    table: &Table,
    family: Family,
    instance: &Instance,
    network: &Network,
) -> Option<Cause> {
    let (id, name) = (&table.id, hop.id());
    match (hop, family) {
        (Hop::InternetGateway(_), Family::V4) if !instance.interface.public => Some(Cause::new(
            "no-public-address",
            Certainty::Definite,
            id,
            format!(
                "{id} leads out by the internet gateway {name}, but the instance has no public IPv4 address"
            ),
            "Give it an Elastic IP, or move it to a subnet behind a NAT gateway, or create endpoints.",
        )),
        (Hop::InternetGateway(_), _) | (Hop::EgressOnly(_), Family::V6) => None,
        (Hop::Nat(nat), _) => {
            let (certainty, problem) = nat_out(nat, instance, network)?;
            let fix = "Repair or replace the NAT gateway; it must be public, in a subnet whose route table leads to an internet gateway.";
            Some(Cause::new("nat-closed", certainty, nat, problem, fix))
        }
        _ => Some(Cause::new(
            "route-elsewhere",
            Certainty::CannotTell,
            id,
            format!("{id} leads out by {name}, and what lies behind that isn't seen from here"),
            "Check the network behind it: its way out, its firewall, or endpoints in a hub VPC with their names resolved here.",
        )),
    }
}

fn nat_out(nat: &str, instance: &Instance, network: &Network) -> Option<(Certainty, String)> {
    let Some(found) = network.nats.get(nat) else {
        return Some((
            Certainty::CannotTell,
            format!("the NAT gateway {nat} couldn't be read"),
        ));
    };
    if found.state != "available" {
        return Some((
            Certainty::Definite,
            format!("the NAT gateway {nat} is {}", found.state),
        ));
    }
    if !found.public {
        return Some((
            Certainty::CannotTell,
            format!("the NAT gateway {nat} is a private one"),
        ));
    }
    let table = network.table_of(&instance.interface.vpc, &found.subnet)?;
    match table.default_route(Family::V4, &network.prefix_lists) {
        Some(route) if !route.blackhole && route.hop != Hop::Nat(nat.to_owned()) => None,
        _ => Some((
            Certainty::Definite,
            format!(
                "the NAT gateway {nat} itself has no way out: {} of its subnet {} has no route 0.0.0.0/0 to an internet gateway",
                table.id, found.subnet
            ),
        )),
    }
}
