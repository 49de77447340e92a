"""What roles were really used for: which statement allowed which action, and what was refused.

After the end-to-end tests it is compared with what the template's roles allow (tests/template/used_permissions.py).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from emulator import control, policies

_file: TextIO | None = None
_written: set[str] = set()
_refused: list[dict[str, Any]] = []
_expected: set[str] = set()


def write_to(directory: Path) -> None:
    """Keep the record in a file of its own, line by line, so that little is lost when this process is killed."""
    global _file
    directory.mkdir(parents=True, exist_ok=True)
    # Process ids come again, and no run may take another's lines away.
    _file = (directory / f"{os.getpid()}.jsonl").open("a", buffering=1, encoding="utf-8")


def allowed(
    role: str, statements: Iterable[dict[str, Any]], action: str, resource: str, keys: policies.Context
) -> None:
    if _file is None:
        return
    for statement in statements:
        for place in policies.matched_resources(statement, resource):
            _write(
                role=role,
                action=action,
                sid=statement.get("Sid"),
                place=place,
                values=policies.matched_values(statement, keys),
            )


def refused(role: str, action: str, resource: str) -> None:
    refusal = {"role": role, "action": action, "refused": resource, "expected": action in _expected}
    if refusal not in _refused:
        _refused.append(refusal)
    if _file is not None:
        _write(**refusal)


def _write(**entry: Any) -> None:
    line = json.dumps(entry)
    if line not in _written:
        _written.add(line)
        _file.write(line + "\n")


@control.route("GET", "refusals")
def get_refusals(_: dict[str, Any]) -> Any:
    return {"refusals": _refused}


@control.route("POST", "refusals/expected")
def expect_refusals(body: dict[str, Any]) -> Any:
    """The caller is about to have this action refused on purpose."""
    _expected.add(body["action"])
    return {}


@control.on_reset
def clear() -> None:
    """The file stays: it tells of all that this process saw."""
    _refused.clear()
    _expected.clear()
