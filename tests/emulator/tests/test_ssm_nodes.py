"""Agents: as whom they register, when they try, what they say, and how nodes are described (SSM-1, 4, 6, 8)."""

import json
import time

import ec2_help
import pytest
from conftest import ACCOUNT, REGION, ControlFailure, trust
from ec2_help import eventually, instance, refused, tag_list
from ssm_help import CORE, Vpc, allow, attach, launch, make_profile, nodes, retry

MANAGEMENT_ROLE = "/ssm/managed-instance/default-ec2-instance-management-role"


def console(ec2, instance_id):
    return ec2.get_console_output(InstanceId=instance_id)["Output"]


# As whom


def test_without_a_profile(emulator, ec2, ssm):
    instance_id = launch(ec2)
    node = retry(emulator, instance_id)
    assert (node["outcome"], node["online"], node["ping_status"]) == ("no credentials", False, None)
    assert nodes(ssm) == {}
    said = console(ec2, instance_id)
    assert "Z: SSM Agent unable to acquire credentials: <error>" in said
    assert f"instance management role is not configured for account: {ACCOUNT}" in said


def test_with_the_managed_policy(emulator, ec2, iam, ssm):
    instance_id = launch(ec2)
    attach(ec2, instance_id, make_profile(iam))
    node = retry(emulator, instance_id)
    assert (node["online"], node["usable"], node["role"]) == (True, True, "managed")
    assert node["source"] == "instance profile"
    assert "Z: Amazon SSM Agent v3." in console(ec2, instance_id)
    (described,) = ssm.describe_instance_information()["InstanceInformationList"]
    assert abs(described["LastPingDateTime"].timestamp() - time.time()) < 60
    assert (described["InstanceId"], described["PingStatus"]) == (instance_id, "Online")
    assert (described["PlatformType"], described["ResourceType"]) == ("Linux", "EC2Instance")
    assert "IamRole" not in described


def test_a_profile_without_a_role(emulator, ec2, iam):
    instance_id = launch(ec2)
    attach(ec2, instance_id, make_profile(iam))
    iam.remove_role_from_instance_profile(InstanceProfileName="managed", RoleName="managed")
    assert retry(emulator, instance_id)["outcome"] == "no credentials"
    iam.create_role(RoleName="late", AssumeRolePolicyDocument=trust("ec2"))
    iam.attach_role_policy(RoleName="late", PolicyArn=CORE)
    iam.add_role_to_instance_profile(InstanceProfileName="managed", RoleName="late")
    assert retry(emulator, instance_id)["online"] is True


def test_a_role_that_ec2_cannot_assume(emulator, ec2, iam):
    instance_id = launch(ec2)
    attach(ec2, instance_id, make_profile(iam, service="lambda"))
    assert retry(emulator, instance_id)["outcome"] == "no credentials"
    iam.update_assume_role_policy(RoleName="managed", PolicyDocument=trust("ec2"))
    assert retry(emulator, instance_id)["online"] is True


def test_a_role_that_may_not_register(emulator, ec2, iam):
    instance_id = launch(ec2)
    attach(ec2, instance_id, make_profile(iam, policies=()))
    assert retry(emulator, instance_id)["outcome"] == "no credentials"
    iam.put_role_policy(
        RoleName="managed", PolicyName="deny",
        PolicyDocument=allow("ssm:*").replace("Allow", "Deny"),
    )  # fmt: skip
    iam.attach_role_policy(RoleName="managed", PolicyArn=CORE)
    assert retry(emulator, instance_id)["outcome"] == "no credentials"
    iam.delete_role_policy(RoleName="managed", PolicyName="deny")
    assert retry(emulator, instance_id)["online"] is True


def test_a_role_without_channels_is_online_and_of_no_use(emulator, ec2, iam):
    """SSM-4."""
    instance_id = launch(ec2)
    attach(ec2, instance_id, make_profile(iam, policies=()))
    iam.put_role_policy(RoleName="managed", PolicyName="ping", PolicyDocument=allow("ssm:UpdateInstanceInformation"))
    node = retry(emulator, instance_id)
    assert (node["online"], node["usable"]) == (True, False)
    assert "ssmmessages:CreateControlChannel" in node["unusable_because"]


