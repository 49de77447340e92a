"""The events that EC2 and EBS put on the default bus, in the shapes of AWS's documentation (EBS-10).

AWS sends no event when a snapshot is deleted, and for a multi-volume set one event for the whole set.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from emulator import events
from emulator.context import context, later
from emulator.settings import settings


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _is_home(backend: Any) -> bool:
    """The emulator has one bus, in its home region; what happens elsewhere is heard elsewhere."""
    return backend.region_name == context.region


def instance_state_changed(instance: Any, state: str) -> None:
    if not _is_home(instance.ec2_backend):
        return
    arn = f"arn:aws:ec2:{context.region}:{context.account_id}:instance/{instance.id}"
    detail = {"instance-id": instance.id, "state": state}
    event = ("aws.ec2", "EC2 Instance State-change Notification", [arn], detail)
    if settings.instance_event_delay_seconds:
        later(settings.instance_event_delay_seconds, events.emit, *event)
    else:
        events.emit(*event)


def snapshot_finished(snapshot: Any, finished: datetime) -> None:
    """createSnapshot, or copySnapshot when the snapshot is a copy."""
    if not _is_home(snapshot.ec2_backend):
        return
    arn = f"arn:aws:ec2:{context.region}::snapshot/{snapshot.id}"
    if snapshot.copied_from is None:
        event, source = "createSnapshot", f"arn:aws:ec2:{context.region}::volume/{snapshot.volume_id}"
    else:
        region, snapshot_id = snapshot.copied_from
        event, source = "copySnapshot", f"arn:aws:ec2:{region}::snapshot/{snapshot_id}"
    succeeded = snapshot.status == "completed"
    detail = {
        "event": event,
        "result": "succeeded" if succeeded else "failed",
        "cause": "" if succeeded else snapshot.state_message or "",
        "request-id": "",
        "snapshot_id": arn,
        "source": source,
        "startTime": _time(snapshot.start_time),
        "endTime": _time(finished),
    }
    if event == "copySnapshot" and succeeded:
        detail["Incremental"] = "true" if snapshot.is_incremental_copy else "false"
    events.emit("aws.ec2", "EBS Snapshot Notification", [arn], detail)


def snapshot_set_finished(snapshots: Sequence[Any], finished: datetime) -> None:
    """createSnapshots: here the ARN's region and account change places, as in AWS's own examples."""
    first = snapshots[0]
    if not _is_home(first.ec2_backend):
        return
    succeeded = all(snapshot.status == "completed" for snapshot in snapshots)
    prefix = f"arn:aws:ec2::{context.region}:"
    failed = next((snapshot.id for snapshot in snapshots if snapshot.failed_itself), first.id)
    events.emit(
        "aws.ec2",
        "EBS Multi-Volume Snapshots Completion Status",
        [f"{prefix}snapshot/{snapshot.id}" for snapshot in snapshots],
        {
            "event": "createSnapshots",
            "result": "succeeded" if succeeded else "failed",
            "cause": "" if succeeded else f"Snapshot {failed} is in status error",
            "request-id": "",
            "startTime": _time(first.start_time),
            "endTime": _time(finished),
            "snapshots": [
                {
                    "snapshot_id": f"{prefix}snapshot/{snapshot.id}",
                    "source": f"{prefix}volume/{snapshot.volume_id}",
                    "status": snapshot.status,
                }
                for snapshot in snapshots
            ],
        },
    )


def volume_changed(backend: Any, volume_id: str, event: str, result: str) -> None:
    """createVolume (result `available`) and deleteVolume (result `deleted`)."""
    if not _is_home(backend):
        return
    arn = f"arn:aws:ec2:{context.region}:{context.account_id}:volume/{volume_id}"
    events.emit(
        "aws.ec2",
        "EBS Volume Notification",
        [arn],
        {"result": result, "cause": "", "event": event, "request-id": ""},
    )
