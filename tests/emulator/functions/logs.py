"""Functions' output in their CloudWatch log groups."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING

from moto.logs.models import logs_backends

from emulator import authorization, metrics
from emulator.context import context

if TYPE_CHECKING:
    from emulator.functions.environment import Environment

log = logging.getLogger("emulator.output")


def write_log(environment: Environment, lines: list[str]) -> None:
    group = environment.configuration.log_group
    lines = [line for line in lines if _passes(line, environment.configuration.log_level)]
    if not lines:
        return
    for line in lines:
        log.info("%s: %s", environment.function_name, line)
    with context.lock:
        if environment.generation != context.generation:
            return  # the account was emptied meanwhile
        backend = logs_backends[context.account_id][context.region]
        creates_group = group not in backend.groups
        if not authorization.may_write_logs(environment.role_arn, group, environment.log_stream, creates_group):
            return
        if creates_group:
            # As in AWS, the first output creates a group that the template doesn't define: without retention.
            backend.create_log_group(group, {})
        if environment.log_stream not in backend.groups[group].streams:
            backend.create_log_stream(group, environment.log_stream)
        now = int(time.time() * 1000)
        backend.put_log_events(group, environment.log_stream, [{"timestamp": now, "message": line} for line in lines])
        metrics.from_log_lines(lines)


_LEVELS = {"TRACE": 0, "DEBUG": 1, "INFO": 2, "WARN": 3, "WARNING": 3, "ERROR": 4, "FATAL": 5}


def _passes(line: str, lowest: str | None) -> bool:
    """With the log format JSON, Lambda drops lines below the level; one without a level counts as INFO."""
    if lowest is None:
        return True
    try:
        document = json.loads(line)
    except ValueError:
        return True
    if not isinstance(document, dict) or str(document.get("type", "")).startswith("platform."):
        return True
    level = _LEVELS.get(str(document.get("level", "INFO")).upper(), _LEVELS["INFO"])
    return level >= _LEVELS[lowest]
