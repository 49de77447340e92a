"""A record of every AWS API call, as CloudTrail would have it, and readable at once."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from emulator import control

CLIENT = "client"


@dataclass
class Call:
    number: int
    time: float
    """Seconds since the epoch when the request arrived."""
    service: str
    operation: str
    parameters: dict[str, Any]
    caller: str
    """The name of the calling function, or "client"."""
    role: str | None = None
    request_id: str | None = None
    """The invocation in which a function made the call."""
    error: str | None = None
    status: int | None = None
    """None while the call runs, and when the connection was cut without an answer."""
    executed: bool = False
    """Whether the call reached the service: false when a fault was answered in its place."""
    fault: str | None = None
    """The id of the fault that was applied."""
    seconds: float = 0.0


# Bounded, so that a long demo doesn't grow for ever.
_calls: deque[Call] = deque(maxlen=200_000)
_numbers = itertools.count(1)
_guard = threading.Lock()


def record(**fields: Any) -> Call:
    call = Call(number=next(_numbers), **fields)
    with _guard:
        _calls.append(call)
    return call


def matching(filters: dict[str, Any]) -> list[Call]:
    since = int(filters.pop("after", 0))
    unknown = filters.keys() - {"service", "operation", "caller", "error", "request_id", "fault"}
    if unknown:
        raise control.ControlError(f"unknown filter {', '.join(sorted(unknown))}")
    with _guard:
        calls = list(_calls)
    return [c for c in calls if c.number > since and all(getattr(c, k) == v for k, v in filters.items())]


@control.route("GET", "calls", locked=False)
def get_calls(filters: dict[str, Any]) -> Any:
    return {"calls": [asdict(call) for call in matching(filters)]}


@control.route("DELETE", "calls", locked=False)
def delete_calls(_: dict[str, Any]) -> Any:
    clear()
    return {}


@control.on_reset
def clear() -> None:
    with _guard:
        _calls.clear()
