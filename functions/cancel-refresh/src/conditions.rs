//! The kinds of condition that are told, and their words.

use guardrails::condition::{Command, Kind, On, Run, Urgency};

/// All kinds. Those of a refresh itself share a name, so that each stage takes the place of the one
/// before: failing, stopped, at its end.
pub(crate) const KINDS: &[&Kind] = &[
    &FAILING,
    &FAILING_FORWARD,
    &FAILING_ELSEWHERE,
    &STOPPED,
    &ENDED,
    &FAILED,
    &TROUBLED,
    &WAITING,
    &IMAGE,
    &MOVED,
    &MISMATCH,
    &SETTINGS,
];

const REFRESH: &str = "refresh";
const THROUGH: &str =
    "has had an instance refresh that came through, or has none to judge any more";

const EXPLAIN: Command = Command {
    to: "to see all the evidence",
    on: On::Group,
    run: Run::Invoke("explain"),
};
const ROLL_BACK: Command = Command {
    to: "to roll the refresh back yourself",
    on: On::Group,
    run: Run::Aws("autoscaling rollback-instance-refresh --auto-scaling-group-name"),
};
const CANCEL: Command = Command {
    to: "to cancel it and keep the instances that are new already",
    on: On::Group,
    run: Run::Aws("autoscaling cancel-instance-refresh --auto-scaling-group-name"),
};

/// In trouble, by no fault of the release that could be proved.
pub(crate) static TROUBLED: Kind = Kind {
    name: "refresh-troubled",
    meaning: "Something stands against the group's newest refresh that isn't the release's fault, or may not be. It is only told.",
    one: "instance refresh in trouble",
    many: "instance refreshes in trouble",
    resolved: THROUGH,
    next: "Nothing was stopped: what stands beside it isn't the release's fault, or may not be. Want of capacity: allow more instance types or Availability Zones, or wait. Old instances unhealthy too: look for an outage of something that all of them use.",
    urgency: Urgency::Soon,
    commands: &[EXPLAIN],
};

const NOT_STOPPED: &str =
    "The group's newest refresh fails and wasn't stopped: why stands beside it.";
const STOP_IT: &str = "It goes on: why it wasn't stopped stands beside it. Look at the evidence, and stop it yourself if you agree.";

/// Failing, and not stopped.
pub(crate) static FAILING: Kind = Kind {
    name: REFRESH,
    meaning: NOT_STOPPED,
    one: "failing instance refresh",
    many: "failing instance refreshes",
    resolved: THROUGH,
    next: STOP_IT,
    urgency: Urgency::Now,
    commands: &[EXPLAIN, ROLL_BACK, CANCEL],
};

/// The same where AWS can't roll back.
pub(crate) static FAILING_FORWARD: Kind = Kind {
    name: REFRESH,
    meaning: "The same of a refresh that AWS can't roll back.",
    one: "failing instance refresh that can only be cancelled",
    many: "failing instance refreshes that can only be cancelled",
    resolved: THROUGH,
    next: STOP_IT,
    urgency: Urgency::Now,
    commands: &[EXPLAIN, CANCEL],
};

/// The same where AWS or `CloudFormation` has the group.
pub(crate) static FAILING_ELSEWHERE: Kind = Kind {
    name: REFRESH,
    meaning: "The same in a group that only the AWS service that has it may change now.",
    one: "failing instance refresh in the hands of an AWS service",
    many: "failing instance refreshes in the hands of AWS services",
    resolved: THROUGH,
    next: "The service that is named beside it has the group, so stop the release there: in CloudFormation, or in the service that manages the group.",
    urgency: Urgency::Now,
    commands: &[EXPLAIN],
};

/// Stopped.
pub(crate) static STOPPED: Kind = Kind {
    name: REFRESH,
    meaning: "The group's newest refresh failed and was stopped.",
    one: "failing instance refresh stopped",
    many: "failing instance refreshes stopped",
    resolved: THROUGH,
    next: "Correct what the evidence names before you start the next refresh. After a rollback the group is as it was. After a cancel old and new instances run side by side: start a refresh to the version that worked, or terminate the new instances. If the release was good after all, start it again; the group's tags can ask for more evidence (ec2-guardrails:launch-failures and so on) or have it only told (ec2-guardrails:on-failure = notify).",
    urgency: Urgency::Soon,
    commands: &[EXPLAIN],
};

