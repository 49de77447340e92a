//! What the stack itself costs a month, from measured sweeps.
//!
//! The prices are those of us-east-1 as we know them, without any discount; the page of each stands
//! beside it. Everybody looks up their own.

use crate::Failure;
use crate::function::{MEMORY_MIB, MIB_PER_PROCESSOR};
use crate::options::Options;
use crate::table::{grouped, table};

/// Instances of the estates that the cost is told for.
const INSTANCES: [usize; 3] = [10, 100, 1_000];
/// Volumes of an instance: a root volume and one for data.
const VOLUMES: usize = 2;
/// Instances of an Auto Scaling group.
const GROUP: usize = 10;
/// How often each group is refreshed a month, which replaces all its instances: once a week.
const REFRESHES: f64 = 30.0 / 7.0;
/// Days. Mails and findings: one a day.
const MONTH: f64 = 30.0;
/// Metrics that the alarms of full monitoring look at, as the template has them; its tests compare.
const ALARM_METRICS: usize = 36;
/// The same of basic monitoring.
const BASIC_ALARM_METRICS: usize = 5;
/// How long logs are kept by default, in months; the template's tests compare.
const LOG_MONTHS: f64 = 3.0;
/// Lambda's own lines about an invocation, with its log format JSON: start and report.
const PLATFORM_LOG: f64 = 700.0;
/// `PolicyInvalid` of each guardrail: written only while the policy can't be read.
const RARE_METRICS: usize = 4;
/// <https://aws.amazon.com/dynamodb/pricing/on-demand/>: a request unit read, and one written.
const STATE: (f64, f64) = (0.125e-6, 0.625e-6);

/// One kind of run: how often a month, and as measured; `state` is what the state table costs.
#[derive(Debug, Clone, Copy, Default)]
struct Runs {
    what: &'static str,
    a_month: f64,
    wall: f64,
    cpu: f64,
    log: f64,
    state: f64,
}

impl Runs {
    fn times(mut self, what: &'static str, a_month: f64) -> Self {
        (self.what, self.a_month) = (what, a_month);
        self
    }

    /// Seconds that Lambda bills at most: as though waiting and computing never overlapped.
    fn billed(&self) -> f64 {
        self.wall + self.cpu / (f64::from(MEMORY_MIB) / MIB_PER_PROCESSOR)
    }

    fn gb_seconds(&self) -> f64 {
        self.a_month * self.billed() * f64::from(MEMORY_MIB) / 1_024.0
    }
}

/// Runs a month: of each sweep, and of the events that weekly refreshes of all groups bring; and how
/// many of them the Scheduler starts.
fn month(instances: usize, sweeps: &[Runs; 6], events: &[Runs; 6]) -> (Vec<Runs>, f64) {
    let launches = instances as f64 * REFRESHES;
    let groups = instances.div_ceil(GROUP) as f64 * REFRESHES;
    let (slow, fast) = (MONTH * 24.0 * 4.0, MONTH * 24.0 * 12.0);
    // Two of a day's sweeps of snapshot-volumes have something to do.
    let times = [slow - 2.0 * MONTH, MONTH, MONTH, slow, fast, fast];
    let sweeps = times.into_iter().zip(sweeps);
    let sweeps = sweeps.map(|(times, sweep)| sweep.times(sweep.what, times));
    let [.., managed, quiet, approved] = events;
    let events = [
        // An instance that runs.
        ("attach-ssm-role, event", launches, managed),
        // An instance terminated; a refresh started and ended, and an alarm.
        ("cancel-refresh, event", launches + 3.0 * groups, quiet),
        // RunInstances, pending, running.
        ("quarantine-launch, event", 3.0 * launches, approved),
    ];
    let events = events.map(|(what, times, sweep)| sweep.times(what, times));
    (sweeps.chain(events).collect(), 2.0 * (slow + fast))
}

/// A part of the bill, and what of it is free for the whole account every month.
type Part = (&'static str, f64, f64);

/// The stack's parameter of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Monitoring {
    Basic,
    Full,
}

