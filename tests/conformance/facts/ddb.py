"""The state table (DDB)."""

import time
from typing import Any

from conformance.account import Account, allow
from conformance.probe import accepted, expect, expect_that, probe, refused, untried

TABLE_SECONDS = 15
NEW = {"ConditionExpression": "attribute_not_exists(guardrail)"}


def key(item: str, guardrail: str = "ours") -> dict[str, Any]:
    return {"guardrail": {"S": guardrail}, "item": {"S": item}}


class Table:
    """A table with the keys of the stack's."""

    def __init__(self, aws: Account, **more: Any) -> None:
        self.db, self.name = aws.dynamodb, aws.name("table")
        self.db.create_table(
            TableName=self.name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("guardrail", "item")],
            KeySchema=[
                {"AttributeName": "guardrail", "KeyType": "HASH"},
                {"AttributeName": "item", "KeyType": "RANGE"},
            ],
        )
        aws.eventually(lambda: self._status() == "ACTIVE", "the table")

    def _status(self) -> str:
        return self.db.describe_table(TableName=self.name)["Table"]["TableStatus"]

    def put(self, item: str, options: dict[str, Any] | None = None, **attributes: Any) -> dict[str, Any]:
        return self.db.put_item(TableName=self.name, Item=key(item) | attributes, **options or {})

    def get(self, item: str, **options: Any) -> dict[str, Any]:
        return self.db.get_item(TableName=self.name, Key=key(item), **{"ConsistentRead": True} | options)

    def query(self, **options: Any) -> dict[str, Any]:
        given = {"KeyConditionExpression": "guardrail = :g", "ExpressionAttributeValues": {":g": {"S": "ours"}}}
        return self.db.query(TableName=self.name, ConsistentRead=True, **given | options)


def shared(aws: Account) -> Table:
    """One table for all of these; each probe has items of its own."""
    if "state table" not in aws.shared:
        with aws.kept():
            aws.shared["state table"] = Table(aws)
    return aws.shared["state table"]


@probe("DDB-1", must="ConditionalCheckFailedException with the item that is there", usd=0.001, seconds=TABLE_SECONDS)
def of_two_conditional_writes_one_succeeds(aws: Account) -> None:
    """Writes an item twice on condition that it is new, and deletes it on a condition that is false."""
    table = shared(aws)
    table.put("once", NEW, by={"S": "first"})
    tell = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    with refused("ConditionalCheckFailedException", saying="The conditional request failed"):
        table.put("once", NEW, by={"S": "second"})
    came: dict[str, Any] = {}
    with refused("ConditionalCheckFailedException"):
        try:
            table.put("once", NEW | tell, by={"S": "second"})
        except aws.dynamodb.exceptions.ConditionalCheckFailedException as error:
            came = error.response
            raise
    expect("the item in the refusal", came.get("Item"), key("once") | {"by": {"S": "first"}})
    expect("its status", came["ResponseMetadata"]["HTTPStatusCode"], 400)
    with refused("ConditionalCheckFailedException"):
        other = {"ConditionExpression": "#by = :o", "ExpressionAttributeNames": {"#by": "by"}}
        values = {"ExpressionAttributeValues": {":o": {"S": "other"}}}
        table.db.delete_item(TableName=table.name, Key=key("once"), **other | values)
    expect("who wrote it", table.get("once")["Item"]["by"], {"S": "first"})


@probe("DDB-2", must="0.5 and 1 units for 4 KB; what was just written", usd=0.001)
def a_consistent_read_costs_twice(aws: Account) -> None:
    """Writes an item and reads it at once, consistently and not."""
    table = shared(aws)
    for n in range(5):
        table.put("read", n={"N": str(n)})
        expect("what a consistent read shows", table.get("read")["Item"].get("n"), {"N": str(n)})
    for consistent, units in ((False, 0.5), (True, 1.0)):
        answer = table.get("read", ConsistentRead=consistent, ReturnConsumedCapacity="TOTAL")
        expect("what a read costs", answer["ConsumedCapacity"]["CapacityUnits"], units)


untried("DDB-2", "a stale read comes when AWS likes")
untried("DDB-3", "an answer that is lost on AWS's side can't be brought about")


@probe("DDB-4", must="an item past its time is read, queried and seen by conditions", usd=0.001)
def an_item_past_its_time_is_still_there(aws: Account) -> None:
    """Switches TTL on, and writes an item whose time is over."""
    table = shared(aws)
    table.db.update_time_to_live(
        TableName=table.name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
    )
    table.put("over", expires={"N": str(int(time.time()) - 60)})
    expect_that("it is read", "Item" in table.get("over"), "nothing")
    condition = "guardrail = :g AND #item = :i"
    values = {":g": {"S": "ours"}, ":i": {"S": "over"}}
    found = table.query(
        KeyConditionExpression=condition, ExpressionAttributeValues=values, ExpressionAttributeNames={"#item": "item"}
    )
    expect("how many a query gives", found["Count"], 1)
    with refused("ConditionalCheckFailedException"):
        table.put("over", NEW)


untried("DDB-4", "when TTL deletes takes days, without a promise")


