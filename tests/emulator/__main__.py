"""python -m emulator --port 0: starts the local AWS and prints `ready http://127.0.0.1:PORT` when it serves.

With --deploy TEMPLATE (a built SAM template) it is ready when `sam deploy` has put all of the template there, and with
--copies SOCKET it then serves nothing itself, but a copy to each client of that socket: see copies.py.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path

from emulator.context import context
from emulator.settings import settings


def main() -> None:
    parser = argparse.ArgumentParser(prog="emulator", description="A local AWS for ec2-guardrails.")
    parser.add_argument("--port", type=int, default=0, help="TCP port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--account", default=context.account_id, help="account id (12 digits)")
    parser.add_argument("--region", default=context.region, help="home region")
    parser.add_argument(
        "--deploy", type=Path, metavar="TEMPLATE", help="a built SAM template to deploy before it is ready"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=JSON", help="a setting that holds from the start"
    )
    parser.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the deployed template"
    )
    parser.add_argument(
        "--record-usage", type=Path, metavar="DIRECTORY", help="write down there what the roles were used for"
    )
    parser.add_argument(
        "--copies", type=Path, metavar="SOCKET", help="once it is deployed, serve a copy to each client of this Unix socket"
    )
    parser.add_argument("--while", type=int, dest="whoever", metavar="PID", help="serve copies while this process runs")
    parser.add_argument("--die-with-parent", action="store_true", help="stop when the starting process ends")
    parser.add_argument("--verbose", action="store_true", help="log each function's output and each emulator error")
    arguments = parser.parse_args()
    if len(arguments.account) != 12 or not arguments.account.isdigit():
        parser.error(f"--account: expected 12 digits, got {arguments.account!r}")
    try:
        from_the_start = {name: json.loads(value) for name, _, value in (s.partition("=") for s in arguments.set)}
        settings.update(from_the_start)
    except ValueError as error:
        parser.error(f"--set: expected NAME=JSON; {error}")
    parameters = {name: value for name, _, value in (p.partition("=") for p in arguments.parameter)}

    parent = os.getppid()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO if arguments.verbose else logging.WARNING, format="%(name)s: %(message)s"
    )
    context.account_id, context.region = arguments.account, arguments.region
    _configure_moto()

    from emulator import copies, gateway, server, usage
    from emulator.deploy import DeploymentFailed, deploy, set_parameters
    from emulator.functions import service

    if arguments.record_usage:
        usage.write_to(arguments.record_usage)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    running = server.start(arguments.port, clock=not arguments.copies)
    client = None
    try:
        if arguments.deploy:
            deploy(arguments.deploy, stopped, parameters)
        if arguments.copies and not stopped.is_set():
            service.unpack_all()
            gateway.warm_up()
            running.pause()
            copies.quiet()
            client = copies.serve(arguments.copies, arguments.whoever, stopped)
            if client is None:
                return
            copies.settle_in(client)
            request = copies.read_request(client)
            if "record_usage" in request:
                usage.write_to(Path(request["record_usage"]))
            running = server.start(0)
            if request.get("parameters"):
                set_parameters(request["parameters"])
        if not stopped.is_set():
            print(f"ready {context.endpoint}", flush=True)
        if client is not None:
            copies.wait_until_closed(client, stopped)
        # Not PR_SET_PDEATHSIG: it goes by the thread that started us, and a test's thread ends before its process.
        while client is None and not stopped.wait(0.25):
            if arguments.die_with_parent and os.getppid() != parent:
                break
    except (DeploymentFailed, copies.NotQuiet) as error:
        sys.exit(f"error: {error}")
    finally:
        running.stop()
    # Nothing is left to be saved, and the interpreter's own end takes half a second.
    os._exit(0)


def _configure_moto() -> None:
    """moto reads these when it is imported."""
    os.environ["MOTO_ACCOUNT_ID"] = context.account_id
    os.environ["MOTO_ENABLE_AMI_VALIDATION"] = "true"
    os.environ["MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION"] = "true"
    # Credentials that moto's own use of botocore might pick up must not be the user's.
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        os.environ.pop(name, None)
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    os.environ["AWS_ACCESS_KEY_ID"] = os.environ["AWS_SECRET_ACCESS_KEY"] = "emulator"
    os.environ["AWS_DEFAULT_REGION"] = context.region
    for name in ("werkzeug", "samtranslator"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # moto warns of each error code that a service model lacks; the throttling codes are such.
    warnings.filterwarnings("ignore", message="Exception.* does not match an error shape")


main()
