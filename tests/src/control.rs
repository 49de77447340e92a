//! The emulator's control API: what AWS does by itself, and what it keeps to itself.

use std::collections::BTreeMap;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use jiff::{ToSpan as _, Zoned};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{LocalAws, Outcomes, slots};

/// Longest that one request of the control API may take.
const LIMIT: Duration = Duration::from_mins(1);

/// A snapshot, whoever made it, seen without any delay.
#[derive(Debug, Clone, Deserialize)]
pub struct Snapshot {
    /// `snap-…`
    pub snapshot_id: String,
    /// The volume that it is of.
    pub volume_id: String,
    /// `pending`, `completed`, `error` …
    pub state: String,
    /// When it was started.
    pub start_time: String,
    /// What a person reads in the console.
    pub description: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Whether it is encrypted,
    pub encrypted: bool,
    /// and with which key.
    pub kms_key_id: Option<String>,
}

impl Snapshot {
    /// A tag's value; empty when there is none.
    #[must_use]
    pub fn tag(&self, key: &str) -> &str {
        self.tags.get(key).map_or("", String::as_str)
    }
}

/// How many snapshots that haven't failed each volume has for each slot of each plan.
#[must_use]
pub fn per_slot(snapshots: &[Snapshot]) -> BTreeMap<(String, String, String), usize> {
    let mut counts = BTreeMap::new();
    for snapshot in snapshots.iter().filter(|s| s.state != "error") {
        let plan = snapshot.tag("ec2-guardrails:plan").to_owned();
        let slot = snapshot.tag("ec2-guardrails:slot").to_owned();
        let key = (snapshot.volume_id.clone(), plan, slot);
        *counts.entry(key).or_default() += 1;
    }
    counts
}

/// What [`per_slot`] counts when each of `volumes` has one snapshot for a slot of `plan`.
#[must_use]
pub fn once_each(
    volumes: &[String],
    plan: &str,
    slot: &Zoned,
) -> BTreeMap<(String, String, String), usize> {
    volumes
        .iter()
        .map(|volume| ((volume.clone(), plan.to_owned(), slots::tag(slot)), 1))
        .collect()
}

/// A call of AWS's API.
#[derive(Debug, Clone, Deserialize)]
pub struct Call {
    /// Grows from call to call.
    pub number: u64,
    /// As botocore names it: `ec2`, `ssm`, `sns`, `events` …
    pub service: String,
    /// `CreateSnapshots` …
    pub operation: String,
    /// The request.
    pub parameters: Value,
    /// The error code of the answer.
    pub error: Option<String>,
    /// Whether it got as far as to be carried out.
    pub executed: bool,
    /// The fault that acted on it.
    pub fault: Option<String>,
}

impl Call {
    /// Whether it changes nothing.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        ["Describe", "Get", "List", "BatchGet", "Query", "Simulate"]
            .iter()
            .any(|verb| self.operation.starts_with(verb))
    }
}

/// A message that was published to the topic.
#[derive(Debug, Clone, Deserialize)]
pub struct Notice {
    /// Its subject.
    pub subject: String,
    /// Its body, as a mail has it.
    pub message: String,
    /// The same as a chat channel shows it; null if it would drop it.
    pub chat: Value,
}

impl Notice {
    /// Fails unless subject or body has each of `parts`, the subject fits into SNS's 100 characters,
    /// and a chat channel shows the notice.
    pub fn says(&self, parts: &[&str]) {
        let Self {
            subject,
            message,
            chat,
        } = self;
        for part in parts {
            assert!(
                subject.contains(part) || message.contains(part),
                "{part} is not in:\n{subject}\n{message}"
            );
        }
        assert!(subject.chars().count() < 100, "{subject}");
        assert!(chat.is_object(), "a chat would drop it: {message}");
    }
}

/// Something that goes wrong with the calls of the guardrail's function.
#[derive(Debug, Clone)]
pub struct Fault(Value);

