"""ECR: manifests byte for byte, tags that move, digests and references that are checked (ASG-10)."""

import hashlib
import json

import pytest
from ec2_help import refused

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture
def ecr(client):
    ecr = client("ecr")
    ecr.create_repository(repositoryName="app")
    return ecr


def push(emulator, **body):
    return emulator.control("POST", "ecr/push", repository="app", **body)["digest"]


def get(ecr, *identifiers, **options):
    return ecr.batch_get_image(repositoryName="app", imageIds=list(identifiers), **options)


def tags(emulator):
    images = emulator.control("GET", "ecr/images", repository="app")["images"]
    return {image["digest"]: image["tags"] for image in images}


def put(ecr, manifest, tag=None, **options):
    named = {"imageTag": tag} if tag else {}
    return ecr.put_image(repositoryName="app", imageManifest=manifest, **named, **options)


def test_a_manifest_is_kept_byte_for_byte(ecr, emulator):
    digest = push(emulator, tag="prod", content="good")
    (image,) = get(ecr, {"imageTag": "prod"})["images"]
    manifest = image["imageManifest"]
    assert digest == "sha256:" + hashlib.sha256(manifest.encode()).hexdigest()
    assert image["imageId"] == {"imageDigest": digest, "imageTag": "prod"}
    assert image["imageManifestMediaType"] == DOCKER
    reformatted = json.dumps(json.loads(manifest))
    assert reformatted != manifest
    with refused("ImageDigestDoesNotMatchException", digest):
        put(ecr, reformatted, "prod", imageDigest=digest)
    # Without the check it would be another image: exactly what a repair must not do.
    assert put(ecr, reformatted, "other")["image"]["imageId"]["imageDigest"] != digest


def test_a_tag_moves_and_the_old_image_loses_it(ecr, emulator):
    good, bad = push(emulator, tag="stable", content="good"), push(emulator, tag="prod", content="bad")
    manifest = get(ecr, {"imageTag": "stable"})["images"][0]["imageManifest"]
    answer = put(ecr, manifest, "prod", imageManifestMediaType=DOCKER, imageDigest=good)
    assert answer["image"]["imageId"] == {"imageDigest": good, "imageTag": "prod"}
    assert tags(emulator) == {good: ["stable", "prod"], bad: []}
    with refused("ImageAlreadyExistsException", good, "'prod'"):
        put(ecr, manifest, "prod")
    with refused("ImageAlreadyExistsException"):
        put(ecr, manifest)


def test_an_image_without_a_tag_is_swept(ecr, emulator):
    kept = push(emulator, tag="prod", content="one")
    lost = push(emulator, content="two")
    index = push(emulator, tag="multi", content="three", platforms=["linux/amd64", "linux/arm64"])
    assert emulator.control("POST", "ecr/lifecycle", repository="app") == {"expired": [lost]}
    # The images of an index have no tag and stay.
    assert len(tags(emulator)) == 4
    assert {kept, index} <= tags(emulator).keys()
    assert get(ecr, {"imageDigest": lost})["failures"][0]["failureCode"] == "ImageNotFound"


def test_tags_that_are_excepted_from_immutability(client, emulator):
    ecr = client("ecr")
    filters = [{"filterType": "WILDCARD", "filter": "prod*"}]
    ecr.create_repository(
        repositoryName="app",
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=filters,
    )
    push(emulator, tag="prod-eu", content="a")
    push(emulator, tag="v1", content="b")
    manifest = get(ecr, {"imageTag": "v1"})["images"][0]["imageManifest"]
    put(ecr, manifest, "prod-eu")
    push(emulator, tag="v2", content="c")
    with refused("ImageTagAlreadyExistsException"):
        put(ecr, manifest, "v2")


def test_a_multi_architecture_index(ecr, emulator):
    digest = push(emulator, tag="prod", content="x", media_type=INDEX, platforms=["linux/amd64", "linux/arm64"])
    (image,) = get(ecr, {"imageTag": "prod"}, acceptedMediaTypes=[INDEX])["images"]
    assert image["imageId"]["imageDigest"] == digest
    # Who doesn't accept the index gets one platform's image, which is another one.
    (single,) = get(ecr, {"imageTag": "prod"}, acceptedMediaTypes=[OCI])["images"]
    assert single["imageId"]["imageDigest"] != digest
    assert single["imageManifestMediaType"] == OCI
    assert get(ecr, {"imageTag": "prod"}, acceptedMediaTypes=[DOCKER_LIST])["failures"]
    put(ecr, image["imageManifest"], "stable", imageManifestMediaType=INDEX, imageDigest=digest)
    missing = image["imageManifest"].replace(single["imageId"]["imageDigest"], "sha256:" + "0" * 64)
    with refused("ReferencedImagesNotFoundException", "0" * 64):
        put(ecr, missing, "broken")


def test_what_is_not_a_manifest(ecr, emulator):
    for manifest, words in [
        ("{", "Invalid JSON syntax"),
        ('{"schemaVersion": 1}', "schemaVersion"),
        ('{"schemaVersion": 2, "layers": []}', "mediatype not provided"),
        (json.dumps({"schemaVersion": 2, "mediaType": "text/plain", "layers": []}), "Unsupported"),
    ]:
        with refused("InvalidParameterException", words):
            put(ecr, manifest, "x")
    push(emulator, tag="prod")
    manifest = get(ecr, {"imageTag": "prod"})["images"][0]["imageManifest"]
    with refused("InvalidParameterException", DOCKER):
        put(ecr, manifest, "x", imageManifestMediaType=OCI)
    layer = json.loads(manifest)["layers"][0]["digest"]
    with refused("LayersNotFoundException"):
        put(ecr, manifest.replace(layer, "sha256:" + "1" * 64), "x")
    with refused("InvalidParameterException"):
        put(ecr, manifest, "a tag")


def test_misses_come_beside_the_finds(ecr, emulator):
    one, two = push(emulator, tag="one", content="1"), push(emulator, tag="two", content="2")
    answer = get(ecr, {"imageTag": "one"}, {"imageTag": "none"}, {"imageTag": "one", "imageDigest": two})
    assert [i["imageId"]["imageDigest"] for i in answer["images"]] == [one]
    codes = [(f["imageId"].get("imageTag"), f["failureCode"]) for f in answer["failures"]]
    assert codes == [("none", "ImageNotFound"), ("one", "ImageTagDoesNotMatchDigest")]
    with refused("RepositoryNotFoundException", "'nowhere'"):
        ecr.batch_get_image(repositoryName="nowhere", imageIds=[{"imageTag": "one"}])
