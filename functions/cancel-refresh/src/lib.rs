//! Stops an Auto Scaling instance refresh that fails within a few instances, and a good one never.
//!
//! AWS itself needs about an hour to call a refresh failed (ASG-4). This guardrail judges it by
//! what happens: launches that fail, new instances that die of their health checks (`history`), by
//! AWS's words (`words`); and alarms (`signals`). A failing refresh is rolled back or cancelled,
//! after the container image that it brought was replaced by the known good one where the policy
//! names one for the group (`image`).

mod act;
mod activities;
mod clients;
mod conditions;
mod decide;
mod ecr;
mod evaluate;
mod explain;
mod facts;
mod history;
mod image;
mod memory;
mod observe;
pub mod policy;
mod prose;
mod read;
mod report;
mod signals;
mod source;
mod words;

use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};

use guardrails::aws::{ApiError, SdkConfig};
use guardrails::condition::Kind;
use guardrails::configuration::{ConfigurationError, Environment};
use guardrails::guardrail::{Acted, Assessment, Decision, Guardrail, Settled};
use guardrails::resource::Resource;
use guardrails::state::State;
use guardrails::trigger::{Event, Request, Scope, Trigger, TriggerError};
use jiff::Timestamp;

use crate::clients::Clients;
use crate::decide::{Action, Effect};
use crate::evaluate::Evaluation;
use crate::facts::{Facts, Question};
use crate::policy::Policy;

/// The guardrail's name.
pub const NAME: &str = "cancel-refresh";

/// The guardrail.
#[derive(Debug)]
pub struct CancelRefresh {
    clients: Clients,
    state: State,
    /// Tells this process from others: Lambda may run one invocation twice, under the same name.
    process: u64,
}

impl Guardrail for CancelRefresh {
    const NAME: &'static str = NAME;
    const KINDS: &'static [&'static Kind] = conditions::KINDS;
    const COUNTERS: &'static [&'static str] = report::COUNTERS;
    type Policy = Policy;
    type Ask = Option<Question>;
    type Facts = Facts;
    type Evaluation<'a> = Evaluation<'a>;
    type Action = Action;
    type Effect = Effect;

    fn new(
        config: &SdkConfig,
        _environment: &Environment,
        state: &State,
    ) -> Result<Self, ConfigurationError> {
        Ok(Self {
            clients: Clients::new(config),
            state: state.clone(),
            process: RandomState::new().hash_one(()),
        })
    }

    fn request(trigger: &Trigger) -> Result<Request<Option<Question>>, TriggerError> {
        match trigger {
            Trigger::Sweep => Ok(Request::sweep()),
            Trigger::Event(event) => Ok(Request::of(Scope::one(subject_of(event)?))),
            Trigger::Command(command) if command.name == "explain" => {
                let group = Resource::group(command.only_argument("group")?);
                Ok(asking(group, Question::Explain))
            }
            Trigger::Command(command) if command.name == "verdict" => {
                command.takes(&["group", "refresh"])?;
                let group = Resource::group(command.argument("group")?);
                let given = command.arguments.contains_key("refresh");
                let refresh = given.then(|| command.argument("refresh")).transpose()?;
                let refresh = refresh.map(str::to_owned);
                Ok(asking(group, Question::Verdict { refresh }))
            }
            Trigger::Command(command) => Err(TriggerError::Command {
                name: command.name.clone(),
                known: "explain (with `group`), verdict (with `group`, and `refresh` for another than the newest)",
            }),
        }
    }

    fn observe(
        &self,
        policy: &Policy,
        request: &Request<Option<Question>>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Facts, ApiError>> + Send {
        observe::observe(&self.clients, &self.state, policy, request, now)
    }

    fn evaluate<'a>(facts: &'a Facts, policy: &'a Policy, now: Timestamp) -> Evaluation<'a> {
        evaluate::evaluate(facts, policy, now)
    }

    fn decide(evaluation: &Evaluation<'_>) -> Vec<Decision<Action>> {
        decide::decide(evaluation)
    }

    // `act` looks again itself, after its claim and just before it sends: see there.

    async fn act(&self, action: &Action, run: &str) -> Acted<Effect> {
        let run = format!("{run}/{:x}", self.process);
        act::act(&self.clients, &self.state, action, &run).await
    }

    fn report(evaluation: &Evaluation<'_>, settled: &[Settled<'_, Action, Effect>]) -> Assessment {
        report::report(evaluation, settled)
    }
}

fn asking(group: Resource, question: Question) -> Request<Option<Question>> {
    Request {
        ask: Some(question),
        ..Request::asking(Scope::one(group))
    }
}

/// The group, or the alarm, that an event is about (ASG-6). All else is read anew.
fn subject_of(event: &Event) -> Result<Resource, TriggerError> {
    let name = |key: &'static str| {
        event
            .detail_str(key)
            .filter(|name| !name.is_empty())
            .ok_or_else(|| TriggerError::event(event, &format!("it has no `{key}`")))
    };
    match (event.source.as_str(), event.detail_type.as_str()) {
        (
            "aws.autoscaling",
            "EC2 Instance Launch Unsuccessful" | "EC2 Instance Terminate Successful",
        ) => Ok(Resource::group(name("AutoScalingGroupName")?)),
        ("aws.autoscaling", refresh)
            if refresh.starts_with("EC2 Auto Scaling Instance Refresh ") =>
        {
            Ok(Resource::group(name("AutoScalingGroupName")?))
        }
        ("aws.cloudwatch", "CloudWatch Alarm State Change") => {
            let state = event.detail.pointer("/state/value");
            if state.and_then(serde_json::Value::as_str) != Some("ALARM") {
                return Err(TriggerError::event(event, "its state is not ALARM"));
            }
            Ok(Resource::Alarm(name("alarmName")?.to_owned()))
        }
        _ => Err(TriggerError::event(event, "wrong source or detail type")),
    }
}

#[cfg(test)]
mod tests;
