//! What calls have in common: the tags of a creation, and answers that can't be read.

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
    unreadable(operation, "the answer has no id")
}

/// An answer that lacks something.
pub(super) fn unreadable(operation: &'static str, why: &str) -> ApiError {
    ApiError {
        operation,
        code: "UnreadableAnswer".to_owned(),
        message: why.to_owned(),
        kind: ErrorKind::Unknown,
    }
}
