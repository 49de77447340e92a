"""Groups: made, changed, deleted; capacity, processes, tags, target groups."""

from __future__ import annotations

from typing import Any

from emulator.autoscaling import clock, engine, health, launching
from emulator.autoscaling.model import PROCESSES, Group, Source, backend, ec2, find, groups, invalid
from emulator.aws_request import AwsError, AwsRequest
from emulator.operations import operation

# Kept and shown again; nothing here depends on them.
_GIVEN = (
    "DefaultCooldown",
    "TerminationPolicies",
    "PlacementGroup",
    "Context",
    "CapacityRebalance",
    "MaxInstanceLifetime",
    "ServiceLinkedRoleARN",
    "DesiredCapacityType",
    "InstanceMaintenancePolicy",
    "AvailabilityZoneDistribution",
    "AvailabilityZoneImpairmentPolicy",
    "CapacityReservationSpecification",
    "DeletionProtection",
)
_SOURCES = ("LaunchConfigurationName", "LaunchTemplate", "MixedInstancesPolicy", "InstanceId")
_ONE_SOURCE = (
    "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or MixedInstancesPolicy "
    "parameter."
)


def source_from(given: dict[str, Any]) -> Source | None:
    """The source of instances in a request, with the template's name and id; None if it names none."""
    named = [name for name in _SOURCES if given.get(name)]
    if not named:
        return None
    if len(named) > 1:
        raise invalid(_ONE_SOURCE)
    if named[0] == "LaunchConfigurationName":
        if given["LaunchConfigurationName"] not in backend().launch_configurations:
            raise invalid("Launch configuration name not found - null")
        return Source(launch_configuration=given["LaunchConfigurationName"])
    if named[0] == "InstanceId":
        raise invalid("The emulator makes no launch configuration from an instance: name a launch template.")
    mixed = given.get("MixedInstancesPolicy")
    specification = (
        mixed["LaunchTemplate"]["LaunchTemplateSpecification"] if mixed is not None else given["LaunchTemplate"]
    )
    template = _template(specification)
    if mixed is not None:
        launches = mixed["LaunchTemplate"] | {"LaunchTemplateSpecification": template}
        mixed = mixed | {"LaunchTemplate": launches}
    return Source(template=template, mixed=mixed)


def _template(specification: dict[str, Any]) -> dict[str, Any]:
    template_id, name = specification.get("LaunchTemplateId"), specification.get("LaunchTemplateName")
    if bool(template_id) == bool(name):
        raise invalid("Valid requests must contain either launchTemplateId or LaunchTemplateName")
    known = ec2().launch_templates
    template_id = template_id or ec2().launch_template_name_to_ids.get(name)
    if template_id not in known:
        raise invalid("You must use a valid fully-formed launch template. The specified launch template does not exist.")
    template = known[template_id]
    shown = {"LaunchTemplateId": template.id, "LaunchTemplateName": template.name}
    # AWS shows a version only if one was given; without one it is $Default.
    return shown | ({"Version": str(specification["Version"])} if specification.get("Version") else {})


def _places(given: dict[str, Any]) -> tuple[list[str], list[str]]:
    zones = list(given.get("AvailabilityZones") or [])
    subnets = [s.strip() for s in (given.get("VPCZoneIdentifier") or "").split(",") if s.strip()]
    if subnets:
        unknown = [s for s in subnets if all(s not in by_id for by_id in ec2().subnets.values())]
        if unknown:
            raise invalid(f"The subnet ID '{unknown[0]}' does not exist")
        of_subnets = list(dict.fromkeys(ec2().get_subnet(s).availability_zone for s in subnets))
        if zones and set(zones) != set(of_subnets):
            raise invalid("The availability zones of the specified subnets and the Auto Scaling group do not match")
        zones = of_subnets
    elif not zones:
        raise invalid("At least one Availability Zone or VPC Subnet is required.")
    return zones, subnets


def _check_sizes(minimum: int, maximum: int, desired: int) -> None:
    if minimum > maximum:
        raise invalid("Max bound must be greater than or equal to min bound")
    if not minimum <= desired <= maximum:
        raise invalid(
            f"Desired capacity:{desired} must be between the specified min size:{minimum} and max size:{maximum}"
        )


