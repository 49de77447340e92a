//! The section `quarantine-launch` of the policy document.

pub(crate) mod breadth;
mod one_or_many;
pub(crate) mod parameter;
pub(crate) mod responders;
mod warnings;

use guardrails::policy::{Age, Exempt, Mode, TagMatch};
use guardrails::text::quoted;
use schemars::JsonSchema;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

pub use one_or_many::OneOrMany;
pub use responders::{Ports, Responder};

/// Which AMIs are approved, and what happens to an instance that was launched from another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "QuarantineLaunch")]
pub struct Policy {
    /// notify (the default): change nothing, tell people; observe: change nothing, only report what
    /// would be done; enforce: do it.
    #[serde(default = "notify")]
    pub mode: Mode,
    /// Rules that approve an AMI: any one does. While there is none, nothing is quarantined.
    #[serde(default)]
    pub approve: Vec<Approve>,
    /// Rules that refuse an AMI, whatever approves it.
    #[serde(default)]
    pub deny: Vec<Deny>,
    /// Instances to leave alone: those with a tag. Left out: none.
    #[serde(default)]
    pub exempt: Exempt,
    /// How long after its launch an instance may be quarantined, e.g. `1d` (the default). An older
    /// one from an AMI that isn't approved is only counted: it is no launch any more.
    #[serde(default = "default_launched_within")]
    pub launched_within: Age,
    /// When launches from one source count as a loop.
    #[serde(default, rename = "loop")]
    pub relaunch: Loop,
    /// When so many are to be isolated that the policy may be wrong: then none is, until a person
    /// confirms it.
    #[serde(default)]
    pub brake: Brake,
    /// What a quarantine does besides isolating.
    #[serde(default)]
    pub steps: Steps,
    /// Who may reach what is in quarantine, for forensics. Left out: nobody.
    #[serde(
        default,
        deserialize_with = "responders::few",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub responders: Vec<Responder>,
}

/// Isolating is not what a guardrail should begin with on an account that it doesn't know.
fn notify() -> Mode {
    Mode::Notify
}

/// Longest grace: AWS keeps the last hundred versions of a parameter, this guardrail as many.
const GRACE_MAX: Age = Age::from_hours(90 * 24);

fn default_launched_within() -> Age {
    Age::from_hours(24)
}

/// When launches of AMIs that aren't approved, from one source (an Auto Scaling group, a Fleet, a
/// Spot request, a principal), count as a loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Loop {
    /// So many launches (default 2) …
    #[schemars(range(min = 1))]
    #[serde(deserialize_with = "at_least_one")]
    pub launches: u32,
    /// … within this time (default `1h`).
    pub within: Age,
}

impl Default for Loop {
    fn default() -> Self {
        Self {
            launches: 2,
            within: Age::from_hours(1),
        }
    }
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        0 => Err(D::Error::custom(
            "a loop of 0 launches is none; expected 1 or more",
        )),
        count => Ok(count),
    }
}

/// Beyond `count` quarantines *and* `percent` of the launches nothing more is isolated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[schemars(rename = "QuarantineBrake")]
pub struct Brake {
    /// So many instances and suspended groups (default 10) …
    pub count: usize,
    /// … or this share of the launches within `launched-within`, in percent (default 25); 100 takes
    /// the brake off.
    #[schemars(range(max = 100))]
    #[serde(deserialize_with = "at_most_100")]
    pub percent: usize,
    /// … are isolated within this time (default `1h`).
    pub within: Age,
}

impl Default for Brake {
    fn default() -> Self {
        Self {
            count: 10,
            percent: 25,
            within: Age::from_hours(1),
        }
    }
}

impl Brake {
    /// How many may be isolated within its time, of so many launches where that is known.
    #[must_use]
    pub fn limit(&self, launches: Option<usize>) -> usize {
        if self.percent == 100 {
            return usize::MAX;
        }
        let share = launches.map_or(0, |launches| launches * self.percent / 100);
        self.count.max(share)
    }
}

fn at_most_100<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        percent @ 0..=100 => Ok(percent),
        percent => Err(D::Error::custom(format!(
            "{percent} percent are more than all; expected 0 to 100"
        ))),
    }
}

