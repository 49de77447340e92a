//! Metrics in CloudWatch's embedded metric format: one line on standard output per invocation.

use std::io::{self, Write};
use std::time::SystemTime;

use metrique_writer::format::Format;
use metrique_writer::{Entry, EntryWriter, IoStreamError};
use metrique_writer_format_emf::Emf;

/// The metrics' namespace.
pub const NAMESPACE: &str = "Ec2Guardrails";

/// One measured number. The name has the unit in it where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Name, e.g. `VolumesStale`.
    pub name: &'static str,
    /// Value.
    pub value: u64,
}

struct Measured<'a> {
    guardrail: &'a str,
    at: SystemTime,
    metrics: &'a [Metric],
}

impl Entry for Measured<'_> {
    fn write<'a>(&'a self, writer: &mut impl EntryWriter<'a>) {
        writer.timestamp(self.at);
        writer.value("Guardrail", self.guardrail);
        for metric in self.metrics {
            writer.value(metric.name, &metric.value);
        }
    }
}

/// Writes `metrics` of `guardrail`, measured at `at`, with the dimension `Guardrail`.
pub fn emit(
    output: &mut impl Write,
    guardrail: &str,
    at: SystemTime,
    metrics: &[Metric],
) -> io::Result<()> {
    let mut format = Emf::builder(NAMESPACE.to_owned(), vec![vec!["Guardrail".to_owned()]]).build();
    let mut line = Vec::new();
    format
        .format(
            &Measured {
                guardrail,
                at,
                metrics,
            },
            &mut line,
        )
        .map_err(|error| match error {
            IoStreamError::Io(error) => error,
            IoStreamError::Validation(error) => io::Error::other(error.to_string()),
        })?;
    // One write, so that a log line in between can't break it in two.
    output.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_line_as_cloudwatch_reads_it() {
        let mut line = Vec::new();
        let metrics = [
            Metric {
                name: "Considered",
                value: 3,
            },
            Metric {
                name: "Failed",
                value: 0,
            },
        ];
        emit(
            &mut line,
            "snapshot-volumes",
            SystemTime::UNIX_EPOCH,
            &metrics,
        )
        .unwrap();
        assert_eq!(line.last(), Some(&b'\n'));
        let value: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(
            value,
            json!({
                "_aws": {
                    "Timestamp": 0,
                    "CloudWatchMetrics": [{
                        "Namespace": "Ec2Guardrails",
                        "Dimensions": [["Guardrail"]],
                        "Metrics": [{"Name": "Considered"}, {"Name": "Failed"}]
                    }]
                },
                "Guardrail": "snapshot-volumes",
                "Considered": 3,
                "Failed": 0
            })
        );
    }
}
