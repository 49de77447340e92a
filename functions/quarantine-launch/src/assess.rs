//! Sums up a run: numbers, and what stands against the policy. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use guardrails::ec2::State;
use guardrails::finding::{Command, Finding, Kind, On, Run, Told, Urgency};
use guardrails::guardrail::{Assessment, Settled};
use guardrails::metrics::Metric;
use guardrails::notify::{AUTO_SCALING_GROUP, PARAMETER};
use guardrails::report::Outcome;
use guardrails::tags;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::approval::{self, Launch, Verdict, verdict, verdict_on};
use crate::breadth;
use crate::decide::{Action, Held, Occasion, Quarantine, drifted, image_label};
use crate::facts::{Asked, Facts, Image, Instance, Known, Stage};
use crate::launches::{Source, is_broken, loops};
use crate::policy::Policy;

const RELEASE: Command = Command {
    to: "to put everything back as it was",
    on: On::Instance,
    run: Run::Invoke("release"),
};

const CHECK: Command = Command {
    to: "to see the verdict of each rule",
    on: On::Instance,
    run: Run::Invoke("check"),
};

/// An instance in quarantine.
pub static QUARANTINED: Kind = Kind {
    name: "quarantined",
    one: "instance in quarantine",
    many: "instances in quarantine",
    cured: "was released from quarantine",
    next: "Look at its AMI and at who launched it. A good AMI: approve it in the policy, then release the instance. A bad one: keep the evidence snapshots (tag ec2-guardrails:evidence), turn termination protection off and terminate the instance.",
    urgency: Urgency::Soon,
    commands: &[CHECK, RELEASE],
};

/// An instance that couldn't be isolated wholly.
pub static PARTLY_ISOLATED: Kind = Kind {
    name: "partly-isolated",
    one: "instance that is not wholly isolated",
    many: "instances that are not wholly isolated",
    cured: "is isolated now, or nobody asks for it any more",
    next: "AWS lets only the service that manages the instance or the network interface change its security groups. Stop it in that service (EKS Auto Mode, ECS and the like), or close the security groups that it has.",
    urgency: Urgency::Now,
    commands: &[],
};

/// A source that launches unapproved AMIs again and again.
pub static LOOP: Kind = Kind {
    name: "loop",
    one: "source that launches unapproved AMIs in a loop",
    many: "sources that launch unapproved AMIs in a loop",
    cured: "launches no unapproved AMIs in a loop any more",
    next: "Correct the AMI where the launches come from, such as the launch template, or approve it in the policy; then release the group (the release of its last instance in quarantine does that too). What isn't an Auto Scaling group can't be stopped from here: stop the pipeline, the Fleet or the person.",
    urgency: Urgency::Now,
    commands: &[Command {
        to: "to resume what was suspended in the group",
        on: On::Group,
        run: Run::Invoke("release"),
    }],
};

/// An instance in quarantine whose groups somebody changed.
pub static DRIFT: Kind = Kind {
    name: "drift",
    one: "instance in quarantine whose security groups were changed",
    many: "instances in quarantine whose security groups were changed",
    cured: "is isolated again, or released",
    next: "An instance is isolated again only once: changed a second time, it stays as somebody left it. To end a quarantine, release the instance, which also restores what else was changed.",
    urgency: Urgency::Now,
    commands: &[RELEASE],
};

/// An instance about whose AMI nothing can be told.
pub static UNDECIDED: Kind = Kind {
    name: "undecided",
    one: "launch that can't be judged",
    many: "launches that can't be judged",
    cured: "could be judged",
    next: "Nothing was done. Remove the cause that stands beside it (an SSM parameter that doesn't exist or isn't among ImageParameterArns, a missing permission); the next sweep judges again.",
    urgency: Urgency::Soon,
    commands: &[CHECK],
};

/// Approve rules that let in more than they seem to.
pub static BROAD: Kind = Kind {
    name: "broad-approval",
    one: "policy with approve rules that are too broad",
    many: "policies with approve rules that are too broad",
    cured: "has no approve rule that is too broad any more",
    next: "Narrow the rules as each line says; docs/policy.md shows how.",
    urgency: Urgency::Know,
    commands: &[],
};

