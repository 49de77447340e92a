"""The agent on each instance: when it tries (SSM-1), what comes of it, and what it writes on the console (SSM-8).

Every attempt is evaluated from the emulator's state at that moment; between two attempts nothing changes, so an
instance that gets its profile just after boot waits as long as in AWS. `agent_time_scale` shortens the waits, and
POST nodes/retry ends one. A failed attempt never counts as the last word: the agent goes on trying.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import random
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from moto.core.utils import utcnow

from emulator.context import context
from emulator.control import on_reset
from emulator.ec2 import instances, status
from emulator.settings import settings
from emulator.ssm import identity
from emulator.ssm.identity import NoCredentials, Session
from emulator.ssm.reachability import Unreachable

log = logging.getLogger("emulator")

VERSION = "3.3.4121.0"
START = 20.0
"""Seconds from `running` to the first attempt."""
WITHOUT_CREDENTIALS = (25 * 60.0, 30 * 60.0)
WITHOUT_NETWORK = (5 * 60.0, 10 * 60.0, 20 * 60.0, 40 * 60.0, 60 * 60.0)
HEARTBEAT = 5 * 60.0
LOST_AFTER = 2
"""Missed heartbeats before a node counts as lost (assumed: AWS doesn't say)."""
# However short the scale makes the waits, thousands of agents must leave time for requests.
SHORTEST_WAIT = 0.2
SHORTEST_HEARTBEAT = 1.0

# AMIs that come without the agent: AWS's list of those with it names neither of these. Everything else has one, also
# images of the account's own.
WITHOUT_AGENT = ("minimal", "rhel-", "debian-", "centos", "rocky", "fedora", "alma")


@dataclass
class Node:
    """What Systems Manager remembers of an instance once it has registered."""

    registered: datetime
    last_ping: datetime
    session: Session
    missed: int = 0
    lost: bool = False
    no_channel: str | None = None
    no_session: str | None = None


@dataclass
class Agent:
    instance: Any
    installed: bool
    stopped: bool = False
    """The agent's service, on a host that runs."""
    blocked: bool = False
    """A firewall inside the host drops its packets."""
    node: Node | None = None
    network_failures: int = 0
    attempts: int = 0
    outcome: str | None = None
    """Of the last attempt: `online`, `no credentials`, `no network`, `silent`."""
    reason: str | None = None
    tried: datetime | None = None
    due: float | None = None
    """When it tries next, in seconds since the epoch; None: it doesn't run."""

    @property
    def runs(self) -> bool:
        return self.instance.state == "running" and self.installed and not self.stopped


_agents: dict[str, Agent] = {}


@on_reset
def clear() -> None:
    _agents.clear()
    _clock.clear()


def all_agents() -> list[Agent]:
    return list(_agents.values())


def of(instance_id: str) -> Agent | None:
    return _agents.get(instance_id)


# What happens to the instance


def _on_state(instance: Any, state: str) -> None:
    backend = instance.ec2_backend
    if (backend.account_id, backend.region_name) != (context.account_id, context.region):
        return
    if state == "terminated":
        _agents.pop(instance.id, None)
        return
    agent = _agents.get(instance.id)
    if agent is None:
        agent = _agents[instance.id] = Agent(instance, installed=_has_agent(instance))
    if state in ("running", "rebooted"):
        agent.network_failures = 0
        plan(agent, START)
    else:
        agent.due = None
        if agent.node is not None:
            agent.node.lost = True


instances.listeners.append(_on_state)


def _has_agent(instance: Any) -> bool:
    image = instance.ec2_backend.amis.get(instance.image_id)
    name = (image.name if image else "").lower()
    return not any(part in name for part in WITHOUT_AGENT)


def _on_age(instance: Any, by: timedelta) -> None:
    agent = _agents.get(instance.id)
    if agent is None:
        return
    if agent.node is not None:
        agent.node.registered -= by
        agent.node.last_ping -= by
    agent.tried = agent.tried - by if agent.tried else None
    if agent.due is not None:
        agent.due -= by.total_seconds() * settings.agent_time_scale
        # Each attempt plans the next one from the time at which it was due, so that the whole span is lived through.
        while agent.due is not None and agent.due <= time.time():
            attempt(agent, planned_from=agent.due)
        if agent.due is not None:
            _clock.add(agent.due, agent)


status.on_age.append(_on_age)


# Trying


def plan(agent: Agent, seconds: float, *, shortest: float = SHORTEST_WAIT, start: float | None = None) -> None:
    wait = max(seconds * settings.agent_time_scale, shortest)
    agent.due = (time.time() if start is None else start) + wait
    _clock.add(agent.due, agent)


def attempt(agent: Agent, *, forced: bool = False, planned_from: float | None = None) -> None:
    """One attempt now. `forced`: as though those in between had failed as well. The caller holds the lock."""
    agent.attempts += 1
    agent.tried = utcnow()
    try:
        session = _report(agent)
    except _Silent as error:
        agent.outcome, agent.reason, wait = "silent", str(error), WITHOUT_NETWORK[0]
    except NoCredentials as error:
        agent.outcome, agent.reason = "no credentials", str(error)
        wait = random.uniform(*WITHOUT_CREDENTIALS)
        _complain(agent, str(error))
    except Unreachable as error:
        agent.outcome, agent.reason = "no network", error.why
        wait = WITHOUT_NETWORK[min(agent.network_failures, len(WITHOUT_NETWORK) - 1)]
        agent.network_failures += 1
        _complain(agent, str(error))
    else:
        _succeed(agent, session)
        plan(agent, HEARTBEAT, shortest=SHORTEST_HEARTBEAT, start=planned_from)
        return
    if agent.node is not None:
        agent.node.missed += 1
        agent.node.lost = agent.node.lost or forced or agent.node.missed >= LOST_AFTER
        # Once registered it keeps its credentials, and goes on pinging.
        wait = HEARTBEAT
    # Of an agent that doesn't run the heartbeats are missed all the same, until its node counts as lost.
    if agent.runs or (agent.node is not None and not agent.node.lost):
        plan(agent, wait, start=planned_from)
    else:
        agent.due = None


class _Silent(Exception):
    """Nothing comes of it, and nothing is written: there is no agent that could, or no host."""


def _report(agent: Agent) -> Session:
    if agent.instance.state != "running":
        raise _Silent(f"the instance is {agent.instance.state}")
    if not agent.installed:
        raise _Silent("its image comes without the agent")
    if agent.stopped:
        raise _Silent("the agent is stopped")
    if "impaired" in status.checks(agent.instance):
        raise _Silent("the instance is impaired")
    if agent.blocked:
        host = f"ssm.{context.region}.amazonaws.com"
        raise Unreachable(
            "unexpected error getting instance profile role credentials or calling UpdateInstanceInformation. Skipping "
            "default host management fallback: retrieved credentials failed to report to ssm. Error: RequestError: "
            f'send request failed\ncaused by: Post "https://{host}/": dial tcp: i/o timeout',
            "a firewall inside the host drops its packets",
        )
    return identity.open_session(agent.instance)


def _succeed(agent: Agent, session: Session) -> None:
    now = utcnow()
    agent.network_failures = 0
    agent.outcome, agent.reason = "online", None
    if agent.node is None:
        agent.node = Node(registered=now, last_ping=now, session=session)
        _write(agent, f"Amazon SSM Agent v{VERSION} is running")
    node = agent.node
    node.last_ping, node.session, node.missed, node.lost = now, session, 0, False
    node.no_channel = identity.channel(agent.instance, session)
    node.no_session = identity.session_channel(agent.instance, session)


def _complain(agent: Agent, error: str) -> None:
    # Without the metadata service the agent doesn't know who it is, and doesn't come so far as to write.
    if agent.instance.metadata_options.http_endpoint != "disabled":
        _write(agent, f"SSM Agent unable to acquire credentials: <error>{error}</error>")


def _write(agent: Agent, text: str) -> None:
    status.log(agent.instance, text, stamp="%Y/%m/%d %H:%M:%SZ: ")


# Time


@dataclass
class _Clock:
    """One thread for all agents: a timer each would be a thread each."""

    entries: list[tuple[float, int, Agent]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    started: bool = False
    numbers: itertools.count = field(default_factory=itertools.count)

    def add(self, due: float, agent: Agent) -> None:
        with self.changed:
            heapq.heappush(self.entries, (due, next(self.numbers), agent))
            self.changed.notify()
            if not self.started:
                self.started = True
                threading.Thread(target=self.run, name="ssm-agents", daemon=True).start()

    def clear(self) -> None:
        with self.changed:
            self.entries.clear()

    def run(self) -> None:
        while True:
            with self.changed:
                while not self.entries or self.entries[0][0] > time.time():
                    self.changed.wait(self.entries[0][0] - time.time() if self.entries else None)
                due, _, agent = heapq.heappop(self.entries)
            with context.lock:
                # Planned anew since, or forgotten by a reset.
                if agent.due == due and _agents.get(agent.instance.id) is agent:
                    try:
                        attempt(agent)
                    except Exception:  # a bug of ours; the other agents go on
                        log.exception("the agent of %s crashed", agent.instance.id)


_clock = _Clock()
