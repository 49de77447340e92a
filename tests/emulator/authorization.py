"""Functions may do only what their role's policies allow, conditions included, so that a missing permission shows.

Calls of the client are always allowed: it stands for an administrator. An operation without an entry in `_RESOURCES`
is checked by its action alone; one with an entry also by the resources and condition keys that AWS passes for it
(Service Authorization Reference).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends

from emulator import permissions, policies
from emulator.aws_request import AwsError, AwsRequest
from emulator.callers import Environment
from emulator.context import context
from emulator.settings import settings


@dataclass
class Check:
    """One thing that must be allowed for the call to be made."""

    action: str
    resource: str
    keys: dict[str, Any] = field(default_factory=dict)


_PREFIXES = {"cloudwatch": "cloudwatch", "elbv2": "elasticloadbalancing"}
_ALWAYS_ALLOWED = {("sts", "GetCallerIdentity")}


def check(request: AwsRequest, environment: Environment | None) -> None:
    """Raises the service's own error when the caller's role doesn't allow the call. The caller holds the lock."""
    role_arn = environment.role_arn if environment else None
    if (
        role_arn is None
        or not settings.enforce_role_policies
        or (request.service, request.operation) in _ALWAYS_ALLOWED
    ):
        return
    role = permissions.find_role(role_arn)
    documents = permissions.identity_policies(role) if role else []
    boundary = permissions.permissions_boundary(role) if role else None
    resources = _RESOURCES.get((request.service, request.operation))
    prefix = _PREFIXES.get(request.service, request.service)
    action = f"{prefix}:{_ACTION_NAMES.get((request.service, request.operation), request.operation)}"
    common = {
        "aws:RequestedRegion": context.region,
        "aws:PrincipalArn": role_arn,
        "aws:PrincipalAccount": context.account_id,
        **({"ec2:Region": context.region} if request.service == "ec2" else {}),
    }
    if resources is None:
        if not all(policies.names_action(d, action) for d in (documents, boundary) if d is not None):
            _refuse(request, role_arn, environment, Check(action, "*"))
        return
    for wanted in resources(request, action):
        keys = common | wanted.keys
        if role is None or permissions.decide(role, wanted.action, wanted.resource, keys) != policies.ALLOW:
            _refuse(request, role_arn, environment, wanted)


def _refuse(request: AwsRequest, role_arn: str, environment: Environment | None, wanted: Check) -> None:
    assert environment is not None
    role_name = role_arn.rsplit("/", 1)[1]
    user = f"arn:aws:sts::{context.account_id}:assumed-role/{role_name}/{environment.function_name}"
    detail = (
        f"User: {user} is not authorized to perform: {wanted.action} on resource: {wanted.resource} "
        f"because no identity-based policy allows the {wanted.action} action"
    )
    if request.service == "ec2":
        message = f"You are not authorized to perform this operation. {detail}"
        raise AwsError("UnauthorizedOperation", message, 403)
    if request.service == "sns":
        raise AwsError("AuthorizationError", detail, 403)
    if request.protocol in ("query", "rest-xml"):
        raise AwsError("AccessDenied", detail, 403)
    raise AwsError("AccessDeniedException", detail, 403 if request.protocol == "rest-json" else 400)


_ACTION_NAMES = {("lambda", "Invoke"): "InvokeFunction"}

Resources = Callable[[AwsRequest, str], Iterator[Check]]
_RESOURCES: dict[tuple[str, str], Resources] = {}


def _resources(service: str, *operations: str) -> Callable[[Resources], Resources]:
    def register(function: Resources) -> Resources:
        for name in operations:
            _RESOURCES[service, name] = function
        return function

    return register


# ---- EC2 ----

_TYPES = {
    "vol": "volume",
    "snap": "snapshot",
    "i": "instance",
    "ami": "image",
    "eni": "network-interface",
    "sg": "security-group",
    "vpc": "vpc",
    "pl": "prefix-list",
}