/// Sums up.
#[must_use]
pub fn assess(
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
    settled: &[Settled<'_, Action>],
) -> Assessment {
    let mut sums = Sums::default();
    let done = Done::of(settled);
    for instance in facts.instances.values() {
        if instance.state == State::Terminal {
            continue;
        }
        judge(instance, facts, policy, now, &done, &mut sums);
    }
    if facts.asked == Asked::Reconcile {
        looping(facts, policy, now, &done, &mut sums);
        breadth(facts, policy, &mut sums);
    }
    for (name, group) in &facts.groups {
        let resource = format!("{AUTO_SCALING_GROUP}{name}");
        // A run that looked at one launch can't tell that a loop has ended.
        let judged = facts.complete
            || done.restored.contains(name.as_str())
            || sums
                .findings
                .iter()
                .any(|finding| finding.resource == resource);
        if let Some(state) = group.tags.get(&LOOP.tag())
            && judged
        {
            sums.told.push(Told {
                resource,
                kind: &LOOP,
                state: state.clone(),
                gone: false,
            });
        }
    }
    let metrics = sums.metrics().to_vec();
    Assessment {
        considered: sums.considered,
        metrics,
        findings: sums.findings,
        told: sums.told,
        detail: detail(facts, policy, now),
    }
}

/// What the actions came to.
#[derive(Default)]
struct Done<'a> {
    held: BTreeMap<&'a str, (&'a Quarantine, &'a Held)>,
    named: BTreeMap<&'a str, &'a (String, String)>,
    released: BTreeSet<&'a str>,
    broken: BTreeSet<&'a str>,
    /// Loops that another run broke, which tells of them.
    left: BTreeSet<&'a str>,
    restored: BTreeSet<&'a str>,
}

impl<'a> Done<'a> {
    fn of(settled: &'a [Settled<'a, Action>]) -> Self {
        let mut done = Self::default();
        for one in settled {
            let is_done = one.outcome == Outcome::Done;
            match one.action {
                Action::Quarantine(quarantine) => {
                    if let Some(held) = quarantine.held.get() {
                        done.held
                            .insert(&quarantine.instance.id, (&**quarantine, held));
                    }
                }
                Action::NameLauncher(name) => {
                    if let Some(Some(found)) = name.found.get() {
                        done.named.insert(&name.instance, found);
                    }
                }
                Action::BreakLoop(looping) if is_done => {
                    done.broken.insert(&looping.group.name);
                }
                Action::BreakLoop(looping) if one.outcome == Outcome::Skipped => {
                    done.left.insert(&looping.group.name);
                }
                Action::Release(release) if is_done => {
                    done.released.insert(&release.instance.id);
                }
                Action::RestoreGroup { group, .. } if is_done => {
                    done.restored.insert(group);
                }
                _ => {}
            }
        }
        done
    }
}

#[derive(Default)]
struct Sums {
    considered: u64,
    approved: u64,
    unapproved: u64,
    undecided: u64,
    quarantined: u64,
    partly: u64,
    drifted: u64,
    loops: u64,
    findings: Vec<Finding>,
    told: Vec<Told>,
}

impl Sums {
    fn metrics(&self) -> [Metric; 8] {
        [
            ("LaunchesConsidered", self.considered),
            ("LaunchesApproved", self.approved),
            ("LaunchesUnapproved", self.unapproved),
            ("LaunchesUndecided", self.undecided),
            ("InstancesQuarantined", self.quarantined),
            ("InstancesPartlyIsolated", self.partly),
            ("InstancesDrifted", self.drifted),
            ("LoopsBroken", self.loops),
        ]
        .map(|(name, value)| Metric { name, value })
    }

    fn find(&mut self, resource: &str, kind: &'static Kind, state: String, text: String) {
        self.findings.push(Finding {
            resource: resource.to_owned(),
            kind,
            state,
            text,
        });
    }

    fn told(&mut self, instance: &Instance, kind: &'static Kind) {
        if let Some(state) = instance.tag(&kind.tag()) {
            self.told.push(Told {
                resource: instance.id.clone(),
                kind,
                state: state.to_owned(),
                gone: false,
            });
        }
    }
}

