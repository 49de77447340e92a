//! Reads the VPCs of instances that are diagnosed: each kind of thing once for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{
    AttributeBooleanValue, ConnectivityType, Filter, IpPermission, NetworkAcl, NetworkAclEntry,
    RouteState, RouteTable, RuleAction, VpcAttributeName, VpcEndpoint, VpcEndpointType,
};
use guardrails::aws::ApiError;
use guardrails::ec2;
use ipnet::IpNet;

use super::answer::unreadable;
use crate::facts::Read;
use crate::facts::network::{
    Acl, Dns, Endpoint, EndpointInterface, Entry, Hop, Interface, Nat, Network, Route, Rule,
    SecurityGroup, Service, Table, Vpc,
};

/// Largest page of most Describe calls.
const PAGE: i32 = 1_000;

/// Largest page of `DescribeRouteTables` and of prefix list entries.
const SMALL_PAGE: i32 = 100;

/// Reads the network around `interfaces`, whose VPCs' endpoints are among `found`.
pub(super) async fn network(
    ec2: &Client,
    account: &str,
    interfaces: &[&Interface],
    found: Vec<Endpoint>,
) -> Read<Network> {
    let vpcs: BTreeSet<String> = interfaces
        .iter()
        .map(|interface| interface.vpc.clone())
        .filter(|vpc| !vpc.is_empty())
        .collect();
    let found: Vec<Endpoint> = found
        .into_iter()
        .filter(|endpoint| vpcs.contains(&endpoint.vpc))
        .collect();
    let ((vpcs, unread), endpoints, tables, acls) = futures::try_join!(
        described(ec2, account, &vpcs),
        with_addresses(ec2, found),
        tables(ec2, &vpcs),
        acls(ec2, &vpcs),
    )?;
    let groups: BTreeSet<String> = interfaces
        .iter()
        .flat_map(|interface| interface.groups.iter())
        .chain(endpoints.iter().flat_map(|endpoint| &endpoint.groups))
        .cloned()
        .collect();
    let routes = || tables.iter().flat_map(|table| &table.routes);
    let nats: BTreeSet<String> = routes()
        .filter_map(|route| match &route.hop {
            Hop::Nat(id) => Some(id.clone()),
            _ => None,
        })
        .collect();
    let (groups, nats) = futures::try_join!(security_groups(ec2, &groups), nats_of(ec2, &nats))?;
    let lists: BTreeSet<String> = groups
        .values()
        .flat_map(|group| group.ingress.iter().chain(&group.egress))
        .flat_map(|rule| &rule.prefix_lists)
        .chain(routes().filter_map(|route| route.prefix_list.as_ref()))
        .cloned()
        .collect();
    let (prefix_lists, unread_lists) = prefix_lists(ec2, lists).await;
    Ok(Network {
        vpcs,
        unread,
        groups,
        endpoints,
        tables,
        acls,
        prefix_lists,
        unread_lists,
        nats,
    })
}

/// The VPCs, and why part of them couldn't be read.
async fn described(
    ec2: &Client,
    account: &str,
    ids: &BTreeSet<String>,
) -> Read<(BTreeMap<String, Vpc>, Vec<ApiError>)> {
    let mut unread = Vec::new();
    let found = vpcs(ec2, ids).await;
    let found = found.unwrap_or_else(|error| {
        unread.push(error);
        Vec::new()
    });
    let options: BTreeSet<String> = found
        .iter()
        .filter_map(|vpc| vpc.dhcp_options_id().map(str::to_owned))
        .filter(|id| id.starts_with("dopt-"))
        .collect();
    let servers = resolvers(ec2, &options).await.unwrap_or_else(|error| {
        unread.push(error);
        BTreeMap::new()
    });
    let mut all = BTreeMap::new();
    for id in ids {
        let vpc = found.iter().find(|vpc| vpc.vpc_id() == Some(id));
        let owner = vpc.and_then(|vpc| vpc.owner_id());
        let shared_by = owner.filter(|owner| *owner != account && !account.is_empty());
        let own = vpc.and_then(|vpc| servers.get(vpc.dhcp_options_id()?));
        let cidr = net(vpc.and_then(|vpc| vpc.cidr_block()));
        let is_own = |server: &&String| cidr.and_then(resolver_of) != server.parse().ok();
        let described = Vpc {
            dns: dns(ec2, id).await,
            shared_by: shared_by.map(str::to_owned),
            resolvers: own.into_iter().flatten().filter(is_own).cloned().collect(),
            tags: vpc.map(|vpc| ec2::tags(vpc.tags())).unwrap_or_default(),
        };
        all.insert(id.clone(), described);
    }
    Ok((all, unread))
}

