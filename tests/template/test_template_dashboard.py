"""The dashboard shows every guardrail and every alarm, with metrics that exist."""

import json
import re

import samstack
from guardrails import GUARDRAILS, each_guardrail

DASHBOARD = samstack.full_stack().monitoring.properties("Dashboard")
WIDGETS = json.loads(DASHBOARD["DashboardBody"])["widgets"]


def lines() -> list[list]:
    return [line for widget in WIDGETS for line in widget["properties"].get("metrics", [])]


def shown() -> list[tuple[str, str, str, str]]:
    """Namespace, name and dimension of each metric; what is computed of them is not another one."""
    return [tuple(line[:4]) for line in lines() if "expression" not in line[0]]


def test_it_costs_nothing():
    """Up to three dashboards with at most 50 metrics each are free."""
    assert 0 < len(shown()) <= 50
    assert len(set(shown())) == len(shown()), "shown twice"


def test_it_can_be_left_out():
    without = samstack.Stack(Monitoring="full", Dashboard="never").monitoring
    assert not without.of_type("AWS::CloudWatch::Dashboard")
    assert "DashboardName" not in without.outputs


def test_every_widget_shows_this_region_and_none_lies_on_another():
    taken: set[tuple[int, int]] = set()
    for widget in WIDGETS:
        cells = {
            (x, y)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        }
        assert not taken & cells, widget
        assert widget["x"] + widget["width"] <= 24, "CloudWatch's grid is 24 wide"
        taken |= cells
        if widget["type"] == "metric":
            assert widget["properties"]["region"] == samstack.REGION, "without one, a widget shows us-east-1"
            assert widget["properties"]["title"]


def test_what_is_wrong_is_seen_first(stack):
    """Who opens it at night sees the alarms without scrolling, those in ALARM before all others."""
    (widget,) = (widget for widget in WIDGETS if widget["type"] == "alarm")
    assert (widget["x"], widget["y"]) == (0, 0)
    assert widget["properties"]["sortBy"] == "stateUpdatedTimestamp"


def test_what_is_computed_names_metrics_of_its_own_widget():
    for widget in WIDGETS:
        own = widget["properties"].get("metrics", [])
        ids = {line[-1]["id"] for line in own if "expression" not in line[0] and "id" in line[-1]}
        for line in own:
            if "expression" in line[0]:
                assert set(re.findall(r"[a-z]\w*", line[0]["expression"])) <= ids, line


def test_the_same_colour_means_the_same():
    """Red is what somebody has to look at, so it is never what is as it should be."""
    colours: dict[str, set[str]] = {}
    for line in lines():
        label = line[-1].get("label", "").split(":")[0]
        colours.setdefault(line[-1].get("color", ""), set()).add(label)
    good = {"protected", "managed nodes", "approved", "done"}
    assert colours["#2ca02c"] == good
    assert colours["#d62728"] & {"failed", "without a fresh snapshot", "stopped", "in quarantine"}


def test_each_legend_has_the_latest_value():
    for widget in WIDGETS:
        if widget["properties"].get("view") == "timeSeries":
            for line in widget["properties"]["metrics"]:
                assert line[-1].get("visible") is False or line[-1]["label"].endswith(": ${LAST}"), line


def test_every_alarm_is_on_it(stack):
    (widget,) = (widget for widget in WIDGETS if widget["type"] == "alarm")
    prefix = f"arn:aws:cloudwatch:{samstack.REGION}:{samstack.ACCOUNT}:alarm:"
    # Of a guardrail's sweeps that don't come, the alarm on what it measures and the one on what Scheduler counts.
    names = [alarm["AlarmName"] for alarm in samstack.full_stack().alarms().values()]
    assert sorted(widget["properties"]["alarms"]) == sorted(prefix + name for name in names)


