"""The rules match the events that they are for, and none that come close."""

import json

import pytest
import samstack
from moto.events.models import EventPattern, EventPatternParser

EVENTS = samstack.ROOT / "tests" / "events"
STARTS = {"create-snapshot-failed.json", "create-snapshots-failed.json"}
FIXTURES = sorted(path.name for path in EVENTS.glob("*.json") if path.name != "sweep.json")


def load(name: str) -> dict:
    return json.loads((EVENTS / name).read_text())


@pytest.fixture
def matches(stack):
    (rule,) = stack.of_type("AWS::Events::Rule").values()
    pattern = json.dumps(rule["EventPattern"])
    matcher = EventPattern(pattern, EventPatternParser(pattern).parse())
    return matcher.matches_event


@pytest.mark.parametrize("name", FIXTURES)
def test_rule_starts_the_function_for_failed_creations_only(matches, name):
    assert matches(load(name)) == (name in STARTS)


def test_every_event_that_the_rule_is_for_has_a_fixture():
    assert set(FIXTURES) >= STARTS


@pytest.mark.parametrize("name", sorted(STARTS))
@pytest.mark.parametrize(
    "change",
    [
        {"source": "aws.ecs"},
        {"source": "com.example.ec2"},
        {"detail-type": "EBS Volume Notification"},
        {"detail": {"result": "succeeded"}},
        {"detail": {"event": "copySnapshot"}},
        {"detail": {"event": "deleteSnapshot"}},
    ],
    ids=json.dumps,
)
def test_rule_refuses_near_misses(matches, name, change):
    event = load(name)
    assert matches(event)
    detail = event["detail"] | change.get("detail", {})
    assert not matches(event | change | {"detail": detail})


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


def test_rule_delivers_to_the_function_and_keeps_what_it_cannot_deliver(stack):
    (rule,) = stack.of_type("AWS::Events::Rule").values()
    (target,) = rule["Targets"]
    assert target["Arn"] == stack.attribute("SnapshotVolumesFunction", "Arn")
    assert target["DeadLetterConfig"]["Arn"] == stack.attribute("DeadLetterQueue", "Arn")
    (permission,) = stack.of_type("AWS::Lambda::Permission").values()
    assert permission["Principal"] == "events.amazonaws.com"
    assert permission["SourceArn"] == stack.attribute("SnapshotVolumesFunctionSnapshotFailed", "Arn")
