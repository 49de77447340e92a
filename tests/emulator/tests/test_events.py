"""EventBridge: rules send events on, and only AWS speaks for aws.*."""

import json

import pytest
from conftest import ACCOUNT, REGION, trust


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

    def create(name="q", permit=True):
        url = client("sqs").create_queue(QueueName=name)["QueueUrl"]
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        if permit:
            statement = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"},
                         "Action": "sqs:SendMessage", "Resource": arn}  # fmt: skip
            policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
            client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})

        def receive():
            messages = client("sqs").receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
            )
            return messages.get("Messages", [])

        return arn, receive

    return create


@pytest.fixture
def forwarder(client):
    """forwarder(name, bus) makes a role with which EventBridge may put events onto a bus."""

    def create(name, bus):
        role = client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trust("events"))["Role"]["Arn"]
        statement = {"Effect": "Allow", "Action": "events:PutEvents", "Resource": bus}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        client("iam").put_role_policy(RoleName=name, PolicyName="forward", PolicyDocument=policy)
        return role

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


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"Input": '{"fixed": 1}'}, {"fixed": 1}),
        ({"InputPath": "$.detail"}, {"event": "createSnapshot", "result": "failed"}),
        (
            {
                "InputTransformer": {
                    "InputPathsMap": {"what": "$.detail.event", "all": "$.detail"},
                    "InputTemplate": '{"text": "it was <what>", "value": <what>, "detail": <all>}',
                }
            },
            {
                "text": "it was createSnapshot",
                "value": "createSnapshot",
                "detail": {"event": "createSnapshot", "result": "failed"},
            },
        ),
    ],
)
def test_inputs_to_a_queue(emulator, queue, rule, target, expected):
    arn, receive = queue()
    rule(SNAPSHOT_FAILED, arn, **target)
    emit(emulator, event="createSnapshot", result="failed")
    (message,) = receive()
    assert json.loads(message["Body"]) == expected


def test_a_rule_sends_to_a_topic(emulator, client, rule):
    topic = client("sns").create_topic(Name="t")["TopicArn"]
    statement = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"},
                 "Action": "sns:Publish", "Resource": topic}  # fmt: skip
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    client("sns").set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
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


def test_a_schedule_of_a_rule(emulator, client, function, rule):
    arn = client("events").put_rule(Name="often", ScheduleExpression="rate(1 minute)")["RuleArn"]
    target = function("worker")
    client("events").put_targets(Rule="often", Targets=[{"Id": "1", "Arn": target, "Input": '{"trigger": "sweep"}'}])
    client("lambda").add_permission(FunctionName=target, StatementId="s", Action="lambda:InvokeFunction",
                                    Principal="events.amazonaws.com", SourceArn=arn)  # fmt: skip
    # Unlike a schedule's, a rule's rate first waits; events of the bus are none of its business.
    emit(emulator, event="createSnapshot", result="failed")
    emulator.control("POST", "wait-idle")
    assert emulator.control("GET", "invocations")["invocations"] == []


def test_event_goes_on_to_another_bus_as_the_role_allows(client, emulator, rule, queue, forwarder):
    arn, receive = queue()
    client("events").create_event_bus(Name="findings")
    bus = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/findings"
    client("events").put_rule(Name="all", EventBusName="findings", EventPattern=json.dumps({"source": ["aws.ec2"]}))
    client("events").put_targets(Rule="all", EventBusName="findings", Targets=[{"Id": "1", "Arn": arn}])
    allowed, refused = forwarder("forward", bus), forwarder("useless", bus + "2")
    rule(SNAPSHOT_FAILED, bus, RoleArn=refused)
    emit(emulator, event="createSnapshot", result="failed")
    assert receive() == []
    rule(SNAPSHOT_FAILED, bus, RoleArn=allowed)
    emit(emulator, event="createSnapshot", result="failed")
    (message,) = receive()
    assert json.loads(message["Body"])["detail"] == {"event": "createSnapshot", "result": "failed"}


def test_a_bus_that_does_not_exist_is_a_failed_delivery(emulator, rule, forwarder):
    bus = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/nowhere"
    rule(SNAPSHOT_FAILED, bus, RoleArn=forwarder("forward", bus))
    emit(emulator, event="createSnapshot", result="failed")
    (failure,) = emulator.control("DELETE", "delivery-failures")["failures"]
    assert emulator.control("GET", "delivery-failures")["failures"] == []
    assert failure["code"] == "NO_RESOURCE"
