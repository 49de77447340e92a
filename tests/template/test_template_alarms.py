"""Every alarm reaches somebody and says what to do; the sweep's absence is noticed."""

import re

import pytest
import samstack

ALARMS = samstack.default_stack().of_type("AWS::CloudWatch::Alarm")


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
    for variable, value in generous.items():
        text = text.replace(variable, value)
    text = re.sub(r"\$\{DeadLetterQueue\}", "https://sqs.ap-southeast-99.amazonaws.com/123456789012/" + "q" * 80, text)
    text = re.sub(r"\$\{PolicyParameterName\}", "/" + "p" * 100, text)
    text = re.sub(r"\$\{[^}]+\}", "x" * 80, text)
    assert len(text) <= 1024


def test_alarms_name_metrics_that_the_stack_has(stack):
    own = {
        ("AWS/Lambda", "FunctionName", stack.attribute("SnapshotVolumesFunction", "Ref")),
        ("AWS/SQS", "QueueName", stack.attribute("DeadLetterQueue", "QueueName")),
        ("Ec2Guardrails", "Guardrail", "snapshot-volumes"),
    }
    for name, alarm in ALARMS.items():
        (dimension,) = alarm["Dimensions"]
        assert (alarm["Namespace"], dimension["Name"], dimension["Value"]) in own, name


def test_the_metric_of_stale_volumes_is_the_one_that_the_code_writes():
    alarm = ALARMS["VolumesStaleAlarm"]
    sources = "\n".join(
        path.read_text()
        for folder in ("shared/src", "functions/snapshot-volumes/src")
        for path in (samstack.ROOT / folder).rglob("*.rs")
    )
    for name in (alarm["Namespace"], alarm["MetricName"], *[d["Name"] for d in alarm["Dimensions"]]):
        assert f'"{name}"' in sources, name


def test_missing_sweeps_are_noticed(stack):
    """SAM-6: no invocation means no data, which must count as bad."""
    alarm = ALARMS["SweepsMissingAlarm"]
    assert (alarm["MetricName"], alarm["Statistic"]) == ("Invocations", "Sum")
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)
    assert alarm["TreatMissingData"] == "breaching"
    pattern = samstack.source()["Parameters"]["SweepSchedule"]["AllowedPattern"]
    longest = max(minutes for minutes in range(1, 1000) if re.fullmatch(pattern, f"rate({minutes} minutes)"))
    window = alarm["Period"] * alarm["EvaluationPeriods"]
    assert window >= 2 * longest * 60, "at the longest interval a late sweep is no missing sweep"
    assert "SweepsMissingAlarm" not in samstack.Stack(Sweeps="DISABLED").resources


def test_stale_volumes_are_seen_in_each_period():
    alarm = ALARMS["VolumesStaleAlarm"]
    assert alarm["Period"] >= 30 * 60, "each period holds a sweep, whatever the interval"
    # Without sweeps nothing is known to be better.
    assert alarm["TreatMissingData"] == "ignore"


def test_long_runs_are_seen_before_the_timeout(stack):
    timeout = stack.properties("SnapshotVolumesFunction")["Timeout"] * 1000
    assert 0.9 * timeout <= ALARMS["SnapshotVolumesDurationAlarm"]["Threshold"] < timeout


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
