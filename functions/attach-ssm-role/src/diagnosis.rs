//! Why a node isn't Online. Pure: evidence in, causes out.
//!
//! The layers are looked at from the instance outwards. Each tells only what it sees; a healthy
//! layer tells nothing.

mod agent;
pub(crate) mod cause;
mod document;
pub(crate) mod identity;
mod instance;
pub(crate) mod network;
mod sessions;

use guardrails::aws::{ApiError, ErrorKind};
use jiff::Timestamp;

use self::cause::{Cause, Certainty, Known};
use self::sessions::Found;
use crate::facts::network::Service;

/// What was found, the primary cause first, the others from the instance outwards.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Diagnosis {
    pub(crate) causes: Vec<Cause>,
    /// What keeps nobody out, and loses the logs of sessions.
    pub(crate) log_only: Vec<Cause>,
    /// Whether all that matters could be read.
    pub(crate) complete: bool,
    /// Whether the next look may find more without anybody's doing.
    pub(crate) passing: bool,
}

impl Diagnosis {
    /// The cause to remove first.
    pub(crate) fn primary(&self) -> Option<&Cause> {
        self.causes.first()
    }

    /// What is told again when it changes: the surest cause, but for the agent's words, which
    /// aren't read of every instance at every sweep, and for what is said where it says nothing.
    pub(crate) fn fingerprint(&self) -> String {
        self.causes
            .iter()
            .find(|cause| ![agent::CONSOLE, agent::INSIDE].contains(&cause.code))
            .map_or_else(|| "unknown".to_owned(), Cause::fingerprint)
    }

    /// For people.
    pub(crate) fn why(&self) -> String {
        let [primary, others @ ..] = self.causes.as_slice() else {
            return "no cause was found".to_owned();
        };
        let sure = match primary.certainty {
            Certainty::Definite => "",
            Certainty::Likely => "probably ",
            Certainty::CannotTell => "perhaps ",
        };
        let others: Vec<&str> = others.iter().map(|cause| cause.problem.as_str()).collect();
        let also = match others.as_slice() {
            [] => String::new(),
            others => format!(" Also: {}.", others.join("; ")),
        };
        let (problem, fix) = (&primary.problem, &primary.fix);
        format!("{sure}because {problem}. Fix: {fix}{also}")
    }
}

/// Finds out why `known` isn't Online, or can't be used. What AWS proves outweighs all inference.
pub(crate) fn diagnose(known: &Known<'_>, now: Timestamp) -> Diagnosis {
    let connected = matches!(known.connection, Some(Ok(true)));
    let (mut causes, mut unread, mut lists) = (Vec::new(), Vec::new(), Vec::new());
    if !connected {
        causes = if known.online() {
            unusable(known)
        } else {
            unmanaged(known, now)
        };
        unread.extend(known.unread());
        lists = unread_lists(known);
    }
    let mut of_sessions = Found::default();
    if connected || known.online() {
        let asked = known.sessions.and_then(|read| read.as_ref().ok());
        of_sessions = asked.map_or_else(Found::default, |asked| sessions::judge(known, asked));
        unread.extend(sessions::unread(known));
        // What several parts of the diagnosis rest on is told once.
        let mut told = std::collections::BTreeSet::new();
        unread.retain(|error| told.insert(error.to_string()));
    }
    causes.append(&mut of_sessions.blocks);
    causes.extend(unread.iter().map(|error| {
        let fix = "Allow the call in the function's role; the next sweep looks again.";
        not_read(&known.instance.id, error, fix)
    }));
    causes.extend(lists.iter().map(|(list, error)| {
        let fix = "Allow the call in the function's role, and where the prefix list is another account's, have it shared; until then rules and routes with it count as perhaps.";
        not_read(list, error, fix)
    }));
    for cause in causes.iter_mut().chain(&mut of_sessions.loses) {
        cause.at.get_or_insert(now);
    }
    // The surest cause goes first; the others keep their order from the instance outwards.
    if let Some(primary) = (0..causes.len()).min_by_key(|at| (causes[*at].certainty, *at)) {
        causes[..=primary].rotate_right(1);
    }
    let list_passes = lists.iter().any(|(_, error)| may_pass(error));
    Diagnosis {
        causes,
        log_only: of_sessions.loses,
        // A list that may never be read mustn't hold back what is known besides.
        complete: unread.is_empty() && !list_passes,
        passing: unread.into_iter().any(may_pass) || list_passes,
    }
}

fn not_read(resource: &str, error: &ApiError, fix: &str) -> Cause {
    let problem = format!("part of the diagnosis is missing: {error}");
    Cause::new("not-read", Certainty::CannotTell, resource, problem, fix)
}

/// Why a node isn't Online, from the instance outwards.
fn unmanaged(known: &Known<'_>, now: Timestamp) -> Vec<Cause> {
    let mut causes: Vec<Cause> = agent::registered_as(known).into_iter().collect();
    causes.extend(instance::causes(known));
    causes.extend(identity::causes(known));
    let said = agent::said(known, now);
    let (of_network, of_host): (Vec<Cause>, Vec<Cause>) =
        said.into_iter().partition(agent::is_of_network);
    causes.extend(of_host);
    let unclear = |cause: &Cause| cause.certainty == Certainty::CannotTell;
    let mut in_doubt = known.by_hub || causes.iter().any(unclear);
    if let Some(network) = known.seen_network() {
        causes.extend(network::causes(known.instance, network));
        in_doubt |= network::in_doubt(known.instance, network);
    }
    // What stands in the way says more than that something does.
    causes.extend(of_network);
    causes.extend(agent::causes(known, now, &causes, in_doubt));
    causes
}

/// Why a node that is Online can't be used: that it is Online disproves all that would keep it
/// away.
fn unusable(known: &Known<'_>) -> Vec<Cause> {
    let mut causes: Vec<Cause> = identity::without_channels(known).into_iter().collect();
    if let Some(network) = known.seen_network() {
        let way = network::to_service(Service::Messages, known.instance, network);
        causes.extend(way);
    }
    let says_no = matches!(known.connection, Some(Ok(false)));
    let unclear = |cause: &Cause| cause.certainty == Certainty::CannotTell;
    if says_no && causes.iter().all(unclear) {
        causes.insert(0, not_connected(&known.instance.id));
    }
    causes
}

/// AWS says that no session can be opened, and nothing that is seen from outside tells why.
pub(crate) fn not_connected(instance: &str) -> Cause {
    Cause::new(
        "not-connected",
        Certainty::Definite,
        instance,
        "AWS says that no session can be opened with it: its agent holds no channel to ssmmessages",
        "Look at the agent's log for ssmmessages (a proxy or firewall that lets only ssm through, an agent that hangs), and restart the agent or reboot the instance.",
    )
}

fn unread_lists<'a>(known: &Known<'a>) -> Vec<(&'a String, &'a ApiError)> {
    known.seen_network().map_or_else(Vec::new, |network| {
        network::unread(known.instance, network).collect()
    })
}

/// What couldn't be read of `known`, and may be at the next look.
pub(crate) fn passing<'a>(known: &Known<'a>) -> Option<&'a ApiError> {
    let lists = unread_lists(known).into_iter().map(|(_, error)| error);
    known.unread().chain(lists).find(|error| may_pass(error))
}

/// Whether another try at what failed so may succeed by itself.
fn may_pass(error: &ApiError) -> bool {
    matches!(error.kind, ErrorKind::Throttled | ErrorKind::Unknown)
}

#[cfg(test)]
pub(crate) mod tests;
