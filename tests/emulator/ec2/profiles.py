"""Instance profiles of instances: what EC2 refuses (SSM-2), also for launches; filters and paging.

The associations lie in moto's own dictionary, by instance id.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError, InvalidAssociationIDIamProfileAssociationError
from moto.ec2.models.iam_instance_profile import IamInstanceProfileAssociation, IamInstanceProfileAssociationBackend
from moto.ec2.models.instances import InstanceBackend
from moto.ec2.responses import EC2Response
from moto.ec2.utils import random_iam_instance_profile_association_id
from moto.iam.models import InstanceProfile, iam_backends

from emulator.ec2 import errors, instances, operators
from emulator.ec2.describing import Description, answer
from emulator.patching import added, patched
from emulator.settings import settings


def find(backend: Any, specification: dict[str, Any] | None) -> InstanceProfile:
    """The profile that {"Name": …} or {"Arn": …} means, if EC2 knows it yet and it has a role."""
    given = {key: value for key, value in (specification or {}).items() if value}
    if not given:
        raise errors.missing_parameter("IamInstanceProfile")
    profiles = iam_backends[backend.account_id]["aws"].instance_profiles.values()
    visible_before = utcnow() - timedelta(seconds=settings.instance_profile_visibility_delay_seconds)
    for profile in profiles:
        wanted = all({"Name": profile.name, "Arn": profile.arn}[key] == value for key, value in given.items())
        if wanted and profile.create_date <= visible_before:
            if not profile.roles:
                raise errors.invalid_value(f'IAM Instance Profile "{profile.arn}" has no associated IAM Roles')
            return profile
    key, value = next(iter(given.items()))
    words = "name" if key == "Name" else "ARN"
    raise errors.invalid_value(
        f"Value ({value}) for parameter iamInstanceProfile.{key.lower()} is invalid. "
        f"Invalid IAM Instance Profile {words}"
    )


def of(instance: Any) -> InstanceProfile | None:
    """The associated profile, if it still exists: one made anew under the same name is another one."""
    association = instance.ec2_backend.iam_instance_profile_associations.get(instance.id)
    if association is None:
        return None
    profiles = iam_backends[instance.ec2_backend.account_id]["aws"].instance_profiles.values()
    return next((p for p in profiles if p is association.iam_instance_profile), None)


@patched(IamInstanceProfileAssociation, "__init__")
def with_profile_id(original: Any, self: Any, *args: Any, **kwargs: Any) -> None:
    """DescribeInstances gives the profile's id, not the association's."""
    original(self, *args, **kwargs)
    self.id = self.association_id
    self.associated_at = utcnow()
    self.instance.iam_instance_profile = {"Arn": self.iam_instance_profile.arn, "Id": self.iam_instance_profile.id}


@added(IamInstanceProfileAssociation)
@property
def timestamp(self: Any) -> Any:
    return self.associated_at if settings.association_timestamps else None


@patched(IamInstanceProfileAssociationBackend)
def associate_iam_instance_profile(
    _original: Any,
    self: Any,
    instance_id: str,
    iam_instance_profile_name: str | None = None,
    iam_instance_profile_arn: str | None = None,
) -> IamInstanceProfileAssociation:
    """moto's own launch comes here when ours has associated the profile already."""
    profile = find(self, {"Name": iam_instance_profile_name, "Arn": iam_instance_profile_arn})
    present = self.iam_instance_profile_associations.get(instance_id)
    if present and present.iam_instance_profile is profile:
        return present
    return _associate(self, self.get_instance(instance_id), profile)


def _associate(backend: Any, instance: Any, profile: InstanceProfile) -> IamInstanceProfileAssociation:
    association = IamInstanceProfileAssociation(
        backend, random_iam_instance_profile_association_id(), instance, profile
    )
    backend.iam_instance_profile_associations[instance.id] = association
    return association


