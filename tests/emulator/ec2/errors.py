"""EC2's errors in AWS's own words."""

from __future__ import annotations

from moto.ec2.exceptions import EC2ClientError


def invalid_value(message: str) -> EC2ClientError:
    return EC2ClientError("InvalidParameterValue", message)


def invalid_combination(message: str) -> EC2ClientError:
    return EC2ClientError("InvalidParameterCombination", message)


def missing_parameter(name: str) -> EC2ClientError:
    return EC2ClientError("MissingParameter", f"The request must contain the parameter {name}")


def invalid_id(value: str, parameter: str, prefix: str) -> EC2ClientError:
    return invalid_value(f"Value ({value}) for parameter {parameter} is invalid. Expected: '{prefix}...'.")


def snapshot_not_found(snapshot_id: str) -> EC2ClientError:
    return EC2ClientError("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")


def instance_not_found(*instance_ids: str) -> EC2ClientError:
    if len(instance_ids) == 1:
        message = f"The instance ID '{instance_ids[0]}' does not exist"
    else:
        message = f"The instance IDs '{', '.join(instance_ids)}' do not exist"
    return EC2ClientError("InvalidInstanceID.NotFound", message)


def incorrect_state(message: str) -> EC2ClientError:
    return EC2ClientError("IncorrectState", message)
