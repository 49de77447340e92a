//! A quarantine, step by step (AMI-9): write down what is, isolate every interface, then protect,
//! take evidence, take it out of service, take its role, stop it; and say who launched it.
//!
//! From the event to the last interface isolated, what follows one another is: reading the policy
//! (once a minute at most), the instance, everything that its verdict needs, a place under the
//! brake, writing down, isolating.
//! Six rounds, five with the policy at hand; a new process first remembers that there is a policy.
//! What a new VPC's first quarantine adds is creating
//! the isolation group, and three rounds to make sure that it lets in no stranger.
//!
//! Each step may be repeated: it looks at what there is, or sets what may be set twice.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{join, try_join};
use guardrails::aws::{ApiError, ErrorKind};
use guardrails::ec2::{self, State};
use guardrails::guardrail::Acted;
use guardrails::policy::Age;
use lambda_runtime::tracing;
use tokio::time::sleep;

use super::claim::{Claim, Stop};
use super::groups::Left;
use super::refusals::{is_denied, is_protected_from_stopping, is_refused, is_wrong_state};
use super::{brake, evidence, groups, isolate, launcher, loops, protect};
use crate::clients::Clients;
use crate::decide::{Effect, Occasion, Quarantine, Quarantined};
use crate::facts::{Instance, Isolation};
use crate::labels;
use crate::launcher::Who;
use crate::read;
use crate::record::{RELEASED, Record, Stage};

/// How often, and how far apart, it is looked whether every interface is isolated.
const LOOKS: usize = 3;
const PAUSE: Duration = Duration::from_secs(2);
/// How long after the beginning IAM may not see the label yet (AMI-12). What it refuses until then
/// comes with a later sweep; what it refuses after that isn't allowed.
const LABEL_SEEN_AFTER: Age = Age::from_mins(10);

/// Why nothing is kept of a launch.
const PILES_UP: &str = "it isn't kept as evidence, because its source goes on launching and each further one would be kept for ever; the first ones are kept";

/// How a step went.
enum Step {
    /// Done; what.
    Done(String),
    /// Nothing to do.
    Nothing,
    /// Not to be done, and that stays so; why.
    Not(String),
    /// Not now; the next run does it.
    Later(String),
    /// Went wrong.
    Failed(ApiError),
}

/// Isolates the instance and does what the policy asks for besides.
pub(super) async fn quarantine(clients: &Clients, order: &Quarantine, run: &str) -> Acted<Effect> {
    match carry_out(clients, order, run).await {
        Ok(acted) => acted,
        Err(Stop::Overtaken) => Acted::skipped("another run carries the quarantine on"),
        Err(Stop::Released) => Acted::skipped("a person released it meanwhile"),
        Err(Stop::Gone(why)) => Acted::skipped(why),
        Err(Stop::Failed(error)) => Acted::failed(error),
    }
}

