//! VPCs with private subnets, as in the tutorial of incident 5, whole or with a piece missing.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::builders::IpPermissionBuilder;
use aws_sdk_ec2::types::{
    AddPrefixListEntry, AttributeBooleanValue, DomainType, Filter, IpPermission, IpRange,
    Ipv6Range, NewDhcpConfiguration, PrefixListId, VpcEndpointType,
};
use serde_json::json;

use crate::estate::answered;
use crate::{LocalAws, REGION, ZONE};

/// What a node in a private subnet has to reach (SSM-7).
pub const SERVICES: [&str; 3] = ["ssm", "ssmmessages", "ec2messages"];

const CIDR: &str = "10.0.0.0/16";

/// A VPC with DNS names and one private subnet, and nothing that leads out of it.
#[derive(Debug)]
pub struct Vpc<'a> {
    aws: &'a LocalAws,
    /// `vpc-…`
    pub id: String,
    /// The private subnet.
    pub subnet: String,
    /// Its route table, the VPC's main one.
    pub table: String,
    /// The endpoints' security group. It lets nobody in at first.
    pub endpoint_group: String,
}

impl LocalAws {
    /// Makes a VPC.
    pub async fn private_vpc(&self) -> Vpc<'_> {
        let made = self.ec2.create_vpc().cidr_block(CIDR).send().await;
        let made = answered("CreateVpc", made).vpc;
        let id = made.and_then(|vpc| vpc.vpc_id).expect("a VPC has an id");
        let on = AttributeBooleanValue::builder().value(true).build();
        let names = self.ec2.modify_vpc_attribute().vpc_id(&id);
        let names = names.enable_dns_hostnames(on).send().await;
        answered("ModifyVpcAttribute", names);

        let of_vpc = Filter::builder().name("vpc-id").values(&id).build();
        let tables = self.ec2.describe_route_tables().filters(of_vpc);
        let tables = answered("DescribeRouteTables", tables.send().await);
        let table = tables.route_tables()[0].route_table_id();
        let table = table.expect("a route table has an id").to_owned();
        let group = self.ec2.create_security_group().vpc_id(&id);
        let group = group.group_name("endpoints").description("endpoints");
        let group = answered("CreateSecurityGroup", group.send().await);
        let mut vpc = Vpc {
            aws: self,
            id,
            subnet: String::new(),
            table,
            endpoint_group: group.group_id.expect("a security group has an id"),
        };
        vpc.subnet = vpc.make_subnet("10.0.1.0/24").await;
        vpc
    }
}

