"""AWS::IAM::Role, InstanceProfile."""

from __future__ import annotations

import json
from typing import Any

from emulator.cloudformation.resources import (
    Handler,
    ResourceContext,
    ResourceFailed,
    chosen,
    client,
    handles,
    integers,
)

MANAGED_POLICY_LIMIT = 6144
ROLE_POLICIES_LIMIT = 10240
"""What IAM takes of a managed policy and of all inline policies of a role together, in characters."""


def _size(document: dict[str, Any]) -> int:
    """White space isn't counted."""
    return len(json.dumps(document, separators=(",", ":")))


@handles
class Role(Handler):
    type = "AWS::IAM::Role"
    properties = frozenset(
        {
            "AssumeRolePolicyDocument",
            "Description",
            "ManagedPolicyArns",
            "MaxSessionDuration",
            "Path",
            "PermissionsBoundary",
            "Policies",
            "RoleName",
            "Tags",
        }
    )
    required = frozenset({"AssumeRolePolicyDocument"})
    replaced_by = frozenset({"RoleName", "Path"})

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        name = properties.get("RoleName") or ctx.physical_name(64)
        role = client("iam").create_role(
            RoleName=name,
            AssumeRolePolicyDocument=json.dumps(properties["AssumeRolePolicyDocument"]),
            Tags=ctx.tag_list(properties),
            **chosen(properties, "Description", "Path", "PermissionsBoundary"),
            **integers(properties, "MaxSessionDuration"),
        )["Role"]
        self._set_policies(name, {}, properties)
        return name, {"Arn": role["Arn"], "RoleId": role["RoleId"]}

    def update(self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        iam = client("iam")
        iam.update_assume_role_policy(RoleName=physical_id, PolicyDocument=json.dumps(new["AssumeRolePolicyDocument"]))
        iam.update_role(RoleName=physical_id, **chosen(new, "Description"), **integers(new, "MaxSessionDuration"))
        if boundary := new.get("PermissionsBoundary"):
            iam.put_role_permissions_boundary(RoleName=physical_id, PermissionsBoundary=boundary)
        elif "PermissionsBoundary" in old:
            iam.delete_role_permissions_boundary(RoleName=physical_id)
        iam.tag_role(RoleName=physical_id, Tags=ctx.tag_list(new))
        self._set_policies(physical_id, old, new)

    def _set_policies(self, name: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        iam = client("iam")
        inline = {policy["PolicyName"]: policy["PolicyDocument"] for policy in new.get("Policies", [])}
        for policy in old.get("Policies", []):
            if policy["PolicyName"] not in inline:
                iam.delete_role_policy(RoleName=name, PolicyName=policy["PolicyName"])
        if sum(map(_size, inline.values())) > ROLE_POLICIES_LIMIT:
            raise ResourceFailed(f"Maximum policy size of {ROLE_POLICIES_LIMIT} bytes exceeded for role {name}")
        for policy_name, document in inline.items():
            iam.put_role_policy(RoleName=name, PolicyName=policy_name, PolicyDocument=json.dumps(document))
        attached = set(new.get("ManagedPolicyArns", []))
        for arn in set(old.get("ManagedPolicyArns", [])) - attached:
            iam.detach_role_policy(RoleName=name, PolicyArn=arn)
        for arn in sorted(attached - set(old.get("ManagedPolicyArns", []))):
            iam.attach_role_policy(RoleName=name, PolicyArn=arn)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        iam = client("iam")
        for name in iam.list_role_policies(RoleName=physical_id)["PolicyNames"]:
            iam.delete_role_policy(RoleName=physical_id, PolicyName=name)
        for policy in iam.list_attached_role_policies(RoleName=physical_id)["AttachedPolicies"]:
            iam.detach_role_policy(RoleName=physical_id, PolicyArn=policy["PolicyArn"])
        iam.delete_role(RoleName=physical_id)


@handles
class ManagedPolicy(Handler):
    type = "AWS::IAM::ManagedPolicy"
    properties = frozenset({"Description", "ManagedPolicyName", "Path", "PolicyDocument", "Roles"})
    required = frozenset({"PolicyDocument"})
    replaced_by = frozenset({"Description", "ManagedPolicyName", "Path"})

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        name = properties.get("ManagedPolicyName") or ctx.physical_name(128)
        arn = client("iam").create_policy(
            PolicyName=name,
            PolicyDocument=self._document(properties),
            **chosen(properties, "Description", "Path"),
        )["Policy"]["Arn"]
        for role in properties.get("Roles", []):
            client("iam").attach_role_policy(RoleName=role, PolicyArn=arn)
        return arn, {"PolicyArn": arn}

    @staticmethod
    def _document(properties: dict[str, Any]) -> str:
        if _size(properties["PolicyDocument"]) > MANAGED_POLICY_LIMIT:
            raise ResourceFailed(f"Cannot exceed quota for PolicySize: {MANAGED_POLICY_LIMIT}")
        return json.dumps(properties["PolicyDocument"])

    def update(self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        iam = client("iam")
        if old["PolicyDocument"] != new["PolicyDocument"]:
            before = iam.get_policy(PolicyArn=physical_id)["Policy"]["DefaultVersionId"]
            iam.create_policy_version(PolicyArn=physical_id, PolicyDocument=self._document(new), SetAsDefault=True)
            # A policy has five versions at most.
            iam.delete_policy_version(PolicyArn=physical_id, VersionId=before)
        roles, others = set(new.get("Roles", [])), set(old.get("Roles", []))
        for role in sorted(others - roles):
            iam.detach_role_policy(RoleName=role, PolicyArn=physical_id)
        for role in sorted(roles - others):
            iam.attach_role_policy(RoleName=role, PolicyArn=physical_id)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        iam = client("iam")
        # Only from the roles that this resource attached it to; IAM refuses to delete what is attached elsewhere.
        for role in properties.get("Roles", []):
            iam.detach_role_policy(RoleName=role, PolicyArn=physical_id)
        iam.delete_policy(PolicyArn=physical_id)


@handles
class InstanceProfile(Handler):
    type = "AWS::IAM::InstanceProfile"
    properties = frozenset({"InstanceProfileName", "Path", "Roles"})
    required = frozenset({"Roles"})
    replaced_by = frozenset({"InstanceProfileName", "Path"})

    def create(self, ctx: ResourceContext, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        name = properties.get("InstanceProfileName") or ctx.physical_name(128)
        iam = client("iam")
        profile = iam.create_instance_profile(InstanceProfileName=name, **chosen(properties, "Path"))
        for role in properties["Roles"]:
            iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=role)
        return name, {"Arn": profile["InstanceProfile"]["Arn"]}

    def update(self, ctx: ResourceContext, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        iam = client("iam")
        for role in set(old["Roles"]) - set(new["Roles"]):
            iam.remove_role_from_instance_profile(InstanceProfileName=physical_id, RoleName=role)
        for role in set(new["Roles"]) - set(old["Roles"]):
            iam.add_role_to_instance_profile(InstanceProfileName=physical_id, RoleName=role)

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        iam = client("iam")
        for role in iam.get_instance_profile(InstanceProfileName=physical_id)["InstanceProfile"]["Roles"]:
            iam.remove_role_from_instance_profile(InstanceProfileName=physical_id, RoleName=role["RoleName"])
        iam.delete_instance_profile(InstanceProfileName=physical_id)
