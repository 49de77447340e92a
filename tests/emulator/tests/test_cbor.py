"""Smithy's RPC v2 CBOR, in which some SDKs talk to CloudWatch."""

from __future__ import annotations

import urllib.error
import urllib.request
from datetime import datetime
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.parsers import RpcV2CBORParser
from botocore.serialize import RpcV2CBORSerializer
from botocore.session import get_session
from conftest import REGION, Emulator

MODEL = get_session().get_service_model("cloudwatch")


def call(emulator: Emulator, name: str, **parameters: Any) -> tuple[int, Any]:
    """Status and answer, as an SDK that speaks nothing else sends and reads them."""
    operation = MODEL.operation_model(name)
    sent = RpcV2CBORSerializer().serialize_to_request(parameters, operation)
    url = f"{emulator.endpoint}{sent['url_path']}"
    request = AWSRequest("POST", url, headers=sent["headers"], data=sent["body"])
    SigV4Auth(Credentials("AKIAIOSFODNN7EXAMPLE", "secret"), "monitoring", REGION).add_auth(request)
    prepared = urllib.request.Request(url, data=sent["body"], headers=dict(request.headers), method="POST")
    try:
        with urllib.request.urlopen(prepared, timeout=30) as answer:
            status, headers, body = answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        status, headers, body = error.code, error.headers, error.read()
    assert headers["smithy-protocol"] == "rpc-v2-cbor" and headers["content-type"] == "application/cbor"
    parsed = {"status_code": status, "headers": headers, "body": body}
    return status, RpcV2CBORParser().parse(parsed, operation.output_shape)


def test_requests_and_answers_keep_their_types(emulator: Emulator) -> None:
    status, _ = call(
        emulator,
        "PutMetricAlarm",
        AlarmName="errors",
        Namespace="N",
        MetricName="m",
        Dimensions=[{"Name": "LoadBalancer", "Value": "app/shop/1"}],
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1.5,
        ComparisonOperator="GreaterThanThreshold",
        ActionsEnabled=False,
    )
    assert status == 200
    call(emulator, "SetAlarmState", AlarmName="errors", StateValue="ALARM", StateReason="so")
    _, answer = call(emulator, "DescribeAlarms", AlarmNames=["errors"], AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    (alarm,) = answer["MetricAlarms"]
    assert (alarm["StateValue"], alarm["Threshold"], alarm["Period"]) == ("ALARM", 1.5, 60)
    assert alarm["ActionsEnabled"] is False
    assert alarm["Dimensions"] == [{"Name": "LoadBalancer", "Value": "app/shop/1"}]
    assert isinstance(alarm["StateTransitionedTimestamp"], datetime)
    # The same as in any other protocol.
    (same,) = emulator.client("cloudwatch").describe_alarms(AlarmNames=["errors"])["MetricAlarms"]
    assert same["StateTransitionedTimestamp"] == alarm["StateTransitionedTimestamp"]
    (recorded,) = emulator.control("GET", "calls", operation="SetAlarmState")["calls"]
    assert (recorded["service"], recorded["parameters"]["AlarmName"]) == ("cloudwatch", "errors")


def test_errors_and_faults_have_their_code(emulator: Emulator) -> None:
    status, answer = call(emulator, "SetAlarmState", AlarmName="none", StateValue="OK", StateReason="so")
    assert (status, answer["Error"]["Code"]) == (404, "ResourceNotFound")
    emulator.control("POST", "faults", service="cloudwatch", operation="DescribeAlarms", error="Throttling", count=1)
    status, answer = call(emulator, "DescribeAlarms")
    assert (status, answer["Error"]["Code"]) == (400, "Throttling")
    assert call(emulator, "DescribeAlarms")[0] == 200
