"""Instances: states that take time."""

import pytest
from ec2_help import ZONE, eventually, launch, refused


@pytest.fixture
def ec2(client):
    return client("ec2")


def _state(ec2, instance_id):
    return ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]["State"]


def test_states_take_the_set_time(emulator, ec2):
    emulator.control("PATCH", "settings", instance_transition_seconds=0.5)
    (instance_id,) = launch(ec2)
    assert _state(ec2, instance_id) == {"Code": 0, "Name": "pending"}
    volume_id = ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    with refused("IncorrectState", "is not 'running'"):
        ec2.attach_volume(VolumeId=volume_id, InstanceId=instance_id, Device="/dev/sdf")
    with refused("IncorrectInstanceState", "is not in a state from which it can be stopped"):
        ec2.stop_instances(InstanceIds=[instance_id])
    eventually(lambda: _state(ec2, instance_id) == {"Code": 16, "Name": "running"})
    (change,) = ec2.stop_instances(InstanceIds=[instance_id])["StoppingInstances"]
    assert (change["PreviousState"]["Name"], change["CurrentState"]["Name"]) == ("running", "stopping")
    assert _state(ec2, instance_id) == {"Code": 64, "Name": "stopping"}
    with refused("IncorrectInstanceState", "is not in a state from which it can be started"):
        ec2.start_instances(InstanceIds=[instance_id])
    eventually(lambda: _state(ec2, instance_id) == {"Code": 80, "Name": "stopped"})
    ec2.start_instances(InstanceIds=[instance_id])
    eventually(lambda: _state(ec2, instance_id)["Name"] == "running")
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert _state(ec2, instance_id) == {"Code": 32, "Name": "shutting-down"}
    eventually(lambda: _state(ec2, instance_id) == {"Code": 48, "Name": "terminated"})


def test_without_a_set_time_states_change_at_once(ec2):
    (instance_id,) = launch(ec2)
    assert _state(ec2, instance_id)["Name"] == "running"
    ec2.stop_instances(InstanceIds=[instance_id])
    assert _state(ec2, instance_id)["Name"] == "stopped"
    ec2.stop_instances(InstanceIds=[instance_id])  # allowed, and nothing happens
    ec2.start_instances(InstanceIds=[instance_id])
    ec2.terminate_instances(InstanceIds=[instance_id])
    ec2.terminate_instances(InstanceIds=[instance_id])
    with refused("IncorrectInstanceState"):
        ec2.start_instances(InstanceIds=[instance_id])


def test_max_count_instances_are_launched(ec2):
    launched = ec2.run_instances(
        ImageId=ec2.describe_images(Owners=["amazon"], MaxResults=1)["Images"][0]["ImageId"],
        InstanceType="t3.micro", MinCount=1, MaxCount=3,
    )  # fmt: skip
    assert len(launched["Instances"]) == 3


def test_a_stopped_instance_still_has_its_volumes(ec2):
    (instance_id,) = launch(ec2)
    ec2.stop_instances(InstanceIds=[instance_id])
    made = ec2.create_snapshots(InstanceSpecification={"InstanceId": instance_id})["Snapshots"]
    assert len(made) == 1


def test_what_the_emulator_lacks_is_an_aws_error(ec2):
    """Not an HTML page with status 500, which an SDK would retry."""
    with refused("InvalidAction", "DescribeVolumeStatus"):
        ec2.describe_volume_status()
