"""What the benchmark's cost (`make bench BENCH=--cost`) takes for granted is what the template has."""

import re

import samstack
from test_template_alarms import ALARMS, BASIC, metrics_of

SOURCE = (samstack.ROOT / "tests/src/bin/bench/cost.rs").read_text()


def constant(name: str) -> float:
    (value,) = re.findall(rf"^const {name}: \w+ = ([\d.]+);$", SOURCE, re.MULTILINE)
    return float(value)


def test_each_metric_that_an_alarm_looks_at_is_counted():
    assert constant("ALARM_METRICS") == sum(len(metrics_of(alarm)) for alarm in ALARMS.values())
    metric_alarms = [alarm for alarm in ALARMS.values() if alarm.get("Period", 60) < 60]
    assert not metric_alarms, "of high resolution, which cost more"
    assert constant("BASIC_ALARM_METRICS") == sum(len(metrics_of(alarm)) for alarm in BASIC.values())


def test_logs_are_kept_as_long_as_is_counted(stack):
    groups = stack.of_type("AWS::Logs::LogGroup").values()
    assert {int(group["RetentionInDays"]) for group in groups} == {30 * constant("LOG_MONTHS")}


def test_each_function_has_the_memory_that_is_measured(stack):
    source = (samstack.ROOT / "tests/src/bin/bench/function.rs").read_text()
    (memory,) = re.findall(r"const MEMORY_MIB: u16 = (\d+);", source)
    measured = {name: memory for name in re.findall(r'"(\w+Function)"', source)}
    functions = stack.of_type("AWS::Lambda::Function")
    assert {name: str(function["MemorySize"]) for name, function in functions.items()} == measured


def test_sweeps_come_as_often_as_is_counted():
    defaults = {name: samstack.source()["Parameters"][name]["Default"] for name in samstack.source()["Parameters"]}
    assert defaults["SweepSchedule"] == "rate(15 minutes)"
    assert defaults["RefreshSweepSchedule"] == defaults["LaunchSweepSchedule"] == "rate(5 minutes)"
    assert "let (slow, fast) = (MONTH * 24.0 * 4.0, MONTH * 24.0 * 12.0);" in SOURCE


def test_only_resources_that_are_counted_cost_anything(stack):
    """A new kind of resource must be thought of, there and here."""
    free = {
        "AWS::CloudFormation::Stack",
        "AWS::Events::Rule",
        "AWS::IAM::InstanceProfile",
        "AWS::IAM::ManagedPolicy",
        "AWS::IAM::Role",
        "AWS::Lambda::Alias",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Lambda::Permission",
        "AWS::Logs::QueryDefinition",
        "AWS::SNS::Subscription",
        "AWS::SNS::TopicPolicy",
        "AWS::SQS::QueuePolicy",
        "AWS::Scheduler::ScheduleGroup",
    }
    counted = {
        "AWS::CloudWatch::Alarm",
        "AWS::CloudWatch::Dashboard",
        "AWS::DynamoDB::Table",
        "AWS::Lambda::Function",
        "AWS::Logs::LogGroup",
        "AWS::Scheduler::Schedule",
        "AWS::SNS::Topic",
        "AWS::SQS::Queue",
    }
    # On demand: a query or two a sweep and a write a notice are a few cents a month.
    cents = {"AWS::DynamoDB::Table"}
    full = samstack.full_stack()
    resources = [*full.resources.values(), *full.monitoring.resources.values()]
    assert {resource["Type"] for resource in resources} <= free | counted | cents
