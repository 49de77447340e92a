//! What the function is asked, in which mode and under which policy.

use e2e::{
    Call, FULL_MONITORING, Outcomes, SNAPSHOT_VOLUMES, Seed, deployed, deployed_with, slots,
};
use serde_json::json;

fn policy(mode: &str) -> String {
    format!(
        "snapshot-volumes:
  mode: {mode}
  plans:
    - {{ name: daily, select: {{ tag: Backup }}, schedule: '{}', keep: {{ last: 3 }} }}
",
        slots::daily()
    )
}

fn is_read(call: &Call) -> bool {
    // That there is a policy is remembered.
    call.only_reads() || call.operation == "PutItem"
}

/// Somebody who may delete the parameter doesn't get the built-in policy by that; who wants it says so.
#[tokio::test]
async fn a_policy_that_is_gone_is_a_mistake_and_not_the_built_in_one() {
    deployed_with(SNAPSHOT_VOLUMES, FULL_MONITORING, async |aws| {
        aws.volumes(1, &[("Backup", "true")]).await;
        aws.put_policy(&policy("observe")).await;
        aws.sweep().await.succeeded();
        aws.delete_policy().await;
        let run = aws.sweep().await;
        let (kind, message) = run.failed();
        assert_eq!(kind, "InvalidPolicy");
        for part in ["/ec2-guardrails/policy is gone", "put the document {}"] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(aws.metric("PolicyInvalid").await, Some(1));
        assert!(aws.ours().await.is_empty(), "nothing was done");
        aws.put_policy("{}").await;
        let report = aws.sweep().await.succeeded();
        assert_eq!((report.mode.as_str(), report.outcomes.done), ("enforce", 1));
    })
    .await;
}

#[tokio::test]
async fn a_wrong_policy_stops_everything_and_says_where_it_is_wrong() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.volumes(1, &[("Backup", "true")]).await;
        for (document, expected) in [
            (
                policy("enforce").replace("keep: { last: 3 }", "\n        keep: { daily: seven }"),
                "snapshot-volumes.plans[0].keep.daily (line 5): ",
            ),
            (policy("sometimes"), "snapshot-volumes.mode (line 2): "),
            (
                policy("enforce").replace("select:", "chose:"),
                "snapshot-volumes.plans[0].chose (line 4): unknown key",
            ),
            (
                "snapshot-volume: {}\n".to_owned(),
                "(line 1): unknown section",
            ),
            (
                policy("enforce").replace(&slots::daily(), "99 3 * * *"),
                "snapshot-volumes.plans[0].schedule (line 4): ",
            ),
        ] {
            aws.put_policy(&document).await;
            let before = aws.last_call().await;
            let run = aws.sweep().await;
            let (kind, message) = run.failed();
            assert_eq!(kind, "InvalidPolicy");
            for part in [expected, "/ec2-guardrails/policy", "nothing was done"] {
                assert!(message.contains(part), "{part} in {message}\n{document}");
            }
            let calls = aws.calls_since(before).await;
            assert!(
                calls
                    .iter()
                    .all(|call| ["ssm", "dynamodb"].contains(&call.service.as_str())),
                "{calls:?}"
            );
        }
        aws.put_policy(&policy("enforce")).await;
        assert_eq!(aws.sweep().await.succeeded().outcomes.done, 1);
    })
    .await;
}

