"""Subscriptions: who really gets what is published."""

import pytest

MAIL = "ops@example.com"


@pytest.fixture
def counts(client, topic):
    def count():
        attributes = client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]
        return tuple(attributes[f"Subscriptions{state}"] for state in ("Confirmed", "Pending", "Deleted"))

    return count


@pytest.fixture
def subscribed(client, topic):
    return client("sns").subscribe(TopicArn=topic, Protocol="email", Endpoint=MAIL, ReturnSubscriptionArn=True)[
        "SubscriptionArn"
    ]


def is_pending(client, arn):
    return client("sns").get_subscription_attributes(SubscriptionArn=arn)["Attributes"]["PendingConfirmation"]


def test_a_mail_address_counts_when_its_reader_has_confirmed_it(emulator, client, topic, counts, subscribed):
    assert (counts(), is_pending(client, subscribed)) == (("0", "1", "0"), "true")
    (listed,) = client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert (listed["SubscriptionArn"], listed["Endpoint"]) == ("PendingConfirmation", MAIL)
    client("sns").publish(TopicArn=topic, Message="m")
    assert emulator.control("POST", "subscriptions", confirmed=True) == {"subscriptions": [MAIL]}
    assert (counts(), is_pending(client, subscribed)) == (("1", "0", "0"), "false")
    (listed,) = client("sns").list_subscriptions()["Subscriptions"]
    assert listed["SubscriptionArn"] == subscribed
    client("sns").publish(TopicArn=topic, Message="m")
    assert [n["subscribers"] for n in emulator.control("GET", "notices")["notices"]] == [0, 1]
    client("sns").unsubscribe(SubscriptionArn=subscribed)
    assert counts() == ("0", "0", "1")


def test_the_answer_names_no_arn_before(client, topic):
    subscribe = {"TopicArn": topic, "Protocol": "https", "Endpoint": "https://hooks.example.com/x"}
    assert client("sns").subscribe(**subscribe)["SubscriptionArn"] == "pending confirmation"
    # Nothing is sent there, so nobody misses the server.
    client("sns").publish(TopicArn=topic, Message="m")


def test_a_reader_may_confirm_at_once(emulator, client, counts, topic):
    emulator.control("PATCH", "settings", subscribers_confirm=True)
    client("sns").subscribe(TopicArn=topic, Protocol="email", Endpoint=MAIL)
    assert counts() == ("1", "0", "0")


def test_a_flood_of_mails_switches_a_subscription_off(emulator, client, topic, counts, subscribed):
    emulator.control("POST", "subscriptions", confirmed=True, topic=topic)
    for _ in range(10):
        client("sns").publish(TopicArn=topic, Message="m")
    assert counts() == ("1", "0", "0")
    for _ in range(10):
        client("sns").publish(TopicArn=topic, Message="m")
    assert counts() == ("0", "1", "0")


def test_which_subscriptions_are_meant(emulator, client, topic, counts, subscribed):
    client("sns").subscribe(TopicArn=topic, Protocol="email", Endpoint="boss@example.com")
    emulator.control("POST", "subscriptions", confirmed=True, endpoint=MAIL)
    assert counts() == ("1", "1", "0")
    emulator.control("POST", "subscriptions", confirmed=False)
    assert counts() == ("0", "2", "0")
    for wrong in ({"confirmed": True, "endpoint": "nobody@example.com"}, {}, {"confirmed": "yes"}):
        with pytest.raises(Exception, match="confirmed|no subscription"):
            emulator.control("POST", "subscriptions", **wrong)
