//! What keeps an instance in quarantine and its volumes from being lost, its role, and stopping it.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::operation::describe_instance_attribute::DescribeInstanceAttributeOutput;
use aws_sdk_ec2::types::{
    AttributeBooleanValue, AttributeValue, EbsInstanceBlockDeviceSpecification,
    IamInstanceProfileSpecification, InstanceAttributeName,
    InstanceBlockDeviceMappingSpecification,
};
use guardrails::aws::ApiError;
use guardrails::ec2::profile_association;

use super::claim::{Claim, Stop};
use super::refusals::{is_refused, outcome};
use super::undone::Put;
use crate::facts::Instance;

/// Termination protection on, written down first as it was. A Spot instance can't be protected
/// (AMI-7).
pub(super) async fn protect(
    ec2: &Client,
    instance: &Instance,
    claim: &Claim<'_>,
) -> Result<(), Stop> {
    let recorded = claim.record().await.protected;
    let before = if let Some(before) = recorded {
        before
    } else {
        let before = protection(ec2, &instance.id).await?;
        claim
            .write(|record| record.protected = Some(before))
            .await?;
        before
    };
    if before {
        return Ok(());
    }
    match set_protection(ec2, &instance.id, true).await {
        // Written down just now, but not so: there is nothing to put back.
        Err(error) if recorded.is_none() && is_refused(&error) => {
            claim.write(|record| record.protected = None).await?;
            Err(error.into())
        }
        other => Ok(other?),
    }
}

/// What shuts itself down is stopped and not terminated, which termination protection doesn't keep
/// (AMI-13); written down first as it was.
pub(super) async fn stop_on_shutdown(
    ec2: &Client,
    instance: &Instance,
    claim: &Claim<'_>,
) -> Result<(), Stop> {
    let recorded = claim.record().await.shutdown_terminates;
    let before = if let Some(before) = recorded {
        before
    } else {
        let before = terminates_on_shutdown(ec2, &instance.id).await?;
        claim
            .write(|record| record.shutdown_terminates = Some(before))
            .await?;
        before
    };
    if before {
        set_shutdown(ec2, &instance.id, false).await?;
    }
    Ok(())
}

const ATTRIBUTE: &str = "ec2:DescribeInstanceAttribute";

async fn attribute(
    ec2: &Client,
    instance: &str,
    name: InstanceAttributeName,
) -> Result<DescribeInstanceAttributeOutput, ApiError> {
    ec2.describe_instance_attribute()
        .instance_id(instance)
        .attribute(name)
        .send()
        .await
        .map_err(|error| ApiError::of(ATTRIBUTE, &error))
}

pub(super) async fn terminates_on_shutdown(ec2: &Client, instance: &str) -> Result<bool, ApiError> {
    let name = InstanceAttributeName::InstanceInitiatedShutdownBehavior;
    let answer = attribute(ec2, instance, name).await?;
    let behaviour = answer
        .instance_initiated_shutdown_behavior()
        .and_then(AttributeValue::value)
        .ok_or_else(|| ApiError::incomplete(ATTRIBUTE, "the shutdown behavior"))?;
    Ok(behaviour == "terminate")
}

/// Sets whether it is terminated, or else stopped, when it shuts itself down.
pub(super) async fn set_shutdown(
    ec2: &Client,
    instance: &str,
    terminate: bool,
) -> Result<(), ApiError> {
    let behaviour = if terminate { "terminate" } else { "stop" };
    let modify = ec2
        .modify_instance_attribute()
        .instance_id(instance)
        .instance_initiated_shutdown_behavior(AttributeValue::builder().value(behaviour).build());
    outcome("ec2:ModifyInstanceAttribute", modify.send().await)
}

/// Whether termination protection is on.
pub(super) async fn protection(ec2: &Client, instance: &str) -> Result<bool, ApiError> {
    let name = InstanceAttributeName::DisableApiTermination;
    attribute(ec2, instance, name)
        .await?
        .disable_api_termination()
        .and_then(AttributeBooleanValue::value)
        .ok_or_else(|| ApiError::incomplete(ATTRIBUTE, "termination protection"))
}

