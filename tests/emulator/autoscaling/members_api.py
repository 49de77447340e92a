"""Single members: standby, detach and attach, termination, health, protection (AMI-6)."""

from __future__ import annotations

from typing import Any

from emulator.autoscaling import clock, engine, health
from emulator.autoscaling.leaving import terminate
from emulator.autoscaling.model import Activity, Group, Member, all_members, ec2, find, find_member, invalid
from emulator.aws_request import AwsRequest
from emulator.operations import operation

MAX_INSTANCES = 20


def _named(group: Group, ids: list[str]) -> list[Member]:
    if len(ids) > MAX_INSTANCES:
        raise invalid(f"At most {MAX_INSTANCES} instances can be named.")  # (assumed)
    members = []
    for instance_id in dict.fromkeys(ids):
        member = group.member(instance_id)
        if member is None:
            raise invalid(f"The instance {instance_id} is not part of Auto Scaling group {group.name}.")
        members.append(member)
    return members


def _must_be(members: list[Member], state: str) -> None:
    for member in members:
        if member.state != state:
            raise invalid(f"The instance {member.id} is not in {state}.")


def _shrink(group: Group, members: list[Member], decrement: bool, operation_name: str) -> None:
    if decrement and group.desired - len(members) < group.minimum:
        raise invalid(
            f"AutoScalingGroup {group.name} has min-size={group.minimum}, max-size={group.maximum}, and "
            f"desired-size={group.desired}. To {operation_name} {len(members)} instance"
            f"{'s' if len(members) > 1 else ''}, please update the AutoScalingGroup sizes appropriately."
        )


@operation("autoscaling", "EnterStandby")
def enter_standby(request: AwsRequest) -> dict[str, Any]:
    group = find(request.parameters["AutoScalingGroupName"])
    members = _named(group, request.parameters.get("InstanceIds") or [])
    decrement = bool(request.parameters["ShouldDecrementDesiredCapacity"])
    _must_be(members, "InService")
    _shrink(group, members, decrement, "place into standby")
    activities = []
    for member in members:
        activities.append(
            _moved(group, member, "Moving EC2 instance to Standby", "was moved to standby", -1 if decrement else 0)
        )
        for arn in group.target_groups:
            health.deregister(arn, member.instance)
        member.enter("EnteringStandby")
    answer = {"Activities": [a.shown() for a in activities]}
    for activity in activities:
        activity.finish("Successful")
    engine.settle(group)
    return answer


def _moved(group: Group, member: Member, what: str, did: str, change: int) -> Activity:
    at = clock.text(clock.now())
    cause = f"At {at} instance {member.id} {did} in response to a user request"
    if change:
        verb = "shrinking" if change < 0 else "increasing"
        cause += f", {verb} the capacity from {group.desired} to {group.desired + change}"
        group.desired += change
    activity = group.start(f"{what}: {member.id}", f"{cause}.", member.instance)
    activity.progress = 50
    return activity


@operation("autoscaling", "ExitStandby")
def exit_standby(request: AwsRequest) -> dict[str, Any]:
    group = find(request.parameters["AutoScalingGroupName"])
    members = _named(group, request.parameters.get("InstanceIds") or [])
    _must_be(members, "Standby")
    if group.desired + len(members) > group.maximum:
        raise invalid(
            f"AutoScalingGroup {group.name} has min-size={group.minimum}, max-size={group.maximum}, and "
            f"desired-size={group.desired}. To exit standby with {len(members)} instance"
            f"{'s' if len(members) > 1 else ''}, please update the AutoScalingGroup sizes appropriately."
        )
    activities = []
    for member in members:
        activity = _moved(group, member, "Moving EC2 instance out of Standby", "was moved out of standby", +1)
        activity.status, activity.progress = "PreInService", 30
        activities.append(activity)
        member.exiting = activity
        member.health, member.unhealthy_because, member.suspect = "Healthy", None, None
        member.enter("Pending")
    answer = {"Activities": [a.shown() for a in activities]}
    engine.settle(group)
    return answer


