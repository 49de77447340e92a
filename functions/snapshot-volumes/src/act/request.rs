//! What all creations have in common.

use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};
use guardrails::aws::{ApiError, ErrorKind};

/// The tags that a snapshot is born with.
pub(super) fn specification(tags: impl IntoIterator<Item = (String, String)>) -> TagSpecification {
    let tags = tags
        .into_iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect();
    TagSpecification::builder()
        .resource_type(ResourceType::Snapshot)
        .set_tags(Some(tags))
        .build()
}

/// An answer that doesn't say what was made: nobody knows whether anything was.
pub(super) fn without_id(operation: &'static str) -> ApiError {
    ApiError {
        operation,
        code: "UnreadableAnswer".to_owned(),
        message: "the answer has no id".to_owned(),
        kind: ErrorKind::Unknown,
    }
}
