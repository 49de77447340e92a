"""VPCs as an instance's way out depends on them: what AWS puts into a new VPC, routes that lead nowhere, interface
endpoints with addresses, groups and private DNS, and the Describe calls with filters and paging.
"""

from __future__ import annotations

import copy
import itertools
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.nat_gateways import NatGatewayBackend
from moto.ec2.models.network_acls import NetworkAclBackend
from moto.ec2.models.route_tables import Route, RouteBackend
from moto.ec2.models.security_groups import SecurityGroupRule
from moto.ec2.models.vpcs import VPC, VPCBackend
from moto.ec2.responses import EC2Response

from emulator.context import context
from emulator.control import ControlError, route
from emulator.ec2 import errors, filters, paging, security_groups
from emulator.ec2.describing import Description, answer, describes
from emulator.patching import patched

# What a new VPC has


@patched(VPCBackend)
def create_default_vpc(original: Any, self: Any) -> Any:
    """moto's default VPC has no way out; AWS's has an internet gateway and a route to it."""
    vpc = original(self)
    gateway = self.create_internet_gateway()
    self.attach_internet_gateway(gateway.id, vpc.id)
    self.create_route(main_route_table(self, vpc.id).id, "0.0.0.0/0", gateway_id=gateway.id)
    return vpc


