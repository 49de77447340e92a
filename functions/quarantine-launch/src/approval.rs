//! Whether the AMI of a launch is approved, and by which rule. Pure.
//!
//! A refusing rule wins over any that approve. What couldn't be read is never a "no": then the
//! verdict is that it can't be told, and nothing is done. Nor is what may have been otherwise at the
//! launch (tags, groups and roles come and go): it counts as it was when the launch was seen, and
//! where nobody saw it then, what isn't so now is unknown.

use guardrails::aws::ApiError;
use guardrails::ec2;
use guardrails::policy::Age;
use jiff::Timestamp;
use serde::Serialize;
use wildmatch::WildMatch;

use crate::facts::{Ancestor, Facts, Image, Instance, Known, Parameter, group_in};
use crate::policy::{Approve, Deny, Policy, Scope, Selector, Which};
use crate::record::Seen;

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
    /// When, as far as it is known: ages count until then.
    pub at: Option<Timestamp>,
    /// What is known of what may have changed since.
    pub then: Then<'a>,
}

/// What is known of tags, group and role as they were at the launch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Then<'a> {
    /// They are looked at so soon after it that they are as they were.
    Now,
    /// They were written down then.
    Seen(&'a Seen),
    /// Nobody looked then.
    Unknown,
}

impl<'a> Launch<'a> {
    /// An AMI that nobody launched.
    pub(crate) fn of_image(image: &'a Image, now: Timestamp) -> Self {
        Self {
            image,
            instance: None,
            at: Some(now),
            then: Then::Now,
        }
    }

    /// The launch of `instance`, or what can't be told of its AMI.
    pub(crate) fn of(
        instance: &'a Instance,
        facts: &'a Facts,
        now: Timestamp,
    ) -> Result<Self, Unclear> {
        let Some(id) = instance.image.as_deref() else {
            return Err(Unclear::new("EC2 names no AMI of it"));
        };
        let seen = facts.seen_of(instance);
        let was = seen.and_then(|seen| seen.was.as_ref());
        let image = match (facts.images.get(id), was) {
            (Some(image), _) if image.known == Known::Described => image,
            // Name, owner and creation never change.
            (_, Some(was)) => was,
            (Some(image), None) => image,
            (None, None) => {
                return Err(match facts.images_unread.get(id) {
                    Some(error) => Unclear::unread(id, error),
                    None => Unclear::new(format!("{id} wasn't read")),
                });
            }
        };
        Ok(Self {
            image,
            instance: Some(instance),
            at: Some(instance.launched),
            then: match seen {
                Some(seen) if seen.was.is_some() => Then::Seen(seen),
                _ if instance.is_young(now) => Then::Now,
                _ => Then::Unknown,
            },
        })
    }

