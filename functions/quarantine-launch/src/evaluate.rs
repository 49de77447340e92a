//! Judges each instance and each source of launches once. Pure.
//!
//! What is decided, told, counted and answered all reads this, so that none of them can disagree.

use std::collections::{BTreeMap, BTreeSet};

use guardrails::aws::ApiError;
use guardrails::ec2::State;
use guardrails::policy::{Age, Mode};
use jiff::{SignedDuration, Timestamp};

use crate::admission::Admission;
use crate::approval::{self, Launch, Line, Verdict, verdict, verdict_on};
use crate::ask::Ask;
use crate::facts::{Facts, Group, Image, Instance, Interface, Isolation};
use crate::labels;
use crate::launches::{Looping, Source, is_broken, loops};
use crate::policy::parameter::is_watched;
use crate::policy::responders::rules;
use crate::policy::{Policy, breadth};
use crate::record::{Loop, Record, Seen, Stage, Value};

/// How long after the isolation a look may still show the groups from before it.
const SETTLE: Age = Age::from_mins(2);
/// How long a person's release may take before a sweep finishes it.
pub(crate) const RELEASE_TAKES: Age = Age::from_mins(5);
/// How long a run may take to carry a quarantine out, before another takes it up: long enough that
/// of several events for one launch only the first acts and tells.
const UNDER_WAY: SignedDuration = SignedDuration::from_secs(20);
/// How long after the launch CloudTrail is asked who it was; its records come within 15 minutes.
const LOOK_FOR_LAUNCHER: Age = Age::from_hours(2);
/// How long after its beginning the quarantine of an instance that EC2 doesn't show any more is
/// forgotten: longer than a look may miss an instance.
const FORGET: Age = Age::from_hours(24);

/// What the facts come to.
#[derive(Debug)]
pub struct Evaluation<'a> {
    /// What was found.
    pub facts: &'a Facts,
    /// What is wanted.
    pub policy: &'a Policy,
    /// When.
    pub now: Timestamp,
    /// Each instance that was looked at, by id.
    pub judged: BTreeMap<&'a str, Judged<'a>>,
    /// How much may be isolated.
    pub brake: Braking,
    /// The sources that launch in a loop.
    pub loops: Vec<Judgement<'a>>,
    /// Groups whose loop was broken, and whose latest launches make none any more.
    pub suspended: Vec<(&'a Group, &'a Loop)>,
    /// Quarantines whose instances are gone.
    pub forgotten: Vec<&'a str>,
    /// Whom the isolation groups are to let in.
    pub admission: Admission,
    /// Isolation groups that don't do that, and the instances in quarantine behind them.
    pub opened: Vec<Opened<'a>>,
    /// What is too broad about the policy.
    pub broad: Vec<String>,
    /// What `check` answers.
    pub checked: Option<Checked<'a>>,
}

/// An isolation group that lets in others than the policy says, or not all of them.
#[derive(Debug)]
pub struct Opened<'a> {
    /// Its VPC.
    pub vpc: &'a str,
    /// The group.
    pub group: &'a Isolation,
    /// How that came about.
    pub change: Change,
    /// What is in quarantine behind it.
    pub instances: Vec<&'a Instance>,
}

/// Why an isolation group doesn't let in whom the policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Somebody added rules to it.
    Opened,
    /// The policy named more before: this guardrail let them in.
    Narrowed,
    /// The policy names more now.
    Widened,
}

/// An instance.
#[derive(Debug)]
pub struct Judged<'a> {
    /// The instance.
    pub instance: &'a Instance,
    /// What is said of its launch.
    pub verdict: Verdict<'a>,
    /// What follows.
    pub stance: Stance<'a>,
    /// What its labels say, where nothing was recorded.
    pub unrecorded: Option<String>,
}