@probe("DDB-5", must="ValidationException for what is too large", usd=0.003)
def items_and_keys_have_limits(aws: Account) -> None:
    """Writes an item of exactly 400 KB and one byte more, keys at their limits and beyond."""
    table = shared(aws)
    names = len("guardrail" "ours" "item" "size" "s")
    with accepted():
        table.put("size", s={"S": "x" * (409_600 - names)})
    with refused("ValidationException", saying="Item size"):
        table.put("size", s={"S": "x" * (409_600 - names + 1)})
    with accepted():
        table.db.put_item(TableName=table.name, Item=key("x" * 1024, "y" * 2048))
    # In bytes, not in characters.
    with refused("ValidationException", saying="Item size"):
        table.put("size", s={"S": "é" * 204_800})
    with accepted():
        table.put("empty", s={"S": ""}, l={"L": []}, n={"NULL": True})
        table.put("number", n={"N": "1" * 38 + "0" * 50})
    for item in (key("x" * 1025), key("x", "y" * 2049), key("")):
        with refused("ValidationException"):
            table.db.put_item(TableName=table.name, Item=item)
    with refused("ValidationException", saying="38"):
        table.put("number", n={"N": "1" * 39})


@probe("DDB-5", must="a page ends at its limit, with or without more; at most 1 MB", usd=0.003)
def pages_of_a_query(aws: Account) -> None:
    """Queries four items by twos, with a filter that none passes, and three of 390 KB."""
    table = shared(aws)

    def put(partition: str, item: str, **attributes: Any) -> None:
        table.db.put_item(TableName=table.name, Item=key(item, partition) | attributes)

    def page(partition: str, **options: Any) -> tuple[list[str], str | None]:
        values = {":g": {"S": partition}} | options.pop("values", {})
        answer = table.query(ExpressionAttributeValues=values, **options)
        last = answer.get("LastEvaluatedKey")
        return [item["item"]["S"] for item in answer["Items"]], last and last["item"]["S"]

    for item in "abcd":
        put("pages", item, n={"N": "1"})
    expect("the first page", page("pages", Limit=2), (["a", "b"], "b"))
    expect("a page with all of them", page("pages", Limit=5), (list("abcd"), None))
    expect("an exactly full last page", page("pages", Limit=2, ExclusiveStartKey=key("b", "pages")), (["c", "d"], "d"))
    expect("the page after it", page("pages", Limit=2, ExclusiveStartKey=key("d", "pages")), ([], None))
    none = {"FilterExpression": "n = :n", "values": {":n": {"N": "2"}}}
    expect("a page that is filtered empty", page("pages", Limit=2, **none), ([], "b"))
    for item in "abc":
        put("large", item, s={"S": "x" * 390_000})
    expect("a page of large items", page("large"), (["a", "b"], "b"))


@probe("DDB-5", must="1, 1000, 0, 7, 0.5, -15", usd=0.001)
def numbers_come_back_in_plain_form(aws: Account) -> None:
    """Writes 1.0, 1e3, -0, 007, 0.50 and -1.5E1."""
    table = shared(aws)
    written = ["1.0", "1e3", "-0", "007", "0.50", "-1.5E1"]
    table.put("numbers", l={"L": [{"N": number} for number in written]})
    read = [number["N"] for number in table.get("numbers")["Item"]["l"]["L"]]
    expect("what is read", read, ["1", "1000", "0", "7", "0.5", "-15"])
    with accepted():
        values = {"ExpressionAttributeValues": {":n": {"N": "1.00"}}}
        table.put("numbers", {"ConditionExpression": "l[0] = :n"} | values)


@probe("DDB-6", must="allowed for one's own partition, denied for another's and, with Null, for none", seconds=20)
def leading_keys_in_the_simulator(aws: Account) -> None:
    """Has IAM's simulator decide about a role that may use one partition."""
    keys = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["ours"]}}
    present = {"Null": {"dynamodb:LeadingKeys": "false"}}
    table = f"arn:aws:dynamodb:{aws.region}:{aws.account_id}:table/state"
    strict = aws.role("lambda", allow("dynamodb:GetItem", "dynamodb:Scan", resource=table, **keys, **present))
    lax = aws.role("lambda", allow("dynamodb:GetItem", "dynamodb:Scan", resource=table, **keys))

    def decided(role: str, action: str, *partitions: str) -> str:
        entry = {"ContextKeyName": "dynamodb:LeadingKeys", "ContextKeyType": "stringList"}
        return aws.simulated(
            role, action, table, [entry | {"ContextKeyValues": list(partitions)}] if partitions else []
        )

    expect("one's own partition", decided(strict, "dynamodb:GetItem", "ours"), "allowed")
    expect("another's", decided(strict, "dynamodb:GetItem", "theirs"), "implicitDeny")
    expect("one's own and another's", decided(strict, "dynamodb:GetItem", "ours", "theirs"), "implicitDeny")
    expect("a scan, which names none", decided(strict, "dynamodb:Scan"), "implicitDeny")
    expect("a scan without the check for none", decided(lax, "dynamodb:Scan"), "allowed")


untried("DDB-7", "it takes thousands of writes a second")


@probe("DDB-8", must="ValidationException that names the word", usd=0.001)
def reserved_words_and_unused_names(aws: Account) -> None:
    """Uses words of the list as names, and gives names and values that nothing uses."""
    table = shared(aws)
    for word in ("item", "key", "name", "owner", "state", "status", "text", "time", "ttl", "value"):
        with refused("ValidationException", saying=("reserved keyword", word)):
            table.put("words", {"ConditionExpression": f"attribute_not_exists({word})"})
    for word in ("guardrail", "version", "expires", "n"):
        with accepted():
            table.put("words", {"ConditionExpression": f"attribute_exists({word}) OR attribute_not_exists({word})"})
    with refused("ValidationException", saying="unused in expressions"):
        table.put("words", {"ConditionExpression": "attribute_exists(n)", "ExpressionAttributeNames": {"#x": "x"}})
    with refused("ValidationException", saying="unused in expressions"):
        values = {":x": {"S": "x"}}
        table.put("words", {"ConditionExpression": "attribute_exists(n)", "ExpressionAttributeValues": values})


untried("DDB-9", "restoring a table takes long, and the charge shows on the bill only")
