//! The section `attach-ssm-role` of the policy document.

use guardrails::policy::{Age, Mode, Section, TagMatch};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::facts::Instance;

/// Which instances get the profile, and when a node that isn't Online is a fault.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// enforce (the default): do it; observe: change nothing, report what would be done.
    #[serde(default)]
    pub mode: Mode,
    /// Instances to leave alone.
    #[serde(default)]
    #[schemars(with = "RawExclude")]
    pub exclude: Exclude,
    /// How long after its start, or after it got its profile, an instance may take to come Online
    /// before it is told, e.g. `35m` (the default). Less gives false alarms: an agent that found
    /// no credentials sleeps for 25 to 30 minutes.
    #[serde(default = "default_online_within")]
    #[schemars(with = "String")]
    pub online_within: Age,
    /// Attach `AmazonSSMManagedInstanceCore` to a role that lacks what the agent needs. Default
    /// false: it is only reported. Takes the stack's parameter `RepairRoles` as well.
    #[serde(default)]
    pub repair_roles: bool,
}

/// Just longer than the agent's sleep without credentials (SSM-1).
fn default_online_within() -> Age {
    Age::from_mins(35)
}

impl Section for Policy {
    fn mode(&self) -> Mode {
        self.mode
    }
}

/// Which instances are left alone.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(try_from = "RawExclude")]
pub struct Exclude(Option<TagMatch>);

impl Exclude {
    /// The tag by which `instance` is left out, if it is.
    #[must_use]
    pub fn tag_of(&self, instance: &Instance) -> Option<&str> {
        self.0
            .as_ref()
            .filter(|matching| matching.matches(instance.tag(&matching.tag)))
            .map(|matching| matching.tag.as_str())
    }
}

/// Which instances not.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[schemars(rename = "ExcludeInstances")]
struct RawExclude {
    /// The key of the tag that excludes.
    tag: Option<String>,
    /// The values that exclude; left out: any.
    values: Option<Vec<String>>,
}

impl TryFrom<RawExclude> for Exclude {
    type Error = String;

    fn try_from(raw: RawExclude) -> Result<Self, String> {
        TagMatch::checked("exclude", raw.tag, raw.values).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guardrails::policy;

    fn parse(section: &str) -> Result<Policy, policy::Mistake> {
        policy::parse(&format!("attach-ssm-role: {section}"), crate::NAME)
    }

    #[test]
    fn the_built_in_section_states_the_defaults() {
        let built_in: Policy = policy::parse(policy::BUILT_IN, crate::NAME).unwrap();
        let written = parse("{exclude: {tag: NoSsm}}").unwrap();
        assert_eq!(built_in, written);
        assert!(!built_in.repair_roles);
        assert!(policy::BUILT_IN.len() < 4_096, "fits a standard parameter");
    }

    #[test]
    fn each_mistake_is_named() {
        for (section, expected) in [
            ("{online-within: soon}", "is no length of time"),
            ("{online-within: 1mo}", "no fixed length"),
            ("{exclude: {values: [a]}}", "`values` without `tag`"),
            ("{exclude: {all: true}}", "unknown field `all`"),
            ("{repair-roles: perhaps}", "attach-ssm-role.repair-roles"),
            ("{repair: true}", "unknown field `repair`"),
        ] {
            let mistake = parse(section).expect_err(section).to_string();
            assert!(mistake.contains(expected), "{section}: {mistake}");
        }
    }
}
