"""The rules match the events that they are for, and none that come close."""

import functools
import json

import pytest
import samstack
from guardrails import FINDINGS_BUS, GUARDRAILS, Guardrail, Rule
from iam_policy import allows
from moto.events.models import EventPattern, EventPatternParser

EVENTS = samstack.ROOT / "tests" / "events"
FIXTURES = sorted(path.name for path in EVENTS.glob("*.json") if path.name != "sweep.json")


def load(name: str) -> dict:
    return json.loads((EVENTS / name).read_text())


def fires(properties: dict, event: dict) -> bool:
    """Whether a rule with these properties sends `event` on."""
    pattern = json.dumps(properties["EventPattern"])
    matched = EventPattern(pattern, EventPatternParser(pattern).parse()).matches_event(event)
    return matched and properties.get("State", "ENABLED") == "ENABLED"


def matches(stack, guardrail: Guardrail, rule: Rule, event: dict) -> bool:
    return fires(stack.properties(guardrail.rule(rule)), event)


@functools.cache
def listening(guardrail: Guardrail) -> samstack.Stack:
    """A stack in which all rules of the guardrail start it."""
    return samstack.Stack(**guardrail.rule_parameters)


RULES = [(guardrail, rule) for guardrail in GUARDRAILS for rule in guardrail.rules]
each_rule = pytest.mark.parametrize(
    ("guardrail", "rule"), [pytest.param(*both, id=both[0].rule(both[1])) for both in RULES]
)


@each_rule
@pytest.mark.parametrize("name", FIXTURES)
def test_rule_starts_the_function_for_what_it_is_about_only(guardrail, rule, name):
    assert matches(listening(guardrail), guardrail, rule, load(name)) == (name in rule.starts)


def test_only_alarms_whose_names_are_given_start_a_function(stack):
    """An account may have thousands of others, each of which would start a run for nothing."""
    (guardrail,) = (guardrail for guardrail in GUARDRAILS if guardrail.rule_parameters)
    (rule,) = (rule for rule in guardrail.rules if rule.event == "AlarmRaised")
    alarm = load("alarm-to-alarm.json")
    assert matches(listening(guardrail), guardrail, rule, alarm)
    for name in ("other-web-5xx", "Web-5xx", "ec2-guardrails-dead-letters"):
        other = alarm | {"detail": alarm["detail"] | {"alarmName": name}}
        assert not matches(listening(guardrail), guardrail, rule, other)
    assert not matches(stack, guardrail, rule, alarm)
    # Not even one that is called as what stands there while the rule is off.
    (called,) = stack.properties(guardrail.rule(rule))["EventPattern"]["detail"]["alarmName"]
    assert stack.properties(guardrail.rule(rule))["State"] == "DISABLED" and called["prefix"]


@each_rule
def test_every_event_that_the_rule_is_for_has_a_fixture(guardrail, rule):
    assert set(FIXTURES) >= rule.starts


@pytest.mark.parametrize(
    ("guardrail", "rule", "name", "change"),
    [
        pytest.param(guardrail, rule, name, change, id=f"{guardrail.rule(rule)} {name} {json.dumps(change)}")
        for guardrail, rule in RULES
        for name in sorted(rule.starts)
        for change in rule.near_misses
    ],
)
def test_rule_refuses_near_misses(guardrail, rule, name, change):
    stack, event = listening(guardrail), load(name)
    assert matches(stack, guardrail, rule, event)
    detail = event["detail"] | change.get("detail", {})
    assert not matches(stack, guardrail, rule, event | change | {"detail": detail})


def test_each_rule_belongs_to_a_guardrail(stack):
    rules = {name for name in stack.of_type("AWS::Events::Rule")}
    assert rules == {guardrail.rule(rule) for guardrail, rule in RULES}


@each_rule
def test_each_detail_type_of_a_rule_has_a_fixture(stack, guardrail, rule):
    pattern = stack.properties(guardrail.rule(rule))["EventPattern"]
    assert {load(name)["detail-type"] for name in rule.starts} == set(pattern["detail-type"])