impl Fault {
    /// On calls of `operation` (with `*` for any characters), which go on otherwise.
    #[must_use]
    pub fn on(service: &str, operation: &str) -> Self {
        Self(json!({ "service": service, "operation": operation }))
    }

    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0[key] = value.into();
        self
    }

    /// At most so many times.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        self.with("count", count)
    }

    /// Only on calls whose parameter (a dotted path) is like the pattern.
    #[must_use]
    pub fn matching(mut self, path: &str, pattern: &str) -> Self {
        self.0["match"][path] = pattern.into();
        self
    }

    /// Only on the nth such call.
    #[must_use]
    pub fn nth(self, n: u32) -> Self {
        self.with("nth", n)
    }

    /// Refused with this code, not carried out.
    #[must_use]
    pub fn refused(self, code: &str) -> Self {
        self.with("error", code)
    }

    /// Carried out, and then answered with this error: the caller can't know (EBS-1).
    #[must_use]
    pub fn carried_out_but_answered(self, code: &str) -> Self {
        self.with("error", code).with("when", "after")
    }

    /// Carried out, and then the connection is cut.
    #[must_use]
    pub fn carried_out_but_cut_off(self) -> Self {
        self.with("hang_up", true).with("when", "after")
    }

    /// Carried out, and then the calling process is killed.
    #[must_use]
    pub fn carried_out_and_killed(self) -> Self {
        self.with("kill", true).with("when", "after")
    }

    /// Carried out after so many seconds.
    #[must_use]
    pub fn slow(self, seconds: f64) -> Self {
        self.with("latency", seconds)
    }
}

/// A snapshot that is there already.
#[derive(Debug, Clone)]
pub struct Seed(pub(crate) Value);

impl Seed {
    /// A completed one that this guardrail made of `volume` for a slot of `plan`.
    #[must_use]
    pub fn ours(volume: &str, plan: &str, slot: &Zoned) -> Self {
        Self(json!({
            "volume_id": volume,
            "start_time": slot.timestamp().to_string(),
            "description": format!(
                "ec2-guardrails snapshot-volumes: plan {plan}, slot {}, attempt 1: x",
                slots::tag(slot)
            ),
            "tags": {
                "ec2-guardrails:guardrail": "snapshot-volumes",
                "ec2-guardrails:plan": plan,
                "ec2-guardrails:slot": slots::tag(slot),
                "ec2-guardrails:attempt": "1",
                "ec2-guardrails:volumes": volume,
            },
        }))
    }

    /// One of the plan `daily` for each of some days.
    #[must_use]
    pub fn history(volume: &str, days: impl IntoIterator<Item = i64>) -> Vec<Self> {
        let slot_of = |day| Self::ours(volume, "daily", &slots::days_ago(day));
        days.into_iter().map(slot_of).collect()
    }

    /// A completed one that somebody else made.
    #[must_use]
    pub fn foreign(volume: &str, started: &Zoned, tags: &[(&str, &str)]) -> Self {
        let tags: BTreeMap<_, _> = tags.iter().copied().collect();
        Self(json!({
            "volume_id": volume,
            "start_time": started.timestamp().to_string(),
            "tags": tags,
        }))
    }

    /// As a copy has it: all as before but another volume (EBS-9).
    #[must_use]
    pub fn of_volume(mut self, volume: &str) -> Self {
        self.0["volume_id"] = volume.into();
        self
    }

    /// Ended in the state `error` for that reason.
    #[must_use]
    pub fn failed(mut self, reason: &str) -> Self {
        self.0["state"] = "error".into();
        self.0["state_message"] = reason.into();
        self
    }

    /// Under way still.
    #[must_use]
    pub fn pending(mut self) -> Self {
        self.0["state"] = "pending".into();
        self
    }

    /// In the archive tier.
    #[must_use]
    pub fn archived(mut self) -> Self {
        self.0["storage_tier"] = "archive".into();
        self
    }

