//! The section `cancel-refresh` of the policy document, and what a group's tags change of it.

use std::num::NonZeroU32;

use guardrails::policy::{Age, Exempt, Mode, Remark, Section};
use guardrails::tags;
use guardrails::text::quoted;
use schemars::JsonSchema;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use crate::facts::Group;

/// When an instance refresh counts as failing, and what is done with it then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "CancelRefresh")]
pub struct Policy {
    /// enforce (the default): do it; notify: change nothing, tell people; observe: change nothing,
    /// only report what would be done.
    #[serde(default)]
    pub mode: Mode,
    /// What is done with a failing refresh: `rollback` (the default; it falls back to `cancel`
    /// where AWS can't roll back), `cancel` or `notify`. A group's tag
    /// `ec2-guardrails:on-failure` overrides it.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Groups to leave alone: those with a tag. Left out: none.
    #[serde(default)]
    pub exclude: Exempt,
    /// How many launches may fail in a row. A group's tag `ec2-guardrails:launch-failures`
    /// overrides it with a number.
    #[serde(default)]
    pub launch_failures: LaunchFailures,
    /// How many launches in a row may fail for a reason that doesn't pass by itself, such as an
    /// AMI that doesn't exist. Default 2.
    #[serde(default = "two")]
    #[schemars(range(min = 1))]
    pub permanent_launch_failures: NonZeroU32,
    /// How many new instances may be terminated as unhealthy while none has passed its warm-up.
    /// Default 2.
    #[serde(default = "two")]
    #[schemars(range(min = 1))]
    pub unhealthy_terminations: NonZeroU32,
    /// How long a refresh may go on without anything happening before its targets' health is
    /// looked at, e.g. `20m` (the default). Alone this stops nothing.
    #[serde(default = "default_stalled_for")]
    pub stalled_for: Age,
}

const fn two() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(1)
}

fn default_stalled_for() -> Age {
    Age::from_mins(20)
}

/// What is done with a failing refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Only tell.
    Notify,
    /// Cancel it: what was replaced stays replaced.
    Cancel,
    /// Roll it back: what was replaced is replaced by what was before.
    #[default]
    Rollback,
}

/// How many launches may fail in a row: a share of the group's desired capacity, within bounds.
/// The defaults are those of the deployment circuit breaker of Amazon ECS (ASG-7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawLaunchFailures")]
pub struct LaunchFailures {
    /// The share, in percent of the desired capacity. Default 50.
    pub percent: u32,
    /// At least so many. Default 3.
    pub min: u32,
    /// At most so many. Default 200.
    pub max: u32,
}

impl Default for LaunchFailures {
    fn default() -> Self {
        Self {
            percent: 50,
            min: 3,
            max: 200,
        }
    }
}

/// How many launches may fail in a row: a share of the group's desired capacity, within bounds.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct RawLaunchFailures {
    /// The share, in percent of the desired capacity. Default 50.
    #[serde(deserialize_with = "percent")]
    #[schemars(range(min = 1, max = 100))]
    percent: u32,
    /// At least so many. Default 3.
    #[serde(deserialize_with = "at_least_one")]
    #[schemars(range(min = 1))]
    min: u32,
    /// At most so many. Default 200.
    #[schemars(range(min = 1))]
    max: u32,
}

impl Default for RawLaunchFailures {
    fn default() -> Self {
        let LaunchFailures { percent, min, max } = LaunchFailures::default();
        Self { percent, min, max }
    }
}

fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        percent @ 1..=100 => Ok(percent),
        _ => Err(D::Error::custom("`percent` must be from 1 to 100")),
    }
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        0 => Err(D::Error::custom(
            "`min` must be at least 1: none failed yet is no failure",
        )),
        count => Ok(count),
    }
}

impl TryFrom<RawLaunchFailures> for LaunchFailures {
    type Error = String;

    fn try_from(raw: RawLaunchFailures) -> Result<Self, String> {
        let RawLaunchFailures { percent, min, max } = raw;
        if max < min {
            Err(format!("`max` ({max}) is below `min` ({min})"))
        } else {
            Ok(Self { percent, min, max })
        }
    }
}

impl LaunchFailures {
    /// The number for a group of `desired` instances: clamp(⌈desired × percent⌉, min, max).
    #[must_use]
    pub fn threshold(self, desired: u32) -> u32 {
        let share = (u64::from(desired) * u64::from(self.percent)).div_ceil(100);
        u32::try_from(share)
            .unwrap_or(u32::MAX)
            .clamp(self.min, self.max)
    }
}

impl Section for Policy {
    fn mode(&self) -> Mode {
        self.mode
    }

    fn warnings(&self) -> Vec<Remark> {
        let (permanent, max) = (
            self.permanent_launch_failures.get(),
            self.launch_failures.max,
        );
        // Each permanent one counts among all failures too.
        let idle = (permanent > max).then(|| {
            Remark::new(
                "permanent-launch-failures",
                format!(
                    "{permanent} is never reached before `launch-failures`, which is {max} at most; write a smaller number (the default is {})",
                    two()
                ),
            )
        });
        idle.into_iter().collect()
    }
}

/// What holds for one group: the policy, and the group's own tags.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What is done.
    pub on_failure: OnFailure,
    /// Launch failures in a row.
    pub launch_failures: u32,
    /// Permanent launch failures in a row.
    pub permanent_launch_failures: u32,
    /// New instances terminated as unhealthy.
    pub unhealthy_terminations: u32,
    /// How long nothing may happen.
    pub stalled_for: Age,
    /// The alarms that count.
    pub alarms: Vec<String>,
    /// The image to put back.
    pub image: Option<ImageTags>,
    /// What can't be used in the group's tags.
    pub problems: Vec<Problem>,
}

