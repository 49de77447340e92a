"""What a run promises, whatever comes in between: nothing is left, nobody else's is touched, one probe's end isn't
another's, and the report can be given away."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import POLL_SECONDS, TESTS

from conformance import __main__ as command
from conformance import report
from conformance.account import Account, NotOurs
from conformance.made import TAG
from conformance.probe import PROBES, NotTried, Probe, accepted, expect, refused
from conformance.run import DIFFERS, HOLDS, NOT_TRIED, run, try_all, try_one
from demo.local_aws import ACCOUNT, REGION


def made_up(function: Callable[[Account], None], fact: str = "EBS-7") -> Probe:
    return Probe((fact,), "does", "must come", 0.0, 1, function)


def known(name: str) -> Probe:
    return next(probe for probe in PROBES if probe.name == name)


def outcome(aws: Account, function: Callable[[Account], None]) -> tuple[str, str]:
    result = try_one(aws, made_up(function))
    return result.outcome, result.came


# ---- What a probe's end means ----


def test_a_wrong_expectation_is_told_and_the_others_still_run(aws: Account) -> None:
    def wrong(aws: Account) -> None:
        with refused("VolumeInUse"):
            aws.ec2.describe_volumes()

    def right(aws: Account) -> None:
        with accepted():
            aws.ec2.describe_volumes()

    def broken(aws: Account) -> None:
        raise KeyError("Volumes")

    probes = [made_up(wrong), made_up(broken, "EBS-1"), made_up(right, "EBS-5")]
    results = list(try_all(aws, probes, tell=lambda result: None))
    assert [result.outcome for result in results] == [DIFFERS, NOT_TRIED, HOLDS]
    assert results[0].came == "accepted; it must be refused with VolumeInUse"
    assert "a mistake of the probe: KeyError" in results[1].came
    composed = report.compose(results, ["EBS-1", "EBS-5", "EBS-7"], {})
    assert {fact: found["outcome"] for fact, found in composed["facts"].items()} == {
        "EBS-1": NOT_TRIED, "EBS-5": HOLDS, "EBS-7": DIFFERS,
    }  # fmt: skip


def test_a_fact_holds_only_if_all_its_probes_do(aws: Account) -> None:
    def right(aws: Account) -> None:
        pass

    def not_tried(aws: Account) -> None:
        raise NotTried("no luck")

    results = list(try_all(aws, [made_up(right), made_up(not_tried)], tell=lambda result: None))
    assert report.compose(results, ["EBS-7"], {})["facts"]["EBS-7"]["outcome"] == NOT_TRIED


@pytest.mark.parametrize(
    ("service", "operation", "code", "call"),
    [
        ("ec2", "CreateVolume", "UnauthorizedOperation", lambda aws: aws.volume()),
        ("sns", "CreateTopic", "AuthorizationError", lambda aws: aws.sns.create_topic(Name=aws.name())),
        ("iam", "CreateRole", "AccessDenied", lambda aws: aws.role("ec2")),
        ("ssm", "GetParameter", "AccessDeniedException", lambda aws: aws.ssm.get_parameter(Name="/x")),
    ],
)
def test_a_missing_permission_says_nothing_about_the_fact(
    aws: Account, control: Callable, service: str, operation: str, code: str, call: Callable[[Account], Any]
) -> None:
    control("POST", "faults", service=service, operation=operation, error=code)

    def inside(aws: Account) -> None:
        with refused("VolumeInUse"):
            call(aws)

    def accepting(aws: Account) -> None:
        with accepted():
            call(aws)

    for function in (call, inside, accepting):
        found, came = outcome(aws, function)
        assert found == NOT_TRIED and operation in came and code in came, came


def test_neither_does_throttling(aws: Account, control: Callable) -> None:
    control("POST", "faults", service="ec2", operation="DescribeVolumes", error="RequestLimitExceeded")

    def function(aws: Account) -> None:
        with refused("VolumeInUse"):
            aws.ec2.describe_volumes()

    assert outcome(aws, function)[0] == NOT_TRIED


def test_an_error_of_the_preparation_says_nothing_either(aws: Account) -> None:
    assert outcome(aws, lambda aws: aws.ec2.describe_volumes(VolumeIds=["vol-0123456789abcdef0"]))[0] == NOT_TRIED


# ---- A probe can fail ----

INVALID = {"code": "InvalidParameterValue", "message": "no"}


@pytest.mark.parametrize(
    ("name", "call", "nth", "error", "came"),
    [
        ("two_snapshots_of_a_volume_within_15_seconds", "ec2 CreateSnapshot", 2, "InvalidParameterValue: no",
         "InvalidParameterValue"),
        ("at_most_200_filter_values", "ec2 DescribeVolumes", 1, "InvalidParameterValue: no", "must be accepted"),
        ("of_two_conditional_writes_one_succeeds", "dynamodb PutItem", 2,
         "ConditionalCheckFailedException: other words", "The conditional request failed"),
        ("a_tag_is_put_back", "ecr PutImage", 5, "ImageTagAlreadyExistsException: no", "ImageAlreadyExistsException"),
        ("what_a_notice_may_not_be", "sns Publish", 1, "InvalidParameter: Invalid parameter: Message", "Subject"),
        ("no_way_back_without_a_desired_configuration", "autoscaling RollbackInstanceRefresh", 2,
         "ActiveInstanceRefreshNotFound: none", "IrreversibleInstanceRefresh"),
    ],
)  # fmt: skip
def test_another_answer_is_seen(
    aws: Account, control: Callable, name: str, call: str, nth: int, error: str, came: str
) -> None:
    (service, operation), (code, _, message) = call.split(), error.partition(": ")
    fault = {"service": service, "operation": operation, "nth": nth}
    control("POST", "faults", **fault, error={"code": code, "message": message})
    result = try_one(aws, known(name))
    assert result.outcome == DIFFERS and came in result.came, result


@pytest.mark.parametrize(
    ("name", "call", "change"),
    [
        ("a_new_group_lets_everything_out", "ec2 DescribeSecurityGroupRules",
         lambda answer: answer["SecurityGroupRules"].pop()),
        ("a_copy_carries_an_arbitrary_volume_id", "ec2 DescribeSnapshots",
         lambda answer: [snapshot.update(VolumeId="vol-1") for snapshot in answer["Snapshots"]]),
        ("numbers_come_back_in_plain_form", "dynamodb GetItem",
         lambda answer: answer["Item"]["l"]["L"][0].update(N="1.0")),
        ("who_counts_as_subscribed", "sns GetTopicAttributes",
         lambda answer: answer["Attributes"].update(SubscriptionsConfirmed="1")),
        ("host_management_is_none_when_it_is_off", "ssm GetServiceSetting",
         lambda answer: answer["ServiceSetting"].update(SettingValue="none")),
        ("a_broad_name_matches_other_images", "ec2 DescribeImages",
         lambda answer: [image.update(Name=image["Name"].replace("-ecs-", "-")) for image in answer["Images"]]),
    ],
)  # fmt: skip
def test_another_content_is_seen(aws: Account, name: str, call: str, change: Callable[[dict], Any]) -> None:
    service, operation = call.split()

    def alter(parsed: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name == operation and "Error" not in parsed:
            change(parsed)

    aws.client(service).meta.events.register("after-call", alter)
    result = try_one(aws, known(name))
    assert result.outcome == DIFFERS, result


# ---- Whose things it touches ----


def test_what_the_run_did_not_make_is_not_touched(
    aws: Account, new_run: Callable[[], Account], control: Callable
) -> None:
    stranger = new_run()
    volume, role = stranger.volume(), stranger.role("ec2")
    (untagged,) = control("POST", "volumes", count=1)["volume_ids"]
    before = len(control("GET", "calls")["calls"])
    for attempt in (
        lambda: aws.ec2.delete_volume(VolumeId=volume),
        lambda: aws.ec2.create_snapshot(VolumeId=untagged),
        lambda: aws.ec2.create_tags(Resources=[aws.prefix, untagged], Tags=[{"Key": "a", "Value": "b"}]),
        lambda: aws.iam.delete_role(RoleName=role),
        lambda: aws.iam.create_role(RoleName="admin", AssumeRolePolicyDocument="{}"),
        lambda: aws.dynamodb.delete_table(TableName="ec2-guardrails-state"),
        lambda: aws.sqs.receive_message(QueueUrl="https://queue.amazonaws.com/123456789012/orders"),
        lambda: aws.ssm.update_service_setting(SettingId="/ssm/x", SettingValue="on"),
    ):
        with pytest.raises(NotOurs):
            attempt()
    assert len(control("GET", "calls")["calls"]) == before, "nothing was sent"
    assert outcome(aws, lambda aws: aws.ec2.delete_volume(VolumeId=volume))[0] == NOT_TRIED
    assert aws.remove_everything(seconds=30) == {}
    assert ("volume", volume) in stranger.find(stranger.run), "another run's things stay"
    assert stranger.remove_everything(seconds=30) == {}
    assert aws.ec2.describe_volumes(VolumeIds=[untagged])["Volumes"]


def test_everything_bears_the_tag_or_the_prefix(aws: Account) -> None:
    aws.described(aws.instance)
    snapshot = aws.snapshot()
    aws.own_image(snapshot)
    aws.profile(aws.role("ec2"))
    aws.queue()
    kinds = {kind for kind, _ in aws.left}
    assert {kind for kind, _ in aws.find(aws.run)} >= kinds and "snapshot" in kinds
    volumes = aws.ec2.describe_volumes(Filters=[{"Name": f"tag:{TAG}", "Values": [aws.run]}])["Volumes"]
    assert len(volumes) >= 3, "those of the instance too"


def test_what_cannot_be_removed_is_said(aws: Account, control: Callable) -> None:
    volume = aws.volume()
    control("POST", "faults", service="ec2", operation="DeleteVolume", error="UnauthorizedOperation")
    left = aws.remove_everything(seconds=30)
    assert list(left) == [("volume", volume)] and "UnauthorizedOperation" in left["volume", volume]
    control("DELETE", "faults")


def test_what_cannot_be_looked_for_is_said(aws: Account, control: Callable) -> None:
    aws.volume()
    control("POST", "faults", service="ec2", operation="DescribeVolumes", error=INVALID)
    left = aws.remove_everything(seconds=0.5)
    assert list(left) == [("things", "that can't be looked for")]
    control("DELETE", "faults")


# ---- The command ----


@dataclass
class Ended:
    code: int
    output: str
    report: dict[str, Any]
    text: str


@pytest.fixture
def conformance(new_run: Callable[[], Account], tmp_path: Path, capsys: pytest.CaptureFixture) -> Callable[..., Ended]:
    """conformance("EBS-5", "DDB-1") tries these facts as the command does, once it was agreed to."""

    def call(*facts: str) -> Ended:
        code = command.try_them(new_run(), tmp_path, list(facts))
        captured = capsys.readouterr()
        (report_path,), (text,) = tmp_path.glob("*.json"), tmp_path.glob("*.txt")
        return Ended(code, captured.out + captured.err, json.loads(report_path.read_text()), text.read_text())

    return call


@pytest.fixture(scope="session")
def looker(new_run: Callable[[], Account]) -> Account:
    return new_run()


@pytest.fixture
def left(looker: Account) -> Iterator[Callable[[], list[tuple[str, str]]]]:
    """What is there of any run; nothing after the test."""
    yield lambda: looker.find("")
    assert looker.remove_everything(of_run="", seconds=60) == {}


def test_a_run_reports(conformance: Callable[..., Ended], left: Callable) -> None:
    ended = conformance("DDB-6", "EBS-6")
    assert ended.code == 0 and "1 holds, 0 doesn't, 1 couldn't be tried" in ended.output
    outcomes = {fact: found["outcome"] for fact, found in ended.report["facts"].items()}
    assert outcomes == {"DDB-6": HOLDS, "EBS-6": NOT_TRIED}
    assert "EBS-6: couldn't be tried" in ended.text and "throttle the whole account" in ended.text
    assert left() == []


def test_a_fact_that_turns_out_otherwise_is_the_exit_status(
    conformance: Callable[..., Ended], control: Callable, left: Callable
) -> None:
    control("POST", "faults", service="sns", operation="Publish", error=INVALID)
    differs = conformance("SNS-1", "SAM-1")
    outcomes = {fact: found["outcome"] for fact, found in differs.report["facts"].items()}
    assert (differs.code, outcomes) == (1, {"SAM-1": NOT_TRIED, "SNS-1": DIFFERS})
    assert left() == []


def test_something_left_behind_is_the_exit_status(
    conformance: Callable[..., Ended], control: Callable, left: Callable
) -> None:
    control("POST", "faults", service="dynamodb", operation="DeleteTable", error="AccessDeniedException")
    ended = conformance("DDB-1")
    assert ended.code == 3 and "is left behind" in ended.output and "CLEAN=1" in ended.output
    control("DELETE", "faults")


def test_the_report_names_nobody(conformance: Callable[..., Ended], control: Callable) -> None:
    words = (
        f"User: arn:aws:iam::{ACCOUNT}:user/bob is not authorized to perform: ec2:CreateVolume on resource: "
        f"arn:aws:ec2:eu-central-1:{ACCOUNT}:volume/vol-0aaaaaaaaaaaaaaaa. "
        "Encoded authorization failure message: qwertz123"
    )
    denied = {"code": "UnauthorizedOperation", "message": words}
    control("POST", "faults", service="ec2", operation="CreateVolume", error=denied)
    ended = conformance("EBS-5")
    for text in (ended.text, json.dumps(ended.report)):
        for private in (ACCOUNT, "bob", "vol-0aaaaaaaaaaaaaaaa", "qwertz123", "AKIAIOSFODNN7EXAMPLE"):
            assert private not in text
        assert "UnauthorizedOperation" in text and "CreateVolume" in text
    assert ended.report["facts"]["EBS-5"]["outcome"] == NOT_TRIED


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--only", "DDB-6"], "not agreed"),
        (["--only", "EBS-6", "--yes"], "no probe tries these facts"),
        (["--only", "EBS-99", "--yes"], "docs/aws-facts.md has no EBS-99"),
    ],
)
def test_it_does_not_begin(
    arguments: list[str], why: str, left: Callable, control: Callable, capsys: pytest.CaptureFixture
) -> None:
    control("DELETE", "calls")
    try:
        code = command.main(["--region", REGION, *arguments])
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    assert code == 2 and why in captured.err
    assert {call["operation"] for call in control("GET", "calls")["calls"]} <= {"GetCallerIdentity"}


Start = Callable[..., subprocess.Popen]


@pytest.fixture
def process(tmp_path: Path, left: Callable) -> Iterator[Start]:
    """process("--only", "DDB-6") starts the command as `make conformance` does."""
    started: list[subprocess.Popen] = []

    def start(*arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen:
        options = ["--region", REGION, "--poll", str(POLL_SECONDS), "--reports", str(tmp_path)]
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "conformance", *options, *arguments],
                cwd=TESTS, text=True, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
        )  # fmt: skip
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()


def end(process: subprocess.Popen, code: int) -> str:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == code, output
    return output


def test_it_asks_at_a_terminal(process: Start) -> None:
    main, terminal = pty.openpty()
    asking = process("--only", "DDB-6", stdin=terminal)
    os.write(main, b"y\n")
    output = end(asking, 0)
    assert f"account {ACCOUNT}, Region {REGION}" in output and "USD" in output and "minutes" in output
    assert "[y/N]" in output and "1 holds" in output
    os.close(main)
    os.close(terminal)


@pytest.mark.parametrize(
    ("number", "service", "operation", "kind"),
    [
        (signal.SIGINT, "ec2", "CreateSnapshot", "snapshot"),
        (signal.SIGTERM, "ec2", "RunInstances", "instance"),
        (signal.SIGHUP, "dynamodb", "CreateTable", "table"),
    ],
)
def test_an_interruption_leaves_nothing(
    process: Start,
    control: Callable,
    left: Callable,
    tmp_path: Path,
    number: int,
    service: str,
    operation: str,
    kind: str,
) -> None:
    """In the worst moment: the thing is made, and the answer isn't there yet."""
    control("POST", "faults", service=service, operation=operation, when="after", latency=4, count=1)
    interrupted = process("--only", "DDB-1,EBS-2,EBS-5", "--yes")
    wait_for(lambda: any(found == kind for found, _ in left()))
    while interrupted.poll() is None:  # somebody is impatient, to the very end
        interrupted.send_signal(number)
        time.sleep(0.1)
    assert "interrupted" in end(interrupted, 130)
    assert left() == []
    (report_path,) = tmp_path.glob("*.json")
    assert json.loads(report_path.read_text())["interrupted"] is True