async fn carry_out(
    clients: &Clients,
    order: &Quarantine,
    run: &str,
) -> Result<Acted<Effect>, Stop> {
    let ec2 = &clients.ec2;
    let place = order.place.as_ref();
    if !brake::take(&clients.state, place, &order.instance.id, order.at).await? {
        let why = "the brake holds: too many were isolated of late";
        return Ok(Acted::skipped(why).with(Effect::Braked));
    }
    let (known, admission) = (&order.isolation, &order.admission);
    let (isolation, unusable) =
        isolate::groups(clients, &order.instance, known, admission, order.at).await;
    let claim = take(clients, order, &isolation, run).await?;
    let record = claim.record().await;
    let (isolated, labelled) = join!(
        isolate::interfaces(ec2, &order.instance, &isolation),
        label(ec2, &order.instance.id, &record),
    );
    let throttled = |error: &&ApiError| error.kind == ErrorKind::Throttled;
    if let Some(throttled) = isolated.errors.iter().find(throttled) {
        return Err(Stop::Failed(throttled.clone()));
    }
    // From here on nothing is urgent.
    let now = still_there(ec2, order).await?;
    let mut held = Held {
        effect: Quarantined::default(),
        errors: Vec::new(),
        later: false,
        next: if order.swept {
            "the next sweep does it"
        } else {
            "order it again to have it done"
        },
    };
    if !isolated.done.is_empty() {
        let what = format!("isolated {}", isolated.done.join(", "));
        held.add(Step::Done(what));
    }
    held.refused(isolated.refused);
    for error in unusable.into_iter().chain(isolated.errors) {
        held.add(Step::Failed(error));
    }
    if let Err(error) = &labelled {
        held.effect.not_done.push(format!("its labels: {error}"));
    }
    let steps = Steps {
        clients,
        order,
        claim: &claim,
        now: &now,
        isolation: &isolation,
        label: match labelled {
            Err(_) => Label::Refused,
            Ok(()) if LABEL_SEEN_AFTER.after(record.since) <= order.at => Label::Seen,
            Ok(()) => Label::Fresh,
        },
    };
    // Boxed: its many steps would make every run's future large.
    Box::pin(steps.all(&mut held)).await?;
    if held.errors.is_empty() {
        Box::pin(last_look(clients, &claim, order, &isolation, &mut held)).await?;
    }
    finish(clients, order, &claim, held).await
}

/// The instance as it is now.
async fn still_there(ec2: &aws_sdk_ec2::Client, order: &Quarantine) -> Result<Instance, Stop> {
    let now = read::instance_now(ec2, &order.instance.id).await?;
    match now.ok_or(Stop::Gone("gone meanwhile"))? {
        now if now.state == State::Terminal => Err(Stop::Gone("it is being terminated")),
        now => Ok(now),
    }
}

/// Nothing is complete before a look shows every interface isolated. One that was attached meanwhile
/// is isolated too.
async fn last_look(
    clients: &Clients,
    claim: &Claim<'_>,
    order: &Quarantine,
    isolation: &BTreeMap<String, Isolation>,
    held: &mut Held,
) -> Result<(), Stop> {
    let ec2 = &clients.ec2;
    let mut open = String::new();
    for look in 0..LOOKS {
        if look > 0 {
            sleep(PAUSE).await;
        }
        let now = still_there(ec2, order).await?;
        held.refused(now.beyond.clone().into_iter().collect());
        match open_interfaces(&now, isolation, &held.effect.refused) {
            None => return Ok(()),
            Some(what) => open = what,
        }
        claim.write_down(&now, isolation).await?;
        let isolated = isolate::interfaces(ec2, &now, isolation).await;
        held.refused(isolated.refused);
        for error in isolated.errors {
            held.add(Step::Failed(error));
        }
        if !held.errors.is_empty() {
            return Ok(());
        }
    }
    held.add(Step::Later(open));
    Ok(())
}

/// What isn't shown as isolated, for people; none where all is.
fn open_interfaces(
    now: &Instance,
    isolation: &BTreeMap<String, Isolation>,
    refused: &[String],
) -> Option<String> {
    if now.interfaces.is_empty() {
        return Some("it shows no network interface yet".to_owned());
    }
    let open = now
        .interfaces
        .iter()
        .filter(|interface| !refused.contains(&interface.id) && !interface.is_isolated(isolation));
    let open: Vec<&str> = open.map(|interface| interface.id.as_str()).collect();
    (!open.is_empty()).then(|| format!("not shown as isolated yet: {}", open.join(", ")))
}

/// Takes the instance up, unless a person has released it since it was looked at.
async fn take<'a>(
    clients: &'a Clients,
    order: &'a Quarantine,
    isolation: &BTreeMap<String, Isolation>,
    run: &str,
) -> Result<Claim<'a>, Stop> {
    let id = &order.instance.id;
    let (claim, released) = join!(
        Claim::take(&clients.state, order, isolation, run),
        clients.state.get(&RELEASED, id, order.at),
    );
    let claim = claim?;
    let released = released?.is_some_and(|one| one.value.image == order.instance.image);
    if released && order.occasion == Occasion::Launch {
        claim.forget().await?;
        return Err(Stop::Released);
    }
    Ok(claim)
}

