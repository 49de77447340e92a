"""The package as `make package` leaves it, deployed from its own template to the local AWS: what it was compiled to runs.

What the guardrails do is tested with debug builds of the same code; here each function starts cold, sweeps, and takes an
event.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo.local_aws import ATTACH_SSM_ROLE, CANCEL_REFRESH, QUARANTINE_LAUNCH, SNAPSHOT_VOLUMES, TESTS, LocalAws, function_of

PACKAGE = TESTS.parent / ".aws-sam/build"
EVENTS = {
    ATTACH_SSM_ROLE: "instance-state-running",
    CANCEL_REFRESH: "instance-refresh-failed",
    QUARANTINE_LAUNCH: "run-instances",
    SNAPSHOT_VOLUMES: "create-snapshot-failed",
}
ARCHITECTURES = {62: "x86_64", 183: "arm64"}
"""Lambda's words, by the number that ELF has."""
QEMU = {"x86_64": "qemu-x86_64", "arm64": "qemu-aarch64"}


def architecture() -> str:
    functions = sorted(PACKAGE.glob("*/bootstrap"))
    assert len(functions) == len(EVENTS), f"{PACKAGE} has {len(functions)} functions of {len(EVENTS)}: run `make package`"
    (number,) = {int.from_bytes(function.read_bytes()[18:20], "little") for function in functions}
    return ARCHITECTURES[number]


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    built_for = architecture()
    here = "arm64" if platform.machine() in ("aarch64", "arm64") else platform.machine()
    if built_for != here and not Path("/proc/sys/fs/binfmt_misc", QEMU[built_for]).exists():
        pytest.skip(f"the package is for {built_for}, this machine is {here}, and qemu isn't set up")
    aws = LocalAws()
    try:
        aws.control("PATCH", "settings", schedules_fire=False)
        aws.control("POST", "deploy", template=str(PACKAGE / "template.yaml"), parameters={"Architecture": built_for})
        yield aws
    finally:
        aws.stop()


@pytest.mark.parametrize("guardrail", EVENTS)
def test_it_starts_cold_and_sweeps(aws: LocalAws, guardrail: str):
    (sweep,) = (s for s in aws.control("GET", "schedules")["schedules"] if s["target"].endswith(function_of(guardrail)))
    request = aws.control("POST", "schedules/fire", name=sweep["name"])["request_id"]
    aws.wait_until_idle()
    (run,) = aws.runs(guardrail, request_id=request)
    assert (run["outcome"], run["cold_start"]) == ("success", True), run
    assert {"mode", "considered", "outcomes"} <= run["response"].keys(), run


@pytest.mark.parametrize("guardrail", EVENTS)
def test_it_takes_an_event(aws: LocalAws, guardrail: str):
    event = json.loads((TESTS / f"events/{EVENTS[guardrail]}.json").read_text())
    before = len(aws.runs(guardrail))
    given = {name.replace("-", "_"): event[name] for name in ("source", "detail-type", "resources", "detail")}
    aws.control("POST", "emit", **given)
    aws.wait_until_idle()
    (run,) = aws.runs(guardrail)[before:]
    assert run["source"].startswith("rule ") and run["outcome"] == "success", run
