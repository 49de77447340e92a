//! What the stack itself costs a month, from measured sweeps.
//!
//! The prices are those of us-east-1 as we know them, without any discount; the page of each stands
//! beside it. Everybody looks up their own.

use std::fmt::Write as _;

use crate::options::Options;
use crate::run::Run;
use crate::table::{MIB_PER_PROCESSOR, Row, grouped};
use crate::{Failure, launches, nodes, refreshes, snapshots};

/// Instances of the estates that the cost is told for.
const INSTANCES: [usize; 3] = [10, 100, 1_000];
/// Volumes of an instance: a root volume and one for data.
const VOLUMES: usize = 2;
/// Instances of an Auto Scaling group.
const GROUP: usize = 10;
/// How often each group is refreshed a month, which replaces all its instances: once a week.
const REFRESHES: f64 = 30.0 / 7.0;
/// Mails and findings a month: one a day.
const NOTICES: f64 = 30.0;
/// Days.
const MONTH: f64 = 30.0;

/// arm64, <https://aws.amazon.com/lambda/pricing/>
const GB_SECOND: f64 = 0.000_013_333_4;
/// The same page.
const INVOCATION: f64 = 0.20e-6;
/// <https://aws.amazon.com/eventbridge/pricing/>: of the Scheduler.
const SCHEDULED: f64 = 1.00e-6;
/// The same page: of our own events; those of AWS's services are free.
const OWN_EVENT: f64 = 1.00e-6;
/// <https://aws.amazon.com/sns/pricing/>: a request and a mail.
const NOTICE: f64 = 0.50e-6 + 2.00 / 100_000.0;
/// <https://aws.amazon.com/cloudwatch/pricing/>: a metric, of the first 10,000.
const METRIC: f64 = 0.30;
/// The same page: a metric that an alarm of standard resolution looks at.
const ALARM_METRIC: f64 = 0.10;
/// The same page.
const DASHBOARD: f64 = 3.00;
/// The same page: a GB of logs taken in, and one kept for a month.
const LOG_GB: (f64, f64) = (0.50, 0.03);

/// Metrics that the alarms look at, as the template has them; its tests compare.
const ALARM_METRICS: usize = 32;
/// How long logs are kept by default, in months; the template's tests compare.
const LOG_MONTHS: f64 = 3.0;
/// Lambda's own lines about an invocation, with its log format JSON: start and report.
const PLATFORM_LOG: f64 = 700.0;
/// `PolicyInvalid` of each guardrail: written only while the policy can't be read.
const RARE_METRICS: usize = 4;

/// What is free every month, for the whole account: GB-seconds, invocations, metrics, metrics of
/// alarms, dashboards and GB of logs.
const FREE: (f64, f64, f64, f64, f64, f64) = (400_000.0, 1e6, 10.0, 10.0, 3.0, 5.0);

/// One kind of run, as measured.
#[derive(Debug, Clone, Copy)]
struct Measured {
    wall: f64,
    cpu: f64,
    log: f64,
}

impl Measured {
    fn of(row: &Row) -> Self {
        Self {
            wall: row.wall.as_secs_f64(),
            cpu: row.usage.cpu.as_secs_f64(),
            #[expect(clippy::cast_precision_loss, reason = "a log is small")]
            log: row.log_bytes as f64,
        }
    }

    /// Seconds that Lambda bills at most: as though waiting and computing never overlapped.
    fn billed(self, mib: f64) -> f64 {
        self.wall + self.cpu / (mib / MIB_PER_PROCESSOR)
    }
}

/// So many runs a month of one kind.
#[derive(Debug, Clone, Copy)]
struct Runs {
    what: &'static str,
    mib: f64,
    a_month: f64,
    each: Measured,
}

/// What an estate makes the stack do in a month.
#[derive(Debug)]
struct Month {
    instances: usize,
    runs: Vec<Runs>,
    sweeps: f64,
    metrics: usize,
}

