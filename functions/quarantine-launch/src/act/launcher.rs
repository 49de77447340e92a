//! Who launched an instance, looked up in CloudTrail: after the isolation, never before.

use std::time::Duration;

use aws_sdk_cloudtrail::Client;
use aws_sdk_cloudtrail::types::{LookupAttribute, LookupAttributeKey};
use guardrails::aws::{ApiError, ErrorKind};
use guardrails::ec2;
use guardrails::guardrail::Acted;
use guardrails::state::Expect;
use guardrails::tags::{self, label};
use lambda_runtime::tracing;
use serde_json::Value;
use tokio::time::timeout;

use crate::clients::Clients;
use crate::decide::{Effect, NameLauncher};
use crate::facts::Group;
use crate::launcher::{Launcher, Who};
use crate::record::QUARANTINE;

const LOOKUP: &str = "cloudtrail:LookupEvents";

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

/// Who launched `instance`. None when CloudTrail doesn't know yet, or can't be asked now.
pub(super) async fn launched(
    cloudtrail: &Client,
    instance: &str,
    group: Option<&Group>,
    told: Option<&Launcher>,
) -> Result<Option<Who>, ApiError> {
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
            (Some(launcher), None, _) => Some(launcher.who()),
            (launcher, Some(changed), Some(group)) => {
                let by = launcher.map_or_else(
                    || format!("Auto Scaling group {}", group.name),
                    |launcher| format!("Auto Scaling group {} ({})", group.name, launcher.value()),
                );
                Some(Who {
                    principal: changed.value().to_owned(),
                    text: format!("{by}, which was last changed by {}", changed.text()),
                })
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
    let both = of_template.into_iter().chain(of_group);
    Ok(both.max_by_key(|one| one.at))
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
        .map_err(|error| {
            let why = error.to_string();
            ApiError::new(LOOKUP, "InvalidRequest", why, ErrorKind::Refused)
        })?;
    let answer = cloudtrail
        .lookup_events()
        .lookup_attributes(about)
        .max_results(PAGE)
        .send()
        .await
        .map_err(|error| ApiError::of(LOOKUP, &error))?;
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

/// Finds out who launched an instance that is in quarantine, and writes it down.
pub(super) async fn name(clients: &Clients, order: &NameLauncher) -> Acted<Effect> {
    let id = order.instance.as_str();
    let found = launched(&clients.cloudtrail, id, order.group.as_ref(), None).await;
    let who = match found {
        Ok(Some(who)) => who,
        Ok(None) => return Acted::skipped("CloudTrail has no record of it yet"),
        // It is asked again in the next sweep, and nothing hangs on it.
        Err(error) => return Acted::skipped(error.to_string()),
    };
    match write_down(clients, order, &who).await {
        Err(error) => Acted::failed(error),
        Ok(false) => Acted::skipped("its quarantine was changed meanwhile"),
        Ok(true) => {
            let label = [(
                label::QUARANTINE_LAUNCHER.to_owned(),
                tags::clip(&who.principal),
            )];
            if let Err(error) = ec2::write_tags(&clients.ec2, &[id], label).await {
                tracing::warn!(instance = id, "its label: {error}");
            }
            let note = format!("launched by {}", who.text);
            Acted::done(Some(note)).with(Effect::Named(who))
        }
    }
}

/// Whether it could be written down.
async fn write_down(clients: &Clients, order: &NameLauncher, who: &Who) -> Result<bool, ApiError> {
    let (state, id) = (&clients.state, order.instance.as_str());
    let Some(stored) = state.get(&QUARANTINE, id, order.at).await? else {
        return Ok(false);
    };
    let mut record = stored.value;
    record.launcher = Some(who.clone());
    let expect = Expect::Version(stored.version);
    let written = state.put(&QUARANTINE, id, &record, None, &expect, order.at);
    Ok(written.await?.is_done())
}
