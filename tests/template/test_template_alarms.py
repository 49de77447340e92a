"""Every alarm reaches somebody and says what to do; the absence of sweeps is noticed."""

import re

import pytest
import samstack
from guardrails import GUARDRAILS

ALARMS = samstack.default_stack().of_type("AWS::CloudWatch::Alarm")

def metrics_of(alarm: dict) -> set[tuple[str, str, str, str]]:
    """What an alarm looks at: namespace, name, and its one dimension's name and value."""
    metrics = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if "MetricStat" in query] or [alarm]
    found = set()
    for metric in metrics:
        (dimension,) = metric["Dimensions"]
        found.add((metric["Namespace"], metric["MetricName"], dimension["Name"], dimension["Value"]))
    return found


each_guardrail = pytest.mark.parametrize("guardrail", GUARDRAILS, ids=lambda guardrail: guardrail.name)


def test_each_guardrail_has_its_alarms():
    wanted = {
        name
        for guardrail in GUARDRAILS
        for name in (
            f"{guardrail.logical}ErrorsAlarm",
            f"{guardrail.logical}SweepsMissingAlarm",
            f"{guardrail.logical}DurationAlarm",
            *guardrail.finding_alarms,
            *guardrail.event_alarms,
        )
    }
    assert set(ALARMS) == wanted | {"DeadLettersAlarm", "PolicyInvalidAlarm", "ThrottlesAlarm"}


@each_guardrail
def test_failed_runs_are_noticed(stack, guardrail):
    alarm = ALARMS[f"{guardrail.logical}ErrorsAlarm"]
    failed, *counts = alarm["Metrics"]
    # One cause is told once: an invalid policy has an alarm of its own. SUM leaves out what has no data, as a policy
    # that never was invalid; a plain difference would have no data then either.
    assert failed == {"Id": "failed", "Expression": "SUM([errors, -1 * invalid])"}
    assert [query["Id"] for query in counts] == ["errors", "invalid"]
    function = stack.attribute(guardrail.function, "Ref")
    assert metrics_of(alarm) == {
        ("AWS/Lambda", "Errors", "FunctionName", function),
        ("Ec2Guardrails", "PolicyInvalid", "Guardrail", guardrail.name),
    }
    assert {(q["ReturnData"], q["MetricStat"]["Stat"], q["MetricStat"]["Period"]) for q in counts} == {(False, "Sum", 3600)}
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanOrEqualToThreshold", 1)


@pytest.mark.parametrize("name", ALARMS)
def test_alarm_goes_to_the_topic_and_says_what_to_do(stack, name):
    alarm = ALARMS[name]
    assert alarm["AlarmActions"] == [stack.attribute("NotificationTopic", "Ref")]
    assert alarm.get("ActionsEnabled", True)
    assert "What to do:" in alarm["AlarmDescription"]
    assert alarm["TreatMissingData"] in {"breaching", "notBreaching", "ignore"}, "decided, not left open"


@pytest.mark.parametrize("name", ALARMS)
def test_description_fits_with_the_longest_names(name):
    """CloudWatch takes 1024 characters; a stack's name may have 46 before a function's is too long."""
    generous = {"${AWS::StackName}": "s" * 46, "${AWS::Region}": "ap-southeast-99"}
    text = samstack.source()["Resources"][name]["Properties"]["AlarmDescription"]
    text = text["Fn::Sub"] if isinstance(text, dict) else text
    text = text[0] if isinstance(text, list) else text
    for variable, value in generous.items():
        text = text.replace(variable, value)
    text = re.sub(r"\$\{DeadLetterQueue\}", "https://sqs.ap-southeast-99.amazonaws.com/123456789012/" + "q" * 80, text)
    text = re.sub(r"\$\{Parameter\}", "arn:aws:ssm:ap-southeast-99:123456789012:parameter/" + "p" * 100, text)
    text = re.sub(r"\$\{[^}]+\}", "x" * 80, text)
    assert len(text) <= 1024


def test_alarms_name_metrics_that_the_stack_has(stack):
    own = {("AWS/SQS", "QueueName", stack.attribute("DeadLetterQueue", "QueueName"))}
    for guardrail in GUARDRAILS:
        own.add(("AWS/Lambda", "FunctionName", stack.attribute(guardrail.function, "Ref")))
        own.add(("Ec2Guardrails", "Guardrail", guardrail.name))
    for name, alarm in ALARMS.items():
        for namespace, _, dimension, value in metrics_of(alarm):
            assert (namespace, dimension, value) in own, name


@pytest.mark.parametrize(
    ("name", "metric"), [("ThrottlesAlarm", "Throttles"), ("PolicyInvalidAlarm", "PolicyInvalid")]
)
def test_alarms_of_the_whole_stack_look_at_every_function(stack, name, metric):
    alarm = ALARMS[name]
    own = {stack.attribute(guardrail.function, "Ref") for guardrail in GUARDRAILS}
    if metric == "PolicyInvalid":
        own = {guardrail.name for guardrail in GUARDRAILS}
    assert {(metric, value) for value in own} == {(m, value) for _, m, _, value in metrics_of(alarm)}
    (total,) = (query for query in alarm["Metrics"] if "Expression" in query)
    terms = {query["Id"] for query in alarm["Metrics"] if query is not total}
    # Without FILL, a function with no data would leave the others out too.
    assert set(re.findall(r"FILL\((\w+), 0\)", total["Expression"])) == terms
    assert all(query.get("ReturnData") is False for query in alarm["Metrics"] if query is not total)
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanOrEqualToThreshold", 1)
    assert alarm["TreatMissingData"] == "notBreaching"