impl<'a> Judged<'a> {
    /// The quarantine that it is in.
    pub fn held(&self) -> Option<&Held<'a>> {
        match &self.stance {
            Stance::Held(held) => Some(held),
            _ => None,
        }
    }
}

/// What follows from verdict and memory.
#[derive(Debug)]
pub enum Stance<'a> {
    /// It is being terminated, or is.
    Terminal,
    /// It is in quarantine.
    Held(Held<'a>),
    /// Nothing is against it.
    Fine,
    /// It can't be told.
    Undecided,
    /// It is to be isolated.
    ToIsolate,
    /// It is to be isolated, but the brake holds.
    Braked,
    /// It isn't approved, but this service alone may change it.
    Managed(&'a str),
    /// It isn't approved, but was launched too long ago.
    Old,
}

/// An instance in quarantine.
#[derive(Debug)]
pub struct Held<'a> {
    /// What was recorded.
    pub record: &'a Record,
    /// How it stands.
    pub phase: Phase,
    /// Whether it is to be looked up who launched it.
    pub wants_launcher: bool,
}

/// How a quarantine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A run is carrying it out right now.
    UnderWay,
    /// Begun, and not finished.
    Unfinished,
    /// A release is under way.
    Releasing,
    /// A release was begun, and not finished.
    ReleaseUnfinished,
    /// It stands.
    Stands,
    /// It stands, but whether it is isolated couldn't be read.
    Unread,
    /// Its groups were changed by hand.
    Drifted,
    /// They were changed again after it had been isolated again.
    DriftedAgain,
    /// A network interface came to it that isn't isolated.
    Grown,
    /// It stands, and has come out of a warm pool into its group's service.
    InService,
}

impl Phase {
    /// Whether another run is at it, and tells.
    pub fn is_under_way(self) -> bool {
        matches!(
            self,
            Self::UnderWay | Self::Unfinished | Self::Releasing | Self::ReleaseUnfinished
        )
    }
}

/// A source that launches in a loop, and what can be done about it.
#[derive(Debug)]
pub struct Judgement<'a> {
    /// The source and its launches.
    pub looping: Looping,
    /// What can be done.
    pub standing: Standing<'a>,
}

/// What can be done about a source that launches in a loop.
#[derive(Debug)]
pub enum Standing<'a> {
    /// Nothing from here: it is no group.
    NoGroup,
    /// The group couldn't be read.
    Unread(&'a ApiError),
    /// The group is gone.
    Gone,
    /// Its processes are suspended.
    Suspended,
    /// This service alone may change it.
    Managed(&'a str),
    /// The policy doesn't want it.
    StepOff,
    /// Its processes are to be suspended.
    ToBreak(&'a Group),
    /// They are, but the brake holds.
    Braked,
}

/// How much may be isolated: one wrong rule must not isolate a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Braking {
    /// How many are to be isolated now.
    pub wanted: usize,
    /// How many were isolated within the time of the brake.
    pub lately: usize,
    /// How many launches there are, where all were looked at.
    pub launches: Option<usize>,
    /// How many may be isolated within the time of the brake.
    pub limit: usize,
    /// Whether there are too many, so that none is.
    pub holds: bool,
}

/// What `check` says of a launch, rule by rule.
#[derive(Debug)]
pub struct Checked<'a> {
    /// The AMI, where it is known.
    pub image: Option<&'a Image>,
    /// The verdict in a word or two.
    pub word: &'static str,
    /// Why.
    pub reason: String,
    /// Each rule.
    pub rules: Vec<Line>,
}

