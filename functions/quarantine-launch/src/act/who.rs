//! Who launched an instance, looked up in CloudTrail: after the isolation, never before.

use std::time::Duration;

use aws_sdk_cloudtrail::Client;
use aws_sdk_cloudtrail::types::{LookupAttribute, LookupAttributeKey};
use guardrails::aws::ApiError;
use guardrails::guardrail::Acted;
use guardrails::tags;
use serde_json::Value;
use tokio::time::timeout;

use super::tag;
use crate::Clients;
use crate::decide::NameLauncher;
use crate::facts::Group;
use crate::launcher::Launcher;

/// Longest that a notice waits for CloudTrail.
const PATIENCE: Duration = Duration::from_secs(8);
/// Largest page; the events come newest first.
const PAGE: i32 = 50;
/// Calls that change what a group launches.
const CHANGES: &[&str] = &[
    "UpdateAutoScalingGroup",
    "CreateAutoScalingGroup",
    "StartInstanceRefresh",
    "CreateLaunchTemplateVersion",
    "ModifyLaunchTemplate",
    "CreateLaunchTemplate",
];

/// Who launched `instance`: what a tag remembers, and what a person reads. None when CloudTrail
/// doesn't know yet, or can't be asked now.
pub(super) async fn launched(
    cloudtrail: &Client,
    instance: &str,
    group: Option<&Group>,
    told: Option<&Launcher>,
) -> Result<Option<(String, String)>, ApiError> {
    let look = async {
        let launcher = match told {
            Some(told) => Some(told.clone()),
            None => last(cloudtrail, instance, &["RunInstances"]).await?,
        };
        let service = launcher.as_ref().is_some_and(Launcher::is_service);
        // For a group the person is whoever changed it or its template last (AMI-1).
        let changed = match group {
            Some(group) if service || launcher.is_none() => changer(cloudtrail, group).await?,
            _ => None,
        };
        Ok(match (launcher, changed, group) {
            (Some(launcher), None, _) => Some((launcher.value(), launcher.text())),
            (launcher, Some(changed), Some(group)) => {
                let by = launcher.map_or_else(
                    || format!("Auto Scaling group {}", group.name),
                    |launcher| format!("Auto Scaling group {} ({})", group.name, launcher.value()),
                );
                Some((
                    changed.value(),
                    format!("{by}, which was last changed by {}", changed.text()),
                ))
            }
            _ => None,
        })
    };
    match timeout(PATIENCE, look).await {
        Ok(found) => found,
        Err(_elapsed) => Ok(None),
    }
}

/// Whoever changed the group or its launch template last.
async fn changer(cloudtrail: &Client, group: &Group) -> Result<Option<Launcher>, ApiError> {
    let of_group = last(cloudtrail, &group.name, CHANGES).await?;
    let of_template = match &group.template {
        Some(template) => last(cloudtrail, template, CHANGES).await?,
        None => None,
    };
    Ok(match (of_group, of_template) {
        (Some(a), Some(b)) if b.at > a.at => Some(b),
        (Some(a), _) => Some(a),
        (None, b) => b,
    })
}

/// The newest of `calls` about a resource that a person made, as far as the first page tells.
/// CloudTrail takes two lookups a second, so there is no second page.
async fn last(
    cloudtrail: &Client,
    resource: &str,
    calls: &[&str],
) -> Result<Option<Launcher>, ApiError> {
    let about = LookupAttribute::builder()
        .attribute_key(LookupAttributeKey::ResourceName)
        .attribute_value(resource)
        .build()
        .map_err(|error| ApiError {
            operation: "cloudtrail:LookupEvents",
            code: "InvalidRequest".to_owned(),
            message: error.to_string(),
            kind: guardrails::aws::ErrorKind::Refused,
        })?;
    let answer = cloudtrail
        .lookup_events()
        .lookup_attributes(about)
        .max_results(PAGE)
        .send()
        .await
        .map_err(|error| ApiError::of("cloudtrail:LookupEvents", &error))?;
    let found = answer
        .events()
        .iter()
        .filter(|event| event.event_name().is_some_and(|name| calls.contains(&name)))
        .filter_map(|event| serde_json::from_str::<Value>(event.cloud_trail_event()?).ok())
        .filter(|record| record.get("errorCode").is_none_or(Value::is_null))
        .filter_map(|record| Launcher::of(&record))
        .max_by_key(|launcher| launcher.at);
    Ok(found)
}

/// Finds out who launched an instance that is in quarantine, and remembers it.
pub(super) async fn name(clients: &Clients, name: &NameLauncher) -> Acted {
    let found = launched(
        &clients.cloudtrail,
        &name.instance,
        name.group.as_ref(),
        None,
    )
    .await;
    match found {
        Ok(None) => Acted::Skipped("CloudTrail has no record of it yet".to_owned()),
        Ok(Some((value, text))) => {
            let note = [(tags::QUARANTINE_LAUNCHER.to_owned(), value.clone())];
            match tag(&clients.ec2, &name.instance, note).await {
                Ok(()) => {
                    let _ = name.found.set(Some((value, text.clone())));
                    Acted::Done(Some(format!("launched by {text}")))
                }
                Err(error) if error.is_not_found() => Acted::Skipped("gone meanwhile".to_owned()),
                Err(error) => Acted::Failed(error),
            }
        }
        // It is asked again in the next sweep, and nothing hangs on it.
        Err(error) => Acted::Skipped(error.to_string()),
    }
}
