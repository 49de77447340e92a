//! Whether the AMI of a launch is approved, and by which rule. Pure.
//!
//! A refusing rule wins over any that approve. What couldn't be read is never a "no": then the
//! verdict is that it can't be told, and nothing is done.

use guardrails::aws::ApiError;
use jiff::Timestamp;
use serde::Serialize;
use wildmatch::WildMatch;

use crate::facts::{Facts, Image, Instance, Known};
use crate::policy::{Approve, Deny, Policy, Scope, Selector, Which};

/// What is said of a launch.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict<'a> {
    /// The policy exempts instances with this tag.
    Exempt(String),
    /// A person released the instance for this AMI.
    Released,
    /// The policy approves nothing yet, so nothing is unapproved either.
    NothingApproved,
    /// This rule approves it.
    Approved(&'a Approve),
    /// This rule approved it when it was launched, as is remembered.
    ApprovedAtLaunch(String),
    /// It can't be told.
    Undecided(Unclear),
    /// This rule refuses it.
    Denied(&'a Deny),
    /// No rule approves it.
    Unapproved {
        /// The rule that lacks least, and what it lacks.
        nearest: Option<(&'a Approve, Vec<String>)>,
        /// Whether nothing at all could be found out about the AMI (AMI-2).
        unknown: bool,
    },
}

impl Verdict<'_> {
    /// Whether the launch is to be quarantined.
    pub fn is_unapproved(&self) -> bool {
        matches!(self, Self::Denied(_) | Self::Unapproved { .. })
    }

    /// Whether it is approved, or none of this guardrail's business.
    pub fn is_approved(&self) -> bool {
        matches!(
            self,
            Self::Approved(_) | Self::ApprovedAtLaunch(_) | Self::Exempt(_) | Self::Released
        )
    }

    /// Why, for people.
    pub fn reason(&self) -> String {
        match self {
            Self::Exempt(tag) => format!("its tag {tag} exempts it"),
            Self::Released => "a person released it for this AMI".to_owned(),
            Self::NothingApproved => {
                "the policy approves nothing yet, so nothing is quarantined; write approve rules"
                    .to_owned()
            }
            Self::Approved(rule) => format!("approved by the rule \"{}\"", rule.text),
            Self::ApprovedAtLaunch(rule) => {
                format!("approved at its launch by the rule \"{rule}\"")
            }
            Self::Undecided(unclear) => format!(
                "it can't be told whether its AMI is approved: {}",
                unclear.why
            ),
            Self::Denied(rule) => format!("the deny rule \"{}\" refuses it", rule.text),
            Self::Unapproved { nearest, unknown } => {
                let mut text = if *unknown {
                    "nothing can be found out about its AMI (gone, or no longer shared), so no rule approves it".to_owned()
                } else {
                    "no rule approves its AMI".to_owned()
                };
                if let Some((rule, lacks)) = nearest {
                    text.push_str("; nearest is the rule \"");
                    text.push_str(&rule.text);
                    text.push_str("\", but ");
                    text.push_str(&lacks.join(" and "));
                }
                text
            }
        }
    }
}

/// An AMI as it is launched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch<'a> {
    /// The AMI.
    pub image: &'a Image,
    /// The instance; none when only the AMI is asked about.
    pub instance: Option<&'a Instance>,
    /// When: ages count until then.
    pub at: Timestamp,
}

/// What can't be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclear {
    /// What it hangs on.
    pub why: String,
    /// The call that failed, where one did.
    pub error: Option<ApiError>,
}

impl Unclear {
    fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            error: None,
        }
    }

    /// `what` couldn't be read. A parameter that isn't there is a mistake in the policy, and no
    /// failed read.
    fn unread(what: &str, error: &ApiError) -> Self {
        Self {
            why: format!("{what} couldn't be read: {error}"),
            error: (error.code != PARAMETER_NOT_FOUND).then(|| error.clone()),
        }
    }

    fn all(mut unclear: Vec<Self>) -> Self {
        unclear.dedup();
        let why: Vec<&str> = unclear.iter().map(|one| one.why.as_str()).collect();
        Self {
            why: why.join("; "),
            error: unclear.iter().find_map(|one| one.error.clone()),
        }
    }
}

