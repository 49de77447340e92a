//! What is to be done. Pure, and reads nothing but the evaluation.

use std::collections::BTreeSet;

use guardrails::guardrail::Decision;
use guardrails::policy::Exempt;
use guardrails::resource::Resource;
use guardrails::state::Version;
use jiff::Timestamp;

use crate::diagnosis::identity::core_policy;
use crate::evaluate::{Evaluation, Judged, JudgedGroup, Judgement, Unread};
use crate::memory::Managed;
use crate::standing::Standing;

/// What can be carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Associate the stack's instance profile.
    Attach {
        instance: String,
        profile: String,
        at: Timestamp,
        /// What the instance may be excluded by until then.
        exclude: Exempt,
    },
    /// Attach `AmazonSSMManagedInstanceCore` to a role.
    Repair { role: String, policy: String },
    /// Remember that the node is Online, and whether a session could be opened.
    Confirm {
        instance: String,
        managed: Managed,
        /// When it started, where it is seen Online first.
        launched: Option<Timestamp>,
        at: Timestamp,
        /// What was read of it.
        read: Version,
    },
}

/// What an action brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A node was seen Online first, so many seconds after its start or its profile.
    Online { after: u64 },
}

/// What is to be done.
pub(crate) fn decide(evaluation: &Evaluation<'_>) -> Vec<Decision<Action>> {
    let mut repaired = BTreeSet::new();
    let of_instances = evaluation.instances.iter().flat_map(|judged| {
        let repair = repair(judged, evaluation.profile, &mut repaired);
        repair.into_iter().chain(of_instance(judged, evaluation))
    });
    let groups = evaluation.groups.iter().flatten();
    of_instances
        .chain(evaluation.unread.iter().map(unread))
        .chain(groups.filter_map(unread_group))
        .collect()
}

/// What couldn't be read, so that a missing permission doesn't go unseen.
fn unread(unread: &Unread<'_>) -> Decision<Action> {
    let (what, error) = (&unread.what, unread.error);
    if unread.decides {
        let reason = format!("{what} couldn't be read, so nothing that rests on it is done");
        return Decision::cannot_judge(Resource::Account, reason, error.clone());
    }
    let reason =
        format!("{what} couldn't be read; what rests on it isn't told in this run: {error}");
    Decision::leave(Resource::Account, "report", reason)
}

fn unread_group(judged: &JudgedGroup<'_>) -> Option<Decision<Action>> {
    let (Some(Err(_)), Judgement::Unknown(why)) =
        (&judged.group.has_profile, &judged.without_profile)
    else {
        return None;
    };
    let resource = Resource::group(judged.name);
    Some(Decision::leave(resource, "report", why.clone()))
}

fn of_instance(judged: &Judged<'_>, evaluation: &Evaluation<'_>) -> Option<Decision<Action>> {
    let instance = judged.instance;
    let resource = || Resource::instance(&instance.id);
    let leave = |reason: String| Some(Decision::leave(resource(), "leave-alone", reason));
    let wait = |reason: String| Some(Decision::leave(resource(), "wait", reason));
    match &judged.standing {
        Standing::Lacking => Some(Decision::act(
            resource(),
            "attach-profile",
            format!("{} has no instance profile", instance.label()),
            Action::Attach {
                instance: instance.id.clone(),
                profile: evaluation.profile.to_owned(),
                at: evaluation.now,
                exclude: evaluation.exclude.clone(),
            },
        )),
        Standing::Unknown => judged.quarantine_unread.map(|error| {
            let reason = "it has no instance profile, and whether it is in quarantine couldn't be read, so it is given none";
            Decision::cannot_judge(resource(), reason.to_owned(), error.clone())
        }),
        Standing::Online => online(judged, evaluation),
        Standing::NotYet(why) => wait(format!("it has no profile: {why}")),
        Standing::Waiting(until) => wait(format!(
            "it has a profile and may take until {until:.0} to come Online: an agent that found no credentials sleeps for half an hour"
        )),
        Standing::Late(until) => Some(Decision::leave(
            resource(),
            "report",
            format!("it has a profile and isn't Online since before {until:.0}"),
        )),
        Standing::Quarantined => leave("it is in quarantine".to_owned()),
        Standing::Operated(operator) => {
            leave(format!("{operator} manages it, and only {operator} may change it"))
        }
        Standing::Excluded(_) | Standing::Stopped | Standing::Terminal if evaluation.complete => None,
        Standing::Excluded(why) => leave(why.clone()),
        Standing::Stopped => leave("it has a profile and isn't running".to_owned()),
        Standing::Terminal => leave("it is being terminated".to_owned()),
    }
}

fn online(judged: &Judged<'_>, evaluation: &Evaluation<'_>) -> Option<Decision<Action>> {
    let instance = judged.instance;
    let resource = Resource::instance(&instance.id);
    if let Some(memory) = judged.memory {
        let known = memory.value;
        let managed = Managed {
            online: known.online.or(Some(evaluation.now)),
            connected: known.connected || judged.connected == Some(true),
            ..known
        };
        if managed != known {
            let confirm = Action::Confirm {
                instance: instance.id.clone(),
                managed,
                launched: Some(instance.launched).filter(|_| known.online.is_none()),
                at: evaluation.now,
                read: memory.version.clone(),
            };
            let reason = "it is a managed node now".to_owned();
            return Some(Decision::act(resource, "confirm-online", reason, confirm));
        }
    }
    // Of thousands of healthy nodes nothing is to be said, of the one asked for it is.
    let reason = match instance.profile {
        _ if evaluation.complete => return None,
        None => {
            "it is a managed node through Default Host Management; a profile would change whose permissions its commands have"
        }
        Some(_) => "it is a managed node",
    };
    Some(Decision::leave(resource, "leave-alone", reason.to_owned()))
}

/// The repair of a role, once per role.
fn repair<'a>(
    judged: &Judged<'a>,
    profile: &str,
    repaired: &mut BTreeSet<&'a str>,
) -> Option<Decision<Action>> {
    let repair = judged
        .repair
        .as_ref()
        .filter(|repair| repaired.insert(repair.role))?;
    let (label, missing) = (judged.instance.label(), repair.missing.join(", "));
    Some(Decision::act(
        Resource::instance(&judged.instance.id),
        "repair-role",
        format!("role {} of {label} doesn't allow {missing}", repair.role),
        Action::Repair {
            role: repair.role.to_owned(),
            policy: core_policy(profile),
        },
    ))
}

#[cfg(test)]
mod tests;
