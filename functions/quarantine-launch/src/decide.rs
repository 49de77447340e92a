//! What is to be done about each instance, and about sources that launch in a loop. Pure.

use std::collections::BTreeMap;

use guardrails::aws::{ApiError, ErrorKind};
use guardrails::ec2::State;
use guardrails::guardrail::Decision;
use guardrails::policy::Mode;
use guardrails::resource::Resource;
use guardrails::state::Stored;
use jiff::Timestamp;

use crate::admission::Admission;
use crate::approval::Verdict;
use crate::ask::Ask;
use crate::evaluate::{
    Change, Evaluation, Held, Judged, Judgement, Opened, Phase, Stance, Standing,
};
use crate::facts::{Facts, Group, Instance, Isolation};
use crate::labels::{self, Labels};
use crate::launcher::{Launcher, Who};
use crate::launches::Source;
use crate::policy::Steps;
use crate::record::{Brake, Loop, Record, Stage};

/// Launchers looked up per sweep: CloudTrail takes two lookups a second from the whole account.
const LAUNCHERS_PER_SWEEP: usize = 5;

/// What can be carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Isolate an instance, keep its state, take it out of service.
    Quarantine(Box<Quarantine>),
    /// Keep a group from launching again.
    BreakLoop(Box<BreakLoop>),
    /// Find out who launched an instance in quarantine.
    NameLauncher(Box<NameLauncher>),
    /// Put everything back.
    Release(Box<Release>),
    /// Put back what the labels say, where nothing was recorded.
    ReleaseByLabels(Box<ReleaseByLabels>),
    /// Let a group launch again.
    RestoreGroup {
        /// The group's name.
        group: String,
        /// When this was decided.
        at: Timestamp,
    },
    /// Have an isolation group let in whom the policy says, and nobody else.
    MendIsolation {
        /// Its VPC.
        vpc: String,
        /// The group as it was looked at.
        group: Isolation,
        /// Whom.
        admission: Admission,
        /// When this was decided.
        at: Timestamp,
    },
    /// Forget what was isolated of late: a person has confirmed it.
    ReleaseBrake {
        /// When this was decided.
        at: Timestamp,
    },
    /// Forget the quarantine of an instance that is gone.
    Forget {
        /// The instance.
        instance: String,
        /// What is recorded of it.
        record: Box<Record>,
        /// When this was decided.
        at: Timestamp,
    },
}

impl Action {
    /// The instance that it changes.
    pub fn instance(&self) -> Option<&str> {
        match self {
            Self::Quarantine(quarantine) => Some(&quarantine.instance.id),
            Self::NameLauncher(name) => Some(&name.instance),
            Self::Release(release) => Some(&release.instance.id),
            Self::ReleaseByLabels(release) => Some(&release.instance.id),
            _ => None,
        }
    }
}

/// Why an instance is quarantined now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// Its AMI isn't approved.
    Launch,
    /// A person wants it.
    ByHand,
    /// A run ended before all was done.
    Unfinished,
    /// Somebody changed its groups by hand.
    Drift,
    /// A network interface came to it.
    Attached,
    /// It has come out of the warm pool into its group's service.
    InService,
}

/// A quarantine to carry out.
#[derive(Debug, Clone, PartialEq)]
pub struct Quarantine {
    /// The instance as it was looked at.
    pub instance: Instance,
    /// What is recorded of it, as it was looked at.
    pub record: Option<Record>,
    /// Why.
    pub occasion: Occasion,
    /// The rule that refused it, or the person's reason.
    pub reason: String,
    /// Its AMI's id and name.
    pub image: String,
    /// When this was decided.
    pub at: Timestamp,
    /// What it does besides isolating.
    pub steps: Steps,
    /// The isolation groups that exist, by VPC.
    pub isolation: BTreeMap<String, Isolation>,
    /// Whom they let in.
    pub admission: Admission,
    /// Its Auto Scaling group, as far as it is known.
    pub group: Option<Group>,
    /// Who launched it, where the event told.
    pub launcher: Option<Launcher>,
    /// The place that it has to take; none where a person ordered it or it was begun before.
    pub place: Option<Place>,
    /// Whether it is a further launch of a loop that isn't stopped: whatever is kept of each would
    /// pile up without end.
    pub piles_up: bool,
    /// Whether sweeps do what this run leaves undone: in mode `enforce` only.
    pub swept: bool,
}

