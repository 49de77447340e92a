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
MONITORING = ROOT / "shared/monitoring/template.yaml"

ACCOUNT = "123456789012"
REGION = "eu-central-1"
STACK = "ec2-guardrails"
"""The name of the stack, and what names of the template begin with by default."""
# The partitions in which the template has to deploy: what their DNS names end in, and a Region.
PARTITIONS = {
    "aws": ("amazonaws.com", REGION),
    "aws-cn": ("amazonaws.com.cn", "cn-north-1"),
    "aws-us-gov": ("amazonaws.com", "us-gov-west-1"),
    "aws-eusc": ("amazonaws.eu", "eusc-de-east-1"),
}

# What Ref and GetAtt give for the types that the template refers to.
ATTRIBUTES = {
    "AWS::CloudFormation::Stack": {"Ref": "arn:{partition}:cloudformation:{region}:{account}:stack/{name}/0f1e2d3c"},
    "AWS::DynamoDB::Table": {"Arn": "arn:{partition}:dynamodb:{region}:{account}:table/{name}"},
    "AWS::Events::Rule": {"Arn": "arn:{partition}:events:{region}:{account}:rule/{name}"},
    "AWS::IAM::InstanceProfile": {"Arn": "arn:{partition}:iam::{account}:instance-profile/{name}"},
    "AWS::IAM::ManagedPolicy": {"Ref": "arn:{partition}:iam::{account}:policy/{name}"},
    "AWS::IAM::Role": {"Arn": "arn:{partition}:iam::{account}:role/{name}"},
    "AWS::Lambda::Alias": {"Ref": "arn:{partition}:lambda:{region}:{account}:function:{name}"},
    "AWS::Lambda::Function": {"Arn": "arn:{partition}:lambda:{region}:{account}:function:{name}"},
    "AWS::SNS::Topic": {"Ref": "arn:{partition}:sns:{region}:{account}:{name}"},
    "AWS::SQS::Queue": {
        "Ref": "https://sqs.{region}.amazonaws.com/{account}/{name}",
        "Arn": "arn:{partition}:sqs:{region}:{account}:{name}",
        "QueueName": "{name}",
    },
}
# The property with a resource's name of its own, and how long AWS lets it be.
NAMES = {
    "AWS::CloudWatch::Alarm": ("AlarmName", 255),
    "AWS::CloudWatch::Dashboard": ("DashboardName", 255),
    "AWS::DynamoDB::Table": ("TableName", 255),
    "AWS::Events::Rule": ("Name", 64),
    "AWS::IAM::InstanceProfile": ("InstanceProfileName", 128),
    "AWS::IAM::ManagedPolicy": ("ManagedPolicyName", 128),
    "AWS::IAM::Role": ("RoleName", 64),
    "AWS::Lambda::Function": ("FunctionName", 64),
    "AWS::Logs::LogGroup": ("LogGroupName", 512),
    "AWS::Logs::QueryDefinition": ("Name", 255),
    "AWS::SNS::Topic": ("TopicName", 256),
    "AWS::SQS::Queue": ("QueueName", 80),
    "AWS::Scheduler::Schedule": ("Name", 64),
    "AWS::Scheduler::ScheduleGroup": ("Name", 64),
}
# Told from each other within something else: a schedule in its group.
WITHIN = {"AWS::Scheduler::Schedule": "GroupName"}


class NoManagedPolicies:
    """The template names none, so SAM needn't look any up."""

    def load(self):
        return {}


@functools.cache
def _parsed(path: Path) -> dict:
    return yaml_parse(path.read_text())


def source(path: Path = TEMPLATE) -> dict:
    """The template as it is written."""
    return copy.deepcopy(_parsed(path))


class Refused(Exception):
    """What CloudFormation says to parameters that the template's rules refuse."""