/// Judges.
pub(crate) fn evaluate<'a>(facts: &'a Facts, policy: &'a Policy, now: Timestamp) -> Evaluation<'a> {
    let mut judged: BTreeMap<&str, Judged<'_>> = facts
        .instances
        .values()
        .map(|one| (one.id.as_str(), judge(one, facts, policy, now)))
        .collect();
    let brake = braking(facts, &judged, policy, now);
    if brake.holds {
        for one in judged.values_mut() {
            if matches!(one.stance, Stance::ToIsolate) {
                one.stance = Stance::Braked;
            }
        }
    }
    let siblings: Vec<(&Instance, Verdict<'_>)> = facts
        .siblings
        .values()
        .map(|one| (one, verdict(one, facts, policy, now)))
        .collect();
    let seen: Vec<(&Instance, &Verdict<'_>)> = judged
        .values()
        .map(|judged| (judged.instance, &judged.verdict))
        .chain(siblings.iter().map(|(one, verdict)| (*one, verdict)))
        .collect();
    let found = if facts.ask.is_reconcile() || facts.ask.is_about_launches() {
        loops(&seen, facts, policy, now)
    } else {
        Vec::new()
    };
    let loops: Vec<Judgement<'_>> = found
        .into_iter()
        .map(|looping| Judgement {
            standing: standing(&looping.source, facts, policy, brake),
            looping,
        })
        .collect();
    let checked = checked(facts, policy, &judged, now);
    let admission = Admission::new(rules(&policy.responders), facts.responders.clone());
    Evaluation {
        facts,
        policy,
        now,
        suspended: suspended(facts, &loops),
        forgotten: forgotten(facts, now),
        opened: opened(facts, &judged, &admission),
        admission,
        brake,
        broad: breadth::warnings(policy)
            .into_iter()
            .map(|warning| warning.text)
            .collect(),
        judged,
        loops,
        checked,
    }
}

/// The instances among `facts` that no rule approves, as far as anything was read: those of which
/// more is to be read. Of others of the same source those that would count for a loop.
pub(crate) fn unapproved_so_far<'a>(
    facts: &'a Facts,
    policy: &Policy,
    now: Timestamp,
) -> Vec<&'a Instance> {
    let open = facts.instances.values().filter(|one| {
        let verdict = verdict(one, facts, policy, now);
        verdict.is_unapproved() || matches!(verdict, Verdict::Undecided(_))
    });
    let siblings = facts.siblings.values();
    let counted = siblings.filter(|one| verdict(one, facts, policy, now).is_unapproved());
    open.chain(counted).collect()
}

fn judge<'a>(
    instance: &'a Instance,
    facts: &'a Facts,
    policy: &'a Policy,
    now: Timestamp,
) -> Judged<'a> {
    let verdict = verdict(instance, facts, policy, now);
    let record = facts.records.get(&instance.id);
    let stance = match (instance.state, record) {
        (State::Terminal, _) => Stance::Terminal,
        (_, Some(record)) => Stance::Held(held(instance, record, facts, now)),
        (_, None) => of_launch(instance, &verdict, policy, now),
    };
    // Labels may stay behind for a moment when a release has ended.
    let unrecorded = record.is_none() && !facts.released.contains_key(&instance.id);
    Judged {
        unrecorded: labels::said(&instance.tags)
            .filter(|_| unrecorded && instance.state != State::Terminal),
        instance,
        verdict,
        stance,
    }
}

fn of_launch<'a>(
    instance: &'a Instance,
    verdict: &Verdict<'_>,
    policy: &Policy,
    now: Timestamp,
) -> Stance<'a> {
    let is_old = policy.launched_within.after(instance.launched) <= now;
    match verdict {
        // A failed read fails the run. What nobody can tell any more of an old launch is no news.
        Verdict::Undecided(unclear) if !is_old || unclear.error.is_some() => {
            return Stance::Undecided;
        }
        Verdict::Undecided(_) => return Stance::Old,
        verdict if !verdict.is_unapproved() => return Stance::Fine,
        _ if is_old => return Stance::Old,
        _ => {}
    }
    match &instance.operator {
        Some(operator) => Stance::Managed(operator),
        None => Stance::ToIsolate,
    }
}

