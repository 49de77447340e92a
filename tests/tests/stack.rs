//! What AWS's services do with the stack's roles: start sweeps, forward findings, keep dead letters.

use e2e::{
    ATTACH_SSM_ROLE, CANCEL_REFRESH, QUARANTINE_LAUNCH, SNAPSHOT_VOLUMES, Seed, deployed,
    deployed_with, slots,
};
use serde_json::json;

#[tokio::test]
async fn findings_are_forwarded_to_the_bus_that_the_parameter_names() {
    let bus = [(
        "FindingsBusArn",
        "arn:aws:events:eu-central-1:123456789012:event-bus/findings",
    )];
    deployed_with(SNAPSHOT_VOLUMES, &bus, async |aws| {
        let queue = aws.bus("findings").await;
        aws.put_policy(&format!(
            "snapshot-volumes:\n  mode: enforce\n  plans:\n    - {{ name: daily, select: {{ tag: Backup }}, schedule: '{}', keep: {{ last: 3 }} }}\n",
            slots::daily()
        ))
        .await;
        let volumes = aws.volumes(1, &[("Backup", "true")]).await;
        aws.seed([Seed::ours(&volumes[0], "daily", &slots::latest()).failed("no key")])
            .await;
        aws.sweep().await.succeeded();
        let forwarded = aws.messages(&queue).await;
        let [finding] = forwarded.as_slice() else {
            panic!("one finding: {forwarded:#?}");
        };
        assert_eq!(finding["source"], "ec2-guardrails");
        assert_eq!(finding["resources"], json!([volumes[0]]), "{finding:#?}");
    })
    .await;
}

#[tokio::test]
async fn a_sweep_that_cannot_be_started_ends_in_the_dead_letter_queue() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.delete_function().await;
        assert_eq!(aws.try_to_fire().await, None);
        let failures = aws.take_delivery_failures().await;
        assert_eq!(failures.len(), 1, "{failures:#?}");
        let letters = aws.dead_letters().await;
        let [letter] = letters.as_slice() else {
            panic!("one letter: {letters:#?}");
        };
        assert_eq!(letter["Payload"], r#"{"trigger": "sweep"}"#, "{letter}");
    })
    .await;
}

/// Lambda itself puts it there, with the function's role.
#[tokio::test]
async fn a_run_that_fails_twice_ends_in_the_dead_letter_queue() {
    for guardrail in [
        SNAPSHOT_VOLUMES,
        ATTACH_SSM_ROLE,
        CANCEL_REFRESH,
        QUARANTINE_LAUNCH,
    ] {
        deployed(guardrail, async |aws| {
            aws.retry_soon().await;
            aws.put_policy("guardrails: [").await;
            let request = aws.fire().await;
            aws.wait_for_retries().await;
            let attempts = aws.attempts(&request).await;
            assert_eq!(attempts.len(), 2, "the template asks for one retry");
            for run in attempts {
                run.failed();
            }
            let letters = aws.dead_letters().await;
            let [letter] = letters.as_slice() else {
                panic!("{guardrail}: one dead letter: {letters:?}");
            };
            assert_eq!(letter["requestContext"]["requestId"], request.as_str());
        })
        .await;
    }
}
