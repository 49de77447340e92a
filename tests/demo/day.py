"""Some hours of an account, for a picture of its dashboard.

The functions sweep as the schedules would start them; in between, volumes, instances, releases and launches come and
go, go wrong and are put right, and simulated time passes. Nothing but the functions and the local AWS itself writes
metrics.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from demo import dashboard
from demo.local_aws import (
    ACCOUNT,
    ATTACH_SSM_ROLE,
    CANCEL_REFRESH,
    DASHBOARD,
    QUARANTINE_LAUNCH,
    REGION,
    SNAPSHOT_VOLUMES,
    LocalAws,
    function_of,
    seeded_snapshot,
)
from demo.timeline import event, holds

STEP, SWEEP = timedelta(minutes=5), timedelta(minutes=15)
"""How often cancel-refresh and quarantine-launch sweep, and the two others."""
HOURS = 7.5
CAPTION = """\
The dashboard {name} as the template deploys it, drawn by `make dashboard` with what the local AWS answers to \
GetDashboard, GetMetricData and DescribeAlarms after {hours:g} simulated hours. The functions swept every 5 and 15 minutes \
of them; they wrote each number, or Lambda and SQS measured it. Hours are counted from the deployment."""
WHERE_IMAGES_ARE = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/shop"
KEY_DISABLED = "Client error occurred: the KMS key is disabled (Client.InvalidKMSKey.InvalidState)"
WRONG = "al2023-ami-ecs-neuron-hvm-2023.0.20251209-kernel-6.1-x86_64"
POLICY = """\
snapshot-volumes:
  plans:
    - name: daily
      select: {{ tag: Backup, values: ["true"] }}
      schedule: "0 {hour} * * *"
      keep: {{ daily: 7 }}
quarantine-launch:
  mode: {mode}
  approve:
    - {{ owner: amazon, name: "al2023-ami-2023.*-x86_64" }}
    - owner: self
