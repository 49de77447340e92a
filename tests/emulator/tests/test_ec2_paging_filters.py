"""MaxResults, NextToken and filters of the Describe calls (EBS-7)."""

import base64
import json
import time

import pytest
from ec2_help import launch, pages_of, refused, specification, tag_list, tags_of, volumes_by_device


def test_volumes_come_in_pages(emulator, ec2):
    ids = emulator.control("POST", "volumes", count=12)["volume_ids"]
    pages = pages_of(ec2.describe_volumes, "Volumes", MaxResults=5)
    assert [len(page) for page in pages] == [5, 5, 2]
    assert sorted(v["VolumeId"] for page in pages for v in page) == sorted(ids)
    assert len(ec2.describe_volumes()["Volumes"]) == 12


def test_snapshots_come_in_pages_and_a_deletion_between_two_skips_none(emulator, ec2):
    ids = emulator.control("POST", "snapshots", snapshots=[{}] * 13)["snapshot_ids"]
    first = ec2.describe_snapshots(OwnerIds=["self"], MaxResults=5)
    last_seen = first["Snapshots"][-1]["SnapshotId"]
    ec2.delete_snapshot(SnapshotId=last_seen)
    rest = pages_of(
        lambda **p: ec2.describe_snapshots(**({"NextToken": first["NextToken"]} | p)),
        "Snapshots", OwnerIds=["self"], MaxResults=5,
    )  # fmt: skip
    seen = [s["SnapshotId"] for page in [first["Snapshots"], *rest] for s in page]
    assert sorted(seen) == sorted(ids)


def test_instances_come_in_pages_within_a_reservation(ec2):
    ids = launch(ec2, count=7)
    pages = pages_of(ec2.describe_instances, "Reservations", MaxResults=5)
    assert [sum(len(r["Instances"]) for r in page) for page in pages] == [5, 2]
    assert sorted(i["InstanceId"] for page in pages for r in page for i in r["Instances"]) == sorted(ids)


def test_pages_are_short_when_told(emulator, ec2):
    ids = emulator.control("POST", "volumes", count=12)["volume_ids"]
    emulator.control("POST", "paging", short_pages=True)
    pages = pages_of(ec2.describe_volumes, "Volumes", MaxResults=10)
    assert [len(page) for page in pages] == [0, 5, 5, 2]
    assert sorted(v["VolumeId"] for page in pages for v in page) == sorted(ids)


def test_images_come_in_pages(ec2):
    pages = pages_of(ec2.describe_images, "Images", Owners=["amazon"], MaxResults=50)
    assert all(len(page) == 50 for page in pages[:-1]) and len(pages) > 1


@pytest.mark.parametrize("operation", ["describe_volumes", "describe_snapshots", "describe_instances"])
def test_a_page_has_a_least_size(ec2, operation):
    call = getattr(ec2, operation)
    with refused("InvalidParameterValue", "Value ( 4 ) for parameter maxResults is invalid. Expecting a value greater than 5."):
        call(MaxResults=4)
    call(MaxResults=5)


def test_a_page_that_is_too_large_is_cut(emulator, ec2):
    emulator.control("POST", "volumes", count=1001)
    answer = ec2.describe_volumes(MaxResults=1500)
    assert len(answer["Volumes"]) == 1000 and answer["NextToken"]
    assert len(pages_of(ec2.describe_volumes, "Volumes", MaxResults=1000)) == 2


def test_of_the_versions_of_a_launch_template_a_large_page_is_refused(ec2):
    data = {"InstanceType": "t3.micro"}
    template = ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)["LaunchTemplate"]
    with refused("InvalidParameterValue", "Maximum results allowed are between 1 and 200"):
        ec2.describe_launch_template_versions(LaunchTemplateId=template["LaunchTemplateId"], MaxResults=201)
    for _ in range(16):
        ec2.create_launch_template_version(LaunchTemplateName="web", LaunchTemplateData=data)
    versions = ec2.get_paginator("describe_launch_template_versions").paginate(LaunchTemplateName="web")
    assert sum(len(page["LaunchTemplateVersions"]) for page in versions) == 17


def test_an_unknown_route_table_is_named(ec2):
    with refused("InvalidRouteTableID.NotFound", "The routeTable ID 'rtb-0' does not exist"):
        ec2.describe_route_tables(RouteTableIds=["rtb-0"])


def test_a_token_must_be_one_that_was_given_for_this_call(emulator, ec2):
    emulator.control("POST", "volumes", count=6)
    for token in ("nonsense", "5", base64.b64encode(json.dumps(["DescribeSnapshots", "x"]).encode()).decode()):
        with refused("InvalidParameterValue", "The token is invalid."):
            ec2.describe_volumes(MaxResults=5, NextToken=token)


def test_long_filters(emulator, ec2):
    ids = emulator.control("POST", "volumes", count=201)["volume_ids"]
    found = ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": ids[:200]}])["Volumes"]
    assert {v["VolumeId"] for v in found} == set(ids[:200])
    with refused("FilterLimitExceeded", "255"):
        ec2.describe_volumes(Filters=[{"Name": "tag:a", "Values": ["v" * 256]}])


def test_unknown_filters_are_refused_even_when_there_is_nothing(ec2):
    for call in (ec2.describe_volumes, ec2.describe_snapshots, ec2.describe_instances, ec2.describe_images):
        with refused("InvalidParameterValue", "The filter 'colour' is invalid"):
            call(Filters=[{"Name": "colour", "Values": ["red"]}])


