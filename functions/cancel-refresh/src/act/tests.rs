use super::*;
use crate::NAME;
use crate::image::Plan;
use crate::memory::{Remembered, Step};
use crate::tests::fixtures::{self, REFRESH, refused, source};
use aws_sdk_autoscaling::operation::cancel_instance_refresh::CancelInstanceRefreshOutput;
use aws_sdk_autoscaling::operation::describe_auto_scaling_groups::DescribeAutoScalingGroupsOutput;
use aws_sdk_autoscaling::operation::describe_instance_refreshes::DescribeInstanceRefreshesOutput;
use aws_sdk_autoscaling::operation::rollback_instance_refresh::RollbackInstanceRefreshOutput;
use aws_sdk_autoscaling::types::{
    AutoScalingGroup, InstanceRefresh, InstanceRefreshStatus, Operator,
};
use aws_sdk_ecr::operation::batch_get_image::BatchGetImageOutput;
use aws_sdk_ecr::operation::put_image::PutImageOutput;
use aws_sdk_ecr::types::ImageIdentifier;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use futures::FutureExt as _;
use guardrails::state::model::{Fault, Model};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

type Change = fn(&mut World);

/// A group with its refresh, as AWS keeps them, and the state table.
struct World {
    table: Model,
    operator: bool,
    gone: bool,
    refresh: String,
    status: InstanceRefreshStatus,
    /// Where the image tags of the repository point to.
    images: BTreeMap<String, String>,
    ecr_down: bool,
    /// Calls that change something, in their order, with what is remembered at the time.
    calls: Vec<String>,
    /// What happens at the next looks at the refresh, before the answer.
    meanwhile: VecDeque<Change>,
    /// What happens when an image tag is moved.
    at_put: Option<Change>,
    /// How the next calls to cancel or roll back are refused.
    refusals: VecDeque<(u16, &'static str)>,
    /// The refresh that is hit, where it isn't the one last seen.
    hits: Option<&'static str>,
    /// After which call the run is killed, once.
    kill: Option<&'static str>,
}

type Shared = Arc<Mutex<World>>;

fn world() -> Shared {
    Arc::new(Mutex::new(World {
        table: Model::default(),
        operator: false,
        gone: false,
        refresh: REFRESH.to_owned(),
        status: InstanceRefreshStatus::InProgress,
        images: [("prod", "b"), ("prod-stable", "a")]
            .map(|(tag, digest)| (tag.to_owned(), digest.to_owned()))
            .into(),
        ecr_down: false,
        calls: Vec::new(),
        meanwhile: VecDeque::new(),
        at_put: None,
        refusals: VecDeque::new(),
        hits: None,
        kill: None,
    }))
}

fn with<R>(world: &Shared, f: impl FnOnce(&mut World) -> R) -> R {
    // Poisoned where a run was killed.
    f(&mut world.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What stands in the table: `cancel seen`.
fn remembered(world: &Shared) -> String {
    let items = with(world, |world| world.table.items(NAME));
    let Some((_, memory)) = items.first() else {
        return String::new();
    };
    let words = [&memory["stop"]["step"], &memory["image"]["repair"]];
    let words: Vec<&str> = words.into_iter().filter_map(|word| word.as_str()).collect();
    words.join(" ")
}

fn log(world: &Shared, call: &str) {
    let known = remembered(world);
    with(world, |world| world.calls.push(format!("{call} ({known})")));
}

fn killed_after(world: &Shared, call: &str) {
    let kill = with(world, |world| world.kill.take_if(|kill| *kill == call));
    assert!(kill.is_none(), "killed after {call}");
}

/// Cancel and rollback: by the next refusal, else accepted.
macro_rules! stops {
    ($world:expr, $operation:ident, $output:ident, $name:literal, $becomes:ident) => {{
        let (asked, refusing, accepting) =
            (Arc::clone($world), Arc::clone($world), Arc::clone($world));
        [
            mock!(Client::$operation)
                .match_requests(move |request| {
                    assert_eq!(request.auto_scaling_group_name(), Some("web"));
                    with(&asked, |world| !world.refusals.is_empty())
                })
                .then_http_response(move || {
                    log(&refusing, concat!($name, " refused"));
                    let (status, code) =
                        with(&refusing, |world| world.refusals.pop_front()).unwrap();
                    refused(status, code)
                }),
            mock!(Client::$operation).then_output(move || {
                log(&accepting, $name);
                let hit = with(&accepting, |world| {
                    world.status = InstanceRefreshStatus::$becomes;
                    world.hits.unwrap_or(REFRESH)
                });
                killed_after(&accepting, $name);
                $output::builder().instance_refresh_id(hit).build()
            }),
        ]
    }};
}

fn clients(world: &Shared) -> Clients {
    let groups = {
        let world = Arc::clone(world);
        mock!(Client::describe_auto_scaling_groups).then_output(move || {
            let answer = DescribeAutoScalingGroupsOutput::builder();
            let (gone, operator) = with(&world, |world| (world.gone, world.operator));
            if gone {
                return answer.set_auto_scaling_groups(Some(Vec::new())).build();
            }
            let operator =
                operator.then(|| Operator::builder().principal("ecs.amazonaws.com").build());
            let group = AutoScalingGroup::builder()
                .auto_scaling_group_name("web")
                .set_operator(operator);
            answer.auto_scaling_groups(group.build()).build()
        })
    };
    let refreshes = {
        let world = Arc::clone(world);
        mock!(Client::describe_instance_refreshes).then_output(move || {
            killed_after(&world, "claim");
            let refresh = with(&world, |world| {
                if let Some(change) = world.meanwhile.pop_front() {
                    change(world);
                }
                InstanceRefresh::builder()
                    .instance_refresh_id(&world.refresh)
                    .status(world.status.clone())
                    .build()
            });
            DescribeInstanceRefreshesOutput::builder()
                .instance_refreshes(refresh)
                .build()
        })
    };
    let cancel = stops!(
        world,
        cancel_instance_refresh,
        CancelInstanceRefreshOutput,
        "cancel",
        Cancelling
    );
    let rollback = stops!(
        world,
        rollback_instance_refresh,
        RollbackInstanceRefreshOutput,
        "rollback",
        RollbackInProgress
    );
    let rules: Vec<&Rule> = [&groups, &refreshes]
        .into_iter()
        .chain(&cancel)
        .chain(&rollback)
        .collect();
    let none: &[&Rule] = &[];
    Clients {
        autoscaling: mock_client!(aws_sdk_autoscaling, RuleMode::MatchAny, &rules),
        ec2: mock_client!(aws_sdk_ec2, RuleMode::MatchAny, none),
        elb: mock_client!(aws_sdk_elasticloadbalancingv2, RuleMode::MatchAny, none),
        cloudwatch: mock_client!(aws_sdk_cloudwatch, RuleMode::MatchAny, none),
        cloudformation: mock_client!(aws_sdk_cloudformation, RuleMode::MatchAny, none),
        ecr: ecr(world),
    }
}

fn ecr(world: &Shared) -> aws_sdk_ecr::Client {
    use aws_sdk_ecr::operation::batch_get_image::BatchGetImageError;
    let down = Arc::clone(world);
    let unread = mock!(aws_sdk_ecr::Client::batch_get_image)
        .match_requests(move |_| with(&down, |world| world.ecr_down))
        .then_error(|| {
            BatchGetImageError::generic(
                aws_sdk_ecr::error::ErrorMetadata::builder()
                    .code("AccessDeniedException")
                    .message("no")
                    .build(),
            )
        });
    let shared = Arc::clone(world);
    let get = mock!(aws_sdk_ecr::Client::batch_get_image).then_compute_output(move |request| {
        let tags = with(&shared, |world| world.images.clone());
        let images = request.image_ids().iter().filter_map(|id| {
            let digest = tags.get(id.image_tag()?)?;
            let id = ImageIdentifier::builder()
                .image_tag(id.image_tag()?)
                .image_digest(digest);
            let image = aws_sdk_ecr::types::Image::builder()
                .image_id(id.build())
                .image_manifest("{}");
            Some(image.build())
        });
        BatchGetImageOutput::builder()
            .set_images(Some(images.collect()))
            .build()
    });
    let shared = Arc::clone(world);
    let put = mock!(aws_sdk_ecr::Client::put_image).then_compute_output(move |request| {
        let tag = request.image_tag().unwrap();
        let digest = request.image_digest().unwrap().to_owned();
        let stands = with(&shared, |world| world.images.get(tag) == Some(&digest));
        if !stands {
            log(&shared, &format!("put {tag}"));
        }
        with(&shared, |world| {
            world.images.insert(tag.to_owned(), digest);
            if let Some(change) = world.at_put.take() {
                change(world);
            }
        });
        killed_after(&shared, &format!("put {tag}"));
        PutImageOutput::builder().build()
    });
    mock_client!(aws_sdk_ecr, RuleMode::MatchAny, &[&unread, &get, &put])
}

fn state(world: &Shared) -> State {
    with(world, |world| world.table.state(NAME))
}

/// What a run reads that looks now.
async fn looked(world: &Shared) -> Remembered {
    let state = state(world);
    let stored = state.get(&REFRESHES, "web", Timestamp::now()).await;
    stored.unwrap().into()
}

fn the_plan() -> Plan {
    Plan {
        keep_as: "prod-failed".to_owned(),
        ..fixtures::the_plan()
    }
}

fn target(before: Remembered) -> Target {
    Target {
        group: "web".to_owned(),
        refresh: REFRESH.to_owned(),
        before,
    }
}

/// As it is decided when nothing is remembered.
fn the_stop(how: How, image: bool) -> Action {
    stop_after(Remembered::default(), how, image)
}

fn stop_after(before: Remembered, how: How, image: bool) -> Action {
    Action::Stop(Box::new(Stop {
        target: target(before),
        how,
        because: "launches fail".to_owned(),
        source: Some(source("4")),
        image: image.then(the_plan),
    }))
}

async fn acted_as(world: &Shared, action: &Action, run: &str) -> Acted<Effect> {
    act(&clients(world), &state(world), action, run).await
}

async fn acted(world: &Shared, action: &Action) -> (ActResult, Stopped) {
    let acted = acted_as(world, action, "run-2").await;
    let stopped = match acted.effect {
        Some(Effect::Stopped(stopped)) => stopped,
        None => Stopped::default(),
        other => panic!("{other:?}"),
    };
    (acted.result, stopped)
}

fn calls(world: &Shared) -> Vec<String> {
    with(world, |world| world.calls.clone())
}

/// How often it was cancelled or rolled back.
fn stopped_times(world: &Shared) -> usize {
    let calls = calls(world);
    let accepted = |call: &&String| {
        (call.starts_with("cancel ") || call.starts_with("rollback ")) && !call.contains("refused")
    };
    calls.iter().filter(accepted).count()
}

#[tokio::test(start_paused = true)]
async fn claims_stops_and_writes_down() {
    for (how, word, done) in [
        (How::Cancel, "cancel", "cancelled"),
        (How::Rollback, "rollback", "rolled-back"),
    ] {
        let world = world();
        let (result, stopped) = acted(&world, &the_stop(how, false)).await;
        assert!(matches!(result, ActResult::Done(_)), "{result:?}");
        // The claim stands before the call.
        assert_eq!(calls(&world), [format!("{word} ({word})")]);
        assert_eq!(stopped.how, Some(how));
        let items = with(&world, |world| world.table.items(NAME));
        let (key, memory) = &items[0];
        assert_eq!(key, "refresh#web");
        assert_eq!(memory["refresh"], REFRESH);
        assert_eq!(memory["stop"]["step"], done);
        assert_eq!(memory["stop"]["run"], "run-2");
        assert_eq!(memory["stop"]["because"], "launches fail");
        assert_eq!(items.len(), 1);
    }
}

/// ASG-11: otherwise the instances still launching boot the bad image.
#[tokio::test(start_paused = true)]
async fn the_image_goes_back_first() {
    let world = world();
    let (result, stopped) = acted(&world, &the_stop(How::Cancel, true)).await;
    assert!(matches!(result, ActResult::Done(_)), "{result:?}");
    assert_eq!(
        calls(&world),
        [
            "put prod-failed (cancel restoring)",
            "put prod (cancel restoring)",
            "cancel (cancel restored)",
        ]
    );
    assert_eq!(remembered(&world), "cancelled restored");
    assert!(matches!(stopped.image, Some(Outcome::Restored { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cant_be_put_back_doesnt_keep_the_release_going() {
    let world = world();
    with(&world, |world| world.ecr_down = true);
    let (result, stopped) = acted(&world, &the_stop(How::Cancel, true)).await;
    assert!(matches!(result, ActResult::Done(_)), "{result:?}");
    assert_eq!(stopped.how, Some(How::Cancel));
    assert!(matches!(stopped.image, Some(Outcome::Failed(_))));
    // The next sweep tries again.
    assert_eq!(remembered(&world), "cancelled restoring");
}

/// Whatever happens between the decision and the call: no other refresh is touched, and none twice.
#[tokio::test(start_paused = true)]
async fn what_changes_before_the_call_keeps_it_from_being_sent() {
    let changes: [(&str, Change); 8] = [
        ("has started meanwhile", |world| {
            world.refresh = "another".to_owned();
        }),
        ("Successful meanwhile", |world| {
            world.status = InstanceRefreshStatus::Successful;
        }),
        ("Cancelling meanwhile", |world| {
            world.status = InstanceRefreshStatus::Cancelling;
        }),
        ("RollbackInProgress meanwhile", |world| {
            world.status = InstanceRefreshStatus::RollbackInProgress;
        }),
        ("Pending meanwhile", |world| {
            world.status = InstanceRefreshStatus::Pending;
        }),
        ("gone", |world| world.gone = true),
        ("manages the group", |world| world.operator = true),
        ("another run has claimed it", stolen),
    ];
    for (because, change) in changes {
        for image in [false, true] {
            // At the look after the claim, and at the one just before the call.
            for looks in 0..=usize::from(image) {
                let world = world();
                let nothing: Change = |_| ();
                let mut meanwhile: VecDeque<Change> = vec![nothing; looks].into();
                meanwhile.push_back(change);
                // The group is read beside the refresh: what changes it shows at the next look.
                meanwhile.push_back(change);
                let at_once = matches!(because, "gone" | "manages the group");
                if at_once {
                    with(&world, change);
                }
                with(&world, |world| world.meanwhile = meanwhile);
                let (result, _) = acted(&world, &the_stop(How::Rollback, image)).await;
                let ActResult::Skipped(why) = result else {
                    panic!("{because}: {result:?}");
                };
                assert!(why.contains(because), "{why}");
                assert_eq!(stopped_times(&world), 0, "{:?}", calls(&world));
                // Nor does its claim stay, which would be told as a stop; another run's does.
                let stays = match because {
                    "another run has claimed it" => "cancel",
                    _ if !image => "",
                    _ if at_once || looks == 0 => "seen",
                    _ => "restored",
                };
                assert_eq!(remembered(&world), stays, "{because}");
            }
        }
    }
}

/// A run that was slow finds that another has the refresh now.
fn stolen(world: &mut World) {
    let claim = Claim {
        step: Step::Cancel,
        at: Timestamp::now(),
        run: "run-3".to_owned(),
        because: "launches fail".to_owned(),
    };
    let memory = Memory {
        stop: Some(claim),
        ..Memory::of(REFRESH, None)
    };
    let state = world.table.state(NAME);
    let now = Timestamp::now();
    let put = state.put(&REFRESHES, "web", &memory, None, &Expect::Any, now);
    put.now_or_never().unwrap().unwrap();
}

/// Another run writes down how far the repair of the image tag has come.
fn noted(world: &mut World, repair: Repair) {
    let (state, now) = (world.table.state(NAME), Timestamp::now());
    let stored = state.get(&REFRESHES, "web", now).now_or_never().unwrap();
    let memory = Memory {
        image: Some(seen("b", repair)),
        ..stored.unwrap().unwrap().value
    };
    let put = state.put(&REFRESHES, "web", &memory, None, &Expect::Any, now);
    put.now_or_never().unwrap().unwrap();
}

/// Else nobody would know any more that it was moved.
#[tokio::test(start_paused = true)]
async fn what_another_run_made_of_the_image_tag_stays_written_down() {
    for image in [false, true] {
        let world = world();
        with(&world, |world| {
            world.meanwhile.push_back(|world| {
                noted(world, Repair::Restored);
                world.status = InstanceRefreshStatus::RollbackInProgress;
            });
        });
        let (result, _) = acted(&world, &the_stop(How::Rollback, image)).await;
        assert!(matches!(result, ActResult::Skipped(_)), "{result:?}");
        assert_eq!(remembered(&world), "restored", "{image}");
    }
    // And one that puts it back has the last word.
    let world = world();
    with(&world, |world| {
        world.at_put = Some(|world| noted(world, Repair::Seen));
    });
    acted_as(&world, &the_restore(Remembered::default()), "run-2").await;
    assert_eq!(remembered(&world), "restored");
}

#[tokio::test(start_paused = true)]
async fn of_runs_at_once_the_first_to_claim_sends_and_the_others_go_away() {
    for image in [false, true] {
        let world = world();
        let action = the_stop(How::Cancel, image);
        let (clients, state) = (clients(&world), state(&world));
        let runs = ["run-1", "run-2", "run-3", "run-4"];
        let acted = runs.map(|run| act(&clients, &state, &action, run));
        let acted = futures::future::join_all(acted).await;
        let done = acted
            .iter()
            .filter(|acted| matches!(acted.result, ActResult::Done(_)));
        assert_eq!(done.count(), 1, "{acted:?}");
        let away = acted.iter().filter(|acted| match &acted.result {
            ActResult::Skipped(why) => why.contains("another run has claimed it"),
            _ => false,
        });
        assert_eq!(away.count(), 3, "{acted:?}");
        assert_eq!(stopped_times(&world), 1);
    }
}

/// The first sight of a refresh, at which the image tag points to `digest`.
fn first_sight(digest: &str) -> Action {
    Action::Remember(Box::new(Remember {
        target: target(Remembered::default()),
        what: First::Image {
            digest: digest.to_owned(),
        },
    }))
}

/// What another run remembers of the image is no claim.
#[tokio::test(start_paused = true)]
async fn a_stop_goes_on_where_meanwhile_only_the_image_was_written_down() {
    let world = world();
    let stop = the_stop(How::Cancel, true);
    let remember = first_sight("b");
    let first = acted_as(&world, &remember, "run-1").await;
    assert_eq!(first.result, ActResult::Done(None));
    assert_eq!(remembered(&world), "seen");
    let (result, _) = acted(&world, &stop).await;
    assert!(matches!(result, ActResult::Done(_)), "{result:?}");
    // And the other way round the claim stays.
    let late = acted_as(&world, &remember, "run-1").await;
    assert!(matches!(late.result, ActResult::Skipped(_)), "{late:?}");
    assert_eq!(remembered(&world), "cancelled restored");
}

/// The runner tries the same action again; meanwhile the refresh is nobody else's.
#[tokio::test(start_paused = true)]
async fn throttled_behind_its_claim_a_run_goes_on_and_no_other_does() {
    let world = world();
    with(&world, |world| {
        world.refusals.push_back((400, "Throttling"));
    });
    let action = the_stop(How::Cancel, true);
    let (result, _) = acted(&world, &action).await;
    assert!(
        matches!(&result, ActResult::Failed(error) if error.kind == ErrorKind::Throttled),
        "{result:?}"
    );
    let other = acted_as(&world, &action, "run-3").await;
    assert!(matches!(other.result, ActResult::Skipped(_)), "{other:?}");
    let (result, stopped) = acted(&world, &action).await;
    assert!(matches!(result, ActResult::Done(_)), "{result:?}");
    assert!(matches!(stopped.image, Some(Outcome::Restored { .. })));
    assert_eq!(stopped_times(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_is_lost_is_still_this_runs() {
    let world = world();
    with(&world, |world| world.table.script(&[Fault::Lost]));
    let (result, _) = acted(&world, &the_stop(How::Cancel, false)).await;
    assert!(matches!(result, ActResult::Done(_)), "{result:?}");
    assert_eq!(stopped_times(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn without_the_table_nothing_is_sent() {
    for denied in ["PutItem", "GetItem"] {
        for image in [false, true] {
            let world = world();
            with(&world, |world| world.table.deny(Some(denied)));
            let (result, _) = acted(&world, &the_stop(How::Cancel, image)).await;
            assert!(
                matches!(&result, ActResult::Failed(error) if error.kind == ErrorKind::Denied),
                "{result:?}"
            );
            assert!(calls(&world).is_empty(), "{denied}: {:?}", calls(&world));
            let stays = if image && denied == "GetItem" {
                "seen"
            } else {
                ""
            };
            assert_eq!(remembered(&world), stays, "{denied}");
        }
    }
    let lost = [Fault::None, Fault::Lost, Fault::Lost, Fault::Lost];
    for (faults, stays) in [
        // Whether the claim stands isn't known: nobody goes on until it has run out.
        (&lost[1..], "cancel"),
        // It does, and the look behind it fails: nothing comes of it.
        (&lost[..], ""),
    ] {
        let world = world();
        with(&world, |world| world.table.script(faults));
        let (result, _) = acted(&world, &the_stop(How::Cancel, false)).await;
        assert!(
            matches!(&result, ActResult::Failed(error) if error.kind == ErrorKind::Unknown),
            "{result:?}"
        );
        assert!(calls(&world).is_empty());
        assert_eq!(remembered(&world), stays);
    }
}

/// After the claim, each step of the image, and the call itself.
#[tokio::test(start_paused = true)]
async fn killed_anywhere_the_next_run_goes_on() {
    for kill in ["claim", "put prod-failed", "put prod", "cancel"] {
        let world = world();
        with(&world, |world| world.kill = Some(kill));
        let first = {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let action = the_stop(How::Cancel, true);
                acted_as(&world, &action, "run-1").await
            })
        };
        assert!(first.await.unwrap_err().is_panic(), "{kill}");
        // Its claim stands, and keeps others off until it has run out.
        let before = looked(&world).await;
        let claim = before.memory.as_ref().unwrap().stop.as_ref().unwrap();
        assert_eq!((claim.step, claim.run.as_str()), (Step::Cancel, "run-1"));
        let next = stop_after(before, How::Cancel, true);
        let (result, _) = acted(&world, &next).await;
        assert_eq!(stopped_times(&world), 1, "{kill}: {:?}", calls(&world));
        let images = with(&world, |world| world.images.clone());
        assert_eq!((&*images["prod"], &*images["prod-failed"]), ("a", "b"));
        match kill {
            "cancel" => assert!(matches!(result, ActResult::Skipped(_)), "{result:?}"),
            _ => assert!(matches!(result, ActResult::Done(_)), "{kill}: {result:?}"),
        }
        let puts = calls(&world);
        let puts = puts.iter().filter(|call| call.starts_with("put"));
        assert_eq!(puts.count(), 2, "{kill}: nothing is put twice");
    }
}

#[tokio::test(start_paused = true)]
async fn an_irreversible_refresh_is_cancelled_instead() {
    let world = world();
    with(&world, |world| {
        let refusal = (400, "IrreversibleInstanceRefresh");
        world.refusals.push_back(refusal);
    });
    let (result, stopped) = acted(&world, &the_stop(How::Rollback, false)).await;
    assert!(matches!(result, ActResult::Done(_)), "{result:?}");
    assert_eq!(stopped.how, Some(How::Cancel));
    assert!(stopped.fallback.unwrap().contains("says AWS"));
    assert_eq!(
        calls(&world),
        ["rollback refused (rollback)", "cancel (rollback)"]
    );
    assert_eq!(remembered(&world), "cancelled");
}

/// A cancel would end the rollback that another run has started.
#[tokio::test(start_paused = true)]
async fn a_rollback_that_runs_is_never_cancelled() {
    let world = world();
    with(&world, |world| {
        let refusal = (400, "IrreversibleInstanceRefresh");
        world.refusals.push_back(refusal);
        world.meanwhile.push_back(|_| ());
        world.meanwhile.push_back(|world| {
            world.status = InstanceRefreshStatus::RollbackInProgress;
        });
    });
    let (result, _) = acted(&world, &the_stop(How::Rollback, false)).await;
    assert!(matches!(result, ActResult::Skipped(_)), "{result:?}");
    assert_eq!(calls(&world), ["rollback refused (rollback)"]);
}

#[tokio::test(start_paused = true)]
async fn hitting_another_refresh_is_an_error_that_names_both() {
    let world = world();
    with(&world, |world| world.hits = Some("another"));
    let (result, stopped) = acted(&world, &the_stop(How::Cancel, false)).await;
    let ActResult::Failed(error) = result else {
        panic!("{result:?}");
    };
    assert_eq!(error.code, "RefreshMismatch");
    assert!(error.message.contains(REFRESH) && error.message.contains("another"));
    assert_eq!(stopped.mismatch.as_deref(), Some("another"));
    let memory = looked(&world).await.memory.unwrap();
    let mismatch = memory.mismatch.unwrap();
    assert_eq!((&*mismatch.meant, &*mismatch.hit), (REFRESH, "another"));
    assert_eq!(
        memory.last_stop, None,
        "the one that was meant wasn't stopped"
    );
}

#[tokio::test(start_paused = true)]
async fn each_refusal_is_sent_once() {
    for (status, code, expected) in [
        (400, "ActiveInstanceRefreshNotFound", None),
        (400, "Throttling", Some(ErrorKind::Throttled)),
        (500, "ResourceContention", Some(ErrorKind::Throttled)),
        (400, "LimitExceeded", Some(ErrorKind::Refused)),
        (403, "AccessDenied", Some(ErrorKind::Denied)),
        (500, "InternalFailure", Some(ErrorKind::Unknown)),
        (503, "ServiceUnavailable", Some(ErrorKind::Unknown)),
    ] {
        for (how, name) in [(How::Cancel, "cancel"), (How::Rollback, "rollback")] {
            let world = world();
            with(&world, |world| world.refusals.push_back((status, code)));
            let (result, stopped) = acted(&world, &the_stop(how, false)).await;
            // Where AWS says no to a rollback, a cancel is something else to ask for.
            if how == How::Rollback
                && matches!(expected, Some(ErrorKind::Refused | ErrorKind::Denied))
            {
                assert!(matches!(result, ActResult::Done(_)), "{code}: {result:?}");
                assert_eq!(stopped.how, Some(How::Cancel));
                assert!(stopped.fallback.unwrap().contains("says AWS"));
                continue;
            }
            match (expected, result) {
                (None, ActResult::Skipped(_)) => {}
                (Some(kind), ActResult::Failed(error)) => {
                    assert_eq!((error.kind, error.code.as_str()), (kind, code));
                }
                (_, other) => panic!("{code}: {other:?}"),
            }
            assert_eq!(
                calls(&world),
                [format!("{name} refused ({name})")],
                "{code}"
            );
            assert_eq!(stopped.how, None);
            // Only what may have been done, or is tried again, stays claimed.
            let open = matches!(expected, Some(ErrorKind::Throttled | ErrorKind::Unknown));
            assert_eq!(remembered(&world), if open { name } else { "" }, "{code}");
        }
    }
}

/// Whatever the table does: several runs, each tried again as the runner does, stop it at most once,
/// and never without a claim that stands.
fn several_runs(faults: &[Fault], tries: &[usize]) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    let world = world();
    with(&world, |world| world.table.script(faults));
    let action = the_stop(How::Cancel, false);
    let results = runtime.block_on(async {
        let (clients, state) = (clients(&world), state(&world));
        let runs = tries.iter().enumerate().map(|(n, tries)| {
            let (clients, state, action) = (&clients, &state, &action);
            async move {
                let run = format!("run-{n}");
                let mut acted = act(clients, state, action, &run).await;
                for _ in 1..*tries {
                    if let ActResult::Failed(error) = &acted.result
                        && error.kind == ErrorKind::Throttled
                    {
                        acted = act(clients, state, action, &run).await;
                    }
                }
                acted.result
            }
        });
        futures::future::join_all(runs).await
    });
    let done = results
        .iter()
        .filter(|result| matches!(result, ActResult::Done(_)));
    prop_assert_eq!(done.count(), stopped_times(&world), "{:?}", results);
    prop_assert!(stopped_times(&world) <= 1, "{:?}", results);
    let unclaimed = calls(&world).iter().any(|call| call.ends_with("()"));
    prop_assert!(!unclaimed, "{:?}", calls(&world));
    if faults.iter().all(|fault| *fault == Fault::None) {
        prop_assert_eq!(stopped_times(&world), 1);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn however_the_table_fails_it_is_stopped_at_most_once(
        faults in prop::collection::vec(prop_oneof![
            4 => Just(Fault::None),
            2 => Just(Fault::Lost),
            2 => Just(Fault::Throttled),
            1 => Just(Fault::Denied),
        ], 0..16),
        tries in prop::collection::vec(1..4_usize, 1..4),
    ) {
        several_runs(&faults, &tries)?;
    }
}

fn the_restore(before: Remembered) -> Action {
    Action::Restore(Box::new(Restore {
        target: target(before),
        plan: the_plan(),
    }))
}

/// After a refresh that AWS declared failed: what the tag pointed to is known before it is moved.
#[tokio::test(start_paused = true)]
async fn an_image_goes_back_after_the_end_and_that_is_remembered() {
    let world = world();
    let acted = acted_as(&world, &the_restore(Remembered::default()), "run-2").await;
    assert!(matches!(acted.result, ActResult::Done(_)), "{acted:?}");
    let restored = Some(Effect::Image(Outcome::Restored {
        digest: "a".to_owned(),
        kept_as: "prod-failed".to_owned(),
    }));
    assert_eq!(acted.effect, restored);
    assert_eq!(
        calls(&world),
        ["put prod-failed (restoring)", "put prod (restoring)"]
    );
    assert_eq!(remembered(&world), "restored");
}

#[tokio::test(start_paused = true)]
async fn without_the_table_no_image_goes_back() {
    let world = world();
    with(&world, |world| world.table.deny(Some("PutItem")));
    let acted = acted_as(&world, &the_restore(Remembered::default()), "run-2").await;
    assert!(matches!(acted.result, ActResult::Failed(_)), "{acted:?}");
    assert!(calls(&world).is_empty());
    // Nor where another image was seen meanwhile.
    let world = super::tests::world();
    acted_as(&world, &first_sight("c"), "run-1").await;
    let acted = acted_as(&world, &the_restore(Remembered::default()), "run-2").await;
    assert!(matches!(acted.result, ActResult::Skipped(_)), "{acted:?}");
    assert!(calls(&world).is_empty());
}

/// A controller may start the same again: what was stopped is known then.
#[tokio::test(start_paused = true)]
async fn what_was_stopped_is_remembered_beyond_its_refresh() {
    let world = world();
    acted(&world, &the_stop(How::Cancel, true)).await;
    let memory = looked(&world).await.memory.unwrap();
    let next = Memory::of("another", Some(&memory));
    let last = next.last_stop.unwrap();
    assert_eq!(last.refresh, REFRESH);
    assert_eq!(last.source, source("4"));
    assert_eq!(last.image.as_deref(), Some("b"));
    assert_eq!((next.stop, next.image), (None, None));
}
