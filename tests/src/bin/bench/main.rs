//! Measures sweeps of the guardrails: the release binaries, run as Lambda runs them, against a
//! synthetic AWS in this process that answers each call after a set latency. It is no model of AWS:
//! rows of text, found by filters and given out in pages, and as little memory as a run needs. And
//! their start, beside that of a bare program: see `start.rs`.
//!
//! Every run is checked before it is counted: a sweep that does or tells too much, too little or
//! the wrong thing ends the benchmark with an error.

mod account;
mod call;
mod cost;
mod estate;
mod function;
mod groups;
mod launches;
mod list;
mod nodes;
mod options;
mod server;
mod start;
mod state;
mod table;
mod volumes;

use std::error::Error;
use std::process::ExitCode;

use crate::account::Account;
use crate::estate::SWEEP;
use crate::function::{Function, GUARDRAILS, MEMORY_MIB, built, metrics};
use crate::options::{HELP, Options, Run};
use crate::server::Server;
use crate::table::Row;

/// What stops the benchmark.
type Failure = Box<dyn Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => bench(&options).await,
        Ok(None) => {
            println!("{HELP}");
            Ok(())
        }
        Err(error) => Err(format!("{error}\n\n{HELP}").into()),
    };
    if let Err(error) = done {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn bench(options: &Options) -> Result<(), Failure> {
    if options.cost {
        print!("{}", cost::cost(options).await?);
        return Ok(());
    }
    for program in GUARDRAILS {
        let mut rows = Vec::new();
        for run in options.runs.iter().filter(|run| run.program == program) {
            for &size in options.sizes(run) {
                rows.extend(measure(options, run, size).await?);
            }
        }
        if !rows.is_empty() {
            print!("{}", table::render(options, program.0, &rows));
        }
    }
    if options.start {
        print!("{}", table::render_starts(&start::measure(options).await?)?);
    }
    Ok(())
}

/// Runs a sweep in an estate of its own; where nothing is to be done two, as in a warm Lambda.
async fn measure(options: &Options, run: &Run, size: usize) -> Result<Vec<Row>, Failure> {
    let (program, id) = run.program;
    eprintln!("measuring {program}, {size}, {} …", run.name);
    let estate = run.estate(size);
    let sweeps = if estate.due() == 0 { 2 } else { 1 };
    let account = Account::new(estate, options.aws_rates);
    let server = Server::start(account, options.latency, None).await?;
    let binary = built(&options.build.join(id).join("bootstrap"))?;
    let mut function = Function::start(program, &binary, &server.url, None).await?;
    let mut rows = Vec::new();
    for suffix in ["", ", warm"].into_iter().take(sweeps) {
        let run = format!("{}{suffix}", run.name);
        server.account().begin();
        let (used, logged) = (function.usage()?, function.log()?.len());
        let (answer, wall) = function.invoke(SWEEP).await?;
        let (now, log) = (function.usage()?, function.log()?);
        function.idle().await?;
        let report = serde_json::from_slice(&answer)?;
        let account = server.account();
        let wrong = |why| function.explain(&format!("{program}, {size}, {run}: {why}"));
        account.check(&report).map_err(wrong)?;
        if now.1 > f64::from(MEMORY_MIB) {
            return Err(wrong(format!("{:.0} MiB, for which Lambda ends it", now.1)));
        }
        rows.push(Row {
            size,
            run,
            wall,
            usage: (now.0.saturating_sub(used.0), now.1),
            log_bytes: log.len() - logged,
            metrics: metrics(&log),
            calls: account.calls.clone(),
            units: account.state.units,
            report,
        });
    }
    Ok(rows)
}
