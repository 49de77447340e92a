"""EC2 tags: their limits, and a look-up that doesn't scan every tag of the account."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import (
    EC2ClientError,
    EmptyTagSpecError,
    InvalidParameterValueErrorTagNull,
    TagLimitExceeded,
)
from moto.ec2.models import EC2Backend
from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.responses import EC2Response
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix

from emulator.ec2 import errors
from emulator.patching import patched

MAX_TAGS = 50  # tags with the prefix aws: don't count
MAX_KEY_LENGTH = 128
MAX_VALUE_LENGTH = 256
MAX_RESOURCES_PER_CALL = 1000


def of(resource: Any) -> dict[str, str]:
    return resource.ec2_backend.tags.get(resource.id, {})


def as_list(resource: Any) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in of(resource).items()]


def without_reserved(tags: dict[str, str]) -> dict[str, str]:
    """What CopyTagsFromSource copies: a user can't set the tags that AWS reserved for itself (EBS-2)."""
    return {key: value for key, value in tags.items() if not is_reserved(key)}


def is_reserved(key: str) -> bool:
    return key.lower().startswith("aws:")


def check(tags: list[dict[str, Any]]) -> None:
    """Refuse what no user may set."""
    for tag in tags:
        key, value = tag.get("Key") or "", tag.get("Value")
        if not key:
            raise errors.missing_parameter("Key")
        if is_reserved(key):
            raise errors.invalid_value("Tag keys starting with 'aws:' are reserved for internal use")
        if len(key) > MAX_KEY_LENGTH:
            raise errors.invalid_value(f"Tag key exceeds the maximum length of {MAX_KEY_LENGTH} characters")
        if value is not None and len(value) > MAX_VALUE_LENGTH:
            raise errors.invalid_value(f"Tag value exceeds the maximum length of {MAX_VALUE_LENGTH} characters")
    keys = [tag["Key"] for tag in tags]
    for key in keys:
        if keys.count(key) > 1:
            raise errors.invalid_value(f"Duplicate tag key '{key}' specified.")


def check_count(*merged: dict[str, str]) -> None:
    keys = {key for tags in merged for key in tags if not is_reserved(key)}
    if len(keys) > MAX_TAGS:
        raise TagLimitExceeded()


def at_creation(request: Any, *allowed_types: str) -> dict[str, dict[str, str]]:
    """The checked tags of a request's TagSpecifications by resource type, each allowed type present."""
    found: dict[str, dict[str, str]] = {resource_type: {} for resource_type in allowed_types}
    for specification in request._get_param("TagSpecifications") or []:
        resource_type = specification.get("ResourceType")
        if resource_type is None:
            raise errors.invalid_value("Tag specification resource type must have a value")
        if resource_type not in found:
            raise errors.invalid_value(f"'{resource_type}' is not a valid taggable resource type for this operation.")
        tags = specification.get("Tags") or []
        if not tags:
            raise EmptyTagSpecError()
        check(tags)
        found[resource_type] |= {tag["Key"]: tag.get("Value") or "" for tag in tags}
    for tags in found.values():
        check_count(tags)
    return found


@patched(TaggedEC2Resource)
def get_tags(_original: Any, self: Any) -> list[dict[str, str]]:
    """moto reads all tags of the account for each resource: describing 5,000 volumes took 93 s."""
    if not self.id:
        return []
    resource_type = EC2_PREFIX_TO_RESOURCE.get(get_prefix(self.id), "")
    return [
        {"resource_id": self.id, "resource_type": resource_type, "key": key, "value": value}
        for key, value in self.ec2_backend.tags.get(self.id, {}).items()
    ]


@patched(EC2Backend)
def do_resources_exist(original: Any, self: Any, resource_ids: list[str]) -> bool:
    """moto lets unknown instances pass."""
    for resource_id in resource_ids:
        if resource_id.startswith("i-"):
            self.get_instance(resource_id)
    return original(self, resource_ids)


@patched(EC2Response)
def create_tags(original: Any, self: Any) -> ActionResult:
    tags = self._get_param("Tags", [])
    _check_resource_count(self._get_param("Resources", []))
    if not tags:
        raise errors.missing_parameter("tagSet")
    check(tags)
    if any(tag.get("Value") is None for tag in tags):
        raise InvalidParameterValueErrorTagNull()
    return original(self)


@patched(EC2Response)
def delete_tags(original: Any, self: Any) -> ActionResult:
    _check_resource_count(self._get_param("Resources", []))
    check(self._get_param("Tags", []))
    return original(self)


@patched(EC2Response, "_parse_tag_specification")
def parse_tag_specification(original: Any, self: Any, *args: Any, **kwargs: Any) -> dict[str, dict[str, str]]:
    """Every call that creates something with tags goes through here."""
    for specification in self._get_param("TagSpecifications") or []:
        check(specification.get("Tags") or [])
    found = original(self, *args, **kwargs)
    for tags in found.values():
        check_count(tags)
    return found


@patched(EC2Backend, "create_tags")
def add_to_backend(original: Any, self: Any, resource_ids: list[str], tags: dict[str, str]) -> bool:
    """moto counts the reserved tags that a resource has; AWS doesn't."""
    if None in tags.values():
        raise InvalidParameterValueErrorTagNull()
    for resource_id in resource_ids:
        check_count(self.tags.get(resource_id, {}), tags)
    for resource_id in resource_ids:
        self.tags[resource_id].update(tags)
    return True


def _check_resource_count(resource_ids: list[str]) -> None:
    if len(resource_ids) > MAX_RESOURCES_PER_CALL:  # the limit is documented, the words are (assumed)
        raise EC2ClientError(
            "InvalidParameterValue", f"The maximum number of resources per call is {MAX_RESOURCES_PER_CALL}"
        )
