"""Snapshot lock in governance mode, which keeps a snapshot from being deleted. moto has none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.responses import EC2Response

from emulator.ec2 import errors, filters, paging, snapshots
from emulator.patching import added

PAGE = paging.Limits(lowest=5, highest=1000, ids_parameter="snapshotSet")


@dataclass
class Lock:
    created: datetime
    expires: datetime

    @property
    def state(self) -> str:
        return "expired" if utcnow() >= self.expires else "governance"

    def describe(self, snapshot: Any) -> dict[str, Any]:
        return {
            "OwnerId": snapshot.owner_id,
            "SnapshotId": snapshot.id,
            "LockState": self.state,
            "LockDuration": max(1, (self.expires - self.created).days),
            "LockCreatedOn": self.created,
            "LockDurationStartTime": self.created,
            "LockExpiresOn": self.expires,
        }


@snapshots.obstacle
def _locked(snapshot: Any) -> None:
    """EBS-8: "a locked snapshot can't be deleted"; AWS documents neither the code nor the words of the refusal."""
    if snapshot.lock and snapshot.lock.state != "expired":
        raise EC2ClientError("SnapshotLocked", f"The snapshot {snapshot.id} is locked and can't be deleted.")


@added(EC2Response)
def lock_snapshot(self: Any) -> ActionResult:
    snapshot = self.ec2_backend.get_snapshot(self._get_param("SnapshotId"))
    days = self._get_param("LockDuration")
    if self._get_param("LockMode") != "governance" or days is None:
        raise NotImplementedError("LockSnapshot but in governance mode and for some days")
    if snapshot.status == "error":
        raise errors.incorrect_state(f"Snapshot is in invalid state - {snapshot.status}")
    self.error_on_dryrun()
    now = utcnow()
    snapshot.lock = Lock(now, now + timedelta(days=int(days)))
    return ActionResult(snapshot.lock.describe(snapshot))


@added(EC2Response)
def unlock_snapshot(self: Any) -> ActionResult:
    snapshot = self.ec2_backend.get_snapshot(self._get_param("SnapshotId"))
    if not snapshot.lock or snapshot.lock.state == "expired":
        raise errors.incorrect_state(f"The snapshot {snapshot.id} is not locked.")
    self.error_on_dryrun()
    snapshot.lock = None
    return ActionResult({"SnapshotId": snapshot.id})


@added(EC2Response)
def describe_locked_snapshots(self: Any) -> ActionResult:
    self.error_on_dryrun()
    ids = self._get_param("SnapshotIds") or []
    chosen = [self.ec2_backend.get_snapshot(i) for i in ids] if ids else self.ec2_backend.snapshots.values()
    chosen = [snapshot for snapshot in chosen if snapshot.lock]
    readers: filters.Readers = {"lock-state": lambda s: s.lock.state}
    chosen = filters.select(chosen, self._filters_from_querystring(), readers, lambda _: {})
    chunk, token = paging.page(
        chosen, id_of=lambda s: s.id, request=self, operation="DescribeLockedSnapshots", limits=PAGE, ids=ids
    )
    return ActionResult({"Snapshots": [s.lock.describe(s) for s in chunk], "NextToken": token})
