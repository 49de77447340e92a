"""Lifecycle hooks and the answers to them."""

from __future__ import annotations

from typing import Any

from emulator.autoscaling import clock, engine
from emulator.autoscaling.model import LAUNCHING, TERMINATING, Hook, Waiting, find, invalid
from emulator.aws_request import AwsRequest
from emulator.operations import operation


@operation("autoscaling", "PutLifecycleHook")
def put_hook(request: AwsRequest) -> dict[str, Any]:
    given = request.parameters
    group = find(given["AutoScalingGroupName"])
    present = group.hooks.get(given["LifecycleHookName"])
    transition = given.get("LifecycleTransition") or (present.transition if present else None)
    if transition not in (LAUNCHING, TERMINATING):
        raise invalid(f"LifecycleTransition must be {LAUNCHING} or {TERMINATING}.")  # (assumed)
    timeout = given.get("HeartbeatTimeout") or (present.timeout if present else 3600)
    if not 30 <= timeout <= 7200:
        raise invalid("HeartbeatTimeout must be between 30 and 7200 seconds.")  # (assumed)
    result = given.get("DefaultResult") or (present.default_result if present else "ABANDON")
    if result not in ("CONTINUE", "ABANDON"):
        raise invalid("DefaultResult must be CONTINUE or ABANDON.")  # (assumed)
    group.hooks[given["LifecycleHookName"]] = Hook(
        given["LifecycleHookName"],
        transition,
        timeout,
        result,
        given.get("NotificationMetadata"),
        given.get("NotificationTargetARN"),
        given.get("RoleARN"),
    )
    return {}


@operation("autoscaling", "DescribeLifecycleHooks")
def describe_hooks(request: AwsRequest) -> dict[str, Any]:
    group, names = find(request.parameters["AutoScalingGroupName"]), request.parameters.get("LifecycleHookNames")
    shown = []
    for hook in group.hooks.values():
        if names and hook.name not in names:
            continue
        answer = {
            "LifecycleHookName": hook.name,
            "AutoScalingGroupName": group.name,
            "LifecycleTransition": hook.transition,
            "HeartbeatTimeout": hook.timeout,
            "GlobalTimeout": min(hook.timeout * 100, 172800),
            "DefaultResult": hook.default_result,
        }
        optional = {
            "NotificationMetadata": hook.metadata,
            "NotificationTargetARN": hook.target_arn,
            "RoleARN": hook.role_arn,
        }
        shown.append(answer | {name: value for name, value in optional.items() if value})
    return {"LifecycleHooks": shown}


def _waiting(request: AwsRequest) -> Waiting:
    given = request.parameters
    group, name = find(given["AutoScalingGroupName"]), given["LifecycleHookName"]
    if name not in group.hooks:
        raise invalid(f"No lifecycle hook found with the name {name}")  # (assumed)
    token, instance_id = given.get("LifecycleActionToken"), given.get("InstanceId")
    for member in group.members:
        for waiting in member.waiting:
            if waiting.hook.name != name or waiting.result is not None:
                continue
            if token == waiting.token or (token is None and instance_id == member.id):
                return waiting
    named = f"with token {token}" if token else f"found with instance ID {instance_id}"
    raise invalid(f"No active Lifecycle Action {named}")


@operation("autoscaling", "CompleteLifecycleAction")
def complete(request: AwsRequest) -> dict[str, Any]:
    result = request.parameters["LifecycleActionResult"]
    if result not in ("CONTINUE", "ABANDON"):
        raise invalid("LifecycleActionResult must be CONTINUE or ABANDON.")  # (assumed)
    _waiting(request).result = result
    engine.settle(find(request.parameters["AutoScalingGroupName"]))
    return {}


@operation("autoscaling", "RecordLifecycleActionHeartbeat")
def heartbeat(request: AwsRequest) -> dict[str, Any]:
    _waiting(request).last_beat = clock.now()
    return {}
