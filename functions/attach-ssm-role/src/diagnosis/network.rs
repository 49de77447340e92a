//! The way from the instance to Systems Manager: by interface endpoints in its VPC (SSM-7), or
//! out to the public addresses.
//!
//! With an endpoint whose private DNS is on, the service's name leads to the endpoint, whatever
//! the routes say. Without one it leads to a public address, and the routes must. So each service
//! is looked at by the way that it takes; a way that isn't taken is no fault.
//!
//! A proxy, a hub behind a transit gateway or a zone of Route 53 may make up for nearly all that is
//! missing here, and none of them is seen from outside. So what is found is likely at most; where
//! one of them shows, it can't be told. Only who lets nothing out at all is certainly cut off.

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
use crate::facts::network::{Dns, Endpoint, Network, Rule, Service, Vpc};

/// What keeps `instance` from Systems Manager.
pub(super) fn causes(instance: &Instance, network: &Network) -> Vec<Cause> {
    let mut causes: Vec<Cause> = nothing_out(instance, network).into_iter().collect();
    match vpc_of(instance, network) {
        Ok((vpc, dns)) => {
            causes.extend(names(instance, network, vpc, dns));
            causes.extend(of_services(&Service::OF_NODES, instance, network, vpc, dns));
        }
        Err(unknown) => causes.push(*unknown),
    }
    // From the instance outwards: its own security group, then names, endpoints, routes, ACLs;
    // of several services the same is told once, as surely as it is known.
    causes.sort_by_key(|cause| {
        let layer = match cause.code {
            "egress-closed" => 0,
            "vpc-dns-off" | "own-resolver" => 1,
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

/// The VPC of `instance` as far as it can be seen from this account, or why it can't.
fn vpc_of<'a>(instance: &Instance, network: &'a Network) -> Result<(&'a Vpc, Dns), Box<Cause>> {
    let name = &instance.interface.vpc;
    let vpc = network.vpcs.get(name);
    let known = vpc.map(|vpc| (vpc, &vpc.shared_by, &vpc.dns));
    let (code, resource, problem, fix) = match known {
        Some((_, Some(owner), _)) => (
            "vpc-shared",
            name,
            format!(
                "account {owner} shares {name} with this one, and its endpoints, zones and route tables can't be seen from here"
            ),
            "Look at endpoints, routes and DNS of the VPC in the owner's account.",
        ),
        Some((vpc, None, Ok(dns))) => return Ok((vpc, *dns)),
        _ => (
            "network-unknown",
            &instance.id,
            format!("its VPC {name} couldn't be read"),
            "Look at the VPC by hand.",
        ),
    };
    let certainty = Certainty::CannotTell;
    Err(Box::new(Cause::new(
        code, certainty, resource, problem, fix,
    )))
}

/// Without any rule for outbound TCP nothing leaves, to whatever endpoint or proxy.
fn nothing_out(instance: &Instance, network: &Network) -> Option<Cause> {
    let groups = &instance.interface.groups;
    let is_silent = |id: &String| {
        let group = network.groups.get(id);
        group.is_some_and(|group| !group.egress.iter().any(Rule::is_tcp))
    };
    let own = groups.join(", ");
    (!groups.is_empty() && groups.iter().all(is_silent)).then(|| {
        Cause::new(
            "egress-closed",
            Certainty::Definite,
            &own,
            format!("the instance's security group {own} lets no TCP out at all"),
            "Allow outbound TCP 443, to 0.0.0.0/0 or to the endpoints' security group.",
        )
    })
}

/// What is wrong with the names of the services.
fn names(instance: &Instance, network: &Network, vpc: &Vpc, dns: Dns) -> Option<Cause> {
    let name = &instance.interface.vpc;
    if !vpc.resolvers.is_empty() {
        // Those may forward to AWS's resolver, or know nothing of the endpoints.
        let matters = network
            .endpoints_of(name, &Service::OF_NODES)
            .any(|endpoint| endpoint.private_dns);
        let servers = vpc.resolvers.join(", ");
        return (matters && !way_out(instance, network).is_empty()).then(|| {
            Cause::new(
                "own-resolver",
                Certainty::CannotTell,
                name,
                format!("{name} has DNS servers of its own ({servers}), and whether they know the endpoints' private names isn't seen from here"),
                "Have them forward the services' names to the VPC's resolver (its network plus two).",
            )
        });
    }
    (!dns.support).then(|| {
        Cause::new(
            "vpc-dns-off",
            Certainty::Likely,
            name,
            format!("DNS support is off in {name}, so AWS's resolver doesn't answer there"),
            "Turn it on (aws ec2 modify-vpc-attribute --enable-dns-support), unless the instance has a resolver of its own that knows the services' names.",
        )
    })
}

/// What is wrong with the ways to `services`. With endpoints for some of them the missing ones are
/// the fault, not the way out.
fn of_services(
    services: &[Service],
    instance: &Instance,
    network: &Network,
    vpc: &Vpc,
    dns: Dns,
) -> Vec<Cause> {
    let out = way_out(instance, network);
    if network
        .endpoints_of(&instance.interface.vpc, &Service::OF_NODES)
        .next()
        .is_none()
    {
        return out;
    }
    let causes = |service: &Service| service_causes(*service, instance, network, vpc, dns, &out);
    services.iter().flat_map(causes).collect()
}

/// What is wrong with the way to `service` in a VPC that has endpoints for Systems Manager; `out`
/// is what stands in the way out.
fn service_causes(
    service: Service,
    instance: &Instance,
    network: &Network,
    vpc: &Vpc,
    dns: Dns,
    out: &[Cause],
) -> Vec<Cause> {
    let interface = &instance.interface;
    let services = [service];
    let mut endpoints = network.endpoints_of(&interface.vpc, &services);
    let first = endpoints.clone().next();
    let own_resolver = !vpc.resolvers.is_empty();
    // Where the service's name leads: AWS lets only one endpoint of a VPC have it.
    if let Some(endpoint) = endpoints.find(|endpoint| endpoint.private_dns)
        && (own_resolver || dns.support && dns.hostnames)
    {
        // What only old agents need keeps no current one away.
        let unclear = own_resolver || service == Service::OldMessages;
        let most = if unclear {
            Certainty::CannotTell
        } else {
            Certainty::Likely
        };
        let causes = by_endpoint(instance, network, endpoint).into_iter();
        return causes.map(|cause| cause.at_most(most)).collect();
    }
    // The name leads out. What matters is whether that is a way.
    let Some(because) = out.first() else {
        return Vec::new();
    };
    if service == Service::S3 && by_gateway(instance, network) {
        return Vec::new();
    }
    // A name that an endpoint doesn't have may be in a zone or profile of Route 53, and where that is
    // so of the heartbeats', others may be there, too.
    let by_zone = network
        .endpoints_of(&interface.vpc, &[service, Service::Ssm])
        .any(|endpoint| !endpoint.private_dns);
    let seen = out.iter().any(|cause| cause.certainty == Certainty::Likely);
    let certainty = if seen && !by_zone && !own_resolver && service != Service::OldMessages {
        Certainty::Likely
    } else {
        Certainty::CannotTell
    };
    let because = &because.problem;
    vec![no_endpoint(service, interface, first, certainty, because)]
}

/// Whether something that a current agent needs can't be told.
pub(super) fn in_doubt(instance: &Instance, network: &Network) -> bool {
    let Ok((vpc, dns)) = vpc_of(instance, network) else {
        return true;
    };
    let needed = [Service::Ssm, Service::Messages];
    of_services(&needed, instance, network, vpc, dns)
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

/// Whether a gateway endpoint leads on: there are those for S3, and for `DynamoDB`, which look alike.
fn by_gateway(instance: &Instance, network: &Network) -> bool {
    let table = network.table_of(&instance.interface.vpc, &instance.interface.subnet);
    let mut routes = table.into_iter().flat_map(|table| &table.routes);
    routes.any(|route| {
        !route.blackhole && route.prefix_list.is_some() && route.hop.id().starts_with("vpce-")
    })
}

/// What may keep a node that is Online from `service`: a suspicion, and of its message channels one
/// until AWS says that no session can be opened.
pub(crate) fn to_service(service: Service, instance: &Instance, network: &Network) -> Vec<Cause> {
    let Ok((vpc, dns)) = vpc_of(instance, network) else {
        return Vec::new();
    };
    let out = way_out(instance, network);
    let to = |service| service_causes(service, instance, network, vpc, dns, &out);
    // The heartbeats come through. Where the same reasoning denies that, it isn't to be trusted.
    let (wrong, mut causes) = (to(Service::Ssm), to(service));
    causes.retain(|cause| wrong.iter().all(|other| other.code != cause.code));
    causes
}

/// Prefix lists that couldn't be read and that the way of `instance` rests on, with the reasons.
pub(super) fn unread<'a>(
    instance: &'a Instance,
    network: &'a Network,
) -> impl Iterator<Item = (&'a String, &'a ApiError)> {
    let interface = &instance.interface;
    let endpoints = network.endpoints_of(&interface.vpc, &Service::OF_NODES);
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
