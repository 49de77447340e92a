"""Functions run as Lambda runs them."""

import base64
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import ACCOUNT, REGION, function_archive, invoke
from ec2_help import eventually


def invocations(emulator, **filters):
    return emulator.control("GET", "invocations", **filters)["invocations"]


def test_runs_with_the_environment_of_lambda(emulator, function):
    arn = function("worker", Environment={"Variables": {"POLICY_PARAMETER": "/p"}}, Timeout=9)
    before = time.time()
    answer = invoke(emulator, "worker", {"a": 1})
    assert answer["StatusCode"] == 200 and "FunctionError" not in answer
    result = answer["Payload"]
    environment = result["environment"]
    assert result["event"] == {"a": 1} and result["arn"] == arn
    assert before + 8 < result["deadline_ms"] / 1000 < time.time() + 9
    assert result["trace"].startswith("Root=1-")
    assert environment["POLICY_PARAMETER"] == "/p"
    assert environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert environment["AWS_REGION"] == REGION
    assert environment["AWS_ENDPOINT_URL"] == emulator.endpoint
    assert environment["_HANDLER"] == "bootstrap"
    assert os.path.basename(environment["LAMBDA_TASK_ROOT"])
    assert "HOME" not in environment  # nothing of the emulator's own environment leaks in


def test_an_environment_is_reused_for_the_next_event(emulator, function):
    function("worker")
    first, second = (invoke(emulator, "worker", {})["Payload"] for _ in range(2))
    assert first["pid"] == second["pid"] and (first["handled"], second["handled"]) == (1, 2)
    records = invocations(emulator)
    assert [r["cold_start"] for r in records] == [True, False]
    assert records[0]["init_seconds"] > 0 and records[0]["peak_memory_kb"] > 1000


def test_ten_at_once_run_in_ten_processes(emulator, function):
    function("worker")
    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(lambda _: invoke(emulator, "worker", {"sleep": 1})["Payload"], range(10)))
    assert len({r["pid"] for r in results}) == 10


def test_reserved_concurrency_is_a_limit(emulator, function, client):
    function("worker")
    client("lambda").put_function_concurrency(FunctionName="worker", ReservedConcurrentExecutions=0)
    with pytest.raises(client("lambda").exceptions.TooManyRequestsException):
        invoke(emulator, "worker", {})


def test_what_is_reserved_leaves_enough_for_other_functions(emulator, function, client):
    """SAM-5: 100 of the account's quota; of a smaller one nothing can be reserved."""
    function("worker")
    function("other")
    functions = client("lambda")

    def reserve(name: str, runs: int) -> None:
        functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=runs)

    reserve("worker", 899)
    reserve("other", 1)
    with pytest.raises(functions.exceptions.InvalidParameterValueException, match=r"minimum value of \[100\]"):
        reserve("other", 2)
    reserve("worker", 5)
    reserve("other", 2)
    emulator.control("PATCH", "settings", concurrency_limit=10)
    with pytest.raises(functions.exceptions.InvalidParameterValueException, match=r"minimum value of \[10\]"):
        reserve("worker", 1)


def test_calls_carry_the_function_that_made_them(emulator, function):
    function("worker")
    answer = invoke(emulator, "worker", {"call": "DescribeVolumes"})
    (call,) = emulator.control("GET", "calls", operation="DescribeVolumes")["calls"]
    assert call["caller"] == "worker" and call["role"] == f"arn:aws:iam::{ACCOUNT}:role/worker-role"
    assert call["request_id"] == answer["ResponseMetadata"]["RequestId"]


def test_an_error_that_the_function_reports(emulator, function):
    function("worker")
    answer = invoke(emulator, "worker", {"fail": "no such policy"}, LogType="Tail")
    assert answer["FunctionError"] == "Unhandled"
    assert answer["Payload"] == {"errorType": "Failed", "errorMessage": "no such policy"}
    assert b"REPORT RequestId" in base64.b64decode(answer["LogResult"])
    assert invoke(emulator, "worker", {})["Payload"]["handled"] == 2  # an error doesn't end the process


