"""Instances: states that take time and are announced, a root volume from the AMI, exact filters, paging."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ec2.models.instances import Instance, InstanceBackend, InstanceState
from moto.ec2.responses import EC2Response

from emulator.context import later
from emulator.ec2 import errors, filters, images, notifications, paging, tags
from emulator.patching import added, patched
from emulator.settings import settings

PAGE = paging.Limits(lowest=5, highest=1000, ids_parameter="instancesSet", cut=True)

MAX_TEMPLATE_VERSIONS = 200  # of a page

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}

FILTERS: filters.Readers = {
    **filters.attributes(
        "architecture", "availability-zone", "client-token", "hypervisor", "image-id", "instance-type", "kernel-id",
        "key-name", "launch-time", "monitoring-state", "owner-id", "platform", "private-dns-name", "root-device-name",
        "root-device-type", "source-dest-check", "subnet-id", "virtualization-type", "vpc-id"
    ),
    "block-device-mapping.delete-on-termination": lambda i: [d.delete_on_termination for d in _devices(i)],
    "block-device-mapping.device-name": lambda i: [name for name, _ in i.get_block_device_mapping],
    "block-device-mapping.volume-id": lambda i: [d.volume_id for d in _devices(i)],
    "dns-name": lambda i: i.public_dns_name,
    "iam-instance-profile.arn": lambda i: (i.iam_instance_profile or {}).get("Arn"),
    "iam-instance-profile.id": lambda i: (i.iam_instance_profile or {}).get("Id"),
    "iam-instance-profile.name": lambda i: (i.iam_instance_profile or {}).get("Arn", "/").rsplit("/", 1)[1] or None,
    "instance-id": lambda i: i.id,
    "instance-lifecycle": lambda i: i.lifecycle,
    "instance-state-code": lambda i: i.state_code,
    "instance-state-name": lambda i: i.state,
    "instance.group-id": lambda i: [g.id for g in i.security_groups],
    "instance.group-name": lambda i: [g.name for g in i.security_groups],
    "ip-address": lambda i: i.public_ip,
    "launch-index": lambda i: i.ami_launch_index,
    "network-interface.group-id": lambda i: [g.id for n in i.nics.values() for g in n.group_set],
    "network-interface.network-interface-id": lambda i: [n.id for n in i.nics.values()],
    "private-ip-address": lambda i: i.private_ip,
    "state-reason-code": lambda i: i.state_reason.code,
}


TERMINAL = ("shutting-down", "terminated")


def _devices(instance: Any) -> list[Any]:
    return [device for _, device in instance.get_block_device_mapping]


# Finding


def _index(backend: Any) -> dict[str, Any]:
    return backend.__dict__.setdefault("_instances_by_id", {})


@patched(Instance, "__init__")
def register(original: Any, self: Any, ec2_backend: Any, *args: Any, **kwargs: Any) -> None:
    original(self, ec2_backend, *args, **kwargs)
    self.launch_time = self.launch_time.replace(microsecond=0)  # EC2 gives it in whole seconds
    self._visible_from = time.monotonic() + settings.instance_visibility_delay_seconds
    _index(ec2_backend)[self.id] = self


def _is_visible(instance: Any) -> bool:
    return time.monotonic() >= instance._visible_from


@patched(InstanceBackend)
def get_instance(_original: Any, self: Any, instance_id: str) -> Any:
    """moto copies every reservation of the account to find one instance."""
    if instance_id not in _index(self):
        raise errors.instance_not_found(instance_id)
    return _index(self)[instance_id]


@patched(InstanceBackend)
def get_instance_by_id(_original: Any, self: Any, instance_id: str) -> Any:
    return _index(self).get(instance_id)


@patched(EC2Response)
def describe_instances(_original: Any, self: Any) -> ActionResult:
    """moto pages by reservation, filters loosely and crashes on a bad token."""
    self.error_on_dryrun()
    backend, ids = self.ec2_backend, self._get_param("InstanceIds") or []
    for instance_id in ids:
        if not instance_id.startswith("i-"):
            raise EC2ClientError("InvalidInstanceID.Malformed", f'Invalid id: "{instance_id}"')
    known = _index(backend)
    if unknown := [i for i in ids if i not in known or not _is_visible(known[i])]:
        raise errors.instance_not_found(*unknown)
    wanted, filter_values = set(ids), self._filters_from_querystring()
    found = [
        (reservation, instance)
        for reservation in backend.reservations.values()
        for instance in reservation.instances
        if (not wanted or instance.id in wanted) and _is_visible(instance)
    ]
    readers = {name: _of_instance(read) for name, read in FILTERS.items()}
    readers["reservation-id"] = lambda pair: pair[0].id
    chosen = filters.select(found, filter_values, readers, lambda pair: tags.of(pair[1]))
    chunk, token = paging.page(
        chosen,
        id_of=lambda pair: f"{pair[0].id}/{pair[1].id}",
        request=self,
        operation="DescribeInstances",
        limits=PAGE,
        ids=ids,
    )
    return ActionResult({"Reservations": _by_reservation(chunk), "NextToken": token})


def _of_instance(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda pair: read(pair[1])


def _by_reservation(pairs: list[tuple[Any, Any]]) -> list[Any]:
    """Reservations with only the instances that were asked for."""
    partial: dict[str, Any] = {}
    for reservation, instance in pairs:
        if reservation.id not in partial:
            partial[reservation.id] = copy.copy(reservation)
            partial[reservation.id].instances = []
        partial[reservation.id].instances.append(instance)
    return list(partial.values())


# Launching


def _security_groups(instance: Any) -> list[Any]:
    nics = instance.__dict__.get("nics")
    return nics[0]._group_set if nics and 0 in nics else instance.__dict__.get("_launch_groups", [])


def _set_security_groups(instance: Any, groups: list[Any]) -> None:
    nics = instance.__dict__.get("nics")
    if nics and 0 in nics:
        nics[0]._group_set = list(groups)
    else:
        instance.__dict__["_launch_groups"] = groups


# Those of the primary network interface. moto keeps both: it shows none where the default group holds, and changes one
# without the other.
added(Instance, "security_groups")(property(_security_groups, _set_security_groups))


@patched(NetworkInterface)
def group_set(_original: Any, self: Any) -> list[Any]:
    return self._group_set


@patched(InstanceBackend)
def modify_instance_metadata_options(original: Any, self: Any, instance_id: str, **changes: Any) -> Any:
    """moto forgets what isn't named."""
    present = self.get_instance(instance_id).metadata_options
    kept = {
        "http_tokens": present.http_tokens,
        "hop_limit": present.http_put_response_hop_limit,
        "http_endpoint": present.http_endpoint,
        "http_protocol": present.http_protocol_ipv6,
        "metadata_tags": present.instance_metadata_tags,
    }
    return original(self, instance_id, **kept | {key: value for key, value in changes.items() if value is not None})


