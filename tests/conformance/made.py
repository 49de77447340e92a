"""The kinds of thing that probes make: how each is tagged when it is made, found again, and removed.

Everything bears the tag `ec2-guardrails:conformance` with the run's id (schedules can't be tagged), and everything that
has a name has one that begins with the run's prefix. So what a killed run left is found without any note of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

TAG = "ec2-guardrails:conformance"
PREFIX = "ec2-guardrails-conformance"
IAM_PATH = f"/{PREFIX}/"

Tagger = Callable[[dict[str, Any], str], None]


@dataclass(frozen=True)
class Making:
    """An operation that makes something."""

    kind: str
    tag: Tagger
    name: str = ""
    """The request's member with the name, which must begin with the run's prefix."""
    answer: str = ""
    """JMESPath of the ids in the answer; without it a thing is known by its name."""


@dataclass(frozen=True)
class Kind:
    name: str
    find: Callable[[Any, str], Iterable[str]]
    """Those of a run, by the account and its id; without an id those of all runs."""
    remove: Callable[[Any, str], object]
    """Asks for it; answers False while it isn't gone yet. After an error it is asked again."""


# ---- Made and tagged ----


def _pairs(member: str, **more: Any) -> Tagger:
    def tag(parameters: dict[str, Any], run: str) -> None:
        parameters.setdefault(member, []).append({"Key": TAG, "Value": run} | more)

    return tag


def _specifications(*types: str) -> Tagger:
    def tag(parameters: dict[str, Any], run: str) -> None:
        given = parameters.setdefault("TagSpecifications", [])
        for resource_type in types:
            own = [s for s in given if s["ResourceType"] == resource_type]
            if not own:
                given.append({"ResourceType": resource_type, "Tags": []})
            (own or given[-1:])[0]["Tags"].append({"Key": TAG, "Value": run})

    return tag


def _template(parameters: dict[str, Any], run: str) -> None:
    _specifications("launch-template")(parameters, run)
    _specifications("instance", "volume")(parameters["LaunchTemplateData"], run)


def _map(parameters: dict[str, Any], run: str) -> None:
    parameters.setdefault("tags", {})[TAG] = run


def _none(parameters: dict[str, Any], run: str) -> None:
    pass


def _ec2(kind: str, answer: str, name: str = "", *, tag: Tagger | None = None) -> Making:
    return Making(kind, tag or _specifications(kind), name, answer)


MAKINGS = {
    ("ec2", "CopySnapshot"): _ec2("snapshot", "SnapshotId"),
    ("ec2", "CreateLaunchTemplate"): _ec2(
        "launch-template", "LaunchTemplate.LaunchTemplateId", "LaunchTemplateName", tag=_template
    ),
    ("ec2", "CreateSecurityGroup"): _ec2("security-group", "GroupId", "GroupName"),
    ("ec2", "CreateSnapshot"): _ec2("snapshot", "SnapshotId"),
    ("ec2", "CreateSnapshots"): _ec2("snapshot", "Snapshots[].SnapshotId"),
    ("ec2", "CreateSubnet"): _ec2("subnet", "Subnet.SubnetId"),
    ("ec2", "CreateVolume"): _ec2("volume", "VolumeId"),
    ("ec2", "CreateVpc"): _ec2("vpc", "Vpc.VpcId"),
    ("ec2", "RegisterImage"): _ec2("image", "ImageId", "Name"),
    ("ec2", "RunInstances"): _ec2("instance", "Instances[].InstanceId", tag=_specifications("instance", "volume")),
    ("autoscaling", "CreateAutoScalingGroup"): Making(
        "auto-scaling-group", _pairs("Tags", PropagateAtLaunch=True), "AutoScalingGroupName"
    ),
    ("dynamodb", "CreateTable"): Making("table", _pairs("Tags"), "TableName"),
    ("ecr", "CreateRepository"): Making("repository", _pairs("tags"), "repositoryName"),
    ("events", "PutRule"): Making("rule", _pairs("Tags"), "Name"),
    ("iam", "CreateInstanceProfile"): Making("instance-profile", _pairs("Tags"), "InstanceProfileName"),
    ("iam", "CreateRole"): Making("role", _pairs("Tags"), "RoleName"),
    ("scheduler", "CreateSchedule"): Making("schedule", _none, "Name"),
    ("sns", "CreateTopic"): Making("topic", _pairs("Tags"), "Name", "TopicArn"),
    ("sqs", "CreateQueue"): Making("queue", _map, "QueueName", "QueueUrl"),
    ("ssm", "PutParameter"): Making("parameter", _pairs("Tags"), "Name"),
}

