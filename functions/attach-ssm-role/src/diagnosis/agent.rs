//! The agent: its own words in the console, its retry window, an AMI without it.

use guardrails::ec2::State;
use jiff::Timestamp;

use super::cause::{Cause, Certainty, Known};

/// The code of the cause that quotes the console.
pub(super) const CONSOLE: &str = "agent-says";
/// The code of the cause that is said where no other is likely.
pub(super) const INSIDE: &str = "agent";

/// What the agent can complain of.
struct Complaint {
    meaning: &'static str,
    fix: &'static str,
    /// Whether it has no credentials: then it sleeps for half an hour (SSM-1).
    sleeps: bool,
}

/// Phrases of the agent, and what each means (SSM-8). The first that stands in a message counts: each
/// message begins with "unable to acquire credentials", because the agent calls them usable only once
/// it has reported with them; so what it failed at goes first.
const PHRASES: [(&str, Complaint); 21] = [
    ("Signature expired", CLOCK),
    ("Signature not yet current", CLOCK),
    ("Not existing InstanceId mi-", REGISTRATION),
    // Whatever then fails, it is the name: also `lookup …: i/o timeout`.
    ("dial tcp: lookup", NAME),
    ("no such host", NAME),
    // Asked for, and not only named, as in a list of what goes by no proxy.
    ("tcp 169.254.169.254", IMDS),
    ("//169.254.169.254", IMDS),
    ("tcp [fd00:ec2::254]", IMDS),
    ("//[fd00:ec2::254]", IMDS),
    ("connection refused", REFUSED),
    ("i/o timeout", TIMEOUT),
    ("context deadline exceeded", TIMEOUT),
    ("Client.Timeout exceeded", TIMEOUT),
    ("TLS handshake timeout", TIMEOUT),
    ("network is unreachable", TIMEOUT),
    ("no route to host", TIMEOUT),
    ("x509:", CERTIFICATE),
    ("No space left on device", DISK),
    // Without a profile it asks for Default Host Management's role, and that is off.
    ("instance management role is not configured", NONE),
    ("AccessDeniedException", DENIED),
    ("unable to acquire credentials", NONE),
];
const CLOCK: Complaint = complaint(
    "the host's clock is wrong, so AWS refuses its signatures",
    "Set the clock: chronyd or Windows Time against 169.254.169.123, which needs no way out.",
);
const REGISTRATION: Complaint = complaint(
    "it is registered as a node of a hybrid activation that is gone",
    "Clear that registration on the host (amazon-ssm-agent -register -clear), and in the image where it comes from there, and restart the agent.",
);
const NAME: Complaint = complaint(
    "it can't resolve the service's name",
    "Look at the VPC's DNS settings and the host's resolver.",
);
const IMDS: Complaint = without_credentials(
    "it can't reach the metadata service",
    "Look at the host's firewall and routes to 169.254.169.254. After the cause is gone, restart the agent or wait up to half an hour.",
);
const REFUSED: Complaint = complaint(
    "its connections are refused",
    "Look for a proxy or a firewall inside the host.",
);
const TIMEOUT: Complaint = complaint(
    "its connections get no answer",
    "Look at security groups, network ACLs, routes and endpoints, and at a firewall inside the host.",
);
const CERTIFICATE: Complaint = complaint(
    "it doesn't trust the service's certificate",
    "Look for an intercepting proxy, missing CA certificates or a wrong clock.",
);
const DISK: Complaint = complaint(
    "the disk is full",
    "Enlarge the volume or free space; the agent can't work on a full disk.",
);
const DENIED: Complaint = complaint(
    "its role isn't allowed",
    "Look at the role's permissions and at service control policies. After the cause is gone, restart the agent or wait up to half an hour.",
);
const NONE: Complaint = without_credentials(
    "it got no credentials",
    "Look at the profile, its role and the metadata service. After the cause is gone, restart the agent or wait up to half an hour.",
);

const fn complaint(meaning: &'static str, fix: &'static str) -> Complaint {
    Complaint {
        meaning,
        fix,
        sleeps: false,
    }
}

const fn without_credentials(meaning: &'static str, fix: &'static str) -> Complaint {
    Complaint {
        sleeps: true,
        ..complaint(meaning, fix)
    }
}

/// Levels of the agent's log at which it doesn't complain, but for the words with which it gives up.
const LEVELS: [&str; 3] = [" INFO ", " DEBUG ", " TRACE "];
const GIVES_UP: &str = "Entering SSM Agent hibernate";