fn judge(
    instance: &Instance,
    facts: &Facts,
    policy: &Policy,
    now: Timestamp,
    done: &Done<'_>,
    sums: &mut Sums,
) {
    sums.considered += 1;
    let id = instance.id.as_str();
    let held = done.held.get(id).copied();
    let verdict = verdict(instance, facts, policy);
    if verdict.is_approved() {
        sums.approved += 1;
    } else if verdict.is_unapproved() {
        sums.unapproved += 1;
    }
    // An order says nothing about the rest of what stands on the instance.
    let reconciling = facts.asked == Asked::Reconcile;
    if reconciling {
        sums.told(instance, &UNDECIDED);
        if matches!(verdict, Verdict::Undecided(_)) && instance.quarantine().is_none() {
            sums.undecided += 1;
            sums.find(
                id,
                &UNDECIDED,
                "can't be judged".to_owned(),
                format!("{}: {}", instance.label(), verdict.reason()),
            );
        }
    }
    let stage = instance.quarantine();
    if done.released.contains(id) {
        for kind in [&QUARANTINED, &PARTLY_ISOLATED, &DRIFT] {
            sums.told(instance, kind);
        }
        return;
    }
    if stage.is_none() && held.is_none() {
        for kind in [&QUARANTINED, &PARTLY_ISOLATED, &DRIFT] {
            sums.told(instance, kind);
        }
        if let Some(operator) = &instance.operator
            && reconciling
            && verdict.is_unapproved()
            && policy.launched_within.after(instance.launched) > now
        {
            sums.partly += 1;
            sums.find(
                id,
                &PARTLY_ISOLATED,
                format!("managed by {operator}"),
                format!(
                    "{}: launched from {}; {}; {operator} manages it, so it isn't isolated",
                    instance.label(),
                    image_label(instance, facts),
                    verdict.reason()
                ),
            );
        }
        return;
    }
    sums.quarantined += 1;
    in_quarantine(instance, held, facts, done, sums);
}

/// An instance that is in quarantine, or is now.
fn in_quarantine(
    instance: &Instance,
    held: Option<(&Quarantine, &Held)>,
    facts: &Facts,
    done: &Done<'_>,
    sums: &mut Sums,
) {
    let (order, held) = held.unzip();
    let id = instance.id.as_str();
    let stage = instance.quarantine().map(|(stage, _)| stage);
    let told = instance.tag(&QUARANTINED.tag());
    sums.told(instance, &QUARANTINED);
    // Somebody else is at it right now, and tells.
    let underway = held.is_none() && matches!(stage, Some(Stage::Started | Stage::Releasing));
    if underway {
        if let Some(told) = told {
            sums.find(id, &QUARANTINED, told.to_owned(), instance.label());
        }
        return;
    }
    let launcher = held
        .and_then(|held| held.launcher.clone())
        .or_else(|| done.named.get(id).map(|found| (*found).clone()))
        .or_else(|| {
            let known = instance.tag(tags::QUARANTINE_LAUNCHER)?;
            Some((known.to_owned(), known.to_owned()))
        });
    let image = instance
        .tag(tags::QUARANTINE_IMAGE)
        .map_or_else(|| image_label(instance, facts), str::to_owned);
    let ami = instance.image.clone().unwrap_or_default();
    let tell_again = match &launcher {
        Some((value, _)) => format!("{ami} launched by {value}"),
        None => ami,
    };
    sums.find(
        id,
        &QUARANTINED,
        tell_again,
        text(instance, order, &image, launcher.as_ref(), facts),
    );
    sums.told(instance, &PARTLY_ISOLATED);

    let refused = held.map_or(stage == Some(Stage::Partial), |held| {
        !held.refused.is_empty()
    });
    if refused {
        let which = held.map_or_else(
            || {
                instance
                    .tag(tags::QUARANTINE_REFUSED)
                    .unwrap_or_default()
                    .to_owned()
            },
            |held| tags::clip(&held.refused.join(" ")),
        );
        sums.partly += 1;
        sums.find(
            id,
            &PARTLY_ISOLATED,
            which.clone(),
            format!(
                "{}: {which} can't be isolated, so it may still be reached there",
                instance.label()
            ),
        );
    }
    sums.told(instance, &DRIFT);
    let again = instance.tag(tags::QUARANTINE_DRIFT);
    let isolated_again =
        held.is_some() && order.is_some_and(|order| order.occasion == Occasion::Drift);
    if let Some(first) = again {
        sums.drifted += 1;
        let open = drifted(instance, facts);
        let (how, text) = if open {
            (
                "changed again",
                "its security groups were changed again after it had been isolated again; they stay as they are, so it is NOT isolated",
            )
        } else {
            (
                "isolated again",
                "its security groups were changed by hand, and it was isolated again",
            )
        };
        sums.find(
            id,
            &DRIFT,
            how.to_owned(),
            format!("{}: {text} (first at {first})", instance.label()),
        );
    } else if isolated_again {
        sums.drifted += 1;
        sums.find(
            id,
            &DRIFT,
            "isolated again".to_owned(),
            format!(
                "{}: its security groups were changed by hand, and it was isolated again",
                instance.label()
            ),
        );
    }
}

