//! The function as Lambda runs it: the release binary as a process of its own that asks the
//! Runtime API for events.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request};
use serde_json::Value;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::Failure;
use crate::estate::{ACCOUNT, REGION};
use crate::nodes::OUR_PROFILE;
use crate::server::{Endpoint, Reply, reply, serve};
use crate::services::{POLICY_PARAMETER, TOPIC};

/// A function as the template deploys it, or the bare one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// The guardrail's name.
    pub(crate) name: &'static str,
    /// Its id in the template, which is its folder in the build.
    logical_id: &'static str,
    /// Its memory by default, as Lambda counts it.
    pub(crate) memory_mib: u16,
    /// What only its environment holds.
    environment: &'static [(&'static str, &'static str)],
}

/// snapshot-volumes.
pub(crate) static SNAPSHOT_VOLUMES: Program = Program {
    name: "snapshot-volumes",
    logical_id: "SnapshotVolumesFunction",
    memory_mib: 256,
    environment: &[],
};

/// attach-ssm-role.
pub(crate) static ATTACH_SSM_ROLE: Program = Program {
    name: "attach-ssm-role",
    logical_id: "AttachSsmRoleFunction",
    memory_mib: 256,
    environment: &[("INSTANCE_PROFILE_ARN", OUR_PROFILE)],
};

/// cancel-refresh.
pub(crate) static CANCEL_REFRESH: Program = Program {
    name: "cancel-refresh",
    logical_id: "CancelRefreshFunction",
    memory_mib: 256,
    environment: &[],
};

/// quarantine-launch.
pub(crate) static QUARANTINE_LAUNCH: Program = Program {
    name: "quarantine-launch",
    logical_id: "QuarantineLaunchFunction",
    memory_mib: 256,
    environment: &[],
};

/// What the guardrails are measured against: `lambda_runtime` and nothing else.
pub(crate) static BARE: Program = Program {
    name: "bare-function",
    logical_id: "",
    memory_mib: 256,
    environment: &[],
};

impl Program {
    /// The release binary in the folder `build` of the checkout.
    pub(crate) fn built(&self, build: &Path) -> Result<PathBuf, Failure> {
        binary(&build.join(self.logical_id).join("bootstrap"))
    }
}

/// Lambda gives a start ten seconds.
const INIT_LIMIT: Duration = Duration::from_secs(10);

/// What the process says through the Runtime API.
#[derive(Debug)]
enum Said {
    /// Ready for an event.
    Next(Instant),
    /// The event's answer.
    Response(Instant, Bytes),
    /// It failed; why.
    Error(Bytes),
}

/// An event that waits for the process.
#[derive(Debug)]
struct Event {
    id: String,
    deadline_ms: u128,
    payload: String,
}

/// An invocation's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) payload: Bytes,
    /// From handing out the event to the answer.
    pub(crate) wall: Duration,
}

/// What a process has used up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Processor time, in user and kernel mode.
    pub(crate) cpu: Duration,
    /// The most memory that it ever had (resident set), in MiB.
    pub(crate) peak_mib: f64,
}

/// A running function; killed when dropped.
#[derive(Debug)]
pub(crate) struct Function {
    child: Child,
    accepting: JoinHandle<()>,
    events: UnboundedSender<Event>,
    said: UnboundedReceiver<Said>,
    log: PathBuf,
    invocations: usize,
    /// From starting the process to its first request for an event.
    pub(crate) started_in: Duration,
}

impl Function {
    /// Starts `binary` as `program`, with AWS at `endpoint`.
    pub(crate) async fn start(
        program: &'static Program,
        binary: &Path,
        endpoint: &Endpoint,
    ) -> Result<Self, Failure> {
        let (saying, mut said) = mpsc::unbounded_channel();
        let (events, coming) = mpsc::unbounded_channel();
        let api = Arc::new(RuntimeApi {
            program,
            saying,
            coming: tokio::sync::Mutex::new(coming),
        });
        let handler = move |request| {
            let api = Arc::clone(&api);
            async move { api.respond(request).await }
        };
        let (address, accepting) = serve(handler, None).await?;
        let log = log_file();
        let begun = Instant::now();
        let mut child = command(program, binary, endpoint, &address.to_string())
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()
            .map_err(|error| format!("{} doesn't start: {error}", binary.display()))?;
        let ready = tokio::select! {
            ready = timeout(INIT_LIMIT, said.recv()) => match ready {
                Ok(Some(Said::Next(at))) => Ok(at),
                Ok(Some(Said::Error(body))) => Err(String::from_utf8_lossy(&body).into_owned()),
                _ => Err(format!("no request for an event within {} s", INIT_LIMIT.as_secs())),
            },
            status = ended(&mut child) => Err(format!("the process ended: {status}")),
        };
        let started_in = match ready {
            Ok(at) => at.duration_since(begun),
            Err(why) => {
                let _ = child.kill();
                let _ = child.wait();
                let text = tail(&log);
                let _ = fs::remove_file(&log);
                return Err(
                    format!("the function doesn't start: {why}; its log ends in\n{text}").into(),
                );
            }
        };
        Ok(Self {
            child,
            accepting,
            events,
            said,
            log,
            invocations: 0,
            started_in,
        })
    }

