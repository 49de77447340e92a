"""Volumes: attachment, Multi-Attach, creation from snapshots."""

from ec2_help import (
    ZONE, add_volume, amazon_linux, launch, refused, specification, tags_of, volumes_by_device, wait_for_state,
)  # fmt: skip


def _volume(ec2, volume_id):
    return ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]


def test_a_launched_instance_has_its_images_root_volume(ec2):
    (instance_id,) = launch(ec2)
    devices = volumes_by_device(ec2, instance_id)
    assert list(devices) == ["/dev/xvda"]
    root = _volume(ec2, devices["/dev/xvda"])
    assert root["State"] == "in-use"
    (attachment,) = root["Attachments"]
    assert attachment["InstanceId"] == instance_id
    assert (attachment["State"], attachment["DeleteOnTermination"]) == ("attached", True)


def test_mapping_another_device_keeps_the_root_volume(ec2):
    mapping = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3"}}
    (instance_id,) = launch(ec2, BlockDeviceMappings=[mapping])
    devices = volumes_by_device(ec2, instance_id)
    assert set(devices) == {"/dev/xvda", "/dev/sdf"}
    assert _volume(ec2, devices["/dev/sdf"])["Size"] == 20


def test_mapping_the_root_device_changes_only_what_it_names(ec2):
    (instance_id,) = launch(ec2, BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 30}}])
    root = _volume(ec2, volumes_by_device(ec2, instance_id)["/dev/xvda"])
    assert (root["Size"], root["VolumeType"], root["Attachments"][0]["DeleteOnTermination"]) == (30, "gp3", True)


def test_volumes_are_tagged_at_launch(ec2):
    (instance_id,) = launch(ec2, TagSpecifications=specification("volume", {"Backup": "true"}))
    assert tags_of(_volume(ec2, volumes_by_device(ec2, instance_id)["/dev/xvda"])) == {"Backup": "true"}


def test_termination_deletes_the_root_volume_and_releases_the_others(ec2):
    (instance_id,) = launch(ec2)
    root = volumes_by_device(ec2, instance_id)["/dev/xvda"]
    data = add_volume(ec2, instance_id, "/dev/sdf")
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert _volume(ec2, data)["State"] == "available"
    with refused("InvalidVolume.NotFound", root):
        _volume(ec2, root)


def test_a_volume_is_attached_once(ec2):
    first, second = launch(ec2, count=2)
    data = add_volume(ec2, first, "/dev/sdf")
    with refused("VolumeInUse", data):
        ec2.attach_volume(VolumeId=data, InstanceId=second, Device="/dev/sdf")
    with refused("VolumeInUse", data, first):
        ec2.delete_volume(VolumeId=data)
    other = ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    with refused("InvalidParameterValue", "/dev/sdf is already in use"):
        ec2.attach_volume(VolumeId=other, InstanceId=first, Device="/dev/sdf")
    ec2.detach_volume(VolumeId=data)
    assert _volume(ec2, data)["State"] == "available"
    ec2.delete_volume(VolumeId=data)


def test_a_volume_of_another_zone_is_not_attached(ec2):
    (instance_id,) = launch(ec2, Placement={"AvailabilityZone": ZONE})
    volume_id = ec2.create_volume(AvailabilityZone="eu-central-1b", Size=1)["VolumeId"]
    with refused("InvalidVolume.ZoneMismatch"):
        ec2.attach_volume(VolumeId=volume_id, InstanceId=instance_id, Device="/dev/sdf")
    with refused("InvalidZone.NotFound"):
        ec2.create_volume(AvailabilityZone="eu-central-1x", Size=1)


def test_a_multi_attach_volume_is_attached_to_several_instances(ec2):
    instance_ids = launch(ec2, count=2)
    shared = ec2.create_volume(
        AvailabilityZone=ZONE, Size=4, VolumeType="io2", Iops=100, MultiAttachEnabled=True
    )["VolumeId"]
    for instance_id in instance_ids:
        ec2.attach_volume(VolumeId=shared, InstanceId=instance_id, Device="/dev/sdf")
    assert {a["InstanceId"] for a in _volume(ec2, shared)["Attachments"]} == set(instance_ids)
    for instance_id in instance_ids:
        by_instance = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance_id]}])
        assert shared in {v["VolumeId"] for v in by_instance["Volumes"]}
    with refused("VolumeInUse"):
        ec2.attach_volume(VolumeId=shared, InstanceId=instance_ids[0], Device="/dev/sdg")
    ec2.detach_volume(VolumeId=shared, InstanceId=instance_ids[0])
    assert [a["InstanceId"] for a in _volume(ec2, shared)["Attachments"]] == [instance_ids[1]]


def test_a_pending_snapshot_makes_no_volume_and_a_completed_one_does_in_another_zone(ec2):
    source = ec2.create_volume(AvailabilityZone=ZONE, Size=8)["VolumeId"]
    snapshot_id = ec2.create_snapshot(VolumeId=source)["SnapshotId"]
    with refused("IncorrectState", "Snapshot is in invalid state - pending"):
        ec2.create_volume(AvailabilityZone="eu-central-1b", SnapshotId=snapshot_id)
    wait_for_state(ec2, snapshot_id, "completed")
    ec2.delete_volume(VolumeId=source)
    with refused("InvalidParameterValue", "is smaller than snapshot"):
        ec2.create_volume(AvailabilityZone="eu-central-1b", SnapshotId=snapshot_id, Size=4)
    restored = ec2.create_volume(AvailabilityZone="eu-central-1b", SnapshotId=snapshot_id)["VolumeId"]
    volume = _volume(ec2, restored)
    assert (volume["Size"], volume["SnapshotId"], volume["AvailabilityZone"]) == (8, snapshot_id, "eu-central-1b")
    with refused("InvalidSnapshot.NotFound", "snap-0123456789abcdef0"):
        ec2.create_volume(AvailabilityZone=ZONE, SnapshotId="snap-0123456789abcdef0")


def test_volumes_can_be_in_ruins_or_elsewhere(emulator, ec2):
    lost, local = (ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"] for _ in range(2))
    emulator.control("POST", "volumes/place", volume_ids=[lost], state="error", outpost_arn="arn:aws:outposts:x")
    emulator.control("POST", "volumes/place", volume_ids=[local], zone="eu-central-1-ham-1a")
    assert (_volume(ec2, lost)["State"], _volume(ec2, lost)["OutpostArn"]) == ("error", "arn:aws:outposts:x")
    with refused("IncorrectState", lost):
        ec2.create_snapshot(VolumeId=lost)
    assert _volume(ec2, local)["AvailabilityZone"] == "eu-central-1-ham-1a"
    assert _volume(ec2, local)["State"] == "available"


def test_an_archived_snapshot_makes_no_volume(emulator, ec2):
    seed = {"volume_id": "vol-0123456789abcdef0", "storage_tier": "archive"}
    (snapshot_id,) = emulator.control("POST", "snapshots", snapshots=[seed])["snapshot_ids"]
    (found,) = ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
    assert found["StorageTier"] == "archive"
    with refused("IncorrectState", snapshot_id):
        ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot_id)


def test_dry_run_changes_nothing(ec2):
    with refused("DryRunOperation", status=412):
        ec2.create_volume(AvailabilityZone=ZONE, Size=1, DryRun=True)
    with refused("DryRunOperation", status=412):
        ec2.describe_volumes(DryRun=True)
    assert ec2.describe_volumes()["Volumes"] == []
    with refused("DryRunOperation", status=412):
        launch(ec2, ImageId=amazon_linux(ec2), DryRun=True)
    assert ec2.describe_instances()["Reservations"] == []
