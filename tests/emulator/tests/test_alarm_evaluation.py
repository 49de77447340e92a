"""Alarms as CloudWatch evaluates them, metric math, and a queue's metric."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import allow, make_role
from ec2_help import refused
from test_alarms import alarm, describe

TEMPLATE = Path(__file__).resolve().parents[3] / "shared/monitoring/template.yaml"


def put(cloudwatch, value, *, age=5, name="Errors", service="web", namespace="App"):
    datum = {
        "MetricName": name,
        "Value": value,
        "Dimensions": [{"Name": "Service", "Value": service}],
        "Timestamp": datetime.now(UTC) - timedelta(seconds=age),
    }
    cloudwatch.put_metric_data(Namespace=namespace, MetricData=[datum])


def evaluate(emulator, name="errors"):
    return emulator.control("POST", "alarms/evaluate")["alarms"][name]


def test_a_threshold_is_crossed_and_no_longer(emulator, cloudwatch):
    alarm(cloudwatch)
    put(cloudwatch, 1)
    assert evaluate(emulator) == "OK", "1 isn't greater than 1"
    put(cloudwatch, 1)
    assert evaluate(emulator) == "ALARM", "their sum is"
    (found,) = describe(cloudwatch, "errors")
    assert "[2], 1 were greater than the threshold (1)" in found["StateReason"]
    emulator.control("POST", "autoscaling/pass", seconds=60, step=60)
    assert evaluate(emulator) == "INSUFFICIENT_DATA", "a minute later"


@pytest.mark.parametrize(
    ("treatment", "state"),
    [("breaching", "ALARM"), ("notBreaching", "OK"), ("ignore", "ALARM"), ("missing", "INSUFFICIENT_DATA")],
)
def test_missing_data(emulator, cloudwatch, treatment, state):
    alarm(cloudwatch, TreatMissingData=treatment)
    cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="before")
    assert evaluate(emulator) == state


@pytest.mark.parametrize("elsewhere", [{"service": "api"}, {"namespace": "Other"}, {"name": "Faults"}, {"age": 90}])
def test_only_its_own_metric_and_periods_count(emulator, cloudwatch, elsewhere):
    alarm(cloudwatch)
    put(cloudwatch, 5, **elsewhere)
    assert evaluate(emulator) == "INSUFFICIENT_DATA"


def test_as_many_periods_as_it_says(emulator, cloudwatch):
    alarm(cloudwatch, EvaluationPeriods=3, DatapointsToAlarm=2, TreatMissingData="notBreaching")
    put(cloudwatch, 5, age=90)
    assert evaluate(emulator) == "OK"
    put(cloudwatch, 5, age=150)
    assert evaluate(emulator) == "ALARM"


def test_a_count_of_samples_below_a_threshold(emulator, cloudwatch):
    alarm(
        cloudwatch,
        Statistic="SampleCount",
        ComparisonOperator="LessThanThreshold",
        TreatMissingData="breaching",
    )
    assert evaluate(emulator) == "ALARM"
    put(cloudwatch, 0)
    assert evaluate(emulator) == "OK"


def query(name, service, **more):
    metric = {"Namespace": "App", "MetricName": "Errors", "Dimensions": [{"Name": "Service", "Value": service}]}
    return {"Id": name, "ReturnData": False, "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}} | more


def test_an_alarm_on_metric_math(emulator, cloudwatch):
    cloudwatch.put_metric_alarm(
        AlarmName="errors",
        Metrics=[
            {"Id": "all", "Expression": "SUM([FILL(web, 0), FILL(api, 0)])", "ReturnData": True},
            query("web", "web"),
            query("api", "api"),
        ],
        EvaluationPeriods=1,
        Threshold=3,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="notBreaching",
    )
    assert evaluate(emulator) == "OK"
    put(cloudwatch, 2)
    assert evaluate(emulator) == "OK", "the other one has no data"
    put(cloudwatch, 1, service="api")
    assert evaluate(emulator) == "ALARM"


def data(cloudwatch, expression, *more):
    now = datetime.now(UTC).replace(microsecond=0)
    answer = cloudwatch.get_metric_data(
        MetricDataQueries=[query("web", "web"), *more, {"Id": "made", "Expression": expression}],
        StartTime=now - timedelta(seconds=180),
        EndTime=now + timedelta(seconds=60),
        ScanBy="TimestampAscending",
    )
    return answer["MetricDataResults"][-1]["Values"]


def test_metric_math_of_data(cloudwatch):
    put(cloudwatch, 90, age=100)
    put(cloudwatch, 30, age=20)
    assert data(cloudwatch, "web / 60") == [1.5, 0.5]
    assert data(cloudwatch, "(web + 10) * 2 - web") == [110, 50]
    assert data(cloudwatch, "SUM([web, -1 * web, web])") == [90, 30]


def test_what_the_stack_s_alarms_compute_is_known():
    from emulator import metric_math

    expressions = set(re.findall(r"^ +Expression: (.+)$", TEMPLATE.read_text(), re.M))
    # Of the guardrails that there are, CloudFormation makes the sum of these.
    terms = set(re.findall(r"FILL\(\w+, 0\)", TEMPLATE.read_text()))
    assert expressions and len(terms) == 4, "nothing found, so the search is broken"
    expressions.add(f"SUM([{', '.join(sorted(terms))}])")
    for expression in expressions:
        series = {name: {0: 2.0} for name in re.findall(r"\b[a-z]\w*\b", expression)}
        assert metric_math.evaluate(expression, series), expression


@pytest.mark.parametrize("expression", ["RATE(web)", "nothing / 2", "web +", "2", "SUM([1])"])
def test_metric_math_that_is_not_known_is_refused(cloudwatch, expression):
    with refused("ValidationError", expression):
        data(cloudwatch, expression)


def test_a_queue_is_measured(emulator, client, cloudwatch):
    url = client("sqs").create_queue(QueueName="dead")["QueueUrl"]
    alarm(
        cloudwatch,
        Namespace="AWS/SQS",
        MetricName="ApproximateNumberOfMessagesVisible",
        Dimensions=[{"Name": "QueueName", "Value": "dead"}],
        Statistic="Maximum",
        Threshold=0,
    )
    assert evaluate(emulator) == "OK"
    client("sqs").send_message(QueueUrl=url, MessageBody="{}")
    assert evaluate(emulator) == "ALARM"
    metric = {"Namespace": "AWS/SQS", "MetricName": "ApproximateNumberOfMessagesVisible"}
    metric["Dimensions"] = [{"Name": "QueueName", "Value": "dead"}]
    queue = {"Id": "queue", "ReturnData": False, "MetricStat": {"Metric": metric, "Period": 60, "Stat": "SampleCount"}}
    assert data(cloudwatch, "queue", queue) == [2], "and its data can be got as any other"


def test_what_was_measured_grows_older_with_the_groups(emulator, cloudwatch):
    put(cloudwatch, 4, age=10)
    emulator.control("POST", "autoscaling/pass", seconds=120, step=30)
    assert data(cloudwatch, "web") == [4]
    emulator.control("POST", "autoscaling/pass", seconds=120, step=30)
    assert data(cloudwatch, "web") == [], "more than three minutes ago"


def test_what_a_queue_was_sent_is_counted(emulator, client, cloudwatch):
    """What the alarm on dead letters looks at: emptying the queue changes nothing, a further letter does."""
    url = client("sqs").create_queue(QueueName="dead")["QueueUrl"]
    alarm(
        cloudwatch,
        Namespace="AWS/SQS",
        MetricName="NumberOfMessagesSent",
        Dimensions=[{"Name": "QueueName", "Value": "dead"}],
        Statistic="Sum",
        Threshold=0,
        Period=60,
        TreatMissingData="notBreaching",
    )
    assert evaluate(emulator) == "OK"
    client("sqs").send_message(QueueUrl=url, MessageBody="{}")
    assert evaluate(emulator) == "ALARM"
    client("sqs").purge_queue(QueueUrl=url)
    assert evaluate(emulator) == "ALARM", "it is about what came, not about what lies there"
    emulator.control("POST", "autoscaling/pass", seconds=120, step=30)
    assert evaluate(emulator) == "OK"
    client("sqs").send_message(QueueUrl=url, MessageBody="{}")
    assert evaluate(emulator) == "ALARM", "another cause is told again"


def test_scheduler_counts_its_attempts_by_group(emulator, client, cloudwatch, function):
    """What the alarm on sweeps that stopped looks at (SCH-1)."""
    scheduler = client("scheduler")
    role = make_role(client("iam"), "sweep", "scheduler", allow("lambda:InvokeFunction"))
    scheduler.create_schedule_group(Name="mine")
    target = {"Arn": function("worker"), "RoleArn": role, "Input": "{}"}
    for name, group in (("sweep", "mine"), ("other", "default")):
        scheduler.create_schedule(
            Name=name,
            GroupName=group,
            ScheduleExpression="rate(15 minutes)",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target=target,
            State="DISABLED",  # so that none fires by the clock
        )
    alarm(
        cloudwatch,
        Namespace="AWS/Scheduler",
        MetricName="InvocationAttemptCount",
        Dimensions=[{"Name": "ScheduleGroup", "Value": "mine"}],
        Statistic="Sum",
        ComparisonOperator="LessThanThreshold",
        Threshold=1,
        Period=60,
        TreatMissingData="breaching",
    )
    emulator.control("POST", "schedules/fire", name="other")
    assert evaluate(emulator) == "ALARM", "another group's don't count"
    emulator.control("POST", "schedules/fire", name="sweep")
    assert evaluate(emulator) == "OK"
    emulator.control("POST", "autoscaling/pass", seconds=120, step=30)
    assert evaluate(emulator) == "ALARM", "no sweep, no data"
