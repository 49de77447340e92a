"""What Auto Scaling knows: groups with members, activities and refreshes.

Groups lie in moto's dictionary, where authorization and moto's reset find them.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from moto.autoscaling.models import AutoScalingBackend, autoscaling_backends
from moto.ec2.models import ec2_backends

from emulator.autoscaling import clock
from emulator.aws_request import AwsError
from emulator.context import context
from emulator.patching import patched

PROCESSES = (
    "Launch",
    "Terminate",
    "AddToLoadBalancer",
    "AlarmNotification",
    "AZRebalance",
    "HealthCheck",
    "InstanceRefresh",
    "ReplaceUnhealthy",
    "ScheduledActions",
)


@dataclass(eq=False)
class Activity:
    group: Group
    description: str
    cause: str
    details: dict[str, str]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    started: float = field(default_factory=clock.now)
    ended: float | None = None
    status: str = "InProgress"
    message: str | None = None
    progress: int = 0
    instance_id: str = ""

    def finish(self, status: str, message: str | None = None) -> None:
        self.status, self.message, self.progress, self.ended = status, message, 100, clock.now()
        if message and status in ("Failed", "Cancelled"):
            self.description += f".  Status Reason: {message}"

    def shown(self) -> dict[str, Any]:
        shown = {
            "ActivityId": self.id,
            "AutoScalingGroupName": self.group.name,
            "Description": self.description,
            "Cause": self.cause[:1023],
            "StartTime": clock.shown(self.started),
            "StatusCode": self.status,
            "Progress": self.progress,
            "Details": json.dumps(self.details, separators=(",", ":")),
            "AutoScalingGroupARN": self.group.arn,
        }
        if self.ended is not None:
            shown["EndTime"] = clock.whole(self.ended)
        if self.message:
            shown["StatusMessage"] = self.message
        return shown


@dataclass(eq=False)
class Member:
    instance: Any
    group: Group = field(repr=False)
    template: dict[str, Any] | None
    """LaunchTemplateId, LaunchTemplateName and the Version's number."""
    launch_configuration: str | None = None
    state: str = "Pending"
    health: str = "Healthy"
    unhealthy_because: str | None = None
    protected: bool = False
    launched: float = field(default_factory=clock.now)
    since: float = field(default_factory=clock.now)
    """Since when it is in its state."""
    in_service: float | None = None
    launching: Activity | None = None
    terminating: Activity | None = None
    exiting: Activity | None = None
    """Its way out of standby, or into the group it is attached to."""
    suspect: float | None = None
    """Since when something is wrong with it that the health check hasn't reported yet."""

    @property
    def id(self) -> str:
        return self.instance.id

    @property
    def active(self) -> bool:
        """Whether it counts towards the desired capacity."""
        return self.state in ("Pending", "InService")

    @property
    def leaving(self) -> bool:
        return self.state == "Terminating"

    def enter(self, state: str) -> None:
        self.state, self.since = state, clock.now()

    def warm(self, warmup: float) -> bool:
        return self.state == "InService" and clock.over(self.in_service or self.since, warmup)

    def shown(self) -> dict[str, Any]:
        shown = {
            "InstanceId": self.id,
            "InstanceType": self.instance.instance_type,
            "AvailabilityZone": self.instance.availability_zone,
            "LifecycleState": self.state,
            "HealthStatus": self.health,
            "ProtectedFromScaleIn": self.protected,
            "ImageId": self.instance.image_id,
        }
        if self.template:
            shown["LaunchTemplate"] = dict(self.template)
        if self.launch_configuration:
            shown["LaunchConfigurationName"] = self.launch_configuration
        return shown


