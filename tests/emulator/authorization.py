"""Functions may do only what their role's policies allow, conditions included, so that a missing permission shows.

Calls of the client are always allowed: it stands for an administrator. authorization_ec2.py and
authorization_services.py know which resources and condition keys AWS passes for each operation (Service Authorization
Reference); an operation that neither knows is none that a function can call here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from emulator import permissions
from emulator.aws_request import AwsError, AwsRequest
from emulator.callers import Environment
from emulator.context import context
from emulator.settings import settings


@dataclass
class Check:
    """One thing that must be allowed for the call to be made."""

    action: str
    resource: str
    keys: dict[str, Any] = field(default_factory=dict)


_PREFIXES = {"cloudwatch": "cloudwatch", "elbv2": "elasticloadbalancing"}
_ALWAYS_ALLOWED = {("sts", "GetCallerIdentity")}


def check(request: AwsRequest, environment: Environment | None) -> None:
    """Raises the service's own error when the caller's role doesn't allow the call. The caller holds the lock."""
    role_arn = environment.role_arn if environment else None
    if (
        role_arn is None
        or not settings.enforce_role_policies
        or (request.service, request.operation) in _ALWAYS_ALLOWED
    ):
        return
    resources = _RESOURCES.get((request.service, request.operation))
    if resources is None:
        raise NotImplementedError("authorization_ec2.py and authorization_services.py don't know its resources")
    role = permissions.find_role(role_arn)
    prefix = _PREFIXES.get(request.service, request.service)
    action = f"{prefix}:{_ACTION_NAMES.get((request.service, request.operation), request.operation)}"
    context.asked_region = request.region or context.region
    common = {
        "aws:RequestedRegion": context.asked_region,
        "aws:PrincipalArn": role_arn,
        "aws:PrincipalAccount": context.account_id,
        **({"ec2:Region": context.asked_region} if request.service == "ec2" else {}),
    }
    for wanted in resources(request, action):
        if role is None or not permissions.may(role, wanted.action, wanted.resource, common | wanted.keys):
            _refuse(request, role_arn, environment, wanted)


def _refuse(request: AwsRequest, role_arn: str, environment: Environment | None, wanted: Check) -> None:
    assert environment is not None
    role_name = role_arn.rsplit("/", 1)[1]
    user = f"arn:aws:sts::{context.account_id}:assumed-role/{role_name}/{environment.function_name}"
    detail = (
        f"User: {user} is not authorized to perform: {wanted.action} on resource: {wanted.resource} "
        f"because no identity-based policy allows the {wanted.action} action"
    )
    if request.service == "ec2":
        message = f"You are not authorized to perform this operation. {detail}"
        raise AwsError("UnauthorizedOperation", message, 403)
    if request.service == "sns":
        raise AwsError("AuthorizationError", detail, 403)
    if request.protocol in ("query", "rest-xml"):
        raise AwsError("AccessDenied", detail, 403)
    raise AwsError("AccessDeniedException", detail, 403 if request.protocol == "rest-json" else 400)


_ACTION_NAMES = {("lambda", "Invoke"): "InvokeFunction"}

Resources = Callable[[AwsRequest, str], Iterator[Check]]
_RESOURCES: dict[tuple[str, str], Resources] = {}


def resources_of(service: str, *operations: str) -> Callable[[Resources], Resources]:
    def register(function: Resources) -> Resources:
        for name in operations:
            _RESOURCES[service, name] = function
        return function

    return register


def request_tags(tags: list[dict[str, str]]) -> dict[str, Any]:
    """The condition keys of tags in a request."""
    if not tags:
        return {}
    values = {f"aws:RequestTag/{tag['Key']}": tag.get("Value", "") for tag in tags}
    return values | {"aws:TagKeys": [tag["Key"] for tag in tags]}


def may_write_logs(role_arn: str, group: str, stream: str, creates_group: bool) -> bool:
    """Lambda writes a function's output with its role; without the permission it is lost without a word."""
    role = permissions.find_role(role_arn) if settings.enforce_role_policies else None
    if role is None:
        return not settings.enforce_role_policies
    arn = f"arn:aws:logs:{context.region}:{context.account_id}:log-group:{group}"
    wanted = [
        Check("logs:CreateLogStream", f"{arn}:log-stream:{stream}"),
        Check("logs:PutLogEvents", f"{arn}:log-stream:{stream}"),
    ]
    if creates_group:
        wanted.append(Check("logs:CreateLogGroup", f"{arn}:*"))
    return all(permissions.may(role, w.action, w.resource, {}) for w in wanted)