@operation("autoscaling", "CreateAutoScalingGroup")
def create_group(request: AwsRequest) -> dict[str, Any]:
    given = request.parameters
    name = given["AutoScalingGroupName"]
    if name in groups():
        raise AwsError(
            "AlreadyExists", "AutoScalingGroup by this name already exists - A group with the name "
            f"{name} already exists",
        )
    source = source_from(given)
    if source is None:
        raise invalid(_ONE_SOURCE)
    launching.validate(source)
    zones, subnets = _places(given)
    minimum, maximum = given["MinSize"], given["MaxSize"]
    desired = given["DesiredCapacity"] if given.get("DesiredCapacity") is not None else minimum
    _check_sizes(minimum, maximum, desired)
    warmup = given.get("DefaultInstanceWarmup")
    group = Group(
        name,
        source,
        minimum,
        maximum,
        desired,
        zones,
        subnets,
        {"DefaultCooldown": 300, "TerminationPolicies": ["Default"], "CapacityRebalance": False}
        | {n: given[n] for n in _GIVEN if given.get(n) is not None},
        health_check_type=given.get("HealthCheckType") or "EC2",
        grace=given.get("HealthCheckGracePeriod") or 0,
        default_warmup=warmup if warmup is not None and warmup >= 0 else None,
        target_groups=list(given.get("TargetGroupARNs") or []),
        protect_new=bool(given.get("NewInstancesProtectedFromScaleIn")),
        tags=[{k: t.get(k) for k in ("Key", "Value", "PropagateAtLaunch")} for t in given.get("Tags") or []],
        operator=given.get("Operator"),
    )
    _check_target_groups(group.target_groups)
    group.story = (
        f"At {clock.text(clock.now())} a user request created an AutoScalingGroup changing the desired capacity from 0 "
        f"to {desired}.  "
    )
    groups()[name] = group
    engine.start_ticker()
    engine.settle(group)
    return {}


def _check_target_groups(arns: list[str]) -> None:
    for arn in arns:
        if arn not in health.elbv2().target_groups:
            raise invalid("Provided Target Groups may not be valid. Please ensure they exist and try again.")


@operation("autoscaling", "UpdateAutoScalingGroup")
def update_group(request: AwsRequest) -> dict[str, Any]:
    given = request.parameters
    group = find(given["AutoScalingGroupName"])
    source = source_from(given)
    if source is not None:
        current = group.refresh
        if current is not None and current.desired is not None:
            raise invalid(
                "An active instance refresh with a desired configuration exists. All configuration options derived "
                "from the desired configuration are not available for update while the instance refresh is active."
            )
        launching.validate(source)
    minimum = given["MinSize"] if given.get("MinSize") is not None else group.minimum
    maximum = given["MaxSize"] if given.get("MaxSize") is not None else group.maximum
    desired = given.get("DesiredCapacity")
    if desired is None:
        desired = min(max(group.desired, minimum), maximum)
    _check_sizes(minimum, maximum, desired)
    if given.get("VPCZoneIdentifier") or given.get("AvailabilityZones"):
        group.zones, group.subnets = _places(given)
    group.minimum, group.maximum = minimum, maximum
    if desired != group.desired:
        group.story = (
            f"At {clock.text(clock.now())} a user request update of AutoScalingGroup constraints to min: {minimum}, "
            f"max: {maximum}, desired: {desired} changing the desired capacity from {group.desired} to {desired}.  "
        )
        group.desired = desired
    if source is not None:
        group.source = source
        group.failures = 0
    if given.get("HealthCheckType"):
        group.health_check_type = given["HealthCheckType"]
    if given.get("HealthCheckGracePeriod") is not None:
        group.grace = given["HealthCheckGracePeriod"]
    if given.get("DefaultInstanceWarmup") is not None:
        group.default_warmup = given["DefaultInstanceWarmup"] if given["DefaultInstanceWarmup"] >= 0 else None
    if given.get("NewInstancesProtectedFromScaleIn") is not None:
        group.protect_new = given["NewInstancesProtectedFromScaleIn"]
    group.given |= {n: given[n] for n in _GIVEN if given.get(n) is not None}
    engine.settle(group)
    return {}