def test_a_permissions_boundary(emulator, ec2, iam):
    boundary = iam.create_policy(PolicyName="boundary", PolicyDocument=allow("s3:*"))["Policy"]["Arn"]
    instance_id = launch(ec2)
    attach(ec2, instance_id, make_profile(iam))
    iam.put_role_permissions_boundary(RoleName="managed", PermissionsBoundary=boundary)
    assert retry(emulator, instance_id)["outcome"] == "no credentials"
    iam.delete_role_permissions_boundary(RoleName="managed")
    assert retry(emulator, instance_id)["online"] is True


def test_without_the_metadata_service(emulator, ec2, iam):
    instance_id = launch(ec2, MetadataOptions={"HttpEndpoint": "disabled"})
    attach(ec2, instance_id, make_profile(iam))
    assert "EC2Metadata" in retry(emulator, instance_id)["reason"]
    assert "SSM Agent" not in console(ec2, instance_id)
    ec2.modify_instance_metadata_options(InstanceId=instance_id, HttpEndpoint="enabled")
    assert retry(emulator, instance_id)["online"] is True


def test_changed_metadata_options_keep_the_others(ec2):
    instance_id = launch(ec2, MetadataOptions={"HttpTokens": "required"})
    ec2.modify_instance_metadata_options(InstanceId=instance_id, HttpEndpoint="disabled")
    options = instance(ec2, instance_id)["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpEndpoint"]) == ("required", "disabled")


# Default Host Management


def host_management(iam, ssm, *policies):
    iam.create_role(RoleName="host-management", AssumeRolePolicyDocument=trust("ssm"), Path="/service-role/")
    for policy in policies:
        iam.attach_role_policy(RoleName="host-management", PolicyArn=policy)
    ssm.update_service_setting(SettingId=MANAGEMENT_ROLE, SettingValue="service-role/host-management")


DEFAULT_POLICY = "arn:aws:iam::aws:policy/AmazonSSMManagedEC2InstanceDefaultPolicy"


def test_default_host_management_manages_what_has_no_profile(emulator, ec2, iam, ssm):
    host_management(iam, ssm, DEFAULT_POLICY)
    instance_id = launch(ec2)
    node = retry(emulator, instance_id)
    assert (node["online"], node["source"]) == (True, "default host management")
    assert ssm.describe_instance_information()["InstanceInformationList"][0]["IamRole"] == "host-management"


def test_default_host_management_steps_in_where_the_profile_is_denied(emulator, ec2, iam, ssm):
    host_management(iam, ssm, DEFAULT_POLICY)
    instance_id = launch(ec2)
    attach(ec2, instance_id, make_profile(iam, policies=()))
    assert retry(emulator, instance_id)["source"] == "default host management"
    iam.put_role_policy(RoleName="managed", PolicyName="ping", PolicyDocument=allow("ssm:UpdateInstanceInformation"))
    node = retry(emulator, instance_id)
    assert (node["source"], node["usable"]) == ("instance profile", False)  # SSM-4: it blocks what worked


def test_a_management_role_that_ssm_cannot_assume(emulator, ec2, iam, ssm):
    host_management(iam, ssm, DEFAULT_POLICY)
    iam.update_assume_role_policy(RoleName="host-management", PolicyDocument=trust("ec2"))
    assert retry(emulator, launch(ec2))["outcome"] == "no credentials"


