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
from pathlib import Path
from typing import Any

import pytest
from conftest import POLL_SECONDS, TESTS

from conformance import report
from conformance.account import Account, NotOurs
from conformance.made import MAKINGS, TAG
from conformance.probe import PROBES, NotTried, Probe, accepted, expect, refused
from conformance.run import DIFFERS, HOLDS, NOT_TRIED, try_all, try_one
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
        ("ec2", "CreateVolume", "RequestLimitExceeded", lambda aws: aws.volume()),
        ("ec2", "CreateVolume", "InternalError", lambda aws: aws.volume()),
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


def test_an_error_of_the_preparation_says_nothing_either(aws: Account) -> None:
    assert outcome(aws, lambda aws: aws.ec2.describe_volumes(VolumeIds=["vol-0123456789abcdef0"]))[0] == NOT_TRIED


# ---- A probe can fail ----

INVALID = {"code": "InvalidParameterValue", "message": "no"}


@pytest.mark.parametrize(
    ("name", "fault", "came"),
    [
        ("two_snapshots_of_a_volume_within_15_seconds", {"service": "ec2", "operation": "CreateSnapshot", "nth": 2, "error": INVALID}, "InvalidParameterValue"),
        ("at_most_200_filter_values", {"service": "ec2", "operation": "DescribeVolumes", "nth": 1, "error": INVALID}, "must be accepted"),
        ("of_two_conditional_writes_one_succeeds", {"service": "dynamodb", "operation": "PutItem", "nth": 2, "error": {"code": "ConditionalCheckFailedException", "message": "other words"}}, "The conditional request failed"),
        ("a_tag_is_put_back", {"service": "ecr", "operation": "PutImage", "nth": 5, "error": {"code": "ImageTagAlreadyExistsException", "message": "no"}}, "ImageAlreadyExistsException"),
        ("what_a_notice_may_not_be", {"service": "sns", "operation": "Publish", "nth": 1, "error": {"code": "InvalidParameter", "message": "Invalid parameter: Message"}}, "Subject"),
        ("no_way_back_without_a_desired_configuration", {"service": "autoscaling", "operation": "RollbackInstanceRefresh", "nth": 2, "error": {"code": "ActiveInstanceRefreshNotFound", "message": "none"}}, "IrreversibleInstanceRefresh"),
    ],
)  # fmt: skip
def test_another_answer_is_seen(aws: Account, control: Callable, name: str, fault: dict[str, Any], came: str) -> None:
    control("POST", "faults", **fault)
    result = try_one(aws, known(name))
    assert result.outcome == DIFFERS and came in result.came, result


@pytest.mark.parametrize(
    ("name", "operation", "change"),
    [
        ("a_new_group_lets_everything_out", "DescribeSecurityGroupRules", lambda answer: answer["SecurityGroupRules"].pop()),
        ("a_copy_carries_an_arbitrary_volume_id", "DescribeSnapshots", lambda answer: [s.update(VolumeId="vol-1") for s in answer["Snapshots"]]),
        ("numbers_come_back_in_plain_form", "GetItem", lambda answer: answer["Item"]["l"]["L"][0].update(N="1.0")),
        ("who_counts_as_subscribed", "GetTopicAttributes", lambda answer: answer["Attributes"].update(SubscriptionsConfirmed="1")),
        ("host_management_is_none_when_it_is_off", "GetServiceSetting", lambda answer: answer["ServiceSetting"].update(SettingValue="none")),
        ("a_broad_name_matches_other_images", "DescribeImages", lambda answer: [i.update(Name=i["Name"].replace("-ecs-", "-")) for i in answer["Images"]]),
    ],
)  # fmt: skip
def test_another_content_is_seen(aws: Account, name: str, operation: str, change: Callable[[dict], Any]) -> None:
    def alter(parsed: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name == operation and "Error" not in parsed:
            change(parsed)

    for service in ("dynamodb", "ec2", "sns", "ssm"):
        aws.client(service).meta.events.register("after-call", alter)
    result = try_one(aws, known(name))
    assert result.outcome == DIFFERS, result


# ---- Whose things it touches ----


def test_what_the_run_did_not_make_is_not_touched(aws: Account, control: Callable) -> None:
    stranger = Account(REGION, POLL_SECONDS)
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
    assert {service for service, _ in MAKINGS} <= {"autoscaling", "dynamodb", "ec2", "ecr", "events", "iam", "scheduler", "sns", "sqs", "ssm"}


def test_what_cannot_be_removed_is_said(aws: Account, control: Callable) -> None:
    volume = aws.volume()
    control("POST", "faults", service="ec2", operation="DeleteVolume", error="UnauthorizedOperation")
    left = aws.remove_everything(seconds=30)
    assert list(left) == [("volume", volume)] and "UnauthorizedOperation" in left["volume", volume]
    control("DELETE", "faults")


# ---- The command ----


class Command:
    """`python -m conformance`, as `make conformance` calls it."""

    def __init__(self, folder: Path, *arguments: str, **options: Any) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "conformance", "--region", REGION, "--poll", str(POLL_SECONDS), "--reports", str(folder), *arguments],
            cwd=TESTS, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **{"stdin": subprocess.DEVNULL} | options,
        )  # fmt: skip

    def end(self, code: int) -> str:
        output, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == code, output
        return output

    @property
    def report(self) -> dict[str, Any]:
        (path,) = self.folder.glob("*.json")
        return json.loads(path.read_text())

    @property
    def text(self) -> str:
        (path,) = self.folder.glob("*.txt")
        return path.read_text()


