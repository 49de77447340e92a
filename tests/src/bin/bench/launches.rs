//! Runs of quarantine-launch.

mod ec2;
mod estate;
mod services;

pub(crate) use estate::Launches;

/// The call that isolates a network interface.
pub(crate) const ISOLATES: &str = "ModifyNetworkInterfaceAttribute";

/// What a run finds, and so has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Every AMI is approved, or was launched too long ago to be a launch: the common case, every
    /// five minutes.
    Approved,
    /// Some instances were just launched from AMIs that nobody approved; mode observe.
    Observed,
    /// The same; mode enforce.
    Enforced,
    /// The same, and it is the event of one such launch that starts the run.
    Event,
}
