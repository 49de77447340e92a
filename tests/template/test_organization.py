"""One template for many accounts and Regions: what a stack set needs of it."""

import json
import re

import pytest
import samstack
from guardrails import FINDINGS_BUS, GUARDRAILS, PARAMETERS

FULL = {
    "NotificationEmail": "ops@example.com",
    "FindingsBusArn": FINDINGS_BUS,
    "PolicyParameterArn": f"arn:aws:ssm:{samstack.REGION}:210987654321:parameter/org/ec2-guardrails",
} | PARAMETERS

# Types whose names are the same in every Region of an account.
GLOBAL = {"AWS::CloudWatch::Dashboard", "AWS::IAM::InstanceProfile", "AWS::IAM::ManagedPolicy", "AWS::IAM::Role"}
# A stack set calls its stacks so.
STACK_SET = "StackSet-ec2-guardrails-0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"


@pytest.mark.parametrize("parameters", [{}, FULL], ids=["default", "full"])
def test_processed_template_needs_no_transform(parameters):
    """Stack sets whose permissions Organizations manages take none."""
    processed = samstack.Stack(**parameters).processed
    assert "Transform" not in processed
    assert not [name for name, r in processed["Resources"].items() if r["Type"].startswith("AWS::Serverless::")]
    assert "Fn::Transform" not in json.dumps(processed)


def test_processed_template_is_small_enough():
    """CloudFormation takes 1 MB from S3 and at most 200 parameters, 200 outputs and 500 resources."""
    processed = samstack.default_stack().processed
    assert len(json.dumps(processed)) < 1_000_000
    assert len(processed["Resources"]) < 500
    assert len(processed["Outputs"]) <= 200
    assert len(processed["Parameters"]) <= 200


def names(stack: samstack.Stack) -> dict[str, tuple[str, str]]:
    """Of the stack and of the one that it nests."""
    return stack.names() | stack.monitoring.names()


def test_nothing_global_has_the_same_name_in_two_regions():
    everything = FULL | {"Monitoring": "full"}
    here, there = (
        {name for kind, name in names(stack).values() if kind in GLOBAL}
        for stack in (samstack.Stack(**everything), samstack.Stack(region="us-east-1", **everything))
    )
    assert here, "the dashboard has one"
    assert not here & there


@pytest.mark.parametrize("prefix", ["ec2-guardrails", "p" * 40], ids=["default", "longest"])
def test_names_of_a_stack_sets_stack_are_within_the_limits_of_aws(prefix):
    stack = samstack.Stack(name=STACK_SET, Prefix=prefix, Monitoring="full", **FULL)
    limits = {kind: limit for kind, (_, limit) in samstack.NAMES.items()}
    found = names(stack)
    assert {kind for kind, _ in found.values()} >= {
        "AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard", "AWS::Lambda::Function", "AWS::Logs::LogGroup",
        "AWS::Scheduler::ScheduleGroup",
    }  # fmt: skip
    for logical, (kind, name) in found.items():
        assert STACK_SET not in name, f"{logical}: named after the stack"
        assert len(name.split("/", 1)[1] if kind == "AWS::Scheduler::Schedule" else name) <= limits[kind], logical
        # Within a group of its own a schedule needs no more.
        assert name.startswith((prefix, f"/aws/lambda/{prefix}")), logical
    # What names aren't given to, CloudFormation names after the stack and cuts to the service's limit.
    assert "AWS::StackName" not in samstack.TEMPLATE.read_text() + samstack.MONITORING.read_text()


def test_the_longest_prefix_is_refused_where_a_name_would_be_too_long():
    prefix = samstack.source()["Parameters"]["Prefix"]
    longest = max(len(guardrail.name) for guardrail in GUARDRAILS) + len("-")
    assert prefix["MaxLength"] + longest <= samstack.NAMES["AWS::Lambda::Function"][1]


def test_two_stacks_in_a_region_share_no_name():
    one, other = (
        set(names(samstack.Stack(name=name, Prefix=name, Monitoring="full", **FULL)).values()) for name in ("red", "blue")
    )
    assert one and not one & other


def test_patterns_follow_the_prefix():
    """What names build on: the topic's policy, the roles and the nested stack."""
    stack = samstack.Stack(name=STACK_SET, Prefix="mine", Monitoring="full", **FULL)
    (policy,) = stack.of_type("AWS::SNS::TopicPolicy").values()
    assert ":alarm:mine-*" in json.dumps(policy)
    text = json.dumps(stack.resources) + json.dumps(stack.monitoring.resources)
    for guardrail in GUARDRAILS:
        assert f"mine-{guardrail.name}" in text
        assert f"ec2-guardrails-{guardrail.name}" not in text


def test_every_resource_of_another_account_is_given_by_parameter(stack):
    """As deployed without parameters, nothing reaches beyond the account."""
    text = json.dumps(stack.resources)
    own = {samstack.ACCOUNT, ""}
    accounts = set(re.findall(r"arn:aws:[a-z0-9-]+:[a-z0-9-]*:(\d{12}|\*|aws)?:", text))
    # Prefix lists, VPCs and their security groups are shared between accounts, session preferences may name another
    # account's key, which is only looked at, and AWS owns its policies.
    assert accounts <= own | {"*", "aws"}
    anybodys = re.findall(rf'"arn:aws:((?:ec2|kms):{samstack.REGION}:\*:[^"]+)"', text)
    anybodys = [one.replace(f":{samstack.REGION}:*", "") for one in anybodys]
    assert sorted(anybodys) == ["ec2:prefix-list/*", "ec2:security-group/*", "ec2:vpc/*", "ec2:vpc/*", "kms:key/*"]
    assert text.count(f"{samstack.REGION}:*:") == len(anybodys)


@pytest.mark.parametrize("parameter", ["FindingsBusArn", "PolicyParameterArn"])
def test_parameters_for_organizations_are_off_by_default(parameter):
    assert samstack.source()["Parameters"][parameter]["Default"] == ""
