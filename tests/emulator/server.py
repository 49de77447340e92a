"""The HTTP server: threads on a loopback port."""

from __future__ import annotations

import importlib
import threading

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import ThreadedWSGIServer

from emulator.context import context

# Imported for what they patch and register.
_EXTENSIONS = (
    "emulator.alarm_evaluation",
    "emulator.alarms",
    "emulator.authorization_ec2",
    "emulator.authorization_services",
    "emulator.autoscaling",
    "emulator.buckets",
    "emulator.calls",
    "emulator.cloudformation.api",
    "emulator.cloudtrail",
    "emulator.ecr",
    "emulator.events",
    "emulator.faults",
    "emulator.functions.configuration",
    "emulator.functions.service",
    "emulator.iam",
    "emulator.iam_simulation",
    "emulator.metrics",
    "emulator.notices",
    "emulator.parameters",
    "emulator.queries",
    "emulator.queues",
    "emulator.scheduler",
    "emulator.ec2",
    "emulator.ssm",
    "emulator.subscriptions",
    "emulator.tables",
)


class _Handler(MotoRequestHandler):
    # Kept-alive connections, as the SDKs expect; without TCP_NODELAY each answer waits for a delayed ACK (40 ms).
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log(self, *_: object) -> None:
        pass


class _Server(ThreadedWSGIServer):
    daemon_threads = True
    request_queue_size = 512


class Running:
    def __init__(self, server: _Server) -> None:
        self._server = server

    def pause(self) -> None:
        """No requests any more; all else stays."""
        self._server.shutdown()
        self._server.server_close()

    def stop(self) -> None:
        from emulator.functions import pool, service

        self.pause()
        pool.retire_all()
        service.remove_code()


def start(port: int, clock: bool = True) -> Running:
    """With a `clock`, schedules fire."""
    for name in _EXTENSIONS:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    from emulator import scheduler
    from emulator.gateway import application

    server = _Server("127.0.0.1", port, application, handler=_Handler)
    context.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="http", daemon=True).start()
    if clock:
        scheduler.start_clock()
    return Running(server)
