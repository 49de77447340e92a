"""AMIs: block device mappings that are real, deprecated and disabled ones, exact filters, paging."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.exceptions import InvalidAMIIdError, UnvailableAMIIdError
from moto.ec2.models import amis
from moto.ec2.models.amis import Ami, AmiBackend
from moto.ec2.responses import EC2Response

from emulator.ec2 import errors, filters, paging, tags
from emulator.ec2.snapshots import EbsSnapshot, SourceVolume, add
from emulator.patching import added, patched

PAGE = paging.Limits(lowest=1, highest=1000, ids_parameter="imagesSet", cut=True)

FILTERS: filters.Readers = {
    **filters.attributes(
        "architecture", "creation-date", "description", "hypervisor", "image-type", "is-public", "kernel-id", "name",
        "owner-alias", "owner-id", "platform", "root-device-name", "root-device-type", "source-instance-id", "state",
        "virtualization-type"
    ),
    "block-device-mapping.delete-on-termination": lambda i: [e.get("DeleteOnTermination") for e in _ebs(i)],
    "block-device-mapping.device-name": lambda i: [m["DeviceName"] for m in i.block_device_mappings],
    "block-device-mapping.snapshot-id": lambda i: [e.get("SnapshotId") for e in _ebs(i)],
    "block-device-mapping.volume-size": lambda i: [e.get("VolumeSize") for e in _ebs(i)],
    "block-device-mapping.volume-type": lambda i: [e.get("VolumeType") for e in _ebs(i)],
    "image-id": lambda i: i.id,
}


def _ebs(image: Any) -> list[dict[str, Any]]:
    return [mapping["Ebs"] for mapping in image.block_device_mappings if "Ebs" in mapping]


def usable(backend: Any, image_id: str) -> Any:
    """The image, if an instance can be launched from it; moto launches from what it has never heard of."""
    image = backend.amis.get(image_id)
    if image is None:
        raise UnvailableAMIIdError(image_id) if image_id in backend.deleted_amis else InvalidAMIIdError(image_id)
    if image.state != "available":
        raise UnvailableAMIIdError(image_id)
    return image


@patched(amis)
def load_resource(original: Any, path: str) -> list[dict[str, Any]]:
    """moto has 1,200 images for ECS in each Region, which was half of what an account costs to make."""
    images = original(path)
    return images[::20] if "/ecs/" in path else images


@patched(AmiBackend)
def _load_amis(original: Any, self: Any) -> None:
    """moto's list of Amazon's images lacks their dates: all would be as new as this server, and the newest of any."""
    start = utcnow()
    original(self)
    for image in self.amis.values():
        if image.creation_date >= start:
            image.creation_date = _date_in(image.name or "", start - timedelta(days=1))


def _date_in(name: str, latest: datetime) -> datetime:
    """Amazon names its images after the day of their release; one that names none is a year old."""
    named = re.search(r"(?<!\d)(20\d{2})[.-]?(0[1-9]|1[0-2])[.-]?(0[1-9]|[12]\d|3[01])(?!\d)", name)
    if named is None:
        return latest - timedelta(days=365)
    try:
        return min(datetime(*map(int, named.groups())), latest)
    except ValueError:
        return latest - timedelta(days=365)


# Block device mappings: moto gives each image one made-up snapshot of 15 GiB.


@patched(Ami)
def block_device_mappings(_original: Any, self: Any) -> list[dict[str, Any]]:
    if (given := self.__dict__.get("_mappings")) is not None:
        return given
    # The shape that Amazon's own images have.
    return [
        {
            "DeviceName": self.root_device_name,
            "Ebs": {
                "SnapshotId": self.ebs_snapshot.id,
                "VolumeSize": self.ebs_snapshot.volume_size,
                "DeleteOnTermination": True,
                "VolumeType": "gp3",
                "Encrypted": False,
            },
        }
    ]


def _replace_mappings(image: Any, mappings: list[dict[str, Any]]) -> None:
    image.ec2_backend.snapshots.pop(image.ebs_snapshot.id, None)
    image._mappings = mappings


@patched(EC2Response)
def register_image(original: Any, self: Any) -> ActionResult:
    """moto ignores the block device mappings, so the snapshots never count as used (EBS-8)."""
    image_tags = tags.at_creation(self, "image", "snapshot")["image"]
    mappings = self._get_param("BlockDeviceMappings") or []
    snapshots = {}
    for mapping in mappings:
        if snapshot_id := mapping.get("Ebs", {}).get("SnapshotId"):
            snapshots[snapshot_id] = self.ec2_backend.get_snapshot(snapshot_id)
            if snapshots[snapshot_id].status != "completed":
                raise errors.incorrect_state(f"Snapshot is in invalid state - {snapshots[snapshot_id].status}")
    result = original(self)
    image = self.ec2_backend.amis[result.result["ImageId"]]
    if image_tags:
        self.ec2_backend.tags[image.id].update(image_tags)
    image.root_device_name = self._get_param("RootDeviceName") or image.root_device_name
    image.root_device_type = "ebs"
    image.architecture = self._get_param("Architecture") or "i386"
    image.virtualization_type = self._get_param("VirtualizationType") or "paravirtual"
    if mappings:
        _replace_mappings(image, [_with_size(mapping, snapshots) for mapping in mappings])
    return result


def _with_size(mapping: dict[str, Any], snapshots: dict[str, EbsSnapshot]) -> dict[str, Any]:
    if "Ebs" not in mapping:
        return mapping
    ebs = {"DeleteOnTermination": True, "VolumeType": "gp2"} | mapping["Ebs"]
    if snapshot := snapshots.get(ebs.get("SnapshotId", "")):
        ebs.setdefault("VolumeSize", snapshot.volume_size)
    return {"DeviceName": mapping["DeviceName"], "Ebs": ebs}


@patched(EC2Response)
def create_image(_original: Any, self: Any) -> ActionResult:
    """An image of an instance consists of snapshots of its volumes, which belong to the account."""
    given = tags.at_creation(self, "image", "snapshot")
    backend = self.ec2_backend
    instance = backend.get_instance(self._get_param("InstanceId"))
    self.error_on_dryrun()
    image = backend.create_image(
        instance.id, self._get_param("Name"), self._get_param("Description") or "", tag_specifications=[]
    )
    image.root_device_name, image.root_device_type = instance.root_device_name, "ebs"
    if given["image"]:
        backend.tags[image.id].update(given["image"])
    mappings = []
    for device, attached in instance.get_block_device_mapping:
        volume = backend.get_volume(attached.volume_id)
        description = f"Created by CreateImage({instance.id}) for {image.id}"
        snapshot = EbsSnapshot(backend, SourceVolume.of(volume), description)
        snapshot.finish("completed", None, snapshot.start_time)
        add(backend, snapshot, given["snapshot"])
        ebs = {
            "SnapshotId": snapshot.id,
            "VolumeSize": volume.size,
            "VolumeType": volume.volume_type,
            "DeleteOnTermination": bool(attached.delete_on_termination),
            "Encrypted": bool(volume.encrypted),
        }
        mappings.append({"DeviceName": device, "Ebs": ebs})
    _replace_mappings(image, mappings)
    return ActionResult({"ImageId": image.id})


# Reading


@patched(EC2Response)
def describe_images(_original: Any, self: Any) -> ActionResult:
    """moto shows deprecated and disabled images to everybody, and ignores MaxResults."""
    self.error_on_dryrun()
    ids = self._get_param("ImageIds") or []
    chosen = self.ec2_backend.describe_images(
        ami_ids=ids,
        exec_users=self._get_param("ExecutableUsers") or [],
        owners=self._get_param("Owners") or [],
    )
    with_deprecated = bool(self._get_bool_param("IncludeDeprecated", False))
    with_disabled = bool(self._get_bool_param("IncludeDisabled", False))
    now = utcnow()
    chosen = [
        image
        for image in chosen
        if (with_disabled or image.state != "disabled")
        and (with_deprecated or image.owner_id == self.current_account or not _is_deprecated(image, now))
    ]
    chosen = filters.select(chosen, self._filters_from_querystring(), FILTERS, tags.of)
    chunk, token = paging.page(
        chosen, id_of=lambda i: i.id, request=self, operation="DescribeImages", limits=PAGE, ids=ids
    )
    return ActionResult({"Images": chunk, "NextToken": token})


@added(Ami)
@property
def deprecation_time(self: Any) -> str | None:
    moment = self.__dict__.get("_deprecated_from")
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z") if moment else None


def _is_deprecated(image: Any, now: datetime) -> bool:
    moment = image.__dict__.get("_deprecated_from")
    return moment is not None and moment <= now


@patched(AmiBackend)
def deregister_image(original: Any, self: Any, ami_id: str) -> None:
    """The snapshot that moto made up for an image goes with it: nobody in AWS would find it left over."""
    image = self.amis.get(ami_id)
    original(self, ami_id)
    if image.__dict__.get("_mappings") is None:
        self.snapshots.pop(image.ebs_snapshot.id, None)