COMES_ALONG = {"auto-scaling-group": {"instance", "volume"}, "instance": {"volume"}}
"""What AWS makes, and tags, with a thing of a kind."""

BESIDES = {
    "autoscaling:CreateOrUpdateTags", "dynamodb:TagResource", "ec2:CreateTags", "ec2:DescribeLockedSnapshots",
    "ecr:TagResource", "events:TagResource", "iam:CreateServiceLinkedRole", "iam:PassRole", "iam:TagInstanceProfile",
    "iam:TagRole", "sns:TagResource", "sqs:TagQueue", "ssm:AddTagsToResource",
}  # fmt: skip
"""What has to be allowed besides the calls: tagging, passing roles, and what only some accounts come to."""


# ---- Found and removed ----


def _tagged(operation: str, path: str, *filters: dict[str, Any], **more: Any) -> Callable[[Any, str], list[str]]:
    """By the tag. DescribeTags would do for all kinds, but goes on to show what is gone."""

    def find(aws: Any, run: str) -> list[str]:
        by_tag = {"Name": f"tag:{TAG}", "Values": [run]} if run else {"Name": "tag-key", "Values": [TAG]}
        pages = aws.ec2.get_paginator(operation).paginate(Filters=[by_tag, *filters], **more)
        return [given for given in pages.search(path) if given]

    return find


def _listed(service: str, operation: str, path: str, **parameters: Any) -> Callable[[Any, str], list[str]]:
    """By the prefix of the name, which is a part of its own in an ARN, address or path."""

    def find(aws: Any, run: str) -> list[str]:
        pages = aws.client(service).get_paginator(operation).paginate(**parameters)
        found = [name for name in pages.search(path) if name]
        return [name for name in found if f"/{PREFIX}-{run}" in "/" + name.replace(":", "/")]

    return find


def _terminate(aws: Any, instance_id: str) -> bool:
    state = aws.described(instance_id)["State"]["Name"]
    if state not in ("shutting-down", "terminated"):
        protected = aws.ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="disableApiTermination")
        if protected["DisableApiTermination"].get("Value"):
            aws.ec2.modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": False})
        aws.ec2.terminate_instances(InstanceIds=[instance_id])
    return state == "terminated"


def _delete_snapshot(aws: Any, snapshot_id: str) -> None:
    try:
        aws.ec2.delete_snapshot(SnapshotId=snapshot_id)
    except ClientError as error:
        # With which word AWS refuses to delete a locked one isn't documented.
        if not is_gone(error) and aws.ec2.describe_locked_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]:
            aws.ec2.unlock_snapshot(SnapshotId=snapshot_id)
        raise


def _delete_group(aws: Any, name: str) -> bool:
    if not aws.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]:
        return True
    aws.autoscaling.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)
    return False


def _delete_table(aws: Any, name: str) -> bool:
    aws.dynamodb.delete_table(TableName=name)
    return False


def _delete_rule(aws: Any, name: str) -> None:
    if targets := aws.events.list_targets_by_rule(Rule=name)["Targets"]:
        aws.events.remove_targets(Rule=name, Ids=[target["Id"] for target in targets])
    aws.events.delete_rule(Name=name)


def _delete_profile(aws: Any, name: str) -> None:
    for role in aws.iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"]:
        aws.iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=role["RoleName"])
    aws.iam.delete_instance_profile(InstanceProfileName=name)


