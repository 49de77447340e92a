"""How EC2's answers look on the wire: HTTP status codes of errors, and timestamps."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from moto.core.serialize import EC2Serializer, TimestampSerializer
from moto.ec2.responses import EC2Response

from emulator.patching import added, patched

# moto answers 400 for the first two. AuthFailure is 401 for bad credentials, but 400 for what belongs to somebody else.
_STATUS = {"DryRunOperation": 412, "UnauthorizedOperation": 403, "AuthFailure": 400}


@patched(EC2Response)
def call_action(original: Any, self: Any) -> tuple[int, Any, Any]:
    status, headers, body = original(self)
    if status in (400, 401):
        text = body.decode() if isinstance(body, bytes) else body
        for code, better in _STATUS.items():
            if f"<Code>{code}</Code>" in text:
                headers["status"] = str(better)
                return better, headers, body
    return status, headers, body


@added(TimestampSerializer)
def _timestamp_iso8601_milliseconds(_self: Any, value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"


@patched(EC2Serializer, "__init__")
def with_milliseconds(original: Any, self: Any, *args: Any, **kwargs: Any) -> None:
    """moto writes .000Z, so that the order of two snapshots made in one second is lost."""
    original(self, *args, **kwargs)
    self._timestamp_serializer.default_format = "iso8601_milliseconds"