@patched(EC2Response, "run_instances")
def launch_by_request(original: Any, self: Any) -> ActionResult:
    """moto launches MinCount; AWS launches MaxCount if it can."""
    lowest, highest = int(self._get_param("MinCount") or 1), int(self._get_param("MaxCount") or 1)
    if not 1 <= lowest <= highest:
        raise errors.invalid_value(f"Value ({highest}) for parameter maxCount is invalid. Expected: >= minCount")
    tags.at_creation(self, *_TAGGED_AT_LAUNCH)
    self.params["MinCount"] = highest
    return original(self)


@patched(EC2Response)
def describe_launch_template_versions(original: Any, self: Any) -> ActionResult:
    """moto shows 15 and doesn't say that there are more."""
    size = int(self._get_param("MaxResults") or MAX_TEMPLATE_VERSIONS)
    if not 1 <= size <= MAX_TEMPLATE_VERSIONS:
        raise errors.invalid_value(f"Maximum results allowed are between 1 and {MAX_TEMPLATE_VERSIONS}")
    self.params["MaxResults"] = 1_000_000
    answer = original(self)
    self.params["MaxResults"] = size
    chunk, token = paging.page(
        answer.result["LaunchTemplateVersions"],
        id_of=lambda version: f"{version['VersionNumber']:06}",
        request=self,
        operation="DescribeLaunchTemplateVersions",
        limits=paging.Limits(lowest=1, highest=MAX_TEMPLATE_VERSIONS, ids_parameter=""),
        ids=[],
    )
    return ActionResult({"LaunchTemplateVersions": chunk, "NextToken": token})


_TAGGED_AT_LAUNCH = ("instance", "volume", "network-interface", "spot-instances-request", "elastic-gpu")


@patched(InstanceBackend)
def run_instances(
    original: Any, self: Any, image_id: str, count: int, user_data: Any, security_group_names: list[str], **kwargs: Any
) -> Any:
    """moto launches from unknown AMIs, and loses the root volume when other devices are mapped."""
    template = {}
    if kwargs.get("launch_template"):
        template = self._get_template_from_args(kwargs["launch_template"]).data
    image = images.usable(self, image_id or template.get("ImageId") or "")
    given = kwargs.get("block_device_mappings") or template.get("BlockDeviceMappings")
    if not given and kwargs.get("launch_config"):
        given = kwargs["launch_config"].block_device_mapping_dict
    kwargs["block_device_mappings"] = _devices_at_launch(image, given or [])
    _choose_subnet(self, template, kwargs)
    reservation = original(self, image_id, count, user_data, security_group_names, **kwargs)
    for instance in reservation.instances:
        _set_state(instance, "pending")
        _continue(instance, "pending", "running", lambda: None)
    return reservation


