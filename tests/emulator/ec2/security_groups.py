"""Security groups: revoked all or nothing, and not deleted while something has them."""

from __future__ import annotations

import time
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError, InvalidPermissionNotFoundError
from moto.ec2.models.security_groups import SecurityGroup
from moto.ec2.responses import EC2Response

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
