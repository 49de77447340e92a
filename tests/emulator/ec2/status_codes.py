"""HTTP status codes of EC2's errors."""

from __future__ import annotations

from typing import Any

from moto.ec2.responses import EC2Response

from emulator.patching import patched

# moto answers 400 for all of them.
_STATUS = {"DryRunOperation": 412, "UnauthorizedOperation": 403, "RequestLimitExceeded": 503}


@patched(EC2Response)
def call_action(original: Any, self: Any) -> tuple[int, Any, Any]:
    status, headers, body = original(self)
    if status == 400:
        text = body.decode() if isinstance(body, bytes) else body
        for code, better in _STATUS.items():
            if f"<Code>{code}</Code>" in text:
                headers["status"] = str(better)
                return better, headers, body
    return status, headers, body
