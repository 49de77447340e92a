"""Writes template.yaml beside it: what the parameter Monitoring=full adds to the stack, as a nested one.

    python monitoring/generate.py     (`make monitoring`)

Alarms and dashboard of the four guardrails differ in names, words and colours, so those stand in tables here, and
what they have in common stands once. CloudFormation has no loops that stack sets would take.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TEMPLATE = Path(__file__).parent / "template.yaml"
NAMESPACE = "Ec2Guardrails"
GREEN, RED, ORANGE, GREY, BLUE, VIOLET = "#2ca02c", "#d62728", "#ff7f0e", "#7f7f7f", "#1f77b4", "#9467bd"

HEAD = """\
# Written by `make monitoring` from generate.py, which says why each thing is as it is: change that.
# The nested stack that the parameter Monitoring=full adds. Each alarm means that somebody has to do something, and its
# description says what. No OKActions: they would send a mail for each alarm when the stack is first deployed.
"""


@dataclass(frozen=True)
class Finding:
    """An alarm on a number of a guardrail's own."""

    logical: str
    name: str
    metric: str
    text: str
    happened: bool = False
    """Counted when it happens, so that the alarm comes at once and ends by itself; or else as of the last sweep."""


@dataclass(frozen=True, eq=False)
class Guardrail:
    name: str
    schedule: str
    failed: str
    """What a failed run may mean, and after the log what else there is to look at."""
    failed_hint: str
    missing: str
    slow: str
    slow_hint: str
    findings: tuple[Finding, ...]
    title: str
    shown: tuple[Any, ...]
    """Lines of the widget that shows how things stand."""
    window: int = 1800
    """Seconds in which two sweeps fall, at the longest interval that the schedule's parameter allows."""
    span: str = "half an hour"

    @property
    def logical(self) -> str:
        return "".join(word.title() for word in self.name.split("-"))

    @property
    def function(self) -> str:
        return "${Prefix}-" + self.name

    @property
    def longest(self) -> int:
        """The longest interval between its sweeps, so that each period of this length holds one."""
        return self.window // 2


def invoke(name: str, payload: str) -> str:
    return (
        f"  aws lambda invoke --region ${{AWS::Region}} --function-name ${{Prefix}}-{name} --qualifier operator "
        f"--cli-binary-format raw-in-base64-out --payload '{payload}' /dev/stdout"
    )


def line(metric: str, name: str, label: str, colour: str, **more: Any) -> list[Any]:
    return [NAMESPACE, metric, "Guardrail", name, {"label": f"{label}: ${{!LAST}}", "color": colour, **more}]


