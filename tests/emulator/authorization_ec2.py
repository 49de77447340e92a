"""What EC2's operations must be allowed: resources and condition keys as AWS passes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends

from emulator.authorization import Check, request_tags, resources_of
from emulator.aws_request import AwsRequest
from emulator.context import context

_TYPES = {
    "vol": "volume",
    "snap": "snapshot",
    "i": "instance",
    "ami": "image",
    "eni": "network-interface",
    "sg": "security-group",
    "subnet": "subnet",
    "vpc": "vpc",
    "pl": "prefix-list",
}


def _backend() -> Any:
    return ec2_backends[context.account_id][context.asked_region]


def _ec2_arn(resource_id: str) -> str:
    kind = _TYPES.get(resource_id.rsplit("-", 1)[0], "*")
    # Snapshots and images have no account in their ARN; a shared VPC and a shared group have their owner's.
    account = "" if kind in ("snapshot", "image") else _owner(kind, resource_id)
    return f"arn:aws:ec2:{context.asked_region}:{account}:{kind}/{resource_id}"


def _owner(kind: str, resource_id: str) -> str:
    found = None
    if kind == "vpc":
        found = _backend().vpcs.get(resource_id)
    elif kind == "security-group":
        found = _backend().get_security_group_from_id(resource_id)
    return found.owner_id if found is not None else context.account_id


def _resource_tags(resource_id: str) -> dict[str, str]:
    tags = _backend().tags.get(resource_id, {})
    return {f"aws:ResourceTag/{k}": v for k, v in tags.items()} | {f"ec2:ResourceTag/{k}": v for k, v in tags.items()}


def _tags_at_creation(request: AwsRequest, kind: str) -> list[dict[str, str]]:
    specifications = request.parameters.get("TagSpecifications") or []
    return [tag for s in specifications if s.get("ResourceType") == kind for tag in s.get("Tags") or []]


def _new_snapshot(request: AwsRequest, action: str) -> Iterator[Check]:
    arn = f"arn:aws:ec2:{context.asked_region}::snapshot/*"
    tags = _tags_at_creation(request, "snapshot")
    keys = request_tags(tags)
    yield Check(action, arn, keys)
    if tags or request.parameters.get("CopyTagsFromSource"):
        yield Check("ec2:CreateTags", arn, keys | {"ec2:CreateAction": request.operation})


@resources_of("ec2", "CreateSnapshot")
def _create_snapshot(request: AwsRequest, action: str) -> Iterator[Check]:
    volume_id = request.parameters.get("VolumeId", "")
    yield Check(action, _ec2_arn(volume_id), _resource_tags(volume_id))
    yield from _new_snapshot(request, action)


@resources_of("ec2", "CopySnapshot")
def _copy_snapshot(request: AwsRequest, action: str) -> Iterator[Check]:
    """The source where it lies, and the copy where the request was sent to (EBS-16)."""
    region, source_id = request.parameters.get("SourceRegion", ""), request.parameters.get("SourceSnapshotId", "")
    source = ec2_backends[context.account_id][region].snapshots.get(source_id) if region else None
    # No tags: they are no condition key of this action.
    keys = {"ec2:Owner": source.owner_id, "ec2:SnapshotID": source_id} if source else {}
    yield Check(action, f"arn:aws:ec2:{region}::snapshot/{source_id}", keys)
    yield from _new_snapshot(request, action)


@resources_of("ec2", "CreateVolume")
def _create_volume(request: AwsRequest, action: str) -> Iterator[Check]:
    arn = f"arn:aws:ec2:{context.asked_region}:{context.account_id}:volume/*"
    tags = _tags_at_creation(request, "volume")
    keys = request_tags(tags)
    given = {"ec2:VolumeType": request.parameters.get("VolumeType", "gp2")}
    yield Check(action, arn, keys | given)
    if tags:
        yield Check("ec2:CreateTags", arn, keys | {"ec2:CreateAction": request.operation})
    if snapshot_id := request.parameters.get("SnapshotId"):
        yield Check(action, _ec2_arn(snapshot_id), _resource_tags(snapshot_id))


@resources_of("ec2", "DeleteVolume")
def _delete_volume(request: AwsRequest, action: str) -> Iterator[Check]:
    volume_id = request.parameters.get("VolumeId", "")
    yield Check(action, _ec2_arn(volume_id), _resource_tags(volume_id))


@resources_of("ebs", "GetSnapshotBlock", "ListSnapshotBlocks")
def _snapshot_blocks(request: AwsRequest, action: str) -> Iterator[Check]:
    snapshot_id = request.parameters.get("SnapshotId", "")
    yield Check(action, _ec2_arn(snapshot_id), _resource_tags(snapshot_id))


@resources_of("ec2", "CreateSnapshots")
def _create_snapshots(request: AwsRequest, action: str) -> Iterator[Check]:
    instance_id = (request.parameters.get("InstanceSpecification") or {}).get("InstanceId", "")
    yield Check(action, _ec2_arn(instance_id), _resource_tags(instance_id))
    for volume in _backend().volumes.values():
        if any(attachment.instance.id == instance_id for attachment in volume.attachments):
            yield Check(action, _ec2_arn(volume.id), _resource_tags(volume.id))
    yield from _new_snapshot(request, action)


@resources_of("ec2", "CreateTags", "DeleteTags")
def _change_tags(request: AwsRequest, action: str) -> Iterator[Check]:
    keys = request_tags(request.parameters.get("Tags") or [])
    for resource_id in request.parameters.get("Resources") or []:
        yield Check(action, _ec2_arn(resource_id), keys | _resource_tags(resource_id))


@resources_of("ec2", "CreateSecurityGroup")
def _create_security_group(request: AwsRequest, action: str) -> Iterator[Check]:
    """The VPC as it is, and a group that doesn't exist yet, known by the tags it is to have."""
    vpc_id = request.parameters.get("VpcId") or _backend().default_vpc.id
    yield Check(action, _ec2_arn(vpc_id), _resource_tags(vpc_id) | {"ec2:VpcID": vpc_id})
    arn = f"arn:aws:ec2:{context.asked_region}:{context.account_id}:security-group/*"
    tags = _tags_at_creation(request, "security-group")
    keys = request_tags(tags)
    yield Check(action, arn, keys | {"ec2:Vpc": _ec2_arn(vpc_id)})
    if tags:
        yield Check("ec2:CreateTags", arn, keys | {"ec2:CreateAction": request.operation})