fn held<'a>(instance: &'a Instance, record: &'a Record, facts: &Facts, now: Timestamp) -> Held<'a> {
    let released = facts.released.get(&instance.id);
    let phase = match record.stage {
        Stage::Releasing if RELEASE_TAKES.after(record.at) > now => Phase::Releasing,
        Stage::Releasing => Phase::ReleaseUnfinished,
        Stage::Started if now.duration_since(record.at) < UNDER_WAY => Phase::UnderWay,
        // By a run that had looked before a person released it, and didn't come to see that.
        Stage::Started if released.is_some_and(|one| one.at >= record.since) => {
            Phase::ReleaseUnfinished
        }
        Stage::Started => Phase::Unfinished,
        Stage::Partial | Stage::Complete => match drift(instance, record, facts, now) {
            Phase::Stands if record.pooled && is_in_service(instance, facts) => Phase::InService,
            phase => phase,
        },
    };
    let stands = matches!(record.stage, Stage::Partial | Stage::Complete);
    Held {
        record,
        phase,
        // By hand: the person knows.
        wants_launcher: stands
            && record.launcher.is_none()
            && !record.by_hand
            && LOOK_FOR_LAUNCHER.after(record.since) > now,
    }
}

fn drift(instance: &Instance, record: &Record, facts: &Facts, now: Timestamp) -> Phase {
    let Some(isolation) = &facts.isolation else {
        return Phase::Unread;
    };
    let open = instance.interfaces.iter().filter(|interface| {
        interface.operator.is_none()
            && !record.refused.contains(&interface.id)
            && !interface.is_isolated(isolation)
    });
    // One that was attached later nobody has changed yet.
    let changed = |interface: &&Interface| record.interfaces.contains_key(&interface.id);
    let isolated_at = record.drift.unwrap_or(record.since).max(record.since);
    if open.clone().count() == 0 || SETTLE.after(isolated_at) > now {
        return Phase::Stands;
    }
    match record.drift {
        _ if !open.clone().all(|interface| changed(&interface)) => Phase::Grown,
        None => Phase::Drifted,
        Some(_) => Phase::DriftedAgain,
    }
}

fn is_in_service(instance: &Instance, facts: &Facts) -> bool {
    let group = instance.group().and_then(|name| facts.groups.get(name));
    let state = group.and_then(|group| group.members.get(&instance.id));
    state.is_some_and(|state| state == "InService")
}

/// What was counted already (its isolation was begun and isn't recorded) isn't counted again.
fn braking(
    facts: &Facts,
    judged: &BTreeMap<&str, Judged<'_>>,
    policy: &Policy,
    now: Timestamp,
) -> Braking {
    let brake = &policy.brake;
    let known = facts.brake.as_ref().map(|stored| &stored.value);
    let lately = known.map_or(0, |known| known.since(brake.within.before(now)));
    let wanted = judged.values().filter(|one| {
        let counted = known.is_some_and(|known| known.0.contains_key(&one.instance.id));
        matches!(one.stance, Stance::ToIsolate) && !counted
    });
    let wanted = wanted.count();
    let launches = facts.complete.then(|| {
        let launches = judged.values().map(|one| one.instance.launched);
        let young = launches.filter(|at| policy.launched_within.after(*at) > now);
        young.count()
    });
    let limit = brake.limit(launches);
    let holds = match facts.ask {
        Ask::Confirm(confirmed) => wanted > confirmed,
        _ => policy.mode == Mode::Enforce && wanted > 0 && lately + wanted > limit,
    };
    Braking {
        wanted,
        lately,
        launches,
        limit,
        holds,
    }
}