    /// Runs one event to its end.
    pub(crate) async fn invoke(
        &mut self,
        payload: String,
        limit: Duration,
    ) -> Result<Answer, Failure> {
        self.invocations += 1;
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH)? + limit;
        let begun = Instant::now();
        self.events.send(Event {
            id: format!("8476a536-e9f4-11e8-9739-{:012x}", self.invocations),
            deadline_ms: deadline.as_millis(),
            payload,
        })?;
        loop {
            if begun.elapsed() > limit {
                let text = format!("the function ran into its timeout of {} s", limit.as_secs());
                return Err(self.explain(&text));
            }
            match timeout(Duration::from_millis(200), self.said.recv()).await {
                Ok(Some(Said::Response(at, payload))) => {
                    return Ok(Answer {
                        payload,
                        wall: at.duration_since(begun),
                    });
                }
                Ok(Some(Said::Error(body))) => {
                    let body = String::from_utf8_lossy(&body).into_owned();
                    return Err(self.explain(&format!("the run failed: {body}")));
                }
                Ok(Some(Said::Next(_))) => {}
                Ok(None) => return Err("the Runtime API has ended".into()),
                Err(_) => {
                    if let Some(status) = self.child.try_wait()? {
                        return Err(self.explain(&format!("the process ended: {status}")));
                    }
                }
            }
        }
    }

    /// What the process has used up so far.
    pub(crate) fn usage(&self) -> Result<Usage, Failure> {
        let of = Path::new("/proc").join(self.child.id().to_string());
        let read = |name: &str| {
            fs::read_to_string(of.join(name)).map_err(|error| {
                format!("/proc/PID/{name} can't be read (the benchmark needs Linux): {error}")
            })
        };
        let status = read("status")?;
        let peak_kib: f64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|rest| rest.trim().strip_suffix("kB"))
            .and_then(|number| number.trim().parse().ok())
            .ok_or("/proc/PID/status has no VmHWM")?;
        // The second field is the name in parentheses, which may hold anything.
        let stat = read("stat")?;
        let ticks: u64 = stat
            .rsplit(')')
            .next()
            .map(|rest| rest.split_whitespace().skip(11).take(2))
            .map(|times| times.filter_map(|time| time.parse::<u64>().ok()).sum())
            .ok_or("/proc/PID/stat has no times")?;
        Ok(Usage {
            // Linux tells them in hundredths of a second (USER_HZ), whatever it counts in.
            cpu: Duration::from_millis(ticks * 10),
            peak_mib: peak_kib / 1_024.0,
        })
    }

    /// Waits until the process asks for the next event: what it does after its answer is its own.
    pub(crate) async fn idle(&mut self) -> Result<(), Failure> {
        match timeout(INIT_LIMIT, self.said.recv()).await {
            Ok(Some(Said::Next(_))) => Ok(()),
            _ => Err(self.explain("the function doesn't ask for another event")),
        }
    }

    /// Processor time so far of the threads that it has, to the nanosecond: a start takes less than
    /// what [`Function::usage`] can tell.
    pub(crate) fn exact_cpu(&self) -> Result<Duration, Failure> {
        let tasks = format!("/proc/{}/task", self.child.id());
        let mut total = 0;
        for task in fs::read_dir(&tasks)? {
            let file = task?.path().join("schedstat");
            let text = fs::read_to_string(&file).map_err(|error| {
                format!(
                    "{}: {error} (the kernel needs CONFIG_SCHED_INFO)",
                    file.display()
                )
            })?;
            let first = text.split_whitespace().next().map(str::parse::<u64>);
            let Some(Ok(nanoseconds)) = first else {
                return Err(format!("{} holds no time: {text}", file.display()).into());
            };
            total += nanoseconds;
        }
        Ok(Duration::from_nanos(total))
    }

    /// How much it has logged.
    pub(crate) fn log_bytes(&self) -> Result<u64, Failure> {
        Ok(fs::metadata(&self.log)?.len())
    }

    /// How many metrics of our own its log holds, in the embedded metric format.
    pub(crate) fn metrics(&self) -> Result<usize, Failure> {
        Ok(metrics_in(&fs::read_to_string(&self.log)?))
    }

    /// An error with the end of the log.
    pub(crate) fn explain(&self, what: &str) -> Failure {
        format!("{what}; the function's log ends in\n{}", tail(&self.log)).into()
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

/// Waits for the process to end; says how.
async fn ended(child: &mut Child) -> String {
    loop {
        match child.try_wait() {
            Ok(None) => sleep(Duration::from_millis(50)).await,
            Ok(Some(status)) => return status.to_string(),
            Err(error) => return error.to_string(),
        }
    }
}

/// A release binary, by its path in the checkout.
pub(crate) fn binary(path: &Path) -> Result<PathBuf, Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let there = root.join(path);
    if there.is_file() {
        Ok(there)
    } else {
        Err(format!(
            "{} isn't there: build the functions first, with `make build`; `make bench` also builds the bare one",
            path.display()
        )
        .into())
    }
}

