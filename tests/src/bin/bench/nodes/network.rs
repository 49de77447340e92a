//! The estate's VPCs: some with NAT gateways, some with endpoints, some with both.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::estate::{ACCOUNT, Answer, REGION, id};
use crate::query::{PAGED, Query, Refusal, answer, answer_page};

/// How many there are.
const VPCS: usize = 36;
/// What every private subnet's routes name: the addresses of S3.
const PREFIX_LIST: &str = "pl-6ea54007";

/// How instances get to Systems Manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By a NAT gateway.
    Nat,
    /// By endpoints for all its services.
    Endpoints,
    /// By an endpoint for `ssm`, and for the rest by a NAT gateway: as it should be, though it
    /// takes a look at the routes to see that.
    Both,
}

/// A VPC: three private subnets, and a public one where there is a NAT gateway.
#[derive(Debug)]
pub(super) struct Vpc {
    pub(super) id: String,
    pub(super) subnets: Vec<String>,
    /// The security group of most instances, which lets everything out.
    pub(super) application: String,
    /// One that lets nothing out.
    pub(super) closed: String,
    endpoints_group: String,
    endpoints: Vec<Endpoint>,
    nat: Option<String>,
    public: String,
    number: usize,
}

#[derive(Debug)]
struct Endpoint {
    id: String,
    service: &'static str,
    interfaces: Vec<String>,
}

impl Vpc {
    fn new(number: usize) -> Self {
        let way = match number {
            n if n % 9 == 2 => Way::Both,
            n if n % 3 == 1 => Way::Endpoints,
            _ => Way::Nat,
        };
        let services: &[&'static str] = match way {
            Way::Nat => &[],
            Way::Endpoints => &["ssm", "ssmmessages", "ec2messages"],
            Way::Both => &["ssm"],
        };
        let endpoint = |(at, service): (usize, &&'static str)| Endpoint {
            id: id("vpce", number * 3 + at),
            service,
            interfaces: (0..3).map(|n| id("eni", number * 9 + at * 3 + n)).collect(),
        };
        Self {
            id: id("vpc", number),
            subnets: (0..3).map(|n| id("subnet", number * 4 + n)).collect(),
            application: id("sg", number * 3),
            closed: id("sg", number * 3 + 1),
            endpoints_group: id("sg", number * 3 + 2),
            endpoints: services.iter().enumerate().map(endpoint).collect(),
            nat: (way != Way::Endpoints).then(|| id("nat", number)),
            public: id("subnet", number * 4 + 3),
            number,
        }
    }

    /// Whether only some of the services that the agent needs have endpoints.
    pub(super) fn uneven(&self) -> bool {
        !self.endpoints.is_empty() && !self.endpoints.iter().any(|e| e.service == "ssmmessages")
    }

    fn interfaces(&self) -> impl Iterator<Item = (usize, &String)> {
        self.endpoints
            .iter()
            .flat_map(|endpoint| endpoint.interfaces.iter().enumerate())
    }

    fn endpoint_xml(&self, endpoint: &Endpoint) -> String {
        let mut xml = format!(
            "<item><vpcEndpointId>{}</vpcEndpointId><vpcEndpointType>Interface</vpcEndpointType><vpcId>{}</vpcId><serviceName>com.amazonaws.{REGION}.{}</serviceName><state>available</state><policyDocument>{{\"Statement\":[{{\"Action\":\"*\",\"Effect\":\"Allow\",\"Principal\":\"*\",\"Resource\":\"*\"}}]}}</policyDocument><routeTableIdSet/><groupSet><item><groupId>{}</groupId><groupName>endpoints</groupName></item></groupSet><privateDnsEnabled>true</privateDnsEnabled><requesterManaged>false</requesterManaged><ownerId>{ACCOUNT}</ownerId><subnetIdSet>",
            endpoint.id, self.id, endpoint.service, self.endpoints_group
        );
        for subnet in &self.subnets {
            let _ = write!(xml, "<item>{subnet}</item>");
        }
        xml.push_str("</subnetIdSet><networkInterfaceIdSet>");
        for interface in &endpoint.interfaces {
            let _ = write!(xml, "<item>{interface}</item>");
        }
        xml.push_str("</networkInterfaceIdSet></item>");
        xml
    }

