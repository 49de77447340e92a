"""ECR's images: manifests byte for byte, tags that move, and what the registry refuses (ASG-10).

moto makes up digests from layers, takes any manifest, checks neither digests nor references, and overwrites immutable
tags. Repositories, layers and policies stay moto's; an image lies in its repository as an `Image` of this module.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from moto.ecr.models import ECRBackend, Repository, ecr_backends

from emulator import control
from emulator.aws_request import AwsError, AwsRequest
from emulator.context import context
from emulator.operations import operation
from emulator.policies import like

DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
INDEXES = (DOCKER_LIST, OCI_INDEX)
IMAGES = (DOCKER_IMAGE, OCI_IMAGE)

MAX_IMAGE_IDS = 100
MAX_TAGS_PER_IMAGE = 1000
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,299}")
_DIGEST = re.compile(r"[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+")


@dataclass(eq=False)
class Image:
    repository: Repository = field(repr=False)
    image_manifest: str = field(repr=False)
    image_manifest_media_type: str
    image_digest: str
    image_tags: list[str] = field(default_factory=list)

    @property
    def parsed(self) -> dict[str, Any]:
        return json.loads(self.image_manifest)


def _parts(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [*([manifest["config"]] if "config" in manifest else []), *(manifest.get("layers") or [])]


def digest(repository: str, tag: str) -> str | None:
    """The digest of the image under a tag; None if there is none. What an instance that pulls the tag would get."""
    found = ecr_backends[context.account_id][context.region].repositories.get(repository)
    image = _tagged(found, tag) if found else None
    return image.image_digest if image else None


def _tagged(repository: Repository, tag: str) -> Image | None:
    return next((i for i in _images(repository) if tag in i.image_tags), None)


def _with_digest(repository: Repository, wanted: str) -> Image | None:
    return next((i for i in _images(repository) if i.image_digest == wanted), None)


def _images(repository: Repository) -> list[Image]:
    return repository.images  # type: ignore[return-value]


def _repository(request: AwsRequest) -> Repository:
    backend: ECRBackend = ecr_backends[context.account_id][context.region]
    name = request.parameters["repositoryName"]
    registry = request.parameters.get("registryId") or context.account_id
    found = backend.repositories.get(name)
    if found is None or found.registry_id != registry:
        raise AwsError(
            "RepositoryNotFoundException",
            f"The repository with name '{name}' does not exist in the registry with id '{registry}'",
        )
    return found


def _invalid(parameter: str, constraint: str) -> AwsError:
    return AwsError(
        "InvalidParameterException",
        f"Invalid parameter at '{parameter}' failed to satisfy constraint: '{constraint}'",
    )


# ---- Pushing ----


@operation("ecr", "PutImage")
def put_image(request: AwsRequest) -> dict[str, Any]:
    repository, given = _repository(request), request.parameters
    image = _put(
        repository,
        given["imageManifest"],
        media_type=given.get("imageManifestMediaType"),
        tag=given.get("imageTag"),
        expected=given.get("imageDigest"),
    )
    return {"image": _answer(image, given.get("imageTag"))}


def _put(
    repository: Repository, manifest: str, *, media_type: str | None, tag: str | None, expected: str | None
) -> Image:
    if tag is not None and not _TAG.fullmatch(tag):
        raise _invalid("imageTag", f"must satisfy regular expression '{_TAG.pattern}'")
    parsed = _parse(manifest)
    media_type = _media_type(parsed, media_type)
    # The digest is of the bytes as they were sent: nothing is reformatted.
    actual = "sha256:" + hashlib.sha256(manifest.encode()).hexdigest()
    if expected is not None and expected != actual:
        raise AwsError(
            "ImageDigestDoesNotMatchException",
            f"The provided digest '{expected}' does not match the digest of the image '{actual}' in the repository "
            f"with name '{repository.name}' in registry with id '{repository.registry_id}'",
        )
    _check_references(repository, parsed, media_type)
    image = _with_digest(repository, actual)
    if image is not None and (tag is None or tag in image.image_tags):
        named = f" and tag '{tag}'" if tag else ""
        raise AwsError(
            "ImageAlreadyExistsException",
            f"Image with digest '{actual}'{named} already exists in the repository with name '{repository.name}' in "
            f"registry with id '{repository.registry_id}'",
        )
    before = _tagged(repository, tag) if tag else None
    if before is not None:
        if _is_immutable(repository, tag or ""):
            raise AwsError(
                "ImageTagAlreadyExistsException",
                f"The image tag '{tag}' already exists in the '{repository.name}' repository and cannot be "
                "overwritten because the tag is immutable.",
            )
        before.image_tags.remove(tag)  # it stays, perhaps without a tag: then lifecycle may sweep it
    if image is None:
        image = Image(repository, manifest, media_type, actual)
        _images(repository).append(image)
    if tag is not None:
        if len(image.image_tags) >= MAX_TAGS_PER_IMAGE:
            raise AwsError("LimitExceededException", "The number of tags per image is over the limit of 1000")
        image.image_tags.append(tag)
    return image


def _parse(manifest: str) -> dict[str, Any]:
    if len(manifest.encode()) > MAX_MANIFEST_BYTES:
        raise _invalid("imageManifest", "Member must have length less than or equal to 4194304")
    try:
        parsed = json.loads(manifest)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise _invalid("ImageManifest", "Invalid JSON syntax")
    if parsed.get("schemaVersion") != 2:
        raise _invalid("ImageManifest", "Unsupported schemaVersion")
    return parsed


def _media_type(parsed: dict[str, Any], given: str | None) -> str:
    """A manifest may leave its type out (OCI does); then the caller must say it."""
    written = parsed.get("mediaType")
    if given is None and written is None:
        raise _invalid("ImageManifest", "image manifest mediatype not provided in manifest or parameter")
    if given is not None and written is not None and given != written:
        raise _invalid("imageManifestMediaType", f"must be the mediaType of the manifest, {written}")
    media_type = given or written or ""
    if media_type not in INDEXES + IMAGES:
        raise _invalid("imageManifestMediaType", f"Unsupported image manifest media type '{media_type}'")
    wanted = "manifests" if media_type in INDEXES else "layers"
    if not isinstance(parsed.get(wanted), list):
        raise _invalid("ImageManifest", f"a manifest of type {media_type} must have {wanted}")
    return media_type


def _check_references(repository: Repository, parsed: dict[str, Any], media_type: str) -> None:
    """What a manifest names must have been pushed before it."""
    if media_type in INDEXES:
        known = {image.image_digest for image in _images(repository)}
        missing = [child["digest"] for child in parsed["manifests"] if child.get("digest") not in known]
        if missing:
            raise AwsError(
                "ReferencedImagesNotFoundException",
                f"The referenced images with digests {_bracketed(missing)} do not exist in the repository with name "
                f"'{repository.name}' in the registry with id '{repository.registry_id}'",
            )
        return
    missing = [part["digest"] for part in _parts(parsed) if part.get("digest") not in repository.layers]
    if missing:
        raise AwsError(
            "LayersNotFoundException",
            f"Layers with digests {_bracketed(missing)} required for pushing image into repository with name "
            f"'{repository.name}' in the registry with id '{repository.registry_id}' do not exist",
        )


def _bracketed(digests: Iterable[str]) -> str:
    return "'[" + ", ".join(digests) + "]'"


def _is_immutable(repository: Repository, tag: str) -> bool:
    mode = str(getattr(repository.image_tag_mutability, "value", repository.image_tag_mutability))
    filters = repository.image_tag_mutability_exclusion_filters or []
    excepted = any(like(f["filter"], tag) for f in filters)
    return mode.startswith("IMMUTABLE") != (excepted and mode.endswith("WITH_EXCLUSION"))


# ---- Reading ----


def _answer(image: Image, tag: str | None, manifest: bool = True) -> dict[str, Any]:
    identifier = {"imageDigest": image.image_digest} | ({"imageTag": tag} if tag else {})
    answer: dict[str, Any] = {
        "registryId": image.repository.registry_id,
        "repositoryName": image.repository.name,
        "imageId": identifier,
    }
    if manifest:
        answer |= {
            "imageManifest": image.image_manifest,
            "imageManifestMediaType": image.image_manifest_media_type,
        }
    return answer


@dataclass
class _Failure(Exception):
    code: str
    reason: str


def _find(repository: Repository, identifier: dict[str, str]) -> Image:
    tag, wanted = identifier.get("imageTag"), identifier.get("imageDigest")
    if not tag and not wanted:
        raise _Failure("MissingDigestAndTag", "Invalid request parameters: both tag and digest cannot be null")
    if wanted and not _DIGEST.fullmatch(wanted):
        words = f"Invalid request parameters: image digest should satisfy the regex '{_DIGEST.pattern}'"
        raise _Failure("InvalidImageDigest", words)
    if tag and not _TAG.fullmatch(tag):
        raise _Failure("InvalidImageTag", "Invalid request parameters: image tag should satisfy the regex")
    image = _tagged(repository, tag) if tag else _with_digest(repository, wanted or "")
    if image is None:
        raise _Failure("ImageNotFound", "Requested image not found")
    if wanted and image.image_digest != wanted:
        raise _Failure("ImageTagDoesNotMatchDigest", "The requested tag does not match the requested image digest")
    return image


def _identifiers(request: AwsRequest) -> list[dict[str, str]]:
    identifiers = request.parameters["imageIds"]
    if not 1 <= len(identifiers) <= MAX_IMAGE_IDS:
        raise _invalid("imageIds", f"Member must have length between 1 and {MAX_IMAGE_IDS}")
    return identifiers


def _failed(identifier: dict[str, str], failure: _Failure) -> dict[str, Any]:
    return {"imageId": identifier, "failureCode": failure.code, "failureReason": failure.reason}


@operation("ecr", "BatchGetImage")
def batch_get_image(request: AwsRequest) -> dict[str, Any]:
    """Misses come as failures beside the finds, with status 200 (ASG-10)."""
    repository, found, failures = _repository(request), [], []
    for identifier in _identifiers(request):
        try:
            image = _accepted(repository, _find(repository, identifier), request.parameters.get("acceptedMediaTypes"))
            found.append(_answer(image, identifier.get("imageTag")))
        except _Failure as failure:
            failures.append(_failed(identifier, failure))
    return {"images": found, "failures": failures}


def _accepted(repository: Repository, image: Image, accepted: list[str] | None) -> Image:
    """A caller that doesn't accept an index gets one platform's image in its place, and can't put the index back.

    ECR converts other types too; here such a request fails (assumed).
    """
    if not accepted or image.image_manifest_media_type in accepted:
        return image
    if image.image_manifest_media_type in INDEXES:
        for child in image.parsed["manifests"]:
            platform = child.get("platform") or {}
            if (platform.get("os"), platform.get("architecture")) == ("linux", "amd64"):
                single = _with_digest(repository, child["digest"])
                if single is not None and single.image_manifest_media_type in accepted:
                    return single
    raise _Failure("ImageNotFound", "Requested image not found")


# ---- Control routes ----


@control.route("POST", "ecr/push")
def push(body: dict[str, Any]) -> Any:
    """Push an image as `docker push` does, layers first. Two contents have two digests.

    {"repository": NAME, "tag"?, "content"?: "v1", "media_type"?, "platforms"?: ["linux/amd64", "linux/arm64"]}: with
    platforms an index of one image for each.
    """
    if unknown := body.keys() - {"repository", "tag", "content", "media_type", "platforms"}:
        raise control.ControlError(f"unknown field {', '.join(sorted(unknown))}")
    repository = _named(body["repository"])
    content, platforms = str(body.get("content", "v1")), body.get("platforms")
    try:
        if not platforms:
            media_type = body.get("media_type", DOCKER_IMAGE)
            image = _push_single(repository, content, media_type, body.get("tag"))
        else:
            media_type = body.get("media_type", DOCKER_LIST)
            image = _push_index(repository, content, media_type, platforms, body.get("tag"))
    except AwsError as error:
        raise control.ControlError(f"{error.code}: {error.message}") from error
    return {"digest": image.image_digest, "media_type": image.image_manifest_media_type}


def _push_single(repository: Repository, content: str, media_type: str, tag: str | None) -> Image:
    layer = _add_layer(repository, f"{content} layer")
    config = _add_layer(repository, f"{content} config")
    kind = "vnd.oci.image" if media_type == OCI_IMAGE else "vnd.docker"
    types = (
        ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip")
        if kind == "vnd.oci.image"
        else ("application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip")
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {"mediaType": types[0], **config},
        "layers": [{"mediaType": types[1], **layer}],
    }
    return _put_again(repository, manifest, media_type, tag)


def _push_index(repository: Repository, content: str, media_type: str, platforms: list[str], tag: str | None) -> Image:
    children = []
    for platform in platforms:
        system, _, architecture = platform.partition("/")
        child_type = OCI_IMAGE if media_type == OCI_INDEX else DOCKER_IMAGE
        child = _push_single(repository, f"{content} {platform}", child_type, None)
        children.append(
            {
                "mediaType": child_type,
                "size": len(child.image_manifest),
                "digest": child.image_digest,
                "platform": {"architecture": architecture, "os": system},
            }
        )
    manifest = {"schemaVersion": 2, "mediaType": media_type, "manifests": children}
    return _put_again(repository, manifest, media_type, tag)


def _put_again(repository: Repository, manifest: dict[str, Any], media_type: str, tag: str | None) -> Image:
    """A push of what is there already succeeds, as docker's does."""
    # Indented by three, as Docker writes it: a reader that reformats the manifest changes its digest.
    text = json.dumps(manifest, indent=3)
    try:
        return _put(repository, text, media_type=media_type, tag=tag, expected=None)
    except AwsError as error:
        present = _with_digest(repository, "sha256:" + hashlib.sha256(text.encode()).hexdigest())
        if error.code != "ImageAlreadyExistsException" or present is None:
            raise
        return present