async fn vpcs(ec2: &Client, ids: &BTreeSet<String>) -> Read<Vec<aws_sdk_ec2::types::Vpc>> {
    Ok(read_all!(ec2.describe_vpcs(), "ec2:DescribeVpcs", filters "vpc-id" in ids))
}

/// The DNS servers that DHCP options name besides AWS's, by the options' id.
async fn resolvers(ec2: &Client, ids: &BTreeSet<String>) -> Read<BTreeMap<String, Vec<String>>> {
    let found = read_all!(
        ec2.describe_dhcp_options(), "ec2:DescribeDhcpOptions", filters "dhcp-options-id" in ids
    );
    let servers = |options: &aws_sdk_ec2::types::DhcpOptions| {
        let configurations = options.dhcp_configurations().iter();
        configurations
            .filter(|one| one.key() == Some("domain-name-servers"))
            .flat_map(|one| one.values().iter().filter_map(|value| value.value()))
            .filter(|server| !AWS_RESOLVERS.contains(server))
            .map(str::to_owned)
            .collect()
    };
    Ok(found
        .iter()
        .filter_map(|options| Some((options.dhcp_options_id()?.to_owned(), servers(options))))
        .collect())
}

/// The address of the VPC's own resolver: its network plus two.
fn resolver_of(network: IpNet) -> Option<IpAddr> {
    match network {
        IpNet::V4(network) => Some(Ipv4Addr::from(u32::from(network.network()) + 2).into()),
        IpNet::V6(_) => None,
    }
}

/// How DHCP options name the VPC's own resolver.
const AWS_RESOLVERS: [&str; 3] = ["AmazonProvidedDNS", "169.254.169.253", "fd00:ec2::253"];

/// A VPC's DNS attributes.
async fn dns(ec2: &Client, vpc: &str) -> Read<Dns> {
    const CALL: &str = "ec2:DescribeVpcAttribute";
    let ask = async |attribute| {
        ec2.describe_vpc_attribute()
            .vpc_id(vpc)
            .attribute(attribute)
            .send()
            .await
            .map_err(|error| ApiError::of(CALL, &error))
    };
    let is_on = |value: Option<&AttributeBooleanValue>| {
        let told = value.and_then(AttributeBooleanValue::value);
        told.ok_or_else(|| unreadable(CALL, "it doesn't say whether it is on"))
    };
    let support = ask(VpcAttributeName::EnableDnsSupport).await?;
    let hostnames = ask(VpcAttributeName::EnableDnsHostnames).await?;
    Ok(Dns {
        support: is_on(support.enable_dns_support())?,
        hostnames: is_on(hostnames.enable_dns_hostnames())?,
    })
}

/// The interface endpoints for `services` that `which` selects, as yet without their addresses.
pub(super) async fn endpoints(
    ec2: &Client,
    which: Filter,
    services: &[Service],
) -> Read<Vec<Endpoint>> {
    let call = ec2.describe_vpc_endpoints().filters(which);
    let pages = call.max_results(PAGE).into_paginator().items();
    let found = pages.send().try_collect().await;
    let found = found.map_err(|error| ApiError::of("ec2:DescribeVpcEndpoints", &error))?;
    let of_services = found.iter().filter_map(|one| endpoint(one, services));
    Ok(of_services.collect())
}

fn endpoint(found: &VpcEndpoint, services: &[Service]) -> Option<Endpoint> {
    let name = found.service_name()?.rsplit('.').next()?;
    let service = services.iter().find(|service| service.name() == name)?;
    if found.vpc_endpoint_type() != Some(&VpcEndpointType::Interface) {
        return None;
    }
    let state = found.state();
    let state = state.map_or("unknown", aws_sdk_ec2::types::State::as_str);
    let groups = found.groups().iter().filter_map(|group| group.group_id());
    let policy = found.policy_document().filter(|policy| !policy.is_empty());
    let interfaces = found.network_interface_ids().iter();
    Some(Endpoint {
        id: found.vpc_endpoint_id().unwrap_or_default().to_owned(),
        vpc: found.vpc_id().unwrap_or_default().to_owned(),
        service: *service,
        // The API writes `Available` in its model and `available` in its answers.
        state: state.to_lowercase(),
        private_dns: found.private_dns_enabled() == Some(true),
        groups: groups.map(str::to_owned).collect(),
        policy: policy.map(str::to_owned),
        interfaces: interfaces
            .map(|id| EndpointInterface {
                id: id.clone(),
                ..EndpointInterface::default()
            })
            .collect(),
        subnets: found.subnet_ids().iter().cloned().collect(),
    })
}

