//! The section `cancel-refresh` of the policy document, and what a group's tags change of it.

use std::num::NonZeroU32;

use guardrails::policy::{Age, Exempt, Mode, Remark, Section};
use guardrails::tags;
use guardrails::text::quoted;
use schemars::JsonSchema;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

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
    /// `ec2-guardrails:on-failure` may ask for less.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Groups to leave alone: those with a tag. Left out: none.
    #[serde(default)]
    pub exclude: Exempt,
    /// The share of what was launched since the start, in percent, from which on failed launches
    /// and dead instances may fail a refresh: 20 to 100. Default 50. Below it none of the counts
    /// below does.
    #[serde(default = "half", deserialize_with = "share")]
    #[schemars(range(min = 20, max = 100))]
    pub failing_share: u32,
    /// In how many rounds launches may fail or new instances die. What happens at one moment is one
    /// round. Default 3. A group's tag `ec2-guardrails:launch-failures` may ask for more.
    #[serde(default = "three")]
    #[schemars(range(min = 1))]
    pub launch_failures: NonZeroU32,
    /// In how many rounds launches may fail for a reason that doesn't pass by itself, such as an
    /// AMI that doesn't exist. Default 2.
    #[serde(default = "two")]
    #[schemars(range(min = 1))]
    pub permanent_launch_failures: NonZeroU32,
    /// In how many rounds new instances may be terminated as unhealthy. Default 2.
    #[serde(default = "two")]
    #[schemars(range(min = 1))]
    pub unhealthy_terminations: NonZeroU32,
    /// How long a refresh may go on without anything happening before its targets' health is
    /// looked at, e.g. `20m` (the default). Alone this stops nothing.
    #[serde(default = "default_stalled_for")]
    pub stalled_for: Age,
    /// What is done when the configuration of a refresh that this guardrail stopped is started
    /// again within a day: `judge` it like any other (the default), or `stop` it at first sight.
    #[serde(default)]
    pub when_started_again: Again,
    /// Alarms and image tags of groups, by the groups' names. Tags on a group can't add to it.
    #[serde(default)]
    pub groups: Vec<Rule>,
}

/// What is done with a stopped configuration that is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Again {
    /// Judge it by what happens.
    #[default]
    Judge,
    /// Stop it at once.
    Stop,
}

/// What holds for the groups of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "CancelRefreshGroups")]
pub struct Rule {
    /// The groups: a name, or a pattern with `*` and `?`.
    #[serde(deserialize_with = "not_empty")]
    #[schemars(length(min = 1))]
    pub name: String,
    /// Names of `CloudWatch` alarms that fail a refresh when they go off after its first launch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<String>,
    /// The container image tag that the groups' instances pull, and the known good image that may
    /// be put back under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ImageTags")]
    pub image: Option<ImageTags>,
}

impl Rule {
    fn is_of(&self, group: &str) -> bool {
        WildMatch::new(&self.name).matches(group)
    }
}

const fn half() -> u32 {
    50
}

const fn two() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(1)
}

const fn three() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(2)
}

fn default_stalled_for() -> Age {
    Age::from_mins(20)
}

/// A release of which nine tenths are healthy must never be stopped, whatever the policy says.
fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        percent @ 20..=100 => Ok(percent),
        _ => Err(D::Error::custom("`failing-share` must be from 20 to 100")),
    }
}

fn not_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Err(D::Error::custom("an empty `name` matches nothing"));
    }
    Ok(text)
}

/// What is done with a failing refresh.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema,
)]
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

impl Section for Policy {
    fn mode(&self) -> Mode {
        self.mode
    }

    fn warnings(&self) -> Vec<Remark> {
        let (permanent, all) = (self.permanent_launch_failures, self.launch_failures);
        // Each permanent one counts among all failures too.
        let idle = (permanent > all).then(|| {
            Remark::new(
                "permanent-launch-failures",
                format!(
                    "{permanent} is never reached before `launch-failures`, which is {all}; write a smaller number (the default is {})",
                    two()
                ),
            )
        });
        idle.into_iter().collect()
    }
}

