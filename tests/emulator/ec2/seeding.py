"""Control routes: snapshots and volumes that are already there, and time that has already passed.

POST snapshots         {"snapshots": [{…}]} → {"snapshot_ids": […]}; each may have
                       volume_id (also of a volume that never existed), snapshot_id, start_time (ISO 8601) or
                       age_seconds, state (completed), state_message, tags, description, volume_size, encrypted,
                       kms_key_id, owner_id, public, shared_with ([account ids]), storage_tier (standard, archive).
                       This and the next three take "region" too: another than home
GET  snapshots         all snapshots of the account with state, start_time and tags (no paging, no visibility delay)
POST snapshots/age     {"seconds": N, "snapshot_ids"?, "volume_ids"?} shifts StartTime back; the limits follow
POST snapshots/finish  {"snapshot_ids"?, "volume_ids"?, "state"?: completed|error, "message"?} ends pending snapshots
                       now, with events
POST paging            {"short_pages": true} makes pages shorter than MaxResults, the first one empty (see paging.py)
POST volumes           {"count": N, "size"?, "type"?, "zone"?, "tags"?} → {"volume_ids": […]}, available volumes at once
POST volumes/place     {"volume_ids": […], "state"?, "zone"?, "outpost_arn"?} puts volumes into a state of AWS's
                       (error, deleting, …), a Local Zone or on an Outpost
"""

from __future__ import annotations

from copy import copy
from datetime import datetime, timedelta, timezone
from typing import Any

from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends
from moto.ec2.utils import random_volume_id

from emulator.context import context
from emulator.control import ControlError, route
from emulator.ec2 import snapshots
from emulator.ec2.snapshots import EbsSnapshot, SourceVolume

_STATES = ("pending", "completed", "error", "recoverable", "recovering")  # EBS-4
_KNOWN = {
    "volume_id", "snapshot_id", "start_time", "age_seconds", "state", "state_message", "tags", "description",
    "volume_size", "encrypted", "owner_id", "public", "shared_with", "storage_tier", "kms_key_id",
}  # fmt: skip


def _backend(body: dict[str, Any] | None = None) -> Any:
    """Of the Region that the request names, or of home."""
    return ec2_backends[context.account_id][(body or {}).get("region") or context.region]


@route("POST", "snapshots")
def seed_snapshots(body: dict[str, Any]) -> Any:
    entries = body.get("snapshots")
    if not isinstance(entries, list):
        raise ControlError('expected {"snapshots": [{…}, …]}')
    backend = _backend(body)
    made = [_snapshot(backend, entry) for entry in entries]  # nothing is added when one entry is wrong
    for snapshot, tags in made:
        snapshots.add(backend, snapshot, tags)
    return {"snapshot_ids": [snapshot.id for snapshot, _ in made]}


def _snapshot(backend: Any, entry: dict[str, Any]) -> tuple[EbsSnapshot, dict[str, str]]:
    if unknown := entry.keys() - _KNOWN:
        raise ControlError(
            f"unknown fields of a snapshot: {', '.join(sorted(unknown))}; known: {', '.join(sorted(_KNOWN))}"
        )
    state = entry.get("state", "completed")
    if state not in _STATES:
        raise ControlError(f"unknown state {state!r}; known: {', '.join(_STATES)}")
    volume = backend.volumes.get(entry.get("volume_id"))
    source = SourceVolume(
        entry.get("volume_id") or random_volume_id(),
        int(entry.get("volume_size") or (volume.size if volume else 8)),
        bool(entry.get("encrypted", False)),
        entry.get("kms_key_id"),
    )
    snapshot = EbsSnapshot(
        backend,
        source,
        entry.get("description", ""),
        snapshot_id=entry.get("snapshot_id"),
        owner_id=entry.get("owner_id"),
        start_time=_start_time(entry),
    )
    snapshot.finish(state, entry.get("state_message"), snapshot.start_time)
    snapshot.storage_tier = entry.get("storage_tier", "standard")
    if entry.get("public"):
        snapshot.create_volume_permission_groups.add("all")
    snapshot.create_volume_permission_userids.update(entry.get("shared_with", []))
    return snapshot, entry.get("tags", {})