def test_the_service_setting(iam, ssm):
    def setting():
        found = ssm.get_service_setting(SettingId=MANAGEMENT_ROLE)["ServiceSetting"]
        return found["SettingValue"], found["Status"]

    assert setting() == ("$None", "Default")
    host_management(iam, ssm)
    assert setting() == ("service-role/host-management", "Customized")
    arn = f"arn:aws:ssm:{REGION}:{ACCOUNT}:servicesetting{MANAGEMENT_ROLE}"
    assert ssm.get_service_setting(SettingId=arn)["ServiceSetting"]["ARN"] == arn
    with refused("ServiceSettingNotFound"):
        ssm.get_service_setting(SettingId="/ssm/nothing")


# When


def next_attempt(emulator, instance_id):
    return emulator.control("GET", "nodes", instance_id=instance_id)["nodes"][0]["next_attempt_in"]


def test_it_sleeps_long_without_credentials_and_shorter_without_a_network(emulator, ec2, iam):
    instance_id = launch(ec2)
    assert 15 < next_attempt(emulator, instance_id) <= 20
    assert retry(emulator, instance_id)["outcome"] == "no credentials"
    assert 1490 < next_attempt(emulator, instance_id) <= 1800
    vpc = Vpc(ec2)
    cut_off = launch(ec2, SubnetId=vpc.private)
    attach(ec2, cut_off, make_profile(iam))
    for minutes in (5, 10, 20, 40, 60, 60):
        assert retry(emulator, cut_off)["outcome"] == "no network"
        assert minutes * 60 - 5 < next_attempt(emulator, cut_off) <= minutes * 60


def test_a_profile_that_comes_late_waits_for_the_agent(emulator, ec2, iam, ssm):
    """SSM-1: with a hundredth of AWS's times, the second attempt comes 15 to 18 s after the first."""
    emulator.control("PATCH", "settings", agent_time_scale=0.01)
    instance_id = launch(ec2)
    eventually(lambda: emulator.control("GET", "nodes", instance_id=instance_id)["nodes"][0]["attempts"])
    attach(ec2, instance_id, make_profile(iam))
    assert 0 < next_attempt(emulator, instance_id) <= 18
    assert nodes(ssm) == {}
    emulator.control("POST", "instances/age", seconds=31 * 60)
    assert nodes(ssm) == {instance_id: "Online"}


def test_with_the_profile_from_the_start_it_registers_by_itself(emulator, ec2, iam, ssm):
    emulator.control("PATCH", "settings", agent_time_scale=0.01)
    make_profile(iam)
    instance_id = launch(ec2, IamInstanceProfile={"Name": "managed"})
    eventually(lambda: nodes(ssm) == {instance_id: "Online"})


def test_a_reboot_ends_the_wait(emulator, ec2, iam, ssm):
    emulator.control("PATCH", "settings", agent_time_scale=0.01)
    instance_id = launch(ec2)
    retry(emulator, instance_id)
    attach(ec2, instance_id, make_profile(iam))
    ec2.reboot_instances(InstanceIds=[instance_id])
    eventually(lambda: nodes(ssm) == {instance_id: "Online"})


def test_time_that_passes(emulator, ec2, iam):
    emulator.control("PATCH", "settings", association_timestamps=True)
    instance_id = launch(ec2)
    attach(ec2, instance_id, make_profile(iam))

    def launched_and_associated():
        (association,) = ec2.describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"]
        return instance(ec2, instance_id)["LaunchTime"], association["Timestamp"]

    before = launched_and_associated()
    assert emulator.control("POST", "instances/age", seconds=3600, instance_ids=[instance_id]) == {"aged": 1}
    after = launched_and_associated()
    assert [round((b - a).total_seconds()) for a, b in zip(after, before, strict=True)] == [3600, 3600]
    node = emulator.control("GET", "nodes")["nodes"][0]
    assert node["online"] is True  # the attempts that came due in that hour were made


# Lost and found


