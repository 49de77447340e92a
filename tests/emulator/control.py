"""The control API under /_emulator/: how tests and people drive what AWS itself does by time and chance.

    @route("POST", "snapshots")
    def seed_snapshots(body): ...        # body: the JSON object of the request, for GET the query; returns JSON

README.md documents each route.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from emulator.context import context
from emulator.settings import settings

PREFIX = "/_emulator/"


class ControlError(Exception):
    """A request that can't be carried out; the message says why and what to do."""


@dataclass
class Route:
    function: Callable[[dict[str, Any]], Any]
    locked: bool


_routes: dict[tuple[str, str], Route] = {}
_on_reset: list[Callable[[], None]] = []


def route(method: str, path: str, *, locked: bool = True) -> Callable:
    """Register a control route. `locked=False` for one that waits for functions to run."""

    def decorate(function: Callable) -> Callable:
        if (method, path) in _routes:
            raise ValueError(f"{method} {path} is registered twice")
        _routes[method, path] = Route(function, locked)
        return function

    return decorate


def on_reset(function: Callable[[], None]) -> Callable[[], None]:
    """Register what reset must clear beside moto's own backends. It runs under the lock, after moto's reset."""
    _on_reset.append(function)
    return function


def handle(method: str, path: str, query: str, body: bytes) -> tuple[int, bytes]:
    """Answer one control request: (status, JSON)."""
    found = _routes.get((method, path.removeprefix(PREFIX).strip("/")))
    if found is None:
        known = ", ".join(f"{m} {p}" for m, p in sorted(_routes))
        return 404, _dump({"error": f"no control route {method} {path}; known: {known}"})
    try:
        arguments = dict(parse_qsl(query)) | (json.loads(body) if body else {})
        with context.lock if found.locked else nullcontext():
            return 200, _dump(found.function(arguments))
    except (ControlError, ValueError, TypeError, KeyError) as error:
        return 400, _dump({"error": f"{type(error).__name__}: {error}"})


def _dump(value: Any) -> bytes:
    return json.dumps(value, default=str).encode()


@route("GET", "settings")
def get_settings(_: dict[str, Any]) -> Any:
    return settings.as_json()


@route("PATCH", "settings")
def patch_settings(body: dict[str, Any]) -> Any:
    settings.update(body)
    return settings.as_json()


@route("POST", "reset")
def reset(_: dict[str, Any]) -> Any:
    from moto.moto_api._internal import moto_api_backend

    context.generation += 1
    settings.reset()
    moto_api_backend.reset()
    for clear in _on_reset:
        clear()
    return {}
