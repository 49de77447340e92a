"""CloudWatch alarms: states, transitions, events."""

import time

import pytest
from ec2_help import eventually, refused


def alarm(cloudwatch, name="errors", **changes):
    parameters = {
        "AlarmName": name,
        "AlarmDescription": "too many errors",
        "Namespace": "App",
        "MetricName": "Errors",
        "Dimensions": [{"Name": "Service", "Value": "web"}],
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanThreshold",
    }
    cloudwatch.put_metric_alarm(**parameters | changes)


def describe(cloudwatch, *names, **options):
    return cloudwatch.describe_alarms(AlarmNames=list(names), **options)["MetricAlarms"]


def turn(cloudwatch, state, name="errors"):
    cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason=f"now {state}")


@pytest.fixture
def heard(listener):
    """The events that a rule on alarms sends to a function."""
    return listener({"source": ["aws.cloudwatch"], "detail-type": ["CloudWatch Alarm State Change"]}, "worker")


def test_states_and_their_moments(cloudwatch):
    alarm(cloudwatch)
    (new,) = describe(cloudwatch, "errors")
    assert new["StateValue"] == "INSUFFICIENT_DATA"
    turn(cloudwatch, "ALARM")
    (first,) = describe(cloudwatch, "errors")
    assert first["StateTransitionedTimestamp"] > new["StateTransitionedTimestamp"]
    time.sleep(0.01)
    turn(cloudwatch, "ALARM")
    (second,) = describe(cloudwatch, "errors")
    assert second["StateTransitionedTimestamp"] == first["StateTransitionedTimestamp"]
    assert second["StateUpdatedTimestamp"] > first["StateUpdatedTimestamp"]
    alarm(cloudwatch, Threshold=2)
    (updated,) = describe(cloudwatch, "errors")
    assert (updated["StateValue"], updated["Threshold"]) == ("ALARM", 2)
    assert updated["StateTransitionedTimestamp"] == first["StateTransitionedTimestamp"]


def test_an_event_for_each_transition(cloudwatch, heard):
    alarm(cloudwatch)
    turn(cloudwatch, "OK")
    turn(cloudwatch, "OK")
    turn(cloudwatch, "ALARM")
    events = eventually(lambda: len(found := heard()) >= 2 and found)
    events = sorted(events, key=lambda e: e["detail"]["state"]["timestamp"])
    assert [e["detail"]["state"]["value"] for e in events] == ["OK", "ALARM"]
    detail = events[1]["detail"]
    assert events[1]["resources"] == ["arn:aws:cloudwatch:eu-central-1:123456789012:alarm:errors"]
    assert detail["alarmName"] == "errors"
    assert detail["previousState"]["value"] == "OK"
    assert detail["state"]["reason"] == "now ALARM"
    (metric,) = detail["configuration"]["metrics"]
    assert metric["metricStat"] == {
        "metric": {"namespace": "App", "name": "Errors", "dimensions": {"Service": "web"}},
        "period": 60,
        "stat": "Sum",
    }
    assert detail["configuration"]["description"] == "too many errors"


def test_describing_by_names_and_pages(cloudwatch):
    for number in range(3):
        alarm(cloudwatch, f"a-{number}")
    assert [a["AlarmName"] for a in describe(cloudwatch, "a-2", "a-0", "gone")] == ["a-0", "a-2"]
    pages = cloudwatch.get_paginator("describe_alarms").paginate(PaginationConfig={"PageSize": 2})
    assert [a["AlarmName"] for p in pages for a in p["MetricAlarms"]] == ["a-0", "a-1", "a-2"]
    with refused("ValidationError", "100"):
        describe(cloudwatch, *(f"n{n}" for n in range(101)))


def test_composite_alarms_only_when_asked_for(cloudwatch):
    cloudwatch.put_composite_alarm(AlarmName="both", AlarmRule='ALARM("errors")')
    assert cloudwatch.describe_alarms(AlarmNames=["both"])["CompositeAlarms"] == []
    asked = cloudwatch.describe_alarms(AlarmNames=["both"], AlarmTypes=["CompositeAlarm"])
    assert [a["AlarmName"] for a in asked["CompositeAlarms"]] == ["both"]


def test_an_alarm_that_does_not_exist(cloudwatch):
    with refused("ResourceNotFound", status=404):
        turn(cloudwatch, "ALARM", "gone")