/// What holds for one group: the policy, and what the group's own tags take away from it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Settings {
    /// What is done.
    pub on_failure: OnFailure,
    /// From which share on, in percent.
    pub failing_share: u32,
    /// Rounds of all failures.
    pub launch_failures: u32,
    /// Rounds of permanent launch failures.
    pub permanent_launch_failures: u32,
    /// Rounds of new instances terminated as unhealthy.
    pub unhealthy_terminations: u32,
    /// How long nothing may happen.
    pub stalled_for: Age,
    /// What is done with what was stopped and is started again.
    pub when_started_again: Again,
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
    pub tag: String,
    /// What is wrong with it, and what holds instead.
    pub problem: String,
}

/// Which image tag is put back, and to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawImageTags")]
#[serde(rename_all = "kebab-case")]
pub struct ImageTags {
    /// The ECR repository's name.
    pub repository: String,
    /// The tag that the instances pull.
    pub tag: String,
    /// The tag of the known good image.
    pub stable_tag: String,
}

/// Which image tag is put back, and to what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "CancelRefreshImage")]
struct RawImageTags {
    /// Name of an ECR repository of this account and Region, such as `team/app`.
    repository: String,
    /// The tag that the instances pull, such as `prod`.
    tag: String,
    /// The tag of the known good image, such as `prod-stable`.
    stable_tag: String,
}

impl TryFrom<RawImageTags> for ImageTags {
    type Error = String;

    fn try_from(raw: RawImageTags) -> Result<Self, String> {
        let RawImageTags {
            repository,
            tag,
            stable_tag,
        } = raw;
        if repository.is_empty()
            || repository.contains([':', '@'])
            || repository.contains(".amazonaws.")
        {
            return Err(format!(
                "`repository`: {} is no name of a repository of this account and Region, such as team/app",
                quoted(&repository)
            ));
        }
        for (key, value) in [("tag", &tag), ("stable-tag", &stable_tag)] {
            if !is_image_tag(value) {
                return Err(format!("`{key}`: {} is no image tag", quoted(value)));
            }
        }
        if tag == stable_tag {
            return Err(format!(
                "`stable-tag`: {} is the tag that the instances pull, so there is nothing to go back to",
                quoted(&tag)
            ));
        }
        Ok(Self {
            repository,
            tag,
            stable_tag,
        })
    }
}

/// What a group's tags ask for. They can only take away: whoever may tag a group could otherwise
/// have a good release stopped, or an image moved.
struct Asked<'a> {
    group: &'a Group,
    problems: Vec<Problem>,
}