@pytest.fixture
def command(environment: dict, tmp_path: Path) -> Iterator[Callable[..., Command]]:
    started: list[Command] = []

    def start(*arguments: str, **options: Any) -> Command:
        started.append(Command(tmp_path / str(len(started)), *arguments, **options))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()
    everybody = Account(REGION, POLL_SECONDS)
    everybody.remove_everything(of_run="", seconds=60)


def left() -> list[tuple[str, str]]:
    return Account(REGION, POLL_SECONDS).find("")


def test_a_run_tells_asks_and_reports(command: Callable[..., Command]) -> None:
    output = command("--only", "DDB-5,DDB-6,EBS-6", "--yes").end(0)
    assert f"account {ACCOUNT}, Region {REGION}" in output and "USD" in output and "minutes" in output
    assert left() == []
    first = command("--only", "EBS-7", "--yes")
    first.end(first.process.wait(timeout=120))
    assert set(first.report["facts"]) == {"EBS-7"}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--only", "DDB-6"], "not agreed"),
        (["--only", "EBS-6", "--yes"], "no probe tries these facts"),
        (["--only", "EBS-99", "--yes"], "docs/aws-facts.md has no EBS-99"),
    ],
)
def test_it_does_not_begin(command: Callable[..., Command], arguments: list[str], why: str) -> None:
    assert why in command(*arguments).end(2)
    assert left() == []


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 2)])
def test_it_asks_at_a_terminal(command: Callable[..., Command], answer: str, code: int) -> None:
    main, terminal = pty.openpty()
    asking = command("--only", "DDB-6", stdin=terminal)
    os.write(main, answer.encode())
    assert "[y/N]" in asking.end(code)
    os.close(main)
    os.close(terminal)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("operation", ["CreateSnapshot", "CreateVpc", "CreateTable"])
def test_an_interruption_leaves_nothing(
    command: Callable[..., Command], control: Callable, number: signal.Signals, operation: str
) -> None:
    """In the worst moment: the thing is made, and the answer isn't there yet."""
    control("DELETE", "calls")
    control("POST", "faults", operation=operation, when="after", latency=3, count=1)
    interrupted = command("--only", "DDB-1,EBS-2,EBS-5,EBS-4", "--yes")
    wait_for(lambda: control("GET", "calls", operation=operation)["calls"] or len(left_quickly(operation)) > 0)
    interrupted.process.send_signal(number)
    time.sleep(0.3)
    interrupted.process.send_signal(number)  # somebody is impatient
    output = interrupted.end(130)
    assert "interrupted" in output and left() == []
    assert interrupted.report["interrupted"] is True


def left_quickly(operation: str) -> list[str]:
    kind = {"CreateSnapshot": "snapshot", "CreateVpc": "vpc", "CreateTable": "table"}[operation]
    return [given for found, given in left() if found == kind]


def wait_for(check: Callable[[], Any]) -> None:
    until = time.monotonic() + 60
    while not check():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_what_a_killed_run_left_is_cleaned(command: Callable[..., Command], control: Callable) -> None:
    killed = command("--only", "EBS-2,SNS-1", "--yes")
    wait_for(lambda: len({kind for kind, _ in left()}) >= 3)
    killed.process.kill()
    killed.process.wait()
    assert left() != []
    assert "not agreed" in command("--clean").end(2)
    assert left() != []
    command("--clean", "--yes").end(0)
    assert left() == []
    assert "nothing is left" in command("--clean", "--yes").end(0)


def test_a_fact_that_turns_out_otherwise_is_the_exit_status(command: Callable[..., Command], control: Callable) -> None:
    control("POST", "faults", service="dynamodb", operation="GetItem", match={"TableName": "*"}, error={"code": "ValidationException", "message": "no"})
    differs = command("--only", "DDB-1,DDB-5,DDB-8", "--yes")
    control("DELETE", "faults")
    control("POST", "faults", service="dynamodb", operation="PutItem", error={"code": "ValidationException", "message": "no"})
    differs.end(1)
    assert differs.report["facts"]["DDB-5"]["outcome"] == DIFFERS
    assert left() == []


def test_something_left_behind_is_the_exit_status(command: Callable[..., Command], control: Callable) -> None:
    control("POST", "faults", service="dynamodb", operation="DeleteTable", error="AccessDeniedException")
    output = command("--only", "DDB-1", "--yes").end(3)
    assert "is left behind" in output and "CLEAN=1" in output
    control("DELETE", "faults")


# ---- The report ----


def test_the_report_names_nobody(command: Callable[..., Command], control: Callable) -> None:
    words = (
        f"User: arn:aws:iam::{ACCOUNT}:user/bob is not authorized to perform: ec2:CreateVolume on resource: "
        f"arn:aws:ec2:eu-central-1:{ACCOUNT}:volume/vol-0aaaaaaaaaaaaaaaa. Encoded authorization failure message: qwertz123"
    )
    control("POST", "faults", service="ec2", operation="CreateVolume", error={"code": "UnauthorizedOperation", "message": words})
    denied = command("--only", "EBS-5,EBS-7", "--yes")
    denied.end(denied.process.wait(timeout=120))
    for text in (denied.text, json.dumps(denied.report)):
        for private in (ACCOUNT, "bob", "vol-0aaaaaaaaaaaaaaaa", "qwertz123", "AKIAIOSFODNN7EXAMPLE"):
            assert private not in text
        assert "UnauthorizedOperation" in text and "CreateVolume" in text
    assert denied.report["facts"]["EBS-5"]["outcome"] == NOT_TRIED


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
