"""Faults on demand (under construction: none can be installed yet)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def around(request: Any, call: Any, environment: Any, execute: Callable[[], Any]) -> Any:
    return execute()
