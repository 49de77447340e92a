//! Auto Scaling groups that launch in a loop: stopped, and let go again.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use aws_sdk_autoscaling::Client;
use guardrails::autoscaling;
use guardrails::aws::ApiError;
use guardrails::guardrail::Acted;
use guardrails::resource::Resource;
use guardrails::state::{Expect, State};
use guardrails::tags::label;
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::tracing;

use super::brake;
use super::refusals::{contended, outcome};
use crate::clients::Clients;
use crate::decide::{BreakLoop, Effect, Quarantine};
use crate::facts::Group;
use crate::launches::PROCESSES;
use crate::read::group_now;
use crate::record::{KEPT, LOOP, Loop};

/// How often a change is tried anew that others write into.
const TRIES: usize = 8;
const MEANWHILE: &str =
    "another run has broken it, or a person has released it, at the same moment";
/// How long a run may take to break a loop, before another takes that up.
const UNDER_WAY: SignedDuration = SignedDuration::from_secs(20);

/// Changes what is remembered of a group: `change` is given what stands, and says whether it is to
/// be written. What was written; none where it wasn't to be.
async fn update(
    state: &State,
    group: &str,
    now: Timestamp,
    mut change: impl FnMut(&mut Loop) -> bool,
) -> Result<Option<Loop>, ApiError> {
    for _ in 0..TRIES {
        let stored = state.get(&LOOP, group, now).await?;
        let expect = Expect::read(stored.as_ref());
        let mut known = stored.map(|stored| stored.value).unwrap_or_default();
        if !change(&mut known) {
            return Ok(None);
        }
        // What is suspended is remembered until it is resumed.
        let until = (!known.is_held()).then(|| KEPT.after(now));
        let written = state.put(&LOOP, group, &known, until, &expect, now).await?;
        if written.is_done() {
            return Ok(Some(known));
        }
    }
    Err(contended(group))
}

/// Suspends what makes the group launch. What was suspended before stays somebody else's: only
/// ours is written down, before it is suspended, and only that is resumed (AMI-6).
pub(super) async fn break_loop(clients: &Clients, order: &BreakLoop, run: &str) -> Acted<Effect> {
    let group = &order.group;
    let name = &group.name;
    let what = Resource::group(name).to_string();
    let place = brake::take(&clients.state, order.place.as_ref(), &what, order.at);
    match place.await {
        Ok(true) => {}
        Ok(false) => {
            let why = "the brake holds: too many were isolated of late";
            return Acted::skipped(why).with(Effect::Braked);
        }
        Err(error) => return Acted::failed(error),
    }
    let begun = update(&clients.state, name, order.at, |known| {
        // Of two runs that see the same loop one breaks it, and tells of it.
        let other = known
            .run
            .as_ref()
            .is_some_and(|(other, at)| other != run && order.at.duration_since(*at) < UNDER_WAY);
        if known.is_held() && other || has_resumed(known, order) {
            return false;
        }
        // What a run that was killed had written down and suspended is ours too.
        let ours = PROCESSES.into_iter().filter(|process| {
            !group.suspended.contains(*process) || known.suspended.contains(*process)
        });
        known.suspended = ours.map(str::to_owned).collect();
        known.desired = known
            .desired
            .filter(|_| known.is_held())
            .or(Some(group.desired));
        known.run = Some((run.to_owned(), order.at));
        known.broken = None;
        true
    });
    let ours = match begun.await {
        Ok(Some(known)) => known.suspended,
        Ok(None) => return Acted::skipped(MEANWHILE),
        Err(error) => return Acted::failed(error),
    };
    let suspended = async {
        suspend(&clients.autoscaling, name, &ours).await?;
        let mut resumed = false;
        let written = update(&clients.state, name, order.at, |known| {
            let mine = known.run.as_ref().is_some_and(|(mine, _)| mine == run);
            // What another run has suspended since is that run's.
            resumed = !known.is_held() || mine && has_resumed(known, order);
            known.broken = Some(order.at);
            mine && !resumed
        });
        let written = written.await?;
        if resumed {
            resume(&clients.autoscaling, name, &ours).await?;
        }
        Ok::<_, ApiError>(written)
    };
    match suspended.await {
        Ok(Some(_)) => {
            label(clients, name, &ours, order.at).await;
            Acted::done(Some(format!(
                "suspended {} of {name}; undo: release the instances, or the group",
                join(&ours)
            )))
        }
        Ok(None) => Acted::skipped(MEANWHILE),
        Err(error) if autoscaling::is_gone(&error) => Acted::skipped("the group is gone"),
        Err(error) => Acted::failed(error),
    }
}

/// Whether a person has had the group's processes resumed since this run looked at it.
fn has_resumed(known: &Loop, order: &BreakLoop) -> bool {
    known.restored.is_some_and(|restored| restored > order.at)
}

fn join(processes: &BTreeSet<String>) -> String {
    let processes: Vec<&str> = processes.iter().map(String::as_str).collect();
    processes.join(" and ")
}