def test_a_node_whose_network_breaks_is_lost(emulator, ec2, iam, ssm):
    vpc = Vpc(ec2)
    endpoints = vpc.endpoints()
    instance_id = launch(ec2, SubnetId=vpc.private)
    attach(ec2, instance_id, make_profile(iam))
    retry(emulator, instance_id)
    ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoints["ssm"]])
    assert nodes(ssm) == {instance_id: "Online"}  # until the next heartbeats
    emulator.control("POST", "instances/age", seconds=660)
    assert nodes(ssm) == {instance_id: "ConnectionLost"}
    assert "i/o timeout" in console(ec2, instance_id)
    vpc.endpoint("ssm")
    emulator.control("POST", "instances/age", seconds=300)
    assert nodes(ssm) == {instance_id: "Online"}


def test_a_stopped_node_is_not_described_and_comes_back(emulator, ec2, iam, ssm):
    instance_id = launch(ec2)
    attach(ec2, instance_id, make_profile(iam))
    retry(emulator, instance_id)
    ec2.stop_instances(InstanceIds=[instance_id])
    assert nodes(ssm) == {}
    assert retry(emulator, instance_id)["reason"] == "the instance is stopped"
    ec2.start_instances(InstanceIds=[instance_id])
    assert nodes(ssm) == {instance_id: "ConnectionLost"}
    assert retry(emulator, instance_id)["online"] is True
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert nodes(ssm) == {}


def test_inside_the_host(emulator, ec2, iam, ssm):
    instance_id = launch(ec2)
    attach(ec2, instance_id, make_profile(iam))
    emulator.control("POST", "nodes/host", instance_ids=[instance_id], blocked=True)
    assert retry(emulator, instance_id)["outcome"] == "no network"
    emulator.control("POST", "nodes/host", instance_ids=[instance_id], blocked=False, agent="stopped")
    assert retry(emulator, instance_id)["reason"] == "the agent is stopped"
    assert nodes(ssm) == {}
    emulator.control("POST", "nodes/host", instance_ids=[instance_id], agent="running")
    assert retry(emulator, instance_id)["online"] is True


@pytest.mark.parametrize("state", ["stopped", "missing"])
def test_a_node_whose_agent_ends_is_lost_after_the_missed_heartbeats(emulator, ec2, iam, ssm, state):
    instance_id = launch(ec2)
    attach(ec2, instance_id, make_profile(iam))
    retry(emulator, instance_id)
    emulator.control("POST", "nodes/host", instance_ids=[instance_id], agent=state)
    emulator.control("POST", "instances/age", seconds=330)
    assert nodes(ssm) == {instance_id: "Online"}  # one missed heartbeat
    emulator.control("POST", "instances/age", seconds=300)
    assert nodes(ssm) == {instance_id: "ConnectionLost"}
    emulator.control("POST", "instances/age", seconds=24 * 3600)
    assert nodes(ssm) == {instance_id: "ConnectionLost"}
    emulator.control("POST", "nodes/host", instance_ids=[instance_id], agent="running")
    emulator.control("POST", "instances/age", seconds=60)
    assert nodes(ssm) == {instance_id: "Online"}


def test_an_impaired_instance(emulator, ec2, iam, ssm):
    instance_id = launch(ec2)
    attach(ec2, instance_id, make_profile(iam))
    retry(emulator, instance_id)
    emulator.control("POST", "instances/checks", instance_ids=[instance_id], instance="impaired")
    assert retry(emulator, instance_id)["ping_status"] == "ConnectionLost"
    (status,) = ec2.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"]
    assert (status["SystemStatus"]["Status"], status["InstanceStatus"]["Status"]) == ("ok", "impaired")
    assert status["InstanceStatus"]["Details"][0]["Status"] == "failed"


def test_a_minimal_image_has_no_agent(emulator, ec2, iam):
    wanted = [{"Name": "name", "Values": ["al2023-ami-minimal-*"]}]
    found = ec2.describe_images(Owners=["amazon"], Filters=wanted)["Images"]
    if not found:
        image = ec2.create_image(InstanceId=launch(ec2), Name="al2023-ami-minimal-2023.9-x86_64")["ImageId"]
    else:
        image = found[0]["ImageId"]
    instance_id = launch(ec2, ImageId=image)
    attach(ec2, instance_id, make_profile(iam))
    node = retry(emulator, instance_id)
    assert (node["agent"], node["outcome"]) == ("missing", "silent")
    assert "SSM Agent" not in console(ec2, instance_id)


