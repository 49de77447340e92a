"""DynamoDB: what moto takes without a look is refused as AWS refuses it, and reads are as unhelpful as AWS's.

A read without ConsistentRead doesn't show what was just written (DDB-2), an item past its time is still there until
TTL gets to it (DDB-4), and a page ends at its limit, whether or not there is more (DDB-5).
"""

from __future__ import annotations

import copy
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from moto.dynamodb.models import DynamoDBBackend, dynamodb_backends
from moto.dynamodb.models.dynamo_type import DynamoType, Item, LimitedSizeDict
from moto.dynamodb.models.table import Table
from moto.dynamodb.parsing.key_condition_expression import parse_expression
from moto.dynamodb.parsing.reserved_keywords import ReservedKeywords
from moto.dynamodb.responses import DynamoHandler

from emulator import control
from emulator.aws_request import AwsError
from emulator.context import context
from emulator.patching import patched
from emulator.settings import settings

MAX_ITEM_BYTES = 400 * 1024
MAX_KEY_BYTES = {"HASH": ("hashkey", 2048), "RANGE": ("rangekey", 1024)}
MAX_DIGITS = 38
YEARS_THAT_TTL_LOOKS_BACK = 5

_INVALID = "One or more parameter values were invalid: "


def _invalid(message: str) -> AwsError:
    return AwsError("ValidationException", message)


def _table_of(name: str) -> Table | None:
    """By its name or ARN."""
    return dynamodb_backends[context.account_id][context.region].tables.get(name.rpartition("table/")[2])


# --- what a request must be allowed -------------------------------------------------------------


class NoSuchTable(AwsError):
    def __init__(self) -> None:
        super().__init__("ResourceNotFoundException", "Requested resource not found")


def arn_of(name: str, index: str | None) -> str:
    arn = f"arn:aws:dynamodb:{context.region}:{context.account_id}:table/{name.rpartition('table/')[2]}"
    return f"{arn}/index/{index}" if index else arn


def leading_keys(parameters: dict[str, Any]) -> list[str]:
    """The partitions that a request on one table names: the condition key dynamodb:LeadingKeys."""
    table = _table_of(parameters["TableName"])
    if table is None:
        # Without a table nobody knows which attribute is the key; AWS then says so (assumed).
        raise NoSuchTable
    if parameters.get("IndexName"):
        raise NotImplementedError("dynamodb:LeadingKeys of an index")
    keys = [parameters.get("Key"), parameters.get("Item")]
    found = [key.get(table.hash_key_attr) for key in keys if key]
    if "KeyConditionExpression" in parameters:
        hash_keys, _, _ = parse_expression(
            parameters["KeyConditionExpression"],
            parameters.get("ExpressionAttributeValues") or {},
            parameters.get("ExpressionAttributeNames") or {},
            table.schema,
        )
        found += [value for _, value in hash_keys]
    condition = (parameters.get("KeyConditions") or {}).get(table.hash_key_attr)
    found += condition["AttributeValueList"] if condition else []
    return [str(text) for value in found if isinstance(value, dict) for text in value.values()]


# --- what moto lets pass ------------------------------------------------------------------------

