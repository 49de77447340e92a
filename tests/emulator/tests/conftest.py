"""One emulator for the session, empty at the start of each test."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from demo.local_aws import ACCOUNT, REGION, TESTS  # noqa: E402, F401 (for the tests)
from demo.local_aws import LocalAws as Emulator  # noqa: E402
from demo.local_aws import LocalAwsFailed as ControlFailure  # noqa: E402, F401 (for the tests)


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


@pytest.fixture
def cloudwatch(client: Callable[[str], Any]) -> Any:
    return client("cloudwatch")


@pytest.fixture
def topic(client: Callable[[str], Any]) -> str:
    return client("sns").create_topic(Name="notices")["TopicArn"]


def function_archive(program: bytes | None = None) -> bytes:
    """The test function, or another, as `sam build` would package it: an archive with the executable `bootstrap`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o100755 << 16
        archive.writestr(entry, program or (Path(__file__).parent / "function" / "bootstrap").read_bytes())
    return buffer.getvalue()


def allow(action: str | list[str], resource: str | list[str] = "*", **condition: Any) -> dict[str, Any]:
    """A statement of a policy."""
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return statement | ({"Condition": condition} if condition else {})


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def trust(service: str) -> str:
    """A role's trust policy for a service of AWS."""
    principal = {"Service": f"{service}.amazonaws.com"}
    return policy({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal})


def make_role(iam: Any, name: str, service: str, *statements: dict[str, Any]) -> str:
    """A role of a service of AWS that may do this; returns its ARN."""
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(service))["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=policy(*statements))
    return role


@pytest.fixture
def function(emulator: Emulator) -> Callable[..., str]:
    """function(name, **settings) creates a function and its role, which allows all if not told else; returns the ARN."""

    def create(name: str = "worker", statements: list[dict[str, Any]] | None = None, **settings: Any) -> str:
        allowed = [allow("*")] if statements is None else statements
        role = make_role(emulator.client("iam"), f"{name}-role", "lambda", *allowed)
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