    /// Whether something that may change holds for an approval: `now`, or at the launch by what was
    /// written down (`seen`).
    fn held_then(
        &self,
        now: bool,
        seen: impl FnOnce(&Seen) -> Option<bool>,
        what: String,
        unknown: &str,
    ) -> Holds {
        let then = match self.then {
            Then::Now => Some(now),
            Then::Seen(one) => seen(one),
            Then::Unknown => None,
        };
        match then {
            _ if now => Holds::Yes,
            Some(false) => Holds::No(what),
            Some(true) => Holds::Yes,
            None => Holds::unclear(format!("{unknown} at the launch isn't known any more")),
        }
    }
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
            error: (![PARAMETER_NOT_FOUND, NO_IMAGE].contains(&error.code.as_str()))
                .then(|| error.clone()),
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
/// What a parameter is read as that holds no AMI's id.
pub(crate) const NO_IMAGE: &str = "NoImageId";

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
pub(crate) fn verdict<'a>(
    instance: &Instance,
    facts: &Facts,
    policy: &'a Policy,
    now: Timestamp,
) -> Verdict<'a> {
    if let Some(tag) = policy.exempt.tag_of(|key| instance.tag(key)) {
        return Verdict::Exempt(tag.to_owned());
    }
    if policy.approve.is_empty() {
        return Verdict::NothingApproved;
    }
    let id = instance.image.as_deref();
    let released = facts.released.get(&instance.id);
    if id.is_some() && released.is_some_and(|released| released.image.as_deref() == id) {
        return Verdict::Released;
    }
    let by_rules = match Launch::of(instance, facts, now) {
        Ok(launch) => verdict_on(launch, facts, policy),
        Err(unclear) => Verdict::Undecided(unclear),
    };
    // What changed since the launch (the AMI's tags, a parameter, an approve rule) makes no launch of
    // it. Somebody who denies it now means those that run.
    let open = !by_rules.is_approved() && !matches!(by_rules, Verdict::Denied(_));
    let approved = facts.seen_of(instance).and_then(|seen| seen.rule.as_ref());
    match approved {
        Some(rule) if open => Verdict::ApprovedAtLaunch(rule.clone()),
        _ => by_rules,
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
        Which::Image(selector) => selected(selector, launch, facts),
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
    // What is denied now is meant, whatever it was at the launch.
    let then = Then::Now;
    let launch = Launch { then, ..launch };
    Applies::of(
        selected(&rule.which, launch, facts)
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

fn selected(selector: &Selector, launch: Launch<'_>, facts: &Facts) -> Vec<Holds> {
    let image = launch.image;
    let mut conditions = Vec::new();
    if let Some(ids) = &selector.ids {
        conditions.push(if ids.contains(&image.id) {
            Holds::Yes
        } else {
            Holds::No(format!("its id is {}", image.id))
        });
    }
    if let Some(owners) = &selector.owner {
        conditions.push(owned(owners, image, facts.account.as_deref()));
    }
    if let Some(names) = &selector.name {
        conditions.push(match &image.name {
            Some(name) if like(names, name) => Holds::Yes,
            Some(name) => Holds::No(format!("its name is {name}")),
            None => Holds::unclear(format!("the name of {} isn't known", image.id)),
        });
    }
    if let Some(codes) = &selector.product_code {
        let mut has = image.product_codes.iter();
        conditions.push(if has.any(|code| codes.contains(code)) {
            Holds::Yes
        } else if image.known != Known::Described {
            Holds::unclear(format!("the product code of {} can't be seen", image.id))
        } else if image.product_codes.is_empty() {
            Holds::No("it has no product code".to_owned())
        } else {
            Holds::No(format!(
                "its product code is {}",
                either(&image.product_codes)
            ))
        });
    }
    if let Some(tag) = &selector.tag {
        let matches = |tags: &[(String, String)]| tag.matches(ec2::tag(tags, &tag.tag));
        let what = match ec2::tag(&image.tags, &tag.tag) {
            Some(value) => format!("its tag {} is {value}", tag.tag),
            None => format!("it has no tag {}", tag.tag),
        };
        // Only an AMI that can be described shows its tags.
        conditions.push(if image.known == Known::Described {
            let then = |seen: &Seen| {
                let was = seen.was.as_ref();
                let was = was.filter(|was| was.known == Known::Described && was.id == image.id)?;
                Some(matches(&was.tags))
            };
            let unknown = format!("whether {} had the tag {}", image.id, tag.tag);
            launch.held_then(matches(&image.tags), then, what, &unknown)
        } else {
            Holds::unclear(format!("the tags of {} can't be seen", image.id))
        });
    }
    conditions
}

fn owned(owners: &[String], image: &Image, account: Option<&str>) -> Holds {
    let each = owners.iter().map(|owner| image.is_owned_by(owner, account));
    let each: Vec<Option<bool>> = each.collect();
    if each.contains(&Some(true)) {
        Holds::Yes
    } else if account.is_none() && owners.iter().any(|owner| owner == "self") {
        Holds::unclear("which account this is isn't known")
    } else if each.contains(&None) {
        Holds::unclear(format!("the owner of {} isn't known", image.id))
    } else {
        match (&image.owner_alias, &image.owner) {
            (Some(alias), _) => Holds::No(format!("its owner is {alias}")),
            (None, Some(owner)) => Holds::No(format!("its owner is account {owner}")),
            (None, None) => Holds::No(format!("its owner isn't {}", either(owners))),
        }
    }
}

/// Whether the parameter names the AMI, or did until `grace` before the launch.
fn named_by(name: &str, grace: Age, launch: Launch<'_>, facts: &Facts) -> Holds {
    let parameter = match facts.parameters.get(name) {
        None => return Holds::unclear(format!("parameter {name} wasn't read")),
        Some(Err(error)) => {
            return Holds::Unclear(Unclear::unread(&format!("parameter {name}"), error));
        }
        Some(Ok(parameter)) => parameter,
    };
    let image = launch.image;
    if parameter.images.contains(&image.id) {
        return Holds::Yes;
    }
    let Some(at) = launch.at else {
        return Holds::unclear(format!("when {} was launched isn't known", image.id));
    };
    let mut before = parameter.before.iter();
    if before.any(|(id, until)| *id == image.id && at <= grace.after(*until)) {
        return Holds::Yes;
    }
    // Of what it named before that, nothing is known: AWS keeps the history of its public parameters,
    // and of labels, to itself.
    let unknown_until = parameter.known_from.filter(|from| at <= grace.after(*from));
    if let Some(from) = unknown_until
        && may_have_been_named(image, parameter, facts, from)
    {
        return Holds::unclear(format!(
            "what parameter {name} named before {from:.0} isn't known, and perhaps it was {}",
            image.id
        ));
    }
    Holds::No(format!(
        "parameter {name} names {}",
        either(&parameter.images)
    ))
}

/// Whether the parameter may have named `image` before `from`: not if it wasn't there yet, nor if
/// somebody else owns it than what is named now.
fn may_have_been_named(
    image: &Image,
    parameter: &Parameter,
    facts: &Facts,
    from: Timestamp,
) -> bool {
    let too_new = image.created.is_some_and(|created| created >= from);
    let mut named = parameter
        .images
        .iter()
        .filter_map(|id| facts.images.get(id));
    let other_owner = named.any(|named| {
        let owners = image.owner.as_ref().zip(named.owner.as_ref());
        owners.is_some_and(|(one, other)| one != other)
    });
    !too_new && !other_owner
}

/// Whether the AMI is the account's own and descends from one that another rule approves. Only the
/// account's own: anybody may copy an approved AMI, change it and share it.
fn derived(launch: Launch<'_>, facts: &Facts, policy: &Policy) -> Holds {
    let image = launch.image;
    if facts.account.is_none() {
        return Holds::unclear("which account this is isn't known");
    }
    match image.is_owned_by("self", facts.account.as_deref()) {
        Some(true) => {}
        Some(false) => return Holds::No("it isn't the account's own".to_owned()),
        None => return Holds::unclear(format!("the owner of {} isn't known", image.id)),
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
    for ancestor in chain {
        let known = facts.images.get(&ancestor.id);
        let told;
        let ancestors = if let Some(known) = known.filter(|_| ancestor.is_here) {
            known
        } else {
            told = as_told(ancestor);
            &told
        };
        let at = Launch {
            image: ancestors,
            // Its age counts until it was built upon.
            at: ancestor.built_upon,
            ..launch
        };
        for rule in &policy.deny {
            match denies(rule, at, facts) {
                Applies::Yes => {
                    return Holds::No(format!(
                        "a deny rule refuses {}, which it descends from",
                        ancestors.label()
                    ));
                }
                Applies::No(_) => {}
                Applies::Unclear(what) => unclear.extend(what),
            }
        }
        for rule in &policy.approve {
            if rule.which == Which::Derived {
                continue;
            }
            match approves(rule, at, facts, policy) {
                // Whether it is refused can't be told either.
                Applies::Yes if unclear.is_empty() => return Holds::Yes,
                Applies::Yes => return Holds::Unclear(Unclear::all(unclear)),
                // Its own Region's parameter isn't read.
                Applies::No(_) if !ancestor.is_here && is_by_parameter(rule) => {
                    let why = format!("{} is of another Region", ancestor.id);
                    unclear.push(Unclear::new(why));
                }
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

fn is_by_parameter(rule: &Approve) -> bool {
    matches!(rule.which, Which::Parameter { .. })
}

/// What the ancestry alone tells of an AMI that can't be described here.
fn as_told(ancestor: &Ancestor) -> Image {
    Image {
        known: if ancestor.is_told {
            Known::Ancestry
        } else {
            Known::Unknown
        },
        owner_alias: ancestor.owner_alias.clone(),
        created: ancestor.created,
        ..Image::unknown(&ancestor.id)
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
        None => Holds::unclear(format!(
            "the architecture of {} isn't known",
            launch.image.id
        )),
    }
}

fn age(rule: &Approve, launch: Launch<'_>) -> Holds {
    let Some(most) = rule.max_age else {
        return Holds::Yes;
    };
    match (launch.image.created, launch.at) {
        (Some(created), Some(at)) if at <= most.after(created) => Holds::Yes,
        (Some(created), Some(_)) => {
            Holds::No(format!("it was created {created:.0}, too long before"))
        }
        _ => Holds::unclear(format!("how old {} was isn't known", launch.image.id)),
    }
}

fn deprecation(rule: &Approve, launch: Launch<'_>) -> Holds {
    if !rule.not_deprecated {
        return Holds::Yes;
    }
    let image = launch.image;
    match (image.deprecated, launch.at, image.known) {
        (Some(from), Some(at), _) if from <= at => {
            Holds::No(format!("it is deprecated since {from:.0}"))
        }
        (Some(_), Some(_), _) | (None, _, Known::Described | Known::Metadata) => Holds::Yes,
        _ => Holds::unclear(format!("whether {} was deprecated isn't known", image.id)),
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
        let holds = |tags: &[(String, String)]| {
            ec2::tag(tags, tag).is_some_and(|value| {
                let mut values = scope.values.iter().flatten();
                scope.values.is_none() || values.any(|wanted| wanted == value)
            })
        };
        let what = match instance.tag(tag) {
            Some(value) => format!("the instance's tag {tag} is {value}"),
            None => format!("the instance has no tag {tag}"),
        };
        conditions.push(launch.held_then(
            holds(&instance.tags),
            |seen| Some(holds(&seen.tags)),
            what,
            &format!("whether the instance had the tag {tag}"),
        ));
    }
    if !scope.group.all().is_empty() {
        let holds = |tags: &[(String, String)]| {
            group_in(tags).is_some_and(|group| like(scope.group.all(), group))
        };
        let what = match instance.group() {
            Some(group) => format!("its group is {group}"),
            None => "it is in no Auto Scaling group".to_owned(),
        };
        conditions.push(launch.held_then(
            holds(&instance.tags),
            |seen| Some(holds(&seen.tags)),
            what,
            "in which Auto Scaling group it was",
        ));
    }
    if !scope.role.all().is_empty() {
        conditions.push(roles(scope.role.all(), instance, launch, facts));
    }
    conditions
}

/// Whether it has such a role, or had it at the launch: profiles are attached and replaced later.
fn roles(wanted: &[String], instance: &Instance, launch: Launch<'_>, facts: &Facts) -> Holds {
    let now = role(wanted, instance.profile.as_deref(), facts);
    let Holds::No(what) = now else {
        return now;
    };
    let then = |seen: &Seen| match role(wanted, seen.profile.as_deref(), facts) {
        Holds::Yes => Some(true),
        Holds::No(_) => Some(false),
        Holds::Unclear(_) => None,
    };
    launch.held_then(false, then, what, "which role it had")
}

fn role(wanted: &[String], profile: Option<&str>, facts: &Facts) -> Holds {
    let Some(profile) = profile else {
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
