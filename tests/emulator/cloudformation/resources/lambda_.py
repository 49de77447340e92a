"""AWS::Lambda::Function, Permission, EventInvokeConfig."""

from __future__ import annotations

from typing import Any

from emulator.cloudformation.resources import (
    Handler,
    Put,
    ResourceContext,
    ResourceFailed,
    chosen,
    client,
    handles,
    integers,
)

_CONFIGURATION = ("Description", "Handler", "LoggingConfig", "Role", "Runtime", "TracingConfig")


@handles
class Function(Handler):
    type = "AWS::Lambda::Function"
    properties = frozenset(
        {
            *_CONFIGURATION,
            "Architectures",
            "Code",
            "Environment",
            "FunctionName",
            "MemorySize",
            "PackageType",
            "ReservedConcurrentExecutions",
            "Tags",
            "Timeout",
        }
    )
    required = frozenset({"Code", "Role"})
    replaced_by = frozenset({"FunctionName", "PackageType"})

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        name = properties.get("FunctionName") or ctx.physical_name(64)
        created = client("lambda").create_function(
            FunctionName=name,
            Code=self._code(properties),
            Tags=ctx.tags(properties),
            **chosen(properties, "Architectures", "PackageType"),
            **self._configuration(properties),
        )
        self._set_concurrency(name, properties)
        return name, {"Arn": created["FunctionArn"]}

    def update(self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        functions = client("lambda")
        if old["Code"] != new["Code"] or old.get("Architectures") != new.get("Architectures"):
            functions.update_function_code(FunctionName=physical_id, **self._code(new), **chosen(new, "Architectures"))
        # What the template no longer says goes back to its default.
        defaults = {
            "Description": "",
            "Environment": {"Variables": {}},
            "LoggingConfig": {"LogFormat": "Text"},
            "MemorySize": 128,
            "Timeout": 3,
            "TracingConfig": {"Mode": "PassThrough"},
        }
        functions.update_function_configuration(FunctionName=physical_id, **defaults | self._configuration(new))
        self._set_concurrency(physical_id, new)
        if tags := ctx.tags(new):
            arn = functions.get_function(FunctionName=physical_id)["Configuration"]["FunctionArn"]
            functions.tag_resource(Resource=arn, Tags=tags)

    @staticmethod
    def _code(properties: dict[str, Any]) -> dict[str, Any]:
        code = properties["Code"]
        if not {"S3Bucket", "S3Key"} <= code.keys():
            raise ResourceFailed(
                "the function's code isn't in a bucket: package it (`sam build`, then `sam deploy --resolve-s3`)"
            )
        return chosen(code, "S3Bucket", "S3Key", "S3ObjectVersion")

    @staticmethod
    def _configuration(properties: dict[str, Any]) -> dict[str, Any]:
        configuration = chosen(properties, *_CONFIGURATION) | integers(properties, "MemorySize", "Timeout")
        if "Environment" in properties:
            variables = properties["Environment"].get("Variables", {})
            configuration["Environment"] = {"Variables": {k: str(v) for k, v in variables.items()}}
        return configuration

    @staticmethod
    def _set_concurrency(name: str, properties: dict[str, Any]) -> None:
        if "ReservedConcurrentExecutions" in properties:
            client("lambda").put_function_concurrency(
                FunctionName=name, **integers(properties, "ReservedConcurrentExecutions")
            )
        else:
            client("lambda").delete_function_concurrency(FunctionName=name)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        client("lambda").delete_function(FunctionName=physical_id)


@handles
class Alias(Handler):
    type = "AWS::Lambda::Alias"
    properties = frozenset({"Description", "FunctionName", "FunctionVersion", "Name"})
    required = frozenset({"FunctionName", "FunctionVersion", "Name"})
    replaced_by = frozenset({"FunctionName", "Name"})

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        arn = client("lambda").create_alias(**properties)["AliasArn"]
        return arn, {"AliasArn": arn}

    def update(self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        client("lambda").update_alias(**new)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        functions = client("lambda")
        try:
            functions.delete_alias(**chosen(properties, "FunctionName", "Name"))
        except functions.exceptions.ResourceNotFoundException:
            pass


@handles
class Permission(Handler):
    """A statement of the function's policy. Everything in it names the statement, so each change replaces it."""

    type = "AWS::Lambda::Permission"
    properties = frozenset({"Action", "FunctionName", "Principal", "SourceAccount", "SourceArn"})
    required = frozenset({"Action", "FunctionName", "Principal"})
    replaced_by = properties

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        statement_id = ctx.physical_name(100)
        client("lambda").add_permission(
            StatementId=statement_id,
            **chosen(properties, "Action", "FunctionName", "Principal", "SourceAccount", "SourceArn"),
        )
        return statement_id, {"Id": statement_id}

    def update(self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        pass

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        client("lambda").remove_permission(FunctionName=properties["FunctionName"], StatementId=physical_id)


@handles
class EventInvokeConfig(Put):
    type = "AWS::Lambda::EventInvokeConfig"
    properties = frozenset(
        {"DestinationConfig", "FunctionName", "MaximumEventAgeInSeconds", "MaximumRetryAttempts", "Qualifier"}
    )
    required = frozenset({"FunctionName", "Qualifier"})
    replaced_by = frozenset({"FunctionName", "Qualifier"})

    def put(self, properties: dict[str, Any]) -> None:
        if properties["Qualifier"] != "$LATEST":
            raise ResourceFailed("the emulator runs only the qualifier $LATEST")
        client("lambda").put_function_event_invoke_config(
            FunctionName=properties["FunctionName"],
            **integers(properties, "MaximumEventAgeInSeconds", "MaximumRetryAttempts"),
            **chosen(properties, "DestinationConfig"),
        )

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        client("lambda").delete_function_event_invoke_config(FunctionName=properties["FunctionName"])
