"""Security groups: rules of networks that exist, added and revoked all or nothing; not deleted while something has
them; in a shared VPC also those of its owner.
"""

from __future__ import annotations

import time
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError, InvalidPermissionNotFoundError
from moto.ec2.models import ec2_backends
from moto.ec2.models.security_groups import SecurityGroup
from moto.ec2.responses import EC2Response

from emulator.context import context
from emulator.control import ControlError, route
from emulator.patching import patched
from emulator.settings import settings

MAX_NAME = 255


@patched(SecurityGroup, "__init__")
def visible_later(original: Any, self: Any, *args: Any, **kwargs: Any) -> None:
    original(self, *args, **kwargs)
    self._visible_from = time.monotonic() + settings.security_group_visibility_delay_seconds


def is_visible(group: Any) -> bool:
    """Whether EC2 knows a new group everywhere yet."""
    return time.monotonic() >= group._visible_from


@route("POST", "network/groups")
def own_group(body: dict[str, Any]) -> Any:
    """{"group": "sg-…", "owner": "222233334444", "shared"?: true}: the group is another account's, the owner's of a
    shared VPC; unless it is shared too (RAM), it isn't shown here and can't be given to an interface.
    """
    group = ec2_backends[context.account_id][context.region].get_security_group_from_id(body["group"])
    if group is None:
        raise ControlError(f"no such group {body['group']}")
    group.owner_id, group.is_shared = body["owner"], body.get("shared", True)
    return {}


def is_usable(group: Any) -> bool:
    """Whether this account may give it to its interfaces."""
    return group.owner_id == context.account_id or getattr(group, "is_shared", True)


def refuse_foreign(group: Any) -> None:
    """Whom a group is shared with may use it, but change nothing of it; the words are (assumed)."""
    if group.owner_id != context.account_id:
        raise EC2ClientError("UnauthorizedOperation", "You are not authorized to perform this operation.")


@patched(EC2Response)
def create_security_group(original: Any, self: Any) -> ActionResult:
    backend, name = self.ec2_backend, self._get_param("GroupName") or ""
    vpc_id = self._get_param("VpcId") or (backend.default_vpc.id if backend.default_vpc else None)
    if vpc_id not in backend.vpcs:
        raise EC2ClientError("InvalidVpcID.NotFound", f"The vpc ID '{vpc_id}' does not exist")
    if name.startswith("sg-") or not 1 <= len(name) <= MAX_NAME:
        raise EC2ClientError("InvalidParameterValue", f"Value ({name}) for parameter GroupName is invalid.")
    if any(group.name.lower() == name.lower() for group in backend.groups[vpc_id].values()):
        # moto's words lack the VPC, and its look-up takes names for ids.
        raise EC2ClientError(
            "InvalidGroup.Duplicate", f"The security group '{name}' already exists for VPC '{vpc_id}'"
        )
    return original(self)


@patched(EC2Response)
def delete_security_group(original: Any, self: Any) -> ActionResult:
    backend, group_id = self.ec2_backend, self._get_param("GroupId")
    group = backend.get_security_group_from_id(group_id) if group_id else None
    if group is not None:
        if group.is_default:
            raise EC2ClientError(
                "CannotDelete", f'the specified group: "{group.id}" name: "default" cannot be deleted by a user'
            )
        on_interface = any(group in interface._group_set for interface in backend.enis.values())
        in_rule = any(
            rule.source_group.get("GroupId") == group.id
            for groups in backend.groups.values()
            for other in groups.values()
            if other is not group
            for rule in (*other.ingress_rules, *other.egress_rules)
        )
        if on_interface or in_rule:
            raise EC2ClientError("DependencyViolation", f"resource {group.id} has a dependent object")
    return original(self)


@patched(EC2Response)
def authorize_security_group_ingress(original: Any, self: Any) -> ActionResult:
    """All rules or none, each in AWS's own form, and only groups that the VPC knows."""
    backend, group_id = self.ec2_backend, self._get_param("GroupId")
    group = backend.get_security_group_from_id(group_id) if group_id else None
    if group is None or not is_visible(group):
        if group_id:
            raise EC2ClientError("InvalidGroup.NotFound", f"The security group '{group_id}' does not exist")
        return original(self)
    refuse_foreign(group)
    for permission in self._get_param("IpPermissions") or []:
        for pair in permission.get("UserIdGroupPairs") or []:
            source = backend.get_security_group_from_id(pair.get("GroupId") or "")
            if source is None:
                raise EC2ClientError(
                    "InvalidGroup.NotFound", f"The security group '{pair.get('GroupId')}' does not exist"
                )
            if source.vpc_id != group.vpc_id:
                raise EC2ClientError(
                    "InvalidGroup.NotFound", "You have specified two resources that belong to different networks."
                )
    before = list(group.ingress_rules)
    try:
        return original(self)
    except EC2ClientError:
        group.ingress_rules = before
        raise


@patched(EC2Response)
def revoke_security_group_egress(original: Any, self: Any) -> ActionResult:
    return _revoke(self, original, "egress_rules")


@patched(EC2Response)
def revoke_security_group_ingress(original: Any, self: Any) -> ActionResult:
    return _revoke(self, original, "ingress_rules")


def _revoke(request: Any, original: Any, kind: str) -> ActionResult:
    """All named rules, or none of them; moto has revoked some when it finds that another doesn't exist."""
    backend, group_id = request.ec2_backend, request._get_param("GroupId")
    group = backend.get_security_group_from_id(group_id) if group_id else None
    if group is None or not is_visible(group):
        if group_id:
            raise EC2ClientError("InvalidGroup.NotFound", f"The security group '{group_id}' does not exist")
        return original(request)
    refuse_foreign(group)
    before = list(getattr(group, kind))
    if wanted := request._get_param("SecurityGroupRuleIds"):
        if unknown := set(wanted) - {rule.id for rule in before}:
            raise EC2ClientError(
                "InvalidSecurityGroupRuleId.NotFound",
                f"The security group rule ID '{sorted(unknown)[0]}' does not exist",
            )
    try:
        return original(request)
    except InvalidPermissionNotFoundError:
        setattr(group, kind, before)
        raise
