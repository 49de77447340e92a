"""Single snapshots: life, limits, visibility, deletion, copies."""

import pytest
from botocore.exceptions import ClientError
from ec2_help import (
    ZONE, add_volume, eventually, launch, refused, snapshot, specification, tags_of, volumes_by_device, wait_for_state,
)  # fmt: skip


def _volume(ec2, **parameters):
    return ec2.create_volume(AvailabilityZone=ZONE, **({"Size": 8} | parameters))["VolumeId"]


def test_a_snapshot_is_pending_and_then_completed(ec2):
    volume_id = _volume(ec2)
    made = ec2.create_snapshot(
        VolumeId=volume_id, Description="before the upgrade", TagSpecifications=specification("snapshot", {"a": "1"})
    )
    assert (made["State"], made["Progress"], made["VolumeId"], made["VolumeSize"]) == ("pending", "", volume_id, 8)
    assert tags_of(made) == {"a": "1"}
    pending = snapshot(ec2, made["SnapshotId"])
    assert pending["State"] == "pending" and pending["Progress"].endswith("%") and pending["Progress"] != "100%"
    completed = wait_for_state(ec2, made["SnapshotId"], "completed")
    assert completed["Progress"] == "100%"
    assert completed["CompletionTime"] > completed["StartTime"] == made["StartTime"]
    assert completed["Description"] == "before the upgrade"
    assert "StateMessage" not in completed


def test_a_snapshot_ends_in_error_when_told(emulator, ec2):
    failing, sound = _volume(ec2), _volume(ec2)
    planned = {"volume_id": failing, "message": "The KMS key is disabled", "count": 1}
    emulator.control("PATCH", "settings", snapshot_errors=[planned], snapshot_pending_seconds=0.1)
    first = ec2.create_snapshot(VolumeId=failing)
    assert first["State"] == "pending"  # EBS-4: it fails asynchronously
    second = ec2.create_snapshot(VolumeId=sound)["SnapshotId"]
    failed = wait_for_state(ec2, first["SnapshotId"], "error")
    assert failed["StateMessage"] == "The KMS key is disabled"
    wait_for_state(ec2, second, "completed")
    with refused("IncorrectState", "error"):
        ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=first["SnapshotId"])
    emulator.control("POST", "snapshots/age", seconds=20)
    again = ec2.create_snapshot(VolumeId=failing)["SnapshotId"]
    wait_for_state(ec2, again, "completed")


def test_a_snapshot_remembers_the_size_that_the_volume_had(ec2):
    volume_id = _volume(ec2, Size=8)
    snapshot_id = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    ec2.modify_volume(VolumeId=volume_id, Size=100)
    assert snapshot(ec2, snapshot_id)["VolumeSize"] == 8


def test_two_snapshots_of_a_volume_are_15_seconds_apart(emulator, ec2):
    volume_id = _volume(ec2)
    first = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    with refused("SnapshotCreationPerVolumeRateExceeded", "per volume CreateSnapshot request rate"):
        ec2.create_snapshot(VolumeId=volume_id)
    ec2.create_snapshot(VolumeId=_volume(ec2))  # another volume isn't concerned
    before = snapshot(ec2, first)["StartTime"]
    emulator.control("POST", "snapshots/age", seconds=14, volume_ids=[volume_id])
    assert (before - snapshot(ec2, first)["StartTime"]).total_seconds() == 14
    with refused("SnapshotCreationPerVolumeRateExceeded"):
        ec2.create_snapshot(VolumeId=volume_id)
    ec2.delete_snapshot(SnapshotId=first)
    emulator.control("POST", "snapshots/age", seconds=1, volume_ids=[volume_id])
    ec2.create_snapshot(VolumeId=volume_id)