/// `endpoints` with the subnet and the addresses of each of their interfaces.
async fn with_addresses(ec2: &Client, mut endpoints: Vec<Endpoint>) -> Read<Vec<Endpoint>> {
    let ids: BTreeSet<String> = endpoints
        .iter()
        .flat_map(|endpoint| &endpoint.interfaces)
        .map(|interface| interface.id.clone())
        .collect();
    let found = read_all!(
        ec2.describe_network_interfaces(),
        "ec2:DescribeNetworkInterfaces",
        filters "network-interface-id" in ids
    );
    for endpoint in &mut endpoints {
        endpoint.interfaces.retain_mut(|interface| {
            let id = Some(interface.id.as_str());
            let described = found.iter().find(|one| one.network_interface_id() == id);
            if let Some(one) = described {
                let v4 = one.private_ip_addresses().iter();
                let v4 = v4.filter_map(|address| address.private_ip_address());
                let v6 = one.ipv6_addresses().iter();
                let v6 = v6.filter_map(|address| address.ipv6_address());
                interface.addresses = v4.chain(v6).filter_map(|a| a.parse().ok()).collect();
                interface.subnet = one.subnet_id().unwrap_or_default().to_owned();
            }
            described.is_some()
        });
    }
    Ok(endpoints)
}

fn net(text: Option<&str>) -> Option<IpNet> {
    text?.parse().ok()
}

async fn tables(ec2: &Client, vpcs: &BTreeSet<String>) -> Read<Vec<Table>> {
    let found = read_all!(
        ec2.describe_route_tables(), "ec2:DescribeRouteTables", filters "vpc-id" in vpcs, SMALL_PAGE
    );
    let table = |found: RouteTable| {
        let associations = || found.associations().iter();
        let subnets = associations().filter_map(|one| one.subnet_id());
        Table {
            id: found.route_table_id().unwrap_or_default().to_owned(),
            vpc: found.vpc_id().unwrap_or_default().to_owned(),
            main: associations().any(|one| one.main() == Some(true)),
            subnets: subnets.map(str::to_owned).collect(),
            routes: found.routes().iter().map(route).collect(),
        }
    };
    Ok(found.into_iter().map(table).collect())
}

fn route(found: &aws_sdk_ec2::types::Route) -> Route {
    let gateway = found.gateway_id();
    let other = || {
        let others = [
            gateway,
            found.transit_gateway_id(),
            found.vpc_peering_connection_id(),
            found.network_interface_id(),
            found.instance_id(),
            found.local_gateway_id(),
            found.carrier_gateway_id(),
            found.core_network_arn(),
        ];
        let known = others.into_iter().flatten().next();
        known.unwrap_or("an unknown target").to_owned()
    };
    let hop = match (
        gateway,
        found.nat_gateway_id(),
        found.egress_only_internet_gateway_id(),
    ) {
        (Some("local"), ..) => Hop::Local,
        (Some(id), ..) if id.starts_with("igw-") => Hop::InternetGateway(id.to_owned()),
        (_, Some(id), _) => Hop::Nat(id.to_owned()),
        (_, _, Some(id)) => Hop::EgressOnly(id.to_owned()),
        _ => Hop::Other(other()),
    };
    Route {
        destination: net(found
            .destination_cidr_block()
            .or(found.destination_ipv6_cidr_block())),
        prefix_list: found.destination_prefix_list_id().map(str::to_owned),
        hop,
        blackhole: found.state() == Some(&RouteState::Blackhole),
    }
}

