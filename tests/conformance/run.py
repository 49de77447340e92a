"""Tries the probes one by one, and removes what they made, whatever comes in between."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from conformance.account import Account, NotOurs, Thing
from conformance.probe import Differs, NotTried, Probe, said

HOLDS, DIFFERS, NOT_TRIED = "holds", "doesn't", "couldn't be tried"


@dataclass
class Result:
    """What came of a probe."""

    probe: Probe
    outcome: str
    came: str = ""
    """What came instead, or why it couldn't be tried."""
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Interrupted(BaseException):
    """Somebody wants it to end: Ctrl-C, or a signal."""


def try_one(aws: Account, probe: Probe) -> Result:
    began, outcome, came = time.monotonic(), HOLDS, ""
    aws.notes = []
    try:
        probe.function(aws)
    except Differs as difference:
        outcome, came = DIFFERS, str(difference)
    except NotTried as why:
        outcome, came = NOT_TRIED, str(why)
    except ClientError as error:
        outcome, came = NOT_TRIED, f"what it needs beforehand failed: {said(error)}"
    except BotoCoreError as error:
        outcome, came = NOT_TRIED, f"no answer: {error}"
    except NotOurs as mistake:
        outcome, came = NOT_TRIED, f"a mistake of the probe, stopped before it was sent: {mistake}"
    except Exception as mistake:  # noqa: BLE001 (whatever is wrong with one probe, the others run)
        line = mistake.__traceback__
        while line is not None and line.tb_next is not None:
            line = line.tb_next
        where = f"{line.tb_frame.f_code.co_name}, line {line.tb_lineno}" if line else "unknown"
        outcome, came = NOT_TRIED, f"a mistake of the probe: {type(mistake).__name__}: {mistake} ({where})"
    return Result(probe, outcome, came, aws.notes, time.monotonic() - began)


def try_all(aws: Account, probes: Sequence[Probe], tell: Callable[[Result], None]) -> Iterator[Result]:
    """Each probe's result. Its things are asked to go before the next; those that several probes use stay."""
    for probe in probes:
        result = try_one(aws, probe)
        tell(result)
        yield result
        aws.remove()


@contextmanager
def interruptible(say: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Inside, the first Ctrl-C, SIGTERM or closed terminal raises Interrupted. After it, or once what is yielded has
    been called, they only say that it is removing. Outside again, whoever was impatient takes neither the last lines
    nor the exit code."""
    removing = interrupted = False

    def handle(number: int, _frame: Any) -> None:
        nonlocal removing, interrupted
        interrupted = True
        if not removing:
            removing = True
            raise Interrupted(signal.Signals(number).name)
        with suppress(OSError):
            say("still removing what was made; if you can't wait, `make conformance CLEAN=1` removes it later")

    def from_now_on() -> None:
        nonlocal removing
        removing = True

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield from_now_on
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if interrupted else handler)


def run(
    aws: Account,
    probes: Sequence[Probe],
    tell: Callable[[Result], None],
    say: Callable[[str], None],
    removing: Callable[[], None],
) -> tuple[list[Result], dict[Thing, str], bool]:
    """The results, what is left behind and why, and whether somebody interrupted it.

    `removing` is called before everything is removed: from then on nothing may interrupt it.
    """
    results: list[Result] = []
    interrupted = False
    try:
        try:
            for result in try_all(aws, probes, tell):
                results.append(result)
        finally:
            removing()
    except Interrupted as why:
        interrupted = True
        say(f"interrupted ({why}); removing what was made")
    finally:
        left = aws.remove_everything()
    return results, left, interrupted