# Describing


@pytest.fixture
def fleet(emulator, ec2, iam):
    """Twelve nodes, one of them lost."""
    make_profile(iam)
    ids = sorted(ec2_help.launch(ec2, 12, IamInstanceProfile={"Name": "managed"}))
    assert retry(emulator, *ids)["online"] is True
    emulator.control("POST", "nodes/host", instance_ids=[ids[0]], agent="stopped")
    retry(emulator, ids[0])
    return ids


def test_filters_in_both_shapes(ec2, ssm, fleet):
    assert nodes(ssm, Filters=[{"Key": "PingStatus", "Values": ["ConnectionLost"]}]) == {fleet[0]: "ConnectionLost"}
    legacy = [{"key": "InstanceIds", "valueSet": fleet[1:3]}]
    assert sorted(nodes(ssm, InstanceInformationFilterList=legacy)) == fleet[1:3]
    unknown = [{"Key": "InstanceIds", "Values": [fleet[1], "i-0123456789abcdef0"]}]
    assert list(nodes(ssm, Filters=unknown)) == [fleet[1]]
    ec2.create_tags(Resources=fleet[:2], Tags=tag_list({"Team": "web"}))
    assert sorted(nodes(ssm, Filters=[{"Key": "tag:Team", "Values": ["web"]}])) == fleet[:2]
    assert sorted(nodes(ssm, Filters=[{"Key": "tag-key", "Values": ["Team"]}])) == fleet[:2]


def test_pages(client, ssm, fleet):
    first = ssm.describe_instance_information()
    assert len(first["InstanceInformationList"]) == 10  # the default
    rest = ssm.describe_instance_information(NextToken=first["NextToken"])
    assert len(rest["InstanceInformationList"]) == 2 and "NextToken" not in rest
    assert sorted(nodes(ssm, MaxResults=5)) == fleet
    unchecked = client("ssm", parameter_validation=False)
    for wrong in (4, 51):
        with refused("ValidationException", "maxResults"):
            unchecked.describe_instance_information(MaxResults=wrong)
    with refused("InvalidNextToken"):
        ssm.describe_instance_information(NextToken="nonsense")


def test_wrong_filters(client):
    ssm = client("ssm", parameter_validation=False)

    def describe(**parameters):
        return ssm.describe_instance_information(**parameters)

    ids = [f"i-{number:017x}" for number in range(101)]
    assert describe(Filters=[{"Key": "InstanceIds", "Values": ids[:100]}])["InstanceInformationList"] == []
    with refused("ValidationException", "less than or equal to 100"):
        describe(Filters=[{"Key": "InstanceIds", "Values": ids}])
    with refused("InvalidFilterKey"):
        describe(Filters=[{"Key": "Colour", "Values": ["red"]}])
    with refused("InvalidInstanceInformationFilterValue"):
        describe(Filters=[{"Key": "PingStatus", "Values": ["Offline"]}])
    with refused("ValidationException", "same request"):
        describe(
            Filters=[{"Key": "PingStatus", "Values": ["Online"]}],
            InstanceInformationFilterList=[{"key": "PingStatus", "valueSet": ["Online"]}],
        )
    with refused("ValidationException", "Tag filters"):
        describe(Filters=[{"Key": "PingStatus", "Values": ["Online"]}, {"Key": "tag-key", "Values": ["a"]}])


def test_control_says_what_is_wrong(emulator):
    with pytest.raises(ControlFailure, match="unknown instances: i-1"):
        emulator.control("POST", "nodes/retry", instance_ids=["i-1"])
    with pytest.raises(ControlFailure, match="unknown agent state"):
        emulator.control("POST", "nodes/host", instance_ids=[], agent="asleep")
    assert json.dumps(emulator.control("GET", "nodes")) == '{"nodes": []}'
