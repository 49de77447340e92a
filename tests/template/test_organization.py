"""One template for many accounts and Regions: what a stack set needs of it."""

import json
import re

import pytest
import samstack
from guardrails import GUARDRAILS

FULL = {
    "NotificationEmail": "ops@example.com",
    "FindingsBusArn": f"arn:aws:events:{samstack.REGION}:210987654321:event-bus/findings",
    "PolicyParameterArn": f"arn:aws:ssm:{samstack.REGION}:210987654321:parameter/org/ec2-guardrails",
} | {name: value for guardrail in GUARDRAILS for name, value in guardrail.parameters.items()}

# Types whose names are the same in every Region of an account.
GLOBAL = {
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::IAM::InstanceProfile": "InstanceProfileName",
    "AWS::IAM::Role": "RoleName",
}


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


def test_nothing_global_has_the_same_name_in_two_regions():
    here, there = samstack.Stack(**FULL), samstack.Stack(region="us-east-1", **FULL)
    for resource_type, name_property in GLOBAL.items():
        names = [
            {properties.get(name_property) for properties in stack.of_type(resource_type).values()} - {None}
            for stack in (here, there)
        ]
        assert not names[0] & names[1], resource_type


def test_every_resource_of_another_account_is_given_by_parameter(stack):
    """As deployed without parameters, nothing reaches beyond the account."""
    text = json.dumps(stack.resources)
    own = {samstack.ACCOUNT, ""}
    accounts = set(re.findall(r"arn:aws:[a-z0-9-]+:[a-z0-9-]*:(\d{12}|\*|aws)?:", text))
    # Prefix lists are shared between accounts, and AWS owns its policies.
    assert accounts <= own | {"*", "aws"}
    assert text.count(":*:prefix-list/") == text.count(f"{samstack.REGION}:*:")


@pytest.mark.parametrize("parameter", ["FindingsBusArn", "PolicyParameterArn"])
def test_parameters_for_organizations_are_off_by_default(parameter):
    assert samstack.source()["Parameters"][parameter]["Default"] == ""
