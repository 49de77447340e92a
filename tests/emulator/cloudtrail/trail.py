"""The record of calls, and the events that a trail puts on the bus.

Delivery is best effort and late in AWS (AMI-1); here it is as late as the settings say.
"""

from __future__ import annotations

import re
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import unescape
from typing import Any

from moto.ec2.models import ec2_backends

from emulator import aws_request, control, events, operations
from emulator.aws_request import AwsRequest, Response
from emulator.callers import Environment
from emulator.cloudtrail import principals, shapes
from emulator.cloudtrail.principals import Principal
from emulator.context import context, later
from emulator.settings import settings


@dataclass
class Record:
    event: dict[str, Any]
    """As it stands in the log file and in the event's `detail`."""
    principal: Principal
    resources: list[tuple[str, str]]
    recorded: float = field(default_factory=time.time)


_records: deque[Record] = deque(maxlen=20_000)


def visible() -> list[Record]:
    """What LookupEvents knows by now, newest first."""
    until = time.time() - settings.cloudtrail_lookup_delay_seconds
    return [record for record in reversed(_records) if record.recorded <= until]


@control.on_reset
def forget() -> None:
    _records.clear()


# What is recorded of the calls that arrive

_EC2 = (
    "RunInstances",
    "StartInstances",
    "StopInstances",
    "TerminateInstances",
    "CreateLaunchTemplate",
    "CreateLaunchTemplateVersion",
    "ModifyLaunchTemplate",
    "DeleteLaunchTemplate",
    "DeleteLaunchTemplateVersions",
    "CopyImage",
    "CreateImage",
    "DeregisterImage",
    "RegisterImage",
    "ModifyInstanceAttribute",
    "ModifyNetworkInterfaceAttribute",
)


def _is_recorded(request: AwsRequest) -> bool:
    if request.region not in ("", context.region):
        return False
    if request.service == "ec2":
        return request.operation in _EC2
    return request.service == "autoscaling" and not request.operation.startswith("Describe")


@operations.observers.append
def observe(request: AwsRequest, environment: Environment | None, response: Response) -> None:
    if not _is_recorded(request):
        return
    status, headers, body = response
    code = aws_request.error_code(status, dict(headers), body)
    reservation = _reservation(body) if code is None and request.operation == "RunInstances" else None
    key = request.access_key_id
    record(
        request.service,
        request.operation,
        request.parameters,
        principals.of(key, environment),
        access_key_id=key,
        error=None if code is None else (code, _message(body), status),
        reservation=reservation,
    )


def _reservation(body: bytes) -> Any:
    found = re.search(rb"<reservationId>([^<]+)</reservationId>", body)
    return ec2_backends[context.account_id][context.region].reservations.get(found.group(1).decode()) if found else None


def _message(body: bytes) -> str:
    found = re.search(rb"<Message>(.*?)</Message>", body, re.DOTALL)
    return unescape(found.group(1).decode()) if found else ""


def record(
    service: str,
    operation: str,
    given: dict[str, Any],
    principal: Principal,
    *,
    access_key_id: str | None = None,
    error: tuple[str, str, int] | None = None,
    reservation: Any = None,
) -> None:
    """Record a call of a service, and tell the bus. The caller holds the lock."""
    host = {"autoscaling": "autoscaling.amazonaws.com", "ec2": "ec2.amazonaws.com"}[service]
    request_id = str(uuid.uuid4())
    event: dict[str, Any] = {
        "eventVersion": "1.11",
        "userIdentity": principal.identity(access_key_id),
        "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": host,
        "eventName": operation,
        "awsRegion": context.region,
        "sourceIPAddress": principal.source,
        "userAgent": principal.agent,
    }
    if error is not None:
        code, message, status = error
        # EC2 says whose fault it was.
        prefix = ("Server." if status >= 500 else "Client.") if service == "ec2" else ""
        event |= {"errorCode": f"{prefix}{code}", "errorMessage": message}
    event["requestParameters"] = shapes.request_parameters(service, operation, given)
    answered = None
    if reservation is not None:
        requester = None if principal.invoked_by is None else context.account_id
        answered = shapes.launched(reservation, request_id, requester)
    event["responseElements"] = answered
    event |= {
        "requestID": request_id,
        "eventID": str(uuid.uuid4()),
        "readOnly": False,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": context.account_id,
        "eventCategory": "Management",
    }
    resources = shapes.resources(service, operation, given, reservation)
    _records.append(Record(event, principal, resources))
    if not settings.cloudtrail_events:
        return
    if settings.cloudtrail_event_delay_seconds:
        later(settings.cloudtrail_event_delay_seconds, _tell, service, event)
    else:
        _tell(service, event)


def _tell(service: str, event: dict[str, Any]) -> None:
    time_of_call = datetime.fromisoformat(event["eventTime"].replace("Z", "+00:00"))
    events.emit(f"aws.{service}", "AWS API Call via CloudTrail", [], event, time_of_call)
