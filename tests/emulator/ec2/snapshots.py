"""EBS snapshots: a life of their own (pending, then completed or error), limits per volume, sets, deletion, copies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError, InvalidSnapshotInUse
from moto.ec2.models import ec2_backends
from moto.ec2.models.elastic_block_store import EBSBackend, Snapshot
from moto.ec2.responses import EC2Response
from moto.ec2.utils import random_snapshot_id
from moto.kms.models import kms_backends

from emulator import callers, permissions
from emulator.context import later
from emulator.ec2 import errors, filters, notifications, paging, tags
from emulator.patching import patched
from emulator.settings import settings

PAGE = paging.Limits(lowest=5, highest=1000, ids_parameter="snapshotSet", cut=True)  # EBS-7
MIN_SECONDS_BETWEEN_SNAPSHOTS = 15  # EBS-5, of one volume
MAX_PENDING = 5  # EBS-5, of one volume; errored ones count
MAX_PENDING_OF_TYPE = {"st1": 1, "sc1": 1}
MAX_SNAPSHOTS = 100_000  # EBS-5, of one account in one Region
MAX_CONCURRENT_COPIES = 20  # EBS-5, into one Region
MAX_EXCLUDED_VOLUMES = 40  # EBS-2
MAX_DESCRIPTION_LENGTH = 255
VOLUME_ID_OF_COPIES = "vol-ffffffff"  # EBS-9: arbitrary, not to be used for any purpose
ROOT_VOLUME_SIZE = 8  # GiB, of Amazon Linux and Ubuntu; moto's images have 15
BACKUP_TAG = "aws:backup:source-resource"  # AWS Backup's own tag on what it made


@dataclass(frozen=True)
class SourceVolume:
    """What a snapshot remembers of its volume, which may be changed or deleted later."""

    id: str
    size: int
    encrypted: bool = False
    kms_key_id: str | None = None

    @classmethod
    def of(cls, volume: Any) -> SourceVolume:
        return cls(volume.id, volume.size, volume.encrypted, volume.kms_key_id)


class EbsSnapshot(Snapshot):
    def __init__(self, backend: Any, source: SourceVolume, description: str | None, **attributes: Any) -> None:
        snapshot_id = attributes.pop("snapshot_id", None) or random_snapshot_id()
        super().__init__(
            backend,
            snapshot_id,
            source,
            description or "",
            encrypted=source.encrypted,
            kms_key_id=source.kms_key_id,
            owner_id=attributes.pop("owner_id", None),
            from_ami=attributes.pop("from_ami", None),
        )
        self.status = "pending"
        self.state_message: str | None = None
        self.completion_time: datetime | None = None
        self.visible_from: datetime | None = None  # DescribeSnapshots doesn't show it before
        self.pending_seconds = 0.0
        self.set_members: list[EbsSnapshot] = []  # of a multi-volume set, itself included
        self.failed_itself = False  # and not only because another member of its set failed
        self.copied_from: tuple[str, str] | None = None  # region and id
        self.is_incremental_copy = False
        self.lock: Any = None  # see locks.py
        for name, value in attributes.items():
            setattr(self, name, value)

    @property
    def progress(self) -> str:
        if self.status == "completed":
            return "100%"
        elapsed = (utcnow() - self.start_time).total_seconds()
        share = elapsed / self.pending_seconds if self.pending_seconds else 0
        return f"{max(0, min(99, int(share * 100)))}%"

    @property
    def owner_alias(self) -> str | None:
        image = self.ec2_backend.amis.get(self.from_ami)
        return image.owner_alias if image else None

    def finish(self, state: str, message: str | None, at: datetime) -> None:
        self.status, self.state_message = state, message
        self.completion_time = at if state == "completed" else None

    def may_be_used_by(self, account_id: str) -> bool:
        return (
            self.owner_id == account_id
            or "all" in self.create_volume_permission_groups
            or account_id in self.create_volume_permission_userids
        )

    def describe(self) -> dict[str, Any]:
        described = {
            "SnapshotId": self.id,
            "VolumeId": self.volume_id,
            "VolumeSize": self.volume_size,
            "State": self.status,
            "StateMessage": self.state_message,
            "StartTime": self.start_time,
            "CompletionTime": self.completion_time,
            "Progress": self.progress,
            "OwnerId": self.owner_id,
            "OwnerAlias": self.owner_alias,
            "Description": self.description,
            "Encrypted": self.encrypted,
            "KmsKeyId": self.kms_key_id,
            "StorageTier": self.storage_tier,
            "Tags": tags.as_list(self),
        }
        return {name: value for name, value in described.items() if value is not None and value != []}


FILTERS: filters.Readers = {
    **filters.attributes(
        "description", "encrypted", "owner-alias", "owner-id", "progress", "start-time", "status", "storage-tier",
        "volume-id", "volume-size"
    ),
    "snapshot-id": lambda s: s.id,
}


# Creation


def last_starts(backend: Any) -> dict[str, datetime]:
    """When a volume's newest snapshot was started: the 15 s hold even if that snapshot has been deleted."""
    return backend.__dict__.setdefault("_last_snapshot_starts", {})


