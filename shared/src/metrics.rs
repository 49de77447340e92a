//! What a run counted: one JSON line on standard output per invocation, of which CloudWatch makes
//! metrics where the stack asks for them.

use std::io::{self, Write};
use std::time::SystemTime;

use lambda_runtime::tracing;
use metrique_writer::format::Format;
use metrique_writer::{Entry, EntryWriter, IoStreamError};
use metrique_writer_format_emf::Emf;

/// The metrics' namespace.
const NAMESPACE: &str = "Ec2Guardrails";

/// One measured number. The name has the unit in it where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Name, e.g. `VolumesStale`.
    pub name: &'static str,
    /// Value.
    pub value: u64,
}

/// What becomes of the line beside that it stands in the log, where saved queries find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Nothing, which costs nothing.
    Log,
    /// It is in the embedded metric format, so that CloudWatch makes a metric of each number.
    Embedded,
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

/// Writes `metrics` of `guardrail`, measured at `at`, as a line of that `form`.
pub(crate) fn emit(
    output: &mut impl Write,
    form: Form,
    guardrail: &str,
    at: SystemTime,
    metrics: &[Metric],
) {
    let line = match form {
        Form::Log => plain(guardrail, metrics),
        Form::Embedded => embedded(guardrail, at, metrics),
    };
    // One write, so that a log line in between can't break it in two.
    if let Err(error) = line.and_then(|line| output.write_all(&line)) {
        tracing::error!("metrics could not be written: {error}");
    }
}

/// The same fields as in the other form, without what CloudWatch would read in it.
fn plain(guardrail: &str, metrics: &[Metric]) -> io::Result<Vec<u8>> {
    let mut fields = serde_json::Map::new();
    fields.insert("Guardrail".to_owned(), guardrail.into());
    for metric in metrics {
        fields.insert(metric.name.to_owned(), metric.value.into());
    }
    let mut line = serde_json::to_vec(&fields)?;
    line.push(b'\n');
    Ok(line)
}

/// With the dimension `Guardrail`.
fn embedded(guardrail: &str, at: SystemTime, metrics: &[Metric]) -> io::Result<Vec<u8>> {
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
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The line of a form, read back.
    fn line(form: Form) -> Value {
        let mut line = Vec::new();
        let metrics =
            [("Considered", 3), ("Failed", 0)].map(|(name, value)| Metric { name, value });
        let at = SystemTime::UNIX_EPOCH;
        emit(&mut line, form, "snapshot-volumes", at, &metrics);
        assert_eq!(
            line.iter().position(|byte| *byte == b'\n'),
            Some(line.len() - 1)
        );
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn a_line_as_cloudwatch_reads_it() {
        assert_eq!(
            line(Form::Embedded),
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

    #[test]
    fn a_line_for_the_log_has_the_same_figures_and_makes_no_metric() {
        let mut figures = line(Form::Embedded);
        figures.as_object_mut().unwrap().remove("_aws").unwrap();
        assert_eq!(line(Form::Log), figures);
    }
}
