"""Warm pools: instances beside the group that DescribeAutoScalingGroups doesn't list, and that come into it when it grows.

Only what is needed to tell a member of a pool from one in service: pools of PoolState Running or Stopped, filled up to
what the group may still grow by, without hooks, health checks and reuse.
"""

from __future__ import annotations

from typing import Any

from emulator.autoscaling import clock, engine, launching, refresh
from emulator.autoscaling.model import Group, Member, find, invalid
from emulator.aws_request import AwsRequest
from emulator.operations import operation

DEFAULTS = {"MinSize": 0, "PoolState": "Stopped"}


@operation("autoscaling", "PutWarmPool")
def put_warm_pool(request: AwsRequest) -> dict[str, Any]:
    group = find(request.parameters["AutoScalingGroupName"])
    given = {k: v for k, v in request.parameters.items() if k != "AutoScalingGroupName"}
    known = {"MinSize", "PoolState", "MaxGroupPreparedCapacity"}
    if given.keys() - known or given.get("PoolState", "Stopped") not in ("Running", "Stopped"):
        raise invalid(f"The local AWS knows of a warm pool only {', '.join(sorted(known))}, Running and Stopped.")
    group.warm_pool = (group.warm_pool or DEFAULTS) | given
    engine.settle(group)
    return {}


@operation("autoscaling", "DescribeWarmPool")
def describe_warm_pool(request: AwsRequest) -> dict[str, Any]:
    group = find(request.parameters["AutoScalingGroupName"])
    answer: dict[str, Any] = {"Instances": [m.shown() for m in group.pool]}
    return answer | ({"WarmPoolConfiguration": group.warm_pool} if group.warm_pool else {})


def step(group: Group) -> None:
    """What is due of the pool: an instance that has booted is ready, and what is missing is launched."""
    for member in list(group.pool):
        if member.instance.state in ("shutting-down", "terminated"):
            group.pool.remove(member)
        elif member.state == "Warmed:Pending" and clock.over(member.launched, engine.BOOT):
            stops = (group.warm_pool or DEFAULTS)["PoolState"] == "Stopped"
            if stops:
                member.instance.stop()
            member.enter("Warmed:Stopped" if stops else "Warmed:Running")
    # Launch is also what adds instances to a warm pool (ASG-17).
    if group.warm_pool is None or not group.runs("Launch"):
        return
    prepared = group.warm_pool.get("MaxGroupPreparedCapacity", group.maximum)
    wanted = max(group.warm_pool["MinSize"], prepared - len(group.active))
    for _ in range(wanted - len(group.pool)):
        zone, subnet = engine.place(group)
        source = refresh.source_of(group)
        instance = launching.launch(group, source, zone, subnet)
        member = Member(instance, group, source.resolved(), source.launch_configuration, state="Warmed:Pending")
        group.pool.append(member)
        group.launched += 1
        _tell(member, "into", "an instance was started in response to a difference between desired and actual warm pool")


def take(group: Group) -> bool:
    """One that is ready comes into the group, instead of a launch. Whether there was one."""
    member = next((m for m in group.pool if m.state in ("Warmed:Running", "Warmed:Stopped")), None)
    if member is None:
        return False
    group.pool.remove(member)
    if member.state == "Warmed:Stopped":
        member.instance.start()
    member.launched = clock.now()
    member.enter("Pending")
    group.members.append(member)
    _tell(member, "from", "an instance was started in response to a difference between desired and actual capacity")
    return True


def _tell(member: Member, way: str, cause: str) -> None:
    """In AWS's words (ASG-16)."""
    what = f"Launching a new EC2 instance {way} warm pool: {member.id}"
    member.group.start(what, f"At {clock.text(clock.now())} {cause}.", member.instance).finish("Successful")


engine.pools.append((step, take))
