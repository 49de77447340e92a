"""The EBS direct APIs, and volumes from snapshots that take time, fail or vanish."""

import base64
import hashlib

import pytest
from ec2_help import ZONE, eventually, refused, specification


def _snapshot(emulator, **seed):
    (volume,) = emulator.control("POST", "volumes", count=1)["volume_ids"]
    (snapshot,) = emulator.control("POST", "snapshots", snapshots=[{"volume_id": volume} | seed])["snapshot_ids"]
    return volume, snapshot


def test_blocks_are_listed_in_pages_and_read_with_their_checksums(client, emulator):
    ebs = client("ebs")
    volume, snapshot = _snapshot(emulator)
    blocks = {str(index): {"0": f"{index:04x}"} for index in range(2, 152)}
    emulator.control("POST", "volumes/content", volume_ids=[volume], blocks=blocks)
    first = ebs.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=100)
    assert (first["BlockSize"], first["VolumeSize"]) == (524288, 8)
    rest = ebs.list_snapshot_blocks(SnapshotId=snapshot, NextToken=first["NextToken"])
    assert "NextToken" not in rest
    assert [b["BlockIndex"] for b in first["Blocks"] + rest["Blocks"]] == list(range(2, 152))
    later = ebs.list_snapshot_blocks(SnapshotId=snapshot, StartingBlockIndex=150)["Blocks"]
    assert [block["BlockIndex"] for block in later] == [150, 151]
    block = ebs.get_snapshot_block(SnapshotId=snapshot, **later[0])
    data = block["BlockData"].read()
    assert (len(data), data[:2]) == (524288, b"\x00\x96")
    assert block["Checksum"] == base64.b64encode(hashlib.sha256(data).digest()).decode()
    # A token is of one block of one snapshot, and holds for a time.
    with refused("ValidationException", "INVALID_BLOCK_TOKEN"):
        ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=151, BlockToken=later[0]["BlockToken"])
    emulator.control("PATCH", "settings", block_token_seconds=0)
    stale = ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"][0]
    with refused("ValidationException", "INVALID_BLOCK_TOKEN"):
        ebs.get_snapshot_block(SnapshotId=snapshot, **stale)


def test_content_may_be_missing_or_wrong(client, emulator):
    ebs = client("ebs")
    volume, snapshot = _snapshot(emulator)
    (block,) = ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"]
    emulator.control("POST", "snapshots/corrupt", snapshot_ids=[snapshot])
    read = ebs.get_snapshot_block(SnapshotId=snapshot, **block)
    assert read["Checksum"] != base64.b64encode(hashlib.sha256(read["BlockData"].read()).digest()).decode()
    emulator.control("POST", "volumes/content", volume_ids=[volume], blocks={})
    assert ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"] == []
    with refused("ResourceNotFoundException", status=404):
        ebs.list_snapshot_blocks(SnapshotId="snap-0123456789abcdef0")
    _, pending = _snapshot(emulator, state="pending")
    with refused("ValidationException", "INVALID_SNAPSHOT_ID"):
        ebs.list_snapshot_blocks(SnapshotId=pending)


def test_one_client_token_makes_one_volume(ec2, emulator):
    _, snapshot = _snapshot(emulator)
    given = {"SnapshotId": snapshot, "AvailabilityZone": ZONE, "ClientToken": "one"}
    given["TagSpecifications"] = specification("volume", {"a": "b"})
    made = ec2.create_volume(**given)["VolumeId"]
    assert ec2.create_volume(**given)["VolumeId"] == made
    with refused("IdempotentParameterMismatch"):
        ec2.create_volume(**given | {"VolumeType": "gp3"})
    ec2.delete_volume(VolumeId=made)
    with refused("IdempotentParameterMismatch"):
        ec2.create_volume(**given)
    assert ec2.create_volume(**given | {"ClientToken": "two"})["VolumeId"] != made


@pytest.mark.parametrize("becomes", ["available", "error", "creating", "vanish"])
def test_a_volume_takes_its_time_and_becomes_what_it_should(ec2, emulator, becomes):
    _, snapshot = _snapshot(emulator)
    faults = [] if becomes == "available" else [{"becomes": becomes}]
    emulator.control("PATCH", "settings", volume_creating_seconds=0.5, volume_faults=faults)
    made = ec2.create_volume(SnapshotId=snapshot, AvailabilityZone=ZONE)
    assert made["State"] == "creating"

    def state():
        volumes = ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": [made["VolumeId"]]}])["Volumes"]
        return volumes[0]["State"] if volumes else "vanish"

    assert state() == "creating"
    assert eventually(lambda: state() == becomes)
    statuses = ec2.describe_volume_status(Filters=[{"Name": "volume-id", "Values": [made["VolumeId"]]}])["VolumeStatuses"]
    assert [s["VolumeStatus"]["Status"] for s in statuses] == (["ok"] if becomes == "available" else [])


def test_a_volume_whose_key_is_disabled_vanishes(client, ec2, emulator):
    kms = client("kms")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    _, snapshot = _snapshot(emulator, encrypted=True, kms_key_id=key)
    with_key = ec2.create_volume(SnapshotId=snapshot, AvailabilityZone=ZONE)
    assert with_key["Encrypted"] and with_key["KmsKeyId"] == key
    kms.disable_key(KeyId=key.rsplit("/", 1)[1])
    gone = ec2.create_volume(SnapshotId=snapshot, AvailabilityZone=ZONE)["VolumeId"]
    found = [{"Name": "volume-id", "Values": [gone]}]
    assert eventually(lambda: not ec2.describe_volumes(Filters=found)["Volumes"])
    with refused("AccessDeniedException", status=403):
        client("ebs").list_snapshot_blocks(SnapshotId=snapshot)
