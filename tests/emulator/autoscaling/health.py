"""What runs on an instance after boot, and what status checks and load balancers see of it.

An AMI's behaviour is set by POST autoscaling/images; instances of other AMIs serve well as soon as they run. What an
instance pulled from ECR is decided when it boots, so a tag that moves later changes only the instances to come.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from moto.core.utils import utcnow
from moto.elbv2.models import ELBv2Backend, FakeHealthStatus, FakeTargetGroup, elbv2_backends

from emulator import ecr
from emulator.autoscaling import clock
from emulator.autoscaling.model import ec2
from emulator.context import context
from emulator.control import on_reset
from emulator.ec2 import instances, status
from emulator.patching import patched

REGISTRATION = 10.0
"""Seconds until a new target has passed its first health checks (the interval and threshold are shortened)."""
DRAINING = 20.0
"""Seconds that a target drains; AWS waits for open connections, at most the group's delay of 300 s."""


@dataclass
class Behaviour:
    image_id: str
    healthy: bool = True
    after: float = 0.0
    check: str = "elb"
    """Who sees that it is broken: only the load balancer, or EC2's instance check too."""
    pulls: str | None = None
    good: list[str] | None = None


@dataclass
class Boot:
    """What became of one boot."""

    at: float = field(default_factory=clock.now)
    pulled: str | None = None


behaviours: list[Behaviour] = []
"""The newest first: it holds."""
overrides: dict[str, tuple[bool, str]] = {}
"""Instance id → whether it serves, whatever its AMI, and which check sees it."""
_boots: dict[str, Boot] = {}
_registered: dict[tuple[str, str], float] = {}
_draining: dict[tuple[str, str], float] = {}


@on_reset
def _reset() -> None:
    for kept in (behaviours, overrides, _boots, _registered, _draining):
        kept.clear()


def behaviour_of(instance: Any) -> Behaviour | None:
    return next((b for b in behaviours if b.image_id == instance.image_id), None)


def _on_state(instance: Any, state: str) -> None:
    if state not in ("running", "rebooted"):
        return
    boot = _boots[instance.id] = Boot()
    _pull(instance, boot)


def _pull(instance: Any, boot: Boot) -> None:
    behaviour = behaviour_of(instance)
    if behaviour and behaviour.pulls and boot.pulled is None:
        repository, _, tag = behaviour.pulls.partition(":")
        boot.pulled = ecr.digest(repository, tag or "latest")


instances.listeners.append(_on_state)


def behave(behaviour: Behaviour) -> None:
    """A behaviour that holds from now on. Instances that run already have pulled what the tag means now."""
    behaviours.insert(0, behaviour)
    for instance_id, boot in _boots.items():
        instance = ec2().get_instance_by_id(instance_id)
        if instance is not None and instance.state == "running":
            _pull(instance, boot)


def pulled(instance: Any) -> str | None:
    boot = _boots.get(instance.id)
    return boot.pulled if boot else None


def serves(instance: Any) -> tuple[bool, str]:
    """Whether what should run on the instance works now, and which check sees that: elb or ec2."""
    if instance.id in overrides:
        return overrides[instance.id]
    behaviour, boot = behaviour_of(instance), _boots.get(instance.id)
    if boot is None or behaviour is None:
        return True, "elb"
    ends_well = behaviour.healthy
    if behaviour.pulls:
        if boot.pulled is None:
            return False, behaviour.check  # nothing to run
        if behaviour.good is not None:
            ends_well = boot.pulled in behaviour.good
    # `after`: until then it is the other way round, either still starting or not broken yet.
    return ends_well if clock.over(boot.at, behaviour.after) else not ends_well, behaviour.check


def see(instance: Any) -> None:
    """Let EC2's instance check see an instance that is broken so badly; settings by hand stay."""
    works, check = serves(instance)
    given = instance.__dict__.setdefault("_checks", {})
    if check == "ec2" and not works and given.get("instance", "ok") == "ok":
        given["instance"], given["instance_since"], given["by_behaviour"] = "impaired", utcnow(), True
    elif works and given.pop("by_behaviour", False):
        given["instance"] = "ok"


