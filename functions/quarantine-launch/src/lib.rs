//! Isolates instances that are launched from AMIs that the policy doesn't approve, keeps their
//! state, breaks the loop that launches them, and puts everything back when a person releases them.
//!
//! All that a quarantine changes is written down in the state table before it is changed, by the
//! one run that has taken it up. Every step may be repeated, and a run that ends between any two of
//! them is finished by the next. What stands in tags is for people, and nothing is done because of
//! it.

mod act;
mod admission;
mod approval;
mod ask;
mod clients;
mod conditions;
mod decide;
mod evaluate;
mod facts;
mod image;
mod labels;
mod launcher;
mod launches;
mod observe;
pub mod policy;
mod read;
mod record;
mod report;
mod rule;

#[cfg(test)]
mod fixtures;

use std::future::Future;

use guardrails::aws::{ApiError, SdkConfig};
use guardrails::condition::Kind;
use guardrails::configuration::{Configuration, ConfigurationError, Environment};
use guardrails::guardrail::{Acted, Assessment, Decision, Guardrail, Settled};
use guardrails::state::State;
use guardrails::trigger::{Request, Trigger, TriggerError};
use jiff::Timestamp;

use crate::ask::Ask;
use crate::clients::Clients;
use crate::decide::{Action, Effect};
use crate::evaluate::Evaluation;
use crate::facts::Facts;
use crate::policy::Policy;

/// The guardrail's name.
pub const NAME: &str = facts::NAME;

/// The guardrail.
#[derive(Debug)]
pub struct QuarantineLaunch {
    clients: Clients,
    parameter: String,
}

impl Guardrail for QuarantineLaunch {
    const NAME: &'static str = NAME;
    const KINDS: &'static [&'static Kind] = conditions::KINDS;
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
        // Left out: no role is passed.
        let restores_profiles = environment
            .required("RESTORE_PROFILES", "whether a release gives profiles back")
            .is_ok_and(|value| value == "true");
        let parameter = Configuration::of(environment)?.policy_parameter;
        Ok(Self {
            clients: Clients::new(config, state, restores_profiles),
            parameter: parameter_name(&parameter).to_owned(),
        })
    }

    fn request(trigger: &Trigger) -> Result<Request<Ask>, TriggerError> {
        ask::request(trigger)
    }

    fn observe(
        &self,
        policy: &Policy,
        request: &Request<Ask>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Facts, ApiError>> + Send {
        observe::observe(&self.clients, &self.parameter, policy, request, now)
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
        observe::revalidate(
            &self.clients.ec2,
            &self.clients.state,
            actions,
            Timestamp::now(),
        )
    }

    fn act(&self, action: &Action, run: &str) -> impl Future<Output = Acted<Effect>> + Send {
        act::act(&self.clients, action, run)
    }

    fn remember<'a, 'b: 'a>(
        &'a self,
        evaluation: &'a Evaluation<'b>,
    ) -> impl Future<Output = Result<(), ApiError>> + Send {
        act::remember(&self.clients, evaluation)
    }

    fn report(evaluation: &Evaluation<'_>, settled: &[Settled<'_, Action, Effect>]) -> Assessment {
        report::report(evaluation, settled)
    }
}

/// The name of a parameter that is given by name or by ARN.
fn parameter_name(given: &str) -> &str {
    let Some((_, name)) = given.split_once(":parameter") else {
        return given;
    };
    // `…:parameter/a/b` is `/a/b`, `…:parameter/a` is `a`.
    match name.strip_prefix('/') {
        Some(simple) if !simple.contains('/') => simple,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policys_parameter_is_known_by_name_or_arn() {
        for (given, name) in [
            ("/ec2-guardrails/policy", "/ec2-guardrails/policy"),
            ("policy", "policy"),
            (
                "arn:aws:ssm:eu-central-1:1:parameter/ec2-guardrails/policy",
                "/ec2-guardrails/policy",
            ),
            ("arn:aws:ssm:eu-central-1:1:parameter/policy", "policy"),
        ] {
            assert_eq!(parameter_name(given), name);
        }
    }
}
