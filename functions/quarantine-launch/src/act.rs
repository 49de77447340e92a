//! Carries out one action.

mod evidence;
mod groups;
mod hold;
mod isolate;
mod protect;
mod release;
mod who;

use aws_sdk_ec2::types::Tag;
use aws_sdk_ssm::types::ResourceTypeForTagging;
use guardrails::autoscaling;
use guardrails::aws::{ApiError, ErrorKind};
use guardrails::guardrail::Acted;
use guardrails::notify::{AUTO_SCALING_GROUP, PARAMETER};
use guardrails::tags;

use crate::Clients;
use crate::decide::Action;

/// Carries out `action`.
pub(crate) async fn act(clients: &Clients, action: &Action, run: &str) -> Acted {
    match action {
        // Boxed: their many steps would make every run's future large.
        Action::Quarantine(quarantine) => {
            Box::pin(hold::quarantine(clients, quarantine, run)).await
        }
        Action::BreakLoop(looping) => groups::break_loop(&clients.autoscaling, looping, run).await,
        Action::NameLauncher(name) => who::name(clients, name).await,
        Action::Release(release) => Box::pin(release::release(clients, release)).await,
        Action::RestoreGroup { group, at } => {
            match groups::restore(&clients.autoscaling, group, *at).await {
                Ok(Some(note)) => Acted::Done(Some(note)),
                Ok(None) => Acted::Skipped("nothing of it is suspended any more".to_owned()),
                Err(error) => Acted::Failed(error),
            }
        }
    }
}

/// Writes tags on an instance.
async fn tag(
    ec2: &aws_sdk_ec2::Client,
    instance: &str,
    tags: impl IntoIterator<Item = (String, String)>,
) -> Result<(), ApiError> {
    let tags: Vec<Tag> = tags
        .into_iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect();
    if tags.is_empty() {
        return Ok(());
    }
    ec2.create_tags()
        .resources(instance)
        .set_tags(Some(tags))
        .send()
        .await
        .map(drop)
        .map_err(|error| ApiError::of("ec2:CreateTags", &error))
}

/// Removes tags from an instance, whatever their values.
async fn untag(
    ec2: &aws_sdk_ec2::Client,
    instance: &str,
    keys: impl IntoIterator<Item = String>,
) -> Result<(), ApiError> {
    let tags: Vec<Tag> = keys
        .into_iter()
        .map(|key| Tag::builder().key(key).build())
        .collect();
    if tags.is_empty() {
        return Ok(());
    }
    ec2.delete_tags()
        .resources(instance)
        .set_tags(Some(tags))
        .send()
        .await
        .map(drop)
        .map_err(|error| ApiError::of("ec2:DeleteTags", &error))
}

/// Remembers what was told on what EC2's own tags can't be put on: an Auto Scaling group, or the
/// policy's parameter.
pub(crate) async fn remember(
    clients: &Clients,
    resource: &str,
    key: &str,
    value: Option<&str>,
) -> Result<(), ApiError> {
    if resource.starts_with(AUTO_SCALING_GROUP) {
        return autoscaling::remember(&clients.autoscaling, resource, key, value).await;
    }
    let Some(parameter) = resource.strip_prefix(PARAMETER) else {
        return Ok(());
    };
    match value {
        Some(value) => {
            let tag = aws_sdk_ssm::types::Tag::builder()
                .key(key)
                .value(value)
                .build()
                .map_err(|error| ApiError {
                    operation: "ssm:AddTagsToResource",
                    code: "InvalidRequest".to_owned(),
                    message: error.to_string(),
                    kind: ErrorKind::Refused,
                })?;
            clients
                .ssm
                .add_tags_to_resource()
                .resource_type(ResourceTypeForTagging::Parameter)
                .resource_id(parameter)
                .tags(tag)
                .send()
                .await
                .map(drop)
                .map_err(|error| ApiError::of("ssm:AddTagsToResource", &error))
        }
        None => clients
            .ssm
            .remove_tags_from_resource()
            .resource_type(ResourceTypeForTagging::Parameter)
            .resource_id(parameter)
            .tag_keys(key)
            .send()
            .await
            .map(drop)
            .map_err(|error| ApiError::of("ssm:RemoveTagsFromResource", &error)),
    }
}

/// Codes with which EC2 refuses to change what a service manages (AMI-5, AMI-8).
fn is_managed_by_others(error: &ApiError) -> bool {
    matches!(
        error.code.as_str(),
        "OperationNotPermitted" | "AuthFailure" | "UnsupportedOperation"
    )
}

/// Codes that say that the instance can't take this in the state that it is in now.
fn is_wrong_state(error: &ApiError) -> bool {
    matches!(
        error.code.as_str(),
        "IncorrectInstanceState" | "IncorrectState"
    )
}

/// The tags that a release removes.
fn is_quarantine_tag(key: &str) -> bool {
    key == tags::QUARANTINED || key.starts_with(tags::QUARANTINE_PREFIX)
}

#[cfg(test)]
mod tests;
