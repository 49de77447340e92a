"""Faults: what a caller sees, and whether the call happened."""

import time

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from conftest import invoke


def error_of(call):
    with pytest.raises(ClientError) as raised:
        call()
    response = raised.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.parametrize(
    ("service", "operation", "arguments", "code", "status"),
    [
        ("ec2", "DescribeVolumes", {}, "RequestLimitExceeded", 503),
        ("ec2", "DescribeVolumes", {}, "UnauthorizedOperation", 403),
        ("ec2", "DescribeVolumes", {}, "InternalError", 500),
        ("ssm", "GetParameter", {"Name": "/p"}, "ThrottlingException", 400),
        ("ssm", "GetParameter", {"Name": "/p"}, "AccessDeniedException", 400),
        ("sns", "ListTopics", {}, "Throttling", 400),
        ("sns", "ListTopics", {}, "AuthorizationError", 403),
        ("events", "ListRules", {}, "ThrottlingException", 400),
        ("lambda", "ListFunctions", {}, "TooManyRequestsException", 429),
        ("scheduler", "ListSchedules", {}, "InternalServerError", 500),
        ("s3", "ListBuckets", {}, "AccessDenied", 403),
    ],
)
def test_an_error_in_the_service_s_own_shape(emulator, client, service, operation, arguments, code, status):
    emulator.control("POST", "faults", service=service, operation=operation, error=code)
    snake = "".join("_" + c.lower() if c.isupper() else c for c in operation).lstrip("_")
    assert error_of(lambda: getattr(client(service), snake)(**arguments)) == (code, status)
    (call,) = emulator.control("GET", "calls", operation=operation)["calls"]
    assert call["error"] == code and call["status"] == status and call["executed"] is False


def volume(client, **options):
    return client("ec2").create_volume(AvailabilityZone="eu-central-1a", Size=1, **options)["VolumeId"]


def volumes(client):
    return [v["VolumeId"] for v in client("ec2").describe_volumes()["Volumes"]]


def test_before_and_after_the_call_is_executed(emulator, client):
    emulator.control("POST", "faults", service="ec2", operation="CreateVolume", error="InternalError", count=1)
    assert error_of(lambda: volume(client)) == ("InternalError", 500)
    assert volumes(client) == []
    emulator.control(
        "POST", "faults", service="ec2", operation="CreateVolume", error="InternalError", when="after", count=1
    )
    assert error_of(lambda: volume(client)) == ("InternalError", 500)
    assert len(volumes(client)) == 1
    volume(client)
    assert [f["hits"] for f in emulator.control("GET", "faults")["faults"]] == [1, 1]


def test_an_answer_that_is_lost(emulator, client):
    emulator.control("POST", "faults", service="ec2", operation="CreateVolume", hang_up=True, when="after", count=1)
    with pytest.raises(ConnectionClosedError):
        volume(client)
    assert len(volumes(client)) == 1
    (call,) = emulator.control("GET", "calls", operation="CreateVolume")["calls"]
    assert call["status"] is None and call["executed"] is True


def test_an_answer_that_is_late(emulator, client):
    emulator.control("POST", "faults", service="ec2", operation="DescribeVolumes", latency=0.3)
    begun = time.monotonic()
    volumes(client)
    assert 0.3 <= time.monotonic() - begun < 30


def test_the_nth_call_and_matching_parameters(emulator, client):
    emulator.control("POST", "faults", service="ec2", operation="Describe*", nth=2, error="RequestLimitExceeded")
    volumes(client)
    assert error_of(lambda: volumes(client))[0] == "RequestLimitExceeded"
    volumes(client)
    emulator.control("DELETE", "faults")
    emulator.control(
        "POST", "faults", service="ec2", operation="CreateVolume", error="InternalError",
        match={"TagSpecifications.Tags.Key": "Back*"},
    )  # fmt: skip
    volume(client)
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "Backup", "Value": "daily"}]}]
    assert error_of(lambda: volume(client, TagSpecifications=tags))[0] == "InternalError"


@pytest.mark.parametrize("when", ["before", "after"])
def test_killing_the_caller(emulator, function, client, when):
    function("worker")
    emulator.control("POST", "faults", service="ec2", operation="CreateVolume", kill=True, when=when, caller="worker")
    call = "CreateVolume&AvailabilityZone=eu-central-1a&Size=1"
    answer = invoke(emulator, "worker", {"call": call})
    assert answer["Payload"]["errorType"] == "Runtime.ExitError"
    assert "signal: killed" in answer["Payload"]["errorMessage"]
    assert len(volumes(client)) == (1 if when == "after" else 0)


def test_only_the_named_caller(emulator, function, client):
    function("worker")
    emulator.control(
        "POST", "faults", service="ec2", operation="DescribeVolumes", error="InternalError", caller="worker"
    )
    volumes(client)
    invoke(emulator, "worker", {"call": "DescribeVolumes"})
    assert [c["error"] for c in emulator.control("GET", "calls", operation="DescribeVolumes")["calls"]] == [
        None,
        "InternalError",
    ]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"service": "ec2", "operation": "x"}, "needs an effect"),
        ({"service": "ec2", "operation": "x", "kill": True, "wen": "after"}, "unknown field wen"),
        ({"service": "ec2", "operation": "x", "kill": True, "when": "during"}, '"when" is'),
    ],
)
def test_a_fault_that_makes_no_sense(emulator, fault, message):
    with pytest.raises(Exception, match=message):
        emulator.control("POST", "faults", **fault)
