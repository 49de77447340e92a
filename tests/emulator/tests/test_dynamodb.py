"""Tables: who may reach which partition, and what AWS refuses or doesn't show."""

import time

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from conftest import ACCOUNT, REGION, allow
from test_authorization_services import Worker

TABLE = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/state"


@pytest.fixture
def table(client):
    """A table as the stack has it, and what a test does with it."""
    dynamodb = client("dynamodb")
    dynamodb.create_table(
        TableName="state",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("guardrail", "item")],
        KeySchema=[
            {"AttributeName": "guardrail", "KeyType": "HASH"},
            {"AttributeName": "item", "KeyType": "RANGE"},
        ],
    )
    dynamodb.update_time_to_live(
        TableName="state", TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
    )
    return Table(dynamodb)


def key(item, guardrail="ours"):
    return {"guardrail": {"S": guardrail}, "item": {"S": item}}


class Table:
    def __init__(self, dynamodb):
        self.dynamodb = dynamodb

    def put(self, item, options=None, **attributes):
        return self.dynamodb.put_item(TableName="state", Item=key(item) | attributes, **options or {})

    def delete(self, item, **options):
        return self.dynamodb.delete_item(TableName="state", Key=key(item), **options)

    def get(self, item, consistent=True):
        return self.dynamodb.get_item(TableName="state", Key=key(item), ConsistentRead=consistent).get("Item")

    def query(self, begins="", **options):
        condition, values = "guardrail = :g", {":g": {"S": "ours"}}
        if begins:
            condition, values = f"{condition} AND begins_with(#i, :b)", values | {":b": {"S": begins}}
            options["ExpressionAttributeNames"] = {"#i": "item"}
        answer = self.dynamodb.query(
            TableName="state",
            KeyConditionExpression=condition,
            **{"ConsistentRead": True, "ExpressionAttributeValues": values} | options,
        )
        return [item["item"]["S"] for item in answer["Items"]], answer.get("LastEvaluatedKey")


NEW = {"ConditionExpression": "attribute_not_exists(guardrail)"}


def version(number):
    return {"ConditionExpression": "version = :v", "ExpressionAttributeValues": {":v": {"N": str(number)}}}


def refused(call, code="ValidationException"):
    with pytest.raises(ClientError) as raised:
        call()
    assert raised.value.response["Error"]["Code"] == code
    return raised.value.response


# --- permissions --------------------------------------------------------------------------------


@pytest.fixture
def worker(emulator, function, table):
    made = Worker(emulator, function)

    def call(operation, **body):
        return made.call(f"DynamoDB_20120810.{operation}", service="dynamodb", body={"TableName": "state", **body})

    def may(*actions, partition="ours"):
        keys = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": partition}}
        not_empty = {"Null": {"dynamodb:LeadingKeys": "false"}}
        made.may(allow([f"dynamodb:{action}" for action in actions], TABLE, **keys, **not_empty))

    call.may = may
    call.worker = made
    return call


def in_partition(name):
    return {"KeyConditionExpression": "guardrail = :g", "ExpressionAttributeValues": {":g": {"S": name}}}


def test_a_role_reaches_its_own_partition_and_no_other(worker):
    worker.may("DeleteItem", "GetItem", "PutItem", "Query")
    for partition, allowed in (("ours", True), ("theirs", False), ("ours2", False)):
        assert worker("PutItem", Item=key("a", partition)) is allowed
        assert worker("GetItem", Key=key("a", partition)) is allowed
        assert worker("Query", **in_partition(partition)) is allowed
        assert worker("DeleteItem", Key=key("a", partition)) is allowed


def test_a_partition_is_known_however_it_is_named(worker):
    worker.may("Query")
    named = {"ExpressionAttributeNames": {"#g": "guardrail", "#i": "item"}}
    for condition in ("#g = :g AND begins_with(#i, :i)", "begins_with(#i, :i) AND #g = :g"):
        for partition, allowed in (("ours", True), ("theirs", False)):
            values = {":g": {"S": partition}, ":i": {"S": "ours"}}
            query = named | {"KeyConditionExpression": condition, "ExpressionAttributeValues": values}
            assert worker("Query", **query) is allowed
    old = {"guardrail": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "theirs"}]}}
    assert not worker("Query", KeyConditions=old)


def test_actions_and_tables_are_each_allowed_by_name(worker, client):
    worker.may("GetItem")
    assert worker("GetItem", Key=key("a"), TableName=TABLE)
    assert not worker("PutItem", Item=key("a"))
    worker.worker.may(allow("dynamodb:PutItem", TABLE + "2"))
    assert not worker("PutItem", Item=key("a"))