/// What a quarantine does besides isolating every network interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own that a person reads in the document"
)]
pub struct Steps {
    /// Suspend `Launch` and `ReplaceUnhealthy` of a group that launches in a loop. Default true.
    pub break_loop: bool,
    /// Termination protection on, delete-on-termination off. Default true.
    pub protect: bool,
    /// Take a snapshot of every volume as evidence. Default true.
    pub snapshot: bool,
    /// How an instance leaves its Auto Scaling group's service, where the group's size allows.
    pub group: FromGroup,
    /// Take the instance profile away; credentials issued before stay valid until they expire.
    /// Default false.
    pub dissociate_profile: bool,
    /// Stop the instance, never while its group would replace it; instance-store data is lost.
    /// Default false.
    pub stop: bool,
}

impl Default for Steps {
    fn default() -> Self {
        Self {
            break_loop: true,
            protect: true,
            snapshot: true,
            group: FromGroup::Standby,
            dissociate_profile: false,
            stop: false,
        }
    }
}

/// How an instance leaves its group's service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FromGroup {
    /// Into standby (the default): a member still, but no traffic, no health checks.
    Standby,
    /// Out of the group.
    Detach,
    /// It stays in service.
    Keep,
}

/// Conditions of a rule on the instance that was launched. All that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[schemars(extend("dependencies" = {"values": ["tag"]}))]
pub struct Scope {
    /// In one of these VPCs.
    #[serde(deserialize_with = "vpcs", skip_serializing_if = "OneOrMany::is_none")]
    pub vpc: OneOrMany,
    /// In one of these subnets.
    #[serde(
        deserialize_with = "subnets",
        skip_serializing_if = "OneOrMany::is_none"
    )]
    pub subnet: OneOrMany,
    /// With this tag …
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub tag: Option<String>,
    /// … and one of these values; left out: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub values: Option<Vec<String>>,
    /// With one of these IAM roles (names; `*` and `?` are wildcards).
    #[serde(skip_serializing_if = "OneOrMany::is_none")]
    pub role: OneOrMany,
    /// In one of these Auto Scaling groups (names; `*` and `?` are wildcards).
    #[serde(skip_serializing_if = "OneOrMany::is_none")]
    pub group: OneOrMany,
}

