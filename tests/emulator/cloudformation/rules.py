"""The section Rules: parameter values that don't go together are refused before anything is created.

Of what "Rule functions" in the CloudFormation template reference lists, only what templates here use is accepted. Fn::If
and Condition are refused there by AWS too.
"""

from __future__ import annotations

import json
from typing import Any

from emulator.cloudformation.template import TemplateError
from emulator.context import context


def check(template: dict[str, Any], parameters: dict[str, Any]) -> None:
    """Raises TemplateError for the first assertion that doesn't hold."""
    for name, rule in (template.get("Rules") or {}).items():
        _check_shape(name, rule)
        rules = _Rule(name, parameters)
        # All are evaluated, so that a mistake in one that isn't asked for now is found as well.
        applies = rules.boolean(rule["RuleCondition"]) if "RuleCondition" in rule else True
        held = [rules.boolean(assertion["Assert"]) for assertion in rule["Assertions"]]
        broken = [a for a, holds in zip(rule["Assertions"], held, strict=True) if applies and not holds]
        if broken:
            why = broken[0].get("AssertDescription") or json.dumps(broken[0]["Assert"])
            raise TemplateError(f"Template validation error: Rule {name} failed: {why}")  # the words are (assumed)


def _check_shape(name: str, rule: Any) -> None:
    assertions = rule.get("Assertions") if isinstance(rule, dict) else None
    if not assertions or not isinstance(assertions, list) or rule.keys() - {"RuleCondition", "Assertions"}:
        raise TemplateError(f"Template format error: [/Rules/{name}] A rule has Assertions, and perhaps RuleCondition")
    for assertion in assertions:
        if not isinstance(assertion, dict) or assertion.keys() - {"Assert", "AssertDescription"}:
            raise TemplateError(f"Template format error: [/Rules/{name}/Assertions] unknown: {json.dumps(assertion)}")
        if "Assert" not in assertion:
            raise TemplateError(f"Template format error: [/Rules/{name}/Assertions] An assertion has Assert")


_ARGUMENTS = {
    "Fn::And": (2, 10),
    "Fn::Contains": (2, 2),
    "Fn::Equals": (2, 2),
    "Fn::Not": (1, 1),
    "Fn::Or": (2, 10),
}
"""The fewest and the most that each function takes."""


class _Rule:
    def __init__(self, name: str, parameters: dict[str, Any]) -> None:
        self.name = name
        self.parameters = parameters

    def boolean(self, expression: Any) -> bool:
        function, arguments = self._function(expression)
        if function not in _ARGUMENTS:
            raise self._error(f"the emulator lacks the rule function {function}, or there is none of that name")
        least, most = _ARGUMENTS[function]
        if not isinstance(arguments, list) or not least <= len(arguments) <= most:
            raise self._error(f"{function} takes {least} to {most} arguments")
        if function in ("Fn::And", "Fn::Or", "Fn::Not"):
            values = [self.boolean(argument) for argument in arguments]
            return {"Fn::And": all(values), "Fn::Or": any(values), "Fn::Not": not values[0]}[function]
        first, second = arguments
        if function == "Fn::Equals":
            return self._text(first) == self._text(second)
        return self._text(second) in self._texts(first)

    def _function(self, expression: Any) -> tuple[str, Any]:
        if not isinstance(expression, dict) or len(expression) != 1:
            raise self._error(f"{json.dumps(expression)} isn't true or false")
        ((function, arguments),) = expression.items()
        return function, arguments

    def _value(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        function, name = self._function(value)
        pseudo = {"AWS::AccountId": context.account_id, "AWS::Region": context.region, "AWS::Partition": "aws"}
        known = pseudo | self.parameters
        if function != "Ref" or name not in known:
            raise self._error(f"{json.dumps(value)} isn't a reference to a parameter")
        return known[name]

    def _text(self, value: Any) -> str:
        found = self._value(value)
        if isinstance(found, (list, dict)):
            raise self._error(f"{json.dumps(value)} is a list where a text is expected")
        return str(found).lower() if isinstance(found, bool) else str(found)

    def _texts(self, value: Any) -> list[str]:
        found = self._value(value)
        if not isinstance(found, list):
            raise self._error(f"{json.dumps(value)} is a text where a list is expected")
        return [self._text(item) for item in found]

    def _error(self, why: str) -> TemplateError:
        return TemplateError(f"Template format error: [/Rules/{self.name}] {why}")
