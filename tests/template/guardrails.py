"""The guardrails of the stack: what the tests must know of each beside its name.

A new guardrail is one more entry here, its cases in role_cases.py, and its events in tests/events.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import rust_scan
import samstack

REPOSITORY = f"arn:aws:ecr:{samstack.REGION}:{samstack.ACCOUNT}:repository/shop"
GOLDEN = f"arn:aws:ssm:{samstack.REGION}:{samstack.ACCOUNT}:parameter/golden/*"
COPY_KEY = f"arn:aws:kms:us-east-1:{samstack.ACCOUNT}:key/1a2b3c4d-5e6f-4a1b-8c2d-3e4f5a6b7c8d"
WEB_ROLE = f"arn:aws:iam::{samstack.ACCOUNT}:role/web"
FINDINGS_BUS = f"arn:aws:events:{samstack.REGION}:210987654321:event-bus/findings"

# Labels, written by shared code: for those guardrails only that have any.
LABELLING = frozenset({"autoscaling:CreateOrUpdateTags", "autoscaling:DeleteTags", "ec2:CreateTags", "ec2:DeleteTags"})


@dataclass(frozen=True)
class Rule:
    """An EventBridge rule that starts a function."""

    event: str
    """Its event in the template."""
    starts: frozenset[str]
    """Fixtures of the events that it is for; all others are near misses."""
    near_misses: tuple[dict, ...] = field(hash=False)
    """Changes to those events, after which they must not start the function."""


@dataclass(frozen=True)
class Guardrail:
    """A function with its role, log group, schedule, rules and alarms."""

    name: str
    """As in its folder, its function's name and its metrics, such as `snapshot-volumes`."""
    rules: tuple[Rule, ...]
    finding_alarms: frozenset[str] = frozenset()
    """The alarms on what stands against the policy, until it is put right."""
    event_alarms: frozenset[str] = frozenset()
    """The alarms on what has happened."""
    schedule: str = "SweepSchedule"
    """The parameter with the interval of its sweeps."""
    unnamed_actions: frozenset[str] = frozenset()
    """Called, but not named for error messages: a failure only leaves something out."""
    others_actions: frozenset[str] = frozenset()
    """Named, but not called: what others, such as the agent, need."""
    shared_only: frozenset[str] = frozenset()
    """Called by the shared code, but for resources that this guardrail has nothing to do with."""
    delegated: frozenset[str] = frozenset()
    """Called by an AWS service with the role's rights."""
    parameters: dict[str, str] = field(default_factory=dict, hash=False)
    """Parameters of the stack with which the role allows all that the code can do."""
    rule_parameters: dict[str, str] = field(default_factory=dict, hash=False)
    """Parameters of the stack with which all of its rules start it."""

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

    def rule(self, rule: Rule) -> str:
        """The logical id of one of its rules."""
        return f"{self.function}{rule.event}"

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

    @functools.cache
    def sources(self) -> str:
        """All that its binary is made of, as text."""
        folders = (samstack.ROOT / "shared/src", self.folder / "src")
        return "\n".join(path.read_text() for folder in folders for path in sorted(folder.rglob("*.rs")))


