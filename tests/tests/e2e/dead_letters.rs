//! Dead letters: what lands in the queue, and its replay by docs/replay.py.

use e2e::{
    ATTACH_SSM_ROLE, CANCEL_REFRESH, Fault, QUARANTINE_LAUNCH, Run, SNAPSHOT_VOLUMES, deployed,
};
use serde_json::{Value, json};

const HOUR: u32 = 3_700;

const POLICY: &str = "
snapshot-volumes:
  plans:
    - { name: daily, select: { tag: Backup }, schedule: '0 3 * * *', keep: { last: 3 } }
quarantine-launch:
  mode: enforce
  approve:
    - { owner: amazon, name: 'al2023-ami-2023.*-x86_64' }
";

/// What a run was asked for, in a word or two.
fn asked(run: &Run) -> String {
    match run.event["trigger"].as_str() {
        Some(trigger) => trigger.to_owned(),
        None => run.event["detail"]["eventName"]
            .as_str()
            .or(run.event["detail"]["state"].as_str())
            .unwrap_or_default()
            .to_owned(),
    }
}

/// A rule, a schedule and Lambda itself each send letters of another form.
#[tokio::test]
async fn a_letter_of_each_sender_is_replayed_once_to_its_function() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.put_policy(POLICY).await;
        let volume = aws.volumes(1, &[("Backup", "true")]).await.remove(0);

        // Lambda: a sweep that fails at both attempts, twice, and a person's command.
        aws.retry_soon().await;
        aws.inject(Fault::on("ec2", "DescribeVolumes").refused("InternalError"))
            .await;
        for event in [
            json!({ "trigger": "sweep" }),
            json!({ "trigger": "sweep" }),
            json!({ "trigger": "command", "command": "explain", "volume-id": volume }),
        ] {
            aws.invoke_in_background(SNAPSHOT_VOLUMES, &event).await;
        }
        aws.wait_for_retries().await;
        aws.clear_faults().await;

        // Rules: two instances start while they may not invoke the functions. The approved one is
        // there to be given a profile: whether the other got one depends on which function is first.
        for guardrail in [ATTACH_SSM_ROLE, QUARANTINE_LAUNCH] {
            aws.forbid_rules(guardrail).await;
        }
        let good = aws.good_image().await;
        let approved = aws.instance(&good, 0).await.id;
        let bad = aws.bad_image().await;
        let unapproved = aws.instance(&bad, 0).await.id;
        aws.wait_until_idle().await;

        // The schedule: its role may not invoke a function.
        aws.forbid_schedules().await;
        assert_eq!(aws.fire_of(CANCEL_REFRESH).await, None);
        refused(aws).await;

        // And something that isn't from here.
        aws.send_dead_letter("{\"who\": \"knows\"}").await;
        let letters = aws.dead_letter_count().await;

        let listed = aws.replay(&["--dry-run"]);
        assert_eq!(aws.dead_letter_count().await, letters, "{listed}");
        assert!(aws.runs_in_background(ATTACH_SSM_ROLE).await.is_empty());

        let before = aws.runs().await.len();
        let said = aws.replay(&[]);
        aws.wait_for_retries().await;
        assert!(
            said.ends_with("10 replayed, 1 more that ask for the same, 2 stay in the queue\n"),
            "{said}"
        );
        for part in [
            "it is a command: give it again if it is still wanted",
            "it doesn't say whose it is",
            "replayed  ec2-guardrails-cancel-refresh: sweep\n          had failed with AccessDeniedException:",
            "replayed  ec2-guardrails-snapshot-volumes: sweep\n          had failed with ObserveFailed:",
            "replayed  ec2-guardrails-attach-ssm-role: EC2 Instance State-change Notification ",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(aws.dead_letter_count().await, 2, "those that stay");

        // Each to its function, and what it asked for was done.
        let runs = aws.runs().await;
        assert_eq!(runs[before..].iter().map(asked).collect::<Vec<_>>(), ["sweep"]);
        let mut replayed = runs[before..].to_vec();
        for (guardrail, events) in [
            (ATTACH_SSM_ROLE, vec!["running", "running"]),
            (QUARANTINE_LAUNCH, vec![
                "RunInstances", "RunInstances", "pending", "pending", "running", "running",
            ]),
            (CANCEL_REFRESH, vec!["sweep"]),
        ] {
            let runs = aws.runs_in_background(guardrail).await;
            let mut of: Vec<String> = runs.iter().map(asked).collect();
            of.sort();
            assert_eq!(of, events, "{guardrail}");
            replayed.extend(runs);
        }
        assert_eq!(aws.ours().await.len(), 1);
        assert!(aws.profile_of(&approved).await.is_some());
        assert!(aws.is_isolated(&unapproved).await);
        assert!(!aws.is_isolated(&approved).await);

        // The same letters once more do nothing.
        for run in &replayed {
            let again = aws.invoke_of(&run.function, &run.event).await;
            let outcomes = again.succeeded().outcomes;
            assert_eq!((outcomes.done, outcomes.failed), (0, 0), "{}", again.told());
        }
        assert_eq!(aws.ours().await.len(), 1);
        let nothing = aws.replay(&[]);
        assert!(
            nothing.ends_with("0 replayed, 0 more that ask for the same, 2 stay in the queue\n"),
            "{nothing}"
        );
    })
    .await;
}