/// Writes the labels for people. Of an instance whose tags are used up the one that IAM asks for.
pub(super) async fn label(
    ec2: &aws_sdk_ec2::Client,
    id: &str,
    record: &Record,
) -> Result<(), ApiError> {
    let all = labels::of(record);
    let first = all.first().cloned();
    let written = ec2::write_tags(ec2, &[id], all).await;
    match written {
        Err(error) if error.code == "TagLimitExceeded" => {
            tracing::warn!(instance = id, "not all labels were written: {error}");
            ec2::write_tags(ec2, &[id], first).await
        }
        other => other,
    }
}

/// What came of the steps so far.
struct Held {
    effect: Quarantined,
    errors: Vec<ApiError>,
    /// Whether a step is left for later, and who does it then.
    later: bool,
    next: &'static str,
}

/// The steps after the isolation.
struct Steps<'a> {
    clients: &'a Clients,
    order: &'a Quarantine,
    claim: &'a Claim<'a>,
    /// The instance as it is now.
    now: &'a Instance,
    /// The isolation groups of its VPCs.
    isolation: &'a BTreeMap<String, Isolation>,
    label: Label,
}

/// The label that IAM asks for.
#[derive(Clone, Copy)]
enum Label {
    /// Written by an earlier run, so that IAM sees it.
    Seen,
    /// Written just now.
    Fresh,
    /// It couldn't be written.
    Refused,
}

