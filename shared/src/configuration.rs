//! The environment: what the stack's resources are called, read once at init. Settings belong into
//! the policy.

use std::collections::BTreeMap;
use std::env;

use crate::metrics::Form;

/// A variable that the template should have set.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// Not set, or empty.
    #[error(
        "environment variable {name} is not set: it holds {meaning}; template.yaml sets it, so deploy the function with the stack"
    )]
    Missing {
        /// The variable.
        name: &'static str,
        /// What it is for.
        meaning: &'static str,
    },
    /// Set to what it can't be.
    #[error(
        "environment variable {name} is `{value}` and has to be {expected}; template.yaml sets it, so deploy the function with the stack"
    )]
    Wrong {
        /// The variable.
        name: &'static str,
        /// What it is set to.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
}

/// The environment variables as they were at init.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The process's own.
    pub(crate) fn of_process() -> Self {
        // Variables that aren't Unicode are none of ours.
        Self(
            env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
        )
    }

    /// A variable that must be set: `meaning` says what it holds.
    pub fn required(
        &self,
        name: &'static str,
        meaning: &'static str,
    ) -> Result<String, ConfigurationError> {
        self.optional(name)
            .ok_or(ConfigurationError::Missing { name, meaning })
    }

    /// A variable's value; an empty one counts as not set.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|value| !value.is_empty()).cloned()
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self(
            variables
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }
}

/// What every function is given by the template. What only one needs, it reads itself
/// (`Guardrail::new`).
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Name or ARN of the SSM parameter that holds the policy document.
    pub policy_parameter: String,
    /// ARN of the SNS topic that notices go to.
    pub(crate) topic_arn: String,
    /// Name of the state table.
    pub(crate) state_table: String,
    /// What becomes of the figures of a run.
    pub(crate) figures: Form,
}

impl Configuration {
    /// Reads `POLICY_PARAMETER` (default `/ec2-guardrails/policy`), `NOTIFICATION_TOPIC_ARN`,
    /// `STATE_TABLE` and `METRICS_FORM` (`log`, which is the default, or `emf`).
    pub fn of(environment: &Environment) -> Result<Self, ConfigurationError> {
        Ok(Self {
            policy_parameter: environment
                .optional("POLICY_PARAMETER")
                .unwrap_or_else(|| "/ec2-guardrails/policy".to_owned()),
            topic_arn: environment.required(
                "NOTIFICATION_TOPIC_ARN",
                "the ARN of the SNS topic for notices",
            )?,
            state_table: environment.required(
                "STATE_TABLE",
                "the name of the DynamoDB table for what is remembered",
            )?,
            figures: match environment.optional("METRICS_FORM").as_deref() {
                None | Some("log") => Form::Log,
                Some("emf") => Form::Embedded,
                Some(value) => {
                    return Err(ConfigurationError::Wrong {
                        name: "METRICS_FORM",
                        value: value.to_owned(),
                        expected: "`log` or `emf`",
                    });
                }
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: (&str, &str) = ("NOTIFICATION_TOPIC_ARN", "arn:aws:sns:eu-central-1:1:t");
    const TABLE: (&str, &str) = ("STATE_TABLE", "t");

    #[test]
    fn what_is_missing_is_named() {
        for (environment, missing) in [
            (Environment::from([TABLE]), "NOTIFICATION_TOPIC_ARN"),
            // An empty variable counts as not set.
            (
                Environment::from([TOPIC, ("STATE_TABLE", "")]),
                "STATE_TABLE",
            ),
        ] {
            let error = Configuration::of(&environment).unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
    }

    #[test]
    fn the_policy_parameter_has_a_default() {
        let configuration = Configuration::of(&Environment::from([TOPIC, TABLE])).unwrap();
        assert_eq!(configuration.policy_parameter, "/ec2-guardrails/policy");
    }

    #[test]
    fn figures_become_metrics_only_where_the_stack_says_so() {
        let figures = |value| {
            let environment = Environment::from([TOPIC, TABLE, ("METRICS_FORM", value)]);
            Configuration::of(&environment).map(|configuration| configuration.figures)
        };
        assert_eq!(figures("").unwrap(), Form::Log);
        assert_eq!(figures("log").unwrap(), Form::Log);
        assert_eq!(figures("emf").unwrap(), Form::Embedded);
        let error = figures("on").unwrap_err().to_string();
        assert!(error.contains("METRICS_FORM is `on`"), "{error}");
    }
}