@each_guardrail
def test_each_guardrail_shows_what_it_looked_at_and_did_and_how_its_runs_went(stack, guardrail):
    own = {(space, name) for space, name, _, value in shown() if value == guardrail.name}
    assert own >= {("Ec2Guardrails", name) for name in ("Considered", "Done", "WouldDo", "Failed", "Left")}
    function = stack.attribute(guardrail.function, "Ref")
    runs = {(space, name) for space, name, _, value in shown() if value == function}
    assert runs == {("AWS/Lambda", "Duration"), ("AWS/Lambda", "Errors")}


@each_guardrail
def test_its_metrics_are_those_that_the_code_writes(guardrail):
    own = [(name, dimension) for space, name, dimension, value in shown() if value == guardrail.name]
    assert {dimension for _, dimension in own} == {"Guardrail"}
    missing = [name for name, _ in own if f'"{name}"' not in guardrail.sources()]
    assert not missing


def test_every_metric_belongs_to_the_stack(stack):
    known = {guardrail.name for guardrail in GUARDRAILS}
    known |= {stack.attribute(guardrail.function, "Ref") for guardrail in GUARDRAILS}
    known |= {stack.attribute("DeadLetterQueue", "QueueName")}
    assert {value for _, _, _, value in shown()} == known


@each_guardrail
def test_what_an_alarm_is_about_is_on_it(stack, guardrail):
    """Who follows an alarm to the dashboard finds its metric there."""
    for name in guardrail.finding_alarms | guardrail.event_alarms:
        alarm = samstack.full_stack().alarms()[name]
        (dimension,) = alarm["Dimensions"]
        assert (alarm["Namespace"], alarm["MetricName"], "Guardrail", dimension["Value"]) in shown(), name


def queries(stack: samstack.Stack) -> list[dict]:
    """The widgets of the dashboard that costs nothing until somebody looks."""
    return json.loads(stack.properties("QueryDashboard")["DashboardBody"])["widgets"]


def test_basic_monitoring_has_a_dashboard_only_where_it_is_asked_for(stack):
    assert not stack.of_type("AWS::CloudWatch::Dashboard")
    assert not samstack.Stack(Dashboard="never").of_type("AWS::CloudWatch::Dashboard")
    always = samstack.Stack(Dashboard="always")
    full = samstack.Stack(Dashboard="always", Monitoring="full")
    assert list(always.of_type("AWS::CloudWatch::Dashboard")) == ["QueryDashboard"]
    assert not full.of_type("AWS::CloudWatch::Dashboard") and full.monitoring.of_type("AWS::CloudWatch::Dashboard")
    assert always.properties("QueryDashboard")["DashboardName"] == DASHBOARD["DashboardName"]


@each_guardrail
def test_its_queries_draw_figures_that_the_code_writes(guardrail):
    stack = samstack.Stack(Dashboard="always")
    (widget,) = (widget for widget in queries(stack) if widget["properties"]["title"] == guardrail.name)
    source, query = widget["properties"]["query"].split(" | ", 1)
    group = stack.properties(f"{guardrail.logical}LogGroup")["LogGroupName"]
    assert source == f"SOURCE '{group}'"
    figures = re.findall(r"max\((\w+)\)", query)
    assert len(figures) == 4 and "Failed" in figures
    assert not [name for name in figures if f'"{name}"' not in guardrail.sources()]


def test_the_queries_are_of_the_guardrails_that_there_are():
    for absent in GUARDRAILS:
        stack = samstack.Stack(Dashboard="always", **{absent.logical: "false"})
        widgets = queries(stack)
        assert len(widgets) == len(GUARDRAILS)
        present = {f"/aws/lambda/{samstack.STACK}-{guardrail.name}" for guardrail in GUARDRAILS if guardrail != absent}
        assert set(re.findall(r"SOURCE '([^']*)'", json.dumps(widgets))) == present
        (table,) = (widget for widget in widgets if widget["properties"]["view"] == "table")
        # Each log a `SOURCE` of its own, before everything else.
        assert table["properties"]["query"].count("SOURCE ") == len(present)
        assert not re.search(r"\| (?!SOURCE).*SOURCE", table["properties"]["query"])
        assert {widget["properties"]["region"] for widget in widgets} == {samstack.REGION}
