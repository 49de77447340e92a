//! The kinds of condition.

use guardrails::condition::{Command, Kind, On, Run, Urgency};

const DIAGNOSE: Command = Command {
    to: "to see the full diagnosis",
    on: On::Instance,
    run: Run::Invoke("diagnose"),
};

const PROVE: Command = Command {
    to: "to prove that it is cured: it answers `connected`",
    on: On::Instance,
    run: Run::Aws("ssm get-connection-status --target"),
};

/// An instance that has a profile and isn't Online.
pub(crate) static UNMANAGED: Kind = Kind {
    name: "unmanaged",
    meaning: "It has a profile and isn't Online after `online-within`. A role that lacks permissions is told after five minutes: waiting doesn't cure it.",
    one: "instance that isn't a managed node",
    many: "instances that aren't managed nodes",
    resolved: "is a managed node now, or nobody asks for it any more",
    next: "Remove the cause that stands first. The agent may then take half an hour to try again; a reboot makes it try at once. An instance that needs no Session Manager: exclude it by the tag that the policy names.",
    urgency: Urgency::Soon,
    commands: &[DIAGNOSE, PROVE],
};

/// A node that is Online and yet can't be reached.
pub(crate) static UNUSABLE: Kind = Kind {
    name: "unusable",
    meaning: "It shows Online, but AWS says that no session can be opened with it: its role lacks the message channels, say, or its network has no way to `ssmmessages`.",
    one: "managed node that can't be used",
    many: "managed nodes that can't be used",
    resolved: "can be used now, or is no managed node any more",
    next: "The agent's heartbeat needs only the service ssm, so a node shows Online while Session Manager and Run Command fail for want of ssmmessages. Do the fix that stands beside the node. Where its role lacks the message channels: attach AmazonSSMManagedInstanceCore, or let the guardrail do it with repair-roles: true.",
    urgency: Urgency::Soon,
    commands: &[DIAGNOSE, PROVE],
};

/// An instance without a profile that would be given one, were the mode `enforce`.
pub(crate) static WITHOUT_PROFILE: Kind = Kind {
    name: "without-profile",
    meaning: "It has no instance profile, and the mode keeps the guardrail from giving it one. Members of a group whose template names none are told as `template-profile`, once for all.",
    one: "instance without an instance profile",
    many: "instances without an instance profile",
    resolved: "has an instance profile now, or nobody asks for one any more",
    next: "With mode: enforce the guardrail attaches the stack's profile to it. An instance that needs no Session Manager: exclude it by the tag that the policy names.",
    urgency: Urgency::Soon,
    commands: &[DIAGNOSE],
};

/// A group whose new instances come without a profile.
pub(crate) static NO_PROFILE_IN_TEMPLATE: Kind = Kind {
    name: "template-profile",
    meaning: "What the group launches from names no instance profile.",
    one: "Auto Scaling group that launches without instance profile",
    many: "Auto Scaling groups that launch without instance profile",
    resolved: "launches with an instance profile now, or its members need none from here",
    next: "Nothing is broken: with mode: enforce each new member is given the profile after its start, so its agent may come Online half an hour later than it could. Name the instance profile in what the group launches from.",
    urgency: Urgency::Know,
    commands: &[],
};

/// All.
pub(crate) static KINDS: [&Kind; 4] = [
    &UNMANAGED,
    &UNUSABLE,
    &WITHOUT_PROFILE,
    &NO_PROFILE_IN_TEMPLATE,
];
