"""Network interfaces as AWS lets one change them: groups per interface, and who may not (AMI-5, AMI-8).

moto keeps an interface after its instance is gone, takes groups of other VPCs and makes up those that don't exist.
"""

from __future__ import annotations

import copy
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.elastic_network_interfaces import NetworkInterface, NetworkInterfaceBackend
from moto.ec2.models.instances import Instance, InstanceBackend
from moto.ec2.responses import EC2Response

from emulator.aws_request import AwsRequest
from emulator.context import context
from emulator.control import ControlError, route
from emulator.ec2 import errors, instances, operators, security_groups
from emulator.operations import operation
from emulator.patching import added, patched

MAX_GROUPS = 5  # the quota's default: security groups per network interface


def check_groups(backend: Any, group_ids: list[str], vpc_id: str) -> list[Any]:
    """The groups, if an interface in this VPC may have them."""
    groups = []
    for group_id in dict.fromkeys(group_ids):
        group = backend.get_security_group_from_id(group_id)
        if group is None or not security_groups.is_visible(group) or not security_groups.is_usable(group):
            raise EC2ClientError("InvalidGroup.NotFound", f"The security group '{group_id}' does not exist")
        if group.vpc_id != vpc_id:
            raise EC2ClientError(
                "InvalidGroup.NotFound", "You have specified two resources that belong to different networks."
            )
        groups.append(group)
    if len(groups) > MAX_GROUPS:
        raise EC2ClientError(
            "SecurityGroupsPerInterfaceLimitExceeded",
            "The maximum number of security groups per interface has been reached.",
        )
    return groups


# Launching


@patched(InstanceBackend, "run_instances")
def launch_with_interfaces(
    original: Any, self: Any, image_id: str, count: int, user_data: Any, security_group_names: list[str], **kwargs: Any
) -> Any:
    """moto ignores a template's interfaces, and lets those that a launch made outlive their instance."""
    template = {}
    if kwargs.get("launch_template"):
        template = self._get_template_from_args(kwargs["launch_template"]).data
    wanted = copy.deepcopy(kwargs.get("nics") or template.get("NetworkInterfaces") or [])
    for interface in wanted:
        interface.setdefault("DeviceIndex", 0)
        if found := interface.get("NetworkInterfaceId"):
            _check_available(self.get_network_interface(found))
    primary = next((n for n in wanted if int(n["DeviceIndex"]) == 0), {})
    if primary.get("NetworkInterfaceId"):
        kwargs["subnet_id"] = self.get_network_interface(primary["NetworkInterfaceId"]).subnet.id
    elif primary.get("SubnetId") and kwargs.get("subnet_id"):
        # Auto Scaling chooses the subnet; the template's own counts where nobody does.
        primary["SubnetId"] = kwargs["subnet_id"]
    if len(wanted) == 1 and primary.get("SubnetId") and primary.get("AssociatePublicIpAddress") is None:
        # Only a launch with a single interface gets a public address by itself.
        primary["AssociatePublicIpAddress"] = self.get_subnet(primary["SubnetId"]).map_public_ip_on_launch is True
    kwargs["nics"] = wanted
    _check_launch_groups(self, wanted, kwargs, template)
    before = set(self.enis)
    reservation = original(self, image_id, count, user_data, security_group_names, **kwargs)
    specified = {int(n["DeviceIndex"]): n for n in wanted}
    for instance in reservation.instances:
        for index, interface in instance.nics.items():
            if interface.id not in before:
                given = specified.get(index, {}).get("DeleteOnTermination")
                interface.delete_on_termination = True if given is None else bool(given)
                interface.description = specified.get(index, {}).get("Description") or ""
    return reservation


def _check_launch_groups(
    backend: Any, interfaces: list[dict[str, Any]], launch: dict[str, Any], template: dict[str, Any]
) -> None:
    group_ids = launch.get("security_group_ids") or template.get("SecurityGroupIds") or []
    if interfaces and group_ids:
        raise errors.invalid_combination(
            "Network interfaces and an instance-level security groups may not be specified on the same request"
        )
    default = launch.get("subnet_id") or next(iter(backend.get_default_subnets().values()), None)
    for wanted in interfaces or [{"Groups": group_ids}]:
        if not wanted.get("Groups"):
            continue
        subnet = wanted.get("SubnetId") or default
        subnet = backend.get_subnet(subnet) if isinstance(subnet, str) else subnet
        if subnet is not None:
            _check_launch_network(backend, wanted["Groups"], subnet)


