"""AWS::DynamoDB::Table."""

from __future__ import annotations

from typing import Any

from emulator.cloudformation.resources import Handler, ResourceContext, boolean, chosen, client, handles


@handles
class Table(Handler):
    type = "AWS::DynamoDB::Table"
    properties = frozenset(
        {
            "AttributeDefinitions",
            "BillingMode",
            "DeletionProtectionEnabled",
            "KeySchema",
            "PointInTimeRecoverySpecification",
            "SSESpecification",
            "TableName",
            "Tags",
            "TimeToLiveSpecification",
        }
    )
    required = frozenset({"KeySchema"})
    replaced_by = frozenset({"AttributeDefinitions", "KeySchema", "TableName"})

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        name = properties.get("TableName") or ctx.physical_name()
        created = client("dynamodb").create_table(
            TableName=name,
            Tags=ctx.tag_list(properties),
            DeletionProtectionEnabled=boolean(properties.get("DeletionProtectionEnabled", False)),
            **chosen(properties, "AttributeDefinitions", "BillingMode", "KeySchema"),
            **self._encryption(properties),
        )
        self._settle(name, {}, properties)
        return name, {"Arn": created["TableDescription"]["TableArn"]}

    def update(self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        dynamodb = client("dynamodb")
        if old.get("BillingMode") != new.get("BillingMode"):
            dynamodb.update_table(TableName=physical_id, **chosen(new, "BillingMode"))
        if old.get("SSESpecification") != new.get("SSESpecification"):
            off = {"SSESpecification": {"Enabled": False}}
            dynamodb.update_table(TableName=physical_id, **(self._encryption(new) or off))
        protected = boolean(new.get("DeletionProtectionEnabled", False))
        dynamodb.update_table(TableName=physical_id, DeletionProtectionEnabled=protected)
        self._settle(physical_id, old, new)
        if tags := ctx.tag_list(new):
            arn = dynamodb.describe_table(TableName=physical_id)["Table"]["TableArn"]
            dynamodb.tag_resource(ResourceArn=arn, Tags=tags)

    @staticmethod
    def _encryption(properties: dict[str, Any]) -> dict[str, Any]:
        """CloudFormation calls SSEEnabled what the API calls Enabled."""
        if "SSESpecification" not in properties:
            return {}
        given = properties["SSESpecification"]
        return {
            "SSESpecification": {"Enabled": boolean(given["SSEEnabled"]), **chosen(given, "KMSMasterKeyId", "SSEType")}
        }

    def _settle(self, name: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        """What isn't part of CreateTable."""
        dynamodb = client("dynamodb")
        before, ttl = (each.get("TimeToLiveSpecification") for each in (old, new))
        if before != ttl:
            # Left out, it is switched off.
            wanted = ttl or before | {"Enabled": False}
            dynamodb.update_time_to_live(
                TableName=name,
                TimeToLiveSpecification={
                    "Enabled": boolean(wanted["Enabled"]),
                    "AttributeName": wanted["AttributeName"],
                },
            )
        recovery = "PointInTimeRecoverySpecification"
        if old.get(recovery) != new.get(recovery):
            enabled = boolean((new.get(recovery) or {}).get("PointInTimeRecoveryEnabled", False))
            dynamodb.update_continuous_backups(
                TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": enabled}
            )

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        client("dynamodb").delete_table(TableName=physical_id)
