"""S3, as far as packages of a deployment need it."""

from __future__ import annotations

import json
from typing import Any

from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket

from emulator import policies
from emulator.context import context
from emulator.patching import patched


@patched(FakeBucket)
def get_permission(original: Any, self: FakeBucket, action: str, resource: str) -> PermissionResult:
    """SAM's bucket refuses requests without TLS; moto ignores the condition and so refuses every request."""
    if self.policy is None:
        return PermissionResult.NEUTRAL
    caller = f"arn:aws:iam::{context.account_id}:root"
    result = policies.evaluate([json.loads(self.policy)], action, resource, {}, principal=caller)
    return {policies.ALLOW: PermissionResult.PERMITTED, policies.DENY: PermissionResult.DENIED}.get(
        result, PermissionResult.NEUTRAL
    )