/// A place among what may be isolated within the time of the brake: taken before anything is
/// changed, because of many runs at once each sees its own launches only.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// How many there are.
    pub limit: usize,
    /// Since when those count that are taken.
    pub from: Timestamp,
    /// Those that are taken, as they were looked at.
    pub taken: Option<Stored<Brake>>,
}

/// A loop to break.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakLoop {
    /// The group as it was looked at.
    pub group: Group,
    /// When this was decided.
    pub at: Timestamp,
    /// The place that it has to take.
    pub place: Option<Place>,
}

/// A launcher to look up.
#[derive(Debug, Clone, PartialEq)]
pub struct NameLauncher {
    /// The instance.
    pub instance: String,
    /// Its group, whose last change tells who is behind the launch.
    pub group: Option<Group>,
    /// When this was decided.
    pub at: Timestamp,
}

/// A release to carry out: what is put back is read from the table then.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// The instance as it was looked at.
    pub instance: Instance,
    /// Other instances of its group that are in quarantine still: while there are any, the group's
    /// processes stay suspended.
    pub others: Vec<String>,
    /// Whom the isolation groups let in.
    pub admission: Admission,
    /// When this was decided.
    pub at: Timestamp,
    /// Whether sweeps do what this run leaves undone: in mode `enforce` only.
    pub swept: bool,
}

/// A release without a record.
#[derive(Debug, Clone, PartialEq)]
pub struct ReleaseByLabels {
    /// The instance as it was looked at.
    pub instance: Instance,
    /// What its labels say.
    pub labels: Labels,
    /// The isolation groups that exist, by VPC.
    pub isolation: BTreeMap<String, Isolation>,
    /// When this was decided.
    pub at: Timestamp,
}

/// What an action brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// What a quarantine did, also where it failed half-way.
    Quarantined(Box<Quarantined>),
    /// Nothing, because the brake holds.
    Braked,
    /// Who launched an instance in quarantine.
    Named(Who),
    /// How far a release came.
    Released {
        /// Whether nothing is left to be done.
        finished: bool,
    },
}

/// What a quarantine did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quarantined {
    /// What was done, in order.
    pub done: Vec<String>,
    /// What couldn't be done, and why.
    pub not_done: Vec<String>,
    /// Interfaces that AWS refused to change.
    pub refused: Vec<String>,
    /// Who launched it.
    pub launcher: Option<Who>,
}

/// What is to be done.
pub(crate) fn decide(evaluation: &Evaluation<'_>) -> Vec<Decision<Action>> {
    let judged = |id: &str| evaluation.judged.get(id);
    let mut decisions = match &evaluation.facts.ask {
        Ask::Reconcile | Ask::Launched(_) => reconcile(evaluation),
        Ask::List | Ask::CheckImage(_) | Ask::Launches => Vec::new(),
        // Whatever a sweep would do: the answer of `check`.
        Ask::CheckInstance(id) => match judged(id) {
            Some(_) => reconcile(evaluation),
            None => vec![absent(id)],
        },
        Ask::Quarantine { instance, reason } => vec![match judged(instance) {
            Some(judged) => by_hand(judged, reason, evaluation),
            None => absent(instance),
        }],
        Ask::Release {
            instance,
            from_labels,
        } => vec![match judged(instance) {
            Some(judged) => release_ordered(judged, *from_labels, evaluation),
            None if evaluation.facts.records.contains_key(instance) => forget(instance, evaluation),
            None => absent(instance),
        }],
        Ask::ReleaseGroup(name) => vec![restore(name, evaluation)],
        Ask::Confirm(confirmed) => confirm(*confirmed, evaluation),
    };
    decisions.extend(unread(evaluation.facts));
    decisions
}

fn leave(instance: &Instance, reason: impl Into<String>) -> Decision<Action> {
    Decision::leave(instance.resource(), "leave-alone", reason.into())
}

fn report(instance: &Instance, reason: String) -> Decision<Action> {
    Decision::leave(instance.resource(), "report", reason)
}

fn managed(operator: &str) -> String {
    format!("{operator} manages it, and only {operator} may change it")
}

fn not_there(resource: Resource, operation: &'static str, what: &str) -> Decision<Action> {
    let message = format!("there is no such {what} in this account and Region (any more)");
    let error = ApiError::new(operation, "NotFound", &message, ErrorKind::Refused);
    Decision::cannot_judge(resource, message, error)
}

fn absent(id: &str) -> Decision<Action> {
    not_there(Resource::instance(id), "ec2:DescribeInstances", "instance")
}