@operation("autoscaling", "DeleteAutoScalingGroup")
def delete_group(request: AwsRequest) -> dict[str, Any]:
    group = find(request.parameters["AutoScalingGroupName"])
    if not request.parameters.get("ForceDelete"):
        if group.members:
            raise AwsError(
                "ResourceInUse",
                "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) "
                "still in the group.",
            )
        if any(a.ended is None for a in group.activities):
            raise AwsError("ScalingActivityInProgress", "You cannot delete an AutoScalingGroup while there are "
                           "scaling activities in progress for that group.")
    # AWS takes minutes over it ("Delete in progress"); here the members go at once.
    for member in (*group.members, *group.pool):
        for arn in group.target_groups:
            health.deregister(arn, member.instance)
        member.instance.terminate()
    for activity in group.activities:
        if activity.ended is None:
            activity.finish("Successful")
    del groups()[group.name]
    group.deleted = True
    return {}


@operation("autoscaling", "SetDesiredCapacity")
def set_desired_capacity(request: AwsRequest) -> dict[str, Any]:
    group, desired = find(request.parameters["AutoScalingGroupName"]), request.parameters["DesiredCapacity"]
    if desired > group.maximum:
        raise invalid(f"New SetDesiredCapacity value {desired} is above max value {group.maximum} for the "
                      "AutoScalingGroup.")
    if desired < group.minimum:
        raise invalid(f"New SetDesiredCapacity value {desired} is below min value {group.minimum} for the "
                      "AutoScalingGroup.")
    if desired != group.desired:
        group.story = (
            f"At {clock.text(clock.now())} a user request explicitly set group desired capacity changing the desired "
            f"capacity from {group.desired} to {desired}.  "
        )
        group.desired = desired
        group.failures = 0
    engine.settle(group)
    return {}


def _processes(request: AwsRequest) -> list[str]:
    named = request.parameters.get("ScalingProcesses") or list(PROCESSES)
    if unknown := [name for name in named if name not in PROCESSES]:
        raise invalid(f"{unknown[0]} is not a recognized Auto Scaling process.")  # (assumed)
    return named


@operation("autoscaling", "SuspendProcesses")
def suspend_processes(request: AwsRequest) -> dict[str, Any]:
    group = find(request.parameters["AutoScalingGroupName"])
    for name in _processes(request):
        reason = f"User suspended at {clock.text(clock.now())}"
        group.suspended.setdefault(name, reason)
    return {}


@operation("autoscaling", "ResumeProcesses")
def resume_processes(request: AwsRequest) -> dict[str, Any]:
    group = find(request.parameters["AutoScalingGroupName"])
    for name in _processes(request):
        group.suspended.pop(name, None)
    engine.settle(group)
    return {}


@operation("autoscaling", "CreateOrUpdateTags")
def create_or_update_tags(request: AwsRequest) -> dict[str, Any]:
    """All or none."""
    given = request.parameters.get("Tags") or []
    for tag in given:
        _check_tag(tag)
    for tag in given:
        group = find(tag["ResourceId"])
        kept = [t for t in group.tags if t["Key"] != tag["Key"]]
        if len(kept) >= 50:
            raise AwsError("LimitExceeded", "The number of tags exceeds the limit of 50 per resource.")  # (assumed)
        new = {"Key": tag["Key"], "Value": tag.get("Value") or ""}
        group.tags = [*kept, new | {"PropagateAtLaunch": bool(tag.get("PropagateAtLaunch"))}]
    return {}


def _check_tag(tag: dict[str, Any]) -> None:
    group = groups().get(tag.get("ResourceId") or "")
    if tag.get("ResourceType", "auto-scaling-group") != "auto-scaling-group":
        raise invalid(f"Invalid resource type: {tag['ResourceType']}")  # (assumed)
    if group is None:
        raise invalid(f"AutoScalingGroup not found - AutoScaling Group {tag.get('ResourceId')} not found")
    if not 1 <= len(tag["Key"]) <= 128 or len(tag.get("Value") or "") > 256:
        raise invalid("Tag keys have 1 to 128 characters, values at most 256.")  # (assumed)
    if tag["Key"].lower().startswith("aws:"):
        raise invalid("Invalid request, aws: prefixed tag key names are not allowed for external use")


@operation("autoscaling", "DeleteTags")
def delete_tags(request: AwsRequest) -> dict[str, Any]:
    for tag in request.parameters.get("Tags") or []:
        _check_tag(tag)
        group = find(tag["ResourceId"])
        group.tags = [
            t
            for t in group.tags
            if t["Key"] != tag["Key"] or (tag.get("Value") not in (None, "", t.get("Value")))
        ]
    return {}
