//! Reads what is known of instances that are late. What can't be read is left out and told: it
//! never keeps the run from attaching profiles to others.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_ec2::Client;
use guardrails::aws::{ApiError, filter};
use guardrails::finding::Kind;
use jiff::Timestamp;

use super::{FILTER_VALUES, PAGE, network, timestamp};
use crate::Clients;
use crate::assess::NO_PROFILE_IN_TEMPLATE;
use crate::facts::{Evidence, Facts, Group, Read};

/// Most ids of one `DescribeInstanceStatus`.
const STATUS_IDS: usize = 100;
/// Consoles read in one run: one call each, up to 64 KB.
const CONSOLES: usize = 10;
/// The last part of a console that is kept.
const CONSOLE_TAIL: usize = 16 * 1024;
/// Most names of one `DescribeAutoScalingGroups`.
const GROUP_NAMES: usize = 100;
/// Service setting of Default Host Management (SSM-4).
const DHMC_SETTING: &str = "/ssm/managed-instance/default-ec2-instance-management-role";

/// When profiles were associated, as far as AWS tells. Without it an instance only counts as late
/// earlier, so a failure is no matter.
pub(super) async fn associated(ec2: &Client, ids: &[String]) -> HashMap<String, Timestamp> {
    let mut found = HashMap::new();
    for some in ids.chunks(FILTER_VALUES) {
        let mut pages = ec2
            .describe_iam_instance_profile_associations()
            .filters(filter("instance-id", some.to_vec()))
            .max_results(PAGE)
            .into_paginator()
            .items()
            .send();
        while let Ok(Some(association)) = pages.try_next().await {
            if let (Some(id), Some(at)) = (
                association.instance_id.as_ref(),
                timestamp(association.timestamp()),
            ) {
                found.insert(id.clone(), at);
            }
        }
    }
    found
}

/// Gathers evidence of `ids`.
pub(super) async fn gather(clients: &Clients, facts: &mut Facts, ids: &[String]) {
    let interfaces: Vec<_> = ids
        .iter()
        .filter_map(|id| Some(&facts.instances.get(id)?.interface))
        .collect();
    let images: BTreeSet<String> = ids
        .iter()
        .filter_map(|id| facts.instances.get(id)?.image.clone())
        .collect();
    let (dhmc, checks, names, network) = futures::join!(
        dhmc(&clients.ssm),
        checks(&clients.ec2, ids),
        image_names(&clients.ec2, images),
        network::network(&clients.ec2, &interfaces),
    );
    let mut evidence: BTreeMap<String, Evidence> = BTreeMap::new();
    for (at, id) in ids.iter().enumerate() {
        let image = facts.instances.get(id).and_then(|i| i.image.as_ref());
        evidence.insert(
            id.clone(),
            Evidence {
                checks: match &checks {
                    Ok(checks) => checks.get(id).cloned().map(Ok),
                    Err(error) => Some(Err(error.clone())),
                },
                console: if at < CONSOLES {
                    Some(console(&clients.ec2, id).await)
                } else {
                    None
                },
                image_name: image.and_then(|image| names.get(image).cloned()),
            },
        );
    }
    facts.evidence = evidence;
    facts.dhmc = Some(dhmc);
    facts.network = Some(network);
}

async fn dhmc(ssm: &aws_sdk_ssm::Client) -> Read<Option<String>> {
    let answer = ssm
        .get_service_setting()
        .setting_id(DHMC_SETTING)
        .send()
        .await
        .map_err(|error| ApiError::of("ssm:GetServiceSetting", &error));
    match answer {
        Ok(answer) => Ok(answer
            .service_setting
            .and_then(|setting| setting.setting_value)
            .filter(|value| value != "$None" && !value.is_empty())),
        Err(error) if error.code == "ServiceSettingNotFound" => Ok(None),
        Err(error) => Err(error),
    }
}

async fn checks(ec2: &Client, ids: &[String]) -> Read<HashMap<String, (String, String)>> {
    let mut found = HashMap::with_capacity(ids.len());
    for some in ids.chunks(STATUS_IDS) {
        let answer = ec2
            .describe_instance_status()
            .set_instance_ids(Some(some.to_vec()))
            .include_all_instances(true)
            .send()
            .await
            .map_err(|error| ApiError::of("ec2:DescribeInstanceStatus", &error))?;
        for status in answer.instance_statuses() {
            let (Some(id), Some(system), Some(instance)) = (
                status.instance_id(),
                status.system_status().and_then(|s| s.status()),
                status.instance_status().and_then(|s| s.status()),
            ) else {
                continue;
            };
            found.insert(
                id.to_owned(),
                (system.as_str().to_owned(), instance.as_str().to_owned()),
            );
        }
    }
    Ok(found)
}