/// The bill, part by part. The lines with the figures are as long in both; `metrics` are what full
/// monitoring makes of them in each sweep.
fn bill((runs, sweeps): &(Vec<Runs>, f64), metrics: usize, monitoring: Monitoring) -> Vec<Part> {
    let (metrics, alarms, dashboards) = match monitoring {
        Monitoring::Basic => (0, BASIC_ALARM_METRICS, 0.0),
        Monitoring::Full => (metrics + RARE_METRICS, ALARM_METRICS, 1.0),
    };
    let sum = |of: fn(&Runs) -> f64| runs.iter().map(of).sum::<f64>();
    let log = sum(|runs| runs.a_month * (runs.log + PLATFORM_LOG)) / f64::from(1 << 30);
    let (time, invoked) = (sum(Runs::gb_seconds), sum(|runs| runs.a_month));
    let state = sum(|runs| runs.a_month * runs.state);
    let part =
        |name, used: f64, price: f64, free: f64| (name, used * price, used.min(free) * price);
    vec![
        // arm64, <https://aws.amazon.com/lambda/pricing/>
        part("Lambda, time", time, 0.000_013_333_4, 400_000.0),
        part("Lambda, invocations", invoked, 0.20e-6, 1e6),
        // <https://aws.amazon.com/eventbridge/pricing/>; events of AWS's services are free.
        part("EventBridge Scheduler", *sweeps, 1.00e-6, 14e6),
        part("EventBridge, findings", MONTH, 1.00e-6, 0.0),
        // <https://aws.amazon.com/sns/pricing/>: a request and a mail.
        part("SNS, mails", MONTH, 0.50e-6 + 2.00 / 100_000.0, 1_000.0),
        part("DynamoDB, state table", state, 1.0, 0.0),
        part("SSM parameter, standard", 1.0, 0.0, 0.0),
        part("SQS, dead letters", 0.0, 0.40e-6, 1e6),
        // <https://aws.amazon.com/cloudwatch/pricing/>: of the first 10,000 metrics; of metrics that
        // an alarm of standard resolution looks at; a GB taken in, and one kept for a month.
        part("CloudWatch, metrics", metrics as f64, 0.30, 10.0),
        part("CloudWatch, alarms", alarms as f64, 0.10, 10.0),
        part("CloudWatch, dashboard", dashboards, 3.00, 3.0),
        part("Logs, taken in", log, 0.50, 5.0),
        part("Logs, kept", log * LOG_MONTHS, 0.03, 5.0),
    ]
}

/// What is measured, and what it is called here.
const SWEEPS: [(&str, &str); 6] = [
    ("idle", "snapshot-volumes, sweep"),
    ("slot", "snapshot-volumes, day's snapshots"),
    ("prune", "snapshot-volumes, day's deletions"),
    ("managed", "attach-ssm-role, sweep"),
    ("quiet", "cancel-refresh, sweep"),
    ("approved", "quarantine-launch, sweep"),
];

/// Measures the sweeps of each estate, and computes the cost from them.
pub(crate) async fn cost(options: &Options) -> Result<String, Failure> {
    let mut months = Vec::new();
    let mut metrics = 0;
    let mut events = None;
    for instances in INSTANCES {
        let mut sweeps = [Runs::default(); 6];
        metrics = 0;
        for (sweep, (name, what)) in sweeps.iter_mut().zip(SWEEPS) {
            let size = match name {
                "idle" | "slot" | "prune" => instances * VOLUMES,
                "quiet" => instances.div_ceil(GROUP),
                _ => instances,
            };
            // A later sweep of the same process finds the policy read: not after five minutes.
            let rows = crate::measure(options, &name.parse()?, size).await?;
            let row = &rows[0];
            let (reads, writes) = row.units;
            *sweep = Runs {
                what,
                a_month: 0.0,
                wall: row.wall.as_secs_f64(),
                cpu: row.usage.0.as_secs_f64(),
                log: row.log_bytes as f64,
                state: reads as f64 * STATE.0 + writes as f64 * STATE.1,
            };
            if what.ends_with("sweep") {
                metrics += row.metrics;
            }
        }
        // An event is about one instance or group: less than a sweep of the smallest estate reads.
        let events = *events.get_or_insert(sweeps);
        months.push(month(instances, &sweeps, &events));
    }
    Ok(render(options, &months, metrics))
}