impl Asked<'_> {
    fn problem(&mut self, tag: &str, problem: String) {
        self.problems.push(Problem {
            tag: tag.to_owned(),
            problem,
        });
    }

    /// What the tag asks for, if `read` takes it and it isn't less than the policy's.
    fn at_least<T: Ord + Copy + std::fmt::Display>(
        &mut self,
        tag: &str,
        policy: T,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let Some(value) = self.group.tag(tag) else {
            return policy;
        };
        match read(value.trim()) {
            Ok(asked) if asked >= policy => asked,
            Ok(asked) => {
                let why = format!(
                    "{asked} would stop a refresh sooner than the policy's {policy}, which a tag can't; the policy's holds"
                );
                self.problem(tag, why);
                policy
            }
            Err(why) => {
                self.problem(tag, format!("{why}; the policy's {policy} holds"));
                policy
            }
        }
    }

    fn rounds(&mut self, tag: &str, policy: NonZeroU32) -> u32 {
        let read = |value: &str| {
            let number = value.parse::<NonZeroU32>();
            number.map_err(|_| format!("{} is no whole number from 1", quoted(value)))
        };
        self.at_least(tag, policy, read).get()
    }

    fn on_failure(&mut self, policy: OnFailure) -> OnFailure {
        let tag = tags::ON_FAILURE;
        let asked = match self.group.tag(tag).map(str::trim) {
            None => return policy,
            Some("notify") => OnFailure::Notify,
            Some("cancel") => OnFailure::Cancel,
            Some("rollback") => OnFailure::Rollback,
            Some(other) => {
                // A person wanted something else than the policy says and misspelt it: telling is
                // what does no harm.
                let why = format!(
                    "{} is none of rollback, cancel and notify; a failing refresh is only told until it is corrected",
                    quoted(other)
                );
                self.problem(tag, why);
                return OnFailure::Notify;
            }
        };
        if asked > policy {
            let why = "it asks for more than the policy's `on-failure`, which a tag can't; the policy's holds";
            self.problem(tag, why.to_owned());
        }
        asked.min(policy)
    }

    /// One of the images that the policy lets the group have: the one that the tags name, else the
    /// first.
    fn image(&mut self, allowed: &[&ImageTags]) -> Option<ImageTags> {
        let keys = [tags::IMAGE_REPOSITORY, tags::IMAGE_TAG, tags::STABLE_TAG];
        let group = self.group;
        let asked = keys.map(|key| group.tag(key).map(str::trim));
        let fits = |image: &&&ImageTags| {
            let named = [&image.repository, &image.tag, &image.stable_tag];
            let mut pairs = asked.iter().zip(named);
            pairs.all(|(asked, name)| asked.is_none_or(|asked| asked == name))
        };
        let found = allowed.iter().find(fits).map(|image| (*image).clone());
        let first = keys
            .into_iter()
            .zip(asked)
            .find(|(_, asked)| asked.is_some());
        if let (None, Some((key, _))) = (&found, first) {
            let why = "the policy's `groups` don't let this group have the image that its tags name; no image tag is put back";
            self.problem(key, why.to_owned());
        }
        found
    }

    /// Alarms were once named by tags.
    fn alarms(&mut self) {
        let named = |key: &&String| {
            let rest = key.strip_prefix(tags::ALARM);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let named: Vec<String> = self.group.tags.keys().filter(named).cloned().collect();
        for tag in named {
            let why =
                "a tag can't name an alarm that stops refreshes; name it in the policy's `groups`";
            self.problem(&tag, why.to_owned());
        }
    }
}

impl Settings {
    /// Reads what holds for `group`. A tag that can't be used changes nothing, and is told.
    #[must_use]
    pub fn of(policy: &Policy, group: &Group) -> Self {
        let mut asked = Asked {
            group,
            problems: Vec::new(),
        };
        let rules = || policy.groups.iter().filter(|rule| rule.is_of(&group.name));
        let images: Vec<&ImageTags> = rules().filter_map(|rule| rule.image.as_ref()).collect();
        let mut alarms: Vec<String> = rules().flat_map(|rule| rule.alarms.clone()).collect();
        alarms.sort();
        alarms.dedup();
        asked.alarms();
        Self {
            on_failure: asked.on_failure(policy.on_failure),
            failing_share: policy.failing_share,
            launch_failures: asked.rounds(tags::LAUNCH_FAILURES, policy.launch_failures),
            permanent_launch_failures: asked.rounds(
                tags::PERMANENT_LAUNCH_FAILURES,
                policy.permanent_launch_failures,
            ),
            unhealthy_terminations: asked
                .rounds(tags::UNHEALTHY_TERMINATIONS, policy.unhealthy_terminations),
            stalled_for: asked.at_least(tags::STALLED_FOR, policy.stalled_for, |value| {
                Age::try_from(value.to_owned())
            }),
            when_started_again: policy.when_started_again,
            alarms,
            image: asked.image(&images),
            problems: asked.problems,
        }
    }
}

/// Whether the policy names this alarm for any group: of all others nothing is to be read.
#[must_use]
pub fn names_alarm(policy: &Policy, alarm: &str) -> bool {
    let mut named = policy.groups.iter().flat_map(|rule| &rule.alarms);
    named.any(|name| name == alarm)
}

/// Longest image tag (the distribution specification, and Docker): `[A-Za-z0-9_][A-Za-z0-9_.-]*`.
pub const IMAGE_TAG_MAX: usize = 128;

fn is_image_tag(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= IMAGE_TAG_MAX
        && !text.starts_with(['.', '-'])
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests;
