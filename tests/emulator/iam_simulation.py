"""SimulatePrincipalPolicy for roles: what their own policies and permissions boundary allow, action by action (SSM-5).

As in AWS, service control policies aside, it says "allowed by identity policies", no more: trust, endpoint policies and
the network don't come into it.
"""

from __future__ import annotations

import json
from typing import Any

from moto.iam.models import Role

from emulator import permissions, policies
from emulator.aws_request import AwsError, AwsRequest
from emulator.operations import operation
from emulator.settings import settings

MAX_ITEMS = 1000
DEFAULT_ITEMS = 100
_DECISIONS = {policies.ALLOW: "allowed", policies.DENY: "explicitDeny", policies.NO_MATCH: "implicitDeny"}


@operation("iam", "SimulatePrincipalPolicy")
def simulate_principal_policy(request: AwsRequest) -> dict[str, Any]:
    parameters = request.parameters
    for name in ("PolicyInputList", "PermissionsBoundaryPolicyInputList", "ResourcePolicy", "CallerArn"):
        if parameters.get(name):
            raise NotImplementedError(f"SimulatePrincipalPolicy with {name}")
    role = _role(parameters["PolicySourceArn"])
    actions = parameters.get("ActionNames") or []
    for action in actions:
        _check(action)
    keys = {e["ContextKeyName"]: e.get("ContextKeyValues", []) for e in parameters.get("ContextEntries") or []}
    resources = parameters.get("ResourceArns") or ["*"]
    results = [_simulate(role, action, resource, keys) for action in actions for resource in resources]
    return _page(results, parameters)


def _role(arn: str) -> Role:
    kind, _, name = arn.rsplit(":", 1)[-1].partition("/")
    if not arn.startswith("arn:") or kind not in ("role", "user", "group") or not name:
        raise AwsError("InvalidInput", f"Invalid Entity Arn: {arn} does not clearly define entity type and name.")
    if kind != "role":
        raise NotImplementedError(f"SimulatePrincipalPolicy of a {kind}")
    role = permissions.find_role(arn)
    if role is None:
        raise AwsError("NoSuchEntity", f"The role with name {name.rsplit('/', 1)[-1]} cannot be found.", 404)
    return role


def _check(action: str) -> None:
    if not 3 <= len(action) <= 128:
        raise AwsError(
            "ValidationError",
            f"1 validation error detected: Value '[{action}]' at 'actionNames' failed to satisfy constraint: Member "
            "must satisfy constraint: [Member must have length less than or equal to 128, Member must have length "
            "greater than or equal to 3]",
        )
    service, _, name = action.partition(":")
    if not service or not name or "*" in action or "?" in action:  # SSM-5; the words are (assumed)
        raise AwsError("InvalidInput", f"Invalid Action: {action} is not the name of one operation.")


def _simulate(role: Role, action: str, resource: str, keys: dict[str, Any]) -> dict[str, Any]:
    given = {"aws:PrincipalArn": role.arn} | keys
    documents = permissions.identity_policies(role)
    boundary = permissions.permissions_boundary(role)
    result = {
        "EvalActionName": action,
        "EvalResourceName": resource,
        "EvalDecision": _DECISIONS[permissions.decide(role, action, resource, given)],
        "MatchedStatements": [],
        "MissingContextValues": _missing(documents + (boundary or []), given),
    }
    if settings.organization_denies_without_region:
        result["OrganizationsDecisionDetail"] = {"AllowedByOrganizations": False}
        result["EvalDecision"] = "implicitDeny"
    if boundary is not None:
        allowed = policies.evaluate(boundary, action, resource, given) == policies.ALLOW
        result["PermissionsBoundaryDecisionDetail"] = {"AllowedByPermissionsBoundary": allowed}
    return result


def _missing(documents: list[dict[str, Any]], given: dict[str, Any]) -> list[str]:
    """Condition keys of the policies that the caller gave no value for: a condition on them doesn't hold."""
    known = {key.lower() for key in given} | {"aws:securetransport"}
    found = {}
    for document in documents:
        statements = document["Statement"]
        for statement in statements if isinstance(statements, list) else [statements]:
            for block in statement.get("Condition", {}).values():
                found |= {key.lower(): key for key in block}
    return sorted(key for lower, key in found.items() if lower not in known)


def _page(results: list[dict[str, Any]], parameters: dict[str, Any]) -> dict[str, Any]:
    size = int(parameters.get("MaxItems") or DEFAULT_ITEMS)
    if not 1 <= size <= MAX_ITEMS:
        raise AwsError("ValidationError", f"MaxItems must be between 1 and {MAX_ITEMS}, got {size}")
    try:
        start = json.loads(parameters.get("Marker") or "0")
        if not isinstance(start, int) or not 0 <= start <= len(results):
            raise ValueError
    except ValueError:
        raise AwsError("InvalidInput", "Invalid Marker.") from None
    end = start + size
    answer: dict[str, Any] = {"EvaluationResults": results[start:end], "IsTruncated": end < len(results)}
    return answer | ({"Marker": str(end)} if end < len(results) else {})
