"""EBS volumes: paging, exact filters, Multi-Attach, attachment rules, creation from snapshots."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError, InvalidVolumeAttachmentError, InvalidVolumeDetachmentError
from moto.ec2.models import ec2_backends
from moto.ec2.models.block_device import BlockDeviceType
from moto.ec2.models.elastic_block_store import EBSBackend, Volume, VolumeAttachment
from moto.ec2.responses import EC2Response

from emulator import callers, permissions
from emulator.context import context, later
from emulator.control import route
from emulator.ec2 import errors, filters, notifications, paging, tags
from emulator.ec2.snapshots import is_aws_managed, key_of
from emulator.patching import patched
from emulator.settings import settings

PAGE = paging.Limits(lowest=5, highest=1000, ids_parameter="volumeSet", cut=True)  # EBS-7
MAX_ATTACHMENTS = 16  # of a Multi-Attach volume


FILTERS: filters.Readers = {
    **filters.attributes("availability-zone", "create-time", "size", "status", "volume-type"),
    **filters.of_each("attachment.", "attachments", "attach-time", "device", "status"),
    "attachment.delete-on-termination": lambda v: [deleted_on_termination(a) for a in v.attachments],
    "attachment.instance-id": lambda v: [a.instance.id for a in v.attachments],
    "encrypted": lambda v: bool(v.encrypted),
    "fast-restored": lambda v: False,
    "multi-attach-enabled": lambda v: bool(v.multi_attach_enabled),
    "snapshot-id": lambda v: v.snapshot_id or None,
    "volume-id": lambda v: v.id,
}


# Attachments: moto keeps one per volume; a Multi-Attach volume has several (EBS-3).


@patched(Volume)
def attachments(_original: Any, self: Any) -> list[VolumeAttachment]:
    return self.__dict__.setdefault("_attachments", [])


@patched(Volume)
def status(_original: Any, self: Any) -> str:
    return self.__dict__.get("_state") or ("in-use" if self.attachments else "available")


def deleted_on_termination(attachment: VolumeAttachment) -> bool:
    device = attachment.instance.block_device_mapping.get(attachment.device)
    return bool(device and device.delete_on_termination)


@patched(EBSBackend)
def attach_volume(
    _original: Any, self: Any, volume_id: str, instance_id: str, device_path: str, delete_on_termination: bool = False
) -> VolumeAttachment:
    volume, instance = self.get_volume(volume_id), self.get_instance(instance_id)
    _check_attachable(volume, instance, device_path)
    attachment = VolumeAttachment(volume, instance, device_path, "attached")
    volume.attachments.append(attachment)
    volume.attachment = volume.attachments[0]
    instance.block_device_mapping[device_path] = BlockDeviceType(
        volume_id=volume_id,
        status="in-use",
        size=volume.size,
        attach_time=utcnow(),
        delete_on_termination=delete_on_termination,
    )
    return attachment


def _check_attachable(volume: Any, instance: Any, device: str) -> None:
    """moto lets an attached volume be attached again, and loses the first attachment."""
    if volume.attachments and not volume.multi_attach_enabled:
        raise EC2ClientError("VolumeInUse", f"{volume.id} is already attached to an instance")
    if any(attachment.instance is instance for attachment in volume.attachments):
        raise EC2ClientError("VolumeInUse", f"{volume.id} is already attached to instance {instance.id}")
    if len(volume.attachments) >= MAX_ATTACHMENTS:
        raise EC2ClientError("AttachmentLimitExceeded", f"{volume.id} is attached to {MAX_ATTACHMENTS} instances")
    if instance.state in ("shutting-down", "terminated"):
        raise errors.incorrect_state(f"Instance '{instance.id}' is not 'running'.")
    if volume.availability_zone and volume.availability_zone != instance.availability_zone:
        raise EC2ClientError(
            "InvalidVolume.ZoneMismatch",
            f"The volume '{volume.id}' is not in the same availability zone as instance '{instance.id}'",
        )
    if device in instance.block_device_mapping:
        raise errors.invalid_value(
            f"Invalid value '{device}' for unixDevice. Attachment point {device} is already in use"
        )


@patched(EC2Response, "attach_volume")
def attach_by_request(original: Any, self: Any) -> ActionResult:
    instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
    if instance.state not in ("running", "stopped"):
        raise errors.incorrect_state(f"Instance '{instance.id}' is not 'running'.")
    return original(self)


@patched(EBSBackend)
def detach_volume(
    _original: Any, self: Any, volume_id: str, instance_id: str | None, device_path: str | None
) -> VolumeAttachment:
    volume = self.get_volume(volume_id)
    found = [a for a in volume.attachments if instance_id is None or a.instance.id == instance_id]
    if not found:
        raise InvalidVolumeAttachmentError(volume_id, instance_id or "any instance")
    if len(found) > 1:
        raise errors.invalid_value(f"Volume {volume_id} is attached to several instances: specify the instance ID")
    attachment = found[0]
    if device_path and device_path != attachment.device:
        raise InvalidVolumeDetachmentError(volume_id, attachment.instance.id, device_path)
    attachment.instance.block_device_mapping.pop(attachment.device, None)
    attachment.status = "detached"
    volume.attachments.remove(attachment)
    volume.attachment = volume.attachments[0] if volume.attachments else None
    return attachment


# Reading


@patched(EBSBackend)
def describe_volumes(_original: Any, self: Any, volume_ids: list[str] | None = None, filters: Any = None) -> list[Any]:
    """moto's own callers: by ids without a scan, and unknown ids named in the error."""
    chosen = [self.get_volume(volume_id) for volume_id in volume_ids] if volume_ids else list(self.volumes.values())
    return _select(chosen, filters or {})


