//! The agent: its own words in the console, its retry window, an AMI without it.

use jiff::Timestamp;

use super::{Cause, Certainty, Known};
use crate::facts::State;

/// The code of the cause that quotes the console.
pub const CONSOLE: &str = "agent-says";

/// Phrases of the agent, what each means, and what to do (SSM-8).
const PHRASES: [(&str, &str, &str); 7] = [
    (
        "unable to acquire credentials",
        "it got no credentials",
        "Look at the profile, its role and the metadata service. After the cause is gone, restart the agent or wait up to half an hour.",
    ),
    (
        "i/o timeout",
        "its connections time out",
        "Look at security groups, routes and endpoints.",
    ),
    (
        "connection refused",
        "its connections are refused",
        "Look for a proxy or a firewall inside the host.",
    ),
    (
        "no such host",
        "it can't resolve the service's name",
        "Look at the VPC's DNS settings and the host's resolver.",
    ),
    (
        "x509:",
        "it doesn't trust the service's certificate",
        "Look for an intercepting proxy, missing CA certificates or a wrong clock.",
    ),
    (
        "AccessDeniedException",
        "its role isn't allowed",
        "Look at the role's permissions and at service control policies.",
    ),
    (
        "No space left on device",
        "the disk is full",
        "Enlarge the volume or free space; the agent can't work on a full disk.",
    ),
];

/// Parts of AMI names that come without the agent.
const WITHOUT_AGENT: [(&str, &str); 6] = [
    ("minimal", "minimal images leave it out"),
    ("RHEL-", "Red Hat's images come without it"),
    ("debian-", "Debian's images come without it"),
    ("Rocky-", "Rocky Linux's images come without it"),
    ("Fedora-Cloud", "Fedora's images come without it"),
    ("CentOS", "CentOS's images come without it"),
];

/// What the agent said on the console.
pub(super) fn said(known: &Known<'_>) -> Option<Cause> {
    let Some(Ok(console)) = known.evidence?.console.as_ref() else {
        return None;
    };
    let of_agent = |line: &&str| {
        let lower = line.to_lowercase();
        lower.contains("ssm agent") || lower.contains("amazon-ssm-agent")
    };
    // The newest word counts: what it said before may be long repaired.
    let (line, meaning, fix) = console.lines().rev().filter(of_agent).find_map(|line| {
        let (_, meaning, fix) = PHRASES
            .iter()
            .find(|(phrase, ..)| line.to_lowercase().contains(&phrase.to_lowercase()))?;
        Some((line.trim(), meaning, fix))
    })?;
    Some(Cause {
        code: CONSOLE,
        certainty: Certainty::Likely,
        resource: known.instance.id.clone(),
        problem: format!(
            "the agent says on the console that {meaning}: \"{}\"",
            guardrails::tags::clip_to(line, 200)
        ),
        fix: (*fix).to_owned(),
    })
}

/// What can be said of the agent from outside, given what the layers before `found`.
pub(super) fn causes(known: &Known<'_>, now: Timestamp, found: &[Cause]) -> Vec<Cause> {
    let instance = known.instance;
    let online = known.node.is_some_and(|node| node.online);
    if instance.state != State::Running || online {
        return Vec::new();
    }
    let mut causes = Vec::new();
    let cause = |code, certainty, problem: String, fix: &str| Cause {
        code,
        certainty,
        resource: instance.id.clone(),
        problem,
        fix: fix.to_owned(),
    };
    let image = known.evidence.and_then(|e| e.image_name.as_deref());
    // A node that registered once has an agent.
    if let (Some(image), None) = (image, known.node)
        && let Some((_, why)) = WITHOUT_AGENT.iter().find(|(part, _)| image.contains(part))
    {
        causes.push(cause(
            "image-without-agent",
            Certainty::Likely,
            format!("its AMI {image} probably has no agent: {why}"),
            "Install amazon-ssm-agent by user data or in the image, or launch from an AMI that has it.",
        ));
    }
    let definite = found.iter().any(|c| c.certainty == Certainty::Definite);
    if instance.profile.is_some() && now < known.until && !definite {
        causes.push(cause(
            "retry-window",
            Certainty::Likely,
            format!(
                "the agent may still be inside its retry window, until {:.0}: when it found no credentials it sleeps 25 to 30 minutes, and after failed connections up to 60",
                known.until
            ),
            "Wait, or restart the agent (reboot the instance) to have it try at once.",
        ));
    }
    let nothing = found.iter().all(|c| c.certainty == Certainty::CannotTell) && causes.is_empty();
    if nothing && instance.profile.is_some() && known.network.is_some_and(Result::is_ok) {
        let problem = match known.node {
            Some(node) => format!(
                "its node was Online once and is {} since {}; role and network look right, so look inside the host: agent stopped, firewall, full disk, exhausted memory",
                node.ping,
                node.last_ping.map_or_else(|| "an unknown time".to_owned(), |at| format!("{at:.0}"))
            ),
            None => "it never registered; role and network look right, so look inside the host: agent not installed or stopped, a firewall, a proxy".to_owned(),
        };
        causes.push(cause(
            "agent",
            Certainty::Likely,
            problem,
            "Reboot it, which starts the agent anew. If that doesn't help, look at the console output, or use the EC2 serial console, or mount its root volume on another instance; install the agent by user data.",
        ));
    }
    causes
}