/// Most lines of one message.
const MESSAGE_LINES: usize = 10;

/// Parts of AMI names that come without the agent.
const WITHOUT_AGENT: [(&str, &str); 6] = [
    ("minimal", "minimal images leave it out"),
    ("RHEL-", "Red Hat's images come without it"),
    ("debian-", "Debian's images come without it"),
    ("Rocky-", "Rocky Linux's images come without it"),
    ("Fedora-Cloud", "Fedora's images come without it"),
    ("CentOS", "CentOS's images come without it"),
];

/// What the agent has said on the console since it was last as it is. What it said before its last
/// start, before it got its profile or before its last ping is answered by those.
pub(super) fn said(known: &Known<'_>, now: Timestamp) -> Option<Cause> {
    let Some(Ok(console)) = known.evidence?.console.as_ref() else {
        return None;
    };
    let lines: Vec<&str> = console.text.lines().collect();
    let of_agent = |line: &str| {
        let lower = line.to_lowercase();
        let is_its = lower.contains("ssm agent") || lower.contains("amazon-ssm-agent");
        // What it only mentions is no complaint.
        let complains = !LEVELS.iter().any(|level| line.contains(level)) || line.contains(GIVES_UP);
        is_its && complains
    };
    // The newest word counts: what it said before may be long repaired.
    let mut newest_first = (0..lines.len()).rev().filter(|at| of_agent(lines[*at]));
    let (message, at, complaint) = newest_first.find_map(|at| {
        let message = message_at(&lines, at);
        let lower = message.to_lowercase();
        let mut phrases = PHRASES.iter();
        let (_, complaint) = phrases.find(|(phrase, _)| lower.contains(&phrase.to_lowercase()))?;
        Some((message, written_at(lines[at]), complaint))
    })?;
    // A line without a time was written before the console was last seen.
    if at.or(console.updated).is_some_and(|at| at < known.since) {
        return None;
    }
    let (certainty, when) = match at {
        Some(at) => (Certainty::Likely, format!("at {at:.0}")),
        None => (
            Certainty::CannotTell,
            "at a time that the line doesn't tell, so it may be long over".to_owned(),
        ),
    };
    // Inside the window it is what it sleeps for, not a reason of its own.
    if complaint.sleeps && known.instance.profile.is_some() && now < known.until {
        return None;
    }
    let (id, meaning) = (&known.instance.id, complaint.meaning);
    let message = guardrails::text::clip(&message, 600);
    let problem = format!("the agent said on the console, {when}, that {meaning}: \"{message}\"");
    Some(Cause {
        at,
        ..Cause::new(CONSOLE, certainty, id, problem, complaint.fix)
    })
}

/// Whether the agent's words are only of what the network does: no answer, no name.
pub(super) fn is_of_network(said: &Cause) -> bool {
    [TIMEOUT.fix, NAME.fix].contains(&said.fix.as_str())
}

/// The agent's message that begins in line `at`: an error's text may go over several lines.
fn message_at(lines: &[&str], at: usize) -> String {
    let mut message = lines[at].trim().to_owned();
    for line in lines[at + 1..].iter().take(MESSAGE_LINES - 1) {
        let open = message.contains("<error>") && !message.contains("</error>");
        if !open && !line.trim_start().starts_with("caused by:") {
            break;
        }
        message.push(' ');
        message.push_str(line.trim());
    }
    message
}

/// When a line was written: `2026/11/21 12:00:00Z` and `2026-11-21 12:00:00` are the agent's own
/// ways to say it, in UTC on AMIs as they come.
fn written_at(line: &str) -> Option<Timestamp> {
    let bytes = line.as_bytes();
    let start = (0..bytes.len().saturating_sub(18)).find(|start| {
        bytes[*start..*start + 19]
            .iter()
            .zip(b"dddd-dd-dd dd:dd:dd")
            .all(|(have, wanted)| match wanted {
                b'd' => have.is_ascii_digit(),
                b'-' => matches!(have, b'-' | b'/'),
                b' ' => matches!(have, b' ' | b'T'),
                wanted => have == wanted,
            })
    })?;
    let date = line.get(start..start + 10)?.replace('/', "-");
    let time = line.get(start + 11..start + 19)?;
    format!("{date}T{time}Z").parse().ok()
}

