"""Network interfaces, security groups and attributes of instances, as AWS lets one change them (AMI-5 to AMI-8)."""

from ec2_help import ZONE, amazon_linux, eventually, instance, launch, refused, specification
from ssm_help import make_profile


def default_subnet(ec2):
    filters = [{"Name": "availability-zone", "Values": [ZONE]}]
    return ec2.describe_subnets(Filters=filters)["Subnets"][0]


def make_group(ec2, name, **parameters):
    return ec2.create_security_group(GroupName=name, Description=name, **parameters)["GroupId"]


def interface(ec2, interface_id):
    return ec2.describe_network_interfaces(NetworkInterfaceIds=[interface_id])["NetworkInterfaces"][0]


def attach(ec2, instance_id, index=1, **parameters):
    made = ec2.create_network_interface(SubnetId=default_subnet(ec2)["SubnetId"], **parameters)["NetworkInterface"]
    ec2.attach_network_interface(
        NetworkInterfaceId=made["NetworkInterfaceId"], InstanceId=instance_id, DeviceIndex=index
    )
    return made["NetworkInterfaceId"]


def test_launching_with_several_interfaces(ec2):
    one, two = make_group(ec2, "one"), make_group(ec2, "two")
    subnet = default_subnet(ec2)["SubnetId"]
    (instance_id,) = launch(
        ec2,
        NetworkInterfaces=[
            {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [one]},
            {"DeviceIndex": 1, "SubnetId": subnet, "Groups": [two], "Description": "second"},
        ],
    )
    described = instance(ec2, instance_id)
    assert [g["GroupId"] for g in described["SecurityGroups"]] == [one]
    found = {n["Attachment"]["DeviceIndex"]: n for n in described["NetworkInterfaces"]}
    assert [g["GroupId"] for g in found[1]["Groups"]] == [two]
    assert all(n["Attachment"]["DeleteOnTermination"] for n in found.values())
    assert found[1]["Description"] == "second"
    assert found[0]["Status"] == "in-use"
    second = interface(ec2, found[1]["NetworkInterfaceId"])
    assert second["Attachment"]["InstanceId"] == instance_id
    assert second["RequesterManaged"] is False


def test_launching_from_a_template_with_interfaces(ec2):
    group = make_group(ec2, "one")
    data = {
        "ImageId": amazon_linux(ec2),
        "InstanceType": "t3.micro",
        "DisableApiTermination": True,
        "NetworkInterfaces": [
            {"DeviceIndex": 0, "Groups": [group]},
            {"DeviceIndex": 1, "Groups": [group], "DeleteOnTermination": False},
        ],
    }
    ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)
    launched = ec2.run_instances(MinCount=1, MaxCount=1, LaunchTemplate={"LaunchTemplateName": "web"})["Instances"][0]
    found = instance(ec2, launched["InstanceId"])["NetworkInterfaces"]
    assert len(found) == 2
    assert all([g["GroupId"] for g in n["Groups"]] == [group] for n in found)
    answer = ec2.describe_instance_attribute(InstanceId=launched["InstanceId"], Attribute="disableApiTermination")
    assert answer["DisableApiTermination"]["Value"] is True


def test_what_is_left_of_a_terminated_instance(ec2):
    (instance_id,) = launch(ec2)
    primary = instance(ec2, instance_id)["NetworkInterfaces"][0]["NetworkInterfaceId"]
    kept = attach(ec2, instance_id)
    ec2.terminate_instances(InstanceIds=[instance_id])
    with refused("InvalidNetworkInterfaceID.NotFound"):
        interface(ec2, primary)
    assert interface(ec2, kept)["Status"] == "available"
    assert "Attachment" not in interface(ec2, kept)
    described = instance(ec2, instance_id)
    assert described["NetworkInterfaces"] == []
    assert "VpcId" not in described


