"""Instance refreshes, as AWS runs them (ASG-1 to ASG-4): replaced in batches, with warm-up, checkpoints and bake time.

A rollback is the same work in the other direction: the members that the refresh brought in are the ones to replace.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends

from emulator.autoscaling import clock, notifications
from emulator.autoscaling.leaving import terminate
from emulator.autoscaling.model import Group, Member, Source
from emulator.aws_request import AwsError
from emulator.context import context

PENDING = 10.0
"""Seconds that a refresh is Pending."""
CANCELLING = 5.0
"""Seconds that it is at least Cancelling."""
NO_PROGRESS = 3600.0
"""After so long without progress AWS gives up (ASG-4)."""
OVER = ("Successful", "Failed", "Cancelled", "RollbackSuccessful", "RollbackFailed")
WORKING = ("InProgress", "RollbackInProgress")


@dataclass(eq=False)
class Refresh:
    group: Group = field(repr=False)
    preferences: dict[str, Any]
    desired: Source | None
    asked: dict[str, Any] | None
    """The desired configuration as it was given."""
    before: Source
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "Pending"
    reason: str | None = None
    created: float = field(default_factory=clock.now)
    started: float | None = None
    ended: float | None = None
    working_since: float = 0.0
    targets: set[str] = field(default_factory=set)
    """The ids of the members to replace."""
    total: int = 0
    percent: int = 0
    to_update: int = 0
    best: int = 0
    progressed: float = 0.0
    checkpoint: int = 0
    checkpoint_since: float | None = None
    baking_since: float = 0.0
    ahead: int = 0
    """Launches beyond the desired capacity, whose old members still stand."""
    cancelled_at: float = 0.0
    held: bool = False
    """Kept Pending by the control API."""
    rollback: dict[str, Any] | None = None
    rollback_from: int = 0
    stack: Any = None
    """The CloudFormation stack whose update started it (ASG-14)."""

    @property
    def is_over(self) -> bool:
        return self.status in OVER

    @property
    def warmup(self) -> int:
        return self.preferences["InstanceWarmup"]

    @property
    def is_reversible(self) -> bool:
        """ASG-3."""
        if self.desired is None or not self.desired.is_numbered or not self.before.is_numbered:
            return False
        sources = (self.desired, self.before)
        return not any(str(s.data().get("ImageId", "")).startswith("resolve:ssm:") for s in sources)

    def shown(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "InstanceRefreshId": self.id,
            "AutoScalingGroupName": self.group.name,
            "Status": self.status,
            "PercentageComplete": self.percent,
            "InstancesToUpdate": self.to_update,
            "Preferences": self.preferences,
            "Strategy": "Rolling",
        }
        optional = {
            "StatusReason": self.reason,
            "StartTime": clock.shown(self.started),
            "EndTime": clock.shown(self.ended),
            "DesiredConfiguration": self.asked,
            "RollbackDetails": self.rollback
            and self.rollback | {"RollbackStartTime": clock.shown(self.rollback["RollbackStartTime"])},
        }
        return shown | {name: value for name, value in optional.items() if value}


def source_of(group: Group) -> Source:
    """What the group launches from now."""
    current = group.refresh
    if current is not None and current.desired is not None and current.status in ("InProgress", "Baking"):
        return current.desired
    if current is not None and current.status == "RollbackInProgress":
        return current.before
    return group.source


def surplus(group: Group) -> int:
    current = group.refresh
    return current.ahead if current is not None and current.status in WORKING else 0


def step(group: Group) -> None:
    """Do what is due of the group's refresh."""
    current = group.refresh
    if current is None:
        return
    if current.status == "Pending":
        if not current.held and clock.over(current.created, PENDING):
            _begin(current)
    elif current.status == "Cancelling":
        moving = [m for m in group.members if m.leaving or (m.active and m.state != "InService")]
        if clock.over(current.cancelled_at, CANCELLING) and not moving:
            _end(current, "Cancelled", current.reason or "")
    elif current.status == "Baking":
        if ringing := alarm(current):
            _fail(current, ringing)
        elif clock.over(current.baking_since, current.preferences.get("BakeTime", 0)):
            _succeed(current)
    if current.status in WORKING:
        _work(current)


