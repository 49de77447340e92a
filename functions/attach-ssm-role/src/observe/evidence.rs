//! Reads what is known of instances that are late. What can't be read is told, and never keeps
//! the run from attaching profiles to others.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_autoscaling::operation::describe_auto_scaling_groups::builders::DescribeAutoScalingGroupsFluentBuilder;
use aws_sdk_ec2::Client;
use guardrails::aws::{ApiError, ErrorKind, filter};
use guardrails::ec2::{self, FILTER_VALUES, timestamp};
use guardrails::finding::Kind;
use jiff::Timestamp;

use super::PAGE;
use crate::Clients;
use crate::assess::NO_PROFILE_IN_TEMPLATE;
use crate::facts::{Console, Evidence, Facts, Group, Read};

/// Most ids of one `DescribeInstanceStatus`.
const STATUS_IDS: usize = 100;
/// Consoles read in one run: one call each, up to 64 KB.
const CONSOLES: usize = 10;
/// The last part of a console that is kept.
const CONSOLE_TAIL: usize = 16 * 1024;
/// Most names of one `DescribeAutoScalingGroups`.
const GROUP_NAMES: usize = 100;
/// What a group launches that names no version of its template.
const DEFAULT_VERSION: &str = "$Default";
/// Service setting of Default Host Management (SSM-4).
const DHMC_SETTING: &str = "/ssm/managed-instance/default-ec2-instance-management-role";

/// When profiles were associated, as far as AWS tells.
pub(super) async fn associated(ec2: &Client, ids: &[String]) -> Read<HashMap<String, Timestamp>> {
    let mut found = HashMap::new();
    for some in ids.chunks(FILTER_VALUES) {
        let mut pages = ec2
            .describe_iam_instance_profile_associations()
            .filters(filter("instance-id", some.to_vec()))
            .max_results(PAGE)
            .into_paginator()
            .items()
            .send();
        while let Some(association) = pages
            .try_next()
            .await
            .map_err(|error| ApiError::of("ec2:DescribeIamInstanceProfileAssociations", &error))?
        {
            if let (Some(id), Some(at)) = (
                association.instance_id.as_ref(),
                timestamp(association.timestamp()),
            ) {
                found.insert(id.clone(), at);
            }
        }
    }
    Ok(found)
}

/// Gathers evidence of `ids`.
pub(super) async fn gather(clients: &Clients, facts: &mut Facts, ids: &[String]) {
    let images: BTreeSet<String> = ids
        .iter()
        .filter_map(|id| facts.instances.get(id)?.image.clone())
        .collect();
    let (dhmc, checks, names) = futures::join!(
        dhmc(&clients.ssm),
        checks(&clients.ec2, ids),
        ec2::image_names(&clients.ec2, images),
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
                image_name: match &names {
                    Ok(names) => image.and_then(|image| names.get(image).cloned()).map(Ok),
                    Err(error) => Some(Err(error.clone())),
                },
            },
        );
    }
    facts.evidence = evidence;
    facts.dhmc = Some(dhmc);
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

