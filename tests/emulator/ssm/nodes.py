"""Managed nodes in the API, and the control routes for their agents.

GET  nodes ?instance_id   each instance's agent and node: {"nodes": [{instance_id, agent (running, stopped, missing),
                          online, ping_status, registered, last_ping, role, source, usable, unusable_because,
                          session_manager, shell, attempts, outcome, reason, tried, next_attempt_in}]}
POST nodes/retry          {"instance_ids"?: […]}: the agents try now, not at the end of their wait; answers as GET
POST nodes/host           {"instance_ids": […], "agent"?: running|stopped|missing, "blocked"?: bool}: what happens
                          inside the host: the agent's service, a firewall that drops its packets
"""

from __future__ import annotations

import base64
import json
import re
import time
from datetime import UTC
from typing import Any

from emulator.aws_request import AwsError, AwsRequest
from emulator.control import ControlError, route
from emulator.ec2 import status, tags
from emulator.operations import operation
from emulator.ssm import agent as agents
from emulator.ssm import sessions
from emulator.ssm.agent import Agent, Node

MAX_VALUES = 100  # SSM-6
PAGE = (5, 50)
DEFAULT_PAGE = 10
_VALUES = {
    "PingStatus": ("Online", "ConnectionLost", "Inactive"),
    "PlatformTypes": ("Windows", "Linux", "MacOS"),
    "ResourceType": ("EC2Instance", "ManagedInstance", "AWS::EC2::Instance", "AWS::SSM::ManagedInstance"),
    "AssociationStatus": ("Success", "Pending", "Failed"),
}


# The API


@operation("ssm", "DescribeInstanceInformation")
def describe_instance_information(request: AwsRequest) -> dict[str, Any]:
    parameters = request.parameters
    legacy = parameters.get("InstanceInformationFilterList") or []
    modern = parameters.get("Filters") or []
    if legacy and modern:
        raise AwsError(
            "ValidationException", "InstanceInformationFilterList and Filters can't be used in the same request"
        )
    conditions = [(f["key"], f["valueSet"]) for f in legacy] or [(f["Key"], f["Values"]) for f in modern]
    _check(conditions, tags_allowed=not legacy)
    size = parameters.get("MaxResults", DEFAULT_PAGE)
    if not PAGE[0] <= size <= PAGE[1]:
        bound = f"greater than or equal to {PAGE[0]}" if size < PAGE[0] else f"less than or equal to {PAGE[1]}"
        raise _invalid(f"Value '{size}' at 'maxResults' failed to satisfy constraint: Member must have value {bound}")
    found = [a for a in agents.all_agents() if _is_shown(a) and all(_matches(a, k, v) for k, v in conditions)]
    found.sort(key=lambda a: a.instance.id)
    if token := parameters.get("NextToken"):
        after = _read_token(token)
        found = [a for a in found if a.instance.id > after]
    answer = {"InstanceInformationList": [_described(a) for a in found[:size]]}
    return answer | ({"NextToken": _token(found[size - 1].instance.id)} if len(found) > size else {})


def _is_shown(agent: Agent) -> bool:
    """DescribeInstanceInformation returns no nodes that are stopped or terminated (its documentation)."""
    return agent.node is not None and agent.instance.state not in ("stopped", "shutting-down", "terminated")


def _check(conditions: list[tuple[str, list[str]]], tags_allowed: bool) -> None:
    for number, (key, values) in enumerate(conditions, 1):
        if not 1 <= len(values) <= MAX_VALUES:
            bound = "greater than or equal to 1" if not values else f"less than or equal to {MAX_VALUES}"
            raise _invalid(
                f"Value '{values}' at 'filters.{number}.member.values' failed to satisfy constraint: "
                f"Member must have length {bound}"
            )
        if _is_tag(key) and tags_allowed:
            continue
        if key not in _READERS:
            raise AwsError("InvalidFilterKey", f"The filter key {key} is not valid")
        known = _VALUES.get(key)
        wrong = [v for v in values if (known and v not in known) or (key == "InstanceIds" and not _ID.fullmatch(v))]
        if wrong:
            raise AwsError("InvalidInstanceInformationFilterValue", f"The filter value {wrong[0]} is not valid")
    kinds = {_is_tag(key) for key, _ in conditions}
    if len(kinds) > 1:  # documented; the words are (assumed)
        raise _invalid("Tag filters can't be combined with other filter types")


_ID = re.compile(r"m?i-(\w{8}|\w{17})")


def _is_tag(key: str) -> bool:
    return key == "tag-key" or key.startswith("tag:")


def _invalid(detail: str) -> AwsError:
    return AwsError("ValidationException", f"1 validation error detected: {detail}")


_READERS = {
    "InstanceIds": lambda agent, _: agent.instance.id,
    "AgentVersion": lambda _, __: agents.VERSION,
    "PingStatus": lambda _, node: ping_status(node),
    "PlatformTypes": lambda agent, _: _platform(agent.instance)["PlatformType"],
    "ActivationIds": lambda _, __: None,
    "IamRole": lambda _, node: _default_role(node),
    "ResourceType": lambda _, __: "EC2Instance",
    "AssociationStatus": lambda _, __: None,
    "SourceIds": lambda agent, _: agent.instance.id,
    "SourceTypes": lambda _, __: "AWS::EC2::Instance",
}