fn reconcile(evaluation: &Evaluation<'_>) -> Vec<Decision<Action>> {
    // Loops first: they are the fire, the instances the smoke. Both start at once.
    let loops = evaluation.loops.iter();
    let mut decisions: Vec<_> = loops.map(|one| break_loop(one, evaluation)).collect();
    let facts = evaluation.facts;
    if evaluation.policy.approve.is_empty() && facts.complete {
        let reason = Verdict::NothingApproved.reason();
        decisions.push(Decision::leave(facts.policy(), "leave-alone", reason));
    }
    decisions.extend(evaluation.opened.iter().map(|one| mend(one, evaluation)));
    decisions.extend(unseen(evaluation));
    let mut lookups = 0;
    for judged in evaluation.judged.values() {
        decisions.extend(
            judged
                .unrecorded
                .as_deref()
                .map(|said| unrecorded(judged, said)),
        );
        if let Stance::Held(held) = &judged.stance
            && held.wants_launcher
        {
            lookups += 1;
        }
        let look_up = lookups <= LAUNCHERS_PER_SWEEP;
        decisions.extend(decide_one(judged, look_up, evaluation));
    }
    let forgotten = evaluation.forgotten.iter();
    decisions.extend(forgotten.map(|id| forget(id, evaluation)));
    decisions
}

/// What couldn't be read kept nothing from being done, and isn't known all the same.
fn unread(facts: &Facts) -> impl Iterator<Item = Decision<Action>> {
    facts.unread.iter().map(|(what, error)| {
        let why = format!("{what} couldn't be read");
        Decision::cannot_judge(Resource::Account, why, error.clone())
    })
}

fn mend(opened: &Opened<'_>, evaluation: &Evaluation<'_>) -> Decision<Action> {
    let ids: Vec<&str> = opened.instances.iter().map(|one| one.id.as_str()).collect();
    let group = &opened.group.id;
    let why = match opened.change {
        Change::Opened => format!("somebody added rules to {group}"),
        Change::Narrowed => format!("the policy names fewer responders than {group} lets in"),
        Change::Widened => format!("the policy names responders that {group} doesn't let in"),
    };
    let behind = if ids.len() == 1 { "is" } else { "are" };
    let reason = format!(
        "{why}, behind which {} {behind} in quarantine",
        ids.join(", ")
    );
    // IAM lets nobody in there; what keeps strangers out is tried, and told when it fails.
    if opened.change == Change::Widened && !opened.group.ours {
        let why = format!(
            "{reason}; it isn't this guardrail's, so it stays as it is; delete it once nothing has it"
        );
        return Decision::leave(Resource::Account, "report", why);
    }
    let action = Action::MendIsolation {
        vpc: opened.vpc.to_owned(),
        group: opened.group.clone(),
        admission: evaluation.admission.clone(),
        at: evaluation.now,
    };
    Decision::act(Resource::Account, "mend-isolation", reason, action)
}

/// Responders that don't exist: nobody is let in from there.
fn unseen(evaluation: &Evaluation<'_>) -> Option<Decision<Action>> {
    let unseen: Vec<&str> = evaluation.admission.unseen().into_iter().collect();
    (!unseen.is_empty()).then(|| {
        let why = format!(
            "responders: {} isn't a security group of this Region that EC2 shows (or is one that isolates), so nobody is let in from there; correct the policy",
            unseen.join(", ")
        );
        Decision::leave(evaluation.facts.policy(), "report", why)
    })
}

/// What its labels say counts for nothing: anybody who may tag can write them.
fn unrecorded(judged: &Judged<'_>, said: &str) -> Decision<Action> {
    report(
        judged.instance,
        format!(
            "its labels say that it is in quarantine ({said}), but nothing was recorded (they were copied or planted, or the table was lost): nothing is done because of them"
        ),
    )
}

