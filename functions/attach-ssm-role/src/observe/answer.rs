//! Answers in pages, and those that don't tell what was asked.

use guardrails::aws::{ApiError, ErrorKind};

/// Reads all pages of one of EC2's calls, once for each two hundred values of its filter:
/// `read_all!(ec2.describe_vpcs(), "ec2:DescribeVpcs", filters "vpc-id" in ids)`.
macro_rules! read_all {
    ($ec2:ident.$call:ident(), $operation:literal, $by:ident $filter:literal in $values:expr) => {
        read_all!($ec2.$call(), $operation, $by $filter in $values, 1_000)
    };
    ($ec2:ident.$call:ident(), $operation:literal, $by:ident $filter:literal in $values:expr, $page:expr) => {{
        let values: Vec<String> = $values.iter().cloned().collect();
        let mut found = Vec::new();
        for some in values.chunks(guardrails::ec2::FILTER_VALUES) {
            let filter = guardrails::aws::filter($filter, some.to_vec());
            let call = $ec2.$call().$by(filter).max_results($page);
            let items = call.into_paginator().items().send().try_collect().await;
            found.extend(items.map_err(|error| guardrails::aws::ApiError::of($operation, &error))?);
        }
        found
    }};
}

/// An answer that says nothing of what was asked, or in a word that nobody knows: it is neither a yes
/// nor a no.
pub(super) fn unreadable(operation: &'static str, message: impl Into<String>) -> ApiError {
    ApiError {
        operation,
        code: "UnreadableAnswer".to_owned(),
        message: message.into(),
        kind: ErrorKind::Unknown,
    }
}
