"""python -m demo [--keep]: replays incidents 1 to 5 on a local AWS, without the guardrails and with them."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from demo import timeline
from demo.local_aws import (
    ATTACH_SSM_ROLE,
    CANCEL_REFRESH,
    CREDENTIALS,
    QUARANTINE_LAUNCH,
    REGION,
    SNAPSHOT_VOLUMES,
    TESTS,
    LocalAws,
    LocalAwsFailed,
    function_of,
)
from demo.story import Story

TEMPLATE = TESTS.parent / ".aws-sam" / "local" / "template.yaml"


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the local AWS running until Ctrl-C, to look around")
    arguments = parser.parse_args()
    if not TEMPLATE.is_file():
        parser.error(f"{TEMPLATE} is missing: run `make build`, or `make demo`, which does")
    # As Ctrl-C: nothing is left running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    try:
        aws = LocalAws()
    except LocalAwsFailed as error:
        timeline.wrong(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    try:
        story = Story(aws, TEMPLATE)
        story.tell()
        seconds = time.monotonic() - began
        timeline.title("That was it")
        timeline.text(
            f"{timeline.statements} statements, each read back from the local AWS, in {seconds:.0f} seconds. The "
            "template, the functions' binaries and their roles are those that a real account gets."
        )
        _next_steps(aws, story.outputs(), arguments.keep)
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


def _next_steps(aws: LocalAws, outputs: dict[str, str], kept: bool) -> None:
    timeline.title("Look around")
    if kept:
        # Not resolved: the virtual environment's interpreter is a link to another folder's.
        binaries = Path(os.path.abspath(sys.executable)).parent
        lines = [f"export AWS_ENDPOINT_URL={aws.endpoint} AWS_REGION={REGION}"]
        lines.append("export " + " ".join(f"{k}={v}" for k, v in CREDENTIALS.items()) + f" PATH={binaries}:$PATH")
        lines += [outputs["SnapshotsCommand"], outputs["SweepNowCommand"], outputs["AttachSsmRoleSweepNowCommand"]]
        lines += [outputs["DiagnoseCommand"], "aws ssm describe-instance-information --output table"]
        # `aws logs tail`, which the stack's outputs name, is not in version 1 of the CLI.
        lines += [
            f"aws logs filter-log-events --log-group-name /aws/lambda/{function_of(guardrail)} "
            "--query 'events[].message' --output text"
            for guardrail in (SNAPSHOT_VOLUMES, ATTACH_SSM_ROLE, CANCEL_REFRESH, QUARANTINE_LAUNCH)
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
