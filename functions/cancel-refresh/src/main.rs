//! The Lambda function `cancel-refresh`.

use cancel_refresh::CancelRefresh;
use guardrails::runner;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runner::serve::<CancelRefresh>().await
}
