//! What a sweep says that it did, and what it told.

use serde_json::Value;

/// What the function's report says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outcomes {
    pub(crate) considered: usize,
    pub(crate) done: usize,
    pub(crate) would_do: usize,
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
            would_do: number("/outcomes/would-do")?,
            skipped: number("/outcomes/skipped")?,
            failed: number("/outcomes/failed")?,
            left: number("/outcomes/left")?,
        })
    }
}

/// What was told: what arrived at SNS and EventBridge.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// Notices.
    pub(crate) notices: usize,
    /// The resource of each finding.
    pub(crate) findings: Vec<String>,
}

impl Told {
    /// One notice of `findings`, or none where there are none.
    pub(crate) fn of(findings: impl Iterator<Item = String>) -> Self {
        let findings: Vec<String> = findings.collect();
        Self {
            notices: usize::from(!findings.is_empty()),
            findings,
        }
    }

    /// Whether this is what was to be told, in whatever order.
    pub(crate) fn expect(&self, expected: &Self) -> Result<(), String> {
        let sorted = |told: &Self| {
            let mut findings = told.findings.clone();
            findings.sort_unstable();
            findings
        };
        if self.notices == expected.notices && sorted(self) == sorted(expected) {
            return Ok(());
        }
        Err(format!(
            "told in {} notices of {:?} instead of in {} of {:?}",
            self.notices, self.findings, expected.notices, expected.findings
        ))
    }
}
