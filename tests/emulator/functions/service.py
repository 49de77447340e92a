"""The Lambda API of moto, tied to functions that really run."""

from __future__ import annotations

import base64
import functools
import glob
import io
import json
import os
import shutil
import tempfile
import uuid
import zipfile
from typing import Any

from moto.awslambda.models import LambdaAlias, LambdaBackend, LambdaFunction, lambda_backends

from emulator import callers, metrics
from emulator.aws_request import AwsError, AwsRequest, Response
from emulator.context import context
from emulator.functions import asynchronous, pool
from emulator.functions.environment import Configuration, Outcome
from emulator.functions.invocations import Invocation, active, record
from emulator.operations import operation
from emulator.patching import patched

MAX_SYNC_PAYLOAD = 6 * 1024 * 1024
MAX_ASYNC_PAYLOAD = 1024 * 1024
LOG_TAIL_BYTES = 4096

_CODE_FOLDER = "emulator-code-"


@functools.cache
def _code_root() -> str:
    """A temporary folder for the functions' code, made when it is first needed."""
    _remove_abandoned_code()
    return tempfile.mkdtemp(prefix=f"{_CODE_FOLDER}{os.getpid()}-")


def _remove_abandoned_code() -> None:
    """An emulator that was killed couldn't remove its folder; the next one does."""
    for path in glob.glob(os.path.join(tempfile.gettempdir(), f"{_CODE_FOLDER}*-*")):
        pid = os.path.basename(path).removeprefix(_CODE_FOLDER).split("-")[0]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}") and os.path.isdir("/proc/self"):
            shutil.rmtree(path, ignore_errors=True)


def unpack_all() -> None:
    """Before copies are made, which then share it."""
    for function in lambda_backends[context.account_id][context.region].list_functions():
        _task_root(function)


def remove_code() -> None:
    """At the emulator's end; a copy of another leaves it to that one."""
    if _code_root.cache_info().currsize and f"{_CODE_FOLDER}{os.getpid()}-" in _code_root():
        shutil.rmtree(_code_root(), ignore_errors=True)


class FunctionNotFound(Exception):
    pass


def find(function_arn: str) -> LambdaFunction:
    """A function by name or ARN, with $LATEST or an alias that it has. The caller holds the lock."""
    name, _, qualifier = function_arn.split(":function:")[-1].partition(":")
    backend = lambda_backends[context.account_id][context.region]
    for function in backend.list_functions():
        if function.function_name == name and (qualifier in ("", "$LATEST") or qualifier in _aliases(name)):
            return function
    raise FunctionNotFound(f"Function not found: {function_arn}")


def _aliases(function_name: str) -> dict[str, LambdaAlias]:
    return {a.name: a for a in lambda_backends[context.account_id][context.region].list_aliases(function_name)}


def invoked_as(function: LambdaFunction, function_arn: str, qualifier: str | None = None) -> str:
    """The ARN that a function is told it was invoked by: its own, or that of the alias. The caller holds the lock."""
    named = function_arn.split(":function:")[-1].partition(":")[2]
    if qualifier and named and qualifier != named:
        raise FunctionNotFound("The derived qualifier from the function name does not match the specified qualifier.")
    alias = qualifier or named
    if alias in ("", "$LATEST"):
        return function.function_arn
    if alias not in _aliases(function.function_name):
        raise FunctionNotFound(f"Function not found: {function.function_arn}:{alias}")
    return f"{function.function_arn}:{alias}"


def configuration_of(function: LambdaFunction) -> Configuration:
    logging = getattr(function, "logging_config", None) or {}
    return Configuration(
        function_name=function.function_name,
        function_arn=function.function_arn,
        role_arn=function.role,
        handler=function.handler or "bootstrap",
        memory_mb=int(function.memory_size),
        timeout_seconds=float(function.timeout),
        variables=tuple(sorted((function.environment_vars or {}).items())),
        code_sha256=function.code_sha_256,
        task_root=_task_root(function),
        log_group=logging.get("LogGroup") or function.logs_group_name,
        log_format=logging.get("LogFormat", "Text"),
        # Lambda's own default is INFO; with Text there is no level.
        log_level=logging.get("ApplicationLogLevel", "INFO") if logging.get("LogFormat") == "JSON" else None,
    )


def _task_root(function: LambdaFunction) -> str:
    """The function's code, unpacked once for all its environments: Lambda's /var/task is read-only too."""
    name = base64.urlsafe_b64encode(function.code_sha_256.encode()).decode()[:40]
    path = os.path.join(_code_root(), name)
    if not os.path.isdir(path):
        unpacked = tempfile.mkdtemp(dir=_code_root())
        with zipfile.ZipFile(io.BytesIO(function.code_bytes)) as archive:
            for entry in archive.infolist():
                extracted = archive.extract(entry, unpacked)
                if mode := entry.external_attr >> 16 & 0o777:
                    os.chmod(extracted, mode)
        try:
            os.rename(unpacked, path)
        except OSError:  # another copy of this emulator was faster
            shutil.rmtree(unpacked)
    return path


