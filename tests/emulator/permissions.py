"""Who may do what: roles' identity policies, and the resource policies of functions, queues and topics."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

from moto.awslambda.models import lambda_backends
from moto.iam.models import Role, iam_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

from emulator import iam, policies, usage
from emulator.context import context


class NotAllowed(Exception):
    """In words that say what to add where."""


def find_role(arn: str) -> Role | None:
    return next((r for r in iam_backends[context.account_id]["aws"].roles.values() if r.arn == arn), None)


def trusts(role_arn: str, service: str) -> bool:
    """Whether the role exists and lets the service assume it."""
    role = find_role(role_arn)
    if role is None:
        return False
    trust = json.loads(_text(role.assume_role_policy_document))
    keys = {"aws:SourceAccount": context.account_id}
    return policies.evaluate([trust], "sts:AssumeRole", role_arn, keys, principal=service) == policies.ALLOW


def identity_policies(role: Role) -> list[dict[str, Any]]:
    """The role's inline and attached policies."""
    documents = [json.loads(_text(document)) for document in role.policies.values()]
    for policy in role.managed_policies.values():
        documents += [json.loads(_text(v.document)) for v in policy.versions if v.is_default]
    return documents


def permissions_boundary(role: Role) -> list[dict[str, Any]] | None:
    """What the role may do at most; None: it has no boundary. A boundary that doesn't exist allows nothing."""
    if not role.permissions_boundary_arn:
        return None
    policy = iam.find_managed_policy(role.permissions_boundary_arn)
    return [json.loads(_text(v.document)) for v in policy.versions if v.is_default] if policy else []


def decide(role: Role, action: str, resource: str, keys: policies.Context) -> str:
    """What the role's own policies and its boundary say together."""
    decision = policies.evaluate(identity_policies(role), action, resource, keys)
    boundary = permissions_boundary(role)
    if decision != policies.ALLOW or boundary is None:
        return decision
    return policies.evaluate(boundary, action, resource, keys)


def may(role: Role, action: str, resource: str, keys: policies.Context) -> bool:
    """Whether the role allows what a function or service is about to do with it. It goes into the record of usage."""
    if decide(role, action, resource, keys) != policies.ALLOW:
        usage.refused(role.name, action, resource)
        return False
    usage.allowed(role.name, policies.concerning(identity_policies(role), action, resource, keys), action, resource, keys)
    return True


def _text(document: str) -> str:
    # IAM's API hands documents out URL-encoded; moto keeps some of them so.
    return document if document.lstrip().startswith("{") else unquote(document)


_ACTIONS = {"events": "events:PutEvents", "lambda": "lambda:InvokeFunction", "sns": "sns:Publish", "sqs": "sqs:SendMessage"}


def check_role_may_send(role_arn: str, service: str, target_arn: str) -> None:
    """A service sends with a role: it must be able to assume it, and the role must allow the action."""
    if not trusts(role_arn, service):
        raise NotAllowed(f"{service} may not assume the role {role_arn}: add it to the role's trust policy")
    role = find_role(role_arn)
    action = _ACTIONS[target_arn.split(":")[2]]
    if role is None or not may(role, action, target_arn, {}):
        raise NotAllowed(f"the role {role_arn} doesn't allow {action} on {target_arn}")


def check_service_may_send(service: str, source_arn: str, target_arn: str) -> None:
    """A service sends on its own: the target's policy must allow it, for this source."""
    action = _ACTIONS[target_arn.split(":")[2]]
    keys = {"aws:SourceArn": source_arn, "aws:SourceAccount": context.account_id}
    if policies.evaluate(_resource_policies(target_arn), action, target_arn, keys, principal=service) != policies.ALLOW:
        raise NotAllowed(f"the policy of {target_arn} doesn't allow {service} to {action} for {source_arn}")


def _resource_policies(arn: str) -> list[dict[str, Any]]:
    _, _, service, region, account, name = arn.split(":", 5)
    if service == "lambda":
        for function in lambda_backends[account][region].list_functions():
            if function.function_arn == arn:
                # A statement names the function with $LATEST; both mean the same here.
                statements = [{**s, "Resource": arn} for s in function.policy.statements]
                return [{"Statement": statements}]
    if service == "sqs":
        queue = sqs_backends[account][region].queues.get(name)
        policy = queue.policy if queue else None
        return [policy if isinstance(policy, dict) else json.loads(policy)] if policy else []
    if service == "sns":
        topic = sns_backends[account][region].topics.get(arn)
        return [json.loads(topic.policy)] if topic else []
    return []
