"""MaxResults and NextToken as EC2 honours them (EBS-7). moto ignores both for volumes, snapshots and images."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from emulator.control import ControlError, on_reset, route
from emulator.ec2 import errors

_short_pages = False


@route("POST", "paging")
def set_paging(body: dict[str, Any]) -> Any:
    """{"short_pages": true}: the first page is empty and each other half full, though more follow.

    EC2 promises no more than that a page holds at most MaxResults and that NextToken says whether it is the last.
    """
    global _short_pages
    if not isinstance(body.get("short_pages"), bool):
        raise ControlError('expected {"short_pages": true} or {"short_pages": false}')
    _short_pages = body["short_pages"]
    return {"short_pages": _short_pages}


def short_pages() -> bool:
    return _short_pages


@on_reset
def _reset() -> None:
    global _short_pages
    _short_pages = False


@dataclass(frozen=True)
class Limits:
    """The bounds of MaxResults, and the parameter with ids that it can't be combined with."""

    lowest: int
    highest: int
    ids_parameter: str
    cut: bool = False
    """Whether a larger value counts as the highest (EBS-7); otherwise it is refused, which is stricter."""


def page(
    items: list[Any],
    *,
    id_of: Callable[[Any], str],
    request: Any,
    operation: str,
    limits: Limits,
    ids: list[str],
) -> tuple[list[Any], str | None]:
    """The page of `items` that the request asks for, and the token of the next one.

    Pages are in the order of ids, which are random: callers that expect the order of creation fail here as they would
    in AWS ("applications should not assume the elements appear in a particular order"). A token says after which id to
    go on, so nothing is skipped or repeated when items come and go between two pages.
    """
    max_results, token = request._get_param("MaxResults"), request._get_param("NextToken")
    if max_results is not None:
        max_results = int(max_results)
        if ids:
            raise errors.invalid_combination(
                f"The parameter {limits.ids_parameter} cannot be used with the parameter maxResults"
            )
        if max_results < limits.lowest:
            raise _out_of_bounds(max_results, f"greater than {limits.lowest}")
        if max_results > limits.highest and not limits.cut:
            raise _out_of_bounds(max_results, f"less than {limits.highest}")
        max_results = min(max_results, limits.highest)
    ordered = sorted(items, key=id_of)
    if token is not None:
        after = _read_token(token, operation)
        ordered = [item for item in ordered if id_of(item) > after]
    if max_results is not None and _short_pages:
        if token is None and ordered:
            return [], _write_token(operation, "")
        max_results = max(1, max_results // 2)
    if max_results is None or len(ordered) <= max_results:
        return ordered, None
    chunk = ordered[:max_results]
    return chunk, _write_token(operation, id_of(chunk[-1]))


def _out_of_bounds(value: int, expected: str) -> Exception:
    return errors.invalid_value(f"Value ( {value} ) for parameter maxResults is invalid. Expecting a value {expected}.")


def _write_token(operation: str, after: str) -> str:
    return base64.b64encode(json.dumps([operation, after]).encode()).decode()


def _read_token(token: str, operation: str) -> str:
    try:
        of_operation, after = json.loads(base64.b64decode(token, validate=True))
        if of_operation == operation and isinstance(after, str):
            return after
    except ValueError:
        pass
    raise errors.invalid_value(f"Value ( {token} ) for parameter NextToken is invalid. The token is invalid.")
