"""What the operations of services other than EC2 must be allowed: resources and condition keys as AWS passes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moto.autoscaling.models import autoscaling_backends
from moto.ecr.models import ecr_backends
from moto.iam.models import iam_backends

from emulator import tables
from emulator.authorization import Check, request_tags, resources_of
from emulator.aws_request import AwsRequest
from emulator.cloudformation import stacks
from emulator.context import context
from emulator.ec2 import keys
from emulator.ssm.sessions import all_log_groups


@resources_of("ssm", "GetParameter", "GetParameterHistory", "GetParameters")
def _parameters(request: AwsRequest, action: str) -> Iterator[Check]:
    for name in request.parameters.get("Names") or [request.parameters["Name"]]:
        yield Check(action, _parameter_arn(name))


def _parameter_arn(name: str) -> str:
    """AWS's public parameters belong to no account."""
    if name.startswith("arn:"):
        return name
    account = "" if name.startswith("/aws/service/") else context.account_id
    return f"arn:aws:ssm:{context.region}:{account}:parameter{'' if name.startswith('/') else '/'}{name}"


@resources_of("ssm", "GetServiceSetting")
def _service_setting(request: AwsRequest, action: str) -> Iterator[Check]:
    setting = request.parameters["SettingId"]
    arn = f"arn:aws:ssm:{context.region}:{context.account_id}:servicesetting{setting}"
    yield Check(action, setting if setting.startswith("arn:") else arn)


@resources_of("iam", "SimulatePrincipalPolicy")
def _simulate(request: AwsRequest, action: str) -> Iterator[Check]:
    yield Check(action, request.parameters["PolicySourceArn"])


@resources_of("iam", "GetInstanceProfile")
def _get_instance_profile(request: AwsRequest, action: str) -> Iterator[Check]:
    name = request.parameters["InstanceProfileName"]
    profile = iam_backends[context.account_id]["aws"].instance_profiles.get(name)
    yield Check(action, profile.arn if profile else f"arn:aws:iam::{context.account_id}:instance-profile/{name}")


@resources_of("iam", "AttachRolePolicy", "ListAttachedRolePolicies")
def _role(request: AwsRequest, action: str) -> Iterator[Check]:
    name = request.parameters["RoleName"]
    roles = iam_backends[context.account_id]["aws"].roles.values()
    arn = next((r.arn for r in roles if r.name == name), f"arn:aws:iam::{context.account_id}:role/{name}")
    policy = request.parameters.get("PolicyArn")
    yield Check(action, arn, {"iam:PolicyARN": policy} if policy else {})


@resources_of("ssm", "GetConnectionStatus")
def _node(request: AwsRequest, action: str) -> Iterator[Check]:
    target = request.parameters["Target"]
    kind = "ssm" if target.startswith("mi-") else "ec2"
    name = "managed-instance" if kind == "ssm" else "instance"
    yield Check(action, f"arn:aws:{kind}:{context.region}:{context.account_id}:{name}/{target}")


@resources_of("ssm", "GetDocument")
def _document(request: AwsRequest, action: str) -> Iterator[Check]:
    name = request.parameters["Name"]
    yield Check(action, f"arn:aws:ssm:{context.region}:{context.account_id}:document/{name}")


@resources_of("kms", "DescribeKey")
def _key(request: AwsRequest, action: str) -> Iterator[Check]:
    """The key that an id, an alias or an ARN means: an alias's own ARN allows nothing."""
    name = request.parameters["KeyId"]
    key = keys.find(name)
    yield Check(action, key.arn if key else f"arn:aws:kms:{context.region}:{context.account_id}:key/{name}")


@resources_of("logs", "DescribeLogGroups")
def _log_groups(_: AwsRequest, action: str) -> Iterator[Check]:
    yield Check(action, all_log_groups())


# Actions without resource types of their own: a statement that names resources doesn't allow them.
@resources_of("ssm", "DescribeInstanceInformation")
@resources_of(
    "autoscaling",
    "DescribeAutoScalingGroups",
    "DescribeAutoScalingInstances",
    "DescribeInstanceRefreshes",
    "DescribeLaunchConfigurations",
    "DescribeScalingActivities",
)
@resources_of("elbv2", "DescribeTargetHealth")
@resources_of("cloudtrail", "LookupEvents")
def _describe(_: AwsRequest, action: str) -> Iterator[Check]:
    yield Check(action, "*")


def _group_check(name: str, action: str, keys: dict[str, Any] | None = None) -> Check:
    """An Auto Scaling group's ARN holds an id that nobody knows before: policies write * in its place."""
    group = autoscaling_backends[context.account_id][context.region].autoscaling_groups.get(name)
    if group is None:
        prefix = f"arn:aws:autoscaling:{context.region}:{context.account_id}"
        return Check(action, f"{prefix}:autoScalingGroup:*:autoScalingGroupName/{name}", keys or {})
    return Check(action, group.arn, _tag_keys("autoscaling", group.tags) | (keys or {}))


