//! The way from the instance to Systems Manager: by interface endpoints in its VPC (SSM-7), or
//! out to the public addresses.
//!
//! With an endpoint whose private DNS is on, the service's name leads to the endpoint, whatever
//! the routes say. Without one it leads to a public address, and the routes must. So each service
//! is looked at by the way that it takes; a way that isn't taken is no fault.

pub mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use guardrails::aws::{ApiError, ErrorKind};
use ipnet::IpNet;
use serde_json::Value;

use self::rules::{Acl, Family, Group, HTTPS, Hop, Passage, Peer, Reach, Table, Target, admits};
use super::document::{self, Verdict};
use super::{Cause, Certainty};
use crate::facts::{Instance, Interface};

/// The network of the instances that are diagnosed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Network {
    /// VPCs by id.
    pub vpcs: BTreeMap<String, Vpc>,
    /// Security groups by id.
    pub groups: BTreeMap<String, Group>,
    /// Interface endpoints for Systems Manager.
    pub endpoints: Vec<Endpoint>,
    /// Route tables.
    pub tables: Vec<Table>,
    /// Network ACLs.
    pub acls: Vec<Acl>,
    /// Networks of prefix lists, by id.
    pub prefix_lists: BTreeMap<String, Vec<IpNet>>,
    /// Why other prefix lists couldn't be read, by id.
    pub unread_lists: BTreeMap<String, ApiError>,
    /// NAT gateways by id.
    pub nats: BTreeMap<String, Nat>,
}

/// A VPC's DNS attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vpc {
    /// `enableDnsSupport`.
    pub dns_support: bool,
    /// `enableDnsHostnames`.
    pub dns_hostnames: bool,
}

/// A NAT gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nat {
    /// `available`, `failed` …
    pub state: String,
    /// Its subnet.
    pub subnet: String,
    /// Whether it has a public address; a private one only leads into other networks.
    pub public: bool,
}

/// A service that the agent talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Registration and commands.
    Ssm,
    /// Message channels.
    Messages,
    /// What agents before 3.3.40 use for messages (SSM-5).
    OldMessages,
}

impl Service {
    /// All, the needed ones first.
    pub const ALL: [Self; 3] = [Self::Ssm, Self::Messages, Self::OldMessages];

    /// The end of its endpoints' service name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ssm => "ssm",
            Self::Messages => "ssmmessages",
            Self::OldMessages => "ec2messages",
        }
    }

    /// Actions that the endpoint's policy must allow.
    fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Ssm => &["ssm:UpdateInstanceInformation"],
            Self::Messages => &[
                "ssmmessages:CreateControlChannel",
                "ssmmessages:CreateDataChannel",
            ],
            Self::OldMessages => &["ec2messages:GetMessages"],
        }
    }
}

/// An interface endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// `vpce-…`
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// Its service.
    pub service: Service,
    /// `available`, `pending` …
    pub state: String,
    /// Whether the service's public name leads to it inside the VPC.
    pub private_dns: bool,
    /// Its security groups.
    pub groups: Vec<String>,
    /// Its policy, as JSON; none: everything is allowed.
    pub policy: Option<String>,
    /// Its interfaces, one per subnet.
    pub interfaces: Vec<EndpointInterface>,
    /// Its subnets.
    pub subnets: BTreeSet<String>,
}