def _choose_subnet(backend: Any, template: dict[str, Any], launch: dict[str, Any]) -> None:
    """moto puts an instance without a subnet into the default VPC with an address of no subnet there.

    Its own launches for groups and Spot requests never get a public address: the subnet decides where nobody does.
    """
    launch.setdefault("associate_public_ip", None)
    interfaces = launch.get("nics") or []
    if launch.get("subnet_id") or any("SubnetId" in n or "NetworkInterfaceId" in n for n in interfaces):
        return
    in_template = template.get("NetworkInterfaces") or []
    if from_template := next((n["SubnetId"] for n in in_template if n.get("SubnetId")), None):
        launch["subnet_id"] = from_template
        return
    defaults = {zone: s for zone, s in backend.get_default_subnets().items() if s.vpc_id == backend.default_vpc.id}
    subnet = defaults.get(launch.get("placement") or f"{backend.region_name}a")
    if subnet is not None:
        launch["subnet_id"] = subnet.id


def _devices_at_launch(image: Any, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The image's devices, overridden by those of the launch; a device with NoDevice is left out."""
    merged = {m["DeviceName"]: dict(m["Ebs"]) for m in image.block_device_mappings if "Ebs" in m}
    for mapping in given:
        device = mapping["DeviceName"]
        if mapping.get("NoDevice") is not None:
            if device == image.root_device_name:
                raise errors.invalid_value(f"The root device {device} can't be suppressed (NoDevice)")
            merged.pop(device, None)
            continue
        if "Ebs" not in mapping:
            continue  # an instance store volume: no EBS volume
        overrides = {key: value for key, value in mapping["Ebs"].items() if value is not None}
        merged[device] = merged.get(device, {"DeleteOnTermination": True, "VolumeType": "gp2"}) | overrides
    return [{"DeviceName": device, "Ebs": ebs} for device, ebs in merged.items()]


@patched(EC2Response, "_parse_block_device_mapping")
def parse_block_device_mappings(_original: Any, self: Any) -> list[dict[str, Any]]:
    """moto wants a size for each device, although the image knows it, and keeps volumes that AWS would delete."""
    return self._get_param("BlockDeviceMappings") or []


# States. moto goes from one to the other at once and tells nobody.

listeners: list[Callable[[Any, str], None]] = []
"""Called with an instance and its new state, or "rebooted"."""


def _set_state(instance: Any, state: str) -> None:
    instance._state = InstanceState(state, CODES[state])
    notifications.instance_state_changed(instance, state)
    for listener in listeners:
        listener(instance, state)


def _continue(instance: Any, during: str, after: str, act: Callable[[], Any]) -> None:
    """Leave the state `during` after the set time, having carried out the transition."""

    def complete() -> None:
        if instance.state == during:
            act()
            _set_state(instance, after)

    if settings.instance_transition_seconds:
        later(settings.instance_transition_seconds, complete)
    else:
        complete()


def _refuse_in_state(instance: Any, verb: str) -> EC2ClientError:
    return EC2ClientError(
        "IncorrectInstanceState", f"The instance '{instance.id}' is not in a state from which it can be {verb}."
    )


@patched(Instance)
def start(original: Any, self: Any) -> InstanceState:
    before = copy.copy(self._state)
    if before.name in ("pending", "running"):
        return before
    if before.name != "stopped":
        raise _refuse_in_state(self, "started")
    _set_state(self, "pending")
    _continue(self, "pending", "running", lambda: original(self))
    return before


@patched(Instance)
def stop(original: Any, self: Any) -> InstanceState:
    before = copy.copy(self._state)
    if before.name in ("stopping", "stopped"):
        return before
    if before.name != "running":
        raise _refuse_in_state(self, "stopped")
    _set_state(self, "stopping")
    _continue(self, "stopping", "stopped", lambda: original(self))
    return before


@patched(Instance)
def terminate(original: Any, self: Any) -> InstanceState:
    before = copy.copy(self._state)
    if before.name in ("shutting-down", "terminated"):
        return before
    _set_state(self, "shutting-down")
    _continue(self, "shutting-down", "terminated", lambda: original(self))
    return before


@patched(Instance)
def reboot(original: Any, self: Any) -> None:
    if self.state != "running":
        raise _refuse_in_state(self, "rebooted")
    original(self)
    for listener in listeners:
        listener(self, "rebooted")