/// What a person reads of an instance in quarantine.
fn text(
    instance: &Instance,
    order: Option<&Quarantine>,
    image: &str,
    launcher: Option<&(String, String)>,
    facts: &Facts,
) -> String {
    let mut text = format!("{}: launched from {image}", instance.label());
    if let Some(known) = instance
        .image
        .as_ref()
        .and_then(|image| facts.images.get(image))
    {
        text.push_str(&owner_and_age(known, instance.launched));
    }
    text.push_str(" by ");
    text.push_str(launcher.map_or(
        "somebody whom CloudTrail doesn't name yet (you are told when it does)",
        |(_, who)| who,
    ));
    text.push_str(". Why: ");
    let written = instance.tag(tags::QUARANTINE_REASON);
    text.push_str(
        written
            .or(order.map(|order| order.reason.as_str()))
            .unwrap_or("a quarantine was begun"),
    );
    if let Some(held) = order.and_then(|order| order.held.get()) {
        if !held.done.is_empty() {
            text.push_str(". Done: ");
            text.push_str(&held.done.join("; "));
        }
        if !held.not_done.is_empty() {
            text.push_str(". Not done: ");
            text.push_str(&held.not_done.join("; "));
        }
    }
    text.push('.');
    text
}

/// `, owned by amazon, 12 days old at the launch`.
fn owner_and_age(image: &Image, launched: Timestamp) -> String {
    let mut text = String::new();
    match (&image.owner_alias, &image.owner) {
        (Some(alias), _) => {
            let _ = write!(text, ", owned by {alias}");
        }
        (None, Some(owner)) => {
            let _ = write!(text, ", owned by account {owner}");
        }
        (None, None) => text.push_str(", owner unknown"),
    }
    if let Some(created) = image.created {
        let days = launched.duration_since(created).as_hours() / 24;
        let _ = write!(text, ", {days} days old at the launch");
    }
    if image.known != Known::Described {
        text.push_str(", no longer visible");
    }
    text
}

fn looping(facts: &Facts, policy: &Policy, now: Timestamp, done: &Done<'_>, sums: &mut Sums) {
    let mut named = BTreeSet::new();
    for looping in loops(facts, policy, now) {
        let ids: Vec<&str> = looping.launches.iter().map(|(_, id)| id.as_str()).collect();
        let what = format!(
            "{} launched {} unapproved instances within {} ({})",
            looping.source,
            ids.len(),
            policy.relaunch.within,
            ids.join(", ")
        );
        match &looping.source {
            Source::Group(name) => {
                named.insert(name.clone());
                if done.left.contains(name.as_str()) {
                    continue;
                }
                let is_broken = done.broken.contains(name.as_str())
                    || facts.groups.get(name).is_some_and(is_broken);
                let end = if is_broken {
                    sums.loops += 1;
                    "its processes Launch and ReplaceUnhealthy are suspended, so it launches nothing more"
                } else {
                    "it goes on launching"
                };
                let state = if is_broken { "broken" } else { "goes on" };
                sums.find(
                    &format!("{AUTO_SCALING_GROUP}{name}"),
                    &LOOP,
                    state.to_owned(),
                    format!("{what}; {end}"),
                );
            }
            _ => {
                // Each further launch is told: nobody but a person can stop it.
                if let Some(newest) = &looping.newest {
                    sums.find(
                        newest,
                        &LOOP,
                        looping.source.to_string(),
                        format!(
                            "{what}; each further one is isolated, but nothing here can stop it"
                        ),
                    );
                }
            }
        }
    }
    // A loop that was broken stands until it is released, however long ago its launches were.
    for (name, group) in &facts.groups {
        if group.tags.contains_key(tags::LOOP_BROKEN) && !named.contains(name) && is_broken(group) {
            sums.loops += 1;
            sums.find(
                &format!("{AUTO_SCALING_GROUP}{name}"),
                &LOOP,
                "broken".to_owned(),
                format!(
                    "Auto Scaling group {name}: its processes {} were suspended to break a loop of unapproved launches, and are suspended still",
                    group
                        .tags
                        .get(tags::LOOP_SUSPENDED)
                        .map_or("Launch ReplaceUnhealthy", String::as_str)
                ),
            );
        }
    }
    // A loop on an instance was told of that instance, and stays told.
    for instance in facts.instances.values() {
        if let Some(state) = instance.tag(&LOOP.tag())
            && instance.state != State::Terminal
        {
            let still = sums
                .findings
                .iter()
                .any(|finding| finding.kind == &LOOP && finding.resource == instance.id);
            if still {
                sums.told(instance, &LOOP);
            } else if facts.complete && instance.quarantine().is_some() {
                // Another of its launches is the newest now.
                let state = state.to_owned();
                sums.told(instance, &LOOP);
                sums.find(&instance.id, &LOOP, state, instance.label());
            }
        }
    }
}

