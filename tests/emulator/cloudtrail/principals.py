"""Whose call it is: `userIdentity` as CloudTrail writes it.

A function's calls are its role's. A person's or pipeline's are those of the principal that the control API gave the
credentials to; any other credentials are the user `admin`.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import string
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from emulator import control
from emulator.callers import Environment
from emulator.context import context

_ALPHABET = string.ascii_uppercase + "234567"


@dataclass(frozen=True)
class Principal:
    name: str
    session: str | None = None
    """Of a role; None: an IAM user."""
    path: str = "/"
    invoked_by: str | None = None
    """The service that made the call."""
    source: str = "198.51.100.17"
    agent: str = "aws-cli/2.31.18"

    @property
    def user_name(self) -> str:
        """As LookupEvents calls it: of a role, the session."""
        return self.session or self.name

    def identity(self, access_key_id: str | None) -> dict[str, Any]:
        account = context.account_id
        if self.session is None:
            identity: dict[str, Any] = {
                "type": "IAMUser",
                "principalId": _unique_id("AIDA", self.name),
                "arn": f"arn:aws:iam::{account}:user/{self.name}",
                "accountId": account,
                "accessKeyId": access_key_id or _unique_id("AKIA", self.name),
                "userName": self.name,
            }
        else:
            issuer = {
                "type": "Role",
                "principalId": _unique_id("AROA", self.name),
                "arn": f"arn:aws:iam::{account}:role{self.path}{self.name}",
                "accountId": account,
                "userName": self.name,
            }
            created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            identity = {
                "type": "AssumedRole",
                "principalId": f"{issuer['principalId']}:{self.session}",
                "arn": f"arn:aws:sts::{account}:assumed-role/{self.name}/{self.session}",
                "accountId": account,
                **({"accessKeyId": access_key_id} if access_key_id else {}),
                "sessionContext": {
                    "sessionIssuer": issuer,
                    "attributes": {"creationDate": created, "mfaAuthenticated": "false"},
                },
            }
        return identity | ({"invokedBy": self.invoked_by} if self.invoked_by else {})


def _unique_id(prefix: str, name: str) -> str:
    return prefix + base64.b32encode(hashlib.sha256(name.encode()).digest())[:17].decode()


def service(host: str, role: str, session: str) -> Principal:
    """A service that acts with its service-linked role."""
    path = f"/aws-service-role/{host}/"
    return Principal(role, session, path, invoked_by=host, source=host, agent=host)


AUTO_SCALING = service("autoscaling.amazonaws.com", "AWSServiceRoleForAutoScaling", "AutoScaling")
EC2_FLEET = service("ec2fleet.amazonaws.com", "AWSServiceRoleForEC2Fleet", "EC2Fleet")
SPOT_FLEET = service("spotfleet.amazonaws.com", "AWSServiceRoleForEC2SpotFleet", "SpotFleet")
ADMIN = Principal("admin")
_CLOUDFORMATION = "cloudformation.amazonaws.com"

_named: dict[str, Principal] = {}


def of(access_key_id: str, environment: Environment | None) -> Principal:
    if environment is None:
        return _named.get(access_key_id, ADMIN)
    if environment.role_arn is None:
        # CloudFormation acts in the name of who deploys.
        return Principal(
            ADMIN.name, invoked_by=_CLOUDFORMATION, source=_CLOUDFORMATION, agent=_CLOUDFORMATION
        )
    path, _, name = environment.role_arn.split(":role", 1)[1].rpartition("/")
    return Principal(name, environment.function_name, f"{path}/", agent="aws-sdk-rust/1.3 os/linux lang/rust")


@control.route("POST", "principals")
def name_principal(body: dict[str, Any]) -> Any:
    """Credentials for {"user": NAME} or {"role": NAME, "session"?: NAME}; "user_agent"? too.

    They may do everything, as the client may.
    """
    if unknown := body.keys() - {"user", "role", "session", "user_agent"}:
        raise control.ControlError(f"unknown field {', '.join(sorted(unknown))}")
    if ("user" in body) == ("role" in body):
        raise control.ControlError('expected {"user": NAME} or {"role": NAME, "session"?: NAME}')
    agent = body.get("user_agent", ADMIN.agent)
    is_user = "user" in body
    principal = (
        Principal(body["user"], agent=agent)
        if is_user
        else Principal(body["role"], body.get("session", "session"), agent=agent)
    )
    key = ("AKIA" if is_user else "ASIA") + "".join(secrets.choice(_ALPHABET) for _ in range(16))
    _named[key] = principal
    credentials = {"access_key_id": key, "secret_access_key": secrets.token_urlsafe(30)}
    if not is_user:
        credentials["session_token"] = secrets.token_urlsafe(60)
    return credentials


@control.on_reset
def forget() -> None:
    _named.clear()
