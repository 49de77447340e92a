//! The kinds of condition that it reports.

use guardrails::condition::{Command, Kind, On, Run, Urgency};

const RELEASE: Command = Command {
    to: "to put everything back as it was",
    on: On::Instance,
    run: Run::Invoke("release"),
};

const CHECK: Command = Command {
    to: "to see the verdict of each rule",
    on: On::Instance,
    run: Run::Invoke("check"),
};

/// An instance in quarantine.
pub(crate) static QUARANTINED: Kind = Kind {
    name: "quarantined",
    meaning: "An instance was put into quarantine, and is until it is released. Told again when its launcher becomes known.",
    one: "instance in quarantine",
    many: "instances in quarantine",
    resolved: "was released from quarantine",
    next: "Look at its AMI and at who launched it. A good AMI: approve it in the policy, then release the instance. A bad one: once the evidence snapshots are completed (tag ec2-guardrails:evidence), turn termination protection off and terminate the instance. Security groups don't filter the VPC's DNS, time and instance metadata, and connections that stood before may go on: stopping the instance cuts these too.",
    urgency: Urgency::Soon,
    commands: &[CHECK, RELEASE],
};

/// An unapproved launch that isn't isolated.
pub(crate) static UNAPPROVED: Kind = Kind {
    name: "unapproved",
    meaning: "An instance was launched from an AMI that the policy doesn't approve, and isn't isolated: in the modes observe and notify it only would be.",
    one: "unapproved launch that isn't isolated",
    many: "unapproved launches that aren't isolated",
    resolved: "is in quarantine, or counts as unapproved no more",
    next: "A good AMI: approve it in the policy. A bad one: isolate the instance with the command quarantine, and set `mode: enforce` once nothing is told here that should run.",
    urgency: Urgency::Soon,
    commands: &[CHECK],
};

/// An instance that couldn't be isolated wholly.
pub(crate) static PARTLY_ISOLATED: Kind = Kind {
    name: "partly-isolated",
    meaning: "Something of an unapproved instance can't be isolated: a service manages it, tasks and pods may have network interfaces of their own on it, or it is in a secondary network, which has no security groups.",
    one: "instance that is not wholly isolated",
    many: "instances that are not wholly isolated",
    resolved: "is isolated now, or nobody asks for it any more",
    next: "AWS lets only the service that manages the instance or the network interface change its security groups. Stop it in that service (EKS Auto Mode, ECS and the like), drain the node, or close the security groups that it has. Only stopping the instance cuts off a secondary network.",
    urgency: Urgency::Now,
    commands: &[],
};

/// So many launches are to be isolated that the policy may be wrong.
pub(crate) static BRAKE: Kind = Kind {
    name: "brake",
    meaning: "More launches than the policy's `brake` allows are to be isolated: a wrong rule, or an attack. None is isolated, and no group suspended, until a person confirms it.",
    one: "brake that holds quarantines back",
    many: "brakes that hold quarantines back",
    resolved: "holds nothing back any more",
    next: "Look whether the rules are right: what is held back is told as unapproved, and the command check explains one instance. A wrong rule: correct the policy, and the next sweep forgets them. Launches that are to be isolated: run the command confirm, with `instances` as the number that stands beside it; what it isolates is released one by one.",
    urgency: Urgency::Now,
    commands: &[],
};

/// A source that launches unapproved AMIs again and again.
pub(crate) static LOOP: Kind = Kind {
    name: "loop",
    meaning: "One source launches unapproved AMIs in a loop; whether that was stopped stands beside it.",
    one: "source that launches unapproved AMIs in a loop",
    many: "sources that launch unapproved AMIs in a loop",
    resolved: "launches no unapproved AMIs in a loop any more",
    next: "Correct the AMI where the launches come from, such as the launch template, or approve it in the policy; then release the group (the release of its last instance in quarantine does that too). What isn't an Auto Scaling group can't be stopped from here: stop the pipeline, the Fleet or the person.",
    urgency: Urgency::Now,
    commands: &[Command {
        to: "to resume what was suspended in the group",
        on: On::Group,
        run: Run::Invoke("release"),
    }],
};