@patched(EC2Response, "associate_iam_instance_profile")
def associate_by_request(_original: Any, self: Any) -> ActionResult:
    """SSM-2: one code has opposite meanings, and the order of the checks decides which one is told."""
    backend = self.ec2_backend
    instance = backend.get_instance(self._get_param("InstanceId"))
    operators.refuse("AssociateIamInstanceProfile", instance)
    if instance.state not in ("running", "stopped"):
        raise EC2ClientError(
            "IncorrectInstanceState", f"The instance '{instance.id}' is not in the 'running' or 'stopped' states."
        )
    if instance.id in backend.iam_instance_profile_associations:
        raise errors.incorrect_state(f"There is an existing association for instance {instance.id}")
    association = _associate(backend, instance, find(backend, self._get_param("IamInstanceProfile")))
    return ActionResult({"IamInstanceProfileAssociation": _described(association, "associating")})


@patched(EC2Response)
def replace_iam_instance_profile_association(_original: Any, self: Any) -> ActionResult:
    """moto keeps the id and leaves the instance as it was. A stopped instance has no active association."""
    backend, association_id = self.ec2_backend, self._get_param("AssociationId")
    present = _find_association(backend, association_id)
    operators.refuse("ReplaceIamInstanceProfileAssociation", present.instance)
    if present.instance.state != "running":
        raise errors.incorrect_state(f"The association {association_id} is not the active association")
    new = _associate(backend, present.instance, find(backend, self._get_param("IamInstanceProfile")))
    return ActionResult({"IamInstanceProfileAssociation": _described(new, "associating")})


@patched(EC2Response)
def disassociate_iam_instance_profile(_original: Any, self: Any) -> ActionResult:
    backend = self.ec2_backend
    present = _find_association(backend, self._get_param("AssociationId"))
    operators.refuse("DisassociateIamInstanceProfile", present.instance)
    del backend.iam_instance_profile_associations[present.instance_id]
    present.instance.iam_instance_profile = None
    return ActionResult({"IamInstanceProfileAssociation": _described(present, "disassociating")})


def _find_association(backend: Any, association_id: str) -> IamInstanceProfileAssociation:
    for association in backend.iam_instance_profile_associations.values():
        if association.id == association_id:
            return association
    raise InvalidAssociationIDIamProfileAssociationError(association_id)


def _described(association: Any, state: str) -> dict[str, Any]:
    return {
        "AssociationId": association.id,
        "InstanceId": association.instance_id,
        "IamInstanceProfile": {
            "Arn": association.iam_instance_profile.arn,
            "Id": association.iam_instance_profile.id,
        },
        "State": state,
        "Timestamp": association.timestamp,
    }


ASSOCIATIONS = Description(
    operation="DescribeIamInstanceProfileAssociations",
    items=lambda backend: backend.iam_instance_profile_associations.values(),
    result="IamInstanceProfileAssociations",
    readers={"instance-id": lambda a: a.instance_id, "state": lambda a: a.state},
    highest=1000,
    ids="AssociationIds",
    not_found=("InvalidAssociationID.NotFound", "The association ID '{}' does not exist"),  # words (assumed)
    tags_of=lambda _: {},
)


@patched(EC2Response)
def describe_iam_instance_profile_associations(_original: Any, self: Any) -> ActionResult:
    found = answer(self, ASSOCIATIONS)
    found[ASSOCIATIONS.result] = [_described(a, a.state) for a in found[ASSOCIATIONS.result]]
    return ActionResult(found)


@patched(InstanceBackend, "run_instances")
def launch_with_profile(
    original: Any, self: Any, image_id: str, count: int, user_data: Any, security_group_names: list[str], **kwargs: Any
) -> Any:
    """moto gives the profile to the first instance only, and ignores that of a template or launch configuration."""
    wanted = {"Name": kwargs.get("iam_instance_profile_name"), "Arn": kwargs.get("iam_instance_profile_arn")}
    if not any(wanted.values()):
        wanted = _of_template(self, kwargs)
    profile = find(self, wanted) if any(wanted.values()) else None
    reservation = original(self, image_id, count, user_data, security_group_names, **kwargs)
    for instance in reservation.instances:
        if profile is not None and instance.state not in instances.TERMINAL:
            _associate(self, instance, profile)
    return reservation


def _of_template(backend: Any, launch: dict[str, Any]) -> dict[str, Any]:
    if launch.get("launch_template"):
        return dict(backend._get_template_from_args(launch["launch_template"]).data.get("IamInstanceProfile") or {})
    name = getattr(launch.get("launch_config"), "iam_instance_profile", None)
    if not name:
        return {}
    return {"Arn" if name.startswith("arn:") else "Name": name}
