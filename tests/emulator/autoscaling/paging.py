"""MaxRecords and NextToken of Auto Scaling. POST paging {"short_pages": true} holds here too: pages may be short."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from emulator.aws_request import AwsError, AwsRequest
from emulator.ec2 import paging as ec2_paging


def page(
    items: list[Any], request: AwsRequest, *, id_of: Callable[[Any], str], default: int, highest: int = 100
) -> tuple[list[Any], dict[str, str]]:
    """The page of ordered items that is asked for, and NextToken if there is more.

    A token names the last item of its page: what came in front of it meanwhile neither repeats nor skips any.
    """
    size = int(request.parameters.get("MaxRecords") or default)
    if not 1 <= size <= highest:
        raise AwsError(
            "ValidationError",
            f"1 validation error detected: Value '{size}' at 'maxRecords' failed to satisfy constraint: Member must "
            f"have value {'less' if size > highest else 'greater'} than or equal to {highest if size > highest else 1}",
        )
    first = 0
    if token := request.parameters.get("NextToken"):
        last = _read(token, request.operation)
        first = next((n + 1 for n, item in enumerate(items) if id_of(item) == last), len(items)) if last else 0
    elif ec2_paging.short_pages() and items:
        return [], {"NextToken": _write(request.operation, "")}
    if ec2_paging.short_pages():
        size = max(1, size // 2)
    chunk = items[first : first + size]
    more = {"NextToken": _write(request.operation, id_of(chunk[-1]))} if len(items) > first + size else {}
    return chunk, more


def _write(operation: str, last: str) -> str:
    return base64.b64encode(json.dumps([operation, last]).encode()).decode()


def _read(token: str, operation: str) -> str:
    try:
        of_operation, last = json.loads(base64.b64decode(token, validate=True))
        if of_operation == operation:
            return last
    except ValueError:
        pass
    raise AwsError("InvalidNextToken", "The token is invalid.")
