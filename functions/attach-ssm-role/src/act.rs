//! Carries out one action.

use std::time::Duration;

use aws_sdk_ec2::types::{IamInstanceProfileSpecification, InstanceStateName, Tag};
use guardrails::aws::{ApiError, ErrorKind, filter};
use guardrails::ec2;
use guardrails::guardrail::Acted;
use guardrails::tags;
use jiff::Timestamp;
use tokio::time::sleep;

use crate::Clients;
use crate::decide::Action;
use crate::facts::Mark;

/// Pauses before an instance profile that EC2 doesn't see yet is tried again: IAM takes seconds to
/// make a new one known. Shorter in all than the time in which the runner looks again.
const NOT_VISIBLE_PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// Carries out `action`.
pub(crate) async fn act(clients: &Clients, action: &Action) -> Acted {
    match action {
        Action::Attach {
            instance,
            profile,
            at,
        } => attach(&clients.ec2, instance, profile, *at).await,
        Action::Confirm { instance, at } => {
            match mark(&clients.ec2, instance, Mark::Online(*at)).await {
                Ok(()) => Acted::Done(None),
                Err(error) if error.is_not_found() => Acted::Skipped("gone meanwhile".to_owned()),
                Err(error) => Acted::Failed(error),
            }
        }
        Action::Repair { role, policy } => repair(&clients.iam, role, policy).await,
    }
}

async fn mark(ec2: &aws_sdk_ec2::Client, instance: &str, mark: Mark) -> Result<(), ApiError> {
    let tag = Tag::builder()
        .key(tags::MANAGED_NODE)
        .value(mark.value())
        .build();
    ec2.create_tags()
        .resources(instance)
        .tags(tag)
        .send()
        .await
        .map(|_| ())
        .map_err(|error| ApiError::of("ec2:CreateTags", &error))
}

/// The tag first: ended in between, the next sweep finds no profile and does both again. The other
/// way round nobody would know since when the agent has had credentials, and a sweep would call
/// an instance late that is only waiting (SSM-1).
async fn attach(ec2: &aws_sdk_ec2::Client, instance: &str, profile: &str, at: Timestamp) -> Acted {
    let untagged = match mark(ec2, instance, Mark::Attached(at)).await {
        Ok(()) => None,
        Err(error) if error.is_not_found() => return Acted::Skipped("gone meanwhile".to_owned()),
        Err(error) if error.kind == ErrorKind::Throttled => return Acted::Failed(error),
        // The profile matters more than our note of it: a tag policy or 50 tags don't keep it away.
        Err(error) => Some(error),
    };
    let acted = associate(ec2, instance, profile).await;
    match (acted, untagged) {
        (Acted::Done(note), Some(error)) => {
            let note = note.unwrap_or_default();
            Acted::Done(Some(format!("{note}; when wasn't noted: {error}")))
        }
        (acted, _) => acted,
    }
}

async fn associate(ec2: &aws_sdk_ec2::Client, instance: &str, profile: &str) -> Acted {
    let mut pauses = NOT_VISIBLE_PAUSES.iter();
    loop {
        let answer = ec2
            .associate_iam_instance_profile()
            .instance_id(instance)
            .iam_instance_profile(
                IamInstanceProfileSpecification::builder()
                    .arn(profile)
                    .build(),
            )
            .send()
            .await;
        let error = match answer {
            Ok(answer) => {
                let association = answer
                    .iam_instance_profile_association
                    .and_then(|association| association.association_id);
                return Acted::Done(association);
            }
            Err(error) => ApiError::of("ec2:AssociateIamInstanceProfile", &error),
        };
        match refusal(&error) {
            Refusal::NotVisible => match pauses.next() {
                Some(pause) => sleep(*pause).await,
                None => return Acted::Failed(error),
            },
            Refusal::LookAgain => return settle(ec2, instance, profile, error).await,
            Refusal::Gone => return Acted::Skipped(format!("gone meanwhile ({})", error.code)),
            Refusal::Other => return Acted::Failed(error),
        }
    }
}