impl Scope {
    /// Whether it narrows nothing.
    fn is_any(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads texts of which each must be right.
fn each<'de, D: Deserializer<'de>>(
    deserializer: D,
    right: impl Fn(&str) -> bool,
    problem: impl Fn(String) -> String,
) -> Result<OneOrMany, D::Error> {
    let texts = OneOrMany::deserialize(deserializer)?;
    match texts.all().iter().find(|text| !right(text)) {
        None => Ok(texts),
        Some(wrong) => Err(D::Error::custom(problem(quoted(wrong)))),
    }
}

fn image_ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany, D::Error> {
    each(
        deserializer,
        |id| id.starts_with("ami-"),
        |id| format!("{id} is no AMI id; it looks like ami-0123456789abcdef0"),
    )
}

fn owners<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany, D::Error> {
    let known = |owner: &str| {
        ["self", "amazon", "aws-marketplace", "aws-backup-vault"].contains(&owner)
            || (owner.len() == 12 && owner.bytes().all(|byte| byte.is_ascii_digit()))
    };
    each(deserializer, known, |owner| {
        format!(
            "{owner} is none; expected a quoted account id of 12 digits, self, amazon or aws-marketplace"
        )
    })
}

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany, D::Error> {
    each(
        deserializer,
        |name| !name.is_empty(),
        |_| "an empty name matches nothing".to_owned(),
    )
}

fn product_codes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany, D::Error> {
    each(
        deserializer,
        |code| !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        |code| format!("{code} is no product code; it looks like 1abc2def3ghi4jkl5mno6pqr7"),
    )
}

fn ids<'de, D: Deserializer<'de>>(deserializer: D, prefix: &str) -> Result<OneOrMany, D::Error> {
    each(
        deserializer,
        |id| id.starts_with(prefix),
        |id| format!("{id} doesn't begin with {prefix}"),
    )
}

fn vpcs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany, D::Error> {
    ids(deserializer, "vpc-")
}

fn subnets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany, D::Error> {
    ids(deserializer, "subnet-")
}

/// A rule that approves AMIs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawApprove", into = "RawApprove")]
#[schemars(rename = "ApproveRule")]
pub struct Approve {
    /// What it approves.
    pub which: Which,
    /// The AMI was no older at the launch.
    pub max_age: Option<Age>,
    /// The AMI wasn't deprecated at the launch.
    pub not_deprecated: bool,
    /// Only AMIs of this architecture.
    pub architecture: Option<String>,
    /// Only instances that are launched so.
    pub scope: Scope,
    /// The rule as it was written, for people.
    pub text: String,
}

/// What a rule selects AMIs by.
#[derive(Debug, Clone, PartialEq)]
pub enum Which {
    /// By all of these that are given; never by none of them.
    Image(Selector),
    /// What an SSM parameter names, and what it named until `grace` before the launch.
    Parameter {
        /// The parameter's name.
        name: String,
        /// How long what it named before stays approved.
        grace: Age,
    },
    /// Images of the account that were copied or built from an approved one.
    Derived,
}

/// Properties of an AMI. All that are given must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selector {
    /// One of these ids.
    pub ids: Option<Vec<String>>,
    /// Owned by one of these: an account's id, `self`, or an alias such as `amazon`.
    pub owner: Option<Vec<String>>,
    /// A name like one of these; `*` and `?` are wildcards.
    pub name: Option<Vec<String>>,
    /// With one of these product codes of AWS Marketplace.
    pub product_code: Option<Vec<String>>,
    /// With this tag.
    pub tag: Option<TagMatch>,
}

/// A rule that refuses AMIs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawDeny", into = "RawDeny")]
#[schemars(rename = "DenyRule")]
pub struct Deny {
    /// What it refuses.
    pub which: Selector,
    /// Only AMIs of this architecture.
    pub architecture: Option<String>,
    /// Only instances that are launched so.
    pub scope: Scope,
    /// The rule as it was written, for people.
    pub text: String,
}

/// A rule that approves AMIs: by `ids`, `owner`, `name`, `product-code` or `tag` (all that are given must hold), by
/// `ssm-parameter`, or by `derived`. The other keys narrow it.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[schemars(extend(
    "anyOf" = [
        {"required": ["ids"]},
        {"required": ["owner"]},
        {"required": ["name"]},
        {"required": ["product-code"]},
        {"required": ["tag"]},
        {"required": ["ssm-parameter"]},
        {"required": ["derived"]},
    ],
    "dependencies" = {"values": ["tag"], "grace": ["ssm-parameter"]}
))]
struct RawApprove {
    /// Ids of AMIs.
    #[serde(
        deserialize_with = "image_ids",
        skip_serializing_if = "OneOrMany::is_none"
    )]
    ids: OneOrMany,
    /// Owner: an account's id, `self`, `amazon`, `aws-marketplace`. Several: any of them.
    #[serde(
        deserialize_with = "owners",
        skip_serializing_if = "OneOrMany::is_none"
    )]
    owner: OneOrMany,
    /// The AMI's name; `*` stands for any characters, `?` for one. Several: any of them.
    #[serde(deserialize_with = "names", skip_serializing_if = "OneOrMany::is_none")]
    name: OneOrMany,
    /// The AMI's product code in AWS Marketplace, which stays the same over a product's versions.
    /// Several: any of them.
    #[serde(
        deserialize_with = "product_codes",
        skip_serializing_if = "OneOrMany::is_none"
    )]
    product_code: OneOrMany,
    /// The key of a tag that the AMI has. Only the tags of the account's own AMIs can be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    tag: Option<String>,
    /// The tag's values that count; left out: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    values: Option<Vec<String>>,
    /// An SSM parameter that names the AMI: the account's own, or one of AWS's public ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    ssm_parameter: Option<String>,
    /// How long an AMI stays approved after the parameter has come to name another (default `7d`).
    #[serde(skip_serializing_if = "Option::is_none")]
    grace: Option<Age>,
    /// `true`: AMIs of the account that were copied or built from an AMI that another rule
    /// approves.
    #[serde(skip_serializing_if = "is_false")]
    derived: bool,
    /// The longest time between the AMI's creation and the launch, e.g. `180d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<Age>,
    /// `true`: only AMIs that weren't deprecated at the launch.
    #[serde(skip_serializing_if = "is_false")]
    not_deprecated: bool,
    /// Only AMIs of this architecture: `x86_64`, `arm64` …
    #[serde(skip_serializing_if = "Option::is_none")]
    architecture: Option<String>,
    /// Only instances that are launched so.
    #[serde(skip_serializing_if = "Scope::is_any")]
    scope: Scope,
}

