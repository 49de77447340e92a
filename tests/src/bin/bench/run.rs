//! What can be measured: a guardrail's sweep of one estate.

use std::str::FromStr;

use crate::estate::Estate;
use crate::function::{ATTACH_SSM_ROLE, Program, SNAPSHOT_VOLUMES};
use crate::nodes::{self, Instances};
use crate::snapshots::{self, Volumes};

/// What a sweep finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    /// snapshot-volumes finds.
    Volumes(snapshots::Scenario),
    /// attach-ssm-role finds.
    Instances(nodes::Scenario),
}

impl Run {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = {
        use nodes::Scenario as Instances;
        use snapshots::Scenario as Volumes;
        [
            Self::Volumes(Volumes::Idle),
            Self::Volumes(Volumes::Slot),
            Self::Volumes(Volumes::Prune),
            Self::Volumes(Volumes::Failed),
            Self::Instances(Instances::Managed),
            Self::Instances(Instances::Unmanaged),
        ]
    };

    /// Its name on the command line and in the table.
    pub(crate) fn name(self) -> &'static str {
        use nodes::Scenario as Instances;
        use snapshots::Scenario as Volumes;
        match self {
            Self::Volumes(Volumes::Idle) => "idle",
            Self::Volumes(Volumes::Slot) => "slot",
            Self::Volumes(Volumes::Prune) => "prune",
            Self::Volumes(Volumes::Failed) => "failed",
            Self::Instances(Instances::Managed) => "managed",
            Self::Instances(Instances::Unmanaged) => "unmanaged",
        }
    }

    /// What sweeps.
    pub(crate) fn program(self) -> &'static Program {
        match self {
            Self::Volumes(_) => &SNAPSHOT_VOLUMES,
            Self::Instances(_) => &ATTACH_SSM_ROLE,
        }
    }

    /// An estate of so many volumes or instances.
    pub(crate) fn estate(self, size: usize) -> Box<dyn Estate> {
        match self {
            Self::Volumes(scenario) => Box::new(Volumes::new(size, scenario)),
            Self::Instances(scenario) => Box::new(Instances::new(size, scenario)),
        }
    }

    /// What is added to the name of each sweep of one process, one after the other: what the first
    /// leaves in memory would show in the second, as in a warm Lambda; and what it has done and
    /// told the second must find and leave.
    pub(crate) fn sweeps(self) -> &'static [&'static str] {
        match self {
            Self::Volumes(snapshots::Scenario::Idle)
            | Self::Instances(nodes::Scenario::Managed) => &["", ", warm"],
            Self::Instances(nodes::Scenario::Unmanaged) => &["", ", again"],
            Self::Volumes(_) => &[""],
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
