"""Standby, detach, attach, termination, health set by hand (AMI-6)."""

from __future__ import annotations

from typing import Any

from asg_help import Bus, Web
from ec2_help import refused


def state_of(web: Web, instance_id: str) -> str | None:
    return next((m["LifecycleState"] for m in web.members() if m["InstanceId"] == instance_id), None)


def test_standby_and_back(emulator: Any) -> None:
    web = Web(emulator, 2, MinSize=1).up()
    one, two = sorted(web.ids())
    answer = web.asg.enter_standby(
        AutoScalingGroupName="web", InstanceIds=[one], ShouldDecrementDesiredCapacity=True
    )["Activities"][0]
    assert answer["Description"] == f"Moving EC2 instance to Standby: {one}"
    assert "was moved to standby in response to a user request, shrinking the capacity from 2 to 1." in answer["Cause"]
    web.wait(60)
    assert state_of(web, one) == "Standby" and web.group()["DesiredCapacity"] == 1 and len(web.ids()) == 2
    with refused("ValidationError", f"The instance {one} is not in InService."):
        web.asg.enter_standby(AutoScalingGroupName="web", InstanceIds=[one], ShouldDecrementDesiredCapacity=True)
    with refused("ValidationError", "min-size=1", "desired-size=1"):
        web.asg.enter_standby(AutoScalingGroupName="web", InstanceIds=[two], ShouldDecrementDesiredCapacity=True)
    web.ec2.stop_instances(InstanceIds=[one])
    web.wait(300)
    assert state_of(web, one) == "Standby", "no health check in standby"
    web.ec2.start_instances(InstanceIds=[one])
    web.asg.exit_standby(AutoScalingGroupName="web", InstanceIds=[one])
    assert web.group()["DesiredCapacity"] == 2
    web.up()
    assert state_of(web, one) == "InService" and web.history()["terminated"] == 0
    with refused("ValidationError", "not in Standby"):
        web.asg.exit_standby(AutoScalingGroupName="web", InstanceIds=[two])


def test_standby_without_decrement_is_replaced_unless_launch_is_suspended(emulator: Any) -> None:
    web = Web(emulator, 2).up()
    one, _ = sorted(web.ids())
    web.asg.suspend_processes(AutoScalingGroupName="web", ScalingProcesses=["Launch"])
    web.asg.enter_standby(AutoScalingGroupName="web", InstanceIds=[one], ShouldDecrementDesiredCapacity=False)
    web.wait(120)
    assert len(web.ids()) == 2
    web.asg.resume_processes(AutoScalingGroupName="web", ScalingProcesses=["Launch"])
    web.up()
    assert len(web.ids()) == 3 and state_of(web, one) == "Standby"


def test_a_warm_pool_is_no_part_of_the_group_until_it_grows(emulator: Any) -> None:
    web = Web(emulator, 1, MaxSize=2).up()
    (member,) = web.ids()
    web.asg.put_warm_pool(AutoScalingGroupName="web", PoolState="Stopped")
    (pooled,) = web.asg.describe_warm_pool(AutoScalingGroupName="web")["Instances"]
    assert pooled["LifecycleState"] == "Warmed:Pending" and web.group()["WarmPoolSize"] == 1
    web.wait(60)
    one = pooled["InstanceId"]
    assert web.ids() == {member}
    (found,) = web.asg.describe_auto_scaling_instances(InstanceIds=[one])["AutoScalingInstances"]
    assert (found["LifecycleState"], found["AutoScalingGroupName"]) == ("Warmed:Stopped", "web")
    described = web.ec2.describe_instances(InstanceIds=[one])["Reservations"][0]["Instances"][0]
    assert described["State"]["Name"] == "stopped"
    assert {"Key": "aws:autoscaling:groupName", "Value": "web"} in described["Tags"]
    both = {"AutoScalingGroupName": "web", "InstanceIds": [one], "ShouldDecrementDesiredCapacity": True}
    with refused("ValidationError", f"The instance {one} is not in InService."):
        web.asg.enter_standby(**both)
    with refused("ValidationError", f"The instance {one} is not in InService or Standby."):
        web.asg.detach_instances(**both)
    web.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=2)
    web.up()
    assert state_of(web, one) == "InService" and web.history()["launched"] == 2