GUARDRAILS = (
    Guardrail(
        name="snapshot-volumes",
        schedule="SweepSchedule",
        window=3600,
        span="an hour",
        failed="some volumes may have no new snapshot, or old snapshots weren't pruned",
        failed_hint="A missing permission is named there.",
        missing="no snapshots are made and none are pruned",
        slow="the sweeps may no longer keep up with the schedule",
        slow_hint="Look for throttling by EC2 (RequestLimitExceeded: other tools use up the same limits, or ask AWS to "
        "raise them); spread plans over several hours;",
        findings=(
            Finding(
                "VolumesStaleAlarm",
                "volumes-stale",
                "VolumesStale",
                "Volumes that a plan selects have had no completed snapshot for longer than the plan's schedule and its "
                "grace allow.\n"
                "What to do: the notice in this mailbox names the volumes and the reason; so does\n"
                "  aws logs tail /aws/lambda/${Prefix}-snapshot-volumes --region ${AWS::Region} --since 1h\n"
                "Common reasons: the KMS key of the volume is disabled, a quota on snapshots is used up, or the role "
                "lacks a permission.",
            ),
        ),
        title="Volumes: protected and not",
        shown=(
            [{"expression": "selected - stale", "id": "protected", "label": "protected: ${!LAST}", "color": GREEN}],
            [NAMESPACE, "VolumesSelected", "Guardrail", "snapshot-volumes", {"id": "selected", "visible": False}],
            line("VolumesStale", "snapshot-volumes", "without a fresh snapshot", RED, id="stale"),
            line("VolumesFailing", "snapshot-volumes", "latest snapshot failed", ORANGE),
            line("VolumesUnselected", "snapshot-volumes", "in no plan", GREY),
            [
                {
                    "expression": "age / 3600",
                    "id": "hours",
                    "label": "oldest protection, in hours (right): ${!LAST}",
                    "color": VIOLET,
                    "yAxis": "right",
                }
            ],
            [NAMESPACE, "OldestSnapshotAgeSeconds", "Guardrail", "snapshot-volumes", {"id": "age", "visible": False}],
        ),
    ),
    Guardrail(
        name="attach-ssm-role",
        schedule="SweepSchedule",
        window=3600,
        span="an hour",
        failed="some instances may have no profile",
        failed_hint="A missing permission is named there. If iam:PassRole is refused, the profile's role isn't the one "
        "that the stack's parameter InstanceRoleName names.",
        missing="nobody checks that instances are managed nodes",
        slow="new instances may wait long for their profile",
        slow_hint="Look for throttling by EC2, IAM or Systems Manager (other tools use up the same limits, or ask AWS to "
        "raise them);",
        findings=(
            Finding(
                "InstancesUnmanagedAlarm",
                "instances-unmanaged",
                "InstancesUnmanaged",
                "Running instances have an instance profile and still aren't managed nodes, though the policy's "
                "online-within has passed: Session Manager and Run Command don't reach them.\n"
                "What to do: the notice in this mailbox names the instances, the cause and the fix. For the full diagnosis "
                "of one:\n"
                + invoke("attach-ssm-role", '{"trigger": "command", "command": "diagnose", "instance-id": "i-..."}')
                + "\nAn instance that needs no Session Manager: exclude it by the tag that the policy names.",
            ),
        ),
        title="Instances: managed and not",
        shown=(
            line("InstancesManaged", "attach-ssm-role", "managed nodes", GREEN),
            line("InstancesUnmanaged", "attach-ssm-role", "not managed, though they have a profile", RED),
            line("InstancesWithoutProfile", "attach-ssm-role", "without a profile", ORANGE),
            line("InstancesWaiting", "attach-ssm-role", "may still come Online", BLUE),
            line("InstancesLeftAlone", "attach-ssm-role", "left alone", GREY),
        ),
    ),
    Guardrail(
        name="cancel-refresh",
        schedule="RefreshSweepSchedule",
        failed="a refresh that fails may not have been stopped",
        failed_hint="A missing permission is named there. If ecr:PutImage is refused, the repository isn't among those of "
        "the stack's parameter ImageRepositoryArns.",
        missing="a refresh that fails is seen only where an event tells of it",
        slow="sweeps may come too late to stop a refresh that fails",
        slow_hint="Look for throttling by EC2 Auto Scaling (other tools use up the same limits, or ask AWS to raise them); "
        "give the parameter RefreshSweepSchedule a longer interval;",
        findings=(
            Finding(
                "RefreshesStoppedAlarm",
                "refreshes-stopped",
                "RefreshesStopped",
                "An instance refresh was failing, and cancel-refresh cancelled it or rolled it back.\n"
                "What to do: the notice in this mailbox names the group, the evidence, what was done and which versions "
                "its instances have now; so does\n"
                + invoke("cancel-refresh", '{"trigger": "command", "command": "explain", "group": "..."}')
                + "\nCorrect the launch template or the image, then start the refresh again. A cancelled refresh keeps "
                "the instances that it had replaced.",
                happened=True,
            ),
            Finding(
                "RefreshMismatchAlarm",
                "refresh-mismatch",
                "Mismatches",
                "AWS stopped another instance refresh than the one that cancel-refresh had looked at: somebody started a "
                "new one at the same moment, and it may have been a good one.\n"
                "What to do: the notice in this mailbox names the group and both refreshes. See their states\n"
                "  aws autoscaling describe-instance-refreshes --region ${AWS::Region} --auto-scaling-group-name ...\n"
                "and start the new one again if it was good.",
                happened=True,
            ),
        ),
        title="Instance refreshes: watched and stopped",
        shown=(
            line("RefreshesWatched", "cancel-refresh", "under way", BLUE),
            line("RefreshesFailing", "cancel-refresh", "judged failing", ORANGE),
            line("RefreshesStopped", "cancel-refresh", "stopped", RED, stat="Sum"),
            line("Mismatches", "cancel-refresh", "another one stopped", VIOLET, stat="Sum"),
        ),
    ),
    Guardrail(
        name="quarantine-launch",
        schedule="LaunchSweepSchedule",
        failed="an instance from an unapproved AMI may not be isolated, or only in part",
        failed_hint="A missing permission is named there: the parameters ImageParameterArns, QuarantineTakesProfiles and "
        "QuarantineStops of the stack add to them.",
        missing="a launch from an unapproved AMI is seen only where an event tells of it",
        slow="sweeps may come too late to isolate a launch that no event told of",
        slow_hint="Look for throttling by EC2 (RequestLimitExceeded: other tools use up the same limits, or ask AWS to "
        "raise them); give the parameter LaunchSweepSchedule a longer interval;",
        findings=(
            Finding(
                "InstancesQuarantinedAlarm",
                "instances-quarantined",
                "InstancesQuarantined",
                "Instances are in quarantine: launched from AMIs that the policy doesn't approve, isolated, their state "
                "kept. The alarm stays until each is released or terminated.\n"
                "What to do: the notice in this mailbox names the instance, its AMI, who launched it and the rule that "
                "refused it. If it was right, terminate the instance when the evidence is no longer needed (switch its "
                "termination protection off first). If it was wrong, approve the AMI in the policy and release it:\n"
                + invoke("quarantine-launch", '{"trigger": "command", "command": "release", "instance-id": "i-..."}'),
            ),
            Finding(
                "InstancesPartlyIsolatedAlarm",
                "instances-partly-isolated",
                "InstancesPartlyIsolated",
                "Instances in quarantine can still be reached, or can reach others: some of their network interfaces "
                "couldn't be isolated, for example because another service owns them.\n"
                "What to do: the notice in this mailbox names the instance, the interface and the reason. Isolate it where "
                "its owner is managed (Amazon EKS, a load balancer, ...), or stop or terminate the instance. To see what "
                "is left of it:\n"
                + invoke("quarantine-launch", '{"trigger": "command", "command": "check", "instance-id": "i-..."}'),
            ),
            Finding(
                "LoopsBrokenAlarm",
                "loops-broken",
                "LoopsBroken",
                "Auto Scaling groups kept launching instances from an unapproved AMI, and quarantine-launch suspended "
                "their launching: such a group replaces nothing and doesn't grow until it is resumed.\n"
                "What to do: the notice in this mailbox names the group and who changed it last. Correct the AMI in its "
                "launch template, or approve it in the policy, then resume the group:\n"
                + invoke("quarantine-launch", '{"trigger": "command", "command": "release", "group": "..."}')
                + "\nOnly what was suspended by this guardrail is resumed. The group then launches up to its desired "
                "capacity at once.",
            ),
        ),
        title="Launches: approved and not",
        shown=(
            line("LaunchesApproved", "quarantine-launch", "approved", GREEN),
            line("LaunchesUnapproved", "quarantine-launch", "not approved", ORANGE),
            line("LaunchesUndecided", "quarantine-launch", "undecided", GREY),
            line("InstancesQuarantined", "quarantine-launch", "in quarantine", RED),
            line("InstancesPartlyIsolated", "quarantine-launch", "of them isolated in part", VIOLET),
            line("LoopsBroken", "quarantine-launch", "groups that may not launch", BLUE),
        ),
    ),
)

