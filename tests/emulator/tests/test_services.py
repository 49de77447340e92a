"""SNS, SSM, logs and the rest: limits and errors as AWS has them."""

import json

import pytest


def test_notices_can_be_read(emulator, client, topic):
    client("sns").publish(TopicArn=topic, Subject="s", Message="m" * 1000)
    (notice,) = emulator.control("GET", "notices")["notices"]
    assert (notice["topic"], notice["subject"], notice["message"]) == (topic, "s", "m" * 1000)


def test_each_protocol_gets_its_form(emulator, client, topic):
    queue = client("sqs").create_queue(QueueName="forwarded")["QueueUrl"]
    arn = client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
    chat = {"version": "1.0", "source": "custom", "content": {"description": "in short"}}

    def publish(**forms):
        message = json.dumps({"default": "in full", **forms})
        client("sns").publish(TopicArn=topic, Message=message, MessageStructure="json")
        notice = emulator.control("GET", "notices")["notices"][-1]
        (received,) = client("sqs").receive_message(QueueUrl=queue)["Messages"]
        client("sqs").delete_message(QueueUrl=queue, ReceiptHandle=received["ReceiptHandle"])
        return notice["message"], notice["chat"], notice["sms"], received["Body"]

    assert publish(https=json.dumps(chat), sms="short") == ("in full", chat, "short", "in full")
    assert publish(sqs="for the queue", email="by mail") == ("by mail", None, "in full", "for the queue")
    # What isn't a string counts as absent; an empty string doesn't.
    assert publish(sqs=7, unheard_of="x") == ("in full", None, "in full", "in full")
    assert publish(sqs="")[3] == ""


def test_a_form_that_is_given_twice(emulator, client, topic):
    with pytest.raises(client("sns").exceptions.InvalidParameterException, match="failed to parse"):
        client("sns").publish(TopicArn=topic, Message='{"default": "a", "default": "b"}', MessageStructure="json")
    assert emulator.control("GET", "notices")["notices"] == []


@pytest.mark.parametrize(
    "content",
    [
        {"title": "no description"},
        {"description": "d", "title": "t" * 251},
        {"description": "d" * 8001},
        {"description": "d", "nextSteps": "no list"},
        {"description": "d", "keywords": [1]},
        {"description": "d", "textType": "html"},
    ],
)
def test_what_a_chat_would_drop(emulator, client, topic, content):
    chat = json.dumps({"version": "1.0", "source": "custom", "content": content})
    client("sns").publish(
        TopicArn=topic, Message=json.dumps({"default": "x", "https": chat}), MessageStructure="json"
    )
    assert emulator.control("GET", "notices")["notices"][-1]["chat"] is None


def test_a_topic_that_does_not_exist(client, topic):
    with pytest.raises(client("sns").exceptions.NotFoundException, match="Topic does not exist"):
        client("sns").get_topic_attributes(TopicArn=topic + "x")


def test_parameters(client):
    ssm = client("ssm")
    with pytest.raises(ssm.exceptions.ParameterNotFound) as raised:
        ssm.get_parameter(Name="/ec2-guardrails/policy")
    assert raised.value.response["Error"]["Message"] == "", "Systems Manager says the code alone"
    ssm.put_parameter(Name="/p", Type="String", Value="x" * 4096)
    with pytest.raises(ssm.exceptions.ClientError, match="maximum parameter value of 4096"):
        ssm.put_parameter(Name="/p", Type="String", Value="x" * 4097, Overwrite=True)
    ssm.put_parameter(Name="/p", Type="String", Value="x" * 8192, Tier="Advanced", Overwrite=True)
    with pytest.raises(ssm.exceptions.ClientError, match="maximum parameter value of 8192"):
        ssm.put_parameter(Name="/q", Type="String", Value="x" * 8193, Tier="Intelligent-Tiering")
    with pytest.raises(ssm.exceptions.ClientError, match="can't nest another parameter"):
        ssm.put_parameter(Name="/q", Type="String", Value="a: 1 # {{ssm:/p}}")
    assert (
        ssm.put_parameter(Name="/q", Type="String", Value="x" * 5000, Tier="Intelligent-Tiering")["Tier"] == "Advanced"
    )


def test_an_unknown_call_is_not_taken_for_something_to_retry(client):
    for service, call in {
        "ec2": lambda c: c.describe_aggregate_id_format(),
        "ssm": lambda c: c.describe_instance_properties(),
        "lambda": lambda c: c.list_code_signing_configs(),
    }.items():
        with pytest.raises(client(service).exceptions.ClientError) as raised:
            call(client(service))
        response = raised.value.response
        assert response["Error"]["Code"] in ("InvalidAction", "UnknownOperationException")
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_settings_are_checked_and_reset(emulator):
    assert emulator.control("PATCH", "settings", async_retry_scale=0.5)["async_retry_scale"] == 0.5
    for wrong in ({"async_retry_scale": "fast"}, {"unheard_of": 1}, {"async_retry_scale": -1}):
        with pytest.raises(Exception, match="setting"):
            emulator.control("PATCH", "settings", **wrong)
    emulator.control("POST", "reset")
    assert emulator.control("GET", "settings")["async_retry_scale"] == 1.0