@each_guardrail
def test_an_invalid_policy_is_counted_by_the_code(guardrail):
    assert '"PolicyInvalid"' in guardrail.sources()


@each_guardrail
def test_an_alarm_is_about_the_guardrail_that_it_names(stack, guardrail):
    own = {stack.attribute(guardrail.function, "Ref"), guardrail.name}
    own_alarms = guardrail.finding_alarms | guardrail.event_alarms
    names = {name for name in ALARMS if name.startswith(guardrail.logical)} | own_alarms
    assert len(names) == 3 + len(own_alarms)
    for name in names:
        assert {value for *_, value in metrics_of(ALARMS[name])} <= own, name
        others = [one for one in GUARDRAILS if one is not guardrail]
        text = ALARMS[name]["AlarmName"] + ALARMS[name]["AlarmDescription"]
        assert not [one.name for one in others if one.name in text], name


@each_guardrail
def test_the_metrics_of_our_own_are_those_that_the_code_writes(guardrail):
    alarms = [
        alarm
        for alarm in ALARMS.values()
        if "Dimensions" in alarm
        and (alarm["Namespace"], alarm["Dimensions"][0]["Value"]) == ("Ec2Guardrails", guardrail.name)
    ]
    assert alarms
    sources = guardrail.sources()
    for alarm in alarms:
        for name in (alarm["Namespace"], alarm["MetricName"], *[d["Name"] for d in alarm["Dimensions"]]):
            assert f'"{name}"' in sources, name


def longest_interval(guardrail) -> int:
    """The longest interval between sweeps that the parameter allows, in seconds."""
    pattern = samstack.source()["Parameters"][guardrail.schedule]["AllowedPattern"]
    return 60 * max(minutes for minutes in range(2, 1000) if re.fullmatch(pattern, f"rate({minutes} minutes)"))


@each_guardrail
def test_missing_sweeps_are_noticed(guardrail):
    """SAM-6: no sweep means no data, which must count as bad."""
    name = f"{guardrail.logical}SweepsMissingAlarm"
    alarm = ALARMS[name]
    # Events invoke the functions too, which in Lambda's own count would hide that sweeps don't come.
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Statistic"]) == ("Ec2Guardrails", "Considered", "SampleCount")
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)
    assert alarm["TreatMissingData"] == "breaching"
    window = alarm["Period"] * alarm["EvaluationPeriods"]
    assert window >= 2 * longest_interval(guardrail), "at the longest interval a late sweep is no missing sweep"
    # Made after the schedule, whose first sweep starts at once.
    assert samstack.source()["Resources"][name]["DependsOn"] == guardrail.sweep
    assert name not in samstack.Stack(Sweeps="DISABLED").resources


@each_guardrail
def test_findings_are_seen_in_each_period(guardrail):
    assert guardrail.finding_alarms | guardrail.event_alarms
    for alarm in (ALARMS[name] for name in guardrail.finding_alarms):
        assert (alarm["Namespace"], alarm["Statistic"]) == ("Ec2Guardrails", "Maximum")
        assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanOrEqualToThreshold", 1)
        assert alarm["Period"] >= longest_interval(guardrail), "each period holds a sweep, whatever the interval"
        # Without sweeps nothing is known to be better.
        assert alarm["TreatMissingData"] == "ignore"


@each_guardrail
def test_what_happened_is_told_at_once_and_once(guardrail):
    for alarm in (ALARMS[name] for name in guardrail.event_alarms):
        assert (alarm["Namespace"], alarm["Statistic"]) == ("Ec2Guardrails", "Sum")
        assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanOrEqualToThreshold", 1)
        assert alarm["TreatMissingData"] == "notBreaching", "it ends by itself"


@each_guardrail
def test_long_runs_are_seen_before_the_timeout(stack, guardrail):
    timeout = stack.properties(guardrail.function)["Timeout"] * 1000
    assert 0.9 * timeout <= ALARMS[f"{guardrail.logical}DurationAlarm"]["Threshold"] < timeout


def test_topic_takes_alarms_of_this_stack_only(stack):
    (policy,) = stack.of_type("AWS::SNS::TopicPolicy").values()
    allows = [s for s in policy["PolicyDocument"]["Statement"] if s["Effect"] == "Allow"]
    (statement,) = allows
    assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": samstack.ACCOUNT}
    prefix = statement["Condition"]["ArnLike"]["aws:SourceArn"].rsplit(":", 1)[1].removesuffix("*")
    for name, alarm in ALARMS.items():
        assert alarm["AlarmName"].startswith(prefix), name
    # Alarms can't publish to a topic under the AWS managed key.
    assert "KmsMasterKeyId" not in stack.properties("NotificationTopic")
