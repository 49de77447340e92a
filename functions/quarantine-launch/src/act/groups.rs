//! Auto Scaling groups: breaking a loop, taking a member out of service, and both undone.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use aws_sdk_autoscaling::Client;
use guardrails::autoscaling;
use guardrails::aws::ApiError;
use guardrails::guardrail::Acted;
use guardrails::tags;
use jiff::Timestamp;
use tokio::time::sleep;

use super::{tag, untag};
use crate::Clients;
use crate::decide::{BreakLoop, Quarantine};
use crate::facts::Group;
use crate::launches::{PROCESSES, remembering};
use crate::observe::groups;
use crate::policy::FromGroup;
use crate::record::Service;

/// How often, and how far apart, a member is looked at that isn't in service yet: only then it can
/// leave (AMI-6). What takes longer the next sweep does.
const LOOKS: usize = 8;
const PAUSE: Duration = Duration::from_millis(2_500);

/// Reads one group.
pub(super) async fn read(autoscaling: &Client, name: &str) -> Result<Option<Group>, ApiError> {
    let mut found = groups(autoscaling, &BTreeSet::from([name.to_owned()])).await?;
    Ok(found.remove(name))
}

/// Suspends what makes the group launch. What was suspended before stays somebody else's: only
/// ours is written down, before it is suspended, and only that is resumed (AMI-6).
pub(super) async fn break_loop(autoscaling: &Client, looping: &BreakLoop, run: &str) -> Acted {
    let group = &looping.group;
    let name = &group.name;
    let recorded: BTreeSet<&str> = group
        .tags
        .get(tags::LOOP_SUSPENDED)
        .into_iter()
        .flat_map(|value| value.split(' '))
        .collect();
    // What a run that was killed had written down and suspended is ours too.
    let ours: Vec<&str> = PROCESSES
        .into_iter()
        .filter(|process| !group.suspended.contains(*process) || recorded.contains(process))
        .collect();
    let mut notes = vec![(tags::LOOP_SUSPENDED, ours.join(" "))];
    if !group.tags.contains_key(tags::LOOP_DESIRED) {
        notes.push((tags::LOOP_DESIRED, group.desired.to_string()));
    }
    let suspended = async {
        autoscaling::tag(autoscaling, name, notes).await?;
        if !ours.is_empty() {
            autoscaling
                .suspend_processes()
                .auto_scaling_group_name(name)
                .set_scaling_processes(Some(
                    ours.iter().map(|&process| process.to_owned()).collect(),
                ))
                .send()
                .await
                .map_err(|error| ApiError::of("autoscaling:SuspendProcesses", &error))?;
        }
        let stamp = format!("{:.0} {run}", looping.at);
        autoscaling::tag(autoscaling, name, [(tags::LOOP_BROKEN, stamp.clone())]).await?;
        let now = read(autoscaling, name).await?;
        let mine = now.is_none_or(|now| now.tags.get(tags::LOOP_BROKEN) == Some(&stamp));
        Ok(mine)
    };
    match suspended.await {
        Ok(true) => Acted::Done(Some(format!(
            "suspended {} of {name}; undo: release the instances, or the group",
            ours.join(" and ")
        ))),
        // Of two runs that see the same loop one tells of it.
        Ok(false) => Acted::Skipped("another run has broken it at the same moment".to_owned()),
        Err(error) if autoscaling::is_gone(&error) => {
            Acted::Skipped("the group is gone".to_owned())
        }
        Err(error) => Acted::Failed(error),
    }
}

