"""EventBridge Scheduler: schedules fire by the clock, and when a test says so."""

import json
import time

import pytest
from conftest import ACCOUNT, allow, make_role, policy
from ec2_help import eventually


@pytest.fixture
def schedule(client, function):
    """schedule(expression, **parameters) makes a schedule that invokes the function `worker`."""
    arn = function("worker")
    role = make_role(client("iam"), "sweep", "scheduler", allow("lambda:InvokeFunction", arn))

    def create(expression, name="sweep", role=role, target=None, **parameters):
        client("scheduler").create_schedule(
            Name=name,
            ScheduleExpression=expression,
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": arn, "RoleArn": role, "Input": '{"trigger": "sweep"}'} | (target or {}),
            **parameters,
        )

    return create


def invocations(emulator):
    emulator.control("POST", "wait-idle")
    return emulator.control("GET", "invocations")["invocations"]


def test_a_schedule_fires_at_once_on_demand(emulator, schedule):
    schedule("rate(1 hour)", State="DISABLED")
    request_id = emulator.control("POST", "schedules/fire", name="sweep")["request_id"]
    (record,) = invocations(emulator)
    assert record["request_id"] == request_id and record["event"] == {"trigger": "sweep"}
    assert (record["kind"], record["source"]) == ("async", "schedule sweep")


def test_a_rate_fires_first_when_it_is_created(emulator, schedule):
    schedule("rate(15 minutes)")
    eventually(lambda: invocations(emulator))
    time.sleep(0.6)
    assert len(invocations(emulator)) == 1


def test_neither_a_disabled_one_nor_any_when_the_setting_says_so(emulator, schedule):
    schedule("rate(1 minute)", name="off", State="DISABLED")
    emulator.control("PATCH", "settings", schedules_fire=False)
    schedule("rate(1 minute)")
    time.sleep(0.8)
    assert invocations(emulator) == []


def test_the_scheduled_time_in_the_input(emulator, schedule):
    schedule("rate(1 hour)", target={"Input": '{"at": "<aws.scheduler.scheduled-time>"}'}, State="DISABLED")
    emulator.control("POST", "schedules/fire", name="sweep")
    (record,) = invocations(emulator)
    assert record["event"]["at"].endswith("Z")


def test_a_role_that_may_not_invoke_sends_a_dead_letter(emulator, client, schedule):
    url = client("sqs").create_queue(QueueName="dead")["QueueUrl"]
    arn = client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    may = policy(allow("sqs:SendMessage", arn))
    client("iam").put_role_policy(RoleName="sweep", PolicyName="all", PolicyDocument=may)
    schedule("rate(1 hour)", target={"DeadLetterConfig": {"Arn": arn}}, State="DISABLED")
    assert emulator.control("POST", "schedules/fire", name="sweep")["request_id"] is None
    (message,) = client("sqs").receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert attributes.pop("SCHEDULE_ARN").endswith(":schedule/default/sweep")
    assert len(attributes.pop("EXECUTION_ID")) == 16 and attributes.pop("SCHEDULED_TIME").endswith("Z")
    assert "lambda:InvokeFunction" in attributes.pop("ERROR_MESSAGE")
    # A lack of permission is permanent, so there is no EXHAUSTED_RETRY_CONDITION.
    assert attributes == {
        "TARGET_ARN": "arn:aws:scheduler:::aws-sdk:lambda:invoke",
        "ERROR_CODE": "AccessDeniedException",
        "RETRY_ATTEMPTS": "0",
        "IS_PAYLOAD_TRUNCATED": "false",
    }
    body = json.loads(message["Body"])
    assert body["FunctionName"].endswith(":function:worker") and body["InvocationType"] == "Event"
    assert json.loads(body["Payload"]) == {"trigger": "sweep"}


@pytest.mark.parametrize("expression", ["rate(0 minutes)", "rate(1)", "often"])
def test_a_bad_expression_is_refused(client, schedule, expression):
    with pytest.raises(client("scheduler").exceptions.ValidationException, match="Invalid Schedule Expression"):
        schedule(expression)


def test_a_role_that_scheduler_cannot_assume_is_refused(client, schedule):
    with pytest.raises(
        client("scheduler").exceptions.ValidationException, match="must allow AWS EventBridge Scheduler"
    ):
        schedule("rate(1 hour)", role=f"arn:aws:iam::{ACCOUNT}:role/worker-role")