    fn interface_xml(&self, id: &str, subnet: usize) -> String {
        let (address, subnet) = (
            format!("10.{}.255.{}", self.number, subnet + 4),
            &self.subnets[subnet],
        );
        format!(
            "<item><networkInterfaceId>{id}</networkInterfaceId><subnetId>{subnet}</subnetId><vpcId>{}</vpcId><ownerId>{ACCOUNT}</ownerId><requesterManaged>true</requesterManaged><status>in-use</status><privateIpAddress>{address}</privateIpAddress><privateIpAddressesSet><item><privateIpAddress>{address}</privateIpAddress><primary>true</primary></item></privateIpAddressesSet><ipv6AddressesSet/><interfaceType>vpc_endpoint</interfaceType></item>",
            self.id
        )
    }

    /// The main table, for the private subnets; and the public subnet's.
    fn tables_xml(&self) -> [String; 2] {
        let Self {
            id: vpc, number, ..
        } = self;
        let local = format!(
            "<item><destinationCidrBlock>10.{number}.0.0/16</destinationCidrBlock><gatewayId>local</gatewayId><state>active</state><origin>CreateRouteTable</origin></item>"
        );
        let s3 = format!(
            "<item><destinationPrefixListId>{PREFIX_LIST}</destinationPrefixListId><gatewayId>{}</gatewayId><state>active</state><origin>CreateRoute</origin></item>",
            id("vpce", 1_000 + number)
        );
        let out = |kind: &str, id: &str| {
            format!(
                "<item><destinationCidrBlock>0.0.0.0/0</destinationCidrBlock><{kind}>{id}</{kind}><state>active</state><origin>CreateRoute</origin></item>"
            )
        };
        let nat = self
            .nat
            .as_ref()
            .map_or_else(String::new, |nat| out("natGatewayId", nat));
        let table = |at: usize, routes: String, association: String| {
            let table = id("rtb", number * 2 + at);
            format!(
                "<item><routeTableId>{table}</routeTableId><vpcId>{vpc}</vpcId><ownerId>{ACCOUNT}</ownerId><routeSet>{routes}</routeSet><associationSet><item><routeTableAssociationId>{}</routeTableAssociationId><routeTableId>{table}</routeTableId>{association}<associationState><state>associated</state></associationState></item></associationSet><propagatingVgwSet/><tagSet/></item>",
                id("rtbassoc", number * 2 + at)
            )
        };
        [
            table(
                0,
                format!("{local}{s3}{nat}"),
                "<main>true</main>".to_owned(),
            ),
            table(
                1,
                format!("{local}{}", out("gatewayId", &id("igw", *number))),
                format!("<subnetId>{}</subnetId><main>false</main>", self.public),
            ),
        ]
    }

    fn acl_xml(&self) -> String {
        let mut entries = String::new();
        for (egress, number, action) in [
            (true, 100, "allow"),
            (true, 32_767, "deny"),
            (false, 100, "allow"),
            (false, 32_767, "deny"),
        ] {
            let _ = write!(
                entries,
                "<item><ruleNumber>{number}</ruleNumber><protocol>-1</protocol><ruleAction>{action}</ruleAction><egress>{egress}</egress><cidrBlock>0.0.0.0/0</cidrBlock></item>"
            );
        }
        let mut associations = String::new();
        for subnet in self.subnets.iter().chain([&self.public]) {
            let _ = write!(
                associations,
                "<item><networkAclAssociationId>aclassoc-{subnet}</networkAclAssociationId><networkAclId>{}</networkAclId><subnetId>{subnet}</subnetId></item>",
                id("acl", self.number)
            );
        }
        format!(
            "<item><networkAclId>{}</networkAclId><vpcId>{}</vpcId><default>true</default><entrySet>{entries}</entrySet><associationSet>{associations}</associationSet><tagSet/><ownerId>{ACCOUNT}</ownerId></item>",
            id("acl", self.number),
            self.id
        )
    }

    fn groups_xml(&self) -> [(&str, String); 3] {
        let rule = |protocol: &str, network: String| {
            format!(
                "<item><ipProtocol>{protocol}</ipProtocol>{}<groups/><ipRanges><item><cidrIp>{network}</cidrIp></item></ipRanges><ipv6Ranges/><prefixListIds/></item>",
                if protocol == "tcp" {
                    "<fromPort>443</fromPort><toPort>443</toPort>"
                } else {
                    ""
                }
            )
        };
        let out = rule("-1", "0.0.0.0/0".to_owned());
        let inward = rule("tcp", format!("10.{}.0.0/16", self.number));
        let group = |id: &str, name: &str, ingress: &str, egress: &str| {
            format!(
                "<item><ownerId>{ACCOUNT}</ownerId><groupId>{id}</groupId><groupName>{name}</groupName><groupDescription>{name}</groupDescription><vpcId>{}</vpcId><ipPermissions>{ingress}</ipPermissions><ipPermissionsEgress>{egress}</ipPermissionsEgress><tagSet/></item>",
                self.id
            )
        };
        [
            (
                &self.application,
                group(&self.application, "application", &inward, &out),
            ),
            (&self.closed, group(&self.closed, "closed", "", "")),
            (
                &self.endpoints_group,
                group(&self.endpoints_group, "endpoints", &inward, &out),
            ),
        ]
    }
}