def test_groups_that_an_interface_cannot_have(ec2):
    (instance_id,) = launch(ec2)
    eni = instance(ec2, instance_id)["NetworkInterfaces"][0]["NetworkInterfaceId"]

    def change(groups):
        ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, Groups=groups)

    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    with refused("InvalidGroup.NotFound", "different networks"):
        change([make_group(ec2, "far", VpcId=vpc)])
    groups = [make_group(ec2, f"g{n}") for n in range(6)]
    with refused("SecurityGroupsPerInterfaceLimitExceeded"):
        change(groups)
    change(groups[:5])
    with refused("InvalidParameterCombination"):
        ec2.modify_network_interface_attribute(
            NetworkInterfaceId=eni, Groups=groups[:1], Description={"Value": "and more"}
        )
    assert len(interface(ec2, eni)["Groups"]) == 5


def test_an_interface_of_a_service(ec2, emulator):
    (instance_id,) = launch(ec2)
    made = emulator.control("POST", "interfaces", instance_id=instance_id, requester_id="amazon-ecs")
    eni = made["network_interface_id"]
    group = make_group(ec2, "quarantine")
    described = interface(ec2, eni)
    assert (described["RequesterManaged"], described["RequesterId"]) == (True, "amazon-ecs")
    with refused("AuthFailure", "permission"):
        ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, Groups=[group])
    filters = [
        {"Name": "attachment.instance-id", "Values": [instance_id]},
        {"Name": "requester-managed", "Values": ["true"]},
    ]
    found = ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
    assert [n["NetworkInterfaceId"] for n in found] == [eni]


def test_a_managed_instance_refuses_changes(ec2, emulator):
    (instance_id,) = launch(ec2)
    described = instance(ec2, instance_id)
    assert described["Operator"]["Managed"] is False
    eni = described["NetworkInterfaces"][0]["NetworkInterfaceId"]
    group = make_group(ec2, "quarantine")
    emulator.control("POST", "instances/operator", instance_ids=[instance_id], principal="eks.amazonaws.com")
    assert instance(ec2, instance_id)["Operator"] == {"Managed": True, "Principal": "eks.amazonaws.com"}
    with refused("UnauthorizedOperation", "resource-based policy", status=403):
        ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, Groups=[group])
    with refused("UnauthorizedOperation", status=403):
        ec2.modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": True})
    for call in (ec2.stop_instances, ec2.terminate_instances):
        with refused("UnauthorizedOperation", status=403):
            call(InstanceIds=[instance_id])
    assert instance(ec2, instance_id)["State"]["Name"] == "running"


def test_a_managed_instance_keeps_its_profile(ec2, emulator, client):
    arn = make_profile(client("iam"))
    (without,), (with_one,) = launch(ec2), launch(ec2, IamInstanceProfile={"Arn": arn})
    emulator.control("POST", "instances/operator", instance_ids=[without, with_one], principal="eks.amazonaws.com")
    (present,) = ec2.describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"]
    association = present["AssociationId"]
    with refused("UnauthorizedOperation", "AssociateIamInstanceProfile", without, status=403):
        ec2.associate_iam_instance_profile(InstanceId=without, IamInstanceProfile={"Arn": arn})
    with refused("UnauthorizedOperation", "ReplaceIamInstanceProfileAssociation", with_one, status=403):
        ec2.replace_iam_instance_profile_association(AssociationId=association, IamInstanceProfile={"Arn": arn})
    with refused("UnauthorizedOperation", "DisassociateIamInstanceProfile", with_one, status=403):
        ec2.disassociate_iam_instance_profile(AssociationId=association)
    assert "IamInstanceProfile" not in instance(ec2, without)
    assert instance(ec2, with_one)["IamInstanceProfile"]["Arn"] == arn
    # The service gives it up.
    emulator.control("POST", "instances/operator", instance_ids=[with_one], principal=None)
    ec2.disassociate_iam_instance_profile(AssociationId=association)
    assert "IamInstanceProfile" not in instance(ec2, with_one)


