"""docs/security.md says of each permission what it is for, and of none that isn't there."""

import re

import samstack
from guardrails import FINDINGS_BUS, GUARDRAILS, PARAMETERS, each_guardrail
from iam_policy import as_list

TEXT = (samstack.ROOT / "docs/security.md").read_text()
# The same statement in every role, but for the name of the log group and of the partition.
COMMON = {"ReadPolicy", "RememberInOwnPartition", "SendNotices", "PutFindings", "SendDeadLetters", "WriteLogs"}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    (section,) = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def statements(guardrail) -> dict[str, dict]:
    policy = samstack.Stack(**guardrail.parameters).role_policy(guardrail.role)
    return {statement["Sid"]: statement for statement in policy["Statement"]}


def conditions(statement: dict) -> set[str]:
    """The keys of its conditions, but for those that only say that a list isn't empty."""
    pairs = {(operator, key) for operator, block in statement.get("Condition", {}).items() for key in block}
    lists = {key for operator, key in pairs if operator.startswith("ForAllValues")}
    return {key for operator, key in pairs if operator != "Null" or key not in lists}


def compare(table: list[list[str]], wanted: dict[str, dict]):
    assert [row[0] for row in table] == list(wanted), "one row for each statement, in the template's order"
    for (sid, allows, on, only_if, why), statement in zip(table, wanted.values(), strict=True):
        assert quoted(allows) == sorted(as_list(statement["Action"])), sid
        assert {key for key in quoted(only_if) if key.startswith(("aws:", "dynamodb:", "ec2:", "iam:", "events:", "kms:"))} == conditions(
            statement
        ), sid
        assert on, sid
        assert len(why) > 5, f"{sid}: why?"


@each_guardrail
def test_each_permission_stands_there_with_its_reason(guardrail):
    compare(rows(guardrail.name), {sid: s for sid, s in statements(guardrail).items() if sid not in COMMON})


@each_guardrail
def test_what_every_function_may_do_is_the_same_for_all(guardrail):
    compare(rows("Every function"), {sid: s for sid, s in statements(guardrail).items() if sid in COMMON})


def test_what_parameters_add_is_told():
    told = {quoted(row[0])[0] for row in rows("What the parameters add")}
    assert told == {"KmsKeyArn"} | PARAMETERS.keys()


def test_every_role_is_told():
    stack = samstack.Stack(FindingsBusArn=FINDINGS_BUS)
    others = stack.of_type("AWS::IAM::Role").keys() - {guardrail.role for guardrail in GUARDRAILS}
    assert {row[0] for row in rows("Other roles")} == others
