"""Launches that services make by themselves: Auto Scaling groups, EC2 Fleet and Spot Fleet (AMI-1, AMI-7)."""

from __future__ import annotations

import uuid
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends

from emulator import control
from emulator.autoscaling import launching
from emulator.cloudtrail import principals, trail
from emulator.context import context

# What RunInstances answers, by the words of the failed activity.
_CODES = (
    ("image id", "InvalidAMIID.NotFound", 400),
    ("key pair", "InvalidKeyPair.NotFound", 400),
    ("security group", "InvalidGroup.NotFound", 400),
    ("sufficient", "InsufficientInstanceCapacity", 500),
    ("Spot", "InsufficientInstanceCapacity", 500),
    ("instance type", "Unsupported", 400),
    ("vCPU", "VcpuLimitExceeded", 400),
)


@launching.observers.append
def of_group(group: Any, asked: dict[str, Any], result: Any) -> None:
    """A group's launch names the template and not its image."""
    given: dict[str, Any] = {"MinCount": 1, "MaxCount": 1, "ClientToken": f"fleet-{uuid.uuid4()}-0"}
    given["Placement"] = {"AvailabilityZone": asked.get("placement")}
    if asked.get("subnet_id"):
        given["SubnetId"] = asked["subnet_id"]
    if asked.get("template"):
        given["LaunchTemplate"] = _specification(asked["template"])
    tags = [{"Key": "aws:autoscaling:groupName", "Value": group.name}]
    given["TagSpecifications"] = [{"ResourceType": "instance", "Tags": tags}]
    failed = isinstance(result, Exception)
    trail.record(
        "ec2",
        "RunInstances",
        given,
        principals.AUTO_SCALING,
        error=_error(str(result)) if failed else None,
        reservation=None if failed else result,
    )


def _specification(template: dict[str, Any]) -> dict[str, Any]:
    keys = ("LaunchTemplateId", "LaunchTemplateName", "Version")
    return {key: str(template[key]) for key in keys if template.get(key)}


def _error(message: str) -> tuple[str, str, int]:
    message = message.removesuffix(" Launching EC2 instance failed.")
    for words, code, status in _CODES:
        if words in message:
            return code, message, status
    return "InvalidParameterValue", message, 400


_SERVICES = {
    "fleet": (principals.EC2_FLEET, "aws:ec2:fleet-id", "fleet-"),
    "spot": (principals.SPOT_FLEET, "aws:ec2spot:fleet-request-id", "sfr-"),
}


@control.route("POST", "launches")
def launch(body: dict[str, Any]) -> Any:
    """What a fleet launches: {"by": "fleet" | "spot", "image_id": ID, "count"?: 1, "instance_type"?: "t3.micro",
    "subnet_id"?, "tags"?: {…}, "request_id"?: of the fleet that launched before}."""
    known = {"by", "image_id", "count", "instance_type", "subnet_id", "tags", "request_id"}
    if unknown := body.keys() - known:
        raise control.ControlError(f"unknown field {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    if body["by"] not in _SERVICES:
        raise control.ControlError(f'"by" is one of {", ".join(_SERVICES)}')
    principal, tag, prefix = _SERVICES[body["by"]]
    request_id = body.get("request_id") or f"{prefix}{uuid.uuid4()}"
    count, instance_type = int(body.get("count", 1)), body.get("instance_type", "t3.micro")
    tags = {tag: request_id} | body.get("tags", {})
    given: dict[str, Any] = {
        "MinCount": count,
        "MaxCount": count,
        "ImageId": body["image_id"],
        "InstanceType": instance_type,
        "SubnetId": body.get("subnet_id"),
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}
        ],
    }
    is_spot = body["by"] == "spot"
    if is_spot:
        given["InstanceMarketOptions"] = {"MarketType": "spot"}
    try:
        reservation = ec2_backends[context.account_id][context.region].run_instances(
            body["image_id"],
            count,
            None,
            [],
            instance_type=instance_type,
            is_instance_type_default=False,
            region_name=context.region,
            subnet_id=body.get("subnet_id"),
            placement=None,
            tags={"instance": tags},
            client_token="",
            instance_market_options="spot" if is_spot else {},
        )
    except EC2ClientError as error:
        trail.record("ec2", "RunInstances", given, principal, error=(error.code, error.message, 400))
        raise control.ControlError(f"{error.code}: {error.message}") from error
    trail.record("ec2", "RunInstances", given, principal, reservation=reservation)
    return {"instance_ids": [i.id for i in reservation.instances], "request_id": request_id}