/// What can be said of the agent from outside, given what the layers before `found`, and whether
/// those left something `in_doubt` that it needs.
pub(super) fn causes(
    known: &Known<'_>,
    now: Timestamp,
    found: &[Cause],
    in_doubt: bool,
) -> Vec<Cause> {
    let instance = known.instance;
    if instance.state != State::Running {
        return Vec::new();
    }
    let mut causes: Vec<Cause> = without_agent(known).into_iter().collect();
    causes.extend(too_old(known));
    let definite = found.iter().any(|c| c.certainty == Certainty::Definite);
    if instance.profile.is_some() && now < known.until && !definite {
        causes.push(Cause::new(
            "retry-window",
            Certainty::Likely,
            &instance.id,
            format!(
                "the agent may still be inside its retry window, until {:.0}: when it found no credentials it sleeps 25 to 30 minutes, and after failed connections up to 60",
                known.until
            ),
            "Wait, or restart the agent (reboot the instance) to have it try at once.",
        ));
    }
    let mut all = found.iter().chain(&causes);
    let nothing = all.all(|cause| cause.certainty == Certainty::CannotTell);
    if nothing && instance.profile.is_some() && known.network.is_some_and(Result::is_ok) {
        causes.push(inside(known, in_doubt));
    }
    causes
}

/// An agent of a version that may not know how to ask for a token (`IMDSv2`).
fn too_old(known: &Known<'_>) -> Option<Cause> {
    let version = known.node?.agent.as_deref()?;
    let old = version.starts_with("1.") || version.starts_with("2.");
    (old && known.instance.tokens).then(|| {
        Cause::new(
            "agent-too-old",
            Certainty::CannotTell,
            &known.instance.id,
            format!("its agent was of version {version}, which may not be able to get credentials where the metadata service wants tokens (IMDSv2)"),
            "Update the agent to version 3, or make tokens optional for as long as that takes: aws ec2 modify-instance-metadata-options --http-tokens optional.",
        )
    })
}

/// The node of a hybrid activation that has its address: then that is what manages it.
pub(super) fn registered_as(known: &Known<'_>) -> Option<Cause> {
    let (node, id) = (known.hybrid_node()?, &known.instance.id);
    Some(Cause::new(
        "registered-as",
        Certainty::Likely,
        node,
        format!(
            "the node {node} of a hybrid activation is Online with its address, so {id} is probably managed as that"
        ),
        "Nothing, if it is meant so. To have it managed as an instance: clear the registration on the host (amazon-ssm-agent -register -clear) and restart the agent. If an image was made of it, those launched from that share the node, and each of them needs this.",
    ))
}

/// An AMI that comes without the agent. A node that registered once has one.
fn without_agent(known: &Known<'_>) -> Option<Cause> {
    let image = known.evidence?.image_name.as_ref()?.as_deref().ok()?;
    let (_, why) = WITHOUT_AGENT
        .iter()
        .find(|(part, _)| known.node.is_none() && image.contains(part))?;
    Some(Cause::new(
        "image-without-agent",
        Certainty::Likely,
        &known.instance.id,
        format!("its AMI {image} probably has no agent: {why}"),
        "Install amazon-ssm-agent by user data or in the image, or launch from an AMI that has it.",
    ))
}

/// Nothing is seen from outside: the host itself. What is `in_doubt` is to be looked at first.
fn inside(known: &Known<'_>, in_doubt: bool) -> Cause {
    let (certainty, rest) = if in_doubt {
        (
            Certainty::CannotTell,
            "what could be read of role and network looks right",
        )
    } else {
        (Certainty::Likely, "role and network look right")
    };
    let problem = match known.node {
        Some(node) => format!(
            "its node was Online once and is {} since {}; {rest}, so look inside the host: agent stopped, firewall, full disk, exhausted memory",
            node.ping,
            node.last_ping
                .map_or_else(|| "an unknown time".to_owned(), |at| format!("{at:.0}"))
        ),
        None => format!(
            "it never registered; {rest}, so look inside the host: agent not installed or stopped, a firewall, a proxy"
        ),
    };
    Cause::new(
        INSIDE,
        certainty,
        &known.instance.id,
        problem,
        "Reboot it, which starts the agent anew. If that doesn't help, look at the console output, or use the EC2 serial console, or mount its root volume on another instance; install the agent by user data.",
    )
}