def test_a_refusal_and_a_missing_table_in_aws_words(worker, emulator):
    worker.may("GetItem")
    worker("PutItem", Item=key("a"))
    (call,) = emulator.control("GET", "calls", service="dynamodb", error="AccessDeniedException")["calls"]
    assert (call["operation"], call["status"], call["caller"]) == ("PutItem", 400, "worker")
    refusals = {refusal["action"]: refusal["refused"] for refusal in emulator.control("GET", "refusals")["refusals"]}
    assert refusals["dynamodb:PutItem"] == TABLE
    # A table that is gone: AWS can't know which attribute of the request is its key.
    with pytest.raises(AssertionError):
        worker("GetItem", Key=key("a"), TableName="other")
    assert emulator.control("GET", "calls", service="dynamodb")["calls"][-1]["error"] == "ResourceNotFoundException"


# --- conditional writes -------------------------------------------------------------------------


def test_of_two_that_write_under_a_condition_one_succeeds(table):
    table.put("a", NEW, version={"N": "1"}, by={"S": "first"})
    answer = refused(lambda: table.put("a", NEW, by={"S": "second"}), "ConditionalCheckFailedException")
    assert answer["Error"]["Message"] == "The conditional request failed"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400 and "Item" not in answer
    table.put("a", version(1), version={"N": "2"}, by={"S": "first"})
    refused(lambda: table.put("a", version(1), by={"S": "second"}), "ConditionalCheckFailedException")
    refused(lambda: table.delete("a", **version(1)), "ConditionalCheckFailedException")
    assert table.get("a")["version"] == {"N": "2"}
    table.delete("a", **version(2))
    assert table.get("a") is None
    # A condition on what isn't there fails; a deletion without one doesn't mind.
    refused(lambda: table.delete("a", **version(2)), "ConditionalCheckFailedException")
    table.delete("a")


def test_a_refused_write_may_tell_what_is_there(table):
    table.put("a", by={"S": "first"}, steps={"L": [{"M": {"n": {"N": "1"}}}]})
    tell = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    answer = refused(lambda: table.put("a", NEW | tell), "ConditionalCheckFailedException")
    assert answer["Item"] == key("a") | {"by": {"S": "first"}, "steps": {"L": [{"M": {"n": {"N": "1"}}}]}}
    assert answer["Error"]["Message"] == "The conditional request failed"
    answer = refused(lambda: table.delete("a", **version(1), **tell), "ConditionalCheckFailedException")
    assert answer["Item"]["by"] == {"S": "first"}