def test_the_subnet_decides_about_a_public_address(ec2):
    default = default_subnet(ec2)["SubnetId"]

    def has_address(**interface):
        (instance_id,) = launch(ec2, NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": default} | interface])
        return "PublicIpAddress" in instance(ec2, instance_id)

    assert has_address()
    assert not has_address(AssociatePublicIpAddress=False)
    ec2.modify_subnet_attribute(SubnetId=default, MapPublicIpOnLaunch={"Value": False})
    assert not has_address()
    assert has_address(AssociatePublicIpAddress=True)


def test_attaching(ec2):
    (instance_id,) = launch(ec2)
    eni = attach(ec2, instance_id)
    with refused("InvalidNetworkInterface.InUse", eni):
        ec2.attach_network_interface(NetworkInterfaceId=eni, InstanceId=instance_id, DeviceIndex=2)
    with refused("InvalidParameterValue", "device index '1'"):
        attach(ec2, instance_id)
    with refused("InvalidParameterValue", "in use"):
        ec2.delete_network_interface(NetworkInterfaceId=eni)
    other = [s for s in ec2.describe_subnets()["Subnets"] if s["AvailabilityZone"] != ZONE][0]["SubnetId"]
    far = ec2.create_network_interface(SubnetId=other)["NetworkInterface"]["NetworkInterfaceId"]
    with refused("InvalidParameterCombination", "availability zone"):
        ec2.attach_network_interface(NetworkInterfaceId=far, InstanceId=instance_id, DeviceIndex=2)


# Security groups


def rules(ec2, group_id):
    return ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group_id]}])["SecurityGroupRules"]


def test_a_new_group_lets_everything_out_by_ipv4(ec2):
    plain = make_group(ec2, "plain")
    assert [r.get("CidrIpv4") for r in rules(ec2, plain)] == ["0.0.0.0/0"]


def test_revoking_by_id_and_by_permission(ec2):
    vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]["VpcId"]
    group = make_group(ec2, "q", VpcId=vpc)
    ids = [r["SecurityGroupRuleId"] for r in rules(ec2, group)]
    with refused("InvalidSecurityGroupRuleId.NotFound"):
        ec2.revoke_security_group_egress(GroupId=group, SecurityGroupRuleIds=[ids[0], "sgr-00000000000000000"])
    assert len(rules(ec2, group)) == 2
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    none = {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
    with refused("InvalidPermission.NotFound"):
        ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[everything, none])
    assert len(rules(ec2, group)) == 2
    ec2.revoke_security_group_egress(GroupId=group, SecurityGroupRuleIds=ids)
    assert rules(ec2, group) == []
    found = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    assert found["IpPermissions"] == found["IpPermissionsEgress"] == []


def test_revoking_both_families_by_permission(ec2):
    vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]["VpcId"]
    group = make_group(ec2, "q", VpcId=vpc)
    present = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissionsEgress"]
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=present)
    assert rules(ec2, group) == []


def let_in(ec2, group, permission):
    return ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])


def test_adding_rules_all_or_none_and_of_groups_that_the_vpc_knows(ec2):
    one, two = make_group(ec2, "one"), make_group(ec2, "two")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    elsewhere = make_group(ec2, "elsewhere", VpcId=vpc)
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
    first = {"CidrIp": "10.1.0.0/16", "Description": "responders"}
    let_in(ec2, one, ssh | {"IpRanges": [first], "UserIdGroupPairs": [{"GroupId": two}]})
    second = {"CidrIp": "10.2.0.0/16"}
    with refused("InvalidPermission.Duplicate"):
        let_in(ec2, one, ssh | {"IpRanges": [second, first]})
    with refused("InvalidGroup.NotFound", "belong to different networks"):
        let_in(ec2, one, ssh | {"IpRanges": [second], "UserIdGroupPairs": [{"GroupId": elsewhere}]})
    with refused("InvalidGroup.NotFound", "sg-0a1b2c3d4e5f60718"):
        let_in(ec2, one, ssh | {"UserIdGroupPairs": [{"GroupId": "sg-0a1b2c3d4e5f60718"}]})
    (found,) = ec2.describe_security_groups(GroupIds=[one])["SecurityGroups"][0]["IpPermissions"]
    assert [r["CidrIp"] for r in found["IpRanges"]] == ["10.1.0.0/16"]
    assert [p["GroupId"] for p in found["UserIdGroupPairs"]] == [two]