/// All VPCs.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) vpcs: Vec<Vpc>,
}

/// Which of `all` a request's filters choose, where each filter is of one kind of id.
fn chosen<'a, T>(
    query: &'a Query,
    all: impl Iterator<Item = T>,
    matches: impl Fn(&T, &str, &[&'a str]) -> Option<bool>,
) -> Result<Vec<T>, Refusal> {
    let filters = query.filters()?;
    let mut left: Vec<T> = Vec::new();
    for item in all {
        let mut fits = true;
        for (name, values) in &filters {
            fits &= matches(&item, name, values).ok_or_else(|| Refusal::filter(name))?;
        }
        if fits {
            left.push(item);
        }
    }
    Ok(left)
}

fn page(action: &str, set: &str, most: usize, query: &Query, items: &[String]) -> Answer {
    query.only(&PAGED)?;
    let page = query.page(most)?;
    let items = items.iter().map(String::as_str).enumerate();
    Ok(answer_page(action, set, page, items))
}

impl Network {
    /// The VPCs.
    pub(super) fn new() -> Self {
        Self {
            vpcs: (0..VPCS).map(Vpc::new).collect(),
        }
    }

    /// The least calls for reading `vpcs`, where interfaces are in the application's security
    /// groups of some VPCs and in the closed ones of others.
    pub(super) fn fewest(
        &self,
        vpcs: &BTreeSet<usize>,
        applications: &BTreeSet<usize>,
        closed: &BTreeSet<usize>,
    ) -> Vec<(&'static str, usize)> {
        if vpcs.is_empty() {
            return Vec::new();
        }
        let of = || vpcs.iter().map(|vpc| &self.vpcs[*vpc]);
        let interfaces: usize = of().map(|vpc| vpc.interfaces().count()).sum();
        let nats = of().filter(|vpc| vpc.nat.is_some()).count();
        let with_endpoints = of().filter(|vpc| !vpc.endpoints.is_empty()).count();
        let groups = applications.len() + closed.len() + with_endpoints;
        vec![
            // One attribute of one VPC a call.
            ("DescribeVpcAttribute", 2 * vpcs.len()),
            ("DescribeNetworkInterfaces", interfaces.div_ceil(200)),
            ("DescribeRouteTables", (2 * vpcs.len()).div_ceil(100)),
            ("DescribeNetworkAcls", vpcs.len().div_ceil(200)),
            ("DescribeSecurityGroups", groups.div_ceil(200)),
            ("DescribeNatGateways", nats.div_ceil(200)),
            ("GetManagedPrefixListEntries", 1),
        ]
    }

    /// Answers `action`, if it is about networks.
    pub(super) fn respond(&self, action: &str, query: &Query) -> Option<Answer> {
        Some(match action {
            "DescribeVpcAttribute" => self.attribute(query),
            "DescribeVpcEndpoints" => self.endpoints(query),
            "DescribeNetworkInterfaces" => self.interfaces(query),
            "DescribeRouteTables" => self.tables(query),
            "DescribeNetworkAcls" => self.acls(query),
            "DescribeSecurityGroups" => self.groups(query),
            "DescribeNatGateways" => self.nats(query),
            "GetManagedPrefixListEntries" => prefix_list(query),
            _ => return None,
        })
    }

    fn attribute(&self, query: &Query) -> Answer {
        query.only(&["VpcId", "Attribute"])?;
        let (vpc, name) = (query.need("VpcId")?, query.need("Attribute")?);
        if !self.vpcs.iter().any(|found| found.id == vpc) {
            let why = format!("The vpc ID '{vpc}' does not exist");
            return Err(Refusal::of("InvalidVpcID.NotFound", why));
        }
        if !["enableDnsSupport", "enableDnsHostnames"].contains(&name) {
            return Err(Refusal::of("InvalidParameterValue", name));
        }
        let content = format!("<vpcId>{vpc}</vpcId><{name}><value>true</value></{name}>");
        Ok(answer("DescribeVpcAttribute", &content))
    }

    fn endpoints(&self, query: &Query) -> Answer {
        let all = self
            .vpcs
            .iter()
            .flat_map(|vpc| vpc.endpoints.iter().map(move |endpoint| (vpc, endpoint)));
        let items: Vec<String> = chosen(query, all, |(vpc, _), name, values| match name {
            "vpc-id" => Some(values.contains(&vpc.id.as_str())),
            "vpc-endpoint-type" => Some(values.contains(&"Interface")),
            _ => None,
        })?
        .into_iter()
        .map(|(vpc, endpoint)| vpc.endpoint_xml(endpoint))
        .collect();
        page(
            "DescribeVpcEndpoints",
            "vpcEndpointSet",
            1_000,
            query,
            &items,
        )
    }

    fn interfaces(&self, query: &Query) -> Answer {
        let all = self
            .vpcs
            .iter()
            .flat_map(|vpc| vpc.interfaces().map(move |(at, id)| (vpc, at, id)));
        let items: Vec<String> = chosen(query, all, |(_, _, id), name, values| {
            (name == "network-interface-id").then(|| values.contains(&id.as_str()))
        })?
        .into_iter()
        .map(|(vpc, at, id)| vpc.interface_xml(id, at))
        .collect();
        let set = "networkInterfaceSet";
        page("DescribeNetworkInterfaces", set, 1_000, query, &items)
    }

    /// The VPCs that a filter by `vpc-id` chooses.
    fn of(&self, query: &Query) -> Result<Vec<&Vpc>, Refusal> {
        chosen(query, self.vpcs.iter(), |vpc, name, values| {
            (name == "vpc-id").then(|| values.contains(&vpc.id.as_str()))
        })
    }

    fn tables(&self, query: &Query) -> Answer {
        let found = self.of(query)?;
        let items: Vec<String> = found.into_iter().flat_map(Vpc::tables_xml).collect();
        page("DescribeRouteTables", "routeTableSet", 100, query, &items)
    }

    fn acls(&self, query: &Query) -> Answer {
        let items: Vec<String> = self.of(query)?.into_iter().map(Vpc::acl_xml).collect();
        page("DescribeNetworkAcls", "networkAclSet", 1_000, query, &items)
    }

    fn groups(&self, query: &Query) -> Answer {
        let all = self.vpcs.iter().flat_map(Vpc::groups_xml);
        let items: Vec<String> = chosen(query, all, |(id, _), name, values| {
            (name == "group-id").then(|| values.contains(id))
        })?
        .into_iter()
        .map(|(_, xml)| xml)
        .collect();
        page(
            "DescribeSecurityGroups",
            "securityGroupInfo",
            1_000,
            query,
            &items,
        )
    }

    fn nats(&self, query: &Query) -> Answer {
        let all = self
            .vpcs
            .iter()
            .filter_map(|vpc| Some((vpc, vpc.nat.as_ref()?)));
        let items: Vec<String> = chosen(query, all, |(_, id), name, values| {
            (name == "nat-gateway-id").then(|| values.contains(&id.as_str()))
        })?
        .into_iter()
        .map(|(vpc, id)| {
            format!(
                "<item><natGatewayId>{id}</natGatewayId><subnetId>{}</subnetId><vpcId>{}</vpcId><state>available</state><connectivityType>public</connectivityType><natGatewayAddressSet><item><publicIp>203.0.113.{}</publicIp><privateIp>10.{}.254.4</privateIp></item></natGatewayAddressSet><tagSet/></item>",
                vpc.public, vpc.id, vpc.number, vpc.number
            )
        })
        .collect();
        page("DescribeNatGateways", "natGatewaySet", 1_000, query, &items)
    }
}

fn prefix_list(query: &Query) -> Answer {
    query.only(&["PrefixListId", "MaxResults", "NextToken"])?;
    if query.need("PrefixListId")? != PREFIX_LIST {
        return Err(Refusal::of("InvalidPrefixListID.NotFound", "no such list"));
    }
    let page = query.page(100)?;
    let items = ["52.219.170.0/23", "3.5.134.0/23", "52.219.44.0/22"]
        .map(|network| format!("<item><cidr>{network}</cidr></item>"));
    let items = items.iter().map(String::as_str).enumerate();
    Ok(answer_page(
        "GetManagedPrefixListEntries",
        "entrySet",
        page,
        items,
    ))
}