@pytest.mark.parametrize("name", FIXTURES)
def test_fixtures_are_whole_events(name):
    event = load(name)
    assert event.keys() == {
        "version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail",
    }  # fmt: skip
    # AWS's own slip: what concerns a set has the Region one field later (EBS-10).
    empty_field = 3 if event["detail-type"] == "EBS Multi-Volume Snapshots Completion Status" else 4
    for arn in event["resources"]:
        if ":snapshot/" in arn:
            fields = arn.split(":")
            assert fields[empty_field] == "", arn
            assert event["region"] in fields, arn


@each_rule
def test_rule_delivers_to_the_function_and_keeps_what_it_cannot_deliver(stack, guardrail, rule):
    function = stack.attribute(guardrail.function, "Arn")
    (target,) = stack.properties(guardrail.rule(rule))["Targets"]
    assert target["Arn"] == function
    assert target["DeadLetterConfig"]["Arn"] == stack.attribute("DeadLetterQueue", "Arn")
    (permission,) = (
        permission
        for permission in stack.of_type("AWS::Lambda::Permission").values()
        if permission["SourceArn"] == stack.attribute(guardrail.rule(rule), "Arn")
    )
    assert permission["Principal"] == "events.amazonaws.com"
    assert permission["FunctionName"] == stack.attribute(guardrail.function, "Ref")


def test_commands_come_through_an_alias_that_no_service_may_invoke(stack):
    """Whoever may write rules could have a function sent any input, a release among it."""
    place = (samstack.ROOT / "shared/src/notify/place.rs").read_text()
    assert 'pub const OPERATOR: &str = "operator";' in place
    aliases = stack.of_type("AWS::Lambda::Alias")
    assert {alias["FunctionName"] for alias in aliases.values()} == {stack.attribute(g.function, "Ref") for g in GUARDRAILS}
    assert {(alias["Name"], alias["FunctionVersion"]) for alias in aliases.values()} == {("operator", "$LATEST")}
    functions = {stack.attribute(guardrail.function, "Ref") for guardrail in GUARDRAILS}
    # A permission of the function isn't one of its alias (LMB-1).
    assert {permission["FunctionName"] for permission in stack.of_type("AWS::Lambda::Permission").values()} <= functions
    for guardrail in GUARDRAILS:
        arn = stack.attribute(guardrail.function, "Arn")
        for role in stack.of_type("AWS::IAM::Role"):
            assert not allows(stack.role_policy(role), "lambda:InvokeFunction", f"{arn}:operator"), role


def test_nobody_else_may_start_a_function(stack):
    assert len(stack.of_type("AWS::Lambda::Permission")) == len(RULES)


# --- findings for accounts that are looked after together ---------------------------------------

FORWARDING = samstack.Stack(FindingsBusArn=FINDINGS_BUS)
FINDING = {
    "version": "0",
    "id": "6c6f1a3e-2f0b-4f57-9f0a-0d4c6f0b9e11",
    "detail-type": "EC2 Guardrails Finding",
    "source": "ec2-guardrails",
    "account": samstack.ACCOUNT,
    "time": "2026-03-02T03:00:41Z",
    "region": samstack.REGION,
    "resources": [],
    "detail": {"guardrail": "snapshot-volumes", "kind": "stale", "resource": "vol-0a1b2c3d4e5f60718"},
}


@pytest.mark.parametrize(
    ("change", "forwarded"),
    [
        ({}, True),
        ({"source": "com.example"}, False),
        # Came from elsewhere: two buses that forward to each other would never end.
        ({"account": "210987654321"}, False),
        ({"region": "us-east-1"}, False),
    ],
)
def test_findings_of_this_account_and_region_are_forwarded(change, forwarded):
    rule = FORWARDING.properties("FindingsForwardRule")
    assert fires(rule, FINDING | change) == forwarded
    (target,) = rule["Targets"]
    assert target["Arn"] == FINDINGS_BUS
    assert target["RoleArn"] == FORWARDING.attribute("FindingsForwardRole", "Arn")
    assert target["DeadLetterConfig"]["Arn"] == FORWARDING.attribute("DeadLetterQueue", "Arn")


@pytest.mark.parametrize("bus", ["", f"arn:aws:events:{samstack.REGION}:{samstack.ACCOUNT}:event-bus/default"])
def test_nothing_is_forwarded_to_where_it_is_already(bus):
    resources = samstack.Stack(FindingsBusArn=bus).resources
    assert not {"FindingsForwardRule", "FindingsForwardRole"} & resources.keys()
