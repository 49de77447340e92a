"""AWS::CloudFormation::Stack: a stack in a stack, from a template that was uploaded."""

from __future__ import annotations

from typing import Any

from emulator.aws_request import AwsError
from emulator.cloudformation.resources import Handler, ResourceContext, ResourceFailed, handles


@handles
class NestedStack(Handler):
    type = "AWS::CloudFormation::Stack"
    properties = frozenset({"Parameters", "Tags", "TemplateURL"})
    required = frozenset({"TemplateURL"})

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        from emulator.cloudformation import stacks

        stack = stacks.add(ctx.physical_name(128), parent=stacks.get(ctx.stack_id))
        stack.create(self._version(ctx, properties))
        return self._settled(stack, "CREATE_COMPLETE")

    def update(
        self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]
    ) -> dict[str, Any]:
        from emulator.cloudformation import stacks

        stack = stacks.get(physical_id)
        stack.update(self._version(ctx, new))
        return self._settled(stack, "UPDATE_COMPLETE")[1]

    @staticmethod
    def _version(ctx: ResourceContext, properties: dict[str, Any]) -> Any:
        from emulator.cloudformation import api, stacks

        parent = stacks.get(ctx.stack_id).version
        assert parent is not None
        given = {}
        for name, value in (properties.get("Parameters") or {}).items():
            if isinstance(value, (list, dict)):
                raise ResourceFailed(f"Value of property Parameters must be an object with String (or simple type) properties: {name}")
            given[name] = str(value).lower() if isinstance(value, bool) else str(value)
        # What was acknowledged for the stack goes for those in it.
        return stacks.Version.prepare(
            api.template_at(properties["TemplateURL"]), given, ctx.tags(properties), parent.capabilities
        )

    @staticmethod
    def _settled(stack: Any, wanted: str) -> tuple[str, dict[str, Any]]:
        if stack.status != wanted:
            raise ResourceFailed(f"Embedded stack {stack.stack_id} was not successfully created or updated: {stack.reason}")
        outputs = {f"Outputs.{output['OutputKey']}": output["OutputValue"] for output in stack.outputs}
        return stack.stack_id, outputs

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        from emulator.cloudformation import stacks

        stack = stacks.find(physical_id)
        if stack is None or stack.status == "DELETE_COMPLETE":
            return
        stack.delete()
        if stack.status != "DELETE_COMPLETE":
            raise AwsError("ValidationError", f"Embedded stack {physical_id} was not successfully deleted: {stack.reason}")
