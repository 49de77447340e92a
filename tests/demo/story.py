"""Incidents 1, 2 and 5, and those of modules of their own: all first without the guardrails, then with them.

Each scene does something, reads back what came of it, and says only what holds.
"""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from demo import dashboard, timeline
from demo.launches import Launches
from demo.local_aws import (
    ACCOUNT,
    ATTACH_SSM_ROLE,
    DASHBOARD,
    REGION,
    SNAPSHOT_VOLUMES,
    STACK,
    LocalAws,
    function_of,
    seeded_snapshot,
    tags_of,
)
from demo.releases import REPOSITORY, Releases
from demo.timeline import DoesNotHold, block, details, event, holds, outcome, text, title

ZONE, OTHER_ZONE = "eu-central-1a", "eu-central-1b"
LINUX_NAME = "al2023-ami-2023.9.20251117.1-kernel-6.12-x86_64"
IMAGE_NAME = "ubuntu/images/hvm-ssd/ubuntu-focal-20.04-amd64-server-20230517"
KEY_DISABLED = "Client error occurred: the KMS key is disabled (Client.InvalidKMSKey.InvalidState)"
ELSEWHERE = "eu-west-1"
POLICY = """\
snapshot-volumes:
  plans:
    - name: daily
      select: { tag: Backup, values: ["true", daily] }
      schedule: "0 3 * * *"
      keep: { last: 2, daily: 7, weekly: 4, monthly: 2 }
  brake: { percent: 100 }   # the big clean-up is meant
"""

# The same, with copies elsewhere, and drills that try them.
COPYING = POLICY.replace("  brake:", f"      copies: [{{ region: {ELSEWHERE}, keep: {{ last: 1 }} }}]\n  brake:")
DRILL = f"  drills: [{{ name: elsewhere, schedule: '0 0 * * *', region: {ELSEWHERE}, volumes: 9 }}]\n"


