//! The function as Lambda runs it: the release binary as a process of its own that asks the
//! Runtime API for events.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::Failure;
use crate::account::{POLICY_PARAMETER, TOPIC};
use crate::estate::{ACCOUNT, REGION};
use crate::nodes::OUR_PROFILE;
use crate::server::{Reply, Tls, reply, serve};

/// The guardrails, each with its id in the template, which is its folder in the build. The template's
/// tests compare ids and memory.
pub(crate) static GUARDRAILS: [(&str, &str); 4] = [
    ("snapshot-volumes", "SnapshotVolumesFunction"),
    ("attach-ssm-role", "AttachSsmRoleFunction"),
    ("cancel-refresh", "CancelRefreshFunction"),
    ("quarantine-launch", "QuarantineLaunchFunction"),
];
/// Memory of each by default, as Lambda counts it.
pub(crate) const MEMORY_MIB: u16 = 256;
/// Lambda gives a whole processor to a function with so much memory, and a share of it to one
/// with less ("Configure Lambda function memory" in the Lambda developer guide).
pub(crate) const MIB_PER_PROCESSOR: f64 = 1_769.0;
/// Lambda gives a start ten seconds; an event gets the `Timeout` of template.yaml.
const INIT_LIMIT: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_mins(15);

/// What the process says through the Runtime API.
enum Said {
    /// Ready for an event.
    Next(Instant),
    /// The event's answer; or why it failed, where there is no time.
    Answer(Option<Instant>, Bytes),
}

/// What a process has used up: processor time, in user and kernel mode, and the most memory in MiB
/// that it ever had (resident set).
pub(crate) type Usage = (Duration, f64);

/// A running function, the only one; killed when dropped.
pub(crate) struct Function {
    child: Child,
    accepting: JoinHandle<()>,
    events: UnboundedSender<String>,
    said: UnboundedReceiver<Said>,
    log: PathBuf,
    /// From starting the process to its first request for an event.
    pub(crate) started_in: Duration,
}

impl Function {
    /// Starts `binary` as the function `name`, with AWS at `aws`.
    pub(crate) async fn start(
        name: &'static str,
        binary: &Path,
        aws: &str,
        tls: Option<&Tls>,
    ) -> Result<Self, Failure> {
        let (saying, said) = mpsc::unbounded_channel();
        let (events, coming) = mpsc::unbounded_channel();
        let coming = Arc::new(Mutex::new(coming));
        let handler =
            move |request| runtime_api(name, saying.clone(), Arc::clone(&coming), request);
        let (address, accepting) = serve(handler, None).await?;
        let log = std::env::temp_dir().join(format!("bench-{}.log", std::process::id()));
        let begun = Instant::now();
        let child = command(name, binary, aws, &address.to_string())
            .envs(tls.map(|tls| ("SSL_CERT_FILE", &tls.roots)))
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()
            .map_err(|error| format!("{} doesn't start: {error}", binary.display()))?;
        let started_in = Duration::ZERO;
        let mut function = Self {
            child,
            accepting,
            events,
            said,
            log,
            started_in,
        };
        function.started_in = function.idle().await?.duration_since(begun);
        Ok(function)
    }

