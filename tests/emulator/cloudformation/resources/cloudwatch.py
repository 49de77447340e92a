"""AWS::CloudWatch::Alarm, Dashboard; AWS::Logs::LogGroup."""

from __future__ import annotations

import json
from typing import Any

from emulator.cloudformation.resources import Handler, ResourceContext, boolean, chosen, client, handles, integers
from emulator.context import context


@handles
class Alarm(Handler):
    type = "AWS::CloudWatch::Alarm"
    _texts = (
        "AlarmActions",
        "AlarmDescription",
        "ComparisonOperator",
        "Dimensions",
        "ExtendedStatistic",
        "InsufficientDataActions",
        "MetricName",
        "Namespace",
        "OKActions",
        "Statistic",
        "TreatMissingData",
        "Unit",
    )
    _integers = ("DatapointsToAlarm", "EvaluationPeriods", "Period")
    properties = frozenset({*_texts, *_integers, "ActionsEnabled", "AlarmName", "Metrics", "Tags", "Threshold"})
    required = frozenset({"ComparisonOperator", "EvaluationPeriods"})
    replaced_by = frozenset({"AlarmName"})

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        name = properties.get("AlarmName") or ctx.physical_name()
        self._put(name, ctx, properties)
        return name, {"Arn": f"arn:aws:cloudwatch:{context.region}:{context.account_id}:alarm:{name}"}

    def update(self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        self._put(physical_id, ctx, new)

    def _put(self, name: str, ctx: ResourceContext, properties: dict[str, Any]) -> None:
        request = chosen(properties, *self._texts) | integers(properties, *self._integers)
        if "Threshold" in properties:
            request["Threshold"] = float(properties["Threshold"])
        if "ActionsEnabled" in properties:
            request["ActionsEnabled"] = boolean(properties["ActionsEnabled"])
        if "Metrics" in properties:
            request["Metrics"] = [_metric(query) for query in properties["Metrics"]]
        if tags := ctx.tag_list(properties):
            request["Tags"] = tags
        client("cloudwatch").put_metric_alarm(AlarmName=name, **request)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        client("cloudwatch").delete_alarms(AlarmNames=[physical_id])


def _metric(query: dict[str, Any]) -> dict[str, Any]:
    query = query | integers(query, "Period")
    if "ReturnData" in query:
        query["ReturnData"] = boolean(query["ReturnData"])
    if "MetricStat" in query:
        query["MetricStat"] = query["MetricStat"] | integers(query["MetricStat"], "Period")
    return query


@handles
class Dashboard(Handler):
    type = "AWS::CloudWatch::Dashboard"
    properties = frozenset({"DashboardBody", "DashboardName"})
    required = frozenset({"DashboardBody"})
    replaced_by = frozenset({"DashboardName"})

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        name = properties.get("DashboardName") or ctx.physical_name()
        self.update(ctx, name, {}, properties)
        return name, {}

    def update(self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        body = new["DashboardBody"]
        json.loads(body)  # CloudWatch refuses what isn't JSON
        client("cloudwatch").put_dashboard(DashboardName=physical_id, DashboardBody=body)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        client("cloudwatch").delete_dashboards(DashboardNames=[physical_id])


@handles
class LogGroup(Handler):
    type = "AWS::Logs::LogGroup"
    properties = frozenset({"KmsKeyId", "LogGroupClass", "LogGroupName", "RetentionInDays", "Tags"})
    replaced_by = frozenset({"LogGroupClass", "LogGroupName"})

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        name = properties.get("LogGroupName") or ctx.physical_name()
        request: dict[str, Any] = {"tags": ctx.tags(properties)}
        if "LogGroupClass" in properties:
            request["logGroupClass"] = properties["LogGroupClass"]
        if "KmsKeyId" in properties:
            request["kmsKeyId"] = properties["KmsKeyId"]
        client("logs").create_log_group(logGroupName=name, **request)
        self._set_retention(name, properties)
        return name, {"Arn": f"arn:aws:logs:{context.region}:{context.account_id}:log-group:{name}:*"}

    def update(self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        self._set_retention(physical_id, new)
        if tags := ctx.tags(new):
            client("logs").tag_log_group(logGroupName=physical_id, tags=tags)

    @staticmethod
    def _set_retention(name: str, properties: dict[str, Any]) -> None:
        if "RetentionInDays" in properties:
            client("logs").put_retention_policy(logGroupName=name, retentionInDays=int(properties["RetentionInDays"]))
        else:
            client("logs").delete_retention_policy(logGroupName=name)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        client("logs").delete_log_group(logGroupName=physical_id)


@handles
class QueryDefinition(Handler):
    type = "AWS::Logs::QueryDefinition"
    properties = frozenset({"LogGroupNames", "Name", "QueryString"})
    required = frozenset({"Name", "QueryString"})

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        identifier = client("logs").put_query_definition(**self._request(properties))["queryDefinitionId"]
        return identifier, {"QueryDefinitionId": identifier}

    def update(self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        client("logs").put_query_definition(queryDefinitionId=physical_id, **self._request(new))

    @staticmethod
    def _request(properties: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": properties["Name"],
            "queryString": properties["QueryString"],
            "logGroupNames": properties.get("LogGroupNames", []),
        }

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        client("logs").delete_query_definition(queryDefinitionId=physical_id)
