"""Instance refreshes (ASG)."""

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from conformance.account import INSTANCE_TYPE, Account
from conformance.probe import expect, expect_that, probe, refused, untried

FAILED_LAUNCH = "EC2 Instance Launch Unsuccessful"
REFRESH = "EC2 Auto Scaling Instance Refresh "


def template(aws: Account, **data: Any) -> str:
    given = {"ImageId": aws.image, "InstanceType": INSTANCE_TYPE} | data
    answer = aws.ec2.create_launch_template(LaunchTemplateName=aws.name("template"), LaunchTemplateData=given)
    return answer["LaunchTemplate"]["LaunchTemplateId"]


def group(aws: Account, launch_template: str, size: int = 0, version: str = "1") -> str:
    name = aws.name("group")
    aws.autoscaling.create_auto_scaling_group(
        AutoScalingGroupName=name,
        LaunchTemplate={"LaunchTemplateId": launch_template, "Version": version},
        MinSize=size,
        MaxSize=1,
        DesiredCapacity=size,
        VPCZoneIdentifier=aws.subnet,
    )
    return name


def refreshes(aws: Account, name: str) -> list[dict[str, Any]]:
    return aws.autoscaling.describe_instance_refreshes(AutoScalingGroupName=name)["InstanceRefreshes"]


def start(aws: Account, name: str) -> str:
    return aws.autoscaling.start_instance_refresh(AutoScalingGroupName=name)["InstanceRefreshId"]


@probe(
    "ASG-1", "ASG-2", "ASG-6",
    must="Pending, the id of the cancelled one, Cancelled; the newest first; events with both ids",
    seconds=90,
)
def a_refresh_that_is_cancelled(aws: Account) -> None:
    """Starts an instance refresh of a group without instances, cancels it, and starts another one."""
    queue = aws.listen({"source": ["aws.autoscaling"], "detail-type": [{"prefix": REFRESH}]})
    name = group(aws, template(aws))
    with refused("ActiveInstanceRefreshNotFound"):
        aws.autoscaling.cancel_instance_refresh(AutoScalingGroupName=name)
    first = start(aws, name)
    (shown,) = refreshes(aws, name)
    expect("a new refresh's status", shown["Status"], "Pending")
    cancelled = aws.autoscaling.cancel_instance_refresh(AutoScalingGroupName=name)["InstanceRefreshId"]
    expect("the id that cancelling answers", cancelled, first)
    aws.eventually(lambda: refreshes(aws, name)[0]["Status"] == "Cancelled", "a cancelled refresh", 300)
    second = start(aws, name)
    expect("the refreshes", [r["InstanceRefreshId"] for r in refreshes(aws, name)], [second, first])
    message = aws.received(queue, "its event", lambda event: event["detail"].get("AutoScalingGroupName") == name)
    event = message["Body"]
    expect_that("the event names a refresh", event["detail"]["InstanceRefreshId"] in (first, second), event["detail"])
    words = ("Started", "Cancelled", "Succeeded")
    expect_that("its type is one of those", event["detail-type"].removeprefix(REFRESH) in words, event["detail-type"])


untried("ASG-1", "the other statuses take an hour of instances that fail and work")
untried("ASG-2", "that replaced instances stay takes a refresh of several instances")


@probe("ASG-3", must="IrreversibleInstanceRefresh", seconds=20)
def no_way_back_without_a_desired_configuration(aws: Account) -> None:
    """Starts a refresh without a desired configuration and rolls it back."""
    name = group(aws, template(aws))
    with refused("ActiveInstanceRefreshNotFound"):
        aws.autoscaling.rollback_instance_refresh(AutoScalingGroupName=name)
    start(aws, name)
    with refused("IrreversibleInstanceRefresh"):
        aws.autoscaling.rollback_instance_refresh(AutoScalingGroupName=name)


untried("ASG-3", "a rollback that works, and one that loops, take instances and half an hour")
untried("ASG-4", "it takes an hour without progress")


@probe(
    "ASG-5", "ASG-6", "ASG-12", "ASG-15",
    must="a Failed activity that names the group that is gone, and its event", seconds=120,
)
def a_launch_that_fails(aws: Account) -> None:
    """Deletes the security group of a launch template and has a group launch from it."""
    queue = aws.listen({"source": ["aws.autoscaling"], "detail-type": [FAILED_LAUNCH]})
    security_group = aws.security_group()
    name = group(aws, template(aws, SecurityGroupIds=[security_group]))
    aws.ec2.delete_security_group(GroupId=security_group)
    # Not by an update, which looks at the template.
    aws.autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=1)

    def activities(since: datetime) -> list[dict[str, Any]]:
        filters = [{"Name": "StartTimeLowerBound", "Values": [since.strftime("%Y-%m-%dT%H:%M:%SZ")]}]
        answer = aws.autoscaling.describe_scaling_activities(AutoScalingGroupName=name, Filters=filters)
        return [a for a in answer["Activities"] if a["StatusCode"] in ("Failed", "Successful")]

    now = datetime.now(UTC)
    activity = aws.eventually(lambda: activities(now - timedelta(minutes=5)), "an activity", 300)[-1]
    expect("its status", activity["StatusCode"], "Failed")
    message = activity["StatusMessage"]
    for words in ("security group", "does not exist", "Launching EC2 instance failed"):
        expect_that(f"StatusMessage says {words!r}", words in message, message)
    expect("activities after now", activities(now + timedelta(hours=1)), [])
    aws.autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=0)

    of_it = aws.received(queue, "its event", lambda event: event["detail"]["AutoScalingGroupName"] == name, 300)
    event, detail = of_it["Body"], of_it["Body"]["detail"]
    (found,) = aws.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    expect("the event's resources", event["resources"], [found["AutoScalingGroupARN"]])
    expect("its EC2InstanceId", detail.get("EC2InstanceId"), "")
    expect("its StatusMessage", detail.get("StatusMessage"), message)
    description = detail.get("Description", "")
    expect_that("it has a Description", description.startswith("Launching"), description)
    times = detail.get("StartTime", ""), detail.get("EndTime", "")
    whole = re.fullmatch(r"[\d-]+T[\d:]+Z", times[1])
    expect_that("EndTime has whole seconds", whole, times)
    expect_that("EndTime, cut, lies before StartTime", whole and _seconds(times[1]) <= _seconds(times[0]), times)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


