"""Faults on demand: errors, lost answers, latency and killed callers, on chosen API calls.

A fault acts before its call is executed (then the call never happens) or after (then it has happened, and the caller
doesn't learn it: the case of EBS-1). README.md describes the fields of a fault.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from emulator import control, policies
from emulator.aws_request import AwsRequest, Response
from emulator.callers import Environment
from emulator.calls import CLIENT, Call

# What AWS answers with these codes. RequestLimitExceeded is EC2's own throttling (EBS-6); most other services say
# ThrottlingException or Throttling, with status 400.
_KNOWN = {
    "RequestLimitExceeded": (503, "Request limit exceeded."),
    "Throttling": (400, "Rate exceeded"),
    "ThrottlingException": (400, "Rate exceeded"),
    "ThrottledException": (429, "Rate exceeded"),
    "TooManyRequestsException": (429, "Rate exceeded"),
    "ProvisionedThroughputExceededException": (
        400,
        "The level of configured provisioned throughput for the table was exceeded. Consider increasing your "
        "provisioning level with the UpdateTable API.",
    ),
    "InternalError": (500, "An internal error has occurred"),
    "InternalFailure": (500, "The request processing has failed because of an unknown error, exception or failure."),
    "InternalServerError": (500, "An error occurred on the server side."),
    "InternalException": (500, "This exception occurs due to unexpected causes."),
    "ServiceUnavailable": (503, "The request has failed due to a temporary failure of the server."),
    "Unavailable": (503, "The server is overloaded and can't handle the request."),
    "UnauthorizedOperation": (403, "You are not authorized to perform this operation."),
    "AccessDenied": (403, "Access Denied"),
    "AccessDeniedException": (400, "User is not authorized to perform this operation"),
    "AuthorizationError": (403, "User is not authorized to perform this operation"),
    "ExpiredToken": (403, "The security token included in the request is expired"),
    "RequestExpired": (400, "Request has expired."),
    "SnapshotLimitExceeded": (400, "You have reached your maximum number of snapshots."),
}


@dataclass
class Fault:
    id: str
    service: str
    operation: str | list[str]
    match: dict[str, str] = field(default_factory=dict)
    caller: str | None = None
    nth: int | None = None
    count: int | None = None
    when: str = "before"
    latency: float = 0.0
    error: dict[str, Any] | None = None
    hang_up: bool = False
    kill: bool = False
    seen: int = 0
    """Calls that matched."""
    hits: int = 0
    """Calls on which it acted."""

    def acts_on(self, request: AwsRequest, caller: str) -> bool:
        """Counts the call; whether the fault acts on it."""
        if not self._matches(request, caller):
            return False
        self.seen += 1
        if self.nth is not None and self.seen != self.nth:
            return False
        if self.count is not None and self.hits >= self.count:
            return False
        self.hits += 1
        return True

    def _matches(self, request: AwsRequest, caller: str) -> bool:
        operations = self.operation if isinstance(self.operation, list) else [self.operation]
        if request.service != self.service or not any(policies.like(o, request.operation) for o in operations):
            return False
        # A deployment isn't disturbed unless it is named.
        if caller != self.caller if self.caller else caller == "cloudformation":
            return False
        return all(_has(request.parameters, path.split("."), value) for path, value in self.match.items())

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


def _has(value: Any, path: list[str], pattern: str) -> bool:
    """Whether the parameter at a path (through lists: in any of their items) is like the pattern."""
    if isinstance(value, (list, tuple)):
        return any(_has(item, path, pattern) for item in value)
    if not path:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return policies.like(pattern, text)
    return isinstance(value, dict) and path[0] in value and _has(value[path[0]], path[1:], pattern)


_faults: list[Fault] = []
_ids = itertools.count(1)
_guard = threading.Lock()


def around(
    request: AwsRequest, call: Call, environment: Environment | None, execute: Callable[[], Response]
) -> Response | None:
    """Execute the call with the faults that act on it; None means to hang up."""
    caller = environment.function_name if environment else CLIENT
    with _guard:
        acting = [fault for fault in _faults if fault.acts_on(request, caller)]
    if acting:
        call.fault = ",".join(fault.id for fault in acting)
    before = [fault for fault in acting if fault.when == "before"]
    after = [fault for fault in acting if fault.when == "after"]
    _wait(before)
    ends, response = _outcome(before, request, environment)
    if ends:
        return response
    answer = execute()
    _wait(after)
    ends, response = _outcome(after, request, environment)
    return response if ends else answer


def _wait(acting: list[Fault]) -> None:
    if latency := sum(fault.latency for fault in acting):  # a sleep of 0 s gives the interpreter to another thread
        time.sleep(latency)


def _outcome(acting: list[Fault], request: AwsRequest, environment: Environment | None) -> tuple[bool, Response | None]:
    """Whether a fault takes the place of the answer, and with what."""
    for fault in acting:
        if fault.kill:
            if environment is not None:
                environment.kill()
            return True, None
        if fault.hang_up:
            return True, None
        if fault.error:
            error = fault.error
            return True, request.error_response(error["code"], error["message"], error["status"])
    return False, None


@control.route("POST", "faults", locked=False)
def install(body: dict[str, Any]) -> Any:
    known = {"service", "operation", "match", "caller", "nth", "count", "when", "latency", "error", "hang_up",
             "kill"}  # fmt: skip
    if unknown := sorted(body.keys() - known):
        raise control.ControlError(f"unknown field {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    if body.get("when", "before") not in ("before", "after"):
        raise control.ControlError('"when" is "before" or "after"')
    if not any(body.get(effect) for effect in ("error", "hang_up", "kill", "latency")):
        raise control.ControlError("a fault needs an effect: error, hang_up, kill or latency")
    fields = dict(body)
    if "error" in body:
        fields["error"] = _error(body["error"])
    with _guard:
        fault = Fault(id=f"fault-{next(_ids)}", **fields)
        _faults.append(fault)
    return fault.as_json()


def _error(given: str | dict[str, Any]) -> dict[str, Any]:
    error = {"code": given} if isinstance(given, str) else dict(given)
    status, message = _KNOWN.get(error["code"], (400, error["code"]))
    return {"status": status, "message": message} | error


@control.route("GET", "faults", locked=False)
def list_faults(_: dict[str, Any]) -> Any:
    with _guard:
        return {"faults": [fault.as_json() for fault in _faults]}


@control.route("DELETE", "faults", locked=False)
def remove(body: dict[str, Any]) -> Any:
    """Remove one by its id, or all."""
    with _guard:
        _faults[:] = [fault for fault in _faults if body.get("id") not in (None, fault.id)]
    return {}


@control.on_reset
def clear() -> None:
    remove({})
