"""Images: what can be launched, deprecation, disabling, filters."""

import pytest
from ec2_help import launch, refused, specification, tags_of


@pytest.fixture
def own_image(emulator, ec2):
    (snapshot_id,) = emulator.control("POST", "snapshots", snapshots=[{"volume_size": 12}])["snapshot_ids"]
    mapping = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot_id}}
    return ec2.register_image(
        Name="ours-1", RootDeviceName="/dev/xvda", BlockDeviceMappings=[mapping], Architecture="arm64",
        VirtualizationType="hvm", TagSpecifications=specification("image", {"a": "1"}),
    )["ImageId"]  # fmt: skip


def _ids(ec2, **parameters):
    return {image["ImageId"] for image in ec2.describe_images(**parameters)["Images"]}


def test_an_unknown_image_is_not_launched(ec2):
    with refused("InvalidAMIID.NotFound", "The image id '[ami-0123456789abcdef0]' does not exist"):
        launch(ec2, ImageId="ami-0123456789abcdef0")
    assert ec2.describe_instances()["Reservations"] == []


def test_a_disabled_or_deregistered_image_is_not_launched(ec2, own_image):
    launch(ec2, ImageId=own_image)
    ec2.disable_image(ImageId=own_image)
    with refused("InvalidAMIID.Unavailable"):
        launch(ec2, ImageId=own_image)
    ec2.enable_image(ImageId=own_image)
    launch(ec2, ImageId=own_image)
    ec2.deregister_image(ImageId=own_image)
    with refused("InvalidAMIID.Unavailable"):
        launch(ec2, ImageId=own_image)


def test_a_registered_image_says_what_it_consists_of(ec2, own_image):
    (image,) = ec2.describe_images(ImageIds=[own_image])["Images"]
    (mapping,) = image["BlockDeviceMappings"]
    assert (mapping["Ebs"]["VolumeSize"], image["Architecture"], image["RootDeviceName"]) == (12, "arm64", "/dev/xvda")
    by_snapshot = [{"Name": "block-device-mapping.snapshot-id", "Values": [mapping["Ebs"]["SnapshotId"]]}]
    assert _ids(ec2, Filters=by_snapshot) == {own_image}
    assert tags_of(image) == {"a": "1"}


def test_images_that_are_just_there_are_older_than_any_made_here(emulator, ec2):
    images = ec2.describe_images(Owners=["amazon"])["Images"]
    made = emulator.control("POST", "images", name="al2023-ami-new-x86_64", owner="amazon", public=True)["image_id"]
    (new,) = ec2.describe_images(ImageIds=[made])["Images"]
    assert images and max(image["CreationDate"] for image in images) < new["CreationDate"]
    dates = {image["Name"]: image["CreationDate"] for image in images}
    assert dates["al2023-ami-minimal-2023.12.20260930.0-kernel-6.1-x86_64"].startswith("2026-09-30T")


def test_deprecated_images_are_shown_to_their_owner_or_on_request(emulator, ec2):
    own, foreign = (
        emulator.control("POST", "images", name="old", owner=owner, public=True, deprecated=True)["image_id"]
        for owner in ("self", "amazon")
    )
    by_id = [{"Name": "image-id", "Values": [own, foreign]}]
    assert _ids(ec2, Filters=by_id) == {own}
    assert _ids(ec2, Filters=by_id, IncludeDeprecated=True) == {own, foreign}
    (image,) = ec2.describe_images(ImageIds=[own])["Images"]
    assert "DeprecationTime" in image


def test_disabled_images_are_shown_on_request(ec2, own_image):
    ec2.disable_image(ImageId=own_image)
    by_id = [{"Name": "image-id", "Values": [own_image]}]
    assert _ids(ec2, Filters=by_id) == set()
    assert _ids(ec2, Filters=by_id, IncludeDisabled=True) == {own_image}
    assert ec2.describe_images(ImageIds=[own_image], IncludeDisabled=True)["Images"][0]["State"] == "disabled"