untried("ASG-6", "the other events take refreshes that fail and roll back, and events are best effort")
untried("ASG-7", "about ECS, as a model for thresholds of our own")
untried("ASG-8", "a shortage of capacity can't be brought about")
untried("ASG-9", "only AWS's own services set an operator")

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def push(aws: Account, repository: str, tag: str, content: str) -> tuple[str, str]:
    """Pushes an image of one layer; its manifest and digest."""

    def blob(data: bytes, media_type: str) -> dict[str, Any]:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        upload = aws.ecr.initiate_layer_upload(repositoryName=repository)["uploadId"]
        aws.ecr.upload_layer_part(
            repositoryName=repository, uploadId=upload, partFirstByte=0, partLastByte=len(data) - 1, layerPartBlob=data
        )
        aws.ecr.complete_layer_upload(repositoryName=repository, uploadId=upload, layerDigests=[digest])
        return {"mediaType": media_type, "size": len(data), "digest": digest}

    layers = [blob(content.encode(), "application/vnd.docker.image.rootfs.diff.tar.gzip")]
    config = blob(
        json.dumps({"architecture": "amd64", "c": content}).encode(), "application/vnd.docker.container.image.v1+json"
    )
    # Three spaces: byte for byte it must come back.
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}, indent=3
    )
    put = aws.ecr.put_image(repositoryName=repository, imageManifest=manifest, imageTag=tag)
    return manifest, put["image"]["imageId"]["imageDigest"]


@probe(
    "ASG-10",
    must="the manifest byte for byte; ImageNotFound in failures; ImageAlreadyExistsException",
    usd=0.001,
    seconds=15,
)
def a_tag_is_put_back(aws: Account) -> None:
    """Pushes two images, moves a tag and puts it back."""
    name = aws.name("repository")
    aws.ecr.create_repository(repositoryName=name)
    good, digest = push(aws, name, "prod", "good")
    expect("the digest", digest, "sha256:" + hashlib.sha256(good.encode()).hexdigest())
    bad, other = push(aws, name, "prod", "bad")
    answer = aws.ecr.batch_get_image(
        repositoryName=name, imageIds=[{"imageDigest": digest}, {"imageTag": "prod"}, {"imageTag": "none"}]
    )
    found = {image["imageId"]["imageDigest"]: image for image in answer["images"]}
    expect("the manifests", {d: i["imageManifest"] for d, i in found.items()}, {digest: good, other: bad})
    expect("the tag of what lost its tag", found[digest]["imageId"].get("imageTag"), None)
    expect("the misses", [f["failureCode"] for f in answer["failures"]], ["ImageNotFound"])

    def put(tag: str, **more: str) -> None:
        aws.ecr.put_image(
            repositoryName=name, imageManifest=good, imageManifestMediaType=MANIFEST, imageTag=tag, **more
        )

    with refused("ImageDigestDoesNotMatchException"):
        put("prod", imageDigest=other)
    put("prod", imageDigest=digest)
    with refused("ImageAlreadyExistsException"):
        put("prod", imageDigest=digest)


@probe("ASG-10", must="ImageTagAlreadyExistsException", usd=0.001, seconds=15)
def a_tag_of_an_immutable_repository(aws: Account) -> None:
    """Pushes two images under one tag."""
    name = aws.name("repository")
    aws.ecr.create_repository(repositoryName=name, imageTagMutability="IMMUTABLE")
    manifest, _ = push(aws, name, "prod", "good")
    with refused("ImageTagAlreadyExistsException"):
        push(aws, name, "prod", "bad")
    with refused("ImageAlreadyExistsException", "ImageTagAlreadyExistsException") as refusal:
        aws.ecr.put_image(repositoryName=name, imageManifest=manifest, imageTag="prod")
    aws.note(f"the same image and tag again, immutable: {refusal.code}")


untried("ASG-10", "a lifecycle policy sweeps within a day")
untried("ASG-11", "what follows from ASG-10 and from instances that boot")
untried("ASG-12", "the other words take instances that die, hooks and load balancers")


@probe("ASG-13", must="one name, as text", seconds=1)
def refreshes_are_described_group_by_group(aws: Account) -> None:
    """Reads AWS's own model of DescribeInstanceRefreshes."""
    shape = aws.autoscaling.meta.service_model.operation_model("DescribeInstanceRefreshes").input_shape
    expect("the type of the group's name", shape.members["AutoScalingGroupName"].type_name, "string")
    expect("the members about groups", [name for name in shape.members if "Group" in name], ["AutoScalingGroupName"])


untried("ASG-13", "reaching the limit would throttle the whole account")
untried("ASG-14", "it takes a stack whose update fails, and hours")
untried("ASG-16", "a warm pool bills for what is stopped in it")
untried("ASG-17", "a warm pool bills for what is stopped in it")
