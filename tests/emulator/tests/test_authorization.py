"""A function may do what its role allows, and nothing else."""

import json

import pytest
from conftest import ACCOUNT, REGION, allow, invoke, trust

SNAPSHOT = f"arn:aws:ec2:{REGION}::snapshot/*"
VOLUME = f"arn:aws:ec2:{REGION}:{ACCOUNT}:volume/*"
LOGS = {"Effect": "Allow", "Action": ["logs:*"], "Resource": "*"}


def call(emulator, text):
    """The error code of a function's call, None for a success."""
    invoke(emulator, "worker", {"call": text})
    return emulator.control("GET", "calls", caller="worker")["calls"][-1]["error"]


@pytest.fixture
def volume(client):
    return client("ec2").create_volume(AvailabilityZone=f"{REGION}a", Size=1)["VolumeId"]


def test_an_action_that_is_not_allowed(emulator, function):
    function("worker", statements=[allow("ec2:DescribeSnapshots"), LOGS])
    assert call(emulator, "DescribeSnapshots&Owner.1=self") is None
    assert call(emulator, "DescribeVolumes") == "UnauthorizedOperation"
    (record,) = emulator.control("GET", "calls", operation="DescribeVolumes")["calls"]
    assert record["executed"] is False
    log = "\n".join(emulator.control("GET", "invocations")["invocations"][-1]["log"])
    assert "assumed-role/worker-role/worker is not authorized to perform: ec2:DescribeVolumes" in log


def test_the_region_as_a_condition(emulator, function):
    function("worker", statements=[allow("ec2:DescribeVolumes", StringEquals={"ec2:Region": "us-east-1"})])
    assert call(emulator, "DescribeVolumes") == "UnauthorizedOperation"


def tag(key, value):
    prefix = "TagSpecification.1"
    return f"&{prefix}.ResourceType=snapshot&{prefix}.Tag.1.Key={key}&{prefix}.Tag.1.Value={value}"


def test_a_snapshot_only_with_our_tag(emulator, function, volume):
    ours = {"aws:RequestTag/guardrail": "snapshot-volumes"}
    function(
        "worker",
        statements=[
            allow("ec2:CreateSnapshot", VOLUME),
            allow("ec2:CreateSnapshot", SNAPSHOT, StringEquals=ours),
            allow("ec2:CreateTags", SNAPSHOT, StringEquals={"ec2:CreateAction": ["CreateSnapshot"]}),
        ],
    )
    create = f"CreateSnapshot&VolumeId={volume}"
    assert call(emulator, create) == "UnauthorizedOperation"
    assert call(emulator, create + tag("guardrail", "other")) == "UnauthorizedOperation"
    assert call(emulator, create + tag("guardrail", "snapshot-volumes")) is None
    # Tags at creation only: not afterwards.
    assert call(emulator, "CreateTags&ResourceId.1=snap-1&Tag.1.Key=a&Tag.1.Value=b") == "UnauthorizedOperation"


def test_deleting_only_what_carries_our_tag(emulator, function, client, volume):
    function(
        "worker", statements=[allow("ec2:DeleteSnapshot", SNAPSHOT, StringEquals={"aws:ResourceTag/guardrail": "x"})]
    )
    ids = emulator.control(
        "POST", "snapshots", snapshots=[{"volume_id": volume, "tags": {"guardrail": "x"}}, {"volume_id": volume}]
    )["snapshot_ids"]
    assert call(emulator, f"DeleteSnapshot&SnapshotId={ids[0]}") is None
    assert call(emulator, f"DeleteSnapshot&SnapshotId={ids[1]}") == "UnauthorizedOperation"


