"""Whether a shell opens on a node that has its channel: what the preferences of Session Manager have the agent do before
it, as its own source does it (SSM-17, SSM-18).

A key's policy is taken for AWS's default one, which leaves it to IAM.
"""

from __future__ import annotations

import json
from typing import Any

from moto.logs.models import logs_backends
from moto.ssm.models import ssm_backends

from emulator.context import context
from emulator.ec2 import keys
from emulator.ssm import identity, reachability
from emulator.ssm.identity import Denied, Session
from emulator.ssm.reachability import Unreachable

DOCUMENT = "SSM-SessionManagerRunShell"
HANDSHAKE = "Encountered error while initiating handshake. "
TIMED_OUT = "Handshake timed out. Please ensure that you have the latest version of the session manager plugin."
UNENCRYPTED = "We couldn't start the session because encryption is not set up on the selected CloudWatch Logs log group."
UNSEEN = "Couldn't start the session because we are unable to validate encryption on Amazon S3 bucket. Error: "


def refusal(instance: Any, session: Session) -> str | None:
    """What a shell ends with before it opens, in the agent's words; None: it opens."""
    asked = preferences()

    def ask(service: str, action: str, resource: str) -> None:
        identity.check(instance, session.role, action, reachability.path(instance, service), resource)

    if name := asked.get("kmsKeyId"):
        key = keys.find(name)
        try:
            ask("kms", "kms:Decrypt", key.arn if key else name)
        except Unreachable:
            return HANDSHAKE + TIMED_OUT
        except Denied as error:
            return f"{HANDSHAKE}Fetching data key failed: Unable to retrieve data key, {error}"
        if key is None or key.key_state != "Enabled":
            return f"{HANDSHAKE}Fetching data key failed: Unable to retrieve data key"
    if (name := asked.get("cloudWatchLogGroupName")) and asked.get("cloudWatchEncryptionEnabled"):
        group = logs_backends[context.account_id][context.region].groups.get(name)
        try:
            ask("logs", "logs:DescribeLogGroups", all_log_groups())
        except (Unreachable, Denied):
            group = None
        if group is None or not group.kms_key_id:
            return UNENCRYPTED
    if (name := asked.get("s3BucketName")) and asked.get("s3EncryptionEnabled"):
        try:
            ask("s3", "s3:GetEncryptionConfiguration", f"arn:aws:s3:::{name}")
        except (Unreachable, Denied) as error:
            return f"{UNSEEN}{error}"
    return None


def preferences() -> dict[str, Any]:
    document = ssm_backends[context.account_id][context.region]._documents.get(DOCUMENT)
    return json.loads(document.get_default_version().content).get("inputs", {}) if document else {}


def all_log_groups() -> str:
    """What AWS asks IAM about where log groups are looked for, whichever they are (SSM-18)."""
    return f"arn:aws:logs:{context.region}:{context.account_id}:log-group::log-stream:"
