//! The Lambda function `quarantine-launch`.

use guardrails::runner;
use quarantine_launch::QuarantineLaunch;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runner::serve::<QuarantineLaunch>().await
}
