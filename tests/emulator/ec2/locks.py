"""What keeps a snapshot from being deleted: snapshot lock and fast snapshot restore. moto has neither."""

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
    mode: str  # governance or compliance
    created: datetime
    expires: datetime
    cool_off_hours: int = 0

    @property
    def cool_off_ends(self) -> datetime:
        return self.created + timedelta(hours=self.cool_off_hours)

    @property
    def state(self) -> str:
        now = utcnow()
        if now >= self.expires:
            return "expired"
        if self.mode == "compliance" and now < self.cool_off_ends:
            return "compliance-cooloff"
        return self.mode

    def describe(self, snapshot: Any) -> dict[str, Any]:
        described = {
            "OwnerId": snapshot.owner_id,
            "SnapshotId": snapshot.id,
            "LockState": self.state,
            "LockDuration": max(1, (self.expires - self.created).days),
            "LockCreatedOn": self.created,
            "LockDurationStartTime": self.created,
            "LockExpiresOn": self.expires,
        }
        if self.cool_off_hours:
            described |= {"CoolOffPeriod": self.cool_off_hours, "CoolOffPeriodExpiresOn": self.cool_off_ends}
        return described


@snapshots.obstacle
def _locked(snapshot: Any) -> None:
    """EBS-8: "a locked snapshot can't be deleted"; AWS documents neither the code nor the words of the refusal."""
    if snapshot.lock and snapshot.lock.state != "expired":
        raise EC2ClientError("SnapshotLocked", f"The snapshot {snapshot.id} is locked and can't be deleted.")


@added(EC2Response)
def lock_snapshot(self: Any) -> ActionResult:
    snapshot = self.ec2_backend.get_snapshot(self._get_param("SnapshotId"))
    mode, days, until = self._get_param("LockMode"), self._get_param("LockDuration"), self._get_param("ExpirationDate")
    cool_off = self._get_param("CoolOffPeriod") or 0
    if mode not in ("governance", "compliance"):
        raise errors.invalid_value(f"Value ({mode}) for parameter LockMode is invalid.")
    if (days is None) == (until is None):
        raise errors.invalid_combination("Specify either LockDuration or ExpirationDate, but not both.")
    if cool_off and mode == "governance":
        raise errors.invalid_combination("CoolOffPeriod can't be used with LockMode governance.")
    if snapshot.status == "error":
        raise errors.incorrect_state(f"Snapshot is in invalid state - {snapshot.status}")
    now = utcnow()
    expires = now + timedelta(days=int(days)) if days is not None else _naive(until)
    before = snapshot.lock
    if before and before.state == "compliance" and (mode != "compliance" or expires < before.expires):
        raise errors.incorrect_state(f"The lock of snapshot {snapshot.id} can only be extended.")
    self.error_on_dryrun()
    snapshot.lock = Lock(mode, now, expires, int(cool_off))
    return ActionResult(snapshot.lock.describe(snapshot))


@added(EC2Response)
def unlock_snapshot(self: Any) -> ActionResult:
    snapshot = self.ec2_backend.get_snapshot(self._get_param("SnapshotId"))
    if not snapshot.lock or snapshot.lock.state == "expired":
        raise errors.incorrect_state(f"The snapshot {snapshot.id} is not locked.")
    if snapshot.lock.state == "compliance":
        raise errors.incorrect_state(f"The snapshot {snapshot.id} is locked in compliance mode.")
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


def _naive(value: Any) -> datetime:
    """A date of the request as moto keeps them: UTC without a zone."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value.replace("Z", "+00:00"))
    return (value - value.utcoffset()).replace(tzinfo=None) if value.tzinfo else value


@added(EC2Response)
def enable_fast_snapshot_restores(self: Any) -> ActionResult:
    return _set_fast_restore(self, "enabling", set.update)


@added(EC2Response)
def disable_fast_snapshot_restores(self: Any) -> ActionResult:
    return _set_fast_restore(self, "disabling", set.difference_update)


def _set_fast_restore(request: Any, state: str, change: Any) -> ActionResult:
    zones = request._get_param("AvailabilityZones") or []
    chosen = [request.ec2_backend.get_snapshot(i) for i in request._get_param("SourceSnapshotIds") or []]
    request.error_on_dryrun()
    for snapshot in chosen:
        change(snapshot.fast_restore_zones, zones)
    successful = [
        {"SnapshotId": s.id, "AvailabilityZone": zone, "State": state, "OwnerId": s.owner_id}
        for s in chosen
        for zone in zones
    ]
    return ActionResult({"Successful": successful, "Unsuccessful": []})