impl Steps<'_> {
    async fn all(&self, held: &mut Held) -> Result<(), Stop> {
        self.claim.check().await?;
        let (responders, kept, deletion, evidence, left, (), launcher) = try_join!(
            self.step(self.responders()),
            self.step(self.protection()),
            self.step(self.deletion()),
            self.step(self.snapshots()),
            self.leave(),
            self.remember_launch(),
            self.launcher(),
        )?;
        held.effect.launcher = launcher;
        let out = matches!(left, Left::NoMember | Left::Out(_));
        let service = match left {
            Left::NoMember => Step::Nothing,
            Left::Out(what) => Step::Done(what),
            Left::Stays(why) => Step::Not(why),
            Left::NotYet(why) => Step::Later(why),
            Left::Failed(error) => Step::Failed(error),
        };
        // The role goes after the evidence is safe, and stopping comes last.
        let role = self.role().await.or_else(|stop| self.wrong(stop))?;
        let stopped = self.stop(out).await?;
        for step in [responders, kept, deletion, evidence, service, role, stopped] {
            held.add(step);
        }
        Ok(())
    }

    async fn step(&self, step: impl Future<Output = Result<Step, Stop>>) -> Result<Step, Stop> {
        step.await.or_else(|stop| self.wrong(stop))
    }

    /// What an error makes of a step. What IAM refuses because it doesn't see the label yet comes
    /// later; without the label it can't be done.
    fn wrong(&self, stop: Stop) -> Result<Step, Stop> {
        let error = match stop {
            Stop::Failed(error) => error,
            other => return Err(other),
        };
        Ok(match self.label {
            _ if is_wrong_state(&error) => Step::Later(error.to_string()),
            Label::Refused if is_denied(&error) => Step::Not(error.to_string()),
            Label::Fresh if is_denied(&error) => Step::Later(error.to_string()),
            _ => Step::Failed(error),
        })
    }

    /// Whether only the isolation is repeated.
    fn is_repeated(&self) -> bool {
        matches!(self.order.occasion, Occasion::Drift | Occasion::Attached)
    }

    /// Nobody who isn't to come in has to wait for this, so it follows the isolation.
    async fn responders(&self) -> Result<Step, Stop> {
        let admission = &self.order.admission;
        let mut let_in = Vec::new();
        for (vpc, group) in self.isolation {
            if admission.missing(vpc, group).is_empty() {
                continue;
            }
            if !group.ours {
                return Ok(Step::Not(format!(
                    "no responder is let in, because {} isn't this guardrail's",
                    group.id
                )));
            }
            let at = self.order.at;
            let_in.extend(isolate::admit(self.clients, vpc, group, admission, at).await?);
        }
        Ok(if let_in.is_empty() {
            Step::Nothing
        } else {
            Step::Done(format!("responders may come in from {}", let_in.join(", ")))
        })
    }

    async fn protection(&self) -> Result<Step, Stop> {
        if !self.order.steps.protect {
            return Ok(Step::Nothing);
        }
        if self.order.piles_up {
            return Ok(Step::Not(PILES_UP.to_owned()));
        }
        if self.now.spot {
            let why = "a Spot instance can't be protected from termination";
            return Ok(Step::Not(why.to_owned()));
        }
        protect::protect(&self.clients.ec2, self.now, self.claim).await?;
        protect::stop_on_shutdown(&self.clients.ec2, self.now, self.claim).await?;
        Ok(Step::Done("termination protection on".to_owned()))
    }

    async fn deletion(&self) -> Result<Step, Stop> {
        // Only what was written down may be changed.
        let recorded = self.claim.record().await.disks;
        let disks = self.now.disks.iter();
        let going: Vec<&str> = disks
            .filter(|disk| disk.delete_on_termination && recorded.contains_key(&disk.device))
            .map(|disk| disk.device.as_str())
            .collect();
        if !self.order.steps.protect || self.order.piles_up || going.is_empty() {
            return Ok(Step::Nothing);
        }
        protect::set_deletion(&self.clients.ec2, &self.now.id, &going, false).await?;
        Ok(Step::Done(format!("{} outlive it", going.join(", "))))
    }

    async fn snapshots(&self) -> Result<Step, Stop> {
        if !self.order.steps.snapshot || self.order.piles_up || self.is_repeated() {
            return Ok(Step::Nothing);
        }
        if self.now.disks.is_empty() {
            // EBS volumes are attached some seconds after the start.
            return Ok(if self.now.state == State::Pending {
                Step::Later("its volumes aren't attached yet".to_owned())
            } else {
                Step::Not("it has no EBS volume to take a snapshot of".to_owned())
            });
        }
        let since = self.claim.record().await.since;
        let made = evidence::snapshots(&self.clients.ec2, self.now, since).await?;
        Ok(Step::Done(format!("evidence {}", made.join(", "))))
    }

    async fn leave(&self) -> Result<Left, Stop> {
        if self.is_repeated() {
            return Ok(Left::NoMember);
        }
        match groups::leave(self.clients, self.order, self.claim).await {
            Err(Stop::Failed(error)) => Ok(Left::Failed(error)),
            other => other,
        }
    }

    /// Nothing of the quarantine hangs on it.
    async fn remember_launch(&self) -> Result<(), Stop> {
        if let Err(error) = loops::remember_launch(self.clients, self.order).await {
            tracing::warn!("a launch wasn't counted: {error}");
        }
        Ok(())
    }

    async fn launcher(&self) -> Result<Option<Who>, Stop> {
        let record = self.claim.record().await;
        if record.launcher.is_some() && self.order.launcher.is_none() || record.by_hand {
            return Ok(record.launcher);
        }
        let found = launcher::launched(
            &self.clients.cloudtrail,
            &self.now.id,
            self.order.group.as_ref(),
            self.order.launcher.as_ref(),
        );
        // Nobody's fault: it is looked up again.
        Ok(found.await.ok().flatten().or(record.launcher))
    }

    async fn role(&self) -> Result<Step, Stop> {
        if !self.order.steps.dissociate_profile || self.is_repeated() {
            return Ok(Step::Nothing);
        }
        let taken = protect::dissociate(&self.clients.ec2, &self.now.id, self.claim).await?;
        Ok(taken.map_or(Step::Nothing, |arn| {
            Step::Done(format!(
                "took its profile {arn} away (credentials that it has stay valid until they expire)"
            ))
        }))
    }

    async fn stop(&self, out: bool) -> Result<Step, Stop> {
        if !self.order.steps.stop || self.is_repeated() {
            return Ok(Step::Nothing);
        }
        let not = |why: &str| Ok(Step::Not(format!("it isn't stopped, because {why}")));
        match self.now.state {
            State::Pending => {
                let why = "it is still starting, so it can't be stopped";
                return Ok(Step::Later(why.to_owned()));
            }
            State::Running if !out => return not("its group would replace it"),
            State::Running if self.now.spot => return not("it is a Spot instance"),
            State::Running => {}
            _ => return Ok(Step::Nothing),
        }
        let at = self.order.at;
        self.claim.write(|record| record.stopped = Some(at)).await?;
        match protect::stop(&self.clients.ec2, &self.now.id).await {
            Ok(()) => Ok(Step::Done("stopped it".to_owned())),
            Err(error) => {
                // Written down, but not so: a release mustn't start what it didn't stop.
                if is_refused(&error) {
                    self.claim.write(|record| record.stopped = None).await?;
                }
                // Instance-store root volumes and the like.
                if error.code == "UnsupportedOperation" {
                    let why = format!("it can't be stopped: {}", error.message);
                    return Ok(Step::Not(why));
                }
                if is_protected_from_stopping(&error) {
                    return not("its stop protection is on; turn it off, if it is to be stopped");
                }
                self.wrong(error.into())
            }
        }
    }
}

