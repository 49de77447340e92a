"""IAM, where moto refuses what AWS accepts or accepts what AWS refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from moto.core.serialize import url_encode
from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.exceptions import NotFoundException
from moto.iam.models import AWSManagedPolicy, IAMBackend, iam_backends
from moto.iam.policy_validation import BaseIAMPolicyValidator
from moto.iam.responses import IamResponse

from emulator.context import context
from emulator.patching import patched


@patched(BaseIAMPolicyValidator)
def _validate_version(original: Any, self: BaseIAMPolicyValidator) -> None:
    """A policy without a version counts as one of 2008-10-17, and SAM writes such policies."""
    if "Version" in self._policy_json:
        original(self)


@patched(IAMBackend)
def get_role(original: Any, self: IAMBackend, role_name: str) -> Any:
    with _words(f"The role with name {role_name} cannot be found."):
        return original(self, role_name)


@patched(IAMBackend)
def get_instance_profile(original: Any, self: IAMBackend, profile_name: str) -> Any:
    with _words(f"Instance Profile {profile_name} cannot be found."):
        return original(self, profile_name)


@contextmanager
def _words(message: str) -> Iterator[None]:
    """SSM-11: moto says that it is not found."""
    try:
        yield
    except NotFoundException:
        raise NotFoundException(message) from None


@lru_cache(maxsize=1)
def _aws_managed() -> dict[str, Any]:
    return json.loads(aws_managed_policies_data)


def find_managed_policy(arn: str) -> Any:
    """A managed policy, the account's own or AWS's; None if there is none.

    moto knows AWS's only when it loads all of them (1,300) at each start and reset.
    """
    backend = iam_backends[context.account_id]["aws"]
    if arn.startswith("arn:aws:iam::aws:policy/") and arn not in backend.managed_policies:
        name = arn.rsplit("/", 1)[1]
        data = _aws_managed().get(name)
        if data is not None:
            policy = AWSManagedPolicy.from_data(name, backend.account_id, backend.region_name, data)
            backend.managed_policies[policy.arn] = policy
    return backend.managed_policies.get(arn)


@patched(IAMBackend)
def attach_role_policy(original: Any, self: IAMBackend, policy_arn: str, role_name: str) -> None:
    find_managed_policy(policy_arn)
    original(self, policy_arn, role_name)


@patched(IAMBackend)
def get_policy(original: Any, self: IAMBackend, policy_arn: str) -> Any:
    find_managed_policy(policy_arn)
    return original(self, policy_arn)


@patched(IAMBackend)
def get_policy_version(original: Any, self: IAMBackend, policy_arn: str, version_id: str) -> Any:
    find_managed_policy(policy_arn)
    return original(self, policy_arn, version_id)


# IAM hands out trust policies URL-encoded, wherever a role is described; moto forgets some places.
for _path in (
    "CreateInstanceProfileResponse.InstanceProfile.Roles.Role",
    "GetInstanceProfileResponse.InstanceProfile.Roles.Role",
    "ListInstanceProfilesResponse.InstanceProfiles.InstanceProfile.Roles.Role",
    "ListInstanceProfilesForRoleResponse.InstanceProfiles.InstanceProfile.Roles.Role",
    "ListRolesResponse.Roles.Role",
    "UpdateRoleDescriptionResponse.Role",
):
    IamResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER[f"{_path}.AssumeRolePolicyDocument"] = url_encode
