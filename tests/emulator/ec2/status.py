"""DescribeInstanceStatus with settable checks, and what an instance wrote on its console.

POST instances/checks  {"instance_ids": […], "system"?: "ok"|"impaired"|"insufficient-data", "instance"?: …}
POST instances/age     {"seconds": N, "instance_ids"?: […]}: N seconds pass for these instances: launch time, profile
                       associations, console, and the agent with its attempts that come due
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.responses import EC2Response
from moto.ec2.utils import Base64EncodedString

from emulator.context import context
from emulator.control import ControlError, route
from emulator.ec2 import errors, filters, instances, paging, tags
from emulator.patching import patched
from emulator.settings import settings

PAGE = paging.Limits(lowest=5, highest=1000, ids_parameter="instancesSet")
MAX_IDS = 100
CONSOLE_BYTES = 64 * 1024
_CHECKS = ("ok", "impaired", "insufficient-data")
_REACHABILITY = {
    "ok": "passed",
    "impaired": "failed",
    "insufficient-data": "insufficient-data",
    "initializing": "initializing",
}


def checks(instance: Any) -> tuple[str, str]:
    """The system and the instance check."""
    if instance.state != "running":
        return "not-applicable", "not-applicable"
    started = instance.__dict__.get("_running_since", instance.launch_time)
    if utcnow() - started < timedelta(seconds=settings.status_initializing_seconds):
        return "initializing", "initializing"
    given = instance.__dict__.get("_checks", {})
    return given.get("system", "ok"), given.get("instance", "ok")


def _summary(instance: Any, which: str) -> dict[str, Any]:
    status = checks(instance)[0 if which == "system" else 1]
    if status not in _REACHABILITY:
        return {"Status": status}
    detail = {"Name": "reachability", "Status": _REACHABILITY[status]}
    if status == "impaired":
        detail["ImpairedSince"] = instance._checks[f"{which}_since"]
    return {"Status": status, "Details": [detail]}


FILTERS: filters.Readers = {
    "availability-zone": lambda i: i.availability_zone,
    "instance-state-code": lambda i: i.state_code,
    "instance-state-name": lambda i: i.state,
    "instance-status.reachability": lambda i: _REACHABILITY.get(checks(i)[1]),
    "instance-status.status": lambda i: checks(i)[1],
    "system-status.reachability": lambda i: _REACHABILITY.get(checks(i)[0]),
    "system-status.status": lambda i: checks(i)[0],
}


@patched(EC2Response)
def describe_instance_status(_original: Any, self: Any) -> ActionResult:
    """moto says that all is well with every instance, and pages nothing."""
    self.error_on_dryrun()
    backend, ids = self.ec2_backend, self._get_param("InstanceIds") or []
    if len(ids) > MAX_IDS:  # the limit is documented, the words are (assumed)
        raise EC2ClientError("InvalidParameterValue", f"At most {MAX_IDS} instance IDs can be specified")
    if unknown := [i for i in ids if backend.get_instance_by_id(i) is None]:
        raise errors.instance_not_found(*unknown)
    everything = [i for reservation in backend.reservations.values() for i in reservation.instances]
    found = [i for i in everything if not ids or i.id in ids]
    if not self._get_bool_param("IncludeAllInstances", False):
        found = [i for i in found if i.state == "running"]
    found = filters.select(found, self._filters_from_querystring(), FILTERS, tags.of)
    chunk, token = paging.page(
        found, id_of=lambda i: i.id, request=self, operation="DescribeInstanceStatus", limits=PAGE, ids=ids
    )
    statuses = [
        {
            "AvailabilityZone": i.availability_zone,
            "InstanceId": i.id,
            "InstanceState": {"Code": i.state_code, "Name": i.state},
            "SystemStatus": _summary(i, "system"),
            "InstanceStatus": _summary(i, "instance"),
        }
        for i in chunk
    ]
    return ActionResult({"InstanceStatuses": statuses, "NextToken": token})


# The console


def log(instance: Any, text: str, stamp: str = "") -> None:
    """Add to what the instance has written; a line break is added. `stamp` is how it writes the time, in front."""
    instance.__dict__.setdefault("_console", []).append((utcnow(), stamp, text))


def _on_state(instance: Any, state: str) -> None:
    if state not in ("running", "rebooted"):
        return
    instance.__dict__["_running_since"] = utcnow()
    image = instance.ec2_backend.amis.get(instance.image_id)
    name = image.name if image else instance.image_id
    host = (instance.private_dns_name or "").split(".")[0]
    log(
        instance,
        "[    0.000000] Linux version 6.1 (mockbuild)\n"
        f"[    0.000000] DMI: Amazon EC2 {instance.instance_type}\n"
        f"[    8.412345] cloud-init[2081]: Cloud-init running 'init-local' ({name})\n"
        f"{host} login: ",
    )


instances.listeners.append(_on_state)


@patched(EC2Response)
def get_console_output(_original: Any, self: Any) -> ActionResult:
    """moto shows the same sample for every instance. EC2 keeps the last 64 KB."""
    self.error_on_dryrun()
    instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
    entries = instance.__dict__.get("_console", [])
    lines = [f"{at:{stamp}}{text}" if stamp else text for at, stamp, text in entries]
    text = "\n".join(lines).encode()[-CONSOLE_BYTES:].decode(errors="replace")
    return ActionResult(
        {
            "InstanceId": instance.id,
            "Timestamp": entries[-1][0] if entries else utcnow(),
            "Output": Base64EncodedString.from_raw_string(text),
        }
    )


# Control


def chosen(body: dict[str, Any]) -> list[Any]:
    """The instances that a control request names, or all."""
    backend = ec2_backends[context.account_id][context.region]
    if "instance_ids" not in body:
        return [i for reservation in backend.reservations.values() for i in reservation.instances]
    found = {i: backend.get_instance_by_id(i) for i in body["instance_ids"]}
    if unknown := [i for i, instance in found.items() if instance is None]:
        raise ControlError(f"unknown instances: {', '.join(unknown)}")
    return list(found.values())


@route("POST", "instances/checks")
def set_checks(body: dict[str, Any]) -> Any:
    wanted = {which: body[which] for which in ("system", "instance") if which in body}
    if not wanted or any(value not in _CHECKS for value in wanted.values()):
        raise ControlError(f'expected {{"system"?, "instance"?}} to be one of {", ".join(_CHECKS)}')
    for instance in chosen(body):
        given = instance.__dict__.setdefault("_checks", {})
        for which, value in wanted.items():
            given[which], given[f"{which}_since"] = value, utcnow()
    return {}


on_age: list[Callable[[Any, timedelta], None]] = []
"""Called with each instance for which time has passed."""


@route("POST", "instances/age")
def age(body: dict[str, Any]) -> Any:
    by = timedelta(seconds=float(body["seconds"]))
    found = chosen(body)
    for instance in found:
        instance.launch_time -= by
        if "_running_since" in instance.__dict__:
            instance._running_since -= by
        console = instance.__dict__.get("_console", [])
        instance.__dict__["_console"] = [(at - by, stamp, text) for at, stamp, text in console]
        association = instance.ec2_backend.iam_instance_profile_associations.get(instance.id)
        if association is not None:
            association.associated_at -= by
        for listener in on_age:
            listener(instance, by)
    return {"aged": len(found)}


def as_moment(at: datetime | None) -> str | None:
    """A time for people and tests."""
    return at.isoformat(timespec="milliseconds") + "Z" if at else None
