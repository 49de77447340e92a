"""The record of every invocation attempt, and waiting until nothing runs any more."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from emulator import control
from emulator.context import context


@dataclass
class Invocation:
    """One attempt to run a function. An asynchronous event keeps its request id through all its attempts."""

    number: int
    function: str
    request_id: str
    kind: str
    """sync or async"""
    source: str
    """Who invoked: "client", a function, "schedule NAME", "rule NAME"."""
    event: Any
    arn: str
    """The function's ARN as it was invoked: with the alias, if it was by one."""
    attempt: int = 1
    queued: float = 0.0
    """Seconds since the epoch: when the (asynchronous) event was accepted."""
    started: float | None = None
    ended: float | None = None
    outcome: str = "running"
    """running, success, error (the function said so), timeout, crash (the process ended), throttled"""
    response: Any = None
    """What the function returned, or its error object."""
    log: list[str] = field(default_factory=list)
    pid: int | None = None
    cold_start: bool = False
    init_seconds: float | None = None
    duration_seconds: float | None = None
    """Of the handler alone, as Lambda counts it."""
    peak_memory_kb: int | None = None
    """The process's peak resident memory so far (VmHWM). Lambda's memory limit isn't enforced: a cgroup needs
    privileges that a test doesn't have."""


_records: deque[Invocation] = deque(maxlen=20_000)
_numbers = itertools.count(1)
_changed = threading.Condition()
_active = 0
_later = 0


def record(**fields: Any) -> Invocation:
    invocation = Invocation(number=next(_numbers), **fields)
    with _changed:
        _records.append(invocation)
    return invocation


class active:
    """`with active():` while an invocation runs or waits for its turn: wait-idle sees it."""

    def __enter__(self) -> None:
        global _active
        with _changed:
            _active += 1

    def __exit__(self, *_: object) -> None:
        global _active
        with _changed:
            _active -= 1
            _changed.notify_all()


class due_later:
    """`with due_later():` while an event waits for its next attempt. A reset forgets what waits."""

    def __enter__(self) -> None:
        global _later
        self._generation = context.generation
        with _changed:
            _later += 1

    def __exit__(self, *_: object) -> None:
        global _later
        with _changed:
            if self._generation == context.generation:
                _later -= 1
            _changed.notify_all()


@control.route("GET", "invocations", locked=False)
def get_invocations(filters: dict[str, Any]) -> Any:
    after = int(filters.pop("after", 0))
    unknown = filters.keys() - {"function", "request_id", "outcome", "kind", "source"}
    if unknown:
        raise control.ControlError(f"unknown filter {', '.join(sorted(unknown))}")
    with _changed:
        records = list(_records)
    return {
        "invocations": [
            asdict(r) for r in records if r.number > after and all(getattr(r, k) == v for k, v in filters.items())
        ]
    }


@control.route("POST", "wait-idle", locked=False)
def wait_idle(body: dict[str, Any]) -> Any:
    """Wait until no invocation runs or is queued; with `retries`, until none is due later either."""
    deadline = time.monotonic() + float(body.get("timeout", 30))
    with _changed:
        while _active or (body.get("retries") and _later):
            if not _changed.wait(max(0.0, deadline - time.monotonic())) or time.monotonic() > deadline:
                return {"idle": False, "running": _active, "due_later": _later}
        return {"idle": True, "running": _active, "due_later": _later}


@control.on_reset
def clear() -> None:
    global _later
    with _changed:
        _records.clear()
        _later = 0
