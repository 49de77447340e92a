//! Carries out one action.
//!
//! Cancelling and rolling back take only the group's name (ASG-2), so what they hit is whatever
//! refresh is active at that moment. Three things keep them from hitting another, or the same one
//! twice: a claim in the state table before, a look at group, refresh and claim just before each
//! call, and a call that is sent once.

use aws_sdk_autoscaling::Client;
use guardrails::aws::{ApiError, ErrorKind, creation_timeouts, never_again};
use guardrails::guardrail::{ActResult, Acted};
use guardrails::state::{Expect, State, Stored, Written};
use jiff::Timestamp;

use crate::clients::Clients;
use crate::decide::{Action, Effect, First, Remember, Restore, Stop, Stopped, Target};
use crate::facts::{Group, Refresh};
use crate::image::Outcome;
use crate::memory::{Claim, How, KEPT, LastStop, Memory, Mismatch, REFRESHES, Repair, Seen, Step};
use crate::{ecr, read};

/// Carries out `action`; `run` names this run, and no other that may be at it.
pub(crate) async fn act(
    clients: &Clients,
    state: &State,
    action: &Action,
    run: &str,
) -> Acted<Effect> {
    match action {
        Action::Stop(stop) => {
            let mut stopping = Stopping {
                clients,
                stop,
                run,
                entry: Entry::of(state, &stop.target),
                stopped: Stopped::default(),
            };
            let result = stopping.run().await;
            stopping.acted(result)
        }
        Action::Restore(restore) => restore_image(clients, state, restore).await,
        Action::Remember(remember) => remember_first(state, remember).await,
    }
}

/// A group's entry in the state table, as this run is to write it or has written it.
struct Entry<'a> {
    state: &'a State,
    target: &'a Target,
    memory: Memory,
    /// As it stood before this action: what a claim that came to nothing leaves behind.
    stood: Memory,
    expect: Expect,
}

impl<'a> Entry<'a> {
    fn of(state: &'a State, target: &'a Target) -> Self {
        let before = &target.before;
        let memory = Memory::of(&target.refresh, before.memory.as_ref());
        Self {
            state,
            target,
            stood: memory.clone(),
            memory,
            expect: before.expect.clone(),
        }
    }

    async fn read(&self) -> Result<Option<Stored<Memory>>, ApiError> {
        let group = &self.target.group;
        self.state.get(&REFRESHES, group, Timestamp::now()).await
    }

    /// Whether it stands; if not, another run has written meanwhile.
    async fn write(&mut self) -> Result<bool, ApiError> {
        let (now, group) = (Timestamp::now(), &self.target.group);
        let until = Some(KEPT.after(now));
        let put = self
            .state
            .put(&REFRESHES, group, &self.memory, until, &self.expect, now);
        match put.await? {
            Written::Done(version) => {
                self.expect = Expect::Version(version);
                Ok(true)
            }
            Written::Conflict => Ok(false),
        }
    }

    /// The same where another entry was written meanwhile that doesn't stand against it: by this
    /// run's own first try at what was throttled then, or about something else.
    async fn write_beside(
        &mut self,
        beside: impl Fn(&Memory) -> Option<Memory>,
    ) -> Result<bool, ApiError> {
        if self.write().await? {
            return Ok(true);
        }
        let Some(stored) = self.read().await? else {
            return Ok(false);
        };
        let of_it = stored.value.refresh == self.target.refresh;
        match beside(&stored.value).filter(|_| of_it) {
            Some(memory) => {
                self.memory = memory;
                // The stop that stands there may be this action's own first try.
                self.stood.image = stored.value.image;
                self.expect = Expect::Version(stored.version);
                self.write().await
            }
            None => Ok(false),
        }
    }
}

/// Stops a refresh: claims, looks, repairs the image tag, looks, and stops (ASG-11).
struct Stopping<'a> {
    clients: &'a Clients,
    stop: &'a Stop,
    run: &'a str,
    entry: Entry<'a>,
    stopped: Stopped,
}

