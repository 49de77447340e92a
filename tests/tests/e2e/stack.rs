//! What AWS's services do with the stack's roles: start sweeps, forward findings, keep dead letters.

use std::collections::{BTreeMap, BTreeSet};

use e2e::{
    ATTACH_SSM_ROLE, CANCEL_REFRESH, LocalAws, QUARANTINE_LAUNCH, Run, SNAPSHOT_VOLUMES, Seed,
    deployed, deployed_with, only_one, slots,
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
        let finding = only_one(aws.messages(&queue).await);
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
        let letter = only_one(aws.dead_letters().await);
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

/// The largest number of runs that overlap.
fn at_once(runs: &[&Run]) -> usize {
    let span = |run: &&Run| Some((run.started?, run.ended?));
    let spans: Vec<_> = runs.iter().filter_map(span).collect();
    let at = |moment: f64| {
        let running = spans
            .iter()
            .filter(|(from, to)| (*from..*to).contains(&moment));
        running.count()
    };
    spans.iter().map(|(from, _)| at(*from)).max().unwrap_or(0)
}

/// Launches so many instances at once, and waits until each has been seen to. Returns the most runs
/// of each function at once, and how many attempts Lambda put off.
#[expect(clippy::print_stdout, reason = "what is measured")]
async fn scaled_out(aws: &LocalAws, instances: i32) -> (BTreeMap<String, usize>, usize) {
    aws.retry_soon().await;
    let launched = aws.launch_many(instances).await;
    aws.wait_for_retries().await;
    for id in &launched {
        let profile = aws.profile_of(id).await;
        assert_eq!(profile, Some(aws.stack_profile().await), "of {id}");
    }
    assert_eq!(aws.dead_letters().await, [] as [serde_json::Value; 0]);
    let runs = aws.runs_of_all().await;
    let mut of_each: BTreeMap<String, Vec<&Run>> = BTreeMap::new();
    for run in &runs {
        of_each.entry(run.function.clone()).or_default().push(run);
    }
    for (function, runs) in &of_each {
        let events: BTreeSet<_> = runs.iter().map(|run| &run.request_id).collect();
        let (attempts, most) = (runs.len(), at_once(runs));
        println!(
            "{instances} instances, {function}: {} runs, {attempts} attempts, {most} at once",
            events.len()
        );
        let done = runs.iter().filter(|run| run.outcome == "success");
        assert_eq!(
            done.count(),
            events.len(),
            "{function}: each event is seen to once"
        );
    }
    let put_off = runs.iter().filter(|run| run.outcome == "throttled").count();
    let most = of_each
        .into_iter()
        .map(|(name, runs)| (name, at_once(&runs)));
    (most.collect(), put_off)
}

/// A scale-out starts functions for each instance by itself. With a limit they wait their turn and
/// leave the account's other functions alone, and nothing is lost.
#[tokio::test]
async fn a_storm_of_launches_waits_its_turn_where_there_is_a_limit() {
    // `STORM=200` measures what docs/operations.md states.
    let instances = std::env::var("STORM").map_or(10, |count| count.parse().expect("a number"));
    let limit = [("ReservedConcurrency", "2")];
    deployed_with(ATTACH_SSM_ROLE, &limit, async |aws| {
        let (most, put_off) = scaled_out(aws, instances).await;
        assert!(most.values().all(|most| *most <= 2), "{most:?}");
        assert!(put_off > 0, "Lambda puts off what is more");
    })
    .await;
    deployed(ATTACH_SSM_ROLE, async |aws| {
        let (most, put_off) = scaled_out(aws, instances).await;
        assert!(most.values().any(|most| *most > 2), "{most:?}");
        assert_eq!(put_off, 0);
    })
    .await;
}