impl Held {
    fn refused(&mut self, refused: Vec<(String, String)>) {
        for (interface, why) in refused {
            if !self.effect.refused.contains(&interface) {
                let what = format!("{interface} is not isolated: {why}");
                self.effect.not_done.push(what);
                self.effect.refused.push(interface);
            }
        }
    }

    fn add(&mut self, step: Step) {
        match step {
            Step::Nothing => {}
            Step::Done(what) => self.effect.done.push(what),
            Step::Not(why) => self.effect.not_done.push(why),
            Step::Later(why) => {
                self.later = true;
                let why = format!("{why} ({})", self.next);
                self.effect.not_done.push(why);
            }
            Step::Failed(error) => {
                self.effect.not_done.push(error.to_string());
                self.errors.push(error);
            }
        }
    }

    /// For the report.
    fn note(&self) -> String {
        let mut note = self.effect.done.join("; ");
        if !self.effect.not_done.is_empty() {
            note.push_str("; not done: ");
            note.push_str(&self.effect.not_done.join("; "));
        }
        if let Some(who) = &self.effect.launcher {
            note.push_str("; launched by ");
            note.push_str(&who.text);
        }
        note
    }
}

/// The stage that was reached, and what came of it.
async fn finish(
    clients: &Clients,
    order: &Quarantine,
    claim: &Claim<'_>,
    held: Held,
) -> Result<Acted<Effect>, Stop> {
    let stage = match (
        held.errors.is_empty() && !held.later,
        held.effect.refused.is_empty(),
    ) {
        (false, _) => Stage::Started,
        (true, false) => Stage::Partial,
        (true, true) => Stage::Complete,
    };
    let note = held.note();
    let mut errors = held.errors.iter();
    let unanswered = errors.any(|error| error.kind == ErrorKind::Unknown);
    let written = claim.write(|record| {
        record.stage = stage;
        record.ended = !unanswered;
        record.refused = held.effect.refused.iter().cloned().collect();
        record.launcher.clone_from(&held.effect.launcher);
    });
    written.await?;
    let record = claim.record().await;
    if let Err(error) = label(&clients.ec2, &order.instance.id, &record).await {
        tracing::warn!(instance = order.instance.id, "its labels: {error}");
    }
    let effect = Effect::Quarantined(Box::new(held.effect));
    Ok(match held.errors.into_iter().next() {
        None => Acted::done(Some(note)).with(effect),
        // Tried again as a whole; told when that has come to an end.
        Some(error) if error.kind == ErrorKind::Throttled => Acted::failed(error),
        Some(mut error) => {
            error.message = format!("{} (so far: {note})", error.message);
            Acted::failed(error).with(effect)
        }
    })
}
