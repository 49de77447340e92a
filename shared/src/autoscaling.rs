//! What several guardrails read of Auto Scaling groups and write on them.

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::builders::TagBuilder;
use aws_sdk_autoscaling::types::{AutoScalingGroup, Filter, Tag};

use crate::aws::ApiError;

/// Largest page of groups, and most names per call.
const PAGE: i32 = 100;
const NAMES: usize = 100;

/// Which groups.
#[derive(Debug)]
pub enum Which<'a> {
    /// All.
    All,
    /// Those of these names, as far as they exist.
    Named(&'a [String]),
    /// Those that a filter chooses.
    Filtered(Filter),
}

/// Groups, as `read` takes them. One that it can't take isn't gone: that fails.
pub async fn groups<T>(
    client: &Client,
    which: Which<'_>,
    mut read: impl FnMut(&AutoScalingGroup) -> Option<T>,
) -> Result<Vec<T>, ApiError> {
    const CALL: &str = "autoscaling:DescribeAutoScalingGroups";
    let describe = || client.describe_auto_scaling_groups().max_records(PAGE);
    let calls = match which {
        Which::All => vec![describe()],
        Which::Named(names) => names
            .chunks(NAMES)
            .map(|some| describe().set_auto_scaling_group_names(Some(some.to_vec())))
            .collect(),
        Which::Filtered(filter) => vec![describe().filters(filter)],
    };
    let mut found = Vec::new();
    for call in calls {
        let mut pages = call.into_paginator().items().send();
        while let Some(group) = pages
            .try_next()
            .await
            .map_err(|error| ApiError::of(CALL, &error))?
        {
            let lacks = || ApiError::incomplete(CALL, "a group's name");
            found.push(read(&group).ok_or_else(lacks)?);
        }
    }
    Ok(found)
}

fn tag_of(group: &str, key: &str) -> TagBuilder {
    Tag::builder()
        .resource_id(group)
        .resource_type("auto-scaling-group")
        .key(key)
}

/// Writes tags on a group; its new instances don't get them.
pub async fn write_tags(
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
pub async fn remove_tags(client: &Client, group: &str, keys: &[&str]) -> Result<(), ApiError> {
    let tags = keys.iter().map(|key| tag_of(group, key).build()).collect();
    client
        .delete_tags()
        .set_tags(Some(tags))
        .send()
        .await
        .map(drop)
        .map_err(|error| ApiError::of("autoscaling:DeleteTags", &error))
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
    use aws_sdk_autoscaling::operation::create_or_update_tags::CreateOrUpdateTagsOutput;
    use aws_sdk_autoscaling::operation::describe_auto_scaling_groups::DescribeAutoScalingGroupsOutput;
    use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};

    #[tokio::test]
    async fn a_group_is_tagged_and_its_new_members_are_not() {
        let write = mock!(Client::create_or_update_tags)
            .match_requests(|request| {
                let [tag] = request.tags() else { return false };
                (tag.resource_id(), tag.key(), tag.propagate_at_launch())
                    == (Some("web/blue"), Some("k"), Some(false))
            })
            .then_output(|| CreateOrUpdateTagsOutput::builder().build());
        let client = mock_client!(aws_sdk_autoscaling, RuleMode::MatchAny, [&write]);
        write_tags(&client, "web/blue", [("k", "v".to_owned())])
            .await
            .unwrap();
    }

    fn described(name: Option<&'static str>) -> Rule {
        mock!(Client::describe_auto_scaling_groups)
            .match_requests(|request| request.auto_scaling_group_names().len() <= NAMES)
            .then_output(move || {
                let group = AutoScalingGroup::builder()
                    .set_auto_scaling_group_name(name.map(str::to_owned));
                DescribeAutoScalingGroupsOutput::builder()
                    .auto_scaling_groups(group.build())
                    .build()
            })
    }

    async fn names(read: &Rule, which: Which<'_>) -> Result<Vec<String>, ApiError> {
        let client = mock_client!(aws_sdk_autoscaling, RuleMode::MatchAny, [read]);
        groups(&client, which, |group| {
            group.auto_scaling_group_name.clone()
        })
        .await
    }

    #[tokio::test]
    async fn many_names_are_asked_for_in_several_calls() {
        let read = described(Some("g"));
        let many: Vec<String> = (0..150).map(|n| format!("g-{n}")).collect();
        let found = names(&read, Which::Named(&many)).await.unwrap();
        assert_eq!((found, read.num_calls()), (vec!["g".to_owned(); 2], 2));
    }

    #[tokio::test]
    async fn a_group_without_its_name_is_not_gone() {
        let error = names(&described(None), Which::All).await.unwrap_err();
        assert_eq!(error.code, "IncompleteAnswer");
    }
}