#[tokio::test]
async fn the_observe_mode_and_explain_say_what_would_be_done_and_do_nothing() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        let volumes = aws.volumes(2, &[("Backup", "true")]).await;
        let old = [1, 2, 3, 4, 5].map(slots::days_ago);
        aws.seed(
            old.iter()
                .map(|slot| Seed::ours(&volumes[0], "daily", slot)),
        )
        .await;
        aws.put_policy(&policy("observe")).await;
        let report = aws.sweep().await.succeeded();
        let would = Outcomes {
            would_do: 4,
            ..Outcomes::default()
        };
        assert_eq!((report.mode.as_str(), report.outcomes), ("observe", would));
        assert_eq!(report.of("create-snapshot").count(), 2);
        assert_eq!(report.of("delete-snapshot").count(), 2);

        aws.put_policy(&policy("enforce")).await;
        let explain = json!({
            "trigger": "command", "command": "explain", "volume-id": volumes[0],
        });
        let report = aws.invoke(explain).await.succeeded();
        assert_eq!((report.mode.as_str(), report.considered), ("observe", 1));
        let plan = &report.detail["volumes"][&volumes[0]]["plans"]["daily"];
        assert_eq!(plan["selects-it"], true);
        assert_eq!(plan["slot"], slots::tag(&slots::latest()));
        assert_eq!(plan["snapshots"].as_array().map(Vec::len), Some(5));

        let calls = aws.calls().await;
        assert!(calls.iter().all(is_read), "{calls:?}");
        assert_eq!(aws.ours().await.len(), 5);
        assert!(aws.notices().await.is_empty());
        // What was shown comes true once it is asked for.
        assert_eq!(aws.sweep().await.succeeded().outcomes.done, 4);
    })
    .await;
}

#[tokio::test]
async fn what_it_does_not_know_is_refused_with_nothing_done() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.volumes(1, &[("Backup", "true")]).await;
        for payload in [
            json!({ "trigger": "sweeep" }),
            json!({ "trigger": "sweep", "force": true }),
            json!({ "trigger": "command", "command": "delete-everything" }),
            json!({ "trigger": "command", "command": "explain" }),
            json!({ "trigger": "command", "command": "explain", "volume": "vol-1" }),
            json!({ "hello": "world" }),
            json!([1, 2]),
            json!({
                "version": "0", "id": "1", "source": "aws.ec2", "account": e2e::ACCOUNT,
                "region": e2e::REGION, "time": "2026-11-21T03:00:00Z", "resources": [],
                "detail-type": "EC2 Instance State-change Notification",
                "detail": { "instance-id": "i-1", "state": "running" }
            }),
        ] {
            let run = aws.invoke(payload).await;
            let (kind, message) = run.failed();
            assert_eq!(kind, "UnknownTrigger", "{message}");
            assert!(message.len() > 20, "it says what is wrong: {message}");
        }
        let calls = aws.calls().await;
        assert!(calls.is_empty(), "{calls:?}");
    })
    .await;
}

/// The rule lets failed creations through, and nothing else.
#[tokio::test]
async fn only_failed_creations_start_the_function() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        let event = |event: &str, result: &str| {
            json!({
                "event": event, "result": result, "cause": "", "request-id": "",
                "snapshot_id": "arn:aws:ec2:eu-central-1::snapshot/snap-01234567890abcdef",
                "source": "arn:aws:ec2:eu-central-1::volume/vol-01234567890abcdef",
                "startTime": "2026-11-21T03:00:00Z", "endTime": "2026-11-21T03:00:05Z"
            })
        };
        let kind = "EBS Snapshot Notification";
        aws.emit("aws.ec2", kind, event("createSnapshot", "succeeded"))
            .await;
        aws.emit("aws.ec2", kind, event("copySnapshot", "failed"))
            .await;
        aws.emit("aws.ec2", kind, event("shareSnapshot", "failed"))
            .await;
        aws.emit("example", kind, event("createSnapshot", "failed"))
            .await;
        assert!(aws.runs().await.is_empty());

        // Somebody else's: it is looked at and left alone.
        aws.emit("aws.ec2", kind, event("createSnapshot", "failed"))
            .await;
        let runs = aws.runs_by_rule().await;
        assert_eq!(runs.len(), 1);
        let report = runs[0].succeeded();
        assert_eq!(
            (report.considered, report.outcomes),
            (0, Outcomes::default())
        );
        assert!(aws.calls().await.iter().all(is_read));
    })
    .await;
}
