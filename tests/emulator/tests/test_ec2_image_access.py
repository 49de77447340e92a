"""Images that the account can't see, where images come from, and what an instance still tells of its own (AMI-2)."""

import pytest
from ec2_help import amazon_linux, launch, refused, specification, tags_of


def seed(emulator, name, **more):
    return emulator.control("POST", "images", name=name, **more)["image_id"]


def shown(ec2, image_id):
    """By a filter, as one asks for many: an image that isn't there spoils nothing."""
    found = ec2.describe_images(Filters=[{"Name": "image-id", "Values": [image_id]}], IncludeDeprecated=True)["Images"]
    return found[0] if found else None


def metadata(ec2, instance_id):
    (found,) = ec2.describe_instance_image_metadata(InstanceIds=[instance_id])["InstanceImageMetadata"]
    return found["ImageMetadata"]


def test_a_seeded_image(emulator, ec2):
    name = "al2023-ami-ecs-neuron-hvm-2023.0.20251209-kernel-6.1-x86_64"
    image_id = seed(emulator, name, owner="amazon", age_seconds=86400 * 200, deprecated=True)
    image = shown(ec2, image_id)
    assert (image["Name"], image["ImageOwnerAlias"], image["Public"]) == (name, "amazon", True)
    assert image["DeprecationTime"]
    pattern = [{"Name": "name", "Values": ["al2023-ami-*-x86_64"]}]
    assert image_id not in {i["ImageId"] for i in ec2.describe_images(Owners=["amazon"], Filters=pattern)["Images"]}
    arm = seed(emulator, "ours", architecture="arm64", tags={"stage": "prod"}, root_device_type="instance-store")
    image = shown(ec2, arm)
    assert (image["Architecture"], image["RootDeviceType"]) == ("arm64", "instance-store")
    assert tags_of(image) == {"stage": "prod"}
    assert "ImageOwnerAlias" not in image
    (instance_id,) = launch(ec2, ImageId=arm, InstanceType="t4g.micro")
    with refused("UnsupportedOperation", "'ebs' root device type"):
        ec2.stop_instances(InstanceIds=[instance_id])


@pytest.mark.parametrize(
    ("change", "state", "allowed", "public"),
    [
        ({"private": True}, "available", True, False),
        ({"allowed": False}, "available", False, True),
    ],
)
def test_an_image_that_vanishes(emulator, ec2, change, state, allowed, public):
    image_id = seed(emulator, "vendor-1", owner="aws-marketplace")
    (instance_id,) = launch(ec2, ImageId=image_id)
    assert shown(ec2, image_id)
    emulator.control("POST", "images/access", image_id=image_id, **change)
    assert shown(ec2, image_id) is None
    with refused("InvalidAMIID.NotFound", image_id):
        ec2.describe_images(ImageIds=[image_id])
    with refused("AuthFailure", "Not authorized"):
        launch(ec2, ImageId=image_id)
    found = metadata(ec2, instance_id)
    assert (found["ImageId"], found["Name"], found["State"]) == (image_id, "vendor-1", state)
    assert (found["ImageOwnerAlias"], found["ImageAllowed"], found["IsPublic"]) == ("aws-marketplace", allowed, public)


def test_when_an_image_was_made_is_told_in_whole_seconds(emulator, ec2):
    image_id = seed(emulator, "vendor-1", owner="aws-marketplace", deprecated=True)
    (instance_id,) = launch(ec2, ImageId=image_id)
    image, found = ec2.describe_images(ImageIds=[image_id], IncludeDeprecated=True)["Images"][0], metadata(ec2, instance_id)
    for key in ("CreationDate", "DeprecationTime"):
        assert image[key].endswith(".000Z")
        assert found[key] == image[key].replace(".000", "")


def test_own_images_are_never_restricted(emulator, ec2):
    image_id = seed(emulator, "ours-1")
    emulator.control("POST", "images/access", image_id=image_id, allowed=False)
    assert shown(ec2, image_id)
    launch(ec2, ImageId=image_id)