async fn suspend(
    client: &Client,
    name: &str,
    processes: &BTreeSet<String>,
) -> Result<(), ApiError> {
    // None would mean all.
    if processes.is_empty() {
        return Ok(());
    }
    let suspend = client
        .suspend_processes()
        .auto_scaling_group_name(name)
        .set_scaling_processes(Some(processes.iter().cloned().collect()));
    outcome("autoscaling:SuspendProcesses", suspend.send().await)
}

async fn resume(client: &Client, name: &str, processes: &BTreeSet<String>) -> Result<(), ApiError> {
    if processes.is_empty() {
        return Ok(());
    }
    let resume = client
        .resume_processes()
        .auto_scaling_group_name(name)
        .set_scaling_processes(Some(processes.iter().cloned().collect()));
    outcome("autoscaling:ResumeProcesses", resume.send().await)
}

/// For people.
async fn label(clients: &Clients, name: &str, ours: &BTreeSet<String>, at: Timestamp) {
    let labels = [
        (label::LOOP_BROKEN, format!("{at:.0}")),
        (label::LOOP_SUSPENDED, join(ours)),
    ];
    if let Err(error) = autoscaling::write_tags(&clients.autoscaling, name, labels).await {
        tracing::warn!(group = name, "its labels: {error}");
    }
}

/// Resumes what was suspended to break the loop; of a group that is gone nothing is kept, as another
/// may come to bear its name. None when there is nothing.
pub(super) async fn restore(
    clients: &Clients,
    name: &str,
    at: Timestamp,
) -> Result<Option<String>, ApiError> {
    let group = group_now(&clients.autoscaling, name).await?;
    let mut before = Loop::default();
    // Launches from before don't count again, or the next sweep would break the same loop.
    let begun = update(&clients.state, name, at, |known| {
        before.clone_from(known);
        known.restored = Some(at);
        known.is_held()
    });
    if begun.await?.is_none() {
        return Ok(None);
    }
    let resumed: BTreeSet<String> = match &group {
        Some(group) => &before.suspended & &group.suspended,
        None => before.suspended.clone(),
    };
    // That it is gone the call says; one that only isn't shown is resumed, and kept in mind.
    let group = match resume(&clients.autoscaling, name, &resumed).await {
        Err(error) if autoscaling::is_gone(&error) => None,
        Err(error) => return Err(error),
        Ok(()) if group.is_none() && !resumed.is_empty() => {
            let call = "autoscaling:DescribeAutoScalingGroups";
            return Err(ApiError::incomplete(call, "a group that there is"));
        }
        Ok(()) => group,
    };
    update(&clients.state, name, at, |known| {
        *known = Loop {
            restored: Some(at),
            ..Loop::default()
        };
        true
    })
    .await?;
    let Some(group) = group else {
        return Ok(Some(format!("{name} is gone: nothing of it is kept")));
    };
    let labels = [label::LOOP_BROKEN, label::LOOP_SUSPENDED];
    if let Err(error) = autoscaling::remove_tags(&clients.autoscaling, name, &labels).await {
        tracing::warn!(group = name, "its labels: {error}");
    }
    Ok(Some(restored(&group, &before, &resumed)))
}

fn restored(group: &Group, before: &Loop, resumed: &BTreeSet<String>) -> String {
    let name = &group.name;
    let mut note = if resumed.is_empty() {
        format!("nothing of {name} was suspended any more")
    } else {
        format!("resumed {} of {name}", join(resumed))
    };
    if let Some(before) = before.desired.filter(|before| group.desired > *before) {
        let _ = write!(
            note,
            "; WARNING: its desired capacity has grown from {before} to {} meanwhile, so it launches at once",
            group.desired
        );
    }
    note
}

/// Whether something of the group is suspended by this guardrail.
pub(super) async fn is_held(
    clients: &Clients,
    name: &str,
    now: Timestamp,
) -> Result<bool, ApiError> {
    let known = clients.state.get(&LOOP, name, now).await?;
    Ok(known.is_some_and(|known| known.value.is_held()))
}

/// Remembers the launch of its group: terminated instances lose their tags and then vanish.
pub(super) async fn remember_launch(clients: &Clients, order: &Quarantine) -> Result<(), ApiError> {
    let Some(group) = &order.group else {
        return Ok(());
    };
    let instance = &order.instance;
    if group.operator.is_some() {
        return Ok(());
    }
    update(&clients.state, &group.name, order.at, |known| {
        let is_new = !known.launches.contains_key(&instance.id);
        known.add(&instance.id, instance.launched);
        is_new
    })
    .await
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{block_on, now};
    use guardrails::aws::ErrorKind;
    use guardrails::state::model::Model;

    /// Begun anew by the runner, and not taken for nothing to do.
    #[tokio::test(start_paused = true)]
    async fn what_others_write_into_again_and_again_is_throttled() {
        let state = Model::default().state(crate::NAME);
        let meanwhile = |_: &mut Loop| {
            let state = state.clone();
            let other = std::thread::spawn(move || {
                let (theirs, any) = (Loop::default(), Expect::Any);
                let put = state.put(&LOOP, "web", &theirs, None, &any, now());
                block_on(put).unwrap().is_done()
            });
            other.join().unwrap()
        };
        let error = update(&state, "web", now(), meanwhile).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Throttled);
    }
}
