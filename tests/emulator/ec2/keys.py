"""KMS keys: found by whatever names them; and a control route that makes one with an id that is known beforehand, as a
template's parameter needs it.

POST keys   {"region"?, "key_id", "alias"?} makes one
"""

from __future__ import annotations

from typing import Any

from moto.kms.models import kms_backends

from emulator.context import context
from emulator.control import route


def find(name: str) -> Any:
    """The home Region's key of this id, alias or ARN; None: there is none."""
    kms = kms_backends[context.account_id][context.region]
    alias = kms.get_alias_name(name)
    key_id = kms.get_key_id_from_alias(alias) if alias.startswith("alias/") else name
    return kms.keys.get(kms.get_key_id(key_id)) if key_id else None


@route("POST", "keys")
def make_key(body: dict[str, Any]) -> Any:
    region, key_id = body.get("region") or context.region, body["key_id"]
    kms = kms_backends[context.account_id][region]
    key = kms.create_key(None, "ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT", "", None)
    del kms.keys[key.id]
    key.id, key.arn = key_id, f"arn:aws:kms:{region}:{context.account_id}:key/{key_id}"
    kms.keys[key_id] = key
    if alias := body.get("alias"):
        kms.create_alias(key_id, alias)
    return {"arn": key.arn}