_EXPRESSIONS = ("ConditionExpression", "FilterExpression", "KeyConditionExpression", "ProjectionExpression")
_WORD = re.compile(r"[#:]?\w+")
_OPERATORS = {"AND", "BETWEEN", "IN", "NOT", "OR"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def _check_expressions(body: dict[str, Any]) -> None:
    """moto knows reserved words in projections only, and takes what isn't used or defined."""
    used = {
        word
        for name in (*_EXPRESSIONS, "UpdateExpression")
        for word in _WORD.findall(body.get(name) or "")
    }
    for kind in _EXPRESSIONS:
        text = body.get(kind) or ""
        for match in _WORD.finditer(text):
            word = match.group()
            is_function = text[match.end() :].lstrip().startswith("(")
            if word.upper() in _OPERATORS or is_function and word[0] not in "#:":
                continue
            if word[0] == "#" and word not in (body.get("ExpressionAttributeNames") or {}):
                raise _invalid(
                    f"Invalid {kind}: An expression attribute name used in the document path is not defined; "
                    f"attribute name: {word}"
                )
            if word[0] == ":" and word not in (body.get("ExpressionAttributeValues") or {}):
                raise _invalid(
                    f"Invalid {kind}: An expression attribute value used in expression is not defined; "
                    f"attribute value: {word}"
                )
            if word.upper() in ReservedKeywords.get_reserved_keywords():
                raise _invalid(
                    f"Invalid {kind}: Attribute name is a reserved keyword; reserved keyword: {word}"
                )
    for given in ("ExpressionAttributeNames", "ExpressionAttributeValues"):
        if given in body and not body[given]:
            raise _invalid(f"{given} must not be empty")
        if unused := [word for word in body.get(given) or {} if word not in used]:
            raise _invalid(f"Value provided in {given} unused in expressions: keys: {{{', '.join(unused)}}}")


def _check_value(value: dict[str, Any]) -> int:
    """Its size in bytes, as AWS counts it. A number gets the form in which AWS gives it back."""
    ((kind, content),) = value.items()
    if kind == "N":
        value["N"], digits = _number(content)
        return digits // 2 + 2
    if kind == "NS":
        value["NS"] = [_number(number)[0] for number in content]
    if kind in ("SS", "NS", "BS"):
        if not content:
            raise _invalid(f"{_INVALID}An {'number' if kind == 'NS' else 'string'} set  may not be empty")
        if len(set(value[kind])) < len(content):
            raise _invalid(f"{_INVALID}Input collection [{', '.join(map(str, content))}] contains duplicates.")
        return sum(_bytes(each) for each in content)
    if kind == "L":
        return 3 + sum(1 + _check_value(each) for each in content)
    if kind == "M":
        return 3 + sum(1 + _bytes(name) + _check_value(each) for name, each in content.items())
    return _bytes(content) if kind in ("S", "B") else 1


def _bytes(value: str | bytes) -> int:
    return len(value.encode() if isinstance(value, str) else value)


def _number(text: str) -> tuple[str, int]:
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise _invalid(f"The parameter cannot be converted to a numeric value: {text}")
    number = Decimal(text)
    digits = len(str(int("".join(map(str, number.as_tuple().digits)))).rstrip("0"))
    if digits > MAX_DIGITS:
        raise _invalid("Attempting to store more than 38 significant digits in a Number")
    if number and not -130 <= number.adjusted() <= 125:
        how, size = ("overflow", "larger") if number.adjusted() > 125 else ("underflow", "smaller")
        raise _invalid(f"Number {how}. Attempting to store a number with magnitude {size} than supported range")
    plain = f"{number:f}"
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return plain if number else "0", digits


def _check_key_attributes(table: Table, given: dict[str, Any], mismatch: Callable[[str], str]) -> None:
    kinds = {each["AttributeName"]: each["AttributeType"] for each in table.attr}
    for element in table.schema:
        name = element["AttributeName"]
        if name not in given or kinds[name] not in given[name]:
            raise _invalid(mismatch(name))
        content = given[name][kinds[name]]
        if content in ("", b""):
            raise _invalid(
                "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an "
                f"empty string value. Key: {name}"
            )
        what, limit = MAX_KEY_BYTES[element["KeyType"]]
        if _bytes(content) > limit:
            raise _invalid(f"{_INVALID}Size of {what} has exceeded the maximum size limit of{limit} bytes")


def _check_key(table: Table, key: dict[str, Any]) -> None:
    mismatch = "The provided key element does not match the schema"
    if key.keys() - set(table.table_key_attrs):
        raise _invalid(mismatch)
    _check_key_attributes(table, key, lambda _: mismatch)


def _check_item(table: Table, item: dict[str, Any]) -> None:
    def mismatch(name: str) -> str:
        if name not in item:
            return f"{_INVALID}Missing the key {name} in the item"
        kinds = {each["AttributeName"]: each["AttributeType"] for each in table.attr}
        actual = next(iter(item[name]))
        return f"{_INVALID}Type mismatch for key {name} expected: {kinds[name]} actual: {actual}"

    _check_key_attributes(table, item, mismatch)
    if sum(_bytes(name) + _check_value(value) for name, value in item.items()) > MAX_ITEM_BYTES:
        raise _invalid("Item size has exceeded the maximum allowed size")


def _checked(handler: DynamoHandler) -> Table:
    """The table of a request whose expressions are as AWS takes them."""
    body = handler.body
    table = _table_of(body["TableName"])
    if table is None:
        raise NoSuchTable
    _check_expressions(body)
    for value in (body.get("ExpressionAttributeValues") or {}).values():
        _check_value(value)
    return table


@patched(LimitedSizeDict)
def __setitem__(_original: Any, self: LimitedSizeDict, key: str, value: Any) -> None:
    """moto counts an item's size otherwise, and again for each attribute."""
    dict.__setitem__(self, key, value)


@patched(DynamoHandler)
def put_item(original: Any, self: DynamoHandler) -> Any:
    _check_item(_checked(self), self.body["Item"])
    return original(self)


@patched(DynamoHandler)
def delete_item(original: Any, self: DynamoHandler) -> Any:
    _check_key(_checked(self), self.body["Key"])
    return original(self)


@patched(DynamoHandler)
def get_item(original: Any, self: DynamoHandler) -> Any:
    table = _checked(self)
    _check_key(table, self.body["Key"])
    with _as_read(table, self.body):
        answer = original(self)
    if self.body.get("ConsistentRead") and "ConsumedCapacity" in answer.result:
        answer.result["ConsumedCapacity"]["CapacityUnits"] *= 2  # DDB-2
    return answer


@patched(DynamoHandler)
def query(original: Any, self: DynamoHandler) -> Any:
    table = _checked(self)
    if (limit := self.body.get("Limit")) is not None and limit < 1:
        raise _invalid(
            f"1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: Member must have "
            "value greater than or equal to 1"
        )
    if "KeyConditionExpression" in self.body and not self.body.get("IndexName"):
        _check_start(table, self.body)
    with _as_read(table, self.body):
        return original(self)


def _check_start(table: Table, body: dict[str, Any]) -> None:
    start = body.get("ExclusiveStartKey")
    if start is None:
        return
    try:
        _check_key(table, start)
    except AwsError as error:
        raise _invalid(f"The provided starting key is invalid: {error.message}") from None
    if leading_keys({"TableName": body["TableName"], "Key": start}) != leading_keys(
        {name: given for name, given in body.items() if name != "Key"}
    ):
        raise _invalid("The provided starting key is outside query boundaries based on provided conditions")


@patched(DynamoHandler)
def scan(original: Any, self: DynamoHandler) -> Any:
    with _as_read(_checked(self), self.body):
        return original(self)


@patched(Table, "query")
def query_table(original: Any, self: Table, *arguments: Any, **keywords: Any) -> Any:
    """moto looks ahead and ends without LastEvaluatedKey where AWS doesn't know yet that there is no more."""
    items, scanned, last = original(self, *arguments, **keywords)
    limit = arguments[3]
    if last is None and limit is not None and scanned == limit:
        # What a filter took away was read too, so the page is read once more, without it and without a projection.
        plain = [*arguments]
        plain[6] = plain[9] = None
        everything, _, _ = original(self, *plain, **keywords)
        last = self._get_last_evaluated_key(everything[-1], arguments[7])
    return items, scanned, last


# --- eventual consistency -----------------------------------------------------------------------


class Write(NamedTuple):
    moment: float
    hash_key: DynamoType
    range_key: DynamoType | None
    before: Item | None


def _remember(table: Table, hash_key: DynamoType, range_key: DynamoType | None) -> None:
    before = copy.deepcopy(table.get_item(hash_key, range_key))
    writes = [*getattr(table, "writes", []), Write(time.time(), hash_key, range_key, before)]
    table.writes = [write for write in writes if _is_recent(write)]


def _is_recent(write: Write) -> bool:
    return time.time() - write.moment < settings.table_staleness_seconds


@patched(Table, "put_item")
def put_into_table(original: Any, self: Table, item_attrs: dict[str, Any], *arguments: Any, **keywords: Any) -> Item:
    range_key = DynamoType(item_attrs[self.range_key_attr]) if self.range_key_attr else None
    _remember(self, DynamoType(item_attrs[self.hash_key_attr]), range_key)
    return original(self, item_attrs, *arguments, **keywords)


@patched(Table, "delete_item")
def delete_from_table(original: Any, self: Table, hash_key: DynamoType, range_key: DynamoType | None) -> Item | None:
    _remember(self, hash_key, range_key)
    return original(self, hash_key, range_key)


@patched(DynamoDBBackend)
def update_item(original: Any, self: DynamoDBBackend, table_name: str, key: dict[str, Any], **keywords: Any) -> Item:
    """moto changes an item in place, and an item that isn't there yet after it was put."""
    table = self.get_table(table_name)
    _check_key(table, key)
    _remember(table, *self.get_keys_value(table, key))
    return original(self, table_name, key, **keywords)


@contextmanager
def _as_read(table: Table, body: dict[str, Any]) -> Iterator[None]:
    """The table as a read sees it: without ConsistentRead as it was before the writes of the last moment."""
    recent = [] if body.get("ConsistentRead") else [w for w in getattr(table, "writes", []) if _is_recent(w)]
    if not recent:
        yield
        return
    now = table.items
    table.items = defaultdict(dict, {key: copy.copy(held) for key, held in now.items()})
    for write in reversed(recent):
        held, key = (
            (table.items, write.hash_key)
            if write.range_key is None
            else (table.items[write.hash_key], write.range_key)
        )
        if write.before is None:
            held.pop(key, None)
        else:
            held[key] = write.before
    try:
        yield
    finally:
        table.items = now


# --- time to live -------------------------------------------------------------------------------


@control.route("POST", "tables/expire")
def expire(body: dict[str, Any]) -> Any:
    """TTL deletes now what it would delete at some time within days: {"expired": number of items}. {"table"?: NAME}."""
    tables = dynamodb_backends[context.account_id][context.region].tables
    if body.get("table", "") not in ("", *tables):
        raise control.ControlError(f"no table {body['table']}")
    expired = 0
    for table in tables.values():
        if table.ttl["TimeToLiveStatus"] != "ENABLED" or body.get("table", table.name) != table.name:
            continue
        for item in [item for item in table.all_items() if _is_expired(item.attrs.get(table.ttl["AttributeName"]))]:
            table.delete_item(item.hash_key, item.range_key)
            expired += 1
    return {"expired": expired}


@control.route("POST", "tables/age")
def age(body: dict[str, Any]) -> Any:
    """What items say of times lies further back: {"aged": number of items}. {"seconds", "item"?, "but"?: begins of sort keys}.

    The functions go by the real clock, so where time passes in a test, what they have remembered grows older instead.
    Times stand in texts, as RFC 3339, and in the attribute of TTL.
    """
    by, begin, other, aged = float(body["seconds"]), body.get("item", ""), body.get("but"), 0
    for table in dynamodb_backends[context.account_id][context.region].tables.values():
        for item in list(table.all_items()):
            key = str(item.range_key.value) if item.range_key else ""
            if not key.startswith(begin) or (other and key.startswith(other)):
                continue
            for name, held in item.attrs.items():
                if held.type == "S" and name not in (table.hash_key_attr, table.range_key_attr):
                    held.value = _TIME.sub(lambda found: _earlier(found.group(), by), held.value)
                elif held.type == "N" and name == table.ttl.get("AttributeName"):
                    held.value = str(int(float(held.value) - by))
            aged += 1
    return {"aged": aged}


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def _earlier(time_of_day: str, seconds: float) -> str:
    moved = datetime.fromisoformat(time_of_day) - timedelta(seconds=seconds)
    return moved.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _is_expired(value: DynamoType | None) -> bool:
    """Only numbers count, and none that lies so far back that it is more likely a mistake."""
    if value is None or value.type != "N":
        return False
    age = time.time() - float(value.value)
    return 0 < age < YEARS_THAT_TTL_LOOKS_BACK * 365 * 24 * 3600
