"""Requests and answers as CloudTrail writes them: lists are {"items": […]}, times are milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from moto.ec2.models import ec2_backends

from emulator.context import context
from emulator.ec2 import tags


def lower_first(value: Any) -> Any:
    """A request of most services: its own parameters in camel case."""
    if isinstance(value, dict):
        return {k[:1].lower() + k[1:]: lower_first(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [lower_first(v) for v in value]
    if isinstance(value, datetime):
        return value.strftime("%b %d, %Y %I:%M:%S %p")
    if isinstance(value, bytes):
        return "HIDDEN_DUE_TO_SECURITY_REASONS"
    return value


def _items(values: list[Any]) -> dict[str, Any]:
    return {"items": values} if values else {}


def request_parameters(service: str, operation: str, given: dict[str, Any]) -> dict[str, Any]:
    if service != "ec2":
        return lower_first(given)
    if operation == "RunInstances":
        return run_instances(given)
    if "LaunchTemplate" in operation:
        # These are written as they were sent, under the name of the request.
        return {f"{operation}Request": _sent(given)}
    if "InstanceIds" in given:
        rest = {k: v for k, v in given.items() if k != "InstanceIds"}
        return {"instancesSet": _items([{"instanceId": i} for i in given["InstanceIds"]])} | lower_first(rest)
    return lower_first(given)


def _sent(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: "<sensitiveDataRemoved>" if k == "UserData" else _sent(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_sent(v) for v in value]
    return value.isoformat() if isinstance(value, datetime) else value


def run_instances(given: dict[str, Any]) -> dict[str, Any]:
    """Without the image when a launch template names it (AMI-1)."""
    launched: dict[str, Any] = {"minCount": given.get("MinCount", 1), "maxCount": given.get("MaxCount", 1)}
    if given.get("ImageId"):
        launched = {"imageId": given["ImageId"]} | launched
    if given.get("KeyName"):
        launched["keyName"] = given["KeyName"]
    shown: dict[str, Any] = {"instancesSet": _items([launched])}
    if groups := given.get("SecurityGroupIds"):
        shown["groupSet"] = _items([{"groupId": group} for group in groups])
    for name, key in (("UserData", "userData"), ("InstanceType", "instanceType")):
        if given.get(name):
            shown[key] = "<sensitiveDataRemoved>" if name == "UserData" else given[name]
    shown["blockDeviceMapping"] = _items([lower_first(m) for m in given.get("BlockDeviceMappings") or []])
    if zone := (given.get("Placement") or {}).get("AvailabilityZone"):
        shown["availabilityZone"] = zone
    shown["monitoring"] = {"enabled": bool((given.get("Monitoring") or {}).get("Enabled"))}
    if given.get("SubnetId"):
        shown["subnetId"] = given["SubnetId"]
    shown["disableApiTermination"] = bool(given.get("DisableApiTermination"))
    shown["disableApiStop"] = bool(given.get("DisableApiStop"))
    for name, key in (("ClientToken", "clientToken"), ("EbsOptimized", "ebsOptimized")):
        if given.get(name) is not None:
            shown[key] = given[name]
    for name, key in (
        ("IamInstanceProfile", "iamInstanceProfile"),
        ("LaunchTemplate", "launchTemplate"),
        ("InstanceMarketOptions", "instanceMarketOptions"),
        ("MetadataOptions", "metadataOptions"),
    ):
        if given.get(name):
            shown[key] = lower_first(given[name])
    if interfaces := given.get("NetworkInterfaces"):
        shown["networkInterfaceSet"] = _items([lower_first(n) for n in interfaces])
    if specifications := given.get("TagSpecifications"):
        shown["tagSpecificationSet"] = _items(
            [{"resourceType": s.get("ResourceType"), "tags": lower_first(s.get("Tags") or [])} for s in specifications]
        )
    return shown


def launched(reservation: Any, request_id: str, requester: str | None) -> dict[str, Any]:
    """`responseElements` of RunInstances."""
    return {
        "requestId": request_id,
        "reservationId": reservation.id,
        "ownerId": context.account_id,
        "groupSet": {},
        "instancesSet": _items([_instance(instance) for instance in reservation.instances]),
        **({"requesterId": requester} if requester else {}),
    }


def _milliseconds(moment: datetime) -> int:
    return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()) * 1000


def _tag_set(resource: Any) -> dict[str, Any]:
    return _items([{"key": key, "value": value} for key, value in tags.of(resource).items()])


def _operator(resource: Any) -> dict[str, Any]:
    return lower_first(resource.operator)


def _groups(groups: list[Any]) -> dict[str, Any]:
    return _items([{"groupId": group.id, "groupName": group.name} for group in groups])


def _instance(instance: Any) -> dict[str, Any]:
    """As RunInstances answered it: still pending, whatever came later."""
    shown: dict[str, Any] = {
        "instanceId": instance.id,
        "imageId": instance.image_id,
        "instanceState": {"code": 0, "name": "pending"},
        "privateDnsName": instance.private_dns_name,
        **({"keyName": instance.key_name} if instance.key_name else {}),
        "amiLaunchIndex": int(instance.ami_launch_index),
        "productCodes": {},
        "instanceType": instance.instance_type,
        "launchTime": _milliseconds(instance.launch_time),
        "placement": {"availabilityZone": instance.availability_zone, "tenancy": "default"},
        "monitoring": {"state": "pending" if instance.monitored else "disabled"},
        "subnetId": instance.subnet_id,
        "vpcId": instance.vpc_id,
        "privateIpAddress": instance.private_ip,
        "stateReason": {"code": "pending", "message": "pending"},
        "architecture": instance.architecture,
        "rootDeviceType": instance.root_device_type,
        "rootDeviceName": instance.root_device_name,
        "blockDeviceMapping": {},
        "virtualizationType": instance.virtualization_type,
        "hypervisor": instance.hypervisor,
        "tagSet": _tag_set(instance),
        "clientToken": instance.client_token or "",
        "groupSet": _groups(instance.security_groups),
        "sourceDestCheck": bool(instance.source_dest_check),
        "networkInterfaceSet": _items([_interface(n) for _, n in sorted(instance.nics.items())]),
        "ebsOptimized": bool(instance.ebs_optimized),
        "enaSupport": True,
        "capacityReservationSpecification": {"capacityReservationPreference": "open"},
        "enclaveOptions": {"enabled": False},
        "maintenanceOptions": {"autoRecovery": "default"},
        "operator": _operator(instance),
    }
    if instance.iam_instance_profile:
        profile = instance.iam_instance_profile
        shown["iamInstanceProfile"] = {"arn": profile["Arn"], "id": profile["Id"]}
    if instance.lifecycle:
        shown["instanceLifecycle"] = instance.lifecycle
        shown["spotInstanceRequestId"] = instance.spot_instance_request_id
    return shown


def _interface(interface: Any) -> dict[str, Any]:
    addresses = [
        {"privateIpAddress": address["PrivateIpAddress"], "primary": bool(address.get("Primary"))}
        for address in interface.private_ip_addresses
    ]
    return {
        "networkInterfaceId": interface.id,
        "subnetId": interface.subnet.id,
        "vpcId": interface.subnet.vpc_id,
        "ownerId": context.account_id,
        "status": "in-use",
        "macAddress": interface.mac_address,
        "privateIpAddress": interface.private_ip_address,
        "sourceDestCheck": bool(interface.source_dest_check),
        "interfaceType": interface.interface_type,
        "groupSet": _groups(interface.group_set),
        "attachment": {
            "attachmentId": interface.attachment_id,
            "deviceIndex": interface.device_index,
            "networkCardIndex": 0,
            "status": "attaching",
            "attachTime": _milliseconds(interface.attach_time),
            "deleteOnTermination": bool(interface.delete_on_termination),
        },
        # This one alone says "item".
        "privateIpAddressesSet": {"item": addresses},
        "ipv6AddressesSet": _items([{"ipv6Address": address} for address in interface.ipv6_addresses]),
        "tagSet": _tag_set(interface),
        "operator": _operator(interface),
    }


def resources(service: str, operation: str, given: dict[str, Any], reservation: Any) -> list[tuple[str, str]]:
    """(type, name) of what the call concerned, by which LookupEvents finds it."""
    found: list[tuple[str, str]] = []
    if service == "autoscaling":
        names = [given.get("AutoScalingGroupName"), *(t.get("ResourceId") for t in given.get("Tags") or [])]
        found += [("AWS::AutoScaling::AutoScalingGroup", name) for name in names if name]
        if configuration := given.get("LaunchConfigurationName"):
            found.append(("AWS::AutoScaling::LaunchConfiguration", configuration))
    if service == "ec2" and "LaunchTemplate" in operation:
        found += _template(given)
    for instance_id in [*(given.get("InstanceIds") or []), given.get("InstanceId")]:
        if instance_id:
            found.append(("AWS::EC2::Instance", instance_id))
    for name, kind in (("ImageId", "AWS::EC2::Ami"), ("NetworkInterfaceId", "AWS::EC2::NetworkInterface")):
        if given.get(name):
            found.append((kind, given[name]))
    if reservation is not None:
        for instance in reservation.instances:
            found += [("AWS::EC2::Instance", instance.id), ("AWS::EC2::Ami", instance.image_id)]
            found += [("AWS::EC2::VPC", instance.vpc_id), ("AWS::EC2::Subnet", instance.subnet_id)]
            found += [("AWS::EC2::SecurityGroup", group.id) for group in instance.security_groups]
            found += [("AWS::EC2::NetworkInterface", n.id) for n in instance.nics.values()]
    return list(dict.fromkeys(found))


def _template(given: dict[str, Any]) -> list[tuple[str, str]]:
    """A launch template by id and by name, whichever of them the call said (assumed)."""
    templates = ec2_backends[context.account_id][context.region].launch_templates.values()
    wanted = (given.get("LaunchTemplateId"), given.get("LaunchTemplateName"))
    for template in templates:
        if template.id == wanted[0] or template.name == wanted[1]:
            return [("AWS::EC2::LaunchTemplate", template.id), ("AWS::EC2::LaunchTemplate", template.name)]
    return [("AWS::EC2::LaunchTemplate", name) for name in wanted if name]