def _ec2_arn(resource_id: str) -> str:
    kind = _TYPES.get(resource_id.rsplit("-", 1)[0], "*")
    # Snapshots and images have no account in their ARN.
    account = "" if kind in ("snapshot", "image") else context.account_id
    return f"arn:aws:ec2:{context.region}:{account}:{kind}/{resource_id}"


def _resource_tags(resource_id: str) -> dict[str, str]:
    tags = ec2_backends[context.account_id][context.region].tags.get(resource_id, {})
    return {f"aws:ResourceTag/{k}": v for k, v in tags.items()} | {f"ec2:ResourceTag/{k}": v for k, v in tags.items()}


def _request_tags(tags: list[dict[str, str]]) -> dict[str, Any]:
    if not tags:
        return {}
    values = {f"aws:RequestTag/{tag['Key']}": tag.get("Value", "") for tag in tags}
    return values | {"aws:TagKeys": [tag["Key"] for tag in tags]}


def _tags_at_creation(request: AwsRequest, kind: str) -> list[dict[str, str]]:
    specifications = request.parameters.get("TagSpecifications") or []
    return [tag for s in specifications if s.get("ResourceType") == kind for tag in s.get("Tags") or []]


def _new_snapshot(request: AwsRequest, action: str) -> Iterator[Check]:
    arn = f"arn:aws:ec2:{context.region}::snapshot/*"
    tags = _tags_at_creation(request, "snapshot")
    keys = _request_tags(tags)
    yield Check(action, arn, keys)
    if tags or request.parameters.get("CopyTagsFromSource"):
        yield Check("ec2:CreateTags", arn, keys | {"ec2:CreateAction": request.operation})


@_resources("ec2", "CreateSnapshot")
def _create_snapshot(request: AwsRequest, action: str) -> Iterator[Check]:
    volume_id = request.parameters.get("VolumeId", "")
    yield Check(action, _ec2_arn(volume_id), _resource_tags(volume_id))
    yield from _new_snapshot(request, action)


@_resources("ec2", "CreateSnapshots")
def _create_snapshots(request: AwsRequest, action: str) -> Iterator[Check]:
    instance_id = (request.parameters.get("InstanceSpecification") or {}).get("InstanceId", "")
    yield Check(action, _ec2_arn(instance_id), _resource_tags(instance_id))
    for volume in ec2_backends[context.account_id][context.region].volumes.values():
        if any(attachment.instance.id == instance_id for attachment in volume.attachments):
            yield Check(action, _ec2_arn(volume.id), _resource_tags(volume.id))
    yield from _new_snapshot(request, action)


@_resources("ec2", "CreateTags", "DeleteTags")
def _change_tags(request: AwsRequest, action: str) -> Iterator[Check]:
    keys = _request_tags(request.parameters.get("Tags") or [])
    for resource_id in request.parameters.get("Resources") or []:
        yield Check(action, _ec2_arn(resource_id), keys | _resource_tags(resource_id))


@_resources("ec2", "DeleteSnapshot")
def _delete_snapshot(request: AwsRequest, action: str) -> Iterator[Check]:
    snapshot_id = request.parameters.get("SnapshotId", "")
    yield Check(action, _ec2_arn(snapshot_id), _resource_tags(snapshot_id))


# Actions without resource types of their own: a statement that names resources doesn't allow them.
@_resources(
    "ec2",
    "DescribeIamInstanceProfileAssociations",
    "DescribeImages",
    "DescribeInstances",
    "DescribeInstanceStatus",
    "DescribeLaunchTemplateVersions",
    "DescribeManagedPrefixLists",
    "DescribeNatGateways",
    "DescribeNetworkAcls",
    "DescribeNetworkInterfaces",
    "DescribeRouteTables",
    "DescribeSecurityGroupRules",
    "DescribeSecurityGroups",
    "DescribeSnapshots",
    "DescribeSubnets",
    "DescribeTags",
    "DescribeVolumes",
    "DescribeVpcEndpoints",
    "DescribeVpcs",
)
@_resources("ssm", "DescribeInstanceInformation")
@_resources("autoscaling", "DescribeAutoScalingGroups", "DescribeLaunchConfigurations")
def _describe(_: AwsRequest, action: str) -> Iterator[Check]:
    yield Check(action, "*")


