"""What the EC2 tests have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError

from demo.local_aws import tags_of  # noqa: F401 (for the tests)

ZONE = "eu-central-1a"


@contextmanager
def refused(code: str, *words: str, status: int = 400) -> Iterator[None]:
    """Expect an AWS error with this code, whose message contains the words."""
    with pytest.raises(ClientError) as raised:
        yield
    error = raised.value.response["Error"]
    assert error["Code"] == code, error
    for word in words:
        assert word in error["Message"], error
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def eventually(check: Callable[[], Any], seconds: float = 60) -> Any:
    """The first true answer of `check`. The time is for a machine with much else to do."""
    until = time.monotonic() + seconds
    while True:
        if answer := check():
            return answer
        assert time.monotonic() < until, f"not true within {seconds} s: {check}"
        time.sleep(0.05)


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def specification(resource_type: str, tags: dict[str, str]) -> list[dict[str, Any]]:
    return [{"ResourceType": resource_type, "Tags": tag_list(tags)}]


def amazon_linux(ec2: Any) -> str:
    images = ec2.describe_images(
        Owners=["amazon"], Filters=[{"Name": "name", "Values": ["al2023-ami-2023.*-x86_64"]}]
    )["Images"]
    return images[0]["ImageId"]


def launch(ec2: Any, count: int = 1, **parameters: Any) -> list[str]:
    parameters = {"ImageId": amazon_linux(ec2), "InstanceType": "t3.micro"} | parameters
    launched = ec2.run_instances(MinCount=count, MaxCount=count, **parameters)
    return [instance["InstanceId"] for instance in launched["Instances"]]


def instance(ec2: Any, instance_id: str) -> dict[str, Any]:
    return ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]


def volumes_by_device(ec2: Any, instance_id: str) -> dict[str, str]:
    return {m["DeviceName"]: m["Ebs"]["VolumeId"] for m in instance(ec2, instance_id)["BlockDeviceMappings"]}


def add_volume(ec2: Any, instance_id: str, device: str, **parameters: Any) -> str:
    """A new volume, attached."""
    zone = instance(ec2, instance_id)["Placement"]["AvailabilityZone"]
    volume_id = ec2.create_volume(AvailabilityZone=zone, **({"Size": 4} | parameters))["VolumeId"]
    ec2.attach_volume(VolumeId=volume_id, InstanceId=instance_id, Device=device)
    return volume_id


def pages_of(call: Callable[..., Any], key: str, **parameters: Any) -> list[list[dict[str, Any]]]:
    pages, token = [], {}
    while True:
        answer = call(**parameters, **token)
        pages.append(answer[key])
        if not answer.get("NextToken"):
            return pages
        token = {"NextToken": answer["NextToken"]}


def snapshot(ec2: Any, snapshot_id: str) -> dict[str, Any]:
    return ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]


def wait_for_state(ec2: Any, snapshot_id: str, state: str) -> dict[str, Any]:
    return eventually(lambda: (s := snapshot(ec2, snapshot_id))["State"] == state and s)
