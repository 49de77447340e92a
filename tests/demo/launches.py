"""Incident 3: the wrong "latest" image, launched for ever, first as it was, then with quarantine-launch."""

from __future__ import annotations

import json
import time
from typing import Any

import boto3

from demo.local_aws import QUARANTINE_LAUNCH, REGION, LocalAws, function_of, tags_of
from demo.timeline import DoesNotHold, block, details, event, holds, notice, outcome

GROUP = "cluster"
PATTERN = "al2023-ami-*-x86_64"
NARROW = "al2023-ami-2023.*-x86_64"
BASE = "al2023-ami-2023.9.20251208.0-kernel-6.1-x86_64"
WRONG = "al2023-ami-ecs-neuron-hvm-2023.0.20251209-kernel-6.1-x86_64"
HOUR = 3600
SCALE = 0.25
"""Of Auto Scaling's waits: the guardrail works in real time, so here the group does too, four times as fast."""


class Launches:
    def __init__(self, aws: LocalAws) -> None:
        self.aws = aws
        self.ec2, self.autoscaling = aws.client("ec2"), aws.client("autoscaling")
        self.base = self.wrong = ""
        self.launched_alone = 0

    # ---- without ----

    def without(self) -> None:
        self.base = self._publish(BASE, HOUR)
        self.wrong = self._publish(WRONG, 0)
        picked = self._latest(PATTERN)
        holds(picked["ImageId"] == self.wrong, f"the newest image that {PATTERN} matches is {self.wrong}")
        event("admin-02", f"has Terraform take the most recent image of amazon that is named {PATTERN}.")
        event("EC2", f"answers {picked['Name']} ({self.wrong}): newest, and it matches.")
        self._apply(1)
        self.aws.control("POST", "autoscaling/pass", seconds=HOUR, step=15)
        self.launched_alone = self._launched()
        holds(self.launched_alone > 30, f"the group launches again and again, not {self.launched_alone} times")
        records = self._records(GROUP)
        holds("admin-02" in records, "CloudTrail knows who made the group")
        event(
            "Auto Scaling",
            "its instances lack the rights to join their cluster, fail their health checks and are replaced: "
            f"{self.launched_alone} launches within the hour, and no end.",
        )
        self.autoscaling.delete_auto_scaling_group(AutoScalingGroupName=GROUP, ForceDelete=True)
        self.aws.control("POST", "autoscaling/pass", seconds=120)
        event("owner", "sees it on the bill.")
        outcome(3, f"{self.launched_alone} launches in an hour, and no end", guarded=False)

    # ---- with ----

    def guarded(self, policy: str) -> None:
        self._put_policy(policy, "observe", PATTERN)
        run = self.aws.sweep(QUARANTINE_LAUNCH)
        warnings = run["response"]["warnings"]
        broad = [warning for warning in warnings if "neuron" in warning]
        holds(broad, f"a warning names the variant: {warnings}")
        event("owner", f"approves images of amazon named {PATTERN}, in observe mode first.")
        event("Lambda", f"warns that this is too broad: {broad[0]}", run["ended"])
        section = self._put_policy(policy, "enforce", NARROW)
        event("owner", "narrows the rule and lets it act:")
        block(section)
        self._loop()
        self._release()

    def _loop(self) -> None:
        told = len(self._notices())
        self.aws.control("PATCH", "settings", autoscaling_time_scale=SCALE)
        try:
            self._apply(2)
            self._wait("the loop is broken", lambda: len(self._suspended()) == 2)
            self.aws.wait_until_idle()
            launched = self._launched()
            time.sleep(5)
        finally:
            self.aws.control("PATCH", "settings", autoscaling_time_scale=1.0)
        self.aws.control("POST", "autoscaling/pass", seconds=HOUR, step=60)
        holds(self._launched() == launched, f"nothing more is launched within an hour: {self._launched()} and {launched}")
        holds(launched * 10 <= self.launched_alone, f"{launched} launches are far fewer than {self.launched_alone}")
        event("admin-02", "applies the same configuration again.")
        self.kept = self._members()[0]
        interfaces = self._interfaces(self.kept)
        (isolation,) = {group for groups in interfaces.values() for group in groups}
        rules = self.ec2.describe_security_groups(GroupIds=[isolation])["SecurityGroups"][0]
        holds(not rules["IpPermissions"] and not rules["IpPermissionsEgress"], f"{isolation} has no rules at all")
        evidence = self.aws.snapshots(evidence=self.kept)
        holds(evidence, "its volumes have evidence snapshots")
        attribute = self.ec2.describe_instance_attribute(InstanceId=self.kept, Attribute="disableApiTermination")
        holds(attribute["DisableApiTermination"]["Value"], "termination protection is on")
        event("Lambda", f"isolates each launch as it comes; at number {launched} it breaks the loop:")
        details(
            [
                ("isolated", f"{', '.join(interfaces)}: only {isolation}, which has no rules"),
                ("protected", "termination protection on, volumes outlive the instance"),
                ("evidence", ", ".join(snapshot["SnapshotId"] for snapshot in evidence)),
                ("suspended", " and ".join(sorted(self._suspended())) + f" of {GROUP}"),
            ]
        )
        # What comes within a minute of a notice, the next sweep tells.
        self.aws.sweep(QUARANTINE_LAUNCH)
        notices = self._notices()[told:]
        (quarantine,) = [n for n in notices if f"* {self.kept}: launched from" in n["message"]]
        for part in ("admin-02", WRONG, NARROW):
            holds(part in quarantine["message"], f"the notice names {part}")
        holds(any("in a loop" in n["message"] for n in notices), "the loop is told")
        event("SNS", f"the owner gets a notice of each; that of {self.kept}:")
        notice(quarantine)
        event("Auto Scaling", f"an hour later it is still {launched} launches, against {self.launched_alone} without.")
        outcome(
            3,
            f"{launched} launches, each isolated with its state kept, the loop broken, admin-02 named; released on command",
            guarded=True,
        )

    def _release(self) -> None:
        version = self.ec2.create_launch_template_version(
            LaunchTemplateName=GROUP, LaunchTemplateData={"ImageId": self.base, "InstanceType": "t3.micro"}
        )["LaunchTemplateVersion"]["VersionNumber"]
        template = {"LaunchTemplateName": GROUP, "Version": str(version)}
        self.autoscaling.update_auto_scaling_group(AutoScalingGroupName=GROUP, LaunchTemplate=template)
        written = tags_of(self._described(self.kept))
        before = {
            key.removeprefix("ec2-guardrails:quarantine-groups-"): value.split()
            for key, value in written.items()
            if key.startswith("ec2-guardrails:quarantine-groups-")
        }
        answer = self.aws.command(QUARANTINE_LAUNCH, "release", **{"instance-id": self.kept})
        (decision,) = answer["decisions"]
        holds(decision["outcome"] == "done", f"the release is done: {answer}")
        # The group replaces it at once, so what the release did is read from AWS's record of calls.
        run = self.aws.runs(QUARANTINE_LAUNCH)
        run = next(r for r in reversed(run) if r["event"].get("command") == "release")
        calls = [call for call in self.aws.calls_of(run) if not call["error"]]
        groups = [call["parameters"] for call in calls if call["operation"] == "ModifyNetworkInterfaceAttribute"]
        restored = {given["NetworkInterfaceId"]: given["Groups"] for given in groups}
        holds(before and restored == before, "each interface has its own security groups again")
        order = [call["operation"] for call in calls]
        holds(
            order.index("ResumeProcesses") > order.index("ModifyNetworkInterfaceAttribute"), "the group's processes come last"
        )
        holds(not self._suspended(), "the group may launch again")
        left = [key for key in tags_of(self._described(self.kept)) if "quarantine" in key]
        holds(not left, f"no tag of the quarantine is left: {left}")
        event("owner", f"corrects the launch template and releases {self.kept} (the command `release`), and all is as it was:")
        block(decision["note"])
        self.aws.control("POST", "autoscaling/pass", seconds=600, step=15)
        images = {self._described(member)["ImageId"] for member in self._members()}
        holds(images == {self.base}, f"the group runs {self.base}")
        states = {tags_of(self._described(member)).get("ec2-guardrails:quarantined") for member in self._members()}
        holds(states == {None}, "what is approved is left alone")
        event("Auto Scaling", f"replaces it by an instance of {BASE}, which the policy approves, and all is quiet.")
        self.autoscaling.delete_auto_scaling_group(AutoScalingGroupName=GROUP, ForceDelete=True)
        self.aws.control("POST", "autoscaling/pass", seconds=120)

    # ---- admin-02 ----

    def _publish(self, name: str, age: int) -> str:
        image = self.aws.control("POST", "images", name=name, owner="amazon", age_seconds=age, public=True)
        return image["image_id"]

    def _latest(self, pattern: str) -> dict[str, Any]:
        found = self.ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "name", "Values": [pattern]}])["Images"]
        return max(found, key=lambda image: image["CreationDate"])

    def _apply(self, times: int) -> None:
        """What Terraform does as the user admin-02."""
        image = self._latest(PATTERN)["ImageId"]
        answer = self.aws.control("POST", "principals", user="admin-02")
        client = {
            service: boto3.client(
                service,
                endpoint_url=self.aws.endpoint,
                region_name=REGION,
                aws_access_key_id=answer["access_key_id"],
                aws_secret_access_key=answer["secret_access_key"],
            )
            for service in ("ec2", "autoscaling")
        }
        if times == 1:
            self.aws.control("POST", "autoscaling/images", image_id=image, healthy=False, check="ec2")
            data = {"ImageId": image, "InstanceType": "t3.micro"}
            client["ec2"].create_launch_template(LaunchTemplateName=GROUP, LaunchTemplateData=data)
        client["autoscaling"].create_auto_scaling_group(
            AutoScalingGroupName=GROUP,
            LaunchTemplate={"LaunchTemplateName": GROUP, "Version": "1"},
            AvailabilityZones=["eu-central-1a"],
            MinSize=1,
            MaxSize=4,
            DesiredCapacity=1,
        )

    def _records(self, name: str) -> str:
        about = [{"AttributeKey": "ResourceName", "AttributeValue": name}]
        return json.dumps(self.aws.client("cloudtrail").lookup_events(LookupAttributes=about)["Events"], default=str)

    # ---- the group and the instance ----

    def _group(self) -> dict[str, Any]:
        found = self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[GROUP])["AutoScalingGroups"]
        return found[0]

    def _suspended(self) -> set[str]:
        return {process["ProcessName"] for process in self._group()["SuspendedProcesses"]}

    def _members(self) -> list[str]:
        return [member["InstanceId"] for member in self._group()["Instances"]]

    def _launched(self) -> int:
        (group,) = self.aws.control("GET", "autoscaling/history", group=GROUP)["groups"]
        return group["launched"]

    def _described(self, instance: str) -> dict[str, Any]:
        return self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]

    def _interfaces(self, instance: str) -> dict[str, list[str]]:
        interfaces = self._described(instance)["NetworkInterfaces"]
        return {i["NetworkInterfaceId"]: [group["GroupId"] for group in i["Groups"]] for i in interfaces}

    # ---- the guardrail ----

    def _put_policy(self, policy: str, mode: str, name: str) -> str:
        section = f'quarantine-launch:\n  mode: {mode}\n  approve:\n    - {{ owner: amazon, name: "{name}" }}\n    - owner: self\n'
        self.aws.client("ssm").put_parameter(
            Name="/ec2-guardrails/policy", Type="String", Value=policy + section, Overwrite=True
        )
        # A running process reads it again after a minute; a new one at once.
        functions = self.aws.client("lambda")
        now = functions.get_function_configuration(FunctionName=function_of(QUARANTINE_LAUNCH))["MemorySize"]
        functions.update_function_configuration(FunctionName=function_of(QUARANTINE_LAUNCH), MemorySize=now + 1)
        return section

    def _notices(self) -> list[dict[str, Any]]:
        return [n for n in self.aws.notices() if n["subject"].startswith(f"[{QUARANTINE_LAUNCH}]")]

    def _wait(self, what: str, reached: Any) -> None:
        until = time.monotonic() + 90
        while not reached():
            if time.monotonic() > until:
                raise DoesNotHold(f"within 90 seconds {what}")
            time.sleep(0.25)