def _matches(agent: Agent, key: str, values: list[str]) -> bool:
    have = tags.of(agent.instance)
    if key == "tag-key":
        return any(value in have for value in values)
    if key.startswith("tag:"):
        return have.get(key.removeprefix("tag:")) in values
    aliases = {"AWS::EC2::Instance": "EC2Instance"} if key == "ResourceType" else {}
    return _READERS[key](agent, agent.node) in [aliases.get(value, value) for value in values]


def ping_status(node: Node) -> str:
    return "ConnectionLost" if node.lost else "Online"


def _default_role(node: Node) -> str | None:
    """Of EC2 instances only the role of Default Host Management is told."""
    return node.session.role.name if node.session.source == "default host management" else None


def _described(agent: Agent) -> dict[str, Any]:
    instance, node = agent.instance, agent.node
    assert node is not None
    role = _default_role(node)
    return {
        "InstanceId": instance.id,
        "PingStatus": ping_status(node),
        "LastPingDateTime": node.last_ping.replace(tzinfo=UTC).timestamp(),
        "AgentVersion": agents.VERSION,
        "IsLatestVersion": True,
        **_platform(instance),
        "ResourceType": "EC2Instance",
        "IPAddress": instance.private_ip,
        "ComputerName": instance.private_dns_name,
        "SourceId": instance.id,
        "SourceType": "AWS::EC2::Instance",
        **({"IamRole": role} if role else {}),
    }


def _platform(instance: Any) -> dict[str, str]:
    if instance.platform:
        return {"PlatformType": "Windows", "PlatformName": "Microsoft Windows Server", "PlatformVersion": "10.0.20348"}
    image = instance.ec2_backend.amis.get(instance.image_id)
    name = (image.name if image else "").lower()
    if "ubuntu" in name:
        version = re.search(r"(\d\d\.\d\d)", name)
        return {
            "PlatformType": "Linux",
            "PlatformName": "Ubuntu",
            "PlatformVersion": version.group(1) if version else "",
        }
    return {
        "PlatformType": "Linux",
        "PlatformName": "Amazon Linux",
        "PlatformVersion": "2" if "amzn2" in name else "2023",
    }


def _token(after: str) -> str:
    return base64.b64encode(json.dumps(["nodes", after]).encode()).decode()


def _read_token(token: str) -> str:
    try:
        kind, after = json.loads(base64.b64decode(token, validate=True))
        if kind == "nodes" and isinstance(after, str):
            return after
    except ValueError:
        pass
    raise AwsError("InvalidNextToken", "The specified token is not valid.")


@operation("ssm", "GetConnectionStatus")
def get_connection_status(request: AwsRequest) -> dict[str, Any]:
    """Whether Session Manager can open a session: that takes the ssmmessages channel, not an Online node."""
    target = request.parameters["Target"]
    agent = agents.of(target)
    connected = agent is not None and _is_shown(agent) and _session_manager(agent)
    return {"Target": target, "Status": "connected" if connected else "notconnected"}


def _session_manager(agent: Agent) -> bool:
    return agent.node is not None and not agent.node.lost and agent.node.no_session is None


# Control


@route("GET", "nodes")
def get_nodes(query: dict[str, Any]) -> Any:
    body = {"instance_ids": [query["instance_id"]]} if "instance_id" in query else {}
    return {"nodes": [_shown(a) for a in _chosen(body)]}


@route("POST", "nodes/retry")
def retry(body: dict[str, Any]) -> Any:
    chosen = _chosen(body)
    for agent in chosen:
        agents.attempt(agent, forced=True)
    return {"nodes": [_shown(agent) for agent in chosen]}


@route("POST", "nodes/host")
def change_host(body: dict[str, Any]) -> Any:
    if body.get("agent", "running") not in ("running", "stopped", "missing"):
        raise ControlError(f"unknown agent state {body['agent']!r}: running, stopped or missing")
    if "instance_ids" not in body:
        raise ControlError('expected {"instance_ids": [...]}')
    for agent in _chosen(body):
        if "agent" in body:
            did_run = agent.runs
            agent.installed = body["agent"] != "missing"
            agent.stopped = body["agent"] == "stopped"
            if agent.runs and not did_run:
                agents.plan(agent, agents.START)  # whoever starts the service has it try
        agent.blocked = bool(body.get("blocked", agent.blocked))
    return {}


def _chosen(body: dict[str, Any]) -> list[Agent]:
    found = [(i, agents.of(i.id)) for i in status.chosen(body)]
    return [agent for _, agent in found if agent is not None]


def _shown(agent: Agent) -> dict[str, Any]:
    node = agent.node
    return {
        "instance_id": agent.instance.id,
        "agent": "missing" if not agent.installed else "running" if agent.runs else "stopped",
        "online": node is not None and _is_shown(agent) and not node.lost,
        "ping_status": ping_status(node) if node is not None and _is_shown(agent) else None,
        "registered": status.as_moment(node.registered) if node else None,
        "last_ping": status.as_moment(node.last_ping) if node else None,
        "role": node.session.role.name if node else None,
        "source": node.session.source if node else None,
        "usable": node is not None and not node.lost and node.no_channel is None,
        "unusable_because": node.no_channel if node else None,
        "session_manager": _session_manager(agent),
        "shell": sessions.refusal(agent.instance, node.session) if _session_manager(agent) else None,
        "attempts": agent.attempts,
        "outcome": agent.outcome,
        "reason": agent.reason,
        "tried": status.as_moment(agent.tried),
        "next_attempt_in": max(0.0, agent.due - time.time()) if agent.due is not None else None,
    }
