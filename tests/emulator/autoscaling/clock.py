"""Auto Scaling's clock: real time, which the control API can move on (POST autoscaling/pass).

Everything in this package keeps moments of this clock. Only answers and events turn them into times of day, so that
after simulated time has passed, all that happened before lies as far back as it would.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from emulator.control import on_reset
from emulator.settings import settings

_ahead = 0.0


def now() -> float:
    return time.time() + _ahead


def move(seconds: float) -> None:
    global _ahead
    _ahead += seconds


@on_reset
def _reset() -> None:
    global _ahead
    _ahead = 0.0


def over(since: float, seconds: float) -> bool:
    """Whether so many of AWS's seconds have passed since a moment."""
    return now() >= since + scaled(seconds)


def scaled(seconds: float) -> float:
    return seconds * settings.autoscaling_time_scale


def shown(moment: float | None) -> datetime | None:
    """A moment as a time of day. AWS gives milliseconds."""
    if moment is None:
        return None
    return datetime.fromtimestamp(round(moment - _ahead, 3), UTC).replace(tzinfo=None)


def whole(moment: float) -> datetime:
    """The end of an activity: AWS gives its start to the millisecond, and its end in whole seconds before that."""
    return datetime.fromtimestamp(int(moment - _ahead), UTC).replace(tzinfo=None)


def text(moment: float) -> str:
    """A moment in the words of a cause, in whole seconds."""
    return datetime.fromtimestamp(moment - _ahead, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def precise(moment: float) -> str:
    """A moment in an event's detail."""
    return datetime.fromtimestamp(moment - _ahead, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
