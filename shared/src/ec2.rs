//! What several guardrails read of EC2, in the same way.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, Image, Instance, InstanceStateName, OperatorResponse, Tag};

use crate::aws::{ApiError, filter};

/// Most values that a filter takes (EBS-7).
pub const FILTER_VALUES: usize = 200;
/// Most items that a page of most Describe calls has.
const PAGE: i32 = 1_000;

/// An instance's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Starting.
    Pending,
    /// Running.
    Running,
    /// On its way to `stopped`.
    Stopping,
    /// Stopped.
    Stopped,
    /// `shutting-down` or `terminated`.
    Terminal,
}

impl State {
    /// The state of an instance as EC2 describes it.
    #[must_use]
    pub fn of(instance: &Instance) -> Option<Self> {
        Some(match instance.state()?.name()? {
            InstanceStateName::Pending => Self::Pending,
            InstanceStateName::Running => Self::Running,
            InstanceStateName::Stopping => Self::Stopping,
            InstanceStateName::Stopped => Self::Stopped,
            _ => Self::Terminal,
        })
    }
}

/// Tags as pairs of key and value.
#[must_use]
pub fn tags(tags: &[Tag]) -> Vec<(String, String)> {
    tags.iter()
        .filter_map(|tag| {
            // A key alone is a tag too: whoever leaves resources alone by it may give it no value.
            let value = tag.value().unwrap_or_default();
            Some((tag.key()?.to_owned(), value.to_owned()))
        })
        .collect()
}

/// The value of the tag `key`.
#[must_use]
pub fn tag<'a>(tags: &'a [(String, String)], key: &str) -> Option<&'a str> {
    tags.iter()
        .find(|(have, _)| have == key)
        .map(|(_, value)| value.as_str())
}

/// A resource's id, and its name where it has one, for people.
#[must_use]
pub fn label(id: &str, tags: &[(String, String)]) -> String {
    match tag(tags, "Name") {
        Some(name) if !name.is_empty() => format!("{id} ({name})"),
        _ => id.to_owned(),
    }
}

/// The AWS service that manages a resource, so that nobody else may change it.
#[must_use]
pub fn operator(found: Option<&OperatorResponse>) -> Option<String> {
    found
        .filter(|operator| operator.managed() == Some(true))
        .map(|operator| operator.principal().unwrap_or("an AWS service").to_owned())
}

/// The instances that `filters` choose (all without any), terminated ones too, as `read` takes them:
/// it is given each with the account that owns it. One that it can't take isn't gone: that fails.
///
/// By filter and not by ids: an id that is gone would fail the whole call.
pub async fn instances<T>(
    ec2: &Client,
    filters: Vec<Filter>,
    mut read: impl FnMut(Option<&str>, &Instance) -> Option<T>,
) -> Result<Vec<T>, ApiError> {
    const CALL: &str = "ec2:DescribeInstances";
    let mut pages = ec2
        .describe_instances()
        .set_filters((!filters.is_empty()).then_some(filters))
        .max_results(PAGE)
        .into_paginator()
        .items()
        .send();
    let mut found = Vec::new();
    while let Some(reservation) = pages
        .try_next()
        .await
        .map_err(|error| ApiError::of(CALL, &error))?
    {
        for instance in reservation.instances() {
            let one = read(reservation.owner_id(), instance);
            let lacks = || ApiError::incomplete(CALL, "an instance's id or state");
            found.push(one.ok_or_else(lacks)?);
        }
    }
    Ok(found)
}

/// Writes tags on resources. Labels for people: nobody reads them back.
pub async fn write_tags(
    ec2: &Client,
    resources: &[&str],
    tags: impl IntoIterator<Item = (String, String)>,
) -> Result<(), ApiError> {
    let tags: Vec<Tag> = tags
        .into_iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect();
    ec2.create_tags()
        .set_resources(Some(resources.iter().map(|id| (*id).to_owned()).collect()))
        .set_tags(Some(tags))
        .send()
        .await
        .map(drop)
        .map_err(|error| ApiError::of("ec2:CreateTags", &error))
}

/// Removes tags from resources, whatever their values.
pub async fn remove_tags(
    ec2: &Client,
    resources: &[&str],
    keys: impl IntoIterator<Item = String>,
) -> Result<(), ApiError> {
    let tags: Vec<Tag> = keys
        .into_iter()
        .map(|key| Tag::builder().key(key).build())
        .collect();
    // Without keys `DeleteTags` deletes every tag.
    if tags.is_empty() {
        return Ok(());
    }
    ec2.delete_tags()
        .set_resources(Some(resources.iter().map(|id| (*id).to_owned()).collect()))
        .set_tags(Some(tags))
        .send()
        .await
        .map(drop)
        .map_err(|error| ApiError::of("ec2:DeleteTags", &error))
}

