"""The picture shows all that the dashboard has, or isn't drawn."""

from __future__ import annotations

import copy
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import samstack

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from demo import dashboard  # noqa: E402

BODY = samstack.full_stack().monitoring.properties("Dashboard")["DashboardBody"]
WIDGETS = json.loads(BODY)["widgets"]
TEXT = next(widget for widget in WIDGETS if widget["type"] == "text")
ALARMS = next(widget for widget in WIDGETS if widget["type"] == "alarm")
GRAPH = next(widget for widget in WIDGETS if widget["properties"].get("view") == "timeSeries")


def read(*widgets) -> list[dashboard.Widget]:
    return dashboard.read(json.dumps({"widgets": widgets}))


def test_every_widget_of_the_template_is_known():
    widgets = dashboard.read(BODY)
    assert len(widgets) == len(WIDGETS)
    assert {widget.kind for widget in widgets} == {"text", "alarm", "singleValue", "timeSeries"}
    written = [tuple(line[:4]) for widget in WIDGETS for line in widget["properties"].get("metrics", []) if len(line) > 1]
    assert dashboard.metrics_of(widgets) == written


def changed(widget, **properties):
    widget = copy.deepcopy(widget)
    widget["properties"] |= properties
    return widget


@pytest.mark.parametrize(
    "widget",
    [
        TEXT | {"type": "explorer"},
        TEXT | {"colour": "red"},
        changed(TEXT, background="transparent"),
        changed(TEXT, markdown="see [this](https://example.com)"),
        changed(TEXT, markdown="- a list"),
        changed(ALARMS, states=["ALARM"]),
        changed(ALARMS, sortBy="timestamp"),
        changed(GRAPH, view="pie"),
        changed(GRAPH, stacked=True),
        changed(GRAPH, yAxis={"left": {"label": "volumes"}}),
        changed(GRAPH, metrics=[["Ec2Guardrails", "Done", "Guardrail", "x", {"label": "${AVG}"}]]),
        changed(GRAPH, metrics=[["Ec2Guardrails", "Done", "Guardrail", "x", {"region": "us-east-1"}]]),
        changed(GRAPH, metrics=[["Ec2Guardrails", "Done", "Guardrail", "x"], [".", "Failed", ".", "."]]),
    ],
)
def test_what_would_not_be_shown_is_refused(widget):
    with pytest.raises(dashboard.Unknown):
        read(widget)


def test_a_label_has_the_latest_value():
    (widget,) = read(changed(GRAPH, metrics=[["Ec2Guardrails", "Done", "Guardrail", "x", {"label": "done: ${LAST}"}]]))
    now = datetime.now(UTC)
    assert dashboard.Series(widget.lines[0], [now, now], [3.0, 5.0]).label == "done: 5"
    assert dashboard.Series(widget.lines[0], [], []).label == "done: --"


class Alarms:
    """CloudWatch with these alarms."""

    def __init__(self, **states: str) -> None:
        moment = datetime(2026, 11, 21, tzinfo=UTC)
        self.alarms = [
            {"AlarmName": name, "StateValue": state, "StateUpdatedTimestamp": moment.replace(hour=hour)}
            for hour, (name, state) in enumerate(states.items())
        ]

    def get_paginator(self, _name):
        return self

    def paginate(self, AlarmNames):
        return [{"MetricAlarms": [alarm for alarm in self.alarms if alarm["AlarmName"] in AlarmNames]}]


def test_alarms_are_in_the_order_of_their_states():
    arns = [f"arn:aws:cloudwatch:eu-central-1:123456789012:alarm:{name}" for name in "abcd"]
    (by_state,) = read(changed(ALARMS, alarms=arns))
    cloudwatch = Alarms(a="OK", b="ALARM", c="INSUFFICIENT_DATA", d="ALARM")
    assert [name for name, _ in dashboard.states(cloudwatch, by_state)] == ["d", "b", "c", "a"]
    (by_name,) = read(changed(ALARMS, alarms=arns, sortBy="default"))
    assert [name for name, _ in dashboard.states(cloudwatch, by_name)] == ["a", "b", "c", "d"]
    with pytest.raises(dashboard.Unknown, match="aren't there"):
        dashboard.states(Alarms(a="OK"), by_state)


class Metrics:
    """CloudWatch with the metrics of one function."""

    def get_paginator(self, _name):
        return self

    def paginate(self):
        dimensions = [{"Name": "Guardrail", "Value": "x"}]
        return [{"Metrics": [{"Namespace": "Ec2Guardrails", "MetricName": "Done", "Dimensions": dimensions}]}]


def test_a_metric_that_nobody_writes_is_found():
    done, failed = (("Ec2Guardrails", name, "Guardrail", "x") for name in ("Done", "Failed"))
    other = ("Ec2Guardrails", "Done", "Guardrail", "y")
    queue = ("AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", "dead")
    assert dashboard.without_data(Metrics(), [done, failed, other, queue]) == [failed, other]
