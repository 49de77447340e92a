//! What a sweep finds.

use std::str::FromStr;

use serde_json::Value;

/// What a sweep finds, and so has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Every volume has its slot's snapshot: the common case, every quarter of an hour.
    Idle,
    /// Every volume lacks it, as in the first sweep of a slot.
    Slot,
    /// A tenth of all snapshots is no longer kept.
    Prune,
    /// The slot's snapshots of a tenth of all volumes failed: they are made again and told of.
    Failed,
}

impl Scenario {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Idle, Self::Slot, Self::Prune, Self::Failed];

    /// Its name on the command line and in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Slot => "slot",
            Self::Prune => "prune",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|scenario| scenario.name() == name)
            .ok_or_else(|| format!("no run is named {name}"))
    }
}

/// What the function's report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcomes {
    pub(crate) considered: usize,
    pub(crate) done: usize,
    pub(crate) skipped: usize,
    pub(crate) failed: usize,
    pub(crate) left: usize,
}

impl Outcomes {
    /// Reads a report.
    pub(crate) fn read(payload: &[u8]) -> Result<Self, String> {
        let report: Value = serde_json::from_slice(payload)
            .map_err(|error| format!("the report is no JSON: {error}"))?;
        let number = |path: &str| {
            report
                .pointer(path)
                .and_then(Value::as_u64)
                .and_then(|number| usize::try_from(number).ok())
                .ok_or_else(|| format!("the report has no number {path}: {report}"))
        };
        Ok(Self {
            considered: number("/considered")?,
            done: number("/outcomes/done")?,
            skipped: number("/outcomes/skipped")?,
            failed: number("/outcomes/failed")?,
            left: number("/outcomes/left")?,
        })
    }
}
