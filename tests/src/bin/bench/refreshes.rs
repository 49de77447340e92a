//! Sweeps of cancel-refresh.

mod estate;
mod services;

pub(crate) use estate::Groups;

/// What a sweep finds, and so has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// No refresh is active: the common case, every five minutes.
    Quiet,
    /// A tenth of the groups have an active refresh that goes well.
    Rolling,
    /// Besides those some have one whose launches fail, and which has to be stopped.
    Failing,
}
