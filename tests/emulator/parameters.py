"""SSM's Parameter Store: the sizes of its tiers, and parameters that AWS publishes."""

from __future__ import annotations

import inspect
import re
import time
from typing import Any

from moto.core.responses import ActionResult
from moto.ssm.exceptions import InvalidResourceId, ParameterNotFound
from moto.ssm.models import Parameter, SimpleSystemManagerBackend, ssm_backends
from moto.ssm.responses import SimpleSystemManagerResponse

from emulator import control
from emulator.aws_request import AwsError
from emulator.context import context
from emulator.patching import patched

STANDARD_BYTES = 4096
ADVANCED_BYTES = 8192
MAX_NAMES = 10
"""Of one GetParameters."""


@patched(ParameterNotFound, "__init__")
@patched(InvalidResourceId, "__init__")
def without_message(original: Any, self: Any, *arguments: Any) -> None:
    """Systems Manager answers these by their code alone (SSM-10); moto writes a sentence."""
    original(self, *arguments)
    self.message = None


@patched(ParameterNotFound, "__str__")
@patched(InvalidResourceId, "__str__")
def as_text(_original: Any, _self: Any) -> str:
    """What moto answers where there is no message."""
    return ""


@patched(SimpleSystemManagerBackend)
def put_parameter(original: Any, *arguments: Any, **keywords: Any) -> Parameter:
    """moto takes any value, of any size, and calls Intelligent-Tiering a tier of the stored parameter."""
    call = inspect.signature(original).bind(*arguments, **keywords)
    parameters = call.arguments
    size = len((parameters["value"] or "").encode())
    tier = parameters.get("tier") or parameters["self"].default_parameter_tier
    if tier == "Intelligent-Tiering":
        tier = "Standard" if size <= STANDARD_BYTES and not parameters.get("policies") else "Advanced"
    limit = ADVANCED_BYTES if tier == "Advanced" else STANDARD_BYTES
    if size > limit:
        advice = (
            ""
            if tier == "Advanced"
            else " To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier."
        )
        raise AwsError(
            "ValidationException",
            f"{tier} tier parameters support a maximum parameter value of {limit} characters.{advice}",
        )
    if re.search(r"\{\{.*\}\}", parameters["value"]):
        raise AwsError(
            "ValidationException",
            'Parameter value can\'t nest another parameter. Do not use "{{}}" in the value.',
        )
    parameters["tier"] = tier
    return original(**parameters)


@control.route("POST", "parameters")
def seed(body: dict[str, Any]) -> Any:
    """{"name": NAME, "value": TEXT}: a new version of a parameter, also of one that AWS publishes (/aws/service/…)."""
    name = body["name"]
    known = ssm_backends[context.account_id][context.region]._parameters
    versions = known[name]
    versions.append(
        Parameter(
            account_id=context.account_id,
            name=name,
            value=body["value"],
            parameter_type="String",
            description="",
            allowed_pattern=None,
            keyid=None,
            last_modified_date=time.time(),
            version=versions[-1].version + 1 if versions else 1,
            data_type="aws:ec2:image" if body["value"].startswith("ami-") else "text",
            tier="Standard",
        )
    )
    return {"version": versions[-1].version}


@patched(SimpleSystemManagerResponse)
def get_parameters(_original: Any, self: SimpleSystemManagerResponse) -> ActionResult:
    """moto answers any number of names, and tells no selector."""
    names = self._get_param("Names")
    if not 1 <= len(names) <= MAX_NAMES:
        raise AwsError(
            "ValidationException",
            f"1 validation error detected: Value '{names}' at 'names' failed to satisfy constraint: Member must have "
            f"length less than or equal to {MAX_NAMES}",
        )
    if len(names) != len(set(names)):
        raise AwsError("ValidationException", "Duplicate parameter names are not allowed.")  # (assumed)
    found, missing = [], []
    for name in names:
        if parameter := self.ssm_backend.get_parameters([name]).get(name):
            found.append(_selected(parameter.response_object(self._get_param("WithDecryption"), self.region), name))
        else:
            missing.append(name)
    return ActionResult({"Parameters": found, "InvalidParameters": missing})


@patched(SimpleSystemManagerResponse)
def get_parameter(original: Any, self: SimpleSystemManagerResponse) -> ActionResult:
    answer = original(self)
    _selected(answer.result["Parameter"], self._get_param("Name"))
    return answer


def _selected(described: dict[str, Any], asked: str) -> dict[str, Any]:
    """Name and ARN are the parameter's own; the version or label that was asked for stands apart from them."""
    for own in (described["ARN"], described["Name"]):
        if asked.startswith(f"{own}:"):
            described["Selector"] = asked.removeprefix(own)
    return described
