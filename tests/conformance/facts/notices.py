"""Notices and dead letters."""

import json
from collections.abc import Callable
from contextlib import suppress

from conformance.account import Account, allow
from conformance.probe import NotTried, accepted, expect, expect_that, probe, refused, untried

MAILBOX = "success@simulator.amazonses.com"
"""AWS's own mailbox for tests."""


def topic(aws: Account) -> str:
    return aws.sns.create_topic(Name=aws.name("topic"))["TopicArn"]


@probe("SNS-1", must="InvalidParameter for each", seconds=3)
def what_a_notice_may_not_be(aws: Account) -> None:
    """Publishes subjects and messages that SNS doesn't take, and those just inside the limits."""
    arn = topic(aws)
    for subject in ("x" * 100, "two\nlines", "Zürich", " leading"):
        with refused("InvalidParameter", saying="Subject"):
            aws.sns.publish(TopicArn=arn, Subject=subject, Message="m")
    with accepted():
        aws.sns.publish(TopicArn=arn, Subject="x" * 99, Message="m" * 262_144)
    with refused("InvalidParameter", saying="Message too long"):
        aws.sns.publish(TopicArn=arn, Message="ü" * 131_073)


@probe("SNS-1", must="InvalidParameter without a default, or as no JSON object", seconds=3)
def forms_by_protocol(aws: Account) -> None:
    """Publishes with MessageStructure json."""
    arn = topic(aws)

    def publish(message: str) -> None:
        aws.sns.publish(TopicArn=arn, Message=message, MessageStructure="json")

    for message in ("plain text", "[]", '"text"'):
        with refused("InvalidParameter", saying="failed to parse"):
            publish(message)
    for message in ('{"https": "x"}', '{"default": 1}'):
        with refused("InvalidParameter", saying="No default entry"):
            publish(message)
    with accepted():
        publish(json.dumps({"default": "m", "https": 7, "unheard of": "x"}))
    half = "m" * 131_072
    with refused("InvalidParameter", saying="too long"):
        publish(json.dumps({"default": half, "https": half}))


@probe("SNS-5", must="NotFound: Topic does not exist", seconds=1)
def a_topic_that_does_not_exist(aws: Account) -> None:
    """Publishes to a topic that nobody made."""
    arn = f"arn:{aws.partition}:sns:{aws.region}:{aws.account_id}:{aws.name('nothing')}"
    with refused("NotFound", saying="Topic does not exist"):
        aws.sns.publish(TopicArn=arn, Message="m")


untried("SNS-2", "it takes a chat workspace that was joined by a person")


@probe("SNS-3", must="accepted without a subscription; a queue confirmed at once, a mail address pending", seconds=15)
def who_counts_as_subscribed(aws: Account) -> None:
    """Publishes to a topic that nobody has subscribed, then subscribes a queue and AWS's own mailbox for tests."""
    arn = topic(aws)

    def counts() -> tuple[str, str]:
        attributes = aws.sns.get_topic_attributes(TopicArn=arn)["Attributes"]
        return attributes["SubscriptionsConfirmed"], attributes["SubscriptionsPending"]

    with accepted():
        aws.sns.publish(TopicArn=arn, Message="nobody gets it")
    expect("confirmed and pending", counts(), ("0", "0"))
    queue = aws.arn_of_queue(aws.queue())
    aws.sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue)
    aws.sns.subscribe(TopicArn=arn, Protocol="email", Endpoint=MAILBOX)
    with suppress(NotTried):
        aws.eventually(lambda: counts() == ("1", "1"), "the counts", 60)
    expect("confirmed and pending", counts(), ("1", "1"))


untried("SNS-3", "a subscription that nobody confirms is gone after 48 hours")
untried("SNS-4", "it would mail somebody many times")


def letter(aws: Account, url: str, before: Callable[[], object] = lambda: None) -> tuple[dict, dict[str, str]]:
    message = aws.received(url, "the dead letter", lambda body: True, 300, before)
    return message["Body"], {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}


