//! After each test: did the functions keep within their roles, and the local AWS within what it can?

use serde::Deserialize;
use serde_json::{Value, json};

use crate::LocalAws;

/// What a role was asked for and didn't allow.
#[derive(Debug, Deserialize)]
struct Refusal {
    role: String,
    action: String,
    /// On which resource.
    refused: String,
    expected: bool,
}

#[derive(Deserialize)]
struct Refusals {
    refusals: Vec<Refusal>,
}

impl LocalAws {
    /// The test is about what happens when the role doesn't allow this action.
    pub async fn may_be_denied(&self, action: &str) {
        self.post("refusals/expected", json!({ "action": action }))
            .await;
    }

    /// Fails when anything in the stack did what its role doesn't allow, or when the function called
    /// what the local AWS doesn't do properly.
    pub(crate) async fn check_calls(&self) {
        let told: Refusals = self.get("refusals").await;
        for refusal in told.refusals {
            assert!(
                refusal.expected,
                "{} doesn't allow {} on {}",
                refusal.role, refusal.action, refusal.refused
            );
        }
        for call in self.calls().await {
            let failure = call.error.as_deref();
            assert!(
                !matches!(
                    failure,
                    Some("EmulatorBug" | "InvalidAction" | "UnknownOperationException")
                ),
                "the local AWS can't do {}:{}: {failure:?}, {}",
                call.service,
                call.operation,
                call.parameters
            );
        }
        let failures: Value = self.get("delivery-failures").await;
        assert_eq!(failures["failures"], json!([]));
    }
}
