//! Measures sweeps of `snapshot-volumes`: the release binary, run as Lambda runs it, against a
//! synthetic EC2 in this process that answers each call after a set latency.
//!
//! Every run is checked before it is counted: a sweep that makes too many, too few or the wrong
//! snapshots, or deletes another one than it should, ends the benchmark with an error.

mod ec2;
mod estate;
mod function;
mod least;
mod options;
mod query;
mod rates;
mod scenario;
mod server;
mod services;
mod table;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use crate::estate::Estate;
use crate::function::{Function, MEMORY_MIB, Usage};
use crate::least::Least;
use crate::options::{Options, Parsed};
use crate::scenario::{Outcomes, Scenario};
use crate::server::{Account, Calls, Server};
use crate::table::Row;

/// What stops the benchmark.
type Failure = Box<dyn Error>;

/// How many starts the cold start is measured over.
const STARTS: usize = 9;
/// What the schedule sends.
const SWEEP: &str = r#"{"trigger": "sweep"}"#;

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
    let starts = cold_starts(options).await?;
    let mut rows = Vec::new();
    for &volumes in &options.volumes {
        for &scenario in &options.scenarios {
            eprintln!("measuring {volumes} volumes, {} …", scenario.name());
            rows.extend(measure(options, volumes, scenario).await?);
        }
    }
    print!("{}", table::render(options, &starts, &rows));
    match rows.iter().find(|row| row.usage.peak_mib > MEMORY_MIB) {
        Some(row) => Err(format!(
            "{} volumes, {}: the run took {:.0} MiB; Lambda ends a function that takes more than its {MEMORY_MIB:.0} MB",
            row.volumes, row.run, row.usage.peak_mib
        )
        .into()),
        None => Ok(()),
    }
}

/// From starting the process to its first request for an event, in order.
async fn cold_starts(options: &Options) -> Result<Vec<Duration>, Failure> {
    let server = Server::start(Account::new(Estate::new(0, Scenario::Idle), options)).await?;
    let mut starts = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        let function = Function::start(&server.url()).await?;
        starts.push(function.started_in);
    }
    starts.sort();
    Ok(starts)
}

/// Runs one scenario in an estate of its own. Idle sweeps run twice in one process, as in a warm
/// Lambda: what the first one leaves in memory would show in the second.
async fn measure(
    options: &Options,
    volumes: usize,
    scenario: Scenario,
) -> Result<Vec<Row>, Failure> {
    let estate = Estate::new(volumes, scenario);
    let least = Least::of(&estate);
    let server = Server::start(Account::new(estate, options)).await?;
    let mut function = Function::start(&server.url()).await?;
    let mut rows = Vec::new();
    let runs: &[&str] = match scenario {
        Scenario::Idle => &["", ", warm"],
        _ => &[""],
    };
    for suffix in runs {
        let run = format!("{}{suffix}", scenario.name());
        let calls = |server: &Server| server.account().calls().clone();
        let before = calls(&server);
        let used = function.usage()?;
        let logged = function.log_bytes()?;
        let answer = function.invoke(SWEEP, options.timeout).await?;
        let now = function.usage()?;
        let made = calls(&server).since(&before);
        let outcomes = check(&server, &answer.payload, &made, options)
            .map_err(|why| function.explain(&format!("{volumes} volumes, {run}: {why}")))?;
        rows.push(Row {
            volumes,
            run,
            wall: answer.wall,
            usage: Usage {
                cpu: now.cpu.saturating_sub(used.cpu),
                peak_mib: now.peak_mib,
            },
            log_bytes: function.log_bytes()? - logged,
            least: least.in_run(suffix.is_empty()),
            calls: made,
            outcomes,
        });
    }
    Ok(rows)
}

/// Whether the run did what it had to, and nothing else.
fn check(
    server: &Server,
    payload: &[u8],
    made: &Calls,
    options: &Options,
) -> Result<Outcomes, Failure> {
    let account = server.account();
    if let Some(refused) = account.refused().first() {
        return Err(format!(
            "the synthetic account refused a request: {refused}; teach it that request, or mend the function"
        )
        .into());
    }
    let outcomes = Outcomes::read(payload)?;
    let told = account.told();
    account
        .estate()
        .verify(&outcomes, told, options.may_leave())?;
    if made.total() == 0 {
        return Err("no call arrived".into());
    }
    Ok(outcomes)
}
