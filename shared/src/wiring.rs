//! The environment: only wiring, read once at init. Settings belong into the policy.

use std::env;

/// A variable that the template should have set.
#[derive(Debug, thiserror::Error)]
pub enum WiringError {
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
}

/// What every function is wired to.
#[derive(Debug, Clone)]
pub struct Wiring {
    /// Name or ARN of the SSM parameter that holds the policy document.
    pub policy_parameter: String,
    /// ARN of the SNS topic that notices go to.
    pub topic_arn: String,
}

impl Wiring {
    /// Reads `POLICY_PARAMETER` (default `/ec2-guardrails/policy`) and `NOTIFICATION_TOPIC_ARN`.
    pub fn from_env() -> Result<Self, WiringError> {
        Self::read(|name| env::var(name).ok())
    }

    fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, WiringError> {
        let set = |name: &str| get(name).filter(|value| !value.is_empty());
        Ok(Self {
            policy_parameter: set("POLICY_PARAMETER")
                .unwrap_or_else(|| "/ec2-guardrails/policy".to_owned()),
            topic_arn: set("NOTIFICATION_TOPIC_ARN").ok_or(WiringError::Missing {
                name: "NOTIFICATION_TOPIC_ARN",
                meaning: "the ARN of the SNS topic for notices",
            })?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_topic_is_named() {
        let error = Wiring::read(|name| (name == "POLICY_PARAMETER").then(|| "/p".to_owned()))
            .unwrap_err()
            .to_string();
        assert!(error.contains("NOTIFICATION_TOPIC_ARN"), "{error}");
        let empty = Wiring::read(|_| Some(String::new()));
        assert!(empty.is_err(), "an empty variable counts as not set");
    }

    #[test]
    fn the_policy_parameter_has_a_default() {
        let wiring = Wiring::read(|name| {
            (name == "NOTIFICATION_TOPIC_ARN").then(|| "arn:aws:sns:eu-central-1:1:t".to_owned())
        })
        .unwrap();
        assert_eq!(wiring.policy_parameter, "/ec2-guardrails/policy");
    }
}