def invoke(function: LambdaFunction, payload: bytes, invocation: Invocation) -> Outcome:
    """Run one attempt and wait for it; raises pool.Throttled. The caller must not hold the lock."""
    generation = context.generation
    with active():
        with context.lock:
            configuration = configuration_of(function)
            reserved = function.reserved_concurrency
        try:
            environment = pool.acquire(configuration, int(reserved) if reserved is not None else None)
        except pool.Throttled:
            invocation.outcome = "throttled"
            _count(function.function_name, {"Throttles": 1}, generation)
            raise
        try:
            outcome = environment.run(invocation, payload)
        finally:
            pool.release(environment)
        invocation.response = _decoded(outcome.payload)
        invocation.outcome = outcome.kind
        milliseconds = (invocation.duration_seconds or 0) * 1000
        errors = 0 if outcome.kind == "success" else 1
        _count(function.function_name, {"Invocations": 1, "Errors": errors, "Duration": milliseconds}, generation)
        return outcome


def _count(function_name: str, values: dict[str, float], generation: int) -> None:
    with context.lock:
        if context.generation != generation:
            return  # the account was emptied meanwhile
        for name, value in values.items():
            unit = "Milliseconds" if name == "Duration" else "Count"
            metrics.put("AWS/Lambda", name, value, unit, {"FunctionName": function_name})


def _decoded(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except ValueError:
        return payload.decode(errors="replace")


@operation("lambda", "Invoke", locked=False)
def invoke_api(request: AwsRequest) -> Response:
    """The Invoke operation, with Lambda's headers and error words (moto needs Docker for it)."""
    payload = request.parameters.get("Payload") or b""
    kind = request.parameters.get("InvocationType", "RequestResponse")
    try:
        with context.lock:
            function = find(request.parameters["FunctionName"])
            arn = invoked_as(function, request.parameters["FunctionName"], request.parameters.get("Qualifier"))
    except FunctionNotFound as error:
        raise AwsError("ResourceNotFoundException", str(error), 404) from error
    try:
        event = json.loads(payload) if payload else {}
    except ValueError as error:
        message = f"Could not parse request body into json: {error}"
        raise AwsError("InvalidRequestContentException", message) from error
    limit = MAX_ASYNC_PAYLOAD if kind == "Event" else MAX_SYNC_PAYLOAD
    if len(payload) > limit:
        message = f"{len(payload)} byte payload is too large for the {kind} invocation type (limit {limit} bytes)"
        raise AwsError("RequestTooLargeException", message, 413)
    if kind == "DryRun":
        return 204, [], b""
    environment = callers.environment_of(request.access_key_id)
    source = environment.function_name if environment else "client"
    if kind == "Event":
        return 202, [("x-amzn-RequestId", asynchronous.submit(function, event, source, arn))], b""
    return _invoke_and_wait(request, function, event, payload, source, arn)


def _invoke_and_wait(
    request: AwsRequest, function: LambdaFunction, event: Any, payload: bytes, source: str, arn: str
) -> Response:
    request_id = str(uuid.uuid4())
    invocation = record(
        function=function.function_name, request_id=request_id, kind="sync", source=source, event=event, arn=arn
    )
    try:
        outcome = invoke(function, payload or b"{}", invocation)
    except pool.Throttled as throttled:
        body = {"Reason": throttled.reason, "Type": "User", "message": "Rate Exceeded."}
        headers = [("x-amzn-errortype", "TooManyRequestsException"), ("Content-Type", "application/json")]
        return 429, headers, json.dumps(body).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("x-amzn-RequestId", request_id),
        ("X-Amz-Executed-Version", "$LATEST"),
    ]
    if outcome.kind != "success":
        # "Handled" is history: Lambda says Unhandled whatever the function reported.
        headers.append(("X-Amz-Function-Error", "Unhandled"))
    if request.parameters.get("LogType") == "Tail":
        tail = "\n".join(invocation.log).encode()[-LOG_TAIL_BYTES:]
        headers.append(("X-Amz-Log-Result", base64.b64encode(tail).decode()))
    return 200, headers, outcome.payload


@patched(LambdaBackend)
def delete_function(original: Any, self: LambdaBackend, function_name: str, qualifier: str | None = None) -> None:
    original(self, function_name, qualifier)
    pool.retire(function_name.split(":function:")[-1].split(":")[0])