/// What a refused association means. The same code has opposite meanings, so the message counts
/// as well (SSM-2).
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// The instance isn't as it was: in another state, or somebody has associated a profile.
    LookAgain,
    /// A new profile that EC2 doesn't see yet.
    NotVisible,
    /// The instance is gone.
    Gone,
    /// Anything else.
    Other,
}

fn refusal(error: &ApiError) -> Refusal {
    let message = error.message.to_lowercase();
    let not_visible = [
        "invalid iam instance profile",
        "instanceidentityprofilenotfound",
    ]
    .iter()
    .any(|words| message.contains(words));
    match error.code.as_str() {
        "IncorrectState" | "InvalidParameterValue" if not_visible => Refusal::NotVisible,
        // Pending or on its way out; or, with `IncorrectState`, an existing association.
        "IncorrectInstanceState" | "IncorrectState" => Refusal::LookAgain,
        _ if error.is_not_found() => Refusal::Gone,
        // The role's condition refuses an instance that has a profile (SSM-3): a lost race too.
        _ if error.kind == ErrorKind::Denied => Refusal::LookAgain,
        _ => Refusal::Other,
    }
}

/// Looks at what the instance is now, and at whose profile it has.
async fn settle(
    ec2: &aws_sdk_ec2::Client,
    instance: &str,
    profile: &str,
    error: ApiError,
) -> Acted {
    let has = match ec2::profile_association(ec2, instance).await {
        Ok(found) => found.map(|(_, profile)| profile),
        Err(unread) => {
            return match error.kind {
                ErrorKind::Denied => Acted::Failed(error),
                _ => Acted::Failed(unread),
            };
        }
    };
    if let Some(has) = has {
        return if has == profile {
            Acted::Done(Some("another run attached it meanwhile".to_owned()))
        } else {
            Acted::Skipped(format!("somebody attached {has} meanwhile, and it stays"))
        };
    }
    if error.kind == ErrorKind::Denied {
        return Acted::Failed(error);
    }
    let state = ec2
        .describe_instances()
        .filters(filter("instance-id", vec![instance.to_owned()]))
        .send()
        .await;
    let state = match state {
        Ok(found) => found
            .reservations()
            .iter()
            .flat_map(aws_sdk_ec2::types::Reservation::instances)
            .find_map(|found| found.state()?.name().cloned()),
        Err(unread) => {
            return Acted::Failed(ApiError::of("ec2:DescribeInstances", &unread));
        }
    };
    let why = match state {
        None | Some(InstanceStateName::Terminated | InstanceStateName::ShuttingDown) => {
            "it is being terminated"
        }
        Some(InstanceStateName::Pending) => {
            "it is still pending; its `running` event or the next sweep attaches the profile"
        }
        Some(InstanceStateName::Stopping) => {
            "it is being stopped; the next sweep attaches the profile"
        }
        _ => "it has changed meanwhile; the next sweep looks again",
    };
    Acted::Skipped(format!("{why} ({})", error.code))
}

async fn repair(iam: &aws_sdk_iam::Client, role: &str, policy: &str) -> Acted {
    let answer = iam
        .attach_role_policy()
        .role_name(role)
        .policy_arn(policy)
        .send()
        .await;
    match answer.map_err(|error| ApiError::of("iam:AttachRolePolicy", &error)) {
        Ok(_) => Acted::Done(Some(format!(
            "attached {policy}; undo: aws iam detach-role-policy --role-name {role} --policy-arn {policy}"
        ))),
        Err(error) if error.code == "NoSuchEntity" => Acted::Skipped("gone meanwhile".to_owned()),
        Err(mut error) => {
            if error.kind == ErrorKind::Denied {
                error
                    .message
                    .push_str(" (the stack's parameter RepairRoles must be on)");
            }
            Acted::Failed(error)
        }
    }
}

#[cfg(test)]
mod tests;
