"""Reading an AWS API request: which service and operation, with which parameters, from whom."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import UnknownServiceError
from moto.core.exceptions import ServiceException
from moto.core.model import OperationModel, ServiceModel
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import NotFound, get_service_router
from moto.core.serialize import get_serializer_class
from moto.core.utils import get_service_model

Response = tuple[int, list[tuple[str, str]], bytes]
"""Status, headers, body."""

_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/\d+/([^/]+)/([^/]+)/aws4_request")
_PRESIGNED = re.compile(r"X-Amz-Credential=([^/&]+?)(?:/|%2F)\d+(?:/|%2F)([^/&]+?)(?:/|%2F)([^/&]+?)(?:/|%2F)aws4")

# A service signs with a name that isn't always its model's name.
_MODEL_NAMES = {"monitoring": "cloudwatch", "eventbridge": "events", "elasticloadbalancing": "elbv2"}


class AwsError(ServiceException):
    """An error as AWS answers it. The code need not be in the service's model (the throttling ones aren't)."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(code, message)
        self.status = status


@dataclass
class AwsRequest:
    service: str
    operation: str
    parameters: dict[str, Any]
    access_key_id: str
    region: str
    protocol: str = "query"
    service_model: ServiceModel | None = field(default=None, repr=False)
    operation_model: OperationModel | None = field(default=None, repr=False)

    def response(self, result: dict[str, Any]) -> Response:
        """A result in this service's own protocol, as moto's serializers write it."""
        assert self.service_model is not None and self.operation_model is not None
        return _response(self._serializer().serialize(result))

    def error_response(self, code: str, message: str, status: int) -> Response:
        """An error in this service's own protocol."""
        if self.service_model is None:
            return status, [("Content-Type", "text/xml")], _plain_error(code, message)
        return status, *_response(self._serializer().serialize(AwsError(code, message)))[1:]

    def _serializer(self) -> Any:
        assert self.service_model is not None
        operation = self.operation_model or OperationModel({}, self.service_model)
        return get_serializer_class(self.service_model.service_name, self.protocol)(operation_model=operation)


def _response(serialized: dict[str, Any]) -> Response:
    body = serialized["body"]
    return (
        serialized["status_code"],
        list(serialized["headers"].items()),
        body.encode() if isinstance(body, str) else body,
    )


def read(environ: dict[str, Any], body: bytes) -> AwsRequest:
    """Never raises: what can't be understood has the operation "Unknown"; moto then answers as it can."""
    authorization = environ.get("HTTP_AUTHORIZATION", "")
    scope = _CREDENTIAL.search(authorization) or _PRESIGNED.search(environ.get("QUERY_STRING", ""))
    access_key_id, region, service = scope.groups() if scope else ("anonymous", "", "unknown")
    service = _MODEL_NAMES.get(service, service)
    result = AwsRequest(service, "Unknown", {}, access_key_id, region)
    try:
        model = get_service_model(service)
        # The request object reads its input stream; a copy leaves moto's own untouched.
        request = Request(
            environ | _full_target(model, environ) | {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        )
        result.service_model = model
        result.protocol = determine_request_protocol(model, request.content_type)
        operation, uri_parameters = get_service_router(service).match(request)
        result.operation_model, result.operation = operation, operation.name
        parser = PROTOCOL_PARSERS[result.protocol](operation)
        result.parameters = dict(
            parser.parse(
                {
                    "method": request.method,
                    "values": request.values,
                    "headers": request.headers,
                    "body": body,
                    "url_path": request.path,
                    "url_params": uri_parameters,
                }
            )
        )
    except (UnknownServiceError, NotFound, NotImplementedError, KeyError, ValueError, UnicodeDecodeError):
        pass
    if result.operation == "Unknown":
        result.operation = _operation_name(environ, body) or result.operation
    return result


def _full_target(model: ServiceModel, environ: dict[str, Any]) -> dict[str, str]:
    """AWS takes an operation by its service's short name too, as the SDK for Rust says it: CloudTrail_20131101.… ."""
    target, prefix = environ.get("HTTP_X_AMZ_TARGET", ""), model.metadata.get("targetPrefix", "")
    service, _, name = target.rpartition(".")
    return {"HTTP_X_AMZ_TARGET": f"{prefix}.{name}"} if service and prefix.endswith(f".{service}") else {}


def recorded(value: Any) -> Any:
    """Parameters as JSON for the call record: bytes as text, and a long body (an uploaded archive) only by its size."""
    if isinstance(value, dict):
        return {k: recorded(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [recorded(v) for v in value]
    if isinstance(value, (bytes, bytearray)):
        return value.decode(errors="replace") if len(value) <= 4096 else f"({len(value)} bytes)"
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)


def _operation_name(environ: dict[str, Any], body: bytes) -> str | None:
    """The name that the client says, for an operation that isn't in the service's model."""
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if "." in target:
        return target.rsplit(".", 1)[1]
    named = re.search(rb"(?:^|&)Action=(\w+)", body)
    return named.group(1).decode() if named else None


def _plain_error(code: str, message: str) -> bytes:
    return f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>".encode()


def error_code(status: int, headers: dict[str, str], body: bytes) -> str | None:
    """The error code in an answer of any protocol; None for a success."""
    if status < 400:
        return None
    lower = {k.lower(): v for k, v in headers.items()}
    if "x-amzn-errortype" in lower:
        return lower["x-amzn-errortype"].split(":")[0].split("#")[-1]
    for pattern in (rb"<Code>([^<]+)</Code>", rb'"__type"\s*:\s*"(?:[^"#]*#)?([^"]+)"'):
        if found := re.search(pattern, body):
            return found.group(1).decode()
    return f"HTTP{status}"