/// Sets termination protection.
pub(super) async fn set_protection(ec2: &Client, instance: &str, on: bool) -> Result<(), ApiError> {
    let modify = ec2
        .modify_instance_attribute()
        .instance_id(instance)
        .disable_api_termination(AttributeBooleanValue::builder().value(on).build());
    outcome("ec2:ModifyInstanceAttribute", modify.send().await)
}

/// Sets whether the volumes of `devices` go with the instance, all in one call.
pub(super) async fn set_deletion(
    ec2: &Client,
    instance: &str,
    devices: &[&str],
    delete: bool,
) -> Result<(), ApiError> {
    let mappings = devices.iter().map(|device| {
        let ebs = EbsInstanceBlockDeviceSpecification::builder()
            .delete_on_termination(delete)
            .build();
        InstanceBlockDeviceMappingSpecification::builder()
            .device_name(*device)
            .ebs(ebs)
            .build()
    });
    let modify = ec2
        .modify_instance_attribute()
        .instance_id(instance)
        .set_block_device_mappings(Some(mappings.collect()));
    outcome("ec2:ModifyInstanceAttribute", modify.send().await)
}

/// Takes the profile away, written down first. Credentials that were issued stay valid until they
/// expire (AMI-8).
pub(super) async fn dissociate(
    ec2: &Client,
    instance: &str,
    claim: &Claim<'_>,
) -> Result<Option<String>, Stop> {
    let Some((id, arn)) = profile_association(ec2, instance).await? else {
        return Ok(None);
    };
    // Another may have been given to it since the first was taken away.
    claim
        .write(|record| {
            record.profile.get_or_insert_with(|| arn.clone());
        })
        .await?;
    let taken = ec2.disassociate_iam_instance_profile().association_id(id);
    outcome("ec2:DisassociateIamInstanceProfile", taken.send().await)?;
    Ok(Some(arn))
}

/// Gives the profile back, where the function may (`restores`). What isn't done is said, with the
/// command that does it, and is no error.
pub(super) async fn associate(
    ec2: &Client,
    instance: &str,
    arn: &str,
    restores: bool,
) -> Result<Put, ApiError> {
    let by_hand = |why: &str| {
        Ok(Put::Lost(format!(
            "its profile {arn} ({why}); give it back by hand: aws ec2 associate-iam-instance-profile --instance-id {instance} --iam-instance-profile Arn={arn}"
        )))
    };
    if let Some((_, has)) = profile_association(ec2, instance).await? {
        return Ok(if has == arn {
            Put::Back(format!("it has its profile {arn}"))
        } else {
            Put::Lost(format!("its profile {arn}: it has {has} meanwhile"))
        });
    }
    if !restores {
        return by_hand("this function gives none back");
    }
    let given = ec2
        .associate_iam_instance_profile()
        .instance_id(instance)
        .iam_instance_profile(IamInstanceProfileSpecification::builder().arn(arn).build());
    match outcome("ec2:AssociateIamInstanceProfile", given.send().await) {
        Ok(()) => Ok(Put::Back(format!("gave its profile {arn} back"))),
        // Deleted meanwhile, or this function may not pass that role.
        Err(error)
            if matches!(
                error.code.as_str(),
                "InvalidParameterValue" | "UnauthorizedOperation"
            ) =>
        {
            by_hand(&error.code)
        }
        Err(error) => Err(error),
    }
}

/// Stops the instance.
pub(super) async fn stop(ec2: &Client, instance: &str) -> Result<(), ApiError> {
    let stop = ec2.stop_instances().instance_ids(instance);
    outcome("ec2:StopInstances", stop.send().await)
}

/// Starts the instance.
pub(super) async fn start(ec2: &Client, instance: &str) -> Result<(), ApiError> {
    let start = ec2.start_instances().instance_ids(instance);
    outcome("ec2:StartInstances", start.send().await)
}
