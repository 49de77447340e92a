"""Which guardrails there are is chosen: nothing of one that is left out is in the account, and the others get along."""

import itertools
import json

import pytest
import samstack
from guardrails import FINDINGS_BUS, GUARDRAILS, Guardrail

FULL = {
    "NotificationEmail": "ops@example.com",
    "FindingsBusArn": FINDINGS_BUS,
    "Monitoring": "full",
} | {name: value for guardrail in GUARDRAILS for name, value in (guardrail.parameters | guardrail.rule_parameters).items()}


def chosen(guardrails: tuple[Guardrail, ...], **parameters: str) -> samstack.Stack:
    switches = {guardrail.logical: "true" if guardrail in guardrails else "false" for guardrail in GUARDRAILS}
    return samstack.Stack(**switches, **parameters)


CHOICES = [some for count in range(1, len(GUARDRAILS) + 1) for some in itertools.combinations(GUARDRAILS, count)]
each_choice = pytest.mark.parametrize(
    "guardrails", CHOICES, ids=["+".join(guardrail.name for guardrail in some) for some in CHOICES]
)
each_extent = pytest.mark.parametrize("parameters", [{}, FULL], ids=["default", "full"])

# Logical ids that belong to a guardrail without beginning with its name.
BELONG = {"InstanceRole": "AttachSsmRole", "InstanceProfile": "AttachSsmRole", "ImageParametersPolicy": "QuarantineLaunch"}
BELONG |= dict.fromkeys(("CopiesPolicy", "CopyGrantsPolicy", "CopyKeysPolicy", "DrillsPolicy"), "SnapshotVolumes")
BELONG |= {"RestoredRolesPolicy": "QuarantineLaunch"}


def owner(logical: str) -> str | None:
    """What a resource is of: a guardrail's logical name, or None for what all share."""
    names = {name: guardrail.logical for guardrail in GUARDRAILS for name in guardrail.finding_alarms | guardrail.event_alarms}
    names |= BELONG
    return names.get(logical) or next((g.logical for g in GUARDRAILS if logical.startswith(g.logical)), None)


@each_choice
@each_extent
def test_what_is_left_out_leaves_nothing_in_the_account(guardrails, parameters):
    # Resolving it all finds each reference to what isn't created.
    stack = chosen(guardrails, **parameters)
    resources = dict(stack.resources)
    if "MonitoringStack" in stack.resources:
        resources |= stack.monitoring.resources
    here = {guardrail.logical for guardrail in guardrails}
    assert {owner(logical) for logical in resources} - {None} == here
    # Nor is it named anywhere: in another's policy, a pattern, the dashboard.
    text = json.dumps([resource.get("Properties") for logical, resource in resources.items() if logical != "MonitoringStack"])
    for absent in (guardrail for guardrail in GUARDRAILS if guardrail not in guardrails):
        assert f"{samstack.STACK}-{absent.name}" not in text
        # A partition of the table that nobody writes may be read: who is in quarantine.
        assert text.count(f'"{absent.name}"') == (absent.name == "quarantine-launch" and "AttachSsmRole" in here)
    assert {name.removesuffix("FunctionName") for name in stack.outputs if name.endswith("FunctionName")} == here
    assert ("InstanceProfileArn" in stack.outputs) == ("AttachSsmRole" in here)


@each_choice
def test_what_is_chosen_is_as_it_is_among_all(guardrails):
    """Leaving others out takes nothing from a guardrail: function, role, rules, schedule, alarms, query."""
    stack, everything = chosen(guardrails, **FULL), chosen(tuple(GUARDRAILS), **FULL)
    own = {guardrail.logical for guardrail in guardrails}
    wanted = {name: resource for name, resource in everything.resources.items() if owner(name) in own}
    assert {name: stack.resources[name] for name in wanted} == wanted
    nested = {name: resource for name, resource in everything.monitoring.resources.items() if owner(name) in own}
    assert {name: stack.monitoring.resources[name] for name in nested} == nested
    assert {guardrail.function for guardrail in guardrails} == stack.of_type("AWS::Lambda::Function").keys()


@each_choice
def test_lists_of_all_guardrails_name_those_that_there_are(guardrails):
    stack = chosen(guardrails, **FULL)
    (statement,) = (s for s in stack.role_policy("SweepScheduleRole")["Statement"] if s["Sid"] == "StartSweeps")
    assert statement["Resource"] == [stack.attribute(guardrail.function, "Arn") for guardrail in guardrails]
    (policy,) = stack.of_type("AWS::SQS::QueuePolicy").values()
    rules = next(s for s in policy["PolicyDocument"]["Statement"] if s["Sid"] == "RulesOfThisStack")
    arns = {stack.attribute(name, "Arn") for name in stack.of_type("AWS::Events::Rule")}
    assert set(rules["Condition"]["ArnEquals"]["aws:SourceArn"]) == arns
    for name in ("PolicyInvalidAlarm", "ThrottlesAlarm"):
        total, *counts = stack.monitoring.properties(name)["Metrics"]
        assert total["Expression"] == "SUM([" + ", ".join(f"FILL({query['Id']}, 0)" for query in counts) + "])"
        assert len(counts) == len(guardrails)
    widgets = json.loads(stack.monitoring.properties("Dashboard")["DashboardBody"])["widgets"]
    assert len(widgets) == 3 + 3 * len(guardrails)
    (alarms,) = (widget["properties"]["alarms"] for widget in widgets if widget["type"] == "alarm")
    assert len(alarms) == len(stack.alarms())


def test_a_stack_of_nothing_is_refused():
    with pytest.raises(samstack.Refused, match="delete the stack"):
        chosen(())


@pytest.mark.parametrize("partition", samstack.PARTITIONS)
def test_arns_and_principals_are_those_of_the_partition(partition):
    parameters = FULL | {name: value.replace("arn:aws:", f"arn:{partition}:") for name, value in FULL.items()}
    stack = samstack.Stack(partition=partition, **parameters)
    text = json.dumps([stack.resources, stack.monitoring.resources, stack.outputs])
    assert f"arn:{partition}:" in text
    others = [other for other in samstack.PARTITIONS if other != partition]
    assert not [other for other in others if f"arn:{other}:" in text]
    in_china = partition == "aws-cn"
    (trust,) = stack.properties("InstanceRole")["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "ec2.amazonaws.com.cn" if in_china else "ec2.amazonaws.com"}
    passing = [
        statement["Condition"]["StringEquals"]["iam:PassedToService"]
        for role in ("AttachSsmRoleRole", "QuarantineLaunchRole")
        for statement in stack.role_policy(role)["Statement"]
        if statement["Action"] == "iam:PassRole"
    ]
    wanted = ["ec2.amazonaws.com", "ec2.amazonaws.com.cn"] if in_china else "ec2.amazonaws.com"
    assert passing == [wanted, wanted]
    # All others are called the same everywhere.
    principals = {
        statement["Principal"]["Service"]
        for name, role in stack.of_type("AWS::IAM::Role").items()
        if name != "InstanceRole"
        for statement in role["AssumeRolePolicyDocument"]["Statement"]
    }
    assert principals == {"lambda.amazonaws.com", "scheduler.amazonaws.com", "events.amazonaws.com"}
