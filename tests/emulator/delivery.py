"""What AWS services send to functions, queues, topics and event buses on their own: targets, destinations, dead letters."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from typing import Any

from moto.core.exceptions import ServiceException
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

from emulator import control, permissions

log = logging.getLogger("emulator")

_failures: deque[dict[str, Any]] = deque(maxlen=1000)
"""Deliveries that didn't arrive: in AWS they only show as metrics, and are easily missed."""


class DeliveryFailed(Exception):
    """`code` as in the attributes of a rule's dead letter, `of_target` as the target's own API says it."""

    def __init__(self, code: str, message: str, of_target: str = "ResourceNotFoundException") -> None:
        super().__init__(message)
        self.code, self.message, self.of_target = code, message, of_target


def send(
    target_arn: str,
    payload: Any,
    *,
    sender: str,
    service: str,
    source_arn: str,
    role_arn: str | None = None,
    attributes: dict[str, str] | None = None,
    group_id: str | None = None,
) -> str | None:
    """Send a payload (JSON; text as it is to queues and topics) as `service` does on behalf of `source_arn`.

    With a role, the role must allow it; without, the target's own policy. Returns the request id of a function's
    invocation. Raises DeliveryFailed, after it is noted for the control API. The caller holds the lock.
    """
    try:
        try:
            if role_arn:
                permissions.check_role_may_send(role_arn, service, target_arn)
            else:
                permissions.check_service_may_send(service, source_arn, target_arn)
        except permissions.NotAllowed as error:
            raise DeliveryFailed("NO_PERMISSIONS", str(error), "AccessDeniedException") from error
        except KeyError as error:
            raise DeliveryFailed("INVALID_PARAMETER", f"{target_arn} isn't a target that the emulator knows") from error
        try:
            return _send(target_arn, payload, sender, attributes or {}, group_id)
        except ServiceException as error:
            # Such as a message that is too long for the topic.
            raise DeliveryFailed("SDK_CLIENT_ERROR", str(error)) from error
    except DeliveryFailed as error:
        log.warning("%s to %s: %s", sender, target_arn, error)
        _failures.append(
            {"time": time.time(), "sender": sender, "target": target_arn, "code": error.code, "error": str(error)}
        )
        raise


def send_dead_letter(target: dict[str, Any], payload: Any, attributes: dict[str, str], **sent: Any) -> None:
    """To the target's dead-letter queue, if it has one; `sent` as `send` takes it."""
    if queue := (target.get("DeadLetterConfig") or {}).get("Arn"):
        try:
            send(queue, payload, attributes=attributes | {"RETRY_ATTEMPTS": "0"}, **sent)
        except DeliveryFailed:
            pass  # noted by send


def _send(target_arn: str, payload: Any, sender: str, attributes: dict[str, str], group_id: str | None) -> str | None:
    _, _, service, region, account, name = target_arn.split(":", 5)
    text = payload if isinstance(payload, str) else json.dumps(payload)
    if service == "lambda":
        from emulator.functions import asynchronous
        from emulator.functions import service as functions

        try:
            function = functions.find(target_arn)
            return asynchronous.submit(function, payload, sender, functions.invoked_as(function, target_arn))
        except functions.FunctionNotFound as error:
            raise DeliveryFailed("NO_RESOURCE", str(error)) from error
    if service == "sqs":
        if name not in sqs_backends[account][region].queues:
            words = f"the queue {target_arn} does not exist"
            raise DeliveryFailed("NO_RESOURCE", words, "AWS.SimpleQueueService.NonExistentQueue")
        typed = {k: {"DataType": "String", "StringValue": v} for k, v in attributes.items()}
        sqs_backends[account][region].send_message(name, text, message_attributes=typed or None, group_id=group_id)
        return None
    if service == "events":
        from emulator import events

        try:
            events.deliver(payload, name.removeprefix("event-bus/"), account, region)
        except KeyError as error:
            raise DeliveryFailed("NO_RESOURCE", f"the event bus {target_arn} does not exist") from error
        return None
    if target_arn not in sns_backends[account][region].topics:
        raise DeliveryFailed("NO_RESOURCE", f"the topic {target_arn} does not exist")
    typed = {k: {"Type": "String", "Value": v} for k, v in attributes.items()}
    sns_backends[account][region].publish(message=text, arn=target_arn, message_attributes=typed or None)
    return None


@control.route("GET", "delivery-failures")
def get_failures(_: dict[str, Any]) -> Any:
    return {"failures": list(_failures)}


@control.route("DELETE", "delivery-failures")
def take_failures(_: dict[str, Any]) -> Any:
    taken = get_failures({})
    clear()
    return taken


@control.on_reset
def clear() -> None:
    _failures.clear()
