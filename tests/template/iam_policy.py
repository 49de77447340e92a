"""Evaluates identity policies as IAM does, as far as the template's policies go.

Knows the operators that the template uses and refuses others, so that no condition is passed over.
"""

from fnmatch import fnmatchcase

Context = dict[str, str | list[str]]


def allows(policy: dict, action: str, resource: str, context: Context | None = None) -> bool:
    """Whether `policy` allows `action` on `resource`: some statement allows it and none denies it."""
    keys = {key.lower(): value for key, value in (context or {}).items()}
    effects = {
        statement["Effect"]
        for statement in policy["Statement"]
        if _matches(statement["Action"], action.lower(), lower=True)
        and _matches(statement["Resource"], resource)
        and _conditions_hold(statement.get("Condition", {}), keys)
    }
    return effects == {"Allow"}


def as_list(value) -> list:
    return value if isinstance(value, list) else [value]


def _matches(patterns, value: str, lower: bool = False) -> bool:
    return any(_like(value, pattern.lower() if lower else pattern) for pattern in as_list(patterns))


def _like(value: str, pattern: str) -> bool:
    # IAM knows `*` and `?`; fnmatch's brackets mean nothing there.
    return fnmatchcase(value, pattern.replace("[", "[[]"))


_OPERATORS = {
    "StringEquals": lambda value, wanted: value == wanted,
    "StringLike": _like,
    "ArnEquals": _like,
    "ArnLike": _like,
    "Bool": lambda value, wanted: value.lower() == wanted.lower(),
}


def _conditions_hold(conditions: dict, context: Context) -> bool:
    return all(
        _holds(operator, as_list(wanted), context.get(key.lower()))
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _holds(operator: str, wanted: list[str], value: str | list[str] | None) -> bool:
    if operator == "Null":
        return [str(not value).lower()] == wanted
    qualifier, _, name = operator.rpartition(":")
    matches = lambda one: any(_OPERATORS[name](one, want) for want in wanted)  # noqa: E731
    if qualifier == "ForAllValues":
        return all(matches(one) for one in as_list(value or []))
    if qualifier == "ForAnyValue":
        return any(matches(one) for one in as_list(value or []))
    assert not qualifier, f"unknown set operator {operator}"
    assert not isinstance(value, list), f"{operator} on a key with several values needs ForAllValues or ForAnyValue"
    return value is not None and matches(value)
