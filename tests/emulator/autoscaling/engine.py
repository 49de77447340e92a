"""What happens to a group by itself: members come into service, are checked, replaced and taken out.

`settle` carries out all that is due. Each API call that changes a group ends with it, so what AWS starts at once has
started when the call answers; the ticker calls it for the rest. AWS's waits are shortened where that changes nothing
but the time, and are all scaled by `autoscaling_time_scale`.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable

from emulator.autoscaling import clock, health, launching, notifications, refresh
from emulator.autoscaling.leaving import terminate
from emulator.autoscaling.model import Group, Member, ec2, groups
from emulator.context import context

log = logging.getLogger("emulator")

BOOT = 30.0
"""Seconds from a launch to InService: the instance must run, and AWS looks now and then."""
GONE = 10.0
"""Seconds that a member is Terminating at least."""
NOTICE = 15.0
"""Seconds from what makes an instance unhealthy until the health check finds it."""
RETRIES = (30.0, 60.0, 120.0, 240.0, 480.0, 900.0)
"""Waits between launches that fail, one after the other. AWS backs off likewise, without saying how long."""

pools: list[tuple[Callable[[Group], None], Callable[[Group], bool]]] = []
"""What lets warm pools go on, and takes a member out of one: `warm_pool.py`, which knows this module."""

TICK = 0.05
_ticker: threading.Thread | None = None


def start_ticker() -> None:
    global _ticker
    if _ticker is None:
        _ticker = threading.Thread(target=_tick_for_ever, name="autoscaling", daemon=True)
        _ticker.start()


def _tick_for_ever() -> None:
    while True:
        time.sleep(TICK)
        with context.lock:
            settle_all()


def settle_all(*, loudly: bool = False) -> None:
    for group in list(groups().values()):
        try:
            settle(group)
        except Exception:
            if loudly:
                raise
            # A bug must not stop the other groups.
            log.error("Auto Scaling of %s failed\n%s", group.name, traceback.format_exc())


def settle(group: Group) -> None:
    if group.deleted:
        return
    for member in list(group.members):
        _lifecycle(member)
    if group.runs("HealthCheck"):
        for member in group.members:
            if member.state == "InService":
                _check_health(member)
    if group.runs("ReplaceUnhealthy") and group.runs("Terminate"):
        for member in [m for m in group.members if m.state == "InService" and m.health == "Unhealthy"]:
            group.replacing += 1
            terminate(member, f"an instance was taken out of service in response to {member.unhealthy_because}.")
    refresh.step(group)
    _scale(group)
    for step, _ in pools:
        step(group)


# Members


def _lifecycle(member: Member) -> None:
    group, instance = member.group, member.instance
    if member.state == "Pending":
        if instance.state not in ("pending", "running"):
            _died_while_pending(member)
        elif instance.state == "running" and clock.over(member.launched, BOOT):
            _put_in_service(member)
    elif member.state == "Terminating":
        _go(member)
    elif member.state == "EnteringStandby":
        member.enter("Standby")
    elif member.state == "Detaching":
        group.members.remove(member)


def _died_while_pending(member: Member) -> None:
    reason = member.instance.state_reason
    code = reason.code or "Client.UserInitiatedShutdown"
    words = (reason.message or "").removeprefix(f"{code}: ") or "User initiated shutdown"
    _launch_cancelled(
        member,
        "Instance became unhealthy while waiting for instance to be in InService state. "
        f"Termination Reason: {code}: {words}",
    )
    terminate(member, f"an instance was taken out of service in response to {health.ec2_fault(member.instance)}.")


def _launch_cancelled(member: Member, message: str) -> None:
    group = member.group
    group.failed_launches += 1
    group.failures, group.failed_at = group.failures + 1, clock.now()
    if member.launching is not None:
        member.launching.finish("Cancelled", message)
        notifications.activity_ended(member.launching, "EC2 Instance Launch Unsuccessful", launching=True)
        member.launching = None


def _put_in_service(member: Member) -> None:
    group = member.group
    if group.runs("AddToLoadBalancer"):
        for arn in group.target_groups:
            health.register(arn, member.instance)
    member.enter("InService")
    member.in_service = clock.now()
    group.failures = 0
    if member.exiting is not None:
        member.exiting.finish("Successful")
        member.exiting = None
    if member.launching is not None:
        member.launching.finish("Successful")
        notifications.activity_ended(member.launching, "EC2 Instance Launch Successful", launching=True)
        member.launching = None


def _check_health(member: Member) -> None:
    group, instance = member.group, member.instance
    if member.health == "Unhealthy":
        return
    fault = health.ec2_fault(instance)
    if fault is None and clock.over(member.in_service or member.since, group.grace):
        # What a status check or a load balancer finds counts only after the grace period.
        fault = health.status_fault(instance)
        if fault is None and "ELB" in group.health_check_type:
            if any(health.target_fault(arn, instance) for arn in group.target_groups):
                fault = "an ELB system health check failure"
    if fault is None:
        member.suspect = None
    elif member.suspect is None:
        member.suspect = clock.now()
    elif clock.over(member.suspect, NOTICE):
        member.health, member.unhealthy_because = "Unhealthy", fault


def _go(member: Member) -> None:
    group, instance = member.group, member.instance
    if group.target_groups and instance.state == "running" and not clock.over(member.since, health.DRAINING):
        if member.terminating is not None:
            member.terminating.status = "WaitingForELBConnectionDraining"
        return
    if member.terminating is not None and member.terminating.status != "InProgress":
        member.terminating.status = "InProgress"
    # Auto Scaling terminates also what is protected against termination by the API (AMI-6).
    instance.terminate()
    if instance.state != "terminated" or not clock.over(member.since, GONE):
        return
    group.members.remove(member)
    group.terminated += 1
    health.elbv2().notify_terminate_instances([member.id])
    if member.terminating is not None:
        member.terminating.finish("Successful")
        notifications.activity_ended(member.terminating, "EC2 Instance Terminate Successful", launching=False)


# Capacity


def _scale(group: Group) -> None:
    wanted = group.desired + refresh.surplus(group)
    missing = wanted - len(group.active)
    if missing > 0 and group.runs("Launch"):
        wait = RETRIES[min(group.failures, len(RETRIES)) - 1] if group.failures else 0.0
        while missing > 0 and (not group.failures or clock.over(group.failed_at, wait)):
            if not any(take(group) for _, take in pools) and not _launch_one(group, wanted):
                break
            missing -= 1
    elif missing < 0 and group.runs("Terminate"):
        before = len(group.active)
        for count, member in enumerate(_surplus_members(group)[:-missing]):
            at = clock.text(clock.now())
            terminate(
                member,
                "an instance was taken out of service in response to a difference between desired and actual "
                f"capacity, shrinking the capacity from {before - count} to {before - count - 1}.  "
                f"At {at} instance {member.id} was selected for termination.",
                group.story,
            )
        group.story = ""
    if missing <= 0:
        group.story = ""
        group.replacing = group.refreshing = 0


def _launch_one(group: Group, wanted: int) -> bool:
    source = refresh.source_of(group)
    zone, subnet = place(group)
    before = len(group.active)
    activity = group.start("Launching a new EC2 instance", _launch_cause(group, before))
    activity.details = {"Subnet ID": subnet or "", "Availability Zone": zone}
    try:
        instance = launching.launch(group, source, zone, subnet)
    except launching.LaunchFailed as failed:
        activity.finish("Failed", str(failed))
        group.failures, group.failed_at = group.failures + 1, clock.now()
        group.failed_launches += 1
        group.failed_zones.append(zone)
        notifications.activity_ended(activity, "EC2 Instance Launch Unsuccessful", launching=True)
        return False
    group.failed_zones.clear()
    group.launched += 1
    activity.description = f"Launching a new EC2 instance: {instance.id}"
    activity.instance_id = instance.id
    activity.status, activity.progress = "PreInService", 30
    activity.details["Availability Zone"] = instance.availability_zone
    activity.details["Subnet ID"] = instance.subnet_id or ""
    group.members.append(
        Member(
            instance,
            group,
            source.resolved(),
            source.launch_configuration,
            protected=group.protect_new,
            launching=activity,
        )
    )
    return True


def _launch_cause(group: Group, before: int) -> str:
    at = clock.text(clock.now())
    if group.replacing > 0:
        group.replacing -= 1
        return f"At {at} an instance was launched in response to an unhealthy instance needing to be replaced."
    if group.refreshing > 0:
        group.refreshing -= 1
        return f"At {at} an instance was launched in response to an instance refresh."
    # A retry says no more than this, whatever the first attempt was for (ASG-5).
    return (
        f"{group.story}At {at} an instance was started in response to a difference between desired and actual "
        f"capacity, increasing the capacity from {before} to {before + 1}."
    )


def place(group: Group) -> tuple[str, str | None]:
    """The zone with the fewest members; another one after a failure, as AWS tries them in turn."""
    if set(group.failed_zones) >= set(group.zones):
        group.failed_zones.clear()
    here = [m.instance.availability_zone for m in group.active]
    zone = min(group.zones, key=lambda z: (z in group.failed_zones, here.count(z), group.zones.index(z)))
    subnets = [s for s in group.subnets if _zone_of(s) == zone]
    subnet_ids = [m.instance.subnet_id for m in group.active]
    return zone, min(subnets, key=lambda s: (subnet_ids.count(s), group.subnets.index(s)), default=None)


def _zone_of(subnet_id: str) -> str:
    return ec2().get_subnet(subnet_id).availability_zone


def _surplus_members(group: Group) -> list[Member]:
    """Those that scaling in takes, first first: from the fullest zone, of another template than the group's, oldest."""
    source = refresh.source_of(group)
    try:
        version = (source.resolved() or {}).get("Version")
    except Exception:
        version = None
    zones = [m.instance.availability_zone for m in group.active]

    def order(member: Member) -> tuple[int, int, bool, float]:
        current = (member.template or {}).get("Version") == version
        return member.state == "InService", -zones.count(member.instance.availability_zone), current, member.launched

    return sorted((m for m in group.active if not m.protected), key=order)
