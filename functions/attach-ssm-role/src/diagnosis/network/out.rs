//! The way out of the VPC, to the public addresses.

use std::fmt::Write as _;
use std::net::Ipv6Addr;

use super::checks::{ephemeral, fault, leg};
use super::rules::{Family, HTTPS, Peer, Target};
use crate::diagnosis::cause::{Cause, Certainty};
use crate::facts::Instance;
use crate::facts::network::{Hop, Network, Table};

/// What stands in the way out to a public address; nothing: the way is open.
pub(super) fn way_out(instance: &Instance, network: &Network) -> Vec<Cause> {
    let addresses = &instance.interface.addresses;
    let has = |v4: bool| addresses.iter().any(|address| address.is_ipv4() == v4);
    let mut causes = if has(true) {
        way_out_by(Family::V4, instance, network)
    } else {
        by_nat64(instance, network)
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

/// The addresses into which a subnet's resolver puts IPv4 ones for who has none.
const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 1);

/// What stands in the way of who has no IPv4 address.
fn by_nat64(instance: &Instance, network: &Network) -> Vec<Cause> {
    let interface = &instance.interface;
    let table = network.table_of(&interface.vpc, &interface.subnet);
    let route = table.and_then(|table| table.route_to(NAT64.into(), &network.prefix_lists));
    if let Some(Hop::Nat(nat)) = route.map(|route| &route.hop) {
        return nat_cause(nat, instance, network).into_iter().collect();
    }
    vec![Cause::new(
        "no-ipv4",
        Certainty::Likely,
        &instance.id,
        "it has no IPv4 address, the services' usual names have only IPv4 ones, and no route leads 64:ff9b::/96 to a NAT gateway (NAT64)",
        "Use dual-stack endpoints in the VPC, set the agent to the services' dual-stack names, or route 64:ff9b::/96 to a NAT gateway with DNS64 on in the subnet.",
    )]
}

fn way_out_by(family: Family, instance: &Instance, network: &Network) -> Vec<Cause> {
    let interface = &instance.interface;
    let mut causes = Vec::new();
    let reach = network.egress(&interface.groups, Peer::Public(family));
    if let Some(certainty) = fault(reach) {
        let groups = interface.groups.join(", ");
        let lets = match certainty {
            Certainty::CannotTell => "lets it out on 443 to some addresses only",
            _ => "doesn't let it out on 443",
        };
        causes.push(Cause::new(
            "egress-closed",
            certainty,
            &groups,
            format!("the instance's security group {groups} {lets}"),
            "Unless a proxy or endpoints elsewhere are among what it allows: allow outbound TCP 443 to 0.0.0.0/0, or create endpoints for ssm, ssmmessages and ec2messages and allow it to them.",
        ));
    }
    causes.extend(route_out(family, instance, network));
    let peer = Target::Public(family);
    causes.extend(
        leg(network, &interface.subnet, true, peer, (HTTPS, HTTPS))
            .or_else(|| leg(network, &interface.subnet, false, peer, ephemeral(instance))),
    );
    let table = network.table_of(&interface.vpc, &interface.subnet);
    let elsewhere = table.and_then(|table| table.elsewhere(&network.prefix_lists).next());
    if let Some(route) = elsewhere {
        for cause in &mut causes {
            cause.certainty = Certainty::CannotTell;
            let _ = write!(
                cause.problem,
                "; but another route leads by {}, and what lies behind that isn't seen from here",
                route.hop.id()
            );
        }
    }
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
    let Some(route) = table.default_route(family, lists) else {
        return Some(Cause::new(
            "no-route",
            Certainty::Likely,
            id,
            format!("the route table {id} of {subnet} has no route {everything}"),
            NEEDS_A_WAY,
        ));
    };
    if !route.blackhole {
        return by_hop(&route.hop, table, family, instance, network);
    }
    let hop = route.hop.id();
    Some(Cause::new(
        "route-blackhole",
        Certainty::Likely,
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
            Certainty::Likely,
            id,
            format!(
                "{id} leads out by the internet gateway {name}, but the instance has no public IPv4 address"
            ),
            "Give it an Elastic IP, or move it to a subnet behind a NAT gateway, or create endpoints.",
        )),
        (Hop::InternetGateway(_), _) | (Hop::EgressOnly(_), Family::V6) => None,
        (Hop::Nat(nat), _) => nat_cause(nat, instance, network),
        _ => Some(Cause::new(
            "route-elsewhere",
            Certainty::CannotTell,
            id,
            format!("{id} leads out by {name}, and what lies behind that isn't seen from here"),
            "Check the network behind it: its way out, its firewall, or endpoints in a hub VPC with their names resolved here.",
        )),
    }
}

/// What is wrong with a NAT gateway, or with the network around it.
fn nat_cause(nat: &str, instance: &Instance, network: &Network) -> Option<Cause> {
    if let Some((certainty, problem)) = nat_out(nat, instance, network) {
        let fix = "Repair or replace the NAT gateway; it must be public, and its route table must lead to an internet gateway.";
        return Some(Cause::new("nat-closed", certainty, nat, problem, fix));
    }
    // A regional one has no subnet, and so no ACL.
    let its = network.nats.get(nat)?.subnet.as_ref()?;
    if *its == instance.interface.subnet {
        return None;
    }
    let mut addresses = instance.interface.addresses.iter();
    let v4 = addresses.find(|one| one.is_ipv4());
    let here = v4.map_or(Target::Public(Family::V4), |one| Target::Address(*one));
    let out = Target::Public(Family::V4);
    let https = (HTTPS, HTTPS);
    [
        (false, here, https),
        (true, out, https),
        (false, out, NAT_PORTS),
        (true, here, ephemeral(instance)),
    ]
    .into_iter()
    .find_map(|(egress, peer, ports)| leg(network, its, egress, peer, ports))
}

/// The ports from which a NAT gateway goes out.
const NAT_PORTS: (u16, u16) = (1_024, 65_535);

fn nat_out(nat: &str, instance: &Instance, network: &Network) -> Option<(Certainty, String)> {
    let unclear = |why: &str| {
        Some((
            Certainty::CannotTell,
            format!("the NAT gateway {nat} {why}"),
        ))
    };
    let Some(found) = network.nats.get(nat) else {
        return unclear("couldn't be read");
    };
    if found.state != "available" {
        // One that has just been made is `pending` for some minutes.
        let problem = format!("the NAT gateway {nat} is {}", found.state);
        return Some((Certainty::Likely, problem));
    }
    if !found.public {
        return unclear("is a private one");
    }
    let table = match (&found.table, &found.subnet) {
        (Some(own), _) => network.tables.iter().find(|table| table.id == *own)?,
        (None, Some(subnet)) => network.table_of(&instance.interface.vpc, subnet)?,
        (None, None) => return None,
    };
    match table.default_route(Family::V4, &network.prefix_lists) {
        Some(route) if !route.blackhole && route.hop != Hop::Nat(nat.to_owned()) => None,
        _ => Some((
            Certainty::Likely,
            format!(
                "the NAT gateway {nat} itself has no way out: its route table {} has no route 0.0.0.0/0 to an internet gateway",
                table.id
            ),
        )),
    }
}
