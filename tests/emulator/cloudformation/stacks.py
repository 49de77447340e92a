"""Stacks, change sets and the engine that carries them out."""

from __future__ import annotations

import json
import logging
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from emulator import control
from emulator.aws_request import AwsError
from emulator.cloudformation import rules, sam
from emulator.cloudformation import template as templates
from emulator.cloudformation.resources import ResourceContext, ResourceFailed, handler_for, unless_gone
from emulator.cloudformation.template import Scope, TemplateError
from emulator.context import context

log = logging.getLogger("emulator")

ANSWER_WAITS_SECONDS = 5.0


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Resource:
    """A resource as it stands."""

    logical_id: str
    type: str
    physical_id: str
    properties: dict[str, Any]
    """Resolved: what the service was asked for."""
    attributes: dict[str, Any]
    deletion_policy: str
    status: str = "CREATE_COMPLETE"
    reason: str | None = None
    updated: datetime = field(default_factory=_now)


@dataclass
class Event:
    logical_id: str
    physical_id: str
    type: str
    status: str
    reason: str | None
    properties: str | None
    event_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    time: datetime = field(default_factory=_now)


@dataclass
class Version:
    """What a stack is deployed from."""

    text: str
    template: dict[str, Any]
    """Processed: transforms are applied."""
    given_parameters: dict[str, str]
    parameters: dict[str, Any]
    tags: dict[str, str]
    capabilities: list[str]

    @classmethod
    def prepare(
        cls, text: str, given_parameters: dict[str, str], tags: dict[str, str], capabilities: list[str]
    ) -> Version:
        """Reads, checks and transforms; raises AwsError for whatever CloudFormation would refuse."""
        source = templates.parse(text)
        parameters = templates.parameter_values(source, given_parameters)
        rules.check(source, parameters)
        processed = sam.transform(source, parameters)
        templates.creation_order(processed)
        _require_capabilities(processed, capabilities)
        return cls(text, processed, given_parameters, parameters, tags, capabilities)


def _require_capabilities(template: dict[str, Any], capabilities: list[str]) -> None:
    needed = set()
    for resource in template["Resources"].values():
        if resource["Type"] in (
            "AWS::IAM::Role",
            "AWS::IAM::Policy",
            "AWS::IAM::ManagedPolicy",
            "AWS::IAM::InstanceProfile",
        ):
            name = resource["Type"].rsplit("::", 1)[1] + "Name"
            named = name in resource.get("Properties", {}) and resource["Type"] != "AWS::IAM::Policy"
            needed.add("CAPABILITY_NAMED_IAM" if named else "CAPABILITY_IAM")
    if "CAPABILITY_NAMED_IAM" in capabilities:
        needed.discard("CAPABILITY_IAM")
    if lacking := sorted(needed - set(capabilities)):
        raise AwsError("InsufficientCapabilitiesException", f"Requires capabilities : [{', '.join(lacking)}]")


@dataclass
class ChangeSet:
    change_set_id: str
    name: str
    stack: Stack
    kind: str
    description: str | None
    version: Version | None
    changes: list[dict[str, Any]]
    status: str
    reason: str | None = None
    execution_status: str = "AVAILABLE"
    created: datetime = field(default_factory=_now)


