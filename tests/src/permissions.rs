//! After each test: did the function keep within its role, and the local AWS within what it can?

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::{Call, LocalAws};

/// A call's action as IAM names it.
fn action(call: &Call) -> String {
    format!("{}:{}", call.service, call.operation)
}

impl LocalAws {
    /// The actions that the function's role allows.
    pub async fn allowed_actions(&self) -> BTreeSet<String> {
        let function = self
            .lambda
            .get_function_configuration()
            .function_name(self.function())
            .send()
            .await
            .expect("the function is there");
        let role = function.role().and_then(|arn| arn.rsplit('/').next());
        let role = role.expect("the function has a role");
        let policies = self.iam.list_role_policies().role_name(role).send().await;
        let mut allowed = BTreeSet::new();
        for name in policies.expect("the role is there").policy_names() {
            let policy = self.iam.get_role_policy().role_name(role).policy_name(name);
            let policy = policy.send().await.expect("the policy is there");
            // IAM hands policy documents out percent-encoded (RFC 3986).
            let text = percent_decode_str(policy.policy_document()).decode_utf8_lossy();
            let document: Value = serde_json::from_str(&text).expect("a policy is JSON");
            for statement in listed(&document["Statement"]) {
                assert_eq!(statement["Effect"], "Allow", "{statement}");
                allowed.extend(
                    listed(&statement["Action"])
                        .filter_map(Value::as_str)
                        .map(str::to_owned),
                );
            }
        }
        allowed
    }

    /// The actions that the function has used.
    pub async fn used_actions(&self) -> BTreeSet<String> {
        self.calls().await.iter().map(action).collect()
    }

    /// The test is about what happens when the role doesn't allow this action.
    pub fn may_be_denied(&self, action: &'static str) {
        let mut denied = self.denied.lock().expect("no test thread panics here");
        denied.insert(action);
    }

    /// Fails when the function called what its role doesn't allow, or what the emulator doesn't do
    /// properly.
    pub(crate) async fn check_calls(&self) {
        let allowed = self.allowed_actions().await;
        let denied = self
            .denied
            .lock()
            .expect("no test thread panics here")
            .clone();
        for call in self.calls().await {
            assert!(
                allowed.contains(&action(&call)) || denied.contains(action(&call).as_str()),
                "the role doesn't allow {}, which the function called: {}",
                action(&call),
                call.parameters
            );
            let failure = call.error.as_deref();
            assert!(
                !matches!(
                    failure,
                    Some("EmulatorBug" | "InvalidAction" | "UnknownOperationException")
                ),
                "the local AWS can't do {}: {failure:?}, {}",
                action(&call),
                call.parameters
            );
        }
        let failures: Value = self.get("delivery-failures").await;
        for failure in listed(&failures["failures"]) {
            let refused = failure["code"] == "NO_PERMISSIONS";
            assert!(
                refused && denied.contains("lambda:InvokeFunction"),
                "{failure}"
            );
        }
    }
}

fn listed(value: &Value) -> impl Iterator<Item = &Value> {
    match value {
        Value::Array(items) => items.iter(),
        one => std::slice::from_ref(one).iter(),
    }
}