def _delete_role(aws: Any, name: str) -> None:
    for policy in aws.iam.list_role_policies(RoleName=name)["PolicyNames"]:
        aws.iam.delete_role_policy(RoleName=name, PolicyName=policy)
    aws.iam.delete_role(RoleName=name)


# Terminated instances are shown, with their tags, for an hour.
ALIVE = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped", "shutting-down"]}

# In the order in which they are removed: what uses another thing comes before it.
KINDS = [
    Kind("schedule", _listed("scheduler", "list_schedules", "Schedules[].Name", NamePrefix=PREFIX),
         lambda aws, name: aws.scheduler.delete_schedule(Name=name)),
    Kind("rule", _listed("events", "list_rules", "Rules[].Name", NamePrefix=PREFIX), _delete_rule),
    Kind("auto-scaling-group",
         _listed("autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups[].AutoScalingGroupName"),
         _delete_group),
    Kind("launch-template", _tagged("describe_launch_templates", "LaunchTemplates[].LaunchTemplateId"),
         lambda aws, given: aws.ec2.delete_launch_template(LaunchTemplateId=given)),
    Kind("instance", _tagged("describe_instances", "Reservations[].Instances[].InstanceId", ALIVE), _terminate),
    Kind("image", _tagged("describe_images", "Images[].ImageId", Owners=["self"], IncludeDisabled=True),
         lambda aws, given: aws.ec2.deregister_image(ImageId=given)),
    Kind("snapshot", _tagged("describe_snapshots", "Snapshots[].SnapshotId", OwnerIds=["self"]), _delete_snapshot),
    Kind("volume", _tagged("describe_volumes", "Volumes[].VolumeId"),
         lambda aws, given: aws.ec2.delete_volume(VolumeId=given)),
    Kind("security-group", _tagged("describe_security_groups", "SecurityGroups[].GroupId"),
         lambda aws, given: aws.ec2.delete_security_group(GroupId=given)),
    Kind("subnet", _tagged("describe_subnets", "Subnets[].SubnetId"),
         lambda aws, given: aws.ec2.delete_subnet(SubnetId=given)),
    Kind("vpc", _tagged("describe_vpcs", "Vpcs[].VpcId"), lambda aws, given: aws.ec2.delete_vpc(VpcId=given)),
    Kind("instance-profile",
         _listed("iam", "list_instance_profiles", "InstanceProfiles[].InstanceProfileName", PathPrefix=IAM_PATH),
         _delete_profile),
    Kind("role", _listed("iam", "list_roles", "Roles[].RoleName", PathPrefix=IAM_PATH), _delete_role),
    Kind("table", _listed("dynamodb", "list_tables", "TableNames[]"), _delete_table),
    Kind("repository", _listed("ecr", "describe_repositories", "repositories[].repositoryName"),
         lambda aws, name: aws.ecr.delete_repository(repositoryName=name, force=True)),
    Kind("topic", _listed("sns", "list_topics", "Topics[].TopicArn"),
         lambda aws, arn: aws.sns.delete_topic(TopicArn=arn)),
    Kind("queue", _listed("sqs", "list_queues", "QueueUrls[]", QueueNamePrefix=PREFIX),
         lambda aws, url: aws.sqs.delete_queue(QueueUrl=url)),
    Kind("parameter",
         _listed("ssm", "describe_parameters", "Parameters[].Name",
                 ParameterFilters=[{"Key": "Name", "Option": "BeginsWith", "Values": [f"/{PREFIX}-"]}]),
         lambda aws, name: aws.ssm.delete_parameter(Name=name)),
]  # fmt: skip
ORDER = {kind.name: place for place, kind in enumerate(KINDS)}


def is_gone(error: ClientError) -> bool:
    code = error.response["Error"]["Code"]
    words = ("NotFound", "NoSuchEntity", "NonExistentQueue", "QueueDoesNotExist", "InvalidAMIID.Unavailable")
    return any(word in code for word in words) or "AutoScalingGroup name not found" in str(error)