class Deployment:
    """A template as CloudFormation carries it out."""

    def __init__(self, template: dict, parameters: dict[str, str], pseudo: dict[str, str]):
        self._pseudo = pseudo
        self._template = template
        self.processed = copy.deepcopy(template)
        """Functions of CloudFormation are still in it."""
        declared = template["Parameters"]
        assert parameters.keys() <= declared.keys(), parameters
        self._values: dict[str, str | list[str]] = {}
        for name, declaration in declared.items():
            assert name in parameters or "Default" in declaration, f"{name} has no value"
            value = str(parameters.get(name, declaration.get("Default")))
            if declaration["Type"] == "CommaDelimitedList":
                # An empty value is a list with one empty text.
                self._values[name] = [item.strip() for item in value.split(",")]
            else:
                self._values[name] = value
        for rule in template.get("Rules", {}).values():
            if "RuleCondition" not in rule or self._boolean(rule["RuleCondition"]):
                for assertion in rule["Assertions"]:
                    if not self._boolean(assertion["Assert"]):
                        raise Refused(assertion["AssertDescription"])
        self.resources = {
            name: self._resolve(resource, name)
            for name, resource in template["Resources"].items()
            if self._holds(resource.get("Condition"))
        }
        self.outputs = {
            name: self._resolve(output["Value"], name)
            for name, output in template["Outputs"].items()
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

    def names(self) -> dict[str, tuple[str, str]]:
        """Each resource with a name of its own: its type and that name, within what it is told from others."""
        found = {}
        for logical, resource in self.resources.items():
            name, _ = NAMES.get(resource["Type"], (None, None))
            if name in (properties := resource.get("Properties", {})):
                within = properties.get(WITHIN.get(resource["Type"], ""), "")
                found[logical] = (resource["Type"], f"{within}/{properties[name]}" if within else properties[name])
        return found

    def _holds(self, condition: str | None) -> bool:
        return condition is None or self._boolean(self._template["Conditions"][condition])

    def _boolean(self, expression: dict) -> bool:
        ((function, argument),) = expression.items()
        if function == "Condition":
            return self._holds(argument)
        if function == "Fn::Equals":
            left, right = (self._resolve(side, "Conditions") for side in argument)
            return left == right
        if function == "Fn::Contains":
            return self._resolve(argument[1], "Rules") in self._resolve(argument[0], "Rules")
        if function == "Fn::And":
            return all([self._boolean(item) for item in argument])
        if function == "Fn::Or":
            return any([self._boolean(item) for item in argument])
        assert function == "Fn::Not", f"{function} isn't known to the tests"
        return not self._boolean(argument[0])

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
            if function == "Fn::Join":
                separator, values = argument
                return separator.join(self._resolve(values, where))
            if function == "Fn::Split":
                separator, text = argument
                return self._resolve(text, where).split(separator)
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
        return re.sub(r"\$\{(!?)([^}]*)\}", lambda m: f"${{{m[2]}}}" if m[1] else value(re.match("(.*)", m[2])), text)

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
        # CloudFormation refuses a reference to what isn't created.
        assert self._holds(resource.get("Condition")), f"refers to {name}, which is left out"
        resource_type = resource["Type"]
        named = resource.get("Properties", {}).get(NAMES.get(resource_type, ("", 0))[0])
        physical = self._resolve(named, name) if named else f"{self._pseudo['AWS::StackName']}-{name}"
        pattern = ATTRIBUTES.get(resource_type, {}).get(attribute)
        if pattern is None:
            assert attribute == "Ref", f"{name}.{attribute} isn't known to the tests"
            return physical
        partition, region = self._pseudo["AWS::Partition"], self._pseudo["AWS::Region"]
        return pattern.format(partition=partition, region=region, account=ACCOUNT, name=physical)


class Stack(Deployment):
    """A deployment of the stack with `parameters`."""

    def __init__(self, region: str | None = None, name: str = STACK, partition: str = "aws", **parameters: str):
        suffix, somewhere = PARTITIONS[partition]
        template = source()
        # SAM wants to see code that was uploaded; building it isn't this test's matter.
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::Serverless::Function":
                resource["Properties"]["CodeUri"] = "s3://bucket/key"
        # SAM asks the session for its Region, to know the partition.
        region = region or somewhere
        pseudo = {
            "AWS::AccountId": ACCOUNT,
            "AWS::Partition": partition,
            "AWS::Region": region,
            "AWS::StackName": name,
            "AWS::URLSuffix": suffix,
        }
        super().__init__(transform(template, {"AWS::Region": region}, NoManagedPolicies()), parameters, pseudo)

    @functools.cached_property
    def monitoring(self) -> Deployment:
        """The nested stack."""
        given = self.properties("MonitoringStack")
        assert ROOT / given["TemplateURL"] == MONITORING
        pseudo = self._pseudo | {"AWS::StackName": f"{self._pseudo['AWS::StackName']}-MonitoringStack"}
        return Deployment(source(MONITORING), given["Parameters"], pseudo)

    def alarms(self) -> dict[str, dict]:
        """By logical id, those of the nested stack among them."""
        nested = self.monitoring.of_type("AWS::CloudWatch::Alarm") if "MonitoringStack" in self.resources else {}
        return self.of_type("AWS::CloudWatch::Alarm") | nested

    def role_policy(self, role: str) -> dict:
        """What a role of the stack is allowed, by its own policies and by those of the stack that are attached to it."""
        properties = self.properties(role)
        managed = self.of_type("AWS::IAM::ManagedPolicy")
        by_arn = {self.attribute(name, "Ref"): policy for name, policy in managed.items()}
        attached = [by_arn[arn] for arn in properties.get("ManagedPolicyArns", []) if arn in by_arn]
        attached += [policy for policy in managed.values() if self.attribute(role, "Ref") in policy.get("Roles", [])]
        documents = [policy["PolicyDocument"] for policy in (*attached, *properties.get("Policies", []))]
        return {"Version": "2012-10-17", "Statement": [s for document in documents for s in document["Statement"]]}


@functools.cache
def default_stack() -> Stack:
    """The stack that `sam deploy --guided` makes when every question is answered with Enter."""
    return Stack()


@functools.cache
def full_stack() -> Stack:
    """With full monitoring."""
    return Stack(Monitoring="full")