    async fn hear(&mut self, limit: Duration) -> Result<Said, Failure> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            match timeout(Duration::from_millis(100), self.said.recv()).await {
                Ok(Some(Said::Answer(None, why))) => {
                    let why = String::from_utf8_lossy(&why).into_owned();
                    return Err(self.explain(&format!("it failed: {why}")));
                }
                Ok(Some(said)) => return Ok(said),
                _ => {}
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(self.explain(&format!("the process ended: {status}")));
            }
        }
        Err(self.explain(&format!("it ran into its limit of {} s", limit.as_secs())))
    }

    /// Waits until the process asks for an event: what it does after an answer is its own.
    pub(crate) async fn idle(&mut self) -> Result<Instant, Failure> {
        match self.hear(INIT_LIMIT).await? {
            Said::Next(at) => Ok(at),
            Said::Answer(..) => Err(self.explain("it doesn't ask for an event")),
        }
    }

    /// Runs one event to its end; its answer, and how long it took.
    pub(crate) async fn invoke(&mut self, payload: &str) -> Result<(Bytes, Duration), Failure> {
        let begun = Instant::now();
        self.events.send(payload.to_owned())?;
        match self.hear(LIMIT).await? {
            Said::Answer(Some(at), answer) => Ok((answer, at.duration_since(begun))),
            _ => Err(self.explain("it asks for another event before the answer")),
        }
    }

    /// What the process has used up so far: the time of the threads that it has, to the nanosecond,
    /// or of all that it had, to the hundredth of a second, whichever is more.
    pub(crate) fn usage(&self) -> Result<Usage, Failure> {
        let process = Path::new("/proc").join(self.child.id().to_string());
        let read = |path: PathBuf| {
            let text = fs::read_to_string(&path);
            text.map_err(|error| format!("{}: {error} (needs Linux)", path.display()))
        };
        let status = read(process.join("status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak: f64 = peak.unwrap_or_default().replace("kB", "").trim().parse()?;
        let mut nanoseconds = 0;
        for thread in fs::read_dir(process.join("task"))? {
            let times = read(thread?.path().join("schedstat"))?;
            let first = times.split(' ').next().unwrap_or_default();
            nanoseconds += first.parse::<u64>()?;
        }
        // The second field is the name in parentheses, which may hold anything.
        let stat = read(process.join("stat"))?;
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.flat_map(str::parse::<u64>).sum();
        let cpu = Duration::from_nanos(nanoseconds).max(Duration::from_millis(ticks * 10));
        Ok((cpu, peak / 1_024.0))
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> Result<String, Failure> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// An error with the end of the log.
    pub(crate) fn explain(&self, what: &str) -> Failure {
        let text = self.log().unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(10)..].join("\n");
        format!("{what}; the function's log ends in\n{tail}").into()
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.accepting.abort();
        let _ = fs::remove_file(&self.log);
    }
}

/// A release binary, by its path in the checkout.
pub(crate) fn built(path: &Path) -> Result<PathBuf, Failure> {
    let there = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if there.is_file() {
        return Ok(there);
    }
    let path = path.display();
    Err(format!("{path} isn't there: `make bench` builds it before it measures").into())
}

/// How many metrics of our own a log holds, in the embedded metric format.
pub(crate) fn metrics(log: &str) -> usize {
    let documents = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let written = |of: &Value| {
        of["_aws"]["CloudWatchMetrics"][0]["Metrics"]
            .as_array()
            .cloned()
    };
    let metrics = documents
        .filter_map(|document| written(&document))
        .flatten();
    let names = metrics.map(|metric| metric["Name"].to_string());
    names.collect::<BTreeSet<_>>().len()
}

/// The process with the environment that the template and Lambda give it.
fn command(name: &str, binary: &Path, aws: &str, runtime_api: &str) -> Command {
    let mut command = Command::new(binary);
    command.env_clear().envs([
        ("POLICY_PARAMETER", POLICY_PARAMETER),
        ("NOTIFICATION_TOPIC_ARN", TOPIC),
        ("STATE_TABLE", "ec2-guardrails-state"),
        ("METRICS_FORM", "emf"),
        ("INSTANCE_PROFILE_ARN", OUR_PROFILE),
        ("AWS_LAMBDA_RUNTIME_API", runtime_api),
        ("AWS_LAMBDA_FUNCTION_NAME", name),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &MEMORY_MIB.to_string()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/bench"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "bench"),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ("AWS_LAMBDA_LOG_LEVEL", "INFO"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("_HANDLER", "bootstrap"),
        ("TZ", ":UTC"),
        ("LANG", "en_US.UTF-8"),
        ("AWS_REGION", REGION),
        ("AWS_DEFAULT_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "example"),
        ("AWS_SESSION_TOKEN", "example"),
        ("AWS_ENDPOINT_URL", aws),
    ]);
    command
}

/// Lambda's Runtime API (2018-06-01) for one process.
async fn runtime_api(
    name: &str,
    saying: UnboundedSender<Said>,
    coming: Arc<Mutex<UnboundedReceiver<String>>>,
    request: Request<Incoming>,
) -> Reply {
    let path = request.uri().path().to_owned();
    if path.ends_with("/invocation/next") {
        let _ = saying.send(Said::Next(Instant::now()));
        return match coming.lock().await.recv().await {
            Some(event) => handed_out(name, event),
            // The benchmark is done with it.
            None => reply(500, "text/plain", "no more events"),
        };
    }
    let Ok(body) = request.into_body().collect().await else {
        return reply(400, "text/plain", "the request broke off");
    };
    // Otherwise invocation/ID/error or init/error.
    let answered = path.ends_with("/response").then(Instant::now);
    let _ = saying.send(Said::Answer(answered, body.to_bytes()));
    reply(202, "application/json", "{\"status\":\"OK\"}")
}

fn handed_out(name: &str, event: String) -> Reply {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let deadline = (now.unwrap_or_default() + LIMIT).as_millis();
    let arn = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}");
    let mut reply = reply(200, "application/json", event);
    for (name, value) in [
        ("aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd"),
        ("deadline-ms", &deadline.to_string()),
        ("invoked-function-arn", &arn),
        (
            "trace-id",
            "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0",
        ),
    ] {
        let name = HeaderName::try_from(format!("lambda-runtime-{name}"));
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            reply.headers_mut().insert(name, value);
        }
    }
    reply
}