def _start_time(entry: dict[str, Any]) -> datetime:
    if "start_time" not in entry:
        return utcnow() - timedelta(seconds=float(entry.get("age_seconds", 0)))
    moment = datetime.fromisoformat(entry["start_time"].replace("Z", "+00:00"))
    return moment.astimezone(timezone.utc).replace(tzinfo=None) if moment.tzinfo else moment


@route("GET", "snapshots")
def list_snapshots(body: dict[str, Any]) -> Any:
    backend = _backend(body)
    return {
        "snapshots": [
            {
                "snapshot_id": snapshot.id,
                "volume_id": snapshot.volume_id,
                "state": snapshot.status,
                "state_message": snapshot.state_message,
                "start_time": snapshot.start_time.isoformat(timespec="milliseconds") + "Z",
                "description": snapshot.description,
                "encrypted": snapshot.encrypted,
                "kms_key_id": snapshot.kms_key_id,
                "tags": dict(backend.tags.get(snapshot.id, {})),
            }
            for snapshot in backend.snapshots.values()
            if snapshot.owner_id == backend.account_id
        ]
    }


@route("POST", "snapshots/age")
def age_snapshots(body: dict[str, Any]) -> Any:
    by, backend = timedelta(seconds=float(body["seconds"])), _backend(body)
    chosen = _chosen(backend, body)
    for snapshot in chosen:
        snapshot.start_time -= by
        if snapshot.completion_time:
            snapshot.completion_time -= by
        if snapshot.visible_from:
            snapshot.visible_from -= by
    starts = snapshots.last_starts(backend)
    everything = "snapshot_ids" not in body and "volume_ids" not in body
    aged = set(starts) if everything else {s.volume_id for s in chosen} | set(body.get("volume_ids", []))
    for volume_id in aged & starts.keys():
        starts[volume_id] -= by
    return {"aged": len(chosen)}


def _chosen(backend: Any, body: dict[str, Any]) -> list[EbsSnapshot]:
    """The account's own snapshots, or those of the given ids or volumes."""
    if ids := body.get("snapshot_ids"):
        if unknown := [i for i in ids if i not in backend.snapshots]:
            raise ControlError(f"unknown snapshots: {', '.join(unknown)}")
        return [backend.snapshots[i] for i in ids]
    own = [s for s in backend.snapshots.values() if s.owner_id == backend.account_id]
    if "volume_ids" in body:
        return [s for s in own if s.volume_id in body["volume_ids"]]
    return own


@route("POST", "snapshots/finish")
def finish_snapshots(body: dict[str, Any]) -> Any:
    """Of a set, all members end together (EBS-2), whichever is named."""
    state = body.get("state", "completed")
    if state not in ("completed", "error"):
        raise ControlError(f"a snapshot can't finish in state {state!r}: completed or error")
    finished = 0
    for group in snapshots.pending_groups(_chosen(_backend(body), body)):
        finished += len(group)
        snapshots.finish(group, state, body.get("message") if state == "error" else None)
    return {"finished": finished}


@route("POST", "volumes")
def seed_volumes(body: dict[str, Any]) -> Any:
    """Many volumes in one call: by the API, thousands would take minutes."""
    backend = _backend()
    zone = body.get("zone", f"{context.region}a")
    made = [
        backend.create_volume(size=int(body.get("size", 8)), zone_name=zone, volume_type=body.get("type", "gp3"))
        for _ in range(int(body["count"]))
    ]
    for volume in made:
        backend.tags[volume.id].update(body.get("tags", {}))
    return {"volume_ids": [volume.id for volume in made]}


@route("POST", "volumes/place")
def place_volumes(body: dict[str, Any]) -> Any:
    backend, ids = _backend(), body["volume_ids"]
    if unknown := [i for i in ids if i not in backend.volumes]:
        raise ControlError(f"unknown volumes: {', '.join(unknown)}")
    for volume in (backend.volumes[i] for i in ids):
        volume._state = body.get("state")
        volume._outpost_arn = body.get("outpost_arn")
        if zone := body.get("zone"):
            volume.zone = copy(volume.zone)
            volume.zone.name = zone
    return {}