fn standing<'a>(
    source: &Source,
    facts: &'a Facts,
    policy: &Policy,
    brake: Braking,
) -> Standing<'a> {
    let Source::Group(name) = source else {
        return Standing::NoGroup;
    };
    let Some(group) = facts.groups.get(name) else {
        return match &facts.groups_unread {
            Some(error) => Standing::Unread(error),
            None => Standing::Gone,
        };
    };
    // Suspended, and recorded as begun only: a run was killed in between, and isn't done.
    let known = facts.loops.get(name);
    let done = known.is_none_or(|known| known.broken.is_some() || !known.is_held());
    if is_broken(group) && done {
        return Standing::Suspended;
    }
    match &group.operator {
        Some(operator) => Standing::Managed(operator),
        None if !policy.steps.break_loop => Standing::StepOff,
        None if brake.holds => Standing::Braked,
        None => Standing::ToBreak(group),
    }
}

/// A loop that was broken stands until it is released, however long ago its launches were.
fn suspended<'a>(facts: &'a Facts, loops: &[Judgement<'_>]) -> Vec<(&'a Group, &'a Loop)> {
    let named: BTreeSet<&str> = loops
        .iter()
        .filter_map(|one| match &one.looping.source {
            Source::Group(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    facts
        .loops
        .iter()
        .filter(|(name, known)| known.broken.is_some() && !named.contains(name.as_str()))
        .filter_map(|(name, known)| Some((facts.groups.get(name)?, known)))
        .filter(|(group, _)| is_broken(group))
        .collect()
}

fn forgotten(facts: &Facts, now: Timestamp) -> Vec<&str> {
    if !facts.complete {
        return Vec::new();
    }
    let gone = facts.records.iter().filter(|(id, record)| {
        let there = facts.instances.get(*id);
        there.is_none_or(|one| one.state == State::Terminal) && FORGET.after(record.since) <= now
    });
    gone.map(|(id, _)| id.as_str()).collect()
}

/// What it is that somebody else let in, and not this guardrail by an earlier policy, the table says.
fn change(vpc: &str, group: &Isolation, facts: &Facts, admission: &Admission) -> Option<Change> {
    let surplus = admission.surplus(group);
    let admitted = facts.admitted.get(&group.id);
    let ours = admitted.is_some_and(|admitted| surplus.is_subset(admitted));
    if group.lets_out || !surplus.is_empty() && !ours {
        Some(Change::Opened)
    } else if !surplus.is_empty() {
        Some(Change::Narrowed)
    } else {
        let missing = admission.missing(vpc, group);
        (!missing.is_empty()).then_some(Change::Widened)
    }
}

fn opened<'a>(
    facts: &'a Facts,
    judged: &BTreeMap<&'a str, Judged<'a>>,
    admission: &Admission,
) -> Vec<Opened<'a>> {
    let groups = facts.isolation.iter().flatten();
    let groups = groups.filter(|_| facts.ask.is_reconcile());
    let open =
        groups.filter_map(|(vpc, group)| Some((vpc, group, change(vpc, group, facts, admission)?)));
    open.filter_map(|(vpc, isolation, change)| {
        let behind = |one: &Instance| {
            let mut groups = one
                .interfaces
                .iter()
                .flat_map(|interface| &interface.groups);
            groups.any(|group| *group == isolation.id)
        };
        let held = judged.values().filter(|one| one.held().is_some());
        let held = held.map(|one| one.instance).filter(|one| behind(one));
        let instances: Vec<&Instance> = held.collect();
        (!instances.is_empty()).then_some(Opened {
            vpc,
            group: isolation,
            change,
            instances,
        })
    })
    .collect()
}

fn checked<'a>(
    facts: &'a Facts,
    policy: &Policy,
    judged: &BTreeMap<&'a str, Judged<'a>>,
    now: Timestamp,
) -> Option<Checked<'a>> {
    let rules = |launch| approval::lines(launch, facts, policy);
    match &facts.ask {
        Ask::CheckInstance(id) => {
            let judged = judged.get(id.as_str())?;
            let launch = Launch::of(judged.instance, facts, now).ok();
            Some(Checked {
                image: launch.map(|launch| launch.image),
                word: word(&judged.verdict),
                reason: judged.verdict.reason(),
                rules: launch.map(rules).unwrap_or_default(),
            })
        }
        Ask::CheckImage(id) => {
            let image = facts.images.get(id)?;
            let launch = Launch::of_image(image, now);
            let verdict = verdict_on(launch, facts, policy);
            Some(Checked {
                image: Some(image),
                word: word(&verdict),
                reason: verdict.reason(),
                rules: rules(launch),
            })
        }
        _ => None,
    }
}

