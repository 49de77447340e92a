"""Copies of a deployed emulator, in milliseconds: one process deploys once and forks for each client.

    python -m emulator --deploy .aws-sam/local/template.yaml --copies SOCKET [--while PID]

Who connects to the Unix socket sends a line of JSON, {"parameters"?: {NAME: VALUE}, "record_usage"?: DIRECTORY}, and
gets what a copy of its own prints: errors, and `ready http://127.0.0.1:PORT` when it serves. Other parameters than the
deployed ones come by an update of the stack. The copy ends, and all that it started, when the connection is closed.

Only the thread that forks lives on in a copy, so nothing may run here by then, and no lock be held: the server has been
stopped, and `quiet` makes sure. And nothing in the account may name the server's address, which each copy has its own of.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

from emulator.cloudformation import resources

IDLE_LIMIT_SECONDS = 30.0
"""How long it waits for a client without a copy that runs."""
QUIET_LIMIT_SECONDS = 10.0


class NotQuiet(Exception):
    """Something still runs that a copy wouldn't have."""


def quiet() -> None:
    """Wait until only the calling thread is left; the server has been stopped."""
    resources.forget_clients()  # their open connections keep the server's threads
    end = time.monotonic() + QUIET_LIMIT_SECONDS
    while threading.active_count() > 1 or len(os.listdir("/proc/self/task")) > 1:
        if time.monotonic() > end:
            raise NotQuiet(f"can't be copied while these run: {threading.enumerate()}")
        time.sleep(0.01)
    # Nothing of it is ever garbage, so that the copies' collectors leave its pages alone.
    gc.collect()
    gc.freeze()


def serve(path: Path, whoever: int | None, stopped: threading.Event) -> socket.socket | None:
    """Returns a client's connection in each copy; None when it is over, after all copies have ended.

    That is when `stopped` is set, the process `whoever` has ended, or nobody has had a copy for a while.
    """
    listener = socket.socket(socket.AF_UNIX)
    # Under its name only once it can be connected to.
    unnamed = path.with_name(f"{path.name}.{os.getpid()}")
    listener.bind(str(unnamed))
    listener.listen(64)
    listener.settimeout(0.25)
    unnamed.rename(path)
    copies: set[int] = set()
    busy = time.monotonic()
    while not stopped.is_set() and (whoever is None or os.path.exists(f"/proc/{whoever}")):
        copies -= {pid for pid in copies if os.waitpid(pid, os.WNOHANG)[0]}
        if copies:
            busy = time.monotonic()
        elif time.monotonic() - busy > IDLE_LIMIT_SECONDS:
            break
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        pid = os.fork()
        if pid == 0:
            listener.close()
            return connection
        connection.close()
        copies.add(pid)
    path.unlink(missing_ok=True)
    listener.close()
    for pid in copies:
        os.kill(pid, signal.SIGTERM)
    for pid in copies:
        os.waitpid(pid, 0)
    return None


def read_request(connection: socket.socket) -> dict[str, Any]:
    with connection.makefile("rb") as lines:
        return json.loads(lines.readline() or b"{}")


def settle_in(connection: socket.socket) -> None:
    """In the copy, before it serves: what it prints goes to its client, and its ids are others than its siblings'."""
    from moto.moto_api._internal import mock_random

    for stream in (1, 2):
        os.dup2(connection.fileno(), stream)
    mock_random.seed()


def wait_until_closed(connection: socket.socket, stopped: threading.Event) -> None:
    while not stopped.is_set():
        readable, _, _ = select.select([connection], [], [], 0.25)
        if readable and not connection.recv(64):
            return
