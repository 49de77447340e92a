"""A node registers only if its packets reach Systems Manager: endpoints, routes, groups, ACLs (SSM-7)."""

import pytest
from conftest import REGION
from ec2_help import pages_of, refused
from ssm_help import SERVICES, Vpc, allow, attach, https, launch, make_profile, nodes, retry


@pytest.fixture
def profile(client):
    return make_profile(client("iam"))


@pytest.fixture
def vpc(ec2):
    return Vpc(ec2)


@pytest.fixture
def private(ec2, vpc, profile):
    """An instance in a private subnet with the right role, as in incident 5."""
    instance_id = launch(ec2, SubnetId=vpc.private, SecurityGroupIds=[vpc.group("app")])
    attach(ec2, instance_id, profile)
    return instance_id


def reason(emulator, instance_id):
    """Why the attempt made now fails; None when it doesn't."""
    return retry(emulator, instance_id)["reason"]


# The default VPC


def test_in_the_default_vpc_nothing_is_missing(emulator, ec2, client, profile):
    instance_id = launch(ec2)
    attach(ec2, instance_id, profile)
    assert reason(emulator, instance_id) is None
    assert nodes(client("ssm")) == {instance_id: "Online"}


def test_no_public_address(emulator, ec2, profile):
    interface = {"DeviceIndex": 0, "AssociatePublicIpAddress": False}
    default = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"][0]
    instance_id = launch(ec2, NetworkInterfaces=[interface | {"SubnetId": default["SubnetId"]}])
    attach(ec2, instance_id, profile)
    assert "no public address" in reason(emulator, instance_id)
    address = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance_id)
    assert reason(emulator, instance_id) is None


# A private subnet with endpoints


def endpoint_group(vpc):
    group = vpc.group("endpoints")
    vpc.admit(group, cidr="10.0.0.0/16")
    return group


def test_endpoints_are_enough(emulator, vpc, private):
    assert "has no route" in reason(emulator, private)
    vpc.endpoints(SecurityGroupIds=[endpoint_group(vpc)])
    node = retry(emulator, private)
    assert (node["online"], node["usable"], node["session_manager"]) == (True, True, True)


def test_an_endpoint_in_another_zone_does(emulator, vpc, private):
    """Its name resolves in the whole VPC, and subnets reach each other."""
    vpc.endpoints(SubnetIds=[vpc.other], SecurityGroupIds=[endpoint_group(vpc)])
    assert reason(emulator, private) is None


def test_without_ssmmessages_it_is_online_and_of_no_use(emulator, vpc, private, client):
    group = endpoint_group(vpc)
    vpc.endpoint("ssm", SecurityGroupIds=[group])
    node = retry(emulator, private)
    assert (node["online"], node["usable"], node["session_manager"]) == (True, False, False)
    assert "ssmmessages" in node["unusable_because"]
    assert client("ssm").get_connection_status(Target=private)["Status"] == "notconnected"
    vpc.endpoint("ec2messages", SecurityGroupIds=[group])
    node = retry(emulator, private)
    assert (node["usable"], node["session_manager"]) == (True, False)
    vpc.endpoint("ssmmessages", SecurityGroupIds=[group])
    assert retry(emulator, private)["session_manager"] is True
    assert client("ssm").get_connection_status(Target=private)["Status"] == "connected"


def test_private_dns_off(emulator, ec2, vpc, private):
    endpoints = vpc.endpoints(SecurityGroupIds=[endpoint_group(vpc)], PrivateDnsEnabled=False)
    assert "has no route" in reason(emulator, private)
    for endpoint in endpoints.values():
        ec2.modify_vpc_endpoint(VpcEndpointId=endpoint, PrivateDnsEnabled=True)
    assert reason(emulator, private) is None