/// A rule that refuses AMIs by `ids`, `owner`, `name`, `product-code`, `tag` or `architecture` (all
/// that are given must hold).
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[schemars(extend(
    "anyOf" = [
        {"required": ["ids"]},
        {"required": ["owner"]},
        {"required": ["name"]},
        {"required": ["product-code"]},
        {"required": ["tag"]},
        {"required": ["architecture"]},
    ],
    "dependencies" = {"values": ["tag"]}
))]
struct RawDeny {
    /// Ids of AMIs.
    #[serde(
        deserialize_with = "image_ids",
        skip_serializing_if = "OneOrMany::is_none"
    )]
    ids: OneOrMany,
    /// Owner: an account's id, `self`, `amazon`, `aws-marketplace`. Several: any of them.
    #[serde(
        deserialize_with = "owners",
        skip_serializing_if = "OneOrMany::is_none"
    )]
    owner: OneOrMany,
    /// The AMI's name; `*` stands for any characters, `?` for one. Several: any of them.
    #[serde(deserialize_with = "names", skip_serializing_if = "OneOrMany::is_none")]
    name: OneOrMany,
    /// The AMI's product code in AWS Marketplace, which stays the same over a product's versions.
    /// Several: any of them.
    #[serde(
        deserialize_with = "product_codes",
        skip_serializing_if = "OneOrMany::is_none"
    )]
    product_code: OneOrMany,
    /// The key of a tag that the AMI has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    tag: Option<String>,
    /// The tag's values that count; left out: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    values: Option<Vec<String>>,
    /// Only AMIs of this architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    architecture: Option<String>,
    /// Only instances that are launched so.
    #[serde(skip_serializing_if = "Scope::is_any")]
    scope: Scope,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

fn selector(
    ids: OneOrMany,
    owner: OneOrMany,
    name: OneOrMany,
    product_code: OneOrMany,
    tag: Option<String>,
    values: Option<Vec<String>>,
) -> Result<Selector, String> {
    Ok(Selector {
        ids: ids.some(),
        owner: owner.some(),
        name: name.some(),
        product_code: product_code.some(),
        tag: TagMatch::checked(tag, values)?,
    })
}

fn checked(scope: Scope) -> Result<Scope, String> {
    TagMatch::checked(scope.tag.clone(), scope.values.clone())
        .map_err(|problem| format!("scope: {problem}"))?;
    Ok(scope)
}

impl TryFrom<RawApprove> for Approve {
    type Error = String;

    fn try_from(raw: RawApprove) -> Result<Self, String> {
        let given = selector(
            raw.ids,
            raw.owner,
            raw.name,
            raw.product_code,
            raw.tag,
            raw.values,
        )?;
        let by_image = given != Selector::default();
        if raw.grace.is_some() && raw.ssm_parameter.is_none() {
            return Err("`grace` without `ssm-parameter`".to_owned());
        }
        let which = match (by_image, raw.ssm_parameter, raw.derived) {
            (true, None, false) => Which::Image(given),
            (false, Some(name), false) if !name.is_empty() => {
                grace_can_be_kept(&name, raw.grace)?;
                Which::Parameter {
                    name,
                    grace: raw.grace.unwrap_or(Age::from_hours(7 * 24)),
                }
            }
            (false, None, true) => Which::Derived,
            (false, None, false) => {
                return Err(
                    "the rule says of no AMI that it is approved; give `ids`, `owner`, `name`, `product-code`, `tag`, `ssm-parameter` or `derived: true`"
                        .to_owned(),
                );
            }
            _ => {
                return Err("`ssm-parameter` and `derived` stand in rules of their own".to_owned());
            }
        };
        let scope = checked(raw.scope)?;
        let text = describe(
            &which,
            raw.max_age,
            raw.not_deprecated,
            raw.architecture.as_deref(),
            &scope,
        );
        Ok(Self {
            which,
            max_age: raw.max_age,
            not_deprecated: raw.not_deprecated,
            architecture: raw.architecture,
            scope,
            text,
        })
    }
}