@_resources("ec2", "DescribeVpcAttribute")
def _describe_vpc_attribute(request: AwsRequest, action: str) -> Iterator[Check]:
    vpc_id = request.parameters.get("VpcId", "")
    yield Check(action, _ec2_arn(vpc_id), _resource_tags(vpc_id))


@_resources("ec2", "GetManagedPrefixListEntries")
def _get_prefix_list_entries(request: AwsRequest, action: str) -> Iterator[Check]:
    list_id = request.parameters.get("PrefixListId", "")
    found = ec2_backends[context.account_id][context.region].managed_prefix_lists.get(list_id)
    arn = _ec2_arn(list_id) if found is None else found.prefix_list_arn.replace(":AWS:", ":aws:")
    yield Check(action, arn, _resource_tags(list_id))


@_resources("ec2", "GetConsoleOutput")
def _get_console_output(request: AwsRequest, action: str) -> Iterator[Check]:
    instance_id = request.parameters.get("InstanceId", "")
    yield Check(action, _ec2_arn(instance_id), _instance_keys(instance_id))


@_resources("ec2", "AssociateIamInstanceProfile")
def _associate_profile(request: AwsRequest, action: str) -> Iterator[Check]:
    """SSM-3: `ec2:InstanceProfile` is absent where the instance has none; PassRole is for the role in the profile."""
    instance_id = request.parameters.get("InstanceId", "")
    yield from _new_profile(request, action, instance_id)


@_resources("ec2", "ReplaceIamInstanceProfileAssociation")
def _replace_profile(request: AwsRequest, action: str) -> Iterator[Check]:
    yield from _new_profile(request, action, _associated_instance(request))


@_resources("ec2", "DisassociateIamInstanceProfile")
def _disassociate_profile(request: AwsRequest, action: str) -> Iterator[Check]:
    instance_id = _associated_instance(request)
    yield Check(action, _ec2_arn(instance_id), _instance_keys(instance_id))


def _new_profile(request: AwsRequest, action: str, instance_id: str) -> Iterator[Check]:
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


def _associated_instance(request: AwsRequest) -> str:
    associations = ec2_backends[context.account_id][context.region].iam_instance_profile_associations
    wanted = request.parameters.get("AssociationId")
    return next((instance_id for instance_id, a in associations.items() if a.id == wanted), "*")


def _instance_keys(instance_id: str) -> dict[str, Any]:
    """Condition keys of an instance."""
    keys = _resource_tags(instance_id)
    instance = ec2_backends[context.account_id][context.region].get_instance_by_id(instance_id)
    if instance is not None:
        keys |= {"ec2:InstanceID": instance_id, "ec2:InstanceType": instance.instance_type}
        keys |= {"ec2:AvailabilityZone": instance.availability_zone}
        if instance.iam_instance_profile:
            keys["ec2:InstanceProfile"] = instance.iam_instance_profile["Arn"]
    return keys


# ---- other services ----


@_resources("ssm", "GetParameter")
def _get_parameter(request: AwsRequest, action: str) -> Iterator[Check]:
    name = request.parameters["Name"]
    slash = "" if name.startswith("/") else "/"
    arn = (
        name if name.startswith("arn:") else f"arn:aws:ssm:{context.region}:{context.account_id}:parameter{slash}{name}"
    )
    yield Check(action, arn)


@_resources("ssm", "GetServiceSetting", "UpdateServiceSetting", "ResetServiceSetting")
def _service_setting(request: AwsRequest, action: str) -> Iterator[Check]:
    setting = request.parameters["SettingId"]
    arn = f"arn:aws:ssm:{context.region}:{context.account_id}:servicesetting{setting}"
    yield Check(action, setting if setting.startswith("arn:") else arn)