/// A letter stays while its function can't be invoked.
#[tokio::test]
async fn a_letter_that_lambda_refuses_stays() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        aws.forbid_schedules().await;
        assert_eq!(aws.fire_of(SNAPSHOT_VOLUMES).await, None);
        refused(aws).await;
        let client = json!({ "service": "lambda", "operation": "Invoke", "caller": "client", "error": "ServiceException" });
        aws.fault(client).await;
        let said = aws.replay(&[]);
        assert!(said.contains("stays") && said.contains("ServiceException"), "{said}");
        assert_eq!(aws.dead_letter_count().await, 1);
        aws.clear_faults().await;
        let said = aws.replay(&[]);
        assert!(said.ends_with("1 replayed, 0 more that ask for the same, 0 stay in the queue\n"), "{said}");
        assert_eq!(aws.dead_letter_count().await, 0);
        let [run]: [Value; 1] = aws
            .runs()
            .await
            .into_iter()
            .map(|run| run.event)
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        assert_eq!(run, json!({ "trigger": "sweep" }));
    })
    .await;
}

/// What couldn't be delivered was refused, as the test asked for.
async fn refused(aws: &e2e::LocalAws) {
    let failures = aws.take_delivery_failures().await;
    let codes: Vec<_> = failures.iter().map(|failure| &failure["code"]).collect();
    assert!(!codes.is_empty(), "nothing was refused");
    assert!(
        codes.iter().all(|code| *code == "NO_PERMISSIONS"),
        "{failures:#?}"
    );
}

/// What costs nothing to watch tells what the alarms of full monitoring tell: each cause, broken once.
#[tokio::test]
async fn basic_monitoring_tells_of_sweeps_that_stop_and_of_runs_that_fail() {
    deployed(SNAPSHOT_VOLUMES, async |aws| {
        let (stopped, letters) = ("snapshot-volumes-sweeps-stopped", "dead-letters");
        aws.retry_soon().await;
        aws.put_policy(POLICY).await;
        aws.sweep().await.succeeded();
        assert!(!aws.alarm_tells(stopped).await);
        assert!(!aws.alarm_tells(letters).await);

        // No sweep for an hour: somebody disabled or deleted the schedule.
        aws.pass_seconds(HOUR).await;
        assert!(aws.alarm_tells(stopped).await);
        aws.sweep().await.succeeded();
        assert!(!aws.alarm_tells(stopped).await);

        // A mistake in the policy: the run and its second try fail, and lie in the queue.
        aws.put_policy("snapshot-volumes: { mode: sometimes }")
            .await;
        aws.sweep().await;
        aws.wait_for_retries().await;
        assert!(aws.alarm_tells(letters).await);
        // It is corrected, and nobody empties the queue: the alarm ends all the same,
        aws.put_policy(POLICY).await;
        aws.pass_seconds(HOUR).await;
        aws.sweep().await.succeeded();
        assert!(!aws.alarm_tells(letters).await);
        // so that another cause is told again. AWS refuses what a run needs,
        aws.inject(Fault::on("ec2", "DescribeVolumes").refused("InternalError"))
            .await;
        aws.sweep().await;
        aws.wait_for_retries().await;
        assert!(aws.alarm_tells(letters).await);
        aws.clear_faults().await;
        // or Scheduler can't start the sweep: it tries, and what it tried for is a letter.
        aws.pass_seconds(HOUR).await;
        assert!(!aws.alarm_tells(letters).await);
        aws.forbid_schedules().await;
        assert_eq!(aws.fire_of(SNAPSHOT_VOLUMES).await, None);
        assert!(!aws.alarm_tells(stopped).await);
        assert!(aws.alarm_tells(letters).await);
        refused(aws).await;
    })
    .await;
}
