//! The least that a Lambda function in Rust can be: it answers every event with `{}`. Set up as
//! the guardrails are, log included, so that the difference to one of them is what that one adds.

use lambda_runtime::{Error, LambdaEvent, service_fn, tracing};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    lambda_runtime::run(service_fn(async |_: LambdaEvent<Value>| {
        Ok::<_, Error>(json!({}))
    }))
    .await
}
