//! The Lambda function `snapshot-volumes`.

use guardrails::runner;
use snapshot_volumes::SnapshotVolumes;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runner::serve::<SnapshotVolumes>().await
}
