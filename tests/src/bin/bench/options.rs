//! The command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::run::Run;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Measures sweeps of the guardrails against a synthetic AWS, and their start.

  --volumes N[,N…]      sizes of snapshot-volumes' estate (default 100,1000,10000)
  --instances N[,N…]    sizes of attach-ssm-role's estate (default 500,5000)
  --groups N[,N…]       sizes of cancel-refresh's estate (default 10,100,500)
  --launches N[,N…]     sizes of quarantine-launch's estate (default 10,100,1000,5000)
  --run NAME[,NAME…]    snapshot-volumes: idle, slot, prune, failed;
                        attach-ssm-role: managed, unmanaged;
                        cancel-refresh: quiet, rolling, failing;
                        quarantine-launch: approved, observed, enforced, event (default all)
  --start               only the start: all functions, beside a program without the SDK
  --cost                what the stack costs a month, from sweeps of 10, 100 and 1,000 instances
  --latency-ms N        how long each AWS call takes (default 50)
  --aws-rates           throttle as AWS does by default: see rates.rs
  --build FOLDER        where the functions were built (default .aws-sam/local)
  --bare FILE           that program (default target/lambda/bare-function/bootstrap)
  --timeout-s N         the function's timeout in seconds (default 900, as deployed)

Through make: make bench BENCH=\"--volumes 1000 --run slot\"";

/// What to measure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    /// How many volumes snapshot-volumes sweeps.
    pub(crate) volumes: Vec<usize>,
    /// How many instances attach-ssm-role sweeps.
    pub(crate) instances: Vec<usize>,
    /// How many Auto Scaling groups cancel-refresh sweeps.
    pub(crate) groups: Vec<usize>,
    /// How many instances quarantine-launch sweeps.
    pub(crate) launches: Vec<usize>,
    /// What to run in each.
    pub(crate) runs: Vec<Run>,
    /// Whether the start is measured: by default, and when nothing else is.
    pub(crate) start: bool,
    /// Whether the stack's cost is asked for, and nothing else.
    pub(crate) cost: bool,
    /// How long each call takes.
    pub(crate) latency: Duration,
    /// Whether AWS's default request rates hold.
    pub(crate) aws_rates: bool,
    /// Where each function was built, as `<id in the template>/bootstrap`; in the checkout, unless
    /// absolute.
    pub(crate) build: PathBuf,
    /// The program without the SDK; in the checkout, unless absolute.
    pub(crate) bare: PathBuf,
    /// The function's timeout, from which the deadline of an invocation comes.
    pub(crate) timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            volumes: vec![100, 1_000, 10_000],
            instances: vec![500, 5_000],
            groups: vec![10, 100, 500],
            launches: vec![10, 100, 1_000, 5_000],
            runs: Run::ALL.to_vec(),
            start: true,
            cost: false,
            latency: Duration::from_millis(50),
            aws_rates: false,
            build: PathBuf::from(".aws-sam/local"),
            bare: PathBuf::from("target/lambda/bare-function/bootstrap"),
            timeout: DEPLOYED_TIMEOUT,
        }
    }
}

/// `Timeout` in template.yaml.
const DEPLOYED_TIMEOUT: Duration = Duration::from_mins(15);

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Parsed {
    /// To measure.
    Run(Options),
    /// To say how.
    Help,
}

