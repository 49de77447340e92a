"""python -m conformance: tries the facts of docs/aws-facts.md in an AWS account. See docs/conformance.md.

Exit status: 0 no fact turned out otherwise; 1 one did; 2 not begun; 3 something is left behind; 130 interrupted, and
nothing is left behind.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from conformance import facts, report  # noqa: F401 (registers the probes)
from conformance.account import Account
from conformance.probe import PROBES
from conformance.run import DIFFERS, Interrupted, Result, interruptible, run

REPORTS = Path(__file__).parents[2] / ".local" / "conformance"
REMOVAL_MINUTES = 2


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="conformance", description="Tries what AWS is said to do in an AWS account.")
    parser.add_argument("--region", help="the Region; by default that of the credentials' profile")
    parser.add_argument("--only", default="", help="facts, separated by commas: EBS-7,DDB-1")
    parser.add_argument("--yes", action="store_true", help="don't ask")
    parser.add_argument("--clean", action="store_true", help="only remove what earlier runs left behind")
    parser.add_argument("--list", action="store_true", help="only say what is tried, and what not, and why")
    parser.add_argument("--reports", type=Path, default=REPORTS, help="the folder for the reports")
    parser.add_argument("--poll", type=float, default=3.0, metavar="SECONDS", help="between two looks")
    arguments = parser.parse_args(given)

    known = report.all_facts()
    wanted = [fact.strip() for fact in arguments.only.split(",") if fact.strip()] or known
    if unknown := sorted(set(wanted) - set(known)):
        parser.error(f"docs/aws-facts.md has no {', '.join(unknown)}")
    probes = report.of_facts(wanted)
    if arguments.list:
        print(listed(wanted))
        return 0

    aws = Account(boto3.Session(region_name=arguments.region), arguments.poll)
    if not aws.region:
        return not_begun("no Region; say which: make conformance REGION=eu-central-1")
    try:
        account_id = aws.account_id
    except (BotoCoreError, ClientError) as error:
        return not_begun(f"AWS doesn't take the credentials: {error}")

    print(f"account {account_id}, Region {aws.region}, as {aws.identity['Arn']}")
    if arguments.clean:
        return clean(aws, arguments.yes)
    minutes = sum(p.seconds for p in probes) / 60 + REMOVAL_MINUTES
    cost = sum(p.usd for p in probes)
    print(f"{len(probes)} probes, about {minutes:.0f} minutes, about {cost:.2f} USD (estimated from list prices)")
    print(f"Everything that is made bears the tag ec2-guardrails:conformance={aws.run}, and is removed at the end.")
    if not probes:
        return not_begun("no probe tries these facts; --list says why")
    if not agreed(arguments.yes, "Try them in this account?"):
        return not_begun("not agreed; YES=1 agrees without being asked")
    return try_them(aws, arguments.reports, wanted)


def not_begun(why: str) -> int:
    print(f"error: {why}", file=sys.stderr)
    return 2


def agreed(already: bool, question: str) -> bool:
    if already:
        return True
    return sys.stdin.isatty() and input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def try_them(aws: Account, folder: Path, wanted: list[str]) -> int:
    probes = report.of_facts(wanted)
    private = (aws.account_id, aws.identity["UserId"], aws.identity["Arn"].rsplit("/", 1)[-1])

    def tell(result: Result) -> None:
        print(f"{', '.join(result.probe.facts):<16} {result.outcome:<17} {result.probe.name} ({result.seconds:.0f} s)")
        if result.came:
            print(f"{'':<16} {report.masked(result.came, *private)}")

    # To the end: a second signal must not take the report.
    with interruptible(print) as removing:
        began = datetime.now(UTC)
        results, left, interrupted = run(aws, probes, tell, print, removing)
        is_aws = aws.ec2.meta.endpoint_url.endswith((".amazonaws.com", ".amazonaws.com.cn"))
        about = {
            "began": began.isoformat(timespec="seconds"),
            "seconds": round((datetime.now(UTC) - began).total_seconds()),
            "region": aws.region,
            "endpoint": "AWS" if is_aws else "another",
            "boto3": boto3.__version__,
            "interrupted": interrupted,
        }
        composed = report.compose(results, wanted, about, *private)
        path = report.write(composed, folder, f"{began:%Y%m%d-%H%M%S}-{aws.run}")
        print(", ".join(f"{count} {outcome}" for outcome, count in report.counted(composed).items()))
        print(f"The report, to be sent back: {path} (and .json beside it). It names no account.")
        if tell_left(left):
            return 3
        if interrupted:
            return 130
        return 1 if any(result.outcome == DIFFERS for result in results) else 0


def clean(aws: Account, yes: bool) -> int:
    found = aws.find("")
    for kind, given in found:
        print(f"  {kind} {given}")
    if not found:
        print("nothing is left of earlier runs")
        return 0
    if not agreed(yes, "Remove these? No run may be under way."):
        return not_begun("not agreed; YES=1 agrees without being asked")
    with interruptible(print):
        try:
            left = aws.remove_everything(of_run="")
        except Interrupted:
            return 130
    return 3 if tell_left(left) else 0


def tell_left(left: dict[tuple[str, str], str]) -> bool:
    for (kind, given), why in left.items():
        print(f"error: {kind} {given} is left behind: {why}", file=sys.stderr)
    if left:
        print("error: remove them with `make conformance CLEAN=1`, or by hand", file=sys.stderr)
    return bool(left)


def listed(wanted: list[str]) -> str:
    lines = []
    for fact in wanted:
        for probe in (p for p in PROBES if fact in p.facts):
            lines.append(f"{fact}: {probe.does} Must come: {probe.must}. About {probe.usd} USD, {probe.seconds} s.")
        lines += [f"{fact}, not tried: {untried.why}" for untried in report.UNTRIED if untried.fact == fact]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
