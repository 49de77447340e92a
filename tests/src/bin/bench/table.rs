//! The result as a table, in Markdown.

use std::fmt::Write as _;
use std::time::Duration;

use crate::function::{Program, Usage};
use crate::least::Least;
use crate::options::Options;
use crate::outcomes::Outcomes;
use crate::server::{Calls, LOOKING_AGAIN};
use crate::start::{Sample, Started};

/// One guardrail's runs.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) program: &'static Program,
    pub(crate) rows: Vec<Row>,
}

/// One run.
#[derive(Debug)]
pub(crate) struct Row {
    /// How many volumes or instances there are.
    pub(crate) size: usize,
    pub(crate) run: String,
    pub(crate) wall: Duration,
    pub(crate) usage: Usage,
    pub(crate) log_bytes: u64,
    /// How many metrics the log holds.
    pub(crate) metrics: usize,
    pub(crate) least: Least,
    pub(crate) calls: Calls,
    pub(crate) outcomes: Outcomes,
    /// Calls that followed one another from the event to what it is about, where that is told.
    pub(crate) rounds: Option<usize>,
}

/// Lambda gives a whole processor to a function with so much memory, and a share of it to one
/// with less ("Configure Lambda function memory" in the Lambda developer guide).
pub(crate) const MIB_PER_PROCESSOR: f64 = 1_769.0;

const HEAD: [&str; 8] = [
    "size",
    "run",
    "wall s",
    "CPU s",
    "peak MiB",
    "log KiB",
    "calls made (least)",
    "actions",
];

/// The whole result.
pub(crate) fn render(options: &Options, sections: &[Section]) -> String {
    let mut text = String::new();
    let rates = if options.aws_rates {
        ", throttled at EC2's default rates"
    } else {
        ""
    };
    let _ = writeln!(
        text,
        "Latency of each call {} ms{rates}; timeout {} s.",
        options.latency.as_millis(),
        options.timeout.as_secs()
    );
    for section in sections {
        render_section(&mut text, section);
    }
    text
}

fn render_section(text: &mut String, section: &Section) {
    let Section { program, rows } = section;
    let _ = writeln!(text, "\n## {}\n", program.name);
    let cells: Vec<[String; 8]> = rows.iter().map(cells).collect();
    text.push_str(&aligned(&HEAD.map(str::to_owned), &cells));
    let _ = writeln!(text, "\nCalls by name, made (least):\n");
    for row in rows {
        let _ = writeln!(
            text,
            "* {} {}: {}",
            grouped(row.size),
            row.run,
            by_name(row)
        );
    }
    for row in rows {
        if let Some(rounds) = row.rounds {
            let _ = writeln!(
                text,
                "\n{} {}: {rounds} rounds of calls from the event to the last isolated interface.",
                grouped(row.size),
                row.run
            );
        }
    }
    let memory = f64::from(program.memory_mib);
    let share = memory / MIB_PER_PROCESSOR;
    if let Some(most) = rows.iter().map(|row| row.usage.cpu).max() {
        let _ = writeln!(
            text,
            "With {memory:.0} MB a function has {share:.3} of a processor: the most CPU time above, {:.1} s, takes at least {:.0} s there.",
            most.as_secs_f64(),
            most.as_secs_f64() / share
        );
    }
}

/// What a cold function costs, beside the bare program.
pub(crate) fn render_starts(starts: &[Started]) -> String {
    let mut text = String::new();
    let count = starts.iter().map(|start| start.samples.len()).max();
    let _ = writeln!(
        text,
        "\n## Start\n\nMedian of {} starts (least to most), the programs by turns; AWS over TLS, answering at once.\n",
        count.unwrap_or_default()
    );
    let head = [
        "peak MiB",
        "program",
        "start ms",
        "its CPU ms",
        "first run ms",
        "its CPU ms",
        "binary MB",
        "zip MB",
        "the first run is",
    ];
    let rows: Vec<[String; 9]> = starts.iter().map(start_cells).collect();
    text.push_str(&aligned(&head.map(str::to_owned), &rows));
    text
}

fn start_cells(started: &Started) -> [String; 9] {
    let over = |value: fn(&Sample) -> Duration| {
        let [least, median, most] = started.spread(value).map(tenths);
        format!("{median} ({least} to {most})")
    };
    let peak = started.samples.iter().map(|sample| sample.peak_mib);
    [
        format!("{:.0}", peak.fold(0.0, f64::max)),
        started.program.name.to_owned(),
        over(|sample| sample.start),
        over(|sample| sample.start_cpu),
        over(|sample| sample.first),
        over(|sample| sample.first_cpu),
        megabytes(started.binary_bytes),
        megabytes(started.zip_bytes),
        started.first.to_owned(),
    ]
}

fn tenths(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1_000.0)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / 1_000_000.0)
}

fn cells(row: &Row) -> [String; 8] {
    let Outcomes {
        done,
        would_do,
        skipped,
        failed,
        left,
        ..
    } = row.outcomes;
    let mut outcomes = format!("{} done", grouped(done));
    for (count, name) in [
        (would_do, "would be done"),
        (skipped, "skipped"),
        (failed, "failed"),
        (left, "left"),
    ] {
        if count > 0 {
            let _ = write!(outcomes, ", {} {name}", grouped(count));
        }
    }
    [
        grouped(row.size),
        row.run.clone(),
        format!("{:.1}", row.wall.as_secs_f64()),
        format!("{:.2}", row.usage.cpu.as_secs_f64()),
        format!("{:.0}", row.usage.peak_mib),
        format!("{}", row.log_bytes.div_ceil(1_024)),
        format!("{} ({})", row.calls.total(), row.least.total()),
        outcomes,
    ]
}

/// `DescribeVolumes 20 (20), CreateSnapshots 812 (400), 412 throttled`.
fn by_name(row: &Row) -> String {
    let mut names: Vec<&str> = row.calls.0.keys().map(String::as_str).collect();
    names.extend(row.least.names());
    names.sort_unstable();
    names.dedup();
    let calls: Vec<String> = names
        .into_iter()
        .map(|name| {
            let count = row.calls.0.get(name).copied().unwrap_or_default();
            let mut text = format!("{name} {}", count.made);
            if !name.ends_with(LOOKING_AGAIN) {
                let _ = write!(text, " ({})", row.least.of_call(name));
            }
            if count.throttled > 0 {
                let _ = write!(text, " of which {} throttled", count.throttled);
            }
            text
        })
        .collect();
    calls.join(", ")
}

/// `10,000`
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A Markdown table that is also one on a terminal; numbers to the right.
fn aligned<const N: usize>(head: &[String; N], rows: &[[String; N]]) -> String {
    let widths: Vec<usize> = (0..N)
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].len());
            cells.chain([head[column].len(), 3]).max().unwrap_or(0)
        })
        .collect();
    let right = |column: usize| column != 1 && column + 1 != N;
    let mut text = String::new();
    let line = |text: &mut String, row: &[String; N]| {
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = if right(column) {
                write!(text, "| {cell:>width$} ")
            } else {
                write!(text, "| {cell:<width$} ")
            };
        }
        text.push_str("|\n");
    };
    line(&mut text, head);
    for (column, width) in widths.iter().enumerate() {
        let dashes = "-".repeat(width - 1);
        let _ = if right(column) {
            write!(text, "| {dashes}: ")
        } else {
            write!(text, "| {dashes}- ")
        };
    }
    text.push_str("|\n");
    for row in rows {
        line(&mut text, row);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_digits() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (10_000, "10,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
