"""Launches and quarantine (AMI)."""

import re

from conformance.account import Account, nobody
from conformance.facts.asg import group, template
from conformance.probe import expect, expect_that, probe, refused, untried

untried("AMI-1", "RunInstances as an event needs a trail, which is the account's to have")


@probe(
    "AMI-2",
    must="nothing of it by DescribeImages; name, owner, creation and deregistered by its instance",
    usd=0.001,
    seconds=90,
)
def an_image_that_is_gone_is_still_told_of(aws: Account) -> None:
    """Launches an instance from an AMI of one's own, and deregisters it."""
    image = aws.own_image(aws.snapshot())
    created = aws.ec2.describe_images(ImageIds=[image])["Images"][0]["CreationDate"]
    instance = aws.launch(ImageId=image)
    aws.running(instance)
    name = _metadata(aws, instance)["Name"]
    expect_that("its name is told", name.startswith(aws.prefix), name)
    aws.ec2.deregister_image(ImageId=image)
    by_id = [{"Name": "image-id", "Values": [image]}]
    aws.eventually(lambda: not aws.ec2.describe_images(Filters=by_id)["Images"], "an image that isn't shown")
    told = aws.eventually(
        lambda: (found := _metadata(aws, instance)).get("State") != "available" and found, "the AMI's state"
    )
    expect("its state", told.get("State"), "deregistered")
    expect("its owner", told.get("OwnerId"), aws.account_id)
    expect("its name", told.get("Name"), name)
    expect("its creation", told.get("CreationDate"), re.sub(r"\.\d+Z$", "Z", created))
    expect("the owner's alias of one's own", told.get("ImageOwnerAlias"), None)


@probe("AMI-2", "AMI-16", must="amazon, and the creation in whole seconds", usd=0.001, seconds=2)
def what_an_instance_tells_of_an_image_of_amazon(aws: Account) -> None:
    """Describes the image metadata of an instance of Amazon Linux."""
    told = _metadata(aws, aws.instance)
    expect("the owner's alias", told.get("ImageOwnerAlias"), "amazon")
    expect("the image", told.get("ImageId"), aws.image)
    whole = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told.get("CreationDate", ""))
    expect_that("CreationDate has whole seconds", whole, told.get("CreationDate"))


def _metadata(aws: Account, instance: str) -> dict:
    (found,) = aws.ec2.describe_instance_image_metadata(InstanceIds=[instance])["InstanceImageMetadata"]
    return found["ImageMetadata"]


@probe("AMI-2", must="InvalidAMIID.NotFound that names the unknown one", seconds=1)
def one_unknown_image_spoils_the_call(aws: Account) -> None:
    """Describes an image that exists with one that doesn't, by ids and by a filter, and one of no instance."""
    with refused("InvalidAMIID.NotFound", saying=nobody("ami")):
        aws.ec2.describe_images(ImageIds=[aws.image, nobody("ami")])
    by_id = [{"Name": "image-id", "Values": [aws.image, nobody("ami")]}]
    found = [image["ImageId"] for image in aws.ec2.describe_images(Filters=by_id)["Images"]]
    expect("what a filter finds", found, [aws.image])
    with refused("InvalidInstanceID.NotFound"):
        _metadata(aws, nobody("i"))


@probe("AMI-4", must="-ecs- and -minimal- images among the broad pattern's, none among the narrow one's", seconds=10)
def a_broad_name_matches_other_images(aws: Account) -> None:
    """Describes Amazon's images by a broad and a narrow name."""

    def names(pattern: str) -> list[str]:
        pages = aws.ec2.get_paginator("describe_images").paginate(
            Owners=["amazon"], Filters=[{"Name": "name", "Values": [pattern]}], PaginationConfig={"PageSize": 1000}
        )
        return [image["Name"] for page in pages for image in page["Images"]]

    broad, narrow = names("al2023-ami-*-x86_64"), names("al2023-ami-2023.*-x86_64")
    for other in ("al2023-ami-ecs-hvm-", "al2023-ami-ecs-neuron-hvm-", "al2023-ami-minimal-"):
        expect_that(f"the broad one matches {other}*", any(name.startswith(other) for name in broad), len(broad))
    expect_that("the narrow one finds some", narrow, narrow)
    wrong = [name for name in narrow if "-ecs-" in name or "-minimal-" in name]
    expect("what else the narrow one matches", wrong, [])


@probe("AMI-5", must="InvalidInstanceID for all at once; group by group it works", usd=0.002, seconds=60)
def groups_are_per_interface(aws: Account) -> None:
    """Launches an instance with two interfaces and changes groups."""
    group_id = aws.security_group()
    interfaces = [{"DeviceIndex": n, "SubnetId": aws.subnet, "DeleteOnTermination": True} for n in range(2)]
    instance = aws.launch(NetworkInterfaces=interfaces)
    described = aws.running(instance)
    with refused("InvalidInstanceID", saying="multiple interfaces"):
        aws.ec2.modify_instance_attribute(InstanceId=instance, Groups=[group_id])
    second = next(n for n in described["NetworkInterfaces"] if n["Attachment"]["DeviceIndex"] == 1)
    aws.ec2.modify_network_interface_attribute(NetworkInterfaceId=second["NetworkInterfaceId"], Groups=[group_id])
    now = aws.described(instance)
    groups = {n["Attachment"]["DeviceIndex"]: _ids(n["Groups"]) for n in now["NetworkInterfaces"]}
    expect("the second's groups", groups[1], [group_id])
    expect_that("the first keeps its own", group_id not in groups[0], groups)
    expect("the groups that the instance shows", _ids(now["SecurityGroups"]), groups[0])


def _ids(groups: list[dict]) -> list[str]:
    return [group["GroupId"] for group in groups]


