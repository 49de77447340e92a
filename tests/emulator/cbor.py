"""Smithy's RPC v2 CBOR protocol, which moto doesn't speak: some SDKs talk to CloudWatch in nothing else.

A request becomes one of the same service's JSON protocol before anything else sees it, and the answer becomes CBOR.
botocore reads and writes CBOR.
"""

from __future__ import annotations

import base64
import functools
import io
import json
import re
from datetime import UTC, datetime
from typing import Any

from botocore.model import OperationModel, ServiceModel, Shape, StructureShape
from botocore.parsers import RpcV2CBORParser
from botocore.serialize import RpcV2CBORSerializer
from botocore.session import get_session

_PATH = re.compile(r"/service/(\w+)/operation/(\w+)")
_HEADERS = [("Content-Type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")]


def is_meant(environ: dict[str, Any]) -> bool:
    return environ.get("HTTP_SMITHY_PROTOCOL") == "rpc-v2-cbor" and _PATH.fullmatch(environ.get("PATH_INFO", "")) is not None


def to_json(environ: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes, OperationModel]:
    """The same request in JSON, and the operation that it calls."""
    found = _PATH.fullmatch(environ["PATH_INFO"])
    assert found is not None
    target, name = found.groups()
    parser = RpcV2CBORParser()
    given = parser.parse_data_item(parser.get_peekable_stream_from_bytes(body)) if body else {}
    translated = json.dumps(given, default=_plain).encode()
    changed = {
        "PATH_INFO": "/",
        "REQUEST_URI": "/",
        "RAW_URI": "/",
        "CONTENT_TYPE": "application/x-amz-json-1.0",
        "CONTENT_LENGTH": str(len(translated)),
        "HTTP_X_AMZ_TARGET": f"{target}.{name}",
        "wsgi.input": io.BytesIO(translated),
    }
    without = {key: value for key, value in environ.items() if key != "HTTP_SMITHY_PROTOCOL"}
    return without | changed, translated, _service(target).operation_model(name)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    raise TypeError(f"{value!r} has no JSON")


@functools.cache
def _service(target: str) -> ServiceModel:
    """The service whose requests name this target, as the path of this protocol has it."""
    session = get_session()
    for name in ("cloudwatch", *session.get_available_services()):
        model = session.get_service_model(name)
        if model.metadata.get("targetPrefix") == target:
            return model
    raise ValueError(f"no service has the target {target}")


def from_json(
    status: int, headers: list[tuple[str, str]], body: bytes, operation: OperationModel
) -> tuple[int, list[tuple[str, str]], bytes]:
    """An answer in JSON as one in CBOR."""
    kept = [(k, v) for k, v in headers if k.lower() != "content-type"]
    answer = json.loads(body) if body else {}
    written = bytearray()
    serializer = RpcV2CBORSerializer()
    if status < 300:
        shape = operation.output_shape
        if shape is not None:
            serializer._serialize_data_item(written, _typed(answer, shape), shape)
        return status, [*kept, *_HEADERS], bytes(written) or b"\xa0"
    code = str(answer.get("__type", "InternalFailure")).split("#")[-1]
    error = {"__type": code, "message": str(answer.get("message") or answer.get("Message") or "")}
    serializer._serialize_data_item(written, error, _ERROR)
    return status, [*kept, *_HEADERS], bytes(written)


_ERROR = StructureShape(
    "Error",
    {"type": "structure", "members": {"__type": {"shape": "Text"}, "message": {"shape": "Text"}}},
    type("Shapes", (), {"resolve_shape_ref": staticmethod(lambda _: Shape("Text", {"type": "string"}))})(),
)


def _typed(value: Any, shape: Any) -> Any:
    """What JSON writes as a number or text, as its shape has it; without what the shape doesn't know."""
    if value is None:
        return None
    kind = shape.type_name
    if kind == "structure":
        known = {k: _typed(v, shape.members[k]) for k, v in value.items() if k in shape.members}
        return {k: v for k, v in known.items() if v is not None}
    if kind == "list":
        return [_typed(item, shape.member) for item in value]
    if kind == "map":
        return {k: _typed(v, shape.value) for k, v in value.items()}
    if kind == "timestamp":
        return datetime.fromtimestamp(value, UTC) if isinstance(value, (int, float)) else datetime.fromisoformat(value)
    if kind == "blob":
        return base64.b64decode(value)
    if kind in ("double", "float"):
        return float(value)
    if kind in ("integer", "long"):
        return int(value)
    return value
