"""CloudFormation templates: parsing, parameters, conditions, intrinsic functions and dependencies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from emulator.aws_request import AwsError
from emulator.context import context


class TemplateError(AwsError):
    def __init__(self, message: str) -> None:
        super().__init__("ValidationError", message)


# ---- parsing ----


SECTIONS = {
    "AWSTemplateFormatVersion",
    "Conditions",
    "Description",
    "Globals",  # SAM's
    "Metadata",
    "Outputs",
    "Parameters",
    "Resources",
    "Rules",
    "Transform",
}


class _Loader(yaml.CSafeLoader):
    """YAML as CloudFormation reads it: short tags for functions, and 2012-10-17 stays text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _short_tag(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        if name == "Fn::GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {name: value}


_Loader.add_multi_constructor("!", _short_tag)


def parse(text: str) -> dict[str, Any]:
    try:
        template = yaml.load(text, Loader=_Loader)  # JSON is YAML too  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        raise TemplateError(f"Template format error: YAML not well-formed. {error}") from error
    if not isinstance(template, dict) or not isinstance(template.get("Resources"), dict) or not template["Resources"]:
        raise TemplateError("Template format error: At least one Resources member must be defined.")
    if unknown := sorted(template.keys() - SECTIONS):
        raise TemplateError(f"Invalid template property or properties [{', '.join(unknown)}]")
    for name, resource in template["Resources"].items():
        if not isinstance(resource, dict) or not isinstance(resource.get("Type"), str):
            raise TemplateError(
                f"Template format error: [/Resources/{name}] Every Resources object must contain a Type member."
            )
        if not re.fullmatch(r"[A-Za-z0-9]+", name):
            raise TemplateError(f"Template format error: Resource name {name} is non alphanumeric.")
    return template


# ---- parameters ----


def parameter_values(template: dict[str, Any], given: dict[str, str]) -> dict[str, Any]:
    """The typed value of each parameter; checks every constraint that the template states."""
    declared = template.get("Parameters") or {}
    if surplus := sorted(given.keys() - declared.keys()):
        raise TemplateError(f"Parameters: [{', '.join(surplus)}] do not exist in the template")
    missing = [n for n, p in declared.items() if n not in given and "Default" not in p]
    if missing:
        raise TemplateError(f"Parameters: [{', '.join(missing)}] must have values")
    return {name: _parameter_value(name, spec, given.get(name, spec.get("Default"))) for name, spec in declared.items()}


def _parameter_value(name: str, spec: dict[str, Any], raw: Any) -> Any:
    kind = spec.get("Type", "String")
    text = str(raw)
    if kind in ("CommaDelimitedList", "List<Number>", "List<String>"):
        values: Any = [part.strip() for part in text.split(",")] if text else []
        for value in values:
            _check(name, spec, value, "Number" if kind == "List<Number>" else "String")
        return values
    if kind not in ("String", "Number"):
        raise TemplateError(f"Template format error: the emulator lacks the parameter type {kind}")
    _check(name, spec, text, kind)
    return text


def _check(name: str, spec: dict[str, Any], text: str, kind: str) -> None:
    def refuse(why: str) -> None:
        described = spec.get("ConstraintDescription")
        raise TemplateError(f"Parameter {name} failed to satisfy constraint: {described or why}")

    if kind == "Number":
        try:
            number = float(text)
        except ValueError:
            raise TemplateError(f"Parameter '{name}' must be a number.") from None
        if "MinValue" in spec and number < float(spec["MinValue"]):
            refuse(f"Parameter value must be at least {spec['MinValue']}")
        if "MaxValue" in spec and number > float(spec["MaxValue"]):
            refuse(f"Parameter value must be at most {spec['MaxValue']}")
    else:
        if "MinLength" in spec and len(text) < int(spec["MinLength"]):
            refuse(f"Parameter value must contain at least {spec['MinLength']} characters")
        if "MaxLength" in spec and len(text) > int(spec["MaxLength"]):
            refuse(f"Parameter value must contain at most {spec['MaxLength']} characters")
        # The whole value must match, as in Java, which CloudFormation is written in.
        if "AllowedPattern" in spec and not re.fullmatch(spec["AllowedPattern"], text):
            refuse(f"must match pattern {spec['AllowedPattern']}")
    if "AllowedValues" in spec and text not in [str(value) for value in spec["AllowedValues"]]:
        allowed = ", ".join(str(value) for value in spec["AllowedValues"])
        raise TemplateError(f"Template error: Parameter '{name}' must be one of AllowedValues: [{allowed}]")


# ---- evaluation ----

NO_VALUE = object()
_SUB = re.compile(r"\$\{(!?)\s*([^}!\s]+)\s*\}")


@dataclass
class Scope:
    """What a template's functions can refer to."""

    template: dict[str, Any]
    parameters: dict[str, Any]
    stack_id: str
    stack_name: str
    reference: Callable[[str], Any]
    """The physical id of a resource."""
    attribute: Callable[[str, str], Any]
    """An attribute of a resource."""
    _conditions: dict[str, bool] = field(default_factory=dict)

    def condition(self, name: str) -> bool:
        if name not in self._conditions:
            declared = self.template.get("Conditions") or {}
            if name not in declared:
                raise TemplateError(f"Template format error: Unresolved condition {name}")
            self._conditions[name] = self._boolean(declared[name])
        return self._conditions[name]

    def _boolean(self, expression: Any) -> bool:
        if isinstance(expression, dict) and len(expression) == 1:
            ((function, argument),) = expression.items()
            if function == "Condition":
                return self.condition(argument)
            if function == "Fn::Equals":
                left, right = (self.resolve(value) for value in argument)
                return _text(left) == _text(right)
            if function == "Fn::Not":
                return not self._boolean(argument[0])
            if function == "Fn::And":
                return all([self._boolean(value) for value in argument])
            if function == "Fn::Or":
                return any([self._boolean(value) for value in argument])
        raise TemplateError(f"Template format error: {json.dumps(expression)} isn't a condition")

    def is_created(self, logical_id: str) -> bool:
        """Whether the resource's condition, if it has one, holds."""
        name = self.template["Resources"][logical_id].get("Condition")
        return name is None or self.condition(name)

    def resolve(self, value: Any) -> Any:
        """Evaluate all functions in a value; what becomes AWS::NoValue is left out."""
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not NO_VALUE]
        if isinstance(value, str):
            return self._without_dynamic_references(value)
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            if function == "Ref":
                return self._ref(argument)
            if function.startswith("Fn::"):
                evaluate = _FUNCTIONS.get(function)
                if evaluate is None:
                    raise TemplateError(f"Template error: the emulator lacks the function {function}")
                return evaluate(self, argument)
        resolved = {key: self.resolve(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not NO_VALUE}

    def _ref(self, name: str) -> Any:
        pseudo = {
            "AWS::AccountId": context.account_id,
            "AWS::Region": context.region,
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::StackId": self.stack_id,
            "AWS::StackName": self.stack_name,
            "AWS::NotificationARNs": [],
            "AWS::NoValue": NO_VALUE,
        }
        if name in pseudo:
            return pseudo[name]
        if name in self.parameters:
            return self.parameters[name]
        return self.reference(name)

    def _get_att(self, argument: Any) -> Any:
        name, attribute = argument.split(".", 1) if isinstance(argument, str) else argument
        return self.attribute(name, self.resolve(attribute))

    def _sub(self, argument: Any) -> str:
        text, variables = (argument, {}) if isinstance(argument, str) else argument

        def replaced(match: re.Match[str]) -> str:
            literal, name = match.groups()
            if literal:
                return f"${{{name}}}"
            if name in variables:
                return _text(self.resolve(variables[name]))
            return _text(self._get_att(name) if "." in name else self._ref(name))

        return self._without_dynamic_references(_SUB.sub(replaced, text))

    def _join(self, argument: Any) -> str:
        separator, values = argument
        return separator.join(_text(value) for value in self.resolve(values))

    def _if(self, argument: Any) -> Any:
        name, then, otherwise = argument
        return self.resolve(then if self.condition(name) else otherwise)

    @staticmethod
    def _without_dynamic_references(text: str) -> str:
        if "{{resolve:" in text:
            raise TemplateError(f"Template error: the emulator lacks the dynamic reference in {text!r}")
        return text


_FUNCTIONS: dict[str, Callable[[Scope, Any], Any]] = {
    "Fn::GetAtt": Scope._get_att,
    "Fn::Sub": Scope._sub,
    "Fn::Join": Scope._join,
    "Fn::If": Scope._if,
    "Fn::Split": lambda scope, a: _text(scope.resolve(a[1])).split(a[0]),
}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        raise TemplateError(f"Template error: expected text, got {json.dumps(value, default=str)}")
    return "" if value is NO_VALUE else str(value)


# ---- dependencies ----


def _unresolved(*names: str) -> TemplateError:
    listed = ", ".join(names)
    return TemplateError(
        f"Template format error: Unresolved resource dependencies [{listed}] in the Resources block of the template"
    )


def dependencies(template: dict[str, Any], logical_id: str) -> set[str]:
    """The resources that must exist before this one: those that it names in functions and in DependsOn."""
    resource = template["Resources"][logical_id]
    depends = resource.get("DependsOn") or []
    found = {depends} if isinstance(depends, str) else set(depends)
    found |= {
        name
        for name in _references(resource.get("Properties"))
        if name not in (template.get("Parameters") or {}) and not name.startswith("AWS::")
    }
    if unknown := sorted(found - template["Resources"].keys()):
        raise _unresolved(*unknown)
    return found


def _references(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(_references, value)) if value else set()
    if not isinstance(value, dict):
        return set()
    found: set[str] = set()
    for key, item in value.items():
        if key == "Ref" and isinstance(item, str):
            found.add(item)
        elif key == "Fn::GetAtt":
            found.add(item.split(".", 1)[0] if isinstance(item, str) else item[0])
        elif key == "Fn::Sub":
            text, variables = (item, {}) if isinstance(item, str) else item
            names = {name.split(".")[0] for literal, name in _SUB.findall(text) if not literal}
            found |= (names - variables.keys()) | _references(list(variables.values()))
        else:
            found |= _references(item)
    return found


def creation_order(template: dict[str, Any]) -> list[str]:
    """Each resource after those that it depends on."""
    waiting = {name: dependencies(template, name) for name in template["Resources"]}
    order: list[str] = []
    while waiting:
        ready = [name for name, needs in waiting.items() if not needs - set(order)]
        if not ready:
            raise TemplateError(f"Circular dependency between resources: [{', '.join(sorted(waiting))}]")
        order += ready
        for name in ready:
            del waiting[name]
    return order