async fn acls(ec2: &Client, vpcs: &BTreeSet<String>) -> Read<Vec<Acl>> {
    let found =
        read_all!(ec2.describe_network_acls(), "ec2:DescribeNetworkAcls", filters "vpc-id" in vpcs);
    let acl = |found: NetworkAcl| {
        let associations = found.associations().iter();
        let subnets = associations.filter_map(|one| one.subnet_id());
        Acl {
            id: found.network_acl_id().unwrap_or_default().to_owned(),
            subnets: subnets.map(str::to_owned).collect(),
            entries: found.entries().iter().filter_map(entry).collect(),
        }
    };
    Ok(found.into_iter().map(acl).collect())
}

fn entry(found: &NetworkAclEntry) -> Option<Entry> {
    let port = |number: Option<i32>| u16::try_from(number?).ok();
    Some(Entry {
        number: found.rule_number()?,
        egress: found.egress() == Some(true),
        allow: found.rule_action() == Some(&RuleAction::Allow),
        protocol: found.protocol().unwrap_or("-1").to_owned(),
        ports: found
            .port_range()
            .and_then(|range| Some((port(range.from())?, port(range.to())?))),
        network: net(found.cidr_block().or(found.ipv6_cidr_block()))?,
    })
}

async fn security_groups(
    ec2: &Client,
    ids: &BTreeSet<String>,
) -> Read<BTreeMap<String, SecurityGroup>> {
    let found = read_all!(
        ec2.describe_security_groups(), "ec2:DescribeSecurityGroups", filters "group-id" in ids
    );
    let by_id = found.into_iter().filter_map(|group| {
        let rules = SecurityGroup {
            ingress: group.ip_permissions().iter().map(rule).collect(),
            egress: group.ip_permissions_egress().iter().map(rule).collect(),
        };
        Some((group.group_id?, rules))
    });
    Ok(by_id.collect())
}

fn rule(found: &IpPermission) -> Rule {
    let v4 = found.ip_ranges().iter();
    let v4 = v4.filter_map(|range| net(range.cidr_ip()));
    let v6 = found.ipv6_ranges().iter();
    let v6 = v6.filter_map(|range| net(range.cidr_ipv6()));
    let groups = found.user_id_group_pairs().iter();
    let groups = groups.filter_map(|pair| pair.group_id());
    let lists = found.prefix_list_ids().iter();
    let lists = lists.filter_map(|list| list.prefix_list_id());
    // -1 stands for all ports, as a missing number does.
    let bound = |number: Option<i32>| number.filter(|number| *number >= 0);
    Rule {
        protocol: found.ip_protocol().unwrap_or("-1").to_owned(),
        from: bound(found.from_port()),
        to: bound(found.to_port()),
        networks: v4.chain(v6).collect(),
        groups: groups.map(str::to_owned).collect(),
        prefix_lists: lists.map(str::to_owned).collect(),
    }
}

async fn nats_of(ec2: &Client, ids: &BTreeSet<String>) -> Read<BTreeMap<String, Nat>> {
    let found = read_all!(
        ec2.describe_nat_gateways(), "ec2:DescribeNatGateways", filter "nat-gateway-id" in ids
    );
    let by_id = found.into_iter().filter_map(|found| {
        let state = found.state().map_or("unknown", |state| state.as_str());
        let subnet = found.subnet_id().filter(|id| !id.is_empty());
        let nat = Nat {
            state: state.to_owned(),
            subnet: subnet.map(str::to_owned),
            table: found.route_table_id().map(str::to_owned),
            public: found.connectivity_type() != Some(&ConnectivityType::Private),
        };
        Some((found.nat_gateway_id?, nat))
    });
    Ok(by_id.collect())
}

/// The networks of prefix lists, and why some couldn't be read (another account's, shared without
/// the right to read it): rules with one of those count as perhaps.
async fn prefix_lists(
    ec2: &Client,
    ids: BTreeSet<String>,
) -> (BTreeMap<String, Vec<IpNet>>, BTreeMap<String, ApiError>) {
    let mut found = BTreeMap::new();
    let mut unread = BTreeMap::new();
    for id in ids {
        let call = ec2.get_managed_prefix_list_entries().prefix_list_id(&id);
        let pages = call.max_results(SMALL_PAGE).into_paginator().items();
        match pages.send().try_collect().await {
            Ok(entries) => {
                let networks = entries.iter().filter_map(|entry| net(entry.cidr()));
                found.insert(id, networks.collect());
            }
            Err(error) => {
                let error = ApiError::of("ec2:GetManagedPrefixListEntries", &error);
                unread.insert(id, error);
            }
        }
    }
    (found, unread)
}

#[cfg(test)]
mod tests;