def test_a_crash_is_an_exit_error_and_the_next_event_gets_a_new_process(emulator, function):
    function("worker")
    answer = invoke(emulator, "worker", {"exit": 3})
    assert answer["FunctionError"] == "Unhandled"
    assert answer["Payload"]["errorType"] == "Runtime.ExitError"
    assert answer["Payload"]["errorMessage"].endswith("Runtime exited with error: exit status 3")
    assert invoke(emulator, "worker", {})["Payload"]["handled"] == 1
    assert [r["outcome"] for r in invocations(emulator)] == ["crash", "success"]


def test_a_timeout_kills_the_process(emulator, function):
    function("worker", Timeout=1)
    answer = invoke(emulator, "worker", {"sleep": 60})
    assert answer["Payload"]["errorType"] == "Sandbox.Timedout"
    assert "Task timed out after 1.00 seconds" in answer["Payload"]["errorMessage"]
    (record,) = invocations(emulator)
    assert record["outcome"] == "timeout"
    eventually(lambda: not os.path.exists(f"/proc/{record['pid']}"))


@pytest.mark.parametrize(("how", "kind"), [("report", "MissingWiring"), ("exit", "Runtime.ExitError")])
def test_a_start_that_fails(emulator, function, how, kind):
    function("worker", Environment={"Variables": {"FAIL_INIT": how}})
    assert invoke(emulator, "worker", {})["Payload"]["errorType"] == kind


def test_a_response_that_is_too_large(emulator, function):
    function("worker")
    answer = invoke(emulator, "worker", {"respond_bytes": 7_000_000})
    assert answer["FunctionError"] == "Unhandled"
    assert answer["Payload"]["errorType"] == "Function.ResponseSizeTooLarge"


def test_what_lambda_refuses_when_a_function_is_created(function, client):
    error = client("lambda").exceptions.InvalidParameterValueException
    with pytest.raises(error, match="Reserved keys used in this request: AWS_REGION"):
        function("a", Environment={"Variables": {"AWS_REGION": "x"}})
    with pytest.raises(error, match="exceeded the 4KB limit"):
        function("b", Environment={"Variables": {"A": "x" * 4096}})
    with pytest.raises(error, match="only functions of runtime provided"):
        function("c", Runtime="python3.13")


def test_a_file_that_is_no_program(emulator, function, client):
    function("worker")
    archive = function_archive(b"\x7fELF for another processor")
    client("lambda").update_function_code(FunctionName="worker", ZipFile=archive)
    payload = invoke(emulator, "worker", {})["Payload"]
    assert payload["errorType"] == "Runtime.InvalidEntrypoint"
    assert "exec format error" in payload["errorMessage"]


def test_nothing_of_before_a_reset_appears_after_it(emulator, function):
    function("worker")
    invoke(emulator, "worker", {"sleep": 60}, InvocationType="Event")
    invoke(emulator, "worker", {"fail": "later"}, InvocationType="Event")
    # One runs, the other waits for its second attempt.
    eventually(lambda: sorted(r["outcome"] for r in invocations(emulator) if r["pid"]) == ["error", "running"])
    emulator.control("POST", "reset")
    assert emulator.control("POST", "wait-idle", timeout=50)["idle"]
    time.sleep(0.3)
    assert emulator.control("GET", "metrics")["metrics"] == []
    assert emulator.client("logs").describe_log_groups()["logGroups"] == []


def test_output_lands_in_the_log_group(emulator, function, client):
    function("worker")
    answer = invoke(emulator, "worker", {"log": "two lines\nof output"})
    request_id = answer["ResponseMetadata"]["RequestId"]
    events = client("logs").filter_log_events(logGroupName="/aws/lambda/worker")["events"]
    lines = [e["message"] for e in events]
    assert f"START RequestId: {request_id} Version: $LATEST" in lines
    assert "two lines" in lines and "of output" in lines
    assert any(line.startswith(f"REPORT RequestId: {request_id}\tDuration: ") for line in lines)
    (record,) = invocations(emulator)
    assert "of output" in record["log"]


def test_a_function_that_does_not_exist(emulator, client):
    with pytest.raises(client("lambda").exceptions.ResourceNotFoundException):
        invoke(emulator, "nobody", {})