/// The AMIs whose `attribute` has one of these values, deprecated and disabled ones too; without those
/// that are gone.
pub async fn images(
    ec2: &Client,
    attribute: &str,
    values: Vec<String>,
    owner: Option<&str>,
) -> Result<Vec<Image>, ApiError> {
    let mut found = Vec::new();
    for some in values.chunks(FILTER_VALUES) {
        let page: Vec<_> = ec2
            .describe_images()
            .set_owners(owner.map(|owner| vec![owner.to_owned()]))
            .filters(filter(attribute, some.to_vec()))
            .include_deprecated(true)
            .include_disabled(true)
            .max_results(PAGE)
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|error| ApiError::of("ec2:DescribeImages", &error))?;
        found.extend(page);
    }
    Ok(found)
}

/// The AMIs' names, by id; without those that are gone. Asked by filter: an id that is gone doesn't
/// fail the call then.
pub async fn image_names(
    ec2: &Client,
    images: BTreeSet<String>,
) -> Result<HashMap<String, String>, ApiError> {
    let found = self::images(ec2, "image-id", images.into_iter().collect(), None).await?;
    let named = found.into_iter();
    Ok(named
        .filter_map(|image| Some((image.image_id?, image.name?)))
        .collect())
}

/// The association of an instance's profile, on its way or there: its id and the profile's ARN.
pub async fn profile_association(
    ec2: &Client,
    instance: &str,
) -> Result<Option<(String, String)>, ApiError> {
    const CALL: &str = "ec2:DescribeIamInstanceProfileAssociations";
    let states = vec!["associating".to_owned(), "associated".to_owned()];
    let found: Vec<_> = ec2
        .describe_iam_instance_profile_associations()
        .filters(filter("instance-id", vec![instance.to_owned()]))
        .filters(filter("state", states))
        .into_paginator()
        .items()
        .send()
        .try_collect()
        .await
        .map_err(|error| ApiError::of(CALL, &error))?;
    // An instance has one at most.
    let Some(association) = found.first() else {
        return Ok(None);
    };
    let profile = association.iam_instance_profile();
    match (
        association.association_id(),
        profile.and_then(|profile| profile.arn()),
    ) {
        (Some(id), Some(arn)) => Ok(Some((id.to_owned(), arn.to_owned()))),
        _ => Err(ApiError::incomplete(
            CALL,
            "the association's id or profile",
        )),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::operation::delete_tags::DeleteTagsOutput;
    use aws_sdk_ec2::operation::describe_iam_instance_profile_associations::DescribeIamInstanceProfileAssociationsOutput;
    use aws_sdk_ec2::operation::describe_instances::DescribeInstancesOutput;
    use aws_sdk_ec2::types::{IamInstanceProfileAssociation, Reservation};
    use aws_smithy_mocks::{mock, mock_client};

    use super::*;

    #[tokio::test]
    async fn removing_no_tags_sends_nothing_and_one_names_its_key() {
        let sent = mock!(Client::delete_tags)
            .match_requests(|request| {
                request.resources() == ["i-1"]
                    && request.tags().iter().map(Tag::key).eq([Some("mark")])
            })
            .then_output(|| DeleteTagsOutput::builder().build());
        let ec2 = mock_client!(aws_sdk_ec2, [&sent]);

        assert_eq!(remove_tags(&ec2, &["i-1"], []).await, Ok(()));
        assert_eq!(sent.num_calls(), 0);
        assert_eq!(
            remove_tags(&ec2, &["i-1"], ["mark".to_owned()]).await,
            Ok(())
        );
        assert_eq!(sent.num_calls(), 1);
    }

    #[test]
    fn a_tag_without_a_value_is_one() {
        let found = tags(&[Tag::builder().key("NoBackup").build()]);
        assert_eq!(tag(&found, "NoBackup"), Some(""));
    }

    /// An instance without a state isn't gone, an association without a profile isn't none.
    #[tokio::test]
    async fn what_an_answer_leaves_out_is_unknown() {
        let described = mock!(Client::describe_instances).then_output(|| {
            let instance = Instance::builder().instance_id("i-1").build();
            let reservation = Reservation::builder().instances(instance).build();
            DescribeInstancesOutput::builder()
                .reservations(reservation)
                .build()
        });
        let associated =
            mock!(Client::describe_iam_instance_profile_associations).then_output(|| {
                let association = IamInstanceProfileAssociation::builder().association_id("a-1");
                DescribeIamInstanceProfileAssociationsOutput::builder()
                    .iam_instance_profile_associations(association.build())
                    .build()
            });
        let ec2 = mock_client!(aws_sdk_ec2, [&described, &associated]);

        let states = instances(&ec2, vec![], |_, one| State::of(one)).await;
        assert_eq!(states.unwrap_err().code, "IncompleteAnswer");
        let association = profile_association(&ec2, "i-1").await;
        assert_eq!(association.unwrap_err().code, "IncompleteAnswer");
    }
}