@operation("autoscaling", "DetachInstances")
def detach(request: AwsRequest) -> dict[str, Any]:
    group = find(request.parameters["AutoScalingGroupName"])
    members = _named(group, request.parameters.get("InstanceIds") or [])
    decrement = bool(request.parameters["ShouldDecrementDesiredCapacity"])
    for member in members:
        if member.state not in ("InService", "Standby"):
            raise invalid(f"The instance {member.id} is not in InService or Standby.")
    counted = [m for m in members if m.state == "InService"]
    _shrink(group, counted, decrement, "detach")
    activities = []
    for member in members:
        change = -1 if decrement and member in counted else 0
        activities.append(_moved(group, member, "Detaching EC2 instance", "was detached", change))
        for arn in group.target_groups:
            health.deregister(arn, member.instance)
        member.enter("Detaching")
        group.members.remove(member)
        # Auto Scaling's own tag goes with the membership.
        ec2().tags[member.id].pop("aws:autoscaling:groupName", None)
    answer = {"Activities": [a.shown() for a in activities]}
    for activity in activities:
        activity.finish("Successful")
    engine.settle(group)
    return answer


@operation("autoscaling", "AttachInstances")
def attach(request: AwsRequest) -> dict[str, Any]:
    group = find(request.parameters["AutoScalingGroupName"])
    ids = request.parameters.get("InstanceIds") or []
    found = []
    for instance_id in dict.fromkeys(ids):
        instance = ec2().get_instance_by_id(instance_id)
        if instance is None or instance.state != "running":
            raise invalid(f"Invalid Instance ID(s): [{instance_id}] specified")
        if owner := next((m.group for m in all_members() if m.id == instance_id), None):
            raise invalid(f"Instance {instance_id} is already part of AutoScalingGroup: {owner.name}")
        if instance.availability_zone not in group.zones:
            raise invalid(
                f"The availability zone {instance.availability_zone} of {instance_id} is not one of the group's."
            )  # (assumed)
        found.append(instance)
    if group.desired + len(found) > group.maximum:
        raise invalid(
            f"AutoScalingGroup {group.name} has min-size={group.minimum}, max-size={group.maximum}, and "
            f"desired-size={group.desired}. To attach {len(found)} instance{'s' if len(found) > 1 else ''}, please "
            "update the AutoScalingGroup sizes appropriately."
        )
    for instance in found:
        member = Member(instance, group, None, launched=clock.now() - clock.scaled(engine.BOOT))
        member.exiting = _moved(group, member, "Attaching an existing EC2 instance", "was attached", +1)
        group.members.append(member)
        ec2().tags[instance.id]["aws:autoscaling:groupName"] = group.name
    engine.settle(group)
    return {}


@operation("autoscaling", "TerminateInstanceInAutoScalingGroup")
def terminate_instance(request: AwsRequest) -> dict[str, Any]:
    member = find_member(request.parameters["InstanceId"])
    group, decrement = member.group, bool(request.parameters["ShouldDecrementDesiredCapacity"])
    if member.leaving:
        raise invalid(f"Instance {member.id} is already terminating.")  # (assumed)
    if decrement and group.desired <= group.minimum:
        raise invalid(
            "Currently, desiredSize equals minSize ({}). Terminating instance without replacement will violate group's "
            "min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min "
            "size.".format(group.minimum)
        )
    because = f"instance {member.id} was taken out of service in response to a user request"
    if decrement:
        because += f", shrinking the capacity from {group.desired} to {group.desired - 1}"
        group.desired -= 1
    terminate(member, f"{because}.")
    assert member.terminating is not None
    answer = {"Activity": member.terminating.shown()}
    engine.settle(group)
    return answer


@operation("autoscaling", "SetInstanceHealth")
def set_instance_health(request: AwsRequest) -> dict[str, Any]:
    member, wanted = find_member(request.parameters["InstanceId"]), request.parameters["HealthStatus"]
    if wanted not in ("Healthy", "Unhealthy"):
        raise invalid(f"Valid values for HealthStatus are Healthy and Unhealthy, not {wanted}.")  # (assumed)
    respect = request.parameters.get("ShouldRespectGracePeriod")
    in_grace = not clock.over(member.in_service or clock.now(), member.group.grace)
    if wanted == "Unhealthy" and respect is not False and in_grace and member.group.grace:
        return {}
    member.health, member.suspect = wanted, None
    member.unhealthy_because = "a user health-check" if wanted == "Unhealthy" else None
    engine.settle(member.group)
    return {}


@operation("autoscaling", "SetInstanceProtection")
def set_instance_protection(request: AwsRequest) -> dict[str, Any]:
    group = find(request.parameters["AutoScalingGroupName"])
    for member in _named(group, request.parameters.get("InstanceIds") or []):
        member.protected = bool(request.parameters["ProtectedFromScaleIn"])
    return {}