/// A file of this process, for one function's log.
fn log_file() -> PathBuf {
    static STARTED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = STARTED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    std::env::temp_dir().join(format!("bench-{}-{number}.log", std::process::id()))
}

fn metrics_in(log: &str) -> usize {
    let documents = log.lines().flat_map(serde_json::from_str::<Value>);
    let names: BTreeSet<String> = documents
        .filter_map(|document| {
            let metrics = document.pointer("/_aws/CloudWatchMetrics/0/Metrics");
            metrics.and_then(Value::as_array).cloned()
        })
        .flatten()
        .filter_map(|metric| metric["Name"].as_str().map(str::to_owned))
        .collect();
    names.len()
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

/// The process with the environment that the template and Lambda give it.
fn command(program: &Program, binary: &Path, aws: &Endpoint, runtime_api: &str) -> Command {
    let mut command = Command::new(binary);
    let memory = program.memory_mib.to_string();
    let environment = program.environment.iter().copied();
    command.env_clear().envs(environment).envs([
        ("POLICY_PARAMETER", POLICY_PARAMETER),
        ("NOTIFICATION_TOPIC_ARN", TOPIC),
        ("AWS_LAMBDA_RUNTIME_API", runtime_api),
        ("AWS_LAMBDA_FUNCTION_NAME", program.name),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &memory),
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
        (
            "AWS_SECRET_ACCESS_KEY",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        ),
        ("AWS_SESSION_TOKEN", "example"),
        ("AWS_ENDPOINT_URL", &aws.url),
    ]);
    command.envs(aws.roots.iter().map(|file| ("SSL_CERT_FILE", file)));
    command
}

/// Lambda's Runtime API (2018-06-01) for one process.
#[derive(Debug)]
struct RuntimeApi {
    program: &'static Program,
    saying: UnboundedSender<Said>,
    coming: tokio::sync::Mutex<UnboundedReceiver<Event>>,
}

impl RuntimeApi {
    async fn respond(&self, request: Request<Incoming>) -> Reply {
        let at = Instant::now();
        let path = request.uri().path().to_owned();
        let Some(path) = path.strip_prefix("/2018-06-01/runtime/") else {
            return reply(404, "text/plain", path);
        };
        if request.method() == Method::GET && path == "invocation/next" {
            let _ = self.saying.send(Said::Next(at));
            return match self.coming.lock().await.recv().await {
                Some(event) => event.reply(self.program),
                // The benchmark is done with it.
                None => reply(500, "text/plain", "no more events"),
            };
        }
        let body = match request.into_body().collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return reply(400, "text/plain", error.to_string()),
        };
        let said = if path.ends_with("/response") {
            Said::Response(Instant::now(), body)
        } else {
            // invocation/ID/error or init/error
            Said::Error(body)
        };
        let _ = self.saying.send(said);
        reply(202, "application/json", "{\"status\":\"OK\"}")
    }
}

impl Event {
    fn reply(self, program: &Program) -> Reply {
        let arn = format!(
            "arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}",
            program.name
        );
        let mut reply = reply(200, "application/json", self.payload);
        for (name, value) in [
            ("lambda-runtime-aws-request-id", self.id),
            ("lambda-runtime-deadline-ms", self.deadline_ms.to_string()),
            ("lambda-runtime-invoked-function-arn", arn),
            (
                "lambda-runtime-trace-id",
                "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0".to_owned(),
            ),
        ] {
            if let Ok(value) = HeaderValue::try_from(value) {
                reply
                    .headers_mut()
                    .insert(HeaderName::from_static(name), value);
            }
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_counted_once_and_only_in_lines_that_are_metrics() {
        let line = |names: &str| {
            format!("{{\"_aws\":{{\"CloudWatchMetrics\":[{{\"Metrics\":[{names}]}}]}}}}\n")
        };
        let (a, b) = (r#"{"Name":"Done"}"#, r#"{"Name":"Left"}"#);
        let log = line(a) + "{\"Metrics\":[]}\nno JSON\n" + &line(&format!("{a},{b}"));
        assert_eq!(metrics_in(&log), 2);
    }
}
