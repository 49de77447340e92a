"""LookupEvents: the event history by one attribute, newest first."""

from __future__ import annotations

import base64
import json
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any

from emulator.aws_request import AwsError, AwsRequest
from emulator.cloudtrail import trail
from emulator.cloudtrail.trail import Record
from emulator.control import on_reset
from emulator.operations import operation
from emulator.settings import settings

MAX_RESULTS = 50
_KEYS = ("EventId", "EventName", "ReadOnly", "Username", "ResourceType", "ResourceName", "EventSource", "AccessKeyId")
_recent: deque[float] = deque(maxlen=1000)


@on_reset
def forget() -> None:
    _recent.clear()


@operation("cloudtrail", "LookupEvents")
def lookup_events(request: AwsRequest) -> dict[str, Any]:
    _throttle()
    given = request.parameters
    size = int(given.get("MaxResults") or MAX_RESULTS)
    if not 1 <= size <= MAX_RESULTS:
        raise AwsError("InvalidMaxResultsException", f"MaxResults must be between 1 and {MAX_RESULTS}.")
    attributes = given.get("LookupAttributes") or []
    if len(attributes) > 1:
        raise AwsError("InvalidLookupAttributesException", "You can specify only one lookup attribute.")
    for attribute in attributes:
        if attribute.get("AttributeKey") not in _KEYS or not attribute.get("AttributeValue"):
            raise AwsError("InvalidLookupAttributesException", f"Unknown lookup attribute {attribute}.")
    start, end = _seconds(given.get("StartTime")), _seconds(given.get("EndTime"))
    if start is not None and end is not None and start > end:
        raise AwsError("InvalidTimeRangeException", "The start time is after the end time.")
    found = [
        record
        for record in trail.visible()
        if all(a["AttributeValue"] in _values(record, a["AttributeKey"]) for a in attributes)
        and (start is None or int(record.recorded) >= int(start))
        and (end is None or int(record.recorded) <= int(end))
    ]
    found = _after(found, given.get("NextToken"))
    page = found[:size]
    more = {}
    if len(found) > size:
        more["NextToken"] = base64.b64encode(page[-1].event["eventID"].encode()).decode()
    return {"Events": [_shown(record) for record in page], **more}


def _throttle() -> None:
    """Two calls a second for each account and Region, says AWS."""
    allowed = settings.lookup_events_per_second
    if not allowed:
        return
    now = time.monotonic()
    while _recent and now - _recent[0] >= 1:
        _recent.popleft()
    if len(_recent) >= allowed:
        raise AwsError("ThrottlingException", "Rate exceeded")
    _recent.append(now)


def _seconds(moment: Any) -> float | None:
    if moment is None:
        return None
    if isinstance(moment, datetime):
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    return float(moment)


def _values(record: Record, key: str) -> list[str]:
    event = record.event
    return {
        "EventId": [event["eventID"]],
        "EventName": [event["eventName"]],
        "EventSource": [event["eventSource"]],
        "ReadOnly": ["false"],
        "Username": [record.principal.user_name],
        "AccessKeyId": [event["userIdentity"].get("accessKeyId", "")],
        "ResourceName": [name for _, name in record.resources],
        "ResourceType": [kind for kind, _ in record.resources],
    }[key]


def _after(records: list[Record], token: str | None) -> list[Record]:
    if not token:
        return records
    try:
        last = base64.b64decode(token, validate=True).decode()
    except ValueError:
        last = ""
    for index, record in enumerate(records):
        if record.event["eventID"] == last:
            return records[index + 1 :]
    raise AwsError("InvalidNextTokenException", "The next token is invalid.")


def _shown(record: Record) -> dict[str, Any]:
    event = record.event
    key = event["userIdentity"].get("accessKeyId")
    return {
        "EventId": event["eventID"],
        "EventName": event["eventName"],
        "ReadOnly": "false",
        **({"AccessKeyId": key} if key else {}),
        "EventTime": datetime.fromisoformat(event["eventTime"].replace("Z", "+00:00")),
        "EventSource": event["eventSource"],
        "Username": record.principal.user_name,
        "Resources": [{"ResourceType": kind, "ResourceName": name} for kind, name in record.resources],
        "CloudTrailEvent": json.dumps(event),
    }
