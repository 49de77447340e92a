//! The start of a cold function: from exec to the first request for an event, and the first
//! invocation, in which connections are made. All functions and a bare program by turns, so that
//! whatever else the machine does hits all alike; the bare program is what makes the numbers of two
//! machines comparable.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Failure;
use crate::account::Account;
use crate::estate::SWEEP;
use crate::function::{Function, Usage, built};
use crate::options::{Options, Run};
use crate::server::{Server, Tls};

/// How often each program is started.
const STARTS: usize = 15;
/// How large the estates are: the common case of a small account.
const SIZE: usize = 10;

/// One program with what it needs to run, and its starts.
pub(crate) struct Started {
    pub(crate) name: &'static str,
    pub(crate) binary: PathBuf,
    /// What it does first.
    pub(crate) first: &'static str,
    server: Server,
    pub(crate) samples: Vec<Sample>,
}

/// One start: from exec to the first request for an event, and from handing out the event to its
/// answer, with what was used up by then.
pub(crate) type Sample = [(Duration, Usage); 2];

/// Starts all programs by turns.
pub(crate) async fn measure(options: &Options) -> Result<Vec<Started>, Failure> {
    let tls = Tls::new()?;
    let mut programs = Vec::new();
    for first in ["nothing", "idle", "managed", "quiet", "approved"] {
        programs.push(Started::new(first, options, &tls).await?);
    }
    for number in 1..=STARTS {
        eprintln!("measuring start {number} of {STARTS} of each program …");
        for started in &mut programs {
            started.samples.push(started.start(&tls).await?);
        }
    }
    Ok(programs)
}

impl Started {
    async fn new(first: &'static str, options: &Options, tls: &Tls) -> Result<Self, Failure> {
        let (name, binary, account) = if let Ok(run) = first.parse::<Run>() {
            let binary = options.build.join(run.program.1).join("bootstrap");
            (run.program.0, binary, Account::new(run.estate(SIZE), false))
        } else {
            // `lambda_runtime` and nothing else.
            ("bare-function", options.bare.clone(), Account::default())
        };
        Ok(Self {
            name,
            binary: built(&binary)?,
            first,
            server: Server::start(account, Duration::ZERO, Some(tls)).await?,
            samples: Vec::new(),
        })
    }

    /// One start and the first invocation after it, checked.
    async fn start(&self, tls: &Tls) -> Result<Sample, Failure> {
        self.server.account().begin();
        let url = &self.server.url;
        let mut function = Function::start(self.name, &self.binary, url, Some(tls)).await?;
        let started = function.usage()?;
        let (answer, wall) = function.invoke(SWEEP).await?;
        function.idle().await?;
        if self.first != "nothing" {
            let report = serde_json::from_slice(&answer)?;
            let wrong = |why| function.explain(&format!("{}: {why}", self.name));
            self.server.account().check(&report).map_err(wrong)?;
        } else if answer != "{}" {
            return Err(function.explain("the bare program doesn't answer {}"));
        }
        let (cpu, peak) = function.usage()?;
        let usage = (cpu.saturating_sub(started.0), peak);
        Ok([(function.started_in, started), (wall, usage)])
    }
}

/// How large the deployment package is. Python's zipfile packs it, as in `sam deploy`.
pub(crate) fn zip_bytes(binary: &Path) -> Result<u64, Failure> {
    let zip = std::env::temp_dir().join(format!("bench-{}.zip", std::process::id()));
    let mut python = Command::new("python3");
    python.args(["-m", "zipfile", "-c"]).args([&zip, binary]);
    let packed = python.status()?;
    let bytes = std::fs::metadata(&zip).map(|file| file.len());
    let _ = std::fs::remove_file(&zip);
    if !packed.success() {
        return Err(format!("packing {} failed: {packed}", binary.display()).into());
    }
    Ok(bytes?)
}
