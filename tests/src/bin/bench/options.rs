//! What can be measured, and the command line that chooses it.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::estate::Estate;
use crate::function::GUARDRAILS;
use crate::{groups, launches, nodes, volumes};

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Measures sweeps of the guardrails against a synthetic AWS, and their start.

  --run NAME[,NAME…]  snapshot-volumes: idle, slot, prune (volumes: 100, 1,000, 10,000);
                      attach-ssm-role: managed (instances: 500, 5,000);
                      cancel-refresh: quiet (groups: 100, 500);
                      quarantine-launch: approved, enforced (instances: 1,000, 5,000)
  --size N[,N…]       other sizes of their estates than those
  --start             only the start: all functions, beside a program without the SDK
  --cost              what the stack costs a month, from sweeps of 10, 100 and 1,000 instances
  --latency-ms N      how long each AWS call takes (default 50)
  --aws-rates         throttle as AWS does by default: see account.rs
  --build FOLDER      where the functions were built (default .aws-sam/build)
  --bare FILE         that program (default target/lambda/bare-function/bootstrap)

Through make: make bench BENCH=\"--size 1000 --run slot\"";

/// What is measured, by default all of it.
const RUNS: &str = "idle,slot,prune,managed,quiet,approved,enforced";

/// What a guardrail finds in an estate.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// Its name on the command line and in the table.
    pub(crate) name: String,
    /// Name and id of the guardrail.
    pub(crate) program: (&'static str, &'static str),
    /// How many volumes, groups or instances there are, by default.
    sizes: &'static [usize],
    make: fn(&str, usize) -> Estate,
}

impl FromStr for Run {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        type Make = fn(&str, usize) -> Estate;
        let (guardrail, sizes, make): (usize, &[usize], Make) = match name {
            "idle" | "slot" | "prune" => (0, &[100, 1_000, 10_000], volumes::estate),
            "managed" => (1, &[500, 5_000], nodes::estate),
            "quiet" => (2, &[100, 500], groups::estate),
            "approved" | "enforced" => (3, &[1_000, 5_000], launches::estate),
            _ => return Err(format!("no run is named {name}")),
        };
        Ok(Self {
            name: name.to_owned(),
            program: GUARDRAILS[guardrail],
            sizes,
            make,
        })
    }
}

impl Run {
    pub(crate) fn estate(&self, size: usize) -> Estate {
        (self.make)(&self.name, size)
    }
}

/// What to measure.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) runs: Vec<Run>,
    /// Of the estates; of each run its own where there are none.
    sizes: Vec<usize>,
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
}

impl Options {
    /// Reads the command line; none where it asks for help.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self::default();
        (options.runs, options.start) = (all("", RUNS)?, true);
        let millis = Duration::from_millis;
        options.latency = millis(50);
        options.build = ".aws-sam/build".into();
        options.bare = "target/lambda/bare-function/bootstrap".into();
        let mut arguments = arguments;
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{name}: expected a value"));
            match &*name {
                "--run" => (options.runs, options.start) = (all(&name, &value()?)?, false),
                "--size" => options.sizes = all(&name, &value()?)?,
                "--start" => options.runs.clear(),
                "--latency-ms" => options.latency = millis(all(&name, &value()?)?[0]),
                "--build" => options.build = value()?.into(),
                "--bare" => options.bare = value()?.into(),
                "--cost" => options.cost = true,
                "--aws-rates" => options.aws_rates = true,
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("{name}: no such option")),
            }
        }
        Ok(Some(options))
    }

    /// The sizes of `run`'s estate.
    pub(crate) fn sizes<'a>(&'a self, run: &'a Run) -> &'a [usize] {
        let own = self.sizes.is_empty();
        if own { run.sizes } else { &self.sizes }
    }
}

fn all<T: FromStr>(name: &str, list: &str) -> Result<Vec<T>, String> {
    let why = format!("{name}: \"{list}\": not one of its values");
    let items = list.split(',').map(T::from_str);
    items.collect::<Result<_, _>>().map_err(|_| why)
}
