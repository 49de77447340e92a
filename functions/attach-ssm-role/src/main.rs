//! The Lambda function `attach-ssm-role`.

use attach_ssm_role::AttachSsmRole;
use guardrails::runner;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runner::serve::<AttachSsmRole>().await
}