def _add_layer(repository: Repository, content: str) -> dict[str, Any]:
    data = content.encode()
    name = "sha256:" + hashlib.sha256(data).hexdigest()
    repository.layers[name] = len(data)
    return {"size": len(data), "digest": name}


def _referring(repository: Repository, image: Image) -> list[Image]:
    return [
        other
        for other in _images(repository)
        if other.image_manifest_media_type in INDEXES
        and any(child.get("digest") == image.image_digest for child in other.parsed["manifests"])
    ]


@control.route("POST", "ecr/lifecycle")
def sweep_untagged(body: dict[str, Any]) -> Any:
    """Lifecycle runs now: images without a tag expire, but for those that an index of the repository needs."""
    repository = _named(body["repository"])
    expired = []
    while gone := [i for i in _images(repository) if not i.image_tags and not _referring(repository, i)]:
        for image in gone:
            _images(repository).remove(image)
            expired.append(image.image_digest)
    return {"expired": expired}


@control.route("GET", "ecr/images")
def list_by_control(query: dict[str, Any]) -> Any:
    repository = _named(query["repository"])
    return {
        "images": [
            {"digest": i.image_digest, "tags": list(i.image_tags), "media_type": i.image_manifest_media_type}
            for i in _images(repository)
        ]
    }


def _named(name: str) -> Repository:
    repository = ecr_backends[context.account_id][context.region].repositories.get(name)
    if repository is None:
        raise control.ControlError(f"no repository {name}: create it first (CreateRepository)")
    return repository
