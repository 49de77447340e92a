"""The demo holds from beginning to end, what it offers to look around with works, and Ctrl-C leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[2]
SECONDS = 400
"""For a machine with much else to do; alone it takes less than one minute."""


class Demo:
    """`python -m demo --keep`, once it has told everything."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "demo", "--keep"],
            cwd=TESTS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        watchdog = threading.Timer(SECONDS, self.process.kill)
        watchdog.start()
        self.lines: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.rstrip().endswith("until Ctrl-C."):
                break
        watchdog.cancel()
        self.text = "\n".join(self.lines)
        self.processes = descendants(self.process.pid)

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=60)

    def commands(self) -> list[str]:
        """Those below `Look around`: first what to export, then what to run."""
        start = self.lines.index("Look around") + 2
        end = self.lines.index("Deploy to a real account")
        return [line.strip() for line in self.lines[start:end] if line.strip()]


def descendants(pid: int) -> list[int]:
    """The ids of its child processes, and of theirs."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    demo = Demo()
    yield demo
    if demo.process.poll() is None:
        demo.interrupt()


def test_everything_it_says_holds(demo: Demo):
    assert demo.process.poll() is None, demo.text[-3000:]
    assert re.search(r"^\d{3,} statements, each read back from the local AWS", demo.text, re.M), demo.text[-3000:]


def test_each_incident_is_told_both_ways(demo: Demo):
    for number in range(1, 6):
        ways = re.findall(rf"^Incident {number}, (without|with ec2-guardrails): (.+)$", demo.text, re.M)
        assert [way for way, _ in ways] == ["without", "with ec2-guardrails"], number
        assert ways[0][1] == ways[1][1]
    summary = demo.text.split("What came of each")[1].split("That was it")[0]
    assert len(re.findall(r"^   without  \S", summary, re.M)) == 5
    assert len(re.findall(r"^   with     \S", summary, re.M)) == 5


def test_its_commands_work(demo: Demo, tmp_path: Path):
    exports = [command for command in demo.commands() if command.startswith("export ")]
    others = [command for command in demo.commands() if not command.startswith("export ")]
    assert len(exports) == 2
    assert len(others) > 5
    wrong = []
    for command in others:
        # Nothing of the caller's own account: only what the demo says to export.
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_PAGER": ""}
        script = "\n".join([*exports, command])
        ran = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=120)
        if ran.returncode or not ran.stdout.strip() or "FunctionError" in ran.stdout:
            wrong.append(f"{command}\n{ran.stdout}{ran.stderr}")
    assert not wrong, "\n\n".join(wrong)


def test_interrupted_it_leaves_nothing_behind(demo: Demo):
    assert demo.processes, "the local AWS runs"
    assert demo.interrupt() == 0
    until = time.monotonic() + 20
    while left := [pid for pid in demo.processes if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < until, f"processes are left: {left}"
        time.sleep(0.1)
