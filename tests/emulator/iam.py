"""IAM, where moto refuses what AWS accepts or accepts what AWS refuses."""

from __future__ import annotations

from typing import Any

from moto.iam.policy_validation import BaseIAMPolicyValidator

from emulator.patching import patched


@patched(BaseIAMPolicyValidator)
def _validate_version(original: Any, self: BaseIAMPolicyValidator) -> None:
    """A policy without a version counts as one of 2008-10-17, and SAM writes such policies."""
    if "Version" in self._policy_json:
        original(self)