pub(crate) fn word(verdict: &Verdict<'_>) -> &'static str {
    match verdict {
        Verdict::Exempt(_) => "exempt",
        Verdict::Released => "released",
        Verdict::NothingApproved => "nothing approved yet",
        Verdict::Approved(_) => "approved",
        Verdict::ApprovedAtLaunch(_) => "approved at launch",
        Verdict::Undecided(_) => "cannot tell",
        Verdict::Denied(_) => "denied",
        Verdict::Unapproved { unknown: true, .. } => "unapproved, unknown",
        Verdict::Unapproved { .. } => "unapproved",
    }
}

impl Evaluation<'_> {
    /// Why the brake holds, or would.
    pub fn why_braked(&self) -> String {
        let (brake, policy) = (self.brake, &self.policy.brake);
        let launches = match brake.launches {
            Some(launches) => format!(
                "there were {launches} within {}",
                self.policy.launched_within
            ),
            None => "how large a share of the launches that is the next sweep knows".to_owned(),
        };
        format!(
            "{} are to be isolated and {} were within {}, more than {} and more than {}% of the launches ({launches})",
            brake.wanted, brake.lately, policy.within, policy.count, policy.percent
        )
    }

    /// Launches that were seen for the first time, and soon enough after them: what they were like.
    pub fn first_seen(&self) -> Vec<(String, Seen)> {
        let facts = self.facts;
        let new = self.judged.values().filter(|judged| {
            judged.instance.state != State::Terminal
                && facts.seen_of(judged.instance).is_none()
                && judged.instance.is_young(self.now)
        });
        new.filter_map(|judged| {
            let instance = judged.instance;
            let (rule, refused) = match &judged.verdict {
                Verdict::Approved(rule) => (Some(rule.text.clone()), None),
                verdict if verdict.is_unapproved() => (None, Some(verdict.reason())),
                _ => return None,
            };
            let launch = Launch::of(instance, facts, self.now).ok()?;
            let seen = Seen {
                rule,
                refused,
                image: launch.image.id.clone(),
                launched: instance.launched,
                was: Some(launch.image.clone()),
                tags: instance.tags.clone(),
                profile: instance.profile.clone(),
            };
            Some((instance.id.clone(), seen))
        })
        .collect()
    }

    /// Parameters whose history can't be read, and what they name now, where that is new.
    pub fn moved(&self) -> Vec<(&str, Value)> {
        let facts = self.facts;
        let read = facts.parameters.iter();
        let read = read.filter(|(name, _)| is_watched(name));
        read.filter_map(|(name, parameter)| {
            let parameter = parameter.as_ref().ok()?;
            let value = Value {
                images: parameter.images.clone(),
                version: parameter.version,
                since: parameter.since.unwrap_or(self.now),
            };
            let last = facts.watched.get(name).and_then(|known| known.0.last());
            (last != Some(&value)).then_some((name.as_str(), value))
        })
        .collect()
    }

    /// The AMI's id and name.
    pub fn image_label(&self, instance: &Instance) -> String {
        match &instance.image {
            None => "an AMI that EC2 doesn't name".to_owned(),
            Some(id) => {
                let known = self.facts.images.get(id);
                known.map_or_else(|| id.clone(), Image::label)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Parameter;
    use crate::fixtures::{at, facts, instance, member, now, policy};
    use crate::policy::tests::parse;
    use crate::record::Watched;

    #[test]
    fn a_launch_is_written_down_once_as_it_was_and_soon_after_it_only() {
        let policy = policy();
        let good = member("i-good", "web").from("ami-good");
        let old = instance("i-old").launched("10:59");
        let unread = instance("i-unread").from("ami-unread");
        let released = instance("i-released");
        let going = instance("i-going").terminated();
        let found = facts([instance("i-bad"), good, old, unread, released, going])
            .released("i-released", "ami-bad");
        let seen = evaluate(&found, &policy, now()).first_seen();
        let words: Vec<(&str, bool, bool)> = seen
            .iter()
            .map(|(id, seen)| (id.as_str(), seen.rule.is_some(), seen.refused.is_some()))
            .collect();
        assert_eq!(words, [("i-bad", false, true), ("i-good", true, false)]);
        let (_, good) = &seen[1];
        assert_eq!(good.was.as_ref(), Some(&found.images["ami-good"]));
        assert_eq!(good.tags, found.instances["i-good"].tags);
        // What stands is never overwritten.
        let again = Facts {
            seen: seen.into_iter().collect(),
            ..found.clone()
        };
        assert_eq!(evaluate(&again, &policy, now()).first_seen(), []);
    }

    /// What was written down counts, whatever mode the guardrail is in, and a question writes nothing.
    #[test]
    fn in_every_mode_it_is_written_down() {
        let found = facts([instance("i-bad")]);
        for mode in ["observe", "notify", "enforce"] {
            let policy = parse(&format!("{{mode: {mode}, approve: [{{owner: self}}]}}")).unwrap();
            assert_eq!(evaluate(&found, &policy, now()).first_seen().len(), 1);
        }
    }

    #[test]
    fn what_a_parameter_names_is_written_down_where_nobody_else_remembers_it() {
        const PUBLIC: &str = "/aws/service/bottlerocket/aws-k8s-1.33/x86_64/latest/image_id";
        let policy = policy();
        let mut found = facts([]);
        for name in [PUBLIC, "/golden", "/golden:prod", "/golden:7"] {
            let parameter = Parameter {
                images: vec!["ami-1".to_owned()],
                version: 3,
                since: Some(at("11:00")),
                ..Parameter::default()
            };
            found.parameters.insert(name.to_owned(), Ok(parameter));
        }
        let evaluation = evaluate(&found, &policy, now());
        let moved = evaluation.moved();
        let names: Vec<&str> = moved.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, [PUBLIC, "/golden:prod"]);
        let mut known = found.clone();
        for (name, value) in moved {
            known.watched.insert(name.to_owned(), Watched(vec![value]));
        }
        assert_eq!(evaluate(&known, &policy, now()).moved(), []);
    }

    /// Of a launch that is long ago it is no news that nobody can tell any more.
    #[test]
    fn an_old_launch_that_cant_be_judged_is_left_unless_a_read_failed() {
        let policy = parse("{mode: enforce, approve: [{owner: self, tag: Approved}]}").unwrap();
        let stance = |launched: &str, read: bool| {
            let mut found = facts([instance("i-1").from("ami-own").launched(launched)]);
            if read {
                let mut own = crate::fixtures::image("ami-own", "web-7");
                own.owner = found.account.clone();
                own.owner_alias = None;
                found.images.insert("ami-own".to_owned(), own);
            } else {
                let denied = crate::fixtures::refused("AccessDenied");
                found.images_unread.insert("ami-own".to_owned(), denied);
            }
            let launched = found.instances["i-1"].launched;
            let later = launched + SignedDuration::from_hours(25);
            let soon = launched + SignedDuration::from_hours(2);
            [soon, later]
                .map(|at| format!("{:?}", evaluate(&found, &policy, at).judged["i-1"].stance))
        };
        assert_eq!(stance("08:00", true), ["Undecided", "Old"]);
        assert_eq!(stance("08:00", false), ["Undecided", "Undecided"]);
    }
}