/// A promise that can't be kept is none.
fn grace_can_be_kept(name: &str, grace: Option<Age>) -> Result<(), String> {
    let Some(grace) = grace else { return Ok(()) };
    if parameter::is_fixed(name) {
        return Err(format!(
            "`grace`: {name} is one version of the parameter, which never names another AMI; leave `grace` out, or the version"
        ));
    }
    if grace > GRACE_MAX {
        return Err(format!(
            "`grace`: {grace} is longer than {GRACE_MAX}; what a parameter named before that isn't known for sure. Approve such AMIs by another rule"
        ));
    }
    Ok(())
}

impl TryFrom<RawDeny> for Deny {
    type Error = String;

    fn try_from(raw: RawDeny) -> Result<Self, String> {
        let which = selector(
            raw.ids,
            raw.owner,
            raw.name,
            raw.product_code,
            raw.tag,
            raw.values,
        )?;
        if which == Selector::default() && raw.architecture.is_none() {
            return Err(
                "the rule says of no AMI that it is refused; give `ids`, `owner`, `name`, `product-code`, `tag` or `architecture`"
                    .to_owned(),
            );
        }
        let scope = checked(raw.scope)?;
        let text = describe(
            &Which::Image(which.clone()),
            None,
            false,
            raw.architecture.as_deref(),
            &scope,
        );
        Ok(Self {
            which,
            architecture: raw.architecture,
            scope,
            text,
        })
    }
}

impl Selector {
    /// As it is written: ids, owner, name, tag and its values.
    fn written(
        self,
    ) -> (
        OneOrMany,
        OneOrMany,
        OneOrMany,
        OneOrMany,
        Option<String>,
        Option<Vec<String>>,
    ) {
        let list = |texts: Option<Vec<String>>| OneOrMany(texts.unwrap_or_default());
        let (tag, values) = TagMatch::written(self.tag);
        (
            list(self.ids),
            list(self.owner),
            list(self.name),
            list(self.product_code),
            tag,
            values,
        )
    }
}

impl From<Approve> for RawApprove {
    fn from(rule: Approve) -> Self {
        let mut raw = Self {
            max_age: rule.max_age,
            not_deprecated: rule.not_deprecated,
            architecture: rule.architecture,
            scope: rule.scope,
            ..Self::default()
        };
        match rule.which {
            Which::Image(selector) => {
                (
                    raw.ids,
                    raw.owner,
                    raw.name,
                    raw.product_code,
                    raw.tag,
                    raw.values,
                ) = selector.written();
            }
            Which::Parameter { name, grace } => {
                (raw.ssm_parameter, raw.grace) = (Some(name), Some(grace));
            }
            Which::Derived => raw.derived = true,
        }
        raw
    }
}

impl From<Deny> for RawDeny {
    fn from(rule: Deny) -> Self {
        let (ids, owner, name, product_code, tag, values) = rule.which.written();
        Self {
            ids,
            owner,
            name,
            product_code,
            tag,
            values,
            architecture: rule.architecture,
            scope: rule.scope,
        }
    }
}

/// A rule in short, as its document writes it: `owner amazon, name al2023-*, max-age 180d`.
fn describe(
    which: &Which,
    max_age: Option<Age>,
    not_deprecated: bool,
    architecture: Option<&str>,
    scope: &Scope,
) -> String {
    let mut parts = Vec::new();
    let mut list = |key: &str, values: &[String]| {
        if !values.is_empty() {
            parts.push(format!("{key} {}", values.join(" or ")));
        }
    };
    match which {
        Which::Image(selector) => {
            list("id", selector.ids.as_deref().unwrap_or_default());
            list("owner", selector.owner.as_deref().unwrap_or_default());
            list("name", selector.name.as_deref().unwrap_or_default());
            let codes = selector.product_code.as_deref();
            list("product-code", codes.unwrap_or_default());
            if let Some(tag) = &selector.tag {
                list("tag", &[tagged(&tag.tag, tag.values.as_deref())]);
            }
        }
        Which::Parameter { name, .. } => list("ssm-parameter", std::slice::from_ref(name)),
        Which::Derived => list("derived", &["true".to_owned()]),
    }
    list("architecture", architecture.map(str::to_owned).as_slice());
    list("max-age", max_age.map(String::from).as_slice());
    if not_deprecated {
        list("not-deprecated", &["true".to_owned()]);
    }
    list("in vpc", scope.vpc.all());
    list("in subnet", scope.subnet.all());
    if let Some(tag) = &scope.tag {
        list("instance tag", &[tagged(tag, scope.values.as_deref())]);
    }
    list("role", scope.role.all());
    list("group", scope.group.all());
    parts.join(", ")
}