def test_a_lost_answer_makes_the_same_write_fail_at_its_next_attempt(table, emulator):
    """The SDK tries again by itself, and then learns of its own item as of somebody else's (DDB-3)."""
    fault = {"service": "dynamodb", "operation": "PutItem", "when": "after", "count": 1}
    emulator.control("POST", "faults", hang_up=True, **fault)
    with pytest.raises(ConnectionClosedError):
        table.put("a", NEW, by={"S": "run-1"})
    tell = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    answer = refused(lambda: table.put("a", NEW | tell, by={"S": "run-1"}), "ConditionalCheckFailedException")
    assert answer["Item"]["by"] == {"S": "run-1"}
    emulator.control("POST", "faults", error="InternalServerError", **fault)
    assert refused(lambda: table.put("b", NEW), "InternalServerError")["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert table.get("b") == key("b")


def test_calls_are_recorded_with_what_they_wrote(table, emulator):
    table.put("a", NEW, body={"B": b"bytes"})
    (call,) = emulator.control("GET", "calls", service="dynamodb", operation="PutItem")["calls"]
    assert call["parameters"]["Item"] == key("a") | {"body": {"B": "bytes"}}
    assert (call["caller"], call["executed"], call["error"]) == ("client", True, None)
    assert table.get("a")["body"] == {"B": b"bytes"}


# --- reads --------------------------------------------------------------------------------------


def test_a_read_shows_what_was_written_only_if_it_is_consistent(table, emulator):
    table.put("a", n={"N": "1"})
    assert table.get("a", consistent=False) is None
    assert table.query(ConsistentRead=False) == ([], None)
    assert table.get("a") == key("a") | {"n": {"N": "1"}} and table.query() == (["a"], None)
    emulator.control("PATCH", "settings", table_staleness_seconds=0.2)
    time.sleep(0.3)
    assert table.get("a", consistent=False) == table.get("a")
    emulator.control("PATCH", "settings", table_staleness_seconds=0)
    table.put("a", n={"N": "1"})
    assert table.get("a", consistent=False) == table.get("a")
    emulator.control("PATCH", "settings", table_staleness_seconds=60)
    table.put("a", n={"N": "2"})
    table.put("a", n={"N": "3"})
    table.put("b")
    table.delete("a")
    # As it was before all of these, and the table itself isn't touched by such a read.
    assert table.get("a", consistent=False)["n"] == {"N": "1"}
    assert table.query(ConsistentRead=False) == (["a"], None)
    assert table.query() == (["b"], None)
    scanned = table.dynamodb.scan(TableName="state", Select="COUNT")
    assert (scanned["Count"], scanned["ScannedCount"]) == (1, 1)
    # A condition is checked on what is really there.
    table.put("a", NEW)


def test_an_update_is_not_shown_either(table, emulator):
    emulator.control("PATCH", "settings", table_staleness_seconds=60)
    table.dynamodb.update_item(
        TableName="state",
        Key=key("b"),
        UpdateExpression="SET n = :n",
        ExpressionAttributeValues={":n": {"N": "2"}},
    )
    assert table.get("b", consistent=False) is None
    assert table.get("b")["n"] == {"N": "2"}


def test_a_query_reads_one_partition_in_order(table):
    for item in ("vol-1#notified/stale", "vol-10#notified/stale", "i-1#quarantine", "vol-1#notified/failed"):
        table.put(item)
    table.dynamodb.put_item(TableName="state", Item=key("vol-1#notified/stale", "theirs"))
    assert table.query()[0] == sorted(table.query()[0]) and len(table.query()[0]) == 4
    assert table.query("vol-1#") == (["vol-1#notified/failed", "vol-1#notified/stale"], None)
    assert table.query("vol-2") == ([], None)
    assert table.query(ScanIndexForward=False)[0][0] == "vol-10#notified/stale"


def test_an_item_past_its_time_is_there_until_ttl_gets_to_it(table, emulator):
    now = int(time.time())
    table.put("gone", expires={"N": str(now - 60)})
    table.put("later", expires={"N": str(now + 3600)})
    table.put("always")
    table.put("text", expires={"S": str(now - 60)})
    table.put("mistake", expires={"N": str(now - 6 * 365 * 24 * 3600)})
    table.put("milliseconds", expires={"N": str((now - 60) * 1000)})
    assert len(table.query()[0]) == 6
    refused(lambda: table.put("gone", NEW), "ConditionalCheckFailedException")
    assert emulator.control("POST", "tables/expire") == {"expired": 1}
    assert table.query()[0] == ["always", "later", "milliseconds", "mistake", "text"]
    table.put("gone", NEW)
    with pytest.raises(Exception, match="no table other"):
        emulator.control("POST", "tables/expire", table="other")


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ({"guardrail": {"S": "ours"}}, "Missing the key item in the item"),
        (key(""), "cannot contain an empty string value. Key: item"),
        (key("a", ""), "cannot contain an empty string value. Key: guardrail"),
        (key("a") | {"item": {"N": "1"}}, "Type mismatch for key item expected: S actual: N"),
        (key("x" * 1025), "Size of rangekey has exceeded the maximum size limit of1024 bytes"),
        (key("a", "x" * 2049), "Size of hashkey has exceeded the maximum size limit of2048 bytes"),
        (key("a") | {"n": {"N": "one"}}, "cannot be converted to a numeric value: one"),
        (key("a") | {"n": {"N": " 1"}}, "cannot be converted to a numeric value:  1"),
        (key("a") | {"n": {"N": "NaN"}}, "cannot be converted to a numeric value: NaN"),
        (key("a") | {"m": {"M": {"n": {"N": ""}}}}, "cannot be converted to a numeric value: "),
        (key("a") | {"n": {"N": "1e126"}}, "Number overflow"),
        (key("a") | {"n": {"N": "1e-131"}}, "Number underflow"),
        (key("a") | {"s": {"SS": []}}, "An string set  may not be empty"),
        (key("a") | {"s": {"NS": ["1", "1.0"]}}, "contains duplicates"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_items_that_are_refused(table, item, why):
    answer = refused(lambda: table.dynamodb.put_item(TableName="state", Item=item))
    assert why in answer["Error"]["Message"]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"guardrail": {"S": "ours"}}, "The provided key element does not match the schema"),
        (key("a") | {"more": {"S": "x"}}, "The provided key element does not match the schema"),
        (key("a") | {"item": {"N": "1"}}, "The provided key element does not match the schema"),
        (key(""), "cannot contain an empty string value. Key: item"),
    ],
)
def test_keys_that_are_refused(table, wrong, why):
    for operation in (table.dynamodb.get_item, table.dynamodb.delete_item):
        assert why in refused(lambda: operation(TableName="state", Key=wrong))["Error"]["Message"]  # noqa: B023


