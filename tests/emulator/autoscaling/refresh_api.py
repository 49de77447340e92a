"""Instance refreshes: start, cancel, roll back, describe."""

from __future__ import annotations

from typing import Any

from emulator.autoscaling import launching, refresh
from emulator.autoscaling.groups_api import source_from
from emulator.autoscaling.model import Group, Source, find, invalid
from emulator.autoscaling.paging import page
from emulator.autoscaling.refresh import Refresh
from emulator.aws_request import AwsError, AwsRequest
from emulator.operations import operation

_RANGES = {
    "MinHealthyPercentage": (0, 100),
    "MaxHealthyPercentage": (100, 200),
    "InstanceWarmup": (0, 2**31),
    "CheckpointDelay": (0, 172800),
    "BakeTime": (0, 172800),
}


@operation("autoscaling", "StartInstanceRefresh")
def start(request: AwsRequest) -> dict[str, Any]:
    given = request.parameters
    group = find(given["AutoScalingGroupName"])
    if given.get("Strategy") not in (None, "Rolling"):
        raise invalid(f"The emulator has no strategy {given['Strategy']}: use Rolling.")
    if group.refresh is not None:
        raise AwsError(
            "InstanceRefreshInProgress",
            "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh.",
        )
    asked = given.get("DesiredConfiguration") or None
    desired = source_from(asked) if asked else None
    preferences = _preferences(group, given.get("Preferences") or {})
    if preferences["AutoRollback"]:
        _check_auto_rollback(group, desired)
    if desired is not None:
        launching.validate(desired)
        asked = {"MixedInstancesPolicy": desired.mixed} if desired.mixed else {"LaunchTemplate": desired.template}
    started = Refresh(group, preferences, desired, asked, group.source)
    if ringing := refresh.alarm(started):
        raise invalid(f"The instance refresh can't start: {ringing}")  # (assumed)
    started.stack = refresh.updating_stack(group)
    group.refreshes.append(started)
    return {"InstanceRefreshId": started.id}


def _preferences(group: Group, given: dict[str, Any]) -> dict[str, Any]:
    for name, (lowest, highest) in _RANGES.items():
        if given.get(name) is not None and not lowest <= given[name] <= highest:
            bound = f"less than or equal to {highest}" if given[name] > highest else f"greater than or equal to {lowest}"
            raise invalid(
                f"1 validation error detected: Value '{given[name]}' at 'preferences.{name[0].lower()}{name[1:]}' "
                f"failed to satisfy constraint: Member must have value {bound}"
            )
    percentages = given.get("CheckpointPercentages") or []
    if percentages != sorted(set(percentages)) or not all(1 <= p <= 100 for p in percentages):
        raise invalid("CheckpointPercentages must be unique, between 1 and 100, and in ascending order.")  # (assumed)
    if given.get("CheckpointDelay") is not None and not percentages:
        raise invalid("CheckpointDelay can only be set with CheckpointPercentages.")  # (assumed)
    most, least = given.get("MaxHealthyPercentage"), given.get("MinHealthyPercentage")
    if most is not None and least is None:
        raise invalid("MinHealthyPercentage must be set when MaxHealthyPercentage is.")  # (assumed)
    if most is not None and least is not None and most - least > 100:
        raise invalid(
            "The difference between MaxHealthyPercentage and MinHealthyPercentage can't be greater than 100."
        )  # (assumed)
    maintenance = group.given.get("InstanceMaintenancePolicy") or {}
    warmup = group.default_warmup if group.default_warmup is not None else group.grace
    defaults = {
        "MinHealthyPercentage": 90,
        "MaxHealthyPercentage": 100,
        "InstanceWarmup": warmup,
        "SkipMatching": False,
        "AutoRollback": False,
        "ScaleInProtectedInstances": "Wait",
        "StandbyInstances": "Wait",
    }
    if maintenance.get("MinHealthyPercentage", -1) >= 0 and maintenance.get("MaxHealthyPercentage", -1) >= 100:
        defaults |= {name: maintenance[name] for name in ("MinHealthyPercentage", "MaxHealthyPercentage")}
    if percentages:
        defaults["CheckpointDelay"] = 3600
    return defaults | {name: value for name, value in given.items() if value is not None}


def _check_auto_rollback(group: Group, desired: Source | None) -> None:
    if desired is None:
        raise invalid(
            "The request isn't valid. The AutoRollback parameter cannot be set to true when the DesiredConfiguration "
            "parameter is empty. Set AutoRollback to false or specify a desired configuration and try again."
        )
    if not desired.is_numbered or not group.source.is_numbered:
        raise invalid(
            "The request isn't valid. The AutoRollback parameter cannot be set to true when the launch template's "
            "version is $Latest or $Default. Specify a version number and try again."
        )  # (assumed)


def _active(request: AwsRequest) -> Refresh:
    group = find(request.parameters["AutoScalingGroupName"])
    current = group.refresh
    if current is None or current.status == "Cancelling":
        raise AwsError(
            "ActiveInstanceRefreshNotFound",
            f"No in progress or pending Instance Refresh found for Auto Scaling group {group.name}",
        )
    return current


@operation("autoscaling", "CancelInstanceRefresh")
def cancel(request: AwsRequest) -> dict[str, Any]:
    current = _active(request)
    refresh.cancel(current)
    return {"InstanceRefreshId": current.id}


@operation("autoscaling", "RollbackInstanceRefresh")
def roll_back(request: AwsRequest) -> dict[str, Any]:
    current = _active(request)
    if current.status == "RollbackInProgress":
        raise AwsError(
            "ActiveInstanceRefreshNotFound",
            f"No in progress or pending Instance Refresh found for Auto Scaling group {current.group.name}",
        )
    refresh.refuse_irreversible(current)
    refresh.roll_back(current, "Rollback due to user request.")  # (assumed)
    return {"InstanceRefreshId": current.id}


@operation("autoscaling", "DescribeInstanceRefreshes")
def describe(request: AwsRequest) -> dict[str, Any]:
    group, ids = find(request.parameters["AutoScalingGroupName"]), request.parameters.get("InstanceRefreshIds")
    found = [r for r in reversed(group.refreshes) if not ids or r.id in ids]
    chunk, more = page(found, request, id_of=lambda r: r.id, default=50)
    return {"InstanceRefreshes": [r.shown() for r in chunk]} | more
