"""What runs on instances, and what load balancers and status checks make of it."""

from __future__ import annotations

from typing import Any

import pytest

from asg_help import Web
from conftest import ControlFailure


def balanced(emulator: Any, size: int = 2, *, in_use: bool = True, **parameters: Any) -> tuple[Web, str]:
    """A group behind a load balancer; the target group's ARN."""
    ec2, elb = emulator.client("ec2"), emulator.client("elbv2")
    subnets = ec2.describe_subnets()["Subnets"][:2]
    arn = elb.create_target_group(Name="web", Protocol="HTTP", Port=80, VpcId=subnets[0]["VpcId"])["TargetGroups"][0][
        "TargetGroupArn"
    ]
    if in_use:
        balancer = elb.create_load_balancer(Name="web", Subnets=[s["SubnetId"] for s in subnets])["LoadBalancers"][0]
        elb.create_listener(
            LoadBalancerArn=balancer["LoadBalancerArn"],
            Protocol="HTTP",
            Port=80,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": arn}],
        )
    parameters = {"HealthCheckType": "ELB", "TargetGroupARNs": [arn]} | parameters
    return Web(emulator, size, **parameters), arn


def targets(emulator: Any, arn: str) -> dict[str, dict[str, str]]:
    found = emulator.client("elbv2").describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
    return {t["Target"]["Id"]: t["TargetHealth"] for t in found}


def test_targets_come_and_go_with_the_members(emulator: Any) -> None:
    web, arn = balanced(emulator)
    assert targets(emulator, arn) == {}
    web.wait(600, until="settled")
    assert {(t["State"], t["Reason"]) for t in targets(emulator, arn).values()} == {
        ("initial", "Elb.RegistrationInProgress")
    }
    web.wait(15)
    assert {i: t["State"] for i, t in targets(emulator, arn).items()} == dict.fromkeys(web.ids(), "healthy")
    one = sorted(web.ids())[0]
    web.asg.terminate_instance_in_auto_scaling_group(InstanceId=one, ShouldDecrementDesiredCapacity=False)
    assert targets(emulator, arn)[one]["Reason"] == "Target.DeregistrationInProgress"
    web.up().wait(15)
    assert set(targets(emulator, arn)) == web.ids()


def test_a_target_group_without_a_load_balancer_is_unused(emulator: Any) -> None:
    web, arn = balanced(emulator, 1, in_use=False)
    web.up().wait(15)
    assert [t["Reason"] for t in targets(emulator, arn).values()] == ["Target.NotInUse"]


def test_unhealthy_targets_are_replaced_only_with_elb_health_checks(emulator: Any) -> None:
    web, arn = balanced(emulator, 2, HealthCheckType="EC2")
    web.up().wait(15)
    old = web.ids()
    emulator.control("POST", "autoscaling/instances", instance_ids=sorted(old), healthy=False)
    web.wait(300)
    assert web.ids() == old
    assert {t["Reason"] for t in targets(emulator, arn).values()} == {"Target.FailedHealthChecks"}
    web.asg.update_auto_scaling_group(AutoScalingGroupName="web", HealthCheckType="ELB")
    web.wait(30)
    web.up()
    assert not web.ids() & old
    assert sum("an ELB system health check failure." in a["Cause"] for a in web.activities()) == 2


def test_an_image_that_breaks_after_a_while(emulator: Any) -> None:
    web, _ = balanced(emulator, 1)
    emulator.control("POST", "autoscaling/images", image_id=web.good, healthy=False, after=200)
    web.up().wait(100)
    assert web.history()["instances"][0]["serves"] is True
    web.wait(200)
    assert web.history()["terminated"] == 1


def test_what_the_tag_meant_at_boot_decides(emulator: Any) -> None:
    emulator.client("ecr").create_repository(repositoryName="shop")
    good = emulator.control("POST", "ecr/push", repository="shop", tag="prod", content="1")["digest"]
    web, arn = balanced(emulator, 1)
    emulator.control("POST", "autoscaling/images", image_id=web.good, pulls="shop:prod", good=[good])
    web.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=2)
    web.up().wait(30)
    bad = emulator.control("POST", "ecr/push", repository="shop", tag="prod", content="2")["digest"]
    web.wait(100)
    instances = web.history()["instances"]
    assert [(i["pulled"], i["serves"]) for i in instances] == [(good, True)] * 2, "a tag that moves changes no host"
    web.asg.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=3)
    web.wait(45)
    newest = min(web.history()["instances"], key=lambda i: i["age"])
    assert newest["pulled"] == bad and not newest["serves"]
    assert targets(emulator, arn)[newest["instance_id"]]["State"] == "unhealthy"


def test_a_refresh_to_an_image_that_the_load_balancer_refuses(emulator: Any) -> None:
    web, arn = balanced(emulator, 4, HealthCheckGracePeriod=60)
    web.up().wait(30)
    bad = web.image("bad")
    emulator.control("POST", "autoscaling/images", image_id=bad, healthy=False)
    web.start(web.version(ImageId=bad), InstanceWarmup=120)
    web.wait(900)
    assert web.refresh()["PercentageComplete"] == 0 and web.refresh()["Status"] == "InProgress"
    assert sum("an ELB system health check failure." in a["Cause"] for a in web.activities()) >= 3
    healthy = [t for t in targets(emulator, arn).values() if t["State"] == "healthy"]
    assert len(healthy) == 3, "the old ones"


@pytest.mark.parametrize(
    "body",
    [{}, {"image_id": "ami-0123456789abcdef0"}, {"image_id": "x", "colour": 1}],
)
def test_what_makes_no_sense_is_refused(emulator: Any, body: dict[str, Any]) -> None:
    with pytest.raises(ControlFailure):
        emulator.control("POST", "autoscaling/images", **body)
    with pytest.raises(ControlFailure):
        emulator.control("POST", "autoscaling/hold", group="web")
    emulator.control("PATCH", "settings", autoscaling_time_scale=0.5)
    with pytest.raises(ControlFailure):
        emulator.control("POST", "autoscaling/pass", seconds=1)
