"""Ordinary clients, as processes, with the paging that they come with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from asg_help import Web
from conftest import REGION
from ec2_help import specification
from ssm_help import launch, make_profile

ROOT = Path(__file__).resolve().parents[3]


def run(emulator: Any, *command: Any) -> str:
    environment = os.environ | {
        "AWS_ENDPOINT_URL": emulator.endpoint,
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_PAGER": "",
        # Nothing of whoever runs the tests.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_aws_cli_shows_everything_with_its_default_pages(emulator: Any, ec2: Any, iam: Any, client: Any) -> None:
    emulator.control("POST", "volumes", count=1100)
    emulator.control("POST", "snapshots", snapshots=[{}] * 1100)
    Web(emulator, 2).up()
    profile = make_profile(iam)
    managed = [launch(ec2, IamInstanceProfile={"Arn": profile}) for _ in range(12)]
    emulator.control("POST", "nodes/retry", instance_ids=managed)
    client("dynamodb").create_table(
        TableName="state",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
    )
    # Each page of a scan ends at a megabyte.
    for number in range(6):
        item = {"k": {"S": str(number)}, "v": {"S": "x" * 300_000}}
        client("dynamodb").put_item(TableName="state", Item=item)
    # Each instance has a root volume, and the AMI of the group a snapshot.
    for command, member, count in [
        ("ec2 describe-volumes", "Volumes", 1114),
        ("ec2 describe-volumes --filters Name=status,Values=available", "Volumes", 1100),
        ("ec2 describe-snapshots --owner-ids self", "Snapshots", 1101),
        ("ec2 describe-instances", "Reservations", 14),
        ("ec2 describe-images --owners self", "Images", 1),
        ("ec2 describe-network-interfaces", "NetworkInterfaces", 14),
        ("ec2 describe-instance-image-metadata", "InstanceImageMetadata", 14),
        ("ec2 describe-iam-instance-profile-associations", "IamInstanceProfileAssociations", 12),
        ("ec2 describe-launch-template-versions --launch-template-name web", "LaunchTemplateVersions", 1),
        ("autoscaling describe-auto-scaling-groups", "AutoScalingGroups", 1),
        ("autoscaling describe-scaling-activities", "Activities", 2),
        ("ssm describe-instance-information", "InstanceInformationList", 12),
        ("dynamodb scan --table-name state", "Items", 6),
        ("cloudtrail lookup-events --max-items 60", "Events", None),
    ]:
        found = json.loads(run(emulator, Path(sys.executable).with_name("aws"), *command.split(), "--output", "json"))
        assert count is None or len(found[member]) == count, command
    sizes = emulator.control("GET", "calls", operation="DescribeVolumes")["calls"]
    assert sizes[0]["parameters"]["MaxResults"] == 1000, "what the AWS CLI asks for by itself"


@pytest.fixture(scope="session")
def custodian() -> Path:
    """Cloud Custodian in an environment of its own, which the Makefile makes at its first use."""
    subprocess.run(["make", "-C", ROOT, "--no-print-directory", ".local/custodian/.stamp"], check=True)
    return ROOT / ".local" / "custodian" / "bin" / "custodian"


def test_cloud_custodian_snapshots_volumes_by_policy(emulator: Any, ec2: Any, custodian: Path, tmp_path: Path) -> None:
    instance_id = launch(ec2, TagSpecifications=specification("volume", {"Backup": "daily"}))
    others = emulator.control("POST", "volumes", count=3)["volume_ids"]
    policy = tmp_path / "policy.json"
    volumes = {
        "name": "daily",
        "resource": "ebs",
        "filters": [{"tag:Backup": "daily"}],
        "actions": [{"type": "snapshot", "copy-tags": ["Backup"]}],
    }
    old = {
        "name": "expired",
        "resource": "ebs-snapshot",
        "filters": [{"tag:Backup": "daily"}, {"type": "age", "days": 7, "op": "ge"}],
        "actions": ["delete"],
    }
    policy.write_text(json.dumps({"policies": [volumes, old]}))
    command = [custodian, "run", "--cache-period", "0", "-s", tmp_path, policy]
    run(emulator, *command)
    (made,) = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    described = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    assert made["VolumeId"] == described["BlockDeviceMappings"][0]["Ebs"]["VolumeId"] not in others
    assert {"Key": "Backup", "Value": "daily"} in made["Tags"]
    emulator.control("POST", "snapshots/finish")
    emulator.control("POST", "snapshots/age", seconds=8 * 86400)
    run(emulator, *command)
    (newer,) = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert newer["SnapshotId"] != made["SnapshotId"]