/// Resumes what was suspended to break the loop. None when there is nothing.
pub(super) async fn restore(
    autoscaling: &Client,
    name: &str,
    at: Timestamp,
) -> Result<Option<String>, ApiError> {
    let Some(group) = read(autoscaling, name).await? else {
        return Ok(None);
    };
    let Some(ours) = group.tags.get(tags::LOOP_SUSPENDED) else {
        return Ok(None);
    };
    // Launches from before don't count again, or the next sweep would break the same loop.
    autoscaling::tag(
        autoscaling,
        name,
        [(tags::LOOP_RESTORED, format!("{at:.0}"))],
    )
    .await?;
    let resumed: Vec<String> = ours
        .split(' ')
        .filter(|process| group.suspended.contains(*process))
        .map(str::to_owned)
        .collect();
    if !resumed.is_empty() {
        autoscaling
            .resume_processes()
            .auto_scaling_group_name(name)
            .set_scaling_processes(Some(resumed.clone()))
            .send()
            .await
            .map_err(|error| ApiError::of("autoscaling:ResumeProcesses", &error))?;
    }
    autoscaling::untag(
        autoscaling,
        name,
        &[
            tags::LOOP_BROKEN,
            tags::LOOP_SUSPENDED,
            tags::LOOP_DESIRED,
            tags::LOOP_LAUNCHES,
        ],
    )
    .await?;
    let mut note = if resumed.is_empty() {
        format!("nothing of {name} was suspended any more")
    } else {
        format!("resumed {} of {name}", resumed.join(" and "))
    };
    let before: Option<i32> = group
        .tags
        .get(tags::LOOP_DESIRED)
        .and_then(|desired| desired.parse().ok());
    if let Some(before) = before.filter(|before| group.desired > *before) {
        let _ = write!(
            note,
            "; WARNING: its desired capacity has grown from {before} to {} meanwhile, so it launches at once",
            group.desired
        );
    }
    Ok(Some(note))
}

/// Remembers the launch on its group: terminated instances lose their tags and then vanish.
pub(super) async fn remember_launch(
    autoscaling: &Client,
    quarantine: &Quarantine,
) -> Result<(), ApiError> {
    let Some(group) = &quarantine.group else {
        return Ok(());
    };
    let instance = &quarantine.instance;
    if group.operator.is_some() || crate::launches::remembered(group).contains_key(&instance.id) {
        return Ok(());
    }
    let value = remembering(group, &instance.id, instance.launched);
    match autoscaling::tag(autoscaling, &group.name, [(tags::LOOP_LAUNCHES, value)]).await {
        Err(error) if autoscaling::is_gone(&error) => Ok(()),
        other => other,
    }
}

/// Where a member stands after it was to leave its group's service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Left {
    /// It is in no group: there is nothing to leave, and nobody replaces it.
    NoMember,
    /// It is out of service: the group doesn't replace it.
    Out(String),
    /// It stays in service; why.
    Stays(String),
    /// It can't leave yet; why.
    NotYet(String),
}

/// Takes the instance out of its group's service, where the group's size allows.
pub(super) async fn leave(clients: &Clients, quarantine: &Quarantine) -> Result<Left, ApiError> {
    let instance = &quarantine.instance;
    let Some(name) = instance.group() else {
        return Ok(Left::NoMember);
    };
    let mut looks = LOOKS;
    loop {
        let Some(group) = read(&clients.autoscaling, name).await? else {
            return Ok(Left::NoMember);
        };
        let Some(state) = group.members.get(&instance.id) else {
            return Ok(Left::NoMember);
        };
        looks -= 1;
        match state.as_str() {
            "InService" => return go(clients, quarantine, &group).await,
            "Standby" | "EnteringStandby" => {
                return Ok(Left::Out(format!("it is in standby of {name}")));
            }
            "Detaching" | "Detached" => {
                return Ok(Left::Out(format!("it is detached from {name}")));
            }
            pending if pending.starts_with("Pending") && looks > 0 => sleep(PAUSE).await,
            pending if pending.starts_with("Pending") => {
                return Ok(Left::NotYet(format!(
                    "it is {pending} in {name} and can leave only once it is InService"
                )));
            }
            other => {
                return Ok(Left::Stays(format!("it is {other} in {name}")));
            }
        }
    }
}

