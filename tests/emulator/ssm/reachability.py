"""Whether an instance's packets reach a service that its agent turns to (SSM-7), evaluated from the VPC as it is.

With an endpoint whose private DNS is on, the service's name leads to the endpoint's interfaces, whatever the routes
say; without one it leads to a public address, and the routes must. Security groups are stateful, network ACLs aren't.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from emulator.context import context
from emulator.ec2 import network
from emulator.settings import settings

HTTPS = 443
# The ends of Linux's range of source ports. An ACL that lets only a part of it back in lets a part of the
# connections fail; here that counts as closed.
EPHEMERAL = (32768, 60999)
# Of AWS's ranges for the public (assumed: which of them a Region's endpoints have changes).
PUBLIC = {
    4: {
        "ssm": "52.119.190.10", "ssmmessages": "52.119.190.11", "ec2messages": "52.119.190.12",
        "kms": "52.119.190.13", "logs": "52.119.190.14", "s3": "52.119.190.15",
    },
    6: {
        "ssm": "2600:1f00::a", "ssmmessages": "2600:1f00::b", "ec2messages": "2600:1f00::c",
        "kms": "2600:1f00::d", "logs": "2600:1f00::e", "s3": "2600:1f00::f",
    },
}


# An endpoint in the hub VPC (the setting `hub`).
HUB = "10.2.0.5"


@dataclass(frozen=True)
class Path:
    """How the instance reaches a service: by an endpoint, else by its public address."""

    address: str
    endpoint: Any = None


class Unreachable(Exception):
    """As the agent's HTTP client words it; `why` is for people who look at the emulator."""

    def __init__(self, error: str, why: str) -> None:
        super().__init__(error)
        self.why = why


def path(instance: Any, service: str) -> Path:
    """The way to the service, or Unreachable."""
    backend, eni = instance.ec2_backend, instance.nics[0]
    host = f"{service}.{context.region}.amazonaws.com"
    vpc = backend.vpcs[eni.subnet.vpc_id]
    if str(vpc.enable_dns_support).lower() != "true":
        raise Unreachable(f"dial tcp: lookup {host}: i/o timeout", f"{vpc.id} has DNS support off")
    endpoint = _endpoint(backend, vpc.id, service)
    if endpoint is not None:
        interfaces = [backend.enis[eni_id] for eni_id in endpoint.network_interface_ids]
        reasons = [_to_interface(backend, eni, other, endpoint) for other in interfaces]
        if not reasons:
            raise Unreachable(f"dial tcp: lookup {host}: no such host", f"{endpoint.id} has no subnet")
        for other, reason in zip(interfaces, reasons, strict=True):
            if reason is None:
                return Path(other.private_ip_address, endpoint)
        raise Unreachable(f"dial tcp {interfaces[0].private_ip_address}:{HTTPS}: i/o timeout", reasons[0] or "")
    address = HUB if settings.hub else _public_address(eni, service)
    if reason := _to_public(backend, eni, address):
        shown = f"[{address}]" if ":" in address else address
        raise Unreachable(f"dial tcp {shown}:{HTTPS}: i/o timeout", reason)
    return Path(address)


def _endpoint(backend: Any, vpc_id: str, service: str) -> Any:
    name = f"com.amazonaws.{context.region}.{service}"
    for endpoint in backend.vpc_end_points.values():
        if (endpoint.vpc_id, endpoint.service_name) == (vpc_id, name) and network.resolves_privately(backend, endpoint):
            return endpoint
    return None


def _public_address(eni: Any, service: str) -> str:
    # The agent takes IPv4 unless there is none.
    return PUBLIC[4 if eni.private_ip_address else 6][service]


def _own_address(eni: Any, version: int) -> str | None:
    if version == 4:
        return eni.private_ip_address
    return eni.ipv6_addresses[0] if eni.ipv6_addresses else None


# To an endpoint


def _to_interface(backend: Any, eni: Any, other: Any, endpoint: Any) -> str | None:
    """Why it can't be reached; None: it can."""
    mine, its = eni.private_ip_address, other.private_ip_address
    if not _admits(backend, eni, its, other, egress=True):
        return f"no security group of {eni.id} lets it out to {its} on {HTTPS}"
    if not _admits(backend, other, mine, eni, egress=False):
        groups = ", ".join(g.id for g in other.group_set)
        return f"security group {groups} of {endpoint.id} doesn't let {mine} in on {HTTPS}"
    if eni.subnet.id == other.subnet.id:
        return None  # ACLs stand at a subnet's border
    return _acls(
        backend, (eni.subnet, True, its, HTTPS), (other.subnet, False, mine, HTTPS),
        (other.subnet, True, mine, None), (eni.subnet, False, its, None),
    )  # fmt: skip


# To a public address


def _to_public(backend: Any, eni: Any, address: str) -> str | None:
    if _own_address(eni, ipaddress.ip_address(address).version) is None:
        return f"{eni.id} has no address of that family"
    if not _admits(backend, eni, address, None, egress=True):
        return f"no security group of {eni.id} lets it out to {address} on {HTTPS}"
    if reason := _acls(backend, (eni.subnet, True, address, HTTPS), (eni.subnet, False, address, None)):
        return reason
    return _by_route(backend, eni, address, hops=0)


def _by_route(backend: Any, eni: Any, address: str, hops: int) -> str | None:
    return _out_by(backend, network.route_table_of(backend, eni.subnet), eni, address, hops)