@probe("DLQ-1", must="the event, with RULE_ARN, TARGET_ARN, ERROR_CODE, ERROR_MESSAGE", seconds=60)
def a_rules_dead_letter(aws: Account) -> None:
    """Sends an event to a queue that doesn't let EventBridge in."""
    closed, dead, rule = aws.queue(), aws.queue("events"), aws.name("rule")
    arn = aws.events.put_rule(Name=rule, EventPattern=json.dumps({"source": [aws.prefix]}))["RuleArn"]
    target = aws.arn_of_queue(closed)
    aws.events.put_targets(
        Rule=rule,
        Targets=[{"Id": "closed", "Arn": target, "DeadLetterConfig": {"Arn": aws.arn_of_queue(dead)}}],
    )
    entry = {"Source": aws.prefix, "DetailType": "probe", "Detail": json.dumps({"n": 1})}
    # Again and again: EventBridge goes by a new rule after a while.
    event, attributes = letter(aws, dead, lambda: aws.events.put_events(Entries=[entry]))
    expect("the letter's detail", event.get("detail"), {"n": 1})
    expect("RULE_ARN", attributes.get("RULE_ARN"), arn)
    expect("TARGET_ARN", attributes.get("TARGET_ARN"), target)
    expect("ERROR_CODE", attributes.get("ERROR_CODE"), "NO_PERMISSIONS")
    expect_that("there is an ERROR_MESSAGE", attributes.get("ERROR_MESSAGE"), sorted(attributes))
    aws.note(f"attributes: {', '.join(sorted(attributes))}")


@probe("DLQ-1", must="the API call with the input, and the attributes with the service's own code", seconds=180)
def a_schedules_dead_letter(aws: Account) -> None:
    """Has a schedule send to a queue that is gone."""
    gone, dead, name = aws.queue(), aws.queue(), aws.name("schedule")
    target, letters = aws.arn_of_queue(gone), aws.arn_of_queue(dead)
    role = aws.role("scheduler", allow("sqs:SendMessage", resource=target), allow("sqs:SendMessage", resource=letters))
    aws.sqs.delete_queue(QueueUrl=gone)

    def create() -> str | None:
        """IAM's new role is known to Scheduler after some seconds."""
        try:
            return aws.scheduler.create_schedule(
                Name=name,
                ScheduleExpression="rate(1 minute)",
                FlexibleTimeWindow={"Mode": "OFF"},
                Target={
                    "Arn": target,
                    "RoleArn": aws.arn_of_role(role),
                    "Input": json.dumps({"trigger": "sweep"}),
                    "DeadLetterConfig": {"Arn": letters},
                    "RetryPolicy": {"MaximumRetryAttempts": 0},
                },
            )["ScheduleArn"]
        except aws.scheduler.exceptions.ValidationException as error:
            if "assume" not in str(error):
                raise
            return None

    arn = aws.eventually(create, "a role that Scheduler can assume", 60)
    body, attributes = letter(aws, dead)
    expect("the letter", body, {"MessageBody": json.dumps({"trigger": "sweep"}), "QueueUrl": gone})
    expect("SCHEDULE_ARN", attributes.get("SCHEDULE_ARN"), arn)
    expect("TARGET_ARN", attributes.get("TARGET_ARN"), f"arn:{aws.partition}:scheduler:::aws-sdk:sqs:sendMessage")
    for present in (
        "ERROR_CODE", "ERROR_MESSAGE", "EXECUTION_ID", "SCHEDULED_TIME", "RETRY_ATTEMPTS", "IS_PAYLOAD_TRUNCATED",
        "EXHAUSTED_RETRY_CONDITION",
    ):  # fmt: skip
        expect_that(f"there is {present}", attributes.get(present), sorted(attributes))
    code, exhausted = attributes["ERROR_CODE"], attributes["EXHAUSTED_RETRY_CONDITION"]
    expect_that("the code is the queue's", "NonExistentQueue" in code or "QueueDoesNotExist" in code, code)
    aws.note(f"code {code}, EXHAUSTED_RETRY_CONDITION {exhausted}; attributes: {', '.join(sorted(attributes))}")


untried("DLQ-1", "Lambda's record takes a function that fails")