/// What a parameter that isn't there is read as.
pub(crate) const PARAMETER_NOT_FOUND: &str = "ParameterNotFound";

/// Whether a condition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holds {
    Yes,
    /// What is otherwise.
    No(String),
    /// What couldn't be read.
    Unclear(Unclear),
}

impl Holds {
    fn unclear(why: impl Into<String>) -> Self {
        Self::Unclear(Unclear::new(why))
    }
}

/// What a rule says of a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Applies {
    /// It applies.
    Yes,
    /// These conditions don't hold.
    No(Vec<String>),
    /// That depends on these, which couldn't be read.
    Unclear(Vec<Unclear>),
}

impl Applies {
    fn of(conditions: impl IntoIterator<Item = Holds>) -> Self {
        let (mut fails, mut unclear) = (Vec::new(), Vec::new());
        for condition in conditions {
            match condition {
                Holds::Yes => {}
                Holds::No(what) => fails.push(what),
                Holds::Unclear(what) => unclear.push(what),
            }
        }
        if !fails.is_empty() {
            Self::No(fails)
        } else if !unclear.is_empty() {
            Self::Unclear(unclear)
        } else {
            Self::Yes
        }
    }
}

/// What is said of `instance`'s launch.
pub(crate) fn verdict<'a>(instance: &Instance, facts: &Facts, policy: &'a Policy) -> Verdict<'a> {
    if let Some(tag) = policy.exempt.tag_of(|key| instance.tag(key)) {
        return Verdict::Exempt(tag.to_owned());
    }
    if policy.approve.is_empty() {
        return Verdict::NothingApproved;
    }
    let Some(id) = instance.image.as_deref() else {
        return Verdict::Undecided(Unclear::new("EC2 names no AMI of it"));
    };
    let released = facts.released.get(&instance.id);
    if released.is_some_and(|released| released.image.as_deref() == Some(id)) {
        return Verdict::Released;
    }
    let now = match (facts.images.get(id), facts.images_unread.get(id)) {
        (Some(image), _) => {
            let launch = Launch {
                image,
                instance: Some(instance),
                at: instance.launched,
            };
            verdict_on(launch, facts, policy)
        }
        (None, Some(error)) => Verdict::Undecided(Unclear::unread(id, error)),
        (None, None) => Verdict::Undecided(Unclear::new(format!("{id} wasn't read"))),
    };
    // What changed since the launch (the AMI's tags, a parameter, an approve rule) makes no launch of
    // it. Somebody who denies it now means those that run.
    let open = !now.is_approved() && !matches!(now, Verdict::Denied(_));
    match facts.approvals.get(&instance.id) {
        Some(then) if then.image == id && open => Verdict::ApprovedAtLaunch(then.rule.clone()),
        _ => now,
    }
}

/// What is said of a launch by the rules alone.
pub(crate) fn verdict_on<'a>(launch: Launch<'_>, facts: &Facts, policy: &'a Policy) -> Verdict<'a> {
    // Deny rules alone quarantine nothing either: an account that has approved nothing yet has
    // not said what it wants.
    if policy.approve.is_empty() {
        return Verdict::NothingApproved;
    }
    // What a deny rule hangs on keeps an approval away; what an approve rule hangs on, a refusal.
    let mut unclear = Vec::new();
    for rule in &policy.deny {
        match denies(rule, launch, facts) {
            Applies::Yes => return Verdict::Denied(rule),
            Applies::No(_) => {}
            Applies::Unclear(what) => unclear.extend(what),
        }
    }
    let perhaps_denied = !unclear.is_empty();
    let mut nearest: Option<(&Approve, Vec<String>)> = None;
    for rule in &policy.approve {
        match approves(rule, launch, facts, policy) {
            Applies::Yes if perhaps_denied => return Verdict::Undecided(Unclear::all(unclear)),
            Applies::Yes => return Verdict::Approved(rule),
            Applies::Unclear(what) => unclear.extend(what),
            Applies::No(lacks) => {
                if nearest
                    .as_ref()
                    .is_none_or(|(_, least)| lacks.len() < least.len())
                {
                    nearest = Some((rule, lacks));
                }
            }
        }
    }
    if unclear.is_empty() {
        Verdict::Unapproved {
            nearest,
            unknown: launch.image.known == Known::Unknown,
        }
    } else {
        Verdict::Undecided(Unclear::all(unclear))
    }
}

