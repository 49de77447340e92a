"""Settings of the running emulator: read at call time, changed by PATCH /_emulator/settings, restored by reset."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import Any


@dataclass
class SnapshotError:
    """Makes the next snapshots of a volume (of any volume, without an id) end in the state `error`."""

    message: str = "Client error occurred: the KMS key is not accessible (Client.InvalidKMSKey.NotFound)"
    volume_id: str | None = None
    count: int = 1


@dataclass
class VolumeFault:
    """What becomes of the next volumes from a snapshot (from any, without an id): they end in `error`, stay `creating`, or
    vanish, as those do whose KMS key can't be used (EBS-25)."""

    becomes: str = "error"
    snapshot_id: str | None = None
    count: int = 1


@dataclass
class CapacityShortage:
    """Auto Scaling's launches that fail because EC2 has no capacity; without a count for as long as it is set."""

    instance_type: str | None = None
    availability_zone: str | None = None
    count: int | None = None
    message: str | None = None


@dataclass
class Settings:
    # EC2
    snapshot_pending_seconds: float = 1.0
    """How long a new snapshot stays `pending`."""
    snapshot_visibility_delay_seconds: float = 0.0
    """How long DescribeSnapshots doesn't show a new snapshot yet: EC2's eventual consistency."""
    snapshot_errors: list[SnapshotError] = field(default_factory=list)
    """Snapshots that fail on purpose; each use counts `count` down."""
    volume_creating_seconds: float = 0.0
    """How long a new volume stays `creating`."""
    volume_faults: list[VolumeFault] = field(default_factory=list)
    """Volumes from snapshots that aren't made as they should; each use counts `count` down."""
    block_token_seconds: float = 604800.0
    """How long the tokens of ListSnapshotBlocks hold (EBS-21)."""
    instance_transition_seconds: float = 0.0
    """How long an instance stays in pending, stopping and shutting-down."""
    instance_visibility_delay_seconds: float = 0.0
    """How long EC2 doesn't know a new instance yet: eventual consistency, though its events may have come."""
    security_group_visibility_delay_seconds: float = 0.0
    """How long EC2 doesn't know a new security group yet."""
    instance_event_delay_seconds: float = 0.0
    """How long after a new state of an instance its event comes; CloudTrail's may come before or after it."""
    status_initializing_seconds: float = 0.0
    """How long the status checks of a started instance are `initializing`."""
    association_timestamps: bool = False
    """Whether DescribeIamInstanceProfileAssociations tells since when; AWS's own examples don't have it."""
    hub: bool = False
    """Whether a private hosted zone gives the services' names the addresses of endpoints in a hub VPC, 10.2.0.0/16,
    wherever no endpoint of the VPC has them; a transit gateway or peering leads there. Neither is seen from here."""
    transit_leads_out: bool = False
    """Whether a transit gateway or VPN leads to the internet, which nothing in the VPC tells (SSM-7)."""

    # CloudTrail
    cloudtrail_events: bool = True
    """Whether there is a trail, so that calls are events on the bus. LookupEvents needs none."""
    cloudtrail_event_delay_seconds: float = 0.0
    """How long after a call its event comes."""
    cloudtrail_lookup_delay_seconds: float = 0.0
    """How long LookupEvents doesn't know a call yet; in AWS up to 15 minutes, typically 5."""
    lookup_events_per_second: int = 0
    """Calls of LookupEvents that aren't throttled; 0: all. AWS allows 2."""

    # Systems Manager
    agent_time_scale: float = 1.0
    """Factor on the agent's waits: 20 s after boot, 25 to 30 minutes without credentials, 5 to 60 without a network."""

    # Auto Scaling
    autoscaling_time_scale: float = 1.0
    """Factor on all of Auto Scaling's waits: boot, health checks, warm-up, checkpoints, the hour without progress."""
    insufficient_capacity: list[CapacityShortage] = field(default_factory=list)
    """Launches of groups that EC2 has no capacity for."""

    # Lambda
    async_retry_scale: float = 1.0
    """Factor on Lambda's waits between asynchronous attempts (60 s, then 120 s)."""
    concurrency_limit: int = 1000
    """Concurrent executions of the account; above it, Invoke answers TooManyRequestsException."""

    # IAM
    organization_denies_without_region: bool = False
    """Whether the organization has a Region lock. The simulation doesn't know its conditions, and says no (SSM-12);
    real requests come from the right Region."""
    instance_profile_visibility_delay_seconds: float = 0.0
    """How long EC2 doesn't know a new instance profile (SSM-2)."""
    enforce_role_policies: bool = True
    """Whether a function may do only what its role allows."""

    # DynamoDB
    table_staleness_seconds: float = 1.0
    """How long a read without ConsistentRead doesn't show a write yet (DDB-2)."""

    # SNS
    subscribers_confirm: bool = False
    """Whether whoever is subscribed by mail, or at a web address, confirms it at once."""

    # Scheduler
    schedules_fire: bool = True
    """Whether schedules fire by the clock. The control API can fire them in any case."""

    def update(self, changes: dict[str, Any]) -> None:
        """All or nothing: an unknown name or a value of the wrong type changes nothing."""
        hints = typing.get_type_hints(Settings)
        parsed = {}
        for name, value in changes.items():
            if name not in hints:
                raise ValueError(f"unknown setting {name!r}; known: {', '.join(sorted(hints))}")
            parsed[name] = _parse(name, hints[name], value)
        for name, value in parsed.items():
            setattr(self, name, value)

    def reset(self) -> None:
        for name, value in vars(Settings()).items():
            setattr(self, name, value)

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def _parse(name: str, kind: Any, value: Any) -> Any:
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(value)
    if kind is int and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if kind is str and isinstance(value, str):
        return value
    if kind is bool and isinstance(value, bool):
        return value
    if typing.get_origin(kind) is list and isinstance(value, list):
        (item,) = typing.get_args(kind)
        try:
            return [item(**entry) for entry in value]
        except TypeError as error:
            raise ValueError(f"setting {name!r}: {error}") from error
    raise ValueError(f"setting {name!r}: expected {getattr(kind, '__name__', kind)} of at least 0, got {value!r}")


settings = Settings()
