"""What AWS services send to queues, topics and functions on their own: destinations, dead letters, rule targets."""

from __future__ import annotations

import json
import logging
from collections import deque
from typing import Any

from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

from emulator import control
from emulator.context import context

log = logging.getLogger("emulator")

failures: deque[dict[str, Any]] = deque(maxlen=1000)
"""Deliveries that found no target: in AWS they only show as metrics, and are easily missed."""


class DeliveryFailed(Exception):
    pass


def send(
    target_arn: str,
    body: str,
    *,
    source: str,
    role_arn: str | None = None,
    subject: str | None = None,
    attributes: dict[str, str] | None = None,
    group_id: str | None = None,
) -> bool:
    """Send to a queue, topic or bus; whether it arrived. The caller holds the lock."""
    try:
        _send(target_arn, body, subject, attributes or {}, group_id)
        return True
    except Exception as error:
        log.warning("delivery from %s to %s failed: %s", source, target_arn, error)
        failures.append({"source": source, "target": target_arn, "error": str(error), "body": body})
        return False


def _send(target_arn: str, body: str, subject: str | None, attributes: dict[str, str], group_id: str | None) -> None:
    _, _, service, region, account, name = target_arn.split(":", 5)
    if service == "sqs":
        queue_attributes = {k: {"DataType": "String", "StringValue": v} for k, v in attributes.items()}
        sqs_backends[account][region].send_message(
            name, body, message_attributes=queue_attributes or None, group_id=group_id
        )
    elif service == "sns":
        topic_attributes = {k: {"Type": "String", "Value": v} for k, v in attributes.items()}
        sns_backends[account][region].publish(
            message=body, arn=target_arn, subject=subject, message_attributes=topic_attributes or None
        )
    elif service == "lambda":
        from emulator.functions import asynchronous, service as functions

        asynchronous.submit(functions.find(target_arn), json.loads(body), "destination")
    else:
        raise DeliveryFailed(f"{service} isn't a destination that the emulator knows")


@control.route("GET", "delivery-failures")
def get_failures(_: dict[str, Any]) -> Any:
    return {"failures": list(failures)}


@control.on_reset
def clear() -> None:
    failures.clear()
