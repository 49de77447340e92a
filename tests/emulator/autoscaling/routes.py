"""Control routes of Auto Scaling.

POST autoscaling/pass       {"seconds", "step"?: 5, "idle"?: true, "group"?, "until"?}: time passes, see below
POST autoscaling/images     {"image_id", "healthy"?, "after"?, "check"?, "pulls"?, "good"?}
POST autoscaling/instances  {"instance_ids", "healthy": true|false|null, "check"?}: whatever the image
POST autoscaling/groups     {"group", "operator"?, "tags"?}: what only AWS's own services set
POST autoscaling/hold       {"group", "hold": true|false}: keeps the group's refresh Pending
GET  autoscaling/history    ?group: what has been launched, terminated, refreshed
"""

from __future__ import annotations

import dataclasses
import time
import traceback
from datetime import timedelta
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends

from emulator import metrics, tables
from emulator.autoscaling import clock, engine, health, refresh
from emulator.autoscaling.model import Group, ec2, groups
from emulator.context import context
from emulator.control import ControlError, route
from emulator.ec2 import status
from emulator.functions import invocations
from emulator.settings import settings


@route("POST", "autoscaling/pass", locked=False)
def let_time_pass(body: dict[str, Any]) -> Any:
    """Simulated time: groups, their instances, activities and refreshes, alarms and metrics, grow older in steps.

    After each step this waits until no function runs, so a guardrail acts at the moment at which it would have.
    `until`: `settled` (no refresh, no activity in progress), or a status of the group's latest refresh.
    """
    seconds, step = float(body["seconds"]), float(body.get("step", 5.0))
    if seconds < 0 or step <= 0:
        raise ControlError("seconds must be at least 0 and step above 0")
    if settings.autoscaling_time_scale != 1.0:
        raise ControlError("time passes either scaled or simulated: set autoscaling_time_scale to 1.0")
    until, name = body.get("until"), body.get("group")
    if until not in (None, "settled", *refresh.OVER, *refresh.WORKING, "Pending", "Baking", "Cancelling"):
        raise ControlError(f"unknown until: {until}")
    passed = 0.0
    with context.lock:
        _known(name)
        engine.settle_all()
    deadline = time.monotonic() + float(body.get("timeout", 300))
    while passed < seconds and not (until and _reached(until, name)):
        here = min(step, seconds - passed)
        with context.lock:
            _pass(here)
        passed += here
        if body.get("idle", True):
            invocations.wait_idle({"timeout": 60})
        if time.monotonic() > deadline:
            raise ControlError(f"only {passed} simulated seconds have passed in {body.get('timeout', 300)} real ones")
    with context.lock:
        reached = _reached(until, name) if until else None
        return {"passed": passed, "reached": reached, "groups": [_history(g) for g in _chosen(name)]}


def _pass(seconds: float) -> None:
    clock.move(seconds)
    by = timedelta(seconds=seconds)
    instances = [i.id for r in ec2().reservations.values() for i in r.instances]
    if instances:
        status.age({"seconds": seconds, "instance_ids": instances})
    metrics.age(seconds)
    # Agents and their nodes have a time of their own (POST instances/age).
    tables.age({"seconds": seconds, "but": "node#"})
    for alarm in cloudwatch_backends[context.account_id][context.region].alarms.values():
        alarm.state_updated_timestamp -= by
        alarm.state_transitioned_timestamp -= by
    # Twice: what a member's change of state leads to starts at the same moment.
    try:
        engine.settle_all(loudly=True)
        engine.settle_all(loudly=True)
    except Exception as error:
        raise ControlError(f"Auto Scaling failed: {traceback.format_exc()}") from error


def _reached(until: str, name: str | None) -> bool:
    with context.lock:
        chosen = _chosen(name)
        if until == "settled":
            return all(
                g.refresh is None
                and all(a.ended is not None for a in g.activities)
                and len(g.active) == g.desired
                and all(m.state in ("InService", "Standby") for m in g.members)
                for g in chosen
            )
        return bool(chosen) and all(g.refreshes and g.refreshes[-1].status == until for g in chosen)


