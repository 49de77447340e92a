"""SNS: what was published can be read, and what SNS refuses is refused."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from typing import Any

from moto.sns.models import SNSBackend, Subscription, Topic

from emulator import control, subscriptions
from emulator.aws_request import AwsError
from emulator.patching import patched

MAX_MESSAGE_BYTES = 256 * 1024
MAX_SUBJECT_CHARACTERS = 99
PROTOCOLS = {
    "default",
    "application",
    "email",
    "email-json",
    "firehose",
    "http",
    "https",
    "lambda",
    "sms",
    "sqs",
    # Of mobile push.
    "ADM",
    "APNS",
    "APNS_SANDBOX",
    "BAIDU",
    "GCM",
    "MPNS",
    "WNS",
}
# Of the custom notifications that Amazon Q Developer in chat applications takes.
MAX_TITLE_CHARACTERS = 250
MAX_DESCRIPTION_CHARACTERS = 8_000

_notices: deque[dict[str, Any]] = deque(maxlen=10_000)


@patched(SNSBackend)
def publish(original: Any, self: SNSBackend, message: str, **options: Any) -> str:
    """moto lets a subject of 100 characters, other letters than ASCII, and line breaks pass.

    What it doesn't know it takes for a phone's endpoint; without a slash it is a topic (SNS-5).
    """
    arn = options.get("arn")
    if arn and "/" not in arn:
        self.get_topic(arn)
    subject = options.get("subject")
    if subject is not None and (
        not 1 <= len(subject) <= MAX_SUBJECT_CHARACTERS or not re.fullmatch(r"[\x21-\x7e][\x20-\x7e]*", subject)
    ):
        raise AwsError("InvalidParameter", "Invalid parameter: Subject")
    if len(message.encode()) > MAX_MESSAGE_BYTES:
        raise AwsError("InvalidParameter", "Invalid parameter: Message too long")
    if not message:
        raise AwsError("InvalidParameter", "Invalid parameter: Empty message")
    structure = options.get("message_structure")
    if structure == "json":
        forms_of(message)
    elif structure is not None:
        raise AwsError("InvalidParameter", f"Invalid parameter: Invalid Message Structure parameter: {structure}")
    return original(self, message, **options)


def forms_of(message: str) -> dict[str, str]:
    """The forms of a message with MessageStructure json, by protocol.

    moto looks only when it delivers, so a message without subscribers may be anything.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("Duplicate keys are not allowed")
        return dict(pairs)

    try:
        forms = json.loads(message, object_pairs_hook=once)
    except ValueError:
        forms = None
    if not isinstance(forms, dict):
        raise AwsError(
            "InvalidParameter", "Invalid parameter: Message Structure - JSON message body failed to parse"
        )
    # What is no string, and what is for no protocol, is ignored.
    forms = {key: value for key, value in forms.items() if key in PROTOCOLS and isinstance(value, str)}
    if "default" not in forms:
        raise AwsError(
            "InvalidParameter", "Invalid parameter: Message Structure - No default entry in JSON message body"
        )
    return forms


@patched(Subscription)
def _parse_message_structure(_: Any, self: Subscription, message: str, protocol: str) -> str:
    """moto takes the default for a form that is empty, and fails on what AWS ignores."""
    forms = forms_of(message)
    return forms.get(protocol, forms["default"])


@patched(Topic, "publish")
def publish_to_topic(original: Any, self: Topic, message: str, **options: Any) -> str:
    message_id = original(self, message, **options)
    attributes = options.get("message_attributes") or {}
    forms = forms_of(message) if options.get("message_structure") == "json" else {"default": message}
    _notices.append(
        {
            "message_id": message_id,
            "time": time.time(),
            "topic": self.arn,
            "subject": options.get("subject"),
            "message": forms.get("email", forms["default"]),
            "chat": _chat(forms.get("https", forms["default"])),
            "sms": forms.get("sms", forms["default"]),
            "subscribers": len(subscriptions.confirmed(self)),
            "attributes": {name: value.get("Value") for name, value in attributes.items()},
        }
    )
    return message_id


def _chat(message: str) -> dict[str, Any] | None:
    """The custom notification that Amazon Q Developer in chat applications makes of what it is sent.

    Null where it would drop the message ("Event received is not supported"): it takes events and alarms of AWS's
    services and its own schema, and nothing else.
    """
    try:
        sent = json.loads(message)
    except ValueError:
        return None
    if not isinstance(sent, dict) or (sent.get("version"), sent.get("source")) != ("1.0", "custom"):
        return None
    content, metadata = sent.get("content"), sent.get("metadata", {})
    if not isinstance(content, dict) or not isinstance(metadata, dict):
        return None
    title, description = content.get("title", ""), content.get("description")
    texts = [title, description, sent.get("id", ""), *(metadata.get(k, "") for k in ("threadId", "summary", "eventType"))]
    lists = [content.get("nextSteps", []), content.get("keywords", []), metadata.get("relatedResources", [])]
    context = metadata.get("additionalContext", {})
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(each, list) for each in lists):
        return None
    if not all(isinstance(text, str) for each in lists for text in each) or not isinstance(context, dict):
        return None
    if not all(isinstance(text, str) for text in context.values()):
        return None
    if content.get("textType", "client-markdown") != "client-markdown" or not description:
        return None
    if len(title) > MAX_TITLE_CHARACTERS or len(description) > MAX_DESCRIPTION_CHARACTERS:
        return None
    return sent


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
