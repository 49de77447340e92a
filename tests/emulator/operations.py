"""API operations that this package answers itself, in place of moto.

@operation("cloudformation", "CreateChangeSet")
def create_change_set(request): ...      # returns the result as the service's model names it, or raises AwsError
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from emulator.aws_request import AwsRequest, Response
from emulator.callers import Environment


@dataclass
class Operation:
    function: Callable[[AwsRequest], dict[str, Any] | Response]
    locked: bool


observers: list[Callable[[AwsRequest, Environment | None, Response], None]] = []
"""Called with each call and its answer, also a refusal, under the lock if the call was executed under it."""

_operations: dict[tuple[str, str], Operation] = {}


def operation(service: str, *names: str, locked: bool = True) -> Callable:
    """Register for one or several operations. `locked=False` for one that waits for a function to run."""

    def decorate(function: Callable) -> Callable:
        for name in names:
            if (service, name) in _operations:
                raise ValueError(f"{service} {name} is registered twice")
            _operations[service, name] = Operation(function, locked)
        return function

    return decorate


def find(request: AwsRequest) -> Operation | None:
    return _operations.get((request.service, request.operation))
