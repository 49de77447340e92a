"""Instance refreshes: good ones, bad ones, cancelled and rolled back (ASG-1 to ASG-6)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asg_help import Bus, Web
from ec2_help import eventually, refused


def named(events: list[dict[str, Any]]) -> list[str]:
    prefix = "EC2 Auto Scaling Instance Refresh "
    return [e["detail-type"].removeprefix(prefix) for e in events if e["detail-type"].startswith(prefix)]


def test_a_good_refresh_goes_from_pending_to_successful(emulator: Any) -> None:
    web = Web(emulator, 4).up()
    old, bus, version = web.ids(), Bus(emulator), web.version()
    refresh_id = web.start(version, InstanceWarmup=60)
    pending = web.refresh()
    assert (pending["InstanceRefreshId"], pending["Status"]) == (refresh_id, "Pending")
    assert "StartTime" not in pending and pending["PercentageComplete"] == 0
    assert web.group()["LaunchTemplate"]["Version"] == "1"
    seen = []
    for _ in range(200):
        now = web.refresh()
        in_service = [m for m in web.members() if m["LifecycleState"] == "InService"]
        assert len(in_service) >= 3, "at most one is missing"
        seen.append((now["Status"], now["PercentageComplete"], now["InstancesToUpdate"]))
        if now["Status"] == "Successful":
            break
        web.wait(10)
    assert [s for s in dict.fromkeys(status for status, _, _ in seen)] == ["Pending", "InProgress", "Successful"]
    assert [p for p in dict.fromkeys(percent for _, percent, _ in seen)] == [0, 25, 50, 75, 100]
    assert ("InProgress", 0, 3) in seen and ("InProgress", 75, 0) in seen, "0 left while the last one warms up"
    assert not web.ids() & old and web.versions() == [version] * 4
    assert web.group()["LaunchTemplate"]["Version"] == version, "the desired configuration is the group's now"
    assert named(bus.read()) == ["Started", "Succeeded"]
    done = web.refresh()
    assert done["EndTime"] > done["StartTime"] and "StatusReason" not in done
    assert 4 * 90 <= (done["EndTime"] - done["StartTime"]).total_seconds() <= 4 * 150
    causes = [a["Cause"] for a in web.activities()]
    assert sum("was launched in response to an instance refresh." in c for c in causes) == 4
    assert sum("was taken out of service in response to an instance refresh." in c for c in causes) == 4


def test_in_real_time_a_good_refresh_of_four_takes_seconds(emulator: Any) -> None:
    emulator.control("PATCH", "settings", autoscaling_time_scale=0.02)
    web = Web(emulator, 4)
    eventually(lambda: all(m["LifecycleState"] == "InService" for m in web.members()))
    web.start(web.version())
    eventually(lambda: web.refresh()["Status"] == "Successful")


def test_warming_is_said(emulator: Any) -> None:
    web = Web(emulator, 1).up()
    web.start(web.version(), InstanceWarmup=300)
    web.wait(60)
    assert web.refresh()["StatusReason"].startswith("Waiting for instances to warm up before continuing. For example: i-")


def test_checkpoints_and_bake_time(emulator: Any) -> None:
    web = Web(emulator, 4).up()
    bus = Bus(emulator)
    web.start(web.version(), CheckpointPercentages=[25, 100], CheckpointDelay=1800, BakeTime=900)
    web.wait(300)
    for _ in range(3):
        assert (web.refresh()["Status"], web.refresh()["PercentageComplete"]) == ("InProgress", 25)
        web.wait(400)
    assert web.wait(1500, until="Baking")["reached"]
    assert web.refresh()["PercentageComplete"] == 100
    web.wait(800)
    assert web.refresh()["Status"] == "Baking"
    assert web.wait(200, until="Successful")["reached"]
    events = bus.read()
    assert named(events) == ["Started", "Checkpoint Reached", "Checkpoint Reached", "Started Baking", "Succeeded"]
    reached = next(e for e in events if e["detail-type"].endswith("Checkpoint Reached"))
    assert reached["detail"]["CheckpointPercentage"] == "25" and reached["detail"]["CheckpointDelay"] == "1800"


def test_launch_before_terminate_never_falls_below_the_size(emulator: Any) -> None:
    web = Web(emulator, 4).up()
    old = web.ids()
    web.start(web.version(), MinHealthyPercentage=100, MaxHealthyPercentage=150)
    most = 0
    for _ in range(100):
        web.wait(5)
        active = [m for m in web.members() if m["LifecycleState"] in ("InService", "Pending")]
        in_service = [m for m in active if m["LifecycleState"] == "InService"]
        assert len(in_service) >= 4 and len(active) <= 6
        most = max(most, len(active))
        if web.refresh()["Status"] == "Successful":
            break
    assert most == 6 and web.refresh()["Status"] == "Successful" and not web.ids() & old
    assert web.wait(60, until="settled")["reached"] and len(web.ids()) == 4


def test_a_refresh_whose_launches_fail_costs_one_instance_and_fails_after_an_hour(emulator: Any) -> None:
    web = Web(emulator, 4, version="$Latest").up()
    web.version(ImageId="ami-0123456789abcdef0")
    bus = Bus(emulator)
    web.start()
    web.wait(3000)
    assert (web.refresh()["Status"], web.refresh()["PercentageComplete"]) == ("InProgress", 0)
    assert len(web.ids()) == 3
    assert web.history()["failed_launches"] >= 5
    assert web.wait(1000, until="Failed")["reached"]
    assert 3600 <= web.history()["refreshes"][0]["seconds"] <= 3700
    assert named(bus.read()) == ["Started", "Failed"]
    causes = [a["Cause"] for a in web.activities() if a["StatusCode"] == "Failed"]
    assert "in response to an instance refresh" in causes[-1]
    assert "difference between desired and actual capacity" in causes[0], "a retry doesn't name the refresh"


def test_an_unhealthy_image_makes_no_progress(emulator: Any) -> None:
    web = Web(emulator, 4).up()
    bad = web.image("bad")
    emulator.control("POST", "autoscaling/images", image_id=bad, healthy=False, check="ec2")
    web.start(web.version(ImageId=bad), InstanceWarmup=120)
    web.wait(1200)
    assert web.refresh()["Status"] == "InProgress" and web.refresh()["PercentageComplete"] == 0
    assert web.versions().count("1") == 3
    ended = [a for a in web.activities() if "EC2 instance status checks failure" in a["Cause"]]
    assert len(ended) >= 3


def test_a_cancelled_refresh_keeps_what_it_has_replaced(emulator: Any) -> None:
    web = Web(emulator, 4).up()
    bus = Bus(emulator)
    refresh_id = web.start(web.version())
    web.wait(70)
    answer = web.asg.cancel_instance_refresh(AutoScalingGroupName="web")
    assert answer["InstanceRefreshId"] == refresh_id
    assert web.refresh()["Status"] == "Cancelling"
    with refused("ActiveInstanceRefreshNotFound", "web"):
        web.asg.cancel_instance_refresh(AutoScalingGroupName="web")
    with refused("InstanceRefreshInProgress"):
        web.start()
    assert web.wait(300, until="Cancelled")["reached"]
    assert web.refresh()["StatusReason"] == "Cancelled due to user request."
    web.up()
    assert set(web.versions()) == {"1", "2"} and len(web.versions()) == 4
    assert web.group()["LaunchTemplate"]["Version"] == "1"
    assert named(bus.read()) == ["Started", "Cancelled"]
    web.start()
    assert len(web.asg.describe_instance_refreshes(AutoScalingGroupName="web")["InstanceRefreshes"]) == 2
    assert web.refresh()["InstanceRefreshId"] != refresh_id, "the newest first"


def test_after_a_cancel_the_group_launches_from_its_own_template(emulator: Any) -> None:
    web = Web(emulator, 4).up()
    version = web.version(KeyName="k")
    web.ec2.create_key_pair(KeyName="k")
    version = web.version(KeyName="k")
    web.start(version)
    web.ec2.delete_key_pair(KeyName="k")
    web.wait(120)
    assert len(web.ids()) == 3 and web.history()["failed_launches"] >= 2
    web.asg.cancel_instance_refresh(AutoScalingGroupName="web")
    web.up()
    assert web.versions() == ["1"] * 4


def test_a_rollback_replaces_back(emulator: Any) -> None:
    web = Web(emulator, 4).up()
    bus = Bus(emulator)
    refresh_id = web.start(web.version())
    web.wait(100)
    percent = web.refresh()["PercentageComplete"]
    assert 0 < percent < 100
    assert web.asg.rollback_instance_refresh(AutoScalingGroupName="web")["InstanceRefreshId"] == refresh_id
    now = web.refresh()
    assert now["Status"] == "RollbackInProgress"
    assert now["RollbackDetails"]["PercentageCompleteOnRollback"] == percent
    assert now["RollbackDetails"]["RollbackReason"] and now["RollbackDetails"]["RollbackStartTime"]
    with refused("ActiveInstanceRefreshNotFound"):
        web.asg.rollback_instance_refresh(AutoScalingGroupName="web")
    assert web.wait(1200, until="RollbackSuccessful")["reached"]
    assert web.up().versions() == ["1"] * 4
    assert web.refresh()["PercentageComplete"] == 0
    assert web.group()["LaunchTemplate"]["Version"] == "1"
    assert named(bus.read()) == ["Started", "Rollback Started", "Rollback Succeeded"]


@pytest.mark.parametrize("how", ["no configuration", "$Latest", "group on $Default"])
def test_what_has_no_way_back_is_irreversible(emulator: Any, how: str) -> None:
    web = Web(emulator, 2, version="$Default" if how == "group on $Default" else "1").up()
    version = web.version()
    web.start({"no configuration": None, "$Latest": "$Latest"}.get(how, version))
    web.wait(20)
    with refused("IrreversibleInstanceRefresh"):
        web.asg.rollback_instance_refresh(AutoScalingGroupName="web")
    assert web.refresh()["Status"] == "InProgress"
    web.asg.cancel_instance_refresh(AutoScalingGroupName="web")


def test_automatic_rollback_by_an_alarm(emulator: Any) -> None:
    web = Web(emulator, 2).up()
    cloudwatch = emulator.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="errors",
        Namespace="web",
        MetricName="Errors",
        Period=60,
        EvaluationPeriods=1,
        Statistic="Sum",
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
    )
    version = web.version()
    with refused("ValidationError", "AutoRollback", "DesiredConfiguration"):
        web.start(AutoRollback=True)
    web.start(version, AutoRollback=True, AlarmSpecification={"Alarms": ["errors"]})
    web.wait(45)
    cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="test")
    web.wait(5)
    assert web.refresh()["Status"] == "RollbackInProgress"
    assert "errors" in web.refresh()["RollbackDetails"]["RollbackReason"]
    assert web.wait(900, until="RollbackSuccessful")["reached"]


def test_skip_matching_replaces_only_what_differs(emulator: Any) -> None:
    web = Web(emulator, 2, version="$Latest").up()
    first = web.ids()
    web.version()
    web.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=3)
    second = web.up().ids() - first
    web.start(SkipMatching=True)
    assert web.wait(900, until="Successful")["reached"]
    assert second <= web.ids() and not first & web.ids()


def test_protected_and_standby_members_hold_it_up_or_are_ignored(emulator: Any) -> None:
    web = Web(emulator, 2).up()
    one, two = sorted(web.ids())
    web.asg.set_instance_protection(AutoScalingGroupName="web", InstanceIds=[one], ProtectedFromScaleIn=True)
    web.start(web.version())
    web.wait(1200)
    assert (web.refresh()["Status"], web.refresh()["PercentageComplete"]) == ("InProgress", 50)
    assert f"protected from scale in. For example: {one}" in web.refresh()["StatusReason"]
    assert one in web.ids() and two not in web.ids()
    web.asg.set_instance_protection(AutoScalingGroupName="web", InstanceIds=[one], ProtectedFromScaleIn=False)
    assert web.wait(600, until="Successful")["reached"]

    one = sorted(web.ids())[0]
    web.asg.enter_standby(AutoScalingGroupName="web", InstanceIds=[one], ShouldDecrementDesiredCapacity=True)
    web.start(web.version(), StandbyInstances="Ignore")
    assert web.wait(600, until="Successful")["reached"]
    assert one in web.ids()


def test_a_suspended_refresh_stands_still(emulator: Any) -> None:
    web = Web(emulator, 2).up()
    web.start(web.version())
    web.asg.suspend_processes(AutoScalingGroupName="web", ScalingProcesses=["InstanceRefresh"])
    web.wait(600)
    assert web.versions() == ["1", "1"] and web.refresh()["Status"] == "InProgress"


def test_a_desired_configuration_locks_the_groups_template(emulator: Any) -> None:
    web = Web(emulator, 2).up()
    version = web.version()
    web.start(version)
    web.wait(20)
    template = {"LaunchTemplateId": web.template, "Version": version}
    with refused("ValidationError", "active instance refresh with a desired configuration"):
        web.asg.update_auto_scaling_group(AutoScalingGroupName="web", LaunchTemplate=template)


@pytest.mark.parametrize(
    "preferences",
    [
        {"MinHealthyPercentage": 101},
        {"CheckpointPercentages": [50, 25]},
        {"CheckpointDelay": 60},
        {"MinHealthyPercentage": 50, "MaxHealthyPercentage": 200},
    ],
)
def test_preferences_are_checked(emulator: Any, preferences: dict[str, Any]) -> None:
    web = Web(emulator, 0)
    with refused("ValidationError"):
        web.start(**preferences)
    with refused("ActiveInstanceRefreshNotFound"):
        web.asg.cancel_instance_refresh(AutoScalingGroupName="web")


def test_a_pending_refresh_can_be_held_and_cancelled(emulator: Any) -> None:
    web = Web(emulator, 2).up()
    web.start(web.version())
    emulator.control("POST", "autoscaling/hold", group="web", hold=True)
    web.wait(600)
    assert web.refresh()["Status"] == "Pending"
    web.asg.cancel_instance_refresh(AutoScalingGroupName="web")
    assert web.wait(60, until="Cancelled")["reached"]
    assert web.versions() == ["1", "1"]


def test_a_refresh_of_cloudformation_is_not_rolled_back_and_takes_its_stack_back_when_cancelled(emulator: Any) -> None:
    """ASG-14."""
    web = Web(emulator, 2).up()
    cloudformation = emulator.client("cloudformation")
    body = json.dumps({"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}})
    cloudformation.create_stack(StackName="site", TemplateBody=body)
    emulator.control("POST", "autoscaling/groups", group="web", tags={"aws:cloudformation:stack-name": "site"})
    emulator.control("POST", "stacks/status", stack="site", status="UPDATE_IN_PROGRESS")
    web.start(web.version())
    web.wait(20)
    with refused("ValidationError"):
        web.asg.rollback_instance_refresh(AutoScalingGroupName="web")
    web.asg.cancel_instance_refresh(AutoScalingGroupName="web")
    web.wait(300)
    assert web.refresh()["Status"] == "Cancelled"
    (stack,) = cloudformation.describe_stacks(StackName="site")["Stacks"]
    assert stack["StackStatus"] == "UPDATE_ROLLBACK_IN_PROGRESS"