def test_new_code_or_configuration_takes_a_new_environment(emulator, function, client):
    function("worker")
    old = invoke(emulator, "worker", {})["Payload"]["pid"]
    client("lambda").update_function_configuration(FunctionName="worker", Environment={"Variables": {"A": "b"}})
    result = invoke(emulator, "worker", {})["Payload"]
    assert result["pid"] != old and result["environment"]["A"] == "b"


def destination(client, kind):
    queue = client("sqs").create_queue(QueueName="failed")["QueueUrl"]
    arn = client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    if kind == "sqs":
        return arn, queue
    topic = client("sns").create_topic(Name="failed")["TopicArn"]
    client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return topic, queue


def test_success_has_a_destination_too(emulator, function, client):
    function("worker")
    target, queue = destination(client, "sqs")
    client("lambda").put_function_event_invoke_config(
        FunctionName="worker", DestinationConfig={"OnSuccess": {"Destination": target}}
    )
    invoke(emulator, "worker", {"a": 1}, InvocationType="Event")
    emulator.control("POST", "wait-idle")
    (message,) = client("sqs").receive_message(QueueUrl=queue)["Messages"]
    body = json.loads(message["Body"])
    assert body["requestContext"]["condition"] == "Success" and body["responsePayload"]["event"] == {"a": 1}


@pytest.mark.parametrize("kind", ["sqs", "sns"])
def test_an_asynchronous_failure_is_tried_again_then_sent_to_the_destination(emulator, function, client, kind):
    arn = function("worker")
    target, queue = destination(client, kind)
    client("lambda").put_function_event_invoke_config(
        FunctionName="worker",
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": target}},
    )
    emulator.control("PATCH", "settings", async_retry_scale=0.005)
    answer = invoke(emulator, "worker", {"fail": "broken"}, InvocationType="Event")
    assert answer["StatusCode"] == 202
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert emulator.control("POST", "wait-idle", timeout=60, retries=True)["idle"]
    records = invocations(emulator, request_id=request_id)
    assert [(r["attempt"], r["outcome"]) for r in records] == [(1, "error"), (2, "error")]
    (message,) = client("sqs").receive_message(QueueUrl=queue)["Messages"]
    body = json.loads(message["Body"])
    body = json.loads(body["Message"]) if kind == "sns" else body
    assert body["requestContext"] == {
        "requestId": request_id,
        "functionArn": f"{arn}:$LATEST",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 2,
    }
    assert body["requestPayload"] == {"fail": "broken"}
    assert body["responsePayload"] == {"errorType": "Failed", "errorMessage": "broken"}
    assert body["responseContext"]["functionError"] == "Unhandled"


def test_an_event_that_would_be_too_old_is_given_up(emulator, function, client):
    function("worker")
    target, queue = destination(client, "sqs")
    client("lambda").put_function_event_invoke_config(
        FunctionName="worker",
        MaximumEventAgeInSeconds=60,  # the first retry comes after a minute
        DestinationConfig={"OnFailure": {"Destination": target}},
    )
    emulator.control("PATCH", "settings", async_retry_scale=0.001)
    invoke(emulator, "worker", {"fail": "broken"}, InvocationType="Event")
    assert emulator.control("POST", "wait-idle", timeout=60, retries=True)["idle"]
    (message,) = client("sqs").receive_message(QueueUrl=queue)["Messages"]
    assert json.loads(message["Body"])["requestContext"]["condition"] == "EventAgeExceeded"
    assert len(invocations(emulator)) == 1


def test_the_log_format_json_and_its_level(emulator, function, client):
    function("worker", LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "WARN", "LogGroup": "/mine"})
    result = invoke(emulator, "worker", {"log": '{"level": "WARN", "a": 1}\n{"level": "INFO", "a": 2}\n{"a": 3}'})
    assert result["Payload"]["environment"]["AWS_LAMBDA_LOG_LEVEL"] == "WARN"
    lines = [json.loads(e["message"]) for e in client("logs").filter_log_events(logGroupName="/mine")["events"]]
    assert [line["a"] for line in lines if "a" in line] == [1]
    (report,) = [line["record"] for line in lines if line.get("type") == "platform.report"]
    assert report["status"] == "success" and report["metrics"]["memorySizeMB"] == 256


