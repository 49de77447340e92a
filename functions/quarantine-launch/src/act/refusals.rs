//! What came of a change, and why one is refused.

use std::error::Error;

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use guardrails::aws::{ApiError, ErrorKind};

/// What came of `operation`, whose answer says no more than that.
pub(super) fn outcome<O, E>(
    operation: &'static str,
    answer: Result<O, SdkError<E>>,
) -> Result<(), ApiError>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    answer
        .map(drop)
        .map_err(|error| ApiError::of(operation, &error))
}

/// Others write what is remembered of `what` at the same moment, again and again. The runner looks
/// anew and tries again.
pub(super) fn contended(what: &str) -> ApiError {
    ApiError::new(
        "dynamodb:PutItem",
        "TableContended",
        format!("too many runs write what is remembered of {what} at the same moment"),
        ErrorKind::Throttled,
    )
}

/// The instance is gone.
pub(super) fn is_instance_gone(error: &ApiError) -> bool {
    error.code == "InvalidInstanceID.NotFound"
}

/// Codes with which EC2 refuses to change what a service manages (AMI-5, AMI-8).
pub(super) fn is_managed_by_others(error: &ApiError) -> bool {
    matches!(
        error.code.as_str(),
        "OperationNotPermitted" | "AuthFailure" | "UnsupportedOperation"
    )
}

/// EC2 doesn't find the interface: it is gone, or seconds old (AMI-11).
pub(super) fn is_interface_unknown(error: &ApiError) -> bool {
    error.code.starts_with("InvalidNetworkInterfaceID")
}

/// Stop protection: AWS lets nobody stop the instance until it is turned off.
pub(super) fn is_protected_from_stopping(error: &ApiError) -> bool {
    error.code == "OperationNotPermitted"
}

/// Codes that say that the instance can't take this in the state that it is in now.
pub(super) fn is_wrong_state(error: &ApiError) -> bool {
    matches!(
        error.code.as_str(),
        "IncorrectInstanceState" | "IncorrectState"
    )
}

/// IAM lets the role change an instance only once it sees its label.
pub(super) fn is_denied(error: &ApiError) -> bool {
    error.kind == ErrorKind::Denied
}

/// AWS said no: nothing was changed.
pub(super) fn is_refused(error: &ApiError) -> bool {
    matches!(error.kind, ErrorKind::Refused | ErrorKind::Denied)
}
