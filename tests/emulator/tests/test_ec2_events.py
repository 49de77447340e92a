"""The events that EC2 puts on the default bus (EBS-10), received by a queue."""

import pytest
from asg_help import Bus
from ec2_help import ZONE, add_volume, eventually, launch, volumes_by_device


@pytest.fixture
def events(emulator):
    """events(n) waits for n events with source aws.ec2."""
    bus, received = Bus(emulator, "aws.ec2"), []

    def more():
        received.extend(bus.read())
        return received

    return lambda count: eventually(lambda: len(more()) >= count and received)


def test_each_state_of_an_instance_is_announced(ec2, events):
    (instance_id,) = launch(ec2)
    ec2.stop_instances(InstanceIds=[instance_id])
    ec2.start_instances(InstanceIds=[instance_id])
    ec2.terminate_instances(InstanceIds=[instance_id])
    received = events(8)
    assert {e["detail-type"] for e in received} == {"EC2 Instance State-change Notification"}
    assert sorted(e["detail"]["state"] for e in received) == sorted(
        ["pending", "running", "stopping", "stopped", "pending", "running", "shutting-down", "terminated"]
    )
    first = received[0]
    assert first["detail"] == {"instance-id": instance_id, "state": first["detail"]["state"]}
    assert first["resources"] == [f"arn:aws:ec2:eu-central-1:123456789012:instance/{instance_id}"]
    assert (first["source"], first["account"], first["region"]) == ("aws.ec2", "123456789012", "eu-central-1")
    assert first["version"] == "0" and first["time"].endswith("Z")


def _snapshot_event(received):
    return next(e for e in received if e["detail-type"] == "EBS Snapshot Notification")


def test_a_completed_snapshot_is_announced(emulator, ec2, events):
    emulator.control("PATCH", "settings", snapshot_pending_seconds=0.1)
    volume_id = ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    snapshot_id = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    received = events(2)
    event = _snapshot_event(received)
    arn = f"arn:aws:ec2:eu-central-1::snapshot/{snapshot_id}"
    assert event["resources"] == [arn]
    detail = event["detail"]
    assert detail.pop("startTime") <= detail.pop("endTime")
    assert detail == {
        "event": "createSnapshot", "result": "succeeded", "cause": "", "request-id": "", "snapshot_id": arn,
        "source": f"arn:aws:ec2:eu-central-1::volume/{volume_id}",
    }  # fmt: skip
    (created,) = [e for e in received if e["detail-type"] == "EBS Volume Notification"]
    assert (created["detail"]["event"], created["detail"]["result"]) == ("createVolume", "available")


def test_a_failed_snapshot_is_announced_with_its_cause(emulator, ec2, events):
    emulator.control(
        "PATCH", "settings", snapshot_pending_seconds=0.1, snapshot_errors=[{"message": "The KMS key is disabled"}]
    )
    volume_id = ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    ec2.create_snapshot(VolumeId=volume_id)
    detail = _snapshot_event(events(2))["detail"]
    assert (detail["result"], detail["cause"]) == ("failed", "The KMS key is disabled")


def test_a_copy_is_announced(emulator, ec2, events):
    emulator.control("PATCH", "settings", snapshot_pending_seconds=0.1)
    (source,) = emulator.control("POST", "snapshots", snapshots=[{}])["snapshot_ids"]
    ec2.copy_snapshot(SourceRegion="eu-central-1", SourceSnapshotId=source)
    detail = _snapshot_event(events(1))["detail"]
    assert (detail["event"], detail["result"], detail["Incremental"]) == ("copySnapshot", "succeeded", "false")
    assert detail["source"] == f"arn:aws:ec2:eu-central-1::snapshot/{source}"


@pytest.mark.parametrize("fails", [False, True])
def test_a_set_is_announced_once(emulator, ec2, events, fails):
    (instance_id,) = launch(ec2)
    data = add_volume(ec2, instance_id, "/dev/sdf")
    planned = [{"volume_id": data}] if fails else []
    emulator.control("PATCH", "settings", snapshot_pending_seconds=0.1, snapshot_errors=planned)
    made = ec2.create_snapshots(InstanceSpecification={"InstanceId": instance_id})["Snapshots"]
    received = events(4)  # two states of the instance, the data volume, the set
    (event,) = [e for e in received if "Snapshot" in e["detail-type"]]
    assert event["detail-type"] == "EBS Multi-Volume Snapshots Completion Status"
    ids = {s["VolumeId"]: s["SnapshotId"] for s in made}
    arns = {f"arn:aws:ec2::eu-central-1:snapshot/{i}" for i in ids.values()}
    assert set(event["resources"]) == arns
    detail = event["detail"]
    assert (detail["event"], detail["result"]) == ("createSnapshots", "failed" if fails else "succeeded")
    assert detail["cause"] == (f"Snapshot {ids[data]} is in status error" if fails else "")
    assert {s["status"] for s in detail["snapshots"]} == {"error" if fails else "completed"}
    assert {s["source"] for s in detail["snapshots"]} == {
        f"arn:aws:ec2::eu-central-1:volume/{v}" for v in volumes_by_device(ec2, instance_id).values()
    }


def test_a_deleted_snapshot_is_not_announced(emulator, ec2, events):
    (snapshot_id,) = emulator.control("POST", "snapshots", snapshots=[{}])["snapshot_ids"]
    ec2.delete_snapshot(SnapshotId=snapshot_id)
    ec2.create_volume(AvailabilityZone=ZONE, Size=1)
    assert [e["detail-type"] for e in events(1)] == ["EBS Volume Notification"]