def _check_launch_network(backend: Any, group_ids: list[Any], subnet: Any) -> None:
    """A launch says in other words than a change that a group is of another VPC."""
    for group_id in (g for g in group_ids if isinstance(g, str)):
        group = backend.get_security_group_from_id(group_id)
        if group is not None and group.vpc_id != subnet.vpc_id:
            raise EC2ClientError(
                "InvalidParameter", f"Security group {group_id} and subnet {subnet.id} belong to different networks."
            )
    check_groups(backend, [g for g in group_ids if isinstance(g, str)], subnet.vpc_id)


@instances.listeners.append
def _let_go(instance: Any, state: str) -> None:
    """What isn't deleted with a terminated instance is free again; the instance goes on showing neither."""
    if state != "terminated":
        return
    for index, interface in list(instance.nics.items()):
        instance.nics[index] = copy.copy(interface)
        if interface.id in instance.ec2_backend.enis:
            interface.instance = interface.attachment_id = interface.attach_time = None
            interface.device_index = None
            interface.status = "available"


def _is_terminated(instance: Any) -> bool:
    state = instance.__dict__.get("_state")
    return state is not None and state.name == "terminated"


@patched(Instance)
def network_interfaces(original: Any, self: Any) -> list[Any]:
    return [] if _is_terminated(self) else original(self)


@patched(Instance)
def vpc_id(original: Any, self: Any) -> str | None:
    return None if _is_terminated(self) else original(self)


@patched(Instance)
def subnet_id(original: Any, self: Any) -> str | None:
    return None if _is_terminated(self) else original(self)


# Interfaces of their own


@patched(EC2Response)
def create_network_interface(original: Any, self: Any) -> ActionResult:
    subnet = self.ec2_backend.get_subnet(self._get_param("SubnetId"))
    check_groups(self.ec2_backend, self._get_param("Groups") or [], subnet.vpc_id)
    before = set(self.ec2_backend.enis)
    result = original(self)
    (made,) = set(self.ec2_backend.enis) - before
    interface = self.ec2_backend.enis[made]
    if not self._get_param("PrivateIpAddress") and not self._get_param("PrivateIpAddresses"):
        # moto takes any address, of no subnet.
        interface.private_ip_address = subnet.get_available_subnet_ip(interface)
        interface.private_ip_addresses[0]["PrivateIpAddress"] = interface.private_ip_address
    interface.requester_id = "AIDAEXAMPLE0REQUESTER"
    return result


@patched(EC2Response)
def delete_network_interface(original: Any, self: Any) -> EmptyResult:
    interface = self.ec2_backend.get_network_interface(self._get_param("NetworkInterfaceId"))
    _refuse_foreign("DeleteNetworkInterface", interface)
    if interface.attachment_id:
        raise errors.invalid_value(f"Network interface '{interface.id}' is currently in use.")
    return original(self)


def _check_available(interface: Any) -> None:
    if interface.attachment_id or interface.status != "available":
        raise EC2ClientError("InvalidNetworkInterface.InUse", f"Interface: [{interface.id}] in use.")


@patched(EC2Response)
def attach_network_interface(original: Any, self: Any) -> ActionResult:
    interface = self.ec2_backend.get_network_interface(self._get_param("NetworkInterfaceId"))
    instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
    _refuse_foreign("AttachNetworkInterface", interface)
    operators.refuse("AttachNetworkInterface", instance)
    _check_attachment(interface, instance, int(self._get_param("DeviceIndex")))
    return original(self)


