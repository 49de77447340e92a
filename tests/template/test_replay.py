"""docs/replay.py: what each sender's dead letter asks of which function (DLQ-1)."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs"))
replay = importlib.import_module("replay")

FUNCTION = "arn:aws:lambda:eu-central-1:123456789012:function:ec2-guardrails-snapshot-volumes"
SWEEP = {"trigger": "sweep"}
EVENT = {"detail-type": "EBS Snapshot Notification", "id": "1"}
OF_SCHEDULE = {"SCHEDULE_ARN": "arn:aws:scheduler:…", "TARGET_ARN": "arn:aws:scheduler:::aws-sdk:lambda:invoke"}
OF_RULE = {"RULE_ARN": "arn:aws:events:…", "TARGET_ARN": FUNCTION, "ERROR_CODE": "NO_PERMISSIONS"}


def letter(body: Any, **attributes: str) -> dict[str, Any]:
    typed = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
    return {"Body": body if isinstance(body, str) else json.dumps(body), "MessageAttributes": typed}


def read(message: dict[str, Any]) -> Any:
    return replay.read(message, {"ec2-guardrails-snapshot-volumes"})


@pytest.mark.parametrize(
    ("sender", "message", "asked"),
    [
        ("a rule", letter(EVENT, **OF_RULE), EVENT),
        (
            "a schedule",
            letter(
                {"FunctionName": FUNCTION, "InvocationType": "Event", "Payload": json.dumps(SWEEP)},
                **OF_SCHEDULE,
                ERROR_CODE="AccessDeniedException",
            ),
            SWEEP,
        ),
        (
            "a schedule, should it send the input alone",
            letter(SWEEP, SCHEDULE_ARN="arn:aws:scheduler:…", TARGET_ARN=FUNCTION),
            SWEEP,
        ),
        (
            "Lambda",
            letter({"requestContext": {"functionArn": f"{FUNCTION}:$LATEST"}, "requestPayload": SWEEP}),
            SWEEP,
        ),
    ],
)
def test_the_letter_of(sender: str, message: dict[str, Any], asked: dict[str, Any]) -> None:
    found = read(message)
    assert (found.function, found.payload) == ("ec2-guardrails-snapshot-volumes", asked), sender


@pytest.mark.parametrize(
    ("why", "message"),
    [
        ("is no JSON", letter("{", **OF_RULE)),
        ("is no JSON", letter({"FunctionName": FUNCTION, "Payload": "{"}, **OF_SCHEDULE)),
        ("was cut", letter(EVENT, **OF_RULE, IS_PAYLOAD_TRUNCATED="true")),
        ("no function of this stack", letter(EVENT, **OF_RULE | {"TARGET_ARN": f"{FUNCTION}-2"})),
        ("no function of this stack", letter(SWEEP, **OF_SCHEDULE)),
        ("holds no event", letter({"FunctionName": FUNCTION}, **OF_SCHEDULE)),
        ("is a command", letter({"trigger": "command"}, **OF_RULE)),
        ("doesn't say whose it is", letter({"who": "knows"})),
    ],
)
def test_what_stays(why: str, message: dict[str, Any]) -> None:
    with pytest.raises(replay.Stays, match=why):
        read(message)