@pytest.mark.parametrize(("volume_type", "size", "limit"), [("gp3", 8, 5), ("st1", 125, 1)])
def test_pending_and_failed_snapshots_of_a_volume_are_limited(emulator, ec2, volume_type, size, limit):
    emulator.control("PATCH", "settings", snapshot_pending_seconds=600)
    volume_id = _volume(ec2, VolumeType=volume_type, Size=size)
    ids = []
    for _ in range(limit):
        ids.append(ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"])
        emulator.control("POST", "snapshots/age", seconds=15)
    with refused("ConcurrentSnapshotLimitExceeded", "Maximum allowed in-progress snapshots for a single volume"):
        ec2.create_snapshot(VolumeId=volume_id)
    emulator.control("POST", "snapshots/finish", snapshot_ids=ids[:1], state="error", message="broken")
    assert snapshot(ec2, ids[0])["StateMessage"] == "broken"
    with refused("ConcurrentSnapshotLimitExceeded"):  # EBS-5: errored ones count
        ec2.create_snapshot(VolumeId=volume_id)
    ec2.delete_snapshot(SnapshotId=ids[0])
    ec2.create_snapshot(VolumeId=volume_id)


def test_a_snapshot_deleted_while_pending_counts_until_it_is_done(emulator, ec2):
    emulator.control("PATCH", "settings", snapshot_pending_seconds=1.5)
    volume_id = _volume(ec2, VolumeType="st1", Size=125)
    ec2.delete_snapshot(SnapshotId=ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"])
    emulator.control("POST", "snapshots/age", seconds=15)
    with refused("ConcurrentSnapshotLimitExceeded"):
        ec2.create_snapshot(VolumeId=volume_id)

    def is_possible_again():
        try:
            return ec2.create_snapshot(VolumeId=volume_id)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ConcurrentSnapshotLimitExceeded", error
            return None

    eventually(is_possible_again)


def test_a_new_snapshot_is_seen_late_when_told(emulator, ec2):
    emulator.control("PATCH", "settings", snapshot_visibility_delay_seconds=3600)
    volume_id = _volume(ec2)
    snapshot_id = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    with refused("InvalidSnapshot.NotFound", snapshot_id):
        snapshot(ec2, snapshot_id)
    with refused("SnapshotCreationPerVolumeRateExceeded"):  # the limits know it at once
        ec2.create_snapshot(VolumeId=volume_id)
    emulator.control("PATCH", "settings", snapshot_visibility_delay_seconds=0.3)
    late = ec2.create_snapshot(VolumeId=_volume(ec2))["SnapshotId"]
    seen = eventually(lambda: ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"])
    assert [s["SnapshotId"] for s in seen] == [late]


def test_owner_ids_and_who_sees_what(emulator, ec2):
    own = ec2.create_snapshot(VolumeId=_volume(ec2))["SnapshotId"]
    stranger = "210987654321"
    public, shared, private = emulator.control(
        "POST",
        "snapshots",
        snapshots=[
            {"owner_id": stranger, "public": True},
            {"owner_id": stranger, "shared_with": ["123456789012"]},
            {"owner_id": stranger},
        ],
    )["snapshot_ids"]

    def ids(**parameters):
        return {s["SnapshotId"] for s in ec2.describe_snapshots(**parameters)["Snapshots"]}

    assert ids(OwnerIds=["self"]) == {own} == ids(OwnerIds=["123456789012"])
    assert ids(OwnerIds=[stranger]) == {public, shared}
    everything = ids()  # EBS-7: without OwnerIds also public and shared ones, and those of Amazon's images
    assert {own, public, shared} < everything and private not in everything
    assert len(ids(OwnerIds=["amazon"])) > 100
    assert ids(OwnerIds=["self"], RestorableByUserIds=["self"]) == {own}
    assert public in ids(RestorableByUserIds=["all"]) and shared not in ids(RestorableByUserIds=["all"])
    assert ids(SnapshotIds=[own, private]) == {own}
    with refused("UnauthorizedOperation", status=403):
        ec2.delete_snapshot(SnapshotId=public)


def test_unknown_and_malformed_ids(ec2):
    for call in (ec2.delete_snapshot, lambda SnapshotId: ec2.describe_snapshots(SnapshotIds=[SnapshotId])):
        with refused("InvalidSnapshot.NotFound", "The snapshot 'snap-0123456789abcdef0' does not exist."):
            call(SnapshotId="snap-0123456789abcdef0")
        with refused("InvalidParameterValue", "Expected: 'snap-...'"):
            call(SnapshotId="0123456789abcdef0")
    with refused("InvalidVolume.NotFound", "vol-0123456789abcdef0"):
        ec2.create_snapshot(VolumeId="vol-0123456789abcdef0")
    with refused("InvalidParameterValue", "Value (in-use) for parameter volumeId is invalid. Expected: 'vol-...'."):
        ec2.create_snapshot(VolumeId="in-use")


def _completed(emulator, **attributes):
    return emulator.control("POST", "snapshots", snapshots=[attributes])["snapshot_ids"][0]


def test_an_image_of_an_instance_uses_snapshots_of_all_its_volumes(emulator, ec2):
    (instance_id,) = launch(ec2)
    data = add_volume(ec2, instance_id, "/dev/sdf")
    image_id = ec2.create_image(
        InstanceId=instance_id, Name="golden", TagSpecifications=specification("snapshot", {"from": "image"})
    )["ImageId"]
    own = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert {s["VolumeId"] for s in own} == set(volumes_by_device(ec2, instance_id).values())
    assert data in {s["VolumeId"] for s in own}
    assert all(tags_of(s) == {"from": "image"} and image_id in s["Description"] for s in own)
    for s in own:
        with refused("InvalidSnapshot.InUse", image_id):
            ec2.delete_snapshot(SnapshotId=s["SnapshotId"])


def test_a_snapshot_of_aws_backup_is_not_deleted(emulator, ec2):
    arn = "arn:aws:ec2:eu-central-1:123456789012:volume/vol-0123456789abcdef0"
    snapshot_id = _completed(emulator, tags={"aws:backup:source-resource": arn})
    with refused("InvalidParameterValue", "managed by the AWS Backup service"):
        ec2.delete_snapshot(SnapshotId=snapshot_id)


def test_a_locked_snapshot_is_not_deleted(emulator, ec2):
    snapshot_id = _completed(emulator)
    locked = ec2.lock_snapshot(SnapshotId=snapshot_id, LockMode="governance", LockDuration=7)
    assert (locked["LockState"], locked["LockDuration"]) == ("governance", 7)
    assert [s["SnapshotId"] for s in ec2.describe_locked_snapshots()["Snapshots"]] == [snapshot_id]
    with refused("SnapshotLocked", snapshot_id):
        ec2.delete_snapshot(SnapshotId=snapshot_id)


def test_dry_run_tells_what_would_be_refused(emulator, ec2):
    volume_id = _volume(ec2)
    with refused("DryRunOperation", status=412):
        ec2.create_snapshot(VolumeId=volume_id, DryRun=True)
    snapshot_id = _completed(emulator, volume_id=volume_id)
    with refused("DryRunOperation", status=412):
        ec2.delete_snapshot(SnapshotId=snapshot_id, DryRun=True)
    assert [s["SnapshotId"] for s in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]] == [snapshot_id]


@pytest.fixture
def abroad(emulator):
    return emulator.client("ec2", region="eu-west-1")


def test_a_copy_has_its_own_tags_and_an_arbitrary_volume_id(emulator, abroad):
    source = _completed(emulator, tags={"a": "1"}, volume_size=12)
    made = abroad.copy_snapshot(
        SourceRegion="eu-central-1", SourceSnapshotId=source, Encrypted=True,
        TagSpecifications=specification("snapshot", {"b": "2"}),
    )  # fmt: skip
    copied = wait_for_state(abroad, made["SnapshotId"], "completed")
    assert (copied["VolumeId"], copied["VolumeSize"], copied["Encrypted"]) == ("vol-ffffffff", 12, True)
    assert copied["KmsKeyId"].startswith("arn:aws:kms:eu-west-1:")
    assert tags_of(copied) == {"b": "2"}


def test_copies_into_one_region_are_limited(emulator, ec2):
    emulator.control("PATCH", "settings", snapshot_pending_seconds=600)
    source = _completed(emulator)
    for _ in range(20):
        ec2.copy_snapshot(SourceRegion="eu-central-1", SourceSnapshotId=source)
    with refused("ResourceLimitExceeded"):
        ec2.copy_snapshot(SourceRegion="eu-central-1", SourceSnapshotId=source)


@pytest.mark.parametrize("disabled", [False, True])
def test_a_copy_with_a_key_that_cant_be_used_fails_later(emulator, abroad, disabled):
    kms = emulator.client("kms", region="eu-west-1")
    key = kms.create_key()["KeyMetadata"]
    if disabled:
        kms.disable_key(KeyId=key["KeyId"])
    kms.create_alias(AliasName="alias/copies", TargetKeyId=key["KeyId"])
    source = _completed(emulator)
    made = abroad.copy_snapshot(
        SourceRegion="eu-central-1", SourceSnapshotId=source, Encrypted=True, KmsKeyId="alias/copies"
    )
    copied = wait_for_state(abroad, made["SnapshotId"], "error" if disabled else "completed")
    assert copied["KmsKeyId"] == key["Arn"]
    assert copied.get("StateMessage") == ("Given key ID is not accessible" if disabled else None)


def test_the_source_of_an_encrypted_copy_is_asked_for_by_a_presigned_request(emulator, ec2, abroad):
    source = _completed(emulator, encrypted=True)
    made = abroad.copy_snapshot(SourceRegion="eu-central-1", SourceSnapshotId=source)  # boto3 signs it
    assert wait_for_state(abroad, made["SnapshotId"], "completed")["KmsKeyId"].startswith("arn:aws:kms:eu-west-1:")
    made = abroad.copy_snapshot(SourceRegion="eu-central-1", SourceSnapshotId=source, PresignedUrl="https://a/?b=c")
    assert "PresignedUrl" in wait_for_state(abroad, made["SnapshotId"], "error")["StateMessage"]


def test_a_region_that_encrypts_by_default_encrypts_copies(emulator, ec2, abroad):
    source = _completed(emulator)
    plain = abroad.copy_snapshot(SourceRegion="eu-central-1", SourceSnapshotId=source)
    abroad.enable_ebs_encryption_by_default()
    copied = abroad.copy_snapshot(SourceRegion="eu-central-1", SourceSnapshotId=source)
    found = [wait_for_state(abroad, made["SnapshotId"], "completed")["Encrypted"] for made in (plain, copied)]
    assert found == [False, True]


def test_other_regions_are_seen_by_the_control_api(emulator, ec2, abroad):
    source = _completed(emulator)
    emulator.control("PATCH", "settings", snapshot_pending_seconds=600)
    made = abroad.copy_snapshot(SourceRegion="eu-central-1", SourceSnapshotId=source)["SnapshotId"]
    emulator.control("POST", "snapshots/finish", region="eu-west-1", snapshot_ids=[made], state="error", message="no")
    assert snapshot(abroad, made)["StateMessage"] == "no"
