//! The section `attach-ssm-role` of the policy document.

use guardrails::policy::{Age, Exempt, Mode, Remark, Section};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which instances get the profile, and when a node that isn't Online is a fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "AttachSsmRole")]
pub struct Policy {
    /// enforce (the default): do it; notify: change nothing, tell people; observe: change nothing,
    /// only report what would be done.
    #[serde(default)]
    pub mode: Mode,
    /// Instances to leave alone: those with a tag. Left out: none.
    #[serde(default)]
    pub exclude: Exempt,
    /// Instances to leave alone by their AMI, Auto Scaling group or VPC. Left out: none.
    #[serde(default)]
    pub leave_alone: LeaveAlone,
    /// How long after its start an instance without a profile is left to others, e.g. `10m`: stacks
    /// that associate a profile of their own fail where this one is there first. Left out: the
    /// profile is attached at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach_after: Option<Age>,
    /// VPCs that reach Systems Manager by a hub or a proxy, by id. Of their instances the network is
    /// never named as the cause, because it can't be seen from here. Left out: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hub_vpcs: Vec<String>,
    /// The same by a tag of the VPC.
    #[serde(default)]
    pub hub_vpc_tag: Exempt,
    /// How long after its start, or after it got its profile, an instance may take to come Online
    /// before it is told, e.g. `35m` (the default). Less gives false alarms: an agent that found
    /// no credentials sleeps for 25 to 30 minutes.
    #[serde(default = "default_online_within")]
    pub online_within: Age,
    /// Attach `AmazonSSMManagedInstanceCore` to a role that lacks what the agent needs. Default
    /// false: it is only reported. Takes the stack's parameter `RepairRoles` as well.
    #[serde(default)]
    pub repair_roles: bool,
}

/// Which instances are left alone. `{}`: none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LeaveAlone {
    /// Those launched from these AMIs, by id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// The members of these Auto Scaling groups, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Those in these VPCs, by id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vpcs: Vec<String>,
}

impl Policy {
    /// Whether it says that this VPC reaches Systems Manager by a hub or a proxy.
    pub(crate) fn is_hub(&self, vpc: &str, tags: &[(String, String)]) -> bool {
        let tagged = self
            .hub_vpc_tag
            .tag_of(|key| guardrails::ec2::tag(tags, key));
        tagged.is_some() || self.hub_vpcs.iter().any(|one| one == vpc)
    }
}

/// Just longer than the agent's sleep without credentials (SSM-1).
fn default_online_within() -> Age {
    Age::from_mins(35)
}

/// The longest that an agent sleeps which found no credentials (SSM-1).
const AGENT_SLEEPS: Age = Age::from_mins(30);

impl Section for Policy {
    fn mode(&self) -> Mode {
        self.mode
    }

    fn warnings(&self) -> Vec<Remark> {
        let hasty = (self.online_within < AGENT_SLEEPS).then(|| {
            Remark::new(
                "online-within",
                format!(
                    "{} gives false alarms: an agent that found no credentials sleeps for up to {AGENT_SLEEPS} before it tries again; the default is {}",
                    self.online_within,
                    default_online_within()
                ),
            )
        });
        hasty.into_iter().collect()
    }

    fn requirements(&self) -> Vec<Remark> {
        let repair = (self.repair_roles && self.mode == Mode::Enforce).then(|| {
            Remark::new(
                "repair-roles",
                "takes the stack's parameter RepairRoles=true as well: without it the function may change no role",
            )
        });
        repair.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guardrails::policy;

    fn parse(section: &str) -> Result<Policy, policy::Mistakes> {
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
            ("{exclude: {all: true}}", "unknown key `all`"),
            ("{repair-roles: perhaps}", "attach-ssm-role.repair-roles"),
            ("{repair: true}", "unknown key `repair`"),
            ("{leave-alone: {amis: [ami-1]}}", "unknown key"),
            ("{attach-after: soon}", "is no length of time"),
        ] {
            let mistake = parse(section).expect_err(section).to_string();
            assert!(mistake.contains(expected), "{section}: {mistake}");
        }
    }

    #[test]
    fn a_time_shorter_than_the_agents_sleep_is_told() {
        let told = |within: &str| {
            parse(&format!("{{online-within: {within}}}"))
                .unwrap()
                .warnings()
        };
        let remarks = told("10m");
        assert_eq!(remarks[0].path, "online-within");
        assert!(
            remarks[0].text.contains("sleeps for up to 30m"),
            "{remarks:?}"
        );
        assert_eq!(told("30m"), []);
        assert_eq!(parse("{}").unwrap().warnings(), []);
    }

    #[test]
    fn repairing_roles_takes_a_parameter_where_it_is_enforced() {
        let told = |section: &str| parse(section).unwrap().requirements();
        assert!(
            told("{repair-roles: true}")[0]
                .text
                .contains("RepairRoles=true")
        );
        assert_eq!(told("{repair-roles: true, mode: observe}"), []);
        assert_eq!(told("{}"), []);
    }
}
