"""Service settings of the account, above all the role of Default Host Management (SSM-4)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from emulator.aws_request import AwsError, AwsRequest
from emulator.context import context
from emulator.control import on_reset
from emulator.operations import operation

DEFAULT_HOST_MANAGEMENT = "/ssm/managed-instance/default-ec2-instance-management-role"
NONE = "$None"

# GetServiceSetting's documentation, with the values before anybody changes them.
_DEFAULTS = {
    DEFAULT_HOST_MANAGEMENT: NONE,
    "/ssm/automation/customer-script-log-destination": NONE,
    "/ssm/automation/customer-script-log-group-name": NONE,
    "/ssm/documents/console/public-sharing-permission": "Enable",
    "/ssm/managed-instance/activation-tier": "standard",
    "/ssm/opsinsights/opscenter": "Disabled",
    "/ssm/parameter-store/default-parameter-tier": "Standard",
    "/ssm/parameter-store/high-throughput-enabled": "false",
}


@dataclass
class Changed:
    value: str
    at: float


_changed: dict[str, Changed] = {}


@on_reset
def clear() -> None:
    _changed.clear()


def default_host_management_role() -> str | None:
    """The name of the role, with its path where it has one."""
    changed = _changed.get(DEFAULT_HOST_MANAGEMENT)
    return changed.value if changed and changed.value != NONE else None


def arn_of(setting_id: str) -> str:
    return f"arn:aws:ssm:{context.region}:{context.account_id}:servicesetting{setting_id}"


@operation("ssm", "GetServiceSetting")
def get_service_setting(request: AwsRequest) -> dict[str, Any]:
    return {"ServiceSetting": _described(_setting_id(request))}


@operation("ssm", "UpdateServiceSetting")
def update_service_setting(request: AwsRequest) -> dict[str, Any]:
    _changed[_setting_id(request)] = Changed(request.parameters["SettingValue"], time.time())
    return {}


def _setting_id(request: AwsRequest) -> str:
    """The id, which may be given as ARN."""
    given = request.parameters["SettingId"]
    setting_id = given.split(":servicesetting", 1)[1] if given.startswith("arn:") else given
    if setting_id not in _DEFAULTS:
        raise AwsError("ServiceSettingNotFound", f"Setting {given} not found. Check that the setting ID is correct.")
    return setting_id


def _described(setting_id: str) -> dict[str, Any]:
    changed = _changed.get(setting_id)
    described = {
        "SettingId": setting_id,
        "SettingValue": changed.value if changed else _DEFAULTS[setting_id],
        "ARN": arn_of(setting_id),
        "Status": "Customized" if changed else "Default",
    }
    if changed:
        described |= {"LastModifiedDate": changed.at, "LastModifiedUser": f"arn:aws:iam::{context.account_id}:root"}
    else:
        described |= {"LastModifiedDate": 0, "LastModifiedUser": "System"}
    return described
