"""IAM, where moto refuses what AWS accepts or accepts what AWS refuses."""

from __future__ import annotations

import json
from typing import Any

from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.models import AWSManagedPolicy, IAMBackend
from moto.iam.policy_validation import BaseIAMPolicyValidator

from emulator.patching import patched


@patched(BaseIAMPolicyValidator)
def _validate_version(original: Any, self: BaseIAMPolicyValidator) -> None:
    """A policy without a version counts as one of 2008-10-17, and SAM writes such policies."""
    if "Version" in self._policy_json:
        original(self)


@patched(IAMBackend)
def attach_role_policy(original: Any, self: IAMBackend, policy_arn: str, role_name: str) -> None:
    """moto knows AWS's managed policies only when it loads all of them (1,300) at each start and reset."""
    if policy_arn.startswith("arn:aws:iam::aws:policy/") and policy_arn not in self.managed_policies:
        name = policy_arn.rsplit("/", 1)[1]
        data = json.loads(aws_managed_policies_data).get(name)
        if data is not None:
            policy = AWSManagedPolicy.from_data(name, self.account_id, self.region_name, data)
            self.managed_policies[policy.arn] = policy
    original(self, policy_arn, role_name)
