"""Replays incidents 1 to 5 on a local AWS, without the guardrails and with them; or draws the stack's dashboard."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import sys
import time
from pathlib import Path

from demo import timeline
from demo.day import Day
from demo.local_aws import (
    ATTACH_SSM_ROLE,
    CANCEL_REFRESH,
    CREDENTIALS,
    DASHBOARD,
    QUARANTINE_LAUNCH,
    REGION,
    SNAPSHOT_VOLUMES,
    TESTS,
    LocalAws,
    LocalAwsFailed,
    function_of,
)
from demo.releases import GROUP as RELEASED_GROUP
from demo.story import Story

TEMPLATE = TESTS.parent / ".aws-sam" / "local" / "template.yaml"


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the local AWS running until Ctrl-C, to look around")
    parser.add_argument("--template", type=Path, default=TEMPLATE, help="the built template (default: that of `make build`)")
    parser.add_argument(
        "--dashboard", type=Path, metavar="FILE", help="draw the dashboard after some hours of an account instead (svg, png)"
    )
    arguments = parser.parse_args()
    if not arguments.template.is_file():
        parser.error(f"{arguments.template} is missing: run `make build`, or `make demo`, which does")
    if arguments.dashboard and not importlib.util.find_spec("matplotlib"):
        parser.error("matplotlib is missing: run `make dashboard`, which installs tests/demo/requirements-dashboard.txt")
    # As Ctrl-C: nothing is left running. And Ctrl-C also where a script started this in the background: a shell lets
    # such a process ignore it, and Python keeps to that.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    try:
        aws = LocalAws()
    except LocalAwsFailed as error:
        timeline.wrong(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    try:
        if arguments.dashboard:
            Day(aws, arguments.template).draw(arguments.dashboard)
            return 0
        story = Story(aws, arguments.template)
        story.tell()
        seconds = time.monotonic() - began
        timeline.title("That was it")
        timeline.text(
            f"{timeline.statements} statements, each read back from the local AWS, in {seconds:.0f} seconds. The "
            "template and its roles are those that a real account gets, the functions the same code, only not optimised. "
            "All of it is on the stack's dashboard, too; docs/operations.md has a picture."
        )
        _next_steps(aws, story, arguments.keep)
        if arguments.keep:
            print(f"\nThe local AWS runs at {aws.endpoint} until Ctrl-C.", flush=True)
            while True:
                time.sleep(3600)
        return 0
    except KeyboardInterrupt:
        print()
        return 0 if arguments.keep else 130
    except timeline.DoesNotHold as failure:
        timeline.wrong(f"this does not hold: {failure}")
        return 1
    except LocalAwsFailed as error:
        timeline.wrong(str(error))
        return 1
    finally:
        # A second Ctrl-C must not leave it behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        aws.stop()


def _next_steps(aws: LocalAws, story: Story, kept: bool) -> None:
    timeline.title("Look around")
    if kept:
        def ask(guardrail: str, payload: str) -> str:
            # Version 1 of the CLI takes a payload as it is, without --cli-binary-format.
            function = f"--function-name {function_of(guardrail)} --qualifier operator --cli-read-timeout 920"
            return f"aws lambda invoke {function} --payload '{payload}' /dev/stdout"

        def command(name: str, argument: str, value: str) -> str:
            return json.dumps({"trigger": "command", "command": name, argument: value})

        # Not resolved: the virtual environment's interpreter is a link to another folder's.
        binaries = Path(os.path.abspath(sys.executable)).parent
        lines = [
            # Version 1 of the CLI doesn't know AWS_REGION.
            f"export AWS_ENDPOINT_URL={aws.endpoint} AWS_DEFAULT_REGION={REGION}",
            "export " + " ".join(f"{k}={v}" for k, v in CREDENTIALS.items()) + f" PATH={binaries}:$PATH",
            "aws ec2 describe-snapshots --owner-ids self --filters "
            f"Name=tag:ec2-guardrails:guardrail,Values={SNAPSHOT_VOLUMES} --query "
            "'reverse(sort_by(Snapshots,&StartTime))[].[StartTime,VolumeId,SnapshotId,State,Description]' --output table",
            ask(SNAPSHOT_VOLUMES, '{"trigger": "sweep"}'),
            ask(ATTACH_SSM_ROLE, command("diagnose", "instance-id", story.orders)),
            ask(CANCEL_REFRESH, command("explain", "group", RELEASED_GROUP)),
            ask(QUARANTINE_LAUNCH, command("check", "image-id", story.launches.wrong)),
            "aws ssm describe-instance-information --output table",
            f"aws cloudwatch get-dashboard --dashboard-name {DASHBOARD} --query DashboardBody --output text",
            # `aws logs tail` isn't in version 1 of the CLI, which .venv has.
            f"aws logs filter-log-events --log-group-name /aws/lambda/{function_of(CANCEL_REFRESH)} "
            "--query 'events[].message' --output text",
            # What SNS would have sent; AWS keeps no such list.
            "curl -s $AWS_ENDPOINT_URL/_emulator/notices",
        ]
        print("\n".join(f"  {line}" for line in lines))
    else:
        print("  make demo KEEP=1        leaves the local AWS running, and prints AWS CLI commands for it")
    timeline.title("Deploy to a real account")
    print("  sam build && sam deploy --guided")
    print("  Then tag a volume with Backup=true: within a quarter of an hour it has its first snapshot, and from then")
    print("  on one a day. Instances become managed nodes by themselves. README.md has the rest.")


if __name__ == "__main__":
    # The exit status is what `make demo` goes by.
    sys.exit(main())