class Story:
    def __init__(self, aws: LocalAws, template: Path) -> None:
        self.aws, self.template = aws, template
        self.ec2 = aws.client("ec2")
        self.image = ""
        self.shop: dict[str, str] = {}  # device → volume
        self.shop_instance = self.archive = ""
        self.orders, self.endpoints, self.endpoint_group = "", {}, ""  # incident 5
        self.releases = Releases(aws)  # incident 4
        self.launches = Launches(aws)  # incident 3

    def tell(self) -> None:
        text(
            "Five incidents of real accounts, replayed on a local AWS on this machine: first as they went, then with "
            "ec2-guardrails. `sam deploy` deploys the real template, Lambda runs the real functions, and each thing "
            "that is said to have happened is read back from the local AWS first."
        )
        timeline.without(1, "locked out, and nothing to go back to")
        self.without()
        timeline.without(2, "backups that somebody has to remember")
        self.without_backups()
        timeline.without(3, 'the wrong "latest" image, launched for ever')
        self.launches.without()
        timeline.without(4, "a script that cancels good releases and misses bad ones")
        self.releases.without()
        timeline.without(5, "a private instance that Session Manager can't see")
        self.without_session_manager()
        title("Now with ec2-guardrails")
        self.deploy()
        timeline.guarded(1)
        self.run_shop()
        self.second_door()
        self.first_sweep()
        self.restore()
        timeline.guarded(2)
        self.failed_snapshot()
        kept = self.pruning()
        self.copies(kept)
        timeline.guarded(3)
        self.launches.guarded(COPYING)
        timeline.guarded(4)
        self.releases.guarded(self.outputs()["InstanceProfileArn"])
        timeline.guarded(5)
        self.missing_piece()
        self.dashboard()
        timeline.summary()

    # ---- incident 1 without ----

    def without(self) -> None:
        self.image = self.ec2.register_image(
            Name=IMAGE_NAME, Architecture="x86_64", VirtualizationType="hvm", RootDeviceName="/dev/sda1"
        )["ImageId"]
        instance, volumes = self._launch("shop")
        event("owner", f"runs the shop on one instance, {instance}. A firewall rule inside it now blocks SSH.")
        (volume,) = volumes.values()
        found = self.ec2.describe_snapshots(
            OwnerIds=["self"], Filters=[{"Name": "volume-id", "Values": [volume]}]
        )["Snapshots"]
        state = self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["State"]["Name"]
        holds(state == "running", f"{instance} is running")
        holds(not found, f"{volume} has no snapshot")
        event("EC2", f"says the instance is {state}; its volume {volume} has {len(found)} snapshots.")
        holds(self.aws.node(instance) is None, f"{instance} is no managed node")
        event("Systems Manager", "doesn't know it: Session Manager was never set up. There is no second door.")
        self.ec2.terminate_instances(InstanceIds=[instance])
        left = self.ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": [volume]}])["Volumes"]
        holds(not left, f"{volume} is gone with {instance}")
        event("owner", f"gives up and terminates it; {volume} is gone with it. Everything is rebuilt by hand.")
        outcome(1, "no second door and no snapshot; the disk is gone, everything rebuilt by hand", guarded=False)

    def _launch(self, name: str, *data: str) -> tuple[str, dict[str, str]]:
        """An instance with a root volume and data volumes on the given devices; its volumes by device."""
        answer = self.ec2.run_instances(
            ImageId=self.image,
            InstanceType="t3.micro",
            MinCount=1,
            MaxCount=1,
            Placement={"AvailabilityZone": ZONE},
            BlockDeviceMappings=[{"DeviceName": d, "Ebs": {"VolumeSize": 20, "VolumeType": "gp3"}} for d in data],
            TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}],
        )
        instance = answer["Instances"][0]["InstanceId"]
        attached = self.ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance]}])
        return instance, {v["Attachments"][0]["Device"]: v["VolumeId"] for v in attached["Volumes"]}

    # ---- incident 2 without ----

    def without_backups(self) -> None:
        volume = self.ec2.create_volume(AvailabilityZone=ZONE, Size=20, VolumeType="gp3")["VolumeId"]
        self._tag([volume], Name="application-data")
        by_hand = [
            {"volume_id": volume, "age_seconds": days * 86400, "description": "Daily backup of application data"}
            for days in (75, 74, 73, 40, 19)
        ]
        self.aws.control("POST", "snapshots", snapshots=by_hand)
        wanted = [{"Name": "volume-id", "Values": [volume]}]
        found = self.ec2.describe_snapshots(OwnerIds=["self"], Filters=wanted)["Snapshots"]
        ages = sorted((datetime.now(timezone.utc) - snapshot["StartTime"]).days for snapshot in found)
        holds(len(ages) == len(by_hand), "the snapshots made by hand are there")
        event(
            "owner",
            f"makes snapshots of {volume} by hand, `{found[0]['Description']}`: on the first three days, then when "
            f"somebody thinks of it. {len(ages)} in 75 days.",
        )
        self.ec2.delete_volume(VolumeId=volume)
        left = self.ec2.describe_volumes(Filters=wanted)["Volumes"]
        holds(not left and ages[0] == 19, f"{volume} is gone, and its newest snapshot is 19 days old")
        event("EC2", f"{volume} is deleted by mistake. Its newest snapshot is {ages[0]} days old.")
        outcome(2, f"the newest snapshot was {ages[0]} days old when it was needed, and nobody had been told", guarded=False)

    # ---- incident 5 without ----

    def without_session_manager(self) -> None:
        """The tutorial's private subnet, with its three endpoints, and a rule that was forgotten."""
        vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
        subnet = self.ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZone=ZONE)["Subnet"]["SubnetId"]
        self.endpoint_group = self.ec2.create_security_group(
            GroupName="endpoints", Description="Endpoints of Systems Manager", VpcId=vpc
        )["GroupId"]
        for service in ("ssm", "ssmmessages", "ec2messages"):
            self.endpoints[service] = self.ec2.create_vpc_endpoint(
                VpcId=vpc,
                VpcEndpointType="Interface",
                ServiceName=f"com.amazonaws.{REGION}.{service}",
                SubnetIds=[subnet],
                SecurityGroupIds=[self.endpoint_group],
                PrivateDnsEnabled=True,
            )["VpcEndpoint"]["VpcEndpointId"]
        image = self.ec2.register_image(
            Name=LINUX_NAME, Architecture="x86_64", VirtualizationType="hvm", RootDeviceName="/dev/xvda"
        )["ImageId"]
        self.orders = self.ec2.run_instances(
            ImageId=image,
            InstanceType="t3.micro",
            MinCount=1,
            MaxCount=1,
            SubnetId=subnet,
            TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "orders"}]}],
        )["Instances"][0]["InstanceId"]
        event(
            "owner",
            f"launches {self.orders} (orders) in a private subnet, with no role (\"I'll add it later\"), beside the "
            "three endpoints that Session Manager needs.",
        )
        agent = self.aws.try_agent(self.orders)
        holds(agent["outcome"] == "no credentials", "the agent finds no credentials")
        self.aws.pass_minutes(self.orders, 60)
        holds(self.aws.node(self.orders) is None, f"{self.orders} is no managed node")
        state = self.ec2.describe_instances(InstanceIds=[self.orders])["Reservations"][0]["Instances"][0]["State"]["Name"]
        holds(state == "running", f"{self.orders} is running")
        event(
            "Systems Manager",
            "an hour later it still shows no such node. EC2 says that all is well: the instance is running. Nobody says "
            "what is missing.",
        )
        outcome(5, "an hour later it is no managed node, and nobody says why", guarded=False)

    # ---- deployment ----

    def deploy(self) -> None:
        event("owner", "sam deploy; its parameters name the releases' image repository and the Region for copies, and let restores be tried.")
        repository = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{REPOSITORY}"
        self.aws.deploy(self.template, ImageRepositoryArns=repository, CopyRegions=ELSEWHERE, RestoreDrills="true", Monitoring="full")
        event("owner", "confirms the subscription from the mail that SNS has sent; until then nobody would be notified.")
        stack = self.aws.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
        holds(stack["StackStatus"] == "CREATE_COMPLETE", f"the stack is {stack['StackStatus']}")
        resources = self._resources()
        kinds = Counter(resource["ResourceType"].removeprefix("AWS::") for resource in resources)
        events = self.aws.client("cloudformation").describe_stack_events(StackName=STACK)["StackEvents"]
        completed = max(e["Timestamp"] for e in events if e["PhysicalResourceId"] == stack["StackId"])
        shown = ", ".join(
            f"{kinds[kind]} {words}"
            for kind, words in {
                "Lambda::Function": "functions",
                "IAM::Role": "roles",
                "Scheduler::Schedule": "schedules",
                "Events::Rule": "event rules",
                "CloudWatch::Alarm": "alarms",
                "CloudWatch::Dashboard": "dashboard",
            }.items()
        )
        event(
            "CloudFormation",
            f"stack {STACK} is {stack['StackStatus']}, with {len(resources)} resources, among them {shown}.",
            completed,
        )
        run = self._first_run(SNAPSHOT_VOLUMES)
        holds(run["source"].startswith("schedule "), "the schedule has started the function by itself")
        holds(run["outcome"] == "success", f"the first sweep ended in {run['outcome']}: {run['response']}")
        event("Scheduler", "starts the first sweep by itself, as soon as the schedule is there.", run["queued"])
        report = run["response"]
        reason = report["decisions"][0]["reason"]
        holds(report["outcomes"]["done"] == 0, "the first sweep has nothing to do")
        holds("selects no volume" in reason, f"the first sweep says: {reason}")
        event("Lambda", f"{_run_of(run)}. Nothing to do: the plan `daily` {reason}.", run["ended"])
        run = self._first_run(ATTACH_SSM_ROLE)
        holds(run["outcome"] == "success", f"the first sweep ended in {run['outcome']}: {run['response']}")
        (attached,) = [d for d in run["response"]["decisions"] if d["action"] == "attach-profile"]
        holds(attached["resource"] == self.orders and attached["outcome"] == "done", "the sweep attaches the profile")
        profile = self.ec2.describe_instances(InstanceIds=[self.orders])["Reservations"][0]["Instances"][0]
        profile = profile["IamInstanceProfile"]["Arn"]
        holds(profile == self.outputs()["InstanceProfileArn"], "it is the stack's profile")
        event(
            "Lambda",
            f"{_run_of(run)}. It finds {self.orders}, which existed before, without a profile, and attaches "
            f"{profile.rsplit('/')[-1]}.",
            run["ended"],
        )

    def _resources(self, stack: str = STACK) -> list[dict[str, Any]]:
        """Of the stack, and of the one in it."""
        pages = self.aws.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
        found = [resource for page in pages for resource in page["StackResourceSummaries"]]
        nested = [r["PhysicalResourceId"] for r in found if r["ResourceType"] == "AWS::CloudFormation::Stack"]
        return [*found, *(resource for each in nested for resource in self._resources(each))]

    def _first_run(self, guardrail: str) -> dict[str, Any]:
        until = time.monotonic() + 15
        while time.monotonic() < until:
            if runs := self.aws.runs(guardrail):
                self.aws.wait_until_idle()
                return self.aws.runs(guardrail, request_id=runs[0]["request_id"])[-1]
            time.sleep(0.05)
        raise DoesNotHold(f"the schedule has started {guardrail} by itself within 15 seconds")

    def outputs(self) -> dict[str, str]:
        stack = self.aws.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    # ---- incident 1 with ----

    def run_shop(self) -> None:
        instance, self.shop = self._launch("shop", "/dev/sdf", "/dev/sdg")
        self.shop_instance = instance
        root, database, scratch = (self.shop[device] for device in ("/dev/sda1", "/dev/sdf", "/dev/sdg"))
        self._tag([root, database], Backup="true")
        self._tag([database], Name="database", Team="shop")
        self.archive = self.ec2.create_volume(AvailabilityZone=ZONE, Size=100, VolumeType="gp3")["VolumeId"]
        self._tag([self.archive], Backup="daily", Name="archive")
        event(
            "owner",
            f"runs the shop again, {instance}, and tags Backup=true on the root volume {root} and the database "
            f"{database}, not on {scratch} (scratch). {self.archive} (archive), attached to nothing, gets Backup=daily.",
        )
        self.aws.wait_until_idle()

    def first_sweep(self) -> None:
        instance, archive = self.shop_instance, self.archive
        root, database, scratch = (self.shop[device] for device in ("/dev/sda1", "/dev/sdf", "/dev/sdg"))
        run = self._sweep()
        policy = run["response"]["policy"]
        holds(policy == "built-in default", "no policy parameter: the built-in policy holds")
        event("Lambda", f"{_run_of(run)}, under the {policy}.", run["ended"])

        (together,) = self.aws.calls_of(run, "CreateSnapshots")
        alone = self.aws.calls_of(run, "CreateSnapshot")
        left_out = together["parameters"]["InstanceSpecification"]["ExcludeDataVolumeIds"]
        made = {s["VolumeId"]: s for s in self.aws.snapshots(plan="daily")}
        holds(made.keys() == {root, database, archive}, "exactly the tagged volumes have a snapshot")
        holds(made[root]["StartTime"] == made[database]["StartTime"], "the set has one point in time")
        holds(left_out == [scratch], "CreateSnapshots leaves out the scratch volume")
        holds([call["parameters"]["VolumeId"] for call in alone] == [archive], "the archive goes alone")
        moment = made[root]["StartTime"].strftime("%H:%M:%S.%f")[:-3]
        event(
            "EC2",
            f"one CreateSnapshots takes {root} and {database} together, crash-consistent, at {moment} UTC, without "
            f"{scratch}; one CreateSnapshot takes {archive}.",
            together["time"],
        )
        event("EC2", f"{made[database]['SnapshotId']}, of the database, says where it comes from:")
        tags = tags_of(made[database])
        holds(tags["ec2-guardrails:instance"] == instance, "the snapshot names its instance")
        holds(tags["Team"] == "shop" and tags["Name"] == "database", "it has the volume's own tags")
        details((key, value) for key, value in sorted(tags.items()) if not key.endswith((":attempt", ":guardrail", ":set")))

        self._wait_for({s["SnapshotId"] for s in made.values()}, "completed")
        event("EC2", f"all {len(made)} snapshots are completed.")
        again = self._sweep(told=False)
        created = self.aws.calls_of(again, "CreateSnapshot", "CreateSnapshots")
        reads = len(self.aws.calls_of(again))
        holds(not created, "a second sweep creates nothing")
        holds(again["response"]["outcomes"]["done"] == 0, "a second sweep does nothing")
        event("Lambda", f"the next sweep makes {reads} calls, all of them reads: each slot has its snapshot.")

    def second_door(self) -> None:
        instance = self.shop_instance
        (run,) = [r for r in self.aws.runs(ATTACH_SSM_ROLE) if r["source"].startswith("rule ") and r["event"]["detail"]["instance-id"] == instance]
        holds(run["event"]["detail"]["state"] == "running", "the event is of its start")
        (attached,) = run["response"]["decisions"]
        holds(attached["action"] == "attach-profile" and attached["outcome"] == "done", "its event attached the profile")
        event("EventBridge", f"{instance} came to be running, which started {function_of(ATTACH_SSM_ROLE)}.", run["queued"])
        event("Lambda", "attached the instance profile within that run, before the agent looked for credentials.", run["ended"])
        agent = self.aws.try_agent(instance)
        holds(agent["online"] and agent["usable"], f"the agent registers, not: {agent['reason']}")
        node = self.aws.node(instance)
        holds(node and node["PingStatus"] == "Online", f"{instance} is Online")
        status = self.aws.client("ssm").get_connection_status(Target=instance)["Status"]
        holds(status == "connected", f"Session Manager reaches {instance}")
        event(
            "Systems Manager",
            f"the agent registers (here at once): {instance} is {node['PingStatus']}, and Session Manager is {status}. "
            "When a firewall rule blocks SSH again, the second door is open.",
        )

    def restore(self) -> None:
        root = self.shop["/dev/sda1"]
        snapshot = self.aws.snapshots(plan="daily")[0]
        (snapshot,) = [s for s in self.aws.snapshots(plan="daily") if s["VolumeId"] == root]
        tags = tags_of(snapshot)
        devices = dict(item.split("=") for item in tags["ec2-guardrails:volumes"].split(" "))
        holds(tags["ec2-guardrails:image-name"] == IMAGE_NAME, "the snapshot names its AMI")
        holds(devices[root] == "/dev/sda1", "the snapshot names its device")
        event("owner", "is locked out again, and this time looks at the snapshots.")
        event(
            "EC2",
            f"{snapshot['SnapshotId']} is {snapshot['State']}; it was {devices[root]} of "
            f"{tags['ec2-guardrails:instance']}, from {tags['ec2-guardrails:image-name']}: Ubuntu 20.04, not the 24.04 "
            "that the owner remembered.",
        )
        made = self.ec2.create_volume(SnapshotId=snapshot["SnapshotId"], AvailabilityZone=OTHER_ZONE)["VolumeId"]
        volume = self.ec2.describe_volumes(VolumeIds=[made])["Volumes"][0]
        holds(volume["State"] == "available", f"{made} is available")
        holds(volume["AvailabilityZone"] == OTHER_ZONE, f"{made} is in another zone")
        event(
            "EC2", f"a volume made from it, {made}, is {volume['State']} in {volume['AvailabilityZone']} (it was in {ZONE})."
        )
        outcome(
            1,
            f"Session Manager is the second door, and a volume made from the root's snapshot is {volume['State']} in "
            f"{volume['AvailabilityZone']}",
            guarded=True,
        )

    # ---- incident 2 with ----

    def failed_snapshot(self) -> None:
        ledger = self.ec2.create_volume(AvailabilityZone=ZONE, Size=10, VolumeType="gp3")["VolumeId"]
        self._tag([ledger], Backup="true", Name="ledger")
        event("owner", f"makes a volume during the day, {ledger} (ledger), tagged Backup=true.")
        # Until it is told to end.
        self.aws.control("PATCH", "settings", snapshot_pending_seconds=3600)
        run = self._sweep()
        (first,) = self._of(ledger)
        holds(run["response"]["outcomes"]["done"] == 1, "the sweep makes one snapshot")
        event("Lambda", f"the next sweep makes up for it: {first['SnapshotId']}.", run["ended"])
        # The 15 seconds that AWS wants between two snapshots of a volume (EBS-5) pass at once here.
        self.aws.control("POST", "snapshots/age", seconds=120)
        before = len(self.aws.runs(SNAPSHOT_VOLUMES))
        ended = {"snapshot_ids": [first["SnapshotId"]], "state": "error", "message": KEY_DISABLED}
        self.aws.control("POST", "snapshots/finish", **ended)
        self.aws.wait_until_idle()
        (first,) = [s for s in self._of(ledger) if s["SnapshotId"] == first["SnapshotId"]]
        holds(first["State"] == "error", f"{first['SnapshotId']} is in state error")
        event("EC2", f"two minutes later {first['SnapshotId']} ends in `{first['State']}`: {first['StateMessage']}")

        runs = self.aws.runs(SNAPSHOT_VOLUMES)[before:]
        holds(len(runs) == 1 and runs[0]["source"].startswith("rule "), "the event has started the function, once")
        what = runs[0]["event"]["detail"]
        event("EventBridge", f"the event {runs[0]['event']['detail-type']} ({what['event']} {what['result']}) starts the function.")
        attempts = {tags_of(s)["ec2-guardrails:attempt"]: s for s in self._of(ledger)}
        slots = {tags_of(s)["ec2-guardrails:slot"] for s in attempts.values()}
        holds(attempts.keys() == {"1", "2"} and len(slots) == 1, "the slot has a second attempt")
        event("Lambda", f"makes it again at once, in the same slot ({slots.pop()}): {attempts['2']['SnapshotId']}.")
        holds(len(self.aws.notices()) == 1, "one notice was sent")
        (notice,) = self.aws.notices()
        holds(KEY_DISABLED in notice["message"], "the notice has AWS's reason")
        event("SNS", "the owner gets one notice:")
        timeline.notice(notice)

        self._sweep(told=False)
        holds(len(self.aws.notices()) == 1, "the next sweep doesn't tell it again")
        self.aws.control("PATCH", "settings", snapshot_pending_seconds=1)
        self.aws.control("POST", "snapshots/finish")
        self._sweep(told=False)
        left = self._of(ledger)
        notices = self.aws.notices()
        holds([s["State"] for s in left] == ["completed"], "only the completed snapshot is left")
        holds(len(notices) == 2, "that it is resolved was told, once")
        event("Lambda", f"{left[0]['SnapshotId']} is completed; the failed one is removed, and the owner told:")
        timeline.notice(notices[1])

    def pruning(self) -> str:
        root, database = self.shop["/dev/sda1"], self.shop["/dev/sdf"]
        newest = self.aws.snapshots(plan="daily")[0]
        slot = datetime.fromisoformat(tags_of(newest)["ec2-guardrails:slot"])
        days = [slot - timedelta(days=n) for n in range(1, 70)]
        seeds = [seeded_snapshot(volume, day) for volume in (root, database) for day in days]
        self.aws.control("POST", "snapshots", snapshots=seeds)
        by_hand = self.aws.control(
            "POST",
            "snapshots",
            snapshots=[
                {
                    "volume_id": database,
                    "start_time": days[44].isoformat(),
                    "description": "before the upgrade",
                    "tags": {"Name": "before the upgrade"},
                }
            ],
        )["snapshot_ids"][0]
        owned = len(self.aws.snapshots(guardrail="snapshot-volumes"))
        holds(owned == len(seeds) + 4, "ten weeks of snapshots are there")
        event(
            "owner",
            f"ten weeks pass (they are put there as AWS would have them): {owned} snapshots of the guardrail. In "
            f"between the owner has made one by hand, {by_hand}, `before the upgrade`.",
        )
        run = self._sweep()
        report = run["response"]
        held = [d["reason"] for d in report["decisions"] if "deletion limit" in d["reason"]]
        holds(held and not self.aws.calls_of(run, "DeleteSnapshot"), "the deletion limit holds, and nothing is deleted")
        holds(len(self.aws.snapshots(guardrail="snapshot-volumes")) == owned, "all snapshots are still there")
        event("Lambda", f"{held[0]}. Too much at once may be a mistake in the policy.", run["ended"])
        event("SNS", "the owner is told:")
        timeline.notice(self.aws.notices()[-1])

        self.aws.client("ssm").put_parameter(
            Name="/ec2-guardrails/policy", Type="String", Value=POLICY, Description="Policy of ec2-guardrails"
        )
        # A running process reads it again after a minute; a new one at once.
        self.aws.client("lambda").update_function_configuration(FunctionName=function_of(SNAPSHOT_VOLUMES), MemorySize=257)
        event("owner", "confirms it in the policy, an SSM parameter; no deployment:")
        block(POLICY)
        run = self._sweep(told=False)
        policy = run["response"]["policy"]
        holds(policy == "version 1 of /ec2-guardrails/policy", f"the function follows the new policy, not {policy}")
        deleted = len(self.aws.calls_of(run, "DeleteSnapshot"))
        left = self.aws.snapshots(guardrail="snapshot-volumes")
        holds(deleted and len(left) == owned - deleted, "what was deleted is gone, and nothing else")
        event("Lambda", f"{_run_of(run)}: {deleted} snapshots deleted, {len(left)} left, under {policy}.", run["ended"])
        kept: dict[str, list[datetime]] = {root: [], database: []}
        for snapshot in left:
            if snapshot["VolumeId"] in kept:
                kept[snapshot["VolumeId"]].append(datetime.fromisoformat(tags_of(snapshot)["ec2-guardrails:slot"]))
        holds(sorted(kept[root]) == sorted(kept[database]), "both volumes keep the same days")
        days_kept = sorted(kept[database], reverse=True)
        last_week = {slot - timedelta(days=n) for n in range(7)}
        holds(last_week <= set(days_kept), "each of the last 7 days is kept")
        weeks = {day.isocalendar()[:2] for day in days_kept}
        holds(len(weeks) >= 4, "at least 4 weeks are kept")
        event("EC2", f"kept of the database, as of every volume: {_days(days_kept)}.")
        hand_made = self.ec2.describe_snapshots(SnapshotIds=[by_hand])["Snapshots"][0]
        holds(hand_made["State"] == "completed", "the snapshot made by hand is untouched")
        event("EC2", f"{by_hand}, made by hand, is still there: only what carries the guardrail's tag is ever deleted.")
        return f"{len(left)} of {owned} are kept, by rule, and those made by hand never touched"

    def _put_policy(self, document: str) -> None:
        """It holds at once: another configuration is another process, which reads it anew."""
        self.aws.client("ssm").put_parameter(
            Name="/ec2-guardrails/policy", Type="String", Value=document, Overwrite=True
        )
        function = function_of(SNAPSHOT_VOLUMES)
        memory = self.aws.client("lambda").get_function_configuration(FunctionName=function)["MemorySize"]
        self.aws.client("lambda").update_function_configuration(FunctionName=function, MemorySize=memory + 1)

    def copies(self, kept: str) -> None:
        """Against the loss of the whole Region."""
        database = self.shop["/dev/sdf"]
        self._put_policy(COPYING)
        event("owner", f"wants the newest of each volume in {ELSEWHERE} too:")
        block(COPYING)
        run = self._sweep()
        begun = len(self.aws.calls_of(run, "CopySnapshot"))
        event("Lambda", f"{_run_of(run)}: {begun} copies begun.", run["ended"])
        elsewhere = self.aws.client("ec2", ELSEWHERE)
        until = time.monotonic() + 30
        copies: list[dict[str, Any]] = []
        while time.monotonic() < until and not (copies and all(copy["State"] == "completed" for copy in copies)):
            time.sleep(0.1)
            copies = elsewhere.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        holds(begun and len(copies) == begun, f"{begun} copies are in {ELSEWHERE}")
        holds(all(copy["State"] == "completed" and copy["Encrypted"] for copy in copies), "completed, and encrypted")
        (copy,) = [copy for copy in copies if f" of {database} " in copy["Description"]]
        event("EC2", f"in {ELSEWHERE}, encrypted: {copy['SnapshotId']} (`{copy['Description']}`).")
        made = elsewhere.create_volume(SnapshotId=copy["SnapshotId"], AvailabilityZone=f"{ELSEWHERE}a")["VolumeId"]
        volume = elsewhere.describe_volumes(VolumeIds=[made])["Volumes"][0]
        holds(volume["State"] == "available", f"{made} is available")
        event("owner", f"makes a volume of it there, without anything of {REGION}: {made} is available.")
        self._put_policy(COPYING + DRILL)
        event("owner", "wants that tried every day, for whoever asks:")
        block(DRILL)
        run = self._sweep()
        read = len(self.aws.calls_of(run, "GetSnapshotBlock"))
        event("Lambda", f"{_run_of(run)}: {read} blocks of the copies read, their checksums compared.", run["ended"])
        proofs = self.aws.command(SNAPSHOT_VOLUMES, "proofs")["detail"]["proofs"]
        (proof,) = [row["proven"] for row in proofs if row["volume"] == database]
        holds(read and proof["snapshot"] == copy["SnapshotId"], "the database's copy is proven")
        holds(len(proofs) == begun and all(row["proven"] for row in proofs), "each copy is")
        event("auditor", f"asks for the proofs: of the database {proof['snapshot']}, {proof['found']}.")
        outcome(
            2,
            "each tagged volume has its snapshot of the day; a failed one was made again at once and told with AWS's "
            f"reason; {kept}; the newest of each lies encrypted in {ELSEWHERE}, a volume was made of it there, and each is proven to be readable",
            guarded=True,
        )

    # ---- incident 5 with ----

    def missing_piece(self) -> None:
        agent = self.aws.try_agent(self.orders)
        holds(agent["outcome"] == "no network", f"the agent gets no answer: {agent['reason']}")
        # What of the other incidents' groups was still to be told.
        self._sweep(ATTACH_SSM_ROLE, told=False)
        before = len(self.aws.notices())
        run = self._sweep(ATTACH_SSM_ROLE)
        (waiting,) = [d for d in run["response"]["decisions"] if d["resource"] == self.orders]
        holds(waiting["action"] == "wait" and len(self.aws.notices()) == before, "inside the window nothing is told")
        event("Lambda", f"{self.orders} (orders): {waiting['reason']}. No alarm yet.", run["ended"])
        self.aws.pass_minutes(self.orders, 36)
        event("owner", "36 minutes pass (here at once).")
        run = self._sweep(ATTACH_SSM_ROLE)
        notices = self.aws.notices()[before:]
        holds(len(notices) == 1, "one notice was sent")
        endpoint = self.endpoints["ssm"]
        holds(endpoint in notices[0]["message"], "the notice names the endpoint")
        event("SNS", "now the owner gets one notice, with the piece that is missing:", run["ended"])
        timeline.notice(notices[0])

        primary = self.aws.command(ATTACH_SSM_ROLE, "diagnose", **{"instance-id": self.orders})["detail"]["primary"]
        holds(primary["code"] == "endpoint-closed" and primary["resource"] == endpoint, "the diagnosis says the same")
        event("owner", f"asks again by the command `diagnose`, which changes nothing; the fix: {primary['fix']}")
        https = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}
        self.ec2.authorize_security_group_ingress(GroupId=self.endpoint_group, IpPermissions=[https])
        agent = self.aws.try_agent(self.orders)
        holds(agent["online"] and agent["usable"], f"the agent registers, not: {agent['reason']}")
        event("owner", f"adds the rule to {self.endpoint_group}; the agent's next attempt (here at once) succeeds.")
        self._sweep(ATTACH_SSM_ROLE, told=False)
        self._sweep(ATTACH_SSM_ROLE, told=False)
        node = self.aws.node(self.orders)
        holds(node and node["PingStatus"] == "Online", f"{self.orders} is Online")
        notices = self.aws.notices()[before:]
        holds(len(notices) == 2, "that it is resolved was told, once")
        event("SNS", f"{self.orders} is {node['PingStatus']}, and the owner is told so, once:")
        timeline.notice(notices[1])
        outcome(
            5,
            f"its profile came by itself, the notice named the security group of {endpoint}, and after the fix it is "
            f"{node['PingStatus']}",
            guarded=True,
        )

    # ---- the dashboard ----

    def dashboard(self) -> None:
        """Nothing on it stays empty."""
        cloudwatch = self.aws.client("cloudwatch")
        body = cloudwatch.get_dashboard(DashboardName=DASHBOARD)["DashboardBody"]
        silent = dashboard.without_data(cloudwatch, dashboard.metrics_of(dashboard.read(body)))
        holds(not silent, f"the functions have written each metric of the dashboard, but not {silent}")

    # ---- what several scenes need ----

    def _tag(self, resources: list[str], **tags: str) -> None:
        self.ec2.create_tags(Resources=resources, Tags=[{"Key": k, "Value": v} for k, v in tags.items()])

    def _sweep(self, guardrail: str = SNAPSHOT_VOLUMES, *, told: bool = True) -> dict[str, Any]:
        def tell(schedule: dict[str, Any]) -> None:
            event("Scheduler", f"the schedule fires ({schedule['expression']}; here at once).")

        return self.aws.sweep(guardrail, tell if told else None)

    def _of(self, volume: str) -> list[dict[str, Any]]:
        return [s for s in self.aws.snapshots(guardrail="snapshot-volumes") if s["VolumeId"] == volume]

    def _wait_for(self, snapshots: set[str], state: str) -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            found = self.ec2.describe_snapshots(SnapshotIds=sorted(snapshots))["Snapshots"]
            if all(snapshot["State"] == state for snapshot in found):
                holds(len(found) == len(snapshots), f"all snapshots are {state}")
                return
            time.sleep(0.1)
        raise DoesNotHold(f"{', '.join(sorted(snapshots))} are {state} within 30 seconds")


def _run_of(run: dict[str, Any]) -> str:
    """How the function ran, as Lambda's own report line has it."""
    milliseconds = (run["ended"] - run["started"]) * 1000
    start = "a new process" if run["cold_start"] else "a warm process"
    memory = (run["peak_memory_kb"] or 0) / 1024
    return f"{run['function']} runs in {start} ({run['pid']}): {milliseconds:.0f} ms, {memory:.0f} MB at its peak"


def _days(days: list[datetime]) -> str:
    return ", ".join(f"{day:%d %b}" for day in days)