@resources_of("ec2", "AuthorizeSecurityGroupIngress", "RevokeSecurityGroupEgress", "RevokeSecurityGroupIngress")
def _change_security_group(request: AwsRequest, action: str) -> Iterator[Check]:
    group_id = request.parameters.get("GroupId", "")
    yield Check(action, _ec2_arn(group_id), _group_keys(group_id))


@resources_of("ec2", "ModifyNetworkInterfaceAttribute")
def _modify_interface(request: AwsRequest, action: str) -> Iterator[Check]:
    """The interface, the instance that it is attached to (an optional resource of this action, assumed to be checked),
    and each group that it is to have."""
    given = request.parameters
    interface_id = given.get("NetworkInterfaceId", "")
    keys = _interface_keys(interface_id) | _attribute_keys(given, ("Description", "SourceDestCheck"))
    yield Check(action, _ec2_arn(interface_id), keys)
    interface = _backend().enis.get(interface_id)
    if interface is not None and interface.instance is not None:
        instance_id = interface.instance.id
        yield Check(action, _ec2_arn(instance_id), _instance_keys(instance_id))
    for group_id in given.get("Groups") or []:
        yield Check(action, _ec2_arn(group_id), _group_keys(group_id))


@resources_of("ec2", "ModifyInstanceAttribute")
def _modify_instance(request: AwsRequest, action: str) -> Iterator[Check]:
    given = request.parameters
    instance_id = given.get("InstanceId", "")
    simple = ("DisableApiTermination", "DisableApiStop", "EbsOptimized", "InstanceType", "SourceDestCheck")
    yield Check(action, _ec2_arn(instance_id), _instance_keys(instance_id) | _attribute_keys(given, simple))
    for group_id in given.get("Groups") or []:
        yield Check(action, _ec2_arn(group_id), _group_keys(group_id))
    for mapping in given.get("BlockDeviceMappings") or []:
        # By the device, whether or not its volume is named (assumed).
        volume_id = (mapping.get("Ebs") or {}).get("VolumeId") or _volume_on(instance_id, mapping.get("DeviceName"))
        if volume_id is not None:
            yield Check(action, _ec2_arn(volume_id), _resource_tags(volume_id))


