"""One handler per resource type.

A handler creates, updates and deletes a resource through its service's API, so that the service's own checks apply.
A property that a handler doesn't name fails the stack: better than a deployment that silently lacks it.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from emulator import callers
from emulator.context import context


class ResourceFailed(Exception):
    pass


@dataclass
class ResourceContext:
    stack_name: str
    stack_id: str
    logical_id: str
    stack_tags: dict[str, str]

    def physical_name(self, limit: int = 255) -> str:
        """A name as CloudFormation makes it up: STACK-LOGICALID-RANDOM, cut to the service's limit."""
        suffix = "".join(random.choices(string.ascii_uppercase + string.digits, k=12))
        return f"{self.stack_name}-{self.logical_id}"[: limit - 13] + f"-{suffix}"

    def tags(self, properties: dict[str, Any]) -> dict[str, str]:
        """The stack's tags and the resource's own, which win. (AWS adds aws:cloudformation:* itself; moto's services
        refuse or would show those as a user's, so they are left out.)"""
        own = properties.get("Tags") or {}
        if isinstance(own, list):
            own = {tag["Key"]: tag["Value"] for tag in own}
        return self.stack_tags | own

    def tag_list(self, properties: dict[str, Any]) -> list[dict[str, str]]:
        return [{"Key": key, "Value": value} for key, value in self.tags(properties).items()]


class Handler:
    type: ClassVar[str]
    properties: ClassVar[frozenset[str]]
    """Every property that the handler carries out."""
    required: ClassVar[frozenset[str]] = frozenset()
    replaced_by: ClassVar[frozenset[str]] = frozenset()
    """Properties whose change needs a new resource."""

    def check(self, properties: dict[str, Any]) -> None:
        if unhandled := sorted(properties.keys() - self.properties):
            raise ResourceFailed(
                f"the emulator doesn't handle {', '.join(unhandled)} of {self.type}: "
                "add it to the handler, so that no property of a template is silently ignored"
            )
        if missing := sorted(self.required - properties.keys()):
            raise ResourceFailed(f"Properties validation failed for resource: required key [{missing[0]}] not found")

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Returns the physical id and the attributes for Fn::GetAtt."""
        raise NotImplementedError

    def update(
        self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Change in place; returns new attributes if they changed."""
        raise NotImplementedError

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        """Run `unless_gone`."""
        raise NotImplementedError


class Put(Handler):
    """What one call of `put` creates, and changes in place."""

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        self.put(properties)
        return ctx.physical_name(), {}

    def update(self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        self.put(new)

    def put(self, properties: dict[str, Any]) -> None:
        raise NotImplementedError


def is_not_found(error: ClientError) -> bool:
    return bool(re.search("NotFound|NoSuch|NonExistent", error.response["Error"]["Code"]))


@contextmanager
def unless_gone() -> Iterator[None]:
    """A resource that is gone already counts as deleted."""
    try:
        yield
    except ClientError as error:
        if not is_not_found(error):
            raise


_clients: dict[tuple[str, str], Any] = {}


def client(service: str) -> Any:
    """A client of the emulator's own API, as CloudFormation calls the services."""
    key = context.endpoint, service
    if key not in _clients:
        _clients[key] = _new_client(service)
    return _clients[key]


def forget_clients() -> None:
    """Close their connections."""
    for each in _clients.values():
        each.close()
    _clients.clear()


def _new_client(service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=context.endpoint,
        region_name=context.region,
        aws_access_key_id=callers.CLOUDFORMATION_KEY,
        aws_secret_access_key="emulator",
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


_handlers: dict[str, Handler] = {}


def handles(cls: type[Handler]) -> type[Handler]:
    _handlers[cls.type] = cls()
    return cls


def handler_for(resource_type: str) -> Handler:
    handler = _handlers.get(resource_type)
    if handler is None:
        raise ResourceFailed(f"the emulator doesn't handle resource type {resource_type}: add a handler for it")
    return handler


def chosen(properties: dict[str, Any], *names: str) -> dict[str, Any]:
    """The named properties that are there."""
    return {name: properties[name] for name in names if name in properties}


def integers(properties: dict[str, Any], *names: str) -> dict[str, Any]:
    """Template parameters are text; the API wants numbers."""
    return {name: int(properties[name]) for name in names if name in properties}


def boolean(value: Any) -> bool:
    return str(value).lower() == "true"


def target(properties: dict[str, Any]) -> dict[str, Any]:
    """A target of a rule or schedule."""
    if "RetryPolicy" not in properties:
        return properties
    return properties | {"RetryPolicy": integers(properties["RetryPolicy"], *properties["RetryPolicy"])}


# Imported for the handlers that they register.
from emulator.cloudformation.resources import (  # noqa: E402, F401
    cloudwatch,
    iam,
    lambda_,
    messaging,
    nested,
    other,
    schedules,
    tables,
)