/// Whether `rule` approves.
pub(crate) fn approves(
    rule: &Approve,
    launch: Launch<'_>,
    facts: &Facts,
    policy: &Policy,
) -> Applies {
    let which = match &rule.which {
        Which::Image(selector) => selected(selector, launch.image, facts),
        Which::Parameter { name, grace } => {
            vec![named_by(name, *grace, launch, facts)]
        }
        Which::Derived => vec![derived(launch, facts, policy)],
    };
    let narrowed = [
        architecture(rule.architecture.as_deref(), launch),
        age(rule, launch),
        deprecation(rule, launch),
    ];
    Applies::of(
        which
            .into_iter()
            .chain(narrowed)
            .chain(scope(&rule.scope, launch, facts)),
    )
}

/// Whether `rule` refuses.
pub(crate) fn denies(rule: &Deny, launch: Launch<'_>, facts: &Facts) -> Applies {
    Applies::of(
        selected(&rule.which, launch.image, facts)
            .into_iter()
            .chain([architecture(rule.architecture.as_deref(), launch)])
            .chain(scope(&rule.scope, launch, facts)),
    )
}

/// Whether the text is like any of `patterns`, in EC2's sense: `*` and `?`, case counts.
fn like(patterns: &[String], text: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| WildMatch::new(pattern).matches(text))
}

/// `a` or `a or b`.
fn either(values: &[String]) -> String {
    values.join(" or ")
}

fn selected(selector: &Selector, image: &Image, facts: &Facts) -> Vec<Holds> {
    let mut conditions = Vec::new();
    if let Some(ids) = &selector.ids {
        conditions.push(if ids.contains(&image.id) {
            Holds::Yes
        } else {
            Holds::No(format!("its id is {}", image.id))
        });
    }
    if let Some(owners) = &selector.owner {
        let account = facts.account.as_deref();
        conditions.push(
            if owners.iter().any(|owner| image.is_owned_by(owner, account)) {
                Holds::Yes
            } else if account.is_none() && owners.iter().any(|owner| owner == "self") {
                Holds::unclear("which account this is isn't known")
            } else {
                match (&image.owner_alias, &image.owner) {
                    (Some(alias), _) => Holds::No(format!("its owner is {alias}")),
                    (None, Some(owner)) => Holds::No(format!("its owner is account {owner}")),
                    (None, None) => Holds::No("its owner isn't known".to_owned()),
                }
            },
        );
    }
    if let Some(names) = &selector.name {
        conditions.push(match &image.name {
            Some(name) if like(names, name) => Holds::Yes,
            Some(name) => Holds::No(format!("its name is {name}")),
            None => Holds::No("its name isn't known".to_owned()),
        });
    }
    if let Some(tag) = &selector.tag {
        let value = image
            .tags
            .iter()
            .find(|(key, _)| *key == tag.tag)
            .map(|(_, value)| value.as_str());
        conditions.push(match value {
            value if tag.matches(value) => Holds::Yes,
            Some(value) => Holds::No(format!("its tag {} is {value}", tag.tag)),
            None => Holds::No(format!("it has no tag {}", tag.tag)),
        });
    }
    conditions
}

/// Whether the parameter names the AMI, or did until `grace` before the launch.
fn named_by(
    name: &str,
    grace: guardrails::policy::Age,
    launch: Launch<'_>,
    facts: &Facts,
) -> Holds {
    let parameter = match facts.parameters.get(name) {
        None => return Holds::unclear(format!("parameter {name} wasn't read")),
        Some(Err(error)) => {
            return Holds::Unclear(Unclear::unread(&format!("parameter {name}"), error));
        }
        Some(Ok(parameter)) => parameter,
    };
    let image = launch.image;
    if parameter.image == image.id {
        return Holds::Yes;
    }
    let before = parameter
        .before
        .iter()
        .any(|(id, until)| *id == image.id && launch.at <= grace.after(*until));
    if before {
        return Holds::Yes;
    }
    // The history of AWS's public parameters can't be read: there, what the parameter named before
    // is an earlier release of the same AMI by the same owner.
    if let (Some(now), Some(since)) = (facts.images.get(&parameter.image), parameter.since)
        && name.starts_with("/aws/")
        && launch.at <= grace.after(since)
        && earlier_release(image, now)
    {
        return Holds::Yes;
    }
    Holds::No(format!("parameter {name} names {}", parameter.image))
}