def test_a_group_of_another_account(ec2, emulator):
    (instance_id,) = launch(ec2)
    primary = instance(ec2, instance_id)["NetworkInterfaces"][0]["NetworkInterfaceId"]
    theirs = make_group(ec2, "theirs")
    emulator.control("POST", "network/groups", group=theirs, owner="222233334444")
    ec2.modify_network_interface_attribute(NetworkInterfaceId=primary, Groups=[theirs])
    assert ec2.describe_security_groups(GroupIds=[theirs])["SecurityGroups"][0]["OwnerId"] == "222233334444"
    with refused("UnauthorizedOperation", status=403):
        let_in(ec2, theirs, {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "10.1.0.0/16"}]})
    emulator.control("POST", "network/groups", group=theirs, owner="222233334444", shared=False)
    filters = [{"Name": "group-id", "Values": [theirs]}]
    assert not ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
    with refused("InvalidGroup.NotFound"):
        ec2.modify_network_interface_attribute(NetworkInterfaceId=primary, Groups=[theirs])


def test_what_hangs_on_a_trunk(ec2, emulator):
    (instance_id,) = launch(ec2)
    group = make_group(ec2, "pods")
    made = emulator.control("POST", "interfaces", instance_id=instance_id, trunk=True)
    trunk = made["network_interface_id"]
    made = emulator.control("POST", "interfaces", on=trunk, groups=[group])
    branch = made["network_interface_id"]
    subnet = default_subnet(ec2)["SubnetId"]
    other = emulator.control("POST", "interfaces", on=None, subnet_id=subnet)["network_interface_id"]
    found = {n["NetworkInterfaceId"]: n["InterfaceType"] for n in instance(ec2, instance_id)["NetworkInterfaces"]}
    assert found[trunk] == "trunk" and branch not in found
    filters = [{"Name": "interface-type", "Values": ["branch"]}]
    described = ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
    assert {n["NetworkInterfaceId"] for n in described} == {branch, other}
    assert all("Attachment" not in n and not n["RequesterManaged"] for n in described)
    (association,) = ec2.describe_trunk_interface_associations()["InterfaceAssociations"]
    assert (association["BranchInterfaceId"], association["TrunkInterfaceId"]) == (branch, trunk)


def test_an_interface_in_a_secondary_network(ec2, emulator):
    (instance_id,) = launch(ec2)
    assert not instance(ec2, instance_id).get("SecondaryInterfaces")
    emulator.control("POST", "instances/secondary", instance_id=instance_id, secondary_interface_id="sni-1")
    (found,) = instance(ec2, instance_id)["SecondaryInterfaces"]
    assert found["SecondaryInterfaceId"] == "sni-1"


def test_a_name_is_used_once_in_a_vpc(ec2):
    group = make_group(ec2, "quarantine")
    with refused("InvalidGroup.Duplicate", "quarantine"):
        make_group(ec2, "quarantine")
    make_group(ec2, "quarantine", VpcId=ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"])
    tagged = make_group(ec2, "other", TagSpecifications=specification("security-group", {"a": "b"}))
    found = ec2.describe_security_groups(Filters=[{"Name": "tag:a", "Values": ["b"]}])["SecurityGroups"]
    assert [g["GroupId"] for g in found] == [tagged]
    (instance_id,) = launch(ec2, SecurityGroupIds=[group])
    with refused("DependencyViolation", group):
        ec2.delete_security_group(GroupId=group)
    ec2.terminate_instances(InstanceIds=[instance_id])
    ec2.delete_security_group(GroupId=group)


def test_what_is_new_is_not_known_everywhere_at_once(ec2, emulator):
    def set_delays(seconds):
        names = ("security_group_visibility_delay_seconds", "instance_visibility_delay_seconds")
        emulator.control("PATCH", "settings", **dict.fromkeys(names, seconds))

    (old,) = launch(ec2)
    eni = instance(ec2, old)["NetworkInterfaces"][0]["NetworkInterfaceId"]
    set_delays(3600)
    group = make_group(ec2, "quarantine")
    with refused("InvalidGroup.NotFound", group):
        ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, Groups=[group])
    by_name = [{"Name": "group-name", "Values": ["quarantine", "late"]}]
    assert ec2.describe_security_groups(Filters=by_name)["SecurityGroups"] == []
    with refused("InvalidGroup.Duplicate"):
        make_group(ec2, "quarantine")
    (new,) = launch(ec2)
    with refused("InvalidInstanceID.NotFound", new):
        instance(ec2, new)
    set_delays(0.3)
    late = make_group(ec2, "late")
    seen = eventually(lambda: ec2.describe_security_groups(Filters=by_name)["SecurityGroups"])
    assert [g["GroupId"] for g in seen] == [late]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, Groups=[late])
    (new,) = launch(ec2)
    eventually(lambda: len(ec2.describe_instances()["Reservations"]) == 2)
    assert instance(ec2, new)["State"]["Name"] == "running"