def _begin(current: Refresh) -> None:
    group = current.group
    current.started = current.working_since = current.progressed = clock.now()
    current.status = "InProgress"
    current.targets = {m.id for m in group.members if _is_target(m, current)}
    current.total = current.to_update = len(current.targets)
    group.failures = 0
    notifications.refresh(group, current.id, "Started")


def _is_target(member: Member, current: Refresh) -> bool:
    if member.leaving or member.state in ("Detaching", "Detached"):
        return False
    if member.state in ("Standby", "EnteringStandby") and current.preferences["StandbyInstances"] == "Ignore":
        return False
    if member.protected and current.preferences["ScaleInProtectedInstances"] == "Ignore":
        return False
    if current.preferences.get("SkipMatching"):
        return member.template != source_of(current.group).resolved()
    return True


def _work(current: Refresh) -> None:
    group = current.group
    old = [m for m in group.members if m.id in current.targets and not m.leaving]
    new = [m for m in group.active if m.id not in current.targets and m.launched >= current.working_since]
    done = [m for m in new if m.health == "Healthy" and m.warm(current.warmup)]
    updated = min(len(done), current.total)
    _show_progress(current, updated, len(old))
    if updated > current.best:
        current.best, current.progressed = updated, clock.now()
    if current.status == "InProgress" and (ringing := alarm(current)):
        _fail(current, ringing)
        return
    waiting = _wait_at_checkpoint(current, updated)
    if current.is_over or current.status == "Baking":
        return
    if not old and not current.ahead and len(done) == len(new) and len(group.active) >= group.desired:
        leaving = [m for m in group.members if m.id in current.targets]
        if not leaving:
            _bake_or_succeed(current)
            return
    if clock.over(current.progressed, NO_PROGRESS):
        _fail(
            current,
            "The instance refresh made no progress for one hour. Check the scaling activities, and the health checks "
            "of the new instances.",  # (assumed)
        )
        return
    if waiting:
        return
    _explain(current, old, new, done)
    if group.runs("InstanceRefresh") and group.runs("Launch") and group.runs("Terminate"):
        _replace(current, old, done, [m for m in new if m not in done])


def _show_progress(current: Refresh, updated: int, left: int) -> None:
    if current.status == "InProgress":
        current.percent = 100 * updated // current.total if current.total else 100
        # Only what is still to be replaced: it reaches 0 while the last ones warm up (ASG-4).
        current.to_update = left
    elif current.total:
        current.percent = current.rollback_from * (current.total - updated) // current.total


def _explain(current: Refresh, old: list[Member], new: list[Member], done: list[Member]) -> None:
    arriving = [m for m in new if m.state != "InService"]
    warming = [m for m in new if m.state == "InService" and m not in done]
    if stuck := [m for m in old if not _may_go(m, current)]:
        if len(stuck) == len(old):
            what = "in Standby" if stuck[0].state == "Standby" else "protected from scale in"
            current.reason = f"Waiting for instances that are {what}. For example: {stuck[0].id}."  # (assumed)
            return
    if arriving:
        current.reason = f"Waiting for remaining instances to be available. For example: {arriving[0].id}."
    elif warming:
        current.reason = (
            f"Waiting for instances to warm up before continuing. For example: {warming[0].id} is warming up."
        )
    elif len(current.group.active) < current.group.desired:
        current.reason = "Waiting for remaining instances to be available."