class Stack:
    def __init__(self, name: str, parent: Stack | None = None) -> None:
        self.name = name
        self.parent = parent
        self.stack_id = f"arn:aws:cloudformation:{context.region}:{context.account_id}:stack/{name}/{uuid.uuid4()}"
        self.status = "REVIEW_IN_PROGRESS"
        self.reason: str | None = None
        self.created = _now()
        self.updated: datetime | None = None
        self.deleted: datetime | None = None
        self.version: Version | None = None
        self.description: str | None = None
        self.resources: dict[str, Resource] = {}
        self.outputs: list[dict[str, Any]] = []
        self.events: list[Event] = []
        self.change_sets: dict[str, ChangeSet] = {}
        self.disable_rollback = False
        self.change_set_id: str | None = None
        self._tags_changed = False

    # ---- events and states ----

    def set_status(self, status: str, reason: str | None = None) -> None:
        self.status, self.reason = status, reason
        self.events.append(Event(self.name, self.stack_id, "AWS::CloudFormation::Stack", status, reason, None))

    def _note(self, logical_id: str, status: str, reason: str | None = None, properties: Any = None) -> None:
        resource = self.resources.get(logical_id)
        if resource is not None:
            resource.status, resource.reason, resource.updated = status, reason, _now()
        kind = resource.type if resource else self._type_of(logical_id)
        text = json.dumps(properties, default=str) if properties is not None else None
        self.events.append(Event(logical_id, resource.physical_id if resource else "", kind, status, reason, text))

    def _type_of(self, logical_id: str) -> str:
        assert self.version is not None
        return self.version.template["Resources"][logical_id]["Type"]

    # ---- evaluation ----

    def scope(self, version: Version) -> Scope:
        def reference(name: str) -> Any:
            if name not in self.resources:
                raise TemplateError(f"Unresolved resource dependencies [{name}] in the Resources block of the template")
            return self.resources[name].physical_id

        def attribute(name: str, key: str) -> Any:
            if name not in self.resources:
                raise TemplateError(f"Template error: instance of Fn::GetAtt references undefined resource {name}")
            attributes = self.resources[name].attributes
            if key not in attributes:
                message = f"Template error: resource {name} does not support attribute type {key} in Fn::GetAtt"
                raise TemplateError(message)
            return attributes[key]

        return Scope(version.template, version.parameters, self.stack_id, self.name, reference, attribute)

    @property
    def root(self) -> Stack:
        """The stack that no other one made."""
        return self if self.parent is None else self.parent.root

    def _context_for(self, logical_id: str, version: Version) -> ResourceContext:
        return ResourceContext(self.name, self.stack_id, logical_id, version.tags)

    # ---- carrying out ----

    def create(self, version: Version) -> None:
        self.version, self.description = version, version.template.get("Description")
        self.set_status("CREATE_IN_PROGRESS", "User Initiated")
        scope = self.scope(version)
        for logical_id in templates.creation_order(version.template):
            try:
                if scope.is_created(logical_id):
                    self._create_resource(logical_id, version, scope)
            except _FAILURES as error:
                return self._create_failed(logical_id, error)
        try:
            self.outputs = _outputs(version, scope)
        except AwsError as error:
            return self._create_failed(None, error)
        self.set_status("CREATE_COMPLETE")

    def _create_failed(self, logical_id: str | None, error: Exception) -> None:
        if logical_id is not None and self.status != "CREATE_FAILED":
            self._note(logical_id, "CREATE_FAILED", _reason(error))
        summary = f"The following resource(s) failed to create: [{logical_id}]." if logical_id else _reason(error)
        if self.disable_rollback:
            return self.set_status("CREATE_FAILED", summary)
        self.set_status("ROLLBACK_IN_PROGRESS", f"{summary} Rollback requested by user.")
        ok = self._delete_resources(list(self.resources), just_created=True)
        self.set_status("ROLLBACK_COMPLETE" if ok else "ROLLBACK_FAILED")

    def _create_resource(self, logical_id: str, version: Version, scope: Scope) -> None:
        declaration = version.template["Resources"][logical_id]
        properties = scope.resolve(declaration.get("Properties") or {})
        handler = handler_for(declaration["Type"])
        self._note(logical_id, "CREATE_IN_PROGRESS")
        handler.check(properties)
        physical_id, attributes = handler.create(self._context_for(logical_id, version), properties)
        self.resources[logical_id] = Resource(
            logical_id,
            declaration["Type"],
            physical_id,
            properties,
            attributes,
            declaration.get("DeletionPolicy", "Delete"),
        )
        self._note(logical_id, "CREATE_IN_PROGRESS", "Resource creation Initiated", properties)
        self._note(logical_id, "CREATE_COMPLETE", None, properties)

    def update(self, version: Version) -> None:
        before, self.version = self.version, version
        assert before is not None
        self.updated = _now()
        self._tags_changed = before.tags != version.tags
        self.set_status("UPDATE_IN_PROGRESS", "User Initiated")
        try:
            replaced = self._apply(version)
            self.outputs = _outputs(version, self.scope(version))
        except _UpdateFailed as failure:
            self.set_status(
                "UPDATE_ROLLBACK_IN_PROGRESS", f"The following resource(s) failed to update: [{failure.logical_id}]."
            )
            return self._roll_back_to(before)
        except AwsError as error:
            self.set_status("UPDATE_ROLLBACK_IN_PROGRESS", _reason(error))
            return self._roll_back_to(before)
        self.description = version.template.get("Description")
        self.set_status("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
        self._clean_up(version, replaced)
        self.set_status("UPDATE_COMPLETE")

    def _apply(self, version: Version) -> list[Resource]:
        """Create and update as the version wants it; returns what was replaced and has still to be deleted."""
        scope = self.scope(version)
        replaced = []
        for logical_id in templates.creation_order(version.template):
            if not scope.is_created(logical_id):
                continue
            try:
                old = self.resources.get(logical_id)
                if old is None:
                    self._create_resource(logical_id, version, scope)
                elif (gone := self._update_resource(old, version, scope)) is not None:
                    replaced.append(gone)
            except _FAILURES as error:
                status = "UPDATE_FAILED" if logical_id in self.resources else "CREATE_FAILED"
                self._note(logical_id, status, _reason(error))
                raise _UpdateFailed(logical_id) from error
        return replaced

    def _update_resource(self, old: Resource, version: Version, scope: Scope) -> Resource | None:
        declaration = version.template["Resources"][old.logical_id]
        properties = scope.resolve(declaration.get("Properties") or {})
        old.deletion_policy = declaration.get("DeletionPolicy", "Delete")
        same_type = declaration["Type"] == old.type
        tags_changed = same_type and "Tags" in handler_for(old.type).properties and self._tags_changed
        if same_type and properties == old.properties and not tags_changed:
            return None
        handler = handler_for(declaration["Type"])
        handler.check(properties)
        ctx = self._context_for(old.logical_id, version)
        changed = {k for k in {*properties, *old.properties} if properties.get(k) != old.properties.get(k)}
        if same_type and not changed & handler.replaced_by:
            self._note(old.logical_id, "UPDATE_IN_PROGRESS")
            attributes = handler.update(ctx, old.physical_id, old.properties, properties)
            old.properties = properties
            old.attributes = attributes if attributes is not None else old.attributes
            self._note(old.logical_id, "UPDATE_COMPLETE", None, properties)
            return None
        self._note(
            old.logical_id,
            "UPDATE_IN_PROGRESS",
            "Requested update requires the creation of a new physical resource; hence creating one.",
        )
        physical_id, attributes = handler.create(ctx, properties)
        self.resources[old.logical_id] = Resource(
            old.logical_id, declaration["Type"], physical_id, properties, attributes, old.deletion_policy
        )
        self._note(old.logical_id, "UPDATE_COMPLETE", None, properties)
        return old

    def _clean_up(self, version: Version, replaced: list[Resource], just_created: bool = False) -> None:
        for resource in reversed(replaced):
            self._delete_resource(resource)
        scope = self.scope(version)
        declared = version.template["Resources"]
        gone = [n for n in self.resources if n not in declared or not scope.is_created(n)]
        self._delete_resources(gone, just_created)

    def _roll_back_to(self, version: Version) -> None:
        self.version = version
        try:
            replaced = self._apply(version)
            self.outputs = _outputs(version, self.scope(version))
        except (_UpdateFailed, AwsError) as error:
            return self.set_status("UPDATE_ROLLBACK_FAILED", str(error))
        self.set_status("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS")
        self._clean_up(version, replaced, just_created=True)
        self.set_status("UPDATE_ROLLBACK_COMPLETE")

    def delete(self) -> None:
        self.set_status("DELETE_IN_PROGRESS", "User Initiated")
        if self._delete_resources(list(self.resources)):
            self.deleted = _now()
            self.set_status("DELETE_COMPLETE")
        else:
            left = ", ".join(self.resources)
            self.set_status("DELETE_FAILED", f"The following resource(s) failed to delete: [{left}].")

    def _delete_resources(self, logical_ids: list[str], just_created: bool = False) -> bool:
        """In the reverse order of creation; whether all went. `just_created`: by what is being rolled back."""
        complete = True
        for logical_id in reversed([name for name in self.resources if name in logical_ids]):
            complete &= self._delete_resource(self.resources[logical_id], just_created)
        return complete

    def _delete_resource(self, resource: Resource, just_created: bool = False) -> bool:
        current = self.resources.get(resource.logical_id) is resource
        kept = {"Retain"} if just_created else {"Retain", "RetainExceptOnCreate"}

        def note(status: str, reason: str | None = None) -> None:
            self.events.append(Event(resource.logical_id, resource.physical_id, resource.type, status, reason, None))

        if resource.deletion_policy in kept:
            note("DELETE_SKIPPED")
        else:
            note("DELETE_IN_PROGRESS")
            try:
                with unless_gone():
                    handler_for(resource.type).delete(resource.physical_id, resource.properties)
            except _FAILURES as error:
                resource.status, resource.reason = "DELETE_FAILED", _reason(error)
                note("DELETE_FAILED", _reason(error))
                return False
            note("DELETE_COMPLETE")
        if current:
            del self.resources[resource.logical_id]
        return True

    def run(self, action: Any, *arguments: Any) -> None:
        """Carry out in the background, as CloudFormation does: the stack's status tells how it went.

        The API's answer waits a moment for it, because the CLIs' waiters look once and then only every 15 or 30 s.
        """
        generation = context.generation

        def work() -> None:
            try:
                action(*arguments)
            except Exception as error:
                if context.generation == generation:
                    log.exception("stack %s", self.name)
                    self.set_status(self.status.replace("IN_PROGRESS", "FAILED"), f"the emulator failed: {error!r}")

        thread = threading.Thread(target=work, name=f"stack-{self.name}", daemon=True)
        thread.start()
        thread.join(ANSWER_WAITS_SECONDS)


_FAILURES = (AwsError, ClientError, BotoCoreError, ResourceFailed)


class _UpdateFailed(Exception):
    def __init__(self, logical_id: str) -> None:
        super().__init__(logical_id)
        self.logical_id = logical_id


def _reason(error: Exception) -> str:
    if isinstance(error, ClientError):
        details = error.response["Error"]
        return f"{details.get('Message')} (Service: {error.operation_name}, Error Code: {details.get('Code')})"
    return getattr(error, "message", None) or str(error)


def _outputs(version: Version, scope: Scope) -> list[dict[str, Any]]:
    outputs = []
    for key, declaration in (version.template.get("Outputs") or {}).items():
        if "Condition" in declaration and not scope.condition(declaration["Condition"]):
            continue
        output = {"OutputKey": key, "OutputValue": str(scope.resolve(declaration["Value"]))}
        if "Description" in declaration:
            output["Description"] = declaration["Description"]
        if "Export" in declaration:
            raise TemplateError("the emulator has no exports")
        outputs.append(output)
    return outputs


# ---- the account's stacks ----

_stacks: dict[str, Stack] = {}
"""By stack id; the newest of a name is the one that its name means."""


@control.on_reset
def clear() -> None:
    _stacks.clear()


def all_stacks() -> list[Stack]:
    return list(_stacks.values())


def find(name_or_id: str) -> Stack | None:
    """By id also a deleted one; by name only one that exists."""
    if name_or_id in _stacks:
        return _stacks[name_or_id]
    for stack in reversed(_stacks.values()):
        if stack.name == name_or_id and stack.status != "DELETE_COMPLETE":
            return stack
    return None


def get(name_or_id: str) -> Stack:
    stack = find(name_or_id)
    if stack is None:
        raise AwsError("ValidationError", f"Stack with id {name_or_id} does not exist")
    return stack


def add(name: str, parent: Stack | None = None) -> Stack:
    stack = Stack(name, parent)
    _stacks[stack.stack_id] = stack
    return stack


@control.route("POST", "stacks/status")
def set_status(body: dict[str, Any]) -> Any:
    """As in the middle of an update, which takes no time here."""
    stack = find(body["stack"])
    if stack is None:
        raise control.ControlError(f"no stack {body['stack']}")
    stack.status = body["status"]
    return {}


def planned_changes(stack: Stack, version: Version) -> list[dict[str, Any]]:
    """The changes as a change set lists them, as far as they are known before anything is created."""
    scope = stack.scope(version)
    changes = []
    for logical_id in templates.creation_order(version.template):
        declaration = version.template["Resources"][logical_id]
        if not scope.is_created(logical_id):
            continue
        old = stack.resources.get(logical_id)
        if old is None:
            changes.append(_change("Add", logical_id, declaration["Type"], None))
            continue
        try:
            new = scope.resolve(declaration.get("Properties") or {})
        except AwsError:
            new = None  # depends on what is still to be created
        if new != old.properties or declaration["Type"] != old.type:
            different = {k for k in {*(new or {}), *old.properties} if (new or {}).get(k) != old.properties.get(k)}
            replaced = declaration["Type"] != old.type or bool(different & _replaced_by(old.type))
            changes.append(_change("Modify", logical_id, declaration["Type"], old.physical_id, replaced))
    for logical_id, old in stack.resources.items():
        if logical_id not in version.template["Resources"] or not scope.is_created(logical_id):
            changes.append(_change("Remove", logical_id, old.type, old.physical_id))
    return changes


def _replaced_by(resource_type: str) -> frozenset[str]:
    return handler_for(resource_type).replaced_by


def _change(
    action: str, logical_id: str, resource_type: str, physical_id: str | None, replaced: bool = False
) -> dict[str, Any]:
    change = {"Action": action, "LogicalResourceId": logical_id, "ResourceType": resource_type}
    if physical_id is not None:
        change["PhysicalResourceId"] = physical_id
    if action == "Modify":
        change["Replacement"] = "True" if replaced else "False"
    return {"Type": "Resource", "ResourceChange": change}
