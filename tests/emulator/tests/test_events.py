"""EventBridge: rules send events on, and only AWS speaks for aws.*."""

import json

import pytest
from conftest import ACCOUNT, REGION, allow, make_role, policy

EVENTBRIDGE = {"Principal": {"Service": "events.amazonaws.com"}}


@pytest.fixture
def rule(client):
    """rule(pattern, target_arn, **target) makes a rule with one target, and lets it send to it."""

    def create(pattern, target_arn, name="r", permit=True, **target):
        arn = client("events").put_rule(Name=name, EventPattern=json.dumps(pattern))["RuleArn"]
        answer = client("events").put_targets(Rule=name, Targets=[{"Id": "1", "Arn": target_arn, **target}])
        assert answer["FailedEntryCount"] == 0
        if permit and ":lambda:" in target_arn:
            client("lambda").add_permission(
                FunctionName=target_arn,
                StatementId=name,
                Action="lambda:InvokeFunction",
                Principal="events.amazonaws.com",
                SourceArn=arn,
            )
        return arn

    return create


@pytest.fixture
def queue(client):
    """A queue that EventBridge may send to: (arn, receive)."""

    def create():
        url = client("sqs").create_queue(QueueName="q")["QueueUrl"]
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:q"
        may = policy(allow("sqs:SendMessage", arn) | EVENTBRIDGE)
        client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": may})

        def receive():
            messages = client("sqs").receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
            )
            return messages.get("Messages", [])

        return arn, receive

    return create


SNAPSHOT_FAILED = {"source": ["aws.ec2"], "detail": {"event": ["createSnapshot"], "result": ["failed"]}}


def emit(emulator, **detail):
    return emulator.control(
        "POST", "emit", source="aws.ec2", detail_type="EBS Snapshot Notification",
        resources=[f"arn:aws:ec2:{REGION}::snapshot/snap-1"], detail=detail, time="2026-01-02T03:04:05Z",
    )["id"]  # fmt: skip


def test_a_rule_sends_matching_events_to_a_function(emulator, function, rule):
    rule(SNAPSHOT_FAILED, function("worker"))
    event_id = emit(emulator, event="createSnapshot", result="failed")
    emit(emulator, event="createSnapshot", result="succeeded")
    assert emulator.control("POST", "wait-idle")["idle"]
    (record,) = emulator.control("GET", "invocations")["invocations"]
    assert record["event"] == {
        "version": "0",
        "id": event_id,
        "detail-type": "EBS Snapshot Notification",
        "source": "aws.ec2",
        "account": ACCOUNT,
        "time": "2026-01-02T03:04:05Z",
        "region": REGION,
        "resources": [f"arn:aws:ec2:{REGION}::snapshot/snap-1"],
        "detail": {"event": "createSnapshot", "result": "failed"},
    }
    assert (record["kind"], record["source"], record["outcome"]) == ("async", "rule r", "success")


def test_a_function_without_permission_is_not_invoked_and_the_dead_letter_says_why(emulator, function, rule, queue):
    dead_letters, receive = queue()
    arn = rule(SNAPSHOT_FAILED, function("worker"), permit=False, DeadLetterConfig={"Arn": dead_letters})
    emit(emulator, event="createSnapshot", result="failed")
    assert emulator.control("GET", "invocations")["invocations"] == []
    (message,) = receive()
    assert message["MessageAttributes"]["ERROR_CODE"]["StringValue"] == "NO_PERMISSIONS"
    assert message["MessageAttributes"]["RULE_ARN"]["StringValue"] == arn
    assert json.loads(message["Body"])["detail"]["result"] == "failed"
    (failure,) = emulator.control("GET", "delivery-failures")["failures"]
    assert "doesn't allow events.amazonaws.com to lambda:InvokeFunction" in failure["error"]


def test_a_disabled_rule_sends_nothing(emulator, client, queue, rule):
    arn, receive = queue()
    rule(SNAPSHOT_FAILED, arn)
    client("events").disable_rule(Name="r")
    emit(emulator, event="createSnapshot", result="failed")
    assert receive() == []


def test_an_input_to_a_queue(emulator, queue, rule):
    arn, receive = queue()
    rule(SNAPSHOT_FAILED, arn, Input='{"fixed": 1}')
    emit(emulator, event="createSnapshot", result="failed")
    (message,) = receive()
    assert json.loads(message["Body"]) == {"fixed": 1}


def test_a_rule_sends_to_a_topic(emulator, client, rule, topic):
    may = policy(allow("sns:Publish", topic) | EVENTBRIDGE)
    client("sns").set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=may)
    rule(SNAPSHOT_FAILED, topic)
    emit(emulator, event="createSnapshot", result="failed")
    (notice,) = emulator.control("GET", "notices")["notices"]
    assert json.loads(notice["message"])["detail"]["result"] == "failed"


def entry(**changes):
    return {"Source": "ec2-guardrails", "DetailType": "t", "Detail": "{}"} | changes


def test_events_of_clients(emulator, client, queue, rule):
    arn, receive = queue()
    rule({"source": ["ec2-guardrails"]}, arn)
    answer = client("events").put_events(
        Entries=[entry(Detail='{"a": 1}'), entry(Source="aws.ec2"), entry(Detail="nonsense"), entry(Detail="[]")]
    )
    assert answer["FailedEntryCount"] == 3
    codes = [e.get("ErrorCode") for e in answer["Entries"]]
    assert codes == [None, "NotAuthorizedForSourceException", "MalformedDetail", "MalformedDetail"]
    (message,) = receive()
    assert json.loads(message["Body"])["detail"] == {"a": 1}


def test_limits_of_put_events(client):
    error = client("events").exceptions.ClientError
    with pytest.raises(error, match="less than or equal to 10"):
        client("events").put_events(Entries=[entry()] * 11)
    with pytest.raises(error, match="Total size of the entries"):
        client("events").put_events(Entries=[entry(Detail=json.dumps({"a": "x" * 262_144}))])


def forwarder(iam, name, bus):
    """A role with which EventBridge may put events onto a bus."""
    return make_role(iam, name, "events", allow("events:PutEvents", bus))


def test_event_goes_on_to_another_bus_as_the_role_allows(client, iam, emulator, rule, queue):
    arn, receive = queue()
    client("events").create_event_bus(Name="findings")
    bus = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/findings"
    client("events").put_rule(Name="all", EventBusName="findings", EventPattern=json.dumps({"source": ["aws.ec2"]}))
    client("events").put_targets(Rule="all", EventBusName="findings", Targets=[{"Id": "1", "Arn": arn}])
    allowed, refused = forwarder(iam, "forward", bus), forwarder(iam, "useless", bus + "2")
    rule(SNAPSHOT_FAILED, bus, RoleArn=refused)
    emit(emulator, event="createSnapshot", result="failed")
    assert receive() == []
    rule(SNAPSHOT_FAILED, bus, RoleArn=allowed)
    emit(emulator, event="createSnapshot", result="failed")
    (message,) = receive()
    assert json.loads(message["Body"])["detail"] == {"event": "createSnapshot", "result": "failed"}


def test_a_bus_that_does_not_exist_is_a_failed_delivery(emulator, iam, rule):
    bus = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/nowhere"
    rule(SNAPSHOT_FAILED, bus, RoleArn=forwarder(iam, "forward", bus))
    emit(emulator, event="createSnapshot", result="failed")
    (failure,) = emulator.control("DELETE", "delivery-failures")["failures"]
    assert emulator.control("GET", "delivery-failures")["failures"] == []
    assert failure["code"] == "NO_RESOURCE"
