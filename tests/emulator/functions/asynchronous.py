"""Event invocations: queued, tried again when they fail, and sent to a destination when that didn't help.

Lambda tries a failing event again after one minute, then after two more (`async_retry_scale` shortens that); a
throttled one from 1 s up to every 5 minutes, until the event is too old. The request id stays the same throughout.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from emulator import delivery
from emulator.context import context
from emulator.functions import pool
from emulator.functions.environment import Outcome
from emulator.functions.invocations import Invocation, active, due_later, record
from emulator.settings import settings

if TYPE_CHECKING:
    from moto.awslambda.models import LambdaFunction

log = logging.getLogger("emulator")

RETRY_WAITS_SECONDS = (60.0, 120.0)
THROTTLE_FIRST_WAIT_SECONDS = 1.0
THROTTLE_LONGEST_WAIT_SECONDS = 300.0
DEFAULT_RETRIES = 2
DEFAULT_MAX_AGE_SECONDS = 21600


@dataclass
class _Event:
    function: LambdaFunction
    payload: Any
    source: str
    arn: str
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    accepted: float = field(default_factory=time.time)
    attempt: int = 1
    throttles: int = 0
    shortened_seconds: float = 0.0
    """What `async_retry_scale` took off the waits so far."""
    generation: int = field(default_factory=lambda: context.generation)

    @property
    def age(self) -> float:
        """As it would be with waits of their full length."""
        return time.time() - self.accepted + self.shortened_seconds


def submit(function: LambdaFunction, event: Any, source: str, arn: str | None = None) -> str:
    """Queue an event for the function, or for an alias of it by its ARN; returns its request id at once."""
    queued = _Event(function, event, source, arn or function.function_arn)
    _run_in_background(queued, active())
    return queued.request_id


def _run_in_background(event: _Event, counted: active) -> None:
    counted.__enter__()

    def run() -> None:
        try:
            _attempt(event)
        except Exception:
            log.exception("the asynchronous invocation %s of %s", event.request_id, event.function.function_name)
        finally:
            counted.__exit__()

    threading.Thread(target=run, name="async-invocation", daemon=True).start()


def _attempt(event: _Event) -> None:
    from emulator.functions import service

    invocation = record(
        function=event.function.function_name,
        request_id=event.request_id,
        kind="async",
        source=event.source,
        event=event.payload,
        arn=event.arn,
        attempt=event.attempt,
        queued=event.accepted,
    )
    try:
        outcome = service.invoke(event.function, json.dumps(event.payload).encode(), invocation)
    except pool.Throttled:
        event.throttles += 1
        wait = min(THROTTLE_FIRST_WAIT_SECONDS * 2 ** (event.throttles - 1), THROTTLE_LONGEST_WAIT_SECONDS)
        return _again_or_give_up(event, invocation, None, wait)
    if outcome.kind == "success":
        return _send_outcome(event, "OnSuccess", "Success", invocation, outcome)
    retries = _option(event, "MaximumRetryAttempts", DEFAULT_RETRIES)
    if event.attempt > retries:
        return _send_outcome(event, "OnFailure", "RetriesExhausted", invocation, outcome)
    wait = RETRY_WAITS_SECONDS[min(event.attempt, len(RETRY_WAITS_SECONDS)) - 1]
    event.attempt += 1
    _again_or_give_up(event, invocation, outcome, wait)


def _again_or_give_up(event: _Event, invocation: Invocation, outcome: Outcome | None, wait: float) -> None:
    if context.generation != event.generation:
        return  # the account was emptied meanwhile
    # Lambda drops an event before its next attempt if it would be too old by then.
    if event.age + wait > _option(event, "MaximumEventAgeInSeconds", DEFAULT_MAX_AGE_SECONDS):
        return _send_outcome(event, "OnFailure", "EventAgeExceeded", invocation, outcome)
    scale = settings.async_retry_scale
    event.shortened_seconds += wait * (1 - scale)
    waiting = due_later()
    waiting.__enter__()

    def run() -> None:
        counted = active()
        try:
            if context.generation == event.generation:
                _run_in_background(event, counted)
        finally:
            waiting.__exit__()

    timer = threading.Timer(wait * scale, run)
    timer.daemon = True
    timer.start()


def _config(event: _Event) -> dict[str, Any]:
    """What is configured for asynchronous invocations. An alias has a configuration of its own, and none here."""
    function = event.function
    by_itself = event.arn == function.function_arn
    return function.event_invoke_config[-1].config if by_itself and function.event_invoke_config else {}


def _option(event: _Event, name: str, default: int) -> int:
    value = _config(event).get(name)
    return default if value is None else int(value)


def _send_outcome(event: _Event, which: str, condition: str, invocation: Invocation, outcome: Outcome | None) -> None:
    """Send the invocation record to the function's destination."""
    function = event.function
    with context.lock:
        if context.generation != event.generation:
            return
        destination = (_config(event).get("DestinationConfig") or {}).get(which, {}).get("Destination")
        if not destination:
            return
        try:
            delivery.send(
                destination,
                _record_of(event, condition, invocation, outcome),
                sender=f"function {function.function_name}",
                service="lambda.amazonaws.com",
                source_arn=function.function_arn,
                role_arn=function.role,
            )
        except delivery.DeliveryFailed:
            pass  # Noted by delivery. Lambda drops the event too (metric DestinationDeliveryFailures).


def _record_of(event: _Event, condition: str, invocation: Invocation, outcome: Outcome | None) -> dict[str, Any]:
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    result: dict[str, Any] = {
        "version": "1.0",
        "timestamp": stamp,
        "requestContext": {
            "requestId": event.request_id,
            "functionArn": f"{event.function.function_arn}:$LATEST",
            "condition": condition,
            "approximateInvokeCount": event.attempt if condition != "EventAgeExceeded" else max(1, event.attempt - 1),
        },
        "requestPayload": event.payload,
    }
    if outcome is not None:
        result["responseContext"] = {"statusCode": 200, "executedVersion": "$LATEST"}
        if outcome.kind != "success":
            result["responseContext"]["functionError"] = "Unhandled"
        result["responsePayload"] = invocation.response
    return result
