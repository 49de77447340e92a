//! Reads Auto Scaling groups, and what those launch from whose members lack a profile.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_autoscaling::types::AutoScalingGroup;
use futures::StreamExt as _;
use futures::stream;
use guardrails::autoscaling::{self, Which};
use guardrails::aws::{ApiError, ErrorKind};

use crate::clients::Clients;
use crate::facts::{Group, Read};

/// Templates read at once.
const CONCURRENCY: usize = 8;
/// What a group launches that names no version of its template.
const DEFAULT_VERSION: &str = "$Default";

/// What a group launches from. Several may launch from the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    /// A launch template by id, its version.
    TemplateById(String, String),
    /// The same by name.
    TemplateByName(String, String),
    Configuration(String),
}

/// Reads all groups; of the `concerned` also whether they launch with a profile.
pub(super) async fn groups(
    clients: &Clients,
    concerned: &BTreeSet<String>,
) -> Read<BTreeMap<String, Group>> {
    let named =
        |group: &AutoScalingGroup| Some((group.auto_scaling_group_name.clone()?, source(group)));
    let found = autoscaling::groups(&clients.autoscaling, Which::All, named).await?;
    let sources = found.iter().filter(|(name, _)| concerned.contains(name));
    let sources: BTreeSet<Source> = sources.map(|(_, source)| source.clone()).collect();
    let read: BTreeMap<Source, Read<bool>> = stream::iter(sources)
        .map(async |source| {
            let has_profile = has_profile(clients, &source).await;
            (source, has_profile)
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    let group = |(name, source): (String, Source)| {
        let has_profile = read.get(&source).filter(|_| concerned.contains(&name));
        let group = Group {
            source: source.label(),
            has_profile: has_profile.cloned(),
        };
        (name, group)
    };
    Ok(found.into_iter().map(group).collect())
}

fn source(group: &AutoScalingGroup) -> Source {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let template = group.launch_template().or_else(|| {
        let mixed = group.mixed_instances_policy()?.launch_template()?;
        mixed.launch_template_specification()
    });
    let Some(template) = template else {
        return Source::Configuration(text(group.launch_configuration_name()));
    };
    let version = template.version().unwrap_or(DEFAULT_VERSION).to_owned();
    match template.launch_template_id() {
        Some(id) => Source::TemplateById(id.to_owned(), version),
        None => Source::TemplateByName(text(template.launch_template_name()), version),
    }
}

impl Source {
    fn label(&self) -> String {
        match self {
            Self::TemplateById(name, version) | Self::TemplateByName(name, version) => {
                format!("launch template {name} version {version}")
            }
            Self::Configuration(name) => format!("launch configuration {name}"),
        }
    }
}

/// Whether what is launched from names a profile.
async fn has_profile(clients: &Clients, source: &Source) -> Read<bool> {
    // By id alone, or by name where there is no id: AWS refuses both.
    let (id, name, version) = match source {
        Source::TemplateById(id, version) => (Some(id.clone()), None, version),
        Source::TemplateByName(name, version) => (None, Some(name.clone()), version),
        Source::Configuration(name) => return configuration_has_profile(clients, name).await,
    };
    let operation = "ec2:DescribeLaunchTemplateVersions";
    let answer = clients
        .ec2
        .describe_launch_template_versions()
        .set_launch_template_id(id)
        .set_launch_template_name(name)
        .versions(version)
        .send()
        .await
        .map_err(|error| ApiError::of(operation, &error))?;
    answer
        .launch_template_versions()
        .first()
        .and_then(|version| version.launch_template_data())
        .map(|data| data.iam_instance_profile().is_some())
        .ok_or_else(|| gone(operation, source))
}

async fn configuration_has_profile(clients: &Clients, name: &str) -> Read<bool> {
    let operation = "autoscaling:DescribeLaunchConfigurations";
    let answer = clients
        .autoscaling
        .describe_launch_configurations()
        .launch_configuration_names(name)
        .send()
        .await
        .map_err(|error| ApiError::of(operation, &error))?;
    answer
        .launch_configurations()
        .first()
        .map(|found| found.iam_instance_profile().is_some_and(|p| !p.is_empty()))
        .ok_or_else(|| gone(operation, &Source::Configuration(name.to_owned())))
}

/// AWS answers nothing where what was named is gone.
fn gone(operation: &'static str, source: &Source) -> ApiError {
    ApiError {
        operation,
        code: "NotFound".to_owned(),
        message: format!("{} doesn't exist any more", source.label()),
        kind: ErrorKind::Refused,
    }
}