def test_every_tag_key_must_match(emulator, function, volume):
    keys = {"ForAllValues:StringLike": {"aws:TagKeys": "told-*"}, "Null": {"aws:TagKeys": "false"}}
    function("worker", statements=[allow("ec2:DeleteTags", VOLUME, **keys)])
    assert call(emulator, f"DeleteTags&ResourceId.1={volume}&Tag.1.Key=told-stale") is None
    assert (
        call(emulator, f"DeleteTags&ResourceId.1={volume}&Tag.1.Key=told-stale&Tag.2.Key=Name")
        == "UnauthorizedOperation"
    )
    assert call(emulator, f"DeleteTags&ResourceId.1={volume}") == "UnauthorizedOperation"


def test_what_the_local_aws_cannot_check_cannot_be_called(emulator, function):
    function("worker", statements=[allow("ec2:*"), LOGS])
    assert call(emulator, "DescribeRegions") == "InvalidAction"


def test_refusals_are_kept_and_may_be_expected(emulator, function):
    function("worker", statements=[allow("ec2:DescribeSnapshots"), LOGS])
    call(emulator, "DescribeSnapshots&Owner.1=self")
    call(emulator, "DescribeVolumes")
    emulator.control("POST", "refusals/expected", action="ec2:DescribeImages")
    call(emulator, "DescribeImages")
    refused = {"role": "worker-role", "refused": "*"}
    assert emulator.control("GET", "refusals")["refusals"] == [
        refused | {"action": "ec2:DescribeVolumes", "expected": False},
        refused | {"action": "ec2:DescribeImages", "expected": True},
    ]


def test_the_record_tells_which_part_of_which_statement_was_used(tmp_path, monkeypatch):
    from emulator import policies, usage

    monkeypatch.setattr(usage, "_file", None)
    usage.write_to(tmp_path)
    keys = {"aws:TagKeys": ["told-a"], "ec2:Region": "eu-central-1"}
    condition = {"StringEquals": {"ec2:Region": "eu-central-1"}, "ForAllValues:StringLike": {"aws:TagKeys": ["told-*", "x"]}}
    statements = [
        {"Sid": "Remember", **allow("ec2:CreateTags", [SNAPSHOT, VOLUME], **condition)},
        {"Sid": "Other", **allow("ec2:CreateTags", SNAPSHOT)},
    ]
    for _ in range(2):
        request = ("ec2:CreateTags", VOLUME.replace("*", "vol-1"), keys)
        found = policies.concerning([{"Statement": statements}], *request)
        usage.allowed("worker-role", found, *request)
    usage.refused("worker-role", "ec2:DeleteTags", VOLUME)
    usage.clear()
    (file,) = tmp_path.iterdir()
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        # Once, however often; the only value of a condition isn't a choice.
        {
            "role": "worker-role",
            "action": "ec2:CreateTags",
            "sid": "Remember",
            "place": 1,
            "values": ["aws:TagKeys=told-*"],
        },
        {"role": "worker-role", "action": "ec2:DeleteTags", "refused": VOLUME, "expected": False},
    ]


def test_the_setting_lifts_it(emulator, function):
    function("worker", statements=[LOGS])
    emulator.control("PATCH", "settings", enforce_role_policies=False)
    assert call(emulator, "DescribeVolumes") is None


def test_output_is_lost_without_permission_to_write_logs(emulator, function, client):
    function("worker", statements=[allow("ec2:*")])
    invoke(emulator, "worker", {"log": "hello"})
    assert client("logs").describe_log_groups()["logGroups"] == []
    assert "hello" in emulator.control("GET", "invocations")["invocations"][0]["log"]


def test_a_managed_policy_of_aws(emulator, function, client):
    function("worker", statements=[allow("ec2:*")])
    arn = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
    client("iam").attach_role_policy(RoleName="worker-role", PolicyArn=arn)
    invoke(emulator, "worker", {"log": "hello"})
    assert client("logs").filter_log_events(logGroupName="/aws/lambda/worker")["events"]


def test_a_role_that_lambda_cannot_assume(function, client):
    role = client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=trust("ec2"))["Role"]["Arn"]
    for number, arn in enumerate((role, role + "x")):
        with pytest.raises(client("lambda").exceptions.InvalidParameterValueException, match="cannot be assumed"):
            function(f"worker-{number}", Role=arn)