def test_an_error_of_the_run_itself_leaves_nothing(aws: Account) -> None:
    def tell(_: Any) -> None:
        assert aws.left
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run(aws, [known("two_snapshots_of_a_volume_within_15_seconds")], tell, print, lambda: None)
    assert aws.left == aws.find(aws.run) == []


def wait_for(check: Callable[[], Any]) -> None:
    until = time.monotonic() + 60
    while not check():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_what_a_killed_run_left_is_cleaned(
    process: Start, new_run: Callable[[], Account], left: Callable, capsys: pytest.CaptureFixture
) -> None:
    killed = process("--only", "EBS-2,SNS-1", "--yes")
    wait_for(lambda: len({kind for kind, _ in left()}) >= 3)
    killed.kill()
    killed.wait()
    there = left()
    assert command.clean(new_run(), yes=False) == 2, "there is no terminal to agree at"
    assert left() == there
    assert command.clean(new_run(), yes=True) == 0
    assert left() == []
    assert command.clean(new_run(), yes=True) == 0
    assert "nothing is left" in capsys.readouterr().out


# ---- The report ----


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("arn:aws:ec2::eu-central-1:snapshot/snap-0123456789abcdef0", "arn:aws:ec2:***"),
        ("arn:aws-cn:sts::123456789012:assumed-role/Admin/jane@example.com failed", "arn:aws-cn:sts:*** failed"),
        ("owner 210987654321, i-0123456789abcdef0 and sg-12345678", "owner ACCOUNT, i-*** and sg-***"),
        ("https://sqs.eu-central-1.amazonaws.com/123456789012/q", "https://***"),
        ("AROAEXAMPLEID1234567:jane", "***:jane"),
        ("MaxResults 1000 of 200", "MaxResults 1000 of 200"),
    ],
)
def test_masks(text: str, masked: str) -> None:
    assert report.masked(text) == masked


def test_words_of_the_caller_are_masked() -> None:
    assert report.masked("by jane", "jane") == "by ***"


def test_expectations_say_what_came() -> None:
    with pytest.raises(Exception, match="the state is 'error'; it must be 'completed'"):
        expect("the state", "error", "completed")
