"""The guardrails of the stack: what the tests must know of each beside its name.

A new guardrail is one more entry here, its cases in role_cases.py, and its events in tests/events.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path

import rust_scan
import samstack


@dataclass(frozen=True)
class Guardrail:
    """A function with its role, log group, schedule, rule and alarms."""

    name: str
    """As in its folder, its function's name and its metrics, such as `snapshot-volumes`."""
    event: str
    """Its event in the template that isn't the sweep."""
    starts: frozenset[str]
    """Fixtures of the events that start it; all others are near misses."""
    near_misses: tuple[dict, ...] = field(hash=False)
    """Changes to those events, after which they must not start it."""
    finding_alarm: str
    """The alarm on what stands against the policy."""
    sweep_metric: tuple[str, str, str]
    """Namespace, name and statistic of the metric that tells that sweeps come."""
    unnamed_actions: frozenset[str] = frozenset()
    """Called, but not named for error messages: a failure only leaves something out."""
    others_actions: frozenset[str] = frozenset()
    """Named, but not called: what others, such as the agent, need."""
    parameters: dict[str, str] = field(default_factory=dict, hash=False)
    """Parameters of the stack with which the role allows all that the code can do."""

    @property
    def logical(self) -> str:
        """What its logical ids begin with, such as `SnapshotVolumes`."""
        return "".join(word.title() for word in self.name.split("-"))

    @property
    def function(self) -> str:
        return f"{self.logical}Function"

    @property
    def role(self) -> str:
        return f"{self.logical}Role"

    @property
    def rule(self) -> str:
        return f"{self.function}{self.event}"

    @property
    def sweep(self) -> str:
        return f"{self.function}Sweep"

    @property
    def folder(self) -> Path:
        return samstack.ROOT / "functions" / self.name

    @functools.cache
    def scan(self) -> rust_scan.Scan:
        """What its binary does: its own sources and the shared ones."""
        return rust_scan.scan_folders(samstack.ROOT / "shared/src", self.folder / "src")


GUARDRAILS = [
    Guardrail(
        name="snapshot-volumes",
        event="SnapshotFailed",
        starts=frozenset({"create-snapshot-failed.json", "create-snapshots-failed.json"}),
        near_misses=(
            {"source": "aws.ecs"},
            {"source": "com.example.ec2"},
            {"detail-type": "EBS Volume Notification"},
            {"detail": {"result": "succeeded"}},
            {"detail": {"event": "copySnapshot"}},
            {"detail": {"event": "deleteSnapshot"}},
        ),
        finding_alarm="VolumesStaleAlarm",
        sweep_metric=("AWS/Lambda", "Invocations", "Sum"),
    ),
    Guardrail(
        name="attach-ssm-role",
        event="InstanceRunning",
        starts=frozenset({"instance-state-running.json"}),
        near_misses=(
            {"source": "aws.autoscaling"},
            {"source": "com.example.ec2"},
            {"detail-type": "EC2 Instance Launch Successful"},
            {"detail-type": "EC2 Instance State-change"},
            # What an instance can't get a profile in, or no longer needs one in.
            {"detail": {"state": "pending"}},
            {"detail": {"state": "stopping"}},
            {"detail": {"state": "stopped"}},
            {"detail": {"state": "shutting-down"}},
            {"detail": {"state": "terminated"}},
        ),
        finding_alarm="InstancesUnmanagedAlarm",
        # Events invoke it often, which would hide that sweeps don't come.
        sweep_metric=("Ec2Guardrails", "Considered", "SampleCount"),
        others_actions=frozenset({"ssm:UpdateInstanceInformation"}),
        parameters={"RepairRoles": "true"},
    ),
]