@_resources("iam", "SimulatePrincipalPolicy")
def _simulate(request: AwsRequest, action: str) -> Iterator[Check]:
    yield Check(action, request.parameters["PolicySourceArn"])


@_resources("iam", "GetInstanceProfile")
def _get_instance_profile(request: AwsRequest, action: str) -> Iterator[Check]:
    name = request.parameters["InstanceProfileName"]
    profile = iam_backends[context.account_id]["aws"].instance_profiles.get(name)
    yield Check(action, profile.arn if profile else f"arn:aws:iam::{context.account_id}:instance-profile/{name}")


@_resources("iam", "AttachRolePolicy", "DetachRolePolicy", "GetRole", "GetRolePolicy", "ListAttachedRolePolicies")
@_resources("iam", "ListRolePolicies", "PutRolePolicy")
def _role(request: AwsRequest, action: str) -> Iterator[Check]:
    name = request.parameters["RoleName"]
    roles = iam_backends[context.account_id]["aws"].roles.values()
    arn = next((r.arn for r in roles if r.name == name), f"arn:aws:iam::{context.account_id}:role/{name}")
    policy = request.parameters.get("PolicyArn")
    yield Check(action, arn, {"iam:PolicyARN": policy} if policy else {})


@_resources("autoscaling", "CreateOrUpdateTags", "DeleteTags")
def _group_tags(request: AwsRequest, action: str) -> Iterator[Check]:
    tags = request.parameters.get("Tags") or []
    for group in {tag.get("ResourceId", "") for tag in tags}:
        account = f"{context.region}:{context.account_id}"
        arn = f"arn:aws:autoscaling:{account}:autoScalingGroup:*:autoScalingGroupName/{group}"
        yield Check(action, arn, _request_tags([tag for tag in tags if tag.get("ResourceId") == group]))


@_resources("sns", "Publish")
def _publish(request: AwsRequest, action: str) -> Iterator[Check]:
    yield Check(action, request.parameters.get("TopicArn") or request.parameters.get("TargetArn") or "*")


@_resources("sqs", "SendMessage")
def _send_message(request: AwsRequest, action: str) -> Iterator[Check]:
    name = request.parameters["QueueUrl"].rsplit("/", 1)[1]
    yield Check(action, f"arn:aws:sqs:{context.region}:{context.account_id}:{name}")


@_resources("events", "PutEvents")
def _put_events(request: AwsRequest, action: str) -> Iterator[Check]:
    entries = request.parameters["Entries"]
    for bus in {(e.get("EventBusName") or "default").rsplit("/", 1)[-1] for e in entries}:
        keys = {
            "events:source": [e.get("Source", "") for e in entries],
            "events:detail-type": [e.get("DetailType", "") for e in entries],
        }
        yield Check(action, f"arn:aws:events:{context.region}:{context.account_id}:event-bus/{bus}", keys)


@_resources("lambda", "Invoke")
def _invoke(request: AwsRequest, action: str) -> Iterator[Check]:
    name = request.parameters["FunctionName"]
    arn = name if name.startswith("arn:") else f"arn:aws:lambda:{context.region}:{context.account_id}:function:{name}"
    yield Check(action, arn)


def may_write_logs(role_arn: str, group: str, stream: str, creates_group: bool) -> bool:
    """Lambda writes a function's output with its role; without the permission it is lost without a word."""
    role = permissions.find_role(role_arn) if settings.enforce_role_policies else None
    if role is None:
        return not settings.enforce_role_policies
    documents = permissions.identity_policies(role)
    arn = f"arn:aws:logs:{context.region}:{context.account_id}:log-group:{group}"
    wanted = [
        Check("logs:CreateLogStream", f"{arn}:log-stream:{stream}"),
        Check("logs:PutLogEvents", f"{arn}:log-stream:{stream}"),
    ]
    if creates_group:
        wanted.append(Check("logs:CreateLogGroup", f"{arn}:*"))
    return all(policies.evaluate(documents, w.action, w.resource, {}) == policies.ALLOW for w in wanted)
