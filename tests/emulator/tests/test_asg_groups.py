"""Groups keep their capacity: launches, failures, health, replacement, scaling in."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asg_help import ZONES, Bus, Web
from ec2_help import eventually, refused


def test_a_group_launches_from_its_template_over_its_zones(emulator: Any) -> None:
    bus = Bus(emulator)
    tags = [{"Key": "Name", "Value": "web", "PropagateAtLaunch": True}, {"Key": "Own", "Value": "x"}]
    web = Web(emulator, 4, Tags=tags)
    assert [m["LifecycleState"] for m in web.members()] == ["Pending"] * 4
    assert all(a["StatusCode"] == "PreInService" and "EndTime" not in a for a in web.activities())
    web.up()
    assert sorted(m["AvailabilityZone"] for m in web.members()) == [ZONES[0]] * 2 + [ZONES[1]] * 2
    described = web.ec2.describe_instances(InstanceIds=sorted(web.ids()))["Reservations"]
    for instance in (i for r in described for i in r["Instances"]):
        own = {t["Key"]: t["Value"] for t in instance["Tags"]}
        assert own == {
            "Name": "web",
            "aws:autoscaling:groupName": "web",
            "aws:ec2launchtemplate:id": web.template,
            "aws:ec2launchtemplate:version": "1",
        }
        assert instance["ImageId"] == web.good
    done = web.activities()
    assert {a["StatusCode"] for a in done} == {"Successful"} and all(a["Progress"] == 100 for a in done)
    first = done[-1]
    assert first["Description"].startswith("Launching a new EC2 instance: i-")
    assert "a user request created an AutoScalingGroup changing the desired capacity from 0 to 4." in first["Cause"]
    assert "increasing the capacity from 0 to 1." in first["Cause"]
    assert json.loads(first["Details"])["Availability Zone"] == ZONES[0]
    events = bus.read()
    assert [e["detail-type"] for e in events] == ["EC2 Instance Launch Successful"] * 4
    detail = events[0]["detail"]
    assert detail["StatusCode"] == "InProgress" and detail["EC2InstanceId"] in web.ids()
    assert (detail["Origin"], detail["Destination"]) == ("EC2", "AutoScalingGroup")
    assert detail["ActivityId"] in {a["ActivityId"] for a in done}


def test_what_default_and_latest_mean_is_decided_at_each_launch(emulator: Any) -> None:
    web = Web(emulator, 1, version="$Latest").up()
    web.version()
    web.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=2)
    web.up()
    assert web.versions() == ["1", "2"]
    assert web.group()["LaunchTemplate"]["Version"] == "$Latest"


@pytest.mark.parametrize(
    "broken, message",
    [
        ({"ImageId": "ami-0123456789abcdef0"}, "The image id '[ami-0123456789abcdef0]' does not exist"),
        ({"SecurityGroupIds": ["sg-0123456789abcdef0"]}, "The security group 'sg-0123456789abcdef0' does not exist"),
        ({"KeyName": "gone"}, "The key pair 'gone' does not exist"),
        ({"InstanceType": "t9.huge"}, "t9.huge"),
    ],
)
def test_a_launch_that_fails_is_an_activity_and_an_event_and_is_tried_again(
    emulator: Any, broken: dict[str, Any], message: str
) -> None:
    web = Web(emulator, 1, version="$Latest").up()
    bus = Bus(emulator)
    web.version(**broken)
    web.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=2)
    assert len(web.activities()) == 2, "a second attempt must wait"
    web.wait(100)
    failed = [a for a in web.activities() if a["StatusCode"] == "Failed"]
    assert len(failed) == 3, "at 0, 30 and 90 seconds"
    for activity in failed:
        assert message in activity["StatusMessage"]
        assert activity["StatusMessage"].endswith(". Launching EC2 instance failed.")
        assert activity["Description"] == f"Launching a new EC2 instance.  Status Reason: {activity['StatusMessage']}"
    events = bus.read()
    assert [e["detail-type"] for e in events] == ["EC2 Instance Launch Unsuccessful"] * 3
    assert events[0]["detail"]["StatusMessage"] == failed[0]["StatusMessage"]
    detail = events[0]["detail"]
    assert detail["StatusCode"] == "Failed" and detail["EC2InstanceId"] == ""
    assert detail["Description"] == failed[0]["Description"]
    (arn,) = events[0]["resources"]
    assert arn.endswith(":autoScalingGroupName/web")
    # The end is in whole seconds, and so before the start.
    assert detail["EndTime"] == detail["StartTime"][:19] + "Z"
    assert [a["EndTime"] for a in failed] == [a["StartTime"].replace(microsecond=0) for a in failed]
    web.version()
    assert web.wait(300, until="settled")["reached"], "it recovers with a good version"


def test_a_template_is_tried_when_it_is_given(emulator: Any) -> None:
    web = Web(emulator, 0)
    bad = web.version(ImageId="ami-0123456789abcdef0")
    template = {"LaunchTemplateId": web.template, "Version": bad}
    with refused("ValidationError", "fully-formed launch template", "does not exist"):
        web.asg.update_auto_scaling_group(AutoScalingGroupName="web", LaunchTemplate=template)
    with refused("ValidationError", "fully-formed launch template"):
        web.start(bad)


def test_without_capacity_in_one_zone_it_launches_in_the_other(emulator: Any) -> None:
    shortage = [{"availability_zone": ZONES[0]}]
    emulator.control("PATCH", "settings", insufficient_capacity=shortage)
    web = Web(emulator, 2)
    web.wait(40)
    failed = [a for a in web.activities() if a["StatusCode"] == "Failed"]
    assert "We currently do not have sufficient t3.micro capacity" in failed[0]["StatusMessage"]
    assert web.wait(600, until="settled")["reached"]
    assert {m["AvailabilityZone"] for m in web.members()} == {ZONES[1]}


def test_a_stopped_or_terminated_member_is_replaced(emulator: Any) -> None:
    web = Web(emulator, 2).up()
    stopped, terminated = sorted(web.ids())
    web.ec2.stop_instances(InstanceIds=[stopped])
    web.ec2.terminate_instances(InstanceIds=[terminated])
    web.wait(20)
    assert web.wait(300, until="settled")["reached"]
    assert not web.ids() & {stopped, terminated} and len(web.ids()) == 2
    causes = [a["Cause"] for a in web.activities()]
    words = "was taken out of service in response to an EC2 health check indicating it has been terminated or stopped."
    assert sum(words in c for c in causes) == 2
    assert sum("in response to an unhealthy instance needing to be replaced." in c for c in causes) == 2
    state = web.ec2.describe_instances(InstanceIds=[stopped])["Reservations"][0]["Instances"][0]["State"]["Name"]
    assert state == "terminated"


def test_suspended_processes_stop_the_loop(emulator: Any) -> None:
    web = Web(emulator, 2).up()
    one, _ = sorted(web.ids())
    web.asg.suspend_processes(AutoScalingGroupName="web", ScalingProcesses=["Launch", "ReplaceUnhealthy"])
    assert {p["ProcessName"] for p in web.group()["SuspendedProcesses"]} == {"Launch", "ReplaceUnhealthy"}
    assert web.group()["SuspendedProcesses"][0]["SuspensionReason"].startswith("User suspended at 20")
    web.ec2.stop_instances(InstanceIds=[one])
    web.wait(300)
    member = next(m for m in web.members() if m["InstanceId"] == one)
    assert (member["LifecycleState"], member["HealthStatus"]) == ("InService", "Unhealthy")
    web.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=3)
    web.wait(100)
    assert len(web.ids()) == 2
    web.asg.resume_processes(AutoScalingGroupName="web", ScalingProcesses=["Launch", "ReplaceUnhealthy"])
    assert web.wait(300, until="settled")["reached"]
    assert len(web.ids()) == 3 and one not in web.ids()
    with refused("ValidationError", "Sleep"):
        web.asg.suspend_processes(AutoScalingGroupName="web", ScalingProcesses=["Sleep"])


def test_an_unhealthy_image_is_replaced_again_and_again_after_its_grace(emulator: Any) -> None:
    web = Web(emulator, 1, HealthCheckGracePeriod=60).up()
    emulator.control("POST", "autoscaling/images", image_id=web.good, healthy=False, check="ec2")
    web.wait(30)
    assert web.history()["terminated"] == 0, "within the grace period"
    web.wait(600)
    assert web.history()["terminated"] >= 3
    assert any("EC2 instance status checks failure" in a["Cause"] for a in web.activities())


def test_scaling_in_takes_other_templates_and_spares_the_protected(emulator: Any) -> None:
    web = Web(emulator, 2, version="$Latest").up()
    old = sorted(web.ids())
    web.asg.set_instance_protection(
        AutoScalingGroupName="web", InstanceIds=old[:1], ProtectedFromScaleIn=True
    )
    web.version()
    web.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=4)
    web.up()
    web.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=1)
    web.up()
    assert web.ids() == {old[0]}
    cause = next(a["Cause"] for a in web.activities() if old[1] in a["Description"] and "Termin" in a["Description"])
    assert "explicitly set group desired capacity changing the desired capacity from 4 to 1." in cause
    assert f"instance {old[1]} was selected for termination." in cause


def test_sizes_and_names_are_checked(emulator: Any) -> None:
    web = Web(emulator, 1, MinSize=1, MaxSize=2)
    with refused("ValidationError", "above max value 2"):
        web.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=3)
    with refused("ValidationError", "below min value 1"):
        web.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=0)
    with refused("ValidationError", "not found"):
        web.asg.set_desired_capacity(AutoScalingGroupName="nobody", DesiredCapacity=0)
    with refused("AlreadyExists"):
        web.asg.create_auto_scaling_group(
            AutoScalingGroupName="web",
            MinSize=0,
            MaxSize=1,
            LaunchTemplate={"LaunchTemplateId": web.template},
            AvailabilityZones=[ZONES[0]],
        )
    with refused("ResourceInUse"):
        web.asg.delete_auto_scaling_group(AutoScalingGroupName="web")
    web.asg.delete_auto_scaling_group(AutoScalingGroupName="web", ForceDelete=True)
    with refused("ValidationError"):
        web.activities()


def test_activities_by_time_and_page(emulator: Any) -> None:
    web = Web(emulator, 3).up()
    web.wait(600)
    now = datetime.now(UTC)
    web.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=5)
    bound = [{"Name": "StartTimeLowerBound", "Values": [(now - timedelta(seconds=5)).isoformat()]}]
    assert len(web.activities(Filters=bound)) == 2
    until = [{"Name": "StartTimeUpperBound", "Values": [(now - timedelta(seconds=5)).isoformat()]}]
    assert len(web.activities(Filters=until)) == 3
    emulator.control("POST", "paging", short_pages=True)
    pages = list(web.asg.get_paginator("describe_scaling_activities").paginate(AutoScalingGroupName="web"))
    emulator.control("POST", "paging", short_pages=False)
    assert pages[0]["Activities"] == [] and sum(len(p["Activities"]) for p in pages) == 5
    small = web.asg.describe_scaling_activities(AutoScalingGroupName="web", MaxRecords=2)
    assert len(small["Activities"]) == 2 and small["NextToken"]
    with refused("InvalidNextToken"):
        web.activities(NextToken="?")


def test_groups_by_tag_and_tags(emulator: Any) -> None:
    web = Web(emulator, 0, Tags=[{"Key": "a", "Value": "1"}])
    tag = {"ResourceId": "web", "ResourceType": "auto-scaling-group", "Key": "b", "PropagateAtLaunch": False}
    web.asg.create_or_update_tags(Tags=[tag | {"Value": "2"}])
    find = web.asg.describe_auto_scaling_groups
    assert len(find(Filters=[{"Name": "tag-value", "Values": ["2"]}])["AutoScalingGroups"]) == 1
    assert len(find(Filters=[{"Name": "tag:b", "Values": ["3"]}])["AutoScalingGroups"]) == 0
    assert [t["Key"] for t in web.group()["Tags"]] == ["a", "b"]
    with refused("ValidationError", "aws:"):
        web.asg.create_or_update_tags(Tags=[tag | {"Key": "aws:x", "Value": "2"}])
    web.asg.delete_tags(Tags=[tag])
    assert [t["Key"] for t in web.group()["Tags"]] == ["a"]


def test_in_real_time_the_scale_shortens_the_waits(emulator: Any) -> None:
    emulator.control("PATCH", "settings", autoscaling_time_scale=0.01)
    web = Web(emulator, 2)
    eventually(lambda: all(m["LifecycleState"] == "InService" for m in web.members()))


def test_an_operator_is_shown(emulator: Any) -> None:
    web = Web(emulator, 0)
    assert "Operator" not in web.group()
    emulator.control(
        "POST", "autoscaling/groups", group="web", operator="eks.amazonaws.com", tags={"aws:cloudformation:x": "y"}
    )
    assert web.group()["Operator"] == {"Principal": "eks.amazonaws.com"}
    assert web.group()["Tags"][0]["Key"] == "aws:cloudformation:x"


def test_a_mixed_instances_policy_and_its_first_type(emulator: Any) -> None:
    web = Web(emulator, 0)
    specification = {"LaunchTemplateSpecification": {"LaunchTemplateName": "web"}}
    policy = {"LaunchTemplate": specification | {"Overrides": [{"InstanceType": "t3.small"}]}}
    web.asg.create_auto_scaling_group(
        AutoScalingGroupName="mixed",
        MixedInstancesPolicy=policy,
        MinSize=1,
        MaxSize=1,
        AvailabilityZones=[ZONES[0]],
        NewInstancesProtectedFromScaleIn=True,
    )
    (group,) = web.asg.describe_auto_scaling_groups(AutoScalingGroupNames=["mixed"])["AutoScalingGroups"]
    (member,) = group["Instances"]
    assert member["InstanceType"] == "t3.small" and member["ProtectedFromScaleIn"]
    shown = group["MixedInstancesPolicy"]["LaunchTemplate"]["LaunchTemplateSpecification"]
    assert shown == {"LaunchTemplateId": web.template, "LaunchTemplateName": "web"} and "LaunchTemplate" not in group


def test_a_launch_configuration_launches_too(emulator: Any) -> None:
    web = Web(emulator, 0)
    web.asg.create_launch_configuration(
        LaunchConfigurationName="old", ImageId=web.good, InstanceType="t3.micro", SecurityGroups=[]
    )
    web.asg.create_auto_scaling_group(
        AutoScalingGroupName="old", LaunchConfigurationName="old", MinSize=1, MaxSize=1, AvailabilityZones=[ZONES[0]]
    )
    (group,) = web.asg.describe_auto_scaling_groups(AutoScalingGroupNames=["old"])["AutoScalingGroups"]
    assert group["LaunchConfigurationName"] == "old" and "LaunchTemplate" not in group
    (member,) = group["Instances"]
    assert member["LaunchConfigurationName"] == "old"
    (launched,) = web.ec2.describe_instances(InstanceIds=[member["InstanceId"]])["Reservations"][0]["Instances"]
    assert "PublicIpAddress" in launched  # the default subnet's doing: nobody said otherwise
