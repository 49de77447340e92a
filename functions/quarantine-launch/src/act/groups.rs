//! Taking a member out of its Auto Scaling group's service, and back.

use std::time::Duration;

use aws_sdk_autoscaling::Client;
use guardrails::aws::ApiError;
use tokio::time::sleep;

use super::claim::{Claim, Stop};
use super::refusals::outcome;
use super::undone::Put;
use crate::clients::Clients;
use crate::decide::Quarantine;
use crate::facts::{Group, Instance};
use crate::policy::FromGroup;
use crate::read::{group_now, instance_now, lifecycle};
use crate::record::Service;

/// How often, and how far apart, a member is looked at that isn't in service yet: only then it can
/// leave (AMI-6). What takes longer the next sweep does.
const LOOKS: usize = 8;
const PAUSE: Duration = Duration::from_millis(2_500);

/// Where a member stands after it was to leave its group's service.
#[derive(Debug)]
pub(super) enum Left {
    /// It is in no group: there is nothing to leave, and nobody replaces it.
    NoMember,
    /// It is out of service: the group doesn't replace it.
    Out(String),
    /// It stays in service; why.
    Stays(String),
    /// It can't leave yet; why.
    NotYet(String),
    /// That went wrong.
    Failed(ApiError),
}

/// Takes the instance out of its group's service, where the group's size allows.
pub(super) async fn leave(
    clients: &Clients,
    order: &Quarantine,
    claim: &Claim<'_>,
) -> Result<Left, Stop> {
    let instance = &order.instance;
    let Some(name) = instance.group() else {
        return Ok(Left::NoMember);
    };
    let mut looks = LOOKS;
    loop {
        let Some(group) = group_now(&clients.autoscaling, name).await? else {
            if now(&clients.ec2, instance).await?.is_none() {
                return Ok(Left::NoMember);
            }
            // It would be replaced where the group only isn't shown yet.
            let why = format!("its group {name} isn't shown, though its tag names it");
            return Ok(Left::NotYet(why));
        };
        let Some(state) = group.members.get(&instance.id) else {
            // Its tag names the group until it is detached.
            let detached = matches!(claim.record().await.service, Some(Service::Detached(_)));
            if detached || now(&clients.ec2, instance).await?.is_none() {
                return Ok(Left::NoMember);
            }
            return not_listed(clients, claim, name, &instance.id).await;
        };
        looks -= 1;
        match state.as_str() {
            "InService" => {
                claim.write(|record| record.pooled = false).await?;
                return go(clients, order, &group, claim).await;
            }
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

/// One that its group doesn't list, though its tag names it.
async fn not_listed(
    clients: &Clients,
    claim: &Claim<'_>,
    name: &str,
    instance: &str,
) -> Result<Left, Stop> {
    let state = lifecycle(&clients.autoscaling, instance).await?;
    Ok(Left::Stays(match state {
        Some(state) if state.starts_with("Warmed:") => {
            claim.write(|record| record.pooled = true).await?;
            format!(
                "it is {state} in the warm pool of {name}, out of which AWS takes nothing; it is taken out of service when it comes into it"
            )
        }
        _ => format!("it is no member of {name}, though its tag names it"),
    }))
}

/// The group that the instance's tag names now.
async fn now(ec2: &aws_sdk_ec2::Client, instance: &Instance) -> Result<Option<String>, Stop> {
    let now = instance_now(ec2, &instance.id).await?;
    let now = now.ok_or(Stop::Gone("gone meanwhile"))?;
    Ok(now.group().map(str::to_owned))
}

async fn go(
    clients: &Clients,
    order: &Quarantine,
    group: &Group,
    claim: &Claim<'_>,
) -> Result<Left, Stop> {
    let (name, instance) = (&group.name, &order.instance.id);
    let stays = |why: String| Ok(Left::Stays(format!("it stays in service of {name}: {why}")));
    if let Some(operator) = &group.operator {
        return stays(format!("{operator} manages the group"));
    }
    let service = match order.steps.group {
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
    claim
        .write(|record| record.service = Some(service.clone()))
        .await?;
    let done = match &service {
        Service::Standby(_) => format!("put into standby of {name}"),
        Service::Detached(_) => format!("detached from {name}"),
    };
    match take_out(&clients.autoscaling, &service, instance).await {
        Ok(()) => Ok(Left::Out(done)),
        Err(error) if error.code == "ValidationError" => {
            // Perhaps a call whose answer was lost took it out. Else what was written down isn't so.
            let now = group_now(&clients.autoscaling, name).await?;
            let state = now.and_then(|group| group.members.get(instance).cloned());
            if let Some("Standby" | "EnteringStandby") | None = state.as_deref() {
                return Ok(Left::Out(done));
            }
            claim.write(|record| record.service = None).await?;
            stays(error.message)
        }
        Err(error) => Err(error.into()),
    }
}

async fn take_out(client: &Client, service: &Service, instance: &str) -> Result<(), ApiError> {
    match service {
        Service::Standby(name) => {
            let enter = client
                .enter_standby()
                .auto_scaling_group_name(name)
                .instance_ids(instance)
                .should_decrement_desired_capacity(true);
            outcome("autoscaling:EnterStandby", enter.send().await)
        }
        Service::Detached(name) => {
            let detach = client
                .detach_instances()
                .auto_scaling_group_name(name)
                .instance_ids(instance)
                .should_decrement_desired_capacity(true);
            outcome("autoscaling:DetachInstances", detach.send().await)
        }
    }
}

/// Brings the instance back into its group's service. What can't be done is said, not an error.
pub(super) async fn come_back(
    client: &Client,
    instance: &str,
    service: &Service,
) -> Result<Put, ApiError> {
    let name = service.group();
    let group = group_now(client, name).await?;
    let members = group.as_ref().map(|group| &group.members);
    let state = members.map(|members| members.get(instance).map(String::as_str));
    // Where the group isn't shown the call says whether it is gone.
    let answer = match (service, state) {
        (_, Some(Some("InService" | "Pending" | "Pending:Wait" | "Pending:Proceed"))) => {
            return Ok(Put::Back(format!("it is back in {name}")));
        }
        // It comes back only once it is out, which takes as long as its connections are drained.
        (_, Some(Some(state @ ("EnteringStandby" | "Detaching" | "Detached")))) => {
            return Ok(Put::Open(format!(
                "its place in {name}: it is {state} there still"
            )));
        }
        (Service::Standby(_), Some(Some("Standby")) | None) => {
            let exit = client
                .exit_standby()
                .auto_scaling_group_name(name)
                .instance_ids(instance);
            outcome("autoscaling:ExitStandby", exit.send().await)
        }
        (Service::Detached(_), Some(None) | None) => {
            let attach = client
                .attach_instances()
                .auto_scaling_group_name(name)
                .instance_ids(instance);
            outcome("autoscaling:AttachInstances", attach.send().await)
        }
        (_, state) => {
            return Ok(Put::Lost(format!(
                "its place in {name}: it is {} there",
                state.flatten().unwrap_or("no member")
            )));
        }
    };
    match answer {
        Ok(()) => Ok(Put::Back(format!("brought it back into service of {name}"))),
        Err(error) if error.code == "ValidationError" => {
            let why = format!("its place in {name}: {}", error.message);
            Ok(Put::Lost(why))
        }
        Err(error) => Err(error),
    }
}