def _known(name: str | None) -> None:
    if name is not None and name not in groups():
        raise ControlError(f"no group {name}; there are: {', '.join(sorted(groups())) or 'none'}")


def _chosen(name: str | None) -> list[Group]:
    return [g for g in groups().values() if name in (None, g.name)]


@route("POST", "autoscaling/images")
def set_behaviour(body: dict[str, Any]) -> Any:
    known = {field.name for field in dataclasses.fields(health.Behaviour)}
    if unknown := body.keys() - known:
        raise ControlError(f"unknown field {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    behaviour = health.Behaviour(**body)
    if behaviour.check not in ("elb", "ec2"):
        raise ControlError('"check" is elb or ec2')
    if behaviour.good is not None and not behaviour.pulls:
        raise ControlError('"good" are digests of what the instance pulls: name "pulls"')
    if behaviour.image_id not in ec2().amis:
        raise ControlError(f"no image {behaviour.image_id}")
    health.behave(behaviour)
    return dataclasses.asdict(behaviour)


@route("POST", "autoscaling/instances")
def set_instances(body: dict[str, Any]) -> Any:
    if not isinstance(body.get("healthy"), (bool, type(None))) or body.get("check", "elb") not in ("elb", "ec2"):
        raise ControlError('expected {"instance_ids": […], "healthy": true|false|null, "check"?: "elb"|"ec2"}')
    for instance in status.chosen({"instance_ids": body["instance_ids"]}):
        if body.get("healthy") is None:
            health.overrides.pop(instance.id, None)
        else:
            health.overrides[instance.id] = (body["healthy"], body.get("check", "elb"))
        health.see(instance)
    return {}


@route("POST", "autoscaling/groups")
def set_group(body: dict[str, Any]) -> Any:
    """An operator, and tags that AWS's own services write, such as aws:cloudformation:stack-id."""
    _known(body["group"])
    group = groups()[body["group"]]
    if unknown := body.keys() - {"group", "operator", "tags"}:
        raise ControlError(f"unknown field {', '.join(sorted(unknown))}; known: group, operator, tags")
    if "operator" in body:
        group.operator = {"Principal": body["operator"]} if body["operator"] else None
    for key, value in (body.get("tags") or {}).items():
        group.tags = [t for t in group.tags if t["Key"] != key]
        group.tags.append({"Key": key, "Value": value, "PropagateAtLaunch": key.startswith("aws:")})
    return {}


@route("POST", "autoscaling/hold")
def hold(body: dict[str, Any]) -> Any:
    _known(body["group"])
    current = groups()[body["group"]].refresh
    if current is None or current.status != "Pending":
        raise ControlError(f"{body['group']} has no Pending refresh to hold")
    current.held = bool(body.get("hold", True))
    return {"InstanceRefreshId": current.id}


@route("GET", "autoscaling/history")
def history(body: dict[str, Any]) -> Any:
    _known(body.get("group"))
    return {"groups": [_history(g) for g in _chosen(body.get("group"))]}


def _history(group: Group) -> dict[str, Any]:
    return {
        "group": group.name,
        "desired": group.desired,
        "launched": group.launched,
        "terminated": group.terminated,
        "failed_launches": group.failed_launches,
        "suspended": sorted(group.suspended),
        "instances": [
            {
                "instance_id": m.id,
                "state": m.state,
                "health": m.health,
                "version": (m.template or {}).get("Version"),
                "image_id": m.instance.image_id,
                "age": round(clock.now() - m.launched, 1),
                "pulled": health.pulled(m.instance),
                "serves": health.serves(m.instance)[0],
            }
            for m in group.members
        ],
        "refreshes": [
            {
                "id": r.id,
                "status": r.status,
                "percent": r.percent,
                "to_update": r.to_update,
                "reason": r.reason,
                "age": round(clock.now() - (r.started or r.created), 1),
                "seconds": round(r.ended - (r.started or r.created), 1) if r.ended else None,
            }
            for r in group.refreshes
        ],
    }
