"""What the Systems Manager tests have in common: roles, VPCs, and nodes tried at once."""

from __future__ import annotations

from typing import Any

import ec2_help
from conftest import REGION, policy, trust

CORE = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
SERVICES = ("ssm", "ssmmessages", "ec2messages")


def make_profile(iam: Any, name: str = "managed", policies: tuple[str, ...] = (CORE,), service: str = "ec2") -> str:
    """An instance profile with a role of the same name; returns the profile's ARN."""
    arn = iam.create_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Arn"]
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(service))
    for policy in policies:
        iam.attach_role_policy(RoleName=name, PolicyArn=policy)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    return arn


def allow(*actions: str, **more: Any) -> str:
    return policy({"Effect": "Allow", "Action": list(actions), "Resource": "*"} | more)


def launch(ec2: Any, **parameters: Any) -> str:
    return ec2_help.launch(ec2, **parameters)[0]


def attach(ec2: Any, instance_id: str, arn: str) -> str:
    answer = ec2.associate_iam_instance_profile(InstanceId=instance_id, IamInstanceProfile={"Arn": arn})
    return answer["IamInstanceProfileAssociation"]["AssociationId"]


def retry(emulator: Any, *instance_ids: str) -> dict[str, Any]:
    """Have the agents try now; the first one's state afterwards."""
    return emulator.control("POST", "nodes/retry", instance_ids=list(instance_ids))["nodes"][0]


def nodes(ssm: Any, **parameters: Any) -> dict[str, str]:
    """The ping status by instance id."""
    found: dict[str, str] = {}
    for page in ssm.get_paginator("describe_instance_information").paginate(**parameters):
        found |= {node["InstanceId"]: node["PingStatus"] for node in page["InstanceInformationList"]}
    return found


class Vpc:
    """A VPC with DNS names, and subnets in two zones that share the main route table."""

    def __init__(self, ec2: Any, cidr: str = "10.0.0.0/16") -> None:
        self.ec2 = ec2
        self.id = ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
        ec2.modify_vpc_attribute(VpcId=self.id, EnableDnsHostnames={"Value": True})
        prefix = cidr.rsplit(".", 2)[0]
        self.private = self.subnet(f"{prefix}.1.0/24", "a")
        self.other = self.subnet(f"{prefix}.2.0/24", "b")
        self.table = ec2.describe_route_tables(
            Filters=[{"Name": "vpc-id", "Values": [self.id]}, {"Name": "association.main", "Values": ["true"]}]
        )["RouteTables"][0]["RouteTableId"]

    def subnet(self, cidr: str, zone: str) -> str:
        answer = self.ec2.create_subnet(VpcId=self.id, CidrBlock=cidr, AvailabilityZone=f"{REGION}{zone}")
        return answer["Subnet"]["SubnetId"]

    def group(self, name: str) -> str:
        return self.ec2.create_security_group(GroupName=name, Description=name, VpcId=self.id)["GroupId"]

    def admit(self, to: str, **source: Any) -> None:
        self.ec2.authorize_security_group_ingress(GroupId=to, IpPermissions=[https(**source)])

    def endpoint(self, service: str, **parameters: Any) -> str:
        answer = self.ec2.create_vpc_endpoint(
            VpcId=self.id,
            ServiceName=f"com.amazonaws.{REGION}.{service}",
            VpcEndpointType="Interface",
            **{"SubnetIds": [self.private]} | parameters,
        )
        return answer["VpcEndpoint"]["VpcEndpointId"]

    def endpoints(self, **parameters: Any) -> dict[str, str]:
        return {service: self.endpoint(service, **parameters) for service in SERVICES}

    def gateway(self) -> str:
        gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.id)
        return gateway

    def nat(self) -> tuple[str, str]:
        """A NAT gateway in a public subnet, not yet routed to; its id and that of the public subnet's table."""
        public = self.subnet(f"{self._prefix()}.100.0/24", "a")
        table = self.ec2.create_route_table(VpcId=self.id)["RouteTable"]["RouteTableId"]
        self.ec2.associate_route_table(RouteTableId=table, SubnetId=public)
        self.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=self.gateway())
        allocation = self.ec2.allocate_address(Domain="vpc")["AllocationId"]
        nat = self.ec2.create_nat_gateway(SubnetId=public, AllocationId=allocation)["NatGateway"]["NatGatewayId"]
        return nat, table

    def _prefix(self) -> str:
        return self.ec2.describe_vpcs(VpcIds=[self.id])["Vpcs"][0]["CidrBlock"].rsplit(".", 2)[0]


def https(cidr: str | None = None, group: str | None = None, prefix_list: str | None = None) -> dict[str, Any]:
    permission: dict[str, Any] = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}
    if cidr:
        permission["IpRanges"] = [{"CidrIp": cidr}]
    if group:
        permission["UserIdGroupPairs"] = [{"GroupId": group}]
    if prefix_list:
        permission["PrefixListIds"] = [{"PrefixListId": prefix_list}]
    return permission