/// Whether `image` is an earlier release of what `now` is: same owner, and a name that differs in
/// nothing but its version.
fn earlier_release(image: &Image, now: &Image) -> bool {
    let older = image.created.zip(now.created).is_some_and(|(a, b)| a < b);
    let same_owner = image.owner.is_some() && image.owner == now.owner;
    let same_name = image
        .name
        .as_deref()
        .zip(now.name.as_deref())
        .is_some_and(|(a, b)| differ_in_release(a, b));
    older && same_owner && same_name
}

/// Whether two names differ in exactly one part between hyphens, and that is a release on both
/// sides: digits and dots with a date in it. So `kernel-6.1` isn't taken for `kernel-6.12`.
fn differ_in_release(a: &str, b: &str) -> bool {
    let release = |part: &str| {
        let digits = part.bytes().filter(u8::is_ascii_digit).count();
        digits >= 8
            && part
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    if a.matches('-').count() != b.matches('-').count() {
        return false;
    }
    let mut differing = a.split('-').zip(b.split('-')).filter(|(a, b)| a != b);
    match (differing.next(), differing.next()) {
        (Some((a, b)), None) => release(a) && release(b),
        _ => false,
    }
}

/// Whether the AMI is the account's own and descends from one that another rule approves. Only the
/// account's own: anybody may copy an approved AMI, change it and share it.
fn derived(launch: Launch<'_>, facts: &Facts, policy: &Policy) -> Holds {
    let image = launch.image;
    if facts.account.is_none() {
        return Holds::unclear("which account this is isn't known");
    }
    if !image.is_owned_by("self", facts.account.as_deref()) {
        return Holds::No("it isn't the account's own".to_owned());
    }
    let chain = match facts.ancestry.get(&image.id) {
        None => return Holds::unclear(format!("the ancestry of {} wasn't read", image.id)),
        Some(Err(error)) => {
            let what = format!("the ancestry of {}", image.id);
            return Holds::Unclear(Unclear::unread(&what, error));
        }
        Some(Ok(chain)) => chain,
    };
    let mut unclear = Vec::new();
    for ancestor in chain.iter().filter_map(|id| facts.images.get(id)) {
        let at = Launch {
            image: ancestor,
            // An ancestor's age counts until it was built upon.
            at: image.created.unwrap_or(launch.at),
            ..launch
        };
        if policy
            .deny
            .iter()
            .any(|rule| denies(rule, at, facts) == Applies::Yes)
        {
            return Holds::No(format!(
                "a deny rule refuses {}, which it descends from",
                ancestor.label()
            ));
        }
        for rule in &policy.approve {
            if rule.which == Which::Derived {
                continue;
            }
            match approves(rule, at, facts, policy) {
                Applies::Yes => return Holds::Yes,
                Applies::No(_) => {}
                Applies::Unclear(what) => unclear.extend(what),
            }
        }
    }
    if unclear.is_empty() {
        Holds::No("it descends from no approved AMI".to_owned())
    } else {
        Holds::Unclear(Unclear::all(unclear))
    }
}

fn architecture(wanted: Option<&str>, launch: Launch<'_>) -> Holds {
    let Some(wanted) = wanted else {
        return Holds::Yes;
    };
    let is = launch.image.architecture.as_deref().or(launch
        .instance
        .and_then(|instance| instance.architecture.as_deref()));
    match is {
        Some(is) if is == wanted => Holds::Yes,
        Some(is) => Holds::No(format!("its architecture is {is}")),
        None => Holds::No("its architecture isn't known".to_owned()),
    }
}

fn age(rule: &Approve, launch: Launch<'_>) -> Holds {
    let Some(most) = rule.max_age else {
        return Holds::Yes;
    };
    match launch.image.created {
        Some(created) if launch.at <= most.after(created) => Holds::Yes,
        Some(created) => Holds::No(format!("it was created {created:.0}, too long before")),
        None => Holds::No("when it was created isn't known".to_owned()),
    }
}

fn deprecation(rule: &Approve, launch: Launch<'_>) -> Holds {
    match launch.image.deprecated {
        Some(from) if rule.not_deprecated && from <= launch.at => {
            Holds::No(format!("it is deprecated since {from:.0}"))
        }
        None if rule.not_deprecated && launch.image.known == Known::Unknown => {
            Holds::No("whether it is deprecated isn't known".to_owned())
        }
        _ => Holds::Yes,
    }
}

fn scope(scope: &Scope, launch: Launch<'_>, facts: &Facts) -> Vec<Holds> {
    if *scope == Scope::default() {
        return Vec::new();
    }
    let Some(instance) = launch.instance else {
        return vec![Holds::No(
            "the rule holds for some instances only".to_owned(),
        )];
    };
    let mut conditions = Vec::new();
    for (wanted, is, what) in [
        (&scope.vpc, &instance.vpc, "VPC"),
        (&scope.subnet, &instance.subnet, "subnet"),
    ] {
        if !wanted.all().is_empty() {
            conditions.push(if wanted.all().contains(is) {
                Holds::Yes
            } else {
                Holds::No(format!("its {what} is {is}"))
            });
        }
    }
    if let Some(tag) = &scope.tag {
        let value = instance.tag(tag);
        let holds = value.is_some_and(|value| {
            scope
                .values
                .as_ref()
                .is_none_or(|values| values.iter().any(|wanted| wanted == value))
        });
        conditions.push(match value {
            _ if holds => Holds::Yes,
            Some(value) => Holds::No(format!("the instance's tag {tag} is {value}")),
            None => Holds::No(format!("the instance has no tag {tag}")),
        });
    }
    if !scope.group.all().is_empty() {
        conditions.push(match instance.group() {
            Some(group) if like(scope.group.all(), group) => Holds::Yes,
            Some(group) => Holds::No(format!("its group is {group}")),
            None => Holds::No("it is in no Auto Scaling group".to_owned()),
        });
    }
    if !scope.role.all().is_empty() {
        conditions.push(role(scope.role.all(), instance, facts));
    }
    conditions
}

fn role(wanted: &[String], instance: &Instance, facts: &Facts) -> Holds {
    let Some(profile) = &instance.profile else {
        return Holds::No("it has no role".to_owned());
    };
    match facts.roles.get(profile) {
        None => Holds::unclear(format!("the role of {profile} wasn't read")),
        Some(Err(error)) => {
            Holds::Unclear(Unclear::unread(&format!("the role of {profile}"), error))
        }
        Some(Ok(roles)) if roles.iter().any(|role| like(wanted, role)) => Holds::Yes,
        Some(Ok(roles)) if roles.is_empty() => Holds::No("it has no role".to_owned()),
        Some(Ok(roles)) => Holds::No(format!("its role is {}", either(roles))),
    }
}

/// One rule of the policy and what it says of a launch: a line of what `check` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Line {
    /// `approve` or `deny`.
    pub list: &'static str,
    /// The rule.
    pub rule: String,
    /// `applies`, `does not apply` or `cannot tell`.
    pub result: &'static str,
    /// Why it doesn't.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
}

/// Every rule and what it says.
pub(crate) fn lines(launch: Launch<'_>, facts: &Facts, policy: &Policy) -> Vec<Line> {
    let line = |list, rule: &str, applies| {
        let (result, because) = match applies {
            Applies::Yes => ("applies", Vec::new()),
            Applies::No(why) => ("does not apply", why),
            Applies::Unclear(what) => {
                let why = what.into_iter().map(|unclear| unclear.why);
                ("cannot tell", why.collect())
            }
        };
        Line {
            list,
            rule: rule.to_owned(),
            result,
            because,
        }
    };
    let deny = policy
        .deny
        .iter()
        .map(|rule| line("deny", &rule.text, denies(rule, launch, facts)));
    let approve = policy
        .approve
        .iter()
        .map(|rule| line("approve", &rule.text, approves(rule, launch, facts, policy)));
    deny.chain(approve).collect()
}

#[cfg(test)]
mod tests;