# Alarms of the stack itself, which it has with basic monitoring too.
OF_THE_STACK = ("dead-letters",)


# ---- CloudFormation ----


def sub(text: str) -> dict[str, Any]:
    return {"Fn::Sub": text}


def ref(name: str) -> dict[str, Any]:
    return {"Ref": name}


def where(guardrail: Guardrail, value: Any) -> dict[str, Any]:
    """`value` where the guardrail is deployed."""
    return {"Fn::If": [f"Has{guardrail.logical}", value, ref("AWS::NoValue")]}


def dimension(name: str, value: Any) -> list[dict[str, Any]]:
    return [{"Name": name, "Value": value}]


def alarm(name: str, text: str, condition: str | None, **properties: Any) -> dict[str, Any]:
    return {
        "Type": "AWS::CloudWatch::Alarm",
        **({"Condition": condition} if condition else {}),
        "Properties": {
            "AlarmName": sub("${Prefix}-" + name),
            "AlarmDescription": sub(text),
            **{"EvaluationPeriods": 1, "Threshold": 1, "ComparisonOperator": "GreaterThanOrEqualToThreshold"},
            **properties,
            "AlarmActions": [ref("NotificationTopicArn")],
        },
    }


def stat(identifier: str, namespace: str, metric: str, of: str, value: Any, period: int) -> dict[str, Any]:
    """A number that an expression is computed from."""
    return {
        "Id": identifier,
        "ReturnData": False,
        "MetricStat": {
            "Metric": {"Namespace": namespace, "MetricName": metric, "Dimensions": dimension(of, value)},
            "Period": period,
            "Stat": "Sum",
        },
    }