def test_a_warm_pool_is_filled_by_launch(emulator: Any) -> None:
    web = Web(emulator, 1, MaxSize=3).up()
    web.asg.suspend_processes(AutoScalingGroupName="web", ScalingProcesses=["Launch"])
    web.asg.put_warm_pool(AutoScalingGroupName="web", PoolState="Running")
    web.wait(60)
    assert web.group()["WarmPoolSize"] == 0
    web.asg.resume_processes(AutoScalingGroupName="web", ScalingProcesses=["Launch"])
    web.wait(60)
    found = web.asg.describe_warm_pool(AutoScalingGroupName="web")["Instances"]
    assert [one["LifecycleState"] for one in found] == ["Warmed:Running"] * 2
    web.ec2.terminate_instances(InstanceIds=[found[0]["InstanceId"]])
    web.wait(60)
    assert web.history()["launched"] == 4 and web.group()["WarmPoolSize"] == 2


def test_detached_instances_live_on(emulator: Any) -> None:
    web = Web(emulator, 2, MinSize=2).up()
    one, _ = sorted(web.ids())
    with refused("ValidationError", "min-size=2"):
        web.asg.detach_instances(AutoScalingGroupName="web", InstanceIds=[one], ShouldDecrementDesiredCapacity=True)
    answer = web.asg.detach_instances(
        AutoScalingGroupName="web", InstanceIds=[one], ShouldDecrementDesiredCapacity=False
    )["Activities"][0]
    assert answer["Description"] == f"Detaching EC2 instance: {one}"
    web.up()
    assert one not in web.ids() and len(web.ids()) == 2
    instance = web.ec2.describe_instances(InstanceIds=[one])["Reservations"][0]["Instances"][0]
    assert instance["State"]["Name"] == "running"
    assert "aws:autoscaling:groupName" not in {t["Key"] for t in instance["Tags"]}
    with refused("ValidationError", "not part of Auto Scaling group web"):
        web.asg.detach_instances(AutoScalingGroupName="web", InstanceIds=[one], ShouldDecrementDesiredCapacity=False)
    web.asg.attach_instances(AutoScalingGroupName="web", InstanceIds=[one])
    assert web.group()["DesiredCapacity"] == 3
    web.up()
    assert state_of(web, one) == "InService"


def test_termination_by_a_person(emulator: Any) -> None:
    web = Web(emulator, 2, MinSize=1).up()
    bus = Bus(emulator)
    one, two = sorted(web.ids())
    activity = web.asg.terminate_instance_in_auto_scaling_group(
        InstanceId=one, ShouldDecrementDesiredCapacity=True
    )["Activity"]
    assert activity["Description"] == f"Terminating EC2 instance: {one}" and activity["StatusCode"] == "InProgress"
    assert f"instance {one} was taken out of service in response to a user request, shrinking" in activity["Cause"]
    assert state_of(web, one) == "Terminating"
    web.up()
    assert web.ids() == {two}
    (event,) = bus.read()
    assert event["detail-type"] == "EC2 Instance Terminate Successful" and event["detail"]["StatusCode"] == "InProgress"
    assert (event["detail"]["Origin"], event["detail"]["Destination"]) == ("AutoScalingGroup", "EC2")
    with refused("ValidationError", "desiredSize equals minSize (1)"):
        web.asg.terminate_instance_in_auto_scaling_group(InstanceId=two, ShouldDecrementDesiredCapacity=True)
    with refused("ValidationError", "No managed instance found"):
        web.asg.terminate_instance_in_auto_scaling_group(InstanceId=one, ShouldDecrementDesiredCapacity=False)


def test_protection_against_the_api_doesnt_stop_the_group(emulator: Any) -> None:
    web = Web(emulator, 1).up()
    (one,) = web.ids()
    web.ec2.modify_instance_attribute(InstanceId=one, DisableApiTermination={"Value": True})
    web.asg.set_instance_health(InstanceId=one, HealthStatus="Unhealthy")
    web.up()
    assert one not in web.ids()
    cause = next(a["Cause"] for a in web.activities() if a["Description"].endswith(one) and "Termin" in a["Description"])
    assert "was taken out of service in response to a user health-check." in cause


def test_an_instance_that_dies_before_it_is_in_service_cancels_its_launch(emulator: Any) -> None:
    web = Web(emulator, 1)
    (one,) = web.ids()
    web.ec2.terminate_instances(InstanceIds=[one])
    web.wait(5)
    cancelled = next(a for a in web.activities() if a["StatusCode"] == "Cancelled")
    assert "Instance became unhealthy while waiting for instance to be in InService state." in cancelled["StatusMessage"]
    web.up()
    assert one not in web.ids() and len(web.ids()) == 1


def test_instances_of_all_groups(emulator: Any) -> None:
    web = Web(emulator, 1).up()
    (one,) = web.ids()
    (shown,) = web.asg.describe_auto_scaling_instances(InstanceIds=[one])["AutoScalingInstances"]
    assert (shown["AutoScalingGroupName"], shown["HealthStatus"]) == ("web", "HEALTHY")
    assert shown["LaunchTemplate"]["Version"] == "1"