def _volume_on(instance_id: str, device: str | None) -> str | None:
    attachments = (a for volume in _backend().volumes.values() for a in volume.attachments)
    return next((a.volume.id for a in attachments if a.instance.id == instance_id and a.device == device), None)


@resources_of("ec2", "DescribeInstanceAttribute")
def _describe_instance_attribute(request: AwsRequest, action: str) -> Iterator[Check]:
    instance_id = request.parameters.get("InstanceId", "")
    yield Check(action, _ec2_arn(instance_id), _instance_keys(instance_id))


@resources_of("ec2", "StartInstances", "StopInstances")
def _change_instances(request: AwsRequest, action: str) -> Iterator[Check]:
    for instance_id in request.parameters.get("InstanceIds") or []:
        yield Check(action, _ec2_arn(instance_id), _instance_keys(instance_id))


@resources_of("ec2", "GetImageAncestry")
def _image(request: AwsRequest, action: str) -> Iterator[Check]:
    image_id = request.parameters.get("ImageId", "")
    yield Check(action, _ec2_arn(image_id), _resource_tags(image_id))


def _attribute_keys(given: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """`ec2:Attribute` is passed for plain values and for {"Value": …}, not for lists such as groups."""
    changed = [name for name in names if given.get(name) is not None]
    if not changed:
        return {}
    values = {name: given[name].get("Value") if isinstance(given[name], dict) else given[name] for name in changed}
    texts = {name: str(v).lower() if isinstance(v, bool) else str(v) for name, v in values.items()}
    return {"ec2:Attribute": changed} | {f"ec2:Attribute/{name}": text for name, text in texts.items()}


def _group_keys(group_id: str) -> dict[str, Any]:
    keys = _resource_tags(group_id) | {"ec2:SecurityGroupID": group_id}
    group = next((g for groups in _backend().groups.values() for g in groups.values() if g.id == group_id), None)
    return keys | ({"ec2:Vpc": _ec2_arn(group.vpc_id)} if group is not None and group.vpc_id else {})


def _interface_keys(interface_id: str) -> dict[str, Any]:
    keys = _resource_tags(interface_id) | {"ec2:NetworkInterfaceID": interface_id}
    interface = _backend().enis.get(interface_id)
    if interface is None:
        return keys
    keys |= {"ec2:AvailabilityZone": interface.subnet.availability_zone, "ec2:Vpc": _ec2_arn(interface.subnet.vpc_id)}
    return keys | {"ec2:Subnet": _ec2_arn(interface.subnet.id)}


@resources_of("ec2", "DeleteSnapshot")
def _delete_snapshot(request: AwsRequest, action: str) -> Iterator[Check]:
    snapshot_id = request.parameters.get("SnapshotId", "")
    yield Check(action, _ec2_arn(snapshot_id), _resource_tags(snapshot_id))


# Actions without resource types of their own: a statement that names resources doesn't allow them.
@resources_of(
    "ec2",
    "DescribeAvailabilityZones",
    "DescribeDhcpOptions",
    "DescribeIamInstanceProfileAssociations",
    "DescribeImages",
    "DescribeInstanceImageMetadata",
    "DescribeInstances",
    "DescribeInstanceStatus",
    "DescribeLaunchTemplateVersions",
    "DescribeLockedSnapshots",
    "DescribeNatGateways",
    "DescribeNetworkAcls",
    "DescribeNetworkInterfaces",
    "DescribeRouteTables",
    "DescribeSecurityGroups",
    "DescribeSnapshots",
    "DescribeTrunkInterfaceAssociations",
    "DescribeVolumeStatus",
    "DescribeVolumes",
    "DescribeVpcEndpoints",
    "DescribeVpcs",
)
def _describe(_: AwsRequest, action: str) -> Iterator[Check]:
    yield Check(action, "*")


@resources_of("ec2", "DescribeVpcAttribute")
def _describe_vpc_attribute(request: AwsRequest, action: str) -> Iterator[Check]:
    vpc_id = request.parameters.get("VpcId", "")
    yield Check(action, _ec2_arn(vpc_id), _resource_tags(vpc_id))


@resources_of("ec2", "GetManagedPrefixListEntries")
def _get_prefix_list_entries(request: AwsRequest, action: str) -> Iterator[Check]:
    list_id = request.parameters.get("PrefixListId", "")
    found = _backend().managed_prefix_lists.get(list_id)
    arn = _ec2_arn(list_id) if found is None else found.prefix_list_arn.replace(":AWS:", ":aws:")
    yield Check(action, arn, _resource_tags(list_id))


@resources_of("ec2", "GetConsoleOutput")
def _get_console_output(request: AwsRequest, action: str) -> Iterator[Check]:
    instance_id = request.parameters.get("InstanceId", "")
    yield Check(action, _ec2_arn(instance_id), _instance_keys(instance_id))


@resources_of("ec2", "AssociateIamInstanceProfile")
def _associate_profile(request: AwsRequest, action: str) -> Iterator[Check]:
    """SSM-3: `ec2:InstanceProfile` is absent where the instance has none; PassRole is for the role in the profile."""
    instance_id = request.parameters.get("InstanceId", "")
    given = request.parameters.get("IamInstanceProfile") or {}
    profiles = iam_backends[context.account_id]["aws"].instance_profiles.values()
    profile = next((p for p in profiles if given.get("Arn") == p.arn or given.get("Name") == p.name), None)
    arn = given.get("Arn") or (
        profile.arn if profile else f"arn:aws:iam::{context.account_id}:instance-profile/{given.get('Name')}"
    )
    yield Check(action, _ec2_arn(instance_id), _instance_keys(instance_id) | {"ec2:NewInstanceProfile": arn})
    if profile is not None and profile.roles:
        keys = {"iam:PassedToService": "ec2.amazonaws.com", "iam:AssociatedResourceArn": _ec2_arn(instance_id)}
        yield Check("iam:PassRole", profile.roles[0].arn, keys)


@resources_of("ec2", "DisassociateIamInstanceProfile")
def _disassociate_profile(request: AwsRequest, action: str) -> Iterator[Check]:
    associations = _backend().iam_instance_profile_associations
    wanted = request.parameters.get("AssociationId")
    instance_id = next((instance_id for instance_id, a in associations.items() if a.id == wanted), "*")
    yield Check(action, _ec2_arn(instance_id), _instance_keys(instance_id))


def _instance_keys(instance_id: str) -> dict[str, Any]:
    """Condition keys of an instance."""
    keys = _resource_tags(instance_id)
    instance = _backend().get_instance_by_id(instance_id)
    if instance is not None:
        keys |= {"ec2:InstanceID": instance_id, "ec2:InstanceType": instance.instance_type}
        keys |= {"ec2:AvailabilityZone": instance.availability_zone}
        if instance.iam_instance_profile:
            keys["ec2:InstanceProfile"] = instance.iam_instance_profile["Arn"]
    return keys
