"""Which environment takes an event: a warm one that is free, or a new one while concurrency allows it."""

from __future__ import annotations

import threading

from emulator import control
from emulator.functions.environment import Configuration, Environment
from emulator.functions.logs import write_log
from emulator.settings import settings


class Throttled(Exception):
    """No free environment and no concurrency left for a new one."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


_guard = threading.Lock()
_idle: dict[str, list[Environment]] = {}
_busy: dict[str, list[Environment]] = {}


def acquire(configuration: Configuration, reserved_concurrency: int | None) -> Environment:
    """Raises Throttled as Lambda does at the function's reserved concurrency or the account's limit."""
    name = configuration.function_name
    with _guard:
        busy = _busy.setdefault(name, [])
        if reserved_concurrency is not None and len(busy) >= reserved_concurrency:
            raise Throttled("ReservedFunctionConcurrentInvocationLimitExceeded")
        if sum(map(len, _busy.values())) >= settings.concurrency_limit:
            raise Throttled("ConcurrentInvocationLimitExceeded")
        idle = _idle.setdefault(name, [])
        outdated = [e for e in idle if e.configuration != configuration or not e.alive]
        for environment in outdated:
            idle.remove(environment)
            environment.stop()
        environment = idle.pop() if idle else Environment(configuration, write_log)
        busy.append(environment)
        return environment


def release(environment: Environment) -> None:
    with _guard:
        name = environment.function_name
        if environment in _busy.get(name, []):
            _busy[name].remove(environment)
            if environment.alive:
                _idle.setdefault(name, []).append(environment)
                return
    environment.stop()


def retire(function_name: str) -> None:
    """End a deleted function's environments."""
    with _guard:
        environments = _idle.pop(function_name, []) + _busy.pop(function_name, [])
    for environment in environments:
        environment.stop()


@control.on_reset
def retire_all() -> None:
    for name in {*_idle, *_busy}:
        retire(name)
