mod world;

use super::*;
use crate::evaluate::evaluate;
use crate::facts::{NAME, Parameter};
use crate::fixtures::{block_on, instance, now};
use crate::labels::is_label;
use crate::policy::Policy;
use crate::policy::tests::parse;
use aws_sdk_ec2::operation::create_snapshots::CreateSnapshotsOutput;
use aws_sdk_ec2::operation::describe_instance_attribute::DescribeInstanceAttributeOutput;
use aws_sdk_ec2::operation::describe_snapshots::DescribeSnapshotsOutput;
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use guardrails::guardrail::ActResult;
use guardrails::tags::{self, label};
use proptest::prelude::*;
use serde_json::Value;
use world::{Aws, Kill, World, by_hand, event, release, release_from_labels, release_group};

fn policy(steps: &str, threshold: u32) -> Policy {
    parse(&format!(
        "{{mode: enforce, approve: [{{owner: amazon, name: 'al2023-ami-2023.*'}}], loop: {{launches: {threshold}}}, steps: {{{steps}}}}}"
    ))
    .unwrap()
}

const EVERYTHING: &str = "dissociate-profile: true, stop: true";

/// The estate without what a quarantine leaves on purpose.
fn estate_of(mut aws: Aws) -> Aws {
    aws.snapshots.clear();
    aws.security_groups.remove("sg-isolation");
    aws.incoming.clear();
    aws
}

fn without_labels(mut aws: Aws) -> Aws {
    aws.tags.retain(|key, _| !is_label(key));
    if let Some(group) = &mut aws.group {
        group.tags.clear();
    }
    aws
}

fn now_of(world: &World) -> Aws {
    world.get().aws.clone()
}

/// What is recorded of the instance.
fn record(world: &World) -> Option<Value> {
    world.remembered().remove("quarantine#i-1")
}

fn stage(world: &World) -> Option<String> {
    Some(record(world)?["stage"].as_str()?.to_owned())
}

fn is_isolated(aws: &Aws) -> bool {
    let mut each = aws.groups.values();
    each.all(|groups| *groups == ["sg-isolation"])
}

type Acts = [(&'static str, Acted<Effect>)];

fn notes(acted: &Acts) -> String {
    format!("{acted:?}")
}

#[track_caller]
fn says(acted: &Acts, expected: &str) {
    let told = notes(acted);
    assert!(told.contains(expected), "{expected}: {told}");
}

#[track_caller]
fn done(acted: &Acts) {
    assert!(matches!(acted[0].1.result, ActResult::Done(_)), "{acted:?}");
}

#[track_caller]
fn skipped(acted: &Acts) {
    assert!(
        matches!(acted[0].1.result, ActResult::Skipped(_)),
        "{acted:?}"
    );
}

#[track_caller]
fn failed(acted: &Acts) {
    assert!(
        matches!(acted[0].1.result, ActResult::Failed(_)),
        "{acted:?}"
    );
}

/// What a first run makes of it.
async fn held(aws: Aws, policy: &Policy) -> World {
    let world = World::new(aws);
    world.run(policy, &event(), 0).await;
    world
}

/// What a finished quarantine is, whichever run finished it.
fn normalized(world: &World) -> (Aws, Option<Value>) {
    let mut aws = without_labels(now_of(world));
    aws.snapshots.sort();
    aws.snapshots.dedup_by(|(one, _), (other, _)| one == other);
    let mut record = record(world);
    if let Some(record) = &mut record {
        for key in ["run", "at", "stopped"] {
            if let Some(value) = record.get_mut(key) {
                *value = Value::Null;
            }
        }
        record.as_object_mut().unwrap().remove("settles");
    }
    (aws, record)
}

#[tokio::test(start_paused = true)]
async fn a_launch_is_isolated_before_anything_else_and_all_steps_follow() {
    let world = World::new(Aws::new().in_group(2));
    let acted = world.run(&policy(EVERYTHING, 1), &event(), 0).await;
    assert!(
        acted
            .iter()
            .all(|(_, acted)| matches!(acted.result, ActResult::Done(_))),
        "{}",
        notes(&acted)
    );
    let aws = now_of(&world);
    assert!(is_isolated(&aws));
    assert!(aws.protected && aws.deletion.values().all(|delete| !delete));
    assert_eq!(aws.snapshots.len(), 2);
    assert_eq!((aws.profile, aws.running), (None, false));
    let group = aws.group.unwrap();
    assert_eq!((group.member, group.desired), (Some("Standby"), 1));
    assert!(group.suspended.contains("Launch") && group.suspended.contains("ReplaceUnhealthy"));
    assert_eq!(
        aws.tags[label::QUARANTINED],
        "complete 2026-11-21T12:00:00Z"
    );
    assert!(aws.tags[label::QUARANTINE_IMAGE].contains("al2023-ami-ecs-neuron"));
    let record = record(&world).unwrap();
    assert_eq!(record["stage"], "complete");
    assert_eq!(record["interfaces"]["eni-1"][1], "sg-ssh");
    assert_eq!(record["protected"], false);
    assert_eq!(record["service"]["standby"], "web");

    // Everything is written down first, then isolated, and only then comes the rest.
    let calls = world.get().calls.clone();
    let of = |call: &str| calls.iter().position(|have| *have == call).unwrap();
    assert!(
        of("PutItem") < of("ModifyNetworkInterfaceAttribute"),
        "{calls:?}"
    );
    assert!(
        of("SuspendProcesses") < of("ModifyNetworkInterfaceAttribute"),
        "{calls:?}"
    );
    for later in ["ModifyInstanceAttribute", "CreateSnapshots", "EnterStandby"] {
        assert!(
            of("ModifyNetworkInterfaceAttribute") < of(later),
            "{calls:?}"
        );
    }
    assert!(of("CreateSnapshots") < of("DisassociateIamInstanceProfile"));
    assert!(of("EnterStandby") < of("StopInstances"));
    // And once more changes nothing.
    world.kill(Kill::Never);
    let again = world.run(&policy(EVERYTHING, 1), &event(), 300).await;
    assert_eq!(world.get().changes, 0, "{}", notes(&again));
}

/// What an answer leaves out is no "no".
#[tokio::test(start_paused = true)]
async fn protection_that_aws_doesnt_tell_of_isnt_off() {
    let empty = mock!(aws_sdk_ec2::Client::describe_instance_attribute)
        .then_output(|| DescribeInstanceAttributeOutput::builder().build());
    let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&empty]);
    for answer in [
        protect::protection(&ec2, "i-1").await,
        protect::terminates_on_shutdown(&ec2, "i-1").await,
    ] {
        assert_eq!(answer.unwrap_err().code, "IncompleteAnswer");
    }
}

