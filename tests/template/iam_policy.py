"""Whether identity policies allow something, as IAM evaluates them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from emulator import policies  # noqa: E402

Context = dict[str, str | list[str]]


def allows(policy: dict, action: str, resource: str, context: Context | None = None) -> bool:
    """Whether `policy` allows `action` on `resource`: some statement allows it and none denies it."""
    context = context or {}
    if several := {key.lower() for key, value in context.items() if isinstance(value, list)}:
        for statement in policy["Statement"]:
            for operator, keys in statement.get("Condition", {}).items():
                wrong = several & {key.lower() for key in keys} and operator != "Null" and ":" not in operator
                assert not wrong, f"{operator} on a key with several values needs ForAllValues or ForAnyValue"
    return policies.evaluate([policy], action, resource, context) == policies.ALLOW


def as_list(value) -> list:
    return value if isinstance(value, list) else [value]