/// An endpoint's interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointInterface {
    /// `eni-…`
    pub id: String,
    /// Its subnet.
    pub subnet: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl Network {
    /// The route table of `subnet`: its own, or the VPC's main one.
    #[must_use]
    pub fn table_of(&self, vpc: &str, subnet: &str) -> Option<&Table> {
        self.tables
            .iter()
            .find(|table| table.subnets.iter().any(|have| have == subnet))
            .or_else(|| {
                self.tables
                    .iter()
                    .find(|table| table.main && table.vpc == vpc)
            })
    }

    fn endpoints_of<'a>(&'a self, vpc: &'a str) -> impl Iterator<Item = &'a Endpoint> + Clone {
        self.endpoints
            .iter()
            .filter(move |endpoint| endpoint.vpc == vpc)
    }

    fn acl_of(&self, subnet: &str) -> Option<&Acl> {
        self.acls
            .iter()
            .find(|acl| acl.subnets.iter().any(|have| have == subnet))
    }

    fn egress(&self, groups: &[String], peer: Peer<'_>) -> Reach {
        let rules = groups
            .iter()
            .filter_map(|id| self.groups.get(id))
            .flat_map(|group| &group.egress);
        self.known(groups, admits(rules, peer, &self.prefix_lists))
    }

    fn ingress(&self, groups: &[String], peer: Peer<'_>) -> Reach {
        let rules = groups
            .iter()
            .filter_map(|id| self.groups.get(id))
            .flat_map(|group| &group.ingress);
        self.known(groups, admits(rules, peer, &self.prefix_lists))
    }

    /// A group that couldn't be read (another account's, in a shared subnet) may allow it.
    fn known(&self, groups: &[String], reach: Reach) -> Reach {
        let unread = groups.iter().any(|id| !self.groups.contains_key(id));
        if reach == Reach::No && unread {
            Reach::Perhaps
        } else {
            reach
        }
    }
}

/// What keeps `instance` from Systems Manager.
pub(super) fn causes(instance: &Instance, network: &Network) -> Vec<Cause> {
    let interface = &instance.interface;
    let Some(vpc) = network.vpcs.get(&interface.vpc) else {
        return vec![Cause {
            code: "network-unknown",
            certainty: Certainty::CannotTell,
            resource: instance.id.clone(),
            problem: "its VPC couldn't be read".to_owned(),
            fix: "Look at the VPC by hand.".to_owned(),
        }];
    };
    let out = way_out(instance, network);
    let mut causes = Vec::new();
    if !vpc.dns_support {
        causes.push(Cause {
            code: "vpc-dns-off",
            certainty: Certainty::Likely,
            resource: interface.vpc.clone(),
            problem: format!("DNS support is off in {}, so AWS's resolver doesn't answer there", interface.vpc),
            fix: "Turn it on (aws ec2 modify-vpc-attribute --enable-dns-support), unless the VPC has a resolver of its own that knows the services' names.".to_owned(),
        });
    }
    if network.endpoints_of(&interface.vpc).next().is_some() {
        for service in Service::ALL {
            causes.extend(service_causes(service, instance, *vpc, network, &out));
        }
    } else {
        // With endpoints for some services the missing ones are the fault, not the way out.
        causes.extend(out);
    }
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
    let out = way_out(instance, network);
    let causes = if network
        .endpoints_of(&instance.interface.vpc)
        .next()
        .is_some()
    {
        [Service::Ssm, Service::Messages]
            .into_iter()
            .flat_map(|service| service_causes(service, instance, *vpc, network, &out))
            .collect()
    } else {
        out
    };
    causes
        .iter()
        .any(|cause| cause.certainty == Certainty::CannotTell)
}

