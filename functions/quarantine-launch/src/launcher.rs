//! Who launched an instance, as CloudTrail tells it. Pure.

use guardrails::tags;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who launched an instance, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// Who stays the same over many launches: a user, a role, or the service that launched.
    pub principal: String,
    /// For people.
    pub text: String,
}

/// Whoever called an API, as a CloudTrail record names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launcher {
    /// Who stays the same over many calls: the user, or the role that a session is of.
    pub principal: String,
    /// Who exactly: the user, or the role's session.
    pub caller: String,
    /// The service that called on somebody's behalf, e.g. `autoscaling.amazonaws.com`.
    pub service: Option<String>,
    /// What was called, e.g. `RunInstances`.
    pub call: String,
    /// Where from.
    pub address: Option<String>,
    /// With what.
    pub agent: Option<String>,
    /// When.
    pub at: Option<Timestamp>,
}

impl Launcher {
    /// Reads a CloudTrail record: the `detail` of its event, or what `LookupEvents` answers.
    pub fn of(record: &Value) -> Option<Self> {
        let identity = record.get("userIdentity")?;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let service = text(identity.get("invokedBy"));
        let issuer = text(identity.pointer("/sessionContext/sessionIssuer/arn"));
        let caller = text(identity.get("arn"))
            .or_else(|| text(identity.get("principalId")))
            .or_else(|| service.clone())?;
        // CloudFormation, EMR and others call with the rights of whoever asked them to, who stands
        // there; so does the console in old records (signin.amazonaws.com).
        let linked = issuer
            .as_deref()
            .unwrap_or(&caller)
            .contains("AWSServiceRoleFor");
        let service = service.filter(|service| linked || *service == caller);
        // Many people share a role of IAM Identity Center; the session is named after each.
        let issuer = issuer.filter(|role| !role.contains("/AWSReservedSSO_"));
        Some(Self {
            principal: issuer.unwrap_or_else(|| caller.clone()),
            caller,
            service,
            call: text(record.get("eventName"))?,
            address: text(record.get("sourceIPAddress")),
            agent: text(record.get("userAgent")),
            at: text(record.get("eventTime")).and_then(|at| at.parse().ok()),
        })
    }

    /// Whether a service launched, so that the person is whoever changed the group, the template
    /// or the request (AMI-1).
    pub fn is_service(&self) -> bool {
        self.service
            .as_deref()
            .is_some_and(|service| service.ends_with(".amazonaws.com"))
    }

    /// Who stays the same over many launches: the service, where one launched.
    pub fn value(&self) -> &str {
        match &self.service {
            Some(service) if self.is_service() => service,
            _ => &self.principal,
        }
    }

    /// As it is remembered.
    pub fn who(&self) -> Who {
        Who {
            principal: self.value().to_owned(),
            text: self.text(),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = match &self.service {
            Some(service) if self.is_service() && *service != self.caller => {
                format!("{service} for {}", self.caller)
            }
            _ => self.caller.clone(),
        };
        let from: Vec<String> = [
            self.address
                .as_ref()
                .map(|address| format!("from {address}")),
            self.agent
                .as_ref()
                .map(|agent| format!("with {}", tags::clip_to(agent, 60))),
            self.at.map(|at| format!("at {at:.0}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !from.is_empty() {
            text.push_str(" (");
            text.push_str(&self.call);
            text.push(' ');
            text.push_str(&from.join(" "));
            text.push(')');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_user_a_session_and_a_service_are_told_apart() {
        let user = Launcher::of(&json!({
            "eventName": "RunInstances", "eventTime": "2026-11-21T12:00:00Z",
            "sourceIPAddress": "203.0.113.7", "userAgent": "HashiCorp Terraform/1.9.8",
            "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::1:user/admin-02"}
        }))
        .unwrap();
        assert!(!user.is_service());
        assert_eq!(user.value(), "arn:aws:iam::1:user/admin-02");
        assert_eq!(
            user.text(),
            "arn:aws:iam::1:user/admin-02 (RunInstances from 203.0.113.7 with HashiCorp Terraform/1.9.8 at 2026-11-21T12:00:00Z)"
        );

        let session = Launcher::of(&json!({
            "eventName": "RunInstances",
            "userIdentity": {
                "type": "AssumedRole", "arn": "arn:aws:sts::1:assumed-role/ci/run-7",
                "sessionContext": {"sessionIssuer": {"arn": "arn:aws:iam::1:role/ci"}}
            }
        }))
        .unwrap();
        assert_eq!(session.principal, "arn:aws:iam::1:role/ci");
        assert_eq!(session.text(), "arn:aws:sts::1:assumed-role/ci/run-7");

        let group = Launcher::of(&json!({
            "eventName": "RunInstances",
            "userIdentity": {
                "type": "AssumedRole",
                "arn": "arn:aws:sts::1:assumed-role/AWSServiceRoleForAutoScaling/AutoScaling",
                "sessionContext": {"sessionIssuer": {"arn": "arn:aws:iam::1:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"}},
                "invokedBy": "autoscaling.amazonaws.com"
            }
        }))
        .unwrap();
        assert!(group.is_service());
        assert_eq!(group.value(), "autoscaling.amazonaws.com");
    }

    #[test]
    fn behind_a_service_that_acts_for_somebody_stands_who_asked_it() {
        const DEV: &str = "arn:aws:iam::1:user/dev";
        let by = |service: &str, arn: &str| {
            Launcher::of(&json!({
                "eventName": "RunInstances",
                "userIdentity": {"type": "IAMUser", "arn": arn, "invokedBy": service}
            }))
            .unwrap()
        };
        for service in [
            "cloudformation.amazonaws.com",
            "elasticmapreduce.amazonaws.com",
            "signin.amazonaws.com",
        ] {
            let launcher = by(service, DEV);
            assert_eq!((launcher.is_service(), launcher.value()), (false, DEV));
        }
        let fleet = by(
            "ec2fleet.amazonaws.com",
            "arn:aws:sts::1:assumed-role/AWSServiceRoleForEC2Fleet/fleet",
        );
        assert_eq!(fleet.value(), "ec2fleet.amazonaws.com");
        let itself = by("spot.amazonaws.com", "spot.amazonaws.com");
        assert!(itself.is_service());
    }

    #[test]
    fn two_people_on_one_sso_role_are_two() {
        let by = |session: &str| {
            let role = "AWSReservedSSO_Admin_0f1e2d3c";
            let launcher = Launcher::of(&json!({
                "eventName": "RunInstances",
                "userIdentity": {
                    "type": "AssumedRole",
                    "arn": format!("arn:aws:sts::1:assumed-role/{role}/{session}"),
                    "sessionContext": {"sessionIssuer": {
                        "arn": format!("arn:aws:iam::1:role/aws-reserved/sso.amazonaws.com/{role}")
                    }}
                }
            }));
            launcher.unwrap().value().to_owned()
        };
        assert_ne!(by("ann@example.com"), by("bob@example.com"));
    }

    #[test]
    fn a_record_of_nobody_names_nobody() {
        assert_eq!(Launcher::of(&json!({"eventName": "RunInstances"})), None);
        assert_eq!(
            Launcher::of(&json!({"eventName": "x", "userIdentity": {}})),
            None
        );
    }
}