impl Stopping<'_> {
    /// With what it brought about, if anything.
    fn acted(self, result: Result<ActResult, ApiError>) -> Acted<Effect> {
        let something = self.stopped != Stopped::default();
        Acted {
            result: result.unwrap_or_else(ActResult::Failed),
            effect: something.then_some(Effect::Stopped(self.stopped)),
        }
    }

    async fn run(&mut self) -> Result<ActResult, ApiError> {
        if !self.claim().await? {
            return Ok(ActResult::Skipped(OTHER_CLAIM.to_owned()));
        }
        let error = match self.go_on().await {
            Ok(result) => return Ok(result),
            Err(error) => error,
        };
        // What was throttled is tried again.
        if is_refused(&error) || (error.is_read() && error.kind == ErrorKind::Unknown) {
            self.withdraw().await;
        }
        if error.code == NOT_ACTIVE {
            let why = format!("it came to its end by itself meanwhile ({NOT_ACTIVE})");
            return Ok(ActResult::Skipped(why));
        }
        Err(error)
    }

    /// Behind its claim. Where a read fails, nothing was sent but what AWS has refused.
    async fn go_on(&mut self) -> Result<ActResult, ApiError> {
        if let Some(why) = self.look().await? {
            return Ok(ActResult::Skipped(why));
        }
        if self.restore_image().await?
            && let Some(why) = self.look().await?
        {
            let image = self.stopped.image.as_ref();
            let image = image.map_or_else(String::new, |image| format!("; {}", say(image)));
            return Ok(ActResult::Skipped(format!("{why}{image}")));
        }
        self.send().await
    }

    fn claim_at(&self, step: Step) -> Claim {
        Claim {
            step,
            at: Timestamp::now(),
            run: self.run.to_owned(),
            because: self.stop.because.clone(),
        }
    }

    /// Whether the refresh is this run's to stop.
    async fn claim(&mut self) -> Result<bool, ApiError> {
        let claim = self.claim_at(self.stop.how.claim());
        // The refresh may be stopped at its first sight, before anything was written down.
        let image = self.stop.image.as_ref();
        let image = image.map(|plan| restoring(&plan.bad));
        let claimed = |memory: &Memory| Memory {
            stop: Some(claim.clone()),
            image: image.clone().or_else(|| memory.image.clone()),
            ..memory.clone()
        };
        let (before, run) = (self.entry.memory.stop.clone(), self.run);
        self.entry.memory = claimed(&self.entry.memory);
        let beside = |memory: &Memory| {
            let ours = memory.stop.as_ref().is_some_and(|other| other.run == run);
            (ours || memory.stop == before).then(|| claimed(memory))
        };
        self.entry.write_beside(beside).await
    }

    /// Takes back its claim, of which nothing comes: it would be told as a stop by this guardrail.
    /// An image tag that may have been moved stays written down, and so does what was seen under it,
    /// also where this was its first sight: later it may be somebody's correction.
    async fn withdraw(&mut self) {
        let entry = &mut self.entry;
        entry.memory.stop.clone_from(&entry.stood.stop);
        if self.stopped.image.is_none() {
            let plan = self.stop.image.as_ref();
            let first = plan.map(|plan| seen(&plan.bad, Repair::Seen));
            entry.memory.image = entry.stood.image.clone().or(first);
        }
        // Where that fails, the claim runs out by itself.
        let _ = entry.write().await;
    }

    /// Why the refresh isn't to be stopped after all, and then its claim is taken back; none: it
    /// still is.
    async fn look(&mut self) -> Result<Option<String>, ApiError> {
        let (asg, group) = (&self.clients.autoscaling, &self.stop.target.group);
        let (found, newest, entry) = futures::future::try_join3(
            read::one_group(asg, group),
            read::refreshes(asg, group),
            self.entry.read(),
        )
        .await?;
        let claimed = |stored: &Stored<Memory>| {
            let claim = stored.value.stop.as_ref();
            stored.value.refresh == self.stop.target.refresh
                && claim.is_some_and(|claim| claim.run == self.run)
        };
        let Some(entry) = entry.filter(claimed) else {
            return Ok(Some(OTHER_CLAIM.to_owned()));
        };
        self.entry.expect = Expect::Version(entry.version);
        // Another run may have moved the image tag meanwhile.
        if self.stopped.image.is_none() && entry.value.image != self.entry.memory.image {
            self.entry.memory.image.clone_from(&entry.value.image);
            self.entry.stood.image = entry.value.image;
        }
        let changed = changed(self.stop, found.as_ref(), newest.first());
        if changed.is_some() {
            self.withdraw().await;
        }
        Ok(changed)
    }

    /// Whether there was anything to do about the image tag.
    async fn restore_image(&mut self) -> Result<bool, ApiError> {
        let Some(plan) = &self.stop.image else {
            return Ok(false);
        };
        let outcome = ecr::restore(&self.clients.ecr, plan).await;
        self.entry.memory.image = Some(seen(&plan.bad, outcome.repair()));
        self.stopped.image = Some(outcome);
        match self.entry.write().await {
            Err(error) if error.kind == ErrorKind::Throttled => Err(error),
            // The claim is what guards the call, and the look that follows tells whether it stands.
            _ => Ok(true),
        }
    }

    async fn send(&mut self) -> Result<ActResult, ApiError> {
        let asg = &self.clients.autoscaling;
        let (group, how) = (&self.stop.target.group, self.stop.how);
        let error = match request(asg, group, how).await {
            Ok(hit) => return Ok(self.done(how, hit).await),
            Err(error) => error,
        };
        // Irreversible, CloudFormation's own (ASG-14), or not allowed: to cancel may be.
        let may_cancel = is_refused(&error) && error.code != NOT_ACTIVE;
        if how != How::Rollback || !may_cancel {
            return Err(error);
        }
        // A cancel would hit a rollback too (ASG-2), and another run may have got through with one
        // meanwhile.
        if let Some(why) = self.look().await? {
            return Ok(ActResult::Skipped(why));
        }
        let hit = request(asg, group, How::Cancel).await?;
        self.stopped.fallback = Some(format!("AWS doesn't roll it back: {}", error.message));
        Ok(self.done(How::Cancel, hit).await)
    }

    /// AWS has accepted it, and says which refresh it hit.
    async fn done(&mut self, how: How, hit: Option<String>) -> ActResult {
        let meant = &self.stop.target.refresh;
        self.stopped.how = Some(how);
        self.stopped.mismatch = hit.filter(|hit| hit != meant);
        let claim = self.claim_at(how.done());
        let memory = &mut self.entry.memory;
        if let Some(hit) = &self.stopped.mismatch {
            memory.mismatch = Some(Mismatch {
                meant: meant.clone(),
                hit: hit.clone(),
            });
        } else {
            // What wasn't stopped may be started again.
            memory.last_stop = self.stop.source.as_ref().map(|source| LastStop {
                refresh: meant.clone(),
                source: source.clone(),
                image: memory.image.as_ref().map(|seen| seen.digest.clone()),
                at: claim.at,
            });
        }
        memory.stop = Some(claim);
        // The claim alone says nearly as much: a failure to write this is no failure to stop.
        let written = self.entry.write().await;
        if let Some(hit) = &self.stopped.mismatch {
            return ActResult::Failed(ApiError {
                operation: operation(how),
                code: "RefreshMismatch".to_owned(),
                message: format!(
                    "refresh {meant} was meant, and AWS says that {hit} was stopped: it started in the moment between. Start it again if it was good"
                ),
                kind: ErrorKind::Refused,
            });
        }
        let mut note = tell(self.stop, how, &self.stopped);
        if let Err(error) = written {
            note = format!("{note}; that couldn't be written into the state table: {error}");
        }
        ActResult::Done(Some(note))
    }
}