@dataclass(eq=False)
class Source:
    """Where a group's instances come from, as it was given."""

    template: dict[str, Any] | None = None
    """LaunchTemplateId, LaunchTemplateName, Version (a number, $Latest, $Default)."""
    launch_configuration: str | None = None
    mixed: dict[str, Any] | None = None

    @property
    def is_numbered(self) -> bool:
        return bool(self.template) and str((self.template or {}).get("Version", "$Default")).isdigit()

    def resolved(self) -> dict[str, Any] | None:
        """The template with the number that its version means now. Raises EC2's errors."""
        if not self.template:
            return None
        backend = ec2()
        template = backend.get_launch_template(self.template["LaunchTemplateId"])
        version = template.get_version(self.template.get("Version") or "$Default")
        return {
            "LaunchTemplateId": template.id,
            "LaunchTemplateName": template.name,
            "Version": str(version.number),
        }

    def data(self) -> dict[str, Any]:
        """The launch template's data."""
        resolved = self.resolved()
        if resolved is None:
            return {}
        return ec2().get_launch_template(resolved["LaunchTemplateId"]).get_version(resolved["Version"]).data


@dataclass(eq=False)
class Group:
    name: str
    source: Source
    minimum: int
    maximum: int
    desired: int
    zones: list[str]
    subnets: list[str]
    given: dict[str, Any]
    """What the API keeps and only shows again: cooldown, policies, context and the like."""
    health_check_type: str = "EC2"
    grace: int = 0
    default_warmup: int | None = None
    target_groups: list[str] = field(default_factory=list)
    protect_new: bool = False
    tags: list[dict[str, Any]] = field(default_factory=list)
    operator: dict[str, str] | None = None
    suspended: dict[str, str] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    warm_pool: dict[str, Any] | None = None
    pool: list[Member] = field(default_factory=list)
    """The members of its warm pool, which count as none of the group."""
    activities: list[Activity] = field(default_factory=list)
    """Oldest first."""
    refreshes: list[Any] = field(default_factory=list)
    """Oldest first."""
    created: float = field(default_factory=clock.now)
    deleted: bool = False
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    failures: int = 0
    """Launches in a row that failed."""
    failed_at: float = 0.0
    failed_zones: list[str] = field(default_factory=list)
    story: str = ""
    """What changed the capacity, as the first sentence of the next causes."""
    replacing: int = 0
    """How many of the next launches replace unhealthy instances,"""
    refreshing: int = 0
    """and how many belong to a refresh: for their causes."""
    launched: int = 0
    terminated: int = 0
    failed_launches: int = 0

    @property
    def arn(self) -> str:
        account = f"{context.region}:{context.account_id}"
        return f"arn:aws:autoscaling:{account}:autoScalingGroup:{self.id}:autoScalingGroupName/{self.name}"

    @property
    def active(self) -> list[Member]:
        return [m for m in self.members if m.active]

    @property
    def refresh(self) -> Any:
        """The refresh that is on its way."""
        return next((r for r in reversed(self.refreshes) if not r.is_over), None)

    def runs(self, process: str) -> bool:
        return process not in self.suspended

    def member(self, instance_id: str) -> Member | None:
        return next((m for m in (*self.members, *self.pool) if m.id == instance_id), None)

    def start(self, description: str, cause: str, instance: Any = None, **details: str) -> Activity:
        if instance is not None:
            details |= {"Subnet ID": instance.subnet_id or "", "Availability Zone": instance.availability_zone}
        activity = Activity(self, description, cause, details)
        activity.instance_id = instance.id if instance is not None else ""
        self.activities.append(activity)
        return activity


def backend() -> AutoScalingBackend:
    return autoscaling_backends[context.account_id][context.region]


def ec2() -> Any:
    return ec2_backends[context.account_id][context.region]


def groups() -> dict[str, Group]:
    return backend().autoscaling_groups  # type: ignore[return-value]


def all_members() -> Iterator[Member]:
    for group in groups().values():
        yield from (*group.members, *group.pool)


def invalid(message: str) -> AwsError:
    return AwsError("ValidationError", message)


def find(name: str | None) -> Group:
    group = groups().get(name or "")
    if group is None:
        raise invalid(f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
    return group


def find_member(instance_id: str) -> Member:
    for member in all_members():
        if member.id == instance_id:
            return member
    raise invalid(f"Instance Id not found - No managed instance found for instance ID: {instance_id}")


@patched(AutoScalingBackend)
def notify_terminate_instances(_original: Any, _self: Any, _instance_ids: list[str]) -> None:
    """Auto Scaling finds out by its health check; moto replaces within the call that terminates."""