def test_a_throttled_event_waits_and_runs_later(emulator, function, client):
    function("worker")
    emulator.control("PATCH", "settings", async_retry_scale=0.05)
    client("lambda").put_function_concurrency(FunctionName="worker", ReservedConcurrentExecutions=0)
    invoke(emulator, "worker", {}, InvocationType="Event")
    emulator.control("POST", "wait-idle", timeout=30)
    client("lambda").delete_function_concurrency(FunctionName="worker")
    assert emulator.control("POST", "wait-idle", timeout=60, retries=True)["idle"]
    outcomes = [r["outcome"] for r in invocations(emulator)]
    assert outcomes[0] == "throttled" and outcomes[-1] == "success"


def test_metrics_in_the_embedded_format(emulator, function, client):
    function("worker")
    document = {
        "_aws": {
            "Timestamp": int(time.time() * 1000),
            "CloudWatchMetrics": [
                {
                    "Namespace": "Guardrails",
                    "Dimensions": [["Guardrail"], []],
                    "Metrics": [{"Name": "Made", "Unit": "Count"}],
                }
            ],
        },
        "Guardrail": "snapshot-volumes",
        "Made": 3,
    }
    invoke(emulator, "worker", {"log": json.dumps(document)})
    found = emulator.control("GET", "metrics", namespace="Guardrails")["metrics"]
    assert [(m["name"], m["value"], m["dimensions"]) for m in found] == [
        ("Made", 3.0, {"Guardrail": "snapshot-volumes"}),
        ("Made", 3.0, {}),
    ]
    (listed, _) = client("cloudwatch").list_metrics(Namespace="Guardrails")["Metrics"]
    assert listed["MetricName"] == "Made"
    assert emulator.control("GET", "metrics", namespace="AWS/Lambda", name="Invocations")["metrics"]


def test_a_function_is_told_by_which_alias_it_was_invoked(emulator, function, client):
    arn = function("worker")
    lambda_ = client("lambda")
    lambda_.create_alias(FunctionName="worker", Name="operator", FunctionVersion="$LATEST")
    assert invoke(emulator, "worker", {})["Payload"]["arn"] == arn
    assert invoke(emulator, "worker", {}, Qualifier="operator")["Payload"]["arn"] == f"{arn}:operator"
    assert invoke(emulator, "worker:operator", {})["Payload"]["arn"] == f"{arn}:operator"
    assert invoke(emulator, "worker", {}, Qualifier="$LATEST")["Payload"]["arn"] == arn
    for wrong in ({"Qualifier": "other"}, {"Qualifier": "1"}):
        with pytest.raises(lambda_.exceptions.ResourceNotFoundException):
            invoke(emulator, "worker", {}, **wrong)


def test_a_permission_of_the_function_is_none_of_its_alias(emulator, function, client):
    """LMB-1: so a rule can't invoke what only people may."""
    arn = function("worker")
    client("lambda").create_alias(FunctionName="worker", Name="operator", FunctionVersion="$LATEST")
    rule = client("events").put_rule(Name="r", EventPattern='{"source": ["com.example"]}')["RuleArn"]
    client("lambda").add_permission(
        FunctionName="worker", StatementId="r", Action="lambda:InvokeFunction", Principal="events.amazonaws.com", SourceArn=rule
    )
    targets = [{"Id": "by-name", "Arn": arn}, {"Id": "by-alias", "Arn": f"{arn}:operator", "Input": '{"trigger": "command"}'}]
    client("events").put_targets(Rule="r", Targets=targets)
    client("events").put_events(Entries=[{"Source": "com.example", "DetailType": "x", "Detail": "{}"}])
    (record,) = eventually(lambda: invocations(emulator))
    assert record["arn"] == arn and record["event"]["source"] == "com.example"
    (failure,) = emulator.control("GET", "delivery-failures")["failures"]
    assert (failure["target"], failure["code"]) == (f"{arn}:operator", "NO_PERMISSIONS")