def _check_attachment(interface: Any, instance: Any, index: int) -> None:
    if instance.state not in ("running", "stopped"):
        raise EC2ClientError(
            "IncorrectInstanceState", f"Instance '{instance.id}' is not 'running' or 'stopped': {instance.state}"
        )
    _check_available(interface)
    if index in instance.nics:
        raise errors.invalid_value(
            f"Instance '{instance.id}' already has an interface attached at device index '{index}'."
        )
    if interface.subnet.availability_zone != instance.availability_zone:
        raise errors.invalid_combination(
            "You may not attach a network interface to an instance if they are not in the same availability zone"
        )


@patched(EC2Response)
def detach_network_interface(original: Any, self: Any) -> EmptyResult:
    wanted = self._get_param("AttachmentId")
    for interface in self.ec2_backend.enis.values():
        if interface.attachment_id == wanted:
            _refuse_foreign("DetachNetworkInterface", interface)
            if interface.device_index == 0:
                raise EC2ClientError(
                    "OperationNotPermitted", "The network interface at device index 0 cannot be detached."
                )
    return original(self)


# Changing


def _refuse_foreign(operation: str, interface: Any) -> None:
    """What a service made and manages can't be changed, not even by an administrator."""
    if interface.requester_managed:
        raise EC2ClientError("AuthFailure", "You do not have permission to access the specified resource.")
    if interface.instance is not None:
        operators.refuse(operation, interface.instance)


_CHANGES = ("Description", "SourceDestCheck", "Groups", "Attachment", "EnaSrdSpecification", "EnablePrimaryIpv6")


@patched(EC2Response)
def modify_network_interface_attribute(_original: Any, self: Any) -> EmptyResult:
    backend = self.ec2_backend
    interface = backend.get_network_interface(self._get_param("NetworkInterfaceId"))
    given = [name for name in _CHANGES if self._get_param(name) not in (None, [])]
    if not given:
        raise errors.missing_parameter("attribute to modify")
    if len(given) > 1:
        raise errors.invalid_combination("Fields for multiple attribute types specified")
    _refuse_foreign("ModifyNetworkInterfaceAttribute", interface)
    (name,) = given
    if name == "Groups":
        groups = check_groups(backend, self._get_param("Groups"), interface.subnet.vpc_id)
        self.error_on_dryrun()
        interface._group_set = groups
        return EmptyResult()
    self.error_on_dryrun()
    if name == "Description":
        interface.description = self._get_param("Description.Value")
    elif name == "SourceDestCheck":
        interface.source_dest_check = bool(self._get_param("SourceDestCheck.Value"))
    elif name == "Attachment":
        if self._get_param("Attachment.AttachmentId") != interface.attachment_id:
            raise EC2ClientError(
                "InvalidAttachmentID.NotFound",
                f"The attachment '{self._get_param('Attachment.AttachmentId')}' does not exist",
            )
        interface.delete_on_termination = bool(self._get_param("Attachment.DeleteOnTermination"))
    else:
        raise NotImplementedError(f"ModifyNetworkInterfaceAttribute {name}")
    return EmptyResult()


@patched(NetworkInterfaceBackend, "modify_network_interface_attribute")
def modify_on_backend(
    _original: Any,
    self: Any,
    eni_id: str,
    group_ids: list[str],
    source_dest_check: bool | None = None,
    description: str | None = None,
) -> None:
    """For moto's own callers."""
    interface = self.get_network_interface(eni_id)
    if group_ids:
        interface._group_set = check_groups(self, group_ids, interface.subnet.vpc_id)
    if source_dest_check is not None:
        interface.source_dest_check = source_dest_check
    if description:
        interface.description = description


@added(NetworkInterface)
@property
def operator(self: Any) -> dict[str, Any]:
    return self.instance.operator if self.instance is not None else operators.NOBODY


# Control routes


def _backend() -> EC2Backend:
    return ec2_backends[context.account_id][context.region]