def ec2_fault(instance: Any) -> str | None:
    """What EC2's health check finds, in the words of an activity's cause."""
    if instance.state not in ("pending", "running"):
        return "an EC2 health check indicating it has been terminated or stopped"
    return None


def status_fault(instance: Any) -> str | None:
    see(instance)
    system, own = status.checks(instance)
    return "an EC2 instance status checks failure" if "impaired" in (system, own) else None


# Target groups


def elbv2() -> ELBv2Backend:
    return elbv2_backends[context.account_id][context.region]


def register(target_group_arn: str, instance: Any) -> None:
    group = elbv2().target_groups.get(target_group_arn)
    if group is not None and instance.state == "running":
        group.register([{"Id": instance.id, "Port": group.port}])


def deregister(target_group_arn: str, instance: Any) -> None:
    group = elbv2().target_groups.get(target_group_arn)
    if group is not None and instance.id in group.targets:
        group.deregister([{"Id": instance.id}])


def target_fault(target_group_arn: str, instance: Any) -> bool:
    """Whether the load balancer finds an instance unhealthy."""
    group = elbv2().target_groups.get(target_group_arn)
    return group is not None and instance.id in group.targets and _state(group, instance)[0] == "unhealthy"


@patched(FakeTargetGroup, "register")
def _register(original: Any, self: Any, targets: list[dict[str, Any]]) -> None:
    new = [t["Id"] for t in targets if t["Id"] not in self.targets]
    original(self, targets)
    for target in new:
        _registered[self.arn, target] = clock.now()
        _draining.pop((self.arn, target), None)


@patched(FakeTargetGroup, "deregister")
def _deregister(original: Any, self: Any, targets: list[dict[str, Any]]) -> None:
    original(self, targets)
    for target in targets:
        _draining[self.arn, target["Id"]] = clock.now()


def _state(group: Any, instance: Any) -> tuple[str, str | None, str | None]:
    """State, reason and description of a registered target."""
    if not group.load_balancer_arns:
        return "unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer"
    if instance.state != "running":
        return "unused", "Target.InvalidState", f"Target is in the {instance.state} state"
    if not clock.over(_registered.get((group.arn, instance.id), 0.0), REGISTRATION):
        return "initial", "Elb.RegistrationInProgress", "Target registration is in progress"
    if serves(instance)[0]:
        return "healthy", None, None
    return "unhealthy", "Target.FailedHealthChecks", "Health checks failed"


@patched(FakeTargetGroup)
def health_for(original: Any, self: Any, target: dict[str, Any], ec2_backend: Any) -> Any:
    """moto finds every running target healthy from the start."""
    instance = ec2().get_instance_by_id(target["Id"])
    known = self.targets.get(target["Id"])
    if instance is None:
        return original(self, target, ec2_backend)
    if known is None:
        since = _draining.get((self.arn, instance.id))
        if since is not None and not clock.over(since, DRAINING):
            state = ("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
        else:
            state = ("unused", "Target.NotRegistered", "Target is not registered to the target group")
        return FakeHealthStatus(instance.id, target.get("Port", self.port), self.health_check_port, *state)
    return FakeHealthStatus(instance.id, known["Port"], self.health_check_port, *_state(self, instance))


@patched(ELBv2Backend)
def describe_target_health(original: Any, self: Any, target_group_arn: str, targets: list[dict[str, Any]]) -> Any:
    """Without named targets AWS also answers those that are draining."""
    found = original(self, target_group_arn, targets)
    if not targets:
        group = self.target_groups[target_group_arn]
        leaving = [i for (arn, i), at in _draining.items() if arn == group.arn and not clock.over(at, DRAINING)]
        found += [group.health_for({"Id": i}, self.ec2_backend) for i in leaving if i not in group.targets]
    return found