# Attributes


def test_protection_and_devices(ec2):
    (instance_id,) = launch(ec2)
    with refused("InvalidParameterCombination", "multiple attribute types"):
        ec2.modify_instance_attribute(
            InstanceId=instance_id,
            DisableApiTermination={"Value": True},
            BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}}],
        )
    ec2.modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": True})
    with refused("OperationNotPermitted", "disableApiTermination"):
        ec2.terminate_instances(InstanceIds=[instance_id])

    def change(device, keep, **more):
        mapping = {"DeviceName": device, "Ebs": {"DeleteOnTermination": not keep, **more}}
        ec2.modify_instance_attribute(InstanceId=instance_id, BlockDeviceMappings=[mapping])

    with refused("InvalidInstanceAttributeValue", "/dev/xvdz"):
        change("/dev/xvdz", True)
    change("/dev/xvda", True)
    (device,) = instance(ec2, instance_id)["BlockDeviceMappings"]
    assert device["Ebs"]["DeleteOnTermination"] is False
    attribute = ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="blockDeviceMapping")
    assert attribute["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"] is False
    ec2.modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": False})
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert ec2.describe_volumes(VolumeIds=[device["Ebs"]["VolumeId"]])["Volumes"][0]["State"] == "available"


def test_what_only_a_stopped_instance_changes(ec2):
    (instance_id,) = launch(ec2, DisableApiTermination=True)
    with refused("IncorrectInstanceState"):
        ec2.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": "t3.large"})
    ec2.stop_instances(InstanceIds=[instance_id])
    eventually(lambda: instance(ec2, instance_id)["State"]["Name"] == "stopped")
    ec2.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": "t3.large"})
    assert instance(ec2, instance_id)["InstanceType"] == "t3.large"
    answer = ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="disableApiTermination")
    assert answer["DisableApiTermination"]["Value"] is True


def test_spot_instances(ec2):
    (once,) = launch(ec2, InstanceMarketOptions={"MarketType": "spot"})
    assert instance(ec2, once)["InstanceLifecycle"] == "spot"
    assert instance(ec2, once)["SpotInstanceRequestId"].startswith("sir-")
    with refused("UnsupportedOperation", "one-time"):
        ec2.stop_instances(InstanceIds=[once])
    spot = [{"Name": "spot-instance-request-id", "Values": [instance(ec2, once)["SpotInstanceRequestId"]]}]
    found = ec2.describe_instances(Filters=spot)["Reservations"]
    assert [i["InstanceId"] for r in found for i in r["Instances"]] == [once]
    with refused("UnsupportedOperation", "Spot"):
        ec2.modify_instance_attribute(InstanceId=once, DisableApiTermination={"Value": True})
    options = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "persistent"}}
    (lasting,) = launch(ec2, InstanceMarketOptions=options)
    ec2.stop_instances(InstanceIds=[lasting])


def test_all_or_none_are_stopped(ec2):
    (plain,) = launch(ec2)
    (spot,) = launch(ec2, InstanceMarketOptions={"MarketType": "spot"})
    with refused("UnsupportedOperation"):
        ec2.stop_instances(InstanceIds=[plain, spot])
    assert instance(ec2, plain)["State"]["Name"] == "running"