/// An instance in quarantine whose groups somebody changed.
pub(crate) static DRIFT: Kind = Kind {
    name: "drift",
    meaning: "Somebody changed the security groups of an instance in quarantine by hand.",
    one: "instance in quarantine whose security groups were changed",
    many: "instances in quarantine whose security groups were changed",
    resolved: "is isolated again, or released",
    next: "An instance is isolated again only once: changed a second time, it stays as somebody left it. To end a quarantine, release the instance, which also restores what else was changed.",
    urgency: Urgency::Now,
    commands: &[RELEASE],
};

/// Evidence that isn't any.
pub(crate) static EVIDENCE_FAILED: Kind = Kind {
    name: "evidence-failed",
    meaning: "A snapshot that was to keep the state of an instance in quarantine failed.",
    one: "instance in quarantine whose evidence failed",
    many: "instances in quarantine whose evidence failed",
    resolved: "has no failed evidence any more",
    next: "Don't terminate the instance yet: its state isn't kept. Remove the cause that stands beside it (often an encryption key that is disabled), take a snapshot of the volume by hand, and delete the failed one.",
    urgency: Urgency::Soon,
    commands: &[],
};

/// An instance behind an isolation group that has rules.
pub(crate) static ISOLATION_OPENED: Kind = Kind {
    name: "isolation-opened",
    meaning: "Somebody added rules to the security group that isolates, which the policy's responders don't have, so what is in quarantine behind it could be reached. In mode enforce the rules are taken away again.",
    one: "instance in quarantine that could be reached, because the isolation group had rules",
    many: "instances in quarantine that could be reached, because the isolation group had rules",
    resolved: "is behind a group that lets in no strangers again",
    next: "Find out who added the rules (AuthorizeSecurityGroupIngress or -Egress in CloudTrail), and what came through meanwhile. Who has to look at an instance in quarantine takes its evidence snapshots, or is named in the policy under responders.",
    urgency: Urgency::Now,
    commands: &[CHECK],
};

/// An instance about whose AMI nothing can be told.
pub(crate) static UNDECIDED: Kind = Kind {
    name: "undecided",
    meaning: "It can't be told whether the AMI of a launch is approved, and why.",
    one: "launch that can't be judged",
    many: "launches that can't be judged",
    resolved: "could be judged",
    next: "Nothing was done. Remove the cause that stands beside it (an SSM parameter that doesn't exist or isn't among ImageParameterArns, a missing permission); the next sweep judges again.",
    urgency: Urgency::Soon,
    commands: &[CHECK],
};

/// An instance whose labels say that it is in quarantine, though nothing was recorded.
pub(crate) static UNRECORDED: Kind = Kind {
    name: "unrecorded",
    meaning: "An instance bears the labels of a quarantine, but none was recorded of it: they were copied or planted, or the state table was lost. Nothing is done because of them.",
    one: "instance with labels of a quarantine that was never recorded",
    many: "instances with labels of quarantines that were never recorded",
    resolved: "bears no such labels any more",
    next: "Find out who tagged it (CreateTags in CloudTrail), and remove the tags ec2-guardrails:quarantine*. Only if the state table was lost: the command release says what it would put back by the labels, and how to order that.",
    urgency: Urgency::Soon,
    commands: &[Command {
        to: "to see what a release would put back by its labels",
        on: On::Instance,
        run: Run::Invoke("release"),
    }],
};

/// Approve rules that let in more than they seem to.
pub(crate) static BROAD: Kind = Kind {
    name: "broad-approval",
    meaning: "The policy's approve rules let in more than they seem to.",
    one: "policy with approve rules that are too broad",
    many: "policies with approve rules that are too broad",
    resolved: "has no approve rule that is too broad any more",
    next: "Narrow the rules as each line says; docs/policy.md shows how.",
    urgency: Urgency::Know,
    commands: &[],
};

/// All of them.
pub(crate) const KINDS: &[&Kind] = &[
    &QUARANTINED,
    &UNAPPROVED,
    &PARTLY_ISOLATED,
    &BRAKE,
    &LOOP,
    &DRIFT,
    &ISOLATION_OPENED,
    &EVIDENCE_FAILED,
    &UNDECIDED,
    &UNRECORDED,
    &BROAD,
];
