"""The one door: every HTTP request passes here on its way to the control API or to moto.

For an API call: read it, record it, let faults act, execute it under the lock, and turn what moto doesn't know into
an error as AWS words it.
"""

from __future__ import annotations

import io
import logging
import socket
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

from moto import backends
from moto.core.routing import get_service_router
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from emulator import authorization, aws_request, callers, calls, cbor, control, faults, operations
from emulator.aws_request import AwsError, AwsRequest, Response
from emulator.context import context

log = logging.getLogger("emulator")

_moto = DomainDispatcherApplication(create_backend_app)
# moto would list its folder for each request.
_modules = frozenset(backends.list_of_moto_modules())
backends.list_of_moto_modules = lambda: _modules


# What guardrails and tests call, by moto's names.
_SERVICES = (
    "autoscaling awslambda cloudformation cloudtrail cloudwatch dynamodb ebs ec2 ecr elbv2 events"
    " iam kms logs s3 scheduler sns sqs ssm sts"
).split()


def warm_up() -> None:
    """Load what the first request to each service would, model and routes: a copy then finds it here."""
    with context.lock:
        for name in _SERVICES:
            get_service_router(name.removeprefix("aws"))
            _moto.app_instances.setdefault(name, create_backend_app(name))
        backends.get_backend("ec2")[context.account_id][context.region]  # with all of Amazon's images


def application(environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
    """The WSGI application."""
    body = _read_body(environ)
    path = environ.get("PATH_INFO", "")
    if path.startswith(control.PREFIX):
        status, answer = control.handle(environ["REQUEST_METHOD"], path, environ.get("QUERY_STRING", ""), body)
        response: Response | None = status, [("Content-Type", "application/json")], answer
    elif cbor.is_meant(environ):
        environ, body, operation = cbor.to_json(environ, body)
        response = _call_aws(environ, body)
        response = response and cbor.from_json(*response, operation)
    else:
        response = _call_aws(environ, body)
    if response is None:
        _hang_up(environ)
        raise ConnectionAbortedError("a fault cut the connection")  # the server drops it without a word
    status, headers, answer = response
    headers = [(k, v) for k, v in headers if k.lower() not in ("content-length", "connection", "transfer-encoding")]
    start_response(f"{status} {_REASONS.get(status, 'Status')}", [*headers, ("Content-Length", str(len(answer)))])
    return [answer] if environ["REQUEST_METHOD"] != "HEAD" else []


_REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 500: "Internal Server Error",
            503: "Service Unavailable"}  # fmt: skip


def _read_body(environ: dict[str, Any]) -> bytes:
    """Read the whole body: an unread rest would be taken for the next request on a kept-alive connection."""
    if environ.get("wsgi.input_terminated"):
        body = environ["wsgi.input"].read()
        environ.pop("HTTP_TRANSFER_ENCODING", None)
    else:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    return body


def _call_aws(environ: dict[str, Any], body: bytes) -> Response | None:
    """None: hang up without an answer."""
    started = time.time()
    request = aws_request.read(environ, body)
    environment = callers.environment_of(request.access_key_id)
    call = calls.record(
        time=started,
        service=request.service,
        operation=request.operation,
        parameters=aws_request.recorded(request.parameters),
        caller=environment.function_name if environment else calls.CLIENT,
        role=environment.role_arn if environment else None,
        request_id=environment.current_request_id if environment else None,
    )
    try:
        response = faults.around(request, call, environment, lambda: _execute(environ, request, call, environment))
        if response is None:
            call.error = "ConnectionClosed"
            return None
        status, headers, answer = response
        call.status = status
        call.error = aws_request.error_code(status, dict(headers), answer)
        return response
    finally:
        call.seconds = time.time() - started


def _execute(
    environ: dict[str, Any], request: AwsRequest, call: calls.Call, environment: callers.Environment | None
) -> Response:
    own = operations.find(request)
    with context.lock if own is None or own.locked else nullcontext():
        response = _answer(environ, request, call, environment)
        try:
            for observe in operations.observers:
                observe(request, environment, response)
        except Exception as error:
            return _bug(request, error)
    return response


def _answer(
    environ: dict[str, Any], request: AwsRequest, call: calls.Call, environment: callers.Environment | None
) -> Response:
    own = operations.find(request)
    try:
        authorization.check(request, environment)
        call.executed = True
        if own is None:
            response = _moto_response(environ)
            if _is_unrouted(response):
                raise NotImplementedError(request.operation)
            return response
        result = own.function(request)
        return result if isinstance(result, tuple) else request.response(result)
    except AwsError as error:
        return request.error_response(error.code, error.message, error.status)
    except NotImplementedError as error:
        # moto answers HTML with status 500, which an SDK takes for a fault worth retrying. AWS says that it doesn't
        # know the action.
        log.warning("%s %s is not implemented: %s", request.service, request.operation, error)
        code = "InvalidAction" if request.protocol in ("ec2", "query") else "UnknownOperationException"
        message = f"The action {request.operation} is not valid for this web service (the emulator lacks it)."
        return request.error_response(code, message, 400)
    except Exception as error:
        return _bug(request, error)


def _bug(request: AwsRequest, error: Exception) -> Response:
    """A crash in moto or in an extension: not worth a retry either, and loud, for it is a bug of the emulator."""
    log.error("%s %s crashed\n%s", request.service, request.operation, traceback.format_exc())
    message = f"the emulator failed in {request.service} {request.operation}: {type(error).__name__}: {error}"
    return request.error_response("EmulatorBug", message, 400)


def _is_unrouted(response: Response) -> bool:
    """moto's web framework answers a path that no handler has with a page for people."""
    status, headers, _ = response
    html = any(k.lower() == "content-type" and v.startswith("text/html") for k, v in headers)
    return html and status in (404, 405) and not any(k.lower().startswith("x-amz") for k, _ in headers)


def _moto_response(environ: dict[str, Any]) -> Response:
    captured: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> Callable:
        captured[:] = [int(status.split()[0]), headers]
        return lambda _: None

    chunks = _moto(environ, start_response)
    try:
        body = b"".join(chunks)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
    return captured[0], captured[1], body


def _hang_up(environ: dict[str, Any]) -> None:
    """Cut the connection without a byte, so that the client can't know whether the call was executed."""
    connection: socket.socket = environ["werkzeug.socket"]
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