fn decide_one(
    judged: &Judged<'_>,
    look_up: bool,
    evaluation: &Evaluation<'_>,
) -> Option<Decision<Action>> {
    let Judged {
        instance, verdict, ..
    } = judged;
    // Of thousands of instances nothing is to be said, of the one asked for it is.
    let one = !evaluation.facts.complete;
    let reason = verdict.reason();
    match &judged.stance {
        Stance::Terminal => one.then(|| leave(instance, "it is being terminated")),
        Stance::Held(held) => self::held(instance, held, look_up, evaluation),
        Stance::Fine => one.then(|| leave(instance, reason)),
        Stance::Undecided => Some(cannot_tell(instance, verdict)),
        Stance::Managed(operator) => {
            Some(report(instance, format!("{reason}; {}", managed(operator))))
        }
        // Counted in a sweep, told only of the one that is asked about.
        Stance::Old => one.then(|| {
            report(
                instance,
                format!(
                    "{reason}; it was launched {:.0}, longer ago than launched-within ({}), so it stays; the command quarantine isolates it all the same",
                    instance.launched, evaluation.policy.launched_within
                ),
            )
        }),
        Stance::Braked => Some(report(
            instance,
            format!("{reason}; it isn't isolated, because the brake holds: {}", evaluation.why_braked()),
        )),
        Stance::ToIsolate => {
            let label = evaluation.image_label(instance);
            let why = format!("{label}: {reason}");
            let action = quarantine(instance, None, Occasion::Launch, reason, evaluation);
            Some(Decision::act(instance.resource(), "quarantine", why, action))
        }
    }
}

fn cannot_tell(instance: &Instance, verdict: &Verdict<'_>) -> Decision<Action> {
    let reason = verdict.reason();
    let error = match verdict {
        Verdict::Undecided(unclear) => unclear.error.clone(),
        _ => None,
    };
    match error {
        Some(error) => Decision::cannot_judge(instance.resource(), reason, error),
        None => Decision::leave(instance.resource(), "cannot-tell", reason),
    }
}

fn forget(id: &str, evaluation: &Evaluation<'_>) -> Decision<Action> {
    let resource = Resource::instance(id);
    let Some(record) = evaluation.facts.records.get(id) else {
        return absent(id);
    };
    let action = Action::Forget {
        instance: id.to_owned(),
        record: Box::new(record.clone()),
        at: evaluation.now,
    };
    let reason = "the instance is gone, and its quarantine with it".to_owned();
    Decision::act(resource, "forget", reason, action)
}

/// An instance that is in quarantine.
fn held(
    instance: &Instance,
    held: &Held<'_>,
    look_up: bool,
    evaluation: &Evaluation<'_>,
) -> Option<Decision<Action>> {
    let record = held.record;
    let again = |name, occasion, why: &str| {
        let reason = record.reason.clone();
        let action = quarantine(instance, Some(record), occasion, reason, evaluation);
        Decision::act(instance.resource(), name, why.to_owned(), action)
    };
    Some(match held.phase {
        Phase::Releasing => leave(instance, "its release is under way"),
        Phase::ReleaseUnfinished => release(
            instance,
            record,
            "its release was begun and isn't finished",
            evaluation,
        ),
        Phase::UnderWay => leave(instance, "another run is quarantining it right now"),
        Phase::Unfinished => again(
            "quarantine",
            Occasion::Unfinished,
            "its quarantine was begun and isn't finished",
        ),
        Phase::Drifted => again(
            "isolate-again",
            Occasion::Drift,
            "it is in quarantine, but its security groups were changed",
        ),
        Phase::Grown => again(
            "isolate-again",
            Occasion::Attached,
            "it is in quarantine, and a network interface came to it",
        ),
        Phase::InService => again(
            "quarantine",
            Occasion::InService,
            "it is in quarantine, and has come out of its group's warm pool into service",
        ),
        Phase::DriftedAgain => {
            let at = record.drift.unwrap_or(record.since);
            report(
                instance,
                format!(
                    "it is in quarantine, but its security groups were changed again after it was isolated again {at:.0}; they stay as they are"
                ),
            )
        }
        Phase::Stands | Phase::Unread if held.wants_launcher && look_up => Decision::act(
            instance.resource(),
            "name-launcher",
            "who launched it isn't known yet".to_owned(),
            Action::NameLauncher(Box::new(NameLauncher {
                instance: instance.id.clone(),
                group: group_of(instance, evaluation).cloned(),
                at: evaluation.now,
            })),
        ),
        Phase::Stands | Phase::Unread if evaluation.facts.complete => return None,
        Phase::Stands | Phase::Unread => leave(
            instance,
            format!("it is in quarantine since {:.0}", record.since),
        ),
    })
}

fn group_of<'a>(instance: &Instance, evaluation: &Evaluation<'a>) -> Option<&'a Group> {
    evaluation.facts.groups.get(instance.group()?)
}

