"""Every alarm reaches somebody and says what to do; the absence of sweeps is noticed.

Basic monitoring has the alarms that cost cents, on numbers that AWS gives away; full monitoring has those and the ones on
the guardrails' own metrics, in a nested stack.
"""

import re
import sys

import pytest
import samstack
from guardrails import GUARDRAILS, each_guardrail

BASIC = samstack.default_stack().alarms()
ALARMS = samstack.full_stack().alarms()


def metrics_of(alarm: dict) -> set[tuple[str, str, str, str]]:
    """What an alarm looks at: namespace, name, and its one dimension's name and value."""
    metrics = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if "MetricStat" in query] or [alarm]
    found = set()
    for metric in metrics:
        (dimension,) = metric["Dimensions"]
        found.add((metric["Namespace"], metric["MetricName"], dimension["Name"], dimension["Value"]))
    return found


def test_basic_monitoring_has_an_alarm_on_dead_letters_and_one_on_each_guardrails_sweeps():
    assert BASIC.keys() == {"DeadLettersAlarm", *(f"{guardrail.logical}SweepsStoppedAlarm" for guardrail in GUARDRAILS)}
    # Of AWS's own: a metric of ours costs 0.30 dollars a month, and a quarter of the price of all the rest is enough.
    spaces = {space for alarm in BASIC.values() for space, *_ in metrics_of(alarm)}
    assert spaces == {"AWS/SQS", "AWS/Scheduler"}


def test_basic_monitoring_has_no_metric_and_no_dashboard_of_its_own(stack):
    assert not stack.of_type("AWS::CloudWatch::Dashboard") and not stack.of_type("AWS::CloudFormation::Stack")
    for monitoring, form in (("basic", "log"), ("full", "emf")):
        for guardrail in GUARDRAILS:
            environment = samstack.Stack(Monitoring=monitoring).properties(guardrail.function)["Environment"]["Variables"]
            assert environment["METRICS_FORM"] == form


def test_full_monitoring_adds_to_basic_and_takes_nothing_away():
    assert BASIC.items() <= ALARMS.items()
    assert len(ALARMS) - len(BASIC) == 21, "as the description of the parameter says"
    assert "21 alarms" in samstack.source()["Parameters"]["Monitoring"]["Description"]


def test_the_nested_template_is_what_its_generator_writes():
    sys.path.insert(0, str(samstack.MONITORING.parent))
    import generate

    assert samstack.MONITORING.read_text() == generate.rendered(), "run `make monitoring`"
    assert {guardrail.logical for guardrail in generate.GUARDRAILS} == {guardrail.logical for guardrail in GUARDRAILS}


def test_a_letter_is_told_and_so_is_a_later_one_of_another_cause():
    """What lies in the queue would keep the alarm as it is until somebody empties it: another cause would not be told."""
    alarm = BASIC["DeadLettersAlarm"]
    assert (alarm["MetricName"], alarm["Statistic"], alarm["Threshold"]) == ("NumberOfMessagesSent", "Sum", 1)
    assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
    assert alarm["TreatMissingData"] == "notBreaching", "it ends by itself"
    # A sweep that fails each time is told once.
    assert alarm["Period"] >= max(longest_interval(guardrail) for guardrail in GUARDRAILS)


@each_guardrail
def test_stopped_sweeps_are_noticed_by_what_scheduler_counts(stack, guardrail):
    name = f"{guardrail.logical}SweepsStoppedAlarm"
    alarm = BASIC[name]
    group = stack.properties(f"{guardrail.logical}Schedules")["Name"]
    # Scheduler counts by group, so each guardrail's schedule is alone in its own.
    assert metrics_of(alarm) == {("AWS/Scheduler", "InvocationAttemptCount", "ScheduleGroup", group)}
    grouped = [schedule["GroupName"] for schedule in stack.of_type("AWS::Scheduler::Schedule").values()]
    assert sorted(grouped) == sorted(set(grouped)) and stack.properties(guardrail.sweep)["GroupName"] == group
    assert (alarm["Statistic"], alarm["ComparisonOperator"], alarm["Threshold"]) == ("Sum", "LessThanThreshold", 1)
    assert alarm["TreatMissingData"] == "breaching"
    assert alarm["Period"] * alarm["EvaluationPeriods"] >= 2 * longest_interval(guardrail)
    assert samstack.source()["Resources"][name]["DependsOn"] == guardrail.sweep
    assert name not in samstack.Stack(Sweeps="DISABLED").resources


@each_guardrail
def test_a_saved_query_finds_the_figures_and_the_decisions(stack, guardrail):
    query = stack.properties(f"{guardrail.logical}Query")
    assert query["LogGroupNames"] == [stack.properties(f"{guardrail.logical}LogGroup")["LogGroupName"]]
    text, sources = query["QueryString"], guardrail.sources()
    figures = set(re.findall(r"\b[A-Z]\w+", text))
    assert {"Guardrail", "Considered"} < figures
    assert not [name for name in figures if f'"{name}"' not in sources]
    # As `tracing` writes them under Lambda's log format JSON.
    for word in ("done", "would do", "failed"):
        assert f'"{word}"' in text and f'"{word}"' in sources
    assert set(re.findall(r"fields\.(\w+)", text)) == {"message", "error_type", "resource", "action", "reason", "note"}


def test_each_guardrail_has_its_alarms():
    wanted = {
        name
        for guardrail in GUARDRAILS
        for name in (
            f"{guardrail.logical}ErrorsAlarm",
            f"{guardrail.logical}SweepsMissingAlarm",
            f"{guardrail.logical}SweepsStoppedAlarm",
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


def test_descriptions_fit_with_the_longest_names():
    """CloudWatch takes 1024 characters."""
    stack = samstack.Stack(
        region="ap-southeast-99",
        name="StackSet-ec2-guardrails-" + "f" * 36,
        Prefix="p" * 40,
        Monitoring="full",
        PolicyParameterArn="arn:aws:ssm:ap-southeast-99:123456789012:parameter/" + "p" * 100,
    )
    for name, alarm in stack.alarms().items():
        assert len(alarm["AlarmDescription"]) <= 1024, name


def test_alarms_name_metrics_that_the_stack_has(stack):
    own = {("AWS/SQS", "QueueName", stack.attribute("DeadLetterQueue", "QueueName"))}
    for guardrail in GUARDRAILS:
        own.add(("AWS/Scheduler", "ScheduleGroup", stack.attribute(f"{guardrail.logical}Schedules", "Ref")))
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
    own = {stack.attribute(guardrail.function, "Ref"), guardrail.name}  # the function is called as its schedule group
    own_alarms = guardrail.finding_alarms | guardrail.event_alarms
    names = {name for name in ALARMS if name.startswith(guardrail.logical)} | own_alarms
    assert len(names) == 4 + len(own_alarms)
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
    assert name not in samstack.Stack(Sweeps="DISABLED", Monitoring="full").alarms()


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
