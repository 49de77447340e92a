"""Evaluation of policies, in this process."""

import pytest

from emulator import policies


def statement(condition=None, **changes):
    return (
        {"Effect": "Allow", "Action": "ec2:Delete*", "Resource": "*"}
        | changes
        | ({"Condition": condition} if condition else {})
    )


@pytest.mark.parametrize(
    ("condition", "keys", "allowed"),
    [
        ({"StringEquals": {"aws:RequestTag/a": "1"}}, {"aws:RequestTag/a": "1"}, True),
        ({"StringEquals": {"aws:RequestTag/a": "1"}}, {"AWS:requesttag/A": "1"}, True),
        ({"StringEquals": {"aws:RequestTag/a": ["1", "2"]}}, {"aws:RequestTag/a": "2"}, True),
        ({"StringEquals": {"aws:RequestTag/a": "1"}}, {}, False),
        ({"StringEqualsIfExists": {"aws:RequestTag/a": "1"}}, {}, True),
        ({"StringNotEquals": {"aws:RequestTag/a": "1"}}, {}, True),
        ({"StringNotEquals": {"aws:RequestTag/a": ["1", "2"]}}, {"aws:RequestTag/a": "2"}, False),
        ({"StringLike": {"k": "told-*"}}, {"k": "told-stale"}, True),
        ({"StringLike": {"k": "[a]*"}}, {"k": "abc"}, False),
        ({"ForAllValues:StringEquals": {"k": ["a", "b"]}}, {"k": ["a", "b"]}, True),
        ({"ForAllValues:StringEquals": {"k": ["a", "b"]}}, {"k": ["a", "c"]}, False),
        ({"ForAllValues:StringEquals": {"k": ["a"]}}, {}, True),
        ({"ForAnyValue:StringEquals": {"k": ["a"]}}, {"k": ["c", "a"]}, True),
        ({"ForAnyValue:StringEquals": {"k": ["a"]}}, {}, False),
        ({"Null": {"k": "true"}}, {}, True),
        ({"Null": {"k": "false"}}, {}, False),
        ({"Bool": {"aws:SecureTransport": "false"}}, {}, False),
        (
            {"ArnLike": {"aws:SourceArn": "arn:aws:events:*:rule/x"}},
            {"aws:SourceArn": "arn:aws:events:e:1:rule/x"},
            True,
        ),
        ({"NumericLessThan": {"k": "5"}}, {"k": "4"}, True),
        ({"StringEquals": {"a": "1", "b": "2"}}, {"a": "1"}, False),
        ({"StringEquals": {"a": "1"}, "Bool": {"b": "true"}}, {"a": "1"}, False),
        ({"Bool": {"k": "false"}}, {"k": "False"}, True),
        ({"StringEquals": {"k": "x*"}}, {"k": "xy"}, False),
    ],
)
def test_conditions(condition, keys, allowed):
    document = {"Statement": [statement(condition)]}
    result = policies.evaluate([document], "ec2:DeleteSnapshot", "arn", keys)
    assert result == (policies.ALLOW if allowed else policies.NO_MATCH)


def test_actions_and_resources():
    def result(action="ec2:DeleteSnapshot", resource="arn:aws:ec2:r::snapshot/s", **changes):
        return policies.evaluate([{"Statement": statement(**changes)}], action, resource, {})

    assert result() == policies.ALLOW
    assert result(action="EC2:deletesnapshot") == policies.ALLOW
    assert result(action="ec2:CreateTags") == policies.NO_MATCH
    assert result(Resource="arn:aws:ec2:R::snapshot/*") == policies.NO_MATCH
    assert result(Resource="arn:aws:ec2:r::volume/*") == policies.NO_MATCH
    assert result(Resource=["arn:aws:ec2:r::volume/*", "arn:aws:ec2:?::snapshot/*"]) == policies.ALLOW


def test_a_denial_wins():
    documents = [{"Statement": [statement()]}, {"Statement": [statement(Effect="Deny", Resource="arn:*")]}]
    assert policies.evaluate(documents, "ec2:DeleteVolume", "arn:x", {}) == policies.DENY


def test_principals():
    def result(principal, who):
        document = {"Statement": [statement(Principal=principal)]}
        return policies.evaluate([document], "ec2:DeleteVolume", "x", {}, principal=who)

    assert result({"Service": "events.amazonaws.com"}, "events.amazonaws.com") == policies.ALLOW
    assert result({"Service": "sns.amazonaws.com"}, "events.amazonaws.com") == policies.NO_MATCH
    assert result({"AWS": "*"}, "events.amazonaws.com") == policies.NO_MATCH
    assert result("*", "events.amazonaws.com") == policies.ALLOW


def test_an_unknown_operator_is_not_taken_as_met():
    with pytest.raises(NotImplementedError):
        policies.evaluate(
            [{"Statement": [statement({"IpAddress": {"k": "10.0.0.0/8"}})]}], "ec2:DeleteVolume", "x", {"k": "1"}
        )
