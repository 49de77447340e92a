"""Tags: limits, reserved keys, creation and deletion."""

import pytest
from ec2_help import ZONE, launch, refused, specification, tag_list, tags_of


@pytest.fixture
def volume_id(ec2):
    return ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]


def _tags(ec2, volume_id):
    return tags_of(ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0])


def test_tags_are_added_changed_and_removed(emulator, ec2, volume_id):
    (snapshot_id,) = emulator.control("POST", "snapshots", snapshots=[{"tags": {"a": "0"}}])["snapshot_ids"]
    ec2.create_tags(Resources=[volume_id, snapshot_id], Tags=tag_list({"a": "1", "b": "2"}))
    assert _tags(ec2, volume_id) == {"a": "1", "b": "2"}
    assert tags_of(ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]) == {"a": "1", "b": "2"}
    ec2.delete_tags(Resources=[volume_id], Tags=[{"Key": "a", "Value": "other"}, {"Key": "b"}])
    assert _tags(ec2, volume_id) == {"a": "1"}


def test_a_resource_has_at_most_50_tags(ec2, volume_id):
    ec2.create_tags(Resources=[volume_id], Tags=tag_list({f"t{n}": "" for n in range(50)}))
    with refused("TagLimitExceeded"):
        ec2.create_tags(Resources=[volume_id], Tags=tag_list({"one": "more"}))
    ec2.create_tags(Resources=[volume_id], Tags=tag_list({"t0": "changed"}))
    with refused("TagLimitExceeded"):
        ec2.create_snapshot(
            VolumeId=volume_id, TagSpecifications=specification("snapshot", {f"t{n}": "" for n in range(51)})
        )
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


def test_reserved_tags_dont_count(emulator, ec2):
    tags = {f"t{n}": "" for n in range(50)} | {"aws:cloudformation:stack-name": "x"}
    (volume_id,) = emulator.control("POST", "volumes", count=1, tags=tags)["volume_ids"]
    ec2.create_tags(Resources=[volume_id], Tags=tag_list({"t0": "changed"}))


def test_keys_of_aws_are_reserved(ec2, volume_id):
    reserved = tag_list({"aws:mine": "1"})
    for attempt in (
        lambda: ec2.create_tags(Resources=[volume_id], Tags=reserved),
        lambda: ec2.delete_tags(Resources=[volume_id], Tags=reserved),
        lambda: ec2.create_snapshot(VolumeId=volume_id, TagSpecifications=specification("snapshot", {"aws:mine": "1"})),
        lambda: ec2.create_volume(
            AvailabilityZone=ZONE, Size=1, TagSpecifications=specification("volume", {"aws:mine": "1"})
        ),
        lambda: launch(ec2, TagSpecifications=specification("instance", {"aws:mine": "1"})),
    ):
        with refused("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use"):
            attempt()
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


def test_lengths_and_duplicates(ec2, volume_id):
    with refused("InvalidParameterValue", "key exceeds the maximum length"):
        ec2.create_tags(Resources=[volume_id], Tags=tag_list({"k" * 129: ""}))
    with refused("InvalidParameterValue", "value exceeds the maximum length"):
        ec2.create_tags(Resources=[volume_id], Tags=tag_list({"k": "v" * 257}))
    with refused("InvalidParameterValue", "Duplicate tag key 'k'"):
        ec2.create_tags(Resources=[volume_id], Tags=[{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}])


def test_tags_are_for_the_type_that_is_created(ec2, volume_id):
    with refused("InvalidParameterValue", "'volume' is not a valid taggable resource type for this operation."):
        ec2.create_snapshot(VolumeId=volume_id, TagSpecifications=specification("volume", {"a": "1"}))
    with refused("InvalidParameterValue", "Tag specification must have at least one tag"):
        ec2.create_snapshot(VolumeId=volume_id, TagSpecifications=[{"ResourceType": "snapshot"}])


@pytest.mark.parametrize(
    ("resource_id", "code"),
    [
        ("vol-0123456789abcdef0", "InvalidVolume.NotFound"),
        ("snap-0123456789abcdef0", "InvalidSnapshot.NotFound"),
        ("i-0123456789abcdef0", "InvalidInstanceID.NotFound"),
        ("nonsense", "InvalidID"),
    ],
)
def test_unknown_resources_are_named(ec2, volume_id, resource_id, code):
    with refused(code, resource_id):
        ec2.create_tags(Resources=[volume_id, resource_id], Tags=tag_list({"a": "1"}))
    assert _tags(ec2, volume_id) == {}


def test_up_to_1000_resources_in_a_call(emulator, ec2):
    ids = emulator.control("POST", "volumes", count=1001)["volume_ids"]
    with refused("InvalidParameterValue", "1000"):
        ec2.create_tags(Resources=ids, Tags=tag_list({"a": "1"}))
    ec2.create_tags(Resources=ids[:1000], Tags=tag_list({"a": "1"}))
    assert _tags(ec2, ids[999]) == {"a": "1"} and _tags(ec2, ids[1000]) == {}