GUARDRAILS = [
    Guardrail(
        name="snapshot-volumes",
        rules=(
            Rule(
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
            ),
        ),
        finding_alarms=frozenset({"VolumesStaleAlarm"}),
        # Groups and profiles are others' matter. Its own tags are given at creation.
        shared_only=LABELLING | {"autoscaling:DescribeAutoScalingGroups", "ec2:DescribeIamInstanceProfileAssociations"},
        parameters={"CopyRegions": "us-east-1", "CopyKeyArns": COPY_KEY, "RestoreDrills": "true"},
        delegated=frozenset(
            {
                "kms:CreateGrant",
                "kms:Decrypt",
                "kms:DescribeKey",
                "kms:GenerateDataKeyWithoutPlaintext",
                "kms:ReEncryptFrom",
                "kms:ReEncryptTo",
            }
        ),
    ),
    Guardrail(
        name="attach-ssm-role",
        rules=(
            Rule(
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
            ),
        ),
        finding_alarms=frozenset({"InstancesUnmanagedAlarm"}),
        # And two condition keys, which look like actions.
        others_actions=frozenset(
            {
                "ssm:UpdateInstanceInformation",
                "ec2:SourceInstanceARN",
                "ssm:SourceInstanceARN",
                # Of the agent, when a session begins and ends.
                "kms:Decrypt",
                "logs:CreateLogStream",
                "logs:PutLogEvents",
            }
        ),
        shared_only=LABELLING,
        parameters={"RepairRoles": "true"},
    ),
    Guardrail(
        name="cancel-refresh",
        rules=(
            Rule(
                event="GroupActivity",
                starts=frozenset(
                    {
                        "instance-refresh-started.json",
                        "instance-refresh-checkpoint-reached.json",
                        "instance-refresh-started-baking.json",
                        "instance-refresh-succeeded.json",
                        "instance-refresh-failed.json",
                        "instance-refresh-cancelled.json",
                        "instance-refresh-rollback-started.json",
                        "instance-refresh-rollback-succeeded.json",
                        "instance-refresh-rollback-failed.json",
                        "launch-unsuccessful.json",
                        "terminate-successful.json",
                    }
                ),
                near_misses=(
                    {"source": "aws.ec2"},
                    {"source": "com.example.autoscaling"},
                    {"detail-type": "EC2 Auto Scaling Instance Refresh"},
                    {"detail-type": "EC2 Instance Launch Successful"},
                    {"detail-type": "EC2 Instance Terminate Unsuccessful"},
                    {"detail-type": "EC2 Instance-launch Lifecycle Action"},
                    {"detail-type": "AWS API Call via CloudTrail"},
                ),
            ),
            Rule(
                event="AlarmRaised",
                starts=frozenset({"alarm-to-alarm.json", "composite-alarm-to-alarm.json"}),
                near_misses=(
                    {"source": "com.example.cloudwatch"},
                    {"detail-type": "CloudWatch Alarm Configuration Change"},
                    {"detail": {"state": {"value": "OK"}}},
                    {"detail": {"state": {"value": "INSUFFICIENT_DATA"}}},
                ),
            ),
        ),
        event_alarms=frozenset({"RefreshesStoppedAlarm", "RefreshMismatchAlarm"}),
        schedule="RefreshSweepSchedule",
        # AMIs and profiles are others' matter.
        shared_only=LABELLING | {"ec2:DescribeIamInstanceProfileAssociations", "ec2:DescribeImages"},
        parameters={"ImageRepositoryArns": f"{REPOSITORY},{REPOSITORY}-api"},
        # Alarms start it only where their names are given.
        rule_parameters={"RefreshAlarmPrefix": "web-"},
    ),
    Guardrail(
        name="quarantine-launch",
        rules=(
            Rule(
                event="InstancesRun",
                starts=frozenset({"run-instances.json", "run-instances-by-auto-scaling.json"}),
                near_misses=(
                    {"source": "aws.autoscaling"},
                    {"source": "com.example.ec2"},
                    {"detail-type": "AWS Service Event via CloudTrail"},
                    {"detail-type": "AWS Insight via CloudTrail"},
                    {"detail": {"eventName": "StartInstances"}},
                    {"detail": {"eventName": "CreateFleet"}},
                    {"detail": {"eventSource": "autoscaling.amazonaws.com"}},
                    {"detail": {"errorCode": "Client.DryRunOperation"}},
                    {"detail": {"errorCode": "Server.InsufficientInstanceCapacity"}},
                ),
            ),
            Rule(
                event="InstanceStarting",
                starts=frozenset({"instance-state-pending.json", "instance-state-running.json"}),
                near_misses=(
                    {"source": "aws.autoscaling"},
                    {"detail-type": "EC2 Instance Launch Successful"},
                    {"detail": {"state": "stopping"}},
                    {"detail": {"state": "stopped"}},
                    {"detail": {"state": "shutting-down"}},
                    {"detail": {"state": "terminated"}},
                ),
            ),
        ),
        finding_alarms=frozenset({"InstancesQuarantinedAlarm", "InstancesPartlyIsolatedAlarm", "LoopsBrokenAlarm"}),
        schedule="LaunchSweepSchedule",
        parameters={
            "ImageParameterArns": GOLDEN,
            "QuarantineTakesProfiles": "true",
            "RestoreProfileRoleArns": WEB_ROLE,
            "QuarantineStops": "true",
        },
    ),
]
each_guardrail = pytest.mark.parametrize("guardrail", GUARDRAILS, ids=lambda guardrail: guardrail.name)
PARAMETERS = {name: value for guardrail in GUARDRAILS for name, value in guardrail.parameters.items()}
"""Every parameter that adds to a role."""