/// Name, cost, and what of it is free where the account uses nothing else.
type Part = (&'static str, f64, f64);

impl Month {
    fn total(&self, of: impl Fn(&Runs) -> f64) -> f64 {
        self.runs.iter().map(of).sum()
    }

    fn gb_seconds(&self) -> f64 {
        self.total(|runs| runs.a_month * runs.each.billed(runs.mib) * runs.mib / 1_024.0)
    }

    fn invocations(&self) -> f64 {
        self.total(|runs| runs.a_month)
    }

    fn log_gb(&self) -> f64 {
        let bytes = self.total(|runs| runs.a_month * (runs.each.log + PLATFORM_LOG));
        bytes / f64::from(1 << 30)
    }

    /// The bill, part by part.
    fn bill(&self) -> Vec<Part> {
        let (gb_seconds, invocations, metrics, alarms, dashboards, logs) = FREE;
        let part =
            |name, used: f64, price: f64, free: f64| (name, used * price, used.min(free) * price);
        let own = float(self.metrics + RARE_METRICS);
        let (taken_in, kept) = LOG_GB;
        vec![
            part("Lambda, time", self.gb_seconds(), GB_SECOND, gb_seconds),
            part(
                "Lambda, invocations",
                self.invocations(),
                INVOCATION,
                invocations,
            ),
            part("EventBridge Scheduler", self.sweeps, SCHEDULED, 14e6),
            part("EventBridge, findings", NOTICES, OWN_EVENT, 0.0),
            part("SNS, mails", NOTICES, NOTICE, NOTICES),
            ("SSM parameter, standard", 0.0, 0.0),
            ("SQS, dead letters", 0.0, 0.0),
            part("CloudWatch, metrics", own, METRIC, metrics),
            part(
                "CloudWatch, alarms",
                float(ALARM_METRICS),
                ALARM_METRIC,
                alarms,
            ),
            part("CloudWatch, dashboard", 1.0, DASHBOARD, dashboards),
            part("Logs, taken in", self.log_gb(), taken_in, logs),
            part("Logs, kept", self.log_gb() * LOG_MONTHS, kept, logs),
        ]
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts here are small")]
fn float(count: usize) -> f64 {
    count as f64
}

/// Runs a month: of each sweep, and of the events that weekly refreshes of all groups bring.
fn month(instances: usize, sweeps: &Sweeps, events: &Sweeps, metrics: usize) -> Month {
    let launches = float(instances) * REFRESHES;
    let groups = float(instances.div_ceil(GROUP)) * REFRESHES;
    let (slow, fast) = (MONTH * 24.0 * 4.0, MONTH * 24.0 * 12.0);
    let of = |what, a_month, each: Of| Runs {
        what,
        mib: each.mib,
        a_month,
        each: each.measured,
    };
    Month {
        instances,
        // Two of a day's sweeps of snapshot-volumes have something to do.
        runs: vec![
            of("snapshot-volumes, sweep", slow - 2.0 * MONTH, sweeps.idle),
            of("snapshot-volumes, day's snapshots", MONTH, sweeps.slot),
            of("snapshot-volumes, day's deletions", MONTH, sweeps.prune),
            of("attach-ssm-role, sweep", slow, sweeps.managed),
            of("cancel-refresh, sweep", fast, sweeps.quiet),
            of("quarantine-launch, sweep", fast, sweeps.approved),
            // An instance that runs.
            of("attach-ssm-role, event", launches, events.managed),
            // An instance terminated; a refresh started and ended, and an alarm.
            of(
                "cancel-refresh, event",
                launches + 3.0 * groups,
                events.quiet,
            ),
            // RunInstances, pending, running.
            of("quarantine-launch, event", 3.0 * launches, events.approved),
        ],
        sweeps: 2.0 * (slow + fast),
        metrics,
    }
}

/// A measured run, and the memory of its function.
#[derive(Debug, Clone, Copy)]
struct Of {
    measured: Measured,
    mib: f64,
}

/// The sweeps of an estate.
#[derive(Debug)]
struct Sweeps {
    idle: Of,
    slot: Of,
    prune: Of,
    managed: Of,
    quiet: Of,
    approved: Of,
}

/// Measures the sweeps of each estate, and computes the cost from them.
pub(crate) async fn cost(options: &Options) -> Result<String, Failure> {
    let mut measured = Vec::new();
    let mut metrics = 0;
    for instances in INSTANCES {
        let mut names = 0;
        let mut sweep = async |run: Run, size: usize, counts: bool| -> Result<Of, Failure> {
            eprintln!("measuring {}, {size}, {} …", run.program().name, run.name());
            // A later sweep of the same process finds the policy read: not after five minutes.
            let rows = crate::measure(options, run, size).await?;
            let row = rows.first().ok_or("no run")?;
            names += if counts { row.metrics } else { 0 };
            Ok(Of {
                measured: Measured::of(row),
                mib: f64::from(run.program().memory_mib),
            })
        };
        let volumes = instances * VOLUMES;
        let sweeps = Sweeps {
            idle: sweep(Run::Volumes(snapshots::Scenario::Idle), volumes, true).await?,
            slot: sweep(Run::Volumes(snapshots::Scenario::Slot), volumes, false).await?,
            prune: sweep(Run::Volumes(snapshots::Scenario::Prune), volumes, false).await?,
            managed: sweep(Run::Instances(nodes::Scenario::Managed), instances, true).await?,
            quiet: sweep(
                Run::Groups(refreshes::Scenario::Quiet),
                instances.div_ceil(GROUP),
                true,
            )
            .await?,
            approved: sweep(Run::Launches(launches::Scenario::Approved), instances, true).await?,
        };
        metrics = names;
        measured.push((instances, sweeps));
    }
    // An event is about one instance or group: less than a sweep of the smallest estate reads.
    let (_, events) = measured.first().ok_or("no estate")?;
    let months = measured
        .iter()
        .map(|(instances, sweeps)| month(*instances, sweeps, events, metrics));
    let months: Vec<Month> = months.collect();
    Ok(render(options, &months))
}

fn render(options: &Options, months: &[Month]) -> String {
    let mut text = format!(
        "Estates of {VOLUMES} volumes for each instance and groups of {GROUP}; a snapshot of each volume a day; each group refreshed once a week; a notice a day. {} ms a call.\n\n| run | instances | wall s | CPU s | billed s | log KiB | runs a month | GB-s |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        options.latency.as_millis()
    );
    for month in months {
        for runs in &month.runs {
            let Runs {
                what,
                mib,
                a_month,
                each,
            } = runs;
            let billed = each.billed(*mib);
            let _ = writeln!(
                text,
                "| {what} | {} | {:.2} | {:.2} | {billed:.2} | {:.1} | {a_month:.0} | {:.0} |",
                grouped(month.instances),
                each.wall,
                each.cpu,
                each.log / 1_024.0,
                a_month * billed * mib / 1_024.0,
            );
        }
    }
    let own = months.first().map_or(0, |month| month.metrics);
    let _ = write!(
        text,
        "\nMetrics: {own} in each sweep's log and {RARE_METRICS} that are written only while the policy is invalid.\n\n| USD a month |"
    );
    for month in months {
        let _ = write!(text, " {} instances |", grouped(month.instances));
    }
    text.push_str("\n| --- |");
    text.push_str(&" ---: |".repeat(months.len()));
    text.push('\n');
    let bills: Vec<Vec<Part>> = months.iter().map(Month::bill).collect();
    let mut line = |name: &str, cells: Vec<f64>| {
        let _ = write!(text, "| {name} |");
        for cost in cells {
            let _ = match cost {
                0.0..0.005 if cost > 0.0 => write!(text, " < 0.01 |"),
                _ => write!(text, " {cost:.2} |"),
            };
        }
        text.push('\n');
    };
    let names = bills.first().into_iter().flatten().map(|(name, ..)| *name);
    for (at, name) in names.enumerate() {
        line(name, bills.iter().map(|bill| bill[at].1).collect());
    }
    let sum = |of: fn(&Part) -> f64| bills.iter().map(move |bill| bill.iter().map(of).sum());
    line("**all**", sum(|(_, cost, _)| *cost).collect());
    line(
        "free, if nothing else uses it",
        sum(|(.., free)| *free).collect(),
    );
    line(
        "**left to pay then**",
        sum(|(_, cost, free)| cost - free).collect(),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(wall: f64, cpu: f64) -> Of {
        let log = 2_048.0;
        let measured = Measured { wall, cpu, log };
        let mib = 256.0;
        Of { measured, mib }
    }

    fn sweeps(wall: f64, cpu: f64) -> Sweeps {
        let each = of(wall, cpu);
        Sweeps {
            idle: each,
            slot: each,
            prune: each,
            managed: each,
            quiet: each,
            approved: each,
        }
    }

    #[track_caller]
    fn close(is: f64, expected: f64) {
        let off = (is - expected).abs();
        assert!(off <= 1e-3 * expected.abs(), "{is} instead of {expected}");
    }

    /// By hand: 2 × 2,880 + 2 × 8,640 sweeps; of 70 instances in 7 groups 300 launches and 30
    /// refreshes a month, so 300 + (300 + 90) + 900 events.
    #[test]
    fn a_month_is_what_one_gets_by_hand() {
        let month = month(70, &sweeps(1.0, 0.0), &sweeps(2.0, 0.0), 49);
        close(month.sweeps, 23_040.0);
        close(month.invocations(), 23_040.0 + 1_590.0);
        close(month.gb_seconds(), (23_040.0 + 2.0 * 1_590.0) * 0.25);
        let bill = month.bill();
        let cost = |name: &str| bill.iter().find(|(part, ..)| *part == name).unwrap().1;
        close(cost("Lambda, time"), 6_555.0 * 0.000_013_333_4);
        close(cost("Lambda, invocations"), 24_630.0 * 0.2e-6);
        close(cost("CloudWatch, metrics"), 53.0 * 0.30);
        close(cost("CloudWatch, alarms"), 3.20);
        close(
            cost("Logs, taken in"),
            24_630.0 * 2_748.0 / 1_073_741_824.0 * 0.5,
        );
    }

    #[test]
    fn computing_takes_longer_with_a_share_of_a_processor() {
        close(of(1.0, 0.256).measured.billed(256.0), 1.0 + 1.769);
    }

    #[test]
    fn what_is_free_is_never_more_than_what_is_used() {
        for (name, cost, free) in month(10, &sweeps(900.0, 0.0), &sweeps(1.0, 0.0), 49).bill() {
            assert!((0.0..=cost).contains(&free), "{name}: {free} of {cost}");
            if name == "Lambda, time" {
                close(free, 400_000.0 * GB_SECOND);
            }
        }
    }
}