def log_of(guardrail: Guardrail, hours: int) -> str:
    return f"  aws logs tail /aws/lambda/{guardrail.function} --region ${{AWS::Region}} --since {hours}h\n"


def alarms_of(guardrail: Guardrail) -> dict[str, Any]:
    name, has = guardrail.name, f"Has{guardrail.logical}"
    memory = "raise the parameter Memory, which gives more processor time."
    found = {
        f"{guardrail.logical}ErrorsAlarm": alarm(
            f"{name}-failed",
            f"A run of {name} failed in the last hour: {guardrail.failed}. A run fails only after everything else is done, "
            "and the next sweep tries again.\n"
            "What to do: read what failed and why with\n" + log_of(guardrail, 1) + guardrail.failed_hint,
            has,
            # Without the runs that failed for a mistake in the policy: those have an alarm of their own, and one cause is
            # told once. SUM, which leaves out what has no data. An hour, so that a fault that lasts is told once.
            Metrics=[
                {"Id": "failed", "Expression": "SUM([errors, -1 * invalid])"},
                stat("errors", "AWS/Lambda", "Errors", "FunctionName", sub(guardrail.function), 3600),
                stat("invalid", NAMESPACE, "PolicyInvalid", "Guardrail", name, 3600),
            ],
            TreatMissingData="notBreaching",
        ),
        f"{guardrail.logical}SweepsMissingAlarm": alarm(
            f"{name}-not-running",
            f"{name} has finished no sweep for {guardrail.span}, though one should start ${{{guardrail.schedule}}}: "
            f"{guardrail.missing}.\n"
            "What to do: see whether sweeps fail\n" + log_of(guardrail, 1) + "If there are none, check that the schedule is "
            "ENABLED and that its role exists\n"
            f"  aws scheduler list-schedules --region ${{AWS::Region}} --group-name ${{Prefix}}-{name}\n"
            "then look into the dead-letter queue ${DeadLetterQueueName}, and for throttling of the function. Deploying the "
            "stack again puts back what was changed by hand.\n"
            "(Just after the first deployment this alarm may come once and end by itself.)",
            f"{guardrail.logical}Sweeps",
            # Not Lambda's own count: events invoke the functions too, and would hide that the sweeps don't come. This number
            # is written at the end of each sweep, and only there.
            Namespace=NAMESPACE,
            MetricName="Considered",
            Dimensions=dimension("Guardrail", name),
            Statistic="SampleCount",
            Period=guardrail.window,
            ComparisonOperator="LessThanThreshold",
            # No sweep, no data, and that is the case to catch (SAM-6).
            TreatMissingData="breaching",
        ),
        f"{guardrail.logical}DurationAlarm": alarm(
            f"{name}-slow",
            f"For two hours, runs of {name} came within a minute of Lambda's limit of 15 minutes. What one run leaves undone "
            f"the next one finishes, but {guardrail.slow}.\n"
            "What to do: see in the report at the end of each run how much was left\n"
            + log_of(guardrail, 3)
            + f"{guardrail.slow_hint} {memory}",
            has,
            Namespace="AWS/Lambda",
            MetricName="Duration",
            Dimensions=dimension("FunctionName", sub(guardrail.function)),
            Statistic="Maximum",
            Period=3600,
            # One long run is no trouble: the first sweep of a large account may need several.
            EvaluationPeriods=2,
            # Milliseconds; a minute below the functions' Timeout.
            Threshold=840000,
            TreatMissingData="notBreaching",
        ),
    }
    for finding in guardrail.findings:
        found[finding.logical] = alarm(
            finding.name,
            finding.text,
            has,
            Namespace=NAMESPACE,
            MetricName=finding.metric,
            Dimensions=dimension("Guardrail", name),
            Statistic="Sum" if finding.happened else "Maximum",
            Period=900 if finding.happened else guardrail.longest,
            # No sweep, no data: nothing is known to be better. The alarm on missing sweeps tells.
            TreatMissingData="notBreaching" if finding.happened else "ignore",
        )
    return found


