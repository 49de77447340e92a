//! The way by an interface endpoint (SSM-7).

use std::net::IpAddr;

use serde_json::Value;

use super::checks::{ephemeral, fault, leg};
use super::rules::{HTTPS, Peer, Target};
use crate::diagnosis::cause::{Cause, Certainty};
use crate::diagnosis::document::{self, Verdict};
use crate::facts::Instance;
use crate::facts::identity::{CHANNELS, REGISTER};
use crate::facts::network::{Endpoint, Hop, Interface, Network, Service};
use crate::facts::sessions::{DECRYPT, FIND_LOG_GROUP, WRITE_LOG, WRITE_OBJECT};

/// Actions that the policy of a service's endpoint must allow.
fn actions(service: Service) -> &'static [&'static str] {
    match service {
        Service::Ssm => &[REGISTER],
        Service::Messages => &CHANNELS,
        Service::OldMessages => &["ec2messages:GetMessages"],
        Service::Kms => &[DECRYPT],
        Service::Logs => &[FIND_LOG_GROUP, WRITE_LOG[0], WRITE_LOG[1]],
        Service::S3 => &[WRITE_OBJECT],
    }
}

/// Why `service` isn't reached by an endpoint though the VPC has some for others.
pub(super) fn no_endpoint(
    service: Service,
    interface: &Interface,
    endpoint: Option<&Endpoint>,
    certainty: Certainty,
    because: &str,
) -> Cause {
    let (name, vpc) = (service.name(), &interface.vpc);
    let advisory = match service {
        Service::OldMessages => " (agents before 3.3.40 need it)",
        _ => "",
    };
    match endpoint {
        Some(endpoint) if !endpoint.private_dns => Cause::new(
            "endpoint-private-dns-off",
            certainty,
            &endpoint.id,
            format!(
                "the {name} endpoint {} has private DNS off, so the service's name leads out of the VPC{advisory}, and {because}",
                endpoint.id
            ),
            format!(
                "Where a private hosted zone or a Route 53 profile gives the VPC the name {name}.REGION.amazonaws.com, nothing: AWS refuses private DNS beside it. Otherwise: aws ec2 modify-vpc-endpoint --vpc-endpoint-id {} --private-dns-enabled",
                endpoint.id
            ),
        ),
        Some(endpoint) => Cause::new(
            "vpc-dns-off",
            certainty,
            vpc,
            format!(
                "DNS support or DNS hostnames are off in {vpc}, so the private DNS of {} doesn't work{advisory}, and {because}",
                endpoint.id
            ),
            format!(
                "aws ec2 modify-vpc-attribute --vpc-id {vpc} --enable-dns-support, and the same with --enable-dns-hostnames"
            ),
        ),
        None => Cause::new(
            "endpoint-missing",
            certainty,
            // Several services may lack theirs in one VPC.
            &format!("{vpc}/{name}"),
            format!(
                "{vpc} has no endpoint for {name}{advisory}, though it has others for Systems Manager, and {because}"
            ),
            format!(
                "Create an interface endpoint for {name} in {vpc} with private DNS on, and a security group that lets the instances in on 443."
            ),
        ),
    }
}

/// What is wrong with an endpoint that the service's name leads to. With another way out open it is
/// still the endpoint that counts (SSM-7).
pub(super) fn by_endpoint(
    instance: &Instance,
    network: &Network,
    endpoint: &Endpoint,
) -> Vec<Cause> {
    match not_there(instance, endpoint) {
        Some(cause) => vec![cause],
        None => closed(instance, network, endpoint),
    }
}

/// Whether the endpoint isn't ready, or nowhere.
fn not_there(instance: &Instance, endpoint: &Endpoint) -> Option<Cause> {
    let (id, name) = (&endpoint.id, endpoint.service.name());
    if endpoint.state != "available" {
        return Some(Cause::new(
            "endpoint-not-available",
            Certainty::Likely,
            id,
            format!("the {name} endpoint {id} is {}", endpoint.state),
            "Accept, repair or recreate the endpoint; if it is pending, wait some minutes.",
        ));
    }
    endpoint.interfaces.is_empty().then(|| {
        Cause::new(
            "endpoint-without-subnet",
            Certainty::Likely,
            id,
            format!("the {name} endpoint {id} is in no subnet"),
            format!(
                "aws ec2 modify-vpc-endpoint --vpc-endpoint-id {id} --add-subnet-ids {}",
                instance.interface.subnet
            ),
        )
    })
}