impl Options {
    /// Reads the command line.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Parsed, String> {
        let mut options = Self::default();
        let mut arguments = arguments;
        while let Some(name) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or_else(|| format!("{name}: expected a value"))
            };
            match name.as_str() {
                "--volumes" => options.volumes = list(&name, &value()?)?,
                "--instances" => options.instances = list(&name, &value()?)?,
                "--groups" => options.groups = list(&name, &value()?)?,
                "--launches" => options.launches = list(&name, &value()?)?,
                "--run" => {
                    options.runs = list(&name, &value()?)?;
                    options.start = false;
                }
                "--start" => {
                    options.runs = Vec::new();
                    options.start = true;
                }
                "--latency-ms" => options.latency = Duration::from_millis(one(&name, &value()?)?),
                "--build" => options.build = PathBuf::from(value()?),
                "--bare" => options.bare = PathBuf::from(value()?),
                "--timeout-s" => options.timeout = Duration::from_secs(one(&name, &value()?)?),
                "--cost" => options.cost = true,
                "--aws-rates" => options.aws_rates = true,
                "--help" | "-h" => return Ok(Parsed::Help),
                _ => return Err(format!("{name}: no such option")),
            }
        }
        for (name, sizes) in [
            ("--volumes", &options.volumes),
            ("--instances", &options.instances),
            ("--groups", &options.groups),
            ("--launches", &options.launches),
        ] {
            if sizes.contains(&0) {
                return Err(format!("{name}: expected at least 1"));
            }
        }
        if options.timeout.is_zero() || options.timeout > DEPLOYED_TIMEOUT {
            return Err("--timeout-s: expected 1 to 900, as Lambda allows".to_owned());
        }
        Ok(Parsed::Run(options))
    }

    /// The sizes of `run`'s estate.
    pub(crate) fn sizes(&self, run: Run) -> &[usize] {
        match run {
            Run::Volumes(_) => &self.volumes,
            Run::Instances(_) => &self.instances,
            Run::Groups(_) => &self.groups,
            Run::Launches(_) => &self.launches,
        }
    }

    /// Whether a run may leave something for the next sweep: at EC2's rates, or with less time
    /// than the function is deployed with.
    pub(crate) fn may_leave(&self) -> bool {
        self.aws_rates || self.timeout < DEPLOYED_TIMEOUT
    }
}

fn one<T: FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{name}: \"{text}\" isn't one of its values"))
}

fn list<T: FromStr>(name: &str, text: &str) -> Result<Vec<T>, String> {
    text.split(',').map(|item| one(name, item)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Parsed, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn reads_each_option() {
        let Ok(Parsed::Run(options)) = parse(
            "--volumes 5,7 --instances 9 --groups 3 --launches 4 --run slot,managed,quiet,event --latency-ms 3 --aws-rates --cost --timeout-s 20 --build b --bare c",
        ) else {
            panic!("refused");
        };
        assert_eq!(options.volumes, [5, 7]);
        let named: Vec<&str> = options.runs.iter().map(|run| run.name()).collect();
        assert_eq!(named, ["slot", "managed", "quiet", "event"]);
        assert_eq!(options.sizes(options.runs[0]), [5, 7]);
        assert_eq!(options.sizes(options.runs[1]), [9]);
        assert_eq!(options.sizes(options.runs[2]), [3]);
        assert_eq!(options.sizes(options.runs[3]), [4]);
        assert_eq!(options.latency, Duration::from_millis(3));
        assert!(options.may_leave() && options.cost);
        assert_eq!(options.build, PathBuf::from("b"));
        assert_eq!(options.bare, PathBuf::from("c"));
        assert!(!options.start);
        assert_eq!(parse(""), Ok(Parsed::Run(Options::default())));
        assert_eq!(parse("--help"), Ok(Parsed::Help));
    }

    #[test]
    fn the_start_can_be_measured_alone() {
        let Ok(Parsed::Run(options)) = parse("--start") else {
            panic!("refused");
        };
        assert!(options.start && options.runs.is_empty());
    }

    #[test]
    fn names_what_it_does_not_understand() {
        for (line, option) in [
            ("--volume 5", "--volume:"),
            ("--volumes", "--volumes:"),
            ("--volumes 0", "--volumes:"),
            ("--volumes many", "--volumes:"),
            ("--instances 0", "--instances:"),
            ("--groups 0", "--groups:"),
            ("--launches 0", "--launches:"),
            ("--run fast", "--run:"),
            ("--timeout-s 901", "--timeout-s:"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.starts_with(option), "{line}: {error}");
        }
    }
}