def of_all(metric: str, namespace: str, of: str, period: int) -> list[dict[str, Any]]:
    """The sum of a number of all guardrails that are deployed. FILL, or one without data would leave the others out."""
    ids = {guardrail: guardrail.logical[0].lower() + guardrail.logical[1:] for guardrail in GUARDRAILS}
    terms = {"Fn::Join": [", ", [where(guardrail, f"FILL({name}, 0)") for guardrail, name in ids.items()]]}
    values = {g: sub(g.function) if of == "FunctionName" else g.name for g in GUARDRAILS}
    return [
        {"Id": "all", "Expression": {"Fn::Sub": ["SUM([${terms}])", {"terms": terms}]}},
        *(where(g, stat(name, namespace, metric, of, values[g], period)) for g, name in ids.items()),
    ]


def alarms_of_all() -> dict[str, Any]:
    return {
        "PolicyInvalidAlarm": alarm(
            "policy-invalid",
            "The policy has a mistake: until it is corrected, the guardrails that it is about do nothing at all.\n"
            "What to do: see where the mistake is; the log of each guardrail names its path and line, such as\n"
            "  aws logs tail /aws/lambda/${Prefix}-GUARDRAIL --region ${AWS::Region} --since 1h\n"
            "Then put the corrected document into the SSM parameter ${PolicyParameter}, or its former version (aws ssm "
            "get-parameter-history shows it). The next sweep uses it.",
            None,
            Metrics=of_all("PolicyInvalid", NAMESPACE, "Guardrail", 3600),
            # Written only where there is a mistake.
            TreatMissingData="notBreaching",
        ),
        "ThrottlesAlarm": alarm(
            "throttled",
            "For a quarter of an hour, Lambda put off invocations of the guardrails, because the account's concurrency is "
            "used up. They are tried again for an hour; what comes later is in the dead-letter queue, and the next sweep "
            "looks at everything.\n"
            "What to do: see what uses it up (AWS/Lambda, ConcurrentExecutions, by function), and what the account may have\n"
            "  aws lambda get-account-settings --region ${AWS::Region}\n"
            'then ask AWS to raise the quota "Concurrent executions", or give the greedy function a reserved concurrency.',
            None,
            Metrics=of_all("Throttles", "AWS/Lambda", "FunctionName", 300),
            # A short burst is no trouble.
            EvaluationPeriods=3,
            TreatMissingData="notBreaching",
        ),
    }


# ---- the dashboard ----


def quoted(value: Any) -> str:
    """JSON in one line; what stands in `${}` is left to `Fn::Sub`."""
    return json.dumps(value, ensure_ascii=False)


def graph(x: int, y: int, title: str, statistic: str, period: int, lines: Any) -> dict[str, Any]:
    return {
        **{"type": "metric", "x": x, "y": y, "width": 8, "height": 6},
        "properties": {
            **{"title": title, "view": "timeSeries", "region": "${AWS::Region}", "stat": statistic, "period": period},
            "yAxis": {"left": {"min": 0}, "right": {"min": 0}},
            "metrics": list(lines),
        },
    }


def row(guardrail: Guardrail, y: int) -> str:
    """How things stand, what was done, and how its runs went."""
    name = guardrail.name
    runs = [
        ["AWS/Lambda", "Duration", "FunctionName", guardrail.function,
         {"label": "longest, in ms (alarm at 840000): ${!LAST}", "color": BLUE}],
        ["AWS/Lambda", "Errors", "FunctionName", guardrail.function,
         {"label": "failed (right): ${!LAST}", "color": RED, "stat": "Sum", "yAxis": "right"}],
    ]  # fmt: skip
    done = (
        line("Done", name, "done", GREEN),
        line("WouldDo", name, "would do, in observe mode", BLUE),
        line("Failed", name, "failed", RED),
        line("Left", name, "left for the next sweep", ORANGE),
        line("Considered", name, "looked at (right)", GREY, stat="Maximum", yAxis="right"),
    )
    widgets = (
        graph(0, y, guardrail.title, "Maximum", guardrail.longest, guardrail.shown),
        graph(8, y, f"{name}: what was done", "Sum", 3600, done),
        graph(16, y, f"{name}: its runs", "Maximum", 3600, runs),
    )
    return ",\n".join(map(quoted, widgets))


