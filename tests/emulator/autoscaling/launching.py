"""Launching one instance of a group, with EC2's own refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.autoscaling.responses import AutoScalingResponse
from moto.core.exceptions import ServiceException

from emulator.autoscaling.model import Group, Source, backend, ec2, invalid
from emulator.context import context
from emulator.patching import patched
from emulator.settings import settings

observers: list[Callable[[Group, dict[str, Any], Any], None]] = []
"""Called with the group, what was asked of RunInstances, and the reservation or the LaunchFailed."""


class LaunchFailed(Exception):
    """With the status message of the activity."""


def launch(group: Group, source: Source, zone: str, subnet: str | None) -> Any:
    """A new instance of the group, from the source that holds now."""
    asked: dict[str, Any] = {"placement": zone, "subnet_id": subnet, "template": source.template}
    try:
        reservation = _run(group, source, zone, subnet)
    except ServiceException as error:
        failed = LaunchFailed(_failure(_message(error)))
    except LaunchFailed as error:
        failed = error
    else:
        for observer in observers:
            observer(group, asked, reservation)
        return reservation.instances[0]
    for observer in observers:
        observer(group, asked, failed)
    raise failed


def _message(error: Any) -> str:
    return str(getattr(error, "message", None) or getattr(error, "description", None) or error)


def _failure(message: str) -> str:
    return f"{message.rstrip('.')}. Launching EC2 instance failed."


def _run(group: Group, source: Source, zone: str, subnet: str | None) -> Any:
    own_tags = {t["Key"]: t.get("Value") or "" for t in group.tags if t.get("PropagateAtLaunch")}
    own_tags["aws:autoscaling:groupName"] = group.name
    if subnet is None and zone in (default := ec2().get_default_subnets()):
        subnet = default[zone].id
    arguments: dict[str, Any] = {
        "region_name": context.region,
        "placement": zone,
        "subnet_id": subnet,
        "tags": {"instance": own_tags},
        "client_token": "",
    }
    if source.launch_configuration:
        return _from_configuration(source.launch_configuration, arguments)
    resolved = source.resolved()
    assert resolved is not None
    data = source.data()
    check(data, zone)
    instance_type = _instance_type(source, data)
    _check_capacity(instance_type, zone, group)
    if interfaces := data.get("NetworkInterfaces"):
        # The subnet is the group's, so it goes to the interface.
        arguments["nics"] = [{"DeviceIndex": n} | i | {"SubnetId": subnet} for n, i in enumerate(interfaces)]
        arguments["subnet_id"] = None
    if data.get("Monitoring", {}).get("Enabled"):
        arguments["monitoring_state"] = "enabled"
    if data.get("MetadataOptions"):
        arguments["metadata_options"] = data["MetadataOptions"]
    arguments["launch_template"] = {
        "LaunchTemplateId": resolved["LaunchTemplateId"],
        "Version": resolved["Version"],
    }
    return ec2().run_instances(
        data.get("ImageId") or "", 1, None, [], instance_type=instance_type, is_instance_type_default=False, **arguments
    )


def _instance_type(source: Source, data: dict[str, Any]) -> str:
    overrides = ((source.mixed or {}).get("LaunchTemplate") or {}).get("Overrides") or []
    named = [o["InstanceType"] for o in overrides if o.get("InstanceType")]
    return named[0] if named else data.get("InstanceType") or "m1.small"


def _from_configuration(name: str, arguments: dict[str, Any]) -> Any:
    found = backend().launch_configurations.get(name)
    if found is None:
        raise LaunchFailed(_failure(f"The launch configuration {name} does not exist"))
    check({"KeyName": found.key_name, "SecurityGroupIds": found.security_groups}, arguments["placement"])
    return ec2().run_instances(
        found.image_id,
        1,
        found.user_data,
        [],
        instance_type=found.instance_type,
        is_instance_type_default=False,
        launch_config=found,
        key_name=found.key_name,
        security_group_ids=list(found.security_groups),
        iam_instance_profile_name=found.iam_instance_profile,
        associate_public_ip=found.associate_public_ip_address,
        **arguments,
    )


@patched(AutoScalingResponse)
def create_launch_configuration(original: Any, self: Any) -> Any:
    """moto takes a public address that nobody spoke of for a refused one; AWS leaves it to the subnet."""
    result = original(self)
    if self._get_param("AssociatePublicIpAddress") is None and not self._get_param("InstanceId"):
        name = self._get_param("LaunchConfigurationName")
        backend().launch_configurations[name].associate_public_ip_address = None
    return result


def check(data: dict[str, Any], zone: str | None = None) -> None:
    """What EC2 refuses and moto lets pass."""
    key = data.get("KeyName")
    if key and key not in ec2().key_pairs:
        raise LaunchFailed(_failure(f"The key pair '{key}' does not exist"))
    named = [*(data.get("SecurityGroupIds") or [])]
    for interface in data.get("NetworkInterfaces") or []:
        named += interface.get("Groups") or []
    for group_id in named:
        if group_id.startswith("sg-") and ec2().get_security_group_from_id(group_id) is None:
            raise LaunchFailed(_failure(f"The security group '{group_id}' does not exist"))
    image_id = data.get("ImageId") or ""
    if image_id and not image_id.startswith("resolve:"):
        image = ec2().amis.get(image_id)
        if image is None and image_id not in ec2().deleted_amis:
            raise LaunchFailed(_failure(f"The image id '[{image_id}]' does not exist"))
        if image is None or image.state != "available":
            raise LaunchFailed(_failure(f"The image id '[{image_id}]' is no longer available"))
    elif not image_id and "ImageId" in data:
        raise LaunchFailed(_failure("The request must contain the parameter ImageId"))


def _check_capacity(instance_type: str, zone: str, group: Group) -> None:
    for shortage in settings.insufficient_capacity:
        if shortage.instance_type not in (None, instance_type) or shortage.availability_zone not in (None, zone):
            continue
        if shortage.count is not None:
            if shortage.count <= 0:
                continue
            shortage.count -= 1
        others = ", ".join(z for z in group.zones if z != zone)
        elsewhere = f" or choosing {others}" if others else ""
        raise LaunchFailed(
            _failure(
                shortage.message
                or f"We currently do not have sufficient {instance_type} capacity in the Availability Zone you "
                f"requested ({zone}). Our system will be working on provisioning additional capacity. You can "
                f"currently get {instance_type} capacity by not specifying an Availability Zone in your request"
                f"{elsewhere}"
            )
        )


def validate(source: Source) -> None:
    """Auto Scaling tries a template when it is given to a group or a refresh, not when it is used."""
    try:
        check(source.data())
    except LaunchFailed as error:
        reason = str(error).removesuffix(" Launching EC2 instance failed.")
    except ServiceException as error:
        reason = _message(error)
    else:
        return
    raise invalid(f"You must use a valid fully-formed launch template. {reason}")