def test_ancestry(emulator, ec2):
    base = amazon_linux(ec2)
    (instance_id,) = launch(ec2, ImageId=base)
    baked = ec2.create_image(InstanceId=instance_id, Name="baked")["ImageId"]
    ec2.create_tags(Resources=[baked], Tags=[{"Key": "team", "Value": "red"}])
    copied = ec2.copy_image(
        SourceImageId=baked,
        SourceRegion="eu-central-1",
        Name="copied",
        CopyImageTags=True,
        TagSpecifications=specification("image", {"stage": "prod"}),
    )["ImageId"]
    assert shown(ec2, baked)["SourceImageId"] == base
    assert shown(ec2, baked)["SourceInstanceId"] == instance_id
    described = shown(ec2, copied)
    assert (described["SourceImageId"], described["SourceImageRegion"]) == (baked, "eu-central-1")
    assert tags_of(described) == {"team": "red", "stage": "prod"}
    ec2.deregister_image(ImageId=baked)
    line = ec2.get_image_ancestry(ImageId=copied)["ImageAncestryEntries"]
    assert [entry["ImageId"] for entry in line] == [copied, baked, base]
    assert line[2]["ImageOwnerAlias"] == "amazon"
    launch(ec2, ImageId=copied)


def test_all_metadata_by_pages_and_filters(ec2):
    ids = set(launch(ec2, 7))
    pages = ec2.get_paginator("describe_instance_image_metadata").paginate(PaginationConfig={"PageSize": 5})
    found = [item for page in pages for item in page["InstanceImageMetadata"]]
    assert {item["InstanceId"] for item in found} == ids
    assert len(found) == 7
    filters = [{"Name": "owner-alias", "Values": ["aws-marketplace"]}]
    assert ec2.describe_instance_image_metadata(Filters=filters)["InstanceImageMetadata"] == []


def test_parameters_that_aws_publishes(emulator, client):
    ssm, name = client("ssm"), "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
    before = ssm.get_parameter(Name=name)["Parameter"]["Value"]
    emulator.control("POST", "parameters", name=name, value="ami-0123456789abcdef0")
    after = ssm.get_parameter(Name=name)["Parameter"]["Value"]
    assert before != after == "ami-0123456789abcdef0"
    ssm.put_parameter(Name="/ours/ami", Value="ami-1", Type="String")
    ssm.put_parameter(Name="/ours/ami", Value="ami-2", Type="String", Overwrite=True)
    history = ssm.get_parameter_history(Name="/ours/ami")["Parameters"]
    assert [(p["Version"], p["Value"]) for p in history] == [(1, "ami-1"), (2, "ami-2")]
    with refused("ValidationException", "10"):
        ssm.get_parameters(Names=[f"/ours/{n}" for n in range(11)])


def test_a_parameter_asked_for_by_version_or_arn(client):
    """It has its own name and ARN all the same; the selector stands beside them."""
    ssm = client("ssm")
    for value in ("ami-1", "ami-2"):
        ssm.put_parameter(Name="/ours/ami", Value=value, Type="String", Overwrite=True)
    ssm.label_parameter_version(Name="/ours/ami", ParameterVersion=1, Labels=["old"])
    arn = ssm.get_parameter(Name="/ours/ami")["Parameter"]["ARN"]
    asked = ["/ours/ami:1", "/ours/ami:2", "/ours/ami:old", arn, f"{arn}:1", "/ours/ami:9", "/ours/ami:none"]
    answer = ssm.get_parameters(Names=asked)
    assert {(p["Name"], p["ARN"]) for p in answer["Parameters"]} == {("/ours/ami", arn)}
    found = [(p["Value"], p.get("Selector")) for p in answer["Parameters"]]
    assert found == [("ami-1", ":1"), ("ami-2", ":2"), ("ami-1", ":old"), ("ami-2", None), ("ami-1", ":1")]
    assert answer["InvalidParameters"] == asked[5:]
    assert ssm.get_parameter(Name=f"{arn}:2")["Parameter"]["Selector"] == ":2"
