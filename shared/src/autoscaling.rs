//! What several guardrails write on Auto Scaling groups.

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::Tag;
use aws_sdk_autoscaling::types::builders::TagBuilder;

use crate::aws::ApiError;
use crate::notify::AUTO_SCALING_GROUP;

fn tag_of(group: &str, key: &str) -> TagBuilder {
    Tag::builder()
        .resource_id(group)
        .resource_type("auto-scaling-group")
        .key(key)
}

/// Writes tags on a group; its new instances don't get them.
pub async fn tag(
    client: &Client,
    group: &str,
    tags: impl IntoIterator<Item = (&str, String)>,
) -> Result<(), ApiError> {
    let tags = tags
        .into_iter()
        .map(|(key, value)| {
            tag_of(group, key)
                .value(value)
                .propagate_at_launch(false)
                .build()
        })
        .collect();
    client
        .create_or_update_tags()
        .set_tags(Some(tags))
        .send()
        .await
        .map(drop)
        .map_err(|error| ApiError::of("autoscaling:CreateOrUpdateTags", &error))
}

/// Removes tags from a group.
pub async fn untag(client: &Client, group: &str, keys: &[&str]) -> Result<(), ApiError> {
    let tags = keys.iter().map(|key| tag_of(group, key).build()).collect();
    client
        .delete_tags()
        .set_tags(Some(tags))
        .send()
        .await
        .map(drop)
        .map_err(|error| ApiError::of("autoscaling:DeleteTags", &error))
}

/// Remembers on the group `resource` (see [`AUTO_SCALING_GROUP`]) what was told of it. On the group
/// and not on its members: those are replaced, and then it would be told again. A group that is
/// gone has nothing to remember; neither has what isn't a group.
pub async fn remember(
    client: &Client,
    resource: &str,
    key: &str,
    value: Option<&str>,
) -> Result<(), ApiError> {
    let Some(group) = resource.strip_prefix(AUTO_SCALING_GROUP) else {
        return Ok(());
    };
    let written = match value {
        Some(value) => tag(client, group, [(key, value.to_owned())]).await,
        None => untag(client, group, &[key]).await,
    };
    match written {
        Err(error) if is_gone(&error) => Ok(()),
        other => other,
    }
}

/// Whether a call was refused because the group is gone. Auto Scaling has one code for all that it
/// refuses; the message tells.
#[must_use]
pub fn is_gone(error: &ApiError) -> bool {
    error.code == "ValidationError" && error.message.contains("not found")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::ErrorKind;
    use aws_sdk_autoscaling::error::ErrorMetadata;
    use aws_sdk_autoscaling::operation::create_or_update_tags::{
        CreateOrUpdateTagsError, CreateOrUpdateTagsOutput,
    };
    use aws_sdk_autoscaling::operation::delete_tags::DeleteTagsOutput;
    use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};

    fn client(rule: &Rule) -> Client {
        mock_client!(aws_sdk_autoscaling, RuleMode::MatchAny, [rule])
    }

    fn refused(message: &'static str) -> Rule {
        mock!(Client::create_or_update_tags).then_error(move || {
            CreateOrUpdateTagsError::generic(
                ErrorMetadata::builder()
                    .code("ValidationError")
                    .message(message)
                    .build(),
            )
        })
    }

    #[tokio::test]
    async fn a_group_remembers_and_its_members_do_not() {
        let write = mock!(Client::create_or_update_tags)
            .match_requests(|request| {
                let [tag] = request.tags() else { return false };
                (tag.resource_id(), tag.key(), tag.value())
                    == (Some("web/blue"), Some("k"), Some("v"))
                    && tag.propagate_at_launch() == Some(false)
            })
            .then_output(|| CreateOrUpdateTagsOutput::builder().build());
        remember(
            &client(&write),
            "auto-scaling-group/web/blue",
            "k",
            Some("v"),
        )
        .await
        .unwrap();
        assert_eq!(write.num_calls(), 1);
        let remove = mock!(Client::delete_tags)
            .match_requests(|request| {
                let [tag] = request.tags() else { return false };
                (tag.resource_id(), tag.key()) == (Some("web/blue"), Some("k"))
            })
            .then_output(|| DeleteTagsOutput::builder().build());
        remember(&client(&remove), "auto-scaling-group/web/blue", "k", None)
            .await
            .unwrap();
        assert_eq!(remove.num_calls(), 1);
    }

    #[tokio::test]
    async fn a_group_that_is_gone_has_nothing_to_remember() {
        let gone = refused("Auto Scaling group name not found - null");
        remember(
            &client(&gone),
            "auto-scaling-group/web/blue",
            "k",
            Some("v"),
        )
        .await
        .unwrap();
        let other = refused("1 validation error detected");
        let error = remember(
            &client(&other),
            "auto-scaling-group/web/blue",
            "k",
            Some("v"),
        )
        .await
        .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused);
        // What isn't a group is nothing for it.
        remember(&client(&other), "i-1", "k", Some("v"))
            .await
            .unwrap();
        assert_eq!(other.num_calls(), 1);
    }
}
