"""After the end-to-end tests: was each permission of the template's roles used, and nothing refused?

The local AWS has written down which statement of which role allowed what. Not collected with the other tests of this
folder, because it takes a whole end-to-end run: `make test` names it after that.
"""

import json
import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest
import samstack
from guardrails import FINDINGS_BUS, PARAMETERS
from iam_policy import as_list

RECORD = Path(os.environ.get("ROLE_USAGE") or samstack.ROOT / ".local/test/role-usage")


class Permission(NamedTuple):
    """A part of a statement that could be left out if nothing needed it."""

    role: str
    statement: str
    part: str
    """An action, a resource as the template writes it, or one of several values of a condition."""


def policies() -> dict[str, dict]:
    """What each role may do, by its own policies and those attached to it, with all that parameters add."""
    # The end-to-end tests give one value for each list.
    parameters = {name: text.split(",")[0] for name, text in PARAMETERS.items()}
    stack = samstack.Stack(FindingsBusArn=FINDINGS_BUS, **parameters)
    roles = stack.of_type("AWS::IAM::Role").items()
    return {role: stack.role_policy(role) for role, properties in roles if properties.get("Policies")}


def allowed() -> set[Permission]:
    found = set()
    for role, document in policies().items():
        for statement in document["Statement"]:
            choices = [
                f"{key}={value}"
                for block in statement.get("Condition", {}).values()
                for key, values in block.items()
                if len(as_list(values)) > 1
                for value in as_list(values)
            ]
            for part in [*as_list(statement["Action"]), *as_list(statement["Resource"]), *choices]:
                found.add(Permission(role, statement["Sid"], part))
    return found


def resources() -> dict[tuple[str, str], list[str]]:
    return {
        (role, statement["Sid"]): as_list(statement["Resource"])
        for role, document in policies().items()
        for statement in document["Statement"]
    }


@pytest.fixture(scope="session")
def record() -> list[dict]:
    lines = [json.loads(line) for path in sorted(RECORD.glob("*.jsonl")) for line in path.read_text().splitlines()]
    assert lines, f"nothing in {RECORD}: run the end-to-end tests with ROLE_USAGE={RECORD}, as `make test` does"
    for line in lines:
        # CloudFormation names a role after the stack and its logical id, and appends something random.
        line["role"] = re.fullmatch(rf"{samstack.STACK}-(\w+)-\w+", line["role"]).group(1)
    return lines


@pytest.fixture(scope="session")
def used(record) -> set[Permission]:
    written = resources()
    found = set()
    for line in record:
        # Each statement of the template has a name; one without is a test's own.
        if "refused" not in line and line["sid"]:
            statement = line["role"], line["sid"]
            assert statement in written, f"{statement} isn't in the template any more: run the end-to-end tests again"
            parts = [line["action"], written[statement][line["place"]], *line["values"]]
            found |= {Permission(*statement, part) for part in parts}
    return found


def test_no_permission_is_unused(used):
    unused = sorted(" ".join(permission) for permission in allowed() - used)
    assert not unused, "take it out of the role, or test end to end what needs it:\n" + "\n".join(unused)


def test_nothing_was_refused_but_on_purpose(record):
    """A test tells the local AWS beforehand what is to be refused."""
    assert not [line for line in record if "refused" in line and not line["expected"]]
