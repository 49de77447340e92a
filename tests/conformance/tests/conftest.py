"""One local AWS for the session. It isn't emptied between the probes, as a real account isn't."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from conformance.account import Account  # noqa: E402
from conformance.facts import ami  # noqa: E402, F401 (registers the probes)
from demo.local_aws import REGION, LocalAws  # noqa: E402

TESTS = Path(__file__).parents[2]
POLL_SECONDS = 0.05
# AWS's waits, short but not none: what is pending must be seen to be so.
PACE = {"instance_transition_seconds": 0.4, "snapshot_pending_seconds": 0.4, "autoscaling_time_scale": 0.02}


@pytest.fixture(scope="session")
def environment() -> Iterator[dict[str, str]]:
    """The ordinary way to the local AWS."""
    aws = LocalAws()
    aws.control("PATCH", "settings", **PACE)
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {
        "AWS_ENDPOINT_URL": aws.endpoint,
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    yield os.environ | {"LOCAL": aws}  # type: ignore[dict-item]
    os.environ.clear()
    os.environ |= before
    aws.stop()


@pytest.fixture
def control(environment: dict[str, Any]) -> Iterator[Callable[..., Any]]:
    """The local AWS's control API; faults end with the test."""
    yield environment["LOCAL"].control
    environment["LOCAL"].control("DELETE", "faults")


@pytest.fixture(scope="session")
def new_run(environment: dict[str, Any]) -> Callable[[], Account]:
    """An account of a run of its own. One session for all of them: it is slow to make."""
    session = boto3.Session(region_name=REGION)
    return lambda: Account(session, POLL_SECONDS)


@pytest.fixture
def aws(new_run: Callable[[], Account]) -> Iterator[Account]:
    """A run that leaves nothing."""
    account = new_run()
    yield account
    assert account.remove_everything(seconds=30) == {}
