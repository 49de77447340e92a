"""CloudFormation's API operations, as the SAM and AWS CLIs use them."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC
from typing import Any

from moto.s3.models import s3_backends

from emulator.aws_request import AwsError, AwsRequest
from emulator.cloudformation import sam, stacks
from emulator.cloudformation import template as templates
from emulator.cloudformation.resources import ResourceFailed
from emulator.cloudformation.stacks import ChangeSet, Stack, Version
from emulator.context import context
from emulator.operations import operation

_NAME = re.compile(r"[a-zA-Z][-a-zA-Z0-9]{0,127}")
NO_CHANGES = "The submitted information didn't contain changes. Submit different information to create a change set."
PAGE = 100


# ---- reading requests ----


def _template_text(parameters: dict[str, Any], previous: Version | None) -> str:
    if parameters.get("UsePreviousTemplate") and previous is not None:
        return previous.text
    if "TemplateBody" in parameters:
        return parameters["TemplateBody"]
    if "TemplateURL" not in parameters:
        raise AwsError("ValidationError", "Either Template URL or Template Body must be specified.")
    return template_at(parameters["TemplateURL"])


def template_at(url: str) -> str:
    """The text of an uploaded template."""
    if not re.match(r"https?://[^/]+/.", url):
        raise AwsError("ValidationError", f"TemplateURL must be a supported URL: {url}")
    # https://s3.REGION.amazonaws.com/BUCKET/KEY, https://BUCKET.s3.REGION.amazonaws.com/KEY or this endpoint's own.
    location = re.sub(r"^https?://", "", url.split("?")[0])
    host, path = location.split("/", 1)
    virtual = re.match(r"(.+)\.s3[.-]", host)
    bucket, key = (virtual.group(1), path) if virtual else path.split("/", 1)
    found = s3_backends[context.account_id]["aws"].get_object(bucket, key)
    if found is None:
        raise AwsError("ValidationError", f"S3 error: The specified key does not exist: {bucket}/{key}")
    return found.value.decode()


def _given_parameters(parameters: dict[str, Any], previous: Version | None) -> dict[str, str]:
    given = {}
    for entry in parameters.get("Parameters") or []:
        name = entry["ParameterKey"]
        if entry.get("UsePreviousValue"):
            if previous is None or name not in previous.given_parameters:
                if previous is not None and name in previous.parameters:
                    continue  # its default was used
                raise AwsError(
                    "ValidationError",
                    f"Invalid input for parameter key {name}. Cannot specify usePreviousValue as true for a parameter "
                    "key not in the previous template",
                )
            given[name] = previous.given_parameters[name]
        else:
            given[name] = entry["ParameterValue"]
    return given


def _version(parameters: dict[str, Any], previous: Version | None) -> Version:
    tags = {tag["Key"]: tag["Value"] for tag in parameters.get("Tags") or []}
    if "Tags" not in parameters and previous is not None:
        tags = previous.tags
    return Version.prepare(
        _template_text(parameters, previous),
        _given_parameters(parameters, previous),
        tags,
        list(parameters.get("Capabilities") or []),
    )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise AwsError(
            "ValidationError",
            f"1 validation error detected: Value '{name}' at 'stackName' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*",
        )


# ---- change sets ----


@operation("cloudformation", "CreateChangeSet")
def create_change_set(request: AwsRequest) -> dict[str, Any]:
    parameters = request.parameters
    name, kind = parameters["StackName"], parameters.get("ChangeSetType", "UPDATE")
    stack = stacks.find(name)
    if kind == "CREATE":
        if stack is not None and stack.status != "REVIEW_IN_PROGRESS":
            change_set_name = parameters["ChangeSetName"]
            again = f"already exists and cannot be created again with the changeSet [{change_set_name}]."
            raise AwsError("ValidationError", f"Stack [{name}] {again}")
        _check_name(name)
    elif stack is None:
        raise AwsError("ValidationError", f"Stack [{name}] does not exist")
    else:
        _require_updatable(stack)
    previous = stack.version if stack else None
    status, reason, version, changes = "CREATE_COMPLETE", None, None, []
    try:
        version = _version(parameters, previous)
    except sam.TransformFailed as error:
        # A transform runs only after the change set is accepted.
        status, reason = "FAILED", error.message
    if version is not None and _nests(version):
        # A change set expands a transform without being asked, but not beside stacks of which it can't tell what they expand.
        _require_auto_expand(version)
    if stack is None:
        stack = stacks.add(name)
        stack.set_status("REVIEW_IN_PROGRESS", "User Initiated")
    if version is not None:
        try:
            changes = stacks.planned_changes(stack, version)
        except ResourceFailed as error:
            status, reason = "FAILED", str(error)
        if status != "FAILED" and kind == "UPDATE" and not changes and _same(previous, version):
            status, reason = "FAILED", NO_CHANGES
    change_set_name = parameters["ChangeSetName"]
    if change_set_name in stack.change_sets:
        raise AwsError(
            "AlreadyExistsException",
            f"ChangeSet {change_set_name} cannot be created due to a mismatch with existing attribute Template",
            400,
        )
    change_set = ChangeSet(
        f"arn:aws:cloudformation:{context.region}:{context.account_id}:changeSet/{change_set_name}/{uuid.uuid4()}",
        change_set_name,
        stack,
        kind,
        parameters.get("Description"),
        version,
        changes,
        status,
        reason,
        "AVAILABLE" if status == "CREATE_COMPLETE" else "UNAVAILABLE",
    )
    stack.change_sets[change_set_name] = change_set
    return {"Id": change_set.change_set_id, "StackId": stack.stack_id}


def _require_updatable(stack: Stack) -> None:
    failed = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "UPDATE_ROLLBACK_FAILED", "DELETE_FAILED")
    if stack.status in failed or stack.status.endswith("IN_PROGRESS"):
        message = f"Stack:{stack.stack_id} is in {stack.status} state and can not be updated."
        raise AwsError("ValidationError", message)


def _same(previous: Version | None, version: Version) -> bool:
    return (
        previous is not None
        and previous.template == version.template
        and previous.parameters == version.parameters
        and previous.tags == version.tags
    )


def _change_set(parameters: dict[str, Any]) -> ChangeSet:
    wanted = parameters["ChangeSetName"]
    for stack in stacks.all_stacks():
        for change_set in stack.change_sets.values():
            named = change_set.name == wanted and parameters.get("StackName") in (stack.name, stack.stack_id)
            if change_set.change_set_id == wanted or named:
                return change_set
    raise AwsError("ChangeSetNotFound", f"ChangeSet [{wanted}] does not exist", 404)


@operation("cloudformation", "DescribeChangeSet")
def describe_change_set(request: AwsRequest) -> dict[str, Any]:
    found = _change_set(request.parameters)
    result: dict[str, Any] = {
        "ChangeSetName": found.name,
        "ChangeSetId": found.change_set_id,
        "StackId": found.stack.stack_id,
        "StackName": found.stack.name,
        "Description": found.description,
        "CreationTime": found.created,
        "ExecutionStatus": found.execution_status,
        "Status": found.status,
        "StatusReason": found.reason,
        "Changes": found.changes,
        "IncludeNestedStacks": False,
    }
    if found.version is not None:
        result["Parameters"] = _parameters(found.version)
        result["Tags"] = _tags(found.version.tags)
        result["Capabilities"] = found.version.capabilities
    return result


@operation("cloudformation", "ExecuteChangeSet", locked=False)
def execute_change_set(request: AwsRequest) -> dict[str, Any]:
    with context.lock:
        found = _change_set(request.parameters)
        if found.execution_status != "AVAILABLE" or found.version is None:
            message = f"ChangeSet [{found.change_set_id}] cannot be executed in its current status of [{found.status}]"
            raise AwsError("InvalidChangeSetStatus", message)
        stack, version = found.stack, found.version
        found.execution_status = "EXECUTE_COMPLETE"
        stack.change_sets.clear()
        stack.change_set_id = found.change_set_id
        stack.disable_rollback = bool(request.parameters.get("DisableRollback"))
    stack.run(stack.create if found.kind == "CREATE" else stack.update, version)
    return {}


@operation("cloudformation", "DeleteChangeSet")
def delete_change_set(request: AwsRequest) -> dict[str, Any]:
    found = _change_set(request.parameters)
    del found.stack.change_sets[found.name]
    return {}


@operation("cloudformation", "ListChangeSets")
def list_change_sets(request: AwsRequest) -> dict[str, Any]:
    stack = stacks.get(request.parameters["StackName"])
    return {
        "Summaries": [
            {
                "StackId": stack.stack_id,
                "StackName": stack.name,
                "ChangeSetId": c.change_set_id,
                "ChangeSetName": c.name,
                "ExecutionStatus": c.execution_status,
                "Status": c.status,
                "StatusReason": c.reason,
                "CreationTime": c.created,
            }
            for c in stack.change_sets.values()
        ]
    }


# ---- stacks ----


@operation("cloudformation", "CreateStack", locked=False)
def create_stack(request: AwsRequest) -> dict[str, Any]:
    parameters = request.parameters
    with context.lock:
        name = parameters["StackName"]
        _check_name(name)
        if stacks.find(name) is not None:
            raise AwsError("AlreadyExistsException", f"Stack [{name}] already exists")
        version = _version(parameters, None)
        _require_auto_expand(version)
        stack = stacks.add(name)
        keep = parameters.get("OnFailure") == "DO_NOTHING"
        stack.disable_rollback = keep or bool(parameters.get("DisableRollback"))
    stack.run(stack.create, version)
    return {"StackId": stack.stack_id}


@operation("cloudformation", "UpdateStack", locked=False)
def update_stack(request: AwsRequest) -> dict[str, Any]:
    with context.lock:
        stack = stacks.get(request.parameters["StackName"])
        _require_updatable(stack)
        version = _version(request.parameters, stack.version)
        _require_auto_expand(version)
        if _same(stack.version, version):
            raise AwsError("ValidationError", "No updates are to be performed.")
    stack.run(stack.update, version)
    return {"StackId": stack.stack_id}


def _nests(version: Version) -> bool:
    return any(resource["Type"] == "AWS::CloudFormation::Stack" for resource in version.template["Resources"].values())


def _require_auto_expand(version: Version) -> None:
    """Only a change set may expand a transform without being asked."""
    if sam.names_transform(templates.parse(version.text)) and "CAPABILITY_AUTO_EXPAND" not in version.capabilities:
        raise AwsError("InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_AUTO_EXPAND]")


@operation("cloudformation", "DeleteStack", locked=False)
def delete_stack(request: AwsRequest) -> dict[str, Any]:
    with context.lock:
        stack = stacks.find(request.parameters["StackName"])
        if stack is None or stack.status == "DELETE_COMPLETE":
            return {}
    stack.run(stack.delete)
    return {}


@operation("cloudformation", "DescribeStacks")
def describe_stacks(request: AwsRequest) -> dict[str, Any]:
    name = request.parameters.get("StackName")
    if name:
        return {"Stacks": [_described(stacks.get(name))]}
    return {"Stacks": [_described(s) for s in stacks.all_stacks() if s.status != "DELETE_COMPLETE"]}


def _summary(stack: Stack) -> dict[str, Any]:
    return {
        "StackId": stack.stack_id,
        "StackName": stack.name,
        "CreationTime": stack.created,
        "LastUpdatedTime": stack.updated,
        "DeletionTime": stack.deleted,
        "StackStatus": stack.status,
        "StackStatusReason": stack.reason,
    }


def _described(stack: Stack) -> dict[str, Any]:
    result: dict[str, Any] = _summary(stack) | {
        "Description": stack.description,
        "ChangeSetId": stack.change_set_id,
        "DisableRollback": stack.disable_rollback,
        "EnableTerminationProtection": False,
        "NotificationARNs": [],
        "Outputs": stack.outputs,
    }
    if stack.parent is not None:
        result["ParentId"] = stack.parent.stack_id
        result["RootId"] = stack.root.stack_id
    if stack.version is not None:
        result["Parameters"] = _parameters(stack.version)
        result["Tags"] = _tags(stack.version.tags)
        result["Capabilities"] = stack.version.capabilities
    return result


def _tags(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _parameters(version: Version) -> list[dict[str, str]]:
    declared = version.template.get("Parameters") or {}
    values = {}
    for name, value in version.parameters.items():
        hidden = str(declared.get(name, {}).get("NoEcho", "")).lower() == "true"
        values[name] = "****" if hidden else ",".join(value) if isinstance(value, list) else value
    return [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]


@operation("cloudformation", "ListStacks")
def list_stacks(request: AwsRequest) -> dict[str, Any]:
    wanted = request.parameters.get("StackStatusFilter")
    return {
        "StackSummaries": [
            {"TemplateDescription": s.description} | _summary(s)
            for s in stacks.all_stacks()
            if not wanted or s.status in wanted
        ]
    }


@operation("cloudformation", "DescribeStackEvents")
def describe_stack_events(request: AwsRequest) -> dict[str, Any]:
    stack = stacks.get(request.parameters["StackName"])
    newest_first = list(reversed(stack.events))
    at = int(request.parameters.get("NextToken") or 0)
    result: dict[str, Any] = {
        "StackEvents": [
            {
                "StackId": stack.stack_id,
                "StackName": stack.name,
                "EventId": e.event_id,
                "LogicalResourceId": e.logical_id,
                "PhysicalResourceId": e.physical_id,
                "ResourceType": e.type,
                "Timestamp": e.time.astimezone(UTC),
                "ResourceStatus": e.status,
                "ResourceStatusReason": e.reason,
                "ResourceProperties": e.properties,
            }
            for e in newest_first[at : at + PAGE]
        ]
    }
    if len(newest_first) > at + PAGE:
        result["NextToken"] = str(at + PAGE)
    return result


@operation("cloudformation", "ListStackResources")
def list_stack_resources(request: AwsRequest) -> dict[str, Any]:
    stack = stacks.get(request.parameters["StackName"])
    return {
        "StackResourceSummaries": [
            {
                "LogicalResourceId": logical_id,
                "PhysicalResourceId": resource.physical_id,
                "ResourceType": resource.type,
                "LastUpdatedTimestamp": resource.updated,
                "ResourceStatus": resource.status,
                "ResourceStatusReason": resource.reason,
            }
            for logical_id, resource in stack.resources.items()
        ]
    }


@operation("cloudformation", "GetTemplate")
def get_template(request: AwsRequest) -> dict[str, Any]:
    stack = stacks.get(request.parameters["StackName"])
    if stack.version is None:
        raise AwsError("ValidationError", f"Stack {stack.name} has no template yet")
    processed = request.parameters.get("TemplateStage") == "Processed"
    return {
        # JSON, which the CLI shows as such.
        "TemplateBody": json.dumps(stack.version.template) if processed else stack.version.text,
        "StagesAvailable": ["Original", "Processed"],
    }


@operation("cloudformation", "GetTemplateSummary")
def get_template_summary(request: AwsRequest) -> dict[str, Any]:
    if name := request.parameters.get("StackName"):
        stack = stacks.get(name)
        text = stack.version.text if stack.version else "{}"
    else:
        text = _template_text(request.parameters, None)
    template = templates.parse(text)
    return {
        "Parameters": [
            {
                "ParameterKey": name,
                "ParameterType": spec.get("Type", "String"),
                "NoEcho": bool(spec.get("NoEcho")),
                **({"DefaultValue": str(spec["Default"])} if "Default" in spec else {}),
                **({"Description": spec["Description"]} if "Description" in spec else {}),
            }
            for name, spec in (template.get("Parameters") or {}).items()
        ],
        "Description": template.get("Description"),
        "DeclaredTransforms": sam.names_transform(template),
        "ResourceTypes": sorted({resource["Type"] for resource in template["Resources"].values()}),
        "Metadata": str(template.get("Metadata", {})),
    }