/// A tag of a group that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The tag's key.
    pub tag: &'static str,
    /// What is wrong with it, and what holds instead.
    pub problem: String,
}

/// Which image tag is put back, and to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageTags {
    /// The ECR repository's name.
    pub repository: String,
    /// The tag that the instances pull.
    pub tag: String,
    /// The tag of the known good image.
    pub stable: String,
}

impl Settings {
    /// Reads what holds for `group`. A tag that can't be used changes nothing, and is told.
    #[must_use]
    pub fn of(policy: &Policy, group: &Group) -> Self {
        let mut problems = Vec::new();
        let mut number = |key: &'static str, otherwise: u32| match group.tag(key) {
            None => otherwise,
            Some(value) => {
                if let Ok(number) = value.trim().parse::<NonZeroU32>() {
                    number.get()
                } else {
                    problems.push(Problem {
                        tag: key,
                        problem: format!(
                            "{} is no whole number from 1; the policy's {otherwise} holds",
                            quoted(value)
                        ),
                    });
                    otherwise
                }
            }
        };
        let launch_failures = number(
            tags::LAUNCH_FAILURES,
            policy.launch_failures.threshold(group.desired),
        );
        let permanent_launch_failures = number(
            tags::PERMANENT_LAUNCH_FAILURES,
            policy.permanent_launch_failures.get(),
        );
        let unhealthy_terminations = number(
            tags::UNHEALTHY_TERMINATIONS,
            policy.unhealthy_terminations.get(),
        );
        let on_failure = match group.tag(tags::ON_FAILURE).map(str::trim) {
            None => policy.on_failure,
            Some("notify") => OnFailure::Notify,
            Some("cancel") => OnFailure::Cancel,
            Some("rollback") => OnFailure::Rollback,
            Some(other) => {
                // A person wanted something else than the policy says and misspelt it: telling is
                // what does no harm.
                problems.push(Problem {
                    tag: tags::ON_FAILURE,
                    problem: format!(
                        "{} is none of rollback, cancel and notify; a failing refresh is only told until it is corrected",
                        quoted(other)
                    ),
                });
                OnFailure::Notify
            }
        };
        let stalled_for = match group.tag(tags::STALLED_FOR) {
            None => policy.stalled_for,
            Some(value) => Age::try_from(value.trim().to_owned()).unwrap_or_else(|problem| {
                problems.push(Problem {
                    tag: tags::STALLED_FOR,
                    problem: format!("{problem}; the policy's {} holds", policy.stalled_for),
                });
                policy.stalled_for
            }),
        };
        let image = image(group, &mut problems);
        Self {
            on_failure,
            launch_failures,
            permanent_launch_failures,
            unhealthy_terminations,
            stalled_for,
            alarms: alarms(group),
            image,
            problems,
        }
    }
}

/// The alarms that the group's tags name: `ec2-guardrails:alarm`, `ec2-guardrails:alarm-2` …
/// One name per tag, because an alarm's name may hold any character.
#[must_use]
pub fn alarms(group: &Group) -> Vec<String> {
    group
        .tags
        .iter()
        .filter(|(key, value)| {
            let rest = key.strip_prefix(tags::ALARM);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-')) && !value.is_empty()
        })
        .map(|(_, value)| value.clone())
        .collect()
}

fn image(group: &Group, problems: &mut Vec<Problem>) -> Option<ImageTags> {
    let keys = [tags::IMAGE_REPOSITORY, tags::IMAGE_TAG, tags::STABLE_TAG];
    let values = keys.map(|key| {
        group
            .tag(key)
            .map(str::trim)
            .filter(|value| !value.is_empty())
    });
    let mut not_watched = |tag: &'static str, problem: String| {
        problems.push(Problem {
            tag,
            problem: format!("{problem}; the image tag isn't watched"),
        });
    };
    let [Some(repository), Some(tag), Some(stable)] = values else {
        if values.iter().any(Option::is_some) {
            for (key, _) in keys.into_iter().zip(values).filter(|(_, v)| v.is_none()) {
                not_watched(key, "it is missing or empty beside the others".to_owned());
            }
        }
        return None;
    };
    if repository.contains([':', '@']) || repository.contains(".amazonaws.") {
        not_watched(
            tags::IMAGE_REPOSITORY,
            format!(
                "\"{repository}\" is more than the name of a repository of this account and Region, such as team/app"
            ),
        );
        return None;
    }
    for (key, value) in [(tags::IMAGE_TAG, tag), (tags::STABLE_TAG, stable)] {
        if !is_image_tag(value) {
            not_watched(key, format!("\"{value}\" is no image tag"));
            return None;
        }
    }
    if tag == stable {
        not_watched(
            tags::STABLE_TAG,
            format!(
                "\"{stable}\" is the tag that the instances pull, so there is nothing to go back to"
            ),
        );
        return None;
    }
    Some(ImageTags {
        repository: repository.to_owned(),
        tag: tag.to_owned(),
        stable: stable.to_owned(),
    })
}

/// Longest image tag (the distribution specification, and Docker): `[A-Za-z0-9_][A-Za-z0-9_.-]*`.
pub const IMAGE_TAG_MAX: usize = 128;

fn is_image_tag(text: &str) -> bool {
    text.len() <= IMAGE_TAG_MAX
        && !text.starts_with(['.', '-'])
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests;
