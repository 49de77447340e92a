"""Attributes of instances: one at a time, those that can be changed, and who can be stopped and terminated (AMI-7)."""

from __future__ import annotations

import secrets
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instances import InstanceBackend
from moto.ec2.responses import EC2Response

from emulator.ec2 import errors, instances, interfaces, operators
from emulator.patching import patched

_ATTRIBUTES = (
    "BlockDeviceMappings",
    "DisableApiStop",
    "DisableApiTermination",
    "EbsOptimized",
    "EnaSupport",
    "Groups",
    "InstanceInitiatedShutdownBehavior",
    "InstanceType",
    "Kernel",
    "Ramdisk",
    "SourceDestCheck",
    "SriovNetSupport",
    "UserData",
)
_ONLY_STOPPED = ("EbsOptimized", "EnaSupport", "InstanceType", "Kernel", "Ramdisk", "SriovNetSupport", "UserData")


@patched(InstanceBackend, "run_instances")
def launch_with_attributes(
    original: Any, self: Any, image_id: str, count: int, user_data: Any, security_group_names: list[str], **kwargs: Any
) -> Any:
    """moto forgets a template's protection, the root device of instance store images, and Spot requests."""
    template = {}
    if kwargs.get("launch_template"):
        template = self._get_template_from_args(kwargs["launch_template"]).data
    if not kwargs.get("instance_market_options"):
        kwargs["instance_market_options"] = (template.get("InstanceMarketOptions") or {}).get("MarketType") or {}
    kwargs.setdefault("disable_api_termination", bool(template.get("DisableApiTermination")))
    reservation = original(self, image_id, count, user_data, security_group_names, **kwargs)
    for instance in reservation.instances:
        image = self.amis.get(instance.image_id)
        instance._image = image
        if image is not None and image.root_device_type == "instance-store":
            instance.root_device_type = "instance-store"
        if kwargs["instance_market_options"] == "spot":
            instance.lifecycle = "spot"
        if instance.lifecycle == "spot":
            options = (template.get("InstanceMarketOptions") or {}).get("SpotOptions") or {}
            instance._spot_type = options.get("SpotInstanceType") or "one-time"
            if not getattr(instance, "spot_instance_request_id", None):
                instance.spot_instance_request_id = "sir-" + secrets.token_hex(4)
    return reservation


@patched(EC2Response, "run_instances")
def launch_by_request(original: Any, self: Any) -> ActionResult:
    """moto reads neither the protection nor the kind of Spot request."""
    market = self._get_param("InstanceMarketOptions") or {}
    kind = (market.get("SpotOptions") or {}).get("SpotInstanceType")
    if kind is not None and kind not in ("one-time", "persistent"):
        raise errors.invalid_value(f"Value ({kind}) for parameter spotInstanceType is invalid.")
    protected = self._get_param("DisableApiTermination")
    if protected and market.get("MarketType") == "spot":
        raise _protected_spot()
    result = original(self)
    for instance in result.result.instances:
        if protected is not None:
            instance.disable_api_termination = bool(protected)
        if kind is not None:
            instance._spot_type = kind
    return result


def _protected_spot() -> EC2ClientError:  # the rule is documented, the words are (assumed)
    return EC2ClientError("UnsupportedOperation", "Termination protection is not supported for Spot Instances.")


@patched(EC2Response)
def modify_instance_attribute(original: Any, self: Any) -> EmptyResult:
    """moto changes several at once, groups of an instance with several interfaces (AMI-5), and what only a stopped
    instance can change."""
    instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
    given = [name for name in _ATTRIBUTES if self._get_param(name) not in (None, [], {})]
    if name := self._get_param("Attribute"):
        given.append("Groups" if name == "groupSet" else name[0].upper() + name[1:])
    if len(set(given)) > 1:
        raise errors.invalid_combination("Fields for multiple attribute types specified")
    if not given:
        raise errors.missing_parameter("attribute to modify")
    operators.refuse("ModifyInstanceAttribute", instance)
    name = given[0]
    if instance.state in ("shutting-down", "terminated"):
        raise EC2ClientError(
            "IncorrectInstanceState", f"The instance '{instance.id}' is not in a state where it can be modified."
        )
    if name in _ONLY_STOPPED and instance.state != "stopped":
        raise EC2ClientError("IncorrectInstanceState", f"The instance '{instance.id}' is not in the 'stopped' state.")
    if name == "DisableApiTermination" and instance.lifecycle == "spot" and self._get_param(f"{name}.Value"):
        raise _protected_spot()
    if name == "BlockDeviceMappings":
        return _change_devices(self, instance)
    if name == "Groups":
        return _change_groups(self, instance)
    if name == "InstanceInitiatedShutdownBehavior":
        self.error_on_dryrun()
        instance.instance_initiated_shutdown_behavior = self._get_param(f"{name}.Value")
        return EmptyResult()
    return original(self)