fn tagged(tag: &str, values: Option<&[String]>) -> String {
    match values {
        Some(values) => format!("{tag}={}", values.join("|")),
        None => tag.to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use guardrails::policy;

    pub(crate) fn parse(section: &str) -> Result<Policy, policy::Mistakes> {
        policy::parse(&format!("quarantine-launch: {section}"), crate::NAME)
    }

    #[test]
    fn the_built_in_section_states_the_defaults_and_approves_nothing() {
        let built_in: Policy = policy::parse(policy::BUILT_IN, crate::NAME).unwrap();
        assert_eq!(built_in, parse("{}").unwrap());
        assert_eq!(built_in.mode, Mode::Notify);
        assert!(built_in.approve.is_empty());
        assert!(policy::BUILT_IN.len() < 4_096, "fits a standard parameter");
    }

    #[test]
    fn a_rule_is_told_as_it_was_written() {
        let policy = parse(
            "{approve: [{owner: [amazon, '123456789012'], name: 'al2023-ami-2023.*', max-age: 180d, scope: {group: 'ecs-*'}}]}",
        )
        .unwrap();
        assert_eq!(
            policy.approve[0].text,
            "owner amazon or 123456789012, name al2023-ami-2023.*, max-age 180d, group ecs-*"
        );
    }

    #[test]
    fn each_mistake_is_named() {
        for (section, expected) in [
            ("{approve: [{}]}", "says of no AMI"),
            ("{approve: [{max-age: 3d}]}", "says of no AMI"),
            ("{approve: [{owner: Amazon}]}", "\"Amazon\" is none"),
            ("{approve: [{owner: '12345'}]}", "12 digits"),
            ("{approve: [{owner: 123456789012}]}", "in quotes"),
            ("{approve: [{owner: 012345678901}]}", "in quotes"),
            ("{approve: [{owner: [123456789012]}]}", "in quotes"),
            ("{approve: [{owner: []}]}", "an empty list"),
            (
                "{approve: [{ids: i-1}]}",
                "approve[0].ids (line 1): \"i-1\" is no AMI id",
            ),
            (
                "{approve: [{ids: i-1, owner: Amazon}, {derived: 1}]}",
                "3 mistakes: ",
            ),
            ("{approve: [{name: ''}]}", "empty name"),
            ("{approve: [{product-code: a-b}]}", "is no product code"),
            (
                "{approve: [{owner: self, derived: true}]}",
                "rules of their own",
            ),
            ("{approve: [{owner: self, grace: 3d}]}", "`grace` without"),
            ("{approve: [{ssm-parameter: ''}]}", "rules of their own"),
            (
                "{approve: [{owner: self, max-age: 1mo}]}",
                "no fixed length",
            ),
            (
                "{approve: [{owner: self, values: [a]}]}",
                "`values` without `tag`",
            ),
            ("{approve: [{owner: self, scope: {vpc: web}}]}", "vpc-"),
            (
                "{approve: [{owner: self, scope: {region: a}}]}",
                "unknown key `region`",
            ),
            ("{approve: [{owner: self, age: 3d}]}", "unknown key `age`"),
            (
                "{deny: [{scope: {vpc: vpc-1}}]}",
                "no AMI that it is refused",
            ),
            ("{deny: [{max-age: 3d}]}", "unknown key `max-age`"),
            ("{exempt: {values: [a]}}", "`values` without `tag`"),
            (
                "{approve: [{ssm-parameter: '/golden:7', grace: 3d}]}",
                "never names another AMI",
            ),
            (
                "{approve: [{ssm-parameter: /aws/service/x, grace: 91d}]}",
                "longer than 90d",
            ),
            ("{brake: {percent: 133}}", "expected 0 to 100"),
            ("{loop: {launches: 0}}", "expected 1 or more"),
            (
                "{steps: {group: leave}}",
                "`leave` isn't known here; expected one of `standby`, `detach`, `keep`",
            ),
            ("{steps: {terminate: true}}", "unknown key `terminate`"),
            ("{launched-within: long}", "is no length of time"),
        ] {
            let mistake = parse(section).expect_err(section).to_string();
            assert!(mistake.contains(expected), "{section}: {mistake}");
        }
    }
}