def _out_by(backend: Any, table: Any, eni: Any, address: str, hops: int) -> str | None:
    route = longest_match(backend, table, address)
    if route is None:
        return f"{table.id} has no route to {address}"
    if route.state == "blackhole":
        return f"the route of {table.id} to {address} is a blackhole"
    if route.local:
        return f"{address} is local to the VPC by {table.id}, and nobody is there"
    gateway = route.gateway_id or ""
    if gateway.startswith("igw-"):
        if ipaddress.ip_address(address).version == 4 and not eni.public_ip:
            return f"{eni.id} has no public address for {gateway}"
        return None
    if route.egress_only_igw:
        return None
    if route.nat_gateway:
        return _through_nat(backend, eni, route.nat_gateway, address, hops)
    if route.instance or route.interface:
        return _through_instance(backend, route.interface or route.instance.nics[0], address, hops)
    if (route.transit_gateway or gateway.startswith("vgw-")) and settings.transit_leads_out:
        return None
    if address == HUB and (route.transit_gateway or route.vpc_pcx):
        return None
    # Peering isn't transitive.
    return f"the route of {table.id} leads out of sight"


def _through_nat(backend: Any, eni: Any, nat: Any, address: str, hops: int) -> str | None:
    if nat.state != "available":
        return f"{nat.id} is {nat.state}"
    if nat.connectivity_type != "public":
        return f"{nat.id} is private"
    if hops:
        return f"{nat.id} is reached through another gateway"
    if table := getattr(nat, "route_table_id", None):  # a regional one
        return _out_by(backend, backend.route_tables[table], nat._eni, address, hops + 1)
    inside = nat._eni
    if inside.subnet.id == eni.subnet.id:
        return f"{nat.id} lies in the subnet whose route leads to it"
    source = eni.private_ip_address
    if reason := _acls(
        backend, (inside.subnet, False, source, HTTPS), (inside.subnet, True, address, HTTPS),
        (inside.subnet, False, address, None), (inside.subnet, True, source, None),
    ):  # fmt: skip
        return reason
    return _by_route(backend, inside, address, hops + 1)


def _through_instance(backend: Any, inside: Any, address: str, hops: int) -> str | None:
    """An instance that does the work of a NAT gateway."""
    if hops:
        return f"{inside.id} is reached through another gateway"
    if inside.source_dest_check and inside.instance.source_dest_check:
        return f"{inside.id} drops what isn't meant for it (source/destination check)"
    if not _admits(backend, inside, address, None, egress=True):
        return f"no security group of {inside.id} lets it out to {address} on {HTTPS}"
    return _by_route(backend, inside, address, hops + 1)


def longest_match(backend: Any, table: Any, address: str) -> Any:
    """The most specific route to an address; None if there is none."""
    ip = ipaddress.ip_address(address)
    best, length = None, -1
    for route in table.routes:
        for cidr in _destinations(backend, route):
            net = ipaddress.ip_network(cidr, strict=False)
            if net.version == ip.version and ip in net and net.prefixlen > length:
                best, length = route, net.prefixlen
    return best


def _destinations(backend: Any, route: Any) -> list[str]:
    if route.destination_prefix_list_id:
        return _prefixes(backend, route.destination_prefix_list_id)
    return [cidr for cidr in (route.destination_cidr_block, route.destination_ipv6_cidr_block) if cidr]


def _prefixes(backend: Any, prefix_list_id: str) -> list[str]:
    prefix_list = backend.managed_prefix_lists.get(prefix_list_id)
    return [entry["Cidr"] for entry in network.prefix_list_entries(prefix_list)] if prefix_list else []


# Security groups and network ACLs


def _admits(backend: Any, eni: Any, peer: str, peer_eni: Any, *, egress: bool) -> bool:
    """Whether a security group of the interface allows HTTPS to or from the peer."""
    ip = ipaddress.ip_address(peer)
    peer_groups = {group.id for group in peer_eni.group_set} if peer_eni else set()
    for group in eni.group_set:
        for rule in group.egress_rules if egress else group.ingress_rules:
            if not _concerns_https(rule):
                continue
            if rule.source_group.get("GroupId") in peer_groups:
                return True
            cidrs = [rule.cidr_ipv4, rule.cidr_ipv6]
            if rule.prefix_list_id:
                cidrs += _prefixes(backend, rule.prefix_list_id)
            if any(_contains(cidr, ip) for cidr in cidrs if cidr):
                return True
    return False


def _concerns_https(rule: Any) -> bool:
    if str(rule.ip_protocol) == "-1":
        return True
    return str(rule.ip_protocol) in ("tcp", "6") and rule.from_port <= HTTPS <= rule.to_port


def _contains(cidr: str, ip: Any) -> bool:
    net = ipaddress.ip_network(cidr, strict=False)
    return net.version == ip.version and ip in net


def _acls(backend: Any, *crossings: tuple[Any, bool, str, int | None]) -> str | None:
    """Which ACL stops a packet at one of the borders: (subnet, outwards, peer, port; None: the source ports)."""
    for subnet, egress, peer, port in crossings:
        acl = next(a for a in backend.network_acls.values() if any(x.subnet_id == subnet.id for x in a.associations))
        for number in EPHEMERAL if port is None else (port,):
            if not _passes(acl, egress, peer, number):
                way = "out to" if egress else "in from"
                return f"{acl.id} of {subnet.id} lets nothing {way} {peer} on port {number}"
    return None


def _passes(acl: Any, egress: bool, peer: str, port: int) -> bool:
    ip = ipaddress.ip_address(peer)
    for entry in sorted(acl.entries, key=lambda e: int(e.rule_number)):
        cidr = entry.cidr_block or entry.ipv6_cidr_block
        if bool(entry.egress) != egress or entry.protocol not in ("-1", "6") or not cidr or not _contains(cidr, ip):
            continue
        if entry.protocol == "6" and not int(entry.port_range_from) <= port <= int(entry.port_range_to):
            continue
        return entry.rule_action == "allow"
    return False