def _select(volumes: list[Any], wanted: dict[str, list[str]]) -> list[Any]:
    return filters.select(volumes, wanted, FILTERS, tags.of)


@patched(EC2Response, "describe_volumes")
def describe_page_of_volumes(_original: Any, self: Any) -> ActionResult:
    """moto ignores MaxResults and NextToken (EBS-7)."""
    self.error_on_dryrun()
    ids = self._get_param("VolumeIds") or []
    for volume_id in ids:
        if not volume_id.startswith("vol-"):
            raise errors.invalid_id(volume_id, "volumes", "vol-")
    backend = self.ec2_backend
    chosen = [backend.get_volume(i) for i in dict.fromkeys(ids)] if ids else list(backend.volumes.values())
    chosen = _select(chosen, self._filters_from_querystring())
    chunk, token = paging.page(
        chosen, id_of=lambda v: v.id, request=self, operation="DescribeVolumes", limits=PAGE, ids=ids
    )
    return ActionResult({"Volumes": [describe(v) for v in chunk], "NextToken": token})


def describe(volume: Any) -> dict[str, Any]:
    described = {
        "VolumeId": volume.id,
        "Size": volume.size,
        "VolumeType": volume.volume_type,
        "Iops": volume.iops,
        "Throughput": volume.throughput,
        "SnapshotId": volume.snapshot_id or "",
        "OutpostArn": volume.__dict__.get("_outpost_arn"),
        "AvailabilityZone": volume.availability_zone,
        "State": volume.status,
        "CreateTime": volume.create_time,
        "Encrypted": bool(volume.encrypted),
        "KmsKeyId": volume.kms_key_id,
        "MultiAttachEnabled": bool(volume.multi_attach_enabled),
        "Attachments": [
            {
                "AttachTime": attachment.attach_time,
                "DeleteOnTermination": deleted_on_termination(attachment),
                "Device": attachment.device,
                "InstanceId": attachment.instance.id,
                "State": attachment.status,
                "VolumeId": volume.id,
            }
            for attachment in volume.attachments
        ],
        "Tags": tags.as_list(volume),
    }
    return {name: value for name, value in described.items() if value is not None and (name != "Tags" or value)}


# Creation and deletion


_GIVEN = ("AvailabilityZone", "Encrypted", "Iops", "KmsKeyId", "Size", "SnapshotId", "TagSpecifications", "VolumeType")


@patched(EC2Response)
def create_volume(original: Any, self: Any) -> ActionResult:
    tags.at_creation(self, "volume")
    backend, token = self.ec2_backend, self._get_param("ClientToken")
    made = backend.__dict__.setdefault("_volumes_by_client_token", {})
    given = str([self._get_param(name) for name in _GIVEN])
    if token in made:  # EBS-24: unlike snapshots, volumes are created once per token
        volume_id, before = made[token]
        if before != given or volume_id not in backend.volumes:
            # AWS says the same of a token whose volume is gone (EBS-25).
            raise EC2ClientError(
                "IdempotentParameterMismatch",
                "Parameters on this idempotent request are inconsistent with parameters used in previous request(s)",
            )
        return ActionResult(describe(backend.get_volume(volume_id)))
    zone = self._get_param("AvailabilityZone")
    if zone and backend.get_zone_by_name(zone) is None:
        raise EC2ClientError("InvalidZone.NotFound", f"The zone '{zone}' does not exist.")
    snapshot = None
    if snapshot_id := self._get_param("SnapshotId"):
        snapshot = backend.get_snapshot(snapshot_id)
        _check_restorable(snapshot, self.current_account, self._get_param("Size"))
    volume = original(self).result
    if snapshot:
        volume.kms_key_id = volume.kms_key_id or snapshot.kms_key_id
        volume.encrypted = volume.encrypted or snapshot.encrypted
    if token:
        made[token] = volume.id, given
    volume._state = "creating"
    answer = describe(volume)
    becomes = _becomes(self, volume, snapshot) if snapshot else "available"
    if becomes != "creating":
        later(settings.volume_creating_seconds, _ready, backend, volume.id, becomes)
    if not settings.volume_creating_seconds and becomes == "available":
        volume._state = None
    return ActionResult(answer)


