//! Makes every instance a managed node of Systems Manager, or tells exactly why it isn't.
//!
//! An instance without an instance profile gets the stack's; somebody's own profile is never
//! replaced. Then the node has to come Online, which may take half an hour (SSM-1). One that
//! doesn't is diagnosed: state, identity, agent and network, each finding with its certainty, the
//! resource that it is about and the fix.

#[cfg(test)]
#[macro_use]
mod fixtures;

mod act;
mod clients;
mod conditions;
mod decide;
mod diagnosis;
mod evaluate;
mod facts;
mod memory;
mod observe;
pub mod policy;
mod report;
mod request;
mod standing;

use std::future::Future;

use guardrails::aws::{ApiError, SdkConfig};
use guardrails::condition::Kind;
use guardrails::configuration::{ConfigurationError, Environment};
use guardrails::guardrail::{Acted, Assessment, Decision, Guardrail, Settled};
use guardrails::state::State;
use guardrails::trigger::{Request, Trigger, TriggerError};
use jiff::Timestamp;

use crate::clients::Clients;
use crate::decide::{Action, Effect};
use crate::evaluate::Evaluation;
use crate::facts::Facts;
use crate::policy::Policy;
use crate::request::Ask;

/// The guardrail's name.
pub const NAME: &str = "attach-ssm-role";

/// Whose record of quarantines is read.
const QUARANTINE_LAUNCH: &str = "quarantine-launch";

/// The guardrail.
#[derive(Debug)]
pub struct AttachSsmRole {
    clients: Clients,
    profile: String,
}

impl Guardrail for AttachSsmRole {
    const NAME: &'static str = NAME;
    const KINDS: &'static [&'static Kind] = &conditions::KINDS;
    type Policy = Policy;
    type Ask = Ask;
    type Facts = Facts;
    type Evaluation<'a> = Evaluation<'a>;
    type Action = Action;
    type Effect = Effect;

    fn new(
        config: &SdkConfig,
        environment: &Environment,
        state: &State,
    ) -> Result<Self, ConfigurationError> {
        let profile = environment.required(
            "INSTANCE_PROFILE_ARN",
            "the ARN of the instance profile to attach",
        )?;
        let clients = Clients {
            ec2: aws_sdk_ec2::Client::new(config),
            ssm: aws_sdk_ssm::Client::new(config),
            iam: aws_sdk_iam::Client::new(config),
            kms: aws_sdk_kms::Client::new(config),
            logs: aws_sdk_cloudwatchlogs::Client::new(config),
            autoscaling: aws_sdk_autoscaling::Client::new(config),
            own: state.clone(),
            quarantine: state.of(QUARANTINE_LAUNCH),
        };
        Ok(Self { clients, profile })
    }

    fn request(trigger: &Trigger) -> Result<Request<Ask>, TriggerError> {
        request::request(trigger)
    }

    fn observe(
        &self,
        policy: &Policy,
        request: &Request<Ask>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Facts, ApiError>> + Send {
        observe::observe(&self.clients, &self.profile, policy, request, now)
    }

    fn evaluate<'a>(facts: &'a Facts, policy: &'a Policy, now: Timestamp) -> Evaluation<'a> {
        evaluate::evaluate(facts, policy, now)
    }

    fn decide(evaluation: &Evaluation<'_>) -> Vec<Decision<Action>> {
        decide::decide(evaluation)
    }

    fn revalidate(
        &self,
        actions: &[&Action],
    ) -> impl Future<Output = Result<Vec<Option<String>>, ApiError>> + Send {
        observe::revalidate(&self.clients.ec2, actions)
    }

    fn act(&self, action: &Action, _run: &str) -> impl Future<Output = Acted<Effect>> + Send {
        act::act(&self.clients, action)
    }

    fn report(evaluation: &Evaluation<'_>, settled: &[Settled<'_, Action, Effect>]) -> Assessment {
        report::report(evaluation, settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guardrails::state::model::Model;

    #[test]
    fn a_missing_profile_is_an_error_that_names_the_variable() {
        let config = SdkConfig::builder().build();
        let state = Model::default().state(NAME);
        let error = AttachSsmRole::new(&config, &Environment::default(), &state).unwrap_err();
        assert!(
            error.to_string().contains("INSTANCE_PROFILE_ARN"),
            "{error}"
        );
    }
}