/// Whoever may tag may take a snapshot of another volume that says that it is the evidence, or of
/// one of several.
#[tokio::test(start_paused = true)]
async fn a_snapshot_of_some_volume_is_no_evidence() {
    for volume in ["vol-other", "vol-dev-sdf"] {
        let world = World::new(Aws::new());
        let text = "Evidence: i-1 in quarantine since 2026-11-21T12:00:00Z";
        let planted = (text.to_owned(), volume.to_owned());
        world.get().aws.snapshots.push(planted);
        world.run(&policy("", 9), &event(), 0).await;
        let calls = world.get().calls.clone();
        assert!(calls.contains(&"CreateSnapshots"), "{calls:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_snapshots_is_no_evidence() {
    let none = mock!(aws_sdk_ec2::Client::describe_snapshots)
        .then_output(|| DescribeSnapshotsOutput::builder().build());
    let made = mock!(aws_sdk_ec2::Client::create_snapshots)
        .then_output(|| CreateSnapshotsOutput::builder().build());
    let ec2 = mock_client!(aws_sdk_ec2, RuleMode::MatchAny, [&none, &made]);
    let kept = evidence::snapshots(&ec2, &instance("i-1"), now()).await;
    assert_eq!(kept.unwrap_err().code, "IncompleteAnswer");
}

/// The notice says why it isn't isolated, and the run is no success.
#[tokio::test(start_paused = true)]
async fn what_couldnt_be_isolated_is_told() {
    for code in ["InvalidGroup.NotFound", "UnauthorizedOperation"] {
        let world = World::new(Aws::new());
        let call = "ModifyNetworkInterfaceAttribute";
        world.get().refuse.insert(call, code);
        let acted = world.run(&policy("", 9), &event(), 0).await;
        failed(&acted);
        let Some(Effect::Quarantined(effect)) = &acted[0].1.effect else {
            panic!("{acted:?}");
        };
        let told = effect.not_done.join("; ");
        assert!(told.contains(code), "{told}");
        assert_eq!(stage(&world).as_deref(), Some("started"));
    }
}

/// Below the mode enforce no sweep does what a person's order left undone.
#[tokio::test(start_paused = true)]
async fn who_does_the_rest_is_said_as_it_is() {
    for (mode, later, next) in [
        (
            "enforce",
            "the next sweep does it",
            "the next sweep goes on",
        ),
        (
            "notify",
            "order it again to have it done",
            "so order it again",
        ),
    ] {
        let policy = parse(&format!("{{mode: {mode}, approve: [{{owner: self}}]}}")).unwrap();
        let world = World::new(Aws::new());
        let lag = |lags| world.get().labels_lag = lags;
        lag(true);
        says(&world.run(&policy, &by_hand(), 0).await, later);
        lag(false);
        done(&world.run(&policy, &by_hand(), 30).await);
        lag(true);
        says(&world.run(&policy, &release(), 60).await, next);
    }
}

/// Each is written by itself.
#[tokio::test(start_paused = true)]
async fn a_parameter_that_cant_be_written_down_keeps_no_launch_from_it() {
    const PUBLIC: &str = "/aws/service/x/image_id";
    let world = World::new(Aws::new());
    let state = world.1.state(NAME);
    let topic = guardrails::state::Topic::<String>::new("parameter");
    let (nonsense, any) = ("nonsense".to_owned(), Expect::Any);
    let put = state.put(&topic, PUBLIC, &nonsense, None, &any, now());
    assert!(put.await.unwrap().is_done());
    let mut facts = crate::fixtures::facts([instance("i-1")]);
    let parameter = Parameter {
        images: vec!["ami-1".to_owned()],
        ..Parameter::default()
    };
    facts.parameters.insert(PUBLIC.to_owned(), Ok(parameter));
    let policy = crate::fixtures::policy();
    let evaluation = evaluate(&facts, &policy, now());
    let error = remember(&world.clients().await, &evaluation).await;
    assert_eq!(error.unwrap_err().code, "UnreadableItem");
    assert!(world.remembered().contains_key("launch#i-1"));
}

#[tokio::test(start_paused = true)]
async fn an_instance_in_standby_by_somebody_else_is_left_there_by_the_release() {
    let mut aws = Aws::new().in_group(1);
    aws.group.as_mut().unwrap().member = Some("Standby");
    let world = held(aws.clone(), &policy("", 9)).await;
    assert_eq!(record(&world).unwrap()["service"], Value::Null);
    world.run(&policy("", 9), &release(), 60).await;
    assert_eq!(estate_of(now_of(&world)), estate_of(aws));
}

#[tokio::test(start_paused = true)]
async fn a_group_at_its_smallest_keeps_the_instance_and_it_isnt_stopped() {
    let mut aws = Aws::new().in_group(1);
    aws.group.as_mut().unwrap().min = 1;
    let world = World::new(aws);
    let acted = world.run(&policy("stop: true", 9), &event(), 0).await;
    says(&acted, "its group would replace it");
    let aws = now_of(&world);
    assert!(aws.running);
    assert!(is_isolated(&aws));
    assert_eq!(aws.group.unwrap().member, Some("InService"));
}

#[tokio::test(start_paused = true)]
async fn what_a_service_manages_is_partial_and_the_rest_isolated() {
    let mut aws = Aws::new();
    aws.managed.insert("eni-2".to_owned());
    let world = World::new(aws.clone());
    let acted = world.run(&policy("", 9), &event(), 0).await;
    says(&acted, "eni-2 is not isolated");
    let now = now_of(&world);
    assert_eq!(now.groups["eni-1"], ["sg-isolation"]);
    assert_eq!(record(&world).unwrap()["refused"][0], "eni-2");
    assert_eq!(stage(&world).as_deref(), Some("partial"));
    world.kill(Kill::Never);
    world.run(&policy("", 9), &event(), 600).await;
    assert_eq!(world.get().changes, 0, "no fight");
    world.run(&policy("", 9), &release(), 660).await;
    assert_eq!(estate_of(now_of(&world)), aws);
}

#[tokio::test(start_paused = true)]
async fn an_isolation_group_with_rules_is_mended_and_a_strangers_is_refused() {
    let ours = std::collections::BTreeMap::from([(tags::GUARDRAIL.to_owned(), NAME.to_owned())]);
    for (tags, isolated) in [(ours, true), (std::collections::BTreeMap::new(), false)] {
        let mut aws = Aws::new();
        aws.security_groups
            .insert("sg-isolation".to_owned(), (tags, 1));
        let world = World::new(aws);
        let acted = world.run(&policy("", 9), &event(), 0).await;
        let now = now_of(&world);
        assert_eq!(
            now.groups["eni-1"] == ["sg-isolation"],
            isolated,
            "{}",
            notes(&acted)
        );
        assert_eq!(now.security_groups["sg-isolation"].1 == 0, isolated);
        if !isolated {
            says(&acted, "isn't this guardrail's");
            failed(&acted);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_drift_is_closed_once() {
    let world = held(Aws::new(), &policy("", 9)).await;
    let open = |world: &World| {
        let web = vec!["sg-web".to_owned()];
        world.get().aws.groups.insert("eni-1".to_owned(), web);
    };
    open(&world);
    world.run(&policy("", 9), &event(), 300).await;
    assert_eq!(now_of(&world).groups["eni-1"], ["sg-isolation"]);
    open(&world);
    world.kill(Kill::Never);
    world.run(&policy("", 9), &event(), 900).await;
    assert_eq!(world.get().changes, 0);
    world.run(&policy("", 9), &release(), 960).await;
    assert_eq!(estate_of(now_of(&world)), Aws::new());
}

#[tokio::test(start_paused = true)]
async fn what_cant_be_restored_is_named_and_the_rest_restored() {
    let world = held(Aws::new(), &policy("", 9)).await;
    {
        let mut state = world.get();
        state.aws.security_groups.remove("sg-ssh");
        state.aws.security_groups.remove("sg-db");
        state.aws.deletion.remove("/dev/xvda");
    }
    let acted = world.run(&policy("", 9), &release(), 60).await;
    let text = notes(&acted);
    for expected in [
        "NOT RESTORED",
        "eni-1 has sg-web again, but of sg-web, sg-ssh the others don't exist",
        "eni-2 stays isolated: its groups sg-db don't exist any more",
        "/dev/xvda: no volume is attached there any more",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let now = now_of(&world);
    assert_eq!(now.groups["eni-1"], ["sg-web"]);
    assert_eq!(now.groups["eni-2"], ["sg-isolation"]);
    assert!(record(&world).is_none() && !now.tags.contains_key(label::QUARANTINED));
}

#[tokio::test(start_paused = true)]
async fn processes_that_were_suspended_before_stay_suspended() {
    let mut aws = Aws::new().in_group(2);
    aws.group
        .as_mut()
        .unwrap()
        .suspended
        .insert("ReplaceUnhealthy".to_owned());
    let world = held(aws.clone(), &policy("", 1)).await;
    assert_eq!(now_of(&world).group.unwrap().suspended.len(), 2);
    let grown = world
        .get()
        .aws
        .group
        .as_mut()
        .map(|group| group.desired += 3);
    assert!(grown.is_some());
    let acted = world.run(&policy("", 1), &release(), 60).await;
    says(&acted, "WARNING: its desired capacity has grown");
    let now = now_of(&world).group.unwrap();
    assert!(now.suspended.contains("ReplaceUnhealthy") && !now.suspended.contains("Launch"));
}

#[tokio::test(start_paused = true)]
async fn a_released_instance_is_not_quarantined_again_for_its_ami() {
    let world = held(Aws::new().in_group(2), &policy("", 1)).await;
    world.run(&policy("", 1), &release(), 60).await;
    world.kill(Kill::Never);
    world.run(&policy("", 1), &event(), 120).await;
    assert_eq!(world.get().changes, 0);
}

/// Killed before or after any change, be it in AWS or in the table, and run again: the same end.
#[tokio::test(start_paused = true)]
async fn killed_anywhere_and_run_again_it_comes_to_the_same_end() {
    for detach in ["group: standby", "group: detach"] {
        let steps = format!("{EVERYTHING}, {detach}");
        let policy = policy(&steps, 1);
        let straight = held(Aws::new().in_group(2), &policy).await;
        let (end, changes) = (normalized(&straight), straight.get().changes);
        assert!(changes > 20, "{changes}");
        for at in 0..changes {
            for kill in [Kill::Before(at), Kill::After(at)] {
                let world = World::new(Aws::new().in_group(2));
                world.kill(kill);
                world.run(&policy, &event(), 0).await;
                world.kill(Kill::Never);
                // A later run takes it up; the same event again as well.
                for after in [60, 120] {
                    world.run(&policy, &event(), after).await;
                }
                let (aws, mut now) = normalized(&world);
                // Where the killed run wrote nothing down it begins with the next.
                if let (Some(now), Some(end)) = (&mut now, &end.1) {
                    now["since"] = end["since"].clone();
                }
                let mut expected = end.clone();
                expected.0.snapshots.clear();
                let mut found = (aws, now);
                assert!(found.0.snapshots.len() == 1, "{kill:?}");
                found.0.snapshots.clear();
                assert_eq!(found, expected, "{kill:?}");
                // And its release restores everything all the same.
                world.run(&policy, &release(), 180).await;
                world.run(&policy, &event(), 1_000).await;
                assert_eq!(
                    estate_of(now_of(&world)),
                    estate_of(Aws::new().in_group(2)),
                    "{kill:?}"
                );
                assert_eq!(record(&world), None, "{kill:?}");
            }
        }
    }
}

/// By the person, who says it again, or by the next sweep.
#[tokio::test(start_paused = true)]
async fn a_release_that_is_killed_anywhere_is_finished_by_the_next() {
    let policy = policy(EVERYTHING, 1);
    let in_quarantine = async || {
        let world = held(Aws::new().in_group(2), &policy).await;
        world.kill(Kill::Never);
        world
    };
    let straight = in_quarantine().await;
    straight.run(&policy, &release(), 60).await;
    let changes = straight.get().changes;
    assert!(changes > 12, "{changes}");
    for at in 0..changes {
        for kill in [Kill::Before(at), Kill::After(at)] {
            for (request, after) in [(release(), 120), (event(), 600)] {
                let world = in_quarantine().await;
                world.kill(kill);
                world.run(&policy, &release(), 60).await;
                world.kill(Kill::Never);
                if kill == Kill::Before(0) && request == event() {
                    // Nothing was begun, so no sweep goes on with it.
                    continue;
                }
                world.run(&policy, &request, after).await;
                let (now, before) = (now_of(&world), Aws::new().in_group(2));
                // Killed between the record and the labels, the labels are left.
                assert_eq!(
                    without_labels(estate_of(now)),
                    estate_of(before),
                    "{kill:?} {after}"
                );
                assert_eq!(record(&world), None, "{kill:?}");
            }
        }
    }
}

// --- two at once --------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn of_two_runs_that_saw_the_same_one_carries_on() {
    let policy = policy(EVERYTHING, 1);
    let world = World::new(Aws::new().in_group(2));
    let seen = world.look(&policy, &event(), 0).await;
    let also_seen = world.look(&policy, &event(), 1).await;
    world.act(&seen, &policy, 0).await;
    let end = now_of(&world);
    let second = world.act(&also_seen, &policy, 1).await;
    let skipped =
        |(_, acted): &(&str, Acted<Effect>)| matches!(acted.result, ActResult::Skipped(_));
    assert!(second.iter().all(skipped), "{}", notes(&second));
    assert_eq!(now_of(&world), end);
}

/// Any change of a run may arrive late: after another run has taken the quarantine up and finished
/// it, or after a person has released the instance.
#[tokio::test(start_paused = true)]
async fn a_run_that_is_overtaken_anywhere_spoils_nothing() {
    let policy = policy(EVERYTHING, 1);
    let straight = held(Aws::new().in_group(2), &policy).await;
    let changes = straight.get().changes;
    for at in 0..changes {
        for (other, name) in [(event(), "a run"), (release(), "a release")] {
            let world = World::new(Aws::new().in_group(2));
            world.interrupt(at, &policy, other, 30);
            world.run(&policy, &event(), 0).await;
            // What is open the next sweep finishes.
            world.run(&policy, &event(), 1_000).await;
            world.run(&policy, &event(), 1_100).await;
            if let Some(stage) = stage(&world) {
                assert_eq!(stage, "complete", "{name} before change {at}");
                let aws = now_of(&world);
                assert!(is_isolated(&aws), "{name} at {at}");
                world.run(&policy, &release(), 1_200).await;
            }
            assert_eq!(record(&world), None, "{name} before change {at}");
            assert_eq!(
                without_labels(estate_of(now_of(&world))),
                estate_of(Aws::new().in_group(2)),
                "{name} before change {at}"
            );
        }
    }
}

/// A person's release wins: the run changes nothing more, be it harmless.
#[tokio::test(start_paused = true)]
async fn a_run_stops_once_a_person_has_released() {
    let policy = policy("protect: false", 9);
    let world = World::new(Aws::new());
    let calls = || world.get().calls.clone();
    world.run(&policy, &event(), 0).await;
    let isolated = "ModifyNetworkInterfaceAttribute";
    let at = calls().iter().rposition(|call| *call == isolated).unwrap();
    let world = World::new(Aws::new());
    world.interrupt(at, &policy, release(), 30);
    let acted = world.run(&policy, &event(), 0).await;
    says(&acted, "a person released it");
    let calls = world.get().calls.clone();
    assert!(!calls.contains(&"CreateSnapshots"), "{calls:?}");
}

/// Of two runs that take up what a third had begun.
#[tokio::test(start_paused = true)]
async fn what_was_begun_is_taken_up_by_one() {
    let policy = policy("", 9);
    let world = World::new(Aws::new());
    world.kill(Kill::After(4));
    world.run(&policy, &event(), 0).await;
    world.kill(Kill::Never);
    let seen = world.look(&policy, &event(), 60).await;
    let also_seen = world.look(&policy, &event(), 61).await;
    world.act(&seen, &policy, 60).await;
    let (end, estate) = (record(&world), now_of(&world));
    let second = world.act(&also_seen, &policy, 61).await;
    skipped(&second);
    assert_eq!((record(&world), now_of(&world)), (end, estate));
}

/// Of two releases at once, each of whose changes may arrive late.
#[tokio::test(start_paused = true)]
async fn of_two_releases_one_carries_on() {
    let policy = policy(EVERYTHING, 1);
    let straight = held(Aws::new().in_group(2), &policy).await;
    straight.kill(Kill::Never);
    straight.run(&policy, &release(), 60).await;
    let changes = straight.get().changes;
    for at in 0..changes {
        let world = held(Aws::new().in_group(2), &policy).await;
        world.interrupt(at, &policy, release(), 61);
        let acted = world.run(&policy, &release(), 60).await;
        let failed =
            |(_, acted): &(&str, Acted<Effect>)| matches!(acted.result, ActResult::Failed(_));
        assert!(!acted.iter().any(failed), "{at}: {}", notes(&acted));
        assert_eq!(record(&world), None, "{at}");
        assert_eq!(
            without_labels(estate_of(now_of(&world))),
            estate_of(Aws::new().in_group(2)),
            "{at}"
        );
    }
}

/// The protection that the first run has set isn't what was before.
#[tokio::test(start_paused = true)]
async fn a_run_that_goes_on_keeps_what_was_written_down() {
    let policy = policy(EVERYTHING, 9);
    let world = World::new(Aws::new());
    world
        .get()
        .refuse
        .insert("CreateSnapshots", "RequestLimitExceeded");
    world.run(&policy, &event(), 0).await;
    assert_eq!(stage(&world).as_deref(), Some("started"));
    assert!(now_of(&world).protected);
    world.get().refuse.clear();
    world.run(&policy, &event(), 60).await;
    assert_eq!(stage(&world).as_deref(), Some("complete"));
    assert_eq!(record(&world).unwrap()["protected"], false);
    world.run(&policy, &release(), 120).await;
    assert_eq!(estate_of(now_of(&world)), Aws::new());
}

/// Throttled after it had written the record: the runner has it begin anew.
#[tokio::test(start_paused = true)]
async fn a_run_that_was_throttled_knows_its_own_record() {
    let policy = policy("", 9);
    let world = World::new(Aws::new());
    let facts = world.look(&policy, &event(), 0).await;
    let code = "RequestLimitExceeded";
    world
        .get()
        .refuse
        .insert("ModifyNetworkInterfaceAttribute", code);
    let throttled = world.act(&facts, &policy, 0).await;
    says(&throttled, code);
    world.get().refuse.clear();
    let again = world.act(&facts, &policy, 0).await;
    done(&again);
    assert_eq!(stage(&world).as_deref(), Some("complete"));
}

#[tokio::test(start_paused = true)]
async fn without_the_table_nothing_is_done() {
    let policy = policy(EVERYTHING, 9);
    let world = World::new(Aws::new());
    let facts = world.look(&policy, &event(), 0).await;
    world.1.deny(Some("PutItem"));
    let acted = world.act(&facts, &policy, 0).await;
    failed(&acted);
    assert_eq!(estate_of(now_of(&world)), Aws::new());
}

// --- labels -------------------------------------------------------------------------------------

/// Labels are for people: a tag policy, or 50 tags, keep no quarantine away.
#[tokio::test(start_paused = true)]
async fn labels_that_cant_be_written_are_a_note() {
    let policy = policy(EVERYTHING, 9);
    for code in ["TagLimitExceeded", "UnauthorizedOperation"] {
        let world = World::new(Aws::new());
        world.get().refuse.insert("CreateTags", code);
        let acted = world.run(&policy, &event(), 0).await;
        done(&acted);
        says(&acted, "its labels");
        let aws = now_of(&world);
        assert!(is_isolated(&aws));
        // What IAM allows with the label only is named.
        assert!(aws.running && !aws.protected && aws.profile.is_some());
        says(&acted, "ec2:StopInstances");
        assert_eq!(stage(&world).as_deref(), Some("complete"));
        assert_eq!(record(&world).unwrap()["stopped"], Value::Null);
        world.run(&policy, &release(), 60).await;
        assert_eq!(estate_of(now_of(&world)), Aws::new());
        assert_eq!(record(&world), None);
    }
}

/// IAM sees a label some seconds after it was written.
#[tokio::test(start_paused = true)]
async fn what_iam_refuses_for_a_fresh_label_comes_later() {
    let policy = policy(EVERYTHING, 9);
    let world = World::new(Aws::new());
    world.get().labels_lag = true;
    let acted = world.run(&policy, &event(), 0).await;
    done(&acted);
    says(&acted, "the next sweep does it");
    assert_eq!(stage(&world).as_deref(), Some("started"));
    // Not seen yet, and that is nobody's fault.
    let acted = world.run(&policy, &event(), 60).await;
    done(&acted);
    // Seen long since, and refused all the same.
    let acted = world.run(&policy, &event(), 700).await;
    failed(&acted);
    world.get().labels_lag = false;
    world.run(&policy, &event(), 800).await;
    assert_eq!(stage(&world).as_deref(), Some("complete"));
    // Nor does a release blame the role, whose label somebody had taken away.
    world.get().labels_lag = true;
    let acted = world.run(&policy, &release(), 900).await;
    says(&acted, "NOT FINISHED");
    world.get().labels_lag = false;
    world.run(&policy, &event(), 1_300).await;
    assert_eq!(estate_of(now_of(&world)), Aws::new());
}

/// Whoever may tag, and nothing else, gets nothing done by it: not by an event, a sweep or a release.
#[tokio::test(start_paused = true)]
async fn planted_labels_get_nothing_done() {
    let good = |tags: &[(&str, &str)]| {
        let mut aws = Aws::new().in_group(2);
        "ami-good".clone_into(&mut aws.image);
        let tags = tags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        aws.tags.extend(tags);
        aws
    };
    let groups = format!("{}eni-1", label::QUARANTINE_GROUPS);
    let releasing = [
        (label::QUARANTINED, "releasing 2026-11-21T10:00:00Z"),
        (groups.as_str(), "sg-db"),
        (
            label::QUARANTINE_PROFILE,
            "arn:aws:iam::1:instance-profile/admin",
        ),
        (label::QUARANTINE_SERVICE, "detached web"),
        (label::QUARANTINE_STOPPED, "2026-11-21T10:00:00Z"),
        (label::QUARANTINE_PROTECTION, "off"),
        (label::QUARANTINE_DISKS, "/dev/sdf=delete"),
    ];
    let begun = [(label::QUARANTINED, "started 2026-11-21T10:00:00Z run-1")];
    let finished = [(label::QUARANTINED, "complete 2026-11-21T10:00:00Z")];
    let policy = policy(EVERYTHING, 1);
    for tags in [&releasing[..], &begun, &finished] {
        let before = good(tags);
        let world = World::new(before.clone());
        let sweep = guardrails::trigger::Request::sweep();
        for request in [event(), sweep, release()] {
            world.run(&policy, &request, 0).await;
        }
        assert_eq!(now_of(&world), before);
        assert_eq!(record(&world), None);
    }
}

/// The table was lost: a person may go by the labels, which give no rights and no membership.
#[tokio::test(start_paused = true)]
async fn a_release_by_labels_gives_back_what_harms_nobody() {
    let policy = policy(EVERYTHING, 9);
    let lost = || async {
        let world = held(Aws::new().in_group(2), &policy).await;
        world.lose_the_record().await;
        world
    };
    let world = lost().await;
    let held = now_of(&world);
    world.run(&policy, &release(), 60).await;
    assert_eq!(now_of(&world), held, "only told");
    let acted = world.run(&policy, &release_from_labels(), 120).await;
    done(&acted);
    let (now, before) = (now_of(&world), Aws::new().in_group(2));
    assert_eq!((now.groups, now.deletion), (before.groups, before.deletion));
    assert!(!now.protected);
    // Profile, membership and running stay as the quarantine left them.
    assert_eq!((now.profile, now.running), (None, false));
    assert_eq!(now.group.unwrap().member, Some("Standby"));
    assert!(!now.tags.keys().any(|key| is_label(key)));
    // It was released: its AMI isn't quarantined again.
    world.kill(Kill::Never);
    world.run(&policy, &event(), 180).await;
    assert_eq!(world.get().changes, 0);

    // What isn't isolated is nothing that a quarantine left.
    let world = lost().await;
    world
        .get()
        .aws
        .groups
        .insert("eni-1".to_owned(), vec!["sg-web".to_owned()]);
    let acted = world.run(&policy, &release_from_labels(), 120).await;
    says(&acted, "eni-1, which isn't isolated");
    assert_eq!(now_of(&world).groups["eni-1"], ["sg-web"]);

    // The labels are all that is left to go by: they stay until it is done.
    let world = lost().await;
    let unknown = (
        "ModifyNetworkInterfaceAttribute",
        "InvalidNetworkInterfaceID.NotFound",
    );
    world.get().refuse.insert(unknown.0, unknown.1);
    let acted = world.run(&policy, &release_from_labels(), 120).await;
    says(&acted, "order it again");
    let unfinished = Effect::Released { finished: false };
    assert_eq!(acted[0].1.effect, Some(unfinished));
    assert!(now_of(&world).tags.keys().any(|key| is_label(key)));
    world.get().refuse.clear();
    world.run(&policy, &release_from_labels(), 180).await;
    let now = now_of(&world);
    assert_eq!(now.groups, Aws::new().groups);
    assert!(!now.tags.keys().any(|key| is_label(key)));
}

#[tokio::test(start_paused = true)]
async fn a_profile_is_given_back_or_the_command_is_printed() {
    let policy = policy("dissociate-profile: true", 9);
    for restores in [true, false] {
        let world = held(Aws::new(), &policy).await;
        assert_eq!(now_of(&world).profile, None);
        world.get().restores_profiles = restores;
        let acted = world.run(&policy, &release(), 60).await;
        assert_eq!(now_of(&world).profile.is_some(), restores);
        let printed = "aws ec2 associate-iam-instance-profile --instance-id i-1 --iam-instance-profile Arn=arn:aws:iam::1:instance-profile/app";
        assert_eq!(
            notes(&acted).contains(printed),
            !restores,
            "{}",
            notes(&acted)
        );
    }
}

/// What stands is never overwritten.
#[tokio::test(start_paused = true)]
async fn the_profile_that_it_had_first_comes_back() {
    let policy = policy(EVERYTHING, 9);
    let world = World::new(Aws::new());
    let refuse = ("StopInstances", "InsufficientInstanceCapacity");
    world.get().refuse.extend([refuse]);
    failed(&world.run(&policy, &event(), 0).await);
    {
        let mut state = world.get();
        let another = "arn:aws:iam::1:instance-profile/another".to_owned();
        assert_eq!(state.aws.profile.replace(another), None);
        state.refuse.clear();
    }
    done(&world.run(&policy, &event(), 60).await);
    world.run(&policy, &release(), 120).await;
    assert_eq!(estate_of(now_of(&world)), Aws::new());
}

#[tokio::test(start_paused = true)]
async fn a_release_isnt_finished_before_it_is_seen() {
    let policy = policy("", 9);
    let world = held(Aws::new(), &policy).await;
    world.get().stale_looks = true;
    let acted = world.run(&policy, &release(), 60).await;
    says(&acted, "NOT FINISHED");
    assert_eq!(stage(&world).as_deref(), Some("releasing"));
    world.get().stale_looks = false;
    world.run(&policy, &event(), 120).await;
    assert_eq!(stage(&world).as_deref(), Some("releasing"), "under way");
    world.run(&policy, &event(), 600).await;
    assert_eq!(record(&world), None);
    assert_eq!(estate_of(now_of(&world)), Aws::new());
}

#[tokio::test(start_paused = true)]
async fn by_hand_whatever_the_ami_and_its_release_counts() {
    let policy = policy("", 9);
    let world = held(Aws::new(), &policy).await;
    world.run(&policy, &release(), 60).await;
    let acted = world.run(&policy, &by_hand(), 120).await;
    done(&acted);
    assert_eq!(record(&world).unwrap()["reason"], "by hand: odd traffic");
    world.run(&policy, &release(), 180).await;
    assert_eq!(estate_of(now_of(&world)), Aws::new());
}

/// Approved at its launch: what the policy or the AMI becomes later makes no launch of it.
#[tokio::test(start_paused = true)]
async fn what_was_approved_stays_approved() {
    let mut aws = Aws::new();
    "ami-good".clone_into(&mut aws.image);
    let world = held(aws.clone(), &policy("", 9)).await;
    assert_eq!(world.remembered()["launch#i-1"]["image"], "ami-good");
    let narrower = parse("{mode: enforce, approve: [{owner: self}]}").unwrap();
    world.run(&narrower, &event(), 60).await;
    assert_eq!(now_of(&world), aws);
}

// --- nothing is done before it is seen ----------------------------------------------------------

/// EC2 doesn't find interfaces everywhere that are seconds old.
#[tokio::test(start_paused = true)]
async fn an_interface_that_isnt_found_and_is_attached_is_not_done() {
    let policy = policy("", 9);
    let world = World::new(Aws::new());
    let unknown = (
        "ModifyNetworkInterfaceAttribute",
        "InvalidNetworkInterfaceID.NotFound",
    );
    world.get().refuse.extend([unknown]);
    let acted = world.run(&policy, &event(), 0).await;
    says(&acted, "not shown as isolated yet: eni-1, eni-2");
    assert_eq!(stage(&world).as_deref(), Some("started"));
    world.get().refuse.clear();
    world.run(&policy, &event(), 60).await;
    assert_eq!(stage(&world).as_deref(), Some("complete"));
    // The same of a release.
    world.get().refuse.extend([unknown]);
    let acted = world.run(&policy, &release(), 120).await;
    says(&acted, "NOT FINISHED");
    assert_eq!(stage(&world).as_deref(), Some("releasing"));
    world.get().refuse.clear();
    world.run(&policy, &event(), 600).await;
    assert_eq!(record(&world), None);
    assert_eq!(estate_of(now_of(&world)), Aws::new());
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_is_gone_is_no_hindrance_and_is_named() {
    let policy = policy("", 9);
    let world = World::new(Aws::new());
    world.get().vanishing.insert("eni-2".to_owned());
    world.run(&policy, &event(), 0).await;
    assert_eq!(stage(&world).as_deref(), Some("complete"));
    world.get().vanishing.insert("eni-1".to_owned());
    let acted = world.run(&policy, &release(), 60).await;
    says(&acted, "eni-1, which is gone (it had sg-web, sg-ssh)");
    assert_eq!(record(&world), None);
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_is_attached_meanwhile_is_isolated_and_put_back() {
    let policy = policy("", 9);
    let straight = held(Aws::new(), &policy).await;
    let changes = straight.get().changes;
    for at in 0..changes - 3 {
        let world = World::new(Aws::new());
        world.meanwhile(at, |aws| {
            aws.groups
                .insert("eni-3".to_owned(), vec!["sg-db".to_owned()]);
        });
        world.run(&policy, &event(), 0).await;
        assert_eq!(now_of(&world).groups["eni-3"], ["sg-isolation"], "{at}");
        assert_eq!(stage(&world).as_deref(), Some("complete"), "{at}");
        world.run(&policy, &release(), 60).await;
        assert_eq!(now_of(&world).groups["eni-3"], ["sg-db"], "{at}");
        assert_eq!(record(&world), None, "{at}");
    }
}

fn with_trunk(branches: &[(&str, Option<&'static str>)]) -> Aws {
    let mut aws = Aws::new();
    aws.trunk = Some("eni-2");
    let db = || vec!["sg-db".to_owned()];
    let branches = branches.iter();
    aws.branches = branches
        .map(|(id, trunk)| ((*id).to_owned(), (*trunk, db())))
        .collect();
    aws
}

/// Tasks of ECS and pods have interfaces that EC2 doesn't list with the instance.
#[tokio::test(start_paused = true)]
async fn what_hangs_on_a_trunk_is_isolated_and_put_back() {
    let policy = policy("", 9);
    let aws = with_trunk(&[("eni-b1", Some("eni-2")), ("eni-b2", Some("eni-9"))]);
    let world = held(aws.clone(), &policy).await;
    let now = now_of(&world);
    assert_eq!(now.branches["eni-b1"].1, ["sg-isolation"]);
    assert_eq!(
        now.branches["eni-b2"].1,
        ["sg-db"],
        "it hangs on another's trunk"
    );
    assert_eq!(stage(&world).as_deref(), Some("complete"));
    assert_eq!(record(&world).unwrap()["interfaces"]["eni-b1"][0], "sg-db");
    // Another pod comes later.
    let pod = (Some("eni-2"), vec!["sg-db".to_owned()]);
    world
        .get()
        .aws
        .branches
        .insert("eni-b3".to_owned(), pod.clone());
    world.run(&policy, &event(), 600).await;
    assert_eq!(now_of(&world).branches["eni-b3"].1, ["sg-isolation"]);
    assert_eq!(record(&world).unwrap()["drift"], Value::Null);
    // Where AWS doesn't tell any more what hangs there, it is found by what was written down.
    let code = "UnauthorizedOperation";
    world
        .get()
        .refuse
        .insert("DescribeTrunkInterfaceAssociations", code);
    world.run(&policy, &release(), 660).await;
    let mut with_pod = aws;
    with_pod.branches.insert("eni-b3".to_owned(), pod);
    assert_eq!(estate_of(now_of(&world)), with_pod);
    assert_eq!(record(&world), None);
}

#[tokio::test(start_paused = true)]
async fn what_may_hang_on_a_trunk_is_named_as_open() {
    let policy = policy("", 9);
    for (aws, denied, expected) in [
        (
            with_trunk(&[("eni-b1", None)]),
            false,
            Some("it may be here: eni-b1"),
        ),
        (with_trunk(&[]), true, Some("it couldn't be read")),
        (with_trunk(&[]), false, None),
    ] {
        let world = World::new(aws.clone());
        if denied {
            let code = "UnauthorizedOperation";
            let mut state = world.get();
            state
                .refuse
                .insert("DescribeTrunkInterfaceAssociations", code);
        }
        let acted = world.run(&policy, &event(), 0).await;
        let told = notes(&acted);
        let named = told.contains("what hangs on the trunk eni-2 is not isolated");
        assert_eq!(named, expected.is_some(), "{told}");
        assert!(told.contains(expected.unwrap_or("isolated")), "{told}");
        let end = if named { "partial" } else { "complete" };
        assert_eq!(stage(&world).as_deref(), Some(end));
        assert!(is_isolated(&now_of(&world)), "itself is");
        world.run(&policy, &release(), 60).await;
        assert_eq!(estate_of(now_of(&world)), aws);
    }
}

/// No security group reaches it, so it is told.
#[tokio::test(start_paused = true)]
async fn an_interface_in_a_secondary_network_is_named_as_open() {
    let mut aws = Aws::new();
    aws.secondary.push("sni-1");
    let world = World::new(aws);
    let acted = world.run(&policy("", 9), &event(), 0).await;
    says(
        &acted,
        "sni-1 is not isolated: a secondary network has no security groups",
    );
    assert_eq!(stage(&world).as_deref(), Some("partial"));
}

/// One that was detached in quarantine would cut off whoever takes it next.
#[tokio::test(start_paused = true)]
async fn an_interface_that_was_detached_gets_its_groups_back_all_the_same() {
    let world = held(Aws::new(), &policy("", 9)).await;
    {
        let mut state = world.get();
        let groups = state.aws.groups.remove("eni-2").unwrap();
        let free = (None, groups);
        state.aws.branches.insert("eni-2".to_owned(), free);
    }
    let acted = world.run(&policy("", 9), &release(), 60).await;
    assert!(!notes(&acted).contains("NOT RESTORED"), "{}", notes(&acted));
    assert_eq!(now_of(&world).branches["eni-2"].1, ["sg-db"]);
}

// --- responders ---------------------------------------------------------------------------------

fn answering(responders: &str) -> Policy {
    parse(&format!(
        "{{mode: enforce, approve: [{{owner: amazon, name: 'al2023-ami-2023.*'}}], responders: [{responders}]}}"
    ))
    .unwrap()
}

fn let_in(world: &World) -> Vec<String> {
    let aws = now_of(world);
    aws.incoming.iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn responders_are_let_in_once_it_is_isolated_and_follow_the_policy() {
    let world = World::new(Aws::new());
    let first = answering("{from: [10.1.2.0/24, 'fd00:1::/48', sg-db], ports: [22]}");
    let acted = world.run(&first, &event(), 0).await;
    let told = "10.1.2.0/24 (tcp 22), fd00:1::/48 (tcp 22), sg-db (tcp 22)";
    says(&acted, told);
    assert_eq!(let_in(&world).join(", "), told);
    assert_eq!(stage(&world).as_deref(), Some("complete"));
    let calls = world.get().calls.clone();
    let of = |call: &str| calls.iter().rposition(|have| *have == call).unwrap();
    let isolated = of("ModifyNetworkInterfaceAttribute");
    assert!(isolated < of("AuthorizeSecurityGroupIngress"), "{calls:?}");
    // The policy changes: the next run follows.
    let second = answering("{from: 10.9.0.0/16}");
    world.run(&second, &event(), 300).await;
    assert_eq!(let_in(&world), ["10.9.0.0/16"]);
    world.run(&answering(""), &event(), 600).await;
    assert_eq!(let_in(&world), [""; 0]);
    // And a rule of a stranger is taken away while those of the policy stay.
    world.run(&second, &event(), 900).await;
    let strange = crate::rule::Rule::everything("192.0.2.0/24");
    world.get().aws.incoming.insert(strange);
    world.kill(Kill::Never);
    world.run(&second, &event(), 1_200).await;
    assert_eq!(let_in(&world), ["10.9.0.0/16"]);
    let calls = world.get().calls.clone();
    assert!(
        !calls.contains(&"AuthorizeSecurityGroupIngress"),
        "{calls:?}"
    );
    world.run(&second, &release(), 1_260).await;
    assert_eq!(estate_of(now_of(&world)), Aws::new());
}

/// A group of a stranger that lets nobody in isolates, but no responder is let into it.
#[tokio::test(start_paused = true)]
async fn no_rule_is_added_to_a_group_that_isnt_ours() {
    let mut aws = Aws::new();
    let theirs = (std::collections::BTreeMap::new(), 0);
    aws.security_groups
        .insert("sg-isolation".to_owned(), theirs);
    let world = World::new(aws);
    let acted = world
        .run(&answering("{from: 10.1.2.0/24}"), &event(), 0)
        .await;
    says(&acted, "no responder is let in");
    assert_eq!(let_in(&world), [""; 0]);
    assert_eq!(now_of(&world).groups["eni-1"], ["sg-isolation"]);
}

/// The tag is anybody's: a group that only bears it isn't the isolation group, and stays as it is.
#[tokio::test(start_paused = true)]
async fn a_group_that_only_bears_our_tag_is_never_changed() {
    let mut aws = Aws::new();
    let ours = std::collections::BTreeMap::from([(tags::GUARDRAIL.to_owned(), NAME.to_owned())]);
    aws.security_groups.insert("sg-web".to_owned(), (ours, 1));
    let world = World::new(aws.clone());
    let policy = answering("{from: 10.1.2.0/24}");
    let facts = world.look(&policy, &event(), 0).await;
    let evaluation = evaluate(&facts, &policy, now());
    let clients = world.clients().await;
    let group = crate::facts::Isolation {
        id: "sg-web".to_owned(),
        ours: true,
        ..crate::facts::Isolation::default()
    };
    let at = now();
    for vpc in ["vpc-1", "vpc-2"] {
        let (admission, id) = (&evaluation.admission, &group.id);
        let admitted = isolate::admit(&clients, vpc, &group, admission, at).await;
        let mended = isolate::mend(&clients, id, vpc, admission, at).await;
        for error in [admitted.unwrap_err(), mended.unwrap_err()] {
            assert!(error.message.contains("isn't the group"), "{error}");
        }
    }
    let changes = world.get().changes;
    assert_eq!((changes, now_of(&world)), (0, aws));
}

// --- warm pools ---------------------------------------------------------------------------------

/// Out of a warm pool AWS takes nothing: isolated there, and taken out of service once it is in it.
#[tokio::test(start_paused = true)]
async fn what_is_in_a_warm_pool_stays_there_and_leaves_the_service_later() {
    let policy = policy("", 9);
    let before = Aws::new().in_pool("Warmed:Running");
    let world = World::new(before.clone());
    let acted = world.run(&policy, &event(), 0).await;
    says(&acted, "it is Warmed:Running in the warm pool of web");
    assert_eq!(stage(&world).as_deref(), Some("complete"));
    let calls = world.get().calls.clone();
    for never in ["EnterStandby", "DetachInstances"] {
        assert!(!calls.contains(&never), "{calls:?}");
    }
    // Released there, it is as it was.
    let released = held(before, &policy).await;
    released.run(&policy, &release(), 60).await;
    let back = estate_of(now_of(&released));
    assert_eq!(back, estate_of(Aws::new().in_pool("Warmed:Running")));
    // The group takes it into service.
    {
        let mut state = world.get();
        let group = state.aws.group.as_mut().unwrap();
        (group.member, group.pooled) = (Some("InService"), None);
    }
    world.run(&policy, &event(), 600).await;
    let group = now_of(&world).group.unwrap();
    assert_eq!((group.member, group.desired), (Some("Standby"), 1));
    world.kill(Kill::Never);
    world.run(&policy, &event(), 900).await;
    assert_eq!(world.get().changes, 0);
    world.run(&policy, &release(), 960).await;
    assert_eq!(estate_of(now_of(&world)), estate_of(Aws::new().in_group(2)));
}

/// An instance that has just come into being may show none yet.
#[tokio::test(start_paused = true)]
async fn without_an_interface_nothing_is_isolated_yet() {
    let policy = policy("", 9);
    let mut aws = Aws::new();
    let interfaces = std::mem::take(&mut aws.groups);
    let world = held(aws, &policy).await;
    assert_eq!(stage(&world).as_deref(), Some("started"));
    world.get().aws.groups = interfaces;
    world.run(&policy, &event(), 60).await;
    assert_eq!(stage(&world).as_deref(), Some("complete"));
    assert!(is_isolated(&now_of(&world)));
}

/// Stop protection is no failure that repeats for ever, and leaves no mark by which a release would
/// start what a person has stopped.
#[tokio::test(start_paused = true)]
async fn what_is_protected_from_stopping_is_named_and_not_started_later() {
    let policy = policy("stop: true", 9);
    let world = World::new(Aws::new());
    world
        .get()
        .refuse
        .insert("StopInstances", "OperationNotPermitted");
    let acted = world.run(&policy, &event(), 0).await;
    says(&acted, "its stop protection is on");
    assert_eq!(stage(&world).as_deref(), Some("complete"));
    world.get().aws.running = false;
    world.run(&policy, &release(), 60).await;
    assert!(!now_of(&world).running);
    assert_eq!(record(&world), None);
}

/// What shuts itself down would be terminated in spite of its protection.
#[tokio::test(start_paused = true)]
async fn its_own_shutdown_stops_it_while_it_is_in_quarantine() {
    for (terminates, expected) in [(true, true), (false, false)] {
        let mut aws = Aws::new();
        aws.terminates = terminates;
        let world = held(aws, &policy("", 9)).await;
        assert!(!now_of(&world).terminates);
        assert_eq!(record(&world).unwrap()["shutdown-terminates"], terminates);
        world.run(&policy("", 9), &release(), 60).await;
        assert_eq!(now_of(&world).terminates, expected);
    }
    let world = held(Aws::new(), &policy("protect: false", 9)).await;
    assert!(now_of(&world).terminates);
}

/// A group takes no member that doesn't run.
#[tokio::test(start_paused = true)]
async fn what_was_stopped_takes_its_place_once_it_runs() {
    for out in ["standby", "detach"] {
        let policy = policy(&format!("stop: true, group: {out}"), 9);
        let world = held(Aws::new().in_group(2), &policy).await;
        assert!(!now_of(&world).running);
        world.get().slow_start = true;
        let acted = world.run(&policy, &release(), 60).await;
        says(&acted, "NOT FINISHED");
        says(&acted, "doesn't run yet");
        assert_eq!(stage(&world).as_deref(), Some("releasing"));
        assert_eq!(now_of(&world).group.unwrap().desired, 1);
        world.get().slow_start = false;
        world.run(&policy, &event(), 600).await;
        assert_eq!(estate_of(now_of(&world)), Aws::new().in_group(2), "{out}");
        assert_eq!(record(&world), None);
    }
}

/// Connections are drained for minutes, and until then it can't come back.
#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_into_standby_comes_back_once_it_is_there() {
    let world = held(Aws::new().in_group(2), &policy("", 9)).await;
    let is = |state| world.get().aws.group.as_mut().unwrap().member = Some(state);
    is("EnteringStandby");
    let acted = world.run(&policy("", 9), &release(), 60).await;
    says(&acted, "NOT FINISHED");
    assert_eq!(stage(&world).as_deref(), Some("releasing"));
    is("Standby");
    world.run(&policy("", 9), &event(), 600).await;
    assert_eq!(estate_of(now_of(&world)), Aws::new().in_group(2));
    assert_eq!(record(&world), None);
}

/// Interfaces that outlive their instance would cut off the next one that takes them.
#[tokio::test(start_paused = true)]
async fn what_an_instance_leaves_behind_is_given_back() {
    let policy = policy("", 9);
    let world = held(Aws::new(), &policy).await;
    world.get().gone = Some("i-2");
    let own = vec!["sg-ssh".to_owned()];
    world
        .get()
        .aws
        .groups
        .insert("eni-2".to_owned(), own.clone());
    let acted = world.run(&policy, &release(), 60).await;
    says(&acted, "eni-1 has sg-web, sg-ssh again");
    let groups = now_of(&world).groups;
    assert_eq!(groups["eni-1"], Aws::new().groups["eni-1"]);
    assert_eq!(groups["eni-2"], own, "which somebody gave it");
    assert_eq!(record(&world), None);
    // What is in quarantine with the next instance stays.
    let world = held(Aws::new(), &policy).await;
    world.get().gone = Some("i-2");
    world.record_of("i-2").await;
    world.run(&policy, &release(), 60).await;
    assert_eq!(now_of(&world).groups["eni-1"], ["sg-isolation"]);
    // Not gone yet: it is left out of a look, or is shutting down.
    let world = held(Aws::new(), &policy).await;
    world.get().gone = Some("i-1");
    let acted = world.run(&policy, &release(), 60).await;
    says(&acted, "attached to it still");
    assert!(record(&world).is_some());
    assert_eq!(now_of(&world).groups["eni-1"], ["sg-isolation"]);
}

/// A place that another run took meanwhile.
#[tokio::test(start_paused = true)]
async fn without_a_place_under_the_brake_nothing_is_changed() {
    for (brake, isolated) in [
        ("count: 1, within: 1h", false),
        ("count: 2, within: 1h", true),
    ] {
        let policy = parse(&format!(
            "{{mode: enforce, approve: [{{owner: amazon, name: 'al2023-ami-2023.*'}}], brake: {{{brake}}}, loop: {{launches: 1}}}}"
        ))
        .unwrap();
        let world = World::new(Aws::new());
        let facts = world.look(&policy, &event(), 0).await;
        world.take_a_place().await;
        let acted = world.act(&facts, &policy, 0).await;
        assert_eq!(now_of(&world).groups["eni-1"] == ["sg-isolation"], isolated);
        assert_eq!(record(&world).is_some(), isolated);
        let braked = acted
            .iter()
            .any(|(_, acted)| acted.effect == Some(Effect::Braked));
        assert_eq!(braked, !isolated, "{}", notes(&acted));
    }
}

fn estate() -> impl Strategy<Value = (Aws, String)> {
    let groups = proptest::collection::vec(
        proptest::sample::select(vec!["sg-web", "sg-ssh", "sg-db"]),
        1..4,
    );
    let disks = proptest::collection::btree_map("/dev/sd[a-f]", any::<bool>(), 1..4);
    let steps = proptest::collection::vec(any::<bool>(), 4);
    let group = proptest::option::of((1..3i32, 0..2i32, any::<bool>(), any::<bool>()));
    (
        proptest::collection::vec(groups, 1..4),
        disks,
        any::<(bool, bool, bool, bool)>(),
        group,
        steps,
        proptest::sample::select(vec!["standby", "detach", "keep"]),
    )
        .prop_map(
            |(interfaces, disks, (protected, profile, spot, terminates), group, steps, out)| {
                let mut aws = Aws::new();
                aws.groups = interfaces
                    .into_iter()
                    .enumerate()
                    .map(|(n, mut groups)| {
                        groups.dedup();
                        let groups = groups.into_iter().map(str::to_owned).collect();
                        (format!("eni-{n}"), groups)
                    })
                    .collect();
                aws.deletion = disks;
                aws.protected = protected && !spot;
                aws.spot = spot;
                aws.terminates = terminates;
                if !profile {
                    aws.profile = None;
                }
                if let Some((desired, min, launch, replace)) = group {
                    aws = aws.in_group(desired);
                    let group = aws.group.as_mut().unwrap();
                    group.min = min.min(desired);
                    for (is, process) in [(launch, "Launch"), (replace, "ReplaceUnhealthy")] {
                        if is {
                            group.suspended.insert(process.to_owned());
                        }
                    }
                }
                let steps = format!(
                    "protect: {}, snapshot: {}, dissociate-profile: {}, stop: {}, group: {out}",
                    steps[0], steps[1], steps[2], steps[3]
                );
                (aws, steps)
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn quarantine_then_release_is_the_identity(
        (aws, steps) in estate(),
        threshold in 1..3u32,
        killed in proptest::option::of(0..24usize),
        responders in proptest::sample::subsequence(vec!["10.1.2.0/24", "'fd00:1::/48'", "sg-db"], 0..4),
    ) {
        block_on(async {
            let mut policy = policy(&steps, threshold);
            let from = responders.join(", ");
            let named = if from.is_empty() { from } else { format!("{{from: [{from}]}}") };
            policy.responders = answering(&named).responders;
            let world = World::new(aws.clone());
            if let Some(at) = killed {
                world.kill(Kill::After(at));
                world.run(&policy, &event(), 0).await;
                world.kill(Kill::Never);
            }
            world.run(&policy, &event(), 60).await;
            let held = now_of(&world);
            assert!(is_isolated(&held));
            // Whose rules are those of the responders, and no others.
            assert_eq!(held.incoming.len(), responders.len());
            assert_eq!(held.security_groups["sg-isolation"].1, 0);
            world.run(&policy, &release(), 120).await;
            // What a run that was killed had sent may arrive: the next sweep looks again.
            world.run(&policy, &event(), 1_000).await;
            assert_eq!(estate_of(now_of(&world)), estate_of(aws));
            assert_eq!(record(&world), None);
        });
    }
}

/// A person has the group's processes resumed while a run is about to suspend them: what the run
/// suspends all the same it resumes, so that nothing is suspended that isn't recorded.
#[tokio::test(start_paused = true)]
async fn a_group_that_a_person_releases_meanwhile_stays_released() {
    let policy = policy(EVERYTHING, 1);
    for at in 0..40 {
        let world = World::new(Aws::new().in_group(2));
        world.interrupt(at, &policy, release_group(), 30);
        world.run(&policy, &event(), 0).await;
        let recorded = world.remembered().remove("loop#web");
        let held = recorded.is_some_and(|one| one.get("suspended").is_some());
        let suspended = now_of(&world).group.unwrap().suspended;
        assert!(held || suspended.is_empty(), "{at}: {suspended:?}");
    }
}

/// Else it would be listed for ever, and what somebody suspends of its namesake taken for ours.
#[tokio::test(start_paused = true)]
async fn of_a_group_that_is_gone_nothing_is_kept() {
    let policy = policy(EVERYTHING, 1);
    let world = World::new(Aws::new().in_group(2));
    world.run(&policy, &event(), 0).await;
    world.get().aws.group = None;
    let acted = world.run(&policy, &release_group(), 60).await;
    says(&acted, "web is gone: nothing of it is kept");
    let record = world.remembered().remove("loop#web").unwrap();
    assert_eq!(record.get("suspended"), None, "{record:?}");
}

/// An answer that leaves the group out isn't AWS's word that it is gone.
#[tokio::test(start_paused = true)]
async fn a_group_that_an_answer_leaves_out_is_not_gone() {
    let policy = policy(EVERYTHING, 1);
    let world = World::new(Aws::new().in_group(2));
    world.get().unshown = true;
    let acted = world.run(&policy, &by_hand(), 0).await;
    says(&acted, "isn't shown, though its tag names it");
    assert!(now_of(&world).running, "it would be replaced");

    world.get().unshown = false;
    world.run(&policy, &event(), 60).await;
    assert!(!now_of(&world).group.unwrap().suspended.is_empty());
    world.get().unshown = true;
    let acted = world.run(&policy, &release_group(), 120).await;
    let [(_, acted)] = acted.as_slice() else {
        panic!("{acted:?}");
    };
    assert!(matches!(acted.result, ActResult::Failed(_)), "{acted:?}");
    let record = world.remembered().remove("loop#web").unwrap();
    assert!(record.get("suspended").is_some(), "{record:?}");
    world.run(&policy, &release(), 180).await;
    assert_eq!(now_of(&world).group.unwrap().member, Some("InService"));
    world.get().unshown = false;
    world.run(&policy, &release_group(), 240).await;
    assert!(now_of(&world).group.unwrap().suspended.is_empty());
}

/// A run of chaos: what is asked, when it is killed, and what comes in between.
#[derive(Debug, Clone)]
struct Run {
    asks: u8,
    kill: Option<(bool, usize)>,
    meanwhile: Vec<(usize, u8)>,
}

fn run() -> impl Strategy<Value = Run> {
    let asks = || 0..4u8;
    (
        asks(),
        proptest::option::weighted(0.4, (any::<bool>(), 0..30usize)),
        proptest::collection::vec((0..30usize, asks()), 0..3),
    )
        .prop_map(|(asks, kill, meanwhile)| Run {
            asks,
            kill,
            meanwhile,
        })
}

fn asked(ask: u8) -> guardrails::trigger::Request<crate::ask::Ask> {
    match ask {
        0 => release(),
        1 => by_hand(),
        _ => event(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Runs that overlap, are killed, and whose changes arrive late: once a person's release has come
    /// to its end the estate is what it was, to the letter.
    #[test]
    fn whatever_overlaps_a_release_gives_the_same_estate_back(
        (aws, steps) in estate(),
        runs in proptest::collection::vec(run(), 1..5),
    ) {
        block_on(async {
            let policy = policy(&steps, 1);
            let world = World::new(aws.clone());
            let mut time = 0;
            for run in runs {
                time += 40;
                let kill = match run.kill {
                    None => Kill::Never,
                    Some((true, at)) => Kill::Before(at),
                    Some((false, at)) => Kill::After(at),
                };
                world.kill(kill);
                // Of those in between none is killed: they are other functions.
                if kill == Kill::Never {
                    for (number, (at, ask)) in run.meanwhile.iter().enumerate() {
                        let after = time + 21 + 7 * i64::try_from(number).unwrap();
                        world.interrupt(*at, &policy, asked(*ask), after);
                    }
                }
                world.run(&policy, &asked(run.asks), time).await;
                world.kill(Kill::Never);
            }
            // Whatever was in flight has arrived.
            for _ in 0..4 {
                time += 1_000;
                world.run(&policy, &release(), time).await;
            }
            // A run may have been killed that had stopped the loop and isolated nothing yet.
            world.run(&policy, &release_group(), time).await;
            assert_eq!(record(&world), None);
            assert_eq!(without_labels(estate_of(now_of(&world))), without_labels(estate_of(aws)));
        });
    }
}