@pytest.mark.parametrize("attribute", ["EnableDnsSupport", "EnableDnsHostnames"])
def test_the_vpcs_dns_attributes(emulator, ec2, vpc, private, attribute):
    vpc.endpoints(SecurityGroupIds=[endpoint_group(vpc)])
    ec2.modify_vpc_attribute(VpcId=vpc.id, **{attribute: {"Value": False}})
    assert reason(emulator, private) is not None
    ec2.modify_vpc_attribute(VpcId=vpc.id, **{attribute: {"Value": True}})
    assert reason(emulator, private) is None


def test_the_endpoints_group_lets_nobody_in(emulator, vpc, private):
    group = vpc.group("endpoints")
    vpc.endpoints(SecurityGroupIds=[group])
    assert f"{group} of vpce-" in reason(emulator, private)
    vpc.admit(group, cidr="10.0.2.0/24")
    assert "doesn't let" in reason(emulator, private)
    vpc.admit(group, cidr="10.0.1.0/24")
    assert reason(emulator, private) is None


def test_the_endpoints_group_lets_in_by_group(emulator, ec2, vpc, profile):
    app, group = vpc.group("app"), vpc.group("endpoints")
    vpc.endpoints(SecurityGroupIds=[group])
    vpc.admit(group, group=app)
    member, stranger = (launch(ec2, SubnetId=vpc.private, SecurityGroupIds=[g]) for g in (app, vpc.group("other")))
    for instance_id in (member, stranger):
        attach(ec2, instance_id, profile)
    assert reason(emulator, member) is None
    assert "doesn't let" in reason(emulator, stranger)


def test_the_endpoints_group_lets_in_by_prefix_list(emulator, ec2, vpc, private):
    group = vpc.group("endpoints")
    vpc.endpoints(SecurityGroupIds=[group])
    prefix_list = ec2.create_managed_prefix_list(
        PrefixListName="offices", AddressFamily="IPv4", MaxEntries=2, Entries=[{"Cidr": "10.0.2.0/24"}]
    )["PrefixList"]["PrefixListId"]
    vpc.admit(group, prefix_list=prefix_list)
    assert "doesn't let" in reason(emulator, private)
    ec2.modify_managed_prefix_list(PrefixListId=prefix_list, CurrentVersion=1, AddEntries=[{"Cidr": "10.0.1.0/24"}])
    assert reason(emulator, private) is None


def test_the_default_group_is_enough_for_its_members(emulator, ec2, vpc, profile):
    vpc.endpoints()
    instance_id = launch(ec2, SubnetId=vpc.private)
    attach(ec2, instance_id, profile)
    assert reason(emulator, instance_id) is None


def test_an_endpoint_that_lets_nobody_in_beats_nat(emulator, ec2, vpc, private):
    """With private DNS the name leads to the endpoint, whatever the routes say (SSM-7)."""
    nat, _ = vpc.nat()
    ec2.create_route(RouteTableId=vpc.table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    assert reason(emulator, private) is None
    endpoint = vpc.endpoint("ssm", SecurityGroupIds=[vpc.group("closed")])
    node = retry(emulator, private)
    assert (node["ping_status"], node["outcome"]) == ("ConnectionLost", "no network")
    ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint])
    assert retry(emulator, private)["ping_status"] == "Online"


def test_the_endpoints_state(emulator, vpc, private):
    endpoints = vpc.endpoints(SecurityGroupIds=[endpoint_group(vpc)])
    emulator.control("POST", "network/state", id=endpoints["ssm"], state="pending")
    assert "has no route" in reason(emulator, private)
    emulator.control("POST", "network/state", id=endpoints["ssm"], state="available")
    assert reason(emulator, private) is None


def test_the_endpoints_policy(emulator, ec2, vpc, private):
    endpoints = vpc.endpoints(SecurityGroupIds=[endpoint_group(vpc)])
    policy = allow("ssm:GetParameter", Principal="*")
    ec2.modify_vpc_endpoint(VpcEndpointId=endpoints["ssm"], PolicyDocument=policy)
    node = retry(emulator, private)
    assert node["outcome"] == "no credentials"
    ec2.modify_vpc_endpoint(VpcEndpointId=endpoints["ssm"], ResetPolicy=True)
    assert reason(emulator, private) is None


