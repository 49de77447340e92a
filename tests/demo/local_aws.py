"""The local AWS: a child process with clients of its API and its control API, for the demo and the tests in Python."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from demo.timeline import holds

TESTS = Path(__file__).resolve().parents[1]
ACCOUNT, REGION = "123456789012", "eu-central-1"
STACK = "ec2-guardrails"
SNAPSHOT_VOLUMES, ATTACH_SSM_ROLE, CANCEL_REFRESH = "snapshot-volumes", "attach-ssm-role", "cancel-refresh"
QUARANTINE_LAUNCH = "quarantine-launch"
# Of full monitoring, as the template names it.
DASHBOARD = f"{STACK}-{REGION}"
# The local AWS takes any; it tells the function's from everybody else's.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo"}


class LocalAwsFailed(Exception):
    pass


def function_of(guardrail: str) -> str:
    """A guardrail's function, as the template names it."""
    return f"{STACK}-{guardrail}"


class LocalAws:
    def __init__(self, *arguments: str) -> None:
        # A process group of its own: Ctrl-C reaches only the demo, which then ends everything in order.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "emulator", "--port", "0", "--die-with-parent", *arguments],
            cwd=TESTS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        )
        try:
            self.endpoint = self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            raise LocalAwsFailed("the local AWS didn't start; its error stands above")
        return line.split()[1]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    @functools.cache  # noqa: B019 (one instance, as long as the demo)
    def client(self, service: str, region: str = REGION, **config: Any) -> Any:
        """It doesn't retry, so that each answer is seen. They are kept: one is slow to make."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=region,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"total_max_attempts": 1}, **config),
        )

    def control(self, method: str, path: str, **arguments: Any) -> Any:
        """What AWS does by time and chance, and what it keeps to itself."""
        url = f"{self.endpoint}/_emulator/{path}"
        data = None
        if method == "GET":
            url += "?" + urllib.parse.urlencode(arguments)
        else:
            data = json.dumps(arguments).encode()
        # No proxy: it is on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(urllib.request.Request(url, data=data, method=method), timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise LocalAwsFailed(json.load(error)["error"]) from error

    # ---- what several scenes need ----

    def wait_until_idle(self) -> None:
        answer = self.control("POST", "wait-idle", timeout=60)
        if not answer["idle"]:
            raise LocalAwsFailed(f"functions still run after a minute: {answer}")

    def runs(self, guardrail: str, **filters: Any) -> list[dict[str, Any]]:
        return self.control("GET", "invocations", function=function_of(guardrail), **filters)["invocations"]

    def sweep(self, guardrail: str, fired: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
        """The schedule fires, now instead of in its own time; the run that it starts."""
        schedules = self.control("GET", "schedules")["schedules"]
        (schedule,) = [s for s in schedules if s["target"].endswith(function_of(guardrail))]
        request = self.control("POST", "schedules/fire", name=schedule["name"])["request_id"]
        if fired:
            fired(schedule)
        self.wait_until_idle()
        run = self.runs(guardrail, request_id=request)[-1]
        holds(run["outcome"] == "success", f"the sweep ended in {run['outcome']}: {run['response']}")
        return run

    def command(self, guardrail: str, command: str, **arguments: str) -> dict[str, Any]:
        """What a person gets who orders something of a guardrail."""
        payload = json.dumps({"trigger": "command", "command": command} | arguments).encode()
        function = function_of(guardrail)
        answer = self.client("lambda").invoke(FunctionName=function, Qualifier="operator", Payload=payload)
        return json.load(answer["Payload"])

    def calls_of(self, run: dict[str, Any], *operations: str) -> list[dict[str, Any]]:
        """The API calls of a run, or those of some operations."""
        calls = self.control("GET", "calls", request_id=run["request_id"])["calls"]
        return [call for call in calls if not operations or call["operation"] in operations]

    def snapshots(self, **tags: str) -> list[dict[str, Any]]:
        """The account's snapshots with these tags (of ec2-guardrails), from old to new, as DescribeSnapshots has them."""
        filters = [{"Name": f"tag:ec2-guardrails:{key}", "Values": [value]} for key, value in tags.items()]
        pages = self.client("ec2").get_paginator("describe_snapshots").paginate(OwnerIds=["self"], Filters=filters)
        return sorted((s for page in pages for s in page["Snapshots"]), key=lambda s: s["StartTime"])

    def node(self, instance: str) -> dict[str, Any] | None:
        """The instance as Systems Manager shows it, if it is a managed node."""
        wanted = [{"Key": "InstanceIds", "Values": [instance]}]
        found = self.client("ssm").describe_instance_information(Filters=wanted)["InstanceInformationList"]
        return found[0] if found else None

    def try_agent(self, instance: str) -> dict[str, Any]:
        """The agent tries now instead of at the end of its wait; what came of it."""
        return self.control("POST", "nodes/retry", instance_ids=[instance])["nodes"][0]

    def pass_minutes(self, instance: str, minutes: int) -> None:
        """Minutes pass for an instance, its agent, and what the guardrail has noted of it."""
        self.control("POST", "instances/age", instance_ids=[instance], seconds=minutes * 60)
        self.control("POST", "tables/age", item=f"node#{instance}", seconds=minutes * 60)

    def deploy(self, template: Path, **parameters: str) -> None:
        """Deploys the template, and confirms the subscription from its mail, as its reader does."""
        mail = {"NotificationEmail": "owner@example.com"}
        self.control("POST", "deploy", template=str(template), parameters=mail | parameters)
        self.control("POST", "subscriptions", confirmed=True)

    def notices(self) -> list[dict[str, Any]]:
        return self.control("GET", "notices")["notices"]


def tags_of(resource: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}


def seeded_snapshot(volume: str, slot: datetime) -> dict[str, Any]:
    """What `POST snapshots` takes for a snapshot that snapshot-volumes made in the past."""
    tags = {
        "guardrail": "snapshot-volumes",
        "plan": "daily",
        "slot": slot.isoformat(),
        "attempt": "1",
        "volumes": volume,
    }
    return {
        "volume_id": volume,
        "start_time": slot.astimezone(UTC).isoformat(),
        "description": f"ec2-guardrails snapshot-volumes: plan daily, slot {slot.isoformat()}, attempt 1: x",
        "tags": {f"ec2-guardrails:{key}": value for key, value in tags.items()},
    }
