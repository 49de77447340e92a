#!/usr/bin/env python3
"""Lists what `sam delete` of an ec2-guardrails stack leaves, and what has to be done before: docs/operations.md,
"Removing it". Reads only.

    make uninstall-check STACK=ec2-guardrails                 (from a checkout)
    python3 docs/uninstall_check.py --stack ec2-guardrails [--region eu-central-1]

Needs Python and boto3, as AWS CloudShell has them, and permission for cloudformation:DescribeStacks, dynamodb:Query,
autoscaling:DescribeAutoScalingGroups, ec2:DescribeInstances, ec2:DescribeSnapshots and ec2:DescribeSecurityGroups.

Ends with 0 when the stack can be deleted, 2 when something has to be done before, 1 when something couldn't be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

# Beyond these the rest is counted.
SHOWN = 20
# Descriptions, which nobody can change, unlike tags: "Which snapshots are ours" in docs/architecture.md.
OURS = "ec2-guardrails snapshot-volumes: plan *"
EVIDENCE = "Evidence: i-* in quarantine since *"


class Check:
    def __init__(self, session: boto3.Session, stack: str) -> None:
        self.session, self.stack = session, stack
        stacks = session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", [])}
        self.parameters = {p["ParameterKey"]: p["ParameterValue"] for p in stacks[0].get("Parameters", [])}
        if "StateTableName" not in self.outputs:
            raise SystemExit(f"error: the stack {stack} has no output StateTableName; is it one of ec2-guardrails?")
        self.table = self.outputs["StateTableName"]
        self.before = False

    def pages(self, service: str, operation: str, key: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        for page in self.session.client(service).get_paginator(operation).paginate(**arguments):
            yield from page[key]

    def remembered(self, topic: str) -> dict[str, dict[str, Any]]:
        """What quarantine-launch remembers of a topic, by instance or group."""
        items = self.pages(
            "dynamodb",
            "query",
            "Items",
            TableName=self.table,
            ConsistentRead=True,
            KeyConditionExpression="guardrail = :guardrail AND begins_with(#item, :topic)",
            ExpressionAttributeNames={"#item": "item"},
            ExpressionAttributeValues={":guardrail": {"S": "quarantine-launch"}, ":topic": {"S": f"{topic}#"}},
        )
        return {item["item"]["S"].split("#", 1)[1]: json.loads(item["data"]["S"]) for item in items}

    def run(self) -> None:
        self.quarantined()
        self.suspended()
        self.profile()
        self.snapshots()
        self.isolation_groups()
        self.kept("the state table", [self.table], "Delete it once nothing of it is wanted: aws dynamodb delete-table.")

    def quarantined(self) -> None:
        records = self.remembered("quarantine")
        there = self.pages("ec2", "describe_instances", "Reservations", Filters=[{"Name": "instance-id", "Values": list(records)}]) if records else ()
        states = {i["InstanceId"]: i["State"]["Name"] for reservation in there for i in reservation["Instances"]}
        lines = [
            f"{instance}, {records[instance].get('stage')}, since {records[instance].get('since')}: {records[instance].get('reason')}"
            for instance, state in sorted(states.items())
            if state != "terminated"
        ]
        self.first("instances in quarantine", lines, self.release("instance-id", "i-…"))

    def suspended(self) -> None:
        held = {name: set(loop.get("suspended", [])) for name, loop in self.remembered("loop").items()}
        groups = self.pages("autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups") if any(held.values()) else ()
        lines = []
        for group in groups:
            name = group["AutoScalingGroupName"]
            if still := held.get(name, set()) & {p["ProcessName"] for p in group.get("SuspendedProcesses", [])}:
                lines.append(f"{name}: {', '.join(sorted(still))}")
        self.first("Auto Scaling groups whose processes quarantine-launch suspended", lines, self.release("group", "…"))

    def release(self, what: str, which: str) -> str:
        function = self.outputs.get("QuarantineLaunchFunctionName")
        if function is None:
            return "quarantine-launch is left out of the stack: bring it back (QuarantineLaunch=true), because only it can release them."
        payload = json.dumps({"trigger": "command", "command": "release", what: which})
        return (
            "Release each; after the deletion nothing else can:\n"
            f"      aws lambda invoke --function-name {function} --qualifier operator --cli-read-timeout 920 \\\n"
            f"          --cli-binary-format raw-in-base64-out --payload '{payload}' /dev/stdout"
        )

    def profile(self) -> None:
        arn = self.outputs.get("InstanceProfileArn")
        if arn is None or self.parameters.get("InstanceProfileName"):
            return  # There is none, or it is the account's own.
        has = [{"Name": "iam-instance-profile.arn", "Values": [arn]}]
        reservations = self.pages("ec2", "describe_instances", "Reservations", Filters=has)
        instances = [i for r in reservations for i in r["Instances"] if i["State"]["Name"] != "terminated"]
        lines = [f"{i['InstanceId']}{named(i)}, {i['State']['Name']}" for i in instances]
        self.kept(
            "instances with the stack's instance profile",
            lines,
            f"{arn} and its role stay, because these would lose their credentials without them. Once no instance has "
            "the profile, delete both by hand; IAM deletes a profile in use without a word.",
        )
        if not lines:
            self.kept("the instance profile, which no instance has", [arn], "Delete it and its role by hand.")

    def snapshots(self) -> None:
        for what, description, then in (
            ("snapshots of snapshot-volumes", OURS, "Nobody prunes them any more, and they cost. Delete those that nobody needs."),
            ("evidence snapshots", EVIDENCE, "Nobody prunes these anyway. Delete those that nobody needs."),
        ):
            found = list(
                self.pages(
                    "ec2", "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=[{"Name": "description", "Values": [description]}]
                )
            )
            found.sort(key=lambda snapshot: snapshot["StartTime"], reverse=True)
            size = sum(snapshot["VolumeSize"] for snapshot in found)
            lines = [f"{s['SnapshotId']} of {s['VolumeId']}, {s['StartTime']:%Y-%m-%d}: {s.get('Description', '')}" for s in found]
            self.kept(f"{what}, of volumes of {size} GiB in all", lines, then)

    def isolation_groups(self) -> None:
        named_so = [{"Name": "group-name", "Values": ["ec2-guardrails-quarantine"]}]
        groups = self.pages("ec2", "describe_security_groups", "SecurityGroups", Filters=named_so)
        lines = [f"{group['GroupId']} in {group.get('VpcId')}" for group in groups]
        self.kept("security groups that isolate", lines, "Delete them once nothing is in quarantine; they cost nothing.")

    def first(self, what: str, lines: list[str], then: str) -> None:
        self.before |= bool(lines)
        tell("BEFORE", what, lines, then)

    def kept(self, what: str, lines: list[str], then: str) -> None:
        tell("stays", what, lines, then)


def named(instance: dict[str, Any]) -> str:
    return "".join(f" ({tag['Value']})" for tag in instance.get("Tags", []) if tag["Key"] == "Name")


def tell(when: str, what: str, lines: list[str], then: str) -> None:
    if not lines:
        return
    print(f"{when:6}  {len(lines)} × {what}:" if len(lines) > 1 else f"{when:6}  {what}:")
    for line in lines[:SHOWN]:
        print(f"    {line}")
    if len(lines) > SHOWN:
        print(f"    and {len(lines) - SHOWN} more")
    print(f"    -> {then}\n")


def main() -> int:
    parser = argparse.ArgumentParser(description="Lists what `sam delete` of an ec2-guardrails stack leaves. Reads only.")
    parser.add_argument("--stack", required=True, help="the stack's name")
    parser.add_argument("--region", help="its Region (default: the one that is configured)")
    arguments = parser.parse_args()
    try:
        check = Check(boto3.Session(region_name=arguments.region), arguments.stack)
        check.run()
    except (BotoCoreError, ClientError) as error:
        print(f"error: {error}\nWhat stands above isn't all: don't delete the stack before this runs to its end.", file=sys.stderr)
        return 1
    if check.before:
        print("Don't delete the stack yet: do first what is marked BEFORE.")
        return 2
    print("Nothing has to be done before `sam delete`.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
