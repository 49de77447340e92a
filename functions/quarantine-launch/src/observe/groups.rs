//! Auto Scaling groups.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::{AutoScalingGroup, Filter};
use guardrails::aws::ApiError;
use guardrails::tags;

use crate::facts::Group;

/// Most names in one call that asks for a page as large as this; 50 otherwise.
const NAMES: usize = 100;
/// Largest page.
const PAGE: i32 = 100;

/// The groups of these names, those that exist.
pub(crate) async fn groups(
    autoscaling: &Client,
    names: &BTreeSet<String>,
) -> Result<BTreeMap<String, Group>, ApiError> {
    let names: Vec<String> = names.iter().cloned().collect();
    let mut found = BTreeMap::new();
    for some in names.chunks(NAMES) {
        let call = autoscaling
            .describe_auto_scaling_groups()
            .set_auto_scaling_group_names(Some(some.to_vec()));
        found.extend(read(call).await?);
    }
    Ok(found)
}

/// The groups whose loop was broken, or was told of.
pub(super) async fn broken(autoscaling: &Client) -> Result<BTreeMap<String, Group>, ApiError> {
    let marked = Filter::builder()
        .name("tag-key")
        .values(tags::LOOP_SUSPENDED)
        .values(crate::assess::LOOP.tag())
        .build();
    read(autoscaling.describe_auto_scaling_groups().filters(marked)).await
}

async fn read(
    call: aws_sdk_autoscaling::operation::describe_auto_scaling_groups::builders::DescribeAutoScalingGroupsFluentBuilder,
) -> Result<BTreeMap<String, Group>, ApiError> {
    let mut pages = call.max_records(PAGE).into_paginator().items().send();
    let mut found = BTreeMap::new();
    while let Some(one) = pages
        .try_next()
        .await
        .map_err(|error| ApiError::of("autoscaling:DescribeAutoScalingGroups", &error))?
    {
        if let Some(group) = group(&one) {
            found.insert(group.name.clone(), group);
        }
    }
    Ok(found)
}

fn group(found: &AutoScalingGroup) -> Option<Group> {
    let mixed = found
        .mixed_instances_policy()
        .and_then(|policy| policy.launch_template())
        .and_then(|template| template.launch_template_specification());
    Some(Group {
        name: found.auto_scaling_group_name()?.to_owned(),
        min: found.min_size().unwrap_or_default(),
        desired: found.desired_capacity().unwrap_or_default(),
        suspended: found
            .suspended_processes()
            .iter()
            .filter_map(|process| process.process_name().map(str::to_owned))
            .collect(),
        tags: found
            .tags()
            .iter()
            .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())))
            .collect(),
        members: found
            .instances()
            .iter()
            .filter_map(|member| {
                Some((
                    member.instance_id()?.to_owned(),
                    member.lifecycle_state()?.as_str().to_owned(),
                ))
            })
            .collect(),
        template: found
            .launch_template()
            .or(mixed)
            .and_then(|template| template.launch_template_id())
            .map(str::to_owned),
        operator: found
            .operator()
            .map(|operator| operator.principal().unwrap_or("an AWS service").to_owned()),
    })
}
