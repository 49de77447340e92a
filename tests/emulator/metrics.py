"""Metrics that functions log in the embedded metric format, as CloudWatch would extract them.

They go into moto's CloudWatch, so that alarms and dashboards can be looked at, and are listed by the control API.
"""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends

from emulator import control
from emulator.context import context

# CloudWatch's limits of the embedded metric format.
_MAX_DIMENSIONS = 30
_MAX_VALUES = 100


@dataclass
class Metric:
    namespace: str
    name: str
    value: float
    unit: str
    dimensions: dict[str, str]
    time: float


_metrics: deque[Metric] = deque(maxlen=100_000)


def put(
    namespace: str, name: str, value: float, unit: str, dimensions: dict[str, str], at: float | None = None
) -> None:
    """Record one data point. The caller holds the lock."""
    at = at or time.time()
    _metrics.append(Metric(namespace, name, value, unit, dimensions, at))
    datum = {
        "MetricName": name,
        "Value": value,
        "Unit": unit,
        "Dimensions": [{"Name": k, "Value": v} for k, v in dimensions.items()],
        # As moto keeps those of PutMetricData.
        "Timestamp": datetime.fromtimestamp(at, UTC).replace(tzinfo=None),
    }
    cloudwatch_backends[context.account_id][context.region].put_metric_data(namespace, [datum])


def from_log_lines(lines: list[str]) -> None:
    """Extract the metrics of each line that is a document in the embedded metric format."""
    for line in lines:
        if '"_aws"' not in line:
            continue
        try:
            _extract(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError):
            # CloudWatch ignores a malformed document too (and counts it as EMFValidationErrors).
            put("AWS/Logs", "EMFValidationErrors", 1, "Count", {})


def _extract(document: dict[str, Any]) -> None:
    at = document["_aws"]["Timestamp"] / 1000
    for directive in document["_aws"]["CloudWatchMetrics"]:
        for names in directive.get("Dimensions", [[]]):
            if len(names) > _MAX_DIMENSIONS:
                raise ValueError(f"{len(names)} dimensions, at most {_MAX_DIMENSIONS}")
            dimensions = {name: str(document[name]) for name in names}
            for metric in directive["Metrics"]:
                values = document[metric["Name"]]
                values = values if isinstance(values, list) else [values]
                if len(values) > _MAX_VALUES:
                    raise ValueError(f"{len(values)} values, at most {_MAX_VALUES}")
                for value in values:
                    put(
                        directive["Namespace"], metric["Name"], float(value), metric.get("Unit", "None"), dimensions, at
                    )


def age(seconds: float) -> None:
    """Simulated time passes: what was measured lies farther back. The caller holds the lock."""
    for metric in _metrics:
        metric.time -= seconds
    for datum in cloudwatch_backends[context.account_id][context.region].metric_data:
        datum.timestamp -= timedelta(seconds=seconds)


@control.route("GET", "metrics")
def get_metrics(filters: dict[str, Any]) -> Any:
    unknown = filters.keys() - {"namespace", "name"}
    if unknown:
        raise control.ControlError(f"unknown filter {', '.join(sorted(unknown))}")
    found = [m for m in _metrics if all(getattr(m, k) == v for k, v in filters.items())]
    return {"metrics": [asdict(m) for m in found]}


@control.on_reset
def clear() -> None:
    _metrics.clear()
