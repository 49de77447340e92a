//! The start of a cold function: from exec to the first request for an event, and the first
//! invocation, in which connections are made. All functions and a bare program by turns, so that
//! whatever else the machine does hits all alike; the bare program is what makes the numbers of two
//! machines comparable.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::estate::SWEEP;
use crate::function::{BARE, Function, Program, binary};
use crate::options::Options;
use crate::run::Run;
use crate::server::{Account, Server};
use crate::tls::Tls;
use crate::{Failure, check, launches, nodes, refreshes, snapshots};

/// How often each program is started.
const STARTS: usize = 15;
/// How large the estates are: the common case of a small account.
const SIZE: usize = 10;

/// What the functions do first: the sweep that finds nothing to do.
const FIRST: [Run; 4] = [
    Run::Volumes(snapshots::Scenario::Idle),
    Run::Instances(nodes::Scenario::Managed),
    Run::Groups(refreshes::Scenario::Quiet),
    Run::Launches(launches::Scenario::Approved),
];

/// A program's starts.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) program: &'static Program,
    /// The first invocation's name.
    pub(crate) first: &'static str,
    pub(crate) samples: Vec<Sample>,
    pub(crate) binary_bytes: u64,
    /// Of what `sam deploy` uploads.
    pub(crate) zip_bytes: u64,
}

/// One start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// From exec to the first request for an event.
    pub(crate) start: Duration,
    /// Processor time until then.
    pub(crate) start_cpu: Duration,
    /// From handing out the first event to its answer.
    pub(crate) first: Duration,
    /// Processor time of that.
    pub(crate) first_cpu: Duration,
    /// The most memory until then (resident set).
    pub(crate) peak_mib: f64,
}

impl Started {
    /// The least, the median and the most of a time.
    pub(crate) fn spread(&self, of: fn(&Sample) -> Duration) -> [Duration; 3] {
        let mut times: Vec<Duration> = self.samples.iter().map(of).collect();
        times.sort_unstable();
        let at = |index: usize| times.get(index).copied().unwrap_or_default();
        [
            at(0),
            at(times.len() / 2),
            at(times.len().saturating_sub(1)),
        ]
    }
}

/// One program with what it needs to run.
struct Subject {
    program: &'static Program,
    binary: PathBuf,
    /// The AWS that it sweeps; the bare program calls none.
    run: Option<Run>,
    server: Server,
    samples: Vec<Sample>,
}

/// Starts all programs by turns.
pub(crate) async fn measure(options: &Options) -> Result<Vec<Started>, Failure> {
    let options = &Options {
        latency: Duration::ZERO,
        aws_rates: false,
        ..options.clone()
    };
    let tls = Tls::new()?;
    let mut subjects = Vec::with_capacity(1 + FIRST.len());
    for run in [None].into_iter().chain(FIRST.map(Some)) {
        let (program, binary) = match run {
            None => (&BARE, binary(&options.bare)?),
            Some(run) => (run.program(), run.program().built(&options.build)?),
        };
        let estate = run.unwrap_or(FIRST[0]).estate(SIZE);
        subjects.push(Subject {
            program,
            binary,
            run,
            server: Server::start_tls(Account::new(estate, options), &tls).await?,
            samples: Vec::with_capacity(STARTS),
        });
    }
    for number in 1..=STARTS {
        eprintln!("measuring start {number} of {STARTS} of each program …");
        for subject in &mut subjects {
            let sample = subject.start(options).await?;
            subject.samples.push(sample);
        }
    }
    subjects.into_iter().map(Subject::sizes).collect()
}

impl Subject {
    /// One start and the first invocation after it, checked.
    async fn start(&self, options: &Options) -> Result<Sample, Failure> {
        self.server.account().begin();
        let endpoint = self.server.endpoint();
        let mut function = Function::start(self.program, &self.binary, endpoint).await?;
        let start_cpu = function.exact_cpu()?;
        let answer = function.invoke(SWEEP.to_owned(), options.timeout).await?;
        function.idle().await?;
        if self.run.is_some() {
            check(&self.server, &answer.payload, options)
                .map_err(|why| function.explain(&format!("{}: {why}", self.program.name)))?;
        } else if answer.payload != "{}" {
            return Err(function.explain("the bare program doesn't answer {}"));
        }
        Ok(Sample {
            start: function.started_in,
            start_cpu,
            first: answer.wall,
            first_cpu: function.exact_cpu()?.saturating_sub(start_cpu),
            peak_mib: function.usage()?.peak_mib,
        })
    }

    fn sizes(self) -> Result<Started, Failure> {
        Ok(Started {
            program: self.program,
            first: self.run.map_or("nothing", Run::name),
            samples: self.samples,
            binary_bytes: std::fs::metadata(&self.binary)?.len(),
            zip_bytes: zip_bytes(&self.binary)?,
        })
    }
}

/// How large the deployment package is. Python's zipfile packs it, as in `sam deploy`.
fn zip_bytes(binary: &Path) -> Result<u64, Failure> {
    let zip = std::env::temp_dir().join(format!("bench-{}.zip", std::process::id()));
    let packed = Command::new("python3")
        .args(["-m", "zipfile", "-c"])
        .args([&zip, binary])
        .status()
        .map_err(|error| format!("python3 doesn't start, which packs the functions: {error}"))?;
    let bytes = std::fs::metadata(&zip).map(|file| file.len());
    let _ = std::fs::remove_file(&zip);
    if packed.success() {
        Ok(bytes?)
    } else {
        Err(format!("packing {} failed: {packed}", binary.display()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(milliseconds: u64) -> Sample {
        Sample {
            start: Duration::from_millis(milliseconds),
            start_cpu: Duration::ZERO,
            first: Duration::ZERO,
            first_cpu: Duration::ZERO,
            peak_mib: 0.0,
        }
    }

    #[test]
    fn tells_the_least_the_median_and_the_most() {
        let started = Started {
            program: &BARE,
            first: "nothing",
            samples: [30, 5, 9].map(millis).to_vec(),
            binary_bytes: 0,
            zip_bytes: 0,
        };
        let spread = started.spread(|sample| sample.start);
        assert_eq!(spread.map(|time| time.as_millis()), [5, 9, 30]);
    }

    #[tokio::test]
    async fn a_program_that_is_missing_is_named() {
        let options = Options {
            bare: PathBuf::from("target/no-such-program"),
            ..Options::default()
        };
        let error = measure(&options).await.unwrap_err().to_string();
        assert!(error.contains("no-such-program"), "{error}");
    }

    /// A program that never asks for an event must end the benchmark, not become a number.
    #[tokio::test]
    async fn a_program_that_does_not_start_is_an_error() {
        let options = Options {
            bare: PathBuf::from("/bin/true"),
            build: PathBuf::from("/nowhere"),
            ..Options::default()
        };
        let tls = Tls::new().unwrap();
        let account = Account::new(FIRST[0].estate(SIZE), &options);
        let subject = Subject {
            program: &BARE,
            binary: options.bare.clone(),
            run: None,
            server: Server::start_tls(account, &tls).await.unwrap(),
            samples: Vec::new(),
        };
        let error = subject.start(&options).await.unwrap_err().to_string();
        assert!(error.contains("the process ended"), "{error}");
    }
}