    /// Started so many minutes later.
    #[must_use]
    pub fn later(mut self, slot: &Zoned, minutes: i64) -> Self {
        self.0["start_time"] = (slot + minutes.minutes()).timestamp().to_string().into();
        self
    }

    /// Described so: EC2 lets nobody change a description.
    #[must_use]
    pub fn described(mut self, description: &str) -> Self {
        self.0["description"] = description.into();
        self
    }

    /// Belongs to another account, which shares it with ours.
    #[must_use]
    pub fn shared_by(mut self, account: &str) -> Self {
        self.0["owner_id"] = account.into();
        self.0["shared_with"] = json!([crate::ACCOUNT]);
        self
    }

    /// With one more tag.
    #[must_use]
    pub fn tagged(mut self, key: &str, value: &str) -> Self {
        self.0["tags"][key] = value.into();
        self
    }
}

#[derive(Deserialize)]
pub(crate) struct Snapshots {
    pub(crate) snapshots: Vec<Snapshot>,
}

#[derive(Deserialize)]
struct Calls {
    calls: Vec<Call>,
}

#[derive(Deserialize)]
struct Notices {
    notices: Vec<Notice>,
}

#[derive(Deserialize)]
struct Metrics {
    metrics: Vec<Metric>,
}

#[derive(Deserialize)]
struct Metric {
    value: f64,
    dimensions: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Seeded {
    snapshot_ids: Vec<String>,
}

impl LocalAws {
    /// One request of the control API.
    pub(crate) async fn control<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> T {
        let url = format!("{}/_emulator/{path}", self.emulator.endpoint());
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = Request::builder()
            .method(method)
            .uri(&url)
            .body(Full::new(body))
            .expect("a valid request");
        // A client for each request: no kept-alive connection that may have gone in between.
        let client = Client::builder(TokioExecutor::new()).build_http();
        let exchange = async {
            let answer = client
                .request(request)
                .await
                .expect("the local AWS answers");
            let status = answer.status();
            let body = answer.into_body().collect().await.expect("a whole answer");
            (status, body.to_bytes())
        };
        let (status, body) = tokio::time::timeout(LIMIT, exchange)
            .await
            .unwrap_or_else(|_| panic!("{url} takes too long"));
        assert!(
            status.is_success(),
            "{url}: {}",
            String::from_utf8_lossy(&body)
        );
        serde_json::from_slice(&body)
            .unwrap_or_else(|error| panic!("{url}: {error} in {}", String::from_utf8_lossy(&body)))
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        self.control(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        self.control(Method::POST, path, Some(&body)).await
    }

    /// Changes settings of the local AWS.
    pub async fn set(&self, settings: Value) {
        let _: Value = self
            .control(Method::PATCH, "settings", Some(&settings))
            .await;
    }

    /// All snapshots of the account.
    pub async fn snapshots(&self) -> Vec<Snapshot> {
        self.get::<Snapshots>("snapshots").await.snapshots
    }

    /// The snapshots that carry the guardrail's tag.
    pub async fn ours(&self) -> Vec<Snapshot> {
        let mut all = self.snapshots().await;
        all.retain(|s| s.tag("ec2-guardrails:guardrail") == "snapshot-volumes");
        all
    }

    /// Puts snapshots there as if they had been made in the past; returns their ids.
    pub async fn seed(&self, seeds: impl IntoIterator<Item = Seed>) -> Vec<String> {
        let seeds: Vec<Value> = seeds.into_iter().map(|seed| seed.0).collect();
        let answer = self.post("snapshots", json!({ "snapshots": seeds })).await;
        serde_json::from_value::<Seeded>(answer)
            .expect("the ids of seeded snapshots")
            .snapshot_ids
    }

    /// Completes all pending snapshots, and waits for what that sets off.
    pub async fn complete_snapshots(&self) {
        self.post("snapshots/finish", json!({})).await;
        self.wait_until_idle().await;
    }

    /// Ends a pending snapshot in the state `error`, and waits for what that sets off.
    pub async fn fail_snapshot(&self, id: &str, reason: &str) {
        let body = json!({ "snapshot_ids": [id], "state": "error", "message": reason });
        let answer = self.post("snapshots/finish", body).await;
        assert_ne!(answer["finished"], 0, "{id} is not pending");
        self.wait_until_idle().await;
    }

    /// Lets so much time pass for all snapshots: with it pass AWS's 15 seconds (EBS-5).
    pub async fn age_snapshots(&self, seconds: u32) {
        self.post("snapshots/age", json!({ "seconds": seconds }))
            .await;
    }

    /// From now on pages are short, and the first one is empty though more follow (EBS-7).
    pub async fn shorten_pages(&self) {
        self.post("paging", json!({ "short_pages": true })).await;
    }

    /// Makes something go wrong from now on.
    pub async fn inject(&self, fault: Fault) {
        self.fault(fault.with("caller", self.function()).0).await;
    }

    /// Makes something go wrong with anybody's calls.
    pub async fn fault(&self, fault: Value) {
        self.post("faults", fault).await;
    }

    /// How many calls each fault has acted on.
    pub async fn fault_hits(&self) -> Vec<u64> {
        let answer: Value = self.get("faults").await;
        let faults = answer["faults"].as_array().cloned().unwrap_or_default();
        faults.iter().filter_map(|f| f["hits"].as_u64()).collect()
    }

    /// Fails unless a sweep waits out that AWS throttles each of these calls twice, and each that
    /// every guardrail makes.
    pub async fn sweep_throttled(&self, calls: &[(&str, &str)]) {
        let every = [
            ("ssm", "GetParameter"),
            ("dynamodb", "Query"),
            ("dynamodb", "GetItem"),
            ("dynamodb", "PutItem"),
            ("sns", "Publish"),
            ("events", "PutEvents"),
        ];
        let calls = [&every[..], calls].concat();
        for &(service, operation) in &calls {
            let code = match (service, operation) {
                ("ec2", _) => "RequestLimitExceeded",
                ("autoscaling" | "iam" | "sns", _) => "Throttling",
                (_, "PutItem") => "ProvisionedThroughputExceededException",
                _ => "ThrottlingException",
            };
            self.inject(Fault::on(service, operation).refused(code).times(2))
                .await;
        }
        let report = self.sweep().await.succeeded();
        let hits = self.fault_hits().await;
        let missed: Vec<_> = calls.iter().zip(&hits).filter(|(_, h)| **h != 2).collect();
        assert!(missed.is_empty(), "each was throttled twice: {missed:?}");
        let undone = (report.outcomes.failed, report.outcomes.left);
        assert_eq!(undone, (0, 0), "{report:?}");
    }

    /// Nothing goes wrong any more.
    pub async fn clear_faults(&self) {
        let _: Value = self.control(Method::DELETE, "faults", None).await;
    }

    /// The calls that the function has made, in their order.
    pub async fn calls(&self) -> Vec<Call> {
        let path = format!("calls?caller={}", self.function());
        self.get::<Calls>(&path).await.calls
    }

    /// The calls that people have made, and tests.
    pub async fn calls_of_people(&self) -> Vec<Call> {
        self.get::<Calls>("calls?caller=client").await.calls
    }

    /// The function's calls of one operation.
    pub async fn calls_of(&self, operation: &str) -> Vec<Call> {
        let mut calls = self.calls().await;
        calls.retain(|call| call.operation == operation);
        calls
    }

    /// The function's calls that change something: all but reads, what tells people and what is
    /// remembered.
    pub async fn changes(&self) -> Vec<Call> {
        self.changes_since(0).await
    }

    /// The same after a number.
    pub async fn changes_since(&self, number: u64) -> Vec<Call> {
        let own = ["Publish", "PutEvents", "PutItem", "DeleteItem"];
        let mut calls = self.calls_since(number).await;
        calls.retain(|call| !call.only_reads() && !own.contains(&call.operation.as_str()));
        calls
    }

    /// How many of the function's calls of an operation AWS has carried out.
    pub async fn carried_out(&self, operation: &str) -> usize {
        let calls = self.calls_of(operation).await;
        // Of a fault after the call the answer tells nothing.
        let done = |call: &&Call| call.executed && (call.error.is_none() || call.fault.is_some());
        calls.iter().filter(done).count()
    }

    /// Fails unless two more sweeps find nothing to do and nothing to tell, beside so many notices.
    pub async fn nothing_more_is_told(&self, notices: usize) {
        for _ in 0..2 {
            let report = self.sweep().await.succeeded();
            assert_eq!(report.outcomes, Outcomes::default(), "{report:?}");
        }
        let told = self.notices().await;
        assert_eq!(told.len(), notices, "{told:#?}");
    }

    /// Fails unless there are two notices, and the second says that what the first told is over.
    pub async fn resolved_once(&self) {
        let told = self.notices().await;
        assert_eq!(told.len(), 2, "{told:#?}");
        let subject = &told[1].subject;
        assert!(subject.contains("Resolved: "), "{subject}");
    }

    /// The number of the latest call: see [`Self::calls_since`].
    pub async fn last_call(&self) -> u64 {
        self.calls().await.last().map_or(0, |call| call.number)
    }

    /// The function's calls after a number.
    pub async fn calls_since(&self, number: u64) -> Vec<Call> {
        let mut calls = self.calls().await;
        calls.retain(|call| call.number > number);
        calls
    }

    /// What the guardrail has published to the topic.
    pub async fn notices(&self) -> Vec<Notice> {
        let mut notices = self.get::<Notices>("notices").await.notices;
        let ours = format!("[{}] ", self.guardrail);
        notices.retain(|notice| notice.subject.starts_with(&ours));
        notices
    }

    /// The latest value of a metric of the guardrail, all of which are whole numbers: there are any
    /// only with `FULL_MONITORING`.
    pub async fn metric(&self, name: &str) -> Option<u64> {
        let path = format!("metrics?namespace=Ec2Guardrails&name={name}");
        let mut metrics = self.get::<Metrics>(&path).await.metrics;
        metrics.retain(|metric| metric.dimensions["Guardrail"] == self.guardrail);
        format!("{}", metrics.pop()?.value).parse().ok()
    }

    /// Has CloudWatch evaluate its alarms; whether that of the stack with this name, without the
    /// prefix, is in ALARM.
    pub async fn alarm_tells(&self, name: &str) -> bool {
        let answer = self.post("alarms/evaluate", json!({})).await;
        let state = &answer["alarms"][format!("ec2-guardrails-{name}")];
        assert!(state.is_string(), "no alarm {name}: {answer}");
        state == "ALARM"
    }

    /// Puts an event on the bus as an AWS service does, and waits for what it sets off.
    pub async fn emit(&self, source: &str, detail_type: &str, detail: Value) {
        let body = json!({ "source": source, "detail_type": detail_type, "detail": detail });
        self.post("emit", body).await;
        self.wait_until_idle().await;
    }

    /// Waits until no function runs; an attempt that is due later isn't waited for.
    pub async fn wait_until_idle(&self) {
        self.wait(json!({ "timeout": 50 })).await;
    }

    /// Waits until no function runs and none is due to be tried again.
    pub async fn wait_for_retries(&self) {
        self.wait(json!({ "timeout": 50, "retries": true })).await;
    }

    async fn wait(&self, body: Value) {
        let answer = self.post("wait-idle", body).await;
        assert_eq!(answer["idle"], true, "functions still run: {answer}");
    }
}