def _of_volume(backend: Any, volume_id: str) -> dict[str, EbsSnapshot]:
    """A volume's snapshots by id, without a scan of the account's."""
    return backend.__dict__.setdefault("_snapshots_by_volume", {}).setdefault(volume_id, {})


def _forget(snapshot: EbsSnapshot) -> None:
    _of_volume(snapshot.ec2_backend, snapshot.volume_id).pop(snapshot.id, None)


def add(backend: Any, snapshot: EbsSnapshot, snapshot_tags: dict[str, str]) -> None:
    backend.snapshots[snapshot.id] = snapshot
    if snapshot_tags:
        backend.tags[snapshot.id].update(snapshot_tags)
    if snapshot.copied_from is None and snapshot.from_ami is None and snapshot.owner_id == backend.account_id:
        _of_volume(backend, snapshot.volume_id)[snapshot.id] = snapshot
        starts = last_starts(backend)
        starts[snapshot.volume_id] = max(starts.get(snapshot.volume_id, snapshot.start_time), snapshot.start_time)


def start(backend: Any, volumes: list[tuple[Any, dict[str, str]]], description: str, *, as_set: bool) -> list[Any]:
    """Start a snapshot of each volume, with its tags; all or none. A set shares StartTime and outcome (EBS-2)."""
    if _exceeds_snapshot_limit(backend, len(volumes)):
        raise EC2ClientError("SnapshotLimitExceeded", "You've reached the limit on the number of Amazon EBS snapshots")
    for volume, snapshot_tags in volumes:
        if volume.status not in ("available", "in-use"):
            raise errors.incorrect_state(f"Volume '{volume.id}' is in '{volume.status}' state")  # words (assumed)
        _check_limits(backend, volume)
        tags.check_count(snapshot_tags)
    started = _millisecond(utcnow())
    snapshots, message = [], None
    for volume, snapshot_tags in volumes:
        snapshot = EbsSnapshot(backend, SourceVolume.of(volume), description, start_time=started)
        if failure := _take_planned_failure(volume.id):
            snapshot.failed_itself, message = True, message or failure
        snapshots.append(snapshot)
        _begin(backend, snapshot, snapshot_tags)
        if as_set:
            snapshot.set_members = snapshots
    later(settings.snapshot_pending_seconds, finish, snapshots, "error" if message else "completed", message)
    return snapshots


def _exceeds_snapshot_limit(backend: Any, more: int) -> bool:
    if len(backend.snapshots) + more <= MAX_SNAPSHOTS:
        return False
    own = sum(snapshot.owner_id == backend.account_id for snapshot in backend.snapshots.values())
    return own + more > MAX_SNAPSHOTS


def _begin(backend: Any, snapshot: EbsSnapshot, snapshot_tags: dict[str, str]) -> None:
    snapshot.pending_seconds = settings.snapshot_pending_seconds
    if settings.snapshot_visibility_delay_seconds:
        snapshot.visible_from = utcnow() + timedelta(seconds=settings.snapshot_visibility_delay_seconds)
    add(backend, snapshot, snapshot_tags)


def finish(snapshots: list[EbsSnapshot], state: str, message: str | None) -> None:
    """End the pending ones of snapshots that were started by one call; what was deleted or has ended stays so."""
    now = utcnow()
    for snapshot in snapshots:
        if snapshot.id not in snapshot.ec2_backend.snapshots:
            _forget(snapshot)
    pending = [s for s in snapshots if _is_pending(s)]
    for snapshot in pending:
        snapshot.finish(state, message, now)
    if not pending:
        return
    if pending[0].set_members:
        notifications.snapshot_set_finished(pending, now)
    else:
        for snapshot in pending:
            notifications.snapshot_finished(snapshot, now)