fn quarantine(
    instance: &Instance,
    record: Option<&Record>,
    occasion: Occasion,
    reason: String,
    evaluation: &Evaluation<'_>,
) -> Action {
    let facts = evaluation.facts;
    Action::Quarantine(Box::new(Quarantine {
        instance: instance.clone(),
        record: record.cloned(),
        occasion,
        reason,
        image: evaluation.image_label(instance),
        at: evaluation.now,
        steps: evaluation.policy.steps.clone(),
        isolation: facts.isolation.clone().unwrap_or_default(),
        admission: evaluation.admission.clone(),
        group: group_of(instance, evaluation).cloned(),
        launcher: facts.ask.launcher().cloned(),
        place: place(evaluation).filter(|_| occasion == Occasion::Launch),
        piles_up: occasion == Occasion::Launch && piles_up(instance, evaluation),
        swept: evaluation.policy.mode == Mode::Enforce,
    }))
}

/// Of a loop that goes on the first launches are kept as evidence, as many as make a loop.
fn piles_up(instance: &Instance, evaluation: &Evaluation<'_>) -> bool {
    let kept = evaluation.policy.relaunch.launches as usize;
    let mut going_on = evaluation.loops.iter().filter(|one| {
        // A person's launches come to an end, and each is evidence against them.
        !matches!(one.looping.source, Source::Principal(_))
            && matches!(
                one.standing,
                Standing::NoGroup | Standing::Managed(_) | Standing::StepOff | Standing::Braked
            )
    });
    going_on.any(|one| {
        let further = one.looping.launches.iter().skip(kept);
        further.map(|(_, id)| id).any(|id| *id == instance.id)
    })
}

fn place(evaluation: &Evaluation<'_>) -> Option<Place> {
    if matches!(evaluation.facts.ask, Ask::Confirm(_)) {
        return None;
    }
    Some(Place {
        limit: evaluation.brake.limit,
        from: evaluation.policy.brake.within.before(evaluation.now),
        taken: evaluation.facts.brake.clone(),
    })
}

/// What the brake held back, and no more than the person knows of.
fn confirm(confirmed: usize, evaluation: &Evaluation<'_>) -> Vec<Decision<Action>> {
    let (brake, policy) = (evaluation.brake, evaluation.facts.policy());
    if brake.holds {
        let why = format!(
            "{} launches would be isolated now, more than the {confirmed} that were confirmed, so none is; look at them (check, with image-id or instance-id) and confirm with that number",
            brake.wanted
        );
        return vec![Decision::leave(policy, "report", why)];
    }
    let why = format!(
        "a person has confirmed that {} launches are isolated",
        brake.wanted
    );
    let release = Action::ReleaseBrake { at: evaluation.now };
    let mut decisions = vec![Decision::act(policy, "release-brake", why, release)];
    let loops = evaluation.loops.iter();
    decisions.extend(loops.map(|one| break_loop(one, evaluation)));
    let wanted = evaluation.judged.values();
    let wanted = wanted.filter(|one| matches!(one.stance, Stance::ToIsolate));
    decisions.extend(wanted.filter_map(|one| decide_one(one, false, evaluation)));
    decisions
}

fn by_hand(judged: &Judged<'_>, reason: &str, evaluation: &Evaluation<'_>) -> Decision<Action> {
    let instance = judged.instance;
    let record = evaluation.facts.records.get(&instance.id);
    if instance.state == State::Terminal {
        return leave(instance, "it is being terminated");
    }
    if let Some(operator) = &instance.operator {
        return leave(instance, managed(operator));
    }
    if record.is_some_and(|record| record.stage == Stage::Releasing) {
        return leave(
            instance,
            "its release is under way; run release again to finish it first",
        );
    }
    let why = format!("by hand: {reason}");
    let action = quarantine(instance, record, Occasion::ByHand, why, evaluation);
    Decision::act(instance.resource(), "quarantine", reason.to_owned(), action)
}

fn release_ordered(
    judged: &Judged<'_>,
    from_labels: bool,
    evaluation: &Evaluation<'_>,
) -> Decision<Action> {
    let instance = judged.instance;
    let terminal = instance.state == State::Terminal;
    match evaluation.facts.records.get(&instance.id) {
        Some(_) if terminal => forget(&instance.id, evaluation),
        Some(record) => release(instance, record, "a person releases it", evaluation),
        None if terminal => leave(
            instance,
            "it is being terminated; where its group's loop was broken, release the group",
        ),
        None => by_labels(instance, from_labels, evaluation),
    }
}