def _becomes(request: Any, volume: Any, snapshot: Any) -> str:
    """What AWS finds out only after it has answered."""
    for planned in settings.volume_faults:
        if planned.count > 0 and planned.snapshot_id in (None, snapshot.id):
            planned.count -= 1
            return planned.becomes
    return "available" if volume.kms_key_id is None or _key_is_usable(request, volume) else "vanish"


def _key_is_usable(request: Any, volume: Any) -> bool:
    backend = request.ec2_backend
    key = key_of(backend, volume.kms_key_id)
    if key is None or not key.enabled:
        return False
    environment = callers.environment_of(request.access_key)
    role = environment and environment.role_arn and permissions.find_role(environment.role_arn)
    if not role or not settings.enforce_role_policies or is_aws_managed(key, backend.region_name, backend.account_id):
        return True
    keys = {"kms:ViaService": f"ec2.{backend.region_name}.amazonaws.com", "kms:GrantIsForAWSResource": "true"}
    actions = ("CreateGrant", "Decrypt", "DescribeKey", "GenerateDataKeyWithoutPlaintext")
    return all(permissions.may(role, f"kms:{action}", key.arn, keys) for action in actions)


def _ready(backend: Any, volume_id: str, becomes: str) -> None:
    if (volume := backend.volumes.get(volume_id)) is None:
        return
    if becomes == "vanish":
        backend.tags.pop(volume_id, None)
        backend.volumes.pop(volume_id)
        return
    volume._state = None if becomes == "available" else becomes
    notifications.volume_changed(backend, volume_id, "createVolume", becomes)


@patched(EC2Response)
def describe_volume_status(_original: Any, self: Any) -> ActionResult:
    """moto lacks it. Of volumes that are being made there is none yet."""
    self.error_on_dryrun()
    chosen = _select(list(self.ec2_backend.volumes.values()), self._filters_from_querystring())
    ready = [v for v in chosen if v.status in ("available", "in-use")]
    chunk, token = paging.page(
        ready, id_of=lambda v: v.id, request=self, operation="DescribeVolumeStatus", limits=PAGE, ids=[]
    )
    statuses = [
        {"VolumeId": v.id, "AvailabilityZone": v.availability_zone, "VolumeStatus": {"Status": "ok"}}
        for v in chunk
    ]
    return ActionResult({"VolumeStatuses": statuses, "NextToken": token})


@route("POST", "volumes/age")
def age_volumes(body: dict[str, Any]) -> Any:
    """{"seconds": N, "volume_ids"?, "region"?}: they were created so much earlier."""
    backend = ec2_backends[context.account_id][body.get("region") or context.region]
    by = timedelta(seconds=float(body["seconds"]))
    chosen = [v for v in backend.volumes.values() if v.id in body.get("volume_ids", [v.id])]
    for volume in chosen:
        volume.create_time -= by
    return {"aged": len(chosen)}


def _check_restorable(snapshot: Any, account_id: str, size: int | None) -> None:
    if not snapshot.may_be_used_by(account_id):
        raise errors.snapshot_not_found(snapshot.id)
    if snapshot.status != "completed":
        raise errors.incorrect_state(f"Snapshot is in invalid state - {snapshot.status}")
    if snapshot.storage_tier == "archive":  # words (assumed)
        raise errors.incorrect_state(f"Snapshot '{snapshot.id}' is archived: restore it first")
    if size is not None and int(size) < snapshot.volume_size:
        raise errors.invalid_value(
            f"Volume of size {size}GB is smaller than snapshot '{snapshot.id}', "
            f"expect size >= {snapshot.volume_size}GB"
        )


@patched(EC2Response)
def delete_volume(original: Any, self: Any) -> EmptyResult:
    result = original(self)
    notifications.volume_changed(self.ec2_backend, self._get_param("VolumeId"), "deleteVolume", "deleted")
    return result


@patched(EBSBackend, "delete_volume")
def delete_from_backend(_original: Any, self: Any, volume_id: str) -> Any:
    volume = self.get_volume(volume_id)
    if volume.attachments:
        raise EC2ClientError(
            "VolumeInUse", f"Volume {volume_id} is currently attached to {volume.attachments[0].instance.id}"
        )
    self.tags.pop(volume_id, None)
    return self.volumes.pop(volume_id)
