"""The transform AWS::Serverless-2016-10-31, by the translator that AWS itself runs (aws-sam-translator)."""

from __future__ import annotations

import copy
import functools
from typing import Any

from emulator.aws_request import AwsError

TRANSFORM = "AWS::Serverless-2016-10-31"


class TransformFailed(AwsError):
    def __init__(self, message: str) -> None:
        super().__init__("ValidationError", message)


class _ManagedPolicies:
    """Names of AWS managed policies and their ARNs, for roles that SAM makes."""

    @staticmethod
    @functools.cache
    def _all() -> dict[str, str]:
        import json

        from moto.iam.aws_managed_policies import aws_managed_policies_data

        return {name: policy["Arn"] for name, policy in json.loads(aws_managed_policies_data).items()}

    def load(self) -> dict[str, str]:
        return self._all()


def names_transform(template: dict[str, Any]) -> list[str]:
    transforms = template.get("Transform") or []
    return [transforms] if isinstance(transforms, str) else list(transforms)


def transform(template: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """The processed template; unchanged if it names no transform."""
    names = names_transform(template)
    if unknown := [name for name in names if name != TRANSFORM]:
        raise TransformFailed(f"No transform named {', '.join(map(str, unknown))} found.")
    if not names:
        return template
    from samtranslator.model.exceptions import InvalidDocumentException
    from samtranslator.translator.transform import transform as translate

    declared = template.get("Parameters") or {}
    values = {name: value for name, value in parameters.items() if name in declared}
    try:
        processed = translate(copy.deepcopy(template), values, _ManagedPolicies())
    except InvalidDocumentException as error:
        causes = " ".join(cause.message for cause in error.causes)
        raise TransformFailed(
            f"Transform {TRANSFORM} failed with: Invalid Serverless Application Specification document. "
            f"Number of errors found: {len(error.causes)}. {causes}"
        ) from error
    processed.pop("Transform", None)
    return processed
