//! The results as tables, in Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use crate::Failure;
use crate::function::{MEMORY_MIB, MIB_PER_PROCESSOR, Usage};
use crate::options::Options;
use crate::start::{Sample, Started, zip_bytes};

/// One run.
#[derive(Debug)]
pub(crate) struct Row {
    /// How many volumes, groups or instances there are.
    pub(crate) size: usize,
    pub(crate) run: String,
    pub(crate) wall: Duration,
    pub(crate) usage: Usage,
    pub(crate) log_bytes: usize,
    pub(crate) metrics: usize,
    /// By name, how many calls were made, and how many of them were throttled.
    pub(crate) calls: BTreeMap<String, (usize, usize)>,
    /// Request units of the state table, read and written.
    pub(crate) units: (usize, usize),
    pub(crate) report: Value,
}

/// The runs of one guardrail.
pub(crate) fn render(options: &Options, program: &str, rows: &[Row]) -> String {
    let head = "run | size | wall s | CPU s | peak MiB | log KiB | calls | done | skipped | left";
    let cells = rows.iter().map(|row| {
        let outcome = |name: &str| row.report["outcomes"][name].to_string();
        vec![
            row.run.clone(),
            grouped(row.size),
            format!("{:.1}", row.wall.as_secs_f64()),
            format!("{:.2}", row.usage.0.as_secs_f64()),
            format!("{:.0}", row.usage.1),
            grouped(row.log_bytes.div_ceil(1_024)),
            grouped(row.calls.values().map(|(made, _)| made).sum()),
            outcome("done"),
            outcome("skipped"),
            outcome("left"),
        ]
    });
    let (latency, cells) = (options.latency.as_millis(), table(head, cells));
    let rates = ["", ", at AWS's rates"][usize::from(options.aws_rates)];
    let mut text = format!("\n## {program}\n\n{latency} ms a call{rates}.\n\n{cells}\nCalls:\n\n");
    for row in rows {
        let listed = |(name, (made, throttled)): (&String, &(usize, usize))| match throttled {
            0 => format!("{name} {made}"),
            _ => format!("{name} {made} of which {throttled} throttled"),
        };
        let made: Vec<String> = row.calls.iter().map(listed).collect();
        let _ = writeln!(
            text,
            "* {} {}: {}",
            grouped(row.size),
            row.run,
            made.join(", ")
        );
    }
    let share = f64::from(MEMORY_MIB) / MIB_PER_PROCESSOR;
    let most = rows.iter().map(|row| row.usage.0).max();
    let most = most.unwrap_or_default().as_secs_f64();
    let _ = writeln!(
        text,
        "\nWith {MEMORY_MIB} MB a function has {share:.3} of a processor: the most CPU time above, {most:.1} s, takes at least {:.0} s there.",
        most / share
    );
    text
}

/// What a cold function costs, beside the bare program.
pub(crate) fn render_starts(starts: &[Started]) -> Result<String, Failure> {
    let mut rows = Vec::new();
    for started in starts {
        let over = |value: fn(&Sample) -> Duration| {
            let mut times: Vec<Duration> = started.samples.iter().map(value).collect();
            times.sort_unstable();
            let [least, median, most] =
                [0, times.len() / 2, times.len() - 1].map(|at| times[at].as_secs_f64() * 1_000.0);
            format!("{median:.1} ({least:.1} to {most:.1})")
        };
        let megabytes = |bytes: u64| format!("{:.2}", bytes as f64 / 1e6);
        let peak = started.samples.iter().map(|[_, (_, first)]| first.1);
        rows.push(vec![
            started.name.to_owned(),
            over(|[start, _]| start.0),
            over(|[start, _]| start.1.0),
            over(|[_, first]| first.0),
            over(|[_, first]| first.1.0),
            format!("{:.0}", peak.fold(0.0, f64::max)),
            megabytes(std::fs::metadata(&started.binary)?.len()),
            megabytes(zip_bytes(&started.binary)?),
            started.first.to_owned(),
        ]);
    }
    let head = "program | start ms | its CPU ms | first run ms | its CPU ms | peak MiB | binary MB | zip MB | the first run is";
    let starts = table(head, rows.into_iter());
    Ok(format!(
        "\n## Start\n\nMedians (least to most), the programs by turns; AWS over TLS, answering at once.\n\n{starts}"
    ))
}

/// `10,000`
pub(crate) fn grouped(number: usize) -> String {
    match number {
        ..1_000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1_000), number % 1_000),
    }
}

/// A table in Markdown, with numbers to the right of each row's name.
pub(crate) fn table(head: &str, rows: impl Iterator<Item = Vec<String>>) -> String {
    let rule = " ---: |".repeat(head.matches('|').count());
    let rows = rows.map(|row| format!("| {} |\n", row.join(" | ")));
    format!("| {head} |\n| --- |{rule}\n{}", rows.collect::<String>())
}
