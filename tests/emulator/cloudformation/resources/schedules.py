"""AWS::Scheduler::Schedule, ScheduleGroup; AWS::Events::Rule."""

from __future__ import annotations

import json
from typing import Any

from emulator.cloudformation.resources import Handler, ResourceContext, ResourceFailed, chosen, client, handles, target
from emulator.context import context


@handles
class Schedule(Handler):
    type = "AWS::Scheduler::Schedule"
    _settable = (
        "Description",
        "EndDate",
        "FlexibleTimeWindow",
        "GroupName",
        "ScheduleExpression",
        "ScheduleExpressionTimezone",
        "StartDate",
        "State",
    )
    properties = frozenset({*_settable, "Name", "Target"})
    required = frozenset({"FlexibleTimeWindow", "ScheduleExpression", "Target"})
    replaced_by = frozenset({"Name", "GroupName"})

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        name = properties.get("Name") or ctx.physical_name(64)
        arn = client("scheduler").create_schedule(Name=name, **self._request(properties))["ScheduleArn"]
        return name, {"Arn": arn}

    def update(self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        defaults = {"ScheduleExpressionTimezone": "UTC", "State": "ENABLED"}
        client("scheduler").update_schedule(Name=physical_id, **defaults | self._request(new))

    def _request(self, properties: dict[str, Any]) -> dict[str, Any]:
        return chosen(properties, *self._settable) | {"Target": target(properties["Target"])}

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        client("scheduler").delete_schedule(Name=physical_id, **chosen(properties, "GroupName"))


@handles
class ScheduleGroup(Handler):
    type = "AWS::Scheduler::ScheduleGroup"
    properties = frozenset({"Name", "Tags"})
    replaced_by = frozenset({"Name"})

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        name = properties.get("Name") or ctx.physical_name(64)
        arn = client("scheduler").create_schedule_group(Name=name, Tags=ctx.tag_list(properties))["ScheduleGroupArn"]
        return name, {"Arn": arn}

    def update(self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        if tags := ctx.tag_list(new):
            arn = f"arn:aws:scheduler:{context.region}:{context.account_id}:schedule-group/{physical_id}"
            client("scheduler").tag_resource(ResourceArn=arn, Tags=tags)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        client("scheduler").delete_schedule_group(Name=physical_id)


@handles
class Rule(Handler):
    type = "AWS::Events::Rule"
    properties = frozenset(
        {"Description", "EventBusName", "EventPattern", "Name", "RoleArn", "ScheduleExpression", "State", "Targets"}
    )
    replaced_by = frozenset({"Name", "EventBusName"})

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        name = properties.get("Name") or ctx.physical_name(64)
        return name, {"Arn": self._put(name, properties)}

    def update(self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        self._put(physical_id, new)
        kept = {each["Id"] for each in new.get("Targets", [])}
        gone = [each["Id"] for each in old.get("Targets", []) if each["Id"] not in kept]
        if gone:
            client("events").remove_targets(Rule=physical_id, Ids=gone, **chosen(new, "EventBusName"))

    def _put(self, name: str, properties: dict[str, Any]) -> str:
        if "EventPattern" not in properties and "ScheduleExpression" not in properties:
            raise ResourceFailed("Parameter(s) EventPattern or ScheduleExpression must be specified.")
        events = client("events")
        request = chosen(properties, "Description", "EventBusName", "RoleArn", "ScheduleExpression", "State")
        if "EventPattern" in properties:
            request["EventPattern"] = json.dumps(properties["EventPattern"])
        arn = events.put_rule(Name=name, **request)["RuleArn"]
        if targets := [target(each) for each in properties.get("Targets", [])]:
            answer = events.put_targets(Rule=name, Targets=targets, **chosen(properties, "EventBusName"))
            if answer["FailedEntryCount"]:
                raise ResourceFailed(f"a target of the rule was refused: {answer['FailedEntries'][0]}")
        return arn

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        events = client("events")
        bus = chosen(properties, "EventBusName")
        targets = events.list_targets_by_rule(Rule=physical_id, **bus)["Targets"]
        if targets:
            events.remove_targets(Rule=physical_id, Ids=[each["Id"] for each in targets], **bus)
        events.delete_rule(Name=physical_id, **bus)
