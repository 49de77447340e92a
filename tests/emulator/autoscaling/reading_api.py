"""What describes groups, members, activities and tags."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from emulator.autoscaling import clock
from emulator.autoscaling.model import Activity, Group, all_members, find, groups, invalid
from emulator.autoscaling.paging import page
from emulator.aws_request import AwsRequest
from emulator.operations import operation


@operation("autoscaling", "DescribeAutoScalingGroups")
def describe_groups(request: AwsRequest) -> dict[str, Any]:
    names = request.parameters.get("AutoScalingGroupNames") or []
    found = [g for g in sorted(groups().values(), key=lambda g: g.name) if not names or g.name in names]
    for each in request.parameters.get("Filters") or []:
        found = [g for g in found if _matches(g, each["Name"], each.get("Values") or [])]
    chunk, more = page(found, request, id_of=lambda g: g.name, default=50)
    return {"AutoScalingGroups": [shown(g) for g in chunk]} | more


def _matches(group: Group, name: str, values: list[str]) -> bool:
    tags = {t["Key"]: t.get("Value") or "" for t in group.tags}
    if name == "tag-key":
        return any(key in values for key in tags)
    if name == "tag-value":
        return any(value in values for value in tags.values())
    if name.startswith("tag:"):
        return tags.get(name.removeprefix("tag:")) in values
    raise invalid(
        f"Invalid filter name: {name}. Valid filter names are: [tag-key, tag-value, tag:<key>]"  # (assumed)
    )


def shown(group: Group) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "AutoScalingGroupName": group.name,
        "AutoScalingGroupARN": group.arn,
        "MinSize": group.minimum,
        "MaxSize": group.maximum,
        "DesiredCapacity": group.desired,
        "AvailabilityZones": group.zones,
        "LoadBalancerNames": [],
        "TargetGroupARNs": group.target_groups,
        "HealthCheckType": group.health_check_type,
        "HealthCheckGracePeriod": group.grace,
        "Instances": [m.shown() for m in group.members],
        "CreatedTime": clock.shown(group.created),
        "SuspendedProcesses": [
            {"ProcessName": name, "SuspensionReason": reason} for name, reason in group.suspended.items()
        ],
        "VPCZoneIdentifier": ",".join(group.subnets),
        "EnabledMetrics": [],
        "Tags": [tag_shown(group, t) for t in sorted(group.tags, key=lambda t: t["Key"])],
        "NewInstancesProtectedFromScaleIn": group.protect_new,
        "TrafficSources": [{"Identifier": arn, "Type": "elbv2"} for arn in group.target_groups],
    }
    source = group.source
    if source.mixed:
        answer["MixedInstancesPolicy"] = source.mixed
    elif source.template:
        answer["LaunchTemplate"] = dict(source.template)
    if source.launch_configuration:
        answer["LaunchConfigurationName"] = source.launch_configuration
    if group.default_warmup is not None:
        answer["DefaultInstanceWarmup"] = group.default_warmup
    if group.operator:
        answer["Operator"] = group.operator
    if group.warm_pool:
        answer |= {"WarmPoolConfiguration": group.warm_pool, "WarmPoolSize": len(group.pool)}
    return group.given | answer


def tag_shown(group: Group, tag: dict[str, Any]) -> dict[str, Any]:
    return {
        "ResourceId": group.name,
        "ResourceType": "auto-scaling-group",
        "Key": tag["Key"],
        "Value": tag.get("Value") or "",
        "PropagateAtLaunch": bool(tag.get("PropagateAtLaunch")),
    }


@operation("autoscaling", "DescribeAutoScalingInstances")
def describe_instances(request: AwsRequest) -> dict[str, Any]:
    ids = request.parameters.get("InstanceIds") or []
    found = sorted((m for m in all_members() if not ids or m.id in ids), key=lambda m: m.id)
    chunk, more = page(found, request, id_of=lambda m: m.id, default=50, highest=50)
    # Here, unlike in DescribeAutoScalingGroups, AWS writes the health in capitals.
    instances = [
        m.shown() | {"AutoScalingGroupName": m.group.name, "HealthStatus": m.health.upper()} for m in chunk
    ]
    return {"AutoScalingInstances": instances} | more


@operation("autoscaling", "DescribeScalingActivities")
def describe_activities(request: AwsRequest) -> dict[str, Any]:
    name, ids = request.parameters.get("AutoScalingGroupName"), request.parameters.get("ActivityIds") or []
    chosen: list[Group] = [*groups().values()]
    if name is not None:
        chosen = [find(name)]
    found = [a for g in chosen for a in reversed(g.activities) if not ids or a.id in ids]
    for each in request.parameters.get("Filters") or []:
        found = _filtered(found, each["Name"], each.get("Values") or [], name is not None)
    # Those in progress first, each by its start, the newest first.
    found.sort(key=lambda a: (a.ended is not None, -a.started))
    chunk, more = page(found, request, id_of=lambda a: a.id, default=100)
    return {"Activities": [a.shown() for a in chunk]} | more


def _filtered(found: list[Activity], name: str, values: list[str], has_group: bool) -> list[Activity]:
    if name == "Status":
        if not has_group:
            raise invalid("The Status filter can only be used with an Auto Scaling group name.")  # (assumed)
        return [a for a in found if a.status in values]
    if name not in ("StartTimeLowerBound", "StartTimeUpperBound") or len(values) != 1:
        raise invalid(f"Invalid filter: {name} with {len(values)} values")  # (assumed)
    try:
        bound = datetime.fromisoformat(values[0].replace("Z", "+00:00"))
    except ValueError:
        raise invalid(f"Invalid timestamp in filter {name}: {values[0]}") from None  # (assumed)
    bound = (bound.astimezone(UTC) if bound.tzinfo else bound).replace(tzinfo=None)
    lower = name == "StartTimeLowerBound"

    def is_inside(activity: Activity) -> bool:
        started = clock.shown(activity.started)
        return started is not None and (started >= bound if lower else started <= bound)

    return [a for a in found if is_inside(a)]
