"""Saved queries of CloudWatch Logs Insights, which moto lacks. They are kept, and not carried out."""

from __future__ import annotations

import time
import uuid
from typing import Any

from emulator import control
from emulator.aws_request import AwsError, AwsRequest
from emulator.operations import operation

_queries: dict[str, dict[str, Any]] = {}


@operation("logs", "PutQueryDefinition")
def put_query_definition(request: AwsRequest) -> dict[str, Any]:
    parameters = request.parameters
    identifier = parameters.get("queryDefinitionId")
    if identifier is not None and identifier not in _queries:
        raise AwsError("ResourceNotFoundException", "The specified query definition does not exist.")
    _check("name", parameters["name"], 255)
    _check("queryString", parameters["queryString"], 10_000)
    groups = parameters.get("logGroupNames") or []
    identifier = identifier or str(uuid.uuid4())
    _queries[identifier] = {
        "queryDefinitionId": identifier,
        "name": parameters["name"],
        "queryString": parameters["queryString"],
        "logGroupNames": groups,
        "lastModified": int(time.time() * 1000),
    }
    return {"queryDefinitionId": identifier}


def _check(name: str, value: str, limit: int) -> None:
    if not 1 <= len(value) <= limit:
        message = f"1 validation error detected: Value at '{name}' failed to satisfy constraint: 1 to {limit} characters"
        raise AwsError("InvalidParameterException", message)


@operation("logs", "DescribeQueryDefinitions")
def describe_query_definitions(request: AwsRequest) -> dict[str, Any]:
    prefix = request.parameters.get("queryDefinitionNamePrefix") or ""
    found = [query for query in _queries.values() if query["name"].startswith(prefix)]
    return {"queryDefinitions": sorted(found, key=lambda query: query["name"])}


@operation("logs", "DeleteQueryDefinition")
def delete_query_definition(request: AwsRequest) -> dict[str, Any]:
    if _queries.pop(request.parameters["queryDefinitionId"], None) is None:
        raise AwsError("ResourceNotFoundException", "The specified query definition does not exist.")
    return {"success": True}


@control.on_reset
def clear() -> None:
    _queries.clear()
