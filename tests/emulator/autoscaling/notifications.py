"""The events of Auto Scaling (ASG-6). They are best effort in AWS; here each is sent once."""

from __future__ import annotations

from emulator import events
from emulator.autoscaling import clock
from emulator.autoscaling.model import Activity, Group
from emulator.context import context

SOURCE = "aws.autoscaling"


def _instance_arn(instance_id: str) -> str:
    return f"arn:aws:ec2:{context.region}:{context.account_id}:instance/{instance_id}"


def activity_ended(activity: Activity, detail_type: str, *, launching: bool) -> None:
    """`EC2 Instance Launch Successful` and its like. A success carries the status InProgress, as in AWS."""
    ends = ("EC2", "AutoScalingGroup") if launching else ("AutoScalingGroup", "EC2")
    events.emit(
        SOURCE,
        detail_type,
        [activity.group.arn, *([_instance_arn(activity.instance_id)] if activity.instance_id else [])],
        {
            "Origin": ends[0],
            "Destination": ends[1],
            "Progress": 50,
            "AccountId": context.account_id,
            "Description": activity.description,
            "StatusCode": activity.status if activity.status in ("Failed", "Cancelled") else "InProgress",
            "AutoScalingGroupName": activity.group.name,
            "ActivityId": activity.id,
            "RequestId": activity.id,
            "Details": dict(activity.details),
            "StatusMessage": activity.message or "",
            "StartTime": clock.precise(activity.started),
            "EndTime": clock.text(activity.ended or clock.now()),
            "EC2InstanceId": activity.instance_id,
            "Cause": activity.cause,
        },
    )


def refresh(group: Group, refresh_id: str, what: str, **more: str) -> None:
    detail = {"InstanceRefreshId": refresh_id, "AutoScalingGroupName": group.name} | more
    events.emit(SOURCE, f"EC2 Auto Scaling Instance Refresh {what}", [group.arn], detail)