@patched(VPCBackend)
def create_vpc(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    """The default security group lets its own members in; the default network ACL is open for IPv6 too."""
    vpc = original(self, *args, **kwargs)
    group = self.get_security_group_from_name("default", vpc_id=vpc.id)
    source = {"GroupId": group.id, "UserId": self.account_id, "OwnerId": self.account_id}
    group.add_ingress_rule(
        SecurityGroupRule(self, "-1", group.id, None, None, {}, source_group=source, is_egress=False)
    )
    if vpc.get_cidr_block_association_set(ipv6=True):
        _open_for_ipv6(self, vpc.id)
    return vpc


@patched(VPCBackend)
def associate_vpc_cidr_block(original: Any, self: Any, vpc_id: str, *args: Any, **kwargs: Any) -> Any:
    had = bool(self.get_vpc(vpc_id).get_cidr_block_association_set(ipv6=True))
    result = original(self, vpc_id, *args, **kwargs)
    if not had and self.get_vpc(vpc_id).get_cidr_block_association_set(ipv6=True):
        _open_for_ipv6(self, vpc_id)
    return result


def _open_for_ipv6(backend: Any, vpc_id: str) -> None:
    acl = next(acl for acl in backend.network_acls.values() if acl.default and acl.vpc_id == vpc_id)
    for egress, (number, action) in itertools.product((True, False), ((101, "allow"), (32768, "deny"))):
        _add_entry(backend, acl.id, number, action, egress, None, "::/0")


def _add_entry(
    backend: Any, acl_id: str, number: int, action: str, egress: bool, cidr: str | None, ipv6_cidr: str | None
) -> None:
    backend.create_network_acl_entry(acl_id, number, "-1", action, egress, cidr, None, None, None, None, ipv6_cidr)


@patched(NetworkAclBackend)
def create_network_acl(original: Any, self: Any, vpc_id: str, tags: Any = None, default: bool = False) -> Any:
    """A new ACL denies everything; moto leaves that entry out."""
    acl = original(self, vpc_id, tags=tags, default=default)
    if not default:
        for egress in (True, False):
            _add_entry(self, acl.id, 32767, "deny", egress, "0.0.0.0/0", None)
    return acl


_PROTOCOLS = {"all": "-1", "icmp": "1", "tcp": "6", "udp": "17"}


@patched(NetworkAclBackend)
def create_network_acl_entry(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    """EC2 shows protocols by number."""
    entry = original(self, *args, **kwargs)
    entry.protocol = _PROTOCOLS.get(str(entry.protocol).lower(), str(entry.protocol))
    return entry


# Routes


def main_route_table(backend: Any, vpc_id: str) -> Any:
    return next(t for t in backend.route_tables.values() if t.vpc_id == vpc_id and t.main_association_id)


def route_table_of(backend: Any, subnet: Any) -> Any:
    """The table that is associated with the subnet, else the VPC's main one."""
    for table in backend.route_tables.values():
        if subnet.id in table._associations.values():
            return table
    return main_route_table(backend, subnet.vpc_id)


@patched(Route)
def state(_original: Any, self: Any) -> str:
    """A route whose target is gone is a blackhole; moto calls every route active."""
    return "active" if _leads_somewhere(self) else "blackhole"


def _leads_somewhere(route: Any) -> bool:
    if route.local:
        return True
    backend = route.route_table.ec2_backend
    if gateway := route.gateway:
        if gateway.id.startswith("igw-"):
            attached = gateway.vpc is not None and gateway.vpc.id == route.route_table.vpc_id
            return attached and gateway.id in backend.internet_gateways
        if gateway.id.startswith("vpce-"):
            return gateway.id in backend.vpc_end_points
    if route.nat_gateway:
        return route.nat_gateway.state in ("pending", "available")
    if route.egress_only_igw:
        return route.egress_only_igw.id in backend.egress_only_internet_gateways
    if route.instance:
        return route.instance.state == "running"
    if route.interface:
        instance = route.interface.instance
        return route.interface.id in backend.enis and instance is not None and instance.state == "running"
    if route.vpc_pcx:
        return route.vpc_pcx._status.code == "active"
    if route.transit_gateway:
        return route.transit_gateway.id in backend.transit_gateways and route.transit_gateway.state != "deleted"
    return True


@patched(RouteBackend)
def create_route(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    """moto makes a route to nowhere of an unknown NAT gateway."""
    nat_id = kwargs.get("nat_gateway_id")
    if nat_id and nat_id not in self.nat_gateways:
        raise EC2ClientError("InvalidNatGatewayID.NotFound", f"The natGateway ID '{nat_id}' does not exist")
    return original(self, *args, **kwargs)


# NAT gateways


@patched(NatGatewayBackend)
def create_nat_gateway(
    original: Any, self: Any, subnet_id: str, allocation_id: str, tags: Any = None, connectivity_type: str | None = None
) -> Any:
    """moto takes an address outside the subnet, and forgets that a gateway is public if not told else."""
    connectivity_type = connectivity_type or "public"
    if connectivity_type == "public" and not allocation_id:
        raise errors.missing_parameter("AllocationId")
    gateway = original(self, subnet_id, allocation_id, tags, connectivity_type)
    subnet = self.get_subnet(subnet_id)
    gateway._eni.private_ip_address = gateway.private_ip = subnet.get_available_subnet_ip(gateway)
    gateway._eni.private_ip_addresses = [{"Primary": True, "PrivateIpAddress": gateway.private_ip}]
    gateway.nat_gateway_addresses[0]["privateIp"] = gateway.private_ip
    gateway._eni.interface_type, gateway._eni.requester_managed = "nat_gateway", True
    return gateway


@route("POST", "network/regional")
def make_regional(body: dict[str, Any]) -> Any:
    """{"nat": "nat-…", "table": "rtb-…"}: a regional NAT gateway, which lies in no subnet and has a table of its own."""
    gateway = _backend().nat_gateways[body["nat"]]
    gateway.subnet_id, gateway.availability_mode, gateway.route_table_id = None, "regional", body["table"]
    return {}


# VPC attributes and endpoints


@route("POST", "network/share")
def share_vpc(body: dict[str, Any]) -> Any:
    """{"vpc": "vpc-…", "owner": "222233334444"}: the VPC is another account's, which shares its subnets with this one."""
    _backend().vpcs[body["vpc"]].shared_by = body["owner"]
    return {}


@patched(VPC)
def owner_id(_original: Any, self: Any) -> str:
    return getattr(self, "shared_by", None) or self.ec2_backend.account_id


@patched(EC2Response)
def describe_vpc_attribute(_original: Any, self: Any) -> ActionResult:
    self.error_on_dryrun()
    vpc = self.ec2_backend.get_vpc(self._get_param("VpcId"))
    if vpc.owner_id != context.account_id:  # the words are (assumed)
        raise EC2ClientError("UnauthorizedOperation", "You are not authorized to perform this operation.")
    names = {
        "enableDnsSupport": vpc.enable_dns_support,
        "enableDnsHostnames": vpc.enable_dns_hostnames,
        "enableNetworkAddressUsageMetrics": vpc.enable_network_address_usage_metrics,
    }
    attribute = self._get_param("Attribute")
    if attribute not in names:
        raise errors.invalid_value(f"Value ({attribute}) for parameter attribute is invalid. Unknown attribute.")
    return ActionResult({"VpcId": vpc.id, attribute[0].upper() + attribute[1:]: {"Value": _is_true(names[attribute])}})


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"


def resolves_privately(backend: Any, endpoint: Any) -> bool:
    """Whether the service's public name leads to the endpoint inside its VPC."""
    vpc = backend.vpcs[endpoint.vpc_id]
    dns = _is_true(vpc.enable_dns_support) and _is_true(vpc.enable_dns_hostnames)
    return dns and endpoint.state == "available" and bool(endpoint.private_dns_enabled)


@patched(VPCBackend)
def create_vpc_endpoint(original: Any, self: Any, **given: Any) -> Any:
    """moto's interface endpoints have addresses outside their subnets, and no security group if none is named."""
    is_interface = (given.get("endpoint_type") or "Gateway").lower() == "interface"
    given["endpoint_type"] = "Interface" if is_interface else given.get("endpoint_type") or "Gateway"
    if is_interface:
        given["private_dns_enabled"] = _is_true(given.get("private_dns_enabled", True))
        if given["private_dns_enabled"]:
            _check_private_dns(self, given["vpc_id"], given["service_name"])
        given["security_group_ids"] = given.get("security_group_ids") or [
            self.get_security_group_from_name("default", vpc_id=given["vpc_id"]).id
        ]
        _check_zones(self, given.get("subnet_ids") or [])
    else:
        given["private_dns_enabled"] = False
    endpoint = original(self, **given)
    if is_interface:
        for eni_id in endpoint.network_interface_ids:
            _drop_interface(self, eni_id)
        endpoint.network_interface_ids = [_add_interface(self, endpoint, s) for s in endpoint.subnet_ids]
    return endpoint


def _check_private_dns(backend: Any, vpc_id: str, service: str, but: str | None = None) -> None:
    vpc = backend.get_vpc(vpc_id)
    if not (_is_true(vpc.enable_dns_support) and _is_true(vpc.enable_dns_hostnames)):
        raise EC2ClientError(
            "InvalidParameter",
            "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for "
            f"{vpc_id}",
        )
    for other in backend.vpc_end_points.values():
        if (other.vpc_id, other.service_name) == (vpc_id, service) and other.private_dns_enabled and other.id != but:
            domain = f"{service.rsplit('.', 1)[1]}.{backend.region_name}.amazonaws.com"
            raise EC2ClientError(
                "InvalidParameter",
                f"private-dns-enabled cannot be set because there is already a conflicting DNS domain for {domain} in "
                f"the VPC {vpc_id}",
            )


def _check_zones(backend: Any, subnet_ids: list[str]) -> None:
    zones = [backend.get_subnet(subnet_id).availability_zone for subnet_id in subnet_ids]
    if len(zones) != len(set(zones)):
        raise EC2ClientError("DuplicateSubnetsInSameZone", "Found another VPC endpoint subnet in the availability zone")


def _add_interface(backend: Any, endpoint: Any, subnet_id: str) -> str:
    subnet = backend.get_subnet(subnet_id)
    address = subnet.get_available_subnet_ip(endpoint)
    eni = backend.create_network_interface(
        subnet, address, group_ids=endpoint.security_group_ids, description=f"VPC Endpoint Interface {endpoint.id}"
    )
    eni.interface_type, eni.requester_managed, eni.status = "vpc_endpoint", True, "in-use"
    return eni.id


def _drop_interface(backend: Any, eni_id: str) -> None:
    eni = backend.enis.pop(eni_id)
    eni.subnet._subnet_ips.pop(eni.private_ip_address, None)


@patched(EC2Response)
def modify_vpc_endpoint(original: Any, self: Any) -> ActionResult:
    """moto ignores private DNS, and the interfaces keep their subnets and groups."""
    backend = self.ec2_backend
    endpoint = backend.get_vpc_end_point(self._get_param("VpcEndpointId"))
    private_dns = self._get_param("PrivateDnsEnabled")
    if private_dns is not None and _is_true(private_dns):
        _check_private_dns(backend, endpoint.vpc_id, endpoint.service_name, but=endpoint.id)
    before = list(endpoint.subnet_ids or [])
    if endpoint.vpc_endpoint_type == "Interface":
        removed = self._get_param("RemoveSubnetIds") or []
        _check_zones(backend, [s for s in {*before, *(self._get_param("AddSubnetIds") or [])} if s not in removed])
    result = original(self)
    if self._get_param("ResetPolicy"):
        endpoint.policy_document = None
    if private_dns is not None:
        endpoint.private_dns_enabled = _is_true(private_dns)
    if endpoint.vpc_endpoint_type == "Interface":
        for eni_id in list(endpoint.network_interface_ids):
            if backend.enis[eni_id].subnet.id not in endpoint.subnet_ids:
                _drop_interface(backend, eni_id)
                endpoint.network_interface_ids.remove(eni_id)
        for subnet_id in endpoint.subnet_ids:
            if subnet_id not in before:
                endpoint.network_interface_ids.append(_add_interface(backend, endpoint, subnet_id))
        groups = [backend.get_security_group_from_id(group_id) for group_id in endpoint.security_group_ids]
        for eni_id in endpoint.network_interface_ids:
            backend.enis[eni_id]._group_set = groups
    return result


@patched(EC2Response)
def delete_vpc_endpoints(_original: Any, self: Any) -> ActionResult:
    """moto goes on showing deleted endpoints."""
    backend, unsuccessful = self.ec2_backend, []
    for endpoint_id in self._get_param("VpcEndpointIds") or []:
        endpoint = backend.vpc_end_points.pop(endpoint_id, None)
        if endpoint is None:
            message = f"The Vpc Endpoint Id '{endpoint_id}' does not exist"
            error = {"Code": "InvalidVpcEndpoint.NotFound", "Message": message}
            unsuccessful.append({"ResourceId": endpoint_id, "Error": error})
            continue
        for eni_id in endpoint.network_interface_ids:
            _drop_interface(backend, eni_id)
        if endpoint.destination_prefix_list_id:
            for table_id in endpoint.route_table_ids:
                backend.delete_route(table_id, endpoint.destination_prefix_list_id)
    return ActionResult({"Unsuccessful": unsuccessful})


# Describing


def _cidrs(rules: list[Any], key: str) -> list[Any]:
    return [rule.ip_range.get(key) for rule in rules]


def _rule_readers(prefix: str, rules_of: Any) -> dict[str, Any]:
    return {
        f"{prefix}cidr": lambda g: _cidrs(rules_of(g), "CidrIp"),
        f"{prefix}ipv6-cidr": lambda g: _cidrs(rules_of(g), "CidrIpv6"),
        f"{prefix}from-port": lambda g: [r.from_port for r in rules_of(g)],
        f"{prefix}to-port": lambda g: [r.to_port for r in rules_of(g)],
        f"{prefix}protocol": lambda g: [r.ip_protocol for r in rules_of(g)],
        f"{prefix}group-id": lambda g: [r.source_group.get("GroupId") for r in rules_of(g)],
        f"{prefix}group-name": lambda g: [r.source_group.get("GroupName") for r in rules_of(g)],
        f"{prefix}user-id": lambda g: [r.source_group.get("UserId") for r in rules_of(g)],
        f"{prefix}prefix-list-id": lambda g: [r.prefix_list_id for r in rules_of(g)],
    }


def _all_groups(backend: Any) -> list[Any]:
    everything = [group for groups in backend.groups.values() for group in groups.values()]
    return [group for group in everything if security_groups.is_visible(group) and security_groups.is_usable(group)]


def _all_rules(backend: Any) -> list[Any]:
    """Copies, in which -1 stands for all ports, as this call alone says it."""
    rules = [copy.copy(r) for group in _all_groups(backend) for r in (*group.egress_rules, *group.ingress_rules)]
    for rule in rules:
        rule.from_port = -1 if rule.from_port is None else rule.from_port
        rule.to_port = -1 if rule.to_port is None else rule.to_port
    return rules


def _all_subnets(backend: Any) -> list[Any]:
    return [subnet for subnets in backend.subnets.values() for subnet in subnets.values()]


describes(
    "DescribeRouteTables",
    items=lambda backend: backend.route_tables.values(),
    readers={
        **filters.of_each(
            "route.", "routes", "destination-cidr-block", "destination-ipv6-cidr-block",
            "destination-prefix-list-id", "egress-only-internet-gateway-id", "gateway-id", "instance-id",
            "nat-gateway-id", "origin", "state", "transit-gateway-id", "vpc-peering-connection-id"
        ),
        "association.gateway-id": lambda t: [a.get("GatewayId") for a in t.associations],
        "association.main": lambda t: [a["Main"] for a in t.associations],
        "association.route-table-association-id": lambda t: [a["RouteTableAssociationId"] for a in t.associations],
        "association.route-table-id": lambda t: t.id if t.associations else None,
        "association.subnet-id": lambda t: [a.get("SubnetId") for a in t.associations],
        "owner-id": lambda t: t.owner_id,
        "route-table-id": lambda t: t.id,
        "vpc-id": lambda t: t.vpc_id,
    },
    highest=100,
    ids="RouteTableIds",
    not_found=("InvalidRouteTableID.NotFound", "The routeTable ID '{}' does not exist"),
)
describes(
    "DescribeNetworkAcls",
    items=lambda backend: backend.network_acls.values(),
    readers={
        **filters.attributes("default", "owner-id", "vpc-id"),
        **filters.of_each(
            "entry.", "entries", "egress", "port-range.from", "port-range.to", "protocol", "rule-action",
            "rule-number"
        ),
        "association.association-id": lambda a: [x.id for x in a.associations],
        "association.network-acl-id": lambda a: a.id if a.associations else None,
        "association.subnet-id": lambda a: [x.subnet_id for x in a.associations],
        "entry.cidr": lambda a: [e.cidr_block for e in a.entries],
        "entry.ipv6-cidr": lambda a: [e.ipv6_cidr_block for e in a.entries],
        "network-acl-id": lambda a: a.id,
    },
    highest=1000,
    ids="NetworkAclIds",
    not_found=("InvalidNetworkAclID.NotFound", "The networkAcl ID '{}' does not exist"),
)
describes(
    "DescribeSecurityGroupRules",
    items=_all_rules,
    readers={"group-id": lambda r: r.group_id, "security-group-rule-id": lambda r: r.id},
    highest=1000,
    ids="SecurityGroupRuleIds",
    not_found=("InvalidSecurityGroupRuleId.NotFound", "The security group rule ID '{}' does not exist"),
)
describes(
    "DescribeSubnets",
    items=_all_subnets,
    readers={
        **filters.attributes(
            "availability-zone", "availability-zone-id", "available-ip-address-count", "cidr-block",
            "default-for-az", "ipv6-native", "owner-id", "state", "vpc-id"
        ),
        "map-public-ip-on-launch": lambda s: _is_true(s.map_public_ip_on_launch),
        "subnet-arn": lambda s: s.arn,
        "subnet-id": lambda s: s.id,
    },
    highest=1000,
    ids="SubnetIds",
    not_found=("InvalidSubnetID.NotFound", "The subnet ID '{}' does not exist"),
)
describes(
    "DescribeNatGateways",
    items=lambda backend: backend.nat_gateways.values(),
    readers={
        **filters.attributes("state", "subnet-id", "vpc-id"),
        "nat-gateway-id": lambda g: g.id,
    },
    highest=1000,
    ids="NatGatewayIds",
    not_found=("NatGatewayNotFound", "NAT gateway {} was not found"),
    filters="Filter",
)
describes(
    "DescribeVpcEndpoints",
    items=lambda backend: backend.vpc_end_points.values(),
    readers={
        **filters.attributes("service-name", "vpc-endpoint-type", "vpc-id"),
        "vpc-endpoint-id": lambda e: e.id,
        "vpc-endpoint-state": lambda e: e.state,
    },
    lowest=1,
    highest=1000,
    cut=True,
    ids="VpcEndpointIds",
    not_found=("InvalidVpcEndpointId.NotFound", "The Vpc Endpoint Id '{}' does not exist"),
)
describes(
    "DescribeVpcs",
    items=lambda backend: backend.vpcs.values(),
    readers={
        **filters.attributes("dhcp-options-id", "is-default", "owner-id", "state"),
        "cidr": lambda v: v.cidr_block,
        "cidr-block-association.cidr-block": lambda v: [a["cidr_block"] for a in v.cidr_block_association_set],
        "vpc-id": lambda v: v.id,
    },
    highest=1000,
    ids="VpcIds",
    not_found=("InvalidVpcID.NotFound", "The vpc ID '{}' does not exist"),
)
describes(
    "DescribeDhcpOptions",
    items=lambda backend: backend.dhcp_options_sets.values(),
    readers={
        "dhcp-options-id": lambda d: d.id,
        "key": lambda d: [one["Key"] for one in d.dhcp_configurations],
        "value": lambda d: [value["Value"] for one in d.dhcp_configurations for value in one["Values"]],
    },
    highest=1000,
    ids="DhcpOptionsIds",
    not_found=("InvalidDhcpOptionID.NotFound", "The dhcpOption ID '{}' does not exist"),
)
describes(
    "DescribeNetworkInterfaces",
    items=lambda backend: backend.enis.values(),
    readers={
        **filters.attributes(
            "description", "interface-type", "mac-address", "owner-id", "private-ip-address", "requester-managed",
            "source-dest-check", "status"
        ),
        "addresses.private-ip-address": lambda n: [a["PrivateIpAddress"] for a in n.private_ip_addresses],
        "association.public-ip": lambda n: n.public_ip,
        "attachment.attachment-id": lambda n: n.attachment_id,
        "attachment.device-index": lambda n: n.device_index if n.attachment_id else None,
        "attachment.instance-id": lambda n: n.instance.id if n.instance else None,
        "attachment.instance-owner-id": lambda n: n.owner_id if n.instance else None,
        "availability-zone": lambda n: n.subnet.availability_zone,
        "group-id": lambda n: [g.id for g in n.group_set],
        "ipv6-addresses.ipv6-address": lambda n: n.ipv6_addresses,
        "network-interface-id": lambda n: n.id,
        "subnet-id": lambda n: n.subnet.id,
        "vpc-id": lambda n: n.subnet.vpc_id,
    },
    highest=1000,
    ids="NetworkInterfaceIds",
    not_found=("InvalidNetworkInterfaceID.NotFound", "The networkInterface ID '{}' does not exist"),
    ids_exclude_max_results=True,
)

GROUPS = Description(
    "DescribeSecurityGroups",
    items=_all_groups,
    readers={
        **filters.attributes("description", "owner-id", "vpc-id"),
        "group-id": lambda g: g.id,
        "group-name": lambda g: g.name,
        **_rule_readers("ip-permission.", lambda g: g.ingress_rules),
        **_rule_readers("egress.ip-permission.", lambda g: g.egress_rules),
    },
    highest=1000,
    ids="GroupIds",
    not_found=("InvalidGroup.NotFound", "The security group '{}' does not exist"),
)


@patched(EC2Response)
def describe_security_groups(original: Any, self: Any) -> ActionResult:
    if self._get_param("GroupNames"):  # names of the default VPC; moto knows those
        return original(self)
    self.error_on_dryrun()
    return ActionResult(answer(self, GROUPS))


@patched(EC2Response)
def get_managed_prefix_list_entries(_original: Any, self: Any) -> ActionResult:
    """moto ignores MaxResults, and answers nothing for an unknown list."""
    prefix_list = self.ec2_backend.managed_prefix_lists.get(self._get_param("PrefixListId"))
    if prefix_list is None:
        raise EC2ClientError(
            "InvalidPrefixListID.NotFound", f"The prefix list ID '{self._get_param('PrefixListId')}' does not exist"
        )
    version = self._get_param("TargetVersion")
    entries = prefix_list_entries(prefix_list, int(version) if version else None)
    chunk, token = paging.page(
        entries,
        id_of=lambda entry: entry["Cidr"],
        request=self,
        operation="GetManagedPrefixListEntries",
        limits=paging.Limits(lowest=1, highest=100, ids_parameter=""),
        ids=[],
    )
    return ActionResult({"Entries": chunk, "NextToken": token})


def prefix_list_entries(prefix_list: Any, version: int | None = None) -> list[dict[str, str]]:
    """Those of a version, by default the newest."""
    if not prefix_list.entries:
        return []
    return prefix_list.entries.get(version, []) if version else list(prefix_list.entries.values())[-1]


# Failures of AWS's side

_STATES = {
    "nat-": ("nat_gateways", ("pending", "failed", "available")),
    "vpce-": ("vpc_end_points", ("pending", "available", "failed", "rejected", "expired")),
}


@route("POST", "network/state")
def set_state(body: dict[str, Any]) -> Any:
    """{"id": "nat-…" | "vpce-…", "state": "failed" …}: what AWS does to a NAT gateway or endpoint by itself."""
    identifier, wanted = body["id"], body["state"]
    for prefix, (attribute, states) in _STATES.items():
        if identifier.startswith(prefix):
            resource = getattr(_backend(), attribute).get(identifier)
            if resource is None:
                raise ControlError(f"unknown id {identifier}")
            if wanted not in states:
                raise ControlError(f"{identifier} can't be {wanted!r}: {', '.join(states)}")
            resource.state = wanted
            return {"id": identifier, "state": wanted}
    raise ControlError(f"expected the id of a NAT gateway or VPC endpoint, got {identifier!r}")


def _backend() -> EC2Backend:
    return ec2_backends[context.account_id][context.region]