# Its own groups and ACLs


def test_egress(emulator, ec2, vpc, private):
    vpc.endpoints(SecurityGroupIds=[endpoint_group(vpc)])
    group = ec2.describe_instances(InstanceIds=[private])["Reservations"][0]["Instances"][0]["SecurityGroups"][0]
    everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    ec2.revoke_security_group_egress(GroupId=group["GroupId"], IpPermissions=everything)
    assert "lets it out" in reason(emulator, private)
    http = https(cidr="10.0.0.0/16") | {"FromPort": 80, "ToPort": 80}
    ec2.authorize_security_group_egress(GroupId=group["GroupId"], IpPermissions=[http])
    assert "lets it out" in reason(emulator, private)
    ec2.authorize_security_group_egress(GroupId=group["GroupId"], IpPermissions=[https(cidr="10.0.0.0/16")])
    assert reason(emulator, private) is None


def acl(ec2, vpc, subnet, *entries):
    """A network ACL of these entries, in place of the subnet's present one."""
    made = ec2.create_network_acl(VpcId=vpc.id)["NetworkAcl"]["NetworkAclId"]
    for number, (egress, action, ports) in enumerate(entries, 1):
        ec2.create_network_acl_entry(
            NetworkAclId=made, RuleNumber=number * 10, Protocol="6", RuleAction=action, Egress=egress,
            CidrBlock="0.0.0.0/0", PortRange={"From": ports[0], "To": ports[1]},
        )  # fmt: skip
    present = ec2.describe_network_acls(Filters=[{"Name": "association.subnet-id", "Values": [subnet]}])
    (association,) = [a for a in present["NetworkAcls"][0]["Associations"] if a["SubnetId"] == subnet]
    ec2.replace_network_acl_association(AssociationId=association["NetworkAclAssociationId"], NetworkAclId=made)
    return made


OUT, IN = True, False


@pytest.mark.parametrize(
    ("entries", "passes"),
    [
        ([(OUT, "allow", (443, 443)), (IN, "allow", (1024, 65535))], True),
        ([(OUT, "allow", (443, 443))], False),
        ([(IN, "allow", (1024, 65535))], False),
        ([(OUT, "deny", (443, 443)), (OUT, "allow", (0, 65535)), (IN, "allow", (0, 65535))], False),
        ([(OUT, "allow", (0, 65535)), (OUT, "deny", (443, 443)), (IN, "allow", (0, 65535))], True),
        ([(OUT, "allow", (443, 443)), (IN, "allow", (1024, 40000))], False),
    ],
)
def test_acls_of_the_instances_subnet(emulator, ec2, vpc, private, entries, passes):
    vpc.endpoints(SubnetIds=[vpc.other], SecurityGroupIds=[endpoint_group(vpc)])
    acl(ec2, vpc, vpc.private, *entries)
    assert (reason(emulator, private) is None) == passes


def test_acls_of_the_endpoints_subnet(emulator, ec2, vpc, private):
    vpc.endpoints(SubnetIds=[vpc.other], SecurityGroupIds=[endpoint_group(vpc)])
    acl(ec2, vpc, vpc.other, (IN, "allow", (443, 443)))
    assert "lets nothing out to 10.0.1." in reason(emulator, private)
    acl(ec2, vpc, vpc.other, (IN, "allow", (443, 443)), (OUT, "allow", (1024, 65535)))
    assert reason(emulator, private) is None


def test_acls_do_not_stand_inside_a_subnet(emulator, ec2, vpc, private):
    vpc.endpoints(SecurityGroupIds=[endpoint_group(vpc)])
    acl(ec2, vpc, vpc.private)
    assert reason(emulator, private) is None


# Routes


