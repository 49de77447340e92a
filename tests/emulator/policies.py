"""Evaluation of IAM policies with their conditions, for identities (roles) and resources (queues, topics, buckets).

moto's own evaluation knows one condition operator and takes every other condition as met.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator
from typing import Any

ALLOW, DENY, NO_MATCH = "allow", "deny", "no match"

Context = dict[str, Any]
"""Condition keys of a request (in lower case) and their values: text, or a list for a multivalued key."""


def evaluate(
    documents: Iterable[dict[str, Any]],
    action: str,
    resource: str,
    context: Context,
    principal: str | None = None,
) -> str:
    """ALLOW, DENY (explicitly) or NO_MATCH. `principal` is a service or ARN, for a resource's policy."""
    effects = {s["Effect"] for s in concerning(documents, action, resource, context, principal)}
    if "Deny" in effects:
        return DENY
    return ALLOW if effects else NO_MATCH


def concerning(
    documents: Iterable[dict[str, Any]],
    action: str,
    resource: str,
    context: Context,
    principal: str | None = None,
) -> Iterator[dict[str, Any]]:
    """The statements that hold for a request."""
    keys = _lower(context)
    for document in documents:
        for statement in _listed(document["Statement"]):
            if _concerns(statement, action, resource, principal, keys):
                yield statement


def _lower(context: Context) -> Context:
    return {"aws:securetransport": "true"} | {k.lower(): v for k, v in context.items()}


def matched_resources(statement: dict[str, Any], resource: str) -> list[int]:
    """Which of a statement's resources (by their place) a request was about."""
    return [place for place, pattern in enumerate(_listed(statement.get("Resource", []))) if like(pattern, resource)]


def matched_values(statement: dict[str, Any], context: Context) -> list[str]:
    """What a request had of the values that a statement's conditions give a choice of, as `key=value`."""
    keys = _lower(context)
    return [
        f"{key}={value}"
        for operator, block in statement.get("Condition", {}).items()
        for key, values in block.items()
        if len(_listed(values)) > 1
        for value in _listed(values)
        if any(_compare(operator.rpartition(":")[2], str(v), [value]) for v in _listed(keys.get(key.lower(), [])))
    ]


def _concerns(statement: dict[str, Any], action: str, resource: str, principal: str | None, context: Context) -> bool:
    if not _element(statement, "Action", action.lower(), lower=True):
        return False
    if ("Resource" in statement or "NotResource" in statement) and not _element(statement, "Resource", resource):
        return False
    if principal is not None and not _is_principal(statement.get("Principal"), principal):
        return False
    return all(
        _condition(operator, key, values, context)
        for operator, block in statement.get("Condition", {}).items()
        for key, values in block.items()
    )


def _element(statement: dict[str, Any], name: str, value: str, lower: bool = False) -> bool:
    def matches(patterns: Any) -> bool:
        return any(like(p.lower() if lower else p, value) for p in _listed(patterns))

    if f"Not{name}" in statement:
        return not matches(statement[f"Not{name}"])
    return matches(statement[name])


def _is_principal(allowed: Any, principal: str) -> bool:
    if allowed == "*":
        return True
    if principal.endswith(".amazonaws.com"):
        return principal in _listed((allowed or {}).get("Service", []))
    values = [v for group in (allowed or {}).values() for v in _listed(group)]
    account = principal.split(":")[4] if principal.startswith("arn:") else None
    return any(v in ("*", principal, account) or v == f"arn:aws:iam::{account}:root" for v in values)


def like(pattern: str, value: str) -> bool:
    """IAM's wildcards: * and ? (brackets mean themselves)."""
    return fnmatch.fnmatchcase(value, pattern.replace("[", "[[]"))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _condition(operator: str, key: str, expected: Any, context: Context) -> bool:
    quantifier, _, name = operator.rpartition(":")
    actual = context.get(key.lower())
    expected = [str(v) for v in _listed(expected)]
    if name == "Null":
        absent = actual is None or actual == []
        return absent == (expected[0].lower() == "true")
    if_exists = name.endswith("IfExists")
    name = name.removesuffix("IfExists")
    if quantifier == "ForAllValues":
        return all(_compare(name, str(v), expected) for v in _listed(actual if actual is not None else []))
    if quantifier == "ForAnyValue":
        return any(_compare(name, str(v), expected) for v in _listed(actual if actual is not None else []))
    if actual is None:
        # A missing key fails a condition, but for the negated operators, which it passes.
        return if_exists or "Not" in name
    return any(_compare(name, str(v), expected) for v in _listed(actual))


def _compare(operator: str, actual: str, expected: list[str]) -> bool:
    if operator in _NEGATED:
        return not _compare(_NEGATED[operator], actual, expected)
    compare = _OPERATORS.get(operator)
    if compare is None:
        raise NotImplementedError(f"the condition operator {operator}")
    return any(compare(actual, value) for value in expected)


_NEGATED = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnLike",
    "ArnNotLike": "ArnLike",
    "NumericNotEquals": "NumericEquals",
}
_OPERATORS = {
    "StringEquals": lambda actual, value: actual == value,
    "StringEqualsIgnoreCase": lambda actual, value: actual.lower() == value.lower(),
    "StringLike": lambda actual, value: like(value, actual),
    "ArnLike": lambda actual, value: like(value, actual),
    "ArnEquals": lambda actual, value: like(value, actual),
    "Bool": lambda actual, value: actual.lower() == value.lower(),
    "NumericEquals": lambda actual, value: float(actual) == float(value),
    "NumericLessThan": lambda actual, value: float(actual) < float(value),
    "NumericLessThanEquals": lambda actual, value: float(actual) <= float(value),
    "NumericGreaterThan": lambda actual, value: float(actual) > float(value),
    "NumericGreaterThanEquals": lambda actual, value: float(actual) >= float(value),
}
