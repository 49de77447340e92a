"""The EBS direct APIs: what lies on a snapshot, block by block, with AWS's checksums, pages and tokens that expire.

moto knows blocks only of snapshots that were written by these APIs themselves, and takes any token. Here a snapshot
holds what lay on its volume; a volume of which nothing is said has an ext file system on the whole disk.

POST volumes/content      {"volume_ids": […], "blocks": {"INDEX": {"OFFSET": "hex"}}} what lies on volumes, also of
                          snapshots and copies that there are: blocks of zeros with these bytes; {}: never written
POST snapshots/corrupt    {"snapshot_ids": […], "region"?} their blocks don't have the checksums that AWS says
"""

from __future__ import annotations

import base64
import hashlib
import time
from typing import Any

from moto.ec2.models import ec2_backends

from emulator import callers, permissions
from emulator.aws_request import AwsError, AwsRequest
from emulator.context import context
from emulator.control import route
from emulator.ec2.snapshots import is_aws_managed, key_of, lineage
from emulator.operations import operation
from emulator.settings import settings

BLOCK = 512 * 1024
PAGE = 100, 10_000  # least and most blocks of a page (EBS-21)
_EXT = {"0": {"1080": "53ef"}}


def _contents() -> dict[str, dict[int, bytes]]:
    """By volume, of the whole account: copies hold the same."""
    return ec2_backends[context.account_id][context.region].__dict__.setdefault("_contents", {})


def _blocks(spec: dict[str, dict[str, str]]) -> dict[int, bytes]:
    blocks = {}
    for index, parts in spec.items():
        block = bytearray(BLOCK)
        for offset, text in parts.items():
            data = bytes.fromhex(text)
            block[int(offset) : int(offset) + len(data)] = data
        blocks[int(index)] = bytes(block)
    return blocks


def _content(snapshot: Any) -> dict[int, bytes]:
    return _contents().get(lineage(snapshot)) or (
        {} if lineage(snapshot) in _contents() else _blocks(_EXT)
    )


@route("POST", "volumes/content")
def set_content(body: dict[str, Any]) -> Any:
    for volume_id in body["volume_ids"]:
        _contents()[volume_id] = _blocks(body["blocks"])
    return {}


@route("POST", "snapshots/corrupt")
def corrupt(body: dict[str, Any]) -> Any:
    backend = ec2_backends[context.account_id][body.get("region") or context.region]
    for snapshot_id in body["snapshot_ids"]:
        backend.get_snapshot(snapshot_id).corrupt = True
    return {}


def _invalid(reason: str, message: str) -> AwsError:
    return AwsError("ValidationException", f"{message} ({reason})")


def _snapshot(request: AwsRequest) -> Any:
    snapshot_id = request.parameters["SnapshotId"]
    backend = ec2_backends[context.account_id][request.region or context.region]
    snapshot = backend.snapshots.get(snapshot_id)
    if snapshot is None or snapshot.owner_id != context.account_id:
        raise AwsError("ResourceNotFoundException", f"The snapshot '{snapshot_id}' does not exist.", 404)
    if snapshot.status != "completed" or snapshot.storage_tier == "archive":
        raise _invalid("INVALID_SNAPSHOT_ID", f"The snapshot '{snapshot_id}' is not in a state to be read.")
    if snapshot.kms_key_id and not _may_decrypt(request, snapshot):
        raise AwsError("AccessDeniedException", "The KMS key can't be used (DEPENDENCY_ACCESS_DENIED)", 403)
    return snapshot


def _may_decrypt(request: AwsRequest, snapshot: Any) -> bool:
    """With the rights of whoever asks (EBS-23)."""
    region = snapshot.ec2_backend.region_name
    key = key_of(snapshot.ec2_backend, snapshot.kms_key_id)
    if key is None or not key.enabled:
        return False
    environment = callers.environment_of(request.access_key_id)
    role = environment and environment.role_arn and permissions.find_role(environment.role_arn)
    if not role or not settings.enforce_role_policies or is_aws_managed(key, region, context.account_id):
        return True
    return permissions.may(role, "kms:Decrypt", key.arn, {"kms:ViaService": f"ec2.{region}.amazonaws.com"})


def _token(*parts: Any) -> str:
    return base64.b64encode("|".join(map(str, parts)).encode()).decode()


def _parts(token: str, reason: str) -> list[str]:
    try:
        return base64.b64decode(token).decode().split("|")
    except ValueError as error:
        raise _invalid(reason, "The token is invalid.") from error


@operation("ebs", "ListSnapshotBlocks")
def list_snapshot_blocks(request: AwsRequest) -> dict[str, Any]:
    snapshot, given = _snapshot(request), request.parameters
    most = max(PAGE[0], min(PAGE[1], int(given.get("MaxResults") or PAGE[1])))
    start = int(given.get("StartingBlockIndex") or 0)
    if token := given.get("NextToken"):  # StartingBlockIndex is ignored then
        named, start, until = _parts(token, "INVALID_PAGE_TOKEN")
        if named != snapshot.id or float(until) < time.time():
            raise _invalid("INVALID_PAGE_TOKEN", "The page token is invalid or has expired.")
    expires = time.time() + settings.block_token_seconds
    indexes = sorted(index for index in _content(snapshot) if index >= int(start))
    chunk = indexes[:most]
    answer = {
        "Blocks": [{"BlockIndex": i, "BlockToken": _token(snapshot.id, i, expires)} for i in chunk],
        "ExpiryTime": expires,
        "VolumeSize": int(snapshot.volume_size),
        "BlockSize": BLOCK,
    }
    if len(indexes) > most:
        answer["NextToken"] = _token(snapshot.id, indexes[most], time.time() + 3600)
    return answer


@operation("ebs", "GetSnapshotBlock")
def get_snapshot_block(request: AwsRequest) -> dict[str, Any]:
    snapshot, given = _snapshot(request), request.parameters
    index = int(given["BlockIndex"])
    named, at, until = (_parts(given["BlockToken"], "INVALID_BLOCK_TOKEN") + ["", "", ""])[:3]
    if (named, at) != (snapshot.id, str(index)) or float(until or 0) < time.time():
        raise _invalid("INVALID_BLOCK_TOKEN", "The block token is invalid or has expired.")
    data = _content(snapshot)[index]
    checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
    if getattr(snapshot, "corrupt", False):
        data = data[:-1] + bytes([data[-1] ^ 1])
    return {
        "DataLength": len(data), "BlockData": data, "Checksum": checksum, "ChecksumAlgorithm": "SHA256",
    }  # fmt: skip