/// The AMIs' names. A hint at most, so a failure is no matter.
async fn image_names(ec2: &Client, images: BTreeSet<String>) -> HashMap<String, String> {
    let images: Vec<String> = images.into_iter().collect();
    let mut names = HashMap::with_capacity(images.len());
    for some in images.chunks(FILTER_VALUES) {
        let mut pages = ec2
            .describe_images()
            .filters(filter("image-id", some.to_vec()))
            .include_deprecated(true)
            .include_disabled(true)
            .max_results(PAGE)
            .into_paginator()
            .items()
            .send();
        while let Ok(Some(image)) = pages.try_next().await {
            if let (Some(id), Some(name)) = (image.image_id, image.name) {
                names.insert(id, name);
            }
        }
    }
    names
}

async fn console(ec2: &Client, id: &str) -> Read<String> {
    let answer = ec2
        .get_console_output()
        .instance_id(id)
        .send()
        .await
        .map_err(|error| ApiError::of("ec2:GetConsoleOutput", &error))?;
    let output = answer.output.unwrap_or_default();
    let bytes = aws_smithy_types::base64::decode(&output).unwrap_or_else(|_| output.into_bytes());
    let from = bytes.len().saturating_sub(CONSOLE_TAIL);
    Ok(String::from_utf8_lossy(&bytes[from..]).into_owned())
}

/// Reads the groups of these names: what they launch from, and what was told of them.
pub(super) async fn groups(
    clients: &Clients,
    names: BTreeSet<String>,
) -> Read<BTreeMap<String, Group>> {
    let names: Vec<String> = names.into_iter().collect();
    let mut found = BTreeMap::new();
    for some in names.chunks(GROUP_NAMES) {
        let mut pages = clients
            .autoscaling
            .describe_auto_scaling_groups()
            .set_auto_scaling_group_names(Some(some.to_vec()))
            .max_records(100)
            .into_paginator()
            .items()
            .send();
        while let Some(group) = pages
            .try_next()
            .await
            .map_err(|error| ApiError::of("autoscaling:DescribeAutoScalingGroups", &error))?
        {
            let Some(name) = group.auto_scaling_group_name.clone() else {
                continue;
            };
            let (source, has_profile) = source(clients, &group).await;
            found.insert(
                name,
                Group {
                    source,
                    has_profile,
                    told: told(&group, &NO_PROFILE_IN_TEMPLATE),
                },
            );
        }
    }
    Ok(found)
}

fn told(group: &aws_sdk_autoscaling::types::AutoScalingGroup, kind: &Kind) -> Option<String> {
    let key = kind.tag();
    group
        .tags()
        .iter()
        .find(|tag| tag.key() == Some(key.as_str()))
        .and_then(|tag| tag.value().map(str::to_owned))
}

/// What a group launches from, and whether that names a profile.
async fn source(
    clients: &Clients,
    group: &aws_sdk_autoscaling::types::AutoScalingGroup,
) -> (String, Option<bool>) {
    let template = group.launch_template().or_else(|| {
        group
            .mixed_instances_policy()?
            .launch_template()?
            .launch_template_specification()
    });
    if let Some(template) = template {
        let id = template.launch_template_id();
        let version = template.version().unwrap_or("$Default");
        let label = format!(
            "launch template {} version {version}",
            id.or(template.launch_template_name()).unwrap_or_default()
        );
        // By id alone, or by name where there is no id: AWS refuses both.
        let name = match id {
            Some(_) => None,
            None => template.launch_template_name().map(str::to_owned),
        };
        let answer = clients
            .ec2
            .describe_launch_template_versions()
            .set_launch_template_id(id.map(str::to_owned))
            .set_launch_template_name(name)
            .versions(version)
            .send()
            .await;
        let has = answer.ok().and_then(|answer| {
            let data = answer
                .launch_template_versions()
                .first()?
                .launch_template_data()?;
            Some(data.iam_instance_profile().is_some())
        });
        return (label, has);
    }
    let Some(name) = group.launch_configuration_name() else {
        return ("launch source".to_owned(), None);
    };
    let answer = clients
        .autoscaling
        .describe_launch_configurations()
        .launch_configuration_names(name)
        .send()
        .await;
    let has = answer.ok().and_then(|answer| {
        let found = answer.launch_configurations().first()?;
        Some(found.iam_instance_profile().is_some_and(|p| !p.is_empty()))
    });
    (format!("launch configuration {name}"), has)
}
