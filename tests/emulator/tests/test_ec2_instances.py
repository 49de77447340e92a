"""Instances: states that take time."""

from ec2_help import ZONE, eventually, instance, launch, refused


def _state(ec2, instance_id):
    return instance(ec2, instance_id)["State"]


# A time that never comes is for what holds during a transition, a short one for what comes after it: a slow machine
# changes neither.


def test_during_a_transition(emulator, ec2):
    (stopping,), (ending,) = launch(ec2), launch(ec2)
    volume_id = ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    emulator.control("PATCH", "settings", instance_transition_seconds=3600)
    (starting,) = launch(ec2)
    assert _state(ec2, starting) == {"Code": 0, "Name": "pending"}
    with refused("IncorrectState", "is not 'running'"):
        ec2.attach_volume(VolumeId=volume_id, InstanceId=starting, Device="/dev/sdf")
    with refused("IncorrectInstanceState", "is not in a state from which it can be stopped"):
        ec2.stop_instances(InstanceIds=[starting])
    (change,) = ec2.stop_instances(InstanceIds=[stopping])["StoppingInstances"]
    assert (change["PreviousState"]["Name"], change["CurrentState"]["Name"]) == ("running", "stopping")
    assert _state(ec2, stopping) == {"Code": 64, "Name": "stopping"}
    with refused("IncorrectInstanceState", "is not in a state from which it can be started"):
        ec2.start_instances(InstanceIds=[stopping])
    ec2.terminate_instances(InstanceIds=[ending])
    assert _state(ec2, ending) == {"Code": 32, "Name": "shutting-down"}


def test_states_come_after_the_set_time(emulator, ec2):
    emulator.control("PATCH", "settings", instance_transition_seconds=0.2)
    (instance_id,) = launch(ec2)
    eventually(lambda: _state(ec2, instance_id) == {"Code": 16, "Name": "running"})
    ec2.stop_instances(InstanceIds=[instance_id])
    eventually(lambda: _state(ec2, instance_id) == {"Code": 80, "Name": "stopped"})
    ec2.start_instances(InstanceIds=[instance_id])
    eventually(lambda: _state(ec2, instance_id)["Name"] == "running")
    ec2.terminate_instances(InstanceIds=[instance_id])
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
    with refused("InvalidAction", "DescribeBundleTasks"):
        ec2.describe_bundle_tasks()