/// What stands between the instance and the endpoint, from the instance outwards.
fn closed(instance: &Instance, network: &Network, endpoint: &Endpoint) -> Vec<Cause> {
    let interface = &instance.interface;
    let (id, name) = (&endpoint.id, endpoint.service.name());
    let interfaces = endpoint.interfaces.iter();
    let addresses: Vec<IpAddr> = interfaces.flat_map(|one| one.addresses.clone()).collect();
    let to_endpoint = Peer::Interface {
        addresses: &addresses,
        groups: &endpoint.groups,
    };
    let from_instance = Peer::Interface {
        addresses: &interface.addresses,
        groups: &interface.groups,
    };
    let has_family = |one: &IpAddr| addresses.iter().any(|a| a.is_ipv4() == one.is_ipv4());
    if !addresses.is_empty() && !interface.addresses.iter().any(has_family) {
        return vec![Cause::new(
            "endpoint-not-dualstack",
            Certainty::Likely,
            id,
            format!("the {name} endpoint {id} has no address of a family that the instance has"),
            format!(
                "aws ec2 modify-vpc-endpoint --vpc-endpoint-id {id} --ip-address-type dualstack"
            ),
        )];
    }
    let (own, theirs) = (interface.groups.join(", "), endpoint.groups.join(", "));
    let egress = fault(network.egress(&interface.groups, to_endpoint)).map(|certainty| {
        Cause::new(
            "egress-closed",
            certainty,
            &own,
            format!(
                "the instance's security group {own} doesn't let it out on 443 to the endpoint {id}"
            ),
            "Allow outbound TCP 443 to the endpoint's security group or to the VPC's network.",
        )
    });
    let ingress = fault(network.ingress(&endpoint.groups, from_instance)).map(|certainty| {
        Cause::new(
            "endpoint-closed",
            certainty,
            id,
            format!(
                "the security group {theirs} of the {name} endpoint {id} doesn't let this instance in on 443"
            ),
            format!("Allow inbound TCP 443 in {theirs} from {own} or from the VPC's network."),
        )
    });
    let policy = policy_of(endpoint).map(|(certainty, problem, fix)| {
        Cause::new("endpoint-policy", certainty, id, problem, fix)
    });
    let on_the_way = route_to_endpoint(instance, network, endpoint)
        .or_else(|| acl_to_endpoint(instance, network, endpoint));
    [egress, ingress, policy, on_the_way]
        .into_iter()
        .flatten()
        .collect()
}

/// What an endpoint's policy keeps away: certainty, problem, fix.
pub(super) fn policy_of(endpoint: &Endpoint) -> Option<(Certainty, String, String)> {
    let policy = endpoint.policy.as_deref()?;
    let actions = actions(endpoint.service);
    let to_everybody = |principal: &Value| principal == "*" || principal["AWS"] == "*";
    // A policy for some principals only: whether ours is among them isn't told from here.
    let to_somebody = |principal: &Value| !principal.is_null();
    let kept_away = |action: &&str| match document::evaluate(policy, action, to_everybody) {
        Verdict::Allowed => None,
        Verdict::Denied => match document::evaluate(policy, action, to_somebody) {
            Verdict::Denied => Some(Certainty::Likely),
            _ => Some(Certainty::CannotTell),
        },
        Verdict::Unclear => Some(Certainty::CannotTell),
    };
    let certainty = actions.iter().filter_map(kept_away).min()?;
    let (id, name, actions) = (&endpoint.id, endpoint.service.name(), actions.join(", "));
    Some((
        certainty,
        format!("the policy of the {name} endpoint {id} doesn't plainly allow {actions}"),
        format!("Allow {actions} in the endpoint's policy to the instances' roles."),
    ))
}

/// Whether the subnet's routes lead to none of an endpoint's interfaces: a route with a longer
/// prefix than the VPC's own overrides it.
fn route_to_endpoint(instance: &Instance, network: &Network, endpoint: &Endpoint) -> Option<Cause> {
    let own = &instance.interface;
    let table = network.table_of(&own.vpc, &own.subnet)?;
    let mut worst = None;
    for address in endpoint
        .interfaces
        .iter()
        .flat_map(|interface| &interface.addresses)
        .filter(|there| own.addresses.iter().any(|a| a.is_ipv4() == there.is_ipv4()))
    {
        let route = table.route_to(*address, &network.prefix_lists)?;
        if route.hop == Hop::Local {
            return None;
        }
        let (id, hop) = (&table.id, route.hop.id());
        let (certainty, what) = if route.blackhole {
            (Certainty::Likely, "a blackhole")
        } else {
            (Certainty::CannotTell, "an appliance")
        };
        worst = Some(Cause::new(
            "route-to-endpoint",
            certainty,
            id,
            format!(
                "{id} leads to the endpoint {} by {hop}, {what}",
                endpoint.id
            ),
            "Look at the route that is more specific than the VPC's local one.",
        ));
    }
    worst
}

/// Whether a network ACL stands between the instance and all of an endpoint's interfaces. Within
/// a subnet there is none.
fn acl_to_endpoint(instance: &Instance, network: &Network, endpoint: &Endpoint) -> Option<Cause> {
    let own = &instance.interface;
    let ports = ephemeral(instance);
    let mut worst = None;
    for interface in &endpoint.interfaces {
        if interface.subnet == own.subnet {
            return None;
        }
        for there in &interface.addresses {
            let Some(here) = own
                .addresses
                .iter()
                .find(|here| here.is_ipv4() == there.is_ipv4())
            else {
                continue;
            };
            let (here, there) = (Target::Address(*here), Target::Address(*there));
            let legs = [
                (&own.subnet, true, there, (HTTPS, HTTPS)),
                (&interface.subnet, false, here, (HTTPS, HTTPS)),
                (&interface.subnet, true, here, ports),
                (&own.subnet, false, there, ports),
            ];
            match legs
                .into_iter()
                .find_map(|(subnet, egress, peer, ports)| leg(network, subnet, egress, peer, ports))
            {
                // One interface that can be reached is enough.
                None => return None,
                Some(cause) => worst = Some(cause),
            }
        }
    }
    worst
}