def _change_devices(request: Any, instance: Any) -> EmptyResult:
    mappings = request._get_param("BlockDeviceMappings")
    for mapping in mappings:
        device = instance.block_device_mapping.get(mapping.get("DeviceName"))
        wanted = (mapping.get("Ebs") or {}).get("VolumeId")
        if device is None or (wanted and device.volume_id != wanted):
            raise EC2ClientError(
                "InvalidInstanceAttributeValue", f"No device is currently mapped at {mapping.get('DeviceName')}"
            )
    request.error_on_dryrun()
    for mapping in mappings:
        keep = (mapping.get("Ebs") or {}).get("DeleteOnTermination")
        if keep is not None:
            instance.block_device_mapping[mapping["DeviceName"]].delete_on_termination = bool(keep)
    return EmptyResult()


def _change_groups(request: Any, instance: Any) -> EmptyResult:
    if len(instance.nics) > 1:
        raise EC2ClientError(
            "InvalidInstanceID",
            f"There are multiple interfaces attached to instance '{instance.id}'. Please specify an interface ID for "
            "the operation instead.",
        )
    groups = interfaces.check_groups(request.ec2_backend, request._get_param("Groups"), instance.vpc_id)
    request.error_on_dryrun()
    instance.nics[0]._group_set = groups
    return EmptyResult()


@patched(EC2Response)
def describe_instance_attribute(original: Any, self: Any) -> ActionResult:
    """moto shows block devices in a shape of its own, and protection that was never set as nothing."""
    instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
    attribute = self._get_param("Attribute")
    if attribute == "blockDeviceMapping":
        return ActionResult({"InstanceId": instance.id, "BlockDeviceMappings": instance.block_device_mappings})
    if attribute in ("disableApiTermination", "disableApiStop", "ebsOptimized", "sourceDestCheck"):
        name = {
            "disableApiTermination": "disable_api_termination",
            "disableApiStop": "disable_api_stop",
            "ebsOptimized": "ebs_optimized",
            "sourceDestCheck": "source_dest_check",
        }[attribute]
        value = str(getattr(instance, name)).lower() == "true"
        return ActionResult({"InstanceId": instance.id, attribute[0].upper() + attribute[1:]: {"Value": value}})
    return original(self)


# Stopping and terminating. All instances of a call are checked before the first is touched.


def _named(request: Any) -> list[Any]:
    return [request.ec2_backend.get_instance(i) for i in request._get_param("InstanceIds") or []]


@patched(EC2Response)
def stop_instances(original: Any, self: Any) -> ActionResult:
    for instance in _named(self):
        operators.refuse("StopInstances", instance)
        if instance.root_device_type == "instance-store":
            raise EC2ClientError(
                "UnsupportedOperation",
                f"The instance '{instance.id}' does not have an 'ebs' root device type and cannot be stopped.",
            )
        if instance.lifecycle == "spot" and getattr(instance, "_spot_type", "one-time") == "one-time":
            raise EC2ClientError(
                "UnsupportedOperation",
                f"You can't stop the Spot Instance '{instance.id}' because it is associated with a one-time Spot "
                "Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.",
            )
        _check_flag(instance.disable_api_stop, instance, "stopped", "disableApiStop")
    return original(self)


@patched(EC2Response)
def start_instances(original: Any, self: Any) -> ActionResult:
    for instance in _named(self):
        operators.refuse("StartInstances", instance)
    return original(self)


@patched(EC2Response)
def terminate_instances(original: Any, self: Any) -> ActionResult:
    for instance in _named(self):
        operators.refuse("TerminateInstances", instance)
        if instance.state != "terminated":
            _check_flag(instance.disable_api_termination, instance, "terminated", "disableApiTermination")
    return original(self)


def _check_flag(value: Any, instance: Any, verb: str, attribute: str) -> None:
    """The flag is text where a person's tool sent it as text."""
    if str(value).lower() == "true":
        raise EC2ClientError(
            "OperationNotPermitted",
            f"The instance '{instance.id}' may not be {verb}. Modify its '{attribute}' instance attribute and try "
            "again.",
        )


instances.FILTERS.update(
    {
        "network-interface.requester-id": lambda i: [n.requester_id for n in i.nics.values()],
        "network-interface.requester-managed": lambda i: [n.requester_managed for n in i.nics.values()],
        "network-interface.status": lambda i: [n.status for n in i.nics.values()],
        "network-interface.subnet-id": lambda i: [n.subnet.id for n in i.nics.values()],
        "network-interface.vpc-id": lambda i: [n.subnet.vpc_id for n in i.nics.values()],
        "operator.managed": lambda i: i.operator["Managed"],
        "operator.principal": lambda i: i.operator.get("Principal"),
        "spot-instance-request-id": lambda i: getattr(i, "spot_instance_request_id", None),
    }
)
