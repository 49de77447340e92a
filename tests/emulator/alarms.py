"""CloudWatch alarms: states with the moments of their transitions, and the events that tell of them.

A test or a person sets the state (SetAlarmState, as `aws cloudwatch set-alarm-state` does), or has it evaluated: see
alarm_evaluation.py.
"""

from __future__ import annotations

import base64
import uuid
from datetime import UTC
from typing import Any

from moto.cloudwatch.models import Alarm, CloudWatchBackend
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import ActionResult
from moto.core.utils import utcnow

from emulator import events
from emulator.aws_request import AwsError
from emulator.context import context
from emulator.patching import added, patched

MAX_NAMES = 100
MAX_RECORDS = 100


@patched(Alarm, "__init__")
def initial_state(original: Any, self: Alarm, *args: Any, **kwargs: Any) -> None:
    """A new alarm has no data yet; moto calls it OK."""
    original(self, *args, **kwargs)
    self.state_value = "INSUFFICIENT_DATA"
    self.state_reason = "Unchecked: Initial alarm creation"
    self.state_reason_data = ""
    self.state_transitioned_timestamp = self.state_updated_timestamp
    # The event names the metric by an id that nobody chose.
    self._metric_id = str(uuid.uuid4())


@patched(CloudWatchBackend)
def put_metric_alarm(original: Any, self: CloudWatchBackend, *args: Any, **kwargs: Any) -> Alarm:
    """An update leaves the state as it is; moto starts anew."""
    before = self.alarms.get(kwargs.get("name") or (args[0] if args else ""))
    alarm = original(self, *args, **kwargs)
    if before is not None:
        for name in ("state_value", "state_reason", "state_reason_data", "state_updated_timestamp"):
            setattr(alarm, name, getattr(before, name))
        alarm.state_transitioned_timestamp = before.state_transitioned_timestamp
        alarm.history = before.history
    return alarm


@patched(Alarm)
def update_state(original: Any, self: Alarm, reason: str, reason_data: str | None, state_value: str) -> None:
    """StateUpdatedTimestamp moves with each update, StateTransitionedTimestamp and the event only with a new state."""
    previous = _state(self)
    changed = state_value != self.state_value
    original(self, reason, reason_data or "", state_value)
    self.state_updated_timestamp = utcnow()
    if changed:
        self.state_transitioned_timestamp = self.state_updated_timestamp
        _announce(self, previous)


def _state(alarm: Alarm) -> dict[str, Any]:
    state = {"value": alarm.state_value, "reason": alarm.state_reason}
    if alarm.state_reason_data and alarm.state_reason_data != "{}":
        state["reasonData"] = alarm.state_reason_data
    moment = alarm.state_updated_timestamp.strftime("%Y-%m-%dT%H:%M:%S.")
    return state | {"timestamp": f"{moment}{alarm.state_updated_timestamp.microsecond // 1000:03d}+0000"}


def _announce(alarm: Alarm, previous: dict[str, Any]) -> None:
    if alarm.region_name != context.region:
        return
    detail = {
        "alarmName": alarm.name,
        "state": _state(alarm),
        "previousState": previous,
        "configuration": _configuration(alarm),
    }
    # EventBridge has the event's own time, whole seconds; the state's has milliseconds.
    events.emit(
        "aws.cloudwatch",
        "CloudWatch Alarm State Change",
        [alarm.alarm_arn],
        detail,
        alarm.state_updated_timestamp.replace(tzinfo=UTC),
    )


def _configuration(alarm: Alarm) -> dict[str, Any]:
    description = {"description": alarm.description} if alarm.description else {}
    if alarm.rule is not None:
        return {"alarmRule": alarm.rule} | description
    if alarm.metric_data_queries:
        return {"metrics": [_query(q) for q in alarm.metric_data_queries]} | description
    metric = {
        "namespace": alarm.namespace,
        "name": alarm.metric_name,
        "dimensions": {d.name: d.value for d in alarm.dimensions},
    }
    statistic = alarm.statistic or alarm.extended_statistic
    stat = {"metric": metric, "period": int(alarm.period or 60), "stat": statistic}
    return {"metrics": [{"id": alarm._metric_id, "metricStat": stat, "returnData": True}]} | description


def _query(query: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": query.id, "returnData": query.return_data is not False}
    if query.expression:
        return shown | {"expression": query.expression}
    metric = query.metric_stat.metric
    dimensions = {d.name: d.value for d in metric.dimensions or []}
    return shown | {
        "metricStat": {
            "metric": {"namespace": metric.namespace, "name": metric.metric_name, "dimensions": dimensions},
            "period": int(query.metric_stat.period),
            "stat": query.metric_stat.stat,
        }
    }


@added(CloudWatchResponse)
def put_composite_alarm(self: CloudWatchResponse) -> ActionResult:
    """moto keeps them with the others, and has no way to make one."""
    return self.put_metric_alarm()


@patched(CloudWatchResponse)
def describe_alarms(_original: Any, self: CloudWatchResponse) -> ActionResult:
    """moto answers every alarm at once, composite ones too, and takes any number of names."""
    backend = self.cloudwatch_backend
    names, prefix = self._get_param("AlarmNames", []), self._get_param("AlarmNamePrefix")
    if len(names) > MAX_NAMES:
        raise AwsError(
            "ValidationError",
            f"1 validation error detected: Value '{names}' at 'alarmNames' failed to satisfy constraint: Member must "
            f"have length less than or equal to {MAX_NAMES}",
        )
    if names and prefix:
        raise AwsError("ValidationError", "AlarmNames and AlarmNamePrefix can't be used together.")
    size = int(self._get_param("MaxRecords") or MAX_RECORDS)
    if not 1 <= size <= MAX_RECORDS:
        raise AwsError("ValidationError", f"MaxRecords must be between 1 and {MAX_RECORDS}")
    types = self._get_param("AlarmTypes") or ["MetricAlarm"]
    action, state = self._get_param("ActionPrefix"), self._get_param("StateValue")
    chosen = [
        alarm
        for alarm in sorted(backend.alarms.values(), key=lambda a: a.name)
        if (not names or alarm.name in names)
        and (not prefix or alarm.name.startswith(prefix))
        and (not action or any(a.startswith(action) for a in alarm.alarm_actions))
        and (not state or alarm.state_value == state)
        and ("MetricAlarm" if alarm.rule is None else "CompositeAlarm") in types
    ]
    after = _after(self._get_param("NextToken"))
    chosen = [alarm for alarm in chosen if alarm.name > after]
    page = chosen[:size]
    token = base64.b64encode(page[-1].name.encode()).decode() if len(chosen) > size else None
    return ActionResult(
        {
            "MetricAlarms": [a for a in page if a.rule is None],
            "CompositeAlarms": [a for a in page if a.rule is not None],
            "NextToken": token,
        }
    )


def _after(token: str | None) -> str:
    if not token:
        return ""
    try:
        return base64.b64decode(token, validate=True).decode()
    except ValueError:
        raise AwsError("InvalidNextToken", "The next token specified is invalid.") from None


@patched(CloudWatchBackend)
def set_alarm_state(
    original: Any, self: CloudWatchBackend, alarm_name: str, reason: str, reason_data: str | None, state_value: str
) -> None:
    if alarm_name not in self.alarms:
        raise AwsError("ResourceNotFound", f"Alarm {alarm_name} does not exist", 404)
    original(self, alarm_name, reason, reason_data, state_value)