def dashboard() -> dict[str, Any]:
    """From above: what is wrong now, then a row for each guardrail.

    The same colour means the same throughout; red is what to look at first. `${!LAST}` in a label is CloudWatch's own:
    the latest value, so that the legend is a table.
    """
    arn = "arn:${AWS::Partition}:cloudwatch:${AWS::Region}:${AWS::AccountId}:alarm:${Prefix}-"

    def names(some: list[str]) -> dict[str, Any]:
        return sub(", ".join(f'"{arn}{name}"' for name in some))

    own = {
        guardrail: [
            *(f"{guardrail.name}-{kind}" for kind in ("failed", "slow")),
            *(finding.name for finding in guardrail.findings),
        ]
        for guardrail in GUARDRAILS
    }
    sweeps = {g: [f"{g.name}-not-running", f"{g.name}-sweeps-stopped"] for g in GUARDRAILS}
    alarms = [
        *(where(guardrail, names(some)) for guardrail, some in own.items()),
        *({"Fn::If": [f"{g.logical}Sweeps", names(some), ref("AWS::NoValue")]} for g, some in sweeps.items()),
        names(["policy-invalid", "throttled", *OF_THE_STACK]),
    ]
    letters = {
        **{"type": "metric", "x": 18, "y": 0, "width": 6, "height": 3},
        "properties": {
            **{"title": "Dead letters", "view": "singleValue", "region": "${AWS::Region}", "stat": "Maximum", "period": 300},
            "metrics": [
                ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", "${DeadLetterQueueName}",
                 {"label": "in the queue"}]
            ],
        },
    }  # fmt: skip
    text = {
        **{"type": "text", "x": 18, "y": 3, "width": 6, "height": 3},
        "properties": {
            "markdown": "### ${Prefix} in ${AWS::Region}\nEach alarm's description says what to do; the notices name the "
            "resources. How things stand is as of the last sweep; what was done counts all runs."
        },
    }
    above = (
        '{"type": "alarm", "x": 0, "y": 0, "width": 18, "height": 6, "properties": {"title": "Alarms, those in ALARM '
        'first", "sortBy": "stateUpdatedTimestamp", "alarms": [${alarms}]}}'
    )
    widgets = [
        {"Fn::Sub": [above, {"alarms": {"Fn::Join": [",\n", alarms]}}]},
        sub(quoted(letters)),
        sub(quoted(text)),
        *(where(guardrail, sub(row(guardrail, 6 + 6 * at))) for at, guardrail in enumerate(GUARDRAILS)),
    ]
    return {
        "Type": "AWS::CloudWatch::Dashboard",
        "Condition": "HasDashboard",
        "Properties": {
            # With the Region: dashboards belong to the account, not to a Region.
            "DashboardName": sub("${Prefix}-${AWS::Region}"),
            "DashboardBody": {"Fn::Sub": ['{"widgets": [${widgets}]}', {"widgets": {"Fn::Join": [",\n", widgets]}}]},
        },
    }


# ---- the template ----


def template() -> dict[str, Any]:
    switch = {"Type": "String", "AllowedValues": ["true", "false"]}
    text = {"Type": "String"}
    parameters = {
        "Prefix": text,
        **{guardrail.logical: switch for guardrail in GUARDRAILS},
        "Sweeps": {"Type": "String", "AllowedValues": ["ENABLED", "DISABLED"]},
        **{guardrail.schedule: text for guardrail in GUARDRAILS},
        "CreateDashboard": switch,
        "PolicyParameter": text,
        "NotificationTopicArn": text,
        "DeadLetterQueueName": text,
    }
    conditions: dict[str, Any] = {"HasDashboard": {"Fn::Equals": [ref("CreateDashboard"), "true"]}}
    resources: dict[str, Any] = {}
    for guardrail in GUARDRAILS:
        has = f"Has{guardrail.logical}"
        conditions[has] = {"Fn::Equals": [ref(guardrail.logical), "true"]}
        # While sweeps are switched off on purpose there is nothing to miss.
        enabled = {"Fn::Equals": [ref("Sweeps"), "ENABLED"]}
        conditions[f"{guardrail.logical}Sweeps"] = {"Fn::And": [{"Condition": has}, enabled]}
        resources |= alarms_of(guardrail)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Full monitoring of ec2-guardrails: alarms on its metrics, and a dashboard",
        "Parameters": parameters,
        "Conditions": conditions,
        "Resources": resources | alarms_of_all() | {"Dashboard": dashboard()},
        "Outputs": {"DashboardName": {"Condition": "HasDashboard", "Value": ref("Dashboard")}},
    }


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, _data: Any) -> bool:
        return True  # CloudFormation knows none


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def rendered() -> str:
    return HEAD + yaml.dump(template(), Dumper=_Dumper, sort_keys=False, width=100_000, allow_unicode=True)


if __name__ == "__main__":
    TEMPLATE.write_text(rendered())
    print(f"{TEMPLATE}: {len(rendered().splitlines())} lines", file=sys.stderr)
