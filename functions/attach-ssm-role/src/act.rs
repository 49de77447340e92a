//! Carries out one action.

use std::time::Duration;

use aws_sdk_ec2::types::IamInstanceProfileSpecification;
use guardrails::aws::{ApiError, ErrorKind, filter};
use guardrails::ec2::{self, State};
use guardrails::guardrail::{ActResult, Acted};
use guardrails::state::{Expect, Written};
use jiff::Timestamp;
use tokio::time::sleep;

use crate::clients::Clients;
use crate::decide::{Action, Effect};
use crate::memory::{KEPT, Managed, NODES, QUARANTINE};

/// Pauses before an instance profile that EC2 doesn't see yet is tried again: IAM takes seconds to
/// make a new one known. Shorter in all than the time in which the runner looks again.
const NOT_VISIBLE_PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// What EC2 says of a new profile: first it sees nothing, then the profile without its role (SSM-2).
const NOT_VISIBLE: [&str; 2] = [
    "invalid iam instance profile",
    "has no associated iam roles",
];

/// Carries out `action`.
pub(crate) async fn act(clients: &Clients, action: &Action) -> Acted<Effect> {
    match action {
        Action::Attach {
            instance,
            profile,
            at,
            ..
        } => attach(clients, instance, profile, *at).await,
        Action::Confirm {
            instance,
            managed,
            launched,
            at,
            read,
        } => {
            let read = Expect::Version(read.clone());
            match remember(clients, instance, *managed, *at, &read).await {
                Ok(Written::Done(_)) => Acted {
                    effect: launched.map(|launched| {
                        // What stood for months before it was attached says nothing about its start.
                        let after = at.duration_since(launched.max(managed.attached)).as_secs();
                        let after = u64::try_from(after).unwrap_or_default();
                        Effect::Online { after }
                    }),
                    ..Acted::done(None)
                },
                Ok(Written::Conflict) => Acted::skipped("another run noted it meanwhile"),
                Err(error) => Acted::failed(error),
            }
        }
        Action::Repair { role, policy } => repair(&clients.iam, role, policy).await,
    }
}

async fn remember(
    clients: &Clients,
    instance: &str,
    managed: Managed,
    now: Timestamp,
    expect: &Expect,
) -> Result<Written, ApiError> {
    let until = Some(KEPT.after(now));
    clients
        .own
        .put(&NODES, instance, &managed, until, expect, now)
        .await
}

/// The memory first: ended in between, the next sweep finds no profile and does both again. The
/// other way round nobody would know since when the agent has had credentials, and a sweep would
/// call an instance late that is only waiting (SSM-1).
///
/// Last of all, whether the instance is in quarantine by now: a quarantine writes its record before
/// it changes anything, so whoever finds none is earlier than it.
async fn attach(clients: &Clients, instance: &str, profile: &str, at: Timestamp) -> Acted<Effect> {
    let managed = Managed {
        attached: at,
        online: None,
        connected: false,
    };
    let forgotten = match remember(clients, instance, managed, at, &Expect::Any).await {
        Ok(_) => None,
        Err(error) if error.kind == ErrorKind::Throttled => return Acted::failed(error),
        // The profile matters more than our note of it.
        Err(error) => Some(error),
    };
    match clients.quarantine.get(&QUARANTINE, instance, at).await {
        Ok(None) => {}
        Ok(Some(_)) => return Acted::skipped("it is in quarantine meanwhile"),
        Err(error) => return Acted::failed(error),
    }
    let mut acted = associate(&clients.ec2, instance, profile).await;
    if let (ActResult::Done(note), Some(error)) = (&mut acted.result, forgotten) {
        let done = note.take().unwrap_or_default();
        *note = Some(format!("{done}; when wasn't noted: {error}"));
    }
    acted
}

async fn associate(ec2: &aws_sdk_ec2::Client, instance: &str, profile: &str) -> Acted<Effect> {
    let mut pauses = NOT_VISIBLE_PAUSES.iter();
    loop {
        let specification = IamInstanceProfileSpecification::builder().arn(profile);
        let answer = ec2
            .associate_iam_instance_profile()
            .instance_id(instance)
            .iam_instance_profile(specification.build())
            .send()
            .await;
        let error = match answer {
            Ok(answer) => {
                let association = answer.iam_instance_profile_association;
                return Acted::done(association.and_then(|one| one.association_id));
            }
            Err(error) => ApiError::of("ec2:AssociateIamInstanceProfile", &error),
        };
        // The same code has opposite meanings, so the message counts as well (SSM-2).
        let (code, message) = (error.code.as_str(), error.message.to_lowercase());
        let says_unseen = NOT_VISIBLE.iter().any(|words| message.contains(words));
        if says_unseen && matches!(code, "IncorrectState" | "InvalidParameterValue") {
            match pauses.next() {
                Some(pause) => sleep(*pause).await,
                None => return Acted::failed(error),
            }
        } else if error.is_not_found() {
            return Acted::skipped(format!("gone meanwhile ({code})"));
        } else if matches!(code, "IncorrectInstanceState" | "IncorrectState")
            || error.kind == ErrorKind::Denied
        {
            // In another state; or somebody has associated a profile, of which the role's condition
            // (SSM-3) makes a denial.
            return settle(ec2, instance, profile, error).await;
        } else {
            return Acted::failed(error);
        }
    }
}

/// Looks at what the instance is now, and at whose profile it has.
async fn settle(
    ec2: &aws_sdk_ec2::Client,
    instance: &str,
    profile: &str,
    error: ApiError,
) -> Acted<Effect> {
    let is_denied = error.kind == ErrorKind::Denied;
    match ec2::profile_association(ec2, instance).await {
        Ok(Some((_, has))) if has == profile => {
            return Acted::done(Some("another run attached it meanwhile".to_owned()));
        }
        Ok(Some((_, has))) => {
            return Acted::skipped(format!("somebody attached {has} meanwhile, and it stays"));
        }
        _ if is_denied => return Acted::failed(error),
        Ok(None) => {}
        Err(unread) => return Acted::failed(unread),
    }
    let which = filter("instance-id", vec![instance.to_owned()]);
    let state = match ec2::instances(ec2, vec![which], |_, found| State::of(found)).await {
        Ok(found) => found.first().copied(),
        Err(unread) => return Acted::failed(unread),
    };
    let why = match state {
        None | Some(State::Terminal) => "it is being terminated",
        Some(State::Pending) => {
            "it is still pending; its `running` event or the next sweep attaches the profile"
        }
        Some(State::Stopping) => "it is being stopped; the next sweep attaches the profile",
        Some(State::Running | State::Stopped) => {
            "it has changed meanwhile; the next sweep looks again"
        }
    };
    Acted::skipped(format!("{why} ({})", error.code))
}

async fn repair(iam: &aws_sdk_iam::Client, role: &str, policy: &str) -> Acted<Effect> {
    let answer = iam
        .attach_role_policy()
        .role_name(role)
        .policy_arn(policy)
        .send()
        .await;
    match answer.map_err(|error| ApiError::of("iam:AttachRolePolicy", &error)) {
        Ok(_) => Acted::done(Some(format!(
            "attached {policy}; undo: aws iam detach-role-policy --role-name {role} --policy-arn {policy}"
        ))),
        Err(error) if error.code == "NoSuchEntity" => Acted::skipped("gone meanwhile"),
        Err(mut error) => {
            if error.kind == ErrorKind::Denied {
                error
                    .message
                    .push_str(" (the stack's parameter RepairRoles must be on)");
            }
            Acted::failed(error)
        }
    }
}

#[cfg(test)]
mod tests;