def _is_pending(snapshot: EbsSnapshot) -> bool:
    return snapshot.status == "pending" and snapshot.ec2_backend.snapshots.get(snapshot.id) is snapshot


def pending_groups(chosen: list[EbsSnapshot]) -> list[list[EbsSnapshot]]:
    """The pending ones among the given snapshots, each with its whole set."""
    groups: dict[str, list[EbsSnapshot]] = {}
    for snapshot in filter(_is_pending, chosen):
        members = snapshot.set_members or [snapshot]
        groups[members[0].id] = [member for member in members if _is_pending(member)]
    return list(groups.values())


def _check_limits(backend: Any, volume: Any) -> None:
    last = last_starts(backend).get(volume.id)
    if last is not None and utcnow() - last < timedelta(seconds=MIN_SECONDS_BETWEEN_SNAPSHOTS):
        raise EC2ClientError(
            "SnapshotCreationPerVolumeRateExceeded",
            "The maximum per volume CreateSnapshot request rate has been exceeded. "
            "Use an increasing or variable sleep interval between requests.",
        )
    unfinished = sum(snapshot.status in ("pending", "error") for snapshot in _of_volume(backend, volume.id).values())
    if unfinished >= MAX_PENDING_OF_TYPE.get(volume.volume_type, MAX_PENDING):
        raise EC2ClientError(
            "ConcurrentSnapshotLimitExceeded", "Maximum allowed in-progress snapshots for a single volume exceeded."
        )


def _take_planned_failure(volume_id: str) -> str | None:
    """The message of a failure that a test asked for (settings.snapshot_errors); each use is counted."""
    for planned in settings.snapshot_errors:
        if planned.count > 0 and planned.volume_id in (None, volume_id):
            planned.count -= 1
            return planned.message
    return None


