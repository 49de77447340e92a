"""The default event bus, as AWS's own services use it."""

from __future__ import annotations

import uuid
from datetime import datetime, timezone
from typing import Any

from emulator.context import context


def emit(source: str, detail_type: str, resources: list[str], detail: dict[str, Any], time: datetime | None = None) -> str:
    """Put an event of an AWS service on the default bus; returns its id.

    Delivery is at least once and asynchronous (SAM-3): this returns before any target has run.
    """
    event = {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": detail_type,
        "source": source,
        "account": context.account_id,
        # EventBridge writes whole seconds.
        "time": (time or datetime.now(timezone.utc)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": context.region,
        "resources": resources,
        "detail": detail,
    }
    deliver(event)
    return event["id"]


def deliver(event: dict[str, Any]) -> None:
    """Send an event to the targets of each enabled rule that it matches."""