def _wait_at_checkpoint(current: Refresh, updated: int) -> bool:
    """Whether a checkpoint's delay runs. Ends the refresh at a last checkpoint below 100 %."""
    percentages = current.preferences.get("CheckpointPercentages") or []
    if current.status != "InProgress" or current.checkpoint >= len(percentages) or not current.total:
        return False
    percentage = percentages[current.checkpoint]
    is_last = current.checkpoint == len(percentages) - 1
    delay = current.preferences.get("CheckpointDelay", 3600)
    if current.checkpoint_since is None:
        if updated < math.ceil(percentage * current.total / 100):
            return False
        current.checkpoint_since = clock.now()
        notifications.refresh(
            current.group,
            current.id,
            "Checkpoint Reached",
            CheckpointPercentage=str(percentage),
            CheckpointDelay=str(delay),
        )
        if is_last:
            current.checkpoint += 1
            if percentage < 100:
                _bake_or_succeed(current)
            return False
    if clock.over(current.checkpoint_since, delay):
        current.checkpoint, current.checkpoint_since = current.checkpoint + 1, None
        current.progressed = clock.now()
        return False
    current.progressed = clock.now()
    current.reason = (
        f"Waiting for the checkpoint delay of {delay} seconds after {percentage} percent complete."  # (assumed)
    )
    return True


def _budget(current: Refresh, left: int) -> int:
    """How many more old members may be replaced before the next checkpoint."""
    percentages = current.preferences.get("CheckpointPercentages") or []
    if current.status != "InProgress" or current.checkpoint >= len(percentages):
        return left
    needed = math.ceil(percentages[current.checkpoint] * current.total / 100)
    return max(0, needed - (current.total - left))


def _may_go(member: Member, current: Refresh) -> bool:
    if member.state in ("Standby", "EnteringStandby"):
        return current.preferences["StandbyInstances"] == "Terminate"
    return not member.protected or current.preferences["ScaleInProtectedInstances"] == "Refresh"


def _replace(current: Refresh, old: list[Member], done: list[Member], coming: list[Member]) -> None:
    group = current.group
    eligible = sorted(
        (m for m in old if _may_go(m, current)), key=lambda m: (m.state == "InService" and m.health == "Healthy", m.launched)
    )
    budget = min(_budget(current, len(old)), len(eligible))
    most = current.preferences.get("MaxHealthyPercentage", 100)
    # What doesn't serve anyway may go at once.
    idle = [m for m in eligible if m.state != "InService"][:budget]
    if most > 100:
        extra = max(1, math.floor(group.desired * most / 100) - group.desired)
        ready = max(0, len(done) - (current.total - len(old)))
        going = (idle + [m for m in eligible if m not in idle])[: min(max(ready, len(idle)), budget)]
        for member in going:
            if member not in idle or current.ahead:
                current.ahead = max(0, current.ahead - 1)
            _take_out(member)
        ahead = min(extra, budget - len(going))
        group.refreshing += max(0, ahead - current.ahead)
        current.ahead = ahead
        return
    serving = [m for m in group.active if m.state == "InService" and m.health == "Healthy" and m not in coming]
    least = math.ceil(group.desired * current.preferences["MinHealthyPercentage"] / 100)
    allowed = len(serving) - least
    if allowed <= 0 and len(serving) >= group.desired:
        allowed = 1  # at least one is replaced at a time
    others = [m for m in eligible if m not in idle]
    going = (idle + others[: max(0, allowed)])[:budget]
    for member in going:
        if member.active:
            group.refreshing += 1
        _take_out(member)


def _take_out(member: Member) -> None:
    at = clock.text(clock.now())
    terminate(
        member,
        "an instance was taken out of service in response to an instance refresh.  "
        f"At {at} instance {member.id} was selected for termination.",
    )


def alarm(current: Refresh) -> str | None:
    """The reason to fail, if one of the refresh's own alarms is in ALARM."""
    named = (current.preferences.get("AlarmSpecification") or {}).get("Alarms") or []
    alarms = cloudwatch_backends[context.account_id][context.region].alarms
    ringing = [name for name in named if name in alarms and alarms[name].state_value == "ALARM"]
    return f"Alarm is in ALARM state: {ringing[0]}." if ringing else None  # (assumed)


# Ends