@probe("AMI-5", must="0.0.0.0/0 and ::/0, out only", seconds=5)
def a_new_group_lets_everything_out(aws: Account) -> None:
    """Makes a security group in a VPC of both families."""
    group_id = aws.security_group()
    found = aws.eventually(lambda: _rules(aws, group_id), "its rules")
    expect("its rules", sorted(r.get("CidrIpv4") or r.get("CidrIpv6") for r in found), ["0.0.0.0/0", "::/0"])
    expect("whether they are for egress", {r["IsEgress"] for r in found}, {True})


def _rules(aws: Account, group_id: str) -> list[dict]:
    filters = [{"Name": "group-id", "Values": [group_id]}]
    return aws.ec2.describe_security_group_rules(Filters=filters)["SecurityGroupRules"]


@probe("AMI-5", must="InvalidGroup.NotFound, InvalidNetworkInterfaceID.NotFound, in their words", usd=0.001, seconds=5)
def groups_and_interfaces_that_do_not_exist(aws: Account) -> None:
    """Names a security group and an interface that nothing has."""
    group_id, interface = nobody("sg"), nobody("eni")
    own = aws.described(aws.instance)["NetworkInterfaces"][0]["NetworkInterfaceId"]
    with refused("InvalidGroup.NotFound", saying=f"The security group '{group_id}' does not exist"):
        aws.ec2.describe_security_groups(GroupIds=[group_id])
    with refused("InvalidGroup.NotFound", saying=group_id):
        aws.ec2.modify_network_interface_attribute(NetworkInterfaceId=own, Groups=[group_id])
    no_interface = f"The networkInterface ID '{interface}' does not exist"
    with refused("InvalidNetworkInterfaceID.NotFound", saying=no_interface):
        aws.ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])
    with refused("InvalidNetworkInterfaceID.NotFound", saying=interface):
        aws.ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Groups=[group_id])


untried("AMI-5", "interfaces of AWS's services bill by the hour; a tracked connection takes two hosts that talk")


@probe("AMI-6", must="refused below the minimum; a stopped and protected member is replaced", usd=0.003, seconds=420)
def a_group_replaces_a_stopped_member(aws: Account) -> None:
    """Detaches the one member of a group, sends it to standby, protects and stops it."""
    name = group(aws, template(aws), size=1)
    first = aws.eventually(
        lambda: [i for i, state in aws.members(name).items() if state == "InService"], "a member in service", 300
    )[0]
    only = {"AutoScalingGroupName": name, "InstanceIds": [first], "ShouldDecrementDesiredCapacity": True}
    for leave in (aws.autoscaling.detach_instances, aws.autoscaling.enter_standby):
        with refused("ValidationError", saying="min"):
            leave(**only)
    aws.ec2.modify_instance_attribute(InstanceId=first, DisableApiTermination={"Value": True})
    with refused("OperationNotPermitted"):
        aws.ec2.terminate_instances(InstanceIds=[first])
    aws.ec2.stop_instances(InstanceIds=[first])
    aws.eventually(lambda: aws.members(name).keys() - {first}, "another member", 600)
    aws.eventually(
        lambda: aws.described(first)["State"]["Name"] in ("shutting-down", "terminated"), "the end of the first", 300
    )


untried("AMI-6", "that nothing comes while Launch is suspended is a matter of how long one waits")


@probe("AMI-7", must="UnsupportedOperation", usd=0.001, seconds=60)
def a_spot_instance_is_not_stopped_or_protected(aws: Account) -> None:
    """Launches a one-time Spot instance, stops it and protects it."""
    instance = aws.launch(InstanceMarketOptions={"MarketType": "spot"})
    expect("its lifecycle", aws.running(instance).get("InstanceLifecycle"), "spot")
    with refused("UnsupportedOperation"):
        aws.ec2.stop_instances(InstanceIds=[instance])
    with refused("UnsupportedOperation"):
        aws.ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": True})


untried("AMI-7", "fleets, and instances with a store of their own")
untried("AMI-8", "managed instances take a cluster of EKS Auto Mode or the like; credentials last for hours")
untried("AMI-9", "an order of our own")
untried("AMI-10", "it takes a launch of some hundred instances, and a trail")
untried("AMI-11", "a change that comes before EC2 knows what it changes can't be brought about")
untried("AMI-12", "a tag that IAM sees late can't be brought about")
untried("AMI-13", "an instance that shuts itself down takes a program on it")
untried("AMI-14", "what Amazon makes private, and when, is its own to decide")
untried("AMI-17", "trunks take a cluster of ECS or EKS")


@probe("AMI-18", must="a rule that is there, or of a group elsewhere, is refused with all that come with it", seconds=10)
def rules_are_added_all_or_none(aws: Account) -> None:
    """Adds rules to a security group: one twice, and one for a group that nothing is."""
    group_id = aws.security_group()

    def add(*networks: str, **more: object) -> None:
        ranges = [{"CidrIp": network} for network in networks]
        permission = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": ranges} | more
        aws.ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=[permission])

    add("10.1.0.0/16")
    with refused("InvalidPermission.Duplicate"):
        add("10.2.0.0/16", "10.1.0.0/16")
    with refused("InvalidGroup.NotFound"):
        add("10.2.0.0/16", UserIdGroupPairs=[{"GroupId": nobody("sg")}])
    inbound = [rule.get("CidrIpv4") for rule in _rules(aws, group_id) if not rule["IsEgress"]]
    expect("its inbound rules", inbound, ["10.1.0.0/16"])


untried("AMI-18", "the quota takes 60 rules, and another VPC its peering")
untried("AMI-19", "secondary networks take instances for RDMA")
untried("AMI-20", "a shared VPC takes a second account of the organisation")
