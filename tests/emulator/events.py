"""The default event bus: events of AWS's services and of clients, and the rules that send them on."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from moto.events.models import Rule, events_backends

from emulator import control, delivery
from emulator.aws_request import AwsError, AwsRequest
from emulator.context import context
from emulator.operations import operation

MAX_ENTRIES = 10
MAX_REQUEST_BYTES = 256 * 1024


def emit(
    source: str, detail_type: str, resources: list[str], detail: dict[str, Any], time: datetime | None = None
) -> str:
    """Put an event of an AWS service on the default bus; returns its id. The caller holds the lock.

    Delivery is at least once and asynchronous (SAM-3): this returns before any target has run.
    """
    return _put(source, detail_type, resources, detail, time, "default")


def _put(source: str, detail_type: str, resources: list[str], detail: Any, time: datetime | None, bus_name: str) -> str:
    event = {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": detail_type,
        "source": source,
        "account": context.account_id,
        # EventBridge writes whole seconds.
        "time": (time or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": context.region,
        "resources": resources,
        "detail": detail,
    }
    deliver(event, bus_name)
    return event["id"]


def deliver(
    event: dict[str, Any], bus_name: str = "default", account: str | None = None, region: str | None = None
) -> None:
    """Send an event to the targets of each enabled rule that it matches. Raises KeyError if there is no such bus."""
    bus = events_backends[account or context.account_id][region or context.region].event_buses[bus_name]
    for rule in list(bus.rules.values()):
        if rule.state != "DISABLED" and rule.event_pattern.dump() and rule.event_pattern.matches_event(event):
            send_to_targets(rule, event)


def send_to_targets(rule: Rule, event: dict[str, Any]) -> None:
    for target in rule.targets:
        payload = _input(target, event)
        group_id = target.get("SqsParameters", {}).get("MessageGroupId")
        try:
            delivery.send(
                target["Arn"],
                payload,
                sender=f"rule {rule.name}",
                service="events.amazonaws.com",
                source_arn=rule.arn,
                role_arn=target.get("RoleArn"),
                group_id=group_id,
            )
        except delivery.DeliveryFailed as failed:
            # Neither cause gets better by itself, so EventBridge doesn't use the rule's retries for them.
            attributes = {
                "RULE_ARN": rule.arn,
                "TARGET_ARN": target["Arn"],
                "ERROR_CODE": failed.code,
                "ERROR_MESSAGE": failed.message,
            }
            delivery.send_dead_letter(
                target,
                event,
                attributes,
                sender=f"dead letters of rule {rule.name}",
                service="events.amazonaws.com",
                source_arn=rule.arn,
            )


def _input(target: dict[str, Any], event: dict[str, Any]) -> Any:
    if "Input" in target:
        return json.loads(target["Input"])
    if other := target.keys() & {"InputPath", "InputTransformer"}:
        raise NotImplementedError(f"{', '.join(other)} of a rule's target")
    return event


@operation("events", "PutEvents")
def put_events(request: AwsRequest) -> dict[str, Any]:
    entries = request.parameters["Entries"]
    if not 1 <= len(entries) <= MAX_ENTRIES:
        raise AwsError(
            "ValidationException",
            "1 validation error detected: Value '[PutEventsRequestEntry]' at 'entries' failed to satisfy constraint: "
            f"Member must have length less than or equal to {MAX_ENTRIES}",
        )
    if sum(map(_entry_bytes, entries)) > MAX_REQUEST_BYTES:
        raise AwsError("ValidationException", "Total size of the entries in the request is over the limit.")
    results = [_put_entry(entry) for entry in entries]
    return {"FailedEntryCount": sum("ErrorCode" in r for r in results), "Entries": results}


def _entry_bytes(entry: dict[str, Any]) -> int:
    """As EventBridge counts: 14 bytes for a time, and each text in UTF-8."""
    texts = [entry.get("Source"), entry.get("DetailType"), entry.get("Detail"), *(entry.get("Resources") or [])]
    return (14 if entry.get("Time") else 0) + sum(len(text.encode()) for text in texts if text)


def _put_entry(entry: dict[str, Any]) -> dict[str, Any]:
    for name in ("Source", "DetailType", "Detail"):
        if not entry.get(name):
            message = f"Parameter {name} is not valid. Reason: {name} is a required argument."
            return {"ErrorCode": "InvalidArgument", "ErrorMessage": message}
    if entry["Source"].startswith("aws."):
        # Only AWS's services may use this prefix; moto lets everybody.
        return {"ErrorCode": "NotAuthorizedForSourceException", "ErrorMessage": "Not authorized for the source."}
    try:
        detail = json.loads(entry["Detail"])
    except ValueError:
        detail = None
    if not isinstance(detail, dict):
        return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
    bus_name = (entry.get("EventBusName") or "default").rsplit("/", 1)[-1]
    if bus_name not in events_backends[context.account_id][context.region].event_buses:
        raise AwsError("ResourceNotFoundException", f"Event bus {bus_name} does not exist.")
    at = entry.get("Time")
    time = at if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC) if at else None
    resources = list(entry.get("Resources") or [])
    return {"EventId": _put(entry["Source"], entry["DetailType"], resources, detail, time, bus_name)}


@control.route("POST", "emit")
def emit_event(body: dict[str, Any]) -> Any:
    """Put an event on the bus as an AWS service would."""
    unknown = body.keys() - {"source", "detail_type", "resources", "detail", "time"}
    if unknown:
        raise control.ControlError(f"unknown field {', '.join(sorted(unknown))}")
    time = datetime.fromisoformat(body["time"].replace("Z", "+00:00")) if "time" in body else None
    return {"id": emit(body["source"], body["detail_type"], body.get("resources", []), body["detail"], time)}
