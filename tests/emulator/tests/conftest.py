"""One emulator for the session, empty at the start of each test."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.config import Config

TESTS = Path(__file__).resolve().parents[2]
ACCOUNT = "123456789012"
REGION = "eu-central-1"


def in_this_process(name: str) -> ModuleType:
    """A module of the emulator that needs no server."""
    sys.path.insert(0, str(TESTS))
    try:
        return importlib.import_module(f"emulator.{name}")
    finally:
        sys.path.remove(str(TESTS))


class ControlFailure(Exception):
    pass


class Emulator:
    """A running emulator: boto3 clients of it and its control API."""

    def __init__(self, *arguments: str) -> None:
        environment = os.environ | {"PYTHONPATH": str(TESTS)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "emulator", "--port", "0", "--die-with-parent", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready "), f"the emulator didn't start: {line!r}"
        self.endpoint = line.split()[1]
        self._clients: dict[tuple[str, str], Any] = {}

    def client(self, service: str, **config: Any) -> Any:
        """A boto3 client that doesn't retry, so that a test sees each answer. Tests share it: it is slow to make."""
        key = service, repr(sorted(config.items()))
        if key not in self._clients:
            self._clients[key] = boto3.client(
                service,
                endpoint_url=self.endpoint,
                region_name=REGION,
                aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
                aws_secret_access_key="secret",
                config=Config(retries={"total_max_attempts": 1}, **config),
            )
        return self._clients[key]

    def control(self, method: str, path: str, **body: Any) -> Any:
        """Call the control API; for GET the arguments are the query."""
        url = f"{self.endpoint}/_emulator/{path}"
        data = None
        if method == "GET":
            url += "?" + urllib.parse.urlencode(body)
        else:
            data = json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ControlFailure(json.load(error)["error"]) from error

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@pytest.fixture(scope="session")
def session_emulator() -> Iterator[Emulator]:
    emulator = Emulator()
    yield emulator
    emulator.stop()


@pytest.fixture
def emulator(session_emulator: Emulator) -> Emulator:
    session_emulator.control("POST", "reset")
    return session_emulator


@pytest.fixture
def client(emulator: Emulator) -> Callable[[str], Any]:
    """client("ec2") is a boto3 client of the emulator."""
    return emulator.client


@pytest.fixture
def ec2(client: Callable[[str], Any]) -> Any:
    return client("ec2")


@pytest.fixture
def iam(client: Callable[[str], Any]) -> Any:
    return client("iam")


@pytest.fixture
def ssm(client: Callable[[str], Any]) -> Any:
    return client("ssm")


def function_archive() -> bytes:
    """The test function as `sam build` would package it: an archive with the executable `bootstrap`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o100755 << 16
        archive.writestr(entry, (Path(__file__).parent / "function" / "bootstrap").read_bytes())
    return buffer.getvalue()


def trust(service: str) -> str:
    """A role's trust policy for a service of AWS."""
    principal = {"Service": f"{service}.amazonaws.com"}
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
def function(emulator: Emulator) -> Callable[..., str]:
    """function(name, **settings) creates a function and its role, which allows all if not told else; returns the ARN."""

    def create(name: str = "worker", statements: list[dict[str, Any]] | None = None, **settings: Any) -> str:
        iam = emulator.client("iam")
        role = iam.create_role(RoleName=f"{name}-role", AssumeRolePolicyDocument=trust("lambda"))["Role"]["Arn"]
        everything = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
        policy = {"Version": "2012-10-17", "Statement": everything if statements is None else statements}
        iam.put_role_policy(RoleName=f"{name}-role", PolicyName="all", PolicyDocument=json.dumps(policy))
        defaults = {"Runtime": "provided.al2023", "Role": role, "Handler": "bootstrap", "Timeout": 5, "MemorySize": 256}
        answer = emulator.client("lambda").create_function(
            FunctionName=name, Code={"ZipFile": function_archive()}, **defaults | settings
        )
        return answer["FunctionArn"]

    return create


@pytest.fixture
def listener(emulator: Emulator, function: Callable[..., str]) -> Callable[..., Callable[[], list[Any]]]:
    """listener(pattern, name) sends events that match to a new function; what it returns gives those that came."""

    def create(pattern: dict[str, Any], name: str = "listener") -> Callable[[], list[Any]]:
        arn = function(name)
        events = emulator.client("events")
        rule = events.put_rule(Name=name, EventPattern=json.dumps(pattern))["RuleArn"]
        events.put_targets(Rule=name, Targets=[{"Id": "f", "Arn": arn}])
        emulator.client("lambda").add_permission(
            FunctionName=name,
            StatementId="r",
            Action="lambda:InvokeFunction",
            Principal="events.amazonaws.com",
            SourceArn=rule,
        )
        return lambda: [i["event"] for i in emulator.control("GET", "invocations", function=name)["invocations"]]

    return create


def invoke(emulator: Emulator, name: str, event: Any, **options: Any) -> dict[str, Any]:
    """Invoke and wait; the answer's payload is decoded."""
    answer = emulator.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event).encode(), **options)
    payload = answer["Payload"].read()
    return answer | {"Payload": json.loads(payload) if payload else None}