/// What is too broad about the policy: told once, and again when it changes.
fn breadth(facts: &Facts, policy: &Policy, sums: &mut Sums) {
    let Some(tags) = &facts.policy_parameter.told else {
        return;
    };
    let resource = format!("{PARAMETER}{}", facts.policy_parameter.name);
    if let Some(state) = tags.get(&BROAD.tag()) {
        sums.told.push(Told {
            resource: resource.clone(),
            kind: &BROAD,
            state: state.clone(),
            gone: false,
        });
    }
    let warnings: Vec<String> = breadth::warnings(policy)
        .into_iter()
        .map(|warning| warning.text)
        .collect();
    if warnings.is_empty() {
        return;
    }
    let text = format!(
        "policy {}: {}",
        facts.policy_parameter.name,
        warnings.join(". ")
    );
    // The tag of a parameter takes few characters, and what changes must change it.
    let state = format!("{} warnings {:016x}", warnings.len(), fingerprint(&text));
    sums.find(&resource, &BROAD, state, text);
}

/// FNV-1a: the same in every build, which the standard library's hasher doesn't promise.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What `check` answers.
fn detail(facts: &Facts, policy: &Policy, now: Timestamp) -> Value {
    let (launch, verdict) = match &facts.asked {
        Asked::CheckInstance(id) => {
            let Some(instance) = facts.instances.get(id) else {
                return json!({
                    "instance": id,
                    "problem": "there is no such instance in this account and Region (any more)",
                });
            };
            let verdict = verdict(instance, facts, policy);
            let image = instance
                .image
                .as_ref()
                .and_then(|image| facts.images.get(image));
            let Some(image) = image else {
                return json!({
                    "instance": id,
                    "image": instance.image,
                    "verdict": word(&verdict),
                    "reason": verdict.reason(),
                });
            };
            let launch = Launch {
                image,
                instance: Some(instance),
                at: instance.launched,
            };
            (launch, verdict)
        }
        Asked::CheckImage(id) => {
            let Some(image) = facts.images.get(id) else {
                return Value::Null;
            };
            let launch = Launch {
                image,
                instance: None,
                at: now,
            };
            (launch, verdict_on(launch, facts, policy))
        }
        _ => return Value::Null,
    };
    let image = launch.image;
    json!({
        "instance": launch.instance.map(|instance| &instance.id),
        "image": {
            "id": image.id,
            "name": image.name,
            "owner": image.owner_alias.as_ref().or(image.owner.as_ref()),
            "created": image.created,
            "deprecated": image.deprecated,
            "known": match image.known {
                Known::Described => "described",
                Known::Metadata => "by the instance's image metadata only",
                Known::Unknown => "no",
            },
        },
        "verdict": word(&verdict),
        "reason": verdict.reason(),
        "rules": approval::lines(launch, facts, policy),
    })
}

fn word(verdict: &Verdict<'_>) -> &'static str {
    match verdict {
        Verdict::Exempt(_) => "exempt",
        Verdict::Released => "released",
        Verdict::NothingApproved => "nothing approved yet",
        Verdict::Approved(_) => "approved",
        Verdict::Undecided(_) => "cannot tell",
        Verdict::Denied(_) => "denied",
        Verdict::Unapproved { unknown: true, .. } => "unapproved, unknown",
        Verdict::Unapproved { .. } => "unapproved",
    }
}

#[cfg(test)]
mod tests;