"""


class Day:
    def __init__(self, aws: LocalAws, template: Path) -> None:
        self.aws, self.template = aws, template
        self.ec2, self.autoscaling = aws.client("ec2"), aws.client("autoscaling")
        # The daily snapshots are eight hours old, whatever the time of day.
        self.slot = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=8)
        self.image = self.wrong = self.ledger = self.orders = ""
        self.schedules: dict[str, str] = {}
        self.start = self.end = datetime.now(timezone.utc)

    def draw(self, path: Path) -> None:
        """Let the hours pass, and draw what the dashboard then shows."""
        event("owner", f"{HOURS:g} hours of an account pass on the local AWS; that takes a minute or two.")
        self.pass_by()
        name, cloudwatch = DASHBOARD, self.aws.client("cloudwatch")
        widgets = dashboard.read(cloudwatch.get_dashboard(DashboardName=name)["DashboardBody"])
        silent = dashboard.without_data(cloudwatch, dashboard.metrics_of(widgets))
        holds(not silent, f"the functions have written each metric of the dashboard, but not {silent}")
        caption = CAPTION.format(name=name, hours=HOURS)
        dashboard.draw(cloudwatch, name, self.start, self.end, caption, path)
        event("CloudWatch", f"{name} is drawn to {path}.")

    def pass_by(self) -> None:
        """Afterwards `start` and `end` say when it was."""
        self.estate()
        self.aws.deploy(self.template, ImageRepositoryArns=WHERE_IMAGES_ARE, Monitoring="full")
        self.aws.wait_until_idle()
        for schedule in self.aws.control("GET", "schedules")["schedules"]:
            self.schedules[schedule["target"].rsplit(":", 1)[-1]] = schedule["name"]
        self.aws.control("PATCH", "settings", schedules_fire=False, async_retry_scale=0.01)
        happenings: dict[float, Callable[[], None]] = {
            0.75: self.denied_snapshot,
            1.25: self.wrong_image_by_hand,
            1.5: self.bad_release,
            2.25: self.more_instances,
            2.75: self.key_enabled,
            3.0: self.enforce,
            3.5: self.wrong_image_in_a_group,
            5.0: self.good_release,
            5.75: self.group_corrected,
        }
        steps = {int(timedelta(hours=hour) / STEP): happening for hour, happening in happenings.items()}
        count = int(timedelta(hours=HOURS) / STEP)
        for step in range(count):
            steps.get(step, lambda: None)()
            self._five_minutes(sweep_all=step % int(SWEEP / STEP) == 0)
        self.end = datetime.now(timezone.utc)
        self.start = self.end - count * STEP

    def _five_minutes(self, *, sweep_all: bool) -> None:
        # With all that groups and instances do meanwhile; functions act when they would.
        self.aws.control("POST", "autoscaling/pass", seconds=STEP.total_seconds(), step=30)
        if sweep_all:
            self.aws.control("POST", "snapshots/age", seconds=SWEEP.total_seconds())
            self._sweep(SNAPSHOT_VOLUMES)
            self._sweep(ATTACH_SSM_ROLE)
        self._sweep(CANCEL_REFRESH)
        self._sweep(QUARANTINE_LAUNCH)
        self.aws.wait_until_idle()
        self.aws.control("POST", "alarms/evaluate")

    def _sweep(self, guardrail: str) -> None:
        self.aws.control("POST", "schedules/fire", name=self.schedules[function_of(guardrail)])

    # ---- what there is ----

    def estate(self) -> None:
        self._put_policy("observe")
        self.image = self._image("web-2026-11")
        self.wrong = self.aws.control("POST", "images", name=WRONG, owner="amazon", public=True)["image_id"]
        for name in ("web-1", "web-2", "web-3", "api-1", "api-2", "queue", "database"):
            self._run(name, "/dev/sdf", backup="true")
        for name in ("build-1", "build-2"):
            self._run(name, NoSsm="true")
        self.ledger = self._volume("ledger", Backup="true")
        self._volume("scratch")
        self._seed()
        failing = {"volume_id": self.ledger, "message": KEY_DISABLED, "count": 99}
        self.aws.control("PATCH", "settings", snapshot_errors=[failing])
        self._private_subnet()
        self.ec2.create_launch_template(
            LaunchTemplateName="shop", LaunchTemplateData={"ImageId": self.image, "InstanceType": "t3.micro"}
        )
        self._group("shop", "1", 4)
        self.aws.control("POST", "autoscaling/pass", seconds=120, step=15)

    def _seed(self) -> None:
        """A daily snapshot of each volume for five days, of the ledger none in the last two."""
        wanted = [{"Name": "tag:Backup", "Values": ["true"]}]
        volumes = [volume["VolumeId"] for volume in self.ec2.describe_volumes(Filters=wanted)["Volumes"]]
        snapshots = []
        for volume in volumes:
            for days in range(2 if volume == self.ledger else 0, 5):
                slot = self.slot - timedelta(days=days)
                snapshots.append(seeded_snapshot(volume, slot))
        self.aws.control("POST", "snapshots", snapshots=snapshots)

    def _private_subnet(self) -> None:
        """An instance whose endpoints' security group lets nobody in."""
        vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
        subnet = self.ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
        group = self.ec2.create_security_group(GroupName="endpoints", Description="Endpoints", VpcId=vpc)["GroupId"]
        for service in ("ssm", "ssmmessages", "ec2messages"):
            self.ec2.create_vpc_endpoint(
                VpcId=vpc,
                VpcEndpointType="Interface",
                ServiceName=f"com.amazonaws.{REGION}.{service}",
                SubnetIds=[subnet],
                SecurityGroupIds=[group],
                PrivateDnsEnabled=True,
            )
        self.orders = self._run("orders", subnet=subnet, backup="true")

    # ---- what happens ----

    def denied_snapshot(self) -> None:
        """A new volume, and EC2 refuses its first snapshot."""
        self._volume("invoices", Backup="true")
        refused = {"service": "ec2", "operation": "CreateSnapshot", "error": "UnauthorizedOperation", "count": 1}
        self.aws.control("POST", "faults", caller=function_of(SNAPSHOT_VOLUMES), **refused)

    def bad_release(self) -> None:
        self._release(healthy=False)

    def good_release(self) -> None:
        self._release(healthy=True)

    def _release(self, *, healthy: bool) -> None:
        image = self._image(f"web-{'good' if healthy else 'bad'}")
        self.aws.control("POST", "autoscaling/images", image_id=image, healthy=healthy, check="ec2")
        version = self.ec2.create_launch_template_version(
            LaunchTemplateName="shop", LaunchTemplateData={"ImageId": image, "InstanceType": "t3.micro"}
        )["LaunchTemplateVersion"]["VersionNumber"]
        template = {"LaunchTemplateName": "shop", "Version": str(version)}
        self.autoscaling.start_instance_refresh(
            AutoScalingGroupName="shop",
            DesiredConfiguration={"LaunchTemplate": template},
            Preferences={"InstanceWarmup": 120},
        )

    def more_instances(self) -> None:
        for name in ("api-3", "api-4"):
            self._run(name, backup="true")

    def enforce(self) -> None:
        self._put_policy("enforce")
        # A running process reads the policy again after a minute; a new one at once.
        functions = self.aws.client("lambda")
        for guardrail in (QUARANTINE_LAUNCH, SNAPSHOT_VOLUMES):
            functions.update_function_configuration(FunctionName=function_of(guardrail), MemorySize=257)

    def wrong_image_in_a_group(self) -> None:
        self.aws.control("POST", "autoscaling/images", image_id=self.wrong, healthy=False, check="ec2")
        data = {"ImageId": self.wrong, "InstanceType": "t3.micro"}
        self.ec2.create_launch_template(LaunchTemplateName="cluster", LaunchTemplateData=data)
        self._group("cluster", "1", 1)

    def wrong_image_by_hand(self) -> None:
        self._run("experiment", image=self.wrong)

    def key_enabled(self) -> None:
        """The ledger's snapshots work again: the next try is completed."""
        self.aws.control("PATCH", "settings", snapshot_errors=[])

    def group_corrected(self) -> None:
        version = self.ec2.create_launch_template_version(
            LaunchTemplateName="cluster", LaunchTemplateData={"ImageId": self.image, "InstanceType": "t3.micro"}
        )["LaunchTemplateVersion"]["VersionNumber"]
        self.autoscaling.update_auto_scaling_group(
            AutoScalingGroupName="cluster", LaunchTemplate={"LaunchTemplateName": "cluster", "Version": str(version)}
        )
        report = self.aws.command(QUARANTINE_LAUNCH, "release", group="cluster")
        holds(report["outcomes"]["done"] == 1, f"the group is released: {report}")

    # ---- the means ----

    def _put_policy(self, mode: str) -> None:
        document = POLICY.format(mode=mode, hour=self.slot.hour)
        self.aws.client("ssm").put_parameter(
            Name="/ec2-guardrails/policy", Type="String", Value=document, Overwrite=True
        )

    def _image(self, name: str) -> str:
        return self.ec2.register_image(
            Name=name, Architecture="x86_64", VirtualizationType="hvm", RootDeviceName="/dev/xvda"
        )["ImageId"]

    def _run(self, name: str, *data: str, image: str = "", subnet: str = "", backup: str = "", **tags: str) -> str:
        request: dict[str, Any] = {"SubnetId": subnet} if subnet else {}
        labels = {"instance": {"Name": name} | tags, "volume": {"Name": name} | ({"Backup": backup} if backup else {})}
        answer = self.ec2.run_instances(
            ImageId=image or self.image,
            InstanceType="t3.micro",
            MinCount=1,
            MaxCount=1,
            BlockDeviceMappings=[{"DeviceName": d, "Ebs": {"VolumeSize": 20, "VolumeType": "gp3"}} for d in data],
            TagSpecifications=[
                {"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in given.items()]}
                for kind, given in labels.items()
            ],
            **request,
        )
        return answer["Instances"][0]["InstanceId"]

    def _volume(self, name: str, **tags: str) -> str:
        volume = self.ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=20, VolumeType="gp3")["VolumeId"]
        self._tag([volume], Name=name, **tags)
        return volume

    def _group(self, name: str, version: str, size: int) -> None:
        self.autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=name,
            LaunchTemplate={"LaunchTemplateName": name, "Version": version},
            AvailabilityZones=[f"{REGION}a", f"{REGION}b"],
            MinSize=1,
            MaxSize=2 * size,
            DesiredCapacity=size,
        )

    def _tag(self, resources: list[str], **tags: str) -> None:
        self.ec2.create_tags(Resources=resources, Tags=[{"Key": k, "Value": v} for k, v in tags.items()])

    def _described(self, instance: str) -> dict[str, Any]:
        return self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
