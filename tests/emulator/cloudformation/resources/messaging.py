"""AWS::SNS::Topic, TopicPolicy, Subscription; AWS::SQS::Queue, QueuePolicy."""

from __future__ import annotations

import json
from typing import Any

from emulator.cloudformation.resources import Handler, Put, ResourceContext, client, handles, unless_gone
from emulator.context import context


def _attributes(properties: dict[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    """Attributes of SNS and SQS are text; documents are JSON."""
    attributes = {}
    for name in names:
        if name in properties:
            value = properties[name]
            if isinstance(value, bool):
                value = str(value).lower()
            attributes[name] = json.dumps(value) if isinstance(value, (dict, list)) else str(value)
    return attributes


@handles
class Topic(Handler):
    type = "AWS::SNS::Topic"
    _settable = ("DisplayName", "KmsMasterKeyId")
    properties = frozenset({*_settable, "Subscription", "Tags", "TopicName"})
    replaced_by = frozenset({"TopicName", "Subscription"})

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        name = properties.get("TopicName") or ctx.physical_name()
        arn = client("sns").create_topic(
            Name=name, Attributes=_attributes(properties, self._settable), Tags=ctx.tag_list(properties)
        )["TopicArn"]
        for subscription in properties.get("Subscription", []):
            client("sns").subscribe(TopicArn=arn, **subscription)
        return arn, {"TopicName": name, "TopicArn": arn}

    def update(self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        unset = {name: "" for name in self._settable if name in old}
        for name, value in (unset | _attributes(new, self._settable)).items():
            client("sns").set_topic_attributes(TopicArn=physical_id, AttributeName=name, AttributeValue=value)
        if tags := ctx.tag_list(new):
            client("sns").tag_resource(ResourceArn=physical_id, Tags=tags)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        client("sns").delete_topic(TopicArn=physical_id)


@handles
class TopicPolicy(Put):
    type = "AWS::SNS::TopicPolicy"
    properties = frozenset({"PolicyDocument", "Topics"})
    required = properties
    replaced_by = frozenset({"Topics"})

    def put(self, properties: dict[str, Any]) -> None:
        for topic in properties["Topics"]:
            client("sns").set_topic_attributes(
                TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps(properties["PolicyDocument"])
            )

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        sns = client("sns")
        for topic in properties["Topics"]:
            # A topic can't be without a policy: the owner's own remains.
            owner = {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"AWS": f"arn:aws:iam::{context.account_id}:root"},
                        "Action": "sns:Publish",
                        "Resource": topic,
                    }
                ],
            }
            with unless_gone():
                sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps(owner))


@handles
class Subscription(Handler):
    type = "AWS::SNS::Subscription"
    _defaults = {"FilterPolicy": "{}", "RawMessageDelivery": "false", "RedrivePolicy": "{}"}
    _settable = tuple(_defaults)
    properties = frozenset({*_settable, "Endpoint", "Protocol", "TopicArn"})
    required = frozenset({"Protocol", "TopicArn"})
    replaced_by = frozenset({"Endpoint", "Protocol", "TopicArn"})

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        arn = client("sns").subscribe(
            TopicArn=properties["TopicArn"],
            Protocol=properties["Protocol"],
            Endpoint=properties["Endpoint"],
            Attributes=_attributes(properties, self._settable),
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        return arn, {"Arn": arn}

    def update(self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        unset = {name: value for name, value in self._defaults.items() if name in old}
        for name, value in (unset | _attributes(new, self._settable)).items():
            client("sns").set_subscription_attributes(
                SubscriptionArn=physical_id, AttributeName=name, AttributeValue=value
            )

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        client("sns").unsubscribe(SubscriptionArn=physical_id)


@handles
class Queue(Handler):
    type = "AWS::SQS::Queue"
    _defaults = {
        "DelaySeconds": "0",
        "KmsMasterKeyId": "",
        "MaximumMessageSize": "1048576",
        "MessageRetentionPeriod": "345600",
        "ReceiveMessageWaitTimeSeconds": "0",
        "RedrivePolicy": "",
        "SqsManagedSseEnabled": "true",
        "VisibilityTimeout": "30",
    }
    _settable = tuple(_defaults)
    properties = frozenset({*_settable, "QueueName", "Tags"})
    replaced_by = frozenset({"QueueName"})

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        name = properties.get("QueueName") or ctx.physical_name(80)
        sqs = client("sqs")
        url = sqs.create_queue(
            QueueName=name, Attributes=_attributes(properties, self._settable), tags=ctx.tags(properties)
        )["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        return url, {"Arn": arn, "QueueName": name, "QueueUrl": url}

    def update(self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        unset = {name: value for name, value in self._defaults.items() if name in old}
        if attributes := unset | _attributes(new, self._settable):
            if attributes.get("KmsMasterKeyId"):
                attributes["SqsManagedSseEnabled"] = "false"  # SQS takes one of the two
            # moto forgets the policy with each change.
            kept = client("sqs").get_queue_attributes(QueueUrl=physical_id, AttributeNames=["Policy"])
            client("sqs").set_queue_attributes(QueueUrl=physical_id, Attributes=kept.get("Attributes", {}) | attributes)
        if tags := ctx.tags(new):
            client("sqs").tag_queue(QueueUrl=physical_id, Tags=tags)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        client("sqs").delete_queue(QueueUrl=physical_id)


@handles
class QueuePolicy(Put):
    type = "AWS::SQS::QueuePolicy"
    properties = frozenset({"PolicyDocument", "Queues"})
    required = properties
    replaced_by = frozenset({"Queues"})

    def put(self, properties: dict[str, Any]) -> None:
        for queue in properties["Queues"]:
            client("sqs").set_queue_attributes(
                QueueUrl=queue, Attributes={"Policy": json.dumps(properties["PolicyDocument"])}
            )

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        for queue in properties["Queues"]:
            with unless_gone():
                client("sqs").set_queue_attributes(QueueUrl=queue, Attributes={"Policy": ""})
