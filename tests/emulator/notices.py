"""SNS: what was published can be read, and what SNS refuses is refused."""

from __future__ import annotations

import re
import time
from collections import deque
from typing import Any

from moto.sns.models import SNSBackend, Topic

from emulator import control
from emulator.aws_request import AwsError
from emulator.patching import patched

MAX_MESSAGE_BYTES = 256 * 1024
MAX_SUBJECT_CHARACTERS = 99

_notices: deque[dict[str, Any]] = deque(maxlen=10_000)


@patched(SNSBackend)
def publish(original: Any, self: SNSBackend, message: str, **options: Any) -> str:
    """moto lets a subject of 100 characters, other letters than ASCII, and line breaks pass."""
    subject = options.get("subject")
    if subject is not None and (
        not 1 <= len(subject) <= MAX_SUBJECT_CHARACTERS or not re.fullmatch(r"[\x21-\x7e][\x20-\x7e]*", subject)
    ):
        raise AwsError("InvalidParameter", "Invalid parameter: Subject")
    if len(message.encode()) > MAX_MESSAGE_BYTES:
        raise AwsError("InvalidParameter", "Invalid parameter: Message too long")
    if not message:
        raise AwsError("InvalidParameter", "Invalid parameter: Empty message")
    return original(self, message, **options)


@patched(Topic, "publish")
def publish_to_topic(original: Any, self: Topic, message: str, **options: Any) -> str:
    message_id = original(self, message, **options)
    attributes = options.get("message_attributes") or {}
    _notices.append(
        {
            "message_id": message_id,
            "time": time.time(),
            "topic": self.arn,
            "subject": options.get("subject"),
            "message": message,
            "attributes": {name: value.get("Value") for name, value in attributes.items()},
        }
    )
    return message_id


@control.route("GET", "notices")
def get_notices(filters: dict[str, Any]) -> Any:
    unknown = filters.keys() - {"topic"}
    if unknown:
        raise control.ControlError(f"unknown filter {', '.join(sorted(unknown))}")
    return {"notices": [n for n in _notices if filters.get("topic", n["topic"]) == n["topic"]]}


@control.route("DELETE", "notices")
def delete_notices(_: dict[str, Any]) -> Any:
    _notices.clear()
    return {}


@control.on_reset
def clear() -> None:
    _notices.clear()