fn render(options: &Options, months: &[(Vec<Runs>, f64)], metrics: usize) -> String {
    let measured = INSTANCES.iter().zip(months);
    let measured = measured.flat_map(|(size, (runs, _))| runs.iter().map(move |runs| (size, runs)));
    let measured = measured.map(|(size, runs)| {
        vec![
            runs.what.to_owned(),
            grouped(*size),
            format!("{:.2}", runs.wall),
            format!("{:.2}", runs.cpu),
            format!("{:.2}", runs.billed()),
            format!("{:.1}", runs.log / 1_024.0),
            format!("{:.0}", runs.a_month),
            format!("{:.0}", runs.gb_seconds()),
        ]
    });
    let head = "run | instances | wall s | CPU s | billed s | log KiB | runs a month | GB-s";
    let measured = table(head, measured);
    let basic = costs(months, metrics, Monitoring::Basic);
    let full = costs(months, metrics, Monitoring::Full);
    let latency = options.latency.as_millis();
    format!(
        "Estates of {VOLUMES} volumes for each instance and groups of {GROUP}; a snapshot of each volume a day; each group refreshed once a week; a notice a day. {latency} ms a call.\n\n{measured}\nMetrics, with full monitoring: {metrics} of each guardrail's sweep together and {RARE_METRICS} that are written only while the policy is invalid.\n\n{basic}\n\n{full}"
    )
}

/// The table of the bills of all estates.
fn costs(months: &[(Vec<Runs>, f64)], metrics: usize, monitoring: Monitoring) -> String {
    let bills: Vec<_> = months
        .iter()
        .map(|month| bill(month, metrics, monitoring))
        .collect();
    let line = |name: &str, of: &dyn Fn(&[Part]) -> f64| {
        let cell = |cost: f64| match format!("{cost:.2}") {
            cents if cost > 0.0 && cents == "0.00" => "< 0.01".to_owned(),
            cents => cents,
        };
        let costs = bills.iter().map(|bill| cell(of(bill)));
        [name.to_owned()].into_iter().chain(costs).collect()
    };
    let mut lines: Vec<Vec<String>> = Vec::new();
    for (at, (name, ..)) in bills[0].iter().enumerate() {
        lines.push(line(name, &|bill| bill[at].1));
    }
    let all = |bill: &[Part]| bill.iter().map(|(_, cost, _)| cost).sum::<f64>();
    let free = |bill: &[Part]| bill.iter().map(|(.., free)| free).sum::<f64>();
    lines.push(line("**all**", &all));
    lines.push(line("free, if nothing else uses it", &free));
    lines.push(line("**left to pay then**", &|bill| all(bill) - free(bill)));
    let sizes = INSTANCES.map(|size| format!("{} instances", grouped(size)));
    let head = format!("USD a month, {monitoring:?} | {}", sizes.join(" | "));
    table(&head, lines.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: 2 × 2,880 + 2 × 8,640 sweeps; of 70 instances in 7 groups 300 launches and 30
    /// refreshes a month, so 300 + (300 + 90) + 900 events.
    #[test]
    fn a_month_costs_what_one_gets_by_hand() {
        let mut sweep = Runs::default();
        (sweep.wall, sweep.cpu, sweep.log, sweep.state) = (1.0, 0.256, 2_048.0, 1e-6);
        let event = Runs { cpu: 0.0, ..sweep };
        let month = month(70, &[sweep; 6], &[event; 6]);
        let basic = bill(&month, 49, Monitoring::Basic);
        for (name, expected) in [
            ("CloudWatch, metrics", 0.0),
            ("CloudWatch, alarms", 0.5),
            ("CloudWatch, dashboard", 0.0),
        ] {
            let (_, cost, free) = basic.iter().find(|(part, ..)| *part == name).unwrap();
            assert!((cost - expected).abs() < 1e-9 && (free - cost).abs() < 1e-9);
        }
        let bill = bill(&month, 49, Monitoring::Full);
        let seconds = 23_040.0 * (1.0 + 1.769) + 1_590.0;
        for (name, expected) in [
            ("Lambda, time", seconds * 0.25 * 0.000_013_333_4),
            ("Lambda, invocations", 24_630.0 * 0.2e-6),
            ("EventBridge Scheduler", 23_040.0 * 1e-6),
            ("DynamoDB, state table", 24_630.0 * 1e-6),
            ("CloudWatch, metrics", 53.0 * 0.30),
            ("CloudWatch, alarms", 3.60),
            ("Logs, taken in", 24_630.0 * 2_748.0 / 1_073_741_824.0 * 0.5),
        ] {
            let (_, cost, free) = bill.iter().find(|(part, ..)| *part == name).unwrap();
            let right = (cost - expected).abs() <= 1e-3 * expected && free <= cost;
            assert!(right, "{name}: {cost}, {free} free, instead of {expected}");
        }
    }
}
