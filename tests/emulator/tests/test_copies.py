"""Copies of a deployed emulator: each is whole, alone, and ends with its client."""

from __future__ import annotations

import glob
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import TESTS, Emulator
from ec2_help import eventually
from test_cloudformation import project  # noqa: F401 (a fixture)
from test_server import gone

CONFIG = """
version = 0.1
[local.deploy.parameters]
stack_name = "small"
region = "eu-central-1"
resolve_s3 = true
capabilities = "CAPABILITY_IAM"
confirm_changeset = false
"""


class Original:
    def __init__(self, folder: Path, whoever: int) -> None:
        self.path = folder / "socket"
        arguments = ["--deploy", str(folder / "template.yaml"), "--copies", str(self.path), "--while", str(whoever)]
        arguments += ["--set", "schedules_fire=false"]
        environment = os.environ | {"PYTHONPATH": str(TESTS)}
        self.process = subprocess.Popen([sys.executable, "-m", "emulator", *arguments], env=environment)
        while not self.path.exists():
            assert self.process.poll() is None, "it ended before it was deployed"
            time.sleep(0.05)

    def folders(self) -> list[str]:
        return glob.glob(os.path.join(tempfile.gettempdir(), f"emulator-code-{self.process.pid}-*"))


class Copy(Emulator):
    def __init__(self, original: Original, **request: object) -> None:
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(60)
        self.connection.connect(str(original.path))
        self.connection.sendall(json.dumps(request).encode() + b"\n")
        with self.connection.makefile() as lines:
            line = next(lines)
        assert line.startswith("ready "), line
        self.endpoint = line.split()[1]

    def invocations(self) -> list[dict[str, Any]]:
        return self.control("GET", "invocations")["invocations"]

    def has_ended(self) -> bool:
        def is_unreachable() -> bool:
            try:
                self.invocations()
            except OSError:
                return True
            return False

        return eventually(is_unreachable)


@pytest.fixture
def someone() -> Iterator[subprocess.Popen]:
    """A process for which copies are made."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def test_copies_are_whole_and_alone_and_end_with_their_client(project: Path, someone: subprocess.Popen):  # noqa: F811
    (project / "samconfig.toml").write_text(CONFIG)
    original = Original(project, someone.pid)
    first, second = Copy(original), Copy(original)

    answer = first.client("lambda").invoke(FunctionName="small-worker", Payload=b"{}")
    assert "FunctionError" not in answer
    assert [run["outcome"] for run in first.invocations()] == ["success"]
    assert second.invocations() == []

    # What one makes the other doesn't have, and what it makes up isn't the same.
    groups = [c.client("ec2").create_security_group(GroupName="g", Description="d")["GroupId"] for c in (first, second)]
    assert groups[0] != groups[1]
    first.client("sqs").create_queue(QueueName="mine")
    queues = [copy.client("sqs").list_queues()["QueueUrls"] for copy in (first, second)]
    assert [len(urls) for urls in queues] == [2, 1]
    # A queue of the stack is found by the URL that the stack tells.
    stack = second.client("cloudformation").describe_stacks(StackName="small")["Stacks"][0]
    assert queues[1][0] in [output["OutputValue"] for output in stack["Outputs"]]
    second.client("sqs").send_message(QueueUrl=queues[1][0], MessageBody="hello")

    # Other parameters, by an update of the copy's own stack.
    third = Copy(original, parameters={"Email": "ops@example.com"})
    assert [len(c.client("sns").list_subscriptions()["Subscriptions"]) for c in (third, second)] == [1, 0]

    second.client("lambda").invoke(FunctionName="small-worker", InvocationType="Event", Payload=b'{"sleep": 60}')
    pid = eventually(lambda: second.invocations()[0]["pid"])
    second.connection.close()
    assert second.has_ended() and gone(pid)
    assert len(first.invocations()) == 1

    someone.kill()
    someone.wait()
    original.process.wait(timeout=60)
    assert first.has_ended() and third.has_ended()
    assert not original.path.exists() and not original.folders()


def test_it_says_why_it_can_not_be_deployed(project: Path):  # noqa: F811
    (project / "samconfig.toml").write_text(CONFIG)
    (project / "template.yaml").write_text("Resources: { Thing: { Type: AWS::None::Such } }")
    arguments = ["--deploy", str(project / "template.yaml"), "--copies", str(project / "socket")]
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-m", "emulator", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "AWS::None::Such" in done.stderr, done.stderr
    assert not (project / "socket").exists()