@pytest.mark.parametrize(
    ("query", "why"),
    [
        # The sort key's own name is a word of DynamoDB's.
        (
            {"KeyConditionExpression": "guardrail = :g AND item = :g"},
            "Attribute name is a reserved keyword; reserved keyword: item",
        ),
        (
            {"KeyConditionExpression": "guardrail = :g AND begins_with(item, :g)"},
            "Invalid KeyConditionExpression: Attribute name is a reserved keyword; reserved keyword: item",
        ),
        (
            {"FilterExpression": "status = :g"},
            "Invalid FilterExpression: Attribute name is a reserved keyword; reserved keyword: status",
        ),
        ({"KeyConditionExpression": "guardrail = :h"}, "not defined; attribute value: :h"),
        ({"FilterExpression": "#x = :g"}, "not defined; attribute name: #x"),
        (
            {"ExpressionAttributeNames": {"#i": "item"}},
            "ExpressionAttributeNames unused in expressions: keys: {#i}",
        ),
        (
            {"ExpressionAttributeValues": {":g": {"S": "ours"}, ":x": {"S": "x"}}},
            "ExpressionAttributeValues unused in expressions: keys: {:x}",
        ),
        ({"ExpressionAttributeNames": {}}, "ExpressionAttributeNames must not be empty"),
        ({"ExpressionAttributeValues": {":g": {"S": ""}}}, "cannot contain an empty string value. Key: guardrail"),
        ({"ExclusiveStartKey": key("a", "theirs")}, "outside query boundaries based on provided conditions"),
        ({"ExclusiveStartKey": {"guardrail": {"S": "ours"}}}, "The provided starting key is invalid"),
        ({"KeyConditionExpression": "begins_with(guardrail, :g)"}, "Query key condition not supported"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_queries_that_are_refused(table, query, why):
    given = {"KeyConditionExpression": "guardrail = :g", "ExpressionAttributeValues": {":g": {"S": "ours"}}} | query
    assert why in refused(lambda: table.dynamodb.query(TableName="state", **given))["Error"]["Message"]


def test_conditions_that_are_refused(table):
    reserved = {"ConditionExpression": "attribute_not_exists(item)"}
    assert "reserved keyword: item" in refused(lambda: table.delete("a", **reserved))["Error"]["Message"]
    assert ":v" in refused(lambda: table.put("a", {"ConditionExpression": "version = :v"}))["Error"]["Message"]
    # As names and functions they are fine.
    aliased = {"ConditionExpression": "attribute_not_exists(#i) OR size(#i) > :n"}
    aliased |= {"ExpressionAttributeNames": {"#i": "item"}, "ExpressionAttributeValues": {":n": {"N": "0"}}}
    table.put("a", aliased)
    table.put("a", aliased)


def test_a_table_that_does_not_exist(client):
    dynamodb = client("dynamodb")
    for call in (dynamodb.get_item, dynamodb.delete_item):
        refused(lambda: call(TableName="state", Key=key("a")), "ResourceNotFoundException")  # noqa: B023
    answer = refused(lambda: dynamodb.put_item(TableName="state", Item=key("a")), "ResourceNotFoundException")
    assert answer["Error"]["Message"] == "Requested resource not found"


def test_what_is_remembered_grows_older(table, emulator):
    text = '{"at":"2026-11-21T03:00:00Z","of":{"since":"2026-11-21T03:00:00.5Z"}}'
    for item in ("node#i-1", "node#i-2"):
        table.put(item, data={"S": text}, expires={"N": "1000"}, version={"S": "v"})
    assert emulator.control("POST", "tables/age", seconds=60, item="node#i-1") == {"aged": 1}
    aged = table.get("node#i-1")
    assert aged["data"]["S"] == '{"at":"2026-11-21T02:59:00Z","of":{"since":"2026-11-21T02:59:00.500000Z"}}'
    assert (aged["expires"]["N"], aged["version"]["S"]) == ("940", "v")
    assert table.get("node#i-2")["data"]["S"] == text
