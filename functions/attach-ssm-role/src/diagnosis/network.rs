//! The way from the instance to Systems Manager: by interface endpoints in its VPC (SSM-7), or
//! out to the public addresses.
//!
//! With an endpoint whose private DNS is on, the service's name leads to the endpoint, whatever
//! the routes say. Without one it leads to a public address, and the routes must. So each service
//! is looked at by the way that it takes; a way that isn't taken is no fault.

mod checks;
mod endpoint;
mod out;
pub(crate) mod rules;

use std::collections::BTreeSet;

use guardrails::aws::ApiError;

use self::endpoint::{by_endpoint, no_endpoint, policy_of};
use self::out::way_out;
use crate::diagnosis::cause::{Cause, Certainty};
use crate::facts::Instance;
use crate::facts::network::{Endpoint, Network, Service, Vpc};

/// What keeps `instance` from Systems Manager.
pub(super) fn causes(instance: &Instance, network: &Network) -> Vec<Cause> {
    let name = &instance.interface.vpc;
    let Some(vpc) = network.vpcs.get(name) else {
        return vec![Cause::new(
            "network-unknown",
            Certainty::CannotTell,
            &instance.id,
            "its VPC couldn't be read",
            "Look at the VPC by hand.",
        )];
    };
    let mut causes = Vec::new();
    if !vpc.dns_support {
        causes.push(Cause::new(
            "vpc-dns-off",
            Certainty::Likely,
            name,
            format!("DNS support is off in {name}, so AWS's resolver doesn't answer there"),
            "Turn it on (aws ec2 modify-vpc-attribute --enable-dns-support), unless the VPC has a resolver of its own that knows the services' names.",
        ));
    }
    causes.extend(of_services(&Service::ALL, instance, *vpc, network));
    // From the instance outwards: its own security group, then names, endpoints, routes, ACLs;
    // of several services the same is told once, as surely as it is known.
    causes.sort_by_key(|cause| {
        let layer = match cause.code {
            "egress-closed" => 0,
            "vpc-dns-off" => 1,
            code if code.starts_with("endpoint") => 2,
            "acl-closed" => 4,
            _ => 3,
        };
        (layer, cause.certainty)
    });
    let mut told = BTreeSet::new();
    causes.retain(|cause| told.insert((cause.code, cause.resource.clone())));
    causes
}

/// What is wrong with the ways to `services`. With endpoints for some of them the missing ones are
/// the fault, not the way out.
fn of_services(
    services: &[Service],
    instance: &Instance,
    vpc: Vpc,
    network: &Network,
) -> Vec<Cause> {
    let out = way_out(instance, network);
    if network
        .endpoints_of(&instance.interface.vpc)
        .next()
        .is_none()
    {
        return out;
    }
    let causes = |service: &Service| service_causes(*service, instance, vpc, network, &out);
    services.iter().flat_map(causes).collect()
}

/// What is wrong with the way to `service` in a VPC that has endpoints for Systems Manager; `out`
/// is what stands in the way out.
fn service_causes(
    service: Service,
    instance: &Instance,
    vpc: Vpc,
    network: &Network,
    out: &[Cause],
) -> Vec<Cause> {
    let interface = &instance.interface;
    let mut endpoints = network
        .endpoints_of(&interface.vpc)
        .filter(|endpoint| endpoint.service == service);
    let first = endpoints.clone().next();
    // Where the service's name leads: AWS lets only one endpoint of a VPC have it.
    if let Some(endpoint) = endpoints.find(|endpoint| endpoint.private_dns)
        && vpc.dns_support
        && vpc.dns_hostnames
    {
        return by_endpoint(instance, network, endpoint, out.is_empty());
    }
    // The name leads out. What matters is whether that is a way.
    let Some(because) = out.first() else {
        return Vec::new();
    };
    let closed = out
        .iter()
        .any(|cause| cause.certainty == Certainty::Definite);
    let certainty = if closed && service != Service::OldMessages {
        Certainty::Definite
    } else {
        Certainty::CannotTell
    };
    let because = &because.problem;
    vec![no_endpoint(service, interface, first, certainty, because)]
}

/// Whether something that a current agent needs can't be told.
pub(super) fn in_doubt(instance: &Instance, network: &Network) -> bool {
    let Some(vpc) = network.vpcs.get(&instance.interface.vpc) else {
        return true;
    };
    of_services(&[Service::Ssm, Service::Messages], instance, *vpc, network)
        .iter()
        .any(|cause| cause.certainty == Certainty::CannotTell)
}

/// The VPCs in which the way to `ssmmessages` isn't the way to `ssm`. Only there a node can be
/// Online, for which `ssm` is enough, and yet be out of reach: what has the same endpoint settings,
/// or the same way out, as that of the heartbeats, works as they do.
pub(crate) fn uneven(endpoints: &[Endpoint]) -> BTreeSet<String> {
    let way = |vpc: &str, service| {
        let endpoint = endpoints.iter().find(|endpoint| {
            endpoint.vpc == vpc && endpoint.service == service && endpoint.private_dns
        })?;
        let groups: BTreeSet<&String> = endpoint.groups.iter().collect();
        let closed = policy_of(endpoint).is_some();
        Some((&endpoint.state, groups, &endpoint.subnets, closed))
    };
    endpoints
        .iter()
        .map(|endpoint| &endpoint.vpc)
        .filter(|vpc| way(vpc, Service::Ssm) != way(vpc, Service::Messages))
        .cloned()
        .collect()
}

/// What certainly keeps a node that is Online from its message channels.
pub(crate) fn cut_off(instance: &Instance, network: &Network) -> Option<Cause> {
    let vpc = *network.vpcs.get(&instance.interface.vpc)?;
    if !uneven(&network.endpoints).contains(&instance.interface.vpc) {
        return None;
    }
    let out = way_out(instance, network);
    let definite = |service| {
        service_causes(service, instance, vpc, network, &out)
            .into_iter()
            .find(|cause| cause.certainty == Certainty::Definite)
    };
    // The heartbeats come through. Where the same reasoning denies that, it isn't to be trusted.
    match definite(Service::Ssm) {
        Some(_) => None,
        None => definite(Service::Messages),
    }
}

/// Prefix lists that couldn't be read and that the way of `instance` rests on, with the reasons.
pub(super) fn unread<'a>(
    instance: &'a Instance,
    network: &'a Network,
) -> impl Iterator<Item = (&'a String, &'a ApiError)> {
    let interface = &instance.interface;
    let endpoints = network.endpoints_of(&interface.vpc);
    let groups = endpoints
        .flat_map(|endpoint| &endpoint.groups)
        .chain(&interface.groups)
        .filter_map(|id| network.groups.get(id));
    let routes = network
        .table_of(&interface.vpc, &interface.subnet)
        .into_iter()
        .flat_map(|table| &table.routes);
    let lists: BTreeSet<&String> = groups
        .flat_map(|group| group.ingress.iter().chain(&group.egress))
        .flat_map(|rule| &rule.prefix_lists)
        .chain(routes.filter_map(|route| route.prefix_list.as_ref()))
        .collect();
    network
        .unread_lists
        .iter()
        .filter(move |(id, _)| lists.contains(id))
}
