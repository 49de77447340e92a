#!/usr/bin/env python3
"""Replays the dead letters of an ec2-guardrails stack: docs/operations.md, "Dead letters".

    make replay STACK=ec2-guardrails                          (from a checkout)
    python3 docs/replay.py --stack ec2-guardrails [--region eu-central-1] [--dry-run]

Needs Python and boto3, as AWS CloudShell has them, and permission for cloudformation:DescribeStacks,
sqs:ReceiveMessage, sqs:ChangeMessageVisibility, sqs:DeleteMessage and lambda:InvokeFunction.

A letter goes to the function that it names, asynchronously, and is deleted once Lambda has accepted it. It stays in
the queue when it names no function of the stack, when it is a person's command, or when Lambda refuses it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

# Longer than this runs; what is received stays hidden so long, unless it is given back before.
HIDDEN_SECONDS = 900


class Stays(Exception):
    """The letter can't be replayed, and why."""


@dataclass(frozen=True)
class Letter:
    """What a dead letter asks of which function."""

    function: str
    payload: Any
    what: str
    why: str

    @property
    def key(self) -> tuple[str, str]:
        """The same for letters that ask for the same: all sweeps of a function, an event that came twice."""
        return self.function, json.dumps(self.payload, sort_keys=True)


def read(message: dict[str, Any], functions: set[str]) -> Letter:
    """Attributes a message of the queue to a function. The three senders each have a form of their own (DLQ-1)."""
    attributes = {name: value.get("StringValue", "") for name, value in message.get("MessageAttributes", {}).items()}
    body = decoded(message["Body"])
    if attributes.get("IS_PAYLOAD_TRUNCATED", "").lower() == "true":
        raise Stays("it was cut to fit into the queue")
    if "TARGET_ARN" in attributes:
        arn, payload = attributes["TARGET_ARN"], body
        if "SCHEDULE_ARN" in attributes and isinstance(body, dict) and "FunctionName" in body:
            # A rule's letter is the event; a schedule's the call of Lambda's API that it stands for, with the input.
            arn, payload = body["FunctionName"], decoded(body.get("Payload"))
        why = f"{attributes.get('ERROR_CODE', 'no error code')}: {attributes.get('ERROR_MESSAGE', '')}"
    elif isinstance(body, dict) and "requestPayload" in body and "functionArn" in body.get("requestContext", {}):
        # The function's own: the record that Lambda sends to a destination.
        arn, payload = body["requestContext"]["functionArn"], body["requestPayload"]
        answer = body.get("responsePayload")
        answer = answer if isinstance(answer, dict) else {}
        condition = body["requestContext"].get("condition", "")
        why = f"{answer.get('errorType', condition)}: {answer.get('errorMessage', '')}"
    else:
        raise Stays("it doesn't say whose it is")
    parts = arn.split(":")
    if len(parts) < 7 or parts[2] != "lambda" or parts[6] not in functions:
        raise Stays(f"it is for {arn}, which is no function of this stack")
    if not isinstance(payload, dict):
        raise Stays("it holds no event")
    if payload.get("trigger") == "command":
        # An order was right when it was given; what is there now may be something else.
        raise Stays("it is a command: give it again if it is still wanted")
    return Letter(parts[6], payload, describe(payload), " ".join(why.split())[:300])


def decoded(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        raise Stays("its body is no JSON") from None


def describe(payload: dict[str, Any]) -> str:
    if payload.get("trigger") == "sweep":
        return "sweep"
    return f"{payload.get('detail-type', 'unknown event')} {payload.get('id', '')}".strip()


class Replay:
    def __init__(self, session: boto3.Session, stack: str, dry_run: bool) -> None:
        self.sqs, self.lambda_ = session.client("sqs"), session.client("lambda")
        self.dry_run = dry_run
        stacks = session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", [])}
        if "DeadLetterQueueUrl" not in outputs:
            raise SystemExit(f"error: the stack {stack} has no output DeadLetterQueueUrl; is it one of ec2-guardrails?")
        self.queue = outputs["DeadLetterQueueUrl"]
        self.functions = {value for key, value in outputs.items() if key.endswith("FunctionName")}
        self.accepted: set[tuple[str, str]] = set()
        self.replayed = self.again = self.stayed = 0

    def run(self) -> None:
        started, given_back = time.time(), []
        try:
            while messages := self._receive():
                for message in messages:
                    # What fails again comes back as a new letter: not in this run.
                    sent = int(message["Attributes"]["SentTimestamp"]) / 1000
                    if sent > started or not self._settle(message):
                        given_back.append(message)
        finally:
            for message in given_back:
                self.sqs.change_message_visibility(
                    QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
                )

    def _receive(self) -> list[dict[str, Any]]:
        answer = self.sqs.receive_message(
            QueueUrl=self.queue,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            AttributeNames=["SentTimestamp"],
            VisibilityTimeout=HIDDEN_SECONDS,
            # Asks all of SQS's servers, so that an empty answer means an empty queue.
            WaitTimeSeconds=2,
        )
        return answer.get("Messages", [])

    def _settle(self, message: dict[str, Any]) -> bool:
        """Whether the letter is done with."""
        try:
            letter = read(message, self.functions)
            note = self._invoke(letter)
        except Stays as stays:
            self.stayed += 1
            print(f"stays     {message['MessageId']}: {stays}")
            return False
        print(f"{note} {letter.function}: {letter.what}\n          had failed with {letter.why}")
        if self.dry_run:
            return False
        self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return True

    def _invoke(self, letter: Letter) -> str:
        if letter.key in self.accepted:
            self.again += 1
            return "same     "
        if not self.dry_run:
            try:
                answer = self.lambda_.invoke(
                    FunctionName=letter.function,
                    InvocationType="Event",
                    Payload=json.dumps(letter.payload).encode(),
                )
            except (BotoCoreError, ClientError) as error:
                raise Stays(f"{letter.function} couldn't be invoked: {error}") from None
            if answer["StatusCode"] != 202:
                raise Stays(f"{letter.function} was not accepted: status {answer['StatusCode']}")
        self.accepted.add(letter.key)
        self.replayed += 1
        return "replayed " if not self.dry_run else "would be "


def main() -> int:
    parser = argparse.ArgumentParser(description="Replays the dead letters of an ec2-guardrails stack.")
    parser.add_argument("--stack", required=True, help="the stack's name")
    parser.add_argument("--region", help="its Region (default: the one that is configured)")
    parser.add_argument("--dry-run", action="store_true", help="only list what would be done")
    arguments = parser.parse_args()
    try:
        replay = Replay(boto3.Session(region_name=arguments.region), arguments.stack, arguments.dry_run)
        replay.run()
    except (BotoCoreError, ClientError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    done = "would be replayed" if arguments.dry_run else "replayed"
    print(f"{replay.replayed} {done}, {replay.again} more that ask for the same, {replay.stayed} stay in the queue")
    return 0 if replay.stayed == 0 else 2


if __name__ == "__main__":
    sys.exit(main())
