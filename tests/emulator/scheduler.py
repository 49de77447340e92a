"""EventBridge Scheduler, and rules with a schedule: they fire by the clock, or when a test says so."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from moto.events.models import Rule, events_backends
from moto.scheduler.models import EventBridgeSchedulerBackend, Schedule, scheduler_backends

from emulator import control, delivery, events, metrics, permissions
from emulator.aws_request import AwsError
from emulator.context import context
from emulator.patching import patched
from emulator.settings import settings

log = logging.getLogger("emulator")

TICK_SECONDS = 0.25

# ---- expressions ----

_RATE = re.compile(r"rate\((\d+) (minutes?|hours?|days?)\)")
_CRON = re.compile(r"cron\(([^)]+)\)")
_AT = re.compile(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)")
_MONTHS = {name: i for i, name in enumerate("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split(), 1)}
_DAYS = {name: i for i, name in enumerate("SUN MON TUE WED THU FRI SAT".split(), 1)}


class BadExpression(ValueError):
    pass


@dataclass(frozen=True)
class Rate:
    every: timedelta


@dataclass(frozen=True)
class At:
    when: datetime


@dataclass(frozen=True)
class Cron:
    """Fields as AWS has them: minutes hours day-of-month month day-of-week (1 = Sunday) year."""

    minutes: frozenset[int]
    hours: frozenset[int]
    day_of_month: str
    months: frozenset[int]
    day_of_week: str
    years: frozenset[int]

    def matches(self, local: datetime) -> bool:
        """Whether it fires in this minute of its time zone. The hour that daylight saving repeats counts once."""
        return (
            local.fold == 0
            and local.minute in self.minutes
            and local.hour in self.hours
            and local.month in self.months
            and local.year in self.years
            and self._day_matches(local)
        )

    def _day_matches(self, local: datetime) -> bool:
        if self.day_of_week == "?":
            return _day_of_month_matches(self.day_of_month, local)
        return _day_of_week_matches(self.day_of_week, local)


def parse_expression(text: str, zone: ZoneInfo | timezone) -> Rate | Cron | At:
    if found := _RATE.fullmatch(text):
        unit = found.group(2).rstrip("s") + "s"
        every = timedelta(**{unit: int(found.group(1))})
        if not every:
            raise BadExpression(text)
        return Rate(every)
    if found := _AT.fullmatch(text):
        return At(datetime.fromisoformat(found.group(1)).replace(tzinfo=zone))
    if found := _CRON.fullmatch(text):
        return _parse_cron(found.group(1))
    raise BadExpression(text)


def _parse_cron(text: str) -> Cron:
    fields = text.split()
    if len(fields) != 6:
        raise BadExpression(f"cron({text}): expected 6 fields, got {len(fields)}")
    minute, hour, day_of_month, month, day_of_week, year = (field.upper() for field in fields)
    if (day_of_month == "?") == (day_of_week == "?"):
        raise BadExpression(f"cron({text}): one of day-of-month and day-of-week must be ?, and only one")
    cron = Cron(
        _values(minute, 0, 59),
        _values(hour, 0, 23),
        day_of_month,
        _values(month, 1, 12, _MONTHS),
        day_of_week,
        _values(year, 1970, 2199),
    )
    cron._day_matches(datetime(2024, 1, 1))  # raises for a field that makes no sense
    return cron


def _values(field: str, lowest: int, highest: int, names: dict[str, int] | None = None) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        part, _, step = part.partition("/")
        first, _, last = part.partition("-")
        try:
            if part == "*":
                low, high = lowest, highest
            else:
                low = (names or {}).get(first) or int(first)
                high = ((names or {}).get(last) or int(last)) if last else highest if step else low
            if not lowest <= low <= high <= highest:
                raise ValueError
            found.update(range(low, high + 1, int(step or 1)))
        except ValueError:
            raise BadExpression(f"the field {field!r} isn't in {lowest}-{highest}") from None
    return frozenset(found)


def _days_in_month(local: datetime) -> int:
    following = (local.replace(day=28) + timedelta(days=4)).replace(day=1)
    return (following - timedelta(days=1)).day


def _day_of_month_matches(field: str, local: datetime) -> bool:
    last = _days_in_month(local)
    if field == "L":
        return local.day == last
    if nearest := re.fullmatch(r"(\d{1,2})W", field):
        day = min(int(nearest.group(1)), last)
        weekday = local.replace(day=day).weekday()
        if weekday == 5:
            day += -1 if day > 1 else 2
        elif weekday == 6:
            day += 1 if day < last else -2
        return local.day == day
    return local.day in _values(field, 1, 31)


def _day_of_week_matches(field: str, local: datetime) -> bool:
    weekday = local.isoweekday() % 7 + 1
    if field == "L":
        return weekday == 7
    if last := re.fullmatch(r"(\w+)L", field):
        (wanted,) = _values(last.group(1), 1, 7, _DAYS)
        return weekday == wanted and local.day + 7 > _days_in_month(local)
    if nth := re.fullmatch(r"(\w+)#([1-5])", field):
        (wanted,) = _values(nth.group(1), 1, 7, _DAYS)
        return weekday == wanted and (local.day - 1) // 7 + 1 == int(nth.group(2))
    return weekday in _values(field, 1, 7, _DAYS)


# ---- what Scheduler refuses ----


@patched(EventBridgeSchedulerBackend)
def create_schedule(original: Any, self: EventBridgeSchedulerBackend, **parameters: Any) -> Schedule:
    _check(parameters)
    return original(self, **parameters)


@patched(EventBridgeSchedulerBackend)
def update_schedule(original: Any, self: EventBridgeSchedulerBackend, **parameters: Any) -> Schedule:
    _check(parameters)
    return original(self, **parameters)


def _check(parameters: dict[str, Any]) -> None:
    expression = parameters["schedule_expression"]
    try:
        zone = _zone(parameters.get("schedule_expression_timezone"))
    except (KeyError, ValueError):
        raise AwsError("ValidationException", "The timezone provided is invalid.") from None
    try:
        parse_expression(expression, zone)
    except BadExpression:
        raise AwsError("ValidationException", f"Invalid Schedule Expression {expression}.") from None
    target = parameters["target"]
    if not permissions.trusts(target["RoleArn"], "scheduler.amazonaws.com"):
        message = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
        raise AwsError("ValidationException", message)
    if target["Arn"].split(":")[2] == "lambda":
        try:
            json.loads(target.get("Input") or "{}")
        except ValueError:
            raise AwsError("ValidationException", "Lambda's Input must be valid JSON.") from None


def _zone(name: str | None) -> ZoneInfo:
    return ZoneInfo(name or "UTC")


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


def _fire_rule(rule: Rule, when: datetime) -> None:
    event = {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": context.account_id,
        "time": when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": context.region,
        "resources": [rule.arn],
        "detail": {},
    }
    events.send_to_targets(rule, event)


# ---- the clock ----


@dataclass
class _Due:
    """When a schedule fires next. The signature changes with the schedule, which then starts anew."""

    signature: tuple[Any, ...]
    expression: Rate | Cron | At
    zone: ZoneInfo | timezone
    next: datetime | None


_due: dict[str, _Due] = {}


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
        signature = (schedule.schedule_expression, schedule.schedule_expression_timezone, schedule.last_modified_date)
        start = _moment(schedule.start_date)
        # A rate starts at once when no start is given (unlike a rule's, which first waits).
        first = max(now, start) if start else now
        due = _due_of(schedule.arn, signature, _zone(schedule.schedule_expression_timezone), first, now)
        if _is_due(due, now) and _may_fire(schedule, now):
            fire(schedule, now)
            if isinstance(due.expression, At) and schedule.action_after_completion == "DELETE":
                _group_of(schedule).delete_schedule(schedule.name)
    for rule in _scheduled_rules():
        seen.add(rule.arn)
        signature = (rule.scheduled_expression, rule.state)
        due = _due_of(rule.arn, signature, UTC, None, now)
        if _is_due(due, now) and rule.state != "DISABLED" and settings.schedules_fire:
            _fire_rule(rule, now)
    for arn in _due.keys() - seen:
        del _due[arn]


def _due_of(
    arn: str, signature: tuple[Any, ...], zone: ZoneInfo | timezone, first: datetime | None, now: datetime
) -> _Due:
    due = _due.get(arn)
    if due is None or due.signature != signature:
        expression = parse_expression(signature[0], zone)
        if isinstance(expression, Rate):
            at: datetime | None = first or now + expression.every
        elif isinstance(expression, At):
            at = expression.when
        else:
            at = _next_minute(first or now)
        due = _due[arn] = _Due(signature, expression, zone, at)
    return due


def _next_minute(now: datetime) -> datetime:
    return now.replace(second=0, microsecond=0) + timedelta(minutes=1)


def _is_due(due: _Due, now: datetime) -> bool:
    """Whether it fires now; moves on to the next time. A time that passed while it was off isn't made up."""
    if due.next is None or now < due.next:
        return False
    at = due.next
    if isinstance(due.expression, At):
        due.next = None
        return True
    if isinstance(due.expression, Rate):
        while due.next <= now:
            due.next += due.expression.every
        return True
    due.next = _next_minute(now)
    return due.expression.matches(at.astimezone(due.zone))


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


def _group_of(schedule: Schedule) -> Any:
    return scheduler_backends[context.account_id][context.region].schedule_groups[schedule.group_name]


def _scheduled_rules() -> list[Rule]:
    bus = events_backends[context.account_id][context.region].event_buses["default"]
    return [rule for rule in bus.rules.values() if rule.scheduled_expression]


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
