"""Control routes that put snapshots and volumes there and let time pass."""

import time

import pytest
from conftest import ControlFailure
from ec2_help import ZONE, refused, snapshot, tags_of


def test_a_history_of_a_volume_that_is_gone(emulator, ec2):
    (snapshot_id,) = emulator.control(
        "POST",
        "snapshots",
        snapshots=[
            {
                "volume_id": "vol-0fedcba9876543210",
                "start_time": "2024-05-06T07:08:09.123Z",
                "tags": {"ec2-guardrails:plan": "daily", "aws:dlm:managed": "true"},
                "description": "as it was",
                "volume_size": 20,
                "state": "error",
                "state_message": "it broke",
            }
        ],
    )["snapshot_ids"]
    seen = snapshot(ec2, snapshot_id)
    assert seen["StartTime"].isoformat() == "2024-05-06T07:08:09.123000+00:00"
    assert (seen["VolumeId"], seen["VolumeSize"]) == ("vol-0fedcba9876543210", 20)
    assert (seen["State"], seen["StateMessage"], seen["Description"]) == ("error", "it broke", "as it was")
    assert tags_of(seen) == {"ec2-guardrails:plan": "daily", "aws:dlm:managed": "true"}
    ec2.delete_snapshot(SnapshotId=snapshot_id)


def test_thousands_of_snapshots_are_there_at_once(emulator, ec2):
    started = time.monotonic()
    entries = [{"age_seconds": 3600 * n, "tags": {"n": str(n)}} for n in range(5000)]
    ids = emulator.control("POST", "snapshots", snapshots=entries)["snapshot_ids"]
    assert len(set(ids)) == 5000
    page = ec2.describe_snapshots(OwnerIds=["self"], MaxResults=1000)
    assert len(page["Snapshots"]) == 1000 and page["NextToken"]
    assert time.monotonic() - started < 45


def test_a_seeded_snapshot_counts_for_the_limits(emulator, ec2):
    volume_id = ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    emulator.control("POST", "snapshots", snapshots=[{"volume_id": volume_id, "age_seconds": 5}])
    with refused("SnapshotCreationPerVolumeRateExceeded"):
        ec2.create_snapshot(VolumeId=volume_id)
    other = ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    emulator.control("POST", "snapshots", snapshots=[{"volume_id": other, "age_seconds": 16}])
    ec2.create_snapshot(VolumeId=other)


def test_the_list_has_what_a_test_wants_to_know(emulator, ec2):
    emulator.control("PATCH", "settings", snapshot_visibility_delay_seconds=60)
    volume_id = ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    snapshot_id = ec2.create_snapshot(VolumeId=volume_id, Description="d")["SnapshotId"]
    (listed,) = emulator.control("GET", "snapshots")["snapshots"]
    assert (listed["snapshot_id"], listed["volume_id"], listed["state"]) == (snapshot_id, volume_id, "pending")


def test_wrong_requests_say_what_is_wrong_and_seed_nothing(emulator, ec2):
    with pytest.raises(ControlFailure, match="unknown fields of a snapshot: colour"):
        emulator.control("POST", "snapshots", snapshots=[{}, {"colour": "red"}])
    with pytest.raises(ControlFailure, match="unknown state 'ready'"):
        emulator.control("POST", "snapshots", snapshots=[{"state": "ready"}])
    with pytest.raises(ControlFailure, match="unknown snapshots: snap-1"):
        emulator.control("POST", "snapshots/age", seconds=1, snapshot_ids=["snap-1"])
    assert emulator.control("GET", "snapshots")["snapshots"] == []


def test_reset_forgets_everything(emulator, ec2):
    volume_id = ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    ec2.create_snapshot(VolumeId=volume_id)
    emulator.control("PATCH", "settings", snapshot_pending_seconds=600)
    emulator.control("POST", "reset")
    assert ec2.describe_volumes()["Volumes"] == []
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    assert emulator.control("GET", "settings")["snapshot_pending_seconds"] == 1.0
