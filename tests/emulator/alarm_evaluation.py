"""What CloudWatch does each minute, done when it is asked for: queues are measured, metric alarms evaluated.

POST alarms/evaluate  {} → {"alarms": {name: state}}

An alarm looks at its last EvaluationPeriods periods, which end now, and no farther back. Composite alarms' rules are
not evaluated, and alarms run no actions.
"""

from __future__ import annotations

import operator
import time
from datetime import UTC
from typing import Any

from moto.cloudwatch.models import Alarm, Statistics, cloudwatch_backends
from moto.sqs.models import sqs_backends

from emulator import metric_math, metrics
from emulator.context import context
from emulator.control import ControlError, route

_COMPARISONS = {
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}


@route("POST", "alarms/evaluate")
def evaluate(body: dict[str, Any]) -> Any:
    if body:
        raise ControlError(f"unknown: {', '.join(sorted(body))}")
    now = time.time()
    _measure_queues(now)
    backend = cloudwatch_backends[context.account_id][context.region]
    data = [(_seconds(datum), datum) for datum in backend.get_all_metrics()]
    chosen = [alarm for alarm in backend.alarms.values() if alarm.rule is None]
    for alarm in chosen:
        state, reason = _judge(alarm, data, now)
        if state != alarm.state_value:
            alarm.update_state(reason, None, state)
    return {"alarms": {alarm.name: alarm.state_value for alarm in chosen}}


def _measure_queues(now: float) -> None:
    # Up to now, so that the evaluation sees it.
    at = now - 0.001
    for queue in sqs_backends[context.account_id][context.region].queues.values():
        visible = queue.approximate_number_of_messages
        dimensions = {"QueueName": queue.name}
        metrics.put("AWS/SQS", "ApproximateNumberOfMessagesVisible", float(visible), "Count", dimensions, at)


def _seconds(datum: Any) -> float:
    return datum.timestamp.replace(tzinfo=UTC).timestamp()


def _judge(alarm: Alarm, data: list[tuple[float, Any]], now: float) -> tuple[str, str]:
    """The alarm's state by its last periods, and why."""
    count = alarm.evaluation_periods
    needed = alarm.datapoints_to_alarm or count
    if alarm.comparison_operator not in _COMPARISONS or alarm.extended_statistic:
        raise ControlError(f"{alarm.name}: alarms on percentiles or bands aren't evaluated here")
    compare, words = _COMPARISONS[alarm.comparison_operator]
    values = _values(alarm, data, now)
    breaching = sum(1 for value in values if value is not None and compare(value, alarm.threshold))
    missing = sum(1 for value in values if value is None)
    treatment = alarm.treat_missing_data or "missing"
    if treatment == "breaching":
        breaching += missing
    fine = count - breaching - (missing if treatment in ("ignore", "missing") else 0)
    shown = ", ".join("missing" if value is None else f"{value:g}" for value in values)
    reason = f"of the last {count} datapoints [{shown}], {breaching} were {words} the threshold ({alarm.threshold:g})"
    if breaching >= needed:
        return "ALARM", f"Threshold Crossed: {reason}"
    if fine > count - needed:
        return "OK", f"Threshold not crossed: {reason}"
    if missing == count and treatment == "missing":
        return "INSUFFICIENT_DATA", f"Insufficient Data: {reason}"
    return alarm.state_value, alarm.state_reason


def _values(alarm: Alarm, data: list[tuple[float, Any]], now: float) -> list[float | None]:
    """The value of each period, the latest last; None where there is no data."""
    if not alarm.metric_data_queries:
        dimensions = {d.name: d.value for d in alarm.dimensions}
        one = _statistic(
            alarm.namespace, alarm.metric_name, dimensions, alarm.statistic, float(alarm.period), alarm, data, now
        )
        return [one.get(index) for index in range(alarm.evaluation_periods)]
    series: dict[str, metric_math.Series] = {}
    for query in alarm.metric_data_queries:
        if stat := query.metric_stat:
            dimensions = {d.name: d.value for d in stat.metric.dimensions or []}
            series[query.id] = _statistic(
                stat.metric.namespace, stat.metric.metric_name, dimensions, stat.stat, float(stat.period), alarm, data, now
            )
    (returned,) = [query for query in alarm.metric_data_queries if query.return_data is not False]
    result = metric_math.evaluate(returned.expression, series) if returned.expression else series[returned.id]
    return [result.get(index) for index in range(alarm.evaluation_periods)]


def _statistic(
    namespace: str,
    name: str,
    dimensions: dict[str, str],
    statistic: str,
    period: float,
    alarm: Alarm,
    data: list[tuple[float, Any]],
    now: float,
) -> metric_math.Series:
    """The statistic by the number of the period, from 0; without the periods that have no data."""
    count = alarm.evaluation_periods
    begin = now - count * period
    periods: dict[int, list[Any]] = {}
    for at, datum in data:
        if (
            begin <= at < now
            and datum.name == name
            and datum.namespace == namespace
            and {d.name: d.value for d in datum.dimensions} == dimensions
        ):
            periods.setdefault(min(int((at - begin) / period), count - 1), []).append(datum)
    made: metric_math.Series = {}
    for index, members in periods.items():
        statistics = Statistics([statistic], members[0].timestamp)
        statistics.metric_data = members
        made[index] = float(statistics.get_statistics_for_type(statistic))
    return made
