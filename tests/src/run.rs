//! Starting the function, and what comes of it.

use std::collections::BTreeMap;

use aws_sdk_lambda::primitives::Blob;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::LocalAws;

/// One run of the function, as the emulator has recorded it.
#[derive(Debug, Clone, Deserialize)]
pub struct Run {
    /// Grows from run to run.
    pub number: u64,
    /// The function's name.
    pub function: String,
    /// The same for all attempts at an event.
    pub request_id: String,
    /// Who started it: `client`, `schedule NAME`, `rule NAME`.
    pub source: String,
    /// What it was given.
    pub event: Value,
    /// From 1.
    pub attempt: u32,
    /// `success`, `error`, `timeout`, `crash`, `running`.
    pub outcome: String,
    /// What it answered: the report, or the error.
    pub response: Value,
    /// The process that it ran in.
    pub pid: Option<u32>,
    /// From when to when it ran, in seconds since the epoch: not at all where Lambda put it off.
    pub started: Option<f64>,
    /// See [`Self::started`].
    pub ended: Option<f64>,
    /// Its output, line by line.
    pub log: Vec<String>,
}

/// The report of a run.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// `observe` or `enforce`.
    pub mode: String,
    /// Which policy it followed.
    pub policy: String,
    /// How many resources it looked at.
    pub considered: u64,
    /// How many decisions came out how.
    pub outcomes: Outcomes,
    /// Its numbers.
    pub metrics: BTreeMap<String, u64>,
    /// What stands against the policy.
    pub conditions: Vec<Value>,
    /// The decisions.
    pub decisions: Vec<Entry>,
    /// More about one resource.
    #[serde(default)]
    pub detail: Value,
}

/// How many decisions came out how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outcomes {
    /// Carried out.
    pub done: u64,
    /// Would have been, in the mode `enforce`.
    pub would_do: u64,
    /// Decided against.
    pub skipped: u64,
    /// Gone wrong.
    pub failed: u64,
    /// Left to the next sweep.
    pub left: u64,
}

/// A decision and what came of it.
#[derive(Debug, Clone, Deserialize)]
pub struct Entry {
    /// A resource's id.
    pub resource: String,
    /// `create-snapshot`, `delete-snapshot` …
    pub action: String,
    /// Why.
    pub reason: String,
    /// `done`, `skipped` …
    pub outcome: String,
    /// What was made, or why it was skipped.
    #[serde(default)]
    pub note: String,
}

#[derive(Deserialize)]
struct Invocations {
    invocations: Vec<Run>,
}

impl Run {
    /// The report of a run that must have succeeded.
    #[expect(clippy::must_use_candidate, reason = "often it is only an assertion")]
    pub fn succeeded(&self) -> Report {
        assert_eq!(self.outcome, "success", "{}", self.told());
        serde_json::from_value(self.response.clone())
            .unwrap_or_else(|error| panic!("not a report: {error} in {}", self.response))
    }

    /// The error that a run must have ended in, as Lambda passes it on: type and message.
    #[expect(clippy::must_use_candidate, reason = "often it is only an assertion")]
    pub fn failed(&self) -> (&str, &str) {
        assert_eq!(self.outcome, "error", "{}", self.told());
        let text = |key: &str| self.response[key].as_str().unwrap_or_default();
        (text("errorType"), text("errorMessage"))
    }

    /// All that is known of it, for the message of an assertion.
    #[must_use]
    pub fn told(&self) -> String {
        format!(
            "attempt {} of {} ended in {}: {}\n{}",
            self.attempt,
            self.event,
            self.outcome,
            self.response,
            self.log.join("\n")
        )
    }
}

impl Report {
    /// How many conditions stand.
    #[must_use]
    pub fn firing(&self) -> usize {
        let stands = |condition: &&Value| condition["status"] == "firing";
        self.conditions.iter().filter(stands).count()
    }

    /// The decisions of an action.
    pub fn of<'a>(&'a self, action: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.decisions.iter().filter(move |e| e.action == action)
    }

    /// How many decisions for an action were carried out.
    #[must_use]
    pub fn done(&self, action: &str) -> usize {
        self.of(action).filter(|e| e.outcome == "done").count()
    }
}

impl LocalAws {
    /// Fires the schedule and waits for the function.
    pub async fn sweep(&self) -> Run {
        self.sweep_of(self.guardrail).await
    }

    /// The same of another guardrail.
    pub async fn sweep_of(&self, guardrail: &str) -> Run {
        let request = self.fire_of(guardrail).await;
        let request = request.unwrap_or_else(|| panic!("no schedule reaches {guardrail}"));
        self.wait_until_idle().await;
        self.last_attempt(&request).await
    }

    /// Fires the schedule; returns the request's id at once.
    pub async fn fire(&self) -> String {
        let request = self.try_to_fire().await;
        request.unwrap_or_else(|| panic!("the schedule doesn't reach {}", self.function()))
    }

    /// The same; none where the schedule can't start the function.
    pub async fn try_to_fire(&self) -> Option<String> {
        self.fire_of(self.guardrail).await
    }

    /// Fires the schedule of `guardrail`; the request's id, if it reaches the function.
    pub async fn fire_of(&self, guardrail: &str) -> Option<String> {
        let function = format!("ec2-guardrails-{guardrail}");
        let schedules: Value = self.get("schedules").await;
        let listed = schedules["schedules"].as_array();
        let schedule = listed.into_iter().flatten().find(|schedule| {
            let target = schedule["target"].as_str().unwrap_or_default();
            target.ends_with(&function)
        });
        let name = match schedule {
            Some(schedule) => schedule["name"].clone(),
            None => panic!("no schedule starts {function}: {schedules}"),
        };
        let answer = self.post("schedules/fire", json!({ "name": name })).await;
        answer["request_id"].as_str().map(str::to_owned)
    }

    /// The latest attempt at a request.
    pub async fn last_attempt(&self, request: &str) -> Run {
        self.attempts(request)
            .await
            .pop()
            .unwrap_or_else(|| panic!("request {request} was never tried"))
    }

    /// All attempts at a request, in their order.
    pub async fn attempts(&self, request: &str) -> Vec<Run> {
        self.runs_with(&format!("request_id={request}")).await
    }

    /// All runs of the function, in their order.
    pub async fn runs(&self) -> Vec<Run> {
        self.runs_with(&format!("function={}", self.function()))
            .await
    }

    /// All runs of all functions of the stack, in their order.
    pub async fn runs_of_all(&self) -> Vec<Run> {
        self.runs_with("").await
    }

    /// Runs as the control API filters them.
    pub(crate) async fn runs_with(&self, filters: &str) -> Vec<Run> {
        let path = format!("invocations?{filters}");
        self.get::<Invocations>(&path).await.invocations
    }

    /// Runs that a rule started.
    pub async fn runs_by_rule(&self) -> Vec<Run> {
        let mut runs = self.runs().await;
        runs.retain(|run| run.source.starts_with("rule "));
        runs
    }

    /// Invokes the function as a person does, with `aws lambda invoke`.
    pub async fn invoke(&self, payload: Value) -> Run {
        // Commands are taken through this alias only.
        let alias = (payload["trigger"] == "command").then(|| "operator".to_owned());
        let answer = self
            .lambda
            .invoke()
            .function_name(self.function())
            .set_qualifier(alias)
            .payload(Blob::new(payload.to_string()))
            .send()
            .await
            .expect("the function can be invoked");
        let run = self.runs().await.pop().expect("the run is recorded");
        assert_eq!(run.event, payload, "another run came in between");
        assert_eq!(answer.function_error().is_some(), run.outcome != "success");
        run
    }
}
