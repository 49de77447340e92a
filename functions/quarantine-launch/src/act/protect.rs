//! What keeps an instance in quarantine and its volumes from being lost, its role, and stopping it.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{
    AttributeBooleanValue, EbsInstanceBlockDeviceSpecification, IamInstanceProfileSpecification,
    InstanceAttributeName, InstanceBlockDeviceMappingSpecification,
};
use guardrails::aws::ApiError;
use guardrails::ec2::profile_association;
use guardrails::tags;

use super::tag;
use crate::facts::Instance;

/// Termination protection on, written down first as it was. A Spot instance can't be protected
/// (AMI-7).
pub(super) async fn protect(
    ec2: &Client,
    instance: &Instance,
    recorded: Option<bool>,
) -> Result<(), ApiError> {
    if recorded.is_none() {
        let answer = ec2
            .describe_instance_attribute()
            .instance_id(&instance.id)
            .attribute(InstanceAttributeName::DisableApiTermination)
            .send()
            .await
            .map_err(|error| ApiError::of("ec2:DescribeInstanceAttribute", &error))?;
        let protected = answer
            .disable_api_termination()
            .and_then(AttributeBooleanValue::value)
            .unwrap_or_default();
        let value = if protected { "on" } else { "off" };
        tag(
            ec2,
            &instance.id,
            [(tags::QUARANTINE_PROTECTION.to_owned(), value.to_owned())],
        )
        .await?;
        if protected {
            return Ok(());
        }
    }
    set_protection(ec2, &instance.id, true).await
}

/// Sets termination protection.
pub(super) async fn set_protection(ec2: &Client, instance: &str, on: bool) -> Result<(), ApiError> {
    ec2.modify_instance_attribute()
        .instance_id(instance)
        .disable_api_termination(AttributeBooleanValue::builder().value(on).build())
        .send()
        .await
        .map(drop)
        .map_err(|error| ApiError::of("ec2:ModifyInstanceAttribute", &error))
}

/// Sets whether volumes go with the instance: all of `devices` in one call.
pub(super) async fn set_deletion(
    ec2: &Client,
    instance: &str,
    devices: Vec<(String, bool)>,
) -> Result<(), ApiError> {
    if devices.is_empty() {
        return Ok(());
    }
    let mappings = devices
        .into_iter()
        .map(|(device, delete)| {
            InstanceBlockDeviceMappingSpecification::builder()
                .device_name(device)
                .ebs(
                    EbsInstanceBlockDeviceSpecification::builder()
                        .delete_on_termination(delete)
                        .build(),
                )
                .build()
        })
        .collect();
    ec2.modify_instance_attribute()
        .instance_id(instance)
        .set_block_device_mappings(Some(mappings))
        .send()
        .await
        .map(drop)
        .map_err(|error| ApiError::of("ec2:ModifyInstanceAttribute", &error))
}

/// The volumes of `instance` that go with it: those to keep from now on.
pub(super) fn going(instance: &Instance) -> Vec<(String, bool)> {
    instance
        .disks
        .iter()
        .filter(|disk| disk.delete_on_termination)
        .map(|disk| (disk.device.clone(), false))
        .collect()
}

/// Takes the profile away, written down first. Credentials that were issued stay valid until they
/// expire (AMI-8).
pub(super) async fn dissociate(ec2: &Client, instance: &str) -> Result<Option<String>, ApiError> {
    let Some((id, arn)) = profile_association(ec2, instance).await? else {
        return Ok(None);
    };
    if arn.chars().count() > tags::VALUE_MAX {
        return Ok(None);
    }
    tag(
        ec2,
        instance,
        [(tags::QUARANTINE_PROFILE.to_owned(), arn.clone())],
    )
    .await?;
    ec2.disassociate_iam_instance_profile()
        .association_id(id)
        .send()
        .await
        .map_err(|error| ApiError::of("ec2:DisassociateIamInstanceProfile", &error))?;
    Ok(Some(arn))
}

/// Gives the profile back. What can't be done is said, not an error.
pub(super) async fn associate(
    ec2: &Client,
    instance: &str,
    arn: &str,
) -> Result<Result<String, String>, ApiError> {
    if let Some((_, has)) = profile_association(ec2, instance).await? {
        return Ok(if has == arn {
            Ok(format!("it has its profile {arn}"))
        } else {
            Err(format!("its profile {arn}: it has {has} meanwhile"))
        });
    }
    ec2.associate_iam_instance_profile()
        .instance_id(instance)
        .iam_instance_profile(IamInstanceProfileSpecification::builder().arn(arn).build())
        .send()
        .await
        .map(|_| Ok(format!("gave its profile {arn} back")))
        .map_err(|error| ApiError::of("ec2:AssociateIamInstanceProfile", &error))
        .or_else(|error| match error.code.as_str() {
            // Deleted meanwhile, or this function may not pass that role.
            "InvalidParameterValue" | "UnauthorizedOperation" => Ok(Err(format!(
                "its profile {arn} ({}); give it back by hand: aws ec2 associate-iam-instance-profile --instance-id {instance} --iam-instance-profile Arn={arn}",
                error.code
            ))),
            _ => Err(error),
        })
}

/// Stops the instance, written down first.
pub(super) async fn stop(ec2: &Client, instance: &str, now: String) -> Result<(), ApiError> {
    tag(ec2, instance, [(tags::QUARANTINE_STOPPED.to_owned(), now)]).await?;
    ec2.stop_instances()
        .instance_ids(instance)
        .send()
        .await
        .map(drop)
        .map_err(|error| ApiError::of("ec2:StopInstances", &error))
}

/// Starts the instance.
pub(super) async fn start(ec2: &Client, instance: &str) -> Result<(), ApiError> {
    ec2.start_instances()
        .instance_ids(instance)
        .send()
        .await
        .map(drop)
        .map_err(|error| ApiError::of("ec2:StartInstances", &error))
}
