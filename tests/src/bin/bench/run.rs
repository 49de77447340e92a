//! What can be measured: a guardrail's sweep of one estate.

use std::str::FromStr;

use crate::estate::Estate;
use crate::function::{
    ATTACH_SSM_ROLE, CANCEL_REFRESH, Program, QUARANTINE_LAUNCH, SNAPSHOT_VOLUMES,
};
use crate::launches::{self, Launches};
use crate::nodes::{self, Instances};
use crate::refreshes::{self, Groups};
use crate::snapshots::{self, Volumes};

/// What a sweep finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    /// snapshot-volumes finds.
    Volumes(snapshots::Scenario),
    /// attach-ssm-role finds.
    Instances(nodes::Scenario),
    /// cancel-refresh finds.
    Groups(refreshes::Scenario),
    /// quarantine-launch finds.
    Launches(launches::Scenario),
}

impl Run {
    /// All of them.
    pub(crate) const ALL: [Self; 13] = {
        use launches::Scenario as Launches;
        use nodes::Scenario as Instances;
        use refreshes::Scenario as Groups;
        use snapshots::Scenario as Volumes;
        [
            Self::Volumes(Volumes::Idle),
            Self::Volumes(Volumes::Slot),
            Self::Volumes(Volumes::Prune),
            Self::Volumes(Volumes::Failed),
            Self::Instances(Instances::Managed),
            Self::Instances(Instances::Unmanaged),
            Self::Groups(Groups::Quiet),
            Self::Groups(Groups::Rolling),
            Self::Groups(Groups::Failing),
            Self::Launches(Launches::Approved),
            Self::Launches(Launches::Observed),
            Self::Launches(Launches::Enforced),
            Self::Launches(Launches::Event),
        ]
    };

    /// Its name on the command line and in the table.
    pub(crate) fn name(self) -> &'static str {
        use launches::Scenario as Launches;
        use nodes::Scenario as Instances;
        use refreshes::Scenario as Groups;
        use snapshots::Scenario as Volumes;
        match self {
            Self::Volumes(Volumes::Idle) => "idle",
            Self::Volumes(Volumes::Slot) => "slot",
            Self::Volumes(Volumes::Prune) => "prune",
            Self::Volumes(Volumes::Failed) => "failed",
            Self::Instances(Instances::Managed) => "managed",
            Self::Instances(Instances::Unmanaged) => "unmanaged",
            Self::Groups(Groups::Quiet) => "quiet",
            Self::Groups(Groups::Rolling) => "rolling",
            Self::Groups(Groups::Failing) => "failing",
            Self::Launches(Launches::Approved) => "approved",
            Self::Launches(Launches::Observed) => "observed",
            Self::Launches(Launches::Enforced) => "enforced",
            Self::Launches(Launches::Event) => "event",
        }
    }

    /// What sweeps.
    pub(crate) fn program(self) -> &'static Program {
        match self {
            Self::Volumes(_) => &SNAPSHOT_VOLUMES,
            Self::Instances(_) => &ATTACH_SSM_ROLE,
            Self::Groups(_) => &CANCEL_REFRESH,
            Self::Launches(_) => &QUARANTINE_LAUNCH,
        }
    }

    /// Whether an event of one launch starts it, and no schedule.
    pub(crate) fn is_event(self) -> bool {
        self == Self::Launches(launches::Scenario::Event)
    }

    /// An estate of so many volumes, groups or instances.
    pub(crate) fn estate(self, size: usize) -> Box<dyn Estate> {
        match self {
            Self::Volumes(scenario) => Box::new(Volumes::new(size, scenario)),
            Self::Instances(scenario) => Box::new(Instances::new(size, scenario)),
            Self::Groups(scenario) => Box::new(Groups::new(size, scenario)),
            Self::Launches(scenario) => Box::new(Launches::new(size, scenario)),
        }
    }

    /// What is added to the name of each sweep of one process, one after the other: what the first
    /// leaves in memory would show in the second, as in a warm Lambda; and what it has done and
    /// told the second must find and leave.
    pub(crate) fn sweeps(self) -> &'static [&'static str] {
        match self {
            Self::Volumes(snapshots::Scenario::Idle)
            | Self::Instances(nodes::Scenario::Managed)
            | Self::Groups(refreshes::Scenario::Quiet)
            | Self::Launches(launches::Scenario::Approved | launches::Scenario::Event) => {
                &["", ", warm"]
            }
            Self::Instances(nodes::Scenario::Unmanaged)
            | Self::Groups(refreshes::Scenario::Failing)
            | Self::Launches(launches::Scenario::Enforced) => &["", ", again"],
            Self::Volumes(_) | Self::Groups(_) | Self::Launches(_) => &[""],
        }
    }
}

impl FromStr for Run {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|run| run.name() == name)
            .ok_or_else(|| format!("no run is named {name}"))
    }
}
