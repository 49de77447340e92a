"""EventBridge Scheduler: schedules fire by the clock, or when a test says so."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.scheduler.models import EventBridgeSchedulerBackend, Schedule, scheduler_backends

from emulator import control, delivery, metrics, permissions
from emulator.aws_request import AwsError
from emulator.context import context
from emulator.patching import patched
from emulator.settings import settings

log = logging.getLogger("emulator")

TICK_SECONDS = 0.25

# ---- what Scheduler refuses ----

_RATE = re.compile(r"rate\((\d+) (minutes?|hours?|days?)\)")


def _every(expression: str) -> timedelta:
    found = _RATE.fullmatch(expression)
    if found is None or not int(found.group(1)):
        # AWS knows cron(…) and at(…) too.
        raise AwsError("ValidationException", f"Invalid Schedule Expression {expression}.")
    return timedelta(**{found.group(2).rstrip("s") + "s": int(found.group(1))})


@patched(EventBridgeSchedulerBackend)
def create_schedule(original: Any, self: EventBridgeSchedulerBackend, **parameters: Any) -> Schedule:
    _check(parameters)
    return original(self, **parameters)


@patched(EventBridgeSchedulerBackend)
def update_schedule(original: Any, self: EventBridgeSchedulerBackend, **parameters: Any) -> Schedule:
    _check(parameters)
    return original(self, **parameters)


def _check(parameters: dict[str, Any]) -> None:
    _every(parameters["schedule_expression"])
    target = parameters["target"]
    if not permissions.trusts(target["RoleArn"], "scheduler.amazonaws.com"):
        message = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
        raise AwsError("ValidationException", message)
    if target["Arn"].split(":")[2] == "lambda":
        try:
            json.loads(target.get("Input") or "{}")
        except ValueError:
            raise AwsError("ValidationException", "Lambda's Input must be valid JSON.") from None


# ---- firing ----


def fire(schedule: Schedule, when: datetime | None = None) -> str | None:
    """Invoke the target; returns the request id of a function's invocation. The caller holds the lock."""
    when = when or datetime.now(UTC)
    stamp = when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    target, execution = schedule.target, uuid.uuid4().hex[:16]
    payload = _payload(schedule, stamp, execution)
    sent = {"service": "scheduler.amazonaws.com", "source_arn": schedule.arn, "role_arn": target["RoleArn"]}
    # Counted by group, and for every attempt, whatever becomes of it (SCH-1).
    metrics.put("AWS/Scheduler", "InvocationAttemptCount", 1, "Count", {"ScheduleGroup": schedule.group_name})
    try:
        return delivery.send(target["Arn"], payload, sender=f"schedule {schedule.name}", **sent)
    except delivery.DeliveryFailed as failed:
        service, action, request = _call_of(target["Arn"], payload)
        attributes = {
            "SCHEDULE_ARN": schedule.arn,
            "TARGET_ARN": f"arn:aws:scheduler:::aws-sdk:{service}:{action}",
            "ERROR_CODE": failed.of_target,
            "ERROR_MESSAGE": failed.message,
            "EXECUTION_ID": execution,
            "SCHEDULED_TIME": stamp,
            "IS_PAYLOAD_TRUNCATED": "false",
        }
        if failed.code != "NO_PERMISSIONS":
            # Only what isn't permanent is tried until the retry policy is used up, which takes no time here.
            attributes["EXHAUSTED_RETRY_CONDITION"] = "MaximumRetryAttempts"
        sender = f"dead letters of schedule {schedule.name}"
        delivery.send_dead_letter(target, request, attributes, sender=sender, **sent)
        return None


