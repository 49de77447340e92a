"""What moto's Lambda forgets or takes without a look when functions are created and changed."""

from __future__ import annotations

import re
from typing import Any

from moto.awslambda.models import LambdaBackend, LambdaFunction

from emulator import permissions
from emulator.aws_request import AwsError
from emulator.patching import patched
from emulator.settings import settings

RESERVED_VARIABLES = frozenset(
    {
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SECRET_KEY",
        "AWS_SESSION_TOKEN",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
        "TZ",
    }
)
MAX_VARIABLES_BYTES = 4096


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidParameterValueException", message)


def _check(spec: dict[str, Any]) -> None:
    """What Lambda refuses before anything is created."""
    variables = (spec.get("Environment") or {}).get("Variables") or {}
    if reserved := sorted(RESERVED_VARIABLES & variables.keys()):
        raise _invalid(
            "Lambda was unable to configure your environment variables because the environment variables you have "
            "provided contains reserved keys that are currently not supported for modification. "
            f"Reserved keys used in this request: {', '.join(reserved)}"
        )
    if sum(len(k.encode()) + len(str(v).encode()) for k, v in variables.items()) > MAX_VARIABLES_BYTES:
        raise _invalid(
            "Lambda was unable to configure your environment variables because the environment variables you have "
            "provided exceeded the 4KB limit."
        )
    if "Role" in spec:
        _check_role(spec["Role"])
    runtime = spec.get("Runtime")
    if runtime is not None and not runtime.startswith("provided."):
        raise _invalid(f"the emulator runs only functions of runtime provided.*, not {runtime}")
    for name, lowest, highest in (("Timeout", 1, 900), ("MemorySize", 128, 10240)):
        if name in spec and not lowest <= int(spec[name]) <= highest:
            raise _invalid(f"'{name}' value must be from {lowest} to {highest}, not {spec[name]}")


def _check_role(arn: str) -> None:
    """Lambda assumes the role once when the function is created, and refuses one that doesn't let it."""
    if not re.fullmatch(r"arn:aws:iam::\d{12}:role/[\w+=,.@/-]+", arn):
        raise AwsError("ValidationException", f"Value '{arn}' at 'role' failed to satisfy constraint: a role's ARN")
    if not permissions.trusts(arn, "lambda.amazonaws.com"):
        raise _invalid("The role defined for the function cannot be assumed by Lambda.")


@patched(LambdaBackend)
def put_function_concurrency(
    original: Any, self: LambdaBackend, function_name: str, reserved_concurrency: str
) -> str:
    """Lambda keeps 100 of the account's quota for functions that reserve nothing, and all of a smaller quota (SAM-5)."""
    wanted = self.get_function(function_name)
    others = sum(int(f.reserved_concurrency or 0) for f in self.list_functions() if f is not wanted)
    least = min(100, settings.concurrency_limit)
    if settings.concurrency_limit - others - int(reserved_concurrency) < least:
        raise _invalid(
            "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution "
            f"below its minimum value of [{least}]."
        )
    return original(self, function_name, reserved_concurrency)


@patched(LambdaBackend)
def create_function(original: Any, self: LambdaBackend, spec: dict[str, Any]) -> LambdaFunction:
    _check(spec)
    function = original(self, spec)
    _keep(function, spec)
    return function


@patched(LambdaFunction)
def update_configuration(original: Any, self: LambdaFunction, config_updates: dict[str, Any]) -> dict[str, Any]:
    _check(config_updates)
    _keep(self, config_updates)
    if "TracingConfig" in config_updates:
        self.tracing_config = config_updates["TracingConfig"]
    return original(self, config_updates)


def _keep(function: LambdaFunction, spec: dict[str, Any]) -> None:
    """moto drops it; without it the logs go to the wrong group."""
    if "LoggingConfig" in spec:
        function.logging_config = spec["LoggingConfig"]


@patched(LambdaFunction)
def get_configuration(original: Any, self: LambdaFunction, on_create: bool = False) -> dict[str, Any]:
    configuration = original(self, on_create)
    logging = getattr(self, "logging_config", None) or {}
    configuration["LoggingConfig"] = {"LogFormat": "Text", "LogGroup": self.logs_group_name} | logging
    return configuration


@patched(LambdaBackend)
def put_function_event_invoke_config(
    original: Any, self: LambdaBackend, function_name: str, config: dict[str, Any]
) -> dict[str, Any]:
    """A put replaces the configuration; moto keeps answering with the first one ever put."""
    self.get_function(function_name).event_invoke_config.clear()
    return original(self, function_name, config)
