"""SNS's subscriptions: one by mail counts when its reader has confirmed it, until it is flooded.

moto confirms every subscription at once, counts none, and has no limit.
"""

from __future__ import annotations

import time
from typing import Any

from moto.sns.models import SNSBackend, Subscription, Topic, sns_backends
from moto.sns.responses import SNSResponse

from emulator import control
from emulator.context import context
from emulator.patching import patched
from emulator.settings import settings

CONFIRMED_BY_THEIR_READER = {"email", "email-json", "http", "https"}
MAILS_PER_SECOND = 10
"""Above it, SNS switches a subscription by mail off (SNS-4)."""


def is_pending(subscription: Subscription) -> bool:
    return subscription.attributes["PendingConfirmation"]


def _set_pending(subscription: Subscription, pending: bool) -> None:
    subscription.attributes |= {"PendingConfirmation": pending, "ConfirmationWasAuthenticated": False}


def confirmed(topic: Topic) -> list[Subscription]:
    return [s for s in topic.sns_backend.subscriptions.values() if s.topic == topic and not is_pending(s)]


@patched(SNSBackend)
def subscribe(original: Any, self: SNSBackend, topic_arn: str, endpoint: str, protocol: str) -> Subscription:
    known = set(self.subscriptions)
    subscription = original(self, topic_arn, endpoint, protocol)
    if subscription.arn not in known and protocol in CONFIRMED_BY_THEIR_READER:
        _set_pending(subscription, not settings.subscribers_confirm)
    return subscription


@patched(SNSBackend)
def unsubscribe(original: Any, self: SNSBackend, subscription_arn: str) -> None:
    if subscription := self.subscriptions.get(subscription_arn):
        subscription.topic.subscriptions_deleted += 1
    original(self, subscription_arn)


@patched(Subscription)
def publish(original: Any, self: Subscription, *arguments: Any, **keywords: Any) -> None:
    if is_pending(self):
        return
    if self.protocol in ("email", "email-json"):
        # moto sends no mail.
        recent = [moment for moment in getattr(self, "mails", []) if time.time() - moment < 1]
        self.mails = [*recent, time.time()]
        if len(self.mails) > MAILS_PER_SECOND:
            _set_pending(self, True)
        return
    original(self, *arguments, **keywords)


@patched(SNSResponse)
def get_topic_attributes(original: Any, self: SNSResponse) -> Any:
    topic = self.backend.get_topic(self._get_param("TopicArn"))
    everyone = self.backend._get_topic_subscriptions(topic)
    topic.subscriptions_pending = sum(is_pending(s) for s in everyone)
    topic.subscriptions_confimed = len(everyone) - topic.subscriptions_pending
    return original(self)


@patched(SNSResponse, "subscribe")
def answer_subscribe(original: Any, self: SNSResponse) -> Any:
    answer = original(self)
    subscription = self.backend.subscriptions[answer.result["SubscriptionArn"]]
    if is_pending(subscription) and not self._get_param("ReturnSubscriptionArn"):
        answer.result["SubscriptionArn"] = "pending confirmation"
    return answer


@patched(SNSResponse)
def list_subscriptions(original: Any, self: SNSResponse) -> Any:
    return _without_arns_of_pending(original(self))


@patched(SNSResponse)
def list_subscriptions_by_topic(original: Any, self: SNSResponse) -> Any:
    return _without_arns_of_pending(original(self))


def _without_arns_of_pending(answer: Any) -> Any:
    answer.result["Subscriptions"] = [
        {
            "SubscriptionArn": "PendingConfirmation" if is_pending(s) else s.arn,
            "Owner": s.owner,
            "Protocol": s.protocol,
            "Endpoint": s.endpoint,
            "TopicArn": s.topic_arn,
        }
        for s in answer.result["Subscriptions"]
    ]
    return answer


@control.route("POST", "subscriptions")
def set_state(body: dict[str, Any]) -> Any:
    """Their readers confirm them, or SNS switches them off: {"confirmed": BOOL, "topic"?: ARN, "endpoint"?: ADDRESS}."""
    if not isinstance(body.get("confirmed"), bool):
        raise control.ControlError('"confirmed" is true or false')
    changed = [
        subscription
        for subscription in sns_backends[context.account_id][context.region].subscriptions.values()
        if subscription.protocol in CONFIRMED_BY_THEIR_READER
        and body.get("topic") in (None, subscription.topic_arn)
        and body.get("endpoint") in (None, subscription.endpoint)
    ]
    if not changed:
        raise control.ControlError("no subscription by mail or to a web address that is meant")
    for subscription in changed:
        _set_pending(subscription, not body["confirmed"])
    return {"subscriptions": [subscription.endpoint for subscription in changed]}
