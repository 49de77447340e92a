//! Measures sweeps of the guardrails: the release binaries, run as Lambda runs them, against a
//! synthetic AWS in this process that answers each call after a set latency.
//!
//! And their start, beside that of a bare program: see `start.rs`.
//!
//! Every run is checked before it is counted: a sweep that does or tells too much, too little or
//! the wrong thing, or reads more often than it must, ends the benchmark with an error.

mod auto_scaling;
mod cost;
mod estate;
mod function;
mod launches;
mod least;
mod nodes;
mod options;
mod outcomes;
mod query;
mod rates;
mod refreshes;
mod run;
mod server;
mod services;
mod snapshots;
mod start;
mod table;
mod tls;

use std::error::Error;
use std::process::ExitCode;

use crate::function::{
    ATTACH_SSM_ROLE, CANCEL_REFRESH, Function, QUARANTINE_LAUNCH, SNAPSHOT_VOLUMES, Usage,
};
use crate::options::{Options, Parsed};
use crate::outcomes::Outcomes;
use crate::run::Run;
use crate::server::{Account, Server};
use crate::table::{Row, Section};

/// What stops the benchmark.
type Failure = Box<dyn Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Parsed::Run(options)) => options,
        Ok(Parsed::Help) => {
            println!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error}\n\n{}", options::HELP);
            return ExitCode::from(2);
        }
    };
    match bench(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(options: &Options) -> Result<(), Failure> {
    if options.cost {
        print!("{}", cost::cost(options).await?);
        return Ok(());
    }
    let mut sections = Vec::new();
    for program in [
        &SNAPSHOT_VOLUMES,
        &ATTACH_SSM_ROLE,
        &CANCEL_REFRESH,
        &QUARANTINE_LAUNCH,
    ] {
        let runs = options.runs.iter().filter(|run| run.program() == program);
        let runs: Vec<Run> = runs.copied().collect();
        let Some(first) = runs.first() else {
            continue;
        };
        let mut rows = Vec::new();
        for &size in options.sizes(*first) {
            for run in &runs {
                eprintln!("measuring {}, {size}, {} …", program.name, run.name());
                rows.extend(measure(options, *run, size).await?);
            }
        }
        sections.push(Section { program, rows });
    }
    if !sections.is_empty() {
        print!("{}", table::render(options, &sections));
    }
    for Section { program, rows, .. } in &sections {
        let most = f64::from(program.memory_mib);
        if let Some(row) = rows.iter().find(|row| row.usage.peak_mib > most) {
            return Err(format!(
                "{}, {}, {}: the run took {:.0} MiB; Lambda ends a function that takes more than its {most:.0} MB",
                program.name, row.size, row.run, row.usage.peak_mib
            )
            .into());
        }
    }
    if options.start {
        let starts = start::measure(options).await?;
        print!("{}", table::render_starts(&starts));
    }
    Ok(())
}

/// Runs one after the other what `measured` has, in an estate of its own.
async fn measure(options: &Options, measured: Run, size: usize) -> Result<Vec<Row>, Failure> {
    let server = Server::start(Account::new(measured.estate(size), options)).await?;
    let program = measured.program();
    let binary = program.built(&options.build)?;
    let mut function = Function::start(program, &binary, server.endpoint()).await?;
    let mut rows = Vec::new();
    for (at, suffix) in measured.sweeps().iter().enumerate() {
        let run = format!("{}{suffix}", measured.name());
        server.account().begin();
        let least = server.account().estate().least().in_run(at == 0);
        let used = function.usage()?;
        let logged = function.log_bytes()?;
        let event = server.account().estate().event();
        let answer = function.invoke(event, options.timeout).await?;
        let now = function.usage()?;
        let outcomes = check(&server, &answer.payload, options)
            .map_err(|why| function.explain(&format!("{size}, {run}: {why}")))?;
        let rounds = if measured.is_event() {
            server.account().rounds_until(launches::ISOLATES)
        } else {
            None
        };
        rows.push(Row {
            size,
            run,
            wall: answer.wall,
            usage: Usage {
                cpu: now.cpu.saturating_sub(used.cpu),
                peak_mib: now.peak_mib,
            },
            log_bytes: function.log_bytes()? - logged,
            metrics: function.metrics()?,
            least,
            calls: server.account().calls().clone(),
            outcomes,
            rounds,
        });
    }
    Ok(rows)
}

/// Whether the sweep did what it had to, and nothing else.
fn check(server: &Server, payload: &[u8], options: &Options) -> Result<Outcomes, Failure> {
    let account = server.account();
    if let Some(refused) = account.refused().first() {
        return Err(format!(
            "the synthetic account refused a request: {refused}; teach it that request, or mend the function"
        )
        .into());
    }
    let outcomes = Outcomes::read(payload)?;
    let (told, made) = (account.told(), account.calls());
    account
        .estate()
        .verify(&outcomes, told, made, options.may_leave())?;
    if made.total() == 0 {
        return Err("no call arrived".into());
    }
    Ok(outcomes)
}

#[cfg(test)]
mod tests;
