"""The template as CloudFormation sees it: SAM's transform done, parameters and references resolved.

Logical ids stand in for what AWS would generate, so a resolved value can be compared.
"""

import copy
import functools
import re
from pathlib import Path

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"

ACCOUNT = "123456789012"
REGION = "eu-central-1"
STACK = "ec2-guardrails"
PSEUDO_PARAMETERS = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": STACK,
    "AWS::URLSuffix": "amazonaws.com",
}

# What Ref and GetAtt give for the types that the template refers to.
ATTRIBUTES = {
    "AWS::DynamoDB::Table": {"Arn": "arn:aws:dynamodb:{region}:{account}:table/{name}"},
    "AWS::Events::Rule": {"Arn": "arn:aws:events:{region}:{account}:rule/{name}"},
    "AWS::IAM::InstanceProfile": {"Arn": "arn:aws:iam::{account}:instance-profile/{name}"},
    "AWS::IAM::Role": {"Arn": "arn:aws:iam::{account}:role/{name}"},
    "AWS::Lambda::Function": {"Arn": "arn:aws:lambda:{region}:{account}:function:{name}"},
    "AWS::SNS::Topic": {"Ref": "arn:aws:sns:{region}:{account}:{name}"},
    "AWS::SQS::Queue": {
        "Ref": "https://sqs.{region}.amazonaws.com/{account}/{name}",
        "Arn": "arn:aws:sqs:{region}:{account}:{name}",
        "QueueName": "{name}",
    },
}
NAME_PROPERTIES = {
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
}


class NoManagedPolicies:
    """The template names none, so SAM needn't look any up."""

    def load(self):
        return {}


def source() -> dict:
    """The template as it is written."""
    return yaml_parse(TEMPLATE.read_text())


class Refused(Exception):
    """What CloudFormation says to parameters that the template's rules refuse."""


class Stack:
    """A deployment of the template with `parameters`."""

    def __init__(self, region: str = REGION, **parameters: str):
        self._pseudo = PSEUDO_PARAMETERS | {"AWS::Region": region}
        template = source()
        # SAM wants to see code that was uploaded; building it isn't this test's matter.
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::Serverless::Function":
                resource["Properties"]["CodeUri"] = "s3://bucket/key"
        self._template = transform(copy.deepcopy(template), {"AWS::Region": region}, NoManagedPolicies())
        self.processed = copy.deepcopy(self._template)
        """What SAM makes of the template; functions of CloudFormation are still in it."""
        declared = self._template["Parameters"]
        assert parameters.keys() <= declared.keys(), parameters
        self._values: dict[str, str | list[str]] = {}
        for name, declaration in declared.items():
            value = str(parameters.get(name, declaration.get("Default")))
            if declaration["Type"] == "CommaDelimitedList":
                # An empty value is a list with one empty text.
                self._values[name] = [item.strip() for item in value.split(",")]
            else:
                self._values[name] = value
        for rule in self._template.get("Rules", {}).values():
            if self._resolve(rule["RuleCondition"], "RuleCondition"):
                for assertion in rule["Assertions"]:
                    if not self._resolve(assertion["Assert"], "Assert"):
                        raise Refused(assertion["AssertDescription"])
        self.resources = {
            name: self._resolve(resource, name)
            for name, resource in self._template["Resources"].items()
            if self._holds(resource.get("Condition"))
        }
        self.outputs = {
            name: self._resolve(output["Value"], name)
            for name, output in self._template["Outputs"].items()
            if self._holds(output.get("Condition"))
        }

    def of_type(self, resource_type: str) -> dict[str, dict]:
        """The properties of each resource of a type, by logical id."""
        return {
            name: resource["Properties"]
            for name, resource in self.resources.items()
            if resource["Type"] == resource_type
        }

    def properties(self, name: str) -> dict:
        return self.resources[name]["Properties"]

    def _holds(self, condition: str | None) -> bool:
        return condition is None or self._resolve(self._template["Conditions"][condition], condition)

    def _resolve(self, node, where: str):
        if isinstance(node, list):
            values = [self._resolve(item, where) for item in node]
            return [value for value in values if value is not None]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            (function, argument), = node.items()
            if function == "Ref":
                return self._reference(argument)
            if function == "Fn::GetAtt":
                name, attribute = argument.split(".", 1) if isinstance(argument, str) else argument
                return self.attribute(name, attribute)
            if function == "Fn::Sub":
                if isinstance(argument, str):
                    return self._substitute(argument)
                text, values = argument
                return self._substitute(text, self._resolve(values, where))
            if function == "Fn::If":
                condition, yes, no = argument
                return self._resolve(yes if self._holds(condition) else no, where)
            if function == "Fn::Equals":
                left, right = (self._resolve(side, where) for side in argument)
                return left == right
            if function == "Fn::Join":
                separator, values = argument
                return separator.join(self._resolve(values, where))
            if function == "Fn::And":
                return all([self._resolve(item, where) for item in argument])
            if function == "Fn::Not":
                return not self._resolve(argument[0], where)
            assert not function.startswith("Fn::"), f"{where}: {function} isn't known to the tests"
        resolved = {key: self._resolve(value, where) for key, value in node.items()}
        return {key: value for key, value in resolved.items() if value is not None}

    def _substitute(self, text: str, values: dict[str, str] | None = None) -> str:
        def value(match: re.Match) -> str:
            name = match.group(1)
            if values and name in values:
                return values[name]
            return self.attribute(*name.split(".", 1)) if "." in name else self._reference(name)

        # `${!NAME}` is what a text has when it means `${NAME}`.
        return re.sub(r"\$\{([^!}][^}]*)\}", value, text).replace("${!", "${")

    def _reference(self, name: str):
        if name == "AWS::NoValue":
            return None
        if name in self._pseudo:
            return self._pseudo[name]
        if name in self._values:
            return self._values[name]
        return self.attribute(name, "Ref")

    def attribute(self, name: str, attribute: str) -> str:
        """What GetAtt gives, or Ref for the attribute `Ref`."""
        resource = self._template["Resources"][name]
        resource_type = resource["Type"]
        named = resource.get("Properties", {}).get(NAME_PROPERTIES.get(resource_type, ""))
        physical = self._resolve(named, name) if named else f"{STACK}-{name}"
        pattern = ATTRIBUTES.get(resource_type, {}).get(attribute)
        if pattern is None:
            assert attribute == "Ref", f"{name}.{attribute} isn't known to the tests"
            return physical
        return pattern.format(region=self._pseudo["AWS::Region"], account=ACCOUNT, name=physical)


@functools.cache
def default_stack() -> Stack:
    """The stack that `sam deploy --guided` makes when every question is answered with Enter."""
    return Stack()