pub(super) async fn checks(
    ec2: &Client,
    ids: &[String],
) -> Read<HashMap<String, (String, String)>> {
    let mut found = HashMap::with_capacity(ids.len());
    for some in ids.chunks(STATUS_IDS) {
        let mut some = some.to_vec();
        // One instance that is gone meanwhile has AWS refuse them all; it names those that are. (No
        // filter chooses by id, and without ids the whole account would be read.)
        let answer = loop {
            let answer = ec2
                .describe_instance_status()
                .set_instance_ids(Some(some.clone()))
                .include_all_instances(true)
                .send()
                .await
                .map_err(|error| ApiError::of("ec2:DescribeInstanceStatus", &error));
            match answer {
                Err(error) if error.is_not_found() => {
                    let before = some.len();
                    some.retain(|id| !names(&error.message, id));
                    if some.len() == before {
                        return Err(error);
                    }
                    if some.is_empty() {
                        break None;
                    }
                }
                answer => break Some(answer?),
            }
        };
        let Some(answer) = answer else {
            continue;
        };
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

/// Whether `message` names `id`, and not only one that begins as it does.
fn names(message: &str, id: &str) -> bool {
    message
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .any(|word| word == id)
}

async fn console(ec2: &Client, id: &str) -> Read<Console> {
    let answer = ec2
        .get_console_output()
        .instance_id(id)
        .send()
        .await
        .map_err(|error| ApiError::of("ec2:GetConsoleOutput", &error))?;
    let updated = timestamp(answer.timestamp());
    let output = answer.output.unwrap_or_default();
    let bytes = aws_smithy_types::base64::decode(&output).unwrap_or_else(|_| output.into_bytes());
    let from = bytes.len().saturating_sub(CONSOLE_TAIL);
    Ok(Console {
        text: String::from_utf8_lossy(&bytes[from..]).into_owned(),
        updated,
    })
}

/// Reads the groups of these names, and those of which something was told: what they launch from,
/// and what was told. A group of the second kind may be cured though no member shows it.
pub(super) async fn groups(
    clients: &Clients,
    names: BTreeSet<String>,
) -> Read<BTreeMap<String, Group>> {
    let told = aws_sdk_autoscaling::types::Filter::builder()
        .name("tag-key")
        .values(NO_PROFILE_IN_TEMPLATE.tag())
        .build();
    let all = clients.autoscaling.describe_auto_scaling_groups();
    let mut found = groups_of(clients, all.filters(told)).await?;
    let names: Vec<String> = names
        .into_iter()
        .filter(|name| !found.contains_key(name))
        .collect();
    for some in names.chunks(GROUP_NAMES) {
        let all = clients.autoscaling.describe_auto_scaling_groups();
        let some = all.set_auto_scaling_group_names(Some(some.to_vec()));
        found.extend(groups_of(clients, some).await?);
    }
    Ok(found)
}

async fn groups_of(
    clients: &Clients,
    which: DescribeAutoScalingGroupsFluentBuilder,
) -> Read<BTreeMap<String, Group>> {
    let mut pages = which.max_records(100).into_paginator().items().send();
    let mut found = BTreeMap::new();
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
) -> (String, Read<bool>) {
    let template = group.launch_template().or_else(|| {
        group
            .mixed_instances_policy()?
            .launch_template()?
            .launch_template_specification()
    });
    if let Some(template) = template {
        let label = format!(
            "launch template {} version {}",
            template
                .launch_template_id()
                .or(template.launch_template_name())
                .unwrap_or_default(),
            template.version().unwrap_or(DEFAULT_VERSION)
        );
        return (label, template_has_profile(&clients.ec2, template).await);
    }
    let name = group.launch_configuration_name().unwrap_or_default();
    let label = format!("launch configuration {name}");
    let operation = "autoscaling:DescribeLaunchConfigurations";
    let answer = clients
        .autoscaling
        .describe_launch_configurations()
        .launch_configuration_names(name)
        .send()
        .await;
    let has = match answer {
        Ok(answer) => answer
            .launch_configurations()
            .first()
            .map(|found| found.iam_instance_profile().is_some_and(|p| !p.is_empty()))
            .ok_or_else(|| gone(operation, &label)),
        Err(error) => Err(ApiError::of(operation, &error)),
    };
    (label, has)
}

async fn template_has_profile(
    ec2: &Client,
    template: &aws_sdk_autoscaling::types::LaunchTemplateSpecification,
) -> Read<bool> {
    let operation = "ec2:DescribeLaunchTemplateVersions";
    let id = template.launch_template_id();
    // By id alone, or by name where there is no id: AWS refuses both.
    let name = match id {
        Some(_) => None,
        None => template.launch_template_name().map(str::to_owned),
    };
    let answer = ec2
        .describe_launch_template_versions()
        .set_launch_template_id(id.map(str::to_owned))
        .set_launch_template_name(name)
        .versions(template.version().unwrap_or(DEFAULT_VERSION))
        .send()
        .await
        .map_err(|error| ApiError::of(operation, &error))?;
    answer
        .launch_template_versions()
        .first()
        .and_then(|version| version.launch_template_data())
        .map(|data| data.iam_instance_profile().is_some())
        .ok_or_else(|| gone(operation, "the launch template's version"))
}

/// AWS answers nothing where what was named is gone.
fn gone(operation: &'static str, what: &str) -> ApiError {
    ApiError {
        operation,
        code: "NotFound".to_owned(),
        message: format!("{what} doesn't exist any more"),
        kind: ErrorKind::Refused,
    }
}