def _millisecond(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@patched(EBSBackend)
def create_snapshot(
    _original: Any,
    self: Any,
    volume_id: str,
    description: str,
    owner_id: str | None = None,
    from_ami: str | None = None,
) -> EbsSnapshot:
    """moto's own way to a snapshot: for an AMI it is complete with the image, for the EBS direct APIs it starts."""
    volume = self.get_volume(volume_id)
    if from_ami is None:
        return start(self, [(volume, {})], description, as_set=False)[0]
    source = SourceVolume(volume.id, ROOT_VOLUME_SIZE)
    snapshot = EbsSnapshot(self, source, description, owner_id=owner_id, from_ami=from_ami)
    snapshot.finish("completed", None, snapshot.start_time)
    if snapshot.owner_id != self.account_id:
        snapshot.create_volume_permission_groups.add("all")
    add(self, snapshot, {})
    return snapshot


@patched(EC2Response, "create_snapshot")
def create_one(_original: Any, self: Any) -> ActionResult:
    volume = _volume(self, self._get_param("VolumeId"))
    description = _description(self)
    snapshot_tags = tags.at_creation(self, "snapshot")["snapshot"]
    self.error_on_dryrun()
    (snapshot,) = start(self.ec2_backend, [(volume, snapshot_tags)], description, as_set=False)
    return ActionResult(_new(snapshot))


@patched(EC2Response)
def create_snapshots(_original: Any, self: Any) -> ActionResult:
    """moto ignores ExcludeDataVolumeIds and CopyTagsFromSource (EBS-2)."""
    specification = self._get_param("InstanceSpecification") or {}
    if not specification.get("InstanceId"):
        raise errors.missing_parameter("InstanceSpecification.InstanceId")
    instance = self.ec2_backend.get_instance(specification["InstanceId"])
    snapshot_tags = tags.at_creation(self, "snapshot")["snapshot"]
    copied = self._get_param("CopyTagsFromSource")
    if copied not in (None, "volume"):
        raise errors.invalid_value(f"Value ({copied}) for parameter CopyTagsFromSource is invalid. Expected: 'volume'.")
    description = _description(self)
    volumes = _volumes_of_set(instance, specification)
    self.error_on_dryrun()
    sources = [
        (volume, (tags.without_reserved(tags.of(volume)) if copied else {}) | snapshot_tags) for volume in volumes
    ]
    snapshots = start(self.ec2_backend, sources, description, as_set=True)
    return ActionResult({"Snapshots": [_new(snapshot) for snapshot in snapshots]})


def _new(snapshot: EbsSnapshot) -> dict[str, Any]:
    """The answer of the call that starts it: there is no progress yet."""
    return snapshot.describe() | {"Progress": ""}


def _volumes_of_set(instance: Any, specification: dict[str, Any]) -> list[Any]:
    attached = {mapping.volume_id: device for device, mapping in instance.get_block_device_mapping}
    excluded = specification.get("ExcludeDataVolumeIds") or []
    if len(excluded) > MAX_EXCLUDED_VOLUMES:  # documented limit, words (assumed)
        raise errors.invalid_value(
            f"The number of volumes in ExcludeDataVolumeIds ({len(excluded)}) exceeds the limit of "
            f"{MAX_EXCLUDED_VOLUMES}"
        )
    for volume_id in excluded:
        if not volume_id.startswith("vol-"):
            raise errors.invalid_id(volume_id, "excludeDataVolumeIds", "vol-")
        if attached.get(volume_id) is None:  # words (assumed)
            raise errors.invalid_value(f"Volume {volume_id} is not attached to instance {instance.id}")
        if attached[volume_id] == instance.root_device_name:  # documented refusal, words (assumed)
            raise errors.invalid_value(
                f"Volume {volume_id} is the root volume of instance {instance.id}: use ExcludeBootVolume to exclude it"
            )
    without_root = _is_true(specification.get("ExcludeBootVolume"))
    chosen = [
        volume_id
        for volume_id, device in attached.items()
        if volume_id not in excluded and not (without_root and device == instance.root_device_name)
    ]
    if not chosen:
        raise errors.invalid_value(f"There are no attached EBS-backed volumes for instance {instance.id}")
    return [instance.ec2_backend.get_volume(volume_id) for volume_id in chosen]


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"


def _description(request: Any) -> str:
    description = request._get_param("Description") or ""
    if len(description) > MAX_DESCRIPTION_LENGTH:
        raise errors.invalid_value(
            f"Value ({description}) for parameter description is invalid. "
            f"It exceeds {MAX_DESCRIPTION_LENGTH} characters"
        )
    return description


def _volume(request: Any, volume_id: str | None) -> Any:
    if not volume_id:
        raise errors.missing_parameter("volumeId")
    if not volume_id.startswith("vol-"):
        raise errors.invalid_id(volume_id, "volumeId", "vol-")
    return request.ec2_backend.get_volume(volume_id)


# Copies


@patched(EC2Response)
def copy_snapshot(_original: Any, self: Any) -> ActionResult:
    """moto keeps the source's volume id, completes at once, and leaves a copy with Encrypted=true unencrypted."""
    region, source_id = self._get_param("SourceRegion"), self._get_param("SourceSnapshotId")
    snapshot_tags = tags.at_creation(self, "snapshot")["snapshot"]
    tags.check_count(snapshot_tags)
    source = ec2_backends[self.current_account][region].get_snapshot(source_id)
    if source.status != "completed" or source.storage_tier == "archive":
        raise errors.incorrect_state(f"Snapshot is in invalid state - {source.status}")
    self.error_on_dryrun()
    backend = self.ec2_backend
    copies = [s for s in backend.snapshots.values() if s.copied_from]
    if sum(s.status == "pending" for s in copies) >= MAX_CONCURRENT_COPIES:
        raise EC2ClientError(
            "ResourceLimitExceeded",
            f"Too many snapshot copies in progress. The limit is {MAX_CONCURRENT_COPIES} for this destination region.",
        )
    by_default = ec2_backends[self.current_account][backend.region_name].ebs_encryption_by_default
    encrypted = source.encrypted or bool(self._get_bool_param("Encrypted", False)) or by_default
    given = self._get_param("KmsKeyId")
    if given and not encrypted:
        raise errors.invalid_combination("The parameter KmsKeyId requires the parameter Encrypted to be set.")
    key = given
    if encrypted and not given:
        # The Region's default, whatever the source is encrypted with.
        key = backend.default_kms_key_id or backend._create_default_encryption_key()
    found = key_of(backend, key) if key else None
    # EBS-19: incremental with the same key only.
    made = [s for s in copies if s.status == "completed" and s.lineage == lineage(source)]
    snapshot = EbsSnapshot(
        backend,
        SourceVolume(VOLUME_ID_OF_COPIES, source.volume_size, encrypted, found.arn if found else key),
        _description(self),
        start_time=_millisecond(utcnow()),
        copied_from=(region, source.id),
        lineage=lineage(source),
        is_incremental_copy=any(s.kms_key_id == (found.arn if found else key) for s in made),
    )
    message = _take_planned_failure(source.volume_id) or _why_copy_fails(self, region, source, key, found)
    _begin(backend, snapshot, snapshot_tags)
    later(settings.snapshot_pending_seconds, finish, [snapshot], "error" if message else "completed", message)
    return ActionResult({"SnapshotId": snapshot.id, "Tags": tags.as_list(snapshot)})


def key_of(backend: EBSBackend, key: str) -> Any:
    kms = kms_backends[backend.account_id][backend.region_name]
    try:
        return kms.keys.get(kms.any_id_to_key_id(key))
    except KeyError:
        return None


def _why_copy_fails(request: Any, region: str, source: EbsSnapshot, key: str | None, found: Any) -> str | None:
    """What AWS finds out only after it has answered (EBS-4, EBS-17, EBS-20)."""
    backend = request.ec2_backend
    if key and (found is None or not found.enabled):
        return "Given key ID is not accessible"
    if source.encrypted and region != backend.region_name:
        sent = parse_qs(urlsplit(request._get_param("PresignedUrl") or "").query)
        wanted = {"Action": "CopySnapshot", "SourceRegion": region, "SourceSnapshotId": source.id}
        wanted |= {"DestinationRegion": backend.region_name}
        if any(sent.get(name) != [value] for name, value in wanted.items()) or "X-Amz-Signature" not in sent:
            return "PresignedUrl is missing or doesn't name this copy"  # words (assumed)
    environment = callers.environment_of(request.access_key)
    role = environment and environment.role_arn and permissions.find_role(environment.role_arn)
    if not role or not settings.enforce_role_policies:
        return None
    source_key = key_of(source.ec2_backend, source.kms_key_id) if source.kms_key_id else None
    for used, name, actions in (
        (source_key, region, ("Decrypt", "ReEncryptFrom")),
        (found, backend.region_name, ("GenerateDataKeyWithoutPlaintext", "ReEncryptTo")),
    ):
        if used is None or is_aws_managed(used, name, backend.account_id):
            continue
        keys = {"kms:ViaService": f"ec2.{name}.amazonaws.com", "kms:GrantIsForAWSResource": "true"}
        for action in ("DescribeKey", "CreateGrant", *actions):
            if not permissions.may(role, f"kms:{action}", used.arn, keys):
                return "Given key ID is not accessible"
    return None


def is_aws_managed(key: Any, region: str, account_id: str) -> bool:
    """EBS's own key, which everybody of the account may use by way of EC2."""
    kms = kms_backends[account_id][region]
    return kms.alias_exists("alias/aws/ebs") and kms.get_key_id_from_alias("alias/aws/ebs") == key.id


def lineage(snapshot: EbsSnapshot) -> str:
    """The volume that a snapshot or a copy of it (of a copy …) comes from."""
    return getattr(snapshot, "lineage", snapshot.volume_id)


# Reading


@patched(EC2Response)
def describe_snapshots(_original: Any, self: Any) -> ActionResult:
    """moto ignores OwnerIds, MaxResults and NextToken, and shows everybody's snapshots (EBS-7)."""
    self.error_on_dryrun()
    ids = self._get_param("SnapshotIds") or []
    chosen = _by_ids(self, ids) if ids else _visible(self.ec2_backend)
    chosen = [s for s in chosen if s.may_be_used_by(self.current_account)]
    if owners := self._get_param("OwnerIds") or []:
        wanted = {self.current_account if owner == "self" else owner for owner in owners}
        chosen = [s for s in chosen if s.owner_id in wanted or s.owner_alias in wanted]
    if users := self._get_param("RestorableByUserIds") or []:
        chosen = [s for s in chosen if any(_restorable_by(s, user, self.current_account) for user in users)]
    chosen = filters.select(chosen, self._filters_from_querystring(), FILTERS, tags.of)
    chunk, token = paging.page(
        chosen, id_of=lambda s: s.id, request=self, operation="DescribeSnapshots", limits=PAGE, ids=ids
    )
    return ActionResult({"Snapshots": [s.describe() for s in chunk], "NextToken": token})


def _visible(backend: Any) -> Iterable[EbsSnapshot]:
    now = utcnow()
    return [s for s in backend.snapshots.values() if s.visible_from is None or s.visible_from <= now]


def _by_ids(request: Any, snapshot_ids: list[str]) -> list[EbsSnapshot]:
    visible = {s.id: s for s in _visible(request.ec2_backend)}
    for snapshot_id in snapshot_ids:
        if not snapshot_id.startswith("snap-"):
            raise errors.invalid_id(snapshot_id, "snapshotId", "snap-")
        if snapshot_id not in visible:
            raise errors.snapshot_not_found(snapshot_id)
    return [visible[snapshot_id] for snapshot_id in dict.fromkeys(snapshot_ids)]


def _restorable_by(snapshot: EbsSnapshot, user: str, account_id: str) -> bool:
    if user == "all":
        return "all" in snapshot.create_volume_permission_groups
    return snapshot.may_be_used_by(account_id if user == "self" else user)


@patched(EBSBackend)
def get_snapshot(_original: Any, self: Any, snapshot_id: str) -> EbsSnapshot:
    """moto's error has no message."""
    if snapshot_id not in self.snapshots:
        raise errors.snapshot_not_found(snapshot_id)
    return self.snapshots[snapshot_id]


# Deletion

# Each says why a snapshot can't be deleted, or nothing.
_obstacles: list[Callable[[EbsSnapshot], None]] = []


def obstacle(check: Callable[[EbsSnapshot], None]) -> Callable[[EbsSnapshot], None]:
    _obstacles.append(check)
    return check


@obstacle
def _owned_by_another(snapshot: EbsSnapshot) -> None:
    if snapshot.owner_id != snapshot.ec2_backend.account_id:  # code (assumed)
        raise EC2ClientError("UnauthorizedOperation", "You are not authorized to perform this operation.")


@obstacle
def _managed_by_backup(snapshot: EbsSnapshot) -> None:
    if BACKUP_TAG in tags.of(snapshot):
        raise errors.invalid_value(
            "This snapshot is managed by the AWS Backup service and cannot be deleted via EC2 APIs. "
            "If you wish to delete this snapshot, please do so via the Backup console."
        )


@obstacle
def _used_by_image(snapshot: EbsSnapshot) -> None:
    """EBS-8. moto knows only the snapshot that it made itself for an image. A disabled image uses its snapshots too."""
    images = snapshot.ec2_backend.amis
    if snapshot.from_ami in images:
        raise InvalidSnapshotInUse(snapshot.id, snapshot.from_ami)
    for image in images.values():
        for mapping in image.__dict__.get("_mappings") or []:  # see images.py
            if mapping.get("Ebs", {}).get("SnapshotId") == snapshot.id:
                raise InvalidSnapshotInUse(snapshot.id, image.id)


def check_deletable(snapshot: EbsSnapshot) -> None:
    for check in _obstacles:
        check(snapshot)


@patched(EBSBackend)
def delete_snapshot(_original: Any, self: Any, snapshot_id: str) -> EbsSnapshot:
    snapshot = self.get_snapshot(snapshot_id)
    check_deletable(snapshot)
    return _remove(snapshot)


def _remove(snapshot: EbsSnapshot) -> EbsSnapshot:
    snapshot.ec2_backend.tags.pop(snapshot.id, None)
    if snapshot.status != "pending":
        # The deletion of a pending one takes effect when it is finished; until then it counts for the limit (EBS-5).
        _forget(snapshot)
    return snapshot.ec2_backend.snapshots.pop(snapshot.id)


@patched(EC2Response, "delete_snapshot")
def delete_one(_original: Any, self: Any) -> EmptyResult:
    snapshot_id = self._get_param("SnapshotId") or ""
    if not snapshot_id.startswith("snap-"):
        raise errors.invalid_id(snapshot_id, "snapshotId", "snap-")
    snapshot = self.ec2_backend.get_snapshot(snapshot_id)
    check_deletable(snapshot)
    self.error_on_dryrun()
    _remove(snapshot)
    return EmptyResult()