const OTHER_CLAIM: &str = "another run has claimed it meanwhile";
const OTHER_RUN: &str = "another run has written down more of it meanwhile";
/// AWS's code where the group has no refresh that runs.
const NOT_ACTIVE: &str = "ActiveInstanceRefreshNotFound";

/// Whether AWS says that it has not done what it was asked, and won't.
fn is_refused(error: &ApiError) -> bool {
    matches!(error.kind, ErrorKind::Denied | ErrorKind::Refused)
}

fn seen(digest: &str, repair: Repair) -> Seen {
    Seen {
        digest: digest.to_owned(),
        repair,
    }
}

/// What is written before the tag is moved: a run that ends half-way leaves the next one all that it
/// needs, and people are told that the tag was moved.
fn restoring(digest: &str) -> Seen {
    seen(digest, Repair::Restoring)
}

/// What came of it, for the report.
fn tell(stop: &Stop, how: How, stopped: &Stopped) -> String {
    let mut note = format!("refresh {} is being {how}", stop.target.refresh);
    if let Some(fallback) = &stopped.fallback {
        note = format!("{note}, because {fallback}");
    }
    if let Some(image) = &stopped.image {
        note = format!("{note}; {}", say(image));
    }
    note
}

fn say(image: &Outcome) -> String {
    match image {
        Outcome::Restored { digest, kept_as } => {
            format!("the image tag points to {digest} again, the other image is kept as {kept_as}")
        }
        Outcome::Refused(why) => format!("the image tag was not put back: {why}"),
        Outcome::Failed(error) => format!("the image tag was not put back: {error}"),
    }
}

