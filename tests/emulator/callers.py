"""Who makes an API call: every execution environment of a function has credentials of its own, as in AWS.

The access key of a request therefore tells the function, its role and the process. Any other key is the client's.
"""

from __future__ import annotations

import secrets
import string
import threading
from dataclasses import dataclass
from typing import Any, Protocol


class Environment(Protocol):
    """What the gateway needs to know of an execution environment (lambda_runtime.py)."""

    @property
    def function_name(self) -> str: ...

    @property
    def role_arn(self) -> str | None: ...

    @property
    def current_request_id(self) -> str | None: ...

    def kill(self) -> None: ...


@dataclass(frozen=True)
class Credentials:
    access_key_id: str
    secret_access_key: str
    session_token: str


class CloudFormation:
    """CloudFormation's own calls, so that they aren't taken for the client's."""

    function_name = "cloudformation"
    role_arn = None
    current_request_id = None

    def kill(self) -> None:
        pass


CLOUDFORMATION_KEY = "ASIACLOUDFORMATION00"

_environments: dict[str, Any] = {CLOUDFORMATION_KEY: CloudFormation()}
_guard = threading.Lock()


def issue(environment: Environment) -> Credentials:
    """Temporary credentials (their key ids start with ASIA) that identify this environment."""
    key = "ASIA" + "".join(secrets.choice(string.ascii_uppercase + "234567") for _ in range(16))
    with _guard:
        _environments[key] = environment
    return Credentials(key, secrets.token_urlsafe(30), secrets.token_urlsafe(60))


def revoke(credentials: Credentials) -> None:
    with _guard:
        _environments.pop(credentials.access_key_id, None)


def environment_of(access_key_id: str) -> Environment | None:
    return _environments.get(access_key_id)
