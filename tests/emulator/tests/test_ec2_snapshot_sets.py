"""CreateSnapshots: crash-consistent sets of an instance's volumes (EBS-2)."""

import pytest
from ec2_help import (
    ZONE, add_volume, launch, refused, snapshot, specification, tag_list, tags_of, volumes_by_device, wait_for_state,
)  # fmt: skip


@pytest.fixture
def instance(ec2):
    """An instance with a root volume and two data volumes."""
    (instance_id,) = launch(ec2)
    add_volume(ec2, instance_id, "/dev/sdf")
    add_volume(ec2, instance_id, "/dev/sdg")
    return instance_id, volumes_by_device(ec2, instance_id)


def _create(ec2, instance_id, exclude_boot=False, exclude=(), **parameters):
    wanted = {"InstanceId": instance_id, "ExcludeBootVolume": exclude_boot, "ExcludeDataVolumeIds": list(exclude)}
    return ec2.create_snapshots(InstanceSpecification=wanted, **parameters)["Snapshots"]


def test_a_set_has_every_volume_and_one_start_time(ec2, instance):
    instance_id, volumes = instance
    made = _create(ec2, instance_id, Description="nightly")
    assert {s["VolumeId"] for s in made} == set(volumes.values())
    assert {s["State"] for s in made} == {"pending"}
    assert {s["Description"] for s in made} == {"nightly"}
    described = [wait_for_state(ec2, s["SnapshotId"], "completed") for s in made]
    assert len({s["StartTime"] for s in described}) == 1


def test_boot_and_data_volumes_can_be_excluded(ec2, instance):
    instance_id, volumes = instance
    made = _create(ec2, instance_id, exclude_boot=True, exclude=[volumes["/dev/sdf"]])
    assert [s["VolumeId"] for s in made] == [volumes["/dev/sdg"]]


def test_what_may_not_be_excluded(ec2, instance):
    instance_id, volumes = instance
    with refused("InvalidParameterValue", "root volume", "ExcludeBootVolume"):
        _create(ec2, instance_id, exclude=[volumes["/dev/xvda"]])
    free = ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    with refused("InvalidParameterValue", free, "not attached"):
        _create(ec2, instance_id, exclude=[free])
    with refused("InvalidParameterValue", "limit of 40"):
        _create(ec2, instance_id, exclude=[f"vol-{n:017x}" for n in range(41)])
    with refused("InvalidParameterValue"):
        _create(ec2, instance_id, exclude_boot=True, exclude=[volumes["/dev/sdf"], volumes["/dev/sdg"]])
    with refused("InvalidInstanceID.NotFound", "The instance ID 'i-0123456789abcdef0' does not exist"):
        _create(ec2, "i-0123456789abcdef0")
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


def test_the_volumes_tags_are_copied_but_not_the_reserved_ones(client, ec2, instance):
    instance_id, volumes = instance
    ec2.create_tags(Resources=[volumes["/dev/sdf"]], Tags=tag_list({"Name": "data", "plan": "old"}))
    made = _create(
        ec2, instance_id, CopyTagsFromSource="volume", TagSpecifications=specification("snapshot", {"plan": "daily"})
    )
    by_volume = {s["VolumeId"]: s for s in made}
    assert tags_of(by_volume[volumes["/dev/sdf"]]) == {"Name": "data", "plan": "daily"}
    assert tags_of(by_volume[volumes["/dev/sdg"]]) == {"plan": "daily"}
    described = snapshot(ec2, by_volume[volumes["/dev/sdf"]]["SnapshotId"])
    assert tags_of(described) == {"Name": "data", "plan": "daily"}


def test_reserved_tags_of_a_volume_are_not_copied(emulator, ec2):
    (instance_id,) = launch(ec2)
    (stacked,) = emulator.control(
        "POST", "volumes", count=1, tags={"aws:cloudformation:stack-name": "data", "team": "blue"}
    )["volume_ids"]
    ec2.attach_volume(VolumeId=stacked, InstanceId=instance_id, Device="/dev/sdh")
    made = _create(ec2, instance_id, exclude_boot=True, CopyTagsFromSource="volume")
    assert [tags_of(s) for s in made] == [{"team": "blue"}]


def test_without_copying_only_the_given_tags_are_set(ec2, instance):
    instance_id, volumes = instance
    ec2.create_tags(Resources=list(volumes.values()), Tags=tag_list({"Name": "data"}))
    assert all("Tags" not in s or s["Tags"] == [] for s in _create(ec2, instance_id))


def test_too_many_tags_make_no_snapshot_at_all(ec2, instance):
    instance_id, volumes = instance
    ec2.create_tags(Resources=[volumes["/dev/sdg"]], Tags=tag_list({f"t{n}": "" for n in range(50)}))
    with refused("TagLimitExceeded"):
        _create(
            ec2, instance_id, CopyTagsFromSource="volume", TagSpecifications=specification("snapshot", {"one": "more"})
        )
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    _create(ec2, instance_id, CopyTagsFromSource="volume")


def test_when_one_member_fails_all_do(emulator, ec2, instance):
    instance_id, volumes = instance
    planned = {"volume_id": volumes["/dev/sdg"], "message": "Invalid key"}
    emulator.control("PATCH", "settings", snapshot_errors=[planned], snapshot_pending_seconds=0.2)
    for made in _create(ec2, instance_id):
        assert wait_for_state(ec2, made["SnapshotId"], "error")["StateMessage"] == "Invalid key"


def test_a_set_is_finished_as_a_whole(emulator, ec2, instance):
    emulator.control("PATCH", "settings", snapshot_pending_seconds=600)
    made = _create(ec2, instance[0])
    assert emulator.control("POST", "snapshots/finish", snapshot_ids=[made[0]["SnapshotId"]]) == {"finished": 3}
    assert {snapshot(ec2, s["SnapshotId"])["State"] for s in made} == {"completed"}


def test_the_limits_are_checked_for_all_members_before_any_is_made(ec2, instance):
    instance_id, volumes = instance
    ec2.create_snapshot(VolumeId=volumes["/dev/sdg"])
    with refused("SnapshotCreationPerVolumeRateExceeded"):
        _create(ec2, instance_id)
    assert len(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == 1
    made = _create(ec2, instance_id, exclude=[volumes["/dev/sdg"]])
    assert len(made) == 2


def test_of_two_sets_at_once_one_is_refused(emulator, instance):
    from concurrent.futures import ThreadPoolExecutor

    from botocore.exceptions import ClientError

    def attempt(_):
        try:
            return len(_create(emulator.client("ec2"), instance[0]))
        except ClientError as error:
            return error.response["Error"]["Code"]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(attempt, range(8)))
    assert sorted(map(str, answers)) == ["3"] + ["SnapshotCreationPerVolumeRateExceeded"] * 7