/// Stopped before, and at its end now.
pub(crate) static ENDED: Kind = Kind {
    name: REFRESH,
    meaning: "The refresh that was stopped is at its end.",
    one: "stopped instance refresh that has ended",
    many: "stopped instance refreshes that have ended",
    resolved: THROUGH,
    next: "After a rollback the group is as it was. After a cancel old and new instances run side by side: start a refresh to the version that worked, or terminate the new instances.",
    urgency: Urgency::Know,
    commands: &[EXPLAIN],
};

/// Failed on its own.
pub(crate) static FAILED: Kind = Kind {
    name: REFRESH,
    meaning: "The group's newest refresh failed on its own.",
    one: "instance refresh that failed",
    many: "instance refreshes that failed",
    resolved: THROUGH,
    next: "AWS gave it up; its reason stands beside it. Unless AWS rolled it back, old and new instances run side by side: start a refresh to the version that worked, or correct what is wrong and start this one again.",
    urgency: Urgency::Soon,
    commands: &[EXPLAIN],
};

/// Waiting for somebody.
pub(crate) static WAITING: Kind = Kind {
    name: "refresh-waiting",
    meaning: "The group's newest refresh has waited longer than `stalled-for` for something that doesn't come by itself: AWS lets it wait for an hour, or for days.",
    one: "instance refresh that waits",
    many: "instance refreshes that wait",
    resolved: THROUGH,
    next: "Give it what it waits for: resume the processes (aws autoscaling resume-processes), complete the lifecycle action, take the instances out of standby (exit-standby) or remove their protection (set-instance-protection). If it is wanted so, nothing is to be done.",
    urgency: Urgency::Soon,
    commands: &[EXPLAIN],
};

/// An image tag that wasn't put back.
pub(crate) static IMAGE: Kind = Kind {
    name: "refresh-image",
    meaning: "The container image tag should point to the known good image again, and doesn't.",
    one: "image tag that was not put back",
    many: "image tags that were not put back",
    resolved: "has its known good image again, or a refresh came through",
    next: "Until it is put back, instances that start pull what the tag points to now. Look at it with aws ecr batch-get-image --repository-name REPOSITORY --image-ids imageTag=TAG. To put an image back, give its imageManifest and imageManifestMediaType to aws ecr put-image with --image-tag TAG.",
    urgency: Urgency::Now,
    commands: &[EXPLAIN],
};

/// An image tag that was moved back.
pub(crate) static MOVED: Kind = Kind {
    name: "refresh-image-moved",
    meaning: "The container image tag was moved back to the known good image, whatever came of the refresh: what starts now runs that and not the release.",
    one: "image tag moved back",
    many: "image tags moved back",
    resolved: "has had another instance refresh since",
    next: "The release is not what instances pull now, even where its refresh says Successful. The failing image is kept under the tag that ends in -failed- and the refresh's id. If it was good after all, put it under the tag again (aws ecr batch-get-image, then put-image) and start the refresh again.",
    urgency: Urgency::Soon,
    commands: &[EXPLAIN],
};

/// Another refresh was hit than the one that was meant.
pub(crate) static MISMATCH: Kind = Kind {
    name: "refresh-mismatch",
    meaning: "AWS stopped another refresh than the one that was meant.",
    one: "instance refresh stopped that was not meant",
    many: "instance refreshes stopped that were not meant",
    resolved: "has had another instance refresh since",
    next: "A refresh began between the last look and the call, which takes only the group's name. Start it again if it was good.",
    urgency: Urgency::Now,
    commands: &[EXPLAIN],
};

/// A group's tags that can't be used.
pub(crate) static SETTINGS: Kind = Kind {
    name: "refresh-settings",
    meaning: "Tags that set how the group is judged can't be used as they are.",
    one: "group with unusable cancel-refresh tags",
    many: "groups with unusable cancel-refresh tags",
    resolved: "has usable tags now",
    next: "The policy's values hold instead. Correct the tags that are named (aws autoscaling create-or-update-tags); docs/cancel-refresh.md lists each with its values.",
    urgency: Urgency::Know,
    commands: &[],
};