@route("POST", "interfaces")
def make_interface(body: dict[str, Any]) -> Any:
    """An interface that a service of AWS makes and manages, as ECS, EKS or a load balancer does.

    {"instance_id": ID, "device_index"?: 1, "groups"?: [ids], "description"?, "requester_id"?: "amazon-elb"} attaches
    it; with "subnet_id" in place of the instance it stands alone. With "trunk": true it is a trunk that anybody may
    change; "on": "eni-…" makes a branch, which is attached to nothing but that trunk (AMI-17); "on": null one of which
    nobody may tell where it hangs.
    """
    if "on" in body:
        return _make_branch(body)
    known = {"instance_id", "subnet_id", "device_index", "groups", "description", "requester_id", "trunk"}
    if unknown := body.keys() - known:
        raise ControlError(f"unknown field {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    backend = _backend()
    instance = backend.get_instance_by_id(body["instance_id"]) if "instance_id" in body else None
    if instance is None and "subnet_id" not in body:
        raise ControlError(f"no such instance {body.get('instance_id')}; give an instance_id or a subnet_id")
    subnet = backend.get_subnet(instance.subnet_id if instance is not None else body["subnet_id"])
    groups = [group.id for group in check_groups(backend, body.get("groups") or [], subnet.vpc_id)]
    interface = backend.create_network_interface(
        subnet, subnet.get_available_subnet_ip(None), group_ids=groups, description=body.get("description", "")
    )
    interface.requester_managed = not body.get("trunk")
    interface.interface_type = "trunk" if body.get("trunk") else interface.interface_type
    interface.requester_id = body.get("requester_id", "amazon-aws")
    if instance is not None:
        index = int(body.get("device_index", max(instance.nics, default=-1) + 1))
        if index in instance.nics:
            raise ControlError(f"instance {instance.id} has an interface at device index {index}")
        instance.attach_eni(interface, index)
        interface.delete_on_termination = True
    else:
        interface.status = "in-use"
    return {"network_interface_id": interface.id, "private_ip_address": interface.private_ip_address}


# Trunks, and secondary networks


def _make_branch(body: dict[str, Any]) -> Any:
    """As Amazon EKS makes one for a pod: the account's own, and in use without an attachment."""
    if unknown := body.keys() - {"on", "subnet_id", "groups"}:
        raise ControlError(f"unknown field {', '.join(sorted(unknown))}; known: groups, on, subnet_id")
    backend = _backend()
    trunk = backend.get_network_interface(body["on"]) if body["on"] else None
    subnet = trunk.subnet if trunk is not None else backend.get_subnet(body["subnet_id"])
    groups = [group.id for group in check_groups(backend, body.get("groups") or [], subnet.vpc_id)]
    branch = backend.create_network_interface(
        subnet, subnet.get_available_subnet_ip(None), group_ids=groups, description="aws-k8s-branch-eni"
    )
    branch.interface_type, branch.status, branch.requester_id = "branch", "in-use", "895095153028"
    branch.hangs_on = trunk.id if trunk is not None else None
    return {"network_interface_id": branch.id, "private_ip_address": branch.private_ip_address}


@operation("ec2", "DescribeTrunkInterfaceAssociations")
def describe_trunk_interface_associations(_request: AwsRequest) -> dict[str, Any]:
    """All of them: the only filters are for the protocol and a GRE key, and our calls have none."""
    found = [n for n in _backend().enis.values() if getattr(n, "hangs_on", None) in _backend().enis]
    return {
        "InterfaceAssociations": [
            {
                "AssociationId": f"trunk-assoc-{branch.id.removeprefix('eni-')}",
                "BranchInterfaceId": branch.id,
                "TrunkInterfaceId": branch.hangs_on,
                "InterfaceProtocol": "VLAN",
                "VlanId": 1 + number,
            }
            for number, branch in enumerate(found)
        ]
    }


@route("POST", "instances/secondary")
def make_secondary(body: dict[str, Any]) -> Any:
    """{"instance_id": ID, "secondary_interface_id": "sni-…"}: an interface in a secondary network (AMI-19)."""
    instance = _backend().get_instance_by_id(body["instance_id"])
    if instance is None:
        raise ControlError(f"no such instance {body['instance_id']}")
    instance.__dict__.setdefault("_secondary", []).append(body["secondary_interface_id"])
    return {}


@added(Instance)
@property
def secondary_interfaces(self: Any) -> list[dict[str, Any]]:
    return [
        {"SecondaryInterfaceId": each, "Status": "in-use", "InterfaceType": "secondary"}
        for each in self.__dict__.get("_secondary", [])
    ]