def test_nat(emulator, ec2, vpc, private):
    nat, public_table = vpc.nat()
    ec2.create_route(RouteTableId=vpc.table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    assert reason(emulator, private) is None
    emulator.control("POST", "network/state", id=nat, state="failed")
    assert "blackhole" in reason(emulator, private)
    emulator.control("POST", "network/state", id=nat, state="available")
    ec2.delete_route(RouteTableId=public_table, DestinationCidrBlock="0.0.0.0/0")
    assert f"{public_table} has no route" in reason(emulator, private)


def test_a_deleted_nat_gateway_leaves_a_blackhole(emulator, ec2, vpc, private):
    nat, _ = vpc.nat()
    ec2.create_route(RouteTableId=vpc.table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    ec2.delete_nat_gateway(NatGatewayId=nat)
    (table,) = ec2.describe_route_tables(RouteTableIds=[vpc.table])["RouteTables"]
    assert {r["DestinationCidrBlock"]: r["State"] for r in table["Routes"]} == {
        "10.0.0.0/16": "active", "0.0.0.0/0": "blackhole",
    }  # fmt: skip
    assert "blackhole" in reason(emulator, private)


def test_a_subnets_own_table_beats_the_main_one(emulator, ec2, vpc, private):
    nat, _ = vpc.nat()
    ec2.create_route(RouteTableId=vpc.table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    own = ec2.create_route_table(VpcId=vpc.id)["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=own, SubnetId=vpc.private)
    assert f"{own} has no route" in reason(emulator, private)


def test_the_longest_prefix_wins(emulator, ec2, vpc, private):
    nat, _ = vpc.nat()
    ec2.create_route(RouteTableId=vpc.table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    gateway = ec2.describe_internet_gateways(Filters=[{"Name": "attachment.vpc-id", "Values": [vpc.id]}])
    ec2.create_route(
        RouteTableId=vpc.table,
        DestinationCidrBlock="52.119.128.0/17",
        GatewayId=gateway["InternetGateways"][0]["InternetGatewayId"],
    )
    assert "no public address" in reason(emulator, private)


def test_a_transit_gateway_leads_out_of_sight(emulator, ec2, vpc, private):
    gateway = ec2.create_transit_gateway()["TransitGateway"]["TransitGatewayId"]
    ec2.create_route(RouteTableId=vpc.table, DestinationCidrBlock="0.0.0.0/0", TransitGatewayId=gateway)
    assert "out of sight" in reason(emulator, private)
    emulator.control("PATCH", "settings", transit_leads_out=True)
    assert reason(emulator, private) is None


def test_endpoints_are_as_strict_as_in_aws(ec2, vpc):
    vpc.endpoint("ssm")
    with refused("InvalidParameter", "conflicting DNS domain for ssm"):
        vpc.endpoint("ssm")
    with refused("DuplicateSubnetsInSameZone"):
        vpc.endpoint("ssmmessages", SubnetIds=[vpc.private, vpc.subnet("10.0.9.0/24", "a")])
    ec2.modify_vpc_attribute(VpcId=vpc.id, EnableDnsHostnames={"Value": False})
    with refused("InvalidParameter", "enableDnsHostnames"):
        vpc.endpoint("ec2messages")
    assert vpc.endpoint("ec2messages", PrivateDnsEnabled=False)


def test_describing_endpoints(emulator, ec2, vpc):
    made = vpc.endpoints(SubnetIds=[vpc.private, vpc.other])
    wanted = [{"Name": "vpc-id", "Values": [vpc.id]}, {"Name": "service-name", "Values": [f"*.{REGION}.ssm"]}]
    (found,) = ec2.describe_vpc_endpoints(Filters=wanted)["VpcEndpoints"]
    assert found["VpcEndpointId"] == made["ssm"]
    assert (found["State"], found["PrivateDnsEnabled"], len(found["NetworkInterfaceIds"])) == ("available", True, 2)
    assert [g["GroupName"] for g in found["Groups"]] == ["default"]
    interfaces = ec2.describe_network_interfaces(
        Filters=[{"Name": "network-interface-id", "Values": found["NetworkInterfaceIds"]}]
    )["NetworkInterfaces"]
    assert {n["SubnetId"] for n in interfaces} == {vpc.private, vpc.other}
    assert all(n["PrivateIpAddress"].startswith(("10.0.1.", "10.0.2.")) for n in interfaces)
    ec2.delete_vpc_endpoints(VpcEndpointIds=list(made.values()))
    assert ec2.describe_vpc_endpoints()["VpcEndpoints"] == []
    assert len(SERVICES) == len(made)


# Describing

PAGED = {
    "describe_route_tables": ("RouteTables", 100),
    "describe_network_acls": ("NetworkAcls", 1000),
    "describe_security_groups": ("SecurityGroups", 1000),
    "describe_security_group_rules": ("SecurityGroupRules", 1000),
    "describe_subnets": ("Subnets", 1000),
    "describe_vpcs": ("Vpcs", 1000),
    "describe_network_interfaces": ("NetworkInterfaces", 1000),
}


@pytest.mark.parametrize("operation", PAGED)
def test_pages(client, ec2, operation):
    member, highest = PAGED[operation]
    for number in range(7):
        vpc = ec2.create_vpc(CidrBlock=f"10.{number}.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.{number}.1.0/24")["Subnet"]["SubnetId"]
        ec2.create_network_interface(SubnetId=subnet)
    describe = getattr(client("ec2", parameter_validation=False), operation)
    everything = describe()[member]
    assert len(everything) >= 7
    pages = pages_of(describe, member, MaxResults=5)
    assert all(len(page) <= 5 for page in pages)
    assert sorted(str(item) for page in pages for item in page) == sorted(map(str, everything))
    for wrong in (4, highest + 1):
        with refused("InvalidParameterValue", "maxResults"):
            describe(MaxResults=wrong)
    with refused("InvalidParameterValue", "The filter 'colour' is invalid"):
        describe(Filters=[{"Name": "colour", "Values": ["red"]}])


def test_filters(ec2, vpc, private):
    def ids(operation, member, key, **filters):
        wanted = [{"Name": name.replace("_", "-"), "Values": [value]} for name, value in filters.items()]
        return [item[key] for item in getattr(ec2, operation)(Filters=wanted)[member]]

    assert ids("describe_route_tables", "RouteTables", "RouteTableId", vpc_id=vpc.id) == [vpc.table]
    assert len(ids("describe_network_acls", "NetworkAcls", "NetworkAclId", vpc_id=vpc.id)) == 1
    groups = ids("describe_security_groups", "SecurityGroups", "GroupName", vpc_id=vpc.id)
    assert sorted(groups) == ["app", "default"]
    subnets = ids("describe_subnets", "Subnets", "SubnetId", vpc_id=vpc.id, availability_zone=f"{REGION}b")
    assert subnets == [vpc.other]
    assert ids("describe_network_interfaces", "NetworkInterfaces", "SubnetId", vpc_id=vpc.id) == [vpc.private]


def test_nat_gateways_by_id(client, ec2, vpc):
    nat, _ = vpc.nat()
    (found,) = ec2.describe_nat_gateways(Filters=[{"Name": "nat-gateway-id", "Values": [nat]}], MaxResults=5)[
        "NatGateways"
    ]
    assert (found["State"], found["ConnectivityType"]) == ("available", "public")
    assert found["NatGatewayAddresses"][0]["PrivateIp"].startswith("10.0.100.")
    with refused("NatGatewayNotFound"):
        ec2.describe_nat_gateways(NatGatewayIds=["nat-0123456789abcdef0"])
    with refused("InvalidNatGatewayID.NotFound"):
        ec2.create_route(RouteTableId=vpc.table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId="nat-0123456789abcdef0")


def test_prefix_list_entries(client, ec2):
    entries = [{"Cidr": f"10.{number}.0.0/16"} for number in range(7)]
    made = ec2.create_managed_prefix_list(PrefixListName="many", AddressFamily="IPv4", MaxEntries=9, Entries=entries)[
        "PrefixList"
    ]["PrefixListId"]
    pages = ec2.get_paginator("get_managed_prefix_list_entries").paginate(
        PrefixListId=made, PaginationConfig={"PageSize": 5}
    )
    assert [len(p["Entries"]) for p in pages] == [5, 2]
    with refused("InvalidPrefixListID.NotFound"):
        ec2.get_managed_prefix_list_entries(PrefixListId="pl-0123456789abcdef0")


def test_vpc_attributes(ec2, vpc):
    def value(attribute):
        found = ec2.describe_vpc_attribute(VpcId=vpc.id, Attribute=attribute)
        return found[attribute[0].upper() + attribute[1:]]["Value"]

    assert (value("enableDnsSupport"), value("enableDnsHostnames")) == (True, True)
    ec2.modify_vpc_attribute(VpcId=vpc.id, EnableDnsHostnames={"Value": False})
    assert (value("enableDnsSupport"), value("enableDnsHostnames")) == (True, False)


def test_what_a_new_vpc_has(ec2):
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]["VpcId"]
    mine = [{"Name": "vpc-id", "Values": [vpc]}]
    (group,) = ec2.describe_security_groups(Filters=mine)["SecurityGroups"]
    (permission,) = group["IpPermissions"]
    assert [p["GroupId"] for p in permission["UserIdGroupPairs"]] == [group["GroupId"]]
    (default,) = ec2.describe_network_acls(Filters=mine)["NetworkAcls"]
    assert sorted(e["RuleNumber"] for e in default["Entries"]) == [100, 100, 101, 101, *[32767] * 2, *[32768] * 2]
    own = ec2.create_network_acl(VpcId=vpc)["NetworkAcl"]
    assert [e["RuleAction"] for e in own["Entries"]] == ["deny", "deny"]


def test_groups_of_an_instance_are_those_of_its_interface(ec2, vpc, private):
    closed = vpc.group("closed")
    ec2.modify_instance_attribute(InstanceId=private, Groups=[closed])
    instance = ec2.describe_instances(InstanceIds=[private])["Reservations"][0]["Instances"][0]
    (interface,) = instance["NetworkInterfaces"]
    assert [g["GroupId"] for g in instance["SecurityGroups"]] == [closed]
    assert [g["GroupId"] for g in interface["Groups"]] == [closed]
    other = vpc.group("other")
    ec2.modify_network_interface_attribute(NetworkInterfaceId=interface["NetworkInterfaceId"], Groups=[other])
    instance = ec2.describe_instances(InstanceIds=[private])["Reservations"][0]["Instances"][0]
    assert [g["GroupId"] for g in instance["SecurityGroups"]] == [other]


# What can't be seen from the VPC


def test_a_regional_nat_gateway_goes_by_its_own_table(emulator, ec2, vpc, private):
    nat, table = vpc.nat()
    ec2.create_route(RouteTableId=vpc.table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    emulator.control("POST", "network/regional", nat=nat, table=table)
    assert reason(emulator, private) is None
    shown = ec2.describe_nat_gateways(NatGatewayIds=[nat])["NatGateways"][0]
    assert (shown.get("SubnetId"), shown["RouteTableId"], shown["AvailabilityMode"]) == (None, table, "regional")
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
    assert f"{table} has no route" in reason(emulator, private)


def test_a_hub_is_reached_where_a_route_leads_to_it(emulator, ec2, vpc, private):
    emulator.control("PATCH", "settings", hub=True)
    assert "has no route to 10.2.0.5" in reason(emulator, private)
    transit = ec2.create_transit_gateway()["TransitGateway"]["TransitGatewayId"]
    ec2.create_route(RouteTableId=vpc.table, DestinationCidrBlock="10.2.0.0/16", TransitGatewayId=transit)
    assert reason(emulator, private) is None


def test_only_its_owner_reads_a_shared_vpcs_attributes(emulator, ec2, vpc):
    emulator.control("POST", "network/share", vpc=vpc.id, owner="222233334444")
    assert ec2.describe_vpcs(VpcIds=[vpc.id])["Vpcs"][0]["OwnerId"] == "222233334444"
    with refused("UnauthorizedOperation", status=403):
        ec2.describe_vpc_attribute(VpcId=vpc.id, Attribute="enableDnsSupport")