fn changed(stop: &Stop, group: Option<&Group>, refresh: Option<&Refresh>) -> Option<String> {
    let Some(group) = group else {
        return Some("the group is gone meanwhile".to_owned());
    };
    if let Some(operator) = &group.operator {
        return Some(format!("{operator} manages the group meanwhile"));
    }
    match refresh {
        None => Some("the group has no refresh any more".to_owned()),
        Some(refresh) if refresh.id != stop.target.refresh => Some(format!(
            "refresh {} has started meanwhile, and it is not the one that was judged",
            refresh.id
        )),
        Some(refresh) if !refresh.status.is_running() => {
            Some(format!("it is {} meanwhile", refresh.status))
        }
        Some(_) => None,
    }
}

fn operation(how: How) -> &'static str {
    match how {
        How::Cancel => "autoscaling:CancelInstanceRefresh",
        How::Rollback => "autoscaling:RollbackInstanceRefresh",
    }
}

/// Sends the request once, whatever AWS answers: a repeat could hit a refresh that has started
/// since. Returns the id that AWS says was hit.
async fn request(asg: &Client, group: &str, how: How) -> Result<Option<String>, ApiError> {
    let operation = operation(how);
    match how {
        // AWS's default holds: it waits for launches and terminations under way, so that the
        // group is at rest when the refresh shows as Cancelled.
        How::Cancel => asg
            .cancel_instance_refresh()
            .auto_scaling_group_name(group)
            .customize()
            .config_override(once())
            .send()
            .await
            .map(|answer| answer.instance_refresh_id)
            .map_err(|error| ApiError::of(operation, &error)),
        How::Rollback => asg
            .rollback_instance_refresh()
            .auto_scaling_group_name(group)
            .customize()
            .config_override(once())
            .send()
            .await
            .map(|answer| answer.instance_refresh_id)
            .map_err(|error| ApiError::of(operation, &error)),
    }
}

fn once() -> aws_sdk_autoscaling::config::Builder {
    aws_sdk_autoscaling::config::Builder::new()
        .retry_config(never_again())
        .timeout_config(creation_timeouts())
}

async fn restore_image(clients: &Clients, state: &State, restore: &Restore) -> Acted<Effect> {
    let bad = &restore.plan.bad;
    let mut entry = Entry::of(state, &restore.target);
    let beside = |image: Seen| {
        move |memory: &Memory| {
            let stands = memory.image.as_ref();
            let same = stands.is_none_or(|stands| stands.digest == image.digest);
            same.then(|| Memory {
                image: Some(image.clone()),
                ..memory.clone()
            })
        }
    };
    let before = entry.memory.image.replace(restoring(bad));
    if before.as_ref() != Some(&restoring(bad)) {
        match entry.write_beside(beside(restoring(bad))).await {
            Ok(true) => {}
            Ok(false) => return Acted::skipped(OTHER_RUN),
            Err(error) => return Acted::failed(error),
        }
    }
    let outcome = ecr::restore(&clients.ecr, &restore.plan).await;
    let note = say(&outcome);
    let done = seen(bad, outcome.repair());
    entry.memory.image = Some(done.clone());
    let acted = match &outcome {
        Outcome::Restored { .. } => Acted::done(Some(note)),
        Outcome::Refused(_) => Acted::skipped(note),
        Outcome::Failed(error) => return Acted::failed(error.clone()).with(Effect::Image(outcome)),
    };
    match entry.write_beside(beside(done)).await {
        // Where another image or refresh is written down meanwhile, that is newer.
        Ok(_) => acted,
        // The next sweep does it again, which changes nothing more.
        Err(error) => Acted::failed(error),
    }
    .with(Effect::Image(outcome))
}

async fn remember_first(state: &State, remember: &Remember) -> Acted<Effect> {
    let mut entry = Entry::of(state, &remember.target);
    match &remember.what {
        First::Image { digest } => entry.memory.image = Some(seen(digest, Repair::Seen)),
        First::Pending => entry.memory.pending_since = Some(Timestamp::now()),
    }
    match entry.write().await {
        Ok(true) => Acted::done(None),
        Ok(false) => Acted::skipped(OTHER_RUN),
        Err(error) => Acted::failed(error),
    }
}

#[cfg(test)]
mod tests;
