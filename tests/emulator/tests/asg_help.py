"""What the tests of Auto Scaling have in common: a group of a launch template, and its time."""

from __future__ import annotations

import json
from typing import Any

from conftest import allow, policy

ZONES = ("eu-central-1a", "eu-central-1b")


class Web:
    """A group `web` of launch template `web`, in simulated time."""

    def __init__(self, emulator: Any, size: int = 4, **parameters: Any) -> None:
        self.emulator = emulator
        self.ec2, self.asg = emulator.client("ec2"), emulator.client("autoscaling")
        self.good = self.image("good")
        data = {"ImageId": self.good, "InstanceType": "t3.micro"}
        self.template = self.ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)[
            "LaunchTemplate"
        ]["LaunchTemplateId"]
        source = {"LaunchTemplateId": self.template, "Version": parameters.pop("version", "1")}
        sizes = {"MinSize": 0, "MaxSize": 10, "DesiredCapacity": size, "AvailabilityZones": list(ZONES)}
        self.asg.create_auto_scaling_group(
            AutoScalingGroupName="web", LaunchTemplate=source, **sizes | parameters
        )

    def image(self, name: str) -> str:
        return self.ec2.register_image(
            Name=name, Architecture="x86_64", RootDeviceName="/dev/xvda", VirtualizationType="hvm"
        )["ImageId"]

    def version(self, **data: Any) -> str:
        """A new version of the template; its number."""
        return str(
            self.ec2.create_launch_template_version(
                LaunchTemplateId=self.template,
                LaunchTemplateData={"ImageId": self.good, "InstanceType": "t3.micro"} | data,
            )["LaunchTemplateVersion"]["VersionNumber"]
        )

    def wait(self, seconds: float = 3600, **more: Any) -> dict[str, Any]:
        return self.emulator.control("POST", "autoscaling/pass", seconds=seconds, **more)

    def up(self) -> Web:
        assert self.wait(600, until="settled")["reached"]
        return self

    def start(self, version: str | None = None, **preferences: Any) -> str:
        desired = {}
        if version is not None:
            template = {"LaunchTemplateId": self.template, "Version": version}
            desired = {"DesiredConfiguration": {"LaunchTemplate": template}}
        return self.asg.start_instance_refresh(AutoScalingGroupName="web", Preferences=preferences, **desired)[
            "InstanceRefreshId"
        ]

    def refresh(self) -> dict[str, Any]:
        return self.asg.describe_instance_refreshes(AutoScalingGroupName="web")["InstanceRefreshes"][0]

    def group(self) -> dict[str, Any]:
        return self.asg.describe_auto_scaling_groups(AutoScalingGroupNames=["web"])["AutoScalingGroups"][0]

    def members(self) -> list[dict[str, Any]]:
        return self.group()["Instances"]

    def ids(self) -> set[str]:
        return {m["InstanceId"] for m in self.members()}

    def versions(self) -> list[str]:
        return sorted(m["LaunchTemplate"]["Version"] for m in self.members())

    def activities(self, **more: Any) -> list[dict[str, Any]]:
        return self.asg.describe_scaling_activities(AutoScalingGroupName="web", **more)["Activities"]

    def history(self) -> dict[str, Any]:
        return self.emulator.control("GET", "autoscaling/history", group="web")["groups"][0]


class Bus:
    """The events that a service itself sends, kept in a queue."""

    def __init__(self, emulator: Any, source: str = "aws.autoscaling") -> None:
        self.sqs = emulator.client("sqs")
        self.url = self.sqs.create_queue(QueueName="events")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        may = policy(allow("sqs:SendMessage", arn) | {"Principal": {"Service": "events.amazonaws.com"}})
        self.sqs.set_queue_attributes(QueueUrl=self.url, Attributes={"Policy": may})
        events = emulator.client("events")
        events.put_rule(Name="all", EventPattern=json.dumps({"source": [source]}))
        events.put_targets(Rule="all", Targets=[{"Id": "queue", "Arn": arn}])

    def read(self) -> list[dict[str, Any]]:
        found = []
        while messages := self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                event = json.loads(message["Body"])
                if "CloudTrail" not in event["detail-type"]:
                    found.append(event)
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return found