def _bake_or_succeed(current: Refresh) -> None:
    if current.status == "InProgress" and current.preferences.get("BakeTime"):
        current.status, current.baking_since, current.percent, current.to_update = "Baking", clock.now(), 100, 0
        current.reason = f"Waiting for the bake time of {current.preferences['BakeTime']} seconds."  # (assumed)
        notifications.refresh(current.group, current.id, "Started Baking")
    else:
        _succeed(current)


def _succeed(current: Refresh) -> None:
    if current.status == "RollbackInProgress":
        current.percent = 0
        _end(current, "RollbackSuccessful", None)
        return
    if current.desired is not None:
        current.group.source = current.desired
    _end(current, "Successful", None)


def _fail(current: Refresh, reason: str) -> None:
    if current.status == "RollbackInProgress":
        _end(current, "RollbackFailed", reason)
    elif current.preferences.get("AutoRollback") and current.is_reversible:
        roll_back(current, f"Automatic rollback: {reason}")
    else:
        _end(current, "Failed", reason)


_EVENTS = {
    "Successful": "Succeeded",
    "Failed": "Failed",
    "Cancelled": "Cancelled",
    "RollbackSuccessful": "Rollback Succeeded",
    "RollbackFailed": "Rollback Failed",
}


def _end(current: Refresh, status: str, reason: str | None) -> None:
    current.status, current.reason, current.ended, current.ahead = status, reason, clock.now(), 0
    if current.stack is not None and status in ("Cancelled", "Failed"):
        # CloudFormation takes it for a failure of its update, and takes that back.
        current.stack.status = "UPDATE_ROLLBACK_IN_PROGRESS"
    current.group.failures = 0
    notifications.refresh(current.group, current.id, _EVENTS[status])


def cancel(current: Refresh) -> None:
    """Replaced members stay (ASG-2). A refresh that is still Pending has nothing in flight."""
    current.reason = "Cancelled due to user request."
    current.ahead = 0
    current.status, current.cancelled_at = "Cancelling", clock.now()
    # The next launches are of the group's own template again, and don't wait for the failed ones.
    current.group.failures = 0


def roll_back(current: Refresh, reason: str) -> None:
    group = current.group
    current.rollback = {
        "RollbackReason": reason,
        "RollbackStartTime": clock.now(),
        "PercentageCompleteOnRollback": current.percent,
        "InstancesToUpdateOnRollback": current.to_update,
    }
    current.rollback_from = current.percent
    since, wanted = current.started or current.created, current.before.resolved()
    current.status, current.reason = "RollbackInProgress", None
    current.targets = {m.id for m in group.members if m.launched >= since and not m.leaving and m.template != wanted}
    current.total, current.best, current.ahead = len(current.targets), 0, 0
    current.working_since = current.progressed = clock.now()
    group.failures = 0
    notifications.refresh(group, current.id, "Rollback Started")


def updating_stack(group: Group) -> Any:
    """The stack that made the group, while it is being updated."""
    from emulator.cloudformation.stacks import find as find_stack

    tags = {tag["Key"]: tag["Value"] for tag in group.tags}
    name = tags.get("aws:cloudformation:stack-id") or tags.get("aws:cloudformation:stack-name")
    stack = find_stack(name) if name else None
    return stack if stack is not None and stack.status == "UPDATE_IN_PROGRESS" else None


def refuse_irreversible(current: Refresh) -> None:
    if current.stack is not None:
        # (assumed): that AWS refuses is documented, its words aren't.
        raise AwsError(
            "ValidationError",
            "The instance refresh was started by AWS CloudFormation and can't be rolled back with this API. Cancel it, "
            "or roll back the stack.",
        )
    if not current.is_reversible:
        raise AwsError(
            "IrreversibleInstanceRefresh",
            "The instance refresh can't be rolled back: a desired configuration was not found, or the launch template "
            "uses a Systems Manager parameter instead of an AMI ID, or its version is $Latest or $Default.",  # (assumed)
        )
