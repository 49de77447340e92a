"""Deploys a built SAM template to the running emulator with the real `sam deploy`, and looks whether all of it is there.

    python -m emulator --deploy .aws-sam/local/template.yaml
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from emulator import control
from emulator.cloudformation import stacks, template as templates
from emulator.cloudformation.resources import client, is_not_found
from emulator.cloudformation.stacks import Resource, Stack
from emulator.context import context
from emulator.process import die_with_parent

CONFIG_ENVIRONMENT = "local"
"""The environment in samconfig.toml that is meant for the emulator."""

SAM_STACK = "aws-sam-cli-managed-default"
"""`sam deploy --resolve-s3` makes a stack of its own for the bucket."""


class DeploymentFailed(Exception):
    pass


def deploy(template: Path, stopped: threading.Event, parameters: dict[str, str] | None = None) -> None:
    """Returns when the stack is deployed and everything in it was found; raises DeploymentFailed.

    `stopped` ends a deployment that is no longer wanted. `parameters` are the template's, beside the architecture.
    """
    template = template.resolve()
    if not template.is_file():
        raise DeploymentFailed(f"{template} doesn't exist: build it first (`make build`)")
    before = {stack.stack_id for stack in stacks.all_stacks()}
    _run_sam(template, stopped, parameters or {})
    if stopped.is_set():
        return
    made = [s for s in stacks.all_stacks() if s.stack_id not in before and s.name != SAM_STACK and s.parent is None]
    if len(made) != 1:
        raise DeploymentFailed(f"sam deploy made {len(made)} stacks of {template}, not one")
    verify(made[0], templates.parse(template.read_text()))


@control.route("POST", "deploy", locked=False)
def deploy_now(body: dict[str, Any]) -> Any:
    """{"template": PATH, "parameters"?: {NAME: VALUE}} deploys to a running emulator; returns the names of all stacks."""
    try:
        deploy(Path(body["template"]), threading.Event(), body.get("parameters"))
    except DeploymentFailed as failed:
        raise control.ControlError(str(failed)) from failed
    return {"stacks": [stack.name for stack in stacks.all_stacks()]}


def set_parameters(parameters: dict[str, str]) -> None:
    """Other values for parameters of the deployed stack, by an update of it."""
    (stack,) = (s for s in stacks.all_stacks() if s.name != SAM_STACK and s.parent is None)
    assert stack.version is not None
    others = stack.version.given_parameters.keys() - parameters.keys()
    client("cloudformation").update_stack(
        StackName=stack.name,
        UsePreviousTemplate=True,
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]
        + [{"ParameterKey": name, "UsePreviousValue": True} for name in others],
    )
    while stack.status.endswith("IN_PROGRESS"):
        time.sleep(0.01)
    verify(stack, templates.parse(stack.version.text))


def _run_sam(template: Path, stopped: threading.Event, parameters: dict[str, str]) -> None:
    config = _config_of(template)
    architecture = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
    command = [sys.executable, "-m", "samcli", "deploy", "--config-file", str(config)]
    command += ["--config-env", CONFIG_ENVIRONMENT, "--template-file", str(template)]
    parameters = {"Architecture": architecture} | parameters
    command += ["--parameter-overrides", *(f"{name}={value}" for name, value in parameters.items())]
    with tempfile.TemporaryDirectory(prefix="emulator-sam-") as home, tempfile.TemporaryFile() as output:
        # SAM asks the Internet for a newer version of itself, unless it did so lately.
        Path(home, "metadata.json").write_text(json.dumps({"lastVersionCheck": time.time()}))
        environment = os.environ | {
            "AWS_ENDPOINT_URL": context.endpoint,
            "SAM_CLI_POLL_DELAY": "0.1",  # 5 s are right where a stack takes minutes
            "SAM_CLI_TELEMETRY": "0",
            "__SAM_CLI_APP_DIR": home,
        }
        # The folder of the configuration: relative paths in it begin there.
        process = subprocess.Popen(
            command,
            cwd=config.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,
        )
        while process.poll() is None:
            if stopped.wait(0.05):
                process.terminate()
                process.wait()
                return
        if process.returncode != 0:
            output.seek(0)
            said = output.read().decode(errors="replace").strip()
            raise DeploymentFailed(f"sam deploy of {template} failed with status {process.returncode}:\n{said}")


def _config_of(template: Path) -> Path:
    for folder in template.parents:
        if (folder / "samconfig.toml").is_file():
            return folder / "samconfig.toml"
    raise DeploymentFailed(f"no samconfig.toml in a folder above {template}: it names the stack and its parameters")


# ---- is it there? ----


def verify(stack: Stack, template: dict[str, Any]) -> None:
    """Every resource that the template declares was made, and its service knows it."""
    if stack.status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise DeploymentFailed(f"stack {stack.name} is in state {stack.status}: {stack.reason}")
    assert stack.version is not None
    scope = stack.scope(stack.version)
    processed = stack.version.template["Resources"]
    wanted = {n for n in {*template["Resources"], *processed} if n not in processed or scope.is_created(n)}
    if missing := sorted(wanted - stack.resources.keys()):
        raise DeploymentFailed(f"stack {stack.name} lacks {', '.join(missing)}")
    absent = [f"{r.logical_id} ({r.type} {r.physical_id})" for r in stack.resources.values() if not _exists(r)]
    if absent:
        raise DeploymentFailed(f"deployed, but not to be found: {', '.join(absent)}")


def _exists(resource: Resource) -> bool:
    look = _LOOKS.get(resource.type)
    if look is None:
        raise DeploymentFailed(f"no way known to look for a {resource.type}: add one to {__name__}")
    try:
        return bool(look(resource.physical_id, resource.properties))
    except ClientError as error:
        if is_not_found(error):
            return False
        raise


def _has_statement(statement_id: str, properties: dict[str, Any]) -> bool:
    policy = json.loads(client("lambda").get_policy(FunctionName=properties["FunctionName"])["Policy"])
    return any(statement["Sid"] == statement_id for statement in policy["Statement"])


def _has_alarm(name: str, _: dict[str, Any]) -> bool:
    return bool(client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"])


def _has_log_group(name: str, _: dict[str, Any]) -> bool:
    groups = client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    return any(group["logGroupName"] == name for group in groups)


def _has_queue_policy(_: str, properties: dict[str, Any]) -> bool:
    queues = [
        client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"]) for url in properties["Queues"]
    ]
    return all("Policy" in queue.get("Attributes", {}) for queue in queues)


def _has_topic_policy(_: str, properties: dict[str, Any]) -> bool:
    wanted = [statement.get("Sid") for statement in properties["PolicyDocument"]["Statement"]]
    for arn in properties["Topics"]:
        policy = json.loads(client("sns").get_topic_attributes(TopicArn=arn)["Attributes"]["Policy"])
        if [statement.get("Sid") for statement in policy["Statement"]] != wanted:
            return False
    return True


def _has_query(identifier: str, _: dict[str, Any]) -> bool:
    saved = client("logs").describe_query_definitions()["queryDefinitions"]
    return any(query["queryDefinitionId"] == identifier for query in saved)


def _has_nested_stack(stack_id: str, _: dict[str, Any]) -> bool:
    stack = stacks.get(stack_id)
    assert stack.version is not None
    verify(stack, stack.version.template)
    return True


def _by(service: str, operation: str, parameter: str) -> Callable[[str, dict[str, Any]], Any]:
    """A look by the physical id; the service answers an error when there is none."""
    return lambda physical_id, _: getattr(client(service), operation)(**{parameter: physical_id})


_LOOKS: dict[str, Callable[[str, dict[str, Any]], Any]] = {
    "AWS::CloudFormation::Stack": _has_nested_stack,
    "AWS::CloudWatch::Alarm": _has_alarm,
    "AWS::CloudWatch::Dashboard": _by("cloudwatch", "get_dashboard", "DashboardName"),
    "AWS::DynamoDB::Table": _by("dynamodb", "describe_table", "TableName"),
    "AWS::Events::Rule": lambda name, _: client("events").list_targets_by_rule(Rule=name)["Targets"],
    "AWS::IAM::InstanceProfile": _by("iam", "get_instance_profile", "InstanceProfileName"),
    "AWS::IAM::ManagedPolicy": _by("iam", "get_policy", "PolicyArn"),
    "AWS::IAM::Role": _by("iam", "get_role", "RoleName"),
    "AWS::Lambda::Alias": lambda arn, p: client("lambda").get_alias(FunctionName=p["FunctionName"], Name=p["Name"]),
    "AWS::Lambda::EventInvokeConfig": lambda _, p: client("lambda").get_function_event_invoke_config(
        FunctionName=p["FunctionName"]
    ),
    "AWS::Lambda::Function": _by("lambda", "get_function", "FunctionName"),
    "AWS::Lambda::Permission": _has_statement,
    "AWS::Logs::LogGroup": _has_log_group,
    "AWS::Logs::QueryDefinition": _has_query,
    "AWS::SNS::Subscription": _by("sns", "get_subscription_attributes", "SubscriptionArn"),
    "AWS::SNS::Topic": _by("sns", "get_topic_attributes", "TopicArn"),
    "AWS::SNS::TopicPolicy": _has_topic_policy,
    "AWS::SQS::Queue": lambda url, _: client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"]),
    "AWS::SQS::QueuePolicy": _has_queue_policy,
    "AWS::SSM::Parameter": _by("ssm", "get_parameter", "Name"),
    "AWS::Scheduler::Schedule": lambda name, p: client("scheduler").get_schedule(
        Name=name, **({"GroupName": p["GroupName"]} if "GroupName" in p else {})
    ),
    "AWS::Scheduler::ScheduleGroup": _by("scheduler", "get_schedule_group", "Name"),
}
