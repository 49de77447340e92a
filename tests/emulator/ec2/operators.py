"""Managed instances: those that a service of AWS operates in the account (EKS Auto Mode and the like), AMI-8.

The service's own resource policy denies changes to everybody else, so that an administrator gets the same error as a
role without the permission.
"""

from __future__ import annotations

from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import Instance

from emulator.context import context
from emulator.control import ControlError, route
from emulator.patching import added

NOBODY = {"Managed": False}


@added(Instance)
@property
def operator(self: Any) -> dict[str, Any]:
    principal = self.__dict__.get("_operator")
    return {"Managed": True, "Principal": principal} if principal else NOBODY


def refuse(operation: str, instance: Any) -> None:
    if instance.operator["Managed"]:
        arn = f"arn:aws:ec2:{context.region}:{context.account_id}:instance/{instance.id}"
        raise EC2ClientError(
            "UnauthorizedOperation",
            f"You are not authorized to perform this operation. User is not authorized to perform: ec2:{operation} on "
            f"resource: {arn} with an explicit deny in a resource-based policy",
        )


@route("POST", "instances/operator")
def set_operator(body: dict[str, Any]) -> Any:
    """{"instance_ids": [ids], "principal": "eks.amazonaws.com"}: the service that operates them; null: nobody."""
    backend = ec2_backends[context.account_id][context.region]
    for instance_id in body["instance_ids"]:
        instance = backend.get_instance_by_id(instance_id)
        if instance is None:
            raise ControlError(f"unknown instance {instance_id}")
        instance._operator = body["principal"]
    return {}