/// Where nothing was recorded the labels tell what to put back, if a person says so.
fn by_labels(
    instance: &Instance,
    from_labels: bool,
    evaluation: &Evaluation<'_>,
) -> Decision<Action> {
    let Some(said) = labels::said(&instance.tags) else {
        return leave(instance, "it isn't in quarantine");
    };
    let labels = labels::read(&instance.tags);
    let would = labels.would_restore();
    if !from_labels {
        return report(
            instance,
            format!(
                "nothing was recorded of it, so it isn't in quarantine, but its labels say so ({said}). Whoever may tag it may have written them. If the table was lost: with \"from-labels\": true this command {would}; it gives back no profile and no place in a group, and starts nothing"
            ),
        );
    }
    let action = Action::ReleaseByLabels(Box::new(ReleaseByLabels {
        instance: instance.clone(),
        labels,
        isolation: evaluation.facts.isolation.clone().unwrap_or_default(),
        at: evaluation.now,
    }));
    let reason = "a person releases it by its labels".to_owned();
    Decision::act(instance.resource(), "release", reason, action)
}

fn release(
    instance: &Instance,
    record: &Record,
    why: &str,
    evaluation: &Evaluation<'_>,
) -> Decision<Action> {
    let facts = evaluation.facts;
    let own = record.group();
    let lives = |id: &String| {
        let there = facts.instances.get(id).or_else(|| facts.siblings.get(id));
        there.is_some_and(|one| one.state != State::Terminal)
    };
    let others = facts.records.iter().filter(|(id, other)| {
        **id != instance.id && own.is_some() && other.group() == own && lives(id)
    });
    let action = Action::Release(Box::new(Release {
        instance: instance.clone(),
        others: others.map(|(id, _)| id.clone()).collect(),
        admission: evaluation.admission.clone(),
        at: evaluation.now,
        swept: evaluation.policy.mode == Mode::Enforce,
    }));
    Decision::act(instance.resource(), "release", why.to_owned(), action)
}

fn restore(name: &str, evaluation: &Evaluation<'_>) -> Decision<Action> {
    let (facts, resource) = (evaluation.facts, Resource::group(name));
    if !facts.loops.get(name).is_some_and(Loop::is_held) {
        if !facts.groups.contains_key(name) {
            let operation = "autoscaling:DescribeAutoScalingGroups";
            return not_there(resource, operation, "Auto Scaling group");
        }
        let reason = "this guardrail has suspended nothing of it".to_owned();
        return Decision::leave(resource, "leave-alone", reason);
    }
    let action = Action::RestoreGroup {
        group: name.to_owned(),
        at: evaluation.now,
    };
    let reason = "a person releases it".to_owned();
    Decision::act(resource, "restore-group", reason, action)
}

fn break_loop(judgement: &Judgement<'_>, evaluation: &Evaluation<'_>) -> Decision<Action> {
    let looping = &judgement.looping;
    let count = looping.launches.len();
    let what = format!(
        "{} launched {count} unapproved {} within {}",
        looping.source,
        if count == 1 { "instance" } else { "instances" },
        evaluation.policy.relaunch.within
    );
    let resource = match (&looping.source, &looping.newest) {
        (Source::Group(name), _) => Resource::group(name),
        (_, Some(newest)) => Resource::instance(newest),
        (_, None) => Resource::Account,
    };
    let tell = |why: &str| Decision::leave(resource.clone(), "report", format!("{what}; {why}"));
    match &judgement.standing {
        Standing::NoGroup => tell("each further one is isolated, but only a person can stop it"),
        Standing::Unread(error) => Decision::cannot_judge(
            resource.clone(),
            format!("{what}; the group couldn't be read"),
            (*error).clone(),
        ),
        Standing::Gone => tell("the group is gone"),
        Standing::Suspended => tell("its processes Launch and ReplaceUnhealthy are suspended"),
        Standing::Managed(operator) => tell(&managed(operator)),
        Standing::Braked => tell("its processes aren't suspended, because the brake holds"),
        Standing::StepOff => tell("steps.break-loop is off, so it goes on"),
        Standing::ToBreak(group) => {
            let action = Action::BreakLoop(Box::new(BreakLoop {
                group: (*group).clone(),
                at: evaluation.now,
                place: place(evaluation),
            }));
            Decision::act(resource.clone(), "break-loop", what, action)
        }
    }
}

#[cfg(test)]
mod tests;