async fn go(clients: &Clients, quarantine: &Quarantine, group: &Group) -> Result<Left, ApiError> {
    let (name, instance) = (&group.name, &quarantine.instance.id);
    let stays = |why: String| Ok(Left::Stays(format!("it stays in service of {name}: {why}")));
    if let Some(operator) = &group.operator {
        return stays(format!("{operator} manages the group"));
    }
    let service = match quarantine.steps.group {
        FromGroup::Keep => return stays("steps.group is keep".to_owned()),
        FromGroup::Standby => Service::Standby(name.clone()),
        FromGroup::Detach => Service::Detached(name.clone()),
    };
    // Without the smaller desired capacity the group would launch another: the loop again.
    if group.desired - 1 < group.min {
        return stays(format!(
            "its desired capacity {} can't go below its minimum size {}; the group may replace it",
            group.desired, group.min
        ));
    }
    tag(
        &clients.ec2,
        instance,
        [(tags::QUARANTINE_SERVICE.to_owned(), service.value())],
    )
    .await?;
    let (answer, done) = match &service {
        Service::Standby(_) => (
            clients
                .autoscaling
                .enter_standby()
                .auto_scaling_group_name(name)
                .instance_ids(instance)
                .should_decrement_desired_capacity(true)
                .send()
                .await
                .map(drop)
                .map_err(|error| ApiError::of("autoscaling:EnterStandby", &error)),
            format!("put into standby of {name}"),
        ),
        Service::Detached(_) => (
            clients
                .autoscaling
                .detach_instances()
                .auto_scaling_group_name(name)
                .instance_ids(instance)
                .should_decrement_desired_capacity(true)
                .send()
                .await
                .map(drop)
                .map_err(|error| ApiError::of("autoscaling:DetachInstances", &error)),
            format!("detached from {name}"),
        ),
    };
    match answer {
        Ok(()) => Ok(Left::Out(done)),
        Err(error) if error.code == "ValidationError" => {
            // Perhaps another run was faster: then it is out. Else what was written down isn't so.
            let now = read(&clients.autoscaling, name).await?;
            let state = now.and_then(|group| group.members.get(instance).cloned());
            match state.as_deref() {
                Some("Standby" | "EnteringStandby") | None => Ok(Left::Out(done)),
                Some(_) => {
                    untag(
                        &clients.ec2,
                        instance,
                        [tags::QUARANTINE_SERVICE.to_owned()],
                    )
                    .await?;
                    stays(error.message)
                }
            }
        }
        Err(error) => Err(error),
    }
}

/// Brings the instance back into its group's service. What can't be done is said, not an error.
pub(super) async fn come_back(
    autoscaling: &Client,
    instance: &str,
    service: &Service,
) -> Result<Result<String, String>, ApiError> {
    let name = service.group();
    let Some(group) = read(autoscaling, name).await? else {
        return Ok(Err(format!("its group {name} is gone")));
    };
    let state = group.members.get(instance).map(String::as_str);
    let answer = match (service, state) {
        (_, Some("InService" | "Pending" | "Pending:Wait" | "Pending:Proceed")) => {
            return Ok(Ok(format!("it is back in {name}")));
        }
        (Service::Standby(_), Some("Standby")) => autoscaling
            .exit_standby()
            .auto_scaling_group_name(name)
            .instance_ids(instance)
            .send()
            .await
            .map(drop)
            .map_err(|error| ApiError::of("autoscaling:ExitStandby", &error)),
        (Service::Detached(_), None) => autoscaling
            .attach_instances()
            .auto_scaling_group_name(name)
            .instance_ids(instance)
            .send()
            .await
            .map(drop)
            .map_err(|error| ApiError::of("autoscaling:AttachInstances", &error)),
        (_, state) => {
            return Ok(Err(format!(
                "its place in {name}: it is {} there",
                state.unwrap_or("no member")
            )));
        }
    };
    match answer {
        Ok(()) => Ok(Ok(format!("brought it back into service of {name}"))),
        Err(error) if error.code == "ValidationError" => {
            Ok(Err(format!("its place in {name}: {}", error.message)))
        }
        Err(error) => Err(error),
    }
}