def test_volume_filters(ec2):
    (instance_id,) = launch(ec2)
    (root,) = volumes_by_device(ec2, instance_id).values()
    tags = {"Backup": "daily-eu", "Name": "data*1"}
    free = ec2.create_volume(
        AvailabilityZone="eu-central-1b", Size=3, VolumeType="st1", TagSpecifications=specification("volume", tags)
    )["VolumeId"]

    def found(name, *values):
        answer = ec2.describe_volumes(Filters=[{"Name": name, "Values": list(values)}])
        return {v["VolumeId"] for v in answer["Volumes"]}

    assert found("tag:Backup", "daily-eu") == {free} == found("tag:Backup", "other", "daily-*")
    assert found("tag:Backup", "daily") == set() == found("tag:Backup", "DAILY-EU") == found("tag:backup", "daily-eu")
    assert found("tag:Backup", "daily?eu") == {free} == found("tag:Backup", "daily-eu?")
    assert found("tag:Name", r"data\*1") == {free} and found("tag:Backup", r"daily\*") == set()
    assert found("tag:Backup", "*") == {free} == found("tag-key", "Backup") == found("tag-key", "Back*")
    assert found("tag-key", "back*") == set() == found("tag:Missing", "*")
    assert found("volume-id", free, "vol-0123456789abcdef0") == {free}
    assert found("status", "available") == {free} and found("status", "in-use") == {root}
    assert found("attachment.instance-id", instance_id) == {root}
    assert found("attachment.instance-id", instance_id[:-1]) == set()
    assert found("attachment.delete-on-termination", "true") == {root} == found("attachment.device", "/dev/xvda")
    assert found("availability-zone", "eu-central-1b") == {free} == found("volume-type", "st1") == found("size", "3")
    assert found("multi-attach-enabled", "false") == {free, root}
    both = [{"Name": "status", "Values": ["available"]}, {"Name": "tag:Backup", "Values": ["none"]}]
    assert ec2.describe_volumes(Filters=both)["Volumes"] == []


def test_snapshot_filters(emulator, ec2):
    old, new = emulator.control(
        "POST",
        "snapshots",
        snapshots=[
            {"volume_id": "vol-0aaaaaaaaaaaaaaaa", "start_time": "2024-02-03T04:05:06Z", "tags": {"plan": "daily"}},
            {"volume_id": "vol-0bbbbbbbbbbbbbbbb", "state": "error", "description": "left over"},
        ],
    )["snapshot_ids"]

    def found(name, *values):
        answer = ec2.describe_snapshots(OwnerIds=["self"], Filters=[{"Name": name, "Values": list(values)}])
        return {s["SnapshotId"] for s in answer["Snapshots"]}

    assert found("volume-id", "vol-0aaaaaaaaaaaaaaaa") == {old} == found("tag:plan", "d*") == found("tag-key", "plan")
    assert found("status", "completed") == {old} and found("status", "error", "pending") == {new}
    assert found("snapshot-id", old, new) == {old, new} and found("description", "left*") == {new}
    assert found("start-time", "2024-02-03T04:05:06.000Z") == {old} == found("start-time", "2024-02-*")


def test_instance_filters(ec2):
    running, stopped = launch(ec2, count=2)
    ec2.stop_instances(InstanceIds=[stopped])
    ec2.create_tags(Resources=[running], Tags=tag_list({"Name": "web-1"}))
    root = volumes_by_device(ec2, running)["/dev/xvda"]
    image = ec2.describe_instances(InstanceIds=[running])["Reservations"][0]["Instances"][0]["ImageId"]

    def found(name, *values):
        answer = ec2.describe_instances(Filters=[{"Name": name, "Values": list(values)}])
        return {i["InstanceId"] for r in answer["Reservations"] for i in r["Instances"]}

    assert found("instance-state-name", "running") == {running} and found("instance-state-name", "stop*") == {stopped}
    assert found("instance-id", running) == {running} == found("tag:Name", "web-*") == found("tag-key", "Name")
    assert found("image-id", image) == {running, stopped} and found("image-id", "ami-0123456789abcdef0") == set()
    assert found("block-device-mapping.volume-id", root) == {running}
    assert found("availability-zone", "*") == {running, stopped}


def test_unknown_instances_are_named(ec2):
    with refused("InvalidInstanceID.NotFound", "The instance IDs 'i-0123456789abcdef0, i-0123456789abcdef1' do not"):
        ec2.describe_instances(InstanceIds=["i-0123456789abcdef0", "i-0123456789abcdef1"])
    with refused("InvalidVolume.NotFound", "The volume 'vol-0123456789abcdef0' does not exist."):
        ec2.describe_volumes(VolumeIds=["vol-0123456789abcdef0"])


def test_5000_tagged_volumes_are_read_in_seconds(emulator, ec2):
    """moto takes 93 s."""
    tags = {f"tag{n}": "value" for n in range(5)}
    emulator.control("POST", "volumes", count=5000, tags=tags | {"Backup": "true"})
    started = time.monotonic()
    filters = [{"Name": "tag:Backup", "Values": ["true"]}]
    pages = pages_of(ec2.describe_volumes, "Volumes", MaxResults=500, Filters=filters)
    assert sum(len(page) for page in pages) == 5000
    assert tags_of(pages[9][499]) == tags | {"Backup": "true"}
    assert time.monotonic() - started < 45
