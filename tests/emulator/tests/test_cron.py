"""Schedule expressions as AWS means them. These need no server, only the module in this process."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from conftest import in_this_process


@pytest.fixture(scope="module")
def scheduler():
    return in_this_process("scheduler")


def fires(scheduler, expression, start, hours, zone="UTC"):
    """The local times of every firing within some hours, minute by minute as the clock does it."""
    zone = ZoneInfo(zone)
    cron = scheduler.parse_expression(f"cron({expression})", zone)
    at = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo("UTC"))
    minutes = (at + timedelta(minutes=m) for m in range(hours * 60))
    return [f"{m.astimezone(zone):%a %d %H:%M}" for m in minutes if cron.matches(m.astimezone(zone))]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 3 * * ? *", ["Thu 01 03:00", "Fri 02 03:00"]),
        ("0/30 9-10 1 * ? *", ["Thu 01 09:00", "Thu 01 09:30", "Thu 01 10:00", "Thu 01 10:30"]),
        ("15 4 ? JAN FRI 2026", ["Fri 02 04:15"]),
        ("15 4 ? * 5 *", ["Thu 01 04:15"]),  # 1 is Sunday
        ("0 0 ? * 6#1 *", ["Fri 02 00:00"]),
        ("0 0 ? * 5L *", []),
        ("0 0 L * ? *", []),
        ("0 0 1W * ? *", ["Thu 01 00:00"]),
        ("0 0 * FEB ? *", []),
    ],
)
def test_fields(scheduler, expression, expected):
    assert fires(scheduler, expression, "2026-01-01T00:00", 48) == expected


def test_last_day_and_last_weekday(scheduler):
    assert fires(scheduler, "0 0 L * ? *", "2028-02-25T00:00", 24 * 7) == ["Tue 29 00:00"]
    assert fires(scheduler, "0 0 ? * FRIL *", "2026-01-20T00:00", 24 * 12) == ["Fri 30 00:00"]
    assert fires(scheduler, "0 0 1W * ? *", "2026-02-01T00:00", 72) == ["Mon 02 00:00"]


def test_time_zones_and_daylight_saving(scheduler):
    assert fires(scheduler, "0 3 * * ? *", "2026-01-01T00:00", 24, "Asia/Seoul") == ["Fri 02 03:00"]
    # The hour that is repeated in autumn counts once, the one that spring leaves out not at all.
    assert fires(scheduler, "30 2 * * ? *", "2026-10-24T22:00", 24, "Europe/Berlin") == ["Sun 25 02:30"]
    assert fires(scheduler, "30 2 * * ? *", "2026-03-28T23:00", 23, "Europe/Berlin") == []


@pytest.mark.parametrize(
    "expression",
    [
        "cron(0 3 * * * *)",
        "cron(0 3 ? * ? *)",
        "cron(60 3 * * ? *)",
        "cron(0 3 * * ?)",
        "rate(0 days)",
        "at(2026)",
        "3 o'clock",
    ],
)
def test_what_makes_no_sense(scheduler, expression):
    with pytest.raises(scheduler.BadExpression):
        scheduler.parse_expression(expression, ZoneInfo("UTC"))