impl Vpc<'_> {
    async fn make_subnet(&self, cidr: &str) -> String {
        let made = self.aws.ec2.create_subnet().vpc_id(&self.id);
        let made = made.cidr_block(cidr).availability_zone(ZONE).send().await;
        let made = answered("CreateSubnet", made).subnet;
        made.and_then(|subnet| subnet.subnet_id)
            .expect("a subnet has an id")
    }

    /// Makes an interface endpoint; returns its id.
    pub async fn endpoint(&self, service: &str, private_dns: bool) -> String {
        let made = self
            .aws
            .ec2
            .create_vpc_endpoint()
            .vpc_id(&self.id)
            .vpc_endpoint_type(VpcEndpointType::Interface)
            .service_name(format!("com.amazonaws.{REGION}.{service}"))
            .subnet_ids(&self.subnet)
            .security_group_ids(&self.endpoint_group)
            .private_dns_enabled(private_dns)
            .send()
            .await;
        let made = answered("CreateVpcEndpoint", made).vpc_endpoint;
        made.and_then(|endpoint| endpoint.vpc_endpoint_id)
            .expect("an endpoint has an id")
    }

    /// Makes an endpoint with private DNS for each service but one; returns their ids by service.
    pub async fn endpoints_but(&self, left_out: &str) -> BTreeMap<&'static str, String> {
        let mut made = BTreeMap::new();
        for service in SERVICES.into_iter().filter(|service| *service != left_out) {
            made.insert(service, self.endpoint(service, true).await);
        }
        made
    }

    /// Has the endpoints' security group let the whole VPC in on 443.
    pub async fn open_endpoints(&self) {
        self.open(&self.endpoint_group).await;
    }

    /// The same by a prefix list.
    pub async fn open_endpoints_to_a_list(&self) {
        let made = self.aws.ec2.create_managed_prefix_list();
        let made = made
            .prefix_list_name("instances")
            .address_family("IPv4")
            .max_entries(1)
            .entries(AddPrefixListEntry::builder().cidr(CIDR).build());
        let made = answered("CreateManagedPrefixList", made.send().await).prefix_list;
        let list = PrefixListId::builder().set_prefix_list_id(made.and_then(|l| l.prefix_list_id));
        let list = list.build();
        self.let_in(&self.endpoint_group, |https| https.prefix_list_ids(list))
            .await;
    }

    /// Has a security group let the whole VPC in on 443, as a person does.
    pub async fn open(&self, group: &str) {
        let all = IpRange::builder().cidr_ip(CIDR).build();
        self.let_in(group, |https| https.ip_ranges(all)).await;
    }

    async fn let_in(
        &self,
        group: &str,
        who: impl FnOnce(IpPermissionBuilder) -> IpPermissionBuilder,
    ) {
        let https = IpPermission::builder()
            .ip_protocol("tcp")
            .from_port(443)
            .to_port(443);
        let rule = self.aws.ec2.authorize_security_group_ingress();
        let rule = rule.group_id(group).ip_permissions(who(https).build());
        answered("AuthorizeSecurityGroupIngress", rule.send().await);
    }

    /// Turns an endpoint's private DNS on.
    pub async fn enable_private_dns(&self, endpoint: &str) {
        let change = self.aws.ec2.modify_vpc_endpoint();
        let change = change.vpc_endpoint_id(endpoint).private_dns_enabled(true);
        answered("ModifyVpcEndpoint", change.send().await);
    }

    /// Gives the private subnet IPv6 and a way out by it alone, which the default security group lets
    /// pass.
    pub async fn ipv6_out(&self) {
        let ec2 = &self.aws.ec2;
        let given = ec2.associate_vpc_cidr_block().vpc_id(&self.id);
        let given = given.amazon_provided_ipv6_cidr_block(true).send().await;
        answered("AssociateVpcCidrBlock", given);
        let vpc = answered(
            "DescribeVpcs",
            ec2.describe_vpcs().vpc_ids(&self.id).send().await,
        );
        let block = vpc.vpcs()[0].ipv6_cidr_block_association_set()[0].ipv6_cidr_block();
        let (network, _) = block.and_then(|b| b.split_once('/')).expect("a network");
        let given = ec2.associate_subnet_cidr_block().subnet_id(&self.subnet);
        let given = given.ipv6_cidr_block(format!("{network}/64")).send().await;
        answered("AssociateSubnetCidrBlock", given);
        let gateway = ec2.create_egress_only_internet_gateway().vpc_id(&self.id);
        let gateway = answered("CreateEgressOnlyInternetGateway", gateway.send().await);
        let gateway = gateway.egress_only_internet_gateway;
        let gateway = gateway.and_then(|g| g.egress_only_internet_gateway_id);
        let route = ec2.create_route().route_table_id(&self.table);
        let route = route.destination_ipv6_cidr_block("::/0");
        let route = route.set_egress_only_internet_gateway_id(gateway).send();
        answered("CreateRoute", route.await);

        let named = |name: &str, value: &str| Filter::builder().name(name).values(value).build();
        let groups = ec2.describe_security_groups();
        let groups = groups.filters(named("vpc-id", &self.id));
        let groups = groups.filters(named("group-name", "default")).send().await;
        let groups = answered("DescribeSecurityGroups", groups);
        let everywhere = Ipv6Range::builder().cidr_ipv6("::/0").build();
        let everything = IpPermission::builder().ip_protocol("-1");
        let rule = ec2.authorize_security_group_egress();
        let rule = rule.set_group_id(groups.security_groups()[0].group_id().map(str::to_owned));
        let rule = rule.ip_permissions(everything.ipv6_ranges(everywhere).build());
        // A default group in its first state has the rule as soon as its VPC has IPv6.
        if let Err(error) = rule.send().await {
            let code = error.into_service_error();
            assert!(
                code.to_string().contains("Duplicate"),
                "AuthorizeSecurityGroupEgress: {code}"
            );
        }
    }

    /// Leads to a hub VPC, 10.2.0.0/16, by a transit gateway.
    pub async fn route_to_the_hub(&self) {
        let ec2 = &self.aws.ec2;
        let made = ec2.create_transit_gateway().send().await;
        let made = answered("CreateTransitGateway", made).transit_gateway;
        let route = ec2.create_route().route_table_id(&self.table);
        let route = route.destination_cidr_block("10.2.0.0/16");
        let route = route.set_transit_gateway_id(made.and_then(|one| one.transit_gateway_id));
        answered("CreateRoute", route.send().await);
    }

    /// Gives the VPC a DNS server of its own.
    pub async fn own_resolver(&self) {
        let ec2 = &self.aws.ec2;
        let servers = NewDhcpConfiguration::builder();
        let servers = servers.key("domain-name-servers").values("10.0.0.53");
        let made = ec2
            .create_dhcp_options()
            .dhcp_configurations(servers.build());
        let made = answered("CreateDhcpOptions", made.send().await).dhcp_options;
        let used = ec2.associate_dhcp_options().vpc_id(&self.id);
        let used = used.set_dhcp_options_id(made.and_then(|one| one.dhcp_options_id));
        answered("AssociateDhcpOptions", used.send().await);
    }

    /// Makes the VPC another account's, which shares it with this one.
    pub async fn share(&self, owner: &str) {
        let body = json!({ "vpc": self.id, "owner": owner });
        self.aws.post("network/share", body).await;
    }

    /// The same by a regional NAT gateway, whose route table the public subnet no longer has.
    pub async fn regional_nat(&self) {
        let (nat, table) = self.nat().await;
        self.aws
            .post("network/regional", json!({ "nat": nat, "table": table }))
            .await;
    }

    /// Gives the private subnet a way out through a NAT gateway in a public subnet; returns the ids
    /// of the gateway and of the public subnet's route table.
    pub async fn nat(&self) -> (String, String) {
        let ec2 = &self.aws.ec2;
        let public = self.make_subnet("10.0.100.0/24").await;
        let gateway = answered(
            "CreateInternetGateway",
            ec2.create_internet_gateway().send().await,
        );
        let gateway = gateway.internet_gateway.and_then(|g| g.internet_gateway_id);
        let gateway = gateway.expect("an internet gateway has an id");
        let attached = ec2.attach_internet_gateway().vpc_id(&self.id);
        let attached = attached.internet_gateway_id(&gateway).send().await;
        answered("AttachInternetGateway", attached);
        let table = ec2.create_route_table().vpc_id(&self.id).send().await;
        let table = answered("CreateRouteTable", table).route_table;
        let table = table.and_then(|table| table.route_table_id);
        let table = table.expect("a route table has an id");
        let used = ec2.associate_route_table().route_table_id(&table);
        answered("AssociateRouteTable", used.subnet_id(&public).send().await);
        let route = ec2.create_route().route_table_id(&table);
        let route = route
            .destination_cidr_block("0.0.0.0/0")
            .gateway_id(gateway);
        answered("CreateRoute", route.send().await);

        let address = ec2.allocate_address().domain(DomainType::Vpc).send().await;
        let address = answered("AllocateAddress", address).allocation_id;
        let nat = ec2.create_nat_gateway().subnet_id(public);
        let nat = nat.set_allocation_id(address).send().await;
        let nat = answered("CreateNatGateway", nat).nat_gateway;
        let nat = nat.and_then(|nat| nat.nat_gateway_id);
        let route = ec2.create_route().route_table_id(&self.table);
        let route = route.destination_cidr_block("0.0.0.0/0");
        let leads = route.set_nat_gateway_id(nat.clone()).send().await;
        answered("CreateRoute", leads);
        (nat.expect("a NAT gateway has an id"), table)
    }
}
