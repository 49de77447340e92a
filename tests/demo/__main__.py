"""python -m demo [--keep]: replays incidents 1 and 2 on a local AWS, without the guardrail and with it."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import Any

from demo import timeline
from demo.local_aws import CREDENTIALS, REGION, TESTS, LocalAws, LocalAwsFailed
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
    except (LocalAwsFailed, KeyboardInterrupt) as error:
        timeline.wrong(str(error) or "interrupted")
        return 1
    try:
        story = Story(aws, TEMPLATE)
        story.tell()
        seconds = time.monotonic() - began
        timeline.title("That was it")
        timeline.text(
            f"{timeline.statements} statements, each read back from the local AWS, in {seconds:.0f} seconds. The "
            "template, the function's binary, its role and its policy are those that a real account gets."
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
        binaries = Path(sys.executable).parent
        lines = [f"export AWS_ENDPOINT_URL={aws.endpoint} AWS_REGION={REGION}"]
        lines.append("export " + " ".join(f"{k}={v}" for k, v in CREDENTIALS.items()) + f" PATH={binaries}:$PATH")
        lines += [outputs[name] for name in ("SnapshotsCommand", "SweepNowCommand", "LogsCommand")]
        print("\n".join(f"  {line}" for line in lines))
    else:
        print("  make demo KEEP=1        leaves the local AWS running, and prints AWS CLI commands for it")
    timeline.title("Deploy to a real account")
    print("  sam build && sam deploy --guided")
    print("  Tag a volume with Backup=true: from the next 03:00 UTC on it has a snapshot a day. README.md has the rest.")


if __name__ == "__main__":
    # The exit status is what `make demo` goes by.
    sys.exit(main())