def _tag_keys(prefix: str, tags: list[dict[str, Any]]) -> dict[str, str]:
    """The condition keys of a resource's tags: AWS's own, and the service's older one."""
    return {
        f"{name}:ResourceTag/{tag.get('Key', tag.get('key'))}": tag.get("Value", tag.get("value")) or ""
        for tag in tags
        for name in ("aws", prefix)
    }


@resources_of("autoscaling", "CreateOrUpdateTags", "DeleteTags")
def _group_tags(request: AwsRequest, action: str) -> Iterator[Check]:
    tags = request.parameters.get("Tags") or []
    for group in {tag.get("ResourceId", "") for tag in tags}:
        yield _group_check(group, action, request_tags([tag for tag in tags if tag.get("ResourceId") == group]))


@resources_of(
    "autoscaling",
    "AttachInstances",
    "CancelInstanceRefresh",
    "DetachInstances",
    "EnterStandby",
    "ExitStandby",
    "ResumeProcesses",
    "RollbackInstanceRefresh",
    "SuspendProcesses",
)
def _change_group(request: AwsRequest, action: str) -> Iterator[Check]:
    yield _group_check(request.parameters.get("AutoScalingGroupName", ""), action)


@resources_of("ecr", "BatchGetImage", "PutImage")
def _repository(request: AwsRequest, action: str) -> Iterator[Check]:
    name = request.parameters["repositoryName"]
    account = request.parameters.get("registryId") or context.account_id
    arn = f"arn:aws:ecr:{context.region}:{account}:repository/{name}"
    tags = ecr_backends[context.account_id][context.region].tagger.list_tags_for_resource(arn)["tags"]
    yield Check(action, arn, _tag_keys("ecr", tags))


@resources_of("cloudwatch", "DescribeAlarms")
def _describe_alarms(request: AwsRequest, action: str) -> Iterator[Check]:
    """Alarms by name, or all. Composite ones are told only to who may describe all alarms."""
    given = request.parameters
    names = given.get("AlarmNames") or ["*"]
    if "CompositeAlarm" in (given.get("AlarmTypes") or []):
        names = ["*"]
    for name in names:
        yield Check(action, f"arn:aws:cloudwatch:{context.region}:{context.account_id}:alarm:{name}")


@resources_of("cloudformation", "DescribeStacks")
def _stack(request: AwsRequest, action: str) -> Iterator[Check]:
    name = request.parameters.get("StackName")
    if not name:
        yield Check(action, "*")
        return
    stack = stacks.find(name)
    fallback = name if name.startswith("arn:") else f"{_stack_prefix()}{name}/*"
    yield Check(action, stack.stack_id if stack else fallback)


def _stack_prefix() -> str:
    return f"arn:aws:cloudformation:{context.region}:{context.account_id}:stack/"


@resources_of("dynamodb", "DeleteItem", "GetItem", "PutItem", "Query")
def _items(request: AwsRequest, action: str) -> Iterator[Check]:
    given = request.parameters
    keys = {"dynamodb:LeadingKeys": tables.leading_keys(given)}
    yield Check(action, tables.arn_of(given["TableName"], given.get("IndexName")), keys)


@resources_of("sns", "GetTopicAttributes", "Publish")
def _topic(request: AwsRequest, action: str) -> Iterator[Check]:
    yield Check(action, request.parameters.get("TopicArn") or request.parameters.get("TargetArn") or "*")


@resources_of("sqs", "SendMessage")
def _send_message(request: AwsRequest, action: str) -> Iterator[Check]:
    name = request.parameters["QueueUrl"].rsplit("/", 1)[1]
    yield Check(action, f"arn:aws:sqs:{context.region}:{context.account_id}:{name}")


@resources_of("events", "PutEvents")
def _put_events(request: AwsRequest, action: str) -> Iterator[Check]:
    entries = request.parameters["Entries"]
    for bus in {(e.get("EventBusName") or "default").rsplit("/", 1)[-1] for e in entries}:
        keys = {
            "events:source": [e.get("Source", "") for e in entries],
            "events:detail-type": [e.get("DetailType", "") for e in entries],
        }
        yield Check(action, f"arn:aws:events:{context.region}:{context.account_id}:event-bus/{bus}", keys)


@resources_of("lambda", "Invoke")
def _invoke(request: AwsRequest, action: str) -> Iterator[Check]:
    name = request.parameters["FunctionName"]
    arn = name if name.startswith("arn:") else f"arn:aws:lambda:{context.region}:{context.account_id}:function:{name}"
    yield Check(action, arn)
