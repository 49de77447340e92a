"""Filters of the Describe calls.

moto refuses few unknown names, treats `attachment.instance-id` and tag values as loose patterns, and counts no values.
Here a resource has a table from filter name to a function that reads the value (or values) of an item.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any

from moto.ec2.exceptions import EC2ClientError

from emulator.ec2 import errors

MAX_VALUES = 200  # EBS-7
MAX_VALUE_LENGTH = 255

Readers = dict[str, Callable[[Any], Any]]


def attributes(*names: str) -> Readers:
    """Filters whose values an item has under the same name."""
    return {name: attrgetter(re.sub("[-.]", "_", name)) for name in names}


def of_each(prefix: str, parts: str, *names: str) -> Readers:
    """Filters whose values an item's parts have under the same name: `route.state` is the state of each route."""
    return {
        prefix + name: lambda item, read=read: [read(part) for part in getattr(item, parts)]
        for name, read in attributes(*names).items()
    }


def select(items: Iterable[Any], filters: dict[str, list[str]], readers: Readers, tags_of: Callable) -> list[Any]:
    """The items that match every filter. Unknown names are refused even when there is nothing to filter."""
    if sum(len(values) for values in filters.values()) > MAX_VALUES:
        raise EC2ClientError(
            "FilterLimitExceeded", f"The maximum number of filter values specified on a single call is {MAX_VALUES}"
        )
    conditions = []
    for name, values in filters.items():
        if any(len(value) > MAX_VALUE_LENGTH for value in values):
            raise EC2ClientError(
                "FilterLimitExceeded", f"The maximum length for a filter value is {MAX_VALUE_LENGTH} characters"
            )
        conditions.append((_reader(name, readers, tags_of), _matcher(tuple(values))))
    return [item for item in items if all(_holds(read(item), matches) for read, matches in conditions)]


def _reader(name: str, readers: Readers, tags_of: Callable) -> Callable[[Any], Any]:
    if name.startswith("tag:"):
        key = name.removeprefix("tag:")
        return lambda item: tags_of(item).get(key)
    if name == "tag-key":
        return lambda item: list(tags_of(item))
    if name not in readers:
        raise errors.invalid_value(f"The filter '{name}' is invalid")
    return readers[name]


def _holds(found: Any, matches: Callable[[str], bool]) -> bool:
    values = found if isinstance(found, (list, tuple, set)) else [found]
    return any(value is not None and matches(as_text(value)) for value in values)


def as_text(value: Any) -> str:
    """A value as EC2 writes it, for comparison with a filter."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
    return str(value)


@lru_cache(maxsize=256)
def _matcher(values: tuple[str, ...]) -> Callable[[str], bool]:
    plain = {value for value in values if not re.search(r"[*?\\]", value)}
    patterns = [_pattern(value) for value in values if value not in plain]
    return lambda text: text in plain or any(pattern.fullmatch(text) for pattern in patterns)


def _pattern(value: str) -> re.Pattern[str]:
    r"""`*` stands for any characters, `?` for at most one, and `\` takes the meaning from what follows it."""
    parts, escaped = [], False
    for character in value:
        if escaped or character not in "\\*?":
            parts.append(re.escape(character))
            escaped = False
        elif character == "\\":
            escaped = True
        else:
            parts.append(".*" if character == "*" else ".?")
    return re.compile("".join(parts), re.DOTALL)
