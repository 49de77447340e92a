"""With which role an agent reports to Systems Manager, and what that role lets it do.

In the order of the agent (ec2roleprovider): the instance profile's role; only when there is none or it is denied,
Default Host Management (SSM-4). A network failure with the profile's role keeps Default Host Management out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from moto.iam.models import iam_backends

from emulator import permissions, policies
from emulator.context import context
from emulator.ec2 import profiles
from emulator.ssm import reachability, service_settings
from emulator.ssm.reachability import Path, Unreachable

REGISTER = "ssm:UpdateInstanceInformation"
# What the two kinds of message channel need (SSM-5). One that works is enough to be reached.
CHANNELS = {
    "ssmmessages": ("ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel"),
    "ec2messages": ("ec2messages:GetMessages",),
}


class NoCredentials(Exception):
    """No role lets the agent in: it sleeps long before it tries again (SSM-1). In the agent's words."""


class Denied(Exception):
    pass


@dataclass(frozen=True)
class Session:
    role: Any
    source: str
    """`instance profile` or `default host management`."""


def open_session(instance: Any) -> Session:
    """Reports to Systems Manager, or raises NoCredentials or Unreachable in the agent's words."""
    if instance.metadata_options.http_endpoint == "disabled":
        raise NoCredentials("failed to fetch instance ID. EC2MetadataError: failed to make EC2Metadata request")
    try:
        return Session(_report(instance, _role_of_profile(instance)), "instance profile")
    except Unreachable as error:
        raise Unreachable(
            "unexpected error getting instance profile role credentials or calling UpdateInstanceInformation. Skipping "
            "default host management fallback: retrieved credentials failed to report to ssm. "
            f"Error: {_request_error(error)}",
            error.why,
        ) from error
    except Denied:
        pass
    try:
        return Session(_report(instance, _role_of_host_management(instance)), "default host management")
    except (Denied, Unreachable) as error:
        cause = _request_error(error) if isinstance(error, Unreachable) else str(error)
        raise NoCredentials(
            "no valid credentials could be retrieved for ec2 identity. Default Host Management Err: error calling "
            f"RequestManagedInstanceRoleToken: {cause}"
        ) from error


def _request_error(error: Unreachable) -> str:
    host = f"ssm.{context.region}.amazonaws.com"
    return f'RequestError: send request failed\ncaused by: Post "https://{host}/": {error}'


def _role_of_profile(instance: Any) -> Any:
    profile = profiles.of(instance)
    role = profile.roles[0] if profile is not None and profile.roles else None
    # The metadata service has no credentials of a role that EC2 can't assume.
    if role is None or not permissions.trusts(role.arn, "ec2.amazonaws.com"):
        raise Denied("EC2RoleRequestError: no EC2 instance role found")
    return role


def _role_of_host_management(instance: Any) -> Any:
    reachability.path(instance, "ssm")
    name = service_settings.default_host_management_role()
    if name is None:
        raise Denied(
            "AccessDeniedException: Systems Manager's instance management role is not configured for account: "
            f"{context.account_id}\n\tstatus code: 400"
        )
    role = iam_backends[context.account_id]["aws"].roles
    found = next((r for r in role.values() if r.name == name.rsplit("/", 1)[-1]), None)
    if found is None or not permissions.trusts(found.arn, "ssm.amazonaws.com"):  # the words are (assumed)
        raise Denied(f"AccessDeniedException: Systems Manager can't assume the instance management role {name}")
    return found


def _report(instance: Any, role: Any) -> Any:
    check(instance, role, REGISTER, reachability.path(instance, "ssm"))
    return role


def check(instance: Any, role: Any, action: str, way: Path, resource: str | None = None) -> None:
    """Raises Denied unless the role's policies, and those of the endpoint on the way, allow the action."""
    arn = f"arn:aws:ec2:{context.region}:{context.account_id}:instance/{instance.id}"
    resource = resource or (arn if action == REGISTER else "*")
    keys = {
        "aws:PrincipalArn": role.arn,
        "aws:PrincipalAccount": context.account_id,
        "aws:RequestedRegion": context.region,
        "ec2:SourceInstanceARN": arn,
        "ssm:SourceInstanceARN": arn,
        "aws:SourceVpc": instance.vpc_id,
    }
    reason = None
    if permissions.decide(role, action, resource, keys) != policies.ALLOW:
        reason = f"because no identity-based policy allows the {action} action"
    elif way.endpoint is not None and way.endpoint.policy_document:
        document = json.loads(way.endpoint.policy_document)
        allowed = policies.evaluate(
            [document], action, resource, keys | {"aws:SourceVpce": way.endpoint.id}, principal=role.arn
        )
        if allowed != policies.ALLOW:
            reason = f"because no VPC endpoint policy allows the {action} action"
    if reason:
        user = f"arn:aws:sts::{context.account_id}:assumed-role/{role.name}/{instance.id}"
        raise Denied(
            f"AccessDeniedException: User: {user} is not authorized to perform: {action} on resource: {resource} "
            f"{reason}\n\tstatus code: 400"
        )


def channel(instance: Any, session: Session) -> str | None:
    """Why nobody can reach the node though it may be Online (SSM-4); None: one kind of channel works."""
    reasons = []
    for service, actions in CHANNELS.items():
        try:
            way = reachability.path(instance, service)
            for action in actions:
                check(instance, session.role, action, way)
            return None
        except Unreachable as error:
            reasons.append(f"{service}: {error} ({error.why})")
        except Denied as error:
            reasons.append(f"{service}: {error}")
    return "; ".join(reasons)


def session_channel(instance: Any, session: Session) -> str | None:
    """Why Session Manager can't reach the node: it needs ssmmessages, whatever else works; None: it can."""
    try:
        way = reachability.path(instance, "ssmmessages")
        for action in CHANNELS["ssmmessages"]:
            check(instance, session.role, action, way)
        return None
    except (Unreachable, Denied) as error:
        return f"ssmmessages: {error}"