def _call_of(target_arn: str, payload: Any) -> tuple[str, str, dict[str, Any]]:
    """The API call that a templated target stands for: service, action, request (DLQ-1)."""
    _, _, service, region, account, name = target_arn.split(":", 5)
    text = payload if isinstance(payload, str) else json.dumps(payload)
    if service == "lambda":
        return service, "invoke", {"FunctionName": target_arn, "InvocationType": "Event", "Payload": text}
    if service == "sqs":
        url = f"https://sqs.{region}.amazonaws.com/{account}/{name}"
        return service, "sendMessage", {"MessageBody": text, "QueueUrl": url}
    if service == "sns":
        return service, "publish", {"TopicArn": target_arn, "Message": text}
    raise NotImplementedError(f"dead letters of a schedule's target {target_arn}")


def _payload(schedule: Schedule, stamp: str, execution: str) -> Any:
    if not schedule.target.get("Input"):
        return {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Scheduled Event",
            "source": "aws.scheduler",
            "account": context.account_id,
            "time": stamp,
            "region": context.region,
            "resources": [schedule.arn],
            "detail": "{}",
        }
    text = schedule.target["Input"]
    for name, value in {
        "schedule-arn": schedule.arn,
        "scheduled-time": stamp,
        "execution-id": execution,
        "attempt-number": "1",
    }.items():
        text = text.replace(f"<aws.scheduler.{name}>", value)
    try:
        return json.loads(text)
    except ValueError:
        return text


# ---- the clock ----


_due: dict[str, tuple[tuple[Any, ...], datetime]] = {}
"""When a schedule fires next, beside its signature, which changes with the schedule: then it starts anew."""


@control.on_reset
def clear() -> None:
    _due.clear()


def start_clock() -> None:
    threading.Thread(target=_run_clock, name="scheduler", daemon=True).start()


def _run_clock() -> None:
    while True:
        time.sleep(TICK_SECONDS)
        try:
            with context.lock:
                _tick(datetime.now(UTC))
        except Exception:
            log.exception("the scheduler")


def _tick(now: datetime) -> None:
    seen = set()
    for schedule in _schedules():
        seen.add(schedule.arn)
        signature = (schedule.schedule_expression, schedule.last_modified_date)
        start = _moment(schedule.start_date)
        before, at = _due.get(schedule.arn, (None, now))
        if before != signature:
            # A rate starts at once when no start is given.
            at = max(now, start) if start else now
        is_due = now >= at
        # A time that passed while it was off isn't made up.
        while at <= now:
            at += _every(schedule.schedule_expression)
        _due[schedule.arn] = signature, at
        if is_due and _may_fire(schedule, now):
            fire(schedule, now)
    for arn in _due.keys() - seen:
        del _due[arn]


def _may_fire(schedule: Schedule, now: datetime) -> bool:
    end = _moment(schedule.end_date)
    return settings.schedules_fire and schedule.state == "ENABLED" and (end is None or now <= end)


def _moment(value: Any) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    if isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, UTC)
    moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _schedules() -> list[Schedule]:
    groups = scheduler_backends[context.account_id][context.region].schedule_groups.values()
    return [schedule for group in groups for schedule in list(group.schedules.values())]


# ---- control ----


@control.route("GET", "schedules")
def get_schedules(_: dict[str, Any]) -> Any:
    return {
        "schedules": [
            {
                "name": s.name,
                "group": s.group_name,
                "expression": s.schedule_expression,
                "timezone": s.schedule_expression_timezone,
                "state": s.state,
                "target": s.target["Arn"],
                "input": s.target.get("Input"),
            }
            for s in _schedules()
        ]
    }


@control.route("POST", "schedules/fire")
def fire_schedule(body: dict[str, Any]) -> Any:
    """Fire a schedule at once, as if it were due; also one that is disabled."""
    found = [s for s in _schedules() if s.name == body["name"] and body.get("group", s.group_name) == s.group_name]
    if not found:
        names = ", ".join(sorted(s.name for s in _schedules())) or "none"
        raise control.ControlError(f"no schedule {body['name']!r}; there are: {names}")
    return {"request_id": fire(found[0])}