/// The VPCs in which the way to `ssmmessages` isn't the way to `ssm`. Only there a node can be
/// Online, for which `ssm` is enough, and yet be out of reach: what has the same endpoint settings,
/// or the same way out, as that of the heartbeats, works as they do.
#[must_use]
pub fn uneven(endpoints: &[Endpoint]) -> BTreeSet<String> {
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
#[must_use]
pub fn cut_off(instance: &Instance, network: &Network) -> Option<Cause> {
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

/// Whether another try at what failed so may succeed by itself.
pub(super) fn may_pass(error: &ApiError) -> bool {
    matches!(error.kind, ErrorKind::Throttled | ErrorKind::Unknown)
}

/// Why `service` isn't reached by an endpoint though the VPC has some for others.
fn no_endpoint(
    service: Service,
    interface: &Interface,
    endpoint: Option<&Endpoint>,
    certainty: Certainty,
    because: &str,
) -> Cause {
    let name = service.name();
    let advisory = match service {
        Service::OldMessages => " (agents before 3.3.40 need it)",
        _ => "",
    };
    match endpoint {
        Some(endpoint) if !endpoint.private_dns => Cause {
            code: "endpoint-private-dns-off",
            certainty,
            resource: endpoint.id.clone(),
            problem: format!(
                "the {name} endpoint {} has private DNS off, so the service's name leads out of the VPC{advisory}, and {because}",
                endpoint.id
            ),
            fix: format!(
                "aws ec2 modify-vpc-endpoint --vpc-endpoint-id {} --private-dns-enabled",
                endpoint.id
            ),
        },
        Some(endpoint) => Cause {
            code: "vpc-dns-off",
            certainty,
            resource: interface.vpc.clone(),
            problem: format!(
                "DNS support or DNS hostnames are off in {}, so the private DNS of {} doesn't work{advisory}, and {because}",
                interface.vpc, endpoint.id
            ),
            fix: format!(
                "aws ec2 modify-vpc-attribute --vpc-id {} --enable-dns-support, and the same with --enable-dns-hostnames",
                interface.vpc
            ),
        },
        None => Cause {
            code: "endpoint-missing",
            certainty,
            // Several services may lack theirs in one VPC.
            resource: format!("{}/{name}", interface.vpc),
            problem: format!(
                "{} has no endpoint for {name}{advisory}, though it has others for Systems Manager, and {because}",
                interface.vpc
            ),
            fix: format!(
                "Create an interface endpoint for {name} in {} with private DNS on, and a security group that lets the instances in on 443.",
                interface.vpc
            ),
        },
    }
}

/// What is wrong with an endpoint that the service's name leads to.
///
/// With another way out open it is still the endpoint that counts, but that is only inferred
/// (SSM-7), so nothing is more than likely.
fn by_endpoint(
    instance: &Instance,
    network: &Network,
    endpoint: &Endpoint,
    way_out: bool,
) -> Vec<Cause> {
    let interface = &instance.interface;
    let name = endpoint.service.name();
    let sure = |certainty| match (endpoint.service, certainty) {
        // What only old agents need keeps no current one away.
        (Service::OldMessages, _) => Certainty::CannotTell,
        (_, Certainty::Definite) if way_out => Certainty::Likely,
        _ => certainty,
    };
    let cause = |code, certainty, resource: &str, problem: String, fix: String| Cause {
        code,
        certainty: sure(certainty),
        resource: resource.to_owned(),
        problem,
        fix,
    };
    let id = &endpoint.id;
    if endpoint.state != "available" {
        // One that has just been made is `pending` for some minutes.
        let certainty = match endpoint.state.as_str() {
            "pending" => Certainty::Likely,
            _ => Certainty::Definite,
        };
        return vec![cause(
            "endpoint-not-available",
            certainty,
            id,
            format!("the {name} endpoint {id} is {}", endpoint.state),
            "Accept, repair or recreate the endpoint; if it is pending, wait some minutes."
                .to_owned(),
        )];
    }
    if endpoint.interfaces.is_empty() {
        return vec![cause(
            "endpoint-without-subnet",
            Certainty::Definite,
            id,
            format!("the {name} endpoint {id} is in no subnet"),
            format!(
                "aws ec2 modify-vpc-endpoint --vpc-endpoint-id {id} --add-subnet-ids {}",
                interface.subnet
            ),
        )];
    }
    let mut causes = Vec::new();
    let addresses: Vec<IpAddr> = endpoint
        .interfaces
        .iter()
        .flat_map(|interface| interface.addresses.iter().copied())
        .collect();
    let to_endpoint = Peer::Interface {
        addresses: &addresses,
        groups: &endpoint.groups,
    };
    if let Some(certainty) = fault(network.egress(&interface.groups, to_endpoint)) {
        let groups = interface.groups.join(", ");
        causes.push(cause(
            "egress-closed",
            certainty,
            &groups,
            format!("the instance's security group {groups} doesn't let it out on 443 to the endpoint {id}"),
            "Allow outbound TCP 443 to the endpoint's security group or to the VPC's network.".to_owned(),
        ));
    }
    let from_instance = Peer::Interface {
        addresses: &interface.addresses,
        groups: &interface.groups,
    };
    if let Some(certainty) = fault(network.ingress(&endpoint.groups, from_instance)) {
        let groups = endpoint.groups.join(", ");
        causes.push(cause(
            "endpoint-closed",
            certainty,
            id,
            format!("the security group {groups} of the {name} endpoint {id} doesn't let this instance in on 443"),
            format!(
                "Allow inbound TCP 443 in {groups} from {} or from the VPC's network.",
                interface.groups.join(", ")
            ),
        ));
    }
    causes
        .extend(policy_of(endpoint).map(|(certainty, problem, fix)| {
            cause("endpoint-policy", certainty, id, problem, fix)
        }));
    let on_the_way = route_to_endpoint(instance, network, endpoint)
        .or_else(|| acl_to_endpoint(instance, network, endpoint));
    causes.extend(on_the_way.map(|mut cause| {
        cause.certainty = sure(cause.certainty);
        cause
    }));
    causes
}

/// What an endpoint's policy keeps away: certainty, problem, fix.
fn policy_of(endpoint: &Endpoint) -> Option<(Certainty, String, String)> {
    let policy = endpoint.policy.as_deref()?;
    let actions = endpoint.service.actions();
    let to_everybody = |principal: &Value| principal == "*" || principal["AWS"] == "*";
    // A policy for some principals only: whether ours is among them isn't told from here.
    let to_somebody = |principal: &Value| !principal.is_null();
    let certainty = actions
        .iter()
        .filter_map(
            |action| match document::evaluate(policy, action, to_everybody) {
                Verdict::Allowed => None,
                Verdict::Denied
                    if document::evaluate(policy, action, to_somebody) == Verdict::Denied =>
                {
                    Some(Certainty::Definite)
                }
                _ => Some(Certainty::CannotTell),
            },
        )
        .min()?;
    let (id, name, actions) = (&endpoint.id, endpoint.service.name(), actions.join(", "));
    Some((
        certainty,
        format!("the policy of the {name} endpoint {id} doesn't plainly allow {actions}"),
        format!("Allow {actions} in the endpoint's policy to the instances' roles."),
    ))
}

/// What a check that must be `Yes` is worth as a cause.
fn fault(reach: Reach) -> Option<Certainty> {
    match reach {
        Reach::Yes => None,
        Reach::No => Some(Certainty::Definite),
        Reach::Perhaps => Some(Certainty::CannotTell),
    }
}

/// The ports that answers come back to.
fn ephemeral(instance: &Instance) -> (u16, u16) {
    if instance.windows {
        (49_152, 65_535)
    } else {
        (32_768, 60_999)
    }
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
            (Certainty::Definite, "a blackhole")
        } else {
            (Certainty::CannotTell, "an appliance")
        };
        worst = Some(Cause {
            code: "route-to-endpoint",
            certainty,
            resource: id.clone(),
            problem: format!(
                "{id} leads to the endpoint {} by {hop}, {what}",
                endpoint.id
            ),
            fix: "Look at the route that is more specific than the VPC's local one.".to_owned(),
        });
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

/// Whether a subnet's network ACL stops this traffic.
fn leg(
    network: &Network,
    subnet: &str,
    egress: bool,
    peer: Target,
    ports: (u16, u16),
) -> Option<Cause> {
    let acl = network.acl_of(subnet)?;
    let (certainty, rule) = match acl.passage(egress, peer, ports) {
        Passage::Open => return None,
        Passage::Closed(rule) => (Certainty::Definite, rule),
        Passage::Partly => (Certainty::CannotTell, None),
    };
    let direction = if egress { "outbound" } else { "inbound" };
    let ports = match ports {
        (from, to) if from == to => format!("port {from}"),
        (from, to) => format!("ports {from} to {to} (answers)"),
    };
    let rule = rule.map_or_else(|| "rule *".to_owned(), |number| format!("rule {number}"));
    let what = match certainty {
        Certainty::Definite => format!("stops {direction} TCP {ports} by {rule}"),
        _ => format!("lets only part of {direction} TCP {ports} through"),
    };
    Some(Cause {
        code: "acl-closed",
        certainty,
        resource: acl.id.clone(),
        problem: format!("the network ACL {} of {subnet} {what}", acl.id),
        fix: format!(
            "Allow {direction} TCP {ports} in {}, with a lower rule number than any deny.",
            acl.id
        ),
    })
}

/// What stands in the way out to a public address; nothing: the way is open.
fn way_out(instance: &Instance, network: &Network) -> Vec<Cause> {
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
        vec![Cause {
            code: "no-ipv4",
            certainty: Certainty::Definite,
            resource: instance.id.clone(),
            problem: "it has no IPv4 address, and the services' usual names have only IPv4 ones"
                .to_owned(),
            fix: "Use endpoints with IPv6, or set the agent to dual-stack endpoints.".to_owned(),
        }]
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
        causes.push(Cause {
            code: "egress-closed",
            certainty,
            resource: groups.clone(),
            problem: match certainty {
                Certainty::Definite => format!("the instance's security group {groups} doesn't let it out on 443"),
                _ => format!("the instance's security group {groups} lets it out on 443 to some public addresses only"),
            },
            fix: "Allow outbound TCP 443 to 0.0.0.0/0, or create endpoints for ssm, ssmmessages and ec2messages and allow it to them.".to_owned(),
        });
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
    let Some(table) = network.table_of(&interface.vpc, &interface.subnet) else {
        return Some(Cause {
            code: "no-route",
            certainty: Certainty::CannotTell,
            resource: interface.subnet.clone(),
            problem: format!("no route table of {} could be read", interface.subnet),
            fix: "Look at the subnet's route table by hand.".to_owned(),
        });
    };
    let cause = |code, certainty, problem: String, fix: &str| {
        Some(Cause {
            code,
            certainty,
            resource: table.id.clone(),
            problem,
            fix: fix.to_owned(),
        })
    };
    let id = &table.id;
    let everything = family.everything();
    let partial = table.partial_routes(family, lists).next();
    let Some(route) = table.default_route(family, lists) else {
        return match partial {
            Some(route) => cause(
                "no-route",
                Certainty::CannotTell,
                format!(
                    "the route table {id} leads to some public addresses only (by {})",
                    route.hop.id()
                ),
                "Check that they hold those of Systems Manager.",
            ),
            None => cause(
                "no-route",
                Certainty::Definite,
                format!(
                    "the route table {id} of {} has no route {everything}",
                    interface.subnet
                ),
                NEEDS_A_WAY,
            ),
        };
    };
    let hop = route.hop.id();
    if route.blackhole {
        // A longer prefix may still lead there.
        let certainty = if partial.is_some() {
            Certainty::CannotTell
        } else {
            Certainty::Definite
        };
        return cause(
            "route-blackhole",
            certainty,
            format!("the route {everything} in {id} is a blackhole: {hop} is gone"),
            "Point the route at a gateway that exists.",
        );
    }
    match (&route.hop, family) {
        (Hop::InternetGateway(_), Family::V4) if !interface.public => cause(
            "no-public-address",
            Certainty::Definite,
            format!("{id} leads out by the internet gateway {hop}, but the instance has no public IPv4 address"),
            "Give it an Elastic IP, or move it to a subnet behind a NAT gateway, or create endpoints.",
        ),
        (Hop::InternetGateway(_), _) | (Hop::EgressOnly(_), Family::V6) => None,
        (Hop::Nat(nat), _) => nat_out(nat, instance, network).map(|(certainty, problem)| Cause {
                code: "nat-closed",
                certainty,
                resource: nat.clone(),
                problem,
                fix: "Repair or replace the NAT gateway; it must be public, in a subnet whose route table leads to an internet gateway.".to_owned(),
            }),
        _ => cause(
            "route-elsewhere",
            Certainty::CannotTell,
            format!("{id} leads out by {hop}, and what lies behind that isn't seen from here"),
            "Check the network behind it: its way out, its firewall, or endpoints in a hub VPC with their names resolved here.",
        ),
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
