"""Which images the account can see, where they come from, and what an instance still tells of its own (AMI-2, AMI-3).

An image that is private, deregistered or not allowed vanishes from DescribeImages, while DescribeInstanceImageMetadata
goes on telling of it.

POST images         {"name": NAME, "owner"?: "self" | "amazon" | "aws-marketplace" | account id, "owner_alias"?,
                    "architecture"?, "age_seconds"?, "deprecated"?, "public"?, "source_image_id"?,
                    "source_instance_id"?, "tags"?, "root_device_type"?, "platform"?, "description"?}
                    → {"image_id": ID}, deprecated since its creation
POST images/access  {"image_id": ID, "private"?: true, "allowed"?: false}: its owner makes it private; the account's
                    Allowed AMIs no longer allow it
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError, InvalidAMIIdError
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.amis import Ami, AmiBackend
from moto.ec2.models.instances import Instance, InstanceBackend
from moto.ec2.responses import EC2Response
from moto.ec2.utils import random_ami_id

from emulator.context import context
from emulator.control import ControlError, route
from emulator.ec2 import errors, images, tags
from emulator.ec2.describing import Description, answer
from emulator.patching import added, patched

_OWNERS = {"amazon": "137112412989", "aws-marketplace": "679593333241"}


def is_visible(image: Any, account_id: str) -> bool:
    if image.owner_id == account_id:
        return True  # Allowed AMIs never restrict what the account owns (AMI-3)
    shared = {"UserId": account_id} in image.launch_permissions
    return image.image_allowed and (image.is_public or shared)


@added(Ami)
@property
def image_allowed(self: Any) -> bool:
    return self.__dict__.get("_allowed", True)


@patched(AmiBackend, "describe_images")
def visible_images(original: Any, self: Any, *args: Any, **kwargs: Any) -> list[Any]:
    """moto shows private images of others, and takes unknown ids beside known ones."""
    ids = kwargs.get("ami_ids") or (args[0] if args else None) or []
    for image_id in ids:
        if not image_id.startswith("ami-"):
            continue
        image = self.amis.get(image_id)
        hidden = image is not None and not is_visible(image, self.account_id)
        if hidden or (image is None and image_id not in self.deleted_amis):
            raise InvalidAMIIdError([image_id])
    return [image for image in original(self, *args, **kwargs) if is_visible(image, self.account_id)]


@patched(InstanceBackend, "run_instances")
def launch_from_visible(original: Any, self: Any, image_id: str, *args: Any, **kwargs: Any) -> Any:
    template = {}
    if kwargs.get("launch_template"):
        template = self._get_template_from_args(kwargs["launch_template"]).data
    image = self.amis.get(image_id or template.get("ImageId"))
    if image is not None and not is_visible(image, self.account_id):
        raise EC2ClientError("AuthFailure", f"Not authorized for images: [{image.id}]")
    return original(self, image_id, *args, **kwargs)


# Ancestry


@added(Ami)
@property
def source_image_id(self: Any) -> str | None:
    return self.__dict__.get("_source", (None, None))[0]


@added(Ami)
@property
def source_image_region(self: Any) -> str | None:
    return self.__dict__.get("_source", (None, None))[1]


def _remember(backend: Any, image: Any, source: Any, region: str) -> None:
    image._source = (source.id, region)
    image._parent = source


@patched(AmiBackend)
def create_image(original: Any, self: Any, instance_id: str, *args: Any, **kwargs: Any) -> Any:
    """The source is the image that the instance was launched from."""
    image = original(self, instance_id, *args, **kwargs)
    source = getattr(self.get_instance(instance_id), "_image", None)
    if source is not None:
        _remember(self, image, source, self.region_name)
    return image


@patched(EC2Response)
def copy_image(original: Any, self: Any) -> ActionResult:
    """moto forgets where a copy comes from, its root device and its tags."""
    given = tags.at_creation(self, "image", "snapshot")["image"]
    region = self._get_param("SourceRegion")
    source_backend = ec2_backends[self.current_account][region]
    source = source_backend.amis.get(self._get_param("SourceImageId"))
    result = original(self)
    image = self.ec2_backend.amis[result.result["ImageId"]]
    _remember(self.ec2_backend, image, source, region)
    image.root_device_name, image.root_device_type = source.root_device_name, source.root_device_type
    copied = {}
    if self._get_bool_param("CopyImageTags", False):
        copied = tags.without_reserved(tags.of(source))
    self.ec2_backend.tags[image.id].update(copied | given)
    return result


@added(EC2Response)
def get_image_ancestry(self: Any) -> ActionResult:
    image_id = self._get_param("ImageId")
    image = self.ec2_backend.amis.get(image_id)
    if image is None or not is_visible(image, self.current_account):
        raise InvalidAMIIdError([image_id])
    self.error_on_dryrun()
    return ActionResult({"ImageAncestryEntries": [_entry(i) for i in _line(image)]})


def _line(image: Any) -> Iterator[Any]:
    """The image and its ancestors, also those that are deregistered."""
    while image is not None:
        yield image
        image = image.__dict__.get("_parent")


def _entry(image: Any) -> dict[str, Any]:
    return {
        "ImageId": image.id,
        "CreationDate": image.creation_date,
        "ImageOwnerAlias": image.owner_alias,
        "SourceImageId": image.source_image_id,
        "SourceImageRegion": image.source_image_region,
    }


# What an instance tells of its image


@added(Instance)
@property
def image_metadata(self: Any) -> dict[str, Any] | None:
    image = self.__dict__.get("_image")
    if image is None:
        return None
    registered = image.id in self.ec2_backend.amis
    return {
        "ImageId": image.id,
        "Name": image.name,
        "OwnerId": image.owner_id,
        "State": image.state if registered else "deregistered",
        "ImageOwnerAlias": image.owner_alias,
        # Written otherwise than by DescribeImages (AMI-16).
        "CreationDate": _to_the_second(image.creation_date),
        "DeprecationTime": _to_the_second(image.deprecation_time),
        "ImageAllowed": image.image_allowed,
        "IsPublic": image.is_public,
    }


def _to_the_second(time: datetime | None) -> str | None:
    return time and f"{time:%Y-%m-%dT%H:%M:%SZ}"


METADATA = Description(
    operation="DescribeInstanceImageMetadata",
    items=lambda backend: (i for r in backend.reservations.values() for i in r.instances),
    result="InstanceImageMetadata",
    readers={
        "availability-zone": lambda i: i.availability_zone,
        "image-allowed": lambda i: (i.image_metadata or {}).get("ImageAllowed"),
        "instance-id": lambda i: i.id,
        "instance-state-name": lambda i: i.state,
        "instance-type": lambda i: i.instance_type,
        "launch-time": lambda i: i.launch_time,
        "owner-alias": lambda i: (i.image_metadata or {}).get("ImageOwnerAlias"),
        "owner-id": lambda i: i.owner_id,
    },
    highest=1000,
    ids="InstanceIds",
    not_found=("InvalidInstanceID.NotFound", "The instance ID '{}' does not exist"),
    ids_exclude_max_results=True,
)


@added(EC2Response)
def describe_instance_image_metadata(self: Any) -> ActionResult:
    self.error_on_dryrun()
    if unknown := [i for i in self._get_param("InstanceIds") or [] if self.ec2_backend.get_instance_by_id(i) is None]:
        raise errors.instance_not_found(*unknown)
    found = answer(self, METADATA)
    found[METADATA.result] = [_described(instance) for instance in found[METADATA.result]]
    return ActionResult(found)


def _described(instance: Any) -> dict[str, Any]:
    return {
        "InstanceId": instance.id,
        "InstanceType": instance.instance_type,
        "LaunchTime": instance.launch_time,
        "AvailabilityZone": instance.availability_zone,
        "State": {"Code": instance.state_code, "Name": instance.state},
        "OwnerId": instance.owner_id,
        "Tags": tags.as_list(instance),
        "ImageMetadata": instance.image_metadata,
        "Operator": instance.operator,
    }


# Control routes


def _backend() -> EC2Backend:
    return ec2_backends[context.account_id][context.region]


_KNOWN = {
    "name", "owner", "owner_alias", "architecture", "age_seconds", "deprecated", "public", "source_image_id",
    "source_instance_id", "tags", "root_device_type", "platform", "description",
}  # fmt: skip


@route("POST", "images")
def seed_image(body: dict[str, Any]) -> Any:
    if unknown := body.keys() - _KNOWN:
        raise ControlError(f"unknown field {', '.join(sorted(unknown))}; known: {', '.join(sorted(_KNOWN))}")
    backend, owner = _backend(), str(body.get("owner", "self"))
    is_own = owner in ("self", context.account_id)
    owner_id = context.account_id if is_own else _OWNERS.get(owner, owner)
    if len(owner_id) != 12 or not owner_id.isdigit():
        raise ControlError(f'owner {owner!r}: "self", "amazon", "aws-marketplace" or an account id of 12 digits')
    created = utcnow().replace(microsecond=0) - timedelta(seconds=float(body.get("age_seconds", 0)))
    image = Ami(
        backend,
        random_ami_id(),
        name=body["name"],
        description=body.get("description"),
        owner_id=owner_id,
        owner_alias=body.get("owner_alias", owner if owner in _OWNERS else None),
        public=bool(body.get("public", not is_own)),
        virtualization_type="hvm",
        architecture=body.get("architecture", "x86_64"),
        creation_date=created,
        platform=body.get("platform"),
        hypervisor="xen",
        image_location=f"{owner}/{body['name']}",
        root_device_type=body.get("root_device_type", "ebs"),
        root_device_name="/dev/xvda",
        region_name=f"{context.region}a",
    )
    image._deprecated_from = created if body.get("deprecated") else None
    backend.amis[image.id] = image
    if source_id := body.get("source_image_id"):
        if source_id not in backend.amis:
            raise ControlError(f"unknown image {source_id}")
        _remember(backend, image, backend.amis[source_id], context.region)
    image.instance_id = body.get("source_instance_id")
    backend.tags[image.id].update(body.get("tags", {}))
    return {"image_id": image.id}


@route("POST", "images/access")
def set_access(body: dict[str, Any]) -> Any:
    if unknown := body.keys() - {"image_id", "private", "allowed"}:
        raise ControlError(f"unknown field {', '.join(sorted(unknown))}")
    image = _backend().amis.get(body["image_id"])
    if image is None:
        raise ControlError(f"unknown image {body['image_id']}")
    if "private" in body:
        image.launch_permissions = [] if body["private"] else [{"Group": "all"}]
    if "allowed" in body:
        image._allowed = bool(body["allowed"])
    return {}


images.FILTERS.update(
    {
        "image-allowed": lambda i: i.image_allowed,
        "source-image-id": lambda i: i.source_image_id,
        "source-image-region": lambda i: i.source_image_region,
    }
)
